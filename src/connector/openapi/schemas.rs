//! Schemas of OpenAPI as JSON Schema 2020-12, with references followed in place.
//!
//! Only keywords that mean the same in both are kept. Each schema has a budget of parts: a small
//! description can refer to itself so often that it would not fit into memory.

use serde_json::{Map, Value, json};

/// Deepest nesting, references included.
const MAX_DEPTH: usize = 20;
/// Most parts of one schema.
const MAX_PARTS: usize = 3_000;
/// Longest chain of references.
const MAX_CHAIN: usize = 20;

/// Keywords that are kept as they are.
const PLAIN: [&str; 18] = [
    "title",
    "description",
    "default",
    "const",
    "enum",
    "format",
    "minimum",
    "maximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "required",
    "type",
];

/// Converts schemas of one document.
pub(super) struct Schemas<'a> {
    document: &'a Value,
    /// The references that are being followed.
    open: Vec<String>,
    parts: usize,
    /// Something was cut off.
    pub(super) cut: bool,
}

impl<'a> Schemas<'a> {
    pub(super) fn of(document: &'a Value) -> Self {
        Self {
            document,
            open: Vec::new(),
            parts: 0,
            cut: false,
        }
    }

    /// What a value is, or refers to.
    pub(super) fn target<'b>(&self, value: &'b Value) -> Result<&'b Value, String>
    where
        'a: 'b,
    {
        let mut here = value;
        for _ in 0..MAX_CHAIN {
            let Some(reference) = here.get("$ref").and_then(Value::as_str) else {
                return Ok(here);
            };
            here = self.referred(reference)?;
        }
        Err("its references go in circles".to_owned())
    }

    fn referred(&self, reference: &str) -> Result<&'a Value, String> {
        let pointer = reference
            .strip_prefix('#')
            .ok_or_else(|| format!("`{reference}` is in another document"))?;
        let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8_lossy();
        let found = self.document.pointer(&pointer);
        found.ok_or_else(|| format!("`{reference}` leads nowhere"))
    }

    /// A schema without references.
    pub(super) fn converted(&mut self, schema: &Value) -> Result<Value, String> {
        self.parts = 0;
        self.convert(schema, 0)
    }

    fn convert(&mut self, schema: &Value, depth: usize) -> Result<Value, String> {
        self.parts += 1;
        if depth > MAX_DEPTH || self.parts > MAX_PARTS {
            self.cut = true;
            return Ok(json!({}));
        }
        let Some(map) = schema.as_object() else {
            // `true` and `false` are schemas, too.
            return Ok(schema.clone());
        };
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            if self.open.iter().any(|open| open == reference) {
                self.cut = true;
                return Ok(json!({}));
            }
            let target = self.referred(reference)?;
            self.open.push(reference.to_owned());
            let converted = self.convert(target, depth + 1);
            self.open.pop();
            return converted;
        }
        let mut out = Map::new();
        for keyword in PLAIN {
            if let Some(value) = map.get(keyword) {
                out.insert(keyword.to_owned(), value.clone());
            }
        }
        limits(map, &mut out);
        self.pattern(map, &mut out);
        self.inner(map, &mut out, depth)?;
        read_only(map, &mut out);
        nullable(map, &mut out);
        Ok(Value::Object(out))
    }

    /// A pattern in another dialect is left to the API itself.
    fn pattern(&mut self, map: &Map<String, Value>, out: &mut Map<String, Value>) {
        let Some(pattern) = map.get("pattern").and_then(Value::as_str) else {
            return;
        };
        match regex::RegexBuilder::new(pattern)
            .size_limit(64 * 1024)
            .build()
        {
            Ok(_) => {
                out.insert("pattern".to_owned(), json!(pattern));
            }
            Err(_) => self.cut = true,
        }
    }

    fn inner(
        &mut self,
        map: &Map<String, Value>,
        out: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), String> {
        for keyword in ["items", "additionalProperties", "not"] {
            if let Some(inner) = map.get(keyword) {
                let inner = self.convert(inner, depth + 1)?;
                out.insert(keyword.to_owned(), inner);
            }
        }
        for keyword in ["allOf", "anyOf", "oneOf", "prefixItems"] {
            if let Some(Value::Array(branches)) = map.get(keyword) {
                let branches = branches
                    .iter()
                    .map(|branch| self.convert(branch, depth + 1));
                let branches = branches.collect::<Result<Vec<_>, _>>()?;
                out.insert(keyword.to_owned(), Value::Array(branches));
            }
        }
        if let Some(Value::Object(properties)) = map.get("properties") {
            let mut converted = Map::new();
            for (name, property) in properties {
                converted.insert(name.clone(), self.convert(property, depth + 1)?);
            }
            out.insert("properties".to_owned(), Value::Object(converted));
        }
        Ok(())
    }
}

/// 3.0 says `exclusiveMinimum: true` beside the minimum; JSON Schema has the number itself there.
fn limits(map: &Map<String, Value>, out: &mut Map<String, Value>) {
    for (exclusive, inclusive) in [
        ("exclusiveMinimum", "minimum"),
        ("exclusiveMaximum", "maximum"),
    ] {
        match map.get(exclusive) {
            Some(Value::Bool(true)) => {
                if let Some(limit) = out.remove(inclusive) {
                    out.insert(exclusive.to_owned(), limit);
                }
            }
            Some(number @ Value::Number(_)) => {
                out.insert(exclusive.to_owned(), number.clone());
            }
            _ => {}
        }
    }
}

/// Properties that only answers have are nobody's to send.
fn read_only(map: &Map<String, Value>, out: &mut Map<String, Value>) {
    let Some(Value::Object(properties)) = map.get("properties") else {
        return;
    };
    let only_read = |name: &str| {
        let property = properties.get(name);
        property.is_some_and(|property| property.get("readOnly") == Some(&Value::Bool(true)))
    };
    if let Some(Value::Object(kept)) = out.get_mut("properties") {
        kept.retain(|name, _| !only_read(name));
    }
    if let Some(Value::Array(required)) = out.get_mut("required") {
        required.retain(|name| !only_read(name.as_str().unwrap_or_default()));
    }
}

/// 3.0 says `nullable` where JSON Schema lists `null` among the types.
fn nullable(map: &Map<String, Value>, out: &mut Map<String, Value>) {
    if map.get("nullable") != Some(&Value::Bool(true)) {
        return;
    }
    if let Some(Value::String(kind)) = out.get("type").cloned() {
        out.insert("type".to_owned(), json!([kind, "null"]));
    }
    if let Some(Value::Array(values)) = out.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}

/// Whether a value that keeps to a schema can be of this type. Where nothing is said it is none of
/// the composed ones: a parameter of a description without a type is a text.
pub(super) fn may_be(schema: &Value, kind: &str) -> bool {
    let said = match schema.get("type") {
        Some(Value::String(said)) => said == kind,
        Some(Value::Array(said)) => said.iter().any(|said| said == kind),
        _ => match kind {
            "object" => schema.get("properties").is_some(),
            _ => schema.get("items").is_some(),
        },
    };
    let branches = ["allOf", "anyOf", "oneOf"].into_iter();
    let branches = branches.filter_map(|keyword| schema.get(keyword)?.as_array());
    said || branches.flatten().any(|branch| may_be(branch, kind))
}

/// Takes what has parts inside out of a form's fields, and says what. Fails if it is required.
pub(super) fn flatten(schema: &mut Value) -> Result<Vec<String>, String> {
    let required: Vec<String> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    let Some(Value::Object(properties)) = schema.get_mut("properties") else {
        return Ok(Vec::new());
    };
    let composed = |field: &Value| {
        let of_lists = field.get("items");
        may_be(field, "object")
            || of_lists.is_some_and(|items| may_be(items, "object") || may_be(items, "array"))
    };
    let dropped: Vec<String> = properties
        .iter()
        .filter(|(_, field)| composed(field))
        .map(|(name, _)| name.clone())
        .collect();
    properties.retain(|name, _| !dropped.contains(name));
    match dropped.iter().find(|name| required.contains(name)) {
        Some(name) => Err(format!("its form needs `{name}`, which has parts inside")),
        None => Ok(dropped),
    }
}
