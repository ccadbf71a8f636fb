//! What only Postgres can be asked.

use std::fmt::Write;

use hundi::ambient::Ambient;
use hundi::store::floor::{self, Load};
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::support::postgres::{connect, fresh_schema};

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

#[tokio::test]
async fn the_floor_is_measured_beside_the_store_and_leaves_nothing() {
    let Some(url) = fresh_schema().await else {
        return;
    };
    for naive in [false, true] {
        let load = Load {
            concurrency: 4,
            cycles: 20,
            money: true,
            naive,
        };
        let floor = floor::postgres(&url, load, &Ambient::real()).await.unwrap();
        assert_eq!(floor.cycles, 20);
    }
    assert_eq!(
        dump(&url).await,
        "",
        "the store's own schema is not touched"
    );
    let mut conn = connect(&url).await;
    let left = "SELECT count(*) FROM information_schema.schemata \
                WHERE schema_name LIKE 'hundi_floor_%'";
    let left: i64 = conn.fetch_one(left).await.unwrap().get(0);
    assert_eq!(left, 0);
}
