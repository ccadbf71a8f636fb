//! Asking the bank for payouts that wait, for those who get no webhooks or missed some.
//!
//! What a list shows goes the same way as what a webhook says, so it does not matter which came
//! first. One document says when to ask next, so that of several nodes one asks; it is written
//! before asking, so that a process that dies while asking delays the next try and nothing else.
//! Pages overlap, because payouts come and go while they are read; what slips through all the same
//! is there at the next turn.

use super::Bank;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::broker::core::Trouble;
use crate::connector::razorpay::{self, UPSTREAM};
use crate::domain::call::Call;
use crate::domain::document::{Document, Single, version};
use crate::domain::ids::OrgId;
use crate::domain::time::Timestamp;

/// Payouts per page: the most that the bank gives.
const PAGE: usize = 100;
/// How far a page reaches back into the one before.
const OVERLAP: usize = 10;
/// Pages per state; more than that wait only where something is very wrong.
const MAX_PAGES: usize = 50;
/// Longest that one page may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// The states in which a payout waits.
const STATES: [&str; 2] = ["pending", "queued"];
/// First pause after a failure; doubles up to the longest.
const FIRST_PAUSE_MS: i64 = 5_000;
/// Longest pause after failures.
const LONGEST_PAUSE_MS: i64 = 300_000;
/// Bounds of the configured interval, in seconds.
const INTERVAL: (u32, u32) = (5, 300);

/// When to ask next.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Due {
    due: Timestamp,
    failures: u32,
    #[serde(default)]
    asked: Option<Timestamp>,
}

impl Document for Due {
    const KIND: &'static str = "poll";
    const CACHED: bool = false;
    type Id = str;
}

impl Single for Due {
    const ID: &'static str = UPSTREAM;
}

/// What one round of asking found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Polled {
    /// Ids of the payouts that wait at the bank, each once, as it listed them.
    pub payouts: Vec<String>,
}

/// How the asking goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PollerView {
    /// The pause between two rounds in seconds; `None` if nobody asks by itself.
    pub interval_secs: Option<u32>,
    /// Rounds that failed since the last one that did not.
    pub failures: u32,
    /// When the last round began.
    pub last_poll_at: Option<Timestamp>,
    /// When the next one is due.
    pub next_poll_at: Option<Timestamp>,
}

impl Bank {
    /// Asks if it is time to, and if polling is on.
    pub async fn poll_if_due(&self) -> Result<(), Trouble> {
        let Some(secs) = self.poll_interval() else {
            return Ok(());
        };
        let interval = i64::from(secs) * 1_000;
        let now = self.ports().ambient.now();
        let stored = self.document::<Due>(&OrgId::default(), Due::ID).await?;
        let version = version(stored.as_ref());
        let Due { due, failures, .. } = stored.map_or_else(Due::default, |stored| stored.value);
        // A time far ahead was set by a clock that has stepped back since.
        if due > now && due < now.plus_millis(2 * LONGEST_PAUSE_MS) {
            return Ok(());
        }
        if !self
            .set_due(version, self.later(interval), failures)
            .await?
        {
            return Ok(());
        }
        match self.poll_now().await {
            Ok(_) if failures == 0 => Ok(()),
            Ok(_) => self
                .set_due(version + 1, self.later(interval), 0)
                .await
                .map(drop),
            Err(trouble) => {
                let failures = failures.saturating_add(1);
                let pause = FIRST_PAUSE_MS.saturating_mul(1 << (failures - 1).min(10));
                let due = self.later(pause.min(LONGEST_PAUSE_MS));
                self.set_due(version + 1, due, failures).await?;
                Err(trouble)
            }
        }
    }

    fn poll_interval(&self) -> Option<u32> {
        let secs = self.settings().bank.poll_interval_secs?;
        Some(secs.clamp(INTERVAL.0, INTERVAL.1))
    }

    /// How the asking goes, for those who operate it.
    pub(super) async fn poller(&self) -> Result<PollerView, Trouble> {
        let stored = self.document::<Due>(&OrgId::default(), Due::ID).await?;
        let stored = stored.map(|stored| stored.value);
        Ok(PollerView {
            interval_secs: self.poll_interval(),
            failures: stored.map_or(0, |due| due.failures),
            last_poll_at: stored.and_then(|due| due.asked),
            next_poll_at: stored.map(|due| due.due),
        })
    }

    /// Asks the bank once for all payouts that wait, and opens a case for each new one.
    pub async fn poll_now(&self) -> Result<Polled, Trouble> {
        metrics::counter!("hundi_polls_total").increment(1);
        let mut polled = Polled::default();
        for state in STATES {
            let mut seen = std::collections::BTreeSet::new();
            for page in 0..MAX_PAGES {
                let payouts = self.page(state, page * (PAGE - OVERLAP)).await?;
                let full = payouts.len() >= PAGE;
                for payout in payouts {
                    let id = payout.get("id").and_then(Value::as_str);
                    let id = id.unwrap_or_default().to_owned();
                    if seen.insert(id.clone()) {
                        // One that cannot be read must not hide the others.
                        self.heard_of(&payout, "poll").await?;
                        polled.payouts.push(id);
                    }
                }
                if !full {
                    break;
                }
            }
        }
        let found = u64::try_from(polled.payouts.len()).unwrap_or(u64::MAX);
        metrics::counter!("hundi_polled_payouts_total").increment(found);
        Ok(polled)
    }

    async fn page(&self, state: &str, skip: usize) -> Result<Vec<Value>, Trouble> {
        let asked = json!({"status": state, "count": PAGE, "skip": skip});
        let call = Call::new(UPSTREAM, "list_payouts", &asked);
        let reply = self.ports().wire.send(&call, DEADLINE).await;
        razorpay::items(&reply).map_err(Trouble::Upstream)
    }

    /// So many milliseconds from now, and up to a fifth more by chance.
    fn later(&self, millis: i64) -> Timestamp {
        let chance = i64::from(u16::from_be_bytes(self.ports().ambient.bytes()));
        let jitter = millis / 5 * chance / i64::from(u16::MAX);
        self.ports().ambient.now().plus_millis(millis + jitter)
    }

    /// False if another node was quicker.
    async fn set_due(&self, version: u64, due: Timestamp, failures: u32) -> Result<bool, Trouble> {
        let next = Due {
            due,
            failures,
            asked: Some(self.ports().ambient.now()),
        };
        let write = next.write_only(&OrgId::default(), Some(version));
        match self.write(vec![write]).await {
            Ok(()) => Ok(true),
            Err(Trouble::Changed) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }
}
