//! `/console/me`: who one is here, and one's sessions.

use std::sync::Arc;

use askama::Template;

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::show;
use crate::broker::Trouble;
use crate::broker::access::sessions::{Entrance, SessionView};

#[derive(Template)]
#[template(path = "me.html", config = ".config/askama.toml")]
struct Me {
    frame: Frame,
    id: String,
    org: String,
    sessions: Vec<Line>,
    passkeys: Vec<Passkey>,
}

struct Passkey {
    id: String,
    name: String,
    made: String,
    used: Option<String>,
}

struct Line {
    id: String,
    browser: String,
    by: &'static str,
    began: String,
    seen: String,
    here: bool,
}

/// The page.
pub(super) async fn show(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let sessions = ask.broker().access.sessions(&ask.seat.who).await?;
    let line = |session: SessionView| Line {
        here: session.id == ask.seat.session,
        browser: show::seen(&session.browser),
        by: match session.by {
            Entrance::Link => "by link",
            Entrance::Passkey => "with a passkey",
        },
        began: session.began_at.to_string(),
        seen: session.seen_at.to_string(),
        id: session.id,
    };
    let passkeys = ask.broker().access.passkeys(&ask.seat.who).await?;
    let passkeys = passkeys.into_iter().map(|one| Passkey {
        name: show::seen(&one.name),
        made: one.created_at.to_string(),
        used: one.used_at.map(|at| at.to_string()),
        id: one.id,
    });
    Shown::of(&Me {
        passkeys: passkeys.collect(),
        sessions: sessions.into_iter().map(line).collect(),
        id: show::seen(&ask.seat.who.id),
        org: ask.seat.who.org.to_string(),
        frame: ask.frame(ask.lang.t("Me")),
    })
}
