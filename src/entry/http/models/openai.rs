//! OpenAI's chat completions as callers write them and read them: a body becomes a question, and
//! pieces of an answer become a completion or its chunks.
//!
//! Top-level fields for which there is no word of ours go on to a provider of the same format; within
//! messages, what is not known is refused, since dropping it in silence would change what is meant.

use serde_json::{Map, Value, json};

use super::super::Problem;
use super::parts::{Fields, data_url, texts};
use crate::domain::ids::RequestId;
use crate::domain::requests::ask::{
    Ask, Content, Format, Message, Role, Shape, ToolChoice, ToolSpec,
};
use crate::domain::requests::piece::{Stop, Tokens};

/// A body, read.
pub struct Read {
    /// The question.
    pub ask: Ask,
    /// Usage is wanted at the end of a stream.
    pub include_usage: bool,
    /// Whom the caller asks for.
    pub user: Option<String>,
}

/// Reads a body.
pub fn read(map: Map<String, Value>) -> Result<Read, Problem> {
    let mut fields = Fields::body(map);
    let model = fields.needed("model")?;
    let stream = fields.switch("stream")?.unwrap_or(false);
    let include_usage = match fields.object("stream_options")? {
        Some(mut options) => {
            let include = options.switch("include_usage")?.unwrap_or(false);
            // Asked for less, the provider would say no less to us.
            let _ = options.take("include_obfuscation");
            options.done()?;
            include
        }
        None => false,
    };
    let max_tokens = fields.count("max_completion_tokens")?;
    let max_tokens = max_tokens.or(fields.count("max_tokens")?);
    let messages = fields.list("messages")?.into_iter().enumerate();
    let messages: Vec<Message> = messages
        .map(|(index, value)| message(value, &format!("messages[{index}]")))
        .collect::<Result<_, _>>()?;
    let tools = fields.list("tools")?.into_iter().enumerate();
    let tools: Vec<ToolSpec> = tools
        .map(|(index, value)| tool(value, &format!("tools[{index}]")))
        .collect::<Result<_, _>>()?;
    let ask = Ask {
        model,
        messages,
        tools,
        choice: choice(&mut fields)?,
        max_tokens,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        stop: texts(&mut fields, "stop")?,
        shape: shape(&mut fields)?,
        stream,
        written_in: Some(Format::OpenAi),
        extra: Map::new(),
    };
    let user = fields.text("user")?;
    Ok(Read {
        ask: Ask {
            extra: fields.rest(),
            ..ask
        },
        include_usage,
        user,
    })
}

fn message(value: Value, at: &str) -> Result<Message, Problem> {
    let mut fields = Fields::at(value, at)?;
    let role = fields.needed("role")?;
    let content = fields.take("content");
    let mut parts = contents(content, &fields.name("content"))?;
    let role = match role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => {
            let calls = fields.list("tool_calls")?.into_iter().enumerate();
            for (index, call) in calls {
                parts.push(tool_call(call, &format!("{at}.tool_calls[{index}]"))?);
            }
            Role::Assistant
        }
        "tool" => {
            let id = fields.needed("tool_call_id")?;
            let words = parts.iter().map(|part| match part {
                Content::Text(text) => Ok(text.as_str()),
                Content::ImageUrl(_)
                | Content::Image { .. }
                | Content::ToolCall { .. }
                | Content::ToolResult { .. }
                | Content::Raw(_) => Err(fields.wrong("content", "a text, or parts that are text")),
            });
            let text = words.collect::<Result<Vec<_>, _>>()?.join("\n");
            let is_error = false;
            parts = vec![Content::ToolResult { id, text, is_error }];
            Role::Tool
        }
        _ => {
            let roles = "system, developer, user, assistant or tool";
            return Err(fields.wrong("role", roles));
        }
    };
    fields.done()?;
    Ok(Message {
        role,
        content: parts,
    })
}

fn contents(content: Option<Value>, at: &str) -> Result<Vec<Content>, Problem> {
    match content {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Content::Text(text)]),
        Some(Value::Array(parts)) => {
            let parts = parts.into_iter().enumerate();
            let parts = parts.map(|(index, value)| part(value, &format!("{at}[{index}]")));
            parts.collect()
        }
        Some(_) => Err(Problem::invalid(format!(
            "`{at}` has to be a text or a list of parts"
        ))),
    }
}

fn part(value: Value, at: &str) -> Result<Content, Problem> {
    let raw = value.clone();
    let mut fields = Fields::at(value, at)?;
    let kind = fields.needed("type")?;
    match kind.as_str() {
        "text" => {
            let text = fields.needed("text")?;
            fields.done()?;
            Ok(Content::Text(text))
        }
        "image_url" => {
            let image = fields.object("image_url")?;
            let mut image = image.ok_or_else(|| fields.wrong("image_url", "there"))?;
            let url = image.needed("url")?;
            // How closely it is looked at has no word elsewhere.
            let detail = image.take("detail").filter(|detail| detail != "auto");
            image.done()?;
            fields.done()?;
            Ok(match (detail, data_url(&url)) {
                (Some(_), _) => Content::Raw(raw),
                (None, Some((media_type, data))) => Content::Image { media_type, data },
                (None, None) => Content::ImageUrl(url),
            })
        }
        _ => Ok(Content::Raw(raw)),
    }
}

fn tool_call(value: Value, at: &str) -> Result<Content, Problem> {
    let mut fields = Fields::at(value, at)?;
    let id = fields.needed("id")?;
    let kind = fields.text("type")?;
    if kind.is_some_and(|kind| kind != "function") {
        return Err(fields.wrong("type", "function"));
    }
    let function = fields.object("function")?;
    let mut function = function.ok_or_else(|| fields.wrong("function", "there"))?;
    let name = function.needed("name")?;
    let arguments = function.text("arguments")?.unwrap_or_default();
    function.done()?;
    // Some packages write where the call stood among its fellows.
    let _ = fields.take("index");
    fields.done()?;
    Ok(Content::ToolCall {
        id,
        name,
        arguments,
    })
}

fn tool(value: Value, at: &str) -> Result<ToolSpec, Problem> {
    let mut fields = Fields::at(value, at)?;
    let kind = fields.needed("type")?;
    if kind != "function" {
        return Err(fields.wrong("type", "function"));
    }
    let function = fields.object("function")?;
    let mut function = function.ok_or_else(|| fields.wrong("function", "there"))?;
    let name = function.needed("name")?;
    let description = function.text("description")?.unwrap_or_default();
    let schema = function.take("parameters");
    let schema = schema.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    // Whether the schema is held to exactly is a provider's own affair.
    let _ = function.switch("strict")?;
    function.done()?;
    fields.done()?;
    Ok(ToolSpec {
        name,
        description,
        schema,
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
            let name = value.pointer("/function/name").and_then(Value::as_str);
            let name = name.ok_or_else(|| fields.wrong("tool_choice", wanted))?;
            ToolChoice::Named(name.to_owned())
        }
    }))
}

fn shape(fields: &mut Fields) -> Result<Option<Shape>, Problem> {
    let Some(mut format) = fields.object("response_format")? else {
        return Ok(None);
    };
    let kind = format.needed("type")?;
    match kind.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Shape::Json)),
        "json_schema" => {
            let schema = format.object("json_schema")?;
            let mut schema = schema.ok_or_else(|| format.wrong("json_schema", "there"))?;
            Ok(Some(Shape::Schema {
                name: schema.needed("name")?,
                schema: schema.take("schema").unwrap_or_else(|| json!({})),
            }))
        }
        _ => Err(format.wrong("type", "text, json_object or json_schema")),
    }
}

/// What all parts of one answer have in common.
pub struct Envelope {
    /// The request.
    pub id: RequestId,
    /// Seconds since the epoch.
    pub created: i64,
    /// The model that answers.
    pub model: String,
}

impl Envelope {
    fn wrap(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": format!("chatcmpl-{}", self.id), "object": object,
            "created": self.created, "model": self.model, "choices": choices,
        })
    }

    /// A completion.
    pub fn completion(&self, message: Value, stop: Option<Stop>, tokens: &Tokens) -> Value {
        let choice = json!({
            "index": 0, "message": message, "logprobs": null, "finish_reason": finish(stop),
        });
        let mut completion = self.wrap("chat.completion", json!([choice]));
        completion["usage"] = usage(tokens);
        completion
    }

    /// A chunk.
    pub fn chunk(&self, delta: Value, finish_reason: Value) -> Value {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
        self.wrap("chat.completion.chunk", json!([choice]))
    }

    /// The chunk that has the figures and no choice.
    pub fn figures(&self, tokens: &Tokens, cost_usd: &str) -> Value {
        let mut chunk = self.wrap("chat.completion.chunk", json!([]));
        chunk["usage"] = usage(tokens);
        chunk["hundi"] = json!({"cost_usd": cost_usd, "request_id": self.id});
        chunk
    }
}

/// Why it ended.
pub fn finish(stop: Option<Stop>) -> &'static str {
    match stop {
        Some(Stop::MaxTokens) => "length",
        Some(Stop::ToolCalls) => "tool_calls",
        Some(Stop::Filtered) => "content_filter",
        Some(Stop::Done | Stop::Sequence | Stop::Refused | Stop::Paused) | None => "stop",
    }
}

/// Figures, where counts of the prompt include what a cache had.
pub fn usage(tokens: &Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.read(),
        "completion_tokens": tokens.written(),
        "total_tokens": tokens.read().saturating_add(tokens.written()),
        "prompt_tokens_details": {"cached_tokens": tokens.cached_input},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
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
            "model": "m", "stream": true, "seed": 7, "max_completion_tokens": 5, "stop": "x",
            "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [
                    {"type": "text", "text": "what is this"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ]},
                {"role": "assistant", "content": null, "refusal": null, "annotations": [],
                 "tool_calls": [{"id": "c1", "type": "function",
                                 "function": {"name": "look", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
            ],
            "tools": [{"type": "function", "function": {"name": "look", "strict": true}}],
            "tool_choice": {"type": "function", "function": {"name": "look"}},
        });
        let ask = ask(body).unwrap();
        let roles: Vec<Role> = ask.messages.iter().map(|message| message.role).collect();
        assert_eq!(
            roles,
            [Role::System, Role::User, Role::Assistant, Role::Tool]
        );
        assert_eq!(ask.max_tokens, Some(5));
        assert_eq!(ask.choice, Some(ToolChoice::Named("look".to_owned())));
        assert_eq!(ask.extra.keys().collect::<Vec<_>>(), ["seed"]);
        let image = Content::Image {
            media_type: "image/png".to_owned(),
            data: "AAAA".to_owned(),
        };
        assert!(ask.messages[1].content.contains(&image));
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_wrong_is_told_by_its_place() {
        let user = json!({"role": "user", "content": "hi"});
        for (body, place) in [
            (json!({"messages": [user]}),                                                 "`model`"),
            (json!({"model": "m", "messages": [{"role": "user", "content": 7}]}),         "`messages[0].content`"),
            (json!({"model": "m", "messages": [{"role": "boss", "content": "x"}]}),       "`messages[0].role`"),
            (json!({"model": "m", "messages": [{"role": "user", "content": "x", "nmae": "y"}]}), "`messages[0].nmae`"),
            (json!({"model": "m", "messages": [user], "max_tokens": 0}),                  "`max_tokens`"),
            (json!({"model": "m", "messages": [user], "stream": "yes"}),                  "`stream`"),
            (json!({"model": "m", "messages": [user], "tools": [{"type": "search"}]}),    "`tools[0].type`"),
            (json!({"model": "m", "messages": user}),                                     "`messages`"),
        ] {
            let told = match ask(body) {
                Err(Problem::Trouble(trouble)) => trouble.to_string(),
                _ => String::new(),
            };
            assert!(told.contains(place), "{place}: {told}");
        }
    }
}
