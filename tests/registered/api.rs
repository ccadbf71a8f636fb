//! An API on this machine that does what a test wants of it and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

#[derive(Default)]
struct Memory {
    asked: Vec<Asked>,
    /// What was made, by the reference that came with it.
    orders: Vec<Value>,
    /// The one record that has a version.
    account: i64,
    version: u64,
}

/// The API: `/orders` makes and finds, `/account` has a version, and the rest misbehaves.
#[derive(Clone)]
pub struct Api {
    pub url: String,
    memory: Arc<Mutex<Memory>>,
    /// Told whenever `/hang` has done its work and does not answer.
    pub hung: Arc<Notify>,
}

impl Api {
    pub async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    pub async fn start_at(address: std::net::SocketAddr) -> Self {
        let door = tokio::net::TcpListener::bind(address).await.unwrap();
        let api = Self {
            url: format!("http://{}", door.local_addr().unwrap()),
            memory: Arc::default(),
            hung: Arc::default(),
        };
        let app = axum::Router::new().fallback(answer).with_state(api.clone());
        tokio::spawn(async move { axum::serve(door, app).await });
        api
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.memory.lock().unwrap().asked.clone()
    }

    pub fn orders(&self) -> Vec<Value> {
        self.memory.lock().unwrap().orders.clone()
    }

    pub fn account(&self) -> i64 {
        self.memory.lock().unwrap().account
    }

    /// Another hand changes the account.
    pub fn set_account(&self, balance: i64) {
        let mut memory = self.memory.lock().unwrap();
        memory.account = balance;
        memory.version += 1;
    }

    /// Makes an order, once for each key where there is one.
    fn make(&self, asked: &Asked) -> Value {
        let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        let key = asked.headers.get("idempotency-key");
        let reference = key.map(|key| json!(key)).unwrap_or(body["ref"].clone());
        let mut memory = self.memory.lock().unwrap();
        let known = memory.orders.iter().find(|order| order["ref"] == reference);
        if let Some(known) = known.filter(|_| key.is_some()) {
            return known.clone();
        }
        let id = memory.orders.len() + 1;
        let order = json!({"id": id, "ref": reference, "item": body["item"]});
        memory.orders.push(order.clone());
        order
    }
}

async fn answer(
    State(api): State<Api>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let asked = Asked {
        method: method.to_string(),
        target: uri.to_string(),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    api.memory.lock().unwrap().asked.push(asked.clone());
    let ok = |body: Value| axum::Json(body).into_response();
    match (method.as_str(), uri.path()) {
        ("POST", "/orders") => (StatusCode::CREATED, axum::Json(api.make(&asked))).into_response(),
        ("POST", "/hang") => {
            let before = api.orders().len();
            let order = api.make(&asked);
            // Whoever asks again under the same key is answered.
            if api.orders().len() == before {
                return ok(order);
            }
            api.hung.notify_one();
            std::future::pending().await
        }
        ("GET", "/orders") => {
            let query = uri.query().unwrap_or_default().to_owned();
            let found = api.orders().into_iter().filter(|order| {
                query.contains(&format!("ref={}", order["ref"].as_str().unwrap_or("-")))
            });
            ok(json!({"items": found.collect::<Vec<_>>()}))
        }
        ("GET", "/account") => {
            let memory = api.memory.lock().unwrap();
            let etag = format!("\"v{}\"", memory.version);
            let body = axum::Json(json!({"balance": memory.account, "iban": "DE1234567890"}));
            ([("etag", etag)], body).into_response()
        }
        ("PUT", "/account") => {
            let mut memory = api.memory.lock().unwrap();
            let wanted = asked.headers.get("if-match");
            if wanted.is_some_and(|etag| *etag != format!("\"v{}\"", memory.version)) {
                return StatusCode::PRECONDITION_FAILED.into_response();
            }
            let body: Value = serde_json::from_str(&asked.body).unwrap();
            memory.account = body["balance"].as_i64().unwrap();
            memory.version += 1;
            ok(json!({"balance": memory.account}))
        }
        ("GET", "/silent") => std::future::pending().await,
        ("GET", "/large") => "x".repeat(3_000_000).into_response(),
        ("GET", "/broken") => (
            [("content-type", "application/json")],
            "{\"half\": ".to_owned(),
        )
            .into_response(),
        ("GET", "/away") => (
            StatusCode::FOUND,
            [("location", "http://127.0.0.1:1/elsewhere")],
        )
            .into_response(),
        ("GET", "/people") => ok(json!({"rows": [{"email": "a@acme.example", "n": 1}]})),
        ("GET", "/refused") => {
            let words = json!({"error": "no such person as a@acme.example"});
            (StatusCode::NOT_FOUND, axum::Json(words)).into_response()
        }
        ("GET", "/fails") => (StatusCode::INTERNAL_SERVER_ERROR, "it broke").into_response(),
        ("GET", "/openapi.yaml") => serde_yaml_ng::to_string(&description())
            .unwrap()
            .into_response(),
        (_, "/") => ok(json!({"name": "shop"})),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The API's description of a part of itself.
pub fn description() -> Value {
    json!({
        "openapi": "3.1.0", "info": {"title": "shop", "version": "1"},
        "paths": {
            "/people": {
                "get": {"operationId": "people", "summary": "Lists people.", "responses": {}},
                "head": {"operationId": "peek", "responses": {}},
            },
            "/orders": {"post": {
                "operationId": "order", "summary": "Makes an order.", "responses": {},
                "requestBody": {"required": true, "content": {"application/json": {"schema": {
                    "type": "object", "properties": {"item": {"type": "string"}},
                    "required": ["item"],
                }}}},
            }},
        },
    })
}
