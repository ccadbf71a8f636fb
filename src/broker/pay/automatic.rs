//! For agents that have gone home: where the policy says so, the broker itself commits what people
//! have approved. Through the same door as everybody: a token, the checks, a claim.
//!
//! The approval writes it down as an errand in the same transaction. So what a crash or a freeze
//! kept from being committed at once is committed later, until the proposal lapses.

use futures_util::{StreamExt, stream};

use super::Pay;
use crate::broker::core::documents::Read;
use crate::broker::core::{CommitRequest, Committed, Trouble};
use crate::domain::errands::Errand;
use crate::domain::ids::ProposalId;
use crate::domain::policy::Policy;
use crate::domain::principal::{Principal, Role};
use crate::domain::proposal::{Origin, Proposal, State};
use crate::domain::time::Timestamp;
use crate::domain::tool::{Standing, Tool};

/// So long an errand is left to whoever took the last approval, in seconds.
const FIRST_TRY_SECS: i64 = 5;
/// Errands under way at once: far fewer than the commits of agents that are at home.
const AT_ONCE: usize = 16;

impl Pay {
    /// Commits an approved proposal in its agent's name, if its policy asked for that.
    pub(super) async fn execute_if_asked(&self, proposal: &Proposal) {
        if !proposal.fixed.execute_on_approval || proposal.state != State::Allowed {
            return;
        }
        match self.is_still_asked(proposal).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
        let who = match self.in_its_name(proposal).await {
            Ok(Some(who)) => who,
            Ok(None) | Err(_) => return,
        };
        if let Err(error) = self.commit_as(&who, proposal.clone()).await {
            tracing::error!(proposal = %proposal.fixed.id, %error, "automatic commit failed");
        }
    }

    /// Whether what was asked for at the time of proposing is asked for now: by the policy in force,
    /// and with a key that nobody has revoked. Otherwise the approval stands, and whoever holds a key
    /// of the agent commits, or nobody.
    async fn is_still_asked(&self, proposal: &Proposal) -> Result<bool, Trouble> {
        let fixed = &proposal.fixed;
        if fixed.origin != Origin::Agent {
            return Ok(true);
        }
        // Not out of memory: no guard holds what follows to it.
        let found = self.find::<Option<Policy>>(&fixed.org, &fixed.agent);
        let policy = found.await?.transpose()?.and_then(|stored| stored.value);
        let key = self.stored_key(&fixed.org, &fixed.proposer).await?;
        let asked = policy.is_some_and(|policy| policy.execute_on_approval);
        Ok(asked && key.is_none_or(|key| key.is_live()))
    }

    /// Goes on with errands. Returns how many were open. All are looked at, several at once, so
    /// that neither those that a freeze stops nor those whose provider hangs hold up the rest:
    /// there are never more than people have approved by hand.
    pub async fn work_errands(&self) -> Result<usize, Trouble> {
        let open = self.documents::<Errand>(None).await?;
        let now = self.ports().ambient.now();
        let worked = stream::iter(open).map(|errand| self.work_errand(errand, now));
        let worked: Vec<_> = worked.buffer_unordered(AT_ONCE).collect().await;
        let count = worked.len();
        worked.into_iter().collect::<Result<(), Trouble>>()?;
        Ok(count)
    }

    async fn work_errand(&self, errand: Read<Errand>, now: Timestamp) -> Result<(), Trouble> {
        // That there is one says what has to be done; the rest is only when.
        let (key, version, at) = match errand {
            Ok(stored) => (stored.key, stored.version, stored.value.at),
            Err(unreadable) => {
                let doc = *unreadable.doc;
                (doc.key, doc.version, Timestamp::default())
            }
        };
        let proposal = match key.id.parse::<ProposalId>() {
            Ok(id) => self.ports().store.proposal(id).await?,
            Err(_) => None,
        };
        match proposal {
            Some(proposal) if proposal.state == State::Allowed => {
                if at.plus_secs(FIRST_TRY_SECS) <= now && self.may_go(&proposal).await? {
                    self.execute_if_asked(&proposal).await;
                }
                Ok(())
            }
            Some(_) | None => match self.write(vec![key.removed(version)]).await {
                Ok(()) | Err(Trouble::Changed) => Ok(()),
                Err(trouble) => Err(trouble),
            },
        }
    }

    /// Whether a commit would pass now. Asked first, because a refused one is a record each time.
    async fn may_go(&self, proposal: &Proposal) -> Result<bool, Trouble> {
        let tool = self
            .tools
            .catalogue()
            .get(&proposal.fixed.org, proposal.fixed.tool.as_str());
        let (refusal, _) = self.recheck(proposal, tool.as_deref()).await?;
        let as_proposed = |tool: &Tool| {
            tool.standing == Standing::Accepted && tool.digest == proposal.fixed.tool_digest
        };
        let Some(tool) = tool.filter(|tool| refusal.is_none() && as_proposed(tool)) else {
            return Ok(false);
        };
        let Some(who) = self.in_its_name(proposal).await? else {
            return Ok(false);
        };
        Ok(proposal.fixed.origin != Origin::Agent || self.tools.usable_by(&who).await?.has(&tool))
    }

    /// Puts out a token and presents it, as the agent would.
    pub(in crate::broker) async fn commit_as(
        &self,
        who: &Principal,
        proposal: Proposal,
    ) -> Result<Committed, Trouble> {
        let renewed = self.renewed(proposal, &who.id).await?;
        let token = self
            .sealed(&renewed)
            .ok_or(Trouble::WrongState(renewed.state))?;
        let request = CommitRequest {
            proposal_id: renewed.fixed.id.to_string(),
            commit_token: token.text,
            tool: Some(renewed.fixed.tool.to_string()),
            arguments: renewed.fixed.args.value(),
        };
        self.commit(who, request).await
    }

    /// The broker, acting for the agent that proposed, through the server that it came by; `None` if
    /// that lets nobody in any more.
    async fn in_its_name(&self, proposal: &Proposal) -> Result<Option<Principal>, Trouble> {
        let fixed = &proposal.fixed;
        let who = Principal {
            id: "hundi:automatic".to_owned(),
            name: "hundi".to_owned(),
            org: fixed.org.clone(),
            roles: Role::Agent.into(),
            agent: Some(fixed.agent.clone()),
            person: None,
            server: None,
        };
        self.access
            .through(who, fixed.access.server.as_deref())
            .await
    }
}
