//! What comes back, piece by piece. An answer that came whole is told in the same pieces.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ask::Format;

/// Tokens that were counted, each of them once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Read, and neither taken from a cache nor written to one.
    pub input: u64,
    /// Read from a cache.
    pub cached_input: u64,
    /// Written to a cache.
    pub cache_write: u64,
    /// Written as the answer.
    pub output: u64,
    /// Thought, where that is told.
    pub reasoning: u64,
}

impl Tokens {
    /// All that was read.
    pub fn read(&self) -> u64 {
        let cached = self.cached_input.saturating_add(self.cache_write);
        self.input.saturating_add(cached)
    }

    /// All that was written.
    pub fn written(&self) -> u64 {
        self.output.saturating_add(self.reasoning)
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It was complete.
    Done,
    /// A text that ends it came.
    Sequence,
    /// It was as long as it may be.
    MaxTokens,
    /// The model asks for tools.
    ToolCalls,
    /// The provider's filter held it back.
    Filtered,
    /// The model would not.
    Refused,
    /// The provider paused, and can be asked to go on.
    Paused,
}

impl Stop {
    /// Its one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Stop::Done => "done",
            Stop::Sequence => "sequence",
            Stop::MaxTokens => "max_tokens",
            Stop::ToolCalls => "tool_calls",
            Stop::Filtered => "filtered",
            Stop::Refused => "refused",
            Stop::Paused => "paused",
        }
    }
}

/// A piece of an answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// The provider began.
    Started {
        /// Its name for the answer.
        id: Option<String>,
        /// The model that answers, which may be another than was asked.
        model: Option<String>,
    },
    /// Words of the answer.
    Text(String),
    /// Words in which it says that it will not.
    Refusal(String),
    /// Words of a thought.
    Thought(String),
    /// What vouches for a thought, to be given back with it.
    Signature(String),
    /// A tool is asked for.
    ToolCall {
        /// Which of the calls.
        index: u64,
        /// Its name.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of its arguments.
    Arguments {
        /// Which of the calls.
        index: u64,
        /// The text.
        part: String,
    },
    /// What was counted, all in all so far: it takes the place of what was told before.
    Counted(Tokens),
    /// It ends.
    Stopped(Stop),
    /// The text that ended it.
    Sequence(String),
    /// A new part of the answer begins; what follows is not joined to what came before.
    Part,
    /// A field for which there is no word here, as the provider wrote it: for a caller who speaks the
    /// provider's format.
    Beside {
        /// What it is a field of.
        place: Place,
        /// Its name.
        name: String,
        /// What it says.
        value: Value,
    },
    /// A block or an item of the answer for which there is no word here, as it begins.
    Block {
        /// In whose words it is.
        format: Format,
        /// The block.
        value: Value,
    },
    /// More of the block that has begun last, as it was written.
    More(Value),
}

/// What a field is of that is passed on as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The whole answer, of chat completions.
    Answer,
    /// Its choice, of chat completions.
    Choice,
    /// The message of that, of chat completions.
    Message,
    /// The block of text that came last, of messages.
    Block,
    /// The text that came last, of responses.
    Text,
}

impl Piece {
    /// Whether it is a part of the answer, and not about it.
    pub fn is_answer(&self) -> bool {
        match self {
            Piece::Text(text) | Piece::Refusal(text) => !text.is_empty(),
            Piece::ToolCall { .. }
            | Piece::Beside {
                place: Place::Message,
                ..
            } => true,
            Piece::Beside {
                place: Place::Answer | Place::Choice | Place::Block | Place::Text,
                ..
            }
            | Piece::Block { .. }
            | Piece::More(_)
            | Piece::Part
            | Piece::Sequence(_)
            | Piece::Started { .. }
            | Piece::Thought(_)
            | Piece::Signature(_)
            | Piece::Arguments { .. }
            | Piece::Counted(_)
            | Piece::Stopped(_) => false,
        }
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Piece::Started { .. } => f.write_str("Started"),
            Piece::Text(text) => write!(f, "Text of {} bytes", text.len()),
            Piece::Refusal(text) => write!(f, "Refusal of {} bytes", text.len()),
            Piece::Thought(text) => write!(f, "Thought of {} bytes", text.len()),
            Piece::Signature(_) => f.write_str("Signature"),
            Piece::ToolCall { index, name, .. } => write!(f, "ToolCall {index} {name}"),
            Piece::Arguments { index, part } => {
                write!(f, "Arguments {index}, {} bytes", part.len())
            }
            Piece::Counted(tokens) => write!(f, "{tokens:?}"),
            Piece::Stopped(stop) => write!(f, "Stopped {}", stop.name()),
            Piece::Sequence(_) => f.write_str("Sequence"),
            Piece::Part => f.write_str("Part"),
            Piece::Beside { place, .. } => write!(f, "Beside {place:?}"),
            Piece::Block { format, .. } => write!(f, "Block of {}", format.name()),
            Piece::More(_) => f.write_str("More"),
        }
    }
}
