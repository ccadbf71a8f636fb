//! What may be forgotten, shared by all nodes through Redis.
//!
//! Nothing here is needed to keep a promise. Redis may be stopped, flushed, restarted empty or made
//! to evict at any moment: each node also counts its own requests, and
//!
//! - while Redis answers, a request has to fit into the shared window *and* into this node's own
//!   view of it, so a flush gives no node a second helping;
//! - while it does not, each node lets only its share of a limit through (the limit divided by the
//!   nodes last seen, at least one request), and `readyz` says degraded;
//! - it is used again, without anybody's doing, once it has taken a sign of life.
//!
//! Texts are sealed ([`seal`]): Redis can lose them and not make them up.
//! Which tokens were used is told here only to look early: the store alone decides.

mod address;
mod link;
mod scripts;
mod seal;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use self::address::Address;
use self::link::{Link, Sent};
use self::seal::Seal;
use super::local::{Local, MAX_IN_WINDOW, MAX_VALUE_BYTES};
use super::{Bucket, Ephemeral, Health, Taken, Window};
use crate::domain::ids::{ProposalId, TokenId};
use crate::domain::policy::RateLimit;
use crate::domain::time::Timestamp;

pub use self::address::BadAddress;

/// Longest that a decision waits for Redis before it goes by the local view.
const ANSWER: Duration = Duration::from_millis(500);
/// Longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(2);
/// What may wait to be sent; beyond it, it is forgotten.
const LINE: usize = 4_096;

/// A Redis, and a local view for when it is away.
pub struct Redis {
    link: Arc<Link>,
    local: Local,
    prefix: String,
    node: String,
    seal: Seal,
    /// Makes the names of requests in windows unique.
    count: AtomicU64,
    line: mpsc::Sender<Sent>,
    tasks: [JoinHandle<()>; 2],
}

impl Redis {
    /// Starts to connect, and waits for nobody. `store` names the store, so that several brokers
    /// can share one Redis; `node` is random and names this node; `key` is what the nodes share and
    /// Redis does not know.
    pub fn start(url: &str, store: &str, node: &str, key: &[u8]) -> Result<Self, BadAddress> {
        let prefix = format!("hundi:{store}:");
        let link = Link::new(Address::parse(url)?, &prefix, node.to_owned(), LINE);
        let link = Arc::new(link);
        let (line, waiting) = mpsc::channel(LINE);
        let tasks = [
            tokio::spawn(link::keep(link.clone())),
            tokio::spawn(link::send(link.clone(), waiting)),
        ];
        Ok(Self {
            link,
            local: Local::new(),
            prefix,
            node: node.to_owned(),
            seal: Seal::new(key),
            count: AtomicU64::new(0),
            line,
            tasks,
        })
    }

    fn key(&self, kind: &str, name: &str) -> String {
        format!("{}{kind}:{name}", self.prefix)
    }

    fn script(&self, script: &str, key: String) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(1).arg(key);
        command
    }

    /// Never waits; what finds no room is forgotten.
    fn send(&self, sent: Sent) {
        let _ = self.line.try_send(sent);
    }

    async fn shared_window(&self, key: &str, limit: RateLimit) -> Option<Window> {
        let max = limit.max.min(MAX_IN_WINDOW);
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut command = self.script(scripts::RATE, self.key("rate", key));
        command.arg(max).arg(i64::from(limit.window_secs) * 1_000);
        command.arg(format!("{}-{count}", self.node));
        let (earlier, wait_ms): (u32, i64) = self.link.ask(&command).await?;
        let refused = wait_ms > 0;
        Some(Window {
            earlier: if refused {
                earlier.max(limit.max)
            } else {
                earlier
            },
            retry_after_secs: if refused { secs_rounded_up(wait_ms) } else { 0 },
        })
    }
}

/// Whether a Redis can be reached and written to, for whoever examines a configuration. `Err` says
/// why not, without secrets.
pub async fn examine(url: &str) -> Result<(), String> {
    let address = Address::parse(url).map_err(|error| error.to_string())?;
    let asked = async {
        let (mut connection, _) = address.connect().await?;
        let mut command = redis::cmd("SET");
        command.arg("hundi:examined").arg(1).arg("EX").arg(1);
        connection.ask::<()>(&command).await
    };
    match tokio::time::timeout(CONNECT, asked).await {
        Ok(answer) => answer.map_err(|error| address::told(&error)),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[async_trait]
impl Ephemeral for Redis {
    async fn rate(&self, key: &str, limit: RateLimit, now: Timestamp) -> Option<Window> {
        // Asked first and without counting: what is refused here must not fill the shared window.
        if let Some(full) = self.local.full_window(key, limit, now) {
            return Some(full);
        }
        match self.shared_window(key, limit).await {
            Some(shared) if shared.retry_after_secs > 0 => Some(shared),
            Some(shared) => Some(match self.local.rate(key, limit, now).await {
                Some(own) if own.earlier > shared.earlier => own,
                _ => shared,
            }),
            None => {
                let share = RateLimit {
                    max: (limit.max / self.link.nodes()).max(1),
                    ..limit
                };
                let own = self.local.rate(key, share, now).await?;
                // Full is full, whatever part of the limit was ours.
                let full = own.retry_after_secs > 0;
                Some(Window {
                    earlier: if full {
                        own.earlier.max(limit.max)
                    } else {
                        own.earlier
                    },
                    ..own
                })
            }
        }
    }

    async fn take(&self, key: &str, bucket: Bucket, now: Timestamp) -> Option<Taken> {
        if let Some(empty) = self.local.empty_bucket(key, bucket, now) {
            return Some(empty);
        }
        let mut command = self.script(scripts::TAKE, self.key("bucket", key));
        command.arg(bucket.capacity).arg(bucket.per_minute);
        let taken: Option<(u8, i64)> = self.link.ask(&command).await;
        match taken {
            Some((1, _)) => Some(match self.local.take(key, bucket, now).await {
                Some(empty @ Taken::Empty { .. }) => empty,
                Some(Taken::Granted) | None => Taken::Granted,
            }),
            Some((_, wait_ms)) => Some(Taken::Empty {
                retry_after_secs: match wait_ms {
                    ..0 => u32::MAX,
                    _ => secs_rounded_up(wait_ms),
                },
            }),
            None => {
                let nodes = self.link.nodes();
                let share = Bucket {
                    capacity: (bucket.capacity / nodes).max(1),
                    per_minute: (bucket.per_minute / nodes).max(bucket.per_minute.min(1)),
                };
                self.local.take(key, share, now).await
            }
        }
    }

    async fn put_back(&self, key: &str, bucket: Bucket) {
        self.local.put_back(key, bucket).await;
        let mut command = self.script(scripts::PUT_BACK, self.key("bucket", key));
        command.arg(bucket.capacity);
        let _ = self.link.ask::<i64>(&command).await;
    }

    async fn get(&self, key: &str, now: Timestamp) -> Option<String> {
        let key = self.key("text", key);
        let mut command = redis::cmd("GET");
        command.arg(&key);
        let sealed: Option<String> = self.link.ask(&command).await?;
        self.seal.open(&key, &sealed?, now)
    }

    async fn put(&self, key: &str, value: String, ttl_secs: u32, now: Timestamp) {
        if value.len() > MAX_VALUE_BYTES || ttl_secs == 0 {
            return;
        }
        let key = self.key("text", key);
        let until = now.plus_secs(i64::from(ttl_secs));
        if let Some(sealed) = self.seal.seal(&key, &value, until) {
            let mut command = redis::cmd("SET");
            command.arg(key).arg(sealed).arg("EX").arg(ttl_secs);
            self.send(Sent::Command(Box::new(command)));
        }
    }

    fn tell(&self, id: ProposalId) {
        self.send(Sent::Changed(id));
    }

    fn hear(&self) -> Option<broadcast::Receiver<ProposalId>> {
        Some(self.link.hear())
    }

    fn spent(&self, token: TokenId, ttl_secs: u32) {
        let mut command = redis::cmd("SET");
        command.arg(self.key("spent", &token.to_string())).arg(1);
        command.arg("EX").arg(ttl_secs.max(1));
        self.send(Sent::Command(Box::new(command)));
    }

    async fn seems_spent(&self, token: TokenId) -> bool {
        let mut command = redis::cmd("EXISTS");
        command.arg(self.key("spent", &token.to_string()));
        self.link.ask::<i64>(&command).await == Some(1)
    }

    fn health(&self) -> Option<Health> {
        Some(match self.link.standing() {
            Ok(nodes) => Health {
                ok: true,
                detail: format!("answers; limits are shared by up to {nodes} nodes"),
            },
            Err(why) => Health {
                ok: false,
                detail: format!("{why}; each node lets its share of a limit through"),
            },
        })
    }
}

fn secs_rounded_up(millis: i64) -> u32 {
    u32::try_from(millis.max(1).saturating_add(999) / 1_000).unwrap_or(u32::MAX)
}
