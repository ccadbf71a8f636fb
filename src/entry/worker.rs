//! The clock as a door: duties that run again and again, each in a task of its own.
//!
//! Every duty may run on several nodes at once, because the store arbitrates. A duty that fails is
//! tried again at its next turn, and says so once, not at every turn.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::broker::{Broker, Trouble};

/// What one turn of a duty gives back.
pub type Turn = Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send>>;

/// One row of the table: what, how often.
pub struct Duty {
    /// For logs.
    pub name: &'static str,
    /// Pause between two turns.
    pub every: Duration,
    /// One turn.
    pub turn: Box<dyn Fn(Broker) -> Turn + Send>,
}

impl Duty {
    /// A row.
    pub fn new<F>(
        name: &'static str,
        every: Duration,
        turn: impl Fn(Broker) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), Trouble>> + Send + 'static,
    {
        Self {
            name,
            every,
            turn: Box::new(move |broker| Box::pin(turn(broker))),
        }
    }
}

/// Attempts looked at per turn; the next turn takes the rest.
const RECONCILE_BATCH: u32 = 64;
/// Proposals expired per turn.
const LAPSE_BATCH: u32 = 500;
/// Nonces forgotten per turn: small enough never to hold the writer for long.
const PRUNE_BATCH: u32 = 2_000;

/// The duties that every broker has.
pub fn duties() -> Vec<Duty> {
    let millis = Duration::from_millis;
    vec![
        Duty::new("reconcile", millis(500), |broker| async move {
            broker.pay.reconcile(RECONCILE_BATCH).await.map(drop)
        }),
        Duty::new("lapse", millis(500), |broker| async move {
            broker.pay.lapse(LAPSE_BATCH).await.map(drop)
        }),
        Duty::new("refresh", millis(250), |broker| async move {
            broker.refresh().await
        }),
        Duty::new("rules", millis(250), |broker| async move {
            broker.access.look_at_rules().await
        }),
        // A record has to be sealed within a second. Far more often than that: what has gathered is
        // then little, and the commits beside it do not wait for a core.
        Duty::new("seal", millis(50), |broker| async move {
            broker.audit.seal_in_turn().await.map(drop)
        }),
        Duty::new("tools", millis(250), |broker| async move {
            broker.tools.tend_tools_in_turn().await
        }),
        Duty::new("webhooks", millis(200), |broker| async move {
            broker.bank.work_webhooks().await.map(drop)
        }),
        Duty::new("withdrawn", millis(250), |broker| async move {
            broker.bank.work_withdrawn().await.map(drop)
        }),
        Duty::new("cases", millis(500), |broker| async move {
            broker.bank.work_cases().await.map(drop)
        }),
        Duty::new("errands", millis(2_000), |broker| async move {
            broker.pay.work_errands().await.map(drop)
        }),
        Duty::new("poll", millis(1_000), |broker| async move {
            broker.bank.poll_if_due().await
        }),
        Duty::new("spool", millis(2_000), |broker| async move {
            broker.audit.import_spool().await.map(drop)
        }),
        Duty::new("deliver", millis(500), |broker| async move {
            broker.pay.deliver().await.map(drop)
        }),
        Duty::new("refusals", millis(5_000), |broker| async move {
            broker.audit.sum_refusals(false).await
        }),
        Duty::new("prune", millis(30_000), |broker| async move {
            broker.pay.prune(PRUNE_BATCH).await.map(drop)
        }),
        Duty::new("peers", millis(2_000), |broker| async move {
            broker.access.look_at_peers().await
        }),
        Duty::new("retention", millis(600_000), |broker| async move {
            broker.pay.drop_old().await.map(drop)
        }),
        Duty::new("waiting", millis(600_000), |broker| async move {
            broker.pay.forget_waiting().await
        }),
        Duty::new("requests", millis(500), |broker| async move {
            broker.requests.tend_requests().await
        }),
        Duty::new("forget", millis(600_000), |broker| async move {
            broker.requests.forget_old().await
        }),
        Duty::new("vectors", millis(60_000), |broker| async move {
            broker.search.tend_vectors().await
        }),
        Duty::new("gauges", millis(5_000), |broker| async move {
            broker.pay.gauges().await
        }),
    ]
}

/// The duties of a process that answers requests and nothing else.
pub fn duties_of_requests() -> Vec<Duty> {
    let ours = ["refresh", "requests"];
    let all = duties().into_iter();
    all.filter(|duty| ours.contains(&duty.name)).collect()
}

/// What is done once, when everything else is up: a failure leaves it to the duties.
pub async fn begin(broker: Broker) {
    match broker.pay.ask_at_start().await {
        Ok(0) => {}
        Ok(settled) => tracing::info!(settled, "settled what the process before left open"),
        Err(error) => tracing::warn!(%error, "what was left open is not asked about yet"),
    }
}

/// Runs all duties until `stop` says true; then each ends after its present turn.
pub async fn run(broker: Broker, duties: Vec<Duty>, stop: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    for duty in duties {
        tasks.spawn(keep(broker.clone(), duty, stop.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a duty ended abnormally");
        }
    }
}

async fn keep(broker: Broker, duty: Duty, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(duty.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = stop.changed() => {
                if changed.is_err() || *stop.borrow() { return; }
                continue;
            }
        }
        match (duty.turn)(broker.clone()).await {
            Ok(()) if failing => {
                failing = false;
                tracing::info!(duty = duty.name, "works again");
            }
            Ok(()) => {}
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(duty = duty.name, %error, "failed; trying again");
            }
            Err(_) => {}
        }
    }
}
