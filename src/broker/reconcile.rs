//! What was left unsettled is settled by evidence; what outlived its time lapses.

use super::{Broker, Trouble};

impl Broker {
    /// Takes over attempts whose lease ran out and asks the provider. Returns how many it saw.
    pub async fn reconcile(&self, limit: u32) -> Result<usize, Trouble> {
        let _ = limit;
        todo!()
    }

    /// Expires held and allowed proposals whose time ran out. Returns how many.
    pub async fn lapse(&self, limit: u32) -> Result<usize, Trouble> {
        let _ = limit;
        todo!()
    }
}
