//! A credential's public key (COSE, RFC 9053), and a signature checked with it.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

use super::NotHeld;
use super::cbor::Cbor;

/// The algorithms that are asked for, by their COSE numbers, the best first.
pub const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];
const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

/// Labels of a COSE key.
const KIND: i64 = 1;
const ALGORITHM: i64 = 3;

/// A public key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CredentialKey {
    /// ES256: a point of P-256, uncompressed.
    P256(Vec<u8>),
    /// EdDSA: a point of Ed25519.
    Ed25519(Vec<u8>),
    /// RS256: modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
}

impl CredentialKey {
    /// Reads a COSE key whose kind, algorithm and curve belong together.
    pub fn read(bytes: &[u8]) -> Result<Self, NotHeld> {
        let unreadable = NotHeld::Unreadable("public key");
        let map = Cbor::read(bytes).ok_or(unreadable)?;
        let number = |label| map.number_key(label).and_then(Cbor::number);
        let part = |label| {
            map.number_key(label)
                .and_then(Cbor::bytes)
                .ok_or(unreadable)
        };
        match (number(KIND), number(ALGORITHM), number(-1)) {
            (Some(2), Some(ES256), Some(1)) => {
                let (x, y) = (part(-2)?, part(-3)?);
                match (x.len(), y.len()) {
                    (32, 32) => Ok(Self::P256([&[4], x, y].concat())),
                    _ => Err(unreadable),
                }
            }
            (Some(1), Some(EDDSA), Some(6)) => match part(-2)? {
                x if x.len() == 32 => Ok(Self::Ed25519(x.to_vec())),
                _ => Err(unreadable),
            },
            // An RSA key keeps its modulus where the others name their curve.
            (Some(3), Some(RS256), None) => Ok(Self::Rsa(part(-1)?.to_vec(), part(-2)?.to_vec())),
            _ => Err(NotHeld::Algorithm),
        }
    }

    /// Whether this is the key's signature over these bytes.
    pub fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), NotHeld> {
        let held = match self {
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(signed, signature)
            }
            Self::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(signed, signature)
            }
            Self::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed,
                signature,
            ),
        };
        held.map_err(|_| NotHeld::Signature)
    }
}
