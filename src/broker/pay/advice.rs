//! What a caller whose commit was refused should do next, given where the proposal stands.
//!
//! "Propose again" is said only where the proposal that was named cannot be paid any more. Said too
//! early it makes a second proposal that can be paid, beside the first.

use super::Pay;
use crate::broker::core::CommitRequest;
use crate::domain::ids::ProposalId;
use crate::domain::principal::Principal;
use crate::domain::proposal::State;
use crate::domain::reason::{Recovery, Refusal};

impl Pay {
    /// The advice that goes with a refusal. Tells nothing of proposals of others.
    pub(super) async fn advice(
        &self,
        who: &Principal,
        request: &CommitRequest,
        refusal: Refusal,
    ) -> Recovery {
        match refusal {
            Refusal::BadSignature | Refusal::Expired | Refusal::SupersededToken => {
                after_a_useless_token(self.own_standing(who, request).await)
            }
            Refusal::UnknownProposal
            | Refusal::ArgsHashMismatch
            | Refusal::NonceReplay
            | Refusal::NotApproved
            | Refusal::Frozen
            | Refusal::PolicyChanged
            | Refusal::ToolChanged
            | Refusal::PreconditionFailed => refusal.recovery(),
        }
    }

    /// Where the proposal that the caller named stands, if it is the caller's own and can be read.
    async fn own_standing(&self, who: &Principal, request: &CommitRequest) -> Option<State> {
        let id = request.proposal_id.parse::<ProposalId>().ok()?;
        let proposal = self.ports().store.proposal(id).await.ok()??;
        let fixed = &proposal.fixed;
        let own = fixed.org == who.org && who.agent.as_ref() == Some(&fixed.agent);
        let waits = matches!(proposal.state, State::Held | State::Allowed);
        let over = waits && fixed.lapses_at <= self.ports().ambient.now();
        own.then_some(if over { State::Expired } else { proposal.state })
    }
}

/// What helps whoever holds a token that opens nothing.
fn after_a_useless_token(standing: Option<State>) -> Recovery {
    match standing {
        Some(State::Allowed) => Recovery::RenewToken,
        Some(State::Held) => Recovery::GetApproval,
        Some(
            State::Committing | State::InDoubt | State::Executed | State::Failed | State::Reversed,
        ) => Recovery::ReadOutcome,
        Some(State::Blocked | State::Rejected | State::Cancelled | State::Expired) | None => {
            Recovery::ProposeAgain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn propose_again_is_said_only_of_what_cannot_be_paid_any_more() {
        for state in State::ALL {
            let over = matches!(
                state,
                State::Blocked | State::Rejected | State::Cancelled | State::Expired
            );
            let said = after_a_useless_token(Some(state)) == Recovery::ProposeAgain;
            assert_eq!(said, over, "{state:?}");
        }
    }
}
