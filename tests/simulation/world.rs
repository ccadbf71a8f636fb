//! The surroundings of the simulated nodes: a clock that jumps, dice that repeat, a store that
//! fails, a bank that fails, and nodes that stop dead.
//!
//! A node that crashed never gets an answer from any port again: what it was doing stands still
//! for ever, exactly as if its process were gone. Its effects up to then remain.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use hundi::ambient::{Ambient, Clock, Random, Steps};
use hundi::broker::{Broker, Keys, Ports, Settings};
use hundi::connector::registry;
use hundi::domain::call::{Call, Reply};
use hundi::domain::change::{Applied, Change, Conflict, Doc, DocKey, Pot, Rows};
use hundi::domain::facts::{Earlier, OnMissing, PastPayout};
use hundi::domain::ids::{AgentId, OrgId, ProposalId};
use hundi::domain::policy::RateLimit;
use hundi::domain::proposal::Proposal;
use hundi::domain::retention::Old;
use hundi::domain::time::Timestamp;
use hundi::domain::token::{KeyRing, KeyState, TokenKey};
use hundi::domain::tool::Tool;
use hundi::ephemeral::{Ephemeral, Window};
use hundi::store::{
    ApplyError, Budget, Lately, ProposalFilter, RecordFilter, Same, Standings, Store, StoreError,
    StoredRecord, Waiting,
};
use hundi::wire::{Offered, UpstreamHealth, Wire};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::books::{Books, Planted};
use super::model::{Model, Paid};

/// Longest that a provider call may take in the simulation.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// The same for every world; made once, because there are thousands a second.
static RING: LazyLock<Arc<KeyRing>> = LazyLock::new(|| {
    let secret = (0..32_u8).collect::<Vec<u8>>().into();
    let key = TokenKey::new("k1", secret, KeyState::Active, Timestamp::default()).unwrap();
    Arc::new(KeyRing::new(vec![key]))
});
static TOOLS: LazyLock<Vec<Arc<Tool>>> =
    LazyLock::new(|| registry::tools(true).into_iter().map(Arc::new).collect());

/// SplitMix64: small, and the same everywhere.
pub struct Dice(AtomicU64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub fn next(&self) -> u64 {
        let state = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to `n - 1`.
    pub fn below(&self, n: u64) -> u64 {
        self.next() % n
    }

    /// True in so many of a thousand cases.
    pub fn permille(&self, n: u64) -> bool {
        self.below(1000) < n
    }
}

/// A mistake in a port or a duty, planted to show that the checks find it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Bugs {
    pub books: Planted,
    /// The claim is answered before it is durable, so that sending comes first.
    pub claim_after_send: bool,
    /// A reply that was lost is taken for a refusal.
    pub lost_is_refused: bool,
    /// A doubt that has lasted for a while is declared a failure.
    pub clock_ends_doubt: bool,
}

/// How the one call fails that a test has picked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fail {
    /// It does nothing and says so.
    NotDone,
    /// It does its work, and the answer is lost.
    AnswerLost,
    /// The same, and for a second nothing can be read back.
    AnswerLostForLong,
    /// The process stops before it.
    CrashBefore,
    /// The process stops right after it.
    CrashAfter,
}

/// The surroundings.
pub struct World {
    pub dice: Dice,
    pub faults: AtomicBool,
    pub bugs: Bugs,
    pub books: Mutex<Books>,
    model: Mutex<Model>,
    /// What happened, in order; kept only where somebody will read it.
    history: Option<Mutex<Vec<String>>>,
    /// The call that fails, counted from 0, and how.
    pub fail_at: Mutex<Option<(u64, Fail)>>,
    /// Until when nothing can be read.
    pub dark_until: Mutex<Option<Instant>>,
    /// Store writes and provider calls so far.
    pub calls: AtomicU64,
    bank: Mutex<Vec<Paid>>,
    bank_keys: Mutex<HashMap<String, (String, usize)>>,
    offset_ms: AtomicI64,
    started: Instant,
}

impl World {
    pub fn new(seed: u64, bugs: Bugs, telling: bool) -> Arc<Self> {
        let mut books = Books::default();
        books.planted = bugs.books;
        Arc::new(Self {
            dice: Dice::new(seed),
            faults: AtomicBool::new(true),
            bugs,
            books: Mutex::new(books),
            model: Mutex::default(),
            history: telling.then(Mutex::default),
            fail_at: Mutex::default(),
            dark_until: Mutex::default(),
            calls: AtomicU64::new(0),
            bank: Mutex::default(),
            bank_keys: Mutex::default(),
            offset_ms: AtomicI64::new(1_795_000_000_000),
            started: Instant::now(),
        })
    }

    pub fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.started.elapsed().as_millis()).unwrap();
        Timestamp::from_millis(self.offset_ms.load(Ordering::Relaxed) + passed)
    }

    pub fn jump(&self, millis: i64) {
        self.offset_ms.fetch_add(millis, Ordering::Relaxed);
        self.seen().clock(self.now());
        self.note(|| format!("clock jumps by {millis} ms"));
    }

    pub fn note(&self, line: impl FnOnce() -> String) {
        if let Some(history) = &self.history {
            let at = self.started.elapsed().as_millis();
            let line = line();
            history.lock().unwrap().push(format!("{at:>7} ms  {line}"));
        }
    }

    /// The model, which sees everything.
    pub fn seen(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// The history so far.
    pub fn told(&self) -> String {
        let history = self.history.as_ref();
        history.map_or_else(String::new, |history| history.lock().unwrap().join("\n"))
    }

    /// Whether the call that begins now is the one that fails.
    fn picked(&self) -> Option<Fail> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let fail_at = *self.fail_at.lock().unwrap();
        fail_at.filter(|(at, _)| *at == call).map(|(_, fail)| fail)
    }

    fn chance(&self, permille: u64) -> bool {
        self.faults.load(Ordering::Relaxed) && self.dice.permille(permille)
    }

    /// The bank, as the sidecar reports it. Runs on even if the caller has gone.
    fn bank_call(&self, call: &Call) -> Value {
        let args: Value = serde_json::from_str(&call.arguments).unwrap();
        let reference = text(&args, "reference_id");
        match call.tool.as_str() {
            "find_transfers" => {
                let bank = self.bank.lock().unwrap();
                let found = bank.iter().filter(|paid| paid.reference == reference);
                let items: Vec<Value> = found.map(transfer).collect();
                let body = json!({"entity": "collection", "count": items.len(), "items": items});
                json!({"status": 200, "body": body})
            }
            "create_transfer" => self.create(&args, reference),
            other => panic!("the simulated bank has no {other}"),
        }
    }

    fn create(&self, args: &Value, reference: String) -> Value {
        let key = text(args, "idempotency_key");
        let body = args.to_string();
        let mut keys = self.bank_keys.lock().unwrap();
        let mut bank = self.bank.lock().unwrap();
        if let Some((known, at)) = keys.get(&key) {
            if *known != body {
                return json!({"status": 400, "body": {"error": {"code": "BAD_REQUEST_ERROR",
                    "description": "Different request body sent for the same Idempotency Header."}}});
            }
            return json!({"status": 200, "body": transfer(&bank[*at])});
        }
        let paid = Paid {
            reference,
            key: key.clone(),
            amount: args["amount"].as_i64().unwrap(),
            to: text(args, "to"),
            id: format!("trf_{:014}", bank.len()),
        };
        self.note(|| format!("bank creates {} for {}", paid.id, paid.reference));
        let intent = self.books.lock().unwrap().is_claimed(&paid.reference);
        self.seen().pays(&paid, intent);
        keys.insert(key, (body, bank.len()));
        bank.push(paid);
        json!({"status": 200, "body": transfer(&bank[bank.len() - 1])})
    }
}

impl World {
    /// Writes, and lets the model see what was written in the same moment.
    pub fn write(&self, who: &str, rows: &Rows) -> Result<Applied, Conflict> {
        let mut books = self.books.lock().unwrap();
        let answer = books.apply(rows);
        if answer.is_ok() {
            self.seen().written(rows, &books.pots);
        }
        drop(books);
        self.tell(who, rows, &answer);
        answer
    }

    fn tell(&self, who: &str, rows: &Rows, answer: &Result<Applied, Conflict>) {
        let Some(proposal) = rows.insert.as_ref().or(rows.update.as_ref()) else {
            return;
        };
        self.note(|| {
            let outcome = match answer {
                Ok(_) => "written".to_owned(),
                Err(conflict) => format!("refused: {conflict}"),
            };
            let (id, state) = (proposal.fixed.id, proposal.state.name());
            let version = proposal.version;
            format!("{who} {id} -> {state} v{version} {outcome}")
        });
    }
}

fn transfer(paid: &Paid) -> Value {
    json!({"id": paid.id, "entity": "transfer", "amount": paid.amount, "currency": "INR",
        "to": paid.to, "reference_id": paid.reference, "status": "processed",
        "created_at": 1_795_000_000})
}

fn text(args: &Value, name: &str) -> String {
    args[name].as_str().unwrap_or_default().to_owned()
}

/// One broker process.
pub struct Node {
    pub name: &'static str,
    pub broker: Broker,
    alive: Arc<AtomicBool>,
}

impl Node {
    pub fn start(world: &Arc<World>, name: &'static str) -> Self {
        world.note(|| format!("{name} starts"));
        let alive = Arc::new(AtomicBool::new(true));
        let port = Port {
            world: world.clone(),
            alive: alive.clone(),
            name,
        };
        let ambient = Ambient {
            clock: Arc::new(port.clone()),
            random: Arc::new(port.clone()),
            steps: Arc::new(port.clone()),
        };
        let ports = Ports {
            ambient,
            store: Arc::new(port.clone()),
            ephemeral: Arc::new(port.clone()),
            wire: Arc::new(port.clone()),
            keys: Arc::new(port),
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
            audience: "simulation".into(),
            on_missing: OnMissing::Allow,
            call_deadline: DEADLINE,
            ..Settings::default()
        };
        Self {
            name,
            broker: Broker::new(ports, settings, TOOLS.iter().cloned()),
            alive,
        }
    }

    pub fn alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    pub fn crash(&self, world: &World) {
        if self.alive.swap(false, Ordering::Relaxed) {
            world.note(|| format!("{} crashes", self.name));
        }
    }
}

#[derive(Clone)]
struct Port {
    world: Arc<World>,
    alive: Arc<AtomicBool>,
    name: &'static str,
}

impl Port {
    /// Every call of a node passes here, before it starts and before it answers.
    async fn still_alive(&self) {
        if !self.alive.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// The process stops here.
    async fn stop(&self) {
        self.alive.store(false, Ordering::Relaxed);
        self.world
            .note(|| format!("{} crashes at the picked call", self.name));
        self.still_alive().await;
    }

    async fn reading(&self) -> Result<(), StoreError> {
        self.still_alive().await;
        sleep(Duration::from_micros(self.world.dice.below(2_000))).await;
        self.still_alive().await;
        let dark = *self.world.dark_until.lock().unwrap();
        if self.world.chance(10) || dark.is_some_and(|until| Instant::now() < until) {
            return Err(StoreError::Unavailable("simulated".into()));
        }
        Ok(())
    }

    fn books<T>(&self, read: impl FnOnce(&Books) -> T) -> T {
        read(&self.world.books.lock().unwrap())
    }
}

impl Clock for Port {
    fn now(&self) -> Timestamp {
        self.world.now()
    }
}

impl Random for Port {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bits = self.world.dice.next().to_le_bytes();
            chunk.copy_from_slice(&bits[..chunk.len()]);
        }
    }
}

impl Steps for Port {
    fn reached(&self, step: &'static str) {
        if self.alive.load(Ordering::Relaxed) && self.world.chance(6) {
            self.alive.store(false, Ordering::Relaxed);
            self.world
                .note(|| format!("{} crashes at {step}", self.name));
        }
    }
}

impl Keys for Port {
    fn ring(&self) -> Arc<KeyRing> {
        RING.clone()
    }
}

#[async_trait]
impl Ephemeral for Port {
    async fn rate(&self, _: &str, _: RateLimit, _: Timestamp) -> Option<Window> {
        Some(Window {
            earlier: 0,
            retry_after_secs: 0,
        })
    }
}

#[async_trait]
impl Wire for Port {
    async fn send(&self, call: &Call, deadline: Duration) -> Reply {
        self.still_alive().await;
        let world = &self.world;
        let picked = world.picked();
        if picked == Some(Fail::CrashBefore) {
            self.stop().await;
        }
        let crash_after = picked == Some(Fail::CrashAfter);
        if world.chance(20) || picked == Some(Fail::NotDone) {
            return Reply::NotSent("simulated".into());
        }
        let slow = if world.chance(80) { 3_000 } else { 60 };
        let there = Duration::from_millis(1 + world.dice.below(slow));
        let back = Duration::from_millis(1 + world.dice.below(60));
        let picked = matches!(picked, Some(Fail::AnswerLost | Fail::AnswerLostForLong));
        let lost_after = world.chance(80) || picked;
        let lost_before = world.chance(60);
        let (error_before, error_after) = (world.chance(40), world.chance(40));
        let garbage = world.chance(20);
        let (far, call) = (self.world.clone(), call.clone());
        // The request travels on its own: neither a deadline nor a crash here calls it back.
        let travel = tokio::spawn(async move {
            sleep(there).await;
            let server_error = json!({"error": {"kind": "http", "status": 503, "body": null}});
            if lost_before {
                return None;
            }
            if error_before {
                return Some(server_error);
            }
            let answer = far.bank_call(&call);
            sleep(back).await;
            match () {
                () if lost_after => None,
                () if error_after => Some(server_error),
                () if garbage => Some(json!({})),
                () => Some(answer),
            }
        });
        let heard = tokio::time::timeout(deadline, async {
            match travel.await {
                Ok(Some(answer)) => answer,
                _ => std::future::pending().await,
            }
        });
        let reply = match heard.await {
            Ok(content) => Reply::Result {
                content,
                is_error: false,
            },
            Err(_) if world.bugs.lost_is_refused => {
                let error = json!({"code": "BAD_REQUEST_ERROR", "description": "planted"});
                let body = json!({"error": error});
                let content = json!({"error": {"kind": "http", "status": 400, "body": body}});
                Reply::Result {
                    content,
                    is_error: true,
                }
            }
            Err(_) => Reply::Lost("no answer in time".into()),
        };
        if crash_after {
            self.stop().await;
        }
        self.still_alive().await;
        reply
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

#[async_trait]
impl Store for Port {
    async fn apply(&self, change: Change) -> Result<Applied, ApplyError> {
        self.still_alive().await;
        let world = &self.world;
        sleep(Duration::from_micros(world.dice.below(3_000))).await;
        self.still_alive().await;
        let picked = world.picked();
        if picked == Some(Fail::CrashBefore) {
            self.stop().await;
        }
        if world.chance(20) || picked == Some(Fail::NotDone) {
            return Err(StoreError::Unavailable("simulated".into()).into());
        }
        if world.chance(5) {
            return Err(StoreError::Unknown("not written".into()).into());
        }
        let claims = change.rows().burn.is_some();
        if world.bugs.claim_after_send && claims && world.faults.load(Ordering::Relaxed) {
            // Answered now, durable later, unless the node stops in between.
            let port = self.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(200)).await;
                port.still_alive().await;
                let _ = port.world.write(port.name, change.rows());
            });
            return Ok(Applied { first_seq: 0 });
        }
        let answer = world.write(self.name, change.rows());
        sleep(Duration::from_micros(world.dice.below(3_000))).await;
        if picked == Some(Fail::CrashAfter) {
            self.stop().await;
        }
        self.still_alive().await;
        if picked == Some(Fail::AnswerLostForLong) {
            *world.dark_until.lock().unwrap() = Some(Instant::now() + Duration::from_secs(1));
        }
        let picked = matches!(picked, Some(Fail::AnswerLost | Fail::AnswerLostForLong));
        if world.chance(15) || picked {
            return Err(StoreError::Unknown("the answer was lost".into()).into());
        }
        Ok(answer?)
    }

    async fn proposal(&self, id: ProposalId) -> Result<Option<Proposal>, StoreError> {
        self.reading().await?;
        Ok(self.books(|books| books.proposals.get(&id).cloned()))
    }

    async fn by_key(
        &self,
        org: &OrgId,
        agent: &AgentId,
        key: &str,
    ) -> Result<Option<Proposal>, StoreError> {
        self.reading().await?;
        Ok(self.books(|books| books.by_key(org, agent, key)))
    }

    async fn proposals(&self, _: &ProposalFilter) -> Result<Vec<Proposal>, StoreError> {
        self.reading().await?;
        Ok(self.books(|books| books.proposals.values().rev().cloned().collect()))
    }

    async fn lapsed(&self, now: Timestamp, limit: u32) -> Result<Vec<Proposal>, StoreError> {
        self.reading().await?;
        Ok(self.books(|books| books.lapsed(now, limit)))
    }

    async fn unsettled(&self, now: Timestamp, limit: u32) -> Result<Vec<Proposal>, StoreError> {
        self.reading().await?;
        Ok(self.books(|books| books.unsettled(now, limit)))
    }

    async fn standings(&self) -> Result<Standings, StoreError> {
        Ok(Standings::default())
    }

    async fn doc(&self, key: &DocKey) -> Result<Option<Doc>, StoreError> {
        self.reading().await?;
        Ok(self.books(|books| books.doc(key)))
    }

    async fn docs(&self, kind: &str, org: Option<&OrgId>) -> Result<Vec<Doc>, StoreError> {
        self.reading().await?;
        Ok(self.books(|books| books.docs(kind, org)))
    }

    async fn docs_epoch(&self) -> Result<u64, StoreError> {
        self.reading().await?;
        Ok(self.books(Books::epoch))
    }

    async fn records(&self, _: &RecordFilter) -> Result<Vec<StoredRecord>, StoreError> {
        Ok(Vec::new())
    }

    async fn budget(&self, pot: &Pot) -> Result<Budget, StoreError> {
        self.reading().await?;
        Ok(self.books(|books| books.pots.get(pot).copied().unwrap_or_default()))
    }

    async fn history(
        &self,
        org: &OrgId,
        agent: &AgentId,
        limit: u32,
    ) -> Result<Vec<PastPayout>, StoreError> {
        self.reading().await?;
        Ok(self.books(|books| books.history(org, agent, limit)))
    }

    async fn sum_lately(&self, lately: &Lately) -> Result<i64, StoreError> {
        self.reading().await?;
        Ok(self.books(|books| {
            books
                .lately(lately)
                .map(|p| p.fixed.effective.minor())
                .sum()
        }))
    }

    async fn same_lately(
        &self,
        lately: &Lately,
        same: &Same,
    ) -> Result<Option<Earlier>, StoreError> {
        self.reading().await?;
        Ok(self.books(|books| {
            let mut all = books.lately(lately);
            let found = all.find(|p| p.fixed.effective.minor() == same.amount)?;
            Some(Earlier {
                proposal: Some(found.fixed.id),
                at: found.fixed.created_at,
                state: found.state,
            })
        }))
    }

    async fn agents(&self, org: &OrgId) -> Result<Vec<AgentId>, StoreError> {
        Ok(self.books(|books| books.agents(org)))
    }

    async fn take_notices(
        &self,
        _: Timestamp,
        _: Timestamp,
        _: u32,
    ) -> Result<Vec<Waiting>, StoreError> {
        Ok(Vec::new())
    }

    async fn notice_done(&self, _: i64, _: Option<Timestamp>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn prune_nonces(&self, _: i64, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn count_old(&self, _: Old, _: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn drop_old(&self, _: Old, _: Timestamp, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
