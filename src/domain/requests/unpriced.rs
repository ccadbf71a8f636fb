//! What is asked for besides tokens, or changes what a token costs: a faster tier, a search that the
//! provider makes and charges for each time, audio, a longer cache. No price list tells it, so a
//! question that has it has no known price, whatever its tokens cost.
//!
//! Only what is passed on in a provider's own words is looked at; for the rest there is a word of ours,
//! which costs tokens and nothing else. What is not known to cost anything passes: what such a field
//! costs all the same shows in what the provider reports.

use serde_json::Value;

use super::ask::{Ask, Content};

/// Fields that hire something of the provider's, or leave the choice of the model to it.
const HIRES: [&str; 25] = [
    "audio",
    "compound_custom",
    "container",
    "enable_search",
    "extra_body",
    "fallbacks",
    "inference_geo",
    "mcp_servers",
    "models",
    "plugins",
    "prediction",
    "preset",
    "prompt",
    "provider",
    "route",
    "search_context_size",
    "search_mode",
    "search_options",
    "search_parameters",
    "search_settings",
    "web_search",
    "web_search_options",
    "return_images",
    "return_related_questions",
    "web_fetch_options",
];
/// Tiers and speeds at which a token costs what the list says, or less.
const USUAL: [&str; 6] = [
    "auto",
    "default",
    "standard",
    "standard_only",
    "flex",
    "on_demand",
];
/// Parts of messages that are counted in tokens of another price.
const DEAR_PARTS: [&str; 5] = [
    "input_audio",
    "audio",
    "video_url",
    "input_video",
    "container_upload",
];
/// Tools that their caller runs, and no provider does.
const RUN_BY_CALLERS: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];
/// Longest name of a type that is repeated, in characters.
const MAX_NAME: usize = 60;
/// How deep a mark for a cache is looked for.
const DEPTH: usize = 8;

/// The first thing that no price list tells, by where it is.
pub fn beside(ask: &Ask) -> Option<String> {
    let field = ask
        .extra
        .iter()
        .find_map(|(name, value)| in_field(name, value));
    let in_messages = || {
        let mut extra = ask.messages.iter().flat_map(|message| &message.extra);
        // What a model said aloud is named when it is answered, and costs its tokens.
        extra.find_map(|(name, value)| long_kept(name, value))
    };
    field.or_else(in_messages).or_else(|| {
        let parts = ask.messages.iter().flat_map(|message| &message.content);
        let mut raw = parts.filter_map(|part| match part {
            Content::Raw(value) => Some(value),
            Content::Text(_)
            | Content::ImageUrl(_)
            | Content::Image { .. }
            | Content::ToolCall { .. }
            | Content::ToolResult { .. } => None,
        });
        raw.find_map(in_part)
    })
}

fn in_field(name: &str, value: &Value) -> Option<String> {
    let told = || Some(format!("`{name}`"));
    let text = value.as_str().unwrap_or_default();
    match name {
        "service_tier" | "speed" if !USUAL.contains(&text) => told(),
        "modalities" if !is_all(value, "text") => told(),
        "tools" => hosted(value).or_else(|| long_kept(name, value)),
        _ if HIRES.contains(&name) && !is_off(value) => told(),
        _ => long_kept(name, value),
    }
}

/// Said so that nothing is asked for.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Array(items) => items.is_empty(),
        Value::Number(_) | Value::String(_) | Value::Object(_) => false,
    }
}

fn is_all(value: &Value, word: &str) -> bool {
    let items = value.as_array();
    items.is_some_and(|items| items.iter().all(|item| item == word))
}

/// A tool that the provider runs.
fn hosted(tools: &Value) -> Option<String> {
    let mut tools = tools.as_array().into_iter().flatten().enumerate();
    tools.find_map(|(index, tool)| {
        let kind = tool.get("type").map(|kind| kind.as_str().unwrap_or("?"));
        let kind = kind.filter(|kind| !matches!(*kind, "function" | "custom"))?;
        let by_callers = RUN_BY_CALLERS.iter().any(|begin| kind.starts_with(begin));
        (!by_callers).then(|| format!("`tools[{index}]` of the type `{}`", short(kind)))
    })
}

fn in_part(part: &Value) -> Option<String> {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    let dear = DEAR_PARTS.contains(&kind);
    let told = dear.then(|| format!("a part of the type `{}`", short(kind)));
    told.or_else(|| long_kept("messages", part))
}

/// A mark that something is to be cached for longer than the price of writing to a cache is for.
fn long_kept(name: &str, value: &Value) -> Option<String> {
    let long = marks(value, DEPTH);
    long.then(|| format!("`cache_control.ttl` in `{name}`"))
}

fn marks(value: &Value, depth: usize) -> bool {
    let Some(deeper) = depth.checked_sub(1) else {
        return false;
    };
    match value {
        Value::Array(items) => items.iter().any(|item| marks(item, deeper)),
        Value::Object(map) => {
            let ttl = map.get("cache_control").and_then(|mark| mark.get("ttl"));
            let long = ttl.is_some_and(|ttl| !ttl.is_null() && ttl != "5m");
            long || map.values().any(|value| marks(value, deeper))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn short(text: &str) -> String {
    let text: String = text.chars().take(MAX_NAME).collect();
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::requests::ask::{Message, Role};

    #[test]
    #[rustfmt::skip]
    fn what_costs_besides_tokens_is_named() {
        for (field, value, told) in [
            ("service_tier",       json!("priority"),              Some("`service_tier`")),
            ("service_tier",       json!(7),                       Some("`service_tier`")),
            ("service_tier",       json!("auto"),                  None),
            ("service_tier",       json!("flex"),                  None),
            ("speed",              json!("fast"),                  Some("`speed`")),
            ("web_search_options", json!({}),                      Some("`web_search_options`")),
            ("models",             json!(["a", "b"]),              Some("`models`")),
            ("plugins",            json!([]),                      None),
            ("modalities",         json!(["text"]),                None),
            ("modalities",         json!(["text", "audio"]),       Some("`modalities`")),
            ("tools",              json!([{"type": "web_search_20250305", "name": "web_search"}]), Some("`tools[0]` of the type `web_search_20250305`")),
            ("tools",              json!([{"name": "f"}, {"type": "custom"}, {"type": "bash_20250124"}]), None),
            ("tools",              json!([{"name": "f", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]), Some("`cache_control.ttl` in `tools`")),
            ("system",             json!([{"type": "text", "cache_control": {"type": "ephemeral"}}]), None),
            ("seed",               json!(7),                       None),
            ("reasoning_effort",   json!("high"),                  None),
        ] {
            let mut ask = Ask::default();
            ask.extra.insert(field.to_owned(), value.clone());
            assert_eq!(beside(&ask).as_deref(), told, "{field} {value}");
        }
        let part = json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}});
        let content = vec![Content::Raw(part)];
        let ask = Ask { messages: vec![Message::of(Role::User, content)], ..Ask::default() };
        assert_eq!(beside(&ask).as_deref(), Some("a part of the type `input_audio`"));
    }
}
