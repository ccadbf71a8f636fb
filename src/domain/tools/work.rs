//! What a registered tool does, ready to be done: made from its document and its source when it is
//! saved and when the registry is read.
//!
//! Of what changes something the task says enough to read its answer and to ask about it later
//! ([`Task::work`]), so what was begun is settled as it was begun, whatever became of the tool.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::http::Request;
use super::statement::{Preview, Read, Write};
use super::{McpExec, ProgramExec, RestExec, ToolDef};
use crate::domain::ids::{OrgId, ProposalId};
use crate::domain::schema::Checker;

/// A registered tool as its calls are made.
#[derive(Clone, PartialEq, Debug)]
pub struct Registered {
    /// Whose it is.
    pub org: OrgId,
    /// Counts the changes of its document.
    pub version: u64,
    /// The document.
    pub def: Arc<ToolDef>,
    /// Where its source reaches ([`Source::place`](super::Source::place)).
    pub place: String,
    /// What it does.
    pub work: Work,
    /// Its output schema, compiled at its first result.
    pub output: Checker,
}

impl Registered {
    /// The prefix of the names by which the wire knows sources.
    pub const PREFIX: &'static str = "source:";

    /// The name by which the wire knows the tool's source.
    pub fn upstream(&self) -> String {
        upstream(&self.org, &self.def.source, &self.place)
    }
}

/// The name by which the wire knows a source, as long as it reaches this place.
pub fn upstream(org: &OrgId, source: &str, place: &str) -> String {
    format!("{}{org}/{source}@{place}", Registered::PREFIX)
}

/// What a tool does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A query that only reads.
    Read(Read),
    /// A statement that writes, once.
    Write(Write),
    /// A request to an API.
    Request(Box<RestExec>),
    /// A run of a program.
    Run(ProgramExec),
    /// A call of another MCP server.
    Call(Box<McpExec>),
}

/// One task for a source: all that the wire needs besides the credentials. It is what the intent
/// stores, so what was begun can be asked about although its tool has changed meanwhile.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// Reads.
    Read {
        /// The query.
        read: Read,
        /// The arguments.
        args: Value,
    },
    /// Writes, once for this proposal.
    Write {
        /// Whose effect it is.
        proposal: ProposalId,
        /// The statement.
        write: Write,
        /// The arguments.
        args: Value,
        /// What its preview has to show still.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<String>,
        /// Longest that it may take, where its tool says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// Shows what a write would work on.
    Preview {
        /// The query.
        preview: Preview,
        /// The arguments.
        args: Value,
    },
    /// Asks whether the write of this proposal was done.
    Look {
        /// Whose effect it is.
        proposal: ProposalId,
    },
    /// Asks an API something; nothing is changed.
    Ask {
        /// What is asked.
        request: Request,
    },
    /// Has an API do something.
    Act {
        /// What is sent, byte for byte.
        request: Request,
        /// How its answer is read and how it is asked about.
        exec: Box<RestExec>,
        /// As above.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// Runs a program.
    Run {
        /// What it reads.
        input: Value,
        /// As above.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// Asks another MCP server something; nothing is changed.
    Tell {
        /// The tool there.
        tool: String,
        /// Its arguments.
        arguments: Value,
        /// It asks what became of something else, so its silence proves nothing.
        #[serde(default)]
        enquiry: bool,
    },
    /// Has another MCP server do something.
    Call {
        /// The tool there.
        tool: String,
        /// Its arguments.
        arguments: Value,
        /// How its answer is read and how it is asked about.
        exec: Box<McpExec>,
        /// As above.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
}

impl Task {
    /// Whether it only asks what became of something, so that nothing is done by it.
    pub fn asks(&self) -> bool {
        match self {
            Task::Look { .. } | Task::Ask { .. } => true,
            Task::Tell { enquiry, .. } => *enquiry,
            Task::Read { .. }
            | Task::Preview { .. }
            | Task::Write { .. }
            | Task::Act { .. }
            | Task::Run { .. }
            | Task::Call { .. } => false,
        }
    }

    /// What the tool did when it began this; `None` for what only reads or asks.
    pub fn work(self) -> Option<Work> {
        match self {
            Task::Write { write, .. } => Some(Work::Write(write)),
            Task::Act { exec, .. } => Some(Work::Request(exec)),
            Task::Run { .. } => Some(Work::Run(ProgramExec::default())),
            Task::Call { exec, .. } => Some(Work::Call(exec)),
            Task::Read { .. }
            | Task::Preview { .. }
            | Task::Look { .. }
            | Task::Ask { .. }
            | Task::Tell { .. } => None,
        }
    }
}
