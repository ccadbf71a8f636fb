//! The store in Postgres, for many nodes.
//!
//! Durable: every connection is checked for `synchronous_commit`, and `off` does not start. Each
//! node groups its waiting changes into one transaction ([`group`](super::group)); between nodes
//! the database decides: what a batch depends on is locked before it is decided, and what cannot
//! be locked because it does not exist yet is decided by constraints.
//!
//! A COMMIT whose answer is lost is read back by the number of its batch. Every wait has an
//! end: for a connection, for a lock, for a statement, for an answer.

mod bell;
mod connect;
mod read;
mod readers;
mod rows;
mod snapshot;
mod wait;
mod write;

use std::sync::OnceLock;

use sqlx::postgres::PgConnectOptions;
use time::OffsetDateTime;
use time::macros::datetime;

use self::bell::Bell;
use self::readers::Readers;
use self::write::Writer;
use super::group::{Group, MAX_BATCH};
use crate::ambient::Ambient;
use crate::domain::ids::hex;
use crate::domain::time::Timestamp;

pub use self::connect::OpenError;
pub(super) use self::connect::{drop_schema, make_schema};

/// Later than anything that is ever written, and within what Postgres and its clients can show.
const LAST_INSTANT: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// A store on a server. Dropping it lets the writer finish what it was given.
pub struct Postgres {
    group: Group,
    readers: Readers,
    instance: String,
    options: PgConnectOptions,
    /// Only of a process that answers requests.
    bell: OnceLock<Bell>,
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
        let options = connect::options(url)?;
        let mut conn = connect::writer(&options).await?;
        let name = hex(&ambient.bytes::<16>());
        let instance = connect::migrate(&mut conn, &options, &name).await?;
        let readers = Readers::open(options.clone()).await?;
        let writer = Writer::new(options.clone(), conn, ambient.bytes()).await;
        Ok(Self {
            readers,
            group: Group::start(writer, limit),
            instance,
            options,
            bell: OnceLock::new(),
        })
    }

    /// The random name that this database got when it was made: the audience of its tokens, the
    /// same for all nodes.
    pub fn instance(&self) -> &str {
        &self.instance
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
