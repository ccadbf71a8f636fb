//! Rows of the SQL stores, read back. A database says how it hands out a column; which column is
//! what is said here, once for all of them.

use super::stored::{ProposalColumns, corrupt, json, name, unsigned};
use super::{Budget, Standings, StoreError, StoredRecord, Waiting};
use crate::domain::audit::names::{Decided, Recorded};
use crate::domain::change::{Doc, DocKey, Record};
use crate::domain::facts::{Earlier, PastPayout};
use crate::domain::ids::ProposalId;
use crate::domain::money::Currency;
use crate::domain::proposal::{Proposal, State};
use crate::domain::time::Timestamp;

pub(super) type Read<T> = Result<T, StoreError>;

/// One row, column by column from 0. A column of another type is [`StoreError::Corrupt`].
pub(super) trait Columns {
    fn maybe_text(&self, column: usize) -> Read<Option<&str>>;
    fn maybe_number(&self, column: usize) -> Read<Option<i64>>;
    fn maybe_id(&self, column: usize) -> Read<Option<uuid::Uuid>>;
    fn maybe_time(&self, column: usize) -> Read<Option<Timestamp>>;

    fn text(&self, column: usize) -> Read<&str> {
        present(self.maybe_text(column)?)
    }

    fn owned(&self, column: usize) -> Read<Option<String>> {
        Ok(self.maybe_text(column)?.map(str::to_owned))
    }

    fn number(&self, column: usize) -> Read<i64> {
        present(self.maybe_number(column)?)
    }

    fn time(&self, column: usize) -> Read<Timestamp> {
        present(self.maybe_time(column)?)
    }
}

fn present<T>(value: Option<T>) -> Read<T> {
    value.ok_or_else(|| corrupt("column", "it is null"))
}

/// `fixed, state, version, moving, execution`.
pub(super) fn proposal_of(row: &impl Columns) -> Read<Proposal> {
    let columns = ProposalColumns {
        fixed: row.text(0)?,
        state: row.text(1)?,
        version: row.number(2)?,
        moving: row.text(3)?,
        execution: row.maybe_text(4)?,
    };
    columns.proposal()
}

/// `kind, org, id, version, body`.
pub(super) fn doc_of(row: &impl Columns) -> Read<Doc> {
    Ok(Doc {
        key: DocKey {
            kind: row.text(0)?.to_owned(),
            org: name(row.text(1)?)?,
            id: row.text(2)?.to_owned(),
        },
        version: unsigned(row.number(3)?)?,
        body: json(row.text(4)?)?,
    })
}

/// `seq, at, org, kind, decision, reason, actor, agent, proposal, tool, payout, amount, currency,
/// detail`.
pub(super) fn record_of(row: &impl Columns) -> Read<StoredRecord> {
    let record = Record {
        at: row.time(1)?,
        org: name(row.text(2)?)?,
        kind: Recorded::read(row.text(3)?),
        decision: Decided::read(row.text(4)?),
        reason: row.text(5)?.to_owned(),
        actor: row.text(6)?.to_owned(),
        agent: row.maybe_text(7)?.map(name).transpose()?,
        proposal: row.maybe_id(8)?.map(ProposalId::from_uuid),
        tool: row.maybe_text(9)?.map(name).transpose()?,
        payout: row.owned(10)?,
        amount: row.maybe_number(11)?,
        currency: match row.maybe_text(12)? {
            None => None,
            Some(code) => Some(Currency::parse(code).ok_or_else(|| corrupt("currency", code))?),
        },
        detail: match row.maybe_text(13)? {
            None => serde_json::Value::Null,
            Some(text) => json(text)?,
        },
    };
    Ok(StoredRecord {
        seq: row.number(0)?,
        record,
    })
}

/// `held, unsettled, oldest unsettled`.
pub(super) fn standings_of(row: &impl Columns) -> Read<Standings> {
    Ok(Standings {
        held: row.number(0)?,
        unsettled: row.number(1)?,
        oldest_unsettled: row.maybe_time(2)?,
    })
}

/// `pending, posted`; a pot that nobody has touched has no row.
pub(super) fn budget_of(row: Option<&impl Columns>) -> Read<Budget> {
    match row {
        None => Ok(Budget::default()),
        Some(row) => Ok(Budget {
            pending: row.number(0)?,
            posted: row.number(1)?,
        }),
    }
}

/// `created_at, amount, payee, vendor`.
pub(super) fn past_of(row: &impl Columns) -> Read<PastPayout> {
    Ok(PastPayout {
        at: row.time(0)?,
        minor: row.number(1)?,
        payee: row.owned(2)?,
        vendor: row.owned(3)?,
    })
}

/// `id, created_at, state`.
pub(super) fn earlier_of(row: &impl Columns) -> Read<Earlier> {
    let state = row.text(2)?;
    Ok(Earlier {
        proposal: row.maybe_id(0)?.map(ProposalId::from_uuid),
        at: row.time(1)?,
        state: State::parse(state).ok_or_else(|| corrupt("state", state))?,
    })
}

/// `id, attempts, notice`, in the order they were written. A message that does not read back stays
/// hidden and is reported, so that it does not stop the others.
pub(super) fn waiting(rows: &[impl Columns]) -> Read<Vec<Waiting>> {
    let mut waiting = Vec::with_capacity(rows.len());
    for row in rows {
        let id = row.number(0)?;
        match row.text(2).and_then(json) {
            Ok(notice) => waiting.push(Waiting {
                id,
                attempts: row.number(1)?.try_into().unwrap_or(u32::MAX),
                notice,
            }),
            Err(error) => tracing::error!(id, %error, "a message in the outbox is unreadable"),
        }
    }
    waiting.sort_by_key(|waiting| waiting.id);
    Ok(waiting)
}
