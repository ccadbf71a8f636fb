//! What may be forgotten, on both implementations: the promises of the trait, and for Redis, what
//! remains of them while it is stopped, frozen, flushed, restarted empty, full or read-only.

#[path = "ephemeral/failover.rs"]
mod failover;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hundi::domain::ids::{ProposalId, TokenId};
use hundi::domain::policy::RateLimit;
use hundi::domain::time::Timestamp;
use hundi::ephemeral::local::Local;
use hundi::ephemeral::redis::Redis;
use hundi::ephemeral::{Bucket, Ephemeral, Taken, Window};

use crate::support::redis::RedisServer;

/// Longest that recovery may take once Redis works again.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

/// What the nodes share and Redis does not know.
const KEY: [u8; 32] = [7; 32];

fn limit(max: u32, window_secs: u32) -> RateLimit {
    RateLimit { max, window_secs }
}

fn now() -> Timestamp {
    hundi::ambient::Ambient::real().now()
}

/// A node on this Redis that has seen it work.
async fn node(server: &RedisServer, name: &str) -> Redis {
    let node = Redis::start(&server.url(), "test", name, &KEY).unwrap();
    until(&node, true).await;
    node
}

/// Waits until the shared part works, or does not.
async fn until(node: &Redis, ok: bool) {
    let end = Instant::now() + RECOVERS_WITHIN;
    let mut turns = tokio::time::interval(Duration::from_millis(10));
    while node.health().unwrap().ok != ok {
        assert!(Instant::now() < end, "not {ok}: {:?}", node.health());
        turns.tick().await;
    }
}

async fn granted(node: &dyn Ephemeral, key: &str, limit: RateLimit, requests: u32) -> u32 {
    let mut granted = 0;
    for _ in 0..requests {
        let window = node.rate(key, limit, now()).await.unwrap();
        assert_eq!(
            window.retry_after_secs > 0,
            window.earlier >= limit.max,
            "{window:?}: full is what says when to come back"
        );
        granted += u32::from(window.earlier < limit.max);
    }
    granted
}

macro_rules! promises {
    ($($promise:ident,)*) => {
        mod local {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(&super::Local::new()).await;
            })*
        }

        mod redis {
            $(#[tokio::test]
            async fn $promise() {
                let Some(server) = super::RedisServer::start(&[]) else { return };
                super::$promise(&super::node(&server, "a").await).await;
            })*
        }
    };
}

promises! {
    a_window_lets_its_number_through,
    refused_requests_are_not_counted,
    a_narrower_limit_counts_at_once,
    windows_are_kept_apart,
    a_window_slides,
    a_bucket_allows_a_burst_and_then_its_rate,
    a_bucket_without_refill_stays_empty,
    a_token_that_is_put_back_can_be_taken_again,
    a_text_is_kept,
    a_text_ends,
    a_text_that_is_too_long_is_not_kept,
}

async fn a_window_lets_its_number_through(node: &dyn Ephemeral) {
    for earlier in 0..3 {
        let window = node.rate("k", limit(3, 60), now()).await;
        let expected = Window {
            earlier,
            retry_after_secs: 0,
        };
        assert_eq!(window, Some(expected));
    }
    let full = node.rate("k", limit(3, 60), now()).await.unwrap();
    assert_eq!(full.earlier, 3);
    assert!((59..=60).contains(&full.retry_after_secs), "{full:?}");
}

async fn refused_requests_are_not_counted(node: &dyn Ephemeral) {
    assert_eq!(granted(node, "k", limit(2, 60), 10).await, 2);
    let wider = node.rate("k", limit(3, 60), now()).await.unwrap();
    assert_eq!((wider.earlier, wider.retry_after_secs), (2, 0));
}

async fn a_narrower_limit_counts_at_once(node: &dyn Ephemeral) {
    assert_eq!(granted(node, "k", limit(5, 60), 4).await, 4);
    let narrow = node.rate("k", limit(2, 60), now()).await.unwrap();
    assert_eq!(narrow.earlier, 4);
    assert!(narrow.retry_after_secs > 0);
}

async fn windows_are_kept_apart(node: &dyn Ephemeral) {
    assert_eq!(granted(node, "a", limit(1, 60), 3).await, 1);
    assert_eq!(granted(node, "b", limit(1, 60), 3).await, 1);
}

async fn a_window_slides(node: &dyn Ephemeral) {
    assert_eq!(granted(node, "k", limit(2, 1), 3).await, 2);
    // In real time, because Redis has its own.
    let began = Instant::now();
    while granted(node, "k", limit(2, 1), 1).await == 0 {
        assert!(began.elapsed() < Duration::from_secs(2), "it never slides");
    }
    assert!(
        began.elapsed() > Duration::from_millis(800),
        "it slid too early"
    );
}

async fn a_bucket_allows_a_burst_and_then_its_rate(node: &dyn Ephemeral) {
    let bucket = Bucket {
        capacity: 2,
        per_minute: 60,
    };
    assert_eq!(node.take("k", bucket, now()).await, Some(Taken::Granted));
    assert_eq!(node.take("k", bucket, now()).await, Some(Taken::Granted));
    let empty = node.take("k", bucket, now()).await;
    assert_eq!(
        empty,
        Some(Taken::Empty {
            retry_after_secs: 1
        })
    );
    let began = Instant::now();
    while node.take("k", bucket, now()).await != Some(Taken::Granted) {
        assert!(began.elapsed() < Duration::from_secs(2), "it never refills");
    }
    let empty = node.take("k", bucket, now()).await;
    assert_eq!(
        empty,
        Some(Taken::Empty {
            retry_after_secs: 1
        })
    );
}

async fn a_bucket_without_refill_stays_empty(node: &dyn Ephemeral) {
    let bucket = Bucket {
        capacity: 1,
        per_minute: 0,
    };
    assert_eq!(node.take("k", bucket, now()).await, Some(Taken::Granted));
    let never = Taken::Empty {
        retry_after_secs: u32::MAX,
    };
    assert_eq!(node.take("k", bucket, now()).await, Some(never));
}

async fn a_token_that_is_put_back_can_be_taken_again(node: &dyn Ephemeral) {
    let bucket = Bucket {
        capacity: 2,
        per_minute: 0,
    };
    node.put_back("k", bucket).await;
    for _ in 0..2 {
        assert_eq!(node.take("k", bucket, now()).await, Some(Taken::Granted));
    }
    node.put_back("k", bucket).await;
    assert_eq!(node.take("k", bucket, now()).await, Some(Taken::Granted));
    let empty = node.take("k", bucket, now()).await;
    assert!(matches!(empty, Some(Taken::Empty { .. })), "{empty:?}");
    for _ in 0..5 {
        node.put_back("k", bucket).await;
    }
    let mut taken = 0;
    while node.take("k", bucket, now()).await == Some(Taken::Granted) {
        taken += 1;
    }
    assert_eq!(taken, 2, "never more than it holds");
}

/// Texts are put without waiting, so they may arrive a moment later.
async fn seen(node: &dyn Ephemeral, key: &str, text: Option<&str>) {
    let end = Instant::now() + RECOVERS_WITHIN;
    let mut turns = tokio::time::interval(Duration::from_millis(5));
    while node.get(key, now()).await.as_deref() != text {
        assert!(Instant::now() < end, "{key} never was {text:?}");
        turns.tick().await;
    }
}

async fn a_text_is_kept(node: &dyn Ephemeral) {
    assert_eq!(node.get("k", now()).await, None);
    node.put("k", "v \u{0} \u{1F600}".to_owned(), 60, now())
        .await;
    seen(node, "k", Some("v \u{0} \u{1F600}")).await;
    node.put("k", "w".to_owned(), 60, now()).await;
    seen(node, "k", Some("w")).await;
    assert_eq!(node.get("other", now()).await, None);
}

async fn a_text_ends(node: &dyn Ephemeral) {
    node.put("k", "v".to_owned(), 1, now()).await;
    seen(node, "k", Some("v")).await;
    seen(node, "k", None).await;
}

async fn a_text_that_is_too_long_is_not_kept(node: &dyn Ephemeral) {
    node.put("k", "x".repeat(64 * 1024 + 1), 60, now()).await;
    node.put("after", "v".to_owned(), 60, now()).await;
    seen(node, "after", Some("v")).await;
    assert_eq!(node.get("k", now()).await, None);
}

#[tokio::test]
async fn nodes_share_windows_buckets_and_texts() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let nodes = [node(&server, "a").await, node(&server, "b").await];
    let mut passed = 0;
    for turn in 0..20 {
        passed += granted(&nodes[turn % 2], "k", limit(5, 60), 1).await;
    }
    assert_eq!(passed, 5);
    let bucket = Bucket {
        capacity: 3,
        per_minute: 0,
    };
    let mut taken = 0;
    for turn in 0..10 {
        let answer = nodes[turn % 2].take("k", bucket, now()).await;
        taken += u32::from(answer == Some(Taken::Granted));
    }
    assert_eq!(taken, 3);
    nodes[0].put("k", "v".to_owned(), 60, now()).await;
    seen(&nodes[1], "k", Some("v")).await;
    // Whoever can write to Redis cannot make a text up, nor move one.
    let stored = "hundi:test:text:k";
    assert!(
        !server
            .ask(&["RENAME", stored, "hundi:test:text:moved"])
            .contains("ERR")
    );
    server.ask(&["SET", stored, "v"]);
    assert_eq!(nodes[1].get("k", now()).await, None);
    assert_eq!(nodes[1].get("moved", now()).await, None);
    // Another store on the same Redis is another world.
    let other = Redis::start(&server.url(), "other", "c", &KEY).unwrap();
    until(&other, true).await;
    assert_eq!(granted(&other, "k", limit(5, 60), 20).await, 5);
    assert_eq!(other.get("k", now()).await, None);
}

#[tokio::test]
async fn many_callers_at_once_never_get_more() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let nodes = [node(&server, "a").await, node(&server, "b").await].map(Arc::new);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..32 {
        let node = nodes[caller % 2].clone();
        callers.spawn(async move { granted(&*node, "k", limit(100, 60), 20).await });
    }
    let mut passed = 0;
    while let Some(one) = callers.join_next().await {
        passed += one.unwrap();
    }
    assert_eq!(passed, 100);
}

#[tokio::test]
async fn nodes_hear_of_each_others_changes_and_not_of_their_own() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    let (mut at_a, mut at_b) = (a.hear().unwrap(), b.hear().unwrap());
    let id = ProposalId::at(now(), [7; 10]);
    a.tell(id);
    let heard = tokio::time::timeout(RECOVERS_WITHIN, at_b.recv()).await;
    assert_eq!(heard.unwrap().unwrap(), id);
    assert!(at_a.try_recv().is_err());
    let token = TokenId::at(now(), [9; 10]);
    assert!(!b.seems_spent(token).await);
    a.spent(token, 60);
    let end = Instant::now() + RECOVERS_WITHIN;
    while !b.seems_spent(token).await {
        assert!(Instant::now() < end, "never told");
    }
}

/// What a node promises while the shared part is away, and when it is back.
async fn stricter_meanwhile(node: &Redis, back: impl FnOnce()) {
    until(node, false).await;
    // Two nodes at least: each lets half of it through.
    assert_eq!(granted(node, "away", limit(10, 60), 40).await, 5);
    assert_eq!(granted(node, "one", limit(1, 60), 3).await, 1);
    let began = Instant::now();
    node.put("k", "v".to_owned(), 60, now()).await;
    assert_eq!(node.get("k", now()).await, None);
    assert!(!node.seems_spent(TokenId::at(now(), [1; 10])).await);
    node.tell(ProposalId::at(now(), [2; 10]));
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "nobody waits for a Redis that is away"
    );
    back();
    until(node, true).await;
    assert_eq!(granted(node, "back", limit(10, 60), 40).await, 10);
    // What this node let through meanwhile still counts here.
    assert_eq!(granted(node, "away", limit(5, 60), 3).await, 0);
}

#[tokio::test]
async fn stopped_and_restarted_empty() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    let node = node(&server, "a").await;
    server.down();
    stricter_meanwhile(&node, || assert!(server.up())).await;
}

#[tokio::test]
async fn silent_and_awake_again() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let node = node(&server, "a").await;
    server.freeze();
    stricter_meanwhile(&node, || server.thaw()).await;
}

#[tokio::test]
async fn not_there_at_the_start() {
    let Some(mut server) = RedisServer::start(&[]) else {
        return;
    };
    server.down();
    let node = Redis::start(&server.url(), "test", "a", &KEY).unwrap();
    stricter_meanwhile(&node, || assert!(server.up())).await;
}

#[tokio::test]
async fn full_or_read_only() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let node = node(&server, "a").await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    stricter_meanwhile(&node, || {
        server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    })
    .await;
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    until(&node, false).await;
    assert_eq!(granted(&node, "again", limit(10, 60), 40).await, 5);
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    until(&node, true).await;
}

#[tokio::test]
async fn a_flush_or_an_eviction_gives_no_second_helping_at_a_node() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let nodes = [node(&server, "a").await, node(&server, "b").await];
    assert_eq!(granted(&nodes[0], "k", limit(10, 60), 6).await, 6);
    assert_eq!(granted(&nodes[1], "k", limit(10, 60), 40).await, 4);
    server.ask(&["FLUSHALL"]);
    assert_eq!(
        granted(&nodes[0], "k", limit(10, 60), 40).await,
        4,
        "its own six still count"
    );
    assert_eq!(
        granted(&nodes[1], "k", limit(10, 60), 40).await,
        6,
        "its own four still count"
    );
    assert!(
        nodes[0].health().unwrap().ok,
        "a flush is nothing to be degraded by"
    );
    let bucket = Bucket {
        capacity: 2,
        per_minute: 0,
    };
    nodes[0].take("k", bucket, now()).await;
    nodes[0].take("k", bucket, now()).await;
    server.ask(&["FLUSHALL"]);
    assert!(matches!(
        nodes[0].take("k", bucket, now()).await,
        Some(Taken::Empty { .. })
    ));
}

#[tokio::test]
async fn a_password_is_used_and_never_shown() {
    let Some(server) = RedisServer::start(&["--requirepass", "canary-4711"]) else {
        return;
    };
    let with = |password: &str| format!("redis://:{password}@127.0.0.1:{}", server.port);
    let node = Redis::start(&with("canary-4711"), "test", "a", &KEY).unwrap();
    until(&node, true).await;
    assert_eq!(
        hundi::ephemeral::redis::examine(&with("canary-4711")).await,
        Ok(())
    );
    let refused = hundi::ephemeral::redis::examine(&with("canary-4712"))
        .await
        .unwrap_err();
    assert!(
        refused.contains("Authentication") && !refused.contains("471"),
        "{refused}"
    );
    let wrong = Redis::start(&with("canary-4712"), "test", "b", &KEY).unwrap();
    let end = Instant::now() + RECOVERS_WITHIN;
    let mut turns = tokio::time::interval(Duration::from_millis(10));
    loop {
        let detail = wrong.health().unwrap().detail;
        assert!(!detail.contains("471"), "{detail}");
        if detail.contains("Authentication") {
            break;
        }
        assert!(Instant::now() < end, "{detail}");
        turns.tick().await;
    }
}

#[tokio::test]
async fn a_cluster_is_used_as_one() {
    let Some(server) = RedisServer::start(&["--cluster-enabled", "yes"]) else {
        return;
    };
    // A cluster of one node is a cluster to its clients.
    server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let end = Instant::now() + RECOVERS_WITHIN;
    while server.ask(&["SET", "ready", "1"]) != "+OK" {
        assert!(Instant::now() < end, "the cluster does not come up");
    }
    let url = format!("redis-cluster://127.0.0.1:{0},127.0.0.1:{0}", server.port);
    assert_eq!(hundi::ephemeral::redis::examine(&url).await, Ok(()));
    let nodes = ["a", "b"].map(|name| Redis::start(&url, "test", name, &KEY).unwrap());
    for node in &nodes {
        until(node, true).await;
    }
    let mut heard = nodes[1].hear().unwrap();
    assert_eq!(granted(&nodes[0], "k", limit(3, 60), 2).await, 2);
    assert_eq!(granted(&nodes[1], "k", limit(3, 60), 3).await, 1);
    let id = ProposalId::at(now(), [7; 10]);
    nodes[0].tell(id);
    let heard = tokio::time::timeout(RECOVERS_WITHIN, heard.recv()).await;
    assert_eq!(heard.unwrap().unwrap(), id);
}

#[tokio::test]
async fn sentinels_are_asked_for_the_master_and_again_after_a_failover() {
    let Some(mut first) = RedisServer::start(&[]) else {
        return;
    };
    let second = RedisServer::start(&[]).unwrap();
    second.ask(&["REPLICAOF", "127.0.0.1", &first.port.to_string()]);
    let Some(sentinel) = RedisServer::sentinel("main", first.port, 1) else {
        return;
    };
    let url = format!("redis-sentinel://127.0.0.1:{}/main", sentinel.port);
    let node = Redis::start(&url, "test", "a", &KEY).unwrap();
    until(&node, true).await;
    assert_eq!(granted(&node, "k", limit(10, 60), 3).await, 3);
    first.down();
    until(&node, false).await;
    // What the sentinels of a real service agree on by themselves.
    second.ask(&["REPLICAOF", "NO", "ONE"]);
    sentinel.ask(&["SENTINEL", "REMOVE", "main"]);
    let port = second.port.to_string();
    sentinel.ask(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "1"]);
    until(&node, true).await;
    assert_eq!(granted(&node, "k", limit(10, 60), 40).await, 7);
}

#[tokio::test]
async fn tls_is_spoken_and_strangers_are_not_believed() {
    let Some((server, dir)) = RedisServer::with_tls() else {
        return;
    };
    // The system's certificates do not know this authority.
    let refused = hundi::ephemeral::redis::examine(&server.tls_url()).await;
    assert!(refused.is_err());
    // Where the operator says so, they do. Another process, because the variable is read once.
    let ca = dir.path().join("ca.crt");
    let told = std::process::Command::new(env!("CARGO_BIN_EXE_hundi"))
        .args(["doctor", "--json"])
        .current_dir(dir.path())
        .env_clear()
        .env("SSL_CERT_FILE", &ca)
        .env("HUNDI_REDIS_URL", server.tls_url())
        .env("HUNDI_LISTEN", "127.0.0.1:1")
        .env("HUNDI_SANDBOX_LISTEN", "127.0.0.1:1")
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let text = told.to_string();
    assert!(text.contains("answers and can be written"), "{text}");
}
