//! What is written beside a document, in the same change: a request's line in the lists, what was
//! said, the rows of the ledger; and the passages of what people keep to be found.
//!
//! These rows have no conditions of their own: the document's version is the condition of the whole
//! change. Later ones replace earlier ones of the same name.

use super::piece::Tokens;
use super::request::{Attempt, Open, Request};
use crate::domain::ids::{AgentId, AttemptId, OrgId, RequestId};
use crate::domain::search::Row;
use crate::domain::time::{Day, Timestamp};

/// One row.
#[derive(Clone, PartialEq, Debug)]
pub enum Beside {
    /// A request's line in the lists.
    Line(Box<Line>),
    /// Something that was said.
    Part(Part),
    /// All that was said is gone.
    Erase(RequestId),
    /// A row of the ledger.
    Entry(Box<Entry>),
    /// A row of a document that can be found.
    Search(Box<Row>),
}

/// A request as lists and the queue see it.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// The request.
    pub id: RequestId,
    /// Whose organisation.
    pub org: OrgId,
    /// Whose it is.
    pub owner: AgentId,
    /// Where it stands.
    pub state: &'static str,
    /// How urgent.
    pub priority: u8,
    /// Lower goes first: the moment it came, moved by its priority. It never changes, and still what
    /// waits overtakes what came later with more priority, since time goes on for both.
    pub rank: i64,
    /// When time can next change something about it.
    pub due_at: Option<Timestamp>,
    /// When it came.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Line {
    /// Of this request, where ten points of priority are worth `ageing_ms` of waiting.
    pub fn of(org: &OrgId, request: &Request, ageing_ms: i64) -> Self {
        let ahead = i64::from(request.priority).saturating_mul(ageing_ms) / POINTS_OF_AGEING;
        Self {
            id: request.id,
            org: org.clone(),
            owner: request.listed_under(),
            state: request.state.name(),
            priority: request.priority,
            rank: request.created_at.millis().saturating_sub(ahead),
            due_at: request.due_at(),
            created_at: request.created_at,
            ended_at: request.ended_at,
        }
    }
}

/// Points of priority that one period of ageing is worth.
const POINTS_OF_AGEING: i64 = 10;

/// Something that was said, sealed: the question at 0, and events from the number of the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The request.
    pub request: RequestId,
    /// Where in it.
    pub place: u64,
    /// The text.
    pub sealed: String,
}

/// One attempt in the ledger of what models cost.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The attempt.
    pub id: AttemptId,
    /// Of which request.
    pub request: RequestId,
    /// Whose organisation.
    pub org: OrgId,
    /// Who pays.
    pub agent: AgentId,
    /// Who was asked.
    pub provider: String,
    /// For what.
    pub model: String,
    /// What kind of work.
    pub task: String,
    /// The day of the budget.
    pub day: Day,
    /// When it began.
    pub at: Timestamp,
    /// What was counted.
    pub tokens: Tokens,
    /// What it cost, or what is reserved for it.
    pub nanos: u64,
    /// It has ended.
    pub settled: bool,
    /// Counted here.
    pub estimated: bool,
    /// What went wrong; empty if nothing did.
    pub why: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Whose an entry is.
#[derive(Clone, PartialEq, Debug)]
pub struct Payer<'a> {
    /// The organisation.
    pub org: &'a OrgId,
    /// The request.
    pub request: &'a Request,
    /// The day of its budget.
    pub day: Day,
}

impl Entry {
    /// An attempt that is reserved or under way.
    pub fn open(payer: &Payer<'_>, open: &Open) -> Self {
        Self {
            id: open.id,
            request: payer.request.id,
            org: payer.org.clone(),
            agent: payer.request.owner.clone(),
            provider: open.provider.clone(),
            model: open.model.clone(),
            task: payer.request.task.clone(),
            day: payer.day,
            at: open.at,
            tokens: Tokens::default(),
            nanos: open.reserved,
            settled: false,
            estimated: true,
            why: String::new(),
            took_ms: 0,
        }
    }

    /// An attempt that has ended.
    pub fn settled(payer: &Payer<'_>, attempt: &Attempt) -> Self {
        let took = attempt.ended_at.millis() - attempt.started_at.millis();
        Self {
            id: attempt.id,
            request: payer.request.id,
            org: payer.org.clone(),
            agent: payer.request.owner.clone(),
            provider: attempt.provider.clone(),
            model: attempt.model.clone(),
            task: payer.request.task.clone(),
            day: payer.day,
            at: attempt.started_at,
            tokens: attempt.tokens,
            nanos: attempt.nanos,
            settled: true,
            estimated: attempt.estimated,
            why: attempt.why.clone().unwrap_or_default(),
            took_ms: u64::try_from(took).unwrap_or(0),
        }
    }
}
