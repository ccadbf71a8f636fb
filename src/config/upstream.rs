//! `[upstream.NAME]` and `[tools.NAME]` of the configuration file: how to reach another MCP server,
//! and the operator's word about single tools.
//!
//! Read by hand rather than by serde, whose messages quote the offending value: an upstream's
//! environment is where the credentials are.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::layers::Environment;
use super::secret::{self, Secret};
use crate::domain::ids::hex;
use crate::domain::nearest::nearest;
use crate::domain::upstream::{INHERITED, UpstreamRules};

/// What the operator says about one tool.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ToolOverride {
    /// Every proposal waits for a person.
    pub hold: Option<bool>,
    /// Calls let through a minute, by all callers of an organisation together; `None` is no limit.
    pub rate_per_minute: Option<u32>,
    /// Calls let through at once after a pause; `None` is as many as in a minute.
    pub burst: Option<u32>,
    /// False keeps arguments and payee out of the audit log; their hash stays. `None` is true.
    pub record_arguments: Option<bool>,
}

/// One upstream MCP server.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// How to reach it.
    pub transport: Transport,
    /// How it shakes hands.
    pub handshake: Handshake,
    /// How long and how large its answers may be.
    pub limits: Limits,
    /// The operator's word about its tools.
    pub rules: UpstreamRules,
}

impl Upstream {
    /// Stands for where it leads, for whoever binds something to that: its address or its program,
    /// with all that is given to it but the bearer token, which is renewed in its place. Whoever knows
    /// the rest can try values of `env` and `headers`; none of those is short that is a secret.
    pub fn place(&self) -> String {
        let mut hash = Sha256::new();
        let mut take = |text: &str| {
            hash.update(text.len().to_be_bytes());
            hash.update(text.as_bytes());
        };
        let given = match &self.transport {
            Transport::Child(child) => {
                take(&child.command);
                child.args.iter().for_each(|arg| take(arg));
                let cwd = child.cwd.as_ref();
                take(&cwd.map_or_else(String::new, |cwd| cwd.display().to_string()));
                &child.env
            }
            Transport::Http(http) => {
                take(&http.url);
                &http.headers
            }
        };
        for (name, value) in given {
            take(name);
            take(value.expose());
        }
        hex(&hash.finalize())
    }
}

/// How long an upstream may take, and how much it may answer; `None` is the usual.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Longest that a start may take, handshake included, in seconds (1 to 600).
    pub start_timeout_secs: Option<u32>,
    /// Longest that one call may take, in seconds (1 to 600).
    pub call_deadline_secs: Option<u32>,
    /// Longest answer that is taken, in bytes (1 KiB to 256 MiB).
    pub max_answer_bytes: Option<u32>,
}

/// How an upstream shakes hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Handshake {
    /// Found out by trying.
    #[default]
    Auto,
    /// `initialize`: revisions up to 2025-11-25.
    Initialize,
    /// `server/discover`: revision 2026-07-28.
    Discover,
}

/// How to reach an upstream.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A child process that speaks on stdio.
    Child(Child),
    /// Streamable HTTP.
    Http(Http),
}

/// A child process. It gets a clean environment with [`INHERITED`] and these variables.
#[derive(Clone, Debug)]
pub struct Child {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its variables: `env` of the table, and those of ours that `pass_env` lists.
    pub env: BTreeMap<String, Secret>,
    /// Where it runs; `None` is where we run.
    pub cwd: Option<PathBuf>,
}

/// An MCP server on the network.
#[derive(Clone, Debug)]
pub struct Http {
    /// Its address.
    pub url: String,
    /// Bearer token.
    pub token: Option<Secret>,
    /// Headers of every request, besides those of the protocol.
    pub headers: BTreeMap<String, Secret>,
}

/// How to reach it; every other key of the table is a rule.
const REACH_KEYS: [&str; 13] = [
    "command",
    "args",
    "env",
    "pass_env",
    "cwd",
    "url",
    "token",
    "token_file",
    "handshake",
    "headers",
    "start_timeout_secs",
    "call_deadline_secs",
    "max_answer_bytes",
];
/// Headers that are the protocol's to set.
const OWN_HEADERS: [&str; 11] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
];
/// Longest start or call: ten minutes.
const MAX_WAIT_SECS: u32 = 600;
/// Least and most that an answer may be limited to, in bytes.
const ANSWER_BYTES: RangeInclusive<u32> = 1024..=256 * 1024 * 1024;
/// The keys of [`UpstreamRules`].
const RULE_KEYS: [&str; 7] = [
    "prefix",
    "trust_on_first_use",
    "only_listed",
    "whole_numbers",
    "patterns",
    "error_final",
    "tools",
];
/// Names that mean something else already.
const TAKEN: [&str; 2] = ["noop", "razorpay"];
/// Longest name; it goes before the names of tools.
const MAX_NAME: usize = 32;
/// Most calls a minute; more than one store can write is no limit at all.
const MAX_RATE: u32 = 1_000_000;

pub(super) fn tools(
    table: &toml::Table,
    problems: &mut Vec<String>,
) -> BTreeMap<String, ToolOverride> {
    let mut tools = BTreeMap::new();
    for (name, value) in table {
        let mut section = Section::open(format!("tools.{name}"), value, problems);
        section.known(&["hold", "rate_per_minute", "burst", "record_arguments"]);
        let told = ToolOverride {
            hold: section.switch("hold"),
            rate_per_minute: section.count("rate_per_minute"),
            burst: section.count("burst"),
            record_arguments: section.switch("record_arguments"),
        };
        if told.burst.is_some() && told.rate_per_minute.is_none() {
            let path = &section.path;
            section.problems.push(format!(
                "`{path}.burst` means nothing without `{path}.rate_per_minute`"
            ));
        }
        tools.insert(name.clone(), told);
    }
    tools
}

/// What every child process gets of our environment.
pub(super) fn inherited(environment: &Environment) -> Vec<(String, String)> {
    let found = INHERITED.iter().filter_map(|name| {
        let value = environment.get(*name)?.to_str()?;
        Some(((*name).to_owned(), value.to_owned()))
    });
    found.collect()
}

pub(super) fn upstreams(
    table: &toml::Table,
    environment: &Environment,
    problems: &mut Vec<String>,
) -> BTreeMap<String, Upstream> {
    let mut upstreams = BTreeMap::new();
    for (name, value) in table {
        let mut section = Section::open(format!("upstream.{name}"), value, problems);
        section.known(&[&REACH_KEYS[..], &RULE_KEYS].concat());
        section.name(name);
        let rules = section.rules();
        let handshake = section.handshake();
        let limits = section.limits();
        if let Some(transport) = section.transport(environment) {
            let upstream = Upstream {
                transport,
                handshake,
                limits,
                rules,
            };
            upstreams.insert(name.clone(), upstream);
        }
    }
    upstreams
}

/// One table of the file, with somewhere to complain.
pub(super) struct Section<'a> {
    pub(super) path: String,
    pub(super) table: toml::Table,
    pub(super) problems: &'a mut Vec<String>,
}

impl<'a> Section<'a> {
    pub(super) fn open(path: String, value: &toml::Value, problems: &'a mut Vec<String>) -> Self {
        let table = value.as_table().cloned();
        if table.is_none() {
            problems.push(format!("`{path}` has to be a table: `[{path}]`"));
        }
        let table = table.unwrap_or_default();
        Self {
            path,
            table,
            problems,
        }
    }

    pub(super) fn known(&mut self, keys: &[&str]) {
        for key in self
            .table
            .keys()
            .filter(|key| !keys.contains(&key.as_str()))
        {
            let hint = nearest(key, keys.iter().copied()).map_or_else(
                || format!("it takes {}", keys.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let path = &self.path;
            self.problems
                .push(format!("`[{path}]` has no setting `{key}`: {hint}"));
        }
    }

    pub(super) fn wrong(&mut self, key: &str, wanted: &str) {
        let path = &self.path;
        self.problems
            .push(format!("`{path}.{key}`: {wanted} belongs here"));
    }

    pub(super) fn switch(&mut self, key: &str) -> Option<bool> {
        let value = self.table.get(key)?;
        let switch = value.as_bool();
        if switch.is_none() {
            self.wrong(key, "true or false");
        }
        switch
    }

    fn count(&mut self, key: &str) -> Option<u32> {
        self.number(key, 1..=MAX_RATE)
    }

    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.table.get(key)?;
        let number = value.as_integer().and_then(|n| u32::try_from(n).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            self.wrong(key, &format!("an integer from {least} to {most}"));
        }
        number
    }

    fn limits(&mut self) -> Limits {
        Limits {
            start_timeout_secs: self.number("start_timeout_secs", 1..=MAX_WAIT_SECS),
            call_deadline_secs: self.number("call_deadline_secs", 1..=MAX_WAIT_SECS),
            max_answer_bytes: self.number("max_answer_bytes", ANSWER_BYTES),
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let value = self.table.get(key)?;
        let text = value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned);
        if text.is_none() {
            self.wrong(key, "a text");
        }
        text
    }

    pub(super) fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        let items = value.as_array().map(|items| {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<String>>>()
        });
        items.flatten().unwrap_or_else(|| {
            self.wrong(key, "a list of texts");
            Vec::new()
        })
    }

    fn name(&mut self, name: &str) {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let path = &self.path;
        if TAKEN.contains(&name) {
            self.problems.push(format!(
                "`[{path}]`: the name {name} is taken; choose another"
            ));
        } else if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
            self.problems.push(format!(
                "`[{path}]`: a name is 1 to {MAX_NAME} small letters, digits, `-` or `_`"
            ));
        }
    }

    /// What serde says about rules may be repeated: there is no secret among them.
    fn rules(&mut self) -> UpstreamRules {
        let rules = self
            .table
            .iter()
            .filter(|(key, _)| RULE_KEYS.contains(&key.as_str()));
        let rules: toml::Table = rules
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let path = &self.path;
        match UpstreamRules::deserialize(toml::Value::Table(rules)) {
            Ok(rules) => {
                let problems = rules.problems().into_iter();
                self.problems
                    .extend(problems.map(|problem| format!("`[{path}]`: {problem}")));
                rules
            }
            Err(error) => {
                let error = error.to_string().trim_end().replace('\n', ", ");
                self.problems.push(format!("`[{path}]`: {error}"));
                UpstreamRules::default()
            }
        }
    }

    fn handshake(&mut self) -> Handshake {
        match self.text("handshake").as_deref() {
            None | Some("auto") => Handshake::Auto,
            Some("initialize") => Handshake::Initialize,
            Some("discover") => Handshake::Discover,
            Some(_) => {
                self.wrong("handshake", "auto, initialize or discover");
                Handshake::Auto
            }
        }
    }

    fn transport(&mut self, environment: &Environment) -> Option<Transport> {
        let path = self.path.clone();
        match (self.text("command"), self.text("url")) {
            (Some(command), None) => {
                if self.table.contains_key("headers") {
                    self.wrong("headers", "nothing (a server has them, no child process)");
                }
                Some(Transport::Child(Child {
                    command,
                    args: self.texts("args"),
                    env: self.env(environment),
                    cwd: self.text("cwd").map(PathBuf::from),
                }))
            }
            (None, Some(url)) => {
                let (base, _query) = url.split_once('?').unwrap_or((&url, ""));
                if !super::read::is_plain_http(base) || url.contains('#') {
                    self.wrong("url", "an http:// or https:// URL without user name");
                }
                let token = self.token();
                let headers = self.headers(token.is_some());
                Some(Transport::Http(Http {
                    url,
                    token,
                    headers,
                }))
            }
            (Some(_), Some(_)) => {
                self.problems.push(format!(
                    "`[{path}]` has both `command` and `url`: it is either a child process or a server"
                ));
                None
            }
            (None, None) => {
                self.problems.push(format!(
                    "`[{path}]` needs a `command` (a child process) or a `url` (a server)"
                ));
                None
            }
        }
    }

    /// What is wrong is told by name; a value may be a secret.
    fn headers(&mut self, has_token: bool) -> BTreeMap<String, Secret> {
        let mut headers = BTreeMap::new();
        let Some(value) = self.table.get("headers") else {
            return headers;
        };
        let Some(given) = value.as_table().cloned() else {
            self.wrong("headers", "a table of texts");
            return headers;
        };
        for (name, value) in given {
            let key = format!("headers.{name}");
            let name = name.to_ascii_lowercase();
            let token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let taken =
                OWN_HEADERS.contains(&name.as_str()) || has_token && name == "authorization";
            let readable = |text: &&str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            let text = value.as_str().filter(readable);
            match text {
                _ if name.is_empty() || !name.bytes().all(token) => {
                    self.wrong(&key, "the name of a header");
                }
                _ if taken => self.wrong(&key, "no header that is set otherwise"),
                None => self.wrong(&key, "a text of visible ASCII characters"),
                Some(text) => {
                    headers.insert(name, Secret::new(text));
                }
            }
        }
        headers
    }

    pub(super) fn env(&mut self, environment: &Environment) -> BTreeMap<String, Secret> {
        let mut env = BTreeMap::new();
        for name in self.texts("pass_env") {
            match environment.get(&name).and_then(|value| value.to_str()) {
                Some(value) => {
                    env.insert(name, Secret::new(value));
                }
                None => {
                    let path = &self.path;
                    self.problems.push(format!(
                        "`{path}.pass_env` names the variable {name}, which is not set"
                    ));
                }
            }
        }
        match self.table.get("env").map(toml::Value::as_table) {
            None => {}
            Some(Some(table)) => {
                let given = table.clone();
                for (name, value) in given {
                    match value.as_str() {
                        Some(value) => {
                            env.insert(name, Secret::new(value));
                        }
                        None => self.wrong(&format!("env.{name}"), "a text"),
                    }
                }
            }
            Some(None) => self.wrong("env", "a table of texts"),
        }
        env
    }

    fn token(&mut self) -> Option<Secret> {
        self.secret("token", "token_file")
    }

    /// A secret, as itself or in a file.
    pub(super) fn secret(&mut self, key: &str, by_file: &str) -> Option<Secret> {
        let path = self.path.clone();
        let text = match (self.text(key), self.text(by_file)) {
            (Some(_), Some(_)) => {
                self.problems.push(format!(
                    "`[{path}]` has both `{key}` and `{by_file}`: keep one"
                ));
                return None;
            }
            (Some(text), None) => text,
            (None, Some(file)) => match std::fs::read_to_string(&file) {
                Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
                Err(error) => {
                    self.problems.push(format!(
                        "`{path}.{by_file}` names {file}, which cannot be read: {error}"
                    ));
                    return None;
                }
            },
            (None, None) => return None,
        };
        if let Err(weak) = secret::check(&text, secret::MIN_ISSUED) {
            self.problems.push(format!("`{path}.{key}` {weak}"));
        }
        Some(Secret::new(text))
    }
}
