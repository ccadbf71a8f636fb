//! The statement: what a person is shown, and agrees to, byte for byte.
//!
//! One canonical JSON document (RFC 8785) says everything about a decision: who decides what about
//! which arguments, as they will be sent, on which state of what they work on, by which rule. A page is rendered from these bytes alone, and a passkey
//! signs them, so nobody can be shown one thing and made to sign another. The same proposal, viewer,
//! decision and instant always give the same bytes, so they need not be kept to be checked.
//!
//! Whether the decision may be made at all is for `broker/pay/approve` to say.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::canonical::Canonical;
use super::ids::hex;
use super::money::Effective;
use super::principal::Principal;
use super::proposal::Proposal;
use super::time::Timestamp;
use super::tools::effect::Effect;

/// What kind of document it is, and what keeps its signature from meaning anything else.
pub const KIND: &str = "hundi/approval/v1";

/// What is decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may go on.
    Approve,
    /// It must not.
    Reject,
}

impl Verdict {
    /// Its one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Approve => "approve",
            Verdict::Reject => "reject",
        }
    }
}

/// A statement's exact bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement(Canonical);

impl Statement {
    /// What `who` is asked about a proposal, at this instant.
    pub fn of(proposal: &Proposal, who: &Principal, verdict: Verdict, asked_at: Timestamp) -> Self {
        let fixed = &proposal.fixed;
        let then = match fixed.execute_on_approval {
            true => "carried_out_at_once",
            false => "may_be_committed",
        };
        Self(Canonical::of(&json!({
            "statement": KIND,
            "decision": verdict.name(),
            "org": fixed.org,
            "proposal_id": fixed.id,
            "agent_id": fixed.agent,
            "proposer": fixed.proposer,
            "tool": {"name": fixed.tool, "pin": fixed.tool_digest},
            "arguments": fixed.args.value(),
            "arguments_hash": fixed.args_hash,
            "amount": amount(&fixed.effective),
            "payee": fixed.payee,
            "state": proposal.state.name(),
            "effect": fixed.effect.as_ref().map(Effect::told),
            "then": then,
            "approvals_needed": proposal.approvals_needed(),
            "approval": fixed.approval,
            "policy_version": fixed.policy_version,
            "findings": fixed.findings,
            "approver": {"id": who.id, "name": who.name},
            "asked_at": asked_at.to_string(),
            "expires_at": fixed.lapses_at.to_string(),
        })))
    }

    /// The bytes, which are text.
    pub fn text(&self) -> &str {
        self.0.as_str()
    }

    /// SHA-256 of the bytes, in lower-case hex.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.text().as_bytes()))
    }

    /// What a passkey signs: bound to this kind of document, so that nothing else that is ever
    /// signed can be taken for an approval.
    pub fn challenge(&self) -> [u8; 32] {
        challenge_of(self.text())
    }
}

/// What a passkey signs for a statement of this text.
pub fn challenge_of(text: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(KIND.as_bytes());
    hash.update([0]);
    hash.update(text.as_bytes());
    hash.finalize().into()
}

fn amount(effective: &Effective) -> Value {
    match effective {
        Effective::Nothing => Value::Null,
        Effective::Amount(money) => json!({"minor": money.minor, "currency": money.currency}),
        Effective::Unbounded(currency) => json!({"minor": null, "currency": currency}),
    }
}
