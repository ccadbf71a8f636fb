//! Documents found by meaning as well as by words, and put in order by a model, where such models are
//! configured. What the asker may not see counts nowhere, and without models the words remain.

use serde_json::{Value, json};

use super::town::{Town, answer, until};
use crate::support::nodes::{AUDIT_KEY, MASTER_KEY};
use crate::support::postgres;
use crate::support::server::TOKEN_KEY;

/// A token that is none, with the checksum of a real one.
const CANARY: &str = "AKIAIOSFODNN7EXAMPLQ";
const EMBEDS: (&str, &str) = ("HUNDI_DOCUMENTS_EMBEDDING_MODEL", "sandbox");
const RERANKS: (&str, &str) = ("HUNDI_DOCUMENTS_RERANK_MODEL", "sandbox-large");

async fn write(town: &Town, document: Value) {
    let url = format!("{}/v1/documents", town.server.url);
    let sent = town.server.http.post(url);
    let sent = sent.bearer_auth(&town.server.admin_key).json(&document);
    let made = answer(sent).await;
    assert_eq!(made.status, 201, "{}", made.text);
}

/// What the agent finds: names of passages and scores.
async fn found(town: &Town, query: &str) -> Vec<(String, f64)> {
    let url = format!("{}/v1/search", town.server.url);
    let sent = town.server.http.get(url).query(&[("q", query)]);
    let told = answer(sent.bearer_auth(&town.server.agent_key)).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let told = told.json();
    let passages = told["passages"].as_array().unwrap().iter();
    passages
        .map(|one| {
            let id = one["id"].as_str().unwrap().to_owned();
            (id, one["score"].as_f64().unwrap())
        })
        .collect()
}

fn names(found: &[(String, f64)]) -> Vec<&str> {
    found.iter().map(|(name, _)| name.as_str()).collect()
}

async fn once_found(town: &Town, query: &str, name: &str) {
    until(async || {
        let found = found(town, query).await;
        names(&found).contains(&name).then_some(())
    })
    .await;
}

/// The sandbox's vectors are of what stands between blanks, so a sign that is no word has a meaning.
async fn walk(town: &Town) {
    write(
        town,
        json!({"id": "clause", "title": "Clause", "text": "of the lease § applies here"}),
    )
    .await;
    write(
        town,
        json!({"id": "rent", "title": "Rent", "text": "the monthly rent is due"}),
    )
    .await;
    once_found(town, "§", "clause#0").await;
    assert_eq!(names(&found(town, "§").await), ["clause#0"]);

    // Both ways at once: what both agree on comes first.
    let before = found(town, "monthly rent §").await;
    assert_eq!(names(&before), ["rent#0", "clause#0"]);

    // What is hidden counts nowhere.
    for at in 0..3 {
        let text = "§ § § monthly rent rent";
        write(town, json!({"id": format!("hidden{at}"), "title": "Hidden", "text": text, "visible_to": ["steward"]})).await;
    }
    let admin = &town.server.admin_key;
    until(async || {
        let seen = town.server.get(admin, "/v1/search?q=%C2%A7&k=50").await;
        (seen["passages"].as_array()?.len() == 4).then_some(())
    })
    .await;
    assert_eq!(found(town, "monthly rent §").await, before);
    assert_eq!(names(&found(town, "§").await), ["clause#0"]);

    // Replaced and deleted, the old vector is gone.
    write(
        town,
        json!({"id": "clause", "title": "Clause", "text": "of the lease ¶ applies here"}),
    )
    .await;
    once_found(town, "¶", "clause#0").await;
    assert_eq!(names(&found(town, "§").await), [] as [&str; 0]);

    // A model that is away leaves the words; a secret in a question stays here.
    town.arm(json!({"kind": "error", "operation": "model", "status": 500, "count": 1}))
        .await;
    assert_eq!(names(&found(town, "monthly").await), ["rent#0"]);
    assert_eq!(
        names(&found(town, &format!("monthly {CANARY}")).await),
        ["rent#0"]
    );
    assert!(!json!(town.calls().await).to_string().contains(CANARY));

    // The broker pays for it in its own name.
    let usage = town.server.get(admin, "/v1/usage?by=agent").await;
    let payers = usage["usage"].as_array().unwrap().iter();
    let payers: Vec<&str> = payers.map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(payers, ["hundi"], "{usage}");
}

#[tokio::test]
async fn meaning_finds_what_words_do_not() {
    let town = Town::with(&[EMBEDS]).await;
    walk(&town).await;
}

#[tokio::test]
async fn meaning_finds_on_postgres_as_well() {
    let Some(database) = postgres::fresh_schema().await else {
        return;
    };
    let town = Town::with(&[
        EMBEDS,
        ("HUNDI_DATABASE_URL", database.as_str()),
        ("HUNDI_TOKEN_KEY", TOKEN_KEY),
        ("HUNDI_AUDIT_KEY", AUDIT_KEY),
        ("HUNDI_MASTER_KEY", MASTER_KEY),
    ])
    .await;
    walk(&town).await;
}

#[tokio::test]
async fn a_model_has_the_last_word_on_the_order() {
    let town = Town::with(&[RERANKS]).await;
    // By words the short one is first, which holds the rare word; by the model the one with more of
    // the question in it.
    write(
        &town,
        json!({"id": "short", "title": "Short", "text": "zebra"}),
    )
    .await;
    let long = format!("rent is paid monthly {}", "and so on ".repeat(20));
    write(&town, json!({"id": "long", "title": "Long", "text": long})).await;
    let hits = found(&town, "zebra rent monthly").await;
    assert_eq!(names(&hits), ["long#0", "short#0"]);
    assert_eq!(hits[0].1, 0.66);
    town.arm(json!({"kind": "error", "operation": "model", "status": 500, "count": 1}))
        .await;
    assert_eq!(
        names(&found(&town, "zebra rent monthly").await)[0],
        "short#0"
    );
}
