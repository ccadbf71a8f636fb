//! The one writing connection of this node.
//!
//! A batch is one transaction: lock and read what its conditions need, let
//! [`plan`](crate::store::plan) decide, write the survivors, commit once: three questions and three
//! answers while more is waiting, because the end of one transaction then begins the next. Other
//! nodes do the same; rows are locked in one order, and where another node came first with a row that could not be
//! locked because it did not exist, the batch is run again.
//!
//! When the answer to a COMMIT is lost, the server is asked on a new connection what became of the
//! batch. Each writer numbers its batches and writes the number in the same transaction; the old
//! session is ended first, so that nothing of it can still arrive afterwards. Only if the server
//! does not answer that either is the outcome unknown.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Executor, Row};
use tokio::time::Instant;
use uuid::Uuid;

use super::snapshot::Locked;
use super::wait::{Lost, answer};
use super::{connect, rows, snapshot};
use crate::domain::change::Applied;
use crate::store::group::Bulk;
use crate::store::plan::{self, Needs};
use crate::store::prepared::Prepared;
use crate::store::{ApplyError, StoreError};

/// How often a batch is run again because other nodes came first.
const ATTEMPTS: u32 = 5;
/// How long a lost COMMIT is asked about before it is called unknown.
const READ_BACK: Duration = Duration::from_secs(10);
/// Pause between two such questions.
const READ_BACK_PAUSE: Duration = Duration::from_millis(50);

type Fates = Vec<Result<Applied, ApplyError>>;

/// Writers of nodes that are long gone are forgotten when one starts.
const FORGET: &str = "DELETE FROM writers WHERE at < now() - interval '7 days'";

/// The connection, and what it takes to open another.
pub(super) struct Writer {
    options: PgConnectOptions,
    conn: Option<PgConnection>,
    /// Whose batches these are: a name of its own for every start.
    name: Uuid,
    /// The number of the last batch that was tried.
    batch: i64,
    /// The connection is in a transaction that has asked for nothing yet.
    begun: bool,
    /// The highest number of a record as our last batch left it; 0 before the first.
    last_seq: i64,
    /// Other nodes had written records by the time of our last batch.
    shared: bool,
}

/// Whether another batch is sure to follow at once.
pub(super) type More<'a> = &'a (dyn Fn() -> bool + Sync);

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
    /// `name` is random.
    pub async fn new(options: PgConnectOptions, mut conn: PgConnection, name: [u8; 16]) -> Self {
        if let Err(error) = answer(conn.execute(FORGET)).await {
            // The next start does it.
            tracing::warn!(%error, "old writers were not forgotten");
        }
        Self {
            options,
            conn: Some(conn),
            name: Uuid::from_bytes(name),
            batch: 0,
            begun: false,
            last_seq: 0,
            shared: false,
        }
    }

    async fn batch(&mut self, batch: &[Prepared], more: More<'_>) -> Fates {
        match self.attempts(batch, more).await {
            Ok(fates) => fates,
            Err(Failure::OneAlone(why)) if batch.len() > 1 => {
                tracing::warn!(error = %why, "a batch failed; applying one by one");
                let mut fates = Vec::with_capacity(batch.len());
                for change in batch {
                    let fate = self.attempts(std::slice::from_ref(change), &|| false).await;
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

    async fn attempts(&mut self, batch: &[Prepared], more: More<'_>) -> Result<Fates, Failure> {
        let mut attempt = 1;
        loop {
            match self.transaction(batch, more).await {
                Err(Failure::Raced(_)) if attempt < ATTEMPTS => attempt += 1,
                done => return done,
            }
        }
    }

    /// The fates of a batch that was committed, or that had nothing to commit.
    async fn transaction(&mut self, batch: &[Prepared], more: More<'_>) -> Result<Fates, Failure> {
        let begun = std::mem::take(&mut self.begun);
        let (mut conn, begun) = match self.conn.take() {
            Some(conn) => (conn, begun),
            None => {
                let conn = connect::writer(&self.options).await;
                let conn = conn.map_err(|error| Failure::Undone(error.to_string()))?;
                (conn, false)
            }
        };
        self.batch += 1;
        let number = rows::BatchNumber {
            writer: self.name,
            number: self.batch,
        };
        match decide(&mut conn, batch, begun, number).await {
            Ok(Decided::Refused(fates)) => {
                self.keep(conn, "ROLLBACK").await;
                Ok(fates)
            }
            Ok(Decided::Written(fates, locked, seqs)) => {
                if let Some((base, last)) = seqs {
                    self.shared = self.last_seq != 0 && base != self.last_seq;
                    self.last_seq = last;
                }
                self.commit(conn, fates, &locked, more).await
            }
            // Nobody is there to be told to roll back, and the server does so by itself.
            Err(Stopped::Lost(lost @ (Lost::Broke(_) | Lost::Late))) => Err(Failure::before(lost)),
            Err(Stopped::Lost(lost @ Lost::Said(_))) => {
                self.keep(conn, "ROLLBACK").await;
                Err(Failure::before(lost))
            }
            Err(Stopped::Raced) => {
                self.keep(conn, "ROLLBACK").await;
                Err(Failure::Raced("another node came first".to_owned()))
            }
        }
    }

    async fn commit(
        &mut self,
        mut conn: PgConnection,
        fates: Fates,
        locked: &Locked,
        more: More<'_>,
    ) -> Result<Fates, Failure> {
        // Only if somebody waits: a transaction left open is told about by those who watch servers.
        let again = more();
        let commit = if again { "COMMIT; BEGIN" } else { "COMMIT" };
        match answer(conn.execute(commit)).await {
            Ok(_) => {
                self.begun = again;
                self.conn = Some(conn);
                Ok(fates)
            }
            Err(Lost::Said(why)) if !again => {
                self.keep(conn, "ROLLBACK").await;
                Err(Failure::Undone(why.to_string()))
            }
            // A no after `COMMIT; BEGIN` may be to the second half: a cancel that arrives while the
            // first is flushed is told when it is durable already.
            Err(lost @ (Lost::Said(_) | Lost::Broke(_) | Lost::Late)) => {
                drop(conn);
                self.read_back(locked, lost).await.map(|()| fates)
            }
        }
    }

    /// Keeps the connection for the next batch if it can still be brought back to a clean state.
    async fn keep(&mut self, mut conn: PgConnection, end: &'static str) {
        if answer(conn.execute(end)).await.is_ok() {
            self.conn = Some(conn);
        }
    }

    /// What became of a batch whose COMMIT was not answered. `Ok` if it was committed.
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

    /// `None` while the session is still there. It is told to end: then it has committed or it
    /// never will, and lets go of its locks. Whoever asked before that could be told "no" while
    /// the COMMIT is still on its way to the server.
    async fn status(&mut self, locked: &Locked) -> Result<Option<bool>, StoreError> {
        let unavailable = |error: String| StoreError::Unavailable(error);
        let conn = connect::writer(&self.options).await;
        let mut conn = conn.map_err(|error| unavailable(error.to_string()))?;
        let session = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE pid = $2 AND backend_xid::text::bigint = $1 % 4294967296",
        );
        let session = session
            .bind(locked.transaction)
            .bind(i32::try_from(locked.backend).unwrap_or(0));
        let session = answer(session.fetch_optional(&mut conn)).await;
        let is_there = session
            .map_err(|error| unavailable(error.to_string()))?
            .is_some();
        if is_there {
            self.conn = Some(conn);
            return Ok(None);
        }
        let batch = sqlx::query("SELECT batch FROM writers WHERE writer = $1").bind(self.name);
        let batch = answer(batch.fetch_optional(&mut conn)).await;
        let batch = batch.map_err(|error| unavailable(error.to_string()))?;
        let batch: i64 = match batch {
            Some(row) => row.try_get(0).map_err(|e| unavailable(e.to_string()))?,
            None => 0,
        };
        self.conn = Some(conn);
        Ok(Some(batch == self.batch))
    }
}

enum Decided {
    /// Committing is all that is left. With the highest number of a record before and after, if
    /// there were any to write.
    Written(Fates, Box<Locked>, Option<(i64, i64)>),
    /// Every change of it ran into a conflict.
    Refused(Fates),
}

/// Why there was nothing to commit.
enum Stopped {
    Lost(Lost),
    /// Another node came first.
    Raced,
}

impl From<Lost> for Stopped {
    fn from(lost: Lost) -> Self {
        Stopped::Lost(lost)
    }
}

/// Everything up to the COMMIT. `begun` if the transaction is open already.
async fn decide(
    conn: &mut PgConnection,
    batch: &[Prepared],
    begun: bool,
    number: rows::BatchNumber,
) -> Result<Decided, Stopped> {
    let changes = || batch.iter().map(|change| change.rows.as_ref());
    if !begun {
        answer(conn.execute("BEGIN")).await?;
    }
    let needs = Needs::of(changes());
    let written = changes().flat_map(|rows| rows.docs.iter().map(|doc| &doc.key));
    let written = written.collect();
    let mut locked = answer(snapshot::lock(conn, &needs, &written)).await?;
    let ensure = snapshot::ensure(conn, &needs, &locked.snapshot);
    if answer(ensure).await? {
        locked = answer(snapshot::lock(conn, &needs, &written)).await?;
    }
    let (plan, _) = plan::plan(changes(), std::mem::take(&mut locked.snapshot));
    if plan.is_empty() {
        let fates = plan.fates.into_iter();
        return Ok(Decided::Refused(
            fates.map(|fate| fate.map_err(Into::into)).collect(),
        ));
    }
    let base = answer(rows::write(conn, batch, &plan, number)).await?;
    let Some(base) = base else {
        return Err(Stopped::Raced);
    };
    let records = plan
        .told
        .iter()
        .map(|index| batch[*index].rows.records.len());
    let records = i64::try_from(records.sum::<usize>()).unwrap_or(i64::MAX);
    let seqs = (records > 0).then(|| (base, base.saturating_add(records)));
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
    Ok(Decided::Written(fates, Box::new(locked), seqs))
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
    async fn write(&mut self, batch: &[Prepared], more: &(dyn Fn() -> bool + Sync)) -> Fates {
        self.batch(batch, more).await
    }

    fn shared(&self) -> bool {
        self.shared
    }
}
