//! What only Postgres can be asked.

use std::time::Duration;

use std::collections::BTreeSet;
use std::fmt::Write;

use futures_util::future::join_all;
use hundi::ambient::Ambient;
use hundi::domain::change::{Change, Guard};
use hundi::domain::secret::Secret;
use hundi::run::bench::floor::{self, Load};
use hundi::store::Address;
use hundi::store::Store;
use hundi::store::postgres::Postgres;
use sqlx::{AssertSqlSafe, Executor, Row};

use super::given::{admit, proposal, write};
use crate::support::postgres::{connect, fresh_schema};
use crate::support::proxy::{Commit, Proxy};

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

/// A cancel that comes while the server flushes a COMMIT is told after the commit is durable.
#[tokio::test]
async fn a_commit_that_a_cancel_follows_is_not_told_as_undone() {
    let Some(url) = fresh_schema().await else {
        return;
    };
    let (proxy, through) = Proxy::before(&url);
    let store = Postgres::open(&through, &Ambient::real()).await.unwrap();
    proxy.spoil(Commit::CancelledAfter, 3);
    // Callers of different pace, so that some come while a batch is being committed.
    let callers = (1..=16).map(|caller| {
        let store = &store;
        async move {
            for n in 0..50 {
                let one = proposal(caller * 100 + n);
                let told = store.apply(admit(&one)).await;
                let stored = store.proposal(one.id()).await.unwrap().is_some();
                assert_eq!(told.is_ok(), stored, "{told:?}");
            }
        }
    });
    join_all(callers).await;
    assert_eq!(proxy.struck(), 3, "COMMITs that were followed by a BEGIN");
}

/// Sealing writes documents next to commits that rely on the policy, and so do commits elsewhere.
#[tokio::test]
async fn a_batch_that_writes_a_document_shares_those_that_it_only_relies_on() {
    let Some(url) = fresh_schema().await else {
        return;
    };
    let store = Postgres::open(&url, &Ambient::real()).await.unwrap();
    let relied_on = write("policy", None, Some(1));
    let guard = Guard {
        key: relied_on.key.clone(),
        version: 1,
    };
    let written = |doc, guards| Change::documents(vec![doc], guards, vec![], vec![]);
    store.apply(written(relied_on, vec![])).await.unwrap();
    // Another node in the middle of a batch that relies on it, for as long as we like.
    let mut other = connect(&url).await;
    let share = "BEGIN; SELECT 1 FROM docs FOR SHARE";
    other.execute(share).await.unwrap();
    for (before, name) in [(true, "another"), (false, "sealed")] {
        let doc = write(name, Some(0), Some(2));
        assert_eq!(
            doc.key < guard.key,
            before,
            "either side in the order of locking"
        );
        let told = store.apply(written(doc, vec![guard.clone()])).await;
        assert!(
            told.is_ok(),
            "it does not wait for the other node: {told:?}"
        );
    }
    other.execute("ROLLBACK").await.unwrap();
}

/// The places to measure in that there are on this server.
async fn scratch(url: &str) -> BTreeSet<String> {
    let names = "SELECT schema_name::text FROM information_schema.schemata \
                 WHERE schema_name LIKE 'hundi_scratch_%'";
    let rows = connect(url).await.fetch_all(names).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn the_floor_is_measured_beside_the_store_and_leaves_nothing() {
    let Some(url) = fresh_schema().await else {
        return;
    };
    // A measurement that was killed leaves its place behind, and that is not this one's doing.
    let before = scratch(&url).await;
    for naive in [false, true] {
        let load = Load {
            callers: 4,
            money: true,
            naive,
        };
        let store = Address::Server(Secret::new(url.as_str()));
        let (time, ambient) = (Duration::from_millis(1), Ambient::real());
        let floor = floor::beside(&store, load, time, &ambient).await.unwrap();
        assert!(floor.cycles > 0);
    }
    assert_eq!(
        dump(&url).await,
        "",
        "the store's own schema is not touched"
    );
    let left: BTreeSet<String> = &scratch(&url).await - &before;
    assert!(left.is_empty(), "{left:?}");
}
