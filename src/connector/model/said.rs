//! Small readers of JSON that nobody vouches for.

use serde_json::{Map, Value, json};

use super::Malformed;
use crate::domain::requests::ask::{Ask, Content, Message, Role};

/// A text at a pointer, if there is one.
pub fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// A text that says something.
pub fn words<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    text(value, pointer).filter(|text| !text.is_empty())
}

/// A count, if it is one. What is negative, broken or text counts nothing.
pub fn count(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

/// The items of a list.
pub fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Fields that are given, and no others.
#[derive(Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more, if it is given.
    pub fn with(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Those for which the format's own words are used; ours win.
    pub fn and_extra(mut self, extra: &Map<String, Value>) -> Self {
        for (name, value) in extra {
            self.0.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// All of them; `null` stands for none.
    pub fn done(self) -> Value {
        Value::Object(self.0)
    }

    /// All of them, or nothing where there is none.
    pub fn some(self) -> Option<Value> {
        (!self.0.is_empty()).then_some(Value::Object(self.0))
    }
}

/// The fields of an object that are not among these and say something.
pub fn others<'a>(
    value: Option<&'a Value>,
    known: &'static [&'static str],
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let fields = value.and_then(Value::as_object).into_iter().flatten();
    fields.filter(|(name, value)| {
        let silent = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        !silent && !known.contains(&name.as_str())
    })
}

/// A list, if it has anything.
pub fn list<T>(items: &[T], spell: impl Fn(&T) -> Value) -> Option<Value> {
    (!items.is_empty()).then(|| items.iter().map(spell).collect())
}

/// What the system says, in one text, wherever it said so.
pub fn system(ask: &Ask) -> Option<String> {
    let said = ask
        .messages
        .iter()
        .filter(|message| message.role == Role::System);
    let said: Vec<String> = said.map(plain).collect();
    (!said.is_empty()).then(|| said.join("\n\n"))
}

/// The words of a message, without what is none.
pub fn plain(message: &Message) -> String {
    let words = message.content.iter().filter_map(|part| match part {
        Content::Text(text) => Some(text.as_str()),
        Content::ImageUrl(_)
        | Content::Image { .. }
        | Content::ToolCall { .. }
        | Content::ToolResult { .. }
        | Content::Raw(_) => None,
    });
    words.collect::<Vec<_>>().join("\n")
}

/// The arguments of a call as an object; a model may have written no JSON.
pub fn arguments(text: &str) -> Result<Value, Malformed> {
    if text.trim().is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(Value::Object(map)),
        Ok(_) | Err(_) => Err(Malformed(
            "the arguments of an earlier tool call are no JSON object".to_owned(),
        )),
    }
}
