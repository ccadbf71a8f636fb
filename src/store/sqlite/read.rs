//! Everything that only reads. Each read is one statement, and so sees one moment.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use crate::domain::change::{Doc, DocKey, Pot};
use crate::domain::facts::{Earlier, PastPayout};
use crate::domain::ids::{AgentId, OrgId, ProposalId};
use crate::domain::proposal::Proposal;
use crate::domain::retention::Old;
use crate::domain::time::Timestamp;
use crate::store::columns::{
    Columns, Read, budget_of, doc_of, past_of, proposal_of, record_of, standings_of,
};
use crate::store::lately::{earlier_of, push_lately};
use crate::store::stored::{corrupt, name, unsigned};
use crate::store::{
    Budget, LEASE_HORIZON_MS, Lately, ProposalFilter, RecordFilter, Same, Standings, StoreError,
    StoredRecord,
};

/// The columns that [`proposal_of`] reads; conditions follow.
macro_rules! proposals {
    ($rest:literal) => {
        concat!(
            "SELECT p.fixed_json, p.state, p.version, p.moving_json, e.execution_json \
             FROM proposals p LEFT JOIN executions e ON e.proposal = p.id WHERE ",
            $rest
        )
    };
}

pub(super) async fn proposal(pool: &SqlitePool, id: ProposalId) -> Read<Option<Proposal>> {
    let query = sqlx::query(proposals!("p.id = ?1")).bind(id.uuid());
    let row = query.fetch_optional(pool).await.map_err(failed)?;
    row.as_ref().map(proposal_of).transpose()
}

pub(super) async fn by_key(
    pool: &SqlitePool,
    org: &OrgId,
    agent: &AgentId,
    key: &str,
) -> Read<Option<Proposal>> {
    let query = sqlx::query(proposals!(
        "p.org = ?1 AND p.agent = ?2 AND p.caller_key = ?3"
    ));
    let query = query.bind(org.as_str()).bind(agent.as_str()).bind(key);
    let row = query.fetch_optional(pool).await.map_err(failed)?;
    row.as_ref().map(proposal_of).transpose()
}

pub(super) async fn proposals(pool: &SqlitePool, filter: &ProposalFilter) -> Read<Vec<Proposal>> {
    let mut query = QueryBuilder::<Sqlite>::new(proposals!("true"));
    if let Some(org) = &filter.org {
        query.push(" AND p.org = ").push_bind(org.as_str());
    }
    if let Some(agent) = &filter.agent {
        query.push(" AND p.agent = ").push_bind(agent.as_str());
    }
    if let Some(state) = filter.state {
        query.push(" AND p.state = ").push_bind(state.name());
        if !state.is_settled() {
            // The short list of live work, instead of a walk through all of history.
            query.push(" AND p.due_at IS NOT NULL");
        }
    }
    if let Some(tool) = &filter.tool {
        query.push(" AND p.tool = ").push_bind(tool);
    }
    if let Some(before) = filter.before {
        query.push(" AND p.id < ").push_bind(before.uuid());
    }
    query
        .push(" ORDER BY p.id DESC LIMIT ")
        .push_bind(filter.limit);
    let rows = query.build().fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(proposal_of).collect()
}

pub(super) async fn lapsed(pool: &SqlitePool, now: Timestamp, limit: u32) -> Read<Vec<Proposal>> {
    let query = sqlx::query(proposals!(
        "p.state IN ('held', 'allowed') AND p.due_at <= ?1 ORDER BY p.due_at, p.id LIMIT ?2"
    ));
    let rows = query.bind(now.millis()).bind(limit).fetch_all(pool);
    rows.await
        .map_err(failed)?
        .iter()
        .map(proposal_of)
        .collect()
}

pub(super) async fn unsettled(
    pool: &SqlitePool,
    now: Timestamp,
    limit: u32,
) -> Read<Vec<Proposal>> {
    let query = sqlx::query(proposals!(
        "p.state IN ('committing', 'in_doubt') AND p.due_at IS NOT NULL \
         AND (p.due_at <= ?1 OR p.due_at > ?2) ORDER BY p.due_at, p.id LIMIT ?3"
    ));
    let query = query.bind(now.millis());
    let query = query.bind(now.plus_millis(LEASE_HORIZON_MS).millis());
    let rows = query.bind(limit).fetch_all(pool);
    rows.await
        .map_err(failed)?
        .iter()
        .map(proposal_of)
        .collect()
}

pub(super) async fn standings(pool: &SqlitePool) -> Read<Standings> {
    let query = sqlx::query(
        "SELECT (SELECT count(*) FROM proposals WHERE state = 'held' AND due_at IS NOT NULL), \
                count(*), min(e.claimed_at) \
         FROM proposals p LEFT JOIN executions e ON e.proposal = p.id \
         WHERE p.state IN ('committing', 'in_doubt') AND p.due_at IS NOT NULL",
    );
    let row = query.fetch_one(pool).await.map_err(failed)?;
    standings_of(&row)
}

pub(super) async fn doc(pool: &SqlitePool, key: &DocKey) -> Read<Option<Doc>> {
    let query = sqlx::query(
        "SELECT kind, org, id, version, body_json FROM docs \
         WHERE kind = ?1 AND org = ?2 AND id = ?3 AND body_json IS NOT NULL",
    );
    let query = query.bind(&key.kind).bind(key.org.as_str()).bind(&key.id);
    let row = query.fetch_optional(pool).await.map_err(failed)?;
    row.as_ref().map(doc_of).transpose()
}

pub(super) async fn docs(pool: &SqlitePool, kind: &str, org: Option<&OrgId>) -> Read<Vec<Doc>> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT kind, org, id, version, body_json FROM docs WHERE body_json IS NOT NULL",
    );
    query.push(" AND kind = ").push_bind(kind);
    if let Some(org) = org {
        query.push(" AND org = ").push_bind(org.as_str());
    }
    query.push(" ORDER BY org, id");
    let rows = query.build().fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(doc_of).collect()
}

pub(super) async fn docs_epoch(pool: &SqlitePool) -> Read<u64> {
    let query = sqlx::query("SELECT value FROM meta WHERE name = 'docs_epoch'");
    let row = query.fetch_one(pool).await.map_err(failed)?;
    unsigned(row.number(0)?)
}

pub(super) async fn records(pool: &SqlitePool, filter: &RecordFilter) -> Read<Vec<StoredRecord>> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT seq, at, org, kind, decision, reason, actor, agent, proposal, tool, payout, \
         amount, currency, detail_json FROM records WHERE true",
    );
    if let Some(org) = &filter.org {
        query.push(" AND org = ").push_bind(org.as_str());
    }
    if let Some(agent) = &filter.agent {
        query.push(" AND agent = ").push_bind(agent.as_str());
    }
    if let Some(proposal) = filter.proposal {
        query.push(" AND proposal = ").push_bind(proposal.uuid());
    }
    if filter.webhooks_only {
        // Word for word the condition of the index `records_webhooks`.
        query.push(" AND kind = 'webhook'");
    }
    if let Some(payout) = &filter.payout {
        query.push(" AND payout = ").push_bind(payout);
    }
    if let Some(decision) = filter.decision {
        query.push(" AND decision = ").push_bind(decision.name());
    }
    if let Some(tool) = &filter.tool {
        query.push(" AND tool = ").push_bind(tool);
    }
    if let Some(since) = filter.since {
        query.push(" AND at >= ").push_bind(since.millis());
    }
    if let Some(until) = filter.until {
        query.push(" AND at < ").push_bind(until.millis());
    }
    if let Some(before) = filter.before_seq {
        query.push(" AND seq < ").push_bind(before);
    }
    match filter.after_seq {
        Some(seq) => query
            .push(" AND seq > ")
            .push_bind(seq)
            .push(" ORDER BY seq"),
        None => query.push(" ORDER BY seq DESC"),
    };
    query.push(" LIMIT ").push_bind(filter.limit);
    let rows = query.build().fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(record_of).collect()
}

pub(super) async fn budget(pool: &SqlitePool, pot: &Pot) -> Read<Budget> {
    let query = sqlx::query(
        "SELECT pending, posted FROM pots \
         WHERE org = ?1 AND agent = ?2 AND day = ?3 AND currency = ?4",
    );
    let query = query
        .bind(pot.org.as_str())
        .bind(pot.agent.as_str())
        .bind(pot.day.number())
        .bind(pot.currency.code());
    let row = query.fetch_optional(pool).await.map_err(failed)?;
    budget_of(row.as_ref())
}

pub(super) async fn history(
    pool: &SqlitePool,
    org: &OrgId,
    agent: &AgentId,
    limit: u32,
) -> Read<Vec<PastPayout>> {
    // The condition repeats that of the index `proposals_paid`, word for word.
    let query = sqlx::query(
        "SELECT created_at, amount, payee, vendor FROM proposals \
         WHERE org = ?1 AND agent = ?2 AND amount IS NOT NULL AND state = 'executed' \
         ORDER BY id DESC LIMIT ?3",
    );
    let query = query.bind(org.as_str()).bind(agent.as_str()).bind(limit);
    let rows = query.fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(past_of).collect()
}

pub(super) async fn sum_lately(pool: &SqlitePool, lately: &Lately) -> Read<i64> {
    // `total` adds doubles, which are exact as far as any limit goes: a sum beyond the integers
    // must be a large sum and not an error.
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT CAST(min(total(CASE r.standing WHEN 'pending' THEN p.amount ELSE r.posted END), \
         9e18) AS INTEGER)",
    );
    push_lately!(query, lately, Timestamp::millis);
    let row = query.build().fetch_one(pool).await.map_err(failed)?;
    row.number(0)
}

pub(super) async fn same_lately(
    pool: &SqlitePool,
    lately: &Lately,
    same: &Same,
) -> Read<Option<Earlier>> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT p.id, p.created_at, p.state");
    push_lately!(query, lately, Timestamp::millis);
    query.push(" AND p.amount = ").push_bind(same.amount);
    if let Some((tool, hash)) = &same.call {
        query.push(" AND p.tool = ").push_bind(tool.as_str());
        query
            .push(" AND json_extract(p.fixed_json, '$.args_hash') = ")
            .push_bind(hash.to_string());
    }
    query.push(" ORDER BY p.id LIMIT 1");
    let row = query.build().fetch_optional(pool).await.map_err(failed)?;
    row.as_ref().map(earlier_of).transpose()
}

pub(super) async fn agents(pool: &SqlitePool, org: &OrgId) -> Read<Vec<AgentId>> {
    // Jumps from one agent to the next in the index, however many proposals lie between.
    let query = sqlx::query(
        "WITH RECURSIVE found (agent) AS ( \
             SELECT min(agent) FROM proposals WHERE org = ?1 \
             UNION ALL \
             SELECT (SELECT min(agent) FROM proposals WHERE org = ?1 AND agent > found.agent) \
             FROM found WHERE found.agent IS NOT NULL) \
         SELECT agent FROM found WHERE agent IS NOT NULL",
    );
    let rows = query
        .bind(org.as_str())
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    rows.iter().map(|row| row.text(0).and_then(name)).collect()
}

pub(super) async fn notices_due(pool: &SqlitePool, now: Timestamp) -> Read<bool> {
    let query = sqlx::query("SELECT 1 FROM outbox WHERE due_at <= ?1 LIMIT 1");
    let row = query.bind(now.millis()).fetch_optional(pool).await;
    Ok(row.map_err(failed)?.is_some())
}

pub(super) async fn nonces_expired(pool: &SqlitePool, now_secs: i64) -> Read<bool> {
    let query = sqlx::query("SELECT 1 FROM nonces WHERE kept_until < ?1 LIMIT 1");
    let row = query.bind(now_secs).fetch_optional(pool).await;
    Ok(row.map_err(failed)?.is_some())
}

/// What is old, as a condition on rows of its table.
macro_rules! old {
    ($what:literal, $old:expr) => {
        match $old {
            // The condition of the index `proposals_refused`, word for word.
            Old::RefusedProposals => concat!(
                "SELECT ",
                $what,
                " FROM proposals WHERE state = 'blocked' AND id < ?2 AND created_at < ?1"
            ),
            Old::SeenWebhooks => concat!(
                "SELECT ",
                $what,
                " FROM docs WHERE kind = 'webhook' AND ?2 IS NOT NULL \
                 AND (body_json IS NULL OR json_extract(body_json, '$.at') < ?1)"
            ),
        }
    };
}

pub(super) async fn count_old(pool: &SqlitePool, old: Old, before: Timestamp) -> Read<u64> {
    let query = sqlx::query(old!("count(*)", old)).bind(before.millis());
    let query = query.bind(ProposalId::at(before, [0; 10]).uuid());
    let row = query.fetch_one(pool).await.map_err(failed)?;
    unsigned(row.number(0)?)
}

pub(super) async fn old_rows(
    pool: &SqlitePool,
    old: Old,
    before: Timestamp,
    limit: u32,
) -> Read<Vec<i64>> {
    let text = format!("{} LIMIT ?3", old!("rowid", old));
    let query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(before.millis());
    let query = query
        .bind(ProposalId::at(before, [0; 10]).uuid())
        .bind(limit);
    let rows = query.fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(|row| row.number(0)).collect()
}

impl Columns for SqliteRow {
    fn maybe_text(&self, column: usize) -> Read<Option<&str>> {
        get(self, column)
    }

    fn maybe_number(&self, column: usize) -> Read<Option<i64>> {
        get(self, column)
    }

    fn maybe_id(&self, column: usize) -> Read<Option<uuid::Uuid>> {
        get(self, column)
    }

    fn maybe_time(&self, column: usize) -> Read<Option<Timestamp>> {
        Ok(self.maybe_number(column)?.map(Timestamp::from_millis))
    }
}

fn get<'r, T>(row: &'r SqliteRow, column: usize) -> Read<T>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    row.try_get(column)
        .map_err(|error| corrupt("column", error))
}

fn failed(error: sqlx::Error) -> StoreError {
    const CORRUPT: i32 = 11;
    const NOT_A_DATABASE: i32 = 26;
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.and_then(|code| code.parse::<i32>().ok());
    match code.map(|code| code & 0xff) {
        Some(CORRUPT | NOT_A_DATABASE) => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}
