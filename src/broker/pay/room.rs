//! Room at an upstream, taken before anything is claimed.

use super::Pay;
use crate::broker::core::Trouble;
use crate::broker::core::load::Room;
use crate::connector::registry;
use crate::domain::principal::Principal;
use crate::domain::proposal::Proposal;
use crate::domain::tool::Executor;

impl Pay {
    /// Room for this proposal at its upstream; `None` for what is done in process.
    pub(super) async fn room_for(
        &self,
        who: &Principal,
        proposal: &Proposal,
    ) -> Result<Option<(Room, Room)>, Trouble> {
        let tool = self
            .tools
            .catalogue()
            .get(&proposal.fixed.org, proposal.fixed.tool.as_str());
        let upstream = match tool.as_ref().map(|tool| &tool.executor) {
            Some(Executor::Bank) => registry::bank().name(),
            Some(Executor::Upstream { upstream, .. }) => upstream,
            Some(Executor::Registered(registered)) => &registered.upstream(),
            // Nothing is sent: done here, or refused by the claim.
            Some(Executor::Noop) | None => return Ok(None),
        };
        let own = self.places().at_upstreams(who);
        self.load().at(upstream, own).await.map(Some)
    }
}
