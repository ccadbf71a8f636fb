//! Traces over OTLP, when a collector is configured: one trace per proposal, from propose to
//! settle.
//!
//! A trace's id *is* the proposal's id, so whatever node, restart or door a step came through, it
//! joins the same trace without anything being carried along. Spans are made when a step is over,
//! from times that are measured anyway; without a collector the cost is one look at an empty cell.
//!
//! Traces are for watching: a full queue drops spans, a silent collector is told about once a
//! minute, and nobody waits for either.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanExporter as _, SpanLinks,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::Phase;
use crate::domain::ids::ProposalId;

/// Spans that may wait for the collector: a few seconds of a busy node.
const QUEUE: usize = 16_384;
/// Spans sent at once.
const BATCH: usize = 512;
/// Longest that a span waits for company.
const LINGER: Duration = Duration::from_secs(1);
/// Longest that the collector may take.
const EXPORT_DEADLINE: Duration = Duration::from_secs(5);
/// Pause between two complaints about the collector.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// A step in the life of a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It was decided and stored. The root of the trace.
    Propose,
    /// A person decided on it.
    Decide,
    /// It was carried out.
    Commit,
    /// A doubt about it was looked into.
    Reconcile,
    /// The provider told something unasked.
    Evidence,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Propose => "propose",
            Step::Decide => "decide",
            Step::Commit => "commit",
            Step::Reconcile => "reconcile",
            Step::Evidence => "evidence",
        }
    }
}

/// A part of a step: when it began after the step's own beginning, and how long it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Which.
    pub phase: Phase,
    /// After the step's beginning.
    pub began: Duration,
    /// How long.
    pub took: Duration,
}

static SPANS: OnceLock<mpsc::Sender<SpanData>> = OnceLock::new();

/// True if anybody collects traces.
pub fn tracing_on() -> bool {
    SPANS.get().is_some()
}

/// A step that has just ended took so long. `notes` are codes, ids and names, never secrets,
/// amounts or arguments.
pub fn trace(
    proposal: ProposalId,
    step: Step,
    took: Duration,
    notes: &[(&'static str, &str)],
    parts: &[Part],
) {
    let Some(spans) = SPANS.get() else { return };
    let ids = RandomIdGenerator::default();
    let trace = TraceId::from_bytes(*proposal.uuid().as_bytes());
    let root = root_of(proposal);
    let (own, parent) = match step {
        Step::Propose => (root, SpanId::INVALID),
        Step::Decide | Step::Commit | Step::Reconcile | Step::Evidence => (ids.new_span_id(), root),
    };
    let ended = opentelemetry::time::now();
    let began = ended - took;
    let mut attributes = vec![KeyValue::new("hundi.proposal_id", proposal.to_string())];
    attributes.extend(
        notes
            .iter()
            .map(|(key, value)| KeyValue::new(*key, (*value).to_owned())),
    );
    let span = |own, parent, name: &'static str, at: Duration, took: Duration| SpanData {
        span_context: SpanContext::new(trace, own, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: parent,
        // Another process may have made the root.
        parent_span_is_remote: parent == root,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: began + at,
        end_time: began + at + took,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("hundi").build(),
    };
    let mut whole = span(own, parent, step.name(), Duration::ZERO, took);
    whole.attributes = attributes;
    let parts = parts.iter().map(|part| {
        let name = part.phase.label();
        span(ids.new_span_id(), own, name, part.began, part.took)
    });
    for span in std::iter::once(whole).chain(parts) {
        // Full means that the collector does not keep up; then spans are what is lost.
        let _ = spans.try_send(span);
    }
}

/// Every proposal's root span has an id that all processes know.
fn root_of(proposal: ProposalId) -> SpanId {
    let mut id = [0; 8];
    id.copy_from_slice(&proposal.uuid().as_bytes()[8..]);
    SpanId::from_bytes(id)
}

/// Sends what is collected. Keep it, and [`TraceSender::finish`] it at the end.
pub struct TraceSender {
    closing: CancellationToken,
    task: JoinHandle<()>,
}

/// Traces could not be started. The text says what to look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTraces {
    /// The endpoint or the client cannot be used.
    #[error("traces cannot be sent to the OTLP endpoint: {0}")]
    Endpoint(String),
    /// This process sends traces already.
    #[error("traces are being sent already")]
    Started,
}

impl TraceSender {
    /// Starts sending traces to a collector, `http://host:4318` or with a path of its own. Call it
    /// inside the runtime, once per process.
    pub fn start(endpoint: &str) -> Result<Self, NoTraces> {
        // The first of these in a process wins, and they are all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |error: &dyn std::fmt::Display| NoTraces::Endpoint(error.to_string());
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(EXPORT_DEADLINE)
            .build()
            .map_err(|error| failed(&error))?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(traces_url(endpoint)?)
            .with_timeout(EXPORT_DEADLINE)
            .build()
            .map_err(|error| failed(&error))?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder_empty()
            .with_service_name("hundi")
            .with_attribute(version)
            .build();
        exporter.set_resource(&resource);
        let (sender, receiver) = mpsc::channel(QUEUE);
        SPANS.set(sender).map_err(|_| NoTraces::Started)?;
        let closing = CancellationToken::new();
        let task = tokio::spawn(send(exporter, receiver, closing.clone()));
        Ok(Self { closing, task })
    }

    /// Sends what still waits and stops.
    pub async fn finish(self) {
        self.closing.cancel();
        let _ = tokio::time::timeout(EXPORT_DEADLINE * 2, self.task).await;
    }
}

/// A collector is usually named by its host alone; OTLP over HTTP has a path for traces.
fn traces_url(endpoint: &str) -> Result<String, NoTraces> {
    let url = url::Url::parse(endpoint).map_err(|error| NoTraces::Endpoint(error.to_string()))?;
    if url.path() == "/" {
        let base = endpoint.trim_end_matches('/');
        return Ok(format!("{base}/v1/traces"));
    }
    Ok(endpoint.to_owned())
}

async fn send(
    exporter: SpanExporter,
    mut spans: mpsc::Receiver<SpanData>,
    closing: CancellationToken,
) {
    let mut complained: Option<Instant> = None;
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            _ = spans.recv_many(&mut batch, BATCH) => {}
            () = closing.cancelled() => {}
        }
        let last = closing.is_cancelled();
        if !last && batch.len() < BATCH {
            let rest = async {
                while batch.len() < BATCH && spans.recv_many(&mut batch, BATCH).await > 0 {}
            };
            tokio::select! {
                _ = tokio::time::timeout(LINGER, rest) => {}
                () = closing.cancelled() => {}
            }
        }
        while let Ok(span) = spans.try_recv() {
            batch.push(span);
            if batch.len() >= BATCH * 2 && !last {
                break;
            }
        }
        if !batch.is_empty() {
            let sent = exporter.export(std::mem::take(&mut batch)).await;
            if let Err(error) = sent
                && complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY)
            {
                complained = Some(Instant::now());
                tracing::warn!(%error, "the collector does not take traces; they are dropped");
            }
        }
        if last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn a_collector_is_named_by_host_or_in_full() {
        let cases = [
            ("http://127.0.0.1:4318",            Some("http://127.0.0.1:4318/v1/traces")),
            ("http://127.0.0.1:4318/",           Some("http://127.0.0.1:4318/v1/traces")),
            ("https://otel.example/custom/path", Some("https://otel.example/custom/path")),
            ("nonsense",                         None),
        ];
        for (endpoint, url) in cases {
            assert_eq!(traces_url(endpoint).ok().as_deref(), url, "{endpoint}");
        }
    }
}
