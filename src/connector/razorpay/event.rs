//! The bank's webhooks: what an event says, as far as anybody needs it.
//!
//! Whether it is genuine was checked over the raw body before; here it is only read. Razorpay's
//! shapes vary: empty notes come as `[]`, downtime events keep their entity under another name, and
//! new events appear at any time. So nothing is required but the event's name, and what is not
//! understood is told apart from what is broken.

use serde_json::{Map, Value, json};

use super::State;
use crate::connector::bank::{Event, Waiting};

/// The secrets' header: lower-case hex HMAC-SHA256 of the raw body.
pub const SIGNATURE_HEADER: &str = "x-razorpay-signature";
/// The header that names an event, the same on every retry.
pub const EVENT_ID_HEADER: &str = "x-razorpay-event-id";
/// Longest text that is kept of a field.
const MAX_TEXT: usize = 256;

/// Reads a webhook's document.
pub fn read(document: &Value) -> Event {
    let Some(name) = document.get("event").and_then(Value::as_str) else {
        return Event::Unusable("no event name");
    };
    let name = cut(name);
    let entity = |key: &str| document.get("payload")?.get(key)?.get("entity");
    if name.starts_with("payout.downtime.") {
        let down = entity("payout.downtime");
        return match down {
            Some(down) => Event::Downtime {
                name,
                what: downtime(down),
            },
            None => Event::Unusable("a downtime event without its entity"),
        };
    }
    if !name.starts_with("payout.") {
        return Event::Other(name);
    }
    match entity("payout").map(reduced) {
        Some(Some(payout)) => Event::Payout { name, payout },
        Some(None) => Event::Unusable("a payout without an id and a status"),
        None => Event::Other(name),
    }
}

/// A payout with the fields that checks, records and callers need. The nested fund account is left
/// out: it holds names and numbers of bank accounts, which nobody here has use for.
pub fn reduced(payout: &Value) -> Option<Value> {
    const KEPT: [&str; 18] = [
        "id",
        "entity",
        "fund_account_id",
        "amount",
        "currency",
        "fees",
        "tax",
        "status",
        "purpose",
        "utr",
        "mode",
        "reference_id",
        "narration",
        "batch_id",
        "failure_reason",
        "status_details",
        "created_at",
        "notes",
    ];
    let id = payout.get("id").and_then(Value::as_str);
    let status = payout.get("status").and_then(Value::as_str);
    if !id.is_some_and(super::is_payout_id) || status.is_none() {
        return None;
    }
    let mut kept = Map::new();
    for field in KEPT {
        if let Some(value) = payout.get(field) {
            kept.insert(field.to_owned(), small(value));
        }
    }
    // Every payout has it; some payloads forget it.
    kept.entry("entity").or_insert_with(|| json!("payout"));
    Some(Value::Object(kept))
}

/// Values as they are, long texts cut, and nothing nested deeper than notes and details are.
fn small(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(cut(text)),
        Value::Object(map) => {
            let members = map.iter().take(20).map(|(key, value)| {
                let value = match value {
                    Value::Object(_) | Value::Array(_) => Value::Null,
                    Value::String(text) => json!(cut(text)),
                    Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
                };
                (cut(key), value)
            });
            Value::Object(members.collect())
        }
        Value::Array(_) => json!([]),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

fn downtime(entity: &Value) -> String {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => cut(text),
        Some(Value::Array(items)) => {
            let texts = items.iter().filter_map(Value::as_str).map(cut);
            texts.collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    };
    let bank = entity.get("instrument").and_then(|i| i.get("bank"));
    let parts = [
        text(entity.get("method")),
        text(entity.get("source")),
        text(bank),
        text(entity.get("status")),
    ];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" ")
}

/// Reads a payout that waits; `None` if it does not wait, an error if it waits and cannot be
/// governed as it is.
pub fn waiting(payout: &Value) -> Result<Option<Waiting>, &'static str> {
    let text = |name: &str| payout.get(name).and_then(Value::as_str);
    let state = match text("status").and_then(State::parse) {
        Some(state @ (State::Pending | State::Queued)) => state.name(),
        _ => return Ok(None),
    };
    let id = text("id").filter(|id| super::is_payout_id(id));
    let id = id.ok_or("no payout id")?;
    let amount = payout.get("amount").and_then(Value::as_i64);
    let amount = amount.filter(|amount| *amount > 0).ok_or("no amount")?;
    if text("currency").unwrap_or("INR") != "INR" {
        return Err("another currency than INR");
    }
    let account = text("fund_account_id").filter(|id| super::is_fund_account_id(id));
    let account = account.ok_or("no fund account")?;
    let mut order = json!({
        "payout_id": id,
        "amount": amount,
        "fund_account_id": account,
        "remarks": "approved by hundi",
    });
    let notes = payout.get("notes").and_then(Value::as_object);
    let note = |name: &str| notes?.get(name)?.as_str().map(str::to_owned);
    let mut known = Map::new();
    for name in ["vendor_name", "vendor_url"] {
        if let Some(value) = note(name) {
            known.insert(name.to_owned(), json!(value));
        }
    }
    if !known.is_empty() {
        order["notes"] = Value::Object(known);
    }
    Ok(Some(Waiting {
        id: id.to_owned(),
        state,
        order,
        reference: text("reference_id").map(str::to_owned),
        claimed_agent: note("agent_id"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payout(status: &str) -> Value {
        json!({
            "id": "pout_00000000000001", "entity": "payout", "status": status,
            "fund_account_id": "fa_00000000000001", "amount": 5_000, "currency": "INR",
            "notes": {"vendor_url": "https://acme.example", "agent_id": "agent-7", "n": 1},
            "fund_account": {"bank_account": {"account_number": "1121431121541121"}},
            "reference_id": null,
        })
    }

    fn event(name: &str, entity: Value) -> Value {
        json!({
            "entity": "event", "account_id": "acc_1", "event": name, "contains": ["payout"],
            "payload": {"payout": {"entity": entity}}, "created_at": 1_567_674_599,
        })
    }

    #[test]
    fn a_payout_event_is_read_without_account_numbers() {
        let Event::Payout { name, payout } = read(&event("payout.queued", payout("queued"))) else {
            panic!("not a payout event");
        };
        assert_eq!(
            (name.as_str(), &payout["amount"]),
            ("payout.queued", &json!(5_000))
        );
        assert!(!payout.to_string().contains("1121431121541121"));
        let waiting = waiting(&payout).unwrap().unwrap();
        assert_eq!(waiting.state, "queued");
        assert_eq!(waiting.claimed_agent.as_deref(), Some("agent-7"));
        assert_eq!(
            waiting.order["notes"],
            json!({"vendor_url": "https://acme.example"})
        );
    }

    #[test]
    #[rustfmt::skip]
    fn odd_events_are_told_apart() {
        let mut empty_notes = payout("pending");
        empty_notes["notes"] = json!([]);
        assert!(waiting(&reduced(&empty_notes).unwrap()).unwrap().is_some());
        let down = json!({
            "event": "payout.downtime.started",
            "payload": {"payout.downtime": {"entity": {
                "id": "poutdown_1", "method": ["IMPS"], "status": "started", "source": "BENEFICIARY",
                "instrument": {"bank": "HDFC"}}}},
        });
        assert_eq!(read(&down), Event::Downtime {
            name: "payout.downtime.started".into(), what: "IMPS BENEFICIARY HDFC started".into() });
        let cases = [
            (json!({}),                                           ""),
            (json!([]),                                           ""),
            (json!({"event": 5}),                                 ""),
            (event("payout.queued", json!({"id": "x"})),          ""),
            (event("payout.queued", json!([])),                   ""),
            (json!({"event": "payout.downtime.started"}),         ""),
            (json!({"event": "payment.captured", "payload": {}}), "payment.captured"),
            (json!({"event": "payout.new", "payload": {}}),       "payout.new"),
        ];
        for (document, name) in cases {
            let event = read(&document);
            assert!(!matches!(event, Event::Payout { .. } | Event::Downtime { .. }), "{document}");
            assert_eq!(event.name(), name, "{document}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_waits_and_cannot_be_governed_says_why() {
        let with = |field: &str, value: Value| {
            let mut payout = payout("pending");
            payout[field] = value;
            waiting(&payout)
        };
        assert_eq!(with("amount", json!(-5)), Err("no amount"));
        assert_eq!(with("amount", json!("5")), Err("no amount"));
        assert_eq!(with("amount", json!(5.5)), Err("no amount"));
        assert_eq!(with("currency", json!("USD")), Err("another currency than INR"));
        assert_eq!(with("id", json!("../x")), Err("no payout id"));
        assert_eq!(with("status", json!("processed")), Ok(None));
        assert_eq!(with("status", json!("brand_new")), Ok(None));
        let nobody = with("fund_account_id", json!("../x"));
        assert_eq!(nobody, Err("no fund account"));
    }
}
