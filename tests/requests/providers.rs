//! Providers: registered, chosen, left alone when they fail, and what they cost.

use std::sync::Arc;

use serde_json::{Value, json};

use super::queue::{ended, events, queued};
use super::town::{Answer, Town, answer, said};
use crate::support::server::BankProcess;

/// A key that must be told nowhere.
const KEY: &str = "sk-canary-0123456789abcdef";
/// They are registered, and on this machine.
const PRIVATE: (&str, &str) = ("HUNDI_SOURCES_PRIVATE_ALLOWED", "127.0.0.0/8");

/// A town with another model beside its own.
struct Two {
    town: Town,
    other: Arc<BankProcess>,
}

impl Two {
    async fn new(env: &[(&str, &str)]) -> Self {
        Self {
            town: Town::with(&[env, &[PRIVATE]].concat()).await,
            other: Arc::new(BankProcess::start()),
        }
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> Answer {
        let url = format!("{}{path}", self.town.server.url);
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let sent = self.town.server.http.request(method, url);
        answer(sent.bearer_auth(&self.town.server.admin_key).json(&body)).await
    }

    /// Registers the town's own model as `first` and the other as `second`.
    async fn register(&self, kind: &str) {
        for (name, bank) in [("first", &self.town.server.bank), ("second", &self.other)] {
            let base = match kind {
                "openai" => format!("{}/sandbox/models/v1", bank.url),
                _ => format!("{}/sandbox/models", bank.url),
            };
            let body = json!({
                "name": name, "kind": kind, "base_url": base, "key": KEY, "models": ["m"],
                "allow_private": true, "prices": {"m": {"input": "1", "output": "2"}},
            });
            let made = self.admin("POST", "/v1/providers", body).await;
            assert_eq!(made.status, 201, "{}", made.text);
            assert!(!made.text.contains(KEY));
        }
    }

    async fn providers(&self) -> Vec<Value> {
        let told = self.admin("GET", "/v1/providers", Value::Null).await;
        assert!(!told.text.contains(KEY));
        told.json()["providers"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn another_provider_of_the_same_model_is_asked_before_the_first_piece() {
    let two = Two::new(&[]).await;
    two.register("openai").await;
    for (kind, why) in [
        ("5xx", "server_error"),
        ("empty", "empty"),
        ("garbage", "malformed"),
        ("rate_limited", "rate_limited"),
    ] {
        two.town
            .arm(json!({"kind": kind, "operation": "model"}))
            .await;
        let body = json!({"prompt": "hello", "model": "m", "provider_hint": "first"});
        let id = queued(&two.town, body).await;
        let request = ended(&two.town, &id).await;
        assert_eq!(request["status"], "completed", "{kind}: {request}");
        let attempts = request["attempts"].as_array().unwrap();
        assert_eq!(attempts[0]["error"], why, "{kind}");
        assert_eq!(attempts[1]["provider"], "second");
        let url = format!("{}/v1/requests/{id}/events", two.town.server.url);
        let sent = two.town.server.http.get(url);
        let told = answer(sent.bearer_auth(&two.town.server.agent_key)).await;
        let told = events(&told);
        let fallback = told.iter().find(|(_, name, _)| name == "fallback").unwrap();
        assert_eq!(
            (&fallback.2["from"], &fallback.2["to"], &fallback.2["why"]),
            (&json!("first"), &json!("second"), &json!(why))
        );
    }
    // It said when it may be asked again.
    let first = &two.providers().await[0];
    assert_eq!(first["breakers"][0]["state"], "cooling");
}

#[tokio::test]
async fn after_the_first_piece_nobody_else_is_asked() {
    let two = Two::new(&[]).await;
    two.register("openai").await;
    two.town.arm(json!({"kind": "cut"})).await;
    let body = json!({"prompt": "one two three four", "model": "m", "provider_hint": "first"});
    let id = queued(&two.town, body).await;
    let request = ended(&two.town, &id).await;
    assert_eq!(request["status"], "failed", "{request}");
    assert_eq!(request["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(request["attempts"][0]["error"], "cut");
}

#[tokio::test]
async fn a_breaker_opens_after_so_many_failures_and_is_reset_by_hand() {
    let two = Two::new(&[("HUNDI_PROVIDERS_BREAKER_FAILURES", "2")]).await;
    let base = format!("{}/sandbox/models/v1", two.town.server.bank.url);
    let body = json!({
        "name": "only", "base_url": base, "models": ["m"], "allow_private": true,
        "prices": {"*": {"input": "1", "output": "2"}},
    });
    assert_eq!(two.admin("POST", "/v1/providers", body).await.status, 201);
    two.town
        .arm(json!({"kind": "5xx", "operation": "model", "count": 2}))
        .await;
    let ask = || two.town.chat(json!({"model": "m", "messages": said("hi")}));
    assert_eq!([ask().await.status, ask().await.status], [502, 502]);
    let open = ask().await;
    assert_eq!(
        (open.status, &open.json()["error"]["code"]),
        (503, &json!("provider_unavailable"))
    );
    let seen = &two.providers().await[0];
    assert_eq!(
        (&seen["health"], &seen["breakers"][0]["state"]),
        (&json!("failing"), &json!("open"))
    );
    assert_eq!(seen["breakers"][0]["error_rate"], 1.0);
    let reset = two
        .admin("POST", "/v1/providers/only/reset", json!({}))
        .await;
    assert_eq!((reset.status, &reset.json()["health"]), (200, &json!("ok")));
    assert_eq!(ask().await.status, 200);
    let pinged = two
        .admin("POST", "/v1/providers/only/ping", json!({}))
        .await;
    assert_eq!(pinged.json()["ok"], true, "{}", pinged.text);
}

#[tokio::test]
async fn a_wrong_key_rests_the_provider_and_is_told_as_ours() {
    let two = Two::new(&[]).await;
    two.register("openai").await;
    let wrong = json!({"kind": "5xx", "operation": "model", "status": 401});
    two.town.arm(wrong).await;
    let body = json!({"prompt": "hi", "model": "m", "provider_hint": "first"});
    let id = queued(&two.town, body).await;
    let request = ended(&two.town, &id).await;
    assert_eq!(request["error"]["code"], "provider_credentials");
    assert_eq!(two.providers().await[0]["health"], "resting");
    // The next one goes elsewhere by itself.
    let next = two
        .town
        .chat(json!({"model": "m", "messages": said("hi")}))
        .await;
    assert_eq!(next.status, 200, "{}", next.text);
}

#[tokio::test]
async fn each_format_is_answered_by_providers_of_every_other() {
    for kind in ["openai", "anthropic", "ollama"] {
        let two = Two::new(&[]).await;
        two.register(kind).await;
        for stream in [false, true] {
            let chat = two
                .town
                .chat(json!({"model": "m", "stream": stream, "messages": said("hello there")}))
                .await;
            assert_eq!(chat.status, 200, "{kind}: {}", chat.text);
            let body = json!({"model": "m", "max_tokens": 50, "stream": stream, "messages": said("hello there")});
            let message = two.town.messages(body).await;
            assert_eq!(message.status, 200, "{kind}: {}", message.text);
            for told in [chat, message] {
                let text: String = match stream {
                    true => told.events().iter().filter_map(text_of).collect(),
                    false => text_of(&told.json()).unwrap_or_default(),
                };
                assert_eq!(text, "You asked: hello there", "{kind} {stream}");
            }
        }
        let tool = json!({"name": "transfer_funds", "input_schema": {"type": "object",
            "properties": {"amount": {"type": "integer"}}, "required": ["amount"]}});
        let body = json!({"model": "m", "max_tokens": 50, "tools": [tool], "messages": said("transfer 5")});
        let message = two.town.messages(body).await.json();
        assert_eq!(message["content"][0]["input"]["amount"], 5, "{kind}");
    }
}

/// The text of an answer or a piece of one, in either format.
fn text_of(value: &Value) -> Option<String> {
    [
        "/choices/0/delta/content",
        "/choices/0/message/content",
        "/delta/text",
        "/content/0/text",
    ]
    .iter()
    .find_map(|at| value.pointer(at).and_then(Value::as_str))
    .map(str::to_owned)
}

#[tokio::test]
async fn usage_is_the_sum_of_the_rows_and_everybody_sees_his_own() {
    let two = Two::new(&[]).await;
    two.register("openai").await;
    let mut nanos = 0;
    for _ in 0..3 {
        let body = json!({"prompt": "hello there", "model": "m", "task_type": "code"});
        let id = queued(&two.town, body).await;
        nanos += ended(&two.town, &id).await["cost_nanos"].as_u64().unwrap();
    }
    for (by, key) in [
        ("agent", None),
        ("provider", None),
        ("model", Some("m")),
        ("task", Some("code")),
        ("day", None),
    ] {
        let told = two
            .admin("GET", &format!("/v1/usage?by={by}"), Value::Null)
            .await
            .json();
        assert_eq!(told["total"]["cost_nanos"], nanos, "{by}: {told}");
        let rows = told["usage"].as_array().unwrap();
        let sum: u64 = rows
            .iter()
            .map(|row| row["cost_nanos"].as_u64().unwrap())
            .sum();
        assert_eq!(sum, nanos, "{by}");
        assert!(key.is_none_or(|key| rows[0]["key"] == key), "{by}: {told}");
    }
    let other = two.town.server.other_agent("other").await;
    let none = two.town.server.get(&other, "/v1/usage").await;
    assert_eq!(none["total"]["attempts"], 0);
    let later = two
        .admin("GET", "/v1/usage?since=2999-01-01T00:00:00Z", Value::Null)
        .await;
    assert_eq!(later.json()["total"]["attempts"], 0);
    let today: u64 = two
        .providers()
        .await
        .iter()
        .map(|one| one["cost_today_nanos"].as_u64().unwrap())
        .sum();
    assert_eq!(today, nanos);
}

#[tokio::test]
async fn a_model_without_a_price_is_not_asked_until_somebody_says_what_it_costs() {
    let two = Two::new(&[]).await;
    let base = format!("{}/sandbox/models/v1", two.town.server.bank.url);
    let body = json!({"name": "mine", "base_url": base, "models": ["zz"], "allow_private": true});
    assert_eq!(two.admin("POST", "/v1/providers", body).await.status, 201);
    let ask = || {
        two.town
            .chat(json!({"model": "zz", "messages": said("hi")}))
    };
    let refused = ask().await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (400, &json!("price_unknown"))
    );
    let table =
        json!({"as_of": "2026-11-20", "prices": {"mine": {"zz": {"input": "1", "output": "2"}}}});
    let told = two.admin("POST", "/v1/prices", table).await;
    assert_eq!(
        (told.status, &told.json()["imported"]),
        (200, &json!(1)),
        "{}",
        told.text
    );
    assert_eq!(ask().await.status, 200);
    let listed = two.admin("GET", "/v1/prices", Value::Null).await.json();
    let prices = listed["prices"].as_array().unwrap();
    assert!(
        prices
            .iter()
            .any(|price| price["source"] == "imported" && price["model"] == "zz")
    );
    assert!(prices.len() > 100);
}

#[tokio::test]
#[rustfmt::skip]
async fn what_is_no_provider_is_refused() {
    let two = Two::new(&[]).await;
    for (body, named) in [
        (json!({"name": "a b"}),                                                "`name`"),
        (json!({"name": "mine"}),                                               "`base_url`"),
        (json!({"name": "mine", "base_url": "http://10.0.0.1/v1"}),             "`base_url`"),
        (json!({"name": "mine", "base_url": "https://u:p@example.com"}),        "`base_url`"),
        (json!({"name": "mine", "base_url": "file:///etc/passwd"}),             "`base_url`"),
        (json!({"name": "openai", "kind": "gpt"}),                              "`kind`"),
        (json!({"name": "openai", "prices": {"m": {"input": "a lot", "output": "1"}}}), "`prices.m.input`"),
    ] {
        let refused = two.admin("POST", "/v1/providers", body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text.contains(named), "{body}: {}", refused.text);
    }
    // A private address behind https is reached no more than one in the clear.
    let body = json!({"name": "inside", "base_url": "https://127.0.0.1:1/v1", "models": ["m"],
                      "prices": {"*": {"input": "1", "output": "1"}}});
    assert_eq!(two.admin("POST", "/v1/providers", body.clone()).await.status, 201);
    let again = two.admin("POST", "/v1/providers", body).await;
    assert_eq!((again.status, &again.json()["code"]), (409, &json!("name_taken")));
    let told = two.admin("POST", "/v1/providers/inside/ping", json!({})).await;
    assert_eq!(told.json()["ok"], false);
    assert!(told.text.contains("private address"), "{}", told.text);
    let agent = two.town.post("/v1/providers", &json!({"name": "openai", "key": KEY}));
    assert_eq!(answer(agent).await.status, 403);
    let gone = two.admin("DELETE", "/v1/providers/inside", Value::Null).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
}
