//! Requests whose signature does not hold: counted at once, recorded in sums.
//!
//! Whoever forges can do so thousands of times a second, and must not be able to fill the log or
//! hold up the store with it. So at most once a second one record says how many there were.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::Audit;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::change::Record;
use crate::domain::ids::OrgId;

/// How long forgeries are added up.
const WINDOW: Duration = Duration::from_secs(1);

/// The doors that can be forged at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forgery {
    /// The bank's webhooks.
    Webhook,
    /// `POST /slack/actions`.
    Slack,
}

impl Forgery {
    const ALL: [Self; 2] = [Self::Webhook, Self::Slack];

    fn kind(self) -> RecordKind {
        match self {
            Forgery::Webhook => RecordKind::WebhookForged,
            Forgery::Slack => RecordKind::SlackForged,
        }
    }
}

/// What was not recorded yet.
#[derive(Default)]
pub(super) struct Tally {
    counts: [AtomicU64; 2],
    recording: AtomicBool,
}

impl Audit {
    /// One more forgery. Never waits.
    pub fn forged(&self, what: Forgery) {
        let tally = &self.tally;
        tally.counts[what as usize].fetch_add(1, Ordering::Relaxed);
        if !tally.recording.swap(true, Ordering::AcqRel) {
            tokio::spawn(self.clone().record_forgeries());
        }
    }

    /// The first is recorded at once, the others of the window together.
    async fn record_forgeries(self) {
        loop {
            self.record_tally().await;
            tokio::time::sleep(WINDOW).await;
            let tally = &self.tally;
            if tally.counts.iter().any(|n| n.load(Ordering::Relaxed) > 0) {
                continue;
            }
            tally.recording.store(false, Ordering::Release);
            // One may have come between the look and the store; then its own task is ours.
            let missed = tally.counts.iter().any(|n| n.load(Ordering::Acquire) > 0);
            if !missed || tally.recording.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }

    async fn record_tally(&self) {
        let now = self.ports().ambient.now();
        let org = OrgId::default();
        for what in Forgery::ALL {
            let count = self.tally.counts[what as usize].swap(0, Ordering::AcqRel);
            if count == 0 {
                continue;
            }
            let record = Record::new(now, &org, what.kind(), "nobody")
                .deciding(Decision::Rejected, "bad_signature")
                .with(json!({"count": count}));
            if let Err(error) = self.note(record).await {
                tracing::error!(%error, count, "forgeries were not recorded");
                // Told with those of the next window.
                self.tally.counts[what as usize].fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}
