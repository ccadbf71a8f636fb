//! Commit: verify, make the intent durable, send once, record what is known.

use super::{Broker, CommitRequest, Committed, Trouble};
use crate::domain::principal::Principal;

impl Broker {
    /// Steps s1 to s7 of the commit. Runs to its end even if the caller goes away.
    pub async fn commit(
        &self,
        who: &Principal,
        request: CommitRequest,
    ) -> Result<Committed, Trouble> {
        let _ = (who, request);
        todo!()
    }
}
