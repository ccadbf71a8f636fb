//! Virtual MCP servers: kept as documents with every earlier version. Which tools there are to name is
//! known to `broker/tools`, which checks a document before it is saved here.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Access;
use super::server_keys::ServerKeyInfo;
use crate::broker::core::kept::{Keepable, Kept, Records};
use crate::broker::core::{Trouble, forbidden};
use crate::domain::access::Server;
use crate::domain::audit::names::RecordKind;
use crate::domain::ids::OrgId;
use crate::domain::principal::{Principal, Right};
use crate::domain::time::Timestamp;
use crate::domain::tools::Invalid;

/// A server as it is kept: its document.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::broker) struct StoredServer(Value);

impl StoredServer {
    /// The server, if it reads back.
    pub(super) fn server(&self) -> Option<Server> {
        let read = Server::read(&self.0);
        read.inspect_err(|invalid| tracing::error!(%invalid, "a stored server does not read back"))
            .ok()
    }
}

impl Keepable for StoredServer {
    const KIND: &'static str = "server";
    const NOUN: &'static str = "server";
    const RECORDS: Records = Records {
        created: RecordKind::ServerCreated,
        changed: RecordKind::ServerChanged,
        deleted: RecordKind::ServerDeleted,
    };
    const HISTORY: Option<&'static str> = Some("server_version");

    fn told(&self) -> Value {
        self.0.clone()
    }
}

/// A server as people see it.
#[derive(Clone, PartialEq, Debug)]
pub struct ServerView {
    /// The document, with what it left to defaults.
    pub document: Value,
    /// Its keys, without their secrets.
    pub keys: Vec<ServerKeyInfo>,
    /// Counts its changes.
    pub version: u64,
    /// Who changed it last.
    pub changed_by: String,
    /// And when.
    pub changed_at: Timestamp,
}

impl Access {
    /// Keeps a server that was checked.
    pub(in crate::broker) async fn create_server(
        &self,
        who: &Principal,
        server: &Server,
    ) -> Result<ServerView, Trouble> {
        may_serve(who)?;
        let kept = self
            .make(who, &server.name, StoredServer(json!(server)))
            .await?;
        self.reload_in_force().await;
        Ok(view(kept, Vec::new()))
    }

    /// Every server of the caller's organisation, by name.
    pub async fn servers(&self, who: &Principal) -> Result<Vec<ServerView>, Trouble> {
        may_see(who)?;
        let all = self.all_kept::<StoredServer>(Some(&who.org)).await?;
        let mut views = Vec::with_capacity(all.len());
        for (key, kept) in all {
            let keys = self.server_keys(&who.org, &key.id).await?;
            views.push(view(kept, keys));
        }
        Ok(views)
    }

    /// One server.
    pub async fn server(&self, who: &Principal, name: &str) -> Result<ServerView, Trouble> {
        may_see(who)?;
        let kept = self.found::<StoredServer>(&who.org, name).await?;
        Ok(view(kept, self.server_keys(&who.org, name).await?))
    }

    /// Whether there is a server of this name.
    pub(in crate::broker) async fn has_server(
        &self,
        org: &OrgId,
        name: &str,
    ) -> Result<bool, Trouble> {
        Ok(self.kept::<StoredServer>(org, name).await?.is_some())
    }

    /// Puts a server that was checked in the place of the one of this name.
    pub(in crate::broker) async fn replace_server(
        &self,
        who: &Principal,
        name: &str,
        server: &Server,
        version: Option<u64>,
    ) -> Result<ServerView, Trouble> {
        may_serve(who)?;
        let before: Kept<StoredServer> = self.found(&who.org, name).await?;
        if server.name != name {
            let detail = "is another than the server's; delete it and make a new one";
            return Err(Trouble::invalid(Invalid::server(
                "/name",
                detail.to_owned(),
            )));
        }
        let value = StoredServer(json!(server));
        let kept = self.replace(who, name, before, version, value).await?;
        self.reload_in_force().await;
        Ok(view(kept, self.server_keys(&who.org, name).await?))
    }

    /// Lets a server be used, or not.
    pub async fn enable_server(
        &self,
        who: &Principal,
        name: &str,
        enabled: bool,
    ) -> Result<ServerView, Trouble> {
        may_serve(who)?;
        let before: Kept<StoredServer> = self.found(&who.org, name).await?;
        let mut document = before.value.0.clone();
        document["enabled"] = json!(enabled);
        let version = Some(before.version);
        let kept = self.replace(who, name, before, version, StoredServer(document));
        let kept = kept.await?;
        self.reload_in_force().await;
        Ok(view(kept, self.server_keys(&who.org, name).await?))
    }

    /// Takes a server and its keys away.
    pub async fn delete_server(&self, who: &Principal, name: &str) -> Result<(), Trouble> {
        may_serve(who)?;
        let before: Kept<StoredServer> = self.found(&who.org, name).await?;
        let keys = self.without_keys(&who.org, name).await?;
        self.take_away_with(who, name, &before, keys).await?;
        self.reload_in_force().await;
        Ok(())
    }
}

/// Whether this caller may make and change servers and their keys.
pub(super) fn may_serve(who: &Principal) -> Result<(), Trouble> {
    match who.may(Right::Develop) {
        true => Ok(()),
        false => Err(forbidden(who)),
    }
}

fn may_see(who: &Principal) -> Result<(), Trouble> {
    match who.may(Right::ReadSetup) {
        true => Ok(()),
        false => Err(forbidden(who)),
    }
}

fn view(kept: Kept<StoredServer>, keys: Vec<ServerKeyInfo>) -> ServerView {
    ServerView {
        document: kept.value.0,
        keys,
        version: kept.version,
        changed_by: kept.changed_by,
        changed_at: kept.changed_at,
    }
}
