//! URLs that no vendor has are refused for themselves, and nobody outside is asked about them.

use std::sync::Arc;

use hundi::domain::facts::Fact;
use hundi::domain::reason::Reason;
use serde_json::json;

use super::payees::{Vendors, house, payout, propose};
use crate::support::house::Plan;

#[tokio::test]
async fn a_url_that_no_vendor_has_is_refused_before_anybody_is_asked() {
    let vendors = Arc::new(Vendors::default());
    let plan = Plan {
        reputation: Some(vendors.clone()),
        ..Plan::default()
    };
    // Not one list in the policy.
    let house = house(plan, json!({"daily_limit": 10_000_000})).await;
    let odd = [
        "http://169.254.169.254/",
        "169.254.169.254",
        "http://2130706433/",
        "http://[::1]/",
        "http://localhost:8787/",
        "localhost",
        "acme",
        "ftp://acme.example",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "not a url",
        "http://acme.internal/",
    ];
    for url in odd {
        let refused = propose(
            &house,
            payout("fa_00000000000001", json!({"vendor_url": url})),
        )
        .await;
        assert_eq!(refused.reason, Reason::DomainBlocked, "{url:.60}");
        assert!(
            refused.detail.contains("no vendor has such a URL"),
            "{url:.60}"
        );
    }
    assert_eq!(vendors.asked(), Vec::<String>::new());
    vendors.answers(Fact::Known(hundi::domain::facts::Reputation::Safe));
    let notes = json!({"vendor_url": "https://acme.example"});
    let paid = propose(&house, payout("fa_00000000000001", notes)).await;
    assert_eq!(paid.reason, Reason::PolicyOk);
    assert_eq!(vendors.asked(), ["https://acme.example"]);
}
