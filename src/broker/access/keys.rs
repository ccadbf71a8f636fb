//! API keys: `hk_<id>_<secret>`, stored hashed, shown once.
//!
//! A key is 256 random bits, so its SHA-256 is as good as a slow hash and costs a microsecond
//! per request. Whoever makes or ends a key leaves an audit record in the same write. Who a key
//! stands for is answered from memory ([`KeyCache`](super::key_cache::KeyCache)); a key that any
//! process has ended is refused within a second, and at once by the process that ended it.
//!
//! Two keys with the same agent name act as the same agent: so keys are rotated. Rights beyond
//! "who is this" are decided by `domain/principal`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::slack_user::SlackUser;
use super::{Access, owner};
use crate::broker::core::{Trouble, failed, forbidden};
use crate::connector::{jwt, registry};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Conflict, DocWrite, Record};
use crate::domain::document::{Document, Stored};
use crate::domain::ids::{AgentId, OrgId, hex, unhex};
use crate::domain::person::{Person, PersonId};
use crate::domain::principal::{Principal, Right, Role};
use crate::domain::roles::Roles;
use crate::domain::time::Timestamp;
use crate::domain::visible::plain;
use crate::store::ApplyError;

/// Longest name of a key, in characters: it stands in tables and records.
const MAX_NAME: usize = 100;
/// Longest part of a name that is kept in a derived agent id.
const MAX_SLUG: usize = 64;
/// The broker's own name in records, so no agent may carry it.
const RESERVED_AGENT: &str = "hundi";

/// A key without its secret.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyInfo {
    /// Its public half.
    pub id: String,
    /// What its holder may do.
    pub roles: Roles,
    /// What its keeper calls it.
    pub name: String,
    /// The agent it acts as, if one of its roles is `agent`.
    pub agent_id: Option<AgentId>,
    /// The Slack user it is mapped to.
    pub slack_user: Option<String>,
    /// The name of the person whose program it is; for an agent's, who runs it.
    pub person: Option<String>,
    /// Who that is; `None` for a mere name, as keys had before there were people.
    pub person_id: Option<PersonId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key as it is stored. Named by its public half.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::broker) struct StoredKey {
    /// Spelt `role` while there could be only one.
    #[serde(alias = "role")]
    roles: Roles,
    name: String,
    agent_id: Option<AgentId>,
    slack_user: Option<String>,
    /// The person's name when it was made; all there is where there were no people yet.
    #[serde(default)]
    person: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person_id: Option<PersonId>,
    /// SHA-256 of the whole text, hex.
    hash: String,
    created_at: Timestamp,
    created_by: String,
    revoked_at: Option<Timestamp>,
}

impl Document for StoredKey {
    const KIND: &'static str = "key";
    const CACHED: bool = true;
    type Id = str;
}

impl StoredKey {
    /// Its hash and its holder, unless it was revoked or does not read back. A program may at most
    /// what its person may, and nothing once they are gone: `people` says what that is.
    pub(super) fn live(
        &self,
        org: &OrgId,
        id: &str,
        people: impl Fn(&PersonId) -> Option<Roles>,
    ) -> Option<([u8; 32], Principal)> {
        if self.revoked_at.is_some() {
            return None;
        }
        let roles = match &self.person_id {
            Some(person) => self.roles_under(Some(people(person)?)),
            None => self.roles_under(None),
        };
        let principal = Principal {
            id: format!("key:{id}"),
            name: self.name.clone(),
            org: org.clone(),
            roles,
            agent: self.agent_id.clone(),
            person: self.person_id.clone(),
            server: None,
        };
        Some((unhex::<32>(&self.hash)?, principal))
    }

    /// What its holder may do, as the program of a person with these roles, if it is one.
    pub(in crate::broker) fn roles_under(&self, person: Option<Roles>) -> Roles {
        match person {
            Some(person) => self.roles.both(of_programs(person)),
            None => self.roles,
        }
    }

    /// Whether nobody has ended it.
    pub(in crate::broker) fn is_live(&self) -> bool {
        self.revoked_at.is_none()
    }

    /// The agent it acts as.
    pub(in crate::broker) fn agent(&self) -> Option<&AgentId> {
        self.agent_id.as_ref()
    }

    /// The Slack user who acts with this key's rights.
    pub(in crate::broker) fn slack_user(&self) -> Option<&str> {
        self.slack_user.as_deref()
    }

    /// The person it was made for, if one was named.
    pub(in crate::broker) fn person(&self) -> Option<&str> {
        self.person.as_deref()
    }

    /// That person, if it names one and not only a name.
    pub(in crate::broker) fn person_id(&self) -> Option<&PersonId> {
        self.person_id.as_ref()
    }

    /// What its keeper calls it.
    pub(in crate::broker) fn name(&self) -> &str {
        &self.name
    }

    /// What its holder may do.
    pub(in crate::broker) fn roles(&self) -> Roles {
        self.roles
    }

    /// The principal that made it.
    pub(in crate::broker) fn made_by(&self) -> &str {
        &self.created_by
    }

    /// The same, ended.
    pub(super) fn ended(&self, at: Timestamp) -> Self {
        Self {
            revoked_at: Some(at),
            ..self.clone()
        }
    }

    fn info(self, id: &str) -> KeyInfo {
        KeyInfo {
            id: id.to_owned(),
            roles: self.roles,
            name: self.name,
            agent_id: self.agent_id,
            slack_user: self.slack_user,
            person: self.person,
            person_id: self.person_id,
            created_at: self.created_at,
            revoked_at: self.revoked_at,
        }
    }
}

impl Access {
    /// Makes a key and returns it with the text that is never shown again. Operators make agents'
    /// keys, of any name but the bank's agent, admins any; the key belongs to the maker's organisation. A Slack user can be mapped
    /// to one key only, and only to one that may decide on holds.
    pub async fn create_key(
        &self,
        who: &Principal,
        roles: impl Into<Roles>,
        name: &str,
        slack_user: Option<&str>,
    ) -> Result<(KeyInfo, String), Trouble> {
        self.create_key_for(who, roles.into(), name, slack_user, None)
            .await
    }

    /// The same for a named person: where several have to agree, persons are counted.
    pub async fn create_key_for(
        &self,
        who: &Principal,
        roles: Roles,
        name: &str,
        slack_user: Option<&str>,
        person: Option<&str>,
    ) -> Result<(KeyInfo, String), Trouble> {
        may_keep(who, roles)?;
        roles
            .agree()
            .map_err(|why| Trouble::InvalidRequest(format!("`roles`: {why}")))?;
        check_name(name)?;
        if roles.has(Role::Agent) {
            self.check_agent_name(name)?;
        }
        if let Some(user) = slack_user {
            check_slack_user(user, roles)?;
        }
        // Held to the person as they are now: they may be removed or changed at this moment.
        let mut guards = Vec::new();
        let mut parts = KeyParts {
            slack_user: slack_user.map(str::to_owned),
            ..KeyParts::new(roles, name)
        };
        if let Some(person) = person {
            let (stored, id) = self.person_of_key(who, person, roles).await?;
            guards.push(stored.key.held_to(stored.version));
            parts.person = Some((id, stored.value.name));
        }
        let made = self.make_key(who, parts);
        let mut docs = vec![made.write];
        if let Some(user) = slack_user {
            let mapped = SlackUser::key(&who.org, &made.info.id);
            docs.push(mapped.write(&who.org, user, Some(0)));
        }
        let change = Change::documents(docs, guards, vec![made.record], Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => {}
            Err(ApplyError::Conflict(Conflict::DocChanged(key))) if key.kind == SlackUser::KIND => {
                return Err(Trouble::InvalidRequest(SlackUser::TAKEN.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        }
        self.key_cache().reload(&*self.ports().store).await;
        Ok((made.info, made.text))
    }

    /// Whose program a new key is to be.
    async fn person_of_key(
        &self,
        who: &Principal,
        named: &str,
        roles: Roles,
    ) -> Result<(Stored<Person>, PersonId), Trouble> {
        let unknown = "`person` names nobody; make them first (`POST /v1/people`)";
        let unknown = || Trouble::InvalidRequest(unknown.to_owned());
        let stored = match self.stored_person(&who.org, named).await {
            Err(Trouble::NotFound(_)) => return Err(unknown()),
            found => found?,
        };
        let id = stored.key.id.parse().map_err(|_| unknown())?;
        if roles.within(of_programs(stored.value.roles)) {
            return Ok((stored, id));
        }
        Err(Trouble::InvalidRequest(format!(
            "`roles`: a program may at most what its person may: {}",
            stored.value.roles
        )))
    }

    /// Payouts that others made at the bank are decided in the name of an agent of their own. A key
    /// of that name would act as it: see its proposals, and commit them.
    pub(super) fn check_agent_name(&self, name: &str) -> Result<(), Trouble> {
        match self.is_bank_agent(name) {
            true => Err(Trouble::NameReserved(name.to_owned())),
            false => Ok(()),
        }
    }

    pub(super) fn is_bank_agent(&self, name: &str) -> bool {
        let configured = &self.settings().bank.external_agent;
        let reserved = [configured, &AgentId::external()];
        reserved
            .iter()
            .any(|agent| agent.as_str().eq_ignore_ascii_case(name))
    }

    /// Refuses to serve while somebody holds a key of the bank's agent: one that was made before
    /// the bank's `external_agent` was set, or where it is set differently.
    pub async fn bank_agent_is_free(&self) -> Result<(), Trouble> {
        for stored in self
            .documents::<StoredKey>(None)
            .await?
            .into_iter()
            .flatten()
        {
            let id = &stored.key.id;
            let live = Some(&stored.value).filter(|key| key.is_live());
            let agent = live.and_then(StoredKey::agent);
            if let Some(agent) = agent.filter(|agent| self.is_bank_agent(agent.as_str())) {
                return Err(Trouble::Off(format!(
                    "the agent {agent} has an API key ({id}), and payouts that others make at the \
                     bank are decided in its name: end that key with `hundi key revoke {id}`, or \
                     name another agent with {}_EXTERNAL_AGENT",
                    registry::bank().variables()
                )));
            }
        }
        Ok(())
    }

    /// Every key of the caller's organisation, the revoked ones included.
    pub async fn keys(&self, who: &Principal) -> Result<Vec<KeyInfo>, Trouble> {
        if !who.may(Right::ReadSetup) {
            return Err(forbidden(who));
        }
        let people = self.documents::<Person>(Some(&who.org)).await?;
        let named: HashMap<String, String> = people
            .into_iter()
            .flatten()
            .map(|stored| (stored.key.id, stored.value.name))
            .collect();
        let stored = self.documents::<StoredKey>(Some(&who.org)).await?;
        let stored = stored.into_iter().flatten();
        let mut keys: Vec<KeyInfo> = stored.map(|key| key.value.info(&key.key.id)).collect();
        for key in &mut keys {
            // By the name that they have now.
            let id = key.person_id.as_ref().map(PersonId::as_str);
            if let Some(name) = id.and_then(|id| named.get(id)) {
                key.person = Some(name.clone());
            }
        }
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(keys)
    }

    /// Ends a key at once. Ending it again changes nothing. Its Slack user is free afterwards.
    pub async fn revoke_key(&self, who: &Principal, id: &str) -> Result<KeyInfo, Trouble> {
        if !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        let found = self.document::<StoredKey>(&who.org, id).await?;
        let found = found.ok_or(Trouble::NotFound("key"))?;
        may_keep(who, found.value.roles)?;
        if !found.value.is_live() {
            return Ok(found.value.info(id));
        }
        let ended = found.value.ended(self.ports().ambient.now());
        let (docs, record) = ending(who, &found, &ended);
        let change = Change::documents(docs, Vec::new(), vec![record], Vec::new());
        self.ports().store.apply(change).await.map_err(failed)?;
        self.key_cache().reload(&*self.ports().store).await;
        Ok(ended.info(id))
    }

    /// The principal behind a bearer text: a key, compared in constant time, or a token of the
    /// identity provider. Fails with
    /// [`Trouble::StoreUnavailable`] once nobody could ask the store about revocations for a
    /// second: an outage must not keep an ended key alive.
    pub async fn authenticate(&self, bearer: &str) -> Result<Principal, Trouble> {
        if bearer.starts_with(owner::PREFIX) {
            return self.owner(bearer).ok_or(Trouble::Unauthenticated);
        }
        let holder = match jwt::looks_so(bearer) {
            true => self.token_bearer(bearer).await?,
            false => self.key_holder(bearer).await?,
        };
        // Made by somebody whose settings name another agent; ours would not have made it.
        match &holder.agent {
            Some(agent) if self.is_bank_agent(agent.as_str()) => Err(Trouble::Unauthenticated),
            Some(_) | None => Ok(holder),
        }
    }

    async fn key_holder(&self, bearer: &str) -> Result<Principal, Trouble> {
        let id = key_id(bearer).ok_or(Trouble::Unauthenticated)?;
        let known = self.key_cache().fresh(&*self.ports().store, id).await?;
        let hash: [u8; 32] = Sha256::digest(bearer.as_bytes()).into();
        known.holder(id, &hash).ok_or(Trouble::Unauthenticated)
    }

    /// The principal whom a Slack user acts as in an organisation: the person, or the very one of
    /// the mapped key, so that whoever clicks and calls still counts once. `None` if nobody there
    /// mapped this user.
    pub async fn slack_principal(
        &self,
        org: &OrgId,
        user: &str,
    ) -> Result<Option<Principal>, Trouble> {
        let known = self.key_cache().fresh(&*self.ports().store, "").await?;
        Ok(known.slack(org, user))
    }

    pub(super) fn make_key(&self, who: &Principal, parts: KeyParts) -> MadeKey {
        let ambient = &self.ports().ambient;
        let now = ambient.now();
        let id = hex(&ambient.bytes::<8>());
        let text = format!("hk_{id}_{}", hex(&ambient.bytes::<32>()));
        let (person_id, person) = parts.person.unzip();
        let stored = StoredKey {
            roles: parts.roles,
            agent_id: parts
                .roles
                .has(Role::Agent)
                .then(|| agent_of(&parts.name, &id))
                .flatten(),
            name: parts.name,
            slack_user: parts.slack_user,
            person,
            person_id,
            hash: hex(&Sha256::digest(text.as_bytes())),
            created_at: now,
            created_by: who.id.clone(),
            revoked_at: None,
        };
        MadeKey {
            write: stored.write(&who.org, &id, Some(0)),
            record: record(RecordKind::KeyCreated, who, &id, &stored, now),
            info: stored.info(&id),
            text,
        }
    }
}

/// What a key is made of.
pub(super) struct KeyParts {
    roles: Roles,
    name: String,
    slack_user: Option<String>,
    /// Whose program it is, and their name.
    pub(super) person: Option<(PersonId, String)>,
}

impl KeyParts {
    /// For nobody.
    pub(super) fn new(roles: Roles, name: &str) -> Self {
        Self {
            roles,
            name: name.to_owned(),
            slack_user: None,
            person: None,
        }
    }
}

/// A key that is made but not yet stored.
pub(super) struct MadeKey {
    pub(super) info: KeyInfo,
    pub(super) text: String,
    pub(super) write: DocWrite,
    pub(super) record: Record,
}

/// What is written where a key ends, and its record.
pub(super) fn ending(
    who: &Principal,
    key: &Stored<StoredKey>,
    ended: &StoredKey,
) -> (Vec<DocWrite>, Record) {
    let mut docs = vec![key.replace(ended)];
    if let Some(user) = &ended.slack_user {
        docs.push(SlackUser::delete(&key.key.org, user, None));
    }
    let at = ended.revoked_at.unwrap_or(ended.created_at);
    let record = record(RecordKind::KeyRevoked, who, &key.key.id, ended, at);
    (docs, record)
}

/// What the programs of a person with these roles may: as much, and be agents, whom nobody is but
/// somebody runs.
pub(in crate::broker) fn of_programs(roles: Roles) -> Roles {
    roles.iter().chain([Role::Agent]).collect()
}

/// Whether `who` may make or end keys of these roles.
fn may_keep(who: &Principal, roles: Roles) -> Result<(), Trouble> {
    let right = match roles == Role::Agent.into() {
        true => Right::Operate,
        false => Right::Administer,
    };
    if who.may(right) {
        Ok(())
    } else {
        Err(forbidden(who))
    }
}

pub(super) fn check_name(name: &str) -> Result<(), Trouble> {
    let fits = name.chars().count() <= MAX_NAME && !name.trim().is_empty();
    // Characters that are not seen make two names of what people read as one.
    if fits && plain(name) == name {
        return Ok(());
    }
    let text = format!(
        "a name has 1 to {MAX_NAME} characters, none of them a control or invisible character"
    );
    Err(Trouble::InvalidRequest(text))
}

fn check_slack_user(user: &str, roles: Roles) -> Result<(), Trouble> {
    if !roles.may(Right::Decide) {
        let text = "a Slack user is mapped to a key that may decide: approver or admin";
        return Err(Trouble::InvalidRequest(text.to_owned()));
    }
    check_slack_member(user)
}

pub(super) fn check_slack_member(user: &str) -> Result<(), Trouble> {
    let plain = user
        .bytes()
        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if (user.starts_with('U') || user.starts_with('W')) && plain && (2..=32).contains(&user.len()) {
        return Ok(());
    }
    let text = "`slack_user` is the member id, such as U012AB3CD";
    Err(Trouble::InvalidRequest(text.to_owned()))
}

/// The name itself where it is an agent id, else what can be kept of it plus the key's id.
fn agent_of(name: &str, key_id: &str) -> Option<AgentId> {
    match name.parse::<AgentId>() {
        Ok(agent) if !name.eq_ignore_ascii_case(RESERVED_AGENT) => return Some(agent),
        Ok(_) | Err(_) => {}
    }
    let mut slug = String::new();
    for c in name.chars().take(MAX_SLUG) {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    let slug = if slug.is_empty() { "agent" } else { slug };
    format!("{slug}-{key_id}").parse().ok()
}

/// The public half of a well-formed key; there is one spelling.
fn key_id(bearer: &str) -> Option<&str> {
    let (id, secret) = bearer.strip_prefix("hk_")?.split_once('_')?;
    unhex::<8>(id)?;
    unhex::<32>(secret)?;
    Some(id)
}

fn record(
    kind: RecordKind,
    who: &Principal,
    id: &str,
    stored: &StoredKey,
    at: Timestamp,
) -> Record {
    let mut record = Record::new(at, &who.org, kind, &who.id).with(json!({
        "key": id,
        "roles": stored.roles,
        "name": stored.name,
        "slack_user": stored.slack_user,
        "person": stored.person,
        "person_id": stored.person_id,
    }));
    record.agent.clone_from(&stored.agent_id);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn an_agent_is_its_name_or_a_slug_of_it() {
        let cases = [
            ("agent-1",              "agent-1"),
            ("ops@acme.example",     "ops@acme.example"),
            ("Accounts Payable!",    "accounts-payable-00ff"),
            ("  -- Ünicode  name",   "nicode-name-00ff"),
            ("लेखा",                  "agent-00ff"),
            ("hundi",                "hundi-00ff"),
            ("Hundi",                "hundi-00ff"),
        ];
        for (name, agent) in cases {
            let found = agent_of(name, "00ff").unwrap();
            assert_eq!(found.as_str(), agent, "{name:?}");
        }
        let long = agent_of(&"x y".repeat(100), "00ff").unwrap();
        assert!(long.as_str().len() <= 128);
    }

    #[test]
    fn a_key_has_one_spelling() {
        let (id, secret) = ("0123456789abcdef", "0f".repeat(32));
        let good = format!("hk_{id}_{secret}");
        assert_eq!(key_id(&good), Some(id));
        for bad in [
            format!("HK_{id}_{secret}"),
            format!("hk_{id}_{secret} "),
            format!("hk_{id}_{secret}_"),
            format!("hk_{}_{secret}", id.to_uppercase()),
            format!("hk_{id}_{}", secret.to_uppercase()),
            format!("hk_{id}"),
            format!("hk__{secret}"),
            String::new(),
        ] {
            assert_eq!(key_id(&bad), None, "{bad}");
        }
    }
}
