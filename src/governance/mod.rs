//! Whether it may happen: one file per check, [`decide`] at propose, [`recheck`] at commit.
//!
//! Pure. A check is a plain function over what is asked ([`Request`]) and what is known ([`Facts`]);
//! it never asks anybody and never fails. What could not be learned is a value, and every check
//! says in its own file what a missing fact means; it never widens a limit:
//!
//! | missing fact | finding |
//! | --- | --- |
//! | freezes | `frozen`, blocked |
//! | policy | `NO_POLICY`, blocked |
//! | requests in the window | `RATE_LIMITED`, blocked, unless the limit is off |
//! | the tool's bucket | `RATE_LIMITED`, blocked |
//! | who is registered | `PAYEE_UNKNOWN`, blocked, where the policy pays registered payees only |
//! | spent today | `LIMIT_EXCEEDED`, blocked, unless there is no daily limit |
//! | reputation | `REPUTATION_UNAVAILABLE`, held, if there is a URL to ask about |
//! | entity | `ENTITY_UNVERIFIED`, if the policy asks; held if the register is silent |
//! | the same payment before | `POSSIBLE_DUPLICATE`, as the policy's `duplicates` say |
//! | what the agent has read | `TAINTED_CONTEXT`, as the policy's `taint` says, if it has one |
//! | history | `ANOMALY_DETECTED`, held, if money moves |
//! | sums of the last while | `APPROVAL_REQUIRED`, held, if the policy has any |
//! | integrity | `INTEGRITY_UNKNOWN`, as `integrity.on_missing` says |
//!
//! Gathering the facts, and writing what was decided, is the broker's.

pub mod access;
pub mod agreed;
mod amounts;
pub mod anomaly;
pub mod approval;
pub mod budget;
pub mod contradiction;
pub mod domains;
pub mod freeze;
pub mod integrity;
pub mod mandate;
pub mod payee;
pub mod policy;
mod prose;
pub mod rate;
pub mod repeat;
pub mod replay;
pub mod reputation;
pub mod risk;
pub mod routing;
pub mod secrets;
pub mod simulate;
pub mod taint;

use serde_json::Value;

use agreed::Asked;

use crate::domain::facts::{Fact, Facts, Freezes, Registration};
use crate::domain::ids::AgentId;
use crate::domain::money::Effective;
use crate::domain::policy::Policy;
use crate::domain::reason::{Finding, Refusal, Verdict};
use crate::domain::time::Timestamp;
use crate::domain::tool::{Payee, Tool};

/// What checks may see of a proposal.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The agent it is accounted to.
    pub agent: &'a AgentId,
    /// The tool, with the hold an operator may have put on it.
    pub tool: &'a Tool,
    /// The arguments, as they were read strictly.
    pub args: &'a Value,
    /// What they can move at most.
    pub effective: Effective,
    /// Whom they pay.
    pub payee: &'a Payee,
    /// The virtual server through which the request came, if it came through one.
    pub server: Option<&'a str>,
}

/// One check. `None` is no complaint.
pub type Check = fn(&Request<'_>, &Facts) -> Option<Finding>;

/// Every check, in order of precedence: the first finding of the worst severity is the headline.
pub const CHECKS: &[Check] = &[
    freeze::frozen,
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
    anomaly::unusual,
    integrity::low,
    integrity::unknown,
    contradiction::contradicted,
    payee::misnamed,
    approval::required,
    anomaly::new_payee,
];

/// What a policy says about a request whatever else happens, for [`recheck`]. All of them block.
const STANDING: &[Check] = &[
    policy::in_force,
    policy::tool_allowed,
    policy::currency_allowed,
    payee::registered,
    policy::amount_limit,
    budget::daily_limit,
    domains::plausible,
    domains::listed,
];

/// Checks that need no word of anybody outside.
const LOCAL: &[Check] = &[
    freeze::frozen,
    policy::in_force,
    policy::tool_allowed,
    rate::within_window,
    rate::within_bucket,
];

/// Whether a request is refused whatever others would say, so that nobody has to be asked. Looks at
/// freezes, the policy and the pace only.
pub fn refused_here(request: &Request<'_>, facts: &Facts) -> bool {
    LOCAL.iter().any(|check| check(request, facts).is_some())
}

/// Runs every check, so that an auditor sees all the reasons and not just the first.
pub fn decide(request: &Request<'_>, facts: &Facts) -> Verdict {
    let findings = CHECKS.iter().filter_map(|check| check(request, facts));
    Verdict::of(findings.collect())
}

/// The checks that need nothing from outside and come before those that do. All of them are about
/// what our own books say.
const AT_HOME: &[Check] = &[
    freeze::frozen,
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
];

/// Whether our own books refuse it, whatever others would say of it.
pub fn refused_at_home(request: &Request<'_>, facts: &Facts) -> bool {
    let findings = AT_HOME.iter().filter_map(|check| check(request, facts));
    matches!(Verdict::of(findings.collect()), Verdict::Block(_))
}

/// What follows from a decision that was taken already: only a freeze can stop it.
pub fn follow(request: &Request<'_>, facts: &Facts) -> Verdict {
    Verdict::of(freeze::frozen(request, facts).into_iter().collect())
}

/// What is at hand at commit.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The instant of the commit.
    pub now: Timestamp,
    /// What is frozen in the organisation.
    pub freezes: &'a Fact<Freezes>,
    /// The agent's policy.
    pub policy: &'a Fact<Option<Policy>>,
    /// Who is paid, as operators know them now.
    pub registration: &'a Fact<Registration>,
    /// Reserved and spent on the proposal's day besides the proposal, in minor units. Needed only
    /// if the policy is not the one that decided; otherwise the reservation stands, and `None`.
    pub spent_besides: Option<i64>,
    /// How many different people agreed to the proposal whose agreement counts.
    pub approvals: u32,
    /// What they had to fulfil; `None` where nobody had to agree.
    pub asked: Option<&'a Asked>,
}

/// Whether what was allowed would still be, and if not, why.
///
/// Looks at freezes and at the policy now in force: its end, tools, currency, limits, domains, and
/// whether enough people agreed, by what it asks of them. Rates, scores, reputation and history were settled at propose.
pub fn recheck(request: &Request<'_>, moment: &Moment<'_>) -> Option<(Refusal, String)> {
    // What went before was added up at propose; alone it must not be too much for the sums either.
    let sums = moment.policy.known().and_then(Option::as_ref);
    let sums = sums.map_or(0, |policy| policy.approval_above.len());
    let facts = Facts {
        freezes: moment.freezes.clone(),
        policy: moment.policy.clone(),
        registration: moment.registration.clone(),
        spent_today: Fact::Known(moment.spent_besides.unwrap_or(0)),
        sums: Fact::Known(vec![0; sums]),
        ..Facts::missing(moment.now)
    };
    if let Some(finding) = freeze::frozen(request, &facts) {
        return Some((Refusal::Frozen, finding.detail));
    }
    let unapproved = match moment.asked {
        Some(asked) => asked.unanswered(moment.approvals, moment.now),
        None => (moment.approvals < approval::needed(&facts))
            .then(|| approval::required(request, &facts))
            .flatten(),
    };
    let mut findings = STANDING.iter().filter_map(|check| check(request, &facts));
    let first = findings.next().or(unapproved)?;
    let detail = format!("{}: {}", first.reason.code(), first.detail);
    Some((Refusal::PolicyChanged, detail))
}

/// The policy, if there is one and it could be read; whether it is in force is its own check.
fn policy_of(facts: &Facts) -> Option<&Policy> {
    match &facts.policy {
        Fact::Known(policy) => policy.as_ref(),
        Fact::Missing => None,
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A request and facts that pass every check, for tests to spoil one thing of.

    use serde_json::json;

    use super::*;
    use crate::domain::facts::{Entity, Integrity, Reputation, ToolPace};
    use crate::domain::money::{Currency, Money};
    use crate::domain::proposal::{Score, Signals};
    use crate::domain::tool::{Executor, MoneyRule, PayeeRule, Risk, Standing};

    /// Owns what a [`Request`] borrows.
    pub struct Sample {
        pub agent: AgentId,
        pub tool: Tool,
        pub args: Value,
        pub effective: Effective,
        pub payee: Payee,
    }

    impl Sample {
        pub fn request(&self) -> Request<'_> {
            Request {
                agent: &self.agent,
                tool: &self.tool,
                args: &self.args,
                effective: self.effective,
                payee: &self.payee,
                server: None,
            }
        }
    }

    impl Default for Sample {
        fn default() -> Self {
            Self {
                agent: "agent-1".parse().unwrap(),
                tool: tool(),
                args: json!({"amount": 100, "to": "acct_123"}),
                effective: inr(100),
                payee: Payee {
                    id: None,
                    account: Some("acct_123".into()),
                    name: Some("Acme Ltd".into()),
                    url: Some("https://shop.acme.example/pay".into()),
                },
            }
        }
    }

    pub fn tool() -> Tool {
        Tool {
            name: "transfer_funds".parse().unwrap(),
            description: String::new(),
            input_schema: json!({}),
            output_schema: None,
            risk: Risk::High,
            executor: Executor::Noop,
            money: MoneyRule {
                amounts: vec!["amount".into()],
                ..MoneyRule::default()
            },
            payee: PayeeRule::default(),
            patterns: Vec::new(),
            hold: false,
            standing: Standing::Accepted,
            digest: String::new(),
            checker: Default::default(),
        }
    }

    pub fn inr(minor: i64) -> Effective {
        Effective::Amount(Money {
            minor,
            currency: Currency::INR,
        })
    }

    /// Everything known, and good, at second 1,000.
    pub fn facts() -> Facts {
        let score = Score {
            composite: Some(0.1),
            signals: Signals {
                output_instability: Some(0.1),
                ..Signals::default()
            },
        };
        Facts {
            freezes: Fact::Known(Freezes::default()),
            policy: Fact::Known(Some(Policy::default())),
            spent_today: Fact::Known(0),
            recent_requests: Fact::Known(0),
            tool_pace: Fact::Known(ToolPace::Unlimited),
            registration: Fact::Known(Registration::default()),
            reputation: Fact::Known(Reputation::Safe),
            entity: Fact::Known(Entity::Verified),
            history: Fact::Known(std::sync::Arc::default()),
            earlier: Fact::Known(None),
            tainted: Fact::Known(None),
            sums: Fact::Known(Vec::new()),
            integrity: Integrity {
                score,
                attested: true,
                ..Integrity::missing()
            },
            ..Facts::missing(Timestamp::from_secs(1_000))
        }
    }
}

#[cfg(test)]
mod tests;
