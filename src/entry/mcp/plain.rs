//! Tool calls of the stateless protocol, recognised so that they need not go through the MCP
//! library, which reads each message several times over and runs three tasks for it: more than
//! all else that a call costs here.
//!
//! Only what cannot be read in two ways is recognised: one `tools/call` of revision 2026-07-28,
//! whose headers and body say the same, with no field that is not known here. Everything else,
//! and so every refusal of a message, is left to the library.

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use rmcp::model::{CallToolResponse, ClientCapabilities, ServerResult};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The first revision without sessions, and the only one that is recognised.
pub const REVISION: &str = "2026-07-28";
const VERSION_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD_HEADER: HeaderName = HeaderName::from_static("mcp-method");
const NAME_HEADER: HeaderName = HeaderName::from_static("mcp-name");
const SESSION_HEADER: HeaderName = HeaderName::from_static("mcp-session-id");
/// How a name in a header begins that is spelt in Base64.
const ENCODED: &str = "=?";

/// The tool that such a message calls. The message has the shape of a request already.
pub fn called<'a>(headers: &HeaderMap, document: &'a Value) -> Option<&'a str> {
    let Value::Object(message) = document else {
        return None;
    };
    let params = message.get("params")?.as_object()?;
    let name = params.get("name")?.as_str()?;
    let fits = only(message, &["jsonrpc", "id", "method", "params"])
        && message.get("method").and_then(Value::as_str) == Some("tools/call")
        && message.contains_key("id")
        && only(
            params,
            &[
                "name",
                "arguments",
                "_meta",
                "inputResponses",
                "requestState",
            ],
        )
        && params.get("arguments").is_none_or(Value::is_object)
        && params.get("inputResponses").is_none_or(Value::is_object)
        && params.get("requestState").is_none_or(Value::is_string)
        && describes_client(params.get("_meta")?)
        && agrees(headers, name);
    fits.then_some(name)
}

/// The request's id and the tool's arguments, out of a message in which [`called`] found a tool.
pub fn taken_apart(mut document: Value) -> (Value, Option<Value>) {
    let mut take = |pointer: &str| document.pointer_mut(pointer).map(Value::take);
    let arguments = take("/params/arguments");
    (take("/id").unwrap_or_default(), arguments)
}

fn only(map: &Map<String, Value>, known: &[&str]) -> bool {
    map.keys().all(|key| known.contains(&key.as_str()))
}

/// What every request of this revision says of its client, and nothing else.
fn describes_client(meta: &Value) -> bool {
    let Value::Object(meta) = meta else {
        return false;
    };
    let known = [
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientCapabilities",
        "io.modelcontextprotocol/clientInfo",
        "hundi/conversation",
    ];
    let readable = |value: &Value| ClientCapabilities::deserialize(value).is_ok();
    only(meta, &known)
        && meta.get(known[0]).and_then(Value::as_str) == Some(REVISION)
        && meta.get(known[1]).is_some_and(readable)
}

/// Whether the headers say what the body says.
fn agrees(headers: &HeaderMap, name: &str) -> bool {
    let first = |header| headers.get(header).and_then(|value| value.to_str().ok());
    let sole = |header: &HeaderName| {
        let mut values = headers.get_all(header).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    };
    let takes = |kind| first(ACCEPT).is_some_and(|accepted| accepted.contains(kind));
    sole(&VERSION_HEADER) == Some(REVISION)
        && sole(&METHOD_HEADER) == Some("tools/call")
        && sole(&NAME_HEADER) == Some(name)
        && !name.starts_with(ENCODED)
        && !headers.contains_key(SESSION_HEADER)
        && first(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"))
        && takes("application/json")
        && takes("text/event-stream")
}

/// A JSON-RPC answer to the request `id`.
#[derive(Serialize)]
pub struct Answer<'a, R: Serialize, E: Serialize> {
    jsonrpc: &'static str,
    id: &'a Value,
    #[serde(flatten)]
    said: Said<R, E>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Said<R: Serialize, E: Serialize> {
    Result(R),
    Error(E),
}

impl<'a, R: Serialize, E: Serialize> Answer<'a, R, E> {
    /// What was answered, or why nothing could be.
    pub fn to(id: &'a Value, said: Result<R, E>) -> Self {
        let said = match said {
            Ok(result) => Said::Result(result),
            Err(error) => Said::Error(error),
        };
        Self {
            jsonrpc: "2.0",
            id,
            said,
        }
    }
}

/// An answer to a call, as this revision spells it.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Spelt {
    /// As the library has it.
    Whole(Box<ServerResult>),
    /// Without what earlier revisions had.
    Trimmed(Value),
}

impl From<CallToolResponse> for Spelt {
    fn from(response: CallToolResponse) -> Self {
        let CallToolResponse::InputRequired(asks) = response else {
            return Self::Whole(Box::new(response.into()));
        };
        let mut asks = json!(asks);
        let questions = asks.get_mut("inputRequests").and_then(Value::as_object_mut);
        for question in questions.into_iter().flat_map(Map::values_mut) {
            // Ids of elicitations are gone; the library spells an empty one.
            if let Some(params) = question.get_mut("params").and_then(Value::as_object_mut) {
                params.remove("elicitationId");
            }
        }
        Self::Trimmed(asks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    const PLAIN: [(&str, &str); 5] = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "pay"),
    ];

    fn message() -> Value {
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": "pay",
            "arguments": {"amount": 1},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "0"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        }})
    }

    #[test]
    fn a_plain_call_is_recognised_and_taken_apart() {
        assert_eq!(called(&headers(&PLAIN), &message()), Some("pay"));
        let expected = (json!(7), Some(json!({"amount": 1})));
        assert_eq!(taken_apart(message()), expected);
        let mut bare = message();
        bare["id"] = json!("a");
        bare["params"].as_object_mut().unwrap().remove("arguments");
        assert_eq!(called(&headers(&PLAIN), &bare), Some("pay"));
        assert_eq!(taken_apart(bare), (json!("a"), None));
    }

    #[test]
    fn whatever_else_a_body_says_is_left_to_the_library() {
        let meta = "/params/_meta";
        let version = "/params/_meta/io.modelcontextprotocol~1protocolVersion";
        let able = "/params/_meta/io.modelcontextprotocol~1clientCapabilities";
        let changed = [
            ("", json!([])),
            ("/method", json!("tools/list")),
            ("/params", json!([])),
            ("/params/name", json!("stay")),
            ("/params/name", json!(7)),
            ("/params/arguments", json!(null)),
            ("/params/arguments", json!([])),
            (meta, json!(null)),
            (meta, json!({})),
            (version, json!("2025-11-25")),
            (version, json!(7)),
            (able, json!(null)),
            (able, json!("all")),
            ("/params/requestState", json!(7)),
            ("/params/inputResponses", json!([])),
        ];
        for (pointer, value) in changed {
            let mut message = message();
            message["params"]["requestState"] = json!("s");
            message["params"]["inputResponses"] = json!({});
            assert_eq!(called(&headers(&PLAIN), &message), Some("pay"));
            *message.pointer_mut(pointer).unwrap() = value.clone();
            assert_eq!(
                called(&headers(&PLAIN), &message),
                None,
                "{pointer} {value}"
            );
        }
        for (pointer, key) in [("", "x"), ("/params", "task"), (meta, "progressToken")] {
            let mut message = message();
            message.pointer_mut(pointer).unwrap()[key] = json!(1);
            assert_eq!(called(&headers(&PLAIN), &message), None, "{pointer}/{key}");
        }
        let mut told = message();
        told.as_object_mut().unwrap().remove("id");
        assert_eq!(called(&headers(&PLAIN), &told), None);
    }

    #[test]
    fn headers_that_say_something_else_are_left_to_the_library() {
        for missing in PLAIN {
            let rest: Vec<_> = PLAIN.into_iter().filter(|pair| *pair != missing).collect();
            assert_eq!(called(&headers(&rest), &message()), None, "{missing:?}");
        }
        let changed = [
            ("content-type", "Application/JSON"),
            ("accept", "application/json"),
            ("accept", "text/event-stream"),
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-method", "tools/list"),
            ("mcp-name", "stay"),
            ("mcp-name", "=?base64?cGF5?="),
        ];
        for (name, value) in changed {
            let pairs = PLAIN.map(|pair| if pair.0 == name { (name, value) } else { pair });
            assert_eq!(
                called(&headers(&pairs), &message()),
                None,
                "{name}: {value}"
            );
        }
        let twice = ["mcp-protocol-version", "mcp-method", "mcp-name"];
        for pair in PLAIN.into_iter().filter(|pair| twice.contains(&pair.0)) {
            let mut pairs = PLAIN.to_vec();
            pairs.push(pair);
            assert_eq!(called(&headers(&pairs), &message()), None, "{pair:?} twice");
        }
        let mut pairs = PLAIN.to_vec();
        pairs.push(("mcp-session-id", "s"));
        assert_eq!(called(&headers(&pairs), &message()), None);
    }

    #[test]
    fn answers_are_spelt_as_json_rpc() {
        let id = json!("a");
        let done: Result<Value, Value> = Ok(json!({"x": 1}));
        let text = serde_json::to_string(&Answer::to(&id, done)).unwrap();
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":"a","result":{"x":1}}"#);
        let failed: Result<Value, Value> = Err(json!({"code": -1, "message": "m"}));
        let text = serde_json::to_string(&Answer::to(&id, failed)).unwrap();
        let expected = r#"{"jsonrpc":"2.0","id":"a","error":{"code":-1,"message":"m"}}"#;
        assert_eq!(text, expected);
    }
}
