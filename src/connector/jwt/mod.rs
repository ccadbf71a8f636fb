//! Bearer tokens of an identity provider: RFC 7519 in the compact form, signed with RS256, ES256
//! or EdDSA.
//!
//! The holder may be hostile, so nothing in a token is believed before its signature holds, and
//! its header never says how: a key has one algorithm, and a token that names another is refused,
//! as is one that asks for anything we do not know (`crit`). So neither `none` nor a public key
//! taken for an HMAC secret can ever verify; no symmetric algorithm is in here at all. The header's
//! addresses of keys (`jku`, `x5u`, `jwk`) are not read.
//!
//! Cryptography is `ring`'s; the text form is ours, because it has to be read as strictly as every
//! other text that comes from outside (one spelling, no field twice). What the claims have to say is
//! `claims`; fetching the issuer's keys is the wire's, and when to is `broker/access/jwt`'s.

mod claims;
mod keys;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

pub use claims::{Bearer, Expected, SKEW_SECS};
pub use keys::{IssuerKey, IssuerKeys};

use crate::domain::strict;

/// Longest token that is looked at; those with many groups are long.
const MAX_BYTES: usize = 16 * 1024;
/// What a token may call itself. Others of the same issuer (logout tokens, proofs of possession) are
/// signed with the same keys and open nothing.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// Why a token opens nothing. For the log: outside it is always the same refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It does not read.
    #[error("it is no signed token in the compact form: {0}")]
    Form(&'static str),
    /// It asks for what is not done.
    #[error("its header is not taken: {0}")]
    Header(&'static str),
    /// The issuer has no such key.
    #[error("the issuer has no key of this id and algorithm")]
    UnknownKey,
    /// Not the issuer's.
    #[error("its signature does not hold")]
    Signature,
    /// It says something else than it has to.
    #[error("its claim `{0}` {1}")]
    Claim(String, &'static str),
}

/// A token that was read, of which nothing is believed.
pub struct Unverified<'a> {
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
    algorithm: String,
    kid: Option<String>,
}

/// Whether a bearer text may be a token at all: three parts.
pub fn looks_so(bearer: &str) -> bool {
    bearer.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl<'a> Unverified<'a> {
    /// Reads a token.
    pub fn read(text: &'a str) -> Result<Self, Wrong> {
        if text.len() > MAX_BYTES {
            return Err(Wrong::Form("it is too long"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Wrong::Form("one part"))?;
        let (header, payload) = signed.split_once('.').ok_or(Wrong::Form("two parts"))?;
        let header = object(&decoded(header)?)?;
        if header.contains_key("crit") {
            return Err(Wrong::Header("`crit`"));
        }
        if let Some(kind) = header.get("typ") {
            let kind = kind.as_str().map(str::to_ascii_lowercase);
            if !kind.is_some_and(|kind| TYPES.contains(&kind.as_str())) {
                return Err(Wrong::Header("`typ`"));
            }
        }
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.ok_or(Wrong::Header("`alg`"))?;
        let kid = match header.get("kid") {
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Wrong::Header("`kid`")),
            None => None,
        };
        Ok(Self {
            signed,
            payload: decoded(payload)?,
            signature: decoded(signature)?,
            algorithm: algorithm.to_owned(),
            kid,
        })
    }

    /// The issuer's key that it has to hold against.
    pub fn key<'k>(&self, keys: &'k IssuerKeys) -> Result<&'k IssuerKey, Wrong> {
        let found = keys.find(self.kid.as_deref(), &self.algorithm);
        found.ok_or(Wrong::UnknownKey)
    }

    /// What it says, once its signature holds.
    pub fn verified(&self, key: &IssuerKey) -> Result<Map<String, Value>, Wrong> {
        if key.algorithm() != self.algorithm {
            return Err(Wrong::Header("`alg` is not the key's"));
        }
        match key.holds(self.signed.as_bytes(), &self.signature) {
            true => object(&self.payload),
            false => Err(Wrong::Signature),
        }
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, Wrong> {
    let bytes = URL_SAFE_NO_PAD.decode(part);
    bytes.map_err(|_| Wrong::Form("a part is no base64url"))
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Wrong> {
    match strict::parse(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(Wrong::Form("a part is no strict JSON object")),
    }
}
