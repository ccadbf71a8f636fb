//! Calling a low-risk tool: one function for every door, in nine steps.
//!
//! Who calls was asked by the door; what follows is the tool and its state, the arguments, freezes,
//! the pace, the source, the call, the masks, the record, and the answer. Whatever a result says has
//! passed the masks and is on record before anybody sees it: a call whose record cannot be written is
//! answered as not available, and its result is dropped. What was carried out is recorded though its
//! caller has hung up. A refusal before that leaves no record: whoever asks in vain fills nobody's
//! log.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Tools;
use crate::broker::core::Trouble;
use crate::broker::core::measure::Timer;
use crate::connector::registered;
use crate::domain::access::Mask;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::call::{Call, Reply, turned_away};
use crate::domain::change::{Change, Record};
use crate::domain::ids::{AgentId, TraceId};
use crate::domain::principal::{Principal, Right};
use crate::domain::reason::Recovery;
use crate::domain::schema;
use crate::domain::tool::{Executor, Risk, Tool};
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
        let timer = Timer::start();
        let tool = self.callable(who, tool)?;
        self.may_call_now(who, &tool, arguments).await?;
        let (call, deadline) = self.call_of(&tool, arguments)?;
        let (tools, who) = (self.clone(), who.clone());
        // A task of its own: a caller that hangs up must not leave a call without its record.
        let task = self.load().tasks().spawn(async move {
            let heard = tools.ports().wire.relay(&call, deadline).await;
            tools.answered(&who, &tool, heard, timer).await
        });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a call of a tool ended abnormally");
            Err(Trouble::StoreUnavailable)
        })
    }

    /// What came back, on record and masked.
    async fn answered(
        &self,
        who: &Principal,
        tool: &Tool,
        heard: Heard,
        timer: Timer,
    ) -> Result<Invoked, Trouble> {
        let trace = self.new_trace();
        let held = self.held_to(tool, heard.reply);
        let outcome = match &held {
            Ok(held) if held.is_error => "error",
            Ok(_) => "ok",
            Err(trouble) => trouble.code(),
        };
        self.record_call(who, tool, trace, outcome).await?;
        let held = held?;
        Ok(Invoked {
            content: held.content,
            blocks: heard.blocks,
            is_error: held.is_error,
            masked: held.masked,
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
            return Err(Trouble::Forbidden { roles: who.roles });
        }
        let found = self.catalogue().get(&who.org, name);
        let found = found.filter(|tool| tool.risk == Risk::Low);
        let tool = found.ok_or_else(|| Trouble::UnknownTool(name.chars().take(128).collect()))?;
        self.usable(&tool)?;
        Ok(tool)
    }

    async fn may_call_now(
        &self,
        who: &Principal,
        tool: &Tool,
        arguments: &Value,
    ) -> Result<(), Trouble> {
        schema::validate(tool, arguments).map_err(Trouble::InvalidArguments)?;
        self.not_frozen(who, tool, arguments).await?;
        self.pace_through(&who.org, &tool.name).await?;
        self.pace_registered(who, tool).await
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
            Executor::Registered(of) => {
                let call = registered::asked(of, arguments);
                let call = call.map_err(|error| Trouble::InvalidArguments(error.to_string()))?;
                let usual = self.settings().call_deadline;
                let deadline = of.def.timeout_ms.map_or(usual, Duration::from_millis);
                Ok((call, deadline))
            }
            Executor::Noop | Executor::Bank => Err(Trouble::UnknownTool(tool.name.to_string())),
        }
    }

    /// A reply, held to what a registered tool's document says of its results.
    fn held_to(&self, tool: &Tool, reply: Reply) -> Result<Held, Trouble> {
        let Executor::Registered(of) = &tool.executor else {
            let (content, is_error) = told(reply)?;
            return Ok(Held {
                content,
                is_error,
                masked: Vec::new(),
            });
        };
        let masks = masks::united(of.def.masks.iter());
        let reply = registered::answered(of, reply);
        let mut content = told_by_source(tool, reply, &masks)?;
        if let Some(schema) = &of.def.output_schema {
            let name = || tool.name.to_string();
            schema::fits(&of.output, schema, &content)
                .map_err(|why| Trouble::OutputInvalid(name(), why))?;
        }
        let key = HashKey::of(self.ports().masters.for_masks(), &of.org);
        Ok(Held {
            masked: masks::apply(&mut content, &masks, &key).places,
            content,
            is_error: false,
        })
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

/// What may be told of a reply.
struct Held {
    content: Value,
    is_error: bool,
    masked: Vec<String>,
}

/// What a source brought back. Its words may repeat what the masks hide.
fn told_by_source(tool: &Tool, reply: Reply, hidden: &[&Mask]) -> Result<Value, Trouble> {
    let name = || tool.name.to_string();
    match reply {
        Reply::Result {
            content,
            is_error: false,
        } => Ok(content),
        Reply::Result {
            content,
            is_error: true,
        } => {
            let text = |field: &str| content.get(field).and_then(Value::as_str);
            match text("code") {
                Some("timeout") => Err(Trouble::Timeout(name())),
                Some(_) | None => {
                    let words = text("description").unwrap_or_default();
                    Err(Trouble::SourceFailed(
                        masks::of_source(words, hidden).to_owned(),
                    ))
                }
            }
        }
        Reply::TooLarge { limit } => Err(Trouble::ResultTooLarge { limit }),
        Reply::NotSent(why) => {
            tracing::warn!(tool = %tool.name, %why, "its source was not asked");
            Err(Trouble::SourceUnavailable(name()))
        }
        Reply::RpcError { .. } | Reply::TurnedAway { .. } | Reply::Lost(_) => {
            let why = reply.why();
            let why = masks::of_source(&why, hidden).to_owned();
            Err(Trouble::SourceFailed(why))
        }
    }
}

/// What an upstream brought back.
fn told(reply: Reply) -> Result<(Value, bool), Trouble> {
    match reply {
        Reply::Result { content, is_error } => Ok((content, is_error)),
        Reply::TooLarge { limit } => Err(Trouble::ResultTooLarge { limit }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::MaskPath;
    use crate::domain::schema::Checker;
    use crate::domain::tool::{MoneyRule, PayeeRule, Standing};

    #[test]
    fn a_sources_words_are_shown_only_where_nothing_is_hidden() {
        let tool = Tool {
            name: "look".parse().unwrap(),
            description: String::new(),
            input_schema: json!({}),
            output_schema: None,
            risk: Risk::Low,
            executor: Executor::Noop,
            money: MoneyRule::default(),
            payee: PayeeRule::default(),
            patterns: Vec::new(),
            hold: false,
            standing: Standing::Accepted,
            digest: String::new(),
            checker: Checker::default(),
        };
        let mask = Mask {
            path: MaskPath::parse("$.rows[*].email").unwrap(),
            how: crate::domain::access::MaskDo::Redact,
        };
        let words = "invalid input syntax for type integer: \"a@acme.example\"";
        let failed = Reply::Result {
            content: json!({"code": "upstream_failed", "description": words}),
            is_error: true,
        };
        for reply in [failed, Reply::Lost(words.to_owned())] {
            for (hidden, shown) in [(vec![], true), (vec![&mask], false)] {
                let told = told_by_source(&tool, reply.clone(), &hidden).unwrap_err();
                assert_eq!(told.to_string().contains("acme"), shown, "{told}");
            }
        }
    }
}
