//! The audit's records, in three formats.
//!
//! `format=jsonl` without any filter is the whole sealed log, with heads, as `hundi audit verify`
//! reads it. With filters it is just the records, and nothing to verify.

use std::collections::VecDeque;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Answer, Body, Call, Operation, Reply, Rest, Tells, invalid};
use crate::broker::audit::Export;
use crate::broker::{Broker, RecordFilter, StoredRecord, Trouble};
use crate::domain::audit::export::{csv_header, csv_line};
use crate::domain::audit::names::Decision;
use crate::domain::audit::record_line;
use crate::domain::ids::AgentId;
use crate::domain::principal::{Principal, Right};
use crate::domain::time::Timestamp;
use crate::entry::words;

/// Records in an answer unless said otherwise, and at most.
const PAGE: u32 = 100;
const MAX_PAGE: u32 = 500;
/// The same where an agent asks, who reads every word.
const SHORT_PAGE: u32 = 50;
/// An export does not wait for more records than this to be sealed as well.
const A_LITTLE: usize = 1_000;
/// Records per read while everything that matches is streamed.
const STREAM_PAGE: u32 = 500;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("list_audit", list)
            .says(
                "List audit records",
                "Audit records, newest first; an agent sees those of its own proposals. A page \
                 ends after `limit` rows or about 1 MiB; `next_before` (or `next_after`) goes on. \
                 `format=jsonl` without filters is the whole sealed log, to be verified offline.",
            )
            .needs(&[Right::ReadOwn])
            .rest(
                Rest::get("/v1/audit")
                    .answers(200, "the records")
                    .streams("the records", "application/jsonl")
                    .streams("the records", "text/csv"),
            ),
        Operation::new("get_audit_log", log)
            .says(
                "Read the audit log",
                "Audit records, newest first. An agent sees those of its own proposals.",
            )
            .needs(&[Right::ReadOwn])
            .mcp(),
    ]
}

/// One audit record.
#[derive(Serialize, JsonSchema)]
pub struct Record {
    seq: i64,
    #[schemars(schema_with = "words::time")]
    at: String,
    org: String,
    kind: String,
    #[schemars(schema_with = "words::decision")]
    decision: String,
    reason: String,
    actor: String,
    agent_id: Option<String>,
    proposal_id: Option<String>,
    tool_name: Option<String>,
    payout_id: Option<String>,
    amount: Option<i64>,
    currency: Option<String>,
    detail: Value,
}

impl From<&StoredRecord> for Record {
    fn from(stored: &StoredRecord) -> Self {
        let record = &stored.record;
        Self {
            seq: stored.seq,
            at: record.at.to_string(),
            org: record.org.to_string(),
            kind: record.kind.name().to_owned(),
            decision: record.decision.name().to_owned(),
            reason: record.reason.clone(),
            actor: record.actor.clone(),
            agent_id: record.agent.as_ref().map(AgentId::to_string),
            proposal_id: record.proposal.map(|id| id.to_string()),
            tool_name: record.tool.as_ref().map(|tool| tool.to_string()),
            payout_id: record.payout.clone(),
            amount: record.amount,
            currency: record.currency.map(|currency| currency.to_string()),
            detail: record.detail.clone(),
        }
    }
}

/// Records, and the number to go on from where there are more.
#[derive(Serialize, JsonSchema)]
struct RecordPage {
    records: Vec<Record>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<i64>,
}

/// Records in the format that was asked for.
enum Records {
    Page(RecordPage),
    Text(&'static str, BoxStream<'static, std::io::Result<String>>),
}

impl Tells for Records {
    type Body = RecordPage;

    fn told(self) -> Answer {
        match self {
            Records::Page(page) => Reply::ok(page).told(),
            Records::Text(media, stream) => Answer {
                status: 200,
                retry_after: None,
                body: Body::Stream(media, stream),
            },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Format {
    Json,
    Jsonl,
    Csv,
}

impl Format {
    fn media(self) -> &'static str {
        match self {
            Format::Csv => "text/csv; charset=utf-8",
            Format::Json | Format::Jsonl => "application/jsonl",
        }
    }

    fn line(self, record: &StoredRecord) -> String {
        match self {
            Format::Csv => csv_line(record.seq, &record.record),
            Format::Json | Format::Jsonl => record_line(record.seq, &record.record) + "\n",
        }
    }

    fn heading(self) -> Option<String> {
        match self {
            Format::Csv => Some(csv_header()),
            Format::Json | Format::Jsonl => None,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AuditFilter {
    /// Only about this agent.
    #[schemars(regex(pattern = words::AGENT), title = "an agent's id")]
    agent: Option<String>,
    /// Only about this proposal.
    #[schemars(regex(pattern = words::UUID), title = "a proposal's id")]
    proposal: Option<String>,
    /// Only about this provider's id.
    payout: Option<String>,
    /// Only with this decision: APPROVED, REJECTED, HELD or SKIPPED.
    decision: Option<String>,
    /// Only about this tool.
    tool: Option<String>,
    /// At or after, RFC 3339.
    #[serde(default)]
    #[schemars(schema_with = "words::maybe_time")]
    since: Option<String>,
    /// Before, RFC 3339.
    #[serde(default)]
    #[schemars(schema_with = "words::maybe_time")]
    until: Option<String>,
    /// Only with a higher `seq`; then oldest first.
    after: Option<i64>,
    /// Only with a lower `seq`.
    before: Option<i64>,
    /// 100 if absent, and for jsonl and csv everything, oldest first.
    #[schemars(range(min = 1, max = MAX_PAGE))]
    limit: Option<u32>,
    /// json if absent.
    format: Option<Format>,
}

impl AuditFilter {
    fn is_empty(&self) -> bool {
        let texts = [&self.agent, &self.proposal, &self.payout, &self.decision];
        let more = [&self.tool, &self.since, &self.until];
        let numbers = [self.after, self.before];
        texts.into_iter().chain(more).all(Option::is_none) && numbers.iter().all(Option::is_none)
    }

    fn filter(&self, who: &Principal) -> Result<RecordFilter, Trouble> {
        let decisions = "APPROVED, REJECTED, HELD or SKIPPED";
        let time = "an RFC 3339 time, such as 2026-11-20T10:00:00Z";
        Ok(RecordFilter {
            org: Some(who.org.clone()),
            agent: read("agent", &self.agent, "an agent's id", |text| {
                text.parse().ok()
            })?,
            proposal: read("proposal", &self.proposal, "a proposal's id", |text| {
                text.parse().ok()
            })?,
            payout: self.payout.clone(),
            webhooks_only: false,
            decision: read("decision", &self.decision, decisions, decision)?,
            tool: self.tool.clone(),
            since: read("since", &self.since, time, Timestamp::parse)?,
            until: read("until", &self.until, time, Timestamp::parse)?,
            after_seq: self.after,
            before_seq: self.before,
            limit: self.limit.unwrap_or(PAGE),
        })
    }
}

/// A decision to look for in the audit, in any case. A misspelt one would find nothing, and that
/// reads like good news.
pub fn decision(text: &str) -> Option<Decision> {
    let known = Decision::ALL.iter().copied();
    let mut known = known.filter(|decision| decision.name().eq_ignore_ascii_case(text));
    known.next()
}

fn read<T>(
    name: &str,
    text: &Option<String>,
    shape: &str,
    reader: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Trouble> {
    let Some(text) = text else {
        return Ok(None);
    };
    let read = reader(text);
    read.map(Some)
        .ok_or_else(|| invalid(format!("`{name}` must be {shape}")))
}

async fn list(call: Call, asked: AuditFilter) -> Result<Records, Trouble> {
    let Call { broker, who, .. } = call;
    let filter = asked.filter(&who)?;
    let format = asked.format.unwrap_or(Format::Json);
    Ok(match (format, asked.limit) {
        (Format::Json, _) => Records::Page(page(&broker, &who, filter).await?),
        (Format::Jsonl, None) if asked.is_empty() && who.may(Right::ReadAll) => {
            // What was written a moment ago belongs into it as well. A turn seals only so many,
            // and beside a busy server there is always a little more.
            while broker.audit.seal().await? > A_LITTLE {}
            let export = broker.audit.audit_export(&who).await?;
            Records::Text(format.media(), whole_log(export))
        }
        (Format::Jsonl | Format::Csv, Some(_)) => {
            let records = broker.audit.records(&who, filter).await?.rows;
            let lines = records.iter().map(|record| format.line(record));
            let text: String = format.heading().into_iter().chain(lines).collect();
            Records::Text(format.media(), stream::iter([Ok(text)]).boxed())
        }
        (Format::Jsonl | Format::Csv, None) => {
            Records::Text(format.media(), everything(broker, who, filter, format))
        }
    })
}

async fn page(
    broker: &Broker,
    who: &Principal,
    filter: RecordFilter,
) -> Result<RecordPage, Trouble> {
    let oldest_first = filter.after_seq.is_some();
    let page = broker.audit.records(who, filter).await?;
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| last.seq);
    Ok(RecordPage {
        records: page.rows.iter().map(Record::from).collect(),
        next_before: last.filter(|_| !oldest_first),
        next_after: last.filter(|_| oldest_first),
    })
}

/// The sealed log, chunk by chunk. A failure in the middle ends the stream early, which the
/// verifier reports as truncated: the newest head came first.
fn whole_log(export: Export) -> BoxStream<'static, std::io::Result<String>> {
    stream::try_unfold(export, |mut export| async move {
        let chunk = export.next().await.map_err(broken)?;
        Ok(chunk.map(|chunk| (chunk, export)))
    })
    .boxed()
}

/// Everything that matches, oldest first.
fn everything(
    broker: Broker,
    who: Principal,
    filter: RecordFilter,
    format: Format,
) -> BoxStream<'static, std::io::Result<String>> {
    let begin = VecDeque::from_iter(format.heading());
    let after = Some(filter.after_seq.unwrap_or(0));
    let state = (broker, who, filter, begin, after);
    stream::try_unfold(
        state,
        move |(broker, who, filter, mut ready, after)| async move {
            if let Some(chunk) = ready.pop_front() {
                return Ok(Some((chunk, (broker, who, filter, ready, after))));
            }
            let Some(after) = after else { return Ok(None) };
            let asked = RecordFilter {
                after_seq: Some(after),
                limit: STREAM_PAGE,
                ..filter.clone()
            };
            let page = broker.audit.records(&who, asked).await.map_err(broken)?;
            let next = page.rows.last().map(|last| last.seq);
            let next = next.filter(|_| page.more);
            let chunk: String = page.rows.iter().map(|record| format.line(record)).collect();
            Ok(Some((chunk, (broker, who, filter, ready, next))))
        },
    )
    .boxed()
}

fn broken(trouble: Trouble) -> std::io::Error {
    std::io::Error::other(trouble.to_string())
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LogFilter {
    /// Only about this agent.
    agent_id: Option<String>,
    /// Only about this payout of the provider.
    payout_id: Option<String>,
    #[schemars(range(min = 1, max = MAX_PAGE))]
    limit: Option<u32>,
}

async fn log(call: Call, asked: LogFilter) -> Result<RecordPage, Trouble> {
    let agent = asked.agent_id.map(|name| name.parse());
    let agent = agent.transpose().map_err(|_| Trouble::NotFound("agent"))?;
    let filter = RecordFilter {
        agent,
        payout: asked.payout_id,
        limit: asked.limit.unwrap_or(SHORT_PAGE),
        ..RecordFilter::default()
    };
    page(&call.broker, &call.who, filter).await
}
