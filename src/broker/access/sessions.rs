//! People in a browser: one-time links that let somebody in, and the sessions that follow.
//!
//! Both are 256 random bits that only their holder has; the store keeps their SHA-256. A link works
//! once and for a quarter of an hour. A session ends after twelve idle hours, after seven days, when
//! its holder signs out, and at once when whoever it stands for is gone: it carries no rights of its
//! own, but asks at each request what its holder may.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Access;
use crate::broker::core::{Trouble, failed, forbidden};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, DocWrite, Record};
use crate::domain::document::{Document, Stored};
use crate::domain::ids::{OrgId, hex, unhex};
use crate::domain::person::PersonId;
use crate::domain::principal::{Principal, Right};
use crate::domain::time::Timestamp;
use crate::store::ApplyError;

/// How long a link works.
pub const LINK_SECS: i64 = 15 * 60;
/// Longest time between two requests of a session.
const IDLE_SECS: i64 = 12 * 60 * 60;
/// Longest life of a session.
pub const LIFE_SECS: i64 = 7 * 24 * 60 * 60;
/// How exactly it is remembered when a session was last used: each time is a write.
const SEEN_EVERY_SECS: i64 = 5 * 60;
/// Longest description of a browser that is kept, in characters.
const MAX_BROWSER: usize = 120;

/// For whom a link or a session stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// The holder of this API key, by its public half.
    Key(String),
    /// This person.
    Person(PersonId),
}

/// A link that was not used yet. Named by its hash; belongs to the default organisation, because
/// whoever opens it has not said which is theirs.
#[derive(Serialize, Deserialize)]
struct Link {
    org: OrgId,
    holder: Holder,
    made_by: String,
    expires_at: Timestamp,
}

impl Document for Link {
    const KIND: &'static str = "login_link";
    const CACHED: bool = false;
    type Id = str;
}

/// A session. Named by its hash, under the default organisation, as a link is.
#[derive(Clone, Serialize, Deserialize)]
struct Session {
    org: OrgId,
    holder: Holder,
    began_at: Timestamp,
    seen_at: Timestamp,
    browser: String,
    by: Entrance,
}

impl Document for Session {
    const KIND: &'static str = "session";
    const CACHED: bool = false;
    type Id = str;
}

/// How somebody came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entrance {
    /// By a one-time link.
    Link,
    /// With a passkey.
    Passkey,
}

/// Somebody who is signed in.
#[derive(Clone, PartialEq, Debug)]
pub struct SignedIn {
    /// Who, with what they may now.
    pub who: Principal,
    /// The session's public name.
    pub session: String,
}

/// A session as its holder sees it in a list.
#[derive(Clone, PartialEq, Debug)]
pub struct SessionView {
    /// Its public name.
    pub id: String,
    /// When it began.
    pub began_at: Timestamp,
    /// When it was last used, to some minutes.
    pub seen_at: Timestamp,
    /// What the browser said of itself.
    pub browser: String,
    /// How it began.
    pub by: Entrance,
}

/// A text that was just made, shown once, and the name that it is kept under.
struct Fresh {
    text: String,
    name: String,
}

impl Access {
    /// Makes a link that signs in as this person, by id or name: for whoever administers. The text
    /// that opens it, and when it ends.
    pub async fn link_for(
        &self,
        who: &Principal,
        named: &str,
    ) -> Result<(String, Timestamp), Trouble> {
        if !who.may(Right::Administer) {
            return Err(forbidden(who));
        }
        let person = self.person(who, named).await?.id;
        let holder = Holder::Person(person);
        let now = self.ports().ambient.now();
        let fresh = self.fresh();
        let link = Link {
            org: who.org.clone(),
            holder,
            made_by: who.id.clone(),
            expires_at: now.plus_secs(LINK_SECS),
        };
        let record = Record::new(now, &who.org, RecordKind::LinkCreated, &who.id)
            .with(json!({"for": link.holder, "expires_at": link.expires_at.to_string()}));
        let docs = vec![link.write(&OrgId::default(), &fresh.name, Some(0))];
        self.apply_documents(docs, vec![record]).await?;
        Ok((fresh.text, link.expires_at))
    }

    /// Uses a link up and begins a session; the text is the session's, for its cookie. `None` for a
    /// link that never was, was used, or is too old: nobody is told which.
    pub async fn open_link(
        &self,
        text: &str,
        browser: &str,
    ) -> Result<Option<(String, SignedIn)>, Trouble> {
        let Some(name) = name_of(text) else {
            return Ok(None);
        };
        let found = self.document::<Link>(&OrgId::default(), &name).await?;
        let Some(found) = found else {
            return Ok(None);
        };
        let now = self.ports().ambient.now();
        let link = &found.value;
        if link.expires_at <= now {
            self.write(vec![found.remove()]).await?;
            return Ok(None);
        }
        let Some(who) = self.standing(&link.org, &link.holder).await? else {
            return Ok(None);
        };
        let (org, holder) = (link.org.clone(), link.holder.clone());
        let used = found.remove();
        self.let_in(who, org, holder, Entrance::Link, browser, vec![used])
            .await
    }

    /// Begins a session, with what else is written. `None` where somebody else did at that moment.
    pub(super) async fn let_in(
        &self,
        who: Principal,
        org: OrgId,
        holder: Holder,
        by: Entrance,
        browser: &str,
        more: Vec<DocWrite>,
    ) -> Result<Option<(String, SignedIn)>, Trouble> {
        let now = self.ports().ambient.now();
        let fresh = self.fresh();
        let session = Session {
            org: org.clone(),
            holder,
            began_at: now,
            seen_at: now,
            browser: browser.chars().take(MAX_BROWSER).collect(),
            by,
        };
        let mut docs = more;
        docs.push(session.write(&OrgId::default(), &fresh.name, Some(0)));
        docs.extend(self.over(now).await?);
        let record = Record::new(now, &org, RecordKind::SignedIn, &who.id)
            .with(json!({"by": by, "session": public(&fresh.name)}));
        match self.apply_documents(docs, vec![record]).await {
            Ok(()) => {}
            Err(Trouble::Changed) => return Ok(None),
            Err(trouble) => return Err(trouble),
        }
        let session = public(&fresh.name).to_owned();
        Ok(Some((fresh.text, SignedIn { who, session })))
    }

    /// Who a session's text stands for now; `None` for one that is over.
    pub async fn signed_in(&self, text: &str) -> Result<Option<SignedIn>, Trouble> {
        let Some(name) = name_of(text) else {
            return Ok(None);
        };
        let found = self.document::<Session>(&OrgId::default(), &name).await?;
        let now = self.ports().ambient.now();
        let Some(found) = found.filter(|found| found.value.lives(now)) else {
            return Ok(None);
        };
        let session = &found.value;
        let Some(who) = self.standing(&session.org, &session.holder).await? else {
            return Ok(None);
        };
        if now.secs() - session.seen_at.secs() >= SEEN_EVERY_SECS {
            self.seen(&found, now).await;
        }
        let session = public(&name).to_owned();
        Ok(Some(SignedIn { who, session }))
    }

    /// Notes that a session was used. Whoever else writes it at that moment notes the same.
    async fn seen(&self, found: &Stored<Session>, now: Timestamp) {
        let next = Session {
            seen_at: now,
            ..found.value.clone()
        };
        if let Err(trouble) = self.write(vec![found.replace(&next)]).await {
            tracing::debug!(%trouble, "a session's last use was not noted");
        }
    }

    /// The sessions of whoever `who` is, newest first.
    pub async fn sessions(&self, who: &Principal) -> Result<Vec<SessionView>, Trouble> {
        let own = self.own_sessions(who).await?;
        let mut views: Vec<SessionView> = own.iter().map(view).collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.began_at));
        Ok(views)
    }

    /// Ends sessions of whoever `who` is: the one of this public name, or all of them.
    pub async fn sign_out(&self, who: &Principal, one: Option<&str>) -> Result<usize, Trouble> {
        let own = self.own_sessions(who).await?.into_iter();
        let meant = |found: &Stored<Session>| one.is_none_or(|one| public(&found.key.id) == one);
        let ended: Vec<DocWrite> = own.filter(meant).map(Stored::remove).collect();
        let count = ended.len();
        if count > 0 {
            let now = self.ports().ambient.now();
            let record = Record::new(now, &who.org, RecordKind::SignedOut, &who.id)
                .with(json!({"sessions": count, "everywhere": one.is_none()}));
            self.apply_documents(ended, vec![record]).await?;
        }
        Ok(count)
    }

    async fn own_sessions(&self, who: &Principal) -> Result<Vec<Stored<Session>>, Trouble> {
        let now = self.ports().ambient.now();
        let all = self.documents::<Session>(Some(&OrgId::default())).await?;
        let own = all.into_iter().flatten().filter(|found| {
            let session = &found.value;
            session.org == who.org && session.holder.principal() == who.id && session.lives(now)
        });
        Ok(own.collect())
    }

    /// What is over, to be taken away by whoever writes next.
    async fn over(&self, now: Timestamp) -> Result<Vec<DocWrite>, Trouble> {
        let org = OrgId::default();
        let sessions = self.documents::<Session>(Some(&org)).await?;
        let sessions = sessions.into_iter().flatten();
        let sessions = sessions.filter(|found| !found.value.lives(now));
        let links = self.documents::<Link>(Some(&org)).await?;
        let links = links.into_iter().flatten();
        // Some time longer, so that one that is just being opened is refused and not missed.
        let old = now.plus_secs(-LINK_SECS);
        let links = links.filter(|found| found.value.expires_at <= old);
        Ok(sessions
            .map(Stored::remove)
            .chain(links.map(Stored::remove))
            .collect())
    }

    /// Whom this stands for now, if anybody.
    pub(super) async fn standing(
        &self,
        org: &OrgId,
        holder: &Holder,
    ) -> Result<Option<Principal>, Trouble> {
        match holder {
            Holder::Key(id) => {
                let known = self.key_cache().fresh(&*self.ports().store, id).await?;
                Ok(known.standing(id).filter(|who| who.org == *org))
            }
            Holder::Person(id) => self.person_now(org, id).await,
        }
    }

    fn fresh(&self) -> Fresh {
        let text = hex(&self.ports().ambient.bytes::<32>());
        let name = hex(&Sha256::digest(text.as_bytes()));
        Fresh { text, name }
    }

    pub(super) async fn apply_documents(
        &self,
        docs: Vec<DocWrite>,
        records: Vec<Record>,
    ) -> Result<(), Trouble> {
        let change = Change::documents(docs, Vec::new(), records, Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => Ok(()),
            Err(ApplyError::Conflict(_)) => Err(Trouble::Changed),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Holder {
    /// As whom somebody is known here; nobody where they can have no session.
    pub(super) fn of(who: &Principal) -> Option<Self> {
        match who.id.strip_prefix("key:") {
            Some(key) => Some(Holder::Key(key.to_owned())),
            None => who.person.clone().map(Holder::Person),
        }
    }

    /// What records call it.
    fn principal(&self) -> String {
        match self {
            Holder::Key(id) => format!("key:{id}"),
            Holder::Person(id) => format!("person:{id}"),
        }
    }
}

impl Session {
    fn lives(&self, now: Timestamp) -> bool {
        let idle = now.secs() - self.seen_at.secs();
        let age = now.secs() - self.began_at.secs();
        idle < IDLE_SECS && age < LIFE_SECS
    }
}

/// The name that a text is kept under; `None` for what was never one of ours.
fn name_of(text: &str) -> Option<String> {
    unhex::<32>(text)?;
    Some(hex(&Sha256::digest(text.as_bytes())))
}

/// Enough of a session's name to tell it from others, and not to find it by.
fn public(name: &str) -> &str {
    name.get(..16).unwrap_or(name)
}

fn view(found: &Stored<Session>) -> SessionView {
    let session = &found.value;
    SessionView {
        id: public(&found.key.id).to_owned(),
        began_at: session.began_at,
        seen_at: session.seen_at,
        browser: session.browser.clone(),
        by: session.by,
    }
}
