//! What goes wrong at a provider, and callers who do not stay.

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::town::{Town, said, until};

#[tokio::test]
#[rustfmt::skip]
async fn each_failure_before_the_first_piece_has_its_status() {
    let town = Town::with(&[("HUNDI_PROVIDERS_BREAKER_FAILURES", "1000")]).await;
    for (kind, stream, status, code) in [
        ("5xx",                  false, 502, "provider_failed"),
        ("5xx",                  true,  502, "provider_failed"),
        ("reset",                true,  502, "provider_failed"),
        ("garbage",              false, 502, "provider_failed"),
        ("garbage",              true,  502, "provider_failed"),
        ("empty",                false, 502, "provider_failed"),
        ("empty",                true,  502, "provider_failed"),
        ("rate_limited_in_body", false, 429, "provider_rate_limited"),
    ] {
        town.arm(json!({"kind": kind, "operation": "model"})).await;
        let told = town.chat(json!({"model": "sandbox", "stream": stream, "messages": said("hi")})).await;
        assert_eq!((told.status, &told.json()["error"]["code"]), (status, &json!(code)), "{kind} {stream}");
    }
    // What was asked too often rests as long as it said.
    let rested = town.chat(json!({"model": "sandbox", "messages": said("hi")})).await;
    assert_eq!(rested.status, 429, "{}", rested.text);
    assert!(rested.header("retry-after").parse::<u32>().unwrap() >= 1);
}

#[tokio::test]
async fn a_stream_without_its_last_event_has_failed() {
    let town = Town::new().await;
    for kind in ["cut", "malformed", "error_event"] {
        town.arm(json!({"kind": kind})).await;
        let body = json!({"model": "sandbox", "stream": true, "messages": said("one two three")});
        let told = town.chat(body).await;
        assert_eq!(told.status, 200);
        assert!(!told.text.contains("[DONE]"), "{kind}: {}", told.text);
        let events = told.events();
        assert!(
            events.last().unwrap()["error"]["code"].is_string(),
            "{kind}"
        );
        let ended = &town.records("request_ended").await[0]["detail"];
        assert_eq!(ended["state"], "failed", "{kind}");
        assert_eq!(ended["estimated"], true, "{kind}");
        assert_ne!(ended["cost_usd"], "0", "{kind}: what was used is paid");
    }
}

#[tokio::test]
async fn the_first_piece_comes_at_once_and_hanging_up_cancels_at_the_provider() {
    let town = Town::new().await;
    town.arm(json!({"kind": "drip", "delay_ms": 500})).await;
    let long = "word ".repeat(300);
    let body = json!({"model": "sandbox", "stream": true, "messages": said(&long)});
    let began = std::time::Instant::now();
    let answer = town
        .post("/v1/chat/completions", &body)
        .send()
        .await
        .unwrap();
    let mut stream = answer.bytes_stream();
    let first = stream.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).starts_with("data: "));
    assert!(began.elapsed().as_secs() < 5, "the whole takes minutes");
    drop(stream);
    let hung_up = until(async || {
        let calls = town.calls().await;
        let call = calls.first()?.clone();
        (call["ended"] == "hung up").then_some(call)
    });
    assert_eq!(hung_up.await["stream"], true);
    let ended: Value = until(async || town.records("request_ended").await.first().cloned()).await;
    assert_eq!(ended["detail"]["state"], "cancelled");
    assert_eq!(ended["detail"]["estimated"], true);
    assert_ne!(ended["detail"]["cost_usd"], "0");
}

#[tokio::test]
async fn a_provider_that_goes_silent_is_left() {
    let town = Town::with(&[("HUNDI_REQUESTS_STALL_SECS", "1")]).await;
    town.arm(json!({"kind": "stall", "delay_ms": 60_000})).await;
    let body = json!({"model": "sandbox", "stream": true, "messages": said("one two three")});
    let told = town.chat(body).await;
    let events = told.events();
    assert_eq!(events.last().unwrap()["error"]["code"], "provider_timeout");
}
