//! What the storm rages over: two nodes at fixed addresses, each behind its own line to one
//! Postgres, with one Redis, one bank process, and the handles to break each of them.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::nodes::Cluster;
use crate::support::postgres::{OwnPostgres, free_port};
use crate::support::proxy::Proxy;
use crate::support::redis::RedisServer;
use crate::support::server::{FirstKeys, HUNDI, Server};

/// Longest that a healed node may take to work again (invariant I9).
pub const WORKS_WITHIN: Duration = Duration::from_secs(10);
/// Longest that a doubt may last after everything is healed (invariant I6).
pub const SETTLED_WITHIN: Duration = Duration::from_secs(60);

pub const NODES: [&str; 2] = ["a", "b"];

/// Everything that can break. Nodes are `None` while they are dead.
pub struct Ground {
    pub postgres: OwnPostgres,
    pub redis: Option<RedisServer>,
    pub cluster: Cluster,
    pub lines: [Proxy; 2],
    pub ports: [u16; 2],
    pub nodes: [Option<Server>; 2],
    pub keys: FirstKeys,
    pub http: reqwest::Client,
    /// More variables for the nodes' environment.
    env: Vec<(String, String)>,
}

impl Ground {
    /// `None` where there is no Postgres to be had.
    pub async fn lay() -> Option<Self> {
        Self::lay_with(Path::new(HUNDI), &[]).await
    }

    /// With nodes of this program, and more variables in their environment.
    pub async fn lay_with(program: &Path, env: &[(&str, &str)]) -> Option<Self> {
        let postgres = OwnPostgres::start()?;
        // Until it answers.
        drop(postgres.ready().await);
        let lines = NODES.map(|_| Proxy::before(&postgres.url()).0);
        let redis = RedisServer::start(&[]);
        let mut cluster = Cluster::on(postgres.url());
        cluster.program = program.into();
        let ports = NODES.map(|_| free_port());
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let mut ground = Self {
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(40))
                .build()
                .unwrap(),
            keys: FirstKeys {
                agent: String::new(),
                admin: String::new(),
            },
            nodes: [None, None],
            env: env.collect(),
            postgres,
            redis,
            cluster,
            lines,
            ports,
        };
        ground.start(0);
        let first = ground.nodes[0].as_ref().unwrap();
        ground.keys = FirstKeys {
            agent: first.agent_key.clone(),
            admin: first.admin_key.clone(),
        };
        ground.start(1);
        Some(ground)
    }

    pub fn url(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[node])
    }

    /// Starts a dead node where it was. False if it could not get ready now.
    pub fn start(&mut self, node: usize) -> bool {
        if self.nodes[node].is_some() {
            return true;
        }
        let database = format!(
            "postgres://hundi@127.0.0.1:{}/postgres",
            self.lines[node].port
        );
        let listen = format!("127.0.0.1:{}", self.ports[node]);
        let redis = self
            .redis
            .as_ref()
            .map(RedisServer::url)
            .unwrap_or_default();
        let mut env = vec![
            ("HUNDI_DATABASE_URL", database.as_str()),
            ("HUNDI_REDIS_URL", redis.as_str()),
            ("HUNDI_LISTEN", listen.as_str()),
        ];
        env.extend(self.env.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        match self.cluster.try_node(NODES[node], &env) {
            Ok(server) => {
                self.nodes[node] = Some(server);
                true
            }
            Err(said) => {
                eprintln!("node {} does not start: {said}", NODES[node]);
                false
            }
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut dead) = self.nodes[node].take() {
            dead.process().kill();
        }
    }

    /// SIGTERM, and waits until it has finished what it claimed.
    pub fn terminate(&mut self, node: usize) {
        if let Some(mut leaving) = self.nodes[node].take() {
            leaving.terminate();
            if !leaving.process().ended(Duration::from_secs(40)) {
                eprintln!("node {} did not stop in time", NODES[node]);
                leaving.process().kill();
            }
        }
    }

    /// Everything is brought back: afterwards only time is needed.
    pub async fn heal(&mut self) {
        use crate::support::proxy::Line;
        self.postgres.thaw();
        if let Some(redis) = &mut self.redis {
            redis.thaw();
            redis.up_again();
        }
        self.postgres.up_again();
        for line in &self.lines {
            line.spoil_none();
            line.line(Line::Up);
        }
        let disarmed = format!("{}/sandbox/faults", self.cluster.bank.url);
        let _ = self.http.delete(disarmed).send().await;
        drop(self.postgres.ready().await);
        for node in 0..NODES.len() {
            assert!(self.start(node), "a healed node starts");
        }
    }

    pub async fn get(&self, node: usize, path: &str) -> Option<Value> {
        let url = format!("{}{path}", self.url(node));
        let sent = self.http.get(url).bearer_auth(&self.keys.admin).send();
        sent.await.ok()?.json().await.ok()
    }

    pub async fn post(&self, node: usize, key: &str, path: &str, body: &Value) -> Option<Value> {
        let url = format!("{}{path}", self.url(node));
        let sent = self.http.post(url).bearer_auth(key).json(body).send();
        sent.await.ok()?.json().await.ok()
    }

    /// A fresh propose and commit at every node, within the promised time (I9).
    pub async fn works_again(&self) -> Duration {
        let began = Instant::now();
        for (node, name) in NODES.iter().enumerate() {
            let mut last = Value::Null;
            loop {
                if self.pay(node, &mut last).await.is_some() {
                    break;
                }
                let waited = began.elapsed();
                assert!(
                    waited < WORKS_WITHIN,
                    "node {name} does not work {waited:?} after healing: {last}"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        began.elapsed()
    }

    /// `Some` if it was paid; `last` is what was said last.
    async fn pay(&self, node: usize, last: &mut Value) -> Option<()> {
        let arguments = json!({"amount": 100, "to": "acct_123"});
        let body = json!({"tool": "transfer_funds", "arguments": arguments});
        *last = self
            .post(node, &self.keys.agent, "/v1/proposals", &body)
            .await?;
        let id = last["proposal_id"].as_str()?.to_owned();
        let body = json!({"commit_token": last["commit_token"], "arguments": arguments});
        let path = format!("/v1/proposals/{id}/commit");
        *last = self.post(node, &self.keys.agent, &path, &body).await?;
        (last["status"] == "committed").then_some(())
    }
}

/// What callers heard, for the books.
pub type Heard = Arc<Mutex<Vec<super::callers::Tale>>>;
