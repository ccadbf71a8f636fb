//! Payouts, transfers and balances as the bank shows them.

use serde_json::{Value, json};

use super::index::{Number, Slot};
use super::payout::State;
use crate::domain::time::Timestamp;

/// What the bank takes for a payout, in paise, and the tax within.
const FEES: i64 = 590;
const TAX: i64 = 90;

/// A payout.
pub(super) fn payout(id: &str, number: Number, slot: &Slot, body: &Value) -> Value {
    let state = slot.state;
    let (reason, source, description) = state.details();
    let charged = state.is_debited();
    let arrived = matches!(state, State::Processed | State::Reversed);
    // The real bank shows empty notes as an empty list.
    let notes = match body.get("notes") {
        Some(Value::Object(notes)) if !notes.is_empty() => json!(notes),
        Some(_) | None => json!([]),
    };
    json!({
        "id": id,
        "entity": "payout",
        "fund_account_id": body["fund_account_id"],
        "amount": body["amount"],
        "currency": body["currency"],
        "notes": notes,
        "fees": if charged { FEES } else { 0 },
        "tax": if charged { TAX } else { 0 },
        "status": state.name(),
        "purpose": body["purpose"],
        "utr": if arrived { json!(format!("{number:012}")) } else { Value::Null },
        "mode": body["mode"],
        "reference_id": body["reference_id"],
        "narration": body["narration"],
        "debit_account_number": body["account_number"],
        "batch_id": null,
        "status_details": {"reason": reason, "source": source, "description": description},
        "failure_reason": null,
        "fee_type": "",
        "created_at": slot.created.secs(),
    })
}

/// A list.
pub(super) fn collection(items: Vec<Value>) -> Value {
    json!({"entity": "collection", "count": items.len(), "items": items})
}

/// A transfer of the sandbox.
pub(super) fn transfer(id: &str, slot: &Slot, body: &Value) -> Value {
    json!({
        "id": id, "entity": "transfer", "amount": body["amount"], "currency": "INR",
        "to": body["to"], "reference_id": body["reference_id"],
        "status": slot.state.name(), "created_at": slot.created.secs(),
    })
}

/// What an account holds.
pub(super) fn balance(account_number: &str, minor: i64, now: Timestamp) -> Value {
    json!({
        "entity": "banking_balance", "account_number": account_number, "currency": "INR",
        "account_type": "current_account", "bank_name": "Sandbox Bank", "bank_code": "SNDB",
        "amount": minor, "available_amount": minor, "refreshed_at": now.secs(),
    })
}
