//! Every role at every endpoint.

use hundi::domain::principal::Role;
use serde_json::{Value, json};

use super::door::Door;

/// What the path and body refer to, made afresh for every cell.
struct Cell {
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
    /// Status for agent (not the proposer), approver, auditor, operator, admin, and no key.
    statuses: [u16; 6],
}

#[tokio::test]
#[rustfmt::skip]
async fn each_role_does_its_own_and_nothing_else() {
    let cell = |method, path, body, statuses| Cell { method, path, body, statuses };
    let propose = json!({"tool": "noop", "arguments": {}});
    let commit = json!({"commit_token": "v1.k.x.y", "arguments": {}});
    let settle = json!({"outcome": "failed", "reason": "x"});
    let key = json!({"role": "agent", "name": "x"});
    let freeze = json!({"scope": "tool", "id": "noop", "reason": "drill"});
    let table = [
        //                                                              agent app  aud  ops  adm  none
        cell("POST",   "/v1/proposals",              Some(propose),     [200, 403, 403, 403, 403, 401]),
        cell("GET",    "/v1/proposals",              None,              [200, 200, 200, 200, 200, 401]),
        cell("GET",    "/v1/proposals/{id}",         None,              [404, 200, 200, 200, 200, 401]),
        cell("GET",    "/v1/proposals/{id}/events",  None,              [404, 200, 200, 200, 200, 401]),
        cell("POST",   "/v1/proposals/{id}/commit",  Some(commit),      [409, 403, 403, 403, 403, 401]),
        cell("POST",   "/v1/proposals/{id}/approve", None,              [403, 200, 403, 403, 200, 401]),
        cell("POST",   "/v1/proposals/{id}/reject",  None,              [403, 200, 403, 403, 200, 401]),
        cell("POST",   "/v1/proposals/{id}/cancel",  None,              [404, 403, 403, 200, 200, 401]),
        cell("POST",   "/v1/proposals/{id}/settle",  Some(settle),      [403, 403, 403, 409, 409, 401]),
        cell("GET",    "/v1/tools",                  None,              [200, 200, 200, 200, 200, 401]),
        cell("POST",   "/v1/tools/noop/accept",      None,              [403, 403, 403, 400, 400, 401]),
        cell("GET",    "/v1/keys",                   None,              [403, 200, 200, 200, 200, 401]),
        cell("POST",   "/v1/keys",                   Some(key),         [403, 403, 403, 201, 201, 401]),
        cell("DELETE", "/v1/keys/{key}",             None,              [403, 403, 403, 200, 200, 401]),
        cell("GET",    "/v1/agents",                 None,              [200, 200, 200, 200, 200, 401]),
        cell("GET",    "/v1/agents/nobody/policy",   None,              [404, 404, 404, 404, 404, 401]),
        cell("GET",    "/v1/agents/payer/policy",    None,              [404, 200, 200, 200, 200, 401]),
        cell("GET",    "/v1/agents/payer/policy/versions", None,        [404, 200, 200, 200, 200, 401]),
        cell("PUT",    "/v1/agents/other/policy",    Some(json!({"daily_limit": 1, "per_txn_limit": 1, "require_approval_above": 1})), [403, 403, 403, 200, 200, 401]),
        cell("PATCH",  "/v1/agents/other/policy",    Some(json!({"daily_limit": 2})), [403, 403, 403, 200, 200, 401]),
        cell("DELETE", "/v1/agents/nobody/policy",   None,              [403, 403, 403, 404, 404, 401]),
        cell("GET",    "/v1/agents/payer/budget",    None,              [404, 200, 200, 200, 200, 401]),
        cell("GET",    "/v1/agents/payer/risk-profile", None,           [404, 200, 200, 200, 200, 401]),
        cell("DELETE", "/v1/baselines/payer/noop",   None,              [403, 403, 403, 404, 404, 401]),
        cell("GET",    "/v1/freeze",                 None,              [403, 200, 200, 200, 200, 401]),
        cell("POST",   "/v1/freeze",                 Some(freeze.clone()), [403, 200, 403, 200, 200, 401]),
        cell("POST",   "/v1/unfreeze",               Some(freeze),      [403, 403, 403, 200, 404, 401]),
        cell("GET",    "/v1/audit",                  None,              [200, 200, 200, 200, 200, 401]),
        cell("GET",    "/metrics",                   None,              [403, 200, 200, 200, 200, 401]),
        cell("GET",    "/healthz",                   None,              [200, 200, 200, 200, 200, 200]),
        cell("GET",    "/readyz",                    None,              [200, 200, 200, 200, 200, 200]),
        cell("GET",    "/openapi.json",              None,              [200, 200, 200, 200, 200, 200]),
    ];
    let door = Door::new().await;
    let proposer = door.fixture.key(Role::Agent, "payer").await;
    door.fixture.allow_noop("payer", 1_000).await;
    let mut keys = Vec::new();
    for role in Role::ALL {
        keys.push(door.fixture.key(role, &format!("a {}", role.name())).await);
    }
    keys.push(String::new());
    for cell in table {
        for (key, status) in keys.iter().zip(cell.statuses) {
            let held = json!({"tool": "noop", "arguments": {"amount": 5_000}});
            let held = door.post("/v1/proposals", &proposer, held).await.json();
            let spare = door.fixture.key(Role::Agent, "spare").await;
            // A stream of what is still held would not end.
            if cell.path.ends_with("/events") && status == 200 {
                let path = format!("/v1/proposals/{}/cancel", held["proposal_id"].as_str().unwrap());
                assert_eq!(door.poke(&path, &proposer).await.status, 200);
            }
            let path = cell.path
                .replace("{id}", held["proposal_id"].as_str().unwrap())
                .replace("{key}", spare.split('_').nth(1).unwrap());
            let answer = door.ask(cell.method, &path, key, cell.body.as_ref().map(Value::to_string)).await;
            let role = Role::ALL.get(keys.iter().position(|k| k == key).unwrap());
            assert_eq!(answer.status, status, "{role:?} {} {} {:.300}", cell.method, cell.path, answer.text());
            if status >= 400 && status != 409 {
                assert_eq!(answer.header("content-type"), "application/problem+json");
            }
        }
    }
}

#[tokio::test]
async fn an_agent_sees_its_own_and_nobody_approves_their_own() {
    let door = Door::new().await;
    let agent = door.fixture.key(Role::Agent, "payer").await;
    door.fixture.allow_noop("payer", 1_000).await;
    let held = json!({"tool": "noop", "arguments": {"amount": 5_000}});
    let held = door.post("/v1/proposals", &agent, held).await.json();
    let path = format!("/v1/proposals/{}", held["proposal_id"].as_str().unwrap());
    assert_eq!(door.get(&path, &agent).await.status, 200);
    assert_eq!(
        door.poke(&format!("{path}/approve"), &agent).await.status,
        403
    );
    assert_eq!(
        door.poke(&format!("{path}/reject"), &agent).await.status,
        403
    );
    let records = door.get("/v1/audit", &agent).await.json();
    let records = records["records"].as_array().unwrap();
    assert!(!records.is_empty());
    assert!(
        records.iter().all(|record| record["agent_id"] == "payer"),
        "{records:?}"
    );
    for other in ["/v1/audit?agent=somebody", "/v1/proposals?agent=somebody"] {
        let rows = door.get(other, &agent).await.json();
        let rows = rows["records"].as_array().or(rows["proposals"].as_array());
        assert_eq!(
            rows.unwrap().len(),
            0,
            "{other} is not answered with its own"
        );
    }
    assert_eq!(
        door.poke(&format!("{path}/cancel"), &agent).await.status,
        200
    );
}
