//! Does a person have to agree, and how many?
//!
//! The threshold of the policy and the hold that an operator put on a tool both ask. Who may agree,
//! and that nobody agrees to their own request, is the broker's to see to.

use super::policy::{exceeds, shown};
use super::{Request, policy_of};
use crate::domain::facts::Facts;
use crate::domain::money::Money;
use crate::domain::reason::{Finding, Reason};

/// `APPROVAL_REQUIRED`: above the policy's threshold, or a tool that always waits.
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
    let why = match (threshold, forced) {
        (None, None) => return None,
        (Some(why), None) | (None, Some(why)) => why,
        (Some(one), Some(other)) => format!("{one}; {other}"),
    };
    Some(Finding::hold(Reason::ApprovalRequired, why))
}

/// How many different people have to agree to what is held, for whatever reason it is.
pub fn needed(facts: &Facts) -> u32 {
    policy_of(facts).map_or(1, |policy| policy.approvals_needed.max(1))
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
