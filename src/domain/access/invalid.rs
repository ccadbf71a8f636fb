//! Why a rule was refused: the place in its document, and what to write instead.

use serde::Serialize;

/// Longest detail, in characters: it may repeat what somebody wrote.
const MAX_DETAIL: usize = 300;

/// A document that was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize)]
#[error("{pointer}: {detail}")]
pub struct Invalid {
    /// `invalid_rule`. Never changes once released.
    pub code: &'static str,
    /// JSON Pointer to the field.
    pub pointer: String,
    /// What is wrong and what to write instead.
    pub detail: String,
}

impl Invalid {
    /// A rule's document is wrong at `pointer`.
    pub fn rule(pointer: impl Into<String>, detail: impl AsRef<str>) -> Self {
        Self {
            code: "invalid_rule",
            pointer: pointer.into(),
            detail: detail.as_ref().chars().take(MAX_DETAIL).collect(),
        }
    }
}
