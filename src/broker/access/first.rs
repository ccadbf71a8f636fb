//! The first start: the admin, their key and the first agent's, made once per store; and whom a
//! door acts as that can show no key.
//!
//! The admin is a person like any other, so that where several have to agree they count, and so
//! that they can sign in.

use serde::{Deserialize, Serialize};

use super::Access;
use super::keys::{KeyParts, StoredKey};
use super::people::{NewPerson, first_docs};
use crate::broker::core::{Trouble, failed};
use crate::domain::change::{Change, Conflict};
use crate::domain::document::{Document, Single, version};
use crate::domain::ids::{AgentId, OrgId};
use crate::domain::person::{Person, PersonId, PersonName};
use crate::domain::principal::{Principal, Role};
use crate::store::ApplyError;

/// The agent that the first start makes.
pub const FIRST_AGENT: &str = "agent-1";
/// The person whom it makes.
pub const FIRST_ADMIN: &str = "admin";

/// Which keys the first start made. It names none while only doors that can show no key have been
/// open. Belongs to the default organisation.
#[derive(Default, Serialize, Deserialize)]
struct Beginning {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    admin_key: Option<String>,
}

impl Document for Beginning {
    const KIND: &'static str = "meta";
    const CACHED: bool = true;
    type Id = str;
}

impl Single for Beginning {
    const ID: &'static str = "first_keys";
}

/// What the first start made. The texts are shown once and stored nowhere.
#[derive(Clone, PartialEq)]
pub struct FirstKeys {
    /// The text of an admin's key.
    pub admin_key: String,
    /// The admin.
    pub admin: PersonId,
    /// The text of an agent's key.
    pub agent_key: String,
    /// That agent.
    pub agent_id: AgentId,
}

impl std::fmt::Debug for FirstKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FirstKeys(of {})", self.agent_id)
    }
}

impl Access {
    /// Makes the first admin's and the first agent's key, once per store: whoever else starts at
    /// the same time, or later, gets `None`.
    pub async fn bootstrap_keys(&self) -> Result<Option<FirstKeys>, Trouble> {
        let org = OrgId::default();
        let known = self.document::<Beginning>(&org, Beginning::ID).await?;
        if known
            .as_ref()
            .is_some_and(|known| known.value.agent_key.is_some())
        {
            return Ok(None);
        }
        let version = version(known.as_ref());
        let who = Principal {
            id: "hundi".to_owned(),
            name: "hundi".to_owned(),
            org: org.clone(),
            roles: Role::Admin.into(),
            agent: None,
            person: None,
            server: None,
        };
        let (person, boss) = self.first_person(&who).await?;
        let mut admin = KeyParts::new(Role::Admin.into(), "first admin");
        admin.person = Some((person.clone(), boss.name.clone()));
        let admin = self.make_key(&who, admin);
        let agent = self.make_key(&who, KeyParts::new(Role::Agent.into(), FIRST_AGENT));
        let Some(agent_id) = agent.info.agent_id.clone() else {
            return Err(Trouble::StoreUnavailable);
        };
        let made = Beginning {
            agent_key: Some(agent.info.id.clone()),
            admin_key: Some(admin.info.id.clone()),
        };
        let made = made.write_only(&org, Some(version));
        let mut docs = vec![made, admin.write, agent.write];
        docs.extend(first_docs(&org, &person, &boss));
        let told = self.person_made(&who, &person, &boss);
        let records = vec![told, admin.record, agent.record];
        let change = Change::documents(docs, Vec::new(), records, Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => {}
            Err(ApplyError::Conflict(Conflict::DocChanged(_))) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        self.key_cache().reload(&*self.ports().store).await;
        Ok(Some(FirstKeys {
            admin_key: admin.text,
            admin: person,
            agent_key: agent.text,
            agent_id,
        }))
    }

    /// The admin as a person; under another name where somebody has theirs already, as the command
    /// line can have made them before.
    pub(super) async fn first_person(
        &self,
        who: &Principal,
    ) -> Result<(PersonId, Person), Trouble> {
        let taken = self.document::<PersonName>(&who.org, FIRST_ADMIN).await?;
        let new = NewPerson {
            name: FIRST_ADMIN.to_owned(),
            email: None,
            roles: Role::Admin.into(),
            slack_user: None,
        };
        let (id, mut person) = self.new_person(who, new);
        if taken.is_some() {
            person.name = format!("{FIRST_ADMIN} {}", id.as_str().replace('_', "-"));
        }
        Ok((id, person))
    }

    /// Notes that the store is in use. True for the one who was first, and none of whose keys are
    /// made by it.
    pub async fn begin(&self) -> Result<bool, Trouble> {
        let write = Beginning::default().write_only(&OrgId::default(), Some(0));
        let change = Change::documents(vec![write], Vec::new(), Vec::new(), Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => Ok(true),
            Err(ApplyError::Conflict(Conflict::DocChanged(_))) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// The principal that `hundi mcp` runs as when nothing else was said: the holder of the first
    /// agent's key. A revoked key opens nothing here either. Before `hundi serve` has made that
    /// key, which only it can show, it is the agent whom the key will belong to.
    pub async fn first_agent(&self) -> Result<Principal, Trouble> {
        let org = OrgId::default();
        let begun = self.document::<Beginning>(&org, Beginning::ID).await?;
        let Some(id) = begun.and_then(|begun| begun.value.agent_key) else {
            return Ok(Principal {
                id: format!("stdio:{FIRST_AGENT}"),
                name: FIRST_AGENT.to_owned(),
                org,
                roles: Role::Agent.into(),
                agent: Some(first_agent_id()?),
                person: None,
                server: None,
            });
        };
        let found = self.find::<StoredKey>(&org, &id).await?;
        let live = found.and_then(Result::ok);
        let live = live.and_then(|stored| stored.value.live(&org, &id, |_| None));
        live.map(|(_, principal)| principal).ok_or_else(|| {
            let text = "the first agent's key was revoked; make another with `hundi key create`";
            Trouble::Off(text.to_owned())
        })
    }

    /// The agent that a door without keys acts as, where only such doors have been open.
    pub(in crate::broker) async fn agent_without_key(
        &self,
        who: &Principal,
    ) -> Result<Option<AgentId>, Trouble> {
        if who.org != OrgId::default() {
            return Ok(None);
        }
        let begun = self.document::<Beginning>(&who.org, Beginning::ID).await?;
        match begun.filter(|begun| begun.value.agent_key.is_none()) {
            Some(_) => first_agent_id().map(Some),
            None => Ok(None),
        }
    }
}

/// The agent that the first start makes, and its sample policy is for.
pub fn first_agent_id() -> Result<AgentId, Trouble> {
    // A constant that is an agent's id; were it none, nobody could act as it.
    FIRST_AGENT.parse().map_err(|_| Trouble::NotFound("agent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_start_made_does_not_show_in_debug() {
        let keys = FirstKeys {
            admin_key: "hk_secret_a".into(),
            admin: PersonId::of([1; 8]),
            agent_key: "hk_secret_b".into(),
            agent_id: "agent-1".parse().unwrap(),
        };
        assert!(!format!("{keys:?}").contains("secret"));
    }
}
