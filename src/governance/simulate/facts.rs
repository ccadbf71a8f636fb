//! The facts of a simulation, read strictly: a misspelt one is an error, one left out is missing.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Bad, object};
use crate::domain::facts::{
    Entity, Fact, Facts, Freeze, FreezeScope, Freezes, OnMissing, PastPayout, Registration,
    Reputation, TaintedRead, ToolPace,
};
use crate::domain::payee::{PayeeId, RegisteredPayee};
use crate::domain::time::Timestamp;
use crate::domain::tool::Payee;

const FACTS: [&str; 12] = [
    "payee",
    "frozen",
    "spent_today",
    "recent_requests",
    "reputation",
    "entity",
    "anomaly",
    "integrity",
    "history",
    "recent",
    "tainted",
    "now",
];

/// Reads the facts, and the payments that duplicates and sums look at: the recent ones, or where
/// those are left out the history. `now` is the time where the facts name none, `claimed` whom the
/// arguments pay.
pub(super) fn read(
    facts: &Value,
    claimed: &Payee,
    now: Timestamp,
) -> Result<(Facts, Vec<PastPayout>), Bad> {
    let map = object(facts, "invalid_facts", "`facts`", &FACTS)?;
    let given = |name: &str| map.get(name).filter(|value| !value.is_null());
    let now = match given("now") {
        None => now,
        Some(value) => instant(value).ok_or_else(|| wrong("now", "RFC 3339 or epoch seconds"))?,
    };
    let mut known = Facts::missing(now);
    // A simulation decides by policy; the pace of a tool is the operator's, and not in it.
    known.tool_pace = Fact::Known(ToolPace::Unlimited);
    let zone = jiff::tz::TimeZone::UTC;
    known.hour_of_week = now.hour_of_week(&zone);
    if let Some(value) = given("frozen") {
        known.freezes = Fact::Known(freezes(value, now)?);
    }
    if let Some(value) = given("spent_today") {
        let spent = value.as_i64().filter(|spent| *spent >= 0);
        known.spent_today =
            Fact::Known(spent.ok_or_else(|| wrong("spent_today", "an integer, 0 or more"))?);
    }
    if let Some(value) = given("recent_requests") {
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        let count = count.ok_or_else(|| wrong("recent_requests", "an integer, 0 or more"))?;
        known.recent_requests = Fact::Known(count);
    }
    if let Some(value) = given("payee") {
        known.registration = Fact::Known(registration(value, claimed)?);
    }
    if let Some(value) = given("reputation") {
        known.reputation = reputation(value)?;
    }
    if let Some(value) = given("entity") {
        known.entity = entity(value)?;
    }
    if let Some(value) = given("tainted") {
        known.tainted = Fact::Known(tainted(value, now)?);
    }
    if let Some(value) = given("anomaly") {
        known.anomaly = anomaly(value)?;
    }
    if let Some(value) = given("integrity") {
        integrity(value, &mut known)?;
    }
    let past = match given("history") {
        None => Vec::new(),
        Some(value) => history("history", value)?,
    };
    let recent = match given("recent") {
        None => past.clone(),
        Some(value) => history("recent", value)?,
    };
    let hours = past.iter().map(|past| past.at.hour_of_week(&zone));
    known.history_hours = Arc::new(hours.collect());
    known.history = Fact::Known(Arc::new(past));
    Ok((known, recent))
}

/// `true` or `false`: whether the agent has just read what taints it.
fn tainted(value: &Value, now: Timestamp) -> Result<Option<TaintedRead>, Bad> {
    let read = value
        .as_bool()
        .ok_or_else(|| wrong("tainted", "true or false"))?;
    Ok(read.then(|| TaintedRead {
        tool: "simulated".to_owned(),
        at: now,
    }))
}

/// `true`, `false`, or a list of `{scope, id?, reason?}`.
fn freezes(value: &Value, now: Timestamp) -> Result<Freezes, Bad> {
    let expected = "true, false, or a list of {scope, id?, reason?}";
    let freeze = |scope, id: Option<&str>, reason: &str| Freeze {
        scope,
        id: id.map(str::to_owned),
        reason: reason.to_owned(),
        by: "simulation".to_owned(),
        at: now,
    };
    let items = match value {
        Value::Bool(false) => return Ok(Freezes::default()),
        Value::Bool(true) => return Ok(Freezes(vec![freeze(FreezeScope::All, None, "simulated")])),
        Value::Array(items) => items,
        Value::Null | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Err(wrong("frozen", expected));
        }
    };
    let one = |item: &Value| {
        let map = object(
            item,
            "invalid_facts",
            "`facts.frozen`",
            &["scope", "id", "reason"],
        )
        .ok()?;
        let scope = serde_json::from_value(map.get("scope")?.clone()).ok()?;
        let text = |name: &str| map.get(name).and_then(Value::as_str);
        Some(freeze(
            scope,
            text("id"),
            text("reason").unwrap_or("simulated"),
        ))
    };
    let all: Option<Vec<Freeze>> = items.iter().map(one).collect();
    all.map(Freezes).ok_or_else(|| wrong("frozen", expected))
}

/// The word of a fact that is spelt `"word"` or `{"result": "word", ...}`.
fn word<'a>(value: &'a Value, more: &[&str]) -> Option<&'a str> {
    match value {
        Value::String(word) => Some(word),
        Value::Object(map) => {
            let known = |key: &String| key == "result" || more.contains(&key.as_str());
            let result = map.get("result").and_then(Value::as_str);
            result.filter(|_| map.keys().all(known))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

/// What the registry says of the account that is paid: whether it is somebody's, and whose. What is
/// not said of a registered payee is as the arguments claim.
fn registration(value: &Value, claimed: &Payee) -> Result<Registration, Bad> {
    let expected = "{\"registered\": true|false, \"name\": ..., \"vendor_url\": ..., \"lei\": ...}";
    let wrong = || wrong("payee", expected);
    let nobody = Registration::default();
    let map = match value {
        Value::Bool(false) => return Ok(nobody),
        Value::Bool(true) => &Map::new(),
        Value::Object(map) => map,
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => return Err(wrong()),
    };
    let fields = ["registered", "name", "vendor_url", "lei"];
    let is_known = |key: &String| fields.contains(&key.as_str());
    let text = |name: &str| match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_str()
            .map(|text| Some(text.to_owned()))
            .ok_or_else(wrong),
    };
    let (name, url, lei) = (text("name")?, text("vendor_url")?, text("lei")?);
    let registered = match map.get("registered") {
        None => true,
        Some(value) => value.as_bool().ok_or_else(wrong)?,
    };
    let described = name.is_some() || url.is_some() || lei.is_some();
    if !map.keys().all(is_known) || (!registered && described) {
        return Err(wrong());
    }
    let Some(account) = claimed.account.clone().filter(|_| registered) else {
        return Ok(nobody);
    };
    let name = name.or_else(|| claimed.name.clone());
    let name = name.unwrap_or_else(|| account.clone());
    Ok(Registration {
        payee: Some(RegisteredPayee {
            id: PayeeId::of_name(&name),
            name,
            vendor_url: url.or_else(|| claimed.url.clone()),
            lei,
            fund_accounts: vec![account],
            labels: Vec::new(),
        }),
        namesake: None,
    })
}

fn reputation(value: &Value) -> Result<Fact<Reputation>, Bad> {
    let expected = "{\"result\": \"safe|unsafe|unavailable|not_asked\", \"threats\": [...]}";
    let threats = match value.get("threats") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        Some(_) => None,
    };
    let threats = threats.ok_or_else(|| wrong("reputation", expected))?;
    match word(value, &["threats"]) {
        Some("unsafe") => Ok(Fact::Known(Reputation::Unsafe(threats))),
        // Safe, and yet listed: nobody can tell what was meant.
        Some(_) if !threats.is_empty() => Err(wrong("reputation", expected)),
        Some("safe") => Ok(Fact::Known(Reputation::Safe)),
        Some("not_asked") => Ok(Fact::Known(Reputation::NotAsked)),
        Some("unavailable") => Ok(Fact::Missing),
        Some(_) | None => Err(wrong("reputation", expected)),
    }
}

fn entity(value: &Value) -> Result<Fact<Entity>, Bad> {
    if let Some(verified) = value.as_bool().or_else(|| value.get("verified")?.as_bool()) {
        return Ok(Fact::Known(if verified {
            Entity::Verified
        } else {
            Entity::Unverified
        }));
    }
    match word(value, &[]) {
        Some("verified") => Ok(Fact::Known(Entity::Verified)),
        Some("unverified") => Ok(Fact::Known(Entity::Unverified)),
        Some("not_asked") => Ok(Fact::Known(Entity::NotAsked)),
        Some("unavailable") => Ok(Fact::Missing),
        Some(_) | None => Err(wrong(
            "entity",
            "{\"result\": \"verified|unverified|unavailable|not_asked\"}",
        )),
    }
}

fn anomaly(value: &Value) -> Result<Option<String>, Bad> {
    let flags = ["detected", "anomalous", "is_anomalous"];
    let flag = value
        .as_bool()
        .or_else(|| flags.iter().find_map(|name| value.get(name)?.as_bool()));
    let found = match (flag, word(value, &["detail"])) {
        (Some(found), _) => found,
        (None, Some("anomalous" | "detected")) => true,
        (None, Some("normal" | "insufficient_data")) => false,
        (None, Some(_) | None) => {
            return Err(wrong(
                "anomaly",
                "true, false or {\"detected\": bool, \"detail\": \"...\"}",
            ));
        }
    };
    let detail = value.get("detail").and_then(Value::as_str);
    Ok(found.then(|| detail.unwrap_or("an anomaly is among the facts").to_owned()))
}

fn integrity(value: &Value, facts: &mut Facts) -> Result<(), Bad> {
    let fields = [
        "composite_score",
        "attested",
        "on_missing",
        "block_at",
        "require_prompt",
    ];
    let map = object(value, "invalid_facts", "`facts.integrity`", &fields)?;
    let ours = &mut facts.integrity;
    let given = |name: &str| map.get(name).filter(|value| !value.is_null());
    let unit = |name: &str| match given(name) {
        None => Ok(None),
        Some(value) => {
            let number = value.as_f64().filter(|number| (0.0..=1.0).contains(number));
            number
                .map(Some)
                .ok_or_else(|| wrong("integrity", &format!("`{name}` from 0 to 1")))
        }
    };
    ours.score.composite = unit("composite_score")?;
    ours.block_at = unit("block_at")?.unwrap_or(ours.block_at);
    let flag = |name: &str, usual: bool| match given(name) {
        None => Ok(usual),
        Some(value) => {
            let flag = value.as_bool();
            flag.ok_or_else(|| wrong("integrity", &format!("`{name}` true or false")))
        }
    };
    // Whoever writes facts down vouches for them, unless they say that nobody does.
    ours.attested = flag("attested", true)?;
    ours.require_prompt = flag("require_prompt", false)?;
    ours.on_missing = match given("on_missing").map(Value::as_str) {
        None | Some(Some("hold")) => OnMissing::Hold,
        Some(Some("allow")) => OnMissing::Allow,
        Some(Some("block")) => OnMissing::Block,
        Some(_) => return Err(wrong("integrity", "`on_missing` hold, allow or block")),
    };
    Ok(())
}

/// `[{at, amount, payee?, vendor?}]`, in any order.
fn history(name: &str, value: &Value) -> Result<Vec<PastPayout>, Bad> {
    let expected = "a list of {at, amount, payee?, vendor?}";
    let one = |item: &Value| {
        let fields = ["at", "amount", "payee", "vendor"];
        let map = object(item, "invalid_facts", name, &fields).ok()?;
        let text = |name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(PastPayout {
            at: instant(map.get("at")?)?,
            minor: map.get("amount")?.as_i64().filter(|minor| *minor > 0)?,
            payee: text("payee"),
            vendor: text("vendor"),
        })
    };
    let items = value.as_array().ok_or_else(|| wrong(name, expected))?;
    let past: Option<Vec<PastPayout>> = items.iter().map(one).collect();
    let mut past = past.ok_or_else(|| wrong(name, expected))?;
    past.sort_by_key(|past| std::cmp::Reverse(past.at));
    Ok(past)
}

fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => Timestamp::parse(text),
        Value::Number(secs) => secs.as_i64().map(Timestamp::from_secs),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn wrong(fact: &str, expected: &str) -> Bad {
    (
        "invalid_facts",
        format!("`facts.{fact}` has to be {expected}"),
    )
}
