//! What an upstream's message says to a call of ours, read the same on every transport.
//!
//! Lenient about spelling, strict about meaning. An id may be a number or its text, members that
//! nobody asked for are passed over, `error: null` beside a result is no error, half a surrogate
//! becomes U+FFFD, and an integer beyond 64 bits becomes a text with all its digits rather than
//! another number. A result and an error at once, or a result that is none, is an answer that
//! cannot be read, and is told as such at once.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Heard;
use super::outline::Outline;
use crate::domain::call::Reply;
use crate::domain::strict;

/// What one call was told.
#[derive(Debug)]
pub(super) enum Said {
    /// A result, still to be read as what was asked for.
    Result(Box<RawValue>),
    /// A JSON-RPC error.
    Error { code: i64, message: String },
    /// Turned away by HTTP before anything was done; `gone` where the session is why.
    TurnedAway {
        status: u16,
        words: String,
        gone: bool,
    },
    /// Answered at more length than is taken.
    TooLarge { limit: usize },
    /// Answered in a way that says nothing that can be relied on.
    Unreadable(String),
}

/// One message of an upstream.
pub(super) enum Message {
    /// An answer, and the number of the call that it names, if it names one that could be ours.
    Answer(Option<i64>, Said),
    /// Anything else: a question, a notice, or nothing that can be read.
    Other,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Reads one message.
pub(super) fn message(bytes: &[u8]) -> Message {
    let text = text_of(bytes);
    if !text.starts_with('{') {
        return Message::Other;
    }
    if let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(&text) {
        return envelope.read();
    }
    let mut outline = Outline::default();
    outline.feed(text.as_bytes());
    match outline.answers().filter(|_| outline.is_complete()) {
        Some(id) => {
            let why = "its answer is no JSON that can be read".to_owned();
            Message::Answer(Some(id), Said::Unreadable(why))
        }
        None => Message::Other,
    }
}

/// The messages of a batch; `None` if it is none.
pub(super) fn batch(bytes: &[u8]) -> Option<Vec<Box<RawValue>>> {
    let text = text_of(bytes);
    text.starts_with('[')
        .then(|| serde_json::from_str(&text).ok())
        .flatten()
}

/// The text without a byte order mark and the white space around it; what is no UTF-8 is replaced.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    let bytes = bytes.trim_ascii();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    String::from_utf8_lossy(bytes.trim_ascii())
}

/// The number that an id is or spells.
pub(super) fn number(id: &Value) -> Option<i64> {
    match id {
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.to_string().strip_suffix(".0")?.parse().ok()),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Envelope<'_> {
    fn read(self) -> Message {
        if self.method.is_some() {
            return Message::Other;
        }
        let id = self.id.and_then(|id| number(&value(id).ok()?));
        let said = match (self.result, self.error) {
            (Some(_), Some(_)) => {
                Said::Unreadable("it answered with a result and an error at once".to_owned())
            }
            (Some(result), None) => Said::Result(result.to_owned()),
            (None, Some(error)) => error_of(error),
            (None, None) if id.is_none() => return Message::Other,
            (None, None) => {
                Said::Unreadable("it answered with neither a result nor an error".to_owned())
            }
        };
        Message::Answer(id, said)
    }
}

fn error_of(raw: &RawValue) -> Said {
    let error = value(raw).unwrap_or_default();
    let told = |name: &str| error.get(name).filter(|told| !told.is_null());
    let plain = |value: &Value| {
        let text = value.as_str().map(str::to_owned);
        text.unwrap_or_else(|| value.to_string())
    };
    let message = told("message").map_or_else(|| plain(&error), plain);
    match told("code").map(|code| (code.as_i64(), plain(code))) {
        Some((Some(code), _)) => Said::Error { code, message },
        // Not a JSON-RPC code; what it stands for is kept with the words.
        Some((None, code)) => Said::Error {
            code: 0,
            message: format!("{code}: {message}"),
        },
        None => Said::Error { code: 0, message },
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    structured_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result_type: Option<&'a RawValue>,
}

/// Reads a result as that of a tool.
pub(super) fn tool_result(raw: &RawValue) -> Result<Heard, String> {
    const NONE: &str = "it answered with something that is no tool result";
    let text = raw.get();
    if !text.trim_start().starts_with('{') {
        return Err(NONE.to_owned());
    }
    let told: ToolResult<'_> = serde_json::from_str(text).map_err(|_| NONE.to_owned())?;
    if let Some(kind) = told.result_type
        && value(kind)? != "complete"
    {
        return Err(format!("{NONE}, but {}", kind.get()));
    }
    if told.content.is_none() && told.structured_content.is_none() && told.is_error.is_none() {
        return Err(NONE.to_owned());
    }
    let is_error = match told.is_error.map(value).transpose()? {
        None => false,
        Some(Value::Bool(is_error)) => is_error,
        Some(_) => return Err(NONE.to_owned()),
    };
    let blocks = match told.content.map(value).transpose()? {
        None => Vec::new(),
        Some(Value::Array(blocks)) => blocks,
        Some(_) => return Err(NONE.to_owned()),
    };
    let structured = told.structured_content.map(value).transpose()?;
    let content = match structured {
        Some(structured) => structured,
        None => content_of(&blocks, is_error),
    };
    let blocks = match blocks.is_empty() {
        true => Value::Null,
        false => Value::Array(blocks),
    };
    let reply = Reply::Result { content, is_error };
    Ok(Heard { reply, blocks })
}

/// The only text, read as JSON where it is; the only object among several texts; else all blocks.
fn content_of(blocks: &[Value], is_error: bool) -> Value {
    let texts = blocks.iter().filter_map(text_in);
    match blocks {
        [] => return Value::Null,
        [block] => {
            if let Some(text) = text_in(block) {
                return reading(text).unwrap_or_else(|| Value::String(text.to_owned()));
            }
        }
        _ if is_error => {}
        _ => {
            let mut objects = texts.filter_map(reading).filter(Value::is_object);
            if let (Some(only), None) = (objects.next(), objects.next()) {
                return only;
            }
        }
    }
    Value::Array(blocks.to_vec())
}

fn text_in(block: &Value) -> Option<&str> {
    let is_text = block.get("type").is_some_and(|kind| kind == "text");
    block.get("text").filter(|_| is_text)?.as_str()
}

/// A text as JSON, unless two readers could read it differently.
fn reading(text: &str) -> Option<Value> {
    let read = serde_json::from_str(&exact(text)).ok()?;
    let twice = |error: strict::Malformed| error.code() == "duplicate_key";
    match strict::parse(text.as_bytes()).is_err_and(twice) {
        true => None,
        false => Some(read),
    }
}

impl Heard {
    /// The content blocks, where they say more than the content that was read out of them.
    pub fn unsaid(&self) -> Value {
        let Reply::Result { content, .. } = &self.reply else {
            return Value::Null;
        };
        let all = match self.blocks.as_array().map(Vec::as_slice) {
            None => true,
            Some([only]) => text_in(only).is_some_and(|text| {
                *content == json!(text) || reading(text).is_some_and(|read| read == *content)
            }),
            Some(_) => false,
        };
        match all || *content == self.blocks {
            true => Value::Null,
            false => self.blocks.clone(),
        }
    }
}

fn value(raw: &RawValue) -> Result<Value, String> {
    serde_json::from_str(&exact(raw.get()))
        .map_err(|_| "its answer is no JSON that can be read".to_owned())
}

/// JSON that says the same and loses nothing when it is read: an integer beyond 64 bits, or a
/// number beyond a double, as a text; half a surrogate as U+FFFD.
fn exact(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut at, mut copied, mut in_text) = (0, 0, false);
    while let Some(byte) = bytes.get(at) {
        let (end, instead) = match byte {
            b'"' => {
                in_text = !in_text;
                (at + 1, None)
            }
            b'\\' if in_text => escape(bytes, at),
            b'-' | b'0'..=b'9' if !in_text => {
                let more =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                let end = at + bytes[at..].iter().take_while(|byte| more(byte)).count();
                let spelt = &text[at..end];
                (end, (!is_held(spelt)).then(|| format!("\"{spelt}\"")))
            }
            _ => (at + 1, None),
        };
        if let Some(instead) = instead {
            out.push_str(&text[copied..at]);
            out.push_str(&instead);
            copied = end;
        }
        at = end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// The end of the escape at `at`, and what stands for it if it is half a surrogate.
fn escape(bytes: &[u8], at: usize) -> (usize, Option<String>) {
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    match unit(at) {
        Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => (at + 12, None),
        Some(0xD800..=0xDFFF) => (at + 6, Some("\\ufffd".to_owned())),
        _ => ((at + 2).min(bytes.len()), None),
    }
}

/// Whether a number is read without losing digits of an integer, or itself.
fn is_held(spelt: &str) -> bool {
    if spelt.len() < 19 && !spelt.contains(['e', 'E']) {
        return true;
    }
    if spelt.contains(['.', 'e', 'E']) {
        return spelt.parse::<f64>().is_ok_and(f64::is_finite);
    }
    spelt.parse::<i64>().is_ok() || spelt.parse::<u64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(result: &str) -> Result<(Value, bool, Value), String> {
        let raw = RawValue::from_string(result.to_owned()).unwrap();
        let heard = tool_result(&raw)?;
        let unsaid = heard.unsaid();
        let Reply::Result { content, is_error } = heard.reply else {
            panic!("{heard:?}");
        };
        Ok((content, is_error, unsaid))
    }

    #[test]
    #[rustfmt::skip]
    fn a_tool_result_is_read_whole() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let image = json!({"type": "image", "data": "AA==", "mimeType": "image/png"});
        let cases = [
            (json!({"content": [text("hi")]}),                     json!("hi"),        false),
            (json!({"content": [text("{\"a\":1}")]}),              json!({"a": 1}),    false),
            (json!({"content": [text("{\"a\":1,\"a\":2}")]}),      json!("{\"a\":1,\"a\":2}"), false),
            (json!({"content": [text("{}")], "structuredContent": {}}), json!({}),     false),
            (json!({"structuredContent": {"a": 1}}),               json!({"a": 1}),    false),
            (json!({"content": null, "structuredContent": {"a": 1}}), json!({"a": 1}), false),
            (json!({"content": [text("ok")], "structuredContent": {"a": 1}}), json!({"a": 1}), true),
            (json!({"content": [text("paid"), text("{\"a\":1}")]}), json!({"a": 1}),   true),
            (json!({"content": [text("{\"a\":1}"), text("{\"a\":2}")]}), json!([text("{\"a\":1}"), text("{\"a\":2}")]), false),
            (json!({"content": [text("see"), image]}),             json!([text("see"), image]), false),
            (json!({"content": [image]}),                          json!([image]),     false),
            (json!({"content": []}),                               json!(null),        false),
            (json!({"isError": false}),                            json!(null),        false),
        ];
        for (result, content, more) in cases {
            let (read, is_error, unsaid) = heard(&result.to_string()).unwrap();
            assert_eq!((read, is_error), (content, false), "{result}");
            let expected = if more { result["content"].clone() } else { Value::Null };
            assert_eq!(unsaid, expected, "{result}");
        }
        for none in ["{}", "[]", "7", r#"{"_meta":{}}"#, r#"{"isError":"yes"}"#, r#"{"content":"x"}"#,
                     r#"{"resultType":"input_required","content":[]}"#] {
            assert!(heard(none).is_err(), "{none}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn nothing_is_rounded_and_half_a_surrogate_is_replaced() {
        let cases = [
            ("9223372036854775807",             json!(9_223_372_036_854_775_807_i64)),
            ("18446744073709551615",            json!(18_446_744_073_709_551_615_u64)),
            ("18446744073709551616",            json!("18446744073709551616")),
            ("-9223372036854775809",            json!("-9223372036854775809")),
            ("12345678901234567890123",         json!("12345678901234567890123")),
            ("1e400",                           json!("1e400")),
            ("1e3",                             json!(1000.0)),
            ("500.0",                           json!(500.0)),
            (r#""bad \ud800 end""#,             json!("bad \u{fffd} end")),
            (r#""\udc00\\ud800""#,              json!("\u{fffd}\\ud800")),
            (r#""\ud83d\ude00 \"12345678901234567890123\"""#, json!("\u{1f600} \"12345678901234567890123\"")),
        ];
        for (spelt, expected) in cases {
            let (read, ..) = heard(&format!(r#"{{"structuredContent":{spelt}}}"#)).unwrap();
            assert_eq!(read, expected, "{spelt}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn whom_a_message_answers_and_how() {
        let cases = [
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,                          Some(Some(7)), "result"),
            (r#"{"id":"7","result":{},"trace":1}"#,                              Some(Some(7)), "result"),
            (r#"{"id":7.0,"result":{},"error":null}"#,                           Some(Some(7)), "result"),
            (r#"{"id":7,"error":{"code":-32000},"result":null}"#,                Some(Some(7)), "error"),
            (r#"{"id":7,"error":{"code":"E","message":"m"}}"#,                   Some(Some(7)), "error"),
            (r#"{"id":7,"error":"broken"}"#,                                     Some(Some(7)), "error"),
            (r#"{"id":7,"result":{},"error":{"code":1,"message":"m"}}"#,         Some(Some(7)), "unreadable"),
            (r#"{"id":7,"result":null}"#,                                        Some(Some(7)), "unreadable"),
            (r#"{"id":7,"result":{"p":NaN}}"#,                                   Some(Some(7)), "unreadable"),
            (r#"{"id":7,"id":8,"result":{}}"#,                                   Some(Some(8)), "unreadable"),
            (r#"{"id":null,"error":{"code":1,"message":"m"}}"#,                  Some(None),    "error"),
            (r#"{"id":"server-error","error":{"code":1,"message":"m"}}"#,        Some(None),    "error"),
            (r#"{"id":7,"method":"ping"}"#,                                      None,          ""),
            (r#"{"id":7,"resu"#,                                                 None,          ""),
            ("{}",                                                               None,          ""),
            ("[]",                                                               None,          ""),
            ("log",                                                              None,          ""),
        ];
        for (text, to, kind) in cases {
            let (told, said) = match message(text.as_bytes()) {
                Message::Answer(id, Said::Result(_)) => (Some(id), "result"),
                Message::Answer(id, Said::Error { .. }) => (Some(id), "error"),
                Message::Answer(id, _) => (Some(id), "unreadable"),
                Message::Other => (None, ""),
            };
            assert_eq!((told, said), (to, kind), "{text}");
        }
        assert!(matches!(message(b"\xef\xbb\xbf{\"id\":1,\"result\":{}}\r\n"), Message::Answer(Some(1), _)));
        assert_eq!(batch(b" [{\"id\":1}, 2]").unwrap().len(), 2);
        assert!(batch(b"{}").is_none() && batch(b"[1,").is_none());
    }
}
