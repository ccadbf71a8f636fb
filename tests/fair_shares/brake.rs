//! The brake: what it stops, who may pull it, what it refuses to believe in, and its command.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::server::{HUNDI, Server};

/// Runs `hundi freeze` or `hundi unfreeze` against a server: exit code, stdout, stderr.
fn hundi(server: &Server, key: &str, args: &[&str]) -> (i32, String, String) {
    let ran = Command::new(HUNDI)
        .args(args)
        .args(["--url", &server.url])
        .env_clear()
        .env("HUNDI_API_KEY", key)
        .current_dir(server.dir.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        ran.status.code().unwrap(),
        text(&ran.stdout),
        text(&ran.stderr),
    )
}

async fn key(server: &Server, role: &str) -> String {
    let body = json!({"role": role, "name": format!("a {role}")});
    let made = server.post(&server.admin_key, "/v1/keys", &body).await;
    made.unwrap().1["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn ids_that_nothing_has_are_404_and_both_names_of_a_tool_are_the_tool() {
    let server = Server::start().await;
    let freeze = |scope: &'static str, id: &'static str| {
        let body = json!({"scope": scope, "id": id, "reason": "drill"});
        let (server, body) = (&server, body);
        async move {
            let answer = server.post(&server.admin_key, "/v1/freeze", &body).await;
            answer.unwrap()
        }
    };
    for (scope, id, status) in [
        ("agent", "agnet-1", 404),
        ("agent", "agent-1", 200),
        ("tool", "transfer_fund", 404),
        ("tool", "nothing_commit", 404),
        ("tool", "noop_commit", 200),
        ("tool", "transfer_funds_propose", 200),
        ("server", "nowhere", 404),
        ("server", "razorpay", 200),
        ("vendor", "acct_never_paid", 200),
    ] {
        let (got, answer) = freeze(scope, id).await;
        assert_eq!(got, status, "{scope} {id}: {answer}");
    }
    let frozen = server.get(&server.admin_key, "/v1/freeze").await;
    let told = frozen["frozen"].as_array().unwrap().iter();
    let tools: Vec<&str> = told
        .filter(|one| one["scope"] == "tool")
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(tools, ["noop", "transfer_funds"]);
}

#[tokio::test]
async fn a_frozen_server_stops_all_its_tools() {
    let server = Server::start().await;
    let body = json!({"scope": "server", "id": "razorpay", "reason": "drill"});
    server
        .post(&server.admin_key, "/v1/freeze", &body)
        .await
        .unwrap();
    let propose = |tool: &str, arguments: Value| json!({"tool": tool, "arguments": arguments});
    for (body, reason) in [
        (
            propose("transfer_funds", json!({"amount": 1, "to": "acct_1"})),
            "frozen",
        ),
        (propose("noop", json!({})), ""),
    ] {
        let (_, answer) = server
            .post(&server.agent_key, "/v1/proposals", &body)
            .await
            .unwrap();
        assert_eq!(answer["reason"].as_str().unwrap_or(""), reason, "{answer}");
    }
}

#[tokio::test]
async fn the_command_freezes_with_a_key_and_the_metric_tells() {
    let server = Server::start().await;
    let (approver, auditor) = (
        key(&server, "approver").await,
        key(&server, "auditor").await,
    );
    let freeze = ["freeze", "agent", "agent-1", "--reason", "an alarm"];
    let (code, _, said) = hundi(&server, &auditor, &freeze);
    assert!(code == 1 && said.contains("forbidden"), "{code} {said}");
    let (code, _, said) = hundi(&server, &approver, &["freeze", "agent", "agent-1"]);
    assert!(code == 2 && said.contains("--reason"), "{code} {said}");
    let (code, out, said) = hundi(&server, &approver, &freeze);
    assert!(code == 0 && out.contains("an alarm"), "{code} {out} {said}");
    let body = json!({"tool": "noop", "arguments": {}});
    let (_, refused) = server
        .post(&server.agent_key, "/v1/proposals", &body)
        .await
        .unwrap();
    assert_eq!(refused["reason"], "frozen");
    let metrics = server.http.get(format!("{}/metrics", server.url));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("hundi_frozen{scope=\"agent\"} 1"),
        "{metrics}"
    );
    let lift = ["unfreeze", "agent", "agent-1", "--json"];
    let (code, _, said) = hundi(&server, &approver, &lift);
    assert!(
        code == 1 && said.contains("forbidden"),
        "only operators let go: {said}"
    );
    let (code, out, said) = hundi(&server, &server.admin_key, &lift);
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        serde_json::from_str::<Value>(&out).unwrap(),
        json!({"frozen": []})
    );
    let (code, _, said) = hundi(
        &server,
        &server.admin_key,
        &["freeze", "tool", "nosuch", "--reason", "x"],
    );
    assert!(code == 1 && said.contains("not_found"), "{said}");
}
