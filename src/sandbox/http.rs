//! The bank's doors: RazorpayX under `/v1`, the sandbox's own calls and controls under `/sandbox`.
//!
//! Every bank call goes through one place, `call`, where the credentials are checked and where an
//! armed fault strikes. A request that has begun runs to its end even if the client hangs up, as
//! it would at a bank.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Request, State as Shared};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::bank::Bank;
use super::connection::Breaks;
use super::faults::{Fault, Faults, Kind as FaultKind, Operation, When};
use super::ledger::Kind;
use super::payout::State;
use super::refusal::Refusal;
use super::request::{self, Filter};
use super::webhooks::{Webhook, Webhooks};
use crate::ambient::Ambient;
use crate::domain::ids::hex;
use crate::domain::strict;

/// Ledger text handed to a client at a time.
const CHUNK: usize = 64 * 1024;
/// Chunks of the ledger read ahead of a slow client.
const CHUNKS_AHEAD: usize = 4;

/// What the doors share.
pub(super) struct Desk {
    pub(super) bank: Mutex<Bank>,
    pub(super) faults: Arc<Faults>,
    pub(super) webhooks: Webhooks,
    pub(super) ambient: Ambient,
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
    let controls = Router::new()
        .route("/ledger", get(ledger))
        .route("/faults", get(faults).post(arm).delete(disarm))
        .route("/reset", post(reset))
        .route("/payouts", post(make))
        .route("/payouts/{id}/state", post(push))
        .route("/balance", post(set_balance))
        .route("/webhook", post(aim).delete(silence))
        .layer(from_fn(no_browsers));
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
        .nest("/sandbox", controls)
        .fallback(async || refused(&Refusal::no_such_page()))
        .method_not_allowed_fallback(async || refused(&Refusal::no_such_page()))
        .layer(DefaultBodyLimit::max(strict::MAX_BYTES))
        .with_state(desk)
}

/// A page in a browser must not steer the sandbox of the person who looks at it.
async fn no_browsers(request: Request, next: Next) -> Response {
    if request.headers().contains_key("origin") {
        return text(StatusCode::FORBIDDEN, "not from a browser".to_owned());
    }
    next.run(request).await
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
                spoilt_after(&fault, answer).await
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
        FaultKind::ForgetKeys => {
            let now = desk.ambient.now();
            let forgotten = desk.bank().forget_keys(now);
            answered(&forgotten.and_then(|()| settle(desk, work)))
        }
        FaultKind::Error
        | FaultKind::Reset
        | FaultKind::Hang
        | FaultKind::Garbage
        | FaultKind::Empty
        | FaultKind::Duplicate
        | FaultKind::WrongId
        | FaultKind::Redirect => spoilt(fault),
    }
}

async fn spoilt_after(fault: &Fault, answer: Answer) -> Response {
    match (fault.kind, answer) {
        (FaultKind::Slow, answer) => {
            tokio::time::sleep(fault.delay()).await;
            answered(&answer)
        }
        (FaultKind::Duplicate, Ok(body)) => doubled(body),
        (FaultKind::WrongId, Ok(body)) => answered(&Ok(swapped(body))),
        (FaultKind::Duplicate | FaultKind::WrongId | FaultKind::ForgetKeys, answer) => {
            answered(&answer)
        }
        (
            FaultKind::Error
            | FaultKind::Reset
            | FaultKind::Hang
            | FaultKind::Garbage
            | FaultKind::Empty
            | FaultKind::Redirect,
            _,
        ) => spoilt(fault),
    }
}

/// The answer that a fault gives whatever was done.
fn spoilt(fault: &Fault) -> Response {
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
        FaultKind::Slow | FaultKind::Duplicate | FaultKind::WrongId | FaultKind::ForgetKeys => {
            refused(&Refusal::trouble(500))
        }
    }
}

/// Shows the same thing twice: list items doubled, anything else answered twice over.
fn doubled(mut body: Value) -> Response {
    if let Some(items) = body.get_mut("items").and_then(Value::as_array_mut) {
        let again = items.clone();
        items.extend(again);
        body["count"] = json!(body["items"].as_array().map_or(0, Vec::len));
        return answered(&Ok(body));
    }
    json_text(StatusCode::OK, format!("{body}{body}"))
}

/// Another payout's answer: its id and reference, the rest as it was.
fn swapped(mut body: Value) -> Value {
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

fn answered(answer: &Answer) -> Response {
    match answer {
        Ok(body) => json_text(StatusCode::OK, body.to_string()),
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: &Refusal) -> Response {
    json_text(code(refusal.status), refusal.json().to_string())
}

fn broken(how: Breaks) -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(how);
    response
}

fn json_text(status: StatusCode, body: String) -> Response {
    let mut response = text(status, body);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn text(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
