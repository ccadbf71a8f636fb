//! Faults on demand: how a bank fails, so that a broker can be shown to survive it.
//!
//! `POST /sandbox/faults` takes one fault, a list of them, or `{"faults": [...]}`:
//!
//! ```json
//! {"kind": "5xx", "operation": "create", "when": "after", "count": 3,
//!  "probability": 0.5, "status": 503, "delay_ms": 1000, "body": "..."}
//! ```
//!
//! | field | meaning |
//! | --- | --- |
//! | `kind` | `5xx` an error answer · `reset` the connection is reset (TCP RST) · `hang` no answer · `slow` a late one · `garbage` a 200 that is not JSON · `empty` a 200 without a body · `duplicate` the answer shown twice, never a second payout · `wrong_id` an answer about another payout · `forget_keys` the idempotency keys are forgotten · `redirect` a 307 to another address · of models: `cut` a stream that breaks, `malformed` a chunk that cannot be read, `stall` silence after the second piece, `drip` a pause before each piece, `rate_limited` a 429 with `Retry-After`, `rate_limited_in_body` a 200 that says 429, `error_event` an error in the stream |
//! | `operation` | `create`, `fetch`, `list`, `approve`, `reject`, `cancel`, `balance`, `transfer`, `find_transfers`, `webhook` (only `slow` and `duplicate`), `model`, or `any` bank call (default) |
//! | `when` | `before` (default) or `after` the request took effect. An answer that needs a payout to spoil (`duplicate`, `wrong_id`) is always after |
//! | `count` | how often it strikes; without `count` and `probability` once, with `probability` alone for ever |
//! | `probability` | 0 to 1, how likely it strikes each time |
//! | `status` | of `5xx` (503) or `redirect` (307) |
//! | `delay_ms` | of `slow` and `stall` (1000), `drip` (200) or `hang` (60000, then the connection is closed) |
//! | `body` | of `garbage` or `5xx`, instead of the usual |
//!
//! The first fault that strikes is the one. The answer lists what is armed. `GET` lists, `DELETE`
//! disarms all.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::models::USUAL_PAUSE;
use super::refusal::Refusal;
use crate::ambient::Ambient;

/// Faults armed at once.
const MAX_FAULTS: usize = 100;
/// Longest that anything is delayed.
const MAX_DELAY_MS: u64 = 10 * 60 * 1000;
const DEFAULT_SLOW: Duration = Duration::from_secs(1);
const DEFAULT_HANG: Duration = Duration::from_secs(60);
const DEFAULT_STATUS: u16 = 503;
const DEFAULT_REDIRECT: u16 = 307;

/// How it fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Kind {
    #[serde(rename = "5xx", alias = "http_5xx", alias = "error")]
    Error,
    #[serde(rename = "reset")]
    Reset,
    #[serde(rename = "hang")]
    Hang,
    #[serde(rename = "slow")]
    Slow,
    #[serde(rename = "garbage")]
    Garbage,
    #[serde(rename = "empty")]
    Empty,
    #[serde(rename = "duplicate")]
    Duplicate,
    #[serde(rename = "wrong_id", alias = "wrong id", alias = "wrong-id")]
    WrongId,
    #[serde(rename = "forget_keys", alias = "forget keys", alias = "forget-keys")]
    ForgetKeys,
    #[serde(rename = "redirect")]
    Redirect,
    #[serde(rename = "cut")]
    Cut,
    #[serde(rename = "malformed", alias = "malformed_chunk")]
    Malformed,
    #[serde(rename = "rate_limited", alias = "429")]
    RateLimited,
    #[serde(rename = "rate_limited_in_body", alias = "429_in_body")]
    RateLimitedInBody,
    #[serde(rename = "error_event")]
    ErrorEvent,
    #[serde(rename = "stall")]
    Stall,
    #[serde(rename = "drip")]
    Drip,
}

impl Kind {
    /// Whether only a model fails like this.
    fn is_a_models(self) -> bool {
        match self {
            Kind::Cut
            | Kind::Malformed
            | Kind::RateLimited
            | Kind::RateLimitedInBody
            | Kind::ErrorEvent
            | Kind::Stall
            | Kind::Drip => true,
            Kind::Error
            | Kind::Reset
            | Kind::Hang
            | Kind::Slow
            | Kind::Garbage
            | Kind::Empty
            | Kind::Duplicate
            | Kind::WrongId
            | Kind::ForgetKeys
            | Kind::Redirect => false,
        }
    }
}

/// What is being done when it fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    #[default]
    Any,
    #[serde(alias = "create_payout")]
    Create,
    #[serde(alias = "fetch_payout")]
    Fetch,
    #[serde(alias = "list_payouts", alias = "find_payouts", alias = "find")]
    List,
    #[serde(alias = "approve_payout")]
    Approve,
    #[serde(alias = "reject_payout")]
    Reject,
    #[serde(alias = "cancel_payout")]
    Cancel,
    #[serde(alias = "fetch_balance")]
    Balance,
    #[serde(alias = "create_transfer", alias = "transfer_funds")]
    Transfer,
    #[serde(alias = "list_transfers", alias = "fetch_transfer")]
    FindTransfers,
    Webhook,
    #[serde(alias = "models")]
    Model,
}

impl Operation {
    /// Whether a fault armed for `self` concerns `other`.
    fn covers(self, other: Self) -> bool {
        let of_the_bank = !matches!(other, Self::Webhook | Self::Model);
        self == other || (self == Self::Any && of_the_bank)
    }
}

/// Whether the request takes effect first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum When {
    #[default]
    Before,
    After,
}

/// One armed fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    #[serde(default)]
    operation: Operation,
    #[serde(default)]
    pub(super) when: When,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<String>,
    /// How often it has struck.
    #[serde(default, skip_deserializing)]
    hits: u32,
}

impl Fault {
    pub(super) fn delay(&self) -> Duration {
        let given = self.delay_ms.map(Duration::from_millis);
        given.unwrap_or(match self.kind {
            Kind::Hang => DEFAULT_HANG,
            Kind::Drip => USUAL_PAUSE,
            Kind::Slow
            | Kind::Cut
            | Kind::Malformed
            | Kind::RateLimited
            | Kind::RateLimitedInBody
            | Kind::ErrorEvent
            | Kind::Stall
            | Kind::Error
            | Kind::Reset
            | Kind::Garbage
            | Kind::Empty
            | Kind::Duplicate
            | Kind::WrongId
            | Kind::ForgetKeys
            | Kind::Redirect => DEFAULT_SLOW,
        })
    }

    pub(super) fn status(&self) -> u16 {
        self.status.unwrap_or(match self.kind {
            Kind::Redirect => DEFAULT_REDIRECT,
            Kind::Cut
            | Kind::Malformed
            | Kind::RateLimited
            | Kind::RateLimitedInBody
            | Kind::ErrorEvent
            | Kind::Stall
            | Kind::Drip
            | Kind::Error
            | Kind::Reset
            | Kind::Hang
            | Kind::Slow
            | Kind::Garbage
            | Kind::Empty
            | Kind::Duplicate
            | Kind::WrongId
            | Kind::ForgetKeys => DEFAULT_STATUS,
        })
    }

    fn check(mut self) -> Result<Self, Refusal> {
        if self.kind.is_a_models() {
            // Nothing else could be meant.
            if self.operation == Operation::Any {
                self.operation = Operation::Model;
            }
            if self.operation != Operation::Model {
                return Err(Refusal::field("kind", "Only a model fails like this."));
            }
        }
        if self.count.is_none() && self.probability.is_none() {
            self.count = Some(1);
        }
        if self.probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err(Refusal::field("probability", "It is between 0 and 1."));
        }
        if self.delay_ms.is_some_and(|delay| delay > MAX_DELAY_MS) {
            return Err(Refusal::field("delay_ms", "It is at most ten minutes."));
        }
        if self
            .status
            .is_some_and(|status| !(300..=599).contains(&status))
        {
            return Err(Refusal::field("status", "It is between 300 and 599."));
        }
        let for_webhooks = matches!(self.kind, Kind::Slow | Kind::Duplicate);
        if self.operation == Operation::Webhook && !for_webhooks {
            return Err(Refusal::field("kind", "Webhooks can be slow or duplicate."));
        }
        match self.kind {
            Kind::Duplicate | Kind::WrongId => self.when = When::After,
            Kind::ForgetKeys
            | Kind::Cut
            | Kind::Malformed
            | Kind::RateLimited
            | Kind::RateLimitedInBody
            | Kind::ErrorEvent
            | Kind::Stall
            | Kind::Drip
            | Kind::Error
            | Kind::Reset
            | Kind::Hang
            | Kind::Slow
            | Kind::Garbage
            | Kind::Empty
            | Kind::Redirect => {}
        }
        Ok(self)
    }
}

/// All faults that are armed.
#[derive(Default)]
pub(super) struct Faults {
    armed: Mutex<Vec<Fault>>,
}

impl Faults {
    /// Arms what a request asks for.
    pub(super) fn arm(&self, request: &Value) -> Result<(), Refusal> {
        let asked = request.get("faults").unwrap_or(request);
        let list = match asked.as_array() {
            Some(list) => list.clone(),
            None => vec![asked.clone()],
        };
        let mut new = Vec::new();
        for fault in list {
            let fault: Fault = serde_json::from_value(fault)
                .map_err(|error| Refusal::body(format!("This is not a fault: {error}")))?;
            new.push(fault.check()?);
        }
        let mut armed = self.lock();
        if armed.len() + new.len() > MAX_FAULTS {
            return Err(Refusal::body("There are too many faults."));
        }
        armed.extend(new);
        Ok(())
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// What is armed.
    pub(super) fn list(&self) -> Value {
        json!({ "faults": *self.lock() })
    }

    /// The fault that strikes now, if one does.
    pub(super) fn strike(&self, operation: Operation, ambient: &Ambient) -> Option<Fault> {
        let mut armed = self.lock();
        let struck = armed.iter_mut().find(|fault| {
            fault.operation.covers(operation)
                && fault.count != Some(0)
                && fault.probability.is_none_or(|p| falls_under(p, ambient))
        })?;
        struck.hits = struck.hits.saturating_add(1);
        struck.count = struck.count.map(|count| count - 1);
        Some(struck.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True with this probability.
fn falls_under(probability: f64, ambient: &Ambient) -> bool {
    let drawn = f64::from(u32::from_be_bytes(ambient.bytes()));
    drawn < scaled(probability)
}

#[allow(clippy::float_arithmetic, reason = "a probability, not money")]
fn scaled(probability: f64) -> f64 {
    probability * f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(faults: &Faults, operation: Operation) -> Option<Kind> {
        let fault = faults.strike(operation, &Ambient::real());
        fault.map(|fault| fault.kind)
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_was_told() {
        let faults = Faults::default();
        let armed = json!([{"kind": "5xx", "operation": "create", "count": 2}, {"kind": "reset"}]);
        faults.arm(&armed).unwrap();
        assert_eq!(struck(&faults, Operation::Create), Some(Kind::Error));
        assert_eq!(struck(&faults, Operation::Create), Some(Kind::Error));
        assert_eq!(struck(&faults, Operation::Create), Some(Kind::Reset));
        assert_eq!(struck(&faults, Operation::Create), None);
        assert_eq!(struck(&faults, Operation::Fetch), None);
        assert_eq!(faults.list()["faults"][0]["hits"], 2);
    }

    #[test]
    fn a_certain_fault_strikes_for_ever_and_an_impossible_one_never() {
        let faults = Faults::default();
        faults
            .arm(&json!({"kind": "hang", "operation": "list", "probability": 1}))
            .unwrap();
        faults
            .arm(&json!({"faults": [{"kind": "slow", "probability": 0}]}))
            .unwrap();
        for _ in 0..20 {
            assert_eq!(struck(&faults, Operation::List), Some(Kind::Hang));
            assert_eq!(struck(&faults, Operation::Create), None);
        }
        faults.clear();
        assert_eq!(struck(&faults, Operation::List), None);
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_no_fault_is_refused() {
        for bad in [
            json!({"kind": "fire"}), json!({}), json!(7), json!({"kind": "slow", "delay_ms": 3_600_000}),
            json!({"kind": "slow", "probability": 1.5}), json!({"kind": "slow", "often": true}),
            json!({"kind": "reset", "operation": "webhook"}), json!({"kind": "5xx", "status": 200}),
        ] {
            assert!(Faults::default().arm(&bad).is_err(), "{bad}");
        }
        for good in [json!({"kind": "wrong id"}), json!({"kind": "forget keys", "operation": "create_payout"})] {
            assert!(Faults::default().arm(&good).is_ok(), "{good}");
        }
    }
}
