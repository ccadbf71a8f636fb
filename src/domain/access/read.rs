//! Reads a rule's document: every field known, every list bounded, every name possible.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::invalid::Invalid;
use super::mask::Mask;
use super::rule::{Effect, Kind, RuleDef, ToolPattern, What, Who};
use super::when::{Days, Hours, Weekly, When, Zone};
use crate::domain::ids::AgentId;
use crate::domain::principal::Role;
use crate::domain::roles::Roles;
use crate::domain::time::Timestamp;
use crate::domain::tool::Risk;
use crate::domain::written;

/// Longest name of a rule or a person, in characters.
const MAX_NAME: usize = 100;
/// Longest name of a source or a server.
const MAX_OBJECT_NAME: usize = 56;
/// Most entries of one list.
const MAX_LIST: usize = 200;
/// Most masks of one rule.
const MAX_MASKS: usize = 100;
/// 31 December 9999: beyond it somebody wrote milliseconds.
const LAST_SECOND: i64 = 253_402_207_200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    effect: Effect,
    who: Option<WhoDocument>,
    what: Option<WhatDocument>,
    when: Option<WhenDocument>,
    masks: Option<Vec<Value>>,
    enabled: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WhoDocument {
    roles: Option<Vec<String>>,
    agents: Option<Vec<String>>,
    servers: Option<Vec<String>>,
    people: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WhatDocument {
    tools: Option<Vec<String>>,
    sources: Option<Vec<String>>,
    kinds: Option<Vec<Kind>>,
    risk: Option<Risk>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WhenDocument {
    from: Option<Value>,
    until: Option<Value>,
    weekdays: Option<Vec<String>>,
    hours: Option<String>,
    zone: Option<String>,
}

pub(super) fn rule(document: &Value) -> Result<RuleDef, Invalid> {
    let wrong = |pointer: &str, detail: &str| Err(Invalid::rule(pointer, detail));
    for part in ["", "/who", "/what", "/when"] {
        is_object(document, part)?;
    }
    let parts: Document = part(document, "")?;
    if !is_name(&parts.name) {
        return wrong("/name", &name_advice());
    }
    let masks = masks(parts.masks)?;
    if parts.effect == Effect::Deny && !masks.is_empty() {
        return wrong("/masks", "a rule that denies shows nothing to mask");
    }
    Ok(RuleDef {
        name: parts.name,
        effect: parts.effect,
        who: who(parts.who.unwrap_or_default())?,
        what: what(parts.what.unwrap_or_default())?,
        when: when(parts.when.unwrap_or_default())?,
        masks,
        enabled: parts.enabled.unwrap_or(true),
    })
}

fn who(parts: WhoDocument) -> Result<Who, Invalid> {
    let role = |name: &str| {
        let known = || Role::ALL.map(Role::name).join(", ");
        Role::parse(name).ok_or_else(|| format!("must be one of {}", known()))
    };
    let agent = |name: &str| {
        let read = name.parse::<AgentId>();
        read.map_err(|_| "is no agent: 1 to 128 of [A-Za-z0-9._:@-]".to_owned())
    };
    let person = |name: &str| match is_name(name) {
        true => Ok(name.to_owned()),
        false => Err(name_advice()),
    };
    Ok(Who {
        roles: Roles::from_iter(list(parts.roles, "/who/roles", role)?),
        agents: list(parts.agents, "/who/agents", agent)?,
        servers: list(parts.servers, "/who/servers", object_name)?,
        people: list(parts.people, "/who/people", person)?,
    })
}

fn what(parts: WhatDocument) -> Result<What, Invalid> {
    let tool = |text: &str| {
        let advice = "must be the name of a tool, or its beginning and `*`, as in `billing_*`";
        ToolPattern::parse(text).ok_or_else(|| advice.to_owned())
    };
    if let Some(kinds) = &parts.kinds {
        fits(kinds.len(), "/what/kinds")?;
    }
    Ok(What {
        tools: list(parts.tools, "/what/tools", tool)?,
        sources: list(parts.sources, "/what/sources", object_name)?,
        kinds: parts.kinds.unwrap_or_default(),
        risk: parts.risk,
    })
}

fn when(parts: WhenDocument) -> Result<When, Invalid> {
    let wrong = |pointer: &str, detail: &str| Err(Invalid::rule(pointer, detail));
    let from = instant(parts.from.as_ref(), "/when/from")?;
    let until = instant(parts.until.as_ref(), "/when/until")?;
    if let (Some(from), Some(until)) = (from, until)
        && until <= from
    {
        return wrong("/when/until", "must be later than `from`");
    }
    let zone = match parts.zone.as_deref() {
        None => Zone::utc(),
        Some(name) => Zone::named(name).ok_or_else(|| {
            Invalid::rule("/when/zone", "is no IANA time zone such as `Asia/Kolkata`")
        })?,
    };
    let days = match &parts.weekdays {
        None => None,
        Some(words) => Some(days(words)?),
    };
    let hours = match parts.hours.as_deref().map(Hours::parse) {
        None => None,
        Some(Some(hours)) => Some(hours),
        Some(None) => {
            let advice = "must be as `09:00-17:00`, or `22:00-06:00` over midnight; a whole day \
                          is `00:00-24:00`";
            return wrong("/when/hours", advice);
        }
    };
    let weekly = (days.is_some() || hours.is_some()).then(|| Weekly {
        days: days.unwrap_or(Days::ALL),
        hours,
        zone,
    });
    Ok(When {
        from,
        until,
        weekly,
    })
}

fn days(words: &[String]) -> Result<Days, Invalid> {
    fits(words.len(), "/when/weekdays")?;
    Days::parse(words.iter().map(String::as_str)).map_err(|index| {
        let advice = "must be one of mon, tue, wed, thu, fri, sat, sun";
        Invalid::rule(format!("/when/weekdays/{index}"), advice)
    })
}

fn instant(written: Option<&Value>, pointer: &str) -> Result<Option<Timestamp>, Invalid> {
    let Some(written) = written else {
        return Ok(None);
    };
    let secs = written
        .as_i64()
        .filter(|secs| (0..=LAST_SECOND).contains(secs));
    let read = match written.as_str() {
        Some(text) => Timestamp::parse(text),
        None => secs.map(Timestamp::from_secs),
    };
    let advice = "must be an instant: RFC 3339 text with its offset, or epoch seconds";
    read.map(Some).ok_or_else(|| Invalid::rule(pointer, advice))
}

fn masks(written: Option<Vec<Value>>) -> Result<Vec<Mask>, Invalid> {
    let written = written.unwrap_or_default();
    if written.len() > MAX_MASKS {
        let detail = format!("must be at most {MAX_MASKS}");
        return Err(Invalid::rule("/masks", detail));
    }
    let mut masks: Vec<Mask> = Vec::with_capacity(written.len());
    for (index, written) in written.iter().enumerate() {
        let pointer = format!("/masks/{index}");
        if !written.is_object() {
            return Err(Invalid::rule(pointer, "must be an object"));
        }
        masks.push(part(written, &pointer)?);
    }
    Ok(masks)
}

/// Reads each entry of a list. One that is there has entries: an empty one could be meant as nobody
/// or as everybody.
fn list<T>(
    written: Option<Vec<String>>,
    pointer: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Invalid> {
    let Some(written) = written else {
        return Ok(Vec::new());
    };
    fits(written.len(), pointer)?;
    let mut seen = BTreeSet::new();
    let mut entries = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        let wrong = |detail: String| Invalid::rule(format!("{pointer}/{index}"), detail);
        if !seen.insert(text) {
            return Err(wrong("is listed twice".to_owned()));
        }
        entries.push(read(text).map_err(wrong)?);
    }
    Ok(entries)
}

fn fits(len: usize, pointer: &str) -> Result<(), Invalid> {
    match len {
        1..=MAX_LIST => Ok(()),
        0 => Err(Invalid::rule(
            pointer,
            "is empty: leave it out where it should not limit the rule",
        )),
        _ => {
            let detail = format!("must have at most {MAX_LIST} entries");
            Err(Invalid::rule(pointer, detail))
        }
    }
}

fn object_name(name: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match (1..=MAX_OBJECT_NAME).contains(&name.len()) && name.bytes().all(plain) {
        true => Ok(name.to_owned()),
        false => Err(format!("must be 1 to {MAX_OBJECT_NAME} of [A-Za-z0-9_-]")),
    }
}

/// Whether a text can stand in tables and records as a name.
fn is_name(text: &str) -> bool {
    let tidy = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control);
    tidy && text.chars().count() <= MAX_NAME
}

fn name_advice() -> String {
    format!("must be 1 to {MAX_NAME} characters, without line breaks or spaces at its ends")
}

/// What is read as an object has to be one: serde would take a list for its fields in order.
fn is_object(document: &Value, pointer: &str) -> Result<(), Invalid> {
    match document.pointer(pointer) {
        None | Some(Value::Object(_)) => Ok(()),
        Some(Value::Null) if !pointer.is_empty() => Ok(()),
        Some(_) => Err(Invalid::rule(pointer, "must be an object")),
    }
}

fn part<T: DeserializeOwned>(value: &Value, pointer: &str) -> Result<T, Invalid> {
    written::read(value, pointer).map_err(|mistake| Invalid::rule(mistake.pointer, mistake.detail))
}
