//! `/console/sources`: the databases, APIs and programs that registered tools work on.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::show;
use crate::broker::Trouble;

/// What a source can be.
const KINDS: [&str; 5] = ["postgres", "sqlite", "rest", "mcp", "program"];

#[derive(Template)]
#[template(path = "sources.html", config = ".config/askama.toml")]
struct List {
    frame: Frame,
    sources: Vec<Line>,
    kinds: [&'static str; 5],
    may_write: bool,
    said: Option<Said>,
}

struct Line {
    name: String,
    kind: String,
    config: Vec<(String, String)>,
    secrets: Vec<String>,
    version: String,
    by: String,
    at: String,
}

/// What a source answered.
struct Said {
    ok: bool,
    took: String,
    detail: String,
    advice: Vec<String>,
}

/// The page.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let answer = ask.ask("list_sources", json!({})).await?;
    let sources = answer["sources"].as_array().into_iter().flatten();
    Shown::of(&List {
        sources: sources.map(line).collect(),
        kinds: KINDS,
        may_write: ask.may("create_source"),
        said: ask.made.as_ref().map(said),
        frame: ask.frame(ask.lang.t("Sources")),
    })
}

fn line(source: &Value) -> Line {
    let secrets = source["secrets"].as_object().into_iter().flatten();
    Line {
        name: show::plain(&source["name"]),
        kind: show::plain(&source["kind"]),
        config: show::leaves(&source["config"]),
        secrets: secrets.map(|(name, _)| show::seen(name)).collect(),
        version: show::plain(&source["version"]),
        by: show::plain(&source["changed_by"]),
        at: source["changed_at"].as_str().unwrap_or_default().to_owned(),
    }
}

fn said(answer: &Value) -> Said {
    let advice = answer["advice"].as_array().into_iter().flatten();
    Said {
        ok: answer["ok"] == true,
        took: show::plain(&answer["latency_ms"]),
        detail: show::plain(&answer["detail"]),
        advice: advice.map(show::plain).collect(),
    }
}
