//! Agents: who there is, what they have left (budgets), what they are like (risk, usual prompts).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Call, Effect, Nothing, Operation, Rest, invalid};
use crate::broker::Trouble;
use crate::broker::pay::agents::{AgentView, BudgetView};
use crate::domain::ids::AgentId;
use crate::domain::principal::{Principal, Right};
use crate::domain::tool::Payee;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("list_agents", list_agents)
            .says(
                "List agents",
                "Agents that have a key, a policy or a past; to an agent, itself.",
            )
            .needs(&[Right::ReadOwn])
            .rest(Rest::get("/v1/agents").answers(200, "the agents")),
        Operation::new("get_agent_budget", budget)
            .says(
                "Read an agent's budget",
                "Today's limit, what is reserved, spent and left, in minor units.",
            )
            .needs(&[Right::ReadOwn])
            .rest(of_agent("/v1/agents/{agent}/budget", "the budget"))
            .mcp(),
        Operation::new("list_agent_budgets", budgets)
            .says(
                "Read an agent's budgets by day",
                "What an agent reserved and spent on each of the last 14 days, in minor units, in the \
                 currency of its policy.",
            )
            .needs(&[Right::ReadOwn])
            .rest(of_agent("/v1/agents/{agent}/budgets", "the days")),
        Operation::new("get_agent_risk_profile", risk_profile)
            .says(
                "Read an agent's risk profile",
                "What an agent's payouts look like: amounts, hours, payees.",
            )
            .needs(&[Right::ReadOwn])
            .rest(of_agent("/v1/agents/{agent}/risk-profile", "the profile"))
            .mcp(),
        Operation::new("score_transaction_risk", score)
            .says(
                "Score a payout's risk",
                "Compares an amount with an agent's payouts so far. Asking counts against nobody \
                 and is not remembered.",
            )
            .needs(&[Right::ReadOwn])
            .mcp(),
        Operation::new("reset_baseline", reset_baseline)
            .says(
                "Forget a usual prompt",
                "Forget an agent's usual prompt for a tool; what is carried out next sets it anew.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Acts)
            .rest(Rest::delete("/v1/baselines/{agent}/{tool}").answers(200, "what was forgotten")),
    ]
}

fn of_agent(path: &'static str, words: &'static str) -> Rest {
    let rest = Rest::get(path).spelt(&[("agent", "agent_id")]);
    rest.answers(200, words)
}

/// An agent in a path.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedAgent {
    /// The agent's id.
    agent: String,
}

impl NamedAgent {
    pub(super) fn id(&self) -> Result<AgentId, Trouble> {
        known(&self.agent)
    }
}

/// What cannot be an agent's id reads as unknown, like any other.
pub(super) fn known(agent: &str) -> Result<AgentId, Trouble> {
    agent.parse().map_err(|_| Trouble::NotFound("agent"))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SomeAgent {
    /// The agent; an agent may leave out its own.
    agent_id: Option<String>,
}

fn asked_about(who: &Principal, named: Option<&str>) -> Result<AgentId, Trouble> {
    match named {
        Some(named) => known(named),
        None => who
            .agent
            .clone()
            .ok_or_else(|| invalid("`agent_id` is missing")),
    }
}

#[derive(Serialize, JsonSchema)]
struct AgentList {
    agents: Vec<Agent>,
}

#[derive(Serialize, JsonSchema)]
struct Agent {
    agent_id: String,
    policy_version: Option<u64>,
}

impl From<AgentView> for Agent {
    fn from(view: AgentView) -> Self {
        Self {
            agent_id: view.agent.to_string(),
            policy_version: view.policy_version,
        }
    }
}

async fn list_agents(call: Call, _: Nothing) -> Result<AgentList, Trouble> {
    let agents = call.broker.pay.agents(&call.who).await?;
    let agents = agents.into_iter().map(Agent::from).collect();
    Ok(AgentList { agents })
}

/// One day's budget, in minor units.
#[derive(Serialize, JsonSchema)]
struct Budget {
    agent_id: String,
    daily_limit: Option<i64>,
    reserved: i64,
    posted: i64,
    remaining: Option<i64>,
    policy_version: Option<u64>,
    day: String,
    currency: String,
}

impl From<BudgetView> for Budget {
    fn from(view: BudgetView) -> Self {
        Self {
            agent_id: view.agent.to_string(),
            daily_limit: view.daily_limit,
            reserved: view.reserved,
            posted: view.posted,
            remaining: view.remaining,
            policy_version: view.policy_version,
            day: view.day.to_string(),
            currency: view.currency.to_string(),
        }
    }
}

async fn budget(call: Call, of: SomeAgent) -> Result<Budget, Trouble> {
    let agent = asked_about(&call.who, of.agent_id.as_deref())?;
    Ok(call.broker.pay.budget(&call.who, &agent).await?.into())
}

/// Days of budgets, the oldest first.
#[derive(Serialize, JsonSchema)]
struct BudgetDays {
    agent_id: String,
    currency: String,
    days: Vec<BudgetDay>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct BudgetDay {
    day: String,
    reserved: i64,
    posted: i64,
}

async fn budgets(call: Call, of: SomeAgent) -> Result<BudgetDays, Trouble> {
    let agent = asked_about(&call.who, of.agent_id.as_deref())?;
    let (currency, days) = call.broker.pay.budget_days(&call.who, &agent).await?;
    let days = days.into_iter().map(|(day, budget)| BudgetDay {
        day: day.to_string(),
        reserved: budget.pending,
        posted: budget.posted,
    });
    Ok(BudgetDays {
        agent_id: agent.to_string(),
        currency: currency.to_string(),
        days: days.collect(),
    })
}

/// What an agent's payouts look like.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
struct RiskProfile(#[schemars(with = "ProfileFields")] Value);

#[expect(dead_code, reason = "a shape")]
#[derive(JsonSchema)]
#[schemars(inline)]
struct ProfileFields {
    agent_id: String,
    total_transactions: u64,
    /// `no_data` where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount_stats: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_stats: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distinct_payees: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_at: Option<String>,
}

async fn risk_profile(call: Call, of: SomeAgent) -> Result<RiskProfile, Trouble> {
    let agent = asked_about(&call.who, of.agent_id.as_deref())?;
    let profile = call.broker.pay.risk_profile(&call.who, &agent).await?;
    Ok(RiskProfile(profile))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScoreRequest {
    /// Minor units.
    #[schemars(range(min = 1))]
    amount: i64,
    /// The agent; an agent may leave out its own.
    agent_id: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
struct RiskScore(#[schemars(with = "ScoreFields")] Value);

#[expect(dead_code, reason = "a shape")]
#[derive(JsonSchema)]
#[schemars(inline)]
struct ScoreFields {
    risk_score: f64,
    raw_score: Option<f64>,
    is_anomalous: bool,
    features: Map<String, Value>,
    model_trained: bool,
    training_samples: u64,
}

async fn score(call: Call, asked: ScoreRequest) -> Result<RiskScore, Trouble> {
    let agent = asked_about(&call.who, asked.agent_id.as_deref())?;
    let payee = Payee::default();
    let scored = call
        .broker
        .pay
        .score_risk(&call.who, &agent, asked.amount, &payee);
    Ok(RiskScore(scored.await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedBaseline {
    /// The agent's id.
    agent: String,
    /// The tool's name.
    tool: String,
}

/// What became of an agent's usual prompt for a tool.
#[derive(Serialize, JsonSchema)]
pub struct BaselineReset {
    agent_id: String,
    tool: String,
    reset: bool,
    /// Of the prompt that was the usual one.
    prompt_hash: String,
}

impl BaselineReset {
    /// The prompt of this hash is the usual one no longer.
    pub fn of(agent: &str, tool: &str, hash: String) -> Self {
        Self {
            agent_id: agent.to_owned(),
            tool: tool.to_owned(),
            reset: true,
            prompt_hash: hash,
        }
    }
}

async fn reset_baseline(call: Call, of: NamedBaseline) -> Result<BaselineReset, Trouble> {
    let reset = call
        .broker
        .pay
        .reset_baseline(&call.who, &of.agent, &of.tool);
    Ok(BaselineReset::of(&of.agent, &of.tool, reset.await?))
}
