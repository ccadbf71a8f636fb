//! A statement as it is sent to PostgreSQL: its parameters cast from text to the types that they have
//! there, its columns asked for in a spelling that JSON has a place for, its rows counted.

use std::sync::Arc;

use serde_json::Value;
use sqlx::postgres::{PgRow, PgTypeKind};
use sqlx::{
    AssertSqlSafe, Column, Either, Executor, PgConnection, Row, SqlSafeStr, Statement as _,
};

use super::Trouble;
use super::failure::Failed;
use super::rows::{distinct, object};
use super::values::{Kind, type_names};
use crate::domain::tools::statement::{Lock, Statement};

/// A statement as it is sent.
pub(super) struct Described {
    pub(super) sql: Arc<str>,
    /// Which parameters are lists there.
    pub(super) lists: Vec<bool>,
    pub(super) names: Vec<String>,
    pub(super) kinds: Vec<Kind>,
}

/// What is put around a statement.
#[derive(Clone, Copy)]
pub(super) enum Frame<'a> {
    /// A query, of which so many rows are wanted, locked as said.
    Rows(usize, &'a Lock),
    /// A statement that gives rows back.
    Returning,
    /// A statement that does not.
    Bare,
}

impl Frame<'_> {
    pub(super) fn key(self, statement: &Statement) -> String {
        let head = match self {
            Frame::Rows(limit, lock) => format!("{limit} {lock:?} "),
            Frame::Returning => "returning ".to_owned(),
            Frame::Bare => "bare ".to_owned(),
        };
        head + &statement.text()
    }

    /// The statement with everything around it.
    pub(super) fn around(self, inner: &str, kinds: &[Kind]) -> String {
        let columns = |number: usize| format!("c{number}");
        let all: Vec<String> = (1..=kinds.len()).map(columns).collect();
        let selected: Vec<String> = all
            .iter()
            .zip(kinds)
            .map(|(column, kind)| kind.select(column))
            .collect();
        let (all, selected) = (all.join(", "), selected.join(", "));
        match self {
            Frame::Rows(limit, lock) => {
                let lock = match lock {
                    Lock::Nothing => String::new(),
                    Lock::All => " FOR UPDATE".to_owned(),
                    Lock::Of(name) => format!(" FOR UPDATE OF {name}"),
                };
                format!("SELECT {selected} FROM ({inner}{lock}) AS t({all}) LIMIT {limit}")
            }
            Frame::Returning => format!("WITH t({all}) AS ({inner}) SELECT {selected} FROM t"),
            Frame::Bare => inner.to_owned(),
        }
    }
}

impl Described {
    pub(super) fn object(&self, row: &PgRow) -> Result<Value, Failed> {
        let mut values = Vec::with_capacity(self.kinds.len());
        for (index, kind) in self.kinds.iter().enumerate() {
            let raw = row.try_get_raw(index)?;
            let value = kind.read(&raw).map_err(Trouble::Refused)?;
            values.push(value);
        }
        Ok(object(&self.names, values.into_iter()))
    }
}

pub(super) async fn describe(
    connection: &mut PgConnection,
    statement: &Statement,
    frame: Frame<'_>,
) -> Result<Described, Failed> {
    let prepared = (&mut *connection)
        .prepare(AssertSqlSafe(statement.text()).into_sql_str())
        .await?;
    let types = match prepared.parameters() {
        Some(Either::Left(types)) => types.to_vec(),
        Some(Either::Right(_)) | None => Vec::new(),
    };
    let lists = types
        .iter()
        .map(|info| matches!(info.kind(), PgTypeKind::Array(_)))
        .collect();
    let casts = match types.is_empty() {
        true => Vec::new(),
        false => type_names(connection, &types).await?,
    };
    let inner = statement.text_with(|number| {
        let cast = casts.get(number.saturating_sub(1));
        match cast.map_or("text", String::as_str) {
            "text" | "unknown" => format!("(${number}::text)"),
            cast => format!("(${number}::text::{cast})"),
        }
    });
    let columns = prepared.columns();
    let kinds: Vec<Kind> = columns
        .iter()
        .map(|column| Kind::of(column.type_info()))
        .collect();
    if kinds.is_empty() && !matches!(frame, Frame::Bare) {
        let why = "the statement gives no columns".to_owned();
        return Err(Failed::Trouble(Trouble::Refused(why)));
    }
    let names = distinct(columns.iter().map(|column| column.name().to_owned()));
    Ok(Described {
        sql: frame.around(&inner, &kinds).into(),
        lists,
        names,
        kinds,
    })
}
