//! Documents that people keep by name: sources, tools, servers, rules. One way to make, read, change
//! and take them away, so that all of them refuse the same mistakes in the same words.
//!
//! A name is made once (`name_taken`), a change may say which version it means to replace
//! (`changed_meanwhile`), every write is recorded in its own transaction, and a document of another
//! organisation reads as one that never existed.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Core, Trouble, failed};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Conflict, DocKey, DocWrite, Record};
use crate::domain::document::{Document, Stored};
use crate::domain::ids::OrgId;
use crate::domain::principal::Principal;
use crate::domain::time::Timestamp;
use crate::store::ApplyError;

/// Most documents of one kind in one organisation.
const MOST: usize = 10_000;

/// A kind of documents that are kept by name.
pub(in crate::broker) trait Keepable: Serialize + DeserializeOwned {
    /// Its kind in the store.
    const KIND: &'static str;
    /// What people call it.
    const NOUN: &'static str;
    /// What the records of its changes are.
    const RECORDS: Records;
    /// Where its earlier versions are kept, if they are.
    const HISTORY: Option<&'static str>;

    /// What the audit log tells of it; never a secret.
    fn told(&self) -> Value;
}

/// Kinds of the records that tell of changes to one kind of documents.
pub(in crate::broker) struct Records {
    /// One was made.
    pub created: RecordKind,
    /// One was replaced.
    pub changed: RecordKind,
    /// One was taken away.
    pub deleted: RecordKind,
}

/// A document with what is known of its last change.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Kept<T> {
    /// What it says.
    pub value: T,
    /// Counts its changes, from 1.
    #[serde(skip)]
    pub version: u64,
    /// Who wrote it last.
    pub changed_by: String,
    /// And when.
    pub changed_at: Timestamp,
}

impl<T: Keepable> Document for Kept<T> {
    const KIND: &'static str = T::KIND;
    const CACHED: bool = true;
    type Id = str;
}

/// An earlier version of a document. Named as [`version_id`] says.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::broker) struct Earlier<T>(pub(in crate::broker) Kept<T>);

impl<T: Keepable> Document for Earlier<T> {
    const KIND: &'static str = match T::HISTORY {
        Some(kind) => kind,
        // Nobody writes one.
        None => "",
    };
    const CACHED: bool = true;
    type Id = str;
}

impl Core {
    /// One document; `None` if there is none of this name in this organisation.
    pub(in crate::broker) async fn kept<T: Keepable>(
        &self,
        org: &OrgId,
        name: &str,
    ) -> Result<Option<Kept<T>>, Trouble> {
        Ok(self.document(org, name).await?.map(counted))
    }

    /// One document, which has to be there.
    pub(in crate::broker) async fn found<T: Keepable>(
        &self,
        org: &OrgId,
        name: &str,
    ) -> Result<Kept<T>, Trouble> {
        let found = self.kept(org, name).await?;
        found.ok_or(Trouble::NotFound(T::NOUN))
    }

    /// Every document of an organisation by its name, or of all organisations.
    pub(in crate::broker) async fn all_kept<T: Keepable>(
        &self,
        org: Option<&OrgId>,
    ) -> Result<Vec<(DocKey, Kept<T>)>, Trouble> {
        let stored = self.documents::<Kept<T>>(org).await?.into_iter();
        let keyed = stored.map(|stored| {
            let stored = stored?;
            Ok((stored.key.clone(), counted(stored)))
        });
        keyed.collect()
    }

    /// Writes a document under a name that nothing has yet.
    pub(in crate::broker) async fn make<T: Keepable>(
        &self,
        who: &Principal,
        name: &str,
        value: T,
    ) -> Result<Kept<T>, Trouble> {
        let others = self.ports().store.docs(T::KIND, Some(&who.org)).await?;
        if others.len() >= MOST {
            let text = format!("there are {MOST} of these already; delete some first");
            return Err(Trouble::InvalidRequest(text));
        }
        match self.put(who, name, 0, None, value).await {
            Err(Trouble::Changed) => Err(Trouble::NameTaken(T::NOUN, name.to_owned())),
            done => done,
        }
    }

    /// Writes documents under names that nothing has yet: all of them, or none.
    pub(in crate::broker) async fn make_all<T: Keepable>(
        &self,
        who: &Principal,
        all: Vec<(String, T)>,
    ) -> Result<Vec<Kept<T>>, Trouble> {
        let others = self.ports().store.docs(T::KIND, Some(&who.org)).await?;
        if others.len() + all.len() > MOST {
            let text = format!("there would be more than {MOST} of these; delete some first");
            return Err(Trouble::InvalidRequest(text));
        }
        let now = self.ports().ambient.now();
        let (mut docs, mut records, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in all {
            let kept = Kept {
                value,
                version: 1,
                changed_by: who.id.clone(),
                changed_at: now,
            };
            let detail = json!({
                "name": name, "version": 1, "before": null, "after": kept.value.told(),
            });
            records.push(self.record(who, T::RECORDS.created, detail));
            docs.push(kept.write(&who.org, &name, Some(0)));
            names.push(name);
        }
        self.apply_kept(docs, records).await?;
        let mut made = Vec::new();
        for name in names {
            made.push(self.found(&who.org, &name).await?);
        }
        Ok(made)
    }

    /// Writes a document in the place of `before`. If the caller named a version, it has to be that
    /// of `before`. One that says the same is not written: nothing has changed, so nothing that rests
    /// on the version ends.
    pub(in crate::broker) async fn replace<T: Keepable>(
        &self,
        who: &Principal,
        name: &str,
        before: Kept<T>,
        named: Option<u64>,
        value: T,
    ) -> Result<Kept<T>, Trouble> {
        let is_named = named.is_none_or(|named| named == before.version);
        match is_named && before.value.told() == value.told() {
            true => Ok(before),
            false => self.rewrite(who, name, before, named, value).await,
        }
    }

    /// The same, though it says what it said: what is not told of it has changed.
    pub(in crate::broker) async fn rewrite<T: Keepable>(
        &self,
        who: &Principal,
        name: &str,
        before: Kept<T>,
        named: Option<u64>,
        value: T,
    ) -> Result<Kept<T>, Trouble> {
        if named.is_some_and(|named| named != before.version) {
            return Err(Trouble::Changed);
        }
        let version = before.version;
        self.put(who, name, version, Some(before), value).await
    }

    /// Takes a document away. What was written under its name before stays in the history.
    pub(in crate::broker) async fn take_away<T: Keepable>(
        &self,
        who: &Principal,
        name: &str,
        before: &Kept<T>,
    ) -> Result<(), Trouble> {
        self.take_away_with(who, name, before, Vec::new()).await
    }

    /// The same, with `more` that goes or changes with it.
    pub(in crate::broker) async fn take_away_with<T: Keepable>(
        &self,
        who: &Principal,
        name: &str,
        before: &Kept<T>,
        more: Vec<DocWrite>,
    ) -> Result<(), Trouble> {
        let record = self.record(
            who,
            T::RECORDS.deleted,
            json!({"name": name, "before": before.value.told()}),
        );
        let mut docs = vec![Kept::<T>::delete(&who.org, name, Some(before.version))];
        docs.extend(more);
        self.apply_kept(docs, vec![record]).await
    }

    async fn put<T: Keepable>(
        &self,
        who: &Principal,
        name: &str,
        version: u64,
        before: Option<Kept<T>>,
        value: T,
    ) -> Result<Kept<T>, Trouble> {
        let kept = Kept {
            value,
            version: version + 1,
            changed_by: who.id.clone(),
            changed_at: self.ports().ambient.now(),
        };
        let done = match before {
            Some(_) => T::RECORDS.changed,
            None => T::RECORDS.created,
        };
        let detail = json!({
            "name": name,
            "version": kept.version,
            "before": before.as_ref().map(|before| before.value.told()),
            "after": kept.value.told(),
        });
        let record = self.record(who, done, detail);
        let mut docs = vec![kept.write(&who.org, name, Some(version))];
        // The one that is replaced; the present one is in its place.
        if let (Some(_), Some(before)) = (T::HISTORY, before) {
            let id = version_id(name, version);
            docs.push(Earlier(before).write(&who.org, &id, None));
        }
        self.apply_kept(docs, vec![record]).await?;
        // A name that was used before goes on counting.
        match self.kept(&who.org, name).await? {
            Some(now) => Ok(now),
            None => Err(Trouble::Changed),
        }
    }

    fn record(&self, who: &Principal, kind: RecordKind, detail: Value) -> Record {
        let mut record = Record::new(self.ports().ambient.now(), &who.org, kind, &who.id);
        record.agent.clone_from(&who.agent);
        record.with(detail)
    }

    async fn apply_kept(&self, docs: Vec<DocWrite>, records: Vec<Record>) -> Result<(), Trouble> {
        let keys: Vec<DocKey> = docs.iter().map(|doc| doc.key.clone()).collect();
        let change = Change::documents(docs, Vec::new(), records, Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => {
                keys.iter().for_each(|key| self.memory().forget_doc(key));
                Ok(())
            }
            Err(ApplyError::Conflict(Conflict::DocChanged(_))) => Err(Trouble::Changed),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Sorts as the versions do.
pub(in crate::broker) fn version_id(name: &str, version: u64) -> String {
    format!("{name}/{version:012}")
}

/// The version is the store's word.
fn counted<T: Keepable>(stored: Stored<Kept<T>>) -> Kept<T> {
    Kept {
        version: stored.version,
        ..stored.value
    }
}
