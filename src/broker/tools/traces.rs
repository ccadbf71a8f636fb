//! What became of one call of a low-risk tool, step by step, for whoever made it and for auditors.
//!
//! Kept in a bounded number of places, so that nothing has to be swept up: a call that was carried out
//! takes one of [`PLACES`] of its organisation, written with its record, and a later call may take
//! that place. Of a call that was refused only this process knows, and only for an hour: whoever asks
//! in vain writes nothing. What has to stay for good is in the audit log, under the same id.

use std::time::Duration;

use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Tools;
use super::admit::kind_label;
use crate::broker::access::rules::may_read_rules;
use crate::broker::core::Trouble;
use crate::domain::access::RuleVersion;
use crate::domain::change::DocWrite;
use crate::domain::document::Document;
use crate::domain::ids::{AgentId, OrgId, TraceId};
use crate::domain::principal::{Principal, Right};
use crate::domain::time::Timestamp;
use crate::domain::tool::{Executor, Tool};
use crate::telemetry::{self, CallStep};

/// Traces of one organisation that are kept.
const PLACES: u128 = 16_384;
/// Traces of refused calls that one process remembers, and for how long.
const REMEMBERED: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);

/// One call, as it is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// Names it.
    pub trace_id: TraceId,
    /// When it began.
    pub at: Timestamp,
    /// Who called.
    pub caller: String,
    /// The agent it acted as.
    pub agent: Option<AgentId>,
    /// The tool, as the caller named it.
    pub tool: String,
    /// How it is carried out; `None` where there is no such tool.
    pub kind: Option<String>,
    /// The version of a registered tool.
    pub tool_version: Option<u64>,
    /// `ok`, `error`, or the code of what went wrong.
    pub outcome: String,
    /// What the access rules said, in one word; `None` where nobody got that far.
    pub why: Option<String>,
    /// The rules that decided.
    #[serde(default)]
    pub rules: Vec<RuleVersion>,
    /// How many values were hidden.
    pub masked: usize,
    /// The steps that were taken, in order, and how long each took.
    pub steps: Vec<StepTaken>,
    /// All of them together, up to the record.
    pub duration_us: u64,
}

/// One step of a call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StepTaken {
    /// Which.
    pub step: String,
    /// How long it took.
    pub duration_us: u64,
}

/// A trace in its place.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Placed(Trace);

impl Document for Placed {
    const KIND: &'static str = "trace";
    const CACHED: bool = false;
    type Id = str;
}

/// Calls that this process refused lately.
pub(super) struct Refused(Cache<(OrgId, TraceId), Trace>);

impl Default for Refused {
    fn default() -> Self {
        let cache = Cache::builder()
            .max_capacity(REMEMBERED)
            .time_to_live(REMEMBERED_FOR);
        Self(cache.build())
    }
}

/// One call under way.
pub(super) struct Calling {
    pub(super) trace: TraceId,
    at: Timestamp,
    began: Instant,
    last: Instant,
    took: Vec<(CallStep, Duration)>,
}

/// A tool as metrics name it, whose readers are of the default organisation: what another one calls
/// its own is not theirs to know.
fn label(tool: &Tool) -> &str {
    match &tool.executor {
        Executor::Registered(of) if of.org != OrgId::default() => telemetry::OTHER,
        Executor::Registered(_) | Executor::Upstream { .. } | Executor::Noop | Executor::Bank => {
            tool.name.as_str()
        }
    }
}

impl Calling {
    /// It begins.
    pub(super) fn start(trace: TraceId, at: Timestamp) -> Self {
        let began = Instant::now();
        Self {
            trace,
            at,
            began,
            last: began,
            took: Vec::new(),
        }
    }

    /// A step is over; the next begins.
    pub(super) fn end(&mut self, step: CallStep) {
        let now = Instant::now();
        self.took.push((step, now.duration_since(self.last)));
        self.last = now;
    }

    /// Since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// It is over: its steps are counted.
    pub(super) fn count(&self, tool: &Tool, outcome: &'static str) {
        let kind = kind_label(tool);
        telemetry::invoked(label(tool), kind, outcome);
        for (step, took) in &self.took {
            telemetry::invocation_step(kind, *step, *took);
        }
    }

    /// As it is kept, with nothing known yet but its steps.
    pub(super) fn told(&self, who: &Principal, tool: &str, outcome: &str) -> Trace {
        let steps = self.took.iter().map(|(step, took)| StepTaken {
            step: step.label().to_owned(),
            duration_us: micros(*took),
        });
        Trace {
            trace_id: self.trace,
            at: self.at,
            caller: who.id.clone(),
            agent: who.agent.clone(),
            tool: tool.chars().filter(|c| !c.is_control()).take(80).collect(),
            kind: None,
            tool_version: None,
            outcome: outcome.to_owned(),
            why: None,
            rules: Vec::new(),
            masked: 0,
            steps: steps.collect(),
            duration_us: micros(self.elapsed()),
        }
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

impl Trace {
    /// Its place, to be written with its record.
    pub(super) fn placed(self, org: &OrgId) -> DocWrite {
        let place = place(self.trace_id);
        Placed(self).write(org, &place, None)
    }
}

/// The place of a trace: ids are random at their ends.
fn place(trace: TraceId) -> String {
    format!("{:05}", trace.uuid().as_u128() % PLACES)
}

impl Tools {
    /// Remembers a call that was refused.
    pub(super) fn refused(&self, org: &OrgId, trace: Trace) {
        let key = (org.clone(), trace.trace_id);
        self.refused.0.insert(key, trace);
    }

    /// One call, for whoever made it and for those who read everything. Which rules decided is told
    /// to those who may read rules.
    pub async fn trace(&self, who: &Principal, id: TraceId) -> Result<Trace, Trouble> {
        let refused = self.refused.0.get(&(who.org.clone(), id));
        let found = match refused {
            Some(trace) => Some(trace),
            None => {
                let placed = self.find::<Placed>(&who.org, &place(id)).await?;
                placed.and_then(Result::ok).map(|stored| stored.value.0)
            }
        };
        let theirs = |trace: &Trace| {
            let agent = trace.agent.is_some() && trace.agent == who.agent;
            trace.caller == who.id || agent || who.may(Right::ReadAll)
        };
        let found = found.filter(|trace| trace.trace_id == id && theirs(trace));
        let mut trace = found.ok_or(Trouble::NotFound("trace"))?;
        if !may_read_rules(who) {
            trace.rules.clear();
        }
        Ok(trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trace_has_a_place_among_so_many() {
        let id = |last: &str| -> TraceId {
            let text = format!("0191d8a0-0000-7000-8000-{last}");
            text.parse().unwrap()
        };
        assert_eq!(place(id("000000000000")), place(id("000000004000")));
        assert_ne!(place(id("000000000000")), place(id("000000000001")));
        assert_eq!(place(id("ffffffffffff")).len(), 5);
    }
}
