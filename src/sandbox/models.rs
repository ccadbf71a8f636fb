//! The sandbox's model over HTTP: deterministic, in the formats of OpenAI's chat completions,
//! Anthropic's messages and Ollama's chat, whole or in pieces; OpenAI's embeddings; and the rerank that
//! providers agree on.
//!
//! What it says follows from what it is asked, so a test knows the answer; what it counts is its own
//! word, as at a real provider. It takes any key. `GET /sandbox/models/calls` shows what reached it
//! and whether the caller stayed to the end; `DELETE` forgets that. The faults of `faults` with
//! `"operation": "model"` strike here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::{Value, json};

use super::faults::{Fault, Kind, Operation};
use super::http::{Desk, json_text, text};
use super::saying::{Answer, Question};
use super::spelling::Wire;
use super::spoil;

/// Where it answers.
pub const PATH: &str = "/sandbox/models";
/// The names it answers to, and lists; it takes any other as well.
pub const NAMES: [&str; 2] = ["sandbox", "sandbox-large"];
/// Longest body that is read.
const MAX_BODY: usize = 64 << 20;
/// Calls remembered.
const MOST_CALLS: usize = 1_000;
/// Longest text of a remembered call.
const MAX_SHOWN: usize = 64 << 10;
/// What `Retry-After` says of a 429.
const RETRY_SECS: u32 = 2;
/// Numbers of a vector.
const DIMENSIONS: usize = 64;
/// Pieces before something goes wrong in the middle.
const BEFORE_TROUBLE: usize = 2;

/// What reached the model.
#[derive(Default)]
pub(super) struct Calls(Mutex<Vec<Value>>);

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, wire: Wire, body: &Value) -> usize {
        let mut calls = self.lock();
        if calls.len() == MOST_CALLS {
            calls.clear();
        }
        let text = body.to_string();
        let shown = text.len() <= MAX_SHOWN;
        calls.push(json!({
            "format": wire.name(),
            "model": body["model"],
            "stream": body["stream"] == true,
            "body": if shown { body.clone() } else { Value::Null },
            "ended": "not yet",
        }));
        calls.len() - 1
    }

    fn ended(&self, number: usize, how: &str) {
        if let Some(call) = self.lock().get_mut(number) {
            call["ended"] = json!(how);
        }
    }
}

/// Routes under [`PATH`].
pub(super) fn router() -> Router<Arc<Desk>> {
    Router::new()
        .route("/v1/chat/completions", post(openai))
        .route("/v1/messages", post(anthropic))
        .route("/api/chat", post(ollama))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/rerank", post(rerank))
        .route("/v1/models", get(models))
        .route("/api/tags", get(tags))
        .route("/calls", get(calls).delete(forget))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

async fn models() -> Response {
    let data = NAMES.map(|name| json!({"id": name, "object": "model", "owned_by": "sandbox"}));
    json_text(
        StatusCode::OK,
        json!({"object": "list", "data": data}).to_string(),
    )
}

async fn tags() -> Response {
    let models = NAMES.map(|name| json!({"name": name, "model": name}));
    json_text(StatusCode::OK, json!({ "models": models }).to_string())
}

/// Vectors that follow from the words of each text: texts that share words are near each other.
async fn embeddings(Shared(desk): Shared<Arc<Desk>>, body: Bytes) -> Response {
    let wire = Wire::OpenAi;
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return wire.error(400, "invalid_request_error", "the body is no JSON");
    };
    let texts: Vec<&str> = match &body["input"] {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let number = desk.calls.begin(wire, &body);
    let fault = desk.faults.strike(Operation::Model, &desk.ambient);
    if let Some(fault) = &fault
        && let Some(spoilt) = instead(fault, wire).await
    {
        desk.calls.ended(number, "spoilt");
        return spoilt;
    }
    let read: usize = texts.iter().map(|text| text.len().div_ceil(4)).sum();
    let data = texts.iter().enumerate().map(
        |(index, text)| json!({"object": "embedding", "index": index, "embedding": vector(text)}),
    );
    let answer = json!({
        "object": "list", "model": body["model"], "data": data.collect::<Value>(),
        "usage": {"prompt_tokens": read, "total_tokens": read},
    });
    desk.calls.ended(number, "answered");
    json_text(StatusCode::OK, answer.to_string())
}

/// Documents in order of the share of the question's words that they hold.
async fn rerank(Shared(desk): Shared<Arc<Desk>>, body: Bytes) -> Response {
    let wire = Wire::OpenAi;
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return wire.error(400, "invalid_request_error", "the body is no JSON");
    };
    let documents = body["documents"].as_array().into_iter().flatten();
    let documents: Vec<&str> = documents.filter_map(Value::as_str).collect();
    let query = body["query"].as_str().unwrap_or_default();
    let number = desk.calls.begin(wire, &body);
    let fault = desk.faults.strike(Operation::Model, &desk.ambient);
    if let Some(fault) = &fault
        && let Some(spoilt) = instead(fault, wire).await
    {
        desk.calls.ended(number, "spoilt");
        return spoilt;
    }
    let ranks = documents.iter().map(|text| share(query, text));
    let mut ranked: Vec<(usize, usize)> = ranks.enumerate().collect();
    ranked.sort_by_key(|(index, share)| (std::cmp::Reverse(*share), *index));
    let most = body["top_n"].as_u64().and_then(|n| usize::try_from(n).ok());
    ranked.truncate(most.unwrap_or(usize::MAX));
    let results = ranked.iter().map(|(index, share)| {
        let hundredths = format!("{}.{:02}", share / 100, share % 100);
        let score = hundredths.parse::<f64>().unwrap_or_default();
        json!({"index": index, "relevance_score": score})
    });
    let read: usize = documents.iter().map(|text| text.len().div_ceil(4)).sum();
    let answer = json!({
        "model": body["model"], "results": results.collect::<Value>(),
        "usage": {"prompt_tokens": read, "total_tokens": read},
    });
    desk.calls.ended(number, "answered");
    json_text(StatusCode::OK, answer.to_string())
}

/// Hundredths of the question's words that a text holds.
fn share(query: &str, text: &str) -> usize {
    let text = text.to_lowercase();
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    let held = words.iter().filter(|word| text.contains(word.as_str()));
    (held.count() * 100).checked_div(words.len()).unwrap_or(0)
}

/// Counts of words, each under one of so many numbers.
fn vector(text: &str) -> Vec<u32> {
    let mut vector = vec![0; DIMENSIONS];
    for word in text.split_whitespace() {
        let hash = word.to_lowercase().bytes().fold(5_381_usize, |hash, byte| {
            hash.wrapping_mul(33).wrapping_add(usize::from(byte))
        });
        if let Some(place) = vector.get_mut(hash % DIMENSIONS) {
            *place += 1;
        }
    }
    vector
}

async fn calls(Shared(desk): Shared<Arc<Desk>>) -> Response {
    let calls = desk.calls.lock().clone();
    json_text(StatusCode::OK, json!({ "calls": calls }).to_string())
}

async fn forget(Shared(desk): Shared<Arc<Desk>>) -> Response {
    desk.calls.lock().clear();
    json_text(StatusCode::OK, json!({"calls": []}).to_string())
}

async fn openai(Shared(desk): Shared<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(desk, Wire::OpenAi, &headers, &body).await
}

async fn anthropic(Shared(desk): Shared<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(desk, Wire::Anthropic, &headers, &body).await
}

async fn ollama(Shared(desk): Shared<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(desk, Wire::Ollama, &headers, &body).await
}

async fn answer(desk: Arc<Desk>, wire: Wire, headers: &HeaderMap, body: &[u8]) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return wire.error(400, "invalid_request_error", "the body is no JSON");
    };
    if wire == Wire::Anthropic && !headers.contains_key("anthropic-version") {
        let words = "anthropic-version: header is required";
        return wire.error(400, "invalid_request_error", words);
    }
    let Some(question) = Question::read(wire, &body) else {
        let words = "`model` and `messages` are needed";
        return wire.error(400, "invalid_request_error", words);
    };
    let number = desk.calls.begin(wire, &body);
    let fault = desk.faults.strike(Operation::Model, &desk.ambient);
    let said = Answer::to(&question);
    if let Some(fault) = &fault
        && let Some(spoilt) = instead(fault, wire).await
    {
        desk.calls.ended(number, "spoilt");
        return spoilt;
    }
    if question.stream {
        let frames = wire.frames(&question, &said);
        return streamed(desk, number, wire, frames, fault);
    }
    if fault.is_some_and(|fault| fault.kind == Kind::ErrorEvent) {
        desk.calls.ended(number, "spoilt");
        return wire.error(529, "overloaded_error", "overloaded");
    }
    desk.calls.ended(number, "answered");
    json_text(StatusCode::OK, wire.whole(&question, &said).to_string())
}

/// The answer that a fault gives before there is any.
async fn instead(fault: &Fault, wire: Wire) -> Option<Response> {
    match fault.kind {
        Kind::Slow => {
            tokio::time::sleep(fault.delay()).await;
            None
        }
        Kind::Error => Some(match &fault.body {
            Some(_) => spoil::instead(fault),
            None => wire.error(fault.status(), "api_error", "something went wrong"),
        }),
        Kind::Reset | Kind::Hang | Kind::Garbage | Kind::Empty | Kind::Redirect => {
            Some(spoil::instead(fault))
        }
        Kind::RateLimited => {
            let mut refused = wire.error(429, "rate_limit_error", "asked too often");
            let after = HeaderValue::from(RETRY_SECS);
            refused.headers_mut().insert(RETRY_AFTER, after);
            Some(refused)
        }
        Kind::RateLimitedInBody => {
            let error = json!({"error": {"code": 429, "type": "rate_limit_error", "message": "asked too often"}});
            Some(json_text(StatusCode::OK, error.to_string()))
        }
        Kind::Duplicate | Kind::WrongId | Kind::ForgetKeys => {
            Some(text(StatusCode::INTERNAL_SERVER_ERROR, String::new()))
        }
        // These strike in the middle.
        Kind::Cut | Kind::Malformed | Kind::ErrorEvent | Kind::Stall | Kind::Drip => None,
    }
}

/// A stream on its way out.
struct Streaming {
    desk: Arc<Desk>,
    number: usize,
    wire: Wire,
    frames: std::vec::IntoIter<String>,
    sent: usize,
    fault: Option<Fault>,
    over: bool,
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let how = if self.over { "answered" } else { "hung up" };
        self.desk.calls.ended(self.number, how);
    }
}

/// Broken on purpose.
#[derive(Debug, thiserror::Error)]
#[error("broken on purpose")]
struct Broken;

fn streamed(
    desk: Arc<Desk>,
    number: usize,
    wire: Wire,
    frames: Vec<String>,
    fault: Option<Fault>,
) -> Response {
    let streaming = Streaming {
        desk,
        number,
        wire,
        frames: frames.into_iter(),
        sent: 0,
        fault,
        over: false,
    };
    let frames = stream::unfold(streaming, |mut streaming| async move {
        let frame = streaming.next().await?;
        Some((frame, streaming))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let kind = HeaderValue::from_static(wire.media());
    response.headers_mut().insert("content-type", kind);
    response
}

impl Streaming {
    async fn next(&mut self) -> Option<Result<String, Broken>> {
        if self.over {
            return None;
        }
        if let Some(fault) = &self.fault {
            let middle = self.sent == BEFORE_TROUBLE;
            match fault.kind {
                Kind::Drip if self.sent > 0 => tokio::time::sleep(fault.delay()).await,
                Kind::Stall if middle => tokio::time::sleep(fault.delay()).await,
                Kind::Cut if middle => {
                    // What came before has left by then.
                    tokio::time::sleep(LEAVES).await;
                    self.over = true;
                    return Some(Err(Broken));
                }
                Kind::Malformed if middle => {
                    self.over = true;
                    return Some(Ok(self.wire.frame("{\"choices\": [{")));
                }
                Kind::ErrorEvent if middle => {
                    self.over = true;
                    return Some(Ok(self.wire.error_frame()));
                }
                Kind::Drip
                | Kind::Stall
                | Kind::Cut
                | Kind::Malformed
                | Kind::ErrorEvent
                | Kind::Error
                | Kind::Reset
                | Kind::Hang
                | Kind::Slow
                | Kind::Garbage
                | Kind::Empty
                | Kind::Duplicate
                | Kind::WrongId
                | Kind::ForgetKeys
                | Kind::Redirect
                | Kind::RateLimited
                | Kind::RateLimitedInBody => {}
            }
        }
        // Each piece goes out by itself.
        tokio::task::yield_now().await;
        let frame = self.frames.next();
        self.sent += 1;
        self.over = self.frames.len() == 0;
        frame.map(Ok)
    }
}

/// By when a piece is on its way.
const LEAVES: Duration = Duration::from_millis(50);

/// How long nothing comes, where nothing else is said.
pub(super) const USUAL_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_remembered_until_there_are_too_many() {
        let calls = Calls::default();
        let body = json!({"model": "m", "stream": true});
        for number in 0..MOST_CALLS {
            assert_eq!(calls.begin(Wire::OpenAi, &body), number);
        }
        calls.ended(3, "answered");
        assert_eq!(calls.lock()[3]["ended"], "answered");
        assert_eq!(calls.begin(Wire::OpenAi, &body), 0);
    }
}
