//! A form as an operation's input: controls are named by the dotted path of the field, and their
//! texts become what the published schema says the field is.
//!
//! Whether the input fits is then for the operation to say, in the words REST says it in.

use axum::body::Body;
use serde_json::{Map, Value};

use crate::broker::Trouble;
use crate::domain::strict;
use crate::entry::gate;

/// Controls that are no fields of the operation. `many` names a field that is a list, however many
/// of its boxes are ticked.
const OWN: [&str; 8] = [
    "op", "token", "once", "next", "then", "each", "many", "some",
];

/// What was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form, bounded in bytes and in time.
    pub async fn read(body: Body) -> Result<Self, Trouble> {
        let bytes = gate::read_bytes(body).await;
        let bytes = bytes.map_err(|error| Trouble::InvalidRequest(error.to_string()))?;
        let pairs = url::form_urlencoded::parse(&bytes).into_owned();
        // Browsers send line ends as the network does; what was typed has one sign.
        let plain = |(name, value): (String, String)| (name, value.replace("\r\n", "\n"));
        Ok(Self(pairs.map(plain).collect()))
    }

    /// All of it, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.0.iter();
        fields.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first text of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(found, _)| found == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// Every text of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(found, _)| found == name);
        named.map(|(_, value)| value.as_str())
    }

    /// The last text of this name: what the button says that was pressed, where a form has two.
    pub fn last(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(found, _)| found == name);
        named.next_back().map(|(_, value)| value.as_str())
    }

    /// The input that the fields make under this schema. Where `null_matters`, what was emptied is
    /// null and not left out.
    pub fn input(&self, schema: &Value, null_matters: bool) -> Result<Map<String, Value>, String> {
        let mut input = Value::Object(Map::new());
        let mut done: Vec<&str> = Vec::new();
        for (name, _) in &self.0 {
            if OWN.contains(&name.as_str()) || done.contains(&name.as_str()) {
                continue;
            }
            done.push(name);
            let texts: Vec<&str> = self.all(name).collect();
            let mut lists = self.all("many").chain(self.all("some"));
            if lists.any(|list| list == name) {
                continue;
            }
            let place = place(schema, name);
            let needed = null_matters || is_needed(schema, name);
            if let Some(value) = read(name, place, &texts, needed)? {
                set(&mut input, name, value);
            }
        }
        for name in self.all("many") {
            set(&mut input, name, Value::Array(words(self.all(name))));
        }
        // A list that nobody need fill in is none then.
        for name in self.all("some") {
            let listed = words(self.all(name));
            if !listed.is_empty() {
                set(&mut input, name, Value::Array(listed));
            }
        }
        Ok(input.as_object().cloned().unwrap_or_default())
    }
}

/// The schema of the field with this dotted name; nothing where a schema leaves it open.
fn place<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let mut here = schema;
    for step in name.split('.') {
        let named = here.get("properties").and_then(|all| all.get(step));
        here = named.or_else(|| {
            here.get("additionalProperties")
                .filter(|any| any.is_object())
        })?;
    }
    Some(here)
}

/// Digits of Persian and Arabic as programs write them: pages show them, so people type them.
pub(super) fn latin(text: &str) -> String {
    let digit = |letter: char, zero: char| {
        let value = u32::from(letter).checked_sub(u32::from(zero))?;
        char::from_digit(value, 10)
    };
    let plain = |letter: char| digit(letter, '\u{6f0}').or_else(|| digit(letter, '\u{660}'));
    text.chars()
        .map(|letter| plain(letter).unwrap_or(letter))
        .collect()
}

fn is_needed(schema: &Value, name: &str) -> bool {
    let needed = schema.get("required").and_then(Value::as_array);
    needed.is_some_and(|needed| needed.iter().any(|field| field == name))
}

fn is(schema: Option<&Value>, kind: &str) -> bool {
    match schema.and_then(|schema| schema.get("type")) {
        Some(Value::Array(kinds)) => kinds.iter().any(|one| one == kind),
        Some(one) => one == kind,
        None => false,
    }
}

/// The value that the texts of one control say; `None` where nothing was said.
fn read(
    name: &str,
    schema: Option<&Value>,
    texts: &[&str],
    needed: bool,
) -> Result<Option<Value>, String> {
    if is(schema, "array") {
        let object = schema.and_then(|schema| schema.get("items"));
        if is(object, "object") {
            return json(name, texts.first().copied().unwrap_or_default());
        }
        // Said outright, an empty list is one.
        if texts.last().is_some_and(|text| text.trim() == "[]") {
            return Ok(Some(Value::Array(Vec::new())));
        }
        let list = words(texts.iter().copied());
        // No list and an empty one can say different things: any tool, or none.
        return Ok(match (list.is_empty(), is(schema, "null")) {
            (false, _) | (true, false) => {
                (needed || !list.is_empty()).then_some(Value::Array(list))
            }
            (true, true) => needed.then_some(Value::Null),
        });
    }
    // The last one wins, so that a hidden `false` may stand before a box that says `true`.
    let text = texts.last().copied().unwrap_or_default();
    if text.trim().is_empty() {
        let nothing = needed && is(schema, "null");
        return Ok(nothing.then_some(Value::Null));
    }
    if is(schema, "integer") {
        let plain = latin(text.trim()).replace([',', '_', '\u{66c}'], "");
        let read = plain.parse::<i64>().map(Value::from);
        return Ok(Some(read.unwrap_or_else(|_| Value::from(text))));
    }
    if is(schema, "boolean") {
        let read = text.trim().parse::<bool>().map(Value::from);
        return Ok(Some(read.unwrap_or_else(|_| Value::from(text))));
    }
    if is(schema, "number") {
        let read = strict::parse(text.trim().as_bytes());
        return Ok(Some(read.unwrap_or_else(|_| Value::from(text))));
    }
    if is(schema, "object") {
        return json(name, text);
    }
    let open = |schema: &Value| schema.get("type").is_none() && schema.get("enum").is_none();
    if schema.is_none_or(open) {
        // A document may stand here, or a word.
        return match (
            strict::parse(text.as_bytes()),
            text.trim().starts_with(['{', '[']),
        ) {
            (Ok(value), _) => Ok(Some(value)),
            (Err(_), true) => json(name, text),
            (Err(_), false) => Ok(Some(Value::from(text))),
        };
    }
    Ok(Some(Value::from(text)))
}

/// Each part between commas or on lines, of all texts, once.
fn words<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Value> {
    let parts = texts.flat_map(|text| text.split([',', '\n']));
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    let mut list: Vec<Value> = Vec::new();
    for part in parts.map(Value::from) {
        if !list.contains(&part) {
            list.push(part);
        }
    }
    list
}

fn json(name: &str, text: &str) -> Result<Option<Value>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let value = strict::parse(text.as_bytes());
    value
        .map(Some)
        .map_err(|error| format!("`{name}` is not readable as JSON: {error}"))
}

fn set(input: &mut Value, name: &str, value: Value) {
    let mut here = input;
    for step in name.split('.') {
        let Value::Object(map) = here else {
            return;
        };
        here = map.entry(step).or_insert_with(|| Value::Object(Map::new()));
    }
    *here = value;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn texts_become_what_the_schema_says() {
        let schema = json!({
            "properties": {
                "name": {"type": "string"},
                "limit": {"type": ["integer", "null"]},
                "other_limit": {"type": ["integer", "null"]},
                "yes": {"type": ["boolean", "null"]},
                "list": {"type": ["array", "null"], "items": {"type": "string"}},
                "rows": {"type": "array", "items": {"type": "object"}},
                "rate": {"type": "object", "properties": {"max": {"type": "integer"}}},
                "raw": {"type": "object"},
                "any": {},
                "secrets": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
            },
            "required": ["limit"],
        });
        let sent = "token=x&op=y&name=a+b&limit=&other_limit=&yes=false&yes=true&list=a%0D%0Ab,c\
                    &rows=%5B%7B%7D%5D&rate.max=1,000&raw=%7B%22a%22%3A1%7D&nobody=knows\
                    &any.query=SELECT+1&any.rows=5&secrets.pin=0123";
        let form = Form::read(Body::from(sent)).await.unwrap();
        let input = form.input(&schema, false).unwrap();
        let expected = json!({
            "name": "a b", "limit": null, "yes": true, "list": ["a", "b", "c"],
            "rows": [{}], "rate": {"max": 1000}, "raw": {"a": 1}, "nobody": "knows", "any": {"query": "SELECT 1", "rows": 5},
            "secrets": {"pin": "0123"},
        });
        assert_eq!(Value::Object(input), expected);
        let form = Form::read(Body::from("many=any&many=none&any=a&any=b_*,a"));
        let input = form.await.unwrap().input(&schema, false).unwrap();
        let expected = json!({"any": ["a", "b_*"], "none": [], "limit": null});
        assert_eq!(input.get("any"), expected.get("any"));
        assert_eq!(input.get("none"), expected.get("none"));
        let form = Form::read(Body::from("some=any&some=none&any=a&none="));
        let input = form.await.unwrap().input(&schema, false).unwrap();
        assert_eq!(input.get("any"), Some(&json!(["a"])));
        assert_eq!(input.get("none"), None);
        let form = Form::read(Body::from("other_limit=&name=&list="));
        let input = form.await.unwrap().input(&schema, true).unwrap();
        assert_eq!(
            Value::Object(input),
            json!({"other_limit": null, "list": null})
        );
        let form = Form::read(Body::from("raw=%7B")).await.unwrap();
        assert!(form.input(&schema, false).unwrap_err().contains("`raw`"));
    }
}
