//! How requests to models behave where nobody says otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::requests::provider::Provider;
use crate::domain::secret::Secret;
use crate::governance::routing::Route;
use crate::governance::secrets::judge::{Exception, Mode};

/// What an unknown price means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnUnknownPrice {
    /// The model is not asked.
    #[default]
    Refuse,
    /// It costs nothing.
    Free,
    /// It costs as much as the dearest that is known.
    Ceiling,
}

/// Settings of requests to models.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// Providers of the configuration, for every organisation.
    pub providers: Vec<Configured>,
    /// Organisations whose own providers may be in the private networks that the configuration allows.
    pub private_orgs: Vec<String>,
    /// The sandbox's model, in sandbox mode: asked only while no provider is configured.
    pub sandbox: Option<Provider>,
    /// Which models a task goes to.
    pub routes: BTreeMap<String, Route>,
    /// What an unknown price means.
    pub on_unknown_price: OnUnknownPrice,
    /// What is done about secrets.
    pub secrets: Mode,
    /// What is not one.
    pub exceptions: Vec<Exception>,
    /// Agents may write documents.
    pub agents_write: bool,
    /// The model whose vectors documents are found by as well.
    pub embedding_model: Option<String>,
    /// The model that puts in order what was found.
    pub rerank_model: Option<String>,
    /// How long whoever works on a request holds it without a word.
    pub lease: Duration,
    /// Waiting so long is worth ten points of priority.
    pub ageing: Duration,
    /// Percent of what is in hand that one organisation may have while others wait.
    pub share_percent: u8,
    /// Requests of the queue worked on at once by this process.
    pub workers: usize,
    /// How often the queue is looked at when nothing wakes a worker.
    pub poll: Duration,
    /// Requests that may wait.
    pub max_queue: u64,
    /// Days for which what was said is kept.
    pub keep_days: u32,
    /// Longest until an answer begins.
    pub first_byte: Duration,
    /// Longest between two pieces of it.
    pub stall: Duration,
    /// Longest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Failures in a row that open a breaker.
    pub breaker_failures: u32,
    /// How long it stays open.
    pub breaker_open: Duration,
}

/// A provider of the configuration, with its key.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The provider.
    pub provider: Provider,
    /// Its key; `None` where it needs none.
    pub key: Option<Secret>,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            private_orgs: Vec::new(),
            sandbox: None,
            routes: BTreeMap::new(),
            on_unknown_price: OnUnknownPrice::Refuse,
            secrets: Mode::Block,
            exceptions: Vec::new(),
            agents_write: false,
            embedding_model: None,
            rerank_model: None,
            lease: Duration::from_secs(30),
            ageing: Duration::from_secs(60),
            share_percent: 50,
            workers: 4,
            poll: Duration::from_millis(500),
            max_queue: 10_000,
            keep_days: 30,
            first_byte: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            max_body_bytes: 16 << 20,
            breaker_failures: 5,
            breaker_open: Duration::from_secs(30),
        }
    }
}
