//! Rules that address nothing are told to whoever writes them, at every door; and a call is named
//! and explained whatever its tool's risk.

use serde_json::{Value, json};

use super::{make, propose, records, rule};
use crate::registered::{Shop, discount, look};

fn warnings(told: &Value) -> String {
    told["warnings"].to_string()
}

#[tokio::test]
async fn a_rule_for_what_is_not_here_is_told_with_what_was_meant() {
    let shop = Shop::furnished().await;
    let (server, admin) = (&shop.server, &shop.server.admin_key);
    let typo = rule(
        "typo",
        "deny",
        json!({
            "what": {"tools": ["lower_invoce", "nosuch*"], "sources": ["shopp"]},
            "who": {"agents": ["agent1"], "people": ["Nobody Here"], "servers": ["nosrv"]},
        }),
    );
    let made = make(&shop, typo).await;
    let told = warnings(&made);
    for part in [
        "did you mean lower_invoice?",
        "nosuch*",
        "did you mean shop?",
        "did you mean agent-1?",
        "Nobody Here",
        "nosrv",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let listed = server.get(admin, "/v1/access").await;
    assert_eq!(warnings(&listed["rules"][0]), told);
    // What was read can be written back, and says so again.
    let (status, again) = shop.put("/v1/access/typo", made).await;
    assert_eq!(
        (status, warnings(&again), &again["version"]),
        (200, told, &json!(1))
    );
    let asked = json!({"who": {"agent": "agent1"}, "tool": "get_invoice"});
    let (_, answer) = shop.post("/v1/access/check", asked).await;
    assert!(warnings(&answer).contains("agent-1"), "{answer}");

    // A step of a pair means its tool, and denies it.
    let step = rule(
        "step",
        "deny",
        json!({"what": {"tools": ["lower_invoice_propose"]}}),
    );
    let made = make(&shop, step).await;
    assert_eq!(
        (&made["what"]["tools"], &made["warnings"]),
        (&json!(["lower_invoice"]), &Value::Null),
        "{made}"
    );
    assert_eq!(propose(&shop).await.1["code"], "access_denied");

    // Also what a policy names, and what a folder would write.
    let policy = json!({"taint": {"tools": ["get_invoce"], "sources": ["shopp"], "then": "hold", "for_secs": 60}});
    let sent = server
        .http
        .patch(format!("{}/v1/agents/agent-1/policy", server.url));
    let sent = sent.bearer_auth(admin).json(&policy).send().await.unwrap();
    let told: Value = sent.json().await.unwrap();
    assert!(
        warnings(&told).contains("get_invoice") && warnings(&told).contains("shop?"),
        "{told}"
    );
    let folder = tempfile::tempdir().unwrap();
    for (name, document) in [
        (
            "policies/agnet-1.json",
            json!({"daily_limit": 70, "per_txn_limit": null, "require_approval_above": null}),
        ),
        (
            "access/more.json",
            json!({"effect": "deny", "what": {"tools": ["get_invoce"]}}),
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, document.to_string()).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    let told = server.command(&["apply", "-f", path]);
    for part in [
        "Warning: no key acts as the agent agnet-1",
        "did you mean get_invoice?",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test]
async fn a_call_is_named_and_explained_whatever_its_tools_risk() {
    let shop = Shop::furnished().await;
    let (server, admin) = (&shop.server, &shop.server.admin_key);
    let high = "/v1/tools/lower_invoice/invoke";
    let (_, told) = shop.as_agent(high, json!({"arguments": {"id": 1}})).await;
    let path = format!(
        "/v1/traces/{}",
        told["trace_id"]
            .as_str()
            .unwrap_or_else(|| panic!("{told}"))
    );
    let trace = server.get(&server.agent_key, &path).await;
    assert_eq!(trace["proposal_id"], told["proposal_id"], "{trace}");
    // Each problem has a name as well, and tells the step that decided.
    let nobody = json!({"role": "auditor", "name": "reads"});
    let (_, auditor) = shop.post("/v1/keys", nobody).await;
    let auditor = auditor["key"].as_str().unwrap();
    let cases = [
        (high, json!({"arguments": {"id": "x"}}), "access"),
        (high, json!({"arguments": []}), "access"),
        (high, json!({"arguments": {"id": 1}, "more": 1}), "access"),
        ("/v1/tools/never/invoke", json!({"arguments": {}}), "tool"),
        (
            "/v1/tools/lower_invoice_propose/invoke",
            json!({"arguments": {"id": 1}}),
            "tool",
        ),
        (
            "/v1/tools/get_proposal/invoke",
            json!({"arguments": {}}),
            "tool",
        ),
        (
            "/v1/tools/get_invoice/invoke",
            json!({"arguments": {"id": "x"}}),
            "access",
        ),
    ];
    for (path, body, step) in cases {
        let (_, told) = shop.as_agent(path, body).await;
        let id = told["trace_id"]
            .as_str()
            .unwrap_or_else(|| panic!("{told}"));
        let trace = server.get(admin, &format!("/v1/traces/{id}")).await;
        let last = trace["steps"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&last["step"], &last["outcome"]),
            (&json!(step), &told["code"]),
            "{trace}"
        );
    }
    let (_, told) = server
        .post(auditor, high, &json!({"arguments": {"id": 1}}))
        .await
        .unwrap();
    assert_eq!(told["code"], "forbidden", "{told}");
    assert!(told["trace_id"].is_string(), "{told}");
    // Whoever asks in the wrong way is told the right one.
    let asked = json!({"tool": "get_invoice", "arguments": {"id": 1}});
    let (status, told) = shop.as_agent("/v1/proposals", asked).await;
    assert_eq!((status, &told["code"]), (404, &json!("unknown_tool")));
    assert!(
        told["detail"]
            .as_str()
            .unwrap()
            .contains("/v1/tools/get_invoice/invoke"),
        "{told}"
    );
}

#[tokio::test]
async fn what_changes_nothing_is_no_version_and_ends_nothing() {
    let shop = Shop::furnished().await;
    let (server, admin) = (&shop.server, &shop.server.admin_key);
    let send = async |method: &str, path: &str, body: Value| -> Value {
        let sent = server
            .http
            .request(method.parse().unwrap(), format!("{}{path}", server.url));
        let answer = sent.bearer_auth(admin).json(&body).send().await.unwrap();
        answer.json().await.unwrap()
    };
    let (_, proposed) = propose(&shop).await;
    let before = records(&shop, "tool_changed").await.len();
    for path in ["/v1/tools/lower_invoice", "/v1/sources/shop"] {
        let read = server.get(admin, path).await;
        let mut body = read.clone();
        for told in ["secrets", "changed_at", "changed_by"] {
            body.as_object_mut().unwrap().remove(told);
        }
        let put = send("PUT", path, body).await;
        assert_eq!(put["version"], read["version"], "{put}");
    }
    let told = send("POST", "/v1/tools/lower_invoice/enable", json!({})).await;
    assert_eq!(told["version"], 1, "{told}");
    let (_, ana) = shop
        .post("/v1/people", json!({"name": "Ana", "roles": ["approver"]}))
        .await;
    let path = format!("/v1/people/{}", ana["id"].as_str().unwrap());
    assert_eq!(
        send("PATCH", &path, json!({"name": "Ana"})).await["version"],
        1
    );
    assert_eq!(records(&shop, "tool_changed").await.len(), before);
    let id = proposed["proposal_id"].as_str().unwrap();
    let commit = json!({"commit_token": proposed["commit_token"], "arguments": {"id": 1}});
    let (_, told) = shop
        .as_agent(&format!("/v1/proposals/{id}/commit"), commit)
        .await;
    assert_eq!(told["status"], "committed", "{told}");
    // A stale version is told all the same.
    let mut stale = discount();
    stale["version"] = json!(9);
    assert_eq!(shop.put("/v1/tools/lower_invoice", stale).await.0, 409);
}

#[tokio::test]
async fn one_catalogue_tells_every_tool_alike() {
    let shop = Shop::furnished().await;
    let (server, admin) = (&shop.server, &shop.server.admin_key);
    let all = server.get(admin, "/v1/tools").await;
    let of = |name: &str| {
        let mut all = all["tools"].as_array().unwrap().iter();
        all.find(|tool| tool["name"] == name).unwrap().clone()
    };
    let registered = of("get_invoice");
    assert_eq!(
        (
            &registered["kind"],
            &registered["source"],
            &registered["version"],
            &registered["enabled"]
        ),
        (&json!("sql"), &json!("shop"), &json!(1), &json!(true)),
        "{registered}"
    );
    assert_eq!(registered["origin"]["risk"], "developer", "{registered}");
    assert_eq!(
        registered["exec"]["query"],
        look()["exec"]["query"],
        "{registered}"
    );
    let agents = server.get(&server.agent_key, "/v1/tools").await;
    assert!(
        !agents.to_string().contains("select "),
        "agents are told no statement: {agents}"
    );
    let own = of("transfer_funds");
    assert_eq!(
        (&own["kind"], &own["origin"]["risk"]),
        (&json!("builtin"), &json!("built_in"))
    );
    assert_eq!(server.get(admin, "/v1/tools/transfer_funds").await, own);
    assert_eq!(
        server.get(admin, "/v1/tools/never").await["code"],
        "not_found"
    );
    let (status, told) = shop.post("/v1/tools/noop/disable", json!({})).await;
    assert_eq!(
        (status, &told["code"]),
        (400, &json!("invalid_request")),
        "{told}"
    );
    assert!(
        told["detail"].as_str().unwrap().contains("built in"),
        "{told}"
    );
    // Names are for those who may know them, on loopback as well.
    let ready = server
        .http
        .get(format!("{}/readyz", server.url))
        .send()
        .await
        .unwrap();
    assert!(!ready.text().await.unwrap().contains("shop"));
    let mine = server.get(admin, "/readyz").await;
    assert!(mine.to_string().contains("source shop"), "{mine}");
    let refused = server.get(&server.agent_key, "/metrics").await;
    assert_eq!(refused["code"], "forbidden", "{refused}");
    // What is exported applies again, and nothing is left to do.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    server.command(&["export", "--out", path]);
    assert!(!folder.path().join("tools/transfer_funds.json").exists());
    let told = server.command(&["apply", "-f", path, "--dry-run"]);
    assert!(told.contains("everything is as the files say"), "{told}");
}
