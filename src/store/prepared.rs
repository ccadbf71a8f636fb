//! A change with its JSON columns already spelt, so that the spelling costs the caller's task and
//! not the one writer that everybody waits for.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::StoreError;
use crate::domain::change::{Change, Rows};
use crate::domain::proposal::Proposal;

/// One JSON column; cloning it is cheap.
pub(crate) type Json = Arc<str>;

/// The rows of a change, and the texts of their JSON columns in the same order.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub rows: Arc<Rows>,
    /// What admission fixed, of an inserted proposal.
    pub fixed: Option<Json>,
    /// What moves, of the inserted and of the updated proposal.
    pub moving: [Option<Json>; 2],
    /// The attempt, of the inserted and of the updated proposal.
    pub execution: [Option<Json>; 2],
    /// Bodies of documents; `None` deletes.
    pub docs: Vec<Option<Json>>,
    /// Details of records; `None` where there is nothing to say.
    pub details: Vec<Option<Json>>,
    /// Messages.
    pub notices: Vec<Json>,
}

impl Prepared {
    /// Fails only if a value has no JSON form; then nothing was written.
    pub fn new(change: Change) -> Result<Self, StoreError> {
        let rows = change.into_rows();
        let (insert, update) = (rows.insert.as_deref(), rows.update.as_deref());
        let moving = |of: Option<&Proposal>| of.map(|p| spell(&p.moving)).transpose();
        let execution = |of: Option<&Proposal>| {
            let attempt = of.and_then(|p| p.execution.as_ref());
            attempt.map(spell).transpose()
        };
        let bodies = rows.docs.iter().map(|doc| doc.body.as_ref());
        let details = rows.records.iter().map(|record| {
            let told = Some(&record.detail).filter(|detail| **detail != Value::Null);
            told.map(spell)
        });
        Ok(Self {
            fixed: insert.map(|p| spell(&p.fixed)).transpose()?,
            moving: [moving(insert)?, moving(update)?],
            execution: [execution(insert)?, execution(update)?],
            docs: bodies
                .map(|body| body.map(spell).transpose())
                .collect::<Result<_, _>>()?,
            details: details.map(Option::transpose).collect::<Result<_, _>>()?,
            notices: rows.notices.iter().map(spell).collect::<Result<_, _>>()?,
            rows,
        })
    }
}

fn spell<T: Serialize>(value: &T) -> Result<Json, StoreError> {
    match serde_json::to_string(value) {
        Ok(text) => Ok(text.into()),
        Err(error) => Err(StoreError::Unavailable(format!(
            "the change has no JSON form: {error}"
        ))),
    }
}
