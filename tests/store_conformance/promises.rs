//! The promises that concern proposals, nonces, keys and executions, and what every change keeps.

use std::sync::Arc;

use futures_util::future::join_all;
use hundi::domain::audit::names::RecordKind;
use hundi::domain::change::{Applied, BudgetMove, Change, Conflict, Guard, Record};
use hundi::domain::ids::{ArgsHash, ProposalId, ToolName};
use hundi::domain::money::{Currency, Effective, Money};
use hundi::domain::proposal::{Approval, State};
use hundi::domain::time::Timestamp;
use hundi::store::{
    ApplyError, LEASE_HORIZON_MS, Lately, ProposalFilter, RecordFilter, Same, Side, Standings,
    Store, StoredRecord,
};
use serde_json::json;

use super::Place;
use super::given::*;

/// The conflict that a change ran into.
pub async fn conflict(store: &dyn Store, change: Change) -> Conflict {
    match store.apply(change).await {
        Err(ApplyError::Conflict(conflict)) => conflict,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

pub async fn apply(store: &dyn Store, change: Change) -> Applied {
    store.apply(change).await.unwrap()
}

/// Every record, oldest first.
pub async fn all_records(store: &dyn Store) -> Vec<StoredRecord> {
    let filter = RecordFilter {
        after_seq: Some(0),
        limit: 10_000,
        ..RecordFilter::default()
    };
    store.records(&filter).await.unwrap()
}

pub async fn what_was_written_reads_back(place: &dyn Place) {
    let store = place.open().await;
    let new = proposal(1);
    apply(&*store, admit_with(&new, reserve(10_000, 10_000))).await;
    assert_eq!(store.proposal(id(1)).await.unwrap().unwrap(), new);
    let (change, claimed) = claim(&new);
    apply(&*store, change).await;
    assert_eq!(store.proposal(id(1)).await.unwrap().unwrap(), claimed);
    let (change, settled) = confirm(&claimed, 10_000);
    apply(&*store, change).await;
    assert_eq!(store.proposal(id(1)).await.unwrap().unwrap(), settled);
    assert_eq!(store.proposal(id(2)).await.unwrap(), None);
}

pub async fn a_refused_admission_leaves_no_trace(place: &dyn Place) {
    let store = place.open().await;
    let mut first = proposal(1);
    std::sync::Arc::make_mut(&mut first.fixed).idempotency_key = Some("k".into());
    apply(&*store, admit_with(&first, reserve(10_000, 15_000))).await;
    apply(&*store, docs(vec![write("p", Some(0), Some(1))])).await;
    let before = place.dump().await;

    let mut second = proposal(2);
    std::sync::Arc::make_mut(&mut second.fixed).idempotency_key = Some("k2".into());
    let mut same_key = second.clone();
    std::sync::Arc::make_mut(&mut same_key.fixed).idempotency_key = Some("k".into());
    let current = Guard {
        key: key("p"),
        version: 1,
    };
    let absent = Guard {
        key: key("p"),
        version: 0,
    };
    let fresh_write = || vec![write("q", Some(0), Some(1))];
    #[rustfmt::skip]
    let cases = [
        (&first,    reserve(1, 15_000),     &current, fresh_write(),                    Conflict::Stale),
        (&same_key, reserve(1, 15_000),     &current, fresh_write(),                    Conflict::KeyTaken(id(1))),
        (&second,   reserve(5_001, 15_000), &current, fresh_write(),                    Conflict::OverBudget { taken: 10_000, limit: 15_000 }),
        (&second,   reserve(1, 15_000),     &absent,  fresh_write(),                    Conflict::DocChanged(key("p"))),
        (&second,   reserve(1, 15_000),     &current, vec![write("p", Some(7), None)], Conflict::DocChanged(key("p"))),
    ];
    for (proposal, budget, guard, docs, expected) in cases {
        let record =
            Record::about(proposal, T0, RecordKind::Proposed, "key-1").with(json!({"x": 1}));
        let guards = vec![guard.clone()];
        let told = Some(notice(proposal));
        let change = Change::admit(proposal.clone(), budget, guards, docs, record, told);
        assert_eq!(conflict(&*store, change).await, expected);
        assert_eq!(place.dump().await, before, "{expected:?}");
    }
    let change = admit_with(&second, reserve(5_000, 15_000));
    apply(&*store, change).await;
}

pub async fn a_refused_claim_leaves_no_trace(place: &dyn Place) {
    let store = place.open().await;
    for n in [1, 2] {
        apply(&*store, admit(&proposal(n))).await;
    }
    apply(&*store, claim(&proposal(1)).0).await;
    apply(&*store, docs(vec![write("freeze", Some(0), Some(1))])).await;
    let before = place.dump().await;

    let mut newer = proposal(2);
    newer.version = 2;
    let unknown = proposal(3);
    let guard = Guard {
        key: key("freeze"),
        version: 0,
    };
    #[rustfmt::skip]
    let cases = [
        ("claimed already",   claim_with(&proposal(1), nonce(8), vec![]).0,      Conflict::Stale),
        ("a later version",   claim_with(&newer, nonce(8), vec![]).0,            Conflict::Stale),
        ("never admitted",    claim_with(&unknown, nonce(8), vec![]).0,          Conflict::Stale),
        ("burned elsewhere",  claim_with(&proposal(2), nonce(1), vec![]).0,      Conflict::NonceBurned),
        ("frozen meanwhile",  claim_with(&proposal(2), nonce(8), vec![guard]).0, Conflict::DocChanged(key("freeze"))),
    ];
    for (case, change, expected) in cases {
        assert_eq!(conflict(&*store, change).await, expected, "{case}");
        assert_eq!(place.dump().await, before, "{case}");
    }
    let (change, _) = claim_with(&proposal(2), nonce(8), vec![]);
    apply(&*store, change).await;
}

pub async fn conditions_are_checked_in_their_order(place: &dyn Place) {
    let store = place.open().await;
    let mut first = proposal(1);
    std::sync::Arc::make_mut(&mut first.fixed).idempotency_key = Some("k".into());
    apply(&*store, admit_with(&first, reserve(10_000, 10_000))).await;
    let guard = Guard {
        key: key("p"),
        version: 3,
    };
    let over = reserve(1, 10_000);
    let wrong_doc = || vec![write("q", Some(3), Some(1))];
    let change = |proposal: &_, guards| {
        let record = Record::about(proposal, T0, RecordKind::Proposed, "key-1");
        Change::admit(
            proposal.clone(),
            over.clone(),
            guards,
            wrong_doc(),
            record,
            None,
        )
    };
    let mut same_key = proposal(2);
    std::sync::Arc::make_mut(&mut same_key.fixed).idempotency_key = Some("k".into());
    let all_wrong = conflict(&*store, change(&first, vec![guard])).await;
    assert_eq!(all_wrong, Conflict::DocChanged(key("p")));
    let but_guard = conflict(&*store, change(&first, vec![])).await;
    assert_eq!(but_guard, Conflict::Stale);
    let but_id = conflict(&*store, change(&same_key, vec![])).await;
    assert_eq!(but_id, Conflict::KeyTaken(id(1)));
    let but_key = conflict(&*store, change(&proposal(2), vec![])).await;
    let over = Conflict::OverBudget {
        taken: 10_000,
        limit: 10_000,
    };
    assert_eq!(but_key, over);
}

pub async fn a_nonce_burns_once(place: &dyn Place) {
    let store = place.open().await;
    for n in 1..=3 {
        apply(&*store, admit(&proposal(n))).await;
    }
    apply(&*store, claim_with(&proposal(1), nonce(7), vec![]).0).await;
    let again = conflict(&*store, claim_with(&proposal(2), nonce(7), vec![]).0).await;
    assert_eq!(again, Conflict::NonceBurned);
    // Another expiry does not make it another nonce.
    let two = proposal(2);
    let later = claim_until(&two, nonce(7), T0.secs() + 9_999);
    assert_eq!(conflict(&*store, later).await, Conflict::NonceBurned);
}

pub async fn a_nonce_is_kept_until_its_time_and_then_pruned(place: &dyn Place) {
    let store = place.open().await;
    for n in 1..=4 {
        apply(&*store, admit(&proposal(n))).await;
    }
    for (n, expires_at) in [(1, 100), (2, 101), (3, 102)] {
        apply(&*store, claim_until(&proposal(n), nonce(n), expires_at)).await;
    }
    // Kept past expiry by the accepted skew of a minute.
    assert_eq!(store.prune_nonces(160, 10).await.unwrap(), 0);
    assert_eq!(store.prune_nonces(163, 2).await.unwrap(), 2);
    assert_eq!(store.prune_nonces(163, 2).await.unwrap(), 1);
    assert_eq!(store.prune_nonces(163, 2).await.unwrap(), 0);
    // Gone, but the proposal still cannot be claimed twice.
    let again = claim_until(&proposal(1), nonce(1), 100);
    assert_eq!(conflict(&*store, again).await, Conflict::Stale);
    apply(&*store, claim_until(&proposal(4), nonce(1), 100)).await;
}

pub async fn an_idempotency_key_names_one_proposal_for_ever(place: &dyn Place) {
    let store = place.open().await;
    let named = |n, agent_name: &str, org: &str| {
        let mut proposal = proposal(n);
        std::sync::Arc::make_mut(&mut proposal.fixed).agent = agent(agent_name);
        std::sync::Arc::make_mut(&mut proposal.fixed).org = org.parse().unwrap();
        std::sync::Arc::make_mut(&mut proposal.fixed).idempotency_key =
            Some("daily \"run\" é\u{1}".into());
        proposal
    };
    let first = named(1, "a", "default");
    let key = first.fixed.idempotency_key.clone().unwrap();
    apply(&*store, admit(&first)).await;
    let taken = conflict(&*store, admit(&named(2, "a", "default"))).await;
    assert_eq!(taken, Conflict::KeyTaken(id(1)));
    apply(&*store, admit(&named(3, "b", "default"))).await;
    apply(&*store, admit(&named(4, "a", "other"))).await;
    // Also after the first one ended.
    let (change, claimed) = claim(&first);
    apply(&*store, change).await;
    apply(&*store, refuse(&claimed).0).await;
    let taken = conflict(&*store, admit(&named(5, "a", "default"))).await;
    assert_eq!(taken, Conflict::KeyTaken(id(1)));

    let found = store.by_key(&org(), &agent("b"), &key).await.unwrap();
    assert_eq!(found.unwrap().id(), id(3));
    assert_eq!(store.by_key(&org(), &agent("c"), &key).await.unwrap(), None);
    assert_eq!(
        store.by_key(&org(), &agent("a"), "other").await.unwrap(),
        None
    );
}

pub async fn a_proposal_is_executed_once(place: &dyn Place) {
    let store = place.open().await;
    let new = proposal(1);
    apply(&*store, admit(&new)).await;
    let claims = (0..64).map(|n| {
        let (change, _) = claim_with(&new, nonce(100 + n), vec![]);
        store.apply(change)
    });
    let fates = join_all(claims).await;
    assert_eq!(fates.iter().filter(|fate| fate.is_ok()).count(), 1);
    let stale = Err(ApplyError::Conflict(Conflict::Stale));
    assert_eq!(fates.iter().filter(|fate| **fate == stale).count(), 63);
    let stored = store.proposal(id(1)).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.version), (State::Committing, 2));
}

pub async fn one_claim_repeated_applies_once(place: &dyn Place) {
    let store = place.open().await;
    apply(&*store, admit(&proposal(1))).await;
    let (change, _) = claim(&proposal(1));
    let fates = join_all((0..64).map(|_| store.apply(change.clone()))).await;
    assert_eq!(fates.iter().filter(|fate| fate.is_ok()).count(), 1);
    assert_eq!(all_records(&*store).await.len(), 2);
}

pub async fn a_stale_version_is_refused(place: &dyn Place) {
    let store = place.open().await;
    let mut held = proposal(1);
    held.state = State::Held;
    std::sync::Arc::make_mut(&mut held.fixed).approvals_needed = 2;
    apply(&*store, admit(&held)).await;
    let approve = |by: &str| {
        let approval = Approval {
            by: by.into(),
            at: T0,
            args_hash: held.fixed.args_hash,
            marks: vec!["asha".to_owned()],
            given: hundi::domain::proposal::Given::default(),
        };
        Change::approve(&held, approval, None).unwrap()
    };
    apply(&*store, approve("ann").0).await;
    // Made from the same version: the second one would forget the first.
    assert_eq!(conflict(&*store, approve("bob").0).await, Conflict::Stale);
    let stored = store.proposal(id(1)).await.unwrap().unwrap();
    assert_eq!(stored, approve("ann").1);
}

pub async fn a_conflict_does_not_fail_its_neighbours(place: &dyn Place) {
    let store = place.open().await;
    apply(&*store, admit(&proposal(0))).await;
    // Queued in one go, so that they share transactions: good, stale, good, over budget...
    let changes = (1..=200).map(|n| match n % 4 {
        0 => admit(&proposal(0)),
        2 => admit_with(&proposal(n), reserve(2, 1)),
        _ => admit_with(&proposal(n), reserve(1, 1_000)),
    });
    let fates = join_all(changes.map(|change| store.apply(change))).await;
    for (n, fate) in (1..=200).zip(fates) {
        match n % 4 {
            0 => assert_eq!(fate, Err(Conflict::Stale.into()), "{n}"),
            2 => assert!(
                matches!(fate, Err(ApplyError::Conflict(Conflict::OverBudget { .. }))),
                "{n}"
            ),
            _ => assert!(fate.is_ok(), "{n}: {fate:?}"),
        }
        let stored = store.proposal(id(n)).await.unwrap();
        assert_eq!(stored.is_some(), n % 4 == 1 || n % 4 == 3, "{n}");
    }
    assert_eq!(store.budget(&pot("a")).await.unwrap().pending, 100);
    assert_eq!(all_records(&*store).await.len(), 101);
}

pub async fn a_batch_sees_its_own_earlier_changes(place: &dyn Place) {
    let store = place.open().await;
    let new = proposal(1);
    let (claimed, after_claim) = claim(&new);
    let (confirmed, executed) = confirm(&after_claim, 9_000);
    let mut same_key = proposal(2);
    std::sync::Arc::make_mut(&mut same_key.fixed).idempotency_key = Some("k".into());
    let mut named = new.clone();
    std::sync::Arc::make_mut(&mut named.fixed).idempotency_key = Some("k".into());
    let changes = vec![
        (admit_with(&named, reserve(10_000, 10_000)), true),
        (admit(&same_key), false),
        (claimed.clone(), true),
        (claimed, false),
        (confirmed, true),
        (docs(vec![write("p", Some(0), Some(1))]), true),
        (docs(vec![write("p", Some(0), Some(2))]), false),
        (docs(vec![write("p", Some(1), Some(3))]), true),
        (admit_with(&proposal(3), reserve(1_001, 10_000)), false),
        (admit_with(&proposal(4), reserve(1_000, 10_000)), true),
    ];
    let (changes, expected): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
    let fates = join_all(changes.into_iter().map(|change| store.apply(change))).await;
    let applied: Vec<bool> = fates.iter().map(Result::is_ok).collect();
    assert_eq!(applied, expected, "{fates:?}");
    let stored = store.proposal(id(1)).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.version), (executed.state, 3));
    assert_eq!(stored.execution, executed.execution);
    let doc = store.doc(&key("p")).await.unwrap().unwrap();
    assert_eq!((doc.version, doc.body), (2, json!({"n": 3})));
    let budget = store.budget(&pot("a")).await.unwrap();
    assert_eq!((budget.pending, budget.posted), (1_000, 9_000));
}

pub async fn what_was_applied_survives_reopening(place: &dyn Place) {
    let (_, claimed) = claim(&proposal(1));
    {
        let store = place.open().await;
        apply(&*store, admit_with(&proposal(1), reserve(10_000, 10_000))).await;
        apply(&*store, claim(&proposal(1)).0).await;
        apply(&*store, docs(vec![write("p", None, Some(1))])).await;
    }
    let store = place.open().await;
    assert_eq!(store.proposal(id(1)).await.unwrap(), Some(claimed));
    assert_eq!(store.budget(&pot("a")).await.unwrap().pending, 10_000);
    assert_eq!(store.doc(&key("p")).await.unwrap().unwrap().version, 1);
    let again = claim_with(&proposal(1), nonce(1), vec![]).0;
    assert_eq!(conflict(&*store, again).await, Conflict::Stale);
    let applied = apply(&*store, Change::record(record("late"), None)).await;
    assert_eq!(applied.first_seq, 3);
}

pub async fn two_handles_agree(place: &dyn Place) {
    let stores = [place.open().await, place.open().await];
    for n in 0..20 {
        let new = proposal(n);
        apply(
            &*stores[(n % 2) as usize],
            admit_with(&new, reserve(1, 1_000)),
        )
        .await;
        // Each handle sees at once what the other has written.
        let other = &stores[((n + 1) % 2) as usize];
        assert_eq!(other.proposal(id(n)).await.unwrap(), Some(new.clone()));
        let claims = (0..8).map(|i| {
            let (change, _) = claim_with(&new, nonce(1_000 * n + i), vec![]);
            stores[(i % 2) as usize].apply(change)
        });
        let fates = join_all(claims).await;
        assert_eq!(fates.iter().filter(|fate| fate.is_ok()).count(), 1, "{n}");
    }
    let reservations = (100..150).map(|n| {
        let change = admit_with(&proposal(n), reserve(100, 1_020));
        stores[(n % 2) as usize].apply(change)
    });
    let fates = join_all(reservations).await;
    assert_eq!(fates.iter().filter(|fate| fate.is_ok()).count(), 10);
    let records = all_records(&*stores[0]).await;
    assert_eq!(records, all_records(&*stores[1]).await);
    assert_eq!(records.len(), 20 + 20 + 10);
}

pub async fn a_caller_that_goes_away_does_not_cancel_its_write(place: &dyn Place) {
    let store = place.open().await;
    let mut applying = Box::pin(store.apply(admit(&proposal(1))));
    // Polled once: in line, and not answered.
    assert!(futures_util::poll!(&mut applying).is_pending());
    drop(applying);
    // Behind it in the same line.
    apply(&*store, admit(&proposal(2))).await;
    assert!(store.proposal(id(1)).await.unwrap().is_some());
}

pub async fn proposals_are_listed_newest_first(place: &dyn Place) {
    let store = place.open().await;
    for n in [3, 1, 4, 2, 5] {
        let mut new = proposal(n);
        std::sync::Arc::make_mut(&mut new.fixed).agent = agent(if n == 4 { "b" } else { "a" });
        std::sync::Arc::make_mut(&mut new.fixed).org =
            if n == 5 { "other" } else { "default" }.parse().unwrap();
        std::sync::Arc::make_mut(&mut new.fixed).tool =
            if n == 2 { "noop" } else { "transfer_funds" }
                .parse()
                .unwrap();
        new.state = if n == 3 {
            State::Blocked
        } else {
            State::Allowed
        };
        apply(&*store, admit(&new)).await;
    }
    let all = || ProposalFilter {
        limit: 10,
        ..ProposalFilter::default()
    };
    let default_org = Some(org());
    #[rustfmt::skip]
    let cases = [
        (all(),                                                            vec![5, 4, 3, 2, 1]),
        (ProposalFilter { limit: 2, ..all() },                             vec![5, 4]),
        (ProposalFilter { before: Some(id(3)), ..all() },                  vec![2, 1]),
        (ProposalFilter { org: default_org.clone(), ..all() },             vec![4, 3, 2, 1]),
        (ProposalFilter { org: default_org, agent: Some(agent("a")), ..all() }, vec![3, 2, 1]),
        (ProposalFilter { agent: Some(agent("b")), ..all() },              vec![4]),
        (ProposalFilter { state: Some(State::Blocked), ..all() },          vec![3]),
        (ProposalFilter { state: Some(State::Allowed), ..all() },          vec![5, 4, 2, 1]),
        (ProposalFilter { state: Some(State::Executed), ..all() },         vec![]),
        (ProposalFilter { tool: Some("noop".into()), ..all() },            vec![2]),
    ];
    for (filter, expected) in cases {
        let found = store.proposals(&filter).await.unwrap();
        let expected: Vec<_> = expected.into_iter().map(id).collect();
        let found: Vec<_> = found.iter().map(|proposal| proposal.id()).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let agents = store.agents(&org()).await.unwrap();
    assert_eq!(agents, [agent("a"), agent("b")]);
    assert_eq!(store.agents(&"none".parse().unwrap()).await.unwrap(), []);
}

fn ids(proposals: &[hundi::domain::proposal::Proposal]) -> Vec<u32> {
    let number = |of| (0..100).find(|n| id(*n) == of).unwrap();
    proposals.iter().map(|found| number(found.id())).collect()
}

pub async fn what_lapsed_is_found_oldest_first(place: &dyn Place) {
    let store = place.open().await;
    // Proposal n lapses at T0 + 60 s + n.
    for n in [3, 1, 2, 4, 5] {
        let mut new = proposal(n);
        new.state = if n % 2 == 0 {
            State::Held
        } else {
            State::Allowed
        };
        apply(&*store, admit(&new)).await;
    }
    apply(&*store, claim(&proposal(3)).0).await;
    let mut blocked = proposal(6);
    blocked.state = State::Blocked;
    apply(&*store, admit(&blocked)).await;
    let lapsed = async |secs, limit| {
        let now = T0.plus_secs(secs);
        ids(&store.lapsed(now, limit).await.unwrap())
    };
    assert!(lapsed(60, 10).await.is_empty());
    assert_eq!(lapsed(61, 10).await, [1]);
    assert_eq!(lapsed(64, 10).await, [1, 2, 4]);
    assert_eq!(lapsed(99, 2).await, [1, 2]);
    assert_eq!(lapsed(99, 10).await, [1, 2, 4, 5]);
}

pub async fn what_is_unsettled_is_found_when_its_lease_ends(place: &dyn Place) {
    let store = place.open().await;
    assert_eq!(store.standings().await.unwrap(), Standings::default());
    let mut claimed = Vec::new();
    for n in 1..=4 {
        apply(&*store, admit(&proposal(n))).await;
        let (change, next) = claim(&proposal(n));
        apply(&*store, change).await;
        claimed.push(next);
    }
    // 1 stays committing until T0 + 10; the others are asked about at T0 + 5, later, or done.
    let ask = async |claimed: &_, ask_at| {
        let (change, next) = Change::doubt(claimed, "lost", T0, ask_at, None).unwrap();
        apply(&*store, change).await;
        next
    };
    ask(&claimed[1], T0.plus_secs(5)).await;
    let later = ask(&claimed[2], T0.plus_secs(20)).await;
    apply(&*store, confirm(&claimed[3], 1).0).await;
    let due = async |now: Timestamp, limit| ids(&store.unsettled(now, limit).await.unwrap());
    assert!(due(T0.plus_secs(4), 10).await.is_empty());
    assert_eq!(due(T0.plus_secs(5), 10).await, [2]);
    assert_eq!(due(T0.plus_secs(10), 10).await, [2, 1]);
    assert_eq!(due(T0.plus_secs(20), 2).await, [2, 1]);
    assert_eq!(due(T0.plus_secs(20), 10).await, [2, 1, 3]);
    // A lease from before the clock stepped back holds nobody off.
    let horizon = T0.plus_secs(20).plus_millis(-LEASE_HORIZON_MS);
    assert!(due(horizon, 10).await.is_empty());
    assert_eq!(due(horizon.plus_millis(-1), 10).await, [3]);
    // Taken over, it is hidden again.
    let (change, _) = Change::lease(&later, T0.plus_secs(50), T0, false).unwrap();
    apply(&*store, change).await;
    assert_eq!(due(T0.plus_secs(20), 10).await, [2, 1]);

    let mut held = proposal(9);
    held.state = State::Held;
    apply(&*store, admit(&held)).await;
    let expected = Standings {
        held: 1,
        unsettled: 3,
        oldest_unsettled: Some(T0.plus_secs(1)),
    };
    assert_eq!(store.standings().await.unwrap(), expected);
}

pub async fn the_store_answers_a_ping(place: &dyn Place) {
    let store = place.open().await;
    store.ping().await.unwrap();
    apply(&*store, admit(&proposal(1))).await;
    store.ping().await.unwrap();
    let store: Arc<dyn Store> = place.open().await;
    store.ping().await.unwrap();
}

pub async fn history_is_what_was_really_paid(place: &dyn Place) {
    let store = place.open().await;
    #[rustfmt::skip]
    let cases = [
        (1, State::Allowed),  (2, State::Held),    (3, State::Blocked),
        (4, State::Rejected), (5, State::Expired), (6, State::Cancelled),
    ];
    for (n, state) in cases {
        let mut new = proposal(n);
        new.state = state;
        apply(&*store, admit(&new)).await;
    }
    for n in [7, 8, 9, 12] {
        apply(&*store, admit(&proposal(n))).await;
        let (change, claimed) = claim(&proposal(n));
        apply(&*store, change).await;
        match n {
            7 | 12 => apply(&*store, confirm(&claimed, 10_000).0).await,
            8 => apply(&*store, refuse(&claimed).0).await,
            _ => Applied { first_seq: 0 },
        };
    }
    let mut query = proposal(10);
    std::sync::Arc::make_mut(&mut query.fixed).effective = hundi::domain::money::Effective::Nothing;
    apply(&*store, admit(&query)).await;
    let mut other = proposal(11);
    std::sync::Arc::make_mut(&mut other.fixed).agent = agent("b");
    apply(&*store, admit(&other)).await;

    let history = async |limit| {
        let found = store.history(&org(), &agent("a"), limit).await.unwrap();
        let millis = |at: Timestamp| at.millis() - T0.millis();
        found.iter().map(|paid| millis(paid.at)).collect::<Vec<_>>()
    };
    assert_eq!(history(10).await, [12, 7]);
    assert_eq!(history(1).await, [12]);
    let newest = store
        .history(&org(), &agent("a"), 1)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(newest.minor, 10_000);
    assert_eq!(newest.payee.as_deref(), Some("acct_123"));
    assert_eq!(newest.vendor.as_deref(), Some("Acme"));
}

pub async fn what_was_paid_lately_is_found_and_added_up(place: &dyn Place) {
    let store = place.open().await;
    let minutes = |n: i64| T0.plus_secs(60 * n);
    let made = |n: u8, minute: i64, by: &str, to: &str, amount: i64| {
        let mut new = proposal(n.into());
        let fixed = std::sync::Arc::make_mut(&mut new.fixed);
        fixed.created_at = minutes(minute);
        fixed.id = ProposalId::at(minutes(minute), [n; 10]);
        fixed.agent = agent(by);
        fixed.payee.account = Some(to.to_owned());
        fixed.effective = Effective::Amount(Money {
            minor: amount,
            currency: Currency::INR,
        });
        new
    };
    // Held and allowed ones count until they are settled, however old; executed ones if they were
    // asked for or sent in the window; what was undone does not.
    let all = [
        (made(1, 0, "a", "x", 1), "executed"),
        (made(2, 1, "a", "x", 20), "allowed"),
        (made(3, 50, "a", "x", 300), "executed"),
        (made(4, 51, "b", "x", 4_000), "executed"),
        (made(5, 52, "a", "y", 50_000), "doubt"),
        (made(6, 53, "a", "x", 600_000), "failed"),
        (made(7, 54, "a", "x", 300), "allowed"),
    ];
    for (new, ends) in &all {
        let reserve = BudgetMove::Reserve {
            pot: pot(new.fixed.agent.as_str()),
            amount: new.fixed.effective.minor(),
            limit: None,
        };
        apply(&*store, admit_with(new, Some(reserve))).await;
        if *ends != "allowed" {
            let (change, claimed) = claim(new);
            apply(&*store, change).await;
            match *ends {
                "executed" => {
                    apply(&*store, confirm(&claimed, new.fixed.effective.minor()).0).await;
                }
                "failed" => {
                    apply(&*store, refuse(&claimed).0).await;
                }
                _ => {}
            }
        }
    }
    let lately = |of: Side| Lately {
        org: org(),
        of,
        currency: Currency::INR,
        since: minutes(40),
        oldest: T0,
    };
    let (a, x) = (Side::Agent(agent("a")), Side::Payee(vec!["x".to_owned()]));
    let sum = async |of: &Side| store.sum_lately(&lately(of.clone())).await.unwrap();
    assert_eq!(sum(&a).await, 20 + 300 + 50_000 + 300);
    assert_eq!(sum(&x).await, 20 + 300 + 4_000 + 300);
    assert_eq!(sum(&Side::Payee(vec!["nobody".to_owned()])).await, 0);
    let either = Side::Payee(vec!["y".to_owned(), "x".to_owned()]);
    assert_eq!(sum(&either).await, 20 + 300 + 4_000 + 300 + 50_000);
    let sent = Lately {
        since: T0.plus_secs(1),
        ..lately(a.clone())
    };
    let all_of_a = sum(&a).await + 1;
    assert_eq!(
        store.sum_lately(&sent).await.unwrap(),
        all_of_a,
        "sent in it"
    );
    let dollars = Lately {
        currency: Currency::parse("USD").unwrap(),
        ..lately(a.clone())
    };
    assert_eq!(store.sum_lately(&dollars).await.unwrap(), 0);
    let same = async |of: &Side, amount, call: Option<(ToolName, ArgsHash)>| {
        let same = Same { amount, call };
        let found = store.same_lately(&lately(of.clone()), &same).await;
        found.unwrap().map(|found| found.proposal.unwrap())
    };
    assert_eq!(same(&x, 300, None).await, Some(all[2].0.id()), "the first");
    assert_eq!(same(&x, 1, None).await, None, "long ago");
    assert_eq!(same(&x, 600_000, None).await, None, "failed");
    let fixed = &all[2].0.fixed;
    let call = Some((fixed.tool.clone(), fixed.args_hash));
    assert_eq!(same(&a, 300, call).await, Some(fixed.id));
    let other = Some(("other".parse().unwrap(), fixed.args_hash));
    assert_eq!(same(&a, 300, other).await, None);
}

pub async fn a_budget_move_without_money_is_harmless(place: &dyn Place) {
    let store = place.open().await;
    apply(&*store, admit(&proposal(1))).await;
    let (change, claimed) = claim(&proposal(1));
    apply(&*store, change).await;
    // Void and post of what was never reserved.
    apply(&*store, refuse(&claimed).0).await;
    assert_eq!(store.budget(&pot("a")).await.unwrap(), Default::default());
    let unlimited = BudgetMove::Reserve {
        pot: pot("a"),
        amount: i64::MAX,
        limit: None,
    };
    apply(&*store, admit_with(&proposal(2), Some(unlimited.clone()))).await;
    // Books without a limit end where the integers do, and never wrap.
    let over = conflict(&*store, admit_with(&proposal(3), reserve(1, i64::MAX))).await;
    assert!(matches!(
        over,
        Conflict::OverBudget {
            taken: i64::MAX,
            ..
        }
    ));
    let over = conflict(&*store, admit_with(&proposal(3), Some(unlimited))).await;
    assert!(matches!(
        over,
        Conflict::OverBudget {
            taken: i64::MAX,
            ..
        }
    ));
}
