//! What is remembered of requests to models, for whoever reads: lists, the queue, what was said, and
//! sums of what it cost. Writing is [`Store::apply`](super::Store::apply), as for everything.

use async_trait::async_trait;
use tokio::sync::watch;

use super::StoreError;
use super::columns::{Columns, Read, doc_of};
use super::question::Question;
use super::sql::Database;
use super::stored::{name, unsigned};
use crate::domain::change::Doc;
use crate::domain::document::Document;
use crate::domain::ids::{AgentId, OrgId, RequestId};
use crate::domain::requests::request::Request;
use crate::domain::requests::rows::Part;
use crate::domain::time::{Day, Timestamp};

/// Which requests to list. Newest first.
#[derive(Clone, Debug)]
pub struct RequestFilter {
    /// Of this organisation.
    pub org: OrgId,
    /// Only of this owner.
    pub owner: Option<AgentId>,
    /// Only in this state.
    pub state: Option<&'static str>,
    /// Only older than this one.
    pub before: Option<RequestId>,
    /// At most so many.
    pub limit: u32,
}

/// What usage is summed by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// Who paid.
    Agent,
    /// Who was asked.
    Provider,
    /// For what.
    Model,
    /// The day of the budget.
    Day,
    /// What kind of work.
    Task,
}

impl By {
    /// Every one.
    pub const ALL: [Self; 5] = [By::Agent, By::Provider, By::Model, By::Day, By::Task];

    /// Its one spelling, which is the column's as well.
    pub fn name(self) -> &'static str {
        match self {
            By::Agent => "agent",
            By::Provider => "provider",
            By::Model => "model",
            By::Day => "day",
            By::Task => "task",
        }
    }

    /// Reads its one spelling.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == name)
    }
}

/// Which rows of the ledger to sum.
#[derive(Clone, Debug)]
pub struct UsageFilter {
    /// Of this organisation.
    pub org: OrgId,
    /// Only of this agent.
    pub agent: Option<AgentId>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Only of this day of the budget.
    pub day: Option<Day>,
}

/// A sum of rows of the ledger.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sum {
    /// What it is the sum of.
    pub key: String,
    /// Attempts.
    pub attempts: u64,
    /// Different requests.
    pub requests: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Tokens read, those of a cache included.
    pub input: u64,
    /// Of those, from a cache.
    pub cached_input: u64,
    /// Tokens written, thoughts included.
    pub output: u64,
    /// Of those, thoughts.
    pub reasoning: u64,
    /// Nano-dollars.
    pub nanos: u64,
    /// Of those, counted here because no provider told.
    pub estimated_nanos: u64,
}

/// How the queue stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Depth {
    /// Of this priority.
    pub priority: u8,
    /// So many wait.
    pub pending: u64,
    /// The oldest of them came then.
    pub oldest: Timestamp,
}

/// Reads requests.
#[async_trait]
pub trait RequestStore: Send + Sync {
    /// Changes when a request begins to wait, whichever process took it on; `None` where the store
    /// tells nobody. It may miss one. The first to ask begins to listen.
    fn rung(&self) -> Option<watch::Receiver<u64>>;

    /// Documents of requests, newest first.
    async fn requests(&self, filter: &RequestFilter) -> Result<Vec<Doc>, StoreError>;

    /// What was said of a request from this place on, in order; at most so many parts.
    async fn parts(
        &self,
        request: RequestId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<Part>, StoreError>;

    /// The part that has the event of this number, and those after it.
    async fn parts_after(
        &self,
        request: RequestId,
        event: u64,
        limit: u32,
    ) -> Result<Vec<Part>, StoreError>;

    /// Organisations of which something waits, and how much of each is in hand.
    async fn waiting_orgs(&self) -> Result<Vec<(OrgId, u64)>, StoreError>;

    /// How much is in hand, of everybody.
    async fn in_hand(&self) -> Result<u64, StoreError>;

    /// How much is in hand, of one organisation.
    async fn running_of(&self, org: &OrgId) -> Result<u64, StoreError>;

    /// The first of an organisation's queue: rank and document.
    async fn first_waiting(&self, org: &OrgId, limit: u32) -> Result<Vec<(i64, Doc)>, StoreError>;

    /// Requests whose lease ran out at or before `now`, or that ended with an attempt that nobody
    /// settled.
    async fn overdue(&self, now: Timestamp, limit: u32) -> Result<Vec<Doc>, StoreError>;

    /// How many wait in front of a rank, in an organisation.
    async fn ahead(&self, org: &OrgId, rank: i64) -> Result<u64, StoreError>;

    /// The queue by priority, of one organisation or of all.
    async fn depths(&self, org: Option<&OrgId>) -> Result<Vec<Depth>, StoreError>;

    /// Requests that ended before then and still have their content.
    async fn ended_before(&self, at: Timestamp, limit: u32) -> Result<Vec<Doc>, StoreError>;

    /// Sums of the ledger.
    async fn usage(&self, by: By, filter: &UsageFilter) -> Result<Vec<Sum>, StoreError>;

    /// The sum of all that a filter lets through: each request once, whatever it was tried with.
    async fn usage_total(&self, filter: &UsageFilter) -> Result<Sum, StoreError>;
}

/// `SELECT` of what [`doc_of`] reads, of requests; conditions follow.
fn docs<D: Database>(more: &str) -> Question {
    let [_, text] = D::WORDS.json;
    Question::new(format!(
        "SELECT d.kind, d.org, d.id, d.version, d.body{text}{more} FROM requests r \
         JOIN docs d ON d.org = r.org AND d.id = r.name"
    ))
    .with(" AND d.kind = ", Request::KIND)
    .words(" AND d.body")
    .words(D::WORDS.json[0])
    .words(" IS NOT NULL")
}

#[async_trait]
impl<D: Database> RequestStore for D {
    fn rung(&self) -> Option<watch::Receiver<u64>> {
        Database::rung(self)
    }

    async fn requests(&self, filter: &RequestFilter) -> Read<Vec<Doc>> {
        let asked = docs::<D>("")
            .with(" WHERE r.org = ", filter.org.as_str())
            .if_some(
                " AND r.owner = ",
                filter.owner.as_ref().map(AgentId::as_str),
            )
            .if_some(" AND r.state = ", filter.state)
            .if_some(" AND r.id < ", filter.before.map(RequestId::uuid))
            .with(" ORDER BY r.id DESC LIMIT ", filter.limit);
        self.all(asked).await?.iter().map(doc_of).collect()
    }

    async fn parts(&self, request: RequestId, from: u64, limit: u32) -> Read<Vec<Part>> {
        let asked = Question::new("SELECT place, sealed FROM request_parts")
            .with(" WHERE request = ", request.uuid())
            .with(" AND place >= ", place(from))
            .with(" ORDER BY place LIMIT ", limit);
        let rows = self.all(asked).await?;
        rows.iter().map(|row| part(request, row)).collect()
    }

    async fn parts_after(&self, request: RequestId, event: u64, limit: u32) -> Read<Vec<Part>> {
        let first = Question::new("SELECT max(place) FROM request_parts")
            .with(" WHERE request = ", request.uuid())
            .words(" AND place > 0")
            .with(" AND place <= ", place(event.saturating_add(1)));
        let row = self.optional(first).await?;
        let from = row.map(|row| row.maybe_number(0)).transpose()?.flatten();
        let from = unsigned(from.unwrap_or(1))?;
        self.parts(request, from, limit).await
    }

    async fn waiting_orgs(&self) -> Read<Vec<(OrgId, u64)>> {
        // Jumps from one organisation to the next in the index.
        let asked = Question::new(
            "WITH RECURSIVE found (org) AS ( \
             SELECT min(org) FROM requests WHERE state = 'pending' \
             UNION ALL \
             SELECT (SELECT min(org) FROM requests WHERE state = 'pending' AND org > found.org) \
             FROM found WHERE found.org IS NOT NULL) \
             SELECT org, (SELECT count(*) FROM requests r WHERE r.org = found.org \
             AND r.state = 'running' AND r.due_at IS NOT NULL) FROM found WHERE org IS NOT NULL",
        );
        let rows = self.all(asked).await?;
        rows.iter()
            .map(|row| Ok((name(row.text(0)?)?, unsigned(row.number(1)?)?)))
            .collect()
    }

    async fn in_hand(&self) -> Read<u64> {
        let asked = "SELECT count(*) FROM requests WHERE state = 'running' AND due_at IS NOT NULL";
        unsigned(self.one(Question::new(asked)).await?.number(0)?)
    }

    async fn running_of(&self, org: &OrgId) -> Read<u64> {
        let asked = Question::new("SELECT count(*) FROM requests WHERE state = 'running'")
            .with(" AND org = ", org.as_str())
            .words(" AND due_at IS NOT NULL");
        unsigned(self.one(asked).await?.number(0)?)
    }

    async fn first_waiting(&self, org: &OrgId, limit: u32) -> Read<Vec<(i64, Doc)>> {
        let asked = docs::<D>(", r.rank")
            .with(" WHERE r.org = ", org.as_str())
            .words(" AND r.state = 'pending'")
            .with(" ORDER BY r.rank, r.id LIMIT ", limit);
        let rows = self.all(asked).await?;
        rows.iter()
            .map(|row| Ok((row.number(5)?, doc_of(row)?)))
            .collect()
    }

    async fn overdue(&self, now: Timestamp, limit: u32) -> Read<Vec<Doc>> {
        let asked = docs::<D>("")
            .words(" WHERE r.state <> 'pending' AND r.due_at IS NOT NULL")
            .with(" AND r.due_at <= ", now)
            .with(" ORDER BY r.due_at, r.id LIMIT ", limit);
        self.all(asked).await?.iter().map(doc_of).collect()
    }

    async fn ahead(&self, org: &OrgId, rank: i64) -> Read<u64> {
        let asked = Question::new("SELECT count(*) FROM requests WHERE state = 'pending'")
            .with(" AND org = ", org.as_str())
            .with(" AND rank < ", rank);
        unsigned(self.one(asked).await?.number(0)?)
    }

    async fn depths(&self, org: Option<&OrgId>) -> Read<Vec<Depth>> {
        let asked = Question::new(
            "SELECT priority, count(*), min(created_at) FROM requests WHERE state = 'pending'",
        )
        .if_some(" AND org = ", org.map(OrgId::as_str))
        .words(" GROUP BY priority ORDER BY priority DESC");
        let rows = self.all(asked).await?;
        rows.iter()
            .map(|row| {
                Ok(Depth {
                    priority: u8::try_from(row.number(0)?).unwrap_or(u8::MAX),
                    pending: unsigned(row.number(1)?)?,
                    oldest: row.time(2)?,
                })
            })
            .collect()
    }

    async fn ended_before(&self, at: Timestamp, limit: u32) -> Read<Vec<Doc>> {
        let asked = docs::<D>("")
            .with(" WHERE r.ended_at IS NOT NULL AND r.ended_at < ", at)
            .words(" AND EXISTS (SELECT 1 FROM request_parts p WHERE p.request = r.id)")
            .with(" ORDER BY r.ended_at, r.id LIMIT ", limit);
        self.all(asked).await?.iter().map(doc_of).collect()
    }

    async fn usage(&self, by: By, filter: &UsageFilter) -> Read<Vec<Sum>> {
        let key = by.name();
        let asked = sums(key, filter).words(&format!(" GROUP BY {key} ORDER BY {key}"));
        self.all(asked).await?.iter().map(sum_of).collect()
    }

    async fn usage_total(&self, filter: &UsageFilter) -> Read<Sum> {
        sum_of(&self.one(sums("'total'", filter)).await?)
    }
}

/// Sums of what a filter lets through, under this key.
fn sums(key: &str, filter: &UsageFilter) -> Question {
    // Of no rows there is no sum, which is nothing.
    let sum = |of: &str| format!("CAST(coalesce(sum({of}), 0) AS bigint)");
    let columns = [
        sum("1"),
        "count(DISTINCT request)".to_owned(),
        sum("CASE WHEN why = '' THEN 0 ELSE 1 END"),
        sum("input + cached_input + cache_write"),
        sum("cached_input"),
        sum("output + reasoning"),
        sum("reasoning"),
        sum("nanos"),
        sum("CASE WHEN estimated = 1 THEN nanos ELSE 0 END"),
    ];
    let columns = columns.join(", ");
    Question::new(format!(
        "SELECT CAST({key} AS text), {columns} FROM llm_attempts WHERE settled = 1"
    ))
    .with(" AND org = ", filter.org.as_str())
    .if_some(" AND agent = ", filter.agent.as_ref().map(AgentId::as_str))
    .if_some(" AND at >= ", filter.since)
    .if_some(" AND at < ", filter.until)
    .if_some(" AND day = ", filter.day.map(|day| i64::from(day.number())))
}

fn place(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn part(request: RequestId, row: &impl Columns) -> Read<Part> {
    Ok(Part {
        request,
        place: unsigned(row.number(0)?)?,
        sealed: row.text(1)?.to_owned(),
    })
}

fn sum_of(row: &impl Columns) -> Read<Sum> {
    let number = |column: usize| unsigned(row.number(column)?);
    Ok(Sum {
        key: row.text(0)?.to_owned(),
        attempts: number(1)?,
        requests: number(2)?,
        failed: number(3)?,
        input: number(4)?,
        cached_input: number(5)?,
        output: number(6)?,
        reasoning: number(7)?,
        nanos: number(8)?,
        estimated_nanos: number(9)?,
    })
}
