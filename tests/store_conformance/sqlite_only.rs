//! What only SQLite can be asked.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use hundi::ambient::Ambient;
use hundi::domain::change::{Applied, Change, DocKey, DocWrite};
use hundi::store::sqlite::{OpenError, Sqlite};
use hundi::store::{ApplyError, Store, StoreError};
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use super::SqliteFile;
use super::given::*;

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

async fn open(path: &Path) -> Result<Sqlite, OpenError> {
    Sqlite::open(path, &Ambient::real()).await
}

async fn open_with(options: SqliteConnectOptions) -> Result<Sqlite, OpenError> {
    Sqlite::open_with(options, &Ambient::real(), 256).await
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
}

#[tokio::test]
async fn a_store_that_could_forget_does_not_start() {
    let place = SqliteFile::new();
    let weak = [
        (
            options(&place.path()).synchronous(SqliteSynchronous::Normal),
            "synchronous=NORMAL",
        ),
        (
            options(&place.path()).synchronous(SqliteSynchronous::Off),
            "synchronous=OFF",
        ),
        (
            options(&place.path()).journal_mode(SqliteJournalMode::Delete),
            "journal_mode=delete",
        ),
    ];
    for (options, found) in weak {
        let error = open_with(options).await.err().unwrap();
        assert!(matches!(error, OpenError::NotDurable { .. }), "{error}");
        assert!(error.to_string().contains(found), "{error}");
    }
    let stronger = options(&place.path()).synchronous(SqliteSynchronous::Extra);
    open_with(stronger).await.unwrap();
}

#[tokio::test]
async fn a_newer_or_a_strangers_database_is_left_alone() {
    let place = SqliteFile::new();
    drop(open(&place.path()).await.unwrap());
    raw(&place.path())
        .await
        .execute("PRAGMA user_version = 99")
        .await
        .unwrap();
    let newer = open(&place.path()).await.err().unwrap();
    assert_eq!(
        newer,
        OpenError::Newer {
            found: 99,
            known: 8
        }
    );

    let strange = place.dir.path().join("strange.db");
    let mut conn = SqliteConnection::connect_with(&options(&strange))
        .await
        .unwrap();
    conn.execute("CREATE TABLE theirs (x)").await.unwrap();
    let foreign = open(&strange).await.err().unwrap();
    assert!(matches!(foreign, OpenError::Foreign(_)), "{foreign}");

    let text = place.dir.path().join("notes.txt");
    std::fs::write(
        &text,
        "not a database, and long enough to be told apart from one".repeat(20),
    )
    .unwrap();
    let not_one = open(&text).await.err().unwrap();
    assert!(matches!(not_one, OpenError::Failed { .. }), "{not_one}");
}

#[tokio::test]
async fn a_store_of_the_first_version_is_upgraded_with_everything_in_it() {
    let place = SqliteFile::new();
    let first = include_str!("../../sql/sqlite/0001_init.sql");
    let mut old = SqliteConnection::connect_with(&options(&place.path()))
        .await
        .unwrap();
    old.execute(first).await.unwrap();
    old.execute(
        "INSERT INTO docs VALUES ('policy', 'default', 'a', 7, '{\"daily_limit\":5}'), \
                                 ('policy', 'default', 'gone', 2, NULL)",
    )
    .await
    .unwrap();
    old.close().await.unwrap();
    let store = open(&place.path()).await.unwrap();
    let doc = |id: &str| DocKey::new("policy", &org(), id);
    let kept = store.doc(&doc("a")).await.unwrap().unwrap();
    assert_eq!((kept.version, kept.body), (7, json!({"daily_limit": 5})));
    // A deleted one goes on counting, so that nobody takes it for the earlier one.
    let again = DocWrite {
        key: doc("gone"),
        expect: Some(0),
        body: Some(json!({})),
    };
    let written = Change::documents(vec![again], vec![], vec![], vec![]);
    store.apply(written).await.unwrap();
    assert_eq!(store.doc(&doc("gone")).await.unwrap().unwrap().version, 3);
}

#[tokio::test]
async fn an_instance_keeps_its_random_name() {
    let place = SqliteFile::new();
    let other = SqliteFile::new();
    let name = open(&place.path()).await.unwrap().instance().to_owned();
    assert_eq!(name.len(), 32);
    assert_eq!(open(&place.path()).await.unwrap().instance(), name);
    assert_ne!(open(&other.path()).await.unwrap().instance(), name);
}

#[tokio::test]
async fn many_may_start_on_one_new_file() {
    let place = SqliteFile::new();
    let path = place.path();
    let started = join_all((0..6).map(|_| open(&path))).await;
    let names: Vec<_> = started
        .iter()
        .map(|store| store.as_ref().unwrap().instance())
        .collect();
    assert!(names.windows(2).all(|pair| pair[0] == pair[1]), "{names:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let place = SqliteFile::new();
    let store = open(&place.path()).await.unwrap();
    store.apply(admit(&proposal(1))).await.unwrap();
    for entry in std::fs::read_dir(place.dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

/// The kind of failure, without its words.
fn unavailable(fate: Result<Applied, ApplyError>) -> bool {
    matches!(fate, Err(ApplyError::Store(StoreError::Unavailable(_))))
}

#[tokio::test]
async fn a_full_disk_refuses_and_heals_by_itself() {
    let place = SqliteFile::new();
    drop(open(&place.path()).await.unwrap());
    let mut other = raw(&place.path()).await;
    other.execute("CREATE TABLE junk (x)").await.unwrap();
    other
        .execute("INSERT INTO junk VALUES (zeroblob(1000000))")
        .await
        .unwrap();
    let full = options(&place.path()).pragma("max_page_count", "1");
    let store = open_with(full).await.unwrap();
    let big = |n| {
        let mut record = record("big");
        record.detail = json!("x".repeat(50_000));
        Change::admit(proposal(n), None, vec![], vec![], record, None)
    };
    let before = dump(&place.path()).await;
    let fates = join_all((0..20).map(|n| store.apply(big(n)))).await;
    assert!(fates.into_iter().all(unavailable));
    assert_eq!(dump(&place.path()).await, before);
    assert_eq!(
        store.proposal(id(1)).await.unwrap(),
        None,
        "reading goes on"
    );

    other.execute("DROP TABLE junk").await.unwrap();
    store.apply(big(1)).await.unwrap();
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_writer_that_never_ends_makes_others_unavailable_until_it_does() {
    let place = SqliteFile::new();
    let hasty = options(&place.path()).busy_timeout(Duration::from_millis(20));
    let store = open_with(hasty).await.unwrap();
    let mut other = raw(&place.path()).await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    assert!(unavailable(store.apply(admit(&proposal(1))).await));
    assert!(store.ping().await.is_err());
    other.execute("ROLLBACK").await.unwrap();
    store.apply(admit(&proposal(1))).await.unwrap();
}

#[tokio::test]
async fn what_the_schema_alone_refuses_does_not_fail_its_neighbours() {
    let place = SqliteFile::new();
    let store = open(&place.path()).await.unwrap();
    let trap = "CREATE TRIGGER trap BEFORE INSERT ON proposals WHEN NEW.agent = 'bad' \
                BEGIN SELECT RAISE(ABORT, 'no'); END";
    raw(&place.path()).await.execute(trap).await.unwrap();
    let changes = (0..30).map(|n| {
        let mut new = proposal(n);
        std::sync::Arc::make_mut(&mut new.fixed).agent = agent(if n == 17 { "bad" } else { "a" });
        store.apply(admit_with(&new, reserve(1, 1_000)))
    });
    for (n, fate) in join_all(changes).await.into_iter().enumerate() {
        assert_eq!(unavailable(fate), n == 17, "{n}");
    }
    assert_eq!(store.budget(&pot("a")).await.unwrap().pending, 29);
}
