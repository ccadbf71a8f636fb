//! The JSON Schemas that tools carry: what they take and every answer they can give.
//!
//! Clients validate structured answers against the output schema, refusals and errors included,
//! so each one accepts all variants of its answer. Fields may be added to answers later, so the
//! schemas do not close the objects they describe; what goes *in* is closed.

use serde_json::{Map, Value, json};

use crate::domain::proposal::State;
use crate::domain::reason::Recovery;
use crate::entry::fields::{
    MAX_KEY_BYTES, MAX_NAME_BYTES, MAX_PAGE, MAX_PROMPT_BYTES, MAX_SAMPLE_BYTES, MAX_SAMPLES,
};

/// Input of `T_propose`, around the schema of T's own arguments.
pub fn propose_input(arguments: &Value) -> Value {
    with_dialect(
        arguments,
        json!({
            "type": "object",
            "properties": {
                "arguments": embedded(arguments, "#/properties/arguments"),
                "prompt": {
                    "type": "string",
                    "maxLength": MAX_PROMPT_BYTES,
                    "description": "What you were asked to do, in the words you were asked in. \
                                    Numbers and ids in `arguments` are compared with it.",
                },
                "samples": {
                    "type": "array",
                    "items": {"type": "string", "maxLength": MAX_SAMPLE_BYTES},
                    "maxItems": MAX_SAMPLES,
                    "description": "Two or more independent answers of yours to the prompt. \
                                    They are compared with each other.",
                },
                "idempotency_key": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_KEY_BYTES,
                    "description": "Your name for this request. The same key with the same \
                                    arguments gives the same proposal again.",
                },
            },
            "required": ["arguments"],
            "additionalProperties": false,
        }),
    )
}

/// Input of `T_commit`.
pub fn commit_input(arguments: &Value) -> Value {
    with_dialect(
        arguments,
        json!({
            "type": "object",
            "properties": {
                "proposal_id": proposal_id(),
                "commit_token": {
                    "type": "string",
                    "description": "The token that the proposal was answered with.",
                },
                "arguments": embedded(arguments, "#/properties/arguments"),
            },
            "required": ["proposal_id", "commit_token", "arguments"],
            "additionalProperties": false,
        }),
    )
}

/// Output of `T_propose`.
pub fn propose_output() -> Value {
    let properties = json!({
        "status": one_of(&states()),
        "proposal_id": proposal_id(),
        "tool_name": {"type": "string"},
        "tool_args_hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "composite_score": or_null("number"),
        "signals": signals(),
        "findings": findings(),
        "reason": {"type": "string"},
        "action": one_of(&["create_draft"]),
        "draft": {
            "type": "object",
            "properties": {"tool": {"type": "string"}, "arguments": {"type": "object"}},
            "required": ["tool", "arguments"],
        },
        "approval": approval(),
        "commit_token": {"type": "string"},
        "token_id": {"type": "string"},
        "expires_at": {"type": "string"},
        "replayed": {"type": "boolean"},
        "retry_after_secs": {"type": "integer", "minimum": 0},
    });
    answer(
        properties,
        &["status", "tool_name", "tool_args_hash", "findings"],
    )
}

/// Output of `T_commit`.
pub fn commit_output() -> Value {
    let mut properties = outcome();
    properties["original"] = json!({
        "type": "object",
        "description": "What became of the commit that used this token first.",
        "properties": outcome(),
        "required": ["status"],
    });
    answer(properties, &["status"])
}

/// Output of `get_proposal`, `await_proposal` and `cancel_proposal`.
pub fn proposal_output() -> Value {
    answer(proposal_properties(), PROPOSAL_REQUIRED)
}

/// Output of `list_proposals`.
pub fn list_output() -> Value {
    let properties = json!({
        "proposals": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": proposal_properties(),
                "required": PROPOSAL_REQUIRED,
            },
        },
        "next_cursor": {
            "type": "string",
            "description": "Give it as `cursor` to read on; absent on the last page.",
        },
    });
    answer(properties, &["proposals"])
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

/// Input of a tool that takes one proposal's id and what `more` adds.
pub fn proposal_input(more: Value) -> Value {
    let mut properties = json!({"proposal_id": proposal_id()});
    merge(&mut properties, more);
    closed(properties, &["proposal_id"])
}

/// Input of `list_proposals`.
pub fn list_input() -> Value {
    let name = json!({"type": "string", "maxLength": MAX_NAME_BYTES});
    closed(
        json!({
            "state": one_of(&states()),
            "tool": name,
            "agent": name,
            "cursor": {"type": "string", "description": "The `next_cursor` of the page before."},
            "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
        }),
        &[],
    )
}

/// An input schema that refuses every other field.
pub fn closed(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// An output schema: the answer with these fields, or a trouble.
pub fn answer(mut properties: Value, required: &[&str]) -> Value {
    let more = trouble();
    merge(&mut properties, more);
    json!({
        "type": "object",
        "properties": properties,
        "anyOf": [{"required": required}, {"required": TROUBLE_REQUIRED}],
    })
}

const TROUBLE_REQUIRED: &[&str] = &["code", "detail", "recovery"];

const PROPOSAL_REQUIRED: &[&str] = &["proposal_id", "state", "tool_name", "arguments"];

fn trouble() -> Value {
    json!({
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "recovery": one_of(&Recovery::ALL.map(Recovery::code)),
    })
}

fn outcome() -> Value {
    json!({
        "status": one_of(&["committed", "failed", "in_doubt", "cancelled", "blocked"]),
        "commit_id": or_null("string"),
        "proposal_id": proposal_id(),
        "outcome": one_of(&["executed", "reversed"]),
        "result": {
            "description": "What the provider answered.",
            "anyOf": [
                {"type": "object"}, {"type": "array"}, {"type": "string"}, {"type": "number"},
                {"type": "boolean"}, {"type": "null"},
            ],
        },
        "content": {
            "description": "Every content block of the answer, where they say more than `result`.",
            "type": "array",
        },
        "replayed": {"type": "boolean"},
        "settled_above_reserved": {
            "type": "object",
            "description": "Only where the provider settled more than was reserved: minor units.",
            "properties": {
                "reserved": {"type": "integer"}, "settled": {"type": "integer"},
                "currency": or_null("string"),
            },
        },
        "reason": {"type": "string"},
        "sent": {
            "description": "False where it is proven that nothing has left so far.",
            "type": "boolean",
        },
        "settled_by": one_of(&["broker", "person"]),
        "provider": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "description": {"type": "string"}},
        },
    })
}

fn proposal_properties() -> Value {
    json!({
        "proposal_id": proposal_id(),
        "status": one_of(&states()),
        "state": one_of(&states()),
        "version": {"type": "integer"},
        "agent_id": {"type": "string"},
        "tool_name": {"type": "string"},
        "arguments": {"type": "object"},
        "tool_args_hash": {"type": "string"},
        "effective_amount": or_null("object"),
        "payee": {"type": "object"},
        "reason": {"type": "string"},
        "findings": findings(),
        "composite_score": or_null("number"),
        "signals": signals(),
        "policy_version": or_null("integer"),
        "created_at": {"type": "string"},
        "lapses_at": {"type": "string"},
        "approval": approval(),
        "ending": {"type": "object"},
        "commit": {"type": "object", "properties": outcome()},
        "commit_token": {"type": "string"},
        "token_id": {"type": "string"},
        "expires_at": {"type": "string"},
    })
}

fn proposal_id() -> Value {
    json!({"type": "string", "description": "A UUID, as the propose answered it."})
}

// Spelled so that clients with a narrower idea of schemas, where a type is one word and an
// enumeration has one, understand them too.

pub(super) fn one_of(texts: &[&str]) -> Value {
    json!({"type": "string", "enum": texts})
}

pub(super) fn or_null(kind: &str) -> Value {
    json!({"anyOf": [{"type": kind}, {"type": "null"}]})
}

fn states() -> Vec<&'static str> {
    State::ALL.into_iter().map(State::name).collect()
}

fn signals() -> Value {
    let signal = or_null("number");
    json!({
        "type": "object",
        "properties": {
            "output_instability": signal, "numeric_variance": signal, "prompt_drift": signal,
        },
    })
}

fn findings() -> Value {
    json!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "reason": {"type": "string"},
                "severity": one_of(&["note", "hold", "block"]),
                "detail": {"type": "string"},
                "threats": {"type": "array", "items": {"type": "string"}},
                "earlier_proposal_id": {"type": "string"},
            },
            "required": ["reason", "severity", "detail"],
        },
    })
}

fn approval() -> Value {
    json!({
        "type": "object",
        "properties": {
            "needed": {"type": "integer"},
            "given": {"type": "integer"},
            "by": {"type": "array", "items": {"type": "string"}},
            "expires_at": {"type": "string"},
        },
        "required": ["needed", "given", "expires_at"],
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
        let original = json!({"commit_id": id, "status": "committed", "result": {"id": "x"}});
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
        for schema in [
            propose_output(),
            commit_output(),
            proposal_output(),
            list_output(),
        ] {
            assert!(accepts(&schema, &trouble));
            assert!(!accepts(&schema, &json!({})));
        }
    }
}
