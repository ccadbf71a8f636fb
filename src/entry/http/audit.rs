//! Audit records over REST.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::answer::ok;
use super::caller::Caller;
use super::openapi::{Op, Param};
use super::{Door, Problem, Query};
use crate::domain::principal::Right;
use crate::domain::time::Timestamp;
use crate::entry::shapes;
use crate::store::RecordFilter;

/// Records in an answer unless said otherwise, and at most.
const PAGE: (u32, u32) = (100, 1000);

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/v1/audit", get(list))
}

async fn list(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    query: Query,
) -> Result<Response, Problem> {
    let params = query.params(&[
        "agent", "proposal", "payout", "decision", "tool", "since", "until", "after", "limit",
    ])?;
    let (usual, most) = PAGE;
    let owned = |name| params.text(name).map(str::to_owned);
    let time = "an RFC 3339 time, such as 2026-11-20T10:00:00Z";
    let filter = RecordFilter {
        org: Some(who.org.clone()),
        agent: params.read("agent", "an agent id", |text| text.parse().ok())?,
        proposal: params.read("proposal", "a proposal id", |text| text.parse().ok())?,
        payout: owned("payout"),
        decision: owned("decision"),
        tool: owned("tool"),
        since: params.read("since", time, Timestamp::parse)?,
        until: params.read("until", time, Timestamp::parse)?,
        after_seq: params.read("after", "a record's `seq`", |text| text.parse().ok())?,
        limit: params.limit(most)?.unwrap_or(usual),
    };
    let records = door.broker.records(&who, filter).await?;
    let records: Vec<Value> = records.iter().map(shapes::record).collect();
    Ok(ok(&json!({"records": records})))
}

pub(super) const OPS: &[Op] = &[Op {
    id: "list_audit",
    method: "get",
    path: "/v1/audit",
    summary: "Audit records, newest first; an agent sees those of its own proposals.",
    right: Some(Right::ReadOwn),
    params: &[
        Param::query("agent", "Only about this agent."),
        Param::query("proposal", "Only about this proposal."),
        Param::query("payout", "Only about this provider's id."),
        Param::query("decision", "Only APPROVED, REJECTED, HELD or SKIPPED."),
        Param::query("tool", "Only about this tool."),
        Param::query("since", "At or after, RFC 3339."),
        Param::query("until", "Before, RFC 3339."),
        Param::query("after", "Only with a higher `seq`; then oldest first."),
        Param::query("limit", "1 to 1000; 100 if absent."),
    ],
    answers: &[(200, "the records", "RecordList")],
    problems: &[400],
    ..Op::NONE
}];
