//! SQLite: files below the configured folders, one reader that cannot write and one writer.
//!
//! A query that does not end is interrupted from inside the engine, because nothing outside can stop
//! its thread. The writer begins with `BEGIN IMMEDIATE`: from then on nobody else writes, so that
//! what a preview shows is what the statement works on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqlitePoolOptions, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column, Connection, Row, Sqlite as Lite, SqliteConnection, SqlitePool, TypeInfo,
    ValueRef,
};
use tokio::time::{Instant, timeout_at};

use super::rows::{Collector, distinct, object, shown};
use super::{
    MAX_PREVIEW_BYTES, MAX_PREVIEW_ROWS, MAX_RETURNED_BYTES, MAX_RETURNED_ROWS, Mark, Order, Ping,
    Rows, Trouble, Written,
};
use crate::domain::ids::ProposalId;
use crate::domain::tools::SqliteSource;
use crate::domain::tools::numbers::{double, integer};
use crate::domain::tools::statement::{Read, Statement};

/// Connections that read at a time.
const READERS: u32 = 4;
/// How long a connection may be in coming.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that nobody uses are let go after so long.
const IDLE: Duration = Duration::from_secs(120);
/// How long a writer waits for others.
const BUSY: Duration = Duration::from_secs(5);
/// Steps of the engine between two looks at the clock.
const STEPS: i32 = 10_000;

const MARK: &str = "INSERT INTO hundi_effects (proposal_id, at) \
                    VALUES (?1, strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) \
                    ON CONFLICT (proposal_id) DO NOTHING";
const MARK_NEVER: &str = "INSERT INTO hundi_effects (proposal_id, at) VALUES (?1, NULL) \
                          ON CONFLICT (proposal_id) DO NOTHING";
const MARKED: &str = "SELECT at FROM hundi_effects WHERE proposal_id = ?1";
const MAKE_MARKERS: &str = "CREATE TABLE IF NOT EXISTS hundi_effects \
                            (proposal_id TEXT PRIMARY KEY, at TEXT)";
const HAS_MARKERS: &str =
    "SELECT count(*) > 0, sqlite_version() FROM sqlite_schema WHERE name = 'hundi_effects'";

/// One file.
pub struct Sqlite {
    path: PathBuf,
    reads: SqlitePool,
    writes: SqlitePool,
}

impl Sqlite {
    pub(super) fn open(config: &SqliteSource, dirs: &[PathBuf]) -> Result<Self, String> {
        let path = allowed(Path::new(&config.path), dirs)?;
        let options = || {
            SqliteConnectOptions::new()
                .filename(&path)
                .create_if_missing(false)
                .busy_timeout(BUSY)
        };
        let reader = options().read_only(true).pragma("query_only", "ON");
        let pool = |count: u32, options: SqliteConnectOptions| {
            SqlitePoolOptions::new()
                .max_connections(count)
                .min_connections(0)
                .idle_timeout(IDLE)
                .test_before_acquire(false)
                .connect_lazy_with(options)
        };
        Ok(Self {
            reads: pool(READERS, reader),
            writes: pool(1, options()),
            path,
        })
    }

    pub(super) async fn close(&self) {
        self.reads.close().await;
        self.writes.close().await;
    }

    pub(super) async fn read(
        &self,
        read: &Read,
        args: &Value,
        deadline: Duration,
    ) -> Result<Rows, Trouble> {
        let until = Instant::now() + deadline;
        let mut connection = acquired(&self.reads, until).await?;
        interrupted_at(&mut connection, until).await?;
        let reading = rows(&mut connection, read, args);
        let ended = timeout_at(until + BUSY, reading).await;
        ended.unwrap_or_else(|_| {
            connection.close_on_drop();
            Err(Trouble::Timeout)
        })
    }

    pub(super) async fn write(&self, order: &Order<'_>, deadline: Duration) -> Written {
        let until = Instant::now() + deadline;
        let connection = acquired(&self.writes, until).await;
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(trouble) => return Written::NotDone(trouble.to_string()),
        };
        if let Err(trouble) = interrupted_at(&mut connection, until).await {
            return Written::NotDone(trouble.to_string());
        }
        let mut committing = false;
        let ended = transaction(&mut connection, order, &mut committing).await;
        match ended {
            Ok(written) => written,
            Err(error) => {
                connection.close_on_drop();
                let why = trouble(&error);
                match (committing, why) {
                    // A constraint that is checked at COMMIT. The transaction ends with its
                    // connection.
                    (_, Trouble::Refused(why)) => Written::Refused(why),
                    (true, why) => Written::Unknown(why.to_string()),
                    (false, why) => Written::NotDone(why.to_string()),
                }
            }
        }
    }

    pub(super) async fn look(
        &self,
        proposal: ProposalId,
        settle: bool,
        deadline: Duration,
    ) -> Result<Mark, Trouble> {
        let until = Instant::now() + deadline;
        let mut connection = acquired(&self.writes, until).await?;
        interrupted_at(&mut connection, until).await?;
        looked(&mut connection, proposal, settle)
            .await
            .map_err(|error| trouble(&error))
    }

    pub(super) async fn prepare(&self, deadline: Duration) -> Result<(), Trouble> {
        let until = Instant::now() + deadline;
        let mut connection = acquired(&self.writes, until).await?;
        interrupted_at(&mut connection, until).await?;
        let made = sqlx::query(MAKE_MARKERS).execute(&mut *connection).await;
        made.map(|_| ()).map_err(|error| trouble(&error))
    }

    pub(super) async fn ping(&self, deadline: Duration) -> Result<Ping, Trouble> {
        let until = Instant::now() + deadline;
        let mut connection = acquired(&self.reads, until).await?;
        interrupted_at(&mut connection, until).await?;
        let began = Instant::now();
        let row = sqlx::query(HAS_MARKERS).fetch_one(&mut *connection).await;
        let row = row.map_err(|error| trouble(&error))?;
        let latency = began.elapsed();
        let read = |error: sqlx::Error| trouble(&error);
        let (marker, version): (bool, String) =
            (row.try_get(0).map_err(read)?, row.try_get(1).map_err(read)?);
        let metadata = std::fs::metadata(&self.path);
        let writable = metadata.is_ok_and(|metadata| !metadata.permissions().readonly());
        let advice = writable.then(|| {
            "the file can be written: for tools that only read, take that right away".to_owned()
        });
        Ok(Ping {
            latency,
            detail: format!("SQLite {version}"),
            advice: advice.into_iter().collect(),
            marker,
        })
    }
}

/// The file behind a path, if it lies below one of the folders once every link was followed.
fn allowed(path: &Path, dirs: &[PathBuf]) -> Result<PathBuf, String> {
    let shown = path.display();
    let Ok(real) = path.canonicalize() else {
        // Of a file elsewhere nobody learns whether it is there.
        return Err(match dirs.iter().any(|dir| path.starts_with(dir)) {
            true => format!("there is no file {shown} that can be opened"),
            false => outside(path),
        });
    };
    let below = dirs
        .iter()
        .filter_map(|dir| dir.canonicalize().ok())
        .any(|dir| real.starts_with(dir));
    match below && real.is_file() {
        true => Ok(real),
        false => Err(outside(path)),
    }
}

/// Why a path is refused, whether or not there is a file yet.
pub(super) fn refused(config: &SqliteSource, dirs: &[PathBuf]) -> Option<String> {
    let path = Path::new(&config.path);
    let is_to_come = !path.exists() && dirs.iter().any(|dir| path.starts_with(dir));
    let why = allowed(path, dirs).err();
    why.filter(|_| !is_to_come)
}

fn outside(path: &Path) -> String {
    let shown = path.display();
    format!("the file {shown} does not lie below a folder of sources.sqlite_dirs")
}

async fn rows(
    connection: &mut SqliteConnection,
    read: &Read,
    args: &Value,
) -> Result<Rows, Trouble> {
    let query = bound(&read.query, args);
    let mut stream = query.fetch(connection);
    let mut collector = Collector::new(read.max_rows, read.max_bytes);
    let mut names = Vec::new();
    while let Some(row) = stream.try_next().await.map_err(|error| trouble(&error))? {
        if !collector.take(record(&row, &mut names)?)? {
            break;
        }
    }
    Ok(collector.done())
}

async fn transaction(
    connection: &mut SqliteConnection,
    order: &Order<'_>,
    committing: &mut bool,
) -> Result<Written, sqlx::Error> {
    let write = order.write;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if write.marker {
        let id = order.proposal.to_string();
        let made = sqlx::query(MARK).bind(&id).execute(&mut *transaction).await;
        let made = match made {
            Err(error) if error.to_string().contains("no such table: hundi_effects") => {
                let why = "the source has no table hundi_effects: prepare it first";
                return Ok(Written::Refused(why.to_owned()));
            }
            made => made?,
        };
        if made.rows_affected() == 0 {
            let at: Option<String> = sqlx::query_scalar(MARKED)
                .bind(&id)
                .fetch_one(&mut *transaction)
                .await?;
            return Ok(match at {
                Some(at) => Written::Before(at),
                None => Written::Refused("it was settled that this is not done".to_owned()),
            });
        }
    }
    if let (Some(preview), Some(state)) = (&write.preview, order.state) {
        let read = Read {
            query: preview.query.clone(),
            max_rows: MAX_PREVIEW_ROWS,
            max_bytes: MAX_PREVIEW_BYTES,
        };
        let now = rows(&mut transaction, &read, order.args).await;
        match now.and_then(shown) {
            Ok(shown) if shown.state == state => {}
            Err(why @ (Trouble::Timeout | Trouble::Unavailable(_))) => {
                return Ok(Written::NotDone(why.to_string()));
            }
            Ok(_) | Err(_) => return Ok(Written::Changed),
        }
    }
    let (count, data) = match executed(&mut transaction, order).await? {
        Ok(executed) => executed,
        Err(trouble) => return Ok(Written::Refused(trouble.to_string())),
    };
    if !write.expects(count) {
        return Ok(Written::UnexpectedRows(count));
    }
    *committing = true;
    transaction.commit().await?;
    Ok(Written::Done(data))
}

async fn executed(
    transaction: &mut SqliteConnection,
    order: &Order<'_>,
) -> Result<Result<(u64, Value), Trouble>, sqlx::Error> {
    let statement = &order.write.statement;
    let query = bound(statement, order.args);
    if !order.write.returns {
        let count = query.execute(transaction).await?.rows_affected();
        return Ok(Ok((count, json!({"row_count": count}))));
    }
    let mut collector = Collector::new(MAX_RETURNED_ROWS, MAX_RETURNED_BYTES);
    let mut stream = query.fetch(transaction);
    let (mut count, mut names) = (0, Vec::new());
    while let Some(row) = stream.try_next().await? {
        count += 1;
        let taken = record(&row, &mut names).and_then(|row| collector.take(row));
        if let Err(trouble) = taken {
            return Ok(Err(trouble));
        }
    }
    let rows = collector.done();
    let data = json!({"row_count": count, "rows": rows.rows, "truncated": rows.truncated});
    Ok(Ok((count, data)))
}

async fn looked(
    connection: &mut SqliteConnection,
    proposal: ProposalId,
    settle: bool,
) -> Result<Mark, sqlx::Error> {
    let id = proposal.to_string();
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found: Option<Option<String>> = sqlx::query_scalar(MARKED)
        .bind(&id)
        .fetch_optional(&mut *transaction)
        .await?;
    match found {
        Some(at) => Ok(at.map_or(Mark::Never, Mark::Done)),
        None if !settle => Ok(Mark::Absent),
        None => {
            let never = sqlx::query(MARK_NEVER).bind(&id);
            never.execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(Mark::Never)
        }
    }
}

/// Has the engine stop whatever this connection runs at `until`.
async fn interrupted_at(connection: &mut SqliteConnection, until: Instant) -> Result<(), Trouble> {
    let mut handle = connection
        .lock_handle()
        .await
        .map_err(|error| trouble(&error))?;
    handle.set_progress_handler(STEPS, move || Instant::now() < until);
    Ok(())
}

async fn acquired(pool: &SqlitePool, until: Instant) -> Result<PoolConnection<Lite>, Trouble> {
    let until = until.min(Instant::now() + PATIENCE);
    match timeout_at(until, pool.acquire()).await {
        Ok(connection) => connection.map_err(|error| Trouble::Unavailable(words(&error))),
        Err(_) => Err(Trouble::Timeout),
    }
}

fn bound<'q>(statement: &Statement, args: &Value) -> Query<'q, Lite, SqliteArguments> {
    let mut query = sqlx::query(AssertSqlSafe(statement.text()));
    for name in &statement.names {
        query = match args.get(name) {
            None | Some(Value::Null) => query.bind(None::<String>),
            Some(Value::Bool(flag)) => query.bind(i64::from(*flag)),
            Some(Value::String(text)) => query.bind(text.clone()),
            Some(Value::Number(number)) => match number.as_i64() {
                Some(integer) => query.bind(integer),
                None => query.bind(number.as_f64()),
            },
            // For json_each and its like.
            Some(list @ (Value::Array(_) | Value::Object(_))) => query.bind(list.to_string()),
        };
    }
    query
}

fn record(row: &SqliteRow, names: &mut Vec<String>) -> Result<Value, Trouble> {
    if names.is_empty() {
        *names = distinct(row.columns().iter().map(|column| column.name().to_owned()));
    }
    let mut values = Vec::with_capacity(names.len());
    for index in 0..names.len() {
        values.push(value(row, index).map_err(|error| Trouble::Refused(words(&error)))?);
    }
    Ok(object(names, values.into_iter()))
}

/// A value by what it is, not by what its column was declared as.
fn value(row: &SqliteRow, index: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let stored = raw.type_info().name().to_owned();
    Ok(match stored.as_str() {
        "INTEGER" | "BOOLEAN" => integer(row.try_get_unchecked(index)?),
        "REAL" => double(row.try_get_unchecked(index)?),
        "BLOB" => Value::String(STANDARD.encode(row.try_get_unchecked::<Vec<u8>, _>(index)?)),
        _ => Value::String(row.try_get_unchecked(index)?),
    })
}

fn words(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(said) => said.message().to_owned(),
        None => error.to_string(),
    }
}

fn trouble(error: &sqlx::Error) -> Trouble {
    let code = error.as_database_error().and_then(|said| said.code());
    let primary = code
        .and_then(|code| code.parse::<i32>().ok())
        .map(|code| code & 0xff);
    match primary {
        // Interrupted.
        Some(9) => Trouble::Timeout,
        // Busy, locked, input and output, corrupt, full, cannot open, protocol.
        Some(5 | 6 | 10 | 11 | 13 | 14 | 15) | None => Trouble::Unavailable(words(error)),
        Some(_) => Trouble::Refused(words(error)),
    }
}
