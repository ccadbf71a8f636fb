//! The store in one SQLite file, for one machine. Several processes may share the file.
//!
//! Durable: WAL with `synchronous=FULL`, read back on every connection; anything weaker does not
//! start. Once `apply` has returned, the change has been flushed to disk. Changes that wait
//! together share one transaction and one flush ([`group`](super::group)); all conditions are
//! decided inside the write transaction, because another process may have written a moment ago.
//!
//! When the disk is full, read-only or failing, writes are refused with
//! [`StoreError::Unavailable`] and work again by themselves once it is well.

mod bulk;
mod checkpoint;
mod connect;
mod read;
mod rows;
mod snapshot;
mod write;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Executor;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::sync::Mutex;

use self::checkpoint::Checkpoints;
use self::write::{Shared, Writer};
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

/// A store in one file. Dropping it lets the writer finish what it was given.
pub struct Sqlite {
    group: Group,
    writer: Arc<Mutex<Writer>>,
    readers: SqlitePool,
    instance: String,
}

impl Sqlite {
    /// Opens or creates the file (readable by its owner alone) and brings its schema up to date.
    pub async fn open(path: &Path, ambient: &Ambient) -> Result<Self, OpenError> {
        Self::open_with(connect::durable(path), ambient, MAX_BATCH).await
    }

    /// The same with up to `limit` changes in one transaction; 1 turns grouping off.
    pub async fn open_limited(
        path: &Path,
        ambient: &Ambient,
        limit: usize,
    ) -> Result<Self, OpenError> {
        Self::open_with(connect::durable(path), ambient, limit).await
    }

    /// The same with given options. Refused unless they turn out durable.
    pub async fn open_with(
        options: SqliteConnectOptions,
        ambient: &Ambient,
        limit: usize,
    ) -> Result<Self, OpenError> {
        connect::make_private(&options)?;
        let options = connect::tuned(options);
        let conn = connect::start(&options, &hex(&ambient.bytes::<16>())).await?;
        let readers = connect::readers(&options).await?;
        let instance = connect::instance(&options, &readers).await?;
        let checkpoints = Checkpoints::start(connect::writer(&options).await?);
        let writer = Arc::new(Mutex::new(Writer::new(options, conn)));
        Ok(Self {
            group: Group::start(
                Shared {
                    writer: Arc::clone(&writer),
                    checkpoints,
                },
                limit,
            ),
            writer,
            readers,
            instance,
        })
    }

    /// The random name that this database got when it was made: the audience of its tokens.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

#[async_trait]
impl Store for Sqlite {
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
        // Asked every second or so: most of the time there is nothing worth a flush.
        if !read::notices_due(&self.readers, now).await? {
            return Ok(Vec::new());
        }
        let mut writer = self.writer.lock().await;
        let taken = writer.alone(async |conn| {
            sqlx::query(
                "UPDATE outbox SET due_at = ?2, attempts = attempts + 1 \
                 WHERE id IN (SELECT id FROM outbox WHERE due_at <= ?1 \
                              ORDER BY urgency, due_at, id LIMIT ?3) \
                 RETURNING id, attempts - 1, notice_json",
            )
            .bind(now.millis())
            .bind(hidden_until.millis())
            .bind(limit)
            .fetch_all(conn)
            .await
        });
        waiting(&taken.await?)
    }

    async fn notice_done(&self, id: i64, retry_at: Option<Timestamp>) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        let done = writer.alone(async |conn| {
            let query = match retry_at {
                None => sqlx::query("DELETE FROM outbox WHERE id = ?1").bind(id),
                Some(at) => sqlx::query("UPDATE outbox SET due_at = ?2 WHERE id = ?1")
                    .bind(id)
                    .bind(at.millis()),
            };
            query.execute(conn).await
        });
        done.await.map(drop)
    }

    async fn prune_nonces(&self, now_secs: i64, limit: u32) -> Result<u64, StoreError> {
        if !read::nonces_expired(&self.readers, now_secs).await? {
            return Ok(0);
        }
        let mut writer = self.writer.lock().await;
        let pruned = writer.alone(async |conn| {
            sqlx::query(
                "DELETE FROM nonces WHERE nonce IN \
                 (SELECT nonce FROM nonces WHERE kept_until < ?1 ORDER BY kept_until LIMIT ?2)",
            )
            .bind(now_secs)
            .bind(limit)
            .execute(conn)
            .await
        });
        Ok(pruned.await?.rows_affected())
    }

    async fn count_old(&self, old: Old, before: Timestamp) -> Result<u64, StoreError> {
        read::count_old(&self.readers, old, before).await
    }

    async fn drop_old(&self, old: Old, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        // Looked for beside the writer, so that nobody waits while there is nothing to drop.
        let rows = read::old_rows(&self.readers, old, before, limit).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let table = match old {
            Old::RefusedProposals => "proposals",
            Old::SeenWebhooks => "docs",
        };
        let list: Vec<String> = rows.iter().map(i64::to_string).collect();
        let text = format!("DELETE FROM {table} WHERE rowid IN ({})", list.join(","));
        let mut writer = self.writer.lock().await;
        let dropped = writer.alone(async |conn| {
            sqlx::query(sqlx::AssertSqlSafe(text))
                .persistent(false)
                .execute(conn)
                .await
        });
        Ok(dropped.await?.rows_affected())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        if writer.proven() {
            return Ok(());
        }
        let pinged = writer.alone(async |conn| {
            conn.execute(
                "INSERT INTO meta (name, value) VALUES ('ping', 1) \
                 ON CONFLICT DO UPDATE SET value = value + 1",
            )
            .await
        });
        pinged.await.map(drop)
    }
}
