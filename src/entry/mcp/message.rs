//! A JSON-RPC message, looked at before the MCP library sees it.
//!
//! The library drops what it cannot read, or answers without an id, and then the caller waits for
//! ever. Here every unreadable or misshapen message gets an answer, with the request's id wherever
//! that id can be read without guessing. What a method means is not known here.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::domain::reason::Recovery;
use crate::domain::strict::Malformed;

/// The text is no JSON.
pub const PARSE_ERROR: i32 = -32700;
/// JSON, but no request, or not one that every reader reads alike.
pub const INVALID_REQUEST: i32 = -32600;
/// A request whose parameters cannot be meant.
pub const INVALID_PARAMS: i32 = -32602;

/// Why a message goes no further, ready to be sent back.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    code: i32,
    text: String,
    data: Value,
    id: Value,
}

impl Refused {
    /// A refusal with JSON-RPC's `code`, our own stable `cause`, and a sentence for people.
    pub fn new(code: i32, cause: &str, text: impl Into<String>) -> Self {
        let data = json!({"code": cause, "recovery": Recovery::FixArgs.code()});
        Self {
            code,
            text: text.into(),
            data,
            id: Value::Null,
        }
    }

    /// What the strict reader refused.
    pub fn unreadable(malformed: &Malformed) -> Self {
        let code = match malformed.code() {
            "invalid_json" | "invalid_utf8" | "lone_surrogate" => PARSE_ERROR,
            // Well-formed, and yet two readers could understand it differently.
            _ => INVALID_REQUEST,
        };
        Self::new(code, malformed.code(), malformed.to_string())
    }

    /// The same, addressed to a request.
    pub fn to(mut self, id: Value) -> Self {
        self.id = id;
        self
    }

    /// The JSON-RPC answer.
    pub fn answer(&self) -> Value {
        json!({
            "jsonrpc": "2.0",
            "id": self.id,
            "error": {"code": self.code, "message": self.text, "data": self.data},
        })
    }
}

/// What a well-shaped message is.
#[derive(Debug, Clone, PartialEq)]
pub enum Message<'a> {
    /// Wants an answer.
    Request {
        /// A string or an integer.
        id: &'a Value,
        /// What is wanted.
        method: &'a str,
    },
    /// Wants none.
    Notification {
        /// What is told.
        method: &'a str,
    },
    /// Answers a request of ours.
    Answer,
}

/// Looks at the shape of a message that the strict reader has read.
pub fn look(value: &Value) -> Result<Message<'_>, Refused> {
    let wrong = |text: &str| Refused::new(INVALID_REQUEST, "invalid_request", text);
    if value.is_array() {
        return Err(wrong("batches are not part of this protocol"));
    }
    let Value::Object(map) = value else {
        return Err(wrong("a message is a JSON object"));
    };
    let id = map.get("id");
    let plain_id = id.filter(|id| id.is_string() || id.as_i64().is_some());
    let address = |refused: Refused| match plain_id {
        Some(id) => refused.to(id.clone()),
        None => refused,
    };
    if map.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(address(wrong("`jsonrpc` must be \"2.0\"")));
    }
    let answers = map.contains_key("result") || map.contains_key("error");
    let Some(method) = map.get("method") else {
        let one = map.contains_key("result") != map.contains_key("error");
        // An error may answer a request whose id its sender could not read.
        let known = plain_id.is_some() || map.contains_key("error");
        return if one && known {
            Ok(Message::Answer)
        } else {
            Err(address(wrong("neither a request nor an answer")))
        };
    };
    let Some(method) = method.as_str() else {
        return Err(address(wrong("`method` must be a string")));
    };
    if answers {
        return Err(address(wrong("both a request and an answer")));
    }
    if id.is_some() && plain_id.is_none() {
        return Err(wrong("`id` must be a string or an integer"));
    }
    if map.get("params").is_some_and(|params| !params.is_object()) {
        let text = "`params` must be an object";
        let refused = Refused::new(INVALID_PARAMS, "invalid_params", text);
        return Err(address(refused));
    }
    Ok(match id {
        Some(id) => Message::Request { id, method },
        None => Message::Notification { method },
    })
}

/// The id of a message that the strict reader refused, or null. It is told only if it can be read
/// without guessing: one `id` at the top of one whole object, a string or an integer.
pub fn id_of_unreadable(bytes: &[u8]) -> Value {
    match serde_json::from_slice::<OnlyId>(bytes) {
        Ok(OnlyId(Some(id))) if id.is_string() || id.as_i64().is_some() => id,
        Ok(_) | Err(_) => Value::Null,
    }
}

struct OnlyId(Option<Value>);

impl<'de> Deserialize<'de> for OnlyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = OnlyId;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OnlyId, A::Error> {
                let mut id = None;
                let mut ids = 0;
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if key == "id" {
                        ids += 1;
                        id = Some(map.next_value::<Value>()?);
                    } else {
                        // Skipped without recursion, so that depth cannot hurt.
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(OnlyId(id.filter(|_| ids == 1)))
            }
        }
        deserializer.deserialize_map(Top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::strict;

    #[test]
    #[rustfmt::skip]
    fn a_misshapen_message_is_answered_with_its_id_where_it_has_one() {
        let cases = [
            (json!([{"jsonrpc": "2.0", "id": 1, "method": "ping"}]),                      INVALID_REQUEST, json!(null)),
            (json!([]),                                                                   INVALID_REQUEST, json!(null)),
            (json!("ping"),                                                               INVALID_REQUEST, json!(null)),
            (json!(null),                                                                 INVALID_REQUEST, json!(null)),
            (json!({}),                                                                   INVALID_REQUEST, json!(null)),
            (json!({"id": 7, "method": "ping"}),                                          INVALID_REQUEST, json!(7)),
            (json!({"jsonrpc": "1.0", "id": "a", "method": "ping"}),                      INVALID_REQUEST, json!("a")),
            (json!({"jsonrpc": 2.0, "id": "a", "method": "ping"}),                        INVALID_REQUEST, json!("a")),
            (json!({"jsonrpc": "2.0", "id": 7, "method": 5}),                             INVALID_REQUEST, json!(7)),
            (json!({"jsonrpc": "2.0", "id": null, "method": "ping"}),                     INVALID_REQUEST, json!(null)),
            (json!({"jsonrpc": "2.0", "id": 1.5, "method": "ping"}),                      INVALID_REQUEST, json!(null)),
            (json!({"jsonrpc": "2.0", "id": true, "method": "ping"}),                     INVALID_REQUEST, json!(null)),
            (json!({"jsonrpc": "2.0", "id": [1], "method": "ping"}),                      INVALID_REQUEST, json!(null)),
            (json!({"jsonrpc": "2.0", "id": 7, "method": "ping", "result": {}}),          INVALID_REQUEST, json!(7)),
            (json!({"jsonrpc": "2.0", "id": 7, "result": {}, "error": {}}),               INVALID_REQUEST, json!(7)),
            (json!({"jsonrpc": "2.0", "result": {}}),                                     INVALID_REQUEST, json!(null)),
            (json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": []}),    INVALID_PARAMS,  json!(7)),
            (json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": null}),  INVALID_PARAMS,  json!(7)),
        ];
        for (value, code, id) in cases {
            let answer = look(&value).unwrap_err().answer();
            assert_eq!(answer["error"]["code"], code, "{value}");
            assert_eq!(answer["id"], id, "{value}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_well_shaped_message_is_told_apart() {
        let request = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/list", "params": {}});
        assert_eq!(look(&request), Ok(Message::Request { id: &json!("a"), method: "tools/list" }));
        let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(look(&told), Ok(Message::Notification { method: "notifications/initialized" }));
        for answer in [
            json!({"jsonrpc": "2.0", "id": 7, "result": {}}),
            json!({"jsonrpc": "2.0", "id": 7, "error": {"code": 1, "message": "m"}}),
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": "m"}}),
        ] {
            assert_eq!(look(&answer), Ok(Message::Answer), "{answer}");
        }
    }

    #[test]
    fn the_id_of_an_unreadable_message_is_told_only_without_guessing() {
        let deep = format!(
            r#"{{"params":{}1{},"id":3}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        let cases = [
            (r#"{"id":7,"params":{"a":1,"a":2}}"#, json!(7)),
            (r#"{"params":9007199254740993,"id":"x"}"#, json!("x")),
            (r#"{"id":7,"params":1e400}"#, json!(7)),
            (r#"{"id":7,"params":"\ud800"}"#, json!(7)),
            (deep.as_str(), json!(3)),
            (r#"{"id":7,"id":8}"#, json!(null)),
            (r#"{"id":7,"\u0069d":8}"#, json!(null)),
            (r#"{"id":9007199254740993.5,"a":1,"a":1}"#, json!(null)),
            (r#"{"id":{"a":1},"a":1,"a":1}"#, json!(null)),
            (r#"{"id":7"#, json!(null)),
            (r#"{"id":7} x"#, json!(null)),
            (r#"[{"id":7}]"#, json!(null)),
            ("garbage", json!(null)),
            ("", json!(null)),
        ];
        for (text, id) in cases {
            assert!(
                strict::parse(text.as_bytes()).is_err() || text.starts_with('['),
                "{text:.40}"
            );
            assert_eq!(id_of_unreadable(text.as_bytes()), id, "{text:.40}");
        }
    }

    #[test]
    fn unparsable_and_ambiguous_are_told_apart() {
        let code = |text: &str| {
            let malformed = strict::parse(text.as_bytes()).unwrap_err();
            Refused::unreadable(&malformed).answer()["error"]["code"].clone()
        };
        assert_eq!(code("{"), PARSE_ERROR);
        assert_eq!(code(r#""\ud800""#), PARSE_ERROR);
        assert_eq!(code(r#"{"a":1,"a":1}"#), INVALID_REQUEST);
        assert_eq!(code("9007199254740993"), INVALID_REQUEST);
    }
}
