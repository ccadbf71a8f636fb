//! How SQLite answers questions: on the reading connections, or, if something changes, on the
//! writer's.

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Row, Sqlite as Engine};

use super::Sqlite;
use crate::domain::retention::Old;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::columns::{Columns, Read};
use crate::store::group::Group;
use crate::store::question::{Question, Value};
use crate::store::sql::{Database, Words};
use crate::store::stored::corrupt;

impl Database for Sqlite {
    type Row = SqliteRow;

    const WORDS: Words = Words {
        json: ["_json", "_json"],
        counters: "meta",
        due_too: "",
        skip_locked: "",
        // `total` adds doubles, which are exact as far as any limit goes: a sum beyond the integers
        // must be a large sum and not an error.
        sum: "SELECT CAST(min(total(CASE r.standing WHEN 'pending' THEN p.amount \
              ELSE r.posted END), 9e18) AS INTEGER)",
        seen_at: "json_extract(body_json, '$.at')",
        // Whoever writes keeps everybody else waiting, and flushes.
        looks_first: true,
        finds: [
            " AND p.n IN (SELECT rowid FROM passage_words WHERE passage_words MATCH ",
            ")",
        ],
        any: ["\"", " OR "],
    };

    fn group(&self) -> &Group {
        &self.group
    }

    async fn all(&self, asked: Question) -> Read<Vec<SqliteRow>> {
        let rows = query(asked)?.fetch_all(&self.readers).await;
        rows.map_err(failed)
    }

    async fn optional(&self, asked: Question) -> Read<Option<SqliteRow>> {
        let row = query(asked)?.fetch_optional(&self.readers).await;
        row.map_err(failed)
    }

    async fn change(&self, told: Question) -> Read<Vec<SqliteRow>> {
        let told = query(told)?;
        let mut writer = self.writer.lock().await;
        writer.alone(async |conn| told.fetch_all(conn).await).await
    }

    async fn execute(&self, told: Question) -> Read<u64> {
        let told = query(told)?;
        let mut writer = self.writer.lock().await;
        let done = writer.alone(async |conn| told.execute(conn).await).await?;
        Ok(done.rows_affected())
    }

    async fn drop_old(&self, old: Old, before: Timestamp, limit: u32) -> Read<u64> {
        // Looked for beside the writer, so that nobody waits while there is nothing to drop.
        let asked = Self::WORDS.old("rowid", old, before).with(" LIMIT ", limit);
        let rows = self.all(asked).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let rows = rows.iter().map(|row| Ok(row.number(0)?.to_string()));
        let rows: Vec<String> = rows.collect::<Read<_>>()?;
        let table = match old {
            Old::RefusedProposals => "proposals",
            Old::SeenWebhooks => "docs",
        };
        let text = format!("DELETE FROM {table} WHERE rowid IN ({})", rows.join(","));
        let told = sqlx::query(AssertSqlSafe(text)).persistent(false);
        let mut writer = self.writer.lock().await;
        let done = writer.alone(async |conn| told.execute(conn).await).await?;
        Ok(done.rows_affected())
    }

    async fn ping(&self) -> Read<()> {
        let mut writer = self.writer.lock().await;
        if writer.proven() {
            return Ok(());
        }
        let pinged = sqlx::query(
            "INSERT INTO meta (name, value) VALUES ('ping', 1) \
             ON CONFLICT DO UPDATE SET value = value + 1",
        );
        let pinged = writer.alone(async |conn| pinged.execute(conn).await);
        pinged.await.map(drop)
    }
}

pub(super) type Query = sqlx::query::Query<'static, Engine, SqliteArguments>;

pub(super) fn query(asked: Question) -> Read<Query> {
    let mut arguments = SqliteArguments::default();
    for value in asked.values {
        let added = match value {
            Value::Text(text) => arguments.add(text),
            Value::Number(number) => arguments.add(number),
            Value::Id(id) => arguments.add(id),
            Value::Time(at) => arguments.add(at.millis()),
            Value::MaybeTime(at) => arguments.add(at.map(Timestamp::millis)),
        };
        added.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    }
    Ok(sqlx::query_with(AssertSqlSafe(asked.text), arguments))
}

impl Columns for SqliteRow {
    fn maybe_text(&self, column: usize) -> Read<Option<&str>> {
        get(self, column)
    }

    fn maybe_number(&self, column: usize) -> Read<Option<i64>> {
        get(self, column)
    }

    fn maybe_id(&self, column: usize) -> Read<Option<uuid::Uuid>> {
        get(self, column)
    }

    fn maybe_time(&self, column: usize) -> Read<Option<Timestamp>> {
        Ok(self.maybe_number(column)?.map(Timestamp::from_millis))
    }
}

fn get<'r, T>(row: &'r SqliteRow, column: usize) -> Read<T>
where
    T: sqlx::Decode<'r, Engine> + sqlx::Type<Engine>,
{
    row.try_get(column)
        .map_err(|error| corrupt("column", error))
}

fn failed(error: sqlx::Error) -> StoreError {
    const CORRUPT: i32 = 11;
    const NOT_A_DATABASE: i32 = 26;
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.and_then(|code| code.parse::<i32>().ok());
    match code.map(|code| code & 0xff) {
        Some(CORRUPT | NOT_A_DATABASE) => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}
