//! The promises that concern budgets, documents, records and the outbox.

use futures_util::future::join_all;
use hundi::domain::audit::names::{Decision, RecordKind};
use hundi::domain::change::{BudgetMove, Change, Conflict, DocKey, DocWrite, Guard, Pot, Record};
use hundi::domain::document::NEVER_CACHED;
use hundi::domain::ids::ProposalId;
use hundi::domain::money::Currency;
use hundi::domain::notice::{Notice, NoticeKind};
use hundi::domain::proposal::{Ending, Proposal, State};
use hundi::domain::retention::Old;
use hundi::domain::time::Day;
use hundi::store::{Budget, RecordFilter, Store};
use serde_json::{Value, json};

use super::Place;
use super::given::*;
use super::promises::{all_records, apply, conflict};

async fn books(store: &dyn Store) -> (i64, i64) {
    let Budget { pending, posted } = store.budget(&pot("a")).await.unwrap();
    (pending, posted)
}

async fn claimed(store: &dyn Store, n: u32, amount: i64) -> Proposal {
    apply(store, admit_with(&proposal(n), reserve(amount, 100_000))).await;
    let (change, next) = claim(&proposal(n));
    apply(store, change).await;
    next
}

fn cancel(proposal: &Proposal) -> Change {
    let ending = Ending {
        by: "key-1".into(),
        at: T0,
        reason: "changed my mind".into(),
    };
    Change::cancel(proposal, ending, None).unwrap().0
}

pub async fn a_budget_compares_strictly(place: &dyn Place) {
    let store = place.open().await;
    apply(&*store, admit_with(&proposal(1), reserve(99, 100))).await;
    let over = Conflict::OverBudget {
        taken: 99,
        limit: 100,
    };
    let refused = conflict(&*store, admit_with(&proposal(2), reserve(2, 100))).await;
    assert_eq!(refused, over);
    apply(&*store, admit_with(&proposal(2), reserve(1, 100))).await;
    assert_eq!(books(&*store).await, (100, 0));
    // What is posted counts like what is pending.
    let (change, next) = claim(&proposal(1));
    apply(&*store, change).await;
    apply(&*store, confirm(&next, 99).0).await;
    assert_eq!(books(&*store).await, (1, 99));
    conflict(&*store, admit_with(&proposal(3), reserve(1, 100))).await;
    // A later, wider limit counts from then on.
    apply(&*store, admit_with(&proposal(3), reserve(1, 101))).await;
}

pub async fn fifty_callers_share_a_budget_for_ten(place: &dyn Place) {
    let store = place.open().await;
    let changes = (0..50).map(|n| admit_with(&proposal(n), reserve(10_000, 100_000)));
    let fates = join_all(changes.map(|change| store.apply(change))).await;
    assert_eq!(fates.iter().filter(|fate| fate.is_ok()).count(), 10);
    assert_eq!(books(&*store).await, (100_000, 0));
}

/// A batch takes 256 changes: more rows of a kind than one statement writes.
pub async fn three_hundred_callers_are_all_written(place: &dyn Place) {
    let store = place.open().await;
    let admitted = (0..300).map(|n| store.apply(admit_with(&proposal(n), reserve(1, 300))));
    for fate in join_all(admitted).await {
        fate.unwrap();
    }
    assert_eq!(books(&*store).await, (300, 0));
    let (changes, moved): (Vec<_>, Vec<_>) = (0..300).map(|n| claim(&proposal(n))).unzip();
    for fate in join_all(changes.into_iter().map(|change| store.apply(change))).await {
        fate.unwrap();
    }
    for proposal in moved {
        let stored = store.proposal(proposal.id()).await.unwrap();
        assert_eq!(stored.as_ref(), Some(&proposal));
    }
    assert_eq!(all_records(&*store).await.len(), 600);
}

pub async fn pots_are_kept_apart(place: &dyn Place) {
    let store = place.open().await;
    let base = pot("a");
    let pots = [
        base.clone(),
        pot("b"),
        Pot {
            org: "other".parse().unwrap(),
            ..base.clone()
        },
        Pot {
            day: Day::from_number(DAY.number() + 1),
            ..base.clone()
        },
        Pot {
            currency: Currency::parse("USD").unwrap(),
            ..base
        },
    ];
    for (n, pot) in (1..).zip(&pots) {
        let reserve = BudgetMove::Reserve {
            pot: pot.clone(),
            amount: i64::from(n),
            limit: Some(5),
        };
        apply(&*store, admit_with(&proposal(n), Some(reserve))).await;
    }
    for (n, pot) in (1..).zip(&pots) {
        let expected = Budget {
            pending: n,
            posted: 0,
        };
        assert_eq!(store.budget(pot).await.unwrap(), expected, "{pot:?}");
    }
}

pub async fn a_settlement_posts_what_was_settled(place: &dyn Place) {
    let store = place.open().await;
    let one = claimed(&*store, 1, 10_000).await;
    let two = claimed(&*store, 2, 500).await;
    assert_eq!(books(&*store).await, (10_500, 0));
    apply(&*store, confirm(&one, 9_000).0).await;
    assert_eq!(books(&*store).await, (500, 9_000));
    // More than was reserved: the books follow the money.
    apply(&*store, confirm(&two, 700).0).await;
    assert_eq!(books(&*store).await, (0, 9_700));
}

pub async fn a_failure_or_an_end_gives_back_what_was_reserved(place: &dyn Place) {
    let store = place.open().await;
    let one = claimed(&*store, 1, 10_000).await;
    apply(&*store, admit_with(&proposal(2), reserve(500, 100_000))).await;
    apply(&*store, refuse(&one).0).await;
    assert_eq!(books(&*store).await, (500, 0));
    apply(&*store, cancel(&proposal(2))).await;
    assert_eq!(books(&*store).await, (0, 0));
    // Once only, whoever repeats it.
    conflict(&*store, refuse(&one).0).await;
    conflict(&*store, cancel(&proposal(2))).await;
    assert_eq!(books(&*store).await, (0, 0));
}

pub async fn a_reversal_gives_back_what_was_posted_once(place: &dyn Place) {
    let store = place.open().await;
    let one = claimed(&*store, 1, 10_000).await;
    let (change, executed) = confirm(&one, 9_000);
    apply(&*store, change).await;
    let reverse = |of: &_| Change::take_back(of, receipt(None), T0, "razorpay", None).unwrap();
    let (change, reversed) = reverse(&executed);
    apply(&*store, change.clone()).await;
    assert_eq!(books(&*store).await, (0, 0));
    assert_eq!(conflict(&*store, change).await, Conflict::Stale);
    // A void of what is void already, forced past the version by other evidence.
    let (change, contradicted) = Change::contradict(
        &reversed,
        json!({"x": 1}),
        T0,
        "razorpay",
        notice(&reversed),
    );
    apply(&*store, change).await;
    assert_eq!(books(&*store).await, (0, 0));
    let stored = store.proposal(id(1)).await.unwrap();
    assert_eq!(stored, Some(contradicted));
}

pub async fn the_day_that_reserved_gets_it_back(place: &dyn Place) {
    let store = place.open().await;
    let yesterday = Pot {
        day: Day::from_number(DAY.number() - 1),
        ..pot("a")
    };
    let held = BudgetMove::Reserve {
        pot: yesterday.clone(),
        amount: 700,
        limit: Some(1_000),
    };
    apply(&*store, admit_with(&proposal(1), Some(held))).await;
    apply(&*store, admit_with(&proposal(2), reserve(300, 1_000))).await;
    apply(&*store, cancel(&proposal(1))).await;
    assert_eq!(store.budget(&yesterday).await.unwrap(), Budget::default());
    assert_eq!(books(&*store).await, (300, 0));
}

pub async fn a_document_is_written_from_the_version_read(place: &dyn Place) {
    let store = place.open().await;
    let changed = Conflict::DocChanged(key("p"));
    assert_eq!(store.doc(&key("p")).await.unwrap(), None);
    assert_eq!(
        conflict(&*store, docs(vec![write("p", Some(1), Some(1))])).await,
        changed
    );
    apply(&*store, docs(vec![write("p", Some(0), Some(1))])).await;
    assert_eq!(
        conflict(&*store, docs(vec![write("p", Some(0), Some(2))])).await,
        changed
    );
    apply(&*store, docs(vec![write("p", Some(1), Some(2))])).await;
    assert_eq!(
        conflict(&*store, docs(vec![write("p", Some(1), Some(3))])).await,
        changed
    );
    // Whatever is there.
    apply(
        &*store,
        docs(vec![write("p", None, Some(4)), write("q", None, Some(5))]),
    )
    .await;
    let doc = store.doc(&key("p")).await.unwrap().unwrap();
    assert_eq!(
        (doc.key, doc.version, doc.body),
        (key("p"), 3, json!({"n": 4}))
    );
    assert_eq!(store.doc(&key("q")).await.unwrap().unwrap().version, 1);
}

pub async fn a_document_is_made_once_by_racing_callers(place: &dyn Place) {
    let store = place.open().await;
    let writes = (0..40).map(|n| store.apply(docs(vec![write("p", Some(0), Some(n))])));
    let fates = join_all(writes).await;
    assert_eq!(fates.iter().filter(|fate| fate.is_ok()).count(), 1);
}

pub async fn a_deleted_document_is_absent_and_its_version_never_returns(place: &dyn Place) {
    let store = place.open().await;
    let guarded = |version| {
        let guard = Guard {
            key: key("p"),
            version,
        };
        Change::documents(vec![write("q", None, Some(1))], vec![guard], vec![], vec![])
    };
    apply(&*store, guarded(0)).await;
    apply(&*store, docs(vec![write("p", Some(0), Some(1))])).await;
    apply(&*store, guarded(1)).await;
    apply(&*store, docs(vec![write("p", Some(1), None)])).await;
    assert_eq!(store.doc(&key("p")).await.unwrap(), None);
    assert_eq!(
        conflict(&*store, guarded(1)).await,
        Conflict::DocChanged(key("p"))
    );
    apply(&*store, guarded(0)).await;
    // Deleting what is gone changes nothing.
    apply(
        &*store,
        docs(vec![write("p", Some(0), None), write("r", None, None)]),
    )
    .await;
    apply(&*store, docs(vec![write("p", Some(0), Some(1))])).await;
    let doc = store.doc(&key("p")).await.unwrap().unwrap();
    assert!(doc.version > 1, "a guard on version 1 must not hold again");
    assert_eq!(
        conflict(&*store, guarded(1)).await,
        Conflict::DocChanged(key("p"))
    );
    let stale = docs(vec![write("p", Some(1), Some(9))]);
    assert_eq!(
        conflict(&*store, stale).await,
        Conflict::DocChanged(key("p"))
    );
}

pub async fn documents_are_listed_by_kind(place: &dyn Place) {
    let store = place.open().await;
    let mut other = write("z", None, Some(1));
    other.key.org = "other".parse().unwrap();
    let mut kind = write("k", None, Some(1));
    kind.key.kind = "key".into();
    let writes = vec![
        write("b", None, Some(1)),
        write("a", None, Some(2)),
        other,
        kind,
    ];
    apply(&*store, docs(writes)).await;
    apply(
        &*store,
        docs(vec![write("c", None, Some(1)), write("b", None, None)]),
    )
    .await;
    let ids = async |org: Option<&_>| {
        let found = store.docs("policy", org).await.unwrap();
        found.into_iter().map(|doc| doc.key.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(Some(&org())).await, ["a", "c"]);
    assert_eq!(ids(None).await, ["a", "c", "z"]);
    assert_eq!(store.docs("none", None).await.unwrap(), []);
}

pub async fn the_epoch_rises_when_a_cached_document_is_written(place: &dyn Place) {
    let store = place.open().await;
    let other = place.open().await;
    let mut last = store.docs_epoch().await.unwrap();
    for body in [Some(1), Some(2), None] {
        apply(&*store, docs(vec![write("p", None, body)])).await;
        let now = other.docs_epoch().await.unwrap();
        assert!(now > last, "{body:?}");
        last = now;
    }
    for kind in NEVER_CACHED {
        let mut uncached = write("event-1", Some(0), Some(1));
        uncached.key.kind = (*kind).into();
        apply(&*store, docs(vec![uncached])).await;
    }
    apply(&*store, admit(&proposal(1))).await;
    assert_eq!(store.docs_epoch().await.unwrap(), last);
}

pub async fn records_get_rising_numbers(place: &dyn Place) {
    let store = place.open().await;
    let batch = |n: usize| {
        let records = (0..n).map(|i| record(&format!("r{i}"))).collect();
        Change::documents(vec![], vec![], records, vec![])
    };
    assert_eq!(apply(&*store, batch(0)).await.first_seq, 0);
    let first = apply(&*store, batch(3)).await.first_seq;
    let next = apply(&*store, batch(1)).await.first_seq;
    assert!(first > 0 && next > first + 2);
    let found = all_records(&*store).await;
    let kinds: Vec<&str> = found.iter().map(|r| r.record.kind.name()).collect();
    assert_eq!(kinds, ["r0", "r1", "r2", "r0"]);
    assert_eq!(found[0].seq, first);
    assert_eq!(found[3].seq, next);

    // Many at once: no number twice, and each caller is told its own.
    let fates = join_all((0..100).map(|n| {
        let mut record = record("many");
        record.detail = json!({"n": n});
        store.apply(Change::record(record, None))
    }))
    .await;
    let found = all_records(&*store).await;
    assert!(found.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    for (n, fate) in fates.into_iter().enumerate() {
        let seq = fate.unwrap().first_seq;
        let stored = found.iter().find(|stored| stored.seq == seq).unwrap();
        assert_eq!(stored.record.detail, json!({"n": n}));
    }
}

pub async fn a_record_reads_back_whole(place: &dyn Place) {
    let store = place.open().await;
    let full = Record {
        payout: Some("pout_1".into()),
        detail: json!({"text": "é\u{0}\" 💸", "n": 0.1, "list": [null, 9_007_199_254_740_991_i64]}),
        ..Record::about(&proposal(1), T0, RecordKind::Proposed, "key-1")
            .deciding(Decision::Approved, "POLICY_OK")
    };
    let bare = record("of_another_version");
    let records = vec![full.clone(), bare.clone()];
    apply(&*store, Change::documents(vec![], vec![], records, vec![])).await;
    let found = all_records(&*store).await;
    let found: Vec<Record> = found.into_iter().map(|stored| stored.record).collect();
    assert_eq!(found, [full, bare]);
}

pub async fn records_are_found_by_each_filter(place: &dyn Place) {
    let store = place.open().await;
    let about = |n: u32, kind| Record::about(&proposal(n), T0, kind, "x");
    let records = vec![
        about(1, RecordKind::Proposed).deciding(Decision::Approved, "POLICY_OK"),
        Record {
            org: "other".parse().unwrap(),
            ..about(1, RecordKind::Claimed)
        },
        Record {
            payout: Some("pout_1".into()),
            at: T0.plus_secs(5),
            ..about(1, RecordKind::Executed)
        },
        Record {
            agent: Some(agent("b")),
            tool: Some("noop".parse().unwrap()),
            at: T0.plus_secs(9),
            ..about(2, RecordKind::Proposed).deciding(Decision::Held, "frozen")
        },
        record("webhook"),
    ];
    let change = Change::documents(vec![], vec![], records, vec![]);
    let first = apply(&*store, change).await.first_seq;
    let all = || RecordFilter {
        limit: 10,
        ..RecordFilter::default()
    };
    let (org, b) = (Some(org()), Some(agent("b")));
    let (late, early) = (Some(T0.plus_secs(5)), Some(T0.plus_secs(5)));
    #[rustfmt::skip]
    let cases: [(RecordFilter, &[i64]); 15] = [
        (all(),                                                     &[4, 3, 2, 1, 0]),
        (RecordFilter { limit: 2, ..all() },                        &[4, 3]),
        (RecordFilter { after_seq: Some(0), ..all() },              &[0, 1, 2, 3, 4]),
        (RecordFilter { after_seq: Some(first + 1), ..all() },      &[2, 3, 4]),
        (RecordFilter { after_seq: Some(first), limit: 1, ..all() }, &[1]),
        (RecordFilter { org, ..all() },                             &[4, 3, 2, 0]),
        (RecordFilter { agent: b, ..all() },                        &[3]),
        (RecordFilter { proposal: Some(id(1)), ..all() },           &[2, 1, 0]),
        (RecordFilter { payout: Some("pout_1".into()), ..all() },   &[2]),
        (RecordFilter { webhooks_only: true, ..all() },             &[4]),
        (RecordFilter { decision: Some(Decision::Held), ..all() },   &[3]),
        (RecordFilter { tool: Some("noop".into()), ..all() },       &[3]),
        (RecordFilter { since: late, ..all() },                     &[3, 2]),
        (RecordFilter { until: early, ..all() },                    &[4, 1, 0]),
        (RecordFilter { proposal: Some(id(9)), ..all() },           &[]),
    ];
    for (filter, expected) in cases {
        let found = store.records(&filter).await.unwrap();
        let found: Vec<i64> = found.iter().map(|stored| stored.seq - first).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

pub async fn a_message_waits_until_it_is_delivered(place: &dyn Place) {
    let store = place.open().await;
    let told = |n| Change::record(record("held"), Some(notice(&proposal(n))));
    for n in 1..=3 {
        apply(&*store, told(n)).await;
    }
    let take = async |at: i64, hidden: i64, limit| {
        let taken = store.take_notices(T0.plus_secs(at), T0.plus_secs(hidden), limit);
        let taken = taken.await.unwrap().into_iter();
        let seen: Vec<(i64, u32, Option<ProposalId>)> = taken
            .map(|waiting| (waiting.id, waiting.attempts, waiting.notice.proposal))
            .collect();
        seen
    };
    let first = take(0, 30, 2).await;
    let subjects: Vec<_> = first
        .iter()
        .map(|(_, tries, about)| (*tries, *about))
        .collect();
    assert_eq!(subjects, [(0, Some(id(1))), (0, Some(id(2)))]);
    // Hidden from everybody else while they are being delivered.
    let rest = take(0, 30, 10).await;
    assert_eq!(rest.len(), 1);
    assert_eq!(take(29, 60, 10).await, []);
    store.notice_done(first[0].0, None).await.unwrap();
    store
        .notice_done(first[1].0, Some(T0.plus_secs(20)))
        .await
        .unwrap();
    assert_eq!(take(19, 60, 10).await, []);
    assert_eq!(take(20, 60, 10).await, [(first[1].0, 1, Some(id(2)))]);
    // The one whose deliverer died comes back by itself.
    assert_eq!(take(30, 60, 10).await, [(rest[0].0, 1, Some(id(3)))]);
    // Done is done, also twice, and for what never was.
    store.notice_done(first[0].0, None).await.unwrap();
    store.notice_done(9_999, None).await.unwrap();
    let whole = store
        .take_notices(T0.plus_secs(60), T0.plus_secs(90), 1)
        .await
        .unwrap();
    assert_eq!(whole[0].notice, notice(&proposal(2)));
    assert_eq!(whole[0].attempts, 2);
}

pub async fn many_deliverers_share_the_outbox(place: &dyn Place) {
    let stores = [place.open().await, place.open().await];
    let notices = vec![notice(&proposal(1)); 40];
    let change = Change::documents(vec![], vec![], vec![], notices);
    apply(&*stores[0], change).await;
    let takes = (0..8).map(|n| stores[n % 2].take_notices(T0, T0.plus_secs(60), 10));
    let taken = join_all(takes).await;
    let mut ids: Vec<i64> = taken
        .into_iter()
        .flatten()
        .flatten()
        .map(|w| w.id)
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), count), (40, 40), "none twice, none forgotten");
}

pub async fn numbers_survive_the_store(place: &dyn Place) {
    let store = place.open().await;
    let body =
        json!({"max": i64::MAX, "min": i64::MIN, "f": 0.1, "e": 1e300, "s": "\u{0}\u{1f600}"});
    let mut doc = write("p", None, Some(1));
    doc.body = Some(body.clone());
    apply(&*store, docs(vec![doc])).await;
    assert_eq!(store.doc(&key("p")).await.unwrap().unwrap().body, body);
    let mut null = write("n", None, Some(1));
    null.body = Some(Value::Null);
    apply(&*store, docs(vec![null])).await;
    assert_eq!(
        store.doc(&key("n")).await.unwrap().unwrap().body,
        Value::Null
    );
}

pub async fn whoever_has_to_decide_is_told_first(place: &dyn Place) {
    let store = place.open().await;
    let of = |kind| Notice {
        kind,
        ..notice(&proposal(1))
    };
    use NoticeKind::{Alert, Blocked, Decided, Held, InDoubt, Reversed};
    let told = [Alert, Blocked, InDoubt, Held, Reversed, Decided, Alert];
    let notices = told.iter().map(|kind| of(*kind)).collect();
    apply(&*store, Change::documents(vec![], vec![], vec![], notices)).await;
    let mut seen = Vec::new();
    loop {
        let taken = store.take_notices(T0, T0.plus_secs(60), 2).await.unwrap();
        let Some(most) = taken.iter().map(|one| one.notice.kind.urgency()).max() else {
            break;
        };
        seen.push(most);
    }
    assert_eq!(seen, [0, 1, 2, 2]);
}

pub async fn what_is_old_is_dropped_and_nothing_else(place: &dyn Place) {
    let store = place.open().await;
    let day = 24 * 60 * 60;
    let at = |secs: i64| T0.plus_secs(secs);
    let made = |n: u32, secs: i64, state: State| {
        let mut one = proposal(n);
        let fixed = std::sync::Arc::make_mut(&mut one.fixed);
        fixed.id = ProposalId::at(at(secs), [u8::try_from(n).unwrap(); 10]);
        fixed.created_at = at(secs);
        fixed.idempotency_key = Some(format!("key-{n}"));
        one.state = state;
        one
    };
    let all = [
        made(1, 0, State::Blocked),
        made(2, 1, State::Allowed),
        made(3, 2, State::Blocked),
        made(4, 10 * day, State::Blocked),
    ];
    for one in &all {
        apply(&*store, admit(one)).await;
    }
    let mark = |id: &str, kind: &str, secs: i64| DocWrite {
        key: DocKey::new(kind, &org(), id),
        expect: Some(0),
        body: Some(json!({"at": at(secs)})),
    };
    let marks = vec![
        mark("evt_old", "webhook", 0),
        mark("evt_new", "webhook", 10 * day),
        mark("policy_old", "policy", 0),
    ];
    apply(&*store, docs(marks)).await;
    let before = at(5 * day);
    for (old, count) in [(Old::RefusedProposals, 2), (Old::SeenWebhooks, 1)] {
        assert_eq!(
            store.count_old(old, before).await.unwrap(),
            count,
            "{old:?}"
        );
        assert_eq!(store.drop_old(old, before, 1).await.unwrap(), 1, "{old:?}");
        assert_eq!(
            store.drop_old(old, before, 10).await.unwrap(),
            count - 1,
            "{old:?}"
        );
        assert_eq!(store.drop_old(old, before, 10).await.unwrap(), 0, "{old:?}");
        assert_eq!(store.count_old(old, before).await.unwrap(), 0, "{old:?}");
    }
    let mut left = Vec::new();
    for one in &all {
        left.push(store.proposal(one.fixed.id).await.unwrap().is_some());
    }
    assert_eq!(left, [false, true, false, true]);
    for (kind, id, there) in [
        ("webhook", "evt_old", false),
        ("webhook", "evt_new", true),
        ("policy", "policy_old", true),
    ] {
        let doc = store.doc(&DocKey::new(kind, &org(), id)).await.unwrap();
        assert_eq!(doc.is_some(), there, "{kind} {id}");
    }
    let filter = RecordFilter {
        limit: 10,
        ..RecordFilter::default()
    };
    let records = store.records(&filter).await.unwrap();
    assert_eq!(records.len(), all.len(), "records are never dropped");
    // The key names nothing any more, so it may name another proposal.
    let again = made(5, 11 * day, State::Allowed);
    let mut again = again;
    std::sync::Arc::make_mut(&mut again.fixed).idempotency_key = Some("key-1".to_owned());
    apply(&*store, admit(&again)).await;
}
