//! Connecting: durable or not at all, bounded in time, and with a schema that this binary knows.
//!
//! Every connection, reading or writing, is checked for `synchronous_commit` before its first use,
//! because a role or a database can have its own setting. The schema is brought up to date under
//! an advisory lock, so that any number of nodes may start at once.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};
use url::Url;

/// How long a read waits for a free connection, and a new connection for its server.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest that all pending migrations may take together; the server's own limit for a statement
/// does not hold for them.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(3_600);
/// What the server itself may take for one statement, and for one wait for a lock.
const SERVER_LIMITS: &str = "SET statement_timeout = '6s'; \
                             SET lock_timeout = '6s'; \
                             SET idle_in_transaction_session_timeout = '10s'";
/// How the server plans what a writer asks. Its questions name a few rows each, of tables of any
/// size, and each name is found by an index; but a server that keeps a plan it made while the
/// tables were empty would go on reading them whole, for minutes and until it looks at their size.
const BY_NAME: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; \
                       SET enable_mergejoin = off; SET jit = off; \
                       SET plan_cache_mode = force_generic_plan";
/// Guards the schema while a node changes it: `hundi` in ASCII.
const SCHEMA_LOCK: i64 = 0x68_75_6e_64_69;

/// In order; the number of a migration is its place, from 1. Forward only: a released file never
/// changes, and each lets nodes of the version before go on working.
const MIGRATIONS: [&str; 9] = [
    include_str!("../../../sql/postgres/0001_init.sql"),
    include_str!("../../../sql/postgres/0002_writers.sql"),
    include_str!("../../../sql/postgres/0003_webhook_records.sql"),
    include_str!("../../../sql/postgres/0004_fair_shares.sql"),
    include_str!("../../../sql/postgres/0005_what_was_paid.sql"),
    include_str!("../../../sql/postgres/0006_requests.sql"),
    include_str!("../../../sql/postgres/0007_passages.sql"),
    include_str!("../../../sql/postgres/0008_wake_ups.sql"),
    include_str!("../../../sql/postgres/0009_vectors.sql"),
];

/// Why the database was not opened. The text says what to do, and never shows the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The URL does not parse. Its text is not repeated: it can hold a password.
    #[error("the database URL is not one of Postgres: {0}")]
    Url(String),
    /// A crash of the server could undo what was answered.
    #[error(
        "Postgres runs with synchronous_commit={0}, so a crash could undo a commit; \
         set it to `on` for this role and database: hundi does not start without it"
    )]
    NotDurable(String),
    /// A later hundi has written it.
    #[error(
        "the database has schema version {found} and this hundi knows up to {known}: \
         start a newer hundi, or restore a backup made before the upgrade"
    )]
    Newer {
        /// The version of the database.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// Nobody answers there, or not yet: waiting may help.
    #[error("the Postgres at {server} is not answering: {why}")]
    Away {
        /// Host, port and database.
        server: String,
        /// What was heard instead.
        why: String,
    },
    /// Postgres itself could not.
    #[error("cannot use the Postgres at {server}: {why}")]
    Failed {
        /// Host, port and database.
        server: String,
        /// Its words.
        why: String,
    },
}

/// Reads a URL `postgres://...`; TLS by `sslmode` and `sslrootcert` in it.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, OpenError> {
    let options = PgConnectOptions::from_str(url);
    let options = options.map_err(|error| OpenError::Url(error.to_string()))?;
    let named = options.get_application_name().is_some();
    let options = options.disable_statement_logging();
    Ok(match named {
        true => options,
        false => options.application_name("hundi"),
    })
}

/// One connection, checked.
pub(super) async fn checked(options: &PgConnectOptions) -> Result<PgConnection, OpenError> {
    let connecting = async {
        let mut conn = options.connect().await?;
        prepare(&mut conn).await?;
        Ok(conn)
    };
    match tokio::time::timeout(ACQUIRE_TIMEOUT, connecting).await {
        Ok(connected) => connected.map_err(|error| failed(options, &error)),
        Err(_) => Err(silent(options)),
    }
}

fn silent(options: &PgConnectOptions) -> OpenError {
    OpenError::Away {
        server: server(options),
        why: format!("no answer within {} s", ACQUIRE_TIMEOUT.as_secs()),
    }
}

/// One connection for a writer, checked.
pub(super) async fn writer(options: &PgConnectOptions) -> Result<PgConnection, OpenError> {
    let mut conn = checked(options).await?;
    let planned = tokio::time::timeout(ACQUIRE_TIMEOUT, conn.execute(BY_NAME)).await;
    match planned {
        Ok(Ok(_)) => Ok(conn),
        Ok(Err(error)) => Err(failed(options, &error)),
        Err(_) => Err(silent(options)),
    }
}

/// Sets the server's limits, and refuses a connection that could forget a commit.
async fn prepare(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    conn.execute(SERVER_LIMITS).await?;
    let row = conn
        .fetch_one("SELECT current_setting('synchronous_commit'), current_setting('fsync')")
        .await?;
    let commit: String = row.try_get(0)?;
    if commit == "off" {
        let weak = OpenError::NotDurable(commit);
        return Err(sqlx::Error::Configuration(Box::new(weak)));
    }
    let fsync: String = row.try_get(1)?;
    if fsync == "off" {
        // The server's own choice, about its machine and not about our transactions.
        tracing::warn!("Postgres runs with fsync=off: a power cut can lose commits");
    }
    Ok(())
}

/// Makes a schema of this name, which is one of ours, and says by which URL it is used.
pub(in crate::store) async fn make_schema(url: &str, name: &str) -> Result<String, OpenError> {
    run_alone(url, format!("CREATE SCHEMA \"{name}\"")).await?;
    let mut there = Url::parse(url).map_err(|error| OpenError::Url(error.to_string()))?;
    let path = format!("-c search_path={name}");
    there.query_pairs_mut().append_pair("options", &path);
    Ok(there.into())
}

/// Drops it with all that is in it.
pub(in crate::store) async fn drop_schema(url: &str, name: &str) -> Result<(), OpenError> {
    run_alone(url, format!("DROP SCHEMA IF EXISTS \"{name}\" CASCADE")).await
}

async fn run_alone(url: &str, text: String) -> Result<(), OpenError> {
    let options = options(url)?;
    let mut conn = checked(&options).await?;
    let done = conn.execute(AssertSqlSafe(text)).await;
    done.map(drop).map_err(|error| failed(&options, &error))
}

/// Brings the schema up to date and returns the name of this database. The usual start finds
/// nothing to do and only reads, so it can neither wait for a lock nor for the answer to a COMMIT.
pub(super) async fn migrate(
    conn: &mut PgConnection,
    options: &PgConnectOptions,
    instance: &str,
) -> Result<String, OpenError> {
    match tokio::time::timeout(ACQUIRE_TIMEOUT, up_to_date(conn)).await {
        Ok(Ok(Some(name))) => return Ok(name),
        Ok(Ok(None)) => {}
        Ok(Err(error)) => return Err(failed(options, &error)),
        Err(_) => return Err(silent(options)),
    }
    let migrated = migrated(conn, options, instance);
    match tokio::time::timeout(MIGRATION_TIMEOUT, migrated).await {
        Ok(migrated) => migrated,
        Err(_) => Err(silent(options)),
    }
}

/// The name of this database, if its schema is the one we know.
async fn up_to_date(conn: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let there = "SELECT to_regclass('meta') IS NOT NULL";
    let there: bool = conn.fetch_one(there).await?.try_get(0)?;
    if !there {
        return Ok(None);
    }
    let known = MIGRATIONS.len().to_string();
    let query = sqlx::query(
        "SELECT i.value FROM meta s, meta i \
         WHERE s.name = 'schema' AND s.value = $1 AND i.name = 'instance'",
    );
    let row = query.bind(known).fetch_optional(conn).await?;
    row.map(|row| row.try_get(0)).transpose()
}

async fn migrated(
    conn: &mut PgConnection,
    options: &PgConnectOptions,
    instance: &str,
) -> Result<String, OpenError> {
    let failed = |error: sqlx::Error| failed(options, &error);
    let mut transaction = conn.begin().await.map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(SCHEMA_LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    // That it is there already is no news.
    let quietly = "SET LOCAL client_min_messages = warning";
    transaction.execute(quietly).await.map_err(failed)?;
    transaction
        .execute("CREATE TABLE IF NOT EXISTS meta (name text PRIMARY KEY, value text NOT NULL)")
        .await
        .map_err(failed)?;
    let version = "SELECT value::bigint FROM meta WHERE name = 'schema'";
    let found = transaction.fetch_optional(version).await.map_err(failed)?;
    let found: i64 = match found {
        Some(row) => row.try_get(0).map_err(failed)?,
        None => 0,
    };
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let Some(pending) = usize::try_from(found)
        .ok()
        .and_then(|done| MIGRATIONS.get(done..))
    else {
        return Err(OpenError::Newer { found, known });
    };
    if !pending.is_empty() {
        // An index over a large table takes as long as it takes.
        let patiently = "SET LOCAL statement_timeout = 0";
        transaction.execute(patiently).await.map_err(failed)?;
    }
    for migration in pending {
        let run = sqlx::raw_sql(*migration).execute(&mut *transaction);
        run.await.map_err(failed)?;
    }
    if !pending.is_empty() {
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ('schema', $1), ('instance', $2) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE meta.name = 'schema'",
        )
        .bind(known.to_string())
        .bind(instance)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    }
    let name = "SELECT value FROM meta WHERE name = 'instance'";
    let name = transaction
        .fetch_one(name)
        .await
        .and_then(|row| row.try_get(0));
    let name = name.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(name)
}

fn failed(options: &PgConnectOptions, error: &sqlx::Error) -> OpenError {
    if let sqlx::Error::Configuration(inner) = error
        && let Some(weak) = inner.downcast_ref::<OpenError>()
    {
        return weak.clone();
    }
    let (server, why) = (server(options), error.to_string());
    match may_pass(error) {
        true => OpenError::Away { server, why },
        false => OpenError::Failed { server, why },
    }
}

/// Whether the same attempt may succeed later without anybody's doing: nobody listens, the name is
/// not known yet, the server starts or stops (class 57P), or is full (53300).
fn may_pass(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Io(error) = error {
        // What a peer says that does not read, or that proves it a stranger, it says again.
        return error.kind() != std::io::ErrorKind::InvalidData;
    }
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("57P") || code == "53300")
}

/// Host, port and database.
fn server(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or("");
    format!("{}:{}/{database}", options.get_host(), options.get_port())
}
