//! Statements that take many rows at once, and scripts of them that take one round trip.
//!
//! The text of a statement is the same for every batch of the same size class (a power of two),
//! so that it is prepared once and then kept. Rows that fill a class up are NULL in their first
//! column and skipped by the statement itself. `json_each` would need one text for all
//! sizes, and would spell every row as JSON only to parse it again.
//!
//! Each round trip to the connection's thread wakes two threads, and a batch is written while its
//! callers wait. So statements run together, all in the size class of the largest: a class of its
//! own for each would make more texts than can be kept.

use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type};

/// Rows in one statement at most. With 15 columns that is far below SQLite's 32,766 parameters.
const MAX_ROWS: usize = 128;
/// Size classes: 1, 2, 4 ... [`MAX_ROWS`].
const CLASSES: usize = 8;

/// One statement in all its size classes.
pub(super) struct Bulk {
    columns: usize,
    texts: [String; CLASSES],
}

impl Bulk {
    /// `{}` in `template` stands for the rows, whose columns SQLite names `column1`, `column2`...
    pub fn new(template: &str, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        Self {
            texts: std::array::from_fn(|class| {
                let rows = vec![row.as_str(); 1 << class].join(",");
                let text = template.replacen("{}", &format!("(VALUES {rows})"), 1);
                text + ";\n"
            }),
            columns,
        }
    }

    /// So many rows of this statement, which `bind` fills in by number.
    pub fn rows<'a>(
        &'static self,
        rows: usize,
        bind: impl Fn(&mut Row, usize) + Send + Sync + 'a,
    ) -> Part<'a> {
        let bind = Box::new(bind);
        let bulk = self;
        Part { bulk, rows, bind }
    }
}

/// Fills in the row of a number.
type Bind<'a> = Box<dyn Fn(&mut Row, usize) + Send + Sync + 'a>;

/// A statement, and its rows.
pub(super) struct Part<'a> {
    bulk: &'static Bulk,
    rows: usize,
    bind: Bind<'a>,
}

/// Runs the statements in this order. Fails unless every one of their rows was written: the plan
/// said it could be.
pub(super) async fn run(
    conn: &mut SqliteConnection,
    parts: &[Part<'_>],
) -> Result<(), sqlx::Error> {
    if parts.iter().all(|part| part.rows <= MAX_ROWS) {
        return together(conn, parts, 0).await;
    }
    for part in parts {
        for first in (0..part.rows).step_by(MAX_ROWS) {
            together(conn, std::slice::from_ref(part), first).await?;
        }
    }
    Ok(())
}

/// The rows from `first` on, as many as a statement takes.
async fn together(
    conn: &mut SqliteConnection,
    parts: &[Part<'_>],
    first: usize,
) -> Result<(), sqlx::Error> {
    let count = |part: &Part<'_>| part.rows.saturating_sub(first).min(MAX_ROWS);
    let most = parts.iter().map(count).max().unwrap_or(0);
    if most == 0 {
        return Ok(());
    }
    let class = most.next_power_of_two().trailing_zeros() as usize;
    let (mut text, mut row, mut written) = (String::new(), Row::default(), 0);
    for part in parts.iter().filter(|part| count(part) > 0) {
        text.push_str(&part.bulk.texts[class]);
        for number in first..first + count(part) {
            (part.bind)(&mut row, number);
        }
        row.skip(((1 << class) - count(part)) * part.bulk.columns);
        written += count(part);
    }
    let query = sqlx::query_with(AssertSqlSafe(text), row.finish()?);
    let done = query.execute(conn).await?;
    if done.rows_affected() != written as u64 {
        return Err(sqlx::Error::RowNotFound);
    }
    Ok(())
}

/// The values of rows, column after column.
#[derive(Default)]
pub(super) struct Row {
    values: SqliteArguments,
    failed: Option<BoxDynError>,
}

impl Row {
    /// The next column.
    pub fn add<'v, T: Encode<'v, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.values.add(value) {
            self.failed.get_or_insert(error);
        }
        self
    }

    /// The next column, a name that is copied.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.add(text)
    }

    /// Columns that are NULL.
    fn skip(&mut self, columns: usize) {
        for _ in 0..columns {
            self.add(None::<i64>);
        }
    }

    fn finish(self) -> Result<SqliteArguments, sqlx::Error> {
        match self.failed {
            None => Ok(self.values),
            Some(error) => Err(sqlx::Error::Encode(error)),
        }
    }
}
