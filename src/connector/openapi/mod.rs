//! An OpenAPI description (3.0 and 3.1) as tools: one for each operation, disabled until somebody
//! has looked at it.
//!
//! What comes out is always a tool that can be saved: each is put through the same checks as one
//! that was written by hand, and what does not pass is left out with the reason. Nothing is fetched;
//! references are followed within the document, to a bound, and cut where they go in circles.
//!
//! A GET is taken to read. That is the description's word and not a proof, which is one more reason
//! why the tools are disabled.

mod schemas;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::rest::Rest;
use crate::domain::tools::{Exec, ToolDef, header_name, valid_name};
use schemas::Schemas;

/// Most operations of one description.
const MAX_OPERATIONS: usize = 5_000;
/// Longest description that a tool is given.
const MAX_DESCRIPTION: usize = 1_500;
/// Longest name, without what makes it unique.
const MAX_STEM: usize = 50;
/// Methods that tools can have.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// Methods that they cannot.
const OTHER_METHODS: [&str; 3] = ["head", "options", "trace"];
/// Headers that are the connection's own business, whatever a description says.
const OWN_HEADERS: [&str; 3] = ["accept", "content-type", "authorization"];

/// What was made of a description.
#[derive(Debug, Default)]
pub struct Imported {
    /// Documents of tools, disabled, in the order of the description.
    pub tools: Vec<Value>,
    /// What is not among them, or not in them.
    pub left_out: Vec<LeftOut>,
}

/// Something that was left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LeftOut {
    /// The operation: `GET /orders/{id}`.
    pub operation: String,
    /// The part of it; all of it where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Why.
    pub why: String,
}

/// Makes tools of `document` for the source named `source`; their names begin with `prefix`.
pub fn import(document: &Value, source: &str, prefix: &str) -> Result<Imported, String> {
    let version = document.get("openapi").and_then(Value::as_str);
    match version {
        Some(version) if version.starts_with("3.0") || version.starts_with("3.1") => {}
        Some(version) => return Err(format!("OpenAPI {version} is not 3.0 or 3.1")),
        None => return Err("this is no OpenAPI description: `openapi` is missing".to_owned()),
    }
    let empty = Map::new();
    let paths = document
        .get("paths")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mut import = Import {
        document,
        source,
        prefix,
        names: BTreeSet::new(),
        out: Imported::default(),
    };
    for (path, item) in paths {
        import.path(path, item)?;
    }
    Ok(import.out)
}

struct Import<'a> {
    document: &'a Value,
    source: &'a str,
    prefix: &'a str,
    names: BTreeSet<String>,
    out: Imported,
}

/// What is known of an operation while its tool is made.
struct Draft {
    operation: String,
    properties: Map<String, Value>,
    required: Vec<String>,
    exec: Map<String, Value>,
    left_out: Vec<(String, String)>,
}

impl Import<'_> {
    fn path(&mut self, path: &str, item: &Value) -> Result<(), String> {
        for method in OTHER_METHODS
            .iter()
            .filter(|method| item.get(**method).is_some())
        {
            let operation = format!("{} {path}", method.to_uppercase());
            self.leave(operation, None, "tools do not have this method");
        }
        for method in METHODS {
            let Some(operation) = item.get(method) else {
                continue;
            };
            if self.out.tools.len() + self.out.left_out.len() >= MAX_OPERATIONS {
                return Err(format!("it has more than {MAX_OPERATIONS} operations"));
            }
            let named = format!("{} {path}", method.to_uppercase());
            match self.operation(method, path, item, operation) {
                Ok((tool, left_out)) => {
                    self.out.tools.push(tool);
                    for (part, why) in left_out {
                        self.leave(named.clone(), Some(part), &why);
                    }
                }
                Err(why) => self.leave(named, None, &why),
            }
        }
        Ok(())
    }

    fn leave(&mut self, operation: String, part: Option<String>, why: &str) {
        let why = why.to_owned();
        self.out.left_out.push(LeftOut {
            operation,
            part,
            why,
        });
    }

    /// The tool of one operation, and the parts of it that are left out.
    fn operation(
        &mut self,
        method: &str,
        path: &str,
        item: &Value,
        operation: &Value,
    ) -> Result<(Value, Vec<(String, String)>), String> {
        if operation.get("deprecated") == Some(&Value::Bool(true)) {
            return Err("it is deprecated".to_owned());
        }
        if item.get("servers").is_some() || operation.get("servers").is_some() {
            return Err("it has a server of its own: make a source for that".to_owned());
        }
        let mut draft = Draft {
            operation: format!("{} {path}", method.to_uppercase()),
            properties: Map::new(),
            required: Vec::new(),
            exec: Map::from_iter([
                ("method".to_owned(), json!(method.to_uppercase())),
                ("path".to_owned(), json!(path)),
            ]),
            left_out: Vec::new(),
        };
        for parameter in self.parameters(item, operation)? {
            self.parameter(&mut draft, parameter)?;
        }
        match (method, operation.get("requestBody")) {
            (_, None) => {}
            ("get", Some(body)) => self.body_of_get(&mut draft, body)?,
            (_, Some(body)) => self.body(&mut draft, body)?,
        }
        let tool = self.tool(method, path, operation, &draft);
        saveable(&tool)?;
        let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
        self.names.insert(name.to_owned());
        Ok((tool, draft.left_out))
    }

    /// The parameters of the path and of the operation, of which the latter win.
    fn parameters(&self, item: &Value, operation: &Value) -> Result<Vec<Value>, String> {
        let mut found: BTreeMap<(String, String), Value> = BTreeMap::new();
        for owner in [item, operation] {
            let listed = owner.get("parameters").and_then(Value::as_array);
            for parameter in listed.into_iter().flatten() {
                let parameter = self.schemas().target(parameter)?;
                let text = |key: &str| {
                    let value = parameter.get(key).and_then(Value::as_str);
                    value.unwrap_or_default().to_owned()
                };
                found.insert((text("in"), text("name")), parameter.clone());
            }
        }
        Ok(found.into_values().collect())
    }

    fn parameter(&self, draft: &mut Draft, parameter: Value) -> Result<(), String> {
        let text = |key: &str| {
            parameter
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (name, place) = (text("name"), text("in"));
        let required = place == "path" || parameter.get("required") == Some(&Value::Bool(true));
        if place == "header" && OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Ok(());
        }
        let mut schemas = self.schemas();
        let schema = match self.slot(&mut schemas, &parameter, place, name) {
            Ok(schema) => schema,
            Err(why) if required => return Err(format!("its parameter `{name}` {why}")),
            Err(why) => {
                draft.left_out.push((format!("parameter {name}"), why));
                return Ok(());
            }
        };
        draft.note(schemas.cut, &format!("parameter {name}"));
        let (key, slots) = match place {
            "path" => ("path", "path_params"),
            "query" => ("query", "query"),
            _ => ("header", "headers"),
        };
        let argument = draft.argument(name, key, schema, required);
        let pointer = format!("/{}", argument.replace('~', "~0").replace('/', "~1"));
        let slots = draft.exec.entry(slots).or_insert_with(|| json!({}));
        if let Some(slots) = slots.as_object_mut() {
            slots.insert(name.to_owned(), json!(pointer));
        }
        Ok(())
    }

    /// The schema of a parameter that can be written in its place, or why it cannot.
    fn slot(
        &self,
        schemas: &mut Schemas<'_>,
        parameter: &Value,
        place: &str,
        name: &str,
    ) -> Result<Value, String> {
        match place {
            "path" | "query" => {}
            "header" => header_name(name)?,
            _ => return Err(format!("is in `{place}`, where tools put nothing")),
        }
        let Some(schema) = parameter.get("schema") else {
            return Err("is a document of its own inside the parameter".to_owned());
        };
        let schema = schemas.converted(schema)?;
        let is = |kind: &str| schemas::may_be(&schema, kind);
        let explode = parameter.get("explode") != Some(&Value::Bool(false));
        let style = parameter.get("style").and_then(Value::as_str);
        let form = explode && style.is_none_or(|style| style == "form");
        if is("object") {
            return Err("is an object, which has no one spelling there".to_owned());
        }
        if is("array") && !(place == "query" && form) {
            return Err("is a list in a spelling that tools do not have".to_owned());
        }
        Ok(described(schema, parameter))
    }

    /// A GET has none. Some descriptions give each an empty one, which nobody has to send.
    fn body_of_get(&self, draft: &mut Draft, body: &Value) -> Result<(), String> {
        let body = self.schemas().target(body)?.clone();
        let why = "a GET has no body";
        if body.get("required") == Some(&Value::Bool(true)) {
            return Err(why.to_owned());
        }
        let content = body.get("content").and_then(Value::as_object);
        let mut schemas = content.into_iter().flatten();
        let says_something = |(_, media): (&String, &Value)| {
            let fields = media.pointer("/schema/properties");
            let fields = fields.and_then(Value::as_object);
            media.get("schema").is_some() && fields.is_none_or(|fields| !fields.is_empty())
        };
        if schemas.any(says_something) {
            draft.left_out.push(("body".to_owned(), why.to_owned()));
        }
        Ok(())
    }

    fn body(&self, draft: &mut Draft, body: &Value) -> Result<(), String> {
        let mut schemas = self.schemas();
        let body = schemas.target(body)?.clone();
        let required = body.get("required") == Some(&Value::Bool(true));
        let content = body.get("content").and_then(Value::as_object);
        let kinds = content.into_iter().flatten();
        let known = kinds.filter_map(|(kind, media)| Some((content_type(kind)?, media)));
        // JSON before forms.
        let Some((kind, media)) = known.min_by_key(|(kind, _)| *kind != "json") else {
            let why = "has neither JSON nor a form".to_owned();
            return match required {
                true => Err(format!("its body {why}")),
                false => {
                    draft.left_out.push(("body".to_owned(), why));
                    Ok(())
                }
            };
        };
        let schema = media.get("schema").cloned().unwrap_or_else(|| json!({}));
        let mut schema = schemas.converted(&schema)?;
        if kind == "form" {
            let dropped = schemas::flatten(&mut schema)?;
            let why = "has parts inside, which a form has no one spelling for";
            let dropped = dropped.into_iter();
            draft
                .left_out
                .extend(dropped.map(|name| (format!("body field {name}"), why.to_owned())));
            draft.exec.insert("content_type".to_owned(), json!("form"));
        }
        draft.note(schemas.cut, "body");
        let argument = draft.argument("body", "body", described(schema, &body), required);
        draft
            .exec
            .insert("body".to_owned(), json!({"$arg": format!("/{argument}")}));
        Ok(())
    }

    fn tool(&self, method: &str, path: &str, operation: &Value, draft: &Draft) -> Value {
        let text = |key: &str| {
            let text = operation
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default();
            text.trim().to_owned()
        };
        let (summary, description) = (text("summary"), text("description"));
        let words = match (summary.is_empty(), description.is_empty()) {
            (true, true) => draft.operation.clone(),
            (false, true) => summary.clone(),
            (true, false) => description,
            (false, false) => format!("{summary}\n\n{description}"),
        };
        let reads = method == "get";
        let mut tool = json!({
            "name": self.name(method, path, &text("operationId")),
            "kind": "rest",
            "source": self.source,
            "description": words.chars().take(MAX_DESCRIPTION).collect::<String>(),
            "risk": if reads { "low" } else { "high" },
            "input_schema": {
                "type": "object", "properties": draft.properties, "required": draft.required,
                "additionalProperties": false,
            },
            "exec": draft.exec,
            "annotations": {
                "readOnlyHint": reads, "destructiveHint": method == "delete",
                "idempotentHint": matches!(method, "get" | "put" | "delete"),
            },
            "enabled": false,
        });
        if let (Some(map), true) = (tool.as_object_mut(), (1..=200).contains(&summary.len())) {
            map.insert("title".to_owned(), json!(summary));
        }
        tool
    }

    /// A name that nobody has yet, after the operation's id or else its method and path.
    fn name(&self, method: &str, path: &str, id: &str) -> String {
        let nameless = !id.contains(|character: char| character.is_ascii_alphanumeric());
        let stem = match nameless {
            true => format!("{}{method}_{path}", self.prefix),
            false => format!("{}{id}", self.prefix),
        };
        let mut name = String::new();
        for character in stem.chars() {
            match character.is_ascii_alphanumeric() || character == '-' {
                true => name.push(character),
                false if name.ends_with('_') => {}
                false => name.push('_'),
            }
        }
        let name: String = name.trim_matches('_').chars().take(MAX_STEM).collect();
        let name = name.trim_end_matches('_');
        let name = match valid_name(name) {
            Ok(()) => name.to_owned(),
            Err(_) => format!("{name}_op"),
        };
        let again = (2..).map(|number| format!("{name}_{number}"));
        let mut spellings = std::iter::once(name.clone()).chain(again);
        let free = spellings.find(|spelling| !self.names.contains(spelling));
        free.unwrap_or(name)
    }

    fn schemas(&self) -> Schemas<'_> {
        Schemas::of(self.document)
    }
}

impl Draft {
    /// Adds an argument; two of one name are told apart by where they go.
    fn argument(&mut self, name: &str, place: &str, schema: Value, required: bool) -> String {
        let argument = match self.properties.contains_key(name) {
            true => format!("{name}_{place}"),
            false => name.to_owned(),
        };
        self.properties.insert(argument.clone(), schema);
        if required {
            self.required.push(argument.clone());
        }
        argument
    }

    fn note(&mut self, cut: bool, part: &str) {
        if cut {
            let why = "references go in circles or too deep: anything is taken there";
            self.left_out.push((part.to_owned(), why.to_owned()));
        }
    }
}

fn content_type(kind: &str) -> Option<&'static str> {
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match kind.as_str() {
        "application/x-www-form-urlencoded" => Some("form"),
        "application/json" | "*/*" => Some("json"),
        kind if kind.ends_with("+json") && !kind.contains("patch") => Some("json"),
        _ => None,
    }
}

/// A schema with the words of what it belongs to, where it has none of its own.
fn described(mut schema: Value, owner: &Value) -> Value {
    let words = owner.get("description").and_then(Value::as_str);
    if let (Some(map), Some(words)) = (schema.as_object_mut(), words) {
        let words: String = words.chars().take(MAX_DESCRIPTION).collect();
        map.entry("description").or_insert(Value::String(words));
    }
    schema
}

/// The checks of a tool that is saved.
fn saveable(tool: &Value) -> Result<(), String> {
    let read = ToolDef::read(tool).map_err(|invalid| invalid.to_string())?;
    if let Exec::Rest(exec) = &read.exec {
        Rest::of(exec, &read.input_schema, read.risk).map_err(|invalid| invalid.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
