//! Which door a command goes through: the server that it names, else the one that runs on the data
//! folder, else the store itself.
//!
//! A running server leaves its address and its owner's key in the data folder ([`Notice`]), readable
//! by the folder's owner alone, and takes them away when it ends. One that was killed leaves them
//! behind: whoever finds nobody there, or somebody else, goes to the store.

use std::fs;
use std::path::PathBuf;

use crate::ambient::Ambient;
use crate::app::SERVER_FILE;
use crate::broker::Trouble;
use crate::broker::access::owner::owner;
use crate::config::Config;
use crate::domain::ids::hex;
use crate::domain::principal::Principal;
use crate::domain::secret::Secret;
use crate::entry::cli::door::{Door, Server};
use crate::entry::cli::{Actor, Failure, SettingFlags};
use crate::keyring::files;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::block_on;
use super::dispatch::load;
use super::on_store::{expect_store, on_store};

/// Does the work at the door that `actor` asks for. What `looks` for something there finds it only
/// where there is a store already.
pub fn through(
    actor: &Actor,
    flags: &SettingFlags,
    looks: bool,
    work: impl AsyncFnOnce(&Door) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if let Some(url) = actor.url.as_deref().filter(|_| !actor.offline) {
        let Some(key) = &actor.key else {
            let text = "set HUNDI_API_KEY, or give --key: the server has to know who asks";
            return Err(Failure::Usage(text.to_owned()));
        };
        let door = Door::Server(Server::new(url, Secret::new(key.as_str()))?);
        return block_on(async { work(&door).await });
    }
    let config = load(flags)?;
    match running(&config)? {
        Some((notice, _)) if actor.offline => Err(Failure::of(format!(
            "`hundi serve` runs on this data folder, at {}; leave --offline out, or stop it first",
            notice.url
        ))),
        Some((notice, server)) => {
            let key = match (&actor.key, &actor.agent) {
                (Some(key), _) => Some(key.clone()),
                (None, Some(agent)) => Some(format!("{}@{agent}", notice.owner_key)),
                (None, None) => None,
            };
            let door = match key {
                Some(key) => Server::new(&notice.url, Secret::new(key))?,
                None => server,
            };
            block_on(async { work(&Door::Server(door)).await })
        }
        None => {
            if looks {
                expect_store(&config)?;
            }
            on_store(&config, async |app| {
                let who = acting(&app.broker, actor).await?;
                let broker = app.broker.clone();
                // Whatever upstreams offer now; a server knows by itself.
                broker.tools.tend_tools().await?;
                work(&Door::Store { broker, who }).await
            })
        }
    }
}

/// The holder of `--key`, or whoever owns the data folder.
async fn acting(broker: &crate::broker::Broker, actor: &Actor) -> Result<Principal, Failure> {
    match (&actor.key, &actor.agent) {
        (Some(key), _) => Ok(broker.access.authenticate(key).await?),
        (None, Some(agent)) => Ok(broker
            .access
            .owner_as(agent)
            .ok_or(Trouble::Unauthenticated)?),
        (None, None) => Ok(owner()),
    }
}

/// What a running server leaves for commands beside it.
#[derive(Serialize, Deserialize)]
struct Notice {
    url: String,
    owner_key: String,
}

/// The file that says where a server runs; gone when this is dropped, unless another server of the
/// same folder has written its own there meanwhile.
pub struct Running {
    path: PathBuf,
    text: Zeroizing<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let now = fs::read(&self.path).map(Zeroizing::new);
        if now.is_ok_and(|now| **now == *self.text.as_bytes()) {
            // Left behind it does no harm: nobody answers there to the key that it names.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Says in the data folder where this server answers. Without a folder of its own (all keys given
/// from outside) it says nothing, and commands name it with `--url`.
pub fn say_running(config: &Config, url: &str, owner: &Secret) -> Result<Option<Running>, Failure> {
    if !config.data_dir.is_dir() {
        return Ok(None);
    }
    let notice = Notice {
        url: url.to_owned(),
        owner_key: owner.expose().to_owned(),
    };
    let text = Zeroizing::new(serde_json::to_string(&notice).map_err(Failure::of)?);
    let path = config.data_dir.join(SERVER_FILE);
    let draft = hex(&Ambient::real().bytes::<8>());
    files::replace(&path, text.as_bytes(), &draft).map_err(Failure::of)?;
    Ok(Some(Running { path, text }))
}

/// The server that runs on the configured data folder, if one does.
fn running(config: &Config) -> Result<Option<(Notice, Server)>, Failure> {
    let text = fs::read(config.data_dir.join(SERVER_FILE)).map(Zeroizing::new);
    let notice = text
        .ok()
        .and_then(|text| serde_json::from_slice::<Notice>(&text).ok());
    let Some(notice) = notice else {
        return Ok(None);
    };
    let server = Server::new(&notice.url, Secret::new(notice.owner_key.as_str()))?;
    let mut known = false;
    block_on(async {
        known = server.knows_us().await;
        Ok(())
    })?;
    Ok(known.then_some((notice, server)))
}
