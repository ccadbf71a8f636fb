//! What the broker counts and traces, in terms of its own answers. Names and labels are `telemetry`'s.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::core::Committed;
use crate::domain::above::{self, Above};
use crate::domain::audit::names::Decision;
use crate::domain::proposal::{Proposal, Settled, State};
use crate::domain::reason::{Finding, Reason};
use crate::ephemeral::{Taken, Window};
use crate::telemetry::{self, BudgetCheck, CommitResult, Part, RateCheck};
pub use crate::telemetry::{Phase, Step};

/// Runs from the start of one request, on the monotonic clock.
pub struct Timer {
    started: Instant,
    parts: Mutex<Vec<Part>>,
}

impl Timer {
    /// Starts.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            parts: Mutex::new(Vec::new()),
        }
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends a phase of a commit; the next begins.
    pub fn phase(&self, phase: Phase) {
        let now = self.elapsed();
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let began = parts
            .last()
            .map_or(Duration::ZERO, |last| last.began + last.took);
        let took = now.saturating_sub(began);
        telemetry::commit_phase(phase, took);
        parts.push(Part { phase, began, took });
    }

    fn parts(&self) -> Vec<Part> {
        self.parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// One decision was made and stored.
pub fn decision(proposal: &Proposal, timer: &Timer) {
    let decision = proposal.state.decision();
    let fixed = &proposal.fixed;
    telemetry::decided(decision, fixed.reason, &fixed.effective, timer.elapsed());
    let over = |finding: &Finding| finding.reason == Reason::LimitExceeded;
    if fixed.findings.iter().any(over) {
        telemetry::budget_check(BudgetCheck::Exceeded);
    } else if fixed.effective.moves_money() && decision != Decision::Rejected {
        telemetry::budget_check(BudgetCheck::Reserved);
    }
    let tainted = |finding: &Finding| finding.reason == Reason::TaintedContext;
    if fixed.findings.iter().any(tainted) {
        telemetry::tainted();
    }
    trace(proposal, Step::Propose, timer);
}

/// A rate window was asked; `None` if it did not answer.
pub fn rate(window: Option<Window>) {
    telemetry::rate_check(match window {
        Some(window) if window.retry_after_secs > 0 => RateCheck::Limited,
        Some(_) => RateCheck::Allowed,
        None => RateCheck::Unavailable,
    });
}

/// A tool's bucket was asked; `None` if it did not answer.
pub fn bucket(taken: Option<Taken>) {
    telemetry::rate_check(match taken {
        Some(Taken::Empty { .. }) => RateCheck::Limited,
        Some(Taken::Granted) => RateCheck::Allowed,
        None => RateCheck::Unavailable,
    });
}

/// A person decided on a proposal.
pub fn person(proposal: &Proposal, timer: &Timer) {
    trace(proposal, Step::Decide, timer);
}

/// A claim was carried out, as far as it could be.
pub fn carried_out(answer: &Committed, timer: &Timer) {
    commit(answer);
    match answer {
        Committed::Settled(proposal) | Committed::InDoubt(proposal) => {
            trace(proposal, Step::Commit, timer);
        }
        Committed::Refused { .. } => {}
    }
}

/// An attempt was settled, or not yet. Counts and logs what was settled above its reservation.
pub fn settled(before: State, proposal: &Proposal) {
    let now = matches!(before, State::Committing | State::InDoubt);
    let above = Above::in_outcome(proposal);
    if let Some(above) = above.filter(|_| now && proposal.state == State::Executed) {
        tracing::warn!(proposal = %proposal.fixed.id, "{}", above.words());
        telemetry::settled_above();
    }
    if now && above::unreadable(proposal) {
        tracing::warn!(proposal = %proposal.fixed.id, "{}", above::UNREADABLE);
    }
}

/// A doubt was looked into, or the provider told something unasked. Counts if that ended it.
pub fn looked_into(before: State, proposal: &Proposal, step: Step, timer: &Timer) {
    if matches!(before, State::Committing | State::InDoubt) && proposal.state.is_settled() {
        telemetry::resolved(proposal.state != State::Failed);
    }
    trace(proposal, step, timer);
}

/// One line for a payment that did not happen or is not known to have happened. What the provider
/// said is in the audit and not here: its words are not ours to publish.
pub fn log_unpaid(before: State, proposal: &Proposal) {
    let (fixed, Some(attempt)) = (&proposal.fixed, proposal.execution.as_ref()) else {
        return;
    };
    match proposal.state {
        State::Failed => {
            let reason = match &attempt.outcome {
                Some(Settled::Undone { cause, .. }) => cause.code(),
                Some(Settled::Refused(_) | Settled::Executed(_)) | None => "provider_refused",
            };
            tracing::warn!(
                proposal = %fixed.id, commit = %attempt.commit_id, agent = %fixed.agent,
                tool = %fixed.tool, reason, "a commit failed"
            );
        }
        State::InDoubt if before != State::InDoubt => {
            let (sent, person) = (!attempt.unsent, attempt.needs_person);
            tracing::warn!(
                proposal = %fixed.id, commit = %attempt.commit_id, agent = %fixed.agent,
                tool = %fixed.tool, sent, needs_person = person, "a commit is in doubt"
            );
        }
        State::InDoubt
        | State::Blocked
        | State::Held
        | State::Allowed
        | State::Committing
        | State::Executed
        | State::Rejected
        | State::Cancelled
        | State::Expired
        | State::Reversed => {}
    }
}

fn trace(proposal: &Proposal, step: Step, timer: &Timer) {
    if !telemetry::tracing_on() {
        return;
    }
    let fixed = &proposal.fixed;
    let commit = proposal
        .execution
        .as_ref()
        .map(|execution| execution.commit_id.to_string());
    let mut notes = vec![
        ("hundi.state", proposal.state.name()),
        ("hundi.reason", fixed.reason.code()),
        ("hundi.tool", fixed.tool.as_str()),
        ("hundi.agent_id", fixed.agent.as_str()),
    ];
    notes.extend(commit.as_deref().map(|commit| ("hundi.commit_id", commit)));
    telemetry::trace(fixed.id, step, timer.elapsed(), &notes, &timer.parts());
}

/// One commit was answered.
pub fn commit(answer: &Committed) {
    telemetry::committed(match answer {
        Committed::Settled(proposal) => match proposal.outcome() {
            Some(Settled::Executed(_)) => CommitResult::Executed,
            Some(Settled::Refused(_) | Settled::Undone { .. }) => CommitResult::Failed,
            None => CommitResult::InDoubt,
        },
        Committed::InDoubt(_) => CommitResult::InDoubt,
        Committed::Refused { refusal, .. } => CommitResult::Refused(*refusal),
    });
}
