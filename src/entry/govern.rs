//! How policies, budgets, agents and freezes are spelt at every door.

use serde_json::{Value, json};

use crate::broker::pay::agents::{AgentView, BudgetView};
use crate::broker::pay::payees::NewPayee;
use crate::broker::pay::policy::{PolicyVersion, PolicyView};
use crate::broker::{Broker, Trouble};
use crate::domain::facts::Freezes;
use crate::domain::ids::AgentId;
use crate::domain::principal::Principal;
use crate::entry::fields::{Fields, MAX_NAME_BYTES};

/// Longest name or URL of a payee taken in here, in bytes, and most accounts or labels; the broker
/// says how many of them make sense.
const MAX_TEXT_BYTES: usize = 4_096;
const MAX_ITEMS: usize = 1_000;

/// A policy with the agent it governs and its version: what `PUT` takes, it gets back.
pub fn policy(view: &PolicyView) -> Value {
    let mut body = json!(view.policy);
    body["agent_id"] = json!(view.agent);
    body["version"] = json!(view.version);
    body
}

/// A policy that was just written, with what its operator should know.
pub async fn written(broker: &Broker, who: &Principal, view: &PolicyView) -> Value {
    let mut body = policy(view);
    match broker.pay.policy_warnings(who, &view.agent).await {
        Ok(warnings) => body["warnings"] = json!(warnings),
        // It is written, whether or not anything more can be said.
        Err(error) => tracing::warn!(%error, agent = %view.agent, "a policy was not looked over"),
    }
    body
}

/// A policy as a caller wrote it, and the version it must replace, if it named one. What `GET`
/// answers can be sent back, and so can what a write answered.
pub fn asked(mut fields: Fields, agent: &AgentId) -> Result<(Value, Option<u64>), Trouble> {
    fields.take("warnings");
    let version = fields.integer("version", 0..=u32::MAX)?.map(u64::from);
    match fields.text("agent_id", MAX_NAME_BYTES)? {
        Some(named) if named != agent.as_str() => {
            let text = "`agent_id` names another agent";
            Err(Trouble::InvalidRequest(text.to_owned()))
        }
        Some(_) | None => Ok((fields.into_value(), version)),
    }
}

/// A payee as an operator wrote it.
pub fn new_payee(mut fields: Fields) -> Result<NewPayee, Trouble> {
    let new = NewPayee {
        name: fields.needed_text("name", MAX_TEXT_BYTES)?,
        vendor_url: fields.text("vendor_url", MAX_TEXT_BYTES)?,
        lei: fields.text("lei", MAX_NAME_BYTES)?,
        fund_accounts: fields.texts("fund_accounts", MAX_ITEMS, MAX_NAME_BYTES)?,
        labels: fields.texts("labels", MAX_ITEMS, MAX_NAME_BYTES)?,
    };
    fields.end()?;
    Ok(new)
}

/// What became of an agent's usual prompt for a tool.
pub fn baseline_reset(agent: &str, tool: &str, hash: &str) -> Value {
    json!({"agent_id": agent, "tool": tool, "reset": true, "prompt_hash": hash})
}

/// One version of a policy's history.
pub fn version(version: &PolicyVersion) -> Value {
    json!({
        "version": version.version,
        "policy": version.policy,
        "by": version.by,
        "at": version.at.to_string(),
    })
}

/// One day's budget.
pub fn budget(view: &BudgetView) -> Value {
    json!({
        "agent_id": view.agent,
        "daily_limit": view.daily_limit,
        "reserved": view.reserved,
        "posted": view.posted,
        "remaining": view.remaining,
        "policy_version": view.policy_version,
        "day": view.day.to_string(),
        "currency": view.currency,
    })
}

/// One agent.
pub fn agent(view: &AgentView) -> Value {
    json!({"agent_id": view.agent, "policy_version": view.policy_version})
}

/// What is frozen.
pub fn freezes(freezes: &Freezes) -> Value {
    let all = freezes.0.iter().map(|freeze| {
        json!({
            "scope": freeze.scope,
            "id": freeze.id,
            "reason": freeze.reason,
            "by": freeze.by,
            "at": freeze.at.to_string(),
        })
    });
    json!({"frozen": all.collect::<Vec<Value>>()})
}
