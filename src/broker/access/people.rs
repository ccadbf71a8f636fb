//! People of an organisation: made, changed, removed; and who one of them is at a door.
//!
//! A name and a Slack user belong to one person at most, which the store sees to: each is held by
//! a document of its own. Whoever is removed loses the programs' keys that act for them in the same
//! write; what a changed person may do is what they may do from then on, wherever they come in,
//! within a second on every node, because doors ask the snapshot of
//! [`KeyCache`](super::key_cache::KeyCache).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Access;
use super::keys::{StoredKey, check_name, check_slack_member, ending};
use super::slack_user::SlackUser;
use crate::broker::core::{Trouble, failed, forbidden};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Conflict, DocWrite, Record};
use crate::domain::document::{Document, Stored};
use crate::domain::ids::{OrgId, hex};
use crate::domain::person::{Person, PersonId, PersonName, folded};
use crate::domain::principal::{Principal, Right};
use crate::domain::roles::Roles;
use crate::domain::time::Timestamp;
use crate::store::ApplyError;

/// Longest address that mail takes.
const MAX_EMAIL: usize = 254;

/// A person as people see them.
#[derive(Clone, PartialEq, Debug)]
pub struct PersonView {
    /// Who.
    pub id: PersonId,
    /// What is known of them.
    pub person: Person,
    /// Counts the changes, from 1.
    pub version: u64,
}

/// Somebody to be made.
#[derive(Clone, Debug)]
pub struct NewPerson {
    /// As people read it.
    pub name: String,
    /// Where they are written to.
    pub email: Option<String>,
    /// What they may do.
    pub roles: Roles,
    /// The Slack user they are.
    pub slack_user: Option<String>,
}

/// What is to be different: `None` leaves it, `Some(None)` takes it away.
#[derive(Clone, Default, Debug)]
pub struct PersonChanges {
    /// As people read it.
    pub name: Option<String>,
    /// Where they are written to.
    pub email: Option<Option<String>>,
    /// What they may do.
    pub roles: Option<Roles>,
    /// The Slack user they are.
    pub slack_user: Option<Option<String>>,
    /// The version that is changed, if it matters.
    pub version: Option<u64>,
}

/// That somebody of an address or id was here and is not any more, or has another address: whoever
/// still comes by it, with a token of an identity provider that does not know, is not let in as a
/// stranger. Named by a hash of it.
#[derive(Serialize, Deserialize)]
pub(super) struct Removed {
    at: Timestamp,
}

impl Document for Removed {
    const KIND: &'static str = "person_removed";
    const CACHED: bool = true;
    type Id = str;
}

impl Removed {
    /// The name of what is kept for an address or id.
    pub(super) fn named(name: &str) -> String {
        hex(&Sha256::digest(name.to_ascii_lowercase().as_bytes()))
    }
}

impl Access {
    /// Makes a person.
    pub async fn create_person(
        &self,
        who: &Principal,
        new: NewPerson,
    ) -> Result<PersonView, Trouble> {
        administers(who)?;
        let (id, person) = self.new_person(who, new);
        check(&person)?;
        let record = self.told(who, RecordKind::PersonCreated, &id, None, Some(&person));
        let docs = first_docs(&who.org, &id, &person);
        self.apply_person(docs, vec![record], &person).await?;
        self.person(who, id.as_str()).await
    }

    /// Somebody new, not yet written.
    pub(super) fn new_person(&self, who: &Principal, new: NewPerson) -> (PersonId, Person) {
        let ambient = &self.ports().ambient;
        let now = ambient.now();
        let person = Person {
            name: new.name,
            email: new.email,
            roles: new.roles,
            slack_user: new.slack_user,
            created_at: now,
            created_by: who.id.clone(),
            changed_at: now,
            changed_by: who.id.clone(),
        };
        (PersonId::of(ambient.bytes()), person)
    }

    /// Everybody in the caller's organisation, by name.
    pub async fn people(&self, who: &Principal) -> Result<Vec<PersonView>, Trouble> {
        reads(who)?;
        let stored = self.documents::<Person>(Some(&who.org)).await?;
        let mut people: Vec<PersonView> = stored
            .into_iter()
            .flatten()
            .filter_map(|stored| view(stored).ok())
            .collect();
        people.sort_by_cached_key(|view| (folded(&view.person.name), view.id.clone()));
        Ok(people)
    }

    /// One of them, by id or by name.
    pub async fn person(&self, who: &Principal, named: &str) -> Result<PersonView, Trouble> {
        reads(who)?;
        view(self.stored_person(&who.org, named).await?)
    }

    /// Changes what is named.
    pub async fn change_person(
        &self,
        who: &Principal,
        named: &str,
        changes: PersonChanges,
    ) -> Result<PersonView, Trouble> {
        administers(who)?;
        let before = self.stored_person(&who.org, named).await?;
        let id = id_of(&before)?;
        if changes.version.is_some_and(|seen| seen != before.version) {
            return Err(Trouble::Changed);
        }
        let after = Person {
            name: changes.name.unwrap_or_else(|| before.value.name.clone()),
            email: changes.email.unwrap_or_else(|| before.value.email.clone()),
            roles: changes.roles.unwrap_or(before.value.roles),
            slack_user: changes
                .slack_user
                .unwrap_or_else(|| before.value.slack_user.clone()),
            changed_at: self.ports().ambient.now(),
            changed_by: who.id.clone(),
            ..before.value.clone()
        };
        check(&after)?;
        let unchanged = Person {
            changed_at: before.value.changed_at,
            changed_by: before.value.changed_by.clone(),
            ..after.clone()
        };
        if unchanged == before.value {
            return view(before);
        }
        let record = self.told(
            who,
            RecordKind::PersonChanged,
            &id,
            Some(&before.value),
            Some(&after),
        );
        let mut docs = vec![before.replace(&after)];
        let other = before.value.email.as_ref();
        let other = other.filter(|_| before.value.email != after.email);
        docs.extend(other.map(|address| self.removed(who, address)));
        docs.extend(renamed(&who.org, &id, &before.value, &after));
        let (old, new) = (&before.value.slack_user, &after.slack_user);
        docs.extend(SlackUser::person(&who.org, &id).moved(
            &who.org,
            old.as_deref(),
            new.as_deref(),
        ));
        self.apply_person(docs, vec![record], &after).await?;
        self.person(who, id.as_str()).await
    }

    /// Takes somebody away, and ends every key that acts for them.
    pub async fn remove_person(&self, who: &Principal, named: &str) -> Result<PersonView, Trouble> {
        administers(who)?;
        let stored = self.stored_person(&who.org, named).await?;
        let gone = view(stored.clone())?;
        let person = &gone.person;
        let mut docs = vec![
            stored.remove(),
            PersonName::delete(&who.org, &folded(&person.name), None),
            self.removed(who, gone.id.as_str()),
        ];
        docs.extend(
            person
                .email
                .as_ref()
                .map(|address| self.removed(who, address)),
        );
        if let Some(user) = &person.slack_user {
            docs.push(SlackUser::delete(&who.org, user, None));
        }
        let mut records =
            vec![self.told(who, RecordKind::PersonDeleted, &gone.id, Some(person), None)];
        for key in self.documents::<StoredKey>(Some(&who.org)).await? {
            let Ok(key) = key else { continue };
            if key.value.is_live() && key.value.person_id() == Some(&gone.id) {
                let ended = key.value.ended(self.ports().ambient.now());
                let (writes, record) = ending(who, &key, &ended);
                docs.extend(writes);
                records.push(record);
            }
        }
        self.apply_person(docs, records, person).await?;
        Ok(gone)
    }

    fn removed(&self, who: &Principal, name: &str) -> DocWrite {
        let removed = Removed {
            at: self.ports().ambient.now(),
        };
        removed.write(&who.org, &Removed::named(name), None)
    }

    /// Who this person is at a door where they prove it, as of at most a second ago; `None` once
    /// they were removed. Fails rather than believe somebody whom nobody could ask the store about.
    pub async fn person_now(
        &self,
        org: &OrgId,
        id: &PersonId,
    ) -> Result<Option<Principal>, Trouble> {
        let known = self.key_cache().fresh_person(&*self.ports().store, org, id);
        Ok(known.await?.person(org, id))
    }

    /// The person of this id or name, who has to be there.
    pub(super) async fn stored_person(
        &self,
        org: &OrgId,
        named: &str,
    ) -> Result<Stored<Person>, Trouble> {
        let unknown = Trouble::NotFound("person");
        let id = match named.parse::<PersonId>() {
            Ok(id) => id,
            Err(_) => match self.document::<PersonName>(org, &folded(named)).await? {
                Some(held) => held.value.person,
                None => return Err(unknown),
            },
        };
        self.document::<Person>(org, &id).await?.ok_or(unknown)
    }

    async fn apply_person(
        &self,
        docs: Vec<DocWrite>,
        records: Vec<Record>,
        person: &Person,
    ) -> Result<(), Trouble> {
        let change = Change::documents(docs, Vec::new(), records, Vec::new());
        let applied = self.ports().store.apply(change).await;
        self.key_cache().reload(&*self.ports().store).await;
        match applied {
            Ok(_) => Ok(()),
            Err(ApplyError::Conflict(Conflict::DocChanged(key))) => Err(match key.kind.as_str() {
                PersonName::KIND => Trouble::NameTaken("person", person.name.clone()),
                SlackUser::KIND => Trouble::InvalidRequest(SlackUser::TAKEN.to_owned()),
                _ => Trouble::Changed,
            }),
            Err(error) => Err(failed(error)),
        }
    }

    /// What the audit log tells. Not the address: records stay, and whom it belongs to may ask for
    /// it to be forgotten.
    fn told(
        &self,
        who: &Principal,
        kind: RecordKind,
        id: &PersonId,
        before: Option<&Person>,
        after: Option<&Person>,
    ) -> Record {
        let now = self.ports().ambient.now();
        Record::new(now, &who.org, kind, &who.id).with(json!({
            "person": id,
            "before": before.map(spelt),
            "after": after.map(spelt),
        }))
    }

    /// The record of somebody who is made with something else.
    pub(super) fn person_made(&self, who: &Principal, id: &PersonId, person: &Person) -> Record {
        self.told(who, RecordKind::PersonCreated, id, None, Some(person))
    }
}

/// What is written for somebody new: themselves, and what is theirs alone.
pub(super) fn first_docs(org: &OrgId, id: &PersonId, person: &Person) -> Vec<DocWrite> {
    let mut docs = vec![person.write(org, id, Some(0)), named(org, id, person)];
    if let Some(user) = &person.slack_user {
        docs.push(SlackUser::person(org, id).write(org, user, Some(0)));
    }
    docs
}

fn named(org: &OrgId, id: &PersonId, person: &Person) -> DocWrite {
    let held = PersonName { person: id.clone() };
    held.write(org, &folded(&person.name), Some(0))
}

/// The old name let go and the new one taken, if it is another.
fn renamed(org: &OrgId, id: &PersonId, before: &Person, after: &Person) -> Vec<DocWrite> {
    let old = folded(&before.name);
    match old == folded(&after.name) {
        true => Vec::new(),
        false => vec![PersonName::delete(org, &old, None), named(org, id, after)],
    }
}

fn spelt(person: &Person) -> Value {
    json!({
        "name": person.name,
        "roles": person.roles,
        "slack_user": person.slack_user,
        "has_email": person.email.is_some(),
    })
}

fn id_of(stored: &Stored<Person>) -> Result<PersonId, Trouble> {
    // Written by us under such an id; were it none, nobody could be named by it.
    let id = stored.key.id.parse();
    id.map_err(|_| Trouble::NotFound("person"))
}

fn view(stored: Stored<Person>) -> Result<PersonView, Trouble> {
    Ok(PersonView {
        id: id_of(&stored)?,
        version: stored.version,
        person: stored.value,
    })
}

fn check(person: &Person) -> Result<(), Trouble> {
    check_name(&person.name)?;
    // Or one name could mean two people wherever an id is taken as well.
    if person.name.trim().parse::<PersonId>().is_ok() {
        return Err(invalid("`name` reads as somebody's id"));
    }
    Person::may_have(person.roles).map_err(|why| invalid(&format!("`roles`: {why}")))?;
    if let Some(email) = &person.email {
        check_email(email)?;
    }
    match &person.slack_user {
        Some(user) => check_slack_member(user),
        None => Ok(()),
    }
}

/// Enough to catch another field's value; whether mail arrives only mail can say.
fn check_email(email: &str) -> Result<(), Trouble> {
    let parts = email.split_once('@');
    let is_one = parts
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    let plain = email
        .chars()
        .all(|c| c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric()));
    match is_one && plain && email.len() <= MAX_EMAIL {
        true => Ok(()),
        false => Err(invalid(
            "`email` must be an address, such as asha@acme.example",
        )),
    }
}

fn administers(who: &Principal) -> Result<(), Trouble> {
    match who.may(Right::Administer) {
        true => Ok(()),
        false => Err(forbidden(who)),
    }
}

fn reads(who: &Principal) -> Result<(), Trouble> {
    match who.may(Right::ReadSetup) {
        true => Ok(()),
        false => Err(forbidden(who)),
    }
}

fn invalid(text: &str) -> Trouble {
    Trouble::InvalidRequest(text.to_owned())
}
