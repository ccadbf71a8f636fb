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
//! | `search` | documents that people keep, and finding passages of them |
//!
//! What one must tell another that stands below it goes as a document with its own change, and the
//! other's duty picks it up.

pub mod access;
pub mod audit;
pub mod bank;
pub mod core;
pub mod pay;
pub mod requests;
pub mod search;
pub mod tools;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::json;

pub use self::core::{
    BankSettings, CommitRequest, Committed, FoundSecret, Keys, ListRequest, MAX_AWAIT, ModelPorts,
    NoAnswer, Ntfy, People, Ports, ProposeRequest, Proposed, RecordFilter, Sampler, SealedToken,
    Settings, Slack, StoredRecord, Trouble, Webhook, Word,
};
use crate::domain::access::MaskKey;
use crate::domain::audit::names::RecordKind;
use crate::domain::change::Record;
use crate::domain::document::Single;
use crate::domain::envelope::EnvelopeError;
use crate::domain::ids::OrgId;
use crate::domain::mark::Mark;
use crate::domain::principal::{Principal, Right};
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
    /// Documents that can be found.
    pub search: search::Search,
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
        let search = search::Search::new(core.clone(), requests.clone());
        Self(Arc::new(Handles {
            core,
            audit,
            access,
            tools,
            pay,
            bank,
            requests,
            search,
        }))
    }
}

/// What was put under the newest master key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewrapped {
    /// The name of that key.
    pub master: String,
    /// Secrets of sources.
    pub sources: usize,
    /// Keys of model providers.
    pub providers: usize,
    /// Keys of organisations: those of what is said to models, and of hashes.
    pub keys: usize,
}

/// The master key is of all subjects. Nothing is opened to rotate it but data keys, and that may be
/// broken off and done again at any time; once it has ended, the keys before may be taken away.
impl Broker {
    /// Puts every data key under the newest master key. For admins of the default organisation, whose
    /// the machine is.
    pub async fn rotate_master(&self, who: &Principal) -> Result<Rewrapped, Trouble> {
        if !who.may_for_all(Right::Administer) {
            return Err(core::forbidden(who));
        }
        let newest = self.ports().masters.names().next().map(str::to_owned);
        let none = || Trouble::Off(EnvelopeError::NoMaster.to_string());
        let sources = self.tools.rewrap_sources().await?;
        let (providers, said) = self.requests.rewrap().await?;
        let done = Rewrapped {
            master: newest.ok_or_else(none)?,
            sources,
            providers,
            keys: said + self.core.rewrap_all::<MaskKey>().await?,
        };
        let now = self.ports().ambient.now();
        let record = Record::new(now, &who.org, RecordKind::MasterKeyRotated, &who.id);
        let detail = json!({
            "master": done.master, "sources": done.sources,
            "providers": done.providers, "keys": done.keys,
        });
        self.audit.note(record.with(detail)).await?;
        Ok(done)
    }

    /// Refuses to serve while something is under a master key that this process was not given. What
    /// was given up (`hundi migrate --adopt`) is wanted no more.
    pub async fn masters_are_here(&self) -> Result<(), Trouble> {
        let mark = self
            .core
            .document::<Mark>(&OrgId::default(), Mark::ID)
            .await?;
        let Some(mark) = mark else {
            return Ok(());
        };
        let named = &mark.value.keys.master;
        let mut used = self.tools.masters_of_sources().await?;
        used.extend(self.requests.masters_used().await?);
        used.extend(self.core.masters_of::<MaskKey>().await?);
        let masters = &self.ports().masters;
        let lacking: BTreeSet<String> = used
            .into_iter()
            .filter(|name| named.knows(name) && !masters.has(name))
            .collect();
        match lacking.into_iter().next() {
            None => Ok(()),
            Some(key) => {
                let held = masters.names().map(str::to_owned).collect();
                Err(Trouble::Off(
                    EnvelopeError::Wanted { key, held }.to_string(),
                ))
            }
        }
    }
}
