//! Whatever people and programs do to the bank, in whatever order: no money is made or lost, a key
//! makes one payout, and a restart changes nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const ACCOUNT: &str = "2323230041626905";
const OPENING: i64 = 100_000;

#[derive(Clone, Debug)]
enum Step {
    Create {
        key: u8,
        amount: i64,
        may_wait: bool,
    },
    Make(State),
    Approve(usize),
    Reject(usize),
    Cancel(usize),
    Push(usize, State),
    Wait(i64),
    ForgetKeys,
    Restart,
}

fn any_state() -> impl Strategy<Value = State> {
    prop::sample::select(State::ALL.to_vec())
}

fn any_step() -> impl Strategy<Value = Step> {
    let one = 0..12_usize;
    prop_oneof![
        4 => (0..6_u8, 100..40_000_i64, any::<bool>())
            .prop_map(|(key, amount, may_wait)| Step::Create { key, amount, may_wait }),
        2 => prop::sample::select(vec![State::Pending, State::Queued, State::Scheduled])
            .prop_map(Step::Make),
        1 => one.clone().prop_map(Step::Approve),
        1 => one.clone().prop_map(Step::Reject),
        1 => one.clone().prop_map(Step::Cancel),
        2 => (one, any_state()).prop_map(|(which, state)| Step::Push(which, state)),
        2 => (0..400_i64).prop_map(Step::Wait),
        1 => Just(Step::ForgetKeys),
        1 => Just(Step::Restart),
    ]
}

fn rules() -> Rules {
    Rules {
        account_number: Some(ACCOUNT.to_owned()),
        opening_balance: OPENING,
        step_ms: 300,
    }
}

fn body(amount: i64, may_wait: bool) -> Map<String, Value> {
    let body = json!({
        "account_number": ACCOUNT, "fund_account_id": "fa_00000000000001", "amount": amount,
        "currency": "INR", "mode": "IMPS", "purpose": "refund", "queue_if_low_balance": may_wait,
    });
    body.as_object().cloned().unwrap_or_default()
}

/// Everything the bank shows.
fn shown(bank: &Bank) -> (Vec<Value>, Value) {
    let mut payouts = Vec::new();
    let mut filter = Filter {
        account_number: Some(ACCOUNT.to_owned()),
        count: 100,
        ..Filter::default()
    };
    loop {
        let page = bank.list(Kind::Payout, &filter).unwrap();
        let items = page["items"].as_array().unwrap();
        if items.is_empty() {
            return (payouts, bank.balances(Timestamp::default()));
        }
        filter.skip += items.len();
        payouts.extend(items.iter().cloned());
    }
}

fn check_the_books(bank: &Bank) -> Result<(), TestCaseError> {
    let (payouts, balances) = shown(bank);
    let gone: i64 = payouts
        .iter()
        .filter(|payout| matches!(payout["status"].as_str(), Some("processing" | "processed")))
        .map(|payout| payout["amount"].as_i64().unwrap())
        .sum();
    let left = balances["items"][0]["amount"].as_i64().unwrap();
    prop_assert_eq!(left + gone, OPENING, "{:?}", payouts);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_books_balance_and_survive(steps in prop::collection::vec(any_step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let mut now = Timestamp::from_secs(1_795_000_000);
        let mut bank = Bank::open(folder.path(), rules(), now, "salt").unwrap();
        let mut keys: BTreeMap<String, (Value, i64, bool)> = BTreeMap::new();
        for step in steps {
            let (payouts, _) = shown(&bank);
            let id = |which: usize| {
                let payout = payouts.get(which)?;
                Some(payout["id"].as_str()?.to_owned())
            };
            let word = || "a word".to_owned();
            match step {
                Step::Create { key, amount, may_wait } => {
                    let key = format!("key-{key}");
                    let made = bank.create(Kind::Payout, &key, body(amount, may_wait), now);
                    match (keys.get(&key), made) {
                        (Some((id, known, waits)), made) if (*known, *waits) == (amount, may_wait) => {
                            prop_assert_eq!(&made.unwrap()["id"], id);
                        }
                        (Some(_), made) => prop_assert_eq!(made, Err(Refusal::other_body())),
                        (None, Ok(made)) => {
                            keys.insert(key, (made["id"].clone(), amount, may_wait));
                        }
                        (None, Err(refusal)) => prop_assert_eq!(refusal, Refusal::low_balance()),
                    }
                }
                Step::Make(state) => {
                    bank.make(state, body(500, false), now).unwrap();
                }
                Step::Approve(which) => { id(which).map(|id| bank.approve(&id, word(), now)); }
                Step::Reject(which) => { id(which).map(|id| bank.reject(&id, word(), now)); }
                Step::Cancel(which) => { id(which).map(|id| bank.cancel(&id, now)); }
                Step::Push(which, state) => { id(which).map(|id| bank.push(&id, state, now)); }
                Step::Wait(millis) => {
                    now = now.plus_millis(millis);
                    while bank.advance(now).unwrap() {}
                }
                Step::ForgetKeys => {
                    bank.forget_keys(now).unwrap();
                    keys.clear();
                }
                Step::Restart => {
                    let before = shown(&bank);
                    drop(bank);
                    bank = Bank::open(folder.path(), rules(), now, "other").unwrap();
                    prop_assert_eq!(shown(&bank), before);
                }
            }
            check_the_books(&bank)?;
        }
    }
}
