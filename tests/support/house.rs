//! A broker over a real SQLite file, with a clock that tests set and a bank that lives in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hundi::ambient::{Ambient, Clock};
use hundi::broker::{Broker, Keys, Ports, ProposeRequest, Settings};
use hundi::connector::registry;
use hundi::domain::audit::AuditKey;
use hundi::domain::call::{Call, Reply};
use hundi::domain::change::{Change, DocKey, DocWrite};
use hundi::domain::facts::OnMissing;
use hundi::domain::ids::OrgId;
use hundi::domain::policy::{Duplicates, Policy, Repeat};
use hundi::domain::principal::{Principal, Role};
use hundi::domain::time::Timestamp;
use hundi::domain::token::{KeyRing, KeyState, TokenKey};
use hundi::ephemeral::local::Local;
use hundi::store::Store;
use hundi::store::sqlite::Sqlite;
use hundi::wire::{Offered, UpstreamHealth, Wire};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use zeroize::Zeroizing;

/// When every house begins: 2026-11-20T10:00:00Z.
pub const START: Timestamp = Timestamp::from_secs(1_795_168_800);

/// A clock that stands still until it is moved.
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn forward(&self, secs: i64) {
        self.0.fetch_add(secs * 1_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

struct FixedRing(Arc<KeyRing>);

impl Keys for FixedRing {
    fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.0)
    }
}

/// A bank in memory, answering as the sidecar does.
#[derive(Default)]
pub struct Bank {
    payouts: Mutex<BTreeMap<String, Value>>,
    calls: Mutex<Vec<(String, Value)>>,
    down: Mutex<bool>,
    approved: Mutex<Vec<String>>,
}

impl Bank {
    /// A payout that somebody else made.
    pub fn put(&self, payout: Value) {
        let id = payout["id"].as_str().unwrap().to_owned();
        self.payouts.lock().unwrap().insert(id, payout);
    }

    pub fn payout(&self, id: &str) -> Value {
        self.payouts.lock().unwrap()[id].clone()
    }

    pub fn calls(&self, tool: &str) -> Vec<Value> {
        let calls = self.calls.lock().unwrap();
        let of_tool = calls.iter().filter(|(name, _)| name == tool);
        of_tool.map(|(_, args)| args.clone()).collect()
    }

    /// Payouts that were approved at the bank, in order.
    pub fn approved(&self) -> Vec<String> {
        self.approved.lock().unwrap().clone()
    }

    pub fn set_down(&self, down: bool) {
        *self.down.lock().unwrap() = down;
    }

    fn answer(&self, tool: &str, args: &Value) -> Reply {
        let mut payouts = self.payouts.lock().unwrap();
        let id = args["payout_id"].as_str().unwrap_or_default().to_owned();
        let waiting = payouts.get(&id).cloned();
        let differs = waiting.as_ref().and_then(|payout| {
            let mut compared = ["amount", "fund_account_id"].into_iter();
            compared.find(|field| {
                args.get(*field)
                    .is_some_and(|named| *named != payout[*field])
            })
        });
        let mut step = |from: &str, to: &str| match payouts.get_mut(&id) {
            Some(payout) if payout["status"] == from => {
                payout["status"] = json!(to);
                answer(payout.clone())
            }
            _ => refusal("Payout is not in the right state."),
        };
        match tool {
            "approve_payout" | "reject_payout" | "cancel_payout" if differs.is_some() => {
                precondition(differs.unwrap_or_default())
            }
            // As the sidecar does: what needs no approval is shown as it is.
            "approve_payout" => match waiting {
                Some(shown) if shown["status"] != "pending" => answer(shown),
                Some(_) | None => {
                    self.approved.lock().unwrap().push(id.clone());
                    step("pending", "processing")
                }
            },
            "reject_payout" => step("pending", "rejected"),
            "cancel_payout" => step("queued", "cancelled"),
            "fetch_payout" => match payouts.get(&id) {
                Some(payout) => answer(payout.clone()),
                None => refusal("The id provided does not exist."),
            },
            "create_payout" => {
                let mut payout = args.clone();
                let count = payouts.len();
                payout["id"] = json!(format!("pout_made{count:010}"));
                payout["entity"] = json!("payout");
                payout["status"] = json!("processing");
                payouts.insert(payout["id"].as_str().unwrap().to_owned(), payout.clone());
                answer(payout)
            }
            "list_payouts" | "find_payouts" => {
                let wanted = |payout: &&Value| {
                    ["status", "reference_id"]
                        .iter()
                        .all(|field| args.get(*field).is_none_or(|want| *want == payout[*field]))
                };
                let number = |field: &str, usual: u64| args[field].as_u64().unwrap_or(usual);
                let (skip, count) = (number("skip", 0), number("count", 10));
                let page = payouts.values().rev().filter(wanted);
                let page = page.skip(skip.try_into().unwrap());
                let items: Vec<_> = page.take(count.try_into().unwrap()).cloned().collect();
                answer(json!({"entity": "collection", "count": items.len(), "items": items}))
            }
            "noop" => Reply::Result {
                content: json!({}),
                is_error: false,
            },
            _ => Reply::NotSent(format!("no tool {tool}")),
        }
    }
}

fn answer(body: Value) -> Reply {
    Reply::Result {
        content: json!({"status": 200, "body": body}),
        is_error: false,
    }
}

fn precondition(field: &str) -> Reply {
    let detail = format!("the payout has another {field}");
    let error =
        json!({"kind": "precondition", "code": format!("{field}_mismatch"), "detail": detail});
    Reply::Result {
        content: json!({"error": error}),
        is_error: true,
    }
}

fn refusal(description: &str) -> Reply {
    let error = json!({"code": "BAD_REQUEST_ERROR", "description": description});
    Reply::Result {
        content: json!({"error": {"kind": "http", "status": 400, "body": {"error": error}}}),
        is_error: true,
    }
}

struct BankWire {
    bank: Arc<Bank>,
    changes: broadcast::Sender<String>,
}

#[async_trait]
impl Wire for BankWire {
    async fn send(&self, call: &Call, _: Duration) -> Reply {
        if *self.bank.down.lock().unwrap() {
            return Reply::Lost("the bank is down".to_owned());
        }
        let args: Value = serde_json::from_str(&call.arguments).unwrap();
        let made = (call.tool.clone(), args.clone());
        self.bank.calls.lock().unwrap().push(made);
        self.bank.answer(&call.tool, &args)
    }

    async fn offered(&self, _: &str, _: Duration) -> Result<Vec<Offered>, String> {
        Ok(Vec::new())
    }

    fn changes(&self) -> broadcast::Receiver<String> {
        self.changes.subscribe()
    }

    fn health(&self) -> Vec<UpstreamHealth> {
        Vec::new()
    }
}

/// Everything a test needs of one broker, and the folder it lives in.
pub struct House {
    pub broker: Broker,
    pub store: Arc<dyn Store>,
    pub clock: Arc<TestClock>,
    pub bank: Arc<Bank>,
    pub dir: Arc<tempfile::TempDir>,
}

/// What a house is built with beyond the usual.
#[derive(Default)]
pub struct Plan {
    pub settings: Settings,
    pub outbound: Option<Arc<dyn hundi::wire::Outbound>>,
    pub spool: Option<Arc<dyn hundi::store::Spool>>,
    pub reputation: Option<Arc<dyn hundi::wire::ReputationSource>>,
    pub entities: Option<Arc<dyn hundi::wire::EntitySource>>,
    pub issuer: Option<Arc<dyn hundi::wire::IssuerDocument>>,
    /// Instead of the bank in memory.
    pub wire: Option<Arc<dyn Wire>>,
}

impl House {
    pub async fn new() -> Self {
        Self::with(Plan::default()).await
    }

    pub async fn with(plan: Plan) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(TestClock(AtomicI64::new(START.millis())));
        Self::open(plan, dir, clock, Arc::new(Bank::default())).await
    }

    /// Another process on the same folder, or the same one after a restart.
    pub async fn again(&self, plan: Plan) -> Self {
        let (dir, clock, bank) = (self.dir.clone(), self.clock.clone(), self.bank.clone());
        Self::open(plan, dir, clock, bank).await
    }

    async fn open(
        plan: Plan,
        dir: Arc<tempfile::TempDir>,
        clock: Arc<TestClock>,
        bank: Arc<Bank>,
    ) -> Self {
        let mut ambient = Ambient::real();
        ambient.clock = clock.clone();
        let path = dir.path().join("hundi.db");
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path, &ambient).await.unwrap());
        let secret = Zeroizing::new((0..32_u8).map(|n| n.wrapping_mul(37)).collect());
        let key = TokenKey::new("k1", secret, KeyState::Active, START).unwrap();
        let ports = Ports {
            ambient,
            store: store.clone(),
            ephemeral: Arc::new(Local::new()),
            wire: plan.wire.unwrap_or_else(|| {
                Arc::new(BankWire {
                    bank: bank.clone(),
                    changes: broadcast::channel(1).0,
                })
            }),
            keys: Arc::new(FixedRing(Arc::new(KeyRing::new(vec![key])))),
            sampler: None,
            reputation: plan.reputation,
            entities: plan.entities,
            outbound: plan.outbound,
            audit_key: AuditKey::from_bytes(&[7; 32]).map(Arc::new),
            sources: None,
            masters: hundi::domain::envelope::Masters::new(vec![
                hundi::domain::envelope::MasterKey::new("m1", &[5; 32]),
            ]),
            models: None,
            issuer: plan.issuer,
            spool: plan.spool,
        };
        let settings = Settings {
            audience: "test".to_owned(),
            on_missing: OnMissing::Allow,
            ..plan.settings
        };
        let broker = Broker::new(ports, settings, registry::tools(true));
        Self {
            broker,
            store,
            clock,
            bank,
            dir,
        }
    }

    /// Gives an agent a policy, under which it may pay the same again and again unless it says
    /// something of its own about that.
    pub async fn policy(&self, agent: &str, policy: &Policy) {
        let mut policy = policy.clone();
        if policy.duplicates == Duplicates::default() {
            policy.duplicates.then = Repeat::Off;
        }
        let key = DocKey::new("policy", &OrgId::default(), agent);
        let write = DocWrite {
            key,
            expect: None,
            body: Some(serde_json::to_value(&policy).unwrap()),
        };
        self.store
            .apply(Change::documents(vec![write], vec![], vec![], vec![]))
            .await
            .unwrap();
        self.broker.refresh().await.unwrap();
    }

    /// Has a built-in tool be another than it is.
    pub fn alter(&self, name: &str, change: impl Fn(&mut hundi::domain::tool::Tool)) {
        let mut tools: BTreeMap<_, _> = registry::tools(true)
            .into_iter()
            .map(|tool| (tool.name.to_string(), Arc::new(tool)))
            .collect();
        change(Arc::make_mut(tools.get_mut(name).unwrap()));
        self.broker.tools.catalogue().replace(tools);
    }

    /// An agent's transfer in the sandbox.
    pub async fn transfer(&self, agent: &str, amount: i64) -> hundi::broker::Proposed {
        let request = ProposeRequest {
            tool: "transfer_funds".to_owned(),
            arguments: json!({"amount": amount, "to": "acct_123"}),
            ..ProposeRequest::default()
        };
        self.broker
            .pay
            .propose(&agent_of(agent), request)
            .await
            .unwrap()
    }
}

/// A principal that acts as this agent.
pub fn agent_of(agent: &str) -> Principal {
    Principal {
        id: format!("key:{agent}"),
        name: agent.to_owned(),
        org: OrgId::default(),
        roles: Role::Agent.into(),
        agent: Some(agent.parse().unwrap()),
        person: None,
        server: None,
    }
}

/// A person with this role.
pub fn person(role: Role) -> Principal {
    Principal {
        id: format!("key:{}", role.name()),
        name: role.name().to_owned(),
        org: OrgId::default(),
        roles: role.into(),
        agent: None,
        person: None,
        server: None,
    }
}
