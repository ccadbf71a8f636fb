//! Documents as types: each kind is one type, which says how it is spelt for the store, whether
//! anybody keeps it in a cache, and what names one.
//!
//! Nothing else knows a kind by its name. A key, a write and a deletion come from the type, so
//! nothing of one kind can be written under the name of another, and what is read is the type or
//! an [`Unreadable`], which still tells where it stood, so that it can be replaced.

use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::change::{Doc, DocKey, DocWrite, Guard};
use super::ids::OrgId;

/// What is kept as a document.
pub trait Document: Serialize + DeserializeOwned {
    /// What the store calls it. Never changes once released.
    const KIND: &'static str;
    /// Whether writing one tells caches to read again. `false` for what is written all the time
    /// and that nobody remembers: marks of seen events, work lists, the audit log's own tree. A
    /// kind of these is in [`NEVER_CACHED`] as well, which a test sees to.
    const CACHED: bool;
    /// What names one among its kind and organisation.
    type Id: Display + ?Sized;

    /// The name of one.
    fn key(org: &OrgId, id: &Self::Id) -> DocKey {
        DocKey::new(Self::KIND, org, id.to_string())
    }

    /// Writes this one if the stored version is still `expect`: 0 is "must not exist", `None`
    /// writes whatever is there.
    fn write(&self, org: &OrgId, id: &Self::Id, expect: Option<u64>) -> DocWrite {
        DocWrite {
            key: Self::key(org, id),
            expect,
            body: Some(spelt(self)),
        }
    }

    /// Deletes one, under the same condition.
    fn delete(org: &OrgId, id: &Self::Id, expect: Option<u64>) -> DocWrite {
        DocWrite {
            key: Self::key(org, id),
            expect,
            body: None,
        }
    }

    /// What a stored document says.
    fn read(doc: &Doc) -> Result<Stored<Self>, Unreadable> {
        match Self::deserialize(&doc.body) {
            Ok(value) => Ok(Stored {
                key: doc.key.clone(),
                version: doc.version,
                value,
            }),
            Err(error) => Err(Unreadable {
                doc: Box::new(doc.clone()),
                why: error.to_string(),
            }),
        }
    }
}

/// A document of which there is one per organisation, or one at all.
pub trait Single: Document<Id = str> {
    /// Its name.
    const ID: &'static str;

    /// Its key.
    fn only(org: &OrgId) -> DocKey {
        Self::key(org, Self::ID)
    }

    /// Writes it, under the same condition as [`Document::write`].
    fn write_only(&self, org: &OrgId, expect: Option<u64>) -> DocWrite {
        self.write(org, Self::ID, expect)
    }
}

/// A document as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored<T> {
    /// Its name.
    pub key: DocKey,
    /// The version that says so.
    pub version: u64,
    /// What it says.
    pub value: T,
}

impl<T: Document> Stored<T> {
    /// Puts another in its place, if it is still the one that was read.
    pub fn replace(&self, next: &T) -> DocWrite {
        DocWrite {
            key: self.key.clone(),
            expect: Some(self.version),
            body: Some(spelt(next)),
        }
    }

    /// Takes it away, if it is still the one that was read.
    pub fn remove(self) -> DocWrite {
        self.key.removed(self.version)
    }
}

impl DocKey {
    /// Takes the document of this name away, if it is still of this version.
    pub fn removed(self, version: u64) -> DocWrite {
        DocWrite {
            key: self,
            expect: Some(version),
            body: None,
        }
    }

    /// Holds a change to this version of the document; 0 is "must not exist".
    pub fn held_to(self, version: u64) -> Guard {
        Guard { key: self, version }
    }
}

/// The version to write against: that of what was read, or 0 where there was nothing.
pub fn version<T>(found: Option<&Stored<T>>) -> u64 {
    found.map_or(0, |stored| stored.version)
}

/// A stored document that is not what its kind says.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("the document {}/{} does not read back: {why}", doc.key.kind, doc.key.id)]
pub struct Unreadable {
    /// As it is stored.
    pub doc: Box<Doc>,
    /// What is wrong with it.
    pub why: String,
}

/// A type of ours that cannot be spelt as JSON would be a map whose keys are no texts, which none
/// of them is: so this cannot fail.
fn spelt(value: &impl Serialize) -> Value {
    json!(value)
}

/// The kinds whose [`Document::CACHED`] is `false`, for stores, which see names and no types.
pub const NEVER_CACHED: [&str; 16] = [
    "bank_payout",
    "borrowed_reference",
    "button",
    "card",
    "case",
    "case_seen",
    "errand",
    "head",
    "payment_mark",
    "poll",
    "seal",
    "spool",
    "tile",
    "webhook",
    "webhook_cursor",
    "withdrawn_payout",
];

/// Whether writing a document of this kind tells caches to read again.
pub fn raises_docs_epoch(kind: &str) -> bool {
    !NEVER_CACHED.contains(&kind)
}
