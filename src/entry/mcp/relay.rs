//! The tools that hand on what the bank or Slack signed, and the one that asks the bank now: for
//! operators whose network lets neither of them reach `/webhooks/razorpay` and `/slack/actions`.
//!
//! Whoever calls is not believed more for it. The signature is checked over the very bytes, and
//! what was heard before is known, exactly as at the doors themselves.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::outputs;
use super::schemas;
use super::tools::{Call, Effect, Row};
use crate::broker::Trouble;
use crate::broker::bank::relay::{Asked, Decided, Handled, Pressed};
use crate::broker::bank::webhook::Received;
use crate::domain::audit::names::Decision;
use crate::domain::principal::Right;
use crate::domain::time::Timestamp;
use crate::entry::fields::{Fields, MAX_NAME_BYTES};

/// Longest body taken in here: what the doors take.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The rows, in the order lists show them.
pub(super) const ROWS: &[Row] = &[
    Row {
        name: "handle_razorpay_webhook",
        title: "Hand on a webhook of the bank",
        description: "Takes in a webhook that the bank signed, as POST /webhooks/razorpay does, \
                      and tells what was decided. A forged one is REJECTED with \
                      INVALID_SIGNATURE, one that was heard before is SKIPPED. For operators.",
        rights: &[Right::Operate],
        effect: Effect::Sets,
        input: || {
            let fields = json!({
                "payload": text("The raw body, byte for byte."),
                "signature": text("The header X-Razorpay-Signature."),
                "event_id": text("The header x-razorpay-event-id, by which repetitions are known."),
            });
            schemas::closed(fields, &["payload", "signature"])
        },
        output: outputs::webhook,
        run: handle_razorpay_webhook,
    },
    Row {
        name: "poll_razorpay_payouts",
        title: "Ask the bank for waiting payouts",
        description: "Asks the bank once for payouts that wait in pending or queued, and decides \
                      on those that were not heard of before. For operators.",
        rights: &[Right::Operate],
        effect: Effect::Sets,
        input: || schemas::closed(json!({}), &[]),
        output: outputs::poll,
        run: poll_razorpay_payouts,
    },
    Row {
        name: "handle_slack_action",
        title: "Hand on a button press",
        description: "Takes in a button press that Slack signed within the last five minutes, as \
                      POST /slack/actions does. The decision is that of whoever pressed, if their \
                      Slack user is mapped to an approver. For operators.",
        rights: &[Right::Operate],
        effect: Effect::Acts,
        input: || {
            let fields = json!({
                "body": text("The raw body, byte for byte: payload=..."),
                "timestamp": text("The header X-Slack-Request-Timestamp."),
                "signature": text("The header X-Slack-Signature: v0=..."),
            });
            schemas::closed(fields, &["body", "timestamp", "signature"])
        },
        output: outputs::press,
        run: handle_slack_action,
    },
];

fn text(words: &str) -> Value {
    json!({"type": "string", "description": words})
}

type Answer<'a> = BoxFuture<'a, Result<Value, Trouble>>;

fn handle_razorpay_webhook(call: &Call, mut fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        let began = Instant::now();
        let payload = fields.needed_text("payload", MAX_BODY_BYTES)?;
        let signature = fields.needed_text("signature", MAX_NAME_BYTES)?;
        let event_id = fields.text("event_id", MAX_NAME_BYTES)?;
        fields.end()?;
        let event_id = event_id.unwrap_or_default();
        let handled = call
            .broker
            .bank
            .relay_webhook(&call.who, payload.as_bytes(), &signature, &event_id)
            .await?;
        let mut body = webhook(handled);
        body["processing_ms"] = json!(began.elapsed().as_millis());
        Ok(body)
    })
}

fn webhook(handled: Handled) -> Value {
    let plain = |decision: &str, reason: &str| Decided {
        decision: decision.to_owned(),
        reason: reason.to_owned(),
        ..Decided::default()
    };
    let decided = match handled.received {
        Received::Forged => plain(Decision::Rejected.name(), "INVALID_SIGNATURE"),
        Received::Duplicate => plain(Decision::Skipped.name(), "IDEMPOTENT_SKIP"),
        Received::Kept => plain(Decision::Skipped.name(), "PARSE_ERROR"),
        // Stored, so it will be worked off; `get_audit_log` tells later.
        Received::Accepted => handled
            .decided
            .unwrap_or_else(|| plain("PENDING", "ACCEPTED")),
    };
    let mut body = decision(&decided);
    body["received"] = json!(handled.received.name());
    body
}

fn decision(decided: &Decided) -> Value {
    let known = (!decided.payout.is_empty()).then_some(&decided.payout);
    json!({
        "payout_id": known,
        "decision": decided.decision,
        "reason": decided.reason,
        "detail": decided.detail,
        "amount_paise": decided.amount,
        "agent_id": decided.agent,
        "proposal_id": decided.proposal,
    })
}

fn poll_razorpay_payouts(call: &Call, fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        fields.end()?;
        let Asked {
            found,
            decisions,
            poller,
        } = call.broker.bank.relay_poll(&call.who).await?;
        let instant = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Ok(json!({
            "status": "ok",
            "payouts_found": found,
            "decisions_left_out": found.saturating_sub(decisions.len()),
            "decisions": decisions.iter().map(decision).collect::<Vec<_>>(),
            "poller_stats": {
                "running": poller.interval_secs.is_some(),
                "poll_interval_seconds": poller.interval_secs,
                "error_count": poller.failures,
                "last_poll_at": instant(poller.last_poll_at),
                "next_poll_at": instant(poller.next_poll_at),
            },
        }))
    })
}

fn handle_slack_action(call: &Call, mut fields: Fields) -> Answer<'_> {
    Box::pin(async move {
        let body = fields.needed_text("body", MAX_BODY_BYTES)?;
        let timestamp = fields.needed_text("timestamp", MAX_NAME_BYTES)?;
        let signature = fields.needed_text("signature", MAX_NAME_BYTES)?;
        fields.end()?;
        let pressed = call
            .broker
            .bank
            .relay_press(&call.who, &timestamp, &signature, body.as_bytes())
            .await?;
        Ok(match pressed {
            Pressed::Forged => json!({"status": "refused", "reason": "INVALID_SIGNATURE"}),
            Pressed::Ignored(why) => json!({"status": "ignored", "reason": why}),
            Pressed::Decided {
                approved,
                user,
                proposed,
            } => {
                let proposal = &proposed.proposal;
                json!({
                    "status": "ok",
                    "action": if approved { "approve" } else { "reject" },
                    "proposal_id": proposal.id(),
                    "state": proposal.state.name(),
                    "reviewer": user,
                })
            }
        })
    })
}
