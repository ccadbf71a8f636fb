//! What the bank said, as the sidecar reports it: an answer, a definite no, or neither.
//!
//! The sidecar answers `{status, body}` for a 2xx with a JSON body, and
//! `{error: {kind: "http" | "unreadable" | "transport" | "arguments" | "precondition", ...}}` for
//! everything else. What fits neither shape proves nothing.

use std::fmt;

use serde_json::Value;

use crate::domain::call::{ProviderError, Reply};

/// Client errors that do not settle anything: a time-out, a conflict with a request under way, a
/// replay that came too early, too many requests.
const UNSETTLED: [u64; 4] = [408, 409, 425, 429];

/// What came back.
pub(super) enum Heard<'a> {
    /// A 2xx with a JSON body. What it shows is still to be checked.
    Answer(&'a Value),
    /// A definite 4xx in the bank's own error format.
    No(Refusal),
    /// The sidecar looked before sending, and what it saw rules the call out.
    Precondition(ProviderError),
    /// Proven: the bank did not get the request.
    NotSent(String),
    /// Everything else.
    Unclear(String),
}

/// The bank's no.
pub(super) struct Refusal {
    pub(super) error: ProviderError,
    status: u64,
    reason: String,
    field: String,
}

impl Refusal {
    /// The key, not the payout, is what the bank complains about.
    pub(super) fn is_about_key(&self) -> bool {
        let words = self.error.description.to_ascii_lowercase();
        self.field.eq_ignore_ascii_case("X-Payout-Idempotency") || words.contains("idempotency")
    }

    /// The request could not have worked in any state of the payout: it was not let in, or not
    /// understood.
    pub(super) fn is_about_request(&self) -> bool {
        match self.status {
            400 | 422 => !self.field.is_empty() || self.reason == "input_validation_failed",
            _ => true,
        }
    }

    /// The bank knows no payout of this id.
    pub(super) fn is_about_id(&self) -> bool {
        let words = self.error.description.to_ascii_lowercase();
        matches!(self.status, 400 | 404) && words.contains("does not exist")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProviderError { code, description } = &self.error;
        write!(f, "HTTP {}, {code}: {description}", self.status)
    }
}

/// Reads a reply of the sidecar.
pub(super) fn hear(reply: &Reply) -> Heard<'_> {
    match reply {
        Reply::Result {
            content,
            is_error: false,
        } => answer(content),
        Reply::Result {
            content,
            is_error: true,
        } => error(content.get("error").unwrap_or(&Value::Null)),
        Reply::RpcError { code, message } => {
            Heard::Unclear(format!("the sidecar answered with error {code}: {message}"))
        }
        Reply::NotSent(why) => Heard::NotSent(why.clone()),
        // The sidecar is no HTTP server; what turned a call away is not the bank.
        Reply::TurnedAway { .. } | Reply::TooLarge { .. } | Reply::Lost(_) => {
            Heard::Unclear(reply.why())
        }
    }
}

/// Whether a reply speaks of a bank, or a sidecar, that does not work, and not merely of a call that
/// it did not like.
pub fn in_trouble(reply: &Reply) -> bool {
    match reply {
        Reply::Lost(_) | Reply::NotSent(_) => true,
        Reply::Result {
            content,
            is_error: true,
        } => {
            let error = content.get("error").unwrap_or(&Value::Null);
            let status = error.get("status").and_then(Value::as_u64).unwrap_or(0);
            match text(error, "kind") {
                "transport" | "unreadable" => true,
                "http" => status >= 500,
                _ => false,
            }
        }
        Reply::Result {
            is_error: false, ..
        }
        | Reply::RpcError { .. }
        | Reply::TurnedAway { .. }
        | Reply::TooLarge { .. } => false,
    }
}

fn answer(content: &Value) -> Heard<'_> {
    let status = content.get("status").and_then(Value::as_u64);
    match (status, content.get("body")) {
        (Some(200..=299), Some(body)) => Heard::Answer(body),
        _ => Heard::Unclear("the sidecar's result is not an answer of the bank".to_owned()),
    }
}

fn error(error: &Value) -> Heard<'_> {
    let detail = || text(error, "detail").to_owned();
    match text(error, "kind") {
        "http" => refusal(error),
        "transport" if error.get("sent") == Some(&Value::Bool(false)) => Heard::NotSent(detail()),
        "arguments" => Heard::NotSent(detail()),
        "precondition" => Heard::Precondition(ProviderError {
            code: text(error, "code").to_owned(),
            description: detail(),
        }),
        "transport" | "unreadable" => Heard::Unclear(detail()),
        _ => Heard::Unclear("the sidecar reported an error of no known kind".to_owned()),
    }
}

fn refusal(error: &Value) -> Heard<'_> {
    let status = error.get("status").and_then(Value::as_u64).unwrap_or(0);
    let told = error.get("body").and_then(|body| body.get("error"));
    let told = told.unwrap_or(&Value::Null);
    let (code, description) = (text(told, "code"), text(told, "description"));
    // A gateway in front of the bank, or the bank's own trouble, says nothing about the payout.
    let theirs = matches!(code, "GATEWAY_ERROR" | "SERVER_ERROR");
    let definite = (400..=499).contains(&status) && !UNSETTLED.contains(&status);
    if !definite || theirs || code.is_empty() || description.is_empty() {
        return Heard::Unclear(format!("HTTP {status}, which settles nothing"));
    }
    Heard::No(Refusal {
        error: ProviderError {
            code: code.to_owned(),
            description: description.to_owned(),
        },
        status,
        reason: text(told, "reason").to_owned(),
        field: text(told, "field").to_owned(),
    })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
