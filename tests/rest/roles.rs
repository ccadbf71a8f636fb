//! Every role at every endpoint.

use std::time::Duration;

use hundi::domain::change::{Change, DocKey, DocWrite};
use hundi::domain::ids::OrgId;
use hundi::domain::principal::{Right, Role};
use hundi::entry::operations::table;
use serde_json::{Value, json};

use super::door::Door;

/// What the path and body refer to, made afresh for every cell.
struct Cell {
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
    /// Status for agent (not the proposer), approver, auditor, operator, developer, steward, admin, and no key.
    statuses: [u16; 8],
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
    let nobody = json!({"name": "x", "roles": ["agent"]});
    let source = json!({"name": "erp", "kind": "telepathy", "config": {}});
    let source2 = json!({"name": "none", "kind": "program", "config": {"program": "x"}});
    let tool = json!({"name": "look"});
    let table = [
        //                                                              agent app  aud  ops  dev  ste  adm  none
        cell("POST",   "/v1/proposals",              Some(propose),     [200, 403, 403, 403, 403, 403, 403, 401]),
        cell("GET",    "/v1/proposals",              None,              [200, 200, 200, 200, 200, 200, 200, 401]),
        cell("GET",    "/v1/proposals/{id}",         None,              [404, 200, 200, 200, 404, 404, 200, 401]),
        cell("GET",    "/v1/proposals/{id}/events",  None,              [404, 200, 200, 200, 404, 404, 200, 401]),
        cell("POST",   "/v1/proposals/{id}/commit",  Some(commit),      [409, 403, 403, 403, 403, 403, 403, 401]),
        cell("POST",   "/v1/proposals/{id}/approve", None,              [403, 200, 403, 403, 403, 403, 200, 401]),
        cell("POST",   "/v1/proposals/{id}/reject",  None,              [403, 200, 403, 403, 403, 403, 200, 401]),
        cell("POST",   "/v1/proposals/{id}/cancel",  None,              [404, 403, 403, 200, 403, 403, 200, 401]),
        cell("POST",   "/v1/proposals/{id}/settle",  Some(settle),      [403, 403, 403, 409, 403, 403, 409, 401]),
        cell("GET",    "/v1/tools",                  None,              [200, 200, 200, 200, 200, 200, 200, 401]),
        cell("POST",   "/v1/tools/noop/accept",      None,              [403, 403, 403, 400, 403, 403, 400, 401]),
        cell("GET",    "/v1/keys",                   None,              [403, 200, 200, 200, 200, 200, 200, 401]),
        cell("POST",   "/v1/keys",                   Some(key),         [403, 403, 403, 201, 403, 403, 201, 401]),
        cell("DELETE", "/v1/keys/{key}",             None,              [403, 403, 403, 200, 403, 403, 200, 401]),
        cell("GET",    "/v1/roles",                  None,              [200, 200, 200, 200, 200, 200, 200, 401]),
        cell("GET",    "/v1/people",                 None,              [403, 200, 200, 200, 200, 200, 200, 401]),
        cell("GET",    "/v1/people/pn_0000000000000000", None,          [403, 404, 404, 404, 404, 404, 404, 401]),
        cell("POST",   "/v1/people",                 Some(nobody),      [403, 403, 403, 403, 403, 403, 400, 401]),
        cell("PATCH",  "/v1/people/pn_0000000000000000", Some(json!({"name": "x"})), [403, 403, 403, 403, 403, 403, 404, 401]),
        cell("DELETE", "/v1/people/pn_0000000000000000", None,          [403, 403, 403, 403, 403, 403, 404, 401]),
        cell("POST",   "/v1/sources",                Some(source),      [403, 403, 403, 403, 400, 403, 400, 401]),
        cell("GET",    "/v1/sources",                None,              [403, 200, 200, 200, 200, 200, 200, 401]),
        cell("GET",    "/v1/sources/none",           None,              [403, 404, 404, 404, 404, 404, 404, 401]),
        cell("PUT",    "/v1/sources/none",           Some(source2),     [403, 403, 403, 403, 404, 403, 404, 401]),
        cell("DELETE", "/v1/sources/none",           None,              [403, 403, 403, 403, 404, 403, 404, 401]),
        cell("POST",   "/v1/tools",                  Some(tool),        [403, 403, 403, 403, 400, 403, 400, 401]),
        cell("DELETE", "/v1/tools/none",             None,              [403, 403, 403, 403, 404, 403, 404, 401]),
        cell("GET",    "/v1/tools/none",             None,              [403, 404, 404, 404, 404, 404, 404, 401]),
        cell("GET",    "/v1/payees",                 None,              [403, 200, 200, 200, 403, 403, 200, 401]),
        cell("GET",    "/v1/agents",                 None,              [200, 200, 200, 200, 200, 200, 200, 401]),
        cell("GET",    "/v1/agents/nobody/policy",   None,              [404, 404, 404, 404, 404, 404, 404, 401]),
        cell("GET",    "/v1/agents/payer/policy",    None,              [404, 200, 200, 200, 200, 200, 200, 401]),
        cell("GET",    "/v1/agents/payer/policy/versions", None,        [404, 200, 200, 200, 200, 200, 200, 401]),
        cell("PUT",    "/v1/agents/other/policy",    Some(json!({"daily_limit": 1, "per_txn_limit": 1, "require_approval_above": 1})), [403, 403, 403, 200, 403, 403, 200, 401]),
        cell("PATCH",  "/v1/agents/other/policy",    Some(json!({"daily_limit": 2})), [403, 403, 403, 200, 403, 403, 200, 401]),
        cell("DELETE", "/v1/agents/nobody/policy",   None,              [403, 403, 403, 404, 403, 403, 404, 401]),
        cell("GET",    "/v1/agents/payer/budget",    None,              [404, 200, 200, 200, 404, 404, 200, 401]),
        cell("GET",    "/v1/agents/payer/risk-profile", None,           [404, 200, 200, 200, 404, 404, 200, 401]),
        cell("DELETE", "/v1/baselines/payer/noop",   None,              [403, 403, 403, 404, 403, 403, 404, 401]),
        cell("GET",    "/v1/freeze",                 None,              [403, 200, 200, 200, 200, 200, 200, 401]),
        cell("POST",   "/v1/freeze",                 Some(freeze.clone()), [403, 200, 403, 200, 403, 403, 200, 401]),
        cell("POST",   "/v1/unfreeze",               Some(freeze),      [403, 403, 403, 200, 403, 403, 404, 401]),
        cell("GET",    "/v1/audit",                  None,              [200, 200, 200, 200, 200, 200, 200, 401]),
        cell("GET",    "/metrics",                   None,              [403, 200, 200, 200, 403, 403, 200, 401]),
        cell("GET",    "/healthz",                   None,              [200, 200, 200, 200, 200, 200, 200, 200]),
        cell("GET",    "/readyz",                    None,              [200, 200, 200, 200, 200, 200, 200, 200]),
        cell("GET",    "/openapi.json",              None,              [200, 200, 200, 200, 200, 200, 200, 200]),
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
async fn a_key_with_several_roles_may_what_any_of_them_may_and_no_more() {
    let door = Door::new().await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    let both = json!({"roles": ["steward", "approver"], "name": "both"});
    let made = door.post("/v1/keys", &boss, both).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!(made["roles"], json!(["approver", "steward"]));
    assert_eq!(
        made["role"],
        json!(null),
        "only one alone has this spelling"
    );
    let both = made["key"].as_str().unwrap();
    assert_eq!(
        door.get("/v1/audit/head", both).await.status,
        404,
        "an approver reads"
    );
    let source = json!({"name": "erp", "kind": "program", "config": {"program": "x"}});
    let refused = door.post("/v1/sources", both, source).await;
    assert_eq!(refused.status, 403);
    assert!(
        refused
            .text()
            .contains("the roles approver, steward may not do this"),
        "{}",
        refused.text()
    );

    let agent = door
        .post(
            "/v1/keys",
            &boss,
            json!({"roles": ["agent", "auditor"], "name": "payer"}),
        )
        .await
        .json();
    assert_eq!(agent["agent_id"], "payer");
    door.fixture.allow_noop("payer", 1_000).await;
    let key = agent["key"].as_str().unwrap();
    let held = json!({"tool": "noop", "arguments": {"amount": 5_000}});
    let held = door.post("/v1/proposals", key, held).await.json();
    assert_eq!(held["status"], "held");
    let approve = format!(
        "/v1/proposals/{}/approve",
        held["proposal_id"].as_str().unwrap()
    );
    assert_eq!(door.poke(&approve, key).await.status, 403);
    assert_eq!(
        door.get("/v1/keys", key).await.status,
        200,
        "an auditor reads"
    );

    // Operators end what they may make.
    let operator = door.fixture.key(Role::Operator, "ops").await;
    let path = format!("/v1/keys/{}", agent["id"].as_str().unwrap());
    assert_eq!(door.ask("DELETE", &path, &operator, None).await.status, 403);
}

#[tokio::test]
async fn roles_are_told_from_the_table_that_is_enforced() {
    let door = Door::new().await;
    let agent = door.fixture.key(Role::Agent, "payer").await;
    let told = door.get("/v1/roles", &agent).await.json();
    let told = told["roles"].as_array().unwrap();
    assert_eq!(told.len(), Role::ALL.len());
    for (role, told) in Role::ALL.into_iter().zip(told) {
        assert_eq!(told["name"], role.name());
        let rights = told["rights"].as_array().unwrap();
        for right in Right::ALL {
            let says = rights.contains(&json!(right.name()));
            assert_eq!(says, role.may(right), "{} {}", role.name(), right.name());
        }
        let opened = told["operations"].as_array().unwrap();
        for operation in table() {
            let may = operation.rights.iter().any(|right| role.may(*right));
            assert_eq!(
                opened.contains(&json!(operation.name)),
                may,
                "{operation:?}"
            );
        }
    }
}

/// A key as it was stored while there was one role for each.
#[tokio::test]
async fn a_key_of_an_earlier_version_still_reads() {
    let door = Door::new().await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    let made = door
        .post("/v1/keys", &boss, json!({"role": "auditor", "name": "eve"}))
        .await
        .json();
    let store = &door.fixture.broker.ports().store;
    let id = made["id"].as_str().unwrap();
    let key = DocKey::new("key", &OrgId::default(), id);
    let mut body = store.doc(&key).await.unwrap().unwrap().body;
    let map = body.as_object_mut().unwrap();
    assert_eq!(map.remove("roles"), Some(json!(["auditor"])));
    map.insert("role".to_owned(), json!("auditor"));
    let write = DocWrite {
        key,
        expect: None,
        body: Some(body),
    };
    store
        .apply(Change::documents(vec![write], vec![], vec![], vec![]))
        .await
        .unwrap();
    let eve = made["key"].as_str().unwrap();
    let seen = async {
        while door.get("/v1/keys", eve).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), seen)
        .await
        .unwrap();
    let keys = door.get("/v1/keys", eve).await.json();
    let listed = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["id"] == id)
        .unwrap();
    assert_eq!(
        (&listed["role"], &listed["roles"]),
        (&json!("auditor"), &json!(["auditor"]))
    );
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
