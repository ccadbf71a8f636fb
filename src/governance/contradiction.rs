//! Does a number or an id in the arguments contradict the prompt? (to be written)

use super::Request;
use crate::domain::facts::Facts;
use crate::domain::reason::Finding;

/// `PROMPT_CONTRADICTED`.
pub fn contradicted(_request: &Request<'_>, _facts: &Facts) -> Option<Finding> {
    None
}
