//! The store in Postgres, for many nodes.
//!
//! Durable: every connection is checked for `synchronous_commit`, and `off` does not start. Each
//! node groups its waiting changes into one transaction ([`group`](super::group)); between nodes
//! the database decides: what a batch depends on is locked before it is decided, and what cannot
//! be locked because it does not exist yet is decided by constraints.
//!
//! A COMMIT whose answer is lost is read back by the number of its batch. Every wait has an
//! end: for a connection, for a lock, for a statement, for an answer.

mod connect;
mod read;
mod readers;
mod rows;
mod snapshot;
mod wait;
mod write;

use async_trait::async_trait;
use sqlx::postgres::PgConnectOptions;
use time::OffsetDateTime;
use time::macros::datetime;

use self::readers::Readers;
use self::write::Writer;
use super::columns::waiting;
use super::group::{Group, MAX_BATCH};
use super::{
    ApplyError, Budget, Lately, ProposalFilter, RecordFilter, Same, Standings, Store, StoreError,
    StoredRecord, Waiting,
};
use crate::ambient::Ambient;
use crate::domain::change::{Applied, Change, Doc, DocKey, Pot};
use crate::domain::facts::{Earlier, PastPayout};
use crate::domain::ids::{AgentId, OrgId, ProposalId, hex};
use crate::domain::proposal::Proposal;
use crate::domain::retention::Old;
use crate::domain::time::Timestamp;

pub use self::connect::OpenError;

/// Later than anything that is ever written, and within what Postgres and its clients can show.
const LAST_INSTANT: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// A store on a server. Dropping it lets the writer finish what it was given.
pub struct Postgres {
    group: Group,
    readers: Readers,
    instance: String,
}

impl Postgres {
    /// Connects to `postgres://...` and brings the schema up to date.
    pub async fn open(url: &str, ambient: &Ambient) -> Result<Self, OpenError> {
        Self::open_limited(url, ambient, MAX_BATCH).await
    }

    /// The same with up to `limit` changes in one transaction; 1 turns grouping off.
    pub async fn open_limited(
        url: &str,
        ambient: &Ambient,
        limit: usize,
    ) -> Result<Self, OpenError> {
        Self::open_at(connect::options(url)?, ambient, limit).await
    }

    /// Makes a place beside the real store, a new schema of the same database: to measure with.
    /// Ends with [`Postgres::drop_scratch`].
    pub async fn make_scratch(url: &str, schema: &str) -> Result<(), OpenError> {
        connect::schema(url, schema, connect::Schema::Make).await
    }

    /// A store in such a place; `limit` as for [`Postgres::open_limited`].
    pub async fn open_scratch(
        url: &str,
        schema: &str,
        ambient: &Ambient,
        limit: usize,
    ) -> Result<Self, OpenError> {
        let options = connect::options(url)?.options([("search_path", schema)]);
        Self::open_at(options, ambient, limit).await
    }

    /// Removes what [`Postgres::make_scratch`] made, rows and all.
    pub async fn drop_scratch(url: &str, schema: &str) -> Result<(), OpenError> {
        connect::schema(url, schema, connect::Schema::Drop).await
    }

    async fn open_at(
        options: PgConnectOptions,
        ambient: &Ambient,
        limit: usize,
    ) -> Result<Self, OpenError> {
        let mut conn = connect::writer(&options).await?;
        let name = hex(&ambient.bytes::<16>());
        let instance = connect::migrate(&mut conn, &options, &name).await?;
        let readers = Readers::open(options.clone()).await?;
        let writer = Writer::new(options, conn, ambient.bytes()).await;
        Ok(Self {
            readers,
            group: Group::start(writer, limit),
            instance,
        })
    }

    /// The random name that this database got when it was made: the audience of its tokens, the
    /// same for all nodes.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

#[async_trait]
impl Store for Postgres {
    async fn apply(&self, change: Change) -> Result<Applied, ApplyError> {
        self.group.apply(change).await
    }

    async fn proposal(&self, id: ProposalId) -> Result<Option<Proposal>, StoreError> {
        read::proposal(&self.readers, id).await
    }

    async fn by_key(
        &self,
        org: &OrgId,
        agent: &AgentId,
        key: &str,
    ) -> Result<Option<Proposal>, StoreError> {
        read::by_key(&self.readers, org, agent, key).await
    }

    async fn proposals(&self, filter: &ProposalFilter) -> Result<Vec<Proposal>, StoreError> {
        read::proposals(&self.readers, filter).await
    }

    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<Proposal>, StoreError> {
        read::lapsed(&self.readers, now, limit).await
    }

    async fn unsettled(&self, now: Timestamp, limit: u32) -> Result<Vec<Proposal>, StoreError> {
        read::unsettled(&self.readers, now, limit).await
    }

    async fn standings(&self) -> Result<Standings, StoreError> {
        read::standings(&self.readers).await
    }

    async fn doc(&self, key: &DocKey) -> Result<Option<Doc>, StoreError> {
        read::doc(&self.readers, key).await
    }

    async fn docs(&self, kind: &str, org: Option<&OrgId>) -> Result<Vec<Doc>, StoreError> {
        read::docs(&self.readers, kind, org).await
    }

    async fn docs_epoch(&self) -> Result<u64, StoreError> {
        read::docs_epoch(&self.readers).await
    }

    async fn records(&self, filter: &RecordFilter) -> Result<Vec<StoredRecord>, StoreError> {
        read::records(&self.readers, filter).await
    }

    async fn budget(&self, pot: &Pot) -> Result<Budget, StoreError> {
        read::budget(&self.readers, pot).await
    }

    async fn history(
        &self,
        org: &OrgId,
        agent: &AgentId,
        limit: u32,
    ) -> Result<Vec<PastPayout>, StoreError> {
        read::history(&self.readers, org, agent, limit).await
    }

    async fn sum_lately(&self, lately: &Lately) -> Result<i64, StoreError> {
        read::sum_lately(&self.readers, lately).await
    }

    async fn same_lately(
        &self,
        lately: &Lately,
        same: &Same,
    ) -> Result<Option<Earlier>, StoreError> {
        read::same_lately(&self.readers, lately, same).await
    }

    async fn agents(&self, org: &OrgId) -> Result<Vec<AgentId>, StoreError> {
        read::agents(&self.readers, org).await
    }

    async fn take_notices(
        &self,
        now: Timestamp,
        hidden_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Waiting>, StoreError> {
        let query = sqlx::query(
            "UPDATE outbox SET due_at = $2, attempts = attempts + 1 \
             WHERE id IN (SELECT id FROM outbox WHERE due_at <= $1 \
                          ORDER BY urgency, due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED) \
             RETURNING id, (attempts - 1)::bigint, notice::text",
        );
        let query = query.bind(instant(now)).bind(instant(hidden_until));
        let query = query.bind(i64::from(limit));
        waiting(&self.readers.change(query).await?)
    }

    async fn notice_done(&self, id: i64, retry_at: Option<Timestamp>) -> Result<(), StoreError> {
        let query = match retry_at {
            None => sqlx::query("DELETE FROM outbox WHERE id = $1").bind(id),
            Some(at) => sqlx::query("UPDATE outbox SET due_at = $2 WHERE id = $1")
                .bind(id)
                .bind(instant(at)),
        };
        self.readers.execute(query).await.map(drop)
    }

    async fn prune_nonces(&self, now_secs: i64, limit: u32) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "DELETE FROM nonces WHERE nonce IN \
             (SELECT nonce FROM nonces WHERE kept_until < $1 ORDER BY kept_until LIMIT $2)",
        );
        let query = query.bind(now_secs).bind(i64::from(limit));
        self.readers.execute(query).await
    }

    async fn count_old(&self, old: Old, before: Timestamp) -> Result<u64, StoreError> {
        read::count_old(&self.readers, old, before).await
    }

    async fn drop_old(&self, old: Old, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let text = match old {
            Old::RefusedProposals => {
                "DELETE FROM proposals WHERE state = 'blocked' AND id IN \
                 (SELECT id FROM proposals WHERE state = 'blocked' AND id < $2 \
                  AND created_at < $1 ORDER BY id LIMIT $3)"
            }
            Old::SeenWebhooks => {
                "DELETE FROM docs WHERE kind = 'webhook' AND (kind, org, id) IN \
                 (SELECT kind, org, id FROM docs WHERE kind = 'webhook' AND $2::uuid IS NOT NULL \
                  AND (body IS NULL OR to_timestamp((body->>'at')::float8 / 1000) < $1) LIMIT $3)"
            }
        };
        let query = sqlx::query(text).bind(instant(before));
        let query = query.bind(ProposalId::at(before, [0; 10]).uuid());
        self.readers.execute(query.bind(i64::from(limit))).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE counters SET value = value + 1 WHERE name = 'ping'");
        self.readers.execute(query).await.map(drop)
    }
}

/// An instant in Postgres' own type; beyond year 9999 it is the end of that year.
fn instant(at: Timestamp) -> OffsetDateTime {
    let nanos = i128::from(at.millis()) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(LAST_INSTANT)
}

/// Milliseconds since the epoch.
fn timestamp(at: OffsetDateTime) -> Timestamp {
    let millis = at.unix_timestamp_nanos().div_euclid(1_000_000);
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
