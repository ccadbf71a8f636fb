//! The master keys as envelopes take them, under the names that all nodes give them.

use super::master_name;
use crate::config::secret::KeyBytes;
use crate::domain::envelope::{MasterKey, Masters};

/// These keys, the newest first.
pub fn masters(keys: &[KeyBytes]) -> Masters {
    let keys = keys.iter();
    Masters::new(
        keys.map(|key| MasterKey::new(master_name(key), key.expose()))
            .collect(),
    )
}
