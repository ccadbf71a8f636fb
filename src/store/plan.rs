//! Decides the fate of a batch of changes, in order, without touching any store.
//!
//! A store reads what the conditions of a batch need ([`Needs`]) into a [`Snapshot`] that nobody
//! else can change meanwhile, asks [`plan`] which changes hold, and writes the survivors as the
//! [`Plan`] says. A later change of the batch sees what an earlier one did, and a change that
//! fails leaves nothing behind, so one caller's conflict never touches its neighbours.
//!
//! The conditions and their order are those of [`Rows`]. How rows are read, locked, spelt and
//! flushed is the business of each store.

use std::collections::{HashMap, HashSet};

use super::Budget;
use crate::domain::change::{Applied, BudgetMove, Conflict, DocKey, DocWrite, Guard, Pot, Rows};
use crate::domain::document::raises_docs_epoch;
use crate::domain::ids::{AgentId, Nonce, OrgId, ProposalId};
use crate::domain::proposal::Proposal;

/// An agent's own name for one request.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CallerKey {
    /// Whose organisation.
    pub org: OrgId,
    /// Whose key.
    pub agent: AgentId,
    /// The key.
    pub key: String,
}

impl CallerKey {
    /// The key that a proposal takes, if its caller gave one.
    pub fn of(proposal: &Proposal) -> Option<Self> {
        Some(Self {
            org: proposal.fixed.org.clone(),
            agent: proposal.fixed.agent.clone(),
            key: proposal.fixed.idempotency_key.clone()?,
        })
    }
}

/// What a batch has to know. Names of proposals, keys and nonces can occur more than once; pots and
/// documents, which the changes of a batch have mostly in common, occur once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Proposals whose stored version counts.
    pub proposals: Vec<ProposalId>,
    /// Proposals whose reservation counts, and with it the pot it is in.
    pub reservations: Vec<ProposalId>,
    /// Idempotency keys that may be taken.
    pub keys: Vec<CallerKey>,
    /// Nonces that may be burned.
    pub nonces: Vec<Nonce>,
    /// Pots to reserve from.
    pub pots: Vec<Pot>,
    /// Documents guarded or written.
    pub docs: Vec<DocKey>,
}

impl Needs {
    /// What these changes have to know.
    pub fn of<'a>(batch: impl IntoIterator<Item = &'a Rows>) -> Self {
        let mut needs = Self::default();
        let (mut pots, mut docs) = (Vec::new(), Vec::new());
        for rows in batch {
            let inserted = rows.insert.as_deref();
            needs.keys.extend(inserted.and_then(CallerKey::of));
            let named = inserted.into_iter().chain(rows.update.as_deref());
            needs.proposals.extend(named.map(Proposal::id));
            needs.nonces.extend(rows.burn.map(|(nonce, _)| nonce));
            if let Some(step) = &rows.budget {
                needs.reservations.extend(subject(rows));
                if let BudgetMove::Reserve { pot, .. } = step {
                    pots.push(pot);
                }
            }
            docs.extend(rows.guards.iter().map(|guard| &guard.key));
            docs.extend(rows.docs.iter().map(|write| &write.key));
        }
        needs.pots = once(pots);
        needs.docs = once(docs);
        needs
    }
}

/// Each of the names once, in order.
fn once<T: Ord + Clone>(mut names: Vec<&T>) -> Vec<T> {
    names.sort_unstable();
    names.dedup();
    names.into_iter().cloned().collect()
}

/// One proposal's part of a pot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// Where it is accounted.
    pub pot: Pot,
    /// Minor units reserved.
    pub amount: i64,
    /// Minor units that count as spent.
    pub posted: i64,
    /// What became of it.
    pub standing: Standing,
}

/// What became of a reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Held.
    Pending,
    /// Spent.
    Posted,
    /// Given back. Final.
    Void,
}

impl Standing {
    /// The stored spelling.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Pending => "pending",
            Standing::Posted => "posted",
            Standing::Void => "void",
        }
    }

    /// Reads the stored spelling.
    pub fn parse(name: &str) -> Option<Self> {
        [Standing::Pending, Standing::Posted, Standing::Void]
            .into_iter()
            .find(|standing| standing.name() == name)
    }
}

/// The version of a document, kept past its deletion so that a guard on an old version can never
/// be satisfied by a document that was deleted and made anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DocState {
    /// The last version written; deleting counts as a write.
    pub version: u64,
    /// Whether it exists now.
    pub present: bool,
}

impl DocState {
    /// The version as readers see it: 0 where there is no document.
    fn seen(self) -> u64 {
        if self.present { self.version } else { 0 }
    }
}

/// What the store holds of what a batch needs. What is not in it does not exist.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Versions of proposals.
    pub versions: HashMap<ProposalId, u64>,
    /// Keys taken, and by which proposal.
    pub keys: HashMap<CallerKey, ProposalId>,
    /// Nonces burned.
    pub burned: HashSet<Nonce>,
    /// Reservations.
    pub reservations: HashMap<ProposalId, Reservation>,
    /// Pots, of `needs.pots` and of the reservations.
    pub pots: HashMap<Pot, Budget>,
    /// Documents, deleted ones as well.
    pub docs: HashMap<DocKey, DocState>,
    /// The highest sequence number ever given to a record.
    pub last_seq: i64,
}

/// What to write. Numbers are positions of changes in the batch, in its order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// One fate for each change.
    pub fates: Vec<Result<Applied, Conflict>>,
    /// Changes whose new proposal is written.
    pub inserts: Vec<usize>,
    /// Changes whose proposal replaces the stored one: the last one for each proposal.
    pub updates: Vec<usize>,
    /// Changes whose nonce is written.
    pub burns: Vec<usize>,
    /// Reservations as they are afterwards.
    pub reservations: Vec<(ProposalId, Reservation)>,
    /// Pots as they are afterwards.
    pub pots: Vec<(Pot, Budget)>,
    /// Documents as they are afterwards: the version, and which change and which of its writes
    /// says what is in it.
    pub docs: Vec<(DocState, usize, usize)>,
    /// Changes that write something beside their documents, in order.
    pub besides: Vec<usize>,
    /// Changes whose records and notices are written; records are numbered from the fate's
    /// `first_seq`.
    pub told: Vec<usize>,
    /// A document was written of a kind that readers cache.
    pub epoch_rises: bool,
}

/// Decides each change in order, against the snapshot and the changes before it.
pub fn plan<'a>(
    batch: impl IntoIterator<Item = &'a Rows>,
    mut snapshot: Snapshot,
) -> (Plan, Snapshot) {
    let mut plan = Plan::default();
    let mut touched = Touched::default();
    for (index, rows) in batch.into_iter().enumerate() {
        let fate = match check(rows, &snapshot) {
            Ok(budget) => {
                let first_seq = accept(&mut snapshot, rows, budget, &mut touched, index);
                plan.note(rows, index);
                Ok(Applied { first_seq })
            }
            Err(conflict) => Err(conflict),
        };
        plan.fates.push(fate);
    }
    touched.settle(&snapshot, &mut plan);
    (plan, snapshot)
}

impl Plan {
    fn note(&mut self, rows: &Rows, index: usize) {
        self.inserts.extend(rows.insert.is_some().then_some(index));
        self.burns.extend(rows.burn.is_some().then_some(index));
        let besides = !rows.besides.is_empty();
        self.besides.extend(besides.then_some(index));
        self.epoch_rises |= rows.docs.iter().any(|doc| raises_docs_epoch(&doc.key.kind));
        if !rows.records.is_empty() || !rows.notices.is_empty() {
            self.told.push(index);
        }
    }

    /// True if no change of the batch writes anything.
    pub fn is_empty(&self) -> bool {
        self.fates.iter().all(Result::is_err)
    }
}

/// What survivors changed, by name, so that each row is written once with its last value.
#[derive(Default)]
struct Touched {
    updates: HashMap<ProposalId, usize>,
    reservations: HashSet<ProposalId>,
    pots: HashSet<Pot>,
    docs: HashMap<DocKey, (usize, usize)>,
}

impl Touched {
    fn settle(self, snapshot: &Snapshot, plan: &mut Plan) {
        plan.updates = self.updates.into_values().collect();
        plan.updates.sort_unstable();
        for id in self.reservations {
            let held = snapshot.reservations.get(&id);
            plan.reservations
                .extend(held.map(|held| (id, held.clone())));
        }
        plan.reservations.sort_unstable_by_key(|(id, _)| *id);
        for pot in self.pots {
            let budget = snapshot.pots.get(&pot).copied().unwrap_or_default();
            plan.pots.push((pot, budget));
        }
        plan.pots.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut docs: Vec<_> = self.docs.into_iter().collect();
        docs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (key, (index, write)) in docs {
            let state = snapshot.docs.get(&key).copied().unwrap_or_default();
            plan.docs.push((state, index, write));
        }
    }
}

/// The budget rows as a change would leave them.
type BudgetStep = Option<(ProposalId, Reservation, Budget)>;

/// The proposal, or attempt, that a budget move is about.
fn subject(rows: &Rows) -> Option<ProposalId> {
    let proposal = rows.insert.as_deref().or(rows.update.as_deref());
    rows.budget_of.or(proposal.map(Proposal::id))
}

/// All conditions of one change, in the order of the fields of [`Rows`].
fn check(rows: &Rows, snapshot: &Snapshot) -> Result<BudgetStep, Conflict> {
    for Guard { key, version } in &rows.guards {
        if snapshot.doc(key).seen() != *version {
            return Err(Conflict::DocChanged(key.clone()));
        }
    }
    if let Some(new) = rows.insert.as_deref() {
        if snapshot.versions.contains_key(&new.id()) {
            return Err(Conflict::Stale);
        }
        let taken = CallerKey::of(new).and_then(|key| snapshot.keys.get(&key));
        if let Some(earlier) = taken {
            return Err(Conflict::KeyTaken(*earlier));
        }
    }
    if let Some(next) = rows.update.as_deref() {
        let stored = snapshot.versions.get(&next.id()).copied();
        if stored.is_none() || stored != next.version.checked_sub(1) {
            return Err(Conflict::Stale);
        }
    }
    if let Some((nonce, _)) = &rows.burn
        && snapshot.burned.contains(nonce)
    {
        return Err(Conflict::NonceBurned);
    }
    let budget = match (&rows.budget, subject(rows)) {
        (Some(step), Some(id)) => move_budget(step, id, snapshot)?,
        _ => None,
    };
    for DocWrite { key, expect, .. } in &rows.docs {
        if expect.is_some_and(|version| snapshot.doc(key).seen() != version) {
            return Err(Conflict::DocChanged(key.clone()));
        }
    }
    Ok(budget)
}

fn move_budget(
    step: &BudgetMove,
    id: ProposalId,
    snapshot: &Snapshot,
) -> Result<BudgetStep, Conflict> {
    let stored = snapshot.reservations.get(&id);
    match step {
        BudgetMove::Reserve { pot, amount, limit } => match stored {
            // One reservation per proposal, whatever became of it.
            Some(_) => Err(Conflict::Stale),
            None => reserve(pot, (*amount).max(0), *limit, id, snapshot).map(Some),
        },
        BudgetMove::Post { settled } => Ok(stored
            .filter(|held| held.standing == Standing::Pending)
            .map(|held| post(held, *settled, id, snapshot))),
        BudgetMove::Void => Ok(stored.and_then(|held| void(held, id, snapshot))),
    }
}

fn reserve(
    pot: &Pot,
    amount: i64,
    limit: Option<i64>,
    id: ProposalId,
    snapshot: &Snapshot,
) -> Result<(ProposalId, Reservation, Budget), Conflict> {
    let mut budget = snapshot.pot(pot);
    let taken = budget.pending.saturating_add(budget.posted);
    // Books without a limit still end where the integers do.
    let limit = limit.unwrap_or(i64::MAX);
    let fits = taken.checked_add(amount).is_some_and(|sum| sum <= limit);
    if !fits {
        return Err(Conflict::OverBudget { taken, limit });
    }
    budget.pending += amount;
    let held = Reservation {
        pot: pot.clone(),
        amount,
        posted: 0,
        standing: Standing::Pending,
    };
    Ok((id, held, budget))
}

/// What left is recorded even over the limit: the books follow the money, never the reverse.
fn post(
    held: &Reservation,
    settled: i64,
    id: ProposalId,
    snapshot: &Snapshot,
) -> (ProposalId, Reservation, Budget) {
    let mut budget = snapshot.pot(&held.pot);
    budget.pending = (budget.pending - held.amount).max(0);
    let room = i64::MAX - budget.pending - budget.posted;
    // Remembered as counted, so that a reversal gives back exactly what was taken.
    let posted = settled.clamp(0, room);
    budget.posted += posted;
    let held = Reservation {
        posted,
        standing: Standing::Posted,
        ..held.clone()
    };
    (id, held, budget)
}

fn void(
    held: &Reservation,
    id: ProposalId,
    snapshot: &Snapshot,
) -> Option<(ProposalId, Reservation, Budget)> {
    let mut budget = snapshot.pot(&held.pot);
    match held.standing {
        Standing::Pending => budget.pending = (budget.pending - held.amount).max(0),
        Standing::Posted => budget.posted = (budget.posted - held.posted).max(0),
        Standing::Void => return None,
    }
    let held = Reservation {
        standing: Standing::Void,
        ..held.clone()
    };
    Some((id, held, budget))
}

/// Makes an accepted change visible to the ones after it. Returns the number of its first record.
fn accept(
    snapshot: &mut Snapshot,
    rows: &Rows,
    budget: BudgetStep,
    touched: &mut Touched,
    index: usize,
) -> i64 {
    if let Some(new) = rows.insert.as_deref() {
        snapshot.versions.insert(new.id(), new.version);
        let key = CallerKey::of(new);
        snapshot.keys.extend(key.map(|key| (key, new.id())));
    }
    if let Some(next) = rows.update.as_deref() {
        snapshot.versions.insert(next.id(), next.version);
        touched.updates.insert(next.id(), index);
    }
    snapshot.burned.extend(rows.burn.map(|(nonce, _)| nonce));
    if let Some((id, held, budget)) = budget {
        snapshot.pots.insert(held.pot.clone(), budget);
        touched.pots.insert(held.pot.clone());
        snapshot.reservations.insert(id, held);
        touched.reservations.insert(id);
    }
    for (position, write) in rows.docs.iter().enumerate() {
        let state = snapshot.docs.entry(write.key.clone()).or_default();
        // Deleting what does not exist writes nothing.
        if write.body.is_none() && !state.present {
            continue;
        }
        state.version += 1;
        state.present = write.body.is_some();
        touched.docs.insert(write.key.clone(), (index, position));
    }
    let count = i64::try_from(rows.records.len()).unwrap_or(i64::MAX);
    let before = snapshot.last_seq;
    snapshot.last_seq = before.saturating_add(count);
    if count == 0 {
        0
    } else {
        before.saturating_add(1)
    }
}

impl Snapshot {
    fn doc(&self, key: &DocKey) -> DocState {
        self.docs.get(key).copied().unwrap_or_default()
    }

    fn pot(&self, pot: &Pot) -> Budget {
        self.pots.get(pot).copied().unwrap_or_default()
    }
}
