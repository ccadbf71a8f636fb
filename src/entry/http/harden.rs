//! What every HTTP request passes, whichever door it wants: the names we answer to, a bound on how
//! long, a net under panics, and the same security headers on every answer, refusals included. How
//! much is worked on at once is counted for whoever asks ([`Visit`]), never for everybody together.
//!
//! One function and one boxed future: a stack of middleware would cost more than the work.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::models::astray;
use super::seats::Seat;
use super::visit::{Visit, Visiting};
use super::{HttpOptions, Problem, visitors};
use crate::entry::origin::Names;

/// Longest until an answer begins. Above the longest wait a caller may ask for
/// (`broker::MAX_AWAIT`), so that it only ever ends what hangs.
pub const TIME_LIMIT: Duration = Duration::from_secs(75);
/// Where nobody has to show a key; a small pool of its own is for all of them.
const UNSIGNED: [&str; 10] = [
    "/webhooks/razorpay",
    "/slack/actions",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/console/sign-in",
    "/console/sign-in/challenge",
    "/console/sign-in/passkey",
    "/console/language",
];

/// On every answer but the console's pages, which bring their own: nothing may be loaded, framed, guessed or kept.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];
/// Put into an answer's extensions by a door whose pages have a content policy of their own, which
/// then stays.
#[derive(Clone, Copy, Debug)]
pub struct OwnHeaders;

/// What such a door sets itself.
const OWN: [HeaderName; 3] = [CONTENT_SECURITY_POLICY, REFERRER_POLICY, CACHE_CONTROL];

/// Two years, as the preload lists ask.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000; includeSubDomains");

/// Puts the guard in front of every route, and problem documents behind what no route takes.
pub fn harden(router: Router, options: &HttpOptions) -> Router {
    let guard = Guard {
        behind_tls: options.behind_tls,
        names: options.names.clone(),
    };
    router
        .fallback(|uri: Uri| async move { astray(uri.path(), Problem::NoSuchPath) })
        .method_not_allowed_fallback(|uri: Uri| async move {
            astray(uri.path(), Problem::MethodNotAllowed)
        })
        .layer(from_fn_with_state(guard, pass))
}

#[derive(Clone)]
struct Guard {
    behind_tls: bool,
    names: Names,
}

async fn pass(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let visitor = match visitors::admit(&guard.names, &request) {
        Ok(visitor) => visitor,
        Err(mut ended) => {
            secure(ended.headers_mut(), guard.behind_tls, false);
            return *ended;
        }
    };
    let seat = request.extensions_mut().remove::<Arc<Seat>>();
    let visit = Visit::begin(seat, UNSIGNED.contains(&request.uri().path()));
    let visiting = Visiting(visit.clone());
    request.extensions_mut().insert(visit.clone());
    let mut answer = run(request, next).await;
    let length = answer.body().size_hint().lower();
    if !visit.may_answer(length) {
        answer = Problem::Unread.into_response();
    }
    visitor.may_read(answer.headers_mut());
    let own = answer.extensions().get::<OwnHeaders>().is_some();
    secure(answer.headers_mut(), guard.behind_tls, own);
    answer.map(|body| visiting.until_read(body))
}

async fn run(request: Request, next: Next) -> Response {
    let work = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(TIME_LIMIT, work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_panic)) => {
            // The panic hook has printed where; its words may hold what a caller sent.
            tracing::error!("a request handler panicked; the caller got a 500");
            Problem::Internal.into_response()
        }
        Err(_) => Problem::TooSlow.into_response(),
    }
}

fn secure(headers: &mut HeaderMap, behind_tls: bool, own: bool) {
    for (name, value) in HEADERS {
        if !(own && OWN.contains(&name)) {
            headers.insert(name, value);
        }
    }
    if behind_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
}
