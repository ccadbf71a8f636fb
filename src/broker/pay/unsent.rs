//! Attempts of which it is proven that nothing has left: the provider could not be reached.
//!
//! They are tried again under the same key, without asking the provider first: there is nothing to
//! ask about. Each sending first withdraws the proof, durably, so that a crash in the middle of it
//! leaves an ordinary doubt. A freeze, a narrower policy or a changed tool stops the next sending as
//! it would have stopped the commit. When the proposal's time is over, it has failed.

use tokio::sync::oneshot;

use super::Pay;
use super::reconcile::Next;
use crate::domain::call::Outcome;
use crate::domain::proposal::{Doubt, Proposal};
use crate::domain::tool::{Standing, Tool};

impl Pay {
    /// The next try of an attempt that never left.
    pub(super) async fn try_unsent(&self, proposal: Proposal) -> (Proposal, Next) {
        if proposal.fixed.lapses_at <= self.ports().ambient.now() {
            let attempt = proposal.execution.as_ref();
            let last = attempt.and_then(|attempt| attempt.doubt.as_deref());
            let why = format!(
                "nothing was sent before the proposal's time ran out; the last try: {}",
                last.unwrap_or("none")
            );
            return (proposal, Next::GiveUp(why));
        }
        let tool = match self.still_allowed(&proposal).await {
            Ok(tool) => tool,
            Err(why) => return (proposal, Next::Later(unsent(&why))),
        };
        // Renewed by name before every sending, so that two nodes never both send.
        let Some(leased) = self.take_over(&proposal, true).await else {
            return (proposal, Next::Leave);
        };
        let attempt = leased.execution.as_ref();
        let Some(call) = attempt.map(|attempt| attempt.call.clone()) else {
            return (leased, Next::Later("the attempt holds no call".into()));
        };
        let (late, too_late) = oneshot::channel();
        let (leased, heard) = self.send_under_lease(leased, &call, late).await;
        let outcome = self
            .tools
            .connector(&tool)
            .outcome(&leased.order(), &heard.reply)
            .with_blocks(heard.unsaid());
        let next = match outcome {
            Outcome::NotSent(why) => Next::Later(unsent(&why)),
            // The first and only sending: what it brought back is what there is.
            outcome @ (Outcome::Executed(_) | Outcome::Refused(_) | Outcome::Unknown(_)) => {
                Next::Settle(outcome)
            }
        };
        if let Next::Settle(Outcome::Unknown(_)) = &next {
            self.mind(&leased, too_late, true);
        }
        (leased, next)
    }

    /// The tool, if what is in force now would still let the commit through.
    async fn still_allowed(&self, proposal: &Proposal) -> Result<std::sync::Arc<Tool>, String> {
        let tool = self.tools.tool_of(proposal);
        let (refusal, _) = self
            .recheck(proposal, tool.as_deref())
            .await
            .map_err(|trouble| trouble.to_string())?;
        if let Some((refusal, detail)) = refusal {
            return Err(format!("{}: {detail}", refusal.code()));
        }
        tool.filter(|tool| {
            tool.standing == Standing::Accepted && tool.digest == proposal.fixed.tool_digest
        })
        .ok_or_else(|| "the tool is not what it was when this was proposed".to_owned())
    }
}

/// A doubt about an attempt that never left.
pub(super) fn unsent(why: &str) -> Doubt {
    Doubt {
        unsent: true,
        ..Doubt::from(why)
    }
}
