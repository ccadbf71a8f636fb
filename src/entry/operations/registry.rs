//! Registered tools: made, changed, tried and called.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::tools::{Tool, listed};
use super::{Call, Effect, Operation, Reply, Rest, pay};
use crate::broker::Trouble;
use crate::broker::tools::import;
use crate::broker::tools::invoke::Invoked;
use crate::broker::tools::registry::ToolView;
use crate::domain::principal::Right;
use crate::domain::tool::Risk;
use crate::entry::shapes::ProposedAnswer;

/// The path's name is the tool's; a document may say it, too.
const SPELT: &[(&str, &str)] = &[("name", "tool")];

/// Longest request to import a description: GitHub's has 12 MB.
const MAX_DESCRIPTION: usize = 16 * 1024 * 1024;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("create_tool", create)
            .says(
                "Register a tool",
                "Register a tool at a source; it is checked whole before it is saved.",
            )
            .needs(&[Right::Develop])
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/tools")
                    .answers(201, "the tool")
                    .problems(&[409]),
            ),
        Operation::new("get_tool", read)
            .says(
                "Read a tool",
                "One registered tool: its document and version; of one that is built in or an \
                 upstream's, what the list tells of it.",
            )
            .needs(&[Right::ReadSetup])
            .rest(named(Rest::get("/v1/tools/{name}")).answers(200, "the tool")),
        Operation::new("replace_tool", replace)
            .says(
                "Replace a registered tool",
                "Replace a registered tool. What was proposed on the old one ends as `tool_changed`.",
            )
            .needs(&[Right::Develop])
            .does(Effect::Sets)
            .rest(
                named(Rest::put("/v1/tools/{name}"))
                    .answers(200, "the tool")
                    .problems(&[409]),
            ),
        Operation::new("change_tool", change)
            .says(
                "Change a registered tool",
                "Change the fields that are named; null takes one away. Lowering a risk, and saying \
                 that what looks like money is none, takes an operator.",
            )
            .needs(&[Right::Develop, Right::Operate])
            .does(Effect::Sets)
            .rest(
                named(Rest::patch("/v1/tools/{name}"))
                    .answers(200, "the tool")
                    .problems(&[409]),
            )
            .null_matters(),
        Operation::new("delete_tool", delete)
            .says("Delete a registered tool", "Delete a registered tool; its versions stay.")
            .needs(&[Right::Develop])
            .does(Effect::Acts)
            .rest(
                named(Rest::delete("/v1/tools/{name}"))
                    .answers(200, "that it is deleted")
                    .problems(&[409]),
            ),
        Operation::new("list_tool_versions", versions)
            .says("List a tool's versions", "Every version of a registered tool, the newest first.")
            .needs(&[Right::ReadSetup])
            .rest(named(Rest::get("/v1/tools/{name}/versions")).answers(200, "the versions")),
        Operation::new("enable_tool", |call, tool| switch(call, tool, true))
            .says("Enable a registered tool", "Let a registered tool be called.")
            .needs(&[Right::Develop, Right::Operate])
            .does(Effect::Sets)
            .rest(
                named(Rest::post("/v1/tools/{name}/enable"))
                    .answers(200, "the tool")
                    .problems(&[409]),
            ),
        Operation::new("disable_tool", |call, tool| switch(call, tool, false))
            .says("Disable a registered tool", "Let nobody call a registered tool.")
            .needs(&[Right::Develop, Right::Operate])
            .does(Effect::Sets)
            .rest(
                named(Rest::post("/v1/tools/{name}/disable"))
                    .answers(200, "the tool")
                    .problems(&[409]),
            ),
        Operation::new("import_tools", import_tools)
            .says(
                "Import tools from OpenAPI",
                "Make disabled tools of an OpenAPI description, given or fetched, at a REST source; \
                 a GET is of low risk, all else of high. Says what it left out, and why.",
            )
            .needs(&[Right::Develop])
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/tools/import")
                    .up_to(MAX_DESCRIPTION)
                    .answers(201, "the tools, and what was left out")
                    .problems(&[409, 502]),
            ),
        Operation::new("test_tool", test)
            .says(
                "Try a registered tool",
                "Call a tool that reads, enabled or not. One that does more is not carried out: its \
                 arguments and its call are checked, and its preview is read.",
            )
            .needs(&[Right::Develop])
            .rest(
                named(Rest::post("/v1/tools/{name}/test"))
                    .answers(200, "what came of it")
                    .problems(&[409, 429, 502, 504]),
            ),
        Operation::new("invoke_tool", invoke)
            .says(
                "Call a tool",
                "Call a tool that only reads. One that does more is proposed: the answer is that of \
                 `propose`, and nothing has happened yet.",
            )
            .traced("tool")
            .needs(&[Right::ReadOwn])
            .rest(
                named(Rest::post("/v1/tools/{name}/invoke"))
                    .answers(200, "what it brought back; of a high-risk tool, the proposal")
                    .answers(429, "too fast; of a high-risk tool, a proposal that is blocked for it")
                    .problems(&[403, 409, 429, 502, 504]),
            ),
    ]
}

fn named(rest: Rest) -> Rest {
    rest.spelt(SPELT)
}

/// A registered tool: its document, and what is known of its last change.
#[derive(Serialize, JsonSchema)]
struct RegisteredTool {
    #[serde(flatten)]
    document: Map<String, Value>,
    version: u64,
    changed_by: String,
    changed_at: String,
    /// How an unknown outcome is settled: by a `marker` in the same database, a `lookup`, the
    /// `idempotency_header`, a `replay`, or by nobody but a person (`none`). Of tools that only
    /// read, nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_contract: Option<&'static str>,
}

impl From<ToolView> for RegisteredTool {
    fn from(view: ToolView) -> Self {
        Self {
            document: view.document.as_object().cloned().unwrap_or_default(),
            version: view.version,
            changed_by: view.changed_by,
            changed_at: view.changed_at.to_string(),
            recovery_contract: view.recovery_contract,
        }
    }
}

/// A tool's document. What belongs in `exec` depends on `kind` and `risk`. Every field is checked,
/// and what is wrong is named by its JSON Pointer.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Document {
    /// 1 to 56 of letters, digits, `_` and `-`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    name: Option<Value>,
    /// `sql`, `rest`, `program` or `mcp`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    kind: Option<Value>,
    /// The source that it works on.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    source: Option<Value>,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    title: Option<Value>,
    /// What it does, for agents and approvers.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    description: Option<Value>,
    /// `low` is called straight, `high` is proposed and committed.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    risk: Option<Value>,
    /// JSON Schema (2020-12) of the arguments.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    input_schema: Option<Value>,
    /// JSON Schema of the result's data.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    output_schema: Option<Value>,
    /// How it is carried out.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    exec: Option<Value>,
    /// What it moves: `{amount|amounts, currency, none?}` or `"none"`, needed where an argument
    /// looks like money.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    money: Option<Value>,
    /// Whom it pays: `{account?, name?, url?, none?}` or `"none"`, needed where it moves money and
    /// an argument looks like a payee.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    payee: Option<Value>,
    /// `{per_min, burst?, by: tool|caller}`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    rate_limit: Option<Value>,
    /// `[{path, do}]`: what is hidden of its results.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    masks: Option<Value>,
    /// Hints for clients, in the words of MCP.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    annotations: Option<Value>,
    /// Longest that one call may take.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    timeout_ms: Option<Value>,
    /// Whether it may be called.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    enabled: Option<Value>,
    /// The tool that is changed; the path names it.
    #[serde(skip_serializing)]
    tool: Option<String>,
    /// The version that is replaced, if it matters.
    #[serde(skip_serializing)]
    version: Option<u64>,
    /// As an answer told it; it is not read.
    #[serde(skip_serializing)]
    changed_by: Option<String>,
    /// As an answer told it; it is not read.
    #[serde(skip_serializing)]
    changed_at: Option<String>,
    /// As an answer told it; it is not read.
    #[serde(skip_serializing)]
    recovery_contract: Option<String>,
}

impl Document {
    fn value(&self) -> Value {
        serde_json::json!(self)
    }
}

/// A field that is there, be it null.
fn given<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(reader).map(Some)
}

async fn create(call: Call, new: Document) -> Result<Reply<RegisteredTool>, Trouble> {
    let document = new.value();
    let made = call.broker.tools.create_tool(&call.who, &document).await?;
    Ok(Reply::created(made.into()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedTool {
    /// The tool's name.
    tool: String,
}

/// A registered tool with its document, or what is listed of another.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum OneTool {
    /// Registered here.
    Registered(Box<RegisteredTool>),
    /// Built in, or of an upstream.
    Listed(Box<Tool>),
}

async fn read(call: Call, named: NamedTool) -> Result<OneTool, Trouble> {
    let tools = &call.broker.tools;
    if let Some(view) = tools.registered_tool(&call.who, &named.tool).await? {
        return Ok(OneTool::Registered(Box::new(view.into())));
    }
    let listed = listed(&call, &named.tool).await?;
    let listed = listed.ok_or(Trouble::NotFound("tool"))?;
    Ok(OneTool::Listed(Box::new(listed)))
}

async fn replace(call: Call, next: Document) -> Result<RegisteredTool, Trouble> {
    let (tools, name) = (&call.broker.tools, next.tool.clone().unwrap_or_default());
    let (document, version) = (next.value(), next.version);
    let view = tools.replace_tool(&call.who, &name, &document, version);
    Ok(view.await?.into())
}

async fn change(call: Call, next: Document) -> Result<RegisteredTool, Trouble> {
    let (tools, name) = (&call.broker.tools, next.tool.clone().unwrap_or_default());
    let (changes, version) = (next.value(), next.version);
    let view = tools.change_tool(&call.who, &name, &changes, version);
    Ok(view.await?.into())
}

#[derive(Serialize, JsonSchema)]
struct Deleted {
    name: String,
    deleted: bool,
}

async fn delete(call: Call, named: NamedTool) -> Result<Deleted, Trouble> {
    let name = named.tool;
    call.broker.tools.delete_tool(&call.who, &name).await?;
    Ok(Deleted {
        name,
        deleted: true,
    })
}

#[derive(Serialize, JsonSchema)]
struct ToolVersions {
    versions: Vec<ToolVersion>,
}

/// A version, and what it changed.
#[derive(Serialize, JsonSchema)]
struct ToolVersion {
    #[serde(flatten)]
    tool: RegisteredTool,
    /// The places at which it differs from the version before: `{pointer, before?, after?}`.
    changes: Vec<Value>,
}

impl From<ToolView> for ToolVersion {
    fn from(view: ToolView) -> Self {
        let changes = view.changes.iter().map(|change| serde_json::json!(change));
        Self {
            changes: changes.collect(),
            tool: view.into(),
        }
    }
}

async fn versions(call: Call, named: NamedTool) -> Result<ToolVersions, Trouble> {
    let tools = &call.broker.tools;
    let versions = tools.tool_versions(&call.who, &named.tool).await?;
    let versions = versions.into_iter().map(ToolVersion::from).collect();
    Ok(ToolVersions { versions })
}

async fn switch(call: Call, named: NamedTool, on: bool) -> Result<RegisteredTool, Trouble> {
    let tools = &call.broker.tools;
    Ok(tools.enable_tool(&call.who, &named.tool, on).await?.into())
}

/// A call.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Invocation {
    /// The tool's name.
    tool: String,
    /// As the tool's `input_schema` says.
    arguments: Map<String, Value>,
}

/// What a call brought back.
#[derive(Serialize, JsonSchema)]
struct Answered {
    /// It did not call it an error.
    ok: bool,
    /// What it said: somebody else's text.
    data: Value,
    /// What was hidden of it.
    masked: Vec<String>,
    /// Names the call.
    trace_id: String,
    /// The version of the registered tool.
    tool_version: Option<u64>,
    /// How long it took.
    duration_ms: u64,
}

impl From<Invoked> for Answered {
    fn from(invoked: Invoked) -> Self {
        Self {
            ok: !invoked.is_error,
            data: invoked.content,
            masked: invoked.masked,
            trace_id: invoked.trace.to_string(),
            tool_version: invoked.version,
            duration_ms: u64::try_from(invoked.duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What a call brought back, or what became of its proposal.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Called {
    /// Of a tool that only reads.
    Answered(Answered),
    /// Of a tool that does more.
    Proposed(Box<ProposedCall>),
}

/// What became of the proposal that a call is.
#[derive(Serialize, JsonSchema)]
struct ProposedCall {
    #[serde(flatten)]
    answer: ProposedAnswer,
    /// Names the call.
    trace_id: String,
}

async fn invoke(call: Call, asked: Invocation) -> Result<Reply<Called>, Trouble> {
    if call.broker.tools.risk_of(&call.who, &asked.tool) == Some(Risk::High) {
        let (tools, who, tool) = (call.broker.tools.clone(), call.who.clone(), asked.tool);
        let proposed = pay::propose_plainly(call, tool.clone(), asked.arguments).await?;
        return Ok(proposed.map(|answer| {
            let trace = tools.trace_proposed(&who, &tool, answer.status(), answer.proposal());
            Called::Proposed(Box::new(ProposedCall {
                answer,
                trace_id: trace.to_string(),
            }))
        }));
    }
    let arguments = Value::Object(asked.arguments);
    let tools = &call.broker.tools;
    let within = call.conversation.as_deref();
    let called = tools.call(&call.who, &asked.tool, &arguments, within);
    let answered = called.await.map_err(Trouble::from)?;
    Ok(Reply::ok(Called::Answered(answered.into())))
}

/// A description to make tools of: one of `openapi` and `url`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Description {
    /// An OpenAPI description (3.0 or 3.1): the document, or its text as JSON or YAML.
    openapi: Option<Value>,
    /// Where it is fetched, without credentials.
    url: Option<String>,
    /// The REST source that the tools work on.
    source: String,
    /// What their names begin with.
    prefix: Option<String>,
}

/// What was made of a description.
#[derive(Serialize, JsonSchema)]
struct ImportedTools {
    /// The tools, disabled.
    tools: Vec<RegisteredTool>,
    /// What is not among them: `{operation, part?, why}`.
    left_out: Vec<Value>,
}

async fn import_tools(call: Call, asked: Description) -> Result<Reply<ImportedTools>, Trouble> {
    let description = match (asked.openapi, asked.url) {
        (Some(document), None) => import::Description::Given(document),
        (None, Some(url)) => import::Description::At(url),
        (Some(_), Some(_)) | (None, None) => {
            let text = "give one of `openapi` and `url`";
            return Err(Trouble::InvalidRequest(text.to_owned()));
        }
    };
    let prefix = asked.prefix.unwrap_or_default();
    let made = call
        .broker
        .tools
        .import_tools(&call.who, description, &asked.source, &prefix)
        .await?;
    let left_out = made.left_out.iter().map(|left| serde_json::json!(left));
    Ok(Reply::created(ImportedTools {
        left_out: left_out.collect(),
        tools: made.tools.into_iter().map(RegisteredTool::from).collect(),
    }))
}

/// What came of a trial.
#[derive(Serialize, JsonSchema)]
struct Trial {
    /// It went as it should.
    ok: bool,
    /// Whether it was really carried out: only what reads is.
    executed: bool,
    /// What a tool that reads brought back.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    /// What was hidden of it.
    masked: Vec<String>,
    /// What a tool that does more would work on.
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<Value>,
    /// The version that was tried.
    tool_version: u64,
    /// How long it took.
    duration_ms: u64,
}

async fn test(call: Call, asked: Invocation) -> Result<Trial, Trouble> {
    let arguments = Value::Object(asked.arguments);
    let tools = &call.broker.tools;
    let tried = tools.test_tool(&call.who, &asked.tool, &arguments).await?;
    Ok(Trial {
        ok: true,
        executed: tried.executed,
        data: tried.data,
        masked: tried.masked,
        effect: tried.effect,
        tool_version: tried.version,
        duration_ms: u64::try_from(tried.duration.as_millis()).unwrap_or(u64::MAX),
    })
}
