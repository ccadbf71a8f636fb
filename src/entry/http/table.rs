//! The routes of the table of operations: one handler for all of them.
//!
//! Who asks is settled first, then whether they may, and only then is anything of the request
//! read: its path, its query and its body, strictly, into one input.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::answer::{self, with_status};
use super::caller::Caller;
use super::models::naming::{self, NewName};
use super::{Door, Problem, Visit};
use crate::broker::Trouble;
use crate::entry::gate::{self, Growth};
use crate::entry::operations::{self, Answer, Call, Operation};

/// Names the conversation that a request belongs to.
const CONVERSATION: &str = "hundi-conversation";

pub(super) fn routes() -> Router<Door> {
    let mut router = Router::new();
    for operation in operations::table() {
        let Some(rest) = &operation.rest else {
            continue;
        };
        let handler = move |State(door), request| serve(operation, door, request);
        router = router.route(rest.path, on(filter(rest.method), handler));
    }
    router
}

fn filter(method: &str) -> MethodFilter {
    match method {
        "post" => MethodFilter::POST,
        "put" => MethodFilter::PUT,
        "patch" => MethodFilter::PATCH,
        "delete" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}

async fn serve(
    operation: &'static Operation,
    door: Door,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let Caller { who, .. } = Caller::from_request_parts(&mut parts, &door).await?;
    operation.refuse(&who).map_err(|refused| {
        // `/v1/tools/{name}/...`: what is called, where this is a call.
        let named = parts.uri.path().split('/').nth(3).unwrap_or_default();
        operation.problem(&door.broker, &who, named, refused)
    })?;
    let asks_models = operation.rest.as_ref().is_some_and(|rest| rest.asks_models);
    // What it weighs while it is read and taken on.
    let weighed = match asks_models {
        true => Some(door.broker.requests.weigh_body(&who, length(&parts))?),
        false => None,
    };
    let (most, _weight) = weighed.unzip();
    let input = input(operation, &mut parts, body, most).await?;
    let call = Call {
        broker: door.broker.clone(),
        who,
        conversation: conversation(&parts)?,
        names: parts.extensions.get::<NewName>().map(|name| name.0),
        gone: CancellationToken::new(),
        closing: door.options.closing.clone(),
    };
    let answer = operation.answer(call, input, Trouble::InvalidRequest);
    Ok(response(answer.await?))
}

/// How long the body says it is.
fn length(parts: &Parts) -> Option<usize> {
    let length = parts.headers.get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

async fn input(
    operation: &Operation,
    parts: &mut Parts,
    body: Body,
    most: Option<usize>,
) -> Result<Value, Problem> {
    let path = RawPathParams::from_request_parts(parts, &()).await;
    // What cannot be a name reads as unknown, like any other.
    let path = path.map_err(|_| Problem::NoSuchPath)?;
    let query = parse(parts.uri.query().unwrap_or(""))?;
    let takes = operation.rest.as_ref().filter(|rest| rest.takes_body());
    let body = match takes {
        Some(rest) => {
            let most = most.unwrap_or(rest.most);
            read(parts, body, operation.needs_body(), most).await?
        }
        None => None,
    };
    Ok(operation.gather(path.iter(), query, body)?)
}

async fn read(
    parts: &Parts,
    body: Body,
    needed: bool,
    most: usize,
) -> Result<Option<Map<String, Value>>, Problem> {
    let value = match needed {
        true => Some(gate::read_within(body, room(parts), most).await?),
        false => gate::read_optional(body, room(parts), most).await?,
    };
    let Some(value) = value else {
        return Ok(None);
    };
    gate::says_json(&parts.headers)?;
    match value {
        Value::Object(map) => Ok(Some(map)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Problem::invalid("the body must be a JSON object"))
        }
    }
}

/// What the client calls the conversation that this belongs to.
fn conversation(parts: &Parts) -> Result<Option<String>, Problem> {
    let mut given = parts.headers.get_all(CONVERSATION).iter();
    let Some(name) = given.next() else {
        return Ok(None);
    };
    let text = name.to_str().ok().filter(|text| !text.is_empty());
    match text.filter(|_| given.next().is_none()) {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(Problem::invalid(
            "`Hundi-Conversation` is one name of printable characters",
        )),
    }
}

/// Who says whether a long body has room.
fn room(parts: &Parts) -> &dyn Growth {
    match parts.extensions.get::<Visit>() {
        Some(visit) => visit,
        None => &(),
    }
}

/// The parameters of a query, read as strictly as a body: one given twice is refused, because an
/// ignored filter answers with too much. An empty one counts as absent.
fn parse(query: &str) -> Result<BTreeMap<String, String>, Problem> {
    let mut map = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if value.is_empty() {
            continue;
        }
        let twice = format!("the parameter `{}` is given twice", name.escape_debug());
        if map.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(Problem::invalid(twice));
        }
    }
    Ok(map)
}

fn response(answer: Answer) -> Response {
    let mut response = match answer.body {
        operations::Body::Json(body) => {
            let mut response = with_status(answer.status, &body);
            naming::as_told(&mut response, &body);
            response
        }
        operations::Body::Stream(media, stream) => answer::text(media, Body::from_stream(stream)),
    };
    if let Some(secs) = answer.retry_after {
        let secs = HeaderValue::from(secs.max(1));
        response.headers_mut().insert(RETRY_AFTER, secs);
    }
    response
}
