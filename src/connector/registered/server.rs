//! Tools of another MCP server that somebody registered as a source: read by the same rules as those
//! of a configured upstream, wrapped for the source's wire.

use std::sync::Arc;

use serde_json::Value;

use crate::connector::mcp::UpstreamTool;
use crate::connector::{Connector, Malformed};
use crate::domain::call::{Call, Order};
use crate::domain::tools::work::Task;
use crate::domain::tools::{Invalid, McpExec, ToolDef};
use crate::domain::upstream::{ToolRule, UpstreamRules};

/// What a rule says that a registered tool says in its own document: said twice, one of the two
/// would not hold.
pub(super) fn check(def: &ToolDef, exec: &McpExec) -> Result<(), Invalid> {
    let (rule, usual) = (&exec.rule, ToolRule::default());
    let own = [
        ("risk", rule.risk != usual.risk),
        ("hold", rule.hold),
        ("money", rule.money != usual.money),
        ("payee", rule.payee != usual.payee),
        ("patterns", rule.patterns != usual.patterns),
        ("whole_numbers", rule.whole_numbers),
        ("schema", rule.schema != usual.schema),
    ];
    if let Some((name, _)) = own.iter().find(|(_, said)| *said) {
        let detail = "belongs into the tool's own document, or is for configured upstreams only";
        return Err(Invalid::tool(format!("/exec/rule/{name}"), detail));
    }
    if exec.tool.is_empty() || exec.tool.len() > 256 || exec.tool.contains(char::is_control) {
        return Err(Invalid::tool("/exec/tool", "must be 1 to 256 bytes long"));
    }
    let tools = [(def.name.clone(), rule.clone())].into();
    let rules = UpstreamRules {
        tools,
        ..UpstreamRules::default()
    };
    match rules.problems().into_iter().next() {
        Some(problem) => Err(Invalid::tool("/exec/rule", problem)),
        None => Ok(()),
    }
}

/// As the connector of upstreams reads it.
pub(super) fn upstream(exec: &McpExec) -> UpstreamTool {
    UpstreamTool::new("server", &exec.tool, Arc::new(exec.rule.clone()))
}

/// The task that carries an order out.
pub(super) fn act(
    exec: &McpExec,
    order: &Order,
    timeout_ms: Option<u64>,
) -> Result<Task, Malformed> {
    let call = upstream(exec).call(order)?;
    Ok(Task::Call {
        arguments: arguments(&call),
        tool: call.tool,
        exec: Box::new(exec.clone()),
        timeout_ms,
    })
}

/// The task that asks about it; `None` where nobody can be asked.
pub(super) fn enquire(exec: &McpExec, order: &Order) -> Option<Task> {
    let call = upstream(exec).enquiry(order)?;
    Some(Task::Tell {
        arguments: arguments(&call),
        tool: call.tool,
        enquiry: true,
    })
}

/// The task of a tool that only reads.
pub(super) fn ask(exec: &McpExec, arguments: &Value) -> Task {
    Task::Tell {
        tool: exec.tool.clone(),
        arguments: arguments.clone(),
        enquiry: false,
    }
}

fn arguments(call: &Call) -> Value {
    serde_json::from_str(&call.arguments).unwrap_or_default()
}
