//! Calling a low-risk tool: one function for every door, in nine steps.
//!
//! Who calls was asked by the door; what follows is the tool and its state, the rules and the
//! arguments, the pace, the source, the call, the masks, the record, and the answer. Whatever a
//! result says has passed the masks and is on record before anybody sees it: a call whose record
//! cannot be written is answered as not available, and its result with it is dropped.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Tools;
use crate::broker::core::Trouble;
use crate::broker::core::measure::Timer;
use crate::connector::registered;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::call::{Call, Reply, turned_away};
use crate::domain::change::{Change, Record};
use crate::domain::ids::{AgentId, TraceId};
use crate::domain::principal::{Principal, Right};
use crate::domain::reason::Recovery;
use crate::domain::schema;
use crate::domain::tool::{Executor, Risk, Tool};
use crate::domain::tools::work::{Task, Work};
use crate::governance;
use crate::governance::access::masks::{self, HashKey};
use crate::wire::Heard;

/// The JSON-RPC code of arguments that a server does not take.
const INVALID_PARAMS: i64 = -32602;

/// What a call brought back.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoked {
    /// Its structured content, or what its first text says.
    pub content: Value,
    /// Its content blocks as they came; null where there are none.
    pub blocks: Value,
    /// It called it an error.
    pub is_error: bool,
    /// What was hidden of it, as normalised paths.
    pub masked: Vec<String>,
    /// Names this call in the log and in traces.
    pub trace: TraceId,
    /// The version of the registered tool; `None` for tools of upstreams.
    pub version: Option<u64>,
    /// How long it took.
    pub duration: Duration,
}

impl Tools {
    /// Calls a low-risk tool.
    pub async fn invoke(
        &self,
        who: &Principal,
        tool: &str,
        arguments: &Value,
    ) -> Result<Invoked, Trouble> {
        let (timer, trace) = (Timer::start(), self.new_trace());
        let tool = self.callable(who, tool)?;
        let done = self.carried(who, &tool, arguments).await;
        let outcome = match &done {
            Ok(heard) => outcome_of(&heard.reply),
            Err(trouble) => trouble.code(),
        };
        self.record_call(who, &tool, trace, outcome).await?;
        let heard = done?;
        let (mut content, is_error) = told(&tool, heard.reply)?;
        let masked = self.mask(&tool, &mut content);
        Ok(Invoked {
            content,
            blocks: heard.blocks,
            is_error,
            masked,
            trace,
            version: match &tool.executor {
                Executor::Registered(of) => Some(of.version),
                Executor::Upstream { .. } | Executor::Noop | Executor::Bank => None,
            },
            duration: timer.elapsed(),
        })
    }

    fn new_trace(&self) -> TraceId {
        let ambient = &self.ports().ambient;
        TraceId::at(ambient.now(), ambient.bytes())
    }

    /// The tool, if this caller may call it at all and it may be called now.
    fn callable(&self, who: &Principal, name: &str) -> Result<Arc<Tool>, Trouble> {
        if !who.may(Right::ReadOwn) {
            return Err(Trouble::Forbidden {
                role: who.role.name(),
            });
        }
        let found = self.catalogue().get(&who.org, name);
        let found = found.filter(|tool| tool.risk == Risk::Low);
        let tool = found.ok_or_else(|| Trouble::UnknownTool(name.chars().take(128).collect()))?;
        self.usable(&tool)?;
        Ok(tool)
    }

    async fn carried(
        &self,
        who: &Principal,
        tool: &Tool,
        arguments: &Value,
    ) -> Result<Heard, Trouble> {
        schema::validate(tool, arguments).map_err(Trouble::InvalidArguments)?;
        self.not_frozen(who, tool, arguments).await?;
        self.pace_through(&who.org, &tool.name).await?;
        self.pace_registered(who, tool).await?;
        let (call, deadline) = self.call_of(tool, arguments)?;
        Ok(self.ports().wire.relay(&call, deadline).await)
    }

    fn call_of(&self, tool: &Tool, arguments: &Value) -> Result<(Call, Duration), Trouble> {
        match &tool.executor {
            Executor::Upstream {
                upstream,
                tool: name,
                ..
            } => Ok((
                Call::new(upstream, name, arguments),
                self.deadline_of(upstream),
            )),
            Executor::Registered(of) => match &of.work {
                Work::Read(read) => {
                    let task = Task::Read {
                        read: read.clone(),
                        args: arguments.clone(),
                    };
                    let usual = self.settings().call_deadline;
                    let deadline = of.def.timeout_ms.map_or(usual, Duration::from_millis);
                    Ok((registered::call(of, &task), deadline))
                }
                Work::Write(_) => Err(Trouble::UnknownTool(tool.name.to_string())),
            },
            Executor::Noop | Executor::Bank => Err(Trouble::UnknownTool(tool.name.to_string())),
        }
    }

    /// Hides what the tool's own masks name, and tells what that was.
    fn mask(&self, tool: &Tool, data: &mut Value) -> Vec<String> {
        let Executor::Registered(of) = &tool.executor else {
            return Vec::new();
        };
        if of.def.masks.is_empty() {
            return Vec::new();
        }
        let key = HashKey::of(self.ports().masters.for_masks(), &of.org);
        let all = masks::united(of.def.masks.iter());
        masks::apply(data, &all, &key).places
    }

    async fn record_call(
        &self,
        who: &Principal,
        tool: &Tool,
        trace: TraceId,
        outcome: &str,
    ) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let decision = if outcome == "ok" {
            Decision::Approved
        } else {
            Decision::Rejected
        };
        let mut record = Record::new(now, &who.org, RecordKind::ToolInvoked, &who.id)
            .deciding(decision, outcome)
            .with(json!({"trace_id": trace, "source": tool.server()}));
        record.agent.clone_from(&who.agent);
        record.tool = Some(tool.name.clone());
        let change = Change::documents(Vec::new(), Vec::new(), vec![record], Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => Ok(()),
            Err(error) => Err(crate::broker::core::failed(error)),
        }
    }

    /// Fails if the caller, this tool or its server is frozen: for calls that pass through and are
    /// decided by nobody else.
    async fn not_frozen(
        &self,
        who: &Principal,
        tool: &Tool,
        args: &serde_json::Value,
    ) -> Result<(), Trouble> {
        let nobody = AgentId::external();
        let agent = who.agent.as_ref().unwrap_or(&nobody);
        let payee = tool.payee(args);
        let request = governance::Request {
            agent,
            tool,
            args,
            effective: tool.effective(args),
            payee: &payee,
        };
        let mut facts = crate::domain::facts::Facts::missing(self.ports().ambient.now());
        facts.freezes = self.local_facts(&who.org, agent).await?.freezes;
        match governance::freeze::frozen(&request, &facts) {
            None => Ok(()),
            Some(finding) => Err(Trouble::Frozen(finding.detail)),
        }
    }

    /// The longest that one call to this upstream may take.
    pub(in crate::broker) fn deadline_of(&self, upstream: &str) -> Duration {
        let own = self.settings().call_deadlines.get(upstream).copied();
        own.unwrap_or(self.settings().call_deadline)
    }
}

/// A reply as the log tells it.
fn outcome_of(reply: &Reply) -> &'static str {
    match reply {
        Reply::Result { is_error, .. } => match is_error {
            false => "ok",
            true => "error",
        },
        Reply::TooLarge { .. } => "result_too_large",
        Reply::NotSent(_) => "source_unavailable",
        Reply::RpcError { .. } | Reply::TurnedAway { .. } | Reply::Lost(_) => "upstream_failed",
    }
}

/// What the caller is told of a reply.
fn told(tool: &Tool, reply: Reply) -> Result<(Value, bool), Trouble> {
    let name = || tool.name.to_string();
    let ours = matches!(tool.executor, Executor::Registered(_));
    match reply {
        Reply::Result { content, is_error } if ours && is_error => {
            let text = |field: &str| content.get(field).and_then(Value::as_str);
            match text("code") {
                Some("timeout") => Err(Trouble::Timeout(name())),
                Some(_) | None => {
                    let words = text("description").unwrap_or_default();
                    Err(Trouble::Upstream(words.to_owned()))
                }
            }
        }
        Reply::Result { content, is_error } => Ok((content, is_error)),
        Reply::TooLarge { limit } => Err(Trouble::ResultTooLarge { limit }),
        Reply::NotSent(_) if ours => Err(Trouble::SourceUnavailable(name())),
        Reply::TurnedAway { status, .. } => Err(Trouble::UpstreamRefused {
            why: reply.why(),
            recovery: turned_away(status),
        }),
        Reply::RpcError {
            code: INVALID_PARAMS,
            ..
        } => Err(Trouble::UpstreamRefused {
            why: reply.why(),
            recovery: Recovery::FixArgs,
        }),
        Reply::RpcError { .. } | Reply::NotSent(_) | Reply::Lost(_) => {
            Err(Trouble::Upstream(reply.why()))
        }
    }
}
