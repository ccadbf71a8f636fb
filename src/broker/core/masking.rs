//! What hashes that stand for hidden values are keyed with: a random key for each organisation, made
//! when it is first needed and kept in an envelope. A master key comes and goes, and the hashes stay
//! what they were.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::sealed::Sealed;
use super::{Core, Trouble};
use crate::domain::access::MaskKey;
use crate::domain::document::{Document, Single};
use crate::domain::envelope::{self, Envelope, Place};
use crate::domain::ids::OrgId;
use crate::governance::access::masks::HashKey;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// One organisation's key. Wiped when dropped.
pub(in crate::broker) type MaskSecret = Arc<Zeroizing<Vec<u8>>>;

/// Keys that are open in this process.
#[derive(Default)]
pub(super) struct MaskKeys(Mutex<HashMap<OrgId, MaskSecret>>);

impl MaskKeys {
    fn get(&self, org: &OrgId) -> Option<MaskSecret> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(org).cloned()
    }

    fn put(&self, org: &OrgId, key: Zeroizing<Vec<u8>>) -> MaskSecret {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.entry(org.clone()).or_insert(Arc::new(key)).clone()
    }
}

impl Sealed for MaskKey {
    fn envelope(&self) -> Option<(&Envelope, u64)> {
        Some((&self.sealed, VERSION))
    }

    fn wrapped(self, sealed: Envelope) -> Self {
        Self { sealed }
    }
}

/// There is one key for ever.
const VERSION: u64 = 1;

impl Core {
    /// What the hashes of this organisation are keyed with. Where the key cannot be had they are
    /// keyed with one that nobody will have again: nothing is shown for want of it.
    pub(in crate::broker) async fn mask_key(&self, org: &OrgId) -> HashKey {
        match self.mask_secret(org).await {
            Ok(secret) => HashKey::of(&secret, org),
            Err(trouble) => {
                tracing::error!(%org, %trouble, "what is hidden is hashed with a key of the moment");
                HashKey::of(&self.ports().ambient.bytes::<KEY_BYTES>(), org)
            }
        }
    }

    /// The key itself, for what has to come out the same again.
    pub(in crate::broker) async fn mask_secret(&self, org: &OrgId) -> Result<MaskSecret, Trouble> {
        if let Some(known) = self.mask_keys.get(org) {
            return Ok(known);
        }
        if let Some(stored) = self.document::<MaskKey>(org, MaskKey::ID).await? {
            return self.unmasked(org, &stored.value);
        }
        let bytes = Zeroizing::new(self.ports().ambient.bytes::<KEY_BYTES>());
        let random = Zeroizing::new(self.ports().ambient.bytes());
        let sealed = envelope::seal(&self.ports().masters, &place(org), &*bytes, &random);
        let sealed = sealed.map_err(|why| Trouble::Off(why.to_string()))?;
        match self
            .write(vec![MaskKey { sealed }.write_only(org, Some(0))])
            .await
        {
            // Another node made one first, and that one counts.
            Ok(()) | Err(Trouble::Changed) => {}
            Err(trouble) => return Err(trouble),
        }
        let stored = self.document::<MaskKey>(org, MaskKey::ID).await?;
        self.unmasked(org, &stored.ok_or(Trouble::StoreUnavailable)?.value)
    }

    fn unmasked(&self, org: &OrgId, key: &MaskKey) -> Result<MaskSecret, Trouble> {
        let opened = envelope::open(&self.ports().masters, &place(org), &key.sealed);
        let opened = opened.map_err(|why| Trouble::Off(why.to_string()))?;
        Ok(self.mask_keys.put(org, opened))
    }
}

fn place(org: &OrgId) -> Place<'_> {
    Place {
        org,
        kind: MaskKey::KIND,
        name: MaskKey::ID,
        version: VERSION,
    }
}
