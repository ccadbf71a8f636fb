//! Everything that can be written, as one value: whole or not at all.
//!
//! A [`Change`] comes only from the named constructors here, so the rules of what goes together
//! (a claim burns its nonce, stores its intent and its audit record; a settlement posts or voids)
//! are kept in one place and no store holds one. A store applies the [`Rows`] of a change under
//! their conditions, and knows nothing else.
//!
//! Besides proposals there are *documents*: small versioned JSON records (policies, freezes,
//! keys, pins, baselines, seen webhooks). A write names the version it read; version 0 is
//! "must not exist". A change can also *guard* a document: it is applied only if the document
//! still has the version that the decision was based on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::above::{Above, SETTLED_ABOVE_RESERVED, SETTLED_UNREADABLE, UNREADABLE};
use super::audit::names::{Decided, Decision, RecordKind, Recorded};
use super::call::{Call, ProviderError, Receipt};
use super::document::Document;
use super::errands::Errand;
use super::ids::{AgentId, AttemptId, CommitId, Nonce, OrgId, ProposalId, ToolName};
use super::money::{Currency, Effective};
use super::notice::{Notice, NoticeKind};
use super::proposal::{
    Approval, Doubt, Ending, Event, Execution, LiveToken, Origin, Proposal, Settled, State, Undone,
};
use super::requests::rows::Beside;
use super::time::{Day, Timestamp};
use super::token::{ACCEPTED_SKEW_SECS, Verified};

/// Names one document.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DocKey {
    /// What it is, as a [`Document`](super::document::Document) type says.
    pub kind: String,
    /// Whose.
    pub org: OrgId,
    /// Which.
    pub id: String,
}

impl DocKey {
    /// A key.
    pub fn new(kind: &str, org: &OrgId, id: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            org: org.clone(),
            id: id.into(),
        }
    }
}

/// A stored document.
#[derive(Clone, PartialEq, Debug)]
pub struct Doc {
    /// Its name.
    pub key: DocKey,
    /// Counts writes, from 1. A deleted document reads as absent, version 0; made anew, it goes
    /// on counting, so that no guard can take it for the earlier one.
    pub version: u64,
    /// What it says.
    pub body: Value,
}

/// Writes one document if it still has the version that was read.
#[derive(Clone, PartialEq, Debug)]
pub struct DocWrite {
    /// Which.
    pub key: DocKey,
    /// The version read; 0 is "must not exist"; `None` writes whatever is there.
    pub expect: Option<u64>,
    /// The new body; `None` deletes.
    pub body: Option<Value>,
}

/// A document that the decision was based on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// Which.
    pub key: DocKey,
    /// The version it must still have; 0 is "must not exist".
    pub version: u64,
}

/// What happens to one reservation. There is one row per proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BudgetMove {
    /// Hold `amount` for `day`, unless pending plus posted would then be over `limit`.
    Reserve {
        /// Which pot.
        pot: Pot,
        /// Minor units; 0 where only the settlement will tell.
        amount: i64,
        /// `None` keeps the books without a limit.
        limit: Option<i64>,
    },
    /// pending -> posted, with the settled amount. Nothing to do if it is not pending.
    Post {
        /// Minor units that left.
        settled: i64,
    },
    /// pending or posted -> void: exactly what was reserved or posted comes back, once.
    Void,
}

/// One day's budget of one agent.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Pot {
    /// Whose organisation.
    pub org: OrgId,
    /// Whose budget.
    pub agent: AgentId,
    /// The day in the budget time zone.
    pub day: Day,
    /// In this currency.
    pub currency: Currency,
}

/// One audit record. The store gives it its sequence number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// Where.
    pub org: OrgId,
    /// What happened.
    pub kind: Recorded<RecordKind>,
    /// What was decided, if anything was.
    pub decision: Decided,
    /// The stable code, or empty.
    pub reason: String,
    /// Who caused it.
    pub actor: String,
    /// The agent concerned.
    pub agent: Option<AgentId>,
    /// The proposal concerned.
    pub proposal: Option<ProposalId>,
    /// The tool concerned.
    pub tool: Option<ToolName>,
    /// The provider's id, where known.
    pub payout: Option<String>,
    /// Minor units concerned.
    pub amount: Option<i64>,
    /// Their currency.
    pub currency: Option<Currency>,
    /// The rest, without secrets.
    pub detail: Value,
}

impl Record {
    /// A record about nothing in particular yet.
    pub fn new(at: Timestamp, org: &OrgId, kind: RecordKind, actor: &str) -> Self {
        Self {
            at,
            org: org.clone(),
            kind: kind.into(),
            decision: Decided::default(),
            reason: String::new(),
            actor: actor.to_owned(),
            agent: None,
            proposal: None,
            tool: None,
            payout: None,
            amount: None,
            currency: None,
            detail: Value::Null,
        }
    }

    /// A record about a proposal.
    pub fn about(proposal: &Proposal, at: Timestamp, kind: RecordKind, actor: &str) -> Self {
        let fixed = &proposal.fixed;
        Self {
            agent: Some(fixed.agent.clone()),
            proposal: Some(fixed.id),
            tool: Some(fixed.tool.clone()),
            amount: match fixed.effective {
                Effective::Amount(money) => Some(money.minor),
                Effective::Nothing | Effective::Unbounded(_) => None,
            },
            currency: fixed.effective.currency(),
            ..Self::new(at, &fixed.org, kind, actor)
        }
    }

    /// The same with a decision and its code.
    pub fn deciding(mut self, decision: Decision, reason: &str) -> Self {
        self.decision = decision.into();
        self.because(reason)
    }

    /// The same with a code, where nothing was decided.
    pub fn because(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.reason);
        self
    }

    /// The same with more to tell.
    pub fn with(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}

/// What a store writes, and under which conditions. Conditions are checked in the order of the
/// fields; the first that fails is the conflict, and then nothing of the change is written.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rows {
    /// Documents that must be as they were.
    pub guards: Vec<Guard>,
    /// A proposal that must not exist yet. If it has an idempotency key, `(org, agent, key)`
    /// must be free as well.
    pub insert: Option<Box<Proposal>>,
    /// The new value of a proposal whose stored version must be `version - 1`.
    pub update: Option<Box<Proposal>>,
    /// A nonce that must never have been burned, and until when (epoch seconds) it is kept.
    pub burn: Option<(Nonce, i64)>,
    /// What happens to the proposal's reservation (of `insert` or `update`), or to that of
    /// `budget_of`.
    pub budget: Option<BudgetMove>,
    /// Whose reservation it is, where no proposal is written: an attempt's at a model.
    pub budget_of: Option<ProposalId>,
    /// Documents to write.
    pub docs: Vec<DocWrite>,
    /// What is written beside the documents, in order.
    pub besides: Vec<Beside>,
    /// Audit records, in order.
    pub records: Vec<Record>,
    /// Messages for the outbox.
    pub notices: Vec<Notice>,
}

/// Why a change was not applied. Nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The proposal has another version than the one the change was made from, or exists already.
    #[error("the proposal changed meanwhile")]
    Stale,
    /// The nonce was burned before.
    #[error("the nonce was burned before")]
    NonceBurned,
    /// The caller's idempotency key already names this proposal.
    #[error("the idempotency key already names {0}")]
    KeyTaken(ProposalId),
    /// The reservation would go over the limit; so much is taken already.
    #[error("the budget has {taken} of {limit} taken")]
    OverBudget {
        /// Pending plus posted, minor units.
        taken: i64,
        /// The limit, minor units.
        limit: i64,
    },
    /// A document has another version.
    #[error("the document {}/{} changed meanwhile", .0.kind, .0.id)]
    DocChanged(DocKey),
}

/// What the store wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Sequence number of the first record; 0 if there was none.
    pub first_seq: i64,
}

/// A change that only the constructors here can make.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    rows: Arc<Rows>,
}

/// The event is illegal in the state the proposal is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a proposal that is {} cannot be {event:?}", state.name())]
pub struct Illegal {
    /// Where it stands.
    pub state: State,
    /// What was tried.
    pub event: Event,
}

/// The right to send one order once: its nonce is spent and its intent durable. Not `Clone`, and
/// made only from a claim that a store has applied, so it can be neither doubled nor early.
#[derive(Debug)]
pub struct Claim {
    proposal: Proposal,
}

impl Claim {
    /// The proposal as the claim left it.
    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    /// What to send.
    pub fn call(&self) -> Option<&Call> {
        self.proposal
            .execution
            .as_ref()
            .map(|execution| &execution.call)
    }
}

/// A claim that waits for a store. [`PendingClaim::granted`] turns it into the right to send.
#[derive(Debug)]
pub struct PendingClaim {
    proposal: Proposal,
}

impl PendingClaim {
    /// The store has applied the claim.
    pub fn granted(self, _applied: &Applied) -> Claim {
        Claim {
            proposal: self.proposal,
        }
    }
}

impl Change {
    /// The rows, for a store.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The rows, for a store that takes them. They are shared: whoever must ask again what became
    /// of a change keeps a copy of it.
    pub fn into_rows(self) -> Arc<Rows> {
        self.rows
    }

    /// Admits a proposal in the state governance gave it, with its reservation, its record and
    /// what people should hear.
    pub fn admit(
        proposal: Proposal,
        reserve: Option<BudgetMove>,
        guards: Vec<Guard>,
        docs: Vec<DocWrite>,
        record: Record,
        notice: Option<Notice>,
    ) -> Self {
        Self {
            rows: Arc::new(Rows {
                guards,
                insert: Some(Box::new(proposal)),
                budget: reserve,
                docs,
                records: vec![record],
                notices: notice.into_iter().collect(),
                ..Rows::default()
            }),
        }
    }

    /// One more person agrees; with the last one the proposal is allowed, and where its policy has
    /// the broker commit it, that is written down as an errand.
    pub fn approve(
        proposal: &Proposal,
        approval: Approval,
        notice: Option<Notice>,
    ) -> Result<(Self, Proposal), Illegal> {
        let mut next = proposal.clone();
        let (by, at) = (approval.by.clone(), approval.at);
        next.moving.approvals.push(approval);
        let given = u32::try_from(next.moving.approvals.len()).unwrap_or(u32::MAX);
        let enough = given >= proposal.approvals_needed();
        // An approval in any state but `held` is illegal, whether or not it is the last.
        let allowed = step(proposal, Event::Approved)?;
        next.state = if enough { allowed } else { proposal.state };
        let record = Record::about(proposal, at, RecordKind::Approved, &by)
            .deciding(
                if enough {
                    Decision::Approved
                } else {
                    Decision::Held
                },
                "APPROVAL_REQUIRED",
            )
            .with(serde_json::json!({"given": given, "needed": proposal.approvals_needed()}));
        let fixed = Arc::clone(&next.fixed);
        let (mut change, next) = Self::moved(next, None, record, notice);
        let agents_own = fixed.origin == Origin::Agent;
        if next.state == State::Allowed && fixed.execute_on_approval && agents_own {
            let errand = Errand { at }.write(&fixed.org, &fixed.id, None);
            Arc::make_mut(&mut change.rows).docs.push(errand);
        }
        Ok((change, next))
    }

    /// A person says no; the budget comes back.
    pub fn reject(
        proposal: &Proposal,
        ending: Ending,
        notice: Option<Notice>,
    ) -> Result<(Self, Proposal), Illegal> {
        let told = (RecordKind::Rejected, Some(Decision::Rejected));
        Self::end(proposal, Event::Rejected, ending, told, notice)
    }

    /// The proposer or an operator takes it back; the budget comes back. Also what was claimed, as
    /// long as nothing of it ever left.
    pub fn cancel(
        proposal: &Proposal,
        ending: Ending,
        notice: Option<Notice>,
    ) -> Result<(Self, Proposal), Illegal> {
        let event = if proposal.is_unsent() {
            Event::Recalled
        } else {
            Event::Withdrawn
        };
        Self::end(
            proposal,
            event,
            ending,
            (RecordKind::Cancelled, None),
            notice,
        )
    }

    /// Its time ran out; the budget comes back.
    pub fn lapse(
        proposal: &Proposal,
        ending: Ending,
        notice: Option<Notice>,
    ) -> Result<(Self, Proposal), Illegal> {
        let told = (RecordKind::Expired, None);
        Self::end(proposal, Event::Lapsed, ending, told, notice)
    }

    fn end(
        proposal: &Proposal,
        event: Event,
        ending: Ending,
        (kind, decision): (RecordKind, Option<Decision>),
        notice: Option<Notice>,
    ) -> Result<(Self, Proposal), Illegal> {
        let mut next = proposal.clone();
        next.state = step(proposal, event)?;
        next.moving.token = None;
        let mut record = Record::about(proposal, ending.at, kind, &ending.by)
            .with(serde_json::json!({"words": ending.reason}));
        record.decision = decision.into();
        next.moving.ending = Some(ending);
        Ok(Self::moved(next, Some(BudgetMove::Void), record, notice))
    }

    /// Puts out a new token, which retires the one before.
    pub fn renew(
        proposal: &Proposal,
        token: LiveToken,
        at: Timestamp,
        actor: &str,
    ) -> Result<(Self, Proposal), Illegal> {
        // Renewal is for what could be claimed: nothing else has a live token.
        step(proposal, Event::Claimed)?;
        let mut next = proposal.clone();
        let detail = serde_json::json!({"token_id": token.token_id, "kid": token.kid});
        next.moving.token = Some(token);
        let record = Record::about(proposal, at, RecordKind::Renewed, actor).with(detail);
        Ok(Self::moved(next, None, record, None))
    }

    /// Takes the right to send: burns the nonce, stores the intent, moves to `committing`, all
    /// under the guards that the recheck was based on.
    pub fn claim(
        proposal: &Proposal,
        verified: &Verified,
        intent: Intent,
        guards: Vec<Guard>,
        actor: &str,
    ) -> Result<(Self, PendingClaim), Illegal> {
        let claims = verified.claims();
        let mut next = proposal.clone();
        next.state = step(proposal, Event::Claimed)?;
        next.version += 1;
        next.moving.token = None;
        let keep_until = claims.expires_at.saturating_add(ACCEPTED_SKEW_SECS);
        let record = Record::about(proposal, intent.at, RecordKind::Claimed, actor)
            .deciding(Decision::Approved, "")
            .with(serde_json::json!({
                "commit_id": intent.commit_id,
                "token_id": claims.token_id,
                "args_hash": proposal.fixed.args_hash,
            }));
        next.execution = Some(Execution {
            commit_id: intent.commit_id,
            nonce: claims.nonce,
            nonce_kept_until: keep_until,
            idempotency_key: intent.idempotency_key,
            call: intent.call,
            claimed_at: intent.at,
            lease_until: intent.lease_until,
            attempts: 0,
            last_sent: intent.at,
            outcome: None,
            doubt: None,
            unsent: false,
            needs_person: false,
            contradictions: Vec::new(),
        });
        let rows = Rows {
            guards,
            update: Some(Box::new(next.clone())),
            burn: Some((claims.nonce, keep_until)),
            records: vec![record],
            ..Rows::default()
        };
        let rows = Arc::new(rows);
        Ok((Self { rows }, PendingClaim { proposal: next }))
    }

    /// The same change, whole with these documents or not at all.
    pub fn noting(mut self, docs: Vec<DocWrite>) -> Self {
        if !docs.is_empty() {
            Arc::make_mut(&mut self.rows).docs.extend(docs);
        }
        self
    }

    /// The same change, only if these documents are still as they were.
    pub fn guarded(mut self, guards: Vec<Guard>) -> Self {
        if !guards.is_empty() {
            Arc::make_mut(&mut self.rows).guards.extend(guards);
        }
        self
    }

    /// The same change, whose last record tells one thing more.
    pub fn telling(mut self, name: &str, value: Value) -> Self {
        if let Some(record) = Arc::make_mut(&mut self.rows).records.last_mut() {
            if record.detail.is_null() {
                record.detail = Value::Object(serde_json::Map::new());
            }
            if let Some(detail) = record.detail.as_object_mut() {
                detail.insert(name.to_owned(), value);
            }
        }
        self
    }

    /// A clear yes: posts what the provider settled.
    pub fn confirm(
        proposal: &Proposal,
        receipt: Receipt,
        at: Timestamp,
        actor: &str,
    ) -> Result<(Self, Proposal), Illegal> {
        let mut next = proposal.clone();
        next.state = step(proposal, Event::Confirmed)?;
        let settled = settled_minor(&receipt, &proposal.fixed.effective);
        let above = Above::of(&proposal.fixed.effective, &receipt);
        let mut record =
            Record::about(proposal, at, RecordKind::Executed, actor).with(serde_json::json!({
                "provider_state": receipt.provider_state, "settled_minor": settled,
            }));
        record.payout.clone_from(&receipt.provider_id);
        let alert = |code: &str, words: &str| Notice {
            reason: code.to_owned(),
            ..Notice::about(proposal, NoticeKind::Alert, at, words)
        };
        let told = match above {
            Some(above) => {
                record.reason = SETTLED_ABOVE_RESERVED.to_owned();
                record.detail["reserved_minor"] = above.reserved.into();
                Some(alert(SETTLED_ABOVE_RESERVED, &above.words()))
            }
            None if receipt.settled_unreadable => {
                record.reason = SETTLED_UNREADABLE.to_owned();
                Some(alert(SETTLED_UNREADABLE, UNREADABLE))
            }
            None => None,
        };
        set_outcome(&mut next, Settled::Executed(receipt));
        let budget = proposal.fixed.effective.moves_money();
        let budget = budget.then_some(BudgetMove::Post {
            settled: settled.unwrap_or(0),
        });
        Ok(Self::moved(next, budget, record, told))
    }

    /// A clear no: the budget comes back.
    pub fn refuse(
        proposal: &Proposal,
        error: ProviderError,
        at: Timestamp,
        actor: &str,
    ) -> Result<(Self, Proposal), Illegal> {
        let mut next = proposal.clone();
        next.state = step(proposal, Event::Refused)?;
        let record = Record::about(proposal, at, RecordKind::Failed, actor)
            .because("provider_refused")
            .with(serde_json::json!({"code": error.code, "description": error.description}));
        set_outcome(&mut next, Settled::Refused(error));
        Ok(Self::moved(next, Some(BudgetMove::Void), record, None))
    }

    /// A person saw that there is no effect; the budget comes back.
    pub fn undone_by_word(
        proposal: &Proposal,
        words: &str,
        at: Timestamp,
        actor: &str,
    ) -> Result<(Self, Proposal), Illegal> {
        Self::undo(
            proposal,
            (Event::Refused, Undone::Settled),
            words,
            at,
            actor,
        )
    }

    /// Its time ran out before the provider could be reached; the budget comes back. Illegal unless
    /// it is proven that nothing ever left.
    pub fn unreached(
        proposal: &Proposal,
        words: &str,
        at: Timestamp,
    ) -> Result<(Self, Proposal), Illegal> {
        if !proposal.is_unsent() {
            return Err(Illegal {
                state: proposal.state,
                event: Event::Unreached,
            });
        }
        let how = (Event::Unreached, Undone::Unreachable);
        Self::undo(proposal, how, words, at, "hundi")
    }

    fn undo(
        proposal: &Proposal,
        (event, cause): (Event, Undone),
        words: &str,
        at: Timestamp,
        actor: &str,
    ) -> Result<(Self, Proposal), Illegal> {
        let mut next = proposal.clone();
        next.state = step(proposal, event)?;
        let record = Record::about(proposal, at, RecordKind::Failed, actor)
            .because(cause.code())
            .with(serde_json::json!({"code": cause.code(), "description": words}));
        let words = words.to_owned();
        set_outcome(&mut next, Settled::Undone { cause, words });
        Ok(Self::moved(next, Some(BudgetMove::Void), record, None))
    }

    /// No clear answer: in doubt, to be asked about again at `ask_at`.
    pub fn doubt(
        proposal: &Proposal,
        doubt: impl Into<Doubt>,
        at: Timestamp,
        ask_at: Timestamp,
        notice: Option<Notice>,
    ) -> Result<(Self, Proposal), Illegal> {
        let mut next = proposal.clone();
        let doubt = doubt.into();
        let first = proposal.state == State::Committing;
        if first {
            next.state = step(proposal, Event::Lost)?;
        } else if proposal.state != State::InDoubt {
            return Err(Illegal {
                state: proposal.state,
                event: Event::Lost,
            });
        }
        if let Some(execution) = next.execution.as_mut() {
            execution.doubt = Some(doubt.why.clone());
            execution.unsent = doubt.unsent;
            execution.needs_person = doubt.needs_person;
            execution.lease_until = ask_at;
        }
        let told = serde_json::json!({"why": doubt.why, "sent": !doubt.unsent});
        let record = Record::about(proposal, at, RecordKind::InDoubt, "hundi").with(told);
        let (mut change, next) = Self::moved(next, None, record, notice);
        if !first {
            Arc::make_mut(&mut change.rows).records.clear();
        }
        Ok((change, next))
    }

    /// Takes over an unsettled attempt until `lease_until`, so that nobody else acts on it.
    /// `sending` says that the call is about to be sent, again or for the first time: until that
    /// has ended, nobody can say any more that nothing left.
    pub fn lease(
        proposal: &Proposal,
        lease_until: Timestamp,
        now: Timestamp,
        sending: bool,
    ) -> Result<(Self, Proposal), Illegal> {
        Self::leased(proposal, lease_until, |execution| {
            execution.attempts = execution.attempts.saturating_add(1);
            // A sending in the future was noted before the clock stepped back: it counts from
            // now, or nothing would be sent again until the clock has caught up.
            let last = if sending {
                now
            } else {
                execution.last_sent.min(now)
            };
            execution.last_sent = last;
            execution.unsent &= !sending;
        })
    }

    /// Prolongs the lease of whoever holds it, while its call is under way. No attempt of its own.
    pub fn keep(proposal: &Proposal, lease_until: Timestamp) -> Result<(Self, Proposal), Illegal> {
        Self::leased(proposal, lease_until, |_| {})
    }

    fn leased(
        proposal: &Proposal,
        lease_until: Timestamp,
        note: impl FnOnce(&mut Execution),
    ) -> Result<(Self, Proposal), Illegal> {
        let unsettled = matches!(proposal.state, State::Committing | State::InDoubt);
        let mut next = proposal.clone();
        match next.execution.as_mut() {
            Some(execution) if unsettled => {
                execution.lease_until = lease_until;
                note(execution);
            }
            _ => {
                return Err(Illegal {
                    state: proposal.state,
                    event: Event::Lost,
                });
            }
        }
        next.version += 1;
        let rows = Rows {
            update: Some(Box::new(next.clone())),
            ..Rows::default()
        };
        let rows = Arc::new(rows);
        Ok((Self { rows }, next))
    }

    /// The provider took back what it had confirmed: the budget comes back, once.
    pub fn take_back(
        proposal: &Proposal,
        receipt: Receipt,
        at: Timestamp,
        actor: &str,
        notice: Option<Notice>,
    ) -> Result<(Self, Proposal), Illegal> {
        let mut next = proposal.clone();
        next.state = step(proposal, Event::TakenBack)?;
        let mut record = Record::about(proposal, at, RecordKind::Reversed, actor)
            .with(serde_json::json!({"provider_state": receipt.provider_state}));
        record.payout.clone_from(&receipt.provider_id);
        set_outcome(&mut next, Settled::Executed(receipt));
        Ok(Self::moved(next, Some(BudgetMove::Void), record, notice))
    }

    /// The provider tells that what it had taken on has arrived. The outcome stays what it was;
    /// what is shown of it grows by what the provider shows now.
    pub fn arrive(
        proposal: &Proposal,
        receipt: &Receipt,
        at: Timestamp,
        actor: &str,
    ) -> Result<(Self, Proposal), Illegal> {
        let illegal = Illegal {
            state: proposal.state,
            event: Event::Confirmed,
        };
        let outcome = proposal.outcome();
        let Some(Settled::Executed(kept)) = outcome.filter(|_| proposal.state == State::Executed)
        else {
            return Err(illegal);
        };
        let mut kept = kept.clone();
        kept.provider_state.clone_from(&receipt.provider_state);
        if let (Some(kept), Some(now)) = (kept.result.as_object_mut(), receipt.result.as_object()) {
            kept.extend(now.clone());
        }
        let mut record = Record::about(proposal, at, RecordKind::Arrived, actor)
            .with(serde_json::json!({"provider_state": receipt.provider_state}));
        record.payout.clone_from(&kept.provider_id);
        let mut next = proposal.clone();
        set_outcome(&mut next, Settled::Executed(kept));
        Ok(Self::moved(next, None, record, None))
    }

    /// Evidence that contradicts a settled outcome: kept and reported, and nothing moves.
    pub fn contradict(
        proposal: &Proposal,
        evidence: Value,
        at: Timestamp,
        actor: &str,
        notice: Notice,
    ) -> (Self, Proposal) {
        let mut next = proposal.clone();
        let mut record =
            Record::about(proposal, at, RecordKind::Contradicted, actor).with(evidence.clone());
        let payout = evidence.get("provider_id").and_then(Value::as_str);
        record.payout = payout.map(str::to_owned);
        if let Some(execution) = next.execution.as_mut() {
            execution.contradictions.push(evidence);
        }
        Self::moved(next, None, record, Some(notice))
    }

    /// Writes documents and what they mean for the audit, whole or not at all.
    pub fn documents(
        docs: Vec<DocWrite>,
        guards: Vec<Guard>,
        records: Vec<Record>,
        notices: Vec<Notice>,
    ) -> Self {
        Self {
            rows: Arc::new(Rows {
                guards,
                docs,
                records,
                notices,
                ..Rows::default()
            }),
        }
    }

    /// Moves a request to a model on: its documents, what is written beside them, what happens to
    /// the money of one attempt, and what the audit log tells of it.
    pub fn request(
        guards: Vec<Guard>,
        docs: Vec<DocWrite>,
        besides: Vec<Beside>,
        money: Option<(AttemptId, BudgetMove)>,
        records: Vec<Record>,
    ) -> Self {
        let (budget_of, budget) = money.unzip();
        Self {
            rows: Arc::new(Rows {
                guards,
                docs,
                besides,
                budget,
                budget_of: budget_of.map(|id| ProposalId::from_uuid(id.uuid())),
                records,
                ..Rows::default()
            }),
        }
    }

    /// Records what happened where nothing else is written (a refused commit, a forged webhook).
    pub fn record(record: Record, notice: Option<Notice>) -> Self {
        let notices = notice.into_iter().collect();
        Self {
            rows: Arc::new(Rows {
                records: vec![record],
                notices,
                ..Rows::default()
            }),
        }
    }

    fn moved(
        mut next: Proposal,
        budget: Option<BudgetMove>,
        record: Record,
        notice: Option<Notice>,
    ) -> (Self, Proposal) {
        next.version += 1;
        let rows = Rows {
            update: Some(Box::new(next.clone())),
            budget,
            records: vec![record],
            notices: notice.into_iter().collect(),
            ..Rows::default()
        };
        let rows = Arc::new(rows);
        (Self { rows }, next)
    }
}

/// What a claim makes durable before anything is sent.
#[derive(Clone, PartialEq, Debug)]
pub struct Intent {
    /// Names the attempt.
    pub commit_id: CommitId,
    /// The provider's idempotency key.
    pub idempotency_key: String,
    /// Exactly what will be sent.
    pub call: Call,
    /// When.
    pub at: Timestamp,
    /// Until when only this node acts on it.
    pub lease_until: Timestamp,
}

fn step(proposal: &Proposal, event: Event) -> Result<State, Illegal> {
    proposal.state.after(event).ok_or(Illegal {
        state: proposal.state,
        event,
    })
}

/// What left, for the books: the provider's figure, else what was proposed at most. `None` where
/// everything there is was let go and nobody said how much that was.
fn settled_minor(receipt: &Receipt, effective: &Effective) -> Option<i64> {
    receipt.settled_minor.or(match effective {
        Effective::Nothing => Some(0),
        Effective::Amount(money) => Some(money.minor),
        Effective::Unbounded(_) => None,
    })
}

fn set_outcome(proposal: &mut Proposal, outcome: Settled) {
    if let Some(execution) = proposal.execution.as_mut() {
        execution.outcome = Some(outcome);
        execution.doubt = None;
        execution.unsent = false;
        execution.needs_person = false;
    }
}
