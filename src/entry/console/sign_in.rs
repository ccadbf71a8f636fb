//! Coming in and leaving: one-time links, and the switch of language, which needs no session.
//!
//! Opening a link only shows a button. Programs that look at links before people do (mail filters,
//! previews) press none, so they use nothing up.

use std::net::{IpAddr, Ipv4Addr};

use askama::Template;
use axum::extract::{Request, State};
use axum::http::header::{SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};

use super::Console;
use super::act::{is_page, own_form};
use super::door::{LANGUAGE, SESSION, html, see, signed_in};
use super::form::Form;
use super::frame::{Flash, Frame, alone};
use super::words::Lang;
use crate::broker::access::sessions::LIFE_SECS;
use crate::entry::http::Peer;

#[derive(Template)]
#[template(path = "sign_in.html", config = ".config/askama.toml")]
struct SignIn {
    frame: Frame,
    /// The link's own text; without one there is only advice.
    link: String,
    next: String,
}

/// The page that a link opens.
pub(super) async fn show(State(console): State<Console>, request: Request) -> Response {
    let (headers, uri) = (request.headers(), request.uri());
    let asked = query(uri);
    let next = asked("next")
        .filter(|next| is_page(next))
        .unwrap_or_default();
    let link = asked("link").unwrap_or_default();
    // Whoever is in already has nothing to do here.
    if link.is_empty() && matches!(signed_in(&console, headers).await, Ok(Some(_))) {
        return see(if next.is_empty() { "/console" } else { &next });
    }
    page(Lang::of(headers), uri, link, next, None, 200)
}

fn page(
    lang: Lang,
    uri: &Uri,
    link: String,
    next: String,
    problem: Option<&str>,
    status: u16,
) -> Response {
    let mut frame = Frame::outside(lang, "sign-in", lang.t("Sign in"), uri);
    frame.flash = problem.map(|words| Flash {
        good: false,
        words: lang.t(words).to_owned(),
        advice: "",
    });
    let page = SignIn { frame, link, next };
    match page.render() {
        Ok(text) => html(status, text),
        Err(error) => {
            tracing::error!(%error, "the sign-in page was not written");
            html(500, String::new())
        }
    }
}

/// The page again, with what was wrong.
pub(super) fn refused(lang: Lang, uri: &Uri, words: &str, status: u16) -> Response {
    page(lang, uri, String::new(), String::new(), Some(words), status)
}

/// The button was pressed: the link is used up.
pub(super) async fn enter(State(console): State<Console>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let lang = Lang::of(&parts.headers);
    let from = peer(parts.extensions.get::<Peer>());
    if console.knocks.is_barred(from) {
        let words = "Too many attempts. Wait a minute.";
        return refused(lang, &parts.uri, words, 429);
    }
    let form = match Form::read(body).await {
        Ok(form) => form,
        Err(trouble) => return html(trouble.status(), alone(lang, &trouble)),
    };
    let link = form.get("link").unwrap_or_default();
    let browser = browser(&parts.headers);
    match console.broker.access.open_link(link, &browser).await {
        Ok(Some((text, _))) => {
            let next = form.get("next").filter(|next| is_page(next));
            with_cookie(see(next.unwrap_or("/console")), SESSION, &text, LIFE_SECS)
        }
        Ok(None) => {
            console.knocks.failed(from);
            let words = "This link does not work any more. Links work once, for 15 minutes.";
            refused(lang, &parts.uri, words, 403)
        }
        Err(trouble) => html(trouble.status(), alone(lang, &trouble)),
    }
}

/// Ends this session.
pub(super) async fn leave(State(console): State<Console>, request: Request) -> Response {
    end(&console, request, false).await
}

/// Ends every session of whoever asks.
pub(super) async fn leave_everywhere(State(console): State<Console>, request: Request) -> Response {
    end(&console, request, true).await
}

async fn end(console: &Console, request: Request, everywhere: bool) -> Response {
    let (ask, form) = match own_form(console, request, "me").await {
        Ok(own) => own,
        Err(answer) => return *answer,
    };
    // Another session of the same person may be named, where only one is to end.
    let named = form.get("session").unwrap_or(&ask.seat.session);
    let one = (!everywhere).then_some(named);
    match console.broker.access.sign_out(&ask.seat.who, one).await {
        Ok(_) if one.is_some_and(|one| one != ask.seat.session) => see("/console/me"),
        Ok(_) => with_cookie(see("/console/sign-in"), SESSION, "", 0),
        Err(trouble) => ask.failed(&trouble),
    }
}

/// Remembers the language and goes back.
pub(super) async fn language(uri: Uri) -> Response {
    let asked = query(&uri);
    let next = asked("next").filter(|next| is_page(next));
    let next = next.unwrap_or_else(|| "/console".to_owned());
    let lang = asked("to").as_deref().and_then(Lang::read);
    let code = lang.unwrap_or(Lang::English).code();
    with_cookie(see(&next), LANGUAGE, code, 365 * 24 * 60 * 60)
}

fn query(uri: &Uri) -> impl Fn(&str) -> Option<String> {
    let query = uri.query().unwrap_or_default().to_owned();
    move |name| {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let mut named = pairs.filter(|(found, _)| found == name);
        named.next().map(|(_, value)| value.into_owned())
    }
}

pub(super) fn peer(peer: Option<&Peer>) -> IpAddr {
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0)
}

/// What the browser says of itself, in short.
pub(super) fn browser(headers: &HeaderMap) -> String {
    let told = headers.get(USER_AGENT).and_then(|told| told.to_str().ok());
    let told = told.unwrap_or("unknown browser");
    let name = ["Edg/", "Firefox/", "Chrome/", "Safari/"];
    let name = name.iter().find(|name| told.contains(**name));
    let name = name.map_or(told, |name| name.trim_end_matches('/'));
    let name = name.replace("Edg", "Edge");
    let system = ["Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux"];
    match system.iter().find(|system| told.contains(**system)) {
        Some(system) => format!("{name}, {system}"),
        None => name,
    }
}

/// Sets a cookie for so many seconds; 0 takes it away.
pub(super) fn with_cookie(answer: Response, name: &str, value: &str, secs: i64) -> Response {
    let cookie = format!("{name}={value}; Path=/; Max-Age={secs}; Secure; HttpOnly; SameSite=Lax");
    match HeaderValue::from_str(&cookie) {
        Ok(cookie) => ([(SET_COOKIE, cookie)], answer).into_response(),
        Err(_) => answer,
    }
}
