//! What an agent may decide about a payout that others made at the bank.
//!
//! The agent names the payout, its amount and its account; the bank is asked, and what the *bank*
//! says is what is judged, reserved and bound. A payout with an open case is decided by people and
//! by the broker in their name: no agent's proposal takes it out of their hands, neither at propose
//! nor at commit. And one payout is let go once: the proposal that does is noted with its claim.

use std::time::Duration;

use serde_json::json;

use super::Pay;
use super::cases::{Case, CaseId, LetGo};
use super::gather::Counted;
use super::propose::Ready;
use crate::broker::core::{ProposeRequest, Trouble};
use crate::connector::razorpay::shown::Unfit;
use crate::connector::razorpay::{Razorpay, State as AtBank};
use crate::domain::change::{DocWrite, Guard, Record};
use crate::domain::document::{Document, version};
use crate::domain::facts::Facts;
use crate::domain::ids::OrgId;
use crate::domain::principal::Principal;
use crate::domain::proposal::{Origin, Proposal, State};
use crate::domain::reason::{Finding, Reason, Verdict};
use crate::domain::tool::Tool;
use crate::governance;

/// Longest that a propose waits for the bank's word.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// Why an agent's word does not decide.
const OPEN_CASE: &str = "the payout is an open case here, and people decide on it";

/// The bank's word about the payout that a request is about.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum BankWord {
    /// It is about none, or the broker itself acts on what the bank told it.
    NotNeeded,
    /// Not asked for: the request is refused without it.
    Unasked(Vec<Finding>),
    /// It is what the request says.
    Heard,
}

impl Pay {
    /// Has the bank tell of the payout that an agent wants to decide on, once per request, and puts
    /// its word in the place of the caller's.
    pub(super) async fn hear_bank(
        &self,
        who: &Principal,
        tool: &Tool,
        ready: &mut Ready,
        request: &ProposeRequest,
        counted: &mut Counted,
    ) -> Result<(), Trouble> {
        let deciding = Razorpay::deciding(tool).filter(|_| request.origin == Origin::Agent);
        let Some(kind) = deciding.filter(|_| ready.bank != BankWord::Heard) else {
            return Ok(());
        };
        let payout = ready.value.get("payout_id").and_then(|id| id.as_str());
        let payout = payout.unwrap_or_default().to_owned();
        let mut findings = Vec::new();
        if self.cases_of(&payout).await?.0 {
            findings.push(Finding::block(Reason::ApprovalRequired, OPEN_CASE));
        }
        // Whoever may not propose it anyway sends nobody to the bank.
        if !findings.is_empty() || self.refused_here(who, tool, ready, counted).await? {
            ready.bank = BankWord::Unasked(findings);
            return Ok(());
        }
        let call = Razorpay::look(&ready.value);
        let reply = self.ports().wire.send(&call, LOOK_DEADLINE).await;
        match kind.shown(&ready.value, &reply) {
            Ok(shown) => {
                ready.bank = BankWord::Heard;
                if ready.effective.moves_money() {
                    ready.effective = shown.amount;
                    ready.claimed = shown.payee;
                }
                Ok(())
            }
            Err(Unfit::Untold(why)) => Err(Trouble::Upstream(why)),
            Err(Unfit::Differs(why)) => {
                self.record_differing(who, tool, &payout, &why).await?;
                Err(Trouble::InvalidArguments(why))
            }
        }
    }

    async fn refused_here(
        &self,
        who: &Principal,
        tool: &Tool,
        ready: &Ready,
        counted: &mut Counted,
    ) -> Result<bool, Trouble> {
        let now = self.ports().ambient.now();
        let local = self.local_facts(&who.org, &ready.agent).await?;
        let paid = self.paid(&who.org, &ready.claimed).await?;
        let pace = match counted.take() {
            Some(pace) => pace,
            None => {
                let policy = local.policy.known().and_then(Option::as_ref);
                let limit = policy.map(|policy| policy.rate_limit).unwrap_or_default();
                self.tools
                    .pace(&who.org, &ready.agent, &tool.name, limit, now)
                    .await
            }
        };
        *counted = Some(pace.clone());
        let facts = Facts {
            freezes: local.freezes,
            policy: local.policy,
            recent_requests: pace.recent_requests,
            tool_pace: pace.tool,
            ..Facts::missing(now)
        };
        Ok(governance::refused_here(
            &ready.asked(tool, &paid.payee),
            &facts,
        ))
    }

    /// An agent that says something else than the bank is on record: it may be a try.
    async fn record_differing(
        &self,
        who: &Principal,
        tool: &Tool,
        payout: &str,
        why: &str,
    ) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let mut record = Record::new(now, &who.org, "propose_refused", &who.id)
            .deciding("REJECTED", "invalid_arguments");
        record.agent.clone_from(&who.agent);
        record.tool = Some(tool.name.clone());
        record.payout = Some(payout.to_owned());
        Ok(self.audit.note(record.with(json!({"why": why}))).await?)
    }

    /// Whether a case about this payout is open, and what holds a claim to that answer.
    async fn cases_of(&self, payout: &str) -> Result<(bool, Vec<Guard>), Trouble> {
        let (mut open, mut guards) = (false, Vec::new());
        for state in [AtBank::Pending, AtBank::Queued] {
            let payout = payout.to_owned();
            let key = Case::key(&OrgId::default(), &CaseId { payout, state });
            // Whatever it says: that it is there counts.
            let doc = self.ports().store.doc(&key).await?;
            open |= doc.is_some();
            guards.push(key.held_to(doc.map_or(0, |doc| doc.version)));
        }
        Ok((open, guards))
    }

    /// What stands against a commit of this decision on a payout, else what its claim is held to
    /// and what is noted with it.
    pub(super) async fn may_decide(
        &self,
        proposal: &Proposal,
        tool: &Tool,
    ) -> Result<May, Trouble> {
        let Some(kind) = Razorpay::deciding(tool) else {
            return Ok(May::Go(Vec::new(), Vec::new()));
        };
        let args = proposal.fixed.args.value();
        let payout = args.get("payout_id").and_then(|id| id.as_str());
        let payout = payout.unwrap_or_default();
        let mut guards = Vec::new();
        if proposal.fixed.origin == Origin::Agent {
            let (open, held_to) = self.cases_of(payout).await?;
            if open {
                return Ok(May::Not(OPEN_CASE));
            }
            guards = held_to;
        }
        if kind != Razorpay::Approve {
            return Ok(May::Go(guards, Vec::new()));
        }
        let org = OrgId::default();
        let before = self.document::<LetGo>(&org, payout).await?;
        let earlier = self.letting_go(payout).await?;
        if earlier.is_some_and(|earlier| earlier.fixed.id != proposal.fixed.id) {
            return Ok(May::Not("another proposal has let this payout go"));
        }
        let note = LetGo {
            proposal: proposal.fixed.id,
        };
        let note = note.write(&org, payout, Some(version(before.as_ref())));
        Ok(May::Go(guards, vec![note]))
    }

    /// The proposal that has let this payout go, or is about to.
    pub(in crate::broker) async fn letting_go(
        &self,
        payout: &str,
    ) -> Result<Option<Proposal>, Trouble> {
        let noted = self.document::<LetGo>(&OrgId::default(), payout).await?;
        let proposal = match noted {
            Some(noted) => self.ports().store.proposal(noted.value.proposal).await?,
            None => None,
        };
        Ok(proposal.filter(|proposal| match proposal.state {
            State::Committing | State::InDoubt | State::Executed | State::Reversed => true,
            State::Blocked
            | State::Held
            | State::Allowed
            | State::Failed
            | State::Rejected
            | State::Cancelled
            | State::Expired => false,
        }))
    }
}

/// Whether a decision on a payout may be claimed now.
pub(super) enum May {
    /// Held to these, and with these notes.
    Go(Vec<Guard>, Vec<DocWrite>),
    /// It may not, and why.
    Not(&'static str),
}

/// The verdict with what was found before anybody was asked. `None` if the bank would have had to
/// be asked after all, because what refused the request has moved meanwhile.
pub(super) fn with_bank(verdict: Verdict, bank: &BankWord) -> Option<Verdict> {
    let BankWord::Unasked(found) = bank else {
        return Some(verdict);
    };
    let all = verdict.findings().iter().chain(found).cloned().collect();
    match Verdict::of(all) {
        Verdict::Allow(_) | Verdict::Hold(_) => None,
        blocked @ Verdict::Block(_) => Some(blocked),
    }
}
