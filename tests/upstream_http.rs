//! Upstreams over HTTP: nothing is followed, nothing repeated, and "not sent" is said only where no
//! connection was made.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use axum::{Json, Router};
use hundi::domain::call::{Call, Reply};
use hundi::wire::Wire;
use hundi::wire::mcp::{Pauses, UpstreamSpec, Upstreams};
use serde_json::{Value, json};
use tokio::sync::broadcast;

const PATIENT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(400);
const KEY: &str = "Bearer sekrit";

/// An MCP server over HTTP that does with a call what the tool's name says.
#[derive(Clone)]
struct Nasty {
    calls: Arc<AtomicUsize>,
    sessions: Arc<AtomicUsize>,
    elsewhere: Arc<AtomicUsize>,
    /// What is said on the streams that are asked for.
    news: broadcast::Sender<String>,
    /// The answer that a resumed stream gives.
    kept: Arc<Mutex<Option<String>>>,
}

async fn answer(
    State(nasty): State<Nasty>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> Response {
    if headers
        .get(header::AUTHORIZATION)
        .is_none_or(|key| key != KEY)
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let id = request["id"].clone();
    let result =
        |result: Value| Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response();
    match request["method"].as_str() {
        Some("initialize") => {
            let session = nasty.sessions.fetch_add(1, Ordering::SeqCst).to_string();
            let mut response = result(json!({
                "protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                "serverInfo": {"name": "nasty", "version": "1"},
            }));
            response
                .headers_mut()
                .insert("mcp-session-id", session.parse().unwrap());
            response
        }
        Some("tools/list") => result(json!({"tools": [
            {"name": "echo", "inputSchema": {"type": "object"}},
        ]})),
        Some("tools/call") => {
            nasty.calls.fetch_add(1, Ordering::SeqCst);
            let text = request["params"]["arguments"].to_string();
            match request["params"]["name"].as_str() {
                Some("forgotten") => StatusCode::NOT_FOUND.into_response(),
                Some("redirect") => Redirect::temporary("/elsewhere").into_response(),
                Some("broken") => StatusCode::BAD_GATEWAY.into_response(),
                Some("html") => "<html>sorry</html>".into_response(),
                Some("hang") => std::future::pending().await,
                // What some servers say once they have forgotten a session.
                Some("amnesia") => {
                    let error = json!({"code": -32000, "message": "no valid session"});
                    let said = Json(json!({"jsonrpc": "2.0", "id": null, "error": error}));
                    (StatusCode::BAD_REQUEST, said).into_response()
                }
                Some("textual") => {
                    let result = json!({"content": [{"type": "text", "text": text}]});
                    Json(json!({"jsonrpc": "2.0", "id": id.to_string(), "result": result}))
                        .into_response()
                }
                Some("refused") => Json(json!({"jsonrpc": "2.0", "id": id,
                    "error": {"code": -32602, "message": "no such tool"}}))
                .into_response(),
                Some(kind @ ("primed" | "talking" | "mixed" | "cut" | "resumed" | "later")) => {
                    let said = |id: &Value| {
                        let result = json!({"content": [{"type": "text", "text": text}]});
                        json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
                    };
                    let news = json!({"jsonrpc": "2.0", "method": "notifications/message",
                        "params": {"level": "info", "data": "x"}});
                    if kind == "later" {
                        nasty.news.send(said(&id)).unwrap();
                        return StatusCode::ACCEPTED.into_response();
                    }
                    if kind == "resumed" {
                        *nasty.kept.lock().unwrap() = Some(said(&id));
                    }
                    stream(&match kind {
                        "primed" => vec![String::new(), said(&id)],
                        "talking" => vec![news.to_string(), said(&id)],
                        "mixed" => vec![said(&json!("not yours")), said(&id)],
                        _ => vec![String::new()],
                    })
                }
                _ => result(json!({"content": [{"type": "text", "text": text}]})),
            }
        }
        _ => StatusCode::ACCEPTED.into_response(),
    }
}

/// A stream that is asked for: the one to resume, or that of all news.
async fn listen(State(nasty): State<Nasty>, headers: HeaderMap) -> Response {
    if !headers.contains_key("last-event-id") {
        return endless(nasty.news.subscribe());
    }
    match nasty.kept.lock().unwrap().take() {
        Some(answer) => stream(&[answer]),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn endless(news: broadcast::Receiver<String>) -> Response {
    let events = futures_util::stream::unfold(news, async |mut news| {
        let said = news.recv().await.ok()?;
        Some((Ok::<_, Infallible>(format!("data: {said}\n\n")), news))
    });
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    (kind, Body::from_stream(events)).into_response()
}

/// A stream of these messages, each with a number to resume after.
fn stream(messages: &[String]) -> Response {
    let events = messages.iter().enumerate();
    let events = events.map(|(n, message)| format!("retry: 10\nid: {n}\ndata: {message}\n\n"));
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    (kind, events.collect::<String>()).into_response()
}

async fn elsewhere(State(nasty): State<Nasty>) -> StatusCode {
    nasty.elsewhere.fetch_add(1, Ordering::SeqCst);
    StatusCode::OK
}

struct Here {
    url: String,
    nasty: Nasty,
    wire: Upstreams,
}

fn spec(url: &str, key: &str) -> UpstreamSpec {
    let headers = vec![("authorization".to_owned(), key.to_owned())];
    let mut spec = UpstreamSpec::http("far", url, headers);
    spec.pauses = Pauses {
        least: Duration::from_millis(20),
        most: Duration::from_millis(50),
    };
    spec
}

impl Here {
    async fn new() -> Self {
        let nasty = Nasty {
            calls: Arc::default(),
            sessions: Arc::default(),
            elsewhere: Arc::default(),
            news: broadcast::channel(16).0,
            kept: Arc::default(),
        };
        let router = Router::new()
            .route("/mcp", post(answer).get(listen))
            .route("/elsewhere", post(elsewhere))
            .with_state(nasty.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let wire = Upstreams::new(vec![spec(&url, KEY)]);
        Self { url, nasty, wire }
    }

    async fn call(&self, tool: &str, deadline: Duration) -> Reply {
        let call = Call::new("far", tool, &json!({"a": 1}));
        self.wire.send(&call, deadline).await
    }

    async fn works(&self) {
        let content = json!({"a": 1});
        let is_error = false;
        let reply = self.call("echo", PATIENT).await;
        assert_eq!(reply, Reply::Result { content, is_error });
    }
}

#[tokio::test]
async fn a_call_that_brings_no_answer_is_lost_sent_once_and_followed_nowhere() {
    let here = Here::new().await;
    here.works().await;
    for tool in ["redirect", "broken", "html", "hang"] {
        let before = here.nasty.calls.load(Ordering::SeqCst);
        let reply = here.call(tool, SHORT).await;
        assert!(matches!(reply, Reply::Lost(_)), "{tool}: {reply:?}");
        assert_eq!(
            here.nasty.calls.load(Ordering::SeqCst),
            before + 1,
            "{tool}"
        );
        here.works().await;
    }
    // Where the answer proves that nothing was done because the session is gone, it is tried once
    // more in a new one, and no more.
    for (tool, told) in [("forgotten", 404), ("amnesia", 400)] {
        let before = here.nasty.calls.load(Ordering::SeqCst);
        let reply = here.call(tool, PATIENT).await;
        assert!(
            matches!(reply, Reply::TurnedAway { status, .. } if status == told),
            "{tool}: {reply:?}"
        );
        let calls = here.nasty.calls.load(Ordering::SeqCst);
        assert_eq!(calls, before + 2, "{tool}");
        here.works().await;
    }
    assert_eq!(here.nasty.elsewhere.load(Ordering::SeqCst), 0);
    assert!(
        here.nasty.sessions.load(Ordering::SeqCst) > 1,
        "it began anew"
    );
}

#[tokio::test]
async fn lists_refusals_and_results_come_as_from_a_child() {
    let here = Here::new().await;
    let tools = here.wire.offered("far", PATIENT).await.unwrap();
    assert_eq!(tools[0].name, "echo");
    let reply = here.call("refused", PATIENT).await;
    assert!(
        matches!(reply, Reply::RpcError { code: -32602, .. }),
        "{reply:?}"
    );
    let calls = (0..100).map(|_| here.works());
    futures_util::future::join_all(calls).await;
}

#[tokio::test]
async fn what_found_no_server_or_no_entry_is_proven_not_sent() {
    let here = Here::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let nobody = Upstreams::new(vec![spec(&format!("http://{free}/mcp"), KEY)]);
    let reply = nobody
        .send(&Call::new("far", "echo", &json!({})), SHORT)
        .await;
    assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
    assert!(!nobody.health()[0].ok);

    let stranger = Upstreams::new(vec![spec(&here.url, "Bearer other")]);
    let call = Call::new("far", "echo", &json!({}));
    let reply = stranger.send(&call, SHORT).await;
    assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
    assert_eq!(here.nasty.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_is_found_behind_what_its_stream_says_first() {
    let here = Here::new().await;
    for tool in ["primed", "talking", "mixed"] {
        let expected = Reply::Result {
            content: json!({"a": 1}),
            is_error: false,
        };
        for _ in 0..3 {
            assert_eq!(here.call(tool, PATIENT).await, expected, "{tool}");
        }
    }
    let reply = here.call("cut", SHORT).await;
    assert!(matches!(reply, Reply::Lost(_)), "{reply:?}");
    let calls = here.nasty.calls.load(Ordering::SeqCst);
    assert_eq!(calls, 10, "each was sent once");
    here.works().await;
}

#[tokio::test]
async fn an_answer_that_comes_by_another_stream_finds_its_call() {
    let content = json!({"a": 1});
    let expected = Reply::Result {
        content,
        is_error: false,
    };
    // A stream that ends early is taken up again, by a server that has answered at once before.
    let here = Here::new().await;
    here.works().await;
    for _ in 0..3 {
        assert_eq!(here.call("resumed", PATIENT).await, expected);
        here.works().await;
    }
    assert_eq!(here.nasty.calls.load(Ordering::SeqCst), 7, "sent once each");
    // So is one under its id spelt as text.
    let here = Here::new().await;
    for _ in 0..3 {
        assert_eq!(here.call("textual", PATIENT).await, expected);
    }
    assert_eq!(here.nasty.sessions.load(Ordering::SeqCst), 1);
    // And by one that gives all answers on the stream of its news.
    let here = Here::new().await;
    here.wire.offered("far", PATIENT).await.unwrap();
    while here.nasty.news.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        assert_eq!(here.call("later", PATIENT).await, expected);
    }
    assert_eq!(here.nasty.calls.load(Ordering::SeqCst), 3, "sent once each");
    assert_eq!(here.nasty.sessions.load(Ordering::SeqCst), 1);
}
