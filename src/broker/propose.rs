//! Propose: no side effect at any provider.

use super::{Broker, ProposeRequest, Proposed, Trouble};
use crate::domain::principal::Principal;

impl Broker {
    /// Canonicalises, checks, decides, and writes what was decided.
    pub async fn propose(
        &self,
        who: &Principal,
        request: ProposeRequest,
    ) -> Result<Proposed, Trouble> {
        let _ = (who, request);
        todo!()
    }
}
