//! Payouts that somebody else made at the bank, and that wait there: governed once, and decided in
//! the broker's own name.
//!
//! A case is opened once per payout and state, whether a webhook or a list showed it first, and
//! stays until it is closed, so that a stopped process goes on where it was. Everything that
//! happens goes through propose and commit: approving is a proposal under the policy of the
//! *configured* agent, whatever the payout's notes say about its agent, because its maker wrote
//! them. Refused ones are turned down at the bank with the reason. Held ones wait for people.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Bank;
use super::webhook::{Came, NOT_WAITING, actor};
use crate::broker::core::{Committed, ProposeRequest, Trouble};
use crate::broker::pay::cases::{Case, CaseId, LetGo};
use crate::connector::bank::{Step, Waiting};
use crate::connector::registry;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::change::{Change, Record};
use crate::domain::document::{Document, Stored};
use crate::domain::ids::{OrgId, ProposalId};
use crate::domain::notice::NoticeKind;
use crate::domain::principal::{Principal, Role};
use crate::domain::proposal::{Origin, Proposal, Settled, State, Undone};
use crate::domain::reason::{Reason, Refusal};
use crate::domain::time::Timestamp;
use crate::store::ApplyError;

/// The payout is known in the state it is shown in.
const KNOWN: Came = Came::Nothing("IDEMPOTENT_SKIP", "this payout was heard of in this state");
/// Pause before a case that a freeze or a rate limit stopped is looked at again.
const PAUSE_SECS: i64 = 10;
/// Cases worked on per turn.
pub(super) const BATCH: usize = 200;

/// The mark that there was a case. Named as the case is; one that could not be governed has a name of
/// its own.
#[derive(Serialize, Deserialize)]
struct CaseSeen {
    at: Timestamp,
    heard: String,
    /// Why it could not be governed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unusable: Option<String>,
}

impl Document for CaseSeen {
    const KIND: &'static str = "case_seen";
    const CACHED: bool = false;
    type Id = str;
}

/// Where a case stands after one look.
enum Look {
    /// Nothing to do before somebody or something else has acted.
    Waits,
    /// Try again with a new proposal, not before so many seconds.
    Again(i64),
    /// Go on with the same proposal, not before so many seconds.
    Pause(i64),
    /// Done. The proposal that let the payout go, if one did.
    Closed(Option<ProposalId>),
}

impl Bank {
    /// Opens a case for a payout that waits at the bank, once.
    pub(super) async fn open_case(&self, payout: &Value, heard: &str) -> Result<Came, Trouble> {
        let now = self.ports().ambient.now();
        let waits = match registry::bank().waiting(payout) {
            Ok(Some(waits)) => waits,
            Ok(None) => return Ok(NOT_WAITING),
            Err(why) => return self.cannot_govern(payout, heard, why).await,
        };
        let org = OrgId::default();
        let id = CaseId {
            payout: waits.id,
            state: waits.state,
        };
        let case = Case {
            payout: payout.clone(),
            heard: heard.to_owned(),
            opened_at: now,
            attempt: 0,
            not_before: now,
        };
        let seen = CaseSeen {
            at: now,
            heard: heard.to_owned(),
            unusable: None,
        };
        let seen = seen.write(&org, &id.to_string(), Some(0));
        match self.write(vec![seen, case.write(&org, &id, None)]).await {
            Ok(()) => Ok(Came::Case),
            // Opened before, whoever showed it then.
            Err(Trouble::Changed) => Ok(KNOWN),
            Err(trouble) => Err(trouble),
        }
    }

    /// What to say of a payout that was a case in the state it is shown in.
    pub(super) async fn known(&self, payout: &Value) -> Result<Option<Came>, Trouble> {
        let text = |name: &str| payout.get(name).and_then(Value::as_str).unwrap_or_default();
        let name = format!("{}/{}", text("id"), text("status"));
        let seen = self.find::<CaseSeen>(&OrgId::default(), &name).await?;
        Ok(seen.map(|_| KNOWN))
    }

    /// Works on open cases. Returns how many there were.
    pub async fn work_cases(&self) -> Result<usize, Trouble> {
        let org = OrgId::default();
        let mut open = self.documents::<Case>(Some(&org)).await?;
        let now = self.ports().ambient.now();
        // Where the last turn ended, so that hundreds that wait for people hold up nobody else.
        let from = self.cases_from.fetch_add(BATCH, Ordering::Relaxed);
        if open.len() > BATCH {
            let from = from % open.len();
            open.rotate_left(from);
            open.truncate(BATCH);
        }
        let count = open.len();
        for stored in open.into_iter().flatten() {
            let case = &stored.value;
            // A pause far ahead was made by a clock that has stepped back since.
            if case.not_before > now && case.not_before < now.plus_secs(60 * PAUSE_SECS) {
                continue;
            }
            let look = match self.look_at(case).await {
                Ok(look) => look,
                Err(Trouble::StoreUnavailable) => return Err(Trouble::StoreUnavailable),
                Err(trouble) => self.case_failed(case, &trouble).await?,
            };
            self.after_look(stored, look).await?;
        }
        Ok(count)
    }

    async fn after_look(&self, stored: Stored<Case>, look: Look) -> Result<(), Trouble> {
        let mut docs = Vec::new();
        match look {
            Look::Waits => return Ok(()),
            Look::Again(secs) | Look::Pause(secs) => {
                let now = self.ports().ambient.now();
                let next = u32::from(matches!(look, Look::Again(_)));
                docs.push(stored.replace(&Case {
                    attempt: stored.value.attempt + next,
                    not_before: now.plus_secs(secs),
                    ..stored.value.clone()
                }));
            }
            Look::Closed(proposal) => {
                let id = stored.value.payout.get("id").and_then(Value::as_str);
                if let (Some(proposal), Some(id)) = (proposal, id) {
                    docs.push(LetGo { proposal }.write(&OrgId::default(), id, None));
                }
                docs.push(stored.remove());
            }
        }
        match self.write(docs).await {
            // Another node looked at the same moment, and came to the same.
            Ok(()) | Err(Trouble::Changed) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    async fn look_at(&self, case: &Case) -> Result<Look, Trouble> {
        let Ok(Some(waits)) = registry::bank().waiting(&case.payout) else {
            return Ok(Look::Closed(None));
        };
        // By this case's own proposal, or by an agent's before the case was opened.
        if let Some(proposal) = self.pay.letting_go(&waits.id).await? {
            return Ok(match proposal.state.is_settled() {
                true => Look::Closed(None),
                false => Look::Waits,
            });
        }
        let who = self.bank_principal();
        let Step { tool, arguments } = registry::bank().let_go(&waits);
        let request = ProposeRequest {
            tool: tool.to_owned(),
            arguments,
            idempotency_key: Some(case_name(&waits.id, waits.state, case.attempt)),
            origin: Origin::Bank,
            ..ProposeRequest::default()
        };
        self.ports().ambient.step("c1");
        // The same key gives the same proposal, so this is also how a case goes on.
        let answer = self.pay.propose(&who, request).await?;
        self.ports().ambient.step("c2");
        if !answer.replayed {
            self.record_case(&answer.proposal, case, &waits).await?;
        }
        let proposal = answer.proposal;
        match proposal.state {
            State::Allowed => self.carry_out_case(&who, proposal).await,
            State::Held | State::Committing | State::InDoubt => Ok(Look::Waits),
            State::Blocked if proposal.fixed.reason == Reason::Frozen => {
                Ok(Look::Again(PAUSE_SECS))
            }
            State::Blocked if proposal.fixed.reason == Reason::RateLimited => {
                let secs = answer.retry_after_secs.unwrap_or(0);
                Ok(Look::Again(i64::from(secs).max(PAUSE_SECS)))
            }
            State::Blocked => {
                let why = proposal.fixed.reason.code();
                self.turn_down(case, &waits, why).await
            }
            State::Rejected | State::Cancelled => {
                self.turn_down(case, &waits, "rejected by an approver")
                    .await
            }
            State::Expired if proposal.fixed.approvals_needed > 0 => {
                self.turn_down(case, &waits, "nobody approved it in time")
                    .await
            }
            // Allowed, and this process was down until it lapsed.
            State::Expired => Ok(Look::Again(0)),
            State::Executed | State::Reversed => Ok(Look::Closed(Some(proposal.fixed.id))),
            // Decided, and never sent: decided anew once the bank can be reached.
            State::Failed if never_reached(&proposal) => Ok(Look::Again(PAUSE_SECS)),
            State::Failed => Ok(Look::Closed(None)),
        }
    }

    /// Commits. What became of it shows at the next look.
    async fn carry_out_case(&self, who: &Principal, proposal: Proposal) -> Result<Look, Trouble> {
        let id = proposal.fixed.id;
        match self.pay.commit_as(who, proposal).await? {
            Committed::Settled(_) | Committed::InDoubt(_) => Ok(Look::Waits),
            Committed::Refused { refusal, .. } => match refusal {
                Refusal::Frozen => Ok(Look::Pause(PAUSE_SECS)),
                // What it was decided on is gone, so it is decided anew.
                Refusal::PolicyChanged | Refusal::ToolChanged | Refusal::PreconditionFailed => {
                    self.pay.cancel(who, id).await?;
                    Ok(Look::Again(0))
                }
                // Somebody else, on another node or recovering, is on it.
                Refusal::BadSignature
                | Refusal::Expired
                | Refusal::UnknownProposal
                | Refusal::ArgsHashMismatch
                | Refusal::NonceReplay
                | Refusal::NotApproved
                | Refusal::SupersededToken => Ok(Look::Pause(1)),
            },
        }
    }

    /// Turns it down at the bank, where it stands.
    async fn turn_down(&self, case: &Case, waits: &Waiting, why: &str) -> Result<Look, Trouble> {
        let who = self.bank_principal();
        let Step { tool, arguments } = registry::bank().turn_down(waits, why);
        let request = ProposeRequest {
            tool: tool.to_owned(),
            arguments,
            idempotency_key: Some(format!("bank:{}:down:{}", waits.id, case.attempt)),
            origin: Origin::Consequence,
            ..ProposeRequest::default()
        };
        let answer = self.pay.propose(&who, request).await?;
        match answer.proposal.state {
            State::Allowed => self.carry_out_case(&who, answer.proposal).await,
            State::Held | State::Committing | State::InDoubt => Ok(Look::Waits),
            // Frozen meanwhile, or lapsed while this process was down.
            State::Blocked | State::Expired => Ok(Look::Again(PAUSE_SECS)),
            State::Executed
            | State::Failed
            | State::Reversed
            | State::Rejected
            | State::Cancelled => Ok(Look::Closed(None)),
        }
    }

    /// What the payout said about itself, beside the decision.
    async fn record_case(
        &self,
        proposal: &Proposal,
        case: &Case,
        waits: &Waiting,
    ) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let decision = proposal.state.decision();
        let record = Record::about(proposal, now, RecordKind::ExternalPayout, actor());
        let mut record = record.deciding(decision, proposal.fixed.reason.code());
        record.payout = Some(waits.id.clone());
        let record = record.with(json!({
            "heard": case.heard,
            "at_bank": waits.state,
            "claimed_agent": waits.claimed_agent,
            "claimed_reference": waits.reference,
        }));
        self.keep(record, None).await
    }

    /// Waits at the bank and cannot be governed: a person has to look.
    async fn cannot_govern(
        &self,
        payout: &Value,
        heard: &str,
        why: &'static str,
    ) -> Result<Came, Trouble> {
        let id = payout.get("id").and_then(Value::as_str).unwrap_or_default();
        let status = payout.get("status").and_then(Value::as_str);
        // A name of its own, so that a whole event about the same payout still opens a case.
        let name = format!("{id}/{}/unusable", status.unwrap_or_default());
        let now = self.ports().ambient.now();
        let seen = CaseSeen {
            at: now,
            heard: heard.to_owned(),
            unusable: Some(why.to_owned()),
        };
        let seen = seen.write(&OrgId::default(), &name, Some(0));
        match self.write(vec![seen]).await {
            Ok(()) => {}
            Err(Trouble::Changed) => return Ok(KNOWN),
            Err(trouble) => return Err(trouble),
        }
        let mut record = Record::new(now, self.owner(), RecordKind::ExternalPayout, actor())
            .deciding(Decision::Skipped, "unusable");
        record.payout = Some(id.to_owned());
        let words = format!("The payout {id} waits at the bank and cannot be governed: {why}");
        self.keep(
            record.with(json!({"why": why, "payout": payout})),
            Some(&words),
        )
        .await?;
        Ok(Came::News)
    }

    async fn case_failed(&self, case: &Case, trouble: &Trouble) -> Result<Look, Trouble> {
        if case.attempt > 0 {
            return Ok(Look::Again(PAUSE_SECS));
        }
        let now = self.ports().ambient.now();
        let id = case.payout.get("id").and_then(Value::as_str);
        let mut record = Record::new(now, self.owner(), RecordKind::ExternalPayout, actor())
            .deciding(Decision::Skipped, trouble.code());
        record.payout = id.map(str::to_owned);
        let words = format!(
            "The payout {} waits at the bank and could not be governed: {trouble}",
            id.unwrap_or_default()
        );
        let detail = json!({"why": trouble.to_string()});
        self.keep(record.with(detail), Some(&words)).await?;
        Ok(Look::Again(PAUSE_SECS))
    }

    async fn keep(&self, record: Record, words: Option<&str>) -> Result<(), Trouble> {
        let wanted = self.settings().people.wants(NoticeKind::Alert, "");
        let words = words.filter(|_| wanted);
        let kind = RecordKind::ExternalPayout.name();
        let notice = words.map(|words| self.alert(record.at, kind, words));
        match self
            .ports()
            .store
            .apply(Change::record(record, notice))
            .await
        {
            Ok(_) | Err(ApplyError::Conflict(_)) => Ok(()),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// The broker itself, acting for the agent that is configured for such payouts.
    pub(super) fn bank_principal(&self) -> Principal {
        Principal {
            id: "hundi:bank".to_owned(),
            name: "hundi".to_owned(),
            org: self.owner().clone(),
            roles: Role::Agent.into(),
            agent: Some(self.settings().bank.external_agent.clone()),
            person: None,
            server: None,
        }
    }
}

/// The idempotency key of the proposal that decides a case: one per try.
pub(super) fn case_name(payout: &str, state: &str, attempt: u32) -> String {
    format!("bank:{payout}:{state}:{attempt}")
}

/// Whether nothing of it was ever sent, because the bank could not be reached in time.
fn never_reached(proposal: &Proposal) -> bool {
    match proposal.outcome() {
        Some(Settled::Undone { cause, .. }) => *cause == Undone::Unreachable,
        Some(Settled::Executed(_) | Settled::Refused(_)) | None => false,
    }
}
