//! How one source is doing: its breaker, the last thing it did, and the metric that tells.
//!
//! Only what speaks of the source itself counts: it could not be reached, fell silent, or said that
//! it is out of order. A statement that it refuses or that takes too long is its caller's doing, and
//! must not take the source away from everybody else.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::call::Reply;
use crate::domain::ids::OrgId;
use crate::domain::tools::http::Heard;
use crate::domain::tools::work::Task;
use crate::telemetry;
use crate::wire::UpstreamHealth;
use crate::wire::breaker::{Asking, Breaker, Pauses, Standing};

/// Short, so that a commit goes through soon after the source is well again.
const PAUSES: Pauses = Pauses {
    rest: Duration::from_secs(3),
    patience: Duration::from_secs(3),
};
/// How often a source that is not well is asked, while nobody calls it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How one source is doing.
pub(super) struct Health {
    org: OrgId,
    source: String,
    breaker: Breaker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why it is not well.
    trouble: Option<String>,
    looked: Option<Instant>,
    /// What has an effect failed since any of it worked: then a read that works says nothing of it.
    effects_fail: bool,
}

impl Health {
    /// Nothing was asked of it yet.
    pub(super) fn new(org: OrgId, source: String) -> Self {
        telemetry::source_made(&org, &source);
        Self {
            org,
            source,
            breaker: Breaker::unnamed(PAUSES),
            state: Mutex::default(),
        }
    }

    /// The right to call once; `None` while it is left alone.
    pub(super) fn pass(&self) -> Option<Asking<'_>> {
        Some(self.breaker.pass()?.asking())
    }

    /// What a call said about the source itself.
    pub(super) fn heard(&self, asking: Asking<'_>, task: &Task, reply: &Reply) {
        let effect = matches!(task, Task::Act { .. } | Task::Write { .. });
        match trouble(task, reply) {
            None if !effect && self.state().effects_fail => {
                asking.succeeded_elsewhere();
                self.is(None);
            }
            None => {
                self.state().effects_fail = false;
                asking.succeeded();
                self.is(None);
            }
            Some(why) => {
                self.state().effects_fail |= effect;
                asking.failed();
                self.is(Some(why));
            }
        }
    }

    /// What it is now known to be.
    pub(super) fn is(&self, trouble: Option<String>) {
        let mut state = self.state();
        if state.trouble.is_some() != trouble.is_some() {
            telemetry::source_up(&self.org, &self.source, trouble.is_none());
        }
        state.trouble = trouble;
        state.looked = Some(Instant::now());
    }

    /// Whether it is not well and nobody has looked for a while. Asked once, it says no for a while.
    pub(super) fn wants_a_look(&self) -> bool {
        let mut state = self.state();
        let long_ago = state.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        let wants = state.trouble.is_some() && long_ago;
        if wants {
            state.looked = Some(Instant::now());
        }
        wants
    }

    /// For people.
    pub(super) fn told(&self) -> UpstreamHealth {
        let state = self.state();
        let rests = self.breaker.standing() == Standing::Open;
        UpstreamHealth {
            name: format!("{}/{}", self.org, self.source),
            ok: state.trouble.is_none(),
            detail: match (&state.trouble, rests) {
                (None, _) => "answers, or was not asked yet".to_owned(),
                (Some(why), false) => why.clone(),
                (Some(why), true) => format!("left alone for a moment: {why}"),
            },
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Health {
    /// Nobody is to be woken for what is not there any more, nor told that it works.
    fn drop(&mut self) {
        telemetry::source_gone(&self.org, &self.source);
    }
}

/// Why a reply speaks of a source that does not work.
fn trouble(task: &Task, reply: &Reply) -> Option<String> {
    match (task, reply) {
        (_, Reply::NotSent(why) | Reply::Lost(why)) => Some(why.clone()),
        (Task::Ask { .. } | Task::Act { .. }, Reply::Result { .. }) => match Heard::of(reply) {
            Heard::Answer(answer) if matches!(answer.status, 502..=504) => {
                Some(format!("HTTP {}", answer.status))
            }
            Heard::Late => Some("no whole answer came in time".to_owned()),
            Heard::Answer(_) | Heard::TooLarge { .. } => None,
            Heard::NotSent(why) | Heard::Lost(why) => Some(why),
        },
        (
            _,
            Reply::Result { .. }
            | Reply::RpcError { .. }
            | Reply::TurnedAway { .. }
            | Reply::TooLarge { .. },
        ) => None,
    }
}
