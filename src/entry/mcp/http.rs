//! MCP over streamable HTTP.
//!
//! In this order, and nothing of a later step happens before an earlier one has passed: the names
//! in `Host` and `Origin`, the key, the session's owner, the strict reader, the shape of the
//! message. Only then is a request answered: a plain call of the stateless protocol right here
//! ([`plain`]), everything else by the MCP library. Both protocols are served: sessions for clients
//! up to 2025-11-25, stateless requests from 2026-07-28 on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::message::{self, Message, Refused};
use super::plain;
use super::server::{Admitted, Asked, Shared, conversation};
use super::sessions::{Full, Sessions};
use super::waits::Asking;
use crate::broker::core::places::Kind;
use crate::broker::{Broker, Trouble};
use crate::domain::principal::Principal;
use crate::domain::strict::MAX_BYTES;
use crate::entry::gate::{self, GateError};
use crate::entry::http::Visit;
use crate::entry::origin::{Foreign, Names};
use crate::entry::shapes;
use crate::entry::sse::{knows_empty_events, readable};

/// How long a client may wait before it resumes a stream that broke off.
const RESUME_AFTER: Duration = Duration::from_secs(1);
/// A comment line goes out on silent streams this often, so that proxies keep them open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Told to a client that has too many sessions.
const RETRY_AFTER_SECS: u32 = 30;

/// How long calls under way may take to be answered once the server goes down.
const LAST_ANSWERS: Duration = Duration::from_secs(18);

const SESSION_ID: &str = "mcp-session-id";
const PROTOCOL_VERSION: &str = "mcp-protocol-version";

/// How the door is set up.
#[derive(Clone, Debug, Default)]
pub struct McpHttpOptions {
    /// Names and pages that may talk to it, beside this machine's own.
    pub names: Names,
    /// Cancelled when the server goes down: calls under way are answered, then every stream and
    /// session is closed.
    pub shutdown: CancellationToken,
}

/// The door, ready to be nested.
pub struct McpHttp {
    /// Serves `/` of wherever it is nested.
    pub router: Router,
    shared: Arc<Shared>,
}

impl McpHttp {
    /// A door to this broker. Must be called inside a runtime.
    pub fn new(broker: Broker, options: McpHttpOptions) -> Self {
        let shared = Shared::new(broker.clone(), options.shutdown.clone());
        let streams = CancellationToken::new();
        tokio::spawn(close(options.shutdown, shared.clone(), streams.clone()));
        let sessions = Arc::new(Sessions::default());
        let made_of = shared.clone();
        let mut config = StreamableHttpServerConfig::default()
            // Both are checked below, before the key is.
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_json_response(true)
            .with_sse_keep_alive(Some(KEEP_ALIVE))
            .with_sse_retry(Some(RESUME_AFTER))
            .with_max_request_body_bytes(MAX_BYTES)
            .with_cancellation_token(streams);
        config.legacy_session_mode = true;
        let service = StreamableHttpService::new(
            move || Ok(Door::new(made_of.clone())),
            sessions.clone(),
            config,
        );
        let porter = Arc::new(Porter {
            broker,
            sessions,
            shared: shared.clone(),
            names: options.names,
        });
        let router = Router::new()
            .fallback_service(service)
            .layer(middleware::from_fn_with_state(porter, let_in));
        Self { router, shared }
    }

    /// Resolves once every call under way has ended.
    pub async fn drained(&self) {
        self.shared.drained().await;
    }
}

/// Closing a stream early would turn the answer of a commit under way into an error.
async fn close(shutdown: CancellationToken, shared: Arc<Shared>, streams: CancellationToken) {
    shutdown.cancelled().await;
    if tokio::time::timeout(LAST_ANSWERS, shared.drained())
        .await
        .is_err()
    {
        tracing::warn!("closing streams whose calls are still under way");
    }
    streams.cancel();
}

/// The door as a router, to be nested at `/mcp`.
pub fn router(broker: Broker, options: McpHttpOptions) -> Router {
    McpHttp::new(broker, options).router
}

struct Porter {
    broker: Broker,
    sessions: Arc<Sessions>,
    shared: Arc<Shared>,
    names: Names,
}

async fn let_in(State(porter): State<Arc<Porter>>, request: Request, next: Next) -> Response {
    match porter.let_in(request, next).await {
        Ok(response) => response,
        Err(turned_away) => turned_away.into_response(),
    }
}

impl Porter {
    async fn let_in(&self, request: Request, next: Next) -> Result<Response, TurnedAway> {
        self.names.admit(request.uri(), request.headers())?;
        let server = server_in(request.uri().path()).map(str::to_owned);
        let who = self
            .authenticate(request.headers(), server.as_deref())
            .await?;
        let visit = request.extensions().get::<Visit>().cloned();
        let visit = visit.unwrap_or_default();
        visit.charge(self.broker.places(), &who)?;
        if let Some(id) = request.headers().get(SESSION_ID) {
            let id = id.to_str().unwrap_or_default();
            if !self.sessions.may_use(id, &owner(&who)) {
                return Err(TurnedAway::NoSuchSession);
            }
        }
        let owner = owner(&who);
        let method = request.method().clone();
        let revision = request.headers().get(PROTOCOL_VERSION).cloned();
        let revision = revision.as_ref().and_then(|value| value.to_str().ok());
        if method == Method::POST {
            let waiter = who.clone();
            let read = self.read(request, who, &visit).await?;
            let (request, answering) = match read {
                Read::Plain(call) => {
                    let answering = self.shared.answering();
                    let response = self.answer(call).await;
                    return Ok(response.map(|body| held(body, answering)));
                }
                // Its answer is a stream that ends only with the server.
                Read::Listen(request) => {
                    visit.waits(self.broker.places().enter(&waiter, Kind::Wait)?);
                    (request, None)
                }
                Read::Other(request) => (request, Some(self.shared.answering())),
            };
            let revision = revision.map(str::to_owned).or_else(|| asked_for(&request));
            let response = Sessions::acting_as(owner, next.run(request)).await;
            let response = readable(response, knows_empty_events(revision.as_deref()));
            return Ok(response.map(|body| held(body, answering)));
        }
        if method == Method::GET {
            // A stream of what the server has to say, which ends only with the session.
            visit.waits(self.broker.places().enter(&who, Kind::Wait)?);
        }
        let response = Sessions::acting_as(owner, next.run(request)).await;
        let mut response = readable(response, knows_empty_events(revision));
        // The session is gone by now, and some clients take "accepted" for a failure.
        if method == Method::DELETE && response.status() == StatusCode::ACCEPTED {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        Ok(response)
    }

    async fn authenticate(
        &self,
        headers: &HeaderMap,
        server: Option<&str>,
    ) -> Result<Principal, TurnedAway> {
        match bearer(headers) {
            None => Err(TurnedAway::NoKey { given: false }),
            Some(bearer) => match self.broker.access.enter_mcp(bearer, server).await {
                Ok(who) => Ok(who),
                Err(Trouble::Unauthenticated) => Err(TurnedAway::NoKey { given: true }),
                Err(trouble) => Err(TurnedAway::Trouble(trouble)),
            },
        }
    }

    /// Reads the message strictly. What is not answered here is handed on, its bytes unchanged,
    /// with what they say.
    async fn read(
        &self,
        request: Request,
        who: Principal,
        visit: &Visit,
    ) -> Result<Read, TurnedAway> {
        gate::says_json(request.headers())?;
        let (mut parts, body) = request.into_parts();
        let (bytes, document) = gate::read_strict(body, visit).await?;
        let method = match message::look(&document)? {
            Message::Request { method, .. } => method,
            Message::Notification { .. } | Message::Answer => "",
        };
        let listens = method == "subscriptions/listen";
        if method == "initialize" {
            let made = self.sessions.make_room(&owner(&who)).await;
            made.map_err(|Full| TurnedAway::TooManySessions)?;
        }
        if takes_anything(&parts.headers) {
            let both = HeaderValue::from_static("application/json, text/event-stream");
            parts.headers.insert(header::ACCEPT, both);
        }
        let tool = plain::called(&parts.headers, &document);
        if let Some(route) = tool.and_then(|name| self.shared.route(&who, name)) {
            let (conversation, asking) = (conversation(&document), Asking::of(&document));
            let (id, arguments) = plain::taken_apart(document);
            let asked = Asked {
                route,
                who,
                arguments,
                gone: CancellationToken::new(),
                conversation,
            };
            return Ok(Read::Plain(PlainCall { id, asked, asking }));
        }
        parts.extensions.insert(Admitted {
            who: Arc::new(who),
            document: Arc::new(document),
        });
        let request = Request::from_parts(parts, Body::from(bytes));
        Ok(match listens {
            true => Read::Listen(request),
            false => Read::Other(request),
        })
    }

    /// Answers as the library would. Whoever hangs up stops waiting, and nothing else stops.
    async fn answer(&self, call: PlainCall) -> Response {
        let _waiting = call.asked.gone.clone().drop_guard();
        let answer = self.shared.respond(call.asked, &call.asking).await;
        let answer = plain::Answer::to(&call.id, answer.map(plain::Spelt::from));
        let kind = HeaderValue::from_static("application/json");
        match serde_json::to_vec(&answer) {
            Ok(body) => ([(header::CONTENT_TYPE, kind)], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be spelt");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// The virtual server that the path names, or what can be none's name; `None` at the door of no
/// server.
fn server_in(path: &str) -> Option<&str> {
    let name = path.strip_prefix('/').unwrap_or(path);
    (!name.is_empty()).then_some(name)
}

/// Whose a session is: a key's, at one door.
fn owner(who: &Principal) -> String {
    match &who.server {
        Some(entrance) => format!("{}@{}", who.id, entrance.server.name),
        None => who.id.clone(),
    }
}

/// The revision that an `initialize` asks for; the header comes only after it.
fn asked_for(request: &Request) -> Option<String> {
    let admitted = request.extensions().get::<Admitted>()?;
    let revision = admitted.document.pointer("/params/protocolVersion")?;
    revision.as_str().map(str::to_owned)
}

/// A message that was let in.
enum Read {
    /// Answered here.
    Plain(PlainCall),
    /// Opens a stream of changes.
    Listen(Request),
    /// Anything else that the library answers.
    Other(Request),
}

/// A call that needs nothing of the library.
struct PlainCall {
    id: Value,
    asked: Asked,
    asking: Asking,
}

/// Whether a client takes whatever comes, by `*/*` or by saying nothing. The library wants to see
/// both kinds of answer named.
fn takes_anything(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(header::ACCEPT).iter().peekable();
    if given.peek().is_none() {
        return true;
    }
    let texts = given.filter_map(|value| value.to_str().ok());
    let mut kinds = texts.flat_map(|text| text.split(','));
    kinds.any(|kind| {
        kind.split(';')
            .next()
            .is_some_and(|kind| kind.trim() == "*/*")
    })
}

/// A body that keeps its guard until it has been sent or given up. It tells its length, so that a
/// short answer goes out in one piece.
struct Held<G> {
    body: Body,
    _guard: G,
}

impl<G: Unpin> HttpBody for Held<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn held<G: Unpin + Send + 'static>(body: Body, guard: G) -> Body {
    Body::new(Held {
        body,
        _guard: guard,
    })
}

/// The text after `Bearer`, if there is exactly one such header: of two, nobody knows which one
/// a proxy in front has looked at.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    let text = text.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !text.is_empty()).then_some(text)
}

/// Why a request does not reach the MCP library.
enum TurnedAway {
    Foreign(Foreign),
    NoKey { given: bool },
    Trouble(Trouble),
    NoSuchSession,
    TooManySessions,
    Gate(GateError),
    Shape(Refused),
}

impl From<Foreign> for TurnedAway {
    fn from(foreign: Foreign) -> Self {
        Self::Foreign(foreign)
    }
}

impl From<Trouble> for TurnedAway {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<GateError> for TurnedAway {
    fn from(error: GateError) -> Self {
        Self::Gate(error)
    }
}

impl From<Refused> for TurnedAway {
    fn from(refused: Refused) -> Self {
        Self::Shape(refused)
    }
}

impl IntoResponse for TurnedAway {
    fn into_response(self) -> Response {
        let rpc = |code, cause: &str, text: String| Refused::new(code, cause, text).answer();
        match self {
            TurnedAway::Foreign(foreign) => {
                let body = rpc(message::INVALID_REQUEST, "foreign", foreign.to_string());
                json(foreign.status(), &body)
            }
            TurnedAway::NoKey { given } => {
                let trouble = Trouble::Unauthenticated;
                let mut response = json(StatusCode::UNAUTHORIZED, &shapes::problem(&trouble));
                let challenge = if given {
                    "Bearer realm=\"hundi\", error=\"invalid_token\""
                } else {
                    "Bearer realm=\"hundi\""
                };
                let challenge = HeaderValue::from_static(challenge);
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, challenge);
                response
            }
            TurnedAway::Trouble(trouble) => {
                let status = StatusCode::from_u16(trouble.status());
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                json(status, &shapes::problem(&trouble))
            }
            TurnedAway::NoSuchSession => {
                let text = "there is no such session; initialize a new one".to_owned();
                let body = rpc(message::INVALID_REQUEST, "session_not_found", text);
                json(StatusCode::NOT_FOUND, &body)
            }
            TurnedAway::TooManySessions => {
                let text = "too many sessions are open; close one".to_owned();
                let body = rpc(message::INVALID_REQUEST, "too_many_sessions", text);
                let mut response = json(StatusCode::SERVICE_UNAVAILABLE, &body);
                let after = HeaderValue::from(RETRY_AFTER_SECS);
                response.headers_mut().insert(header::RETRY_AFTER, after);
                response
            }
            TurnedAway::Gate(error) => {
                let refused = match &error {
                    GateError::Unreadable(malformed) => Refused::unreadable(malformed),
                    GateError::TooLarge(_)
                    | GateError::NotJson
                    | GateError::BrokenOff
                    | GateError::TooSlow
                    | GateError::Crowded => {
                        Refused::new(message::INVALID_REQUEST, error.code(), error.to_string())
                    }
                };
                json(error.status(), &refused.answer())
            }
            TurnedAway::Shape(refused) => json(StatusCode::BAD_REQUEST, &refused.answer()),
        }
    }
}

fn json(status: StatusCode, body: &Value) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response()
}
