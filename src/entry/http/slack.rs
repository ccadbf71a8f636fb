//! `POST /slack/actions`: a button was pressed in Slack.
//!
//! Slack waits three seconds. The decision usually takes milliseconds, so the answer waits for it a
//! little, and goes out anyway when the store is slow; the work goes on. A request that Slack did
//! not sign gets 401 and nothing else.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;

use super::answer::{ok, with_status};
use super::openapi::{Op, Param};
use super::{Door, Problem};
use crate::broker::audit::forgeries::Forgery;
use crate::broker::pay::slack::NotGenuine;
use crate::entry::gate;

/// How long the answer waits for the decision. Slack gives up after three seconds.
const PATIENCE: Duration = Duration::from_millis(2_000);

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/slack/actions", post(pressed))
}

async fn pressed(State(door): State<Door>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = gate::read_bytes(body).await?;
    let at = header(&parts.headers, "x-slack-request-timestamp");
    let signature = header(&parts.headers, "x-slack-signature");
    let press = match door.broker.pay.slack_press(at, signature, &body)? {
        Ok(press) => press,
        Err(why) => {
            tracing::warn!(%why, "a callback was not a genuine press");
            return Ok(refused(&door, &why));
        }
    };
    let broker = door.broker.clone();
    let work = tokio::spawn(async move { broker.pay.slack_decide(&press).await });
    match tokio::time::timeout(PATIENCE, work).await {
        // An empty 200 is what Slack wants to hear; the one who pressed hears the rest there.
        Ok(_) | Err(_) => Ok(ok(&json!({}))),
    }
}

fn refused(door: &Door, why: &NotGenuine) -> Response {
    match why {
        NotGenuine::Stale | NotGenuine::BadSignature => {
            door.broker.audit.forged(Forgery::Slack);
            Problem::NotSigned("Slack").into_response()
        }
        // Slack's own, and of a kind that we did not ask for.
        NotGenuine::Unreadable(why) => with_status(200, &json!({"ignored": why})),
    }
}

/// A header's text; empty if it is absent, given twice, or not ASCII.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        _ => "",
    }
}

pub(super) const OPS: &[Op] = &[Op {
    id: "slack_actions",
    method: "post",
    path: "/slack/actions",
    summary: "Button presses, signed by Slack.",
    params: &[
        Param::header(
            "X-Slack-Request-Timestamp",
            "Epoch seconds, at most five minutes off.",
        ),
        Param::header(
            "X-Slack-Signature",
            "`v0=` and the HMAC-SHA256 of the raw body.",
        ),
    ],
    answers: &[(200, "heard", "Heard")],
    problems: &[401, 413, 503],
    ..Op::NONE
}];
