//! `/console/audit`: the records, by filters that stay in the address, each with its proof; and the
//! whole log looked over now.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::ask::Ask;
use super::door::{admit, html};
use super::frame::{Frame, Shown};
use super::proposals::next_page;
use super::{Console, frame, show};
use crate::broker::Trouble;
use crate::domain::audit::names::Decision;
use crate::domain::audit::verify::Verifier;
use crate::entry::operations::Body as Told;

const PAGE: u32 = 100;
const FILTERS: [&str; 7] = [
    "agent", "proposal", "payout", "decision", "tool", "since", "until",
];

#[derive(Template)]
#[template(path = "audit.html", config = ".config/askama.toml")]
struct List {
    frame: Frame,
    records: Vec<Record>,
    decisions: &'static [&'static str],
    given: Vec<(&'static str, String)>,
    next: Option<String>,
    /// The same filters, for an export.
    query: String,
    head: Option<Head>,
    proof: Option<Proof>,
    checked: Option<Checked>,
}

/// What looking over the whole log found.
struct Checked {
    ok: bool,
    records: u64,
    heads: u64,
    approvals: u64,
    detail: String,
}

impl List {
    fn given(&self, name: &str) -> &str {
        let given = self.given.iter().find(|(found, _)| *found == name);
        given.map_or("", |(_, value)| value)
    }
}

struct Record {
    seq: i64,
    at: String,
    kind: String,
    decision: String,
    reason: String,
    actor: String,
    agent: String,
    tool: String,
    proposal: Option<String>,
    amount: String,
}

struct Head {
    size: String,
    root: String,
    at: String,
    key: String,
}

struct Proof {
    seq: String,
    leaf: String,
    size: String,
    path: Vec<String>,
    record: String,
}

/// The list.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let mut input = ask.filters(&FILTERS);
    if let Some(before) = ask
        .query("before")
        .and_then(|text| text.parse::<i64>().ok())
    {
        input["before"] = before.into();
    }
    input["limit"] = PAGE.into();
    let answer = ask.ask("list_audit", input).await?;
    let records = answer["records"].as_array().into_iter().flatten();
    let head = match ask.may("audit_head") {
        true => ask.ask("audit_head", json!({})).await.ok(),
        false => None,
    };
    let given = FILTERS.iter();
    let given = given.map(|name| (*name, ask.query(name).unwrap_or_default().to_owned()));
    let given: Vec<_> = given.collect();
    let proof = proof(&ask).await?;
    let checked = match ask.query("verify") {
        Some(_) if ask.may("audit_head") => Some(check(&ask).await?),
        Some(_) | None => None,
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(given.iter().filter(|(_, value)| !value.is_empty()));
    Shown::of(&List {
        records: records.map(|record| read(record, &ask)).collect(),
        decisions: Decision::NAMES,
        next: next_page(&ask, &FILTERS, "before", &answer["next_before"]),
        query: query.finish(),
        proof,
        checked,
        head: head.as_ref().map(|head| Head {
            size: show::plain(&head["tree_size"]),
            root: show::plain(&head["root_hash"]),
            at: head["at"].as_str().unwrap_or_default().to_owned(),
            key: show::plain(&head["public_key"]),
        }),
        frame: ask.frame(ask.lang.t("Audit")),
        given,
    })
}

fn read(record: &Value, ask: &Ask) -> Record {
    let text = |name: &str| record[name].as_str().map(show::seen).unwrap_or_default();
    Record {
        seq: record["seq"].as_i64().unwrap_or(0),
        at: text("at"),
        kind: text("kind"),
        decision: text("decision"),
        reason: text("reason"),
        actor: text("actor"),
        agent: text("agent_id"),
        tool: text("tool_name"),
        proposal: record["proposal_id"].as_str().map(str::to_owned),
        amount: match (record["amount"].as_i64(), record["currency"].as_str()) {
            (Some(minor), Some(code)) => show::money(minor, code, ask.lang),
            _ => String::new(),
        },
    }
}

/// Looks over the whole sealed log as `hundi audit verify` does, with the key of this server.
async fn check(ask: &Ask) -> Result<Checked, Trouble> {
    let answer = ask.answer("list_audit", json!({"format": "jsonl"})).await?;
    let key = ask.broker().audit.audit_public_key();
    let mut verifier = Verifier::new(&key.into_iter().collect::<Vec<_>>());
    let mut rest = String::new();
    if let Told::Stream(_, mut chunks) = answer.body {
        while let Some(chunk) = chunks.next().await {
            rest.push_str(&chunk.map_err(|_| Trouble::StoreUnavailable)?);
            while let Some(end) = rest.find('\n') {
                verifier.line(&rest.as_bytes()[..end]);
                rest.drain(..=end);
            }
            tokio::task::yield_now().await;
        }
    }
    let report = verifier.finish();
    Ok(Checked {
        ok: report.ok(),
        records: report.records,
        heads: report.heads,
        approvals: report.approvals,
        detail: report.first_bad.map(|bad| bad.detail).unwrap_or_default(),
    })
}

/// The proof of one record, where one was asked for.
async fn proof(ask: &Ask) -> Result<Option<Proof>, Trouble> {
    let seq = ask.query("proof").and_then(|text| text.parse::<i64>().ok());
    let Some(seq) = seq.filter(|_| ask.may("audit_proof")) else {
        return Ok(None);
    };
    let told = ask.ask("audit_proof", json!({"seq": seq})).await?;
    let path = told["proof"].as_array().into_iter().flatten();
    Ok(Some(Proof {
        seq: seq.to_string(),
        leaf: show::plain(&told["leaf_hash"]),
        size: show::plain(&told["tree_size"]),
        path: path.map(show::plain).collect(),
        record: show::plain(&told["record"]),
    }))
}

/// The records as a file: what `GET /v1/audit` streams, for whoever has a session and no key.
pub(super) async fn export(State(console): State<Console>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let ask = match admit("audit", &console, &mut parts).await {
        Ok(ask) => ask,
        Err(answer) => return *answer,
    };
    let format = match ask.query("format") {
        Some("csv") => "csv",
        _ => "jsonl",
    };
    let mut input = ask.filters(&FILTERS);
    input["format"] = format.into();
    match ask
        .answer("list_audit", input)
        .await
        .map(|answer| answer.body)
    {
        Ok(Told::Stream(media, lines)) => {
            let name = format!("attachment; filename=\"hundi-audit.{format}\"");
            let name = HeaderValue::from_str(&name);
            let kind = HeaderValue::from_static(media);
            let mut answer = Response::new(Body::from_stream(lines));
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            if let Ok(name) = name {
                answer.headers_mut().insert(CONTENT_DISPOSITION, name);
            }
            answer
        }
        Ok(Told::Json(_)) => axum::http::StatusCode::NOT_FOUND.into_response(),
        Err(trouble) => html(trouble.status(), frame::failed(&ask, &trouble)),
    }
}
