//! The canonical form of arguments (RFC 8785, JCS) and its SHA-256.
//!
//! Two requests are the same request if and only if these bytes are the same. A commit sends the
//! stored canonical bytes and never the caller's copy, so what was hashed is what is paid.
//!
//! The walk is ours because it is a tenth of the cost of the general serialisers and is the one
//! thing everything else binds to; a property test holds it to two independent implementations.
//! Unicode is not normalised: texts that look alike but differ in code points stay different.

use std::fmt;

use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

use super::ids::ArgsHash;
use super::strict::{self, Malformed};

/// RFC 8785 bytes of one JSON value, always valid UTF-8.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Canonical(Box<str>);

impl Canonical {
    /// The canonical form of a value that the strict reader has let through.
    pub fn of(value: &Value) -> Self {
        let mut text = String::with_capacity(256);
        write_value(&mut text, value);
        Self(text.into_boxed_str())
    }

    /// The canonical form of a text, or why the text is refused.
    pub fn of_text(bytes: &[u8]) -> Result<Self, Malformed> {
        strict::parse(bytes).map(|value| Self::of(&value))
    }

    /// Bytes that a store kept; they were canonical when they were written.
    pub fn from_stored(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the canonical bytes.
    pub fn hash(&self) -> ArgsHash {
        ArgsHash::from_digest(Sha256::digest(self.0.as_bytes()).into())
    }

    /// Back to a value. Canonical text always parses; anything else reads as `null`.
    ///
    /// Not the strict reader: what was stored before it refused every spelling of an integer beyond
    /// ±(2^53-1) has to be read as well.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or(Value::Null)
    }
}

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut members: Vec<(&String, &Value)> = map.iter().collect();
            members.sort_by(|(a, _), (b, _)| utf16_order(a, b));
            out.push('{');
            for (index, (key, item)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(out, key);
                out.push(':');
                write_value(out, item);
            }
            out.push('}');
        }
    }
}

/// RFC 8785 3.2.3: by UTF-16 code units, which differs from code points above U+FFFF.
fn utf16_order(a: &str, b: &str) -> std::cmp::Ordering {
    if a.is_ascii() && b.is_ascii() {
        a.cmp(b)
    } else {
        a.encode_utf16().cmp(b.encode_utf16())
    }
}

/// RFC 8785 3.2.2.3: ECMAScript's `Number::toString` of the double.
fn write_number(out: &mut String, number: &Number) {
    match number.as_i64() {
        // Within 2^53 the decimal digits are the ECMAScript form.
        Some(n) if n.unsigned_abs() <= strict::MAX_SAFE_INTEGER.unsigned_abs() => {
            out.push_str(itoa(n, &mut [0; 20]));
        }
        _ => {
            let double = number.as_f64().unwrap_or_default();
            out.push_str(ryu_js::Buffer::new().format(double));
        }
    }
}

fn itoa(n: i64, buffer: &mut [u8; 20]) -> &str {
    let mut at = buffer.len();
    let mut rest = n.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if n < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    std::str::from_utf8(&buffer[at..]).unwrap_or("0")
}

/// RFC 8785 3.2.2.2: only what must be escaped is, in the shortest spelling, hex in lower case.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            0x0c => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            _ => {
                out.push_str("\\u00");
                out.push_str(&super::ids::hex(&[byte]));
            }
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn canonical(text: &str) -> String {
        Canonical::of_text(text.as_bytes()).unwrap().to_string()
    }

    #[test]
    #[rustfmt::skip]
    fn the_vectors_of_rfc_8785() {
        let cases = [
            // 3.2.2
            ("{\"numbers\":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],\
               \"string\":\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\",\"literals\":[null,true,false]}",
             "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
               \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"),
            // 3.2.3: UTF-16 order puts the emoji before U+FB33
            ("{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,\"\\u00f6\":7}",
             "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}"),
            // Appendix B and neighbours
            ("-0", "0"), ("-0.0", "0"), ("1.0", "1"), ("1e0", "1"), ("100.0", "100"), ("1e21", "1e+21"), ("9007199254740991.0", "9007199254740991"),
            ("1e-7", "1e-7"), ("1e-6", "0.000001"), ("5e-324", "5e-324"), ("2e-324", "0"), ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("9007199254740991", "9007199254740991"), ("-9007199254740991", "-9007199254740991"), ("0.1", "0.1"),
            ("\"\\u2028\\u007f\"", "\"\u{2028}\u{7f}\""), ("\"\\u000b\"", "\"\\u000b\""), ("\"\\b\\t\\n\\f\\r\"", "\"\\b\\t\\n\\f\\r\""),
        ];
        for (text, expected) in cases {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn the_hash_is_sha_256_of_the_canonical_bytes() {
        let one = Canonical::of(&json!({"b": 1, "a": 2.0}));
        assert_eq!(one.as_str(), r#"{"a":2,"b":1}"#);
        assert_eq!(
            one.hash().to_string(),
            "d3626ac30a87e6f7a6428233b3c68299976865fa5508e4267c5415c76af7a772"
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-strict::MAX_SAFE_INTEGER..=strict::MAX_SAFE_INTEGER).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (any::<i32>(), -12_i32..12)
                .prop_map(|(m, e)| json!(format!("{m}e{e}").parse::<f64>().unwrap())),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Ours, `serde_jcs` and `serde_json_canonicalizer` were written independently.
        #[test]
        fn three_implementations_agree(value in any_json()) {
            let ours = Canonical::of(&value).to_string();
            prop_assert_eq!(&ours, &serde_jcs::to_string(&value).unwrap());
            prop_assert_eq!(&ours, &serde_json_canonicalizer::to_string(&value).unwrap());
        }

        /// Whatever spelling of a number is let through, its canonical form is let through, too, and
        /// is its own canonical form, as the other implementation spells it. What is refused is what
        /// that one would spell with the digits of an integer that readers round.
        #[test]
        fn canonical_is_a_fixed_point(spelling in any_number()) {
            let theirs = spelling.parse::<f64>().unwrap();
            let theirs = serde_jcs::to_string(&theirs).unwrap();
            let exact = strict::parse(theirs.as_bytes()).is_ok();
            match Canonical::of_text(spelling.as_bytes()) {
                Ok(once) => {
                    prop_assert_eq!(once.as_str(), &theirs);
                    prop_assert_eq!(&Canonical::of_text(theirs.as_bytes()).unwrap(), &once);
                    let digits = theirs.trim_start_matches('-');
                    let integer = digits.bytes().all(|b| b.is_ascii_digit());
                    prop_assert!(!integer || digits.parse::<i64>().unwrap() <= strict::MAX_SAFE_INTEGER);
                }
                Err(refused) => {
                    prop_assert!(!exact, "{spelling} is {theirs}");
                    prop_assert_eq!(refused.code(), "integer_out_of_range");
                }
            }
        }

        /// The same for whole documents.
        #[test]
        fn what_was_read_can_be_read_again(value in any_json()) {
            let text = serde_json::to_string(&value).unwrap();
            if let Ok(once) = Canonical::of_text(text.as_bytes()) {
                prop_assert_eq!(Canonical::of_text(once.as_str().as_bytes()).unwrap(), once);
            }
        }
    }

    /// A number in some spelling, near the edge more often than not.
    fn any_number() -> impl Strategy<Value = String> {
        let edge = (-40_i64..40, 0_usize..3, any::<bool>()).prop_map(|(off, zeros, minus)| {
            let digits = strict::MAX_SAFE_INTEGER + off;
            let sign = if minus { "-" } else { "" };
            format!("{sign}{digits}.{}", "0".repeat(zeros + 1))
        });
        let scientific = (1_u64..10_000_000_000_000_000_000, 0_u32..20, -30_i32..30).prop_map(
            |(digits, point, exponent)| {
                let text = digits.to_string();
                let at = (point as usize).clamp(1, text.len());
                let (whole, rest) = text.split_at(at);
                format!("{whole}.{rest}0e{exponent}")
            },
        );
        let plain = any::<f64>()
            .prop_filter("a number", |double| double.is_finite())
            .prop_map(|double| format!("{double:e}"));
        prop_oneof![edge, scientific, plain]
    }
}
