//! Runs SQL that the connector made: reads in a transaction that cannot write, writes once.
//!
//! A write and the row that proves it (`hundi_effects`) are one transaction, so that after a crash
//! the question "was it done?" has an answer. Whatever goes wrong before COMMIT was asked for was
//! certainly not done; only a COMMIT whose answer is lost is unknown.
//!
//! What may be run is for the connector to say, which values are secret for others. Errors carry
//! the database's own words, never the statement and never the credentials.

mod connecting;
mod describe;
mod failure;
mod markers;
mod postgres;
mod rows;
mod sqlite;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::domain::call::{
    Outcome, PRECONDITION, ProviderError, Receipt, Sighting, UNEXPECTED_ROWS,
};
use crate::domain::ids::ProposalId;
use crate::domain::secret::Secret;
use crate::domain::tools::reach::Reach;
use crate::domain::tools::statement::{Dialect, Preview, Read, Write};
use crate::domain::tools::{Source, SourceConfig, SqliteSource};
use postgres::Postgres;
use sqlite::Sqlite;

/// Most rows of a preview: what nobody can look through cannot be approved.
pub const MAX_PREVIEW_ROWS: usize = 200;
/// Most bytes of a preview.
pub const MAX_PREVIEW_BYTES: usize = 256 * 1024;
/// Rows of RETURNING that are given back.
const MAX_RETURNED_ROWS: usize = 1_000;
/// Bytes of RETURNING that are given back.
const MAX_RETURNED_BYTES: usize = 1024 * 1024;
/// How often a write begins anew after others got in its way. Nothing was done before.
const ATTEMPTS: usize = 4;

/// One opened database.
pub enum Database {
    /// PostgreSQL.
    Postgres(Box<Postgres>),
    /// SQLite.
    Sqlite(Sqlite),
}

/// Why nothing came back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// It cannot be reached, or cannot take more.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// It took too long.
    #[error("the database took too long")]
    Timeout,
    /// The result is longer than is taken.
    #[error("the result is longer than {0} bytes")]
    TooLarge(usize),
    /// It said no, in these words.
    #[error("the database refused: {0}")]
    Refused(String),
}

impl Trouble {
    /// The code of the invocation's problem.
    pub fn code(&self) -> &'static str {
        match self {
            Trouble::Unavailable(_) => "source_unavailable",
            Trouble::Timeout => "timeout",
            Trouble::TooLarge(_) => "result_too_large",
            Trouble::Refused(_) => "upstream_failed",
        }
    }
}

/// Rows as objects.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rows {
    /// The rows.
    pub rows: Vec<Value>,
    /// There were more.
    pub truncated: bool,
}

impl Rows {
    /// `{rows, row_count, truncated}`
    pub fn data(self) -> Value {
        let count = self.rows.len();
        json!({"rows": self.rows, "row_count": count, "truncated": self.truncated})
    }
}

/// What a preview showed.
#[derive(Clone, PartialEq, Debug)]
pub struct Shown {
    /// The rows.
    pub rows: Vec<Value>,
    /// What stands for them in a token.
    pub state: String,
}

/// A write that was approved.
pub struct Order<'a> {
    /// The proposal; its id is the marker.
    pub proposal: ProposalId,
    /// What to do.
    pub write: &'a Write,
    /// The arguments.
    pub args: &'a Value,
    /// What the preview has to show; nothing is compared where absent.
    pub state: Option<&'a str>,
}

/// What came of a write.
#[derive(Clone, PartialEq, Debug)]
pub enum Written {
    /// Done, with `{row_count, rows?}`.
    Done(Value),
    /// Its marker was there: an earlier attempt did it, at this time.
    Before(String),
    /// The preview shows another state. Nothing was done.
    Changed,
    /// It would have touched so many rows. Nothing was done.
    UnexpectedRows(u64),
    /// The database said no. Nothing was done.
    Refused(String),
    /// Proven: nothing was done, and it may be tried again.
    NotDone(String),
    /// COMMIT was asked for, and the answer is lost.
    Unknown(String),
}

impl Written {
    /// What it proves, in the words of every connector.
    pub fn outcome(self) -> Outcome {
        let no = |code: &str, description: String| {
            let code = code.to_owned();
            Outcome::Refused(ProviderError { code, description })
        };
        match self {
            Written::Done(result) => Outcome::Executed(receipt(result)),
            Written::Before(at) => Outcome::Executed(receipt(json!({"done_at": at}))),
            Written::Changed => {
                let words = "what the proposal was shown for has changed; nothing was done";
                no(PRECONDITION, words.to_owned())
            }
            Written::UnexpectedRows(rows) => {
                let words = format!("it would have touched {rows} rows; nothing was done");
                no(UNEXPECTED_ROWS, words)
            }
            Written::Refused(why) => no("database_error", why),
            Written::NotDone(why) => Outcome::NotSent(why),
            Written::Unknown(why) => Outcome::Unknown(why),
        }
    }
}

fn receipt(result: Value) -> Receipt {
    Receipt {
        provider_id: None,
        provider_state: None,
        reversed: false,
        settled_unreadable: false,
        settled_minor: None,
        result,
        blocks: Value::Null,
    }
}

/// What a look for a marker found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mark {
    /// The write was done, at this time.
    Done(String),
    /// It was not done. An attempt that is still under way elsewhere could do it later.
    Absent,
    /// It was settled that it is never done.
    Never,
}

impl Mark {
    /// What it proves, in the words of every connector.
    pub fn sighting(self) -> Sighting {
        match self {
            Mark::Done(at) => Sighting::Found(receipt(json!({"done_at": at}))),
            Mark::Absent => Sighting::Absent,
            Mark::Never => Sighting::Refused(ProviderError {
                code: "not_done".to_owned(),
                description: "it was settled that this is not done".to_owned(),
            }),
        }
    }
}

/// How a database is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ping {
    /// How long one round trip took.
    pub latency: Duration,
    /// What runs there.
    pub detail: String,
    /// What its operator had better change.
    pub advice: Vec<String>,
    /// Whether markers can be written.
    pub marker: bool,
}

/// Why a file may not be opened, as far as its path tells; it need not be there yet.
pub fn refused(config: &SqliteSource, dirs: &[PathBuf]) -> Option<String> {
    sqlite::refused(config, dirs)
}

impl Database {
    /// Opens a source without connecting yet. `sqlite_dirs` are the folders in which files may lie,
    /// and `reach` is where servers may be. The error is for people.
    pub fn open(
        source: &Source,
        secrets: &BTreeMap<String, Secret>,
        sqlite_dirs: &[PathBuf],
        reach: Reach,
    ) -> Result<Self, String> {
        match &source.config {
            SourceConfig::Postgres(config) => {
                let opened = Postgres::open(config, secrets, reach)?;
                Ok(Self::Postgres(Box::new(opened)))
            }
            SourceConfig::Sqlite(config) => Ok(Self::Sqlite(Sqlite::open(config, sqlite_dirs)?)),
            SourceConfig::Rest(_) | SourceConfig::Mcp(_) | SourceConfig::Program(_) => {
                Err("this source is no database".to_owned())
            }
        }
    }

    /// Whose SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        match self {
            Database::Postgres(_) => Dialect::Postgres,
            Database::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Runs a query that only reads.
    pub async fn read(
        &self,
        read: &Read,
        args: &Value,
        deadline: Duration,
    ) -> Result<Rows, Trouble> {
        match self {
            Database::Postgres(postgres) => postgres.read(read, args, deadline).await,
            Database::Sqlite(sqlite) => sqlite.read(read, args, deadline).await,
        }
    }

    /// Shows what a write would work on.
    pub async fn preview(
        &self,
        preview: &Preview,
        args: &Value,
        deadline: Duration,
    ) -> Result<Shown, Trouble> {
        let read = Read {
            query: preview.query.clone(),
            max_rows: MAX_PREVIEW_ROWS,
            max_bytes: MAX_PREVIEW_BYTES,
        };
        rows::shown(self.read(&read, args, deadline).await?)
    }

    /// Carries a write out, once for each proposal where it has a marker.
    pub async fn write(&self, order: &Order<'_>, deadline: Duration) -> Written {
        match self {
            Database::Postgres(postgres) => postgres.write(order, deadline).await,
            Database::Sqlite(sqlite) => sqlite.write(order, deadline).await,
        }
    }

    /// Whether a write was done. Waits for one that is under way.
    pub async fn look(&self, proposal: ProposalId, deadline: Duration) -> Result<Mark, Trouble> {
        match self {
            Database::Postgres(postgres) => postgres.look(proposal, false, deadline).await,
            Database::Sqlite(sqlite) => sqlite.look(proposal, false, deadline).await,
        }
    }

    /// Settles whether a write was done: if not, no later attempt can do it any more.
    pub async fn settle(&self, proposal: ProposalId, deadline: Duration) -> Result<Mark, Trouble> {
        match self {
            Database::Postgres(postgres) => postgres.look(proposal, true, deadline).await,
            Database::Sqlite(sqlite) => sqlite.look(proposal, true, deadline).await,
        }
    }

    /// Makes the table of markers, if it is not there.
    pub async fn prepare(&self, deadline: Duration) -> Result<(), Trouble> {
        match self {
            Database::Postgres(postgres) => postgres.prepare(deadline).await,
            Database::Sqlite(sqlite) => sqlite.prepare(deadline).await,
        }
    }

    /// Asks how it is doing.
    pub async fn ping(&self, deadline: Duration) -> Result<Ping, Trouble> {
        match self {
            Database::Postgres(postgres) => postgres.ping(deadline).await,
            Database::Sqlite(sqlite) => sqlite.ping(deadline).await,
        }
    }

    /// Lets go of its connections.
    pub async fn close(&self) {
        match self {
            Database::Postgres(postgres) => postgres.close().await,
            Database::Sqlite(sqlite) => sqlite.close().await,
        }
    }
}

#[cfg(test)]
mod tests;
