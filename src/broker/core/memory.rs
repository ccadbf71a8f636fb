//! What this process remembers to be fast: recent proposals, documents, histories, what was spent,
//! and who waits.
//!
//! Nothing here is believed when it matters. A claim names the version it was made from and the
//! documents it was decided on, and the store refuses it if any of them has moved; then the entry
//! is forgotten and read again. So a stale entry costs a retry, never a wrong payment. What was
//! spent is the same: no request is turned away by it, and the reservation is the store's to grant.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use moka::sync::Cache;
use tokio::sync::broadcast;

use crate::domain::change::{Doc, DocKey, Guard, Pot};
use crate::domain::facts::PastPayout;
use crate::domain::ids::{AgentId, OrgId, ProposalId};
use crate::domain::proposal::{Fixed, Proposal};
use crate::ephemeral::Ephemeral;
use crate::store::{Store, StoreError};

use super::Core;
use crate::broker::core::Trouble;

/// Proposals kept: a minute's worth of a busy node.
const PROPOSALS: u64 = 20_000;
/// Documents kept: policies, freezes and baselines in use.
const DOCUMENTS: u64 = 50_000;
/// Histories kept, one per agent.
const HISTORIES: u64 = 5_000;
/// How long a history is used before it is read again. Own payouts are added at once.
const HISTORY_TTL: Duration = Duration::from_secs(5);
/// Pots kept, one per agent, currency and day.
const POTS: u64 = 5_000;
/// How long what was read of a pot is used before it is read again. Own reservations are added at
/// once; those of other nodes, and what was given back, are seen then.
const POT_TTL: Duration = Duration::from_secs(5);
/// Payouts of a history that the anomaly check looks at.
pub const HISTORY_LENGTH: u32 = 200;
/// Changes a slow listener may lag behind before it has to read the store itself.
const WAKEUPS: usize = 1024;

/// An agent's latest payouts, newest first, and their hours of the week. Copies share everything.
#[derive(Clone, Default)]
pub struct History {
    /// The payouts.
    pub past: Arc<Vec<PastPayout>>,
    /// An hour for each of them.
    pub hours: Arc<Vec<u8>>,
}

impl History {
    fn of(past: Vec<PastPayout>, zone: &TimeZone) -> Self {
        let hours = past.iter().map(|past| past.at.hour_of_week(zone));
        Self {
            hours: Arc::new(hours.collect()),
            past: Arc::new(past),
        }
    }

    fn add(&mut self, payout: PastPayout, zone: &TimeZone) {
        let hour = payout.at.hour_of_week(zone);
        let (past, hours) = (
            Arc::make_mut(&mut self.past),
            Arc::make_mut(&mut self.hours),
        );
        past.insert(0, payout);
        hours.insert(0, hour);
        past.truncate(HISTORY_LENGTH as usize);
        hours.truncate(HISTORY_LENGTH as usize);
    }
}

/// The caches of one broker.
pub struct Memory {
    proposals: Cache<ProposalId, Arc<Proposal>>,
    docs: Cache<DocKey, (u64, Option<Arc<Doc>>)>,
    epoch: AtomicU64,
    histories: Cache<(OrgId, AgentId), Arc<Mutex<History>>>,
    taken: Cache<Pot, Arc<AtomicI64>>,
    changed: broadcast::Sender<ProposalId>,
    /// Where other nodes hear of what is written here.
    others: Arc<dyn Ephemeral>,
}

impl Memory {
    /// Nothing remembered yet.
    pub fn new(others: Arc<dyn Ephemeral>) -> Self {
        Self {
            proposals: Cache::new(PROPOSALS),
            docs: Cache::new(DOCUMENTS),
            epoch: AtomicU64::new(0),
            histories: Cache::builder()
                .max_capacity(HISTORIES)
                .time_to_live(HISTORY_TTL)
                .build(),
            taken: Cache::builder()
                .max_capacity(POTS)
                .time_to_live(POT_TTL)
                .build(),
            changed: broadcast::channel(WAKEUPS).0,
            others,
        }
    }

    /// Remembers what was just written, and wakes who waits for it.
    pub fn wrote(&self, proposal: &Proposal) {
        if proposal.state.is_settled() {
            self.proposals.invalidate(&proposal.fixed.id);
        } else {
            self.proposals
                .insert(proposal.fixed.id, Arc::new(proposal.clone()));
        }
        // Nobody listening is the usual case.
        let _ = self.changed.send(proposal.fixed.id);
        self.others.tell(proposal.fixed.id);
    }

    /// A proposal as this process last wrote it.
    pub fn proposal(&self, id: ProposalId) -> Option<Arc<Proposal>> {
        self.proposals.get(&id)
    }

    /// What was remembered of a proposal has proved stale.
    pub fn forget(&self, id: ProposalId) {
        self.proposals.invalidate(&id);
    }

    /// Hears of every proposal that this process writes.
    pub fn listen(&self) -> broadcast::Receiver<ProposalId> {
        self.changed.subscribe()
    }

    /// Hears of proposals that other nodes write, as far as they are told.
    pub fn listen_to_others(&self) -> Option<broadcast::Receiver<ProposalId>> {
        self.others.hear()
    }

    /// A document, and the guard that holds a decision to this version of it.
    pub async fn doc(
        &self,
        store: &dyn Store,
        key: DocKey,
    ) -> Result<(Option<Arc<Doc>>, Guard), StoreError> {
        if let Some((version, doc)) = self.docs.get(&key) {
            return Ok((doc, Guard { key, version }));
        }
        let doc = store.doc(&key).await?.map(Arc::new);
        let version = doc.as_ref().map_or(0, |doc| doc.version);
        self.docs.insert(key.clone(), (version, doc.clone()));
        Ok((doc, Guard { key, version }))
    }

    /// What was remembered of a document has proved stale, or was just written.
    pub fn forget_doc(&self, key: &DocKey) {
        self.docs.invalidate(key);
    }

    /// Forgets documents if any were written since the last look, by whomever.
    fn seen_epoch(&self, epoch: u64) {
        if self.epoch.swap(epoch, Ordering::Relaxed) != epoch {
            self.docs.invalidate_all();
        }
    }

    /// The agent's latest payouts.
    pub async fn history(
        &self,
        store: &dyn Store,
        org: &OrgId,
        agent: &AgentId,
        zone: &TimeZone,
    ) -> Result<History, StoreError> {
        let key = (org.clone(), agent.clone());
        if let Some(history) = self.histories.get(&key) {
            return Ok(unpoisoned(&history).clone());
        }
        let history = History::of(store.history(org, agent, HISTORY_LENGTH).await?, zone);
        self.histories
            .insert(key, Arc::new(Mutex::new(history.clone())));
        Ok(history)
    }

    /// A payout was carried out: it counts from the next decision on. One that was being read at
    /// this very moment may count twice until the history is read again, never not at all for
    /// longer.
    pub fn paid(&self, fixed: &Fixed, zone: &TimeZone) {
        let key = (fixed.org.clone(), fixed.agent.clone());
        if let Some(history) = self.histories.get(&key) {
            unpoisoned(&history).add(fixed.as_past(), zone);
        }
    }

    /// Pending plus posted of a pot, as far as this process knows, in minor units. Good enough to
    /// let a request try for its reservation, and never to refuse it.
    pub fn taken(&self, pot: &Pot) -> Option<i64> {
        let taken = self.taken.get(pot)?;
        Some(taken.load(Ordering::Relaxed))
    }

    /// The store said how much of a pot is taken.
    pub fn saw_taken(&self, pot: &Pot, taken: i64) {
        self.taken
            .insert(pot.clone(), Arc::new(AtomicI64::new(taken)));
    }

    /// The store granted a reservation of so much.
    pub fn reserved(&self, pot: &Pot, amount: i64) {
        if let Some(taken) = self.taken.get(pot) {
            let more = |taken: i64| Some(taken.saturating_add(amount));
            // It never declines.
            let _ = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }
}

/// Nothing that holds the lock can panic half-way; if it did, the entry lives seconds.
fn unpoisoned(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// Notices what other processes wrote, so that a policy or a freeze of theirs is used here
    /// without waiting for a conflict.
    pub async fn refresh(&self) -> Result<(), Trouble> {
        let epoch = self.ports().store.docs_epoch().await?;
        self.memory().seen_epoch(epoch);
        Ok(())
    }
}
