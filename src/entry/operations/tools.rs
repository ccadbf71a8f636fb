//! The catalogue: what can be proposed or called, and an operator's word on what an upstream offers
//! anew.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Call, Effect, Nothing, Operation, Rest};
use crate::broker::tools::catalogue::ToolInfo;
use crate::broker::{Broker, Trouble};
use crate::domain::principal::{Principal, Right};
use crate::domain::tool::{Executor, Risk};
use crate::domain::upstream;
use crate::entry::words;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("list_tools", list)
            .says(
                "List tools",
                "The tools that can be proposed or called. Agents see those that may be used.",
            )
            .needs(&[Right::ReadOwn])
            .rest(Rest::get("/v1/tools").answers(200, "the tools")),
        Operation::new("accept_tool", accept)
            .says(
                "Accept a tool",
                "Accept what an upstream offers under this name, after reading it.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .rest(Rest::post("/v1/tools/{name}/accept").answers(200, "the tool as it then stands")),
    ]
}

#[derive(Serialize, JsonSchema)]
struct ToolList {
    tools: Vec<Tool>,
    /// What is wrong with whole upstreams, by name; for those who may read everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    complaints: Option<BTreeMap<String, Vec<String>>>,
}

/// A tool and all there is to know about it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Tool {
    name: String,
    /// `builtin`, `upstream`, or how a registered one is carried out: `sql`, `rest`, `program`, `mcp`.
    kind: &'static str,
    /// The source or the upstream server that it works on.
    source: Option<String>,
    title: Option<String>,
    description: String,
    /// Whether it may be called at all, as far as that is said here.
    enabled: bool,
    /// Of a registered one: counts its changes.
    version: Option<u64>,
    #[schemars(schema_with = "words::risk")]
    risk: Risk,
    /// Its own hints raised the risk.
    raised: bool,
    /// What a call can move.
    money: Map<String, Value>,
    /// Whom a call pays.
    payee: Map<String, Value>,
    /// Whose word each of these is.
    origin: Map<String, Value>,
    always_held: bool,
    #[schemars(schema_with = "words::standing")]
    standing: Value,
    upstream: Option<String>,
    upstream_name: Option<String>,
    mcp_tools: Vec<String>,
    input_schema: Value,
    output_schema: Value,
    /// What accepting it would pin.
    digest: String,
    offered: Option<Definition>,
    accepted: Option<Definition>,
    differs: Vec<&'static str>,
    accepted_by: Option<String>,
    accepted_at: Option<String>,
    problem: Option<String>,
    /// Of a registered one, for those who may read how things are set up: `exec`, `masks`,
    /// `rate_limit`, `timeout_ms` and `annotations` as its document has them.
    #[serde(flatten)]
    document: Map<String, Value>,
}

/// Parts of a document that a list tells besides.
const TOLD: [&str; 5] = ["exec", "masks", "rate_limit", "timeout_ms", "annotations"];

/// A tool as its upstream describes it.
#[derive(Serialize, JsonSchema)]
struct Definition {
    name: String,
    description: String,
    input_schema: Value,
    output_schema: Value,
    annotations: Value,
}

impl From<upstream::Definition> for Definition {
    fn from(offered: upstream::Definition) -> Self {
        Self {
            name: offered.name,
            description: offered.description,
            input_schema: offered.input_schema,
            output_schema: json!(offered.output_schema),
            annotations: offered.annotations,
        }
    }
}

impl Tool {
    fn of(broker: &Broker, who: &Principal, tool: ToolInfo) -> Self {
        // The schemas in use are the catalogue's; an upstream's own words stay in `offered`.
        let used = broker.tools.catalogue().get(&who.org, tool.name.as_str());
        let registered = used.as_ref().and_then(|tool| match &tool.executor {
            Executor::Registered(of) => Some(of),
            Executor::Upstream { .. } | Executor::Noop | Executor::Bank => None,
        });
        let mut document = match registered.filter(|_| who.may(Right::ReadSetup)) {
            Some(of) => fields(of.def.document()),
            None => Map::new(),
        };
        document.retain(|field, _| TOLD.contains(&field.as_str()));
        let (upstream, upstream_name) = tool.upstream.unzip();
        let (accepted_by, accepted_at) = tool.accepted_by.unzip();
        Self {
            mcp_tools: match tool.risk {
                Risk::Low => vec![tool.name.to_string()],
                Risk::High => ["propose", "commit"]
                    .map(|step| format!("{}_{step}", tool.name))
                    .to_vec(),
            },
            kind: match (registered, &upstream) {
                (Some(of), _) => of.def.exec.kind().code(),
                (None, Some(_)) => "upstream",
                (None, None) => "builtin",
            },
            source: match registered {
                Some(of) => Some(of.def.source.clone()),
                None => upstream.clone(),
            },
            title: registered.and_then(|of| of.def.title.clone()),
            enabled: registered.is_none_or(|of| of.def.enabled),
            version: registered.map(|of| of.version),
            document,
            name: tool.name.to_string(),
            description: tool.description,
            risk: tool.risk,
            raised: tool.raised,
            money: fields(json!(tool.money)),
            payee: fields(json!(tool.payee)),
            origin: fields(json!(tool.source)),
            always_held: tool.hold,
            standing: json!(tool.standing),
            upstream,
            upstream_name,
            input_schema: json!(used.as_ref().map(|tool| &tool.input_schema)),
            output_schema: json!(used.as_ref().and_then(|tool| tool.output_schema.as_ref())),
            digest: tool.digest,
            offered: tool.offered.map(Definition::from),
            accepted: tool.accepted.map(Definition::from),
            differs: tool.differs,
            accepted_by,
            accepted_at: accepted_at.map(|at| at.to_string()),
            problem: tool.problem,
        }
    }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

async fn list(call: Call, _: Nothing) -> Result<ToolList, Trouble> {
    let tools = call.broker.tools.tools(&call.who).await?.into_iter();
    let tools = tools
        .map(|tool| Tool::of(&call.broker, &call.who, tool))
        .collect();
    let complaints = match call.who.may(Right::ReadSetup) {
        true => BTreeMap::clone(&call.broker.tools.catalogue().complaints()),
        false => BTreeMap::new(),
    };
    Ok(ToolList {
        tools,
        complaints: Some(complaints).filter(|complaints| !complaints.is_empty()),
    })
}

/// What is listed of the tool of this name.
pub(super) async fn listed(call: &Call, name: &str) -> Result<Option<Tool>, Trouble> {
    let tools = call.broker.tools.tools(&call.who).await?.into_iter();
    let mut named = tools.filter(|tool| tool.name.as_str() == name);
    Ok(named
        .next()
        .map(|tool| Tool::of(&call.broker, &call.who, tool)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AcceptRequest {
    /// The tool's name.
    name: String,
    /// Of the definition you read; another one is not accepted. Without it, whatever is offered at
    /// this moment is.
    digest: Option<String>,
}

async fn accept(call: Call, asked: AcceptRequest) -> Result<Tool, Trouble> {
    let (broker, who, name) = (&call.broker, &call.who, &asked.name);
    let accepted = match &asked.digest {
        Some(digest) => broker.tools.accept_tool_if(who, name, digest).await?,
        None => broker.tools.accept_tool(who, name).await?,
    };
    Ok(Tool::of(broker, who, accepted))
}
