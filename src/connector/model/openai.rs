//! OpenAI's chat completions, which three dozen providers speak in dialects.
//!
//! The last event is `[DONE]`. Usage is asked for, and comes in a chunk without choices, or in the
//! last one, or not at all. Counts of the prompt include what a cache had; here each token is counted
//! once.

use serde_json::{Map, Value, json};

use super::said::{self, Fields, count, items, text, words};
use super::{Manner, State, malformed};
use crate::connector::Malformed;
use crate::domain::requests::ask::{Ask, Content, Message, Role, Shape, ToolChoice, ToolSpec};
use crate::domain::requests::failure::Failure;
use crate::domain::requests::piece::{Piece, Place, Stop, Tokens};

pub fn body(ask: &Ask, manner: Manner) -> Result<Value, Malformed> {
    let most = match manner.completion_tokens {
        true => "max_completion_tokens",
        false => "max_tokens",
    };
    let fields = Fields::new()
        .with("model", Some(ask.model.as_str()))
        .with(
            "messages",
            Some(ask.messages.iter().flat_map(messages).collect::<Vec<_>>()),
        )
        .with("tools", said::list(&ask.tools, tool))
        .with("tool_choice", ask.choice.as_ref().map(choice))
        .with(most, ask.max_tokens)
        .with("temperature", ask.temperature.clone().map(Value::Number))
        .with("top_p", ask.top_p.clone().map(Value::Number))
        .with("stop", said::list(&ask.stop, |stop| stop.as_str().into()))
        .with("response_format", ask.shape.as_ref().map(shape))
        .with("stream", ask.stream.then_some(true))
        .with(
            "stream_options",
            ask.stream.then(|| json!({"include_usage": true})),
        );
    Ok(fields.and_extra(&ask.extra).done())
}

/// Each answer of a tool is a message of its own here.
fn messages(message: &Message) -> Vec<Value> {
    let mut told: Vec<Value> = Vec::new();
    for part in &message.content {
        if let Content::ToolResult { id, text, is_error } = part {
            let fields = Fields::new()
                .with("role", Some("tool"))
                .with("tool_call_id", Some(id.as_str()))
                .with("content", Some(answered(text, *is_error)))
                .and_extra(&message.extra);
            told.push(fields.done());
        }
    }
    let calls: Vec<Value> = message.content.iter().filter_map(call).collect();
    let parts: Vec<Value> = message.content.iter().filter_map(part).collect();
    let alone = message.extra.is_empty() || !told.is_empty();
    if parts.is_empty() && calls.is_empty() && alone {
        return told;
    }
    let role = match message.role {
        Role::System => "system",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    // An older word for a tool's answer.
    let role = text_of(&message.extra, "role").unwrap_or(role);
    let only_text = message.content.iter().all(|part| match part {
        Content::Text(_) | Content::ToolCall { .. } | Content::ToolResult { .. } => true,
        Content::ImageUrl(_) | Content::Image { .. } | Content::Raw(_) => false,
    });
    let content = match (parts.is_empty(), only_text) {
        (true, _) => Value::Null,
        (false, true) => said::plain(message).into(),
        (false, false) => parts.into(),
    };
    let fields = Fields::new()
        .with("role", Some(role))
        .with("content", Some(content))
        .with("tool_calls", (!calls.is_empty()).then_some(calls))
        .and_extra(&message.extra);
    told.push(fields.done());
    told
}

fn text_of<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

/// A tool's answer. That it is a failure has no word of its own here, so it is said in front.
pub fn answered(text: &str, is_error: bool) -> String {
    match is_error {
        true => format!("Error: {text}"),
        false => text.to_owned(),
    }
}

fn part(part: &Content) -> Option<Value> {
    match part {
        Content::Text(text) => Some(json!({"type": "text", "text": text})),
        Content::ImageUrl(url) => Some(json!({"type": "image_url", "image_url": {"url": url}})),
        Content::Image { media_type, data } => {
            let url = format!("data:{media_type};base64,{data}");
            Some(json!({"type": "image_url", "image_url": {"url": url}}))
        }
        Content::Raw(value) => Some(value.clone()),
        Content::ToolCall { .. } | Content::ToolResult { .. } => None,
    }
}

fn call(part: &Content) -> Option<Value> {
    let Content::ToolCall {
        id,
        name,
        arguments,
    } = part
    else {
        return None;
    };
    let function = json!({"name": name, "arguments": arguments});
    Some(json!({"id": id, "type": "function", "function": function}))
}

pub fn tool(tool: &ToolSpec) -> Value {
    let described = !tool.description.is_empty();
    let function = Fields::new()
        .with("name", Some(tool.name.as_str()))
        .with(
            "description",
            described.then_some(tool.description.as_str()),
        )
        .with("parameters", Some(tool.schema.clone()))
        .with("strict", tool.strict);
    json!({"type": "function", "function": function.done()})
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Any => "required".into(),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Json => json!({"type": "json_object"}),
        Shape::Schema {
            name,
            schema,
            strict,
        } => {
            let schema = Fields::new()
                .with("name", Some(name.as_str()))
                .with("schema", Some(schema.clone()))
                .with("strict", *strict);
            json!({"type": "json_schema", "json_schema": schema.done()})
        }
    }
}

pub fn whole(value: &Value, state: &mut State, pieces: &mut Vec<Piece>) -> Result<(), Failure> {
    let Some(choice) = items(value, "/choices").next() else {
        return Err(malformed("it has no choices"));
    };
    pieces.push(started(value));
    beside(value, state, pieces);
    said_in(choice, "/message", pieces);
    for (index, call) in items(choice, "/message/tool_calls").enumerate() {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        pieces.push(Piece::ToolCall {
            index,
            id: text(call, "/id").unwrap_or_default().to_owned(),
            name: text(call, "/function/name").unwrap_or_default().to_owned(),
        });
        pieces.push(Piece::Arguments {
            index,
            part: text(call, "/function/arguments")
                .unwrap_or_default()
                .to_owned(),
        });
    }
    pieces.extend(counted(value));
    pieces.extend(stopped(choice));
    Ok(())
}

pub fn event(value: &Value, state: &mut State, pieces: &mut Vec<Piece>) -> Result<(), Failure> {
    if !value.is_object() {
        return Err(malformed("an event is no object"));
    }
    if state.begins(STARTED) {
        pieces.push(started(value));
    }
    beside(value, state, pieces);
    // Only the first answer is asked for.
    for choice in
        items(value, "/choices").filter(|choice| count(choice, "/index").unwrap_or(0) == 0)
    {
        said_in(choice, "/delta", pieces);
        for (place, call) in items(choice, "/delta/tool_calls").enumerate() {
            let place = u64::try_from(place).unwrap_or(u64::MAX);
            called(call, count(call, "/index").unwrap_or(place), state, pieces);
        }
        pieces.extend(stopped(choice));
    }
    pieces.extend(counted(value));
    Ok(())
}

/// A number that no tool call has, for the start.
const STARTED: u64 = u64::MAX;

fn started(value: &Value) -> Piece {
    Piece::Started {
        id: words(value, "/id").map(str::to_owned),
        model: words(value, "/model").map(str::to_owned),
    }
}

fn said_in(choice: &Value, at: &str, pieces: &mut Vec<Piece>) {
    let told = |field: &str| words(choice, &format!("{at}/{field}")).map(str::to_owned);
    let thought = told("reasoning_content").or_else(|| told("reasoning"));
    pieces.extend(thought.map(Piece::Thought));
    pieces.extend(told("content").map(Piece::Text));
    // Some send the parts of a message where others send its text.
    let parts = items(choice, &format!("{at}/content")).filter_map(|part| words(part, "/text"));
    pieces.extend(parts.map(|text| Piece::Text(text.to_owned())));
    pieces.extend(told("refusal").map(Piece::Refusal));
    for (place, value, known) in [
        (Place::Message, choice.pointer(at), IN_MESSAGES),
        (Place::Choice, Some(choice), IN_CHOICES),
    ] {
        let others = said::others(value, known);
        pieces.extend(others.map(|(name, value)| Piece::Beside {
            place,
            name: name.clone(),
            value: value.clone(),
        }));
    }
}

/// Fields for which there are words here, or none are needed.
const IN_ANSWERS: &[&str] = &[
    "id",
    "object",
    "created",
    "model",
    "choices",
    "usage",
    "error",
    "obfuscation",
    "x_groq",
];
const IN_CHOICES: &[&str] = &["index", "message", "delta", "finish_reason"];
const IN_MESSAGES: &[&str] = &[
    "role",
    "content",
    "refusal",
    "reasoning",
    "reasoning_content",
    "tool_calls",
];

/// What is told of the whole answer, once as long as it stays the same.
fn beside(value: &Value, state: &mut State, pieces: &mut Vec<Piece>) {
    for (name, value) in said::others(Some(value), IN_ANSWERS) {
        if state.beside.get(name) != Some(value) {
            state.beside.insert(name.clone(), value.clone());
            pieces.push(Piece::Beside {
                place: Place::Answer,
                name: name.clone(),
                value: value.clone(),
            });
        }
    }
}

fn called(call: &Value, index: u64, state: &mut State, pieces: &mut Vec<Piece>) {
    let name = words(call, "/function/name");
    if let Some(name) = name.filter(|_| state.begins(index)) {
        pieces.push(Piece::ToolCall {
            index,
            id: text(call, "/id").unwrap_or_default().to_owned(),
            name: name.to_owned(),
        });
    }
    pieces.extend(
        words(call, "/function/arguments").map(|part| Piece::Arguments {
            index,
            part: part.to_owned(),
        }),
    );
}

pub fn counted(value: &Value) -> Option<Piece> {
    let usage = ["/usage", "/x_groq/usage"];
    let usage = usage
        .iter()
        .find_map(|at| value.pointer(at).filter(|usage| usage.is_object()))?;
    tokens(
        usage,
        [
            "/prompt_tokens",
            "/prompt_tokens_details",
            "/completion_tokens",
            "/completion_tokens_details",
        ],
    )
    .map(Piece::Counted)
}

/// Counts of OpenAI's two formats. What is part of a whole cannot be more than it.
pub fn tokens(usage: &Value, [input, read, output, written]: [&str; 4]) -> Option<Tokens> {
    let all_read = count(usage, input);
    let all_written = count(usage, output);
    if all_read.is_none() && all_written.is_none() {
        return None;
    }
    let (all_read, all_written) = (all_read.unwrap_or(0), all_written.unwrap_or(0));
    let part = |at: &str, name: &str| count(usage, &format!("{at}/{name}")).unwrap_or(0);
    let cached_input = part(read, "cached_tokens").min(all_read);
    let cache_write = part(read, "cache_write_tokens").min(all_read - cached_input);
    let reasoning = part(written, "reasoning_tokens").min(all_written);
    Some(Tokens {
        input: all_read - cached_input - cache_write,
        cached_input,
        cache_write,
        output: all_written - reasoning,
        reasoning,
    })
}

fn stopped(choice: &Value) -> Option<Piece> {
    let stop = match words(choice, "/finish_reason")? {
        "length" => Stop::MaxTokens,
        "tool_calls" | "function_call" => Stop::ToolCalls,
        "content_filter" => Stop::Filtered,
        _ => Stop::Done,
    };
    Some(Piece::Stopped(stop))
}
