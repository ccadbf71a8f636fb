//! Names of documents, which people and agents choose: one that is taken by a document which the
//! caller may not see is still his to use, so that nobody learns from a refusal what there is.
//!
//! His document then has a name made of a secret, the author and the word, which looks like any name
//! that was made up here; only he is shown, and may use, the word that he chose.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Search, sees};
use crate::broker::core::Trouble;
use crate::domain::document::Stored;
use crate::domain::ids::hex;
use crate::domain::principal::Principal;
use crate::domain::search::{Paper, author};

/// Bytes of a name that is made up.
const MADE_UP: usize = 8;

/// Where a document is written.
pub(super) struct Place {
    /// Its name.
    pub id: String,
    /// What its author calls it, where that is another's name.
    pub alias: Option<String>,
    /// The version that it takes the place of; 0 for none.
    pub version: u64,
}

impl Search {
    /// Where this caller's document of this name is written; under a name that is made up if he gives
    /// none.
    pub(super) async fn place(
        &self,
        who: &Principal,
        asked: Option<String>,
    ) -> Result<Place, Trouble> {
        let Some(asked) = asked else {
            return Ok(Place {
                id: made_up(self.ports().ambient.bytes()),
                alias: None,
                version: 0,
            });
        };
        let own = self.own_name(who, &asked).await?;
        if let Some(before) = self.document::<Paper>(&who.org, &own).await? {
            return Ok(Place {
                id: own,
                alias: Some(asked),
                version: before.version,
            });
        }
        let before = self.document::<Paper>(&who.org, &asked).await?;
        match before {
            None => Ok(Place {
                id: asked,
                alias: None,
                version: 0,
            }),
            Some(before) if self.may_replace(who, &before.value) => Ok(Place {
                id: asked,
                alias: None,
                version: before.version,
            }),
            Some(before) if sees(who, &before.value) => Err(Trouble::NameTaken("document", asked)),
            Some(_) => Ok(Place {
                id: own,
                alias: Some(asked),
                version: 0,
            }),
        }
    }

    /// Whether this caller means a document by a name, and may find it.
    pub async fn has(&self, who: &Principal, name: &str) -> Result<bool, Trouble> {
        match self.visible(who, name).await {
            Ok(_) => Ok(true),
            Err(Trouble::NotFound(_)) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// The document that this caller means by a name.
    pub(super) async fn visible(
        &self,
        who: &Principal,
        name: &str,
    ) -> Result<Stored<Paper>, Trouble> {
        let own = self.own_name(who, name).await?;
        for id in [own.as_str(), name] {
            let stored = self.document::<Paper>(&who.org, id).await?;
            if let Some(stored) = stored.filter(|stored| sees(who, &stored.value)) {
                return Ok(stored);
            }
        }
        Err(Trouble::NotFound("document"))
    }

    /// The names that documents have which this caller means by these.
    pub(super) async fn meant(
        &self,
        who: &Principal,
        names: &[String],
    ) -> Result<Vec<String>, Trouble> {
        let mut meant = names.to_vec();
        for name in names {
            meant.push(self.own_name(who, name).await?);
        }
        Ok(meant)
    }

    /// The name of this caller's own document, where the word is another's.
    async fn own_name(&self, who: &Principal, word: &str) -> Result<String, Trouble> {
        let key = self.mask_secret(&who.org).await?;
        let mac = Hmac::<Sha256>::new_from_slice(&key);
        let mut mac = mac.map_err(|_| Trouble::StoreUnavailable)?;
        for part in ["hundi/documents/name/v1", author(who).as_str(), word] {
            mac.update(part.as_bytes());
            mac.update(b"\0");
        }
        let tag = mac.finalize().into_bytes();
        let mut name = [0; MADE_UP];
        name.copy_from_slice(&tag[..MADE_UP]);
        Ok(made_up(name))
    }
}

fn made_up(bytes: [u8; MADE_UP]) -> String {
    format!("doc-{}", hex(&bytes))
}
