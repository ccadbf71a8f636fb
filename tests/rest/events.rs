//! A proposal's events: resumed without gap or double, and over when the tale is.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use hundi::domain::principal::Role;
use serde_json::json;
use tower::ServiceExt;

use super::door::Door;

struct Event {
    id: i64,
    kind: String,
    data: serde_json::Value,
}

fn events(text: &str) -> Vec<Event> {
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    text.split("\n\n")
        .filter(|block| block.contains("data:"))
        .map(|block| Event {
            id: field(block, "id:").parse().unwrap(),
            kind: field(block, "event:"),
            data: serde_json::from_str(&field(block, "data:")).unwrap(),
        })
        .collect()
}

fn request(path: &str, key: &str, last: Option<&str>) -> Request<Body> {
    let mut request = Request::get(path).header("authorization", format!("Bearer {key}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    request.body(Body::empty()).unwrap()
}

async fn held(door: &Door) -> (String, String) {
    let agent = door.fixture.key(Role::Agent, "payer").await;
    door.fixture.allow_noop("payer", 1_000).await;
    let held = json!({"tool": "noop", "arguments": {"amount": 5_000}});
    let held = door.post("/v1/proposals", &agent, held).await.json();
    (
        agent,
        format!("/v1/proposals/{}", held["proposal_id"].as_str().unwrap()),
    )
}

#[tokio::test]
async fn a_settled_tale_is_told_whole_and_resumed_anywhere() {
    let door = Door::new().await;
    let (agent, path) = held(&door).await;
    let approver = door.fixture.key(Role::Approver, "ann").await;
    assert_eq!(
        door.poke(&format!("{path}/approve"), &approver)
            .await
            .status,
        200
    );
    assert_eq!(
        door.poke(&format!("{path}/cancel"), &agent).await.status,
        200
    );

    let path = format!("{path}/events");
    let whole = door.send(request(&path, &agent, None)).await;
    assert_eq!(whole.header("content-type"), "text/event-stream");
    let told = events(&whole.text());
    let kinds: Vec<_> = told.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["proposed", "approved", "cancelled"]);
    assert!(told.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert!(told.iter().all(|event| event.data["seq"] == event.id));

    for (at, event) in told.iter().enumerate() {
        let id = event.id.to_string();
        let rest = door.send(request(&path, &agent, Some(&id))).await;
        if at + 1 == told.len() {
            assert_eq!(rest.status, 204, "nothing more will come");
            continue;
        }
        let rest: Vec<_> = events(&rest.text()).iter().map(|event| event.id).collect();
        let expected: Vec<_> = told[at + 1..].iter().map(|event| event.id).collect();
        assert_eq!(rest, expected);
    }
    for bad in ["x", "-1", "1.5"] {
        let answer = door.send(request(&path, &agent, Some(bad))).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "invalid_request".to_owned()),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn events_arrive_as_they_happen_and_the_stream_ends_with_the_tale() {
    let door = Door::new().await;
    let (agent, path) = held(&door).await;
    let stream = request(&format!("{path}/events"), &agent, None);
    let answer = door.router.clone().oneshot(stream).await.unwrap();
    let mut body = answer.into_body();
    let mut text = String::new();
    let mut read = async |until: &str| {
        while !text.contains(until) {
            let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
            let frame = frame.unwrap().unwrap().unwrap();
            text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
    };
    read("event: proposed").await;
    assert_eq!(
        door.poke(&format!("{path}/cancel"), &agent).await.status,
        200
    );
    read("event: cancelled").await;
    let end = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
    assert!(end.unwrap().is_none(), "the stream ends");
}

#[tokio::test]
async fn a_revoked_key_sees_nothing_more() {
    let door = Door::new().await;
    let (agent, path) = held(&door).await;
    let watcher = door.fixture.key(Role::Auditor, "watcher").await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    let stream = request(&format!("{path}/events"), &watcher, None);
    let answer = door.router.clone().oneshot(stream).await.unwrap();
    let mut body = answer.into_body();
    assert!(body.frame().await.unwrap().is_ok(), "the first event");
    let id = watcher.split('_').nth(1).unwrap();
    let gone = door
        .ask("DELETE", &format!("/v1/keys/{id}"), &boss, None)
        .await;
    assert_eq!(gone.status, 200);
    assert_eq!(
        door.poke(&format!("{path}/cancel"), &agent).await.status,
        200
    );
    let end = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
    assert!(end.unwrap().is_none(), "the cancellation is not told");
}
