//! `/console/approvals`: what waits for people, the riskiest first; and one hold, rendered from the
//! statement's bytes alone, so that what is read is what is decided on.

use std::sync::Arc;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::rows::{Finding, Row, payee, rows};
use super::show;
use crate::broker::Trouble;
use crate::broker::access::passkeys::Page;

/// Most holds on one page.
const PAGE: u32 = 200;
/// Rows of a history.
const PAST: u32 = 8;

#[derive(Template)]
#[template(path = "approvals.html", config = ".config/askama.toml")]
struct Queue {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
    may_decide: bool,
}

/// The queue: by how much speaks against it and how much it moves, then by age.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let mut input = json!({"state": "held", "limit": PAGE});
    if let Some(cursor) = ask.query("cursor") {
        input["cursor"] = cursor.into();
    }
    let answer = ask.ask("list_proposals", input).await?;
    let mut rows = rows(&answer, ask.lang);
    rows.sort_by(|one, other| {
        let risk = |row: &Row| (row.held_for, row.minor.unwrap_or(i64::MAX));
        let riskier = risk(other).cmp(&risk(one));
        riskier.then_with(|| one.created.cmp(&other.created))
    });
    Shown::of(&Queue {
        rows,
        next: answer["next_cursor"].as_str().map(str::to_owned),
        may_decide: ask.may("approve_proposal"),
        frame: ask.frame(ask.lang.t("Approvals")),
    })
}

#[derive(Template)]
#[template(path = "approval.html", config = ".config/askama.toml")]
struct Hold {
    frame: Frame,
    id: String,
    state: String,
    waits: bool,
    may_decide: bool,
    said: Said,
    arguments: Vec<(String, String)>,
    /// The exact bytes, for programs, and as they are seen.
    bytes: String,
    text: String,
    digest: String,
    asked_at: String,
    challenge: String,
    rp_id: String,
    /// The reader's own, by id.
    passkeys: String,
    /// What a no would sign.
    refusal: Option<Refusal>,
    given: Vec<String>,
    /// The reader wrote the policy that decided.
    own_rule: bool,
    ending: Option<Ending>,
    of_agent: Vec<Row>,
    of_payee: Vec<Row>,
    /// Passages of documents about it. They are no part of what is signed.
    related: Vec<Passage>,
}

/// The statement of a rejection.
struct Refusal {
    bytes: String,
    digest: String,
    asked_at: String,
    challenge: String,
}

impl Refusal {
    fn of(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Self {
            bytes: URL_SAFE_NO_PAD.encode(text("text").as_bytes()),
            digest: text("digest"),
            asked_at: text("asked_at"),
            challenge: text("challenge"),
        }
    }
}

/// A passage that may matter.
#[derive(Deserialize)]
struct Passage {
    id: String,
    title: String,
    text: String,
}

/// What the statement says.
struct Said {
    amount: String,
    payee: String,
    payee_more: Vec<(String, String)>,
    known: bool,
    agent: String,
    tool: String,
    pin: String,
    hash: String,
    at_once: bool,
    /// In words, and the state it works on.
    effect: Option<(String, Vec<(String, String)>)>,
    /// A yes counts only where it is signed.
    signed_only: bool,
    needed: u64,
    policy: String,
    findings: Vec<Finding>,
    expires: String,
}

#[derive(Deserialize)]
pub(super) struct Ending {
    pub by: String,
    pub at: String,
    pub reason: String,
}

/// One hold.
pub(super) async fn one(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let id = ask.named("id").to_owned();
    let asked = json!({"proposal_id": id});
    let stands = ask.ask("get_proposal", asked.clone()).await?;
    let answer = ask.ask("get_statement", asked.clone()).await?;
    let text = answer["text"].as_str().unwrap_or_default().to_owned();
    // From the bytes that are signed, and from nothing else.
    let statement: Value = serde_json::from_str(&text).unwrap_or_default();
    let said = said(&statement, &ask);
    let past = json!({"agent": statement["agent_id"], "limit": PAST + 1});
    let past = ask.ask("list_proposals", past).await?;
    let others = |rows: Vec<Row>| -> Vec<Row> {
        let others = rows.into_iter().filter(|row| row.id != id);
        others.take(PAST as usize).collect()
    };
    let of_agent = others(rows(&past, ask.lang));
    let of_payee = others(same_payee(&ask, &statement).await?);
    let passkeys = ask.broker().access.passkeys(&ask.seat.who).await?;
    let passkeys: Vec<String> = passkeys.into_iter().map(|one| one.id).collect();
    let refusal = match passkeys.is_empty() {
        true => None,
        false => {
            let mut asked = asked;
            asked["decision"] = "reject".into();
            Some(Refusal::of(&ask.ask("get_statement", asked).await?))
        }
    };
    let state = stands["state"].as_str().unwrap_or_default().to_owned();
    let given = stands["approval"]["by"].as_array().into_iter().flatten();
    let related = stands["related"].as_array().into_iter().flatten();
    let related = related.filter_map(|one| Passage::deserialize(one).ok());
    Shown::of(&Hold {
        related: related
            .map(|one| Passage {
                title: show::seen(&one.title),
                text: show::seen(&one.text),
                ..one
            })
            .collect(),
        waits: state == "held",
        may_decide: ask.may("approve_proposal"),
        arguments: show::leaves(&statement["arguments"]),
        bytes: URL_SAFE_NO_PAD.encode(text.as_bytes()),
        digest: answer["digest"].as_str().unwrap_or_default().to_owned(),
        asked_at: answer["asked_at"].as_str().unwrap_or_default().to_owned(),
        challenge: answer["challenge"].as_str().unwrap_or_default().to_owned(),
        rp_id: Page::of(ask.seat.console.public.origin()).party.to_owned(),
        passkeys: passkeys.join(" "),
        refusal,
        given: given.map(show::plain).collect(),
        own_rule: own_rule(&ask, &statement).await?,
        ending: Ending::deserialize(&stands["ending"])
            .ok()
            .map(|ending| Ending {
                reason: show::seen(&ending.reason),
                ..ending
            }),
        text: show::seen(&text),
        frame: ask.frame(format!("{} {}", ask.lang.t("Approve"), said.amount)),
        id,
        state,
        said,
        of_agent,
        of_payee,
    })
}

/// Whether the reader wrote the version of the policy that decided: then two of the three parts
/// are played by one person, and they should know.
async fn own_rule(ask: &Ask, statement: &Value) -> Result<bool, Trouble> {
    let named = json!({"agent": statement["agent_id"]});
    let told = match ask.ask("policy_versions", named).await {
        Ok(told) => told,
        Err(Trouble::NotFound(_)) => return Ok(false),
        Err(trouble) => return Err(trouble),
    };
    let mut versions = told["versions"].as_array().into_iter().flatten();
    let decided = versions.find(|one| one["version"] == statement["policy_version"]);
    Ok(decided.is_some_and(|one| one["by"] == ask.seat.who.id.as_str()))
}

/// What was proposed lately for the same account.
async fn same_payee(ask: &Ask, statement: &Value) -> Result<Vec<Row>, Trouble> {
    let paid = &statement["payee"];
    let key = ["id", "account", "name"]
        .into_iter()
        .find(|key| paid[*key].is_string());
    let Some(key) = key else {
        return Ok(Vec::new());
    };
    let mut answer = ask.ask("list_proposals", json!({"limit": PAGE})).await?;
    if let Some(all) = answer["proposals"].as_array_mut() {
        all.retain(|one| one["payee"][key] == paid[key]);
    }
    Ok(rows(&answer, ask.lang))
}

/// What the tool works on, and what it will be, as it was shown when it was proposed.
fn effect(told: &Value) -> Option<(String, Vec<(String, String)>)> {
    let summary = told["summary"].as_str().map(show::seen)?;
    let mut state = told.clone();
    if let Some(state) = state.as_object_mut() {
        state.remove("summary");
    }
    Some((summary, show::leaves(&state)))
}

fn said(statement: &Value, ask: &Ask) -> Said {
    let text = |value: &Value| value.as_str().map(show::seen).unwrap_or_default();
    let paid = &statement["payee"];
    let findings = statement["findings"].as_array().into_iter().flatten();
    let findings = findings.filter_map(|one| Finding::deserialize(one).ok());
    let policy = statement["policy_version"].as_u64();
    Said {
        amount: show::amount(&statement["amount"], ask.lang),
        payee: payee(paid),
        payee_more: show::leaves(paid)
            .into_iter()
            .filter(|(_, value)| value != "—")
            .collect(),
        known: paid["id"].is_string(),
        agent: text(&statement["agent_id"]),
        tool: text(&statement["tool"]["name"]),
        pin: text(&statement["tool"]["pin"]),
        hash: text(&statement["arguments_hash"]),
        at_once: statement["then"] == "carried_out_at_once",
        effect: effect(&statement["effect"]),
        signed_only: statement["approval"]["passkey"] == "required",
        needed: statement["approvals_needed"].as_u64().unwrap_or(0),
        policy: policy.map_or("—".to_owned(), |version| version.to_string()),
        findings: findings
            .map(|one| Finding {
                detail: show::seen(&one.detail),
                ..one
            })
            .collect(),
        expires: text(&statement["expires_at"]),
    }
}
