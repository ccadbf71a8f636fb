//! The envelope around a secret that the store keeps: a data key of its own seals the secret, and
//! the master key seals the data key.
//!
//! XChaCha20-Poly1305 both times. Both seals bind where the envelope belongs ([`Place`]: organisation,
//! kind, name and version), and the outer one also the name of the master key; so an envelope that
//! was moved to another place, or an old one put back under a newer version, does not open.
//!
//! A new master key needs a new seal around the data key only ([`rewrap`]); the secret itself is not
//! touched. Meanwhile whoever holds both keys opens both kinds of envelopes, and whoever lacks one is
//! told its name. Sealing again makes a new data key, always: no key seals two secrets.
//!
//! Pure: random bytes are handed in. Keys, data keys and what is sealed are wiped when dropped and
//! shown nowhere. That an attacker who writes the store cannot put a whole older document back is
//! for whoever keeps the versions.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::ids::OrgId;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 24;
/// Bytes that authenticate.
const TAG_BYTES: usize = 16;
/// Longest secret, in bytes: a password, a token, perhaps a key with its certificates.
pub const MAX_SECRET: usize = 64 * 1024;
/// Random bytes that sealing needs: a data key and two nonces.
pub const SEAL_RANDOM: usize = KEY_BYTES + 2 * NONCE_BYTES;
/// Random bytes that rewrapping needs: a nonce.
pub const REWRAP_RANDOM: usize = NONCE_BYTES;

/// What a master key is, as far as envelopes go: a name, and a key that nothing else is sealed with.
#[derive(Clone)]
pub struct MasterKey {
    name: String,
    wrapping: Zeroizing<[u8; KEY_BYTES]>,
}

impl MasterKey {
    /// From the master key itself, under the name that all nodes give it.
    pub fn new(name: impl Into<String>, secret: &[u8]) -> Self {
        let mut wrapping = Zeroizing::new([0; KEY_BYTES]);
        // A key of any length keys an HMAC.
        if let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(secret) {
            mac.update(b"hundi/envelope/master/v1\0");
            wrapping.copy_from_slice(&mac.finalize().into_bytes());
        }
        Self {
            name: name.into(),
            wrapping,
        }
    }
}

/// The master keys of a process, the newest first: that one seals, all of them open.
#[derive(Clone)]
pub struct Masters(Vec<MasterKey>);

impl Masters {
    /// These keys, the newest first.
    pub fn new(keys: Vec<MasterKey>) -> Self {
        Self(keys)
    }

    /// Their names, the newest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.name.as_str())
    }

    /// Whether one of them has this name.
    pub fn has(&self, name: &str) -> bool {
        self.named(name).is_some()
    }

    fn newest(&self) -> Result<&MasterKey, EnvelopeError> {
        self.0.first().ok_or(EnvelopeError::NoMaster)
    }

    fn named(&self, name: &str) -> Option<&MasterKey> {
        self.0.iter().find(|key| key.name == name)
    }

    fn wanted(&self, name: &str) -> Result<&MasterKey, EnvelopeError> {
        self.named(name).ok_or_else(|| EnvelopeError::Wanted {
            key: name.to_owned(),
            held: self.names().map(str::to_owned).collect(),
        })
    }
}

/// Where an envelope belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// The organisation.
    pub org: &'a OrgId,
    /// What it belongs to: `source`.
    pub kind: &'a str,
    /// The name of that.
    pub name: &'a str,
    /// Counts the secrets that were kept here.
    pub version: u64,
}

impl Place<'_> {
    /// What a seal binds. Each part has its length before it, so that no two places read alike.
    fn bound(&self, label: &str, key: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        let parts = [label, key, self.org.as_str(), self.kind, self.name];
        for part in parts.map(str::as_bytes) {
            let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
            bytes.extend(len.to_be_bytes());
            bytes.extend(part);
        }
        bytes.extend(self.version.to_be_bytes());
        bytes
    }
}

const LABEL_OF_KEY: &str = "hundi/envelope/key/v1";
const LABEL_OF_SECRET: &str = "hundi/envelope/secret/v1";

/// A sealed secret with its sealed key, as stores keep it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The name of the master key that seals the data key.
    master: String,
    /// The data key.
    key: Sealed,
    /// The secret.
    secret: Sealed,
}

impl Envelope {
    /// The name of the master key that opens it.
    pub fn master(&self) -> &str {
        &self.master
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope(sealed under {})", self.master)
    }
}

/// Why an envelope could not be made or opened. Says what to do, never a key or a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// There is nothing to seal with.
    #[error(
        "there is no master key: give one in HUNDI_MASTER_KEY, or let the first start make one"
    )]
    NoMaster,
    /// It was sealed under a key that is not here.
    #[error(
        "what is kept secret was sealed under master key {key}, and {}: put that key back, after the newest (HUNDI_MASTER_KEY is a list, newest first)",
        held_words(.held)
    )]
    Wanted {
        /// The name of that key.
        key: String,
        /// The names of those that are here, the newest first.
        held: Vec<String>,
    },
    /// It was changed, or it belongs elsewhere.
    #[error(
        "what is kept secret under master key {key} does not open: it was changed, or it was written for another organisation, name or version; give the secret anew"
    )]
    Damaged {
        /// The name of the master key.
        key: String,
    },
    /// More than a secret.
    #[error("a secret is at most {MAX_SECRET} bytes long")]
    TooLong,
}

fn held_words(held: &[String]) -> String {
    match held.is_empty() {
        true => "there is none here".to_owned(),
        false => format!("here are only {}", held.join(", ")),
    }
}

/// Seals a secret under the newest master key, with a data key of its own.
pub fn seal(
    masters: &Masters,
    place: &Place<'_>,
    secret: &[u8],
    random: &Zeroizing<[u8; SEAL_RANDOM]>,
) -> Result<Envelope, EnvelopeError> {
    let master = masters.newest()?;
    if secret.len() > MAX_SECRET {
        return Err(EnvelopeError::TooLong);
    }
    let (data_key, nonces) = random.split_at(KEY_BYTES);
    let (key_nonce, secret_nonce) = nonces.split_at(NONCE_BYTES);
    let bound = place.bound(LABEL_OF_SECRET, "");
    let sealed = encrypt(data_key, secret_nonce, secret, &bound)?;
    wrap(master, place, data_key, key_nonce, sealed)
}

/// Opens an envelope that belongs here.
pub fn open(
    masters: &Masters,
    place: &Place<'_>,
    envelope: &Envelope,
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let data_key = unwrap(masters, place, envelope)?;
    let bound = place.bound(LABEL_OF_SECRET, "");
    decrypt(&data_key, &envelope.secret, &bound).ok_or_else(|| envelope.damaged())
}

/// The same secret with its data key under the newest master key; `None` if it is already.
pub fn rewrap(
    masters: &Masters,
    place: &Place<'_>,
    envelope: &Envelope,
    random: &[u8; REWRAP_RANDOM],
) -> Result<Option<Envelope>, EnvelopeError> {
    let master = masters.newest()?;
    if master.name == envelope.master {
        return Ok(None);
    }
    let data_key = unwrap(masters, place, envelope)?;
    let sealed = envelope.secret.clone();
    wrap(master, place, &data_key, random, sealed).map(Some)
}

fn wrap(
    master: &MasterKey,
    place: &Place<'_>,
    data_key: &[u8],
    nonce: &[u8],
    secret: Sealed,
) -> Result<Envelope, EnvelopeError> {
    let bound = place.bound(LABEL_OF_KEY, &master.name);
    Ok(Envelope {
        master: master.name.clone(),
        key: encrypt(master.wrapping.as_slice(), nonce, data_key, &bound)?,
        secret,
    })
}

fn unwrap(
    masters: &Masters,
    place: &Place<'_>,
    envelope: &Envelope,
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let master = masters.wanted(&envelope.master)?;
    let bound = place.bound(LABEL_OF_KEY, &master.name);
    let opened = decrypt(master.wrapping.as_slice(), &envelope.key, &bound);
    opened.ok_or_else(|| envelope.damaged())
}

impl Envelope {
    fn damaged(&self) -> EnvelopeError {
        let key = self.master.clone();
        EnvelopeError::Damaged { key }
    }
}

/// A nonce and what was sealed with it; base64url without padding in documents.
#[derive(Clone, PartialEq, Eq)]
struct Sealed {
    nonce: [u8; NONCE_BYTES],
    text: Vec<u8>,
}

fn encrypt(key: &[u8], nonce: &[u8], msg: &[u8], aad: &[u8]) -> Result<Sealed, EnvelopeError> {
    // Neither a key of another length nor a text that is too long gets here; a failure is told as
    // what it would be.
    let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).map_err(|_| EnvelopeError::TooLong)?;
    let cipher = XChaCha20Poly1305::new_from_slice(key).map_err(|_| EnvelopeError::NoMaster)?;
    let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg, aad });
    let text = sealed.map_err(|_| EnvelopeError::TooLong)?;
    Ok(Sealed { nonce, text })
}

fn decrypt(key: &[u8], sealed: &Sealed, aad: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = XChaCha20Poly1305::new_from_slice(key).ok()?;
    let msg = sealed.text.as_slice();
    let opened = cipher.decrypt(&XNonce::from(sealed.nonce), Payload { msg, aad });
    opened.ok().map(Zeroizing::new)
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let bytes = [self.nonce.as_slice(), self.text.as_slice()].concat();
        to.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::read(&text).ok_or_else(|| de::Error::custom("this is not what was sealed"))
    }
}

impl Sealed {
    fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let fits = (TAG_BYTES..=MAX_SECRET + TAG_BYTES).contains(&text.len());
        fits.then(|| Self {
            nonce: *nonce,
            text: text.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests;
