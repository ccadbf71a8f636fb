//! The owner of a running server: whoever can read the private file that it keeps in its data folder.
//!
//! The text in it is made anew at each start, lives in the memory of this process alone and opens
//! what the data folder's owner could open anyway. It is no API key: no list shows it, nothing is
//! stored of it, and no other node takes it.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Access;
use crate::domain::ids::{AgentId, OrgId, hex};
use crate::domain::principal::{Principal, Role};
use crate::domain::secret::Secret;

/// What a text begins with that is the owner's. No key is called so: their ids are hex.
pub(super) const PREFIX: &str = "hk_owner_";

impl Access {
    /// The text that opens this broker to its owner, the same each time.
    pub fn owners_key(&self) -> Secret {
        let made = || format!("{PREFIX}{}", hex(&self.ports().ambient.bytes::<32>()));
        self.owner.get_or_init(|| Secret::new(made())).clone()
    }

    /// The owner, if this is the owner's text; an agent in its place where `@` names one.
    pub(super) fn owner(&self, bearer: &str) -> Option<Principal> {
        let (text, agent) = match bearer.split_once('@') {
            Some((text, agent)) => (text, Some(agent)),
            None => (bearer, None),
        };
        let own = self.owner.get()?;
        let [given, own] = [text, own.expose()].map(|text| Sha256::digest(text.as_bytes()));
        if !bool::from(given.as_slice().ct_eq(own.as_slice())) {
            return None;
        }
        match agent {
            Some(agent) => self.owner_as(agent),
            None => Some(owner()),
        }
    }

    /// What the data folder's owner does in an agent's place, as a client on stdio does. Nobody acts
    /// as the agent of payouts that others make at the bank, the owner neither.
    pub fn owner_as(&self, agent: &str) -> Option<Principal> {
        let agent: AgentId = agent.parse().ok()?;
        (!self.is_bank_agent(agent.as_str())).then(|| Principal {
            id: format!("cli:{agent}"),
            name: agent.to_string(),
            roles: Role::Agent.into(),
            agent: Some(agent),
            ..owner()
        })
    }
}

/// Whoever owns the data folder.
pub fn owner() -> Principal {
    Principal {
        id: "cli:local".to_owned(),
        name: "the command line".to_owned(),
        org: OrgId::default(),
        roles: Role::Admin.into(),
        agent: None,
        person: None,
        server: None,
    }
}
