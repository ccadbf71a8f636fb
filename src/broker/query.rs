//! Reading: proposals, records, tools. Ids of others read as unknown.

use std::time::Duration;

use super::{Broker, ListRequest, Proposed, Trouble};
use crate::domain::ids::ProposalId;
use crate::domain::principal::Principal;
use crate::store::{RecordFilter, StoredRecord};

impl Broker {
    /// One proposal. To its proposer, an approved proposal comes with a fresh token (which
    /// retires the one before), and an allowed one whose token expired as well.
    pub async fn proposal(&self, who: &Principal, id: ProposalId) -> Result<Proposed, Trouble> {
        let _ = (who, id);
        todo!()
    }

    /// As [`Broker::proposal`], once it is neither held, committing nor in doubt, or when the
    /// time is over.
    pub async fn await_proposal(
        &self,
        who: &Principal,
        id: ProposalId,
        timeout: Duration,
    ) -> Result<Proposed, Trouble> {
        let _ = (who, id, timeout);
        todo!()
    }

    /// Proposals, newest first, without tokens. An agent sees its own.
    pub async fn proposals(
        &self,
        who: &Principal,
        request: &ListRequest,
    ) -> Result<Vec<Proposed>, Trouble> {
        let _ = (who, request);
        todo!()
    }

    /// Audit records of the caller's organisation; an agent sees those of its own proposals.
    pub async fn records(
        &self,
        who: &Principal,
        filter: RecordFilter,
    ) -> Result<Vec<StoredRecord>, Trouble> {
        let _ = (who, filter);
        todo!()
    }

    /// Resolves when a proposal changed after `seen` (its version), or after `timeout`.
    pub async fn changed(&self, id: ProposalId, seen: u64, timeout: Duration) {
        let _ = (id, seen, timeout);
        todo!()
    }
}
