//! Reads an operation's input by the schema that is published for it.
//!
//! One schema is told to clients and holds here, so neither can be stricter than the other. What
//! does not fit is said in words that name the field and what it should be. The value is never
//! repeated: it may be a secret, and it may be long.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, ValidationError, Validator};
use serde_json::{Map, Value};

use crate::domain::nearest::nearest;

/// Most complaints told at once.
const MAX_TOLD: usize = 4;
/// Longest name of a caller's that is repeated, in characters.
const MAX_NAME_CHARS: usize = 40;

/// A schema, ready to check with.
pub struct Reader {
    schema: Value,
    compiled: Result<Validator, String>,
}

impl Reader {
    /// Compiles a schema of ours.
    pub fn of(schema: Value) -> Self {
        let compiled = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .build(&schema)
            .map_err(|error| error.to_string());
        Self { schema, compiled }
    }

    /// As it is published.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Says what does not fit, or nothing.
    pub fn check(&self, input: &Value) -> Result<(), String> {
        let compiled = self.compiled.as_ref().map_err(|why| {
            format!("this cannot be read at present, because its own schema is wrong: {why}")
        })?;
        if compiled.is_valid(input) {
            return Ok(());
        }
        let told = compiled.iter_errors(input).take(MAX_TOLD);
        let told: Vec<String> = told.map(|error| self.words(input, &error)).collect();
        Err(told.join("; "))
    }

    fn words(&self, input: &Value, error: &ValidationError<'_>) -> String {
        let (pointer, kind) = (error.instance_path().as_str(), error.kind());
        if let ValidationErrorKind::AdditionalProperties { unexpected } = kind {
            return self.stranger(pointer, unexpected.first());
        }
        // What the library says of a field where there is none at all.
        if let ValidationErrorKind::FalseSchema = kind {
            let fields = input.pointer(pointer).and_then(Value::as_object);
            return self.stranger(pointer, fields.and_then(|fields| fields.keys().next()));
        }
        if let ValidationErrorKind::Required { property } = kind {
            let name = property.as_str().unwrap_or_default();
            return format!("`{name}` is missing{}", inside(pointer));
        }
        // All the others say that a value is not what its schema describes.
        let expected = self.at(pointer).map_or_else(elsewhere, described);
        match pointer {
            "" => format!("{expected} belongs here"),
            pointer => format!("`{}` must be {expected}", dotted(pointer)),
        }
    }

    /// A field that is not known at this place, what may have been meant, and what is known.
    fn stranger(&self, pointer: &str, name: Option<&String>) -> String {
        let name = name.map_or("", String::as_str).chars();
        let name: String = name.take(MAX_NAME_CHARS).collect();
        let known = self.known(pointer);
        let meant = nearest(&name, known.iter().copied());
        let meant = meant.map_or_else(String::new, |meant| format!(" (did you mean `{meant}`?)"));
        let takes = match known.is_empty() {
            true => "none".to_owned(),
            false => known.join(", "),
        };
        let (name, place) = (name.escape_debug(), inside(pointer));
        format!("there is no field `{name}`{place}{meant}; this takes {takes}")
    }

    fn known(&self, pointer: &str) -> Vec<&str> {
        let properties = self.at(pointer).and_then(|schema| schema.get("properties"));
        let names = properties.and_then(Value::as_object).map(Map::keys);
        names.into_iter().flatten().map(String::as_str).collect()
    }

    /// The part of the schema that speaks of this place.
    fn at(&self, pointer: &str) -> Option<&Value> {
        let mut here = &self.schema;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let named = here.get("properties").and_then(|all| all.get(&step));
            let any = || {
                here.get("additionalProperties")
                    .filter(|any| any.is_object())
            };
            here = named.or_else(|| here.get("items")).or_else(any)?;
        }
        Some(here)
    }

    /// Spells a whole number `5.0` as `5` where an integer belongs: the schema takes both, and a
    /// Rust integer only one. What is inside a field stays as it was sent.
    pub fn settle(&self, input: &mut Value) {
        let fields = input.as_object_mut().into_iter().flatten();
        for (field, value) in fields.filter(|(_, value)| value.is_f64()) {
            let named = self.schema.get("properties").and_then(|all| all.get(field));
            let whole = format!("{value}");
            let whole = whole
                .strip_suffix(".0")
                .and_then(|text| text.parse::<i64>().ok());
            if let (Some(schema), Some(whole)) = (named, whole)
                && kinds(schema).iter().any(|kind| kind == "integer")
            {
                *value = whole.into();
            }
        }
    }

    /// A text out of a path or a query, as the type of its field. What cannot be read stays a text,
    /// and is then told to be none of that type. False if that is so.
    pub fn convert(&self, field: &str, text: &mut Value) -> bool {
        let named = self.schema.get("properties").and_then(|all| all.get(field));
        let kinds = named.map_or(&[][..], |schema| kinds(schema));
        let read = |kind: &Value| match (kind.as_str(), text.as_str()) {
            (Some("integer"), Some(text)) => text.parse::<i64>().ok().map(Value::from),
            (Some("boolean"), Some(text)) => text.parse::<bool>().ok().map(Value::from),
            _ => None,
        };
        if let Some(value) = kinds.iter().find_map(read) {
            *text = value;
            return true;
        }
        kinds.is_empty() || kinds.iter().any(|kind| kind == "string")
    }
}

fn inside(pointer: &str) -> String {
    match pointer {
        "" => String::new(),
        pointer => format!(" in `{}`", dotted(pointer)),
    }
}

fn kinds(schema: &Value) -> &[Value] {
    match schema.get("type") {
        Some(Value::Array(kinds)) => kinds,
        Some(kind) => std::slice::from_ref(kind),
        None => &[],
    }
}

/// What a value has to be, in words.
fn described(schema: &Value) -> String {
    if let Some(words) = schema.get("title").and_then(Value::as_str) {
        return words.to_owned();
    }
    if let Some(options) = schema.get("enum").and_then(Value::as_array) {
        let options: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
        return format!("one of {}", options.join(", "));
    }
    let number = |name: &str| schema.get(name).and_then(Value::as_i64);
    let kind = kinds(schema).iter().filter_map(Value::as_str);
    let kind = kind.into_iter().find(|kind| *kind != "null");
    match kind {
        Some("integer") => format!(
            "an integer{}",
            range(number("minimum"), number("maximum"), "")
        ),
        Some("string") => {
            let bounds = range(number("minLength"), number("maxLength"), " characters");
            let form = schema.get("pattern").and_then(Value::as_str);
            let form = form.map_or_else(String::new, |form| format!(" of the form `{form}`"));
            format!("a string{bounds}{form}")
        }
        Some("array") => {
            let bounds = range(number("minItems"), number("maxItems"), " items");
            let items = schema.get("items").map_or("anything".to_owned(), described);
            format!("an array{bounds}, each {items}")
        }
        Some("object") => "a JSON object".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some(kind) => format!("a {kind}"),
        None => elsewhere(),
    }
}

/// Where it is told what a value has to be that no words here describe.
fn elsewhere() -> String {
    "what `/openapi.json` says of it".to_owned()
}

fn range(least: Option<i64>, most: Option<i64>, unit: &str) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!(" from {least} to {most}{unit}"),
        (Some(least), None) => format!(" of at least {least}{unit}"),
        (None, Some(most)) => format!(" of at most {most}{unit}"),
        (None, None) => String::new(),
    }
}

/// `/transfers/0/amount` as people write it.
fn dotted(pointer: &str) -> String {
    let mut name = String::new();
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        if step.bytes().all(|byte| byte.is_ascii_digit()) {
            name.push_str(&format!("[{step}]"));
        } else {
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&step);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reader() -> Reader {
        Reader::of(json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 3},
                "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": 500},
                "deep": {"type": ["boolean", "null"]},
                "state": {"type": ["string", "null"], "enum": ["held", "allowed", null]},
                "list": {"type": "array", "items": {"type": "string"}},
                "agent": {"type": "string", "pattern": "^[a-z]+$", "title": "an agent's id"},
                "code": {"type": "string", "pattern": "^[A-Z]{3}$"},
                "any": {"type": "object", "additionalProperties": {"type": "object"}},
                "sums": {"type": "array", "items": {
                    "type": "object", "properties": {"per": {"type": "string"}},
                    "required": ["per"], "additionalProperties": false,
                }},
            },
            "required": ["name"],
            "additionalProperties": false,
        }))
    }

    #[test]
    #[rustfmt::skip]
    fn what_does_not_fit_is_told_by_its_name_and_never_by_its_value() {
        let cases = [
            (json!([]),                                     "a JSON object belongs here"),
            (json!({}),                                     "`name` is missing"),
            (json!({"name": null}),                         "`name` must be a string of at most 3 characters"),
            (json!({"name": "secret"}),                     "`name` must be a string of at most 3 characters"),
            (json!({"name": "a", "nmae": "secret"}),        "there is no field `nmae` (did you mean `name`?); this takes agent, any, code"),
            (json!({"name": "a", "limit": 501}),            "`limit` must be an integer from 1 to 500"),
            (json!({"name": "a", "limit": "secret"}),       "`limit` must be an integer from 1 to 500"),
            (json!({"name": "a", "deep": "secret"}),        "`deep` must be true or false"),
            (json!({"name": "a", "state": "secret"}),       "`state` must be one of held, allowed"),
            (json!({"name": "a", "list": "secret"}),        "`list` must be an array, each a string"),
            (json!({"name": "a", "list": ["a", 5]}),        "`list[1]` must be a string"),
            (json!({"name": "a", "agent": "SECRET"}),       "`agent` must be an agent's id"),
            (json!({"name": "a", "code": "secret"}),        "`code` must be a string of the form `^[A-Z]{3}$`"),
            (json!({"name": "a", "any": {"x": "secret"}}),  "`any.x` must be a JSON object"),
            (json!({"name": "a", "sums": [{"per": 1}]}),    "`sums[0].per` must be a string"),
            (json!({"name": "a", "sums": [{}]}),            "`per` is missing in `sums[0]`"),
            (json!({"limit": 0, "name": 5}),                "; "),
        ];
        for (input, words) in cases {
            let told = reader().check(&input).unwrap_err();
            assert!(told.contains(words), "{input}: {told}");
            assert!(!told.to_lowercase().contains("secret"), "{told}");
        }
        for fits in [json!({"name": "a"}), json!({"name": "a", "limit": null, "state": null})] {
            assert_eq!(reader().check(&fits), Ok(()), "{fits}");
        }
    }

    #[test]
    fn where_nothing_is_taken_a_field_is_told_by_its_name_as_well() {
        let nothing = Reader::of(json!({"type": "object", "additionalProperties": false}));
        let told = nothing.check(&json!({"x": "secret"}));
        assert_eq!(
            told,
            Err("there is no field `x`; this takes none".to_owned())
        );
    }

    #[test]
    fn texts_of_a_query_become_what_their_field_is() {
        let cases = [
            ("limit", "5", json!(5), true),
            ("limit", "x", json!("x"), false),
            ("deep", "true", json!(true), true),
            ("name", "5", json!("5"), true),
            ("unknown", "5", json!("5"), true),
        ];
        for (field, text, expected, fits) in cases {
            let mut value = json!(text);
            assert_eq!(reader().convert(field, &mut value), fits, "{field} {text}");
            assert_eq!(value, expected, "{field} {text}");
        }
    }

    #[test]
    fn a_long_name_is_not_repeated_in_full() {
        let mut input = json!({"name": "a"});
        input["x".repeat(1000)] = json!(1);
        assert!(reader().check(&input).unwrap_err().len() < 200);
    }
}
