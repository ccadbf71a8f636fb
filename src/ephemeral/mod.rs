//! What may be forgotten: rate windows, caches, breaker state, wake-ups. Losing all of it breaks
//! no promise.

pub mod local;
pub mod redis;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::domain::ids::{ProposalId, TokenId};
use crate::domain::policy::RateLimit;
use crate::domain::time::Timestamp;

/// Shared, fast, and not to be relied upon.
#[async_trait]
pub trait Ephemeral: Send + Sync {
    /// Counts this request into the sliding window of `key` unless it is full. Returns how many
    /// earlier requests the window holds, or `None` if that could not be learned. A refused
    /// request is not counted, so retries do not prolong the punishment.
    async fn rate(&self, key: &str, limit: RateLimit, now: Timestamp) -> Option<Window>;

    /// Takes one token out of the bucket of `key`, or says when there will be one. `None` if that
    /// could not be learned, as from an implementation that keeps no buckets.
    async fn take(&self, key: &str, bucket: Bucket, now: Timestamp) -> Option<Taken> {
        let _ = (key, bucket, now);
        None
    }

    /// Puts back a token that was taken for a request that something else refused.
    async fn put_back(&self, key: &str, bucket: Bucket) {
        let _ = (key, bucket);
    }

    /// What was put under `key`, unless its time is over or it was forgotten.
    async fn get(&self, key: &str, now: Timestamp) -> Option<String> {
        let _ = (key, now);
        None
    }

    /// Keeps a text under `key` for so many seconds, if there is room.
    async fn put(&self, key: &str, value: String, ttl_secs: u32, now: Timestamp) {
        let _ = (key, value, ttl_secs, now);
    }

    /// Tells the other nodes that this proposal changed. Never waits, and may be lost.
    fn tell(&self, id: ProposalId) {
        let _ = id;
    }

    /// Hears what the other nodes tell; `None` where there can be none.
    fn hear(&self) -> Option<broadcast::Receiver<ProposalId>> {
        None
    }

    /// Tells that a token was used. Never waits, and may be lost.
    fn spent(&self, token: TokenId, ttl_secs: u32) {
        let _ = (token, ttl_secs);
    }

    /// Whether somebody told that this token was used. Only a reason to ask the store first: a
    /// yes can be wrong, and so can a no.
    async fn seems_spent(&self, token: TokenId) -> bool {
        let _ = token;
        false
    }

    /// How the part that other nodes share is doing; `None` where nothing is shared.
    fn health(&self) -> Option<Health> {
        None
    }
}

/// How the shared part is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// True if it answers.
    pub ok: bool,
    /// For people, without secrets.
    pub detail: String,
}

/// A token bucket: bursts of up to `capacity`, refilled evenly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// Most tokens it holds; it starts full.
    pub capacity: u32,
    /// Tokens that come back in a minute.
    pub per_minute: u32,
}

/// What a bucket said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// One token is gone, and the call may go on.
    Granted,
    /// It is empty; there will be a token in so many seconds.
    Empty {
        /// At least 1.
        retry_after_secs: u32,
    },
}

/// What a rate window said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Requests inside the window before this one.
    pub earlier: u32,
    /// Seconds until the oldest leaves the window; 0 if there is room.
    pub retry_after_secs: u32,
}
