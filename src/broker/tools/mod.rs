//! Which tools there are: the catalogue, what upstreams offer and operators accept, and calls of
//! low-risk tools.

mod accept;
pub mod addressed;
pub mod admit;
pub mod catalogue;
pub mod check;
mod effects;
mod hide;
pub mod import;
pub mod invoke;
mod listing;
mod naming;
mod offer;
pub(in crate::broker) mod pace;
pub mod registry;
mod servers;
pub mod sources;
mod taint;
pub mod traces;
pub mod trial;
pub mod watch;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::broker::access::Access;
use crate::broker::audit::Audit;
use crate::broker::core::Core;
use crate::broker::core::Trouble;
use crate::connector::Connector;
use crate::connector::registered::AtSource;
use crate::connector::registry::connector_for;
use crate::domain::proposal::Proposal;
use crate::domain::tool::{Standing, Tool};
use crate::wire::Sources;

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Tools(Arc<Parts>);

/// What a [`Tools`] stands on, and what it keeps.
pub struct Parts {
    core: Core,
    audit: Audit,
    access: Access,
    catalogue: catalogue::Catalogue,
    tending: watch::Tending,
    refused: traces::Refused,
    /// One more than the version of all documents at which the registry was read.
    registry_seen: AtomicU64,
    /// The versions of what the catalogue and the wire were given last.
    registry_known: tokio::sync::Mutex<registry::Known>,
}

impl Deref for Tools {
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

impl Tools {
    /// Over these.
    pub(in crate::broker) fn new(
        core: Core,
        audit: Audit,
        access: Access,
        tools: impl IntoIterator<Item = impl Into<Arc<Tool>>>,
    ) -> Self {
        let holders = core.settings().bank.holders.clone();
        let catalogue = catalogue::Catalogue::held_by(holders);
        let named = tools.into_iter().map(|tool| {
            let tool: Arc<Tool> = tool.into();
            (tool.name.to_string(), tool)
        });
        catalogue.replace(named.collect());
        let upstreams = core.settings().upstreams.keys();
        let tending = watch::Tending::new(core.ports().wire.as_ref(), upstreams);
        Self(Arc::new(Parts {
            core,
            audit,
            access,
            catalogue,
            tending,
            refused: traces::Refused::default(),
            registry_seen: AtomicU64::new(0),
            registry_known: tokio::sync::Mutex::default(),
        }))
    }

    /// The tools it knows.
    pub fn catalogue(&self) -> &catalogue::Catalogue {
        &self.catalogue
    }

    fn source_wire(&self) -> Result<&dyn Sources, Trouble> {
        let off = || Trouble::Off("this process opens no sources".to_owned());
        self.ports().sources.as_deref().ok_or_else(off)
    }

    fn tending(&self) -> &watch::Tending {
        &self.tending
    }

    pub(in crate::broker) fn connector(&self, tool: &Tool) -> Arc<dyn Connector> {
        connector_for(tool)
    }

    /// The connector of what an attempt sent, which reads its answer and asks about it. What went to
    /// a registered source is read as the tool was then; the rest by the tool as it is now, so
    /// `None` if that one left the catalogue.
    pub(in crate::broker) fn sent_by(&self, proposal: &Proposal) -> Option<Arc<dyn Connector>> {
        let call = proposal.execution.as_ref().map(|execution| &execution.call);
        if let Some(sent) = call.and_then(AtSource::sent) {
            return Some(Arc::new(sent));
        }
        Some(self.connector(&*self.tool_of(proposal)?))
    }

    /// Whether a tool may be used now, and why not.
    pub(in crate::broker) fn usable(&self, tool: &Tool) -> Result<(), Trouble> {
        let name = || tool.name.to_string();
        match tool.standing {
            Standing::Accepted => Ok(()),
            Standing::New | Standing::Changed | Standing::Gone => {
                Err(Trouble::ToolQuarantined(name()))
            }
            Standing::Away => Err(Trouble::UpstreamUnavailable(name())),
            Standing::Disabled => Err(Trouble::ToolDisabled(name())),
            Standing::Unusable => Err(Trouble::ToolUnusable(name())),
        }
    }

    /// The tool that an attempt was made with: the one its call went to, whatever is called like
    /// that now. `None` if that one left the catalogue.
    pub(in crate::broker) fn tool_of(&self, proposal: &Proposal) -> Option<Arc<Tool>> {
        let name = proposal.fixed.tool.as_str();
        let named = self.catalogue().get(&proposal.fixed.org, name);
        let Some(call) = proposal.execution.as_ref().map(|execution| &execution.call) else {
            return named;
        };
        // What was sent to the bank is found out, though its organisation may send no more.
        let named = named.or_else(|| self.catalogue().shared(name));
        let named = named.filter(|tool| catalogue::is_of(tool, call));
        named.or_else(|| self.catalogue().reached_by(&proposal.fixed.org, call))
    }
}
