//! Payouts that somebody decided at the bank itself while they waited here.
//!
//! Nobody should be asked about what is decided, nothing should be reserved twice when a payout
//! waits again in another state, and what we let go ourselves must not be governed a second time
//! because its case was not closed yet.

use super::Bank;
use serde_json::{Value, json};

use super::external::case_name;
use super::webhook::actor;
use crate::broker::core::Trouble;
use crate::broker::pay::cases::{Case, CaseId};
use crate::connector::registry;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::change::{Change, Record};
use crate::domain::document::Stored;
use crate::domain::ids::OrgId;
use crate::domain::proposal::{Proposal, State};
use crate::store::ApplyError;

/// Who moved a payout on that waits no longer as it did.
pub(super) enum Moved {
    /// Nobody, as far as is known here.
    Unknown,
    /// This proposal did, or is about to.
    ByUs(Box<Proposal>),
    /// Somebody at the bank; what was open here is closed.
    AtBank,
}

impl Bank {
    /// What an open case means for a payout that is now shown in another state than it waited in.
    /// One that nothing was done about yet is closed: somebody decided at the bank.
    pub(super) async fn moved_on(&self, payout: &Value) -> Result<Moved, Trouble> {
        let text = |name: &str| payout.get(name).and_then(Value::as_str);
        let (Some(id), Some(shown)) = (text("id"), text("status")) else {
            return Ok(Moved::Unknown);
        };
        for state in registry::bank().waits() {
            if *state == shown {
                continue;
            }
            let org = OrgId::default();
            let case_id = CaseId {
                payout: id.to_owned(),
                state,
            };
            let Some(Ok(case)) = self.find::<Case>(&org, &case_id).await? else {
                continue;
            };
            let agent = &self.settings().bank.external_agent;
            let name = case_name(id, state, case.value.attempt);
            let proposal = self
                .ports()
                .store
                .by_key(self.owner(), agent, &name)
                .await?;
            match proposal.as_ref().map(|proposal| proposal.state) {
                None | Some(State::Held | State::Allowed) => {
                    return self.close_moot(case, proposal, payout).await;
                }
                Some(State::Committing | State::InDoubt | State::Executed | State::Reversed) => {
                    let ours = proposal.map(Box::new);
                    return Ok(ours.map_or(Moved::Unknown, Moved::ByUs));
                }
                // It is being turned down, and what is shown may be just that.
                Some(
                    State::Blocked
                    | State::Failed
                    | State::Rejected
                    | State::Cancelled
                    | State::Expired,
                ) => {}
            }
        }
        Ok(Moved::Unknown)
    }

    async fn close_moot(
        &self,
        case: Stored<Case>,
        proposal: Option<Proposal>,
        payout: &Value,
    ) -> Result<Moved, Trouble> {
        let now = self.ports().ambient.now();
        let mut record = match &proposal {
            Some(proposal) => Record::about(proposal, now, RecordKind::ExternalPayout, actor()),
            None => Record::new(now, self.owner(), RecordKind::ExternalPayout, actor()),
        }
        .deciding(Decision::Skipped, "DECIDED_AT_BANK");
        let text = |name: &str| payout.get(name).and_then(Value::as_str);
        record.payout = text("id").map(str::to_owned);
        let record = record.with(json!({
            "why": "somebody decided at the bank", "at_bank": text("status"),
        }));
        let change = Change::documents(vec![case.remove()], Vec::new(), vec![record], Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => {}
            // Somebody acts on it at this moment; whatever that is, it finds the payout moved.
            Err(ApplyError::Conflict(_)) => return Ok(Moved::Unknown),
            Err(ApplyError::Store(error)) => return Err(error.into()),
        }
        if let Some(proposal) = proposal {
            match self
                .pay
                .cancel(&self.bank_principal(), proposal.fixed.id)
                .await
            {
                Ok(_) | Err(Trouble::WrongState(_)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(Moved::AtBank)
    }
}
