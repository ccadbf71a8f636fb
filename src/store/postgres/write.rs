//! The one writing connection of this node.
//!
//! A batch is one transaction: lock and read what its conditions need, let
//! [`plan`](crate::store::plan) decide, write the survivors, commit once. Other nodes do the same;
//! rows are locked in one order, and where another node came first with a row that could not be
//! locked because it did not exist, the batch is run again.
//!
//! When the answer to a COMMIT is lost, the server is asked what became of the transaction, by its
//! number, on a new connection. Only if it does not answer that either is the outcome unknown.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Executor, Row};
use tokio::time::Instant;

use super::snapshot::Locked;
use super::{connect, rows, snapshot};
use crate::domain::change::Applied;
use crate::store::group::Bulk;
use crate::store::plan::{self, Needs};
use crate::store::prepared::Prepared;
use crate::store::{ApplyError, StoreError};

/// Longest wait for one answer of the server. Above the server's own limit of 10 s for a
/// statement, so that it is the server that gives up, unless nobody is there any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// How often a batch is run again because other nodes came first.
const ATTEMPTS: u32 = 5;
/// How long a lost COMMIT is asked about before it is called unknown.
const READ_BACK: Duration = Duration::from_secs(10);
/// Pause between two such questions.
const READ_BACK_PAUSE: Duration = Duration::from_millis(50);

type Fates = Vec<Result<Applied, ApplyError>>;

/// The connection, and what it takes to open another.
pub(super) struct Writer {
    options: PgConnectOptions,
    conn: Option<PgConnection>,
}

/// Why a batch was not written, or not known to be.
enum Failure {
    /// Another node came first; nothing was written and trying again decides anew.
    Raced(String),
    /// One of the changes is at fault; nothing was written.
    OneAlone(String),
    /// Nothing was written.
    Undone(String),
    /// Nobody can say.
    Unknown(String),
}

impl Writer {
    pub fn new(options: PgConnectOptions, conn: PgConnection) -> Self {
        Self {
            options,
            conn: Some(conn),
        }
    }

    async fn batch(&mut self, batch: &[Prepared]) -> Fates {
        match self.attempts(batch).await {
            Ok(fates) => fates,
            Err(Failure::OneAlone(why)) if batch.len() > 1 => {
                tracing::warn!(error = %why, "a batch failed; applying one by one");
                let mut fates = Vec::with_capacity(batch.len());
                for change in batch {
                    let fate = self.attempts(std::slice::from_ref(change)).await;
                    fates.push(match fate.map(|mut fates| fates.pop()) {
                        Ok(Some(fate)) => fate,
                        Ok(None) => Err(Failure::Undone("no answer".to_owned()).told().into()),
                        Err(failure) => Err(failure.told().into()),
                    });
                }
                fates
            }
            Err(failure) => {
                let told = failure.told();
                tracing::error!(error = %told, changes = batch.len(), "a batch was not written");
                batch.iter().map(|_| Err(told.clone().into())).collect()
            }
        }
    }

    async fn attempts(&mut self, batch: &[Prepared]) -> Result<Fates, Failure> {
        let mut attempt = 1;
        loop {
            match self.transaction(batch).await {
                Err(Failure::Raced(_)) if attempt < ATTEMPTS => attempt += 1,
                done => return done,
            }
        }
    }

    /// The fates of a batch that was committed, or that had nothing to commit.
    async fn transaction(&mut self, batch: &[Prepared]) -> Result<Fates, Failure> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => connect::writer(&self.options)
                .await
                .map_err(|error| Failure::Undone(error.to_string()))?,
        };
        match decide(&mut conn, batch).await {
            Ok(Decided::Refused(fates)) => {
                self.keep(conn, "ROLLBACK").await;
                Ok(fates)
            }
            Ok(Decided::Written(fates, locked)) => match answer(conn.execute("COMMIT")).await {
                Ok(_) => {
                    self.conn = Some(conn);
                    Ok(fates)
                }
                Err(Lost::Said(why)) => {
                    self.keep(conn, "ROLLBACK").await;
                    Err(Failure::Undone(why.to_string()))
                }
                Err(lost) => {
                    drop(conn);
                    self.read_back(&locked, lost).await.map(|()| fates)
                }
            },
            Err(failure) => {
                self.keep(conn, "ROLLBACK").await;
                Err(failure)
            }
        }
    }

    /// Keeps the connection for the next batch if it can still be brought back to a clean state.
    async fn keep(&mut self, mut conn: PgConnection, end: &'static str) {
        if answer(conn.execute(end)).await.is_ok() {
            self.conn = Some(conn);
        }
    }

    /// What became of a transaction whose COMMIT was not answered. `Ok` if it was committed.
    async fn read_back(&mut self, locked: &Locked, lost: Lost) -> Result<(), Failure> {
        let deadline = Instant::now() + READ_BACK;
        let mut last = lost.to_string();
        while Instant::now() < deadline {
            match self.status(locked).await {
                Ok(Some(true)) => return Ok(()),
                Ok(Some(false)) => return Err(Failure::Undone(last)),
                Ok(None) => {}
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(READ_BACK_PAUSE).await;
        }
        Err(Failure::Unknown(last))
    }

    /// `None` while it is still under way. Its backend is told to stop waiting for us: then it
    /// ends one way or the other, and lets go of its locks.
    async fn status(&mut self, locked: &Locked) -> Result<Option<bool>, StoreError> {
        let unavailable = |error: String| StoreError::Unavailable(error);
        let conn = connect::writer(&self.options).await;
        let mut conn = conn.map_err(|error| unavailable(error.to_string()))?;
        let query = sqlx::query(
            "SELECT txid_status($1), (SELECT bool_or(pg_terminate_backend(pid)) \
             FROM pg_stat_activity WHERE pid = $2 AND backend_xid::text::bigint = $1 % 4294967296)",
        )
        .bind(locked.transaction)
        .bind(i32::try_from(locked.backend).unwrap_or(0));
        let row = answer(query.fetch_one(&mut conn)).await;
        let row = row.map_err(|error| unavailable(error.to_string()))?;
        let status: Option<String> = row.try_get(0).map_err(|e| unavailable(e.to_string()))?;
        self.conn = Some(conn);
        Ok(match status.as_deref() {
            Some("committed") => Some(true),
            Some("aborted") => Some(false),
            _ => None,
        })
    }
}

enum Decided {
    /// Committing is all that is left.
    Written(Fates, Box<Locked>),
    /// Every change of it ran into a conflict.
    Refused(Fates),
}

async fn decide(conn: &mut PgConnection, batch: &[Prepared]) -> Result<Decided, Failure> {
    let changes = || batch.iter().map(|change| &change.rows);
    answer(conn.execute("BEGIN"))
        .await
        .map_err(Failure::before)?;
    let needs = Needs::of(changes());
    let writes_docs = changes().any(|rows| !rows.docs.is_empty());
    let lock = snapshot::lock(conn, &needs, writes_docs);
    let mut locked = answer(lock).await.map_err(Failure::before)?;
    let ensure = snapshot::ensure(conn, &needs, &locked.snapshot);
    if answer(ensure).await.map_err(Failure::before)? {
        let lock = snapshot::lock(conn, &needs, writes_docs);
        locked = answer(lock).await.map_err(Failure::before)?;
    }
    let (plan, _) = plan::plan(changes(), std::mem::take(&mut locked.snapshot));
    if plan.is_empty() {
        let fates = plan.fates.into_iter();
        return Ok(Decided::Refused(
            fates.map(|fate| fate.map_err(Into::into)).collect(),
        ));
    }
    let base = answer(rows::write(conn, batch, &plan))
        .await
        .map_err(Failure::before)?;
    let Some(base) = base else {
        return Err(Failure::Raced("another node came first".to_owned()));
    };
    let numbered = |fate: Applied| Applied {
        first_seq: if fate.first_seq == 0 {
            0
        } else {
            base + fate.first_seq
        },
    };
    let fates = plan.fates.into_iter();
    let fates = fates
        .map(|fate| fate.map(numbered).map_err(Into::into))
        .collect();
    Ok(Decided::Written(fates, Box::new(locked)))
}

/// Why an answer did not come, or was a no.
#[derive(Debug, thiserror::Error)]
enum Lost {
    /// The server said no.
    #[error("{0}")]
    Said(sqlx::Error),
    /// The connection broke.
    #[error("{0}")]
    Broke(sqlx::Error),
    /// Nobody answered in time.
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Late,
}

async fn answer<T>(asking: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Lost> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error @ sqlx::Error::Database(_))) if !ends_session(&error) => {
            Err(Lost::Said(error))
        }
        Ok(Err(error)) => Err(Lost::Broke(error)),
        Err(_) => Err(Lost::Late),
    }
}

/// Class 57P: the server is shutting down or has ended this session, maybe after committing.
fn ends_session(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("57P"))
}

impl Failure {
    /// Before COMMIT was asked for: whatever it is, nothing was written.
    fn before(lost: Lost) -> Self {
        let why = lost.to_string();
        let Lost::Said(error) = lost else {
            return Failure::Undone(why);
        };
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            // Deadlock, serialization failure: the server chose this one to give way.
            Some("40P01" | "40001") => Failure::Raced(why),
            // 23: a constraint; 22: a value that Postgres does not take.
            Some(code) if code.starts_with("23") || code.starts_with("22") => {
                Failure::OneAlone(why)
            }
            _ if matches!(error, sqlx::Error::Encode(_)) => Failure::OneAlone(why),
            _ => Failure::Undone(why),
        }
    }

    fn told(self) -> StoreError {
        match self {
            Failure::Raced(why) | Failure::OneAlone(why) | Failure::Undone(why) => {
                StoreError::Unavailable(why)
            }
            Failure::Unknown(why) => StoreError::Unknown(why),
        }
    }
}

impl Bulk for Writer {
    async fn write(&mut self, batch: &[Prepared]) -> Fates {
        self.batch(batch).await
    }
}
