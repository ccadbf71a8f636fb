//! The registry moves while agents pay: what was paid before is remembered, and no spelling of a
//! registered name and no registered site leads to an account of nobody's.

use hundi::broker::pay::payees::NewPayee;
use hundi::domain::principal::Role;
use hundi::domain::reason::Reason;
use serde_json::{Value, json};

use super::payees::{commit, house, payout, propose, register};
use crate::support::house::{House, Plan, person};

const ACCOUNT: &str = "fa_00000000000031";
const OTHER: &str = "fa_00000000000032";

fn comparing() -> Value {
    json!({
        "daily_limit": null, "per_txn_limit": null, "require_approval_above": null,
        "rate_limit": {"max": 0},
        "approval_above": [{"amount": 25_000, "window_secs": 3_600, "per": "payee"}],
    })
}

async fn set_policy(house: &House, policy: &Value) {
    let (who, a) = (person(Role::Operator), "a".parse().unwrap());
    let set = house.broker.pay.set_policy(&who, &a, policy, None).await;
    set.unwrap();
}

async fn known(house: &House, name: &str, site: Option<&str>, accounts: &[&str]) {
    let new = NewPayee {
        name: name.to_owned(),
        vendor_url: site.map(str::to_owned),
        fund_accounts: accounts.iter().map(ToString::to_string).collect(),
        ..NewPayee::default()
    };
    register(house, new).await;
}

#[tokio::test]
async fn a_payment_is_the_same_again_after_its_account_was_registered() {
    let house = house(Plan::default(), json!({})).await;
    set_policy(&house, &comparing()).await;
    let paid = propose(&house, payout(ACCOUNT, json!({}))).await;
    commit(&house, &paid).await;
    let again = propose(&house, payout(ACCOUNT, json!({}))).await;
    assert_eq!(again.reason, Reason::PossibleDuplicate, "as it was");

    known(&house, "Late Ltd", None, &[ACCOUNT, OTHER]).await;
    for account in [ACCOUNT, OTHER] {
        let again = propose(&house, payout(account, json!({}))).await;
        assert_eq!(again.reason, Reason::PossibleDuplicate, "{account}");
    }
    // Two were held and one was paid; they count for the sum as well.
    let mut more = payout(OTHER, json!({}));
    more["amount"] = json!(9_999);
    let more = propose(&house, more).await;
    assert_eq!(more.reason, Reason::ApprovalRequired, "{}", more.detail);
    assert!(
        more.detail.contains("payments to this payee"),
        "{}",
        more.detail
    );
}

#[tokio::test]
#[rustfmt::skip]
async fn no_spelling_of_a_registered_name_and_no_site_of_its_leads_elsewhere() {
    let house = house(Plan::default(), json!({})).await;
    known(&house, "Good Ltd", Some("https://good.com"), &[ACCOUNT]).await;
    let cases = [
        // where     what the agent says                                              held
        (OTHER,   json!({"vendor_name": "Good Ltd"}),                                true),
        (OTHER,   json!({"vendor_name": "GOOD LIMITED"}),                            true),
        (OTHER,   json!({"vendor_name": "good, ltd."}),                              true),
        (OTHER,   json!({"vendor_url": "https://good.com/pay"}),                     true),
        (OTHER,   json!({"vendor_url": "https://shop.good.com", "vendor_name": "X"}), true),
        (OTHER,   json!({"vendor_name": "Good Inc"}),                                false),
        (OTHER,   json!({"vendor_url": "https://goods.com"}),                        false),
        (OTHER,   json!({}),                                                         false),
        (ACCOUNT, json!({"vendor_name": "good ltd."}),                               false),
        (ACCOUNT, json!({"vendor_name": "Good Limited", "vendor_url": "https://www.good.com/x"}), false),
        (ACCOUNT, json!({"vendor_name": "Good Inc"}),                                true),
    ];
    for (account, notes, held) in cases {
        let decided = propose(&house, payout(account, notes.clone())).await;
        let expected = if held { Reason::PromptContradicted } else { Reason::PolicyOk };
        assert_eq!(decided.reason, expected, "{account} {notes}: {}", decided.detail);
    }
    // A payee that moves to another site leaves the first one free, and one that goes, all.
    known(&house, "Good Ltd", Some("https://better.com"), &[ACCOUNT]).await;
    let at = async |url: &str| propose(&house, payout(OTHER, json!({"vendor_url": url}))).await.reason;
    assert_eq!(at("https://good.com").await, Reason::PolicyOk);
    assert_eq!(at("https://better.com").await, Reason::PromptContradicted);
    // Two of one site: the site stays taken as long as one of them is there.
    known(&house, "Also Good Ltd", Some("https://better.com"), &["fa_00000000000033"]).await;
    let remove = async |name: &str| {
        let who = person(Role::Operator);
        house.broker.pay.remove_payee(&who, name).await.unwrap();
    };
    remove("GOOD LTD.").await;
    assert_eq!(at("https://better.com").await, Reason::PromptContradicted);
    remove("Also Good Ltd").await;
    assert_eq!(at("https://better.com").await, Reason::PolicyOk);
}
