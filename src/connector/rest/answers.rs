//! Answers: what was heard at all, the document in it, and the words of one that says no.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::domain::call::Receipt;
use crate::domain::reason::Recovery;
use crate::domain::tools::http::{Answer, Heard};
use crate::domain::tools::numbers::exact;

/// Most characters that are kept of an answer that says no.
const MAX_WORDS: usize = 300;
/// What is said where no answer came in time.
pub(super) const LATE: &str = "no whole answer came in time";

/// Why there is no data.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// The code of the invocation's problem.
    pub code: &'static str,
    /// In words.
    pub detail: String,
    /// What the caller can do, where the source said no; it is no use to wait then.
    pub recovery: Option<Recovery>,
}

pub(super) fn answered(heard: &Heard) -> Result<&Answer, Failure> {
    match heard {
        Heard::Answer(answer) => Ok(answer),
        Heard::NotSent(why) | Heard::Lost(why) => Err(failure("source_unavailable", why.clone())),
        Heard::Late => Err(failure("timeout", LATE.to_owned())),
        Heard::TooLarge { limit, .. } => {
            let words = format!("the answer is longer than {limit} bytes");
            Err(failure("result_too_large", words))
        }
    }
}

pub(super) fn failure(code: &'static str, detail: String) -> Failure {
    Failure {
        code,
        detail,
        recovery: None,
    }
}

/// An answer's body as JSON: itself where it is JSON, a text where it is one, else its bytes.
pub(super) fn document(answer: &Answer) -> Result<Value, String> {
    let kind = answer.content_type.as_str();
    if answer.body.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    let says_json = kind == "application/json" || kind.ends_with("+json");
    match serde_json::from_slice(&answer.body) {
        Ok(read) => return Ok(exact(read)),
        Err(error) if says_json => {
            return Err(format!("the answer is called JSON and is none: {error}"));
        }
        Err(_) => {}
    }
    Ok(match std::str::from_utf8(&answer.body) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => {
            let bytes = STANDARD.encode(&answer.body);
            json!({"content_type": kind, "base64": bytes})
        }
    })
}

/// A status and the beginning of what came with it.
pub(super) fn said(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let words: String = text.trim().chars().take(MAX_WORDS).collect();
    match words.is_empty() {
        true => format!("HTTP {}", answer.status),
        false => format!("HTTP {}: {words}", answer.status),
    }
}

pub(super) fn receipt(result: Value) -> Receipt {
    Receipt {
        provider_id: None,
        provider_state: None,
        reversed: false,
        settled_unreadable: false,
        settled_minor: None,
        result,
        blocks: Value::Null,
    }
}
