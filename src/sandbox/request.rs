//! What the bank accepts: every field checked as RazorpayX documents it, and nothing beside them.

use serde_json::{Map, Value};

use super::ledger::Kind;
use super::payout::State;
use super::refusal::Refusal;
use crate::domain::strict;
use crate::domain::time::Timestamp;

const MODES: [&str; 6] = ["NEFT", "RTGS", "IMPS", "UPI", "card", "amazonpay"];
const PAYOUT_FIELDS: [&str; 10] = [
    "account_number",
    "fund_account_id",
    "amount",
    "currency",
    "mode",
    "purpose",
    "queue_if_low_balance",
    "reference_id",
    "narration",
    "notes",
];
const TRANSFER_FIELDS: [&str; 4] = ["amount", "to", "currency", "reference_id"];
const MIN_PAYOUT: i64 = 100;
const MAX_REFERENCE: usize = 40;
const MAX_NARRATION: usize = 30;
const MAX_PURPOSE: usize = 30;
const MAX_TO: usize = 64;
const MAX_NOTES: usize = 15;
const MAX_NOTE: usize = 256;
const MAX_REMARKS: usize = 255;
const DEFAULT_COUNT: usize = 10;
const MAX_COUNT: usize = 100;

/// Reads a JSON object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match strict::parse(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) | Err(_) => Err(Refusal::body("The request body must be a JSON object.")),
    }
}

/// The idempotency header: mandatory, 4 to 36 of `[A-Za-z0-9-_ ]`.
pub(super) fn idempotency_key(header: Option<&[u8]>) -> Result<String, Refusal> {
    const FIELD: &str = "X-Payout-Idempotency";
    let Some(header) = header else {
        let words = "The X-Payout-Idempotency header is mandatory.";
        return Err(Refusal::field(FIELD, words));
    };
    let text = std::str::from_utf8(header).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_ ".contains(&byte);
    if (4..=36).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        let words = "The idempotency key must be 4 to 36 letters, digits, hyphens, underscores or \
                     spaces.";
        Err(Refusal::field(FIELD, words))
    }
}

/// Checks the body of a create.
pub(super) fn create(kind: Kind, body: &Map<String, Value>) -> Result<(), Refusal> {
    let known: &[&str] = match kind {
        Kind::Payout => &PAYOUT_FIELDS,
        Kind::Transfer => &TRANSFER_FIELDS,
    };
    if let Some(field) = body.keys().find(|field| !known.contains(&field.as_str())) {
        let words = format!("{field} is/are not required and should not be sent");
        return Err(Refusal::field(field, words));
    }
    match kind {
        Kind::Payout => payout(body),
        Kind::Transfer => transfer(body),
    }
}

fn payout(body: &Map<String, Value>) -> Result<(), Refusal> {
    let account = required_text(body, "account_number")?;
    if !(4..=40).contains(&account.len()) || !account.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Refusal::field(
            "account_number",
            "The account number is invalid.",
        ));
    }
    if !is_id("fa_", required_text(body, "fund_account_id")?) {
        let words = "The fund account id is not a valid id.";
        return Err(Refusal::field("fund_account_id", words));
    }
    amount(body, MIN_PAYOUT)?;
    if required_text(body, "currency")? != "INR" {
        return Err(Refusal::field("currency", "The currency must be INR."));
    }
    if !MODES.contains(&required_text(body, "mode")?) {
        return Err(Refusal::field("mode", "The selected mode is invalid."));
    }
    let purpose = required_text(body, "purpose")?;
    if purpose.is_empty() || purpose.chars().count() > MAX_PURPOSE {
        return Err(Refusal::field("purpose", "The purpose is invalid."));
    }
    if let Some(flag) = body.get("queue_if_low_balance")
        && !flag.is_boolean()
    {
        let words = "The queue if low balance field must be true or false.";
        return Err(Refusal::field("queue_if_low_balance", words));
    }
    reference(body)?;
    if let Some(narration) = optional_text(body, "narration")? {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ';
        if narration.len() > MAX_NARRATION || !narration.chars().all(plain) {
            let words = "The narration may be 30 letters, digits and spaces.";
            return Err(Refusal::field("narration", words));
        }
    }
    notes(body)
}

fn transfer(body: &Map<String, Value>) -> Result<(), Refusal> {
    amount(body, 1)?;
    let to = required_text(body, "to")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
    if to.is_empty() || to.len() > MAX_TO || !to.bytes().all(plain) {
        return Err(Refusal::field(
            "to",
            "The account to transfer to is invalid.",
        ));
    }
    if optional_text(body, "currency")?.is_some_and(|currency| currency != "INR") {
        return Err(Refusal::field("currency", "The currency must be INR."));
    }
    reference(body)
}

fn amount(body: &Map<String, Value>, least: i64) -> Result<(), Refusal> {
    let Some(amount) = body.get("amount") else {
        return Err(Refusal::field("amount", "The amount field is required."));
    };
    match amount.as_i64() {
        Some(minor) if minor >= least => Ok(()),
        Some(_) => {
            let words = format!("The amount must be at least {least}.");
            Err(Refusal::field("amount", words))
        }
        None => Err(Refusal::field("amount", "The amount must be an integer.")),
    }
}

fn reference(body: &Map<String, Value>) -> Result<(), Refusal> {
    match optional_text(body, "reference_id")? {
        Some(text) if text.chars().count() > MAX_REFERENCE => {
            let words = "The reference id may not be greater than 40 characters.";
            Err(Refusal::field("reference_id", words))
        }
        Some(_) | None => Ok(()),
    }
}

fn notes(body: &Map<String, Value>) -> Result<(), Refusal> {
    let bad = |words: &str| Err(Refusal::field("notes", words));
    match body.get("notes") {
        None => Ok(()),
        Some(Value::Array(empty)) if empty.is_empty() => Ok(()),
        Some(Value::Object(notes)) => {
            if notes.len() > MAX_NOTES {
                return bad("Number of fields in notes should be less than or equal to 15");
            }
            let short = |text: &str| text.chars().count() <= MAX_NOTE;
            let fits =
                |(key, value): (&String, &Value)| short(key) && value.as_str().is_some_and(short);
            if notes.iter().all(fits) {
                Ok(())
            } else {
                bad("Notes must be texts of at most 256 characters.")
            }
        }
        Some(_) => bad("Notes must be an object."),
    }
}

/// The remarks of an approval or rejection: mandatory.
pub(super) fn remarks(body: &Map<String, Value>) -> Result<String, Refusal> {
    if let Some(field) = body.keys().find(|field| *field != "remarks") {
        let words = format!("{field} is/are not required and should not be sent");
        return Err(Refusal::field(field, words));
    }
    let text = required_text(body, "remarks")?;
    if text.trim().is_empty() || text.chars().count() > MAX_REMARKS {
        let words = "The remarks must be 1 to 255 characters.";
        return Err(Refusal::field("remarks", words));
    }
    Ok(text.to_owned())
}

fn required_text<'a>(body: &'a Map<String, Value>, field: &str) -> Result<&'a str, Refusal> {
    optional_text(body, field)?.ok_or_else(|| {
        let words = format!("The {} field is required.", field.replace('_', " "));
        Refusal::field(field, words)
    })
}

fn optional_text<'a>(
    body: &'a Map<String, Value>,
    field: &str,
) -> Result<Option<&'a str>, Refusal> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => {
            let words = format!("The {} must be a string.", field.replace('_', " "));
            Err(Refusal::field(field, words))
        }
    }
}

fn is_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 14 && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// What a list asks for.
#[derive(Default, Debug)]
pub(super) struct Filter {
    pub(super) account_number: Option<String>,
    pub(super) reference_id: Option<String>,
    pub(super) status: Option<State>,
    /// Fields of the entity that must be equal.
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    pub(super) count: usize,
    pub(super) skip: usize,
}

impl Filter {
    /// Reads the query of a list. Payouts need an account number.
    pub(super) fn read(kind: Kind, query: &[(String, String)]) -> Result<Self, Refusal> {
        let mut filter = Self {
            count: DEFAULT_COUNT,
            ..Self::default()
        };
        for (name, value) in query {
            let text = value.clone();
            match name.as_str() {
                "account_number" => filter.account_number = Some(text),
                "reference_id" => filter.reference_id = Some(text),
                "status" => filter.status = Some(status(value)?),
                "contact_id" => filter.fields.push(("contact_id", text)),
                "fund_account_id" => filter.fields.push(("fund_account_id", text)),
                "mode" => filter.fields.push(("mode", text)),
                "from" => filter.from = Some(Timestamp::from_secs(number(name, value)?)),
                "to" => filter.to = Some(Timestamp::from_secs(number(name, value)?)),
                "count" => filter.count = count(value)?,
                "skip" => filter.skip = usize::try_from(number(name, value)?).unwrap_or(0),
                _ => {
                    let words = format!("{name} is/are not required and should not be sent");
                    return Err(Refusal::field(name, words));
                }
            }
        }
        if kind == Kind::Payout && filter.account_number.is_none() {
            let words = "The account number field is required.";
            return Err(Refusal::field("account_number", words));
        }
        Ok(filter)
    }
}

fn status(word: &str) -> Result<State, Refusal> {
    serde_json::from_value(Value::String(word.to_owned()))
        .map_err(|_| Refusal::field("status", "The selected status is invalid."))
}

fn count(text: &str) -> Result<usize, Refusal> {
    let count = usize::try_from(number("count", text)?).unwrap_or(0);
    if (1..=MAX_COUNT).contains(&count) {
        Ok(count)
    } else {
        Err(Refusal::field(
            "count",
            "The count must be between 1 and 100.",
        ))
    }
}

fn number(name: &str, text: &str) -> Result<i64, Refusal> {
    let parsed = text.parse::<u32>().map(i64::from);
    parsed.map_err(|_| Refusal::field(name, format!("The {name} must be an integer.")))
}
