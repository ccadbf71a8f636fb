//! Where proposals stand, for those who only watch: no token is put out, nothing changes.

use std::time::Duration;

use super::Pay;
use crate::broker::core::Trouble;
use crate::domain::ids::ProposalId;
use crate::domain::principal::Principal;
use crate::domain::proposal::Proposal;
use crate::telemetry;

/// Longest that a reader of metrics waits for the store.
const GAUGES_DEADLINE: Duration = Duration::from_millis(500);

impl Pay {
    /// One proposal as it is stored. Another's is as unknown as one that never existed.
    pub async fn standing(&self, who: &Principal, id: ProposalId) -> Result<Proposal, Trouble> {
        self.visible(who, id).await
    }

    /// The gauges as they are now, for whoever reads the metrics; as they last were where the
    /// store does not answer at once, because metrics are wanted most when it does not.
    pub async fn fresh_gauges(&self) {
        let read = tokio::time::timeout(GAUGES_DEADLINE, self.gauges()).await;
        if !matches!(read, Ok(Ok(()))) {
            tracing::debug!("the gauges are those of the last reading");
        }
    }

    /// Reads into the gauges how many proposals stand where, and how many records are not sealed. A
    /// duty of the worker.
    pub async fn gauges(&self) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let standings = self.ports().store.standings().await?;
        let oldest = standings.oldest_unsettled;
        let age = oldest.map_or(0, |at| now.secs().saturating_sub(at.secs()).max(0));
        telemetry::standings(standings.held, standings.unsettled, age);
        telemetry::audit_unsealed(self.audit.unsealed().await?);
        self.gauge_freezes().await?;
        Ok(())
    }
}
