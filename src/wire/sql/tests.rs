//! Both databases, for real: SQLite in files of their own, PostgreSQL where a server is given.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::domain::time::Timestamp;
use crate::domain::tools::statement::{Lock, Part, Statement};

mod values;
mod writes;

const DEADLINE: Duration = Duration::from_secs(20);

/// `:name` parameters, as the connector would have found them in plain texts.
fn statement(dialect: Dialect, text: &str) -> Statement {
    let mut names: Vec<String> = Vec::new();
    let mut parts = Vec::new();
    let mut pieces = text.split('@');
    parts.push(Part::Text(pieces.next().unwrap().to_owned()));
    for piece in pieces {
        let end = piece
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(piece.len());
        let name = &piece[..end];
        let known = names.iter().position(|known| known == name);
        let number = known.unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        parts.push(Part::Param(number + 1));
        parts.push(Part::Text(piece[end..].to_owned()));
    }
    Statement {
        dialect,
        parts,
        names,
    }
}

/// The server of the tests. Whoever promises that everything is there fails without one.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told their server by the environment"
)]
fn server() -> Option<String> {
    let url = std::env::var("TEST_POSTGRES_URL").ok();
    let promised = std::env::var("HUNDI_TESTS_COMPLETE").is_ok();
    assert!(url.is_some() || !promised, "TEST_POSTGRES_URL is not set");
    url
}

struct Bench {
    database: Database,
    schema: String,
    _folder: TempDir,
}

impl Bench {
    async fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let made = sqlx::SqlitePool::connect_with(options).await.unwrap();
        for text in [
            "create table invoices (id integer primary key, customer text, cents integer, note text)",
            "insert into invoices values (1, 'ada', 500, null), (2, 'bob', 9007199254740993, 'x')",
        ] {
            sqlx::query(text).execute(&made).await.unwrap();
        }
        made.close().await;
        let config = crate::domain::tools::SqliteSource {
            path: path.to_str().unwrap().to_owned(),
        };
        let database = Sqlite::open(&config, &[folder.path().to_owned()]).unwrap();
        Self {
            database: Database::Sqlite(database),
            schema: String::new(),
            _folder: folder,
        }
    }

    /// A schema of its own on the server of the tests; none where no server was given.
    async fn postgres() -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let url = server()?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let schema = format!("sql_{}_{number}", std::process::id());
        let admin = sqlx::PgPool::connect(&url).await.unwrap();
        for text in [
            format!("drop schema if exists {schema} cascade"),
            format!("drop role if exists {schema}"),
            format!("create schema {schema}"),
            format!("create role {schema} login"),
            format!("grant all on schema {schema} to {schema}"),
            format!("alter role {schema} set search_path = {schema}"),
            format!(
                "create table {schema}.invoices (id int primary key, customer text, cents bigint, note text)"
            ),
            format!(
                "insert into {schema}.invoices values (1, 'ada', 500, null), (2, 'bob', 9007199254740993, 'x')"
            ),
            format!("alter table {schema}.invoices owner to {schema}"),
            format!("grant all on all tables in schema {schema} to {schema}"),
        ] {
            sqlx::query(AssertSqlSafe(text))
                .execute(&admin)
                .await
                .unwrap();
        }
        admin.close().await;
        let mut url = url::Url::parse(&url).unwrap();
        url.set_username(&schema).unwrap();
        let secrets = BTreeMap::from([("url".to_owned(), Secret::new(url.as_str()))]);
        let document = json!({"name": "t", "kind": "postgres", "config": {}});
        let source = Source::read(&document).unwrap();
        let database = Database::open(&source, &secrets, &[], Reach::anywhere()).unwrap();
        Some(Self {
            database,
            schema,
            _folder: TempDir::new().unwrap(),
        })
    }

    async fn all() -> Vec<Self> {
        let mut all = vec![Self::sqlite().await];
        all.extend(Self::postgres().await);
        for bench in &all {
            bench.database.prepare(DEADLINE).await.unwrap();
        }
        all
    }

    fn statement(&self, text: &str) -> Statement {
        statement(self.database.dialect(), text)
    }

    async fn read(&self, text: &str, args: Value) -> Result<Rows, Trouble> {
        let read = Read {
            query: self.statement(text),
            max_rows: 3,
            max_bytes: 10_000,
        };
        self.database.read(&read, &args, DEADLINE).await
    }

    fn write(&self, text: &str) -> Write {
        Write {
            returns: text.contains("returning"),
            statement: self.statement(text),
            preview: None,
            expect_rows: (0, None),
            marker: true,
        }
    }

    async fn done(&self, write: &Write, args: &Value, number: u8, state: Option<&str>) -> Written {
        let order = Order {
            proposal: proposal(number),
            write,
            args,
            state,
        };
        self.database.write(&order, DEADLINE).await
    }

    /// Another hand.
    async fn change(&self, text: &str) {
        let write = Write {
            marker: false,
            ..self.write(text)
        };
        let written = self.done(&write, &json!({}), 0, None).await;
        assert!(matches!(written, Written::Done(_)), "{written:?}");
    }

    async fn cents(&self, id: i64) -> Value {
        let rows = self
            .read(
                "select cents from invoices where id = @id",
                json!({"id": id}),
            )
            .await;
        rows.unwrap().rows[0]["cents"].clone()
    }
}

fn proposal(number: u8) -> ProposalId {
    ProposalId::at(Timestamp::from_secs(1), [number; 10])
}

use sqlx::AssertSqlSafe;

#[tokio::test]
async fn rows_come_as_objects_and_large_integers_as_text() {
    for bench in Bench::all().await {
        let rows = bench
            .read("select * from invoices order by id", json!({}))
            .await
            .unwrap();
        assert_eq!(
            rows.data(),
            json!({"row_count": 2, "truncated": false, "rows": [
                {"id": 1, "customer": "ada", "cents": 500, "note": null},
                {"id": 2, "customer": "bob", "cents": "9007199254740993", "note": "x"},
            ]})
        );
        let query = "select * from invoices where customer = @c or note = @c";
        let rows = bench
            .read(query, json!({"c": "' or 1=1 --"}))
            .await
            .unwrap();
        assert_eq!(rows.rows, Vec::<Value>::new());
        let rows = bench
            .read(
                "select id, id from invoices where id = @id",
                json!({"id": 1}),
            )
            .await;
        assert_eq!(rows.unwrap().rows, [json!({"id": 1, "id_2": 1})]);
    }
}

#[tokio::test]
async fn a_result_is_cut_at_its_rows_and_refused_beyond_its_bytes() {
    for bench in Bench::all().await {
        let four = "select 1 as a union all select 2 union all select 3 union all select 4";
        let rows = bench.read(four, json!({})).await.unwrap();
        assert_eq!((rows.rows.len(), rows.truncated), (3, true));
        let long = json!({"long": "x".repeat(20_000)});
        let long = bench.read("select cast(@long as text) as a", long).await;
        assert_eq!(long, Err(Trouble::TooLarge(10_000)));
        // The connection is good for the next one.
        assert!(bench.read("select 1 as a", json!({})).await.is_ok());
    }
}

#[tokio::test]
async fn a_read_cannot_write_whatever_it_says() {
    for bench in Bench::all().await {
        let before = bench.cents(1).await;
        for text in [
            "delete from invoices returning id",
            "update invoices set cents = 0 returning id",
        ] {
            let told = bench.read(text, json!({})).await;
            assert!(matches!(told, Err(Trouble::Refused(_))), "{told:?}");
        }
        assert_eq!(bench.cents(1).await, before);
    }
    // Even where the frame around it would let it through.
    if let Some(bench) = Bench::postgres().await {
        let text = format!("select nextval('{}.s')", bench.schema);
        bench.change("create sequence s").await;
        let told = bench.read(&text, json!({})).await;
        assert!(
            matches!(told, Err(Trouble::Refused(ref why)) if why.contains("read-only")),
            "{told:?}"
        );
    }
}

/// A server that answers what nobody here can read is well all the same.
#[tokio::test]
async fn what_cannot_be_read_is_the_statements_fault() {
    let Some(bench) = Bench::postgres().await else {
        return;
    };
    let told = bench
        .read("select * from pg_catalog.pg_type", json!({}))
        .await;
    assert!(!matches!(told, Err(Trouble::Unavailable(_))), "{told:?}");
}

#[tokio::test]
async fn a_query_that_does_not_end_is_ended() {
    let text = "with recursive x(n) as (select 1 union all select n + 1 from x) \
                select max(n) as n from x";
    for bench in Bench::all().await {
        let read = Read {
            query: bench.statement(text),
            max_rows: 3,
            max_bytes: 1000,
        };
        let began = std::time::Instant::now();
        let told = bench
            .database
            .read(&read, &json!({}), Duration::from_millis(300))
            .await;
        assert_eq!(told, Err(Trouble::Timeout));
        assert!(began.elapsed() < Duration::from_secs(4));
        assert!(bench.read("select 1 as a", json!({})).await.is_ok());
    }
}

#[tokio::test]
async fn a_file_outside_of_the_folders_is_not_opened() {
    let bench = Bench::sqlite().await;
    let folder = bench._folder.path();
    let other = TempDir::new().unwrap();
    let link = other.path().join("link.db");
    std::os::unix::fs::symlink(folder.join("a.db"), &link).unwrap();
    let open = |path: &std::path::Path, dir: &std::path::Path| {
        let path = path.to_str().unwrap().to_owned();
        let config = crate::domain::tools::SqliteSource { path };
        Sqlite::open(&config, &[dir.to_owned()]).is_ok()
    };
    assert!(open(&folder.join("a.db"), folder));
    assert!(!open(&folder.join("a.db"), other.path()));
    assert!(!open(&link, other.path()), "a link is followed first");
    assert!(!open(&folder.join("b.db"), folder));
    assert!(!open(std::path::Path::new("/etc/passwd"), folder));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_as_that_and_no_secret_with_it() {
    let url = "postgres://nobody:canary@127.0.0.1:1/x";
    let secrets = BTreeMap::from([("url".to_owned(), Secret::new(url))]);
    let document = json!({"name": "t", "kind": "postgres", "config": {}});
    let source = Source::read(&document).unwrap();
    let database = Database::open(&source, &secrets, &[], Reach::anywhere()).unwrap();
    let told = database.ping(Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(told.code(), "source_unavailable");
    assert!(!told.to_string().contains("canary"), "{told}");
    for bad in [
        "postgres://u@h/d?sslcert=/etc/key",
        "mysql://u@h/d",
        "postgres:///d",
        "postgres://u@%2Ftmp/d",
    ] {
        let secrets = BTreeMap::from([("url".to_owned(), Secret::new(bad))]);
        assert!(
            Database::open(&source, &secrets, &[], Reach::anywhere()).is_err(),
            "{bad}"
        );
    }
}
