//! `POST /v1/responses`.

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::answer::ok;
use super::super::{Door, Problem};
use super::chat::{TASK, paid};
use super::refused::Style;
use super::responding::{self, Read};
use super::restoring::Restoring;
use super::streaming::{self, Spell};
use super::visitor;
use crate::broker::requests::{Asked, Conversation, Done, Told};
use crate::domain::ids::RequestId;
use crate::domain::requests::ask::Format;
use crate::domain::requests::piece::{Piece, Place, Stop};
use crate::domain::requests::price::Nanos;
use crate::domain::requests::request::{Door as Came, Wishes};

const STYLE: Style = Style::OpenAi;

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
    let Read {
        ask,
        user,
        metadata,
    } = responding::read(written.map)?;
    let (stream, model) = (ask.stream, ask.model.clone());
    let asked = Asked {
        other: None,
        wishes: Wishes {
            model: Some(ask.model.clone()),
            restore: hints.restore,
            ..Wishes::default()
        },
        ask,
        door: Came::Responses,
        task: TASK.to_owned(),
        priority: hints.priority,
        user,
        metadata: hints.beside(metadata.clone()),
        idempotency_key: None,
        screened: written.screened,
        id: Some(id),
        weight: Some(written.weight),
        shadow_of: None,
        given: Vec::new(),
    };
    let conversation = door.broker.requests.converse(&who, asked).await?;
    let Conversation { told, screened, .. } = conversation;
    let mut growing = Growing {
        id,
        model,
        created: door.broker.ports().ambient.now().secs(),
        metadata: metadata.unwrap_or_else(|| json!({})),
        restoring: Restoring::new(screened, hints.restore),
        items: Vec::new(),
        sequence: 0,
        begun: false,
    };
    if stream {
        return streaming::answer(told, growing, id).await;
    }
    whole(told, &mut growing).await
}

async fn whole(mut told: mpsc::Receiver<Told>, growing: &mut Growing) -> Result<Response, Problem> {
    // The events of a whole answer are made and thrown away: what is left is the answer.
    let mut events = Vec::new();
    while let Some(next) = told.recv().await {
        events.clear();
        match next {
            Told::Started { model, .. } => growing.started(model),
            Told::Piece(piece) => growing.piece(piece, &mut events),
            Told::Vectors(_) | Told::Ranked(_) => {}
            Told::Done(done) => {
                growing.close(&mut events);
                let response = growing.response("completed", Some(&done));
                return Ok(paid(ok(&response), growing.id, &done));
            }
            Told::Failed(trouble) => return Err(trouble.into()),
        }
    }
    Err(Problem::Internal)
}

/// A response as it grows.
struct Growing {
    id: RequestId,
    model: String,
    created: i64,
    metadata: Value,
    restoring: Restoring,
    items: Vec<Item>,
    sequence: u64,
    begun: bool,
}

/// One item of the output.
struct Item {
    open: bool,
    kind: Kind,
    text: String,
    annotations: Vec<Value>,
}

enum Kind {
    Message,
    /// As the provider wrote it.
    Raw(Value),
    Call {
        index: u64,
        id: String,
        name: String,
    },
}

impl Growing {
    fn tell(&mut self, kind: &str, mut event: Value, out: &mut Vec<String>) {
        event["type"] = json!(kind);
        event["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        out.push(streaming::event(kind, &event));
    }

    fn item_id(&self, index: usize) -> String {
        let kind = match self.items.get(index).map(|item| &item.kind) {
            Some(Kind::Call { .. }) => "fc",
            Some(Kind::Message | Kind::Raw(_)) | None => "msg",
        };
        format!("{kind}_{}_{index}", self.id.uuid().simple())
    }

    fn spelt(&self, index: usize) -> Value {
        let Some(item) = self.items.get(index) else {
            return Value::Null;
        };
        let status = if item.open {
            "in_progress"
        } else {
            "completed"
        };
        let id = self.item_id(index);
        match &item.kind {
            Kind::Message => {
                let part = json!({
                    "type": "output_text", "text": item.text, "annotations": item.annotations,
                });
                let content = if item.open && item.text.is_empty() {
                    json!([])
                } else {
                    json!([part])
                };
                json!({
                    "id": id, "type": "message", "role": "assistant", "status": status,
                    "content": content,
                })
            }
            Kind::Raw(value) => value.clone(),
            Kind::Call { id: call, name, .. } => json!({
                "id": id, "type": "function_call", "call_id": call, "name": name,
                "arguments": item.text, "status": status,
            }),
        }
    }

    fn response(&self, status: &str, done: Option<&Done>) -> Value {
        let cut = done.is_some_and(|done| done.stop == Some(Stop::MaxTokens));
        let output: Value = (0..self.items.len())
            .map(|index| self.spelt(index))
            .collect();
        let mut response = json!({
            "id": format!("resp_{}", self.id.uuid().simple()), "object": "response",
            "created_at": self.created, "model": self.model, "output": output,
            "status": if cut { "incomplete" } else { status },
            "error": null, "incomplete_details": null, "instructions": null,
            "metadata": self.metadata, "parallel_tool_calls": true, "temperature": null,
            "tool_choice": "auto", "tools": [], "top_p": null, "store": false, "usage": null,
        });
        if cut {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        if let Some(done) = done {
            response["usage"] = responding::usage(&done.tokens);
            response["hundi"] =
                json!({"cost_usd": Nanos(done.nanos).to_string(), "request_id": self.id});
        }
        response
    }

    fn begin(&mut self, out: &mut Vec<String>) {
        if !self.begun {
            self.begun = true;
            for kind in ["response.created", "response.in_progress"] {
                let response = self.response("in_progress", None);
                self.tell(kind, json!({ "response": response }), out);
            }
        }
    }

    fn open(&mut self, kind: Kind, out: &mut Vec<String>) {
        self.begin(out);
        self.close(out);
        let message = matches!(kind, Kind::Message);
        self.items.push(Item {
            open: true,
            kind,
            text: String::new(),
            annotations: Vec::new(),
        });
        let index = self.items.len() - 1;
        let item = self.spelt(index);
        let added = json!({"output_index": index, "item": item});
        self.tell("response.output_item.added", added, out);
        if message {
            let part = json!({"type": "output_text", "text": "", "annotations": []});
            let added = json!({
                "item_id": self.item_id(index), "output_index": index, "content_index": 0,
                "part": part,
            });
            self.tell("response.content_part.added", added, out);
        }
    }

    /// Text of the message that is open, or of a new one.
    fn words(&mut self, text: &str, out: &mut Vec<String>) {
        let open = self
            .items
            .last()
            .is_some_and(|item| item.open && matches!(item.kind, Kind::Message));
        if !open {
            self.open(Kind::Message, out);
        }
        let index = self.items.len() - 1;
        if let Some(item) = self.items.last_mut() {
            item.text.push_str(text);
        }
        let delta = json!({
            "item_id": self.item_id(index), "output_index": index, "content_index": 0,
            "delta": text,
        });
        self.tell("response.output_text.delta", delta, out);
    }

    /// Where the text that came last is from.
    fn annotate(&mut self, annotations: Vec<Value>, out: &mut Vec<String>) {
        for annotation in annotations {
            let Some(item) = self.items.last_mut().filter(|item| item.open) else {
                return;
            };
            let number = item.annotations.len();
            item.annotations.push(annotation.clone());
            let index = self.items.len() - 1;
            let added = json!({
                "item_id": self.item_id(index), "output_index": index, "content_index": 0,
                "annotation_index": number, "annotation": annotation,
            });
            self.tell("response.output_text.annotation.added", added, out);
        }
    }

    fn close(&mut self, out: &mut Vec<String>) {
        if !self.items.last().is_some_and(|item| item.open) {
            return;
        }
        let held = self.restoring.end();
        if !held.is_empty() {
            self.words(&held, out);
        }
        let index = self.items.len() - 1;
        let id = self.item_id(index);
        let Some(item) = self.items.last_mut() else {
            return;
        };
        item.open = false;
        let (text, annotations) = (item.text.clone(), item.annotations.clone());
        match item.kind {
            Kind::Raw(_) => {}
            Kind::Message => {
                let at = json!({"item_id": id, "output_index": index, "content_index": 0});
                let mut done = at.clone();
                done["text"] = json!(text);
                self.tell("response.output_text.done", done, out);
                let mut done = at;
                done["part"] =
                    json!({"type": "output_text", "text": text, "annotations": annotations});
                self.tell("response.content_part.done", done, out);
            }
            Kind::Call { .. } => {
                let done = json!({"item_id": id, "output_index": index, "arguments": text});
                self.tell("response.function_call_arguments.done", done, out);
            }
        }
        let item = self.spelt(index);
        let done = json!({"output_index": index, "item": item});
        self.tell("response.output_item.done", done, out);
    }
}

impl Spell for Growing {
    fn started(&mut self, model: String) {
        self.model = model;
    }

    fn piece(&mut self, piece: Piece, out: &mut Vec<String>) {
        match piece {
            Piece::Text(text) | Piece::Refusal(text) => {
                let text = self.restoring.text(&text);
                if !text.is_empty() {
                    self.words(&text, out);
                }
            }
            Piece::ToolCall { index, id, name } => {
                self.open(Kind::Call { index, id, name }, out);
            }
            Piece::Arguments { index, part } => {
                let place = self.items.iter().position(
                    |item| matches!(&item.kind, Kind::Call { index: of, .. } if *of == index),
                );
                let Some(place) = place else { return };
                if let Some(item) = self.items.get_mut(place) {
                    item.text.push_str(&part);
                }
                let delta = json!({
                    "item_id": self.item_id(place), "output_index": place, "delta": part,
                });
                self.tell("response.function_call_arguments.delta", delta, out);
            }
            Piece::Block {
                format: Format::Responses,
                value,
            } => {
                self.open(Kind::Raw(value), out);
                self.close(out);
            }
            Piece::Beside {
                place: Place::Text,
                value: Value::Array(annotations),
                ..
            } => self.annotate(annotations, out),
            Piece::Thought(_)
            | Piece::Signature(_)
            | Piece::Sequence(_)
            | Piece::Part
            | Piece::Beside { .. }
            | Piece::Block { .. }
            | Piece::More(_)
            | Piece::Started { .. }
            | Piece::Counted(_)
            | Piece::Stopped(_) => {}
        }
    }

    fn done(&mut self, done: &Done, out: &mut Vec<String>) {
        self.begin(out);
        self.close(out);
        let response = self.response("completed", Some(done));
        let kind = match response["status"] == "incomplete" {
            true => "response.incomplete",
            false => "response.completed",
        };
        self.tell(kind, json!({ "response": response }), out);
    }

    fn failed(&mut self, problem: &Problem, out: &mut Vec<String>) {
        let error = STYLE.error(problem, self.id);
        let mut response = self.response("failed", None);
        response["error"] = json!({
            "code": error["error"]["code"], "message": error["error"]["message"],
        });
        self.tell("response.failed", json!({ "response": response }), out);
    }
}
