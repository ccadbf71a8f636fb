//! Agents, their policies and budgets, and the brake, over REST.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, post};
use serde_json::{Value, json};

use super::answer::ok;
use super::body::of_a_request;
use super::caller::{Caller, Named, NamedTwice};
use super::openapi::{Op, Param};
use super::{Door, Problem, StrictBody};
use crate::broker::Trouble;
use crate::domain::facts::FreezeScope;
use crate::domain::ids::AgentId;
use crate::domain::principal::Right;
use crate::entry::fields::{Fields, MAX_NAME_BYTES};
use crate::entry::govern;

/// Longest reason taken in here; the broker counts its characters.
const MAX_REASON_BYTES: usize = 4_096;

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/v1/agents", get(agents))
        .route(
            "/v1/agents/{agent}/policy",
            get(policy)
                .put(set_policy)
                .patch(change_policy)
                .delete(delete_policy),
        )
        .route("/v1/agents/{agent}/policy/versions", get(versions))
        .route("/v1/agents/{agent}/budget", get(budget))
        .route("/v1/agents/{agent}/risk-profile", get(risk_profile))
        .route("/v1/baselines/{agent}/{tool}", delete(reset_baseline))
        .route("/v1/freeze", get(frozen).post(freeze))
        .route("/v1/unfreeze", post(unfreeze))
}

async fn agents(State(door): State<Door>, Caller { who, .. }: Caller) -> Result<Response, Problem> {
    let agents = door.broker.pay.agents(&who).await?;
    let agents: Vec<Value> = agents.iter().map(govern::agent).collect();
    Ok(ok(&json!({"agents": agents})))
}

async fn policy(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(agent): Named,
) -> Result<Response, Problem> {
    let view = door.broker.pay.policy(&who, &known(&agent)?).await?;
    Ok(ok(&govern::policy(&view)))
}

async fn set_policy(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(agent): Named,
    StrictBody(fields): StrictBody,
) -> Result<Response, Problem> {
    let agent = governed(&agent)?;
    let (body, expect) = govern::asked(fields, &agent).map_err(of_a_request)?;
    let view = door
        .broker
        .pay
        .set_policy(&who, &agent, &body, expect)
        .await?;
    Ok(ok(&govern::written(&door.broker, &who, &view).await))
}

async fn change_policy(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(agent): Named,
    StrictBody(fields): StrictBody,
) -> Result<Response, Problem> {
    let agent = governed(&agent)?;
    let (body, expect) = govern::asked(fields, &agent).map_err(of_a_request)?;
    let view = door
        .broker
        .pay
        .change_policy(&who, &agent, &body, expect)
        .await?;
    Ok(ok(&govern::written(&door.broker, &who, &view).await))
}

/// An agent that a policy can be for, whether or not there is one of that name yet.
fn governed(agent: &str) -> Result<AgentId, Problem> {
    agent
        .parse()
        .map_err(|_| Problem::invalid("an agent's id is 1 to 128 letters, digits and any of ._:@-"))
}

async fn delete_policy(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(agent): Named,
) -> Result<Response, Problem> {
    let agent = known(&agent)?;
    door.broker.pay.delete_policy(&who, &agent).await?;
    Ok(ok(&json!({"agent_id": agent, "deleted": true})))
}

async fn versions(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(agent): Named,
) -> Result<Response, Problem> {
    let versions = door
        .broker
        .pay
        .policy_versions(&who, &known(&agent)?)
        .await?;
    let versions: Vec<Value> = versions.iter().map(govern::version).collect();
    Ok(ok(&json!({"versions": versions})))
}

async fn budget(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(agent): Named,
) -> Result<Response, Problem> {
    let view = door.broker.pay.budget(&who, &known(&agent)?).await?;
    Ok(ok(&govern::budget(&view)))
}

async fn risk_profile(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(agent): Named,
) -> Result<Response, Problem> {
    Ok(ok(&door
        .broker
        .pay
        .risk_profile(&who, &known(&agent)?)
        .await?))
}

async fn reset_baseline(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    NamedTwice(agent, tool): NamedTwice,
) -> Result<Response, Problem> {
    let hash = door.broker.pay.reset_baseline(&who, &agent, &tool).await?;
    Ok(ok(&govern::baseline_reset(&agent, &tool, &hash)))
}

async fn frozen(State(door): State<Door>, Caller { who, .. }: Caller) -> Result<Response, Problem> {
    Ok(ok(&govern::freezes(&door.broker.pay.freezes(&who).await?)))
}

async fn freeze(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    StrictBody(fields): StrictBody,
) -> Result<Response, Problem> {
    let (scope, id, reason) = scope(fields).map_err(of_a_request)?;
    let frozen = door.broker.pay.freeze(&who, scope, id.as_deref(), &reason);
    Ok(ok(&govern::freezes(&frozen.await?)))
}

async fn unfreeze(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    StrictBody(fields): StrictBody,
) -> Result<Response, Problem> {
    let (scope, id, reason) = scope(fields).map_err(of_a_request)?;
    let frozen = door
        .broker
        .pay
        .unfreeze(&who, scope, id.as_deref(), &reason);
    Ok(ok(&govern::freezes(&frozen.await?)))
}

/// What cannot be an agent's id reads as unknown, like any other.
fn known(agent: &str) -> Result<AgentId, Trouble> {
    agent.parse().map_err(|_| Trouble::NotFound("agent"))
}

fn scope(mut fields: Fields) -> Result<(FreezeScope, Option<String>, String), Trouble> {
    let scope = fields.needed_text("scope", MAX_NAME_BYTES)?;
    let scope = FreezeScope::parse(&scope).ok_or_else(|| {
        let text = "`scope` must be one of all, agent, tool, vendor, server";
        Trouble::InvalidRequest(text.to_owned())
    })?;
    let id = fields.text("id", MAX_REASON_BYTES)?;
    let reason = fields.text("reason", MAX_REASON_BYTES)?;
    fields.end()?;
    Ok((scope, id, reason.unwrap_or_default()))
}

const AGENT: &[Param] = &[Param::path("agent", "The agent's id.")];

pub(super) const OPS: &[Op] = &[
    Op {
        id: "list_agents",
        method: "get",
        path: "/v1/agents",
        summary: "Agents that have a key, a policy or a past; to an agent, itself.",
        right: Some(Right::ReadOwn),
        answers: &[(200, "the agents", "AgentList")],
        ..Op::NONE
    },
    Op {
        id: "get_policy",
        method: "get",
        path: "/v1/agents/{agent}/policy",
        summary: "The policy of an agent.",
        right: Some(Right::ReadOwn),
        params: AGENT,
        answers: &[(200, "the policy", "Policy")],
        problems: &[404],
        ..Op::NONE
    },
    Op {
        id: "set_policy",
        method: "put",
        path: "/v1/agents/{agent}/policy",
        summary: "Put a whole policy into force; it replaces the one before. With `version`, only that one.",
        right: Some(Right::Operate),
        params: AGENT,
        body: Some("NewPolicy"),
        answers: &[(200, "the policy", "Policy")],
        problems: &[400, 409, 413, 415],
        ..Op::NONE
    },
    Op {
        id: "change_policy",
        method: "patch",
        path: "/v1/agents/{agent}/policy",
        summary: "Change what is named in a policy; the rest stays. With `version`, only that one.",
        right: Some(Right::Operate),
        params: AGENT,
        body: Some("PolicyChange"),
        answers: &[(200, "the policy", "Policy")],
        problems: &[400, 409, 413, 415],
        ..Op::NONE
    },
    Op {
        id: "delete_policy",
        method: "delete",
        path: "/v1/agents/{agent}/policy",
        summary: "Take a policy away; the agent may then do nothing.",
        right: Some(Right::Operate),
        params: AGENT,
        answers: &[(200, "done", "DeletedPolicy")],
        problems: &[404, 409],
        ..Op::NONE
    },
    Op {
        id: "policy_versions",
        method: "get",
        path: "/v1/agents/{agent}/policy/versions",
        summary: "Every version of a policy, newest first: proposals name the one that decided.",
        right: Some(Right::ReadOwn),
        params: AGENT,
        answers: &[(200, "the versions", "PolicyVersions")],
        problems: &[404],
        ..Op::NONE
    },
    Op {
        id: "get_budget",
        method: "get",
        path: "/v1/agents/{agent}/budget",
        summary: "Today's budget of an agent, in minor units.",
        right: Some(Right::ReadOwn),
        params: AGENT,
        answers: &[(200, "the budget", "Budget")],
        problems: &[404],
        ..Op::NONE
    },
    Op {
        id: "get_risk_profile",
        method: "get",
        path: "/v1/agents/{agent}/risk-profile",
        summary: "What an agent's payouts look like.",
        right: Some(Right::ReadOwn),
        params: AGENT,
        answers: &[(200, "the profile", "RiskProfile")],
        problems: &[404],
        ..Op::NONE
    },
    Op {
        id: "reset_baseline",
        method: "delete",
        path: "/v1/baselines/{agent}/{tool}",
        summary: "Forget an agent's usual prompt for a tool; what is carried out next sets it anew.",
        right: Some(Right::Operate),
        params: &[
            Param::path("agent", "The agent's id."),
            Param::path("tool", "The tool's name."),
        ],
        answers: &[(200, "what was forgotten", "BaselineReset")],
        problems: &[404, 409],
        ..Op::NONE
    },
    Op {
        id: "list_freezes",
        method: "get",
        path: "/v1/freeze",
        summary: "What is frozen.",
        right: Some(Right::ReadAll),
        answers: &[(200, "the freezes", "FreezeList")],
        ..Op::NONE
    },
    Op {
        id: "freeze",
        method: "post",
        path: "/v1/freeze",
        summary: "Stop every proposal, commit and low-risk call in a scope, at once and on every \
                  node. Operators and approvers may.",
        right: Some(Right::Brake),
        body: Some("FreezeRequest"),
        answers: &[(200, "what is frozen then", "FreezeList")],
        problems: &[400, 404, 409, 413, 415],
        ..Op::NONE
    },
    Op {
        id: "unfreeze",
        method: "post",
        path: "/v1/unfreeze",
        summary: "Lift one freeze; others that cover the same thing stay.",
        right: Some(Right::Operate),
        body: Some("FreezeRequest"),
        answers: &[(200, "what is frozen then", "FreezeList")],
        problems: &[400, 404, 409, 413, 415],
        ..Op::NONE
    },
];

/// The schemas of these shapes.
pub(super) fn schemas() -> Value {
    let limit = || json!({"type": ["integer", "null"], "minimum": 0});
    let texts = || json!({"type": ["array", "null"], "items": {"type": "string"}});
    let text = || json!({"type": ["string", "null"]});
    let instant = || {
        json!({"oneOf": [
            {"type": ["string", "null"], "format": "date-time"},
            {"type": "integer", "description": "epoch seconds"},
        ]})
    };
    let window = || json!({"type": "integer", "minimum": 1, "maximum": 2_678_400});
    let policy = json!({
        "daily_limit": limit(), "per_txn_limit": limit(), "require_approval_above": limit(),
        "approvals_needed": {"type": ["integer", "null"], "minimum": 0, "maximum": 10},
        "allowed_domains": texts(), "blocked_domains": texts(), "allowed_tools": texts(),
        "rate_limit": {"type": ["object", "null"], "properties": {
            "max": {"type": "integer", "minimum": 0}, "window_secs": {"type": "integer"},
        }},
        "duplicates": {"type": ["object", "null"], "properties": {
            "window_secs": window(), "then": {"enum": ["hold", "report", "off"]},
        }, "additionalProperties": false},
        "approval_above": {"type": ["array", "null"], "maxItems": 8, "items": {
            "type": "object",
            "properties": {
                "amount": {"type": "integer", "minimum": 0}, "window_secs": window(),
                "per": {"enum": ["agent", "payee"]},
            },
            "required": ["amount", "window_secs", "per"], "additionalProperties": false,
        }},
        "require_verified_entity": {"type": ["boolean", "null"]},
        "payees": {"enum": ["any", "registered", null]},
        "valid_from": instant(), "valid_until": instant(),
        "currency": {"type": ["string", "null"], "pattern": "^[A-Z]{3}$"},
        "execute_on_approval": {"type": ["boolean", "null"]},
        "agent_id": text(), "version": {"type": ["integer", "null"]}, "warnings": texts(),
    });
    let list = |name: &str| json!({"type": "object", "properties": {name: {"type": "array", "items": {"type": "object"}}}, "required": [name]});
    json!({
        "Policy": {"type": "object", "properties": policy, "required": ["agent_id", "version"]},
        "NewPolicy": {
            "type": "object", "properties": policy, "additionalProperties": false,
            "required": ["daily_limit", "per_txn_limit", "require_approval_above"],
        },
        "PolicyChange": {
            "type": "object", "properties": policy, "additionalProperties": false,
            "minProperties": 1,
        },
        "DeletedPolicy": {"type": "object", "properties": {
            "agent_id": {"type": "string"}, "deleted": {"const": true},
        }, "required": ["agent_id", "deleted"]},
        "PolicyVersions": list("versions"),
        "BaselineReset": {"type": "object", "properties": {
            "agent_id": {"type": "string"}, "tool": {"type": "string"}, "reset": {"const": true},
            "prompt_hash": {"type": "string", "description": "of the prompt that was the usual one"},
        }, "required": ["agent_id", "tool", "reset", "prompt_hash"]},
        "AgentList": list("agents"),
        "FreezeList": list("frozen"),
        "Budget": {"type": "object", "properties": {
            "agent_id": {"type": "string"}, "daily_limit": limit(),
            "reserved": {"type": "integer"}, "posted": {"type": "integer"},
            "remaining": limit(), "policy_version": {"type": ["integer", "null"]},
            "day": {"type": "string"}, "currency": {"type": "string"},
        }, "required": ["agent_id", "daily_limit", "reserved", "posted", "remaining", "policy_version", "day", "currency"]},
        "RiskProfile": {"type": "object", "properties": {
            "agent_id": {"type": "string"}, "total_transactions": {"type": "integer"},
        }, "required": ["agent_id", "total_transactions"]},
        "FreezeRequest": {"type": "object", "properties": {
            "scope": {"enum": FreezeScope::ALL.map(FreezeScope::name)}, "id": text(), "reason": text(),
        }, "required": ["scope"], "additionalProperties": false},
    })
}
