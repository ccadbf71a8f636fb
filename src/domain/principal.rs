//! Who asks: a principal with roles, inside one organisation.
//!
//! What a role may do is decided here, once, for every door; and `GET /v1/roles` tells it from here.

use serde::{Deserialize, Serialize};

use super::access::Entrance;
use super::ids::{AgentId, OrgId};
use super::person::PersonId;
use super::roles::Roles;

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
    /// Keeps policies, upstream tools, payees and the keys of agents.
    Operator,
    /// Makes, changes and tests sources, tools and servers.
    Developer,
    /// Keeps access rules and masks.
    Steward,
    /// Everything but being an agent; people and organisations included.
    Admin,
}

impl Role {
    /// Every role, in the order help texts list them.
    pub const ALL: [Role; 7] = [
        Role::Agent,
        Role::Approver,
        Role::Auditor,
        Role::Operator,
        Role::Developer,
        Role::Steward,
        Role::Admin,
    ];

    /// The role's one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Role::Agent => "agent",
            Role::Approver => "approver",
            Role::Auditor => "auditor",
            Role::Operator => "operator",
            Role::Developer => "developer",
            Role::Steward => "steward",
            Role::Admin => "admin",
        }
    }

    /// What it is for, in a sentence for people.
    pub fn about(self) -> &'static str {
        match self {
            Role::Agent => "Proposes and commits within its policy, and reads its own.",
            Role::Approver => "Approves or rejects what is held, and may pull the brake.",
            Role::Auditor => "Reads everything and changes nothing.",
            Role::Operator => {
                "Keeps policies, payees, upstream tools, freezes and the keys of agents."
            }
            Role::Developer => "Makes, changes and tests sources, tools and servers.",
            Role::Steward => "Keeps access rules and masks.",
            Role::Admin => "Everything but being an agent; people and organisations included.",
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
            Right::ReadSetup => self != Role::Agent,
            Right::ReadAll => !matches!(self, Role::Agent | Role::Developer | Role::Steward),
            Right::Brake => matches!(self, Role::Approver | Role::Operator | Role::Admin),
            Right::Operate => matches!(self, Role::Operator | Role::Admin),
            Right::Develop => matches!(self, Role::Developer | Role::Admin),
            Right::Steward => matches!(self, Role::Steward | Role::Admin),
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
    /// Read how the organisation is set up: tools, sources, servers, rules, policies, who has a
    /// key. Nothing of what agents asked for.
    ReadSetup,
    /// Read what belongs to others in the same organisation, audit and proposals included.
    ReadAll,
    /// Freeze what should stand still. Lifting a freeze is [`Right::Operate`].
    Brake,
    /// Change policies, freezes and the keys of agents; take upstream tools.
    Operate,
    /// Make, change and test sources, tools and servers.
    Develop,
    /// Change access rules and masks.
    Steward,
    /// Make people, and keys of any role.
    Administer,
}

impl Right {
    /// Every right.
    pub const ALL: [Right; 11] = [
        Right::Propose,
        Right::Commit,
        Right::ReadOwn,
        Right::Decide,
        Right::ReadSetup,
        Right::ReadAll,
        Right::Brake,
        Right::Operate,
        Right::Develop,
        Right::Steward,
        Right::Administer,
    ];

    /// Its one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Right::Propose => "propose",
            Right::Commit => "commit",
            Right::ReadOwn => "read_own",
            Right::Decide => "decide",
            Right::ReadSetup => "read_setup",
            Right::ReadAll => "read_all",
            Right::Brake => "brake",
            Right::Operate => "operate",
            Right::Develop => "develop",
            Right::Steward => "steward",
            Right::Administer => "administer",
        }
    }
}

/// Somebody a door has authenticated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// Names this principal in records: `key:<id>`, `person:<id>`, `cli:local`, `slack:<user>`, `stdio:<agent>`.
    pub id: String,
    /// What its keeper calls it.
    pub name: String,
    /// Its organisation.
    pub org: OrgId,
    /// Its roles.
    pub roles: Roles,
    /// The agent it acts as, if it is one.
    pub agent: Option<AgentId>,
    /// The person who acts, or whose program this is.
    pub person: Option<PersonId>,
    /// The virtual server through which it came in, if it came through one.
    pub server: Option<Entrance>,
}

impl Principal {
    /// Whether this principal may do `right`.
    pub fn may(&self, right: Right) -> bool {
        self.roles.may(right)
    }

    /// Whether this principal may `right` for the whole machine: what all organisations share is
    /// kept, and read, by those of the default one.
    pub fn may_for_all(&self, right: Right) -> bool {
        self.org == OrgId::default() && self.may(right)
    }

    /// Whether this principal may read what is laid down for `agent` of `org`.
    pub fn may_read_setup(&self, org: &OrgId, agent: &AgentId) -> bool {
        self.org == *org && (self.may(Right::ReadSetup) || self.agent.as_ref() == Some(agent))
    }

    /// Whether this principal may read what belongs to `agent` of `org`.
    pub fn may_read(&self, org: &OrgId, agent: &AgentId) -> bool {
        self.org == *org && (self.may(Right::ReadAll) || self.agent.as_ref() == Some(agent))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_right_has_a_name_and_somebody() {
        let names: BTreeSet<&str> = Right::ALL.map(Right::name).into();
        assert_eq!(names.len(), Right::ALL.len());
        for right in Right::ALL {
            assert!(
                Role::ALL.iter().any(|role| role.may(right)),
                "nobody may {right:?}"
            );
        }
    }

    #[test]
    fn an_admin_may_everything_but_be_an_agent() {
        for right in Right::ALL {
            let agents = matches!(right, Right::Propose | Right::Commit);
            assert_eq!(Role::Admin.may(right), !agents, "{right:?}");
        }
    }
}
