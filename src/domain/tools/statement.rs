//! SQL as it leaves: one statement whose parameters are bound, never pasted.
//!
//! Made by the SQL connector from what a person wrote, and executed by the SQL wire as it stands.
//! The text is in one spelling: no comments, no semicolon, texts in single quotes only.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::canonical::Canonical;

/// Whose SQL it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// PostgreSQL: parameters are `$1`.
    Postgres,
    /// SQLite: parameters are `?1`.
    Sqlite,
}

/// One statement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Statement {
    /// Whose.
    pub dialect: Dialect,
    /// The text, and its parameters by their numbers.
    pub parts: Vec<Part>,
    /// The names of the parameters, the first of which is number 1. Each once.
    pub names: Vec<String>,
}

/// A piece of a statement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Part {
    /// SQL as it stands.
    Text(String),
    /// The place of a parameter.
    Param(usize),
}

impl Write {
    /// Whether so many rows are as many as it may touch.
    pub fn expects(&self, rows: u64) -> bool {
        let (least, most) = self.expect_rows;
        rows >= least && most.is_none_or(|most| rows <= most)
    }
}

impl Statement {
    /// The text, with the dialect's own marks for parameters.
    pub fn text(&self) -> String {
        let mark = match self.dialect {
            Dialect::Postgres => '$',
            Dialect::Sqlite => '?',
        };
        self.text_with(|number| format!("{mark}{number}"))
    }

    /// The text, with whatever stands for parameter `number`.
    pub fn text_with(&self, mut param: impl FnMut(usize) -> String) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Param(number) => param(*number),
        });
        parts.collect()
    }
}

/// A tool that reads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Read {
    /// One SELECT.
    pub query: Statement,
    /// Most rows that are given back.
    pub max_rows: usize,
    /// Most bytes of JSON that are given back.
    pub max_bytes: usize,
}

/// A tool that writes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Write {
    /// One INSERT, UPDATE or DELETE.
    pub statement: Statement,
    /// Whether it gives rows back (RETURNING).
    pub returns: bool,
    /// Shown before, and compared at commit.
    pub preview: Option<Preview>,
    /// Fewest and most rows that it may touch. No number stands for "as many as there are": beyond
    /// 2^53 none reads back from where the task is kept.
    pub expect_rows: (u64, Option<u64>),
    /// Whether a row of `hundi_effects` proves that it was carried out.
    pub marker: bool,
}

/// A SELECT whose result an approval is bound to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Preview {
    /// The query.
    pub query: Statement,
    /// What to lock while it is compared.
    pub lock: Lock,
}

/// Which rows of a preview can be locked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Lock {
    /// The rows of its only table.
    All,
    /// Those of the table or alias of this name, quoted for the text.
    Of(String),
    /// None (it groups or combines): the transaction has to be serializable instead.
    Nothing,
}

/// What stands for the rows of a preview: the same for the same rows, in whatever order they came.
pub fn state_of(rows: &[Value]) -> String {
    let mut texts: Vec<String> = rows
        .iter()
        .map(|row| Canonical::of(row).to_string())
        .collect();
    texts.sort_unstable();
    let all: Vec<Value> = texts.into_iter().map(Value::String).collect();
    Canonical::of(&Value::Array(all)).hash().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_state_is_that_of_the_rows_and_not_of_their_order() {
        let (a, b) = (json!({"id": 1, "x": "1"}), json!({"x": "2", "id": 2}));
        let both = state_of(&[a.clone(), b.clone()]);
        assert_eq!(both, state_of(&[b.clone(), a.clone()]));
        assert_ne!(both, state_of(std::slice::from_ref(&a)));
        assert_ne!(both, state_of(&[a.clone(), b, a]));
        assert_ne!(state_of(&[]), state_of(&[json!("")]));
    }
}
