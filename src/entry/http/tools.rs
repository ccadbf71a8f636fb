//! The catalogue over REST: what can be proposed or called, and an operator's word on what an
//! upstream offers anew.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::answer::ok;
use super::body::of_a_request;
use super::caller::{Caller, Named};
use super::openapi::{Op, Param};
use super::{Door, OptionalBody, Problem};
use crate::broker::Trouble;
use crate::broker::tools::catalogue::ToolInfo;
use crate::domain::principal::Right;
use crate::domain::tool::Risk;
use crate::entry::fields::{Fields, MAX_NAME_BYTES};

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/v1/tools", get(list))
        .route("/v1/tools/{name}/accept", post(accept))
}

async fn list(State(door): State<Door>, Caller { who, .. }: Caller) -> Result<Response, Problem> {
    let tools: Vec<Value> = door
        .broker
        .tools
        .tools(&who)
        .iter()
        .map(|tool| shape(&door, tool))
        .collect();
    Ok(ok(&json!({"tools": tools})))
}

async fn accept(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(name): Named,
    OptionalBody(fields): OptionalBody,
) -> Result<Response, Problem> {
    let accepted = match seen(fields).map_err(of_a_request)? {
        Some(digest) => {
            door.broker
                .tools
                .accept_tool_if(&who, &name, &digest)
                .await?
        }
        None => door.broker.tools.accept_tool(&who, &name).await?,
    };
    Ok(ok(&shape(&door, &accepted)))
}

/// The digest of the definition that the operator looked at. Without it, whatever is offered at
/// this moment is accepted.
fn seen(mut fields: Fields) -> Result<Option<String>, Trouble> {
    let digest = fields.text("digest", MAX_NAME_BYTES)?;
    fields.end()?;
    Ok(digest)
}

fn shape(door: &Door, tool: &ToolInfo) -> Value {
    // The schemas in use are the catalogue's; an upstream's own words stay in `offered`.
    let used = door.broker.tools.catalogue().shared(tool.name.as_str());
    let mcp_tools = match tool.risk {
        Risk::Low => vec![tool.name.to_string()],
        Risk::High => vec![
            format!("{}_propose", tool.name),
            format!("{}_commit", tool.name),
        ],
    };
    let accepted_by = tool.accepted_by.as_ref();
    json!({
        "name": tool.name,
        "description": tool.description,
        "risk": tool.risk,
        "raised": tool.raised,
        "money": tool.money,
        "payee": tool.payee,
        "source": tool.source,
        "always_held": tool.hold,
        "standing": tool.standing,
        "upstream": tool.upstream.as_ref().map(|(upstream, _)| upstream),
        "upstream_name": tool.upstream.as_ref().map(|(_, name)| name),
        "mcp_tools": mcp_tools,
        "input_schema": used.as_ref().map(|tool| &tool.input_schema),
        "output_schema": used.as_ref().and_then(|tool| tool.output_schema.as_ref()),
        "digest": tool.digest,
        "offered": tool.offered,
        "accepted": tool.accepted,
        "differs": tool.differs,
        "accepted_by": accepted_by.map(|(by, _)| by),
        "accepted_at": accepted_by.map(|(_, at)| at.to_string()),
        "problem": tool.problem,
    })
}

pub(super) const OPS: &[Op] = &[
    Op {
        id: "list_tools",
        method: "get",
        path: "/v1/tools",
        summary: "The tools that can be proposed or called. Agents see those that may be used.",
        right: Some(Right::ReadOwn),
        answers: &[(200, "the tools", "ToolList")],
        ..Op::NONE
    },
    Op {
        id: "accept_tool",
        method: "post",
        path: "/v1/tools/{name}/accept",
        summary: "Accept what an upstream offers under this name, after reading it.",
        right: Some(Right::Operate),
        params: &[Param::path("name", "The tool's name.")],
        body: Some("AcceptRequest"),
        body_optional: true,
        answers: &[(200, "the tool as it then stands", "Tool")],
        problems: &[400, 404, 409, 413, 415],
    },
];
