//! What every command that asks a broker has in common: as whom it asks, whether it looks for what is
//! there already, and what it does at the door. Which door that is, is decided where commands are put
//! together (`run/door`).

use std::io::{BufRead, Write};

use super::door::Door;
use super::{Actor, Failure};
use crate::domain::time::Timestamp;

/// A command that asks a broker.
pub trait Asks {
    /// As whom it asks, and where.
    fn actor(&self) -> Actor;

    /// Whether it finds something only where there is a store already: then a folder that was named
    /// wrong is told, rather than made and found empty. One that makes things may be the first.
    fn looks(&self) -> bool {
        true
    }

    /// Whether it makes sense, before anybody is asked.
    fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Asks, and prints what was answered.
    #[allow(
        async_fn_in_trait,
        reason = "waited for by whoever calls it, never handed to another task"
    )]
    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure>;
}

/// What is around a command.
pub struct Around<'a> {
    /// The time that it began at.
    pub now: Timestamp,
    /// What it may read.
    pub input: &'a mut dyn BufRead,
    /// Where its answer goes.
    pub out: &'a mut dyn Write,
}
