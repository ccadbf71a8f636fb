//! Passkeys on the pages: adding one, taking one away, signing in with one. The browser speaks with
//! the authenticator, so this is the one thing that needs the script.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Console;
use super::act::{is_page, own_form};
use super::door::{SESSION, html, see};
use super::form::Form;
use super::frame::{alone, failed};
use super::sign_in::{browser, peer, refused, with_cookie};
use super::words::Lang;
use crate::broker::Trouble;
use crate::broker::access::passkeys::Page;
use crate::broker::access::sessions::LIFE_SECS;
use crate::domain::webauthn::{ALGORITHMS, Assertion, Registration};
use crate::entry::http::Peer;

/// What the script asks the browser for, where somebody adds a passkey.
pub(super) async fn begin_adding(State(console): State<Console>, request: Request) -> Response {
    let (ask, _) = match own_form(&console, request, "me").await {
        Ok(own) => own,
        Err(answer) => return *answer,
    };
    let who = &ask.seat.who;
    let access = &console.broker.access;
    let asked = async {
        let known = access.passkeys(who).await?;
        let challenge = access.passkey_challenge(who).await?;
        let user = Sha256::digest(format!("{}/{}", who.org, who.id).as_bytes());
        Ok::<_, Trouble>(json!({
            "challenge": URL_SAFE_NO_PAD.encode(challenge),
            "rp_id": Page::of(console.public.origin()).party,
            "user_id": URL_SAFE_NO_PAD.encode(user),
            "user_name": who.name,
            "algorithms": ALGORITHMS,
            "known": known.iter().map(|one| &one.id).collect::<Vec<_>>(),
        }))
    };
    json_or(asked.await)
}

/// The browser made one.
pub(super) async fn add(State(console): State<Console>, request: Request) -> Response {
    let (ask, form) = match own_form(&console, request, "me").await {
        Ok(own) => own,
        Err(answer) => return *answer,
    };
    let text = |name: &str| form.get(name).unwrap_or_default().to_owned();
    let made = Registration {
        client_data: text("client_data"),
        attestation: text("attestation"),
    };
    let page = Page::of(console.public.origin());
    let access = &console.broker.access;
    match access
        .add_passkey(&ask.seat.who, &text("name"), &made, page)
        .await
    {
        Ok(_) => see("/console/me?did=add_passkey"),
        Err(trouble) => html(trouble.status(), failed(&ask, &trouble)),
    }
}

/// Takes one away.
pub(super) async fn remove(State(console): State<Console>, request: Request) -> Response {
    let (ask, form) = match own_form(&console, request, "me").await {
        Ok(own) => own,
        Err(answer) => return *answer,
    };
    let id = form.get("id").unwrap_or_default();
    match console
        .broker
        .access
        .remove_passkey(&ask.seat.who, id)
        .await
    {
        Ok(()) => see("/console/me?did=remove_passkey"),
        Err(trouble) => html(trouble.status(), failed(&ask, &trouble)),
    }
}

/// What the script asks the browser for, where somebody signs in. Each is a write, so whoever asks
/// for many waits.
pub(super) async fn begin_sign_in(State(console): State<Console>, request: Request) -> Response {
    let from = peer(request.extensions().get::<Peer>());
    if console.asking.is_barred(from) {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    console.asking.failed(from);
    let challenge = console.broker.access.sign_in_challenge().await;
    json_or(challenge.map(|challenge| {
        json!({
            "challenge": URL_SAFE_NO_PAD.encode(challenge),
            "rp_id": Page::of(console.public.origin()).party,
        })
    }))
}

/// The browser signed.
pub(super) async fn sign_in(State(console): State<Console>, request: Request) -> Response {
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
    let page = Page::of(console.public.origin());
    let browser = browser(&parts.headers);
    let access = &console.broker.access;
    match access
        .passkey_sign_in(&assertion(&form), page, &browser)
        .await
    {
        Ok(Some((text, _))) => {
            let next = form.get("next").filter(|next| is_page(next));
            with_cookie(see(next.unwrap_or("/console")), SESSION, &text, LIFE_SECS)
        }
        Ok(None) => {
            console.knocks.failed(from);
            let words = "This passkey does not open anything here.";
            refused(lang, &parts.uri, words, 403)
        }
        Err(trouble) => html(trouble.status(), alone(lang, &trouble)),
    }
}

fn assertion(form: &Form) -> Assertion {
    let text = |name: &str| form.get(name).unwrap_or_default().to_owned();
    Assertion {
        credential_id: text("assertion.credential_id"),
        client_data: text("assertion.client_data"),
        authenticator_data: text("assertion.authenticator_data"),
        signature: text("assertion.signature"),
    }
}

fn json_or(told: Result<Value, Trouble>) -> Response {
    match told {
        Ok(value) => {
            let mut answer = Response::new(Body::from(value.to_string()));
            let kind = HeaderValue::from_static("application/json");
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
        Err(trouble) => {
            let status = StatusCode::from_u16(trouble.status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, trouble.to_string()).into_response()
        }
    }
}
