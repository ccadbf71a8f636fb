//! What is remembered: the one truth. Everything whose loss could cost money lives here.
//!
//! One verb writes. A change is applied whole or not at all, survives a crash once `apply` has
//! returned, and is refused by a [`Conflict`] when its conditions no longer hold. Everything else
//! reads. The conformance suite (`tests/store_conformance.rs`) runs these promises on every
//! backend.

use async_trait::async_trait;

use crate::domain::audit::names::Decision;
use crate::domain::change::{Applied, Change, Conflict, Doc, DocKey, Pot, Record};
use crate::domain::facts::{Earlier, PastPayout};
use crate::domain::ids::{AgentId, ArgsHash, OrgId, ProposalId, ToolName};
use crate::domain::money::Currency;
use crate::domain::notice::Notice;
use crate::domain::proposal::{Proposal, State};
use crate::domain::retention::Old;
use crate::domain::time::Timestamp;

mod besides;
mod columns;
mod group;
mod open;
pub mod plan;
pub mod postgres;
mod prepared;
mod question;
pub mod requests;
pub mod search;
pub mod spool;
mod sql;
pub mod sqlite;
mod stored;

pub use open::{Address, OpenError, Opened, Opening, Scratch, open};

/// What could not be found out or done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written; the caller may try again.
    #[error("the store is not answering: {0}")]
    Unavailable(String),
    /// The change may or may not have been written; only reading back tells.
    #[error("the store did not say whether it wrote: {0}")]
    Unknown(String),
    /// What is stored does not read back.
    #[error("the store holds what this version cannot read: {0}")]
    Corrupt(String),
}

/// Why `apply` did not return `Applied`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A condition failed; nothing was written.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// No lease is ever taken for longer than this, in milliseconds; one that ends later was written
/// before the wall clock stepped back, and holds nobody off. Well under a minute, so that doubts
/// end within a minute of healing whatever the clock did.
pub const LEASE_HORIZON_MS: i64 = 35_000;

/// Which proposals to list. Newest first.
#[derive(Clone, Debug, Default)]
pub struct ProposalFilter {
    /// Only of this organisation.
    pub org: Option<OrgId>,
    /// Only of this agent.
    pub agent: Option<AgentId>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only of this tool.
    pub tool: Option<String>,
    /// Only older than this one.
    pub before: Option<ProposalId>,
    /// At most so many.
    pub limit: u32,
}

/// Which records to list.
#[derive(Clone, Debug, Default)]
pub struct RecordFilter {
    /// Only of this organisation.
    pub org: Option<OrgId>,
    /// Only about this agent.
    pub agent: Option<AgentId>,
    /// Only about this proposal.
    pub proposal: Option<ProposalId>,
    /// Only about this provider's id.
    pub payout: Option<String>,
    /// Only webhooks of the bank (kind `webhook`), found by an index of their own.
    pub webhooks_only: bool,
    /// Only with this decision.
    pub decision: Option<Decision>,
    /// Only about this tool.
    pub tool: Option<String>,
    /// Only at or after.
    pub since: Option<Timestamp>,
    /// Only before.
    pub until: Option<Timestamp>,
    /// Only with a higher sequence number; then oldest first.
    pub after_seq: Option<i64>,
    /// Only with a lower sequence number.
    pub before_seq: Option<i64>,
    /// At most so many; newest first unless `after_seq` is given.
    pub limit: u32,
}

/// A record with the number the store gave it.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredRecord {
    /// Rises with every record; gaps are possible. Who has seen a number never finds a lower one
    /// later.
    pub seq: i64,
    /// The record.
    pub record: Record,
}

/// Which payments of the last while: those that are held, allowed, on their way, in doubt or
/// executed, and were proposed or sent since a moment or are not settled yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lately {
    /// Of this organisation.
    pub org: OrgId,
    /// By whom, or to whom.
    pub of: Side,
    /// In this currency.
    pub currency: Currency,
    /// Proposed or sent at this moment or after, or not settled yet.
    pub since: Timestamp,
    /// Nothing proposed before this counts any more: as far back as a store looks.
    pub oldest: Timestamp,
}

/// One side of payments.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// The agent that pays.
    Agent(AgentId),
    /// Who is paid, by every name that they have in the books; the first is today's.
    Payee(Vec<String>),
}

/// Which payment another one repeats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Same {
    /// As much, in minor units.
    pub amount: i64,
    /// Only by this very call, where nothing says who is paid.
    pub call: Option<(ToolName, ArgsHash)>,
}

/// What one pot holds, in minor units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Budget {
    /// Reserved and undecided.
    pub pending: i64,
    /// Spent.
    pub posted: i64,
}

/// A message that waits in the outbox.
#[derive(Clone, PartialEq, Debug)]
pub struct Waiting {
    /// Its number.
    pub id: i64,
    /// How often delivery was tried.
    pub attempts: u32,
    /// The message.
    pub notice: Notice,
}

/// How many proposals stand where, for gauges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standings {
    /// Held.
    pub held: i64,
    /// Committing or in doubt.
    pub unsettled: i64,
    /// When the oldest unsettled one was claimed.
    pub oldest_unsettled: Option<Timestamp>,
}

/// Keeps records of refusals on disk while the store cannot take them. They are imported later
/// and marked, so that nobody takes them for records written with what they tell.
pub trait Spool: Send + Sync {
    /// Appends one record. Bounded: a spool that is full counts what it drops.
    fn keep(&self, record: &Record) -> std::io::Result<()>;

    /// Whether nothing was kept that is not imported yet. Cheap, and asked often.
    fn is_empty(&self) -> bool;

    /// What waits for import, oldest first, in batches that keep their name and content until
    /// they are [`done`](Spool::done).
    fn waiting(&self) -> std::io::Result<Vec<Spooled>>;

    /// The batch is in the store.
    fn done(&self, name: &str) -> std::io::Result<()>;
}

/// One batch of spooled records.
#[derive(Clone, PartialEq, Debug)]
pub struct Spooled {
    /// Unique for ever, so that importing twice can be noticed.
    pub name: String,
    /// Its records, oldest first.
    pub records: Vec<Record>,
}

/// Remembers. One verb writes; all of a change or none of it.
#[async_trait]
pub trait Store: Send + Sync {
    /// Applies a change under its conditions (see `domain::change::Rows`). Once this returns
    /// `Ok`, the change survives a crash. After [`StoreError::Unknown`] only reading tells.
    async fn apply(&self, change: Change) -> Result<Applied, ApplyError>;

    /// One proposal.
    async fn proposal(&self, id: ProposalId) -> Result<Option<Proposal>, StoreError>;

    /// The proposal that an agent's idempotency key names.
    async fn by_key(
        &self,
        org: &OrgId,
        agent: &AgentId,
        key: &str,
    ) -> Result<Option<Proposal>, StoreError>;

    /// Proposals, newest first.
    async fn proposals(&self, filter: &ProposalFilter) -> Result<Vec<Proposal>, StoreError>;

    /// Held and allowed proposals whose time ran out at or before `now`, oldest first. A store that
    /// nodes share asks its own clock too, and so may give fewer.
    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<Proposal>, StoreError>;

    /// Committing and in-doubt proposals whose lease ran out at or before `now`, or lies more than
    /// [`LEASE_HORIZON_MS`] ahead of it (then the clock stepped back), oldest first.
    async fn unsettled(&self, now: Timestamp, limit: u32) -> Result<Vec<Proposal>, StoreError>;

    /// Counts for gauges.
    async fn standings(&self) -> Result<Standings, StoreError>;

    /// One document; `None` if it never existed or was deleted.
    async fn doc(&self, key: &DocKey) -> Result<Option<Doc>, StoreError>;

    /// Documents of one kind, of one organisation or of all, by id.
    async fn docs(&self, kind: &str, org: Option<&OrgId>) -> Result<Vec<Doc>, StoreError>;

    /// A number that rises whenever a document is written by anyone (but for the kinds that
    /// `domain::document::raises_docs_epoch` leaves out), so that caches know when to read again.
    async fn docs_epoch(&self) -> Result<u64, StoreError>;

    /// Audit records.
    async fn records(&self, filter: &RecordFilter) -> Result<Vec<StoredRecord>, StoreError>;

    /// One pot; zeros if nothing was ever reserved in it.
    async fn budget(&self, pot: &Pot) -> Result<Budget, StoreError>;

    /// The agent's latest payouts that were executed and not taken back, newest first. What was
    /// merely proposed is no history: nobody teaches the statistics anything by asking.
    async fn history(
        &self,
        org: &OrgId,
        agent: &AgentId,
        limit: u32,
    ) -> Result<Vec<PastPayout>, StoreError>;

    /// What these payments come to, in minor units: settled amounts where they are known, proposed
    /// ones until then. At most 9e18.
    async fn sum_lately(&self, lately: &Lately) -> Result<i64, StoreError>;

    /// The first of these payments that is the same.
    async fn same_lately(
        &self,
        lately: &Lately,
        same: &Same,
    ) -> Result<Option<Earlier>, StoreError>;

    /// Agents that ever proposed in an organisation, by name.
    async fn agents(&self, org: &OrgId) -> Result<Vec<AgentId>, StoreError>;

    /// Takes up to `limit` due messages for delivery, the most urgent first, and hides them until
    /// `hidden_until`.
    async fn take_notices(
        &self,
        now: Timestamp,
        hidden_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Waiting>, StoreError>;

    /// A message was delivered (`retry_at` is `None`) or has to be tried again then.
    async fn notice_done(&self, id: i64, retry_at: Option<Timestamp>) -> Result<(), StoreError>;

    /// Forgets nonces kept until before `now` (epoch seconds). Returns how many.
    async fn prune_nonces(&self, now_secs: i64, limit: u32) -> Result<u64, StoreError>;

    /// How many of these are older than `before`.
    async fn count_old(&self, old: Old, before: Timestamp) -> Result<u64, StoreError>;

    /// Drops up to `limit` of these that are older than `before`. Returns how many.
    async fn drop_old(&self, old: Old, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Cheap proof that the store answers and can write.
    async fn ping(&self) -> Result<(), StoreError>;
}
