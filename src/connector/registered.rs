//! Tools that organisations registered: an order becomes a task for the tool's source.
//!
//! What the wire brings back is already told apart by whoever ran it, so reading it guesses nothing:
//! a result is done, an error is a clear no, and anything else is unknown.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Connector, Malformed, sql};
use crate::domain::call::{
    Call, Order, Outcome, ProviderError, Receipt, RecoveryContract, Reply, Sighting,
};
use crate::domain::tools::statement::Dialect;
use crate::domain::tools::work::{Registered, Task, Work};
use crate::domain::tools::{Exec, Invalid, Source, SourceKind, SqlHigh, ToolDef};

/// Why no source of this kind is taken, if none is: nobody carries its tools out yet.
pub fn unserved(source: &Source) -> Option<Invalid> {
    match source.kind() {
        SourceKind::Postgres | SourceKind::Sqlite => None,
        kind @ (SourceKind::Rest | SourceKind::Mcp | SourceKind::Program) => {
            let kind = kind.code();
            let detail = format!(
                "no tools of a {kind} source are carried out yet; `postgres` and `sqlite` are"
            );
            Some(Invalid::source("/kind", detail))
        }
    }
}

/// What a tool does at this source, or why it cannot be done there. What a document asks for and
/// nobody does yet is refused: a rule that is kept and not held to would be worse than none.
pub fn work(def: &ToolDef, source: &Source) -> Result<Work, Invalid> {
    let wrong = |pointer: &str, detail: String| Err(Invalid::tool(pointer, detail));
    let dialect = match source.kind() {
        SourceKind::Postgres => Dialect::Postgres,
        SourceKind::Sqlite => Dialect::Sqlite,
        kind @ (SourceKind::Rest | SourceKind::Mcp | SourceKind::Program) => {
            let detail = format!(
                "`{}` is a {} source, whose tools are not carried out yet",
                def.source,
                kind.code()
            );
            return wrong("/source", detail);
        }
    };
    match &def.exec {
        Exec::SqlLow(exec) => sql::read(exec, &def.input_schema, dialect).map(Work::Read),
        Exec::SqlHigh(exec) => match not_held_to(def, exec) {
            Some((pointer, why)) => wrong(pointer, why.to_owned()),
            None => sql::write(exec, &def.input_schema, dialect).map(Work::Write),
        },
        Exec::Rest(_) | Exec::Program(_) | Exec::Mcp(_) => {
            let kind = def.exec.kind().code();
            wrong(
                "/kind",
                format!("tools of the kind `{kind}` are not carried out yet; `sql` is"),
            )
        }
    }
}

/// What the document of a tool that writes says, and what nobody would hold it to.
fn not_held_to(def: &ToolDef, exec: &SqlHigh) -> Option<(&'static str, &'static str)> {
    let said = [
        (
            exec.preview.is_some(),
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

/// A task for a tool's source, as the wire takes it.
pub fn call(tool: &Registered, task: &Task) -> Call {
    Call::new(&tool.upstream(), &tool.def.name, &json!(task))
}

/// The connector of one registered tool.
pub struct AtSource(pub Arc<Registered>);

impl Connector for AtSource {
    fn call(&self, order: &Order) -> Result<Call, Malformed> {
        let args = order.args.value().clone();
        let task = match &self.0.work {
            Work::Read(_) => {
                return Err(Malformed(
                    "the tool only reads: call it, without proposing".into(),
                ));
            }
            Work::Write(write) => Task::Write {
                proposal: order.proposal,
                write: write.clone(),
                args,
                state: None,
            },
        };
        Ok(call(&self.0, &task))
    }

    fn enquiry(&self, order: &Order) -> Option<Call> {
        let proposal = order.proposal;
        match &self.0.work {
            Work::Write(write) => write
                .marker
                .then(|| call(&self.0, &Task::Look { proposal })),
            Work::Read(_) => None,
        }
    }

    fn outcome(&self, _: &Order, reply: &Reply) -> Outcome {
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

    fn sighting(&self, _: &Order, reply: &Reply) -> Sighting {
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

    fn recovery(&self) -> RecoveryContract {
        match &self.0.work {
            // Whoever runs it again finds the marker of the first.
            Work::Write(write) if write.marker => RecoveryContract {
                lookup: true,
                replay_secs: None,
            },
            Work::Write(_) | Work::Read(_) => RecoveryContract::NONE,
        }
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
