//! Governance from the outside of the broker: policies and who may write them, budgets that add
//! up, freezes that stop at once, and what is held for looking odd.

use std::sync::Arc;

use hundi::broker::{CommitRequest, Committed, ProposeRequest, Proposed, Settings, Trouble};
use hundi::domain::facts::FreezeScope;
use hundi::domain::ids::{AgentId, OrgId};
use hundi::domain::principal::{Principal, Role};
use hundi::domain::proposal::State;
use hundi::domain::reason::{Reason, Refusal};
use hundi::domain::tool::Payee;
use hundi::store::RecordFilter;
use serde_json::{Value, json};

use crate::support::house::{House, Plan, agent_of, person};

fn agent(name: &str) -> AgentId {
    name.parse().unwrap()
}

async fn house(policy: Value) -> House {
    let house = House::new().await;
    let who = person(Role::Operator);
    house
        .broker
        .pay
        .set_policy(&who, &agent("a"), &whole(policy), None)
        .await
        .unwrap();
    house
}

/// The limits that a whole policy names, and payments as often as a test likes.
fn whole(mut policy: Value) -> Value {
    for limit in ["daily_limit", "per_txn_limit", "require_approval_above"] {
        let map = policy.as_object_mut().unwrap();
        map.entry(limit).or_insert(Value::Null);
    }
    policy["duplicates"] = json!({"then": "off"});
    policy
}

/// No rate limit, so that a test can propose as often as it likes.
fn unhurried(mut policy: Value) -> Value {
    policy["rate_limit"] = json!({"max": 0});
    policy
}

/// A payment that executes at once and moves nothing.
async fn noop(house: &House, amount: i64) -> Proposed {
    let request = ProposeRequest {
        tool: "noop".to_owned(),
        arguments: json!({"amount": amount}),
        ..ProposeRequest::default()
    };
    house
        .broker
        .pay
        .propose(&agent_of("a"), request)
        .await
        .unwrap()
}

async fn commit(house: &House, proposed: &Proposed) -> Committed {
    let token = proposed.token.as_ref().unwrap();
    let request = CommitRequest {
        proposal_id: proposed.proposal.id().to_string(),
        commit_token: token.text.clone(),
        tool: None,
        arguments: proposed.proposal.fixed.args.value(),
    };
    house
        .broker
        .pay
        .commit(&agent_of("a"), request)
        .await
        .unwrap()
}

fn refusal(committed: &Committed) -> Option<Refusal> {
    match committed {
        Committed::Refused { refusal, .. } => Some(*refusal),
        Committed::Settled(_) | Committed::InDoubt(_) => None,
    }
}

async fn kinds(house: &House) -> Vec<String> {
    let filter = RecordFilter {
        limit: 100,
        ..RecordFilter::default()
    };
    let records = house
        .broker
        .audit
        .records(&person(Role::Auditor), filter)
        .await
        .unwrap();
    records
        .rows
        .into_iter()
        .rev()
        .map(|stored| stored.record.kind.name().to_owned())
        .collect()
}

#[tokio::test]
async fn only_operators_write_policies_and_agents_read_their_own() {
    let house = House::new().await;
    let broker = &house.broker;
    let body = whole(json!({"daily_limit": 100_000}));
    let a = agent("a");
    for role in [Role::Approver, Role::Auditor] {
        let refused = broker.pay.set_policy(&person(role), &a, &body, None).await;
        assert_eq!(refused, Err(Trouble::Forbidden { roles: role.into() }));
    }
    let own = broker.pay.set_policy(&agent_of("a"), &a, &body, None).await;
    assert_eq!(
        own,
        Err(Trouble::Forbidden {
            roles: Role::Agent.into()
        })
    );
    assert_eq!(
        broker.pay.policy(&agent_of("a"), &a).await,
        Err(Trouble::NotFound("policy"))
    );

    let set = broker
        .pay
        .set_policy(&person(Role::Operator), &a, &body, None)
        .await
        .unwrap();
    assert_eq!((set.version, set.policy.daily_limit), (1, Some(100_000)));
    assert_eq!(broker.pay.policy(&agent_of("a"), &a).await, Ok(set.clone()));
    assert_eq!(
        broker.pay.policy(&person(Role::Auditor), &a).await,
        Ok(set.clone())
    );
    assert_eq!(
        broker.pay.policy(&agent_of("b"), &a).await,
        Err(Trouble::NotFound("policy"))
    );
    assert_eq!(broker.pay.policies(&agent_of("b")).await, Ok(vec![]));
    let stranger = Principal {
        org: "other".parse().unwrap(),
        ..person(Role::Admin)
    };
    assert_eq!(
        broker.pay.policy(&stranger, &a).await,
        Err(Trouble::NotFound("policy"))
    );
    assert_eq!(broker.pay.policies(&stranger).await, Ok(vec![]));
    assert_eq!(
        broker.pay.budget(&agent_of("b"), &a).await,
        Err(Trouble::NotFound("agent"))
    );
    assert_eq!(
        broker.pay.risk_profile(&agent_of("b"), &a).await,
        Err(Trouble::NotFound("agent"))
    );
}

#[tokio::test]
async fn every_version_of_a_policy_is_kept_with_who_wrote_it() {
    let house = House::new().await;
    let (broker, a, who) = (&house.broker, agent("a"), person(Role::Operator));
    let set = async |limit: i64, expect| {
        broker
            .pay
            .set_policy(&who, &a, &whole(json!({"daily_limit": limit})), expect)
            .await
    };
    set(1, Some(0)).await.unwrap();
    set(2, None).await.unwrap();
    assert_eq!(
        set(2, None).await.unwrap().version,
        2,
        "the same again changes nothing"
    );
    assert_eq!(set(3, Some(1)).await, Err(Trouble::Changed));
    broker.pay.delete_policy(&who, &a).await.unwrap();
    assert_eq!(
        broker.pay.delete_policy(&who, &a).await,
        Err(Trouble::NotFound("policy"))
    );
    assert_eq!(
        set(4, None).await.unwrap().version,
        4,
        "no version number is used twice"
    );

    let versions = broker.pay.policy_versions(&who, &a).await.unwrap();
    let limits: Vec<Option<i64>> = versions
        .iter()
        .map(|version| {
            version
                .policy
                .as_ref()
                .and_then(|policy| policy.daily_limit)
        })
        .collect();
    assert_eq!(limits, [Some(4), None, Some(2), Some(1)]);
    assert!(versions.iter().all(|version| version.by == who.id));
    let expected = ["policy_set", "policy_set", "policy_deleted", "policy_set"];
    assert_eq!(kinds(&house).await, expected);
}

#[tokio::test]
async fn a_policy_that_means_nothing_is_refused_and_changes_nothing() {
    let house = house(json!({"daily_limit": 5})).await;
    for body in [
        whole(json!({"daily_limit": -1})),
        whole(json!({"allowed_domains": ["*"]})),
        whole(json!({"dayly_limit": 1})),
        json!("none"),
    ] {
        let refused = house
            .broker
            .pay
            .set_policy(&person(Role::Admin), &agent("a"), &body, None)
            .await;
        assert!(matches!(refused, Err(Trouble::InvalidRequest(_))), "{body}");
    }
    let kept = house
        .broker
        .pay
        .policy(&person(Role::Admin), &agent("a"))
        .await
        .unwrap();
    assert_eq!((kept.version, kept.policy.daily_limit), (1, Some(5)));
}

#[tokio::test]
async fn without_a_policy_nothing_is_allowed_and_a_decision_names_its_version() {
    let house = House::new().await;
    let blocked = house.transfer("a", 100).await;
    assert_eq!(blocked.proposal.fixed.reason, Reason::NoPolicy);
    let who = person(Role::Operator);
    house
        .broker
        .pay
        .set_policy(&who, &agent("a"), &whole(json!({})), None)
        .await
        .unwrap();
    house
        .broker
        .pay
        .set_policy(
            &who,
            &agent("a"),
            &whole(json!({"per_txn_limit": 100})),
            None,
        )
        .await
        .unwrap();
    let allowed = house.transfer("a", 100).await;
    assert_eq!(allowed.proposal.state, State::Allowed);
    assert_eq!(allowed.proposal.fixed.policy_version, Some(2));
    let over = house.transfer("a", 101).await;
    assert_eq!(over.proposal.fixed.reason, Reason::TxnLimitExceeded);
}

#[tokio::test]
async fn what_was_allowed_is_not_committed_under_a_policy_that_would_not_allow_it() {
    let narrower = [
        json!({"per_txn_limit": 99}),
        json!({"daily_limit": 299}),
        json!({"require_approval_above": 99}),
        json!({"valid_until": "2026-11-20T10:00:00Z"}),
    ];
    for policy in narrower {
        let house = house(json!({})).await;
        let first = house.transfer("a", 100).await;
        house.transfer("a", 200).await;
        let who = person(Role::Operator);
        house
            .broker
            .pay
            .set_policy(&who, &agent("a"), &whole(policy.clone()), None)
            .await
            .unwrap();
        let refused = commit(&house, &first).await;
        assert_eq!(refusal(&refused), Some(Refusal::PolicyChanged), "{policy}");
        // The token stays good for when the policy allows it again.
        house
            .broker
            .pay
            .set_policy(&who, &agent("a"), &whole(json!({"daily_limit": 300})), None)
            .await
            .unwrap();
        assert_eq!(refusal(&commit(&house, &first).await), None, "{policy}");
    }
    let house = house(json!({})).await;
    let first = house.transfer("a", 100).await;
    house
        .broker
        .pay
        .delete_policy(&person(Role::Operator), &agent("a"))
        .await
        .unwrap();
    assert_eq!(
        refusal(&commit(&house, &first).await),
        Some(Refusal::PolicyChanged)
    );
    assert_eq!(
        house.transfer("a", 1).await.proposal.fixed.reason,
        Reason::NoPolicy
    );
}

#[tokio::test]
async fn a_freeze_stops_proposals_and_commits_until_it_is_lifted() {
    use FreezeScope::{Agent, All, Tool, Vendor};
    let cases = [
        (All, None, true),
        (Agent, Some("a"), true),
        (Agent, Some("b"), false),
        (Tool, Some("transfer_funds"), true),
        (Tool, Some("create_payout"), false),
        (Vendor, Some("acct_123"), true),
        (Vendor, Some("acct_999"), false),
    ];
    for (scope, id, covered) in cases {
        let house = house(json!({})).await;
        house
            .policy("b", &hundi::domain::policy::Policy::default())
            .await;
        let who = person(Role::Operator);
        let first = house.transfer("a", 100).await;
        house
            .broker
            .pay
            .freeze(&who, scope, id, "drill")
            .await
            .unwrap();
        let frozen = house.transfer("a", 100).await.proposal.fixed.reason;
        assert_eq!(frozen == Reason::Frozen, covered, "{scope:?} {id:?}");
        let refused = refusal(&commit(&house, &first).await);
        assert_eq!(
            refused,
            covered.then_some(Refusal::Frozen),
            "{scope:?} {id:?}"
        );
        let left = house
            .broker
            .pay
            .unfreeze(&who, scope, id, "over")
            .await
            .unwrap();
        assert!(left.0.is_empty());
        if covered {
            assert_eq!(refusal(&commit(&house, &first).await), None);
        }
        let told = kinds(&house).await;
        assert!(told.contains(&"frozen".to_owned()) && told.contains(&"unfrozen".to_owned()));
    }
}

#[tokio::test]
async fn another_node_honours_a_freeze_it_has_not_heard_of() {
    let house = house(json!({})).await;
    let other = house.again(Plan::default()).await;
    let first = other.transfer("a", 100).await;
    house
        .broker
        .pay
        .freeze(&person(Role::Admin), FreezeScope::All, None, "now")
        .await
        .unwrap();
    // No refresh, no waiting: the claim itself is written under a guard on the freezes.
    assert_eq!(
        refusal(&commit(&other, &first).await),
        Some(Refusal::Frozen)
    );
    assert_eq!(
        other.transfer("a", 100).await.proposal.fixed.reason,
        Reason::Frozen
    );
}

#[tokio::test]
async fn freezes_are_for_operators_and_say_what_they_need() {
    use FreezeScope::{Agent, All, Tool, Vendor};
    let house = House::new().await;
    let broker = &house.broker;
    let approver = person(Role::Approver);
    assert!(
        broker
            .pay
            .freeze(&approver, All, None, "an alarm")
            .await
            .is_ok()
    );
    assert!(
        broker
            .pay
            .unfreeze(&approver, All, None, "x")
            .await
            .is_err()
    );
    let operator = person(Role::Operator);
    assert!(
        broker
            .pay
            .unfreeze(&operator, All, None, "over")
            .await
            .is_ok()
    );
    for who in [person(Role::Auditor), agent_of("a")] {
        let refused = broker.pay.freeze(&who, All, None, "x").await;
        assert_eq!(refused, Err(Trouble::Forbidden { roles: who.roles }));
        assert!(broker.pay.unfreeze(&who, All, None, "x").await.is_err());
    }
    let who = person(Role::Operator);
    for (scope, id, reason) in [
        (All, Some("a"), "x"),
        (Agent, None, "x"),
        (Agent, Some("a b"), "x"),
        (Tool, Some(""), "x"),
        (Vendor, None, "x"),
        (All, None, " "),
    ] {
        let refused = broker.pay.freeze(&who, scope, id, reason).await;
        assert!(
            matches!(refused, Err(Trouble::InvalidRequest(_))),
            "{scope:?} {id:?}"
        );
    }
    let none = broker.pay.unfreeze(&who, All, None, "x").await;
    assert_eq!(none, Err(Trouble::NotFound("freeze")));
    broker.pay.freeze(&who, All, None, "first").await.unwrap();
    let twice = broker.pay.freeze(&who, All, None, "second").await.unwrap();
    assert_eq!(twice.0.len(), 1, "freezing again renews the reason");
    assert_eq!(twice.0[0].reason, "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_at_once_against_a_budget_for_ten_let_exactly_ten_pass() {
    let house = Arc::new(house(unhurried(json!({"daily_limit": 100_000}))).await);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { noop(&house, 10_000).await })
        })
        .collect();
    let mut allowed = Vec::new();
    for task in tasks {
        let proposed = task.await.unwrap();
        match proposed.proposal.state {
            State::Allowed => allowed.push(proposed),
            _ => assert_eq!(proposed.proposal.fixed.reason, Reason::LimitExceeded),
        }
    }
    assert_eq!(allowed.len(), 10);
    let view = async || {
        house
            .broker
            .pay
            .budget(&agent_of("a"), &agent("a"))
            .await
            .unwrap()
    };
    let full = view().await;
    assert_eq!(
        (full.reserved, full.posted, full.remaining),
        (100_000, 0, Some(0))
    );

    let committed = commit(&house, &allowed[0]).await;
    assert!(matches!(committed, Committed::Settled(_)));
    house
        .broker
        .pay
        .cancel(&agent_of("a"), allowed[1].proposal.id())
        .await
        .unwrap();
    let left = view().await;
    assert_eq!((left.reserved, left.posted), (80_000, 10_000));
    assert_eq!(left.remaining, Some(10_000));
    assert_eq!(
        noop(&house, 10_001).await.proposal.fixed.reason,
        Reason::LimitExceeded
    );
    assert_eq!(noop(&house, 10_000).await.proposal.state, State::Allowed);
}

#[tokio::test]
async fn what_another_node_spent_or_gave_back_counts_at_once() {
    let house = house(unhurried(json!({"daily_limit": 100_000}))).await;
    let other = house.again(Plan::default()).await;
    // Both have looked at the day's budget, and remember it.
    noop(&house, 10_000).await;
    noop(&other, 10_000).await;
    let large = noop(&house, 60_000).await;
    assert_eq!(large.proposal.state, State::Allowed);
    let over = noop(&other, 20_001).await.proposal;
    assert_eq!(over.fixed.reason, Reason::LimitExceeded);
    let words = &over.fixed.findings[0].detail;
    assert!(words.contains("800.00 INR is reserved or spent"), "{words}");
    let who = agent_of("a");
    let given_back = other.broker.pay.cancel(&who, large.proposal.id()).await;
    given_back.unwrap();
    assert_eq!(noop(&house, 80_000).await.proposal.state, State::Allowed);
    for house in [&house, &other] {
        let over = noop(house, 1).await.proposal;
        assert_eq!(over.fixed.reason, Reason::LimitExceeded);
    }
}

#[tokio::test]
async fn a_reservation_belongs_to_the_day_it_was_made_on() {
    let settings = Settings {
        zone: jiff::tz::TimeZone::get("Asia/Kolkata").unwrap(),
        allowed_ttl_secs: 48 * 3_600,
        ..Settings::default()
    };
    let house = House::with(Plan {
        settings,
        ..Plan::default()
    })
    .await;
    let (broker, who) = (&house.broker, person(Role::Operator));
    broker
        .pay
        .set_policy(
            &who,
            &agent("a"),
            &whole(json!({"daily_limit": 1_000})),
            None,
        )
        .await
        .unwrap();
    // 10:00 UTC is 15:30 in Kolkata: to 23:59:59, then over midnight.
    house.clock.forward(8 * 3_600 + 1_799);
    let before = house.transfer("a", 1_000).await;
    assert_eq!(
        house.transfer("a", 1).await.proposal.fixed.reason,
        Reason::LimitExceeded
    );
    let view = async || broker.pay.budget(&who, &agent("a")).await.unwrap();
    assert_eq!(view().await.day.to_string(), "2026-11-20");
    house.clock.forward(1);
    assert_eq!(view().await.day.to_string(), "2026-11-21");
    assert_eq!(view().await.remaining, Some(1_000));
    assert_eq!(
        house.transfer("a", 400).await.proposal.state,
        State::Allowed
    );
    // What comes back comes back to yesterday.
    broker
        .pay
        .cancel(&agent_of("a"), before.proposal.id())
        .await
        .unwrap();
    assert_eq!(
        (view().await.reserved, view().await.remaining),
        (400, Some(600))
    );
}

#[tokio::test]
async fn the_eleventh_request_in_a_minute_waits_and_waiting_helps() {
    let house = house(json!({})).await;
    for _ in 0..10 {
        assert_eq!(house.transfer("a", 1).await.proposal.state, State::Allowed);
    }
    house.clock.forward(20);
    for _ in 0..30 {
        let limited = house.transfer("a", 1).await;
        assert_eq!(limited.proposal.fixed.reason, Reason::RateLimited);
        assert_eq!(limited.retry_after_secs, Some(40));
    }
    house.clock.forward(40);
    assert_eq!(house.transfer("a", 1).await.proposal.state, State::Allowed);
}

#[tokio::test]
async fn an_amount_far_outside_the_history_is_held_and_a_usual_one_is_not() {
    let house = house(unhurried(json!({}))).await;
    for index in 0..30 {
        let usual = noop(&house, 9_900 + index * 10).await;
        assert_eq!(usual.proposal.state, State::Allowed);
        commit(&house, &usual).await;
    }
    let (who, a) = (agent_of("a"), agent("a"));
    let asked = async |minor| {
        let payee = Payee::default();
        let risk = house.broker.pay.score_risk(&who, &a, minor, &payee).await;
        risk.unwrap()["is_anomalous"].clone()
    };
    for _ in 0..50 {
        assert_eq!(asked(10_000_000).await, true, "asking teaches nothing");
    }
    assert_eq!(asked(10_500).await, false);
    let odd = house.transfer("a", 10_000_000).await;
    assert_eq!(odd.proposal.state, State::Held);
    assert_eq!(odd.proposal.fixed.reason, Reason::AnomalyDetected);
    assert_eq!(
        house.transfer("a", 10_500).await.proposal.state,
        State::Allowed
    );
    let profile = house
        .broker
        .pay
        .risk_profile(&person(Role::Auditor), &agent("a"))
        .await
        .unwrap();
    assert_eq!(
        profile["total_transactions"], 30,
        "what was only asked for is none"
    );
}

/// What a freeze, or a crash, kept from being committed at once.
#[tokio::test]
async fn what_people_approved_for_an_agent_gone_home_is_committed_when_it_may_be() {
    let policy = json!({"require_approval_above": 50, "execute_on_approval": true});
    let house = house(unhurried(policy)).await;
    let request = ProposeRequest {
        tool: "create_payout".to_owned(),
        arguments: json!({
            "fund_account_id": "fa_00000000000001", "amount": 100, "currency": "INR",
            "mode": "IMPS", "purpose": "payout",
        }),
        ..ProposeRequest::default()
    };
    let held = house
        .broker
        .pay
        .propose(&agent_of("a"), request)
        .await
        .unwrap();
    let id = held.proposal.id();
    let (operator, approver) = (person(Role::Operator), person(Role::Approver));
    let freeze = house
        .broker
        .pay
        .freeze(&operator, FreezeScope::All, None, "a drill")
        .await;
    freeze.unwrap();
    house.broker.pay.approve(&approver, id).await.unwrap();
    let state = async || house.store.proposal(id).await.unwrap().unwrap().state;
    house.clock.forward(6);
    for _ in 0..3 {
        assert_eq!(house.broker.pay.work_errands().await.unwrap(), 1);
        assert_eq!(state().await, State::Allowed, "frozen");
    }
    house
        .broker
        .pay
        .unfreeze(&operator, FreezeScope::All, None, "over")
        .await
        .unwrap();
    // By whichever process comes by.
    let other = house.again(Plan::default()).await;
    other.broker.pay.work_errands().await.unwrap();
    assert_eq!(state().await, State::Executed);
    other.broker.pay.work_errands().await.unwrap();
    assert_eq!(
        other.broker.pay.work_errands().await.unwrap(),
        0,
        "done is done"
    );
    assert_eq!(house.bank.calls("create_payout").len(), 1);
}

/// What was asked for when it was proposed is asked for when it is approved, too.
#[tokio::test]
async fn nothing_is_committed_at_once_where_the_policy_in_force_does_not_say_so() {
    let policy = json!({"require_approval_above": 50, "execute_on_approval": true});
    let house = house(unhurried(policy)).await;
    let (operator, approver) = (person(Role::Operator), person(Role::Approver));
    for at_once in [true, false] {
        let change = json!({"execute_on_approval": at_once});
        let pay = &house.broker.pay;
        let asked = json!({"execute_on_approval": true});
        pay.change_policy(&operator, &agent("a"), &asked, None)
            .await
            .unwrap();
        let amount = if at_once { 100 } else { 200 };
        let id = house.transfer("a", amount).await.proposal.id();
        pay.change_policy(&operator, &agent("a"), &change, None)
            .await
            .unwrap();
        pay.approve(&approver, id).await.unwrap();
        house.clock.forward(6);
        pay.work_errands().await.unwrap();
        let state = house.store.proposal(id).await.unwrap().unwrap().state;
        assert_eq!(state == State::Allowed, !at_once, "{state:?}");
    }
}

/// Proposing twice does not make a payee known.
#[tokio::test]
async fn a_payee_is_new_until_something_was_committed() {
    let house = house(unhurried(json!({}))).await;
    let remarked = async |to: &str| {
        let request = ProposeRequest {
            tool: "create_payout".to_owned(),
            arguments: json!({
                "fund_account_id": to, "amount": 100, "currency": "INR", "mode": "IMPS",
                "purpose": "payout",
            }),
            ..ProposeRequest::default()
        };
        let answer = house
            .broker
            .pay
            .propose(&agent_of("a"), request)
            .await
            .unwrap();
        let findings = &answer.proposal.fixed.findings;
        let new = findings
            .iter()
            .any(|finding| finding.reason == Reason::NewPayee);
        (new, answer)
    };
    let (new, first) = remarked("fa_00000000000001").await;
    assert!(!new, "there is nobody yet to compare with");
    commit(&house, &first).await;
    for _ in 0..2 {
        assert!(remarked("fa_00000000000002").await.0);
    }
    let (_, answer) = remarked("fa_00000000000002").await;
    commit(&house, &answer).await;
    assert!(!remarked("fa_00000000000002").await.0, "remembered");
    house.clock.forward(1);
    let after_restart = house.again(Plan::default()).await;
    let past = after_restart
        .store
        .history(&OrgId::default(), &agent("a"), 10)
        .await
        .unwrap();
    assert_eq!(past.len(), 2, "stored");
}

#[tokio::test]
async fn a_prompt_that_names_another_amount_holds_whatever_the_samples_say() {
    let house = house(json!({})).await;
    let request = |prompt: &str| ProposeRequest {
        tool: "transfer_funds".to_owned(),
        arguments: json!({"amount": 1_000_000, "to": "acct_123"}),
        prompt: Some(prompt.to_owned()),
        samples: vec!["Paid 10,000.".to_owned(), "Paid 10,000.".to_owned()],
        ..ProposeRequest::default()
    };
    let who = agent_of("a");
    let held = house
        .broker
        .pay
        .propose(&who, request("Pay Rs 100 to acct_123"))
        .await
        .unwrap();
    assert_eq!(held.proposal.fixed.reason, Reason::PromptContradicted);
    let other = house
        .broker
        .pay
        .propose(&who, request("Pay Rs 10,000 to acct_124"))
        .await
        .unwrap();
    assert_eq!(other.proposal.fixed.reason, Reason::PromptContradicted);
    let fine = house
        .broker
        .pay
        .propose(&who, request("Pay Rs 10,000 to acct_123"))
        .await
        .unwrap();
    assert_eq!(fine.proposal.state, State::Allowed);
}

#[tokio::test]
async fn samples_are_seeded_once_and_never_over_what_is_there() {
    let house = House::new().await;
    let (broker, who) = (&house.broker, person(Role::Operator));
    let own = whole(json!({"daily_limit": 1}));
    broker
        .pay
        .set_policy(&who, &agent("cursor-finance-bot"), &own, None)
        .await
        .unwrap();
    let given = |seeded: Vec<(_, bool)>| seeded.into_iter().filter(|(_, given)| *given).count();
    assert_eq!(given(broker.pay.seed_policies(&who).await.unwrap()), 3);
    assert_eq!(given(broker.pay.seed_policies(&who).await.unwrap()), 0);
    let kept = broker
        .pay
        .policy(&who, &agent("cursor-finance-bot"))
        .await
        .unwrap();
    assert_eq!(kept.policy.daily_limit, Some(1));
    let names: Vec<String> = broker
        .pay
        .agents(&who)
        .await
        .unwrap()
        .into_iter()
        .map(|view| view.agent.to_string())
        .collect();
    let expected = [
        "cursor-finance-bot",
        "demo-agent-restricted",
        "openclaw-agent-001",
        "openclaw-agent-002",
    ];
    assert_eq!(names, expected);
    assert!(broker.pay.seed_policies(&agent_of("a")).await.is_err());

    assert_eq!(
        broker
            .pay
            .seed_sandbox_policy(&who, &agent("agent-1"))
            .await,
        Ok(true)
    );
    assert_eq!(
        broker
            .pay
            .seed_sandbox_policy(&who, &agent("agent-1"))
            .await,
        Ok(false)
    );
    broker
        .pay
        .delete_policy(&who, &agent("agent-1"))
        .await
        .unwrap();
    let again = broker
        .pay
        .seed_sandbox_policy(&who, &agent("agent-1"))
        .await;
    assert_eq!(
        again,
        Ok(false),
        "what an operator took away does not come back by itself"
    );
}
