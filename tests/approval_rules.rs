//! What a policy asks of people's decisions, as those see it who try to get around it.

use hundi::broker::access::owner::owner;
use hundi::domain::policy::{ApprovalRule, PasskeyUse, Policy};
use hundi::domain::principal::{Principal, Role};
use hundi::domain::proposal::State;
use serde_json::{Value, json};

use crate::support::house::{House, agent_of, person};
use crate::support::server::Server;

fn held_by(rule: ApprovalRule) -> Policy {
    Policy {
        require_approval_above: Some(1_000),
        approval: Some(rule),
        ..Policy::default()
    }
}

#[tokio::test]
async fn the_owner_in_an_agents_place_is_no_second_person() {
    let house = House::new().await;
    house
        .policy("agent-1", &held_by(ApprovalRule::default()))
        .await;
    let request = || hundi::broker::ProposeRequest {
        tool: "transfer_funds".to_owned(),
        arguments: json!({"amount": 5_000, "to": "acct_123"}),
        ..Default::default()
    };
    let pay = &house.broker.pay;
    let as_agent = house.broker.access.owner_as("agent-1").unwrap();
    let held = pay.propose(&as_agent, request()).await.unwrap();
    let refused = pay.approve(&owner(), held.proposal.id()).await;
    assert_eq!(refused.unwrap_err().code(), "self_approval");
    // Somebody else may, and the owner may decide on what others ask for.
    let admin = person(Role::Approver);
    let approved = pay.approve(&admin, held.proposal.id()).await.unwrap();
    assert_eq!(approved.proposal.state, State::Allowed);
    let held = pay.propose(&agent_of("agent-1"), request()).await.unwrap();
    let approved = pay.approve(&owner(), held.proposal.id()).await.unwrap();
    assert_eq!(approved.proposal.state, State::Allowed);
}

#[tokio::test]
async fn only_whom_the_policy_names_agrees_and_in_its_time() {
    let house = House::new().await;
    let pay = &house.broker.pay;
    let code = |decided: Result<hundi::broker::Proposed, hundi::broker::Trouble>| match decided {
        Ok(decided) => decided.proposal.state.name().to_owned(),
        Err(trouble) => trouble.code().to_owned(),
    };
    let rule = ApprovalRule {
        roles: vec![Role::Steward],
        expires_secs: Some(60),
        ..ApprovalRule::default()
    };
    house.policy("agent-1", &held_by(rule)).await;
    let held = house.transfer("agent-1", 5_000).await;
    let left = held.proposal.fixed.lapses_at.secs() - held.proposal.fixed.created_at.secs();
    assert_eq!(left, 60);
    let id = held.proposal.id();
    assert_eq!(
        code(pay.approve(&person(Role::Admin), id).await),
        "not_among_approvers"
    );
    let both = Principal {
        roles: [Role::Approver, Role::Steward].into_iter().collect(),
        ..person(Role::Approver)
    };
    assert_eq!(code(pay.approve(&both, id).await), "allowed");
    let late = house.transfer("agent-1", 5_000).await.proposal.id();
    house.clock.forward(60);
    assert_eq!(code(pay.approve(&both, late).await), "wrong_state");

    let passkey = ApprovalRule {
        passkey: PasskeyUse::Required,
        ..ApprovalRule::default()
    };
    house.policy("agent-2", &held_by(passkey)).await;
    let id = house.transfer("agent-2", 5_000).await.proposal.id();
    for who in [owner(), person(Role::Approver), person(Role::Admin)] {
        assert_eq!(code(pay.approve(&who, id).await), "passkey_required");
    }
    // Nobody is kept from saying no.
    let refused = pay.reject(&person(Role::Approver), id, "no").await;
    assert_eq!(code(refused), "rejected");
}

#[tokio::test]
async fn a_rule_that_nobody_could_fulfil_is_refused_when_it_is_written() {
    let server = Server::start().await;
    let send = async |method: &str, path: &str, body: Value| {
        let method = method.parse().unwrap();
        let sent = server.http.request(method, format!("{}{path}", server.url));
        let sent = sent.bearer_auth(&server.admin_key).json(&body);
        let answer = sent.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let rule = async |rule: Value| {
        let body = json!({"require_approval_above": 1_000, "approval": rule});
        let (status, answer) = send("PATCH", "/v1/agents/agent-1/policy", body).await;
        match status {
            200 => "written".to_owned(),
            _ => format!("{} {}", answer["code"].as_str().unwrap(), answer["detail"]),
        }
    };
    for (asked, named) in [
        (json!({"needed": 2}), "there are 1"),
        (json!({"passkey": "required"}), "have a passkey"),
        (json!({"people": ["Ana"]}), "somebody who is not here"),
        (json!({"roles": ["auditor"]}), "are auditor"),
        (
            json!({"needed": 3, "distinct_from": "each_other"}),
            "there are 1",
        ),
    ] {
        let told = rule(asked.clone()).await;
        assert!(
            told.starts_with("invalid_request") && told.contains(named),
            "{asked}: {told}"
        );
    }
    assert_eq!(rule(json!({"passkey": "preferred"})).await, "written");
    let ana = json!({"name": "Ana", "roles": ["approver"]});
    let (_, ana) = send("POST", "/v1/people", ana).await;
    let id = ana["id"].as_str().unwrap();
    assert_eq!(rule(json!({"people": ["Ana"]})).await, "written");
    let (_, policy) = send("GET", "/v1/agents/agent-1/policy", Value::Null).await;
    assert_eq!(policy["approval"]["people"], json!([id]));
    assert!(
        rule(json!({"people": ["Ana"], "passkey": "required"}))
            .await
            .contains("there are 0")
    );
    assert!(
        rule(json!({"needed": 2, "people": ["Ana", id]}))
            .await
            .contains("there are 1")
    );

    // Nobody else's yes counts, and hers does.
    let arguments = json!({"amount": 5_000, "to": "acct_1"});
    let body = json!({"tool": "transfer_funds", "arguments": arguments, "prompt": "pay it"});
    let sent = server.http.post(format!("{}/v1/proposals", server.url));
    let sent = sent.bearer_auth(&server.agent_key).json(&body).send();
    let held: Value = sent.await.unwrap().json().await.unwrap();
    let path = format!(
        "/v1/proposals/{}/approve",
        held["proposal_id"].as_str().unwrap()
    );
    let (_, answer) = send("POST", &path, json!({})).await;
    assert_eq!(answer["code"], "not_among_approvers", "{answer}");
    let key = json!({"roles": ["approver"], "name": "laptop", "person": id});
    let (_, key) = send("POST", "/v1/keys", key).await;
    let sent = server.http.post(format!("{}{path}", server.url));
    let sent = sent
        .bearer_auth(key["key"].as_str().unwrap())
        .json(&json!({}));
    let answer: Value = sent.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["state"], "allowed", "{answer}");
}

/// A server with people whose decisions count, and programs of theirs that hold a key.
struct Desk {
    server: Server,
}

impl Desk {
    async fn open() -> Self {
        Self {
            server: Server::start().await,
        }
    }

    async fn send(&self, key: &str, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.server.url);
        let sent = self.server.http.request(method.parse().unwrap(), url);
        let answer = sent.bearer_auth(key).json(&body).send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        self.send(&self.server.admin_key, method, path, body).await
    }

    /// What the policy asks of people from now on.
    async fn rule(&self, rule: Value) {
        for approval in [Value::Null, rule] {
            let policy = json!({"require_approval_above": 1_000, "approval": approval});
            let path = "/v1/agents/agent-1/policy";
            let told = self.admin("PATCH", path, policy).await;
            assert!(told["version"].is_u64(), "{told}");
        }
    }

    /// Somebody new: their id, and a key of a program of theirs.
    async fn person(&self, name: &str) -> (String, String) {
        let made = json!({"name": name, "roles": ["approver"]});
        let made = self.admin("POST", "/v1/people", made).await;
        let id = made["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{made}"))
            .to_owned();
        let key = json!({"role": "approver", "name": format!("{name}'s"), "person": id});
        let key = self.admin("POST", "/v1/keys", key).await;
        (id, key["key"].as_str().unwrap().to_owned())
    }

    async fn may_only(&self, id: &str, role: &str) {
        let path = format!("/v1/people/{id}");
        let told = self.admin("PATCH", &path, json!({"roles": [role]})).await;
        assert_eq!(told["roles"], json!([role]), "{told}");
    }

    async fn held(&self, to: &str) -> String {
        let arguments = json!({"amount": 5_000, "to": to});
        let body = json!({"tool": "transfer_funds", "arguments": arguments, "prompt": "pay it"});
        let agent = &self.server.agent_key;
        let held = self.send(agent, "POST", "/v1/proposals", body).await;
        assert_eq!(held["status"], "held", "{held}");
        held["proposal_id"].as_str().unwrap().to_owned()
    }

    /// What became of it: the code of a refusal, or the state and how many of how many agreed.
    async fn approve(&self, key: &str, id: &str) -> String {
        let path = format!("/v1/proposals/{id}/approve");
        let told = self.send(key, "POST", &path, json!({})).await;
        match told["code"].as_str() {
            Some(code) => code.to_owned(),
            None => {
                let (state, by) = (told["state"].as_str().unwrap(), &told["approval"]);
                format!("{state} {}/{}", by["given"], by["needed"])
            }
        }
    }

    /// What the agent is told when it commits, and in which words.
    async fn commit(&self, to: &str, id: &str) -> (String, String) {
        let (agent, path) = (&self.server.agent_key, format!("/v1/proposals/{id}"));
        let shown = self.send(agent, "GET", &path, Value::Null).await;
        let body = json!({
            "commit_token": shown["commit_token"], "arguments": {"amount": 5_000, "to": to},
        });
        let path = format!("{path}/commit");
        let told = self.send(agent, "POST", &path, body).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let code = told.get("code").or(told.get("reason"));
        (
            text(
                code.filter(|code| code.is_string())
                    .unwrap_or(&told["status"]),
            ),
            told.to_string(),
        )
    }
}

#[tokio::test]
async fn a_rule_that_becomes_stricter_reaches_what_waits_and_what_was_approved() {
    let desk = Desk::open().await;
    let ((ana_id, ana), (_, bob)) = (desk.person("Ana").await, desk.person("Bob").await);
    let each = json!({"needed": 2, "distinct_from": "each_other"});
    let only_ana = json!({"people": [ana_id]});

    // While it waits.
    desk.rule(json!({"needed": 1})).await;
    let id = desk.held("acct_1").await;
    let more = desk.held("acct_2").await;
    desk.rule(only_ana.clone()).await;
    assert_eq!(desk.approve(&bob, &id).await, "not_among_approvers");
    assert_eq!(desk.approve(&ana, &id).await, "allowed 1/1");
    assert_eq!(desk.commit("acct_1", &id).await.0, "committed");
    desk.rule(each.clone()).await;
    let nobodys = json!({"role": "approver", "name": "nobody's"});
    let nobodys = desk.admin("POST", "/v1/keys", nobodys).await;
    let nobodys = nobodys["key"].as_str().unwrap().to_owned();
    assert_eq!(desk.approve(&nobodys, &more).await, "person_needed");
    assert_eq!(desk.approve(&bob, &more).await, "held 1/2");
    assert_eq!(desk.approve(&ana, &more).await, "allowed 2/2");
    assert_eq!(desk.commit("acct_2", &more).await.0, "committed");

    // What was approved already.
    for (to, rule) in [
        ("acct_3", only_ana),
        ("acct_4", json!({"roles": ["admin"]})),
        ("acct_5", each.clone()),
    ] {
        desk.rule(json!({"needed": 1})).await;
        let id = desk.held(to).await;
        assert_eq!(desk.approve(&bob, &id).await, "allowed 1/1");
        desk.rule(rule.clone()).await;
        let (code, told) = desk.commit(to, &id).await;
        assert_eq!(code, "policy_changed", "{rule}: {told}");
        assert!(told.contains("agreements count now"), "{rule}: {told}");
    }

    // One that becomes easier makes nothing easier that waits.
    desk.rule(each).await;
    let id = desk.held("acct_6").await;
    desk.rule(json!({"needed": 1})).await;
    assert_eq!(desk.approve(&nobodys, &id).await, "person_needed");
    assert_eq!(desk.approve(&bob, &id).await, "held 1/2");
}

#[tokio::test]
async fn whoever_is_gone_or_may_decide_no_more_has_agreed_to_nothing() {
    let desk = Desk::open().await;
    let ((ana_id, ana), (_, bob)) = (desk.person("Ana").await, desk.person("Bob").await);
    desk.rule(json!({"needed": 2, "distinct_from": "each_other"}))
        .await;

    // Demoted: one of two is left, and who may decide again decides again.
    let id = desk.held("acct_1").await;
    assert_eq!(desk.approve(&ana, &id).await, "held 1/2");
    desk.may_only(&ana_id, "auditor").await;
    assert_eq!(desk.approve(&bob, &id).await, "held 1/2");
    desk.may_only(&ana_id, "approver").await;
    assert_eq!(desk.approve(&ana, &id).await, "allowed 2/2");
    let path = format!("/v1/audit?proposal={id}");
    let log = desk.admin("GET", &path, Value::Null).await;
    let records = log["records"].as_array().unwrap();
    let told = records
        .iter()
        .find_map(|one| one["detail"]["not_counted"].as_array());
    assert!(
        told.unwrap()[0]["why"]
            .as_str()
            .unwrap()
            .contains("may not decide"),
        "{log}"
    );
    // And once everybody has agreed.
    desk.may_only(&ana_id, "auditor").await;
    let (code, told) = desk.commit("acct_1", &id).await;
    assert_eq!(code, "policy_changed", "{told}");
    assert!(told.contains("may not decide any more"), "{told}");
    desk.may_only(&ana_id, "approver").await;
    let (code, told) = desk.commit("acct_1", &id).await;
    assert_eq!(code, "committed", "{told}");

    // Removed, and made again under the same name: one human, one agreement.
    let (twin_id, twin) = desk.person("Twin").await;
    let id = desk.held("acct_2").await;
    assert_eq!(desk.approve(&twin, &id).await, "held 1/2");
    desk.admin("DELETE", &format!("/v1/people/{twin_id}"), Value::Null)
        .await;
    let (_, again) = desk.person("Twin").await;
    assert_eq!(desk.approve(&again, &id).await, "held 1/2");
    assert_eq!(desk.approve(&bob, &id).await, "allowed 2/2");

    // A key that was revoked.
    desk.rule(json!({"needed": 1})).await;
    let spare = json!({"role": "approver", "name": "spare"});
    let spare = desk.admin("POST", "/v1/keys", spare).await;
    let id = desk.held("acct_3").await;
    let by = spare["key"].as_str().unwrap();
    assert_eq!(desk.approve(by, &id).await, "allowed 1/1");
    let path = format!("/v1/keys/{}", by.split('_').nth(1).unwrap());
    desk.admin("DELETE", &path, Value::Null).await;
    let (code, told) = desk.commit("acct_3", &id).await;
    assert_eq!(code, "policy_changed", "{told}");
    assert!(told.contains("revoked"), "{told}");
}

#[tokio::test]
async fn who_keeps_an_agents_key_does_not_decide_where_approvers_differ() {
    let desk = Desk::open().await;
    let (_, ana) = desk.person("Ana").await;
    let made = json!({"name": "Cem", "roles": ["approver", "admin"]});
    let cem = desk.admin("POST", "/v1/people", made).await;
    let program = async |role: &str| {
        let key = json!({"role": role, "name": format!("Cem's {role}"), "person": cem["id"]});
        let key = desk.admin("POST", "/v1/keys", key).await;
        key["key"].as_str().unwrap().to_owned()
    };
    let (boss, approver) = (program("admin").await, program("approver").await);
    let agent = json!({"role": "agent", "name": "cems-agent"});
    let agent = desk.send(&boss, "POST", "/v1/keys", agent).await;
    let (id, key) = (&agent["agent_id"], agent["key"].as_str().unwrap());
    let path = format!("/v1/agents/{}/policy", id.as_str().unwrap());
    let held = async |rule: Value, to: &str| -> String {
        let policy = json!({
            "daily_limit": null, "per_txn_limit": null, "require_approval_above": 0,
            "approval": rule,
        });
        desk.send(&boss, "PUT", &path, policy).await;
        let body = json!({
            "tool": "transfer_funds", "arguments": {"amount": 5_000, "to": to}, "prompt": "pay it",
        });
        let held = desk.send(key, "POST", "/v1/proposals", body).await;
        held["proposal_id"]
            .as_str()
            .unwrap_or_else(|| panic!("{held}"))
            .to_owned()
    };
    let id = held(json!({"distinct_from": "proposer"}), "acct_1").await;
    for his in [&boss, &approver] {
        assert_eq!(desk.approve(his, &id).await, "self_approval");
    }
    assert_eq!(desk.approve(&ana, &id).await, "allowed 1/1");
    // Where nothing of the kind is said, the one admin of a small house decides.
    let id = held(json!({"needed": 1}), "acct_2").await;
    assert_eq!(desk.approve(&approver, &id).await, "allowed 1/1");
}

#[tokio::test]
async fn a_shorter_time_to_agree_holds_for_what_waits() {
    let house = House::new().await;
    let pay = &house.broker.pay;
    let lasting = |secs| {
        held_by(ApprovalRule {
            expires_secs: Some(secs),
            ..ApprovalRule::default()
        })
    };
    house.policy("agent-1", &lasting(600)).await;
    let id = house.transfer("agent-1", 5_000).await.proposal.id();
    house.clock.forward(60);
    house.policy("agent-1", &lasting(60)).await;
    let late = pay.approve(&person(Role::Approver), id).await;
    assert_eq!(late.unwrap_err().code(), "wrong_state");
    house.policy("agent-1", &lasting(600)).await;
    let inside = pay.approve(&person(Role::Approver), id).await.unwrap();
    assert_eq!(inside.proposal.state, State::Allowed);
}
