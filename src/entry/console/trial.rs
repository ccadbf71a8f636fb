//! What a changed policy would have done, as the page of an agent shows it.

use serde_json::Value;

use super::ask::Ask;
use super::show;
use crate::domain::audit::names::Decision;

/// A trial on the past.
pub(super) struct Trial {
    pub proposals: String,
    pub replayed: String,
    pub different: String,
    pub is_same: bool,
    pub changes: Vec<Change>,
    pub examples: Vec<Example>,
    /// How many, and why.
    pub missed: Vec<(String, String)>,
    pub more: bool,
}

/// From one decision to another.
pub(super) struct Change {
    pub was: &'static str,
    pub would: &'static str,
    pub count: String,
    pub amounts: String,
}

/// One proposal that would have been decided otherwise.
pub(super) struct Example {
    pub id: String,
    pub at: String,
    pub tool: String,
    pub amount: String,
    pub was: &'static str,
    pub was_reason: String,
    pub would: &'static str,
    pub would_reason: String,
}

/// The state that a decision leads to.
fn state(decision: &Value) -> &'static str {
    let named = decision.as_str().unwrap_or_default();
    let known = Decision::ALL.iter().find(|one| one.name() == named);
    match known {
        Some(Decision::Approved | Decision::Skipped) => "allowed",
        Some(Decision::Held) => "held",
        Some(Decision::Rejected) | None => "blocked",
    }
}

/// Reads the answer of `backtest_policy`.
pub(super) fn trial(told: &Value, ask: &Ask) -> Trial {
    let count = |value: &Value| show::count(value, ask.lang);
    let text = |value: &Value| value.as_str().map(show::seen).unwrap_or_default();
    let list = |name: &str| told[name].as_array().cloned().unwrap_or_default();
    let amounts = |value: &Value| {
        let all = value.as_array().into_iter().flatten();
        let all = all.map(|one| show::amount(one, ask.lang));
        all.collect::<Vec<_>>().join(" · ")
    };
    let changes = list("changes");
    let examples = list("examples");
    let missed = list("not_replayed");
    Trial {
        proposals: count(&told["proposals"]),
        replayed: count(&told["replayed"]),
        different: count(&told["different"]),
        is_same: told["different"] == 0,
        changes: changes
            .iter()
            .map(|one| Change {
                was: state(&one["was"]),
                would: state(&one["would"]),
                count: count(&one["count"]),
                amounts: amounts(&one["amounts"]),
            })
            .collect(),
        examples: examples
            .iter()
            .map(|one| Example {
                id: text(&one["proposal_id"]),
                at: one["created_at"].as_str().unwrap_or_default().to_owned(),
                tool: text(&one["tool_name"]),
                amount: show::amount(&one["amount"], ask.lang),
                was: state(&one["was"]["decision"]),
                was_reason: text(&one["was"]["reason"]),
                would: state(&one["would"]["decision"]),
                would_reason: text(&one["would"]["reason"]),
            })
            .collect(),
        missed: missed
            .iter()
            .map(|one| (count(&one["count"]), text(&one["why"])))
            .collect(),
        more: told["more"] == true,
    }
}
