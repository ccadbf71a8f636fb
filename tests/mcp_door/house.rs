//! A broker on a store of its own, with one key per role, a policy that allows its agents
//! everything, and a far side that counts what reaches it and can be made to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hundi::ambient::{Ambient, Clock};
use hundi::broker::{Broker, Ports, Settings};
use hundi::connector::registry;
use hundi::domain::call::{Call, Reply};
use hundi::domain::change::{Change, DocKey, DocWrite};
use hundi::domain::facts::OnMissing;
use hundi::domain::ids::OrgId;
use hundi::domain::policy::{Policy, RateLimit};
use hundi::domain::principal::{Principal, Role};
use hundi::domain::time::Timestamp;
use hundi::domain::tool::{Executor, Risk, Tool};
use hundi::ephemeral::local::Local;
use hundi::keyring::FileKeys;
use hundi::store::Store;
use hundi::store::sqlite::Sqlite;
use hundi::wire::{Heard, Offered, UpstreamHealth, Wire};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// The far side: answers every call with what it was sent.
pub struct Far {
    reached: AtomicUsize,
    turns: Semaphore,
}

impl Far {
    /// How many calls have reached it.
    pub fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// From now on, calls wait until [`Far::answer`] lets one through.
    pub fn hold(&self) {
        self.turns.forget_permits(usize::MAX);
    }

    /// Calls no longer wait.
    pub fn release(&self) {
        self.turns.add_permits(MANY);
    }

    /// Lets one waiting call through.
    pub fn answer(&self) {
        self.turns.add_permits(1);
    }
}

const MANY: usize = 1_000_000;

#[async_trait]
impl Wire for Far {
    async fn send(&self, call: &Call, _: Duration) -> Reply {
        self.reached.fetch_add(1, Ordering::SeqCst);
        self.turns.acquire().await.unwrap().forget();
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        Reply::Result {
            content: json!({"did": call.tool, "with": arguments}),
            is_error: false,
        }
    }

    async fn relay(&self, call: &Call, deadline: Duration) -> Heard {
        let reply = self.send(call, deadline).await;
        let text = |text: &str| json!({"type": "text", "text": text});
        let image = json!({"type": "image", "data": "aGk=", "mimeType": "image/png"});
        let blocks = json!([text("one"), image, text("two")]);
        Heard { reply, blocks }
    }

    async fn offered(&self, _: &str, _: Duration) -> Result<Vec<Offered>, String> {
        Ok(Vec::new())
    }

    fn changes(&self) -> tokio::sync::broadcast::Receiver<String> {
        tokio::sync::broadcast::channel(1).1
    }

    fn health(&self) -> Vec<UpstreamHealth> {
        Vec::new()
    }
}

/// The machine's clock, moved forward by as many seconds as a test says.
#[derive(Default)]
struct Moved(AtomicI64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        let now = Ambient::real().now();
        now.plus_secs(self.0.load(Ordering::SeqCst))
    }
}

/// One role's key, and who holds it.
#[derive(Clone)]
pub struct Holder {
    pub key: String,
    pub who: Principal,
}

pub struct House {
    pub broker: Broker,
    pub far: Arc<Far>,
    pub agent: Holder,
    pub other_agent: Holder,
    pub approver: Holder,
    pub auditor: Holder,
    pub admin: Holder,
    clock: Arc<Moved>,
    _folder: TempDir,
}

impl House {
    /// With the built-in tools of the sandbox and `look`, a low-risk tool of an upstream.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Moved::default());
        let ambient = Ambient {
            clock: clock.clone(),
            ..Ambient::real()
        };
        let store = Sqlite::open(&folder.path().join("hundi.db"), &ambient).await;
        let store = Arc::new(store.unwrap());
        let far = Arc::new(Far {
            reached: AtomicUsize::new(0),
            turns: Semaphore::new(MANY),
        });
        let settings = Settings {
            audience: store.instance().to_owned(),
            on_missing: OnMissing::Allow,
            ..Settings::default()
        };
        let ports = Ports {
            ambient: ambient.clone(),
            store: store.clone(),
            ephemeral: Arc::new(Local::new()),
            wire: far.clone(),
            keys: Arc::new(FileKeys::open(folder.path(), ambient).unwrap()),
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
        let mut tools = registry::tools(true);
        tools.push(look());
        let broker = Broker::new(ports, settings, tools);
        let holder = |role, name: &'static str| holder(&broker, role, name);
        let house = Self {
            agent: holder(Role::Agent, "anna").await,
            other_agent: holder(Role::Agent, "bert").await,
            approver: holder(Role::Approver, "carla").await,
            auditor: holder(Role::Auditor, "doris").await,
            admin: holder(Role::Admin, "emil").await,
            broker: broker.clone(),
            far,
            clock,
            _folder: folder,
        };
        for agent in [&house.agent, &house.other_agent] {
            allow_everything(&*store, &agent.who).await;
        }
        house
    }

    /// It is so much later from now on.
    pub fn later(&self, secs: i64) {
        self.clock.0.fetch_add(secs, Ordering::SeqCst);
    }

    /// Every proposal of `tool` waits for a person from now on.
    pub fn hold(&self, tool: &str) {
        let mut tools = (*self.broker.tools.catalogue().tools(&Default::default())).clone();
        let mut held = (*tools[tool]).clone();
        held.hold = true;
        tools.insert(tool.to_owned(), Arc::new(held));
        self.broker.tools.catalogue().replace(tools);
    }
}

async fn holder(broker: &Broker, role: Role, name: &str) -> Holder {
    let org: OrgId = "default".parse().unwrap();
    let founder = Principal {
        id: "cli:local".into(),
        name: "founder".into(),
        org,
        roles: Role::Admin.into(),
        agent: None,
        person: None,
        server: None,
    };
    let (_, key) = broker
        .access
        .create_key(&founder, role, name, None)
        .await
        .unwrap();
    let who = broker.access.authenticate(&key).await.unwrap();
    Holder { key, who }
}

async fn allow_everything(store: &dyn Store, agent: &Principal) {
    let policy = Policy {
        allowed_tools: Some(vec!["*".into()]),
        rate_limit: RateLimit {
            max: 0,
            window_secs: 60,
        },
        // These tests ask for the same again and again.
        ..serde_json::from_value(json!({"duplicates": {"then": "off"}})).unwrap()
    };
    let id = agent.agent.as_ref().unwrap().as_str();
    let write = DocWrite {
        key: DocKey::new("policy", &agent.org, id),
        expect: None,
        body: Some(serde_json::to_value(policy).unwrap()),
    };
    let change = Change::documents(vec![write], Vec::new(), Vec::new(), Vec::new());
    store.apply(change).await.unwrap();
}

/// A read-only tool of an upstream.
fn look() -> Tool {
    let mut tool = registry::tools(true).pop().unwrap();
    tool.name = "look".parse().unwrap();
    tool.description = "Looks something up.".into();
    tool.input_schema = json!({
        "type": "object",
        "properties": {"id": {"type": "string"}},
        "required": ["id"],
        "additionalProperties": false,
    });
    tool.output_schema = None;
    tool.risk = Risk::Low;
    tool.executor = Executor::Upstream {
        upstream: "library".into(),
        tool: "look".into(),
        rule: Default::default(),
    };
    tool.checker = Default::default();
    tool
}
