//! Other MCP servers as sources: a second broker, spoken to as any server is; and how sources are
//! doing, as the doors tell it.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::Api;
use super::{PATIENCE, Shop};
use crate::support::server::Server;

const PRIVATE: (&str, &str) = ("HUNDI_SOURCES_PRIVATE_ALLOWED", "127.0.0.0/8");

fn source(url: &str, token: &str) -> Value {
    json!({
        "name": "peer", "kind": "mcp", "secrets": {"token": token},
        "config": {"url": format!("{url}/mcp"), "allow_private": true},
    })
}

#[tokio::test]
async fn a_server_that_was_registered_is_read_and_has_things_done_once() {
    let (shop, peer) = (Shop::open_with(&[PRIVATE]).await, Server::start().await);
    let (status, made) = shop
        .post("/v1/sources", source(&peer.url, &peer.agent_key))
        .await;
    assert_eq!(status, 201, "{made}");
    let (_, said) = shop.post("/v1/sources/peer/ping", json!({})).await;
    assert_eq!(said["ok"], true, "{said}");
    let low = json!({
        "name": "peer_health", "kind": "mcp", "source": "peer", "risk": "low",
        "description": "Asks the peer.", "input_schema": {"type": "object", "properties": {}},
        "exec": {"tool": "list_proposals"},
    });
    let high = json!({
        "name": "ask_peer", "kind": "mcp", "source": "peer", "risk": "high",
        "description": "Has the peer propose.", "money": "none",
        "input_schema": {
            "type": "object", "required": ["arguments"],
            "properties": {"arguments": {"type": "object"}},
        },
        "exec": {"tool": "transfer_funds_propose", "rule": {"result_id": {"path": "proposal_id", "pattern": "[0-9a-f-]{36}"}}},
    });
    for tool in [low, high] {
        let (status, made) = shop.post("/v1/tools", tool).await;
        assert_eq!(status, 201, "{made}");
    }
    let call = json!({"arguments": {}});
    let (status, read) = shop.as_agent("/v1/tools/peer_health/invoke", call).await;
    assert_eq!((status, &read["ok"]), (200, &json!(true)), "{read}");
    assert!(read["data"]["proposals"].is_array(), "{read}");

    let arguments = json!({"arguments": {"amount": 100, "to": "acct_123"}});
    let asked = json!({"tool": "ask_peer", "arguments": arguments});
    let (_, proposed) = shop.as_agent("/v1/proposals", asked).await;
    assert_eq!(proposed["status"], "allowed", "{proposed}");
    let path = format!(
        "/v1/proposals/{}/commit",
        proposed["proposal_id"].as_str().unwrap()
    );
    let commit = json!({"commit_token": proposed["commit_token"], "arguments": arguments});
    let (_, done) = shop.as_agent(&path, commit.clone()).await;
    assert_eq!(done["status"], "committed", "{done}");
    shop.as_agent(&path, commit).await;
    let there = peer.get(&peer.admin_key, "/v1/proposals").await;
    assert_eq!(
        there["proposals"].as_array().map(Vec::len),
        Some(1),
        "{there}"
    );

    for (exec, pointer) in [
        (
            json!({"tool": "x", "rule": {"risk": "low"}}),
            "/exec/rule/risk",
        ),
        (
            json!({"tool": "x", "rule": {"replay_secs": 5}}),
            "/exec/rule",
        ),
        (json!({"tool": ""}), "/exec/tool"),
    ] {
        let tool = json!({
            "name": "other", "kind": "mcp", "source": "peer", "risk": "high", "description": "x",
            "input_schema": {"type": "object", "properties": {}}, "exec": exec,
        });
        let (status, refused) = shop.post("/v1/tools", tool).await;
        assert_eq!(
            (status, &refused["pointer"]),
            (400, &json!(pointer)),
            "{refused}"
        );
    }
    let closed = source("http://10.0.0.1", "canary-token");
    let (status, refused) = shop.put("/v1/sources/peer", closed).await;
    assert_eq!(status, 400, "{refused}");
    assert!(!refused.to_string().contains("canary"), "{refused}");
}

#[tokio::test]
async fn a_source_that_is_away_is_told_left_alone_and_found_again() {
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap();
    drop(door);
    let shop = Shop::open_with(&[PRIVATE]).await;
    let config = json!({"base_url": format!("http://{address}"), "allow_private": true});
    let source = json!({"name": "crm", "kind": "rest", "config": config});
    let (status, made) = shop.post("/v1/sources", source).await;
    assert_eq!(status, 201, "{made}");
    let tool = json!({
        "name": "people", "kind": "rest", "source": "crm", "risk": "low", "description": "Reads.",
        "input_schema": {"type": "object", "properties": {}},
        "exec": {"method": "GET", "path": "/people"},
    });
    let (status, made) = shop.post("/v1/tools", tool).await;
    assert_eq!(status, 201, "{made}");
    let key = shop.server.admin_key.clone();
    let standing = async || {
        let ready = shop.server.get(&key, "/readyz").await;
        let checks = ready["checks"].as_array().unwrap().clone();
        let ours = checks
            .into_iter()
            .find(|check| check["name"] == "source crm");
        (ready["status"].clone(), ours.unwrap()["ok"].clone())
    };
    assert_eq!(standing().await, (json!("ready"), json!(true)));
    for _ in 0..7 {
        let call = json!({"arguments": {}});
        let (status, problem) = shop.as_agent("/v1/tools/people/invoke", call).await;
        assert_eq!(
            (status, &problem["code"]),
            (503, &json!("source_unavailable")),
            "{problem}"
        );
    }
    assert_eq!(standing().await, (json!("degraded"), json!(false)));
    let metrics = format!("{}/metrics", shop.server.url);
    let metrics = shop
        .server
        .http
        .get(metrics)
        .bearer_auth(&key)
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("hundi_source_up{source=\"default/crm\"} 0"),
        "{metrics}"
    );
    // Nobody calls it, and it is found again all the same.
    let _api = Api::start_at(address).await;
    let again = async {
        let mut turns = tokio::time::interval(Duration::from_millis(100));
        while standing().await.1 != json!(true) {
            turns.tick().await;
        }
    };
    let again = tokio::time::timeout(PATIENCE, again).await;
    assert!(again.is_ok(), "it is back and nobody noticed");
}
