//! What a proposal was shown for: the state that its tool would work on, as people and agents see
//! it, and what the source compares before it does anything.
//!
//! What is shown is masked; what is compared stands for all of it. The hash that is told is keyed,
//! so that nobody can find a hidden value by trying.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::domain::ids::{OrgId, hex};

/// Separates this use of the key from every other.
const DOMAIN: &[u8] = b"hundi/effect/v1\0";

/// The state before, as it was shown.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Effect {
    /// In words.
    pub summary: String,
    /// The document of the preview, masked.
    pub before: Value,
    /// What it will be, where the tool can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// How many rows were shown, where there are rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Stands for all that was shown and hidden; told and bound by the token.
    pub state: String,
    /// What the source compares. Never told.
    pub basis: String,
    /// The version of what was shown, where the source has versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Effect {
    /// As it is told.
    pub fn told(&self) -> Value {
        let mut told = json!({
            "summary": self.summary, "before": self.before, "state": self.state,
        });
        if let Some(after) = &self.after {
            told["after"] = after.clone();
        }
        if let Some(rows) = self.rows {
            told["rows"] = json!(rows);
        }
        told
    }

    /// What is told in place of `basis`: 64 hex digits. `None` only for a key that is none.
    pub fn state_of(secret: &[u8], org: &OrgId, basis: &str) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        mac.update(DOMAIN);
        mac.update(org.as_str().as_bytes());
        mac.update(b"\0");
        mac.update(basis.as_bytes());
        Some(hex(&mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_depends_on_the_state_and_on_what_nobody_knows() {
        let (ours, theirs) = (OrgId::default(), "other".parse().unwrap());
        let state =
            |secret: &[u8], org: &OrgId, basis: &str| Effect::state_of(secret, org, basis).unwrap();
        let told = state(b"k", &ours, "b");
        assert_eq!(told, state(b"k", &ours, "b"));
        for other in [
            state(b"l", &ours, "b"),
            state(b"k", &theirs, "b"),
            state(b"k", &ours, "c"),
        ] {
            assert_ne!(told, other);
        }
        let effect = Effect {
            summary: "s".to_owned(),
            before: json!({}),
            after: None,
            rows: Some(1),
            state: told,
            basis: "canary".to_owned(),
            version: Some("canary".to_owned()),
        };
        assert!(!effect.told().to_string().contains("canary"));
    }
}
