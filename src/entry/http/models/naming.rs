//! `X-Hundi-Request-Id` on whatever is answered under `/v1/requests`, refusals included: the request
//! that was made or asked about, or the name that a refused one would have had, under which the audit
//! log knows it.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;

use super::super::Door;
use super::refused::{REQUEST_ID, named};
use crate::domain::ids::RequestId;

/// The name that a request gets which is made now.
#[derive(Clone, Copy)]
pub struct NewName(pub RequestId);

/// Names what has no name yet.
pub async fn name(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let Some(rest) = path.strip_prefix("/v1/requests") else {
        return next.run(request).await;
    };
    let made = rest.is_empty() && request.method() == Method::POST;
    let id = match made {
        true => Some(door.broker.requests.new_id()),
        false => rest.split('/').nth(1).and_then(|text| text.parse().ok()),
    };
    if let Some(id) = id.filter(|_| made) {
        request.extensions_mut().insert(NewName(id));
    }
    let mut answer = next.run(request).await;
    if let Some(id) = id.filter(|_| !answer.headers().contains_key(REQUEST_ID)) {
        named(&mut answer, id);
    }
    answer
}

/// Names an answer by what it tells: under an idempotency key that is an earlier request.
pub fn as_told(answer: &mut Response, body: &Value) {
    let told = body.get("request_id").and_then(Value::as_str);
    if let Some(id) = told.and_then(|text| text.parse().ok()) {
        named(answer, id);
    }
}
