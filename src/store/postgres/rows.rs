//! Writes what a plan says: every table in one statement, and one more for the records.
//!
//! Rows travel as arrays, one per column. What another node may have inserted meanwhile is left
//! alone by `ON CONFLICT DO NOTHING` and noticed by counting: then the batch is run again and
//! decided anew. The audit's numbers come last, because whoever numbers records makes the other
//! nodes wait until it has committed.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::{PgArguments, PgConnection, Postgres};
use sqlx::query::Query;
use time::OffsetDateTime;
use uuid::Uuid;

use super::instant;
use crate::domain::change::Record;
use crate::domain::ids::ProposalId;
use crate::domain::proposal::{Execution, Proposal};
use crate::store::plan::Plan;
use crate::store::prepared::Prepared;
use crate::store::stored::{due_at, signed};

type Statement = Query<'static, Postgres, PgArguments>;

/// One count for each part, in the order of [`Counts`].
const WRITE: &str = "\
WITH a AS (
    INSERT INTO proposals (id, org, agent, tool, caller_key, amount, payee, vendor, created_at,
                           fixed, state, version, due_at, moving)
    SELECT id, org, agent, tool, caller_key, amount, payee, vendor, created_at,
           fixed::json, state, version, due_at, moving::json
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
                $7::text[], $8::text[], $9::timestamptz[], $10::text[], $11::text[],
                $12::bigint[], $13::timestamptz[], $14::text[])
        AS v (id, org, agent, tool, caller_key, amount, payee, vendor, created_at,
              fixed, state, version, due_at, moving)
    ON CONFLICT DO NOTHING RETURNING 1),
b AS (
    UPDATE proposals t SET state = v.state, version = v.version, due_at = v.due_at,
                           moving = v.moving::json
    FROM unnest($15::uuid[], $16::text[], $17::bigint[], $18::timestamptz[], $19::text[])
        AS v (id, state, version, due_at, moving)
    WHERE t.id = v.id RETURNING 1),
c AS (
    INSERT INTO executions (proposal, commit_id, idempotency_key, claimed_at, execution)
    SELECT proposal, commit_id, idempotency_key, claimed_at, execution::json
    FROM unnest($20::uuid[], $21::uuid[], $22::text[], $23::timestamptz[], $24::text[])
        AS v (proposal, commit_id, idempotency_key, claimed_at, execution)
    ON CONFLICT (proposal) DO UPDATE SET execution = excluded.execution
    WHERE executions.commit_id = excluded.commit_id
      AND executions.idempotency_key = excluded.idempotency_key RETURNING 1),
d AS (
    INSERT INTO nonces (nonce, kept_until)
    SELECT * FROM unnest($25::bytea[], $26::bigint[])
    ON CONFLICT DO NOTHING RETURNING 1),
e AS (
    UPDATE pots t SET pending = v.pending, posted = v.posted
    FROM unnest($27::text[], $28::text[], $29::int[], $30::text[], $31::bigint[], $32::bigint[])
        AS v (org, agent, day, currency, pending, posted)
    WHERE t.org = v.org AND t.agent = v.agent AND t.day = v.day AND t.currency = v.currency
    RETURNING 1),
f AS (
    INSERT INTO reservations (proposal, org, agent, day, currency, amount, posted, standing)
    SELECT * FROM unnest($33::uuid[], $34::text[], $35::text[], $36::int[], $37::text[],
                         $38::bigint[], $39::bigint[], $40::text[])
    ON CONFLICT (proposal) DO UPDATE SET posted = excluded.posted, standing = excluded.standing
    RETURNING 1),
g AS (
    UPDATE docs t SET version = v.version, body = v.body::json
    FROM unnest($41::text[], $42::text[], $43::text[], $44::bigint[], $45::text[])
        AS v (kind, org, id, version, body)
    WHERE t.kind = v.kind AND t.org = v.org AND t.id = v.id RETURNING 1),
h AS (
    INSERT INTO outbox (due_at, notice)
    SELECT 'epoch', notice::json FROM unnest($46::text[]) AS v (notice) RETURNING 1),
i AS (
    UPDATE counters SET value = value + 1 WHERE name = 'docs_epoch' AND $47 RETURNING 1)
SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), (SELECT count(*) FROM c),
       (SELECT count(*) FROM d), (SELECT count(*) FROM e), (SELECT count(*) FROM f),
       (SELECT count(*) FROM g), (SELECT count(*) FROM h), (SELECT count(*) FROM i)";

const NUMBER: &str = "\
WITH s AS (
    UPDATE counters SET value = value + $1 WHERE name = 'last_seq' RETURNING value - $1 AS base),
r AS (
    INSERT INTO records (seq, at, org, kind, decision, reason, actor, agent, proposal, tool,
                         payout, amount, currency, detail)
    SELECT s.base + v.n, at, org, kind, decision, reason, actor, agent, proposal, tool,
           payout, amount, currency, detail::json
    FROM s, unnest($2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                   $8::text[], $9::uuid[], $10::text[], $11::text[], $12::bigint[], $13::text[],
                   $14::text[]) WITH ORDINALITY
        AS v (at, org, kind, decision, reason, actor, agent, proposal, tool, payout, amount,
              currency, detail, n)
    RETURNING 1)
SELECT s.base, (SELECT count(*) FROM r) FROM s";

/// Rows that each part of [`WRITE`] must have written.
type Counts = [usize; 9];

/// Writes the survivors into the open transaction. Returns the number that the records' own
/// numbers are counted from, or `None` if another node came first somewhere.
pub(super) async fn write(
    conn: &mut PgConnection,
    batch: &[Prepared],
    plan: &Plan,
) -> Result<Option<i64>, sqlx::Error> {
    let (query, expected) = statement(batch, plan);
    if expected != Counts::default() {
        let row = query.fetch_one(&mut *conn).await?;
        for (column, expected) in expected.into_iter().enumerate() {
            let written: i64 = row.try_get(column)?;
            if usize::try_from(written) != Ok(expected) {
                return Ok(None);
            }
        }
    }
    let told = plan.told.iter().map(|index| &batch[*index]);
    let records: Vec<(&Record, Option<String>)> = told
        .flat_map(|change| change.rows.records.iter().zip(&change.details))
        .map(|(record, detail)| (record, detail.as_deref().map(str::to_owned)))
        .collect();
    if records.is_empty() {
        return Ok(Some(0));
    }
    let row = number(&records).fetch_one(conn).await?;
    Ok(Some(row.try_get(0)?))
}

fn statement(batch: &[Prepared], plan: &Plan) -> (Statement, Counts) {
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
    let burns: Vec<_> = plan
        .burns
        .iter()
        .filter_map(|index| batch[*index].rows.burn)
        .collect();
    let notices: Vec<String> = plan
        .told
        .iter()
        .flat_map(|index| &batch[*index].notices)
        .map(|text| text.to_string())
        .collect();
    let counts = [
        inserts.len(),
        updates.len(),
        attempts.len(),
        burns.len(),
        plan.pots.len(),
        plan.reservations.len(),
        plan.docs.len(),
        notices.len(),
        usize::from(plan.epoch_rises),
    ];
    let query = bind_inserts(sqlx::query(WRITE), &inserts)
        .bind(column(&updates, |moved| moved.proposal.id().uuid()))
        .bind(column(&updates, |moved| moved.proposal.state.name()))
        .bind(column(&updates, |moved| signed(moved.proposal.version)))
        .bind(column(&updates, |moved| {
            due_at(moved.proposal).map(instant)
        }))
        .bind(column(&updates, Moved::moving))
        .bind(column(&attempts, |(moved, _)| moved.proposal.id().uuid()))
        .bind(column(&attempts, |(_, attempt)| attempt.commit_id.uuid()))
        .bind(column(&attempts, |(_, attempt)| {
            attempt.idempotency_key.clone()
        }))
        .bind(column(&attempts, |(_, attempt)| {
            instant(attempt.claimed_at)
        }))
        .bind(column(&attempts, |(moved, _)| moved.execution()))
        .bind(column(&burns, |(nonce, _)| nonce.bytes().to_vec()))
        .bind(column(&burns, |(_, kept_until)| *kept_until));
    let query = bind_budgets(query, plan);
    let query = bind_docs(query, batch, plan);
    (query.bind(notices).bind(plan.epoch_rises), counts)
}

/// A proposal as it ends up, and which change says so.
struct Moved<'a> {
    proposal: &'a Proposal,
    change: &'a Prepared,
    /// 0 where the change inserts it, 1 where it updates it.
    column: usize,
}

impl Moved<'_> {
    fn moving(&self) -> Option<String> {
        self.change.moving[self.column]
            .as_deref()
            .map(str::to_owned)
    }

    fn execution(&self) -> Option<String> {
        self.change.execution[self.column]
            .as_deref()
            .map(str::to_owned)
    }
}

/// One column of many rows.
fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

fn bind_inserts(query: Statement, inserts: &[(&Prepared, Moved<'_>)]) -> Statement {
    let fixed =
        |row: &(&Prepared, Moved<'_>)| row.0.rows.insert.as_deref().map(|p| p.fixed.clone());
    let fixed: Vec<_> = inserts.iter().filter_map(fixed).collect();
    query
        .bind(column(&fixed, |fixed| fixed.id.uuid()))
        .bind(column(&fixed, |fixed| fixed.org.to_string()))
        .bind(column(&fixed, |fixed| fixed.agent.to_string()))
        .bind(column(&fixed, |fixed| fixed.tool.to_string()))
        .bind(column(&fixed, |fixed| fixed.idempotency_key.clone()))
        .bind(column(&fixed, |fixed| {
            let effective = &fixed.effective;
            effective.moves_money().then(|| effective.minor())
        }))
        .bind(column(&fixed, |fixed| fixed.payee.identity()))
        .bind(column(&fixed, |fixed| fixed.payee.name.clone()))
        .bind(column(&fixed, |fixed| instant(fixed.created_at)))
        .bind(column(inserts, |(change, _)| {
            change.fixed.as_deref().map(str::to_owned)
        }))
        .bind(column(inserts, |(_, last)| last.proposal.state.name()))
        .bind(column(inserts, |(_, last)| signed(last.proposal.version)))
        .bind(column(inserts, |(_, last)| {
            due_at(last.proposal).map(instant)
        }))
        .bind(column(inserts, |(_, last)| last.moving()))
}

fn bind_budgets(query: Statement, plan: &Plan) -> Statement {
    let (pots, held) = (&plan.pots, &plan.reservations);
    query
        .bind(column(pots, |(pot, _)| pot.org.to_string()))
        .bind(column(pots, |(pot, _)| pot.agent.to_string()))
        .bind(column(pots, |(pot, _)| pot.day.number()))
        .bind(column(pots, |(pot, _)| pot.currency.to_string()))
        .bind(column(pots, |(_, budget)| budget.pending))
        .bind(column(pots, |(_, budget)| budget.posted))
        .bind(column(held, |(id, _)| id.uuid()))
        .bind(column(held, |(_, held)| held.pot.org.to_string()))
        .bind(column(held, |(_, held)| held.pot.agent.to_string()))
        .bind(column(held, |(_, held)| held.pot.day.number()))
        .bind(column(held, |(_, held)| held.pot.currency.to_string()))
        .bind(column(held, |(_, held)| held.amount))
        .bind(column(held, |(_, held)| held.posted))
        .bind(column(held, |(_, held)| held.standing.name()))
}

fn bind_docs(query: Statement, batch: &[Prepared], plan: &Plan) -> Statement {
    let docs = &plan.docs;
    let key = |index: usize, position: usize| &batch[index].rows.docs[position].key;
    query
        .bind(column(docs, |(_, index, at)| key(*index, *at).kind.clone()))
        .bind(column(docs, |(_, index, at)| {
            key(*index, *at).org.to_string()
        }))
        .bind(column(docs, |(_, index, at)| key(*index, *at).id.clone()))
        .bind(column(docs, |(state, _, _)| signed(state.version)))
        .bind(column(docs, |(_, index, at)| {
            batch[*index].docs[*at].as_deref().map(str::to_owned)
        }))
}

fn number(records: &[(&Record, Option<String>)]) -> Statement {
    let text = |of: fn(&Record) -> &String| column(records, |(record, _)| of(record).clone());
    let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
    let at: Vec<OffsetDateTime> = column(records, |(record, _)| instant(record.at));
    let proposals: Vec<Option<Uuid>> =
        column(records, |(record, _)| record.proposal.map(|id| id.uuid()));
    sqlx::query(NUMBER)
        .bind(count)
        .bind(at)
        .bind(column(records, |(record, _)| record.org.to_string()))
        .bind(text(|record| &record.kind))
        .bind(text(|record| &record.decision))
        .bind(text(|record| &record.reason))
        .bind(text(|record| &record.actor))
        .bind(column(records, |(record, _)| {
            record.agent.as_ref().map(ToString::to_string)
        }))
        .bind(proposals)
        .bind(column(records, |(record, _)| {
            record.tool.as_ref().map(ToString::to_string)
        }))
        .bind(column(records, |(record, _)| record.payout.clone()))
        .bind(column(records, |(record, _)| record.amount))
        .bind(column(records, |(record, _)| {
            record.currency.as_ref().map(ToString::to_string)
        }))
        .bind(column(records, |(_, detail)| detail.clone()))
}
