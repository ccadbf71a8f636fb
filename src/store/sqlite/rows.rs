//! Writes what a plan says, each table with one statement however many rows there are, and all
//! tables in one round trip.

use std::sync::LazyLock;

use sqlx::sqlite::SqliteConnection;

use super::bulk::{self, Bulk, Part, Row};
use super::read::query;
use crate::domain::change::{Record, Rows};
use crate::domain::proposal::{Execution, Proposal};
use crate::domain::time::Timestamp;
use crate::store::besides;
use crate::store::plan::Plan;
use crate::store::prepared::{Json, Prepared};
use crate::store::stored::{due_at, signed};

macro_rules! bulk {
    ($name:ident, $columns:literal, $text:literal) => {
        static $name: LazyLock<Bulk> = LazyLock::new(|| Bulk::new($text, $columns));
    };
}

bulk!(
    INSERT_PROPOSALS,
    14,
    "INSERT INTO proposals (id, org, agent, tool, caller_key, amount, payee, vendor, created_at, \
     fixed_json, state, version, due_at, moving_json) \
     SELECT * FROM {} WHERE column1 IS NOT NULL"
);
bulk!(
    UPDATE_PROPOSALS,
    5,
    "UPDATE proposals SET state = column2, version = column3, due_at = column4, \
     moving_json = column5 FROM {} WHERE id = column1"
);
bulk!(
    WRITE_EXECUTIONS,
    5,
    "INSERT INTO executions (proposal, commit_id, idempotency_key, claimed_at, execution_json) \
     SELECT * FROM {} WHERE column1 IS NOT NULL \
     ON CONFLICT (proposal) DO UPDATE SET execution_json = excluded.execution_json \
     WHERE commit_id = excluded.commit_id AND idempotency_key = excluded.idempotency_key"
);
bulk!(
    INSERT_NONCES,
    2,
    "INSERT INTO nonces (nonce, kept_until) SELECT * FROM {} WHERE column1 IS NOT NULL"
);
bulk!(
    WRITE_POTS,
    6,
    "INSERT INTO pots (org, agent, day, currency, pending, posted) \
     SELECT * FROM {} WHERE column1 IS NOT NULL \
     ON CONFLICT DO UPDATE SET pending = excluded.pending, posted = excluded.posted"
);
bulk!(
    WRITE_RESERVATIONS,
    8,
    "INSERT INTO reservations (proposal, org, agent, day, currency, amount, posted, standing) \
     SELECT * FROM {} WHERE column1 IS NOT NULL \
     ON CONFLICT DO UPDATE SET posted = excluded.posted, standing = excluded.standing"
);
bulk!(
    WRITE_DOCS,
    5,
    "INSERT INTO docs (kind, org, id, version, body_json) \
     SELECT * FROM {} WHERE column1 IS NOT NULL \
     ON CONFLICT DO UPDATE SET version = excluded.version, body_json = excluded.body_json"
);
bulk!(
    INSERT_RECORDS,
    14,
    "INSERT INTO records (seq, at, org, kind, decision, reason, actor, agent, proposal, tool, \
     payout, amount, currency, detail_json) \
     SELECT * FROM {} WHERE column1 IS NOT NULL"
);
bulk!(
    INSERT_NOTICES,
    3,
    "INSERT INTO outbox (due_at, notice_json, urgency) SELECT * FROM {} WHERE column1 IS NOT NULL"
);

/// Writes the survivors of a batch into the open transaction.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    batch: &[Prepared],
    plan: &Plan,
) -> Result<(), sqlx::Error> {
    let [pots, reservations] = budgets(plan);
    let [inserted, updated, executions, nonces] = proposals(batch, plan);
    let [records, notices] = told(batch, plan);
    let parts = [
        inserted,
        updated,
        executions,
        nonces,
        pots,
        reservations,
        docs(batch, plan),
        records,
        notices,
    ];
    bulk::run(conn, &parts).await?;
    for told in besides::told(batch, plan) {
        let query = query(told).map_err(|error| sqlx::Error::Encode(error.to_string().into()))?;
        query.execute(&mut *conn).await?;
    }
    if plan.epoch_rises {
        let raise = "UPDATE meta SET value = value + 1 WHERE name = 'docs_epoch'";
        sqlx::query(raise).execute(conn).await?;
    }
    Ok(())
}

fn proposals<'a>(batch: &'a [Prepared], plan: &Plan) -> [Part<'a>; 4] {
    let inserted: Vec<(&Proposal, &Prepared)> = chosen(batch, &plan.inserts, |rows| &rows.insert);
    let updated: Vec<(&Proposal, &Prepared)> = chosen(batch, &plan.updates, |rows| &rows.update);
    let mut attempts: Vec<(&Proposal, &Execution, &Json)> = Vec::new();
    for (column, proposals) in [&inserted, &updated].into_iter().enumerate() {
        attempts.extend(proposals.iter().filter_map(|(proposal, change)| {
            let (attempt, text) = (
                proposal.execution.as_ref(),
                change.execution[column].as_ref(),
            );
            Some((*proposal, attempt?, text?))
        }));
    }
    let burned = plan
        .burns
        .iter()
        .filter_map(|index| batch[*index].rows.burn);
    let burned: Vec<_> = burned.collect();
    [
        INSERT_PROPOSALS.rows(inserted.len(), move |row, n| {
            let (proposal, change) = inserted[n];
            insert_proposal(row, proposal, change);
        }),
        UPDATE_PROPOSALS.rows(updated.len(), move |row, n| {
            let (proposal, change) = updated[n];
            row.add(proposal.id().uuid())
                .add(proposal.state.name())
                .add(signed(proposal.version))
                .add(due_at(proposal).map(Timestamp::millis))
                .add(change.moving[1].clone());
        }),
        WRITE_EXECUTIONS.rows(attempts.len(), move |row, n| {
            let (proposal, attempt, text) = attempts[n];
            row.add(proposal.id().uuid())
                .add(attempt.commit_id.uuid())
                .text(&attempt.idempotency_key)
                .add(attempt.claimed_at.millis())
                .add(text.clone());
        }),
        INSERT_NONCES.rows(burned.len(), move |row, n| {
            let (nonce, kept_until) = burned[n];
            row.add(nonce.bytes().to_vec()).add(kept_until);
        }),
    ]
}

/// The proposals that the chosen changes insert or update.
fn chosen<'a>(
    batch: &'a [Prepared],
    indices: &[usize],
    of: impl Fn(&Rows) -> &Option<Box<Proposal>>,
) -> Vec<(&'a Proposal, &'a Prepared)> {
    let changes = indices.iter().map(|index| &batch[*index]);
    changes
        .filter_map(|change| Some((of(&change.rows).as_deref()?, change)))
        .collect()
}

fn insert_proposal(row: &mut Row, proposal: &Proposal, change: &Prepared) {
    let fixed = &proposal.fixed;
    let moves_money = fixed.effective.moves_money();
    row.add(fixed.id.uuid())
        .text(fixed.org.as_str())
        .text(fixed.agent.as_str())
        .text(fixed.tool.as_str())
        .add(fixed.idempotency_key.clone())
        .add(moves_money.then(|| fixed.effective.minor()))
        .add(fixed.payee.identity())
        .add(fixed.payee.vendor())
        .add(fixed.created_at.millis())
        .add(change.fixed.clone())
        .add(proposal.state.name())
        .add(signed(proposal.version))
        .add(due_at(proposal).map(Timestamp::millis))
        .add(change.moving[0].clone());
}

fn budgets(plan: &Plan) -> [Part<'_>; 2] {
    [
        WRITE_POTS.rows(plan.pots.len(), |row, n| {
            let (pot, budget) = &plan.pots[n];
            row.text(pot.org.as_str())
                .text(pot.agent.as_str())
                .add(pot.day.number())
                .text(pot.currency.code())
                .add(budget.pending)
                .add(budget.posted);
        }),
        WRITE_RESERVATIONS.rows(plan.reservations.len(), |row, n| {
            let (id, held) = &plan.reservations[n];
            row.add(id.uuid())
                .text(held.pot.org.as_str())
                .text(held.pot.agent.as_str())
                .add(held.pot.day.number())
                .text(held.pot.currency.code())
                .add(held.amount)
                .add(held.posted)
                .add(held.standing.name());
        }),
    ]
}

fn docs<'a>(batch: &'a [Prepared], plan: &'a Plan) -> Part<'a> {
    WRITE_DOCS.rows(plan.docs.len(), |row, n| {
        let (state, index, position) = plan.docs[n];
        let change = &batch[index];
        let key = &change.rows.docs[position].key;
        row.text(&key.kind)
            .text(key.org.as_str())
            .text(&key.id)
            .add(signed(state.version))
            .add(change.docs[position].clone());
    })
}

fn told<'a>(batch: &'a [Prepared], plan: &'a Plan) -> [Part<'a>; 2] {
    let mut records: Vec<(i64, &Record, &Option<Json>)> = Vec::new();
    let mut notices: Vec<(&Json, i64)> = Vec::new();
    for index in &plan.told {
        let change = &batch[*index];
        let first = plan.fates[*index]
            .as_ref()
            .map_or(0, |applied| applied.first_seq);
        let numbered = (first..).zip(change.rows.records.iter().zip(&change.details));
        records.extend(numbered.map(|(seq, (record, detail))| (seq, record, detail)));
        let urgencies = change
            .rows
            .notices
            .iter()
            .map(|notice| notice.kind.urgency());
        notices.extend(change.notices.iter().zip(urgencies));
    }
    [
        INSERT_RECORDS.rows(records.len(), move |row, n| {
            let (seq, record, detail) = records[n];
            insert_record(row, seq, record, detail);
        }),
        INSERT_NOTICES.rows(notices.len(), move |row, n| {
            // Due at once, whatever the clocks of two nodes say.
            let (notice, urgency) = notices[n];
            row.add(0_i64).add(notice.clone()).add(urgency);
        }),
    ]
}

fn insert_record(row: &mut Row, seq: i64, record: &Record, detail: &Option<Json>) {
    row.add(seq)
        .add(record.at.millis())
        .text(record.org.as_str())
        .text(record.kind.name())
        .text(record.decision.name())
        .text(&record.reason)
        .text(&record.actor)
        .add(record.agent.as_ref().map(|agent| agent.as_str()))
        .add(record.proposal.map(|id| id.uuid()))
        .add(record.tool.as_ref().map(|tool| tool.as_str()))
        .add(record.payout.as_deref())
        .add(record.amount)
        .add(record.currency.as_ref().map(|currency| currency.code()))
        .add(detail.clone());
}
