//! A request to a model as it is stored: where it stands, what was tried, what it cost. What was
//! said is kept elsewhere, sealed.
//!
//! The document's version is its fencing token: every write of whoever works on it names the
//! version that it last wrote. Whoever lost the request to somebody else can neither overwrite it
//! nor pay for his successor.

use serde::{Deserialize, Serialize};

use super::piece::Tokens;
use super::price::Prices;
use crate::domain::document::Document;
use crate::domain::ids::{AgentId, AttemptId, RequestId};
use crate::domain::time::Timestamp;

/// Where a request stands. The last three are final.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits in the queue.
    Pending,
    /// Somebody works on it, under a lease.
    Running,
    /// It has its answer.
    Completed,
    /// It has none and gets none.
    Failed,
    /// It was taken back.
    Cancelled,
}

impl State {
    /// Every one.
    pub const ALL: [Self; 5] = [
        State::Pending,
        State::Running,
        State::Completed,
        State::Failed,
        State::Cancelled,
    ];

    /// Its one spelling.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::Completed => "completed",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// Reads its one spelling.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether it stays so.
    pub fn is_final(self) -> bool {
        match self {
            State::Pending | State::Running => false,
            State::Completed | State::Failed | State::Cancelled => true,
        }
    }
}

/// Through which door it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// `/v1/requests`: it waits in the queue, and its caller does not wait.
    #[default]
    Requests,
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/messages`.
    Messages,
    /// `/v1/responses`.
    Responses,
    /// `/v1/embeddings`.
    Embeddings,
    /// None: documents that were found are put in order.
    Rerank,
    /// None: a second model is asked beside the first.
    Shadow,
}

impl Door {
    /// Its one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Door::Requests => "requests",
            Door::Chat => "chat",
            Door::Messages => "messages",
            Door::Responses => "responses",
            Door::Embeddings => "embeddings",
            Door::Rerank => "rerank",
            Door::Shadow => "shadow",
        }
    }

    /// Whether its caller waits for the answer, and nobody else would want it.
    pub fn is_waited_at(self) -> bool {
        match self {
            Door::Requests => false,
            Door::Chat
            | Door::Messages
            | Door::Responses
            | Door::Embeddings
            | Door::Rerank
            | Door::Shadow => true,
        }
    }
}

/// What becomes of a request whose worker died after the answer had begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCut {
    /// It has failed.
    #[default]
    Fail,
    /// It begins anew, and says so.
    Restart,
}

/// What its caller would like.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// The model; `auto` leaves it to the broker.
    pub model: Option<String>,
    /// The provider.
    pub hint: Option<String>,
    /// What runs here comes first.
    pub prefer_local: bool,
    /// Most that it may cost, in nano-dollars.
    pub budget_nanos: Option<u64>,
    /// If its worker dies half-way.
    pub on_cut: OnCut,
    /// Secrets that were replaced are put back in the result.
    pub restore: bool,
    /// A second model to be asked beside the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<AskBeside>,
}

/// An attempt that may be under way: its reservation is pending.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Open {
    /// Names the attempt, and its reservation.
    pub id: AttemptId,
    /// Who is asked.
    pub provider: String,
    /// For what.
    pub model: String,
    /// What that costs.
    pub prices: Prices,
    /// When it began.
    pub at: Timestamp,
    /// When it was reserved: the budget of that day pays.
    pub held_at: Timestamp,
    /// Tokens that it reads, as counted here.
    pub input: u64,
    /// Nano-dollars that are reserved.
    pub reserved: u64,
    /// A provider may have been asked.
    pub sent: bool,
}

/// An attempt that has ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Names it.
    pub id: AttemptId,
    /// Who was asked.
    pub provider: String,
    /// For what.
    pub model: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Until the first piece of an answer, in milliseconds.
    pub first_ms: Option<u64>,
    /// What was counted.
    pub tokens: Tokens,
    /// What it cost, in nano-dollars.
    pub nanos: u64,
    /// Counted here, since no provider told.
    pub estimated: bool,
    /// What went wrong, if something did.
    pub why: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The stable code.
    pub code: String,
    /// In words that are ours, and repeat nothing that was asked.
    pub words: String,
}

/// A candidate that was not chosen, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Loser {
    /// The provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Why not.
    pub why: String,
}

/// How providers were chosen: who, because of what, and why not the others.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Routed {
    /// Whom to ask, the first first: provider, model, because.
    pub order: Vec<(String, String, String)>,
    /// Who is not asked.
    pub lost: Vec<Loser>,
}

/// A request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// Whose it is: the agent that asks, or what stands for one.
    pub owner: AgentId,
    /// Who asked.
    pub by: String,
    /// Where it came in.
    pub door: Door,
    /// Where it stands.
    pub state: State,
    /// What kind of work it is.
    pub task: String,
    /// How urgent, 0 to 100.
    pub priority: u8,
    /// What its caller would like.
    pub wishes: Wishes,
    /// How providers were chosen last.
    #[serde(default)]
    pub routed: Routed,
    /// The caller's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// HMAC of the caller's `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_hash: Option<String>,
    /// When it came.
    pub created_at: Timestamp,
    /// When somebody first worked on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Until when only whoever holds it works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// Most it was expected to cost.
    pub estimate_nanos: u64,
    /// Attempts that have ended.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// The attempt that is reserved or under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
    /// Number of its last event.
    pub last_event: u64,
    /// Something of an answer was told and does still count.
    #[serde(default)]
    pub told: bool,
    /// How often a worker was lost with it.
    #[serde(default)]
    pub lost_workers: u32,
    /// Why it has no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Ended>,
    /// What was said is gone.
    #[serde(default)]
    pub erased: bool,
    /// Types of secrets that were in what a model said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer_secrets: Vec<String>,
    /// The request that this one is asked beside; nobody but auditors sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_of: Option<RequestId>,
    /// What came of the one that was asked beside this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

/// A second model that was asked beside the first, and how far the two agree.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Shadow {
    /// The request by which it was asked; none if it was left out.
    pub request: Option<RequestId>,
    /// Who was asked.
    pub provider: Option<String>,
    /// As what.
    pub model: Option<String>,
    /// 1 minus the share of words that both answers have; none without two answers.
    pub disagreement: Option<f64>,
    /// How far their numbers differ; none where they have none to compare.
    pub numbers: Option<f64>,
    /// What it cost, in nano-dollars.
    pub nanos: u64,
    /// Why there is nothing to compare.
    pub why: Option<String>,
}

/// The second model that is to be asked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AskBeside {
    /// At this provider.
    pub provider: Option<String>,
    /// By this name.
    pub model: Option<String>,
}

impl Document for Request {
    const KIND: &'static str = "model_request";
    const CACHED: bool = false;
    type Id = RequestId;
}

/// Whose lists a request is in that is asked beside another: nobody's but the broker's.
const BESIDE: &str = "hundi";

impl Request {
    /// In whose list it is.
    pub fn listed_under(&self) -> AgentId {
        let hidden = self.shadow_of.and_then(|_| BESIDE.parse().ok());
        hidden.unwrap_or_else(|| self.owner.clone())
    }

    /// What its attempts cost so far, in nano-dollars.
    pub fn cost(&self) -> u64 {
        let costs = self.attempts.iter().map(|attempt| attempt.nanos);
        costs.fold(0, u64::saturating_add)
    }

    /// What its attempts used so far.
    pub fn tokens(&self) -> Tokens {
        let all = self.attempts.iter().map(|attempt| attempt.tokens);
        all.fold(Tokens::default(), |sum, one| Tokens {
            input: sum.input.saturating_add(one.input),
            cached_input: sum.cached_input.saturating_add(one.cached_input),
            cache_write: sum.cache_write.saturating_add(one.cache_write),
            output: sum.output.saturating_add(one.output),
            reasoning: sum.reasoning.saturating_add(one.reasoning),
        })
    }

    /// Whether something was counted here because no provider told.
    pub fn is_estimated(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.estimated)
    }

    /// When time can next change something about it: in the queue it is due at once, in somebody's
    /// hands when the lease ends, and at its end never, but for an attempt that nobody settled yet.
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Pending => Some(self.created_at),
            State::Running => Some(self.lease_until.unwrap_or(self.created_at)),
            State::Completed | State::Failed | State::Cancelled => {
                let open = self.open.as_ref().filter(|open| open.sent);
                open.map(|open| self.lease_until.unwrap_or(open.at))
            }
        }
    }
}

/// Names the request that a caller's own name stands for, for ever.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyOf {
    /// The request.
    pub request: RequestId,
    /// SHA-256 of what was asked.
    pub asked: String,
}

impl Document for KeyOf {
    const KIND: &'static str = "model_request_key";
    const CACHED: bool = false;
    type Id = str;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_spelling_that_reads_back() {
        for state in State::ALL {
            assert_eq!(State::parse(state.name()), Some(state));
        }
        assert_eq!(State::parse("done"), None);
    }
}
