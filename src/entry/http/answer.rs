//! Answers: JSON with its status, and every refusal of the door as one problem document.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::models::refused::SHOULD_RETRY;
use crate::broker::Trouble;
use crate::domain::reason::Recovery;
use crate::entry::gate::GateError;
use crate::entry::origin::Foreign;
use crate::entry::shapes;

/// Seconds after which it makes sense to ask a store again that did not answer.
const STORE_RETRY_SECS: u32 = 2;
/// Seconds after which it makes sense to try again where a limit of this door was reached.
const BUSY_RETRY_SECS: u32 = 1;

/// Seconds after which a full queue may have room.
const QUEUE_RETRY_SECS: u32 = 5;

/// Why a request gets no result. Becomes `application/problem+json`.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// The broker's own answer.
    Trouble(Trouble),
    /// The body did not pass the gate.
    Gate(GateError),
    /// The signature of a callback does not hold: who sends it, in words.
    NotSigned(&'static str),
    /// Under a name, or from a page, that is not ours.
    Foreign(Foreign),
    /// No such path.
    NoSuchPath,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The answer is long, and the caller has not read its earlier ones.
    Unread,
    /// The work took longer than any request may.
    TooSlow,
    /// A bug of ours.
    Internal,
}

impl Problem {
    /// A request that is well-formed JSON and still not what the endpoint takes.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Problem::Trouble(Trouble::InvalidRequest(detail.into()))
    }

    /// The document's parts: status, code, what to do next, words.
    pub(super) fn parts(&self) -> (u16, &'static str, Recovery, String) {
        let (status, code, recovery, detail) = match self {
            Problem::Trouble(trouble) => {
                return (
                    trouble.status(),
                    trouble.code(),
                    trouble.recovery(),
                    trouble.to_string(),
                );
            }
            Problem::Gate(error) => {
                let status = error.status().as_u16();
                return (status, error.code(), Recovery::FixArgs, error.to_string());
            }
            Problem::NotSigned(by) => {
                let detail = format!(
                    "the signature of {by} does not hold for this body; sign its raw bytes with \
                     the secret configured here"
                );
                return (401, "unauthenticated", Recovery::Stop, detail);
            }
            Problem::Foreign(foreign) => {
                let (code, detail) = Problem::foreign(*foreign);
                return (foreign.status().as_u16(), code, Recovery::Stop, detail);
            }
            Problem::NoSuchPath => (
                404,
                "no_such_path",
                Recovery::Stop,
                "there is nothing here; `/openapi.json` lists what there is",
            ),
            Problem::MethodNotAllowed => (
                405,
                "method_not_allowed",
                Recovery::Stop,
                "this path does not take that method; `Allow` names those it takes",
            ),
            Problem::Unread => (
                503,
                "overloaded",
                Recovery::ReadOutcome,
                "the answer is long and earlier long answers are not read yet; read those, then ask \
                 again (what was to be done was done)",
            ),
            Problem::TooSlow => (
                504,
                "too_slow",
                Recovery::ReadOutcome,
                "no answer in time; what was begun goes on, so read the outcome",
            ),
            Problem::Internal => (
                500,
                "internal_error",
                Recovery::ReadOutcome,
                "a fault of the broker; it was logged, so read the outcome before repeating",
            ),
        };
        (status, code, recovery, detail.to_owned())
    }

    /// It in words.
    pub(super) fn words(&self) -> String {
        self.parts().3
    }

    /// What it names besides its words.
    pub(super) fn places(&self) -> Value {
        match self {
            Problem::Trouble(trouble) => shapes::places(trouble),
            Problem::Gate(_)
            | Problem::NotSigned(_)
            | Problem::Foreign(_)
            | Problem::NoSuchPath
            | Problem::MethodNotAllowed
            | Problem::Unread
            | Problem::TooSlow
            | Problem::Internal => Value::Null,
        }
    }

    pub(super) fn retry_after(&self) -> Option<u32> {
        if let Problem::Trouble(trouble) = self {
            let cause = trouble.cause();
            if let Trouble::Overloaded { retry_after_secs }
            | Trouble::RateLimited { retry_after_secs } = cause
            {
                return Some(*retry_after_secs);
            }
            if let Trouble::Provider(no) = cause {
                return no.retry_after_secs;
            }
            if let Trouble::QueueFull(_) = cause {
                return Some(QUEUE_RETRY_SECS);
            }
            return (*cause == Trouble::StoreUnavailable).then_some(STORE_RETRY_SECS);
        }
        match self {
            Problem::Unread => Some(BUSY_RETRY_SECS),
            Problem::Trouble(_)
            | Problem::Gate(_)
            | Problem::NotSigned(_)
            | Problem::Foreign(_)
            | Problem::NoSuchPath
            | Problem::MethodNotAllowed
            | Problem::TooSlow
            | Problem::Internal => None,
        }
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        Problem::Trouble(trouble)
    }
}

impl From<GateError> for Problem {
    fn from(error: GateError) -> Self {
        Problem::Gate(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, recovery, detail) = self.parts();
        let mut body = shapes::problem_document(code, status, &detail, recovery);
        if let Problem::Gate(error) = &self
            && let Some(cause) = error.cause()
        {
            body["cause"] = cause.into();
        }
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), self.places()) {
            body.extend(more);
        }
        let mut answer = text("application/problem+json", body.to_string());
        *answer.status_mut() = status_of(status);
        let headers = answer.headers_mut();
        if let Some(secs) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs.max(1)));
        }
        // Official packages ask again by themselves, and this would be refused again.
        if status == 402 {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        // A signed callback has no bearer to send.
        if status == 401 && !matches!(self, Problem::NotSigned(_)) {
            let scheme = HeaderValue::from_static("Bearer realm=\"hundi\"");
            headers.insert(WWW_AUTHENTICATE, scheme);
        }
        answer
    }
}

/// A result, 200.
pub fn ok(body: &Value) -> Response {
    text("application/json", body.to_string())
}

/// A result with a status of its own.
pub fn with_status(status: u16, body: &Value) -> Response {
    let mut answer = ok(body);
    *answer.status_mut() = status_of(status);
    answer
}

/// A body that is already text.
pub fn text(kind: &'static str, body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
