//! People decide on what is held: approve, reject, cancel.

use super::{Broker, Proposed, Trouble, Word};
use crate::domain::ids::ProposalId;
use crate::domain::principal::Principal;

impl Broker {
    /// One more person agrees. The answer shows the proposal as it then stands, without a token:
    /// that goes to the proposer alone.
    pub async fn approve(&self, who: &Principal, id: ProposalId) -> Result<Proposed, Trouble> {
        let _ = (who, id);
        todo!()
    }

    /// A person says no.
    pub async fn reject(
        &self,
        who: &Principal,
        id: ProposalId,
        reason: &str,
    ) -> Result<Proposed, Trouble> {
        let _ = (who, id, reason);
        todo!()
    }

    /// The proposer, or an operator, takes it back.
    pub async fn cancel(&self, who: &Principal, id: ProposalId) -> Result<Proposed, Trouble> {
        let _ = (who, id);
        todo!()
    }

    /// An operator's word on an attempt in doubt that no machine can settle.
    pub async fn settle(
        &self,
        who: &Principal,
        id: ProposalId,
        word: Word,
        reason: &str,
    ) -> Result<Proposed, Trouble> {
        let _ = (who, id, word, reason);
        todo!()
    }
}
