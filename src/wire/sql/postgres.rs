//! PostgreSQL: one pool that cannot write, and one that begins each transaction by hand.
//!
//! Nothing of the broker's own environment (`PGPASSWORD`, `.pgpass`, a socket) is offered to a
//! server that somebody registered. What the walls of the connector rely on is set for each
//! connection: texts in which a backslash is a backslash, read-only transactions, a time-out.
//!
//! A statement is described once. Its parameters are then cast from text to the types that they
//! have there, and its columns are asked for in a spelling that JSON has a place for.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use serde_json::{Value, json};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Postgres as Pg};
use tokio::time::{Instant, timeout_at};

use super::connecting::{Gate, options};
use super::describe::{Described, Frame, describe};
use super::failure::{Ended, Failed, code, is_answer, is_outdated, is_stale, trouble, words};
use super::markers::{MAKE_MARKERS, looked, mark, pinged};
use super::rows::{Collector, shown};
use super::values::input;
use super::{
    ATTEMPTS, MAX_PREVIEW_BYTES, MAX_PREVIEW_ROWS, MAX_RETURNED_BYTES, MAX_RETURNED_ROWS, Mark,
    Order, Ping, Rows, Trouble, Written,
};
use crate::domain::ids::ProposalId;
use crate::domain::secret::Secret;
use crate::domain::tools::PostgresSource;
use crate::domain::tools::reach::Reach;
use crate::domain::tools::statement::{Lock, Preview, Read, Statement};

/// How long a connection may be in coming.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that nobody uses are let go after so long.
const IDLE: Duration = Duration::from_secs(120);
/// A connection is made anew after so long.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// Descriptions that are kept. More tools than these on one source begin anew.
const MAX_DESCRIBED: usize = 2_000;

/// One server.
pub struct Postgres {
    reads: Pool,
    writes: Pool,
    described: Mutex<HashMap<String, Arc<Described>>>,
}

impl Postgres {
    pub(super) fn open(
        config: &PostgresSource,
        secrets: &BTreeMap<String, Secret>,
        reach: Reach,
    ) -> Result<Self, String> {
        let options = options(config, secrets)?;
        let pool = |options: PgConnectOptions| {
            let pool = PgPoolOptions::new()
                .max_connections(config.max_connections)
                .min_connections(0)
                .idle_timeout(IDLE)
                .max_lifetime(LIFETIME)
                // A dead connection is found by its first use, which is then repeated.
                .test_before_acquire(false)
                .connect_lazy_with(options.clone());
            Pool {
                pool,
                gate: Gate::new(options, reach.clone()),
            }
        };
        let reader = options
            .clone()
            .options([("default_transaction_read_only", "on")]);
        let writer = options.options([("default_transaction_read_only", "off")]);
        Ok(Self {
            reads: pool(reader),
            writes: pool(writer),
            described: Mutex::default(),
        })
    }

    pub(super) async fn close(&self) {
        self.reads.pool.close().await;
        self.writes.pool.close().await;
    }

    pub(super) async fn read(
        &self,
        read: &Read,
        args: &Value,
        deadline: Duration,
    ) -> Result<Rows, Trouble> {
        let until = Instant::now() + deadline;
        let first = self.read_once(read, args, until).await;
        match first {
            Err(error) if is_stale(&error) => self.read_once(read, args, until).await,
            other => other,
        }
        .map_err(|error| match error {
            Failed::Sql(error) => trouble(&error),
            Failed::Trouble(trouble) => trouble,
        })
    }

    async fn read_once(&self, read: &Read, args: &Value, until: Instant) -> Result<Rows, Failed> {
        let mut connection = acquired(&self.reads, until).await?;
        let reading = self.rows(&mut connection, read, &Lock::Nothing, args);
        let ended = timeout_at(until, reading).await;
        let ended = ended.unwrap_or(Err(Failed::Trouble(Trouble::Timeout)));
        match &ended {
            Err(Failed::Trouble(_)) => connection.close_on_drop(),
            Err(Failed::Sql(error)) if !is_answer(error) || is_outdated(error) => {
                self.forget(&read.query);
                connection.close_on_drop();
            }
            Ok(_) | Err(Failed::Sql(_)) => {}
        }
        ended
    }

    /// Runs a query as it is framed, and gives its rows.
    async fn rows(
        &self,
        connection: &mut PgConnection,
        read: &Read,
        lock: &Lock,
        args: &Value,
    ) -> Result<Rows, Failed> {
        let frame = Frame::Rows(read.max_rows.saturating_add(1), lock);
        let described = self.described(connection, &read.query, frame).await?;
        let query = bound(&described, &read.query, args);
        let mut collector = Collector::new(read.max_rows, read.max_bytes);
        let mut stream = query.fetch(connection);
        while let Some(row) = stream.try_next().await? {
            if !collector.take(described.object(&row)?)? {
                break;
            }
        }
        Ok(collector.done())
    }

    pub(super) async fn write(&self, order: &Order<'_>, deadline: Duration) -> Written {
        let until = Instant::now() + deadline;
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            match self.attempt(order, until).await {
                Ok(written) => return written,
                Err(again) => why = again,
            }
        }
        Written::NotDone(why)
    }

    /// One transaction from its beginning to its end; an error is a reason to begin anew.
    async fn attempt(&self, order: &Order<'_>, until: Instant) -> Result<Written, String> {
        let mut connection = match acquired(&self.writes, until).await {
            Ok(connection) => connection,
            Err(Failed::Sql(error)) => return Ok(Written::NotDone(trouble(&error).to_string())),
            Err(Failed::Trouble(trouble)) => return Ok(Written::NotDone(trouble.to_string())),
        };
        let committing = AtomicBool::new(false);
        let ended = timeout_at(until, self.transaction(&mut connection, order, &committing)).await;
        let unsure = committing.load(Ordering::Relaxed);
        let ended = match ended {
            Ok(ended) => ended,
            Err(_) => {
                connection.close_on_drop();
                let why = Trouble::Timeout.to_string();
                return Ok(match unsure {
                    true => Written::Unknown(why),
                    false => Written::NotDone(why),
                });
            }
        };
        match ended {
            Ok(written) | Err(Ended::With(written)) => Ok(written),
            Err(Ended::Sql(error)) => {
                if !is_answer(&error) {
                    connection.close_on_drop();
                }
                self.ended(&error, unsure, order)
            }
        }
    }

    /// What an error in a transaction says about it.
    fn ended(
        &self,
        error: &sqlx::Error,
        unsure: bool,
        order: &Order<'_>,
    ) -> Result<Written, String> {
        let Some(code) = code(error) else {
            let trouble = trouble(error);
            let why = trouble.to_string();
            return Ok(match (unsure, trouble) {
                (true, _) => Written::Unknown(why),
                (false, Trouble::Refused(_)) => Written::Refused(why),
                (false, _) => Written::NotDone(why),
            });
        };
        if is_outdated(error) {
            self.forget(&order.write.statement);
        }
        match code.as_str() {
            // Serialization failure, deadlock.
            "40001" | "40P01" => Err("others changed the same rows at the same time".to_owned()),
            // Statement or lock time-out.
            "57014" | "55P03" if !unsure => Ok(Written::NotDone(Trouble::Timeout.to_string())),
            // Whatever says that the server is not well: it may have come after the COMMIT.
            code if ["08", "53", "57", "58", "XX"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                Ok(match unsure {
                    true => Written::Unknown(words(error)),
                    false => Written::NotDone(words(error)),
                })
            }
            _ => Ok(Written::Refused(words(error))),
        }
    }

    async fn transaction(
        &self,
        connection: &mut PgConnection,
        order: &Order<'_>,
        committing: &AtomicBool,
    ) -> Result<Written, Ended> {
        let write = order.write;
        let mut transaction = connection.begin_with(begin(write.preview.as_ref())).await?;
        if write.marker
            && let Some(written) = mark(&mut transaction, order.proposal).await?
        {
            return Err(Ended::With(written));
        }
        if let (Some(preview), Some(state)) = (&write.preview, order.state) {
            self.compare(&mut transaction, preview, order.args, state)
                .await?;
        }
        let (count, data) = self.execute(&mut transaction, order).await?;
        if !write.expects(count) {
            return Err(Ended::With(Written::UnexpectedRows(count)));
        }
        committing.store(true, Ordering::Relaxed);
        transaction.commit().await?;
        Ok(Written::Done(data))
    }

    async fn compare(
        &self,
        transaction: &mut PgConnection,
        preview: &Preview,
        args: &Value,
        state: &str,
    ) -> Result<(), Ended> {
        let read = Read {
            query: preview.query.clone(),
            max_rows: MAX_PREVIEW_ROWS,
            max_bytes: MAX_PREVIEW_BYTES,
        };
        let rows = self.rows(transaction, &read, &preview.lock, args).await;
        match rows {
            Err(Failed::Sql(error)) => Err(Ended::Sql(error)),
            Err(Failed::Trouble(_)) => Err(Ended::With(Written::Changed)),
            Ok(rows) => match shown(rows) {
                Ok(shown) if shown.state == state => Ok(()),
                Ok(_) | Err(_) => Err(Ended::With(Written::Changed)),
            },
        }
    }

    /// The statement itself: how many rows it touched, and the data of the result.
    async fn execute(
        &self,
        transaction: &mut PgConnection,
        order: &Order<'_>,
    ) -> Result<(u64, Value), Ended> {
        let statement = &order.write.statement;
        let frame = match order.write.returns {
            true => Frame::Returning,
            false => Frame::Bare,
        };
        let described = self.described(transaction, statement, frame).await;
        let described = described.map_err(Failed::ended)?;
        let query = bound(&described, statement, order.args);
        if !order.write.returns {
            let count = query.execute(transaction).await?.rows_affected();
            return Ok((count, json!({"row_count": count})));
        }
        let mut collector = Collector::new(MAX_RETURNED_ROWS, MAX_RETURNED_BYTES);
        let mut stream = query.fetch(transaction);
        let mut count = 0;
        while let Some(row) = stream.try_next().await? {
            count += 1;
            let row = described.object(&row).map_err(Failed::ended)?;
            collector
                .take(row)
                .map_err(|trouble| Failed::Trouble(trouble).ended())?;
        }
        let rows = collector.done();
        let data = json!({"row_count": count, "rows": rows.rows, "truncated": rows.truncated});
        Ok((count, data))
    }

    /// The statement as it is sent, described at its first use.
    async fn described(
        &self,
        connection: &mut PgConnection,
        statement: &Statement,
        frame: Frame<'_>,
    ) -> Result<Arc<Described>, Failed> {
        let key = frame.key(statement);
        let known = self.all().get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let described = Arc::new(describe(connection, statement, frame).await?);
        let mut all = self.all();
        if all.len() >= MAX_DESCRIBED {
            all.clear();
        }
        all.insert(key, described.clone());
        Ok(described)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Described>>> {
        self.described
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables have changed since this statement was described.
    fn forget(&self, statement: &Statement) {
        let text = statement.text();
        self.all().retain(|key, _| !key.ends_with(&text));
    }

    /// Looks for a marker by trying to write it: a transaction that is under way is waited for.
    pub(super) async fn look(
        &self,
        proposal: ProposalId,
        settle: bool,
        deadline: Duration,
    ) -> Result<Mark, Trouble> {
        let until = Instant::now() + deadline;
        let mut connection = acquired(&self.writes, until)
            .await
            .map_err(Failed::trouble)?;
        let looked = timeout_at(until, looked(&mut connection, proposal, settle)).await;
        match looked {
            Err(_) => {
                connection.close_on_drop();
                Err(Trouble::Timeout)
            }
            Ok(looked) => looked.map_err(|error| {
                connection.close_on_drop();
                trouble(&error)
            }),
        }
    }

    pub(super) async fn prepare(&self, deadline: Duration) -> Result<(), Trouble> {
        let until = Instant::now() + deadline;
        let mut connection = acquired(&self.writes, until)
            .await
            .map_err(Failed::trouble)?;
        let made = timeout_at(until, sqlx::query(MAKE_MARKERS).execute(&mut *connection)).await;
        match made {
            Err(_) => {
                connection.close_on_drop();
                Err(Trouble::Timeout)
            }
            Ok(made) => made.map(|_| ()).map_err(|error| trouble(&error)),
        }
    }

    pub(super) async fn ping(&self, deadline: Duration) -> Result<Ping, Trouble> {
        let until = Instant::now() + deadline;
        let mut connection = acquired(&self.reads, until)
            .await
            .map_err(Failed::trouble)?;
        let asked = timeout_at(until, pinged(&mut connection)).await;
        match asked {
            Ok(Ok(ping)) => Ok(ping),
            Ok(Err(error)) => {
                connection.close_on_drop();
                Err(trouble(&error))
            }
            Err(_) => {
                connection.close_on_drop();
                Err(Trouble::Timeout)
            }
        }
    }
}

fn bound<'q>(
    described: &Described,
    statement: &Statement,
    args: &Value,
) -> Query<'q, Pg, PgArguments> {
    let mut query = sqlx::query(AssertSqlSafe(described.sql.clone()));
    for (index, name) in statement.names.iter().enumerate() {
        let list = described.lists.get(index).copied().unwrap_or_default();
        query = query.bind(input(args.get(name), list));
    }
    query
}

/// The state that was shown and the statement see the same snapshot, and nothing that the preview
/// read, in whatever table, view or function, is changed by two at once. Its locks are for writers
/// that are less careful.
fn begin(preview: Option<&Preview>) -> &'static str {
    match preview {
        None => "BEGIN READ WRITE",
        Some(_) => "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE",
    }
}

/// Connections to one server, made where it may be reached.
struct Pool {
    pool: PgPool,
    gate: Gate,
}

impl Pool {
    async fn acquire(&self) -> Result<PoolConnection<Pg>, Failed> {
        if let Some(connection) = self.pool.try_acquire() {
            return Ok(connection);
        }
        let options = self.gate.checked().await?;
        if let Some(options) = options {
            self.pool.set_connect_options(options);
        }
        Ok(self.pool.acquire().await?)
    }
}

async fn acquired(pool: &Pool, until: Instant) -> Result<PoolConnection<Pg>, Failed> {
    // The pool would try a server that refuses connections for as long as it is let.
    let until = until.min(Instant::now() + PATIENCE);
    match timeout_at(until, pool.acquire()).await {
        Ok(connection) => connection,
        Err(_) => {
            let why = "no connection became free or could be made in time";
            Err(Failed::Trouble(Trouble::Unavailable(why.to_owned())))
        }
    }
}
