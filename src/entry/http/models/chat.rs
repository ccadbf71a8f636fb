//! `POST /v1/chat/completions`.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::answer::ok;
use super::super::{Door, Problem};
use super::openai::{self, Envelope, Read};
use super::refused::{COST, Style, named};
use super::restoring::Restoring;
use super::streaming::{self, Spell};
use super::visitor;
use crate::broker::requests::{Asked, Conversation, Done, Told};
use crate::domain::ids::RequestId;
use crate::domain::requests::piece::{Piece, Place};
use crate::domain::requests::price::Nanos;
use crate::domain::requests::request::{Door as Came, Wishes};

const STYLE: Style = Style::OpenAi;
/// What kind of work it is, where the caller's format has no word for it.
pub const TASK: &str = "chat";

pub async fn complete(State(door): State<Door>, request: Request) -> Response {
    let id = door.broker.requests.new_id();
    match answer(&door, request, id).await {
        Ok(answer) => answer,
        Err(problem) => STYLE.refused(&problem, id),
    }
}

async fn answer(door: &Door, request: Request, id: RequestId) -> Result<Response, Problem> {
    let (parts, body) = visitor::apart(request);
    let who = visitor::who(door, &parts).await?;
    let hints = visitor::hints(&parts.headers)?;
    let written = visitor::body(door, &who, &parts, body).await?;
    let Read {
        ask,
        include_usage,
        user,
    } = openai::read(written.map)?;
    let (stream, model) = (ask.stream, ask.model.clone());
    let asked = Asked {
        other: None,
        wishes: Wishes {
            model: Some(ask.model.clone()),
            restore: hints.restore,
            ..Wishes::default()
        },
        ask,
        door: Came::Chat,
        task: TASK.to_owned(),
        priority: hints.priority,
        user,
        metadata: hints.beside(None),
        idempotency_key: None,
        screened: written.screened,
        id: Some(id),
        weight: Some(written.weight),
        shadow_of: None,
        given: Vec::new(),
    };
    let conversation = door.broker.requests.converse(&who, asked).await?;
    let envelope = Envelope {
        id,
        created: door.broker.ports().ambient.now().secs(),
        model,
        beside: Map::new(),
    };
    let Conversation { told, screened, .. } = conversation;
    let restoring = Restoring::new(screened, hints.restore);
    if stream {
        let spell = Chunks {
            envelope,
            restoring,
            include_usage,
            begun: false,
        };
        return streaming::answer(told, spell, id).await;
    }
    whole(told, envelope, &restoring).await
}

async fn whole(
    mut told: tokio::sync::mpsc::Receiver<Told>,
    mut envelope: Envelope,
    restoring: &Restoring,
) -> Result<Response, Problem> {
    let mut message = Whole::default();
    while let Some(next) = told.recv().await {
        match next {
            Told::Started { model, .. } => envelope.model = model,
            Told::Piece(piece) => message.take(piece),
            Told::Vectors(_) | Told::Ranked(_) => {}
            Told::Done(done) => {
                let spelt = message.spelt(restoring);
                envelope.beside = std::mem::take(&mut message.of_answer);
                let (of_choice, tokens) = (&message.of_choice, &done.tokens);
                let completion = envelope.completion(spelt, of_choice, done.stop, tokens);
                return Ok(paid(ok(&completion), envelope.id, &done));
            }
            Told::Failed(trouble) => return Err(trouble.into()),
        }
    }
    Err(Problem::Internal)
}

/// Names the request on an answer, and what it cost.
pub fn paid(mut answer: Response, id: RequestId, done: &Done) -> Response {
    named(&mut answer, id);
    if let Ok(cost) = HeaderValue::from_str(&Nanos(done.nanos).to_string()) {
        answer.headers_mut().insert(COST, cost);
    }
    answer
}

/// A message as it is put together.
#[derive(Default)]
struct Whole {
    text: String,
    refusal: String,
    thought: String,
    calls: BTreeMap<u64, (String, String, String)>,
    /// Fields for which there is no word of ours: of the message, its choice, the answer.
    of_message: Map<String, Value>,
    of_choice: Map<String, Value>,
    of_answer: Map<String, Value>,
}

impl Whole {
    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => self.text.push_str(&text),
            Piece::Refusal(text) => self.refusal.push_str(&text),
            Piece::Thought(text) => self.thought.push_str(&text),
            Piece::ToolCall { index, id, name } => {
                let call = self.calls.entry(index).or_default();
                (call.0, call.1) = (id, name);
            }
            Piece::Arguments { index, part } => {
                self.calls.entry(index).or_default().2.push_str(&part);
            }
            Piece::Beside { place, name, value } => {
                let fields = match place {
                    Place::Message => &mut self.of_message,
                    Place::Choice => &mut self.of_choice,
                    Place::Answer => &mut self.of_answer,
                    Place::Block | Place::Text => return,
                };
                fields.insert(name, value);
            }
            Piece::Started { .. }
            | Piece::Signature(_)
            | Piece::Counted(_)
            | Piece::Stopped(_)
            | Piece::Sequence(_)
            | Piece::Part
            | Piece::Block { .. }
            | Piece::More(_) => {}
        }
    }

    fn spelt(&self, restoring: &Restoring) -> Value {
        let text = |text: &str| match text.is_empty() {
            true => Value::Null,
            false => restoring.whole(text).into(),
        };
        let mut message = json!({
            "role": "assistant", "content": text(&self.text), "refusal": text(&self.refusal),
        });
        if !self.thought.is_empty() {
            message["reasoning_content"] = text(&self.thought);
        }
        if !self.calls.is_empty() {
            let calls = self.calls.values().map(|(id, name, arguments)| {
                let arguments = restored(arguments, restoring);
                let function = json!({"name": name, "arguments": arguments});
                json!({"id": id, "type": "function", "function": function})
            });
            message["tool_calls"] = calls.collect();
        }
        openai::join(&mut message, &self.of_message);
        message
    }
}

/// Arguments are JSON in a text: what is put back must not end their strings.
fn restored(arguments: &str, restoring: &Restoring) -> String {
    let whole = restoring.whole(arguments);
    match whole == arguments {
        true => whole,
        false => {
            let escaped = |text: &str| {
                let json = Value::from(restoring.whole(text)).to_string();
                json.trim_matches('"').to_owned()
            };
            escaped(arguments)
        }
    }
}

/// Pieces as chunks.
struct Chunks {
    envelope: Envelope,
    restoring: Restoring,
    include_usage: bool,
    begun: bool,
}

impl Chunks {
    fn begin(&mut self, out: &mut Vec<String>) {
        if !self.begun {
            self.begun = true;
            let first = json!({"role": "assistant", "content": ""});
            let chunk = self.envelope.chunk(first, Value::Null);
            out.push(streaming::data(&chunk));
        }
    }

    fn delta(&mut self, delta: Value, out: &mut Vec<String>) {
        self.begin(out);
        let chunk = self.envelope.chunk(delta, Value::Null);
        out.push(streaming::data(&chunk));
    }
}

impl Spell for Chunks {
    fn started(&mut self, model: String) {
        self.envelope.model = model;
    }

    fn piece(&mut self, piece: Piece, out: &mut Vec<String>) {
        match piece {
            Piece::Text(text) => {
                let text = self.restoring.text(&text);
                if !text.is_empty() {
                    self.delta(json!({ "content": text }), out);
                }
            }
            Piece::Refusal(text) => self.delta(json!({ "refusal": text }), out),
            Piece::Thought(text) => self.delta(json!({ "reasoning_content": text }), out),
            Piece::ToolCall { index, id, name } => {
                let function = json!({"name": name, "arguments": ""});
                let call =
                    json!({"index": index, "id": id, "type": "function", "function": function});
                self.delta(json!({ "tool_calls": [call] }), out);
            }
            Piece::Arguments { index, part } => {
                let call = json!({"index": index, "function": {"arguments": part}});
                self.delta(json!({ "tool_calls": [call] }), out);
            }
            Piece::Beside { place, name, value } => match place {
                Place::Message => {
                    let delta = Value::Object(Map::from_iter([(name, value)]));
                    self.delta(delta, out);
                }
                Place::Choice => {
                    self.begin(out);
                    out.push(streaming::data(&self.envelope.beside(name, value)));
                }
                // It stands in every chunk from here on.
                Place::Answer => {
                    self.envelope.beside.insert(name, value);
                }
                Place::Block | Place::Text => {}
            },
            Piece::Started { .. }
            | Piece::Signature(_)
            | Piece::Counted(_)
            | Piece::Stopped(_)
            | Piece::Sequence(_)
            | Piece::Part
            | Piece::Block { .. }
            | Piece::More(_) => {}
        }
    }

    fn done(&mut self, done: &Done, out: &mut Vec<String>) {
        let rest = self.restoring.end();
        if !rest.is_empty() {
            self.delta(json!({ "content": rest }), out);
        }
        let finish = json!(openai::finish(done.stop));
        out.push(streaming::data(&self.envelope.chunk(json!({}), finish)));
        if self.include_usage {
            let cost = Nanos(done.nanos).to_string();
            out.push(streaming::data(&self.envelope.figures(&done.tokens, &cost)));
        }
        out.push("data: [DONE]\n\n".to_owned());
    }

    fn failed(&mut self, problem: &Problem, out: &mut Vec<String>) {
        let error = STYLE.error(problem, self.envelope.id);
        out.push(streaming::data(&error));
    }
}
