//! Everything that only reads. Each read is one statement, and so sees one moment.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use crate::domain::change::{Doc, DocKey, Pot, Record};
use crate::domain::facts::PastPayout;
use crate::domain::ids::{AgentId, OrgId, ProposalId};
use crate::domain::money::Currency;
use crate::domain::proposal::Proposal;
use crate::domain::time::Timestamp;
use crate::store::stored::{ProposalColumns, corrupt, json, name, unsigned};
use crate::store::{
    Budget, LEASE_HORIZON_MS, ProposalFilter, RecordFilter, Standings, StoreError, StoredRecord,
    Waiting,
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

type Read<T> = Result<T, StoreError>;

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
    let oldest: Option<i64> = get(&row, 2)?;
    Ok(Standings {
        held: get(&row, 0)?,
        unsettled: get(&row, 1)?,
        oldest_unsettled: oldest.map(Timestamp::from_millis),
    })
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
    unsigned(get(&row, 0)?)
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
    if let Some(decision) = &filter.decision {
        query.push(" AND decision = ").push_bind(decision);
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
    match query.fetch_optional(pool).await.map_err(failed)? {
        None => Ok(Budget::default()),
        Some(row) => Ok(Budget {
            pending: get(&row, 0)?,
            posted: get(&row, 1)?,
        }),
    }
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
         WHERE org = ?1 AND agent = ?2 AND amount IS NOT NULL \
           AND state IN ('allowed', 'committing', 'in_doubt', 'executed') \
         ORDER BY id DESC LIMIT ?3",
    );
    let query = query.bind(org.as_str()).bind(agent.as_str()).bind(limit);
    let rows = query.fetch_all(pool).await.map_err(failed)?;
    let payouts = rows.iter().map(|row| {
        Ok(PastPayout {
            at: Timestamp::from_millis(get(row, 0)?),
            minor: get(row, 1)?,
            payee: get(row, 2)?,
            vendor: get(row, 3)?,
        })
    });
    payouts.collect()
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
    rows.iter().map(|row| get(row, 0).and_then(name)).collect()
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

/// Messages in the order they were written. One that does not read back stays hidden and is
/// reported, so that it does not stop the others.
pub(super) fn waiting(rows: &[SqliteRow]) -> Read<Vec<Waiting>> {
    let mut waiting = Vec::with_capacity(rows.len());
    for row in rows {
        let id = get(row, 0)?;
        match get(row, 2).and_then(json) {
            Ok(notice) => waiting.push(Waiting {
                id,
                attempts: get(row, 1)?,
                notice,
            }),
            Err(error) => tracing::error!(id, %error, "a message in the outbox is unreadable"),
        }
    }
    waiting.sort_by_key(|waiting| waiting.id);
    Ok(waiting)
}

fn proposal_of(row: &SqliteRow) -> Read<Proposal> {
    let columns = ProposalColumns {
        fixed: get(row, 0)?,
        state: get(row, 1)?,
        version: get(row, 2)?,
        moving: get(row, 3)?,
        execution: get(row, 4)?,
    };
    columns.proposal()
}

fn doc_of(row: &SqliteRow) -> Read<Doc> {
    let kind: String = get(row, 0)?;
    Ok(Doc {
        key: DocKey {
            kind,
            org: name(get(row, 1)?)?,
            id: get(row, 2)?,
        },
        version: unsigned(get(row, 3)?)?,
        body: json(get(row, 4)?)?,
    })
}

fn record_of(row: &SqliteRow) -> Read<StoredRecord> {
    let optional = |column: usize| get::<Option<&str>>(row, column);
    let proposal: Option<uuid::Uuid> = get(row, 8)?;
    let record = Record {
        at: Timestamp::from_millis(get(row, 1)?),
        org: name(get(row, 2)?)?,
        kind: get(row, 3)?,
        decision: get(row, 4)?,
        reason: get(row, 5)?,
        actor: get(row, 6)?,
        agent: optional(7)?.map(name).transpose()?,
        proposal: proposal.map(ProposalId::from_uuid),
        tool: optional(9)?.map(name).transpose()?,
        payout: get(row, 10)?,
        amount: get(row, 11)?,
        currency: match optional(12)? {
            None => None,
            Some(code) => Some(Currency::parse(code).ok_or_else(|| corrupt("currency", code))?),
        },
        detail: match optional(13)? {
            None => serde_json::Value::Null,
            Some(text) => json(text)?,
        },
    };
    Ok(StoredRecord {
        seq: get(row, 0)?,
        record,
    })
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
