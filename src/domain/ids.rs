//! Ids are types with one spelling each, so that an id cannot be passed for another and a log
//! line, a token and a provider's reference all say the same text.
//!
//! Randomness and time are handed in. What an id points to is not known here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::Timestamp;

/// The text is not the one spelling of an id of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed id")]
pub struct MalformedId;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// A version 7 UUID: time-ordered, so that newer ids sort after older ones.
            pub fn at(now: Timestamp, random: [u8; 10]) -> Self {
                let millis = u64::try_from(now.millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// The sixteen bytes, for stores with a native UUID type.
            pub fn uuid(self) -> Uuid {
                self.0
            }

            /// From a stored UUID.
            pub fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let id = Uuid::try_parse(text).map_err(|_| MalformedId)?;
                // Reject a second spelling of the same id (braces, upper case, no hyphens).
                if id.hyphenated().to_string() == text { Ok(Self(id)) } else { Err(MalformedId) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedId;

            fn try_from(text: String) -> Result<Self, MalformedId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

uuid_id! {
    /// Names one proposal, on every surface: token, log line, URL, provider reference.
    ProposalId
}
uuid_id! {
    /// Names one commit token. At most one token of a proposal is live.
    TokenId
}
uuid_id! {
    /// Names one call of a tool that passes through, in answers, records and traces.
    TraceId
}
uuid_id! {
    /// Names the one attempt to carry a proposal out.
    CommitId
}
uuid_id! {
    /// Names one request to a model, at every door.
    RequestId
}
uuid_id! {
    /// Names one attempt to have a provider answer a request: a row of the ledger.
    AttemptId
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:literal, $extra:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let fits = !text.is_empty() && text.len() <= $max;
                let plain = text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || $extra.as_bytes().contains(&b));
                if fits && plain { Ok(Self(text.into())) } else { Err(MalformedId) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedId;

            fn try_from(text: String) -> Result<Self, MalformedId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }
    };
}

text_id! {
    /// An agent as policies, budgets and tokens name it. 1 to 128 of `[A-Za-z0-9._:@-]`.
    AgentId, 128, "._:@-"
}
text_id! {
    /// An organisation; nothing is shared between two. 1 to 64 of `[A-Za-z0-9._-]`.
    OrgId, 64, "._-"
}
text_id! {
    /// A tool of the catalogue, without `_propose` or `_commit`. 1 to 120 of `[A-Za-z0-9._/-]`.
    ToolName, 120, "._/-"
}

impl AgentId {
    /// The agent that payouts made by others at the bank are accounted to, unless configured.
    pub fn external() -> Self {
        Self("external".into())
    }
}

impl Default for OrgId {
    /// The organisation of a principal for which nothing else was said.
    fn default() -> Self {
        Self("default".into())
    }
}

/// SHA-256 of the canonical arguments. Equal hashes mean "the same request".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArgsHash([u8; 32]);

impl ArgsHash {
    /// From the digest itself.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Display for ArgsHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for ArgsHash {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        unhex::<32>(text).map(Self).ok_or(MalformedId)
    }
}

impl TryFrom<String> for ArgsHash {
    type Error = MalformedId;

    fn try_from(text: String) -> Result<Self, MalformedId> {
        text.parse()
    }
}

impl From<ArgsHash> for String {
    fn from(hash: ArgsHash) -> String {
        hash.to_string()
    }
}

/// Spent by the first claim. Never shown in logs, so `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// The time in milliseconds, then 80 bits from a cryptographic source. That nobody can make a
    /// token up is the MAC's doing; a nonce only has to be unique. Beginning with the time, burned
    /// nonces lie next to each other in a store, and a million old ones cost nothing.
    pub fn at(now: Timestamp, random: [u8; 10]) -> Self {
        let millis = now.millis().to_be_bytes();
        let mut bits = [0; 16];
        bits[..6].copy_from_slice(&millis[2..]);
        bits[6..].copy_from_slice(&random);
        Self(bits)
    }

    /// These very bits: one that was stored, or that a test made.
    pub fn from_bits(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    /// The sixteen bytes, for stores.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// Its one spelling: 32 lower-case hex digits. For tokens and stores only.
    pub fn reveal(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(hidden)")
    }
}

impl FromStr for Nonce {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        unhex::<16>(text).map(Self).ok_or(MalformedId)
    }
}

impl TryFrom<String> for Nonce {
    type Error = MalformedId;

    fn try_from(text: String) -> Result<Self, MalformedId> {
        text.parse()
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> String {
        nonce.reveal()
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads exactly `N` bytes of lower-case hex; `None` for any other text.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (value(pair[0])? << 4) | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = ProposalId::at(Timestamp::from_secs(1_700_000_000), [7; 10]);
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for other in [
            text.to_uppercase(),
            text.replace('-', ""),
            format!("{{{text}}}"),
        ] {
            assert_eq!(other.parse::<ProposalId>(), Err(MalformedId), "{other}");
        }
    }

    #[test]
    fn newer_ids_sort_after_older_ones() {
        let older = ProposalId::at(Timestamp::from_secs(1_700_000_000), [255; 10]);
        let newer = ProposalId::at(Timestamp::from_secs(1_700_000_001), [0; 10]);
        assert!(older < newer && older.to_string() < newer.to_string());
    }

    #[test]
    fn names_refuse_what_could_be_read_two_ways() {
        for bad in ["", "a b", "a\n", "é", "a<b"] {
            assert!(bad.parse::<AgentId>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(129).parse::<AgentId>().is_err());
        assert!("openclaw-agent-001".parse::<AgentId>().is_ok());
    }

    #[test]
    fn nonces_follow_time_and_differ_by_chance_within_a_millisecond() {
        let (early, late) = (
            Timestamp::from_millis(1_795_168_800_000),
            Timestamp::from_millis(1_795_168_800_001),
        );
        assert!(Nonce::at(early, [0xff; 10]).bytes() < Nonce::at(late, [0; 10]).bytes());
        assert_ne!(Nonce::at(early, [1; 10]), Nonce::at(early, [2; 10]));
        assert_ne!(
            Nonce::at(Timestamp::from_millis(-1), [0; 10]),
            Nonce::at(early, [0; 10])
        );
    }

    #[test]
    fn a_nonce_does_not_show_in_debug() {
        let nonce = Nonce::from_bits([0xab; 16]);
        assert!(!format!("{nonce:?}").contains("ab"));
        assert_eq!(nonce.reveal().parse(), Ok(nonce));
    }
}
