//! Opening a database: durable or not at all, and of a version this binary knows.
//!
//! Every connection reads back `synchronous` and `journal_mode` before it is used. The schema is
//! brought up to date inside one write transaction that first looks at the version, so that any
//! number of processes may open a new file at once; sqlx's own migrator looks first and locks
//! later, which two processes can get through together.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Executor, Row};

/// Reading connections. Reads are short and SQLite is in process, so a few serve many callers.
const READERS: u32 = 4;
/// How long one waits for another process's write, or for a checkpoint.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a read waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Texts kept prepared per connection. The writer's are scripts, one for each set of tables in each
/// of eight size classes: a steady load brings few of them, and what is rarer is prepared anew.
const STATEMENTS: usize = 256;
/// Rows that wait to be read: those of a whole batch, so that its reading is not held up.
const ROWS: usize = 1024;
/// How often a start is tried again when another process is starting on the same new file.
const START_ATTEMPTS: u32 = 10;
/// Marks a file as ours: `hund` in ASCII.
const APPLICATION_ID: i64 = 0x6875_6e64;

/// In order, each ending with its own number in `user_version`. Forward only: a released file
/// never changes.
const MIGRATIONS: [&str; 8] = [
    include_str!("../../../sql/sqlite/0001_init.sql"),
    include_str!("../../../sql/sqlite/0002_webhook_records.sql"),
    include_str!("../../../sql/sqlite/0003_docs_by_rowid.sql"),
    include_str!("../../../sql/sqlite/0004_fair_shares.sql"),
    include_str!("../../../sql/sqlite/0005_what_was_paid.sql"),
    include_str!("../../../sql/sqlite/0006_requests.sql"),
    include_str!("../../../sql/sqlite/0007_passages.sql"),
    include_str!("../../../sql/sqlite/0008_vectors.sql"),
];
/// Pages that the writing connection keeps, in KiB (a negative number, as the pragma wants it):
/// the upper levels of every index, so that a batch does not read them again.
const WRITER_CACHE: &str = "-16384";
/// Pages in the log (32 MiB) before a commit copies into the database file what
/// [`checkpoint`](super::checkpoint) has not copied yet. The commit that does so waits for it; at
/// SQLite's own 1,000 that is every thirtieth. A start after a crash reads the log once: tens of
/// milliseconds.
const CHECKPOINT_PAGES: &str = "8000";

/// Why a database was not opened. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A power cut could undo what was answered.
    #[error(
        "SQLite runs with {setting}={found}, so a power cut could undo a commit; \
         hundi needs {setting}={needed} and does not start without it"
    )]
    NotDurable {
        /// The pragma.
        setting: &'static str,
        /// What it reads back as.
        found: String,
        /// What it has to be.
        needed: &'static str,
    },
    /// A later hundi has written it.
    #[error(
        "the database has schema version {found} and this hundi knows up to {known}: \
         start a newer hundi, or restore a backup made before the upgrade"
    )]
    Newer {
        /// The version of the file.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// Some other program's file.
    #[error("{0} is a database of another program; choose another file")]
    Foreign(String),
    /// SQLite itself could not.
    #[error("cannot open {path}: {why}")]
    Failed {
        /// The file.
        path: String,
        /// SQLite's words.
        why: String,
    },
}

/// The settings that hundi runs with.
pub(super) fn durable(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Fills in what does not concern durability.
pub(super) fn tuned(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .foreign_keys(false)
        .statement_cache_capacity(STATEMENTS)
        .row_buffer_size(ROWS)
        .disable_statement_logging()
}

/// One connection that can write, checked.
pub(super) async fn writer(options: &SqliteConnectOptions) -> Result<SqliteConnection, OpenError> {
    let options = options
        .clone()
        .pragma("cache_size", WRITER_CACHE)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
    let failed = |error: sqlx::Error| failed(&options, &error);
    let mut conn = options.connect().await.map_err(failed)?;
    if let Some(weak) = weakness(&mut conn).await.map_err(failed)? {
        return Err(weak);
    }
    Ok(conn)
}

/// The reading connections, each checked before its first use.
pub(super) async fn readers(options: &SqliteConnectOptions) -> Result<SqlitePool, OpenError> {
    let pool = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        // A file in this process does not go away between two reads.
        .test_before_acquire(false)
        .after_connect(|conn, _| {
            Box::pin(async move {
                match weakness(conn).await? {
                    None => Ok(()),
                    Some(weak) => Err(sqlx::Error::Configuration(Box::new(weak))),
                }
            })
        });
    let options = options.clone().pragma("query_only", "ON");
    let connected = pool.connect_with(options.clone()).await;
    connected.map_err(|error| failed(&options, &error))
}

/// What makes this connection unfit to promise anything, if something does.
async fn weakness(conn: &mut SqliteConnection) -> Result<Option<OpenError>, sqlx::Error> {
    let row = conn.fetch_one("PRAGMA synchronous").await?;
    let synchronous: i64 = row.try_get(0)?;
    // 2 is FULL; 3, EXTRA, is stronger.
    if !(2..=3).contains(&synchronous) {
        let found = if synchronous == 1 { "NORMAL" } else { "OFF" };
        return Ok(Some(OpenError::NotDurable {
            setting: "synchronous",
            found: found.to_owned(),
            needed: "FULL",
        }));
    }
    let row = conn.fetch_one("PRAGMA journal_mode").await?;
    let journal: String = row.try_get(0)?;
    Ok((journal != "wal").then_some(OpenError::NotDurable {
        setting: "journal_mode",
        found: journal,
        needed: "wal",
    }))
}

/// Opens the writer and brings the schema up to date. Another process may be doing the same.
pub(super) async fn start(
    options: &SqliteConnectOptions,
    instance: &str,
) -> Result<SqliteConnection, OpenError> {
    let mut attempt = 1;
    loop {
        let started = async {
            let mut conn = writer(options).await?;
            migrate(&mut conn, options, instance).await?;
            Ok(conn)
        };
        match started.await {
            // Switching a new file to WAL needs it alone, and SQLite does not wait for that.
            Err(OpenError::Failed { .. }) if attempt < START_ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(20) * attempt).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

async fn migrate(
    conn: &mut SqliteConnection,
    options: &SqliteConnectOptions,
    instance: &str,
) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| failed(options, &error);
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let read = transaction.fetch_one(
        "SELECT (SELECT user_version FROM pragma_user_version), \
                (SELECT application_id FROM pragma_application_id), \
                (SELECT count(*) FROM sqlite_schema)",
    );
    let row = read.await.map_err(failed)?;
    let number = |column: usize| row.try_get::<i64, _>(column).map_err(failed);
    let (found, owner, tables) = (number(0)?, number(1)?, number(2)?);
    if owner != APPLICATION_ID && (owner != 0 || found != 0 || tables != 0) {
        return Err(OpenError::Foreign(shown(options)));
    }
    let known = MIGRATIONS.len();
    let Some(pending) = usize::try_from(found)
        .ok()
        .and_then(|done| MIGRATIONS.get(done..))
    else {
        let known = i64::try_from(known).unwrap_or(i64::MAX);
        return Err(OpenError::Newer { found, known });
    };
    for migration in pending {
        sqlx::raw_sql(*migration)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
    }
    sqlx::query(
        "INSERT OR IGNORE INTO meta (name, value) VALUES ('instance', ?), ('docs_epoch', 0)",
    )
    .bind(instance)
    .execute(&mut *transaction)
    .await
    .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// The database's own random name.
pub(super) async fn instance(
    options: &SqliteConnectOptions,
    pool: &SqlitePool,
) -> Result<String, OpenError> {
    let query = sqlx::query("SELECT value FROM meta WHERE name = 'instance'");
    let row = query.fetch_one(pool).await;
    let name = row.and_then(|row| row.try_get(0));
    name.map_err(|error| failed(options, &error))
}

/// Creates the file readable by its owner alone; SQLite gives its side files the same mode.
pub(super) fn make_private(options: &SqliteConnectOptions) -> Result<(), OpenError> {
    let mut open = std::fs::OpenOptions::new();
    open.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    let opened = open.open(options.get_filename());
    opened.map(drop).map_err(|error| OpenError::Failed {
        path: shown(options),
        why: error.to_string(),
    })
}

fn failed(options: &SqliteConnectOptions, error: &sqlx::Error) -> OpenError {
    if let sqlx::Error::Configuration(inner) = error
        && let Some(weak) = inner.downcast_ref::<OpenError>()
    {
        return weak.clone();
    }
    OpenError::Failed {
        path: shown(options),
        why: error.to_string(),
    }
}

fn shown(options: &SqliteConnectOptions) -> String {
    options.get_filename().display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_ends_with_its_own_number() {
        for (index, text) in MIGRATIONS.iter().enumerate() {
            let last = text.trim_end().lines().last().unwrap();
            assert_eq!(last, format!("PRAGMA user_version = {};", index + 1));
        }
    }
}
