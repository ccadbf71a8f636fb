//! A form that was sent: one operation, with the reader's rights, under its REST names.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::Console;
use super::ask::Ask;
use super::door::{admit, see};
use super::form::Form;
use crate::broker::Trouble;
use crate::entry::operations::{self, Effect, Operation};

/// A form that was not done.
pub(super) struct Draft {
    /// The operation.
    pub op: String,
    /// What was typed.
    pub form: Form,
    /// What went wrong, in words.
    pub words: String,
    /// What the caller can do.
    pub recovery: &'static str,
    /// HTTP status of the page.
    pub status: u16,
}

/// Does what a form asks for. The answer that sends the browser on; `None` if the page has to be
/// shown again, with the draft or with what was made.
pub(super) async fn act(ask: &mut Ask, body: Body) -> Option<Response> {
    let form = match Form::read(body).await {
        Ok(form) => form,
        Err(trouble) => return Some(ask.failed(&trouble)),
    };
    match carry_out(ask, &form).await {
        Ok(made) if is_shown(&form) => {
            ask.made = Some(made);
            ask.sent = stays(&form).then_some(form);
            None
        }
        Ok(made) => {
            let op = form.last("op").unwrap_or_default();
            Some(see(&place(ask, form.get("next"), op, &made)))
        }
        Err(trouble) => {
            ask.draft = Some(Draft {
                op: form.get("op").unwrap_or_default().to_owned(),
                words: trouble.to_string(),
                recovery: trouble.recovery().code(),
                status: trouble.status(),
                form,
            });
            None
        }
    }
}

/// Whether the answer is to be looked at: the form says so, or nothing but an answer came of it.
fn is_shown(form: &Form) -> bool {
    stays(form) || form.get("then") == Some("show")
}

/// Whether what was typed stands there still, beside the answer, to be tried with a change.
fn stays(form: &Form) -> bool {
    let operation = form.last("op").and_then(operations::named);
    let reads = operation.is_some_and(|operation| operation.effect == Effect::Reads);
    reads || form.get("then") == Some("stay")
}

/// Whether the form came out of a page of this very session.
pub(super) fn is_ours(ask: &Ask, form: &Form) -> bool {
    let token = ask.seat.form_token();
    let given = form.get("token").unwrap_or_default();
    bool::from(token.as_bytes().ct_eq(given.as_bytes()))
}

/// Who asks and what was sent, where a form goes to an address of its own; else the answer that ends
/// it.
pub(super) async fn own_form(
    console: &Console,
    request: Request,
    page: &'static str,
) -> Result<(Ask, Form), Box<Response>> {
    let (mut parts, body) = request.into_parts();
    let ask = admit(page, console, &mut parts).await?;
    let form = match Form::read(body).await {
        Ok(form) if is_ours(&ask, &form) => Ok(form),
        Ok(_) => Err(not_ours()),
        Err(trouble) => Err(trouble),
    };
    match form {
        Ok(form) => Ok((ask, form)),
        Err(trouble) => Err(Box::new(ask.failed(&trouble))),
    }
}

fn not_ours() -> Trouble {
    let words = "this form is not of this session; load the page again and repeat";
    Trouble::InvalidRequest(words.to_owned())
}

/// What the operation answered; nothing of several.
async fn carry_out(ask: &Ask, form: &Form) -> Result<Value, Trouble> {
    if !is_ours(ask, form) {
        return Err(not_ours());
    }
    let name = form.last("op").unwrap_or_default();
    let operation = operations::named(name).ok_or(Trouble::NotFound("operation"))?;
    operation.refuse(&ask.seat.who)?;
    // What changes nothing may be asked as often as one likes.
    if operation.effect != Effect::Acts {
        return done(ask, form, operation).await;
    }
    let once = &ask.seat.console.once;
    let begun = once.begin(form)?;
    let made = done(ask, form, operation).await;
    if made.is_err() {
        once.undone(begun);
    }
    made
}

async fn done(ask: &Ask, form: &Form, operation: &'static Operation) -> Result<Value, Trouble> {
    let name = operation.name;
    let input = form.input(operation.input(), operation.null_matters);
    let input = input.map_err(Trouble::InvalidRequest)?;
    let several: Vec<&str> = form.all("each").collect();
    if several.is_empty() {
        return ask.ask(name, Value::Object(input)).await;
    }
    for one in several {
        let mut input = input.clone();
        input.insert(subject(operation).to_owned(), Value::from(one));
        ask.ask(name, Value::Object(input)).await?;
    }
    Ok(Value::Null)
}

/// The field that names what an operation is about: the last name of its path.
fn subject(operation: &Operation) -> &'static str {
    let rest = operation.rest.as_ref();
    let last = rest.and_then(|rest| rest.names().last());
    last.map_or("id", |(_, field)| field)
}

/// Where to look after it was done: the page itself or another of ours, with word of what was done.
fn place(ask: &Ask, next: Option<&str>, op: &str, made: &Value) -> String {
    let next = next.map(|next| named_by(made, next));
    let next = next.as_deref().filter(|next| is_page(next));
    let next = next.unwrap_or(&ask.path);
    let mark = if next.contains('?') { '&' } else { '?' };
    format!("{next}{mark}did={op}")
}

/// A path whose last step may be a field of what was made: `/console/servers/{name}`.
fn named_by(made: &Value, next: &str) -> String {
    let field = next.strip_suffix('}').and_then(|next| next.split_once('{'));
    let Some((path, value)) = field.and_then(|(path, field)| Some((path, made[field].as_str()?)))
    else {
        return next.to_owned();
    };
    let mut out = path.to_owned();
    out.extend(url::form_urlencoded::byte_serialize(value.as_bytes()));
    out
}

/// Whether a path is a page of the console: never another host, whatever browsers make of it.
pub(super) fn is_page(path: &str) -> bool {
    let rest = path.strip_prefix("/console");
    let plain = |path: &str| {
        path.bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?'])) && plain(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_named_by_what_was_made() {
        let made = serde_json::json!({"name": "a/../b", "count": 1});
        for (next, expected) in [
            ("/console/servers/{name}", "/console/servers/a%2F..%2Fb"),
            ("/console/servers/{other}", "/console/servers/{other}"),
            ("/console/servers", "/console/servers"),
        ] {
            assert_eq!(named_by(&made, next), expected);
        }
    }

    #[test]
    fn nobody_is_sent_elsewhere() {
        for ours in ["/console", "/console/approvals?x=1", "/console?did=freeze"] {
            assert!(is_page(ours), "{ours}");
        }
        for other in [
            "",
            "//evil.example",
            "/consolex",
            "https://evil.example/console",
            "/console\\x",
            "/console/a b",
            "/console/\r\nx",
        ] {
            assert!(!is_page(other), "{other:?}");
        }
    }
}
