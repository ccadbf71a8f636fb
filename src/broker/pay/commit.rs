//! Commit: verify, make the intent durable, send once, record what is known.
//!
//! Everything that can be refused is refused before the claim; after it nothing returns early.
//! The order of the checks is part of the contract, and the first that fails is the reason.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Pay;
use super::at_bank::May;
use super::standing::Counted;
use super::unsent::unsent;
use super::withdrawn::withdrawn;
pub(in crate::broker) use crate::broker::audit::refusals::Kept;
use crate::broker::core::measure;
use crate::broker::core::{CommitRequest, Committed, Trouble};
use crate::connector::Connector;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::call::{Outcome, Reply, Sighting};
use crate::domain::canonical::Canonical;
use crate::domain::change::{
    Applied, Change, Claim, Conflict, Guard, Intent, PendingClaim, Pot, Record,
};
use crate::domain::facts::{Fact, Facts};
use crate::domain::ids::{CommitId, ProposalId, ToolName};
use crate::domain::principal::{Principal, Right};
use crate::domain::proposal::{Doubt, Origin, Proposal, State};
use crate::domain::reason::Refusal;
use crate::domain::time::Timestamp;
use crate::domain::token::{Claims, Verified};
use crate::domain::tool::Standing;
use crate::governance;
use crate::governance::agreed::Asked;
use crate::store::{ApplyError, StoreError};
use crate::wire::{Heard, Late};

/// How often a claim is tried when what it was decided on keeps moving.
const TRIES: u32 = 8;
/// Beyond the call's own deadline, so that a live sender always settles before anyone takes over.
const LEASE_SLACK: Duration = Duration::from_secs(2);
/// First pause before asking about a doubt.
pub(super) const FIRST_ASK_MS: i64 = 1_000;

/// Where a commit can end before anything was claimed.
enum Step {
    Go(Box<Proposal>, Verified),
    Refuse(Refusal, Option<Box<Proposal>>, Option<String>),
}

impl Pay {
    /// Steps s1 to s7 of the commit. Runs to its end even if the caller goes away.
    pub async fn commit(
        &self,
        who: &Principal,
        request: CommitRequest,
    ) -> Result<Committed, Trouble> {
        if !who.may(Right::Commit) {
            return Err(Trouble::Forbidden { roles: who.roles });
        }
        let room = self.room_to_commit(who)?;
        let (broker, caller, who) = (self.clone(), who, who.clone());
        let proposal_id = request.proposal_id.clone();
        // A task of its own: a caller that hangs up must not stop a claimed commit half-way.
        let task = self.load().tasks().spawn(async move {
            let _room = room;
            broker.run_commit(&who, &request).await
        });
        let id = proposal_id;
        let in_doubt = |answer| Ok(Ok(answer));
        match self.answer_in_time(caller, &id, task, in_doubt).await {
            Ok(answer) => {
                if let Err(trouble) = &answer {
                    self.audit
                        .spool_unavailable(caller, RecordKind::CommitRefused, trouble);
                }
                answer
            }
            Err(error) => {
                tracing::error!(%error, "a commit ended abnormally; recovery settles it");
                Err(Trouble::Overloaded {
                    retry_after_secs: 1,
                })
            }
        }
    }

    async fn run_commit(
        &self,
        who: &Principal,
        request: &CommitRequest,
    ) -> Result<Committed, Trouble> {
        self.ports().ambient.step("s0");
        let timer = measure::Timer::start();
        let args = Canonical::of(&request.arguments);
        for _ in 0..TRIES {
            let (proposal, verified) = match self.verify(who, request, &args).await? {
                Step::Go(proposal, verified) => (proposal, verified),
                Step::Refuse(refusal, original, detail) => {
                    timer.phase(measure::Phase::Verify);
                    return self.refused(who, request, refusal, original, detail).await;
                }
            };
            timer.phase(measure::Phase::Verify);
            let _room = self.room_for(who, &proposal).await?;
            let asked = Instant::now();
            match self.claim(who, *proposal, &verified).await? {
                Claimed::Granted(claim) => {
                    timer.phase(measure::Phase::Claim);
                    self.tell_spent(verified.claims());
                    return Ok(self.carry_out(*claim, asked, &timer).await);
                }
                Claimed::Again => {}
                Claimed::Unclear(proposal) => return Ok(Committed::InDoubt(proposal)),
                Claimed::Refused(refusal, detail) => {
                    return self.refused(who, request, refusal, None, detail).await;
                }
            }
        }
        Err(Trouble::Changed)
    }

    /// Spares the other nodes a claim in vain, for as long as the token could still be presented.
    fn tell_spent(&self, claims: &Claims) {
        let left = claims.expires_at - self.ports().ambient.now().secs();
        if let Ok(left) = u32::try_from(left) {
            self.ports().ephemeral.spent(claims.token_id, left);
        }
    }

    /// s1: signature, expiry, proposal, arguments, single use, then everything local.
    async fn verify(
        &self,
        who: &Principal,
        request: &CommitRequest,
        args: &Canonical,
    ) -> Result<Step, Trouble> {
        let refuse = |refusal| Ok(Step::Refuse(refusal, None, None));
        let now = self.ports().ambient.now();
        let ring = self.ports().keys.ring();
        let claims = match ring.open(&request.commit_token, &self.settings().audience, now) {
            Ok(claims) => claims,
            Err(refusal) => return refuse(refusal),
        };
        let Some(proposal) = self.claimed_proposal(who, request, &claims).await? else {
            return refuse(Refusal::UnknownProposal);
        };
        match proposal.state {
            State::Blocked | State::Rejected | State::Cancelled => {
                return refuse(Refusal::UnknownProposal);
            }
            State::Expired => return refuse(Refusal::Expired),
            State::Held
            | State::Allowed
            | State::Committing
            | State::InDoubt
            | State::Executed
            | State::Failed
            | State::Reversed => {}
        }
        let tool = match &request.tool {
            Some(name) => name.parse::<ToolName>().ok(),
            None => Some(proposal.fixed.tool.clone()),
        };
        let Some(tool) = tool else {
            return refuse(Refusal::ArgsHashMismatch);
        };
        let verified = match claims.bind(&proposal, &tool, &args.hash()) {
            Ok(verified) => verified,
            Err(refusal) => return refuse(refusal),
        };
        self.ports().ambient.step("s1");
        Ok(single_use(proposal, verified))
    }

    /// The proposal that genuine claims speak of, if this caller may know of it.
    async fn claimed_proposal(
        &self,
        who: &Principal,
        request: &CommitRequest,
        claims: &Claims,
    ) -> Result<Option<Box<Proposal>>, Trouble> {
        let named = request.proposal_id.parse::<ProposalId>();
        let own = who.agent.as_ref() == Some(&claims.agent_id);
        if named != Ok(claims.proposal_id) || !own {
            return Ok(None);
        }
        // What this process remembers is good enough for the one state in which the claim will
        // be checked against the store; everything else is read.
        let remembered = self.memory().proposal(claims.proposal_id);
        let remembered = remembered.filter(|proposal| proposal.state == State::Allowed);
        // Another node may have told that the token is used. Then the store is asked before a claim
        // is written in vain; that word alone refuses nobody.
        let remembered = match remembered {
            Some(_) if self.ports().ephemeral.seems_spent(claims.token_id).await => None,
            remembered => remembered,
        };
        let proposal = match remembered {
            Some(proposal) => Some((*proposal).clone()),
            None => self.ports().store.proposal(claims.proposal_id).await?,
        };
        Ok(proposal
            .filter(|proposal| proposal.fixed.org == who.org)
            .map(Box::new))
    }

    /// s2 and s3: the recheck on local facts, then one transaction that takes the right to send.
    async fn claim(
        &self,
        who: &Principal,
        proposal: Proposal,
        verified: &Verified,
    ) -> Result<Claimed, Trouble> {
        let tool = self
            .tools
            .catalogue()
            .get(&proposal.fixed.org, proposal.fixed.tool.as_str());
        let (refusal, mut guards) = self.recheck(&proposal, tool.as_deref()).await?;
        if let Some((refusal, detail)) = refusal {
            return Ok(Claimed::Refused(refusal, Some(detail)));
        }
        if let Some(tool) = tool
            .clone()
            .filter(|_| proposal.fixed.origin == Origin::Agent)
        {
            // Rules that have come meanwhile hold for what was proposed before them. Nothing is
            // spent: the token is as good as before.
            self.tools.allowed(who, tool).await?;
        }
        if tool
            .as_ref()
            .is_some_and(|tool| tool.standing == Standing::Away)
        {
            // Nobody knows what the server offers now, so nothing is sent to it and nothing is
            // spent: the token is as good as before.
            return Err(Trouble::UpstreamUnavailable(
                proposal.fixed.tool.to_string(),
            ));
        }
        let tool = tool.filter(|tool| {
            tool.standing == Standing::Accepted && tool.digest == proposal.fixed.tool_digest
        });
        let Some(tool) = tool else {
            return Ok(Claimed::Refused(Refusal::ToolChanged, None));
        };
        let notes = match self.may_decide(&proposal, &tool).await? {
            May::Go(more, notes) => {
                guards.extend(more);
                notes
            }
            May::Not(why) => {
                let refusal = Refusal::PreconditionFailed;
                return Ok(Claimed::Refused(refusal, Some(why.to_owned())));
            }
        };
        if let Some(why) = self.tools.differs(&tool, &proposal).await? {
            let refusal = Refusal::PreconditionFailed;
            return Ok(Claimed::Refused(refusal, Some(why.to_owned())));
        }
        let order = proposal.order();
        let call = match self.tools.bound(&tool, &proposal).call(&order) {
            Ok(call) => call,
            Err(error) => {
                let detail = Some(error.to_string());
                return Ok(Claimed::Refused(Refusal::PreconditionFailed, detail));
            }
        };
        let now = self.ports().ambient.now();
        let intent = Intent {
            commit_id: CommitId::at(now, self.ports().ambient.bytes()),
            idempotency_key: order.idempotency_key(),
            call,
            at: now,
            lease_until: now.plus_millis(millis(self.settings().call_deadline + LEASE_SLACK)),
        };
        let commit_id = intent.commit_id;
        let Ok((change, pending)) = Change::claim(&proposal, verified, intent, guards, &who.id)
        else {
            self.memory().forget(proposal.fixed.id);
            return Ok(Claimed::Again);
        };
        let change = change.noting(notes);
        self.ports().ambient.step("s2.before");
        let answer = self.ports().store.apply(change.clone()).await;
        self.ports().ambient.step("s2.after");
        match answer {
            Ok(applied) => Ok(Claimed::Granted(Box::new(pending.granted(&applied)))),
            Err(ApplyError::Conflict(conflict)) => {
                self.forget_after(&conflict, proposal.fixed.id);
                Ok(Claimed::Again)
            }
            Err(ApplyError::Store(StoreError::Unknown(_))) => {
                self.read_back(change, pending, commit_id).await
            }
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// s3, when the store did not say whether it wrote: the same change again, which can only be
    /// applied once, and then a look at whose claim stands.
    async fn read_back(
        &self,
        change: Change,
        pending: PendingClaim,
        commit_id: CommitId,
    ) -> Result<Claimed, Trouble> {
        let id = change
            .rows()
            .update
            .as_ref()
            .map(|proposal| proposal.fixed.id);
        let proposal = change.rows().update.clone();
        let again = self.ports().store.apply(change).await;
        if let Ok(applied) = &again {
            return Ok(Claimed::Granted(Box::new(pending.granted(applied))));
        }
        let stored = match id {
            Some(id) => self.ports().store.proposal(id).await,
            None => Ok(None),
        };
        if let Some(id) = id {
            self.memory().forget(id);
        }
        let ours = |stored: &Proposal| {
            let execution = stored.execution.as_ref();
            execution.is_some_and(|execution| execution.commit_id == commit_id)
        };
        match (stored, &again, proposal) {
            (Ok(Some(stored)), _, _) if ours(&stored) => {
                let applied = Applied { first_seq: 0 };
                Ok(Claimed::Granted(Box::new(pending.granted(&applied))))
            }
            (Ok(_), Err(ApplyError::Conflict(_)), _) => Ok(Claimed::Again),
            // Nobody can say whose claim stands: a conflict may be with our own first try, and to
            // call that a replay would be a refusal of what recovery then carries out. Nothing
            // was sent; if it does stand, recovery will find it.
            (_, _, Some(proposal)) => Ok(Claimed::Unclear(proposal)),
            (_, _, None) => Err(Trouble::StoreUnavailable),
        }
    }

    /// s4 to s7. Takes the claim by value: one claim, one sending. `asked` is when it was asked for.
    async fn carry_out(&self, claim: Claim, asked: Instant, timer: &measure::Timer) -> Committed {
        self.memory().wrote(claim.proposal());
        let Some(proposal) = self.still_ours(&claim, asked).await else {
            return self.left_to_others(claim).await;
        };
        let (late, too_late) = oneshot::channel();
        let (proposal, heard) = self.send(claim, proposal, late).await;
        timer.phase(measure::Phase::Provider);
        self.ports().ambient.step("s6");
        let outcome = match self.tools.sent_by(&proposal) {
            Some(connector) => {
                let outcome = connector.outcome(&proposal.order(), &heard.reply);
                let outcome = outcome.with_blocks(heard.unsaid());
                self.second_look(connector.as_ref(), &proposal, outcome, timer)
                    .await
            }
            None => Outcome::Unknown("the tool left the catalogue meanwhile".to_owned()),
        };
        self.ports().ambient.step("s7.before");
        let settled = self.settle_with(&proposal, outcome).await;
        timer.phase(measure::Phase::Settle);
        self.ports().ambient.step("s7.after");
        let answer = match settled {
            proposal if proposal.state.is_settled() => Committed::Settled(Box::new(proposal)),
            proposal => {
                self.mind(&proposal, too_late, true);
                Committed::InDoubt(Box::new(proposal))
            }
        };
        measure::carried_out(&answer, timer);
        self.ports().ambient.step("s8");
        answer
    }

    /// The claimed proposal under a lease that outlasts the sending. A store that was slow to answer
    /// has used up the lease that came with the claim, and another node may be sending by now; so it
    /// is taken anew first. `None` if it is not ours any more, or not known to be.
    async fn still_ours(&self, claim: &Claim, asked: Instant) -> Option<Proposal> {
        if asked.elapsed() < LEASE_SLACK {
            return Some(claim.proposal().clone());
        }
        self.take_over(claim.proposal(), true).await
    }

    /// Nothing was sent here, and recovery settles it, if it has not already.
    async fn left_to_others(&self, claim: Claim) -> Committed {
        let id = claim.proposal().fixed.id;
        self.memory().forget(id);
        let stored = self.ports().store.proposal(id).await.ok().flatten();
        match stored.unwrap_or_else(|| claim.proposal().clone()) {
            proposal if proposal.state.is_settled() => Committed::Settled(Box::new(proposal)),
            proposal => Committed::InDoubt(Box::new(proposal)),
        }
    }

    async fn send(&self, claim: Claim, proposal: Proposal, late: Late) -> (Proposal, Heard) {
        self.ports().ambient.step("s4.before");
        let sent = match claim.call() {
            Some(call) => self.send_under_lease(proposal, call, late).await,
            None => {
                let nothing = Reply::NotSent("the claim holds no call".to_owned());
                (proposal, nothing.into())
            }
        };
        self.ports().ambient.step("s4.after");
        sent
    }

    /// An unclear answer that came quickly is worth one enquiry before the caller is told that
    /// nobody knows.
    async fn second_look(
        &self,
        connector: &dyn Connector,
        proposal: &Proposal,
        outcome: Outcome,
        timer: &measure::Timer,
    ) -> Outcome {
        let Outcome::Unknown(why) = outcome else {
            return outcome;
        };
        let deadline = self.settings().call_deadline;
        let left = deadline.saturating_sub(timer.elapsed());
        let enquiry = connector.enquiry(&proposal.order());
        if let Some(enquiry) = enquiry.filter(|_| left > deadline / 2) {
            let reply = self.ports().wire.send(&enquiry, left / 2).await;
            if let Sighting::Found(receipt) = connector.sighting(&proposal.order(), &reply) {
                return Outcome::Executed(receipt);
            }
        }
        Outcome::Unknown(why)
    }

    /// s7: records what is known, whoever else may have settled it meanwhile. Gives back the
    /// proposal as it then stands; unsettled if the store could not be told.
    pub(super) async fn settle_with(&self, proposal: &Proposal, outcome: Outcome) -> Proposal {
        let now = self.ports().ambient.now();
        let outcome = self.tools.promised(proposal, outcome);
        let outcome = self.masked_words(proposal, outcome);
        let change = match outcome {
            Outcome::Executed(receipt) => {
                let news = withdrawn(proposal, &receipt);
                let receipt = self.masked_receipt(proposal, receipt).await;
                let taken_back = receipt.reversed.then(|| receipt.clone());
                return match Change::confirm(proposal, receipt, now, "hundi") {
                    Ok((change, next)) => {
                        let change = (change.noting(news), next);
                        let settled = self.record_settled(proposal, change).await;
                        self.after_confirm(settled, taken_back).await
                    }
                    Err(_) => proposal.clone(),
                };
            }
            Outcome::Refused(error) => Change::refuse(proposal, error, now, "hundi"),
            // Only a first sending gets here with this: nothing of the call has ever left.
            Outcome::NotSent(why) => {
                let ask_at = now.plus_millis(FIRST_ASK_MS);
                Change::doubt(proposal, unsent(&why), now, ask_at, None)
            }
            Outcome::Unknown(why) => {
                let ask_at = now.plus_millis(FIRST_ASK_MS);
                let doubt = Doubt {
                    needs_person: self.needs_person(proposal),
                    ..Doubt::from(why.as_str())
                };
                Change::doubt(proposal, doubt, now, ask_at, None)
            }
        };
        match change {
            Ok(change) => self.record_settled(proposal, change).await,
            Err(_) => proposal.clone(),
        }
    }

    pub(super) async fn record_settled(
        &self,
        before: &Proposal,
        change: (Change, Proposal),
    ) -> Proposal {
        let (change, next) = change;
        match self.ports().store.apply(change).await {
            Ok(_) => {
                self.memory().wrote(&next);
                measure::log_unpaid(before.state, &next);
                measure::settled(before.state, &next);
                if next.state == State::Executed && next.fixed.effective.moves_money() {
                    self.memory().paid(&next.fixed, &self.settings().zone);
                }
                self.learn_prompt(&next).await;
                next
            }
            Err(error) => {
                tracing::warn!(proposal = %before.fixed.id, %error, "settling was not recorded");
                self.memory().forget(before.fixed.id);
                // Somebody else may have settled it: a webhook, or recovery elsewhere.
                let stored = self.ports().store.proposal(before.fixed.id).await;
                stored.ok().flatten().unwrap_or_else(|| before.clone())
            }
        }
    }

    /// A refusal is an answer, and it is recorded.
    async fn refused(
        &self,
        who: &Principal,
        request: &CommitRequest,
        refusal: Refusal,
        original: Option<Box<Proposal>>,
        detail: Option<String>,
    ) -> Result<Committed, Trouble> {
        let now = self.ports().ambient.now();
        let kept = self.audit.refusals().count(who, refusal.code(), now);
        let mut record = Record::new(now, &who.org, RecordKind::CommitRefused, &who.id)
            .deciding(Decision::Rejected, refusal.code());
        record.agent.clone_from(&who.agent);
        // Only ids that exist for this caller: a stranger's guesses do not enter the log.
        let known = request.proposal_id.parse::<ProposalId>().ok();
        record.proposal = known.filter(|_| refusal != Refusal::UnknownProposal);
        if let (Refusal::PolicyChanged, Some(why)) = (refusal, &detail) {
            record = record.with(serde_json::json!({"detail": why}));
        }
        if kept != Kept::Summed {
            self.audit.note(record).await?;
        }
        let answer = Committed::Refused {
            refusal,
            recovery: self.advice(who, request, refusal).await,
            original,
            detail,
        };
        measure::commit(&answer);
        Ok(answer)
    }

    /// Freeze and policy as they are now, held to by the guards.
    pub(super) async fn recheck(
        &self,
        proposal: &Proposal,
        tool: Option<&crate::domain::tool::Tool>,
    ) -> Result<(Option<(Refusal, String)>, Vec<Guard>), Trouble> {
        let fixed = &proposal.fixed;
        let mut local = self.local_facts(&fixed.org, &fixed.agent).await?;
        let paid = self.paid(&fixed.org, &fixed.payee).await?;
        local.guards.extend(paid.guards);
        let registration = Fact::Known(paid.registration);
        let now: Timestamp = self.ports().ambient.now();
        let Some(tool) = tool else {
            return Ok((None, local.guards));
        };
        let args = fixed.args.value();
        let request = governance::Request {
            agent: &fixed.agent,
            tool,
            args: &args,
            effective: fixed.effective,
            payee: &paid.payee,
            server: fixed.access.server.as_deref(),
        };
        if fixed.origin == Origin::Consequence {
            let facts = Facts {
                freezes: local.freezes,
                registration,
                ..Facts::missing(now)
            };
            let verdict = governance::follow(&request, &facts);
            let stopped = verdict.findings().first();
            let refusal = stopped.map(|finding| (Refusal::Frozen, finding.detail.clone()));
            return Ok((refusal, local.guards));
        }
        let spent_besides = if local.policy_version == fixed.policy_version {
            None
        } else {
            Some(self.spent_besides(proposal).await?)
        };
        // Nobody had to agree to what was never held.
        let held = fixed.approvals_needed > 0;
        let policy_now = local.policy.known().and_then(Option::as_ref);
        let asked = held.then(|| Asked::of(fixed, policy_now));
        let counted = match &asked {
            Some(asked) => self.still_agreed(proposal, asked).await?,
            None => Counted::default(),
        };
        let moment = governance::Moment {
            now,
            freezes: &local.freezes,
            policy: &local.policy,
            registration: &registration,
            spent_besides,
            approvals: u32::try_from(counted.kept.len()).unwrap_or(u32::MAX),
            asked: asked.as_ref(),
        };
        let refusal = governance::recheck(&request, &moment);
        let refusal = refusal.map(|(refusal, detail)| (refusal, counted.telling(detail)));
        local.guards.extend(counted.guards);
        Ok((refusal, local.guards))
    }

    /// Reserved and spent on the proposal's day, without the proposal's own reservation.
    async fn spent_besides(&self, proposal: &Proposal) -> Result<i64, Trouble> {
        let fixed = &proposal.fixed;
        let Some(currency) = fixed.effective.currency() else {
            return Ok(0);
        };
        let pot = Pot {
            org: fixed.org.clone(),
            agent: fixed.agent.clone(),
            day: fixed.day,
            currency,
        };
        let budget = self.ports().store.budget(&pot).await?;
        let taken = budget.pending.saturating_add(budget.posted);
        Ok(taken.saturating_sub(fixed.effective.minor()))
    }

    /// What a conflict proved stale is forgotten, so that the next try reads it.
    pub(super) fn forget_after(&self, conflict: &Conflict, id: ProposalId) {
        match conflict {
            Conflict::DocChanged(key) => self.memory().forget_doc(key),
            Conflict::Stale
            | Conflict::NonceBurned
            | Conflict::KeyTaken(_)
            | Conflict::OverBudget { .. } => self.memory().forget(id),
        }
    }
}

/// How an attempt to claim ended.
enum Claimed {
    Granted(Box<Claim>),
    /// Something moved; verify anew.
    Again,
    /// The store does not say, and nothing was sent.
    Unclear(Box<Proposal>),
    Refused(Refusal, Option<String>),
}

/// Whether genuine, bound claims may still be used.
fn single_use(proposal: Box<Proposal>, verified: Verified) -> Step {
    let claims = verified.claims();
    if let Some(execution) = proposal.execution.as_ref() {
        return if execution.nonce == claims.nonce {
            Step::Refuse(Refusal::NonceReplay, Some(proposal), None)
        } else {
            Step::Refuse(Refusal::SupersededToken, None, None)
        };
    }
    if proposal.state == State::Held {
        return Step::Refuse(Refusal::NotApproved, None, None);
    }
    let live = proposal.moving.token.as_ref().map(|token| token.token_id);
    if live == Some(claims.token_id) {
        Step::Go(proposal, verified)
    } else {
        Step::Refuse(Refusal::SupersededToken, None, None)
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
