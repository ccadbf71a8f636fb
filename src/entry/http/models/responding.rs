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
        Some(Value::Array(items)) if items.is_empty() => {
            return Err(Problem::invalid("`input` is empty: nothing is asked"));
        }
        Some(Value::Array(items)) => {
            for (index, value) in items.into_iter().enumerate() {
                messages.push(item(value, &format!("input[{index}]"))?);
            }
        }
        None => return Err(Problem::invalid("`input` is missing")),
        Some(_) => return Err(fields.wrong("input", "a text or a list of items")),
    }
    let mut extra = Map::new();
    let tools = tools(&mut fields, &mut extra)?;
    let ask = Ask {
        model,
        messages,
        tools,
        choice: choice(&mut fields, &mut extra)?,
        max_tokens: fields.count("max_output_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        stop: Vec::new(),
        shape: shape(&mut fields, &mut extra)?,
        stream: fields.switch("stream")?.unwrap_or(false),
        written_in: Some(Format::Responses),
        extra: Map::new(),
    };
    let user = fields.text("user")?;
    let metadata = fields.take("metadata");
    extra.extend(fields.rest());
    Ok(Read {
        ask: Ask { extra, ..ask },
        user,
        metadata,
    })
}

/// An item; with a word that is none of ours it goes on as it is.
fn item(value: Value, at: &str) -> Result<Message, Problem> {
    let raw = value.clone();
    let mut fields = Fields::at(value, at)?;
    let kind = fields.text("type")?.unwrap_or_else(|| "message".to_owned());
    // Names that we gave to items of an earlier answer mean nothing to a provider.
    for ours in ["id", "status"] {
        let _ = fields.take(ours);
    }
    let read = match kind.as_str() {
        "message" => message(&mut fields)?,
        "function_call" => {
            let call = Content::ToolCall {
                id: fields.needed("call_id")?,
                name: fields.needed("name")?,
                arguments: fields.text("arguments")?.unwrap_or_default(),
            };
            Some(Message::of(Role::Assistant, vec![call]))
        }
        "function_call_output" => answered(&mut fields)?,
        // Thoughts, and items of the provider's own tools.
        _ => None,
    };
    let read = read.filter(|_| fields.rest().is_empty());
    Ok(read.unwrap_or_else(|| Message::of(Role::Assistant, vec![Content::Raw(raw)])))
}

fn answered(fields: &mut Fields) -> Result<Option<Message>, Problem> {
    let id = fields.needed("call_id")?;
    let output = fields.take("output");
    let output = output.ok_or_else(|| fields.wrong("output", "there"))?;
    let Value::String(text) = output else {
        return Ok(None);
    };
    let is_error = false;
    let result = Content::ToolResult { id, text, is_error };
    Ok(Some(Message::of(Role::Tool, vec![result])))
}

fn message(fields: &mut Fields) -> Result<Option<Message>, Problem> {
    let role = match fields.needed("role")?.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return Err(fields.wrong("role", "system, developer, user or assistant")),
    };
    let at = fields.name("content");
    let content = match fields.take("content") {
        Some(Value::String(text)) => Some(vec![Content::Text(text)]),
        Some(Value::Array(parts)) => {
            let parts = parts.into_iter().enumerate();
            let parts = parts.map(|(index, value)| part(value, &format!("{at}[{index}]")));
            parts.collect::<Result<_, _>>()?
        }
        Some(_) | None => return Err(fields.wrong("content", "a text or a list of parts")),
    };
    Ok(content.map(|content| Message::of(role, content)))
}

/// A part; `None` if there is no word of ours for it.
fn part(value: Value, at: &str) -> Result<Option<Content>, Problem> {
    let mut fields = Fields::at(value, at)?;
    let read = match fields.needed("type")?.as_str() {
        // Where an earlier answer was from is told to people, not to models.
        "output_text" => {
            for told in ["annotations", "logprobs"] {
                let _ = fields.take(told);
            }
            Some(Content::Text(fields.needed("text")?))
        }
        "input_text" | "text" => Some(Content::Text(fields.needed("text")?)),
        "input_image" => {
            let close = fields.take("detail").is_some_and(|detail| detail != "auto");
            let url = fields.text("image_url")?.filter(|_| !close);
            url.map(|url| match data_url(&url) {
                Some((media_type, data)) => Content::Image { media_type, data },
                None => Content::ImageUrl(url),
            })
        }
        _ => None,
    };
    Ok(read.filter(|_| fields.rest().is_empty()))
}

/// Functions; where one is another thing, or has a word that is none of ours, all go on as they are.
fn tools(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Vec<ToolSpec>, Problem> {
    let all = fields.list("tools")?;
    let plain = all.iter().all(|tool| {
        let known = ["type", "name", "description", "parameters", "strict"];
        let mut names = tool.as_object().into_iter().flatten().map(|(name, _)| name);
        let function = tool.get("type").is_none_or(|kind| kind == "function");
        function && names.all(|name| known.contains(&name.as_str()))
    });
    if !plain {
        extra.insert("tools".to_owned(), all.into());
        return Ok(Vec::new());
    }
    let tools = all.into_iter().enumerate();
    let tools = tools.map(|(index, value)| tool(value, &format!("tools[{index}]")));
    tools.collect()
}

fn tool(value: Value, at: &str) -> Result<ToolSpec, Problem> {
    let mut fields = Fields::at(value, at)?;
    fields.needed("type")?;
    let schema = fields.take("parameters");
    Ok(ToolSpec {
        name: fields.needed("name")?,
        description: fields.text("description")?.unwrap_or_default(),
        schema: schema.unwrap_or_else(|| json!({"type": "object", "properties": {}})),
        strict: fields.switch("strict")?,
    })
}

fn choice(
    fields: &mut Fields,
    extra: &mut Map<String, Value>,
) -> Result<Option<ToolChoice>, Problem> {
    let wanted = "auto, none, required or a function";
    Ok(Some(match fields.take("tool_choice") {
        None => return Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Any,
            _ => return Err(fields.wrong("tool_choice", wanted)),
        },
        Some(value) if value.get("type").is_some_and(|kind| kind != "function") => {
            extra.insert("tool_choice".to_owned(), value);
            return Ok(None);
        }
        Some(value) => {
            let name = value.get("name").and_then(Value::as_str);
            let name = name.ok_or_else(|| fields.wrong("tool_choice", wanted))?;
            ToolChoice::Named(name.to_owned())
        }
    }))
}

fn shape(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Option<Shape>, Problem> {
    let Some(value) = fields.take("text") else {
        return Ok(None);
    };
    let raw = value.clone();
    let mut text = Fields::at(value, "text")?;
    let read = match text.object("format")? {
        None => None,
        Some(mut format) => {
            let read = match format.needed("type")?.as_str() {
                "text" => None,
                "json_object" => Some(Shape::Json),
                "json_schema" => Some(Shape::Schema {
                    name: format.needed("name")?,
                    strict: format.switch("strict")?,
                    schema: format.take("schema").unwrap_or_else(|| json!({})),
                }),
                _ => return Err(format.wrong("type", "text, json_object or json_schema")),
            };
            if !format.rest().is_empty() {
                extra.insert("text".to_owned(), raw);
                return Ok(None);
            }
            read
        }
    };
    // How much is said, and what there is no word of ours for.
    if !text.rest().is_empty() {
        extra.insert("text".to_owned(), raw);
        return Ok(None);
    }
    Ok(read)
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
