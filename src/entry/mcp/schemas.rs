//! The JSON Schemas that tools carry: what they take and every answer they can give.
//!
//! Clients validate structured answers against the output schema, refusals and errors included,
//! so each one accepts all variants of its answer. Fields may be added to answers later, so the
//! schemas do not close the objects they describe; what goes *in* is closed.

use serde_json::{Map, Value, json};

use crate::domain::reason::Recovery;
use crate::entry::operations;

/// Input of `T_propose`, around the schema of T's own arguments.
pub fn propose_input(arguments: &Value) -> Value {
    around(operations::steps().propose.input(), arguments)
}

/// Input of `T_commit`.
pub fn commit_input(arguments: &Value) -> Value {
    around(operations::steps().commit.input(), arguments)
}

fn around(step: &Value, arguments: &Value) -> Value {
    let mut outer = taken(step, false);
    outer["properties"]["arguments"] = embedded(arguments, "#/properties/arguments");
    with_dialect(arguments, outer)
}

/// Output of `T_propose`.
pub fn propose_output() -> Value {
    told(&operations::steps().propose.output())
}

/// Output of `T_commit`.
pub fn commit_output() -> Value {
    told(&operations::steps().commit.output())
}

/// Output of a tool that passes through: what its upstream promises, or a refusal of ours.
pub fn through_output(promised: Option<&Value>) -> Value {
    let promised = promised.filter(|schema| schema["type"] == "object");
    match promised {
        None => json!({"type": "object"}),
        Some(schema) => with_dialect(
            schema,
            json!({
                "type": "object",
                "anyOf": [embedded(schema, "#/anyOf/0"), {
                    "properties": trouble(),
                    "required": TROUBLE_REQUIRED,
                }],
            }),
        ),
    }
}

/// The input of an operation, as tools carry it. A field that may be left out may be null as
/// well, which nobody needs to be told where it says the same: many clients know one type at a time.
pub fn taken(schema: &Value, null_matters: bool) -> Value {
    let mut schema = schema.clone();
    let Some(map) = schema.as_object_mut() else {
        return schema;
    };
    let fields = map.entry("properties").or_insert_with(|| json!({}));
    if !null_matters && let Some(fields) = fields.as_object_mut() {
        fields.values_mut().for_each(without_null);
    }
    schema
}

fn without_null(schema: &mut Value) {
    if let Some(kind) = schema.get_mut("type")
        && let Value::Array(kinds) = &mut *kind
    {
        kinds.retain(|kind| kind != "null");
        if let [sole] = kinds.as_slice() {
            *kind = sole.clone();
        }
    }
    if let Some(options) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        options.retain(|option| !option.is_null());
    }
}

/// The output of an operation, or a trouble.
pub fn told(schema: &Value) -> Value {
    let mut schema = schema.clone();
    one_type_each(&mut schema);
    let kinds = schema.get("anyOf").and_then(Value::as_array).cloned();
    let mut kinds = kinds.unwrap_or_else(|| vec![schema]);
    let mut properties = json!({});
    let mut required: Option<Vec<String>> = None;
    for kind in &mut kinds {
        either(&mut properties, kind["properties"].take());
        let always = kind["required"].as_array().into_iter().flatten();
        let always = always.filter_map(Value::as_str);
        let always = always.filter(|name| *name != CURSOR);
        let always: Vec<String> = always.map(str::to_owned).collect();
        required = Some(match required {
            Some(before) => before
                .into_iter()
                .filter(|name| always.contains(name))
                .collect(),
            None => always,
        });
    }
    answer(properties, &required.unwrap_or_default())
}

/// Adds the properties of another kind of the same answer. What the two spell differently is any of
/// both words, where it is words, or else anything of its type.
fn either(properties: &mut Value, more: Value) {
    let (Some(properties), Value::Object(more)) = (properties.as_object_mut(), more) else {
        return;
    };
    for (name, schema) in more {
        let Some(known) = properties.get_mut(&name).filter(|known| **known != schema) else {
            properties.insert(name, schema);
            continue;
        };
        let words = known.get("enum").cloned().zip(schema.get("enum").cloned());
        *known = json!({"type": known["type"]});
        if let Some((Value::Array(mut words), Value::Array(others))) = words {
            words.extend(others);
            known["enum"] = words.into();
        }
    }
}

/// Spells "this or null" as two schemas, where a type is a list.
fn one_type_each(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(one_type_each);
            let Some(Value::Array(kinds)) = map.get("type").cloned() else {
                return;
            };
            let mut rest = std::mem::take(map);
            let words = rest.remove("description");
            let each = kinds.into_iter().map(|kind| {
                let mut one = if kind.is_null() || kind == "null" {
                    Map::new()
                } else {
                    rest.clone()
                };
                one.insert("type".to_owned(), kind);
                Value::Object(one)
            });
            map.insert("anyOf".to_owned(), each.collect());
            map.extend(words.map(|words| ("description".to_owned(), words)));
        }
        Value::Array(items) => items.iter_mut().for_each(one_type_each),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An output schema: the answer with these fields, or a trouble.
fn answer(mut properties: Value, required: &[String]) -> Value {
    let more = trouble();
    merge(&mut properties, more);
    json!({
        "type": "object",
        "properties": properties,
        "anyOf": [{"required": required}, {"required": TROUBLE_REQUIRED}],
    })
}

/// Where an answer says how to read on. As in the protocol itself, there is none on the last page.
pub const CURSOR: &str = "next_cursor";

const TROUBLE_REQUIRED: &[&str] = &["code", "detail", "recovery"];

fn trouble() -> Value {
    json!({
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "recovery": {"type": "string", "enum": Recovery::ALL.map(Recovery::code)},
    })
}

/// A schema as it reads from inside another one, at `place`.
///
/// References to its own root (`#/...`) would otherwise point into the outer schema. A schema with
/// an `$id` is a root of its own wherever it stands.
fn embedded(schema: &Value, place: &str) -> Value {
    let mut schema = schema.clone();
    if let Some(map) = schema.as_object_mut() {
        map.remove("$schema");
        if !map.contains_key("$id") {
            rebase(&mut schema, place);
        }
    }
    schema
}

fn rebase(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match (key.as_str(), &value) {
                    ("$ref", Value::String(target)) => {
                        if let Some(path) = target.strip_prefix('#')
                            && (path.is_empty() || path.starts_with('/'))
                        {
                            *value = json!(format!("{place}{path}"));
                        }
                    }
                    // Data, not schemas: a `$ref` in there is a value.
                    ("const" | "enum" | "default" | "examples", _) => {}
                    _ => rebase(value, place),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rebase(item, place)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The dialect that the inner schema is written in has to be said at the root of the outer one.
fn with_dialect(inner: &Value, mut outer: Value) -> Value {
    if let Some(dialect) = inner.get("$schema") {
        outer["$schema"] = dialect.clone();
    }
    outer
}

fn merge(properties: &mut Value, more: Value) {
    if let (Some(properties), Value::Object(more)) = (properties.as_object_mut(), more) {
        properties.extend(more);
    }
}

/// A schema as the MCP library carries it. Anything but an object becomes the schema that accepts
/// every object, because a tool's schema must be one.
pub fn carried(schema: Value) -> std::sync::Arc<Map<String, Value>> {
    let map = match schema {
        Value::Object(mut map) => {
            map.entry("type").or_insert_with(|| json!("object"));
            map
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::from_iter([("type".to_owned(), json!("object"))])
        }
    };
    std::sync::Arc::new(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::operations::Operation;

    fn accepts(schema: &Value, value: &Value) -> bool {
        jsonschema::draft202012::new(schema)
            .unwrap()
            .is_valid(value)
    }

    #[test]
    fn references_inside_an_embedded_schema_still_resolve() {
        let inner = json!({
            "type": "object",
            "$defs": {"money": {"type": "integer", "minimum": 1}},
            "properties": {
                "amount": {"$ref": "#/$defs/money"},
                "again": {"$ref": "#"},
                "text": {"const": {"$ref": "#/$defs/money"}},
            },
            "additionalProperties": false,
        });
        let outer = propose_input(&inner);
        let given = |arguments: Value| json!({"arguments": arguments});
        assert!(accepts(
            &outer,
            &given(json!({"amount": 5, "again": {"amount": 1}}))
        ));
        assert!(!accepts(&outer, &given(json!({"amount": 0}))));
        assert!(!accepts(&outer, &given(json!({"again": {"amount": 0}}))));
        assert!(accepts(
            &outer,
            &given(json!({"text": {"$ref": "#/$defs/money"}}))
        ));
        let through = through_output(Some(&inner));
        assert!(accepts(&through, &json!({"amount": 5})));
        assert!(!accepts(&through, &json!({"amount": 0})));
        assert!(accepts(
            &through,
            &json!({"code": "c", "detail": "d", "recovery": "stop"})
        ));
    }

    #[test]
    fn a_dialect_is_said_at_the_root_only() {
        let inner = json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"});
        let outer = commit_input(&inner);
        assert_eq!(outer["$schema"], inner["$schema"]);
        assert_eq!(outer["properties"]["arguments"], json!({"type": "object"}));
    }

    #[test]
    #[rustfmt::skip]
    fn what_goes_in_is_closed() {
        let propose = propose_input(&json!({"type": "object"}));
        let commit = commit_input(&json!({"type": "object"}));
        let cases = [
            (&propose, json!({"arguments": {}}),                                                     true),
            (&propose, json!({"arguments": {}, "samples": ["a", "b"], "prompt": "p"}),               true),
            (&propose, json!({"arguments": {}, "amount": 5}),                                        false),
            (&propose, json!({"prompt": "p"}),                                                       false),
            (&commit,  json!({"proposal_id": "p", "commit_token": "t", "arguments": {}}),            true),
            (&commit,  json!({"proposal_id": "p", "commit_token": "t"}),                             false),
            (&commit,  json!({"proposal_id": "p", "commit_token": "t", "arguments": {}, "x": 1}),    false),
        ];
        for (schema, value, accepted) in cases {
            assert_eq!(accepts(schema, &value), accepted, "{value}");
        }
    }

    #[test]
    fn every_answer_the_contract_names_is_accepted() {
        let id = "0190a0a0-0000-7000-8000-000000000000";
        let hash = "0".repeat(64);
        let common = json!({
            "proposal_id": id, "tool_name": "noop", "tool_args_hash": hash,
            "composite_score": null, "findings": [],
            "signals": {"output_instability": 0.2, "numeric_variance": null, "prompt_drift": null},
        });
        let propose = [
            json!({"status": "allowed", "commit_token": "v1.a.b.c", "token_id": id,
                   "expires_at": "2026-11-20T10:00:00Z"}),
            json!({"status": "blocked", "action": "create_draft", "reason": "low_integrity",
                   "draft": {"tool": "noop", "arguments": {}}, "recovery": "fix_args",
                   "retry_after_secs": 3}),
            json!({"status": "held", "reason": "APPROVAL_REQUIRED", "recovery": "get_approval",
                   "approval": {"needed": 1, "given": 0, "by": [], "expires_at": "t"}}),
            json!({"status": "executed", "replayed": true}),
        ];
        for mut more in propose {
            merge(&mut more, common.clone());
            assert!(accepts(&propose_output(), &more), "{more}");
        }
        let original = json!({"commit_id": id, "proposal_id": id, "status": "committed",
            "outcome": "executed", "result": {"id": "x"}, "replayed": false});
        let commit = [
            json!({"status": "committed", "commit_id": id, "proposal_id": id,
                   "outcome": "executed", "result": {"any": 1}, "replayed": false}),
            json!({"status": "failed", "commit_id": id, "reason": "provider_refused",
                   "provider": {"code": "c", "description": "d"}, "recovery": "fix_args"}),
            json!({"status": "in_doubt", "commit_id": id, "recovery": "wait"}),
            json!({"status": "blocked", "reason": "nonce_replay", "detail": "d",
                   "recovery": "read_outcome", "original": original}),
        ];
        for answer in commit {
            assert!(accepts(&commit_output(), &answer), "{answer}");
        }
        let trouble = json!({"code": "invalid_arguments", "detail": "d", "recovery": "fix_args"});
        let own = operations::table().iter().map(Operation::whole_output);
        let own = own.filter(|output| output["properties"].is_object());
        let own = own.map(|output| told(&output));
        for schema in own.chain([propose_output(), commit_output()]) {
            assert!(accepts(&schema, &trouble));
            assert!(!accepts(&schema, &json!({})));
        }
    }
}
