//! One request of a signed-in person: who asks, what the address says, and the operations that the
//! page may ask.

use std::collections::BTreeMap;

use axum::http::Uri;
use axum::response::Response;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Console;
use super::act::Draft;
use super::door::html;
use super::form::{Form, latin};
use super::frame::{self, Frame};
use super::words::Lang;
use crate::broker::{Broker, Trouble};
use crate::domain::principal::{Principal, Right};
use crate::domain::secret::Secret;
use crate::domain::time::is_day;
use crate::entry::operations::{self, Answer, Call};

/// Who sits in front of the page.
#[derive(Clone)]
pub(super) struct Seat {
    pub console: Console,
    pub who: Principal,
    /// The session's public name.
    pub session: String,
    /// The session's own text, from its cookie.
    pub token: String,
}

impl Seat {
    /// What every form of this session carries. Nobody who cannot read the cookie can make it.
    pub fn form_token(&self) -> String {
        Secret::new(self.token.as_str()).sign(&[b"hundi/form/v1"])
    }
}

/// A day where people write one and a filter takes an instant: from its beginning, or to its end.
fn moment(name: &str, value: String) -> String {
    let clock = match name {
        "since" => "T00:00:00Z",
        "until" => "T23:59:59.999Z",
        _ => return value,
    };
    let day = latin(value.trim());
    match is_day(&day) {
        true => day + clock,
        false => value,
    }
}

/// The request.
pub(super) struct Ask {
    pub seat: Seat,
    /// The page's name.
    pub page: &'static str,
    pub lang: Lang,
    /// The path alone.
    pub path: String,
    named: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    /// A form that was not done, to be shown again.
    pub draft: Option<Draft>,
    /// What a form made that is shown this once.
    pub made: Option<Value>,
    /// The form that asked for it, where it is to be sent again with a change.
    pub sent: Option<Form>,
}

impl Ask {
    pub fn new(
        seat: Seat,
        page: &'static str,
        lang: Lang,
        uri: &Uri,
        named: BTreeMap<String, String>,
    ) -> Self {
        let query = uri.query().unwrap_or_default();
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned();
        Self {
            seat,
            page,
            lang,
            path: uri.path().to_owned(),
            named,
            query: query
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| {
                    let value = moment(&name, value);
                    (name, value)
                })
                .collect(),
            draft: None,
            made: None,
            sent: None,
        }
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.seat.console.broker
    }

    /// A name in the path; empty if there is none.
    pub fn named(&self, name: &str) -> &str {
        self.named.get(name).map_or("", String::as_str)
    }

    /// A word of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// These words of the query, as a filter of an operation.
    pub fn filters(&self, names: &[&str]) -> Value {
        let given = names.iter().filter_map(|name| {
            let value = self.query(name)?.trim();
            (!value.is_empty()).then(|| ((*name).to_owned(), Value::from(value)))
        });
        Value::Object(given.collect())
    }

    /// Whether the reader may ask this operation, if there is one of that name.
    pub fn may(&self, operation: &str) -> bool {
        operations::named(operation).is_some_and(|found| found.permits(&self.seat.who))
    }

    /// Refuses a page that is for those who may ask this operation.
    pub fn needs(&self, operation: &str) -> Result<(), Trouble> {
        let found = operations::named(operation).ok_or(Trouble::NotFound("page"))?;
        found.refuse(&self.seat.who)
    }

    /// Whether the reader has this right.
    pub fn has(&self, right: Right) -> bool {
        self.seat.who.may(right)
    }

    /// What an operation answers.
    pub async fn answer(&self, operation: &str, input: Value) -> Result<Answer, Trouble> {
        let found = operations::named(operation).ok_or(Trouble::NotFound("page"))?;
        let call = Call {
            broker: self.broker().clone(),
            who: self.seat.who.clone(),
            conversation: None,
            names: None,
            gone: CancellationToken::new(),
            closing: self.seat.console.closing.clone(),
        };
        found.answer(call, input, Trouble::InvalidRequest).await
    }

    /// What an operation answers, as JSON.
    pub async fn ask(&self, operation: &str, input: Value) -> Result<Value, Trouble> {
        Ok(self.answer(operation, input).await?.body.into_value())
    }

    /// What all pages have around them.
    pub fn frame(&self, title: impl Into<String>) -> Frame {
        Frame::of(self, title.into())
    }

    /// The status of the page, where a form on it was not done.
    pub fn status(&self) -> Option<u16> {
        self.draft.as_ref().map(|draft| draft.status)
    }

    /// A page that says what went wrong.
    pub fn failed(&self, trouble: &Trouble) -> Response {
        html(trouble.status(), frame::failed(self, trouble))
    }
}
