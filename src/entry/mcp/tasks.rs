//! The Tasks extension: a held propose, or a commit in doubt, as a task.
//!
//! A task is a way to look at a proposal, and has no state of its own beside it: so it is as durable
//! as the proposal, and every node of the store knows it, before and after any restart. Who may see
//! the proposal sees the task; to everybody else there is none. A task is over when people have
//! decided, or the outcome is known, and its result is what `await_proposal`, or the commit itself,
//! would answer.

use std::fmt;

use rmcp::model::{
    CallToolResult, CreateTaskResult, DetailedTask, ErrorData, Task, TaskPayload, TaskStatus,
};
use serde_json::{Value, json};

use super::answers::{misdirected, refused};
use super::server::{Admitted, Shared};
use super::waits::{Asking, Heard};
use crate::broker::core::places::Kind;
use crate::broker::{Proposed, Trouble};
use crate::domain::ids::ProposalId;
use crate::domain::proposal::{Proposal, State};
use crate::domain::time::Timestamp;
use crate::entry::shapes;

/// How often a client is advised to look.
const POLL_MS: u64 = 5_000;

/// What a task is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// People have to decide.
    Propose,
    /// The outcome is not known.
    Commit,
}

/// A task's name: a step of a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskId {
    step: Step,
    proposal: ProposalId,
}

impl TaskId {
    /// The task of this step.
    pub fn of(step: Step, proposal: ProposalId) -> Self {
        Self { step, proposal }
    }

    fn read(text: &str) -> Option<Self> {
        let (step, proposal) = text.split_once('.')?;
        let step = match step {
            "propose" => Step::Propose,
            "commit" => Step::Commit,
            _ => return None,
        };
        let proposal = proposal.parse().ok()?;
        let read = Self { step, proposal };
        // One task, one spelling.
        (read.to_string() == text).then_some(read)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Propose => "propose",
            Step::Commit => "commit",
        };
        write!(f, "{step}.{}", self.proposal)
    }
}

/// The answer that stands for a call whose result is not there yet.
pub fn created(id: TaskId, proposal: &Proposal, asks: bool) -> CreateTaskResult {
    let status = match asks {
        true => TaskStatus::InputRequired,
        false => TaskStatus::Working,
    };
    CreateTaskResult::new(task(id, proposal, status))
}

fn task(id: TaskId, proposal: &Proposal, status: TaskStatus) -> Task {
    let created = match (id.step, &proposal.execution) {
        (Step::Commit, Some(execution)) => execution.claimed_at,
        (Step::Propose, _) | (Step::Commit, None) => proposal.fixed.created_at,
    };
    let words = match proposal.state {
        State::Held => "waits for people to decide",
        State::Committing | State::InDoubt => "sent, or about to be; the outcome is not known yet",
        State::Blocked
        | State::Allowed
        | State::Executed
        | State::Failed
        | State::Rejected
        | State::Cancelled
        | State::Expired
        | State::Reversed => proposal.state.name(),
    };
    let changed = changed_at(proposal).max(created);
    Task::new(
        id.to_string(),
        status,
        created.to_string(),
        changed.to_string(),
    )
    .with_status_message(words)
    .with_poll_interval_ms(POLL_MS)
}

/// When anything was last heard of it.
fn changed_at(proposal: &Proposal) -> Timestamp {
    let moving = &proposal.moving;
    let given = moving.approvals.iter().map(|approval| approval.at);
    let ended = moving.ending.as_ref().map(|ending| ending.at);
    let claimed = proposal
        .execution
        .as_ref()
        .map(|attempt| attempt.claimed_at);
    let all = given.chain(ended).chain(claimed);
    all.max().unwrap_or(proposal.fixed.created_at)
}

/// Whether it was taken back before people had decided.
fn withdrawn_while_held(proposal: &Proposal) -> bool {
    let given = u32::try_from(proposal.moving.approvals.len()).unwrap_or(u32::MAX);
    proposal.state == State::Cancelled
        && proposal.execution.is_none()
        && given < proposal.fixed.approvals_needed
}

/// The result that the call would have had.
fn result(body: Value) -> TaskPayload {
    let result = json!(CallToolResult::structured(body));
    let result = result.as_object().cloned().unwrap_or_default();
    TaskPayload::Completed { result }
}

impl Shared {
    /// `tasks/get`.
    pub(super) async fn task(
        &self,
        admitted: &Admitted,
        id: &str,
    ) -> Result<DetailedTask, ErrorData> {
        let asking = Asking::of(&admitted.document);
        let (id, found) = self.find_task(admitted, &asking, id).await?;
        let proposal = &found.proposal;
        let payload = match (id.step, proposal.state) {
            (Step::Propose, State::Held) => {
                let opened = self.broker().pay.is_page_opened(proposal).await;
                let opened = opened.map_err(|trouble| refused(&trouble))?;
                let page = self.broker().pay.approval_page(id.proposal);
                match asking.question(proposal, page.as_deref()) {
                    Some(input_requests) if !opened => {
                        TaskPayload::InputRequired { input_requests }
                    }
                    _ => TaskPayload::Working,
                }
            }
            (Step::Propose, _) if withdrawn_while_held(proposal) => TaskPayload::Cancelled,
            (Step::Propose, _) => result(shapes::proposal(&found)),
            (Step::Commit, State::Committing | State::InDoubt) => TaskPayload::Working,
            (Step::Commit, State::Cancelled) => TaskPayload::Cancelled,
            (Step::Commit, _) => result(shapes::outcome(proposal)),
        };
        let task = task(id, proposal, payload.status());
        Ok(DetailedTask::new(task, payload))
    }

    /// `tasks/update`: all that a client can say is that the page was opened.
    pub(super) async fn answer_task(&self, admitted: &Admitted, id: &str) -> Result<(), ErrorData> {
        let asking = Asking::of(&admitted.document);
        let (id, found) = self.find_task(admitted, &asking, id).await?;
        let held = id.step == Step::Propose && found.proposal.state == State::Held;
        if !held || asking.heard() != Some(Heard::Opened) {
            return Ok(());
        }
        let opened = self.broker().pay.page_opened(&found.proposal).await;
        opened.map_err(|trouble| refused(&trouble))
    }

    /// `tasks/cancel`: takes the proposal back, as long as that ends the task.
    pub(super) async fn cancel_task(&self, admitted: &Admitted, id: &str) -> Result<(), ErrorData> {
        let asking = Asking::of(&admitted.document);
        let (id, found) = self.find_task(admitted, &asking, id).await?;
        let waits = match id.step {
            Step::Propose => found.proposal.state == State::Held,
            Step::Commit => found.proposal.state == State::InDoubt,
        };
        if !waits {
            return Ok(());
        }
        let cancelled = self.broker().pay.cancel(&admitted.who, id.proposal).await;
        match cancelled {
            // What has left, or was decided at this moment, stays what it is.
            Ok(_) | Err(Trouble::WrongState(_) | Trouble::Changed) => Ok(()),
            Err(trouble) => Err(refused(&trouble)),
        }
    }

    /// The proposal behind a task that this caller may know of.
    async fn find_task(
        &self,
        admitted: &Admitted,
        asking: &Asking,
        id: &str,
    ) -> Result<(TaskId, Proposed), ErrorData> {
        let unknown = || misdirected(&Trouble::NotFound("task"));
        let id = TaskId::read(id)
            .filter(|_| asking.modern)
            .ok_or_else(unknown)?;
        let (broker, who) = (self.broker(), &admitted.who);
        let place = broker.places().enter(who, Kind::Call);
        let _place = place.map_err(|trouble| refused(&trouble))?;
        let found = match broker.pay.proposal(who, id.proposal).await {
            Ok(found) => found,
            Err(Trouble::NotFound(_)) => return Err(unknown()),
            Err(trouble) => return Err(refused(&trouble)),
        };
        let proposal = &found.proposal;
        // What governance decided by itself never was a task, and what was not committed is none.
        let is_one = match id.step {
            Step::Propose => proposal.fixed.approvals_needed > 0,
            Step::Commit => proposal.execution.is_some(),
        };
        match is_one {
            true => Ok((id, found)),
            false => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_one_name_and_one_spelling() {
        let proposal = ProposalId::at(Timestamp::from_secs(1_000), [7; 10]);
        for step in [Step::Propose, Step::Commit] {
            let id = TaskId::of(step, proposal);
            assert_eq!(TaskId::read(&id.to_string()), Some(id));
            assert_eq!(TaskId::read(&id.to_string().to_uppercase()), None);
        }
        for text in ["", "propose.", "propose", &proposal.to_string()] {
            assert_eq!(TaskId::read(text), None, "{text}");
        }
    }
}
