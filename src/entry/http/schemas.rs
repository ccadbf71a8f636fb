//! The schemas of `/openapi.json` that are no operation's: problems, and what machines that watch
//! are told. The others come from the table.

use serde_json::{Value, json};

use crate::domain::reason::Recovery;

/// Every schema by name.
pub(super) fn all() -> Value {
    let recovery = json!({"type": "string", "enum": Recovery::ALL.map(Recovery::code)});
    json!({
        "Heard": {"type": "object"},
        "Alive": {
            "type": "object",
            "properties": {"status": {"const": "ok"}},
            "required": ["status"],
            "additionalProperties": false,
        },
        "Problem": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "pattern": "^urn:hundi:problem:[a-z_]+$"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "code": {"type": "string"},
                "cause": {
                    "type": "string",
                    "description": "what exactly is wrong in `invalid_json`",
                },
                "recovery": recovery,
            },
            "required": ["type", "title", "status", "detail", "code", "recovery"],
            "additionalProperties": false,
        },
    })
}
