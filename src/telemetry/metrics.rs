//! The metrics of the contract: their names, their help, and one function per event that counts.
//!
//! The recorder is the process's own and has no listener: `/metrics` and `get_metrics` render it
//! behind the broker's doors. Every name exists from the start, at zero, so that a rate can be
//! taken over the first event and a dashboard finds what it asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::Instant;

use super::models::OTHER;
use crate::domain::audit::names::Decision;
use crate::domain::facts::FreezeScope;
use crate::domain::ids::OrgId;
use crate::domain::money::{Currency, Effective};
use crate::domain::reason::{Reason, Refusal};

/// What a metric does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts into buckets.
    Histogram,
}

/// One metric of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name. Never changes once released.
    pub name: &'static str,
    /// What it does.
    pub kind: MetricKind,
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:ident, $help:literal;)*) => {
        $(#[allow(dead_code, reason = "some are counted elsewhere")] const $constant: &str = $name;)*

        /// Every metric there is, in the order of the contract.
        pub const METRICS: &[Metric] = &[
            $(Metric { name: $name, kind: MetricKind::$kind, help: $help },)*
        ];
    };
}

metrics! {
    DECISIONS = "hundi_decisions_total", Counter, "Proposals decided, by verdict and headline.";
    COMMITS = "hundi_commits_total", Counter, "Commits answered, by outcome and reason; `resolved` are doubts that evidence ended later.";
    AMOUNT = "hundi_amount_minor_total", Counter, "Minor units proposed, by verdict and currency.";
    DECISION_SECONDS = "hundi_decision_seconds", Histogram, "From reading a proposal to its durable verdict.";
    COMMIT_SECONDS = "hundi_commit_seconds", Histogram, "Time of a commit, by phase.";
    IN_DOUBT = "hundi_in_doubt", Gauge, "Commits under way or without a clear outcome.";
    IN_DOUBT_OLDEST = "hundi_in_doubt_oldest_seconds", Gauge, "Age of the oldest of those.";
    HELD = "hundi_held", Gauge, "Proposals that wait for a person.";
    FROZEN = "hundi_frozen", Gauge, "Freezes in force, by scope.";
    BUDGET_CHECKS = "hundi_budget_checks_total", Counter, "Reservations asked for, by result.";
    REPUTATION_CHECKS = "hundi_reputation_checks_total", Counter, "Vendor look-ups, by result.";
    RATE_CHECKS = "hundi_rate_limit_checks_total", Counter, "Rate limit checks, by result.";
    NOTIFICATIONS = "hundi_notifications_total", Counter, "Messages to people, by channel and result.";
    WEBHOOKS = "hundi_webhooks_total", Counter, "Webhooks received, by result.";
    POLLS = "hundi_polls_total", Counter, "Times the bank was asked for payouts.";
    POLLED_PAYOUTS = "hundi_polled_payouts_total", Counter, "Payouts seen by asking.";
    SETTLED_ABOVE = "hundi_settled_above_reserved_total", Counter, "Settlements of more than was reserved for them.";
    SOURCE_UP = "hundi_source_up", Gauge, "Whether a source of registered tools works, by `organisation/name`: 1 or 0. Those of organisations besides the default one are `other`, and work while all of them do.";
    BREAKER = "hundi_breaker_state", Gauge, "Circuit breaker by name: 0 closed, 1 half open, 2 open.";
    STORE_BATCH = "hundi_store_batch_size", Histogram, "Changes written in one store transaction.";
    AUDIT_UNSEALED = "hundi_audit_unsealed", Gauge, "Audit records not yet sealed into the log.";
    ACCESS = "hundi_access_total", Counter, "Calls and proposals held against access rules, by decision.";
    MASKED = "hundi_masked_total", Counter, "Values hidden of results by masks.";
    TAINTED = "hundi_tainted_total", Counter, "Proposals held or refused because their agent had read other people's text.";
    INVOCATIONS = "hundi_invocations_total", Counter, "Calls of low-risk tools, by tool, kind and outcome. Tools that organisations besides the default one registered are `other`.";
    INVOCATION_SECONDS = "hundi_invocation_seconds", Histogram, "Time of such a call, by kind and step.";
    REQUESTS = "hundi_requests_total", Counter, "Requests to models that ended, by task and outcome.";
    REQUEST_SECONDS = "hundi_request_seconds", Histogram, "From taking a request to a model on to its end.";
    FIRST_TOKEN = "hundi_first_token_seconds", Histogram, "From asking a provider to the first piece of its answer.";
    TOKENS = "hundi_tokens_total", Counter, "Tokens used, by provider, model and kind. Providers that organisations besides the default one registered are `other`.";
    LLM_COST = "hundi_llm_cost_usd_total", Gauge, "Dollars that models cost; only rises.";
    FALLBACKS = "hundi_fallback_total", Counter, "Times that another provider was asked, and why.";
    QUEUE_DEPTH = "hundi_queue_depth", Gauge, "Requests to models that wait, by priority.";
    QUEUE_OLDEST = "hundi_queue_oldest_seconds", Gauge, "Age of the oldest of those.";
    SECRETS = "hundi_secrets_total", Counter, "Secrets found in what was to be sent, and in what models said, by type and action.";
    SHADOWS = "hundi_shadow_disagreement", Histogram, "How far a second model that was asked beside a first disagrees with it, from 0 to 1.";
    UPTIME = "hundi_uptime_seconds", Gauge, "Since the process started.";
}

/// Buckets of a decision, seconds: a local one takes a millisecond, one that asks others two
/// seconds at most.
const DECISION_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
/// Buckets of a commit and its phases, seconds: a provider may take up to the call deadline.
const COMMIT_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0,
];
/// Buckets of a model's answer, seconds: the first word takes a fraction of one, an answer minutes.
const ANSWER_BUCKETS: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0,
];
/// Buckets of how far two answers differ: a share.
const SHARE_BUCKETS: &[f64] = &[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// Buckets of a store transaction, changes.
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, Debug)]
            pub enum $name { $($(#[$variant_doc])* $variant,)* }

            impl $name {
                const ALL: &[$name] = &[$($name::$variant),*];

                /// Its one spelling.
                pub fn label(self) -> &'static str {
                    match self { $($name::$variant => $label),* }
                }
            }
        )*
    };
}

labels! {
    /// A part of a commit.
    Phase {
        /// Token, binding, recheck: all that can refuse.
        Verify = "verify",
        /// The nonce burned and the intent durable.
        Claim = "claim",
        /// The provider's answer.
        Provider = "provider",
        /// The outcome durable.
        Settle = "settle",
    }
    /// A step of a call of a low-risk tool.
    CallStep {
        /// Who calls, as the door found out before the call began.
        Authenticate = "authenticate",
        /// The tool, and whether it may be used at all.
        Tool = "tool",
        /// Access rules, the arguments, freezes.
        Access = "access",
        /// The pace.
        Rates = "rates",
        /// The source, and that the record can be written.
        Source = "source",
        /// The call itself.
        Execute = "execute",
        /// What is hidden of its answer.
        Mask = "mask",
        /// The record.
        Audit = "audit",
        /// What is given back.
        Answer = "answer",
    }
    /// What became of a reservation that was asked for.
    BudgetCheck {
        /// It fits, and is held.
        Reserved = "reserved",
        /// It does not fit.
        Exceeded = "exceeded",
    }
    /// What was learned about a vendor.
    ReputationCheck {
        /// Nothing against it.
        Safe = "safe",
        /// Listed as a threat.
        Unsafe = "unsafe",
        /// No usable answer in time.
        Unavailable = "unavailable",
        /// Known from a recent look-up.
        Cached = "cached",
    }
    /// What a rate window said.
    RateCheck {
        /// There was room.
        Allowed = "allowed",
        /// It was full.
        Limited = "limited",
        /// It could not be read.
        Unavailable = "unavailable",
    }
    /// How people are told.
    Channel {
        /// Slack.
        Slack = "slack",
        /// ntfy.
        Ntfy = "ntfy",
        /// A program of the operator's.
        Webhook = "webhook",
    }
    /// What became of a message.
    Delivery {
        /// The channel took it.
        Sent = "sent",
        /// It did not, and will be asked again.
        Failed = "failed",
    }
    /// What became of an incoming webhook.
    WebhookResult {
        /// Authentic and kept.
        Accepted = "accepted",
        /// Seen before.
        Duplicate = "duplicate",
        /// The signature does not hold.
        Forged = "forged",
        /// Authentic, and nothing could be made of it.
        Unusable = "unusable",
    }
}

/// State of a circuit breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breaker {
    /// Calls pass.
    Closed,
    /// One probe passes.
    HalfOpen,
    /// Nothing passes.
    Open,
}

/// How a commit was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitResult {
    /// A clear yes.
    Executed,
    /// A clear no of the provider.
    Failed,
    /// No clear answer yet.
    InDoubt,
    /// Turned away; nothing was done.
    Refused(Refusal),
}

/// A proposal was decided: how and why, what it would move, and how long that took.
pub fn decided(decision: Decision, headline: Reason, effective: &Effective, took: Duration) {
    recorder();
    let (decision, reason) = (decision.name(), headline.code());
    counter!(DECISIONS, "decision" => decision, "reason" => reason).increment(1);
    if let Effective::Amount(money) = effective {
        let minor = u64::try_from(money.minor).unwrap_or(0);
        let currency = currency_label(money.currency);
        counter!(AMOUNT, "decision" => decision, "currency" => currency).increment(minor);
    }
    histogram!(DECISION_SECONDS).record(took);
}

/// A caller names the currency, so a caller could name every one there might be; beyond the usual
/// ones they count together.
fn currency_label(currency: Currency) -> &'static str {
    const USUAL: [&str; 8] = ["INR", "USD", "EUR", "GBP", "JPY", "SGD", "AED", "AUD"];
    let usual = USUAL.into_iter().find(|code| *code == currency.code());
    usual.unwrap_or("other")
}

/// A commit was answered.
pub fn committed(result: CommitResult) {
    recorder();
    let (outcome, reason) = match result {
        CommitResult::Executed => ("executed", ""),
        CommitResult::Failed => ("failed", "provider_refused"),
        CommitResult::InDoubt => ("in_doubt", ""),
        CommitResult::Refused(refusal) => ("refused", refusal.code()),
    };
    counter!(COMMITS, "outcome" => outcome, "reason" => reason).increment(1);
}

/// Evidence ended a doubt after its commit had been answered.
pub fn resolved(executed: bool) {
    recorder();
    let outcome = if executed { "executed" } else { "failed" };
    counter!(COMMITS, "outcome" => outcome, "reason" => "resolved").increment(1);
}

/// A part of a commit is over.
pub fn commit_phase(phase: Phase, took: Duration) {
    recorder();
    histogram!(COMMIT_SECONDS, "phase" => phase.label()).record(took);
}

/// Access rules were asked, and said yes or no.
pub fn access(allowed: bool) {
    recorder();
    counter!(ACCESS, "decision" => access_label(allowed)).increment(1);
}

fn access_label(allowed: bool) -> &'static str {
    if allowed { "allow" } else { "deny" }
}

/// So many values of one result were hidden.
pub fn masked(values: usize) {
    recorder();
    counter!(MASKED).increment(u64::try_from(values).unwrap_or(u64::MAX));
}

/// A proposal was made by an agent that had read other people's text.
pub fn tainted() {
    recorder();
    counter!(TAINTED).increment(1);
}

/// A low-risk tool of the catalogue was called. `kind` and `outcome` are of small closed lists.
pub fn invoked(tool: &str, kind: &'static str, outcome: &'static str) {
    recorder();
    let tool = tool.to_owned();
    counter!(INVOCATIONS, "tool" => tool, "kind" => kind, "outcome" => outcome).increment(1);
}

/// A step of such a call is over.
pub fn invocation_step(kind: &'static str, step: CallStep, took: Duration) {
    recorder();
    histogram!(INVOCATION_SECONDS, "kind" => kind, "step" => step.label()).record(took);
}

/// A reservation was asked for.
pub fn budget_check(result: BudgetCheck) {
    recorder();
    counter!(BUDGET_CHECKS, "result" => result.label()).increment(1);
}

/// A vendor was looked up.
pub fn reputation_check(result: ReputationCheck) {
    recorder();
    counter!(REPUTATION_CHECKS, "result" => result.label()).increment(1);
}

/// A rate window was asked.
pub fn rate_check(result: RateCheck) {
    recorder();
    counter!(RATE_CHECKS, "result" => result.label()).increment(1);
}

/// A message to people was tried.
pub fn notification(channel: Channel, result: Delivery) {
    recorder();
    let (channel, result) = (channel.label(), result.label());
    counter!(NOTIFICATIONS, "channel" => channel, "result" => result).increment(1);
}

/// A webhook came in.
pub fn webhook(result: WebhookResult) {
    recorder();
    counter!(WEBHOOKS, "result" => result.label()).increment(1);
}

/// The bank was asked for payouts and showed so many.
pub fn polled(payouts: u64) {
    recorder();
    counter!(POLLS).increment(1);
    counter!(POLLED_PAYOUTS).increment(payouts);
}

/// More was settled than was reserved for it.
pub fn settled_above() {
    recorder();
    counter!(SETTLED_ABOVE).increment(1);
}

/// A circuit breaker changed. `name` is one of the few in the source.
pub fn breaker(name: &'static str, state: Breaker) {
    recorder();
    let level = match state {
        Breaker::Closed => 0.0,
        Breaker::HalfOpen => 1.0,
        Breaker::Open => 2.0,
    };
    gauge!(BREAKER, "name" => name).set(level);
}

/// Series of sources, and how many there are of each now: one that is replaced is there twice for a
/// moment.
static SOURCES: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// A source is there from now on.
pub fn source_made(org: &OrgId, source: &str) {
    if *org == OrgId::default() {
        let mut there = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
        *there.entry(source_label(org, source)).or_default() += 1;
    }
    source_up(org, source, true);
}

/// A source is not there any more, so nobody is told how it is.
pub fn source_gone(org: &OrgId, source: &str) {
    if *org != OrgId::default() {
        source_up(org, source, true);
        return;
    }
    let mut there = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(count) = there.get_mut(&source_label(org, source)) {
        *count = count.saturating_sub(1);
    }
}

fn source_label(org: &OrgId, source: &str) -> String {
    format!("{org}/{source}")
}

/// The text without the series of sources that are gone: the recorder forgets none.
fn present(text: String) -> String {
    let there = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    let gone = there.iter().filter(|(_, count)| **count == 0);
    let gone: Vec<String> = gone
        .map(|(label, _)| format!("{SOURCE_UP}{{source=\"{label}\"}} "))
        .collect();
    if gone.is_empty() {
        return text;
    }
    let lines = text.split_inclusive('\n');
    let kept = lines.filter(|line| !gone.iter().any(|series| line.starts_with(series)));
    kept.collect()
}

/// Whether a source that somebody registered works. One of an organisation whose names are not for
/// those who watch the machine is counted with all of its like.
pub fn source_up(org: &OrgId, source: &str, up: bool) {
    static DOWN: Mutex<BTreeSet<(OrgId, String)>> = Mutex::new(BTreeSet::new());
    recorder();
    if *org == OrgId::default() {
        let label = source_label(org, source);
        gauge!(SOURCE_UP, "source" => label).set(if up { 1.0 } else { 0.0 });
        return;
    }
    let mut down = DOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let named = (org.clone(), source.to_owned());
    match up {
        true => down.remove(&named),
        false => down.insert(named),
    };
    gauge!(SOURCE_UP, "source" => OTHER).set(if down.is_empty() { 1.0 } else { 0.0 });
}

/// So many changes were written in one store transaction.
pub fn store_batch(changes: usize) {
    recorder();
    histogram!(STORE_BATCH).record(changes as f64);
}

/// So many records wait to be sealed.
pub fn audit_unsealed(records: u64) {
    recorder();
    gauge!(AUDIT_UNSEALED).set(records as f64);
}

/// How many proposals stand where, and how many seconds ago the oldest unsettled one was claimed.
/// Tidies the recorder as well, so it is to be told every few seconds.
pub fn standings(held: i64, unsettled: i64, oldest_unsettled_secs: i64) {
    let recorder = recorder();
    gauge!(HELD).set(held as f64);
    gauge!(IN_DOUBT).set(unsettled as f64);
    gauge!(IN_DOUBT_OLDEST).set(oldest_unsettled_secs as f64);
    recorder.handle.run_upkeep();
}

/// So many scopes of this kind are frozen.
pub fn frozen(scope: FreezeScope, count: usize) {
    recorder();
    gauge!(FROZEN, "scope" => scope.name()).set(count as f64);
}

/// Since the process began to count.
pub fn uptime() -> Duration {
    recorder().started.elapsed()
}

/// Every metric as Prometheus text.
pub fn render() -> String {
    let recorder = recorder();
    gauge!(UPTIME).set(recorder.started.elapsed().as_secs_f64());
    present(recorder.handle.render())
}

struct Recorder {
    handle: PrometheusHandle,
    started: Instant,
}

/// Installs the recorder, so that what others count under a name of [`METRICS`] is kept from now
/// on.
pub(super) fn install() {
    recorder();
}

/// The process's recorder, installed on first use.
fn recorder() -> &'static Recorder {
    static RECORDER: OnceLock<Recorder> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let built = with_buckets().unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = built.build_recorder();
        let handle = recorder.handle();
        // Only a second recorder in one process fails; then the first one keeps counting.
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder was there first");
        }
        describe();
        start_at_zero();
        Recorder {
            handle,
            started: Instant::now(),
        }
    })
}

fn with_buckets() -> Result<PrometheusBuilder, BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(full(DECISION_SECONDS), DECISION_BUCKETS)?
        .set_buckets_for_metric(full(COMMIT_SECONDS), COMMIT_BUCKETS)?
        .set_buckets_for_metric(full(INVOCATION_SECONDS), COMMIT_BUCKETS)?
        .set_buckets_for_metric(full(REQUEST_SECONDS), ANSWER_BUCKETS)?
        .set_buckets_for_metric(full(FIRST_TOKEN), ANSWER_BUCKETS)?
        .set_buckets_for_metric(full(SHADOWS), SHARE_BUCKETS)?
        .set_buckets_for_metric(full(STORE_BATCH), BATCH_BUCKETS)
}

fn describe() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
}

fn start_at_zero() {
    for name in [HELD, IN_DOUBT, IN_DOUBT_OLDEST, AUDIT_UNSEALED, UPTIME] {
        gauge!(name).set(0.0);
    }
    for scope in FreezeScope::ALL {
        gauge!(FROZEN, "scope" => scope.name()).set(0.0);
    }
    let allowed = Reason::PolicyOk.code();
    counter!(DECISIONS, "decision" => Decision::Approved.name(), "reason" => allowed).absolute(0);
    for decision in [Decision::Approved, Decision::Held, Decision::Rejected] {
        counter!(AMOUNT, "decision" => decision.name(), "currency" => "INR").absolute(0);
    }
    for (outcome, reason) in [
        ("executed", ""),
        ("failed", "provider_refused"),
        ("in_doubt", ""),
    ] {
        counter!(COMMITS, "outcome" => outcome, "reason" => reason).absolute(0);
    }
    for refusal in Refusal::ALL {
        let reason = refusal.code();
        counter!(COMMITS, "outcome" => "refused", "reason" => reason).absolute(0);
    }
    let by_result = [
        (BUDGET_CHECKS, labels(BudgetCheck::ALL, BudgetCheck::label)),
        (
            REPUTATION_CHECKS,
            labels(ReputationCheck::ALL, ReputationCheck::label),
        ),
        (RATE_CHECKS, labels(RateCheck::ALL, RateCheck::label)),
        (WEBHOOKS, labels(WebhookResult::ALL, WebhookResult::label)),
    ];
    for (name, results) in by_result {
        for result in results {
            counter!(name, "result" => result).absolute(0);
        }
    }
    for channel in Channel::ALL {
        for result in Delivery::ALL {
            let (channel, result) = (channel.label(), result.label());
            counter!(NOTIFICATIONS, "channel" => channel, "result" => result).absolute(0);
        }
    }
    for allowed in [true, false] {
        counter!(ACCESS, "decision" => access_label(allowed)).absolute(0);
    }
    counter!(MASKED).absolute(0);
    counter!(TAINTED).absolute(0);
    // There is no tool yet that could have been called.
    counter!(INVOCATIONS, "tool" => "", "kind" => "builtin", "outcome" => "ok").absolute(0);
    for step in CallStep::ALL {
        let _ = histogram!(INVOCATION_SECONDS, "kind" => "builtin", "step" => step.label());
    }
    counter!(POLLS).absolute(0);
    counter!(POLLED_PAYOUTS).absolute(0);
    counter!(SETTLED_ABOVE).absolute(0);
    super::models::start_at_zero();
    // Histograms exist once they are named; they count nothing yet.
    let _ = (histogram!(DECISION_SECONDS), histogram!(STORE_BATCH));
    for phase in Phase::ALL {
        let _ = histogram!(COMMIT_SECONDS, "phase" => phase.label());
    }
}

fn labels<T: Copy>(all: &[T], label: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|one| label(*one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_there_from_the_start() {
        let text = render();
        for metric in METRICS {
            let typed = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
            };
            // A gauge of a breaker or of a source appears with it.
            if metric.name == BREAKER || metric.name == SOURCE_UP {
                continue;
            }
            let line = format!("# TYPE {} {typed}", metric.name);
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_source_that_is_gone_is_told_of_no_more() {
        let org = OrgId::default();
        let told = || render().contains("hundi_source_up{source=\"default/passing\"}");
        source_made(&org, "passing");
        // Replaced: the next one is there before the first is gone.
        source_made(&org, "passing");
        source_gone(&org, "passing");
        assert!(told());
        source_up(&org, "passing", false);
        source_gone(&org, "passing");
        assert!(!told(), "{}", render());
        source_made(&org, "passing");
        assert!(told());
    }

    #[test]
    fn an_event_counts_under_its_labels() {
        breaker("test", Breaker::Open);
        committed(CommitResult::Refused(Refusal::Expired));
        store_batch(3);
        let text = render();
        assert!(
            text.contains("hundi_breaker_state{name=\"test\"} 2"),
            "{text}"
        );
        assert!(!text.contains("hundi_commits_total{outcome=\"refused\",reason=\"expired\"} 0"));
        assert!(
            text.contains("hundi_store_batch_size_bucket{le=\"4\"}"),
            "{text}"
        );
    }
}
