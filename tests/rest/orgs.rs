//! Two organisations on one broker, one of which looks for the other.

use hundi::domain::principal::Role;
use hundi::entry::operations::table;
use serde_json::{Value, json};

use super::door::Door;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A new organisation, and its admin's key.
async fn made(door: &Door, boss: &str, name: &str) -> String {
    let made = door.post("/v1/orgs", boss, json!({"name": name})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["org"], name);
    text(&made.json()["admin_key"]).to_owned()
}

#[tokio::test]
async fn admins_of_the_default_one_make_organisations_and_their_admins_are_people() {
    let door = Door::new().await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    let acme = made(&door, &boss, "Acme").await;
    let people = door.get("/v1/people", &acme).await.json();
    assert_eq!(people["people"][0]["name"], "admin");
    let keys = door.get("/v1/keys", &acme).await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert_eq!(keys["keys"][0]["person"], "admin");

    for (name, status) in [
        ("acme", 409),
        ("ACME", 409),
        ("default", 409),
        ("Default", 409),
        ("", 400),
        ("a b", 400),
        ("../x", 400),
        ("लेखा", 400),
    ] {
        let told = door.post("/v1/orgs", &boss, json!({"name": name})).await;
        assert_eq!(told.status, status, "{name}: {}", told.text());
    }
    let long = json!({"name": "x".repeat(65)});
    assert_eq!(door.post("/v1/orgs", &boss, long).await.status, 400);

    let told = door.post("/v1/orgs", &acme, json!({"name": "more"})).await;
    assert_eq!(told.status, 403, "an admin of another one makes none");
    let own = door.get("/v1/orgs", &acme).await.json();
    let names = |told: &Value| -> Vec<String> {
        let orgs = told["orgs"].as_array().unwrap().iter();
        orgs.map(|org| text(&org["org"]).to_owned()).collect()
    };
    assert_eq!(names(&own), ["Acme"]);
    let all = door.get("/v1/orgs", &boss).await.json();
    assert_eq!(names(&all), ["default", "Acme"]);
    let auditor = door.fixture.key(Role::Auditor, "eve").await;
    assert_eq!(
        names(&door.get("/v1/orgs", &auditor).await.json()),
        ["default"]
    );
    let records = door.get("/v1/audit", &boss).await.text();
    assert!(records.contains("org_created") && !records.contains(&acme));
}

/// Everything that can be listed, in an organisation beside a busy one.
#[tokio::test]
async fn no_list_count_or_metric_tells_of_another_organisation() {
    let door = Door::new().await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    let busy = made(&door, &boss, "zanzibar").await;
    let quiet = made(&door, &boss, "quiet").await;
    let before = walk(&door, &quiet).await;

    // Every trace that the busy one leaves has this in its name.
    let agent = json!({"role": "agent", "name": "zanzibar-agent"});
    let agent = door.post("/v1/keys", &busy, agent).await.json();
    let person = json!({"name": "Zanzibar Rao", "roles": ["approver"], "slack_user": "U0ZANZIBAR"});
    assert_eq!(
        door.post("/v1/people", &busy, person.clone()).await.status,
        201
    );
    let policy = json!({"daily_limit": 1_000, "per_txn_limit": null, "require_approval_above": 10, "allowed_tools": ["*"]});
    let put = "/v1/agents/zanzibar-agent/policy";
    let put = door.ask("PUT", put, &busy, Some(policy.to_string())).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let payee = json!({"name": "Zanzibar Ltd", "fund_accounts": ["fa_zanzibar"]});
    assert_eq!(door.post("/v1/payees", &busy, payee).await.status, 201);
    let freeze = json!({"scope": "tool", "id": "noop", "reason": "zanzibar"});
    assert_eq!(door.post("/v1/freeze", &busy, freeze).await.status, 200);
    let held = json!({"tool": "transfer_funds", "arguments": {"amount": 50, "to": "zanzibar"}, "idempotency_key": "zanzibar"});
    let held = door
        .post("/v1/proposals", text(&agent["key"]), held)
        .await
        .json();
    assert_eq!(held["status"], "held", "{held}");

    let after = walk(&door, &quiet).await;
    assert_eq!(before.len(), after.len());
    for ((path, then), (_, now)) in before.iter().zip(&after) {
        assert_eq!(then, now, "{path}");
        assert!(!now.to_lowercase().contains("zanzibar"), "{path}");
    }
    // The same Slack user, name and payee are free: a refusal would tell.
    assert_eq!(door.post("/v1/people", &quiet, person).await.status, 201);
    let payee = json!({"name": "Zanzibar Ltd", "fund_accounts": ["fa_zanzibar"]});
    assert_eq!(door.post("/v1/payees", &quiet, payee).await.status, 201);
    assert_eq!(door.get("/metrics", &quiet).await.status, 403);
    assert_eq!(door.get("/metrics", &boss).await.status, 200);
    let told = door.get("/readyz", &quiet).await.json();
    let checks = told["checks"].as_array().unwrap();
    assert!(
        checks.iter().all(|check| check.get("detail").is_none()),
        "{told}"
    );
}

/// Every path that is read without naming anything, and its answer.
async fn walk(door: &Door, key: &str) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    for operation in table() {
        let Some(rest) = &operation.rest else {
            continue;
        };
        // A head is signed and sealed on its own time.
        if rest.method != "get" || rest.names().count() > 0 || rest.path == "/v1/audit/head" {
            continue;
        }
        let path = match rest.path {
            "/v1/search" => "/v1/search?q=zanzibar",
            path => path,
        };
        let answer = door.get(path, key).await;
        assert!(
            // This door asks no models, and says so to everybody.
            [200, 403, 404, 503].contains(&answer.status),
            "{} {}",
            rest.path,
            answer.text()
        );
        told.push((rest.path, answer.text()));
    }
    assert!(told.len() > 8, "{told:?}");
    told
}

/// The account is the default organisation's, in the sandbox as well: others play with payouts of
/// their own, and decide on none.
#[tokio::test]
async fn payouts_of_others_are_nothing_to_another_organisation() {
    let door = Door::new().await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    let acme = made(&door, &boss, "acme").await;
    let agent = json!({"role": "agent", "name": "robber"});
    let agent = door.post("/v1/keys", &acme, agent).await.json();
    let agent = text(&agent["key"]);
    let policy = json!({"allowed_tools": ["*"], "daily_limit": 90_000_000, "per_txn_limit": null,
        "require_approval_above": null});
    let put = "/v1/agents/robber/policy";
    let put = door.ask("PUT", put, &acme, Some(policy.to_string())).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let played = json!({"tool": "transfer_funds", "arguments": {"amount": 50, "to": "acct_1"}});
    let played = door.post("/v1/proposals", agent, played).await;
    assert_eq!(
        (played.status, played.json()["status"] == "allowed"),
        (200, true)
    );
    for tool in ["approve_payout", "reject_payout", "cancel_payout"] {
        let arguments = json!({"payout_id": "pout_00000000000001", "amount": 1,
            "fund_account_id": "fa_00000000000001", "remarks": "x"});
        let asked = json!({"tool": tool, "arguments": arguments});
        for path in [
            "/v1/proposals".to_owned(),
            format!("/v1/tools/{tool}/invoke"),
        ] {
            let body = match path.ends_with("invoke") {
                true => json!({"arguments": arguments}),
                false => asked.clone(),
            };
            let told = door.post(&path, agent, body).await;
            assert_eq!((told.status, told.code()), (404, "unknown_tool".to_owned()));
        }
    }
    let tools = door.get("/v1/tools", &acme).await.text();
    assert!(tools.contains("create_payout") && !tools.contains("approve_payout"));
}
