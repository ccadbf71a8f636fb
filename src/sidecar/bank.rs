//! One HTTP request to the bank, and a faithful report of what became of it.
//!
//! Sends once: no retry, no redirect, no proxy from the environment. The report separates what is
//! proven (nothing was sent) from what is not, because on that hangs whether money may be sent
//! again. Bodies are read up to a bound and strictly: an answer that two readers could understand
//! differently is no answer.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response, redirect};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Settings, SidecarError};
use crate::domain::strict;

/// The bank's mandatory header on everything that creates.
const IDEMPOTENCY_HEADER: &str = "X-Payout-Idempotency";
/// A bank that takes longer to accept a connection is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Below the broker's own deadline (15 s), so that the broker hears "timed out" from us instead of
/// having to give us up.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(12);
/// Idle connections kept: as many as calls are expected at once.
const POOL_SIZE: usize = 128;
/// Below the 60 s after which servers commonly hang up, so that a request seldom meets a
/// connection that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// What to ask.
pub(super) struct Request {
    pub(super) method: Method,
    /// From the root of the bank's address, ids already checked.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Option<String>,
    pub(super) idempotency_key: Option<String>,
}

impl Request {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            query: Vec::new(),
            body: None,
            idempotency_key: None,
        }
    }

    pub(super) fn post(path: impl Into<String>, body: Option<String>) -> Self {
        Self {
            method: Method::POST,
            body,
            ..Self::get(path)
        }
    }
}

/// What became of it.
#[derive(Debug, PartialEq)]
pub(super) enum Report {
    /// A 2xx with a JSON body.
    Answer { status: u16, body: Value },
    /// Any other status; `body` is null unless it is JSON.
    Http { status: u16, body: Value },
    /// A 2xx whose body is not JSON, ambiguous, or too long.
    Unreadable { status: u16, detail: String },
    /// No answer. `sent` is false only if provably nothing was sent.
    Transport { sent: bool, detail: String },
    /// Not sent: the arguments are not what the tool takes.
    Arguments { detail: String },
    /// Not sent: what the bank showed first rules it out.
    Precondition { code: String, detail: String },
}

impl Report {
    /// As the tool's structured content, and whether it is an error.
    pub(super) fn content(self) -> (Value, bool) {
        let error = |error: Value| (json!({ "error": error }), true);
        match self {
            Report::Answer { status, body } => (json!({"status": status, "body": body}), false),
            Report::Http { status, body } => {
                error(json!({"kind": "http", "status": status, "body": body}))
            }
            Report::Unreadable { status, detail } => {
                error(json!({"kind": "unreadable", "status": status, "detail": detail}))
            }
            Report::Transport { sent, detail } => {
                error(json!({"kind": "transport", "sent": sent, "detail": detail}))
            }
            Report::Arguments { detail } => error(json!({"kind": "arguments", "detail": detail})),
            Report::Precondition { code, detail } => {
                error(json!({"kind": "precondition", "code": code, "detail": detail}))
            }
        }
    }

    /// One word for the log.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Report::Answer { .. } => "answer",
            Report::Http { .. } => "http",
            Report::Unreadable { .. } => "unreadable",
            Report::Transport { sent: true, .. } => "lost",
            Report::Transport { sent: false, .. } => "not_sent",
            Report::Arguments { .. } => "arguments",
            Report::Precondition { .. } => "precondition",
        }
    }
}

/// The bank at its address, with our credentials.
pub(super) struct Bank {
    client: Client,
    base: String,
}

impl Bank {
    pub(super) fn new(settings: &Settings) -> Result<Self, SidecarError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = basic(&settings.key_id, &settings.key_secret) {
            headers.insert(AUTHORIZATION, value);
        }
        let builder = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("hundi/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE);
        let builder = match settings.base.scheme() {
            // A machine without any certificates can still try the sandbox.
            "http" => builder.tls_certs_only([]),
            _ => builder.https_only(true),
        };
        Ok(Self {
            client: builder.build().map_err(SidecarError::Client)?,
            base: settings.base.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Sends the request, once.
    pub(super) async fn ask(&self, request: Request) -> Report {
        let url = format!("{}{}", self.base, request.path);
        let mut builder = self.client.request(request.method, url);
        if !request.query.is_empty() {
            builder = builder.query(&request.query);
        }
        if let Some(key) = &request.idempotency_key {
            builder = builder.header(IDEMPOTENCY_HEADER, key);
        }
        if let Some(body) = request.body {
            builder = builder
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body);
        }
        match builder.send().await {
            Ok(response) => read(response).await,
            Err(error) => Report::Transport {
                // A request that could not be built or had no connection was never written.
                sent: !(error.is_connect() || error.is_builder()),
                detail: cause(&error),
            },
        }
    }
}

/// `Basic key:secret`, marked so that nothing prints it. `None` cannot happen: Base64 is a valid
/// header value.
fn basic(key_id: &str, key_secret: &str) -> Option<HeaderValue> {
    let pair = Zeroizing::new(format!("{key_id}:{key_secret}"));
    let encoded = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&encoded).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn read(mut response: Response) -> Report {
    let status = response.status();
    let code = status.as_u16();
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > strict::MAX_BYTES {
                    let detail = "the body is longer than is read".to_owned();
                    return Report::Unreadable {
                        status: code,
                        detail,
                    };
                }
            }
            Ok(None) => break,
            Err(error) => {
                let detail = format!("the answer broke off: {}", cause(&error));
                return Report::Transport { sent: true, detail };
            }
        }
    }
    match (status.is_success(), strict::parse(&bytes)) {
        (true, Ok(body)) => Report::Answer { status: code, body },
        (true, Err(why)) => Report::Unreadable {
            status: code,
            detail: format!("the body is not plain JSON: {}", why.code()),
        },
        (false, body) => Report::Http {
            status: code,
            body: body.unwrap_or(Value::Null),
        },
    }
}

/// The innermost cause in words. The error itself would show the address, with its query.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::eq(cause, error as &dyn std::error::Error) {
        return "the request failed".to_owned();
    }
    cause.to_string()
}
