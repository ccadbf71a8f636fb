//! What the governance tools answer, as JSON Schemas. Fields may be added later, so none of them
//! closes the objects it describes; each one accepts a trouble as well.

use serde_json::{Value, json};

use super::schemas::{answer, one_of, or_null};
use crate::domain::audit::names::Decision;

/// `handle_razorpay_webhook`.
pub(super) fn webhook() -> Value {
    let mut fields = decision();
    fields["received"] = one_of(&["accepted", "duplicate", "kept", "forged"]);
    fields["processing_ms"] = json!({"type": "integer"});
    answer(fields, &["received", "decision", "reason"])
}

/// `poll_razorpay_payouts`.
pub(super) fn poll() -> Value {
    let fields = json!({
        "status": one_of(&["ok"]),
        "payouts_found": {"type": "integer"},
        "decisions_left_out": {
            "type": "integer",
            "description": "Payouts found about which nothing is told: not decided yet, or past the first thousand.",
        },
        "decisions": {"type": "array", "items": {"type": "object", "properties": decision()}},
        "poller_stats": {
            "type": "object",
            "properties": {
                "running": {"type": "boolean"},
                "poll_interval_seconds": or_null("integer"),
                "error_count": {"type": "integer"},
                "last_poll_at": or_null("string"),
                "next_poll_at": or_null("string"),
            },
        },
    });
    answer(
        fields,
        &[
            "status",
            "payouts_found",
            "decisions_left_out",
            "decisions",
            "poller_stats",
        ],
    )
}

/// `handle_slack_action`.
pub(super) fn press() -> Value {
    let fields = json!({
        "status": one_of(&["ok", "refused", "ignored"]),
        "reason": {"type": "string"},
        "action": one_of(&["approve", "reject"]),
        "proposal_id": {"type": "string"},
        "state": {"type": "string"},
        "reviewer": {"type": "string"},
    });
    answer(fields, &["status"])
}

/// `check_vendor_reputation`.
pub(super) fn reputation() -> Value {
    let fields = json!({
        "url": {"type": "string"},
        "safe": or_null("boolean"),
        "threats": texts(),
        "match_count": {"type": "integer"},
        "error": or_null("string"),
    });
    answer(fields, &["url", "safe", "threats", "match_count", "error"])
}

/// `verify_vendor_entity`.
pub(super) fn entity() -> Value {
    let fields = json!({
        "query": {"type": "string"},
        "verified": {"type": "boolean"},
        "match_count": {"type": "integer"},
        "best_match": or_null("object"),
        "all_entities": {"type": "array", "items": {"type": "object"}},
        "error": or_null("string"),
    });
    answer(
        fields,
        &["query", "verified", "match_count", "all_entities"],
    )
}

/// `score_transaction_risk`.
pub(super) fn risk() -> Value {
    let fields = json!({
        "risk_score": {"type": "number"},
        "raw_score": or_null("number"),
        "is_anomalous": {"type": "boolean"},
        "features": {"type": "object"},
        "model_trained": {"type": "boolean"},
        "training_samples": {"type": "integer"},
    });
    answer(fields, &["risk_score", "is_anomalous", "features"])
}

/// `get_agent_risk_profile`.
pub(super) fn profile() -> Value {
    let fields = json!({
        "agent_id": {"type": "string"},
        "total_transactions": {"type": "integer"},
        "profile": {"type": "string"},
        "amount_stats": {"type": "object"},
        "time_stats": {"type": "object"},
        "distinct_payees": {"type": "integer"},
    });
    answer(fields, &["agent_id", "total_transactions"])
}

/// `get_agent_budget`.
pub(super) fn budget() -> Value {
    let fields = json!({
        "agent_id": {"type": "string"},
        "daily_limit": or_null("integer"),
        "reserved": {"type": "integer"},
        "posted": {"type": "integer"},
        "remaining": or_null("integer"),
        "policy_version": or_null("integer"),
        "day": {"type": "string"},
        "currency": {"type": "string"},
    });
    answer(
        fields,
        &["agent_id", "reserved", "posted", "day", "currency"],
    )
}

/// `set_agent_policy`.
pub(super) fn policy() -> Value {
    let fields = json!({
        "status": one_of(&["ok"]),
        "policy": {
            "type": "object",
            "properties": {"agent_id": {"type": "string"}, "version": {"type": "integer"}},
            "required": ["agent_id", "version"],
        },
    });
    answer(fields, &["status", "policy"])
}

/// `get_audit_log`.
pub(super) fn audit() -> Value {
    let record = json!({
        "type": "object",
        "properties": {
            "seq": {"type": "integer"},
            "at": {"type": "string"},
            "kind": {"type": "string"},
            "decision": {"type": "string"},
            "reason": {"type": "string"},
            "actor": {"type": "string"},
            "agent_id": or_null("string"),
            "proposal_id": or_null("string"),
            "tool_name": or_null("string"),
            "payout_id": or_null("string"),
            "amount": or_null("integer"),
            "currency": or_null("string"),
        },
        "required": ["seq", "at", "kind", "decision", "reason", "actor"],
    });
    answer(
        json!({"records": {"type": "array", "items": record}}),
        &["records"],
    )
}

/// `health_check`.
pub(super) fn health() -> Value {
    let check = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "ok": {"type": "boolean"},
            "detail": {"type": "string"},
        },
        "required": ["name", "ok"],
    });
    let fields = json!({
        "status": one_of(&["ready", "degraded", "down"]),
        "checks": {"type": "array", "items": check},
        "uptime_seconds": {"type": "integer"},
    });
    answer(fields, &["status", "checks"])
}

/// `get_metrics`.
pub(super) fn metrics() -> Value {
    let fields = json!({
        "metrics": {"type": "object"},
        "prometheus_text": {"type": "string"},
    });
    answer(fields, &["metrics", "prometheus_text"])
}

fn decision() -> Value {
    use Decision::{Approved, Held, Rejected, Skipped};
    let decisions = [Approved, Held, Rejected, Skipped].map(Decision::name);
    let words = [&decisions[..], &["SETTLED", "PENDING"]].concat();
    json!({
        "payout_id": or_null("string"),
        "decision": one_of(&words),
        "reason": {"type": "string"},
        "detail": {"type": "string"},
        "amount_paise": or_null("integer"),
        "agent_id": or_null("string"),
        "proposal_id": or_null("string"),
    })
}

fn texts() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}
