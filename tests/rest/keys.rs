//! The life of an API key.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hundi::domain::ids::OrgId;
use hundi::domain::principal::Role;
use serde_json::json;

use super::door::Door;
use crate::support::fixture::{Fixture, Provider, admin, broker};

#[tokio::test]
async fn a_key_is_shown_once_and_works_until_it_is_revoked() {
    let door = Door::new().await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    let request = json!({"role": "agent", "name": "payer"});
    let made = door.post("/v1/keys", &boss, request).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!(made["role"], "agent");
    assert_eq!(made["agent_id"], "payer");
    let key = made["key"].as_str().unwrap();
    let id = made["id"].as_str().unwrap();
    assert!(key.starts_with(&format!("hk_{id}_")));
    assert_eq!(door.get("/v1/proposals", key).await.status, 200);

    let list = door.get("/v1/keys", &boss).await;
    assert!(list.text().contains(id));
    let secret = key.rsplit('_').next().unwrap();
    assert!(!list.text().contains(secret), "a secret is shown once");

    let gone = door
        .ask("DELETE", &format!("/v1/keys/{id}"), &boss, None)
        .await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert!(gone.json()["revoked_at"].is_string());
    assert_eq!(door.get("/v1/proposals", key).await.status, 401, "at once");
    let again = door
        .ask("DELETE", &format!("/v1/keys/{id}"), &boss, None)
        .await;
    assert_eq!(again.json(), gone.json(), "ending it again changes nothing");

    let records = door.get("/v1/audit", &boss).await;
    for kind in ["key_created", "key_revoked"] {
        assert!(records.text().contains(kind), "{kind}");
    }
    assert!(!records.text().contains(secret));
}

#[tokio::test]
async fn the_store_holds_no_secret() {
    let door = Door::new().await;
    let key = door.fixture.key(Role::Agent, "payer").await;
    let secret = key.rsplit('_').next().unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(door.fixture.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        files += 1;
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found);
    }
    assert!(files > 0);
}

#[tokio::test]
#[rustfmt::skip]
async fn who_may_make_which_key() {
    let door = Door::new().await;
    let cases = [
        (Role::Admin,     [201, 201, 201, 201, 201, 201, 201]),
        (Role::Operator,  [201, 403, 403, 403, 403, 403, 403]),
        (Role::Auditor,   [403, 403, 403, 403, 403, 403, 403]),
        (Role::Approver,  [403, 403, 403, 403, 403, 403, 403]),
        (Role::Developer, [403, 403, 403, 403, 403, 403, 403]),
        (Role::Steward,   [403, 403, 403, 403, 403, 403, 403]),
        (Role::Agent,     [403, 403, 403, 403, 403, 403, 403]),
    ];
    for (role, statuses) in cases {
        let key = door.fixture.key(role, "caller").await;
        for (wanted, status) in Role::ALL.into_iter().zip(statuses) {
            let request = json!({"role": wanted.name(), "name": "new"});
            let answer = door.post("/v1/keys", &key, request).await;
            assert_eq!(answer.status, status, "{role:?} makes {wanted:?}");
        }
    }
    // Ending follows making: an operator cannot lock an admin out.
    let operator = door.fixture.key(Role::Operator, "ops").await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    let id = boss.split('_').nth(1).unwrap();
    let answer = door.ask("DELETE", &format!("/v1/keys/{id}"), &operator, None).await;
    assert_eq!(answer.status, 403);
    assert_eq!(door.get("/v1/keys", &boss).await.status, 200);
}

#[tokio::test]
#[rustfmt::skip]
async fn what_a_key_request_must_say() {
    let door = Door::new().await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    let cases = [
        (json!({"role": "agent", "name": "a"}),                          201),
        (json!({"role": "agent", "name": "x".repeat(100)}),              201),
        (json!({"role": "agent", "name": "x".repeat(101)}),              400),
        (json!({"role": "agent", "name": "  "}),                         400),
        (json!({"role": "agent", "name": "a\u{7}"}),                     400),
        (json!({"role": "agent"}),                                       400),
        (json!({"name": "a"}),                                           400),
        (json!({"roles": [], "name": "a"}),                              400),
        (json!({"roles": ["agent", "agent"], "name": "a"}),              400),
        (json!({"roles": ["root"], "name": "a"}),                        400),
        (json!({"roles": "agent", "name": "a"}),                         400),
        (json!({"role": ["agent"], "name": "a"}),                        400),
        (json!({"role": "agent", "roles": ["agent"], "name": "a"}),      400),
        (json!({"roles": ["agent"], "name": "a"}),                       201),
        (json!({"roles": ["developer", "steward"], "name": "a"}),        201),
        (json!({"roles": ["agent", "auditor"], "name": "a"}),            201),
        (json!({"roles": ["agent", "approver"], "name": "a"}),           400),
        (json!({"roles": ["admin", "agent"], "name": "a"}),              400),
        (json!({"roles": ["agent", "operator"], "name": "a"}),           400),
        (json!({"roles": ["agent", "developer"], "name": "a"}),          400),
        (json!({"roles": ["agent", "steward"], "name": "a"}),            400),
        (json!({"role": "root", "name": "a"}),                           400),
        (json!({"role": "agent", "name": "a", "org": "other"}),          400),
        (json!({"role": "agent", "name": "a", "slack_user": "U012AB"}),  400),
        (json!({"role": "auditor", "name": "a", "slack_user": "U012AB"}), 400),
        (json!({"role": "approver", "name": "a", "slack_user": "@ann"}), 400),
        (json!({"role": "approver", "name": "a", "slack_user": "U012AB"}), 201),
        (json!({"role": "approver", "name": "b", "slack_user": "U012AB"}), 400),
        (json!({"role": "approver", "name": "c", "slack_user": null}),   201),
    ];
    for (request, status) in cases {
        let answer = door.post("/v1/keys", &boss, request.clone()).await;
        assert_eq!(answer.status, status, "{request} {}", answer.text());
    }
}

/// Payouts that others made at the bank are decided in the name of this agent, so whoever held a
/// key of that name could commit them.
#[tokio::test]
async fn no_agent_key_carries_the_name_of_the_banks_agent() {
    let door = Door::new().await;
    let boss = door.fixture.key(Role::Admin, "boss").await;
    for name in ["external", "External", "EXTERNAL"] {
        let request = json!({"role": "agent", "name": name});
        let refused = door.post("/v1/keys", &boss, request).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert_eq!(refused.json()["code"], "name_reserved");
        assert_eq!(refused.json()["recovery"], "fix_args");
    }
    let keys = door.get("/v1/keys", &boss).await;
    assert!(!keys.text().to_lowercase().contains("external"));
    // People are not agents, and other names only look alike.
    for (role, name) in [("auditor", "external"), ("agent", "external-1")] {
        let request = json!({"role": role, "name": name});
        let made = door.post("/v1/keys", &boss, request).await;
        assert_eq!(made.status, 201, "{role} {name}: {}", made.text());
        assert_ne!(made.json()["agent_id"], "external");
    }
}

#[tokio::test]
async fn a_slack_user_is_one_person_with_their_key() {
    let fixture = Fixture::new().await;
    let boss = admin(&OrgId::default());
    let broker = &fixture.broker;
    let made = broker
        .access
        .create_key(&boss, Role::Approver, "ann", Some("U1"))
        .await;
    let (info, text) = made.unwrap();
    let by_key = broker.access.authenticate(&text).await.unwrap();
    assert_eq!(
        broker
            .access
            .slack_principal(&OrgId::default(), "U1")
            .await
            .unwrap(),
        Some(by_key)
    );
    assert_eq!(
        broker
            .access
            .slack_principal(&OrgId::default(), "U2")
            .await
            .unwrap(),
        None
    );
    broker.access.revoke_key(&boss, &info.id).await.unwrap();
    assert_eq!(
        broker
            .access
            .slack_principal(&OrgId::default(), "U1")
            .await
            .unwrap(),
        None
    );
    let again = broker
        .access
        .create_key(&boss, Role::Approver, "ann", Some("U1"))
        .await;
    assert!(again.is_ok(), "a revoked key frees its Slack user");
}

#[tokio::test]
async fn another_organisations_keys_are_unknown() {
    let door = Door::new().await;
    let org: OrgId = "elsewhere".parse().unwrap();
    let stranger = door.fixture.key_in(&org, Role::Admin, "boss").await;
    let mine = door.fixture.key(Role::Agent, "payer").await;
    let id = mine.split('_').nth(1).unwrap();
    let foreign = door
        .ask("DELETE", &format!("/v1/keys/{id}"), &stranger, None)
        .await;
    let never = door
        .ask("DELETE", "/v1/keys/0000000000000000", &stranger, None)
        .await;
    assert_eq!(foreign.status, 404);
    assert_eq!(foreign.bytes, never.bytes);
    assert!(!door.get("/v1/keys", &stranger).await.text().contains(id));
    assert_eq!(door.get("/v1/proposals", &mine).await.status, 200);
    // What a stranger makes stays with the stranger.
    let request = json!({"role": "admin", "name": "more"});
    let made = door.post("/v1/keys", &stranger, request).await.json();
    let theirs = door.get("/v1/keys", made["key"].as_str().unwrap()).await;
    assert!(!theirs.text().contains(id));
}

#[tokio::test]
async fn every_wrong_key_gets_the_same_answer() {
    let door = Door::new().await;
    let good = door.fixture.key(Role::Agent, "payer").await;
    let (id, secret) = good[3..].split_once('_').unwrap();
    let flipped = if secret.starts_with('0') { '1' } else { '0' };
    let wrong = [
        String::new(),
        "x".to_owned(),
        format!("hk_{id}_{flipped}{}", &secret[1..]),
        format!("hk_0000000000000000_{secret}"),
        format!("hk_{id}_{}", &secret[..62]),
        format!("hk_{id}_{}", secret.to_uppercase()),
        format!("{good}0"),
    ];
    let mut answers = HashSet::new();
    for key in wrong {
        let answer = door.get("/v1/proposals", &key).await;
        assert_eq!(answer.status, 401, "{key}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"hundi\"");
        answers.insert(answer.bytes);
    }
    assert_eq!(answers.len(), 1);
    for header in [
        format!("Basic {good}"),
        good.clone(),
        format!("Bearer{good}"),
    ] {
        let request = axum::http::Request::get("/v1/proposals").header("authorization", &header);
        let answer = door
            .send(request.body(axum::body::Body::empty()).unwrap())
            .await;
        assert_eq!(answer.status, 401, "{header}");
    }
    let twice = axum::http::Request::get("/v1/proposals")
        .header("authorization", format!("Bearer {good}"))
        .header("authorization", "Bearer hk_other");
    let answer = door
        .send(twice.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status, 401, "two keys are none");
    let lower =
        axum::http::Request::get("/v1/proposals").header("authorization", format!("bearer {good}"));
    let answer = door
        .send(lower.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status, 200, "a scheme has no case");
}

#[tokio::test]
async fn a_key_ended_elsewhere_is_refused_within_a_second() {
    let here = Fixture::new().await;
    let store = Fixture::store(&here.folder).await;
    let elsewhere = broker(store, Arc::new(Provider::default()));
    let boss = admin(&OrgId::default());
    let made = elsewhere
        .access
        .create_key(&boss, Role::Agent, "payer", None)
        .await;
    let (info, text) = made.unwrap();
    assert!(
        here.broker.access.authenticate(&text).await.is_ok(),
        "made there, works here"
    );
    elsewhere.access.revoke_key(&boss, &info.id).await.unwrap();
    let refused = async {
        while here.broker.access.authenticate(&text).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(1), refused).await;
    assert!(in_time.is_ok());
}

#[tokio::test]
async fn two_first_starts_make_one_set_of_keys() {
    let one = Fixture::new().await;
    let two = broker(
        Fixture::store(&one.folder).await,
        Arc::new(Provider::default()),
    );
    let quiet = one.broker.access.first_agent().await.unwrap();
    assert_eq!(
        quiet.agent.unwrap().as_str(),
        "agent-1",
        "before there is a key"
    );
    assert!(one.broker.access.begin().await.unwrap());
    assert!(!two.access.begin().await.unwrap(), "somebody was first");
    let (first, second) = tokio::join!(
        one.broker.access.bootstrap_keys(),
        two.access.bootstrap_keys()
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.is_some() != second.is_some());
    let made = first.or(second).unwrap();
    assert_eq!(made.agent_id.as_str(), "agent-1");
    assert_eq!(
        one.broker.access.bootstrap_keys().await.unwrap(),
        None,
        "once per store"
    );
    let boss = one
        .broker
        .access
        .authenticate(&made.admin_key)
        .await
        .unwrap();
    assert_eq!(boss.roles, Role::Admin.into());
    assert_eq!(one.broker.access.keys(&boss).await.unwrap().len(), 2);

    let agent = one
        .broker
        .access
        .authenticate(&made.agent_key)
        .await
        .unwrap();
    assert_eq!(one.broker.access.first_agent().await.unwrap(), agent);
    let id = made.agent_key.split('_').nth(1).unwrap();
    one.broker.access.revoke_key(&boss, id).await.unwrap();
    let refused = one.broker.access.first_agent().await.unwrap_err();
    assert_eq!(refused.code(), "not_configured");
}
