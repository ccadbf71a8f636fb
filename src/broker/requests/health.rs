//! How providers are doing, as this process sees it: breakers, cool-downs, how long answers take, how
//! much is under way. In memory alone: a start forgets it, and learns it again.
//!
//! A breaker belongs to one model at one provider, and its verdict falls at the end of an answer, not
//! at its head: a stream that breaks is a failure. A caller who hangs up says nothing about the
//! provider.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::requests::failure::{Failure, Rest, Why};
use crate::domain::requests::provider::Provider;
use crate::governance::routing;

/// Latest answers that medians and shares are taken from.
const REMEMBERED: usize = 100;
/// Models remembered at one provider: callers name them.
const MOST_MODELS: usize = 512;
/// The window of requests and tokens a minute.
const MINUTE: Duration = Duration::from_secs(60);
/// How long something rests that was not told for how long.
const USUAL_REST: Duration = Duration::from_secs(10);
/// How long a provider rests whose key is wrong.
const KEY_REST: Duration = Duration::from_secs(60);

/// All of them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Health(Arc<Inner>);

struct Inner {
    failures: u32,
    open: Duration,
    providers: Mutex<HashMap<Name, One>>,
}

/// Scope and name of a provider.
type Name = (String, String);

#[derive(Default)]
struct One {
    rests_until: Option<Instant>,
    running: u32,
    minute: VecDeque<(Instant, u64)>,
    models: HashMap<String, Model>,
}

#[derive(Default)]
struct Model {
    failed_in_a_row: u32,
    open_until: Option<Instant>,
    trying: bool,
    rests_until: Option<Instant>,
    latencies: VecDeque<u64>,
    outcomes: VecDeque<bool>,
}

/// What is seen of one model at one provider now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub health: routing::Health,
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    /// Failures of a thousand.
    pub failed: u32,
    pub full: bool,
    pub over_rate_ms: Option<u64>,
}

/// How a provider is doing, as this process sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// It rests for so long, in milliseconds.
    pub rests_ms: Option<u64>,
    /// Requests under way.
    pub running: u32,
    /// Requests in the last minute.
    pub requests: u64,
    /// Tokens in the last minute.
    pub tokens: u64,
    /// Each model that was asked for.
    pub models: Vec<ModelStanding>,
}

/// How a model at a provider is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelStanding {
    /// The model.
    pub model: String,
    /// `closed`, `open`, `half_open` or `cooling`.
    pub breaker: &'static str,
    /// Half of its answers took no longer, in milliseconds.
    pub p50_ms: Option<u64>,
    /// Nearly all of its answers took no longer.
    pub p95_ms: Option<u64>,
    /// Failures of a thousand.
    pub failed: u32,
}

/// One request under way at a provider. Dropped without a verdict, it says nothing.
pub(super) struct Pass {
    health: Health,
    name: Name,
    model: String,
    began: Instant,
    judged: bool,
}

impl Health {
    pub fn new(failures: u32, open: Duration) -> Self {
        Self(Arc::new(Inner {
            failures: failures.max(1),
            open,
            providers: Mutex::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, One>> {
        // Counts are whole whoever panicked while holding them.
        self.0
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub fn look(&self, scope: &str, provider: &Provider, model: &str) -> Seen {
        let now = Instant::now();
        let mut providers = self.lock();
        let one = providers
            .entry((scope.to_owned(), provider.name.clone()))
            .or_default();
        let over_rate_ms = one.over_rate(provider, now);
        let full = provider
            .max_concurrent
            .is_some_and(|most| one.running >= most);
        let rests = one.rests_until;
        let unknown = Model::default();
        let seen = one.models.get(model).unwrap_or(&unknown);
        Seen {
            health: seen.health(rests, now),
            p50_ms: percentile(&seen.latencies, 50),
            p95_ms: percentile(&seen.latencies, 95),
            failed: seen.failed(),
            full,
            over_rate_ms,
        }
    }

    /// A request goes there.
    pub fn enter(&self, scope: &str, provider: &Provider, model: &str, tokens: u64) -> Pass {
        let now = Instant::now();
        let name = (scope.to_owned(), provider.name.clone());
        let mut providers = self.lock();
        let one = providers.entry(name.clone()).or_default();
        one.running += 1;
        one.minute.push_back((now, tokens));
        if one.models.len() >= MOST_MODELS && !one.models.contains_key(model) {
            one.models.clear();
        }
        let seen = one.models.entry(model.to_owned()).or_default();
        if seen.open_until.is_some_and(|until| until <= now) {
            seen.trying = true;
        }
        drop(providers);
        Pass {
            health: self.clone(),
            name,
            model: model.to_owned(),
            began: now,
            judged: false,
        }
    }

    /// How a provider is doing.
    pub fn standing(&self, scope: &str, provider: &Provider) -> Standing {
        let now = Instant::now();
        let mut providers = self.lock();
        let name = (scope.to_owned(), provider.name.clone());
        let Some(one) = providers.get_mut(&name) else {
            return Standing::default();
        };
        one.forget_minute(now);
        let rests = one.rests_until.filter(|until| *until > now);
        let mut models: Vec<ModelStanding> = one
            .models
            .iter()
            .map(|(model, seen)| ModelStanding {
                model: model.clone(),
                breaker: match seen.health(one.rests_until, now) {
                    routing::Health::Closed => "closed",
                    routing::Health::Open => "open",
                    routing::Health::HalfOpen => "half_open",
                    routing::Health::Cooling { .. } => "cooling",
                },
                p50_ms: percentile(&seen.latencies, 50),
                p95_ms: percentile(&seen.latencies, 95),
                failed: seen.failed(),
            })
            .collect();
        models.sort_by(|a, b| a.model.cmp(&b.model));
        Standing {
            rests_ms: rests.map(|until| millis(until.duration_since(now))),
            running: one.running,
            requests: u64::try_from(one.minute.len()).unwrap_or(u64::MAX),
            tokens: one.minute.iter().map(|(_, tokens)| *tokens).sum(),
            models,
        }
    }

    /// What is held against a provider is forgotten.
    pub fn reset(&self, scope: &str, provider: &str) {
        let mut providers = self.lock();
        if let Some(one) = providers.get_mut(&(scope.to_owned(), provider.to_owned())) {
            one.rests_until = None;
            one.minute.clear();
            one.models.clear();
        }
    }
}

impl One {
    /// What is older than a minute counts no more.
    fn forget_minute(&mut self, now: Instant) {
        let old = |(at, _): &(Instant, u64)| now.duration_since(*at) >= MINUTE;
        while self.minute.front().is_some_and(old) {
            self.minute.pop_front();
        }
    }

    /// When the minute has room again; `None` if it has room.
    fn over_rate(&mut self, provider: &Provider, now: Instant) -> Option<u64> {
        self.forget_minute(now);
        let asked = u64::try_from(self.minute.len()).unwrap_or(u64::MAX);
        let used = self.minute.iter().map(|(_, tokens)| *tokens);
        let used = used.fold(0, u64::saturating_add);
        let many = provider.rpm.is_some_and(|most| asked >= u64::from(most));
        let much = provider.tpm.is_some_and(|most| used >= most);
        let (first, _) = self.minute.front().filter(|_| many || much)?;
        let left = MINUTE.saturating_sub(now.duration_since(*first));
        Some(millis(left).max(1))
    }
}

impl Model {
    fn health(&self, provider_rests: Option<Instant>, now: Instant) -> routing::Health {
        let rests = provider_rests.max(self.rests_until);
        if let Some(until) = rests.filter(|until| *until > now) {
            let for_ms = millis(until.duration_since(now)).max(1);
            return routing::Health::Cooling { for_ms };
        }
        match self.open_until {
            Some(until) if until > now || self.trying => routing::Health::Open,
            Some(_) => routing::Health::HalfOpen,
            None => routing::Health::Closed,
        }
    }

    fn failed(&self) -> u32 {
        let failed = self.outcomes.iter().filter(|good| !**good).count();
        let share = failed * 1_000 / self.outcomes.len().max(1);
        u32::try_from(share).unwrap_or(1_000)
    }

    fn outcome(&mut self, good: bool) {
        if self.outcomes.len() == REMEMBERED {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(good);
    }
}

impl Pass {
    /// It answered, the last event included.
    pub fn good(mut self) {
        self.judged = true;
        let took = millis(self.began.elapsed());
        let mut providers = self.health.lock();
        let Some(one) = providers.get_mut(&self.name) else {
            return;
        };
        let Some(seen) = one.models.get_mut(&self.model) else {
            return;
        };
        seen.failed_in_a_row = 0;
        seen.open_until = None;
        seen.trying = false;
        seen.outcome(true);
        if seen.latencies.len() == REMEMBERED {
            seen.latencies.pop_front();
        }
        seen.latencies.push_back(took);
    }

    /// It failed.
    pub fn bad(mut self, failure: &Failure) {
        self.judged = true;
        let now = Instant::now();
        let (most, open) = (self.health.0.failures, self.health.0.open);
        let mut providers = self.health.lock();
        let Some(one) = providers.get_mut(&self.name) else {
            return;
        };
        let told = failure.retry_after_ms.map(Duration::from_millis);
        match failure.why.rests() {
            Rest::Nothing => {}
            Rest::Provider => one.rests_until = Some(now + told.unwrap_or(KEY_REST)),
            Rest::Model => {}
        }
        let Some(seen) = one.models.get_mut(&self.model) else {
            return;
        };
        if failure.why == Why::RateLimited {
            seen.rests_until = Some(now + told.unwrap_or(USUAL_REST));
        }
        let tried = std::mem::take(&mut seen.trying);
        if !failure.why.counts() {
            return;
        }
        seen.outcome(false);
        seen.failed_in_a_row = seen.failed_in_a_row.saturating_add(1);
        if tried || seen.failed_in_a_row >= most {
            seen.open_until = Some(now + open);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut providers = self.health.lock();
        if let Some(one) = providers.get_mut(&self.name) {
            one.running = one.running.saturating_sub(1);
            let seen = one.models.get_mut(&self.model);
            if let Some(seen) = seen.filter(|_| !self.judged) {
                seen.trying = false;
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn percentile(values: &VecDeque<u64>, percent: usize) -> Option<u64> {
    let mut sorted: Vec<u64> = values.iter().copied().collect();
    sorted.sort_unstable();
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Provider {
        Provider {
            name: "p".to_owned(),
            ..Provider::default()
        }
    }

    fn failing(why: Why, retry_after_ms: Option<u64>) -> Failure {
        Failure {
            retry_after_ms,
            ..Failure::new(why, "x")
        }
    }

    fn health() -> Health {
        Health::new(5, Duration::from_secs(30))
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_open_the_breaker_of_that_model_and_one_try_closes_it() {
        let (health, provider) = (health(), provider());
        let fail = || {
            let pass = health.enter("", &provider, "m", 1);
            pass.bad(&failing(Why::Cut, None));
        };
        (0..4).for_each(|_| fail());
        let of = |model: &str| health.look("", &provider, model).health;
        assert_eq!(of("m"), routing::Health::Closed);
        fail();
        assert_eq!(of("m"), routing::Health::Open);
        assert_eq!(of("other"), routing::Health::Closed);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(of("m"), routing::Health::HalfOpen);
        let trying = health.enter("", &provider, "m", 1);
        assert_eq!(of("m"), routing::Health::Open, "one may try at a time");
        trying.bad(&failing(Why::ServerError, None));
        assert_eq!(of("m"), routing::Health::Open);
        tokio::time::advance(Duration::from_secs(30)).await;
        health.enter("", &provider, "m", 1).good();
        assert_eq!(of("m"), routing::Health::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_hangs_up_says_nothing() {
        let (health, provider) = (health(), provider());
        for _ in 0..20 {
            drop(health.enter("", &provider, "m", 1));
        }
        let seen = health.look("", &provider, "m");
        assert_eq!((seen.health, seen.failed), (routing::Health::Closed, 0));
        assert!(!seen.full);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_asked_too_often_rests_and_a_wrong_key_rests_the_provider() {
        let (health, provider) = (health(), provider());
        let pass = health.enter("", &provider, "m", 1);
        pass.bad(&failing(Why::RateLimited, Some(2_000)));
        let of = |model: &str| health.look("", &provider, model).health;
        assert_eq!(of("m"), routing::Health::Cooling { for_ms: 2_000 });
        assert_eq!(of("other"), routing::Health::Closed);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(of("m"), routing::Health::Closed);
        let pass = health.enter("", &provider, "m", 1);
        pass.bad(&failing(Why::Credentials, None));
        assert!(matches!(of("other"), routing::Health::Cooling { .. }));
        health.reset("", "p");
        assert_eq!(of("m"), routing::Health::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_once_and_a_minute_are_bounded() {
        let (health, mut provider) = (health(), provider());
        provider.max_concurrent = Some(1);
        provider.rpm = Some(2);
        let pass = health.enter("", &provider, "m", 1);
        assert!(health.look("", &provider, "m").full);
        drop(pass);
        assert!(!health.look("", &provider, "m").full);
        drop(health.enter("", &provider, "m", 1));
        let seen = health.look("", &provider, "m");
        assert_eq!(seen.over_rate_ms, Some(60_000));
        tokio::time::advance(MINUTE).await;
        assert_eq!(health.look("", &provider, "m").over_rate_ms, None);
    }
}
