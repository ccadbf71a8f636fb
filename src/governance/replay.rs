//! Another policy, tried on a request of the past with the facts as they were.
//!
//! What no policy changes stands as it was found then. What a policy changes is decided anew by the
//! very checks that decide proposals. Where these need a fact that nobody learned then, nothing is
//! guessed: the request cannot be replayed, and it is said why. A policy's own dates are left out of
//! account, since the question is what it would say if it were in force.

use std::sync::Arc;

use super::{
    Check, Request, approval, budget, domains, payee, policy, rate, repeat, reputation, taint,
};
use crate::domain::facts::{
    Earlier, Entity, Fact, Facts, Freezes, Registration, Reputation, ToolPace,
};
use crate::domain::past::{Heard, PastFacts};
use crate::domain::payee::{PayeeId, RegisteredPayee};
use crate::domain::policy::Policy;
use crate::domain::reason::{Finding, Reason, Verdict};
use crate::domain::time::Timestamp;

/// Checks that a policy has a say in, in their order.
const OF_POLICIES: &[Check] = &[
    policy::in_force,
    policy::tool_allowed,
    policy::currency_allowed,
    payee::registered,
    policy::amount_limit,
    rate::within_window,
    rate::within_bucket,
    budget::daily_limit,
    domains::plausible,
    domains::listed,
    reputation::risk,
    reputation::entity,
    repeat::repeated,
    taint::tainted,
];

/// What is decided of our own books alone, before others are asked.
const AT_HOME: usize = 10;

/// What was found whatever the policy said.
fn stands(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AnomalyDetected
            | Reason::LowIntegrity
            | Reason::IntegrityUnknown
            | Reason::PromptContradicted
            | Reason::NewPayee
    )
}

/// Why a request cannot be replayed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Unknown {
    /// It was decided before facts were kept, or by a program that keeps others.
    NoFacts,
    /// Its tool is not there any more, or is another one.
    NoTool,
    /// It was no agent's own.
    NotAsked,
    /// Nobody asked about the vendor's site then.
    Site,
    /// Nobody asked the register of legal entities then.
    Register,
    /// Nobody looked at what the agent had read then.
    Reading,
}

impl Unknown {
    /// For programs.
    pub fn code(self) -> &'static str {
        match self {
            Unknown::NoFacts => "no_facts",
            Unknown::NoTool => "tool_gone",
            Unknown::NotAsked => "not_an_agents",
            Unknown::Site => "site_not_asked",
            Unknown::Register => "register_not_asked",
            Unknown::Reading => "reading_not_kept",
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Unknown::NoFacts => "decided before its facts were kept",
            Unknown::NoTool => "its tool is not there any more, or has changed",
            Unknown::NotAsked => "found at the bank, or a consequence of another: no agent asked",
            Unknown::Site => "refused then before anybody asked about the vendor's site",
            Unknown::Register => "nobody asked the register of legal entities then",
            Unknown::Reading => "the policy of then did not look at what the agent had read",
        }
    }
}

/// A request of the past.
#[derive(Clone, Debug)]
pub struct Past<'a> {
    /// What was asked.
    pub request: Request<'a>,
    /// When.
    pub at: Timestamp,
    /// What was known.
    pub facts: &'a PastFacts,
    /// What was found.
    pub found: &'a [Finding],
    /// Reserved and spent of its day before it, where the facts do not say.
    pub spent_today: i64,
    /// Requests before it within the window of the policy that is tried.
    pub recent: u32,
    /// The payment that it repeats within the window of the policy that is tried.
    pub earlier: Option<Earlier>,
    /// What each sum of the policy that is tried held before it.
    pub sums: Vec<i64>,
}

/// What the policy would have decided.
pub fn replay(past: &Past<'_>, policy: &Policy) -> Result<Verdict, Unknown> {
    if !past.facts.is_known() {
        return Err(Unknown::NoFacts);
    }
    let facts = facts(past, policy);
    let frozen = past.found.iter().filter(|one| one.reason == Reason::Frozen);
    let mut findings: Vec<Finding> = frozen.cloned().collect();
    let of = |checks: &[Check]| -> Vec<Finding> {
        let found = checks
            .iter()
            .filter_map(|check| check(&past.request, &facts));
        found.collect()
    };
    findings.extend(of(&OF_POLICIES[..AT_HOME]));
    if !matches!(Verdict::of(findings.clone()), Verdict::Block(_)) {
        unasked(past, policy)?;
    }
    findings.extend(of(&OF_POLICIES[AT_HOME..]));
    let standing = past.found.iter().filter(|one| stands(one.reason));
    findings.extend(standing.cloned());
    findings.extend(approval::required(&past.request, &facts));
    Ok(Verdict::of(findings))
}

/// Whether others would have had to be asked, and were not.
fn unasked(past: &Past<'_>, policy: &Policy) -> Result<(), Unknown> {
    if past.facts.reputation == Heard::Unasked {
        return Err(Unknown::Site);
    }
    let money = past.request.effective.moves_money();
    if policy.require_verified_entity && money && past.facts.entity == Heard::Unasked {
        return Err(Unknown::Register);
    }
    if policy.taint.is_some() && past.facts.tainted == Heard::Unasked {
        return Err(Unknown::Reading);
    }
    Ok(())
}

fn facts(past: &Past<'_>, policy: &Policy) -> Facts {
    let kept = past.facts;
    let recent = kept
        .recent
        .filter(|(_, window)| *window == policy.rate_limit.window_secs);
    let in_force = Policy {
        valid_from: None,
        valid_until: None,
        ..policy.clone()
    };
    Facts {
        freezes: Fact::Known(Freezes::default()),
        policy: Fact::Known(Some(in_force)),
        spent_today: Fact::Known(kept.spent_today.unwrap_or(past.spent_today)),
        recent_requests: Fact::Known(recent.map_or(past.recent, |(count, _)| count)),
        tool_pace: Fact::Known(match kept.bucket_empty {
            true => ToolPace::Empty {
                retry_after_secs: 1,
            },
            false => ToolPace::Granted,
        }),
        registration: Fact::Known(Registration {
            payee: kept.registered.then(|| registered(past)),
            namesake: None,
        }),
        reputation: match &kept.reputation {
            Heard::Said(said) => Fact::Known(said.clone()),
            Heard::Silent => Fact::Missing,
            Heard::Needless | Heard::Unasked => Fact::Known(Reputation::NotAsked),
        },
        entity: match &kept.entity {
            Heard::Said(said) => Fact::Known(said.clone()),
            Heard::Silent => Fact::Missing,
            Heard::Needless | Heard::Unasked => Fact::Known(Entity::NotAsked),
        },
        history: Fact::Known(Arc::default()),
        earlier: Fact::Known(past.earlier.clone()),
        tainted: match &kept.tainted {
            Heard::Said(read) => Fact::Known(read.clone()),
            Heard::Silent => Fact::Missing,
            Heard::Needless | Heard::Unasked => Fact::Known(None),
        },
        sums: Fact::Known(past.sums.clone()),
        ..Facts::missing(past.at)
    }
}

/// The payee as the registry had it, as far as a policy asks: that there was one.
fn registered(past: &Past<'_>) -> RegisteredPayee {
    let name = past.request.payee.name.clone().unwrap_or_default();
    RegisteredPayee {
        id: PayeeId::of_name(&name),
        vendor_url: past.request.payee.url.clone(),
        lei: None,
        fund_accounts: Vec::new(),
        labels: Vec::new(),
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::names::Decision;
    use crate::domain::policy::RateLimit;
    use crate::governance::CHECKS;
    use crate::governance::testing::{Sample, facts as usual_facts};

    fn usual() -> Policy {
        let facts = usual_facts();
        facts.policy.known().cloned().flatten().unwrap()
    }

    fn kept() -> PastFacts {
        let facts = Facts {
            spent_today: Fact::Known(1_000),
            recent_requests: Fact::Known(3),
            tool_pace: Fact::Known(ToolPace::Granted),
            reputation: Fact::Known(Reputation::NotAsked),
            entity: Fact::Known(Entity::NotAsked),
            ..Facts::missing(Timestamp::from_secs(1))
        };
        PastFacts::of(&facts, 60, false)
    }

    fn tried(
        facts: &PastFacts,
        found: &[Finding],
        policy: &Policy,
    ) -> Result<(Decision, Reason), Unknown> {
        let sample = Sample::default();
        let past = Past {
            request: sample.request(),
            at: Timestamp::from_secs(1_000),
            facts,
            found,
            spent_today: 0,
            recent: 0,
            earlier: None,
            sums: vec![0; policy.approval_above.len()],
        };
        let verdict = replay(&past, policy)?;
        Ok((verdict.decision(), verdict.headline()))
    }

    #[test]
    #[rustfmt::skip]
    fn another_policy_decides_with_the_facts_as_they_were() {
        let with = |change: fn(&mut Policy)| { let mut policy = usual(); change(&mut policy); policy };
        let low = [Finding::block(Reason::LowIntegrity, "")];
        let asked = [Finding::hold(Reason::ApprovalRequired, "of then")];
        type Case<'a> = (Policy, &'a [Finding], Result<(Decision, Reason), Unknown>);
        // The sample asks for 100.
        let cases: [Case<'_>; 9] = [
            (usual(), &[], Ok((Decision::Approved, Reason::PolicyOk))),
            (usual(), &asked, Ok((Decision::Approved, Reason::PolicyOk))),
            (usual(), &low, Ok((Decision::Rejected, Reason::LowIntegrity))),
            (with(|it| it.per_txn_limit = Some(99)), &low, Ok((Decision::Rejected, Reason::TxnLimitExceeded))),
            (with(|it| it.daily_limit = Some(1_099)), &[], Ok((Decision::Rejected, Reason::LimitExceeded))),
            (with(|it| it.require_approval_above = Some(99)), &[], Ok((Decision::Held, Reason::ApprovalRequired))),
            (with(|it| it.rate_limit = RateLimit { max: 3, window_secs: 60 }), &[], Ok((Decision::Rejected, Reason::RateLimited))),
            (with(|it| it.require_verified_entity = true), &[], Err(Unknown::Register)),
            // What is refused at home needs no word of others.
            (with(|it| { it.require_verified_entity = true; it.per_txn_limit = Some(1) }), &[], Ok((Decision::Rejected, Reason::TxnLimitExceeded))),
        ];
        for (index, (policy, found, expected)) in cases.into_iter().enumerate() {
            assert_eq!(tried(&kept(), found, &policy), expected, "case {index}");
        }
    }

    #[test]
    fn a_policy_that_ended_is_tried_all_the_same() {
        let mut policy = usual();
        policy.valid_until = Some(Timestamp::from_secs(1));
        assert_eq!(
            tried(&kept(), &[], &policy),
            Ok((Decision::Approved, Reason::PolicyOk))
        );
    }

    /// A new check has to be replayed or to stand: this counts them.
    #[test]
    fn every_check_is_replayed_or_stands() {
        let standing = 7; // frozen, unusual, low, unknown, contradicted, misnamed, new_payee
        assert_eq!(OF_POLICIES.len() + 1 + standing, CHECKS.len());
    }
}
