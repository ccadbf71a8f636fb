//! What the bank or Slack signed, handed on, and the bank asked now: for operators whose network
//! lets neither of them reach `/webhooks/razorpay` and `/slack/actions`.
//!
//! Whoever calls is not believed more for it. The signature is checked over the very bytes, and
//! what was heard before is known, exactly as at the doors themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Call, Effect, Nothing, Operation};
use crate::broker::Trouble;
use crate::broker::bank::relay::{Asked, Decided, Handled, Pressed};
use crate::broker::bank::webhook::Received;
use crate::domain::audit::names::Decision as Word;
use crate::domain::principal::Right;
use crate::domain::time::Timestamp;
use crate::entry::words;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("handle_razorpay_webhook", webhook)
            .says(
                "Hand on a webhook of the bank",
                "Takes in a webhook that the bank signed, as POST /webhooks/razorpay does, and \
                 tells what was decided. A forged one is REJECTED with INVALID_SIGNATURE, one that \
                 was heard before is SKIPPED. For operators.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .of_bank()
            .mcp(),
        Operation::new("poll_razorpay_payouts", poll)
            .says(
                "Ask the bank for waiting payouts",
                "Asks the bank once for payouts that wait in pending or queued, and decides on \
                 those that were not heard of before. For operators.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .of_bank()
            .mcp(),
        Operation::new("handle_slack_action", press)
            .says(
                "Hand on a button press",
                "Takes in a button press that Slack signed within the last five minutes, as POST \
                 /slack/actions does. The decision is that of whoever pressed, if their Slack user \
                 is mapped to an approver. For operators.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Acts)
            .mcp(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignedWebhook {
    /// The raw body, byte for byte.
    payload: String,
    /// The header X-Razorpay-Signature.
    #[schemars(length(max = 256))]
    signature: String,
    /// The header x-razorpay-event-id, by which repetitions are known.
    #[schemars(length(max = 256))]
    event_id: Option<String>,
}

/// What was decided about one payout of the bank.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Decision {
    payout_id: Option<String>,
    #[schemars(schema_with = "words::bank_decision")]
    decision: String,
    reason: String,
    detail: String,
    amount_paise: Option<i64>,
    agent_id: Option<String>,
    proposal_id: Option<String>,
}

impl From<Decided> for Decision {
    fn from(decided: Decided) -> Self {
        Self {
            payout_id: Some(decided.payout).filter(|payout| !payout.is_empty()),
            decision: decided.decision,
            reason: decided.reason,
            detail: decided.detail,
            amount_paise: decided.amount,
            agent_id: decided.agent.map(|agent| agent.to_string()),
            proposal_id: decided.proposal.map(|id| id.to_string()),
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct HandledWebhook {
    #[schemars(schema_with = "words::received")]
    received: &'static str,
    #[serde(flatten)]
    decision: Decision,
    processing_ms: u64,
}

async fn webhook(call: Call, signed: SignedWebhook) -> Result<HandledWebhook, Trouble> {
    let began = Instant::now();
    let event_id = signed.event_id.unwrap_or_default();
    let payload = signed.payload.as_bytes();
    let handled = call
        .broker
        .bank
        .relay_webhook(&call.who, payload, &signed.signature, &event_id)
        .await?;
    Ok(HandledWebhook {
        received: handled.received.name(),
        decision: decided(handled).into(),
        processing_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

fn decided(handled: Handled) -> Decided {
    let plain = |decision: &str, reason: &str| Decided {
        decision: decision.to_owned(),
        reason: reason.to_owned(),
        ..Decided::default()
    };
    match handled.received {
        Received::Forged => plain(Word::Rejected.name(), "INVALID_SIGNATURE"),
        Received::Duplicate => plain(Word::Skipped.name(), "IDEMPOTENT_SKIP"),
        Received::Kept => plain(Word::Skipped.name(), "PARSE_ERROR"),
        // Stored, so it will be worked off; `get_audit_log` tells later.
        Received::Accepted => handled
            .decided
            .unwrap_or_else(|| plain("PENDING", "ACCEPTED")),
    }
}

#[derive(Serialize, JsonSchema)]
struct Polled {
    #[schemars(schema_with = "words::ok")]
    status: &'static str,
    payouts_found: usize,
    /// Payouts found about which nothing is told: not decided yet, or past the first thousand.
    decisions_left_out: usize,
    decisions: Vec<Decision>,
    poller_stats: PollerStats,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct PollerStats {
    running: bool,
    poll_interval_seconds: Option<u32>,
    error_count: u32,
    last_poll_at: Option<String>,
    next_poll_at: Option<String>,
}

async fn poll(call: Call, _: Nothing) -> Result<Polled, Trouble> {
    let Asked {
        found,
        decisions,
        poller,
    } = call.broker.bank.relay_poll(&call.who).await?;
    let instant = |at: Option<Timestamp>| at.map(|at| at.to_string());
    Ok(Polled {
        status: "ok",
        payouts_found: found,
        decisions_left_out: found.saturating_sub(decisions.len()),
        decisions: decisions.into_iter().map(Decision::from).collect(),
        poller_stats: PollerStats {
            running: poller.interval_secs.is_some(),
            poll_interval_seconds: poller.interval_secs,
            error_count: poller.failures,
            last_poll_at: instant(poller.last_poll_at),
            next_poll_at: instant(poller.next_poll_at),
        },
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignedPress {
    /// The raw body, byte for byte: payload=...
    body: String,
    /// The header X-Slack-Request-Timestamp.
    #[schemars(length(max = 256))]
    timestamp: String,
    /// The header X-Slack-Signature: v0=...
    #[schemars(length(max = 256))]
    signature: String,
}

#[derive(Serialize, JsonSchema, Default)]
struct PressOutcome {
    #[schemars(schema_with = "words::press")]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proposal_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewer: Option<String>,
}

async fn press(call: Call, signed: SignedPress) -> Result<PressOutcome, Trouble> {
    let body = signed.body.as_bytes();
    let pressed = call
        .broker
        .bank
        .relay_press(&call.who, &signed.timestamp, &signed.signature, body)
        .await?;
    Ok(match pressed {
        Pressed::Forged => PressOutcome {
            status: "refused",
            reason: Some("INVALID_SIGNATURE"),
            ..PressOutcome::default()
        },
        Pressed::Ignored(why) => PressOutcome {
            status: "ignored",
            reason: Some(why),
            ..PressOutcome::default()
        },
        Pressed::Decided {
            approved,
            user,
            proposed,
        } => PressOutcome {
            status: "ok",
            action: Some(if approved { "approve" } else { "reject" }),
            proposal_id: Some(proposed.proposal.id().to_string()),
            state: Some(proposed.proposal.state.name()),
            reviewer: Some(user),
            ..PressOutcome::default()
        },
    })
}
