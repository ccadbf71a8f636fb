//! `/console`: what needs the reader, and the brake.

use std::sync::Arc;

use askama::Template;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::rows::{Row, rows};
use super::show;
use super::today::{self, Need, Today};
use crate::broker::Trouble;
use crate::domain::facts::FreezeScope;

/// Rows of each list; the rest is a page of its own.
const FEW: u32 = 8;

#[derive(Template)]
#[template(path = "home.html", config = ".config/askama.toml")]
struct Home {
    frame: Frame,
    held: Vec<Row>,
    more_held: bool,
    doubts: Vec<Row>,
    frozen: Vec<Frozen>,
    scopes: [&'static str; 5],
    today: Today,
    needs: Vec<Need>,
    may_freeze: bool,
    may_unfreeze: bool,
}

#[derive(Deserialize)]
struct Frozen {
    scope: String,
    id: Option<String>,
    reason: String,
    by: String,
    at: String,
}

/// The page.
pub(super) async fn show(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let held = json!({"state": "held", "limit": FEW});
    let held = ask.ask("list_proposals", held).await?;
    let doubts = json!({"state": "in_doubt", "limit": FEW});
    let doubts = ask.ask("list_proposals", doubts).await?;
    Shown::of(&Home {
        held: rows(&held, ask.lang),
        more_held: held["next_cursor"].is_string(),
        doubts: rows(&doubts, ask.lang),
        frozen: frozen(&ask).await?,
        today: today::read(&ask).await?,
        needs: today::needs(&ask).await?,
        scopes: FreezeScope::ALL.map(FreezeScope::name),
        may_freeze: ask.may("freeze"),
        may_unfreeze: ask.may("unfreeze"),
        frame: ask.frame(ask.lang.t("What needs you")),
    })
}

async fn frozen(ask: &Ask) -> Result<Vec<Frozen>, Trouble> {
    if !ask.may("list_freezes") {
        return Ok(Vec::new());
    }
    let answer = ask.ask("list_freezes", json!({})).await?;
    let frozen = answer["frozen"].as_array().into_iter().flatten();
    let frozen = frozen.filter_map(|one: &Value| Frozen::deserialize(one).ok());
    Ok(frozen
        .map(|one| Frozen {
            reason: show::seen(&one.reason),
            id: one.id.as_deref().map(show::seen),
            ..one
        })
        .collect())
}
