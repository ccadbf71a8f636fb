//! What the doors hand in and get back: requests and answers of the two phases.

use std::time::Duration;

use serde_json::Value;

use crate::domain::ids::{AgentId, ProposalId};
use crate::domain::proposal::{Origin, Proposal, State};
use crate::domain::reason::{Recovery, Refusal};

/// A request to propose, as any door hands it in. `arguments` came through the strict reader.
#[derive(Clone, Debug, Default)]
pub struct ProposeRequest {
    /// Tool name without `_propose`.
    pub tool: String,
    /// The tool's arguments.
    pub arguments: Value,
    /// What the agent was asked to do.
    pub prompt: Option<String>,
    /// The agent's own answers, to be compared with each other.
    pub samples: Vec<String>,
    /// The caller's name for this request.
    pub idempotency_key: Option<String>,
    /// What the client calls the conversation that it belongs to.
    pub conversation: Option<String>,
    /// Who asks; doors leave it at `Agent`.
    pub origin: Origin,
}

/// A request to commit.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// The proposal, as the caller spells it.
    pub proposal_id: String,
    /// The token.
    pub commit_token: String,
    /// The tool the caller believes it is committing, where the door knows it (`T_commit`).
    pub tool: Option<String>,
    /// The arguments again.
    pub arguments: Value,
}

/// A sealed token and what a caller may know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedToken {
    /// The text to present.
    pub text: String,
    /// Its id.
    pub token_id: String,
    /// Epoch seconds.
    pub expires_at: i64,
}

/// What a propose, or a read of a proposal, gives back. The proposal's state says which answer
/// it is.
#[derive(Clone, Debug)]
pub struct Proposed {
    /// The proposal.
    pub proposal: Proposal,
    /// A token, if the caller is its proposer, it is allowed, and one was put out.
    pub token: Option<SealedToken>,
    /// True if an earlier request with the same idempotency key made it.
    pub replayed: bool,
    /// False for a refusal that was only counted: nobody can ask for it again.
    pub stored: bool,
    /// When to come back, for `RATE_LIMITED`.
    pub retry_after_secs: Option<u32>,
}

/// What a commit gives back.
#[derive(Clone, Debug)]
pub enum Committed {
    /// Executed or failed; see `proposal.execution`.
    Settled(Box<Proposal>),
    /// No clear answer yet; `proposal.execution` tells whether anything was sent.
    InDoubt(Box<Proposal>),
    /// Nothing was done.
    Refused {
        /// Why.
        refusal: Refusal,
        /// What helps, given where the proposal stands.
        recovery: Recovery,
        /// The proposal whose outcome answers a replay.
        original: Option<Box<Proposal>>,
        /// More for people, where there is more to say.
        detail: Option<String>,
    },
}

/// A person's word on an attempt that no machine can settle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// They saw the effect at the provider.
    Executed,
    /// They saw that there is none.
    Failed,
}

/// Which proposals a caller wants to see.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Only in this state.
    pub state: Option<State>,
    /// Only of this agent.
    pub agent: Option<AgentId>,
    /// Only of this tool.
    pub tool: Option<String>,
    /// Only older than this one: the `next_cursor` of the page before.
    pub cursor: Option<ProposalId>,
    /// 1 to 500; 50 if `None`.
    pub limit: Option<u32>,
}

/// Longest that `await_proposal` waits.
pub const MAX_AWAIT: Duration = Duration::from_secs(55);
