//! A circuit breaker: after some failures in a row a service is left alone for a while, then asked
//! once to see whether it is back.
//!
//! It never makes a refusal into an answer: whoever is not let through knows that nobody was asked.
//! A call that is dropped half-way counts as failed and frees its place, so that a breaker cannot
//! stay stuck on a probe that nobody waits for any more. Where callers may hang up at will, that
//! says nothing about the service ([`Asking`]): nobody can open a breaker by hanging up.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry;

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// How long it stays open before one probe passes.
const REST: Duration = Duration::from_secs(30);

/// Counts failures of one service.
pub struct Breaker {
    name: &'static str,
    pauses: Pauses,
    state: Mutex<State>,
}

/// How long a service is left alone.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// How long it stays open before one probe passes.
    pub rest: Duration,
    /// After this another probe passes, though the one before has not come back yet: it may hang in
    /// what was wrong before the service was well again.
    pub patience: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            rest: REST,
            patience: Duration::MAX,
        }
    }
}

/// Whether calls pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// They do.
    Closed,
    /// One does, to see whether the service is back.
    HalfOpen,
    /// They do not.
    Open,
}

enum State {
    Closed { failures: u32 },
    Open { since: Instant },
    Probing { since: Instant },
}

/// The right to call once. Say how it went; dropped, it went wrong.
pub struct Pass<'a> {
    breaker: &'a Breaker,
    told: bool,
}

impl Breaker {
    /// A closed breaker; the name is its metric's label.
    pub fn new(name: &'static str) -> Self {
        Self::with(name, Pauses::default())
    }

    /// The same with pauses of its own.
    pub fn with(name: &'static str, pauses: Pauses) -> Self {
        telemetry::breaker(name, telemetry::Breaker::Closed);
        Self {
            name,
            pauses,
            state: Mutex::new(State::Closed { failures: 0 }),
        }
    }

    /// The same for a service that has no name in the source, and no metric of its breaker.
    pub fn unnamed(pauses: Pauses) -> Self {
        Self {
            name: "",
            pauses,
            state: Mutex::new(State::Closed { failures: 0 }),
        }
    }

    /// Lets a call through, or `None` while the service is left alone.
    pub fn pass(&self) -> Option<Pass<'_>> {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => {}
            State::Open { since } if since.elapsed() >= self.pauses.rest => {
                *state = probing();
                self.report(&state);
            }
            State::Probing { since } if since.elapsed() >= self.pauses.patience => {
                *state = probing();
            }
            State::Open { .. } | State::Probing { .. } => return None,
        }
        Some(Pass {
            breaker: self,
            told: false,
        })
    }

    /// Whether calls pass now.
    pub fn standing(&self) -> Standing {
        match *self.lock() {
            State::Closed { .. } => Standing::Closed,
            State::Open { since } if since.elapsed() < self.pauses.rest => Standing::Open,
            State::Open { .. } | State::Probing { .. } => Standing::HalfOpen,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn went(&self, well: bool) {
        let mut state = self.lock();
        *state = match (&*state, well) {
            (State::Closed { failures }, false) if failures + 1 < FAILURES => State::Closed {
                failures: failures + 1,
            },
            (State::Closed { .. } | State::Probing { .. }, false) => State::Open {
                since: Instant::now(),
            },
            (State::Closed { .. } | State::Probing { .. }, true) => State::Closed { failures: 0 },
            // A call from before it opened came back late; only the probe's word counts now.
            (State::Open { since }, _) => State::Open { since: *since },
        };
        self.report(&state);
    }

    /// Something else of the service worked than what failed before: that is no sign that what failed
    /// works again. A probe lets calls through, of which the next failure is one too many.
    fn went_elsewhere(&self) {
        let mut state = self.lock();
        if let State::Probing { .. } = *state {
            *state = State::Closed {
                failures: FAILURES - 1,
            };
            self.report(&state);
        }
    }

    /// Nobody waited for the answer, so it is not known how the call went.
    fn went_unknown(&self) {
        let mut state = self.lock();
        if let State::Probing { .. } = *state {
            // The next probe need not wait.
            let rested = Instant::now().checked_sub(self.pauses.rest);
            let since = rested.unwrap_or_else(Instant::now);
            *state = State::Open { since };
            self.report(&state);
        }
    }

    fn report(&self, state: &State) {
        let shown = match state {
            State::Closed { .. } => telemetry::Breaker::Closed,
            State::Probing { .. } => telemetry::Breaker::HalfOpen,
            State::Open { .. } => telemetry::Breaker::Open,
        };
        if !self.name.is_empty() {
            telemetry::breaker(self.name, shown);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The service answered as it should.
    pub fn succeeded(mut self) {
        self.told = true;
        self.breaker.went(true);
    }
}

impl Pass<'_> {
    /// The service answered as it should, to another kind of call than those that failed.
    pub fn succeeded_elsewhere(mut self) {
        self.told = true;
        self.breaker.went_elsewhere();
    }
}

impl Pass<'_> {
    /// Whoever called gave up waiting, which says nothing about the service.
    pub fn abandoned(mut self) {
        self.told = true;
        self.breaker.went_unknown();
    }
}

impl<'a> Pass<'a> {
    /// The same for a call whose caller may hang up at will.
    pub fn asking(self) -> Asking<'a> {
        Asking(Some(self))
    }
}

/// The right to call once. Say how it went; dropped, nobody knows.
pub struct Asking<'a>(Option<Pass<'a>>);

impl Asking<'_> {
    /// The service answered as it should, to another kind of call than those that failed.
    pub fn succeeded_elsewhere(mut self) {
        if let Some(pass) = self.0.take() {
            pass.succeeded_elsewhere();
        }
    }

    /// The service answered as it should.
    pub fn succeeded(mut self) {
        if let Some(pass) = self.0.take() {
            pass.succeeded();
        }
    }

    /// It did not, or not in time.
    pub fn failed(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.0.take() {
            pass.abandoned();
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.breaker.went(false);
        }
    }
}

fn probing() -> State {
    State::Probing {
        since: Instant::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rest(millis: u64) {
        tokio::time::advance(Duration::from_millis(millis)).await;
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            drop(breaker.pass().unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_open_it_and_one_probe_closes_it() {
        let breaker = Breaker::new("test");
        fail(&breaker, 4);
        breaker.pass().unwrap().succeeded();
        fail(&breaker, 4);
        assert_eq!(breaker.standing(), Standing::Closed, "not in a row");
        fail(&breaker, 1);
        assert_eq!(breaker.standing(), Standing::Open);
        rest(29_999).await;
        assert!(breaker.pass().is_none());
        rest(1).await;
        assert_eq!(breaker.standing(), Standing::HalfOpen);
        let probe = breaker.pass().unwrap();
        assert!(breaker.pass().is_none(), "one probe at a time");
        probe.succeeded();
        assert_eq!(breaker.standing(), Standing::Closed);
        fail(&breaker, 4);
        assert_eq!(
            breaker.standing(),
            Standing::Closed,
            "it counts from nothing again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_or_forgotten_probe_leaves_it_open_for_another_while() {
        let breaker = Breaker::new("test");
        fail(&breaker, 5);
        rest(30_000).await;
        fail(&breaker, 1);
        assert_eq!(breaker.standing(), Standing::Open);
        rest(29_999).await;
        assert!(breaker.pass().is_none());
        rest(1).await;
        assert!(breaker.pass().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_hangs_up_opens_nothing_and_keeps_no_probe() {
        let breaker = Breaker::new("test");
        for _ in 0..20 {
            drop(breaker.pass().unwrap().asking());
        }
        assert_eq!(breaker.standing(), Standing::Closed);
        for _ in 0..5 {
            breaker.pass().unwrap().asking().failed();
        }
        assert_eq!(breaker.standing(), Standing::Open);
        rest(30_000).await;
        drop(breaker.pass().unwrap().asking());
        assert!(breaker.pass().is_some(), "another probe, at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_from_before_changes_nothing() {
        let breaker = Breaker::new("test");
        let late = breaker.pass().unwrap();
        fail(&breaker, 5);
        late.succeeded();
        assert_eq!(breaker.standing(), Standing::Open);
    }

    const SHORT: Pauses = Pauses {
        rest: Duration::from_secs(3),
        patience: Duration::from_secs(2),
    };

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_holds_up_the_next_one_for_a_moment_only() {
        let breaker = Breaker::with("test", SHORT);
        fail(&breaker, 5);
        rest(3_000).await;
        let hung = breaker.pass().unwrap();
        rest(1_999).await;
        assert!(breaker.pass().is_none());
        rest(1).await;
        breaker.pass().unwrap().succeeded();
        assert_eq!(breaker.standing(), Standing::Closed);
        drop(hung);
        assert_eq!(breaker.standing(), Standing::Closed, "one of five");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_waiting_opens_nothing() {
        let breaker = Breaker::with("test", SHORT);
        for _ in 0..20 {
            breaker.pass().unwrap().abandoned();
        }
        assert_eq!(breaker.standing(), Standing::Closed);
        fail(&breaker, 5);
        rest(3_000).await;
        breaker.pass().unwrap().abandoned();
        assert_eq!(breaker.standing(), Standing::HalfOpen);
        assert!(breaker.pass().is_some(), "the next may try at once");
    }
}
