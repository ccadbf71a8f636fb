//! Anthropic's messages as callers write them: a body becomes a question. Blocks for which there is no
//! word of ours (thoughts, documents, marks for a cache) go on as they are to a provider of the same
//! format and are refused in any other.

use serde_json::{Map, Value, json};

use super::super::Problem;
use super::parts::{Fields, texts};
use crate::domain::requests::ask::{Ask, Content, Format, Message, Role, ToolChoice, ToolSpec};
use crate::domain::requests::piece::{Stop, Tokens};

/// A body, read.
pub struct Read {
    /// The question.
    pub ask: Ask,
    /// Whom the caller asks for.
    pub user: Option<String>,
}

/// Reads a body.
pub fn read(map: Map<String, Value>) -> Result<Read, Problem> {
    let mut fields = Fields::body(map);
    let model = fields.needed("model")?;
    let most = fields.count("max_tokens")?;
    let max_tokens = most.ok_or_else(|| Problem::invalid("`max_tokens` is missing"))?;
    let stream = fields.switch("stream")?.unwrap_or(false);
    let mut extra = Map::new();
    let mut messages = Vec::new();
    system(&mut fields, &mut messages, &mut extra)?;
    for (index, value) in fields.list("messages")?.into_iter().enumerate() {
        messages.push(message(value, &format!("messages[{index}]"))?);
    }
    let tools = tools(&mut fields, &mut extra)?;
    let choice = choice(&mut fields, &mut extra)?;
    let user = user(&mut fields)?;
    let ask = Ask {
        model,
        messages,
        tools,
        choice,
        max_tokens: Some(max_tokens),
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        stop: texts(&mut fields, "stop_sequences")?,
        shape: None,
        stream,
        written_in: Some(Format::Anthropic),
        extra: Map::new(),
    };
    extra.extend(fields.rest());
    Ok(Read {
        ask: Ask { extra, ..ask },
        user,
    })
}

/// Plain words of the system are a message; blocks that are more go on as they are.
fn system(
    fields: &mut Fields,
    messages: &mut Vec<Message>,
    extra: &mut Map<String, Value>,
) -> Result<(), Problem> {
    let Some(value) = fields.take("system") else {
        return Ok(());
    };
    let content = contents(value.clone(), "system")?;
    let plain = content.iter().all(|part| matches!(part, Content::Text(_)));
    if plain {
        messages.push(Message::of(Role::System, content));
    } else {
        extra.insert("system".to_owned(), value);
    }
    Ok(())
}

fn message(value: Value, at: &str) -> Result<Message, Problem> {
    let mut fields = Fields::at(value, at)?;
    let role = match fields.needed("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(fields.wrong("role", "user or assistant")),
    };
    let content = fields.take("content");
    let content = content.ok_or_else(|| fields.wrong("content", "there"))?;
    let content = contents(content, &fields.name("content"))?;
    Ok(Message {
        role,
        content,
        extra: fields.rest(),
    })
}

fn contents(content: Value, at: &str) -> Result<Vec<Content>, Problem> {
    match content {
        Value::String(text) => Ok(vec![Content::Text(text)]),
        Value::Array(blocks) => {
            let blocks = blocks.into_iter().enumerate();
            let blocks = blocks.map(|(index, value)| block(value, &format!("{at}[{index}]")));
            blocks.collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(
            Problem::invalid(format!("`{at}` has to be a text or a list of blocks")),
        ),
    }
}

fn block(value: Value, at: &str) -> Result<Content, Problem> {
    let raw = value.clone();
    let mut fields = Fields::at(value, at)?;
    let kind = fields.needed("type")?;
    let read = match kind.as_str() {
        "text" => Some(Content::Text(fields.needed("text")?)),
        "image" => image(&mut fields)?,
        "tool_use" => Some(Content::ToolCall {
            id: fields.needed("id")?,
            name: fields.needed("name")?,
            arguments: fields
                .take("input")
                .unwrap_or_else(|| json!({}))
                .to_string(),
        }),
        "tool_result" => tool_result(&mut fields)?,
        _ => None,
    };
    // With a word that is none of ours, the block goes on as it is.
    match read {
        Some(content) if fields.rest().is_empty() => Ok(content),
        Some(_) | None => Ok(Content::Raw(raw)),
    }
}

fn image(fields: &mut Fields) -> Result<Option<Content>, Problem> {
    let source = fields.object("source")?;
    let mut source = source.ok_or_else(|| fields.wrong("source", "there"))?;
    Ok(match source.needed("type")?.as_str() {
        "base64" => Some(Content::Image {
            media_type: source.needed("media_type")?,
            data: source.needed("data")?,
        }),
        "url" => Some(Content::ImageUrl(source.needed("url")?)),
        _ => None,
    })
}

fn tool_result(fields: &mut Fields) -> Result<Option<Content>, Problem> {
    let id = fields.needed("tool_use_id")?;
    let is_error = fields.switch("is_error")?.unwrap_or(false);
    let at = fields.name("content");
    let parts = match fields.take("content") {
        None => Vec::new(),
        Some(content) => contents(content, &at)?,
    };
    let mut texts = Vec::new();
    for part in parts {
        match part {
            Content::Text(text) => texts.push(text),
            Content::ImageUrl(_)
            | Content::Image { .. }
            | Content::ToolCall { .. }
            | Content::ToolResult { .. }
            | Content::Raw(_) => return Ok(None),
        }
    }
    let text = texts.join("\n");
    Ok(Some(Content::ToolResult { id, text, is_error }))
}

/// Tools of the caller; those that the provider has itself go on as they are, and then all of them.
fn tools(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Vec<ToolSpec>, Problem> {
    let all = fields.list("tools")?;
    let plain = all.iter().all(|tool| {
        let known = ["name", "description", "input_schema", "type", "strict"];
        let ours = tool
            .as_object()
            .is_some_and(|map| map.keys().all(|key| known.contains(&key.as_str())));
        ours && tool.get("type").is_none_or(|kind| kind == "custom")
    });
    if !plain {
        extra.insert("tools".to_owned(), Value::Array(all));
        return Ok(Vec::new());
    }
    let tools = all.into_iter().enumerate();
    let tools = tools.map(|(index, value)| {
        let mut tool = Fields::at(value, &format!("tools[{index}]"))?;
        let schema = tool.take("input_schema");
        Ok(ToolSpec {
            name: tool.needed("name")?,
            description: tool.text("description")?.unwrap_or_default(),
            schema: schema.ok_or_else(|| tool.wrong("input_schema", "there"))?,
            strict: tool.switch("strict")?,
        })
    });
    tools.collect()
}

fn choice(
    fields: &mut Fields,
    extra: &mut Map<String, Value>,
) -> Result<Option<ToolChoice>, Problem> {
    let Some(value) = fields.take("tool_choice") else {
        return Ok(None);
    };
    let raw = value.clone();
    let mut choice = Fields::at(value, "tool_choice")?;
    let read = match choice.needed("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Any,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.needed("name")?),
        _ => return Err(choice.wrong("type", "auto, any, tool or none")),
    };
    if choice.rest().is_empty() {
        return Ok(Some(read));
    }
    extra.insert("tool_choice".to_owned(), raw);
    Ok(None)
}

/// `metadata.user_id` is the caller's word for whom he asks.
fn user(fields: &mut Fields) -> Result<Option<String>, Problem> {
    let Some(mut metadata) = fields.object("metadata")? else {
        return Ok(None);
    };
    let user = metadata.text("user_id")?;
    metadata.done()?;
    Ok(user)
}

/// Why it ended.
pub fn stop_reason(stop: Option<Stop>) -> &'static str {
    match stop {
        Some(Stop::MaxTokens) => "max_tokens",
        Some(Stop::ToolCalls) => "tool_use",
        Some(Stop::Sequence) => "stop_sequence",
        Some(Stop::Filtered | Stop::Refused) => "refusal",
        Some(Stop::Paused) => "pause_turn",
        Some(Stop::Done) | None => "end_turn",
    }
}

/// Figures, where counts of the input leave out what a cache had.
pub fn usage(tokens: &Tokens) -> Value {
    json!({
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cached_input,
        "output_tokens": tokens.written(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: Value) -> Result<Ask, Problem> {
        let Value::Object(map) = body else {
            return Err(Problem::invalid("no object"));
        };
        read(map).map(|read| read.ask)
    }

    #[test]
    fn what_packages_write_is_read() {
        let body = json!({
            "model": "m", "max_tokens": 5, "system": "be brief", "top_k": 3,
            "metadata": {"user_id": "u"},
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "x"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a cat"}]},
                ]},
            ],
            "tools": [{"name": "look", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any"},
        });
        let ask = ask(body).unwrap();
        assert_eq!(ask.messages.len(), 4);
        assert_eq!(ask.choice, Some(ToolChoice::Any));
        assert_eq!(ask.extra.keys().collect::<Vec<_>>(), ["top_k"]);
        let result = Content::ToolResult {
            id: "t1".to_owned(),
            text: "a cat".to_owned(),
            is_error: false,
        };
        assert!(ask.messages[3].content == [result]);
    }

    #[test]
    fn a_block_with_more_than_our_words_goes_on_as_it_is() {
        let marked = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
        let body = json!({
            "model": "m", "max_tokens": 5, "system": [marked],
            "messages": [{"role": "user", "content": [marked]}],
        });
        let ask = ask(body).unwrap();
        assert!(ask.messages[0].content == [Content::Raw(marked)]);
        assert!(ask.extra.contains_key("system"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        assert!(matches!(
            ask(body),
            Err(Problem::Trouble(trouble)) if trouble.to_string().contains("`max_tokens`")
        ));
    }
}
