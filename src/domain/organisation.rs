//! Organisations: what is one's is nothing to another.
//!
//! That there is one is known to `default` alone, whose admins make them. Nothing else about an
//! organisation is kept outside it.

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::ids::OrgId;
use super::time::Timestamp;

/// An organisation that was made. Belongs to the default one, and is named by [`Organisation::held`]:
/// case makes no second one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Organisation {
    /// Its id, as its name was spelt.
    pub org: OrgId,
    /// When it was made.
    pub created_at: Timestamp,
    /// By which principal of the default one.
    pub created_by: String,
}

impl Document for Organisation {
    const KIND: &'static str = "organisation";
    const CACHED: bool = true;
    type Id = str;
}

impl Organisation {
    /// What holds its name: the name, without case.
    pub fn held(org: &OrgId) -> String {
        org.as_str().to_ascii_lowercase()
    }
}
