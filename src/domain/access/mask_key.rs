//! The key of an organisation's hashes, as it is kept.

use serde::{Deserialize, Serialize};

use crate::domain::document::{Document, Single};
use crate::domain::envelope::Envelope;

/// What the hashes that stand for hidden values of one organisation are keyed with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MaskKey {
    /// The key, sealed under a master key.
    pub sealed: Envelope,
}

impl Document for MaskKey {
    const KIND: &'static str = "mask_key";
    const CACHED: bool = true;
    type Id = str;
}

impl Single for MaskKey {
    const ID: &'static str = "masks";
}
