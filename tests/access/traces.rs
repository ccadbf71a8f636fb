//! What is told of a call afterwards, and what an agent that has read other people's text may do.

use std::time::Duration;

use serde_json::{Value, json};

use super::mcp::{Way, send};
use super::{make, propose, read, rule};
use crate::registered::Shop;

#[tokio::test]
async fn a_call_is_told_step_by_step_to_whoever_made_it_and_to_nobody_else() {
    let shop = Shop::furnished().await;
    make(
        &shop,
        rule("seen", "allow", json!({"what": {"tools": ["get_invoice"]}})),
    )
    .await;
    let (_, told) = read(&shop).await;
    let id = told["trace_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/traces/{id}");
    let server = &shop.server;
    let mine = server.get(&server.agent_key, &path).await;
    assert_eq!(
        (&mine["trace_id"], &mine["outcome"]),
        (&json!(id), &json!("ok")),
        "{mine}"
    );
    assert_eq!(
        (&mine["decision"], &mine["why"]),
        (&json!("allow"), &json!("allowed"))
    );
    assert_eq!(
        (&mine["tool"], &mine["kind"]),
        (&json!("get_invoice"), &json!("sql"))
    );
    assert_eq!(mine["rule"], Value::Null, "agents do not read rules");
    let steps: Vec<_> = mine["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["step"])
        .collect();
    assert_eq!(
        steps,
        [
            "authenticate",
            "tool",
            "access",
            "rates",
            "source",
            "execute",
            "mask",
            "audit",
            "answer"
        ]
    );
    let whole = server.get(&server.admin_key, &path).await;
    assert_eq!(whole["rule"], "seen", "{whole}");
    let other = server.other_agent("other").await;
    assert_eq!(server.get(&other, &path).await["code"], "not_found");
}

#[tokio::test]
async fn every_problem_of_a_call_names_it() {
    let shop = Shop::furnished().await;
    make(
        &shop,
        rule("shut", "deny", json!({"what": {"tools": ["get_invoice"]}})),
    )
    .await;
    let server = &shop.server;
    let mut ids = Vec::new();
    let (status, told) = read(&shop).await;
    assert_eq!(
        (status, &told["code"]),
        (403, &json!("access_denied")),
        "{told}"
    );
    ids.push(told["trace_id"].clone());
    let path = "/v1/tools/never/invoke";
    let (_, told) = shop.as_agent(path, json!({"arguments": {}})).await;
    assert_eq!(told["code"], "unknown_tool", "{told}");
    ids.push(told["trace_id"].clone());
    let params = json!({"name": "get_invoice", "arguments": {"id": 1}});
    let sent = send(
        server,
        &server.agent_key,
        "/mcp",
        Way::Plain,
        "tools/call",
        params,
    );
    let (_, told) = sent.await;
    let result = &told["result"];
    assert_eq!(
        result["structuredContent"]["code"], "access_denied",
        "{told}"
    );
    assert_eq!(
        result["_meta"]["trace_id"],
        result["structuredContent"]["trace_id"]
    );
    ids.push(result["_meta"]["trace_id"].clone());
    for id in ids {
        let path = format!("/v1/traces/{}", id.as_str().unwrap());
        let trace = server.get(&server.admin_key, &path).await;
        assert_eq!(trace["trace_id"], id, "{trace}");
        if trace["outcome"] == "access_denied" {
            assert_eq!(
                (&trace["decision"], &trace["rule"]),
                (&json!("deny"), &json!("shut"))
            );
        }
    }
}

#[tokio::test]
async fn what_others_wrote_is_marked_where_it_is_shown() {
    let shop = Shop::furnished().await;
    let server = &shop.server;
    for way in [Way::Plain, Way::Library] {
        let params = json!({"name": "get_invoice", "arguments": {"id": 1}});
        let sent = send(server, &server.agent_key, "/mcp", way, "tools/call", params);
        let (_, told) = sent.await;
        let meta = &told["result"]["_meta"];
        assert_eq!(
            (&meta["untrusted"], &meta["tool_version"]),
            (&json!(true), &json!(1))
        );
        assert!(
            meta["trace_id"].is_string() && meta["duration_ms"].is_u64(),
            "{told}"
        );
        assert_eq!(meta["masked"], json!([]), "{told}");
    }
}

async fn minding(shop: &Shop, taint: Value) {
    let server = &shop.server;
    let policy = json!({"taint": taint, "allowed_tools": ["lower_invoice"]});
    let path = format!("{}/v1/agents/agent-1/policy", server.url);
    let patch = server.http.patch(path).bearer_auth(&server.admin_key);
    let answer = patch.json(&policy).send().await.unwrap();
    let status = answer.status();
    assert_eq!(status, 200, "{}", answer.text().await.unwrap());
}

#[tokio::test]
async fn an_agent_that_has_read_other_peoples_text_is_asked_about() {
    let shop = Shop::furnished().await;
    minding(
        &shop,
        json!({"sources": ["shop"], "then": "hold", "for_secs": 600}),
    )
    .await;
    let (_, before) = propose(&shop).await;
    assert_eq!(before["status"], "allowed", "{before}");
    assert_eq!(read(&shop).await.0, 200);
    let (_, after) = propose(&shop).await;
    assert_eq!(
        (&after["status"], &after["reason"]),
        (&json!("held"), &json!("TAINTED_CONTEXT"))
    );
    let page = shop.server.http.get(format!("{}/metrics", shop.server.url));
    let page = page
        .bearer_auth(&shop.server.admin_key)
        .send()
        .await
        .unwrap();
    assert!(
        page.text()
            .await
            .unwrap()
            .lines()
            .any(|line| line == "hundi_tainted_total 1")
    );

    minding(
        &shop,
        json!({"tools": ["get_*"], "then": "block", "for_secs": 600}),
    )
    .await;
    let (_, after) = propose(&shop).await;
    assert_eq!(after["status"], "blocked", "{after}");
    minding(
        &shop,
        json!({"tools": ["other"], "then": "block", "for_secs": 1}),
    )
    .await;
    let gone = async {
        let mut turns = tokio::time::interval(Duration::from_millis(100));
        loop {
            turns.tick().await;
            if propose(&shop).await.1["status"] == "allowed" {
                return;
            }
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(20), gone).await;
    assert!(gone.is_ok(), "it counts for a second and no longer");
}

#[tokio::test]
async fn a_conversation_that_has_a_name_is_told_from_the_others() {
    let shop = Shop::furnished().await;
    let taint = json!({
        "tools": ["get_invoice"], "then": "hold", "for_secs": 600, "by": "conversation",
    });
    minding(&shop, taint).await;
    let server = &shop.server;
    let ask = async |path: &str, body: Value, conversation: Option<&str>| {
        let request = server.http.post(format!("{}{path}", server.url));
        let mut request = request.bearer_auth(&server.agent_key).json(&body);
        if let Some(name) = conversation {
            request = request.header("hundi-conversation", name);
        }
        let answer = request.send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let read = json!({"arguments": {"id": 1}});
    let told = ask("/v1/tools/get_invoice/invoke", read.clone(), Some("mail")).await;
    assert_eq!(told["ok"], true, "{told}");
    let asked = json!({"tool": "lower_invoice", "arguments": {"id": 1}});
    for (conversation, status) in [
        (Some("mail"), "held"),
        (Some("pay"), "allowed"),
        (None, "held"),
    ] {
        let told = ask("/v1/proposals", asked.clone(), conversation).await;
        assert_eq!(told["status"], status, "{conversation:?} {told}");
    }
    // Over MCP, without a name: it may have come into any.
    let params = json!({"name": "get_invoice", "arguments": {"id": 1}});
    send(
        server,
        &server.agent_key,
        "/mcp",
        Way::Plain,
        "tools/call",
        params,
    )
    .await;
    let told = ask("/v1/proposals", asked, Some("pay")).await;
    assert_eq!(told["status"], "held", "{told}");
}

#[tokio::test]
async fn a_frozen_server_lets_nothing_of_its_through() {
    let shop = Shop::furnished().await;
    let desk = json!({"name": "desk", "tools": ["get_invoice", "lower_invoice"]});
    let (status, made) = shop.post("/v1/servers", desk).await;
    assert_eq!(status, 201, "{made}");
    let asked = json!({"agent": "agent-1"});
    let (_, made) = shop.post("/v1/servers/desk/keys", asked).await;
    let key = made["key"].as_str().unwrap();
    let frozen = json!({"scope": "server", "id": "desk", "reason": "drill"});
    let (status, told) = shop.post("/v1/freeze", frozen).await;
    assert!(status < 300, "{told}");
    let call = json!({"arguments": {"id": 1}});
    let path = "/v1/tools/get_invoice/invoke";
    let (status, told) = shop.server.post(key, path, &call).await.unwrap();
    assert_eq!((status, &told["code"]), (409, &json!("frozen")), "{told}");
    let asked = json!({"tool": "lower_invoice", "arguments": {"id": 1}});
    let (_, told) = shop
        .server
        .post(key, "/v1/proposals", &asked)
        .await
        .unwrap();
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("blocked"), &json!("frozen"))
    );
    assert_eq!(read(&shop).await.0, 200, "by another way it is open");
    let nobody = json!({"scope": "server", "id": "never", "reason": "drill"});
    assert_eq!(shop.post("/v1/freeze", nobody).await.0, 404);
}
