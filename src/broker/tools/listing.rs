//! Lists what upstreams offer, each in a task of its own: at first contact, when one says that its
//! list changed, again and again because some never say so, and after a failure until it works.
//!
//! A listing runs to its end whoever waits for it, and what it brought stays until it is looked at.
//! So nothing is lost with a caller that goes away, and a server that hangs holds up nobody but
//! itself. However often a server says that its list changed, it is asked every few seconds at
//! most.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use super::offer::Offer;
use crate::domain::upstream::UpstreamRules;
use crate::wire::Wire;

/// How long an upstream may take to list its tools. One that starts more slowly goes on starting,
/// and is asked again.
const LIST: Duration = Duration::from_secs(10);
/// Shortest pause between two listings of one upstream that nobody waits for.
const APART: Duration = Duration::from_secs(5);
/// First pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Which upstreams somebody waits for.
#[derive(Clone, Copy)]
pub(super) enum Whose<'a> {
    /// Every one.
    All,
    /// The one of this name.
    One(&'a str),
}

impl Whose<'_> {
    fn is(self, name: &str) -> bool {
        match self {
            Whose::All => true,
            Whose::One(wanted) => wanted == name,
        }
    }
}

/// What is known of what each upstream offers.
pub(super) struct Listings {
    changes: Mutex<broadcast::Receiver<String>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    upstreams: Mutex<BTreeMap<String, Listed>>,
    arrived: Notify,
}

/// One upstream's latest list.
#[derive(Clone, Default)]
pub(super) struct Listed {
    /// Counts listings, so that each is looked at once.
    pub turn: u64,
    /// What it offered when it last said; `None` if it never did.
    pub offers: Option<Arc<Vec<Arc<Offer>>>>,
    /// Why it does not say now.
    pub trouble: Option<String>,
    due: bool,
    under_way: bool,
    failures: u32,
    last: Option<Instant>,
}

impl Listed {
    fn is_ripe(&self, now: Instant, every: Duration, at_once: bool) -> bool {
        let Some(last) = self.last else {
            return true;
        };
        let pause = match self.failures {
            0 => APART,
            failures => {
                let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(8));
                doubled.min(LONGEST_PAUSE)
            }
        };
        let rested = now.duration_since(last) >= pause;
        let due = self.due || self.failures > 0;
        (due && (rested || at_once)) || now.duration_since(last) >= every
    }
}

impl Listings {
    pub(super) fn new<'a>(wire: &dyn Wire, upstreams: impl Iterator<Item = &'a String>) -> Self {
        let upstreams = upstreams.map(|name| (name.clone(), Listed::default()));
        let shared = Shared {
            upstreams: Mutex::new(upstreams.collect()),
            arrived: Notify::new(),
        };
        Self {
            changes: Mutex::new(wire.changes()),
            shared: Arc::new(shared),
        }
    }

    /// Asks every upstream whose turn it is: never asked, told that it changed, failed, or asked
    /// longer ago than `every`. Those of `at_once` do not wait for the pauses in between.
    pub(super) fn start(
        &self,
        wire: &Arc<dyn Wire>,
        rules: &BTreeMap<String, UpstreamRules>,
        every: Duration,
        at_once: Option<Whose<'_>>,
    ) {
        self.hear();
        let now = Instant::now();
        for (name, listed) in self.shared.lock().iter_mut() {
            let Some(rules) = rules.get(name) else {
                continue;
            };
            let hurried = at_once.is_some_and(|whose| whose.is(name));
            if listed.under_way || !listed.is_ripe(now, every, hurried) {
                continue;
            }
            listed.under_way = true;
            listed.due = false;
            let (shared, wire) = (self.shared.clone(), wire.clone());
            let (name, rules) = (name.clone(), rules.clone());
            tokio::spawn(async move {
                let asked = name.clone();
                let listing = async move { list(wire.as_ref(), &asked, rules).await };
                // A task within the task: whatever becomes of it, somebody notes that it is over.
                let listed = tokio::spawn(listing).await;
                let abnormal = || "listing its tools ended abnormally".to_owned();
                shared.note(&name, listed.unwrap_or_else(|_| Err(abnormal())));
            });
        }
    }

    /// Marks whatever said that it changed.
    fn hear(&self) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut upstreams = self.shared.lock();
        loop {
            match changes.try_recv() {
                Ok(name) => {
                    if let Some(listed) = upstreams.get_mut(&name) {
                        listed.due = true;
                    }
                }
                // Too many to remember who.
                Err(TryRecvError::Lagged(_)) => {
                    for listed in upstreams.values_mut() {
                        listed.due = true;
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Every upstream as it is known now.
    pub(super) fn known(&self) -> BTreeMap<String, Listed> {
        self.shared.lock().clone()
    }

    /// Whether any of them is still being asked.
    pub(super) fn under_way(&self, whose: Whose<'_>) -> bool {
        let upstreams = self.shared.lock();
        let mut theirs = upstreams.iter().filter(|(name, _)| whose.is(name));
        theirs.any(|(_, listed)| listed.under_way)
    }

    /// Resolves at the next arrival. Make it before looking whether one is still to come.
    pub(super) fn arrival(&self) -> tokio::sync::futures::Notified<'_> {
        self.shared.arrived.notified()
    }
}

impl Shared {
    fn note(&self, name: &str, result: Result<Vec<Arc<Offer>>, String>) {
        if let Some(listed) = self.lock().get_mut(name) {
            listed.under_way = false;
            listed.turn += 1;
            listed.last = Some(Instant::now());
            match result {
                Ok(offers) => {
                    if listed.failures > 0 {
                        tracing::info!(upstream = %name, "its tools are listed again");
                    }
                    listed.failures = 0;
                    listed.trouble = None;
                    listed.offers = Some(Arc::new(offers));
                }
                Err(why) => {
                    if listed.failures == 0 {
                        tracing::warn!(upstream = %name, %why, "its tools cannot be listed; trying again");
                    }
                    listed.failures = listed.failures.saturating_add(1);
                    listed.trouble = Some(why);
                }
            }
        }
        self.arrived.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Listed>> {
        self.upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn list(
    wire: &dyn Wire,
    upstream: &str,
    rules: UpstreamRules,
) -> Result<Vec<Arc<Offer>>, String> {
    let offered = wire.offered(upstream, LIST).await?;
    let name = upstream.to_owned();
    // Looking through a thousand schemas takes longer than others should wait.
    let read = tokio::task::spawn_blocking(move || Offer::read_all(&name, offered, &rules));
    read.await
        .map_err(|_| "its list could not be looked through".to_owned())
}

/// The names in a list of tools.
pub(super) fn names(offers: &[Arc<Offer>]) -> BTreeSet<&str> {
    let names = offers.iter().map(|offer| offer.definition.name.as_str());
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_is_asked_again_after_a_change_a_failure_and_a_while() {
        let minute = Duration::from_secs(60);
        let now = Instant::now() + 2 * minute;
        let ago = |secs| Some(now - Duration::from_secs(secs));
        let listed = |last, due, failures| Listed {
            due,
            failures,
            last,
            ..Listed::default()
        };
        let cases = [
            (listed(None, false, 0), true, true),
            (listed(ago(1), false, 0), false, false),
            (listed(ago(1), true, 0), false, true),
            (listed(ago(5), true, 0), true, true),
            (listed(ago(60), false, 0), true, true),
            (listed(ago(0), false, 1), false, true),
            (listed(ago(1), false, 1), true, true),
            (listed(ago(9), false, 40), false, true),
            (listed(ago(10), false, 40), true, true),
        ];
        for (n, (listed, in_turn, at_once)) in cases.iter().enumerate() {
            assert_eq!(listed.is_ripe(now, minute, false), *in_turn, "row {n}");
            assert_eq!(listed.is_ripe(now, minute, true), *at_once, "row {n}");
        }
    }
}
