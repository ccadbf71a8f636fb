//! The table of operations, walked: whatever is added to it is on the doors it names, and refuses
//! a missing right, an unknown field, and what belongs to another organisation.

use hundi::broker::Trouble;
use hundi::domain::ids::OrgId;
use hundi::domain::principal::{Principal, Role};
use hundi::entry::http::document;
use hundi::entry::operations::{self, Operation, Request, table};
use regex::Regex;
use serde_json::{Map, Value, json};

use super::door::{Answer, Door};

/// Fields that name something of an organisation, with something that is there.
struct There {
    proposal: String,
    key: String,
    payee: String,
    person: String,
}

impl There {
    async fn new(door: &Door) -> Self {
        let agent = door.fixture.key(Role::Agent, "payer").await;
        door.fixture.allow_noop("payer", 1_000).await;
        let held = json!({"tool": "noop", "arguments": {"amount": 5_000}});
        let held = door.post("/v1/proposals", &agent, held).await.json();
        let boss = door.fixture.key(Role::Admin, "boss").await;
        let payee = json!({"name": "Acme", "fund_accounts": ["fa_1"]});
        let payee = door.post("/v1/payees", &boss, payee).await.json();
        let person = json!({"name": "Asha", "roles": ["approver"]});
        let person = door.post("/v1/people", &boss, person).await.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            proposal: text(&held["proposal_id"]),
            key: agent.split('_').nth(1).unwrap().to_owned(),
            payee: text(&payee["id"]),
            person: text(&person["id"]),
        }
    }

    /// A name that is there, and one of the same form that never was.
    fn names(&self, field: &str) -> (Value, Value) {
        match field {
            "proposal_id" => (
                json!(self.proposal),
                json!("0190a0a0-0000-7000-8000-000000000000"),
            ),
            "id" => (json!(self.key), json!("f".repeat(self.key.len()))),
            "payee" => (json!(self.payee), json!("py_ffffffffffffffff")),
            "agent" | "agent_id" => (json!("payer"), json!("never")),
            "tool" | "name" => (json!("noop"), json!("never")),
            "source" => (json!("erp"), json!("never")),
            "server" => (json!("desk"), json!("never")),
            "server_key" => (json!("0123456789abcdef"), json!("f".repeat(16))),
            "rule" => (json!("night_off"), json!("never")),
            "person" => (json!(self.person), json!("pn_ffffffffffffffff")),
            "trace_id" => (
                json!("0191d8a0-0000-7000-8000-000000000001"),
                json!("0191d8a0-0000-7000-8000-000000000002"),
            ),
            // Of an organisation that keeps no documents there is none.
            "document_id" => (json!("lease"), json!("never")),
            "seq" => (json!(1), json!(99_999)),
            "provider" => (json!("erp"), json!("never")),
            // Of an organisation that asks no models there is none.
            "request_id" => (
                json!("0190a0a0-0000-7000-8000-000000000001"),
                json!("0190a0a0-0000-7000-8000-000000000002"),
            ),
            other => panic!("say what `{other}` names, here"),
        }
    }
}

/// What an operation needs besides the names in its path.
fn sample(operation: &Operation) -> Map<String, Value> {
    let needed = match operation.name {
        "propose" => json!({"tool": "noop", "arguments": {}}),
        "commit" => json!({"commit_token": "v1.k.x.y", "arguments": {}}),
        "settle_proposal" => json!({"outcome": "failed", "reason": "x"}),
        "await_proposal" => json!({"proposal_id": "x"}),
        "create_key" => json!({"role": "agent", "name": "x"}),
        "create_org" => json!({"name": "acme"}),
        "create_person" => json!({"name": "Bob", "roles": ["auditor"]}),
        "create_source" | "replace_source" => {
            json!({"name": "erp", "kind": "sqlite", "config": {"path": "/x.db"}})
        }
        "replace_server" => json!({"tools": []}),
        "check_access" => json!({"who": {"agent": "payer"}, "tool": "noop"}),
        "invoke_tool" | "test_tool" => json!({"arguments": {}}),
        "import_tools" => json!({"openapi": {"openapi": "3.1.0"}, "source": "erp"}),
        "register_payee" => json!({"name": "Acme", "fund_accounts": ["fa_1"]}),
        "freeze" | "unfreeze" => json!({"scope": "all", "reason": "drill"}),
        "set_policy" => {
            json!({"daily_limit": 1, "per_txn_limit": 1, "require_approval_above": null})
        }
        "change_policy" => json!({"daily_limit": 1}),
        "set_agent_policy" => json!({"agent_id": "payer"}),
        "score_transaction_risk" => json!({"amount": 1}),
        "check_vendor_reputation" => json!({"url": "https://acme.example"}),
        "verify_vendor_entity" => json!({"vendor_name": "Acme"}),
        "handle_razorpay_webhook" => json!({"payload": "{}", "signature": "x"}),
        "create_request" => json!({"prompt": "x"}),
        "create_provider" => json!({"name": "openai"}),
        "import_prices" => json!({"as_of": "2026-11-20", "prices": {}}),
        "create_document" => json!({"title": "Lease", "text": "monthly rent"}),
        "search_documents" => json!({"q": "rent"}),
        "pause_queue" => json!({"paused": true}),
        "handle_slack_action" => json!({"body": "x", "timestamp": "1", "signature": "x"}),
        _ => json!({}),
    };
    needed.as_object().unwrap().clone()
}

/// An input that fits, its names those that `pick` takes.
fn input(operation: &Operation, pick: impl Fn(&str) -> Value) -> Map<String, Value> {
    let mut input = sample(operation);
    for (_, field) in operation.rest.iter().flat_map(|rest| rest.names()) {
        input.insert(field.to_owned(), pick(field));
    }
    let told = operation.check(&Value::Object(input.clone()));
    assert_eq!(told, Ok(()), "give `sample` what {operation:?} needs");
    input
}

async fn send(door: &Door, request: Request, key: &str) -> Answer {
    let body = request.body.map(|body| body.to_string());
    let method = request.method.to_uppercase();
    door.ask(&method, &request.target, key, body).await
}

fn who(role: Role) -> Principal {
    Principal {
        id: "key:x".to_owned(),
        name: "x".to_owned(),
        org: OrgId::default(),
        roles: role.into(),
        agent: (role == Role::Agent).then(|| "payer".parse().unwrap()),
        person: None,
        server: None,
    }
}

#[tokio::test]
async fn every_operation_is_told_and_refuses_whoever_may_not() {
    let door = Door::new().await;
    let there = There::new(&door).await;
    let mut keys = Vec::new();
    for role in Role::ALL {
        keys.push((role, door.fixture.key(role, role.name()).await));
    }
    let document = document();
    for operation in table() {
        let input = input(operation, |field| there.names(field).0);
        assert!(
            operation.rest.is_some() || operation.mcp,
            "{operation:?} is on no door"
        );
        if let Some(rest) = &operation.rest {
            let told = &document["paths"][rest.path][rest.method];
            assert_eq!(told["operationId"], operation.name);
        }
        for (role, key) in &keys {
            if operation.permits(&who(*role)) {
                continue;
            }
            let asked = Value::Object(input.clone());
            let who = who(*role);
            let refused = operations::ask(&door.fixture.broker, &who, operation.name, asked);
            let role = role.name();
            assert_eq!(
                refused.await,
                Err(Trouble::Forbidden { roles: who.roles }),
                "{operation:?}"
            );
            if let Some(request) = operation.request(input.clone()) {
                let refused = send(&door, request, key).await;
                let told = (refused.status, refused.code());
                assert_eq!(told, (403, "forbidden".to_owned()), "{operation:?} {role}");
            }
        }
        if let Some(request) = operation.request(input) {
            assert_eq!(send(&door, request, "").await.status, 401, "{operation:?}");
        }
    }
}

#[tokio::test]
async fn every_operation_refuses_an_unknown_field_by_its_name() {
    let door = Door::new().await;
    let there = There::new(&door).await;
    for operation in table() {
        let role = Role::ALL
            .into_iter()
            .find(|role| operation.permits(&who(*role)));
        let role = role.unwrap_or_else(|| panic!("nobody may {operation:?}"));
        let mut input = input(operation, |field| there.names(field).0);
        input.insert("nmae".to_owned(), json!(1));
        let asked = Value::Object(input.clone());
        let who = who(role);
        let refused = operations::ask(&door.fixture.broker, &who, operation.name, asked);
        let told = refused.await.unwrap_err();
        assert_eq!(told.code(), "invalid_request", "{operation:?}: {told}");
        assert!(told.to_string().contains("`nmae`"), "{operation:?}: {told}");
        if let Some(request) = operation.request(input) {
            let key = door.fixture.key(role, "x").await;
            let refused = send(&door, request, &key).await;
            let told = (refused.status, refused.code());
            assert_eq!(told, (400, "invalid_request".to_owned()), "{operation:?}");
            assert!(refused.text().contains("`nmae`"), "{}", refused.text());
        }
    }
}

/// The catalogue is the deployment's, not an organisation's.
const SHARED: &[&str] = &[
    "accept_tool",
    "invoke_tool",
    "get_tool",
    "replace_tool",
    "change_tool",
    "delete_tool",
    "enable_tool",
    "disable_tool",
    "list_tool_versions",
];

#[tokio::test]
async fn what_is_anothers_reads_as_what_never_was() {
    let door = Door::new().await;
    let there = There::new(&door).await;
    let elsewhere = "elsewhere".parse().unwrap();
    let times = Regex::new(r#"\d{4}-\d\d-\d\dT[0-9:.]+Z|"trace_id":"[^"]+""#).unwrap();
    let mut looked = 0;
    for operation in table() {
        let names = operation.rest.iter().flat_map(|rest| rest.names());
        if names.count() == 0 || SHARED.contains(&operation.name) {
            continue;
        }
        for role in Role::ALL {
            if !operation.permits(&who(role)) {
                continue;
            }
            let key = door.fixture.key_in(&elsewhere, role, role.name()).await;
            let theirs = input(operation, |field| there.names(field).0);
            let never = input(operation, |field| there.names(field).1);
            let mut told = Vec::new();
            for asked in [&theirs, &never] {
                let answer = send(&door, operation.request(asked.clone()).unwrap(), &key).await;
                let names = asked.values().filter_map(Value::as_str);
                let names =
                    names.filter(|name| theirs.values().chain(never.values()).any(|v| v == name));
                let text = names.fold(answer.text(), |text, name| text.replace(name, "_"));
                // An earlier row may have made a policy under either name, a moment apart.
                let text = times.replace_all(&text, "_").into_owned();
                told.push((answer.status, text));
            }
            assert_eq!(told[0], told[1], "{operation:?} as {}", role.name());
            looked += 1;
        }
    }
    assert!(looked > 30, "{looked}");
}
