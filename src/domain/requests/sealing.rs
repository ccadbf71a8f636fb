//! What people and models say to each other, as it is stored: sealed under a key of the
//! organisation, which is itself kept in an envelope under the master key.
//!
//! A seal binds organisation, request and place within it, so that no text can be shown in the
//! place of another. Nonces are random; XChaCha20 has room for that.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::document::{Document, Single};
use crate::domain::envelope::Envelope;
use crate::domain::ids::{OrgId, RequestId};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;

/// An organisation's key, in its envelope.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrgKey {
    /// The key, sealed under a master key.
    pub sealed: Envelope,
}

impl Document for OrgKey {
    const KIND: &'static str = "content_key";
    const CACHED: bool = true;
    type Id = str;
}

impl Single for OrgKey {
    const ID: &'static str = "requests";
}

/// The key, open. Wiped when dropped.
#[derive(Clone)]
pub struct ContentKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey(hidden)")
    }
}

impl ContentKey {
    /// From its bytes; `None` if there are not as many as a key has.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let bytes = <[u8; KEY_BYTES]>::try_from(bytes).ok()?;
        Some(Self(Zeroizing::new(bytes)))
    }

    /// Seals a text for its place. `None` only for texts that are beyond the cipher.
    pub fn seal(
        &self,
        org: &OrgId,
        request: RequestId,
        place: u64,
        text: &[u8],
        nonce: [u8; NONCE_BYTES],
    ) -> Option<String> {
        let cipher = XChaCha20Poly1305::new_from_slice(self.0.as_slice()).ok()?;
        let aad = bound(org, request, place);
        let payload = Payload {
            msg: text,
            aad: &aad,
        };
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens what was sealed for this place. `None` if it was not, or not with this key.
    pub fn open(
        &self,
        org: &OrgId,
        request: RequestId,
        place: u64,
        sealed: &str,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let cipher = XChaCha20Poly1305::new_from_slice(self.0.as_slice()).ok()?;
        let aad = bound(org, request, place);
        let payload = Payload {
            msg: sealed,
            aad: &aad,
        };
        let opened = cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
        Some(Zeroizing::new(opened))
    }
}

fn bound(org: &OrgId, request: RequestId, place: u64) -> Vec<u8> {
    let mut bytes = b"hundi/request/v1\0".to_vec();
    bytes.extend(request.uuid().as_bytes());
    bytes.extend(place.to_be_bytes());
    bytes.extend(org.as_str().as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_opens_in_its_own_place_alone() {
        let key = ContentKey::new(&[7; KEY_BYTES]).unwrap();
        let (org, other): (OrgId, OrgId) = (OrgId::default(), "other".parse().unwrap());
        let request = RequestId::from_uuid(uuid::Uuid::from_u128(1));
        let another = RequestId::from_uuid(uuid::Uuid::from_u128(2));
        let sealed = key.seal(&org, request, 3, b"canary", [1; 24]).unwrap();
        assert!(!sealed.contains("canary"));
        let open = |org: &OrgId, request, place| key.open(org, request, place, &sealed);
        assert_eq!(open(&org, request, 3).unwrap().as_slice(), b"canary");
        assert!(open(&other, request, 3).is_none());
        assert!(open(&org, another, 3).is_none());
        assert!(open(&org, request, 4).is_none());
        let stranger = ContentKey::new(&[8; KEY_BYTES]).unwrap();
        assert!(stranger.open(&org, request, 3, &sealed).is_none());
        assert!(ContentKey::new(&[7; 31]).is_none());
        assert!(!format!("{key:?}").contains('7'));
    }
}
