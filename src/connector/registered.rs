//! Tools that organisations registered: an order becomes a task for the tool's source.
//!
//! What the wire brings back is already told apart by whoever ran it, so reading it guesses nothing:
//! a result is done, an error is a clear no, and anything else is unknown.

mod server;
mod shown;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::rest::{Failure, Rest};
use super::{Connector, Malformed, program, sql};
use crate::domain::call::{
    Call, Order, Outcome, ProviderError, Receipt, RecoveryContract, Reply, Sighting,
};
use crate::domain::reason::Recovery;
use crate::domain::tool::Risk;
use crate::domain::tools::effect::Effect;
use crate::domain::tools::http::Heard;
use crate::domain::tools::statement::Dialect;
use crate::domain::tools::work::{Registered, Task, Work};
use crate::domain::tools::{Exec, Invalid, Source, SourceKind, ToolDef};
pub use shown::{Shown, preview, shown};

/// Most characters that are kept of a server that says no.
const MAX_WORDS: usize = 500;

/// What a tool does at this source, or why it cannot be done there.
pub fn work(def: &ToolDef, source: &Source) -> Result<Work, Invalid> {
    let wrong = |pointer: &str, detail: String| Err(Invalid::tool(pointer, detail));
    let dialect = match source.kind() {
        SourceKind::Postgres => Some(Dialect::Postgres),
        SourceKind::Sqlite => Some(Dialect::Sqlite),
        SourceKind::Rest | SourceKind::Mcp | SourceKind::Program => None,
    };
    let schema = &def.input_schema;
    match (&def.exec, dialect, source.kind()) {
        (Exec::SqlLow(exec), Some(dialect), _) => sql::read(exec, schema, dialect).map(Work::Read),
        (Exec::SqlHigh(exec), Some(dialect), _) => {
            sql::write(exec, schema, dialect).map(Work::Write)
        }
        (Exec::Rest(exec), _, SourceKind::Rest) => {
            Rest::of(exec, schema, def.risk).map(|_| Work::Request(exec.clone()))
        }
        (Exec::Program(exec), _, SourceKind::Program) => {
            program::check(exec, schema, def.risk).map(|()| Work::Run(exec.clone()))
        }
        (Exec::Mcp(exec), _, SourceKind::Mcp) => {
            server::check(def, exec).map(|()| Work::Call(exec.clone()))
        }
        (
            Exec::SqlLow(_) | Exec::SqlHigh(_) | Exec::Rest(_) | Exec::Program(_) | Exec::Mcp(_),
            _,
            kind,
        ) => {
            let (tool, kind) = (def.exec.kind().code(), kind.code());
            let named = &def.source;
            let detail = format!("`{named}` is a {kind} source, and no {tool} tool works there");
            wrong("/source", detail)
        }
    }
}

/// How an unknown outcome of a tool is settled, in a word; `None` for tools that only read.
pub fn settled_by(def: &ToolDef) -> Option<&'static str> {
    let word = match &def.exec {
        Exec::SqlHigh(exec) if exec.marker => "marker",
        Exec::Rest(exec) if exec.lookup.is_some() => "lookup",
        Exec::Rest(exec) if exec.idempotency_header.is_some() => "idempotency_header",
        Exec::Mcp(exec) if exec.rule.readback.is_some() => "lookup",
        Exec::Mcp(exec) if exec.rule.replay_secs.is_some() => "replay",
        Exec::SqlLow(_) | Exec::SqlHigh(_) | Exec::Rest(_) | Exec::Program(_) | Exec::Mcp(_) => {
            "none"
        }
    };
    (def.risk == Risk::High).then_some(word)
}

/// The longest that a call may take, where its tool says so.
pub fn timeout(call: &Call) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Timed {
        timeout_ms: Option<u64>,
    }
    if !call.upstream.starts_with(Registered::PREFIX) {
        return None;
    }
    let timed: Timed = serde_json::from_str(&call.arguments).ok()?;
    timed.timeout_ms.map(Duration::from_millis)
}

/// A server's result that is an error, in the words of all sources.
fn said_no(reply: Reply) -> Reply {
    let is_ours = |content: &Value| content.get("code").is_some_and(|code| code == "timeout");
    let content = match &reply {
        Reply::Result {
            content,
            is_error: true,
        } if !is_ours(content) => content,
        Reply::Result { .. }
        | Reply::RpcError { .. }
        | Reply::TurnedAway { .. }
        | Reply::NotSent(_)
        | Reply::TooLarge { .. }
        | Reply::Lost(_) => return reply,
    };
    let words = content.as_str().map(str::to_owned);
    let words = words.unwrap_or_else(|| content.to_string());
    failed(Failure {
        code: "upstream_failed",
        detail: words.chars().take(MAX_WORDS).collect(),
        recovery: Some(Recovery::FixArgs),
    })
}

/// Nothing that only reads leaves a doubt behind.
fn failed(failure: Failure) -> Reply {
    match failure.code {
        "source_unavailable" => Reply::NotSent(failure.detail),
        code => Reply::Result {
            content: json!({
                "code": code, "description": failure.detail,
                "recovery": failure.recovery.map(Recovery::code),
            }),
            is_error: true,
        },
    }
}

/// What a call of a tool that only reads asks its source for.
pub fn asked(tool: &Registered, arguments: &Value) -> Result<Call, Malformed> {
    let args = arguments.clone();
    let task = match &tool.work {
        Work::Read(read) => Task::Read {
            read: read.clone(),
            args,
        },
        Work::Request(exec) => Task::Ask {
            request: Rest::again(exec)?.request(arguments, "", None)?,
        },
        Work::Run(exec) => Task::Run {
            input: program::input(exec, arguments, ""),
            timeout_ms: None,
        },
        Work::Call(exec) => server::ask(exec, arguments),
        Work::Write(_) => return Err(Malformed("the tool writes: propose it".into())),
    };
    AtSource::of(tool).checked(&task)
}

/// What its source brought back, as the tool's own result.
pub fn answered(tool: &Registered, reply: Reply) -> Reply {
    let exec = match &tool.work {
        Work::Request(exec) => exec,
        Work::Call(_) => return said_no(reply),
        Work::Read(_) | Work::Write(_) | Work::Run(_) => return reply,
    };
    let rest = match Rest::again(exec) {
        Ok(rest) => rest,
        Err(malformed) => return Reply::Lost(malformed.to_string()),
    };
    let heard = Heard::of(&reply);
    if let Heard::TooLarge { limit, .. } = heard {
        return Reply::TooLarge { limit };
    }
    match rest.data(&heard) {
        Ok(content) => Reply::Result {
            content,
            is_error: false,
        },
        Err(failure) => failed(failure),
    }
}

/// The connector of one registered tool.
pub struct AtSource {
    upstream: String,
    tool: String,
    work: Work,
    timeout_ms: Option<u64>,
    /// What was shown: the state, and its version.
    shown: Option<(String, Option<String>)>,
}

impl AtSource {
    /// As the tool is now.
    pub fn of(tool: &Registered) -> Self {
        Self {
            upstream: tool.upstream(),
            tool: tool.def.name.clone(),
            work: tool.work.clone(),
            timeout_ms: tool.def.timeout_ms,
            shown: None,
        }
    }

    /// The same, to be done only as long as it finds what was shown.
    pub fn shown_for(self, effect: Option<&Effect>) -> Self {
        let shown = effect.map(|effect| (effect.basis.clone(), effect.version.clone()));
        Self { shown, ..self }
    }

    /// As the tool was when this was sent; `None` if it was sent to no source.
    pub fn sent(call: &Call) -> Option<Self> {
        if !call.upstream.starts_with(Registered::PREFIX) {
            return None;
        }
        let task: Task = serde_json::from_str(&call.arguments).ok()?;
        Some(Self {
            upstream: call.upstream.clone(),
            tool: call.tool.clone(),
            work: task.work()?,
            timeout_ms: None,
            shown: None,
        })
    }

    fn call(&self, task: &Task) -> Call {
        Call::new(&self.upstream, &self.tool, &json!(task))
    }

    /// The same, if the wire can read it again: what cannot be read can never be carried out, and
    /// nobody could settle it.
    fn checked(&self, task: &Task) -> Result<Call, Malformed> {
        let call = self.call(task);
        match serde_json::from_str::<Task>(&call.arguments) {
            Ok(_) => Ok(call),
            Err(why) => Err(Malformed(format!("the task does not read back: {why}"))),
        }
    }
}

impl Connector for AtSource {
    fn call(&self, order: &Order) -> Result<Call, Malformed> {
        let (args, proposal) = (order.args.value(), order.proposal);
        let (state, version) = self.shown.clone().unzip();
        let timeout_ms = self.timeout_ms;
        let task = match &self.work {
            Work::Read(_) => {
                return Err(Malformed(
                    "the tool only reads: call it, without proposing".into(),
                ));
            }
            Work::Write(write) => Task::Write {
                proposal,
                write: write.clone(),
                args,
                state,
                timeout_ms,
            },
            Work::Request(exec) => {
                let (rest, version) = (Rest::again(exec)?, version.flatten());
                Task::Act {
                    request: rest.request(&args, &proposal.to_string(), version.as_deref())?,
                    exec: exec.clone(),
                    timeout_ms,
                }
            }
            Work::Run(exec) => Task::Run {
                input: program::input(exec, &args, &proposal.to_string()),
                timeout_ms,
            },
            Work::Call(exec) => server::act(exec, order, timeout_ms)?,
        };
        self.checked(&task)
    }

    fn enquiry(&self, order: &Order) -> Option<Call> {
        let proposal = order.proposal;
        match &self.work {
            Work::Write(write) => write.marker.then(|| self.call(&Task::Look { proposal })),
            Work::Request(exec) => {
                let rest = Rest::again(exec).ok()?;
                let request = rest.lookup(&order.args.value(), &proposal.to_string())?;
                Some(self.call(&Task::Ask {
                    request: request.ok()?,
                }))
            }
            Work::Call(exec) => server::enquire(exec, order).map(|task| self.call(&task)),
            Work::Run(_) | Work::Read(_) => None,
        }
    }

    fn outcome(&self, order: &Order, reply: &Reply) -> Outcome {
        match &self.work {
            Work::Request(exec) => match Rest::again(exec) {
                Ok(rest) => rest.outcome(&Heard::of(reply)),
                Err(malformed) => Outcome::Unknown(malformed.to_string()),
            },
            Work::Run(_) => program::outcome(reply),
            Work::Call(exec) => server::upstream(exec).outcome(order, reply),
            Work::Write(_) | Work::Read(_) => proven(reply),
        }
    }

    fn sighting(&self, order: &Order, reply: &Reply) -> Sighting {
        match &self.work {
            Work::Request(exec) => match Rest::again(exec) {
                Ok(rest) => rest.sighting(&Heard::of(reply)),
                Err(malformed) => Sighting::Unclear(malformed.to_string()),
            },
            Work::Call(exec) => server::upstream(exec).sighting(order, reply),
            Work::Write(_) | Work::Read(_) | Work::Run(_) => seen(reply),
        }
    }

    fn recovery(&self) -> RecoveryContract {
        match &self.work {
            // Whoever runs it again finds the marker of the first.
            Work::Write(write) if write.marker => RecoveryContract {
                lookup: true,
                replay_secs: None,
            },
            Work::Request(exec) => {
                Rest::again(exec).map_or(RecoveryContract::NONE, |rest| rest.recovery())
            }
            Work::Run(_) => program::recovery(),
            Work::Call(exec) => server::upstream(exec).recovery(),
            Work::Write(_) | Work::Read(_) => RecoveryContract::NONE,
        }
    }
}

/// What the answer of a database proves.
fn proven(reply: &Reply) -> Outcome {
    match reply {
        Reply::Result { content, is_error } => match is_error {
            false => Outcome::Executed(receipt(content)),
            true => Outcome::Refused(refusal(content)),
        },
        Reply::NotSent(why) => Outcome::NotSent(why.clone()),
        Reply::RpcError { .. }
        | Reply::TurnedAway { .. }
        | Reply::TooLarge { .. }
        | Reply::Lost(_) => Outcome::Unknown(reply.why()),
    }
}

/// What a look for a marker proves.
fn seen(reply: &Reply) -> Sighting {
    match reply {
        Reply::Result {
            content,
            is_error: true,
        } => Sighting::Refused(refusal(content)),
        Reply::Result {
            content,
            is_error: false,
        } => match content.is_null() {
            true => Sighting::Absent,
            false => Sighting::Found(receipt(content)),
        },
        Reply::RpcError { .. }
        | Reply::TurnedAway { .. }
        | Reply::TooLarge { .. }
        | Reply::NotSent(_)
        | Reply::Lost(_) => Sighting::Unclear(reply.why()),
    }
}

fn receipt(result: &Value) -> Receipt {
    Receipt {
        provider_id: None,
        provider_state: None,
        reversed: false,
        settled_unreadable: false,
        settled_minor: None,
        result: result.clone(),
        blocks: Value::Null,
    }
}

fn refusal(content: &Value) -> ProviderError {
    let text = |name: &str| {
        content
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    ProviderError {
        code: text("code").to_owned(),
        description: text("description").to_owned(),
    }
}
