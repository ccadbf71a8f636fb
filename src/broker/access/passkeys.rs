//! Passkeys: what people sign in and decide with. Whose they are, what was answered to which
//! challenge, and when each was last used.
//!
//! A challenge of ours works once and for five minutes; a decision's challenge is the statement
//! itself, and is used up with it (see `broker/pay/statement`). Whether an answer holds is for
//! `domain/webauthn` to say.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Access;
use super::sessions::{Entrance, Holder, SignedIn};
use crate::broker::core::Trouble;
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{DocWrite, Record};
use crate::domain::document::{Document, Stored};
use crate::domain::ids::{OrgId, hex};
use crate::domain::person::{Person, PersonId};
use crate::domain::principal::{Principal, Right};
use crate::domain::roles::Roles;
use crate::domain::time::Timestamp;
use crate::domain::visible::plain;
use crate::domain::webauthn::{Assertion, Expected, Registration};

/// How long a challenge works.
const CHALLENGE_SECS: i64 = 5 * 60;
/// Most passkeys of one person.
const MOST: usize = 20;
/// Longest name of a passkey, in characters.
const MAX_NAME: usize = 100;

/// A passkey. Named by its credential id's hash, because ids may be longer than names; belongs to
/// the default organisation, because whoever signs in has not said which is theirs.
#[derive(Clone, Serialize, Deserialize)]
struct Passkey {
    org: OrgId,
    holder: Holder,
    credential_id: String,
    public_key: String,
    counter: u32,
    name: String,
    created_at: Timestamp,
    used_at: Option<Timestamp>,
}

impl Document for Passkey {
    const KIND: &'static str = "passkey";
    const CACHED: bool = false;
    type Id = str;
}

/// A challenge that was not answered yet. Named by its hash.
#[derive(Serialize, Deserialize)]
struct Challenge {
    /// For whom a passkey is to be made; nobody where somebody is to sign in.
    holder: Option<Holder>,
    expires_at: Timestamp,
}

impl Document for Challenge {
    const KIND: &'static str = "challenge";
    const CACHED: bool = false;
    type Id = str;
}

/// A passkey as its holder sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PasskeyView {
    /// Its credential id, base64url.
    pub id: String,
    /// What its holder calls it.
    pub name: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
}

/// The page that a passkey has to have been used on.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Its origin.
    pub origin: &'a str,
    /// The origin's host.
    pub party: &'a str,
}

/// Who there is to decide.
#[derive(Default)]
pub(in crate::broker) struct Deciders {
    /// People, what they may do, and whether they have a passkey.
    pub people: Vec<(PersonId, Roles, bool)>,
    /// What holders of keys may do that have one.
    pub keys_with_passkeys: Vec<Roles>,
}

/// A passkey's signature that holds, and the write that remembers its counter.
pub(in crate::broker) struct Held {
    /// The public key that it was checked with.
    pub public_key: String,
    /// To be written with what it was given for.
    pub counted: DocWrite,
}

impl Access {
    /// A challenge for a new passkey of `who`.
    pub async fn passkey_challenge(&self, who: &Principal) -> Result<[u8; 32], Trouble> {
        let holder = Holder::of(who).ok_or(Trouble::NotFound("person"))?;
        self.challenge(Some(holder)).await
    }

    /// A challenge for whoever wants to sign in.
    pub async fn sign_in_challenge(&self) -> Result<[u8; 32], Trouble> {
        self.challenge(None).await
    }

    async fn challenge(&self, holder: Option<Holder>) -> Result<[u8; 32], Trouble> {
        let bytes = self.ports().ambient.bytes::<32>();
        let now = self.ports().ambient.now();
        let kept = Challenge {
            holder,
            expires_at: now.plus_secs(CHALLENGE_SECS),
        };
        let mut docs = vec![kept.write(&OrgId::default(), &name(&bytes), Some(0))];
        let all = self.documents::<Challenge>(Some(&OrgId::default())).await?;
        let old = all.into_iter().flatten();
        let old = old.filter(|found| found.value.expires_at <= now);
        docs.extend(old.map(Stored::remove));
        match self.write(docs).await {
            Ok(()) => Ok(bytes),
            // Somebody else has taken the old ones away; this one is not written yet.
            Err(Trouble::Changed) => {
                let docs = vec![kept.write(&OrgId::default(), &name(&bytes), Some(0))];
                self.write(docs).await.map(|()| bytes)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// The challenge that is answered, to be used up: only if it is ours, fresh and for this holder.
    async fn answered(
        &self,
        challenge: Option<Vec<u8>>,
        holder: Option<&Holder>,
    ) -> Result<Option<(Vec<u8>, DocWrite)>, Trouble> {
        let Some(bytes) = challenge else {
            return Ok(None);
        };
        let found = self
            .document::<Challenge>(&OrgId::default(), &name(&bytes))
            .await?;
        let now = self.ports().ambient.now();
        let fits = |found: &Stored<Challenge>| {
            found.value.expires_at > now && found.value.holder.as_ref() == holder
        };
        Ok(found.filter(fits).map(|found| (bytes, found.remove())))
    }

    /// Adds a passkey of `who`, under this name.
    pub async fn add_passkey(
        &self,
        who: &Principal,
        called: &str,
        made: &Registration,
        page: Page<'_>,
    ) -> Result<PasskeyView, Trouble> {
        let holder = Holder::of(who).ok_or(Trouble::NotFound("person"))?;
        let called = called.trim();
        let fits = (1..=MAX_NAME).contains(&called.chars().count()) && plain(called) == called;
        if !fits {
            let text = format!("a passkey's name has 1 to {MAX_NAME} visible characters");
            return Err(Trouble::InvalidRequest(text));
        }
        if self.own_passkeys(who).await?.len() >= MOST {
            let text = format!("there are {MOST} passkeys already; take one away first");
            return Err(Trouble::InvalidRequest(text));
        }
        let answered = self.answered(made.challenge(), Some(&holder)).await?;
        let (challenge, used) = answered.ok_or_else(not_held)?;
        let expected = page.expects(&challenge);
        let credential = made.check(expected).map_err(|why| {
            tracing::warn!(%why, who = %who.id, "a new passkey does not hold");
            not_held()
        })?;
        let now = self.ports().ambient.now();
        let passkey = Passkey {
            org: who.org.clone(),
            holder,
            credential_id: credential.id.clone(),
            public_key: credential.public_key,
            counter: credential.counter,
            name: called.to_owned(),
            created_at: now,
            used_at: None,
        };
        let record = Record::new(now, &who.org, RecordKind::PasskeyAdded, &who.id).with(json!({
            "passkey": credential.id, "name": called, "public_key": passkey.public_key,
        }));
        let kept = passkey.write(&OrgId::default(), &name(credential.id.as_bytes()), Some(0));
        self.apply_documents(vec![used, kept], vec![record]).await?;
        Ok(passkey.view())
    }

    /// The passkeys of whoever `who` is, the oldest first.
    pub async fn passkeys(&self, who: &Principal) -> Result<Vec<PasskeyView>, Trouble> {
        let own = self.own_passkeys(who).await?;
        let mut views: Vec<PasskeyView> = own.iter().map(|found| found.value.view()).collect();
        views.sort_by_key(|view| view.created_at);
        Ok(views)
    }

    /// Takes a passkey of `who` away.
    pub async fn remove_passkey(&self, who: &Principal, id: &str) -> Result<(), Trouble> {
        let own = self.own_passkeys(who).await?.into_iter();
        let mut named = own.filter(|found| found.value.credential_id == id);
        let found = named.next().ok_or(Trouble::NotFound("passkey"))?;
        let now = self.ports().ambient.now();
        let record = Record::new(now, &who.org, RecordKind::PasskeyRemoved, &who.id)
            .with(json!({"passkey": id, "name": found.value.name}));
        self.apply_documents(vec![found.remove()], vec![record])
            .await
    }

    /// Begins a session for whoever holds the passkey. `None` where something does not hold: nobody
    /// is told what.
    pub async fn passkey_sign_in(
        &self,
        given: &Assertion,
        page: Page<'_>,
        browser: &str,
    ) -> Result<Option<(String, SignedIn)>, Trouble> {
        let Some((challenge, used)) = self.answered(given.challenge(), None).await? else {
            return Ok(None);
        };
        let Some(found) = self.passkey(&given.credential_id).await? else {
            return Ok(None);
        };
        let passkey = &found.value;
        let checked = given.check(
            &passkey.public_key,
            passkey.counter,
            page.expects(&challenge),
        );
        let counter = match checked {
            Ok(counter) => counter,
            Err(why) => {
                tracing::warn!(%why, "a passkey's answer does not hold");
                return Ok(None);
            }
        };
        let Some(who) = self.standing(&passkey.org, &passkey.holder).await? else {
            return Ok(None);
        };
        let (org, holder) = (passkey.org.clone(), passkey.holder.clone());
        let counted = self.counted(&found, counter);
        let more = vec![used, counted];
        self.let_in(who, org, holder, Entrance::Passkey, browser, more)
            .await
    }

    /// Checks a signature of `who` over this challenge, which is used up by what it is given for.
    pub(in crate::broker) async fn signed_by(
        &self,
        who: &Principal,
        given: &Assertion,
        page: Page<'_>,
        challenge: &[u8],
    ) -> Result<Held, Trouble> {
        let holder = Holder::of(who);
        let found = self.passkey(&given.credential_id).await?;
        let own = |found: &Stored<Passkey>| {
            found.value.org == who.org && Some(&found.value.holder) == holder.as_ref()
        };
        let found = found.filter(own).ok_or_else(not_held)?;
        let passkey = &found.value;
        let checked = given.check(
            &passkey.public_key,
            passkey.counter,
            page.expects(challenge),
        );
        let counter = checked.map_err(|why| {
            tracing::warn!(%why, who = %who.id, "a signed decision does not hold");
            not_held()
        })?;
        Ok(Held {
            public_key: passkey.public_key.clone(),
            counted: self.counted(&found, counter),
        })
    }

    /// Every person of an organisation who may decide: what they may do, and whether they have a
    /// passkey; and whether somebody else who may decide has one, by a key.
    pub(in crate::broker) async fn deciders(&self, org: &OrgId) -> Result<Deciders, Trouble> {
        let all = self.documents::<Passkey>(Some(&OrgId::default())).await?;
        let ours = all.into_iter().flatten().map(|found| found.value);
        let ours: Vec<Passkey> = ours.filter(|passkey| passkey.org == *org).collect();
        let mut deciders = Deciders::default();
        for found in self
            .documents::<Person>(Some(org))
            .await?
            .into_iter()
            .flatten()
        {
            let Ok(id) = found.key.id.parse::<PersonId>() else {
                continue;
            };
            if found.value.roles.may(Right::Decide) {
                let holder = Holder::Person(id.clone());
                let has = ours.iter().any(|passkey| passkey.holder == holder);
                deciders.people.push((id, found.value.roles, has));
            }
        }
        for passkey in ours {
            if matches!(passkey.holder, Holder::Key(_))
                && let Some(who) = self.standing(org, &passkey.holder).await?
                && who.may(Right::Decide)
            {
                deciders.keys_with_passkeys.push(who.roles);
            }
        }
        Ok(deciders)
    }

    fn counted(&self, found: &Stored<Passkey>, counter: u32) -> DocWrite {
        let next = Passkey {
            counter,
            used_at: Some(self.ports().ambient.now()),
            ..found.value.clone()
        };
        found.replace(&next)
    }

    async fn passkey(&self, id: &str) -> Result<Option<Stored<Passkey>>, Trouble> {
        let found = self
            .document::<Passkey>(&OrgId::default(), &name(id.as_bytes()))
            .await?;
        Ok(found.filter(|found| found.value.credential_id == id))
    }

    /// Whether there still is a passkey of this credential id in the organisation.
    pub(in crate::broker) async fn has_passkey(
        &self,
        org: &OrgId,
        id: &str,
    ) -> Result<bool, Trouble> {
        let found = self.passkey(id).await?;
        Ok(found.is_some_and(|found| found.value.org == *org))
    }

    async fn own_passkeys(&self, who: &Principal) -> Result<Vec<Stored<Passkey>>, Trouble> {
        let holder = Holder::of(who);
        let all = self.documents::<Passkey>(Some(&OrgId::default())).await?;
        let own = all.into_iter().flatten().filter(|found| {
            found.value.org == who.org && Some(&found.value.holder) == holder.as_ref()
        });
        Ok(own.collect())
    }
}

impl<'a> Page<'a> {
    /// The pages under this origin. The relying party is its host, without the port.
    pub fn of(origin: &'a str) -> Self {
        let host = origin.split_once("://").map_or(origin, |(_, rest)| rest);
        let party = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) | None => host,
        };
        Self { origin, party }
    }

    fn expects(self, challenge: &'a [u8]) -> Expected<'a> {
        Expected {
            origin: self.origin,
            party: self.party,
            challenge,
        }
    }
}

impl Passkey {
    fn view(&self) -> PasskeyView {
        PasskeyView {
            id: self.credential_id.clone(),
            name: self.name.clone(),
            created_at: self.created_at,
            used_at: self.used_at,
        }
    }
}

fn name(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The one answer to whatever does not hold.
fn not_held() -> Trouble {
    Trouble::InvalidRequest("the passkey's answer does not hold; begin again".to_owned())
}
