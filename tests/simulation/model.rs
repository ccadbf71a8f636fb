//! What an outsider saw, and what may never be in it: the invariants I1 to I8 of the promises.
//!
//! The model believes nobody's opinion. It hears what callers asked and were told, what was
//! written, what the bank did and where the clock stood, each at the moment it happened, and
//! remembers the first thing that cannot be true.

use std::collections::HashMap;

use hundi::domain::change::{Pot, Rows};
use hundi::domain::ids::ProposalId;
use hundi::domain::proposal::{Proposal, State};
use hundi::domain::time::Timestamp;
use hundi::store::Budget;
use serde_json::{Value, json};

/// Minor units per day: few enough that agents run into it.
pub const LIMIT: i64 = 150;

/// What a caller was told of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    Committed,
    Failed,
    Refused,
    /// In doubt, an error, or nothing in time: final neither way.
    Unclear,
}

/// One effect at the bank.
#[derive(Clone, Debug)]
pub struct Paid {
    pub reference: String,
    pub key: String,
    pub amount: i64,
    pub to: String,
    pub id: String,
}

/// A caller's commit, from its first byte on.
struct Attempt {
    /// The token and arguments as they were handed out, nothing changed.
    genuine: bool,
    /// When its token ends, epoch seconds.
    expires_at: i64,
    /// The earliest time that any clock showed while it was under way.
    earliest: Timestamp,
    told: Option<Told>,
}

/// What is known of one proposal from outside.
#[derive(Default)]
struct Known {
    /// As it was written first.
    args: Option<Value>,
    allowed: bool,
    attempts: Vec<Attempt>,
    paid: u32,
    /// The final state that was written, if one was.
    settled: Option<State>,
    version: u64,
    /// A caller heard that it was withdrawn.
    withdrawn: bool,
}

/// Everything seen so far.
#[derive(Default)]
pub struct Model {
    known: HashMap<ProposalId, Known>,
    keys: HashMap<String, String>,
    left: i64,
    broken: Option<String>,
}

impl Model {
    /// The first invariant that broke, if one did.
    pub fn broken(&self) -> Option<&String> {
        self.broken.as_ref()
    }

    fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// A caller begins a commit. Gives back a number for its end.
    pub fn begins(
        &mut self,
        id: ProposalId,
        genuine: bool,
        expires_at: i64,
        now: Timestamp,
    ) -> usize {
        let attempts = &mut self.known.entry(id).or_default().attempts;
        attempts.push(Attempt {
            genuine,
            expires_at,
            earliest: now,
            told: None,
        });
        attempts.len() - 1
    }

    /// A clock was set.
    pub fn clock(&mut self, now: Timestamp) {
        for known in self.known.values_mut() {
            for attempt in &mut known.attempts {
                // One that timed out on its caller may still be at work on its node.
                if matches!(attempt.told, None | Some(Told::Unclear)) {
                    attempt.earliest = attempt.earliest.min(now);
                }
            }
        }
    }

    /// A caller was told how a commit ended.
    pub fn ends(&mut self, id: ProposalId, attempt: usize, told: Told) {
        let known = self.known.entry(id).or_default();
        known.attempts[attempt].told = Some(told);
        let (paid, withdrawn) = (known.paid, known.withdrawn);
        match told {
            Told::Committed if paid == 0 => {
                self.breaks(format!(
                    "I4: committed was said of {id}, and nothing was paid"
                ));
            }
            Told::Failed if paid > 0 => {
                self.breaks(format!("I5: failed was said of {id}, and it was paid"));
            }
            Told::Committed if withdrawn => {
                self.breaks(format!("I5: {id} was withdrawn, and then committed"));
            }
            Told::Committed | Told::Failed | Told::Refused | Told::Unclear => {}
        }
    }

    /// A caller was told that a proposal is withdrawn: nobody ever pays it.
    pub fn withdrawn(&mut self, id: ProposalId) {
        let known = self.known.entry(id).or_default();
        known.withdrawn = true;
        if known.paid > 0 {
            self.breaks(format!("I5: {id} was withdrawn, and it was paid"));
        }
    }

    /// A change was written, and the pots are these.
    pub fn written(&mut self, rows: &Rows, pots: &HashMap<Pot, Budget>) {
        let written = rows.insert.as_deref().or(rows.update.as_deref());
        if let Some(proposal) = written {
            self.proposal(proposal);
        }
        let over = |pot: &&Budget| pot.pending + pot.posted > LIMIT || pot.pending < 0;
        if let Some(pot) = pots.values().find(over) {
            self.breaks(format!("I7: a pot holds {pot:?} with a limit of {LIMIT}"));
        }
    }

    fn proposal(&mut self, proposal: &Proposal) {
        let id = proposal.fixed.id;
        let args = proposal.fixed.args.value();
        let known = self.known.entry(id).or_default();
        known.allowed |= proposal.state == State::Allowed;
        let first = known.args.get_or_insert_with(|| args.clone());
        let broken = if *first != args {
            Some(format!("I3: the arguments of {id} changed"))
        } else if known.version + 1 != proposal.version {
            let (before, after) = (known.version, proposal.version);
            Some(format!("I4: {id} went from version {before} to {after}"))
        } else {
            known
                .settled
                .filter(|settled| *settled != proposal.state)
                .map(|settled| {
                    let now = proposal.state.name();
                    format!("I4: {id} was {}, and then {now}", settled.name())
                })
        };
        known.version = proposal.version;
        if proposal.state.is_settled() {
            known.settled = Some(proposal.state);
        }
        let paid = known.paid > 0;
        if let Some(broken) = broken {
            self.breaks(broken);
        } else if proposal.state == State::Executed && !paid {
            self.breaks(format!("I4: {id} is executed here, and nothing was paid"));
        } else if proposal.state == State::Failed && paid {
            self.breaks(format!("I5: {id} failed here, and it was paid"));
        }
    }

    /// Money leaves. `intent` says whether a claim and its record were durable before.
    pub fn pays(&mut self, paid: &Paid, intent: bool) {
        let reference = &paid.reference;
        self.left += paid.amount;
        let holder = self
            .keys
            .entry(paid.key.clone())
            .or_insert_with(|| reference.clone());
        let (own, foreign) = (paid.key == *reference, holder != reference);
        let Some(known) = reference
            .parse()
            .ok()
            .and_then(|id| self.known.get_mut(&id))
        else {
            return self.breaks(format!("I2: nobody proposed {reference}"));
        };
        known.paid += 1;
        let body = json!({"amount": paid.amount, "to": paid.to});
        let asked = known
            .attempts
            .iter()
            .any(|attempt| attempt.genuine && attempt.earliest.secs() < attempt.expires_at);
        let wrong = match () {
            () if known.paid > 1 => "I1: paid twice",
            () if !own || foreign => "I1: paid under a foreign idempotency key",
            () if !known.allowed => "I2: paid, and never allowed",
            () if !asked => "I2: paid, and nobody committed it with a living token",
            () if known.args.as_ref() != Some(&body) => "I3: paid other than proposed",
            () if known.settled.is_some() => "I5: paid after it was settled",
            () if known.withdrawn => "I5: paid after it was withdrawn",
            () if !intent => "I8: paid before its intent and record were durable",
            () => return,
        };
        self.breaks(format!("{wrong}: {reference}"));
    }

    /// After everything healed and had its time.
    pub fn at_rest<'a>(
        &mut self,
        proposals: impl Iterator<Item = &'a Proposal>,
        pots: &HashMap<Pot, Budget>,
    ) {
        for proposal in proposals {
            let id = proposal.fixed.id;
            let state = proposal.state;
            let paid = self.known.get(&id).map_or(0, |known| known.paid);
            if matches!(state, State::Committing | State::InDoubt) {
                self.breaks(format!("I6: {id} is still {}", state.name()));
            } else if (paid > 0) != (state == State::Executed) {
                let state = state.name();
                self.breaks(format!(
                    "I6: {id} was paid {paid} times, and here it is {state}"
                ));
            }
        }
        let refused = self.known.iter().find(|(_, known)| {
            let all = |told| {
                known
                    .attempts
                    .iter()
                    .all(|attempt| attempt.told == Some(told))
            };
            known.paid > 0 && all(Told::Refused)
        });
        if let Some((id, _)) = refused {
            self.broken.get_or_insert(format!(
                "I5: every commit of {id} was refused, and it was paid"
            ));
        }
        let posted: i64 = pots.values().map(|pot| pot.posted).sum();
        if posted != self.left {
            let left = self.left;
            self.breaks(format!("I7: {posted} posted, and {left} left the bank"));
        }
    }
}
