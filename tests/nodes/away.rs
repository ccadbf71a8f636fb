//! A Postgres that is away: when a node starts, and while its sessions are idle.

use std::time::{Duration, Instant};

use crate::support::nodes::Cluster;
use crate::support::postgres::OwnPostgres;
use crate::support::proxy::Proxy;
use crate::support::server::Server;

/// Longest that a sentence may take to be said.
const SAID_WITHIN: Duration = Duration::from_secs(30);

/// Waits until a node that is starting has said this on stderr.
fn said(cluster: &Cluster, node: &str, words: &str) {
    let log = cluster.folder(node).path().join("stderr.log");
    let until = Instant::now() + SAID_WITHIN;
    loop {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        if log.contains(words) {
            return;
        }
        assert!(Instant::now() < until, "{words:?} is not in {log:?}");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_node_started_before_its_database_waits_for_it() {
    let Some(mut postgres) = OwnPostgres::start() else {
        return;
    };
    drop(postgres.ready().await);
    postgres.stop();
    let cluster = Cluster::on(postgres.url());
    let starting = {
        let cluster = cluster.clone();
        std::thread::spawn(move || cluster.try_node("a", &[]))
    };
    said(&cluster, "a", "waiting up to 30 s for the store");
    assert!(!starting.is_finished());
    postgres.up();
    let node = tokio::task::spawn_blocking(|| starting.join().unwrap());
    let node: Server = node.await.unwrap().unwrap();
    let transfer = node.transfer(100).await;
    let (_, answer) = node.commit(&transfer).await.unwrap();
    assert_eq!(answer["status"], "committed", "{answer}");
}

#[tokio::test]
async fn a_node_whose_database_stays_away_says_so_and_ends() {
    let Some(mut postgres) = OwnPostgres::start() else {
        return;
    };
    drop(postgres.ready().await);
    postgres.stop();
    let cluster = Cluster::on(postgres.url());
    for (secs, waits) in [("0", false), ("2", true)] {
        let began = Instant::now();
        let told = cluster.try_node("a", &[("HUNDI_STORE_WAIT_SECS", secs)]);
        let told = told.err().unwrap();
        assert!(told.contains("is not answering"), "{secs}: {told}");
        assert_eq!(
            told.matches("waiting up to").count(),
            usize::from(waits),
            "{told}"
        );
        assert_eq!(began.elapsed() >= Duration::from_secs(2), waits, "{told}");
    }
    // What waiting cannot mend is told at once.
    postgres.up();
    drop(postgres.ready().await);
    let stranger = postgres.url().replace("hundi@", "nobody-knows@");
    let began = Instant::now();
    let told = cluster.try_node("a", &[("HUNDI_DATABASE_URL", &stranger)]);
    let told = told.err().unwrap();
    assert!(
        told.contains("nobody-knows") && !told.contains("waiting"),
        "{told}"
    );
    assert!(began.elapsed() < Duration::from_secs(20), "{told}");
}

/// Reads only: a write says that nothing was done, and its caller repeats it.
#[tokio::test]
async fn a_read_does_not_notice_that_idle_sessions_have_died() {
    let Some(mut cluster) = Cluster::fresh().await else {
        return;
    };
    let (proxy, through) = Proxy::before(&cluster.database);
    cluster.database = through;
    let node = cluster.node("a", &[]);
    let read = async || {
        let url = format!("{}/v1/proposals", node.url);
        let asked = node.http.get(url).bearer_auth(&node.admin_key);
        let answer = asked.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for round in 0..30 {
        // So that it is known who asks, and the next read is the list's.
        read().await;
        proxy.cut();
        let (status, text) = read().await;
        assert_eq!(status, 200, "round {round}: {text}");
        assert!(text.contains("\"proposals\":[]"), "round {round}: {text}");
    }
}
