//! What only Postgres can be asked.

use std::fmt::Write;

use sqlx::{AssertSqlSafe, Executor, Row};

use crate::support::postgres::connect;

/// Every row of every table, as text. Numbers that count attempts and not contents are left out.
pub async fn dump(url: &str) -> String {
    let mut conn = connect(url).await;
    let tables = "SELECT table_name::text FROM information_schema.tables \
                  WHERE table_schema = current_schema() ORDER BY 1";
    let mut text = String::new();
    for table in conn.fetch_all(tables).await.unwrap() {
        let table: String = table.get(0);
        let rows = format!("SELECT t::text FROM {table} t ORDER BY 1");
        for row in conn.fetch_all(AssertSqlSafe(rows)).await.unwrap() {
            writeln!(text, "{table}: {}", row.get::<String, _>(0)).unwrap();
        }
    }
    text
}
