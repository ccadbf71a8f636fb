//! All checks together: the order of contract section 10, and what may never happen.

use proptest::prelude::*;

use super::testing::{Sample, facts, inr};
use super::*;
use crate::domain::facts::{Entity, Freeze, FreezeScope, Freezes, OnMissing, Reputation};
use crate::domain::policy::{Per, RateLimit, SumLimit};
use crate::domain::reason::Reason;
use crate::domain::time::Timestamp;

fn headline(sample: &Sample, facts: &Facts) -> (&'static str, Reason) {
    let verdict = decide(&sample.request(), facts);
    let name = match verdict {
        Verdict::Allow(_) => "allow",
        Verdict::Hold(_) => "hold",
        Verdict::Block(_) => "block",
    };
    (name, verdict.headline())
}

fn reasons(verdict: &Verdict) -> Vec<Reason> {
    verdict
        .findings()
        .iter()
        .map(|finding| finding.reason)
        .collect()
}

/// A policy that every check has something to hold against, for the request of [`Sample`].
fn strict() -> Policy {
    Policy {
        daily_limit: Some(50),
        per_txn_limit: Some(50),
        require_approval_above: Some(50),
        blocked_domains: vec!["acme.example".into()],
        rate_limit: RateLimit {
            max: 1,
            window_secs: 60,
        },
        require_verified_entity: true,
        valid_until: Some(Timestamp::from_secs(1)),
        ..Policy::default()
    }
}

fn everything_wrong() -> Facts {
    let mut facts = facts();
    let freeze = Freeze {
        scope: FreezeScope::All,
        id: None,
        reason: "drill".into(),
        by: "key:op".into(),
        at: Timestamp::from_secs(0),
    };
    facts.freezes = Fact::Known(Freezes(vec![freeze]));
    facts.policy = Fact::Known(Some(strict()));
    facts.recent_requests = Fact::Known(1);
    facts.reputation = Fact::Known(Reputation::Unsafe(vec!["MALWARE".into()]));
    facts.entity = Fact::Known(Entity::Unverified);
    facts.earlier = Fact::Missing;
    facts.anomaly = Some("odd".into());
    facts.integrity.score.composite = Some(0.9);
    facts
}

#[test]
fn all_reasons_are_reported_in_the_order_of_the_contract() {
    let verdict = decide(&Sample::default().request(), &everything_wrong());
    assert_eq!(
        reasons(&verdict),
        [
            Reason::Frozen,
            Reason::NoPolicy,
            Reason::TxnLimitExceeded,
            Reason::RateLimited,
            Reason::LimitExceeded,
            Reason::DomainBlocked,
            Reason::RiskHigh,
            Reason::EntityUnverified,
            Reason::PossibleDuplicate,
            Reason::AnomalyDetected,
            Reason::LowIntegrity,
            Reason::ApprovalRequired,
        ]
    );
    assert_eq!(verdict.headline(), Reason::Frozen);
    let order: Vec<usize> = reasons(&verdict)
        .iter()
        .map(|reason| {
            Reason::ALL
                .iter()
                .position(|other| other == reason)
                .unwrap()
        })
        .collect();
    assert!(
        order.is_sorted(),
        "the checks run in the order of the table of codes"
    );
}

#[test]
fn what_passes_every_check_is_allowed_without_a_remark() {
    let verdict = decide(&Sample::default().request(), &facts());
    assert_eq!(verdict, Verdict::Allow(vec![]));
    assert_eq!(verdict.headline(), Reason::PolicyOk);
}

#[test]
fn a_refusal_outranks_a_hold_that_comes_first() {
    let mut facts = facts();
    facts.anomaly = Some("odd".into());
    assert_eq!(
        headline(&Sample::default(), &facts),
        ("hold", Reason::AnomalyDetected)
    );
    facts.integrity.score.composite = Some(0.45);
    assert_eq!(
        headline(&Sample::default(), &facts),
        ("block", Reason::LowIntegrity)
    );
}

#[test]
#[rustfmt::skip]
fn every_missing_fact_has_its_finding() {
    let all = Policy {
        daily_limit: Some(1_000),
        require_verified_entity: true,
        approval_above: vec![SumLimit { amount: 1_000, window_secs: 60, per: Per::Agent }],
        ..Policy::default()
    };
    let sums = Fact::Known(vec![900]);
    let base = Facts { policy: Fact::Known(Some(all)), sums, ..facts() };
    assert_eq!(headline(&Sample::default(), &base), ("allow", Reason::PolicyOk));
    type Spoil = fn(&mut Facts);
    let cases: [(Spoil, &str, Reason); 9] = [
        (|f| f.freezes = Fact::Missing,         "block", Reason::Frozen),
        (|f| f.policy = Fact::Missing,          "block", Reason::NoPolicy),
        (|f| f.recent_requests = Fact::Missing, "block", Reason::RateLimited),
        (|f| f.spent_today = Fact::Missing,     "block", Reason::LimitExceeded),
        (|f| f.reputation = Fact::Missing,      "hold",  Reason::ReputationUnavailable),
        (|f| f.entity = Fact::Missing,          "hold",  Reason::EntityUnverified),
        (|f| f.earlier = Fact::Missing,         "hold",  Reason::PossibleDuplicate),
        (|f| f.sums = Fact::Missing,            "hold",  Reason::ApprovalRequired),
        (|f| f.integrity.score = Default::default(), "hold", Reason::IntegrityUnknown),
    ];
    for (index, (spoil, severity, reason)) in cases.into_iter().enumerate() {
        let mut facts = base.clone();
        spoil(&mut facts);
        assert_eq!(headline(&Sample::default(), &facts), (severity, reason), "row {index}");
    }
    let nothing = Facts::missing(Timestamp::from_secs(1_000));
    assert_eq!(headline(&Sample::default(), &nothing), ("block", Reason::Frozen));
}

#[test]
#[rustfmt::skip]
fn a_commit_is_held_to_the_policy_of_its_moment() {
    let end = Some(Timestamp::from_secs(1_000));
    let base = Policy::default;
    // A request of 100, at second 1,000.
    let cases = [
        // policy now in force                                            besides      agreed  refused
        (Some(base()),                                                    None,        0,      false),
        (None,                                                            None,        9,      true),
        (Some(Policy { per_txn_limit: Some(100), ..base() }),             None,        0,      false),
        (Some(Policy { per_txn_limit: Some(99), ..base() }),              None,        0,      true),
        (Some(Policy { daily_limit: Some(100), ..base() }),               None,        0,      false),
        (Some(Policy { daily_limit: Some(99), ..base() }),                None,        0,      true),
        (Some(Policy { daily_limit: Some(150), ..base() }),               Some(50),    0,      false),
        (Some(Policy { daily_limit: Some(150), ..base() }),               Some(51),    0,      true),
        (Some(Policy { blocked_domains: vec!["*".into()], ..base() }),    None,        0,      true),
        (Some(Policy { valid_until: end, ..base() }),                     None,        0,      true),
        (Some(Policy { require_approval_above: Some(100), ..base() }),    None,        0,      false),
        (Some(Policy { require_approval_above: Some(99), ..base() }),     None,        0,      true),
        (Some(Policy { require_approval_above: Some(99), ..base() }),     None,        1,      false),
        (Some(Policy { require_approval_above: Some(99), approvals_needed: 2, ..base() }), None, 1, true),
        (Some(Policy { require_approval_above: Some(99), approvals_needed: 2, ..base() }), None, 2, false),
    ];
    let sample = Sample::default();
    for (policy, spent_besides, approvals, refused) in cases {
        let (freezes, policy) = (facts().freezes, Fact::Known(policy));
        let now = facts().now;
        let moment = Moment { now, freezes: &freezes, policy: &policy, registration: &Fact::Missing, spent_besides, approvals, asked: None };
        let refusal = recheck(&sample.request(), &moment).map(|(refusal, _)| refusal);
        assert_eq!(refusal, refused.then_some(Refusal::PolicyChanged), "{moment:?}");
    }
}

#[test]
fn a_freeze_stops_what_was_allowed_before_it() {
    let (now, policy) = (facts().now, facts().policy);
    for freezes in [everything_wrong().freezes, Fact::Missing] {
        let moment = Moment {
            now,
            freezes: &freezes,
            policy: &policy,
            registration: &Fact::Missing,
            spent_besides: None,
            approvals: 9,
            asked: None,
        };
        let refusal = recheck(&Sample::default().request(), &moment);
        assert_eq!(refusal.map(|(refusal, _)| refusal), Some(Refusal::Frozen));
    }
    let moment = Moment {
        now,
        freezes: &facts().freezes,
        policy: &Fact::Missing,
        registration: &Fact::Missing,
        spent_besides: None,
        approvals: 9,
        asked: None,
    };
    let refusal = recheck(&Sample::default().request(), &moment);
    assert_eq!(
        refusal.map(|(refusal, _)| refusal),
        Some(Refusal::PolicyChanged)
    );
}

fn any_fact<T: std::fmt::Debug + Clone>(
    known: impl Strategy<Value = T>,
) -> impl Strategy<Value = Fact<T>> {
    prop_oneof![4 => known.prop_map(Fact::Known), 1 => Just(Fact::Missing)]
}

fn any_limit() -> impl Strategy<Value = Option<i64>> {
    prop::option::of(0..300_i64)
}

prop_compose! {
    fn any_policy()(
        daily_limit in any_limit(),
        per_txn_limit in any_limit(),
        require_approval_above in any_limit(),
        blocked in prop::bool::weighted(0.2),
        allowed in prop::bool::weighted(0.2),
        max in 0..4_u32,
        require_verified_entity: bool,
        listed: bool,
        sum in any_limit(),
        per in prop::sample::select(vec![Per::Agent, Per::Payee]),
    ) -> Policy {
        Policy {
            daily_limit,
            per_txn_limit,
            require_approval_above,
            blocked_domains: blocked.then(|| "evil.com".to_owned()).into_iter().collect(),
            allowed_domains: allowed.then(|| "shop.acme.example".to_owned()).into_iter().collect(),
            allowed_tools: listed.then(|| vec!["*".to_owned()]),
            approval_above: sum.map(|amount| SumLimit { amount, window_secs: 60, per }).into_iter().collect(),
            rate_limit: RateLimit { max, window_secs: 60 },
            require_verified_entity,
            ..Policy::default()
        }
    }
}

prop_compose! {
    fn any_facts()(
        policy in any_fact(prop::option::weighted(0.9, any_policy())),
        frozen in any_fact(prop::bool::weighted(0.1)),
        spent_today in any_fact(0..300_i64),
        sum in any_fact(0..300_i64),
        earlier in any_fact(Just(None)),
        recent_requests in any_fact(0..5_u32),
        reputation in any_fact(prop::sample::select(vec![
            Reputation::NotAsked, Reputation::Safe, Reputation::Unsafe(vec!["MALWARE".into()]),
        ])),
        entity in any_fact(prop::sample::select(vec![
            Entity::NotAsked, Entity::Verified, Entity::Unverified,
        ])),
        composite in prop::option::of(0.0..0.6_f64),
        attested: bool,
        on_missing in prop::sample::select(vec![
            OnMissing::Hold, OnMissing::Allow, OnMissing::Block,
        ]),
    ) -> Facts {
        let mut facts = facts();
        facts.freezes = match frozen {
            Fact::Known(true) => everything_wrong().freezes,
            Fact::Known(false) => Fact::Known(Freezes::default()),
            Fact::Missing => Fact::Missing,
        };
        facts.policy = policy;
        facts.spent_today = spent_today;
        facts.earlier = earlier;
        facts.sums = match sum {
            Fact::Known(sum) => Fact::Known(vec![sum]),
            Fact::Missing => Fact::Missing,
        };
        facts.recent_requests = recent_requests;
        facts.reputation = reputation;
        facts.entity = entity;
        facts.integrity.score.composite = composite;
        facts.integrity.attested = attested;
        facts.integrity.on_missing = on_missing;
        facts
    }
}

fn any_effective() -> impl Strategy<Value = Effective> {
    prop_oneof![
        1 => Just(Effective::Nothing),
        1 => Just(Effective::Unbounded(crate::domain::money::Currency::INR)),
        6 => (1..300_i64).prop_map(inr),
    ]
}

/// 0 allowed, 1 held, 2 refused.
fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Allow(_) => 0,
        Verdict::Hold(_) => 1,
        Verdict::Block(_) => 2,
    }
}

proptest! {
    /// Whatever stops answering, no request gets further than it would have.
    #[test]
    fn forgetting_a_fact_never_helps(
        facts in any_facts(), effective in any_effective(), which in 0..9_usize,
    ) {
        // An operator who chose `allow` said that a missing score is no reason to stop.
        prop_assume!(which != 6 || facts.integrity.on_missing != OnMissing::Allow);
        let sample = Sample { effective, ..Sample::default() };
        let mut less = facts.clone();
        match which {
            0 => less.freezes = Fact::Missing,
            1 => less.policy = Fact::Missing,
            2 => less.spent_today = Fact::Missing,
            3 => less.recent_requests = Fact::Missing,
            4 => less.reputation = Fact::Missing,
            5 => less.entity = Fact::Missing,
            7 => less.earlier = Fact::Missing,
            8 => less.sums = Fact::Missing,
            _ => less.integrity.score = Default::default(),
        }
        let (before, after) = (decide(&sample.request(), &facts), decide(&sample.request(), &less));
        let forgot_bad_news = match which {
            4 => matches!(facts.reputation, Fact::Known(Reputation::Unsafe(_))),
            5 => facts.entity == Fact::Known(Entity::Unverified),
            6 => matches!(facts.integrity.score.composite, Some(0.45..)),
            _ => false,
        };
        if forgot_bad_news {
            // A refusal may become a hold, and nothing becomes an allow.
            prop_assert!(rank(&before) == 0 || rank(&after) > 0);
        } else {
            prop_assert!(rank(&after) >= rank(&before), "{before:?} became {after:?}");
        }
    }

    /// A narrower policy never lets through what a wider one stopped.
    #[test]
    fn narrowing_a_policy_never_helps(
        facts in any_facts(), policy in any_policy(), effective in any_effective(),
        which in 0..8_usize, limit in 0..300_i64,
    ) {
        let sample = Sample { effective, ..Sample::default() };
        let lower = |old: Option<i64>| Some(old.map_or(limit, |old| old.min(limit)));
        let mut narrow = policy.clone();
        match which {
            0 => narrow.daily_limit = lower(policy.daily_limit),
            1 => narrow.per_txn_limit = lower(policy.per_txn_limit),
            2 => narrow.require_approval_above = lower(policy.require_approval_above),
            3 => narrow.blocked_domains.push("acme.example".into()),
            4 => narrow.allowed_tools = Some(Vec::new()),
            // A policy with two sums asks for two figures; the first one stays what it was.
            7 if !policy.approval_above.is_empty() => narrow.approval_above[0].amount = policy.approval_above[0].amount.min(limit),
            7 => {}
            5 => narrow.require_verified_entity = true,
            _ => narrow.valid_until = Some(facts.now),
        }
        let with = |policy| Facts { policy: Fact::Known(Some(policy)), ..facts.clone() };
        let wide = decide(&sample.request(), &with(policy));
        let narrowed = decide(&sample.request(), &with(narrow));
        prop_assert!(rank(&narrowed) >= rank(&wide), "{wide:?} became {narrowed:?}");
    }

    /// More money never gets further than less.
    #[test]
    fn asking_for_more_never_helps(facts in any_facts(), less in 1..300_i64, more in 0..300_i64) {
        let small = Sample { effective: inr(less), ..Sample::default() };
        let large = Sample { effective: inr(less + more), ..Sample::default() };
        let (small, large) = (decide(&small.request(), &facts), decide(&large.request(), &facts));
        prop_assert!(rank(&large) >= rank(&small));
    }
}
