//! What is told of a request, as server-sent events: from the first on to whoever comes late, without
//! a gap or a double to whoever resumes with `Last-Event-ID`, and never holding the request up.
//!
//! The store is read, and read again when something was told here or a moment has passed, since
//! another process may be answering. A key that was revoked meanwhile sees nothing more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::time::Instant;

use super::super::caller::{Caller, Named};
use super::super::events::last_event_id;
use super::super::{Door, Problem, Visit};
use crate::broker::Trouble;
use crate::broker::core::places::Kind;
use crate::domain::ids::RequestId;
use crate::domain::principal::Principal;
use crate::domain::requests::event;
use crate::entry::sse;

/// Silence after which a comment is sent, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon what another process tells is seen.
const ELSEWHERE: Duration = Duration::from_millis(500);

pub async fn follow(
    State(door): State<Door>,
    Caller { who, bearer }: Caller,
    Named(id): Named,
    visit: Option<Extension<Visit>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = last_event_id(&headers)?;
    let id = id.parse().map_err(|_| Trouble::NotFound("request"))?;
    let place = door.broker.places().enter(&who, Kind::Wait)?;
    let mut following = Following {
        door,
        who,
        bearer,
        id,
        after: after.map_or(0, i64::unsigned_abs),
        ready: VecDeque::new(),
        over: false,
        told: Instant::now(),
    };
    // The first look is taken here, so that an unknown id is a 404 and not an empty stream.
    following.look().await?;
    if following.over && following.ready.is_empty() && after.is_some() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if let Some(Extension(visit)) = visit {
        visit.waits(place);
    }
    let events = stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok::<_, Infallible>(event), following))
    });
    let mut answer = Sse::new(events).into_response();
    let headers = answer.headers_mut();
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(answer)
}

/// One stream's place in the tale.
struct Following {
    door: Door,
    who: Principal,
    bearer: String,
    id: RequestId,
    after: u64,
    ready: VecDeque<Event>,
    over: bool,
    told: Instant,
}

impl Following {
    /// The next event, or `None` at the end of the tale.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.told = Instant::now();
                return Some(event);
            }
            if self.over {
                return None;
            }
            if self.told.elapsed() >= KEEP_ALIVE {
                self.told = Instant::now();
                return Some(Event::default().comment("still here"));
            }
            let closing = self.door.options.closing.clone();
            let requests = self.door.broker.requests.clone();
            tokio::select! {
                () = requests.heard(self.id, ELSEWHERE) => {}
                () = closing.cancelled() => return None,
            }
            // Whoever reconnects after a trouble hears of it as a status.
            self.look().await.ok()?;
        }
    }

    /// Fetches what is new.
    async fn look(&mut self) -> Result<(), Trouble> {
        let broker = &self.door.broker;
        let now = broker.access.authenticate(&self.bearer).await?;
        if now != self.who {
            return Err(Trouble::Unauthenticated);
        }
        let (events, over) = broker
            .requests
            .events(&self.who, self.id, self.after)
            .await?;
        self.over = over;
        for (number, event) in events {
            self.after = number;
            self.ready.push_back(spelt(number, &event));
        }
        Ok(())
    }
}

fn spelt(number: u64, event: &event::Event) -> Event {
    Event::default()
        .id(number.to_string())
        .event(event.name())
        .data(sse::data(&json!(event).to_string()))
}
