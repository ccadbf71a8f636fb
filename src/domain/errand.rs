//! A proposal that people have approved and that the broker itself has to commit, because its agent
//! has gone home. Written with the last approval, and there until it is done or moot.

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::ids::ProposalId;
use super::time::Timestamp;

/// That it has to be committed. Named by the proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Errand {
    /// When it was approved.
    #[serde(default)]
    pub at: Timestamp,
}

impl Document for Errand {
    const KIND: &'static str = "errand";
    const CACHED: bool = false;
    type Id = ProposalId;
}
