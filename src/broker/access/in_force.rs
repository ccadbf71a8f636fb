//! What every call is held against, from memory: access rules, servers and the keys of servers, of
//! every organisation, as of less than a second ago (see `core/snapshot`).
//!
//! What does not read back never widens anything: a rule that does not keeps its whole organisation
//! out, a server or a key that does not is as if it were not there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::rules::StoredRule;
use super::server_keys::StoredServerKey;
use super::servers::StoredServer;
use crate::broker::core::documents::read as read_doc;
use crate::broker::core::kept::Kept;
use crate::broker::core::snapshot::Readable;
use crate::domain::access::{Entrance, Rule, RuleDef, Server};
use crate::domain::change::{Doc, DocKey};
use crate::domain::document::Document;
use crate::domain::ids::OrgId;
use crate::domain::person::{Person, PersonId};
use crate::domain::principal::{Principal, Role};
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};

/// All of it. Two are the same where they were read from the same versions of the same documents.
#[derive(Default)]
pub(super) struct InForce {
    versions: Vec<(DocKey, u64)>,
    /// `Err` where one does not read back.
    rules: BTreeMap<OrgId, Result<Arc<Vec<Rule>>, ()>>,
    servers: BTreeMap<(OrgId, String), Arc<Server>>,
    keys: HashMap<String, (OrgId, StoredServerKey)>,
    names: HashMap<PersonId, Arc<str>>,
}

impl PartialEq for InForce {
    fn eq(&self, other: &Self) -> bool {
        self.versions == other.versions
    }
}

#[async_trait::async_trait]
impl Readable for InForce {
    async fn read(store: &dyn Store, before: Option<&Self>) -> Result<Self, StoreError> {
        let rules = store.docs(Kept::<StoredRule>::KIND, None).await?;
        let servers = store.docs(Kept::<StoredServer>::KIND, None).await?;
        let keys = store.docs(StoredServerKey::KIND, None).await?;
        let people = store.docs(Person::KIND, None).await?;
        let all = [&rules, &servers, &keys, &people].into_iter().flatten();
        let mut known = Self {
            versions: all.map(|doc| (doc.key.clone(), doc.version)).collect(),
            ..Self::default()
        };
        known.take_rules(&rules, before);
        for stored in servers.iter().flat_map(read_doc::<Kept<StoredServer>>) {
            if let Some(server) = stored.value.value.server() {
                let at = (stored.key.org, stored.key.id);
                known.servers.insert(at, Arc::new(server));
            }
        }
        for stored in keys.iter().flat_map(read_doc::<StoredServerKey>) {
            let key = (stored.key.org, stored.value);
            known.keys.insert(stored.key.id, key);
        }
        for stored in people.iter().flat_map(read_doc::<Person>) {
            if let Ok(id) = stored.key.id.parse() {
                known.names.insert(id, stored.value.name.into());
            }
        }
        Ok(known)
    }
}

impl InForce {
    fn take_rules(&mut self, docs: &[Doc], before: Option<&Self>) {
        let mut all: BTreeMap<OrgId, Result<Vec<Rule>, ()>> = BTreeMap::new();
        for doc in docs {
            let org = &doc.key.org;
            let same = before.and_then(|before| before.compiled(org, &doc.key.id, doc.version));
            let rule = same.or_else(|| compiled(doc));
            let rules = all.entry(org.clone()).or_insert_with(|| Ok(Vec::new()));
            match (rule, rules.as_mut()) {
                (Some(rule), Ok(rules)) => rules.push(rule),
                (Some(_), Err(())) => {}
                (None, _) => {
                    let rule = &doc.key.id;
                    tracing::error!(%org, %rule, "a rule does not read back: nobody of its organisation is let through");
                    *rules = Err(());
                }
            }
        }
        let all = all.into_iter();
        self.rules = all.map(|(org, rules)| (org, rules.map(Arc::new))).collect();
    }

    fn compiled(&self, org: &OrgId, id: &str, version: u64) -> Option<Rule> {
        let rules = self.rules.get(org)?.as_ref().ok()?;
        let known = rules.iter().find(|rule| rule.id.as_str() == id)?;
        (known.version == version).then(|| known.clone())
    }

    /// The rules of an organisation; `Err` where one does not read back.
    pub(super) fn rules(&self, org: &OrgId) -> Result<Arc<Vec<Rule>>, ()> {
        match self.rules.get(org) {
            None => Ok(Arc::default()),
            Some(rules) => rules.clone(),
        }
    }

    /// A server of an organisation, whether or not it lets anybody in.
    pub(super) fn server(&self, org: &OrgId, name: &str) -> Option<Arc<Server>> {
        self.servers.get(&(org.clone(), name.to_owned())).cloned()
    }

    /// What a person is called now.
    pub(super) fn name(&self, person: &PersonId) -> Option<Arc<str>> {
        self.names.get(person).cloned()
    }

    /// Whether there is a key of this id.
    pub(super) fn has_key(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// The holder of a server's key, if the hash is its hash and its time has not run out.
    pub(super) fn holder(&self, id: &str, hash: &[u8; 32], now: Timestamp) -> Option<Principal> {
        let (org, key) = self.keys.get(id)?;
        let is_it = |stored: [u8; 32]| bool::from(stored.ct_eq(hash));
        if !key.hashes(now).into_iter().any(is_it) || key.has_ended(now) {
            return None;
        }
        let server = self.server(org, &key.server)?;
        Some(Principal {
            id: format!("server_key:{id}"),
            name: key.name.clone(),
            org: org.clone(),
            roles: Role::Agent.into(),
            agent: Some(key.agent.clone()),
            person: None,
            server: Some(Entrance {
                server,
                own_key: true,
            }),
        })
    }
}

fn compiled(doc: &Doc) -> Option<Rule> {
    let stored = read_doc::<Kept<StoredRule>>(doc).ok()?;
    Some(Rule {
        id: doc.key.id.parse().ok()?,
        version: stored.version,
        says: RuleDef::read(stored.value.value.document()).ok()?,
    })
}
