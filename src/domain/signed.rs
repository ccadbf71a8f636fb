//! A decision that somebody signed with a passkey: what was agreed to, and the proof of it, as the
//! audit record keeps them. Whoever has an export can check it, without us.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::statement::challenge_of;
use super::webauthn::{Assertion, Expected};

/// The field of a record's detail that it is under.
pub const FIELD: &str = "signed";

/// What was signed, and with what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The statement's exact bytes.
    pub statement: String,
    /// The passkey's answer.
    pub assertion: Assertion,
    /// The passkey's public key, as COSE, base64url.
    pub public_key: String,
    /// The page it was given on.
    pub origin: String,
    /// The server that the passkey belongs to.
    pub rp_id: String,
}

/// What the earlier records of a log say of passkeys: whose each is, and what was signed already.
#[derive(Default)]
pub struct Known {
    /// By credential id: whose, and the public key; `None` once it was taken away.
    passkeys: BTreeMap<String, Option<(String, String)>>,
    statements: BTreeSet<String>,
}

impl Known {
    /// Checks the next record, as [`check`] does: and that its passkey is the one that was added,
    /// where the log tells of that, and that its statement was not used before.
    pub fn check(&mut self, record: &Value) -> Result<bool, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (actor, detail) = (text(&record["actor"]), &record["detail"]);
        match (record["kind"].as_str(), detail["public_key"].as_str()) {
            (Some("passkey_added"), Some(key)) => {
                let whose = Some((actor, key.to_owned()));
                self.passkeys.insert(text(&detail["passkey"]), whose);
                return Ok(false);
            }
            (Some("passkey_removed"), _) => {
                self.passkeys.insert(text(&detail["passkey"]), None);
                return Ok(false);
            }
            _ => {}
        }
        if !check(record)? {
            return Ok(false);
        }
        let signed = &detail[FIELD];
        let (key, credential) = (
            text(&signed["public_key"]),
            text(&signed["assertion"]["credential_id"]),
        );
        if let Some(added) = self.passkeys.get(&credential)
            && *added != Some((actor, key))
        {
            return Err("it was signed with a passkey that was not the approver's".to_owned());
        }
        match self.statements.insert(text(&signed["statement"])) {
            true => Ok(true),
            false => Err("what was signed was used before".to_owned()),
        }
    }
}

/// Whether a record's signature, if it has one, is over a statement about this very record. The
/// error says what is wrong. Whose the key is, [`Known`] finds out.
pub fn check(record: &Value) -> Result<bool, String> {
    let Some(signed) = record["detail"].get(FIELD) else {
        return Ok(false);
    };
    let signed = Signed::deserialize(signed);
    let signed = signed.map_err(|_| "the signed decision is not readable".to_owned())?;
    let expected = Expected {
        origin: &signed.origin,
        party: &signed.rp_id,
        challenge: &challenge_of(&signed.statement),
    };
    // The counter was compared when it was given; here there is no earlier one.
    let held = signed.assertion.check(&signed.public_key, 0, expected);
    held.map_err(|why| format!("the signed decision does not hold: {why}"))?;
    let statement: Value = serde_json::from_str(&signed.statement).unwrap_or_default();
    let decided = match record["kind"].as_str() {
        Some("approved") => "approve",
        Some("rejected") => "reject",
        _ => "nothing",
    };
    let same = statement["proposal_id"] == record["proposal_id"]
        && statement["approver"]["id"] == record["actor"]
        && statement["org"] == record["org"]
        && statement["decision"] == decided;
    match same {
        true => Ok(true),
        false => Err("what was signed is not what the record says".to_owned()),
    }
}
