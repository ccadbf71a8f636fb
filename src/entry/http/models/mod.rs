//! The doors of models, in the formats that official packages speak: OpenAI's chat completions and
//! responses, and Anthropic's messages, whole or in pieces, and the list of models; and the events of requests that
//! wait their turn.
//!
//! Every answer is in the caller's own format, refusals included, and names the request in
//! `X-Hundi-Request-Id`. What is asked is read strictly, looked over for secrets as it was written,
//! and handed to the broker; nothing is decided here. A stream begins with its first piece, so that
//! whatever fails before is told as a status.

mod anthropic;
mod chat;
mod embeddings;
mod events;
mod following;
mod list;
mod messages;
pub(super) mod naming;
mod openai;
mod parts;
pub(super) mod refused;
mod responding;
mod responses;
mod restoring;
mod socket;
mod streaming;
mod visitor;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Map, Value};

use super::openapi::{Op, Param};
use super::{Door, Problem};
use crate::broker::Trouble;
use crate::domain::principal::Right;
use crate::domain::requests::ask::Ask;
use crate::domain::strict::MAX_SAFE_INTEGER;

/// A question written as OpenAI's packages write it, wherever it came in.
pub fn asked(body: Map<String, Value>) -> Result<Ask, Trouble> {
    match openai::read(body) {
        Ok(read) if read.ask.is_silent() => Err(Trouble::InvalidRequest(
            "`messages` has no words: nothing is asked".to_owned(),
        )),
        Ok(read) => Ok(Ask {
            // What goes through the queue may go to any provider.
            written_in: None,
            ..read.ask
        }),
        Err(Problem::Trouble(trouble)) => Err(trouble),
        Err(problem) => Err(Trouble::InvalidRequest(problem.words())),
    }
}

/// What no route takes, in the format that is spoken under its path.
pub(super) fn astray(path: &str, problem: Problem) -> Response {
    match refused::Style::of(path) {
        Some(style) => style.astray(&problem),
        None => problem.into_response(),
    }
}

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/v1/requests/{id}/events", get(events::follow))
        .route("/v1/requests/{id}/stream", get(socket::follow))
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/messages", post(messages::create))
        .route("/v1/responses", post(responses::create))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/models", get(list::all))
        .route("/v1/models/{model}", get(list::one))
}

const PRIORITY: Param =
    Param::header("Hundi-Priority", "How urgent it is; 50 if left out.").whole(0, 100);
const RESTORE: Param = Param::header(
    "Hundi-Restore",
    "Secrets that were replaced are put back in the answer.",
)
.one_of(&["0", "1"]);
const CONVERSATION: Param = Param::header(
    "Hundi-Conversation",
    "A name to find it by again, kept with its metadata.",
);
const ANSWERS: &[(u16, &str, &str)] = &[
    (
        200,
        "the answer, in the caller's format",
        "application/json",
    ),
    (
        200,
        "the answer in pieces, if `stream` is true",
        "text/event-stream",
    ),
];

/// Refusals come in the caller's own format; their statuses are told here all the same.
pub(super) const OPS: &[Op] = &[
    Op {
        id: "chat_completions",
        method: "post",
        path: "/v1/chat/completions",
        summary: "Ask a model, as OpenAI's packages do. `model` is a model's name or `auto`; refusals have OpenAI's form.",
        right: Some(Right::Propose),
        params: &[PRIORITY, RESTORE, CONVERSATION],
        body: Some("ChatCompletion"),
        answers: ANSWERS,
        problems: &[400, 402, 404, 409, 413, 415, 429, 502, 504],
        ..Op::NONE
    },
    Op {
        id: "messages",
        method: "post",
        path: "/v1/messages",
        summary: "Ask a model, as Anthropic's packages do. `model` is a model's name or `auto`; refusals have Anthropic's form.",
        right: Some(Right::Propose),
        params: &[PRIORITY, RESTORE, CONVERSATION],
        body: Some("Messages"),
        answers: ANSWERS,
        problems: &[400, 402, 404, 409, 413, 415, 429, 502, 504],
        ..Op::NONE
    },
    Op {
        id: "responses",
        method: "post",
        path: "/v1/responses",
        summary: "Ask a model, as OpenAI's packages do with responses. Nothing is kept for a later response; refusals have OpenAI's form.",
        right: Some(Right::Propose),
        params: &[PRIORITY, RESTORE, CONVERSATION],
        body: Some("Responses"),
        answers: ANSWERS,
        problems: &[400, 402, 404, 409, 413, 415, 429, 502, 504],
        ..Op::NONE
    },
    Op {
        id: "embeddings",
        method: "post",
        path: "/v1/embeddings",
        summary: "Turn texts into vectors, as OpenAI's packages ask for them; refusals have OpenAI's form.",
        right: Some(Right::Propose),
        params: &[PRIORITY, CONVERSATION],
        body: Some("Embeddings"),
        answers: &[(200, "the vectors", "application/json")],
        problems: &[400, 402, 404, 409, 413, 415, 429, 502, 504],
        ..Op::NONE
    },
    Op {
        id: "request_events",
        method: "get",
        path: "/v1/requests/{id}/events",
        summary: "What is told of a request, as server-sent events from the first on, numbered from 1; ends with the request.",
        right: Some(Right::ReadOwn),
        params: &[
            Param::path("id", "The request's id."),
            Param::header("Last-Event-ID", "Only what came after this event.")
                .whole(0, MAX_SAFE_INTEGER),
        ],
        answers: &[
            (200, "events", "text/event-stream"),
            (
                204,
                "it has ended, and nothing came after `Last-Event-ID`",
                "",
            ),
        ],
        problems: &[400, 404, 410],
        ..Op::NONE
    },
    Op {
        id: "request_stream",
        method: "get",
        path: "/v1/requests/{id}/stream",
        summary: "The same events over a WebSocket, each a JSON text with its number as `event_id`. A page gives its key as a subprotocol: `hundi, bearer.KEY`.",
        right: Some(Right::ReadOwn),
        params: &[
            Param::path("id", "The request's id."),
            Param::query("after", "Only what came after this event.").whole(0, MAX_SAFE_INTEGER),
        ],
        answers: &[(101, "the WebSocket", "")],
        problems: &[400, 404, 410],
        ..Op::NONE
    },
    Op {
        id: "models",
        method: "get",
        path: "/v1/models",
        summary: "The models that can be named, in OpenAI's form, or in Anthropic's where `anthropic-version` is sent.",
        right: Some(Right::ReadOwn),
        answers: &[(200, "the models", "application/json")],
        ..Op::NONE
    },
    Op {
        id: "model",
        method: "get",
        path: "/v1/models/{model}",
        summary: "One model, in the same forms.",
        right: Some(Right::ReadOwn),
        params: &[Param::path("model", "The model's name.")],
        answers: &[(200, "the model", "application/json")],
        problems: &[404],
        ..Op::NONE
    },
];
