//! The catalogue over REST.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::answer::ok;
use super::caller::Caller;
use super::openapi::Op;
use super::{Door, Problem};
use crate::domain::principal::{Right, Role};
use crate::domain::tool::{Executor, Risk, Standing, Tool};

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/v1/tools", get(list))
}

async fn list(State(door): State<Door>, Caller { who, .. }: Caller) -> Result<Response, Problem> {
    let tools = door.broker.catalogue().tools();
    // A definition that nobody has accepted is text from outside, written for agents to read.
    let shown = |tool: &&std::sync::Arc<Tool>| {
        who.role != Role::Agent || tool.standing == Standing::Accepted
    };
    let tools: Vec<Value> = tools
        .values()
        .filter(shown)
        .map(|tool| shape(tool))
        .collect();
    Ok(ok(&json!({"tools": tools})))
}

fn shape(tool: &Tool) -> Value {
    let upstream = match &tool.executor {
        Executor::Noop | Executor::Razorpay => None,
        Executor::Upstream { upstream, .. } => Some(upstream),
    };
    let mcp_tools = match tool.risk {
        Risk::Low => vec![tool.name.to_string()],
        Risk::High => vec![
            format!("{}_propose", tool.name),
            format!("{}_commit", tool.name),
        ],
    };
    json!({
        "name": tool.name,
        "description": tool.description,
        "risk": tool.risk,
        "standing": tool.standing,
        "upstream": upstream,
        "always_held": tool.hold,
        "mcp_tools": mcp_tools,
        "input_schema": tool.input_schema,
        "output_schema": tool.output_schema,
        "digest": tool.digest,
    })
}

pub(super) const OPS: &[Op] = &[Op {
    id: "list_tools",
    method: "get",
    path: "/v1/tools",
    summary: "The tools that can be proposed or called. Agents see the accepted ones.",
    right: Some(Right::ReadOwn),
    answers: &[(200, "the tools", "ToolList")],
    ..Op::NONE
}];
