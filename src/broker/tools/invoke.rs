//! Calling a low-risk tool: one function for every door, in nine steps.
//!
//! Who calls was asked by the door; what follows is the tool and its state, the access rules and the
//! arguments, freezes, the pace, the source, the call, the masks, the record, and the answer. Whatever
//! a result says has passed the masks and is on record before anybody sees it. A call is not made
//! while the store cannot be written; one whose record then cannot be written after all is answered as
//! not available, and its result is dropped. What was carried out is recorded though its caller has
//! hung up. A refusal before that leaves no record but the access rules' own: whoever asks in vain
//! fills nobody's log.

use std::time::Duration;

use serde_json::{Value, json};

use super::Tools;
use super::admit::{Admitted, kind_label};
use super::hide;
use super::traces::{Calling, Trace};
use crate::broker::core::Trouble;
use crate::connector::registered;
use crate::domain::access::Mask;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::call::{Call, Reply, turned_away};
use crate::domain::change::{Change, DocWrite, Record};
use crate::domain::ids::{AgentId, TraceId};
use crate::domain::principal::Principal;
use crate::domain::reason::Recovery;
use crate::domain::schema;
use crate::domain::tool::{Executor, Risk, Tool};
use crate::governance;
use crate::governance::access::masks::{self, Masked};
use crate::telemetry::{self, CallStep};
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

/// A call that came to nothing, and its name in traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// Names the call.
    pub trace: TraceId,
    /// Why.
    pub trouble: Trouble,
}

impl From<Failed> for Trouble {
    /// With the name of the call.
    fn from(failed: Failed) -> Self {
        Trouble::Traced {
            trace: failed.trace,
            cause: Box::new(failed.trouble),
        }
    }
}

impl Tools {
    /// Calls a low-risk tool.
    pub async fn invoke(
        &self,
        who: &Principal,
        tool: &str,
        arguments: &Value,
    ) -> Result<Invoked, Trouble> {
        let called = self.call(who, tool, arguments, None).await;
        called.map_err(|failed| failed.trouble)
    }

    /// The same in a conversation that the caller has given a name, telling which call failed.
    pub async fn call(
        &self,
        who: &Principal,
        tool: &str,
        arguments: &Value,
        conversation: Option<&str>,
    ) -> Result<Invoked, Failed> {
        let mut calling = self.begun();
        let trace = calling.trace;
        let failed = |trouble| Failed { trace, trouble };
        let ready = self.made_ready(who, tool, arguments, &mut calling).await;
        let (admitted, call, deadline) = match ready {
            Ok(ready) => ready,
            Err(trouble) => {
                calling.fail(&trouble);
                let mut told = calling.told(who, tool, trouble.code());
                if let Trouble::AccessDenied { why, by, .. } = &trouble {
                    told.why = Some(why.code().to_owned());
                    told.rules.clone_from(by);
                }
                self.refused(&who.org, told);
                return Err(failed(trouble));
            }
        };
        let (tools, who) = (self.clone(), who.clone());
        let conversation = conversation.map(str::to_owned);
        // A task of its own: a caller that hangs up must not leave a call without its record.
        let task = self.load().tasks().spawn(async move {
            let heard = tools.ports().wire.relay(&call, deadline).await;
            calling.end(CallStep::Execute);
            let within = conversation.as_deref();
            let answer = tools
                .answered(&who, &admitted, heard, &mut calling, within)
                .await;
            let outcome = match &answer {
                Ok(answer) if answer.is_error => "error",
                Ok(_) => "ok",
                Err(trouble) => trouble.code(),
            };
            calling.count(&admitted.tool, outcome);
            answer
        });
        let answer = task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a call of a tool ended abnormally");
            Err(Trouble::StoreUnavailable)
        });
        answer.map_err(failed)
    }

    /// What came back, masked and on record.
    async fn answered(
        &self,
        who: &Principal,
        admitted: &Admitted,
        heard: Heard,
        calling: &mut Calling,
        conversation: Option<&str>,
    ) -> Result<Invoked, Trouble> {
        let held = self.held_to(who, admitted, heard).await;
        calling.end(CallStep::Mask);
        let outcome = match &held {
            Ok(held) if held.is_error => "error",
            Ok(_) => "ok",
            Err(trouble) => trouble.code(),
        };
        let masked = held.as_ref().map(|held| held.masked.clone());
        let masked = masked.unwrap_or_default();
        telemetry::masked(masked.values);
        match &held {
            Ok(held) if held.is_error => calling.mark(CallStep::Execute, outcome),
            Ok(_) => {}
            Err(Trouble::OutputInvalid(..)) => calling.mark(CallStep::Mask, outcome),
            Err(_) => calling.mark(CallStep::Execute, outcome),
        }
        let Admitted { tool, why, basis } = admitted;
        let whole = |told: Trace| Trace {
            kind: Some(kind_label(tool).to_owned()),
            tool_version: version(tool),
            why: Some(why.code().to_owned()),
            rules: basis.rules.clone(),
            masked: masked.values,
            ..told
        };
        let name = tool.name.as_str();
        let kept = whole(calling.told_to_its_end(who, name, outcome));
        let recorded = async {
            let mut docs = self.marks(who, tool, conversation).await?;
            docs.push(kept.placed(&who.org));
            let named = (calling.trace, docs);
            self.record_call(who, admitted, named, outcome, &masked)
                .await
        };
        let recorded = recorded.await;
        calling.end(CallStep::Audit);
        if let Err(trouble) = recorded {
            calling.mark(CallStep::Audit, trouble.code());
            self.refused(&who.org, whole(calling.told(who, name, trouble.code())));
            return Err(trouble);
        }
        calling.end(CallStep::Answer);
        self.refused(&who.org, whole(calling.told(who, name, outcome)));
        let held = held?;
        Ok(Invoked {
            content: held.content,
            blocks: held.blocks,
            is_error: held.is_error,
            masked: held.masked.places,
            trace: calling.trace,
            version: version(&admitted.tool),
            duration: calling.elapsed(),
        })
    }

    /// Everything that can refuse a call, and the call itself.
    async fn made_ready(
        &self,
        who: &Principal,
        tool: &str,
        arguments: &Value,
        calling: &mut Calling,
    ) -> Result<(Admitted, Call, Duration), Trouble> {
        let admitted = self.admit(who, tool, Risk::Low).await?;
        calling.end(CallStep::Tool);
        match self
            .let_through(who, &admitted.tool, arguments, calling)
            .await
        {
            Ok((call, deadline)) => Ok((admitted, call, deadline)),
            Err(trouble) => {
                calling.count(&admitted.tool, trouble.code());
                Err(trouble)
            }
        }
    }

    async fn let_through(
        &self,
        who: &Principal,
        tool: &Tool,
        arguments: &Value,
        calling: &mut Calling,
    ) -> Result<(Call, Duration), Trouble> {
        schema::validate(tool, arguments).map_err(Trouble::InvalidArguments)?;
        self.not_frozen(who, tool, arguments).await?;
        calling.end(CallStep::Access);
        self.pace_through(&who.org, &tool.name).await?;
        self.pace_registered(who, tool).await?;
        calling.end(CallStep::Rates);
        let ready = self.call_of(tool, arguments)?;
        // What cannot be put on record is not done.
        self.ports().store.ping().await?;
        calling.end(CallStep::Source);
        Ok(ready)
    }

    fn call_of(&self, tool: &Tool, arguments: &Value) -> Result<(Call, Duration), Trouble> {
        match &tool.executor {
            Executor::Upstream {
                upstream,
                tool: name,
                ..
            } => {
                let call = Call::new(upstream, name, arguments);
                let deadline = self.deadline_of(&call);
                Ok((call, deadline))
            }
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

    /// What came back, held to what a registered tool's document says of its results, and masked.
    async fn held_to(
        &self,
        who: &Principal,
        admitted: &Admitted,
        heard: Heard,
    ) -> Result<Held, Trouble> {
        let (tool, hidden) = (&admitted.tool, admitted.basis.hidden());
        let (content, is_error) = match &tool.executor {
            Executor::Registered(of) => {
                let reply = registered::answered(of, heard.reply);
                let content = told_by_source(tool, reply, &hidden)?;
                if let Some(schema) = &of.def.output_schema {
                    let name = || tool.name.to_string();
                    schema::fits(&of.output, schema, &content)
                        .map_err(|why| Trouble::OutputInvalid(name(), why))?;
                }
                (content, false)
            }
            Executor::Upstream { .. } | Executor::Noop | Executor::Bank => {
                told(heard.reply, &hidden)?
            }
        };
        let key = self.mask_key(&who.org).await;
        let shown = hide::answer(content, heard.blocks, is_error, &hidden, &key);
        Ok(Held {
            content: shown.content,
            blocks: shown.blocks,
            is_error,
            masked: shown.masked,
        })
    }

    async fn record_call(
        &self,
        who: &Principal,
        admitted: &Admitted,
        (trace, docs): (TraceId, Vec<DocWrite>),
        outcome: &str,
        masked: &Masked,
    ) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let decision = if outcome == "ok" {
            Decision::Approved
        } else {
            Decision::Rejected
        };
        let Admitted { tool, why, basis } = admitted;
        let detail = json!({
            "trace_id": trace,
            "source": tool.server(),
            "tool_version": version(tool),
            "access": {"why": why, "rules": basis.rules},
            "masked": {"values": masked.values, "unmatched": masked.unmatched},
        });
        let mut record = Record::new(now, &who.org, RecordKind::ToolInvoked, &who.id)
            .deciding(decision, outcome)
            .with(detail);
        record.agent.clone_from(&who.agent);
        record.tool = Some(tool.name.clone());
        let change = Change::documents(docs, Vec::new(), vec![record], Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => Ok(()),
            Err(error) => Err(crate::broker::core::failed(error)),
        }
    }

    /// Fails if the caller, this tool or its server is frozen: for calls that pass through and are
    /// decided by nobody else.
    pub(super) async fn not_frozen(
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
            server: who.server.as_ref().map(|it| it.server.name.as_str()),
        };
        let mut facts = crate::domain::facts::Facts::missing(self.ports().ambient.now());
        facts.freezes = self.local_facts(&who.org, agent).await?.freezes;
        match governance::freeze::frozen(&request, &facts) {
            None => Ok(()),
            Some(finding) => Err(Trouble::Frozen(finding.detail)),
        }
    }

    /// The longest that one call may take: as its upstream or its tool says, or as usual.
    pub(in crate::broker) fn deadline_of(&self, call: &Call) -> Duration {
        let of_upstream = self.settings().call_deadlines.get(&call.upstream).copied();
        let own = of_upstream.or_else(|| registered::timeout(call));
        own.unwrap_or(self.settings().call_deadline)
    }
}

/// What may be told of a reply.
struct Held {
    content: Value,
    blocks: Value,
    is_error: bool,
    masked: Masked,
}

/// The version of a registered tool.
fn version(tool: &Tool) -> Option<u64> {
    match &tool.executor {
        Executor::Registered(of) => Some(of.version),
        Executor::Upstream { .. } | Executor::Noop | Executor::Bank => None,
    }
}

/// What a source brought back. Its words may repeat what the masks hide.
pub(super) fn told_by_source(
    tool: &Tool,
    reply: Reply,
    hidden: &[&Mask],
) -> Result<Value, Trouble> {
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
                    // A database or a program that says no will say so again; an API says why.
                    let recovery = match content.get("recovery") {
                        Some(Value::String(code)) => {
                            let known = [Recovery::Stop, Recovery::ReduceScope, Recovery::FixArgs];
                            let named = known.into_iter().find(|one| one.code() == code);
                            named.unwrap_or(Recovery::Wait)
                        }
                        Some(_) => Recovery::Wait,
                        None => Recovery::FixArgs,
                    };
                    let words = masks::of_source(words, hidden).to_owned();
                    Err(Trouble::SourceFailed(words, recovery))
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
            Err(Trouble::SourceFailed(why, Recovery::Wait))
        }
    }
}

/// What an upstream brought back. Its words may repeat what the masks hide.
fn told(reply: Reply, hidden: &[&Mask]) -> Result<(Value, bool), Trouble> {
    let why = |reply: &Reply| masks::of_source(&reply.why(), hidden).to_owned();
    match reply {
        Reply::Result { content, is_error } => Ok((content, is_error)),
        Reply::TooLarge { limit } => Err(Trouble::ResultTooLarge { limit }),
        Reply::TurnedAway { status, .. } => Err(Trouble::UpstreamRefused {
            why: why(&reply),
            recovery: turned_away(status),
        }),
        Reply::RpcError {
            code: INVALID_PARAMS,
            ..
        } => Err(Trouble::UpstreamRefused {
            why: why(&reply),
            recovery: Recovery::FixArgs,
        }),
        Reply::RpcError { .. } | Reply::NotSent(_) | Reply::Lost(_) => {
            Err(Trouble::Upstream(why(&reply)))
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
