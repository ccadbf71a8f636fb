//! Writes: once, all or nothing, and bound to what was shown.

use super::*;

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
        write.expect_rows = (1, Some(1));
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
        let url = url::Url::parse(&server().unwrap()).unwrap();
        let (host, port) = (url.host_str().unwrap(), url.port().unwrap_or(5432));
        let port = cutting(format!("{host}:{port}"), pass_commit).await;
        let url = format!(
            "postgres://{}@127.0.0.1:{port}{}?sslmode=disable",
            bench.schema,
            url.path()
        );
        let secrets = BTreeMap::from([("url".to_owned(), Secret::new(url))]);
        let document = json!({"name": "t", "kind": "postgres", "config": {}});
        let cut = Database::open(
            &Source::read(&document).unwrap(),
            &secrets,
            &[],
            Reach::anywhere(),
        )
        .unwrap();
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
    let holder = sqlx::PgPool::connect(&server().unwrap()).await.unwrap();
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
