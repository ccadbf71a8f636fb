//! Providers that lie: that repeat our key, that never end, that report what cannot be, and those that
//! somebody registers to look into our own network.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::queue::{ended, queued};
use super::town::{Town, answer, said};

const KEY: &str = "sk-canary-0123456789abcdef";

/// A provider that does what the model's name says.
async fn liar() -> String {
    let router = Router::new().route("/v1/chat/completions", post(lie));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn lie(headers: HeaderMap, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let key = headers["authorization"].to_str().unwrap();
    let whole = |text: &str, written: u64| {
        json!({
            "id": "1", "object": "chat.completion", "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 5, "completion_tokens": written, "total_tokens": 5},
        })
    };
    match asked["model"].as_str().unwrap() {
        "refuses" => {
            let words = json!({"error": {"message": format!("Incorrect API key: {key}")}});
            (StatusCode::UNAUTHORIZED, words.to_string()).into_response()
        }
        "repeats" => whole(&format!("you sent {key}"), 5)
            .to_string()
            .into_response(),
        "boasts" => whole("few words", 9_007_199_254_740_991)
            .to_string()
            .into_response(),
        "goes_on" => {
            let piece = json!({"id": "1", "object": "chat.completion.chunk", "model": "m",
                "choices": [{"index": 0, "delta": {"content": "word ".repeat(20)}}]});
            let piece = Bytes::from(format!("data: {piece}\n\n"));
            let pieces = futures_util::stream::repeat_with(move || {
                Ok::<_, std::convert::Infallible>(piece.clone())
            });
            let kind = [("content-type", "text/event-stream")];
            (kind, Body::from_stream(pieces)).into_response()
        }
        other => panic!("{other}"),
    }
}

async fn beside(env: &[(&str, &str)]) -> Town {
    let town = Town::with(env).await;
    let body = json!({
        "name": "liar", "kind": "openai", "base_url": liar().await, "key": KEY,
        "allow_private": true, "prices": {"*": {"input": "1", "output": "10"}},
        "models": ["refuses", "repeats", "boasts", "goes_on"],
    });
    let url = format!("{}/v1/providers", town.server.url);
    let sent = town.server.http.post(url);
    let made = answer(sent.bearer_auth(&town.server.admin_key).json(&body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    town
}

const PRIVATE: (&str, &str) = ("HUNDI_SOURCES_PRIVATE_ALLOWED", "127.0.0.0/8");

#[tokio::test]
async fn a_key_that_is_repeated_reaches_nobody_and_what_cannot_be_is_not_believed() {
    let town = beside(&[PRIVATE]).await;
    let id = queued(&town, json!({"prompt": "hi", "model": "repeats"})).await;
    let request = ended(&town, &id).await.to_string();
    assert!(!request.contains("canary"), "{request}");
    let url = format!("{}/v1/requests/{id}/result", town.server.url);
    let sent = town.server.http.get(url);
    let result = answer(sent.bearer_auth(&town.server.agent_key)).await.text;
    assert!(result.contains("you sent [secret]"), "{result}");

    let id = queued(&town, json!({"prompt": "hi", "model": "boasts"})).await;
    let request = ended(&town, &id).await;
    assert_eq!(request["status"], "completed", "{request}");
    let attempt = &request["attempts"][0];
    assert_eq!(attempt["estimated"], true, "{request}");
    assert!(
        attempt["cost_nanos"].as_u64().unwrap() < 1_000_000,
        "{request}"
    );
    let usage = "/v1/usage?by=model";
    let told = town.server.get(&town.server.admin_key, usage).await;
    assert!(
        told["usage"].is_array() || told["total"].is_object(),
        "{told}"
    );
}

#[tokio::test]
async fn an_answer_without_end_is_stopped_near_what_was_reserved_for_it() {
    let town = beside(&[PRIVATE]).await;
    let limits = json!({"llm": {"daily_usd": "0.2", "per_request_usd": "0.1"}});
    town.policy(limits).await;
    for most in [json!(20), json!(null)] {
        let body = json!({
            "model": "goes_on", "messages": said("hi"), "stream": true, "max_tokens": most,
        });
        let told = town.chat(body).await;
        let told = told.text;
        assert!(
            told.contains("\"error\"") && told.contains("stopped"),
            "{}",
            &told[..200]
        );
    }
    let told = town.server.get(&town.server.admin_key, "/v1/usage").await;
    let spent = told["total"]["cost_nanos"].as_u64().unwrap();
    // Reserved were 41 mill for the 4,096 tokens of an answer that nobody bounds, and next to nothing
    // for twenty.
    assert!(spent < 3 * 50_000_000, "{told}");
}

#[tokio::test]
async fn a_registered_provider_is_at_a_private_address_only_where_the_configuration_allows_it() {
    let org = ("HUNDI_SOURCES_ORGS", "another");
    for env in [vec![], vec![PRIVATE, org]] {
        let town = beside(&env).await;
        let asked = json!({"model": "repeats", "messages": said("hi")});
        let told = tokio::time::timeout(Duration::from_secs(20), town.chat(asked)).await;
        let told = told.unwrap();
        assert_eq!(told.status, 502, "{}", told.text);
        assert!(told.text.contains("unreachable"), "{}", told.text);
    }
}
