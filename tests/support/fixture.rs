//! What integration tests share: a whole broker in process, on a real store, with a provider that
//! does as it is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hundi::ambient::Ambient;
use hundi::broker::{Broker, Keys, Ports, Settings};
use hundi::connector::registry;
use hundi::domain::call::{Call, Reply};
use hundi::domain::change::{Change, DocKey, DocWrite};
use hundi::domain::facts::OnMissing;
use hundi::domain::ids::OrgId;
use hundi::domain::principal::{Principal, Role};
use hundi::domain::time::Timestamp;
use hundi::domain::token::{KeyRing, KeyState, TokenKey};
use hundi::domain::upstream::UpstreamRules;
use hundi::ephemeral::local::Local;
use hundi::store::Store;
use hundi::store::sqlite::Sqlite;
use hundi::wire::{Offered, UpstreamHealth, Wire};
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// A broker on a SQLite store in a folder of its own.
pub struct Fixture {
    pub broker: Broker,
    pub wire: Arc<Provider>,
    pub folder: tempfile::TempDir,
}

impl Fixture {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Self::store(&folder).await;
        Self::over(folder, store)
    }

    /// A store in the folder; opened twice, it is seen as two processes would.
    pub async fn store(folder: &tempfile::TempDir) -> Arc<dyn Store> {
        let path = folder.path().join("hundi.sqlite");
        Arc::new(Sqlite::open(&path, &Ambient::real()).await.unwrap())
    }

    /// A broker over this store.
    pub fn over(folder: tempfile::TempDir, store: Arc<dyn Store>) -> Self {
        let wire = Arc::new(Provider::default());
        let broker = broker(store, Arc::clone(&wire));
        Self {
            broker,
            wire,
            folder,
        }
    }

    /// A fresh key of this role, in the default organisation.
    pub async fn key(&self, role: Role, name: &str) -> String {
        self.key_in(&OrgId::default(), role, name).await
    }

    /// A fresh key of this role in this organisation.
    pub async fn key_in(&self, org: &OrgId, role: Role, name: &str) -> String {
        let made = self
            .broker
            .access
            .create_key(&admin(org), role, name, None)
            .await;
        made.unwrap().1
    }

    /// Gives an agent a policy, under which it may pay the same again and again unless that is
    /// what it says.
    pub async fn policy(&self, agent: &str, mut policy: Value) {
        let map = policy.as_object_mut().unwrap();
        map.entry("duplicates").or_insert(json!({"then": "off"}));
        let write = DocWrite {
            key: DocKey::new("policy", &OrgId::default(), agent),
            expect: None,
            body: Some(policy),
        };
        let change = Change::documents(vec![write], vec![], vec![], vec![]);
        self.broker.ports().store.apply(change).await.unwrap();
        self.broker.refresh().await.unwrap();
    }

    /// A policy under which `noop` is allowed, and held above `hold_above`.
    pub async fn allow_noop(&self, agent: &str, hold_above: i64) {
        let policy = json!({
            "allowed_tools": ["noop"],
            "require_approval_above": hold_above,
            "rate_limit": {"max": 0, "window_secs": 60},
        });
        self.policy(agent, policy).await;
    }
}

/// Another broker on the same or another store.
pub fn broker(store: Arc<dyn Store>, wire: Arc<Provider>) -> Broker {
    let ports = Ports {
        ambient: Ambient::real(),
        store,
        ephemeral: Arc::new(Local::new()),
        wire,
        keys: Arc::new(OneKey::new()),
        sampler: None,
        reputation: None,
        entities: None,
        outbound: None,
        audit_key: None,
        sources: None,
        masters: hundi::domain::envelope::Masters::new(vec![
            hundi::domain::envelope::MasterKey::new("m1", &[5; 32]),
        ]),
        models: None,
        issuer: None,
        spool: None,
    };
    let settings = Settings {
        audience: "test".to_owned(),
        on_missing: OnMissing::Allow,
        upstreams: BTreeMap::from([("shop".to_owned(), UpstreamRules::default())]),
        ..Settings::default()
    };
    Broker::new(ports, settings, registry::tools(true))
}

/// The one who sits at the machine.
pub fn admin(org: &OrgId) -> Principal {
    Principal {
        id: "cli:local".to_owned(),
        name: "local".to_owned(),
        org: org.clone(),
        roles: Role::Admin.into(),
        agent: None,
        person: None,
        server: None,
    }
}

struct OneKey(Arc<KeyRing>);

impl OneKey {
    fn new() -> Self {
        let secret: Vec<u8> = (0..32).collect();
        let at = Timestamp::from_secs(0);
        let key = TokenKey::new("k1", secret.into(), KeyState::Active, at).unwrap();
        Self(Arc::new(KeyRing::new(vec![key])))
    }
}

impl Keys for OneKey {
    fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.0)
    }
}

/// A provider that answers `noop`, counts what it was sent, and can be told to answer otherwise.
pub struct Provider {
    sent: AtomicU64,
    next: Mutex<Option<Reply>>,
    down: Mutex<Option<String>>,
    offers: Mutex<Vec<Offered>>,
    changes: broadcast::Sender<String>,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            sent: AtomicU64::default(),
            next: Mutex::default(),
            down: Mutex::default(),
            offers: Mutex::default(),
            changes: broadcast::channel(4).0,
        }
    }
}

impl Provider {
    /// How many calls arrived.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// What every call hears from now on.
    pub fn answers(&self, reply: Option<Reply>) {
        *self.next.lock().unwrap() = reply;
    }

    /// What the upstream `shop` offers from now on.
    pub fn offers(&self, tools: Vec<Offered>) {
        *self.offers.lock().unwrap() = tools;
        let _ = self.changes.send("shop".to_owned());
    }

    /// What `readyz` hears from now on; `None` is well.
    pub fn reports(&self, trouble: Option<&str>) {
        *self.down.lock().unwrap() = trouble.map(str::to_owned);
    }
}

#[async_trait]
impl Wire for Provider {
    async fn send(&self, _: &Call, _: Duration) -> Reply {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let told = self.next.lock().unwrap().clone();
        told.unwrap_or_else(|| Reply::Result {
            content: json!({"done": true}),
            is_error: false,
        })
    }

    async fn offered(&self, _: &str, _: Duration) -> Result<Vec<Offered>, String> {
        Ok(self.offers.lock().unwrap().clone())
    }

    fn changes(&self) -> broadcast::Receiver<String> {
        self.changes.subscribe()
    }

    fn health(&self) -> Vec<UpstreamHealth> {
        let down = self.down.lock().unwrap().clone();
        vec![UpstreamHealth {
            name: "bank".to_owned(),
            ok: down.is_none(),
            detail: down.unwrap_or_else(|| "running".to_owned()),
        }]
    }
}
