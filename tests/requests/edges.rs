//! What is refused before it costs anything, and what is told where something went wrong.

use serde_json::{Value, json};

use super::mirror::Mirrored;
use super::queue::{ended, events, queued};
use super::town::{answer, said, until};

#[tokio::test]
async fn what_no_price_list_tells_is_not_asked_for() {
    let mirrored = Mirrored::new().await;
    mirrored.register("one", "openai", &["m"]).await;
    mirrored.register("two", "anthropic", &["c"]).await;
    let town = &mirrored.town;
    for (field, value) in [
        ("service_tier", json!("priority")),
        ("web_search_options", json!({})),
        ("modalities", json!(["text", "audio"])),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("models", json!(["dear/one"])),
    ] {
        let mut body = json!({"model": "m", "messages": said("hi")});
        body[field] = value;
        let told = town.chat(body).await;
        let error = &told.json()["error"];
        assert_eq!(
            (told.status, &error["code"]),
            (400, &json!("price_unknown")),
            "{field}"
        );
        assert!(
            error["message"].as_str().unwrap().contains(field),
            "{error}"
        );
    }
    let hosted = json!([{"type": "web_search_20250305", "name": "web_search", "max_uses": 1000}]);
    let kept =
        json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    for (field, value) in [
        ("tools", hosted),
        ("speed", json!("fast")),
        ("system", kept),
    ] {
        let mut body = json!({"model": "c", "max_tokens": 9, "messages": said("hi")});
        body[field] = value;
        let told = town.messages(body).await;
        assert_eq!(
            (told.status, &told.json()["error"]["code"]),
            (400, &json!("price_unknown")),
            "{field}"
        );
    }
    assert_eq!(mirrored.count(), 0);
    let usual = json!({"model": "m", "messages": said("hi"), "service_tier": "auto", "seed": 7});
    assert_eq!(town.chat(usual).await.status, 200);
    assert_eq!(mirrored.last()["service_tier"], "auto");
}

#[tokio::test]
async fn nothing_is_asked_where_nothing_is_said() {
    let mirrored = Mirrored::new().await;
    mirrored.register("one", "openai", &["m"]).await;
    let town = &mirrored.town;
    for (body, words) in [
        (json!({"prompt": ""}), "nothing is asked"),
        (json!({"prompt": " \n"}), "nothing is asked"),
        (json!({"messages": []}), "nothing is asked"),
        (json!({"messages": said(" ")}), "nothing is asked"),
        (
            json!({"messages": [{"role": "user"}]}),
            "`messages[0].content` is missing",
        ),
        (
            json!({"prompt": "a", "budget": {"max_usd": "-1"}}),
            "exact decimal text",
        ),
        (
            json!({"prompt": "a", "provider_hint": "no such\nname"}),
            "`provider_hint`",
        ),
        (
            json!({"prompt": "a", "retrieve": {"documents": ["nope"]}}),
            "`retrieve.documents[0]`",
        ),
    ] {
        let told = answer(town.post("/v1/requests", &body)).await;
        assert_eq!(told.status, 400, "{body}: {}", told.text);
        assert!(told.text.contains(words), "{body}: {}", told.text);
        assert!(!told.header("x-hundi-request-id").is_empty(), "{body}");
    }
    let blank = json!({"model": "m", "messages": said("  ")});
    assert_eq!(town.chat(blank).await.status, 400);
    assert_eq!(mirrored.count(), 0);
}

#[tokio::test]
async fn an_answer_names_its_request_and_says_what_became_of_it() {
    let mirrored = Mirrored::new().await;
    mirrored.register("one", "openai", &["m", "refuses"]).await;
    let town = &mirrored.town;
    let get = |path: String| {
        let url = format!("{}{path}", town.server.url);
        answer(
            town.server
                .http
                .get(url)
                .bearer_auth(&town.server.agent_key),
        )
    };
    // The hint is nobody's, and that is told.
    let asked = json!({"prompt": "a", "model": "m", "provider_hint": "nope"});
    let told = answer(town.post("/v1/requests", &asked)).await;
    let id = told.json()["request_id"].as_str().unwrap().to_owned();
    assert_eq!(told.header("x-hundi-request-id"), id);
    let request = ended(town, &id).await;
    let lost = &request["routing"]["lost"][0];
    assert_eq!(
        (&lost["provider"], &lost["because"]),
        (&json!("nope"), &json!("unknown")),
        "{request}"
    );
    // What was said is erased; what it cost is not.
    let url = format!("{}/v1/requests/{id}", town.server.url);
    let erased = answer(
        town.server
            .http
            .delete(url)
            .bearer_auth(&town.server.agent_key),
    )
    .await;
    assert_eq!(erased.status, 200, "{}", erased.text);
    for part in ["result", "events"] {
        let told = get(format!("/v1/requests/{id}/{part}")).await;
        assert_eq!(
            (told.status, &told.json()["code"]),
            (410, &json!("erased")),
            "{part}"
        );
        assert_eq!(told.header("x-hundi-request-id"), id);
    }
    assert_eq!(
        get(format!("/v1/requests/{id}")).await.json()["erased"],
        true
    );
    // One failure, told alike wherever it is told.
    let id = queued(town, json!({"prompt": "a", "model": "refuses"})).await;
    let short = ended(town, &id).await["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(short, "the provider one gave no answer (refused)");
    let result = get(format!("/v1/requests/{id}/result")).await.json();
    let whole = result["error"]["message"].as_str().unwrap();
    assert!(
        whole.starts_with(&short) && whole.contains("no such thing"),
        "{whole}"
    );
    let told = events(&get(format!("/v1/requests/{id}/events")).await);
    assert_eq!(told.last().unwrap().2["message"], whole);
    // Under the paths of official packages refusals are in their formats.
    for (method, path, status) in [
        ("POST", "/v1/messages/count_tokens", 404),
        ("GET", "/v1/messages", 405),
        ("POST", "/v1/chat/completionz", 404),
        ("GET", "/v1/responses/resp_1", 404),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let sent = town
            .server
            .http
            .request(method, format!("{}{path}", town.server.url));
        let told = answer(sent.bearer_auth(&town.server.agent_key)).await;
        assert_eq!(told.status, status, "{path}");
        assert!(
            told.json()["error"]["message"].is_string(),
            "{path}: {}",
            told.text
        );
    }
    // A budget that is used up says so, and that there is no use in asking again.
    town.policy(json!({"llm": {"daily_usd": "0"}})).await;
    let told = answer(town.post("/v1/requests", &json!({"prompt": "a", "model": "m"}))).await;
    assert_eq!(
        (told.status, told.header("x-should-retry")),
        (402, "false"),
        "{}",
        told.text
    );
    let id = told.header("x-hundi-request-id");
    let refused = &town.records("request_refused").await[0];
    assert_eq!(refused["detail"]["request_id"], id, "{refused}");
}

#[tokio::test]
async fn what_everybody_shares_is_switched_by_the_house_alone_and_taken_back() {
    let mirrored = Mirrored::new().await;
    let town = &mirrored.town;
    let (status, made) = mirrored
        .admin("POST", "/v1/orgs", json!({"name": "evil"}))
        .await;
    assert_eq!(status, 201, "{made}");
    let stranger = made["admin_key"].as_str().unwrap();
    let table = json!({"as_of": "2026-11-20", "prices": {"sandbox": {"sandbox": {"input": "0", "output": "0"}}}});
    for (path, body) in [
        ("/v1/queue", json!({"paused": true})),
        ("/v1/prices", table.clone()),
        ("/v1/providers/sandbox/reset", json!({})),
    ] {
        let (status, told) = town.server.post(stranger, path, &body).await.unwrap();
        assert_eq!(status, 403, "{path}: {told}");
    }
    let url = format!("{}/v1/prices", town.server.url);
    let told = answer(town.server.http.delete(url).bearer_auth(stranger)).await;
    assert_eq!(told.status, 403, "{}", told.text);
    assert_eq!(
        town.server.get(&town.server.admin_key, "/v1/queue").await["paused"],
        false
    );
    // What waits is asked for nobody whose key was revoked meanwhile.
    let (_, made) = mirrored
        .admin("POST", "/v1/keys", json!({"role": "agent", "name": "lost"}))
        .await;
    let (lost, lost_id) = (made["key"].as_str().unwrap(), &made["id"]);
    let (status, told) = mirrored
        .admin("POST", "/v1/queue", json!({"paused": true}))
        .await;
    assert_eq!(status, 200, "{told}");
    let asked = json!({"prompt": "hi", "model": "sandbox"});
    let (status, waits) = town
        .server
        .post(lost, "/v1/requests", &asked)
        .await
        .unwrap();
    assert_eq!(status, 202, "{waits}");
    let url = format!("{}/v1/keys/{}", town.server.url, lost_id.as_str().unwrap());
    let admin = &town.server.admin_key;
    let told = answer(town.server.http.delete(url).bearer_auth(admin)).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let (status, told) = mirrored
        .admin("POST", "/v1/queue", json!({"paused": false}))
        .await;
    assert_eq!(status, 200, "{told}");
    let path = format!("/v1/requests/{}", waits["request_id"].as_str().unwrap());
    let seen = until(async || {
        let seen = town.server.get(admin, &path).await;
        (seen["status"] != "pending").then_some(seen)
    })
    .await;
    assert_eq!(
        (&seen["status"], &seen["error"]["code"]),
        (&json!("failed"), &json!("key_revoked")),
        "{seen}"
    );
    // A table is imported, counts, and is taken back, in both ways.
    let cost = async || {
        let told = town
            .chat(json!({"model": "sandbox", "messages": said("hi")}))
            .await;
        assert_eq!(told.status, 200, "{}", told.text);
        told.header("x-hundi-cost-usd").to_owned()
    };
    let shipped = cost().await;
    assert_ne!(shipped, "0");
    for (method, body) in [
        ("POST", json!({"as_of": "2026-12-01", "prices": {}})),
        ("DELETE", Value::Null),
    ] {
        assert_eq!(
            mirrored.admin("POST", "/v1/prices", table.clone()).await.0,
            200
        );
        assert_eq!(cost().await, "0");
        let (status, told) = mirrored.admin(method, "/v1/prices", body).await;
        assert_eq!(status, 200, "{told}");
        assert_eq!(cost().await, shipped);
    }
    let (_, listed) = mirrored.admin("GET", "/v1/prices", Value::Null).await;
    assert_eq!(listed["imported_as_of"], Value::Null);
    for day in ["not a date", "2026-13-01", ""] {
        let mut wrong = table.clone();
        wrong["as_of"] = json!(day);
        assert_eq!(
            mirrored.admin("POST", "/v1/prices", wrong).await.0,
            400,
            "{day}"
        );
    }
    // Today's cost is the same in every view of a provider, and a request is counted once in all.
    let (_, listed) = mirrored.admin("GET", "/v1/providers", Value::Null).await;
    let spent = listed["providers"][0]["cost_today_nanos"].as_u64().unwrap();
    assert!(spent > 0, "{listed}");
    let (_, reset) = mirrored
        .admin("POST", "/v1/providers/sandbox/reset", json!({}))
        .await;
    assert_eq!(reset["cost_today_nanos"], spent, "{reset}");
    // Prices of a provider are written as in the file.
    for (prices, status, words) in [
        (json!({"input": "1", "output": "2"}), 201, ""),
        (
            json!({"*": {"input": "1", "output": 0.5}}),
            400,
            "`prices.*.output` has to be decimal dollars",
        ),
        (json!({"input": "1"}), 400, "`prices.output` is missing"),
        (json!({"m": 7}), 400, "`prices.m`"),
    ] {
        let body = json!({"name": "p8", "base_url": "https://example.com/v1", "key": "x", "prices": prices});
        let (told, text) = mirrored.admin("POST", "/v1/providers", body).await;
        assert_eq!(told, status, "{text}");
        assert!(text.to_string().contains(words), "{text}");
    }
    let (status, told) = mirrored
        .admin("POST", "/v1/providers", json!({"name": "groq"}))
        .await;
    assert_eq!(status, 400, "{told}");
    assert!(told.to_string().contains("`key` is missing"), "{told}");
}

#[tokio::test]
async fn a_request_that_two_were_asked_for_is_one_request_in_all() {
    let mirrored = Mirrored::new().await;
    let town = &mirrored.town;
    mirrored.register("one", "openai", &["silent", "m"]).await;
    let route = json!({"prompt": "a", "model": "silent"});
    let id = queued(town, route).await;
    ended(town, &id).await;
    let id = queued(town, json!({"prompt": "a", "model": "m"})).await;
    ended(town, &id).await;
    mirrored.register("two", "openai", &["silent"]).await;
    let id = queued(town, json!({"prompt": "a", "model": "silent"})).await;
    let request = ended(town, &id).await;
    assert_eq!(
        request["attempts"].as_array().unwrap().len(),
        2,
        "{request}"
    );
    for by in ["agent", "provider", "model", "day", "task"] {
        let (_, told) = mirrored
            .admin("GET", &format!("/v1/usage?by={by}"), Value::Null)
            .await;
        assert_eq!(
            (&told["total"]["requests"], &told["total"]["attempts"]),
            (&json!(3), &json!(4)),
            "{by}: {told}"
        );
    }
}

#[tokio::test]
async fn a_provider_is_a_document_that_is_applied_twice_and_once() {
    let mirrored = Mirrored::new().await;
    let server = &mirrored.town.server;
    let folder = server.dir.path().join("conf/providers");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |limit: u32| {
        let body = json!({
            "base_url": mirrored.url, "kind": "anthropic", "key": "k1", "models": ["zz"], "rpm": limit,
            "allow_private": true, "prices": {"input": "1", "output": "2.50"},
        });
        std::fs::write(folder.join("px.json"), body.to_string()).unwrap();
    };
    let apply = || server.command(&["apply", "-f", "conf"]);
    write(5);
    assert!(apply().contains("make providers/px"));
    assert!(apply().contains("everything is as the files say"));
    write(6);
    let changed = apply();
    assert!(
        changed.contains("replace providers/px (rpm)") || changed.contains("replace providers/px"),
        "{changed}"
    );
    assert!(apply().contains("everything is as the files say"));
    let (_, told) = mirrored.admin("GET", "/v1/providers/px", Value::Null).await;
    assert_eq!(
        (&told["document"]["rpm"], &told["key_set"]),
        (&json!(6), &json!(true)),
        "{told}"
    );
    server.command(&["export", "--out", "kept"]);
    let kept = std::fs::read_to_string(server.dir.path().join("kept/providers/px.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(
        (&kept["rpm"], &kept["prices"]["*"]["input"]),
        (&json!(6), &json!("1")),
        "{kept}"
    );
    // The key stays where it was given for: another address takes it anew.
    let elsewhere =
        json!({"base_url": "https://example.com", "kind": "anthropic", "models": ["zz"]});
    let (status, told) = mirrored.admin("PUT", "/v1/providers/px", elsewhere).await;
    assert_eq!(status, 400, "{told}");
    assert!(told.to_string().contains("`key`"), "{told}");
}
