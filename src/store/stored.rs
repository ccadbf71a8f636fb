//! What every SQL store spells the same way: values to columns, and columns back to values.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::StoreError;
use crate::domain::proposal::{Proposal, State};
use crate::domain::time::Timestamp;

/// The columns of one proposal, as they were read.
pub(super) struct ProposalColumns<'a> {
    pub fixed: &'a str,
    pub state: &'a str,
    pub version: i64,
    pub moving: &'a str,
    pub execution: Option<&'a str>,
}

impl ProposalColumns<'_> {
    pub fn proposal(&self) -> Result<Proposal, StoreError> {
        Ok(Proposal {
            fixed: json(self.fixed)?,
            state: State::parse(self.state).ok_or_else(|| corrupt("state", self.state))?,
            version: unsigned(self.version)?,
            moving: json(self.moving)?,
            execution: self.execution.map(json).transpose()?,
        })
    }
}

pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt("JSON column", error))
}

pub(super) fn name<T: FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| corrupt("name", text))
}

pub(super) fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|error| corrupt("number", error))
}

/// Versions count single writes and stay far below 2^63.
pub(super) fn signed(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

pub(super) fn corrupt(what: &str, why: impl Display) -> StoreError {
    StoreError::Corrupt(format!("a {what} does not read back: {why}"))
}

/// When time can next change something about a proposal.
pub(super) fn due_at(proposal: &Proposal) -> Option<Timestamp> {
    match proposal.state {
        State::Held | State::Allowed => Some(proposal.fixed.lapses_at),
        State::Committing | State::InDoubt => {
            let attempt = proposal.execution.as_ref();
            attempt.map(|attempt| attempt.lease_until)
        }
        State::Blocked
        | State::Executed
        | State::Failed
        | State::Rejected
        | State::Cancelled
        | State::Expired
        | State::Reversed => None,
    }
}
