//! REST sources and tools, through the real process and a real API: what is read, what is done
//! once wherever the broker dies, and what cannot be reached.

use serde_json::{Value, json};

use super::api::Api;
use super::{PATIENCE, Shop};

const PRIVATE: (&str, &str) = ("HUNDI_SOURCES_PRIVATE_ALLOWED", "127.0.0.0/8");

/// A broker with one REST source, and the API behind it.
async fn opened() -> (Shop, Api) {
    opened_with(json!({})).await
}

async fn opened_with(more: Value) -> (Shop, Api) {
    let (shop, api) = (Shop::open_with(&[PRIVATE]).await, Api::start().await);
    let mut config = json!({
        "base_url": api.url, "allow_private": true, "auth": "bearer",
    });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    let source = json!({
        "name": "crm", "kind": "rest", "config": config, "secrets": {"token": "canary-token"},
        "limits": {"max_bytes": 1_000_000},
    });
    let (status, made) = shop.post("/v1/sources", source).await;
    assert_eq!(status, 201, "{made}");
    (shop, api)
}

fn reads(name: &str, path: &str) -> Value {
    json!({
        "name": name, "kind": "rest", "source": "crm", "risk": "low", "description": "Reads.",
        "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}},
        "exec": {"method": "GET", "path": path, "query": {"q": "/q"}},
    })
}

/// A tool that makes an order by a POST to `path`.
fn makes(name: &str, path: &str, more: Value) -> Value {
    let mut tool = json!({
        "name": name, "kind": "rest", "source": "crm", "risk": "high", "description": "Orders.",
        "input_schema": {
            "type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"],
        },
        "exec": {
            "method": "POST", "path": path, "response": "$.id",
            "body": {"item": {"$arg": "/item"}, "ref": {"$proposal": "id"}},
        },
    });
    for (key, value) in more.as_object().unwrap() {
        tool["exec"][key] = value.clone();
    }
    tool
}

fn looked_up() -> Value {
    json!({"lookup": {
        "path": "/orders", "query": {"ref": {"$proposal": "id"}}, "found": "$.items[0].id",
    }})
}

async fn proposed(shop: &Shop, tool: &str, arguments: &Value) -> (String, Value) {
    let asked = json!({"tool": tool, "arguments": arguments});
    let (_, proposed) = shop.as_agent("/v1/proposals", asked).await;
    assert_eq!(proposed["status"], "allowed", "{proposed}");
    let id = proposed["proposal_id"].as_str().unwrap().to_owned();
    let commit = json!({"commit_token": proposed["commit_token"], "arguments": arguments});
    (id, commit)
}

#[tokio::test]
async fn an_api_is_read_straight_and_every_way_to_fail_has_its_name() {
    let (shop, api) = opened().await;
    let (_, said) = shop.post("/v1/sources/crm/ping", json!({})).await;
    assert_eq!(said["ok"], true, "{said}");
    for (tool, path) in [
        ("people", "/people"),
        ("silent", "/silent"),
        ("large", "/large"),
        ("broken", "/broken"),
        ("away", "/away"),
        ("refused", "/refused"),
        ("fails", "/fails"),
    ] {
        let mut tool = reads(tool, path);
        if path == "/silent" {
            tool["timeout_ms"] = json!(200);
        }
        let (status, made) = shop.post("/v1/tools", tool).await;
        assert_eq!(status, 201, "{made}");
    }
    let call = json!({"arguments": {"q": "a&b=c#d"}});
    let (status, read) = shop.as_agent("/v1/tools/people/invoke", call).await;
    assert_eq!(status, 200, "{read}");
    let rows = json!({"rows": [{"email": "a@acme.example", "n": 1}]});
    assert_eq!((&read["ok"], &read["data"]), (&json!(true), &rows));
    let asked = api.asked().pop().unwrap();
    assert_eq!(asked.target, "/people?q=a%26b%3Dc%23d");
    assert_eq!(asked.headers["authorization"], "Bearer canary-token");
    for (tool, status, code) in [
        ("silent", 504, "timeout"),
        ("large", 502, "result_too_large"),
        ("broken", 502, "upstream_failed"),
        ("away", 502, "upstream_failed"),
        ("refused", 502, "upstream_failed"),
        ("fails", 502, "upstream_failed"),
    ] {
        let path = format!("/v1/tools/{tool}/invoke");
        let (got, problem) = shop.as_agent(&path, json!({"arguments": {}})).await;
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{problem}");
        if code != "result_too_large" {
            assert_eq!(problem["origin"], "source", "{problem}");
        }
        assert!(!problem.to_string().contains("canary"), "{problem}");
    }
}

#[tokio::test]
async fn words_of_an_api_do_not_get_past_the_masks() {
    let (shop, _api) = opened().await;
    for (name, path) in [("people", "/people"), ("refused", "/refused")] {
        let mut tool = reads(name, path);
        tool["masks"] = json!([{"path": "$.rows[*].email", "do": "last4"}]);
        let (status, made) = shop.post("/v1/tools", tool).await;
        assert_eq!(status, 201, "{made}");
        let path = format!("/v1/tools/{name}/invoke");
        let (_, told) = shop.as_agent(&path, json!({"arguments": {}})).await;
        assert!(!told.to_string().contains("acme.ex"), "{told}");
    }
}

#[tokio::test]
async fn an_api_that_is_not_there_is_told_as_that_and_comes_back() {
    let (shop, _api) = opened_with(json!({"base_url": "http://127.0.0.1:1"})).await;
    let (status, _) = shop.post("/v1/tools", reads("people", "/people")).await;
    assert_eq!(status, 201);
    let call = json!({"arguments": {}});
    let (status, problem) = shop.as_agent("/v1/tools/people/invoke", call).await;
    let told = (status, &problem["code"], &problem["origin"]);
    let expected = (503, &json!("source_unavailable"), &json!("source"));
    assert_eq!(told, expected, "{problem}");
    let (_, said) = shop.post("/v1/sources/crm/ping", json!({})).await;
    assert_eq!(said["ok"], false, "{said}");
}

#[tokio::test]
async fn an_order_is_made_once_as_it_was_proposed() {
    let (shop, api) = opened().await;
    let tool = makes(
        "order",
        "/orders",
        json!({"idempotency_header": "Idempotency-Key"}),
    );
    let (status, made) = shop.post("/v1/tools", tool).await;
    assert_eq!(status, 201, "{made}");
    let invoked = json!({"arguments": {"item": "x"}});
    let (_, invoked) = shop.as_agent("/v1/tools/order/invoke", invoked).await;
    assert_eq!(invoked["status"], "allowed", "{invoked}");
    assert!(api.orders().is_empty(), "invoking it only proposes");
    let arguments = json!({"item": "a\"b"});
    let (id, commit) = proposed(&shop, "order", &arguments).await;
    assert!(api.asked().is_empty(), "proposing has no effect");
    let path = format!("/v1/proposals/{id}/commit");
    let (_, done) = shop.as_agent(&path, commit.clone()).await;
    assert_eq!(done["status"], "committed", "{done}");
    let (_, again) = shop.as_agent(&path, commit).await;
    assert_eq!(again["status"], "blocked", "{again}");
    let orders = api.orders();
    assert_eq!(orders, [json!({"id": 1, "ref": id, "item": "a\"b"})]);
    let asked = api.asked().pop().unwrap();
    assert_eq!(asked.headers["idempotency-key"], id);
}

/// Killed while the API works: what it did is found by looking it up, sent again under the same
/// key, or left to a person, as its author declared; and it is done once.
#[tokio::test]
async fn what_an_api_did_before_the_broker_died_is_settled_as_declared() {
    let key = json!({"idempotency_header": {"name": "Idempotency-Key", "window_secs": 60}});
    for (declared, state, requests) in [
        (looked_up(), Some("executed"), 1),
        (key, Some("executed"), 2),
        (json!({}), None, 1),
    ] {
        let (mut shop, api) = opened().await;
        let (_, made) = shop
            .post("/v1/tools", makes("order", "/hang", declared))
            .await;
        assert_eq!(made["version"], 1, "{made}");
        let (id, commit) = proposed(&shop, "order", &json!({"item": "x"})).await;
        let (url, key) = (shop.server.url.clone(), shop.server.agent_key.clone());
        let http = shop.server.http.clone();
        let path = format!("{url}/v1/proposals/{id}/commit");
        let sent = tokio::spawn(http.post(path).bearer_auth(key).json(&commit).send());
        api.hung.notified().await;
        shop.server.process().kill();
        assert!(sent.await.unwrap().is_err());
        let shop = shop.again_with(&[PRIVATE]);
        // What is asked about is what was begun: the tool may be gone by now.
        let key = shop.server.admin_key.clone();
        let http = &shop.server.http;
        let tool = format!("{}/v1/tools/order", shop.server.url);
        let gone = http.delete(tool).bearer_auth(&key).send().await.unwrap();
        assert_eq!(gone.status().as_u16(), 200);
        match state {
            Some(state) => assert_eq!(shop.server.settled(&id, PATIENCE).await, state),
            None => {
                let path = format!("/v1/proposals/{id}");
                let waits = async {
                    let mut turns = tokio::time::interval(std::time::Duration::from_millis(50));
                    loop {
                        turns.tick().await;
                        let seen = shop.server.get(&key, &path).await;
                        if seen["commit"]["settled_by"] == "person" {
                            return seen;
                        }
                    }
                };
                let seen = tokio::time::timeout(PATIENCE, waits).await.unwrap();
                assert_eq!(seen["state"], "in_doubt", "{seen}");
            }
        }
        assert_eq!(api.orders().len(), 1, "{:?}", api.orders());
        let posts = api
            .asked()
            .into_iter()
            .filter(|asked| asked.method == "POST");
        assert_eq!(posts.count(), requests);
    }
}

#[tokio::test]
async fn private_addresses_are_out_of_reach_but_for_those_that_both_sides_allow() {
    let (shop, api) = (Shop::open_with(&[PRIVATE]).await, Api::start().await);
    let source = |url: &str, private: bool| json!({"name": "in", "kind": "rest", "config": {"base_url": url, "allow_private": private}});
    for (url, private) in [
        (api.url.as_str(), false),
        ("http://10.0.0.1", true),
        ("http://169.254.169.254/latest/meta-data", true),
        ("http://[::1]:80", true),
        ("http://[::ffff:10.0.0.1]/", true),
        ("http://0x0a000001/", true),
    ] {
        let (status, refused) = shop.post("/v1/sources", source(url, private)).await;
        let told = (status, &refused["code"], &refused["pointer"]);
        let expected = (400, &json!("invalid_source"), &json!("/config/base_url"));
        assert_eq!(told, expected, "{url} {refused}");
    }
    // A name is looked up when it is used, and its address is the one that counts.
    let port = api.url.rsplit_once(':').unwrap().1;
    let named = format!("http://localhost:{port}");
    let (status, made) = shop.post("/v1/sources", source(&named, false)).await;
    assert_eq!(status, 201, "{made}");
    let mut tool = reads("people", "/people");
    tool["source"] = json!("in");
    let (status, made) = shop.post("/v1/tools", tool).await;
    assert_eq!(status, 201, "{made}");
    let (status, refused) = shop
        .as_agent("/v1/tools/people/invoke", json!({"arguments": {}}))
        .await;
    assert_eq!(status, 503, "{refused}");
    let (_, said) = shop.post("/v1/sources/in/ping", json!({})).await;
    let why = said["detail"].as_str().unwrap();
    assert!(why.contains("private"), "{said}");
    assert!(api.asked().is_empty());
}

#[tokio::test]
async fn no_argument_leaves_its_slot_on_the_way_to_an_api() {
    let (shop, api) = opened().await;
    let mut tool = reads("one", "/orders/{id}");
    tool["exec"]["path_params"] = json!({"id": "/q"});
    tool["exec"]["headers"] = json!({"X-Note": "/q"});
    tool["exec"]["query"] = json!({});
    tool["input_schema"]["required"] = json!(["q"]);
    let (status, made) = shop.post("/v1/tools", tool).await;
    assert_eq!(status, 201, "{made}");
    for q in ["..", "../admin", "a\r\nX-Evil: 1", "", "\u{0}"] {
        let call = json!({"arguments": {"q": q}});
        let (status, refused) = shop.as_agent("/v1/tools/one/invoke", call).await;
        assert_eq!(status, 400, "{q:?} {refused}");
    }
    assert!(api.asked().is_empty());
    for (q, target) in [
        ("a/b?c#d", "/orders/a%2Fb%3Fc%23d"),
        ("@evil.example", "/orders/%40evil.example"),
        ("%2e%2e", "/orders/%252e%252e"),
    ] {
        let call = json!({"arguments": {"q": q}});
        shop.as_agent("/v1/tools/one/invoke", call).await;
        assert_eq!(api.asked().pop().unwrap().target, target);
    }
}
