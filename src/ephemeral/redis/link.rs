//! The connection to Redis, kept up by a task of its own.
//!
//! Whoever asks gets an answer within [`ANSWER`] or none at all; after a failure nobody waits for
//! Redis until the keeper has seen it work again. Signs of life go round as messages too, so that
//! a silent subscription is noticed as well as a silent connection.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::StreamExt;
use redis::{Client, Cmd, RedisError};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::{Instant, timeout};

use super::address::{Address, Connection, told};
use super::scripts;
use super::{ANSWER, CONNECT};
use crate::domain::ids::ProposalId;
use crate::telemetry;

/// Pause between two signs of life.
const PULSE: Duration = Duration::from_secs(1);
/// How long a node counts as one of several after its last sign of life.
const COUNTED_FOR: Duration = Duration::from_secs(10);
/// A subscription that has not even heard ourselves for so long is dead.
const DEAF_AFTER: Duration = Duration::from_secs(5);
/// Pauses between two attempts to connect: from the first, doubled, to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Whoever configures Redis has a second node, even if it has not been seen yet.
const FEWEST_NODES: u32 = 2;
/// Ids in one message.
const MESSAGE: usize = 64;

/// What is sent without waiting for it.
pub(super) enum Sent {
    /// This proposal changed.
    Changed(ProposalId),
    /// A command whose answer nobody reads.
    Command(Box<Cmd>),
}

/// The shared part of all users of one Redis.
pub(super) struct Link {
    address: Address,
    node: String,
    nodes_key: String,
    channel: String,
    connection: ArcSwapOption<Connection>,
    /// Why there is none; empty while there is one.
    trouble: Mutex<String>,
    failed: Notify,
    nodes: AtomicU32,
    heard: broadcast::Sender<ProposalId>,
}

impl Link {
    pub fn new(address: Address, prefix: &str, node: String, room: usize) -> Self {
        Self {
            address,
            nodes_key: format!("{prefix}nodes"),
            channel: format!("{prefix}changed"),
            node,
            connection: ArcSwapOption::empty(),
            trouble: Mutex::new("not connected yet".to_owned()),
            failed: Notify::new(),
            nodes: AtomicU32::new(FEWEST_NODES),
            heard: broadcast::channel(room).0,
        }
    }

    /// One command. `None` if Redis is away, does not answer in time, or says no.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        let shared = self.connection.load_full()?;
        let mut connection = (*shared).clone();
        let why = match timeout(ANSWER, connection.ask(command)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => told(&error),
            Err(_) => format!("no answer within {} ms", ANSWER.as_millis()),
        };
        // Only whoever still finds the connection that failed; a new one is innocent.
        let now = self.connection.load();
        if now.as_ref().is_some_and(|now| Arc::ptr_eq(now, &shared)) {
            self.lost(why);
            self.failed.notify_one();
        }
        None
    }

    /// How many nodes share this Redis, as far as is known; at least [`FEWEST_NODES`].
    pub fn nodes(&self) -> u32 {
        self.nodes.load(Ordering::Relaxed)
    }

    /// `Err` says why Redis is not used now.
    pub fn standing(&self) -> Result<u32, String> {
        match self.connection.load().as_ref() {
            Some(_) => Ok(self.nodes()),
            None => Err(self.trouble().clone()),
        }
    }

    pub fn hear(&self) -> broadcast::Receiver<ProposalId> {
        self.heard.subscribe()
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self, why: String) {
        if self.connection.swap(None).is_some() {
            tracing::warn!(%why, "Redis is not used until it works again; limits are kept here");
            telemetry::breaker("redis", telemetry::Breaker::Open);
        }
        *self.trouble() = why;
    }

    fn found(&self, connection: Connection) {
        self.connection.store(Some(Arc::new(connection)));
        self.trouble().clear();
        tracing::info!(nodes = self.nodes(), "Redis is used");
        telemetry::breaker("redis", telemetry::Breaker::Closed);
    }

    fn pulse(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(scripts::ALIVE).arg(1).arg(&self.nodes_key);
        let counted_for = u64::try_from(COUNTED_FOR.as_millis()).unwrap_or(u64::MAX);
        command.arg(&self.node).arg(counted_for);
        command
    }

    fn message(&self, ids: &[ProposalId]) -> Cmd {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut command = redis::cmd("PUBLISH");
        command.arg(&self.channel);
        command.arg(format!("{} {}", self.node, ids.join(",")));
        command
    }

    /// True if it was our own.
    fn read(&self, message: &str) -> bool {
        let (node, ids) = message.split_once(' ').unwrap_or((message, ""));
        if node == self.node {
            return true;
        }
        for id in ids.split(',').filter_map(|id| id.parse().ok()) {
            // Nobody waiting is the usual case.
            let _ = self.heard.send(id);
        }
        false
    }
}

/// Keeps the link up, for ever; whoever started it ends it.
pub(super) async fn keep(link: Arc<Link>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match connect(&link).await {
            Ok((connection, client)) => {
                pause = FIRST_PAUSE;
                let why = attend(&link, connection, &client).await;
                link.lost(why);
            }
            Err(why) => {
                *link.trouble() = why;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// A connection that has given a sign of life.
async fn connect(link: &Link) -> Result<(Connection, Client), String> {
    let connecting = async {
        let (mut connection, client) = link.address.connect().await?;
        let nodes: u32 = connection.ask(&link.pulse()).await?;
        link.nodes.store(nodes.max(FEWEST_NODES), Ordering::Relaxed);
        Ok::<_, RedisError>((connection, client))
    };
    match timeout(CONNECT, connecting).await {
        Ok(connected) => connected.map_err(|error| told(&error)),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

/// Uses a connection as long as it works, and gives back why it does not.
async fn attend(link: &Link, connection: Connection, client: &Client) -> String {
    let subscribed = async {
        let mut messages = client.get_async_pubsub().await?;
        messages.subscribe(&link.channel).await?;
        Ok::<_, RedisError>(messages.into_on_message())
    };
    let mut messages = match timeout(CONNECT, subscribed).await {
        Ok(Ok(messages)) => messages,
        Ok(Err(error)) => return told(&error),
        Err(_) => return "it lets nobody subscribe".to_owned(),
    };
    link.found(connection);
    let mut pulses = tokio::time::interval(PULSE);
    let mut heard_self = Instant::now();
    loop {
        tokio::select! {
            () = link.failed.notified() => return link.trouble().clone(),
            message = messages.next() => {
                let Some(message) = message else {
                    return "it ended the subscription".to_owned();
                };
                let text: String = message.get_payload().unwrap_or_default();
                if link.read(&text) {
                    heard_self = Instant::now();
                }
            }
            _ = pulses.tick() => {
                if heard_self.elapsed() > DEAF_AFTER {
                    return "it passes no messages on".to_owned();
                }
                // Both report a failure by themselves.
                if let Some(nodes) = link.ask::<u32>(&link.pulse()).await {
                    link.nodes.store(nodes.max(FEWEST_NODES), Ordering::Relaxed);
                    let _ = link.ask::<i64>(&link.message(&[])).await;
                }
            }
        }
    }
}

/// Sends what nobody waits for, in order, and forgets what Redis does not take.
pub(super) async fn send(link: Arc<Link>, mut line: mpsc::Receiver<Sent>) {
    let mut waiting = Vec::with_capacity(MESSAGE);
    while line.recv_many(&mut waiting, MESSAGE).await > 0 {
        let mut changed = Vec::new();
        for sent in waiting.drain(..) {
            match sent {
                Sent::Changed(id) => changed.push(id),
                Sent::Command(command) => {
                    let _ = link.ask::<redis::Value>(&command).await;
                }
            }
        }
        if !changed.is_empty() {
            let _ = link.ask::<i64>(&link.message(&changed)).await;
        }
    }
}
