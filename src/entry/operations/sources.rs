//! Sources: where registered tools reach. Secrets go in and never come out.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Call, Effect, Nothing, Operation, Reply, Rest};
use crate::broker::Trouble;
use crate::broker::tools::sources::{SecretChanges, SourceAnswer, SourceView};
use crate::domain::principal::Right;
use crate::domain::secret::Secret;

/// The path's name is the source's; the body may say it, too.
const SPELT: &[(&str, &str)] = &[("name", "source")];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("create_source", create)
            .says(
                "Make a source",
                "Make a source: a database, an API, another MCP server or a program that tools reach.",
            )
            .needs(&[Right::Develop])
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/sources")
                    .answers(201, "the source")
                    .problems(&[409]),
            ),
        Operation::new("list_sources", list)
            .says("List sources", "Every source of the organisation.")
            .needs(&[Right::ReadSetup])
            .rest(Rest::get("/v1/sources").answers(200, "the sources")),
        Operation::new("get_source", read)
            .says("Read a source", "One source. Of its secrets, which are set and since when.")
            .needs(&[Right::ReadSetup])
            .rest(
                Rest::get("/v1/sources/{name}")
                    .spelt(SPELT)
                    .answers(200, "the source"),
            ),
        Operation::new("replace_source", replace)
            .says(
                "Replace a source",
                "Replace a source. Secrets that are not named stay, unless it now reaches elsewhere.",
            )
            .needs(&[Right::Develop])
            .does(Effect::Sets)
            .rest(
                Rest::put("/v1/sources/{name}")
                    .spelt(SPELT)
                    .answers(200, "the source")
                    .problems(&[409]),
            ),
        Operation::new("delete_source", delete)
            .says("Delete a source", "Delete a source that no tool uses.")
            .needs(&[Right::Develop])
            .does(Effect::Acts)
            .rest(
                Rest::delete("/v1/sources/{name}")
                    .spelt(SPELT)
                    .answers(200, "that it is deleted")
                    .problems(&[409]),
            ),
        Operation::new("ping_source", ping)
            .says("Ping a source", "Ask a source whether it is there and lets us in.")
            .needs(&[Right::Develop])
            .rest(
                Rest::post("/v1/sources/{name}/ping")
                    .spelt(SPELT)
                    .answers(200, "what it said"),
            ),
        Operation::new("prepare_source", prepare)
            .says(
                "Prepare a source",
                "Make the table in which a database keeps which proposals were carried out.",
            )
            .needs(&[Right::Develop])
            .does(Effect::Sets)
            .rest(
                Rest::post("/v1/sources/{name}/prepare")
                    .spelt(SPELT)
                    .answers(200, "what it said"),
            ),
        Operation::new("rotate_source", rotate)
            .says("Rotate a source's data key", "Seal a source's secrets under a new data key.")
            .needs(&[Right::Develop])
            .does(Effect::Sets)
            .rest(
                Rest::post("/v1/sources/{name}/rotate")
                    .spelt(SPELT)
                    .answers(200, "the source")
                    .problems(&[409]),
            ),
    ]
}

/// A source as people see it.
#[derive(Serialize, JsonSchema)]
struct Source {
    name: String,
    kind: String,
    config: Map<String, Value>,
    limits: Map<String, Value>,
    /// Which secrets are set.
    secrets: BTreeMap<String, Set>,
    version: u64,
    changed_by: String,
    changed_at: String,
}

/// A secret, as far as anybody may know it.
#[derive(Serialize, JsonSchema)]
struct Set {
    set: bool,
    changed_at: String,
}

impl From<SourceView> for Source {
    fn from(view: SourceView) -> Self {
        let object = |value: Value| match value {
            Value::Object(fields) => fields,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        };
        let secrets = view.secrets.into_iter().map(|(name, at)| {
            let changed_at = at.to_string();
            (
                name,
                Set {
                    set: true,
                    changed_at,
                },
            )
        });
        Self {
            kind: view.source.kind().code().to_owned(),
            config: object(json!(view.source.config)),
            limits: object(json!(view.source.limits)),
            name: view.source.name,
            secrets: secrets.collect(),
            version: view.version,
            changed_by: view.changed_by,
            changed_at: view.changed_at.to_string(),
        }
    }
}

/// A source as somebody writes it. What belongs in `config` depends on `kind`, and is checked
/// field by field.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewSource {
    /// 1 to 56 of letters, digits, `_` and `-`.
    name: String,
    /// `postgres`, `sqlite`, `rest`, `mcp` or `program`.
    kind: String,
    /// Where it is and how it is spoken to; never a secret.
    config: Map<String, Value>,
    /// How much of it may be used.
    limits: Option<Map<String, Value>>,
    /// What opens it, by name. Written, never read back; null takes one away.
    secrets: Option<BTreeMap<String, Option<String>>>,
}

async fn create(call: Call, new: NewSource) -> Result<Reply<Source>, Trouble> {
    let document = document(&new.name, &new.kind, new.config, new.limits);
    let made = call
        .broker
        .tools
        .create_source(&call.who, &document, changes(new.secrets))
        .await?;
    Ok(Reply::created(made.into()))
}

#[derive(Serialize, JsonSchema)]
struct SourceList {
    sources: Vec<Source>,
}

async fn list(call: Call, _: Nothing) -> Result<SourceList, Trouble> {
    let sources = call.broker.tools.sources(&call.who).await?;
    let sources = sources.into_iter().map(Source::from).collect();
    Ok(SourceList { sources })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedSource {
    /// The source's name.
    source: String,
}

async fn read(call: Call, named: NamedSource) -> Result<Source, Trouble> {
    let view = call.broker.tools.source(&call.who, &named.source).await?;
    Ok(view.into())
}

/// What takes the place of a source.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReplaceSource {
    /// The source's name.
    source: String,
    /// The same, if it is said.
    name: Option<String>,
    /// `postgres`, `sqlite`, `rest`, `mcp` or `program`.
    kind: String,
    /// Where it is and how it is spoken to; never a secret.
    config: Map<String, Value>,
    /// How much of it may be used.
    limits: Option<Map<String, Value>>,
    /// Those that change; null takes one away.
    secrets: Option<BTreeMap<String, Option<String>>>,
    /// The version that is replaced, if it matters.
    version: Option<u64>,
}

async fn replace(call: Call, next: ReplaceSource) -> Result<Source, Trouble> {
    let name = next.name.unwrap_or_else(|| next.source.clone());
    let document = document(&name, &next.kind, next.config, next.limits);
    let secrets = changes(next.secrets);
    let view = call
        .broker
        .tools
        .replace_source(&call.who, &next.source, &document, secrets, next.version)
        .await?;
    Ok(view.into())
}

#[derive(Serialize, JsonSchema)]
struct Deleted {
    name: String,
    deleted: bool,
}

async fn delete(call: Call, named: NamedSource) -> Result<Deleted, Trouble> {
    let name = named.source;
    call.broker.tools.delete_source(&call.who, &name).await?;
    Ok(Deleted {
        name,
        deleted: true,
    })
}

/// What a source answered.
#[derive(Serialize, JsonSchema)]
struct Said {
    ok: bool,
    latency_ms: Option<u64>,
    detail: String,
    /// What its operator had better change.
    advice: Vec<String>,
}

impl From<SourceAnswer> for Said {
    fn from(answer: SourceAnswer) -> Self {
        Self {
            ok: answer.ok,
            latency_ms: answer.latency_ms,
            detail: answer.detail,
            advice: answer.advice,
        }
    }
}

async fn ping(call: Call, named: NamedSource) -> Result<Said, Trouble> {
    let tools = &call.broker.tools;
    Ok(tools.ping_source(&call.who, &named.source).await?.into())
}

async fn prepare(call: Call, named: NamedSource) -> Result<Said, Trouble> {
    let tools = &call.broker.tools;
    Ok(tools.prepare_source(&call.who, &named.source).await?.into())
}

async fn rotate(call: Call, named: NamedSource) -> Result<Source, Trouble> {
    let tools = &call.broker.tools;
    Ok(tools.rotate_source(&call.who, &named.source).await?.into())
}

fn document(
    name: &str,
    kind: &str,
    config: Map<String, Value>,
    limits: Option<Map<String, Value>>,
) -> Value {
    let mut document = json!({"name": name, "kind": kind, "config": config});
    if let Some(limits) = limits {
        document["limits"] = Value::Object(limits);
    }
    document
}

fn changes(secrets: Option<BTreeMap<String, Option<String>>>) -> SecretChanges {
    let secrets = secrets.unwrap_or_default().into_iter();
    secrets
        .map(|(name, text)| (name, text.map(Secret::new)))
        .collect()
}
