//! Clock and randomness as traits, with the real ones. Everything that needs the time or random
//! bits gets them from here, so that a simulation can hand in its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::domain::time::Timestamp;

/// What every process takes from its surroundings.
#[derive(Clone)]
pub struct Ambient {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub random: Arc<dyn Random>,
    /// Told of every step of a commit, so that a test can stop the process there.
    pub steps: Arc<dyn Steps>,
}

impl Ambient {
    /// The machine's clock and its cryptographic source.
    pub fn real() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            steps: Arc::new(KillPoint::from_environment()),
        }
    }

    /// A step of the commit protocol was reached; see [`Steps`].
    pub fn step(&self, name: &'static str) {
        self.steps.reached(name);
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }
}

/// A wall clock, which may jump.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// A source of bytes that nobody can guess.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// The named steps of promises.md: `s0` request read, `s1` verified, `s2.before` and `s2.after`
/// around the claim, `s4.before` and `s4.after` around sending, `s6` answer read, `s7.before` and
/// `s7.after` around settling, `s8` before answering; `r1` to `r4` in recovery; `w1` before an
/// event of the bank is worked off, `w2` after, `w3` when that is noted; `c1` and `c2` around the
/// proposal for a payout that others made.
pub trait Steps: Send + Sync {
    /// The step was reached; it may not return.
    fn reached(&self, step: &'static str);
}

/// Debug builds only: kills the process, as `kill -9` would, at the step that
/// `HUNDI_KILL_AT=step[:nth]` names. Release builds ignore it.
struct KillPoint {
    at: Option<(String, AtomicU32)>,
}

impl KillPoint {
    #[allow(
        clippy::disallowed_methods,
        reason = "a test hook, read once, in debug builds only"
    )]
    fn from_environment() -> Self {
        let named = if cfg!(debug_assertions) {
            std::env::var("HUNDI_KILL_AT").ok()
        } else {
            None
        };
        let at = named.map(|text| match text.split_once(':') {
            Some((step, nth)) => (step.to_owned(), AtomicU32::new(nth.parse().unwrap_or(1))),
            None => (text, AtomicU32::new(1)),
        });
        Self { at }
    }
}

impl Steps for KillPoint {
    fn reached(&self, step: &'static str) {
        if let Some((at, left)) = &self.at
            && at == step
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            // SIGKILL leaves no time for anything to be flushed or answered.
            let pid = std::process::id().to_string();
            let _ = std::process::Command::new("kill")
                .args(["-9", &pid])
                .status();
            std::process::abort();
        }
    }
}

struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the system clock"
    )]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        Timestamp::from_millis(millis)
    }
}

struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, buffer: &mut [u8]) {
        use rand::Rng;
        rand::rng().fill_bytes(buffer);
    }
}

/// A variable of the environment that somebody named, such as the one that holds a secret.
#[expect(clippy::disallowed_methods, reason = "the environment is read here")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
