//! What a decision knew, kept with its proposal so that another policy can be tried on it later.
//!
//! Only what was learned and cannot be learned again, read into figures and known words: no prompt,
//! no name, no argument is in here. What no policy changes (freezes, habits, the agent's own
//! answers) is not here either: its findings stand in the proposal. The form has a number; one that
//! this program does not know reads as none.

use serde::{Deserialize, Serialize};

use super::facts::{Entity, Fact, Facts, Reputation, TaintedRead, ToolPace};

/// The form written now.
const FORM: u32 = 1;

/// What a decision knew.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PastFacts {
    /// The form that this is written in.
    form: u32,
    /// Reserved and spent of its day before it, in minor units; `None` where nobody had to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent_today: Option<i64>,
    /// Requests within the window before it, and that window in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<(u32, u32)>,
    /// The tool's own bucket was empty, or nobody could say.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bucket_empty: bool,
    /// The account was a registered payee's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub registered: bool,
    /// What was said of the vendor's site.
    #[serde(default, skip_serializing_if = "Heard::is_needless")]
    pub reputation: Heard<Reputation>,
    /// What was said of the vendor's name.
    #[serde(default, skip_serializing_if = "Heard::is_needless")]
    pub entity: Heard<Entity>,
    /// What the agent had read, where its policy asked.
    #[serde(default, skip_serializing_if = "Heard::is_needless")]
    pub tainted: Heard<Option<TaintedRead>>,
}

/// What somebody else was asked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard<T> {
    /// There was nothing to ask.
    #[default]
    Needless,
    /// There was, and nobody asked: the request was refused anyway, or the policy did not care.
    Unasked,
    /// Asked, and no answer in time.
    Silent,
    /// Asked, and this is the answer.
    Said(T),
}

impl<T> Heard<T> {
    fn is_needless(&self) -> bool {
        matches!(self, Heard::Needless)
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl PastFacts {
    /// Of the facts of a decision. `window_secs` is that of its rate limit, `could_ask` whether there
    /// was a site that could have been asked about.
    pub fn of(facts: &Facts, window_secs: u32, could_ask: bool) -> Self {
        let registration = facts.registration.known();
        let taint = facts.policy.known().and_then(Option::as_ref);
        let taint = taint.and_then(|policy| policy.taint.as_ref());
        Self {
            form: FORM,
            spent_today: facts.spent_today.known().copied(),
            recent: facts.recent_requests.known().map(|n| (*n, window_secs)),
            bucket_empty: !matches!(
                facts.tool_pace,
                Fact::Known(ToolPace::Unlimited | ToolPace::Granted)
            ),
            registered: registration.is_some_and(|known| known.payee.is_some()),
            reputation: match &facts.reputation {
                Fact::Known(Reputation::NotAsked) if could_ask => Heard::Unasked,
                Fact::Known(Reputation::NotAsked) => Heard::Needless,
                Fact::Known(said) => Heard::Said(said.clone()),
                Fact::Missing => Heard::Silent,
            },
            entity: match &facts.entity {
                Fact::Known(Entity::NotAsked) => Heard::Unasked,
                Fact::Known(said) => Heard::Said(said.clone()),
                Fact::Missing => Heard::Silent,
            },
            tainted: match (taint, &facts.tainted) {
                (None, _) => Heard::Unasked,
                (Some(_), Fact::Known(read)) => Heard::Said(read.clone()),
                (Some(_), Fact::Missing) => Heard::Silent,
            },
        }
    }

    /// Whether this program knows the form.
    pub fn is_known(&self) -> bool {
        self.form == FORM
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn what_is_kept_reads_back_and_names_nobody() {
        let facts = Facts {
            spent_today: Fact::Known(5),
            recent_requests: Fact::Known(2),
            tool_pace: Fact::Known(ToolPace::Granted),
            reputation: Fact::Known(Reputation::NotAsked),
            ..Facts::missing(Timestamp::from_secs(1))
        };
        let past = PastFacts::of(&facts, 60, true);
        let text = serde_json::to_string(&past).unwrap();
        assert_eq!(serde_json::from_str::<PastFacts>(&text).unwrap(), past);
        assert_eq!((past.spent_today, past.recent), (Some(5), Some((2, 60))));
        assert_eq!(past.reputation, Heard::Unasked);
        let later: PastFacts = serde_json::from_str("{\"form\":2}").unwrap();
        assert!(!later.is_known() && past.is_known());
    }
}
