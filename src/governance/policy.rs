//! Is there a mandate, and does it cover this tool, this currency and this amount?
//!
//! `allowed_tools` is a white list. Without one an agent may use the tools that move money, and
//! its limits bound them; what moves none is bounded by nothing, so it has to be listed. A missing
//! policy is no permission.

use super::{Request, policy_of};
use crate::domain::facts::{Fact, Facts};
use crate::domain::money::{Effective, Money};
use crate::domain::reason::{Finding, Reason};

/// `NO_POLICY`: none was given, none is in force now, or none could be read.
pub fn in_force(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let detail = match &facts.policy {
        Fact::Missing => "the agent's policy could not be read".to_owned(),
        Fact::Known(None) => format!("the agent {} has no policy", request.agent),
        Fact::Known(Some(policy)) if policy.in_force(facts.now) => return None,
        Fact::Known(Some(policy)) => match (policy.valid_from, policy.valid_until) {
            (Some(from), _) if facts.now < from => format!("the policy begins at {from}"),
            (_, Some(until)) => format!("the policy ended at {until}"),
            (_, None) => "the policy is not in force".to_owned(),
        },
    };
    Some(Finding::block(Reason::NoPolicy, detail))
}

/// `TOOL_NOT_ALLOWED`: not on the list, or there is no list and it moves no money. What takes an
/// amount moves money, whether or not this request names one.
pub fn tool_allowed(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let policy = policy_of(facts)?;
    let name = request.tool.name.as_str();
    let moves_money = request.tool.money.moves_money() || request.effective.moves_money();
    (!policy.may_use(name, moves_money)).then(|| {
        let why = match policy.allowed_tools {
            Some(_) => format!("`allowed_tools` of the policy does not list {name}"),
            None => format!("{name} moves no money, so `allowed_tools` has to list it"),
        };
        Finding::block(Reason::ToolNotAllowed, why)
    })
}

/// `CURRENCY_NOT_ALLOWED`: limits in one currency say nothing about another.
pub fn currency_allowed(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let ours = policy_of(facts)?.currency();
    let asked = request.effective.currency()?;
    (asked != ours).then(|| {
        let why = format!("the request is in {asked}, the policy in {ours}");
        Finding::block(Reason::CurrencyNotAllowed, why)
    })
}

/// `TXN_LIMIT_EXCEEDED`: too much for one transaction, or nobody can say how much.
pub fn amount_limit(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    // Doors refuse it; checked again because a negative amount would pass every limit.
    if request.effective.minor() < 0 {
        let why = "a negative amount is no amount";
        return Some(Finding::block(Reason::TxnLimitExceeded, why));
    }
    if request.tool.lacks_amount(request.effective) {
        let why = "the tool moves what its amount says, and this names none";
        return Some(Finding::block(Reason::TxnLimitExceeded, why));
    }
    if request.effective.moves_money()
        && let Some(name) = request.tool.unread_money(request.args)
    {
        let why = format!(
            "the arguments say `{name}` where the tool takes anything, and no limit counts it"
        );
        return Some(Finding::block(Reason::TxnLimitExceeded, why));
    }
    let policy = policy_of(facts)?;
    let limit = policy.per_txn_limit?;
    exceeds(&request.effective, limit).then(|| {
        let limit = Money {
            minor: limit,
            currency: policy.currency(),
        };
        let why = format!(
            "{} is over the limit of {limit} for one transaction",
            shown(request)
        );
        Finding::block(Reason::TxnLimitExceeded, why)
    })
}

/// Whether an amount is over a limit. What is unbounded is over every limit.
pub(super) fn exceeds(effective: &Effective, limit: i64) -> bool {
    match effective {
        Effective::Nothing => false,
        Effective::Amount(money) => money.minor > limit,
        Effective::Unbounded(_) => true,
    }
}

/// The amount as people read it.
pub(super) fn shown(request: &Request<'_>) -> String {
    match &request.effective {
        Effective::Nothing => "nothing".to_owned(),
        Effective::Amount(money) => money.to_string(),
        Effective::Unbounded(currency) => format!("an unbounded amount of {currency}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;
    use crate::domain::policy::Policy;
    use crate::domain::time::Timestamp;
    use crate::domain::tool::{Executor, MoneyRule};
    use crate::governance::testing::{Sample, facts, inr};

    fn with(policy: Policy) -> Facts {
        Facts {
            policy: Fact::Known(Some(policy)),
            ..facts()
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_mandate_has_a_beginning_and_an_end() {
        let at = |secs| Some(Timestamp::from_secs(secs));
        // The facts' `now` is second 1,000.
        let cases = [
            (None,      None,      true),
            (at(1_000), None,      true),
            (at(1_001), None,      false),
            (None,      at(1_001), true),
            (None,      at(1_000), false),
            (at(900),   at(1_100), true),
        ];
        for (valid_from, valid_until, expected) in cases {
            let facts = with(Policy { valid_from, valid_until, ..Policy::default() });
            let found = in_force(&Sample::default().request(), &facts);
            assert_eq!(found.is_none(), expected, "{valid_from:?} {valid_until:?}");
        }
        for policy in [Fact::Missing, Fact::Known(None)] {
            let facts = Facts { policy, ..facts() };
            let found = in_force(&Sample::default().request(), &facts).unwrap();
            assert_eq!(found.reason, Reason::NoPolicy);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_tool_that_takes_an_amount_moves_money_whatever_a_call_names() {
        let list = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let takes = MoneyRule { amounts: vec!["amount".into()], ..MoneyRule::default() };
        let none = MoneyRule::default();
        let cases = [
            (&takes, inr(1),             None,                       true),
            (&takes, Effective::Nothing, None,                       true),
            (&none,  inr(1),             None,                       true),
            (&none,  Effective::Nothing, None,                       false),
            (&takes, inr(1),             list(&["noop"]),            false),
            (&takes, Effective::Nothing, list(&[]),                  false),
            (&none,  Effective::Nothing, list(&["transfer_funds"]),  true),
            (&takes, inr(1),             list(&["transfer_*"]),      true),
            (&none,  Effective::Nothing, list(&["*"]),               true),
        ];
        for (money, effective, allowed_tools, expected) in cases {
            let facts = with(Policy { allowed_tools: allowed_tools.clone(), ..Policy::default() });
            let mut sample = Sample { effective, ..Sample::default() };
            sample.tool.money = money.clone();
            let found = tool_allowed(&sample.request(), &facts);
            assert_eq!(found.is_none(), expected, "{money:?} {effective:?} {allowed_tools:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn one_transaction_has_a_limit() {
        let cases = [
            (inr(999),                            Some(1_000),    true),
            (inr(1_000),                          Some(1_000),    true),
            (inr(1_001),                          Some(1_000),    false),
            (inr(1_001),                          None,           true),
            (inr(0),                              Some(0),        true),
            (inr(1),                              Some(0),        false),
            (inr(-1),                             Some(1_000),    false),
            (inr(-1),                             None,           false),
            (Effective::Nothing,                  Some(0),        true),
            (Effective::Unbounded(Currency::INR), Some(i64::MAX), false),
            (Effective::Unbounded(Currency::INR), None,           true),
        ];
        for (effective, per_txn_limit, expected) in cases {
            let facts = with(Policy { per_txn_limit, ..Policy::default() });
            let sample = Sample { effective, ..Sample::default() };
            let found = amount_limit(&sample.request(), &facts);
            assert_eq!(found.is_none(), expected, "{effective:?} {per_txn_limit:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_takes_an_amount_and_is_told_none_moves_nobody_knows_what() {
        let upstream = || Executor::Upstream {
            upstream: "crm".into(), tool: "pay".into(), rule: Default::default(),
        };
        let zero = inr(0);
        for (executor, always, effective, expected) in [
            (upstream(),     false, Effective::Nothing,                  false),
            (upstream(),     false, zero,                                false),
            (upstream(),     false, inr(1),                              true),
            (upstream(),     true,  Effective::Unbounded(Currency::INR), true),
            (Executor::Noop, false, Effective::Nothing,                  true),
        ] {
            let mut sample = Sample { effective, ..Sample::default() };
            sample.tool.executor = executor;
            sample.tool.money.always = always;
            let found = amount_limit(&sample.request(), &with(Policy::default()));
            assert_eq!(found.is_none(), expected, "{always} {effective:?} {found:?}");
        }
    }

    #[test]
    fn a_policy_is_in_one_currency() {
        let usd = Currency::parse("USD");
        let sample = Sample::default();
        let asked = |currency| {
            currency_allowed(
                &sample.request(),
                &with(Policy {
                    currency,
                    ..Policy::default()
                }),
            )
        };
        assert_eq!(asked(None), None);
        assert_eq!(asked(Some(Currency::INR)), None);
        assert_eq!(asked(usd).unwrap().reason, Reason::CurrencyNotAllowed);
    }
}
