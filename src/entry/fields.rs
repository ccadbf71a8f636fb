//! The fields of a request, taken out one by one, so that what is left over can be refused.
//!
//! A field that nobody asked for is a mistake of the caller, and a mistake about money is told
//! rather than ignored. A field that may be left out may also be `null`, as many clients spell
//! "not given". The tool's own arguments are none of this module's business: there, `null` and
//! absent differ, and the broker checks them.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::broker::{CommitRequest, ListRequest, ProposeRequest, Trouble};
use crate::domain::audit::names::Decision;
use crate::domain::ids::ProposalId;
use crate::domain::proposal::State;

/// Longest prompt, in bytes. It is hashed and tokenised for the score, and stored.
pub const MAX_PROMPT_BYTES: usize = 64 * 1024;
/// Most samples that one request may carry: every pair of them is compared.
pub const MAX_SAMPLES: usize = 8;
/// Longest sample, in bytes.
pub const MAX_SAMPLE_BYTES: usize = 32 * 1024;
/// Longest idempotency key, in bytes: it is part of a unique index.
pub const MAX_KEY_BYTES: usize = 255;
/// Longest text taken in as a commit token: as long as a body may be, so that what cannot be a
/// token is refused as one by the broker, before it decodes anything, and by no other name.
pub const MAX_TOKEN_BYTES: usize = crate::domain::strict::MAX_BYTES;
/// Longest name, id or cursor, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Most rows of one page.
pub const MAX_PAGE: u32 = 500;
/// Rows of a page when the caller does not say.
pub const DEFAULT_PAGE: u32 = 50;

/// A decision to look for in the audit, in any case. A misspelt one would find nothing, and that
/// reads like good news.
pub fn decision(text: &str) -> Option<Decision> {
    let known = Decision::ALL.iter().copied();
    let mut known = known.filter(|decision| decision.name().eq_ignore_ascii_case(text));
    known.next()
}

/// A request's fields that nobody has taken out yet.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of an object. No value at all is an empty object.
    pub fn of(value: Option<Value>) -> Result<Self, Trouble> {
        match value {
            None => Ok(Self(Map::new())),
            Some(Value::Object(map)) => Ok(Self(map)),
            Some(_) => Err(invalid("a JSON object belongs here")),
        }
    }

    /// A field as it is; `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// Whatever nobody has taken out, as an object.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// A text of at most `max` bytes.
    pub fn text(&mut self, name: &str, max: usize) -> Result<Option<String>, Trouble> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= max => Ok(Some(text)),
            Some(Value::String(_)) => Err(invalid(format!("`{name}` is longer than {max} bytes"))),
            Some(_) => Err(invalid(format!("`{name}` must be a string"))),
        }
    }

    /// A text that must be there.
    pub fn needed_text(&mut self, name: &str, max: usize) -> Result<String, Trouble> {
        self.text(name, max)?.ok_or_else(|| missing(name))
    }

    /// An object that must be there.
    pub fn needed_object(&mut self, name: &str) -> Result<Value, Trouble> {
        match self.0.remove(name) {
            Some(value @ Value::Object(_)) => Ok(value),
            Some(_) => Err(invalid(format!("`{name}` must be an object"))),
            None => Err(missing(name)),
        }
    }

    /// An integer within `range`.
    pub fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, Trouble> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
        match number.filter(|n| range.contains(n)) {
            Some(number) => Ok(Some(number)),
            None => Err(invalid(format!(
                "`{name}` must be an integer from {} to {}",
                range.start(),
                range.end()
            ))),
        }
    }

    /// A list of at most `count` texts of at most `max` bytes each; empty if absent.
    pub fn texts(&mut self, name: &str, count: usize, max: usize) -> Result<Vec<String>, Trouble> {
        let items = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() <= count => items,
            Some(Value::Array(_)) => {
                return Err(invalid(format!("`{name}` has more than {count} items")));
            }
            Some(_) => return Err(invalid(format!("`{name}` must be an array of strings"))),
        };
        let text = |item| match item {
            Value::String(text) if text.len() <= max => Ok(text),
            Value::String(_) => Err(invalid(format!(
                "an item of `{name}` is longer than {max} bytes"
            ))),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => Err(invalid(format!("`{name}` must be an array of strings"))),
        };
        items.into_iter().map(text).collect()
    }

    /// A proposal's id. One that is spelt wrong names nothing, like one that never existed.
    pub fn proposal_id(&mut self) -> Result<ProposalId, Trouble> {
        let text = self.needed_text("proposal_id", MAX_NAME_BYTES)?;
        text.parse().map_err(|_| Trouble::NotFound("proposal"))
    }

    /// Refuses what is left.
    pub fn end(self) -> Result<(), Trouble> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let short: String = name.chars().take(40).collect();
                Err(invalid(format!("there is no field {short:?} here")))
            }
        }
    }
}

/// What `T_propose` takes, and `POST /v1/proposals` beside the tool's name.
pub fn propose(tool: String, mut fields: Fields) -> Result<ProposeRequest, Trouble> {
    let request = ProposeRequest {
        tool,
        arguments: fields.needed_object("arguments")?,
        prompt: fields.text("prompt", MAX_PROMPT_BYTES)?,
        samples: fields.texts("samples", MAX_SAMPLES, MAX_SAMPLE_BYTES)?,
        idempotency_key: fields.text("idempotency_key", MAX_KEY_BYTES)?,
        ..ProposeRequest::default()
    };
    if request.idempotency_key.as_deref() == Some("") {
        return Err(invalid("`idempotency_key` is empty"));
    }
    fields.end()?;
    Ok(request)
}

/// What `T_commit` takes. Arguments that the tool's schema would refuse are let through: they
/// cannot be the proposed ones, and the broker says so after it has looked at the token.
pub fn commit(tool: Option<String>, mut fields: Fields) -> Result<CommitRequest, Trouble> {
    let request = CommitRequest {
        proposal_id: fields.needed_text("proposal_id", MAX_NAME_BYTES)?,
        commit_token: fields.needed_text("commit_token", MAX_TOKEN_BYTES)?,
        tool,
        arguments: fields.needed_object("arguments")?,
    };
    fields.end()?;
    Ok(request)
}

/// What `list_proposals` takes.
pub fn list(mut fields: Fields) -> Result<ListRequest, Trouble> {
    let state = match fields.text("state", MAX_NAME_BYTES)? {
        None => None,
        Some(name) => {
            let state = State::ALL.into_iter().find(|state| state.name() == name);
            Some(state.ok_or_else(|| invalid("`state` names no state of a proposal"))?)
        }
    };
    let agent = match fields.text("agent", MAX_NAME_BYTES)? {
        None => None,
        Some(agent) => Some(
            agent
                .parse()
                .map_err(|_| invalid("`agent` is not an agent's id"))?,
        ),
    };
    let cursor = match fields.text("cursor", MAX_NAME_BYTES)? {
        None => None,
        Some(cursor) => {
            let wrong = |_| invalid("`cursor` is not the `next_cursor` of a page before");
            Some(cursor.parse().map_err(wrong)?)
        }
    };
    let request = ListRequest {
        state,
        agent,
        cursor,
        tool: fields.text("tool", MAX_NAME_BYTES)?,
        limit: fields.integer("limit", 1..=MAX_PAGE)?,
    };
    fields.end()?;
    Ok(request)
}

fn invalid(detail: impl Into<String>) -> Trouble {
    Trouble::InvalidArguments(detail.into())
}

fn missing(name: &str) -> Trouble {
    invalid(format!("`{name}` is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        Fields::of(Some(value)).unwrap()
    }

    #[test]
    fn every_field_of_a_propose_arrives() {
        let request = propose(
            "t".into(),
            fields(json!({
                "arguments": {"a": null}, "prompt": "p", "samples": ["x", "y"],
                "idempotency_key": "k",
            })),
        )
        .unwrap();
        assert_eq!(request.arguments, json!({"a": null}));
        assert_eq!(request.prompt.as_deref(), Some("p"));
        assert_eq!(request.samples, ["x", "y"]);
        assert_eq!(request.idempotency_key.as_deref(), Some("k"));
        let bare = propose("t".into(), fields(json!({"arguments": {}, "prompt": null})));
        assert_eq!(bare.unwrap().prompt, None);
    }

    #[test]
    #[rustfmt::skip]
    fn what_does_not_fit_is_refused_by_name() {
        let long = |len: usize| "x".repeat(len);
        let many = |count: usize| vec!["s"; count];
        let cases = [
            (json!({}),                                                          Some("`arguments`")),
            (json!({"arguments": []}),                                           Some("`arguments`")),
            (json!({"arguments": null}),                                         Some("`arguments`")),
            (json!({"arguments": "{}"}),                                         Some("`arguments`")),
            (json!({"arguments": {}, "amount": 5}),                              Some("\"amount\"")),
            (json!({"arguments": {}, "prompt": 5}),                              Some("`prompt`")),
            (json!({"arguments": {}, "prompt": long(MAX_PROMPT_BYTES)}),         None),
            (json!({"arguments": {}, "prompt": long(MAX_PROMPT_BYTES + 1)}),     Some("`prompt`")),
            (json!({"arguments": {}, "samples": "s"}),                           Some("`samples`")),
            (json!({"arguments": {}, "samples": ["s", 5]}),                      Some("`samples`")),
            (json!({"arguments": {}, "samples": many(MAX_SAMPLES)}),             None),
            (json!({"arguments": {}, "samples": many(MAX_SAMPLES + 1)}),         Some("`samples`")),
            (json!({"arguments": {}, "samples": [long(MAX_SAMPLE_BYTES)]}),      None),
            (json!({"arguments": {}, "samples": [long(MAX_SAMPLE_BYTES + 1)]}),  Some("`samples`")),
            (json!({"arguments": {}, "idempotency_key": ""}),                    Some("`idempotency_key`")),
            (json!({"arguments": {}, "idempotency_key": long(MAX_KEY_BYTES)}),   None),
            (json!({"arguments": {}, "idempotency_key": long(MAX_KEY_BYTES + 1)}), Some("`idempotency_key`")),
        ];
        for (value, named) in cases {
            let shown = value.to_string();
            let refused = propose("t".into(), fields(value)).err();
            assert_eq!(refused.is_some(), named.is_some(), "{shown:.80}");
            if let (Some(trouble), Some(named)) = (refused, named) {
                assert_eq!(trouble.code(), "invalid_arguments", "{shown:.80}");
                assert!(trouble.to_string().contains(named), "{trouble}");
            }
        }
        assert!(Fields::of(Some(json!([]))).is_err());
    }

    #[test]
    #[rustfmt::skip]
    fn a_list_request_is_checked_before_it_asks() {
        let id = "0190a0a0-0000-7000-8000-000000000000";
        let cases = [
            (json!({}),                                          true),
            (json!({"state": "in_doubt", "tool": "t"}),          true),
            (json!({"state": "InDoubt"}),                        false),
            (json!({"agent": "agent-1"}),                        true),
            (json!({"agent": "a b"}),                            false),
            (json!({"cursor": id}),                              true),
            (json!({"cursor": "1"}),                             false),
            (json!({"limit": 1}),                                true),
            (json!({"limit": MAX_PAGE}),                         true),
            (json!({"limit": 0}),                                false),
            (json!({"limit": MAX_PAGE + 1}),                     false),
            (json!({"limit": -1}),                               false),
            (json!({"limit": 1.5}),                              false),
            (json!({"limit": "1"}),                              false),
        ];
        for (value, accepted) in cases {
            assert_eq!(list(fields(value.clone())).is_ok(), accepted, "{value}");
        }
    }

    #[test]
    fn an_id_spelt_wrong_reads_as_unknown() {
        let refused = fields(json!({"proposal_id": "{0190}"})).proposal_id();
        assert_eq!(refused, Err(Trouble::NotFound("proposal")));
    }
}
