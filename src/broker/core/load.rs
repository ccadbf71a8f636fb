//! How many commits a broker carries at once, and that it finishes those it carries.
//!
//! A commit goes on when its caller hangs up, so the doors cannot bound commits by counting
//! callers: whoever commits and leaves would fill the process. They are counted here, and told to
//! come back *before* anything is claimed: a commit that was claimed and then found no room at its
//! upstream would end as failed, for no fault of its caller.
//!
//! Each upstream has room of its own, so that one that hangs takes nobody else's; and no principal
//! gets more than its share of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::Core;
use super::places::{Kind, Place, Shares};
use crate::broker::core::Trouble;
use crate::domain::principal::Principal;

/// How much is carried at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Commits in all, those included whose caller has gone.
    pub commits: usize,
    /// Commits that are claimed or under way at one upstream.
    pub per_upstream: usize,
    /// Longest that a commit waits for room at its upstream before it is told to come back.
    pub patience: Duration,
    /// What one principal may take of all this.
    pub shares: Shares,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            // What the process can hold; one principal gets a part of it (`Shares::calls`).
            commits: 4_096,
            // Below the 256 calls that the wire keeps under way, so that what is claimed is sent at
            // once and recovery finds room for its questions.
            per_upstream: 224,
            patience: Duration::from_secs(2),
            shares: Shares::default(),
        }
    }
}

/// What is carried now.
pub(in crate::broker) struct Load {
    bounds: Bounds,
    commits: Arc<Semaphore>,
    upstreams: Mutex<HashMap<String, Arc<Semaphore>>>,
    tasks: TaskTracker,
}

/// Room for one commit, given back when it is dropped.
pub(in crate::broker) type Room = OwnedSemaphorePermit;

impl Load {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            commits: Arc::new(Semaphore::new(bounds.commits)),
            upstreams: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Commits that run to their end, whoever waits for them.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Room for one more commit, or the advice to come back.
    pub fn enter(&self) -> Result<Room, Trouble> {
        self.commits
            .clone()
            .try_acquire_owned()
            .map_err(|_| overloaded())
    }

    /// Room at one upstream, out of the `own` share of whoever commits. Waits a little, because rooms
    /// are given back all the time.
    pub(in crate::broker) async fn at(
        &self,
        upstream: &str,
        own: Arc<Semaphore>,
    ) -> Result<(Room, Room), Trouble> {
        let rooms = {
            let mut upstreams = self.lock();
            let most = self.bounds.per_upstream;
            // One per configured upstream, so this never grows beyond the configuration.
            let rooms = upstreams
                .entry(upstream.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(most)));
            rooms.clone()
        };
        let both = async {
            let own = own.acquire_owned().await.ok()?;
            Some((own, rooms.acquire_owned().await.ok()?))
        };
        let room = tokio::time::timeout(self.bounds.patience, both).await;
        room.ok().flatten().ok_or_else(overloaded)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Semaphore>>> {
        self.upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn overloaded() -> Trouble {
    Trouble::Overloaded {
        retry_after_secs: 1,
    }
}

impl Core {
    /// Room for one more commit of this principal, however it ends and whoever waits for it.
    pub(in crate::broker) fn room_to_commit(
        &self,
        who: &Principal,
    ) -> Result<(Place, Room), Trouble> {
        let own = self.places().enter(who, Kind::Call)?;
        Ok((own, self.load().enter()?))
    }

    /// Resolves once every commit under way has ended. New ones are not held back: close the doors
    /// first.
    pub async fn drained(&self) {
        self.load().tasks().close();
        self.load().tasks().wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        Load::new(Bounds {
            commits: 2,
            per_upstream: 1,
            ..Bounds::default()
        })
    }

    #[test]
    fn one_more_than_the_bound_is_told_to_come_back() {
        let load = load();
        let (first, second) = (load.enter(), load.enter());
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(load.enter().err(), Some(overloaded()));
        drop(first);
        assert!(load.enter().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_upstream_is_waited_for_a_little_and_takes_no_others_room() {
        let load = load();
        let own = || Arc::new(Semaphore::new(2));
        let first = load.at("slow", own()).await.unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(load.at("slow", own()).await.err(), Some(overloaded()));
        assert_eq!(began.elapsed(), Bounds::default().patience);
        assert!(load.at("other", own()).await.is_ok());
        let (waiting, ()) = tokio::join!(load.at("slow", own()), async { drop(first) });
        assert!(waiting.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_takes_more_than_a_share_of_an_upstream() {
        let load = Load::new(Bounds {
            per_upstream: 4,
            ..Bounds::default()
        });
        let greedy = Arc::new(Semaphore::new(2));
        let _held = (
            load.at("slow", greedy.clone()).await.unwrap(),
            load.at("slow", greedy.clone()).await.unwrap(),
        );
        assert_eq!(load.at("slow", greedy).await.err(), Some(overloaded()));
        let other = Arc::new(Semaphore::new(2));
        assert!(load.at("slow", other).await.is_ok());
    }
}
