//! What proves afterwards: records are sealed soon, proofs hold, and who changes the store later
//! is found out and the record named.

use hundi::broker::Trouble;
use hundi::domain::audit::names::RecordKind;
use hundi::domain::audit::verify::{Damage, Report, verify};
use hundi::domain::audit::{PublicKey, record_line};
use hundi::domain::change::{Change, Record};
use hundi::domain::ids::OrgId;
use hundi::domain::merkle::{NodeHash, verify_consistency, verify_inclusion};
use hundi::domain::policy::Policy;
use hundi::domain::principal::{Principal, Role};
use hundi::store::RecordFilter;
use serde_json::json;
use sqlx::{Connection, Executor, SqliteConnection};

use crate::support::house::{House, Plan, START, agent_of, person};

fn auditor() -> Principal {
    person(Role::Auditor)
}

/// So many records of nothing in particular, in few writes.
async fn records(house: &House, org: &OrgId, count: usize) {
    for from in (0..count).step_by(500) {
        let records = (from..count.min(from + 500)).map(|n| {
            let mut record = Record::new(START, org, RecordKind::PolicySet, "key:1");
            record.detail = json!({"n": n});
            record
        });
        let change = Change::documents(vec![], vec![], records.collect(), vec![]);
        house.store.apply(change).await.unwrap();
    }
}

async fn sealed(house: &House) {
    while house.broker.audit.seal().await.unwrap() > 0 {}
}

async fn export(house: &House, who: &Principal) -> String {
    let mut export = house.broker.audit.audit_export(who).await.unwrap();
    let mut text = String::new();
    while let Some(lines) = export.next().await.unwrap() {
        text.push_str(&lines);
    }
    text
}

async fn check(house: &House) -> Report {
    let text = export(house, &auditor()).await;
    let pin = house.broker.audit.audit_public_key().unwrap();
    verify(text.as_bytes(), &[pin]).unwrap()
}

async fn tamper(house: &House, sql: &str) {
    let path = house.dir.path().join("hundi.db");
    let url = format!("sqlite://{}", path.display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let done = conn
        .execute(sqlx::AssertSqlSafe(sql.to_owned()))
        .await
        .unwrap();
    assert!(done.rows_affected() > 0, "{sql}");
    conn.close().await.unwrap();
}

#[tokio::test]
async fn an_untouched_log_verifies_at_every_size() {
    let house = House::new().await;
    let org = OrgId::default();
    let mut total = 0;
    for more in [1, 1, 253, 1, 1, 255, 2_500] {
        records(&house, &org, more).await;
        total += u64::try_from(more).unwrap();
        sealed(&house).await;
        let report = check(&house).await;
        assert_eq!(report.first_bad, None, "{total}");
        assert_eq!((report.records, report.pinned), (total, true));
    }
}

#[tokio::test]
async fn a_propose_and_its_commit_are_in_the_log() {
    let house = House::new().await;
    house.policy("agent-1", &Policy::default()).await;
    let proposed = house.transfer("agent-1", 100).await;
    let id = proposed.proposal.id();
    let request = hundi::broker::CommitRequest {
        proposal_id: id.to_string(),
        commit_token: "v1.forged".to_owned(),
        tool: None,
        arguments: json!({}),
    };
    let answer = house.broker.pay.commit(&agent_of("agent-1"), request).await;
    assert!(matches!(
        answer,
        Ok(hundi::broker::Committed::Refused { .. })
    ));
    sealed(&house).await;
    let text = export(&house, &auditor()).await;
    for part in [
        "\"kind\":\"proposed\"",
        "\"reason\":\"bad_signature\"",
        &id.to_string(),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(check(&house).await.ok());
}

#[tokio::test]
#[rustfmt::skip]
async fn whoever_changes_the_store_is_found_out() {
    let cases = [
        ("UPDATE records SET actor = 'key:evil' WHERE seq = 5",          Damage::Edited,    Some(5)),
        ("UPDATE records SET amount = 1 WHERE seq = 300",                Damage::Edited,    Some(300)),
        ("UPDATE records SET org = 'other' WHERE seq = 300",             Damage::Deleted,   Some(300)),
        ("DELETE FROM records WHERE seq = 256",                          Damage::Deleted,   Some(256)),
        ("DELETE FROM records WHERE seq = 600",                          Damage::Truncated, Some(600)),
        ("DELETE FROM records WHERE seq > 512",                          Damage::Truncated, Some(513)),
        ("UPDATE records SET seq = -seq WHERE seq IN (20)",              Damage::Deleted,   Some(20)),
        ("UPDATE records SET org = 'default' WHERE seq = 601",           Damage::Inserted,  Some(601)),
    ];
    for (sql, damage, seq) in cases {
        let house = House::new().await;
        records(&house, &OrgId::default(), 600).await;
        records(&house, &"other".parse().unwrap(), 1).await;
        records(&house, &OrgId::default(), if seq == Some(601) { 5 } else { 0 }).await;
        sealed(&house).await;
        assert!(check(&house).await.ok());
        tamper(&house, sql).await;
        let bad = check(&house).await.first_bad.unwrap_or_else(|| panic!("{sql}: not noticed"));
        assert_eq!((bad.damage, bad.seq), (damage, seq), "{sql}: {bad:?}");
    }
}

#[tokio::test]
async fn a_changed_log_is_never_signed_over() {
    let head = |body: &str| format!("UPDATE docs SET body_json = {body} WHERE kind = 'head'");
    for sql in [
        "DELETE FROM docs WHERE kind = 'head'".to_owned(),
        // Every trace of the log, so that it looks as if it had never begun.
        "DELETE FROM docs WHERE kind IN ('head', 'seal', 'tile')".to_owned(),
        head(r#"replace(body_json, '"tree_size":300', '"tree_size":299')"#),
        head("json_set(body_json, '$.leaves', '', '$.seqs', json('[]'))"),
        head(
            "json_set(body_json, '$.peaks', replace(json_extract(body_json, '$.peaks'), 'a', 'b'))",
        ),
    ] {
        let house = House::new().await;
        records(&house, &OrgId::default(), 300).await;
        sealed(&house).await;
        tamper(&house, &sql).await;
        records(&house, &OrgId::default(), 1).await;
        assert!(house.broker.audit.seal().await.is_err(), "{sql}");
    }
}

#[tokio::test]
async fn each_organisation_has_its_own_log() {
    let house = House::new().await;
    let other: OrgId = "other".parse().unwrap();
    for _ in 0..3 {
        records(&house, &OrgId::default(), 100).await;
        records(&house, &other, 50).await;
    }
    sealed(&house).await;
    let report = check(&house).await;
    assert!(report.ok() && report.records == 300);
    let theirs = Principal {
        org: other,
        ..auditor()
    };
    let text = export(&house, &theirs).await;
    assert!(!text.contains("\"org\":\"default\""));
    assert_eq!(verify(text.as_bytes(), &[]).unwrap().records, 150);
}

#[tokio::test]
async fn two_nodes_seal_every_record_once() {
    let house = House::new().await;
    let second = house.again(Plan::default()).await;
    for _ in 0..6 {
        records(&house, &OrgId::default(), 700).await;
        let (one, two) = tokio::join!(house.broker.audit.seal(), second.broker.audit.seal());
        one.unwrap();
        two.unwrap();
    }
    sealed(&house).await;
    let report = check(&second).await;
    assert_eq!((report.first_bad, report.records), (None, 4_200));
}

#[tokio::test]
async fn one_node_seals_and_another_follows_when_it_stops() {
    let house = House::new().await;
    let second = house.again(Plan::default()).await;
    let org = OrgId::default();
    for _ in 0..3 {
        records(&house, &org, 10).await;
        assert!(house.broker.audit.seal_in_turn().await.unwrap() >= 10);
        assert_eq!(second.broker.audit.seal_in_turn().await.unwrap(), 0);
        assert_eq!(house.broker.audit.seal_in_turn().await.unwrap(), 0);
    }
    // The first one stops, and the second has seen its last move.
    records(&house, &org, 10).await;
    assert_eq!(second.broker.audit.seal_in_turn().await.unwrap(), 10);
    // And comes back, where it finds the other at work.
    records(&house, &org, 10).await;
    assert_eq!(house.broker.audit.seal_in_turn().await.unwrap(), 0);
    assert_eq!(second.broker.audit.seal_in_turn().await.unwrap(), 10);
    let report = check(&house).await;
    assert_eq!(report.first_bad, None);
}

#[tokio::test]
async fn proofs_lead_to_the_signed_head() {
    let house = House::new().await;
    records(&house, &OrgId::default(), 700).await;
    sealed(&house).await;
    let older = house
        .broker
        .audit
        .audit_head(&auditor())
        .await
        .unwrap()
        .unwrap();
    records(&house, &OrgId::default(), 66_000).await;
    sealed(&house).await;
    let key: PublicKey = house.broker.audit.audit_public_key().unwrap();
    for seq in [1, 256, 257, 700, 65_536, 65_537, 66_700] {
        let proof = house
            .broker
            .audit
            .audit_inclusion(&auditor(), seq)
            .await
            .unwrap();
        assert!(proof.head.verifies(&key));
        let record = proof.record.unwrap();
        let leaf = NodeHash::leaf(record_line(record.seq, &record.record).as_bytes());
        let (size, root) = (proof.head.head.tree_size, proof.head.head.root_hash);
        assert!(
            verify_inclusion(leaf, proof.index, size, &proof.path, &root),
            "{seq}"
        );
    }
    let proof = house
        .broker
        .audit
        .audit_consistency(&auditor(), 700)
        .await
        .unwrap();
    assert_eq!(proof.from_root, older.head.root_hash);
    let newer = (proof.head.head.tree_size, &proof.head.head.root_hash);
    assert!(verify_consistency(
        (700, &older.head.root_hash),
        newer,
        &proof.path
    ));
    for wrong in [0, 66_701] {
        let refused = house
            .broker
            .audit
            .audit_consistency(&auditor(), wrong)
            .await;
        assert!(matches!(refused, Err(Trouble::InvalidRequest(_))));
    }
    let unknown = house.broker.audit.audit_inclusion(&auditor(), 66_701).await;
    assert_eq!(unknown.unwrap_err(), Trouble::NotFound("sealed record"));
}

#[tokio::test]
async fn an_agent_sees_neither_head_nor_export() {
    let house = House::new().await;
    let agent = agent_of("agent-1");
    let forbidden = Trouble::Forbidden {
        roles: Role::Agent.into(),
    };
    assert_eq!(
        house.broker.audit.audit_head(&agent).await,
        Err(forbidden.clone())
    );
    assert_eq!(
        house.broker.audit.audit_export(&agent).await.err(),
        Some(forbidden)
    );
}

#[tokio::test]
async fn what_is_written_is_sealed_in_the_next_turn() {
    let house = House::new().await;
    house.policy("agent-1", &Policy::default()).await;
    for amount in 1..20 {
        house.transfer("agent-1", amount).await;
    }
    let all = RecordFilter {
        after_seq: Some(0),
        limit: 500,
        ..RecordFilter::default()
    };
    let stored = house.store.records(&all).await.unwrap().len();
    assert_eq!(house.broker.audit.seal().await.unwrap(), stored);
    assert_eq!(house.broker.audit.seal().await.unwrap(), 0);
}

#[tokio::test]
async fn arguments_stay_out_of_the_log_where_an_operator_says_so() {
    let settings = hundi::broker::Settings {
        unrecorded: ["transfer_funds".to_owned()].into(),
        ..Default::default()
    };
    for (plan, recorded) in [
        (Plan::default(), true),
        (
            Plan {
                settings,
                ..Plan::default()
            },
            false,
        ),
    ] {
        let house = House::with(plan).await;
        house.policy("agent-1", &Policy::default()).await;
        let proposed = house.transfer("agent-1", 100).await;
        sealed(&house).await;
        let text = export(&house, &auditor()).await;
        assert_eq!(text.contains("acct_123"), recorded, "{text}");
        let hash = proposed.proposal.fixed.args_hash.to_string();
        assert!(text.contains(&hash), "the hash is always there");
        assert!(check(&house).await.ok());
    }
}
