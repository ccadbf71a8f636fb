//! What governs whoever asks: freezes, and the limits of his policy. What cannot be read stops
//! everything.

use super::Requests;
use crate::broker::core::Trouble;
use crate::domain::change::Guard;
use crate::domain::facts::{Fact, FreezeScope, Freezes};
use crate::domain::ids::{AgentId, OrgId};
use crate::domain::requests::spent::LlmLimits;

/// What governs a request, and the guards that hold a decision to it.
pub(super) struct Mandate {
    pub limits: LlmLimits,
    pub guards: Vec<Guard>,
}

impl Requests {
    /// Freezes and limits. What cannot be read stops everything.
    pub(super) async fn mandate(&self, org: &OrgId, owner: &AgentId) -> Result<Mandate, Trouble> {
        let local = self.local_facts(org, owner).await?;
        let freezes = known(local.freezes)?;
        if let Some(trouble) = frozen(&freezes, owner) {
            return Err(trouble);
        }
        let policy = known(local.policy)?;
        let now = self.ports().ambient.now();
        let limits = match policy {
            Some(policy) if !policy.in_force(now) => {
                return Err(Trouble::BudgetExceeded(
                    "the policy of this agent is not in force, and nothing may be spent under it"
                        .to_owned(),
                ));
            }
            Some(policy) => policy.llm.unwrap_or_default(),
            None => LlmLimits::default(),
        };
        Ok(Mandate {
            limits,
            guards: local.guards,
        })
    }
}

fn known<T>(fact: Fact<T>) -> Result<T, Trouble> {
    match fact {
        Fact::Known(value) => Ok(value),
        Fact::Missing => Err(Trouble::StoreUnavailable),
    }
}

fn frozen(freezes: &Freezes, owner: &AgentId) -> Option<Trouble> {
    let hit = freezes.0.iter().find(|freeze| match freeze.scope {
        FreezeScope::All => true,
        FreezeScope::Agent => freeze.id.as_deref().is_none_or(|id| id == owner.as_str()),
        FreezeScope::Tool | FreezeScope::Vendor | FreezeScope::Server => freeze.id.is_none(),
    })?;
    Some(Trouble::Frozen(hit.reason.clone()))
}
