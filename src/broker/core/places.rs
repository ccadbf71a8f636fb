//! Places: how much of the house one caller may take up at once.
//!
//! Every kind of place is counted for each principal, after authentication. Whoever takes all of
//! its own takes nobody else's, and is told to come back; so no caller can keep others out, nor an
//! operator from the brake. Only long reads also share a bound for all: each principal queues for
//! it with one read at a time, so its turns go round among those who ask.
//!
//! A place is given back when it is dropped. Taking one is a look-up and an addition.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::broker::core::Trouble;
use crate::domain::principal::Principal;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A request under way at a door, until its answer is out.
    Request,
    /// Somebody who waits: `await_proposal`, a stream of events.
    Wait,
    /// A tool call or commit that runs to its end, whoever has hung up.
    Call,
    /// A request's body beyond the usual size: parsed, it can take twenty times its bytes.
    LargeBody,
    /// An answer beyond the usual size, until it has been read.
    LargeAnswer,
}

/// Most places of each kind that one principal may have at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shares {
    /// Requests under way. Above what a busy agent has open; so many bodies of the usual size are 40 MiB.
    pub requests: u32,
    /// Those who wait; each may hold a connection.
    pub waits: u32,
    /// Calls and commits that run, with or without their caller.
    pub calls: u32,
    /// Commits that are claimed or under way at upstreams: half of what one upstream takes, so that
    /// whoever fills a slow one leaves the other half to others.
    pub at_upstreams: u32,
    /// Questions to a reputation service or a register. What is beyond waits its turn, and is a missing
    /// fact where that takes too long.
    pub questions: u32,
    /// Large bodies: with all that is read out of them some tens of mebibytes each.
    pub large_bodies: u32,
    /// Large answers that are not read yet, some mebibytes each.
    pub large_answers: u32,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            requests: 640,
            waits: 64,
            calls: 640,
            at_upstreams: 112,
            questions: 16,
            large_bodies: 2,
            large_answers: 4,
        }
    }
}

impl Shares {
    fn most(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Request => self.requests,
            Kind::Wait => self.waits,
            Kind::Call => self.calls,
            Kind::LargeBody => self.large_bodies,
            Kind::LargeAnswer => self.large_answers,
        }
    }
}

const KINDS: usize = 5;
/// Long reads at once, of everybody: fewer than the store has reading connections, so that what
/// decides, commits and tends always finds one, and fewer than would take every core.
const LONG_READS: usize = 2;
/// Longest that a long read waits for its turn before it is told to come back.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// Principals remembered before those who hold nothing are forgotten.
const REMEMBERED: usize = 4_096;

/// Who has taken what. Cheap to clone.
#[derive(Clone)]
pub struct Places {
    shares: Shares,
    principals: Arc<Mutex<HashMap<String, Arc<Taken>>>>,
    long_reads: Arc<Semaphore>,
}

/// What one principal has taken.
#[derive(Debug)]
struct Taken {
    counts: [AtomicU32; KINDS],
    reading: Arc<Semaphore>,
    at_upstreams: Arc<Semaphore>,
    questions: Arc<Semaphore>,
}

impl Taken {
    fn new(shares: Shares) -> Self {
        let room = |most: u32| {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))
        };
        Self {
            counts: Default::default(),
            reading: Arc::new(Semaphore::new(1)),
            at_upstreams: room(shares.at_upstreams),
            questions: room(shares.questions),
        }
    }
}

/// One place, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    taken: Arc<Taken>,
    shares: Shares,
    kind: Kind,
}

/// The turn to read at length, given back when it is dropped.
#[derive(Debug)]
pub struct LongRead {
    _of_all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Places {
    /// An empty house in which each principal may take so much.
    pub fn new(shares: Shares) -> Self {
        Self {
            shares,
            principals: Arc::default(),
            long_reads: Arc::new(Semaphore::new(LONG_READS)),
        }
    }

    /// A place of this kind, or the advice to come back.
    pub fn enter(&self, who: &Principal, kind: Kind) -> Result<Place, Trouble> {
        Place::take(self.of(who), self.shares, kind).ok_or(overloaded())
    }

    /// The turn to read many rows. Waits for it: behind those of the same principal first.
    pub async fn long_read(&self, who: &Principal) -> Result<LongRead, Trouble> {
        let taken = self.of(who);
        let turn = async {
            let own = taken.reading.clone().acquire_owned().await.ok()?;
            let of_all = self.long_reads.clone().acquire_owned().await.ok()?;
            Some(LongRead {
                _of_all: of_all,
                _own: own,
            })
        };
        let turn = timeout(READ_PATIENCE, turn).await;
        turn.ok().flatten().ok_or(overloaded())
    }

    /// The turn to ask somebody outside. Waits for it; whoever asks has a deadline.
    pub(in crate::broker) async fn question(
        &self,
        who: &Principal,
    ) -> Option<OwnedSemaphorePermit> {
        let questions = self.of(who).questions.clone();
        questions.acquire_owned().await.ok()
    }

    /// Where a principal waits for its share of the room at upstreams.
    pub(in crate::broker) fn at_upstreams(&self, who: &Principal) -> Arc<Semaphore> {
        self.of(who).at_upstreams.clone()
    }

    fn of(&self, who: &Principal) -> Arc<Taken> {
        let mut principals = self
            .principals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = principals.get(&who.id) {
            return taken.clone();
        }
        if principals.len() >= REMEMBERED {
            // Whoever holds a place, or is about to, has a share in his count.
            principals.retain(|_, taken| {
                let rooms = [&taken.at_upstreams, &taken.questions, &taken.reading];
                Arc::strong_count(taken) > 1 || rooms.iter().any(|room| Arc::strong_count(room) > 1)
            });
        }
        let taken = Arc::new(Taken::new(self.shares));
        principals.insert(who.id.clone(), taken.clone());
        taken
    }
}

impl Place {
    fn take(taken: Arc<Taken>, shares: Shares, kind: Kind) -> Option<Self> {
        let before = taken.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        let place = Self {
            taken,
            shares,
            kind,
        };
        // One too many gives itself back.
        (before < shares.most(kind)).then_some(place)
    }

    /// One more place for the same principal, of another kind.
    pub fn another(&self, kind: Kind) -> Option<Self> {
        Self::take(self.taken.clone(), self.shares, kind)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.counts[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

fn overloaded() -> Trouble {
    Trouble::Overloaded {
        retry_after_secs: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::OrgId;
    use crate::domain::principal::Role;

    fn who(id: &str) -> Principal {
        Principal {
            id: id.to_owned(),
            name: id.to_owned(),
            org: OrgId::default(),
            roles: Role::Agent.into(),
            agent: None,
            person: None,
            server: None,
        }
    }

    #[test]
    fn each_kind_of_each_principal_has_its_own_bound() {
        let shares = Shares {
            requests: 2,
            waits: 1,
            ..Shares::default()
        };
        let places = Places::new(shares);
        let enter = |id: &str, kind| places.enter(&who(id), kind);
        let held = [enter("a", Kind::Request), enter("a", Kind::Request)];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(enter("a", Kind::Request).err(), Some(overloaded()));
        assert!(enter("a", Kind::Wait).is_ok(), "of another kind");
        assert!(enter("b", Kind::Request).is_ok(), "of another principal");
        drop(held);
        assert!(enter("a", Kind::Request).is_ok(), "given back");
    }

    #[test]
    fn a_place_opens_others_for_the_same_principal_only() {
        let places = Places::new(Shares {
            large_bodies: 1,
            ..Shares::default()
        });
        let first = places.enter(&who("a"), Kind::Request).unwrap();
        let large = first.another(Kind::LargeBody).unwrap();
        assert!(first.another(Kind::LargeBody).is_none());
        let other = places.enter(&who("b"), Kind::Request).unwrap();
        assert!(other.another(Kind::LargeBody).is_some());
        drop(large);
        assert!(first.another(Kind::LargeBody).is_some());
    }

    #[test]
    fn whoever_holds_nothing_is_forgotten() {
        let places = Places::new(Shares::default());
        let held = places.enter(&who("holds"), Kind::Request).unwrap();
        for number in 0..2 * REMEMBERED {
            places.enter(&who(&number.to_string()), Kind::Wait).unwrap();
        }
        let principals = places.principals.lock().unwrap();
        assert!(principals.len() <= REMEMBERED + 1);
        assert!(principals.contains_key("holds"));
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn long_reads_of_one_principal_leave_the_others_turns() {
        let places = Places::new(Shares::default());
        let (a, b) = (who("a"), who("b"));
        let first = places.long_read(&a).await.unwrap();
        let (second, other) = tokio::join!(places.long_read(&a), places.long_read(&b));
        assert_eq!(second.err(), Some(overloaded()), "its own is under way");
        assert!(other.is_ok());
        drop(first);
        assert!(places.long_read(&who("a")).await.is_ok());
    }
}
