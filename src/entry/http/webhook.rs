//! `POST /webhooks/razorpay`: the bank calls.
//!
//! The bank wants a 2xx within five seconds and repeats for a day otherwise. So a genuine webhook
//! is stored and answered, whatever it says; the work comes after. 401 is for forgeries; 503 says
//! that it could not be stored, and the bank comes again.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;

use super::answer::ok;
use super::openapi::{Op, Param};
use super::slack::header;
use super::{Door, Problem};
use crate::broker::bank::webhook::Received;
use crate::entry::gate;

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/webhooks/razorpay", post(razorpay))
}

async fn razorpay(State(door): State<Door>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = gate::read_bytes(body).await?;
    let signature = header(&parts.headers, "x-razorpay-signature");
    let event_id = header(&parts.headers, "x-razorpay-event-id");
    let received = door.broker.bank.receive_webhook(&body, signature, event_id);
    Ok(match received.await? {
        Received::Forged => Problem::NotSigned("the bank").into_response(),
        received @ (Received::Accepted | Received::Duplicate | Received::Kept) => {
            ok(&json!({"status": received.name()}))
        }
    })
}

pub(super) const OPS: &[Op] = &[Op {
    id: "razorpay_webhook",
    method: "post",
    path: "/webhooks/razorpay",
    summary: "Events of the bank, signed by it.",
    params: &[
        Param::header("X-Razorpay-Signature", "HMAC-SHA256 of the raw body, hex."),
        Param::header(
            "X-Razorpay-Event-Id",
            "Names the event, the same on every retry.",
        ),
    ],
    answers: &[(200, "stored, known already, or kept", "Heard")],
    problems: &[401, 413, 503],
    ..Op::NONE
}];
