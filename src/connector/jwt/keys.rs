//! The keys of an issuer: RFC 7517. A key that is not for one of our algorithms, or not for
//! verifying, is left out; one that is broken is too, and its neighbours stay.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::Value;

/// Most keys of one issuer that are read.
const MAX_KEYS: usize = 100;
/// Bytes of a coordinate on P-256, and of a key on Ed25519.
const POINT: usize = 32;

/// All usable keys of an issuer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IssuerKeys(Vec<IssuerKey>);

/// One of them, with its one algorithm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerKey {
    kid: Option<String>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl IssuerKeys {
    /// The keys of a JWKS document; an error if it is none, or has no key that can be used.
    pub fn read(document: &Value) -> Result<Self, &'static str> {
        let keys = document.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("it is no JWKS document")?;
        let keys: Vec<IssuerKey> = keys.iter().take(MAX_KEYS).filter_map(read).collect();
        match keys.is_empty() {
            true => Err("it has no key for RS256, ES256 or EdDSA"),
            false => Ok(Self(keys)),
        }
    }

    /// The key of this id that has this algorithm. A token without an id can only mean the one key
    /// there is.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: &str) -> Option<&IssuerKey> {
        let fits = |key: &&IssuerKey| key.algorithm() == algorithm;
        match (kid, self.0.as_slice()) {
            (None, [only]) => Some(only).filter(fits),
            (None, _) => None,
            (Some(kid), keys) => keys
                .iter()
                .filter(fits)
                .find(|key| key.kid.as_deref() == Some(kid)),
        }
    }
}

impl IssuerKey {
    /// The one algorithm that it verifies.
    pub(super) fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Rsa { .. } => "RS256",
            Material::P256(_) => "ES256",
            Material::Ed25519(_) => "EdDSA",
        }
    }

    /// Whether this is its signature of the message.
    pub(super) fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        let done = match &self.material {
            Material::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
        };
        done.is_ok()
    }
}

fn read(jwk: &Value) -> Option<IssuerKey> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let point = |name: &str| bytes(name).filter(|bytes| bytes.len() == POINT);
    let material = match (text("kty")?, text("crv")) {
        ("RSA", None) => Material::Rsa {
            // A leading zero is another spelling that some issuers use.
            n: trimmed(bytes("n")?),
            e: trimmed(bytes("e")?),
        },
        ("EC", Some("P-256")) => {
            let uncompressed = [vec![4], point("x")?, point("y")?];
            Material::P256(uncompressed.concat())
        }
        ("OKP", Some("Ed25519")) => Material::Ed25519(point("x")?),
        _ => return None,
    };
    let key = IssuerKey {
        kid: text("kid").map(str::to_owned),
        material,
    };
    let says = |name: &str, wanted: &str| jwk.get(name).is_none_or(|value| value == wanted);
    let operations = jwk.get("key_ops").and_then(Value::as_array);
    let verifies = operations.is_none_or(|all| all.iter().any(|one| one == "verify"));
    let for_us = says("alg", key.algorithm()) && says("use", "sig") && verifies;
    for_us.then_some(key)
}

fn trimmed(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}
