//! Clients that wait, at several nodes: what one asked another is told, once, before and after a
//! restart.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::nodes::Cluster;
use crate::support::server::Server;

/// More than the sandbox's policy lets through without a person.
const HELD: i64 = 60_000_000;

async fn mcp(node: &Server, able: Value, method: &str, mut params: Value) -> Value {
    let named = ["name", "taskId"].map(|field| params[field].as_str().map(str::to_owned));
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": able,
    });
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let request = node
        .http
        .post(format!("{}/mcp", node.url))
        .bearer_auth(&node.agent_key)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method)
        .header("mcp-name", named.into_iter().flatten().next().unwrap())
        .json(&body);
    let answer = request.send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"))
}

fn pages() -> Value {
    json!({"elicitation": {"url": {}}})
}

fn tasks() -> Value {
    json!({"extensions": {"io.modelcontextprotocol/tasks": {}}})
}

fn transfer(amount: i64) -> Value {
    let arguments = json!({"amount": amount, "to": "acct_123"});
    json!({"name": "transfer_funds_propose", "arguments": {"arguments": arguments}})
}

#[tokio::test]
async fn a_state_and_a_task_of_one_node_are_good_at_another_and_once() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let (mut a, b) = (cluster.node("a", &[]), cluster.node("b", &[]));
    let asked = mcp(&a, pages(), "tools/call", transfer(HELD)).await;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let state = asked["result"]["requestState"].clone();
    let url = &asked["result"]["inputRequests"]["approval"]["params"]["url"];
    let (_, id) = url.as_str().unwrap().rsplit_once('/').unwrap();
    let made = mcp(&a, tasks(), "tools/call", transfer(HELD + 1)).await;
    let task = made["result"]["taskId"].clone();
    a.process().kill();

    let mut back = transfer(HELD);
    back["requestState"] = state;
    back["inputResponses"] = json!({"approval": {"action": "accept"}});
    let (answer, ()) = tokio::join!(mcp(&b, pages(), "tools/call", back.clone()), async {
        let path = format!("/v1/proposals/{id}/approve");
        let (status, said) = b.post(&b.admin_key, &path, &json!({})).await.unwrap();
        assert_eq!(status, 200, "{said}");
    });
    let allowed = &answer["result"]["structuredContent"];
    assert_eq!(allowed["status"], "allowed", "{answer}");
    let a = cluster.node("a", &[]);
    for node in [&a, &b] {
        let replayed = mcp(node, pages(), "tools/call", back.clone()).await;
        assert_eq!(replayed["error"]["code"], -32602, "{replayed}");
        assert_eq!(replayed["error"]["data"]["code"], "bad_request_state");
    }
    for node in [&a, &b] {
        let seen = mcp(node, tasks(), "tasks/get", json!({"taskId": task})).await;
        assert_eq!(seen["result"]["status"], "working", "{seen}");
    }
    mcp(&b, tasks(), "tasks/cancel", json!({"taskId": task})).await;
    let seen = mcp(&a, tasks(), "tasks/get", json!({"taskId": task})).await;
    assert_eq!(seen["result"]["status"], "cancelled", "{seen}");

    // A commit whose answer does not come is a task, and its result is the commit's.
    let hang = json!({"operation": "transfer", "kind": "hang", "when": "after", "count": 1});
    cluster.bank.arm(hang).await;
    let commit = json!({"name": "transfer_funds_commit", "arguments": {
        "proposal_id": id, "commit_token": allowed["commit_token"],
        "arguments": transfer(HELD)["arguments"]["arguments"],
    }});
    let sent = mcp(&a, tasks(), "tools/call", commit).await;
    assert_eq!(
        (&sent["result"]["resultType"], &sent["result"]["status"]),
        (&json!("task"), &json!("working")),
        "{sent}"
    );
    let task = json!({"taskId": sent["result"]["taskId"]});
    mcp(&b, tasks(), "tasks/cancel", task.clone()).await;
    assert_eq!(b.settled(id, Duration::from_secs(60)).await, "executed");
    let seen = mcp(&b, tasks(), "tasks/get", task).await;
    assert_eq!(seen["result"]["status"], "completed", "{seen}");
    let outcome = &seen["result"]["result"]["structuredContent"];
    assert_eq!(
        (&outcome["status"], &outcome["outcome"]),
        (&json!("committed"), &json!("executed")),
        "{seen}"
    );
}
