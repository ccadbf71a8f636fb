//! Texts that other nodes read are sealed: whoever can write to Redis could otherwise call a
//! dangerous vendor safe.
//!
//! `<expiry in ms>.<mac>.<text>`: the MAC is HMAC-SHA256 under the key that the nodes share, over a label,
//! the key of the entry, its expiry and the text, so that nothing can be moved, prolonged or
//! rewritten. What does not verify is not there.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::time::Timestamp;

const LABEL: &[u8] = b"hundi/shared-text/v1";

/// The key that nodes share.
pub(super) struct Seal(Zeroizing<Vec<u8>>);

impl Seal {
    pub fn new(key: &[u8]) -> Self {
        Self(Zeroizing::new(key.to_vec()))
    }

    /// `None` only if the key cannot be one.
    pub fn seal(&self, name: &str, text: &str, until: Timestamp) -> Option<String> {
        let until = until.millis().to_string();
        let mac = self.mac(name, &until, text)?.finalize().into_bytes();
        let mac = URL_SAFE_NO_PAD.encode(mac);
        Some(format!("{until}.{mac}.{text}"))
    }

    /// The text, if one of us put it there under this name and its time is not over.
    pub fn open(&self, name: &str, sealed: &str, now: Timestamp) -> Option<String> {
        let (until, rest) = sealed.split_once('.')?;
        let (mac, text) = rest.split_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        self.mac(name, until, text)?.verify_slice(&mac).ok()?;
        let live = until.parse::<i64>().ok()? > now.millis();
        live.then(|| text.to_owned())
    }

    fn mac(&self, name: &str, until: &str, text: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        for part in [LABEL, name.as_bytes(), until.as_bytes()] {
            // Lengths first, so that no two lists of parts read alike.
            mac.update(&part.len().to_be_bytes());
            mac.update(part);
        }
        mac.update(text.as_bytes());
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_for_this_place_and_time_opens() {
        let (ours, theirs) = (Seal::new(&[1; 32]), Seal::new(&[2; 32]));
        let at = Timestamp::from_secs;
        let sealed = ours.seal("k", "Safe.or not", at(100)).unwrap();
        assert_eq!(
            ours.open("k", &sealed, at(99)).as_deref(),
            Some("Safe.or not")
        );
        assert_eq!(ours.open("k", &sealed, at(100)), None, "its time is over");
        assert_eq!(ours.open("other", &sealed, at(1)), None, "moved");
        assert_eq!(theirs.open("k", &sealed, at(1)), None, "of another store");
        let longer = sealed.replacen("100", "900", 1);
        assert_eq!(ours.open("k", &longer, at(1)), None, "prolonged");
        let other = sealed.replace("Safe", "Sure");
        assert_eq!(ours.open("k", &other, at(1)), None, "rewritten");
        for garbage in ["", ".", "..", "Safe", "100..Safe", "x.y.z"] {
            assert_eq!(ours.open("k", garbage, at(1)), None, "{garbage}");
        }
    }
}
