//! How a registered tool is carried out, as its author wrote it.
//!
//! Read strictly, by kind and risk. Nothing here can name anything outside its slot: a value of the
//! arguments goes where a pointer says, and how it is spelt there is the connector's business.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::invalid::{Invalid, read};
use super::pointer;
use crate::domain::tool::Risk;
use crate::domain::upstream::ToolRule;

/// Rows that a query gives back where the tool does not say.
pub const DEFAULT_MAX_ROWS: u32 = 1_000;
/// Most rows that a tool may ask for.
pub const MOST_ROWS: u32 = 100_000;
/// Bytes of a result where the tool does not say.
pub const DEFAULT_MAX_BYTES: u64 = 1024 * 1024;
/// Most bytes that a tool may ask for.
pub const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// How long a key of a header is taken to be remembered where the tool does not say.
pub const DEFAULT_WINDOW_SECS: u32 = 3_600;

/// What kind of source a tool works on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// A statement for a database.
    Sql,
    /// A request to an API.
    Rest,
    /// A program that is run.
    Program,
    /// A tool of another MCP server.
    Mcp,
}

impl ToolKind {
    /// The word in documents.
    pub fn code(self) -> &'static str {
        match self {
            ToolKind::Sql => "sql",
            ToolKind::Rest => "rest",
            ToolKind::Program => "program",
            ToolKind::Mcp => "mcp",
        }
    }
}

/// How a tool is carried out.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Exec {
    /// One query.
    SqlLow(SqlLow),
    /// One statement that writes.
    SqlHigh(SqlHigh),
    /// One request.
    Rest(Box<RestExec>),
    /// One run.
    Program(ProgramExec),
    /// One call of another server.
    Mcp(Box<McpExec>),
}

impl Exec {
    /// Reads the `exec` of a tool.
    pub fn read(kind: ToolKind, risk: Risk, value: &Value) -> Result<Self, Invalid> {
        let at = "/exec";
        let refuse = |pointer: String, detail: String| Invalid::tool(pointer, detail);
        Ok(match (kind, risk) {
            (ToolKind::Sql, Risk::Low) => Exec::SqlLow(read(value, at, refuse)?).checked()?,
            (ToolKind::Sql, Risk::High) => Exec::SqlHigh(read(value, at, refuse)?).checked()?,
            (ToolKind::Rest, Risk::Low | Risk::High) => Exec::Rest(read(value, at, refuse)?),
            (ToolKind::Program, Risk::Low | Risk::High) => Exec::Program(read(value, at, refuse)?),
            (ToolKind::Mcp, Risk::Low | Risk::High) => Exec::Mcp(read(value, at, refuse)?),
        })
    }

    /// The kind of tool.
    pub fn kind(&self) -> ToolKind {
        match self {
            Exec::SqlLow(_) | Exec::SqlHigh(_) => ToolKind::Sql,
            Exec::Rest(_) => ToolKind::Rest,
            Exec::Program(_) => ToolKind::Program,
            Exec::Mcp(_) => ToolKind::Mcp,
        }
    }

    fn checked(self) -> Result<Self, Invalid> {
        match &self {
            Exec::SqlLow(low) => {
                bounded("/exec/max_rows", low.max_rows.into(), MOST_ROWS.into())?;
                bounded("/exec/max_bytes", low.max_bytes, MOST_BYTES)?;
            }
            Exec::SqlHigh(high) => {
                let ExpectRows { min, max } = high.expect_rows.unwrap_or_default();
                if max.is_some_and(|max| max < min) {
                    let detail = "`max` is below `min`, so no outcome would do";
                    return Err(Invalid::tool("/exec/expect_rows/max", detail));
                }
            }
            Exec::Rest(_) | Exec::Program(_) | Exec::Mcp(_) => {}
        }
        Ok(self)
    }
}

fn bounded(pointer: &str, value: u64, most: u64) -> Result<(), Invalid> {
    match (1..=most).contains(&value) {
        true => Ok(()),
        false => Err(Invalid::tool(
            pointer,
            format!("must be between 1 and {most}"),
        )),
    }
}

/// A query.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlLow {
    /// One SELECT, with `:name` parameters.
    pub query: String,
    /// Rows beyond are cut off, and the result says so.
    #[serde(default = "default_max_rows")]
    pub max_rows: u32,
    /// A longer result is an error.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
}

/// A statement that writes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlHigh {
    /// One INSERT, UPDATE or DELETE, with `:name` parameters.
    pub statement: String,
    /// A SELECT that shows what the statement will work on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// How many rows it may touch; otherwise nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_rows: Option<ExpectRows>,
    /// A row of `hundi_effects` in the same transaction proves that it was carried out. Without it
    /// nobody can tell after a crash.
    #[serde(default = "yes")]
    pub marker: bool,
}

/// Bounds of the number of rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectRows {
    /// Fewest.
    #[serde(default)]
    pub min: u64,
    /// Most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// The method of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Reads.
    Get,
    /// Makes something, or asks with a body.
    Post,
    /// Replaces.
    Put,
    /// Changes a part.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// A request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestExec {
    /// Its method.
    pub method: Method,
    /// Its path below the source's base address, with `{name}` for what `path_params` fills in.
    pub path: String,
    /// What stands in the path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub path_params: BTreeMap<String, Slot>,
    /// What stands in the query. Left out where the argument is; a list is repeated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Slot>,
    /// What stands in headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Slot>,
    /// What is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Template>,
    /// How it is written.
    #[serde(default)]
    pub content_type: ContentType,
    /// RFC 9535 path of the part of the answer that is the result; all of it where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// Statuses that mean yes: `2xx`, `201`.
    #[serde(default = "any_success")]
    pub success: Vec<String>,
    /// The header that makes a repeated request harmless; it carries the proposal's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_header: Option<Idempotency>,
    /// A GET that shows what the request will work on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<RestPreview>,
    /// A GET that tells whether the request was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
}

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentType {
    /// `application/json`
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`: an object of single values.
    Form,
}

/// A header whose value makes a repeated request harmless.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Idempotency {
    /// Its name.
    pub name: String,
    /// How long the other side remembers a value, in seconds.
    pub window_secs: u32,
}

impl TryFrom<Value> for Idempotency {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            name: String,
            window_secs: u32,
        }
        let (name, window_secs) = match value {
            Value::String(name) => (name, DEFAULT_WINDOW_SECS),
            other => {
                let whole: Whole = serde_json::from_value(other).map_err(|e| e.to_string())?;
                (whole.name, whole.window_secs)
            }
        };
        Ok(Self { name, window_secs })
    }
}

impl From<Idempotency> for Value {
    fn from(header: Idempotency) -> Value {
        json!({"name": header.name, "window_secs": header.window_secs})
    }
}

/// A GET that shows the state before.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestPreview {
    /// As in [`RestExec`].
    pub path: String,
    /// As in [`RestExec`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub path_params: BTreeMap<String, Slot>,
    /// As in [`RestExec`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Slot>,
}

/// A GET that finds the effect.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// As in [`RestExec`].
    pub path: String,
    /// As in [`RestExec`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub path_params: BTreeMap<String, Slot>,
    /// As in [`RestExec`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Slot>,
    /// RFC 9535 path: what it finds in the answer proves the effect.
    pub found: String,
}

/// A run of a program.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramExec {
    /// What it reads; the arguments where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Template>,
}

/// A call of another MCP server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpExec {
    /// The tool's name there.
    pub tool: String,
    /// How its answers are read.
    #[serde(default)]
    pub rule: ToolRule,
}

/// What goes into a place of the path, the query or the headers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Slot {
    /// The argument at this pointer: `"/id"`.
    Arg(String),
    /// The proposal's id: `{"$proposal": "id"}`.
    Proposal,
    /// This text: `{"$text": "open"}`.
    Text(String),
}

impl TryFrom<Value> for Slot {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let known = "a JSON Pointer like \"/id\", {\"$proposal\": \"id\"} or {\"$text\": \"...\"}";
        let single = value.as_object().and_then(single_member);
        match (&value, single) {
            (Value::String(text), _) if pointer::steps(text).is_some() => {
                Ok(Slot::Arg(text.clone()))
            }
            (_, Some(("$arg", Value::String(text)))) if pointer::steps(text).is_some() => {
                Ok(Slot::Arg(text.clone()))
            }
            (_, Some(("$proposal", Value::String(id)))) if id == "id" => Ok(Slot::Proposal),
            (_, Some(("$text", Value::String(text)))) => Ok(Slot::Text(text.clone())),
            _ => Err(format!("here belongs {known}")),
        }
    }
}

impl From<Slot> for Value {
    fn from(slot: Slot) -> Value {
        match slot {
            Slot::Arg(pointer) => Value::String(pointer),
            Slot::Proposal => json!({"$proposal": "id"}),
            Slot::Text(text) => json!({"$text": text}),
        }
    }
}

/// A document in which `{"$arg": "/pointer"}` stands for an argument and `{"$proposal": "id"}` for
/// the proposal's id. Members and items whose argument is absent are left out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Template(Value);

/// How deep a template may be nested.
const MAX_TEMPLATE_DEPTH: usize = 32;

impl Template {
    /// The document, with its holes filled; `None` if all of it is an absent argument.
    pub fn filled(&self, args: &Value, proposal: &str) -> Option<Value> {
        filled(&self.0, args, proposal)
    }

    /// The pointers of its holes.
    pub fn pointers(&self) -> Vec<&str> {
        let mut found = Vec::new();
        collect(&self.0, &mut found);
        found
    }
}

impl TryFrom<Value> for Template {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        understood(&value, 0)?;
        Ok(Self(value))
    }
}

impl From<Template> for Value {
    fn from(template: Template) -> Value {
        template.0
    }
}

fn single_member(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut members = map.iter();
    match (members.next(), members.next()) {
        (Some((key, value)), None) => Some((key, value)),
        _ => None,
    }
}

fn understood(value: &Value, depth: usize) -> Result<(), String> {
    if depth > MAX_TEMPLATE_DEPTH {
        return Err(format!("nested deeper than {MAX_TEMPLATE_DEPTH} levels"));
    }
    match value {
        Value::Object(map) => {
            if let Some((key, inner)) = single_member(map)
                && let Some(known) = hole(key, inner)
            {
                return known;
            }
            match map.keys().find(|key| key.starts_with('$')) {
                Some(key) => Err(format!(
                    "`{key}` has no meaning here: write {{\"$arg\": \"/pointer\"}} or \
                     {{\"$proposal\": \"id\"}} alone"
                )),
                None => map
                    .values()
                    .try_for_each(|item| understood(item, depth + 1)),
            }
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| understood(item, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Whether a lone member is a hole, and a good one.
fn hole(key: &str, inner: &Value) -> Option<Result<(), String>> {
    let good = match key {
        "$arg" => inner.as_str().and_then(pointer::steps).is_some(),
        "$proposal" => inner == "id",
        _ => return None,
    };
    Some(match good {
        true => Ok(()),
        false if key == "$arg" => Err("`$arg` takes a JSON Pointer like \"/id\"".to_owned()),
        false => Err("`$proposal` takes \"id\"".to_owned()),
    })
}

fn filled(value: &Value, args: &Value, proposal: &str) -> Option<Value> {
    Some(match value {
        Value::Object(map) => {
            match single_member(map) {
                Some(("$arg", Value::String(at))) => return args.pointer(at).cloned(),
                Some(("$proposal", _)) => return Some(Value::String(proposal.to_owned())),
                _ => {}
            }
            let members = map.iter();
            let members = members
                .filter_map(|(key, item)| Some((key.clone(), filled(item, args, proposal)?)));
            Value::Object(members.collect())
        }
        Value::Array(items) => {
            let items = items.iter();
            items
                .filter_map(|item| filled(item, args, proposal))
                .collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    })
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => match single_member(map) {
            Some(("$arg", Value::String(at))) => found.push(at),
            _ => map.values().for_each(|item| collect(item, found)),
        },
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn default_max_rows() -> u32 {
    DEFAULT_MAX_ROWS
}

fn default_max_bytes() -> u64 {
    DEFAULT_MAX_BYTES
}

fn yes() -> bool {
    true
}

fn any_success() -> Vec<String> {
    vec!["2xx".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_and_what_is_absent_is_left_out() {
        let template: Template = serde_json::from_value(json!({
            "to": {"$arg": "/to"}, "note": {"$arg": "/note"}, "ref": {"$proposal": "id"},
            "lines": [{"sku": {"$arg": "/sku"}}, {"$arg": "/more"}], "kind": "x",
        }))
        .unwrap();
        let args = json!({"to": {"$arg": "/sku"}, "sku": 7});
        assert_eq!(
            template.filled(&args, "P"),
            // What an argument says is not read as a template again.
            Some(json!({"to": {"$arg": "/sku"}, "ref": "P", "lines": [{"sku": 7}], "kind": "x"}))
        );
        assert_eq!(template.pointers(), ["/sku", "/more", "/note", "/to"]);
    }

    #[test]
    #[rustfmt::skip]
    fn what_a_template_does_not_know_is_refused() {
        for bad in [
            json!({"$arg": "id"}),
            json!({"$arg": 1}),
            json!({"$args": "/id"}),
            json!({"$proposal": "token"}),
            json!({"$arg": "/id", "x": 1}),
            json!([{"a": {"$env": "HOME"}}]),
        ] {
            assert!(serde_json::from_value::<Template>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn an_exec_is_read_by_kind_and_risk() {
        use Risk::{High, Low};
        //    kind               risk  document                                       wrong at
        for (kind, risk, document, wrong) in [
            (ToolKind::Sql,     Low,  json!({"query": "select 1"}),                    None),
            (ToolKind::Sql,     Low,  json!({"statement": "select 1"}),                Some("/exec/statement")),
            (ToolKind::Sql,     Low,  json!({"query": "select 1", "max_rows": 0}),     Some("/exec/max_rows")),
            (ToolKind::Sql,     Low,  json!({"query": "x", "max_bytes": 999_999_999}), Some("/exec/max_bytes")),
            (ToolKind::Sql,     Low,  json!({"query": 5}),                             Some("/exec/query")),
            (ToolKind::Sql,     Low,  json!({}),                                       Some("/exec")),
            (ToolKind::Sql,     High, json!({"query": "select 1"}),                    Some("/exec/query")),
            (ToolKind::Sql,     High, json!({"statement": "x", "expect_rows": {"min": 2, "max": 1}}), Some("/exec/expect_rows/max")),
            (ToolKind::Sql,     High, json!({"statement": "x", "expect_rows": {"least": 2}}), Some("/exec/expect_rows/least")),
            (ToolKind::Rest,    Low,  json!({"method": "GET", "path": "/"}),           None),
            (ToolKind::Rest,    Low,  json!({"method": "get", "path": "/"}),           Some("/exec/method")),
            (ToolKind::Rest,    High, json!({"method": "POST", "path": "/", "body": {"a": {"$x": 1}}}), Some("/exec/body")),
            (ToolKind::Rest,    High, json!({"method": "POST", "path": "/", "query": {"a": "no"}}), Some("/exec/query/a")),
            (ToolKind::Program, High, json!({}),                                       None),
            (ToolKind::Program, High, json!({"command": "sh"}),                        Some("/exec/command")),
            (ToolKind::Mcp,     High, json!({"tool": "t"}),                            None),
            (ToolKind::Mcp,     High, json!({"tool": "t", "rule": {"rsk": 1}}),        Some("/exec/rule/rsk")),
        ] {
            let read = Exec::read(kind, risk, &document).map_err(|invalid| invalid.pointer);
            assert_eq!(read.as_ref().err().map(String::as_str), wrong, "{document}");
            if let Ok(exec) = read {
                let again = serde_json::to_value(&exec).unwrap();
                assert_eq!(Exec::read(kind, risk, &again), Ok(exec), "{again}");
            }
        }
    }
}
