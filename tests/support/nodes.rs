//! Several real `hundi serve` processes on one Postgres, next to one bank process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::postgres;
use super::server::{BankProcess, FirstKeys, HUNDI, Server, TOKEN_KEY};

/// The other keys that nodes share.
pub const AUDIT_KEY: &str = "a01f5c93e7d2486b30fa9e17c4856d21bb7e09f3a8146d5c92e0573bd8416fac";
pub const MASTER_KEY: &str = "c0e84b17d963fa2c5580b1d4067e39fca291d85f3eb6470c18d3952f6ba7e041";

/// What nodes share: a database, a bank, keys.
#[derive(Clone)]
pub struct Cluster {
    pub database: String,
    pub bank: Arc<BankProcess>,
    /// What nodes are started from: the program under test, or an older one.
    pub program: PathBuf,
    keys: Arc<Mutex<Option<FirstKeys>>>,
    folders: Arc<Mutex<HashMap<String, Arc<tempfile::TempDir>>>>,
}

impl Cluster {
    /// Over a fresh schema; `None` where there is no Postgres to be had.
    pub async fn fresh() -> Option<Self> {
        Some(Self::on(postgres::fresh_schema().await?))
    }

    /// Over a database of the caller's.
    pub fn on(database: String) -> Self {
        Self {
            database,
            bank: Arc::new(BankProcess::start()),
            program: HUNDI.into(),
            keys: Arc::default(),
            folders: Arc::default(),
        }
    }

    /// Starts the node of this name, in the folder that it had before.
    pub fn node(&self, name: &str, env: &[(&str, &str)]) -> Server {
        self.try_node(name, env)
            .unwrap_or_else(|said| panic!("node {name} did not get ready: {said}"))
    }

    /// The same; `Err` is what it said instead of getting ready. An empty value in `env` takes a
    /// usual setting away.
    pub fn try_node(&self, name: &str, env: &[(&str, &str)]) -> Result<Server, String> {
        let known = || {
            let keys = self.keys.lock().unwrap().clone();
            keys.expect("some node made the first keys")
        };
        let node = self.raw_node(name, known, env)?;
        let keys = FirstKeys {
            agent: node.agent_key.clone(),
            admin: node.admin_key.clone(),
        };
        *self.keys.lock().unwrap() = Some(keys);
        Ok(node)
    }

    /// The folder of the node of this name, with what it said in `stderr.log`.
    pub fn folder(&self, name: &str) -> Arc<tempfile::TempDir> {
        let mut folders = self.folders.lock().unwrap();
        let folder = folders
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(tempfile::tempdir().unwrap()));
        folder.clone()
    }

    /// The same; `keys` are what it is said to have if it did not make the first ones.
    pub fn raw_node(
        &self,
        name: &str,
        keys: impl FnOnce() -> FirstKeys,
        env: &[(&str, &str)],
    ) -> Result<Server, String> {
        let folder = self.folder(name);
        let sandbox = self.bank.url.trim_start_matches("http://");
        let usual = [
            ("HUNDI_LISTEN", "127.0.0.1:0"),
            ("HUNDI_SANDBOX_LISTEN", sandbox),
            ("HUNDI_DATABASE_URL", self.database.as_str()),
            ("HUNDI_TOKEN_KEY", TOKEN_KEY),
            ("HUNDI_AUDIT_KEY", AUDIT_KEY),
            ("HUNDI_MASTER_KEY", MASTER_KEY),
            ("HUNDI_CALL_DEADLINE_SECS", "2"),
        ];
        let given = |name: &str| env.iter().any(|(other, _)| *other == name);
        let usual = usual.into_iter().filter(|(name, _)| !given(name));
        let env = env.iter().copied().filter(|(_, value)| !value.is_empty());
        let env: Vec<_> = usual.chain(env).collect();
        Server::node(&self.program, folder, self.bank.clone(), keys, &env)
    }
}
