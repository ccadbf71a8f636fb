//! What a decision rested on, as records and proposals keep it: so that it can be explained when the
//! rules have long been others, and so that what it hid stays hidden.

use serde::{Deserialize, Serialize};

use super::mask::Mask;
use super::rule::RuleId;

/// What a decision rested on. Empty where no rule said anything and nothing is hidden.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Basis {
    /// The rules that decided, as they were then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleVersion>,
    /// What is hidden of whatever the call brings back, by these rules and by the tool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<Mask>,
    /// The server whose key was shown, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// One rule at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuleVersion {
    /// Which.
    pub id: RuleId,
    /// As of which change.
    pub version: u64,
}

impl Basis {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is hidden, as governance applies it.
    pub fn hidden(&self) -> Vec<&Mask> {
        self.masks.iter().collect()
    }
}
