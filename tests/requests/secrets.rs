//! Secrets stay home: what looks like one never reaches a provider, a log, a record or an answer.

use serde_json::json;

use super::town::{Town, answer, said};

/// A token that is none, with the checksum of a real one.
const CANARY: &str = "AKIAIOSFODNN7EXAMPLQ";

fn words() -> String {
    format!("deploy with {CANARY} please")
}

#[tokio::test]
async fn a_secret_is_refused_by_type_and_place_and_goes_nowhere() {
    let town = Town::new().await;
    let body = json!({"model": "auto", "messages": said(&words())});
    let refused = town.chat(body).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "secret_found");
    assert_eq!(error["found"][0]["pointer"], "/messages/0/content");
    assert!(town.calls().await.is_empty());
    let audit = town.server.get(&town.server.admin_key, "/v1/audit").await;
    let log = std::fs::read_to_string(town.server.dir.path().join("stderr.log")).unwrap();
    let metrics = format!("{}/metrics", town.server.url);
    let metrics = answer(town.server.http.get(metrics)).await.text;
    for told in [&refused.text, &audit.to_string(), &log, &metrics] {
        assert!(!told.contains(CANARY), "{told}");
    }
    assert!(metrics.contains("hundi_secrets_total"));
    assert_eq!(
        town.records("request_refused").await[0]["reason"],
        "secret_found"
    );
}

#[tokio::test]
async fn a_secret_is_replaced_and_put_back_only_where_that_is_asked_for() {
    let town = Town::with(&[("HUNDI_SECRETS_MODE", "redact")]).await;
    for stream in [false, true] {
        let body = json!({"model": "auto", "stream": stream, "messages": said(&words())});
        let plain = town.chat(body.clone()).await;
        assert_eq!(plain.status, 200, "{}", plain.text);
        assert!(!plain.text.contains(CANARY), "{}", plain.text);
        assert!(plain.text.contains("[secret:"), "{}", plain.text);
        let restored = town.post("/v1/chat/completions", &body);
        let restored = answer(restored.header("hundi-restore", "1")).await;
        assert!(restored.text.contains(CANARY), "{}", restored.text);
    }
    assert!(!json!(town.calls().await).to_string().contains(CANARY));
}

#[tokio::test]
async fn an_exception_is_by_type_and_place() {
    let all = ("HUNDI_SECRETS_EXCEPTIONS", "* /messages/*/content");
    let town = Town::with(&[all]).await;
    let body = json!({"model": "auto", "messages": said(&words())});
    assert_eq!(town.chat(body.clone()).await.status, 200);
    let mut elsewhere = body;
    elsewhere["user"] = json!(CANARY);
    assert_eq!(town.chat(elsewhere).await.status, 400);
    let accepted = &town.records("request_accepted").await[0];
    let excepted = &accepted["detail"]["secrets"]["excepted"][0];
    assert_eq!(excepted["pointer"], "/messages/0/content");
}
