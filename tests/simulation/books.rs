//! A store in memory, written from the words of the trait and independently of every backend, so
//! that the simulation does not inherit a backend's mistakes. One lock, whole or nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hundi::domain::change::{
    Applied, BudgetMove, Conflict, Doc, DocKey, DocWrite, Pot, Record, Rows,
};
use hundi::domain::facts::PastPayout;
use hundi::domain::ids::{AgentId, Nonce, OrgId, ProposalId};
use hundi::domain::proposal::{Proposal, State};
use hundi::domain::time::Timestamp;
use hundi::store::{Budget, LEASE_HORIZON_MS, Lately, Side};

/// Mistakes that can be planted, to show that the checks find them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Planted {
    /// Neither versions nor nonces are checked.
    pub no_uniqueness: bool,
    /// The limit is checked against what was read a while ago.
    pub stale_budget: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reserved {
    Pending(i64),
    Posted(i64),
    Void,
}

/// Everything that is remembered.
#[derive(Default)]
pub struct Books {
    pub proposals: BTreeMap<ProposalId, Proposal>,
    pub records: Vec<Record>,
    pub pots: HashMap<Pot, Budget>,
    pub planted: Planted,
    nonces: HashSet<Nonce>,
    keys: HashMap<(OrgId, AgentId, String), ProposalId>,
    reservations: HashMap<ProposalId, (Pot, Reserved)>,
    docs: HashMap<DocKey, (u64, Option<serde_json::Value>)>,
    stale_pots: HashMap<Pot, Budget>,
    epoch: u64,
}

impl Books {
    /// Whole or nothing, under the conditions in the order of the fields of `Rows`.
    pub fn apply(&mut self, rows: &Rows) -> Result<Applied, Conflict> {
        self.check(rows)?;
        let first_seq = i64::try_from(self.records.len()).unwrap() + 1;
        self.records.extend(rows.records.iter().cloned());
        for write in &rows.docs {
            self.write_doc(write);
        }
        if let Some((nonce, _)) = &rows.burn {
            self.nonces.insert(*nonce);
        }
        if let Some(proposal) = &rows.insert {
            let fixed = &proposal.fixed;
            if let Some(key) = &fixed.idempotency_key {
                let key = (fixed.org.clone(), fixed.agent.clone(), key.clone());
                self.keys.insert(key, fixed.id);
            }
        }
        if let Some(proposal) = rows.insert.as_ref().or(rows.update.as_ref()) {
            if let Some(moved) = &rows.budget {
                self.book(proposal.fixed.id, moved);
            }
            self.proposals
                .insert(proposal.fixed.id, (**proposal).clone());
        }
        Ok(Applied { first_seq })
    }

    fn check(&self, rows: &Rows) -> Result<(), Conflict> {
        for guard in &rows.guards {
            if self.doc_version(&guard.key) != guard.version {
                return Err(Conflict::DocChanged(guard.key.clone()));
            }
        }
        if let Some(proposal) = &rows.insert {
            let fixed = &proposal.fixed;
            if self.proposals.contains_key(&fixed.id) {
                return Err(Conflict::Stale);
            }
            if let Some(key) = &fixed.idempotency_key {
                let key = (fixed.org.clone(), fixed.agent.clone(), key.clone());
                if let Some(earlier) = self.keys.get(&key) {
                    return Err(Conflict::KeyTaken(*earlier));
                }
            }
        }
        if let Some(proposal) = &rows.update
            && !self.planted.no_uniqueness
        {
            let stored = self.proposals.get(&proposal.fixed.id);
            if stored.is_none_or(|stored| stored.version + 1 != proposal.version) {
                return Err(Conflict::Stale);
            }
        }
        if let Some((nonce, _)) = &rows.burn
            && self.nonces.contains(nonce)
            && !self.planted.no_uniqueness
        {
            return Err(Conflict::NonceBurned);
        }
        if let Some(BudgetMove::Reserve {
            pot,
            amount,
            limit: Some(limit),
        }) = &rows.budget
        {
            let pots = if self.planted.stale_budget {
                &self.stale_pots
            } else {
                &self.pots
            };
            let held = pots.get(pot).copied().unwrap_or_default();
            let taken = held.pending + held.posted;
            if taken + amount > *limit {
                return Err(Conflict::OverBudget {
                    taken,
                    limit: *limit,
                });
            }
        }
        for write in &rows.docs {
            if write
                .expect
                .is_some_and(|expect| expect != self.doc_version(&write.key))
            {
                return Err(Conflict::DocChanged(write.key.clone()));
            }
        }
        Ok(())
    }

    fn book(&mut self, id: ProposalId, moved: &BudgetMove) {
        if let BudgetMove::Reserve { pot, amount, .. } = moved {
            self.pots.entry(pot.clone()).or_default().pending += amount;
            self.reservations
                .insert(id, (pot.clone(), Reserved::Pending(*amount)));
            return;
        }
        let Some((pot, reserved)) = self.reservations.get_mut(&id) else {
            return;
        };
        let budget = self.pots.entry(pot.clone()).or_default();
        match (moved, *reserved) {
            (BudgetMove::Post { settled }, Reserved::Pending(amount)) => {
                budget.pending -= amount;
                budget.posted += settled;
                *reserved = Reserved::Posted(*settled);
            }
            (BudgetMove::Void, Reserved::Pending(amount)) => {
                budget.pending -= amount;
                *reserved = Reserved::Void;
            }
            (BudgetMove::Void, Reserved::Posted(amount)) => {
                budget.posted -= amount;
                *reserved = Reserved::Void;
            }
            _ => {}
        }
    }

    /// What the planted read-modify-write believes until the next time.
    pub fn remember_pots(&mut self) {
        self.stale_pots = self.pots.clone();
    }

    pub fn write_doc(&mut self, write: &DocWrite) {
        self.epoch += 1;
        let entry = self.docs.entry(write.key.clone()).or_default();
        *entry = (self.epoch, write.body.clone());
    }

    fn doc_version(&self, key: &DocKey) -> u64 {
        self.doc(key).map_or(0, |doc| doc.version)
    }

    pub fn doc(&self, key: &DocKey) -> Option<Doc> {
        let (version, body) = self.docs.get(key)?;
        Some(Doc {
            key: key.clone(),
            version: *version,
            body: body.clone()?,
        })
    }

    pub fn docs(&self, kind: &str, org: Option<&OrgId>) -> Vec<Doc> {
        let mut found: Vec<Doc> = self
            .docs
            .keys()
            .filter(|key| key.kind == kind && org.is_none_or(|org| *org == key.org))
            .filter_map(|key| self.doc(key))
            .collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn by_key(&self, org: &OrgId, agent: &AgentId, key: &str) -> Option<Proposal> {
        let id = self
            .keys
            .get(&(org.clone(), agent.clone(), key.to_owned()))?;
        self.proposals.get(id).cloned()
    }

    pub fn lapsed(&self, now: Timestamp, limit: u32) -> Vec<Proposal> {
        let over = |p: &&Proposal| {
            matches!(p.state, State::Held | State::Allowed) && p.fixed.lapses_at <= now
        };
        self.some(over, limit)
    }

    pub fn unsettled(&self, now: Timestamp, limit: u32) -> Vec<Proposal> {
        let due = |p: &&Proposal| {
            let lease = p.execution.as_ref().map(|execution| execution.lease_until);
            let waits = matches!(p.state, State::Committing | State::InDoubt);
            waits
                && lease
                    .is_some_and(|until| until <= now || until > now.plus_millis(LEASE_HORIZON_MS))
        };
        self.some(due, limit)
    }

    fn some(&self, wanted: impl Fn(&&Proposal) -> bool, limit: u32) -> Vec<Proposal> {
        self.proposals
            .values()
            .filter(wanted)
            .take(limit as usize)
            .cloned()
            .collect()
    }

    pub fn history(&self, org: &OrgId, agent: &AgentId, limit: u32) -> Vec<PastPayout> {
        let of = self.proposals.values().rev().filter(|p| {
            p.fixed.org == *org
                && p.fixed.agent == *agent
                && p.fixed.effective.moves_money()
                && p.state == State::Executed
        });
        of.take(limit as usize)
            .map(|p| PastPayout {
                at: p.fixed.created_at,
                minor: p.fixed.effective.minor(),
                payee: p.fixed.payee.account.clone(),
                vendor: p.fixed.payee.name.clone(),
            })
            .collect()
    }

    /// Payments of the last while that still count.
    pub fn lately<'a>(&'a self, lately: &'a Lately) -> impl Iterator<Item = &'a Proposal> {
        self.proposals.values().filter(move |p| {
            let side = match &lately.of {
                Side::Agent(agent) => p.fixed.agent == *agent,
                Side::Payee(names) => p
                    .fixed
                    .payee
                    .identity()
                    .is_some_and(|name| names.contains(&name)),
            };
            let sent = p.execution.as_ref().map(|execution| execution.claimed_at);
            let recent = p.fixed.created_at >= lately.since || sent >= Some(lately.since);
            side && p.fixed.org == lately.org
                && p.fixed.effective.currency() == Some(lately.currency)
                && (p.state == State::Executed && recent || !p.state.is_settled())
        })
    }

    /// Whether a claim on this reference is written, and the record that tells of it.
    pub fn is_claimed(&self, reference: &str) -> bool {
        let id = reference.parse().ok();
        let proposal = id.and_then(|id| self.proposals.get(&id));
        let told = |record: &&Record| record.proposal == id && record.kind == "claimed";
        proposal.is_some_and(|proposal| proposal.execution.is_some())
            && self.records.iter().rev().find(told).is_some()
    }

    /// Whether an attempt is under way or in doubt.
    pub fn is_busy(&self) -> bool {
        let open = |p: &Proposal| matches!(p.state, State::Committing | State::InDoubt);
        self.proposals.values().any(open)
    }

    pub fn agents(&self, org: &OrgId) -> Vec<AgentId> {
        let names: BTreeSet<AgentId> = self
            .proposals
            .values()
            .filter(|p| p.fixed.org == *org)
            .map(|p| p.fixed.agent.clone())
            .collect();
        names.into_iter().collect()
    }
}
