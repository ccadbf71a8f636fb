//! For machines that watch: is it alive, can it work, what does it count.

use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::answer::{ok, text, with_status};
use super::caller::Caller;
use super::openapi::Op;
use super::{Door, Problem};
use crate::broker::Trouble;
use crate::domain::principal::Right;
use crate::entry::readiness;
use crate::telemetry;

/// Longest that the store may take to prove it is there.
const PING_DEADLINE: Duration = Duration::from_secs(2);
/// How long one proof serves everyone who asks: these paths need no key, so a flood of questions
/// must not become a flood of writes.
const PING_EVERY: Duration = Duration::from_millis(500);

/// The store's last proof.
#[derive(Default)]
pub(super) struct Readiness {
    last: Mutex<Option<(Instant, bool)>>,
}

impl Readiness {
    async fn store_answers(&self, door: &Door) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, answers)) = *last
            && at.elapsed() < PING_EVERY
        {
            return answers;
        }
        let ping = tokio::time::timeout(PING_DEADLINE, door.broker.ports().store.ping()).await;
        let answers = matches!(ping, Ok(Ok(())));
        *last = Some((Instant::now(), answers));
        answers
    }
}

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

async fn alive() -> Response {
    ok(&json!({"status": "ok"}))
}

async fn ready(State(door): State<Door>, watcher: Watcher) -> Response {
    let store = door.readiness.store_answers(&door).await;
    let body = json!(readiness::told(&door.broker, store, watcher.sees_detail));
    if store {
        return ok(&body);
    }
    let mut answer = with_status(503, &body);
    let soon = axum::http::HeaderValue::from(PING_DEADLINE.as_secs());
    answer
        .headers_mut()
        .insert(axum::http::header::RETRY_AFTER, soon);
    answer
}

async fn metrics(State(door): State<Door>, watcher: Watcher) -> Result<Response, Problem> {
    // Whoever shows a key is answered as its holder, wherever the server listens.
    let open = door.options.open_metrics && watcher.refused.is_none();
    if !open && !watcher.sees_detail {
        return Err(watcher.refused.unwrap_or(Trouble::Unauthenticated).into());
    }
    door.broker.pay.fresh_gauges().await;
    Ok(text(
        "text/plain; version=0.0.4; charset=utf-8",
        telemetry::render(),
    ))
}

/// Somebody who may have a key, or not.
struct Watcher {
    sees_detail: bool,
    refused: Option<Trouble>,
}

impl FromRequestParts<Door> for Watcher {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, Self::Rejection> {
        let watcher = match Caller::from_request_parts(parts, door).await {
            Ok(caller) if caller.who.may_for_all(Right::ReadAll) => Self {
                sees_detail: true,
                refused: None,
            },
            Ok(caller) => Self {
                sees_detail: false,
                refused: Some(Trouble::Forbidden {
                    roles: caller.who.roles,
                }),
            },
            Err(_) => Self {
                sees_detail: false,
                refused: None,
            },
        };
        Ok(watcher)
    }
}

pub(super) const OPS: &[Op] = &[
    Op {
        id: "healthz",
        method: "get",
        path: "/healthz",
        summary: "The process is alive.",
        answers: &[(200, "alive", "Alive")],
        ..Op::NONE
    },
    Op {
        id: "readyz",
        method: "get",
        path: "/readyz",
        summary: "Each dependency. With a key that may read everything, with details.",
        answers: &[
            (200, "ready, or degraded", "Ready"),
            (503, "the store is not answering", "Ready"),
        ],
        ..Op::NONE
    },
    Op {
        id: "metrics",
        method: "get",
        path: "/metrics",
        summary: "Prometheus text. Needs a key unless the server listens on loopback only.",
        answers: &[(200, "the metrics", "text/plain")],
        ..Op::NONE
    },
];
