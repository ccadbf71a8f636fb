//! `/console/settings`: what is in force and from where, and whether everything answers.

use std::sync::Arc;

use askama::Template;
use serde_json::json;

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::show;
use crate::broker::Trouble;
use crate::domain::principal::Right;

/// One setting as it may be seen: no secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its dotted key.
    pub key: String,
    /// Its value, masked where it is secret.
    pub value: String,
    /// Where it comes from.
    pub source: String,
    /// What it is for.
    pub help: &'static str,
}

#[derive(Template)]
#[template(path = "settings.html", config = ".config/askama.toml")]
struct Page {
    frame: Frame,
    settings: Arc<[Setting]>,
    checks: Vec<Check>,
    status: String,
}

struct Check {
    name: String,
    ok: bool,
    detail: String,
}

/// The page. Its twin is the check of health, which is for whoever may read everything.
pub(super) async fn show(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let told = ask.ask("health_check", json!({})).await?;
    let checks = told["checks"].as_array().into_iter().flatten();
    let checks = checks.map(|check| Check {
        name: show::plain(&check["name"]),
        ok: check["ok"] == true,
        detail: check["detail"].as_str().map(show::seen).unwrap_or_default(),
    });
    let settings = match ask.has(Right::ReadAll) {
        true => ask.seat.console.settings.clone(),
        false => Arc::from([]),
    };
    Shown::of(&Page {
        settings,
        checks: checks.collect(),
        status: show::plain(&told["status"]),
        frame: ask.frame(ask.lang.t("Settings")),
    })
}
