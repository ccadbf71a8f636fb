//! Who asks: a principal with one role, inside one organisation.
//!
//! What a role may do is decided here, once, for every door.

use serde::{Deserialize, Serialize};

use super::ids::{AgentId, OrgId};

/// What a principal may do at all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Proposes, commits, reads its own.
    Agent,
    /// Decides on holds.
    Approver,
    /// Reads everything.
    Auditor,
    /// Keeps policies, tools and the keys of agents.
    Operator,
    /// Everything but being an agent.
    Admin,
}

impl Role {
    /// Every role, in the order help texts list them.
    pub const ALL: [Role; 5] = [
        Role::Agent,
        Role::Approver,
        Role::Auditor,
        Role::Operator,
        Role::Admin,
    ];

    /// The role's one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Role::Agent => "agent",
            Role::Approver => "approver",
            Role::Auditor => "auditor",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// Reads a role's one spelling.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether this role may do `right`.
    pub fn may(self, right: Right) -> bool {
        match right {
            Right::Propose | Right::Commit => self == Role::Agent,
            Right::ReadOwn => true,
            Right::Decide => matches!(self, Role::Approver | Role::Admin),
            Right::ReadAll => self != Role::Agent,
            Right::Brake => matches!(self, Role::Approver | Role::Operator | Role::Admin),
            Right::Operate => matches!(self, Role::Operator | Role::Admin),
            Right::Administer => self == Role::Admin,
        }
    }
}

/// One kind of act, as the doors ask for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Propose a call.
    Propose,
    /// Commit an allowed proposal.
    Commit,
    /// Read one's own proposals and budget; every role may.
    ReadOwn,
    /// Approve or reject what is held.
    Decide,
    /// Read what belongs to others in the same organisation.
    ReadAll,
    /// Freeze what should stand still. Lifting a freeze is [`Right::Operate`].
    Brake,
    /// Change policies, tools, freezes and the keys of agents.
    Operate,
    /// Make keys of any role.
    Administer,
}

/// Somebody a door has authenticated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// Names this principal in records: `key:<id>`, `cli:local`, `slack:<user>`, `stdio:<agent>`.
    pub id: String,
    /// What its keeper calls it.
    pub name: String,
    /// Its organisation.
    pub org: OrgId,
    /// Its role.
    pub role: Role,
    /// The agent it acts as, if it is one.
    pub agent: Option<AgentId>,
}

impl Principal {
    /// Whether this principal may do `right`.
    pub fn may(&self, right: Right) -> bool {
        self.role.may(right)
    }

    /// Whether this principal may read what belongs to `agent` of `org`.
    pub fn may_read(&self, org: &OrgId, agent: &AgentId) -> bool {
        self.org == *org && (self.may(Right::ReadAll) || self.agent.as_ref() == Some(agent))
    }
}
