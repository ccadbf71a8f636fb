//! What a fault makes of an answer.

use axum::body::Body;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::connection::Breaks;
use super::faults::{Fault, Kind as FaultKind};
use super::http::{answered, code, json_text, refused, text};
use super::refusal::Refusal;

/// The answer that a fault gives whatever was done.
pub(super) fn instead(fault: &Fault) -> Response {
    match fault.kind {
        FaultKind::Error => {
            let refusal = Refusal::trouble(fault.status());
            match &fault.body {
                Some(body) => text(code(refusal.status), body.clone()),
                None => refused(&refusal),
            }
        }
        FaultKind::Reset => broken(Breaks::Reset),
        FaultKind::Hang => broken(Breaks::AfterSilence(fault.delay())),
        FaultKind::Garbage => {
            let page = "<html><body>Something went wrong</body></html>";
            let body = fault.body.clone().unwrap_or_else(|| page.to_owned());
            text(StatusCode::OK, body)
        }
        FaultKind::Empty => text(StatusCode::OK, String::new()),
        FaultKind::Redirect => {
            let mut response = text(code(fault.status()), String::new());
            // Whoever follows makes a payout that nobody can find under its name.
            let elsewhere = HeaderValue::from_static("/v1/payouts?redirected=true");
            response.headers_mut().insert(LOCATION, elsewhere);
            response
        }
        FaultKind::Slow
        | FaultKind::Duplicate
        | FaultKind::WrongId
        | FaultKind::ForgetKeys
        | FaultKind::Cut
        | FaultKind::Malformed
        | FaultKind::RateLimited
        | FaultKind::RateLimitedInBody
        | FaultKind::ErrorEvent
        | FaultKind::Stall
        | FaultKind::Drip => refused(&Refusal::trouble(500)),
    }
}

/// Shows the same thing twice: list items doubled, anything else answered twice over.
pub(super) fn doubled(mut body: Value) -> Response {
    if let Some(items) = body.get_mut("items").and_then(Value::as_array_mut) {
        let again = items.clone();
        items.extend(again);
        body["count"] = json!(body["items"].as_array().map_or(0, Vec::len));
        return answered(&Ok(body));
    }
    json_text(StatusCode::OK, format!("{body}{body}"))
}

/// Another payout's answer: its id and reference, the rest as it was.
pub(super) fn swapped(mut body: Value) -> Value {
    if let Some(items) = body.get_mut("items").and_then(Value::as_array_mut) {
        for item in items {
            *item = swapped(item.take());
        }
        return body;
    }
    if let Some(id) = body.get("id").and_then(Value::as_str) {
        let (prefix, rest) = id.split_once('_').unwrap_or(("", id));
        body["id"] = json!(format!(
            "{prefix}_{}",
            rest.chars().rev().collect::<String>()
        ));
        body["reference_id"] = json!("another-payouts-reference");
    }
    body
}

fn broken(how: Breaks) -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(how);
    response
}
