//! OpenAI's responses as callers write them: a body becomes a question. Nothing is stored for a later
//! response, so what refers to an earlier one is refused.

use serde_json::{Map, Value, json};

use super::super::Problem;
use super::parts::{Fields, data_url};
use crate::domain::requests::ask::{
    Ask, Content, Format, Message, Role, Shape, ToolChoice, ToolSpec,
};
use crate::domain::requests::piece::Tokens;

/// A body, read.
pub struct Read {
    /// The question.
    pub ask: Ask,
    /// Whom the caller asks for.
    pub user: Option<String>,
    /// What the caller wants to find again with it.
    pub metadata: Option<Value>,
}

/// Reads a body.
pub fn read(map: Map<String, Value>) -> Result<Read, Problem> {
    let mut fields = Fields::body(map);
    let model = fields.needed("model")?;
    for field in ["previous_response_id", "conversation", "background"] {
        if fields.take(field).is_some_and(|value| value != false) {
            return Err(Problem::invalid(format!(
                "`{field}` is not known here: nothing is kept for a later response; send what was said, or use `POST /v1/requests`"
            )));
        }
    }
    // Nothing is stored at the provider, whatever is asked.
    let _ = fields.switch("store")?;
    let mut messages = Vec::new();
    if let Some(text) = fields.text("instructions")? {
        messages.push(Message::text(Role::System, text));
    }
    match fields.take("input") {
        Some(Value::String(text)) => messages.push(Message::text(Role::User, text)),
        Some(Value::Array(items)) => {
            for (index, value) in items.into_iter().enumerate() {
                messages.push(item(value, &format!("input[{index}]"))?);
            }
        }
        None => return Err(Problem::invalid("`input` is missing")),
        Some(_) => return Err(fields.wrong("input", "a text or a list of items")),
    }
    let tools = fields.list("tools")?.into_iter().enumerate();
    let tools: Vec<ToolSpec> = tools
        .map(|(index, value)| tool(value, &format!("tools[{index}]")))
        .collect::<Result<_, _>>()?;
    let ask = Ask {
        model,
        messages,
        tools,
        choice: choice(&mut fields)?,
        max_tokens: fields.count("max_output_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        stop: Vec::new(),
        shape: shape(&mut fields)?,
        stream: fields.switch("stream")?.unwrap_or(false),
        written_in: Some(Format::Responses),
        extra: Map::new(),
    };
    let user = fields.text("user")?;
    let metadata = fields.take("metadata");
    Ok(Read {
        ask: Ask {
            extra: fields.rest(),
            ..ask
        },
        user,
        metadata,
    })
}

fn item(value: Value, at: &str) -> Result<Message, Problem> {
    let raw = value.clone();
    let mut fields = Fields::at(value, at)?;
    let kind = fields.text("type")?.unwrap_or_else(|| "message".to_owned());
    let assistant = |part: Content| Message {
        role: Role::Assistant,
        content: vec![part],
    };
    match kind.as_str() {
        "message" => message(fields),
        "function_call" => Ok(assistant(Content::ToolCall {
            id: fields.needed("call_id")?,
            name: fields.needed("name")?,
            arguments: fields.text("arguments")?.unwrap_or_default(),
        })),
        "function_call_output" => {
            let id = fields.needed("call_id")?;
            let text = fields.needed("output")?;
            let is_error = false;
            Ok(Message {
                role: Role::Tool,
                content: vec![Content::ToolResult { id, text, is_error }],
            })
        }
        // Thoughts, and items of the provider's own tools.
        _ => Ok(assistant(Content::Raw(raw))),
    }
}

fn message(mut fields: Fields) -> Result<Message, Problem> {
    let role = match fields.needed("role")?.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return Err(fields.wrong("role", "system, developer, user or assistant")),
    };
    let at = fields.name("content");
    let content = match fields.take("content") {
        Some(Value::String(text)) => vec![Content::Text(text)],
        Some(Value::Array(parts)) => {
            let parts = parts.into_iter().enumerate();
            let parts = parts.map(|(index, value)| part(value, &format!("{at}[{index}]")));
            parts.collect::<Result<_, _>>()?
        }
        Some(_) | None => return Err(fields.wrong("content", "a text or a list of parts")),
    };
    Ok(Message { role, content })
}

fn part(value: Value, at: &str) -> Result<Content, Problem> {
    let raw = value.clone();
    let mut fields = Fields::at(value, at)?;
    match fields.needed("type")?.as_str() {
        "input_text" | "output_text" | "text" => Ok(Content::Text(fields.needed("text")?)),
        "input_image" => match fields.text("image_url")? {
            Some(url) => Ok(match data_url(&url) {
                Some((media_type, data)) => Content::Image { media_type, data },
                None => Content::ImageUrl(url),
            }),
            None => Ok(Content::Raw(raw)),
        },
        _ => Ok(Content::Raw(raw)),
    }
}

fn tool(value: Value, at: &str) -> Result<ToolSpec, Problem> {
    let mut fields = Fields::at(value, at)?;
    if fields.needed("type")? != "function" {
        return Err(fields.wrong("type", "function"));
    }
    let name = fields.needed("name")?;
    let description = fields.text("description")?.unwrap_or_default();
    let schema = fields.take("parameters");
    let _ = fields.switch("strict")?;
    fields.done()?;
    Ok(ToolSpec {
        name,
        description,
        schema: schema.unwrap_or_else(|| json!({"type": "object", "properties": {}})),
    })
}

fn choice(fields: &mut Fields) -> Result<Option<ToolChoice>, Problem> {
    let wanted = "auto, none, required or a function";
    Ok(Some(match fields.take("tool_choice") {
        None => return Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Any,
            _ => return Err(fields.wrong("tool_choice", wanted)),
        },
        Some(value) => {
            let name = value.get("name").and_then(Value::as_str);
            let name = name.ok_or_else(|| fields.wrong("tool_choice", wanted))?;
            ToolChoice::Named(name.to_owned())
        }
    }))
}

fn shape(fields: &mut Fields) -> Result<Option<Shape>, Problem> {
    let Some(mut text) = fields.object("text")? else {
        return Ok(None);
    };
    let Some(mut format) = text.object("format")? else {
        return Ok(None);
    };
    match format.needed("type")?.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Shape::Json)),
        "json_schema" => Ok(Some(Shape::Schema {
            name: format.needed("name")?,
            schema: format.take("schema").unwrap_or_else(|| json!({})),
        })),
        _ => Err(format.wrong("type", "text, json_object or json_schema")),
    }
}

/// Figures, where counts of the input include what a cache had.
pub fn usage(tokens: &Tokens) -> Value {
    json!({
        "input_tokens": tokens.read(),
        "input_tokens_details": {"cached_tokens": tokens.cached_input},
        "output_tokens": tokens.written(),
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.read().saturating_add(tokens.written()),
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
            "model": "m", "instructions": "be brief", "store": true,
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "a cat"},
            ],
            "tools": [{"type": "function", "name": "look", "parameters": {}, "strict": true}],
        });
        let ask = ask(body).unwrap();
        let roles: Vec<Role> = ask.messages.iter().map(|message| message.role).collect();
        assert_eq!(
            roles,
            [Role::System, Role::User, Role::Assistant, Role::Tool]
        );
        assert!(ask.extra.is_empty());
    }

    #[test]
    fn what_refers_to_an_earlier_response_is_refused() {
        let body = json!({"model": "m", "input": "hi", "previous_response_id": "r"});
        assert!(ask(body).is_err());
        assert!(ask(json!({"model": "m"})).is_err());
        assert!(ask(json!({"model": "m", "input": "hi", "previous_response_id": null})).is_ok());
    }
}
