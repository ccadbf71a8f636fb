//! The ring as `token-keys.json` spells it.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::KeyringError;
use crate::config::secret::unhex;
use crate::domain::time::Timestamp;
use crate::domain::token::{KeyEntry, KeyRing, KeyState, TokenKey};

/// Version of the file.
pub(super) const VERSION: u32 = 1;

/// The ring as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub version: u32,
    pub keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredKey {
    pub kid: String,
    pub state: StoredState,
    pub created_at: Timestamp,
    /// Destroyed once it verifies nothing.
    pub secret: Option<HexSecret>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoredState {
    Active,
    Rotated { until: i64 },
    Retired,
}

pub(super) struct HexSecret(pub Zeroizing<String>);

impl Serialize for HexSecret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HexSecret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Zeroizing::new(text)))
    }
}

impl From<StoredState> for KeyState {
    fn from(state: StoredState) -> Self {
        match state {
            StoredState::Active => KeyState::Active,
            StoredState::Rotated { until } => KeyState::Rotated(until),
            StoredState::Retired => KeyState::Retired,
        }
    }
}

impl Stored {
    /// The keys that still verify something. A name that is not in the ring is refused just as a
    /// retired one is.
    pub fn ring(&self, path: &Path) -> Result<KeyRing, KeyringError> {
        let mut keys = Vec::new();
        for key in &self.keys {
            let Some(HexSecret(text)) = &key.secret else {
                continue;
            };
            let secret = unhex(text).ok_or_else(|| KeyringError::Damaged {
                path: path.to_owned(),
                why: format!("key {} is not hex", key.kid),
            })?;
            keys.push(TokenKey::new(
                &key.kid,
                secret,
                key.state.into(),
                key.created_at,
            )?);
        }
        Ok(KeyRing::new(keys))
    }

    pub fn entries(&self) -> Vec<KeyEntry> {
        let sealing = self
            .keys
            .iter()
            .rposition(|key| matches!(key.state, StoredState::Active));
        let entries = self.keys.iter().enumerate().map(|(index, key)| KeyEntry {
            kid: key.kid.clone(),
            state: key.state.into(),
            created_at: Some(key.created_at),
            sealing: Some(index) == sealing,
        });
        entries.collect()
    }
}
