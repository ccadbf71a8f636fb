//! `/console/proposals`: every proposal, by filters that stay in the address; and the life of one.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::rows::{Finding, Row, payee, rows};
use super::show;
use crate::broker::Trouble;
use crate::domain::proposal::State;
use serde::Deserialize;

const PAGE: u32 = 50;
/// Most records of one life.
const RECORDS: u32 = 200;

#[derive(Template)]
#[template(path = "proposals.html", config = ".config/askama.toml")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    states: [&'static str; 11],
    state: String,
    agent: String,
    tool: String,
    /// The address of the next page.
    next: Option<String>,
}

/// The list.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let mut input = ask.filters(&["state", "agent", "tool", "cursor"]);
    input["limit"] = PAGE.into();
    let answer = ask.ask("list_proposals", input).await?;
    let given = |name: &str| ask.query(name).unwrap_or_default().to_owned();
    Shown::of(&List {
        rows: rows(&answer, ask.lang),
        states: State::ALL.map(State::name),
        state: given("state"),
        agent: given("agent"),
        tool: given("tool"),
        next: next_page(
            &ask,
            &["state", "agent", "tool"],
            "cursor",
            &answer["next_cursor"],
        ),
        frame: ask.frame(ask.lang.t("Proposals")),
    })
}

/// The address of the page after this one, with the same filters.
pub(super) fn next_page(ask: &Ask, kept: &[&str], name: &str, cursor: &Value) -> Option<String> {
    let cursor = match cursor {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for name in kept {
        if let Some(value) = ask.query(name) {
            query.append_pair(name, value);
        }
    }
    query.append_pair(name, &cursor);
    Some(format!("{}?{}", ask.path, query.finish()))
}

#[derive(Template)]
#[template(path = "proposal.html", config = ".config/askama.toml")]
struct Life {
    frame: Frame,
    id: String,
    state: String,
    amount: String,
    payee: String,
    agent: String,
    tool: String,
    facts: Vec<(&'static str, String)>,
    findings: Vec<Finding>,
    arguments: Vec<(String, String)>,
    attempt: Vec<(String, String)>,
    records: Vec<Step>,
    may_cancel: bool,
    may_settle: bool,
}

/// One record of its life.
struct Step {
    seq: i64,
    at: String,
    kind: String,
    decision: String,
    actor: String,
    reason: String,
    detail: Vec<(String, String)>,
}

/// One proposal.
pub(super) async fn one(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let id = ask.named("id").to_owned();
    let told = ask.ask("get_proposal", json!({"proposal_id": id})).await?;
    let records = json!({"proposal": told["proposal_id"], "after": 0, "limit": RECORDS});
    let records = ask.ask("list_audit", records).await?;
    let text = |name: &str| told[name].as_str().map(show::seen).unwrap_or_default();
    let state = text("state");
    let findings = told["findings"].as_array().into_iter().flatten();
    let amount = show::amount(&told["effective_amount"], ask.lang);
    let open = matches!(state.as_str(), "held" | "allowed");
    Shown::of(&Life {
        facts: vec![
            ("Reason", text("reason")),
            ("Score", show::plain(&told["composite_score"])),
            ("Policy version", show::plain(&told["policy_version"])),
            ("Arguments hash", text("tool_args_hash")),
            ("Proposed", ask.frame("").time(&text("created_at"))),
            ("Lapses", ask.frame("").time(&text("lapses_at"))),
        ],
        payee: payee(&told["payee"]),
        agent: text("agent_id"),
        tool: text("tool_name"),
        findings: findings
            .filter_map(|one| Finding::deserialize(one).ok())
            .map(|one| Finding {
                detail: show::seen(&one.detail),
                ..one
            })
            .collect(),
        arguments: show::leaves(&told["arguments"]),
        attempt: match told["commit"].is_object() {
            true => show::leaves(&told["commit"]),
            false => Vec::new(),
        },
        records: steps(&records),
        may_cancel: open && ask.may("cancel_proposal"),
        may_settle: state == "in_doubt" && ask.may("settle_proposal"),
        frame: ask.frame(format!("{} {}", ask.lang.t("Proposal"), amount)),
        id,
        state,
        amount,
    })
}

fn steps(records: &Value) -> Vec<Step> {
    let records = records["records"].as_array().into_iter().flatten();
    let steps = records.map(|record| {
        let text = |name: &str| record[name].as_str().map(show::seen).unwrap_or_default();
        Step {
            seq: record["seq"].as_i64().unwrap_or(0),
            at: text("at"),
            kind: text("kind"),
            decision: text("decision"),
            actor: text("actor"),
            reason: text("reason"),
            detail: match record["detail"]
                .as_object()
                .is_some_and(|map| !map.is_empty())
            {
                true => show::leaves(&record["detail"]),
                false => Vec::new(),
            },
        }
    });
    steps.collect()
}
