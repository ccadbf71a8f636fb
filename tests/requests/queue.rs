//! Requests that wait their turn: taken on, followed, answered, taken back, forgotten.

use serde_json::{Value, json};

use super::town::{Answer, Town, answer, said, until};

/// Takes a request on, and gives back its id.
pub async fn queued(town: &Town, body: Value) -> String {
    let told = answer(town.post("/v1/requests", &body)).await;
    assert_eq!(told.status, 202, "{}", told.text);
    assert_eq!(told.json()["status"], "pending");
    told.json()["request_id"].as_str().unwrap().to_owned()
}

pub async fn get(town: &Town, path: &str) -> Value {
    town.server.get(&town.server.agent_key, path).await
}

/// The request, once it has ended.
pub async fn ended(town: &Town, id: &str) -> Value {
    let path = format!("/v1/requests/{id}");
    until(async || {
        let seen = get(town, &path).await;
        let over = !["pending", "running"].contains(&seen["status"].as_str().unwrap());
        (over && !seen["attempts"].as_array().unwrap().is_empty()).then_some(seen)
    })
    .await
}

/// Events as numbers, names and data.
pub fn events(told: &Answer) -> Vec<(u64, String, Value)> {
    let blocks = told
        .text
        .split("\n\n")
        .filter(|block| block.contains("data: "));
    blocks
        .map(|block| {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim().to_owned()
            };
            let data = serde_json::from_str(&field("data:")).unwrap();
            (field("id:").parse().unwrap(), field("event:"), data)
        })
        .collect()
}

async fn follow(town: &Town, id: &str, after: Option<u64>) -> Answer {
    let url = format!("{}/v1/requests/{id}/events", town.server.url);
    let sent = town
        .server
        .http
        .get(url)
        .bearer_auth(&town.server.agent_key);
    match after {
        Some(after) => answer(sent.header("last-event-id", after.to_string())).await,
        None => answer(sent).await,
    }
}

#[tokio::test]
async fn a_request_is_answered_and_told_from_the_first_event_to_whoever_comes_late() {
    let town = Town::new().await;
    let body = json!({"prompt": "hello there", "task_type": "code", "user": "somebody",
                      "metadata": {"ticket": 7}});
    let told = answer(town.post("/v1/requests", &body)).await;
    assert_eq!(told.status, 202, "{}", told.text);
    let accepted = told.json();
    assert!(
        accepted["estimated_cost_usd"]
            .as_str()
            .unwrap()
            .starts_with("0.")
    );
    let id = accepted["request_id"].as_str().unwrap().to_owned();
    let request = ended(&town, &id).await;
    assert_eq!(request["status"], "completed");
    assert_eq!(request["attempts"][0]["provider"], "sandbox");
    assert_eq!(request["cost_nanos"], request["attempts"][0]["cost_nanos"]);
    assert!(!request.to_string().contains("somebody"));
    assert_eq!(request["user_hash"].as_str().unwrap().len(), 64);
    let result = get(&town, &format!("/v1/requests/{id}/result")).await;
    assert_eq!(result["text"], "You asked: hello there");
    assert_eq!(result["metadata"], json!({"ticket": 7}));
    let whole = events(&follow(&town, &id, None).await);
    let numbers: Vec<u64> = whole.iter().map(|(number, ..)| *number).collect();
    let most = u64::try_from(whole.len()).unwrap();
    assert_eq!(numbers, (1..=most).collect::<Vec<_>>());
    let names: Vec<&str> = whole.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!(names[..3], ["queued", "started", "delta"]);
    assert_eq!(names[names.len() - 3..], ["usage", "cost", "completed"]);
    let rest = events(&follow(&town, &id, Some(2)).await);
    assert_eq!(rest, whole[2..]);
    assert_eq!(follow(&town, &id, Some(most)).await.status, 204);
}

#[tokio::test]
async fn a_result_is_not_ready_until_it_is_and_a_cancelled_request_is_paid_and_final() {
    let town = Town::new().await;
    town.arm(json!({"kind": "drip", "delay_ms": 300})).await;
    let id = queued(&town, json!({"prompt": "word ".repeat(300)})).await;
    let running = format!("/v1/requests/{id}");
    until(async || {
        let events = get(&town, &running).await["last_event"].as_u64()?;
        (events > 3).then_some(())
    })
    .await;
    let result = format!("/v1/requests/{id}/result");
    let url = format!("{}{result}", town.server.url);
    let sent = town
        .server
        .http
        .get(url)
        .bearer_auth(&town.server.agent_key);
    let early = answer(sent).await;
    assert_eq!(
        (early.status, &early.json()["code"]),
        (409, &json!("not_ready"))
    );
    assert_eq!(early.json()["request_status"], "running");
    let cancel = format!("/v1/requests/{id}/cancel");
    let told = answer(town.post(&cancel, &json!({}))).await;
    assert_eq!(
        (told.status, &told.json()["status"]),
        (200, &json!("cancelled"))
    );
    let again = answer(town.post(&cancel, &json!({}))).await;
    assert_eq!(
        (again.status, &again.json()["code"]),
        (409, &json!("request_ended"))
    );
    let request = ended(&town, &id).await;
    assert_eq!(request["attempts"][0]["estimated"], true);
    assert_ne!(request["cost_nanos"], 0);
    until(async || {
        let calls = town.calls().await;
        (calls[0]["ended"] == "hung up").then_some(())
    })
    .await;
    let last = events(&follow(&town, &id, None).await).pop().unwrap();
    assert_eq!(last.1, "cancelled");
}

#[tokio::test]
async fn what_waits_can_be_taken_back_and_costs_nothing() {
    let town = Town::with(&[("HUNDI_REQUESTS_WORKERS", "0")]).await;
    let id = queued(&town, json!({"prompt": "hi"})).await;
    let told = answer(town.post(&format!("/v1/requests/{id}/cancel"), &json!({}))).await;
    assert_eq!(told.json()["status"], "cancelled");
    assert_eq!(told.json()["cost_nanos"], 0);
    assert!(town.calls().await.is_empty());
}

#[tokio::test]
async fn a_request_is_its_owners_and_forgotten_when_he_says_so() {
    let town = Town::new().await;
    let id = queued(&town, json!({"prompt": "hello there"})).await;
    ended(&town, &id).await;
    let other = town.server.other_agent("other").await;
    let never = "0190a0a0-0000-7000-8000-000000000000";
    for path in ["", "/result", "/events"] {
        let ask = |id: &str| {
            let url = format!("{}/v1/requests/{id}{path}", town.server.url);
            answer(town.server.http.get(url).bearer_auth(&other))
        };
        let (theirs, unknown) = (ask(&id).await, ask(never).await);
        assert_eq!(
            (theirs.status, &theirs.text),
            (404, &unknown.text),
            "{path}"
        );
    }
    let theirs = town.server.get(&other, "/v1/requests").await;
    assert_eq!(theirs["requests"], json!([]));
    let seen = town
        .server
        .get(&town.server.admin_key, &format!("/v1/requests/{id}"))
        .await;
    assert_eq!(seen["status"], "completed");
    let url = format!("{}/v1/requests/{id}", town.server.url);
    let gone = answer(
        town.server
            .http
            .delete(&url)
            .bearer_auth(&town.server.agent_key),
    )
    .await;
    assert_eq!((gone.status, &gone.json()["erased"]), (200, &json!(true)));
    let result = format!("{url}/result");
    let result = answer(
        town.server
            .http
            .get(result)
            .bearer_auth(&town.server.agent_key),
    )
    .await;
    assert_eq!(result.status, 410);
    assert_ne!(
        get(&town, &format!("/v1/requests/{id}")).await["cost_nanos"],
        0
    );
    let data = std::fs::read(town.server.dir.path().join("hundi-data/hundi.db")).unwrap();
    let wal = std::fs::read(town.server.dir.path().join("hundi-data/hundi.db-wal"));
    for bytes in [data, wal.unwrap_or_default()] {
        let plain = bytes.windows(11).any(|part| part == b"hello there");
        assert!(!plain, "what was said is stored in the clear");
    }
}

#[tokio::test]
async fn one_key_is_one_request() {
    let town = Town::with(&[("HUNDI_REQUESTS_WORKERS", "0")]).await;
    let body = json!({"prompt": "hi", "idempotency_key": "k1"});
    let asked = (0..20).map(|_| answer(town.post("/v1/requests", &body)));
    let told = futures_util::future::join_all(asked).await;
    let first = told[0].json()["request_id"].clone();
    for one in &told {
        assert_eq!(
            (one.status, &one.json()["request_id"]),
            (202, &first),
            "{}",
            one.text
        );
    }
    let news = told.iter().filter(|one| one.json()["replayed"] == false);
    assert_eq!(news.count(), 1);
    let other = json!({"prompt": "something else", "idempotency_key": "k1"});
    let refused = answer(town.post("/v1/requests", &other)).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("idempotency_key_reused"))
    );
}

#[tokio::test]
async fn the_queue_is_bounded_and_shown() {
    let env = [
        ("HUNDI_REQUESTS_WORKERS", "0"),
        ("HUNDI_REQUESTS_MAX_QUEUE", "2"),
    ];
    let town = Town::with(&env).await;
    queued(&town, json!({"prompt": "a", "priority": 10})).await;
    queued(&town, json!({"prompt": "b", "priority": 90})).await;
    let full = answer(town.post("/v1/requests", &json!({"prompt": "c"}))).await;
    assert_eq!(
        (full.status, &full.json()["code"]),
        (503, &json!("queue_full"))
    );
    assert!(!full.header("retry-after").is_empty());
    let queue = town.server.get(&town.server.admin_key, "/v1/queue").await;
    assert_eq!((&queue["depth"], &queue["running"]), (&json!(2), &json!(0)));
    assert_eq!(queue["priorities"][0]["priority"], 90);
}

#[tokio::test]
async fn the_urgent_goes_first_and_what_has_waited_long_enough_overtakes_it() {
    let env = [
        ("HUNDI_REQUESTS_WORKERS", "0"),
        ("HUNDI_REQUESTS_AGEING_SECS", "1"),
    ];
    let town = Town::with(&env).await;
    // Ten points of priority are a second here: the first has waited them out.
    queued(&town, json!({"prompt": "early", "priority": 50})).await;
    until(async || {
        let queue = town.server.get(&town.server.admin_key, "/v1/queue").await;
        (queue["oldest_seconds"].as_u64()? >= 2).then_some(())
    })
    .await;
    queued(&town, json!({"prompt": "late", "priority": 55})).await;
    queued(&town, json!({"prompt": "urgent", "priority": 100})).await;
    let one = town.server.again(&[
        ("HUNDI_REQUESTS_WORKERS", "1"),
        ("HUNDI_REQUESTS_AGEING_SECS", "1"),
    ]);
    let asked: Vec<Value> = until(async || {
        let calls = town.calls().await;
        (calls.len() == 3).then_some(calls)
    })
    .await;
    let order: Vec<&str> = asked
        .iter()
        .map(|call| call["body"]["messages"][0]["content"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["urgent", "early", "late"]);
    drop(one);
}

#[tokio::test]
async fn messages_and_tools_are_those_of_chat_completions_and_what_is_unknown_is_named() {
    let town = Town::new().await;
    let tool = json!({"type": "function", "function": {"name": "transfer_funds",
        "parameters": {"type": "object", "properties": {"amount": {"type": "integer"}}}}});
    let body = json!({"messages": said("transfer 700"), "tools": [tool]});
    let id = queued(&town, body).await;
    ended(&town, &id).await;
    let result = get(&town, &format!("/v1/requests/{id}/result")).await;
    assert_eq!(result["tool_calls"][0]["name"], "transfer_funds");
    assert_eq!(result["tool_calls"][0]["arguments"], "{\"amount\":700}");
    for (body, named) in [
        (json!({}), "`prompt`"),
        (json!({"prompt": "a", "messages": []}), "`prompt`"),
        (
            json!({"prompt": "a", "budget": {"max_usd": "a lot"}}),
            "`budget.max_usd`",
        ),
        (json!({"prompt": "a", "task_type": "a b"}), "`task_type`"),
        (json!({"prompt": "a", "priority": 101}), "`priority`"),
        (
            json!({"messages": [{"role": "boss", "content": "x"}]}),
            "`messages[0].role`",
        ),
    ] {
        let refused = answer(town.post("/v1/requests", &body)).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text.contains(named), "{body}: {}", refused.text);
    }
    let dear = json!({"prompt": "a", "max_tokens": 100_000, "budget": {"max_usd": "0.0001"}});
    let refused = answer(town.post("/v1/requests", &dear)).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (402, &json!("budget_exceeded"))
    );
}
