//! Tools that organisations registered: an order becomes a task for the tool's source.
//!
//! What the wire brings back is already told apart by whoever ran it, so reading it guesses nothing:
//! a result is done, an error is a clear no, and anything else is unknown.

use serde_json::{Value, json};

use super::rest::Rest;
use super::{Connector, Malformed, program, sql};
use crate::domain::call::{
    Call, Order, Outcome, ProviderError, Receipt, RecoveryContract, Reply, Sighting,
};
use crate::domain::tool::Risk;
use crate::domain::tools::http::Heard;
use crate::domain::tools::statement::Dialect;
use crate::domain::tools::work::{Registered, Task, Work};
use crate::domain::tools::{Exec, Invalid, Source, SourceKind, ToolDef};

/// Why no source of this kind is taken, if none is: nobody carries its tools out yet.
pub fn unserved(source: &Source) -> Option<Invalid> {
    match source.kind() {
        SourceKind::Postgres | SourceKind::Sqlite | SourceKind::Rest | SourceKind::Program => None,
        kind @ SourceKind::Mcp => {
            let kind = kind.code();
            let detail = format!("no tools of an {kind} source are carried out yet");
            Some(Invalid::source("/kind", detail))
        }
    }
}

/// What a tool does at this source, or why it cannot be done there. What a document asks for and
/// nobody does yet is refused: a rule that is kept and not held to would be worse than none.
pub fn work(def: &ToolDef, source: &Source) -> Result<Work, Invalid> {
    let wrong = |pointer: &str, detail: String| Err(Invalid::tool(pointer, detail));
    if def.risk == Risk::High
        && let Some((pointer, why)) = not_held_to(def)
    {
        return wrong(pointer, why.to_owned());
    }
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

/// What the document of a tool that writes says, and what nobody would hold it to.
fn not_held_to(def: &ToolDef) -> Option<(&'static str, &'static str)> {
    let previews = match &def.exec {
        Exec::SqlHigh(exec) => exec.preview.is_some(),
        Exec::Rest(exec) => exec.preview.is_some(),
        Exec::SqlLow(_) | Exec::Program(_) | Exec::Mcp(_) => false,
    };
    let said = [
        (
            previews,
            "/exec/preview",
            "previews are not shown and bound yet; leave it out",
        ),
        (
            !def.masks.is_empty(),
            "/masks",
            "results of tools that write are not masked yet; return only what may be seen",
        ),
        (
            def.output_schema.is_some(),
            "/output_schema",
            "results of tools that write are not held to a schema yet; leave it out",
        ),
        (
            def.rate_limit.is_some(),
            "/rate_limit",
            "proposals are paced by the agent's policy (`rate_limit`), not by the tool",
        ),
        (
            def.timeout_ms.is_some(),
            "/timeout_ms",
            "a commit may take `call_deadline_secs`; leave it out",
        ),
    ];
    let found = said.into_iter().find(|(is_said, _, _)| *is_said);
    found.map(|(_, pointer, why)| (pointer, why))
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
        },
        Work::Write(_) => return Err(Malformed("the tool writes: propose it".into())),
    };
    Ok(AtSource::of(tool).call(&task))
}

/// What its source brought back, as the tool's own result.
pub fn answered(tool: &Registered, reply: Reply) -> Reply {
    let Work::Request(exec) = &tool.work else {
        return reply;
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
        // Nothing that only reads leaves a doubt behind.
        Err(failure) if failure.code == "source_unavailable" => Reply::NotSent(failure.detail),
        Err(failure) => Reply::Result {
            content: json!({"code": failure.code, "description": failure.detail}),
            is_error: true,
        },
    }
}

/// The connector of one registered tool.
pub struct AtSource {
    upstream: String,
    tool: String,
    work: Work,
}

impl AtSource {
    /// As the tool is now.
    pub fn of(tool: &Registered) -> Self {
        Self {
            upstream: tool.upstream(),
            tool: tool.def.name.clone(),
            work: tool.work.clone(),
        }
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
        })
    }

    fn call(&self, task: &Task) -> Call {
        Call::new(&self.upstream, &self.tool, &json!(task))
    }
}

impl Connector for AtSource {
    fn call(&self, order: &Order) -> Result<Call, Malformed> {
        let (args, proposal) = (order.args.value().clone(), order.proposal);
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
                state: None,
            },
            Work::Request(exec) => Task::Act {
                request: Rest::again(exec)?.request(&args, &proposal.to_string(), None)?,
                exec: exec.clone(),
            },
            Work::Run(exec) => Task::Run {
                input: program::input(exec, &args, &proposal.to_string()),
            },
        };
        Ok(self.call(&task))
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
            Work::Run(_) | Work::Read(_) => None,
        }
    }

    fn outcome(&self, _: &Order, reply: &Reply) -> Outcome {
        match &self.work {
            Work::Request(exec) => match Rest::again(exec) {
                Ok(rest) => rest.outcome(&Heard::of(reply)),
                Err(malformed) => Outcome::Unknown(malformed.to_string()),
            },
            Work::Run(_) => program::outcome(reply),
            Work::Write(_) | Work::Read(_) => proven(reply),
        }
    }

    fn sighting(&self, _: &Order, reply: &Reply) -> Sighting {
        match &self.work {
            Work::Request(exec) => match Rest::again(exec) {
                Ok(rest) => rest.sighting(&Heard::of(reply)),
                Err(malformed) => Sighting::Unclear(malformed.to_string()),
            },
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
