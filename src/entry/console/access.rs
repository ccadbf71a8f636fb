//! `/console/access`: the rules on who may use which tool and what is hidden of what comes back; and a
//! self-test, so that nobody has to believe that a mask works.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::show;
use crate::broker::Trouble;

#[derive(Template)]
#[template(path = "access.html", config = ".config/askama.toml")]
struct List {
    frame: Frame,
    rules: Vec<Line>,
    may_write: bool,
    answer: Option<Answer>,
}

struct Line {
    id: String,
    name: String,
    effect: String,
    enabled: bool,
    says: Vec<(String, String)>,
    by: String,
    at: String,
    /// What it names and nobody is.
    warnings: Vec<String>,
}

/// What the self-test said.
struct Answer {
    allowed: bool,
    decision: String,
    why: String,
    rules: Vec<String>,
    sample: Option<String>,
    masked: Vec<String>,
    warnings: Vec<String>,
}

/// The page.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let answer = ask.ask("list_rules", json!({})).await?;
    let rules = answer["rules"].as_array().into_iter().flatten();
    Shown::of(&List {
        rules: rules.map(line).collect(),
        may_write: ask.may("create_rule"),
        answer: ask.made.as_ref().map(answered),
        frame: ask.frame(ask.lang.t("Access")),
    })
}

fn line(rule: &Value) -> Line {
    let parts = ["who", "what", "when", "masks"].into_iter();
    let parts = parts.filter(|part| !rule[*part].is_null());
    let said = parts.map(|part| (part.to_owned(), rule[part].clone()));
    Line {
        id: show::plain(&rule["id"]),
        name: show::plain(&rule["name"]),
        effect: show::plain(&rule["effect"]),
        enabled: rule["enabled"] != false,
        says: show::leaves(&Value::Object(said.collect())),
        by: show::plain(&rule["changed_by"]),
        at: rule["changed_at"].as_str().unwrap_or_default().to_owned(),
        warnings: show::texts(&rule["warnings"]),
    }
}

fn answered(told: &Value) -> Answer {
    let texts = |name: &str| told[name].as_array().cloned().unwrap_or_default();
    let sample = &told["masked_sample"];
    Answer {
        allowed: told["decision"] == "allow",
        decision: show::plain(&told["decision"]),
        why: show::plain(&told["why"]),
        rules: texts("rules")
            .iter()
            .map(|rule| show::plain(&rule["name"]))
            .collect(),
        sample: (!sample.is_null()).then(|| show::pretty(sample)),
        masked: texts("masked").iter().map(show::plain).collect(),
        warnings: show::texts(&told["warnings"]),
    }
}
