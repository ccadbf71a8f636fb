//! Anthropic's messages. The last event is `message_stop`; unknown events are passed over, as its
//! documentation demands. Its count of the input leaves out what a cache had, and counts in later
//! events are totals that replace the earlier ones.

use serde_json::{Value, json};

use super::said::{self, Fields, count, items, text, words};
use super::{State, malformed};
use crate::connector::Malformed;
use crate::domain::requests::ask::{Ask, Content, Format, Message, Role, ToolChoice, ToolSpec};
use crate::domain::requests::failure::Failure;
use crate::domain::requests::piece::{Piece, Place, Stop};

/// The format demands a most; this is it where nobody said one.
pub const MAX_TOKENS: u64 = 4_096;

pub fn body(ask: &Ask) -> Result<Value, Malformed> {
    if ask.shape.is_some() {
        return Err(Malformed(
            "`response_format` cannot be said in the format `anthropic`".to_owned(),
        ));
    }
    let said = ask
        .messages
        .iter()
        .filter(|message| message.role != Role::System);
    let said: Vec<Value> = said.map(message).collect::<Result<_, _>>()?;
    if said.is_empty() {
        return Err(Malformed(
            "`messages` has nothing but words of the system: nothing is asked".to_owned(),
        ));
    }
    let fields = Fields::new()
        .with("model", Some(ask.model.as_str()))
        .with("system", said::system(ask))
        .with("messages", Some(said))
        .with("max_tokens", Some(ask.max_tokens.unwrap_or(MAX_TOKENS)))
        .with("tools", said::list(&ask.tools, tool))
        .with("tool_choice", ask.choice.as_ref().map(choice))
        .with("temperature", ask.temperature.clone().map(Value::Number))
        .with("top_p", ask.top_p.clone().map(Value::Number))
        .with(
            "stop_sequences",
            said::list(&ask.stop, |stop| stop.as_str().into()),
        )
        .with("stream", ask.stream.then_some(true));
    Ok(fields.and_extra(&ask.extra).done())
}

fn message(message: &Message) -> Result<Value, Malformed> {
    let role = match message.role {
        Role::Assistant => "assistant",
        Role::System | Role::User | Role::Tool => "user",
    };
    let content: Vec<Value> = message.content.iter().map(part).collect::<Result<_, _>>()?;
    let fields = Fields::new()
        .with("role", Some(role))
        .with("content", Some(content));
    Ok(fields.and_extra(&message.extra).done())
}

fn part(part: &Content) -> Result<Value, Malformed> {
    Ok(match part {
        Content::Text(text) => json!({"type": "text", "text": text}),
        Content::ImageUrl(url) => {
            json!({"type": "image", "source": {"type": "url", "url": url}})
        }
        Content::Image { media_type, data } => {
            let source = json!({"type": "base64", "media_type": media_type, "data": data});
            json!({"type": "image", "source": source})
        }
        Content::ToolCall {
            id,
            name,
            arguments,
        } => {
            let input = said::arguments(arguments)?;
            json!({"type": "tool_use", "id": id, "name": name, "input": input})
        }
        Content::ToolResult { id, text, is_error } => json!({
            "type": "tool_result", "tool_use_id": id, "content": text, "is_error": is_error,
        }),
        Content::Raw(value) => value.clone(),
    })
}

fn tool(tool: &ToolSpec) -> Value {
    let described = !tool.description.is_empty();
    let fields = Fields::new()
        .with("name", Some(tool.name.as_str()))
        .with(
            "description",
            described.then_some(tool.description.as_str()),
        )
        .with("input_schema", Some(tool.schema.clone()))
        .with("strict", tool.strict);
    fields.done()
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Any => json!({"type": "any"}),
        ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
    }
}

pub fn whole(value: &Value, state: &mut State, pieces: &mut Vec<Piece>) -> Result<(), Failure> {
    if value
        .get("content")
        .is_none_or(|content| !content.is_array())
    {
        return Err(malformed("it has no content"));
    }
    pieces.push(started(value));
    for (index, block) in items(value, "/content").enumerate() {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        begun(block, index, state, pieces);
        if let Some(input) = block
            .get("input")
            .filter(|_| text(block, "/type") == Some("tool_use"))
        {
            let part = input.to_string();
            pieces.push(Piece::Arguments { index, part });
        }
    }
    counted(value, state, pieces);
    pieces.extend(sequence(value, "/stop_sequence"));
    pieces.extend(stopped(value, "/stop_reason"));
    Ok(())
}

pub fn event(value: &Value, state: &mut State, pieces: &mut Vec<Piece>) -> Result<(), Failure> {
    let Some(kind) = text(value, "/type") else {
        return Err(malformed("an event has no type"));
    };
    let index = count(value, "/index").unwrap_or(0);
    match kind {
        "message_start" => {
            let message = value.get("message").unwrap_or(&Value::Null);
            pieces.push(started(message));
            counted(message, state, pieces);
        }
        "content_block_start" => {
            if let Some(block) = value.get("content_block") {
                begun(block, index, state, pieces);
            }
        }
        "content_block_delta" => pieces.extend(delta(value, index, state)),
        "message_delta" => {
            counted(value, state, pieces);
            pieces.extend(sequence(value, "/delta/stop_sequence"));
            pieces.extend(stopped(value, "/delta/stop_reason"));
        }
        "message_stop" => state.ended = true,
        _ => {}
    }
    Ok(())
}

fn started(message: &Value) -> Piece {
    Piece::Started {
        id: words(message, "/id").map(str::to_owned),
        model: words(message, "/model").map(str::to_owned),
    }
}

/// Fields of a block of text that have words here.
const IN_TEXTS: &[&str] = &["type", "text"];

fn begun(block: &Value, index: u64, state: &mut State, pieces: &mut Vec<Piece>) {
    let kind = text(block, "/type").unwrap_or_default();
    state.raw = !matches!(kind, "text" | "thinking" | "tool_use");
    match kind {
        "text" => {
            pieces.push(Piece::Part);
            pieces.extend(words(block, "/text").map(|text| Piece::Text(text.to_owned())));
            let others = said::others(Some(block), IN_TEXTS);
            pieces.extend(others.map(|(name, value)| Piece::Beside {
                place: Place::Block,
                name: name.clone(),
                value: value.clone(),
            }));
        }
        "thinking" => {
            pieces.push(Piece::Part);
            pieces.extend(words(block, "/thinking").map(|text| Piece::Thought(text.to_owned())));
            pieces.extend(words(block, "/signature").map(|text| Piece::Signature(text.to_owned())));
        }
        "tool_use" => pieces.push(Piece::ToolCall {
            index,
            id: text(block, "/id").unwrap_or_default().to_owned(),
            name: text(block, "/name").unwrap_or_default().to_owned(),
        }),
        _ => pieces.push(Piece::Block {
            format: Format::Anthropic,
            value: block.clone(),
        }),
    }
}

fn delta(value: &Value, index: u64, state: &State) -> Option<Piece> {
    let told = |field: &str| words(value, &format!("/delta/{field}")).map(str::to_owned);
    let as_it_is = || value.get("delta").cloned().map(Piece::More);
    if state.raw {
        return as_it_is();
    }
    match text(value, "/delta/type").unwrap_or_default() {
        "text_delta" => told("text").map(Piece::Text),
        "thinking_delta" => told("thinking").map(Piece::Thought),
        "signature_delta" => told("signature").map(Piece::Signature),
        "input_json_delta" => told("partial_json").map(|part| Piece::Arguments { index, part }),
        _ => as_it_is(),
    }
}

fn sequence(value: &Value, at: &str) -> Option<Piece> {
    words(value, at).map(|text| Piece::Sequence(text.to_owned()))
}

/// What an answer reports to have used.
pub fn reported(value: &Value) -> Option<Piece> {
    let (mut state, mut pieces) = (State::default(), Vec::new());
    counted(value, &mut state, &mut pieces);
    pieces.pop()
}

/// What is told takes the place of what was, field by field: a later event may leave out the input.
fn counted(value: &Value, state: &mut State, pieces: &mut Vec<Piece>) {
    let Some(usage) = value.get("usage").filter(|usage| usage.is_object()) else {
        return;
    };
    let mut tokens = state.tokens.unwrap_or_default();
    for (field, place) in [
        ("/input_tokens", &mut tokens.input),
        ("/cache_read_input_tokens", &mut tokens.cached_input),
        ("/cache_creation_input_tokens", &mut tokens.cache_write),
        ("/output_tokens", &mut tokens.output),
    ] {
        if let Some(told) = count(usage, field) {
            *place = told;
        }
    }
    state.tokens = Some(tokens);
    pieces.push(Piece::Counted(tokens));
}

fn stopped(value: &Value, at: &str) -> Option<Piece> {
    let stop = match words(value, at)? {
        "max_tokens" | "model_context_window_exceeded" => Stop::MaxTokens,
        "stop_sequence" => Stop::Sequence,
        "tool_use" => Stop::ToolCalls,
        "refusal" => Stop::Refused,
        "pause_turn" => Stop::Paused,
        _ => Stop::Done,
    };
    Some(Piece::Stopped(stop))
}
