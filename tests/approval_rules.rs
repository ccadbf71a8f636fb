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
        assert_eq!(code(pay.reject(&who, id, "no").await), "passkey_required");
    }
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
