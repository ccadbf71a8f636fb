//! Headers, limits, probes: what holds whatever the request.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use hundi::broker::core::places::{Kind, Shares};
use hundi::domain::principal::Role;
use hundi::entry::http::{HttpOptions, Limits, harden, serve};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::door::{Answer, Door};

fn is_secure(answer: &Answer, what: &str) {
    let expected = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    for (name, value) in expected {
        assert_eq!(answer.header(name), value, "{name} of {what}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    for behind_tls in [false, true] {
        let door = Door::with(HttpOptions {
            behind_tls,
            ..HttpOptions::default()
        })
        .await;
        let agent = door.fixture.key(Role::Agent, "payer").await;
        let answers = [
            door.get("/healthz", "").await,
            door.get("/readyz", "").await,
            door.get("/openapi.json", "").await,
            door.get("/v1/tools", &agent).await,
            door.get("/v1/tools", "").await,
            door.get("/v1/keys", &agent).await,
            door.get("/nowhere", &agent).await,
            door.ask("PATCH", "/v1/keys", &agent, None).await,
            door.ask("POST", "/v1/proposals", &agent, Some("{".into()))
                .await,
        ];
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, 200, 200, 200, 401, 403, 404, 405, 400]);
        for answer in &answers {
            is_secure(answer, &answer.text());
            let hsts = answer.header("strict-transport-security");
            assert_eq!(hsts.is_empty(), !behind_tls);
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let door = Door::new().await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/proposals/",
        "/v2/proposals",
        "/v1/proposals/x/y",
    ] {
        let answer = door.get(path, "").await;
        assert_eq!(
            (answer.status, answer.code()),
            (404, "no_such_path".to_owned()),
            "{path}"
        );
    }
    let answer = door.ask("PUT", "/v1/proposals", "", None).await;
    assert_eq!(
        (answer.status, answer.code()),
        (405, "method_not_allowed".to_owned())
    );
    let allowed = answer.header("allow");
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "{allowed}"
    );
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let door = Door::new().await;
    let agent = door.fixture.key(Role::Agent, "payer").await;
    let body = json!({"tool": "noop", "arguments": {}}).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
    ] {
        let request = Request::post("/v1/proposals")
            .header("authorization", format!("Bearer {agent}"))
            .header("content-type", kind)
            .body(Body::from(body.clone()))
            .unwrap();
        let answer = door.send(request).await;
        assert_eq!(
            (answer.status, answer.code()),
            (415, "unsupported_media_type".to_owned())
        );
    }
}

#[tokio::test]
async fn an_empty_body_is_no_document_where_one_is_needed() {
    let door = Door::new().await;
    let agent = door.fixture.key(Role::Agent, "payer").await;
    let admin = door.fixture.key(Role::Admin, "boss").await;
    let nobody = "01890000-0000-7000-8000-000000000000";
    // A policy without limits must not come of a body that got lost.
    for (method, path, key) in [
        ("PUT", "/v1/agents/payer/policy".to_owned(), &admin),
        ("POST", "/v1/proposals".to_owned(), &agent),
        ("POST", format!("/v1/proposals/{nobody}/commit"), &agent),
        ("POST", "/v1/freeze".to_owned(), &admin),
        ("POST", "/v1/keys".to_owned(), &admin),
    ] {
        let answer = door.ask(method, &path, key, None).await;
        let told = (answer.status, answer.code());
        assert_eq!(told, (400, "invalid_json".to_owned()), "{method} {path}");
    }
    for act in ["approve", "reject", "cancel"] {
        let path = format!("/v1/proposals/{nobody}/{act}");
        assert_eq!(door.poke(&path, &admin).await.status, 404, "{act}");
    }
}

#[tokio::test]
async fn a_body_announced_as_endless_is_not_waited_for() {
    let door = Door::new().await;
    let agent = door.fixture.key(Role::Agent, "payer").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let closing = CancellationToken::new();
    let serving = serve(listener, door.router.clone(), Limits::default(), closing);
    let serving = tokio::spawn(serving);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/proposals HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {agent}\r\n\
         Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{{}}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = stream.read_exact(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(5), read).await;
    read.expect("answered at once").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    serving.abort();
}

#[tokio::test]
async fn nobody_without_a_key_has_a_body_read() {
    let door = Door::new().await;
    let answer = door
        .ask("POST", "/v1/proposals", "", Some("{".into()))
        .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn metrics_are_open_only_where_that_was_said() {
    let shut = Door::new().await;
    assert_eq!(shut.get("/metrics", "").await.status, 401);
    let open = Door::with(HttpOptions {
        open_metrics: true,
        ..HttpOptions::default()
    })
    .await;
    let answer = open.get("/metrics", "").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    for metric in hundi::telemetry::METRICS {
        let there = answer.text().contains(metric.name);
        assert!(
            there || ["hundi_breaker_state", "hundi_source_up"].contains(&metric.name),
            "{}",
            metric.name
        );
    }
}

#[tokio::test]
async fn readiness_tells_down_from_degraded() {
    let door = Door::new().await;
    let auditor = door.fixture.key(Role::Auditor, "watcher").await;
    let answer = door.get("/readyz", "").await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (200, &json!("ready"))
    );
    door.fixture.wire.reports(Some("restarting: exited with 1"));
    let answer = door.get("/readyz", "").await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (200, &json!("degraded"))
    );
    assert!(
        !answer.text().contains("restarting"),
        "details are not for everybody"
    );
    let answer = door.get("/readyz", &auditor).await;
    assert!(answer.text().contains("restarting: exited with 1"));
}

#[tokio::test]
async fn whoever_has_too_much_under_way_is_told_so_and_nobody_else() {
    let door = Door::new().await;
    let agent = door.fixture.key(Role::Agent, "payer").await;
    let other = door.fixture.key(Role::Agent, "other").await;
    let who = door
        .fixture
        .broker
        .access
        .authenticate(&agent)
        .await
        .unwrap();
    let places = door.fixture.broker.places();
    let most = Shares::default().requests;
    let taken: Vec<_> = (0..most)
        .map(|_| places.enter(&who, Kind::Request).unwrap())
        .collect();
    let answer = door.get("/v1/tools", &agent).await;
    assert_eq!(
        (answer.status, answer.code()),
        (503, "overloaded".to_owned())
    );
    assert_eq!(answer.header("retry-after"), "1");
    is_secure(&answer, "a refusal for want of a place");
    assert_eq!(door.get("/v1/tools", &other).await.status, 200);
    assert_eq!(door.get("/healthz", "").await.status, 200);
    assert_eq!(door.get("/readyz", "").await.status, 200);
    drop(taken);
    assert_eq!(door.get("/v1/tools", &agent).await.status, 200);
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_door_lives() {
    async fn bug() -> &'static str {
        panic!("a bug")
    }
    let router = Router::new()
        .route("/bug", get(bug))
        .route("/well", get(|| async { "well" }));
    let router = harden(router, &HttpOptions::default());
    for (path, status) in [("/bug", 500), ("/bug", 500), ("/well", 200)] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    }
}

async fn served(
    limits: Limits,
) -> (
    std::net::SocketAddr,
    CancellationToken,
    tokio::task::JoinHandle<()>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(|| async { "hello" }));
    let router = harden(router, &HttpOptions::default());
    let closing = CancellationToken::new();
    let task = tokio::spawn(serve(listener, router, limits, closing.clone()));
    (address, closing, task)
}

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(ASK).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn connections_are_bounded_and_closing_lets_work_finish() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let (address, closing, task) = served(limits).await;
    let mut one = TcpStream::connect(address).await.unwrap();
    one.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut start = [0; 15];
    one.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    // Silent ones, each of which takes the seat of an earlier one.
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut nothing = Vec::new();
    let closed = silent[0].read_to_end(&mut nothing);
    let closed = tokio::time::timeout(Duration::from_secs(5), closed).await;
    assert!(closed.is_ok(), "the longest silent one has gone");
    let mut newcomer = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut newcomer).await.ends_with("hello"));
    closing.cancel();
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let limits = Limits {
        silence: Duration::from_millis(100),
        ..Limits::default()
    };
    let (address, closing, task) = served(limits).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut rest)).await;
    assert!(end.is_ok());
    let mut quick = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut quick).await.ends_with("hello"));
    closing.cancel();
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap();
}
