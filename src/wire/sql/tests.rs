//! Both databases, for real: SQLite in files of their own, PostgreSQL where a server is given.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::domain::time::Timestamp;
use crate::domain::tools::statement::{Lock, Part, Statement};

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
        let Ok(url) = std::env::var("TEST_POSTGRES_URL") else {
            assert!(
                std::env::var("HUNDI_TESTS_COMPLETE").is_err(),
                "TEST_POSTGRES_URL is not set"
            );
            return None;
        };
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
        let database = Database::open(&source, &secrets, &[]).unwrap();
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
            expect_rows: (0, u64::MAX),
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
async fn a_write_is_done_once_for_each_proposal() {
    for bench in Bench::all().await {
        let write =
            bench.write("update invoices set cents = cents + @n where id = @id returning cents");
        let args = json!({"n": 7, "id": 1});
        let first = bench.done(&write, &args, 1, None).await;
        let data = json!({"row_count": 1, "rows": [{"cents": 507}], "truncated": false});
        assert_eq!(first, Written::Done(data));
        assert!(matches!(
            bench.done(&write, &args, 1, None).await,
            Written::Before(_)
        ));
        assert_eq!(bench.cents(1).await, json!(507));
        let all = (0..8).map(|_| bench.done(&write, &args, 2, None));
        let all = futures_util::future::join_all(all).await;
        let done = all
            .iter()
            .filter(|written| matches!(written, Written::Done(_)));
        assert_eq!(done.count(), 1, "{all:?}");
        assert_eq!(bench.cents(1).await, json!(514));
        assert!(matches!(
            bench.database.look(proposal(1), DEADLINE).await,
            Ok(Mark::Done(_))
        ));
        assert_eq!(
            bench.database.look(proposal(9), DEADLINE).await,
            Ok(Mark::Absent)
        );
        // Looking leaves nothing behind.
        assert!(matches!(
            bench.done(&write, &args, 9, None).await,
            Written::Done(_)
        ));
    }
}

#[tokio::test]
async fn what_was_settled_as_not_done_is_never_done() {
    for bench in Bench::all().await {
        let write = bench.write("update invoices set cents = 0 where id = @id");
        assert_eq!(
            bench.database.settle(proposal(3), DEADLINE).await,
            Ok(Mark::Never)
        );
        let late = bench.done(&write, &json!({"id": 1}), 3, None).await;
        assert!(matches!(late, Written::Refused(_)), "{late:?}");
        assert_eq!(bench.cents(1).await, json!(500));
        assert_eq!(
            bench.database.look(proposal(3), DEADLINE).await,
            Ok(Mark::Never)
        );
        bench.done(&write, &json!({"id": 1}), 4, None).await;
        assert!(matches!(
            bench.database.settle(proposal(4), DEADLINE).await,
            Ok(Mark::Done(_))
        ));
    }
}

#[tokio::test]
async fn outside_the_expected_rows_and_on_errors_nothing_is_done() {
    for bench in Bench::all().await {
        let mut write = bench.write("update invoices set cents = 0 where id >= @id");
        write.expect_rows = (1, 1);
        let told = bench.done(&write, &json!({"id": 1}), 1, None).await;
        assert_eq!(told, Written::UnexpectedRows(2));
        let told = bench.done(&write, &json!({"id": 99}), 1, None).await;
        assert_eq!(told, Written::UnexpectedRows(0));
        assert_eq!(bench.cents(1).await, json!(500));
        let twice = bench.write("insert into invoices (id) values (@id)");
        let told = bench.done(&twice, &json!({"id": 1}), 1, None).await;
        assert!(matches!(told, Written::Refused(_)), "{told:?}");
        // No marker stayed behind, so the proposal can still be carried out.
        let told = bench.done(&twice, &json!({"id": 5}), 1, None).await;
        assert_eq!(told, Written::Done(json!({"row_count": 1})));
    }
}

#[tokio::test]
async fn a_write_is_bound_to_the_state_that_was_shown() {
    for bench in Bench::all().await {
        let mut write = bench.write("update invoices set cents = cents - @n where id = @id");
        let preview = Preview {
            query: bench.statement("select id, cents from invoices where id = @id"),
            lock: Lock::All,
        };
        write.preview = Some(preview.clone());
        let args = json!({"n": 100, "id": 1});
        let shown = bench
            .database
            .preview(&preview, &args, DEADLINE)
            .await
            .unwrap();
        assert_eq!(shown.rows, [json!({"id": 1, "cents": 500})]);
        bench
            .change("update invoices set cents = 400 where id = 1")
            .await;
        let told = bench.done(&write, &args, 1, Some(&shown.state)).await;
        assert_eq!(told, Written::Changed);
        assert_eq!(bench.cents(1).await, json!(400));
        let shown = bench
            .database
            .preview(&preview, &args, DEADLINE)
            .await
            .unwrap();
        let told = bench.done(&write, &args, 2, Some(&shown.state)).await;
        assert_eq!(told, Written::Done(json!({"row_count": 1})));
        assert_eq!(bench.cents(1).await, json!(300));
    }
}

/// Of many who were all shown the same state, one does it.
#[tokio::test]
async fn of_many_writes_bound_to_one_state_one_is_done() {
    for bench in Bench::all().await {
        for lock in [Lock::All, Lock::Nothing] {
            let mut write = bench.write("update invoices set cents = cents - 1 where id = 1");
            let query = bench.statement("select cents from invoices where id = 1");
            let preview = Preview { query, lock };
            write.preview = Some(preview.clone());
            let args = json!({});
            let shown = bench
                .database
                .preview(&preview, &args, DEADLINE)
                .await
                .unwrap();
            let base = if write.preview.as_ref().is_some_and(|p| p.lock == Lock::All) {
                10
            } else {
                30
            };
            let all = (0..8).map(|n| bench.done(&write, &args, base + n, Some(&shown.state)));
            let all = futures_util::future::join_all(all).await;
            let done = all
                .iter()
                .filter(|written| matches!(written, Written::Done(_)))
                .count();
            assert_eq!(done, 1, "{all:?}");
            let others = all
                .iter()
                .filter(|written| matches!(written, Written::Changed | Written::NotDone(_)));
            assert_eq!(others.count(), 7, "{all:?}");
        }
        assert_eq!(bench.cents(1).await, json!(498));
    }
}

#[tokio::test]
async fn without_its_table_a_marker_cannot_be_written_and_that_is_told() {
    let mut all = vec![Bench::sqlite().await];
    all.extend(Bench::postgres().await);
    for bench in all {
        assert!(!bench.database.ping(DEADLINE).await.unwrap().marker);
        let write = bench.write("update invoices set cents = 0");
        let told = bench.done(&write, &json!({}), 1, None).await;
        assert!(
            matches!(&told, Written::Refused(why) if why.contains("prepare")),
            "{told:?}"
        );
        bench.database.prepare(DEADLINE).await.unwrap();
        bench.database.prepare(DEADLINE).await.unwrap();
        let ping = bench.database.ping(DEADLINE).await.unwrap();
        assert!(ping.marker && !ping.advice.is_empty(), "{ping:?}");
    }
}

#[tokio::test]
async fn values_of_postgres_have_one_spelling_each() {
    let Some(bench) = Bench::postgres().await else {
        return;
    };
    bench.change("create type mood as enum ('sad', 'ok')").await;
    bench
        .change("create domain cents as bigint check (value >= 0)")
        .await;
    #[rustfmt::skip]
    let cases = [
        ("true",                                     json!(true)),
        ("1::int2",                                  json!(1)),
        ("-1::int8",                                 json!(-1)),
        ("9007199254740993::int8",                   json!("9007199254740993")),
        ("0.1::float4",                              json!(0.1)),
        ("0.1::float8",                              json!(0.1)),
        ("'NaN'::float8",                            json!("NaN")),
        ("123456789012345678.90::numeric",           json!("123456789012345678.90")),
        ("'12.50'::money",                           json!("12.50")),
        ("5::cents",                                 json!(5)),
        ("'ok'::mood",                               json!("ok")),
        ("'a'::varchar(3)",                          json!("a")),
        ("'a'::char(3)",                             json!("a  ")),
        ("'2024-02-29'::date",                       json!("2024-02-29")),
        ("'10:11:12.5'::time",                       json!("10:11:12.5")),
        ("'2024-02-29 10:11:12'::timestamp",         json!("2024-02-29T10:11:12")),
        ("'2024-02-29 10:11:12+02'::timestamptz",    json!("2024-02-29T08:11:12Z")),
        ("'1 day 2 hours'::interval",                json!("P1DT2H")),
        ("'\\x00ff'::bytea",                         json!("AP8=")),
        ("'{\"a\": [1, 9007199254740993]}'::jsonb",  json!({"a": [1, "9007199254740993"]})),
        ("'[1]'::json",                              json!([1])),
        ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("array[1, null, 3]",                        json!([1, null, 3])),
        ("array[[1, 2], [3, 4]]",                    json!([[1, 2], [3, 4]])),
        ("array[1.10::numeric]",                     json!(["1.10"])),
        ("array['a\"b', 'c']::text[]",               json!(["a\"b", "c"])),
        ("array['ok']::mood[]",                      json!(["ok"])),
        ("array[true]",                              json!([true])),
        ("array['2024-02-29 10:11:12+00'::timestamptz]", json!(["2024-02-29T10:11:12Z"])),
        ("null::int",                                json!(null)),
        ("null::int[]",                              json!(null)),
        ("'10.0.0.1'::inet",                         json!("10.0.0.1/32")),
        ("int4range(1, 3)",                          json!("[1,3)")),
        ("row(1, 'a')",                              json!("(1,a)")),
    ];
    for (text, expected) in cases {
        let rows = bench.read(&format!("select {text} as v"), json!({})).await;
        assert_eq!(
            rows.map(|rows| rows.rows[0]["v"].clone()),
            Ok(expected),
            "{text}"
        );
    }
}

#[tokio::test]
async fn arguments_have_the_type_that_the_parameter_has_there() {
    let Some(bench) = Bench::postgres().await else {
        return;
    };
    bench.change("create type mood as enum ('sad', 'ok')").await;
    #[rustfmt::skip]
    let cases = [
        ("@a::int + 1",                   json!(41),                 json!(42)),
        ("@a::int8",                      json!("9007199254740993"), json!("9007199254740993")),
        ("@a::numeric * 2",               json!("0.10"),             json!("0.20")),
        ("@a::mood",                      json!("sad"),              json!("sad")),
        ("@a::date + 1",                  json!("2024-02-28"),       json!("2024-02-29")),
        ("@a::jsonb -> 'x'",              json!({"x": [1]}),         json!([1])),
        ("2 = any(@a::int[])",            json!([1, 2]),             json!(true)),
        ("@a::text",                      json!("'; drop table invoices; --"), json!("'; drop table invoices; --")),
        ("coalesce(@a::text, 'none')",    json!(null),               json!("none")),
        ("(select count(*) from invoices where id = @a)", json!(1),  json!(1)),
        ("(select customer from invoices where cents > @a order by id limit 1)", json!(600), json!("bob")),
    ];
    for (text, a, expected) in cases {
        let rows = bench
            .read(&format!("select {text} as v"), json!({"a": a}))
            .await;
        assert_eq!(
            rows.map(|rows| rows.rows[0]["v"].clone()),
            Ok(expected),
            "{text}"
        );
    }
    let told = bench.read("select @a::int as v", json!({"a": "x"})).await;
    assert!(matches!(told, Err(Trouble::Refused(_))), "{told:?}");
    let told = bench
        .read("select @a::mood as v", json!({"a": "glad"}))
        .await;
    assert!(matches!(told, Err(Trouble::Refused(_))), "{told:?}");
}

#[tokio::test]
async fn a_table_that_changes_is_described_anew() {
    let Some(bench) = Bench::postgres().await else {
        return;
    };
    let text = "select * from invoices where id = @id";
    assert_eq!(
        bench.read(text, json!({"id": 1})).await.unwrap().rows.len(),
        1
    );
    bench
        .change("alter table invoices alter column id type bigint")
        .await;
    bench
        .change("alter table invoices add column extra int default 3")
        .await;
    let rows = bench.read(text, json!({"id": 1})).await.unwrap();
    assert_eq!(rows.rows[0]["extra"], json!(3));
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
    let database = Database::open(&source, &secrets, &[]).unwrap();
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
        assert!(Database::open(&source, &secrets, &[]).is_err(), "{bad}");
    }
}

/// Between us and the server. Cuts the connection at COMMIT, before or after it went through.
async fn cutting(server: String, pass_commit: bool) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = door.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = door.accept().await {
            let server = tokio::net::TcpStream::connect(&server).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let (cut, mut is_cut) = tokio::sync::watch::channel(false);
            tokio::spawn(async move {
                let mut answers = vec![0; 16_384];
                loop {
                    tokio::select! {
                        biased;
                        _ = is_cut.changed() => break,
                        read = from_server.read(&mut answers) => match read {
                            Ok(read) if read > 0 => to_client.write_all(&answers[..read]).await.unwrap(),
                            _ => break,
                        },
                    }
                }
                // The server's answer to what was passed is read, so that it has been carried out.
                let _ = from_server.read(&mut answers).await;
            });
            tokio::spawn(async move {
                let mut asked = vec![0; 16_384];
                while let Ok(read) = from_client.read(&mut asked).await {
                    let commits = asked[..read].windows(6).any(|word| word == b"COMMIT");
                    if commits {
                        let _ = cut.send(true);
                    }
                    if read == 0 || commits && !pass_commit {
                        break;
                    }
                    to_server.write_all(&asked[..read]).await.unwrap();
                    if commits {
                        break;
                    }
                }
            });
        }
    });
    port
}

/// The one moment at which nobody can know; the marker can.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_unknown_until_its_marker_is_looked_up() {
    for pass_commit in [true, false] {
        let Some(bench) = Bench::postgres().await else {
            return;
        };
        bench.database.prepare(DEADLINE).await.unwrap();
        let url = url::Url::parse(&std::env::var("TEST_POSTGRES_URL").unwrap()).unwrap();
        let (host, port) = (url.host_str().unwrap(), url.port().unwrap_or(5432));
        let port = cutting(format!("{host}:{port}"), pass_commit).await;
        let url = format!(
            "postgres://{}@127.0.0.1:{port}{}?sslmode=disable",
            bench.schema,
            url.path()
        );
        let secrets = BTreeMap::from([("url".to_owned(), Secret::new(url))]);
        let document = json!({"name": "t", "kind": "postgres", "config": {}});
        let cut = Database::open(&Source::read(&document).unwrap(), &secrets, &[]).unwrap();
        let write = bench.write("update invoices set cents = cents + 1 where id = 1");
        let order = Order {
            proposal: proposal(1),
            write: &write,
            args: &json!({}),
            state: None,
        };
        let told = cut.write(&order, DEADLINE).await;
        assert!(matches!(told, Written::Unknown(_)), "{told:?}");
        let mark = bench.database.look(proposal(1), DEADLINE).await.unwrap();
        assert_eq!(matches!(mark, Mark::Done(_)), pass_commit, "{mark:?}");
        assert_eq!(bench.cents(1).await, json!(500 + i64::from(pass_commit)));
        // Whichever it was, carrying it out again makes it once.
        bench.done(&write, &json!({}), 1, None).await;
        assert_eq!(bench.cents(1).await, json!(501));
    }
}

/// A look waits for an attempt that is under way, instead of calling it absent.
#[tokio::test]
async fn a_look_waits_for_the_write_that_is_under_way() {
    let Some(bench) = Bench::postgres().await else {
        return;
    };
    bench.database.prepare(DEADLINE).await.unwrap();
    let holder = sqlx::PgPool::connect(&std::env::var("TEST_POSTGRES_URL").unwrap())
        .await
        .unwrap();
    let mut open = holder.begin().await.unwrap();
    let text = format!(
        "insert into {}.hundi_effects values ($1, now())",
        bench.schema
    );
    let insert = sqlx::query(AssertSqlSafe(text)).bind(proposal(1).to_string());
    insert.execute(&mut *open).await.unwrap();
    let early = bench
        .database
        .look(proposal(1), Duration::from_millis(300))
        .await;
    assert_eq!(early, Err(Trouble::Timeout));
    let (looked, committed) = tokio::join!(bench.database.look(proposal(1), DEADLINE), async {
        tokio::task::yield_now().await;
        open.commit().await
    });
    committed.unwrap();
    assert!(matches!(looked, Ok(Mark::Done(_))), "{looked:?}");
}
