//! Dropping what is old: what may be dropped, after how long, and what stays.
//!
//! Refused proposals and the marks of seen webhooks are kept for as long as the operator says. The
//! audit log is never shortened: each of its records is a leaf that proofs stand on. Nor is anything
//! that was ever allowed, reserved or paid, nor a nonce that a token could still carry.

use super::Pay;
use crate::broker::core::Trouble;
use crate::domain::retention::Old;
use crate::domain::time::Timestamp;

/// Rows dropped at once: few enough never to hold the writer for long.
const BATCH: u32 = 500;
/// Batches in one turn; the next turn goes on.
const BATCHES: u32 = 20;
const DAY_SECS: i64 = 24 * 60 * 60;

/// What was, or would be, dropped of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// Of what.
    pub old: Old,
    /// How long it is kept; `None` is for ever.
    pub days: Option<u32>,
    /// How many rows.
    pub rows: u64,
}

impl Pay {
    /// What is older than it is kept for. Nothing is dropped.
    pub async fn what_is_old(&self) -> Result<Vec<Dropped>, Trouble> {
        let mut found = Vec::new();
        for old in Old::ALL {
            let days = self.settings().retention.days(old);
            let rows = match days {
                Some(days) => self.ports().store.count_old(old, self.ago(days)).await?,
                None => 0,
            };
            found.push(Dropped { old, days, rows });
        }
        Ok(found)
    }

    /// Drops what is older than it is kept for; of much, a part at a time.
    pub async fn drop_old(&self) -> Result<Vec<Dropped>, Trouble> {
        let mut found = Vec::new();
        for old in Old::ALL {
            let days = self.settings().retention.days(old);
            let mut rows = 0;
            if let Some(days) = days {
                let before = self.ago(days);
                for _ in 0..BATCHES {
                    let dropped = self.ports().store.drop_old(old, before, BATCH).await?;
                    rows += dropped;
                    if dropped < u64::from(BATCH) {
                        break;
                    }
                }
            }
            found.push(Dropped { old, days, rows });
        }
        Ok(found)
    }

    fn ago(&self, days: u32) -> Timestamp {
        let now = self.ports().ambient.now();
        now.plus_secs(-i64::from(days).saturating_mul(DAY_SECS))
    }
}
