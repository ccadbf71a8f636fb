//! API keys: `hk_<id>_<secret>`, stored hashed, shown once.
//!
//! A key is 256 random bits, so its SHA-256 is as good as a slow hash and costs a microsecond
//! per request. Whoever makes or ends a key leaves an audit record in the same write. Who a key
//! stands for is answered from memory ([`KeyCache`](super::key_cache::KeyCache)); a key that any
//! process has ended is refused within a second, and at once by the process that ended it.
//!
//! Two keys with the same agent name act as the same agent: so keys are rotated. Rights beyond
//! "who is this" are decided by `domain/principal`.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Access, owner};
use crate::broker::core::{Trouble, failed, forbidden};
use crate::connector::registry;
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Conflict, DocWrite, Record};
use crate::domain::document::{Document, Single, version};
use crate::domain::ids::{AgentId, OrgId, hex, unhex};
use crate::domain::principal::{Principal, Right, Role};
use crate::domain::roles::Roles;
use crate::domain::time::Timestamp;
use crate::domain::visible::plain;
use crate::store::ApplyError;

/// The agent that the first start makes.
pub const FIRST_AGENT: &str = "agent-1";
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
    /// The person it belongs to; for an agent's, who runs it.
    pub person: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key as it is stored. Named by its public half.
#[derive(Serialize, Deserialize)]
pub(in crate::broker) struct StoredKey {
    /// Spelt `role` while there could be only one.
    #[serde(alias = "role")]
    roles: Roles,
    name: String,
    agent_id: Option<AgentId>,
    slack_user: Option<String>,
    #[serde(default)]
    person: Option<String>,
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

/// Makes a Slack user name at most one key, over all organisations, because a click in Slack does
/// not say which one it means. Named by the user; belongs to the default organisation.
#[derive(Serialize, Deserialize)]
struct SlackUser {
    /// Where the key is.
    org: OrgId,
    /// The key's public half.
    key: String,
}

impl Document for SlackUser {
    const KIND: &'static str = "slack_user";
    const CACHED: bool = true;
    type Id = str;
}

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

impl StoredKey {
    /// Its hash and its holder, unless it was revoked or does not read back.
    pub(super) fn live(&self, org: &OrgId, id: &str) -> Option<([u8; 32], Principal)> {
        if self.revoked_at.is_some() {
            return None;
        }
        let principal = Principal {
            id: format!("key:{id}"),
            name: self.name.clone(),
            org: org.clone(),
            roles: self.roles,
            agent: self.agent_id.clone(),
            person: None,
        };
        Some((unhex::<32>(&self.hash)?, principal))
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

    fn info(self, id: &str) -> KeyInfo {
        KeyInfo {
            id: id.to_owned(),
            roles: self.roles,
            name: self.name,
            agent_id: self.agent_id,
            slack_user: self.slack_user,
            person: self.person,
            created_at: self.created_at,
            revoked_at: self.revoked_at,
        }
    }
}

/// What the first start made. The texts are shown once and stored nowhere.
#[derive(Clone, PartialEq)]
pub struct FirstKeys {
    /// The text of an admin's key.
    pub admin_key: String,
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
        if let Some(person) = person {
            check_name(person)?;
        }
        let made = self.make_key(who, roles, name, slack_user, person);
        let mut docs = vec![made.write];
        if let Some(user) = slack_user {
            let mapped = SlackUser {
                org: who.org.clone(),
                key: made.info.id.clone(),
            };
            docs.push(mapped.write(&OrgId::default(), user, Some(0)));
        }
        let change = Change::documents(docs, Vec::new(), vec![made.record], Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => {}
            Err(ApplyError::Conflict(Conflict::DocChanged(key))) if key.kind == SlackUser::KIND => {
                let text = "this Slack user is mapped to another key; revoke that one first";
                return Err(Trouble::InvalidRequest(text.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        }
        self.key_cache().reload(&*self.ports().store).await;
        Ok((made.info, made.text))
    }

    /// Payouts that others made at the bank are decided in the name of an agent of their own. A key
    /// of that name would act as it: see its proposals, and commit them.
    fn check_agent_name(&self, name: &str) -> Result<(), Trouble> {
        match self.is_bank_agent(name) {
            true => Err(Trouble::NameReserved(name.to_owned())),
            false => Ok(()),
        }
    }

    fn is_bank_agent(&self, name: &str) -> bool {
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
            let (org, id) = (&stored.key.org, &stored.key.id);
            let live = stored.value.live(org, id);
            let agent = live.and_then(|(_, principal)| principal.agent);
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
        let stored = self.documents::<StoredKey>(Some(&who.org)).await?;
        let stored = stored.into_iter().flatten();
        let mut keys: Vec<KeyInfo> = stored.map(|key| key.value.info(&key.key.id)).collect();
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
        let (version, mut stored) = (found.version, found.value);
        may_keep(who, stored.roles)?;
        if stored.revoked_at.is_some() {
            return Ok(stored.info(id));
        }
        let now = self.ports().ambient.now();
        stored.revoked_at = Some(now);
        let mut docs = vec![stored.write(&who.org, id, Some(version))];
        if let Some(user) = &stored.slack_user {
            docs.push(SlackUser::delete(&OrgId::default(), user, None));
        }
        let record = record(RecordKind::KeyRevoked, who, id, &stored, now);
        let change = Change::documents(docs, Vec::new(), vec![record], Vec::new());
        self.ports().store.apply(change).await.map_err(failed)?;
        self.key_cache().reload(&*self.ports().store).await;
        Ok(stored.info(id))
    }

    /// The principal behind a bearer text, compared in constant time. Fails with
    /// [`Trouble::StoreUnavailable`] once nobody could ask the store about revocations for a
    /// second: an outage must not keep an ended key alive.
    pub async fn authenticate(&self, bearer: &str) -> Result<Principal, Trouble> {
        if bearer.starts_with(owner::PREFIX) {
            return self.owner(bearer).ok_or(Trouble::Unauthenticated);
        }
        let id = key_id(bearer).ok_or(Trouble::Unauthenticated)?;
        let known = self.key_cache().fresh(&*self.ports().store, id).await?;
        let hash: [u8; 32] = Sha256::digest(bearer.as_bytes()).into();
        let holder = known.holder(id, &hash).ok_or(Trouble::Unauthenticated)?;
        // Made by somebody whose settings name another agent; ours would not have made it.
        match &holder.agent {
            Some(agent) if self.is_bank_agent(agent.as_str()) => Err(Trouble::Unauthenticated),
            Some(_) | None => Ok(holder),
        }
    }

    /// The principal whom a Slack user acts as: the very one of the mapped key, so that a person
    /// who clicks and calls still counts once. `None` if nobody mapped this user.
    pub async fn slack_principal(&self, user: &str) -> Result<Option<Principal>, Trouble> {
        let known = self.key_cache().fresh(&*self.ports().store, "").await?;
        Ok(known.slack(user))
    }

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
        };
        let admin = self.make_key(&who, Role::Admin.into(), "first admin", None, None);
        let agent = self.make_key(&who, Role::Agent.into(), FIRST_AGENT, None, None);
        let Some(agent_id) = agent.info.agent_id.clone() else {
            return Err(Trouble::StoreUnavailable);
        };
        let made = Beginning {
            agent_key: Some(agent.info.id.clone()),
            admin_key: Some(admin.info.id.clone()),
        };
        let made = made.write_only(&org, Some(version));
        let docs = vec![made, admin.write, agent.write];
        let records = vec![admin.record, agent.record];
        let change = Change::documents(docs, Vec::new(), records, Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => {}
            Err(ApplyError::Conflict(Conflict::DocChanged(_))) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        self.key_cache().reload(&*self.ports().store).await;
        Ok(Some(FirstKeys {
            admin_key: admin.text,
            agent_key: agent.text,
            agent_id,
        }))
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
            });
        };
        let found = self.find::<StoredKey>(&org, &id).await?;
        let live = found.and_then(Result::ok);
        let live = live.and_then(|stored| stored.value.live(&org, &id));
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

    fn make_key(
        &self,
        who: &Principal,
        roles: Roles,
        name: &str,
        slack_user: Option<&str>,
        person: Option<&str>,
    ) -> MadeKey {
        let ambient = &self.ports().ambient;
        let now = ambient.now();
        let id = hex(&ambient.bytes::<8>());
        let text = format!("hk_{id}_{}", hex(&ambient.bytes::<32>()));
        let stored = StoredKey {
            roles,
            name: name.to_owned(),
            agent_id: roles
                .has(Role::Agent)
                .then(|| agent_of(name, &id))
                .flatten(),
            slack_user: slack_user.map(str::to_owned),
            person: person.map(str::to_owned),
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

/// The agent that the first start makes, and its sample policy is for.
pub fn first_agent_id() -> Result<AgentId, Trouble> {
    // A constant that is an agent's id; were it none, nobody could act as it.
    FIRST_AGENT.parse().map_err(|_| Trouble::NotFound("agent"))
}

/// A key that is made but not yet stored.
struct MadeKey {
    info: KeyInfo,
    text: String,
    write: DocWrite,
    record: Record,
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

fn check_name(name: &str) -> Result<(), Trouble> {
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
    let plain = user
        .bytes()
        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if (user.starts_with('U') || user.starts_with('W')) && plain && (2..=32).contains(&user.len()) {
        return Ok(());
    }
    let text = "a Slack user is the member id, such as U012AB3CD";
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

    #[test]
    fn what_the_first_start_made_does_not_show_in_debug() {
        let keys = FirstKeys {
            admin_key: "hk_secret_a".into(),
            agent_key: "hk_secret_b".into(),
            agent_id: "agent-1".parse().unwrap(),
        };
        assert!(!format!("{keys:?}").contains("secret"));
    }
}
