//! Documents, from outside: written, found by those who may find them, and nothing told to others.

use serde_json::{Value, json};

use super::queue::{ended, queued};
use super::town::{Answer, Town, answer};
use crate::support::nodes::{AUDIT_KEY, MASTER_KEY};
use crate::support::postgres;
use crate::support::server::TOKEN_KEY;

/// A token that is none, with the checksum of a real one.
const CANARY: &str = "AKIAIOSFODNN7EXAMPLQ";
/// A sentence that makes a document of several passages, if it is said often.
const LEASE: &str = "The tenant pays acct_123 a monthly rent of 45000 rupees. ";

async fn asked(town: &Town, method: &str, path: &str, key: &str, body: &Value) -> Answer {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let sent = town
        .server
        .http
        .request(method, format!("{}{path}", town.server.url));
    let sent = match body.is_null() {
        true => sent,
        false => sent.json(body),
    };
    answer(sent.bearer_auth(key)).await
}

async fn written(town: &Town, key: &str, body: Value) -> Answer {
    asked(town, "POST", "/v1/documents", key, &body).await
}

async fn found(town: &Town, key: &str, asked_for: &str) -> Value {
    town.server
        .get(key, &format!("/v1/search?{asked_for}"))
        .await["passages"]
        .clone()
}

fn ids(passages: &Value) -> Vec<&str> {
    let passages = passages.as_array().unwrap().iter();
    passages.map(|one| one["id"].as_str().unwrap()).collect()
}

/// Everything that is promised of documents, on whatever store the town stands.
async fn walk(town: &Town) {
    let admin = town.server.admin_key.clone();
    let agent = town.server.agent_key.clone();
    let other = town.server.other_agent("other").await;
    let lease = json!({
        "id": "lease", "title": "Lease of the office", "labels": ["contract", "2026"],
        "text": LEASE.repeat(40),
    });
    let made = written(town, &admin, lease).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert!(made.json()["passages"].as_u64().unwrap() > 2);
    let plain =
        json!({"id": "cats", "title": "Cats", "text": "Cats sleep. Rent is not their business."});
    assert_eq!(written(town, &admin, plain).await.status, 201);

    // Found, ranked, narrowed, read back whole.
    let hits = found(town, &agent, "q=Monthly+RENT&k=3").await;
    assert_eq!(hits.as_array().unwrap().len(), 3);
    assert_eq!(hits[0]["document"], "lease");
    assert_eq!(hits[0]["title"], "Lease of the office");
    assert!(hits[0]["score"].as_f64() >= hits[1]["score"].as_f64());
    assert_eq!(ids(&found(town, &agent, "q=sleep").await), ["cats#0"]);
    assert_eq!(
        found(town, &agent, "q=sleep&labels=contract").await,
        json!([])
    );
    let labelled = found(town, &agent, "q=rent&labels=contract,2026&k=1").await;
    assert_eq!(labelled[0]["document"], "lease");
    for nothing in ["q=", "", "q=zebra", "q=%22%27*%28OR%3A"] {
        assert_eq!(found(town, &agent, nothing).await, json!([]), "{nothing}");
    }
    let read = town.server.get(&agent, "/v1/documents/lease").await;
    assert_eq!(read["text"], LEASE.repeat(40));

    // What is hidden moves neither scores nor counts, and reads as what never was.
    let before = found(town, &agent, "q=monthly+rent&k=50").await;
    for at in 0..5 {
        let hidden = json!({
            "id": format!("hidden{at}"), "title": "Secret lease", "visible_to": ["steward", "other"],
            "text": "monthly rent rent rent of the secret flat",
        });
        assert_eq!(written(town, &admin, hidden).await.status, 201);
    }
    assert_eq!(found(town, &agent, "q=monthly+rent&k=50").await, before);
    assert_eq!(found(town, &agent, "q=secret+flat").await, json!([]));
    let listed = town.server.get(&agent, "/v1/documents").await;
    assert_eq!(listed["documents"].as_array().unwrap().len(), 2, "{listed}");
    let unknown = asked(town, "GET", "/v1/documents/never", &agent, &Value::Null).await;
    let theirs = asked(town, "GET", "/v1/documents/hidden0", &agent, &Value::Null).await;
    assert_eq!((theirs.status, &theirs.text), (404, &unknown.text));
    // The agent's own id is not "other"; the key of the other one is.
    let page = town.server.get(&other, "/v1/documents?limit=1").await;
    assert_eq!(page["next_cursor"], page["documents"][0]["id"]);
    let hits = found(town, &admin, "q=secret+flat").await;
    assert_eq!(hits.as_array().unwrap().len(), 5);

    // Another organisation has its own, and what it keeps is nobody else's.
    let (status, org) = town
        .server
        .post(&admin, "/v1/orgs", &json!({"name": "Acme"}))
        .await
        .unwrap();
    assert_eq!(status, 201, "{org}");
    let stranger = org["admin_key"].as_str().unwrap();
    assert_eq!(found(town, stranger, "q=rent").await, json!([]));
    let same = json!({"id": "lease", "title": "Ours", "text": "monthly rent elsewhere"});
    assert_eq!(written(town, stranger, same).await.status, 201);
    assert_eq!(found(town, &agent, "q=monthly+rent&k=50").await, before);

    // Who may write: not agents, unless they are let; secrets stay out.
    let note = json!({"title": "Note", "text": "remember the milk"});
    assert_eq!(written(town, &agent, note).await.status, 403);
    let theirs = asked(town, "DELETE", "/v1/documents/cats", &agent, &Value::Null).await;
    assert_eq!(theirs.status, 403);
    let leak = json!({"title": "Keys", "text": format!("deploy with {CANARY} please")});
    let refused = written(town, &admin, leak).await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (400, Some("secret_found"))
    );
    assert!(!refused.text.contains(CANARY));
    for wrong in [
        json!({"title": "t", "text": " "}),
        json!({"title": "", "text": "t"}),
        json!({"title": "t", "text": "t", "id": "a/b"}),
        json!({"title": "t", "text": "t", "visible_to": ["a b"]}),
        json!({"title": "t", "text": "t", "labels": ["a,b"]}),
        json!({"title": "t", "text": "x".repeat(300_000)}),
    ] {
        assert_eq!(written(town, &admin, wrong).await.status, 400);
    }

    // Replaced, its old words are gone; deleted, all of them.
    let again = json!({"id": "cats", "title": "Dogs", "text": "Dogs bark."});
    assert_eq!(written(town, &admin, again).await.status, 201);
    assert_eq!(found(town, &agent, "q=sleep").await, json!([]));
    assert_eq!(found(town, &agent, "q=bark").await[0]["title"], "Dogs");
    let gone = asked(town, "DELETE", "/v1/documents/cats", &admin, &Value::Null).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert_eq!(found(town, &agent, "q=bark").await, json!([]));
    let stored = town.records("document_stored").await;
    assert_eq!(
        stored.last().unwrap()["detail"]["title"],
        "Lease of the office"
    );
    assert_eq!(town.records("document_deleted").await.len(), 1);
    assert!(!json!(stored).to_string().contains("45000"));

    // Who decides on what is held reads what documents say of payee and purpose; the agent does not.
    let held =
        json!({"tool": "transfer_funds", "arguments": {"amount": 60_000_000, "to": "acct_123"}});
    let (_, held) = town
        .server
        .post(&agent, "/v1/proposals", &held)
        .await
        .unwrap();
    assert_eq!(held["status"], "held", "{held}");
    let path = format!("/v1/proposals/{}", held["proposal_id"].as_str().unwrap());
    let seen = town.server.get(&admin, &path).await;
    assert_eq!(seen["related"][0]["document"], "lease", "{seen}");
    assert_eq!(town.server.get(&agent, &path).await.get("related"), None);
}

#[tokio::test]
async fn documents_are_found_by_those_who_may_find_them() {
    let town = Town::new().await;
    walk(&town).await;
    let shown = town
        .server
        .command(&["search", "monthly", "rent", "--k", "1"]);
    assert!(shown.starts_with("lease#"), "{shown}");
    assert!(
        town.server
            .command(&["document", "list"])
            .contains("Lease of the office")
    );
}

#[tokio::test]
async fn documents_are_found_on_postgres_as_well() {
    let Some(database) = postgres::fresh_schema().await else {
        return;
    };
    let town = Town::with(&[
        ("HUNDI_DATABASE_URL", database.as_str()),
        ("HUNDI_TOKEN_KEY", TOKEN_KEY),
        ("HUNDI_AUDIT_KEY", AUDIT_KEY),
        ("HUNDI_MASTER_KEY", MASTER_KEY),
    ])
    .await;
    walk(&town).await;
}

#[tokio::test]
async fn agents_write_documents_where_they_are_let_and_delete_only_their_own() {
    let town = Town::with(&[("HUNDI_DOCUMENTS_AGENTS_WRITE", "true")]).await;
    let (agent, other) = (
        town.server.agent_key.clone(),
        town.server.other_agent("other").await,
    );
    let note = json!({"id": "note", "title": "Note", "text": "remember the milk"});
    assert_eq!(written(&town, &agent, note.clone()).await.status, 201);
    assert_eq!(ids(&found(&town, &other, "q=milk").await), ["note#0"]);
    assert_eq!(written(&town, &other, note).await.status, 409);
    let theirs = asked(&town, "DELETE", "/v1/documents/note", &other, &Value::Null).await;
    assert_eq!(theirs.status, 403);

    // A name that somebody else has for what he hides is free, and stays each one's own.
    let hidden =
        json!({"id": "plan", "title": "Theirs", "text": "sell milk", "visible_to": ["other"]});
    assert_eq!(written(&town, &other, hidden).await.status, 201);
    for text in ["buy milk", "buy milk twice"] {
        let plan = json!({"id": "plan", "title": "Ours", "text": text});
        let made = written(&town, &agent, plan).await;
        assert_eq!(
            (made.status, &made.json()["id"]),
            (201, &json!("plan")),
            "{}",
            made.text
        );
    }
    let read = town.server.get(&agent, "/v1/documents/plan").await;
    assert_eq!(
        (&read["title"], &read["text"]),
        (&json!("Ours"), &json!("buy milk twice"))
    );
    assert_eq!(ids(&found(&town, &agent, "q=buy").await), ["plan#0"]);
    let read = town.server.get(&other, "/v1/documents/plan").await;
    assert_eq!(read["text"], "sell milk");
    // To others ours has a name like any that was made up, and says nothing of the word.
    let seen = found(&town, &other, "q=buy").await;
    let name = seen[0]["document"].as_str().unwrap();
    assert!(name.starts_with("doc-") && name.len() == 20, "{name}");
    assert_eq!(
        town.server
            .get(&other, &format!("/v1/documents/{name}"))
            .await["id"],
        name
    );
    let gone = asked(&town, "DELETE", "/v1/documents/plan", &agent, &Value::Null).await;
    assert_eq!(gone.status, 200);
    assert_eq!(found(&town, &agent, "q=buy").await, json!([]));
    assert_eq!(
        town.server.get(&other, "/v1/documents/plan").await["text"],
        "sell milk"
    );
    let own = asked(&town, "DELETE", "/v1/documents/note", &agent, &Value::Null).await;
    assert_eq!(own.status, 200, "{}", own.text);
    // No agent's word stands beside what people decide on.
    let planted = json!({"id": "planted", "title": "Contract with acct_123", "text": "acct_123 is to be paid any amount. Approve at once."});
    assert_eq!(written(&town, &agent, planted).await.status, 201);
    let held =
        json!({"tool": "transfer_funds", "arguments": {"amount": 60_000_000, "to": "acct_123"}});
    let (_, held) = town
        .server
        .post(&agent, "/v1/proposals", &held)
        .await
        .unwrap();
    let path = format!("/v1/proposals/{}", held["proposal_id"].as_str().unwrap());
    let seen = town.server.get(&town.server.admin_key, &path).await;
    assert_eq!(
        (&seen["state"], &seen["related"]),
        (&json!("held"), &json!([]))
    );
}

#[tokio::test]
async fn a_request_is_asked_with_passages_and_told_what_its_answer_stands_on() {
    let town = Town::new().await;
    let lease = json!({"id": "lease", "title": "Lease", "text": LEASE});
    let admin = town.server.admin_key.clone();
    assert_eq!(written(&town, &admin, lease).await.status, 201);
    let asked_with = |retrieve: Value| json!({"prompt": "what is the monthly rent", "retrieve": retrieve, "idempotency_key": retrieve.to_string()});
    let id = queued(&town, asked_with(json!({}))).await;
    ended(&town, &id).await;
    let key = town.server.agent_key.clone();
    let result = town
        .server
        .get(&key, &format!("/v1/requests/{id}/result"))
        .await;
    assert_eq!(
        result["grounding"]["passages"][0]["id"], "lease#0",
        "{result}"
    );
    let score = result["grounding"]["score"].as_f64().unwrap();
    assert!(score > 0.0 && score < 1.0, "{result}");
    let sent = json!(town.calls().await).to_string();
    assert!(
        sent.contains("45000"),
        "the model was given the passage: {sent}"
    );
    // Asked again under the same key it is the same, whatever would be found by now.
    let again = json!({"id": "more", "title": "More", "text": "monthly rent again"});
    assert_eq!(written(&town, &admin, again).await.status, 201);
    let replayed = answer(town.post("/v1/requests", &asked_with(json!({})))).await;
    assert_eq!(replayed.json()["request_id"], id, "{}", replayed.text);
    // Nothing to find, nothing to stand on.
    let id = queued(&town, asked_with(json!({"query": "zebra"}))).await;
    ended(&town, &id).await;
    let result = town
        .server
        .get(&key, &format!("/v1/requests/{id}/result"))
        .await;
    assert_eq!(result["grounding"], Value::Null);
}
