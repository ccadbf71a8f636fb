//! What is told of a request while it is worked on, numbered from 1: the same to whoever listens
//! from the beginning and to whoever comes late.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::piece::{Stop, Tokens};

/// One event. Stored sealed, since it may hold words of an answer.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// It waits.
    Queued,
    /// A provider is asked.
    Started {
        /// Which attempt, from 1.
        attempt: u32,
        /// The provider.
        provider: String,
        /// The model.
        model: String,
    },
    /// Words of the answer.
    Delta {
        /// The words.
        text: String,
    },
    /// The model asks for a tool, whole.
    ToolCall {
        /// Its name for this call.
        id: String,
        /// The tool.
        name: String,
        /// The arguments, as the text that the model wrote.
        arguments: String,
    },
    /// What was counted of an attempt.
    Usage {
        /// The tokens.
        #[serde(flatten)]
        tokens: Tokens,
        /// Counted here, since no provider told.
        estimated: bool,
    },
    /// What an attempt cost.
    Cost {
        /// Exact decimal dollars.
        cost_usd: String,
        /// The same in billionths.
        cost_nanos: u64,
        /// Counted here, since no provider told.
        estimated: bool,
    },
    /// Another provider is asked.
    Fallback {
        /// Who failed.
        from: String,
        /// Who is asked now.
        to: String,
        /// What went wrong.
        why: String,
    },
    /// What was told of the answer so far does not count: it begins anew.
    Restarted,
    /// It has its answer.
    Completed {
        /// Why the answer ended.
        finish_reason: Option<Stop>,
    },
    /// It has none and gets none.
    Failed {
        /// The stable code.
        code: String,
        /// Words for its owner.
        message: String,
    },
    /// It was taken back.
    Cancelled,
}

impl Event {
    /// Its one spelling.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Queued => "queued",
            Event::Started { .. } => "started",
            Event::Delta { .. } => "delta",
            Event::ToolCall { .. } => "tool_call",
            Event::Usage { .. } => "usage",
            Event::Cost { .. } => "cost",
            Event::Fallback { .. } => "fallback",
            Event::Restarted => "restarted",
            Event::Completed { .. } => "completed",
            Event::Failed { .. } => "failed",
            Event::Cancelled => "cancelled",
        }
    }

    /// Whether nothing comes after it.
    pub fn is_last(&self) -> bool {
        match self {
            Event::Completed { .. } | Event::Failed { .. } | Event::Cancelled => true,
            Event::Queued
            | Event::Started { .. }
            | Event::Delta { .. }
            | Event::ToolCall { .. }
            | Event::Usage { .. }
            | Event::Cost { .. }
            | Event::Fallback { .. }
            | Event::Restarted => false,
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The answer that events tell: what came since it began last.
#[derive(Clone, PartialEq, Default)]
pub struct Told {
    /// Its words.
    pub text: String,
    /// The tools that are asked for: id, name, arguments.
    pub tool_calls: Vec<(String, String, String)>,
    /// Why it ended.
    pub finish: Option<Stop>,
}

impl Told {
    /// Of these events, in order.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut told = Self::default();
        for event in events {
            match event {
                Event::Delta { text } => told.text.push_str(text),
                Event::ToolCall {
                    id,
                    name,
                    arguments,
                } => {
                    let call = (id.clone(), name.clone(), arguments.clone());
                    told.tool_calls.push(call);
                }
                Event::Restarted => told = Self::default(),
                Event::Completed { finish_reason } => told.finish = *finish_reason,
                Event::Queued
                | Event::Started { .. }
                | Event::Usage { .. }
                | Event::Cost { .. }
                | Event::Fallback { .. }
                | Event::Failed { .. }
                | Event::Cancelled => {}
            }
        }
        told
    }

    /// All that a model wrote of it, for whoever has to count.
    pub fn written(&self) -> u64 {
        let calls = self.tool_calls.iter();
        let calls = calls.map(|(_, name, arguments)| name.len() + arguments.len());
        let bytes = calls.fold(self.text.len(), usize::saturating_add);
        super::count::bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_before_a_new_beginning_does_not_count() {
        let delta = |text: &str| Event::Delta {
            text: text.to_owned(),
        };
        let events = [delta("a"), Event::Restarted, delta("b"), delta("c")];
        assert_eq!(Told::of(&events).text, "bc");
    }

    #[test]
    fn an_event_is_spelt_by_its_type_and_hides_its_words() {
        let event = Event::Delta {
            text: "canary".to_owned(),
        };
        let spelt = serde_json::to_value(&event).unwrap();
        assert_eq!(spelt["type"], event.name());
        assert!(!format!("{event:?}").contains("canary"));
        assert_eq!(serde_json::from_value::<Event>(spelt).unwrap(), event);
    }
}
