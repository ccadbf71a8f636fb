//! Statements that take many rows at once.
//!
//! The text of a statement is the same for every batch of the same size class (a power of two),
//! so that it is prepared once and then kept. Rows that fill a class up are NULL in their first
//! column and skipped by the statement itself, so one round trip to the connection's thread
//! writes any number of rows up to the largest class. `json_each` would need one text for all
//! sizes, and would spell every row as JSON only to parse it again.

use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, Encode, Sqlite, Type};

/// Rows in one statement at most. With 15 columns that is far below SQLite's 32,766 parameters.
const MAX_ROWS: usize = 128;
/// Size classes: 1, 2, 4 ... [`MAX_ROWS`].
const CLASSES: usize = 8;

/// One statement in all its size classes.
pub(super) struct Bulk {
    texts: [String; CLASSES],
}

impl Bulk {
    /// `{}` in `template` stands for the rows, whose columns SQLite names `column1`, `column2`...
    pub fn new(template: &str, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        Self {
            texts: std::array::from_fn(|class| {
                let rows = vec![row.as_str(); 1 << class].join(",");
                template.replacen("{}", &format!("(VALUES {rows})"), 1)
            }),
        }
    }

    /// Runs the statement over `rows` rows that `bind` fills in by number. Fails unless every one
    /// of them was written: the plan said it could be.
    pub async fn run(
        &'static self,
        conn: &mut SqliteConnection,
        rows: usize,
        bind: impl Fn(&mut Row, usize),
    ) -> Result<(), sqlx::Error> {
        let mut first = 0;
        while first < rows {
            let count = (rows - first).min(MAX_ROWS);
            let mut row = Row::default();
            for number in first..first + count {
                bind(&mut row, number);
            }
            let class = count.next_power_of_two().trailing_zeros() as usize;
            let query = sqlx::query_with(self.texts[class].as_str(), row.finish()?);
            let done = query.execute(&mut *conn).await?;
            if done.rows_affected() != count as u64 {
                return Err(sqlx::Error::RowNotFound);
            }
            first += count;
        }
        Ok(())
    }
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

    fn finish(self) -> Result<SqliteArguments, sqlx::Error> {
        match self.failed {
            None => Ok(self.values),
            Some(error) => Err(sqlx::Error::Encode(error)),
        }
    }
}
