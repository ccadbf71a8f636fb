//! What the organisation's own books say of an agent: its policy and what is frozen. Every decision
//! begins with it, whatever the subject.

use serde::Deserialize;

use super::{Core, Trouble};
use crate::domain::change::{DocKey, Guard};
use crate::domain::facts::{Fact, Freezes};
use crate::domain::ids::{AgentId, OrgId};
use crate::domain::policy::Policy;

/// Document kinds that decisions are based on.
const POLICY: &str = "policy";
const FREEZE: &str = "freeze";

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
        let store = self.ports().store.as_ref();
        let key = DocKey::new(POLICY, org, agent.as_str());
        let (policy, policy_guard) = self.memory().doc(store, key).await?;
        let key = DocKey::new(FREEZE, org, "state");
        let (freeze, freeze_guard) = self.memory().doc(store, key).await?;
        // A document that does not read is missing, not absent: fail closed.
        let freezes = match freeze.map(|doc| Freezes::deserialize(&doc.body)) {
            None => Fact::Known(Freezes::default()),
            Some(Ok(freezes)) => Fact::Known(freezes),
            Some(Err(_)) => Fact::Missing,
        };
        let policy_version = policy.as_ref().map(|doc| doc.version);
        let policy = match policy.map(|doc| Option::<Policy>::deserialize(&doc.body)) {
            None => Fact::Known(None),
            // One that was taken away is an empty version.
            Some(Ok(policy)) => Fact::Known(policy),
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
