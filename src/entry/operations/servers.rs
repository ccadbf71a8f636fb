//! Virtual MCP servers and their keys.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Call, Effect, Nothing, Operation, Reply, Rest};
use crate::broker::Trouble;
use crate::broker::access::server_keys::ServerKeyInfo;
use crate::broker::access::servers::ServerView;
use crate::domain::ids::AgentId;
use crate::domain::principal::Right;
use crate::domain::time::Timestamp;

/// The path's name is the server's; a document may say it, too.
const SPELT: &[(&str, &str)] = &[("name", "server"), ("id", "server_key")];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("create_server", create)
            .says(
                "Make a virtual MCP server",
                "Make a virtual MCP server: `/mcp/{name}` then lists and calls exactly these tools. A \
                 tool that nobody has is refused, with the name that was probably meant.",
            )
            .needs(&[Right::Develop])
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/servers")
                    .answers(201, "the server")
                    .problems(&[409]),
            ),
        Operation::new("list_servers", list)
            .says("List virtual MCP servers", "Every virtual MCP server of the organisation.")
            .needs(&[Right::ReadSetup])
            .rest(Rest::get("/v1/servers").answers(200, "the servers")),
        Operation::new("get_server", read)
            .says("Read a virtual MCP server", "One virtual MCP server, with its keys but for their secrets.")
            .needs(&[Right::ReadSetup])
            .rest(named(Rest::get("/v1/servers/{name}")).answers(200, "the server")),
        Operation::new("replace_server", replace)
            .says(
                "Replace a virtual MCP server",
                "Replace a virtual MCP server. Whoever is connected hears of a changed list within a \
                 second.",
            )
            .needs(&[Right::Develop])
            .does(Effect::Sets)
            .rest(
                named(Rest::put("/v1/servers/{name}"))
                    .answers(200, "the server")
                    .problems(&[409]),
            ),
        Operation::new("delete_server", delete)
            .says("Delete a virtual MCP server", "Delete a virtual MCP server and its keys.")
            .needs(&[Right::Develop])
            .does(Effect::Acts)
            .rest(
                named(Rest::delete("/v1/servers/{name}"))
                    .answers(200, "that it is deleted")
                    .problems(&[409]),
            ),
        Operation::new("enable_server", |call, server| switch(call, server, true))
            .says("Enable a virtual MCP server", "Let a virtual MCP server be used.")
            .needs(&[Right::Develop])
            .does(Effect::Sets)
            .rest(
                named(Rest::post("/v1/servers/{name}/enable"))
                    .answers(200, "the server")
                    .problems(&[409]),
            ),
        Operation::new("disable_server", |call, server| switch(call, server, false))
            .says(
                "Disable a virtual MCP server",
                "Let nobody use a virtual MCP server; it then answers like one that is not there.",
            )
            .needs(&[Right::Develop])
            .does(Effect::Sets)
            .rest(
                named(Rest::post("/v1/servers/{name}/disable"))
                    .answers(200, "the server")
                    .problems(&[409]),
            ),
        Operation::new("create_server_key", create_key)
            .says(
                "Make a key of a server",
                "Make a key that opens this server alone. It is shown once. Its holder acts as `agent`, \
                 which takes the right to keep agents' keys, or else as `server:NAME`.",
            )
            .needs(&[Right::Develop])
            .does(Effect::Acts)
            .rest(
                named(Rest::post("/v1/servers/{name}/keys"))
                    .answers(201, "the key, shown this once"),
            ),
        Operation::new("rotate_server_key", rotate)
            .says(
                "Rotate a key of a server",
                "Give a key another text, shown once. The one before stays good for `grace_secs`.",
            )
            .needs(&[Right::Develop])
            .does(Effect::Acts)
            .rest(
                named(Rest::post("/v1/servers/{name}/keys/{id}/rotate"))
                    .answers(200, "the key, shown this once"),
            ),
        Operation::new("delete_server_key", delete_key)
            .says("End a key of a server", "End a key of a server, at once on every node.")
            .needs(&[Right::Develop])
            .does(Effect::Acts)
            .rest(
                named(Rest::delete("/v1/servers/{name}/keys/{id}"))
                    .answers(200, "that it is deleted"),
            ),
    ]
}

fn named(rest: Rest) -> Rest {
    rest.spelt(SPELT)
}

/// A virtual MCP server: its document, and what is known of it.
#[derive(Serialize, JsonSchema)]
struct VirtualServer {
    #[serde(flatten)]
    document: Map<String, Value>,
    /// Its keys, without their secrets.
    keys: Vec<ServerKey>,
    version: u64,
    changed_by: String,
    changed_at: String,
}

impl From<ServerView> for VirtualServer {
    fn from(view: ServerView) -> Self {
        Self {
            document: view.document.as_object().cloned().unwrap_or_default(),
            keys: view.keys.into_iter().map(ServerKey::from).collect(),
            version: view.version,
            changed_by: view.changed_by,
            changed_at: view.changed_at.to_string(),
        }
    }
}

/// A key of a server, without its secret.
#[derive(Serialize, JsonSchema)]
struct ServerKey {
    id: String,
    name: String,
    /// The agent that its holder acts as.
    agent: String,
    created_at: String,
    created_by: String,
    expires_at: Option<String>,
}

impl From<ServerKeyInfo> for ServerKey {
    fn from(info: ServerKeyInfo) -> Self {
        Self {
            id: info.id,
            name: info.name,
            agent: info.agent.to_string(),
            created_at: info.created_at.to_string(),
            created_by: info.created_by,
            expires_at: info.expires_at.map(|at| at.to_string()),
        }
    }
}

/// A virtual MCP server's document. Every field is checked, and what is wrong is named by its JSON
/// Pointer.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct ServerDocument {
    /// 1 to 56 of letters, digits, `_` and `-`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    name: Option<Value>,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    title: Option<Value>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    description: Option<Value>,
    /// Told to agents when they connect.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    instructions: Option<Value>,
    /// Names of tools without `_propose` and `_commit`, or how names begin: `billing_*`. Proposals can
    /// always be read, awaited and cancelled.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    tools: Option<Value>,
    /// `all` lists every tool; `search` lists one that searches, one that describes, one that calls.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    disclosure: Option<Value>,
    /// Whether it lets anybody in.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    enabled: Option<Value>,
    /// The server that is replaced; the path names it.
    #[serde(skip_serializing)]
    server: Option<String>,
    /// The version that is replaced, if it matters.
    #[serde(skip_serializing)]
    version: Option<u64>,
    /// As an answer told them; they are not read.
    #[serde(skip_serializing)]
    keys: Option<Vec<Value>>,
    /// As an answer told it; it is not read.
    #[serde(skip_serializing)]
    changed_by: Option<String>,
    /// As an answer told it; it is not read.
    #[serde(skip_serializing)]
    changed_at: Option<String>,
}

impl ServerDocument {
    fn value(&self) -> Value {
        serde_json::json!(self)
    }
}

/// A field that is there, be it null.
fn given<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(reader).map(Some)
}

async fn create(call: Call, new: ServerDocument) -> Result<Reply<VirtualServer>, Trouble> {
    let document = new.value();
    let made = call.broker.tools.create_server(&call.who, &document);
    Ok(Reply::created(made.await?.into()))
}

#[derive(Serialize, JsonSchema)]
struct ServerList {
    servers: Vec<VirtualServer>,
}

async fn list(call: Call, _: Nothing) -> Result<ServerList, Trouble> {
    let servers = call.broker.access.servers(&call.who).await?;
    let servers = servers.into_iter().map(VirtualServer::from).collect();
    Ok(ServerList { servers })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedServer {
    /// The server's name.
    server: String,
}

async fn read(call: Call, named: NamedServer) -> Result<VirtualServer, Trouble> {
    let access = &call.broker.access;
    Ok(access.server(&call.who, &named.server).await?.into())
}

async fn replace(call: Call, next: ServerDocument) -> Result<VirtualServer, Trouble> {
    let (tools, name) = (&call.broker.tools, next.server.clone().unwrap_or_default());
    let (mut document, version) = (next.value(), next.version);
    // The path says it as well.
    if let Some(fields) = document.as_object_mut() {
        fields.entry("name").or_insert_with(|| name.clone().into());
    }
    let view = tools.replace_server(&call.who, &name, &document, version);
    Ok(view.await?.into())
}

#[derive(Serialize, JsonSchema)]
struct ServerDeleted {
    name: String,
    deleted: bool,
}

async fn delete(call: Call, named: NamedServer) -> Result<ServerDeleted, Trouble> {
    let name = named.server;
    call.broker.access.delete_server(&call.who, &name).await?;
    Ok(ServerDeleted {
        name,
        deleted: true,
    })
}

async fn switch(call: Call, named: NamedServer, on: bool) -> Result<VirtualServer, Trouble> {
    let access = &call.broker.access;
    let view = access.enable_server(&call.who, &named.server, on);
    Ok(view.await?.into())
}

/// What a key is to be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewServerKey {
    /// The server's name.
    server: String,
    /// What its keeper calls it; the server's name without it.
    name: Option<String>,
    /// The agent that its holder acts as; `server:NAME` without it.
    agent: Option<String>,
    /// When it opens nothing any more: RFC 3339 with its offset.
    expires_at: Option<String>,
}

/// A key with its text, which is never shown again.
#[derive(Serialize, JsonSchema)]
struct ShownKey {
    #[serde(flatten)]
    about: ServerKey,
    /// The text to present.
    key: String,
}

async fn create_key(call: Call, new: NewServerKey) -> Result<Reply<ShownKey>, Trouble> {
    let wrong = |text: &str| Trouble::InvalidRequest(text.to_owned());
    let agent = new.agent.map(|agent| agent.parse::<AgentId>()).transpose();
    let agent = agent.map_err(|_| wrong("`agent` is no agent's id"))?;
    let expires_at = match new.expires_at.as_deref().map(Timestamp::parse) {
        None => None,
        Some(Some(at)) => Some(at),
        Some(None) => return Err(wrong("`expires_at` is no RFC 3339 time with its offset")),
    };
    let (access, name) = (&call.broker.access, new.name.as_deref());
    let made = access.create_server_key(&call.who, &new.server, name, agent, expires_at);
    let (about, key) = made.await?;
    let about = about.into();
    Ok(Reply::created(ShownKey { about, key }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RotateServerKey {
    /// The server's name.
    server: String,
    /// The key's id.
    server_key: String,
    /// How long the text before stays good; 0 ends it at once.
    #[serde(default)]
    grace_secs: Option<u32>,
}

async fn rotate(call: Call, asked: RotateServerKey) -> Result<ShownKey, Trouble> {
    let (access, grace) = (&call.broker.access, asked.grace_secs.unwrap_or(0));
    let turned = access.rotate_server_key(&call.who, &asked.server, &asked.server_key, grace);
    let (about, key) = turned.await?;
    let about = about.into();
    Ok(ShownKey { about, key })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedServerKey {
    /// The server's name.
    server: String,
    /// The key's id.
    server_key: String,
}

#[derive(Serialize, JsonSchema)]
struct ServerKeyDeleted {
    id: String,
    deleted: bool,
}

async fn delete_key(call: Call, named: NamedServerKey) -> Result<ServerKeyDeleted, Trouble> {
    let (access, id) = (&call.broker.access, named.server_key);
    access
        .delete_server_key(&call.who, &named.server, &id)
        .await?;
    Ok(ServerKeyDeleted { id, deleted: true })
}
