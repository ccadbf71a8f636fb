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
use crate::domain::change::{Change, Conflict, Doc, DocKey, DocWrite, Record};
use crate::domain::document::Document;
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
    /// What people call it; records are `<noun>_created`, `<noun>_changed`, `<noun>_deleted`.
    const NOUN: &'static str;
    /// Where its earlier versions are kept, if they are.
    const HISTORY: Option<&'static str>;

    /// What the audit log tells of it; never a secret.
    fn told(&self) -> Value;
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

impl Core {
    /// One document; `None` if there is none of this name in this organisation.
    pub(in crate::broker) async fn kept<T: Keepable>(
        &self,
        org: &OrgId,
        name: &str,
    ) -> Result<Option<Kept<T>>, Trouble> {
        let doc = self.ports().store.doc(&key::<T>(org, name)).await?;
        doc.map(read).transpose()
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
        let docs = self.ports().store.docs(T::KIND, org).await?;
        docs.into_iter()
            .map(|doc| Ok((doc.key.clone(), read(doc)?)))
            .collect()
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

    /// Writes a document in the place of `before`. If the caller named a version, it has to be that
    /// of `before`.
    pub(in crate::broker) async fn replace<T: Keepable>(
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
        let kind = format!("{}_deleted", T::NOUN);
        let record = self.record(
            who,
            &kind,
            json!({"name": name, "before": before.value.told()}),
        );
        let gone = DocWrite {
            key: key::<T>(&who.org, name),
            expect: Some(before.version),
            body: None,
        };
        self.apply_kept(vec![gone], record).await
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
        let done = if before.is_some() {
            "changed"
        } else {
            "created"
        };
        let detail = json!({
            "name": name,
            "version": kept.version,
            "before": before.as_ref().map(|before| before.value.told()),
            "after": kept.value.told(),
        });
        let record = self.record(who, &format!("{}_{done}", T::NOUN), detail);
        let mut docs = vec![DocWrite {
            key: key::<T>(&who.org, name),
            expect: Some(version),
            body: Some(json!(kept)),
        }];
        // The one that is replaced; the present one is in its place.
        if let (Some(history), Some(before)) = (T::HISTORY, &before) {
            docs.push(DocWrite {
                key: DocKey::new(history, &who.org, version_id(name, version)),
                expect: None,
                body: Some(json!(before)),
            });
        }
        self.apply_kept(docs, record).await?;
        // A name that was used before goes on counting.
        match self.kept(&who.org, name).await? {
            Some(now) => Ok(now),
            None => Err(Trouble::Changed),
        }
    }

    fn record(&self, who: &Principal, kind: &str, detail: Value) -> Record {
        let mut record = Record::new(self.ports().ambient.now(), &who.org, kind, &who.id);
        record.agent.clone_from(&who.agent);
        record.with(detail)
    }

    async fn apply_kept(&self, docs: Vec<DocWrite>, record: Record) -> Result<(), Trouble> {
        let keys: Vec<DocKey> = docs.iter().map(|doc| doc.key.clone()).collect();
        let change = Change::documents(docs, Vec::new(), vec![record], Vec::new());
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

fn key<T: Keepable>(org: &OrgId, name: &str) -> DocKey {
    DocKey::new(T::KIND, org, name)
}

/// Sorts as the versions do.
pub(in crate::broker) fn version_id(name: &str, version: u64) -> String {
    format!("{name}/{version:012}")
}

fn read<T: Keepable>(doc: Doc) -> Result<Kept<T>, Trouble> {
    match Kept::<T>::read(&doc) {
        Ok(stored) => Ok(Kept {
            version: stored.version,
            ..stored.value
        }),
        Err(unreadable) => Err(unreadable.into()),
    }
}
