//! People decide on what is held: approve, reject, cancel; and settle what no machine can.
//!
//! The approver is never the proposer, no person agrees twice (see `people`), what was agreed counts
//! as long as it would now (see `standing`), and a decision is bound to the arguments that were shown.

use serde_json::json;

use super::Pay;
use super::people::gave;
use super::reconcile::notice;
use super::statement::{Proof, Seen};
use crate::broker::core::measure::{self, Timer};
use crate::broker::core::{Proposed, Trouble, Word};
use crate::domain::call::Receipt;
use crate::domain::change::{Change, Conflict, Illegal};
use crate::domain::ids::ProposalId;
use crate::domain::notice::NoticeKind;
use crate::domain::principal::{Principal, Right};
use crate::domain::proposal::{Approval, Ending, Given, Proposal, State};
use crate::domain::signed::FIELD;
use crate::domain::statement::Verdict;
use crate::domain::webauthn::Assertion;
use crate::governance::agreed::{Approver, Asked, Unmet};
use crate::store::ApplyError;

/// How often a decision is tried when others write the same proposal.
const TRIES: u32 = 5;
/// Longest words of a person that are kept, in characters.
const MAX_WORDS: usize = 500;

impl Pay {
    /// One more person agrees. The answer shows the proposal as it then stands, without a token:
    /// that goes to the proposer alone.
    pub async fn approve(&self, who: &Principal, id: ProposalId) -> Result<Proposed, Trouble> {
        self.approve_with(who, id, None).await
    }

    /// The same, signed with a passkey: what was signed is in the record of it.
    pub async fn approve_signed(
        &self,
        who: &Principal,
        id: ProposalId,
        seen: &Seen,
        given: &Assertion,
    ) -> Result<Proposed, Trouble> {
        let proof = self.proof(who, id, Verdict::Approve, seen, given).await?;
        self.approve_with(who, id, Some(&proof)).await
    }

    async fn approve_with(
        &self,
        who: &Principal,
        id: ProposalId,
        proof: Option<&Proof>,
    ) -> Result<Proposed, Trouble> {
        needs(who, Right::Decide)?;
        let marks = self.marks_of(who).await?;
        let fixed = self.visible(who, id).await?.fixed;
        let runs = self.runs(who, &fixed, &marks).await?;
        let timer = Timer::start();
        for _ in 0..TRIES {
            let proposal = self.visible(who, id).await?;
            if proposal.state != State::Held {
                return Err(Trouble::WrongState(proposal.state));
            }
            if proposal.fixed.proposer == who.id || who.agent.is_some() || runs {
                return Err(Trouble::SelfApproval);
            }
            let (asked, guard) = self.asked(&proposal).await?;
            if asked.distinct() && self.made(who, &fixed, &marks).await? {
                return Err(Trouble::SelfApproval);
            }
            let counted = self.still_agreed(&proposal, &asked).await?;
            fulfils(who, &asked, proof)?;
            if counted.kept.iter().any(|one| gave(one, &who.id, &marks)) {
                return Err(Trouble::ApprovedAlready(who.name.clone()));
            }
            let now = self.ports().ambient.now();
            if asked.until <= now {
                return Err(Trouble::WrongState(State::Expired));
            }
            let approval = Approval {
                by: who.id.clone(),
                at: now,
                args_hash: proposal.fixed.args_hash,
                marks: marks.clone(),
                given: Given {
                    roles: Some(who.roles),
                    person: who.person.clone(),
                    passkey: proof.map(|proof| proof.signed.assertion.credential_id.clone()),
                },
            };
            let words = format!("approved by {}", who.name);
            let proposal = proposal.counting(counted.kept, asked.needed);
            let told = notice(&proposal, NoticeKind::Decided, now, &words);
            let approved = Change::approve(&proposal, approval, Some(told));
            let (change, next) = approved.map_err(wrong_state)?;
            let change = match asked.passkey() {
                true => change.telling("passkey", "required".into()),
                false => change,
            };
            let change = proven(not_counted(change, &counted.lost), proof)
                .guarded(counted.guards)
                .guarded(vec![guard]);
            if self.decided(change, &next, &timer).await? {
                self.execute_if_asked(&next).await;
                return Ok(shown(self.seen_by(who, next).await));
            }
        }
        Err(Trouble::Changed)
    }

    /// A person says no.
    pub async fn reject(
        &self,
        who: &Principal,
        id: ProposalId,
        reason: &str,
    ) -> Result<Proposed, Trouble> {
        self.reject_with(who, id, reason, None).await
    }

    /// The same, signed with a passkey.
    pub async fn reject_signed(
        &self,
        who: &Principal,
        id: ProposalId,
        reason: &str,
        seen: &Seen,
        given: &Assertion,
    ) -> Result<Proposed, Trouble> {
        let proof = self.proof(who, id, Verdict::Reject, seen, given).await?;
        self.reject_with(who, id, reason, Some(&proof)).await
    }

    async fn reject_with(
        &self,
        who: &Principal,
        id: ProposalId,
        reason: &str,
        proof: Option<&Proof>,
    ) -> Result<Proposed, Trouble> {
        needs(who, Right::Decide)?;
        // A no is taken from whoever may decide, signed or not: it only ever stops.
        self.decide_on(who, id, |proposal| {
            let ending = self.ending(who, reason);
            let words = format!("rejected by {}", who.name);
            let told = notice(proposal, NoticeKind::Decided, ending.at, &words);
            let rejected = Change::reject(proposal, ending, Some(told));
            rejected
                .map(|(change, next)| (proven(change, proof), next))
                .map_err(wrong_state)
        })
        .await
        .map(shown)
    }

    /// The proposer, or an operator, takes it back: what is not committed, and what was committed
    /// as long as nothing of it ever left.
    pub async fn cancel(&self, who: &Principal, id: ProposalId) -> Result<Proposed, Trouble> {
        self.decide_on(who, id, |proposal| {
            let own = who.agent.as_ref() == Some(&proposal.fixed.agent);
            if !own {
                needs(who, Right::Operate)?;
            }
            let ending = self.ending(who, "cancelled");
            let told = (proposal.state == State::Held).then(|| {
                let words = format!("cancelled by {}", who.name);
                notice(proposal, NoticeKind::Decided, ending.at, &words)
            });
            Change::cancel(proposal, ending, told).map_err(wrong_state)
        })
        .await
        .map(shown)
    }

    /// An operator's word on an attempt in doubt that no machine can settle.
    pub async fn settle(
        &self,
        who: &Principal,
        id: ProposalId,
        word: Word,
        reason: &str,
    ) -> Result<Proposed, Trouble> {
        needs(who, Right::Operate)?;
        let words: String = reason.chars().take(MAX_WORDS).collect();
        let settled = self
            .decide_on(who, id, |proposal| {
                if proposal.state != State::InDoubt {
                    return Err(Trouble::WrongState(proposal.state));
                }
                let now = self.ports().ambient.now();
                let told = json!({"settled_by": who.id, "words": words});
                match word {
                    Word::Executed => {
                        let receipt = Receipt {
                            provider_id: None,
                            provider_state: None,
                            reversed: false,
                            settled_unreadable: false,
                            settled_minor: None,
                            result: told,
                            blocks: serde_json::Value::Null,
                        };
                        Change::confirm(proposal, receipt, now, &who.id).map_err(wrong_state)
                    }
                    Word::Failed => {
                        Change::undone_by_word(proposal, &words, now, &who.id).map_err(wrong_state)
                    }
                }
            })
            .await?;
        self.learn_prompt(&settled).await;
        Ok(shown(self.seen_by(who, settled).await))
    }

    /// Reads, checks, writes; again if somebody else wrote in between.
    async fn decide_on(
        &self,
        who: &Principal,
        id: ProposalId,
        decide: impl Fn(&Proposal) -> Result<(Change, Proposal), Trouble>,
    ) -> Result<Proposal, Trouble> {
        let timer = Timer::start();
        for _ in 0..TRIES {
            let proposal = self.visible(who, id).await?;
            let (change, next) = decide(&proposal)?;
            if self.decided(change, &next, &timer).await? {
                return Ok(next);
            }
        }
        Err(Trouble::Changed)
    }

    /// Writes a decision. `false` if what it was decided on has moved.
    async fn decided(
        &self,
        change: Change,
        next: &Proposal,
        timer: &Timer,
    ) -> Result<bool, Trouble> {
        let guarded: Vec<_> = change
            .rows()
            .guards
            .iter()
            .map(|on| on.key.clone())
            .collect();
        match self.ports().store.apply(change).await {
            Ok(_) => {
                self.memory().wrote(next);
                measure::person(next, timer);
                Ok(true)
            }
            Err(ApplyError::Conflict(Conflict::Stale)) => Ok(false),
            Err(ApplyError::Conflict(Conflict::DocChanged(key))) if guarded.contains(&key) => {
                self.memory().forget_doc(&key);
                Ok(false)
            }
            Err(ApplyError::Conflict(_)) => Err(Trouble::Changed),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    fn ending(&self, who: &Principal, reason: &str) -> Ending {
        let reason: String = reason.chars().take(MAX_WORDS).collect();
        Ending {
            by: who.id.clone(),
            at: self.ports().ambient.now(),
            reason,
        }
    }
}

/// Whether the caller's role allows it at all, before anything is said about the rest.
pub fn needs(who: &Principal, right: Right) -> Result<(), Trouble> {
    if who.may(right) {
        Ok(())
    } else {
        Err(Trouble::Forbidden { roles: who.roles })
    }
}

/// Whether an approval of `who` is one that counts: of whom the policies name, signed where they
/// say so. A no needs no such standing.
fn fulfils(who: &Principal, asked: &Asked, proof: Option<&Proof>) -> Result<(), Trouble> {
    let approver = Approver {
        roles: who.roles,
        person: who.person.as_ref().map(ToString::to_string),
        signed: proof.is_some(),
    };
    Err(match asked.unmet(&approver) {
        None => return Ok(()),
        Some(Unmet::NoDecider) => Trouble::Forbidden { roles: who.roles },
        Some(Unmet::NoPerson) => Trouble::PersonNeeded,
        Some(Unmet::NotAmong(names)) => Trouble::NotAmongApprovers(names),
        Some(Unmet::Unsigned) => Trouble::PasskeyRequired,
    })
}

/// A change that tells which approvals were given and do not count any more.
fn not_counted(change: Change, lost: &[(String, String)]) -> Change {
    let lost = lost.iter().map(|(by, why)| json!({"by": by, "why": why}));
    let lost: Vec<_> = lost.collect();
    match lost.is_empty() {
        true => change,
        false => change.telling("not_counted", lost.into()),
    }
}

/// A change that tells of the signature it was made with, and uses it up.
fn proven(change: Change, proof: Option<&Proof>) -> Change {
    match proof {
        Some(proof) => change
            .noting(proof.used.clone())
            .telling(FIELD, serde_json::json!(proof.signed)),
        None => change,
    }
}

fn wrong_state(illegal: Illegal) -> Trouble {
    Trouble::WrongState(illegal.state)
}

fn shown(proposal: Proposal) -> Proposed {
    Proposed {
        proposal,
        token: None,
        replayed: false,
        stored: true,
        retry_after_secs: None,
    }
}
