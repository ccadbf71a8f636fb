//! What every page has around it: where one is, where one may go, who one is, and what just
//! happened.

use askama::Template;
use axum::http::Uri;

use super::act::is_page;
use super::ask::Ask;
use super::form::Form;
use super::words::{Lang, done};
use super::{assets, show};
use crate::broker::Trouble;
use crate::domain::ids::hex;
use crate::domain::reason::Recovery;
use crate::domain::visible;

/// A page as text.
pub(super) struct Shown(pub String);

impl Shown {
    /// A template with its values. It can only fail where a value does not write itself.
    pub fn of(template: &impl Template) -> Result<Self, Trouble> {
        let text = template.render().map(visible::page);
        text.map(Self).map_err(|error| {
            tracing::error!(%error, "a page was not written");
            Trouble::StoreUnavailable
        })
    }
}

/// A page to go to.
pub(super) struct Link {
    pub href: &'static str,
    pub label: &'static str,
    pub here: bool,
}

/// What just happened.
pub(super) struct Flash {
    pub good: bool,
    pub words: String,
    pub advice: &'static str,
}

/// What all pages share.
pub(super) struct Frame {
    pub lang: Lang,
    pub page: &'static str,
    pub title: String,
    /// This page, to come back to.
    pub here: String,
    pub nav: Vec<Link>,
    pub name: String,
    pub roles: Vec<String>,
    /// What every form carries.
    pub token: String,
    /// A number of this very page, so that each of its forms is done once.
    pub once: String,
    pub flash: Option<Flash>,
    pub signed_in: bool,
    /// What the form was about, and what was typed.
    typed: Option<(String, Form)>,
}

/// Pages in the order of the list, and the operation that is each one's twin. A page is there for
/// whoever may ask that.
#[rustfmt::skip]
const PAGES: [(&str, &str, &str, &str); 16] = [
    ("home",      "/console",           "Home",      "list_proposals"),
    ("approvals", "/console/approvals", "Approvals", "get_statement"),
    ("proposals", "/console/proposals", "Proposals", "list_proposals"),
    ("agents",    "/console/agents",    "Agents",    "list_agents"),
    ("tools",     "/console/tools",     "Tools",     "list_tools"),
    ("servers",   "/console/servers",   "Servers",   "list_servers"),
    ("sources",   "/console/sources",   "Sources",   "list_sources"),
    ("access",    "/console/access",    "Access",    "list_rules"),
    ("requests",  "/console/requests",  "Requests",  "list_requests"),
    ("providers", "/console/providers", "Providers", "list_providers"),
    ("usage",     "/console/usage",     "Usage",     "get_usage"),
    ("audit",     "/console/audit",     "Audit",     "list_audit"),
    ("keys",      "/console/keys",      "Keys",      "list_keys"),
    ("people",    "/console/people",    "People",    "list_people"),
    ("settings",  "/console/settings",  "Settings",  "health_check"),
    ("me",        "/console/me",        "Me",        ""),
];

impl Frame {
    pub fn of(ask: &Ask, title: String) -> Self {
        let open = |twin: &str| twin.is_empty() || ask.may(twin);
        let pages = PAGES.into_iter().filter(|(.., twin)| open(twin));
        let nav = pages.map(|(page, href, label, _)| Link {
            href,
            label,
            here: page == ask.page,
        });
        let did = ask.query("did").and_then(done);
        let done = did.map(|words| Flash {
            good: true,
            words: ask.lang.t(words).to_owned(),
            advice: "",
        });
        let refused = ask.draft.as_ref().map(|draft| Flash {
            good: false,
            words: draft.words.clone(),
            advice: advice(draft.recovery),
        });
        Self {
            lang: ask.lang,
            page: ask.page,
            title,
            here: ask.path.clone(),
            nav: nav.collect(),
            name: show::seen(&ask.seat.who.name),
            roles: ask
                .seat
                .who
                .roles
                .iter()
                .map(|role| role.name().to_owned())
                .collect(),
            token: ask.seat.form_token(),
            once: {
                let number: [u8; 16] = ask.broker().ports().ambient.bytes();
                hex(&number)
            },
            flash: refused.or(done),
            signed_in: true,
            typed: typed(ask),
        }
    }

    /// For whoever is not signed in.
    pub fn outside(lang: Lang, page: &'static str, title: &str, here: &Uri) -> Self {
        let path = here.path_and_query().map_or("", |path| path.as_str());
        let here = if is_page(path) { path } else { "/console" };
        Self {
            lang,
            page,
            title: title.to_owned(),
            here: here.to_owned(),
            nav: Vec::new(),
            name: String::new(),
            roles: Vec::new(),
            token: String::new(),
            once: String::new(),
            flash: None,
            signed_in: false,
            typed: None,
        }
    }

    /// In the reader's language.
    pub fn t<'a>(&self, english: &'a str) -> &'a str {
        self.lang.t(english)
    }

    /// Where the style sheet is.
    pub fn asset(&self, name: &str) -> String {
        assets::address(name)
    }

    /// What was typed into this control of a form that was not done, else what is there.
    pub fn typed(&self, op: &str, name: &str, otherwise: &str) -> String {
        let draft = self.typed.as_ref().filter(|(about, _)| about == op);
        let typed = draft.and_then(|(_, form)| form.last(name));
        typed.unwrap_or(otherwise).to_owned()
    }

    /// A whole number in the reader's digits.
    pub fn number(&self, number: impl std::fmt::Display) -> String {
        show::digits(&number.to_string(), self.lang)
    }

    /// An instant as people read it, in UTC; the script shows it in the reader's zone.
    pub fn time(&self, at: &str) -> String {
        show::time(at, self.lang)
    }

    /// The words for a state, a role, a severity.
    pub fn word(&self, word: &str) -> String {
        let spaced = word.replace('_', " ");
        match self.lang {
            Lang::English => spaced,
            Lang::Persian => self.lang.known(&spaced).unwrap_or(&spaced).to_owned(),
        }
    }
}

/// What was typed into a form that was not done, or whose answer is looked at.
fn typed(ask: &Ask) -> Option<(String, Form)> {
    let form = ask.draft.as_ref().map(|draft| &draft.form);
    let form = form.or(ask.sent.as_ref())?;
    Some((form.get("op").unwrap_or_default().to_owned(), form.clone()))
}

/// What helps, in words.
fn advice(recovery: &str) -> &'static str {
    match Recovery::ALL.iter().find(|known| known.code() == recovery) {
        Some(Recovery::FixArgs) => "Nothing was done. Correct what is named and send it again.",
        Some(Recovery::Wait) => "Nothing was done. Try again in a moment.",
        Some(Recovery::GetApproval) => "Nothing was done. Another person has to decide.",
        Some(Recovery::ReadOutcome) => "Look at how it stands now before you repeat anything.",
        Some(_) | None => "Nothing was done.",
    }
}

#[derive(Template)]
#[template(path = "trouble.html", config = ".config/askama.toml")]
struct TroublePage {
    frame: Frame,
    words: String,
    advice: &'static str,
}

/// A page that says what went wrong, for whoever is signed in.
pub(super) fn failed(ask: &Ask, trouble: &Trouble) -> String {
    trouble_page(ask.frame(ask.lang.t("Not possible")), trouble)
}

/// The same for whoever is not.
pub(super) fn alone(lang: Lang, trouble: &Trouble) -> String {
    let here = Uri::from_static("/console");
    let title = lang.t("Not possible");
    trouble_page(Frame::outside(lang, "trouble", title, &here), trouble)
}

fn trouble_page(frame: Frame, trouble: &Trouble) -> String {
    let page = TroublePage {
        frame,
        words: trouble.to_string(),
        advice: advice(trouble.recovery().code()),
    };
    let text = page.render().unwrap_or_else(|_| page.words.clone());
    visible::page(text)
}
