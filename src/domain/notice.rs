//! Something to tell people. It waits in the outbox, written with its cause, until delivered.

use serde::{Deserialize, Serialize};

use super::ids::{AgentId, OrgId, ProposalId, ToolName};
use super::money::Effective;
use super::proposal::Proposal;
use super::reason::Finding;
use super::secret::Secret;
use super::time::{Timestamp, rfc_3339};
use super::tool::Payee;

/// What happened that people want to know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A proposal waits for approval.
    Held,
    /// A hold was decided, lapsed or withdrawn; earlier messages are out of date.
    Decided,
    /// Governance refused a proposal.
    Blocked,
    /// Nobody knows whether an effect exists, and no machine can find out.
    InDoubt,
    /// The provider contradicts what it said before, or the money came back.
    Reversed,
    /// Something an operator has to look at.
    Alert,
}

impl NoticeKind {
    /// Which messages go first: lower ones. Whoever has to decide is told before whoever only wants
    /// to know.
    pub fn urgency(self) -> i64 {
        match self {
            NoticeKind::Held | NoticeKind::Decided => 0,
            NoticeKind::InDoubt | NoticeKind::Reversed => 1,
            NoticeKind::Blocked | NoticeKind::Alert => 2,
        }
    }
}

/// One message to people, without any channel's formatting.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// What happened.
    pub kind: NoticeKind,
    /// When.
    pub at: Timestamp,
    /// Where.
    pub org: OrgId,
    /// The proposal it is about, if any.
    pub proposal: Option<ProposalId>,
    /// The agent concerned, if any.
    pub agent: Option<AgentId>,
    /// The tool concerned, if any.
    pub tool: Option<ToolName>,
    /// What would move.
    pub effective: Effective,
    /// Who would be paid.
    pub payee: Payee,
    /// The canonical arguments' hash, in hex.
    pub args_hash: String,
    /// The headline's code, or what an alert is about.
    pub reason: String,
    /// Every finding.
    pub findings: Vec<Finding>,
    /// Who decided, or other words for people.
    pub detail: String,
    /// Whom this copy is for; `None` is the one that was written with its cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyFor>,
}

/// Whom a copy of a message is for. Each is delivered, and tried again, by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyFor {
    /// Slack and ntfy.
    People,
    /// One webhook.
    Webhook {
        /// Which one, by its address's hash.
        key: String,
        /// The message's id, the same at every try.
        id: String,
        /// When it was first to be sent.
        #[serde(with = "rfc_3339")]
        since: Timestamp,
    },
}

impl Notice {
    /// A message about a proposal, with the proposal's own headline.
    pub fn about(proposal: &Proposal, kind: NoticeKind, at: Timestamp, detail: &str) -> Self {
        let fixed = &proposal.fixed;
        Self {
            kind,
            at,
            org: fixed.org.clone(),
            proposal: Some(fixed.id),
            agent: Some(fixed.agent.clone()),
            tool: Some(fixed.tool.clone()),
            effective: fixed.effective,
            payee: fixed.payee.clone(),
            args_hash: fixed.args_hash.to_string(),
            reason: fixed.reason.code().to_owned(),
            findings: fixed.findings.clone(),
            detail: detail.to_owned(),
            copy: None,
        }
    }
}

/// One HTTP POST of JSON to a service that tells people.
#[derive(Clone, PartialEq, Debug)]
pub struct Post {
    /// Where.
    pub url: String,
    /// Bearer token, if the service wants one.
    pub bearer: Option<Secret>,
    /// Headers besides.
    pub headers: Vec<(&'static str, String)>,
    /// What.
    pub body: serde_json::Value,
}

/// What the service answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Seconds to wait before the next try, if it said so.
    pub retry_after_secs: Option<u32>,
    /// The beginning of its body.
    pub body: String,
}
