//! What happens, in order: one file per use case.
//!
//! The doors (`entry`) hand in a [`Principal`](crate::domain::principal::Principal) and a request
//! and get a value back. Nothing here knows HTTP, MCP or SQL: the broker sees ports.

mod accept;
mod advice;
pub mod agents;
pub mod approve;
mod at_bank;
pub mod audit;
pub mod automatic;
mod baselines;
mod borrowed;
pub mod catalogue;
pub mod commit;
pub mod deliver;
mod elsewhere;
mod external;
pub mod forged;
pub mod freeze;
pub mod gather;
pub mod invoke;
mod key_cache;
pub mod keys;
mod late;
mod lately;
mod listing;
pub mod load;
pub mod measure;
pub mod memory;
mod naming;
mod offer;
mod pace;
pub mod pages;
pub mod payees;
pub mod peers;
mod people;
pub mod places;
pub mod policy;
pub mod poll;
pub mod propose;
pub mod query;
pub mod reconcile;
mod refusals;
pub mod relay;
pub mod retention;
pub mod slack;
mod slack_team;
mod spool;
pub mod standing;
pub mod tend;
pub mod tokens;
mod unsent;
pub mod webhook;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::ambient::Ambient;
use crate::connector::{Connector, registry};
use crate::domain::audit::AuditKey;
use crate::domain::ids::{AgentId, OrgId, ProposalId, ToolName};
use crate::domain::payee::PayeeId;
use crate::domain::proposal::{Origin, Proposal, State};
use crate::domain::reason::{Reason, Recovery, Refusal};
use crate::domain::retention::Retention;
use crate::domain::secret::Secret;
use crate::domain::token::KeyRing;
use crate::domain::tool::{Standing, Tool};
use crate::domain::upstream::UpstreamRules;
use crate::ephemeral::{Bucket, Ephemeral};
use crate::governance::integrity::Weights;
use crate::store::{Spool, Store, StoreError};

// The doors ask for records in the store's own words, and need no store for that.
pub use crate::store::{RecordFilter, StoredRecord};
use crate::wire::{EntitySource, Outbound, ReputationSource, Wire};

/// Where the token keys are kept. The ring is read anew whenever it changed, so that a key
/// retired by another process is refused at once.
pub trait Keys: Send + Sync {
    /// The ring as it is now.
    fn ring(&self) -> Arc<KeyRing>;
}

/// A model that answers a prompt twice, so that its answers can be compared.
#[async_trait::async_trait]
pub trait Sampler: Send + Sync {
    /// Two independent answers, or why there are none.
    async fn samples(
        &self,
        tool: &ToolName,
        args: &Value,
        prompt: Option<&str>,
    ) -> Result<Vec<String>, String>;
}

/// What the broker is made of.
#[derive(Clone)]
pub struct Ports {
    /// Clock and randomness.
    pub ambient: Ambient,
    /// The one truth.
    pub store: Arc<dyn Store>,
    /// What may be forgotten.
    pub ephemeral: Arc<dyn Ephemeral>,
    /// What reaches outward.
    pub wire: Arc<dyn Wire>,
    /// Token keys.
    pub keys: Arc<dyn Keys>,
    /// The broker's own model, if there is one.
    pub sampler: Option<Arc<dyn Sampler>>,
    /// Who knows about URLs, if anybody was configured.
    pub reputation: Option<Arc<dyn ReputationSource>>,
    /// Who knows about legal entities, if anybody was configured.
    pub entities: Option<Arc<dyn EntitySource>>,
    /// What posts to the services that tell people; `None` tells nobody.
    pub outbound: Option<Arc<dyn Outbound>>,
    /// Signs the heads of the audit log; `None` seals nothing.
    pub audit_key: Option<Arc<AuditKey>>,
    /// Keeps records of refusals that the store could not take; `None` forgets them.
    pub spool: Option<Arc<dyn Spool>>,
}

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

/// Why a request could not be answered at all. The text is for people, [`Trouble::code`] for
/// programs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Trouble {
    /// The arguments break the tool's schema or an id's pattern.
    #[error("the arguments are not what the tool takes: {0}")]
    InvalidArguments(String),
    /// Another part of the request is not what it should be.
    #[error("{0}")]
    InvalidRequest(String),
    /// No such tool, or not for proposing.
    #[error("there is no tool named {0:?}; list the tools to see what there is")]
    UnknownTool(String),
    /// The name belongs to the broker.
    #[error("{0:?} is the agent of payouts that others make at the bank; choose another name")]
    NameReserved(String),
    /// The tool's definition is new or changed and waits for an operator.
    #[error("the tool {0} waits for an operator to accept its definition (`hundi tool accept`)")]
    ToolQuarantined(String),
    /// The operator's rules or the tool's own schema do not let it be used.
    #[error(
        "the tool {0} cannot be used until an operator mends the rules for it (`hundi tool show {0}` says what is wrong)"
    )]
    ToolUnusable(String),
    /// The tool's server does not say at present what it offers.
    #[error("the server of the tool {0} does not answer; nothing was done")]
    UpstreamUnavailable(String),
    /// No valid key.
    #[error("a valid API key is needed: `Authorization: Bearer hk_...`")]
    Unauthenticated,
    /// The role may not do this.
    #[error("the role {role} may not do this; it takes a key of another role")]
    Forbidden {
        /// The caller's role.
        role: &'static str,
    },
    /// The proposer is the approver.
    #[error("a proposal cannot be approved by its own proposer")]
    SelfApproval,
    /// The same person again.
    #[error("{0} has approved this proposal already; another person has to agree")]
    ApprovedAlready(String),
    /// Never existed, or belongs to somebody else: the same answer.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// An account belongs to one payee.
    #[error(
        "the account {account} belongs to {name} ({holder}); remove it there first, or name it so"
    )]
    AccountTaken {
        /// The account.
        account: String,
        /// Whose it is.
        name: String,
        /// Their id.
        holder: PayeeId,
    },
    /// The same idempotency key with other arguments.
    #[error("the idempotency key already names another request, {0}")]
    IdempotencyKeyReused(ProposalId),
    /// Not possible where the proposal stands.
    #[error("the proposal is {}, so this cannot be done", .0.name())]
    WrongState(State),
    /// Somebody else changed it at the same moment.
    #[error("somebody else changed it at the same moment; read it again")]
    Changed,
    /// The store failed; nothing was done.
    #[error("the store is not answering; nothing was done")]
    StoreUnavailable,
    /// Too much at once.
    #[error("too many requests are under way")]
    Overloaded {
        /// Seconds to wait.
        retry_after_secs: u32,
    },
    /// A tool that passes through was called too often.
    #[error("this tool is called too often; come back in {retry_after_secs} s")]
    RateLimited {
        /// Seconds until there is room, at least 1.
        retry_after_secs: u32,
    },
    /// An operator's freeze covers a call that passes through.
    #[error("an operator has frozen this: {0}")]
    Frozen(String),
    /// An upstream failed on a pass-through call.
    #[error("the upstream did not answer properly: {0}")]
    Upstream(String),
    /// The answer to a pass-through call is longer than is taken.
    #[error("the answer is longer than the {limit} bytes that are taken; ask for less")]
    ResultTooLarge {
        /// The most that is taken, in bytes.
        limit: usize,
    },
    /// Something is not configured.
    #[error("{0}")]
    Off(String),
}

impl Trouble {
    /// Never changes once released.
    pub fn code(&self) -> &'static str {
        match self {
            Trouble::InvalidArguments(_) => "invalid_arguments",
            Trouble::InvalidRequest(_) => "invalid_request",
            Trouble::NameReserved(_) => "name_reserved",
            Trouble::UnknownTool(_) => "unknown_tool",
            Trouble::ToolQuarantined(_) => "tool_quarantined",
            Trouble::ToolUnusable(_) => "tool_unusable",
            Trouble::UpstreamUnavailable(_) => "upstream_unavailable",
            Trouble::Unauthenticated => "unauthenticated",
            Trouble::Forbidden { .. } => "forbidden",
            Trouble::SelfApproval => "self_approval",
            Trouble::ApprovedAlready(_) => "approved_already",
            Trouble::NotFound(_) => "not_found",
            Trouble::AccountTaken { .. } => "account_taken",
            Trouble::IdempotencyKeyReused(_) => "idempotency_key_reused",
            Trouble::WrongState(_) => "wrong_state",
            Trouble::Changed => "changed_meanwhile",
            Trouble::StoreUnavailable => "store_unavailable",
            Trouble::Overloaded { .. } => "overloaded",
            Trouble::RateLimited { .. } => "rate_limited",
            Trouble::Frozen(_) => "frozen",
            Trouble::Upstream(_) => "upstream_failed",
            Trouble::ResultTooLarge { .. } => "result_too_large",
            Trouble::Off(_) => "not_configured",
        }
    }

    /// The HTTP status that says it best.
    pub fn status(&self) -> u16 {
        match self {
            Trouble::InvalidArguments(_)
            | Trouble::InvalidRequest(_)
            | Trouble::NameReserved(_) => 400,
            Trouble::Unauthenticated => 401,
            Trouble::Forbidden { .. } | Trouble::SelfApproval => 403,
            Trouble::UnknownTool(_) | Trouble::NotFound(_) => 404,
            Trouble::ToolQuarantined(_)
            | Trouble::ToolUnusable(_)
            | Trouble::ApprovedAlready(_)
            | Trouble::AccountTaken { .. }
            | Trouble::IdempotencyKeyReused(_)
            | Trouble::WrongState(_)
            | Trouble::Frozen(_)
            | Trouble::Changed => 409,
            Trouble::RateLimited { .. } => 429,
            Trouble::Upstream(_) | Trouble::ResultTooLarge { .. } => 502,
            Trouble::StoreUnavailable
            | Trouble::UpstreamUnavailable(_)
            | Trouble::Overloaded { .. }
            | Trouble::Off(_) => 503,
        }
    }

    /// What the caller can do.
    pub fn recovery(&self) -> Recovery {
        match self {
            Trouble::InvalidArguments(_)
            | Trouble::InvalidRequest(_)
            | Trouble::NameReserved(_)
            | Trouble::UnknownTool(_)
            | Trouble::AccountTaken { .. }
            | Trouble::IdempotencyKeyReused(_) => Recovery::FixArgs,
            Trouble::StoreUnavailable
            | Trouble::UpstreamUnavailable(_)
            | Trouble::Overloaded { .. }
            | Trouble::RateLimited { .. }
            | Trouble::Upstream(_)
            | Trouble::Changed => Recovery::Wait,
            Trouble::ResultTooLarge { .. } => Recovery::ReduceScope,
            Trouble::WrongState(_) => Recovery::ReadOutcome,
            Trouble::ApprovedAlready(_) | Trouble::SelfApproval => Recovery::GetApproval,
            Trouble::ToolQuarantined(_)
            | Trouble::ToolUnusable(_)
            | Trouble::Frozen(_)
            | Trouble::Unauthenticated
            | Trouble::Forbidden { .. }
            | Trouble::NotFound(_)
            | Trouble::Off(_) => Recovery::Stop,
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Trouble::StoreUnavailable
    }
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

/// How the broker behaves where neither policy nor tool says otherwise.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Life of a token, seconds.
    pub token_ttl_secs: i64,
    /// Life of an allowed proposal, seconds.
    pub allowed_ttl_secs: i64,
    /// Life of a held proposal, seconds.
    pub held_ttl_secs: i64,
    /// Longest that one provider call may take.
    pub call_deadline: Duration,
    /// Who honours our tokens: one name per store.
    pub audience: String,
    /// The zone in which a budget's day begins.
    pub zone: jiff::tz::TimeZone,
    /// What a missing integrity score means.
    pub on_missing: crate::domain::facts::OnMissing,
    /// Hold what an agent proposes without the prompt behind it.
    pub require_prompt: bool,
    /// Block at or above this composite score.
    pub block_at: f64,
    /// How much each signal of the score counts.
    pub weights: Weights,
    /// How people are told and asked.
    pub people: People,
    /// What is known of the bank beyond our own calls.
    pub bank: Bank,
    /// The buckets of tools that an operator gave one, by the tool's name in the catalogue.
    pub tool_buckets: BTreeMap<String, Bucket>,
    /// Tools whose arguments and payees stay out of the audit log, by name in the catalogue.
    pub unrecorded: BTreeSet<String>,
    /// The upstream MCP servers whose tools are in the catalogue, and the operator's word about
    /// them.
    pub upstreams: BTreeMap<String, UpstreamRules>,
    /// Of upstreams that may take longer than `call_deadline`, or less long.
    pub call_deadlines: BTreeMap<String, Duration>,
    /// Tools of which every proposal waits for a person, by name in the catalogue.
    pub always_held: BTreeSet<String>,
    /// Every name of a tool that the configuration has a rule for.
    pub tool_rules: BTreeSet<String>,
    /// How often each upstream is asked what it offers, if nothing else asks for it.
    pub relist_every: Duration,
    /// How many commits are carried at once.
    pub bounds: load::Bounds,
    /// Names of this process's master keys, the newest first; empty where it has none.
    pub masters: Vec<String>,
    /// How long what may be dropped is kept.
    pub retention: Retention,
}

/// How people are told and asked.
#[derive(Clone, Debug)]
pub struct People {
    /// Slack, if it is on.
    pub slack: Option<Slack>,
    /// ntfy, if it is on: told when Slack is off or failing.
    pub ntfy: Option<Ntfy>,
    /// Which refusals of governance people want to hear of.
    pub alert_on: Vec<Reason>,
}

impl Default for People {
    fn default() -> Self {
        Self {
            slack: None,
            ntfy: None,
            alert_on: vec![
                Reason::RiskHigh,
                Reason::DomainBlocked,
                Reason::LimitExceeded,
                Reason::NoPolicy,
            ],
        }
    }
}

/// A Slack app and the channel it asks in.
#[derive(Clone, Debug)]
pub struct Slack {
    /// Where Slack answers, without a trailing slash: `https://slack.com`.
    pub api_base: String,
    /// `xoxb-...`.
    pub bot_token: Secret,
    /// `C...`.
    pub channel: String,
    /// Proves that a button press came from Slack; without it there are no buttons.
    pub signing_secret: Option<Secret>,
    /// Teams whose users may decide (`T...`); empty is the bot's own.
    pub teams: Vec<String>,
}

/// A topic of an ntfy server.
#[derive(Clone, Debug)]
pub struct Ntfy {
    /// Where ntfy answers: `https://ntfy.sh`.
    pub url: String,
    /// The topic.
    pub topic: String,
    /// Access token of a protected topic.
    pub token: Option<Secret>,
}

/// What is known of the bank beyond our own calls.
#[derive(Clone, Debug)]
pub struct Bank {
    /// Secrets its webhooks may be signed with; empty switches webhooks off.
    pub webhook_secrets: Vec<Secret>,
    /// The agent whose policy governs payouts that others made at the bank. What such a payout
    /// says about its agent is its maker's word, so it never picks the policy.
    pub external_agent: AgentId,
    /// How often to ask the bank for such payouts, in seconds (5 to 300); `None` does not ask.
    pub poll_interval_secs: Option<u32>,
}

impl Default for Bank {
    fn default() -> Self {
        Self {
            webhook_secrets: Vec::new(),
            external_agent: AgentId::external(),
            poll_interval_secs: None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token_ttl_secs: 60,
            allowed_ttl_secs: 15 * 60,
            held_ttl_secs: 24 * 60 * 60,
            call_deadline: Duration::from_secs(15),
            audience: String::new(),
            zone: jiff::tz::TimeZone::UTC,
            on_missing: crate::domain::facts::OnMissing::Hold,
            require_prompt: false,
            block_at: crate::domain::facts::BLOCK_AT,
            weights: Weights::default(),
            people: People::default(),
            bank: Bank::default(),
            tool_buckets: BTreeMap::new(),
            unrecorded: BTreeSet::new(),
            upstreams: BTreeMap::new(),
            call_deadlines: BTreeMap::new(),
            always_held: BTreeSet::new(),
            tool_rules: BTreeSet::new(),
            relist_every: Duration::from_secs(60),
            bounds: load::Bounds::default(),
            masters: Vec::new(),
            retention: Retention::default(),
        }
    }
}

/// The broker: use cases over ports. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    ports: Ports,
    settings: Settings,
    catalogue: catalogue::Catalogue,
    key_cache: key_cache::KeyCache,
    tally: forged::Tally,
    channels: deliver::Channels,
    slack_team: slack_team::OurTeam,
    /// Where the next turn over the bank's waiting payouts begins.
    cases_from: AtomicUsize,
    memory: memory::Memory,
    /// The version that the audit's cursor had when this node last looked.
    cursor_seen: AtomicU64,
    log_sizes: Mutex<BTreeMap<OrgId, u64>>,
    tending: tend::Tending,
    load: load::Load,
    peers: peers::Peers,
    places: places::Places,
    refusals: refusals::Refusals,
}

impl Broker {
    /// A broker over these ports, knowing these tools. Brokers that are given the same `Arc<Tool>`
    /// share its compiled schema.
    pub fn new(
        ports: Ports,
        settings: Settings,
        tools: impl IntoIterator<Item = impl Into<Arc<Tool>>>,
    ) -> Self {
        let catalogue = catalogue::Catalogue::default();
        let named = tools.into_iter().map(|tool| {
            let tool: Arc<Tool> = tool.into();
            (tool.name.to_string(), tool)
        });
        catalogue.replace(named.collect());
        let key_cache = key_cache::KeyCache::default();
        let memory = memory::Memory::new(ports.ephemeral.clone());
        let tending = tend::Tending::new(ports.wire.as_ref(), settings.upstreams.keys());
        let load = load::Load::new(settings.bounds);
        let places = places::Places::new(settings.bounds.shares);
        Self {
            inner: Arc::new(Inner {
                ports,
                settings,
                catalogue,
                key_cache,
                tally: forged::Tally::default(),
                channels: deliver::Channels::default(),
                slack_team: slack_team::OurTeam::default(),
                cases_from: AtomicUsize::new(0),
                cursor_seen: AtomicU64::new(0),
                log_sizes: Mutex::default(),
                memory,
                tending,
                load,
                peers: peers::Peers::default(),
                places,
                refusals: refusals::Refusals::default(),
            }),
        }
    }

    /// The ports it was built from.
    pub fn ports(&self) -> &Ports {
        &self.inner.ports
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The tools it knows.
    pub fn catalogue(&self) -> &catalogue::Catalogue {
        &self.inner.catalogue
    }

    fn tending(&self) -> &tend::Tending {
        &self.inner.tending
    }

    /// Who has taken how much of the house.
    pub fn places(&self) -> &places::Places {
        &self.inner.places
    }

    fn refusals(&self) -> &refusals::Refusals {
        &self.inner.refusals
    }

    fn load(&self) -> &load::Load {
        &self.inner.load
    }

    fn memory(&self) -> &memory::Memory {
        &self.inner.memory
    }

    fn connector(&self, tool: &Tool) -> Arc<dyn Connector> {
        registry::connector_for(tool)
    }

    /// Whether a tool may be used now, and why not.
    fn usable(&self, tool: &Tool) -> Result<(), Trouble> {
        let name = || tool.name.to_string();
        match tool.standing {
            Standing::Accepted => Ok(()),
            Standing::New | Standing::Changed | Standing::Gone => {
                Err(Trouble::ToolQuarantined(name()))
            }
            Standing::Away => Err(Trouble::UpstreamUnavailable(name())),
            Standing::Unusable => Err(Trouble::ToolUnusable(name())),
        }
    }

    /// The tool that an attempt was made with: the one its call went to, whatever is called like
    /// that now. `None` if that one left the catalogue.
    fn tool_of(&self, proposal: &Proposal) -> Option<Arc<Tool>> {
        let named = self.catalogue().get(proposal.fixed.tool.as_str());
        let Some(call) = proposal.execution.as_ref().map(|execution| &execution.call) else {
            return named;
        };
        let named = named.filter(|tool| catalogue::is_of(tool, call));
        named.or_else(|| self.catalogue().reached_by(call))
    }

    fn key_cache(&self) -> &key_cache::KeyCache {
        &self.inner.key_cache
    }
}
