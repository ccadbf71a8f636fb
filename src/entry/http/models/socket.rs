//! What is told of a request, over a WebSocket: the same events as [`super::events`], each as one JSON
//! text with its number as `event_id`, from the first on or after `?after=N`.
//!
//! A page cannot send an `Authorization` header with a WebSocket, so the key may come as a subprotocol
//! beside `hundi`: `Sec-WebSocket-Protocol: hundi, bearer.KEY`. Whoever does not read is let go
//! ([`PATIENCE`]); whoever speaks is, too, for there is nothing to say.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use axum::http::request::Parts;
use axum::response::Response;
use serde_json::json;
use tokio::time::timeout;

use super::super::caller::Named;
use super::super::events::last_event_id;
use super::super::seats::{Sitting, Standing};
use super::super::{Door, Problem, Visit};
use super::following::{Following, Next};
use super::visitor;
use crate::broker::Trouble;
use crate::broker::core::places::{Kind, Place};
use crate::domain::ids::RequestId;
use crate::domain::principal::Principal;
use crate::domain::requests::event::Event;

/// The protocol that is spoken.
const PROTOCOL: &str = "hundi";
/// What a key begins with that comes as a protocol.
const KEY: &str = "bearer.";
/// How long a listener may read nothing before he is let go.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the listener's farewell is waited for.
const FAREWELL: Duration = Duration::from_secs(1);
/// Longest message that is read: there is none that says anything.
const MAX_HEARD: usize = 1_024;

pub async fn follow(State(door): State<Door>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let (who, bearer) = caller(&door, &parts).await?;
    let Named(id) = Named::from_request_parts(&mut parts, &door).await?;
    let id: RequestId = id.parse().map_err(|_| Trouble::NotFound("request"))?;
    let after = after(&parts)?;
    let place = door.broker.places().enter(&who, Kind::Wait)?;
    let following = Following::begin(door, who, bearer, id, after).await?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|_| {
        Problem::invalid(
            "this is a WebSocket; for server-sent events ask `/v1/requests/{id}/events`",
        )
    })?;
    let sitting = parts.extensions.get::<Arc<Sitting>>().cloned();
    Ok(upgrade
        .protocols([PROTOCOL])
        .max_message_size(MAX_HEARD)
        .max_frame_size(MAX_HEARD)
        .on_upgrade(move |socket| tell(socket, following, sitting, place)))
}

/// Who listens, by a header or by a protocol.
async fn caller(door: &Door, parts: &Parts) -> Result<(Principal, String), Problem> {
    let headed =
        parts.headers.contains_key(AUTHORIZATION) || parts.headers.contains_key("x-api-key");
    let key = match headed {
        true => visitor::key(parts),
        false => offered(parts),
    };
    let key = key.ok_or(Trouble::Unauthenticated)?;
    let who = door.broker.access.authenticate(key).await?;
    if let Some(visit) = parts.extensions.get::<Visit>() {
        visit.charge(door.broker.places(), &who)?;
    }
    Ok((who, key.to_owned()))
}

/// The one key among the protocols that are offered.
fn offered(parts: &Parts) -> Option<&str> {
    let lines = parts.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let names = lines.filter_map(|line| line.to_str().ok());
    let names = names.flat_map(|line| line.split(',')).map(str::trim);
    let mut keys = names.filter_map(|name| name.strip_prefix(KEY));
    let key = keys.next()?;
    keys.next().is_none().then_some(key)
}

/// After which event to begin: `?after=`, else `Last-Event-ID`, else the first.
fn after(parts: &Parts) -> Result<u64, Problem> {
    let query = parts.uri.query().unwrap_or_default();
    let mut given = url::form_urlencoded::parse(query.as_bytes());
    match (given.next(), given.next()) {
        (None, _) => Ok(last_event_id(&parts.headers)?.map_or(0, i64::unsigned_abs)),
        (Some((name, value)), None) if name == "after" => {
            let number = value.parse();
            number.map_err(|_| Problem::invalid("`after` is the number of an event"))
        }
        (Some(_), _) => Err(Problem::invalid("only `after` is known here")),
    }
}

/// Tells it all, with the connection's seat and the listener's place, for as long as that takes.
async fn tell(
    mut socket: WebSocket,
    mut following: Following,
    sitting: Option<Arc<Sitting>>,
    _place: Place,
) {
    if let Some(sitting) = &sitting {
        sitting.seat().is(Standing::Waiting);
    }
    let given_up = async {
        match &sitting {
            Some(sitting) => sitting.given_up().await,
            None => std::future::pending().await,
        }
    };
    let mut given_up = std::pin::pin!(given_up);
    let (code, why) = loop {
        let next = tokio::select! {
            biased;
            () = &mut given_up => return,
            heard = socket.recv() => match heard {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Text(_) | Message::Binary(_))) => {
                    break (close_code::POLICY, "there is nothing to say here");
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
            next = following.next() => next,
        };
        let message = match next {
            Next::Event(number, event) => Message::Text(spelt(number, &event).into()),
            Next::Quiet => Message::Ping(Vec::new().into()),
            Next::Over => break (close_code::NORMAL, "that was all"),
            Next::Closing => break (close_code::AWAY, "the server goes down; come again"),
            Next::Stopped(trouble) => break (close_code::POLICY, trouble.code()),
        };
        match timeout(PATIENCE, socket.send(message)).await {
            Ok(Ok(())) => {}
            // Gone, or does not read.
            Ok(Err(_)) | Err(_) => return,
        }
    };
    let reason = why.into();
    let farewell = Message::Close(Some(CloseFrame { code, reason }));
    let parting = async {
        if socket.send(farewell).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // Whoever says nothing has heard it or not; either way it is over.
    let _ = timeout(FAREWELL, parting).await;
}

fn spelt(number: u64, event: &Event) -> String {
    let mut told = json!(event);
    told["event_id"] = json!(number);
    told.to_string()
}
