//! Reading: proposals, records. Ids of others read as unknown, with the same answer as ids that
//! never existed.

use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::Pay;
use crate::broker::core::pages::{Filling, MAX_PAGE, Next, Page, proposal_bytes, visible_agent};
use crate::broker::core::{ListRequest, MAX_AWAIT, Proposed, Trouble};
use crate::domain::ids::ProposalId;
use crate::domain::principal::Principal;
use crate::domain::proposal::{Proposal, State};
use crate::store::ProposalFilter;

/// How often the store is read while waiting, for what other processes write.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Proposals per page.
const PAGE: u32 = 50;

/// What another node tells next; silence where there are no others.
async fn next(others: &mut Option<Receiver<ProposalId>>) -> Result<ProposalId, RecvError> {
    match others {
        Some(others) => others.recv().await,
        None => std::future::pending().await,
    }
}

impl Pay {
    /// One proposal. To its proposer, an approved proposal comes with a fresh token (which
    /// retires the one before), and an allowed one whose token expired as well.
    pub async fn proposal(&self, who: &Principal, id: ProposalId) -> Result<Proposed, Trouble> {
        let proposal = self.visible(who, id).await?;
        self.with_token(who, proposal).await
    }

    /// As [`Pay::proposal`], once it is neither held, committing nor in doubt, or when the
    /// time is over.
    pub async fn await_proposal(
        &self,
        who: &Principal,
        id: ProposalId,
        timeout: Duration,
    ) -> Result<Proposed, Trouble> {
        let until = Instant::now() + timeout.min(MAX_AWAIT);
        loop {
            let proposal = self.visible(who, id).await?;
            let waits = matches!(
                proposal.state,
                State::Held | State::Committing | State::InDoubt
            );
            let left = until.saturating_duration_since(Instant::now());
            if !waits || left.is_zero() {
                return self.with_token(who, proposal).await;
            }
            self.changed(id, proposal.version, left).await;
        }
    }

    /// Proposals, newest first, without tokens, as many as a page holds. An agent sees its own.
    pub async fn proposals(
        &self,
        who: &Principal,
        request: &ListRequest,
    ) -> Result<Page<Proposed>, Trouble> {
        let Some(agent) = visible_agent(who, request.agent.as_ref()) else {
            return Ok(Page::empty());
        };
        let turn = self.places().long_read(who).await?;
        let mut filter = ProposalFilter {
            org: Some(who.org.clone()),
            agent,
            state: request.state,
            tool: request.tool.clone(),
            before: request.cursor,
            limit: 0,
        };
        let mut filling = Filling::new(request.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE));
        filter.limit = filling.ask();
        let page = loop {
            let rows = self.ports().store.proposals(&filter).await?;
            let next;
            (filling, next) = filling.take(filter.limit, rows, proposal_bytes);
            match next {
                Next::Done(page) => break page,
                Next::Ask(rows) => filter.limit = rows,
            }
            filter.before = filling.last().map(Proposal::id).or(filter.before);
        };
        let mut shown = Vec::with_capacity(page.rows.len());
        for proposal in page.rows {
            shown.push(Proposed {
                proposal: self.seen_by(who, proposal).await,
                token: None,
                replayed: false,
                stored: true,
                retry_after_secs: None,
            });
        }
        Ok(Page {
            rows: shown,
            more: page.more,
            turn: Some(turn),
        })
    }

    /// Resolves when a proposal changed after `seen` (its version), or after `timeout`.
    pub async fn changed(&self, id: ProposalId, seen: u64, timeout: Duration) {
        let mut wakeups = self.memory().listen();
        let mut others = self.memory().listen_to_others();
        let heard = async {
            loop {
                let wake = async {
                    tokio::select! {
                        wake = wakeups.recv() => wake,
                        wake = next(&mut others) => wake,
                    }
                };
                let wake = tokio::time::timeout(LOOK_AGAIN, wake).await;
                // Silence, a lag and another's wake-up all mean: look whether it is ours.
                let ours = !matches!(wake, Ok(Ok(other)) if other != id);
                if ours && self.version(id).await.is_none_or(|version| version != seen) {
                    return;
                }
            }
        };
        // The time being over is as good a reason to look again as a change.
        let _ = tokio::time::timeout(timeout, heard).await;
    }

    /// Resolves when any proposal was written, here or on a node that tells of it, or after
    /// `timeout`. Whoever waits looks again, whatever the reason.
    pub async fn stirred(&self, timeout: Duration) {
        let mut wakeups = self.memory().listen();
        let mut others = self.memory().listen_to_others();
        let heard = async {
            tokio::select! {
                _ = wakeups.recv() => {}
                _ = next(&mut others) => {}
            }
        };
        let _ = tokio::time::timeout(timeout, heard).await;
    }

    async fn version(&self, id: ProposalId) -> Option<u64> {
        let stored = self.ports().store.proposal(id).await;
        stored.ok().flatten().map(|proposal| proposal.version)
    }

    async fn with_token(&self, who: &Principal, proposal: Proposal) -> Result<Proposed, Trouble> {
        let mut proposal = proposal;
        let own = who.agent.as_ref() == Some(&proposal.fixed.agent);
        let now = self.ports().ambient.now();
        let live = proposal
            .moving
            .token
            .as_ref()
            .is_some_and(|t| t.expires_at > now.secs());
        let approved = !proposal.moving.approvals.is_empty();
        let mut token = None;
        if own && proposal.state == State::Allowed && (approved || !live) {
            proposal = self.renewed(proposal, &who.id).await?;
            token = self
                .sealed(&proposal)
                .filter(|token| token.expires_at > now.secs());
        }
        Ok(Proposed {
            proposal: self.seen_by(who, proposal).await,
            token,
            replayed: false,
            stored: true,
            retry_after_secs: None,
        })
    }

    /// A proposal that this caller may know of.
    pub(super) async fn visible(
        &self,
        who: &Principal,
        id: ProposalId,
    ) -> Result<Proposal, Trouble> {
        let proposal = self.ports().store.proposal(id).await?;
        proposal
            .filter(|proposal| who.may_read(&proposal.fixed.org, &proposal.fixed.agent))
            .ok_or(Trouble::NotFound("proposal"))
    }

    /// A proposal that must exist.
    pub(super) async fn read(&self, id: ProposalId) -> Result<Proposal, Trouble> {
        self.ports()
            .store
            .proposal(id)
            .await?
            .ok_or(Trouble::NotFound("proposal"))
    }
}
