//! The connections that read: a bounded number, each checked before its first use.
//!
//! Every question has an end: waiting for a free place, connecting, and the answer itself. A
//! connection that broke or fell silent is thrown away at once, and so are the idle ones, which
//! most likely share its fate; so a server that comes back is used again by the very next
//! question. (A pool that examines connections when they are given back would wait for a silent
//! one as long as TCP does.)
//!
//! A session may have died while it was idle, which shows only when it is used. So a question whose
//! connection broke is asked once more, on a new one: it only reads, and whoever asked need not
//! hear of it. A statement that changes something ([`Readers::change`], [`Readers::execute`]) is
//! never repeated here.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Arguments, AssertSqlSafe, Postgres};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::connect::{self, ACQUIRE_TIMEOUT, OpenError};
use super::instant;
use super::wait::{self, ANSWER_TIMEOUT, Lost};
use crate::store::StoreError;
use crate::store::question::{Question, Value};

/// Reading connections of one node.
const READERS: usize = 8;
/// An idle connection is not used again after this, so that a burst does not keep the server
/// busy, and so that one which a firewall forgot meanwhile is not trusted.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A question as it is sent.
pub(super) type Asked = Query<'static, Postgres, PgArguments>;

pub(super) fn query(asked: &Question) -> Result<Asked, StoreError> {
    let mut arguments = PgArguments::default();
    for value in &asked.values {
        let added = match value {
            Value::Text(text) => arguments.add(text),
            Value::Number(number) => arguments.add(number),
            Value::Id(id) => arguments.add(id),
            Value::Time(at) => arguments.add(instant(*at)),
            Value::MaybeTime(at) => arguments.add(at.map(instant)),
        };
        // What cannot be sent is nobody's fault but the statement's.
        added.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    }
    Ok(sqlx::query_with(
        AssertSqlSafe(asked.text.clone()),
        arguments,
    ))
}

/// Asks questions, at most [`READERS`] at a time.
pub(super) struct Readers {
    options: PgConnectOptions,
    places: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    conn: PgConnection,
    since: Instant,
}

impl Readers {
    /// With a first connection, so that a server that cannot be used is told at once.
    pub async fn open(options: PgConnectOptions) -> Result<Self, OpenError> {
        let conn = connect::checked(&options).await?;
        let readers = Self {
            options,
            places: Semaphore::new(READERS),
            idle: Mutex::default(),
        };
        readers.give_back(conn);
        Ok(readers)
    }

    /// All rows of an answer.
    pub async fn all(&self, asked: Question) -> Result<Vec<PgRow>, StoreError> {
        let (_place, mut conn) = self.take().await?;
        let mut answer = wait::answer(query(&asked)?.fetch_all(&mut conn)).await;
        if let Err(Lost::Broke(_)) = &answer {
            conn = self.another(conn).await?;
            answer = wait::answer(query(&asked)?.fetch_all(&mut conn)).await;
        }
        self.judge(conn, answer)
    }

    /// The first row of an answer, if it has one.
    pub async fn optional(&self, asked: Question) -> Result<Option<PgRow>, StoreError> {
        let (_place, mut conn) = self.take().await?;
        let mut answer = wait::answer(query(&asked)?.fetch_optional(&mut conn)).await;
        if let Err(Lost::Broke(_)) = &answer {
            conn = self.another(conn).await?;
            answer = wait::answer(query(&asked)?.fetch_optional(&mut conn)).await;
        }
        self.judge(conn, answer)
    }

    /// All rows that a statement changed and gives back. Asked once: if its answer is lost, the
    /// change may have been made.
    pub async fn change(&self, asked: Question) -> Result<Vec<PgRow>, StoreError> {
        let (_place, mut conn) = self.take().await?;
        let answer = wait::answer(query(&asked)?.fetch_all(&mut conn)).await;
        self.judge(conn, answer)
    }

    /// Carries out a small statement of its own, and says how many rows it touched.
    pub async fn execute(&self, asked: Question) -> Result<u64, StoreError> {
        let (_place, mut conn) = self.take().await?;
        let answer = wait::answer(query(&asked)?.execute(&mut conn)).await;
        self.judge(conn, answer).map(|done| done.rows_affected())
    }

    /// A place and a connection. Whoever drops the connection closes it.
    async fn take(&self) -> Result<(tokio::sync::SemaphorePermit<'_>, PgConnection), StoreError> {
        let unavailable = |why: &str| StoreError::Unavailable(why.to_owned());
        let place = match timeout(ACQUIRE_TIMEOUT, self.places.acquire()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(unavailable("the store is closed")),
            Err(_) => return Err(unavailable("all reading connections are busy")),
        };
        let conn = match self.idle_one() {
            Some(conn) => conn,
            None => self.connect().await?,
        };
        Ok((place, conn))
    }

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let connected = connect::checked(&self.options).await;
        connected.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// A new connection in place of one that broke.
    async fn another(&self, broken: PgConnection) -> Result<PgConnection, StoreError> {
        drop(broken);
        self.idle().clear();
        tracing::debug!("a reading connection broke; asking again on a new one");
        self.connect().await
    }

    fn idle_one(&self) -> Option<PgConnection> {
        let mut idle = self.idle();
        // The last one in is the first one out, so that a quiet node keeps few of them.
        let last = idle.pop()?;
        if last.since.elapsed() < IDLE_TIMEOUT {
            return Some(last.conn);
        }
        // Those below are older still.
        idle.clear();
        None
    }

    fn give_back(&self, conn: PgConnection) {
        let since = Instant::now();
        self.idle().push(Idle { conn, since });
    }

    /// Keeps a connection that answered, even with a no; throws away one that did not.
    fn judge<T>(&self, conn: PgConnection, answer: Result<T, Lost>) -> Result<T, StoreError> {
        match answer {
            Ok(answer) => {
                self.give_back(conn);
                Ok(answer)
            }
            Err(Lost::Said(error)) => {
                self.give_back(conn);
                Err(StoreError::Unavailable(error.to_string()))
            }
            Err(lost @ (Lost::Broke(_) | Lost::Late)) => {
                drop(conn);
                self.idle().clear();
                let limit = ANSWER_TIMEOUT.as_secs();
                tracing::debug!(%lost, limit, "a reading connection is given up");
                Err(StoreError::Unavailable(lost.to_string()))
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A list of connections is whole whoever panicked while holding it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
