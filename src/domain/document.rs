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
pub const NEVER_CACHED: &[&str] = &[
    "bank_payout",
    "borrowed_reference",
    "button",
    "card",
    "case",
    "case_seen",
    "challenge",
    "errand",
    "head",
    "login_link",
    "model_request",
    "model_request_key",
    "paper",
    "passkey",
    "payment_mark",
    "poll",
    "seal",
    "session",
    "signed_statement",
    "spool",
    "tainted_read",
    "tile",
    "trace",
    "waiting_client",
    "webhook",
    "webhook_cursor",
    "withdrawn_payout",
];

/// Whether writing a document of this kind tells caches to read again.
pub fn raises_docs_epoch(kind: &str) -> bool {
    !NEVER_CACHED.contains(&kind)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
    struct Lamp {
        lit: bool,
    }

    impl Document for Lamp {
        const KIND: &'static str = "lamp";
        const CACHED: bool = true;
        type Id = str;
    }

    fn kept(write: DocWrite, version: u64) -> Doc {
        Doc {
            key: write.key,
            version,
            body: write.body.unwrap(),
        }
    }

    #[test]
    fn what_is_written_reads_back_and_is_replaced_as_it_was_read() {
        let org = OrgId::default();
        let write = Lamp { lit: true }.write(&org, "hall", Some(0));
        assert_eq!(write.key, DocKey::new("lamp", &org, "hall"));
        assert_eq!(write.body, Some(json!({"lit": true})));
        let stored = Lamp::read(&kept(write, 7)).unwrap();
        assert_eq!((version(Some(&stored)), stored.value.lit), (7, true));
        let next = stored.replace(&Lamp { lit: false });
        assert_eq!(
            (next.expect, next.body),
            (Some(7), Some(json!({"lit": false})))
        );
        assert_eq!(stored.remove(), Lamp::delete(&org, "hall", Some(7)));
        assert_eq!(version::<Lamp>(None), 0);
    }

    #[test]
    fn what_does_not_read_back_says_where_it_stands() {
        let mut doc = kept(Lamp { lit: true }.write(&OrgId::default(), "hall", None), 3);
        doc.body = json!({"lit": "dimly"});
        let unreadable = Lamp::read(&doc).unwrap_err();
        assert_eq!(*unreadable.doc, doc);
        let told = unreadable.to_string();
        assert!(
            told.starts_with("the document lamp/hall does not read back"),
            "{told}"
        );
    }
}
