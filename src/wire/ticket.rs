//! Whether a request has begun to leave, the one thing that tells "not sent" from "lost", and what
//! it was told.
//!
//! A ticket travels with its request through every queue. Whoever is about to write the first
//! byte takes it; whoever gave up waiting withdraws it. Only one of the two succeeds, so a
//! withdrawn request is proven never to have left.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::answer::Said;

const WAITING: u8 = 0;
const LEAVING: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Shared by the caller, the queues and the writer.
#[derive(Clone, Debug)]
pub(super) struct Ticket(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: AtomicU8,
    /// The number of the request on the wire.
    number: OnceLock<i64>,
    told: mpsc::UnboundedSender<Said>,
    is_told: AtomicBool,
    is_list: bool,
}

impl Ticket {
    /// A ticket, and where its caller hears what it was told: at most one answer, and before it
    /// perhaps that something went wrong.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Said>) {
        Self::of(false)
    }

    /// The same for a list of tools, out of which the protocol library learns as well.
    pub(super) fn for_list() -> (Self, mpsc::UnboundedReceiver<Said>) {
        Self::of(true)
    }

    fn of(is_list: bool) -> (Self, mpsc::UnboundedReceiver<Said>) {
        let (told, hears) = mpsc::unbounded_channel();
        let inner = Inner {
            state: AtomicU8::new(WAITING),
            number: OnceLock::new(),
            told,
            is_told: AtomicBool::new(false),
            is_list,
        };
        (Self(Arc::new(inner)), hears)
    }

    /// Passes on what the upstream said to the request.
    pub(super) fn tell(&self, said: Said) {
        self.0.is_told.store(true, Ordering::Release);
        // Whoever asked may have gone.
        let _ = self.0.told.send(said);
    }

    /// True once anything was told.
    pub(super) fn is_told(&self) -> bool {
        self.0.is_told.load(Ordering::Acquire)
    }

    /// The library is to see the answer itself.
    pub(super) fn is_list(&self) -> bool {
        self.0.is_list
    }

    /// Notes the number under which it goes out; the first one stays.
    pub(super) fn sent_as(&self, number: i64) {
        self.0.number.get_or_init(|| number);
    }

    /// That number, once it is known.
    pub(super) fn number(&self) -> Option<i64> {
        self.0.number.get().copied()
    }

    /// True if the request may be written now; from here on nobody can prove that it was not.
    pub(super) fn leave(&self) -> bool {
        self.turn(WAITING, LEAVING)
    }

    /// True if the request never began to leave, and now never will.
    pub(super) fn withdraw(&self) -> bool {
        self.turn(WAITING, WITHDRAWN) || self.0.state.load(Ordering::Acquire) == WITHDRAWN
    }

    /// Takes back [`Ticket::leave`], by whoever left and can prove that no byte went out.
    pub(super) fn stayed(&self) {
        self.turn(LEAVING, WITHDRAWN);
    }

    fn turn(&self, from: u8, to: u8) -> bool {
        let state = &self.0.state;
        let turned = state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        turned.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_it_leaves_or_it_is_withdrawn() {
        let (ticket, _told) = Ticket::new();
        assert!(ticket.leave() && !ticket.leave() && !ticket.withdraw());

        let (ticket, _told) = Ticket::new();
        assert!(ticket.withdraw() && ticket.withdraw() && !ticket.leave());

        let (ticket, _told) = Ticket::new();
        assert!(ticket.leave());
        ticket.stayed();
        assert!(ticket.withdraw() && !ticket.leave());
    }
}
