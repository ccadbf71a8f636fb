//! Where proposals stand, for those who only watch: no token is put out, nothing changes.

use super::{Broker, Trouble};
use crate::domain::ids::ProposalId;
use crate::domain::principal::Principal;
use crate::domain::proposal::Proposal;
use crate::telemetry;

impl Broker {
    /// One proposal as it is stored. Another's is as unknown as one that never existed.
    pub async fn standing(&self, who: &Principal, id: ProposalId) -> Result<Proposal, Trouble> {
        self.visible(who, id).await
    }

    /// Reads into the gauges how many proposals stand where. A duty of the worker.
    pub async fn gauges(&self) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let standings = self.ports().store.standings().await?;
        let oldest = standings.oldest_unsettled;
        let age = oldest.map_or(0, |at| now.secs().saturating_sub(at.secs()).max(0));
        telemetry::standings(standings.held, standings.unsettled, age);
        Ok(())
    }
}
