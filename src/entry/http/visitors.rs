//! Who may talk to the doors at all: which names they answer to, and which pages in a browser may
//! read their answers (CORS).
//!
//! Looked at before anything else and on every path, so that no door is forgotten. A program that is
//! no browser sends no `Origin` and notices nothing of this.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Problem;
use crate::entry::origin::{Foreign, Names};

/// Every method that any door takes.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
/// Asked for where a preflight names no headers of its own.
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type");
/// What a page may read of an answer besides its body.
const SHOWN: HeaderValue =
    HeaderValue::from_static("mcp-session-id, mcp-protocol-version, retry-after, www-authenticate");
/// Seconds for which a browser need not ask again.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("600");

/// A page that may read the answer; `None` inside for whoever is no page.
pub(super) struct Visitor(Option<HeaderValue>);

/// Lets a request in, or gives the answer that ends it: a refusal, or a page's preflight.
pub(super) fn admit(names: &Names, request: &Request) -> Result<Visitor, Box<Response>> {
    let headers = request.headers();
    // Old probes name no host, and no browser leaves it out.
    if headers.contains_key(HOST) || headers.contains_key(ORIGIN) {
        let admitted = names.admit(request.uri(), headers);
        admitted.map_err(|foreign| Box::new(Problem::Foreign(foreign).into_response()))?;
    }
    let visitor = Visitor(headers.get(ORIGIN).cloned());
    let asks = headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if visitor.0.is_some() && asks && request.method() == Method::OPTIONS {
        return Err(Box::new(visitor.preflight(headers)));
    }
    Ok(visitor)
}

impl Visitor {
    /// Lets the page read the answer.
    pub(super) fn may_read(&self, headers: &mut HeaderMap) {
        let Some(origin) = &self.0 else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN);
        headers.append(VARY, HeaderValue::from_static("origin"));
    }

    /// The page is trusted, so it may send whatever headers it likes; its key is what counts.
    fn preflight(&self, asked: &HeaderMap) -> Response {
        let mut answer = StatusCode::NO_CONTENT.into_response();
        let wanted = asked.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let headers = answer.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            wanted.cloned().unwrap_or(HEADERS),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, ASK_AGAIN);
        self.may_read(headers);
        answer
    }
}

impl Problem {
    /// The code, and what helps, where a request came under a foreign name or from a foreign page.
    pub(super) fn foreign(foreign: Foreign) -> (&'static str, String) {
        match foreign {
            Foreign::NoHost | Foreign::Host => ("foreign_host", foreign.to_string()),
            Foreign::Origin => ("foreign_origin", foreign.to_string()),
        }
    }
}
