//! `/console/keys`: what programs come in with. A key's text is shown once, right after it was made.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::show;
use crate::broker::Trouble;
use crate::domain::principal::Role;

#[derive(Template)]
#[template(path = "keys.html", config = ".config/askama.toml")]
struct List {
    frame: Frame,
    keys: Vec<Line>,
    roles: [&'static str; Role::ALL.len()],
    may_make: bool,
    made: Option<String>,
}

struct Line {
    id: String,
    name: String,
    roles: String,
    agent: String,
    person: String,
    made: String,
    ended: Option<String>,
}

/// The page.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let answer = ask.ask("list_keys", json!({})).await?;
    let keys = answer["keys"].as_array().into_iter().flatten();
    let mut keys: Vec<Line> = keys.map(|key| line(key, &ask)).collect();
    keys.sort_by(|one, other| {
        let live = one.ended.is_some().cmp(&other.ended.is_some());
        live.then_with(|| other.made.cmp(&one.made))
    });
    let made = ask.made.as_ref();
    Shown::of(&List {
        keys,
        roles: Role::ALL.map(Role::name),
        may_make: ask.may("create_key"),
        made: made.and_then(|made| made["key"].as_str().map(str::to_owned)),
        frame: ask.frame(ask.lang.t("Keys")),
    })
}

fn line(key: &Value, ask: &Ask) -> Line {
    let frame = ask.frame("");
    let roles = key["roles"].as_array().into_iter().flatten();
    let roles = roles.filter_map(|role| role.as_str().map(|role| frame.word(role)));
    Line {
        id: show::plain(&key["id"]),
        name: show::plain(&key["name"]),
        roles: roles.collect::<Vec<_>>().join(", "),
        agent: show::plain(&key["agent_id"]),
        person: show::plain(&key["person"]),
        made: key["created_at"].as_str().unwrap_or_default().to_owned(),
        ended: key["revoked_at"].as_str().map(str::to_owned),
    }
}
