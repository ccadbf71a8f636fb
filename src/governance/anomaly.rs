//! Is this far outside the agent's history? (to be written)

use super::Request;
use crate::domain::facts::Facts;
use crate::domain::reason::{Finding, Reason};

/// `ANOMALY_DETECTED`.
pub fn unusual(_request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let words = facts.anomaly.as_ref()?;
    Some(Finding::hold(Reason::AnomalyDetected, words.clone()))
}

/// `NEW_PAYEE`, a remark.
pub fn new_payee(_request: &Request<'_>, _facts: &Facts) -> Option<Finding> {
    None
}
