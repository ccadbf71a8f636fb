//! Word that something changed, as server-sent events: the script then fetches its page again.
//!
//! An event carries nothing but a number, so nothing is shown here that the page would not show.
//! The session is looked at before each one; a stream of whoever signed out ends.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};

use super::Console;
use super::door::{MaybeVisit, SESSION, cookie};
use crate::broker::Trouble;
use crate::broker::core::places::Kind;
use crate::domain::principal::Principal;
use crate::entry::operations;

/// How often to look where nothing was heard of: other processes may have written.
const LOOK: Duration = Duration::from_secs(2);
/// Not more often than this, however much happens.
const PAUSE: Duration = Duration::from_millis(300);
/// Looks without a change after which a comment is sent, so that proxies keep the connection.
const QUIET: u32 = 7;

/// The stream.
pub(super) async fn stream(
    State(console): State<Console>,
    visit: MaybeVisit,
    headers: HeaderMap,
) -> Result<Response, StatusCode> {
    let Some(session) = cookie(&headers, SESSION) else {
        return Err(StatusCode::UNAUTHORIZED);
    };
    let Ok(Some(signed)) = console.broker.access.signed_in(&session).await else {
        return Err(StatusCode::UNAUTHORIZED);
    };
    let places = console.broker.places();
    let Ok(place) = places.enter(&signed.who, Kind::Wait) else {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    };
    if let Some(Extension(visit)) = visit {
        visit.waits(place);
    }
    let watch = Watch {
        console,
        session,
        seen: None,
    };
    let events = stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    Ok(Sse::new(events).into_response())
}

struct Watch {
    console: Console,
    session: String,
    seen: Option<u64>,
}

impl Watch {
    /// The next word; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        for _ in 0..QUIET {
            let signed = self.console.broker.access.signed_in(&self.session).await;
            let who = signed.ok()??.who;
            let print = self.print(&who).await.ok()?;
            if self.seen != Some(print) {
                let first = self.seen.is_none();
                self.seen = Some(print);
                let name = if first { "ready" } else { "changed" };
                return Some(Event::default().event(name).data(format!("{print:x}")));
            }
            let broker = &self.console.broker;
            let heard = async {
                tokio::time::sleep(PAUSE).await;
                tokio::select! {
                    () = broker.pay.stirred(LOOK) => {}
                    () = broker.requests.stirred(LOOK) => {}
                }
            };
            tokio::select! {
                () = heard => {}
                () = self.console.closing.cancelled() => return None,
            }
        }
        Some(Event::default().comment("still here"))
    }

    /// A number that differs once anything on the pages does.
    async fn print(&self, who: &Principal) -> Result<u64, Trouble> {
        let broker = &self.console.broker;
        let mut hash = DefaultHasher::new();
        for input in [json!({"state": "held", "limit": 200}), json!({"limit": 50})] {
            let answer = operations::ask(broker, who, "list_proposals", input).await?;
            for one in answer["proposals"].as_array().into_iter().flatten() {
                one["proposal_id"].as_str().hash(&mut hash);
                one["version"].as_u64().hash(&mut hash);
            }
        }
        let asked = operations::ask(broker, who, "list_requests", json!({"limit": 50})).await;
        let asked = asked.unwrap_or_default();
        for one in asked["requests"].as_array().into_iter().flatten() {
            one["request_id"].as_str().hash(&mut hash);
            one["status"].as_str().hash(&mut hash);
            one["last_event"].as_u64().hash(&mut hash);
        }
        let frozen = operations::ask(broker, who, "list_freezes", json!({})).await;
        frozen.unwrap_or(Value::Null).to_string().hash(&mut hash);
        Ok(hash.finish())
    }
}
