//! Virtual MCP servers: what is behind their doors, and that nothing else is.

use std::time::Duration;

use serde_json::{Value, json};

use super::mcp::{Way, send};
use super::{make, rule};
use crate::registered::Shop;

const PATIENCE: Duration = Duration::from_secs(10);

async fn serve(shop: &Shop, document: Value) -> Value {
    let (status, made) = shop.post("/v1/servers", document).await;
    assert_eq!(status, 201, "{made}");
    made
}

/// A key of the server, and its id.
async fn key(shop: &Shop, server: &str, more: Value) -> (String, String) {
    let path = format!("/v1/servers/{server}/keys");
    let (status, made) = shop.post(&path, more).await;
    assert_eq!(status, 201, "{made}");
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("key"), text("id"))
}

async fn request(shop: &Shop, key: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
    let server = &shop.server;
    let method = method.parse().unwrap();
    let request = server.http.request(method, format!("{}{path}", server.url));
    let answer = request.bearer_auth(key).json(&body).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

async fn names(shop: &Shop, key: &str, path: &str) -> Vec<String> {
    let (status, told) = send(
        &shop.server,
        key,
        path,
        Way::Library,
        "tools/list",
        json!({}),
    )
    .await;
    assert_eq!(status, 200, "{told}");
    let tools = told["result"]["tools"].as_array().unwrap().clone();
    let names = tools.iter().map(|tool| tool["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

async fn call(shop: &Shop, key: &str, path: &str, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    send(&shop.server, key, path, Way::Plain, "tools/call", params)
        .await
        .1
}

#[tokio::test]
async fn a_server_has_its_tools_and_the_ones_about_proposals_and_no_other() {
    let shop = Shop::furnished().await;
    let made = serve(&shop, json!({"name": "desk", "tools": ["get_invoice"]})).await;
    assert_eq!(
        (&made["enabled"], &made["disclosure"]),
        (&json!(true), &json!("all"))
    );
    let (key, _) = key(&shop, "desk", json!({"agent": "agent-1"})).await;
    let about = [
        "await_proposal",
        "cancel_proposal",
        "get_proposal",
        "list_proposals",
    ];
    let mut listed = names(&shop, &key, "/mcp/desk").await;
    listed.sort();
    let mut expected = [&about[..], &["get_invoice"]].concat();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    let told = call(&shop, &key, "/mcp/desk", "get_invoice", json!({"id": 1})).await;
    assert_eq!(
        told["result"]["structuredContent"]["row_count"], 1,
        "{told}"
    );
    let other = json!({"arguments": {"id": 1}});
    let told = call(&shop, &key, "/mcp/desk", "lower_invoice_propose", other).await;
    assert!(
        told["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Unknown tool"),
        "{told}"
    );
    let told = call(&shop, &key, "/mcp/desk", "get_audit_log", json!({})).await;
    assert!(told["error"].is_object(), "{told}");

    // Over REST the same key sees the same.
    let read = json!({"arguments": {"id": 1}});
    let path = "/v1/tools/get_invoice/invoke";
    assert_eq!(request(&shop, &key, "POST", path, read).await.0, 200);
    let (_, all) = request(&shop, &key, "GET", "/v1/tools", Value::Null).await;
    let all: Vec<_> = all["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(all, ["get_invoice"]);
    let asked = json!({"tool": "lower_invoice", "arguments": {"id": 1}});
    let (status, told) = request(&shop, &key, "POST", "/v1/proposals", asked).await;
    assert_eq!(
        (status, &told["code"]),
        (404, &json!("unknown_tool")),
        "{told}"
    );
    for path in ["/v1/audit", "/v1/servers", "/v1/agents/agent-1/budget"] {
        assert_eq!(
            request(&shop, &key, "GET", path, Value::Null).await.0,
            403,
            "{path}"
        );
    }

    // Called by its own name, what does more than read is proposed, and only where it is offered.
    let lower = json!({"arguments": {"id": 1, "by": 5}});
    let path = "/v1/tools/lower_invoice/invoke";
    let (status, told) = request(&shop, &key, "POST", path, lower).await;
    assert_eq!(
        (status, &told["code"]),
        (404, &json!("unknown_tool")),
        "{told}"
    );

    // An agent's own key may come through the server's door, and finds the same there.
    let plain = shop.server.agent_key.clone();
    assert_eq!(names(&shop, &plain, "/mcp/desk").await.len(), 5);
    let everywhere = names(&shop, &plain, "/mcp").await;
    assert!(
        everywhere.contains(&"lower_invoice_propose".to_owned()),
        "{everywhere:?}"
    );
}

#[tokio::test]
async fn a_key_opens_its_own_door_and_a_closed_one_is_told_like_none() {
    let shop = Shop::furnished().await;
    serve(&shop, json!({"name": "desk", "tools": ["get_*"]})).await;
    serve(&shop, json!({"name": "other", "tools": ["lower_invoice"]})).await;
    let (key, id) = key(&shop, "desk", json!({})).await;
    let at = async |key: &str, path: &str| {
        send(
            &shop.server,
            key,
            path,
            Way::Library,
            "tools/list",
            json!({}),
        )
        .await
    };
    assert_eq!(at(&key, "/mcp/desk").await.0, 200);
    let elsewhere = [
        "/mcp",
        "/mcp/",
        "/mcp/other",
        "/mcp/never",
        "/mcp/desk/",
        "/mcp/desk/more",
        "/mcp/never/more",
        "/mcp/%64esk",
        "/mcp/DESK",
    ];
    for path in elsewhere {
        for method in ["GET", "DELETE", "PUT"] {
            let (status, told) = request(&shop, &key, method, path, json!({})).await;
            let shown = (status, &told["code"]);
            assert_eq!(
                shown,
                (401, &json!("unauthenticated")),
                "{method} {path} {told}"
            );
        }
        let (status, told) = at(&key, path).await;
        assert_eq!(
            (status, &told["code"]),
            (401, &json!("unauthenticated")),
            "{path} {told}"
        );
    }
    let plain = shop.server.agent_key.clone();
    let (status, closed) = shop.post("/v1/servers/other/disable", json!({})).await;
    assert_eq!(
        (status, &closed["enabled"]),
        (200, &json!(false)),
        "{closed}"
    );
    let mut told = Vec::new();
    for path in ["/mcp/other", "/mcp/never"] {
        told.push(at(&plain, path).await);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(
        (told[0].0, &told[0].1["code"]),
        (404, &json!("not_found")),
        "{told:?}"
    );

    let (status, turned) = request(
        &shop,
        &shop.server.admin_key,
        "POST",
        &format!("/v1/servers/desk/keys/{id}/rotate"),
        json!({"grace_secs": 600}),
    )
    .await;
    assert_eq!(status, 200, "{turned}");
    let next = turned["key"].as_str().unwrap();
    assert!(next != key && turned["id"] == json!(id), "{turned}");
    for good in [&key, next] {
        assert_eq!(at(good, "/mcp/desk").await.0, 200);
    }
    let path = format!("/v1/servers/desk/keys/{id}/rotate");
    let (_, turned) = shop.post(&path, json!({})).await;
    let last = turned["key"].as_str().unwrap();
    for (text, status) in [(key.as_str(), 401), (next, 401), (last, 200)] {
        assert_eq!(at(text, "/mcp/desk").await.0, status);
    }
    let path = format!("/v1/servers/desk/keys/{id}");
    let admin = shop.server.admin_key.clone();
    assert_eq!(
        request(&shop, &admin, "DELETE", &path, Value::Null).await.0,
        200
    );
    assert_eq!(at(last, "/mcp/desk").await.0, 401);
    assert_eq!(
        request(&shop, last, "GET", "/v1/tools", Value::Null)
            .await
            .0,
        401
    );
    let audit = shop
        .server
        .get(&admin, "/v1/audit?limit=500")
        .await
        .to_string();
    for secret in [key.as_str(), next, last] {
        assert!(!audit.contains(secret.rsplit('_').next().unwrap()));
    }
}

#[tokio::test]
async fn a_tool_that_nobody_has_is_refused_with_the_one_that_was_meant() {
    let shop = Shop::furnished().await;
    let odd = json!({"name": "desk", "tools": ["get_*", "get_invoce"]});
    let (status, told) = shop.post("/v1/servers", odd).await;
    let where_ = (status, &told["code"], &told["pointer"]);
    assert_eq!(
        where_,
        (400, &json!("invalid_server"), &json!("/tools/1")),
        "{told}"
    );
    assert!(
        told["detail"].as_str().unwrap().contains("`get_invoice`"),
        "{told}"
    );
    serve(&shop, json!({"name": "desk", "tools": ["get_*"]})).await;
    let admin = shop.server.admin_key.clone();
    let mut told = shop.server.get(&admin, "/v1/servers/desk").await;
    told["tools"] = json!(["lower_invoice"]);
    let (status, put) = shop.put("/v1/servers/desk", told).await;
    assert_eq!((status, &put["version"]), (200, &json!(2)), "{put}");
}

#[tokio::test]
async fn three_tools_stand_for_a_list_and_lead_to_the_same() {
    let shop = Shop::furnished().await;
    let desk = json!({
        "name": "desk", "tools": ["get_invoice", "lower_invoice"], "disclosure": "search",
    });
    serve(&shop, desk).await;
    let (key, _) = key(&shop, "desk", json!({"agent": "agent-1"})).await;
    let three = ["search_tools", "describe_tool", "call_tool"];
    assert_eq!(names(&shop, &key, "/mcp/desk").await, three);
    let told = call(
        &shop,
        &key,
        "/mcp/desk",
        "search_tools",
        json!({"query": "reads invoice"}),
    )
    .await;
    let found = &told["result"]["structuredContent"]["tools"];
    assert_eq!(found[0]["name"], "get_invoice", "{told}");
    let named = json!({"name": "lower_invoice_propose"});
    let told = call(&shop, &key, "/mcp/desk", "describe_tool", named).await;
    let schema = &told["result"]["structuredContent"]["input_schema"];
    assert_eq!(schema["type"], "object", "{told}");
    let through = json!({"name": "get_invoice", "arguments": {"id": 1}});
    let told = call(&shop, &key, "/mcp/desk", "call_tool", through.clone()).await;
    assert_eq!(
        told["result"]["structuredContent"]["row_count"], 1,
        "{told}"
    );
    let through = json!({"name": "lower_invoice_propose", "arguments": {"arguments": {"id": 1}}});
    let told = call(&shop, &key, "/mcp/desk", "call_tool", through).await;
    assert_eq!(
        told["result"]["structuredContent"]["status"], "allowed",
        "{told}"
    );

    // By its own name, with its own arguments.
    let through = json!({"name": "lower_invoice", "arguments": {"id": 2}});
    let told = call(&shop, &key, "/mcp/desk", "call_tool", through).await;
    let proposed = &told["result"]["structuredContent"];
    assert_eq!(proposed["status"], "allowed", "{told}");
    assert!(proposed["commit_token"].is_string() && shop.total(2).await == 700);

    make(
        &shop,
        rule("shut", "deny", json!({"what": {"tools": ["get_invoice"]}})),
    )
    .await;
    let through = json!({"name": "get_invoice", "arguments": {"id": 1}});
    let told = call(&shop, &key, "/mcp/desk", "call_tool", through).await;
    assert_eq!(
        told["result"]["structuredContent"]["code"], "access_denied",
        "{told}"
    );
    let told = call(
        &shop,
        &key,
        "/mcp/desk",
        "search_tools",
        json!({"query": "invoice"}),
    )
    .await;
    let found = told["result"]["structuredContent"]["tools"].to_string();
    assert!(
        found.contains("lower_invoice_propose") && !found.contains("get_invoice"),
        "{found}"
    );
    let outside = json!({"name": "get_audit_log", "arguments": {}});
    let told = call(&shop, &key, "/mcp/desk", "call_tool", outside).await;
    assert_eq!(
        told["result"]["structuredContent"]["code"], "unknown_tool",
        "{told}"
    );
}

#[tokio::test]
async fn rules_about_a_server_are_about_those_who_hold_its_keys() {
    let shop = Shop::furnished().await;
    serve(&shop, json!({"name": "desk", "tools": ["get_invoice"]})).await;
    let (key, _) = key(&shop, "desk", json!({})).await;
    let desk = json!({"who": {"servers": ["desk"]}, "what": {"tools": ["get_invoice"]}});
    make(&shop, rule("desk_only", "allow", desk)).await;
    let read = json!({"arguments": {"id": 1}});
    let path = "/v1/tools/get_invoice/invoke";
    assert_eq!(
        request(&shop, &key, "POST", path, read.clone()).await.0,
        200
    );
    let plain = shop.server.agent_key.clone();
    assert_eq!(request(&shop, &plain, "POST", path, read).await.0, 403);
    let told = call(&shop, &plain, "/mcp/desk", "get_invoice", json!({"id": 1})).await;
    let code = &told["result"]["structuredContent"]["code"];
    assert_eq!(*code, "access_denied", "the door alone is no key: {told}");
}

#[tokio::test]
async fn whoever_listens_hears_of_its_own_list_within_a_second() {
    use futures_util::StreamExt;

    let shop = Shop::furnished().await;
    for name in ["desk", "other"] {
        serve(&shop, json!({"name": name, "tools": ["get_invoice"]})).await;
    }
    let listen = async |server: &str| {
        let (key, _) = key(&shop, server, json!({})).await;
        let url = format!("{}/mcp/{server}", shop.server.url);
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen",
            "params": {
                "notifications": {"toolsListChanged": true},
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        });
        let request = shop.server.http.post(url).bearer_auth(key);
        let request = request
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "subscriptions/listen");
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes_stream()
    };
    let (mut desk, mut other) = (listen("desk").await, listen("other").await);
    let heard = async |stream: &mut (dyn futures_util::Stream<Item = _> + Unpin + Send)| {
        let mut text = String::new();
        loop {
            let piece: Result<axum::body::Bytes, reqwest::Error> = stream.next().await.unwrap();
            text.push_str(&String::from_utf8_lossy(&piece.unwrap()));
            if text.contains("list_changed") {
                return;
            }
        }
    };
    // Established once something comes over the line; the first word is the acknowledgement.
    let ready = tokio::time::timeout(PATIENCE, async { desk.next().await }).await;
    assert!(ready.is_ok());
    let began = std::time::Instant::now();
    let more = json!({"name": "desk", "tools": ["get_invoice", "lower_invoice"]});
    let (status, told) = shop.put("/v1/servers/desk", more).await;
    assert_eq!(status, 200, "{told}");
    let told = tokio::time::timeout(PATIENCE, heard(&mut desk)).await;
    assert!(told.is_ok(), "it was never told");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    // The other one's list has not changed; what it hears next is of its own change.
    make(
        &shop,
        rule("shut", "deny", json!({"who": {"servers": ["other"]}})),
    )
    .await;
    let told = tokio::time::timeout(PATIENCE, heard(&mut other)).await;
    assert!(told.is_ok(), "it was never told");
}

#[tokio::test]
async fn hundreds_of_tools_come_in_pages_and_each_once() {
    let shop = Shop::furnished().await;
    for number in 0..230 {
        let mut tool = crate::registered::look();
        tool["name"] = json!(format!("look_{number:03}"));
        let (status, made) = shop.post("/v1/tools", tool).await;
        assert_eq!(status, 201, "{made}");
    }
    serve(&shop, json!({"name": "many", "tools": ["look_*"]})).await;
    let (key, _) = key(&shop, "many", json!({})).await;
    let (mut seen, mut cursor, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let params = match &cursor {
            Value::Null => json!({}),
            cursor => json!({"cursor": cursor}),
        };
        let list = send(
            &shop.server,
            &key,
            "/mcp/many",
            Way::Library,
            "tools/list",
            params,
        );
        let (_, told) = list.await;
        let tools = told["result"]["tools"]
            .as_array()
            .unwrap_or_else(|| panic!("{told}"))
            .clone();
        seen.extend(
            tools
                .iter()
                .map(|tool| tool["name"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        if pages == 1 {
            // What goes meanwhile moves nothing.
            let gone = "/v1/tools/look_000";
            let admin = shop.server.admin_key.clone();
            assert_eq!(
                request(&shop, &admin, "DELETE", gone, Value::Null).await.0,
                200
            );
        }
        cursor = told["result"]["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!((pages, seen.len()), (2, 234), "{seen:?}");
    let mut unique = seen.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), seen.len());
}
