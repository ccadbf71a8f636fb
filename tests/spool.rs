//! While the store cannot take them, refusals wait on disk; afterwards they are in the log, told
//! apart from what was written with what it tells.

use std::sync::Arc;

use hundi::broker::{Broker, CommitRequest, ProposeRequest, Trouble};
use hundi::connector::registry;
use hundi::domain::audit::verify::verify;
use hundi::domain::policy::Policy;
use hundi::domain::principal::Role;
use hundi::domain::proposal::State;
use hundi::store::RecordFilter;
use hundi::store::spool::Folder;
use serde_json::json;

use crate::support::fragile::Fragile;
use crate::support::house::{House, Plan, agent_of, person};

/// A broker whose store can be cut off, over the house's own.
fn cut_off(house: &House) -> (Broker, Arc<Fragile>) {
    let store = Fragile::over(house.store.clone());
    let mut ports = house.broker.ports().clone();
    ports.spool = Some(Arc::new(Folder::new(
        house.dir.path(),
        ports.ambient.clone(),
    )));
    ports.store = store.clone();
    let settings = house.broker.settings().clone();
    (Broker::new(ports, settings, registry::tools(true)), store)
}

#[tokio::test]
async fn refusals_that_could_not_be_stored_are_spooled_imported_once_and_told_apart() {
    let house = House::with(Plan::default()).await;
    house.policy("a", &Policy::default()).await;
    let allowed = house.transfer("a", 100).await;
    let (broker, store) = cut_off(&house);
    store.set_down(true);
    let who = agent_of("a");
    let propose = ProposeRequest {
        tool: "transfer_funds".to_owned(),
        arguments: json!({"amount": 7, "to": "acct_123"}),
        ..ProposeRequest::default()
    };
    let refused = broker.pay.propose(&who, propose).await;
    assert_eq!(refused.unwrap_err(), Trouble::StoreUnavailable);
    let commit = |token: &str| CommitRequest {
        proposal_id: allowed.proposal.id().to_string(),
        commit_token: token.to_owned(),
        tool: None,
        arguments: json!({"amount": 100, "to": "acct_123"}),
    };
    let token = allowed.token.as_ref().unwrap().text.clone();
    let refused = broker.pay.commit(&who, commit(&token)).await;
    assert_eq!(refused.unwrap_err(), Trouble::StoreUnavailable);
    // A forged token needs no store to be refused, and the refusal is not lost either.
    let forged = broker.pay.commit(&who, commit("v1.x.y.z")).await;
    assert!(
        matches!(forged, Ok(hundi::broker::Committed::Refused { .. })),
        "{forged:?}"
    );
    assert!(
        broker.audit.import_spool().await.is_err(),
        "not before the store answers"
    );

    store.set_down(false);
    assert_eq!(broker.audit.import_spool().await, Ok(3));
    assert_eq!(broker.audit.import_spool().await, Ok(0), "once");
    let filter = RecordFilter {
        limit: 50,
        ..RecordFilter::default()
    };
    let records = house.store.records(&filter).await.unwrap();
    let spooled = |kind: &str| {
        let found = records.iter().filter(|stored| stored.record.kind == kind);
        let marked = found.map(|stored| stored.record.detail["spooled"] == true);
        marked.collect::<Vec<_>>()
    };
    assert_eq!(spooled("propose_refused"), [true]);
    assert_eq!(
        spooled("proposed"),
        [false],
        "what was decided is not marked"
    );
    let told = records
        .iter()
        .filter(|stored| stored.record.detail["spooled"] == true);
    for stored in told {
        assert_eq!(stored.record.decision, "REJECTED");
        let text = serde_json::to_string(&stored.record).unwrap();
        assert!(!text.contains(&token), "no token is written down");
    }
    let stored = house.store.proposal(allowed.proposal.id()).await.unwrap();
    assert_eq!(
        stored.unwrap().state,
        State::Allowed,
        "and nothing else happened"
    );

    while broker.audit.seal().await.unwrap() > 0 {}
    let mut export = broker
        .audit
        .audit_export(&person(Role::Auditor))
        .await
        .unwrap();
    let mut text = String::new();
    while let Some(lines) = export.next().await.unwrap() {
        text.push_str(&lines);
    }
    let pin = broker.audit.audit_public_key().unwrap();
    assert!(verify(text.as_bytes(), &[pin]).unwrap().ok());
    assert!(text.contains("\"spooled\":true"));
}
