//! One access rule: allow or deny, whom, what, when, and what is hidden of the results.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::invalid::Invalid;
use super::mask::Mask;
use super::read;
use super::when::{Weekly, When};
use crate::domain::ids::{AgentId, MalformedId};
use crate::domain::roles::Roles;
use crate::domain::tool::Risk;

/// Longest id of a rule.
const MAX_ID: usize = 64;

/// Names one rule inside its organisation. 1 to 64 of `[A-Za-z0-9_-]`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuleId(Arc<str>);

impl RuleId {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RuleId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let fits = !text.is_empty() && text.len() <= MAX_ID && text.bytes().all(plain);
        fits.then(|| Self(text.into())).ok_or(MalformedId)
    }
}

impl TryFrom<String> for RuleId {
    type Error = MalformedId;

    fn try_from(text: String) -> Result<Self, MalformedId> {
        text.parse()
    }
}

impl From<RuleId> for String {
    fn from(id: RuleId) -> String {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rule in force or kept for later, as its store knows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// Which.
    pub id: RuleId,
    /// Counts its changes, from 1. Records name it, so that a decision can be explained later.
    pub version: u64,
    /// What it says.
    pub says: RuleDef,
}

/// What a rule says.
#[derive(Clone, PartialEq, Debug)]
pub struct RuleDef {
    /// What its keeper calls it.
    pub name: String,
    /// What follows where it matches.
    pub effect: Effect,
    /// Whom it is about.
    pub who: Who,
    /// What it is about.
    pub what: What,
    /// When it holds.
    pub when: When,
    /// What is hidden of the results that it allows.
    pub masks: Vec<Mask>,
    /// Whether it says anything at all.
    pub enabled: bool,
}

/// What follows where a rule matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The call may go on, masked.
    Allow,
    /// The call ends, whatever other rules say.
    Deny,
}

/// Whom a rule is about. What is empty asks for nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Who {
    /// Callers with one of these roles.
    pub roles: Roles,
    /// One of these agents, or of `people`.
    pub agents: Vec<AgentId>,
    /// Callers with a key of one of these servers.
    pub servers: Vec<String>,
    /// One of these people, or of `agents`.
    pub people: Vec<String>,
}

/// What a rule is about. What is empty asks for nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct What {
    /// Tools whose names fit one of these.
    pub tools: Vec<ToolPattern>,
    /// Tools that work on one of these sources.
    pub sources: Vec<String>,
    /// Tools of one of these kinds.
    pub kinds: Vec<Kind>,
    /// Tools of this risk.
    pub risk: Option<Risk>,
}

/// A tool's name, or how it begins: `*` at the end stands for whatever follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToolPattern {
    start: Box<str>,
    open: bool,
}

impl ToolPattern {
    /// Reads `billing_refund` or `billing_*`.
    pub fn parse(text: &str) -> Option<Self> {
        let (start, open) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
        let fits = start.len() <= MAX_TOOL_NAME && (open || !start.is_empty());
        (fits && start.bytes().all(plain)).then(|| Self {
            start: start.into(),
            open,
        })
    }

    /// Whether it stands for whatever begins so.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether a tool of this name is meant.
    pub fn fits(&self, tool: &str) -> bool {
        match self.open {
            true => tool.starts_with(&*self.start),
            false => tool == &*self.start,
        }
    }
}

/// Longest name of a tool.
const MAX_TOOL_NAME: usize = 120;

impl fmt::Display for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.open { "*" } else { "" };
        write!(f, "{}{end}", self.start)
    }
}

/// How a tool is carried out. Rules speak of the broker's own tools as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One of the broker's own.
    Builtin,
    /// A statement for a database.
    Sql,
    /// A request to an API.
    Rest,
    /// A program that is run.
    Program,
    /// A tool of another MCP server.
    Mcp,
}

impl RuleDef {
    /// Reads a rule's document, or says which field is wrong.
    pub fn read(document: &Value) -> Result<Self, Invalid> {
        read::rule(document)
    }
}

/// The document that it was read from, with what it left to defaults.
impl Serialize for RuleDef {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("effect", &self.effect)?;
        if self.who != Who::default() {
            map.serialize_entry("who", &self.who)?;
        }
        if self.what != What::default() {
            map.serialize_entry("what", &self.what)?;
        }
        if self.when != When::default() {
            map.serialize_entry("when", &self.when)?;
        }
        if !self.masks.is_empty() {
            map.serialize_entry("masks", &self.masks)?;
        }
        map.serialize_entry("enabled", &self.enabled)?;
        map.end()
    }
}

impl Serialize for Who {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if !self.roles.is_empty() {
            map.serialize_entry("roles", &self.roles)?;
        }
        entry_of_list(&mut map, "agents", &self.agents)?;
        entry_of_list(&mut map, "servers", &self.servers)?;
        entry_of_list(&mut map, "people", &self.people)?;
        map.end()
    }
}

impl Serialize for What {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        let tools: Vec<String> = self.tools.iter().map(ToString::to_string).collect();
        entry_of_list(&mut map, "tools", &tools)?;
        entry_of_list(&mut map, "sources", &self.sources)?;
        entry_of_list(&mut map, "kinds", &self.kinds)?;
        if let Some(risk) = self.risk {
            map.serialize_entry("risk", &risk)?;
        }
        map.end()
    }
}

impl Serialize for When {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if let Some(from) = self.from {
            map.serialize_entry("from", &from.to_string())?;
        }
        if let Some(until) = self.until {
            map.serialize_entry("until", &until.to_string())?;
        }
        if let Some(Weekly { days, hours, zone }) = &self.weekly {
            map.serialize_entry("weekdays", &days.words())?;
            if let Some(hours) = hours {
                map.serialize_entry("hours", &hours.to_string())?;
            }
            map.serialize_entry("zone", zone.name())?;
        }
        map.end()
    }
}

fn entry_of_list<M: SerializeMap, T: Serialize>(
    map: &mut M,
    key: &'static str,
    list: &[T],
) -> Result<(), M::Error> {
    match list.is_empty() {
        true => Ok(()),
        false => map.serialize_entry(key, list),
    }
}
