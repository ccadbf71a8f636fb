//! What may be forgotten: rate windows, caches, breaker state, wake-ups. Losing all of it breaks
//! no promise.

use async_trait::async_trait;

use crate::domain::policy::RateLimit;
use crate::domain::time::Timestamp;

/// Shared, fast, and not to be relied upon.
#[async_trait]
pub trait Ephemeral: Send + Sync {
    /// Counts this request into the sliding window of `key` unless it is full. Returns how many
    /// earlier requests the window holds, or `None` if that could not be learned. A refused
    /// request is not counted, so retries do not prolong the punishment.
    async fn rate(&self, key: &str, limit: RateLimit, now: Timestamp) -> Option<Window>;
}

/// What a rate window said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Requests inside the window before this one.
    pub earlier: u32,
    /// Seconds until the oldest leaves the window; 0 if there is room.
    pub retry_after_secs: u32,
}
