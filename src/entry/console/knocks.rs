//! How often somebody tried to come in and could not: ten a minute from one address, then they wait.
//!
//! Counted in this process and forgotten with it: the links and challenges themselves cannot be
//! guessed, so this only keeps the log and the store quiet.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures within a minute after which an address waits.
pub(super) const WRONG: usize = 10;
/// Challenges within a minute that an address may ask for.
pub(super) const ASKED: usize = 60;
const WINDOW: Duration = Duration::from_secs(60);
/// Most addresses that are remembered; beyond them the whole memory begins anew.
const MOST_ADDRESSES: usize = 10_000;

/// The failures of each address.
pub(super) struct Knocks {
    most: usize,
    times: Mutex<HashMap<IpAddr, VecDeque<Instant>>>,
}

impl Knocks {
    /// So many a minute.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            times: Mutex::default(),
        }
    }

    /// Whether this address has to wait.
    pub(super) fn is_barred(&self, from: IpAddr) -> bool {
        let mut all = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(times) = all.get_mut(&from) else {
            return false;
        };
        while times.front().is_some_and(|at| at.elapsed() >= WINDOW) {
            times.pop_front();
        }
        times.len() >= self.most
    }

    /// It failed.
    pub(super) fn failed(&self, from: IpAddr) {
        let mut all = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_ADDRESSES {
            all.clear();
        }
        let times = all.entry(from).or_default();
        times.push_back(Instant::now());
        while times.len() > self.most {
            times.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_failures_a_minute_bar_an_address_and_no_other() {
        let knocks = Knocks::new(WRONG);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..WRONG {
            assert!(!knocks.is_barred(one));
            knocks.failed(one);
        }
        assert!(knocks.is_barred(one) && !knocks.is_barred(other));
        tokio::time::advance(WINDOW).await;
        assert!(!knocks.is_barred(one));
    }
}
