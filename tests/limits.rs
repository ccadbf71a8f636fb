//! Limits seen from outside: how fast, how much, on which day; and that each of them is counted.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::Request;
use hundi::broker::{CommitRequest, Committed, ProposeRequest, Proposed, Settings};
use hundi::domain::change::Pot;
use hundi::domain::money::Currency;
use hundi::domain::policy::{Policy, RateLimit};
use hundi::domain::principal::Role;
use hundi::domain::proposal::State;
use hundi::domain::reason::Reason;
use hundi::domain::time::Day;
use hundi::entry::http::{HttpOptions, router};
use hundi::ephemeral::Bucket;
use hundi::store::Budget;
use hundi::telemetry;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::house::{House, Plan, agent_of, person};

const NO_RATE: RateLimit = RateLimit {
    max: 0,
    window_secs: 60,
};

fn paced(capacity: u32, per_minute: u32) -> Plan {
    let bucket = Bucket {
        capacity,
        per_minute,
    };
    let settings = Settings {
        tool_buckets: BTreeMap::from([("transfer_funds".to_owned(), bucket)]),
        ..Settings::default()
    };
    Plan {
        settings,
        ..Plan::default()
    }
}

async fn propose(house: &House, agent: &str, tool: &str, arguments: Value) -> Proposed {
    let request = ProposeRequest {
        tool: tool.to_owned(),
        arguments,
        ..ProposeRequest::default()
    };
    let proposed = house.broker.pay.propose(&agent_of(agent), request).await;
    proposed.unwrap()
}

async fn commit(house: &House, agent: &str, proposed: &Proposed) -> Committed {
    let request = CommitRequest {
        proposal_id: proposed.proposal.id().to_string(),
        commit_token: proposed.token.as_ref().unwrap().text.clone(),
        tool: None,
        arguments: proposed.proposal.fixed.args.value(),
    };
    house
        .broker
        .pay
        .commit(&agent_of(agent), request)
        .await
        .unwrap()
}

async fn books(house: &House, agent: &str, day: Day) -> (i64, i64) {
    let pot = Pot {
        org: Default::default(),
        agent: agent.parse().unwrap(),
        day,
        currency: Currency::INR,
    };
    let Budget { pending, posted } = house.store.budget(&pot).await.unwrap();
    (pending, posted)
}

/// Status, `Retry-After`, and the body of a propose over REST.
async fn over_rest(house: &House, key: &str) -> (u16, Option<String>, Value) {
    let body = json!({"tool": "transfer_funds", "arguments": {"amount": 1, "to": "acct_123"}});
    let request = Request::post("/v1/proposals")
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let door = router(house.broker.clone(), HttpOptions::default());
    let answer = door.oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let retry = answer.headers().get("retry-after");
    let retry = retry.map(|value| value.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await;
    (
        status,
        retry,
        serde_json::from_slice(&body.unwrap()).unwrap(),
    )
}

#[tokio::test]
async fn a_full_window_is_429_over_rest_and_says_when_to_come_back() {
    let house = House::new().await;
    let admin = person(Role::Admin);
    let (made, key) = house
        .broker
        .access
        .create_key(&admin, Role::Agent, "payer", None)
        .await
        .unwrap();
    let agent = made.agent_id.unwrap();
    house.policy(agent.as_str(), &Policy::default()).await;
    for _ in 0..10 {
        assert_eq!(over_rest(&house, &key).await.0, 200);
    }
    house.clock.forward(13);
    for _ in 0..20 {
        let (status, retry, body) = over_rest(&house, &key).await;
        assert_eq!((status, retry.as_deref()), (429, Some("47")));
        assert_eq!(
            (&body["reason"], &body["recovery"]),
            (&json!("RATE_LIMITED"), &json!("wait"))
        );
        assert_eq!(body["retry_after_secs"], 47);
    }
    house.clock.forward(47);
    assert_eq!(
        over_rest(&house, &key).await.0,
        200,
        "refused attempts cost nothing"
    );
}

/// The refusal asks to come back later, so the key must not answer with it for ever.
#[tokio::test]
async fn an_idempotency_key_that_met_a_full_window_is_free_again() {
    let house = House::new().await;
    let rate_limit = RateLimit {
        max: 1,
        window_secs: 60,
    };
    let policy = Policy {
        rate_limit,
        ..Policy::default()
    };
    house.policy("a", &policy).await;
    let ask = async || {
        let request = ProposeRequest {
            tool: "transfer_funds".to_owned(),
            arguments: json!({"amount": 5, "to": "acct_1"}),
            idempotency_key: Some("key-1".to_owned()),
            ..ProposeRequest::default()
        };
        house
            .broker
            .pay
            .propose(&agent_of("a"), request)
            .await
            .unwrap()
    };
    propose(
        &house,
        "a",
        "transfer_funds",
        json!({"amount": 4, "to": "acct_1"}),
    )
    .await;
    let refused = ask().await.proposal;
    assert_eq!(refused.fixed.reason, Reason::RateLimited);
    house.clock.forward(61);
    let allowed = ask().await.proposal;
    assert_eq!(allowed.state, State::Allowed);
    assert_eq!(ask().await.proposal.id(), allowed.id(), "now it is bound");
}

#[tokio::test]
async fn a_tool_with_a_bucket_is_called_no_faster_whoever_calls() {
    let house = House::with(paced(3, 6)).await;
    let policy = Policy {
        rate_limit: NO_RATE,
        ..Policy::default()
    };
    for agent in ["a", "b"] {
        house.policy(agent, &policy).await;
    }
    for agent in ["a", "b", "a"] {
        assert_eq!(
            house.transfer(agent, 1).await.proposal.state,
            State::Allowed
        );
    }
    for _ in 0..20 {
        let limited = house.transfer("b", 1).await;
        assert_eq!(limited.proposal.fixed.reason, Reason::RateLimited);
        assert_eq!(
            limited.retry_after_secs,
            Some(10),
            "trying again prolongs nothing"
        );
    }
    house.bank.put(waiting(100));
    let other = propose(
        &house,
        "b",
        "approve_payout",
        json!({
            "payout_id": "pout_00000000000001", "remarks": "x", "amount": 100,
            "fund_account_id": "fa_00000000000001",
        }),
    );
    assert_eq!(
        other.await.proposal.state,
        State::Allowed,
        "another tool has its own pace"
    );
    house.clock.forward(9);
    assert_eq!(house.transfer("a", 1).await.retry_after_secs, Some(1));
    house.clock.forward(1);
    assert_eq!(house.transfer("a", 1).await.proposal.state, State::Allowed);
}

#[tokio::test]
async fn an_empty_bucket_is_429_over_rest() {
    let house = House::with(paced(1, 2)).await;
    let admin = person(Role::Admin);
    let made = house
        .broker
        .access
        .create_key(&admin, Role::Agent, "payer", None);
    let (made, key) = made.await.unwrap();
    house
        .policy(made.agent_id.unwrap().as_str(), &Policy::default())
        .await;
    assert_eq!(over_rest(&house, &key).await.0, 200);
    let (status, retry, body) = over_rest(&house, &key).await;
    assert_eq!((status, retry.as_deref()), (429, Some("30")));
    let detail = body["findings"][0]["detail"].as_str().unwrap();
    assert!(
        detail.contains("transfer_funds is called too often"),
        "{detail}"
    );
}

#[tokio::test]
async fn an_agent_that_is_too_fast_uses_up_nobody_elses_tokens() {
    let house = House::with(paced(5, 1)).await;
    let one = Policy {
        rate_limit: RateLimit {
            max: 1,
            window_secs: 60,
        },
        ..Policy::default()
    };
    house.policy("hasty", &one).await;
    house
        .policy(
            "calm",
            &Policy {
                rate_limit: NO_RATE,
                ..Policy::default()
            },
        )
        .await;
    for turn in 0..20 {
        let state = house.transfer("hasty", 1).await.proposal.state;
        assert_eq!(state == State::Allowed, turn == 0);
    }
    for _ in 0..4 {
        assert_eq!(
            house.transfer("calm", 1).await.proposal.state,
            State::Allowed
        );
    }
    assert_eq!(
        house.transfer("calm", 1).await.proposal.fixed.reason,
        Reason::RateLimited
    );
}

fn waiting(amount: i64) -> Value {
    json!({
        "id": "pout_00000000000001", "entity": "payout", "fund_account_id": "fa_00000000000001",
        "amount": amount, "currency": "INR", "notes": [], "status": "pending",
        "purpose": "payout", "mode": "IMPS", "reference_id": null, "created_at": 1,
    })
}

#[tokio::test]
async fn an_amount_that_nobody_names_is_over_every_limit_and_else_booked_when_it_settles() {
    let house = House::new().await;
    // The bank's own tool, as if its arguments named no amount.
    let nameless = |tool: &mut hundi::domain::tool::Tool| tool.money.amounts.clear();
    house.alter("create_payout", nameless);
    let asked = json!({
        "fund_account_id": "fa_00000000000001", "amount": 7_700, "currency": "INR",
        "mode": "IMPS", "purpose": "payout",
    });
    let limits = [
        (
            Policy {
                daily_limit: Some(i64::MAX),
                ..Policy::default()
            },
            Some(Reason::LimitExceeded),
        ),
        (
            Policy {
                per_txn_limit: Some(i64::MAX),
                ..Policy::default()
            },
            Some(Reason::TxnLimitExceeded),
        ),
        (
            Policy {
                require_approval_above: Some(i64::MAX),
                ..Policy::default()
            },
            Some(Reason::ApprovalRequired),
        ),
        (Policy::default(), None),
    ];
    for (policy, refused) in limits {
        house.policy("a", &policy).await;
        let proposed = propose(&house, "a", "create_payout", asked.clone()).await;
        let reason = proposed.proposal.fixed.reason;
        assert_eq!(reason, refused.unwrap_or(Reason::PolicyOk));
        let day = proposed.proposal.fixed.day;
        assert_eq!(
            books(&house, "a", day).await,
            (0, 0),
            "nobody knows how much to hold"
        );
        if refused.is_none() {
            let done = commit(&house, "a", &proposed).await;
            assert!(matches!(&done, Committed::Settled(p) if p.state == State::Executed));
            assert_eq!(
                books(&house, "a", day).await,
                (0, 7_700),
                "what left is in the books"
            );
            // It counts against a limit that comes later the same day.
            let policy = Policy {
                daily_limit: Some(8_000),
                ..Policy::default()
            };
            house.policy("a", &policy).await;
            assert_eq!(
                house.transfer("a", 301).await.proposal.fixed.reason,
                Reason::LimitExceeded
            );
            assert_eq!(
                house.transfer("a", 300).await.proposal.state,
                State::Allowed
            );
        }
    }
}

#[tokio::test]
async fn reservations_that_are_open_at_midnight_end_on_their_own_day() {
    let settings = Settings {
        zone: jiff::tz::TimeZone::get("Asia/Kolkata").unwrap(),
        allowed_ttl_secs: 3_600,
        ..Settings::default()
    };
    let house = House::with(Plan {
        settings,
        ..Plan::default()
    })
    .await;
    let policy = Policy {
        daily_limit: Some(10_000),
        require_approval_above: Some(2_500),
        rate_limit: NO_RATE,
        ..Policy::default()
    };
    house.policy("a", &policy).await;
    house.bank.put(waiting(1_000));
    // 10:00 UTC is 15:30 in Kolkata; now it is 23:59:59 there.
    house.clock.forward(8 * 3_600 + 1_799);
    let paid = propose(
        &house,
        "a",
        "approve_payout",
        json!({
            "payout_id": "pout_00000000000001", "remarks": "x", "amount": 1_000,
            "fund_account_id": "fa_00000000000001",
        }),
    )
    .await;
    let cancelled = house.transfer("a", 2_000).await;
    let lapsing = house.transfer("a", 1_499).await;
    let held = house.transfer("a", 3_000).await;
    let rejected = house.transfer("a", 2_501).await;
    assert_eq!(held.proposal.state, State::Held);
    let friday = paid.proposal.fixed.day;
    assert_eq!(friday.to_string(), "2026-11-20");
    assert_eq!(books(&house, "a", friday).await, (10_000, 0));
    assert_eq!(
        house.transfer("a", 1).await.proposal.fixed.reason,
        Reason::LimitExceeded
    );

    house.clock.forward(1);
    let fresh = house.transfer("a", 2_500).await;
    let saturday = fresh.proposal.fixed.day;
    assert_eq!(saturday.to_string(), "2026-11-21");
    assert_eq!(
        fresh.proposal.state,
        State::Allowed,
        "a new day, a new budget"
    );
    assert_eq!(books(&house, "a", saturday).await, (2_500, 0));

    assert!(matches!(
        commit(&house, "a", &paid).await,
        Committed::Settled(_)
    ));
    assert_eq!(books(&house, "a", friday).await, (9_000, 1_000));
    let who = person(Role::Approver);
    house
        .broker
        .pay
        .cancel(&agent_of("a"), cancelled.proposal.id())
        .await
        .unwrap();
    house
        .broker
        .pay
        .reject(&who, rejected.proposal.id(), "no")
        .await
        .unwrap();
    assert_eq!(books(&house, "a", friday).await, (4_499, 1_000));
    house
        .broker
        .pay
        .approve(&who, held.proposal.id())
        .await
        .unwrap();
    house.clock.forward(3_600);
    house.broker.pay.lapse(100).await.unwrap();
    let lapsed = house.store.proposal(lapsing.proposal.id()).await.unwrap();
    assert_eq!(lapsed.unwrap().state, State::Expired);
    assert_eq!(books(&house, "a", friday).await.1, 1_000);
    assert_eq!(
        books(&house, "a", saturday).await.1,
        0,
        "nothing of Friday is in Saturday's books"
    );
    assert!(books(&house, "a", friday).await.0 >= 0 && books(&house, "a", saturday).await.0 >= 0);
}

fn sample(name: &str) -> f64 {
    let text = telemetry::render();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |number| number.parse().unwrap())
}

#[tokio::test]
async fn every_check_of_budget_and_pace_is_counted() {
    let house = House::with(paced(4, 1)).await;
    let policy = Policy {
        daily_limit: Some(100),
        ..Policy::default()
    };
    house.policy("a", &policy).await;
    let names = [
        "hundi_budget_checks_total{result=\"reserved\"}",
        "hundi_budget_checks_total{result=\"exceeded\"}",
        "hundi_rate_limit_checks_total{result=\"allowed\"}",
        "hundi_rate_limit_checks_total{result=\"limited\"}",
    ];
    let before = names.map(sample);
    for amount in [60, 60, 40, 1, 1] {
        house.transfer("a", amount).await;
    }
    let after = names.map(sample);
    let moved: Vec<f64> = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    // Two fit; the other three do not, the last of them too fast as well. Each of the first four
    // asks the window and the bucket, the last one only the bucket.
    assert_eq!(moved, [2.0, 3.0, 8.0, 1.0]);
}
