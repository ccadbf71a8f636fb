//! Everything that only reads. Each read is one statement, and so sees one moment.

use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};
use time::OffsetDateTime;

use super::readers::Readers;
use super::{instant, timestamp};

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
    Budget, LEASE_HORIZON_MS, Lately, ProposalFilter, RecordFilter, Same, Standings, StoredRecord,
};

/// The columns that [`proposal_of`] reads; conditions follow.
macro_rules! proposals {
    ($rest:literal) => {
        concat!(
            "SELECT p.fixed::text, p.state, p.version, p.moving::text, e.execution::text \
             FROM proposals p LEFT JOIN executions e ON e.proposal = p.id WHERE ",
            $rest
        )
    };
}

pub(super) async fn proposal(readers: &Readers, id: ProposalId) -> Read<Option<Proposal>> {
    let query = sqlx::query(proposals!("p.id = $1")).bind(id.uuid());
    let row = readers.optional(query).await?;
    row.as_ref().map(proposal_of).transpose()
}

pub(super) async fn by_key(
    readers: &Readers,
    org: &OrgId,
    agent: &AgentId,
    key: &str,
) -> Read<Option<Proposal>> {
    let query = sqlx::query(proposals!(
        "p.org = $1 AND p.agent = $2 AND p.caller_key = $3"
    ));
    let query = query.bind(org.as_str()).bind(agent.as_str()).bind(key);
    let row = readers.optional(query).await?;
    row.as_ref().map(proposal_of).transpose()
}

pub(super) async fn proposals(readers: &Readers, filter: &ProposalFilter) -> Read<Vec<Proposal>> {
    let mut query = QueryBuilder::<Postgres>::new(proposals!("true"));
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
        .push_bind(i64::from(filter.limit));
    let rows = readers.all(query.build()).await?;
    rows.iter().map(proposal_of).collect()
}

pub(super) async fn lapsed(readers: &Readers, now: Timestamp, limit: u32) -> Read<Vec<Proposal>> {
    // By the server's clock too: a node whose own runs ahead must not end what the others allowed.
    let query = sqlx::query(proposals!(
        "p.state IN ('held', 'allowed') AND p.due_at <= $1 AND p.due_at <= now() \
         ORDER BY p.due_at, p.id LIMIT $2"
    ));
    let query = query.bind(instant(now)).bind(i64::from(limit));
    readers.all(query).await?.iter().map(proposal_of).collect()
}

pub(super) async fn unsettled(
    readers: &Readers,
    now: Timestamp,
    limit: u32,
) -> Read<Vec<Proposal>> {
    let query = sqlx::query(proposals!(
        "p.state IN ('committing', 'in_doubt') AND p.due_at IS NOT NULL \
         AND (p.due_at <= $1 OR p.due_at > $2) ORDER BY p.due_at, p.id LIMIT $3"
    ));
    let query = query.bind(instant(now));
    let query = query.bind(instant(now.plus_millis(LEASE_HORIZON_MS)));
    let query = query.bind(i64::from(limit));
    readers.all(query).await?.iter().map(proposal_of).collect()
}

pub(super) async fn standings(readers: &Readers) -> Read<Standings> {
    let query = sqlx::query(
        "SELECT (SELECT count(*) FROM proposals WHERE state = 'held' AND due_at IS NOT NULL), \
                count(*), min(e.claimed_at) \
         FROM proposals p LEFT JOIN executions e ON e.proposal = p.id \
         WHERE p.state IN ('committing', 'in_doubt') AND p.due_at IS NOT NULL",
    );
    let row = readers.one(query).await?;
    standings_of(&row)
}

pub(super) async fn doc(readers: &Readers, key: &DocKey) -> Read<Option<Doc>> {
    let query = sqlx::query(
        "SELECT kind, org, id, version, body::text FROM docs \
         WHERE kind = $1 AND org = $2 AND id = $3 AND body IS NOT NULL",
    );
    let query = query.bind(&key.kind).bind(key.org.as_str()).bind(&key.id);
    let row = readers.optional(query).await?;
    row.as_ref().map(doc_of).transpose()
}

pub(super) async fn docs(readers: &Readers, kind: &str, org: Option<&OrgId>) -> Read<Vec<Doc>> {
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT kind, org, id, version, body::text FROM docs WHERE body IS NOT NULL",
    );
    query.push(" AND kind = ").push_bind(kind);
    if let Some(org) = org {
        query.push(" AND org = ").push_bind(org.as_str());
    }
    query.push(" ORDER BY org, id");
    let rows = readers.all(query.build()).await?;
    rows.iter().map(doc_of).collect()
}

pub(super) async fn docs_epoch(readers: &Readers) -> Read<u64> {
    let query = sqlx::query("SELECT value FROM counters WHERE name = 'docs_epoch'");
    let row = readers.one(query).await?;
    unsigned(row.number(0)?)
}

pub(super) async fn records(readers: &Readers, filter: &RecordFilter) -> Read<Vec<StoredRecord>> {
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT seq, at, org, kind, decision, reason, actor, agent, proposal, tool, payout, \
         amount, currency, detail::text FROM records WHERE true",
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
        query.push(" AND at >= ").push_bind(instant(since));
    }
    if let Some(until) = filter.until {
        query.push(" AND at < ").push_bind(instant(until));
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
    query.push(" LIMIT ").push_bind(i64::from(filter.limit));
    let rows = readers.all(query.build()).await?;
    rows.iter().map(record_of).collect()
}

pub(super) async fn budget(readers: &Readers, pot: &Pot) -> Read<Budget> {
    let query = sqlx::query(
        "SELECT pending, posted FROM pots \
         WHERE org = $1 AND agent = $2 AND day = $3 AND currency = $4",
    );
    let query = query
        .bind(pot.org.as_str())
        .bind(pot.agent.as_str())
        .bind(pot.day.number())
        .bind(pot.currency.code());
    budget_of(readers.optional(query).await?.as_ref())
}

pub(super) async fn history(
    readers: &Readers,
    org: &OrgId,
    agent: &AgentId,
    limit: u32,
) -> Read<Vec<PastPayout>> {
    // The condition repeats that of the index `proposals_paid`, word for word.
    let query = sqlx::query(
        "SELECT created_at, amount, payee, vendor FROM proposals \
         WHERE org = $1 AND agent = $2 AND amount IS NOT NULL AND state = 'executed' \
         ORDER BY id DESC LIMIT $3",
    );
    let query = query
        .bind(org.as_str())
        .bind(agent.as_str())
        .bind(i64::from(limit));
    let rows = readers.all(query).await?;
    rows.iter().map(past_of).collect()
}

pub(super) async fn sum_lately(readers: &Readers, lately: &Lately) -> Read<i64> {
    // A sum of bigints is a numeric: beyond the integers it is a large sum and not an error.
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT least(coalesce(sum(CASE r.standing WHEN 'pending' THEN p.amount \
         ELSE r.posted END), 0), 9000000000000000000)::bigint",
    );
    push_lately!(query, lately, instant);
    match readers.optional(query.build()).await? {
        Some(row) => row.number(0),
        None => Ok(0),
    }
}

pub(super) async fn same_lately(
    readers: &Readers,
    lately: &Lately,
    same: &Same,
) -> Read<Option<Earlier>> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT p.id, p.created_at, p.state");
    push_lately!(query, lately, instant);
    query.push(" AND p.amount = ").push_bind(same.amount);
    if let Some((tool, hash)) = &same.call {
        query.push(" AND p.tool = ").push_bind(tool.as_str());
        query
            .push(" AND p.fixed ->> 'args_hash' = ")
            .push_bind(hash.to_string());
    }
    query.push(" ORDER BY p.id LIMIT 1");
    let row = readers.optional(query.build()).await?;
    row.as_ref().map(earlier_of).transpose()
}

pub(super) async fn agents(readers: &Readers, org: &OrgId) -> Read<Vec<AgentId>> {
    // Jumps from one agent to the next in the index, however many proposals lie between.
    let query = sqlx::query(
        "WITH RECURSIVE found (agent) AS ( \
             SELECT min(agent) FROM proposals WHERE org = $1 \
             UNION ALL \
             SELECT (SELECT min(agent) FROM proposals WHERE org = $1 AND agent > found.agent) \
             FROM found WHERE found.agent IS NOT NULL) \
         SELECT agent FROM found WHERE agent IS NOT NULL",
    );
    let rows = readers.all(query.bind(org.as_str())).await?;
    rows.iter().map(|row| row.text(0).and_then(name)).collect()
}

pub(super) async fn count_old(readers: &Readers, old: Old, before: Timestamp) -> Read<u64> {
    let text = match old {
        Old::RefusedProposals => {
            "SELECT count(*) FROM proposals WHERE state = 'blocked' AND id < $2 AND created_at < $1"
        }
        Old::SeenWebhooks => {
            "SELECT count(*) FROM docs WHERE kind = 'webhook' AND $2::uuid IS NOT NULL \
             AND (body IS NULL OR to_timestamp((body->>'at')::float8 / 1000) < $1)"
        }
    };
    let query = sqlx::query(text).bind(instant(before));
    let query = query.bind(ProposalId::at(before, [0; 10]).uuid());
    unsigned(readers.one(query).await?.number(0)?)
}

impl Columns for PgRow {
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
        Ok(get::<Option<OffsetDateTime>>(self, column)?.map(timestamp))
    }
}

fn get<'r, T>(row: &'r PgRow, column: usize) -> Read<T>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    row.try_get(column)
        .map_err(|error| corrupt("column", error))
}
