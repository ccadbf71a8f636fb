//! Strict JSON: the only reader of text that came from outside.
//!
//! What two readers could understand differently is refused here, before any library has
//! normalised it: duplicate keys (also `"a"` next to `"\u0061"`), integers that a double cannot
//! hold, numbers out of range, lone surrogates, invalid UTF-8, deep nesting, oversized bodies.
//! A hash over arguments is worth nothing if the hasher and the payer read different arguments.
//!
//! Numbers follow RFC 8785: every number is an IEEE 754 double. Whatever has the digits of an integer
//! in its canonical form must lie within ±(2^53-1), so that nothing is rounded silently: `1e20` and
//! `9007199254740993.0` as well as those digits, so that what is read can always be read again. A
//! number too small for a double becomes zero, as in ECMAScript; one too large is refused.

use serde_json::{Map, Number, Value};

/// Longest body accepted, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Deepest nesting of arrays and objects accepted.
pub const MAX_DEPTH: usize = 100;
/// Largest magnitude of an integer that every reader agrees on: 2^53 - 1.
pub const MAX_SAFE_INTEGER: i64 = 9_007_199_254_740_991;
/// From here on the canonical form of a number has an exponent, and nobody takes it for exact.
const FIRST_WITH_EXPONENT: f64 = 1e21;

/// Why a text was refused. [`Malformed::code`] is for programs, the text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} at byte {at}")]
pub struct Malformed {
    kind: Kind,
    detail: String,
    at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Syntax,
    DuplicateKey,
    IntegerOutOfRange,
    NumberOutOfRange,
    LoneSurrogate,
    InvalidUtf8,
    TooDeep,
    TooLarge,
    ReservedKey,
}

impl Malformed {
    /// Never changes once released.
    pub fn code(&self) -> &'static str {
        match self.kind {
            Kind::Syntax => "invalid_json",
            Kind::DuplicateKey => "duplicate_key",
            Kind::IntegerOutOfRange => "integer_out_of_range",
            Kind::NumberOutOfRange => "number_out_of_range",
            Kind::LoneSurrogate => "lone_surrogate",
            Kind::InvalidUtf8 => "invalid_utf8",
            Kind::TooDeep => "too_deep",
            Kind::TooLarge => "too_large",
            Kind::ReservedKey => "reserved_key",
        }
    }

    /// True if the text was refused for its size alone (HTTP 413 rather than 400).
    pub fn is_too_large(&self) -> bool {
        self.kind == Kind::TooLarge
    }
}

/// Reads one JSON document and nothing after it.
pub fn parse(bytes: &[u8]) -> Result<Value, Malformed> {
    parse_within(bytes, MAX_BYTES)
}

/// The same for documents that may be longer: questions to models hold pictures.
pub fn parse_within(bytes: &[u8], most: usize) -> Result<Value, Malformed> {
    if bytes.len() > most {
        return Err(Malformed {
            kind: Kind::TooLarge,
            detail: format!("{} bytes, and at most {most} are accepted", bytes.len()),
            at: most,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Malformed {
        kind: Kind::InvalidUtf8,
        detail: "invalid UTF-8".to_owned(),
        at: error.valid_up_to(),
    })?;
    let mut reader = Reader { text, bytes, at: 0 };
    reader.skip_space();
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at < bytes.len() {
        return Err(reader.syntax("text after the document"));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.syntax("no JSON value")),
            None => Err(self.syntax("the text ends where a value belongs")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Malformed> {
        self.enter(depth)?;
        let mut map = Map::new();
        if self.closes(b'}') {
            return Ok(Value::Object(map));
        }
        loop {
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.syntax("a key in double quotes belongs here"));
            }
            let key = self.string()?;
            // serde_json's private markers would turn a plain object into something else when a
            // library down the line deserialises it.
            if key.starts_with("$serde_json::private::") {
                return Err(self.error(Kind::ReservedKey, "a reserved key", start));
            }
            self.skip_space();
            self.expect(b':', "a colon belongs after the key")?;
            self.skip_space();
            let value = self.value(depth)?;
            if map.contains_key(&key) {
                return Err(self.error(
                    Kind::DuplicateKey,
                    &format!("the key {} appears twice in one object", shown(&key)),
                    start,
                ));
            }
            map.insert(key, value);
            if !self.continues(b'}')? {
                return Ok(Value::Object(map));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Malformed> {
        self.enter(depth)?;
        let mut items = Vec::new();
        if self.closes(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            if !self.continues(b']')? {
                return Ok(Value::Array(items));
            }
        }
    }

    fn enter(&mut self, depth: usize) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            let detail = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(self.error(Kind::TooDeep, &detail, self.at));
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn closes(&mut self, bracket: u8) -> bool {
        let closes = self.peek() == Some(bracket);
        self.at += usize::from(closes);
        closes
    }

    /// After an element: true at a comma, false at the closing bracket.
    fn continues(&mut self, bracket: u8) -> Result<bool, Malformed> {
        self.skip_space();
        if self.closes(bracket) {
            return Ok(false);
        }
        self.expect(b',', "a comma or a closing bracket belongs here")?;
        self.skip_space();
        Ok(true)
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let run = self.at;
            while self
                .peek()
                .is_some_and(|b| b != b'"' && b != b'\\' && b >= 0x20)
            {
                self.at += 1;
            }
            // Quotes, backslashes and control bytes are ASCII: these are character boundaries.
            out.push_str(&self.text[run..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err(self.syntax("an unescaped control character in a string")),
                None => return Err(self.syntax("the text ends inside a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let start = self.at;
        self.at += 2;
        Ok(match self.bytes.get(start + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(start),
            _ => return Err(self.error(Kind::Syntax, "an unknown escape", start)),
        })
    }

    fn unicode_escape(&mut self, start: usize) -> Result<char, Malformed> {
        let first = self.four_hex(start)?;
        let code = match first {
            0xD800..=0xDBFF if self.bytes[self.at..].starts_with(b"\\u") => {
                self.at += 2;
                let second = self.four_hex(start)?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(self.error(Kind::LoneSurrogate, "a lone surrogate", start));
                }
                0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            other => other,
        };
        char::from_u32(code)
            .ok_or_else(|| self.error(Kind::LoneSurrogate, "a lone surrogate", start))
    }

    fn four_hex(&mut self, start: usize) -> Result<u32, Malformed> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
        let mut code = 0;
        for &digit in digits {
            let value = char::from(digit).to_digit(16);
            let value = value.ok_or_else(|| self.error(Kind::Syntax, "bad \\u escape", start))?;
            code = code * 16 + value;
        }
        if digits.len() < 4 {
            return Err(self.error(Kind::Syntax, "bad \\u escape", start));
        }
        self.at += 4;
        Ok(code)
    }

    fn number(&mut self) -> Result<Number, Malformed> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.syntax("a digit belongs here")),
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.error(Kind::Syntax, "a number with a leading zero", start));
        }
        let fraction = self.peek() == Some(b'.');
        if fraction {
            self.at += 1;
            self.some_digits()?;
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.some_digits()?;
        }
        let literal = &self.text[start..self.at];
        if !fraction && !exponent {
            return literal
                .parse::<i64>()
                .ok()
                .filter(|n| n.unsigned_abs() <= MAX_SAFE_INTEGER.unsigned_abs())
                .map(Number::from)
                .ok_or_else(|| self.beyond(start));
        }
        let double = literal.parse::<f64>().ok();
        // A double beyond 2^53 has no fraction any more.
        let beyond = |double: f64| {
            double.abs() > MAX_SAFE_INTEGER as f64 && double.abs() < FIRST_WITH_EXPONENT
        };
        if double.is_some_and(beyond) {
            return Err(self.beyond(start));
        }
        double.and_then(Number::from_f64).ok_or_else(|| {
            self.error(
                Kind::NumberOutOfRange,
                "a number out of double range",
                start,
            )
        })
    }

    fn beyond(&self, start: usize) -> Malformed {
        let detail = "an integer beyond ±(2^53-1), which readers would round";
        self.error(Kind::IntegerOutOfRange, detail, start)
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        self.digits();
        if self.at == start {
            Err(self.syntax("a digit belongs here"))
        } else {
            Ok(())
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Malformed> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.syntax("no JSON value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn expect(&mut self, byte: u8, detail: &str) -> Result<(), Malformed> {
        if self.peek() != Some(byte) {
            return Err(self.syntax(detail));
        }
        self.at += 1;
        Ok(())
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn syntax(&self, detail: &str) -> Malformed {
        self.error(Kind::Syntax, detail, self.at)
    }

    fn error(&self, kind: Kind, detail: &str, at: usize) -> Malformed {
        Malformed {
            kind,
            detail: detail.to_owned(),
            at,
        }
    }
}

/// A key as an error may show it: quoted, escaped, and short.
fn shown(key: &str) -> String {
    let short: String = key.chars().take(40).collect();
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn what_two_readers_could_read_differently_is_refused() {
        let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
        let deeper = "[".repeat(10_000);
        let cases: &[(&str, &str)] = &[
            (r#"{"a":1,"a":1000000}"#,                "duplicate_key"),
            (r#"{"a":1,"\u0061":2}"#,                 "duplicate_key"),
            (r#"{"x":{"b":1,"b":1}}"#,                "duplicate_key"),
            ("9007199254740992",                       "integer_out_of_range"),
            ("9007199254740993",                       "integer_out_of_range"),
            ("-9007199254740992",                      "integer_out_of_range"),
            ("18446744073709551617",                   "integer_out_of_range"),
            ("9007199254740992.0",                     "integer_out_of_range"),
            ("9007199254740993.0",                     "integer_out_of_range"),
            ("-9007199254740993.0e0",                  "integer_out_of_range"),
            ("9.007199254740993e15",                   "integer_out_of_range"),
            ("1e16",                                   "integer_out_of_range"),
            ("-1E20",                                  "integer_out_of_range"),
            ("999999999999999900000.0",                "integer_out_of_range"),
            ("1e400",                                  "number_out_of_range"),
            ("-1e400",                                 "number_out_of_range"),
            (r#""\ud800""#,                            "lone_surrogate"),
            (r#""\ud800x""#,                           "lone_surrogate"),
            (r#""\ud800\u0041""#,                      "lone_surrogate"),
            (r#""\udc00""#,                            "lone_surrogate"),
            (r#"{"$serde_json::private::RawValue":1}"#, "reserved_key"),
            (&deep,                                    "too_deep"),
            (&deeper,                                  "too_deep"),
            ("",                                       "invalid_json"),
            ("{} {}",                                  "invalid_json"),
            ("\u{feff}{}",                             "invalid_json"),
            ("[1,]",                                   "invalid_json"),
            ("{\"a\":1,}",                             "invalid_json"),
            ("01",                                     "invalid_json"),
            ("1.",                                     "invalid_json"),
            (".5",                                     "invalid_json"),
            ("+1",                                     "invalid_json"),
            ("1e",                                     "invalid_json"),
            ("NaN",                                    "invalid_json"),
            ("Infinity",                               "invalid_json"),
            ("'a'",                                    "invalid_json"),
            ("\"a\nb\"",                               "invalid_json"),
            (r#""\x41""#,                              "invalid_json"),
            (r#""\u00g0""#,                            "invalid_json"),
            (r#""\u00"#,                               "invalid_json"),
            ("truth",                                  "invalid_json"),
        ];
        for (text, code) in cases {
            let refused = parse(text.as_bytes()).map_err(|e| e.code());
            assert_eq!(refused, Err(*code), "{text:.60}");
        }
        assert_eq!(parse(b"\"\xff\"").map_err(|e| e.code()), Err("invalid_utf8"));
        let huge = vec![b' '; MAX_BYTES + 1];
        assert!(parse(&huge).is_err_and(|e| e.is_too_large()));
    }

    #[test]
    fn what_is_plain_is_read() {
        let text = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert!(parse(text.as_bytes()).is_ok());
        let value =
            parse(br#" {"a":[1,-0,2.5,1e3,9007199254740991],"b":"\u20ac\ud83d\ude00\/","":null} "#);
        let expected = serde_json::json!({
            "a": [1, 0, 2.5, 1000.0, 9_007_199_254_740_991_i64], "b": "€😀/", "": null
        });
        assert_eq!(value, Ok(expected));
    }
}
