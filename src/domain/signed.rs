//! A decision that somebody signed with a passkey: what was agreed to, and the proof of it, as the
//! audit record keeps them. Whoever has an export can check it, without us.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::statement::challenge_of;
use super::time::Timestamp;
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

/// Longest time between the moment that a statement was made for and the record of the decision, in
/// seconds, with room for clocks that differ: a statement is good for five minutes.
const MAX_BETWEEN_SECS: i64 = 6 * 60;

/// One of these stands in every record that [`Known`] has to see: of passkeys, of decisions, of what
/// was held for one, or the beginning of another spelling of any character.
const SEEN: [&str; 6] = [
    "\"signed\"",
    "passkey_added",
    "passkey_removed",
    "\"approved\"",
    "\"rejected\"",
    "\\u",
];

/// Whether a record's text may matter to [`Known`]: most do not, and need not be parsed.
pub fn matters(text: &str) -> bool {
    let held = || text.contains("\"proposed\"") && text.contains("\"HELD\"");
    SEEN.iter().any(|sign| text.contains(sign)) || held()
}

/// What a record proves of a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// It is no decision.
    None,
    /// A decision that no passkey signed.
    Unsigned,
    /// Signed, with the passkey of the approver.
    Signed,
    /// Signed, with a passkey that the records before do not tell of.
    Unknown,
}

/// What the earlier records of a log say of passkeys: whose each is, and what was signed already.
#[derive(Default)]
pub struct Known {
    /// By credential id: whose, and the public key; `None` once it was taken away.
    passkeys: BTreeMap<String, Option<(String, String)>>,
    statements: BTreeSet<String>,
    /// What was held for a decision, by proposal: tool, arguments' hash, amount, currency.
    held: BTreeMap<String, [Value; 4]>,
}

impl Known {
    /// Checks the next record, as [`check`] does: and that its passkey is the one that was added,
    /// that it is over what was proposed, and that its statement was not used before. `whole` says
    /// that the log is known from its first record, so that a passkey it never told of is nobody's.
    pub fn check(&mut self, record: &Value, whole: bool) -> Result<Proof, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (actor, detail) = (text(&record["actor"]), &record["detail"]);
        match (record["kind"].as_str(), detail["public_key"].as_str()) {
            (Some("passkey_added"), Some(key)) => {
                let whose = Some((actor, key.to_owned()));
                self.passkeys.insert(text(&detail["passkey"]), whose);
                return Ok(Proof::None);
            }
            (Some("passkey_removed"), _) => {
                self.passkeys.insert(text(&detail["passkey"]), None);
                return Ok(Proof::None);
            }
            (Some("proposed"), _) => {
                let what = [
                    record["tool_name"].clone(),
                    detail["args_hash"].clone(),
                    record["amount"].clone(),
                    record["currency"].clone(),
                ];
                self.held.insert(text(&record["proposal_id"]), what);
                return Ok(Proof::None);
            }
            _ => {}
        }
        if !check(record)? {
            let decides = matches!(record["kind"].as_str(), Some("approved" | "rejected"));
            return Ok(if decides {
                Proof::Unsigned
            } else {
                Proof::None
            });
        }
        let signed = &detail[FIELD];
        if let Some(held) = self.held.get(&text(&record["proposal_id"]))
            && *held != what_of(&text(&signed["statement"]))
        {
            return Err("what was signed is not what was proposed".to_owned());
        }
        let (key, credential) = (
            text(&signed["public_key"]),
            text(&signed["assertion"]["credential_id"]),
        );
        let added = self.passkeys.get(&credential);
        let proof = match added {
            Some(added) if *added == Some((actor, key)) => Proof::Signed,
            None if !whole => Proof::Unknown,
            Some(_) | None => {
                let why = "it was signed with a passkey that was not the approver's";
                return Err(why.to_owned());
            }
        };
        match self.statements.insert(text(&signed["statement"])) {
            true => Ok(proof),
            false => Err("what was signed was used before".to_owned()),
        }
    }
}

/// What a statement is about, as [`Known`] keeps it of what was proposed.
fn what_of(statement: &str) -> [Value; 4] {
    let said: Value = serde_json::from_str(statement).unwrap_or_default();
    [
        said["tool"]["name"].clone(),
        said["arguments_hash"].clone(),
        said["amount"]["minor"].clone(),
        said["amount"]["currency"].clone(),
    ]
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
        && statement["agent_id"] == record["agent_id"]
        && statement["tool"]["name"] == record["tool_name"]
        && statement["amount"]["minor"] == record["amount"]
        && statement["amount"]["currency"] == record["currency"]
        && statement["decision"] == decided;
    if !same {
        return Err("what was signed is not what the record says".to_owned());
    }
    let time = |value: &Value| Timestamp::parse(value.as_str()?);
    match (time(&statement["asked_at"]), time(&record["at"])) {
        (Some(asked), Some(at)) if (at.secs() - asked.secs()).abs() <= MAX_BETWEEN_SECS => Ok(true),
        _ => Err("it was recorded at another time than it was signed for".to_owned()),
    }
}
