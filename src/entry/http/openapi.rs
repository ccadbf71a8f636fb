//! `/openapi.json`: what every route takes and answers, in OpenAPI 3.1.
//!
//! Made from the table of operations; what is no operation is told by an [`Op`] beside its handler.
//! Tests hold it to the truth: they walk the paths and methods it names, and check real answers
//! against its schemas.

use std::sync::OnceLock;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::answer::text;
use super::{Door, operations, projection, schemas};
use crate::domain::principal::{Right, Role};

/// One method of one path.
pub struct Op {
    /// Its name, unique in the document.
    pub id: &'static str,
    /// Lower-case HTTP method.
    pub method: &'static str,
    /// Path with `{names}`.
    pub path: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What the caller's role must allow; `None` needs no key.
    pub right: Option<Right>,
    /// Parameters.
    pub params: &'static [Param],
    /// Name of the body's schema.
    pub body: Option<&'static str>,
    /// The body may be left out.
    pub body_optional: bool,
    /// Status, words, and the name of the answer's schema, or its media type, or nothing.
    pub answers: &'static [(u16, &'static str, &'static str)],
    /// Statuses that come as problem documents, besides 401, 403 and 503.
    pub problems: &'static [u16],
}

impl Op {
    /// What most operations leave out.
    pub const NONE: Op = Op {
        id: "",
        method: "",
        path: "",
        summary: "",
        right: None,
        params: &[],
        body: None,
        body_optional: false,
        answers: &[],
        problems: &[],
    };
}

/// One parameter.
pub struct Param {
    name: &'static str,
    place: &'static str,
    words: &'static str,
    shape: Shape,
}

/// What a parameter's text has to be.
enum Shape {
    Text,
    Whole(i64, i64),
    Time,
    OneOf(&'static [&'static str]),
}

impl Param {
    /// A whole number within these bounds.
    pub const fn whole(self, least: i64, most: i64) -> Self {
        self.shaped(Shape::Whole(least, most))
    }

    /// An RFC 3339 time.
    pub const fn time(self) -> Self {
        self.shaped(Shape::Time)
    }

    /// One of these words.
    pub const fn one_of(self, words: &'static [&'static str]) -> Self {
        self.shaped(Shape::OneOf(words))
    }

    const fn shaped(self, shape: Shape) -> Self {
        Self {
            name: self.name,
            place: self.place,
            words: self.words,
            shape,
        }
    }

    /// Part of the path.
    pub const fn path(name: &'static str, words: &'static str) -> Self {
        Self {
            name,
            place: "path",
            words,
            shape: Shape::Text,
        }
    }

    /// Part of the query, optional.
    pub const fn query(name: &'static str, words: &'static str) -> Self {
        Self {
            name,
            place: "query",
            words,
            shape: Shape::Text,
        }
    }

    /// A header, optional.
    pub const fn header(name: &'static str, words: &'static str) -> Self {
        Self {
            name,
            place: "header",
            words,
            shape: Shape::Text,
        }
    }
}

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/openapi.json", get(show))
}

async fn show() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let body = TEXT.get_or_init(|| document().to_string());
    text("application/json", body.as_str())
}

pub(super) const OPS: &[Op] = &[Op {
    id: "openapi",
    method: "get",
    path: "/openapi.json",
    summary: "This document.",
    answers: &[(200, "OpenAPI 3.1", "application/json")],
    ..Op::NONE
}];

/// The whole document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for op in operations() {
        let path = paths.entry(op.path).or_insert_with(|| json!({}));
        path[op.method] = operation(op);
    }
    let schemas = projection::add(&mut paths, schemas::all());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hundi",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A two-phase propose/commit transaction broker. Refusals of propose \
                and commit are results; everything else that fails is a problem document \
                (RFC 9457) with `code` and `recovery`. Bodies are read strictly: duplicate keys, \
                integers beyond 2^53-1 and unknown fields are refused.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {
                "type": "http", "scheme": "bearer", "bearerFormat": "hk_<id>_<secret>",
            }},
            "schemas": schemas,
        },
    })
}

fn operation(op: &Op) -> Value {
    let mut told = security(op.right.as_slice());
    told["operationId"] = json!(op.id);
    told["summary"] = json!(op.summary);
    told["responses"] = responses(op);
    if !op.params.is_empty() {
        told["parameters"] = op.params.iter().map(parameter).collect();
    }
    if let Some(schema) = op.body {
        told["requestBody"] = json!({
            "required": !op.body_optional,
            "content": {"application/json": {"schema": reference(schema)}},
        });
    }
    told
}

/// Who may: whoever has one of these rights, or, where there are none, everybody.
pub(super) fn security(rights: &[Right]) -> Value {
    if rights.is_empty() {
        return json!({"security": []});
    }
    let may = |role: &Role| rights.iter().any(|right| role.may(*right));
    let roles: Vec<&str> = Role::ALL
        .iter()
        .filter(|role| may(role))
        .map(|role| role.name())
        .collect();
    json!({"security": [{"key": []}], "x-roles": roles})
}

fn parameter(param: &Param) -> Value {
    let schema = match param.shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Whole(least, most) => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        Shape::Time => json!({"type": "string", "format": "date-time"}),
        Shape::OneOf(words) => json!({"enum": words}),
    };
    json!({
        "name": param.name,
        "in": param.place,
        "required": param.place == "path",
        "description": param.words,
        "schema": schema,
    })
}

fn responses(op: &Op) -> Value {
    let mut all = Map::new();
    for (status, words, shape) in op.answers {
        let told = all.entry(status.to_string());
        let told = told.or_insert_with(|| json!({"description": words}));
        // One status may come in several media types.
        for (media, schema) in content(shape).into_iter().flatten() {
            told["content"][media] = schema;
        }
    }
    let of_a_key: &[u16] = if op.right.is_some() {
        &[401, 403, 503]
    } else {
        &[]
    };
    for status in op.problems.iter().chain(of_a_key) {
        may_fail(&mut all, *status);
    }
    Value::Object(all)
}

/// Adds a problem document of this status to an operation's responses.
pub(super) fn may_fail(all: &mut Map<String, Value>, status: u16) {
    let problem = json!({"schema": reference("Problem")});
    let told = all.entry(status.to_string());
    let told = told.or_insert_with(|| json!({"description": "a problem"}));
    told["content"]["application/problem+json"] = problem;
}

/// Media types and their schemas. A schema's name starts with a capital; a media type does not.
fn content(shape: &str) -> Option<Map<String, Value>> {
    let (media, schema) = match shape.chars().next()? {
        'A'..='Z' => ("application/json", json!({"schema": reference(shape)})),
        _ => (shape, json!({})),
    };
    Some(Map::from_iter([(media.to_owned(), schema)]))
}

pub(super) fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}
