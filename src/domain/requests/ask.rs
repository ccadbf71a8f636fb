//! What is asked of a model, in no provider's words.
//!
//! Nothing here shows itself in `Debug`: what people say to a model is theirs. The stored form is
//! sealed before it is stored.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

/// A way to talk to models.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// OpenAI's chat completions, which most providers speak.
    #[default]
    #[serde(rename = "openai")]
    OpenAi,
    /// OpenAI's responses.
    #[serde(rename = "openai_responses")]
    Responses,
    /// Anthropic's messages.
    Anthropic,
    /// Ollama's chat.
    Ollama,
}

impl Format {
    /// Every one.
    pub const ALL: [Self; 4] = [
        Format::OpenAi,
        Format::Responses,
        Format::Anthropic,
        Format::Ollama,
    ];

    /// Reads its one spelling.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Its one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Format::OpenAi => "openai",
            Format::Responses => "openai_responses",
            Format::Anthropic => "anthropic",
            Format::Ollama => "ollama",
        }
    }
}

/// One question, with everything said before it.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ask {
    /// The model, as its provider calls it.
    pub model: String,
    /// What was said, in order. Words of the system may stand anywhere; formats that have one place
    /// for them get them there.
    pub messages: Vec<Message>,
    /// Tools the model may ask for.
    pub tools: Vec<ToolSpec>,
    /// Whether it has to.
    pub choice: Option<ToolChoice>,
    /// Most tokens of an answer.
    pub max_tokens: Option<u64>,
    /// How freely it is to answer, as it was written.
    pub temperature: Option<Number>,
    /// Share of likely words to choose from, as it was written.
    pub top_p: Option<Number>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// The shape of the answer.
    pub shape: Option<Shape>,
    /// Whether it comes in pieces.
    pub stream: bool,
    /// The format it was written in, if a caller wrote it in one.
    pub written_in: Option<Format>,
    /// Fields for which there is no word here. They are passed on in the format they were written in
    /// and refused in any other, since what is dropped in silence was meant.
    pub extra: Map<String, Value>,
}

impl Ask {
    /// Whether nothing is said in it: there is no message, or none with a word or another part.
    pub fn is_silent(&self) -> bool {
        let mut parts = self.messages.iter().flat_map(|message| &message.content);
        parts.all(|part| match part {
            Content::Text(text) => text.trim().is_empty(),
            Content::ImageUrl(_)
            | Content::Image { .. }
            | Content::ToolCall { .. }
            | Content::ToolResult { .. }
            | Content::Raw(_) => false,
        })
    }
}

/// Who says something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whoever set the model up.
    System,
    /// Whoever asks.
    #[default]
    User,
    /// The model.
    Assistant,
    /// A tool that the model asked for.
    Tool,
}

/// Something that was said.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Message {
    /// By whom.
    pub role: Role,
    /// In parts.
    pub content: Vec<Content>,
    /// Fields for which there is no word here, as [`Ask::extra`].
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Message {
    /// Plain words.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self::of(role, vec![Content::Text(text.into())])
    }

    /// These parts.
    pub fn of(role: Role, content: Vec<Content>) -> Self {
        Self {
            role,
            content,
            extra: Map::new(),
        }
    }
}

/// A part of a message.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Words.
    Text(String),
    /// A picture at an address.
    ImageUrl(String),
    /// A picture itself.
    Image {
        /// `image/png` and such.
        media_type: String,
        /// Its bytes in base64.
        data: String,
    },
    /// The model asked for a tool.
    ToolCall {
        /// Its name for this call.
        id: String,
        /// The tool.
        name: String,
        /// The arguments, as the text that the model wrote.
        arguments: String,
    },
    /// What the tool answered.
    ToolResult {
        /// The call that is answered.
        id: String,
        /// The answer.
        text: String,
        /// Whether it is a failure.
        is_error: bool,
    },
    /// A part for which there is no word here, as it was written. It is passed on in the format it was
    /// written in and refused in any other.
    Raw(Value),
}

/// A tool.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON schema of its arguments.
    pub schema: Value,
    /// Whether the arguments are held to it exactly, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// Whether a tool is asked for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// As the model likes.
    Auto,
    /// Never.
    None,
    /// One or the other.
    Any,
    /// This one.
    Named(String),
}

/// The shape of an answer.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Any JSON.
    Json,
    /// JSON of this schema.
    Schema {
        /// Its name.
        name: String,
        /// The schema.
        schema: Value,
        /// Whether the answer is held to it exactly, where that was said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("model", &self.model)
            .field("messages", &self.messages.len())
            .field("tools", &self.tools.len())
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {} parts", self.role, self.content.len())
    }
}

impl fmt::Debug for Embed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embed")
            .field("model", &self.model)
            .field("texts", &self.texts.len())
            .finish_non_exhaustive()
    }
}

/// What is asked that is no conversation.
#[derive(Clone, PartialEq, Debug)]
pub enum Other {
    /// Texts to be turned into vectors.
    Embed(Embed),
    /// Documents to be put in order.
    Rank(Rank),
}

impl Other {
    /// The same, of the model that its provider calls so.
    pub fn of(&self, model: &str) -> Self {
        let model = model.to_owned();
        match self.clone() {
            Other::Embed(embed) => Other::Embed(Embed { model, ..embed }),
            Other::Rank(rank) => Other::Rank(Rank { model, ..rank }),
        }
    }
}

impl fmt::Debug for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rank")
            .field("model", &self.model)
            .field("documents", &self.documents.len())
            .finish_non_exhaustive()
    }
}

/// Texts to be turned into vectors.
#[derive(Clone, PartialEq, Default)]
pub struct Embed {
    /// The model, as its provider calls it.
    pub model: String,
    /// The texts.
    pub texts: Vec<String>,
    /// How long the vectors are to be, where the model can be told.
    pub dimensions: Option<u64>,
}

/// Documents to be put in order by how well they answer a question.
#[derive(Clone, PartialEq, Default)]
pub struct Rank {
    /// The model, as its provider calls it.
    pub model: String,
    /// The question.
    pub query: String,
    /// The documents.
    pub documents: Vec<String>,
    /// How many of the best are wanted.
    pub top: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_not_in_debug() {
        let ask = Ask {
            messages: vec![Message::text(Role::User, "canary")],
            ..Ask::default()
        };
        assert!(!format!("{ask:?} {:?}", ask.messages).contains("canary"));
    }
}
