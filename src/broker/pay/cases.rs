//! What is kept about payouts that others made at the bank: an open case while one waits for a
//! decision, and which proposal let one go. The bank's subject opens and closes cases; here they
//! are what keeps agents from deciding over people's heads.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::connector::razorpay::State as AtBank;
use crate::domain::document::Document;
use crate::domain::ids::ProposalId;
use crate::domain::time::Timestamp;

/// One payout that waits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(in crate::broker) struct Case {
    /// As the bank showed it.
    pub payout: Value,
    /// How we heard of it.
    pub heard: String,
    /// When we did.
    pub opened_at: Timestamp,
    /// Counts proposals that ended without a decision about the payout.
    #[serde(default)]
    pub attempt: u32,
    /// Not looked at before this.
    #[serde(default)]
    pub not_before: Timestamp,
}

impl Document for Case {
    const KIND: &'static str = "case";
    const CACHED: bool = false;
    type Id = CaseId;
}

/// Names a case: a payout waits at most once in each state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::broker) struct CaseId {
    /// The bank's id.
    pub payout: String,
    /// What it waits in.
    pub state: AtBank,
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.payout, self.state.name())
    }
}

/// Which proposal has let a payout of others go. Named by the payout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in crate::broker) struct LetGo {
    /// The proposal.
    pub proposal: ProposalId,
}

impl Document for LetGo {
    const KIND: &'static str = "bank_payout";
    const CACHED: bool = false;
    type Id = str;
}
