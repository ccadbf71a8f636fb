//! Text that nobody may see: hidden in `Debug`, wiped when dropped, never serialised.
//!
//! Also the one way a keyed signature of an outside party is checked: HMAC-SHA256 in hex, in
//! constant time, and anything that is not such hex is simply not a signature.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::ids::{hex, unhex};

/// A secret text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// HMAC-SHA256 of the parts, one after the other, in lower-case hex.
    pub fn sign(&self, parts: &[&[u8]]) -> String {
        self.mac(parts)
            .map(|mac| hex(&mac.finalize().into_bytes()))
            .unwrap_or_default()
    }

    /// Whether `signature` is the lower-case hex HMAC-SHA256 of the parts. An empty secret signs
    /// nothing: whoever forgot to set one must not accept everybody.
    pub fn signed(&self, parts: &[&[u8]], signature: &str) -> bool {
        let Some(signature) = unhex::<32>(signature) else {
            return false;
        };
        match self.mac(parts) {
            Some(mac) => mac.verify_slice(&signature).is_ok() && !self.0.is_empty(),
            None => false,
        }
    }

    fn mac(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).ok()?;
        for part in parts {
            mac.update(part);
        }
        Some(mac)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_over_the_right_bytes_signs() {
        let secret = Secret::new("whsec_of_the_test_suite");
        let good = secret.sign(&[b"v0:", b"body"]);
        assert!(secret.signed(&[b"v0:body"], &good));
        assert!(!secret.signed(&[b"v0:bodY"], &good));
        assert!(!Secret::new("other").signed(&[b"v0:body"], &good));
        for bad in ["", "é", &good[1..], &good.to_uppercase(), "zz"] {
            assert!(!secret.signed(&[b"v0:body"], bad), "{bad:?}");
        }
    }

    #[test]
    fn the_vector_of_rfc_4231() {
        let secret = Secret::new("Jefe");
        assert_eq!(
            secret.sign(&[b"what do ya want for nothing?"]),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn an_empty_secret_accepts_nobody() {
        let empty = Secret::new("");
        let forged = empty.sign(&[b"body"]);
        assert!(!empty.signed(&[b"body"], &forged));
        assert_eq!(format!("{:?}", Secret::new("canary")), "(hidden)");
    }
}
