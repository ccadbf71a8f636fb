//! Proposals as lists show them.

use serde::Deserialize;
use serde_json::Value;

use super::show;
use super::words::Lang;

/// What a list needs of a proposal.
#[derive(Deserialize)]
struct Told {
    proposal_id: String,
    state: String,
    agent_id: String,
    tool_name: String,
    effective_amount: Value,
    payee: Value,
    reason: String,
    created_at: String,
    lapses_at: String,
    #[serde(default)]
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
pub(super) struct Finding {
    pub reason: String,
    pub severity: String,
    pub detail: String,
}

/// A row.
pub(super) struct Row {
    pub id: String,
    pub state: String,
    pub agent: String,
    pub tool: String,
    pub amount: String,
    pub minor: Option<i64>,
    pub payee: String,
    pub reason: String,
    pub created: String,
    pub lapses: String,
    pub held_for: usize,
    /// Held for one reason alone, and what it moves is known.
    pub is_simple: bool,
}

impl Row {
    fn of(told: Told, lang: Lang) -> Self {
        let held = told.findings.iter().filter(|one| one.severity == "hold");
        Self {
            amount: show::amount(&told.effective_amount, lang),
            minor: told.effective_amount["minor"].as_i64(),
            payee: payee(&told.payee),
            is_simple: held.clone().count() == 1 && told.effective_amount["minor"].is_number(),
            held_for: held.count(),
            id: told.proposal_id,
            state: told.state,
            agent: told.agent_id,
            tool: told.tool_name,
            reason: told.reason,
            created: told.created_at,
            lapses: told.lapses_at,
        }
    }
}

/// Who is paid, by the name that says most.
pub(super) fn payee(payee: &Value) -> String {
    let named = ["name", "account", "url", "id"].iter();
    let mut named = named.filter_map(|field| payee[*field].as_str());
    named.next().map_or("—".to_owned(), show::brief)
}

/// The rows of an answer of `list_proposals`.
pub(super) fn rows(answer: &Value, lang: Lang) -> Vec<Row> {
    let told = answer["proposals"].as_array().into_iter().flatten();
    let told = told.filter_map(|one| Told::deserialize(one).ok());
    told.map(|told| Row::of(told, lang)).collect()
}
