//! Writes what a plan says, in one statement.
//!
//! The statement has a part for each table that there are rows for, and no others: an empty part
//! costs the server nearly as much as one with a row. Rows travel as arrays, one per column. What
//! another node may have inserted meanwhile is left alone by `ON CONFLICT DO NOTHING` and noticed
//! by counting: then the batch is run again and decided anew. The audit's numbers come last,
//! because whoever numbers records makes the other nodes wait until it has committed.

use std::collections::HashMap;

use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{Encode, QueryBuilder, Row, Type};
use uuid::Uuid;

use super::instant;
use super::readers::query;
use crate::domain::change::Record;
use crate::domain::ids::ProposalId;
use crate::domain::proposal::{Execution, Proposal};
use crate::store::besides;
use crate::store::plan::Plan;
use crate::store::prepared::Prepared;
use crate::store::stored::{due_at, signed};

/// Which batch this is: the writer's name and its own number for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchNumber {
    pub writer: Uuid,
    pub number: i64,
}

/// Writes the survivors, and the batch's number, into the open transaction. Returns the number
/// that the records' own numbers are counted from, or `None` if another node came first somewhere.
pub(super) async fn write(
    conn: &mut PgConnection,
    batch: &[Prepared],
    plan: &Plan,
    number: BatchNumber,
) -> Result<Option<i64>, sqlx::Error> {
    for told in besides::told(batch, plan) {
        let query = query(&told).map_err(|error| sqlx::Error::Encode(error.to_string().into()))?;
        query.execute(&mut *conn).await?;
    }
    let mut parts = Parts::new();
    proposals(&mut parts, batch, plan);
    burns(&mut parts, batch, plan);
    budgets(&mut parts, plan);
    docs(&mut parts, batch, plan);
    notices(&mut parts, batch, plan);
    parts.batch_number(number);
    let numbered = records(&mut parts, batch, plan);
    let (mut query, expected) = parts.end(numbered);
    let row = query.build().fetch_one(conn).await?;
    for (column, expected) in expected.iter().enumerate() {
        let written: i64 = row.try_get(column)?;
        if usize::try_from(written) != Ok(*expected) {
            return Ok(None);
        }
    }
    Ok(Some(row.try_get(expected.len())?))
}

/// The statement as it grows.
struct Parts {
    query: QueryBuilder<Postgres>,
    /// Rows that each part must write.
    expected: Vec<usize>,
    first_array: bool,
}

impl Parts {
    fn new() -> Self {
        Self {
            query: QueryBuilder::new("WITH "),
            expected: Vec::new(),
            first_array: true,
        }
    }

    /// Begins a part that must write so many rows from arrays: `head` ends before them.
    fn begin(&mut self, rows: usize, head: &str) -> &mut Self {
        if !self.expected.is_empty() {
            self.query.push(", ");
        }
        let name = self.expected.len();
        self.query
            .push(format_args!("p{name} AS ({head} FROM unnest("));
        self.expected.push(rows);
        self.first_array = true;
        self
    }

    /// One column of the part's rows, of this type of Postgres.
    fn array<'t, T>(&mut self, kind: &str, values: Vec<T>) -> &mut Self
    where
        Vec<T>: Encode<'t, Postgres> + Type<Postgres>,
    {
        if !self.first_array {
            self.query.push(", ");
        }
        self.first_array = false;
        self.query
            .push_bind(values)
            .push(format_args!("::{kind}[]"));
        self
    }

    /// Ends a part: what stands behind the arrays.
    fn tail(&mut self, tail: &str) {
        self.query.push(format_args!(") {tail} RETURNING 1)"));
    }

    fn raise_docs_epoch(&mut self) {
        let name = self.expected.len();
        let separator = if name == 0 { "" } else { ", " };
        self.query.push(format_args!(
            "{separator}p{name} AS (UPDATE counters SET value = value + 1 \
             WHERE name = 'docs_epoch' RETURNING 1)"
        ));
        self.expected.push(1);
    }

    fn batch_number(&mut self, batch: BatchNumber) {
        let name = self.expected.len();
        let separator = if name == 0 { "" } else { ", " };
        self.query
            .push(format_args!(
                "{separator}p{name} AS (INSERT INTO writers (writer, batch, at) VALUES ("
            ))
            .push_bind(batch.writer)
            .push(", ")
            .push_bind(batch.number)
            .push(
                ", now()) ON CONFLICT (writer) \
                 DO UPDATE SET batch = excluded.batch, at = excluded.at RETURNING 1)",
            );
        self.expected.push(1);
    }

    /// The counts of all parts in their order, which is the order they are carried out in, and
    /// last the number that records are counted from.
    fn end(mut self, numbered: bool) -> (QueryBuilder<Postgres>, Vec<usize>) {
        self.query.push(" SELECT ");
        for name in 0..self.expected.len() {
            self.query
                .push(format_args!("(SELECT count(*) FROM p{name}), "));
        }
        self.query.push(match numbered {
            true => "(SELECT base FROM s)",
            false => "0::bigint",
        });
        (self.query, self.expected)
    }
}

fn proposals(parts: &mut Parts, batch: &[Prepared], plan: &Plan) {
    // A statement does not see what it inserts itself: a proposal that is inserted and moved in
    // one batch is inserted as it ends up.
    let updates = plan.updates.iter().filter_map(|index| {
        let change = &batch[*index];
        Some(Moved {
            proposal: change.rows.update.as_deref()?,
            change,
            column: 1,
        })
    });
    let mut updates: HashMap<ProposalId, Moved<'_>> =
        updates.map(|moved| (moved.proposal.id(), moved)).collect();
    let inserts: Vec<(&Prepared, Moved<'_>)> = plan
        .inserts
        .iter()
        .filter_map(|index| {
            let change = &batch[*index];
            let proposal = change.rows.insert.as_deref()?;
            let as_inserted = Moved {
                proposal,
                change,
                column: 0,
            };
            let last = updates.remove(&proposal.id()).unwrap_or(as_inserted);
            Some((change, last))
        })
        .collect();
    let mut updates: Vec<Moved<'_>> = updates.into_values().collect();
    updates.sort_unstable_by_key(|moved| moved.proposal.id());
    let all = inserts.iter().map(|(_, last)| last).chain(&updates);
    let attempts: Vec<(&Moved<'_>, &Execution)> = all
        .filter_map(|moved| Some((moved, moved.proposal.execution.as_ref()?)))
        .collect();
    if !inserts.is_empty() {
        insert(parts, &inserts);
    }
    if !updates.is_empty() {
        update(parts, &updates);
    }
    if !attempts.is_empty() {
        attempt(parts, &attempts);
    }
}

fn insert(parts: &mut Parts, inserts: &[(&Prepared, Moved<'_>)]) {
    let fixed =
        |row: &(&Prepared, Moved<'_>)| row.0.rows.insert.as_deref().map(|p| p.fixed.clone());
    let fixed: Vec<_> = inserts.iter().filter_map(fixed).collect();
    parts
        .begin(
            inserts.len(),
            "INSERT INTO proposals (id, org, agent, tool, caller_key, amount, payee, vendor, \
             created_at, fixed, state, version, due_at, moving) \
             SELECT id, org, agent, tool, caller_key, amount, payee, vendor, created_at, \
             fixed::json, state, version, due_at, moving::json",
        )
        .array("uuid", column(&fixed, |fixed| fixed.id.uuid()))
        .array("text", column(&fixed, |fixed| fixed.org.as_str()))
        .array("text", column(&fixed, |fixed| fixed.agent.as_str()))
        .array("text", column(&fixed, |fixed| fixed.tool.as_str()))
        .array(
            "text",
            column(&fixed, |fixed| fixed.idempotency_key.as_deref()),
        )
        .array(
            "bigint",
            column(&fixed, |fixed| {
                let effective = &fixed.effective;
                effective.moves_money().then(|| effective.minor())
            }),
        )
        .array("text", column(&fixed, |fixed| fixed.payee.identity()))
        .array("text", column(&fixed, |fixed| fixed.payee.vendor()))
        .array(
            "timestamptz",
            column(&fixed, |fixed| instant(fixed.created_at)),
        )
        .array(
            "text",
            column(inserts, |(change, _)| change.fixed.as_deref()),
        )
        .array(
            "text",
            column(inserts, |(_, last)| last.proposal.state.name()),
        )
        .array(
            "bigint",
            column(inserts, |(_, last)| signed(last.proposal.version)),
        )
        .array(
            "timestamptz",
            column(inserts, |(_, last)| due_at(last.proposal).map(instant)),
        )
        .array("text", column(inserts, |(_, last)| last.moving()))
        .tail(
            "AS v (id, org, agent, tool, caller_key, amount, payee, vendor, created_at, fixed, \
             state, version, due_at, moving) ON CONFLICT DO NOTHING",
        );
}

fn update(parts: &mut Parts, updates: &[Moved<'_>]) {
    parts
        .begin(
            updates.len(),
            "UPDATE proposals t SET state = v.state, version = v.version, due_at = v.due_at, \
             moving = v.moving::json",
        )
        .array("uuid", column(updates, |moved| moved.proposal.id().uuid()))
        .array("text", column(updates, |moved| moved.proposal.state.name()))
        .array(
            "bigint",
            column(updates, |moved| signed(moved.proposal.version)),
        )
        .array(
            "timestamptz",
            column(updates, |moved| due_at(moved.proposal).map(instant)),
        )
        .array("text", column(updates, Moved::moving))
        .tail("AS v (id, state, version, due_at, moving) WHERE t.id = v.id");
}

fn attempt(parts: &mut Parts, attempts: &[(&Moved<'_>, &Execution)]) {
    parts
        .begin(
            attempts.len(),
            "INSERT INTO executions (proposal, commit_id, idempotency_key, claimed_at, execution) \
             SELECT proposal, commit_id, idempotency_key, claimed_at, execution::json",
        )
        .array(
            "uuid",
            column(attempts, |(moved, _)| moved.proposal.id().uuid()),
        )
        .array(
            "uuid",
            column(attempts, |(_, attempt)| attempt.commit_id.uuid()),
        )
        .array(
            "text",
            column(attempts, |(_, attempt)| attempt.idempotency_key.as_str()),
        )
        .array(
            "timestamptz",
            column(attempts, |(_, attempt)| instant(attempt.claimed_at)),
        )
        .array("text", column(attempts, |(moved, _)| moved.execution()))
        .tail(
            "AS v (proposal, commit_id, idempotency_key, claimed_at, execution) \
             ON CONFLICT (proposal) DO UPDATE SET execution = excluded.execution \
             WHERE executions.commit_id = excluded.commit_id \
               AND executions.idempotency_key = excluded.idempotency_key",
        );
}

/// A proposal as it ends up, and which change says so.
struct Moved<'a> {
    proposal: &'a Proposal,
    change: &'a Prepared,
    /// 0 where the change inserts it, 1 where it updates it.
    column: usize,
}

impl Moved<'_> {
    fn moving(&self) -> Option<&str> {
        self.change.moving[self.column].as_deref()
    }

    fn execution(&self) -> Option<&str> {
        self.change.execution[self.column].as_deref()
    }
}

/// One column of many rows.
fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

fn burns(parts: &mut Parts, batch: &[Prepared], plan: &Plan) {
    let burn = |index: &usize| batch[*index].rows.burn;
    let burns: Vec<_> = plan.burns.iter().filter_map(burn).collect();
    if burns.is_empty() {
        return;
    }
    parts
        .begin(
            burns.len(),
            "INSERT INTO nonces (nonce, kept_until) SELECT *",
        )
        .array("bytea", column(&burns, |(nonce, _)| nonce.bytes().to_vec()))
        .array("bigint", column(&burns, |(_, kept_until)| *kept_until))
        .tail("ON CONFLICT DO NOTHING");
}

fn budgets(parts: &mut Parts, plan: &Plan) {
    let (pots, held) = (&plan.pots, &plan.reservations);
    if !pots.is_empty() {
        parts
            .begin(
                pots.len(),
                "UPDATE pots t SET pending = v.pending, posted = v.posted",
            )
            .array("text", column(pots, |(pot, _)| pot.org.as_str()))
            .array("text", column(pots, |(pot, _)| pot.agent.as_str()))
            .array("int", column(pots, |(pot, _)| pot.day.number()))
            .array("text", column(pots, |(pot, _)| pot.currency.to_string()))
            .array("bigint", column(pots, |(_, budget)| budget.pending))
            .array("bigint", column(pots, |(_, budget)| budget.posted))
            .tail(
                "AS v (org, agent, day, currency, pending, posted) WHERE t.org = v.org \
                 AND t.agent = v.agent AND t.day = v.day AND t.currency = v.currency",
            );
    }
    if !held.is_empty() {
        parts
            .begin(
                held.len(),
                "INSERT INTO reservations \
                 (proposal, org, agent, day, currency, amount, posted, standing) SELECT *",
            )
            .array("uuid", column(held, |(id, _)| id.uuid()))
            .array("text", column(held, |(_, held)| held.pot.org.as_str()))
            .array("text", column(held, |(_, held)| held.pot.agent.as_str()))
            .array("int", column(held, |(_, held)| held.pot.day.number()))
            .array(
                "text",
                column(held, |(_, held)| held.pot.currency.to_string()),
            )
            .array("bigint", column(held, |(_, held)| held.amount))
            .array("bigint", column(held, |(_, held)| held.posted))
            .array("text", column(held, |(_, held)| held.standing.name()))
            .tail(
                "ON CONFLICT (proposal) \
                 DO UPDATE SET posted = excluded.posted, standing = excluded.standing",
            );
    }
}

fn docs(parts: &mut Parts, batch: &[Prepared], plan: &Plan) {
    let docs = &plan.docs;
    let key = |index: usize, position: usize| &batch[index].rows.docs[position].key;
    if !docs.is_empty() {
        parts
            .begin(
                docs.len(),
                "UPDATE docs t SET version = v.version, body = v.body::json",
            )
            .array(
                "text",
                column(docs, |(_, index, at)| key(*index, *at).kind.as_str()),
            )
            .array(
                "text",
                column(docs, |(_, index, at)| key(*index, *at).org.as_str()),
            )
            .array(
                "text",
                column(docs, |(_, index, at)| key(*index, *at).id.as_str()),
            )
            .array(
                "bigint",
                column(docs, |(state, _, _)| signed(state.version)),
            )
            .array(
                "text",
                column(docs, |(_, index, at)| batch[*index].docs[*at].as_deref()),
            )
            .tail(
                "AS v (kind, org, id, version, body) \
                 WHERE t.kind = v.kind AND t.org = v.org AND t.id = v.id",
            );
    }
    if plan.epoch_rises {
        parts.raise_docs_epoch();
    }
}

fn notices(parts: &mut Parts, batch: &[Prepared], plan: &Plan) {
    let told = plan.told.iter().map(|index| &batch[*index]);
    let notices: Vec<&str> = told
        .clone()
        .flat_map(|change| &change.notices)
        .map(|text| &**text)
        .collect();
    let urgencies: Vec<i64> = told
        .flat_map(|change| &change.rows.notices)
        .map(|notice| notice.kind.urgency())
        .collect();
    if notices.is_empty() {
        return;
    }
    parts
        .begin(
            notices.len(),
            "INSERT INTO outbox (due_at, notice, urgency) SELECT 'epoch', notice::json, urgency",
        )
        .array("text", notices)
        .array("integer", urgencies)
        .tail("AS v (notice, urgency)");
}

/// False if there are none; otherwise the part `s` says what their numbers are counted from.
fn records(parts: &mut Parts, batch: &[Prepared], plan: &Plan) -> bool {
    let told = plan.told.iter().map(|index| &batch[*index]);
    let records: Vec<(&Record, Option<&str>)> = told
        .flat_map(|change| change.rows.records.iter().zip(&change.details))
        .map(|(record, detail)| (record, detail.as_deref()))
        .collect();
    if records.is_empty() {
        return false;
    }
    let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
    parts
        .query
        .push(", s AS (UPDATE counters SET value = value + ")
        .push_bind(count)
        .push(" WHERE name = 'last_seq' RETURNING value - ")
        .push_bind(count)
        .push(" AS base)");
    let records = &records;
    parts
        .begin(
            records.len(),
            "INSERT INTO records (seq, at, org, kind, decision, reason, actor, agent, proposal, \
             tool, payout, amount, currency, detail) \
             SELECT s.base + v.n, at, org, kind, decision, reason, actor, agent, proposal, tool, \
             payout, amount, currency, detail::json FROM s, LATERAL (SELECT *",
        )
        .array(
            "timestamptz",
            column(records, |(record, _)| instant(record.at)),
        )
        .array("text", column(records, |(record, _)| record.org.as_str()))
        .array("text", column(records, |(record, _)| record.kind.name()))
        .array(
            "text",
            column(records, |(record, _)| record.decision.name()),
        )
        .array(
            "text",
            column(records, |(record, _)| record.reason.as_str()),
        )
        .array("text", column(records, |(record, _)| record.actor.as_str()))
        .array(
            "text",
            column(records, |(record, _)| {
                record.agent.as_ref().map(|agent| agent.as_str())
            }),
        )
        .array(
            "uuid",
            column(records, |(record, _)| record.proposal.map(|id| id.uuid())),
        )
        .array(
            "text",
            column(records, |(record, _)| {
                record.tool.as_ref().map(|tool| tool.as_str())
            }),
        )
        .array(
            "text",
            column(records, |(record, _)| record.payout.as_deref()),
        )
        .array("bigint", column(records, |(record, _)| record.amount))
        .array(
            "text",
            column(records, |(record, _)| {
                record.currency.as_ref().map(ToString::to_string)
            }),
        )
        .array("text", column(records, |(_, detail)| *detail))
        .tail(
            "WITH ORDINALITY AS u (at, org, kind, decision, reason, actor, agent, proposal, tool, \
             payout, amount, currency, detail, n)) v",
        );
    true
}
