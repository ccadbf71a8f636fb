//! Traces: what became of one call of a low-risk tool, step by step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Operation, Rest};
use crate::broker::Trouble;
use crate::broker::tools::traces::Trace;
use crate::domain::principal::Right;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("get_trace", read)
            .says(
                "Read a trace",
                "What became of one call of a low-risk tool: its steps and their times, what was \
                 decided and, for those who may read rules, by which. The last 16,384 calls of an \
                 organisation have a trace at most, and one may make room for a later one; calls that \
                 were refused are known for an hour to the node that refused them. The audit log has \
                 the record of each call under the same id for good.",
            )
            .needs(&[Right::ReadOwn])
            .rest(Rest::get("/v1/traces/{trace_id}").answers(200, "the trace")),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedTrace {
    /// As the call's answer, or its problem, names it.
    trace_id: String,
}

/// One call.
#[derive(Serialize, JsonSchema)]
struct TraceTold {
    trace_id: String,
    /// When it began.
    at: String,
    /// Who called.
    caller: String,
    agent_id: Option<String>,
    tool: String,
    /// How the tool is carried out; null where there is none.
    kind: Option<String>,
    tool_version: Option<u64>,
    /// `ok`, `error`, or the code of what went wrong.
    outcome: String,
    /// `allow` or `deny`, by the access rules; null where nobody got that far.
    decision: Option<&'static str>,
    /// Why: `allowed`, `denied`, `not_among_allowed`, `allowed_by_default` or `denied_by_default`.
    why: Option<String>,
    /// The rule that decided; null where the default did, and for those who may not read rules.
    rule: Option<String>,
    /// All of them, where several did.
    rules: Vec<RuleOfTrace>,
    /// How many values were hidden.
    masked: usize,
    /// The steps that were taken, in order: `authenticate`, `tool`, `access`, `rates`, `source`,
    /// `execute`, `mask`, `audit`, `answer`.
    steps: Vec<StepOfTrace>,
    /// What was proposed, where the tool does more than read.
    proposal_id: Option<String>,
    duration_us: u64,
}

/// A rule, as it was then.
#[derive(Serialize, JsonSchema)]
struct RuleOfTrace {
    id: String,
    version: u64,
}

/// One step.
#[derive(Serialize, JsonSchema)]
struct StepOfTrace {
    step: String,
    /// Null where nobody measured: at the door, and, on another node, after the record was written.
    duration_us: Option<u64>,
    /// `ok`, or the code of what went wrong at this step: it is the one that decided.
    outcome: String,
}

impl From<Trace> for TraceTold {
    fn from(trace: Trace) -> Self {
        let denied = trace.outcome == "access_denied";
        let rules: Vec<RuleOfTrace> = trace
            .rules
            .into_iter()
            .map(|rule| RuleOfTrace {
                id: rule.id.to_string(),
                version: rule.version,
            })
            .collect();
        Self {
            trace_id: trace.trace_id.to_string(),
            at: trace.at.to_string(),
            caller: trace.caller,
            agent_id: trace.agent.map(|agent| agent.to_string()),
            tool: trace.tool,
            kind: trace.kind,
            tool_version: trace.tool_version,
            outcome: trace.outcome,
            decision: match (denied, &trace.why) {
                (true, _) => Some("deny"),
                (false, Some(_)) => Some("allow"),
                (false, None) => None,
            },
            why: trace.why,
            rule: rules.first().map(|rule| rule.id.clone()),
            rules,
            masked: trace.masked,
            proposal_id: trace.proposal.map(|id| id.to_string()),
            steps: trace
                .steps
                .into_iter()
                .map(|taken| StepOfTrace {
                    step: taken.step,
                    duration_us: taken.duration_us,
                    outcome: taken.outcome.unwrap_or_else(|| "ok".to_owned()),
                })
                .collect(),
            duration_us: trace.duration_us,
        }
    }
}

async fn read(call: Call, named: NamedTrace) -> Result<TraceTold, Trouble> {
    // What is no id names nothing.
    let id = named
        .trace_id
        .parse()
        .map_err(|_| Trouble::NotFound("trace"))?;
    Ok(call.broker.tools.trace(&call.who, id).await?.into())
}
