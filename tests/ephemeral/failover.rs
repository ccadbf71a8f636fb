//! A Redis of several servers, as it is in operation: a cluster of three masters that loses one, a
//! service whose sentinels elect another master while limits are in use, and a server that has to
//! evict. Whatever happens, no node lets more than the limit through.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hundi::domain::policy::RateLimit;
use hundi::ephemeral::Ephemeral;
use hundi::ephemeral::redis::Redis;

use super::{KEY, granted, limit, now, seen, until};
use crate::support::redis::RedisServer;
use crate::support::server::Server;

/// Longest that a failover may take on a busy machine, elections included.
const FAILS_OVER_WITHIN: Duration = Duration::from_secs(40);
/// The limit of every window here. Longer than any test, so that nothing slides out of it.
const LIMIT: RateLimit = RateLimit {
    max: 10,
    window_secs: 600,
};

/// Waits for something that servers decide among themselves.
async fn eventually(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + FAILS_OVER_WITHIN;
    let mut turns = tokio::time::interval(Duration::from_millis(20));
    while !happened().await {
        assert!(Instant::now() < end, "never: {what}");
        turns.tick().await;
    }
}

#[tokio::test]
async fn a_cluster_of_three_masters_shares_limits_and_survives_the_loss_of_one() {
    let Some(mut servers) = RedisServer::cluster(3) else {
        return;
    };
    let ports: Vec<String> = servers
        .iter()
        .map(|s| format!("127.0.0.1:{}", s.port))
        .collect();
    let url = format!("redis-cluster://{}", ports.join(","));
    eventually("the cluster is whole", async || {
        hundi::ephemeral::redis::examine(&url).await == Ok(())
    })
    .await;
    let nodes = ["a", "b"].map(|name| Redis::start(&url, "test", name, &KEY).unwrap());
    for node in &nodes {
        until(node, true).await;
    }
    // Many keys, so that each master has some.
    for number in 0..30 {
        let key = format!("k{number}");
        assert_eq!(granted(&nodes[0], &key, LIMIT, 4).await, 4, "{key}");
        assert_eq!(granted(&nodes[1], &key, LIMIT, 20).await, 6, "{key}");
        nodes[0].put(&key, key.clone(), 600, now()).await;
        seen(&nodes[1], &key, Some(&key)).await;
    }
    for server in &servers {
        let keys = server.ask(&["DBSIZE"]);
        assert_ne!(keys, ":0", "every master has a part");
    }
    for node in &nodes {
        assert_eq!(granted(node, "before", LIMIT, 4).await, 4);
    }
    // The one that has this window.
    let stored = "hundi:test:rate:before";
    let owner = servers
        .iter()
        .position(|s| s.ask(&["ZCARD", stored]) == ":8");
    let owner = owner.expect("one of the masters has it");
    servers[owner].down();
    for node in &nodes {
        until(node, false).await;
        // Each its share, of which four are used.
        assert_eq!(granted(node, "before", LIMIT, 20).await, 1);
    }
    assert!(servers[owner].up());
    for node in &nodes {
        eventually("the cluster is used again", async || {
            node.health().unwrap().ok && granted(node, "after", LIMIT, 1).await == 1
        })
        .await;
        // What this node let through meanwhile still counts here, whatever the master has lost.
        assert_eq!(granted(node, "before", LIMIT, 20).await, 5);
    }
}

/// A master, its replica, and three sentinels of which two have to agree.
struct Service {
    servers: [RedisServer; 2],
    sentinels: Vec<RedisServer>,
}

impl Service {
    async fn start() -> Option<Self> {
        let servers = [RedisServer::start(&[])?, RedisServer::start(&[])?];
        let master = servers[0].port;
        servers[1].ask(&["REPLICAOF", "127.0.0.1", &master.to_string()]);
        let sentinels = (0..3).map(|_| RedisServer::sentinel("main", master, 2));
        let sentinels = sentinels.collect::<Option<Vec<_>>>()?;
        let service = Self { servers, sentinels };
        service.settled(0).await;
        Some(service)
    }

    fn url(&self) -> String {
        let hosts = self
            .sentinels
            .iter()
            .map(|s| format!("127.0.0.1:{}", s.port));
        format!(
            "redis-sentinel://{}/main",
            hosts.collect::<Vec<_>>().join(",")
        )
    }

    /// Until this server is the master, the other one copies it, and all sentinels know all that
    /// they need for the next failover.
    async fn settled(&self, master: usize) {
        let other = &self.servers[1 - master];
        eventually("the replica copies its master", async || {
            other.info("role") == "slave"
                && other.info("master_link_status") == "up"
                && other.info("master_port") == self.servers[master].port.to_string()
        })
        .await;
        eventually(
            "the sentinels know each other and the replica",
            async || {
                let line = format!(
                    "status=ok,address=127.0.0.1:{},slaves=1,sentinels=3",
                    self.servers[master].port
                );
                let told = self.sentinels.iter().map(|s| s.info("master0"));
                told.into_iter().all(|told| told.ends_with(&line))
            },
        )
        .await;
    }
}

/// How often each window let each node through.
type Passed = BTreeMap<(String, usize), u32>;

/// Uses one window after the other from both nodes until told to stop.
async fn keep_using(nodes: [Arc<Redis>; 2], stop: Arc<AtomicBool>) -> Passed {
    let mut passed = Passed::new();
    let mut number = 0;
    // A node remembers a bounded number of windows; no faster than that lasts for the test.
    let mut turns = tokio::time::interval(Duration::from_millis(10));
    while !stop.load(Ordering::Relaxed) {
        turns.tick().await;
        number += 1;
        let key = format!("busy{number}");
        for turn in 0..24 {
            let node = turn % 2;
            let through = granted(&*nodes[node], &key, LIMIT, 1).await;
            *passed.entry((key.clone(), node)).or_default() += through;
        }
    }
    passed
}

async fn status(server: &Server) -> String {
    let asked = server.http.get(format!("{}/readyz", server.url));
    let answer = asked.bearer_auth(&server.admin_key).send().await.unwrap();
    assert_eq!(answer.status(), 200, "without Redis a node goes on");
    let told: serde_json::Value = answer.json().await.unwrap();
    told["status"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_elect_another_master_while_limits_are_in_use() {
    let Some(mut service) = Service::start().await else {
        return;
    };
    let url = service.url();
    let nodes = ["a", "b"].map(|name| Redis::start(&url, "test", name, &KEY).unwrap());
    for node in &nodes {
        until(node, true).await;
    }
    let nodes = nodes.map(Arc::new);
    // A whole broker beside them, which tells what an operator sees.
    let server = Server::start_with(&[("HUNDI_REDIS_URL", &url)]).await;
    eventually("the broker is ready", async || {
        status(&server).await == "ready"
    })
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let using = tokio::spawn(keep_using(nodes.clone(), stop.clone()));
    assert_eq!(granted(&*nodes[0], "k", LIMIT, 3).await, 3);

    // The master dies.
    service.servers[0].down();
    eventually("the broker says degraded", async || {
        status(&server).await == "degraded"
    })
    .await;
    // Budgets and payments do not need it.
    let (_, answer) = server.commit(&server.transfer(100).await).await.unwrap();
    assert_eq!(answer["status"], "committed", "{answer}");
    eventually("the replica is master", async || {
        service.servers[1].info("role") == "master"
    })
    .await;
    eventually("the broker is ready again", async || {
        status(&server).await == "ready"
    })
    .await;
    for node in &nodes {
        eventually("the node uses the new master", async || {
            node.health().unwrap().ok
        })
        .await;
    }
    assert!(service.servers[0].up());
    service.settled(1).await;
    // What one node used before still counts for it, even if it was not copied in time.
    assert!(granted(&*nodes[0], "k", LIMIT, 40).await <= 7);

    // The new master hangs, is replaced, and wakes up believing that it is one.
    service.servers[1].freeze();
    eventually("the first one is master again", async || {
        service.servers[0].info("role") == "master"
    })
    .await;
    service.servers[1].thaw();
    eventually("the broker is ready again", async || {
        status(&server).await == "ready"
    })
    .await;
    service.settled(0).await;
    for node in &nodes {
        eventually("the node uses the new master", async || {
            node.health().unwrap().ok
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let passed = using.await.unwrap();
    assert!(passed.len() > 20, "too little use to tell");
    for ((key, node), times) in &passed {
        assert!(
            *times <= LIMIT.max,
            "{key}: node {node} let {times} through"
        );
    }
    // And shared again.
    let through = [
        granted(&*nodes[0], "last", LIMIT, 4).await,
        granted(&*nodes[1], "last", LIMIT, 40).await,
    ];
    assert_eq!(through, [4, 6]);
}

// Two threads, because asking a server by its own tool blocks one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_evicts_gives_no_second_helping_at_a_node() {
    let policy = ["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"];
    let Some(server) = RedisServer::start(&policy) else {
        return;
    };
    let nodes = ["a", "b"].map(|name| Redis::start(&server.url(), "test", name, &KEY).unwrap());
    for node in &nodes {
        until(node, true).await;
    }
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    for key in &keys {
        assert_eq!(granted(&nodes[0], key, LIMIT, 6).await, 6);
        assert_eq!(granted(&nodes[1], key, LIMIT, 20).await, 4);
    }
    // Texts push everything else out, and each other.
    let evicted = || server.info("evicted_keys").parse::<u32>().unwrap();
    eventually("it evicts", async || {
        for number in 0..200 {
            let key = format!("text{number}");
            nodes[0].put(&key, "x".repeat(32 * 1024), 600, now()).await;
        }
        evicted() > 200
    })
    .await;
    let gone = |key: &str| server.ask(&["EXISTS", &format!("hundi:test:rate:{key}")]) == ":0";
    assert!(keys.iter().any(|key| gone(key)), "no window was evicted");
    for key in &keys {
        assert!(
            granted(&nodes[0], key, LIMIT, 40).await <= 4,
            "{key}: its own six count"
        );
        assert!(
            granted(&nodes[1], key, LIMIT, 40).await <= 6,
            "{key}: its own four count"
        );
    }
    for node in &nodes {
        assert!(
            node.health().unwrap().ok,
            "evicting is nothing to be degraded by"
        );
    }
    // So small that even evicting everything makes no room: degraded, until there is some.
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    for node in &nodes {
        until(node, false).await;
        assert_eq!(granted(node, "small", LIMIT, 20).await, 5, "its share");
    }
    server.ask(&["CONFIG", "SET", "maxmemory", "4mb"]);
    for node in &nodes {
        until(node, true).await;
    }
    assert_eq!(granted(&nodes[0], "roomy", limit(3, 60), 9).await, 3);
}
