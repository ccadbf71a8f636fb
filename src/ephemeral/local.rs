//! What may be forgotten, kept in this process: the default, for one node.
//!
//! Bounded in memory, whatever callers do: when there is no room for another key, its window or
//! bucket cannot be learned, which the caller reads as full. Time is handed in and may jump: a
//! clock that goes back keeps what was counted, dated to the new present, so that nobody is
//! locked out for the length of the jump.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Bucket, Ephemeral, Taken, Window};
use crate::domain::policy::RateLimit;
use crate::domain::time::Timestamp;

/// Most keys of each kind. A key is an agent, a tool or a vendor, far fewer than this.
const MAX_KEYS: usize = 100_000;
/// Most requests remembered in one window; policies cannot ask for more.
pub(super) const MAX_IN_WINDOW: u32 = 10_000;
/// Longest text kept.
pub(super) const MAX_VALUE_BYTES: usize = 64 * 1024;
/// Looking for what can be thrown away goes through every key, so it is not done more often.
const SWEEP_EVERY_MS: i64 = 1_000;

/// One token, counted in thousandths of a token times 60, so that refilling is exact in integers:
/// a millisecond brings `per_minute` of these.
const TOKEN: i64 = 60_000;

/// Windows, buckets and short-lived texts of this process.
#[derive(Default)]
pub struct Local {
    windows: Mutex<Shelf<Hits>>,
    buckets: Mutex<Shelf<Level>>,
    texts: Mutex<Shelf<Text>>,
}

impl Local {
    /// Nothing remembered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The window of `key` if it is full, without counting anything.
    pub(super) fn full_window(
        &self,
        key: &str,
        limit: RateLimit,
        now: Timestamp,
    ) -> Option<Window> {
        let mut windows = lock(&self.windows);
        let hits = windows.items.get_mut(key)?;
        hits.window_ms = i64::from(limit.window_secs) * 1_000;
        hits.forget_before(now);
        hits.full(limit, now)
    }

    /// How long the bucket of `key` is empty, if it is, without taking anything.
    pub(super) fn empty_bucket(&self, key: &str, bucket: Bucket, now: Timestamp) -> Option<Taken> {
        let mut buckets = lock(&self.buckets);
        let level = buckets.items.get_mut(key)?;
        level.refill(bucket, now);
        level.empty(bucket)
    }
}

#[async_trait]
impl Ephemeral for Local {
    async fn rate(&self, key: &str, limit: RateLimit, now: Timestamp) -> Option<Window> {
        let mut windows = lock(&self.windows);
        let hits = windows.entry(key, now, Hits::default)?;
        hits.window_ms = i64::from(limit.window_secs) * 1_000;
        hits.forget_before(now);
        if let Some(full) = hits.full(limit, now) {
            return Some(full);
        }
        let earlier = hits.count();
        hits.at.push_back(now.millis());
        Some(Window {
            earlier,
            retry_after_secs: 0,
        })
    }

    async fn take(&self, key: &str, bucket: Bucket, now: Timestamp) -> Option<Taken> {
        let mut buckets = lock(&self.buckets);
        let level = buckets.entry(key, now, || Level {
            left: i64::from(bucket.capacity) * TOKEN,
            at: now.millis(),
            full_at: now.millis(),
        })?;
        level.refill(bucket, now);
        let taken = level.empty(bucket).unwrap_or_else(|| {
            level.left -= TOKEN;
            Taken::Granted
        });
        level.note_full_at(bucket, now);
        Some(taken)
    }

    async fn put_back(&self, key: &str, bucket: Bucket) {
        let full = i64::from(bucket.capacity) * TOKEN;
        if let Some(level) = lock(&self.buckets).items.get_mut(key) {
            level.left = level.left.saturating_add(TOKEN).min(full);
        }
    }

    async fn get(&self, key: &str, now: Timestamp) -> Option<String> {
        let texts = lock(&self.texts);
        let text = texts.items.get(key).filter(|text| text.is_live(now))?;
        Some(text.value.clone())
    }

    async fn put(&self, key: &str, value: String, ttl_secs: u32, now: Timestamp) {
        if value.len() > MAX_VALUE_BYTES {
            return;
        }
        let ttl_ms = i64::from(ttl_secs) * 1_000;
        let text = Text {
            value,
            put_at: now.millis(),
            ends_at: now.millis().saturating_add(ttl_ms),
        };
        if let Some(place) = lock(&self.texts).entry(key, now, || text.clone()) {
            *place = text;
        }
    }
}

/// The instants of the requests inside one window, oldest first.
#[derive(Default)]
struct Hits {
    at: VecDeque<i64>,
    window_ms: i64,
}

impl Hits {
    fn count(&self) -> u32 {
        u32::try_from(self.at.len()).unwrap_or(u32::MAX)
    }

    /// What to say if there is no room.
    fn full(&self, limit: RateLimit, now: Timestamp) -> Option<Window> {
        let max = limit.max.min(MAX_IN_WINDOW);
        if self.count() < max {
            return None;
        }
        // There is room again when only `max - 1` are left inside.
        let leaves = self.at.get(self.at.len().saturating_sub(max as usize));
        let wait_ms = leaves.map_or(self.window_ms, |at| at + self.window_ms - now.millis());
        Some(Window {
            earlier: self.count().max(limit.max),
            retry_after_secs: secs_rounded_up(wait_ms),
        })
    }

    fn forget_before(&mut self, now: Timestamp) {
        let now = now.millis();
        for at in self.at.iter_mut().rev().take_while(|at| **at > now) {
            *at = now;
        }
        while self.at.front().is_some_and(|at| at + self.window_ms <= now) {
            self.at.pop_front();
        }
    }
}

/// How full a bucket is, in [`TOKEN`]ths, and when it will be full again.
struct Level {
    left: i64,
    at: i64,
    full_at: i64,
}

impl Level {
    fn refill(&mut self, bucket: Bucket, now: Timestamp) {
        let full = i64::from(bucket.capacity) * TOKEN;
        // A clock that went back brings nothing, and takes nothing.
        let passed = now.millis().saturating_sub(self.at).max(0);
        let brought = passed.saturating_mul(i64::from(bucket.per_minute));
        self.left = self.left.saturating_add(brought).min(full);
        self.at = now.millis();
    }

    /// What to say if there is no whole token.
    fn empty(&self, bucket: Bucket) -> Option<Taken> {
        if self.left >= TOKEN {
            return None;
        }
        let retry_after_secs = match i64::from(bucket.per_minute) {
            0 => u32::MAX,
            rate => secs_rounded_up((TOKEN - self.left + rate - 1) / rate),
        };
        Some(Taken::Empty { retry_after_secs })
    }

    fn note_full_at(&mut self, bucket: Bucket, now: Timestamp) {
        let missing = i64::from(bucket.capacity) * TOKEN - self.left;
        let rate = i64::from(bucket.per_minute);
        self.full_at = now
            .millis()
            .saturating_add(missing.checked_div(rate).unwrap_or(i64::MAX));
    }
}

#[derive(Clone)]
struct Text {
    value: String,
    put_at: i64,
    ends_at: i64,
}

/// What still says more than having been forgotten would.
trait Live {
    fn is_live(&self, now: Timestamp) -> bool;
}

impl Live for Hits {
    fn is_live(&self, now: Timestamp) -> bool {
        let last = self.at.back();
        last.is_some_and(|at| at + self.window_ms > now.millis())
    }
}

impl Live for Level {
    fn is_live(&self, now: Timestamp) -> bool {
        self.full_at > now.millis()
    }
}

impl Live for Text {
    fn is_live(&self, now: Timestamp) -> bool {
        // Put in the future: the clock went back, and nobody knows how old it is.
        (self.put_at..self.ends_at).contains(&now.millis())
    }
}

struct Shelf<T> {
    items: HashMap<String, T>,
    swept_at: i64,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            items: HashMap::new(),
            swept_at: i64::MIN,
        }
    }
}

impl<T: Live> Shelf<T> {
    /// The item of a key, made if it is new; `None` if it is new and there is no room.
    fn entry(&mut self, key: &str, now: Timestamp, new: impl FnOnce() -> T) -> Option<&mut T> {
        if !self.items.contains_key(key) {
            if self.items.len() >= MAX_KEYS {
                self.sweep(now);
            }
            if self.items.len() >= MAX_KEYS {
                return None;
            }
            self.items.insert(key.to_owned(), new());
        }
        self.items.get_mut(key)
    }

    fn sweep(&mut self, now: Timestamp) {
        let since = now.millis().saturating_sub(self.swept_at);
        if (0..SWEEP_EVERY_MS).contains(&since) {
            return;
        }
        self.swept_at = now.millis();
        self.items.retain(|_, item| item.is_live(now));
    }
}

fn lock<T>(shelf: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here panics half-way through a change, so what a poisoned lock holds is whole.
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

fn secs_rounded_up(millis: i64) -> u32 {
    u32::try_from(millis.max(1).saturating_add(999) / 1_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: RateLimit = RateLimit {
        max: 3,
        window_secs: 60,
    };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[tokio::test]
    #[rustfmt::skip]
    async fn a_window_slides_and_refusals_are_not_counted() {
        let local = Local::new();
        let cases = [
            // at       earlier  retry after
            (0,         0,       0),
            (10_000,    1,       0),
            (20_000,    2,       0),
            (20_001,    3,       40),
            (59_999,    3,       1),
            (60_000,    2,       0),  // the first one has left; the refused two never came in
            (60_001,    3,       10),
            (70_000,    2,       0),
        ];
        for (millis, earlier, retry_after_secs) in cases {
            let window = local.rate("a", THREE, at(millis)).await;
            assert_eq!(window, Some(Window { earlier, retry_after_secs }), "at {millis}");
        }
        assert_eq!(local.rate("b", THREE, at(70_000)).await.unwrap().earlier, 0);
    }

    #[tokio::test]
    async fn a_narrower_limit_counts_at_once_and_says_when_there_is_room() {
        let local = Local::new();
        for millis in [0, 10_000, 20_000] {
            local.rate("a", THREE, at(millis)).await;
        }
        let one = RateLimit {
            max: 1,
            window_secs: 60,
        };
        let window = local.rate("a", one, at(20_000)).await.unwrap();
        assert_eq!(window.earlier, 3);
        assert_eq!(
            window.retry_after_secs, 60,
            "the last of the three has to leave"
        );
    }

    #[tokio::test]
    async fn a_clock_that_goes_back_locks_nobody_out() {
        let local = Local::new();
        let day = 24 * 60 * 60 * 1_000;
        for _ in 0..3 {
            local.rate("a", THREE, at(day)).await;
        }
        let window = local.rate("a", THREE, at(0)).await.unwrap();
        assert_eq!((window.earlier, window.retry_after_secs), (3, 60));
        assert_eq!(local.rate("a", THREE, at(60_000)).await.unwrap().earlier, 0);
    }

    #[tokio::test]
    #[rustfmt::skip]
    async fn a_bucket_allows_a_burst_and_refills_evenly() {
        let local = Local::new();
        let bucket = Bucket { capacity: 2, per_minute: 6 };
        let empty = |retry_after_secs| Taken::Empty { retry_after_secs };
        let cases = [
            (0,       Taken::Granted),
            (0,       Taken::Granted),
            (0,       empty(10)),
            (9_999,   empty(1)),
            (10_000,  Taken::Granted),
            (10_000,  empty(10)),
            (500_000, Taken::Granted),
            (500_000, Taken::Granted),
            (500_000, empty(10)),
            (0,       empty(10)),      // the clock went back
        ];
        for (millis, expected) in cases {
            assert_eq!(local.take("t", bucket, at(millis)).await, Some(expected), "at {millis}");
        }
        local.put_back("t", bucket).await;
        assert_eq!(local.take("t", bucket, at(0)).await, Some(Taken::Granted), "put back");
        local.put_back("unknown", bucket).await;
        let never = Bucket { capacity: 0, per_minute: 0 };
        assert_eq!(local.take("n", never, at(0)).await, Some(empty(u32::MAX)));
    }

    #[tokio::test]
    async fn a_text_is_kept_for_its_time() {
        let local = Local::new();
        local.put("k", "v".into(), 300, at(1_000)).await;
        assert_eq!(local.get("k", at(300_999)).await.as_deref(), Some("v"));
        assert_eq!(local.get("k", at(301_000)).await, None);
        assert_eq!(local.get("k", at(999)).await, None, "the clock went back");
        local.put("k", "w".into(), 300, at(400_000)).await;
        assert_eq!(local.get("k", at(400_000)).await.as_deref(), Some("w"));
        local
            .put("big", "x".repeat(MAX_VALUE_BYTES + 1), 300, at(0))
            .await;
        assert_eq!(local.get("big", at(0)).await, None);
    }

    #[tokio::test]
    async fn memory_is_bounded_and_what_is_over_makes_room() {
        let local = Local::new();
        for index in 0..MAX_KEYS {
            local.rate(&format!("k{index}"), THREE, at(0)).await;
        }
        assert_eq!(
            local.rate("one more", THREE, at(0)).await,
            None,
            "full: not learned"
        );
        assert!(
            local.rate("k0", THREE, at(0)).await.is_some(),
            "known keys still count"
        );
        assert_eq!(
            local
                .rate("one more", THREE, at(60_000))
                .await
                .unwrap()
                .earlier,
            0
        );
        assert_eq!(lock(&local.windows).items.len(), 1);
    }
}
