//! The sandbox's own controls: its ledger, faults, and payouts made by hand. No credentials, but not
//! for pages in a browser either.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State as Shared};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::http::{Desk, answered, refused, text};
use super::payout::State;
use super::refusal::Refusal;
use super::request;
use super::webhooks::Webhook;
use crate::domain::hostname::SETTING;
use crate::domain::ids::hex;
use crate::domain::strict;

/// Ledger text handed to a client at a time.
const CHUNK: usize = 64 * 1024;
/// Chunks of the ledger read ahead of a slow client.
const CHUNKS_AHEAD: usize = 4;

/// Routes under `/sandbox`.
pub(super) fn router() -> Router<Arc<Desk>> {
    Router::new()
        .route("/ledger", get(ledger))
        .route("/faults", get(faults).post(arm).delete(disarm))
        .route("/reset", post(reset))
        .route("/payouts", post(make))
        .route("/payouts/{id}/state", post(push))
        .route("/balance", post(set_balance))
        .route("/webhook", post(aim).delete(silence))
        .layer(from_fn(no_browsers))
}

/// A page in a browser must not steer the sandbox of the person who looks at it.
async fn no_browsers(request: Request, next: Next) -> Response {
    if request.headers().contains_key("origin") {
        return text(StatusCode::FORBIDDEN, "not from a browser".to_owned());
    }
    next.run(request).await
}

/// A page can point its own name at this machine. Whatever is asked for, the name must be known;
/// programs that name none are no browsers.
pub(super) async fn known_names(
    Shared(desk): Shared<Arc<Desk>>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get(HOST);
    let known = host.is_none_or(|host| {
        let host = host.to_str().unwrap_or_default();
        desk.hosts.answer_to(host)
    });
    if known {
        return next.run(request).await;
    }
    let words = format!("the sandbox does not answer to that host name; name it in {SETTING}\n");
    text(StatusCode::FORBIDDEN, words)
}

/// The ledger can be long, so it is streamed from the file.
async fn ledger(Shared(desk): Shared<Arc<Desk>>) -> Response {
    let rows = match desk.bank().rows() {
        Ok(rows) => rows,
        Err(error) => {
            tracing::error!(%error, "the sandbox's ledger cannot be read");
            return refused(&Refusal::trouble(500));
        }
    };
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut chunk = String::from("[");
        let mut first = true;
        for row in rows {
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            };
            chunk.push_str(if first { "\n" } else { ",\n" });
            first = false;
            chunk.push_str(&row);
            if chunk.len() >= CHUNK {
                let full = std::mem::take(&mut chunk);
                if sender.blocking_send(Ok(full.into())).is_err() {
                    return;
                }
            }
        }
        chunk.push_str("\n]\n");
        let _ = sender.blocking_send(Ok(chunk.into()));
    });
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let mut response = Response::new(Body::from_stream(stream));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

async fn faults(Shared(desk): Shared<Arc<Desk>>) -> Response {
    answered(&Ok(desk.faults.list()))
}

async fn arm(Shared(desk): Shared<Arc<Desk>>, body: Bytes) -> Response {
    let read = strict::parse(&body).map_err(|why| Refusal::body(why.to_string()));
    let armed = read.and_then(|request| desk.faults.arm(&request));
    answered(&armed.map(|()| desk.faults.list()))
}

async fn disarm(Shared(desk): Shared<Arc<Desk>>) -> Response {
    desk.faults.clear();
    answered(&Ok(desk.faults.list()))
}

/// Empties the bank and disarms every fault. The file keeps what was.
async fn reset(Shared(desk): Shared<Arc<Desk>>) -> Response {
    desk.faults.clear();
    let salt = hex(&desk.ambient.bytes::<8>());
    let now = desk.ambient.now();
    let begun = desk.bank().begin(now, &salt);
    answered(&match begun {
        Ok(()) => Ok(json!({"status": "ok"})),
        Err(_) => Err(Refusal::trouble(500)),
    })
}

/// A payout that a person made at the bank: `status` is `pending` (default), `queued` or
/// `scheduled`; every other field is that of a create, with something sensible where it is left
/// out.
async fn make(Shared(desk): Shared<Arc<Desk>>, body: Bytes) -> Response {
    let made = request::object(&body).and_then(|mut fields| {
        let status = match fields.remove("status") {
            None => State::Pending,
            Some(status) => match serde_json::from_value(status) {
                Ok(status @ (State::Pending | State::Queued | State::Scheduled)) => status,
                Ok(_) | Err(_) => {
                    let words = "It is pending, queued or scheduled.";
                    return Err(Refusal::field("status", words));
                }
            },
        };
        let usual = json!({
            "account_number": super::ACCOUNT_NUMBER, "fund_account_id": "fa_00000000000001",
            "amount": 10_000, "currency": "INR", "mode": "IMPS", "purpose": "vendor bill",
        });
        for (field, value) in usual.as_object().into_iter().flatten() {
            fields.entry(field.clone()).or_insert_with(|| value.clone());
        }
        desk.bank().make(status, fields, desk.ambient.now())
    });
    desk.tell();
    answered(&made)
}

/// `{"status": "reversed"}`: moves a payout on, along the ways that payouts go.
async fn push(Shared(desk): Shared<Arc<Desk>>, Path(id): Path<String>, body: Bytes) -> Response {
    let pushed = request::object(&body).and_then(|mut fields| {
        let status = fields.remove("status").unwrap_or_default();
        let to = serde_json::from_value(status)
            .map_err(|_| Refusal::field("status", "It is a state of a payout."))?;
        desk.bank().push(&id, to, desk.ambient.now())
    });
    desk.tell();
    answered(&pushed)
}

/// `{"account_number"?, "balance"}` in minor units.
async fn set_balance(Shared(desk): Shared<Arc<Desk>>, body: Bytes) -> Response {
    let set = request::object(&body).and_then(|fields| {
        let account = fields.get("account_number").and_then(Value::as_str);
        let minor = fields.get("balance").and_then(Value::as_i64);
        let minor = minor.ok_or_else(|| Refusal::field("balance", "It is an integer."))?;
        let now = desk.ambient.now();
        let mut bank = desk.bank();
        bank.set_balance(account.unwrap_or(super::ACCOUNT_NUMBER), minor, now)?;
        Ok(bank.balances(now))
    });
    desk.tell();
    answered(&set)
}

/// `{"url", "secret", "events"?}`: where webhooks go from now on.
async fn aim(Shared(desk): Shared<Arc<Desk>>, body: Bytes) -> Response {
    let read = request::object(&body).and_then(|fields| {
        serde_json::from_value::<Webhook>(Value::Object(fields))
            .map_err(|_| Refusal::body("It is {\"url\", \"secret\", \"events\"?}."))
    });
    let aimed = read.and_then(|target| desk.webhooks.aim(Some(target)));
    desk.bank().listening = desk.webhooks.are_wanted();
    answered(&aimed.map(|()| json!({"status": "ok"})))
}

async fn silence(Shared(desk): Shared<Arc<Desk>>) -> Response {
    let aimed = desk.webhooks.aim(None);
    desk.bank().listening = false;
    answered(&aimed.map(|()| json!({"status": "ok"})))
}
