//! How a registered tool is carried out, as its author wrote it.
//!
//! Read strictly, by kind and risk. Nothing here can name anything outside its slot: a value of the
//! arguments goes where a pointer says, and how it is spelt there is the connector's business.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::invalid::{Invalid, read};
use super::template::{Slot, Template};
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

impl RestExec {
    /// Where arguments go: the name of each place in the request, and the argument's pointer.
    pub(super) fn places(&self) -> Vec<(&str, &str)> {
        let slots = self
            .query
            .iter()
            .chain(&self.headers)
            .chain(&self.path_params);
        let slots = slots.filter_map(|(name, slot)| match slot {
            Slot::Arg(pointer) => Some((name.as_str(), pointer.as_str())),
            Slot::Text(_) | Slot::Proposal => None,
        });
        let body = self.body.iter().flat_map(Template::holes);
        let body = body.filter_map(|(at, pointer)| Some((*at.last()?, pointer)));
        slots.chain(body).collect()
    }

    /// What it sends in every call, whatever the arguments: each with the names that lead to it.
    pub(super) fn constants(&self) -> Vec<(Vec<&str>, Value)> {
        let slots = self
            .query
            .iter()
            .chain(&self.headers)
            .chain(&self.path_params);
        let slots = slots.filter_map(|(name, slot)| match slot {
            Slot::Text(text) => Some((vec![name.as_str()], Value::from(text.as_str()))),
            Slot::Arg(_) | Slot::Proposal => None,
        });
        let body = self.body.iter().flat_map(Template::constants);
        slots
            .chain(body.map(|(at, value)| (at, value.clone())))
            .collect()
    }
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

impl ContentType {
    /// The media type.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentType::Json => "application/json",
            ContentType::Form => "application/x-www-form-urlencoded",
        }
    }
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
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_)) => {
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
mod tests;
