//! What the organisation's own books say of an agent: its policy and what is frozen. Every decision
//! begins with it, whatever the subject.

use super::{Core, Trouble};
use crate::domain::change::Guard;
use crate::domain::document::Single;
use crate::domain::facts::{Fact, Freezes};
use crate::domain::ids::{AgentId, OrgId};
use crate::domain::policy::Policy;

/// What the organisation's own books say, and the guards that hold a decision to it.
pub(in crate::broker) struct Local {
    pub(in crate::broker) freezes: Fact<Freezes>,
    pub(in crate::broker) policy: Fact<Option<Policy>>,
    pub(in crate::broker) policy_version: Option<u64>,
    pub(in crate::broker) guards: Vec<Guard>,
}

impl Core {
    /// Freezes and policy, from memory where that is not stale.
    pub(in crate::broker) async fn local_facts(
        &self,
        org: &OrgId,
        agent: &AgentId,
    ) -> Result<Local, Trouble> {
        let (policy, policy_guard) = self.remembered::<Option<Policy>>(org, agent).await?;
        let (freezes, freeze_guard) = self.remembered::<Freezes>(org, Freezes::ID).await?;
        // A document that does not read is missing, not absent: fail closed.
        let freezes = match freezes {
            None => Fact::Known(Freezes::default()),
            Some(Ok(stored)) => Fact::Known(stored.value),
            Some(Err(_)) => Fact::Missing,
        };
        let policy_version = policy.as_ref().map(|_| policy_guard.version);
        let policy = match policy {
            None => Fact::Known(None),
            // One that was taken away is an empty version.
            Some(Ok(stored)) => Fact::Known(stored.value),
            Some(Err(_)) => Fact::Missing,
        };
        let guards = vec![policy_guard, freeze_guard];
        Ok(Local {
            freezes,
            policy,
            policy_version,
            guards,
        })
    }
}
