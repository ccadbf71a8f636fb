//! Bearer tokens of the identity provider that the configuration names, in place of keys.
//!
//! The issuer's keys are kept for [`KEEP`] and asked for again when a token names one that is not
//! among them, because that is how an issuer's rotation shows. Whoever sends tokens with made-up
//! names can so have us ask, but no more often than [`TURNS`] allow. An issuer that does not answer
//! is believed as it was for [`STALE`], and no longer.
//!
//! A token that names one of our people, by the address that the admins gave them or by their id, is
//! theirs: it may at most what they may, and where decisions are counted by people, it and their other
//! keys are one. One that names somebody who was removed opens nothing. Any other is nobody's.
//!
//! Every failure is the same outside. Why it failed is for the log, without the token.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Access;
use super::keys::of_programs;
use crate::broker::core::Trouble;
use crate::connector::jwt::{Bearer, Expected, IssuerKeys, Unverified, Wrong};
use crate::domain::ids::OrgId;
use crate::domain::principal::Principal;
use crate::wire::IssuerDocument;

/// How long an issuer's keys are taken as they were read.
const KEEP: Duration = Duration::from_secs(300);
/// How long they are while the issuer does not answer.
const STALE: Duration = Duration::from_secs(3_600);
/// How often an issuer is asked at most: so many times at once, and then once in a while.
const TURNS: u32 = 5;
/// After so long, there is one turn more.
const TURN_EVERY: Duration = Duration::from_secs(12);

/// An issuer's keys as they were last read.
#[derive(Default)]
pub(super) struct Issuer {
    known: ArcSwapOption<Known>,
    /// Held by the one who asks.
    turns: Mutex<Turns>,
}

struct Known {
    keys: IssuerKeys,
    read: Instant,
}

struct Turns {
    left: u32,
    since: Instant,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            left: TURNS,
            since: Instant::now(),
        }
    }
}

impl Turns {
    /// Whether the issuer may be asked now; that is one turn less.
    fn take(&mut self) -> bool {
        while self.left < TURNS && self.since.elapsed() >= TURN_EVERY {
            self.left += 1;
            self.since += TURN_EVERY;
        }
        if self.left == TURNS {
            self.since = Instant::now();
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

impl Access {
    /// The principal of a bearer token. Not one of ours to tell apart: any failure is
    /// [`Trouble::Unauthenticated`].
    pub(super) async fn token_bearer(&self, token: &str) -> Result<Principal, Trouble> {
        let (Some(expected), Some(issuer)) = (&self.settings().jwt, &self.ports().issuer) else {
            return Err(Trouble::Unauthenticated);
        };
        let bearer = match self.read_token(expected, issuer.as_ref(), token).await {
            Ok(bearer) => bearer,
            Err(why) => {
                tracing::warn!(%why, "a bearer token was refused");
                return Err(Trouble::Unauthenticated);
            }
        };
        if !self.is_org(&bearer.org).await? {
            tracing::warn!(org = %bearer.org, "a bearer token was refused: there is no such organisation");
            return Err(Trouble::Unauthenticated);
        }
        let Some(name) = bearer.person.clone() else {
            return Ok(bearer.principal(None));
        };
        let known = self.key_cache().fresh_people(&*self.ports().store).await?;
        let person = known.person_named(&bearer.org, &name);
        if person.is_none() && known.was_removed(&bearer.org, &name) {
            tracing::warn!("a bearer token was refused: it names somebody who was removed");
            return Err(Trouble::Unauthenticated);
        }
        let theirs = person.as_ref().and_then(|id| known.person(&bearer.org, id));
        let who = bearer.principal(person);
        Ok(match theirs {
            Some(theirs) => Principal {
                roles: who.roles.both(of_programs(theirs.roles)),
                ..who
            },
            None => who,
        })
    }

    async fn read_token(
        &self,
        expected: &Expected,
        issuer: &dyn IssuerDocument,
        token: &str,
    ) -> Result<Bearer, Wrong> {
        let unverified = Unverified::read(token)?;
        let known = self.issuer_keys(issuer).await.ok_or(Wrong::UnknownKey)?;
        let claims = match unverified.key(&known.keys) {
            Ok(key) => unverified.verified(key)?,
            Err(unknown) => {
                let newer = self.newer_keys(issuer, known.read).await.ok_or(unknown)?;
                unverified.verified(unverified.key(&newer.keys)?)?
            }
        };
        expected.bearer(&claims, self.ports().ambient.now().secs())
    }

    /// The issuer's keys, read not too long ago.
    async fn issuer_keys(&self, issuer: &dyn IssuerDocument) -> Option<Arc<Known>> {
        let known = self.issuer.known.load_full();
        match known {
            Some(known) if known.read.elapsed() < KEEP => Some(known),
            Some(known) => match self.newer_keys(issuer, known.read).await {
                Some(newer) => Some(newer),
                None => Some(known).filter(|known| known.read.elapsed() < STALE),
            },
            None => self.newer_keys(issuer, Instant::now()).await,
        }
    }

    /// The issuer's keys, read after `seen`: as somebody else has just done, or now.
    async fn newer_keys(&self, issuer: &dyn IssuerDocument, seen: Instant) -> Option<Arc<Known>> {
        let mut turns = self.issuer.turns.lock().await;
        let known = self.issuer.known.load_full();
        if let Some(known) = known.filter(|known| known.read > seen) {
            return Some(known);
        }
        if !turns.take() {
            tracing::warn!("the issuer of bearer tokens was asked for its keys too often; waiting");
            return None;
        }
        let document = issuer.keys().await;
        let keys = document.and_then(|keys| IssuerKeys::read(&keys).map_err(str::to_owned));
        match keys {
            Ok(keys) => {
                let read = Instant::now();
                let known = Arc::new(Known { keys, read });
                self.issuer.known.store(Some(Arc::clone(&known)));
                Some(known)
            }
            Err(why) => {
                tracing::warn!(%why, "the keys of the issuer of bearer tokens could not be read");
                None
            }
        }
    }

    /// Whether there is such an organisation.
    async fn is_org(&self, org: &OrgId) -> Result<bool, Trouble> {
        if *org == OrgId::default() {
            return Ok(true);
        }
        let known = self
            .key_cache()
            .fresh_org(&*self.ports().store, org)
            .await?;
        Ok(known.has_org(org))
    }
}
