//! SQL as a tool: what a person wrote becomes one statement with bound parameters, or is refused.
//!
//! Four walls stand between a tool of low risk and a write: what is written is cut into tokens that
//! no two readers could read differently (`lex`), names only what is listed (`names`), has a shape
//! that is listed (`shape`), and runs in a read-only transaction (the wire). None of them is a proof
//! alone; a role that can only read is the fifth, and the operator's.
//!
//! Nothing is ever pasted into a statement: a parameter is a number in the text and a value beside.

mod functions;
mod lex;
mod locks;
mod names;
mod shape;

use std::collections::BTreeSet;

use serde_json::Value;
use sqlparser::ast::Statement as Parsed;
use sqlparser::dialect::{Dialect as Grammar, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Location;

use crate::domain::tools::statement::{Dialect, Lock, Preview, Read, Statement, Write};
use crate::domain::tools::{Invalid, Position, SqlHigh, SqlLow, pointer};
use lex::{Flaw, Placed};
pub use names::functions;
use shape::Writes;

/// Deepest nesting that the parser follows.
const PARSE_DEPTH: usize = 60;
/// Stack of the thread that walks a parsed statement: a chain of thousands of `+` is as deep.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Makes the query of a low-risk tool, or says what is wrong with it.
pub fn read(exec: &SqlLow, schema: &Value, dialect: Dialect) -> Result<Read, Invalid> {
    let at = "/exec/query";
    let (query, ()) = compiled(&exec.query, dialect, at, |parsed| {
        shape::read(parsed, dialect).map(|_| ())
    })?;
    known(&query, &exec.query, schema, at)?;
    used(&[&query], schema, at)?;
    Ok(Read {
        query,
        max_rows: usize::try_from(exec.max_rows).unwrap_or(usize::MAX),
        max_bytes: usize::try_from(exec.max_bytes).unwrap_or(usize::MAX),
    })
}

/// Makes the statement of a high-risk tool and its preview, or says what is wrong with them.
pub fn write(exec: &SqlHigh, schema: &Value, dialect: Dialect) -> Result<Write, Invalid> {
    let at = "/exec/statement";
    unmarked(&exec.statement, dialect, at)?;
    let (statement, writes) = compiled(&exec.statement, dialect, at, |parsed| {
        shape::write(parsed, dialect)
    })?;
    known(&statement, &exec.statement, schema, at)?;
    let preview = exec.preview.as_deref();
    let preview = preview
        .map(|text| previewed(text, schema, dialect, &writes))
        .transpose()?;
    let all: Vec<&Statement> = std::iter::once(&statement)
        .chain(preview.as_ref().map(|preview| &preview.query))
        .collect();
    used(&all, schema, at)?;
    let expect = exec.expect_rows.unwrap_or_default();
    Ok(Write {
        statement,
        returns: writes.returns,
        preview,
        expect_rows: (expect.min, expect.max),
        marker: exec.marker,
    })
}

/// The rows that prove what was done are nobody's to change, to read beside, or to join.
fn unmarked(text: &str, dialect: Dialect, at: &str) -> Result<(), Invalid> {
    // What cannot be read is refused by whoever compiles it.
    let tokens = lex::lex(text, dialect).unwrap_or_default();
    match names::markers(&tokens, dialect) {
        None => Ok(()),
        Some(byte) => {
            let detail = format!("`{}` is not a tool's to name", names::MARKERS);
            Err(Invalid::tool(at, detail).at(Position::of(text, byte)))
        }
    }
}

fn previewed(
    text: &str,
    schema: &Value,
    dialect: Dialect,
    writes: &Writes,
) -> Result<Preview, Invalid> {
    let at = "/exec/preview";
    let target = writes.target.clone();
    let (query, lock) = compiled(text, dialect, at, move |parsed| {
        let query = shape::read(parsed, dialect)?;
        Ok(match dialect {
            Dialect::Postgres => locks::lock(query, &target, dialect),
            // One writer at a time: there is nothing to lock.
            Dialect::Sqlite => Lock::Nothing,
        })
    })?;
    known(&query, text, schema, at)?;
    Ok(Preview { query, lock })
}

/// Respells and parses one statement, and lets `look` judge it.
fn compiled<T: Send>(
    text: &str,
    dialect: Dialect,
    at: &'static str,
    look: impl Fn(&Parsed) -> Result<T, shape::Refused> + Send + Sync,
) -> Result<(Statement, T), Invalid> {
    let flawed = |flaw: Flaw| Invalid::tool(at, flaw.detail).at(flaw.position);
    let tokens = lex::lex(text, dialect).map_err(flawed)?;
    names::check(&tokens, dialect)
        .map_err(|(byte, why)| Invalid::tool(at, why).at(Position::of(text, byte)))?;
    let mut names: Vec<String> = Vec::new();
    let parts = lex::spell(&tokens, |name| {
        let known = names.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        }) + 1
    });
    let statement = Statement {
        dialect,
        parts,
        names,
    };
    let respelt = statement.text();
    let judged = with_deep_stack(|| judged(&respelt, dialect, &look)).map_err(|(place, why)| {
        let refused = Invalid::tool(at, why);
        match place {
            Some(place) => refused.at(original(text, &tokens, &statement, place)),
            None => refused,
        }
    })?;
    Ok((statement, judged))
}

type Judged<T> = Result<T, (Option<Location>, String)>;

fn judged<T>(
    text: &str,
    dialect: Dialect,
    look: impl Fn(&Parsed) -> Result<T, shape::Refused>,
) -> Judged<T> {
    let grammar: &dyn Grammar = match dialect {
        Dialect::Postgres => &PostgreSqlDialect {},
        Dialect::Sqlite => &SQLiteDialect {},
    };
    let parser = Parser::new(grammar).with_recursion_limit(PARSE_DEPTH);
    let parsed = parser
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| placed(&error.to_string()))?;
    match parsed.as_slice() {
        [one] => look(one).map_err(|(place, why)| (Some(place), why)),
        _ => Err((None, "exactly one statement belongs here".to_owned())),
    }
}

/// The parser's words, and the place that they end with.
fn placed(words: &str) -> (Option<Location>, String) {
    let words = words.trim_start_matches("sql parser error: ");
    let found = words.rsplit_once(" at Line: ").and_then(|(said, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        let location = Location {
            line: line.parse().ok()?,
            column: column.parse().ok()?,
        };
        Some((Some(location), said.to_owned()))
    });
    let (place, said) = found.unwrap_or((None, words.to_owned()));
    (place, format!("cannot be read as SQL: {said}"))
}

/// Where a place of the respelt text is in what was written: at the last token that begins there
/// or before.
fn original(text: &str, tokens: &[Placed], statement: &Statement, place: Location) -> Position {
    let respelt = statement.text();
    let lines = usize::try_from(place.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = respelt
        .split_inclusive('\n')
        .take(lines)
        .map(str::len)
        .sum();
    let column = usize::try_from(place.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let rest = respelt.get(start..).unwrap_or_default();
    let mut ahead = rest.char_indices();
    let wanted = start + ahead.nth(column).map_or(rest.len(), |(at, _)| at);
    let begins = |count: &usize| {
        let before = tokens.get(..*count).unwrap_or_default();
        let number = |name: &str| 1 + statement.names.iter().position(|n| n == name).unwrap_or(0);
        let parts = lex::spell(before, number);
        let names = Vec::new();
        let dialect = statement.dialect;
        Statement {
            dialect,
            parts,
            names,
        }
        .text()
        .len()
            <= wanted
    };
    let count = (0..tokens.len()).take_while(begins).last().unwrap_or(0);
    Position::of(text, tokens.get(count).map_or(0, |placed| placed.at))
}

/// Runs `work` where deep statements do not end the process.
fn with_deep_stack<T: Send>(work: impl FnOnce() -> Judged<T> + Send) -> Judged<T> {
    let ended = || (None, "could not be read".to_owned());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, work).map_err(|_| ended())?;
        running.join().map_err(|_| ended())?
    })
}

/// Every parameter is a property of the schema.
fn known(statement: &Statement, text: &str, schema: &Value, at: &str) -> Result<(), Invalid> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let unknown = statement
        .names
        .iter()
        .find(|name| !properties.is_some_and(|properties| properties.contains_key(name.as_str())));
    let Some(name) = unknown else {
        return Ok(());
    };
    let tokens = lex::lex(text, statement.dialect).unwrap_or_default();
    let wanted = lex::Token::Param(name.clone());
    let place = tokens.iter().find(|placed| placed.token == wanted);
    let detail = format!("`:{name}` is no property of `input_schema`");
    let invalid = Invalid::tool(at, detail);
    Err(match place {
        Some(placed) => invalid.at(Position::of(text, placed.at)),
        None => invalid,
    })
}

/// Every required property is a parameter: an argument that changes nothing is a mistake.
fn used(statements: &[&Statement], schema: &Value, at: &str) -> Result<(), Invalid> {
    let names = statements.iter().flat_map(|statement| &statement.names);
    let names: BTreeSet<&str> = names.map(String::as_str).collect();
    match pointer::required(schema).find(|name| !names.contains(name)) {
        Some(name) => Err(Invalid::tool(
            at,
            format!("the required property `{name}` is not used: write `:{name}`"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
