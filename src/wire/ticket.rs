//! Whether a request has begun to leave: the one thing that tells "not sent" from "lost".
//!
//! A ticket travels with its request through every queue. Whoever is about to write the first
//! byte takes it; whoever gave up waiting withdraws it. Only one of the two succeeds, so a
//! withdrawn request is proven never to have left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const LEAVING: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Shared by the caller, the queues and the writer.
#[derive(Clone, Default, Debug)]
pub(super) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    /// True if the request may be written now; from here on nobody can prove that it was not.
    pub(super) fn leave(&self) -> bool {
        self.turn(WAITING, LEAVING)
    }

    /// True if the request never began to leave, and now never will.
    pub(super) fn withdraw(&self) -> bool {
        self.turn(WAITING, WITHDRAWN) || self.0.load(Ordering::Acquire) == WITHDRAWN
    }

    /// Takes back [`Ticket::leave`], by whoever left and can prove that no byte went out.
    pub(super) fn stayed(&self) {
        self.turn(LEAVING, WITHDRAWN);
    }

    fn turn(&self, from: u8, to: u8) -> bool {
        let turned = self
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        turned.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_it_leaves_or_it_is_withdrawn() {
        let ticket = Ticket::default();
        assert!(ticket.leave() && !ticket.leave() && !ticket.withdraw());

        let ticket = Ticket::default();
        assert!(ticket.withdraw() && ticket.withdraw() && !ticket.leave());

        let ticket = Ticket::default();
        assert!(ticket.leave());
        ticket.stayed();
        assert!(ticket.withdraw() && !ticket.leave());
    }
}
