//! The audit log as something that can be checked: each record has one spelling, the records of
//! an organisation are the leaves of a Merkle tree in the order of their numbers, and whoever
//! holds the audit key signs the tree's head. Who changes, removes, adds or swaps records later
//! cannot make them fit a signed head.
//!
//! What this does not detect: a whole log cut back to an earlier signed head. Against that, keep
//! heads where the store's keeper cannot reach them, and ask for a consistency proof.
//!
//! [`log`] appends, [`stored`] says how it is kept, [`export`] spells the file that leaves,
//! [`verify`] checks it, and [`proof`] checks one head or one record by itself.
//!
//! What a signature is over: the ASCII bytes `hundi/audit-head/v1`, one zero byte, and the RFC 8785
//! form of the head as it is shown without its `signature`, which is exactly
//! `{"at", "key_id", "root_hash", "tree_size"}`.

pub mod export;
pub mod log;
pub mod proof;
pub mod stored;
pub mod verify;

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};
use sha2::{Digest, Sha256};

use super::canonical::Canonical;
use super::change::Record;
use super::ids::{hex, unhex};
use super::merkle::NodeHash;
use super::strict::MAX_SAFE_INTEGER;
use super::time::{Timestamp, rfc_3339};

/// Separates signatures of heads from every other use of the same key.
const HEAD_DOMAIN: &[u8] = b"hundi/audit-head/v1\0";
/// Separates the signing key from the bytes it is derived from.
const KEY_DOMAIN: &[u8] = b"hundi/audit-key/v1\0";

/// A stored record as it is shown, exported and hashed. What a record does not have is left out.
pub fn record_json(seq: i64, record: &Record) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("seq", json!(seq));
    put("at", json!(record.at.to_string()));
    put("org", json!(record.org));
    put("kind", json!(record.kind));
    put("actor", json!(record.actor));
    if !record.decision.is_empty() {
        put("decision", json!(record.decision));
    }
    if !record.reason.is_empty() {
        put("reason", json!(record.reason));
    }
    if let Some(agent) = &record.agent {
        put("agent_id", json!(agent));
    }
    if let Some(proposal) = record.proposal {
        put("proposal_id", json!(proposal));
    }
    if let Some(tool) = &record.tool {
        put("tool_name", json!(tool));
    }
    if let Some(payout) = &record.payout {
        put("payout_id", json!(payout));
    }
    if let Some(amount) = record.amount {
        put("amount", exact(&json!(amount)));
    }
    if let Some(currency) = record.currency {
        put("currency", json!(currency));
    }
    if !record.detail.is_null() {
        put("detail", exact(&record.detail));
    }
    Value::Object(map)
}

/// The record's one spelling: RFC 8785 over [`record_json`]. Its bytes are the leaf.
pub fn record_line(seq: i64, record: &Record) -> String {
    Canonical::of(&record_json(seq, record)).to_string()
}

/// The same value with integers that a double cannot hold written as text, so that no reader of
/// the canonical form sees another number than the one that was recorded.
fn exact(value: &Value) -> Value {
    match value {
        Value::Number(number) if !is_safe(number) => Value::String(number.to_string()),
        Value::Array(items) => items.iter().map(exact).collect(),
        Value::Object(map) => {
            let members = map.iter().map(|(key, item)| (key.clone(), exact(item)));
            Value::Object(members.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn is_safe(number: &Number) -> bool {
    match number.as_i64() {
        Some(n) => n.unsigned_abs() <= MAX_SAFE_INTEGER.unsigned_abs(),
        // The canonical form spells a large double as an integer, which strict readers refuse.
        None => number.as_f64().is_some_and(|x| x.abs() < 9e15),
    }
}

/// What is signed: the log had this root when it had so many records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// How many records.
    pub tree_size: u64,
    /// The root of their tree.
    pub root_hash: NodeHash,
    /// When it was signed.
    #[serde(with = "rfc_3339")]
    pub at: Timestamp,
}

/// A head and the signature over it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedHead {
    /// What is signed.
    #[serde(flatten)]
    pub head: Head,
    /// Whose key signed.
    pub key_id: String,
    /// Ed25519, 128 hex digits.
    pub signature: String,
}

impl SignedHead {
    /// Whether `key` signed exactly this head.
    pub fn verifies(&self, key: &PublicKey) -> bool {
        let Some(signature) = unhex::<64>(&self.signature) else {
            return false;
        };
        let message = message(&self.head, &self.key_id);
        // Strict: refuses the weak keys and malleable signatures that the plain check lets pass.
        let signature = Signature::from_bytes(&signature);
        self.key_id == key.id() && key.0.verify_strict(&message, &signature).is_ok()
    }
}

/// The label, a zero byte, and RFC 8785 over what the head says and whose key signs.
fn message(head: &Head, key_id: &str) -> Vec<u8> {
    let said = json!({
        "at": head.at.to_string(),
        "key_id": key_id,
        "root_hash": head.root_hash,
        "tree_size": head.tree_size,
    });
    let mut message = HEAD_DOMAIN.to_vec();
    message.extend_from_slice(Canonical::of(&said).as_str().as_bytes());
    message
}

/// Signs heads. Whoever has it can rewrite history, so it is kept apart from the store.
pub struct AuditKey {
    signing: SigningKey,
    public: PublicKey,
}

impl AuditKey {
    /// From at least 32 random bytes; `None` if there are fewer.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < super::token::MIN_KEY_BYTES {
            return None;
        }
        let seed = Sha256::new_with_prefix(KEY_DOMAIN).chain_update(bytes);
        let signing = SigningKey::from_bytes(&seed.finalize().into());
        let public = PublicKey(signing.verifying_key());
        Some(Self { signing, public })
    }

    /// What others verify with.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a head.
    pub fn sign(&self, head: Head) -> SignedHead {
        let key_id = self.public.id();
        let signature = self.signing.sign(&message(&head, &key_id));
        SignedHead {
            head,
            key_id,
            signature: hex(&signature.to_bytes()),
        }
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey({})", self.public.id())
    }
}

/// Verifies heads. Shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads its one spelling; `None` also for points that are no key.
    pub fn parse(text: &str) -> Option<Self> {
        let key = VerifyingKey::from_bytes(&unhex::<32>(text)?).ok()?;
        (!key.is_weak()).then_some(Self(key))
    }

    /// Its short name: the first 16 hex digits of its SHA-256.
    pub fn id(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes())[..8])
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            tree_size: 3,
            root_hash: NodeHash::leaf(b"x"),
            at: Timestamp::from_secs(1_700_000_000),
        }
    }

    #[test]
    fn a_signature_holds_for_one_head_and_one_key() {
        let key = AuditKey::from_bytes(&[7; 32]).unwrap();
        let other = AuditKey::from_bytes(&[8; 32]).unwrap();
        let signed = key.sign(head());
        assert!(signed.verifies(key.public()));
        assert!(!signed.verifies(other.public()));
        let tampered = [
            SignedHead {
                head: Head {
                    tree_size: 4,
                    ..head()
                },
                ..signed.clone()
            },
            SignedHead {
                head: Head {
                    root_hash: NodeHash::empty(),
                    ..head()
                },
                ..signed.clone()
            },
            SignedHead {
                head: Head {
                    at: head().at.plus_millis(1),
                    ..head()
                },
                ..signed.clone()
            },
            SignedHead {
                key_id: other.public().id(),
                ..signed.clone()
            },
            SignedHead {
                signature: "0".repeat(128),
                ..signed.clone()
            },
            SignedHead {
                signature: String::new(),
                ..signed.clone()
            },
        ];
        for signed in tampered {
            assert!(!signed.verifies(key.public()), "{signed:?}");
        }
        let text = serde_json::to_string(&signed).unwrap();
        assert_eq!(serde_json::from_str::<SignedHead>(&text).unwrap(), signed);
    }

    #[test]
    fn a_short_key_signs_nothing() {
        assert!(AuditKey::from_bytes(&[7; 31]).is_none());
        let key = AuditKey::from_bytes(&[7; 32]).unwrap();
        assert_eq!(
            PublicKey::parse(&key.public().to_string()),
            Some(*key.public())
        );
        assert_eq!(PublicKey::parse(&"0".repeat(64)), None);
        assert!(!format!("{key:?}").contains(&hex(&[7; 4])));
    }

    #[test]
    fn a_record_has_one_spelling_without_lost_digits() {
        let org = super::super::ids::OrgId::default();
        let mut record = Record::new(Timestamp::from_secs(0), &org, "proposed", "key:1");
        record.amount = Some(i64::MAX);
        record.detail = json!({"b": 1.5, "a": [9_007_199_254_740_993_i64, 2]});
        assert_eq!(
            record_line(4, &record),
            concat!(
                r#"{"actor":"key:1","amount":"9223372036854775807","at":"1970-01-01T00:00:00Z","#,
                r#""detail":{"a":["9007199254740993",2],"b":1.5},"kind":"proposed","org":"default","seq":4}"#
            )
        );
        let line = record_line(4, &record);
        assert_eq!(Canonical::of_text(line.as_bytes()).unwrap().as_str(), line);
    }
}
