//! What goes on beside a queued request: a second model that is compared with the first, secrets that
//! are put back, and those that a model says itself.

use serde_json::{Value, json};

use super::queue::{ended, events, get, queued};
use super::town::{Town, answer, until};

/// A token that is none, with the checksum of a real one.
const CANARY: &str = "AKIAIOSFODNN7EXAMPLQ";

async fn compared(town: &Town, id: &str) -> Value {
    until(async || {
        let seen = get(town, &format!("/v1/requests/{id}")).await;
        (!seen["shadow"].is_null()).then_some(seen)
    })
    .await
}

#[tokio::test]
async fn a_second_model_is_asked_beside_the_first_and_shown_to_nobody() {
    let town = Town::new().await;
    let admin = town.server.admin_key.clone();
    let body = json!({"prompt": "what is 7 and 8", "model": "sandbox", "max_tokens": 10,
                      "shadow": {"model": "sandbox-large"}});
    let id = queued(&town, body.clone()).await;
    let seen = compared(&town, &id).await;
    assert_eq!(seen["status"], "completed");
    let shadow = &seen["shadow"];
    assert_eq!(
        (&shadow["model"], &shadow["error"]),
        (&json!("sandbox-large"), &Value::Null),
        "{seen}"
    );
    assert_eq!(
        shadow["disagreement"], 0.0,
        "the sandbox says the same as any model"
    );
    assert_ne!(shadow["cost_nanos"], 0);
    assert_eq!(
        seen["attempts"].as_array().unwrap().len(),
        1,
        "the first one's own"
    );

    // It is paid, marked, and in nobody's list but the auditors'.
    let usage = town.server.get(&admin, "/v1/usage?by=task").await;
    let rows = usage["usage"].as_array().unwrap().iter();
    let marked = rows.clone().find(|row| row["key"] == "shadow");
    assert_eq!(
        marked.unwrap()["cost_nanos"],
        shadow["cost_nanos"],
        "{usage}"
    );
    let own = get(&town, "/v1/requests").await;
    assert_eq!(own["requests"].as_array().unwrap().len(), 1, "{own}");
    let all = town.server.get(&admin, "/v1/requests").await;
    let beside = all["requests"].as_array().unwrap().iter();
    let beside = beside.clone().find(|one| one["door"] == "shadow").unwrap();
    let beside = beside["request_id"].as_str().unwrap();
    for path in ["", "/result", "/events", "/stream"] {
        let url = format!("{}/v1/requests/{beside}{path}", town.server.url);
        let told = answer(
            town.server
                .http
                .get(url)
                .bearer_auth(&town.server.agent_key),
        )
        .await;
        assert_eq!(told.status, 404, "{path}");
    }
    let metrics = town.server.http.get(format!("{}/metrics", town.server.url));
    let metrics = answer(metrics.bearer_auth(&admin)).await.text;
    assert!(metrics.contains("hundi_shadow_disagreement"), "{metrics}");

    // Forgotten with the first.
    let url = format!("{}/v1/requests/{id}", town.server.url);
    let gone = answer(
        town.server
            .http
            .delete(url)
            .bearer_auth(&town.server.agent_key),
    )
    .await;
    assert_eq!(gone.status, 200);
    let seen = town
        .server
        .get(&admin, &format!("/v1/requests/{beside}"))
        .await;
    assert_eq!(seen["erased"], true);

    // Left out where the budget is short; the first is answered all the same.
    town.policy(json!({"llm": {"daily_usd": "0.0002"}})).await;
    let id = queued(&town, body).await;
    let seen = compared(&town, &id).await;
    assert_eq!(seen["status"], "completed");
    assert_eq!(seen["shadow"]["error"], "budget_exceeded", "{seen}");
    for wrong in [json!({}), json!({"model": 1}), json!({"other": "x"})] {
        let body = json!({"prompt": "hi", "shadow": wrong});
        assert_eq!(answer(town.post("/v1/requests", &body)).await.status, 400);
    }
}

#[tokio::test]
async fn secrets_are_put_back_in_the_result_of_whoever_asked_for_it_and_nowhere_else() {
    let town = Town::with(&[("HUNDI_SECRETS_MODE", "redact")]).await;
    let body = |restore: bool| {
        json!({"prompt": format!("use {CANARY} now"), "restore": restore,
               "metadata": {"with": CANARY}})
    };
    let (with, without) = (
        queued(&town, body(true)).await,
        queued(&town, body(false)).await,
    );
    for id in [&with, &without] {
        assert_eq!(ended(&town, id).await["status"], "completed");
    }
    let result = |id: &str| format!("/v1/requests/{id}/result");
    let told = get(&town, &result(&with)).await;
    assert_eq!(told["text"], format!("You asked: use {CANARY} now"));
    assert_eq!(told["metadata"]["with"], CANARY);
    let plain = get(&town, &result(&without)).await;
    assert!(
        plain["text"].as_str().unwrap().contains("[secret:"),
        "{plain}"
    );
    let audited = town
        .server
        .get(&town.server.admin_key, &result(&with))
        .await;
    let events_url = format!("{}/v1/requests/{with}/events", town.server.url);
    let told = town
        .server
        .http
        .get(events_url)
        .bearer_auth(&town.server.agent_key);
    let told = events(&answer(told).await);
    let records = town.records("request_accepted").await;
    for seen in [
        plain,
        audited,
        json!(told.iter().map(|(_, _, data)| data).collect::<Vec<_>>()),
        json!(records),
        json!(town.calls().await),
    ] {
        assert!(!seen.to_string().contains(CANARY), "{seen}");
    }
    let folder = town.server.dir.path().join("hundi-data");
    for name in ["hundi.db", "hundi.db-wal"] {
        let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
        let plain = bytes
            .windows(CANARY.len())
            .any(|part| part == CANARY.as_bytes());
        assert!(!plain, "{name} holds a secret in the clear");
    }
}

#[tokio::test]
async fn what_a_model_says_is_looked_through_and_only_counted() {
    let town = Town::with(&[("HUNDI_SECRETS_MODE", "observe")]).await;
    let id = queued(&town, json!({"prompt": format!("repeat {CANARY}")})).await;
    ended(&town, &id).await;
    let told = get(&town, &format!("/v1/requests/{id}/result")).await;
    assert!(told["text"].as_str().unwrap().contains(CANARY));
    let ends = town.records("request_ended").await;
    let types = ends[0]["detail"]["answer_secrets"].as_array().unwrap();
    assert_eq!(types.len(), 1, "{ends:?}");
    let rule = types[0].as_str().unwrap();
    assert!(!json!(ends).to_string().contains(CANARY));
    let metrics = town.server.http.get(format!("{}/metrics", town.server.url));
    let metrics = answer(metrics.bearer_auth(&town.server.admin_key))
        .await
        .text;
    let line = |line: &&str| line.starts_with("hundi_secrets_total") && line.contains(rule);
    let counted = metrics
        .lines()
        .find(line)
        .unwrap_or_else(|| panic!("{metrics}"));
    assert!(
        counted.contains("observe") && counted.ends_with(" 2"),
        "once asked, once said: {counted}"
    );
}
