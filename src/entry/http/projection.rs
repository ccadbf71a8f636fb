//! What `/openapi.json` says of the table of operations.

use schemars::generate::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::openapi::{may_fail, reference, security};
use crate::entry::operations::audit::Record;
use crate::entry::operations::{self, Answers, Operation, Rest};
use crate::entry::readiness::Readiness;

/// Adds every operation to the paths, and its shapes to the schemas.
pub(super) fn add(paths: &mut Map<String, Value>, schemas: Value) -> Value {
    let mut generator = operations::settings(false).for_serialize().into_generator();
    let mut schemas = schemas.as_object().cloned().unwrap_or_default();
    for operation in operations::table() {
        let Some(rest) = &operation.rest else {
            continue;
        };
        let mut told = security(operation.rights);
        told["operationId"] = json!(operation.name);
        told["summary"] = json!(operation.summary);
        told["responses"] = responses(operation, rest, &mut generator);
        let parameters = parameters(operation, rest);
        if !parameters.is_empty() {
            told["parameters"] = parameters.into();
        }
        if rest.takes_body() {
            let schema = body(operation, rest);
            let empty = schema["properties"].as_object().is_none_or(Map::is_empty);
            let name = match empty {
                true => "Empty".to_owned(),
                false => operation.input_name(),
            };
            told["requestBody"] = json!({
                "required": operation.needs_body(),
                "content": {"application/json": {"schema": reference(&name)}},
            });
            schemas.insert(name, schema);
        }
        let path = paths.entry(rest.path).or_insert_with(|| json!({}));
        path[rest.method] = told;
    }
    // What is told outside the table as well.
    generator.subschema_for::<Record>();
    generator.subschema_for::<Readiness>();
    for (name, mut schema) in generator.take_definitions(true) {
        operations::tidy(&mut schema);
        close(&mut schema);
        schemas.insert(name, schema);
    }
    Value::Object(schemas)
}

fn parameters(operation: &Operation, rest: &Rest) -> Vec<Value> {
    let input = operation.input();
    let in_path = rest.names().map(|(name, field)| (name, field, "path"));
    let fields = input["properties"].as_object().into_iter().flatten();
    let fields = fields.map(|(field, _)| field.as_str());
    let asked = fields.filter(|field| !rest.takes_body() && !rest.in_path(field));
    let in_query = asked.map(|field| (field, field, "query"));
    let told = in_path.chain(in_query).map(|(name, field, place)| {
        let mut schema = input["properties"][field].clone();
        // In a path or a query nothing can be said to be null.
        without_null(&mut schema);
        let words = schema
            .as_object_mut()
            .and_then(|map| map.remove("description"));
        json!({
            "name": name,
            "in": place,
            "required": place == "path",
            "description": words.unwrap_or_else(|| json!("")),
            "schema": schema,
        })
    });
    told.collect()
}

fn without_null(schema: &mut Value) {
    if let Some(kinds) = schema.get("type").and_then(Value::as_array) {
        let kind = kinds.iter().find(|kind| *kind != "null").cloned();
        schema["type"] = kind.unwrap_or_else(|| json!("null"));
    }
    if let Some(options) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        options.retain(|option| !option.is_null());
    }
}

/// The part of the input that travels in the body.
fn body(operation: &Operation, rest: &Rest) -> Value {
    let mut schema = operation.input().clone();
    if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        fields.retain(|field, _| !rest.in_path(field));
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| !field.as_str().is_some_and(|field| rest.in_path(field)));
    }
    schema
}

fn responses(operation: &Operation, rest: &Rest, generator: &mut SchemaGenerator) -> Value {
    let mut all = Map::new();
    for answers in &rest.replies {
        let (media, schema) = content(operation, answers, generator);
        let told = all.entry(answers.status.to_string());
        let told = told.or_insert_with(|| json!({"description": answers.words}));
        // One status may come in several media types.
        told["content"][media] = schema;
    }
    for status in problems(operation, rest) {
        may_fail(&mut all, status);
    }
    Value::Object(all)
}

fn content(
    operation: &Operation,
    answers: &Answers,
    generator: &mut SchemaGenerator,
) -> (&'static str, Value) {
    if let Some(media) = answers.media {
        return (media, json!({}));
    }
    let schema = match answers.shape {
        Some(shape) => shape(generator).to_value(),
        None => operation.output(generator),
    };
    ("application/json", json!({"schema": schema}))
}

/// What can go wrong follows from what a request has: fields that may be wrong, a body that may be
/// none, a name that nothing has, and something to change that has changed.
fn problems(operation: &Operation, rest: &Rest) -> Vec<u16> {
    let mut all = vec![401, 403, 503];
    let fields = operation.input()["properties"].as_object();
    let read = fields.is_some_and(|fields| fields.keys().any(|field| !rest.in_path(field)));
    if read || rest.takes_body() {
        all.push(400);
    }
    if rest.takes_body() {
        all.extend([413, 415]);
    }
    if rest.names().next().is_some() {
        all.push(404);
    }
    if rest.method != "get" {
        all.extend([404, 409]);
    }
    all.extend(rest.problems);
    all
}

/// An answer has the fields that are told of it and no others: whoever adds one tells it.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            let composed = ["anyOf", "oneOf", "allOf"]
                .iter()
                .any(|key| map.contains_key(*key));
            if map.contains_key("properties") && !map.contains_key("additionalProperties") {
                let keyword = match composed {
                    true => "unevaluatedProperties",
                    false => "additionalProperties",
                };
                map.insert(keyword.to_owned(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
