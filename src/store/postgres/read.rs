//! How Postgres answers questions: on the reading connections, which small statements use too.

use sqlx::Row;
use sqlx::postgres::{PgRow, Postgres as Engine};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::bell::Bell;
use super::{Postgres, timestamp};
use crate::domain::retention::Old;
use crate::domain::time::Timestamp;
use crate::store::columns::{Columns, Read};
use crate::store::group::Group;
use crate::store::question::Question;
use crate::store::sql::{Database, Words};
use crate::store::stored::corrupt;

impl Database for Postgres {
    type Row = PgRow;

    const WORDS: Words = Words {
        json: ["", "::text"],
        counters: "counters",
        // A node whose own clock runs ahead must not end what the others allowed.
        due_too: " AND p.due_at <= now()",
        skip_locked: " FOR UPDATE SKIP LOCKED",
        // A sum of bigints is a numeric: beyond the integers it is a large sum and not an error.
        sum: "SELECT least(coalesce(sum(CASE r.standing WHEN 'pending' THEN p.amount \
              ELSE r.posted END), 0), 9000000000000000000)::bigint",
        seen_at: "to_timestamp((body->>'at')::float8 / 1000)",
        looks_first: false,
        finds: [" AND p.found @@ ", "::tsquery"],
        any: ["'", " | "],
    };

    fn group(&self) -> &Group {
        &self.group
    }

    async fn all(&self, asked: Question) -> Read<Vec<PgRow>> {
        self.readers.all(asked).await
    }

    async fn optional(&self, asked: Question) -> Read<Option<PgRow>> {
        self.readers.optional(asked).await
    }

    async fn change(&self, told: Question) -> Read<Vec<PgRow>> {
        self.readers.change(told).await
    }

    async fn execute(&self, told: Question) -> Read<u64> {
        self.readers.execute(told).await
    }

    fn rung(&self) -> Option<watch::Receiver<u64>> {
        let bell = self.bell.get_or_init(|| Bell::start(self.options.clone()));
        Some(bell.heard())
    }

    async fn drop_old(&self, old: Old, before: Timestamp, limit: u32) -> Read<u64> {
        let (table, names) = match old {
            Old::RefusedProposals => ("proposals WHERE state = 'blocked' AND ", "id"),
            Old::SeenWebhooks => ("docs WHERE kind = 'webhook' AND ", "kind, org, id"),
        };
        let found = Self::WORDS.old(names, old, before);
        let found = match old {
            Old::RefusedProposals => found.words(" ORDER BY id"),
            Old::SeenWebhooks => found,
        };
        let found = found.with(" LIMIT ", limit).words(")");
        let drop = Question {
            text: format!("DELETE FROM {table}({names}) IN ({}", found.text),
            values: found.values,
        };
        self.readers.execute(drop).await
    }

    async fn ping(&self) -> Read<()> {
        let told = "UPDATE counters SET value = value + 1 WHERE name = 'ping'";
        self.readers.execute(Question::new(told)).await.map(drop)
    }
}

impl Columns for PgRow {
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
        Ok(get::<Option<OffsetDateTime>>(self, column)?.map(timestamp))
    }
}

fn get<'r, T>(row: &'r PgRow, column: usize) -> Read<T>
where
    T: sqlx::Decode<'r, Engine> + sqlx::Type<Engine>,
{
    row.try_get(column)
        .map_err(|error| corrupt("column", error))
}
