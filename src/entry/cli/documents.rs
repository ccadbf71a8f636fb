//! Commands on named documents: sources, registered tools, servers, access rules, organisations,
//! people, providers. All of them are listed, shown, made from a file, replaced and deleted alike,
//! by the operations that stand at the same paths of REST; what a document may say, and what is
//! wrong with one, is the server's to tell.
//!
//! A file is JSON, TOML or YAML, by its ending. A secret in it is best not written there:
//! `{"env": "NAME"}` or `{"file": "PATH"}` in its place is read here.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::door::Door;
use super::{Actor, Failure, Json, print};
use crate::domain::strict;
use crate::entry::operations::{self, Operation};

/// A kind of document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Where tools reach.
    Source,
    /// A registered tool.
    Tool,
    /// A virtual MCP server.
    Server,
    /// An access rule.
    Access,
    /// An organisation.
    Org,
    /// A person.
    Person,
    /// A provider of models.
    Provider,
    /// Texts that people keep to be found.
    Document,
}

impl Kind {
    /// The path of the list on REST.
    pub fn path(self) -> &'static str {
        match self {
            Kind::Source => "/v1/sources",
            Kind::Tool => "/v1/tools",
            Kind::Server => "/v1/servers",
            Kind::Access => "/v1/access",
            Kind::Org => "/v1/orgs",
            Kind::Person => "/v1/people",
            Kind::Provider => "/v1/providers",
            Kind::Document => "/v1/documents",
        }
    }

    /// What the list is called in an answer.
    pub fn list(self) -> &'static str {
        match self {
            Kind::Source => "sources",
            Kind::Tool => "tools",
            Kind::Server => "servers",
            Kind::Access => "rules",
            Kind::Org => "orgs",
            Kind::Person => "people",
            Kind::Provider => "providers",
            Kind::Document => "documents",
        }
    }

    /// Columns of its table: heading and place.
    fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::Source => &[
                ("source", "/name"),
                ("kind", "/kind"),
                ("version", "/version"),
                ("changed", "/changed_at"),
                ("by", "/changed_by"),
            ],
            Kind::Tool => &[
                ("tool", "/name"),
                ("risk", "/risk"),
                ("standing", "/standing"),
            ],
            Kind::Server => &[
                ("server", "/name"),
                ("tools", "/tools"),
                ("enabled", "/enabled"),
                ("version", "/version"),
            ],
            Kind::Access => &[
                ("id", "/id"),
                ("name", "/name"),
                ("effect", "/effect"),
                ("who", "/who"),
                ("what", "/what"),
                ("enabled", "/enabled"),
            ],
            Kind::Org => &[("org", "/org"), ("name", "/name"), ("made", "/created_at")],
            Kind::Person => &[
                ("id", "/id"),
                ("name", "/name"),
                ("roles", "/roles"),
                ("email", "/email"),
            ],
            Kind::Provider => &[
                ("provider", "/name"),
                ("kind", "/kind"),
                ("health", "/health"),
                ("models", "/models"),
            ],
            Kind::Document => &[
                ("id", "/id"),
                ("title", "/title"),
                ("labels", "/labels"),
                ("visible to", "/visible_to"),
                ("bytes", "/bytes"),
            ],
        }
    }
}

/// As whom, where, and how to print.
#[derive(clap::Args, Clone, Debug)]
pub struct How {
    /// As whom, and where.
    #[command(flatten)]
    pub actor: Actor,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

/// One document by name.
#[derive(clap::Args, Clone, Debug)]
pub struct Named {
    /// Its name (or id)
    pub name: String,
    /// As whom, where, and how to print.
    #[command(flatten)]
    pub how: How,
}

/// What can be done with every kind of document.
#[derive(clap::Subcommand, Debug)]
pub enum Common {
    /// Show all of them
    List(How),
    /// Show one in full
    Show(Named),
    /// Make, change and delete.
    #[command(flatten)]
    Change(Change),
}

/// What changes documents.
#[derive(clap::Subcommand, Debug)]
pub enum Change {
    /// Make one from a file
    Create {
        /// JSON, TOML or YAML by its ending; `-` is JSON on stdin
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: How,
    },
    /// Replace one with what a file says
    Update {
        /// Its name (or id)
        name: String,
        /// JSON, TOML or YAML by its ending; `-` is JSON on stdin
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: How,
    },
    /// Delete the one of this name
    Delete(Named),
}

impl Common {
    /// As whom to act, and where.
    pub fn actor(&self) -> &Actor {
        match self {
            Common::List(how) => &how.actor,
            Common::Show(named) => &named.how.actor,
            Common::Change(change) => change.actor(),
        }
    }
}

impl Change {
    /// As whom to act, and where.
    pub fn actor(&self) -> &Actor {
        match self {
            Change::Create { how, .. } | Change::Update { how, .. } => &how.actor,
            Change::Delete(named) => &named.how.actor,
        }
    }
}

/// Lists, shows or changes.
pub async fn run(
    kind: Kind,
    command: &Common,
    door: &Door,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match command {
        Common::List(how) => {
            let told = ask(door, "get", kind.path(), None, Map::new()).await?;
            if how.json.json {
                print::json(out, &told)?;
            } else {
                let (heading, places): (Vec<&str>, Vec<&str>) =
                    kind.columns().iter().copied().unzip();
                let rows = print::rows(&told, kind.list(), &places);
                print::table(out, &heading, rows, "there are none yet")?;
            }
            Ok(out.flush()?)
        }
        Common::Show(named) => {
            let told = ask(door, "get", &one(kind), Some(&named.name), Map::new()).await?;
            tell(&told, named.how.json, out)
        }
        Common::Change(command) => change(kind, command, door, out).await,
    }
}

/// Makes, replaces or deletes.
pub async fn change(
    kind: Kind,
    command: &Change,
    door: &Door,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match command {
        Change::Create { file, how } => {
            let told = ask(door, "post", kind.path(), None, document(file)?).await?;
            tell(&told, how.json, out)
        }
        Change::Update { name, file, how } => {
            let mut input = document(file)?;
            let method = match operation("put", &one(kind)) {
                Some(_) => "put",
                None => "patch",
            };
            // What was read can be sent back; who changed it last is not part of it.
            for field in ["changed_by", "changed_at"] {
                input.remove(field);
            }
            let told = ask(door, method, &one(kind), Some(name), input).await?;
            tell(&told, how.json, out)
        }
        Change::Delete(named) => {
            let told = ask(door, "delete", &one(kind), Some(&named.name), Map::new()).await?;
            if named.how.json.json {
                print::json(out, &told)?;
            } else {
                writeln!(out, "{} is deleted", print::plain(&named.name))?;
            }
            Ok(out.flush()?)
        }
    }
}

/// The path of one document.
pub fn one(kind: Kind) -> String {
    format!("{}/{{}}", kind.path())
}

/// Asks for the operation at a method and a path, where `{}` stands for a name in it.
pub async fn ask(
    door: &Door,
    method: &str,
    path: &str,
    name: Option<&str>,
    mut input: Map<String, Value>,
) -> Result<Value, Failure> {
    let missing = || Failure::of(format!("this hundi has no `{method} {path}`"));
    let operation = operation(method, path).ok_or_else(missing)?;
    if let Some(name) = name {
        let rest = operation.rest.as_ref().ok_or_else(missing)?;
        let (_, field) = rest.names().next().ok_or_else(missing)?;
        input.insert(field.to_owned(), json!(name));
    }
    door.ask(operation.name, Value::Object(input)).await
}

fn operation(method: &str, path: &str) -> Option<&'static Operation> {
    let shape = |path: &str| {
        let parts = path.split('/').map(|part| match part.starts_with('{') {
            true => "{}",
            false => part,
        });
        parts.collect::<Vec<_>>().join("/")
    };
    let stands = |operation: &&Operation| {
        let rest = operation.rest.as_ref();
        rest.is_some_and(|rest| rest.method == method && shape(rest.path) == path)
    };
    operations::table().iter().find(stands)
}

/// Prints an answer: whole as JSON, or field by field.
pub fn tell(told: &Value, json: Json, out: &mut dyn Write) -> Result<(), Failure> {
    if json.json {
        print::json(out, told)?;
    } else {
        let mut told = told.clone();
        let warnings = print::take_warnings(&mut told);
        let fields = told.as_object().into_iter().flatten();
        let fields =
            fields.map(|(name, _)| (name.as_str(), print::word(&told, &format!("/{name}"))));
        let fields: Vec<(&str, String)> = fields.filter(|(_, text)| !text.is_empty()).collect();
        print::pairs(out, &fields)?;
        for warning in warnings {
            writeln!(out, "\n{warning}")?;
        }
    }
    Ok(out.flush()?)
}

/// A document out of a file, with its secrets looked up.
pub fn document(file: &Path) -> Result<Map<String, Value>, Failure> {
    let Value::Object(mut fields) = read(file)? else {
        return Err(unreadable(
            file,
            &"it is no document: an object is expected",
        ));
    };
    look_up(&mut fields)?;
    Ok(fields)
}

/// Puts the values of `{"env": NAME}` and `{"file": PATH}` in the places of secrets.
pub fn look_up(document: &mut Map<String, Value>) -> Result<(), Failure> {
    let secrets = document.get_mut("secrets").and_then(Value::as_object_mut);
    for (name, value) in secrets.into_iter().flatten() {
        *value = secret(name, value)?;
    }
    if let Some(key) = document.get_mut("key") {
        *key = secret("key", key)?;
    }
    Ok(())
}

fn secret(name: &str, value: &Value) -> Result<Value, Failure> {
    let Some(place) = value.as_object().filter(|place| place.len() == 1) else {
        return Ok(value.clone());
    };
    let text = |field: &str| place.get(field).and_then(Value::as_str);
    let missing = |what: String| Failure::of(format!("the secret `{name}`: {what}"));
    match (text("env"), text("file")) {
        (Some(variable), _) => crate::ambient::variable(variable)
            .map(Value::String)
            .ok_or_else(|| missing(format!("the variable {variable} is not set"))),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| json!(text.trim_end_matches(['\r', '\n'])))
            .map_err(|error| missing(format!("{path} cannot be read: {error}"))),
        (None, None) => Err(missing(
            r#"give a text, {"env": NAME} or {"file": PATH}"#.to_owned(),
        )),
    }
}

/// What a file says: JSON, TOML or YAML by its ending, `-` is JSON on stdin.
pub fn read(file: &Path) -> Result<Value, Failure> {
    let mut text = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX) + 1;
    let opened: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file).map_err(|error| unreadable(file, &error))?),
    };
    let got = opened.take(most).read_to_end(&mut text);
    got.map_err(|error| unreadable(file, &error))?;
    if text.len() > MAX_FILE {
        return Err(unreadable(
            file,
            &format!("it is longer than {MAX_FILE} bytes"),
        ));
    }
    let ending = file.extension().and_then(|ending| ending.to_str());
    match ending {
        Some("toml") => {
            let text = String::from_utf8_lossy(&text);
            toml::from_str(&text).map_err(|error| unreadable(file, &error.message()))
        }
        Some("yaml" | "yml") => {
            // Its own values know a name that is given twice; ours would keep the last.
            let read: Result<serde_yaml_ng::Value, _> = serde_yaml_ng::from_slice(&text);
            let told = read.and_then(serde_yaml_ng::from_value);
            told.map_err(|error| unreadable(file, &error))
        }
        Some(_) | None if text.len() <= strict::MAX_BYTES => {
            strict::parse(&text).map_err(|error| unreadable(file, &error))
        }
        // Descriptions of large APIs are longer than any request may be.
        Some(_) | None => serde_json::from_slice(&text).map_err(|error| unreadable(file, &error)),
    }
}

/// Longest file that is read, in bytes: the descriptions of large APIs have a dozen MiB.
const MAX_FILE: usize = 32 * 1024 * 1024;

fn unreadable(file: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!(
        "{}: {why}",
        print::plain(&file.display().to_string())
    ))
}

/// JSON that was typed as an argument.
pub fn parse(text: &str) -> Result<Value, Failure> {
    strict::parse(text.as_bytes()).map_err(|error| Failure::Usage(format!("no JSON: {error}")))
}
