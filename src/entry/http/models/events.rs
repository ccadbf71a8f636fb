//! What is told of a request, as server-sent events. `Last-Event-ID` resumes; asked again once all is
//! told, the answer is 204, which tells a browser to stop.

use std::convert::Infallible;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;

use super::super::caller::{Caller, Named};
use super::super::events::last_event_id;
use super::super::{Door, Problem, Visit};
use super::following::{Following, Next};
use crate::broker::Trouble;
use crate::broker::core::places::Kind;
use crate::domain::requests::event;
use crate::entry::sse;

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
    let begins = after.map_or(0, i64::unsigned_abs);
    let following = Following::begin(door, who, bearer, id, begins).await?;
    if following.is_told() && after.is_some() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if let Some(Extension(visit)) = visit {
        visit.waits(place);
    }
    let events = stream::unfold(following, |mut following| async move {
        let event = match following.next().await {
            Next::Event(number, event) => spelt(number, &event),
            Next::Quiet => Event::default().comment("still here"),
            Next::Over | Next::Closing | Next::Stopped(_) => return None,
        };
        Some((Ok::<_, Infallible>(event), following))
    });
    let mut answer = Sse::new(events).into_response();
    let headers = answer.headers_mut();
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(answer)
}

fn spelt(number: u64, event: &event::Event) -> Event {
    Event::default()
        .id(number.to_string())
        .event(event.name())
        .data(sse::data(&json!(event).to_string()))
}
