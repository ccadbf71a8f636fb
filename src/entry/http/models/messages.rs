//! `POST /v1/messages`.

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::super::answer::ok;
use super::super::{Door, Problem};
use super::anthropic::{self, Read};
use super::chat::{TASK, paid};
use super::openai::join;
use super::refused::Style;
use super::restoring::Restoring;
use super::streaming::{self, Spell};
use super::visitor;
use crate::broker::requests::{Asked, Conversation, Done, Told};
use crate::domain::ids::RequestId;
use crate::domain::requests::ask::Format;
use crate::domain::requests::piece::{Piece, Place, Tokens};
use crate::domain::requests::price::Nanos;
use crate::domain::requests::request::{Door as Came, Wishes};

const STYLE: Style = Style::Anthropic;

pub async fn create(State(door): State<Door>, request: Request) -> Response {
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
    let Read { ask, user } = anthropic::read(written.map)?;
    let (stream, model) = (ask.stream, ask.model.clone());
    let asked = Asked {
        other: None,
        wishes: Wishes {
            model: Some(ask.model.clone()),
            restore: hints.restore,
            ..Wishes::default()
        },
        ask,
        door: Came::Messages,
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
    let Conversation { told, screened, .. } = conversation;
    let restoring = Restoring::new(screened, hints.restore);
    if stream {
        let spell = Events {
            id,
            model,
            restoring,
            counted: Tokens::default(),
            sequence: None,
            begun: false,
            open: None,
            next: 0,
        };
        return streaming::answer(told, spell, id).await;
    }
    whole(told, id, model, &restoring).await
}

async fn whole(
    mut told: mpsc::Receiver<Told>,
    id: RequestId,
    mut model: String,
    restoring: &Restoring,
) -> Result<Response, Problem> {
    let mut blocks = Blocks::default();
    while let Some(next) = told.recv().await {
        match next {
            Told::Started { model: now, .. } => model = now,
            Told::Piece(piece) => blocks.take(piece),
            Told::Vectors(_) | Told::Ranked(_) => {}
            Told::Done(done) => {
                let mut message = message(id, &model);
                message["content"] = blocks.spelt(restoring);
                message["stop_reason"] = json!(anthropic::stop_reason(done.stop));
                message["stop_sequence"] = json!(blocks.sequence);
                message["usage"] = anthropic::usage(&done.tokens);
                return Ok(paid(ok(&message), id, &done));
            }
            Told::Failed(trouble) => return Err(trouble.into()),
        }
    }
    Err(Problem::Internal)
}

fn message(id: RequestId, model: &str) -> Value {
    json!({
        "id": format!("msg_{}", id.uuid().simple()), "type": "message", "role": "assistant",
        "model": model, "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": anthropic::usage(&Tokens::default()),
    })
}

/// The blocks of a message as they are put together.
#[derive(Default)]
struct Blocks {
    all: Vec<Block>,
    /// What comes next is a block of its own.
    apart: bool,
    /// The text that ended it.
    sequence: Option<String>,
}

enum Block {
    /// Words, and fields for which there is no word of ours.
    Text(String, Map<String, Value>),
    Thinking(String, String),
    Tool {
        index: u64,
        id: String,
        name: String,
        input: String,
    },
    /// As the provider wrote it, with more of its input.
    Raw(Value, String),
}

impl Blocks {
    fn take(&mut self, piece: Piece) {
        let apart = std::mem::take(&mut self.apart);
        let last = self.all.last_mut().filter(|_| !apart);
        match piece {
            Piece::Text(more) | Piece::Refusal(more) => {
                if let Some(Block::Text(text, _)) = last {
                    text.push_str(&more);
                } else {
                    self.all.push(Block::Text(more, Map::new()));
                }
            }
            Piece::Thought(more) => {
                if let Some(Block::Thinking(text, _)) = last {
                    text.push_str(&more);
                } else {
                    self.all.push(Block::Thinking(more, String::new()));
                }
            }
            Piece::Signature(more) => {
                if let Some(Block::Thinking(_, signature)) = last {
                    signature.push_str(&more);
                } else {
                    // A thought that is kept back is nothing but what vouches for it.
                    self.all.push(Block::Thinking(String::new(), more));
                }
            }
            Piece::ToolCall { index, id, name } => self.all.push(Block::Tool {
                index,
                id,
                name,
                input: String::new(),
            }),
            Piece::Arguments { index, part } => {
                for block in &mut self.all {
                    match block {
                        Block::Tool {
                            index: of, input, ..
                        } if *of == index => input.push_str(&part),
                        Block::Tool { .. }
                        | Block::Text(..)
                        | Block::Thinking(..)
                        | Block::Raw(..) => {}
                    }
                }
            }
            Piece::Block {
                format: Format::Anthropic,
                value,
            } => {
                self.all.push(Block::Raw(value, String::new()));
            }
            Piece::More(delta) => self.more(&delta),
            Piece::Beside {
                place: Place::Block,
                name,
                value,
            } => {
                if let Some(Block::Text(_, fields)) = last {
                    fields.insert(name, value);
                }
            }
            Piece::Sequence(text) => self.sequence = Some(text),
            Piece::Part => self.apart = true,
            Piece::Beside { .. }
            | Piece::Block { .. }
            | Piece::Started { .. }
            | Piece::Counted(_)
            | Piece::Stopped(_) => {}
        }
    }

    /// More of the block that came last, in the provider's own words.
    fn more(&mut self, delta: &Value) {
        match self.all.last_mut() {
            Some(Block::Text(_, fields)) => {
                if let Some(citation) = delta.get("citation") {
                    let citations = fields.entry("citations").or_insert_with(|| json!([]));
                    if let Some(all) = citations.as_array_mut() {
                        all.push(citation.clone());
                    }
                }
            }
            Some(Block::Raw(_, input)) => {
                let part = delta.get("partial_json").and_then(Value::as_str);
                input.push_str(part.unwrap_or_default());
            }
            Some(Block::Thinking(..) | Block::Tool { .. }) | None => {}
        }
    }

    fn spelt(&self, restoring: &Restoring) -> Value {
        let blocks = self.all.iter().map(|block| match block {
            Block::Text(text, fields) => {
                let mut block = json!({"type": "text", "text": restoring.whole(text)});
                join(&mut block, fields);
                block
            }
            Block::Thinking(thinking, signature) => {
                json!({"type": "thinking", "thinking": thinking, "signature": signature})
            }
            Block::Tool {
                id, name, input, ..
            } => {
                let input = serde_json::from_str(input).unwrap_or_else(|_| json!({}));
                json!({"type": "tool_use", "id": id, "name": name, "input": restored(input, restoring)})
            }
            Block::Raw(value, input) => {
                let mut block = value.clone();
                if let Ok(input) = serde_json::from_str::<Value>(input) {
                    block["input"] = input;
                }
                block
            }
        });
        blocks.collect()
    }
}

fn restored(value: Value, restoring: &Restoring) -> Value {
    match value {
        Value::String(text) => restoring.whole(&text).into(),
        Value::Array(items) => items
            .into_iter()
            .map(|item| restored(item, restoring))
            .collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| (name, restored(value, restoring)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// Pieces as events.
struct Events {
    id: RequestId,
    model: String,
    restoring: Restoring,
    counted: Tokens,
    sequence: Option<String>,
    begun: bool,
    open: Option<Open>,
    next: u64,
}

/// A block that is open: what it is of, and its number.
#[derive(Clone, Copy, PartialEq)]
struct Open {
    of: Of,
    number: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Of {
    Text,
    Thinking,
    Tool(u64),
    Raw,
}

impl Events {
    fn begin(&mut self, out: &mut Vec<String>) {
        if !self.begun {
            self.begun = true;
            let mut message = message(self.id, &self.model);
            message["usage"] = anthropic::usage(&self.counted);
            let start = json!({"type": "message_start", "message": message});
            out.push(streaming::event("message_start", &start));
        }
    }

    fn close(&mut self, out: &mut Vec<String>) {
        let held = self.restoring.end();
        if let Some(open) = self.open.take() {
            if open.of == Of::Text && !held.is_empty() {
                delta(open, json!({"type": "text_delta", "text": held}), out);
            }
            let stop = json!({"type": "content_block_stop", "index": open.number});
            out.push(streaming::event("content_block_stop", &stop));
        }
    }

    /// The block of this, opened if it is not open.
    fn block(&mut self, of: Of, begun: Value, out: &mut Vec<String>) -> Open {
        self.begin(out);
        if let Some(open) = self.open.filter(|open| open.of == of) {
            return open;
        }
        self.close(out);
        let open = Open {
            of,
            number: self.next,
        };
        self.next += 1;
        self.open = Some(open);
        let start = json!({
            "type": "content_block_start", "index": open.number, "content_block": begun,
        });
        out.push(streaming::event("content_block_start", &start));
        open
    }
}

fn delta(open: Open, delta: Value, out: &mut Vec<String>) {
    let event = json!({"type": "content_block_delta", "index": open.number, "delta": delta});
    out.push(streaming::event("content_block_delta", &event));
}

impl Spell for Events {
    fn started(&mut self, model: String) {
        self.model = model;
    }

    fn piece(&mut self, piece: Piece, out: &mut Vec<String>) {
        match piece {
            Piece::Text(text) | Piece::Refusal(text) => {
                let open = self.block(Of::Text, json!({"type": "text", "text": ""}), out);
                let text = self.restoring.text(&text);
                if !text.is_empty() {
                    delta(open, json!({"type": "text_delta", "text": text}), out);
                }
            }
            Piece::Thought(text) => {
                let begun = json!({"type": "thinking", "thinking": "", "signature": ""});
                let open = self.block(Of::Thinking, begun, out);
                delta(
                    open,
                    json!({"type": "thinking_delta", "thinking": text}),
                    out,
                );
            }
            Piece::Signature(text) => {
                let begun = json!({"type": "thinking", "thinking": "", "signature": ""});
                let open = self.block(Of::Thinking, begun, out);
                let signed = json!({"type": "signature_delta", "signature": text});
                delta(open, signed, out);
            }
            Piece::ToolCall { index, id, name } => {
                let begun = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.block(Of::Tool(index), begun, out);
            }
            Piece::Arguments { index, part } => {
                if let Some(open) = self.open.filter(|open| open.of == Of::Tool(index)) {
                    let more = json!({"type": "input_json_delta", "partial_json": part});
                    delta(open, more, out);
                }
            }
            Piece::Part => {
                self.close(out);
            }
            Piece::Block {
                format: Format::Anthropic,
                value,
            } => {
                self.close(out);
                self.block(Of::Raw, value, out);
            }
            Piece::More(more) => {
                if let Some(open) = self.open {
                    delta(open, more, out);
                }
            }
            Piece::Beside {
                place: Place::Block,
                name,
                value,
            } if name == "citations" => {
                let citations = value.as_array().into_iter().flatten();
                for (open, citation) in self
                    .open
                    .iter()
                    .flat_map(|open| citations.clone().map(move |citation| (*open, citation)))
                {
                    let more = json!({"type": "citations_delta", "citation": citation});
                    delta(open, more, out);
                }
            }
            Piece::Sequence(text) => self.sequence = Some(text),
            Piece::Counted(tokens) => self.counted = tokens,
            Piece::Beside { .. }
            | Piece::Block { .. }
            | Piece::Started { .. }
            | Piece::Stopped(_) => {}
        }
    }

    fn done(&mut self, done: &Done, out: &mut Vec<String>) {
        self.begin(out);
        self.close(out);
        let reason = anthropic::stop_reason(done.stop);
        let last = json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": self.sequence},
            "usage": anthropic::usage(&done.tokens),
            "hundi": {"cost_usd": Nanos(done.nanos).to_string(), "request_id": self.id},
        });
        out.push(streaming::event("message_delta", &last));
        let stop = json!({"type": "message_stop"});
        out.push(streaming::event("message_stop", &stop));
    }

    fn failed(&mut self, problem: &Problem, out: &mut Vec<String>) {
        out.push(streaming::event("error", &STYLE.error(problem, self.id)));
    }
}
