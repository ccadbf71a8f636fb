//! A changed policy tried on the past.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::policies::PolicyFields;
use super::{Call, Operation, Rest, invalid};
use crate::broker::Trouble;
use crate::broker::pay::backtest::{Backtest, ChangeSum, DAYS, Difference};
use crate::domain::audit::names::Decision;
use crate::domain::ids::AgentId;
use crate::domain::money::Effective;
use crate::domain::principal::Right;
use crate::domain::reason::Reason;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("backtest_policy", backtest)
            .says(
                "Try a policy on the past",
                "What a changed policy would have decided otherwise of what the agent proposed in the \
                 last 30 days, with the facts as they were. What is left out is as in the policy in \
                 force. Nothing is changed, and nobody is asked.",
            )
            .needs(&[Right::Operate])
            .null_matters()
            .rest(
                Rest::post("/v1/agents/{agent}/policy/backtest").answers(200, "what would differ"),
            ),
    ]
}

/// Fields of a policy, as when it is changed. `agent_id`, `version` and `warnings` are what an
/// answer came with.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PolicyTrial {
    /// The agent's id.
    agent: String,
    /// How many days back; 30 if left out.
    #[schemars(range(min = 1, max = 90))]
    days: Option<u32>,
    #[serde(rename = "agent_id")]
    _agent_id: Option<String>,
    #[serde(rename = "version")]
    _version: Option<u32>,
    #[serde(rename = "warnings")]
    _warnings: Option<Vec<String>>,
    #[serde(flatten)]
    #[schemars(with = "PolicyFields")]
    policy: Map<String, Value>,
}

/// What a changed policy would have done.
#[derive(Serialize, JsonSchema)]
struct PolicyBacktest {
    agent_id: String,
    /// The version in force, which was changed; null if there is none.
    policy_version: Option<u64>,
    days: u32,
    since: String,
    /// What was proposed in this time.
    proposals: u32,
    /// Of those, what could be decided anew.
    replayed: u32,
    /// Of those, what would have been decided otherwise.
    different: u32,
    changes: Vec<DecisionChange>,
    /// Newest first, at most 200.
    examples: Vec<DifferentDecision>,
    /// What could not be decided anew, and why.
    not_replayed: Vec<NotReplayed>,
    /// There was more than is looked at.
    more: bool,
}

/// From one decision to another.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct DecisionChange {
    was: &'static str,
    would: &'static str,
    count: u32,
    amounts: Vec<Concerned>,
}

/// Money.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Concerned {
    /// Minor units; null is everything there is.
    minor: Option<i64>,
    currency: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Decided {
    decision: &'static str,
    reason: &'static str,
}

/// One proposal that would have been decided otherwise.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct DifferentDecision {
    proposal_id: String,
    created_at: String,
    tool_name: String,
    amount: Option<Concerned>,
    was: Decided,
    would: Decided,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct NotReplayed {
    code: &'static str,
    why: &'static str,
    count: u32,
}

fn decided((decision, reason): (Decision, Reason)) -> Decided {
    Decided {
        decision: decision.name(),
        reason: reason.code(),
    }
}

fn moved(effective: Effective) -> Option<Concerned> {
    let currency = effective.currency()?.to_string();
    let minor = match effective {
        Effective::Nothing | Effective::Unbounded(_) => None,
        Effective::Amount(money) => Some(money.minor),
    };
    Some(Concerned { minor, currency })
}

impl From<Difference> for DifferentDecision {
    fn from(one: Difference) -> Self {
        Self {
            proposal_id: one.id.to_string(),
            created_at: one.at.to_string(),
            tool_name: one.tool.to_string(),
            amount: moved(one.effective),
            was: decided(one.was),
            would: decided(one.would),
        }
    }
}

impl From<ChangeSum> for DecisionChange {
    fn from(sum: ChangeSum) -> Self {
        let amounts = sum.amounts.into_iter().map(|(currency, minor)| Concerned {
            minor: Some(minor),
            currency: currency.to_string(),
        });
        Self {
            was: sum.was.name(),
            would: sum.would.name(),
            count: sum.count,
            amounts: amounts.collect(),
        }
    }
}

async fn backtest(call: Call, trial: PolicyTrial) -> Result<PolicyBacktest, Trouble> {
    let shape = "an agent's id is 1 to 128 letters, digits and any of ._:@-";
    let agent: AgentId = trial.agent.parse().map_err(|_| invalid(shape))?;
    let days = trial.days.unwrap_or(DAYS);
    let changes = Value::Object(trial.policy);
    let tried = call.broker.pay.backtest(&call.who, &agent, &changes, days);
    let Backtest {
        policy_version,
        since,
        proposals,
        replayed,
        different,
        changes,
        unknown,
        more,
    } = tried.await?;
    let unknown = unknown.into_iter().map(|(why, count)| NotReplayed {
        code: why.code(),
        why: why.words(),
        count,
    });
    Ok(PolicyBacktest {
        agent_id: agent.to_string(),
        policy_version,
        days,
        since: since.to_string(),
        proposals,
        replayed,
        different: changes.iter().map(|sum| sum.count).sum(),
        changes: changes.into_iter().map(DecisionChange::from).collect(),
        examples: different.into_iter().map(DifferentDecision::from).collect(),
        not_replayed: unknown.collect(),
        more,
    })
}
