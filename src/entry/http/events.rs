//! A proposal's records as they are written, as server-sent events.
//!
//! An event's id is its record's number, so `Last-Event-ID` resumes without a gap or a double.
//! The stream ends once the proposal is settled and told in full; asked again from there it
//! answers 204, which tells a browser to stop. A key that was revoked meanwhile sees nothing more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream;
use serde_json::json;

use super::caller::{Caller, Id};
use super::openapi::{Op, Param};
use super::{Door, Problem, Visit};
use crate::broker::Trouble;
use crate::broker::core::places::Kind;
use crate::broker::{RecordFilter, StoredRecord};
use crate::domain::ids::ProposalId;
use crate::domain::principal::{Principal, Right};
use crate::domain::strict::MAX_SAFE_INTEGER;
use crate::entry::operations::audit::Record;
use crate::entry::sse;

/// Silence after which a comment is sent, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Records read at once.
const BATCH: u32 = 100;

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/v1/proposals/{id}/events", get(events))
}

async fn events(
    State(door): State<Door>,
    Caller { who, bearer }: Caller,
    Id(id): Id,
    visit: Option<Extension<Visit>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = last_event_id(&headers)?;
    let place = door.broker.places().enter(&who, Kind::Wait)?;
    let mut telling = Telling {
        door,
        who,
        bearer,
        id,
        after: after.unwrap_or(0),
        ready: VecDeque::new(),
        over: false,
    };
    // The first look is taken here, so that an unknown id is a 404 and not an empty stream.
    telling.look().await?;
    if telling.over && telling.ready.is_empty() && after.is_some() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if let Some(Extension(visit)) = visit {
        visit.waits(place);
    }
    let events = stream::unfold(telling, |mut telling| async move {
        let event = telling.next().await?;
        Some((Ok::<_, Infallible>(event), telling))
    });
    let mut answer = Sse::new(events).into_response();
    let headers = answer.headers_mut();
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(answer)
}

pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    match number.filter(|number| *number >= 0) {
        Some(number) => Ok(Some(number)),
        None => Err(Problem::invalid("`Last-Event-ID` must be an event's id")),
    }
}

/// One stream's place in the tale.
struct Telling {
    door: Door,
    who: Principal,
    bearer: String,
    id: ProposalId,
    after: i64,
    ready: VecDeque<Event>,
    over: bool,
}

impl Telling {
    /// The next event, or `None` at the end of the tale.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            // Whoever reconnects after a trouble hears of it as a status.
            let version = self.look().await.ok()?;
            if self.ready.is_empty() && !self.over {
                let closing = self.door.options.closing.clone();
                let changed = self.door.broker.pay.changed(self.id, version, KEEP_ALIVE);
                tokio::select! {
                    () = changed => {}
                    () = closing.cancelled() => return None,
                }
                self.look().await.ok()?;
                if self.ready.is_empty() && !self.over {
                    return Some(Event::default().comment("still here"));
                }
            }
        }
    }

    /// Fetches what is new. Returns the version that was seen.
    async fn look(&mut self) -> Result<u64, Trouble> {
        let now = self.door.broker.access.enter(&self.bearer).await?;
        if now != self.who {
            return Err(Trouble::Unauthenticated);
        }
        // The proposal before its records: what is written in between is told the next time.
        let proposal = self.door.broker.pay.standing(&self.who, self.id).await?;
        let filter = RecordFilter {
            org: Some(self.who.org.clone()),
            proposal: Some(self.id),
            after_seq: Some(self.after),
            limit: BATCH,
            ..RecordFilter::default()
        };
        let page = self.door.broker.audit.records(&self.who, filter).await?;
        self.over = !page.more && proposal.state.is_settled();
        for record in &page.rows {
            self.after = self.after.max(record.seq);
            self.ready.push_back(event(record));
        }
        Ok(proposal.version)
    }
}

fn event(record: &StoredRecord) -> Event {
    // Data is JSON on one line, and a kind is one of ours: neither can hold a line break, not even
    // one that only some clients take for one.
    Event::default()
        .id(record.seq.to_string())
        .event(record.record.kind.name())
        .data(sse::data(&json!(Record::from(record)).to_string()))
}

pub(super) const OPS: &[Op] = &[Op {
    id: "proposal_events",
    method: "get",
    path: "/v1/proposals/{id}/events",
    summary: "The proposal's records as server-sent events, from the first on; ends once settled.",
    right: Some(Right::ReadOwn),
    params: &[
        Param::path("id", "The proposal's id."),
        Param::header("Last-Event-ID", "Only what came after this event.")
            .whole(0, MAX_SAFE_INTEGER),
    ],
    answers: &[
        (200, "events whose data is a Record", "text/event-stream"),
        (204, "settled, and nothing came after `Last-Event-ID`", ""),
    ],
    problems: &[400, 404],
    ..Op::NONE
}];
