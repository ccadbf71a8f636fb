//! Handed on by hand: what the bank or Slack signed, brought by an operator's tool instead of a
//! request of theirs, and a look at the bank when an operator asks for one.
//!
//! Nothing is believed because of who brings it. The same signatures are checked, the same
//! repetitions are known, and the same duties do the work; what is added is a wait of a few seconds
//! for what was decided, read from the audit log like everything else.

use super::Bank;
use std::time::Duration;

use tokio::time::Instant;

use super::external::BATCH;
use super::poll::PollerView;
use super::webhook::{Received, actor};
use crate::broker::audit::forgeries::Forgery;
use crate::broker::core::{Proposed, Trouble};
use crate::broker::pay::slack::NotGenuine;
use crate::domain::audit::names::RecordKind;
use crate::domain::change::Record;
use crate::domain::ids::{AgentId, ProposalId};
use crate::domain::principal::{Principal, Right};
use crate::store::RecordFilter;

/// How long a decision is waited for. The bank itself would wait five seconds.
const PATIENCE: Duration = Duration::from_secs(4);
/// Pause between two looks: the duties may be at work in another task.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Records read per look.
const RECORDS: u32 = 500;
/// How long one round of asking goes on deciding; what is left then is the duties'.
const DECIDING: Duration = Duration::from_secs(20);
/// Payouts of one round of asking whose decisions are told: an answer of about 300 KiB.
const MAX_TOLD: usize = 1_000;

/// What became of a webhook.
#[derive(Clone, PartialEq, Debug)]
pub struct Handled {
    /// What the door made of it.
    pub received: Received,
    /// What was decided about the payout, if that is known yet.
    pub decided: Option<Decided>,
}

/// What was decided about one payout of the bank, as its audit record has it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Decided {
    /// The payout.
    pub payout: String,
    /// `APPROVED`, `HELD`, `REJECTED`, `SKIPPED`, or `SETTLED` for news about our own payouts.
    pub decision: String,
    /// The stable code.
    pub reason: String,
    /// More for people, or empty.
    pub detail: String,
    /// Minor units.
    pub amount: Option<i64>,
    /// The agent it was accounted to.
    pub agent: Option<AgentId>,
    /// The proposal.
    pub proposal: Option<ProposalId>,
}

/// What one look at the bank found.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// Payouts that wait at the bank.
    pub found: usize,
    /// What is decided about them, as far as it is by now, about a thousand at most.
    pub decisions: Vec<Decided>,
    /// How the asking goes.
    pub poller: PollerView,
}

/// What became of a button press.
#[derive(Clone, Debug)]
pub enum Pressed {
    /// It decided.
    Decided {
        /// True if it approved.
        approved: bool,
        /// Slack's id of who pressed.
        user: String,
        /// The proposal as it then stood.
        proposed: Box<Proposed>,
    },
    /// Slack did not sign this, or too long ago.
    Forged,
    /// Slack's own, and no press of a button of ours.
    Ignored(&'static str),
}

impl Bank {
    /// Takes in one webhook that was brought by hand, and tells what was decided. For operators.
    pub async fn relay_webhook(
        &self,
        who: &Principal,
        payload: &[u8],
        signature: &str,
        event_id: &str,
    ) -> Result<Handled, Trouble> {
        self.owners_operator(who)?;
        let (received, seq) = self.count_webhook(payload, signature, event_id).await?;
        let decided = match received {
            Received::Accepted => self.decided_after(seq).await?,
            Received::Duplicate | Received::Kept | Received::Forged => None,
        };
        Ok(Handled { received, decided })
    }

    /// Asks the bank for payouts that wait, decides on new ones, and tells. For operators.
    pub async fn relay_poll(&self, who: &Principal) -> Result<Asked, Trouble> {
        self.owners_operator(who)?;
        let polled = self.poll_now().await?;
        let enough = Instant::now() + DECIDING;
        // Each turn takes up where the last one ended, and one of them may have begun in between.
        for _ in 0..=polled.payouts.len().div_ceil(BATCH) {
            self.work_cases().await?;
            if Instant::now() > enough {
                break;
            }
        }
        let mut decisions = Vec::new();
        for payout in polled.payouts.iter().take(MAX_TOLD) {
            let filter = RecordFilter {
                payout: Some(payout.clone()),
                limit: RECORDS,
                ..RecordFilter::default()
            };
            let records = self.ports().store.records(&filter).await?;
            let newest = records.into_iter().map(|stored| stored.record);
            let newest = newest
                .filter(|record| record.kind == RecordKind::ExternalPayout)
                .map(told);
            decisions.extend(newest.take(1));
        }
        Ok(Asked {
            found: polled.payouts.len(),
            decisions,
            poller: self.poller().await?,
        })
    }

    /// Acts on a button press that was brought by hand. For operators; what it decides is the
    /// decision of whoever pressed, by Slack's word.
    pub async fn relay_press(
        &self,
        who: &Principal,
        timestamp: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<Pressed, Trouble> {
        operator(who)?;
        let press = match self.pay.slack_press(timestamp, signature, body)? {
            Ok(press) => press,
            Err(NotGenuine::Unreadable(why)) => return Ok(Pressed::Ignored(why)),
            Err(NotGenuine::Stale | NotGenuine::BadSignature) => {
                self.audit.forged(Forgery::Slack);
                return Ok(Pressed::Forged);
            }
        };
        let proposed = self.pay.slack_decide(&press).await?;
        Ok(Pressed::Decided {
            approved: press.approves(),
            user: press.user,
            proposed: Box::new(proposed),
        })
    }

    /// What the bank tells is its account's owner's.
    fn owners_operator(&self, who: &Principal) -> Result<(), Trouble> {
        match *self.owner() == who.org && who.may(Right::Operate) {
            true => Ok(()),
            false => Err(Trouble::Forbidden { roles: who.roles }),
        }
    }

    /// Works the event off, or waits until a duty has, and reads what came of it.
    async fn decided_after(&self, seq: i64) -> Result<Option<Decided>, Trouble> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.work_webhooks().await?;
            self.work_cases().await?;
            let found = self.decision_about(seq).await?;
            if found.is_some() || Instant::now() >= until {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What is on record about the event whose own record has this number.
    async fn decision_about(&self, seq: i64) -> Result<Option<Decided>, Trouble> {
        let after = |seq: i64, payout: Option<String>, limit| RecordFilter {
            after_seq: Some(seq),
            payout,
            limit,
            ..RecordFilter::default()
        };
        let store = &self.ports().store;
        let own = store.records(&after(seq - 1, None, 1)).await?;
        let Some(event) = own.into_iter().find(|stored| stored.seq == seq) else {
            return Ok(None);
        };
        let event = event.record;
        let later = after(seq, event.payout.clone(), RECORDS);
        let later = store.records(&later).await?.into_iter();
        let mut later = later.map(|stored| stored.record);
        Ok(later.find(|record| is_about(record, &event)).map(told))
    }
}

/// Kinds of records that say of an event that nothing came of it.
const ASKED_FOR_NOTHING: [RecordKind; 2] = [RecordKind::WebhookSkipped, RecordKind::WebhookFailed];
/// Kinds of records that an event can lead to.
const CAME_OF_IT: [RecordKind; 6] = [
    RecordKind::ExternalPayout,
    RecordKind::Executed,
    RecordKind::Arrived,
    RecordKind::Reversed,
    RecordKind::Contradicted,
    RecordKind::EvidenceRefused,
];

/// Whether a record tells what came of this event.
fn is_about(record: &Record, event: &Record) -> bool {
    let event_id = |record: &Record| record.detail.get("event_id").cloned();
    let ours = |record: &Record| record.actor.starts_with(actor()) && record.payout == event.payout;
    match record.kind.known() {
        Some(kind) if ASKED_FOR_NOTHING.contains(&kind) => event_id(record) == event_id(event),
        Some(kind) if CAME_OF_IT.contains(&kind) => ours(record),
        Some(_) | None => false,
    }
}

fn told(record: Record) -> Decided {
    let words = record.detail.get("why").and_then(|why| why.as_str());
    let (decision, reason) = match record.decision.is_nothing() {
        true => ("SETTLED", record.kind.name().to_owned()),
        false => (record.decision.name(), record.reason),
    };
    let decision = decision.to_owned();
    Decided {
        payout: record.payout.unwrap_or_default(),
        decision,
        reason,
        detail: words.unwrap_or_default().to_owned(),
        amount: record.amount,
        agent: record.agent,
        proposal: record.proposal,
    }
}

fn operator(who: &Principal) -> Result<(), Trouble> {
    // Slack is the machine's, and its buttons are of all organisations.
    if who.may_for_all(Right::Operate) {
        return Ok(());
    }
    Err(Trouble::Forbidden { roles: who.roles })
}
