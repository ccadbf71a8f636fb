//! The governance tools: what watches over agents, for those who may.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::outputs;
use super::tools::{Call, Effect, Row};
use crate::broker::{RecordFilter, Trouble, pay::payees};
use crate::domain::facts::{EntityRecord, Fact, Reputation};
use crate::domain::ids::AgentId;
use crate::domain::principal::Right;
use crate::domain::tool::Payee;
use crate::entry::fields::{Fields, MAX_NAME_BYTES};
use crate::entry::{govern, readiness};
use crate::telemetry;

/// Longest URL taken in here.
const MAX_URL_BYTES: usize = 4_096;
/// Most audit records of one answer, and how many without a word about it.
const MAX_RECORDS: u32 = 500;
const DEFAULT_RECORDS: u32 = 50;

/// The rows, in the order lists show them.
pub(super) const ROWS: &[Row] = &[
    Row {
        name: "check_vendor_reputation",
        title: "Check a vendor's URL",
        description: "Asks whether a vendor's URL is listed as a threat. `safe` is null when the \
                      service did not answer: that is not safety.",
        rights: &[Right::Propose, Right::ReadAll],
        effect: Effect::Reads,
        input: || object(json!({"url": text("The vendor's URL.")}), &["url"]),
        output: outputs::reputation,
        run: check_vendor_reputation,
    },
    Row {
        name: "verify_vendor_entity",
        title: "Verify a vendor's legal entity",
        description: "Asks GLEIF whether an active legal entity bears this very name, and has this \
                      LEI if one is given. Spellings of the legal form do not matter.",
        rights: &[Right::Propose, Right::ReadAll],
        effect: Effect::Reads,
        input: || {
            let fields = json!({
                "vendor_name": text("The name, as registered."),
                "lei": text("The legal entity identifier, if known: it is asked for instead."),
            });
            object(fields, &["vendor_name"])
        },
        output: outputs::entity,
        run: verify_vendor_entity,
    },
    Row {
        name: "score_transaction_risk",
        title: "Score a payout's risk",
        description: "Compares an amount with an agent's payouts so far. Asking counts against \
                      nobody and is not remembered.",
        rights: &[Right::ReadOwn],
        effect: Effect::Reads,
        input: || {
            let fields = json!({
                "amount": {"type": "integer", "minimum": 1, "description": "Minor units."},
                "agent_id": agent_field(),
            });
            object(fields, &["amount"])
        },
        output: outputs::risk,
        run: score_transaction_risk,
    },
    Row {
        name: "get_agent_risk_profile",
        title: "Read an agent's risk profile",
        description: "What an agent's payouts look like: amounts, hours, payees.",
        rights: &[Right::ReadOwn],
        effect: Effect::Reads,
        input: || object(json!({"agent_id": agent_field()}), &[]),
        output: outputs::profile,
        run: get_agent_risk_profile,
    },
    Row {
        name: "get_agent_budget",
        title: "Read an agent's budget",
        description: "Today's limit, what is reserved, spent and left, in minor units.",
        rights: &[Right::ReadOwn],
        effect: Effect::Reads,
        input: || object(json!({"agent_id": agent_field()}), &[]),
        output: outputs::budget,
        run: get_agent_budget,
    },
    Row {
        name: "set_agent_policy",
        title: "Set an agent's policy",
        description: "Changes what is named in an agent's policy, and leaves the rest. Amounts in \
                      minor units; null takes a limit away. An agent's first policy has to name \
                      daily_limit, per_txn_limit and require_approval_above. For operators.",
        rights: &[Right::Operate],
        effect: Effect::Sets,
        input: policy_input,
        output: outputs::policy,
        run: set_agent_policy,
    },
    Row {
        name: "get_audit_log",
        title: "Read the audit log",
        description: "Audit records, newest first. An agent sees those of its own proposals.",
        rights: &[Right::ReadOwn],
        effect: Effect::Reads,
        input: || {
            let fields = json!({
                "agent_id": text("Only about this agent."),
                "payout_id": text("Only about this payout of the provider."),
                "limit": {"type": "integer", "minimum": 1, "maximum": MAX_RECORDS},
            });
            object(fields, &[])
        },
        output: outputs::audit,
        run: get_audit_log,
    },
    Row {
        name: "health_check",
        title: "Check health",
        description: "Whether the store, the upstreams and the services behind breakers answer.",
        rights: &[Right::ReadAll],
        effect: Effect::Reads,
        input: || object(json!({}), &[]),
        output: outputs::health,
        run: health_check,
    },
    Row {
        name: "get_metrics",
        title: "Read the metrics",
        description: "Every metric as JSON, and as the Prometheus text of /metrics.",
        rights: &[Right::ReadAll],
        effect: Effect::Reads,
        input: || object(json!({}), &[]),
        output: outputs::metrics,
        run: get_metrics,
    },
];

fn text(words: &str) -> Value {
    json!({"type": "string", "description": words})
}

fn agent_field() -> Value {
    text("The agent; an agent may leave out its own.")
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

fn policy_input() -> Value {
    let limit =
        |words: &str| json!({"type": ["integer", "null"], "minimum": 0, "description": words});
    let texts = |words: &str| json!({"type": ["array", "null"], "items": {"type": "string"}, "description": words});
    let fields = json!({
        "agent_id": text("The agent to govern."),
        "daily_limit": limit("Most that may be reserved and spent in a day."),
        "per_txn_limit": limit("Most for one transaction."),
        "require_approval_above": limit("Amounts above this wait for people."),
        "approvals_needed": {"type": ["integer", "null"], "minimum": 0, "maximum": 10},
        "allowed_domains": texts("Only these vendor hosts; empty is any."),
        "blocked_domains": texts("Never these domains, nor what is under them; `*` is all."),
        "allowed_tools": texts(
            "The high-risk tools it may use: exactly these, `*` at the end of a name or alone. \
             Null is every tool that moves money and no other.",
        ),
        "rate_limit": {"type": ["object", "null"], "properties": {
            "max": {"type": "integer", "minimum": 0}, "window_secs": {"type": "integer", "minimum": 0},
        }, "additionalProperties": false},
        "duplicates": {
            "type": ["object", "null"],
            "description": "The same payee, amount and currency within so many seconds.",
            "properties": {
                "window_secs": {"type": "integer", "minimum": 1},
                "then": {"enum": ["hold", "report", "off"]},
            },
            "additionalProperties": false,
        },
        "approval_above": {
            "type": ["array", "null"],
            "description": "Sums over so many seconds above which people have to agree.",
            "items": {
                "type": "object",
                "properties": {
                    "amount": {"type": "integer", "minimum": 0},
                    "window_secs": {"type": "integer", "minimum": 1},
                    "per": {"enum": ["agent", "payee"]},
                },
                "required": ["amount", "window_secs", "per"],
                "additionalProperties": false,
            },
        },
        "require_verified_entity": {"type": ["boolean", "null"]},
        "payees": {"enum": ["any", "registered", null], "description": "Whom it may pay."},
        "valid_from": {"type": ["string", "integer", "null"]},
        "valid_until": {"type": ["string", "integer", "null"]},
        "currency": {"type": ["string", "null"]},
        "execute_on_approval": {"type": ["boolean", "null"]},
        "version": {"type": ["integer", "null"], "description": "Change only this version."},
    });
    object(fields, &["agent_id"])
}

type Answer<'a> = BoxFuture<'a, Result<Value, Trouble>>;

/// Why nothing is known: asked and not answered, or not asked because it failed before.
const SILENT: &str = "the reputation service did not answer properly";

fn check_vendor_reputation(call: &Call, mut fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        let url = fields.needed_text("url", MAX_URL_BYTES)?;
        fields.end()?;
        let source = call.broker.ports().reputation.as_ref().ok_or_else(|| {
            let text = "no reputation service is configured (HUNDI_SAFE_BROWSING_KEY)";
            Trouble::Off(text.to_owned())
        })?;
        let (safe, threats, error) = match payees::no_vendors(&url) {
            // Refused for itself (`DOMAIN_BLOCKED`), so nobody needs to be asked.
            Some(why) => (json!(false), vec![], Some(why)),
            None => match source.reputation(&url).await {
                Fact::Known(Reputation::Safe | Reputation::NotAsked) => (json!(true), vec![], None),
                Fact::Known(Reputation::Unsafe(threats)) => (json!(false), threats, None),
                Fact::Missing => (Value::Null, vec![], Some(SILENT.to_owned())),
            },
        };
        Ok(json!({
            "url": url, "safe": safe, "match_count": threats.len(), "threats": threats,
            "error": error,
        }))
    })
}

fn verify_vendor_entity(call: &Call, mut fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        let name = fields.needed_text("vendor_name", MAX_NAME_BYTES)?;
        let lei = fields.text("lei", MAX_NAME_BYTES)?;
        fields.end()?;
        let query = lei.filter(|lei| !lei.trim().is_empty());
        let query = query.unwrap_or_else(|| name.clone());
        let source = call.broker.ports().entities.as_ref();
        let source = source.ok_or_else(|| Trouble::Off("no register is configured".to_owned()))?;
        let (records, error) = match source.records(&query).await {
            Fact::Known(records) => (records, Value::Null),
            Fact::Missing => (Vec::new(), json!("the register did not answer properly")),
        };
        // Whoever asks by identifier is told of the name as well: it may be another company's.
        let meant = |record: &&EntityRecord| record.answers_to(&query) && record.answers_to(&name);
        let mut meant = records.iter().filter(meant);
        let first = meant.clone().next();
        let best = meant.find(|record| record.is_verified());
        let verified = best.is_some();
        let best = best.or(first).or(records.first());
        Ok(json!({
            "query": query, "verified": verified, "match_count": records.len(),
            "best_match": best, "all_entities": records, "error": error,
        }))
    })
}

fn score_transaction_risk(call: &Call, mut fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        let agent = agent(call, &mut fields)?;
        let amount = fields.take("amount").and_then(|amount| amount.as_i64());
        fields.end()?;
        let amount = amount.ok_or_else(|| {
            Trouble::InvalidRequest("`amount` must be an integer of minor units".to_owned())
        })?;
        let payee = Payee::default();
        call.broker
            .pay
            .score_risk(&call.who, &agent, amount, &payee)
            .await
    })
}

fn get_agent_risk_profile(call: &Call, mut fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        let agent = agent(call, &mut fields)?;
        fields.end()?;
        call.broker.pay.risk_profile(&call.who, &agent).await
    })
}

fn get_agent_budget(call: &Call, mut fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        let agent = agent(call, &mut fields)?;
        fields.end()?;
        let view = call.broker.pay.budget(&call.who, &agent).await?;
        Ok(govern::budget(&view))
    })
}

fn set_agent_policy(call: &Call, mut fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        let agent = agent(call, &mut fields)?;
        let (body, expect) = govern::asked(fields, &agent)?;
        let view = call
            .broker
            .pay
            .change_policy(&call.who, &agent, &body, expect)
            .await?;
        let policy = govern::written(&call.broker, &call.who, &view).await;
        Ok(json!({"status": "ok", "policy": policy}))
    })
}

fn get_audit_log(call: &Call, mut fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        let agent = match fields.text("agent_id", MAX_NAME_BYTES)? {
            None => None,
            Some(name) => Some(name.parse().map_err(|_| Trouble::NotFound("agent"))?),
        };
        let payout = fields.text("payout_id", MAX_NAME_BYTES)?;
        let limit = fields.integer("limit", 1..=MAX_RECORDS)?;
        fields.end()?;
        let filter = RecordFilter {
            agent,
            payout,
            limit: limit.unwrap_or(DEFAULT_RECORDS),
            ..RecordFilter::default()
        };
        let page = call.broker.audit.records(&call.who, filter).await?;
        let records: Vec<Value> = page
            .rows
            .iter()
            .map(|stored| {
                let record = &stored.record;
                json!({
                    "seq": stored.seq, "at": record.at.to_string(), "kind": record.kind,
                    "decision": record.decision, "reason": record.reason, "actor": record.actor,
                    "agent_id": record.agent, "proposal_id": record.proposal,
                    "tool_name": record.tool, "payout_id": record.payout,
                    "amount": record.amount, "currency": record.currency, "detail": record.detail,
                })
            })
            .collect();
        Ok(json!({"records": records}))
    })
}

fn health_check(call: &Call, fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        fields.end()?;
        let store = call.broker.ports().store.ping().await.is_ok();
        let mut body = readiness::told(&call.broker, store, true);
        body["uptime_seconds"] = json!(telemetry::uptime().as_secs());
        Ok(body)
    })
}

fn get_metrics(call: &Call, fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        fields.end()?;
        call.broker.pay.fresh_gauges().await;
        Ok(telemetry::snapshot_json())
    })
}

/// The agent that is asked about; an agent may leave itself out.
fn agent(call: &Call, fields: &mut Fields) -> Result<AgentId, Trouble> {
    match fields.text("agent_id", MAX_NAME_BYTES)? {
        Some(name) => name.parse().map_err(|_| Trouble::NotFound("agent")),
        None => call
            .who
            .agent
            .clone()
            .ok_or_else(|| Trouble::InvalidRequest("`agent_id` is missing".to_owned())),
    }
}
