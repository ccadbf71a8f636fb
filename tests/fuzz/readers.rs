//! Targets that need no broker: the readers and the seals, each with an oracle of its own.
//!
//! A target takes any bytes. It panics if what must never happen happened, and gives back a word
//! for what did, so that a run can keep inputs that led somewhere new.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use hundi::connector::razorpay::{event, evidence};
use hundi::connector::registry;
use hundi::domain::call::Order;
use hundi::domain::canonical::Canonical;
use hundi::domain::ids::ProposalId;
use hundi::domain::schema;
use hundi::domain::strict;
use hundi::domain::time::Timestamp;
use hundi::domain::token::{KeyRing, KeyState, TokenKey};
use hundi::domain::tool::Tool;
use hundi::notify::slack;
use serde_json::Value;
use sha2::Sha256;

/// When the tokens of the corpus are looked at: 2026-11-20T10:00:00Z.
pub const NOW: Timestamp = Timestamp::from_secs(1_795_168_800);

/// What the strict reader accepts, a second reader reads alike; what only the strict reader
/// refuses has one of its reasons; and what was accepted survives being written and read again.
pub fn strict_json(input: &[u8]) -> String {
    let second = serde_json::from_slice::<Value>(input);
    match (strict::parse(input), second) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(Canonical::of(&ours), Canonical::of(&theirs), "read apart");
            let written = ours.to_string();
            let again = strict::parse(written.as_bytes());
            assert_eq!(again.as_ref(), Ok(&ours), "{written}");
            format!("accepted {}", kind(&ours))
        }
        (Ok(ours), Err(theirs)) => panic!("accepted as {ours}, and a second reader says {theirs}"),
        (Err(ours), Ok(theirs)) => {
            let code = ours.code();
            let ours_alone = !matches!(code, "invalid_json" | "invalid_utf8" | "lone_surrogate");
            assert!(ours_alone, "refused as {code}, and {theirs} is plain JSON");
            code.to_owned()
        }
        (Err(ours), Err(_)) => format!("{} for both", ours.code()),
    }
}

/// Three independent canonicalisers agree, the form is its own canonical form, and hashing is a
/// function of it.
pub fn canonical(input: &[u8]) -> String {
    let Ok(value) = strict::parse(input) else {
        return "refused".to_owned();
    };
    let ours = Canonical::of(&value);
    let second = serde_json_canonicalizer::to_string(&value).unwrap();
    let third = serde_jcs::to_string(&value).unwrap();
    assert_eq!(ours.as_str(), second, "against serde_json_canonicalizer");
    assert_eq!(ours.as_str(), third, "against serde_jcs");
    let again = Canonical::of(&ours.value());
    assert_eq!(ours, again, "canonical once is canonical for ever");
    assert_eq!(ours.hash(), again.hash());
    kind(&value)
}

fn secret(seed: u8) -> Vec<u8> {
    (0..32_u8).map(|n| n.wrapping_mul(37) ^ seed).collect()
}

static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let key = |kid, seed, state| TokenKey::new(kid, secret(seed).into(), state, NOW).unwrap();
    KeyRing::new(vec![
        key("k1", 0, KeyState::Active),
        key("old", 1, KeyState::Rotated(NOW.secs() + 60)),
        key("gone", 2, KeyState::Retired),
    ])
});

/// A text is either the one spelling of a token that this ring sealed, or nothing.
pub fn token_text(input: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(input) else {
        return "not text".to_owned();
    };
    let Some(claims) = RING.verify(text, NOW) else {
        assert!(RING.open(text, "fuzz", NOW).is_err());
        return format!("refused with {} dots", text.matches('.').count().min(4));
    };
    let kid = text.split('.').nth(1).unwrap();
    let sealed = RING.seal(&claims, Some(kid));
    assert_eq!(sealed.as_deref(), Some(text), "one token, one spelling");
    format!("opened: {:?}", RING.open(text, "fuzz", NOW).map(drop))
}

/// A payload under a true signature, as only a broken broker could make it: it is either exactly
/// what sealing its claims gives, or refused.
pub fn token_payload(input: &[u8]) -> String {
    let mut text = format!("v1.k1.{}", URL_SAFE_NO_PAD.encode(input));
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret(0)).unwrap();
    mac.update(b"hundi/commit-token/v1\0");
    mac.update(text.as_bytes());
    let mac = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    text = format!("{text}.{mac}");
    let outcome = token_text(text.as_bytes());
    let fields = strict::parse(input).ok();
    let fields = fields.and_then(|value| value.as_object().map(serde_json::Map::len));
    format!("{outcome}, {fields:?} fields")
}

static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| registry::tools(true));

/// Arguments that a tool takes can be spelt for its provider or are refused with a reason; their
/// amount is positive; and what is sent says nothing that was not in them.
pub fn arguments(input: &[u8]) -> String {
    let Ok(value) = strict::parse(input) else {
        return "unreadable".to_owned();
    };
    let args = Canonical::of(&value);
    let value = args.value();
    let mut taken = Vec::new();
    for tool in TOOLS.iter() {
        if schema::validate(tool, &value).is_err() {
            continue;
        }
        let effective = tool.effective(&value);
        if effective.moves_money() {
            assert!(effective.minor() > 0, "{} moves {effective:?}", tool.name);
        }
        let payee = tool.payee(&value);
        let order = Order {
            proposal: ProposalId::at(NOW, [7; 10]),
            tool: tool.name.clone(),
            args: args.clone(),
            effective,
        };
        let spelt = registry::connector_for(tool).call(&order);
        if let (Ok(call), Some(amount)) = (&spelt, value["amount"].as_i64()) {
            let sent: Value = serde_json::from_str(&call.arguments).unwrap();
            if let Some(sent) = sent.get("amount") {
                assert_eq!(sent.as_i64(), Some(amount), "{}", tool.name);
            }
        }
        let payee = payee.account.is_some();
        taken.push(format!("{} {} {payee}", tool.name, spelt.is_ok()));
    }
    taken.join(", ")
}

/// An authentic event is read without a panic, and what is kept of a payout is a payout.
pub fn webhook_body(input: &[u8]) -> String {
    let Ok(document) = strict::parse(input) else {
        return "unreadable".to_owned();
    };
    let read = event::read(&document);
    let payout = &document["payload"]["payout"]["entity"];
    let kept = event::reduced(payout);
    if let Some(kept) = &kept {
        assert_eq!(kept["id"], payout["id"]);
        assert_eq!(event::reduced(kept).as_ref(), Some(kept), "reduced twice");
    }
    let waits = event::waiting(payout).map(|waiting| waiting.is_some());
    format!(
        "{} {} {waits:?} {}",
        read.name().len().min(40),
        kept.is_some(),
        evidence(payout).is_ok()
    )
}

/// A body is a press of one button by one user, or nothing.
pub fn slack_body(input: &[u8]) -> String {
    match slack::press(input) {
        Ok(press) => {
            assert!(!format!("{press:?}").is_empty());
            "a press".to_owned()
        }
        Err(why) => why.to_string(),
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) => format!(
            "number {} {} {}",
            number.is_i64(),
            number.as_f64().is_some_and(f64::is_sign_negative),
            number.to_string().contains('e')
        ),
        Value::String(text) => format!("string {}", text.chars().any(|c| c > '\u{7f}')),
        Value::Array(items) => format!("array of {}", items.first().map_or("none".into(), kind)),
        Value::Object(map) => format!("object {}", map.len().min(12)),
    }
}
