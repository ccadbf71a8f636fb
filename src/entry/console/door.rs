//! What every page of a signed-in person passes: who it is, what was sent, and an answer that is
//! always a page.
//!
//! A form is sent to the page it stands on. If it was done, the browser is sent on to look at the
//! page anew, so that nothing is done twice by a reload; if not, the same page comes back with what
//! was typed and what was wrong with it.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::header::{CONTENT_TYPE, COOKIE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

use super::ask::{Ask, Seat};
use super::frame::Shown;
use super::words::Lang;
use super::{Console, act};
use crate::broker::Trouble;
use crate::broker::access::sessions::SignedIn;
use crate::entry::http::Visit;

/// The session's cookie. Its prefix holds the browser to `Secure`, one host and every path.
pub(super) const SESSION: &str = "__Host-hundi";
/// The reader's language, once chosen.
pub(super) const LANGUAGE: &str = "hundi_lang";

/// A page and the forms on it.
pub(super) fn page<F, Done>(name: &'static str, show: F) -> MethodRouter<Console>
where
    F: Fn(Arc<Ask>) -> Done + Clone + Send + Sync + 'static,
    Done: Future<Output = Result<Shown, Trouble>> + Send + 'static,
{
    let handler = move |State(console): State<Console>, request: Request| {
        serve(name, console, request, show.clone())
    };
    get(handler.clone()).post(handler)
}

async fn serve<F, Done>(name: &'static str, console: Console, request: Request, show: F) -> Response
where
    F: Fn(Arc<Ask>) -> Done,
    Done: Future<Output = Result<Shown, Trouble>>,
{
    let (mut parts, body) = request.into_parts();
    let mut ask = match admit(name, &console, &mut parts).await {
        Ok(ask) => ask,
        Err(answer) => return *answer,
    };
    if parts.method == Method::POST
        && let Some(answer) = act::act(&mut ask, body).await
    {
        return answer;
    }
    let ask = Arc::new(ask);
    let status = ask.status();
    match show(ask.clone()).await {
        Ok(shown) => html(status.unwrap_or(200), shown.0),
        Err(trouble) => ask.failed(&trouble),
    }
}

/// Whoever is signed in, with what the request says; else the answer that leads to the sign-in.
pub(super) async fn admit(
    name: &'static str,
    console: &Console,
    parts: &mut Parts,
) -> Result<Ask, Box<Response>> {
    let lang = Lang::of(&parts.headers);
    let Some((token, signed)) = signed_in(console, &parts.headers)
        .await
        .map_err(|trouble| {
            let status = trouble.status();
            Box::new(html(status, super::frame::alone(lang, &trouble)))
        })?
    else {
        return Err(Box::new(to_sign_in(parts)));
    };
    if let Some(visit) = parts.extensions.get::<Visit>() {
        let places = console.broker.places();
        visit.charge(places, &signed.who).map_err(|trouble| {
            let status = trouble.status();
            Box::new(html(status, super::frame::alone(lang, &trouble)))
        })?;
    }
    let path = RawPathParams::from_request_parts(parts, &()).await;
    let named = path.map(|path| {
        let pairs = path.iter();
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    });
    let seat = Seat {
        console: console.clone(),
        who: signed.who,
        session: signed.session,
        token,
    };
    Ok(Ask::new(
        seat,
        name,
        lang,
        &parts.uri,
        named.unwrap_or_default(),
    ))
}

/// Who the session's cookie stands for, with its text.
pub(super) async fn signed_in(
    console: &Console,
    headers: &HeaderMap,
) -> Result<Option<(String, SignedIn)>, Trouble> {
    let Some(text) = cookie(headers, SESSION) else {
        return Ok(None);
    };
    let signed = console.broker.access.signed_in(&text).await?;
    Ok(signed.map(|signed| (text, signed)))
}

/// A cookie's text, if it is given exactly once.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';'));
    let named = pairs.filter_map(|pair| pair.trim().split_once('='));
    let mut values = named.filter(|(found, _)| *found == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Some(value.to_owned()),
        _ => None,
    }
}

/// To the sign-in, and back here after it.
fn to_sign_in(parts: &Parts) -> Response {
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let back = match parts.method == Method::GET && path != "/console" {
        true => {
            let mut query = url::form_urlencoded::Serializer::new("?".to_owned());
            query.append_pair("next", path);
            query.finish()
        }
        false => String::new(),
    };
    see(&format!("/console/sign-in{back}"))
}

/// Sends the browser to look at another page.
pub(super) fn see(place: &str) -> Response {
    let mut answer = StatusCode::SEE_OTHER.into_response();
    if let Ok(place) = HeaderValue::from_str(place) {
        answer.headers_mut().insert(LOCATION, place);
    }
    answer
}

/// A page.
pub(super) fn html(status: u16, text: String) -> Response {
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// A visit, where there is one: tests have doors without seats.
pub(super) type MaybeVisit = Option<Extension<Visit>>;
