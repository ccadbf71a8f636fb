//! SQL as it leaves: one statement whose parameters are bound, never pasted.
//!
//! Made by the SQL connector from what a person wrote, and executed by the SQL wire as it stands.
//! The text is in one spelling: no comments, no semicolon, texts in single quotes only.

/// Whose SQL it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// PostgreSQL: parameters are `$1`.
    Postgres,
    /// SQLite: parameters are `?1`.
    Sqlite,
}

/// One statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// Whose.
    pub dialect: Dialect,
    /// The text, with numbered parameters.
    pub text: String,
    /// The names of the parameters, the first of which is number 1. Each once.
    pub names: Vec<String>,
}

/// A tool that reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    /// One SELECT.
    pub query: Statement,
    /// Most rows that are given back.
    pub max_rows: usize,
    /// Most bytes of JSON that are given back.
    pub max_bytes: usize,
}

/// A tool that writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// One INSERT, UPDATE or DELETE.
    pub statement: Statement,
    /// Whether it gives rows back (RETURNING).
    pub returns: bool,
    /// Shown before, and compared at commit.
    pub preview: Option<Preview>,
    /// Fewest and most rows that it may touch.
    pub expect_rows: (u64, u64),
    /// Whether a row of `hundi_effects` proves that it was carried out.
    pub marker: bool,
}

/// A SELECT whose result an approval is bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Preview {
    /// The query.
    pub query: Statement,
    /// What to lock while it is compared.
    pub lock: Lock,
}

/// Which rows of a preview can be locked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lock {
    /// The rows of its only table.
    All,
    /// Those of the table or alias of this name, quoted for the text.
    Of(String),
    /// None (it groups or combines): the transaction has to be serializable instead.
    Nothing,
}
