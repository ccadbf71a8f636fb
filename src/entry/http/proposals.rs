//! Proposals over REST: propose, read, commit, decide.

use axum::Router;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::answer::{ok, with_status};
use super::body::of_a_request;
use super::caller::{Caller, Id, Named};
use super::openapi::{Op, Param};
use super::{Door, OptionalBody, Problem, Query, StrictBody};
use crate::broker::pay::approve::needs;
use crate::broker::{CommitRequest, ListRequest, ProposeRequest, Proposed, Trouble, Word};
use crate::domain::principal::Right;
use crate::domain::proposal::State as Standing;
use crate::domain::reason::Reason;
use crate::entry::fields::{self, DEFAULT_PAGE, Fields, MAX_NAME_BYTES, MAX_PAGE, MAX_TOKEN_BYTES};
use crate::entry::shapes;

/// Longest words of a person, in bytes.
const MAX_WORDS_BYTES: usize = 4096;

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/v1/proposals", get(list).post(propose))
        .route("/v1/proposals/{id}", get(read))
        .route("/v1/proposals/{id}/commit", post(commit))
        .route("/v1/proposals/{id}/approve", post(approve))
        .route("/v1/proposals/{id}/reject", post(reject))
        .route("/v1/proposals/{id}/cancel", post(cancel))
        .route("/v1/proposals/{id}/settle", post(settle))
}

async fn propose(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    StrictBody(fields): StrictBody,
) -> Result<Response, Problem> {
    let request = propose_request(fields).map_err(of_a_request)?;
    let proposed = door.broker.pay.propose(&who, request).await?;
    let body = shapes::proposed(&proposed);
    if !rate_limited(&proposed) {
        return Ok(ok(&body));
    }
    let mut answer = with_status(429, &body);
    let secs = proposed.retry_after_secs.unwrap_or(1).max(1);
    let headers = answer.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(secs));
    Ok(answer)
}

fn propose_request(mut fields: Fields) -> Result<ProposeRequest, Trouble> {
    let tool = fields.needed_text("tool", MAX_NAME_BYTES)?;
    fields::propose(tool, fields)
}

fn rate_limited(proposed: &Proposed) -> bool {
    let proposal = &proposed.proposal;
    proposal.state == Standing::Blocked && proposal.fixed.reason == Reason::RateLimited
}

async fn list(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    query: Query,
) -> Result<Response, Problem> {
    let params = query.params(&["state", "agent", "tool", "cursor", "limit"])?;
    let limit = params.limit(MAX_PAGE)?.unwrap_or(DEFAULT_PAGE);
    let request = ListRequest {
        state: params.read("state", "a state of a proposal", Standing::parse)?,
        agent: params.read("agent", "an agent id", |text| text.parse().ok())?,
        tool: params.text("tool").map(str::to_owned),
        cursor: params.read("cursor", "the `next_cursor` of a page", |text| {
            text.parse().ok()
        })?,
        limit: Some(limit),
    };
    let page = door.broker.pay.proposals(&who, &request).await?;
    let next = page.rows.last().filter(|_| page.more);
    let next = next.map(|last| last.proposal.id());
    let proposals: Vec<Value> = page.rows.iter().map(shapes::proposal).collect();
    Ok(ok(&json!({"proposals": proposals, "next_cursor": next})))
}

async fn read(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Id(id): Id,
) -> Result<Response, Problem> {
    let answer = door.broker.pay.proposal(&who, id).await?;
    Ok(ok(&shapes::proposal(&answer)))
}

async fn commit(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(proposal_id): Named,
    StrictBody(fields): StrictBody,
) -> Result<Response, Problem> {
    let request = commit_request(proposal_id, fields).map_err(of_a_request)?;
    let answer = door.broker.pay.commit(&who, request).await?;
    let status = shapes::committed_status(&answer);
    Ok(with_status(status, &shapes::committed(&answer)))
}

fn commit_request(proposal_id: String, mut fields: Fields) -> Result<CommitRequest, Trouble> {
    let request = CommitRequest {
        proposal_id,
        commit_token: fields.needed_text("commit_token", MAX_TOKEN_BYTES)?,
        tool: None,
        arguments: fields.needed_object("arguments")?,
    };
    fields.end()?;
    Ok(request)
}

async fn approve(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Id(id): Id,
    OptionalBody(fields): OptionalBody,
) -> Result<Response, Problem> {
    fields.end().map_err(of_a_request)?;
    let answer = door.broker.pay.approve(&who, id).await?;
    Ok(ok(&shapes::proposal(&answer)))
}

async fn reject(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Id(id): Id,
    OptionalBody(fields): OptionalBody,
) -> Result<Response, Problem> {
    let reason = words(fields).map_err(of_a_request)?.unwrap_or_default();
    let answer = door.broker.pay.reject(&who, id, &reason).await?;
    Ok(ok(&shapes::proposal(&answer)))
}

async fn cancel(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Id(id): Id,
    OptionalBody(fields): OptionalBody,
) -> Result<Response, Problem> {
    fields.end().map_err(of_a_request)?;
    let answer = door.broker.pay.cancel(&who, id).await?;
    Ok(ok(&shapes::proposal(&answer)))
}

async fn settle(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Id(id): Id,
    StrictBody(fields): StrictBody,
) -> Result<Response, Problem> {
    needs(&who, Right::Operate)?;
    let (word, reason) = seen(fields).map_err(of_a_request)?;
    let answer = door.broker.pay.settle(&who, id, word, &reason).await?;
    Ok(ok(&shapes::proposal(&answer)))
}

fn words(mut fields: Fields) -> Result<Option<String>, Trouble> {
    let reason = fields.text("reason", MAX_WORDS_BYTES)?;
    fields.end()?;
    Ok(reason)
}

fn seen(mut fields: Fields) -> Result<(Word, String), Trouble> {
    let word = match fields.needed_text("outcome", MAX_NAME_BYTES)?.as_str() {
        "executed" => Word::Executed,
        "failed" => Word::Failed,
        _ => {
            let text = "`outcome` must be `executed` or `failed`: what you saw at the provider";
            return Err(Trouble::InvalidRequest(text.to_owned()));
        }
    };
    let reason = fields.needed_text("reason", MAX_WORDS_BYTES)?;
    fields.end()?;
    Ok((word, reason))
}

pub(super) const OPS: &[Op] = &[
    Op {
        id: "propose",
        method: "post",
        path: "/v1/proposals",
        summary: "Propose a call. Nothing happens at any provider.",
        right: Some(Right::Propose),
        body: Some("ProposeRequest"),
        answers: &[
            (200, "allowed, blocked or held", "Proposed"),
            (429, "blocked as RATE_LIMITED", "Proposed"),
        ],
        problems: &[400, 404, 409, 413, 415],
        ..Op::NONE
    },
    Op {
        id: "list_proposals",
        method: "get",
        path: "/v1/proposals",
        summary: "Proposals, newest first, without tokens. An agent sees its own. A page ends \
                  after `limit` rows or about 1 MiB; `next_cursor` goes on.",
        right: Some(Right::ReadOwn),
        params: &[
            Param::query("state", "Only in this state."),
            Param::query("agent", "Only of this agent."),
            Param::query("tool", "Only of this tool."),
            Param::query("cursor", "The `next_cursor` of the page before."),
            Param::query("limit", "50 if absent.").whole(1, MAX_PAGE as i64),
        ],
        answers: &[(200, "a page", "ProposalPage")],
        problems: &[400],
        ..Op::NONE
    },
    Op {
        id: "get_proposal",
        method: "get",
        path: "/v1/proposals/{id}",
        summary: "One proposal. Its proposer gets a usable commit token with it, if it is allowed.",
        right: Some(Right::ReadOwn),
        params: &[PROPOSAL],
        answers: &[(200, "the proposal", "Proposal")],
        problems: &[404],
        ..Op::NONE
    },
    Op {
        id: "commit",
        method: "post",
        path: "/v1/proposals/{id}/commit",
        summary: "Commit an allowed proposal, once, with the very arguments that were proposed.",
        right: Some(Right::Commit),
        params: &[PROPOSAL],
        body: Some("CommitRequest"),
        answers: &[
            (200, "committed, or failed at the provider", "Outcome"),
            (
                202,
                "sent, and in doubt; the broker finds out by itself",
                "Outcome",
            ),
            (409, "refused; nothing was done", "CommitRefused"),
        ],
        problems: &[400, 413, 415],
        ..Op::NONE
    },
    Op {
        id: "approve",
        method: "post",
        path: "/v1/proposals/{id}/approve",
        summary: "One more person agrees with what is held.",
        right: Some(Right::Decide),
        params: &[PROPOSAL],
        body: Some("Empty"),
        body_optional: true,
        answers: DECIDED,
        problems: &[400, 404, 409, 413, 415],
    },
    Op {
        id: "reject",
        method: "post",
        path: "/v1/proposals/{id}/reject",
        summary: "A person says no to what is held.",
        right: Some(Right::Decide),
        params: &[PROPOSAL],
        body: Some("RejectRequest"),
        body_optional: true,
        answers: DECIDED,
        problems: &[400, 404, 409, 413, 415],
    },
    Op {
        id: "cancel",
        method: "post",
        path: "/v1/proposals/{id}/cancel",
        summary: "The proposer, or an operator, takes back what is not committed.",
        right: Some(Right::ReadOwn),
        params: &[PROPOSAL],
        body: Some("Empty"),
        body_optional: true,
        answers: DECIDED,
        problems: &[400, 404, 409, 413, 415],
    },
    Op {
        id: "settle",
        method: "post",
        path: "/v1/proposals/{id}/settle",
        summary: "An operator's word on an attempt in doubt that no machine can settle.",
        right: Some(Right::Operate),
        params: &[PROPOSAL],
        body: Some("SettleRequest"),
        answers: DECIDED,
        problems: &[400, 404, 409, 413, 415],
        ..Op::NONE
    },
];

pub(super) const PROPOSAL: Param = Param::path("id", "The proposal's id.");
const DECIDED: &[(u16, &str, &str)] = &[(200, "the proposal as it then stands", "Proposal")];
