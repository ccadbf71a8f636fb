//! Requests to models: taken on, queued, routed, answered piece by piece, and paid.
//!
//! The store holds the truth: where a request stands (a document whose version is its fencing
//! token), what was said (sealed), what it cost. What is measured of providers is this process's own
//! and may be forgotten.

mod accept;
mod figures;
mod health;
mod keys;
mod ledger;
mod mandate;
mod offers;
mod prices;
mod providers;
mod queue;
mod read;
mod run;
mod sampling;
mod screen;
mod shadow;
mod standing;
mod usage;
mod weight;

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use accept::{Asked, Conversation};
pub use health::{ModelStanding, Standing};
pub use offers::ModelView;
pub use prices::{PriceTable, PriceView};
pub use providers::{NewProvider, Pinged, ProviderView};
pub use read::{Answered, ListRequests, RequestPage, RequestView};
pub use run::{Done, Told};
pub use screen::Screened;
pub use standing::QueueView;
pub use usage::{AskUsage, By, Sum};
pub use weight::Weight;

use crate::broker::audit::Audit;
use crate::broker::core::models::ModelSettings;
use crate::broker::core::{Core, ModelPorts, Trouble};
use crate::domain::ids::{AgentId, OrgId, RequestId};
use crate::domain::principal::Principal;
use crate::domain::requests::request::{Open, Request};
use crate::domain::requests::rows::{Beside, Entry};
use crate::domain::time::Timestamp;
use crate::store::requests::Depth;
use crate::telemetry::models;

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Requests(Arc<Parts>);

/// What a [`Requests`] stands on, and what it keeps.
pub struct Parts {
    core: Core,
    audit: Audit,
    health: health::Health,
    keys: keys::Keys,
    running: Mutex<HashMap<RequestId, CancellationToken>>,
    tasks: TaskTracker,
    scales: weight::Scales,
    /// Wakes whoever claims, when something was queued here.
    woken: Notify,
    /// Tells which request something was told of here.
    news: broadcast::Sender<RequestId>,
    /// What was read of registered providers.
    entries: Mutex<HashMap<OrgId, providers::Fresh>>,
    /// What was read of the imported prices.
    prices: Mutex<prices::Known>,
    /// Priorities that the gauges showed last.
    depths: Mutex<BTreeSet<u8>>,
}

/// News that a slow listener may lag behind before he has to read the store himself.
const NEWS: usize = 1_024;

impl Deref for Requests {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Every subject reaches the core as its own.
impl Deref for Parts {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl Requests {
    /// Over these.
    pub(in crate::broker) fn new(core: Core, audit: Audit) -> Self {
        let settings = &core.settings().models;
        let health = health::Health::new(settings.breaker_failures, settings.breaker_open);
        Self(Arc::new(Parts {
            core,
            audit,
            health,
            keys: keys::Keys::default(),
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            scales: weight::Scales::default(),
            woken: Notify::new(),
            news: broadcast::channel(NEWS).0,
            entries: Mutex::default(),
            prices: Mutex::default(),
            depths: Mutex::default(),
        }))
    }

    /// How requests behave here.
    pub fn model_settings(&self) -> &ModelSettings {
        &self.settings().models
    }

    /// Requests that are answered by this process, for whoever waits for the last of them.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn model_ports(&self) -> Result<&ModelPorts, Trouble> {
        let off = || Trouble::Off("this process asks no models".to_owned());
        self.ports().models.as_ref().ok_or_else(off)
    }

    fn known_entries(&self) -> MutexGuard<'_, HashMap<OrgId, providers::Fresh>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something may be claimed now. Whoever looks already looks once more.
    fn wake(&self) {
        self.woken.notify_one();
    }

    /// Something was told of a request, or it ended.
    fn told(&self, id: RequestId) {
        // Nobody listening is the usual case.
        let _ = self.news.send(id);
    }

    /// A priority of which nothing waits any more shows so.
    fn note_depths(&self, depths: &[Depth]) {
        let now: BTreeSet<u8> = depths.iter().map(|depth| depth.priority).collect();
        let mut shown = self.depths.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.difference(&now) {
            models::queue_depth(*gone, 0);
        }
        *shown = now;
    }

    /// The row of an attempt that was held and never sent.
    fn unsent(&self, org: &OrgId, request: &Request, open: &Open, now: Timestamp) -> Beside {
        let outcome = ledger::Outcome {
            why: Some("unsent".to_owned()),
            ..ledger::Outcome::default()
        };
        let attempt = ledger::ended(open, outcome, now);
        let payer = self.payer(org, request, open.held_at);
        Beside::Entry(Box::new(Entry::settled(&payer, &attempt)))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<RequestId, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose a caller's requests are, and who pays: the agent, or what stands for one.
fn owner(who: &Principal) -> Result<AgentId, Trouble> {
    if let Some(agent) = &who.agent {
        return Ok(agent.clone());
    }
    let plain = who.id.parse();
    plain.map_err(|_| Trouble::InvalidRequest("this caller cannot own requests".to_owned()))
}

/// Whose provider it is, as far as measuring goes.
fn scope(org: Option<&OrgId>) -> &str {
    org.map_or("", OrgId::as_str)
}
