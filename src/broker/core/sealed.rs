//! Documents that hold a secret in an envelope, whatever they are about: under which master keys they
//! are, and putting them under the newest while everything goes on.

use std::collections::BTreeSet;

use super::{Core, Trouble};
use crate::domain::change::Change;
use crate::domain::document::{Document, Stored};
use crate::domain::envelope::{self, Envelope, Place};
use crate::store::ApplyError;

/// How often a document that somebody else changes at the same moment is read again.
const TRIES: usize = 8;

/// A document with a secret of its own.
pub(in crate::broker) trait Sealed: Document<Id = str> {
    /// The envelope and the version that its place has; `None` if there is no secret.
    fn envelope(&self) -> Option<(&Envelope, u64)>;

    /// The same with this envelope in the place of the one before.
    fn wrapped(self, envelope: Envelope) -> Self;
}

impl Core {
    /// The names of the master keys under which documents of this kind are.
    pub(in crate::broker) async fn masters_of<D: Sealed>(
        &self,
    ) -> Result<BTreeSet<String>, Trouble> {
        let all = self.documents::<D>(None).await?;
        let sealed = all.iter().flatten();
        let names = sealed.filter_map(|stored| stored.value.envelope());
        Ok(names
            .map(|(envelope, _)| envelope.master().to_owned())
            .collect())
    }

    /// Puts every envelope of this kind under the newest master key. Nothing else of a document
    /// changes, and its secret is not opened. Returns how many were put.
    pub(in crate::broker) async fn rewrap_all<D: Sealed>(&self) -> Result<usize, Trouble> {
        let mut put = 0;
        for stored in self.documents::<D>(None).await?.into_iter().flatten() {
            put += usize::from(self.rewrap_one::<D>(stored).await?);
        }
        Ok(put)
    }

    async fn rewrap_one<D: Sealed>(&self, mut stored: Stored<D>) -> Result<bool, Trouble> {
        let key = stored.key.clone();
        for _ in 0..TRIES {
            let Some((sealed, version)) = stored.value.envelope() else {
                return Ok(false);
            };
            let place = Place {
                org: &key.org,
                kind: D::KIND,
                name: &key.id,
                version,
            };
            let random = self.ports().ambient.bytes();
            let wrapped = envelope::rewrap(&self.ports().masters, &place, sealed, &random);
            let Some(wrapped) = wrapped.map_err(|why| Trouble::Off(why.to_string()))? else {
                return Ok(false);
            };
            let next = stored
                .value
                .wrapped(wrapped)
                .write(&key.org, &key.id, Some(stored.version));
            let change = Change::documents(vec![next], Vec::new(), Vec::new(), Vec::new());
            match self.ports().store.apply(change).await {
                Ok(_) => {
                    self.memory().forget_doc(&key);
                    return Ok(true);
                }
                Err(ApplyError::Conflict(_)) => {}
                Err(ApplyError::Store(error)) => return Err(error.into()),
            }
            // Somebody else wrote it, perhaps under the old key.
            match self.document::<D>(&key.org, &key.id).await? {
                Some(now) => stored = now,
                None => return Ok(false),
            }
        }
        Err(Trouble::Changed)
    }
}
