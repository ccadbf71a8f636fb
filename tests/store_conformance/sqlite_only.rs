//! What only SQLite can be asked.

use std::fmt::Write;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

/// A connection of somebody else.
async fn raw(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path);
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// Every row of every table, as text.
pub async fn dump(path: &Path) -> String {
    let mut conn = raw(path).await;
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let mut text = String::new();
    for table in conn.fetch_all(tables).await.unwrap() {
        let table: String = table.get(0);
        let columns = format!(
            "SELECT group_concat('quote(' || name || ')', ' || '','' || ') FROM pragma_table_info('{table}')"
        );
        let columns: String = conn.fetch_one(AssertSqlSafe(columns)).await.unwrap().get(0);
        let rows = format!("SELECT {columns} FROM {table} ORDER BY 1");
        for row in conn.fetch_all(AssertSqlSafe(rows)).await.unwrap() {
            writeln!(text, "{table}: {}", row.get::<String, _>(0)).unwrap();
        }
    }
    text
}
