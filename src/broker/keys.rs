//! API keys: `hk_<id>_<secret>`, stored hashed, shown once.

use super::{Broker, Trouble};
use crate::domain::ids::AgentId;
use crate::domain::principal::{Principal, Role};
use crate::domain::time::Timestamp;

/// A key without its secret.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyInfo {
    /// Its public half.
    pub id: String,
    /// What its holder may do.
    pub role: Role,
    /// What its keeper calls it.
    pub name: String,
    /// The agent it acts as, for role `agent`.
    pub agent_id: Option<AgentId>,
    /// The Slack user it is mapped to.
    pub slack_user: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Broker {
    /// Makes a key and returns it with the text that is never shown again.
    pub async fn create_key(
        &self,
        who: &Principal,
        role: Role,
        name: &str,
        slack_user: Option<&str>,
    ) -> Result<(KeyInfo, String), Trouble> {
        let _ = (who, role, name, slack_user);
        todo!()
    }

    /// Every key of the caller's organisation.
    pub async fn keys(&self, who: &Principal) -> Result<Vec<KeyInfo>, Trouble> {
        let _ = who;
        todo!()
    }

    /// Ends a key at once.
    pub async fn revoke_key(&self, who: &Principal, id: &str) -> Result<KeyInfo, Trouble> {
        let _ = (who, id);
        todo!()
    }

    /// The principal behind a bearer text, compared in constant time.
    pub async fn authenticate(&self, bearer: &str) -> Result<Principal, Trouble> {
        let _ = bearer;
        todo!()
    }
}
