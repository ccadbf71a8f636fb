//! OpenAI's responses: typed events, of which `response.completed`, `response.incomplete` and
//! `response.failed` are the last. Nothing is stored at the provider.

use serde_json::{Value, json};

use super::openai::{answered, tokens};
use super::said::{self, Fields, count, items, text, words};
use super::{State, malformed, refusal};
use crate::connector::Malformed;
use crate::domain::requests::ask::{
    Ask, Content, Format, Message, Role, Shape, ToolChoice, ToolSpec,
};
use crate::domain::requests::failure::Failure;
use crate::domain::requests::piece::{Piece, Place, Stop};

pub fn body(ask: &Ask) -> Result<Value, Malformed> {
    if !ask.stop.is_empty() {
        return Err(Malformed(
            "`stop` cannot be said in the format `openai_responses`".to_owned(),
        ));
    }
    let said = ask
        .messages
        .iter()
        .filter(|message| message.role != Role::System);
    let fields = Fields::new()
        .with("model", Some(ask.model.as_str()))
        .with("instructions", said::system(ask))
        .with("input", Some(said.flat_map(inputs).collect::<Vec<_>>()))
        .with(
            "tools",
            said::list(&ask.tools, |spec| tool(spec, ask.written_in)),
        )
        .with("tool_choice", ask.choice.as_ref().map(choice))
        .with("max_output_tokens", ask.max_tokens)
        .with("temperature", ask.temperature.clone().map(Value::Number))
        .with("top_p", ask.top_p.clone().map(Value::Number))
        .with("text", ask.shape.as_ref().map(shape))
        .with("stream", ask.stream.then_some(true))
        .with("store", Some(false));
    Ok(fields.and_extra(&ask.extra).done())
}

/// Calls of tools and their answers are items of their own here.
fn inputs(message: &Message) -> Vec<Value> {
    let (role, kind) = match message.role {
        Role::System => ("system", "input_text"),
        Role::User | Role::Tool => ("user", "input_text"),
        Role::Assistant => ("assistant", "output_text"),
    };
    let mut items = Vec::new();
    let mut parts: Vec<Value> = Vec::new();
    for part in &message.content {
        match part {
            Content::Text(text) => parts.push(json!({"type": kind, "text": text})),
            Content::ImageUrl(url) => parts.push(json!({"type": "input_image", "image_url": url})),
            Content::Image { media_type, data } => {
                let url = format!("data:{media_type};base64,{data}");
                parts.push(json!({"type": "input_image", "image_url": url}));
            }
            Content::ToolCall {
                id,
                name,
                arguments,
            } => items.push(json!({
                "type": "function_call", "call_id": id, "name": name, "arguments": arguments,
            })),
            Content::ToolResult { id, text, is_error } => items.push(json!({
                "type": "function_call_output", "call_id": id, "output": answered(text, *is_error),
            })),
            Content::Raw(value) => items.push(value.clone()),
        }
    }
    if !parts.is_empty() {
        items.insert(
            0,
            json!({"type": "message", "role": role, "content": parts}),
        );
    }
    items
}

fn tool(tool: &ToolSpec, written_in: Option<Format>) -> Value {
    // Left out here, it would be strict, which the other formats do not mean by leaving it out.
    let strict = tool
        .strict
        .or((written_in != Some(Format::Responses)).then_some(false));
    let described = !tool.description.is_empty();
    let fields = Fields::new()
        .with("type", Some("function"))
        .with("name", Some(tool.name.as_str()))
        .with(
            "description",
            described.then_some(tool.description.as_str()),
        )
        .with("parameters", Some(tool.schema.clone()))
        .with("strict", strict);
    fields.done()
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Any => "required".into(),
        ToolChoice::Named(name) => json!({"type": "function", "name": name}),
    }
}

fn shape(shape: &Shape) -> Value {
    let format = match shape {
        Shape::Json => json!({"type": "json_object"}),
        Shape::Schema {
            name,
            schema,
            strict,
        } => {
            let fields = Fields::new()
                .with("type", Some("json_schema"))
                .with("name", Some(name.as_str()))
                .with("schema", Some(schema.clone()))
                .with("strict", *strict);
            fields.done()
        }
    };
    json!({"format": format})
}

pub fn whole(value: &Value, pieces: &mut Vec<Piece>) -> Result<(), Failure> {
    if value.get("output").is_none_or(|output| !output.is_array()) {
        return Err(malformed("it has no output"));
    }
    pieces.push(started(value));
    for (index, item) in items(value, "/output").enumerate() {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        match text(item, "/type").unwrap_or_default() {
            "message" => items(item, "/content").for_each(|part| {
                pieces.extend(words(part, "/text").map(|text| Piece::Text(text.to_owned())));
                pieces.extend(annotated(part));
                pieces.extend(words(part, "/refusal").map(|text| Piece::Refusal(text.to_owned())));
            }),
            "reasoning" => {
                items(item, "/summary").for_each(|part| {
                    pieces.extend(words(part, "/text").map(|text| Piece::Thought(text.to_owned())));
                });
                pieces.push(as_it_is(item));
            }
            "function_call" => {
                pieces.push(call(item, index));
                pieces.extend(words(item, "/arguments").map(|part| Piece::Arguments {
                    index,
                    part: part.to_owned(),
                }));
            }
            _ => pieces.push(as_it_is(item)),
        }
    }
    finished(value, pieces)
}

pub fn event(value: &Value, state: &mut State, pieces: &mut Vec<Piece>) -> Result<(), Failure> {
    let Some(kind) = text(value, "/type") else {
        return Err(malformed("an event has no type"));
    };
    let index = count(value, "/output_index").unwrap_or(0);
    let delta = words(value, "/delta").map(str::to_owned);
    match kind {
        "response.created" => pieces.extend(value.get("response").map(started)),
        "response.output_text.delta" => pieces.extend(delta.map(Piece::Text)),
        "response.refusal.delta" => pieces.extend(delta.map(Piece::Refusal)),
        "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
            pieces.extend(delta.map(Piece::Thought));
        }
        "response.output_item.added" => {
            let item = value
                .get("item")
                .filter(|item| text(item, "/type") == Some("function_call"));
            if let Some(item) = item.filter(|_| state.begins(index)) {
                pieces.push(call(item, index));
            }
        }
        "response.output_item.done" => {
            let item = value.get("item").unwrap_or(&Value::Null);
            let ours = ["message", "function_call"];
            if !ours.contains(&text(item, "/type").unwrap_or_default()) {
                pieces.push(as_it_is(item));
            }
        }
        "response.content_part.done" => {
            pieces.extend(value.get("part").and_then(annotated));
        }
        "response.function_call_arguments.delta" => {
            pieces.extend(delta.map(|part| Piece::Arguments { index, part }));
        }
        "response.completed" | "response.incomplete" | "response.failed" => {
            let response = value.get("response").unwrap_or(&Value::Null);
            if kind == "response.failed" {
                return Err(refusal::inside(response).unwrap_or_else(|| refusal::unnamed(response)));
            }
            state.ended = true;
            finished(response, pieces)?;
        }
        // More kinds are added every few months.
        _ => {}
    }
    Ok(())
}

/// An item for which there is no word here: a thought that is sealed, a tool that the provider ran.
fn as_it_is(item: &Value) -> Piece {
    Piece::Block {
        format: Format::Responses,
        value: item.clone(),
    }
}

/// Where the text is from.
fn annotated(part: &Value) -> Option<Piece> {
    let annotations = part.get("annotations")?;
    annotations.as_array().filter(|all| !all.is_empty())?;
    Some(Piece::Beside {
        place: Place::Text,
        name: "annotations".to_owned(),
        value: annotations.clone(),
    })
}

fn started(response: &Value) -> Piece {
    Piece::Started {
        id: words(response, "/id").map(str::to_owned),
        model: words(response, "/model").map(str::to_owned),
    }
}

fn call(item: &Value, index: u64) -> Piece {
    Piece::ToolCall {
        index,
        id: text(item, "/call_id").unwrap_or_default().to_owned(),
        name: text(item, "/name").unwrap_or_default().to_owned(),
    }
}

pub fn counted(response: &Value) -> Option<Piece> {
    let usage = response.get("usage")?;
    let places = [
        "/input_tokens",
        "/input_tokens_details",
        "/output_tokens",
        "/output_tokens_details",
    ];
    tokens(usage, places).map(Piece::Counted)
}

fn finished(response: &Value, pieces: &mut Vec<Piece>) -> Result<(), Failure> {
    let status = text(response, "/status").unwrap_or("completed");
    if status == "failed" {
        return Err(refusal::unnamed(response));
    }
    pieces.extend(counted(response));
    let calls = items(response, "/output").any(|item| text(item, "/type") == Some("function_call"));
    let stop = match (status, text(response, "/incomplete_details/reason")) {
        ("incomplete", Some("content_filter")) => Stop::Filtered,
        ("incomplete", _) => Stop::MaxTokens,
        _ if calls => Stop::ToolCalls,
        _ => Stop::Done,
    };
    pieces.push(Piece::Stopped(stop));
    Ok(())
}
