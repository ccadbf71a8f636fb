//! A decision that somebody signed with a passkey: what was agreed to, and the proof of it, as the
//! audit record keeps them. Whoever has an export can check it, without us.

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

/// Whether a record's signature, if it has one, is over a statement about this very record. The
/// error says what is wrong. Which keys are whose is not in a log: `passkey_added` records say it.
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
