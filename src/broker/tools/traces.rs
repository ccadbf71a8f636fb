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
use super::invoke::Failed;
use crate::broker::access::rules::may_read_rules;
use crate::broker::core::Trouble;
use crate::domain::access::RuleVersion;
use crate::domain::change::DocWrite;
use crate::domain::document::Document;
use crate::domain::ids::{AgentId, OrgId, ProposalId, TraceId};
use crate::domain::principal::{Principal, Right};
use crate::domain::time::Timestamp;
use crate::domain::tool::{Executor, Tool};
use crate::telemetry::{self, CallStep};

/// Traces of one organisation that are kept.
const PLACES: u128 = 16_384;
/// Traces of refused calls that one process remembers, and for how long.
const REMEMBERED: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);

/// The steps of a call, in order.
const STEPS: [CallStep; 9] = [
    CallStep::Authenticate,
    CallStep::Tool,
    CallStep::Access,
    CallStep::Rates,
    CallStep::Source,
    CallStep::Execute,
    CallStep::Mask,
    CallStep::Audit,
    CallStep::Answer,
];

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
    /// What was proposed, where the tool does more than read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<ProposalId>,
    /// All of them together, up to the record.
    pub duration_us: u64,
}

/// One step of a call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StepTaken {
    /// Which.
    pub step: String,
    /// How long it took; `None` where nobody measured: at the door, and after what is kept was
    /// written.
    #[serde(default)]
    pub duration_us: Option<u64>,
    /// The code of what went wrong, at the step that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
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

/// Calls that this process refused lately, or answered, with every step.
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
    took: Vec<Taken>,
}

/// A step that was taken.
struct Taken {
    step: CallStep,
    took: Option<Duration>,
    outcome: Option<&'static str>,
}

impl Taken {
    fn unmeasured(step: CallStep) -> Self {
        Self {
            step,
            took: None,
            outcome: None,
        }
    }

    fn told(&self) -> StepTaken {
        StepTaken {
            step: self.step.label().to_owned(),
            duration_us: self.took.map(micros),
            outcome: self.outcome.map(str::to_owned),
        }
    }
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
            took: vec![Taken::unmeasured(CallStep::Authenticate)],
        }
    }

    /// A step is over; the next begins.
    pub(super) fn end(&mut self, step: CallStep) {
        let now = Instant::now();
        self.took.push(Taken {
            step,
            took: Some(now.duration_since(self.last)),
            outcome: None,
        });
        self.last = now;
    }

    /// The step that was under way is the one at which the call ended, with this trouble.
    pub(super) fn fail(&mut self, trouble: &Trouble) {
        let at = deciding(trouble);
        let taken = self.took.iter().any(|taken| taken.step == at);
        if !taken {
            let before = STEPS.into_iter().take_while(|step| *step != at);
            for step in before {
                if !self.took.iter().any(|taken| taken.step == step) {
                    self.took.push(Taken::unmeasured(step));
                }
            }
            self.end(at);
        }
        self.mark(at, trouble.code());
    }

    /// What came of a step that was taken.
    pub(super) fn mark(&mut self, step: CallStep, outcome: &'static str) {
        let taken = self.took.iter_mut().find(|taken| taken.step == step);
        if let Some(taken) = taken {
            taken.outcome = Some(outcome);
        }
    }

    /// Since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// It is over: its steps are counted.
    pub(super) fn count(&self, tool: &Tool, outcome: &'static str) {
        let kind = kind_label(tool);
        telemetry::invoked(label(tool), kind, outcome);
        for taken in &self.took {
            if let Some(took) = taken.took {
                telemetry::invocation_step(kind, taken.step, took);
            }
        }
    }

    /// As it is kept, with nothing known yet but its steps.
    pub(super) fn told(&self, who: &Principal, tool: &str, outcome: &str) -> Trace {
        let steps = self.took.iter().map(Taken::told);
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
            proposal: None,
            duration_us: micros(self.elapsed()),
        }
    }

    /// The same, with those steps that come after what is kept was written.
    pub(super) fn told_to_its_end(&self, who: &Principal, tool: &str, outcome: &str) -> Trace {
        let mut told = self.told(who, tool, outcome);
        let after = [CallStep::Audit, CallStep::Answer];
        let after = after.map(|step| Taken::unmeasured(step).told());
        told.steps.extend(after);
        told
    }
}

/// The step that refuses so, of a call that was not made.
fn deciding(trouble: &Trouble) -> CallStep {
    let cause = trouble.cause();
    match () {
        () if matches!(cause, Trouble::Forbidden { .. } | Trouble::Unauthenticated) => {
            CallStep::Authenticate
        }
        () if matches!(
            cause,
            Trouble::UnknownTool(_)
                | Trouble::NotCalledSo(_)
                | Trouble::ToolDisabled(_)
                | Trouble::ToolQuarantined(_)
                | Trouble::ToolUnusable(_)
                | Trouble::UpstreamUnavailable(_)
        ) =>
        {
            CallStep::Tool
        }
        () if matches!(
            cause,
            Trouble::AccessDenied { .. }
                | Trouble::InvalidArguments(_)
                | Trouble::InvalidRequest(_)
                | Trouble::Frozen(_)
        ) =>
        {
            CallStep::Access
        }
        () if matches!(
            cause,
            Trouble::RateLimited { .. } | Trouble::Overloaded { .. }
        ) =>
        {
            CallStep::Rates
        }
        () => CallStep::Source,
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
    /// Remembers a call that was refused, or how it ended.
    pub(super) fn refused(&self, org: &OrgId, trace: Trace) {
        let key = (org.clone(), trace.trace_id);
        self.refused.0.insert(key, trace);
    }

    /// A call of a high-risk tool that came to nothing before anything was proposed, under the name
    /// that it is told with; one that has a name keeps it.
    pub fn traced(&self, who: &Principal, tool: &str, trouble: Trouble) -> Trouble {
        if matches!(trouble, Trouble::Traced { .. }) {
            return trouble;
        }
        let mut calling = self.begun();
        calling.fail(&trouble);
        let mut told = calling.told(who, tool, trouble.code());
        if let Trouble::AccessDenied { why, by, .. } = trouble.cause() {
            told.why = Some(why.code().to_owned());
            told.rules.clone_from(by);
        }
        self.refused(&who.org, told);
        Failed {
            trace: calling.trace,
            trouble,
        }
        .into()
    }

    /// A call of a high-risk tool that became a proposal, under the name that it is told with.
    pub fn trace_proposed(
        &self,
        who: &Principal,
        tool: &str,
        became: &str,
        proposal: Option<ProposalId>,
    ) -> TraceId {
        let calling = self.begun();
        let mut told = calling.told(who, tool, became);
        let before = [CallStep::Tool, CallStep::Access, CallStep::Rates];
        let steps = before
            .into_iter()
            .chain([CallStep::Audit, CallStep::Answer]);
        let steps = steps.map(|step| Taken::unmeasured(step).told());
        told.steps.extend(steps);
        told.proposal = proposal;
        told.kind = self
            .catalogue()
            .get(&who.org, tool)
            .map(|tool| kind_label(&tool).to_owned());
        self.refused(&who.org, told);
        calling.trace
    }

    /// A call begins.
    pub(super) fn begun(&self) -> Calling {
        let ambient = &self.ports().ambient;
        let now = ambient.now();
        Calling::start(TraceId::at(now, ambient.bytes()), now)
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
