//! Asking the door, without a socket.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use hundi::entry::http::{HttpOptions, router};
use serde_json::Value;
use tower::ServiceExt;

use crate::support::fixture::Fixture;

/// What the door said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// A fixture and its door.
pub struct Door {
    pub fixture: Fixture,
    pub router: Router,
}

impl Door {
    pub async fn new() -> Self {
        Self::with(HttpOptions::default()).await
    }

    pub async fn with(options: HttpOptions) -> Self {
        let fixture = Fixture::new().await;
        let router = router(fixture.broker.clone(), options);
        Self { fixture, router }
    }

    pub async fn get(&self, path: &str, key: &str) -> Answer {
        self.ask("GET", path, key, None).await
    }

    pub async fn post(&self, path: &str, key: &str, body: Value) -> Answer {
        self.ask("POST", path, key, Some(body.to_string())).await
    }

    /// No body at all.
    pub async fn poke(&self, path: &str, key: &str) -> Answer {
        self.ask("POST", path, key, None).await
    }

    pub async fn ask(&self, method: &str, path: &str, key: &str, body: Option<String>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, Body::from);
        self.send(request.body(body).unwrap()).await
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            bytes: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }
}
