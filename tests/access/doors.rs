//! Every door, walked: whichever way a tool is reached, the same rules stand in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::{Value, json};

use super::mcp::{Way, call, listed};
use super::{make, propose, read, records, rule};
use crate::registered::Shop;

fn denied(name: &str) -> Value {
    rule(
        name,
        "deny",
        json!({"what": {"tools": ["get_invoice", "lower_invoice"]}}),
    )
}

/// The tools that an agent sees over REST.
async fn seen(shop: &Shop) -> Vec<String> {
    let all = shop.server.get(&shop.server.agent_key, "/v1/tools").await;
    let names = all["tools"].as_array().unwrap().iter();
    names
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_denied_tool_is_reached_and_seen_through_no_door() {
    let shop = Shop::furnished().await;
    let (server, key) = (&shop.server, &shop.server.agent_key);
    let (_, earlier) = propose(&shop).await;
    assert_eq!(earlier["status"], "allowed", "{earlier}");
    let ours = [
        "get_invoice",
        "lower_invoice_propose",
        "lower_invoice_commit",
    ];
    let before = listed(server, key).await;
    assert!(
        ours.iter().all(|name| before.iter().any(|it| it == name)),
        "{before:?}"
    );

    make(&shop, denied("shut")).await;
    assert_eq!(read(&shop).await.0, 403, "REST, a call");
    let (status, refused) = propose(&shop).await;
    assert_eq!(
        (status, &refused["code"]),
        (403, &json!("access_denied")),
        "REST, a proposal"
    );
    let id = earlier["proposal_id"].as_str().unwrap();
    let token = &earlier["commit_token"];
    let commit = json!({"commit_token": token, "arguments": {"id": 1}});
    let path = format!("/v1/proposals/{id}/commit");
    let (status, refused) = shop.as_agent(&path, commit.clone()).await;
    assert_eq!(
        (status, &refused["code"]),
        (403, &json!("access_denied")),
        "REST, a commit"
    );
    for way in [Way::Plain, Way::Library] {
        let again = json!({"proposal_id": id, "commit_token": token, "arguments": {"id": 1}});
        for (tool, arguments) in [
            ("get_invoice", json!({"id": 1})),
            ("lower_invoice_propose", json!({"arguments": {"id": 1}})),
            ("lower_invoice_commit", again),
        ] {
            let told = call(server, key, way, tool, arguments).await;
            assert_eq!(told["isError"], true, "{way:?} {tool} {told}");
            let code = &told["structuredContent"]["code"];
            assert_eq!(*code, "access_denied", "{way:?} {tool} {told}");
        }
    }
    let after = listed(server, key).await;
    assert!(
        !ours.iter().any(|name| after.iter().any(|it| it == name)),
        "{after:?}"
    );
    assert!(
        !seen(&shop)
            .await
            .iter()
            .any(|name| name.contains("invoice"))
    );
    assert_eq!(shop.total(1).await, 500, "nothing was done");
    assert!(
        records(&shop, "tool_invoked").await.is_empty(),
        "nothing was called"
    );
    let told = &records(&shop, "access_denied").await[0];
    assert_eq!(
        told["detail"]["access"]["rules"],
        json!([{"id": "shut", "version": 1}])
    );

    // Once the rule is gone, the token that was never spent is as good as before.
    let mut open = denied("shut");
    open["enabled"] = json!(false);
    let (status, told) = shop.put("/v1/access/shut", open).await;
    assert_eq!(status, 200, "{told}");
    let (_, done) = shop.as_agent(&path, commit).await;
    assert_eq!(done["status"], "committed", "{done}");
    assert_eq!(shop.total(1).await, 490);
    assert_eq!(read(&shop).await.0, 200);
}

#[tokio::test]
async fn what_was_decided_is_counted() {
    let shop = Shop::furnished_with(&[("HUNDI_SOURCES_ORGS", "*")]).await;
    assert_eq!(read(&shop).await.0, 200);
    make(&shop, denied("shut")).await;
    assert_eq!(read(&shop).await.0, 403);
    // What another organisation calls its own is not for those who watch the machine.
    let (_, made) = shop.post("/v1/orgs", json!({"name": "zanzibar"})).await;
    let boss = made["admin_key"].as_str().unwrap();
    let database = shop.folder.path().join("shop.db");
    let source = json!({"name": "zanzibank", "kind": "sqlite", "config": {"path": database}});
    let mut tool = crate::registered::look();
    (tool["name"], tool["source"]) = (json!("zanzilook"), json!("zanzibank"));
    for (path, body) in [
        ("/v1/sources", source),
        ("/v1/tools", tool),
        (
            "/v1/tools/zanzilook/invoke",
            json!({"arguments": {"id": 1}}),
        ),
    ] {
        let (status, told) = shop.server.post(boss, path, &body).await.unwrap();
        assert!(status < 300, "{told}");
    }
    let page = shop.server.http.get(format!("{}/metrics", shop.server.url));
    let page = page
        .bearer_auth(&shop.server.admin_key)
        .send()
        .await
        .unwrap();
    let page = page.text().await.unwrap();
    for line in [
        "hundi_access_total{decision=\"allow\"} 2",
        "hundi_access_total{decision=\"deny\"} 1",
        "hundi_invocations_total{tool=\"get_invoice\",kind=\"sql\",outcome=\"ok\"} 1",
    ] {
        assert!(page.lines().any(|it| it == line), "{line}\n{page}");
    }
    assert!(!page.contains("zanzi"), "{page}");
    let others = "hundi_invocations_total{tool=\"other\",kind=\"sql\",outcome=\"ok\"} 1";
    assert!(page.contains(others) && page.contains("hundi_source_up{source=\"other\"} 1"));
    let execute = "hundi_invocation_seconds_count{kind=\"sql\",step=\"execute\"} 2";
    assert!(page.lines().any(|it| it == execute), "{page}");
}

/// Which files of the broker speak to the wire. Whoever adds one says here why no rule has to stand
/// before it.
#[test]
fn nothing_speaks_to_the_wire_but_what_stands_behind_the_gate() {
    let known = BTreeSet::from([
        // The nine steps of a call.
        "tools/invoke.rs",
        // What is claimed: its proposal went through the gate, and so did its commit.
        "pay/commit.rs",
        "pay/late.rs",
        "pay/reconcile.rs",
        // What a write would change, read before its proposal is judged and again at its commit; and
        // what a developer tries out.
        "tools/effects.rs",
        "tools/trial.rs",
        // Calls to models have a gate of their own: budget, secrets, queue.
        "requests/providers.rs",
        "requests/run/exchange.rs",
        // The bank's own books, for the broker itself.
        "pay/at_bank.rs",
        "bank/poll.rs",
    ]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/broker");
    let calls = Regex::new(r"\bwire\s*\.(relay|send|send_and_mind)\(").unwrap();
    let mut found = BTreeSet::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
            if calls.is_match(&text) {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                found.insert(name.to_owned());
            }
        }
    }
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    assert!(
        found.contains("tools/invoke.rs"),
        "the calls have another shape: {found:?}"
    );
    let new: Vec<_> = found.difference(&known).collect();
    assert!(new.is_empty(), "{new:?}");
}
