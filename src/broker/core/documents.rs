//! Documents, read as what they are. One that does not read back is told here, once, in one line;
//! what that means is for whoever asked: an outage for most, one entry less in a list for some.

use super::{Core, Trouble};
use crate::domain::change::{Doc, Guard};
use crate::domain::document::{Document, Stored, Unreadable};
use crate::domain::ids::OrgId;
use crate::store::StoreError;

/// A document, or that it does not read back, which has been told then.
pub(in crate::broker) type Read<D> = Result<Stored<D>, Unreadable>;

/// Reads a document, and tells if it does not read back.
pub(in crate::broker) fn read<D: Document>(doc: &Doc) -> Read<D> {
    D::read(doc).inspect_err(|unreadable| {
        let key = &unreadable.doc.key;
        let (kind, org, id, why) = (&key.kind, &key.org, &key.id, &unreadable.why);
        tracing::error!(%kind, %org, %id, %why, "a stored document does not read back");
    })
}

/// The version to write against, whether or not it reads back; 0 where there is nothing.
pub(in crate::broker) fn version_of<D>(found: Option<&Read<D>>) -> u64 {
    match found {
        Some(Ok(stored)) => stored.version,
        Some(Err(unreadable)) => unreadable.doc.version,
        None => 0,
    }
}

impl From<Unreadable> for Trouble {
    /// An outage: nothing is decided by what it might have said.
    fn from(_: Unreadable) -> Self {
        Trouble::StoreUnavailable
    }
}

impl Core {
    /// One document as it stands in the store. One that does not read back is an outage.
    pub(in crate::broker) async fn document<D: Document>(
        &self,
        org: &OrgId,
        id: &D::Id,
    ) -> Result<Option<Stored<D>>, Trouble> {
        Ok(self.find(org, id).await?.transpose()?)
    }

    /// The same for those who go on without what does not read back.
    pub(in crate::broker) async fn find<D: Document>(
        &self,
        org: &OrgId,
        id: &D::Id,
    ) -> Result<Option<Read<D>>, StoreError> {
        let doc = self.ports().store.doc(&D::key(org, id)).await?;
        Ok(doc.as_ref().map(read))
    }

    /// Every document of this kind, of one organisation or of all, by id.
    pub(in crate::broker) async fn documents<D: Document>(
        &self,
        org: Option<&OrgId>,
    ) -> Result<Vec<Read<D>>, StoreError> {
        let docs = self.ports().store.docs(D::KIND, org).await?;
        Ok(docs.iter().map(read).collect())
    }

    /// One document from memory, where that is not stale, and what holds a decision to this
    /// version of it.
    pub(in crate::broker) async fn remembered<D: Document>(
        &self,
        org: &OrgId,
        id: &D::Id,
    ) -> Result<(Option<Read<D>>, Guard), StoreError> {
        debug_assert!(D::CACHED, "nobody would hear that {} has changed", D::KIND);
        let store = self.ports().store.as_ref();
        let (doc, guard) = self.memory().doc(store, D::key(org, id)).await?;
        Ok((doc.as_deref().map(read), guard))
    }
}
