//! Refusals: the first of a minute are kept whole, the others summed up.
//!
//! Whoever is refused can ask again thousands of times a second, and each refusal is a proposal, a
//! record and perhaps a message to people. So of one principal's refusals [`WHOLE`] a minute are
//! stored as they are and people hear of [`TOLD`] one by one; what is beyond is counted by its
//! reason and written down in one record a minute, with one message if people want to hear of any
//! of those reasons. The answer that the caller gets is the same, but for the id that it has not.
//!
//! Counts live in memory until they are written: a crash loses those of its last minute.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::Audit;
use crate::broker::core::Trouble;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::change::{Change, Record};
use crate::domain::ids::{AgentId, OrgId};
use crate::domain::money::Effective;
use crate::domain::notice::{Notice, NoticeKind};
use crate::domain::principal::Principal;
use crate::domain::time::Timestamp;
use crate::domain::tool::Payee;
use crate::store::ApplyError;

/// Refusals of one principal that are kept whole in a minute.
const WHOLE: u32 = 20;
/// Of those, how many people hear of one by one: more is noise around the first.
const TOLD: u32 = 5;
/// How long refusals are added up, in milliseconds.
const WINDOW_MS: i64 = 60_000;

/// What becomes of one refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::broker) enum Kept {
    /// Stored as it is; `told` if people hear of it by itself.
    Whole {
        /// Whether a message goes out with it.
        told: bool,
    },
    /// Counted, and nothing else.
    Summed,
}

/// What was refused lately, by principal.
#[derive(Default)]
pub(in crate::broker) struct Refusals {
    windows: Mutex<Windows>,
}

#[derive(Default)]
struct Windows {
    open: HashMap<String, Window>,
    /// Over, and not yet written down.
    over: Vec<Window>,
}

/// One principal's minute.
#[derive(Clone, PartialEq, Debug)]
struct Window {
    principal: String,
    org: OrgId,
    agent: Option<AgentId>,
    since: Timestamp,
    whole: u32,
    /// Counted and not stored.
    summed: BTreeMap<&'static str, u64>,
    /// Not told one by one, whether stored or not.
    untold: BTreeMap<&'static str, u64>,
}

impl Window {
    fn of(who: &Principal, since: Timestamp) -> Self {
        Self {
            principal: who.id.clone(),
            org: who.org.clone(),
            agent: who.agent.clone(),
            since,
            whole: 0,
            summed: BTreeMap::new(),
            untold: BTreeMap::new(),
        }
    }

    /// Also over when the clock stepped back behind its beginning.
    fn is_over(&self, now: Timestamp) -> bool {
        let age = now.millis() - self.since.millis();
        !(0..WINDOW_MS).contains(&age)
    }

    fn has_to_tell(&self) -> bool {
        !(self.summed.is_empty() && self.untold.is_empty())
    }
}

impl Refusals {
    /// Counts one refusal of `who` for this reason.
    pub fn count(&self, who: &Principal, reason: &'static str, now: Timestamp) -> Kept {
        let mut windows = self.lock();
        let windows = &mut *windows;
        let window = match windows.open.get_mut(&who.id) {
            Some(window) => window,
            None => windows
                .open
                .entry(who.id.clone())
                .or_insert_with(|| Window::of(who, now)),
        };
        if window.is_over(now) {
            let over = std::mem::replace(window, Window::of(who, now));
            if over.has_to_tell() {
                windows.over.push(over);
            }
        }
        let told = window.whole < TOLD;
        if !told {
            *window.untold.entry(reason).or_default() += 1;
        }
        if window.whole < WHOLE {
            window.whole += 1;
            return Kept::Whole { told };
        }
        *window.summed.entry(reason).or_default() += 1;
        Kept::Summed
    }

    /// The minutes that are over; all of them if nothing more is to come.
    fn take(&self, now: Timestamp, all: bool) -> Vec<Window> {
        let mut windows = self.lock();
        let mut over = std::mem::take(&mut windows.over);
        windows.open.retain(|_, window| {
            let ends = all || window.is_over(now);
            if ends && window.has_to_tell() {
                over.push(window.clone());
            }
            !ends
        });
        over
    }

    fn put_back(&self, window: Window) {
        self.lock().over.push(window);
    }

    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit {
    /// Writes down what was summed up in the minutes that are over; with `all`, also in the present
    /// one, for a process that ends.
    pub async fn sum_refusals(&self, all: bool) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let mut failed = None;
        for window in self.refusals().take(now, all) {
            let records = self.sum_of(&window, now);
            let notices = self.told_of(&window, now);
            let change = Change::documents(Vec::new(), Vec::new(), records, notices);
            match self.ports().store.apply(change).await {
                Ok(_) => {}
                Err(ApplyError::Conflict(_)) => self.refusals().put_back(window),
                Err(ApplyError::Store(error)) => {
                    self.refusals().put_back(window);
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn sum_of(&self, window: &Window, now: Timestamp) -> Vec<Record> {
        if window.summed.is_empty() {
            return Vec::new();
        }
        let count: u64 = window.summed.values().sum();
        let detail = json!({
            "count": count, "by_reason": window.summed, "since": window.since,
            "principal": window.principal,
        });
        let mut record = Record::new(
            now,
            &window.org,
            RecordKind::RefusalsSummed,
            &window.principal,
        )
        .deciding(Decision::Rejected, "")
        .with(detail);
        record.agent.clone_from(&window.agent);
        vec![record]
    }

    fn told_of(&self, window: &Window, now: Timestamp) -> Vec<Notice> {
        let people = &self.settings().people;
        let wanted = window
            .untold
            .iter()
            .filter(|(reason, _)| people.wants(NoticeKind::Blocked, reason));
        let wanted: Vec<String> = wanted
            .map(|(reason, count)| format!("{reason} {count} times"))
            .collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let name = window.agent.as_ref().map(AgentId::as_str);
        let name = name.unwrap_or(&window.principal);
        vec![Notice {
            kind: NoticeKind::Alert,
            at: now,
            org: window.org.clone(),
            proposal: None,
            agent: window.agent.clone(),
            tool: None,
            effective: Effective::Nothing,
            payee: Payee::default(),
            args_hash: String::new(),
            reason: RecordKind::RefusalsSummed.name().to_owned(),
            findings: Vec::new(),
            detail: format!("{name} was refused on and on: {}", wanted.join(", ")),
            copy: None,
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::principal::Role;

    fn who(id: &str) -> Principal {
        Principal {
            id: id.to_owned(),
            name: id.to_owned(),
            org: OrgId::default(),
            roles: Role::Agent.into(),
            agent: None,
            person: None,
            server: None,
        }
    }

    #[test]
    fn the_first_are_whole_and_the_rest_are_counted_by_reason() {
        let refusals = Refusals::default();
        let now = Timestamp::from_secs(1_000);
        for number in 0..WHOLE {
            let kept = refusals.count(&who("a"), "NO_POLICY", now);
            let told = number < TOLD;
            assert_eq!(kept, Kept::Whole { told }, "{number}");
        }
        for reason in ["NO_POLICY", "RATE_LIMITED", "NO_POLICY"] {
            assert_eq!(refusals.count(&who("a"), reason, now), Kept::Summed);
        }
        let other = refusals.count(&who("b"), "NO_POLICY", now);
        assert_eq!(other, Kept::Whole { told: true }, "another's minute");
        assert!(refusals.take(now, false).is_empty(), "not over yet");
        let later = now.plus_millis(WINDOW_MS);
        let kept = refusals.count(&who("a"), "NO_POLICY", later);
        assert_eq!(kept, Kept::Whole { told: true }, "a new minute");
        let over = refusals.take(later, false);
        assert_eq!(over.len(), 1, "b has nothing to tell");
        let summed = BTreeMap::from([("NO_POLICY", 2), ("RATE_LIMITED", 1)]);
        assert_eq!(over[0].summed, summed);
        let untold: u64 = over[0].untold.values().sum();
        assert_eq!(untold, u64::from(WHOLE - TOLD) + 3);
        assert!(refusals.take(later, true).is_empty(), "told once");
    }

    #[test]
    fn a_clock_that_steps_back_begins_a_new_minute() {
        let refusals = Refusals::default();
        let now = Timestamp::from_secs(1_000);
        for _ in 0..=WHOLE {
            refusals.count(&who("a"), "NO_POLICY", now);
        }
        let before = now.plus_millis(-3_600_000);
        let kept = refusals.count(&who("a"), "NO_POLICY", before);
        assert_eq!(kept, Kept::Whole { told: true });
    }
}
