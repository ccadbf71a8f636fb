//! Why a document of a source, a tool or a rule was refused: a stable code, the place, and what to do.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::domain::written;

/// A place in a text of several lines, both counted from 1, in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character of that line.
    pub column: u64,
}

impl Position {
    /// Where byte `at` of `text` is.
    pub fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).unwrap_or_default().chars().count();
        let counted = |count: usize| u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1);
        Self {
            line: counted(line),
            column: counted(column),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A document that was refused. The text never repeats a value that could be a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize)]
#[error("{pointer}: {detail}")]
pub struct Invalid {
    /// `invalid_tool`, `invalid_source`, `invalid_rule` or `invalid_server`. Never changes once released.
    pub code: &'static str,
    /// JSON Pointer to the field.
    pub pointer: String,
    /// Where in the field's text, for SQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What is wrong and what to write instead.
    pub detail: String,
}

impl Invalid {
    /// A tool's document is wrong at `pointer`.
    pub fn tool(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new("invalid_tool", pointer.into(), detail.into())
    }

    /// A source's document is wrong at `pointer`.
    pub fn source(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new("invalid_source", pointer.into(), detail.into())
    }

    /// An access rule's document is wrong at `pointer`.
    pub fn rule(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new("invalid_rule", pointer.into(), detail.into())
    }

    /// A server's document is wrong at `pointer`.
    pub fn server(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new("invalid_server", pointer.into(), detail.into())
    }

    fn new(code: &'static str, pointer: String, detail: String) -> Self {
        Self {
            code,
            pointer,
            position: None,
            detail,
        }
    }

    /// The same, with the place in the text.
    pub fn at(self, position: Position) -> Self {
        Self {
            position: Some(position),
            ..self
        }
    }

    /// The same complaint about a document that stands at `parent` of a larger one.
    pub fn below(self, parent: &str) -> Self {
        Self {
            pointer: format!("{parent}{}", self.pointer),
            ..self
        }
    }
}

/// Reads a part of a document into its type; the error names the place below `pointer`.
pub(super) fn read<T: DeserializeOwned>(
    value: &Value,
    pointer: &str,
    refuse: fn(String, String) -> Invalid,
) -> Result<T, Invalid> {
    written::read(value, pointer).map_err(|mistake| refuse(mistake.pointer, mistake.detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let text = "ab\näö?x";
        for (at, line, column) in [(0, 1, 1), (2, 1, 3), (3, 2, 1), (7, 2, 3), (99, 2, 5)] {
            assert_eq!(Position::of(text, at), Position { line, column }, "{at}");
        }
    }
}
