//! Whose a payout is that carries one of our references.
//!
//! Whoever makes payouts at the bank chooses their references, and ours can be read there. So a
//! reference alone proves nothing: a payout is ours if the proposal was sent, and if amount,
//! account and currency are its own. Any other is reported, once for what it says, and governed
//! like every payout that others made.

use super::Bank;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::webhook::actor;
use crate::broker::core::Trouble;
use crate::connector::registry;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::call::{Evidence, Sighting};
use crate::domain::change::{Change, Record};
use crate::domain::document::Document;
use crate::domain::ids::{OrgId, ProposalId, hex};
use crate::domain::notice::NoticeKind;
use crate::domain::proposal::{Proposal, Settled, State};
use crate::domain::time::Timestamp;
use crate::store::ApplyError;

/// The mark that it was told. Named by the payout and a hash of what was said.
#[derive(Serialize, Deserialize)]
struct Told {
    at: Timestamp,
}

impl Document for Told {
    const KIND: &'static str = "borrowed_reference";
    const CACHED: bool = false;
    type Id = str;
}

/// Who made a payout.
pub(super) enum Made {
    /// This proposal did.
    ByUs(Box<Proposal>),
    /// Somebody else, whatever it carries.
    ByOthers,
}

impl Bank {
    /// Whether the proposal that a payout refers to has made it. What is not so, and looks as if it
    /// were meant to, is reported here.
    pub(super) async fn made_by(
        &self,
        id: ProposalId,
        evidence: &Evidence,
        payout: &Value,
        heard: &str,
    ) -> Result<Made, Trouble> {
        let Some(proposal) = self.ports().store.proposal(id).await? else {
            return Ok(Made::ByOthers);
        };
        let why = match differs(&proposal, payout) {
            None => match proposal.state {
                State::Committing | State::InDoubt => return Ok(Made::ByUs(Box::new(proposal))),
                State::Executed | State::Reversed if !is_another(&proposal, evidence) => {
                    return Ok(Made::ByUs(Box::new(proposal)));
                }
                State::Executed | State::Reversed | State::Failed => {
                    // It contradicts what is known, which is told with the proposal.
                    self.about_ours(proposal, payout, heard).await?;
                    return Ok(Made::ByOthers);
                }
                State::Blocked
                | State::Held
                | State::Allowed
                | State::Rejected
                | State::Cancelled
                | State::Expired => "the proposal was never sent".to_owned(),
            },
            Some(why) => why,
        };
        self.report_borrowed(&proposal, payout, heard, &why).await?;
        Ok(Made::ByOthers)
    }

    async fn report_borrowed(
        &self,
        proposal: &Proposal,
        payout: &Value,
        heard: &str,
        why: &str,
    ) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let payout_id = payout.get("id").and_then(Value::as_str).unwrap_or_default();
        let told = Sha256::digest(format!("{} {why}", proposal.fixed.id).as_bytes());
        let id = format!("{payout_id}/{}", hex(&told));
        let mark = Told { at: now }.write(&OrgId::default(), &id, Some(0));
        let actor = format!("{}:{heard}", actor());
        let mut record = Record::about(proposal, now, RecordKind::BorrowedReference, &actor)
            .deciding(Decision::Skipped, "evidence_mismatch")
            .with(json!({"why": why, "payout": payout}));
        record.payout = Some(payout_id.to_owned());
        let words = format!(
            "The payout {payout_id} at the bank carries the reference of a proposal of ours and is \
             not its payout: {why}"
        );
        let wanted = self.settings().people.wants(NoticeKind::Alert, "");
        let notice =
            Some(self.alert(now, RecordKind::BorrowedReference.name(), &words)).filter(|_| wanted);
        let notices = notice.into_iter().collect();
        let change = Change::documents(vec![mark], Vec::new(), vec![record], notices);
        match self.ports().store.apply(change).await {
            // Told before.
            Ok(_) | Err(ApplyError::Conflict(_)) => Ok(()),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }
}

/// Why this is not the payout that the proposal asks for, if it is not.
fn differs(proposal: &Proposal, payout: &Value) -> Option<String> {
    let (bank, tool) = (registry::bank(), proposal.fixed.tool.as_str());
    let seen = bank.seen(tool, &proposal.order(), payout);
    match seen.filter(|_| bank.makes(tool)) {
        None => Some("the proposal makes no payout".to_owned()),
        Some(Sighting::Found(_)) => None,
        Some(Sighting::Unclear(why)) => Some(why),
        Some(Sighting::Absent | Sighting::Refused(_)) => Some("it is another".to_owned()),
    }
}

/// Whether the proposal is known to have made another payout than this one.
fn is_another(proposal: &Proposal, evidence: &Evidence) -> bool {
    let known = match proposal.outcome() {
        Some(Settled::Executed(receipt)) => receipt.provider_id.as_ref(),
        Some(Settled::Refused(_) | Settled::Undone { .. }) | None => None,
    };
    known.is_some() && known != evidence.receipt.provider_id.as_ref()
}
