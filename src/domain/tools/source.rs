//! A source: where tools reach. What it is, and never the secrets that open it.
//!
//! A source is written by people who may register tools and may not be trusted with the machine:
//! nothing in it can start a program, name a file outside the configured folders, or choose a
//! credential of the broker's own environment.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::def::valid_name;
use super::headers::{header_name, header_value};
use super::invalid::{Invalid, read};
use crate::domain::secret::Secret;

/// Most connections of a source.
const MOST_CONNECTIONS: u32 = 100;
/// Longest a statement may take.
const MOST_TIMEOUT_MS: u64 = 10 * 60 * 1_000;
/// Which kind of source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// A PostgreSQL database.
    Postgres,
    /// A SQLite file.
    Sqlite,
    /// An API over HTTP.
    Rest,
    /// Another MCP server.
    Mcp,
    /// A program of the configuration file.
    Program,
}

impl SourceKind {
    /// The word in documents.
    pub fn code(self) -> &'static str {
        match self {
            SourceKind::Postgres => "postgres",
            SourceKind::Sqlite => "sqlite",
            SourceKind::Rest => "rest",
            SourceKind::Mcp => "mcp",
            SourceKind::Program => "program",
        }
    }
}

/// A source.
#[derive(Clone, PartialEq, Debug)]
pub struct Source {
    /// Its name, unique in its organisation.
    pub name: String,
    /// What it is.
    pub config: SourceConfig,
    /// How much of it may be used.
    pub limits: Limits,
}

/// What a source is.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum SourceConfig {
    /// A PostgreSQL database.
    Postgres(PostgresSource),
    /// A SQLite file.
    Sqlite(SqliteSource),
    /// An API over HTTP.
    Rest(RestSource),
    /// Another MCP server.
    Mcp(McpSource),
    /// A program.
    Program(ProgramSource),
}

/// How much of a source may be used.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest that one call may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Longest answer that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Most calls at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
}

/// A PostgreSQL database. Either these fields, or the secret `url`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSource {
    /// Name or address; not a folder of sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// 5432 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its name there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The role to sign in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: Tls,
    /// Connections for reads, and as many again for writes.
    #[serde(default = "default_connections")]
    pub max_connections: u32,
    /// Longest a statement may take.
    #[serde(default = "default_timeout")]
    pub statement_timeout_ms: u64,
}

/// How a connection is protected, in the words of libpq.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// In clear.
    Disable,
    /// Encrypted where the server can.
    #[default]
    Prefer,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, with a certificate for this host.
    VerifyFull,
}

/// A SQLite file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteSource {
    /// Its absolute path, below a folder of the configuration.
    pub path: String,
}

/// An API over HTTP.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestSource {
    /// Everything that is asked lies below it.
    pub base_url: String,
    /// How we show who we are.
    #[serde(default)]
    pub auth: Auth,
    /// The header of `auth: header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The query parameter of `auth: query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Where `auth: client_credentials` gets its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// What it asks for there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Sent with every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Private addresses may be reached, as far as the configuration allows it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_private: bool,
}

/// How we show who we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// With a token in `Authorization`.
    Bearer,
    /// With a name and a password.
    Basic,
    /// With a value in a header.
    Header,
    /// With a value in the query.
    Query,
    /// With a token that OAuth's client credentials grant gave.
    ClientCredentials,
}

/// Another MCP server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpSource {
    /// Its address.
    pub url: String,
    /// Sent with every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Private addresses may be reached, as far as the configuration allows it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_private: bool,
}

/// A program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramSource {
    /// Its name in the configuration file.
    pub program: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    kind: SourceKind,
    config: Value,
    #[serde(default)]
    limits: Option<Limits>,
}

impl Source {
    /// Reads a document `{name, kind, config, limits?}`. Secrets have been taken out of it before.
    pub fn read(document: &Value) -> Result<Self, Invalid> {
        let refuse = |pointer: String, detail: String| Invalid::source(pointer, detail);
        let parts: Document = read(document, "", refuse)?;
        valid_name(&parts.name).map_err(|why| Invalid::source("/name", why))?;
        let (value, at) = (&parts.config, "/config");
        let config = match parts.kind {
            SourceKind::Postgres => SourceConfig::Postgres(read(value, at, refuse)?),
            SourceKind::Sqlite => SourceConfig::Sqlite(read(value, at, refuse)?),
            SourceKind::Rest => SourceConfig::Rest(read(value, at, refuse)?),
            SourceKind::Mcp => SourceConfig::Mcp(read(value, at, refuse)?),
            SourceKind::Program => SourceConfig::Program(read(value, at, refuse)?),
        };
        config.check()?;
        let limits = parts.limits.unwrap_or_default();
        limits.check()?;
        Ok(Self {
            name: parts.name,
            config,
            limits,
        })
    }

    /// The document that it was read from.
    pub fn document(&self) -> Value {
        let kind = self.kind().code();
        json!({"name": self.name, "kind": kind, "config": self.config, "limits": self.limits})
    }

    /// Its kind.
    pub fn kind(&self) -> SourceKind {
        match &self.config {
            SourceConfig::Postgres(_) => SourceKind::Postgres,
            SourceConfig::Sqlite(_) => SourceKind::Sqlite,
            SourceConfig::Rest(_) => SourceKind::Rest,
            SourceConfig::Mcp(_) => SourceKind::Mcp,
            SourceConfig::Program(_) => SourceKind::Program,
        }
    }

    /// Checks that the secrets are those that it takes: none is missing and none is unknown.
    pub fn check_secrets(&self, secrets: &BTreeMap<String, Secret>) -> Result<(), Invalid> {
        let (needed, optional) = self.secret_names();
        let missing = needed.iter().find(|name| !secrets.contains_key(**name));
        if let Some(name) = missing {
            let detail = format!("a {} source of this form needs it", self.kind().code());
            return Err(Invalid::source(format!("/secrets/{name}"), detail));
        }
        let empty = secrets
            .iter()
            .find(|(_, secret)| secret.expose().is_empty());
        if let Some((name, _)) = empty {
            let detail = "is empty, so it opens nothing; null takes a secret away";
            return Err(Invalid::source(format!("/secrets/{name}"), detail));
        }
        if let SourceConfig::Postgres(_) = &self.config
            && let Some(url) = secrets.get("url")
            && !is_postgres(url.expose())
        {
            let detail = "is no postgres://user:password@host/database";
            return Err(Invalid::source("/secrets/url", detail));
        }
        let known: BTreeSet<&str> = needed.into_iter().chain(optional).collect();
        let unknown = secrets.keys().find(|name| !known.contains(name.as_str()));
        match unknown {
            Some(name) => {
                let known = Vec::from_iter(known).join("`, `");
                let detail = match known.is_empty() {
                    true => "this source takes no secrets".to_owned(),
                    false => format!("this source takes `{known}`"),
                };
                let name = name.replace('~', "~0").replace('/', "~1");
                Err(Invalid::source(format!("/secrets/{name}"), detail))
            }
            None => Ok(()),
        }
    }

    /// The names of the secrets that it needs, and of those that it may have.
    pub fn secret_names(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        match &self.config {
            SourceConfig::Postgres(postgres) => match postgres.host {
                Some(_) => (vec![], vec!["password"]),
                None => (vec!["url"], vec![]),
            },
            SourceConfig::Rest(rest) => match rest.auth {
                Auth::None => (vec![], vec![]),
                Auth::Bearer => (vec!["token"], vec![]),
                Auth::Basic => (vec!["username", "password"], vec![]),
                Auth::Header | Auth::Query => (vec!["value"], vec![]),
                Auth::ClientCredentials => (vec!["client_id", "client_secret"], vec![]),
            },
            SourceConfig::Mcp(_) => (vec![], vec!["token"]),
            SourceConfig::Sqlite(_) | SourceConfig::Program(_) => (vec![], vec![]),
        }
    }
}

impl SourceConfig {
    fn check(&self) -> Result<(), Invalid> {
        match self {
            SourceConfig::Postgres(postgres) => postgres.check(),
            SourceConfig::Sqlite(sqlite) => sqlite.check(),
            SourceConfig::Rest(rest) => rest.check(),
            SourceConfig::Mcp(mcp) => {
                http_url(&mcp.url, "/config/url")?;
                headers(&mcp.headers)
            }
            SourceConfig::Program(program) => {
                valid_name(&program.program).map_err(|why| Invalid::source("/config/program", why))
            }
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), Invalid> {
        let most_bytes = super::exec::MOST_BYTES;
        within("/limits/timeout_ms", self.timeout_ms, MOST_TIMEOUT_MS)?;
        within("/limits/max_bytes", self.max_bytes, most_bytes)?;
        let concurrent = self.max_concurrent.map(u64::from);
        within("/limits/max_concurrent", concurrent, 10_000)
    }
}

impl PostgresSource {
    fn check(&self) -> Result<(), Invalid> {
        let given = [&self.host, &self.database, &self.user];
        let names = ["host", "database", "user"];
        let missing = given.iter().zip(names).find(|(field, _)| field.is_none());
        if let Some((_, name)) = missing
            && (self.port.is_some() || given.iter().any(|field| field.is_some()))
        {
            let detail = "give `host`, `database` and `user`, or the secret `url` alone";
            return Err(Invalid::source(format!("/config/{name}"), detail));
        }
        for (field, name) in given.iter().zip(names) {
            let text = field.as_deref().unwrap_or("-");
            let odd = text.is_empty() || text.len() > 255 || text.contains(char::is_control);
            if odd || name == "host" && text.contains(['/', '@', ' ', ',']) {
                let detail = "must be a plain name of at most 255 bytes; not a folder of sockets";
                return Err(Invalid::source(format!("/config/{name}"), detail));
            }
        }
        let connections = Some(self.max_connections.into());
        within(
            "/config/max_connections",
            connections,
            MOST_CONNECTIONS.into(),
        )?;
        let timeout = Some(self.statement_timeout_ms);
        within("/config/statement_timeout_ms", timeout, MOST_TIMEOUT_MS)
    }
}

impl SqliteSource {
    fn check(&self) -> Result<(), Invalid> {
        let path = &self.path;
        let wrong = !path.starts_with('/')
            || path.split('/').any(|step| step == "..")
            || path.contains(char::is_control)
            || path.len() > 4096;
        match wrong {
            false => Ok(()),
            true => Err(Invalid::source(
                "/config/path",
                "must be an absolute path without `..`",
            )),
        }
    }
}

impl RestSource {
    fn check(&self) -> Result<(), Invalid> {
        http_url(&self.base_url, "/config/base_url")?;
        let wants = |auth: Auth, name: &str, given: bool| match (self.auth == auth, given) {
            (true, false) => Err(Invalid::source(
                format!("/config/{name}"),
                "is needed for this `auth`",
            )),
            (false, true) => Err(Invalid::source(
                format!("/config/{name}"),
                "does not go with this `auth`",
            )),
            (true, true) | (false, false) => Ok(()),
        };
        wants(Auth::Header, "header", self.header.is_some())?;
        wants(Auth::Query, "query", self.query.is_some())?;
        let has_token_url = self.token_url.is_some();
        wants(Auth::ClientCredentials, "token_url", has_token_url)?;
        if self.auth != Auth::ClientCredentials && !self.scopes.is_empty() {
            wants(Auth::ClientCredentials, "scopes", true)?;
        }
        if let Some(token_url) = &self.token_url {
            http_url(token_url, "/config/token_url")?;
        }
        // `Authorization: Token ...` is a header like any other, if it is the credential.
        if let Some(name) = &self.header
            && !name.eq_ignore_ascii_case("authorization")
        {
            header_name(name).map_err(|why| Invalid::source("/config/header", why))?;
        }
        headers(&self.headers)
    }
}

fn within(pointer: &str, value: Option<u64>, most: u64) -> Result<(), Invalid> {
    match value.is_none_or(|value| (1..=most).contains(&value)) {
        true => Ok(()),
        false => Err(Invalid::source(
            pointer,
            format!("must be between 1 and {most}"),
        )),
    }
}

/// An address of a service: http or https, a host, nothing secret in it.
pub(super) fn http_url(text: &str, pointer: &str) -> Result<Url, Invalid> {
    let wrong = |detail: &str| Err(Invalid::source(pointer, detail));
    let Ok(url) = Url::parse(text) else {
        return wrong("is no address: write it as https://api.example.com/v1");
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return wrong("must begin with http:// or https:// and name a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("must not carry a name or password: they belong into `secrets`");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("must not have a query or fragment");
    }
    Ok(url)
}

fn headers(given: &BTreeMap<String, String>) -> Result<(), Invalid> {
    for (name, value) in given {
        let pointer = format!("/config/headers/{}", name.replace('/', "~1"));
        header_name(name).map_err(|why| Invalid::source(pointer.clone(), why))?;
        if !header_value(value) {
            let detail = "must be printable text of at most 4096 bytes, without line breaks";
            return Err(Invalid::source(pointer, detail));
        }
    }
    Ok(())
}

fn default_connections() -> u32 {
    8
}

fn default_timeout() -> u64 {
    5_000
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Whether a text is the address of a database: whom it asks as whom stands in it.
fn is_postgres(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let scheme = matches!(url.scheme(), "postgres" | "postgresql");
    let host = url.host_str().is_some_and(|host| !host.is_empty());
    scheme && host && !url.username().is_empty()
}

#[cfg(test)]
mod tests;
