//! `/console/people`: who there is and what they may do; and the link that lets one of them in,
//! shown once.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::show;
use crate::broker::Trouble;
use crate::domain::principal::Role;

#[derive(Template)]
#[template(path = "people.html", config = ".config/askama.toml")]
struct List {
    frame: Frame,
    people: Vec<Line>,
    roles: Vec<&'static str>,
    may_write: bool,
    link: Option<String>,
}

struct Line {
    id: String,
    name: String,
    email: String,
    roles: Vec<String>,
    slack: String,
    version: String,
}

/// The page.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let answer = ask.ask("list_people", json!({})).await?;
    let people = answer["people"].as_array().into_iter().flatten();
    let made = ask.made.as_ref();
    // A person runs agents and is none.
    let roles = Role::ALL.into_iter().filter(|role| *role != Role::Agent);
    Shown::of(&List {
        people: people.map(line).collect(),
        roles: roles.map(Role::name).collect(),
        may_write: ask.may("create_person"),
        link: made.and_then(|made| made["link"].as_str().map(str::to_owned)),
        frame: ask.frame(ask.lang.t("People")),
    })
}

fn line(person: &Value) -> Line {
    let roles = person["roles"].as_array().into_iter().flatten();
    Line {
        id: show::plain(&person["id"]),
        name: show::plain(&person["name"]),
        email: show::plain(&person["email"]),
        roles: roles.map(show::plain).collect(),
        slack: show::plain(&person["slack_user"]),
        version: show::plain(&person["version"]),
    }
}
