//! What happens, in order: one folder per subject, one file per use case.
//!
//! The doors (`entry`) hand in a [`Principal`](crate::domain::principal::Principal) and a request
//! and get a value back. Nothing here knows HTTP, MCP or SQL: the broker sees ports.
//!
//! Each subject is a handle of its own over a small core, and may call those above it in this list
//! and no other, so that no circle is possible:
//!
//! | subject | is about |
//! | --- | --- |
//! | `core` | ports, settings, memory, who has taken how much |
//! | `audit` | the log, its seals and proofs |
//! | `access` | keys and who they belong to, access rules |
//! | `tools` | the catalogue, upstream servers, calls that pass through |
//! | `pay` | proposals, policies, budgets, payees, people who decide |
//! | `bank` | webhooks, polling, payouts that others made |
//! | `requests` | requests to models: taken on, queued, routed, answered, paid |
//!
//! What one must tell another that stands below it goes as a document with its own change, and the
//! other's duty picks it up.

pub mod access;
pub mod audit;
pub mod bank;
pub mod core;
pub mod pay;
pub mod requests;
pub mod tools;

use std::ops::Deref;
use std::sync::Arc;

pub use self::core::{
    BankSettings, CommitRequest, Committed, FoundSecret, Keys, ListRequest, MAX_AWAIT, ModelPorts,
    NoAnswer, Ntfy, People, Ports, ProposeRequest, Proposed, RecordFilter, Sampler, SealedToken,
    Settings, Slack, StoredRecord, Trouble, Word,
};
use crate::domain::tool::Tool;

/// The broker: every subject's handle. Cheap to clone.
#[derive(Clone)]
pub struct Broker(Arc<Handles>);

/// The handles, each built over those before it.
pub struct Handles {
    /// Ports, settings, memory.
    pub core: core::Core,
    /// The log.
    pub audit: audit::Audit,
    /// Keys.
    pub access: access::Access,
    /// The catalogue.
    pub tools: tools::Tools,
    /// Proposals.
    pub pay: pay::Pay,
    /// The bank's side.
    pub bank: bank::Bank,
    /// Requests to models.
    pub requests: requests::Requests,
}

impl Deref for Broker {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0
    }
}

/// What belongs to no subject is the broker's own.
impl Deref for Handles {
    type Target = core::Core;

    fn deref(&self) -> &core::Core {
        &self.core
    }
}

impl Broker {
    /// A broker over these ports, knowing these tools. Brokers that are given the same `Arc<Tool>`
    /// share its compiled schema.
    pub fn new(
        ports: Ports,
        settings: Settings,
        tools: impl IntoIterator<Item = impl Into<Arc<Tool>>>,
    ) -> Self {
        let core = core::Core::new(ports, settings);
        let audit = audit::Audit::new(core.clone());
        let access = access::Access::new(core.clone());
        let tools = tools::Tools::new(core.clone(), audit.clone(), access.clone(), tools);
        let pay = pay::Pay::new(core.clone(), audit.clone(), access.clone(), tools.clone());
        let bank = bank::Bank::new(core.clone(), audit.clone(), pay.clone());
        let requests = requests::Requests::new(core.clone(), audit.clone());
        Self(Arc::new(Handles {
            core,
            audit,
            access,
            tools,
            pay,
            bank,
            requests,
        }))
    }
}
