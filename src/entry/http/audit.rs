//! The audit over REST: records in three formats, the signed head, and proofs.
//!
//! `format=jsonl` without any filter is the whole sealed log, with heads, as `hundi audit verify`
//! reads it. With filters it is just the records, and nothing to verify.

use std::collections::VecDeque;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use futures_util::stream;
use serde_json::{Value, json};

use super::answer::{ok, text};
use super::caller::{Caller, Named};
use super::openapi::{Op, Param};
use super::query::Params;
use super::{Door, Problem, Query};
use crate::broker::audit::{Consistency, Export};
use crate::broker::{Broker, Trouble};
use crate::broker::{RecordFilter, StoredRecord};
use crate::domain::audit::export::{csv_header, csv_line, head_json};
use crate::domain::audit::names::Decision;
use crate::domain::audit::record_line;
use crate::domain::principal::{Principal, Right};
use crate::domain::strict::MAX_SAFE_INTEGER;
use crate::domain::time::Timestamp;
use crate::entry::{fields, shapes};

/// Records in an answer unless said otherwise, and at most.
const PAGE: (u32, u32) = (100, 500);
/// Records per read while everything that matches is streamed.
const STREAM_PAGE: u32 = 500;
/// The parameters that pick records.
const FILTERS: [&str; 9] = [
    "agent", "proposal", "payout", "decision", "tool", "since", "until", "after", "before",
];

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/v1/audit", get(list))
        .route("/v1/audit/head", get(head))
        .route("/v1/audit/proof/{seq}", get(proof))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Jsonl,
    Csv,
}

impl Format {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "json" => Some(Self::Json),
            "jsonl" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    fn line(self, record: &StoredRecord) -> String {
        match self {
            Self::Csv => csv_line(record.seq, &record.record),
            Self::Json | Self::Jsonl => record_line(record.seq, &record.record) + "\n",
        }
    }
}

async fn list(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    query: Query,
) -> Result<Response, Problem> {
    let mut names = FILTERS.to_vec();
    names.extend(["limit", "format"]);
    let params = query.params(&names)?;
    let format = params.read("format", "json, jsonl or csv", Format::parse)?;
    let format = format.unwrap_or(Format::Json);
    let (usual, most) = PAGE;
    let limit = params.limit(most)?;
    let filter = filter(&who, &params, limit.unwrap_or(usual))?;
    let filtered = FILTERS.iter().any(|name| params.text(name).is_some());
    match (format, limit) {
        (Format::Json, _) => {
            let oldest_first = filter.after_seq.is_some();
            let page = door.broker.audit.records(&who, filter).await?;
            let last = page.rows.last().map(|last| last.seq).filter(|_| page.more);
            let records: Vec<Value> = page.rows.iter().map(shapes::record).collect();
            let mut body = json!({"records": records});
            if let Some(seq) = last {
                let next = if oldest_first {
                    "next_after"
                } else {
                    "next_before"
                };
                body[next] = seq.into();
            }
            Ok(ok(&body))
        }
        (Format::Jsonl, None) if !filtered && who.may(Right::ReadAll) => {
            let export = door.broker.audit.audit_export(&who).await?;
            Ok(text("application/jsonl", whole_log(export)))
        }
        (Format::Jsonl | Format::Csv, Some(_)) => {
            let records = door.broker.audit.records(&who, filter).await?;
            Ok(page(format, &records.rows))
        }
        (Format::Jsonl | Format::Csv, None) => {
            let broker = door.broker.clone();
            Ok(text(media(format), everything(broker, who, filter, format)))
        }
    }
}

const DECISIONS: &str = "APPROVED, REJECTED, HELD or SKIPPED";

fn filter(who: &Principal, params: &Params, limit: u32) -> Result<RecordFilter, Problem> {
    let owned = |name| params.text(name).map(str::to_owned);
    let time = "an RFC 3339 time, such as 2026-11-20T10:00:00Z";
    Ok(RecordFilter {
        org: Some(who.org.clone()),
        agent: params.read("agent", "an agent id", |text| text.parse().ok())?,
        proposal: params.read("proposal", "a proposal id", |text| text.parse().ok())?,
        payout: owned("payout"),
        webhooks_only: false,
        decision: params.read("decision", DECISIONS, fields::decision)?,
        tool: owned("tool"),
        since: params.read("since", time, Timestamp::parse)?,
        until: params.read("until", time, Timestamp::parse)?,
        after_seq: params.read("after", "a record's `seq`", |text| text.parse().ok())?,
        before_seq: params.read("before", "a record's `seq`", |text| text.parse().ok())?,
        limit,
    })
}

fn media(format: Format) -> &'static str {
    match format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Json | Format::Jsonl => "application/jsonl",
    }
}

fn page(format: Format, records: &[StoredRecord]) -> Response {
    let mut body = match format {
        Format::Csv => csv_header(),
        Format::Json | Format::Jsonl => String::new(),
    };
    for record in records {
        body.push_str(&format.line(record));
    }
    text(media(format), body)
}

/// The sealed log, chunk by chunk. A failure in the middle ends the stream early, which the
/// verifier reports as truncated: the newest head came first.
fn whole_log(export: Export) -> Body {
    Body::from_stream(stream::try_unfold(export, |mut export| async move {
        let chunk = export.next().await.map_err(broken)?;
        Ok::<_, std::io::Error>(chunk.map(|chunk| (chunk, export)))
    }))
}

/// Everything that matches, oldest first.
fn everything(broker: Broker, who: Principal, filter: RecordFilter, format: Format) -> Body {
    let begin = match format {
        Format::Csv => VecDeque::from([csv_header()]),
        Format::Json | Format::Jsonl => VecDeque::new(),
    };
    let after = Some(filter.after_seq.unwrap_or(0));
    let state = (broker, who, filter, begin, after);
    Body::from_stream(stream::try_unfold(
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
            let chunk = page.rows.iter().map(|record| format.line(record));
            let chunk: String = chunk.collect();
            Ok::<_, std::io::Error>(Some((chunk, (broker, who, filter, ready, next))))
        },
    ))
}

fn broken(trouble: Trouble) -> std::io::Error {
    std::io::Error::other(trouble.to_string())
}

async fn head(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    query: Query,
) -> Result<Response, Problem> {
    let older = older(&query.params(&["from"])?)?;
    let head = door.broker.audit.audit_head(&who).await?;
    let head = head.ok_or(Trouble::NotFound("signed head yet"))?;
    let mut body = head_json(&head);
    body["public_key"] = json!(
        door.broker
            .audit
            .audit_public_key()
            .map(|key| key.to_string())
    );
    if let Some(from) = older {
        let proof = door.broker.audit.audit_consistency(&who, from).await?;
        body = head_json(&proof.head);
        body["public_key"] = json!(
            door.broker
                .audit
                .audit_public_key()
                .map(|key| key.to_string())
        );
        body["consistency"] = consistency(&proof);
    }
    Ok(ok(&body))
}

async fn proof(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(seq): Named,
    query: Query,
) -> Result<Response, Problem> {
    let older = older(&query.params(&["from"])?)?;
    let unknown = || Trouble::NotFound("sealed record");
    let seq: i64 = seq.parse().map_err(|_| unknown())?;
    let proof = door.broker.audit.audit_inclusion(&who, seq).await?;
    let mut body = json!({
        "seq": seq,
        "leaf_index": proof.index,
        "leaf_hash": proof.leaf.hash,
        "tree_size": proof.head.head.tree_size,
        "root_hash": proof.head.head.root_hash,
        "proof": proof.path,
        "head": head_json(&proof.head),
        "key_id": proof.head.key_id,
        "public_key": door.broker.audit.audit_public_key().map(|key| key.to_string()),
        "record": proof.record.as_ref().map(|stored| record_line(stored.seq, &stored.record)),
    });
    if let Some(from) = older {
        let proof = door.broker.audit.audit_consistency(&who, from).await?;
        body["consistency"] = consistency(&proof);
    }
    Ok(ok(&body))
}

fn older(params: &Params) -> Result<Option<u64>, Problem> {
    params.read("from", "an older `tree_size`", |text| text.parse().ok())
}

fn consistency(proof: &Consistency) -> Value {
    json!({
        "from": {"tree_size": proof.from, "root_hash": proof.from_root},
        "to": {
            "tree_size": proof.head.head.tree_size,
            "root_hash": proof.head.head.root_hash,
        },
        "proof": proof.path,
    })
}

pub(super) const OPS: &[Op] = &[
    Op {
        id: "list_audit",
        method: "get",
        path: "/v1/audit",
        summary: "Audit records, newest first; an agent sees those of its own proposals. A page \
                  ends after `limit` rows or about 1 MiB; `next_before` (or `next_after`) goes on. \
                  `format=jsonl` without filters is the whole sealed log, to be verified offline.",
        right: Some(Right::ReadOwn),
        params: &[
            Param::query("agent", "Only about this agent."),
            Param::query("proposal", "Only about this proposal."),
            Param::query("payout", "Only about this provider's id."),
            Param::query("decision", "Only with this decision.").one_of(Decision::NAMES),
            Param::query("tool", "Only about this tool."),
            Param::query("since", "At or after, RFC 3339.").time(),
            Param::query("until", "Before, RFC 3339.").time(),
            Param::query("after", "Only with a higher `seq`; then oldest first.")
                .whole(0, MAX_SAFE_INTEGER),
            Param::query("before", "Only with a lower `seq`.").whole(0, MAX_SAFE_INTEGER),
            Param::query(
                "limit",
                "100 if absent, and for jsonl and csv everything, oldest first.",
            )
            .whole(1, PAGE.1 as i64),
            Param::query("format", "json if absent.").one_of(&["json", "jsonl", "csv"]),
        ],
        answers: &[
            (200, "the records", "RecordList"),
            (200, "the records", "application/jsonl"),
            (200, "the records", "text/csv"),
        ],
        problems: &[400],
        ..Op::NONE
    },
    Op {
        id: "audit_head",
        method: "get",
        path: "/v1/audit/head",
        summary: "The newest signed head of the sealed log, and the key that verifies it.",
        right: Some(Right::ReadAll),
        params: &[Param::query(
            "from",
            "An older `tree_size`: adds the proof that it is the beginning of this one.",
        )
        .whole(1, MAX_SAFE_INTEGER)],
        answers: &[(200, "the head", "AuditHead")],
        problems: &[400, 404],
        ..Op::NONE
    },
    Op {
        id: "audit_proof",
        method: "get",
        path: "/v1/audit/proof/{seq}",
        summary: "Proof (RFC 9162) that a record is in the sealed log; `hundi audit verify` checks \
                  it offline.",
        right: Some(Right::ReadAll),
        params: &[
            Param::path("seq", "The record's `seq`.").whole(1, MAX_SAFE_INTEGER),
            Param::query("from", "An older `tree_size`: adds a consistency proof.")
                .whole(1, MAX_SAFE_INTEGER),
        ],
        answers: &[(200, "the proof", "AuditProof")],
        problems: &[400, 404],
        ..Op::NONE
    },
];
