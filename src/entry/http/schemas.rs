//! The schemas of `/openapi.json` that are no operation's: problems, and what machines that watch
//! are told. The others come from the table.

use serde_json::{Value, json};

use crate::domain::reason::Recovery;

/// Every schema by name.
pub(super) fn all() -> Value {
    let recovery = json!({"type": "string", "enum": Recovery::ALL.map(Recovery::code)});
    json!({
        "Heard": {"type": "object"},
        "ChatCompletion": {
            "type": "object",
            "description": "as OpenAI's chat completions; what is not named here goes on to a provider of the same format",
            "properties": {
                "model": {"type": "string"},
                "messages": {"type": "array", "items": {"type": "object"}},
                "stream": {"type": "boolean"},
            },
            "required": ["model", "messages"],
        },
        "Embeddings": {
            "type": "object",
            "description": "as OpenAI's embeddings",
            "properties": {
                "model": {"type": "string"},
                "input": {"type": ["string", "array"]},
                "dimensions": {"type": "integer", "minimum": 1},
                "encoding_format": {"enum": ["float", "base64"]},
            },
            "required": ["model", "input"],
        },
        "Responses": {
            "type": "object",
            "description": "as OpenAI's responses; what is not named here goes on to a provider of the same format",
            "properties": {
                "model": {"type": "string"},
                "input": {"type": ["string", "array"]},
                "stream": {"type": "boolean"},
            },
            "required": ["model", "input"],
        },
        "Messages": {
            "type": "object",
            "description": "as Anthropic's messages; what is not named here goes on to a provider of the same format",
            "properties": {
                "model": {"type": "string"},
                "max_tokens": {"type": "integer", "minimum": 1},
                "messages": {"type": "array", "items": {"type": "object"}},
                "stream": {"type": "boolean"},
            },
            "required": ["model", "max_tokens", "messages"],
        },
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
                "found": {
                    "type": "array",
                    "items": {"type": "object"},
                    "description": "which secrets are where in `secret_found`, without their values",
                },
                "request_status": {
                    "type": "string",
                    "description": "where the request stands in `not_ready`",
                },
            },
            "required": ["type", "title", "status", "detail", "code", "recovery"],
            "additionalProperties": false,
        },
    })
}
