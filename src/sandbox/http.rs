//! The bank's doors: RazorpayX under `/v1`, and the sandbox's own kind of call under `/sandbox`.
//!
//! Every bank call goes through one place, `call`, where the credentials are checked and where an
//! armed fault strikes. A request that has begun runs to its end even if the client hangs up, as
//! it would at a bank.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State as Shared};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::bank::Bank;
use super::faults::{Fault, Faults, Kind as FaultKind, Operation, When};
use super::ledger::Kind;
use super::models::{self, Calls};
use super::refusal::Refusal;
use super::request::{self, Filter};
use super::webhooks::Webhooks;
use super::{controls, spoil};
use crate::ambient::Ambient;
use crate::domain::hostname::Hostnames;
use crate::domain::strict;

/// What the doors share.
pub(super) struct Desk {
    pub(super) bank: Mutex<Bank>,
    pub(super) faults: Arc<Faults>,
    pub(super) webhooks: Webhooks,
    pub(super) ambient: Ambient,
    /// What reached the model.
    pub(super) calls: Calls,
    /// The names it answers to.
    pub(super) hosts: Hostnames,
    /// `key:secret`, if only one is accepted.
    pub(super) credentials: Option<String>,
}

type Answer = Result<Value, Refusal>;

impl Desk {
    pub(super) fn bank(&self) -> MutexGuard<'_, Bank> {
        self.bank.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what the bank has to tell.
    pub(super) fn tell(&self) {
        let news = self.bank().take_news();
        self.webhooks.tell(news, &self.ambient);
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let header = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let (scheme, rest) = header
            .and_then(|header| header.split_once(' '))
            .ok_or_else(Refusal::unauthenticated)?;
        let given = match scheme.to_ascii_lowercase().as_str() {
            "basic" => {
                let decoded = STANDARD.decode(rest.trim()).unwrap_or_default();
                String::from_utf8(decoded).unwrap_or_default()
            }
            // Razorpay's partners approve with a bearer token.
            "bearer" if self.credentials.is_none() => rest.trim().to_owned(),
            _ => String::new(),
        };
        let admitted = match &self.credentials {
            Some(expected) => bool::from(expected.as_bytes().ct_eq(given.as_bytes())),
            None => !given.is_empty() && !given.starts_with(':'),
        };
        if admitted {
            Ok(())
        } else {
            Err(Refusal::unauthenticated())
        }
    }
}

/// All routes.
pub(super) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/v1/payouts", post(create_payout).get(list_payouts))
        .route("/v1/payouts/{id}", get(fetch_payout))
        .route("/v1/payouts/{id}/{verb}", post(decide))
        .route("/v1/banking_balances", get(balances))
        .route(
            "/sandbox/transfers",
            post(create_transfer).get(list_transfers),
        )
        .route("/sandbox/transfers/{id}", get(fetch_transfer))
        .route("/sandbox/health", get(health))
        .nest(models::PATH, models::router())
        .nest("/sandbox", controls::router())
        .fallback(async || refused(&Refusal::no_such_page()))
        .method_not_allowed_fallback(async || refused(&Refusal::no_such_page()))
        .layer(DefaultBodyLimit::max(strict::MAX_BYTES))
        .layer(from_fn_with_state(desk.clone(), controls::known_names))
        .with_state(desk)
}

/// One bank call: credentials, then fault, then work, then fault.
async fn call(
    desk: Arc<Desk>,
    headers: HeaderMap,
    operation: Operation,
    work: impl FnOnce(&Desk) -> Answer + Send + 'static,
) -> Response {
    if let Err(refusal) = desk.admit(&headers) {
        return refused(&refusal);
    }
    let Some(fault) = desk.faults.strike(operation, &desk.ambient) else {
        return answered(&settle(&desk, work));
    };
    // In a task of its own, so that a client that hangs up does not undo what has begun.
    let task = tokio::spawn(async move {
        match fault.when {
            When::Before => spoilt_before(&desk, &fault, work).await,
            When::After => {
                let answer = settle(&desk, work);
                spoilt_after(&desk, &fault, answer).await
            }
        }
    });
    task.await
        .unwrap_or_else(|_| refused(&Refusal::trouble(500)))
}

fn settle(desk: &Desk, work: impl FnOnce(&Desk) -> Answer) -> Answer {
    let answer = work(desk);
    desk.tell();
    answer
}

async fn spoilt_before(desk: &Desk, fault: &Fault, work: impl FnOnce(&Desk) -> Answer) -> Response {
    match fault.kind {
        FaultKind::Slow => {
            tokio::time::sleep(fault.delay()).await;
            answered(&settle(desk, work))
        }
        FaultKind::ForgetKeys => answered(&forget_keys(desk).and_then(|()| settle(desk, work))),
        FaultKind::Error
        | FaultKind::Reset
        | FaultKind::Hang
        | FaultKind::Garbage
        | FaultKind::Empty
        | FaultKind::Duplicate
        | FaultKind::WrongId
        | FaultKind::Redirect
        | FaultKind::Cut
        | FaultKind::Malformed
        | FaultKind::RateLimited
        | FaultKind::RateLimitedInBody
        | FaultKind::ErrorEvent
        | FaultKind::Stall
        | FaultKind::Drip => spoil::instead(fault),
    }
}

fn forget_keys(desk: &Desk) -> Result<(), Refusal> {
    let now = desk.ambient.now();
    desk.bank().forget_keys(now)
}

async fn spoilt_after(desk: &Desk, fault: &Fault, answer: Answer) -> Response {
    match (fault.kind, answer) {
        (FaultKind::Slow, answer) => {
            tokio::time::sleep(fault.delay()).await;
            answered(&answer)
        }
        (FaultKind::Duplicate, Ok(body)) => spoil::doubled(body),
        (FaultKind::WrongId, Ok(body)) => answered(&Ok(spoil::swapped(body))),
        (FaultKind::ForgetKeys, Ok(body)) => answered(&forget_keys(desk).map(|()| body)),
        (FaultKind::Duplicate | FaultKind::WrongId | FaultKind::ForgetKeys, answer) => {
            answered(&answer)
        }
        (
            FaultKind::Error
            | FaultKind::Reset
            | FaultKind::Hang
            | FaultKind::Garbage
            | FaultKind::Empty
            | FaultKind::Redirect
            | FaultKind::Cut
            | FaultKind::Malformed
            | FaultKind::RateLimited
            | FaultKind::RateLimitedInBody
            | FaultKind::ErrorEvent
            | FaultKind::Stall
            | FaultKind::Drip,
            _,
        ) => spoil::instead(fault),
    }
}

async fn create_payout(
    Shared(desk): Shared<Arc<Desk>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    create(desk, headers, body, Kind::Payout, Operation::Create).await
}

async fn create_transfer(
    Shared(desk): Shared<Arc<Desk>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    create(desk, headers, body, Kind::Transfer, Operation::Transfer).await
}

async fn create(
    desk: Arc<Desk>,
    headers: HeaderMap,
    body: Bytes,
    kind: Kind,
    operation: Operation,
) -> Response {
    let key = headers
        .get("X-Payout-Idempotency")
        .map(|key| key.as_bytes().to_vec());
    call(desk, headers, operation, move |desk| {
        let key = request::idempotency_key(key.as_deref())?;
        let body = request::object(&body)?;
        desk.bank().create(kind, &key, body, desk.ambient.now())
    })
    .await
}

async fn fetch_payout(
    Shared(desk): Shared<Arc<Desk>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let work = move |desk: &Desk| desk.bank().fetch(Kind::Payout, &id);
    call(desk, headers, Operation::Fetch, work).await
}

async fn fetch_transfer(
    Shared(desk): Shared<Arc<Desk>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let work = move |desk: &Desk| desk.bank().fetch(Kind::Transfer, &id);
    call(desk, headers, Operation::FindTransfers, work).await
}

async fn list_payouts(Shared(desk): Shared<Arc<Desk>>, headers: HeaderMap, uri: Uri) -> Response {
    list(desk, headers, uri, Kind::Payout, Operation::List).await
}

async fn list_transfers(Shared(desk): Shared<Arc<Desk>>, headers: HeaderMap, uri: Uri) -> Response {
    list(desk, headers, uri, Kind::Transfer, Operation::FindTransfers).await
}

async fn list(
    desk: Arc<Desk>,
    headers: HeaderMap,
    uri: Uri,
    kind: Kind,
    operation: Operation,
) -> Response {
    call(desk, headers, operation, move |desk| {
        let query = uri.query().unwrap_or_default().as_bytes();
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(query).into_owned().collect();
        let filter = Filter::read(kind, &pairs)?;
        desk.bank().list(kind, &filter)
    })
    .await
}

async fn balances(Shared(desk): Shared<Arc<Desk>>, headers: HeaderMap) -> Response {
    let work = |desk: &Desk| Ok(desk.bank().balances(desk.ambient.now()));
    call(desk, headers, Operation::Balance, work).await
}

async fn decide(
    Shared(desk): Shared<Arc<Desk>>,
    headers: HeaderMap,
    Path((id, verb)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let operation = match verb.as_str() {
        "approve" => Operation::Approve,
        "reject" => Operation::Reject,
        "cancel" => Operation::Cancel,
        _ => return refused(&Refusal::no_such_page()),
    };
    call(desk, headers, operation, move |desk| {
        let now = desk.ambient.now();
        if operation == Operation::Cancel {
            return desk.bank().cancel(&id, now);
        }
        let remarks = request::remarks(&request::object(&body)?)?;
        if operation == Operation::Approve {
            desk.bank().approve(&id, remarks, now)
        } else {
            desk.bank().reject(&id, remarks, now)
        }
    })
    .await
}

async fn health(Shared(desk): Shared<Arc<Desk>>) -> Response {
    answered(&Ok(json!({
        "service": "hundi-sandbox",
        "version": env!("CARGO_PKG_VERSION"),
        "status": "ok",
        "payouts": desk.bank().count(),
    })))
}

pub(super) fn answered(answer: &Answer) -> Response {
    match answer {
        Ok(body) => json_text(StatusCode::OK, body.to_string()),
        Err(refusal) => refused(refusal),
    }
}

pub(super) fn refused(refusal: &Refusal) -> Response {
    json_text(code(refusal.status), refusal.json().to_string())
}

pub(super) fn json_text(status: StatusCode, body: String) -> Response {
    let mut response = text(status, body);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

pub(super) fn text(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}

pub(super) fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
