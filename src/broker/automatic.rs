//! For agents that have gone home: where the policy says so, the broker itself commits what people
//! have approved. Through the same door as everybody: a token, the checks, a claim.

use super::{Broker, CommitRequest};
use crate::domain::principal::{Principal, Role};
use crate::domain::proposal::{Proposal, State};

impl Broker {
    /// Commits an approved proposal in its agent's name, if its policy asked for that.
    pub(super) async fn execute_if_asked(&self, proposal: &Proposal) {
        if !proposal.fixed.execute_on_approval || proposal.state != State::Allowed {
            return;
        }
        let who = Principal {
            id: "hundi:automatic".to_owned(),
            name: "hundi".to_owned(),
            org: proposal.fixed.org.clone(),
            role: Role::Agent,
            agent: Some(proposal.fixed.agent.clone()),
        };
        if let Err(error) = self.commit_as(&who, proposal.clone()).await {
            tracing::error!(proposal = %proposal.fixed.id, %error, "automatic commit failed");
        }
    }

    /// Puts out a token and presents it, as the agent would.
    pub(super) async fn commit_as(
        &self,
        who: &Principal,
        proposal: Proposal,
    ) -> Result<super::Committed, super::Trouble> {
        let renewed = self.renewed(proposal, &who.id).await?;
        let token = self
            .sealed(&renewed)
            .ok_or(super::Trouble::WrongState(renewed.state))?;
        let request = CommitRequest {
            proposal_id: renewed.fixed.id.to_string(),
            commit_token: token.text,
            tool: Some(renewed.fixed.tool.to_string()),
            arguments: renewed.fixed.args.value(),
        };
        self.commit(who, request).await
    }
}
