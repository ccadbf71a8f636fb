//! Ollama's chat: a line of JSON for each piece, of which the one with `"done": true` is the last and
//! has the counts. An answer that came whole is such a line.

use serde_json::{Value, json};

use super::said::{self, Fields, count, items, text, words};
use super::{State, malformed, openai};
use crate::connector::Malformed;
use crate::domain::requests::ask::{Ask, Content, Message, Role, Shape, ToolChoice};
use crate::domain::requests::failure::Failure;
use crate::domain::requests::piece::{Piece, Stop, Tokens};

pub fn body(ask: &Ask) -> Result<Value, Malformed> {
    let tools = match &ask.choice {
        Some(ToolChoice::None) => None,
        Some(ToolChoice::Any | ToolChoice::Named(_)) => {
            return Err(Malformed(
                "`tool_choice` cannot be said in the format `ollama`".to_owned(),
            ));
        }
        Some(ToolChoice::Auto) | None => said::list(&ask.tools, openai::tool),
    };
    let messages: Vec<Vec<Value>> = ask
        .messages
        .iter()
        .map(messages)
        .collect::<Result<_, _>>()?;
    let options = Fields::new()
        .with("num_predict", ask.max_tokens)
        .with("temperature", ask.temperature.clone().map(Value::Number))
        .with("top_p", ask.top_p.clone().map(Value::Number))
        .with("stop", said::list(&ask.stop, |stop| stop.as_str().into()));
    let fields = Fields::new()
        .with("model", Some(ask.model.as_str()))
        .with("messages", Some(messages.concat()))
        .with("tools", tools)
        .with("format", ask.shape.as_ref().map(shape))
        .with("options", options.some())
        // Left out, it would come in pieces.
        .with("stream", Some(ask.stream));
    Ok(fields.and_extra(&ask.extra).done())
}

fn messages(message: &Message) -> Result<Vec<Value>, Malformed> {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let (mut told, mut images, mut calls): (Vec<Value>, Vec<Value>, Vec<Value>) =
        Default::default();
    for part in &message.content {
        match part {
            // A part in Ollama's own words would be none of its messages.
            Content::Text(_) | Content::Raw(_) => {}
            Content::Image { data, .. } => images.push(data.as_str().into()),
            Content::ImageUrl(_) => {
                return Err(Malformed(
                    "a picture at an address cannot be said in the format `ollama`".to_owned(),
                ));
            }
            Content::ToolCall {
                name, arguments, ..
            } => {
                let arguments = said::arguments(arguments)?;
                calls.push(json!({"function": {"name": name, "arguments": arguments}}));
            }
            Content::ToolResult { text, is_error, .. } => {
                let text = openai::answered(text, *is_error);
                told.push(json!({"role": "tool", "content": text}));
            }
        }
    }
    let words = said::plain(message);
    if !words.is_empty() || !images.is_empty() || !calls.is_empty() {
        let fields = Fields::new()
            .with("role", Some(role))
            .with("content", Some(words))
            .with("images", (!images.is_empty()).then_some(images))
            .with("tool_calls", (!calls.is_empty()).then_some(calls));
        told.push(fields.done());
    }
    Ok(told)
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Json => "json".into(),
        Shape::Schema { schema, .. } => schema.clone(),
    }
}

pub fn event(value: &Value, state: &mut State, pieces: &mut Vec<Piece>) -> Result<(), Failure> {
    if !value.get("message").is_some_and(Value::is_object) && value.get("done").is_none() {
        return Err(malformed("a line has no message"));
    }
    if state.begins(u64::MAX) {
        pieces.push(Piece::Started {
            id: None,
            model: words(value, "/model").map(str::to_owned),
        });
    }
    pieces.extend(words(value, "/message/thinking").map(|text| Piece::Thought(text.to_owned())));
    pieces.extend(words(value, "/message/content").map(|text| Piece::Text(text.to_owned())));
    let known = u64::try_from(state.calls.len()).unwrap_or(u64::MAX) - 1;
    for (index, call) in (known..).zip(items(value, "/message/tool_calls")) {
        state.begins(index);
        let id = words(call, "/id").map_or_else(|| format!("call_{index}"), str::to_owned);
        let name = text(call, "/function/name").unwrap_or_default().to_owned();
        pieces.push(Piece::ToolCall { index, id, name });
        let part = call
            .pointer("/function/arguments")
            .map_or_else(|| "{}".to_owned(), Value::to_string);
        pieces.push(Piece::Arguments { index, part });
    }
    if value.get("done").and_then(Value::as_bool) == Some(true) {
        state.ended = true;
        pieces.extend(counted(value).map(Piece::Counted));
        pieces.push(Piece::Stopped(stopped(value, known, state)));
    }
    Ok(())
}

pub fn counted(value: &Value) -> Option<Tokens> {
    let (read, written) = (
        count(value, "/prompt_eval_count"),
        count(value, "/eval_count"),
    );
    if read.is_none() && written.is_none() {
        return None;
    }
    let read = read.unwrap_or(0);
    let cached_input = count(value, "/prompt_eval_cached_count")
        .unwrap_or(0)
        .min(read);
    Some(Tokens {
        input: read - cached_input,
        cached_input,
        output: written.unwrap_or(0),
        ..Tokens::default()
    })
}

fn stopped(value: &Value, known: u64, state: &State) -> Stop {
    let called = known > 0 || state.calls.len() > 1;
    match text(value, "/done_reason") {
        Some("length") => Stop::MaxTokens,
        Some(_) | None if called => Stop::ToolCalls,
        Some(_) | None => Stop::Done,
    }
}
