//! What the broker is made of, as traits: whoever composes it hands these in.

use std::sync::Arc;

use serde_json::Value;

use crate::ambient::Ambient;
use crate::domain::audit::AuditKey;
use crate::domain::envelope::Masters;
use crate::domain::ids::ToolName;
use crate::domain::token::KeyRing;
use crate::ephemeral::Ephemeral;
use crate::store::requests::RequestStore;
use crate::store::search::SearchStore;
use crate::store::{Spool, Store};
use crate::wire::model::Models;
use crate::wire::{EntitySource, IssuerDocument, Outbound, ReputationSource, Sources, Wire};

/// Where the token keys are kept. The ring is read anew whenever it changed, so that a key
/// retired by another process is refused at once.
pub trait Keys: Send + Sync {
    /// The ring as it is now.
    fn ring(&self) -> Arc<KeyRing>;
}

/// A model that answers a prompt twice, so that its answers can be compared.
#[async_trait::async_trait]
pub trait Sampler: Send + Sync {
    /// Two independent answers, or why there are none.
    async fn samples(
        &self,
        tool: &ToolName,
        args: &Value,
        prompt: Option<&str>,
    ) -> Result<Vec<String>, String>;
}

/// What requests to models need besides.
#[derive(Clone)]
pub struct ModelPorts {
    /// Reads what is remembered of them.
    pub store: Arc<dyn RequestStore>,
    /// Finds passages of documents.
    pub search: Arc<dyn SearchStore>,
    /// Reaches providers.
    pub wire: Arc<dyn Models>,
}

/// What the broker is made of.
#[derive(Clone)]
pub struct Ports {
    /// Clock and randomness.
    pub ambient: Ambient,
    /// The one truth.
    pub store: Arc<dyn Store>,
    /// What may be forgotten.
    pub ephemeral: Arc<dyn Ephemeral>,
    /// What reaches outward.
    pub wire: Arc<dyn Wire>,
    /// Token keys.
    pub keys: Arc<dyn Keys>,
    /// The broker's own model, if there is one.
    pub sampler: Option<Arc<dyn Sampler>>,
    /// Who knows about URLs, if anybody was configured.
    pub reputation: Option<Arc<dyn ReputationSource>>,
    /// Who knows about legal entities, if anybody was configured.
    pub entities: Option<Arc<dyn EntitySource>>,
    /// The issuer whose bearer tokens are taken, if one was configured.
    pub issuer: Option<Arc<dyn IssuerDocument>>,
    /// What posts to the services that tell people; `None` tells nobody.
    pub outbound: Option<Arc<dyn Outbound>>,
    /// Signs the heads of the audit log; `None` seals nothing.
    pub audit_key: Option<Arc<AuditKey>>,
    /// Opens the sources of registered tools; `None` has none.
    pub sources: Option<Arc<dyn Sources>>,
    /// Seal their secrets, the newest first; without one, none are kept.
    pub masters: Masters,
    /// Requests to models; `None` takes none.
    pub models: Option<ModelPorts>,
    /// Keeps records of refusals that the store could not take; `None` forgets them.
    pub spool: Option<Arc<dyn Spool>>,
}
