//! Payouts and transfers as the bank shows them: whose they are, and what they prove.
//!
//! An entity counts as ours only with our reference, our amount and our account. Anything less is
//! an answer about something else.

use serde_json::Value;

use super::State;
use crate::connector::Malformed;
use crate::domain::call::{Evidence, Order, Receipt};

/// Letters and digits after the prefix of an id.
const ID_LENGTH: usize = 14;

/// `pout_` and 14 letters or digits.
pub fn is_payout_id(text: &str) -> bool {
    is_id("pout_", text)
}

/// `fa_` and 14 letters or digits.
pub fn is_fund_account_id(text: &str) -> bool {
    is_id("fa_", text)
}

/// `trf_` and 14 letters or digits: the sandbox's own kind.
fn is_transfer_id(text: &str) -> bool {
    is_id("trf_", text)
}

fn is_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == ID_LENGTH && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// What a payout, in a webhook or a poll, tells unasked. It may be anybody's: the reference says
/// which order it could be about, and [`super::Razorpay::seen`] whether it is.
pub fn evidence(entity: &Value) -> Result<Evidence, Malformed> {
    let (receipt, _) = read_payout(entity).map_err(Malformed)?;
    let reference = entity.get("reference_id").and_then(Value::as_str);
    Ok(Evidence {
        reference: reference.filter(|text| !text.is_empty()).map(str::to_owned),
        receipt,
    })
}

/// The payout that `order` asked for, or why this is not it.
pub(super) fn payout(entity: &Value, order: &Order, args: &Value) -> Result<Receipt, String> {
    let (receipt, _) = read_payout(entity)?;
    ours(entity, order)?;
    same(entity, args, "amount")?;
    same(entity, args, "fund_account_id")?;
    same(entity, args, "currency")?;
    Ok(receipt)
}

/// The transfer that `order` asked for, or why this is not it.
pub(super) fn transfer(entity: &Value, order: &Order, args: &Value) -> Result<Receipt, String> {
    expect(entity, "transfer")?;
    let id = text(entity, "id");
    if !is_transfer_id(id) {
        return Err("the answer has no transfer id".to_owned());
    }
    ours(entity, order)?;
    same(entity, args, "amount")?;
    same(entity, args, "to")?;
    Ok(receipt(entity, id, text(entity, "status"), false))
}

/// The payout that `args` name, with its state, or why this is not it.
pub(super) fn same_payout(entity: &Value, args: &Value) -> Result<(Receipt, State), String> {
    let (receipt, state) = read_payout(entity)?;
    if receipt.provider_id.as_deref() != args.get("payout_id").and_then(Value::as_str) {
        return Err("the answer is about another payout".to_owned());
    }
    // Proposals of before name neither.
    for field in ["amount", "fund_account_id"] {
        if args.get(field).is_some() {
            same(entity, args, field)?;
        }
    }
    let state = state.ok_or_else(|| "the payout is in a state we do not know".to_owned())?;
    Ok((receipt, state))
}

/// A state that the bank invented since does not hide that the payout exists, so it is optional.
fn read_payout(entity: &Value) -> Result<(Receipt, Option<State>), String> {
    expect(entity, "payout")?;
    let id = text(entity, "id");
    if !is_payout_id(id) {
        return Err("the answer has no payout id".to_owned());
    }
    let word = text(entity, "status");
    let state = State::parse(word);
    let undone = state.is_some_and(State::is_undone);
    Ok((receipt(entity, id, word, undone), state))
}

fn receipt(entity: &Value, id: &str, state: &str, reversed: bool) -> Receipt {
    Receipt {
        provider_id: Some(id.to_owned()),
        provider_state: (!state.is_empty()).then(|| state.to_owned()),
        reversed,
        settled_unreadable: false,
        settled_minor: entity.get("amount").and_then(Value::as_i64),
        result: entity.clone(),
        blocks: Value::Null,
    }
}

fn expect(entity: &Value, kind: &str) -> Result<(), String> {
    if text(entity, "entity") == kind {
        Ok(())
    } else {
        Err(format!("the answer is not a {kind}"))
    }
}

/// Whether a whole entity carries our reference, for another amount or account than ours: somebody
/// at the bank chose it.
pub(super) fn borrows(entity: &Value, order: &Order) -> bool {
    let args = order.args.value();
    let whole = entity.get("amount").is_some_and(Value::is_i64);
    let other = |field: &str| {
        let (theirs, ours) = (entity.get(field), args.get(field));
        matches!((theirs, ours), (Some(theirs), Some(ours)) if theirs != ours)
    };
    let differs = ["amount", "fund_account_id", "to", "currency"]
        .into_iter()
        .any(other);
    whole && differs && ours(entity, order).is_ok()
}

fn ours(entity: &Value, order: &Order) -> Result<(), String> {
    if text(entity, "reference_id") == order.reference() {
        Ok(())
    } else {
        Err("the answer carries another reference than ours".to_owned())
    }
}

/// Compared as JSON, so that `"100"` is not 100.
pub(super) fn same(entity: &Value, args: &Value, field: &str) -> Result<(), String> {
    match (entity.get(field), args.get(field)) {
        (Some(theirs), Some(ours)) if theirs == ours => Ok(()),
        _ => Err(format!("the answer shows another {field} than ours")),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
