//! Does the amount fit into what is left of the day's budget?
//!
//! The check reads; the store decides. What is found here is what an agent is told, and
//! [`reserve`] is the condition under which the store writes, so two requests that both fit when
//! they looked cannot both be admitted when only one does.

use super::policy::{exceeds, shown};
use super::{Request, policy_of};
use crate::domain::change::{BudgetMove, Pot};
use crate::domain::facts::{Fact, Facts};
use crate::domain::money::{Currency, Effective, Money};
use crate::domain::reason::{Finding, Reason};

/// `LIMIT_EXCEEDED`: reserved and spent plus this is over the daily limit, or what is reserved
/// and spent could not be read.
pub fn daily_limit(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let policy = policy_of(facts)?;
    let limit = policy.daily_limit?;
    if !request.effective.moves_money() {
        return None;
    }
    let Fact::Known(spent) = facts.spent_today else {
        let why = "what was spent today could not be read, so nothing more can be";
        return Some(Finding::block(Reason::LimitExceeded, why));
    };
    let left = limit.saturating_sub(spent.max(0));
    exceeds(&request.effective, left)
        .then(|| over(&shown(request), spent, limit, policy.currency()))
}

/// The same finding for a race lost at the store, which then says what was taken.
pub fn lost_race(request: &Request<'_>, taken: i64, limit: i64, currency: Currency) -> Finding {
    over(&shown(request), taken, limit, currency)
}

/// What to reserve when a request is held or allowed: `None` if it moves no money.
///
/// An unbounded amount that no limit forbids reserves 0: there is no honest figure, but the row
/// has to exist, for what was settled to be posted on it.
pub fn reserve(request: &Request<'_>, facts: &Facts, pot: Pot) -> Option<BudgetMove> {
    let amount = match request.effective {
        Effective::Nothing => return None,
        Effective::Amount(money) => money.minor,
        Effective::Unbounded(_) => 0,
    };
    let limit = policy_of(facts).and_then(|policy| policy.daily_limit);
    Some(BudgetMove::Reserve { pot, amount, limit })
}

fn over(asked: &str, taken: i64, limit: i64, currency: Currency) -> Finding {
    let left = limit.saturating_sub(taken).max(0);
    let money = |minor| Money { minor, currency };
    let detail = format!(
        "{asked} does not fit: {} of today's {} is left, {} is reserved or spent",
        money(left),
        money(limit),
        money(taken)
    );
    Finding::block(Reason::LimitExceeded, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::Policy;
    use crate::domain::time::Day;
    use crate::governance::testing::{Sample, facts, inr};

    const UNBOUNDED: Effective = Effective::Unbounded(Currency::INR);

    fn with(daily_limit: Option<i64>, spent_today: Fact<i64>) -> Facts {
        let policy = Policy {
            daily_limit,
            ..Policy::default()
        };
        Facts {
            policy: Fact::Known(Some(policy)),
            spent_today,
            ..facts()
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_day_has_a_limit() {
        let cases = [
            (inr(100),           Some(1_000),    Fact::Known(900),      true),
            (inr(101),           Some(1_000),    Fact::Known(900),      false),
            (inr(1),             Some(1_000),    Fact::Known(1_000),    false),
            (inr(1),             Some(0),        Fact::Known(0),        false),
            (inr(101),           None,           Fact::Known(900),      true),
            (inr(1),             None,           Fact::Missing,         true),
            (inr(1),             Some(1_000),    Fact::Missing,         false),
            (inr(i64::MAX),      Some(i64::MAX), Fact::Known(1),        false),
            (inr(2_000),         Some(1_000),    Fact::Known(-5_000),   false), // nothing ever widens it
            (UNBOUNDED,          Some(i64::MAX), Fact::Known(0),        false),
            (UNBOUNDED,          None,           Fact::Known(0),        true),
            (Effective::Nothing, Some(0),        Fact::Missing,         true),
        ];
        for (effective, limit, spent, expected) in cases {
            let sample = Sample { effective, ..Sample::default() };
            let found = daily_limit(&sample.request(), &with(limit, spent.clone()));
            assert_eq!(found.is_none(), expected, "{effective:?} {limit:?} {spent:?}");
        }
    }

    #[test]
    fn the_finding_says_what_is_left() {
        let sample = Sample {
            effective: inr(20_000),
            ..Sample::default()
        };
        let found = daily_limit(&sample.request(), &with(Some(100_000), Fact::Known(90_000)));
        assert_eq!(
            found.unwrap().detail,
            "200.00 INR does not fit: 100.00 INR of today's 1,000.00 INR is left, \
             900.00 INR is reserved or spent"
        );
        let lost = lost_race(&sample.request(), 90_000, 100_000, Currency::INR);
        assert!(lost.detail.contains("100.00 INR of today's"));
    }

    #[test]
    fn what_moves_money_is_reserved_under_the_limit() {
        let pot = Pot {
            org: crate::domain::ids::OrgId::default(),
            agent: "agent-1".parse().unwrap(),
            day: Day::from_number(20_261_120),
            currency: Currency::INR,
        };
        let reserved = |effective, limit| {
            let sample = Sample {
                effective,
                ..Sample::default()
            };
            reserve(&sample.request(), &with(limit, Fact::Known(0)), pot.clone())
        };
        let held = |amount, limit| {
            Some(BudgetMove::Reserve {
                pot: pot.clone(),
                amount,
                limit,
            })
        };
        assert_eq!(reserved(inr(7), Some(10)), held(7, Some(10)));
        assert_eq!(reserved(inr(7), None), held(7, None));
        assert_eq!(reserved(UNBOUNDED, None), held(0, None));
        assert_eq!(reserved(Effective::Nothing, Some(10)), None);
    }
}
