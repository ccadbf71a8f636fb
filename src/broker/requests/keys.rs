//! The keys that seal what is said: one for each organisation, made when it is first needed and kept
//! in an envelope under the master key.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::Requests;
use super::providers::StoredProvider;
use crate::broker::core::Trouble;
use crate::broker::core::kept::Kept;
use crate::broker::core::sealed::Sealed;
use crate::domain::document::{Document, Single};
use crate::domain::envelope::{self, Envelope, Place};
use crate::domain::ids::OrgId;
use crate::domain::requests::sealing::{ContentKey, KEY_BYTES, OrgKey};

/// Keys that are open in this process.
#[derive(Default)]
pub(super) struct Keys(Mutex<HashMap<OrgId, Arc<ContentKey>>>);

impl Keys {
    fn get(&self, org: &OrgId) -> Option<Arc<ContentKey>> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(org).cloned()
    }

    fn put(&self, org: &OrgId, key: ContentKey) -> Arc<ContentKey> {
        let key = Arc::new(key);
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(org.clone(), key.clone());
        key
    }
}

impl Sealed for OrgKey {
    fn envelope(&self) -> Option<(&Envelope, u64)> {
        Some((&self.sealed, VERSION))
    }

    fn wrapped(self, sealed: Envelope) -> Self {
        Self { sealed }
    }
}

/// There is one key for ever.
const VERSION: u64 = 1;

impl Requests {
    /// Puts every key that is kept here under the newest master key: those of providers, and those
    /// of organisations.
    pub(in crate::broker) async fn rewrap(&self) -> Result<(usize, usize), Trouble> {
        let providers = self.rewrap_all::<Kept<StoredProvider>>().await?;
        Ok((providers, self.rewrap_all::<OrgKey>().await?))
    }

    /// The names of the master keys under which they are.
    pub(in crate::broker) async fn masters_used(&self) -> Result<BTreeSet<String>, Trouble> {
        let mut used = self.masters_of::<Kept<StoredProvider>>().await?;
        used.extend(self.masters_of::<OrgKey>().await?);
        Ok(used)
    }

    /// The organisation's key.
    pub(super) async fn content_key(&self, org: &OrgId) -> Result<Arc<ContentKey>, Trouble> {
        if let Some(key) = self.keys.get(org) {
            return Ok(key);
        }
        if let Some(stored) = self.document::<OrgKey>(org, OrgKey::ID).await? {
            return Ok(self.keys.put(org, self.opened(org, &stored.value)?));
        }
        let bytes: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(self.ports().ambient.bytes());
        let random = Zeroizing::new(self.ports().ambient.bytes());
        let sealed = envelope::seal(&self.ports().masters, &place(org), &*bytes, &random);
        let sealed = sealed.map_err(|why| Trouble::Off(why.to_string()))?;
        let new = OrgKey { sealed }.write_only(org, Some(0));
        match self.write(vec![new]).await {
            // Another node made one first, and that one counts.
            Ok(()) | Err(Trouble::Changed) => {}
            Err(trouble) => return Err(trouble),
        }
        let stored = self.document::<OrgKey>(org, OrgKey::ID).await?;
        let stored = stored.ok_or(Trouble::StoreUnavailable)?;
        Ok(self.keys.put(org, self.opened(org, &stored.value)?))
    }

    fn opened(&self, org: &OrgId, key: &OrgKey) -> Result<ContentKey, Trouble> {
        let opened = envelope::open(&self.ports().masters, &place(org), &key.sealed);
        let opened = opened.map_err(|why| Trouble::Off(why.to_string()))?;
        ContentKey::new(&opened).ok_or(Trouble::StoreUnavailable)
    }
}

fn place(org: &OrgId) -> Place<'_> {
    Place {
        org,
        kind: OrgKey::KIND,
        name: OrgKey::ID,
        version: VERSION,
    }
}
