//! OpenAI's chat completions as callers write them and read them: a body becomes a question, and
//! pieces of an answer become a completion or its chunks.
//!
//! Fields for which there is no word of ours go on to a provider of the same format and are refused in
//! any other, since dropping them in silence would change what is meant.

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
    let mut extra = Map::new();
    let tools = tools(&mut fields, &mut extra)?;
    let ask = Ask {
        model,
        messages,
        tools,
        choice: choice(&mut fields, &mut extra)?,
        max_tokens,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        stop: texts(&mut fields, "stop")?,
        shape: shape(&mut fields, &mut extra)?,
        stream,
        written_in: Some(Format::OpenAi),
        extra: Map::new(),
    };
    let user = fields.text("user")?;
    extra.extend(fields.rest());
    Ok(Read {
        ask: Ask { extra, ..ask },
        include_usage,
        user,
    })
}

fn message(value: Value, at: &str) -> Result<Message, Problem> {
    let mut fields = Fields::at(value, at)?;
    let role = fields.needed("role")?;
    let content = fields.take("content");
    // A model that asked for tools has often said nothing besides.
    if content.is_none() && role != "assistant" {
        let name = fields.name("content");
        return Err(Problem::invalid(format!("`{name}` is missing")));
    }
    let mut parts = contents(content, &fields.name("content"))?;
    let mut extra = Map::new();
    let role = match role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => {
            let calls = fields.list("tool_calls")?;
            if calls.iter().all(is_function) {
                for (index, call) in calls.into_iter().enumerate() {
                    parts.push(tool_call(call, &format!("{at}.tool_calls[{index}]"))?);
                }
            } else {
                extra.insert("tool_calls".to_owned(), calls.into());
            }
            Role::Assistant
        }
        // An older word for a tool.
        "function" => {
            extra.insert("role".to_owned(), role.into());
            Role::Tool
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
    extra.extend(fields.rest());
    Ok(Message {
        role,
        content: parts,
        extra,
    })
}

/// Whether a call, or a tool, is one of a function; all others go on as they are.
fn is_function(value: &Value) -> bool {
    value.get("type").is_none_or(|kind| kind == "function")
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
            Ok(match fields.rest().is_empty() {
                true => Content::Text(text),
                false => Content::Raw(raw),
            })
        }
        "image_url" => {
            let image = fields.object("image_url")?;
            let mut image = image.ok_or_else(|| fields.wrong("image_url", "there"))?;
            let url = image.needed("url")?;
            // How closely it is looked at has no word elsewhere.
            let detail = image.take("detail").filter(|detail| detail != "auto");
            let more = detail.is_some() || !image.rest().is_empty() || !fields.rest().is_empty();
            Ok(match (more, data_url(&url)) {
                (true, _) => Content::Raw(raw),
                (false, Some((media_type, data))) => Content::Image { media_type, data },
                (false, None) => Content::ImageUrl(url),
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

/// Tools that are functions; where one is another thing, or has a word that is none of ours, all of
/// them go on as they are.
fn tools(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Vec<ToolSpec>, Problem> {
    let all = fields.list("tools")?;
    if !all.iter().all(is_plain) {
        extra.insert("tools".to_owned(), all.into());
        return Ok(Vec::new());
    }
    let tools = all.into_iter().enumerate();
    let tools = tools.map(|(index, value)| tool(value, &format!("tools[{index}]")));
    tools.collect()
}

fn is_plain(tool: &Value) -> bool {
    let only = |value: Option<&Value>, known: &[&str]| {
        let fields = value.and_then(Value::as_object).into_iter().flatten();
        fields
            .into_iter()
            .all(|(name, _)| known.contains(&name.as_str()))
    };
    let known = ["name", "description", "parameters", "strict"];
    // What has no type is told so.
    is_function(tool)
        && only(Some(tool), &["type", "function"])
        && only(tool.get("function"), &known)
}

fn tool(value: Value, at: &str) -> Result<ToolSpec, Problem> {
    let mut fields = Fields::at(value, at)?;
    fields.needed("type")?;
    let function = fields.object("function")?;
    let mut function = function.ok_or_else(|| fields.wrong("function", "there"))?;
    let schema = function.take("parameters");
    Ok(ToolSpec {
        name: function.needed("name")?,
        description: function.text("description")?.unwrap_or_default(),
        schema: schema.unwrap_or_else(|| json!({"type": "object", "properties": {}})),
        strict: function.switch("strict")?,
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
        Some(value) if value.is_object() && !is_function(&value) => {
            extra.insert("tool_choice".to_owned(), value);
            return Ok(None);
        }
        Some(value) => {
            let name = value.pointer("/function/name").and_then(Value::as_str);
            let name = name.ok_or_else(|| fields.wrong("tool_choice", wanted))?;
            ToolChoice::Named(name.to_owned())
        }
    }))
}

fn shape(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Option<Shape>, Problem> {
    let Some(value) = fields.take("response_format") else {
        return Ok(None);
    };
    let raw = value.clone();
    let mut format = Fields::at(value, "response_format")?;
    let read = match format.needed("type")?.as_str() {
        "text" => return Ok(None),
        "json_object" => Some(Shape::Json),
        "json_schema" => {
            let schema = format.object("json_schema")?;
            let mut schema = schema.ok_or_else(|| format.wrong("json_schema", "there"))?;
            let shape = Shape::Schema {
                name: schema.needed("name")?,
                strict: schema.switch("strict")?,
                schema: schema.take("schema").unwrap_or_else(|| json!({})),
            };
            schema.rest().is_empty().then_some(shape)
        }
        _ => None,
    };
    // With a word that is none of ours, it goes on as it is.
    if read.is_none() || !format.rest().is_empty() {
        extra.insert("response_format".to_owned(), raw);
        return Ok(None);
    }
    Ok(read)
}

/// What all parts of one answer have in common.
pub struct Envelope {
    /// The request.
    pub id: RequestId,
    /// Seconds since the epoch.
    pub created: i64,
    /// The model that answers.
    pub model: String,
    /// What the provider tells of the whole answer besides.
    pub beside: Map<String, Value>,
}

impl Envelope {
    fn wrap(&self, object: &str, choices: Value) -> Value {
        let mut wrapped = json!({
            "id": format!("chatcmpl-{}", self.id), "object": object,
            "created": self.created, "model": self.model, "choices": choices,
        });
        join(&mut wrapped, &self.beside);
        wrapped
    }

    /// A completion.
    pub fn completion(
        &self,
        message: Value,
        of_choice: &Map<String, Value>,
        stop: Option<Stop>,
        tokens: &Tokens,
    ) -> Value {
        let mut choice = json!({"index": 0, "message": message, "finish_reason": finish(stop)});
        join(&mut choice, of_choice);
        join(
            &mut choice,
            &Map::from_iter([("logprobs".to_owned(), Value::Null)]),
        );
        let mut completion = self.wrap("chat.completion", json!([choice]));
        completion["usage"] = usage(tokens);
        completion
    }

    /// A chunk.
    pub fn chunk(&self, delta: Value, finish_reason: Value) -> Value {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
        self.wrap("chat.completion.chunk", json!([choice]))
    }

    /// A chunk that has a field of the choice and no words.
    pub fn beside(&self, name: String, value: Value) -> Value {
        let mut choice = json!({"index": 0, "delta": {}, "finish_reason": null});
        join(&mut choice, &Map::from_iter([(name, value)]));
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

/// Adds fields, of which none takes the place of one that is there.
pub fn join(value: &mut Value, more: &Map<String, Value>) {
    if let Some(fields) = value.as_object_mut() {
        for (name, value) in more {
            fields.entry(name.clone()).or_insert_with(|| value.clone());
        }
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
            (json!({"model": "m", "messages": [user], "max_tokens": 0}),                  "`max_tokens`"),
            (json!({"model": "m", "messages": [user], "stream": "yes"}),                  "`stream`"),
            (json!({"model": "m", "messages": [user], "tools": [{"function": {}}]}),      "`tools[0].type`"),
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
