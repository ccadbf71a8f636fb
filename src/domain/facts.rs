//! What the checks know. What could not be learned is a value, and never widens a limit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::document::{Document, Single};
use super::ids::ProposalId;
use super::legal_name::same_entity;
use super::payee::RegisteredPayee;
use super::policy::Policy;
use super::proposal::{Score, State};
use super::time::Timestamp;

/// Something another system told us, or did not.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact<T> {
    /// Asked, and this is the answer.
    Known(T),
    /// Asked, and got no usable answer in time.
    Missing,
}

impl<T> Fact<T> {
    /// The value, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Fact::Known(value) => Some(value),
            Fact::Missing => None,
        }
    }
}

/// What an operator froze. An empty list is not frozen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Freezes(pub Vec<Freeze>);

impl Document for Freezes {
    const KIND: &'static str = "freeze";
    const CACHED: bool = true;
    type Id = str;
}

impl Single for Freezes {
    const ID: &'static str = "state";
}

/// One frozen scope.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Freeze {
    /// What is frozen.
    pub scope: FreezeScope,
    /// Which one; `None` only for `all`.
    pub id: Option<String>,
    /// The operator's words.
    pub reason: String,
    /// Who froze it.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
}

/// What a freeze covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreezeScope {
    /// The whole organisation.
    All,
    /// One agent.
    Agent,
    /// One tool.
    Tool,
    /// One vendor: its account, registrable domain or name.
    Vendor,
    /// All tools of one upstream server, the bank's included.
    Server,
}

impl FreezeScope {
    /// Every scope, in the order help texts list them.
    pub const ALL: [FreezeScope; 5] = [
        FreezeScope::All,
        FreezeScope::Agent,
        FreezeScope::Tool,
        FreezeScope::Vendor,
        FreezeScope::Server,
    ];

    /// The scope's one spelling.
    pub fn name(self) -> &'static str {
        match self {
            FreezeScope::All => "all",
            FreezeScope::Agent => "agent",
            FreezeScope::Tool => "tool",
            FreezeScope::Vendor => "vendor",
            FreezeScope::Server => "server",
        }
    }

    /// Reads a scope's one spelling.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// What the registry of payees says about the account that is paid.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registration {
    /// The payee that the account belongs to; `None` if nobody registered it.
    pub payee: Option<RegisteredPayee>,
    /// The registered payee that bears the name, or has the site, which the caller gave to an
    /// account of nobody's.
    pub namesake: Option<RegisteredPayee>,
}

/// What a reputation service said about a URL.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reputation {
    /// No URL to ask about, or the service is not configured.
    NotAsked,
    /// Not listed.
    Safe,
    /// Listed under these threat types.
    Unsafe(Vec<String>),
}

/// What the bucket of a tool said, where an operator gave it one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToolPace {
    /// The tool has no bucket.
    Unlimited,
    /// There was a token, and this request took it.
    Granted,
    /// It is empty.
    Empty {
        /// Seconds until there is a token, at least 1.
        retry_after_secs: u32,
    },
}

/// What an entity register said about a vendor's name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Entity {
    /// The policy does not ask.
    NotAsked,
    /// Active and issued.
    Verified,
    /// Unknown, lapsed or retired.
    Unverified,
}

/// One legal entity, as a register has it. None of it is trusted beyond being shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EntityRecord {
    /// Its legal entity identifier.
    pub lei: String,
    /// Its name.
    pub legal_name: String,
    /// `ACTIVE` or `INACTIVE`.
    pub entity_status: String,
    /// `ISSUED`, `LAPSED`, `RETIRED`...
    pub registration_status: String,
    /// Two letters, or empty.
    pub country: String,
}

impl EntityRecord {
    /// Whether it is the one that was asked for: by its identifier, or by its very name. A register
    /// that is searched returns what resembles the name as well.
    pub fn answers_to(&self, query: &str) -> bool {
        let query = query.trim();
        let by_lei = !self.lei.is_empty() && self.lei.eq_ignore_ascii_case(query);
        by_lei || same_entity(&self.legal_name, query)
    }

    /// Whether it exists now, by a registration that is kept up.
    pub fn is_verified(&self) -> bool {
        self.entity_status == "ACTIVE" && self.registration_status == "ISSUED"
    }
}

/// One earlier payout of the agent that was carried out; never what was only asked for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PastPayout {
    /// When it was proposed.
    pub at: Timestamp,
    /// Minor units.
    pub minor: i64,
    /// Who was paid: account, else name, else domain.
    pub payee: Option<String>,
    /// Vendor name, to notice a changed account of a known vendor.
    pub vendor: Option<String>,
}

/// A payment that looks like the one asked for now, asked for a moment ago and not undone.
#[derive(Clone, PartialEq, Debug)]
pub struct Earlier {
    /// Which; `None` where only a figure is known.
    pub proposal: Option<ProposalId>,
    /// When it was asked for.
    pub at: Timestamp,
    /// Where it stands.
    pub state: State,
}

/// Everything the checks may look at. `None` in `policy` means asked, and there is none.
#[derive(Clone, PartialEq, Debug)]
pub struct Facts {
    /// The instant of the decision.
    pub now: Timestamp,
    /// What is frozen in the organisation.
    pub freezes: Fact<Freezes>,
    /// The agent's policy.
    pub policy: Fact<Option<Policy>>,
    /// Pending plus posted for today, in minor units, without this request.
    pub spent_today: Fact<i64>,
    /// Requests of this agent already inside the window, without this one.
    pub recent_requests: Fact<u32>,
    /// What the tool's own bucket said.
    pub tool_pace: Fact<ToolPace>,
    /// Who is paid, as operators know them.
    pub registration: Fact<Registration>,
    /// The vendor's URL.
    pub reputation: Fact<Reputation>,
    /// The vendor's name.
    pub entity: Fact<Entity>,
    /// What the agent really paid, newest first.
    pub history: Fact<Arc<Vec<PastPayout>>>,
    /// The first payment within the policy's window that this one would repeat.
    pub earlier: Fact<Option<Earlier>>,
    /// The latest reading of other people's text that the policy's `taint` counts.
    pub tainted: Fact<Option<TaintedRead>>,
    /// What each sum of the policy's `approval_above` holds without this request, in its order, in
    /// minor units.
    pub sums: Fact<Vec<i64>>,
    /// The hour of the week (Monday 00:00 is 0) of `now` in the budget time zone.
    pub hour_of_week: u8,
    /// Hours of the week of the history's payouts, in the same order.
    pub history_hours: Arc<Vec<u8>>,
    /// Something odd that a detector outside this crate's own found, in its words.
    pub anomaly: Option<String>,
    /// The integrity score, and whether the broker itself took the samples.
    pub integrity: Integrity,
}

impl Facts {
    /// Nothing was learned about anything. Decides every request that needs a fact against it:
    /// the base for tests, and for whoever fills in only some facts.
    pub fn missing(now: Timestamp) -> Self {
        Self {
            now,
            freezes: Fact::Missing,
            policy: Fact::Missing,
            spent_today: Fact::Missing,
            recent_requests: Fact::Missing,
            tool_pace: Fact::Missing,
            registration: Fact::Missing,
            reputation: Fact::Missing,
            entity: Fact::Missing,
            history: Fact::Missing,
            earlier: Fact::Missing,
            tainted: Fact::Missing,
            sums: Fact::Missing,
            hour_of_week: 0,
            history_hours: Arc::default(),
            anomaly: None,
            integrity: Integrity::missing(),
        }
    }
}

/// An agent read what a tool brought back: somebody else's text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaintedRead {
    /// The tool.
    pub tool: String,
    /// When.
    pub at: Timestamp,
}

/// What was learned about the agent's own answers.
#[derive(Clone, PartialEq, Debug)]
pub struct Integrity {
    /// The score shown to the caller.
    pub score: Score,
    /// True if samples that the broker took itself support it. The caller's own can lower
    /// trust and never grant it.
    pub attested: bool,
    /// What to do when nothing attests the answers.
    pub on_missing: OnMissing,
    /// A composite at or above this blocks.
    pub block_at: f64,
    /// The prompt, for the checks that the caller cannot talk away.
    pub prompt: Option<String>,
    /// Whether there has to be one.
    pub require_prompt: bool,
}

/// Block at or above this composite score, unless an operator says otherwise.
pub const BLOCK_AT: f64 = 0.45;

impl Integrity {
    /// Nothing to compare, and nothing attested.
    pub fn missing() -> Self {
        Self {
            score: Score::default(),
            attested: false,
            on_missing: OnMissing::Hold,
            block_at: BLOCK_AT,
            prompt: None,
            require_prompt: false,
        }
    }
}

/// What a missing integrity score means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// A person decides.
    #[default]
    Hold,
    /// Goes on without.
    Allow,
    /// Refused.
    Block,
}
