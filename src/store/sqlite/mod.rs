//! The store in one SQLite file, for one machine. Several processes may share the file.
//!
//! Durable: WAL with `synchronous=FULL`, read back on every connection; anything weaker does not
//! start. Once `apply` has returned, the change has been flushed to disk. Changes that wait
//! together share one transaction and one flush ([`group`](super::group)); all conditions are
//! decided inside the write transaction, because another process may have written a moment ago.
//!
//! When the disk is full, read-only or failing, writes are refused with
//! [`StoreError::Unavailable`](super::StoreError::Unavailable) and work again by themselves once it is well.

mod bulk;
mod checkpoint;
mod connect;
mod read;
mod rows;
mod snapshot;
mod write;

use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::sync::Mutex;

use self::checkpoint::Checkpoints;
use self::write::{Shared, Writer};
use super::group::{Group, MAX_BATCH};
use crate::ambient::Ambient;
use crate::domain::ids::hex;

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
