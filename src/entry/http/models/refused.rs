//! Refusals in the caller's own format. The status, the stable code and the words are those of the
//! problem; only their dress is OpenAI's or Anthropic's, so that their packages raise what they
//! should.

use axum::http::HeaderValue;
use axum::http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::Response;
use serde_json::{Value, json};

use super::super::Problem;
use super::super::answer::with_status;
use crate::domain::ids::RequestId;

/// Names the request, on every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-hundi-request-id");
/// What it cost, on every answer that is no stream.
pub const COST: HeaderName = HeaderName::from_static("x-hundi-cost-usd");
/// Official packages ask again by themselves, unless they are told not to.
pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A caller's format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Style {
    /// The error as a value, as it stands in bodies and in streams.
    pub fn error(self, problem: &Problem, id: RequestId) -> Value {
        self.dressed(problem, json!(id))
    }

    /// What no route takes, under the paths of this format.
    pub fn astray(self, problem: &Problem) -> Response {
        let mut answer = with_status(problem.parts().0, &self.dressed(problem, Value::Null));
        let headers = answer.headers_mut();
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        answer
    }

    /// The format that whoever asks under this path speaks, where it is not ours.
    pub fn of(path: &str) -> Option<Self> {
        let mut steps = path.strip_prefix("/v1/")?.split('/');
        match steps.next()? {
            "chat" | "responses" | "embeddings" | "completions" | "models" => Some(Style::OpenAi),
            "messages" => Some(Style::Anthropic),
            _ => None,
        }
    }

    fn dressed(self, problem: &Problem, id: Value) -> Value {
        let (status, code, _, words) = problem.parts();
        match self {
            Style::OpenAi => {
                let mut error = json!({
                    "message": words, "type": openai_type(status), "param": null, "code": code,
                });
                more(&mut error, problem);
                json!({ "error": error })
            }
            Style::Anthropic => {
                let mut error = json!({
                    "type": anthropic_type(status), "message": words, "code": code,
                });
                more(&mut error, problem);
                json!({"type": "error", "error": error, "request_id": id})
            }
        }
    }

    /// The answer.
    pub fn refused(self, problem: &Problem, id: RequestId) -> Response {
        let (status, ..) = problem.parts();
        let mut answer = with_status(status, &self.error(problem, id));
        let headers = answer.headers_mut();
        if let Some(secs) = problem.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs.max(1)));
        }
        if status == 401 {
            let scheme = HeaderValue::from_static("Bearer realm=\"hundi\"");
            headers.insert(WWW_AUTHENTICATE, scheme);
        }
        // Asked again, these would be refused again.
        if matches!(status, 400..=407 | 409..=428) {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        named(&mut answer, id);
        answer
    }
}

/// Names the request on an answer.
pub fn named(answer: &mut Response, id: RequestId) {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        answer.headers_mut().insert(REQUEST_ID, value);
    }
}

/// Where exactly, where there is more to say.
fn more(error: &mut Value, problem: &Problem) {
    if let (Some(error), Value::Object(places)) = (error.as_object_mut(), problem.places()) {
        error.extend(places);
    }
}

fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "insufficient_quota",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 => "service_unavailable_error",
        _ => "api_error",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}
