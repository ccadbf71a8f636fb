//! The progress bar: on stderr, and only where somebody watches.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::load::Plan;

/// How often it is drawn.
const EVERY: Duration = Duration::from_millis(200);
/// Its length, in characters.
const BAR: u64 = 30;

/// A bar that fills by time or by cycles.
pub struct Progress {
    cycles: Option<u64>,
    seconds: u64,
    start: Instant,
    watched: bool,
}

impl Progress {
    /// Fills by cycles if they are given, else by seconds.
    pub fn new(cycles: Option<u64>, seconds: u64, start: Instant) -> Self {
        Self {
            cycles,
            seconds: seconds.max(1),
            start,
            watched: stderr().is_terminal(),
        }
    }

    /// Draws for ever; whoever runs the load drops it.
    pub async fn draw(&self, plan: &Plan) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            if self.watched {
                let line = self.line(plan.done.get(), plan.failed.get(), self.start.elapsed());
                // A bar that cannot be drawn is no reason to stop measuring.
                let _ = write!(stderr(), "\r{line}\u{1b}[K");
            }
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if self.watched {
            let _ = write!(stderr(), "\r\u{1b}[K");
        }
    }

    fn line(&self, done: u64, failed: u64, elapsed: Duration) -> String {
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let filled = match self.cycles {
            Some(cycles) => done.saturating_mul(BAR) / cycles.max(1),
            None => millis.saturating_mul(BAR) / (self.seconds * 1000),
        };
        let filled = usize::try_from(filled.min(BAR)).unwrap_or(0);
        let bar: String = "#".repeat(filled);
        let speed = done.saturating_mul(1000) / millis.max(1);
        let failed = match failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        let width = usize::try_from(BAR).unwrap_or(0);
        format!(
            "[{bar:<width$}] {} s, {done} cycles, {speed}/s{failed}",
            millis / 1000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bar_fills_by_cycles_or_by_time() {
        let by_time = Progress::new(None, 10, Instant::now());
        let half = by_time.line(5_000, 0, Duration::from_secs(5));
        assert_eq!(
            half,
            format!("[{:<30}] 5 s, 5000 cycles, 1000/s", "#".repeat(15))
        );
        let by_cycles = Progress::new(Some(100), 10, Instant::now());
        let over = by_cycles.line(100, 3, Duration::from_secs(99));
        assert!(over.starts_with(&format!("[{}]", "#".repeat(30))) && over.ends_with("3 failed"));
    }
}
