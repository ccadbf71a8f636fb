//! Does a person have to agree, and how many?
//!
//! The threshold of the policy, its sums over a time, and the hold that an operator put on a tool both ask. Who may agree,
//! and that nobody agrees to their own request, is the broker's to see to.

use super::policy::{exceeds, shown};
use super::{Request, policy_of};
use crate::domain::facts::Facts;
use crate::domain::money::Money;
use crate::domain::policy::Per;
use crate::domain::reason::{Finding, Reason};

/// `APPROVAL_REQUIRED`: above the policy's threshold, alone or together with what went before, or a
/// tool that always waits.
pub fn required(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let threshold = policy_of(facts).and_then(|policy| {
        let above = policy.require_approval_above?;
        exceeds(&request.effective, above).then(|| {
            let above = Money {
                minor: above,
                currency: policy.currency(),
            };
            format!(
                "{} is above {above}, from which a person has to agree",
                shown(request)
            )
        })
    });
    let forced = request
        .tool
        .hold
        .then(|| format!("every use of {} waits for a person", request.tool.name));
    let whys = threshold.into_iter().chain(sums(request, facts));
    let whys: Vec<String> = whys.chain(forced).collect();
    let needed = !whys.is_empty();
    needed.then(|| Finding::hold(Reason::ApprovalRequired, whys.join("; ")))
}

/// Every sum of the policy that this request would take too far. One that could not be read is.
fn sums(request: &Request<'_>, facts: &Facts) -> Vec<String> {
    let Some(policy) = policy_of(facts).filter(|_| request.effective.moves_money()) else {
        return Vec::new();
    };
    let known = facts.sums.known();
    let money = |minor| Money {
        minor,
        currency: policy.currency(),
    };
    let each = policy.approval_above.iter().enumerate();
    let over = each.filter_map(|(index, sum)| {
        let whose = match sum.per {
            Per::Agent => "this agent's payments",
            Per::Payee => "payments to this payee",
        };
        let (above, secs) = (money(sum.amount), sum.window_secs);
        let Some(before) = known.and_then(|sums| sums.get(index)) else {
            return Some(format!(
                "{whose} of the last {secs} s could not be added up"
            ));
        };
        let left = sum.amount.saturating_sub((*before).max(0));
        exceeds(&request.effective, left).then(|| {
            format!(
                "with {} before it, it takes {whose} of {secs} s above {above}, from which a \
                 person has to agree",
                money(*before)
            )
        })
    });
    over.collect()
}

/// How many different people have to agree to what is held, for whatever reason it is.
pub fn needed(facts: &Facts) -> u32 {
    policy_of(facts).map_or(1, crate::domain::policy::Policy::people_needed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::facts::Fact;
    use crate::domain::money::{Currency, Effective};
    use crate::domain::policy::Policy;
    use crate::governance::testing::{Sample, facts, inr};

    #[test]
    #[rustfmt::skip]
    fn people_agree_above_the_threshold_or_always() {
        let cases = [
            (inr(500),                            Some(500), false, false),
            (inr(501),                            Some(500), false, true),
            (inr(501),                            None,      false, false),
            (inr(1),                              Some(500), true,  true),
            (inr(501),                            Some(500), true,  true),
            (Effective::Nothing,                  Some(0),   false, false),
            (Effective::Nothing,                  None,      true,  true),
            (Effective::Unbounded(Currency::INR), Some(i64::MAX), false, true),
        ];
        for (effective, require_approval_above, hold, expected) in cases {
            let policy = Policy { require_approval_above, ..Policy::default() };
            let facts = Facts { policy: Fact::Known(Some(policy)), ..facts() };
            let mut sample = Sample { effective, ..Sample::default() };
            sample.tool.hold = hold;
            let found = required(&sample.request(), &facts);
            assert_eq!(found.is_some(), expected, "{effective:?} {require_approval_above:?} {hold}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn splitting_does_not_get_under_a_sum() {
        use crate::domain::policy::SumLimit;
        let sum = |amount, per| SumLimit { amount, window_secs: 3_600, per };
        let (agent, payee) = (sum(1_000, Per::Agent), sum(500, Per::Payee));
        const UNBOUNDED: Effective = Effective::Unbounded(Currency::INR);
        let cases = [
            (inr(100), vec![agent],        Fact::Known(vec![900]),       false),
            (inr(101), vec![agent],        Fact::Known(vec![900]),       true),
            (inr(1),   vec![agent],        Fact::Known(vec![5_000]),     true),
            (inr(1_001), vec![agent],      Fact::Known(vec![-500]),      true), // nothing ever widens it
            (inr(100), vec![agent, payee], Fact::Known(vec![0, 400]),    false),
            (inr(100), vec![agent, payee], Fact::Known(vec![0, 401]),    true),
            (inr(100), vec![agent, payee], Fact::Known(vec![901, 0]),    true),
            (inr(1),   vec![agent],        Fact::Missing,                true),
            (inr(1),   vec![agent, payee], Fact::Known(vec![0]),         true),
            (inr(1),   vec![],             Fact::Missing,                false),
            (UNBOUNDED, vec![agent],       Fact::Known(vec![0]),         true),
            (Effective::Nothing, vec![agent], Fact::Missing,             false),
        ];
        for (effective, approval_above, sums, expected) in cases {
            let policy = Policy { approval_above, ..Policy::default() };
            let facts = Facts { policy: Fact::Known(Some(policy)), sums: sums.clone(), ..facts() };
            let sample = Sample { effective, ..Sample::default() };
            let found = required(&sample.request(), &facts);
            assert_eq!(found.is_some(), expected, "{effective:?} {sums:?} {found:?}");
        }
    }

    #[test]
    fn at_least_one_person_agrees() {
        for (asked, expected) in [(0, 1), (1, 1), (2, 2)] {
            let policy = Policy {
                approvals_needed: asked,
                ..Policy::default()
            };
            let facts = Facts {
                policy: Fact::Known(Some(policy)),
                ..facts()
            };
            assert_eq!(needed(&facts), expected);
        }
    }
}
