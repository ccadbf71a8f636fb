//! Clients that wait for people: the page on which people decide, and the sealed state with which
//! a client comes back.
//!
//! A state is good once. Its use is remembered in the store, as the number of the round that a
//! proposal's client is in, so that a state which one node has taken back opens nothing at any other,
//! nor after a restart. Nothing here agrees to anything: all that a client can say is that the page
//! was opened.

use serde::{Deserialize, Serialize};

use super::Pay;
use crate::broker::core::Trouble;
use crate::domain::change::{Change, DocWrite};
use crate::domain::document::{Document, Stored, version};
use crate::domain::ids::{ArgsHash, ProposalId};
use crate::domain::principal::Principal;
use crate::domain::proposal::Proposal;
use crate::domain::request_state::RequestState;
use crate::domain::time::Timestamp;
use crate::store::ApplyError;

/// How long a client may take over one round: people read, and look things up.
const ROUND_SECS: i64 = 60 * 60;
/// How often a mark is written when others write the same.
const TRIES: u32 = 5;
/// Marks forgotten per turn of the duty.
const FORGET_BATCH: usize = 500;

/// Where the client of a proposal is. Named by the proposal. There is none before the first answer.
#[derive(Clone, Default, Serialize, Deserialize)]
struct WaitingClient {
    /// Rounds that are over.
    round: u64,
    /// Whether the page was shown to somebody, as the client says.
    opened: bool,
    /// When no state of this proposal can be genuine any more, and this may be forgotten.
    until: Timestamp,
}

impl Document for WaitingClient {
    const KIND: &'static str = "waiting_client";
    const CACHED: bool = false;
    type Id = ProposalId;
}

impl Pay {
    /// The page on which people decide on this proposal; `None` where there is no console.
    pub fn approval_page(&self, id: ProposalId) -> Option<String> {
        let origin = self.public_origin()?;
        Some(format!("{origin}/console/approvals/{id}"))
    }

    /// The state with which the client that made `request` comes back to ask about this proposal.
    pub async fn state_for(
        &self,
        who: &Principal,
        proposal: &Proposal,
        request: ArgsHash,
    ) -> Result<String, Trouble> {
        let now = self.ports().ambient.now();
        let waiting = self.waiting(proposal).await?;
        let state = RequestState {
            audience: self.settings().audience.clone(),
            principal: who.id.clone(),
            proposal_id: proposal.fixed.id,
            request,
            round: waiting.map_or(0, |found| found.value.round),
            expires_at: until(proposal, now).min(now.plus_secs(ROUND_SECS)).secs(),
        };
        let sealed = state.seal(&self.ports().keys.ring());
        sealed.ok_or_else(|| Trouble::Off("no token key is active".to_owned()))
    }

    /// Takes a state back, once: which proposal its client waits for. With `opened`, remembers that
    /// the page was opened.
    ///
    /// # Errors
    /// [`Trouble::BadRequestState`] for one that was changed, used, is too old, or belongs to another
    /// principal or another request.
    pub async fn take_state(
        &self,
        who: &Principal,
        text: &str,
        request: ArgsHash,
        opened: bool,
    ) -> Result<ProposalId, Trouble> {
        let now = self.ports().ambient.now();
        let state = RequestState::open(&self.ports().keys.ring(), text, now);
        let ours = |state: &RequestState| {
            state.audience == self.settings().audience
                && state.principal == who.id
                && state.request == request
        };
        let state = state.filter(ours).ok_or(Trouble::BadRequestState)?;
        let proposal = match self.visible(who, state.proposal_id).await {
            Err(Trouble::NotFound(_)) => return Err(Trouble::BadRequestState),
            found => found?,
        };
        let found = self.waiting(&proposal).await?;
        let known = found.as_ref().map(|found| found.value.clone());
        let known = known.unwrap_or_default();
        if known.round != state.round {
            return Err(Trouble::BadRequestState);
        }
        let next = WaitingClient {
            round: known.round + 1,
            opened: known.opened || opened,
            until: until(&proposal, now),
        };
        match self.mark(&proposal, found, &next).await? {
            true => Ok(state.proposal_id),
            // Somebody else has used it at this moment.
            false => Err(Trouble::BadRequestState),
        }
    }

    /// Remembers that the page was opened, as the client says.
    pub async fn page_opened(&self, proposal: &Proposal) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            let now = self.ports().ambient.now();
            let found = self.waiting(proposal).await?;
            let known = found.as_ref().map(|found| found.value.clone());
            let known = known.unwrap_or_default();
            if known.opened {
                return Ok(());
            }
            let next = WaitingClient {
                opened: true,
                until: until(proposal, now),
                ..known
            };
            if self.mark(proposal, found, &next).await? {
                return Ok(());
            }
        }
        Err(Trouble::Changed)
    }

    /// Whether a client said that the page was opened.
    pub async fn is_page_opened(&self, proposal: &Proposal) -> Result<bool, Trouble> {
        let found = self.waiting(proposal).await?;
        Ok(found.is_some_and(|found| found.value.opened))
    }

    /// Forgets the marks of proposals that no client can wait for any more.
    pub async fn forget_waiting(&self) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let all = self.documents::<WaitingClient>(None).await?;
        let old = all.into_iter().flatten();
        let old = old.filter(|found| found.value.until <= now);
        let old: Vec<DocWrite> = old.take(FORGET_BATCH).map(Stored::remove).collect();
        match old.is_empty() {
            true => Ok(()),
            false => self.write(old).await,
        }
    }

    async fn waiting(&self, proposal: &Proposal) -> Result<Option<Stored<WaitingClient>>, Trouble> {
        let fixed = &proposal.fixed;
        self.document::<WaitingClient>(&fixed.org, &fixed.id).await
    }

    /// Writes the mark if it is still as it was read; whether it was.
    async fn mark(
        &self,
        proposal: &Proposal,
        found: Option<Stored<WaitingClient>>,
        next: &WaitingClient,
    ) -> Result<bool, Trouble> {
        let fixed = &proposal.fixed;
        let write = next.write(&fixed.org, &fixed.id, Some(version(found.as_ref())));
        let change = Change::documents(vec![write], Vec::new(), Vec::new(), Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => Ok(true),
            Err(ApplyError::Conflict(_)) => Ok(false),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }
}

/// Until when a state of this proposal may be genuine: some time after it lapses, so that its client
/// is told how it ended.
fn until(proposal: &Proposal, now: Timestamp) -> Timestamp {
    proposal.fixed.lapses_at.max(now).plus_secs(ROUND_SECS)
}
