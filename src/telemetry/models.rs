//! What is counted of requests to models. Labels are names of providers, models and tasks that an
//! operator or the table of prices knows; whatever else a caller names counts as `other`.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::metrics::install;
use crate::domain::requests::piece::Tokens;

/// What is counted where a name is nobody's.
pub const OTHER: &str = "other";
/// Tasks that have a name everywhere.
pub const TASKS: [&str; 4] = ["chat", "code", "transform", "workflow"];

/// An attempt that has ended, as it is counted.
#[derive(Clone, Debug)]
pub struct Attempted<'a> {
    /// The provider.
    pub provider: &'a str,
    /// The model.
    pub model: &'a str,
    /// What it used.
    pub tokens: Tokens,
    /// What it cost, in nano-dollars.
    pub nanos: u64,
    /// Until the first piece of its answer.
    pub first: Option<Duration>,
}

/// A secret was found, and this was done about it.
pub fn secret_found(rule: &'static str, action: &'static str) {
    install();
    counter!("hundi_secrets_total", "rule" => rule, "action" => action).increment(1);
}

/// Another provider was asked.
pub fn fell_back(from: &str, to: &str, why: &'static str) {
    install();
    let (from, to) = (from.to_owned(), to.to_owned());
    counter!("hundi_fallback_total", "from" => from, "to" => to, "why" => why).increment(1);
}

/// An attempt ended.
pub fn attempted(attempt: &Attempted<'_>) {
    install();
    let name = || {
        let (provider, model) = (attempt.provider.to_owned(), attempt.model.to_owned());
        [("provider", provider), ("model", model)]
    };
    let tokens = &attempt.tokens;
    let kinds = [
        ("input", tokens.input),
        ("cached_input", tokens.cached_input),
        ("cache_write", tokens.cache_write),
        ("output", tokens.output),
        ("reasoning", tokens.reasoning),
    ];
    for (kind, count) in kinds.into_iter().filter(|(_, count)| *count > 0) {
        let [(_, provider), (_, model)] = name();
        counter!(
            "hundi_tokens_total", "provider" => provider, "model" => model, "kind" => kind
        )
        .increment(count);
    }
    gauge!("hundi_llm_cost_usd_total", &name()).increment(dollars(attempt.nanos));
    if let Some(first) = attempt.first {
        histogram!("hundi_first_token_seconds", &name()).record(first);
    }
}

#[allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "for watching, not for books"
)]
fn dollars(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Two models answered the same, and differ by so much.
pub fn shadow_disagreement(disagreement: f64) {
    install();
    histogram!("hundi_shadow_disagreement").record(disagreement);
}

/// A request ended.
pub fn request_ended(task: &str, outcome: &'static str, took: Duration) {
    install();
    counter!("hundi_requests_total", "task_type" => task.to_owned(), "outcome" => outcome)
        .increment(1);
    histogram!("hundi_request_seconds").record(took);
}

/// How many wait, of one priority.
#[allow(clippy::cast_precision_loss, reason = "for watching")]
pub fn queue_depth(priority: u8, waiting: u64) {
    install();
    let depth = gauge!("hundi_queue_depth", "priority" => priority.to_string());
    depth.set(waiting as f64);
}

/// How old the oldest is that waits.
pub fn queue_oldest(age: Duration) {
    install();
    gauge!("hundi_queue_oldest_seconds").set(age.as_secs_f64());
}

/// Every name is there from the start.
pub(super) fn start_at_zero() {
    for task in TASKS {
        for outcome in ["completed", "failed", "cancelled"] {
            counter!("hundi_requests_total", "task_type" => task, "outcome" => outcome).absolute(0);
        }
    }
    counter!("hundi_secrets_total", "rule" => OTHER, "action" => "block").absolute(0);
    counter!("hundi_fallback_total", "from" => OTHER, "to" => OTHER, "why" => "timeout")
        .absolute(0);
    counter!("hundi_tokens_total", "provider" => OTHER, "model" => OTHER, "kind" => "input")
        .absolute(0);
    gauge!("hundi_llm_cost_usd_total", "provider" => OTHER, "model" => OTHER).set(0.0);
    gauge!("hundi_queue_depth", "priority" => "50").set(0.0);
    gauge!("hundi_queue_oldest_seconds").set(0.0);
    let _ = histogram!("hundi_shadow_disagreement");
    let _ = histogram!("hundi_request_seconds");
    let _ = histogram!("hundi_first_token_seconds", "provider" => OTHER, "model" => OTHER);
}
