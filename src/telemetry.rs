//! What the process tells about itself: logs on stderr, metrics, traces.
//!
//! Everything here is for watching and nothing depends on it: a metric that cannot be kept or a
//! trace that cannot be sent changes no decision. Labels come from small enums, never from text
//! that a caller or a provider chose, and nothing here is ever given a secret. Only values of `domain`
//! come in, so that every other folder may tell what it does.

mod lines;
mod metrics;
pub mod models;
mod snapshot;
mod traces;

pub use metrics::{
    Breaker, BudgetCheck, CallStep, Channel, CommitResult, Delivery, METRICS, Metric, MetricKind,
    Phase, RateCheck, ReputationCheck, WebhookResult, access, audit_unsealed, breaker,
    budget_check, commit_phase, committed, decided, frozen, invocation_step, invoked, masked,
    notification, polled, rate_check, render, reputation_check, resolved, settled_above,
    source_gone, source_made, source_up, standings, store_batch, tainted, uptime, webhook,
};
pub use models::OTHER;
pub use snapshot::snapshot_json;
pub use traces::{NoTraces, Part, Step, TraceSender, trace, tracing_on};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

impl LogFormat {
    /// Reads `text` or `json`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        }
    }
}

/// What is logged when nothing else was said.
pub const DEFAULT_FILTER: &str = "info,rmcp=warn";

/// Starts counting, and logging to stderr; stdout belongs to the protocol or to the command's output. A second
/// call changes nothing. A filter that does not parse is replaced by the default and said so.
pub fn start(format: LogFormat, filter: &str) {
    metrics::install();
    let parsed = EnvFilter::try_new(filter);
    let bad = parsed.is_err();
    let filter = parsed.unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    // Colours are for a terminal; in a file or a collector they are rubbish.
    let layer = || {
        let coloured = std::io::IsTerminal::is_terminal(&std::io::stderr());
        tracing_subscriber::fmt::layer().with_ansi(coloured)
    };
    let discreet = filter_fn(is_discreet);
    let started = match format {
        LogFormat::Text => {
            let lines = layer().with_writer(std::io::stderr).with_target(false);
            let lines = lines.fmt_fields(lines::fields());
            registry.with(lines.with_filter(discreet)).try_init()
        }
        LogFormat::Json => {
            let lines = layer().json().flatten_event(true);
            let lines = lines.with_writer(|| lines::JsonLines);
            registry.with(lines.with_filter(discreet)).try_init()
        }
    };
    if bad && started.is_ok() {
        tracing::warn!("the log filter does not parse; logging at `{DEFAULT_FILTER}`");
    }
}

/// The MCP library logs whole messages below `warn`, commit tokens and arguments included. No
/// filter of an operator's may let those out.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let library = metadata.target().split("::").next() == Some("rmcp");
    !library || *metadata.level() <= Level::WARN
}
