//! What a decision costs: every check over one request, with a hundred policies loaded.
#![allow(missing_docs, reason = "a benchmark's name says what it measures")]

use std::collections::BTreeMap;

use hundi::connector::registry;
use hundi::domain::facts::{Entity, Fact, Facts, Freezes, Integrity, PastPayout, Reputation};
use hundi::domain::policy::Policy;
use hundi::domain::proposal::{Score, Signals};
use hundi::domain::time::Timestamp;
use hundi::governance::{Request, decide};
use serde_json::json;

fn main() {
    divan::main();
}

fn policy(index: i64) -> Policy {
    Policy {
        daily_limit: Some(10_000_000 + index),
        per_txn_limit: Some(1_000_000),
        require_approval_above: Some(900_000),
        blocked_domains: (0..20).map(|n| format!("bad{n}.example")).collect(),
        ..Policy::default()
    }
}

#[divan::bench]
fn with_a_hundred_policies_loaded(bencher: divan::Bencher<'_, '_>) {
    let policies: BTreeMap<String, Policy> = (0..100)
        .map(|index| (format!("agent-{index}"), policy(index)))
        .collect();
    let tools = registry::tools(true);
    let Some(tool) = tools
        .iter()
        .find(|tool| tool.name.as_str() == "create_payout")
    else {
        return;
    };
    let args = json!({
        "fund_account_id": "fa_00000000000001", "amount": 10_500, "currency": "INR",
        "mode": "IMPS", "purpose": "payout",
        "notes": {"vendor_name": "Acme Ltd", "vendor_url": "https://shop.acme.example/pay"},
    });
    let (effective, payee) = (tool.effective(&args), tool.payee(&args));
    let Ok(agent) = "agent-42".parse() else {
        return;
    };
    let now = Timestamp::from_secs(1_795_168_800);
    let history: Vec<PastPayout> = (1..=200)
        .map(|index| PastPayout {
            at: now.plus_secs(-index * 3_600),
            minor: 9_800 + index,
            payee: payee.account.clone(),
            vendor: payee.name.clone(),
        })
        .collect();
    let facts = Facts {
        freezes: Fact::Known(Freezes::default()),
        spent_today: Fact::Known(100_000),
        recent_requests: Fact::Known(3),
        reputation: Fact::Known(Reputation::Safe),
        entity: Fact::Known(Entity::NotAsked),
        history_hours: vec![10; history.len()].into(),
        history: Fact::Known(history.into()),
        integrity: Integrity {
            score: Score {
                composite: Some(0.1679),
                signals: Signals::default(),
            },
            attested: true,
            prompt: Some("Pay Acme Ltd Rs 105 for tea, to fa_00000000000001".to_owned()),
            ..Integrity::missing()
        },
        ..Facts::missing(now)
    };
    let request = Request {
        agent: &agent,
        tool,
        args: &args,
        effective,
        payee: &payee,
        server: None,
    };
    bencher
        .with_inputs(|| Facts {
            policy: Fact::Known(policies.get("agent-42").cloned()),
            ..facts.clone()
        })
        .bench_refs(|facts| decide(&request, facts));
}
