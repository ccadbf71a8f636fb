//! Answers that come after their deadline, and calls that may take longer than a lease lasts.
//!
//! A call whose deadline passed is in doubt, and goes on being listened for while its connection
//! lasts. A late answer is evidence like any other: it settles the doubt if it is a clear yes, or a
//! clear no to the only sending there was.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::Pay;
use crate::broker::core::Committed;
use crate::domain::call::{Call, Outcome};
use crate::domain::change::Change;
use crate::domain::ids::ProposalId;
use crate::domain::principal::Principal;
use crate::domain::proposal::{Proposal, State};
use crate::store::LEASE_HORIZON_MS;
use crate::wire::{Heard, Late};

/// A caller is answered within this, whatever an upstream's deadline is; the call itself goes on.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How often a late answer is tried against what others write meanwhile.
const TRIES: u32 = 8;
/// A lease that is prolonged ends so long before one that only a stepped clock explains.
const CLOCK_SLACK_MS: i64 = 5_000;

impl Pay {
    /// Sends once, and keeps the lease alive where the call may take longer than one lasts. Gives
    /// back the proposal as it is stored since.
    pub(super) async fn send_under_lease(
        &self,
        mut proposal: Proposal,
        call: &Call,
        late: Late,
    ) -> (Proposal, Heard) {
        let deadline = self.tools.deadline_of(call);
        let usual = self.settings().call_deadline;
        let mut sending = self.ports().wire.send_and_mind(call, deadline, late);
        if deadline <= usual {
            return (proposal, sending.await);
        }
        loop {
            tokio::select! {
                heard = &mut sending => return (proposal, heard),
                () = sleep(usual / 2) => {}
            }
            proposal = self.kept(proposal).await;
        }
    }

    /// The proposal under a lease that lasts a little longer; as it was, if it is not ours any more
    /// or the store does not answer. Then whoever takes it over asks before anything else.
    async fn kept(&self, proposal: Proposal) -> Proposal {
        let now = self.ports().ambient.now();
        let lease = now.plus_millis(LEASE_HORIZON_MS - CLOCK_SLACK_MS);
        let Ok((change, next)) = Change::keep(&proposal, lease) else {
            return proposal;
        };
        match self.ports().store.apply(change).await {
            Ok(_) => {
                self.memory().wrote(&next);
                next
            }
            Err(_) => proposal,
        }
    }

    /// Listens for the answer to a call that is in doubt. `first` says that nothing was sent before
    /// it.
    pub(super) fn mind(&self, sent: &Proposal, late: oneshot::Receiver<Heard>, first: bool) {
        let (broker, sent) = (self.clone(), sent.clone());
        tokio::spawn(async move {
            if let Ok(heard) = late.await {
                broker.take_late(&sent, heard, first).await;
            }
        });
    }

    async fn take_late(&self, sent: &Proposal, heard: Heard, first: bool) {
        // Recovery may write to it at the same moment.
        for _ in 0..TRIES {
            let Some(settled) = self.try_late(sent, &heard, first).await else {
                return;
            };
            if settled.state.is_settled() {
                let (proposal, state) = (settled.fixed.id, settled.state.name());
                tracing::info!(%proposal, state, "settled by a late answer");
                return;
            }
        }
    }

    /// The proposal as it stands after a late answer; `None` if that answer changes nothing.
    async fn try_late(&self, sent: &Proposal, heard: &Heard, first: bool) -> Option<Proposal> {
        let stored = self.ports().store.proposal(sent.fixed.id).await;
        let (now, then) = stored.ok().flatten().zip(sent.execution.as_ref())?;
        let execution = now.execution.as_ref()?;
        let unsettled = matches!(now.state, State::Committing | State::InDoubt);
        if !unsettled || execution.commit_id != then.commit_id {
            return None;
        }
        let tool = self
            .tools
            .catalogue()
            .get(&now.fixed.org, now.fixed.tool.as_str())?;
        let outcome = self
            .tools
            .connector(&tool)
            .outcome(&now.order(), &heard.reply)
            .with_blocks(heard.unsaid());
        match outcome {
            Outcome::Executed(_) => {}
            // Another sending may have had more luck, before it or since.
            Outcome::Refused(_) if first && execution.last_sent == then.last_sent => {}
            Outcome::Refused(_) | Outcome::NotSent(_) | Outcome::Unknown(_) => return None,
        }
        Some(self.settle_with(&now, outcome).await)
    }

    /// `commit`'s answer, or where the proposal stands once its caller has waited long enough.
    pub(super) async fn answer_in_time<T>(
        &self,
        who: &Principal,
        id: &str,
        commit: impl Future<Output = T>,
        answer: impl FnOnce(Committed) -> T,
    ) -> T {
        let mut commit = std::pin::pin!(commit);
        loop {
            if let Ok(answered) = timeout(ANSWER_WITHIN, &mut commit).await {
                return answered;
            }
            let Ok(id) = id.parse::<ProposalId>() else {
                continue;
            };
            let stored = self.ports().store.proposal(id).await.ok().flatten();
            let theirs = |proposal: &Proposal| {
                proposal.fixed.org == who.org && Some(&proposal.fixed.agent) == who.agent.as_ref()
            };
            let under_way =
                |proposal: &Proposal| matches!(proposal.state, State::Committing | State::InDoubt);
            let claimed = stored.filter(|stored| theirs(stored) && under_way(stored));
            if let Some(proposal) = claimed {
                return answer(Committed::InDoubt(Box::new(proposal)));
            }
        }
    }
}
