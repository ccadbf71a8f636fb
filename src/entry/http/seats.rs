//! Who sits at the door: every connection, what it is doing, and which one goes when there are too
//! many.
//!
//! A connection costs memory and a descriptor before anybody knows whose it is, so nobody can be
//! charged for it. Instead nobody can hold one for long against others: once the house is full, a
//! newcomer takes the seat of the connection that has least to lose. First go those that have shown
//! no key (silent ones and unsigned requests alike), the longest waiting first; then those that
//! knock with a key that is not looked at yet; then idle ones of key holders; then streams that
//! only wait. A signed request that is being worked on is never cut off.
//!
//! Requests of the unsigned doors also have a small pool of their own. A genuine callback arrives in
//! one piece and is gone in a moment; whoever sends slowly loses the place to the next one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Requests of unsigned doors under way at once, of everybody together. Each can hold 1 MiB.
const MOST_STRANGERS: usize = 64;

/// What a connection is doing, in the order in which they have to go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Standing {
    /// No request is under way, and none was ever signed.
    Silent = 0,
    /// An unsigned request is under way.
    Stranger = 1,
    /// A request is under way whose key was not looked at yet.
    Knocking = 2,
    /// No request is under way; the last one was signed.
    Known = 3,
    /// A signed request only waits.
    Waiting = 4,
    /// A signed request is being worked on.
    Working = 5,
}

impl Standing {
    fn read(number: u8) -> Self {
        match number {
            0 => Self::Silent,
            1 => Self::Stranger,
            2 => Self::Knocking,
            3 => Self::Known,
            4 => Self::Waiting,
            _ => Self::Working,
        }
    }

    /// Which go first; `None` never goes.
    fn rank(self) -> Option<u8> {
        match self {
            Self::Silent | Self::Stranger => Some(0),
            Self::Knocking => Some(1),
            Self::Known => Some(2),
            Self::Waiting => Some(3),
            Self::Working => None,
        }
    }
}

/// All connections of one door.
#[derive(Clone)]
pub struct Seats(Arc<Inner>);

struct Inner {
    most: usize,
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
    strangers: AtomicUsize,
    opened: Instant,
    next: AtomicU64,
}

/// One connection's seat.
pub struct Seat {
    number: u64,
    standing: AtomicU8,
    /// Milliseconds after the door was opened.
    since: AtomicU64,
    /// Cancelled when the seat is needed for another.
    given_up: CancellationToken,
    house: Arc<Inner>,
}

/// Leaves the seat when the connection ends.
pub struct Sitting(Arc<Seat>);

impl Seats {
    /// Room for so many connections.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            most,
            taken: Mutex::default(),
            strangers: AtomicUsize::new(0),
            opened: Instant::now(),
            next: AtomicU64::new(0),
        }))
    }

    /// A seat for a newcomer; `None` only while every connection is at work.
    pub fn take(&self) -> Option<Sitting> {
        let mut taken = self.0.taken();
        if taken.len() >= self.0.most {
            let victim = victim(&taken, |standing| standing.rank())?;
            taken.remove(&victim.number);
            victim.given_up.cancel();
        }
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat {
            number,
            standing: AtomicU8::new(Standing::Silent as u8),
            since: AtomicU64::new(self.0.now()),
            given_up: CancellationToken::new(),
            house: self.0.clone(),
        });
        taken.insert(number, seat.clone());
        Some(Sitting(seat))
    }
}

impl Inner {
    fn taken(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The one of the lowest rank that has been so for longest.
fn victim(
    taken: &HashMap<u64, Arc<Seat>>,
    rank: impl Fn(Standing) -> Option<u8>,
) -> Option<Arc<Seat>> {
    let ranked = taken.values().filter_map(|seat| {
        let since = seat.since.load(Ordering::Relaxed);
        Some(((rank(seat.standing())?, since, seat.number), seat))
    });
    ranked
        .min_by_key(|(key, _)| *key)
        .map(|(_, seat)| seat.clone())
}

impl Seat {
    fn standing(&self) -> Standing {
        Standing::read(self.standing.load(Ordering::Relaxed))
    }

    /// What the connection does from now on.
    pub fn is(&self, standing: Standing) {
        let before = self.standing.swap(standing as u8, Ordering::Relaxed);
        self.since.store(self.house.now(), Ordering::Relaxed);
        let before = Standing::read(before);
        if before == Standing::Stranger && standing != Standing::Stranger {
            self.house.strangers.fetch_sub(1, Ordering::Relaxed);
        }
        if before != Standing::Stranger && standing == Standing::Stranger {
            let others = self.house.strangers.fetch_add(1, Ordering::Relaxed);
            if others >= MOST_STRANGERS {
                self.push_out_a_stranger();
            }
        }
    }

    /// The longest waiting one loses its place to this one.
    fn push_out_a_stranger(&self) {
        let taken = self.house.taken();
        let stranger = |standing| (standing == Standing::Stranger).then_some(0);
        if let Some(victim) = victim(&taken, stranger).filter(|v| v.number != self.number) {
            victim.is(Standing::Silent);
            victim.given_up.cancel();
        }
    }

    /// A request has ended, its answer read.
    pub fn rests(&self) {
        let signed = matches!(
            self.standing(),
            Standing::Working | Standing::Waiting | Standing::Known
        );
        self.is(match signed {
            true => Standing::Known,
            false => Standing::Silent,
        });
    }
}

impl Sitting {
    /// The seat, for the requests of the connection.
    pub fn seat(&self) -> Arc<Seat> {
        self.0.clone()
    }

    /// Resolves once the seat is needed for another.
    pub async fn given_up(&self) {
        self.0.given_up.cancelled().await;
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        self.0.is(Standing::Silent);
        self.0.house.taken().remove(&self.0.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(sitting: &Sitting) -> bool {
        sitting.0.given_up.is_cancelled()
    }

    #[test]
    fn the_one_with_least_to_lose_makes_room() {
        use Standing::{Knocking, Known, Silent, Stranger, Waiting, Working};
        let order = [Working, Waiting, Known, Knocking, Stranger, Silent];
        let seats = Seats::new(order.len());
        let sitting: Vec<_> = order
            .iter()
            .map(|standing| {
                let sitting = seats.take().unwrap();
                sitting.seat().is(*standing);
                sitting
            })
            .collect();
        let mut newcomers = Vec::new();
        // The stranger before the silent one: both showed no key, and it sat down first.
        for leaves in [4, 5, 3, 2, 1] {
            let newcomer = seats.take().unwrap();
            newcomer.seat().is(Working);
            newcomers.push(newcomer);
            assert!(gone(&sitting[leaves]), "{leaves}");
        }
        assert!(!gone(&sitting[0]), "whoever works stays");
        assert!(seats.take().is_none(), "all work");
        newcomers.pop();
        assert!(seats.take().is_some());
    }

    #[test]
    fn strangers_push_each_other_out_and_nobody_else() {
        let seats = Seats::new(1_000);
        let known = seats.take().unwrap();
        known.seat().is(Standing::Working);
        known.seat().rests();
        let strangers: Vec<_> = (0..MOST_STRANGERS + 10)
            .map(|_| {
                let sitting = seats.take().unwrap();
                sitting.seat().is(Standing::Stranger);
                sitting
            })
            .collect();
        assert!(strangers[..10].iter().all(gone), "the first ones");
        assert!(!strangers[10..].iter().any(gone));
        assert!(!gone(&known));
        drop(strangers);
        assert_eq!(seats.0.strangers.load(Ordering::Relaxed), 0);
        assert_eq!(seats.0.taken().len(), 1);
    }
}
