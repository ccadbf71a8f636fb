//! Who asks at the doors of models, and the body of what he asks: a key as a bearer or as
//! `x-api-key`, the headers that are ours, and one strict reading.

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH};
use axum::http::request::Parts;
use serde_json::{Map, Value, json};

use super::super::caller::bearer;
use super::super::{Door, Problem, Visit};
use crate::broker::Trouble;
use crate::broker::requests::{Screened, Weight};
use crate::domain::principal::Principal;
use crate::entry::gate;

/// Priority where none is given.
const USUAL_PRIORITY: u8 = 50;

/// Longest name of a conversation.
const MAX_CONVERSATION: usize = 256;

/// Who asks.
pub async fn who(door: &Door, parts: &Parts) -> Result<Principal, Problem> {
    let key = key(parts).ok_or(Trouble::Unauthenticated)?;
    let who = door.broker.access.authenticate(key).await?;
    if let Some(visit) = parts.extensions.get::<Visit>() {
        visit.charge(door.broker.places(), &who)?;
    }
    Ok(who)
}

/// The key, if there is exactly one: of two that differ, nobody knows which one a proxy in front has
/// looked at.
pub fn key(parts: &Parts) -> Option<&str> {
    let mut named = parts.headers.get_all("x-api-key").iter();
    let first = named.next();
    if named.next().is_some() {
        return None;
    }
    let by_header = match first {
        Some(value) => Some(value.to_str().ok()?.trim()),
        None => None,
    };
    if !parts.headers.contains_key(AUTHORIZATION) {
        return by_header;
    }
    let by_bearer = bearer(parts)?;
    match by_header {
        Some(other) if other != by_bearer => None,
        Some(_) | None => Some(by_bearer),
    }
}

/// What the headers say that are ours.
#[derive(Clone, Debug)]
pub struct Hints {
    /// How urgent it is.
    pub priority: u8,
    /// Secrets are put back in the answer.
    pub restore: bool,
    /// What the caller finds it by again.
    pub conversation: Option<String>,
}

impl Hints {
    /// What the caller finds it by again, beside what he wrote himself.
    pub fn beside(&self, metadata: Option<Value>) -> Option<Value> {
        let Some(name) = &self.conversation else {
            return metadata;
        };
        let mut found = metadata.unwrap_or_else(|| json!({}));
        if let Some(fields) = found.as_object_mut() {
            let named = || Value::from(name.as_str());
            fields.entry("conversation").or_insert_with(named);
        }
        Some(found)
    }
}

/// Reads them.
pub fn hints(headers: &HeaderMap) -> Result<Hints, Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let priority = match text("hundi-priority") {
        None => USUAL_PRIORITY,
        Some(text) => {
            let number = text.parse::<u8>().ok().filter(|number| *number <= 100);
            let wrong = || Problem::invalid("`Hundi-Priority` is a whole number from 0 to 100");
            number.ok_or_else(wrong)?
        }
    };
    let restore = match text("hundi-restore") {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(Problem::invalid("`Hundi-Restore` is 1 or 0")),
    };
    let conversation = text("hundi-conversation").map(str::to_owned);
    let fits = |name: &String| !name.is_empty() && name.len() <= MAX_CONVERSATION;
    if !conversation.as_ref().is_none_or(fits) {
        return Err(Problem::invalid(format!(
            "`Hundi-Conversation` is a name of 1 to {MAX_CONVERSATION} bytes"
        )));
    }
    Ok(Hints {
        priority,
        restore,
        conversation,
    })
}

/// A body that was read.
pub struct Written {
    /// Its fields.
    pub map: Map<String, Value>,
    /// What was looked over.
    pub screened: Screened,
    /// What it weighs.
    pub weight: Weight,
}

/// The body, read strictly and looked over for secrets. Room for it is found before it is read.
pub async fn body(
    door: &Door,
    who: &Principal,
    parts: &Parts,
    body: Body,
) -> Result<Written, Problem> {
    let requests = &door.broker.requests;
    let length = parts.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    let (most, weight) = requests.weigh_body(who, length)?;
    let mut value = gate::read_within(body, &(), most).await?;
    gate::says_json(&parts.headers)?;
    let screened = requests.screen(who, &mut value).await?;
    match value {
        Value::Object(map) => Ok(Written {
            map,
            screened,
            weight,
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Problem::invalid("the body must be a JSON object"))
        }
    }
}

/// Head and body apart.
pub fn apart(request: Request) -> (Parts, Body) {
    request.into_parts()
}
