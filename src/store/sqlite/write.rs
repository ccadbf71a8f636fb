//! The one writing connection.
//!
//! A batch is one `BEGIN IMMEDIATE` transaction: read what its conditions need, let
//! [`plan`](crate::store::plan) decide, write the survivors with multi-row statements, commit
//! once. Other processes may share the file, so nothing read before the lock counts.
//!
//! The schema's constraints repeat the conditions. Should one of them, or anything else that may
//! concern one change alone, stop a batch, its changes are applied one by one, so that the others
//! do not suffer. After any other failure the connection is dropped and opened anew for the next
//! batch: a disk that was full or read-only is found to be well again without a restart.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::checkpoint::Checkpoints;
use super::{connect, rows, snapshot};
use crate::domain::change::Applied;
use crate::store::group::Bulk;
use crate::store::plan::{self, Plan};
use crate::store::prepared::Prepared;
use crate::store::{ApplyError, StoreError};

/// A commit so recent proves that writing works.
const FRESH_PROOF: Duration = Duration::from_secs(1);

type Fates = Vec<Result<Applied, ApplyError>>;

/// The connection, and what it takes to open another.
pub(super) struct Writer {
    options: SqliteConnectOptions,
    conn: Option<SqliteConnection>,
    committed_at: Option<Instant>,
}

/// How far a batch got before it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing can have been written.
    Before,
    /// COMMIT was asked for.
    Commit,
}

/// Why a batch was not written, or not known to be.
struct Failure {
    stage: Stage,
    error: sqlx::Error,
}

impl Writer {
    pub fn new(options: SqliteConnectOptions, conn: SqliteConnection) -> Self {
        Self {
            options,
            conn: Some(conn),
            committed_at: None,
        }
    }

    async fn batch(&mut self, batch: &[Prepared]) -> Fates {
        match self.transaction(batch).await {
            Ok(fates) => fates,
            Err(failure) if failure.may_concern_one() && batch.len() > 1 => {
                tracing::warn!(error = %failure.error, "a batch failed; applying one by one");
                let mut fates = Vec::with_capacity(batch.len());
                for change in batch {
                    let fate = self.transaction(std::slice::from_ref(change)).await;
                    let fate = fate.map(|mut fates| fates.pop());
                    fates.push(match fate {
                        Ok(fate) => fate.unwrap_or_else(|| Err(unanswered().into())),
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

    /// The fates of a batch that was committed, or that had nothing to commit.
    async fn transaction(&mut self, batch: &[Prepared]) -> Result<Fates, Failure> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(
                connect::writer(&self.options)
                    .await
                    .map_err(Failure::opening)?,
            ),
        };
        match transact(conn, batch).await {
            Ok(plan) => {
                if !plan.is_empty() {
                    self.committed_at = Some(Instant::now());
                }
                let fates = plan.fates.into_iter();
                Ok(fates.map(|fate| fate.map_err(Into::into)).collect())
            }
            Err(failure) => {
                let rolled_back = conn.execute("ROLLBACK").await.is_ok();
                // A statement that failed by a constraint leaves a sound connection behind.
                if !(rolled_back && failure.may_concern_one()) {
                    self.drop_connection().await;
                }
                Err(failure)
            }
        }
    }

    /// Runs one statement that commits by itself.
    pub async fn alone<T>(
        &mut self,
        run: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(
                connect::writer(&self.options)
                    .await
                    .map_err(|error| Failure::opening(error).told())?,
            ),
        };
        match run(conn).await {
            Ok(done) => {
                self.committed_at = Some(Instant::now());
                Ok(done)
            }
            Err(error) => {
                self.drop_connection().await;
                let stage = Stage::Commit;
                Err(Failure { stage, error }.told())
            }
        }
    }

    /// True if something was committed so recently that nobody needs another proof.
    pub fn proven(&self) -> bool {
        self.committed_at
            .is_some_and(|at| at.elapsed() < FRESH_PROOF)
    }

    async fn drop_connection(&mut self) {
        if let Some(conn) = self.conn.take() {
            // Whatever it was in the middle of is rolled back by closing.
            let _ = conn.close().await;
        }
    }
}

async fn transact(conn: &mut SqliteConnection, batch: &[Prepared]) -> Result<Plan, Failure> {
    let changes = || batch.iter().map(|change| change.rows.as_ref());
    let before = |error| Failure {
        stage: Stage::Before,
        error,
    };
    let needs = plan::Needs::of(changes());
    let snapshot = snapshot::begin(conn, needs).await.map_err(before)?;
    let (plan, _) = plan::plan(changes(), snapshot);
    if plan.is_empty() {
        conn.execute("ROLLBACK").await.map_err(before)?;
        return Ok(plan);
    }
    rows::write(conn, batch, &plan).await.map_err(before)?;
    match conn.execute("COMMIT").await {
        Ok(_) => Ok(plan),
        Err(error) => Err(Failure {
            stage: Stage::Commit,
            error,
        }),
    }
}

impl Failure {
    fn opening(error: connect::OpenError) -> Self {
        Self {
            stage: Stage::Before,
            error: sqlx::Error::Configuration(Box::new(error)),
        }
    }

    /// SQLite's primary result code, if SQLite said anything.
    fn code(&self) -> Option<i32> {
        let code: i32 = self.error.as_database_error()?.code()?.parse().ok()?;
        Some(code & 0xff)
    }

    /// Constraints, and values that SQLite does not take: of one change, not of the disk.
    fn may_concern_one(&self) -> bool {
        const CONSTRAINT: i32 = 19;
        const TOO_BIG: i32 = 18;
        const MISMATCH: i32 = 20;
        let ours = matches!(
            self.error,
            sqlx::Error::RowNotFound | sqlx::Error::Encode(_)
        );
        self.stage == Stage::Before
            && (ours || matches!(self.code(), Some(CONSTRAINT | TOO_BIG | MISMATCH)))
    }

    /// A failed COMMIT is unknown unless SQLite proves that it wrote no commit mark. An I/O error
    /// proves nothing: after a failed flush the mark may be in the log, to be found after a crash.
    fn told(&self) -> StoreError {
        const BUSY: i32 = 5;
        const LOCKED: i32 = 6;
        const READ_ONLY: i32 = 8;
        const FULL: i32 = 13;
        const CONSTRAINT: i32 = 19;
        let undone = matches!(
            self.code(),
            Some(BUSY | LOCKED | READ_ONLY | FULL | CONSTRAINT)
        );
        match self.stage {
            Stage::Commit if !undone => StoreError::Unknown(self.error.to_string()),
            Stage::Before | Stage::Commit => StoreError::Unavailable(self.error.to_string()),
        }
    }
}

fn unanswered() -> StoreError {
    StoreError::Unavailable("the batch gave no answer".to_owned())
}

/// The writer as the group drives it, shared with the few statements that are not changes.
pub(super) struct Shared {
    /// Whose turn it is writes.
    pub writer: Arc<Mutex<Writer>>,
    /// Copies what was written.
    pub checkpoints: Checkpoints,
}

impl Bulk for Shared {
    async fn write(&mut self, batch: &[Prepared], _more: &(dyn Fn() -> bool + Sync)) -> Fates {
        let fates = self.writer.lock().await.batch(batch).await;
        self.checkpoints.count();
        fates
    }
}
