//! A registered tool: what it takes, what it does, how risky it is, and how it is carried out.
//!
//! Read strictly. The schema is compiled here, so that a tool whose arguments nobody could check is
//! refused when it is saved; whether its `exec` is whole is checked by the connector of its kind.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::exec::{Exec, ToolKind};
use super::invalid::{Invalid, read};
use super::money::{self, Money};
use super::payee::{self, PaysTo};
use super::pointer;
use crate::domain::access::Mask;
use crate::domain::schema;
use crate::domain::tool::{MoneyRule, PayeeRule, Risk};

/// Longest name of a tool or a source.
const MAX_NAME: usize = 56;
/// Longest title.
const MAX_TITLE: usize = 200;
/// Longest description.
const MAX_DESCRIPTION: usize = 8 * 1024;
/// Most masks of one tool.
const MAX_MASKS: usize = 100;
/// Longest that one call may take.
const MOST_TIMEOUT_MS: u64 = 10 * 60 * 1_000;

/// A registered tool.
#[derive(Clone, PartialEq, Debug)]
pub struct ToolDef {
    /// Its name, unique in its organisation.
    pub name: String,
    /// The source that it works on.
    pub source: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What it does, for agents and approvers.
    pub description: String,
    /// Straight through, or two steps.
    pub risk: Risk,
    /// JSON Schema (2020-12) of the arguments.
    pub input_schema: Value,
    /// JSON Schema of the result's data.
    pub output_schema: Option<Value>,
    /// How it is carried out.
    pub exec: Exec,
    /// What it moves; `None` where nobody said and no argument looks like money.
    pub money: Option<Money>,
    /// Whom it pays; `None` where nobody said: then it is the one argument that looks like a payee,
    /// if there is one.
    pub payee: Option<PaysTo>,
    /// How often it may be called.
    pub rate_limit: Option<RateLimit>,
    /// What is hidden of its results.
    pub masks: Vec<Mask>,
    /// Hints for clients.
    pub annotations: Option<Annotations>,
    /// Longest that one call may take.
    pub timeout_ms: Option<u64>,
    /// Whether it may be called.
    pub enabled: bool,
}

/// How often a tool may be called.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Calls in a minute, on average.
    pub per_min: u32,
    /// Calls at once; `per_min` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Counted for whom.
    pub by: RateBy,
}

/// For whom calls are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateBy {
    /// For all callers together.
    Tool,
    /// For each caller.
    Caller,
}

/// Hints for clients, in the words of MCP. They may make clients more careful, never less.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Annotations {
    /// Changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// May destroy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Doing it twice is doing it once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// Reaches the outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    kind: ToolKind,
    source: String,
    #[serde(default)]
    title: Option<String>,
    description: String,
    risk: Risk,
    input_schema: Value,
    #[serde(default)]
    output_schema: Option<Value>,
    exec: Value,
    #[serde(default)]
    money: Option<Money>,
    #[serde(default)]
    payee: Option<PaysTo>,
    #[serde(default)]
    rate_limit: Option<RateLimit>,
    #[serde(default)]
    masks: Vec<Mask>,
    #[serde(default)]
    annotations: Option<Annotations>,
    #[serde(default)]
    timeout_ms: Option<u64>,
    #[serde(default = "yes")]
    enabled: bool,
}

impl ToolDef {
    /// Reads a document. Whoever stores it lets the connector of its kind check `exec` as well.
    pub fn read(document: &Value) -> Result<Self, Invalid> {
        let refuse = |pointer: String, detail: String| Invalid::tool(pointer, detail);
        let parts: Document = read(document, "", refuse)?;
        let exec = Exec::read(parts.kind, parts.risk, &parts.exec)?;
        let tool = Self {
            name: parts.name,
            source: parts.source,
            title: parts.title,
            description: parts.description,
            risk: parts.risk,
            input_schema: parts.input_schema,
            output_schema: parts.output_schema,
            exec,
            money: parts.money,
            payee: parts.payee,
            rate_limit: parts.rate_limit,
            masks: parts.masks,
            annotations: parts.annotations,
            timeout_ms: parts.timeout_ms,
            enabled: parts.enabled,
        };
        tool.check()?;
        Ok(tool)
    }

    /// The document that it was read from, with what it left to defaults.
    pub fn document(&self) -> Value {
        let mut document = json!({
            "name": self.name, "kind": self.exec.kind(), "source": self.source,
            "description": self.description, "risk": self.risk,
            "input_schema": self.input_schema, "exec": self.exec, "enabled": self.enabled,
        });
        let optional = [
            ("title", json!(self.title)),
            ("output_schema", json!(self.output_schema)),
            ("money", json!(self.money)),
            ("payee", json!(self.payee)),
            ("rate_limit", json!(self.rate_limit)),
            (
                "masks",
                json!(Some(&self.masks).filter(|masks| !masks.is_empty())),
            ),
            ("annotations", json!(self.annotations)),
            ("timeout_ms", json!(self.timeout_ms)),
        ];
        if let Some(map) = document.as_object_mut() {
            let given = optional.into_iter().filter(|(_, value)| !value.is_null());
            map.extend(given.map(|(key, value)| (key.to_owned(), value)));
        }
        document
    }

    /// How to read the effective amount out of arguments.
    pub fn money_rule(&self) -> MoneyRule {
        let rule = self.money.as_ref().map(Money::rule);
        rule.unwrap_or_default()
    }

    /// How to read who is paid out of arguments.
    pub fn payee_rule(&self) -> PayeeRule {
        match (&self.payee, &self.money) {
            (Some(payee), _) => payee.rule(),
            (None, Some(Money::Amounts(_))) => PayeeRule {
                account: payee::only(&self.input_schema),
                ..PayeeRule::default()
            },
            (None, Some(Money::Nothing) | None) => PayeeRule::default(),
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        let wrong = |pointer: &str, detail: String| Err(Invalid::tool(pointer, detail));
        valid_name(&self.name).map_err(|why| Invalid::tool("/name", why))?;
        valid_name(&self.source).map_err(|why| Invalid::tool("/source", why))?;
        let title = self.title.as_deref().unwrap_or("-");
        if title.trim().is_empty() || title.len() > MAX_TITLE {
            return wrong("/title", format!("must be 1 to {MAX_TITLE} bytes long"));
        }
        if self.description.trim().is_empty() || self.description.len() > MAX_DESCRIPTION {
            let detail = format!("must be 1 to {MAX_DESCRIPTION} bytes long");
            return wrong("/description", detail);
        }
        if !self
            .timeout_ms
            .is_none_or(|ms| (1..=MOST_TIMEOUT_MS).contains(&ms))
        {
            let detail = format!("must be between 1 and {MOST_TIMEOUT_MS}");
            return wrong("/timeout_ms", detail);
        }
        if let Some(limit) = self.rate_limit
            && (limit.per_min == 0 || limit.burst == Some(0))
        {
            return wrong(
                "/rate_limit",
                "must let at least one call through".to_owned(),
            );
        }
        self.check_schemas()?;
        let (risk, schema) = (self.risk, &self.input_schema);
        let (money, payee) = (self.money.as_ref(), self.payee.as_ref());
        // What only reads a database moves nothing, and four walls see to it.
        let reads = risk == Risk::Low && self.exec.kind() == ToolKind::Sql;
        if !(reads && money.is_none()) {
            money::check(money, risk, self.enabled, schema)?;
        }
        payee::check(payee, money, self.enabled, schema)?;
        if let Exec::Rest(rest) = &self.exec
            && self.enabled
        {
            money::check_places(money, &rest.places())?;
            if risk == Risk::High {
                let sent = rest.constants();
                money::check_constants(money, &sent)?;
                payee::check_constants(payee, money, schema, &sent)?;
            }
        }
        self.check_masks()
    }

    fn check_schemas(&self) -> Result<(), Invalid> {
        let wrong = |pointer: &str, detail: String| Err(Invalid::tool(pointer, detail));
        let schema = &self.input_schema;
        if schema.get("type").is_some_and(|kind| kind != "object") {
            return wrong("/input_schema/type", "must be \"object\"".to_owned());
        }
        if !schema.get("properties").is_none_or(Value::is_object) {
            return wrong("/input_schema/properties", "must be an object".to_owned());
        }
        if let Err(why) = schema::usable(schema, &self.money_rule()) {
            return wrong("/input_schema", format!("cannot be used: {why}"));
        }
        let named = schema.get("properties").and_then(Value::as_object);
        let empty = Map::new();
        let named = named.unwrap_or(&empty);
        for name in pointer::required(schema) {
            if !named.contains_key(name) {
                let detail = format!("`{name}` is required and is no property");
                return wrong("/input_schema/required", detail);
            }
        }
        if let Some(output) = &self.output_schema
            && let Err(why) = schema::promises(output)
        {
            return wrong("/output_schema", format!("cannot be used: {why}"));
        }
        Ok(())
    }

    fn check_masks(&self) -> Result<(), Invalid> {
        if self.masks.len() > MAX_MASKS {
            return Err(Invalid::tool("/masks", format!("at most {MAX_MASKS}")));
        }
        Ok(())
    }
}

/// Why a name cannot be given to a tool or a source, or `Ok`. The ends are those of the pairs
/// that are made of high-risk tools.
pub fn valid_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
        return Err(format!("must be 1 to {MAX_NAME} of A-Z a-z 0-9 _ -"));
    }
    match name.ends_with("_propose") || name.ends_with("_commit") {
        true => Err("must not end in _propose or _commit".to_owned()),
        false => Ok(()),
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests;
