//! What the broker counts, in terms of its own answers. Names and labels are `telemetry`'s.

use std::time::Duration;

use tokio::time::Instant;

use super::Committed;
use crate::domain::proposal::{Proposal, Settled, State};
pub use crate::telemetry::Phase;
use crate::telemetry::{self, CommitResult, Decision};

/// Runs from the start of one request, on the monotonic clock.
pub struct Timer {
    started: Instant,
    lap: std::sync::Mutex<Instant>,
}

impl Timer {
    /// Starts.
    pub fn start() -> Self {
        let started = Instant::now();
        Self {
            started,
            lap: std::sync::Mutex::new(started),
        }
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends a phase of a commit; the next begins.
    pub fn phase(&self, phase: Phase) {
        let now = Instant::now();
        if let Ok(mut lap) = self.lap.lock() {
            let took = now.saturating_duration_since(*lap);
            *lap = now;
            telemetry::commit_phase(phase, took);
        }
    }
}

/// One decision was made and stored.
pub fn decision(proposal: &Proposal, timer: &Timer) {
    let decision = match proposal.state {
        State::Blocked => Decision::Rejected,
        State::Held => Decision::Held,
        State::Allowed
        | State::Committing
        | State::InDoubt
        | State::Executed
        | State::Failed
        | State::Rejected
        | State::Cancelled
        | State::Expired
        | State::Reversed => Decision::Approved,
    };
    let fixed = &proposal.fixed;
    telemetry::decided(decision, fixed.reason, &fixed.effective, timer.elapsed());
}

/// One commit was answered.
pub fn commit(answer: &Committed) {
    telemetry::committed(match answer {
        Committed::Settled(proposal) => {
            let execution = proposal.execution.as_ref();
            match execution.and_then(|execution| execution.outcome.as_ref()) {
                Some(Settled::Executed(_)) => CommitResult::Executed,
                Some(Settled::Refused(_)) => CommitResult::Failed,
                None => CommitResult::InDoubt,
            }
        }
        Committed::InDoubt(_) => CommitResult::InDoubt,
        Committed::Refused { refusal, .. } => CommitResult::Refused(*refusal),
    });
}
