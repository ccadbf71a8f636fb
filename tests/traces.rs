//! Traces: one per proposal, from propose to settle, whoever took part.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use hundi::broker::{CommitRequest, ProposeRequest};
use hundi::domain::ids::ProposalId;
use hundi::domain::principal::Role;
use hundi::telemetry::TraceSender;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::fixture::Fixture;

/// A collector that keeps every body.
async fn collector() -> (String, Arc<Mutex<Vec<Bytes>>>) {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&bodies);
    let take = move |body: Bytes| async move {
        kept.lock().unwrap().push(body);
        StatusCode::OK
    };
    let router = Router::new().route("/v1/traces", post(take));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, bodies)
}

fn holds(bodies: &[Bytes], needle: &[u8]) -> bool {
    bodies
        .iter()
        .any(|body| body.windows(needle.len()).any(|part| part == needle))
}

/// The one test that sends traces: a process has one collector.
#[tokio::test]
async fn a_proposals_steps_share_the_trace_that_its_id_names() {
    let (url, bodies) = collector().await;
    let sender = TraceSender::start(&url).unwrap();
    assert!(TraceSender::start(&url).is_err(), "once per process");

    let fixture = Fixture::new().await;
    let key = fixture.key(Role::Agent, "tracer").await;
    fixture.allow_noop("tracer", 1_000).await;
    let broker = &fixture.broker;
    let agent = broker.access.authenticate(&key).await.unwrap();
    let request = ProposeRequest {
        tool: "noop".to_owned(),
        arguments: json!({"amount": 77, "note": "a private remark"}),
        ..ProposeRequest::default()
    };
    let proposed = broker.pay.propose(&agent, request).await.unwrap();
    let id: ProposalId = proposed.proposal.id();
    let token = proposed.token.unwrap().text;
    let request = CommitRequest {
        proposal_id: id.to_string(),
        commit_token: token.clone(),
        tool: None,
        arguments: json!({"amount": 77, "note": "a private remark"}),
    };
    broker.pay.commit(&agent, request).await.unwrap();
    tokio::time::timeout(Duration::from_secs(15), sender.finish())
        .await
        .unwrap();

    let bodies = bodies.lock().unwrap();
    let trace = id.uuid().into_bytes();
    let count = bodies
        .iter()
        .flat_map(|body| body.windows(16))
        .filter(|part| *part == trace)
        .count();
    assert!(count >= 6, "propose, commit and its four phases: {count}");
    for name in [
        "propose", "commit", "verify", "claim", "provider", "settle", "tracer", "executed",
    ] {
        assert!(holds(&bodies, name.as_bytes()), "{name}");
    }
    for secret in [token.as_str(), key.as_str(), "a private remark"] {
        assert!(!holds(&bodies, secret.as_bytes()), "{secret}");
    }
}
