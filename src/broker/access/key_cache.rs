//! Who holds which key and what each person may, from memory: one hash and one map look-up per
//! request.
//!
//! The map is a snapshot. Whoever comes [`CHECK_EVERY`] after the last look asks the store whether
//! any document changed, and reads the keys again if so; meanwhile the others go on with the
//! snapshot, but never with one that nobody could confirm for [`TRUSTED_FOR`]. So an ended key, or
//! that of a person who was removed or may less, is refused within a second wherever that was
//! done, also when the store stops answering.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::keys::StoredKey;
use super::people::Removed;
use crate::broker::core::Trouble;
use crate::broker::core::documents::read as read_doc;
use crate::domain::document::Document;
use crate::domain::ids::OrgId;
use crate::domain::organisation::Organisation;
use crate::domain::person::{Person, PersonId};
use crate::domain::principal::Principal;
use crate::store::{Store, StoreError};

/// How old a snapshot may be before somebody asks whether it still holds.
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// How old it may be when the key is not in it: a key just made by another process should work,
/// and a flood of made-up keys should not become a flood of reads.
const CHECK_UNKNOWN_EVERY: Duration = Duration::from_millis(20);
/// How old a snapshot may be at most, whatever happens.
const TRUSTED_FOR: Duration = Duration::from_millis(900);

/// How long the store may take to say whether anything changed.
const RENEWAL_DEADLINE: Duration = Duration::from_secs(2);

/// The snapshot of all live keys, and the right to renew it.
#[derive(Default)]
pub struct KeyCache {
    known: ArcSwapOption<Known>,
    /// Held by the one who asks the store. Says when asking last failed, so that those who waited
    /// for the answer do not each run into the same silence.
    renewal: Mutex<Option<Instant>>,
}

/// All live keys as the store had them at one moment.
pub(super) struct Known {
    keys: Arc<Keys>,
    epoch: u64,
    confirmed: Instant,
}

#[derive(Default)]
struct Keys {
    holders: HashMap<String, ([u8; 32], Principal)>,
    /// By organisation and user.
    slack: HashMap<(OrgId, String), Principal>,
    orgs: HashSet<OrgId>,
    people: HashMap<OrgId, HashMap<PersonId, Principal>>,
    /// By organisation and address in small letters; `None` where two have the same.
    addresses: HashMap<(OrgId, String), Option<PersonId>>,
    /// What people were known by who are not here any more.
    removed: HashSet<(OrgId, String)>,
}

impl Keys {
    fn person(&self, org: &OrgId, id: &PersonId) -> Option<&Principal> {
        self.people.get(org)?.get(id)
    }
}

impl Known {
    /// The holder of key `id`, if the hash is its hash.
    pub(super) fn holder(&self, id: &str, hash: &[u8; 32]) -> Option<Principal> {
        let (stored, principal) = self.keys.holders.get(id)?;
        bool::from(stored.ct_eq(hash)).then(|| principal.clone())
    }

    /// The holder of key `id`, for whoever has shown it before.
    pub(super) fn standing(&self, id: &str) -> Option<Principal> {
        self.keys.holders.get(id).map(|(_, who)| who.clone())
    }

    /// Who this person is at a door where they prove it.
    pub(super) fn person(&self, org: &OrgId, id: &PersonId) -> Option<Principal> {
        self.keys.person(org, id).cloned()
    }

    /// The person of this address or id.
    pub(super) fn person_named(&self, org: &OrgId, name: &str) -> Option<PersonId> {
        let by_id = name.parse().ok();
        let by_id = by_id.filter(|id| self.keys.person(org, id).is_some());
        let address = (org.clone(), name.to_ascii_lowercase());
        by_id.or_else(|| self.keys.addresses.get(&address).cloned().flatten())
    }

    /// Whether somebody of this address or id was here and is not any more.
    pub(super) fn was_removed(&self, org: &OrgId, name: &str) -> bool {
        let named = (org.clone(), Removed::named(name));
        self.keys.removed.contains(&named)
    }

    /// Whom a Slack user acts as in this organisation.
    pub(super) fn slack(&self, org: &OrgId, user: &str) -> Option<Principal> {
        let named = (org.clone(), user.to_owned());
        self.keys.slack.get(&named).cloned()
    }

    /// Whether this organisation was made.
    pub(super) fn has_org(&self, org: &OrgId) -> bool {
        self.keys.orgs.contains(org)
    }

    fn younger_than(&self, age: Duration) -> bool {
        self.confirmed.elapsed() < age
    }
}

impl KeyCache {
    /// A snapshot that is fresh enough to answer about key `id`.
    pub(super) async fn fresh(&self, store: &dyn Store, id: &str) -> Result<Arc<Known>, Trouble> {
        let is_known = |keys: &Keys| keys.holders.contains_key(id);
        self.fresh_where(store, is_known).await
    }

    /// A snapshot that is fresh enough to answer about this person.
    pub(super) async fn fresh_person(
        &self,
        store: &dyn Store,
        org: &OrgId,
        id: &PersonId,
    ) -> Result<Arc<Known>, Trouble> {
        let is_known = |keys: &Keys| keys.person(org, id).is_some();
        self.fresh_where(store, is_known).await
    }

    /// A snapshot that is fresh enough to answer who is called what.
    pub(super) async fn fresh_people(&self, store: &dyn Store) -> Result<Arc<Known>, Trouble> {
        self.fresh_where(store, |_| true).await
    }

    /// A snapshot that is fresh enough to answer about this organisation.
    pub(super) async fn fresh_org(
        &self,
        store: &dyn Store,
        org: &OrgId,
    ) -> Result<Arc<Known>, Trouble> {
        self.fresh_where(store, |keys| keys.orgs.contains(org))
            .await
    }

    async fn fresh_where(
        &self,
        store: &dyn Store,
        is_known: impl Fn(&Keys) -> bool,
    ) -> Result<Arc<Known>, Trouble> {
        let known = self.known.load_full();
        let is_known = |known: &&Arc<Known>| is_known(&known.keys);
        let Some(known) = known.as_ref().filter(is_known) else {
            return self.renew(store, self.renewal.lock().await).await;
        };
        if known.younger_than(CHECK_EVERY) {
            return Ok(Arc::clone(known));
        }
        match self.renewal.try_lock() {
            Ok(turn) => self.renew(store, turn).await,
            // Somebody is asking already: no reason to wait for the answer yet.
            Err(_) if known.younger_than(TRUSTED_FOR) => Ok(Arc::clone(known)),
            Err(_) => self.renew(store, self.renewal.lock().await).await,
        }
    }

    async fn renew(
        &self,
        store: &dyn Store,
        mut last_failure: MutexGuard<'_, Option<Instant>>,
    ) -> Result<Arc<Known>, Trouble> {
        let known = self.known.load_full();
        if let Some(known) = known
            .as_ref()
            .filter(|k| k.younger_than(CHECK_UNKNOWN_EVERY))
        {
            return Ok(Arc::clone(known));
        }
        let usable = known.filter(|known| known.younger_than(TRUSTED_FOR));
        if last_failure.is_some_and(|at| at.elapsed() < CHECK_EVERY) {
            return usable.ok_or(Trouble::StoreUnavailable);
        }
        match ask(store, self.known.load_full().as_deref()).await {
            Ok(renewed) => {
                *last_failure = None;
                let renewed = Arc::new(renewed);
                self.known.store(Some(Arc::clone(&renewed)));
                Ok(renewed)
            }
            Err(error) => {
                *last_failure = Some(Instant::now());
                tracing::warn!(%error, "API keys could not be checked for changes");
                usable.ok_or(Trouble::StoreUnavailable)
            }
        }
    }

    /// Reads the keys again, because this process has just written one. If that fails, nothing is
    /// believed until it succeeds.
    pub(super) async fn reload(&self, store: &dyn Store) {
        let mut last_failure = self.renewal.lock().await;
        let known = ask(store, None).await.ok().map(Arc::new);
        *last_failure = None;
        self.known.store(known);
    }
}

async fn ask(store: &dyn Store, before: Option<&Known>) -> Result<Known, StoreError> {
    match tokio::time::timeout(RENEWAL_DEADLINE, read(store, before)).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::Unavailable("no answer in time".to_owned())),
    }
}

async fn read(store: &dyn Store, before: Option<&Known>) -> Result<Known, StoreError> {
    // Both before the reading: what is written meanwhile is noticed the next time.
    let confirmed = Instant::now();
    let epoch = store.docs_epoch().await?;
    let keys = match before.filter(|before| before.epoch == epoch) {
        Some(before) => Arc::clone(&before.keys),
        None => Arc::new(read_keys(store).await?),
    };
    Ok(Known {
        keys,
        epoch,
        confirmed,
    })
}

async fn read_keys(store: &dyn Store) -> Result<Keys, StoreError> {
    let mut keys = Keys::default();
    let docs = store.docs(Organisation::KIND, None).await?;
    let orgs = docs.iter().flat_map(read_doc::<Organisation>);
    keys.orgs.extend(orgs.map(|stored| stored.value.org));
    let docs = store.docs(Removed::KIND, None).await?;
    let removed = docs.iter().flat_map(read_doc::<Removed>);
    keys.removed
        .extend(removed.map(|stored| (stored.key.org, stored.key.id)));
    let docs = store.docs(Person::KIND, None).await?;
    for stored in docs.iter().flat_map(read_doc::<Person>) {
        let (org, Ok(id)) = (stored.key.org, stored.key.id.parse()) else {
            continue;
        };
        let principal = stored.value.principal(&org, &id);
        if let Some(user) = stored.value.slack_user {
            keys.slack.insert((org.clone(), user), principal.clone());
        }
        if let Some(address) = stored.value.email {
            let address = (org.clone(), address.to_ascii_lowercase());
            keys.addresses
                .entry(address)
                .and_modify(|person| *person = None)
                .or_insert(Some(id.clone()));
        }
        keys.people.entry(org).or_default().insert(id, principal);
    }
    let docs = store.docs(StoredKey::KIND, None).await?;
    for stored in docs.iter().flat_map(read_doc::<StoredKey>) {
        let (org, id) = (&stored.key.org, &stored.key.id);
        let people = |id: &PersonId| Some(keys.person(org, id)?.roles);
        let Some((hash, principal)) = stored.value.live(org, id, people) else {
            continue;
        };
        if let Some(user) = stored.value.slack_user() {
            let named = (org.clone(), user.to_owned());
            keys.slack.insert(named, principal.clone());
        }
        keys.holders.insert(stored.key.id, (hash, principal));
    }
    Ok(keys)
}
