//! Where values of the arguments go: a slot that takes one, or a document with holes.
//!
//! A hole is filled with a value, never with text that is read again.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::pointer;

/// What goes into a place of the path, the query or the headers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Slot {
    /// The argument at this pointer: `"/id"`.
    Arg(String),
    /// The proposal's id: `{"$proposal": "id"}`.
    Proposal,
    /// This text: `{"$text": "open"}`.
    Text(String),
}

impl TryFrom<Value> for Slot {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let known = "a JSON Pointer like \"/id\", {\"$proposal\": \"id\"} or {\"$text\": \"...\"}";
        let single = value.as_object().and_then(single_member);
        match (&value, single) {
            (Value::String(text), _) if pointer::steps(text).is_some() => {
                Ok(Slot::Arg(text.clone()))
            }
            (_, Some(("$arg", Value::String(text)))) if pointer::steps(text).is_some() => {
                Ok(Slot::Arg(text.clone()))
            }
            (_, Some(("$proposal", Value::String(id)))) if id == "id" => Ok(Slot::Proposal),
            (_, Some(("$text", Value::String(text)))) => Ok(Slot::Text(text.clone())),
            _ => Err(format!("here belongs {known}")),
        }
    }
}

impl From<Slot> for Value {
    fn from(slot: Slot) -> Value {
        match slot {
            Slot::Arg(pointer) => Value::String(pointer),
            Slot::Proposal => json!({"$proposal": "id"}),
            Slot::Text(text) => json!({"$text": text}),
        }
    }
}

/// A document in which `{"$arg": "/pointer"}` stands for an argument and `{"$proposal": "id"}` for
/// the proposal's id. Members and items whose argument is absent are left out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Template(Value);

/// How deep a template may be nested.
const MAX_TEMPLATE_DEPTH: usize = 32;

impl Template {
    /// The document, with its holes filled; `None` if all of it is an absent argument.
    pub fn filled(&self, args: &Value, proposal: &str) -> Option<Value> {
        filled(&self.0, args, proposal)
    }

    /// Whether the proposal's id is in it.
    pub fn names_proposal(&self) -> bool {
        names_proposal(&self.0)
    }

    /// What it says in every call: texts and numbers, each with the names that lead to it.
    pub fn constants(&self) -> Vec<(Vec<&str>, &Value)> {
        let mut found = Vec::new();
        constants(&self.0, &mut Vec::new(), &mut found);
        found
    }

    /// Its holes: the names that lead to each, and its pointer.
    pub fn holes(&self) -> Vec<(Vec<&str>, &str)> {
        let mut found = Vec::new();
        holes(&self.0, &mut Vec::new(), &mut found);
        found
    }

    /// The pointers of its holes.
    pub fn pointers(&self) -> Vec<&str> {
        let mut found = Vec::new();
        collect(&self.0, &mut found);
        found
    }
}

impl TryFrom<Value> for Template {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        understood(&value, 0)?;
        Ok(Self(value))
    }
}

impl From<Template> for Value {
    fn from(template: Template) -> Value {
        template.0
    }
}

fn single_member(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut members = map.iter();
    match (members.next(), members.next()) {
        (Some((key, value)), None) => Some((key, value)),
        _ => None,
    }
}

fn understood(value: &Value, depth: usize) -> Result<(), String> {
    if depth > MAX_TEMPLATE_DEPTH {
        return Err(format!("nested deeper than {MAX_TEMPLATE_DEPTH} levels"));
    }
    match value {
        Value::Object(map) => {
            if let Some((key, inner)) = single_member(map)
                && let Some(known) = hole(key, inner)
            {
                return known;
            }
            match map.keys().find(|key| key.starts_with('$')) {
                Some(key) => Err(format!(
                    "`{key}` has no meaning here: write {{\"$arg\": \"/pointer\"}} or \
                     {{\"$proposal\": \"id\"}} alone"
                )),
                None => map
                    .values()
                    .try_for_each(|item| understood(item, depth + 1)),
            }
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| understood(item, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Whether a lone member is a hole, and a good one.
fn hole(key: &str, inner: &Value) -> Option<Result<(), String>> {
    let good = match key {
        "$arg" => inner.as_str().and_then(pointer::steps).is_some(),
        "$proposal" => inner == "id",
        _ => return None,
    };
    Some(match good {
        true => Ok(()),
        false if key == "$arg" => Err("`$arg` takes a JSON Pointer like \"/id\"".to_owned()),
        false => Err("`$proposal` takes \"id\"".to_owned()),
    })
}

fn filled(value: &Value, args: &Value, proposal: &str) -> Option<Value> {
    Some(match value {
        Value::Object(map) => {
            match single_member(map) {
                Some(("$arg", Value::String(at))) => return args.pointer(at).cloned(),
                Some(("$proposal", _)) => return Some(Value::String(proposal.to_owned())),
                _ => {}
            }
            let members = map.iter();
            let members = members
                .filter_map(|(key, item)| Some((key.clone(), filled(item, args, proposal)?)));
            Value::Object(members.collect())
        }
        Value::Array(items) => {
            let items = items.iter();
            items
                .filter_map(|item| filled(item, args, proposal))
                .collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    })
}

fn names_proposal(value: &Value) -> bool {
    match value {
        Value::Object(map) => match single_member(map) {
            Some(("$proposal", _)) => true,
            _ => map.values().any(names_proposal),
        },
        Value::Array(items) => items.iter().any(names_proposal),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn holes<'a>(value: &'a Value, at: &mut Vec<&'a str>, found: &mut Vec<(Vec<&'a str>, &'a str)>) {
    match value {
        Value::Object(map) => match single_member(map) {
            Some(("$arg", Value::String(pointer))) => found.push((at.clone(), pointer)),
            _ => {
                for (name, item) in map {
                    at.push(name);
                    holes(item, at, found);
                    at.pop();
                }
            }
        },
        Value::Array(items) => items.iter().for_each(|item| holes(item, at, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn constants<'a>(
    value: &'a Value,
    at: &mut Vec<&'a str>,
    found: &mut Vec<(Vec<&'a str>, &'a Value)>,
) {
    match value {
        Value::Object(map) => match single_member(map) {
            Some(("$arg" | "$proposal", _)) => {}
            _ => {
                for (name, item) in map {
                    at.push(name);
                    constants(item, at, found);
                    at.pop();
                }
            }
        },
        Value::Array(items) => items.iter().for_each(|item| constants(item, at, found)),
        Value::Number(_) | Value::String(_) => found.push((at.clone(), value)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => match single_member(map) {
            Some(("$arg", Value::String(at))) => found.push(at),
            _ => map.values().for_each(|item| collect(item, found)),
        },
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
