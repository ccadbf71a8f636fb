//! Keys of servers: `hs_<id>_<secret>`, stored hashed, shown once. Such a key opens its server's MCP
//! door and, over REST, exactly what is behind it; every other door answers it like one that never
//! existed.
//!
//! Whoever holds one acts as the agent that it was made for: one that was named, which takes the right
//! to keep agents' keys, or else `server:<name>`, which is nobody else. A key that is rotated keeps
//! its id; the text before it stays good for as long as its maker says.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Access;
use super::servers::{StoredServer, may_serve};
use crate::broker::core::kept::Kept;
use crate::broker::core::{Trouble, failed, forbidden};
use crate::domain::access::Entrance;
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, DocWrite, Record};
use crate::domain::document::{Document, Stored};
use crate::domain::ids::{AgentId, OrgId, hex, unhex};
use crate::domain::principal::{Principal, Right};
use crate::domain::time::Timestamp;
use crate::domain::visible::plain;

/// Most keys of one server.
const MOST: usize = 1_000;
/// Longest name of a key, in characters.
const MAX_NAME: usize = 100;
/// Longest that an earlier text stays good, in seconds: a week.
const MAX_GRACE_SECS: u32 = 7 * 24 * 60 * 60;
/// How every key of a server begins.
const PREFIX: &str = "hs_";

/// A key as it is stored. Named by its public half.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredServerKey {
    /// The server that it opens.
    pub(super) server: String,
    /// What its keeper calls it.
    pub(super) name: String,
    /// The agent that its holder acts as.
    pub(super) agent: AgentId,
    /// SHA-256 of the whole text, hex.
    hash: String,
    /// The one before, while it is still good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    earlier: Option<Earlier>,
    created_at: Timestamp,
    created_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Earlier {
    hash: String,
    until: Timestamp,
}

impl Document for StoredServerKey {
    const KIND: &'static str = "server_key";
    const CACHED: bool = true;
    type Id = str;
}

impl StoredServerKey {
    /// The hashes that open it now.
    pub(super) fn hashes(&self, now: Timestamp) -> Vec<[u8; 32]> {
        let earlier = self.earlier.as_ref().filter(|it| it.until > now);
        let earlier = earlier.map(|it| it.hash.as_str());
        let all = std::iter::once(self.hash.as_str()).chain(earlier);
        all.filter_map(unhex::<32>).collect()
    }

    /// Whether its time has run out.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    fn info(&self, id: &str) -> ServerKeyInfo {
        ServerKeyInfo {
            id: id.to_owned(),
            name: self.name.clone(),
            agent: self.agent.clone(),
            created_at: self.created_at,
            created_by: self.created_by.clone(),
            expires_at: self.expires_at,
        }
    }
}

/// A key without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerKeyInfo {
    /// Its public half.
    pub id: String,
    /// What its keeper calls it.
    pub name: String,
    /// The agent that its holder acts as.
    pub agent: AgentId,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it opens nothing any more.
    pub expires_at: Option<Timestamp>,
}

impl Access {
    /// Makes a key of a server. The text is told here and never again.
    pub async fn create_server_key(
        &self,
        who: &Principal,
        server: &str,
        name: Option<&str>,
        agent: Option<AgentId>,
        expires_at: Option<Timestamp>,
    ) -> Result<(ServerKeyInfo, String), Trouble> {
        may_serve(who)?;
        // Whoever makes a key that acts as an agent could act as it.
        if agent.is_some() && !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        let _: Kept<StoredServer> = self.found(&who.org, server).await?;
        let name = name.unwrap_or(server);
        if plain(name) != name || name.trim().is_empty() || name.chars().count() > MAX_NAME {
            let text = format!("`name` is 1 to {MAX_NAME} visible characters");
            return Err(Trouble::InvalidRequest(text));
        }
        let own = || format!("server:{server}").parse::<AgentId>();
        let agent = match agent {
            Some(agent) => agent,
            None => own().map_err(|_| Trouble::NotFound("server"))?,
        };
        self.check_agent_name(agent.as_str())?;
        let now = self.ports().ambient.now();
        if expires_at.is_some_and(|at| at <= now) {
            let text = "`expires_at` is over already";
            return Err(Trouble::InvalidRequest(text.to_owned()));
        }
        if self.server_keys(&who.org, server).await?.len() >= MOST {
            let text = format!("a server has at most {MOST} keys; delete some first");
            return Err(Trouble::InvalidRequest(text));
        }
        let id = hex(&self.ports().ambient.bytes::<8>());
        let text = self.key_text(&id);
        let key = StoredServerKey {
            server: server.to_owned(),
            name: name.to_owned(),
            agent,
            hash: hash(&text),
            earlier: None,
            created_at: now,
            created_by: who.id.clone(),
            expires_at,
        };
        let write = key.write(&who.org, &id, Some(0));
        let kind = RecordKind::ServerKeyCreated;
        self.write_key(who, write, kind, &id, &key).await?;
        Ok((key.info(&id), text))
    }

    /// The principal that made a server's key; `None` once it was deleted.
    pub(in crate::broker) async fn maker_of_server_key(
        &self,
        org: &OrgId,
        id: &str,
    ) -> Result<Option<String>, Trouble> {
        let found = self.document::<StoredServerKey>(org, id).await?;
        Ok(found.map(|stored| stored.value.created_by))
    }

    /// Gives a key another text; the one before opens for `grace_secs` more.
    pub async fn rotate_server_key(
        &self,
        who: &Principal,
        server: &str,
        id: &str,
        grace_secs: u32,
    ) -> Result<(ServerKeyInfo, String), Trouble> {
        may_serve(who)?;
        if grace_secs > MAX_GRACE_SECS {
            let text = format!("`grace_secs` is at most {MAX_GRACE_SECS}");
            return Err(Trouble::InvalidRequest(text));
        }
        let stored = self.key_of(&who.org, server, id).await?;
        if stored.value.agent.as_str() != format!("server:{server}") && !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        let now = self.ports().ambient.now();
        let text = self.key_text(id);
        let key = StoredServerKey {
            hash: hash(&text),
            earlier: (grace_secs > 0).then(|| Earlier {
                hash: stored.value.hash.clone(),
                until: now.plus_secs(i64::from(grace_secs)),
            }),
            ..stored.value.clone()
        };
        let kind = RecordKind::ServerKeyRotated;
        self.write_key(who, stored.replace(&key), kind, id, &key)
            .await?;
        Ok((key.info(id), text))
    }

    /// Ends a key.
    pub async fn delete_server_key(
        &self,
        who: &Principal,
        server: &str,
        id: &str,
    ) -> Result<(), Trouble> {
        may_serve(who)?;
        let stored = self.key_of(&who.org, server, id).await?;
        let key = stored.value.clone();
        let kind = RecordKind::ServerKeyRevoked;
        self.write_key(who, stored.remove(), kind, id, &key).await
    }

    /// The keys of a server, oldest first.
    pub(super) async fn server_keys(
        &self,
        org: &OrgId,
        server: &str,
    ) -> Result<Vec<ServerKeyInfo>, Trouble> {
        let all = self.documents::<StoredServerKey>(Some(org)).await?;
        let theirs = all.into_iter().flatten();
        let theirs = theirs.filter(|stored| stored.value.server == server);
        let mut infos: Vec<_> = theirs
            .map(|stored| stored.value.info(&stored.key.id))
            .collect();
        infos.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(infos)
    }

    /// Takes the keys of a server away, with the server.
    pub(super) async fn without_keys(
        &self,
        org: &OrgId,
        server: &str,
    ) -> Result<Vec<DocWrite>, Trouble> {
        let keys = self.server_keys(org, server).await?.into_iter();
        Ok(keys
            .map(|key| StoredServerKey::delete(org, &key.id, None))
            .collect())
    }

    /// Who shows this text, be it a key of a server or of anything else; what a server's key opens is
    /// in [`Principal::server`], and whoever lets it in has to look at that.
    async fn visitor(&self, bearer: &str) -> Result<Principal, Trouble> {
        if !bearer.starts_with(PREFIX) {
            return self.authenticate(bearer).await;
        }
        let id = key_id(bearer).ok_or(Trouble::Unauthenticated)?;
        let store = self.ports().store.as_ref();
        let known = self
            .in_force
            .fresh_where(store, |it| it.has_key(id))
            .await?;
        let hash: [u8; 32] = Sha256::digest(bearer.as_bytes()).into();
        let now = self.ports().ambient.now();
        let holder = known.holder(id, &hash, now);
        holder.ok_or(Trouble::Unauthenticated)
    }

    /// Who comes in over REST.
    pub async fn enter(&self, bearer: &str) -> Result<Principal, Trouble> {
        let who = self.visitor(bearer).await?;
        match &who.server {
            Some(entrance) if !entrance.server.enabled => Err(Trouble::Unauthenticated),
            Some(_) | None => Ok(who),
        }
    }

    /// Who comes in over MCP: at the door of this server, or at the one of no server. A server that
    /// is not there, lets nobody in or is another organisation's is told in the same words; a
    /// server's key at a door that is not its own learns nothing of the door.
    pub async fn enter_mcp(
        &self,
        bearer: &str,
        server: Option<&str>,
    ) -> Result<Principal, Trouble> {
        let who = self.visitor(bearer).await?;
        let own = who.server.as_ref();
        if own.is_some_and(|own| server != Some(own.server.name.as_str())) {
            return Err(Trouble::Unauthenticated);
        }
        let Some(name) = server else {
            return Ok(who);
        };
        let known = self.in_force.fresh(self.ports().store.as_ref()).await?;
        let found = known.server(&who.org, name).filter(|it| it.enabled);
        let server = found.ok_or(Trouble::NotFound("server"))?;
        let own_key = who.server.is_some();
        Ok(Principal {
            server: Some(Entrance { server, own_key }),
            ..who
        })
    }

    /// The same visitor, at its server as that is by now; `None` if it would not be let in.
    pub async fn still_here(&self, who: &Principal) -> Result<Option<Principal>, Trouble> {
        let Some(entrance) = &who.server else {
            return Ok(Some(who.clone()));
        };
        let known = self.in_force.fresh(self.ports().store.as_ref()).await?;
        let server = known.server(&who.org, &entrance.server.name);
        Ok(server.filter(|it| it.enabled).map(|server| Principal {
            server: Some(Entrance {
                server,
                own_key: entrance.own_key,
            }),
            ..who.clone()
        }))
    }

    /// The broker, acting for somebody who once came in with this server's key; `None` if the server
    /// lets nobody in any more.
    pub(in crate::broker) async fn through(
        &self,
        who: Principal,
        server: Option<&str>,
    ) -> Result<Option<Principal>, Trouble> {
        let Some(name) = server else {
            return Ok(Some(who));
        };
        let known = self.in_force.fresh(self.ports().store.as_ref()).await?;
        let server = known.server(&who.org, name).filter(|it| it.enabled);
        Ok(server.map(|server| Principal {
            server: Some(Entrance {
                server,
                own_key: true,
            }),
            ..who
        }))
    }

    async fn key_of(
        &self,
        org: &OrgId,
        server: &str,
        id: &str,
    ) -> Result<Stored<StoredServerKey>, Trouble> {
        let found = self.document::<StoredServerKey>(org, id).await?;
        found
            .filter(|stored| stored.value.server == server)
            .ok_or(Trouble::NotFound("key"))
    }

    fn key_text(&self, id: &str) -> String {
        format!("{PREFIX}{id}_{}", hex(&self.ports().ambient.bytes::<32>()))
    }

    async fn write_key(
        &self,
        who: &Principal,
        write: DocWrite,
        kind: RecordKind,
        id: &str,
        key: &StoredServerKey,
    ) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let mut record = Record::new(now, &who.org, kind, &who.id).with(told(id, key));
        record.agent = Some(key.agent.clone());
        let change = Change::documents(vec![write], Vec::new(), vec![record], Vec::new());
        self.ports().store.apply(change).await.map_err(failed)?;
        self.reload_in_force().await;
        Ok(())
    }
}

fn told(id: &str, key: &StoredServerKey) -> Value {
    json!({
        "key": id,
        "server": key.server,
        "name": key.name,
        "expires_at": key.expires_at.map(|at| at.to_string()),
        "earlier_until": key.earlier.as_ref().map(|earlier| earlier.until.to_string()),
    })
}

fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// The public half of a well-formed key; there is one spelling.
fn key_id(bearer: &str) -> Option<&str> {
    let (id, secret) = bearer.strip_prefix(PREFIX)?.split_once('_')?;
    unhex::<8>(id)?;
    unhex::<32>(secret)?;
    let plain = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    (id.bytes().all(plain) && secret.bytes().all(plain)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_text_is_good_until_its_grace_is_over() {
        let hash_of = |byte: u8| hex(&[byte; 32]);
        let key = StoredServerKey {
            server: "desk".to_owned(),
            name: "x".to_owned(),
            agent: "server:desk".parse().unwrap(),
            hash: hash_of(1),
            earlier: Some(Earlier {
                hash: hash_of(2),
                until: Timestamp::from_secs(100),
            }),
            created_at: Timestamp::from_secs(0),
            created_by: "x".to_owned(),
            expires_at: Some(Timestamp::from_secs(200)),
        };
        assert_eq!(key.hashes(Timestamp::from_secs(99)), [[1; 32], [2; 32]]);
        assert_eq!(key.hashes(Timestamp::from_secs(100)), [[1; 32]]);
        assert!(!key.has_ended(Timestamp::from_secs(199)));
        assert!(key.has_ended(Timestamp::from_secs(200)));
    }

    #[test]
    fn a_key_has_one_spelling() {
        let (id, secret) = ("0123456789abcdef", "0f".repeat(32));
        assert_eq!(key_id(&format!("hs_{id}_{secret}")), Some(id));
        for bad in [
            format!("hk_{id}_{secret}"),
            format!("hs_{id}_{}", secret.to_uppercase()),
            format!("hs_{id}_{secret}_"),
            String::new(),
        ] {
            assert_eq!(key_id(&bad), None, "{bad}");
        }
    }
}
