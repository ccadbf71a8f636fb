//! Passkeys (WebAuthn level 3): what an authenticator says when it makes a credential, and when it
//! signs with one, read and checked.
//!
//! Pure: the challenge, the origin and the stored counter are handed in, so that the same check runs
//! when somebody signs in, when somebody decides, and years later over an exported log. The person
//! has to have been verified (PIN, finger, face), the page has to have been ours, and the signature
//! has to be over exactly this challenge; where one of these cannot be read, it does not hold.
//!
//! Attestation is not looked at: which make of authenticator somebody has is nobody's business here.

mod cbor;
mod key;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use cbor::Cbor;
pub use key::{ALGORITHMS, CredentialKey};

use super::strict;

/// Longest field that is read.
const MAX_FIELD: usize = 16 * 1024;
/// Longest credential id, as the standard has it.
const MAX_ID: usize = 1023;
/// The person was there; the person was verified.
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
/// A new credential is in the data.
const HAS_CREDENTIAL: u8 = 0x40;
/// May be copied to other devices; such a credential may keep its counter at 0.
const ZERO_COUNTER: u32 = 0;

/// Why it does not hold. For logs; outside it is one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// Cannot be read.
    #[error("the {0} is not readable")]
    Unreadable(&'static str),
    /// Made for something else.
    #[error("it was made for another purpose")]
    Purpose,
    /// Another challenge.
    #[error("it answers another challenge")]
    Challenge,
    /// Another page.
    #[error("it was made on another page")]
    Origin,
    /// Another server's credential.
    #[error("it belongs to another server")]
    Party,
    /// Nobody proved to be there.
    #[error("the person was not verified")]
    NotVerified,
    /// A copy of the authenticator has been used.
    #[error("its counter went backwards")]
    Counter,
    /// The signature is not this key's over these bytes.
    #[error("the signature does not hold")]
    Signature,
    /// A key of a kind that is not taken.
    #[error("the kind of key is not taken")]
    Algorithm,
}

/// What is expected of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The page's origin, as `https://pay.example.com`.
    pub origin: &'a str,
    /// The relying party: the origin's host.
    pub party: &'a str,
    /// The challenge.
    pub challenge: &'a [u8],
}

/// A new credential.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credential {
    /// Its id, base64url.
    pub id: String,
    /// Its public key, as COSE, base64url.
    pub public_key: String,
    /// How often it was used.
    pub counter: u32,
}

/// What an authenticator answered when a credential was made; all base64url.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Registration {
    /// The client data.
    pub client_data: String,
    /// The attestation object.
    pub attestation: String,
}

/// A signature with a credential, and all that it takes to check it; all base64url.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Assertion {
    /// Which credential.
    pub credential_id: String,
    /// The client data.
    pub client_data: String,
    /// The authenticator data.
    pub authenticator_data: String,
    /// The signature.
    pub signature: String,
}

impl Registration {
    /// The credential that was made, if all holds.
    pub fn check(&self, expected: Expected<'_>) -> Result<Credential, NotHeld> {
        let client = field(&self.client_data, "client data")?;
        client_data(&client, "webauthn.create", expected)?;
        let object = field(&self.attestation, "attestation object")?;
        let object = Cbor::read(&object).ok_or(NotHeld::Unreadable("attestation object"))?;
        let data = object.text_key("authData").and_then(Cbor::bytes);
        let data = data.ok_or(NotHeld::Unreadable("attestation object"))?;
        let data = Data::read(data)?;
        data.check(expected)?;
        let (id, key) = data.credential.ok_or(NotHeld::Unreadable("credential"))?;
        CredentialKey::read(key)?;
        Ok(Credential {
            id: URL_SAFE_NO_PAD.encode(id),
            public_key: URL_SAFE_NO_PAD.encode(key),
            counter: data.counter,
        })
    }
}

impl Assertion {
    /// The counter to remember, if this is the key's signature over the challenge, given by a
    /// verified person on the expected page. `counter` is what was remembered.
    pub fn check(
        &self,
        public_key: &str,
        counter: u32,
        expected: Expected<'_>,
    ) -> Result<u32, NotHeld> {
        let client = field(&self.client_data, "client data")?;
        client_data(&client, "webauthn.get", expected)?;
        let raw = field(&self.authenticator_data, "authenticator data")?;
        let data = Data::read(&raw)?;
        data.check(expected)?;
        let key = CredentialKey::read(&field(public_key, "public key")?)?;
        let signature = field(&self.signature, "signature")?;
        let signed = [raw.as_slice(), &Sha256::digest(&client)].concat();
        key.verify(&signed, &signature)?;
        // An authenticator that does not count stays at zero; one that does only rises.
        let counts = data.counter != ZERO_COUNTER || counter != ZERO_COUNTER;
        match counts && data.counter <= counter {
            true => Err(NotHeld::Counter),
            false => Ok(data.counter),
        }
    }

    /// The challenge that it says it answers, for whoever has to find out which one that is.
    pub fn challenge(&self) -> Option<Vec<u8>> {
        let client = field(&self.client_data, "client data").ok()?;
        let client = strict::parse(&client).ok()?;
        URL_SAFE_NO_PAD.decode(client["challenge"].as_str()?).ok()
    }
}

impl Registration {
    /// As [`Assertion::challenge`].
    pub fn challenge(&self) -> Option<Vec<u8>> {
        let client = field(&self.client_data, "client data").ok()?;
        let client = strict::parse(&client).ok()?;
        URL_SAFE_NO_PAD.decode(client["challenge"].as_str()?).ok()
    }
}

fn field(text: &str, name: &'static str) -> Result<Vec<u8>, NotHeld> {
    let short = Some(text).filter(|text| text.len() <= MAX_FIELD);
    let bytes = short.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.ok_or(NotHeld::Unreadable(name))
}

fn client_data(bytes: &[u8], purpose: &str, expected: Expected<'_>) -> Result<(), NotHeld> {
    let told = strict::parse(bytes).map_err(|_| NotHeld::Unreadable("client data"))?;
    if told["type"] != purpose {
        return Err(NotHeld::Purpose);
    }
    let challenge = told["challenge"].as_str().unwrap_or_default();
    if challenge != URL_SAFE_NO_PAD.encode(expected.challenge) {
        return Err(NotHeld::Challenge);
    }
    let framed = told
        .get("crossOrigin")
        .is_some_and(|told| *told != Value::Bool(false));
    if told["origin"] != expected.origin || framed || told.get("topOrigin").is_some() {
        return Err(NotHeld::Origin);
    }
    Ok(())
}

/// Authenticator data.
struct Data<'a> {
    party: &'a [u8],
    flags: u8,
    counter: u32,
    credential: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Data<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, NotHeld> {
        Self::parts(bytes).ok_or(NotHeld::Unreadable("authenticator data"))
    }

    fn parts(bytes: &'a [u8]) -> Option<Self> {
        let (party, rest) = bytes.split_at_checked(32)?;
        let (flags, rest) = rest.split_first()?;
        let (counter, rest) = rest.split_at_checked(4)?;
        let credential = match flags & HAS_CREDENTIAL {
            0 => None,
            _ => {
                let (_aaguid, rest) = rest.split_at_checked(16)?;
                let (length, rest) = rest.split_at_checked(2)?;
                let length = usize::from(u16::from_be_bytes(length.try_into().ok()?));
                let (id, rest) = rest.split_at_checked(length)?;
                let key = rest.get(..Cbor::length(rest)?)?;
                (1..=MAX_ID).contains(&length).then_some((id, key))
            }
        };
        Some(Self {
            party,
            flags: *flags,
            counter: u32::from_be_bytes(counter.try_into().ok()?),
            credential,
        })
    }

    fn check(&self, expected: Expected<'_>) -> Result<(), NotHeld> {
        if self.party != Sha256::digest(expected.party.as_bytes()).as_slice() {
            return Err(NotHeld::Party);
        }
        match self.flags & (PRESENT | VERIFIED) == PRESENT | VERIFIED {
            true => Ok(()),
            false => Err(NotHeld::NotVerified),
        }
    }
}

#[cfg(test)]
mod tests;
