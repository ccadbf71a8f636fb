//! What models cost, summed by the database from the rows of the ledger.

use super::{Requests, owner};
use crate::broker::core::Trouble;
use crate::domain::principal::{Principal, Right};
use crate::domain::time::Timestamp;

// The doors ask in the store's own words.
use crate::store::requests::UsageFilter;
pub use crate::store::requests::{By, Sum};

/// What is to be summed.
#[derive(Clone, Copy, Debug)]
pub struct AskUsage {
    /// By what.
    pub by: By,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

impl Requests {
    /// The sums and the sum of all: of everybody for whoever reads everything, of his own for anybody
    /// else.
    pub async fn usage(
        &self,
        who: &Principal,
        asked: AskUsage,
    ) -> Result<(Vec<Sum>, Sum), Trouble> {
        let agent = match who.may(Right::ReadAll) {
            true => None,
            false => Some(owner(who)?),
        };
        let filter = UsageFilter {
            org: who.org.clone(),
            agent,
            since: asked.since,
            until: asked.until,
            day: None,
        };
        let store = &self.model_ports()?.store;
        let sums = store.usage(asked.by, &filter).await?;
        Ok((sums, store.usage_total(&filter).await?))
    }
}
