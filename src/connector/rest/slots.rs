//! What goes into the slots of a request, each spelt for the slot it goes into.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::connector::Malformed;
use crate::domain::tools::{Slot, header_value};

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What slots are filled with.
#[derive(Clone, Copy)]
pub(super) struct Filled<'a> {
    pub(super) args: &'a Value,
    pub(super) proposal: &'a str,
}

/// A text for a path or query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

impl Filled<'_> {
    /// The single value of a slot; `None` where its argument is absent or null.
    pub(super) fn single(self, slot: &Slot, place: &str) -> Result<Option<String>, Malformed> {
        match self.values(slot, place)?.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            _ => Err(Malformed(format!("{place} takes one value, not a list"))),
        }
    }

    /// The values of a slot: none, one, or those of a list.
    pub(super) fn values(self, slot: &Slot, place: &str) -> Result<Vec<String>, Malformed> {
        match slot {
            Slot::Text(text) => Ok(vec![text.clone()]),
            Slot::Proposal => Ok(vec![self.proposal.to_owned()]),
            Slot::Arg(pointer) => match self.args.pointer(pointer) {
                None | Some(Value::Null) => Ok(Vec::new()),
                Some(Value::Array(items)) => items.iter().map(|item| scalar(item, place)).collect(),
                Some(value) => Ok(vec![scalar(value, place)?]),
            },
        }
    }
}

fn scalar(value: &Value, place: &str) -> Result<String, Malformed> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            let takes = "takes texts, numbers and booleans";
            Err(Malformed(format!("{place} {takes}")))
        }
    }
}

/// The query, without its question mark.
pub(super) fn query(slots: &[(String, Slot)], filled: Filled<'_>) -> Result<String, Malformed> {
    let mut pairs = Vec::new();
    for (name, slot) in slots {
        let place = format!("the query's `{name}`");
        for value in filled.values(slot, &place)? {
            pairs.push(format!("{}={}", encoded(name), encoded(&value)));
        }
    }
    Ok(pairs.join("&"))
}

/// Headers. What would end the line is refused, not repaired.
pub(super) fn headers(
    slots: &[(String, Slot)],
    filled: Filled<'_>,
) -> Result<Vec<(String, String)>, Malformed> {
    let mut headers = Vec::new();
    for (name, slot) in slots {
        let place = format!("the header `{name}`");
        let Some(value) = filled.single(slot, &place)? else {
            continue;
        };
        if !header_value(&value) {
            let takes = "takes printable ASCII of at most 4096 bytes, without line breaks";
            return Err(Malformed(format!("{place} {takes}")));
        }
        headers.push((name.to_ascii_lowercase(), value));
    }
    Ok(headers)
}

/// An object as a form.
pub(super) fn form(document: &Value) -> Result<String, Malformed> {
    let Value::Object(fields) = document else {
        return Err(Malformed("a form is an object of fields".to_owned()));
    };
    let mut pairs = Vec::new();
    for (name, value) in fields {
        let place = format!("the form's `{name}`");
        let values = match value {
            Value::Null => Vec::new(),
            Value::Array(items) => items
                .iter()
                .map(|item| scalar(item, &place))
                .collect::<Result<_, _>>()?,
            one @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                vec![scalar(one, &place)?]
            }
        };
        let pair = |value: String| format!("{}={}", encoded(name), encoded(&value));
        pairs.extend(values.into_iter().map(pair));
    }
    Ok(pairs.join("&"))
}
