//! What every subject needs: the ports, the settings, what is remembered, and who has taken how much
//! of the house. It knows no subject.

pub(in crate::broker) mod documents;
pub mod kept;
pub mod load;
mod local;
mod masking;
pub mod measure;
pub mod memory;
pub mod models;
pub mod pages;
pub mod places;
mod ports;
mod request;
pub(in crate::broker) mod sealed;
mod settings;
pub(in crate::broker) mod snapshot;
mod trouble;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

pub use ports::{Keys, ModelPorts, Ports, Sampler};
pub use request::{
    CommitRequest, Committed, ListRequest, MAX_AWAIT, ProposeRequest, Proposed, SealedToken, Word,
};
pub use settings::{BankSettings, Ntfy, People, Settings, Slack, Webhook};
pub use trouble::{FoundSecret, NoAnswer, Trouble};
pub(in crate::broker) use trouble::{failed, forbidden};

// The doors ask for records in the store's own words, and need no store for that.
pub use crate::store::{RecordFilter, StoredRecord};

use crate::domain::change::{Change, DocWrite};

/// What every subject stands on. Cheap to clone.
#[derive(Clone)]
pub struct Core(Arc<State>);

/// The parts of a [`Core`].
pub struct State {
    ports: Ports,
    settings: Settings,
    memory: memory::Memory,
    load: load::Load,
    places: places::Places,
    origin: OnceLock<String>,
    mask_keys: masking::MaskKeys,
}

impl Deref for Core {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Core {
    /// Over these ports.
    pub fn new(ports: Ports, settings: Settings) -> Self {
        let memory = memory::Memory::new(ports.ephemeral.clone());
        let load = load::Load::new(settings.bounds);
        let places = places::Places::new(settings.bounds.shares);
        Self(Arc::new(State {
            ports,
            settings,
            memory,
            load,
            places,
            origin: OnceLock::new(),
            mask_keys: masking::MaskKeys::default(),
        }))
    }

    /// Says under which origin browsers find the console. Known once the server listens; the first
    /// word counts.
    pub fn set_public_origin(&self, origin: &str) {
        self.origin.get_or_init(|| origin.to_owned());
    }

    /// That origin, where there is a console.
    pub fn public_origin(&self) -> Option<&str> {
        self.origin.get().map(String::as_str)
    }

    /// The ports it was built from.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Who has taken how much of the house.
    pub fn places(&self) -> &places::Places {
        &self.places
    }

    pub(in crate::broker) fn load(&self) -> &load::Load {
        &self.load
    }

    pub(in crate::broker) fn memory(&self) -> &memory::Memory {
        &self.memory
    }

    /// Writes documents alone, all or none.
    pub(in crate::broker) async fn write(&self, docs: Vec<DocWrite>) -> Result<(), Trouble> {
        let change = Change::documents(docs, Vec::new(), Vec::new(), Vec::new());
        self.ports().store.apply(change).await.map_err(failed)?;
        Ok(())
    }
}
