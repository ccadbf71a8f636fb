//! Random changes against a small independent model of versions, nonces, keys, books and
//! documents: whatever callers try, in whatever order and grouping, the store accepts exactly
//! what the model accepts and holds what the model holds.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use hundi::domain::change::{Change, Guard};
use hundi::domain::proposal::{Ending, Proposal, State};
use hundi::store::{Budget, Store};
use proptest::prelude::*;

use super::given::*;
use super::{Place, PostgresSchema, SqliteFile};

const LIMIT: i64 = 1_000;

/// What a caller tries. Small numbers, so that callers meet.
#[derive(Clone, Debug)]
enum Try {
    Admit {
        n: u32,
        amount: i64,
        caller_key: Option<u8>,
    },
    Claim {
        n: u32,
        nonce: u32,
    },
    Confirm {
        n: u32,
        settled: i64,
    },
    Refuse {
        n: u32,
    },
    TakeBack {
        n: u32,
    },
    Cancel {
        n: u32,
    },
    Write {
        doc: u8,
        expect: Option<u64>,
        body: Option<i64>,
        guard: Option<(u8, u64)>,
    },
}

fn any_try() -> impl Strategy<Value = Try> {
    let n = 0_u32..5;
    let version = 0_u64..4;
    prop_oneof![
        (n.clone(), 0_i64..700, prop::option::of(0_u8..3)).prop_map(|(n, amount, caller_key)| {
            Try::Admit {
                n,
                amount,
                caller_key,
            }
        }),
        (n.clone(), 0_u32..4).prop_map(|(n, nonce)| Try::Claim { n, nonce }),
        (n.clone(), 0_i64..900).prop_map(|(n, settled)| Try::Confirm { n, settled }),
        n.clone().prop_map(|n| Try::Refuse { n }),
        n.clone().prop_map(|n| Try::TakeBack { n }),
        n.prop_map(|n| Try::Cancel { n }),
        (
            0_u8..3,
            prop::option::of(version.clone()),
            prop::option::of(0_i64..9),
            prop::option::of((0_u8..3, version)),
        )
            .prop_map(|(doc, expect, body, guard)| Try::Write {
                doc,
                expect,
                body,
                guard,
            }),
    ]
}

/// Money by proposal, not by pot: the pot is a sum, computed anew each time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Money {
    Reserved(i64),
    Spent(i64),
    Back,
}

#[derive(Default)]
struct Model {
    proposals: BTreeMap<u32, Proposal>,
    money: BTreeMap<u32, Money>,
    nonces: BTreeSet<u32>,
    keys: BTreeSet<u8>,
    /// Body, and the number of writes.
    docs: BTreeMap<u8, (Option<i64>, u64)>,
    records: usize,
}

impl Model {
    fn books(&self) -> Budget {
        let sum = |of: fn(&Money) -> i64| self.money.values().map(of).sum();
        Budget {
            pending: sum(|m| if let Money::Reserved(n) = m { *n } else { 0 }),
            posted: sum(|m| if let Money::Spent(n) = m { *n } else { 0 }),
        }
    }

    fn version(&self, doc: u8) -> u64 {
        match self.docs.get(&doc) {
            Some((Some(_), writes)) => *writes,
            _ => 0,
        }
    }

    /// The change that a caller would make from `seen`, if its proposal lets it, and whether the
    /// model accepts it. `seen` may be out of date.
    fn attempt(&mut self, attempt: &Try, seen: &BTreeMap<u32, Proposal>) -> Option<(Change, bool)> {
        match attempt {
            Try::Admit {
                n,
                amount,
                caller_key,
            } => {
                let mut new = proposal(*n);
                std::sync::Arc::make_mut(&mut new.fixed).idempotency_key =
                    caller_key.map(|key| key.to_string());
                let change = admit_with(&new, reserve(*amount, LIMIT));
                let Budget { pending, posted } = self.books();
                let fine = !self.proposals.contains_key(n)
                    && caller_key.is_none_or(|key| !self.keys.contains(&key))
                    && pending + posted + amount <= LIMIT;
                if fine {
                    self.proposals.insert(*n, new);
                    self.money.insert(*n, Money::Reserved(*amount));
                    self.keys.extend(caller_key);
                    self.records += 1;
                }
                Some((change, fine))
            }
            Try::Claim { n, nonce: number } => {
                let from = seen.get(n).filter(|p| p.state == State::Allowed)?;
                let (change, _) = claim_with(from, nonce(*number), vec![]);
                let fine = self.proposals.get(n) == Some(from) && self.nonces.insert(*number);
                Some(self.moved(*n, change, fine, None))
            }
            Try::Confirm { n, settled } => {
                let from = seen.get(n).filter(|p| p.state == State::Committing)?;
                let (change, _) = confirm(from, *settled);
                let fine = self.proposals.get(n) == Some(from);
                Some(self.moved(*n, change, fine, Some(Money::Spent(*settled))))
            }
            Try::Refuse { n } => {
                let from = seen.get(n).filter(|p| p.state == State::Committing)?;
                let (change, _) = refuse(from);
                let fine = self.proposals.get(n) == Some(from);
                Some(self.moved(*n, change, fine, Some(Money::Back)))
            }
            Try::TakeBack { n } => {
                let from = seen.get(n).filter(|p| p.state == State::Executed)?;
                let (change, _) = Change::take_back(from, receipt(None), T0, "x", None).unwrap();
                let fine = self.proposals.get(n) == Some(from);
                Some(self.moved(*n, change, fine, Some(Money::Back)))
            }
            Try::Cancel { n } => {
                let from = seen.get(n).filter(|p| p.state == State::Allowed)?;
                let ending = Ending {
                    by: "x".into(),
                    at: T0,
                    reason: String::new(),
                };
                let (change, _) = Change::cancel(from, ending, None).unwrap();
                let fine = self.proposals.get(n) == Some(from);
                Some(self.moved(*n, change, fine, Some(Money::Back)))
            }
            Try::Write {
                doc,
                expect,
                body,
                guard,
            } => {
                let guards = guard.iter().map(|(doc, version)| Guard {
                    key: key(&doc.to_string()),
                    version: *version,
                });
                let write = write(&doc.to_string(), *expect, *body);
                let change = Change::documents(vec![write], guards.collect(), vec![], vec![]);
                let fine = guard.is_none_or(|(doc, version)| self.version(doc) == version)
                    && expect.is_none_or(|version| self.version(*doc) == version);
                let exists = self.version(*doc) > 0;
                if fine && (exists || body.is_some()) {
                    let (stored, writes) = self.docs.entry(*doc).or_default();
                    *stored = *body;
                    *writes += 1;
                }
                Some((change, fine))
            }
        }
    }

    fn moved(&mut self, n: u32, change: Change, fine: bool, to: Option<Money>) -> (Change, bool) {
        if fine {
            let next = change.rows().update.as_deref().unwrap();
            self.proposals.insert(n, next.clone());
            self.money.extend(to.map(|money| (n, money)));
            self.records += 1;
        }
        (change, fine)
    }

    async fn agrees(&self, store: &dyn Store) {
        for n in 0..5 {
            let stored = store.proposal(id(n)).await.unwrap();
            assert_eq!(stored.as_ref(), self.proposals.get(&n), "proposal {n}");
        }
        assert_eq!(store.budget(&pot("a")).await.unwrap(), self.books());
        for doc in 0..3 {
            let stored = store.doc(&key(&doc.to_string())).await.unwrap();
            let version = stored.map_or(0, |stored| stored.version);
            assert_eq!(version, self.version(doc), "document {doc}");
        }
        let records = super::promises::all_records(store).await;
        assert_eq!(records.len(), self.records);
    }
}

/// Runs groups of tries: each group is made from what was stored before it, and queued at once.
async fn run(place: &dyn Place, groups: Vec<Vec<Try>>) {
    let store = place.open().await;
    let mut model = Model::default();
    for group in groups {
        let seen = model.proposals.clone();
        let tries: Vec<(Change, bool)> = group
            .iter()
            .filter_map(|attempt| model.attempt(attempt, &seen))
            .collect();
        let (changes, expected): (Vec<Change>, Vec<bool>) = tries.into_iter().unzip();
        let fates = join_all(changes.into_iter().map(|change| store.apply(change))).await;
        let applied: Vec<bool> = fates.iter().map(Result::is_ok).collect();
        assert_eq!(applied, expected, "{group:#?} {fates:#?}");
        model.agrees(&*store).await;
    }
}

fn groups() -> impl Strategy<Value = Vec<Vec<Try>>> {
    prop::collection::vec(prop::collection::vec(any_try(), 1..12), 1..8)
}

fn in_runtime(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sqlite_agrees_with_the_model(groups in groups()) {
        in_runtime(run(&SqliteFile::new(), groups));
    }

    #[test]
    fn postgres_agrees_with_the_model(groups in groups()) {
        in_runtime(async {
            if let Some(place) = PostgresSchema::fresh().await {
                run(&place, groups).await;
            }
        });
    }
}
