//! What the broker counts. Labels come from small closed lists, never from text of others.

use std::time::Duration;

use tokio::time::Instant;

use super::Committed;
use crate::domain::proposal::{Proposal, Settled, State};

/// The parts of a commit that are timed apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Token, binding, recheck.
    Verify,
    /// The durable claim.
    Claim,
    /// The provider's answer.
    Provider,
    /// Recording it.
    Settle,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Verify => "verify",
            Phase::Claim => "claim",
            Phase::Provider => "provider",
            Phase::Settle => "settle",
        }
    }
}

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
            metrics::histogram!("hundi_commit_seconds", "phase" => phase.name())
                .record(took.as_secs_f64());
        }
    }
}

/// One decision was made and stored.
pub fn decision(proposal: &Proposal, timer: &Timer) {
    let decision = match proposal.state {
        State::Blocked => "REJECTED",
        State::Held => "HELD",
        State::Allowed
        | State::Committing
        | State::InDoubt
        | State::Executed
        | State::Failed
        | State::Rejected
        | State::Cancelled
        | State::Expired
        | State::Reversed => "APPROVED",
    };
    let reason = proposal.fixed.reason.code();
    metrics::counter!("hundi_decisions_total", "decision" => decision, "reason" => reason)
        .increment(1);
    metrics::histogram!("hundi_decision_seconds").record(timer.elapsed().as_secs_f64());
    if let Some(currency) = proposal.fixed.effective.currency() {
        let minor = u64::try_from(proposal.fixed.effective.minor()).unwrap_or(0);
        let currency = currency.code().to_owned();
        metrics::counter!(
            "hundi_amount_minor_total", "decision" => decision, "currency" => currency
        )
        .increment(minor);
    }
}

/// One commit was answered.
pub fn commit(answer: &Committed) {
    let (outcome, reason) = match answer {
        Committed::Settled(proposal) => {
            let execution = proposal.execution.as_ref();
            match execution.and_then(|execution| execution.outcome.as_ref()) {
                Some(Settled::Executed(_)) => ("executed", ""),
                Some(Settled::Refused(_)) => ("failed", "provider_refused"),
                None => ("in_doubt", ""),
            }
        }
        Committed::InDoubt(_) => ("in_doubt", ""),
        Committed::Refused { refusal, .. } => ("refused", refusal.code()),
    };
    metrics::counter!("hundi_commits_total", "outcome" => outcome, "reason" => reason).increment(1);
}
