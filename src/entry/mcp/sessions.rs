//! Sessions of the older protocol, each bound to the key that opened it.
//!
//! The library finds a session by its id alone. Here a session also has an owner, so that an id
//! that leaked is worth nothing without the key, and a number, so that nobody can open them
//! without end: past their share, an owner's longest unused session makes room for the new one, and
//! in a full house the longest unused one of whoever has most.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError,
};
use rmcp::transport::streamable_http_server::session::{
    RestoreOutcome, ServerSseMessage, SessionId, SessionManager,
};
use tokio::time::Instant;

/// Sessions of one principal. An agent needs one per conversation.
const MAX_PER_OWNER: usize = 256;
/// Sessions of everybody, at some tens of kilobytes each.
const MAX_SESSIONS: usize = 2_048;
/// A session used more recently than this may have a call under way (the longest lasts 55 s) and
/// is never closed to make room.
const UNUSED_AFTER: Duration = Duration::from_secs(60);
/// A session without any message is closed after this.
const IDLE: Duration = Duration::from_secs(300);

tokio::task_local! {
    /// Who makes the request that is being handled.
    static OWNER: String;
}

/// There is no room for another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The sessions, and whose they are.
pub struct Sessions {
    local: LocalSessionManager,
    owners: Mutex<HashMap<SessionId, Owned>>,
    per_owner: usize,
    in_all: usize,
}

struct Owned {
    owner: String,
    used: Instant,
}

impl Default for Sessions {
    fn default() -> Self {
        Self::with_room_for(MAX_PER_OWNER, MAX_SESSIONS)
    }
}

impl Sessions {
    fn with_room_for(per_owner: usize, in_all: usize) -> Self {
        let mut local = LocalSessionManager::default();
        local.session_config.keep_alive = Some(IDLE);
        // Finished calls are not kept for a late resume: one busy session would pile up thousands
        // and walk through all of them at every message. An answer that was lost is read back
        // from the proposal instead.
        local.session_config.completed_cache_ttl = Duration::ZERO;
        Self {
            local,
            owners: Mutex::default(),
            per_owner,
            in_all,
        }
    }

    /// Runs the handling of a request as `owner`, so that a session it opens is theirs.
    pub async fn acting_as<F: Future>(owner: String, handling: F) -> F::Output {
        OWNER.scope(owner, handling).await
    }

    /// False if the session is somebody else's. One that does not exist is nobody's; that is told
    /// by whoever looks it up.
    pub fn may_use(&self, id: &str, owner: &str) -> bool {
        self.used_at(id, owner, Instant::now())
    }

    fn used_at(&self, id: &str, owner: &str, now: Instant) -> bool {
        match self.owners().get_mut(id) {
            Some(owned) if owned.owner == owner => {
                owned.used = now;
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// Makes sure that `owner` can open one more session.
    pub async fn make_room(&self, owner: &str) -> Result<(), Full> {
        let Some(unused) = self.in_the_way(owner, Instant::now())? else {
            return Ok(());
        };
        tracing::info!(owner, "closing an unused MCP session to make room");
        // It is gone from our books either way.
        let _ = self.close_session(&unused).await;
        Ok(())
    }

    /// The session to close before another one is opened, if one has to be.
    fn in_the_way(&self, owner: &str, now: Instant) -> Result<Option<SessionId>, Full> {
        let locked = self.owners();
        let owners = &*locked;
        let own = of(owners, owner).count();
        if own < self.per_owner && owners.len() < self.in_all {
            return Ok(None);
        }
        let whose = match own < self.per_owner {
            true => largest(owners).unwrap_or(owner),
            false => owner,
        };
        let oldest = of(owners, whose).min_by_key(|(_, owned)| owned.used);
        match oldest {
            Some((id, owned)) if now.duration_since(owned.used) >= UNUSED_AFTER => {
                Ok(Some(id.clone()))
            }
            Some(_) | None => Err(Full),
        }
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<SessionId, Owned>> {
        // Nothing panics while holding it, and a map is never half changed.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sessions of one owner.
fn of<'a>(
    owners: &'a HashMap<SessionId, Owned>,
    owner: &'a str,
) -> impl Iterator<Item = (&'a SessionId, &'a Owned)> {
    owners.iter().filter(move |(_, owned)| owned.owner == owner)
}

/// Who has most sessions.
fn largest(owners: &HashMap<SessionId, Owned>) -> Option<&str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for owned in owners.values() {
        *counts.entry(&owned.owner).or_default() += 1;
    }
    let most = counts
        .into_iter()
        .max_by_key(|(owner, count)| (*count, *owner));
    most.map(|(owner, _)| owner)
}

impl SessionManager for Sessions {
    type Error = LocalSessionManagerError;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        let (id, transport) = self.local.create_session().await?;
        let owner = OWNER.try_with(String::clone).unwrap_or_default();
        let used = Instant::now();
        self.owners().insert(id.clone(), Owned { owner, used });
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        self.local.initialize_session(id, message).await
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        self.local.has_session(id).await
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        self.owners().remove(id);
        self.local.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.local.create_stream(id, message).await
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), Self::Error> {
        self.local.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.local.create_standalone_stream(id).await
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.local.resume(id, last_event_id).await
    }

    async fn restore_session(
        &self,
        _id: SessionId,
    ) -> Result<RestoreOutcome<Self::Transport>, Self::Error> {
        Ok(RestoreOutcome::NotSupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(sessions: &Sessions, owner: &str) -> SessionId {
        let opened = Sessions::acting_as(owner.to_owned(), sessions.create_session());
        opened.await.unwrap().0
    }

    #[tokio::test]
    async fn a_session_is_only_good_with_the_key_that_opened_it() {
        let sessions = Sessions::default();
        let id = open(&sessions, "key:a").await;
        assert!(sessions.may_use(&id, "key:a"));
        assert!(!sessions.may_use(&id, "key:b"));
        sessions.close_session(&id).await.unwrap();
        assert!(sessions.may_use(&id, "key:b"), "no longer anybody's");
    }

    #[tokio::test]
    async fn the_longest_unused_session_makes_room_and_a_used_one_never() {
        let sessions = Sessions::with_room_for(2, 3);
        let start = Instant::now();
        let first = open(&sessions, "key:a").await;
        let second = open(&sessions, "key:a").await;
        let at = |secs| start + Duration::from_secs(secs);
        assert!(sessions.used_at(&first, "key:a", at(10)));
        assert!(sessions.used_at(&second, "key:a", at(5)));
        //   seconds  whose      what has to go
        let cases = [
            (5, "key:a", Err(Full)),
            (64, "key:a", Err(Full)),
            (65, "key:a", Ok(Some(second.clone()))),
            (65, "key:b", Ok(None)),
        ];
        for (secs, owner, expected) in cases {
            assert_eq!(
                sessions.in_the_way(owner, at(secs)),
                expected,
                "{secs} {owner}"
            );
        }
        assert!(sessions.used_at(&second, "key:a", at(70)));
        assert_eq!(sessions.in_the_way("key:a", at(70)), Ok(Some(first)));
    }

    #[tokio::test]
    async fn all_sessions_together_are_bounded() {
        let sessions = Sessions::with_room_for(2, 2);
        open(&sessions, "key:a").await;
        open(&sessions, "key:b").await;
        assert_eq!(sessions.make_room("key:c").await, Err(Full));
    }
}
