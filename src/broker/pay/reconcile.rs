//! What was left unsettled is settled by evidence; what outlived its time lapses.
//!
//! No clock ends doubt. An attempt whose lease ran out is asked about; only if the provider
//! looked and has nothing, and nothing of ours can still be under way, are the same bytes sent
//! again under the same key, within the window in which the provider promises to recognise it.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Pay;
use super::commit::millis;
use crate::broker::core::Trouble;
use crate::broker::core::measure::{self, Step, Timer};
use crate::connector::Connector;
use crate::domain::call::{Evidence, Order, Outcome, ProviderError, Receipt, Sighting};
use crate::domain::change::{Change, Conflict};
use crate::domain::ids::ProposalId;
use crate::domain::notice::{Notice, NoticeKind};
use crate::domain::proposal::{Doubt, Ending, Proposal, Settled, State};
use crate::domain::time::Timestamp;
use crate::governance::access::masks::of_source;
use crate::store::{ApplyError, LEASE_HORIZON_MS};

/// Attempts asked about at once, so that a dead provider does not hold up everything.
const AT_ONCE: usize = 16;
/// Attempts asked about at a start at most; the duty takes the rest in its turns.
const AT_START: u32 = 2_000;
/// Longest pause between two enquiries about one doubt: doubts end within 60 s of healing.
const LONGEST_PAUSE_MS: i64 = 10_000;
/// Pause between looks where only a person can tell.
const PERSON_PAUSE_MS: i64 = 30_000;

/// What the resolver decided to do about one attempt.
pub(super) enum Next {
    Settle(Outcome),
    /// Ask again later.
    Later(Doubt),
    /// Nobody can be asked and nothing may be repeated.
    Person(String),
    /// Nothing ever left, and the proposal's time is over.
    GiveUp(String),
    /// Somebody else is on it, or has settled it.
    Leave,
}

impl Pay {
    /// Takes over attempts whose lease ran out and asks the provider. Returns how many it saw.
    pub async fn reconcile(&self, limit: u32) -> Result<usize, Trouble> {
        let now = self.ports().ambient.now();
        let due = self.ports().store.unsettled(now, limit).await?;
        let seen = due.len();
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, |proposal| async move {
                if let Some(ours) = self.take_over(&proposal, false).await {
                    self.resolve(ours).await;
                }
            })
            .await;
        Ok(seen)
    }

    /// Once, at the start: everything that a crash left open is asked about now and side by side, not
    /// when the process before meant to. It only asks. An attempt that another node is on may be
    /// among these, so nothing is sent again; but what the provider has done is done, whoever hears
    /// of it. Returns how many it settled.
    pub async fn ask_at_start(&self) -> Result<usize, Trouble> {
        let now = self.ports().ambient.now();
        let whenever = now.plus_millis(LEASE_HORIZON_MS);
        let open = self.ports().store.unsettled(whenever, AT_START).await?;
        let settled = stream::iter(open)
            .map(|proposal| async move {
                let Some(receipt) = self.done_at_provider(&proposal).await else {
                    return 0;
                };
                let settled = self
                    .settle_with(&proposal, Outcome::Executed(receipt))
                    .await;
                tracing::info!(
                    proposal = %settled.fixed.id, state = settled.state.name(), "doubt settled"
                );
                1
            })
            .buffer_unordered(AT_ONCE)
            .fold(0, |sum, one| async move { sum + one });
        Ok(settled.await)
    }

    /// What the provider says that it did, if it can be asked and has done it.
    async fn done_at_provider(&self, proposal: &Proposal) -> Option<Receipt> {
        let connector = self.tools.sent_by(proposal)?;
        let order = proposal.order();
        let enquiry = connector.enquiry(&order);
        let enquiry = enquiry.filter(|_| connector.recovery().lookup)?;
        let deadline = self.settings().call_deadline;
        let reply = self.ports().wire.send(&enquiry, deadline).await;
        match connector.sighting(&order, &reply) {
            Sighting::Found(receipt) => Some(receipt),
            Sighting::Refused(_) | Sighting::Absent | Sighting::Unclear(_) => None,
        }
    }

    /// Extends the lease in our name; `None` if somebody else has it or has settled it, or if the
    /// store took so long that it would end before one call does.
    pub(super) async fn take_over(&self, proposal: &Proposal, sending: bool) -> Option<Proposal> {
        let (now, asked) = (self.ports().ambient.now(), Instant::now());
        // Room for one enquiry or one sending; the lease is taken anew before each sending.
        let room = millis(self.settings().call_deadline * 2).min(LEASE_HORIZON_MS);
        let lease = now.plus_millis(room);
        let (change, next) = Change::lease(proposal, lease, now, sending).ok()?;
        match self.ports().store.apply(change).await {
            Ok(_) => {
                self.memory().forget(next.fixed.id);
                let left = Duration::from_millis(u64::try_from(room).unwrap_or(0));
                let left = left.saturating_sub(asked.elapsed());
                (left >= self.settings().call_deadline).then_some(next)
            }
            Err(ApplyError::Conflict(_)) => None,
            Err(ApplyError::Store(error)) => {
                tracing::warn!(proposal = %proposal.fixed.id, %error, "no lease for recovery");
                None
            }
        }
    }

    async fn resolve(&self, proposal: Proposal) {
        let (timer, before) = (Timer::start(), proposal.state);
        self.ports().ambient.step("r1");
        let (proposal, next) = self.find_out(proposal).await;
        self.ports().ambient.step("r3");
        let now = self.ports().ambient.now();
        match next {
            // A replay that was not sent says nothing about the sending before it.
            Next::Settle(Outcome::Unknown(why) | Outcome::NotSent(why)) => {
                let doubt = Doubt::from(why.as_str());
                self.still_in_doubt(&proposal, doubt, now, None).await;
            }
            Next::Later(doubt) => self.still_in_doubt(&proposal, doubt, now, None).await,
            Next::Person(why) => {
                let known = proposal.execution.as_ref();
                let first = known.is_none_or(|it| it.attempts <= 1 || !it.needs_person);
                let notice = first.then(|| notice(&proposal, NoticeKind::InDoubt, now, &why));
                let doubt = Doubt {
                    needs_person: true,
                    ..Doubt::from(why.as_str())
                };
                self.still_in_doubt(&proposal, doubt, now, notice).await;
            }
            Next::GiveUp(why) => {
                if let Ok(change) = Change::unreached(&proposal, &why, now) {
                    let settled = self.record_settled(&proposal, change).await;
                    measure::looked_into(before, &settled, Step::Reconcile, &timer);
                }
            }
            Next::Leave => {}
            Next::Settle(outcome) => {
                let settled = self.settle_with(&proposal, outcome).await;
                tracing::info!(
                    proposal = %settled.fixed.id, state = settled.state.name(), "doubt settled"
                );
                measure::looked_into(before, &settled, Step::Reconcile, &timer);
            }
        }
        self.ports().ambient.step("r4");
    }

    /// Look-up comes before replay.
    async fn find_out(&self, proposal: Proposal) -> (Proposal, Next) {
        if proposal.is_unsent() {
            return self.try_unsent(proposal).await;
        }
        let Some(connector) = self.tools.sent_by(&proposal) else {
            let why = "its tool is not in the catalogue, so nobody can be asked until it is back";
            return (proposal, Next::Later(why.into()));
        };
        let contract = connector.recovery();
        let order = proposal.order();
        if let Some(enquiry) = connector.enquiry(&order).filter(|_| contract.lookup) {
            let reply = self
                .ports()
                .wire
                .send(&enquiry, self.settings().call_deadline)
                .await;
            match connector.sighting(&order, &reply) {
                Sighting::Found(receipt) => {
                    return (proposal, Next::Settle(Outcome::Executed(receipt)));
                }
                Sighting::Refused(error) => {
                    return (proposal, Next::Settle(Outcome::Refused(error)));
                }
                Sighting::Unclear(why) => {
                    return (proposal, Next::Later(why.as_str().into()));
                }
                Sighting::Absent => {}
            }
        }
        self.ports().ambient.step("r2");
        match self.may_send_again(&proposal, contract.replay_secs) {
            Replay::Now => {}
            Replay::Wait => {
                let why = "the provider has nothing yet, and the request may be under way";
                return (proposal, Next::Later(why.into()));
            }
            Replay::Never => {
                let why = "nobody can be asked and nothing may be repeated: a person has to look \
                           at the provider and settle it";
                return (proposal, Next::Person(why.to_owned()));
            }
        }
        // The lease is renewed by name before every sending, so that two nodes never both send.
        let Some(proposal) = self.take_over(&proposal, true).await else {
            return (proposal, Next::Leave);
        };
        let Some(call) = proposal
            .execution
            .as_ref()
            .map(|execution| execution.call.clone())
        else {
            return (proposal, Next::Later("the attempt holds no call".into()));
        };
        let (late, too_late) = oneshot::channel();
        let (proposal, heard) = self.send_under_lease(proposal, &call, late).await;
        let outcome = connector.outcome(&order, &heard.reply);
        let next = match outcome.with_blocks(heard.unsaid()) {
            // A refusal of this sending says nothing about an earlier one (the key may have been
            // revoked in between). Only together with another look does it end the doubt.
            Outcome::Refused(error) => self.after_refusal(connector.as_ref(), &order, error).await,
            outcome @ (Outcome::Executed(_) | Outcome::NotSent(_) | Outcome::Unknown(_)) => {
                Next::Settle(outcome)
            }
        };
        if let Next::Settle(Outcome::Unknown(_)) = &next {
            self.mind(&proposal, too_late, false);
        }
        (proposal, next)
    }

    async fn after_refusal(
        &self,
        connector: &dyn Connector,
        order: &Order,
        error: ProviderError,
    ) -> Next {
        let Some(enquiry) = connector.enquiry(order) else {
            return Next::Person(format!(
                "sending again was refused ({}), and nobody can be asked about the first sending",
                error.code
            ));
        };
        let reply = self
            .ports()
            .wire
            .send(&enquiry, self.settings().call_deadline)
            .await;
        match connector.sighting(order, &reply) {
            Sighting::Found(receipt) => Next::Settle(Outcome::Executed(receipt)),
            Sighting::Absent | Sighting::Refused(_) => Next::Settle(Outcome::Refused(error)),
            Sighting::Unclear(why) => Next::Later(why.as_str().into()),
        }
    }

    /// Whether only a person can end this attempt's doubt.
    pub(super) fn needs_person(&self, proposal: &Proposal) -> bool {
        let Some(connector) = self.tools.sent_by(proposal) else {
            return false;
        };
        let contract = connector.recovery();
        let asks = contract.lookup && connector.enquiry(&proposal.order()).is_some();
        let repeats = self.may_send_again(proposal, contract.replay_secs);
        !asks && matches!(repeats, Replay::Never)
    }

    fn may_send_again(&self, proposal: &Proposal, window_secs: Option<i64>) -> Replay {
        let Some(execution) = proposal.execution.as_ref() else {
            return Replay::Never;
        };
        let Some(window) = window_secs else {
            return Replay::Never;
        };
        let now = self.ports().ambient.now();
        if now >= execution.claimed_at.plus_secs(window) {
            return Replay::Never;
        }
        // Twice the deadline: once for our own call to give up, once for what the provider may
        // still have been working on then. Also waits if the clock stepped back.
        let quiet = millis(self.tools.deadline_of(&execution.call) * 2);
        if now >= execution.last_sent.plus_millis(quiet) {
            Replay::Now
        } else {
            Replay::Wait
        }
    }

    async fn still_in_doubt(
        &self,
        proposal: &Proposal,
        doubt: Doubt,
        now: Timestamp,
        notice: Option<Notice>,
    ) {
        let pause = match doubt.needs_person {
            true => PERSON_PAUSE_MS,
            false => pause_ms(proposal.execution.as_ref().map_or(0, |e| e.attempts)),
        };
        let ask_at = now.plus_millis(pause);
        let why = of_source(&doubt.why, &proposal.fixed.access.hidden()).to_owned();
        let doubt = Doubt { why, ..doubt };
        if let Ok((change, next)) = Change::doubt(proposal, doubt, now, ask_at, notice)
            && self.ports().store.apply(change).await.is_ok()
        {
            self.memory().wrote(&next);
        }
    }

    /// What the provider told us unasked. Settles a doubt, reports a reversal, or records a
    /// contradiction. `Ok(None)` if it is about none of our proposals.
    pub async fn evidence(
        &self,
        evidence: &Evidence,
        actor: &str,
    ) -> Result<Option<Proposal>, Trouble> {
        let named = evidence
            .reference
            .as_deref()
            .and_then(|r| r.parse::<ProposalId>().ok());
        let Some(id) = named else { return Ok(None) };
        let timer = Timer::start();
        loop {
            let Some(proposal) = self.ports().store.proposal(id).await? else {
                return Ok(None);
            };
            let weighed = self.weigh(&proposal, &evidence.receipt, actor).await;
            let Some((change, next)) = weighed else {
                return Ok(Some(proposal));
            };
            match self.ports().store.apply(change).await {
                Ok(_) => {
                    self.memory().wrote(&next);
                    measure::settled(proposal.state, &next);
                    measure::looked_into(proposal.state, &next, Step::Evidence, &timer);
                    self.learn_prompt(&next).await;
                    if next.state != State::Executed || !evidence.receipt.reversed {
                        return Ok(Some(next));
                    }
                    // Confirmed by an event that also says it came back: one more step.
                }
                Err(ApplyError::Conflict(Conflict::Stale)) => {}
                Err(ApplyError::Conflict(_)) => return Err(Trouble::Changed),
                Err(ApplyError::Store(error)) => return Err(error.into()),
            }
        }
    }

    /// What one piece of evidence changes about a proposal; `None` if it tells nothing new.
    async fn weigh(
        &self,
        proposal: &Proposal,
        receipt: &Receipt,
        actor: &str,
    ) -> Option<(Change, Proposal)> {
        let now = self.ports().ambient.now();
        let receipt = &self.masked_receipt(proposal, receipt.clone()).await;
        match proposal.state {
            State::Committing | State::InDoubt => {
                Change::confirm(proposal, receipt.clone(), now, actor).ok()
            }
            // The same reference on a second payment: the first must not be taken for undone.
            State::Executed | State::Reversed if is_another(proposal, receipt) => {
                self.contradiction(proposal, receipt, now, actor)
            }
            State::Executed if receipt.reversed => {
                let told = notice(proposal, NoticeKind::Reversed, now, "the money came back");
                Change::take_back(proposal, receipt.clone(), now, actor, Some(told)).ok()
            }
            State::Executed if has_arrived(proposal, receipt) => {
                Change::arrive(proposal, receipt, now, actor).ok()
            }
            State::Executed | State::Reversed => None,
            State::Blocked
            | State::Held
            | State::Allowed
            | State::Failed
            | State::Rejected
            | State::Cancelled
            | State::Expired => {
                // What came back before anybody knew of it leaves nothing to contradict.
                let left = Some(receipt).filter(|receipt| !receipt.reversed)?;
                self.contradiction(proposal, left, now, actor)
            }
        }
    }

    fn contradiction(
        &self,
        proposal: &Proposal,
        receipt: &Receipt,
        now: Timestamp,
        actor: &str,
    ) -> Option<(Change, Proposal)> {
        let told = json!({
            "provider_id": receipt.provider_id, "provider_state": receipt.provider_state,
        });
        let known = proposal
            .execution
            .as_ref()
            .map(|execution| &execution.contradictions);
        if known.is_some_and(|known| known.contains(&told)) {
            return None;
        }
        let another = match is_another(proposal, receipt) {
            true => "another effect",
            false => "an effect",
        };
        let why = format!(
            "the provider reports {another} for a proposal that is {}",
            proposal.state.name()
        );
        let notice = notice(proposal, NoticeKind::Alert, now, &why);
        Some(Change::contradict(proposal, told, now, actor, notice))
    }

    /// A confirmation that already says the money came back takes the second step at once.
    pub(super) async fn after_confirm(
        &self,
        proposal: Proposal,
        taken_back: Option<Receipt>,
    ) -> Proposal {
        let executed = proposal.state == State::Executed;
        let Some(receipt) = taken_back.filter(|_| executed) else {
            return proposal;
        };
        let now = self.ports().ambient.now();
        let told = notice(&proposal, NoticeKind::Reversed, now, "the money came back");
        let Ok((change, next)) = Change::take_back(&proposal, receipt, now, "hundi", Some(told))
        else {
            return proposal;
        };
        if self.ports().store.apply(change).await.is_ok() {
            self.memory().wrote(&next);
            next
        } else {
            proposal
        }
    }

    /// Expires held and allowed proposals whose time ran out. Returns how many.
    pub async fn lapse(&self, limit: u32) -> Result<usize, Trouble> {
        let now = self.ports().ambient.now();
        let due = self.ports().store.lapsed(now, limit).await?;
        let ended = stream::iter(due).map(|proposal| async move {
            let ending = Ending {
                by: "hundi".to_owned(),
                at: now,
                reason: "its time ran out".to_owned(),
            };
            let told = (proposal.state == State::Held)
                .then(|| notice(&proposal, NoticeKind::Decided, now, "expired"));
            let Ok((change, next)) = Change::lapse(&proposal, ending, told) else {
                return 0;
            };
            match self.ports().store.apply(change).await {
                Ok(_) => {
                    self.memory().wrote(&next);
                    1
                }
                Err(_) => 0,
            }
        });
        Ok(ended
            .buffer_unordered(AT_ONCE)
            .fold(0, |sum, one| async move { sum + one })
            .await)
    }

    /// Forgets nonces that no valid token can carry any more.
    pub async fn prune(&self, limit: u32) -> Result<u64, Trouble> {
        let now = self.ports().ambient.now();
        Ok(self.ports().store.prune_nonces(now.secs(), limit).await?)
    }
}

/// The provider's word for a payout that is with its payee.
const ARRIVED: &str = "processed";

/// Whether the provider speaks of another payment than the one that settled the proposal.
fn is_another(proposal: &Proposal, receipt: &Receipt) -> bool {
    let known = match proposal.outcome() {
        Some(Settled::Executed(known)) => known.provider_id.as_ref(),
        Some(Settled::Refused(_) | Settled::Undone { .. }) | None => None,
    };
    let told = receipt.provider_id.as_ref();
    known.is_some() && told.is_some() && known != told
}

/// Whether the provider says for the first time that the money has arrived. Events come in any
/// order, so no other state of its own replaces one that is known.
fn has_arrived(proposal: &Proposal, receipt: &Receipt) -> bool {
    let known = match proposal.outcome() {
        Some(Settled::Executed(known)) => known.provider_state.as_deref(),
        Some(Settled::Refused(_) | Settled::Undone { .. }) | None => None,
    };
    receipt.provider_state.as_deref() == Some(ARRIVED) && known != Some(ARRIVED)
}

enum Replay {
    Now,
    Wait,
    Never,
}

/// Doubles from a second up to the longest pause.
fn pause_ms(attempts: u32) -> i64 {
    1_000_i64
        .saturating_mul(1 << attempts.min(5))
        .min(LONGEST_PAUSE_MS)
}

/// A notice about a proposal.
pub(super) fn notice(proposal: &Proposal, kind: NoticeKind, at: Timestamp, detail: &str) -> Notice {
    Notice::about(proposal, kind, at, detail)
}
