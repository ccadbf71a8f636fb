//! How many tokens a question may be, before anybody has counted them: for estimates and
//! reservations, and for what a cut stream is charged. What a provider reports takes their place.
//!
//! No tokenizer is exact for every model, so this counts bytes and errs upwards.

use serde_json::Value;

use super::ask::{Ask, Content};
use super::piece::Tokens;

/// Bytes of text that are a token at least: English has four, code and Indian scripts fewer.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens around each message, for its role and its ends.
const PER_MESSAGE: u64 = 8;
/// Tokens of a picture: what the large ones are scaled down to.
const PER_IMAGE: u64 = 1_600;
/// Tokens of an answer for which nobody named a most.
pub const USUAL_OUTPUT: u64 = 4_096;

/// Tokens of a text.
pub fn text(text: &str) -> u64 {
    bytes(text.len())
}

/// Tokens of so many bytes of text.
pub fn bytes(len: usize) -> u64 {
    u64::try_from(len)
        .unwrap_or(u64::MAX)
        .div_ceil(BYTES_PER_TOKEN)
}

/// Tokens that a provider will read.
pub fn input(ask: &Ask) -> u64 {
    let said = ask.messages.iter().map(|message| {
        let parts = message.content.iter().map(part);
        let parts = parts.chain(message.extra.values().map(document));
        parts.fold(PER_MESSAGE, u64::saturating_add)
    });
    let tools = ask.tools.iter().map(|tool| {
        let schema = document(&tool.schema);
        (text(&tool.name) + text(&tool.description)).saturating_add(schema + PER_MESSAGE)
    });
    let extra = ask.extra.values().map(document);
    said.chain(tools)
        .chain(extra)
        .fold(0, u64::saturating_add)
        .max(1)
}

/// Tokens that it may write at most.
pub fn output(ask: &Ask) -> u64 {
    ask.max_tokens.unwrap_or(USUAL_OUTPUT)
}

/// Bytes for a token at most, on average over a long text: prose has four or five, and tool arguments
/// in which letters are escaped (`\u0627`) up to a dozen, of which the half that is let through besides
/// makes room.
const MOST_BYTES_PER_TOKEN: usize = 8;
/// Tokens of an answer that nobody bounded, after which it is taken to have no end.
const ENDLESS: u64 = 65_536;
/// Most tokens of one kind that a report is believed for: a dozen times the largest context.
const BELIEVED: u64 = 1 << 27;

/// Bytes of an answer after which it is stopped: half as much again as was asked for, by tokens that
/// are as long as tokens are. A provider that writes more does not heed what it was asked.
pub fn most_bytes(ask: &Ask) -> usize {
    let most = ask.max_tokens.unwrap_or(ENDLESS);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    most.saturating_add(most / 2)
        .saturating_add(64)
        .saturating_mul(MOST_BYTES_PER_TOKEN)
}

/// Whether a provider's report can be true at all.
pub fn is_believable(told: &Tokens) -> bool {
    let kinds = [
        told.input,
        told.cached_input,
        told.cache_write,
        told.output,
        told.reasoning,
    ];
    kinds.iter().all(|count| *count <= BELIEVED)
}

fn part(content: &Content) -> u64 {
    match content {
        Content::Text(said) => text(said),
        Content::ImageUrl(_) | Content::Image { .. } => PER_IMAGE,
        Content::ToolCall {
            id,
            name,
            arguments,
        } => bytes(id.len() + name.len() + arguments.len()),
        Content::ToolResult { id, text, .. } => bytes(id.len() + text.len()),
        Content::Raw(value) => document(value),
    }
}

fn document(value: &Value) -> u64 {
    text(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::requests::ask::{Message, Role};

    #[test]
    fn more_said_is_more_counted_and_a_picture_is_not_its_base64() {
        let ask = |content: Vec<Content>| Ask {
            messages: vec![Message::of(Role::User, content)],
            ..Ask::default()
        };
        let short = input(&ask(vec![Content::Text("hello".to_owned())]));
        let long = input(&ask(vec![Content::Text("hello ".repeat(100))]));
        assert!(short >= 2 && long >= 200, "{short} {long}");
        let picture = Content::Image {
            media_type: "image/png".to_owned(),
            data: "A".repeat(1 << 20),
        };
        assert_eq!(input(&ask(vec![picture])), PER_IMAGE + PER_MESSAGE);
        assert_eq!(input(&Ask::default()), 1);
    }
}
