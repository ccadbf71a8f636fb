//! Secrets in JSON: where they are, as a JSON pointer, and how to change the texts they are in.
//!
//! Every text is looked at, names of fields too, and numbers, since a card can be written as one. A
//! value is also judged by the name of its field. A pointer that would itself give a secret away
//! names the rule instead of the field.

use serde_json::{Map, Value};

use super::{Find, assigned, find};

/// What of a document a find is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// A text or a number.
    Value,
    /// The name of a field; the pointer is that of the object.
    Name,
}

/// One find and where it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Placed {
    /// JSON pointer (RFC 6901) of the value.
    pub pointer: String,
    /// What of it.
    pub part: Part,
    /// The find; its places are bytes of the text.
    pub find: Find,
}

/// Every find of a document, in its order.
pub fn find_in(value: &Value) -> Vec<Placed> {
    let mut placed = Vec::new();
    look(value, "", None, &mut placed);
    placed
}

fn look(value: &Value, pointer: &str, name: Option<&str>, placed: &mut Vec<Placed>) {
    let mut place = |part, finds: Vec<Find>| {
        placed.extend(finds.into_iter().map(|find| Placed {
            pointer: pointer.to_owned(),
            part,
            find,
        }));
    };
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => place(Part::Value, in_text(name, &number.to_string())),
        Value::String(text) => place(Part::Value, in_text(name, text)),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                look(item, &format!("{pointer}/{index}"), name, placed);
            }
        }
        Value::Object(map) => {
            for (field, value) in map {
                let finds = find(field.as_bytes());
                let under = below(pointer, field, &finds);
                placed.extend(finds.into_iter().map(|find| Placed {
                    pointer: pointer.to_owned(),
                    part: Part::Name,
                    find,
                }));
                look(value, &under, Some(field), placed);
            }
        }
    }
}

/// What becomes of a text with finds: it gets the pointer, the part, the text and its finds, and
/// answers the new text, or `None` to leave it.
pub type Change<'a> = &'a mut dyn FnMut(&str, Part, &str, &[Find]) -> Option<String>;

/// Changes every text that has finds. A number that is changed becomes a text.
pub fn change(value: &mut Value, change: Change<'_>) {
    changed(value, "", None, change);
}

fn changed(value: &mut Value, pointer: &str, name: Option<&str>, change: Change<'_>) {
    let text = match value {
        Value::Null | Value::Bool(_) => return,
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                changed(item, &format!("{pointer}/{index}"), name, change);
            }
            return;
        }
        Value::Object(map) => return fields_changed(map, pointer, change),
        Value::Number(number) => &number.to_string(),
        Value::String(text) => text,
    };
    let finds = in_text(name, text);
    if finds.is_empty() {
        return;
    }
    if let Some(new) = change(pointer, Part::Value, text, &finds) {
        *value = Value::String(new);
    }
}

fn fields_changed(map: &mut Map<String, Value>, pointer: &str, change: Change<'_>) {
    let mut renamed = Vec::new();
    for (field, value) in map.iter_mut() {
        let finds = find(field.as_bytes());
        changed(value, &below(pointer, field, &finds), Some(field), change);
        if finds.is_empty() {
            continue;
        }
        if let Some(new) = change(pointer, Part::Name, field, &finds) {
            renamed.push((field.clone(), new));
        }
    }
    for (old, new) in renamed {
        if let Some(value) = map.remove(&old) {
            map.insert(new, value);
        }
    }
}

/// The finds of a text, and the text as a whole where only the name of its field gives it away.
fn in_text(name: Option<&str>, text: &str) -> Vec<Find> {
    let finds = find(text.as_bytes());
    let rule = name.and_then(|name| assigned::named(name, text));
    match rule {
        Some(rule) if finds.is_empty() => vec![Find {
            rule,
            start: 0,
            end: text.len(),
        }],
        _ => finds,
    }
}

fn below(pointer: &str, field: &str, finds: &[Find]) -> String {
    match finds.first() {
        Some(find) => format!("{pointer}/[secret:{}]", find.rule),
        None => format!("{pointer}/{}", field.replace('~', "~0").replace('/', "~1")),
    }
}
