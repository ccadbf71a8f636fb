//! Deterministic simulation of the real broker: one thread, a seeded clock, seeded randomness, two
//! nodes over one store and one bank, all of which fail.
//!
//! Each seed is one history: agents propose, commit and withdraw on both nodes while the store
//! errs and loses answers, the bank errs, hangs and loses answers, nodes crash at every step and
//! the wall clock jumps. Then everything heals and has its time. The whole while an independent
//! model ([`model`]) checks the invariants of the promises against what it saw from outside.
//!
//! A failing seed prints its history. The commands, from the shortest to the longest:
//!
//! ```text
//! HUNDI_SIM_SEED=7 cargo test --test simulation money -- --nocapture       one history, told in full
//! tests/run                                                          10,000 histories, in a debug build
//! HUNDI_SIM_SEEDS=1000000 [HUNDI_SIM_FROM=...] \
//!     cargo test --profile sim --test simulation money -- --nocapture
//! ```
//!
//! A history takes some 7 ms of a core in a debug build and well under 1 ms in the `sim` profile,
//! which costs minutes to build: it pays from a hundred thousand histories on.
#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail loudly, in its helpers too"
)]

mod books;
mod model;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use books::Planted;
use hundi::broker::{Broker, CommitRequest, Committed, ProposeRequest, Proposed, Trouble};
use hundi::domain::call::ProviderError;
use hundi::domain::change::{Change, DocKey, DocWrite};
use hundi::domain::ids::{OrgId, ProposalId};
use hundi::domain::principal::{Principal, Role};
use hundi::domain::proposal::State;
use model::{LIMIT, Told};
use serde_json::json;
use tokio::time::{sleep, timeout};
use world::{Bugs, Fail, Node, World};

/// Histories where nobody said how many.
const SEEDS: u64 = 500;
/// Histories after which a planted mistake must have been found.
const ENOUGH: u64 = 5_000;
/// How long recovery may take after everything healed (invariant I6).
const CALM: Duration = Duration::from_secs(60);
/// Longer than anything travels: what arrives late arrives within this time.
const LATE: Duration = Duration::from_secs(5);
/// Longest that a caller waits.
const PATIENCE: Duration = Duration::from_secs(8);

/// How much happens in one history. Most are small, because a mistake that needs much to happen
/// is rare and one that needs a certain order is not; some are large all the same.
struct Shape {
    agents: u64,
    rounds: u64,
    /// Longest pause of an agent before each round, milliseconds.
    pause: u64,
}

impl Shape {
    fn of(world: &World) -> Self {
        if world.dice.below(64) == 0 {
            return Self {
                agents: 8,
                rounds: 3,
                pause: 4_000,
            };
        }
        Self {
            agents: 1 + world.dice.below(4),
            rounds: 1,
            pause: 500 + world.dice.below(1_500),
        }
    }
}

struct History {
    world: Arc<World>,
    nodes: Mutex<[Arc<Node>; 2]>,
}

fn agent() -> Principal {
    Principal {
        id: "key:sim".into(),
        name: "sim".into(),
        org: OrgId::default(),
        roles: Role::Agent.into(),
        agent: Some("sim-agent".parse().unwrap()),
        person: None,
        server: None,
    }
}

impl History {
    fn broker(&self) -> Broker {
        let which = usize::try_from(self.world.dice.below(2)).unwrap();
        self.nodes.lock().unwrap()[which].broker.clone()
    }

    async fn propose(&self, request: &ProposeRequest) -> Option<Proposed> {
        for _ in 0..4 {
            let broker = self.broker();
            let who = agent();
            let asked = broker.pay.propose(&who, request.clone());
            match timeout(PATIENCE, asked).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(Trouble::StoreUnavailable | Trouble::Changed)) | Err(_) => {}
                Ok(Err(other)) => panic!("propose answered {other:?}"),
            }
        }
        None
    }

    /// One commit, as a caller sees it. `proposed` tells what is genuine about it.
    async fn commit(&self, proposed: &Proposed, request: CommitRequest) {
        let world = &self.world;
        let id = proposed.proposal.fixed.id;
        let Some(token) = &proposed.token else { return };
        let genuine = request.commit_token == token.text
            && request.arguments == proposed.proposal.fixed.args.value();
        let now = world.now();
        let attempt = world.seen().begins(id, genuine, token.expires_at, now);
        let broker = self.broker();
        let who = agent();
        let told = match timeout(PATIENCE, broker.pay.commit(&who, request)).await {
            Ok(Ok(Committed::Settled(proposal))) if proposal.state == State::Failed => Told::Failed,
            Ok(Ok(Committed::Settled(_))) => Told::Committed,
            Ok(Ok(Committed::Refused { .. })) => Told::Refused,
            Ok(Ok(Committed::InDoubt(_)) | Err(_)) | Err(_) => Told::Unclear,
        };
        world.note(|| format!("caller hears {told:?} for {id}"));
        world.seen().ends(id, attempt, told);
    }

    async fn withdraw(&self, id: ProposalId) {
        let broker = self.broker();
        let who = agent();
        let answer = timeout(PATIENCE, broker.pay.cancel(&who, id)).await;
        if matches!(answer, Ok(Ok(proposed)) if proposed.proposal.state == State::Cancelled) {
            self.world
                .note(|| format!("caller hears that {id} is withdrawn"));
            self.world.seen().withdrawn(id);
        }
    }

    /// Restarts whatever stopped.
    fn raise(&self) {
        for node in self.nodes.lock().unwrap().iter_mut() {
            if !node.alive() {
                *node = start(&self.world, node.name);
            }
        }
    }
}

async fn one_agent(history: Arc<History>, number: u64, shape: Arc<Shape>) {
    let dice = &history.world.dice;
    for round in 0..shape.rounds {
        sleep(Duration::from_millis(dice.below(shape.pause))).await;
        let amount = 1 + i64::try_from(dice.below(90)).unwrap();
        let request = ProposeRequest {
            tool: "transfer_funds".into(),
            arguments: json!({"amount": amount, "to": format!("acct_{number}")}),
            idempotency_key: Some(format!("{number}-{round}")),
            ..ProposeRequest::default()
        };
        let Some(answer) = history.propose(&request).await else {
            continue;
        };
        let Some(token) = answer.token.clone() else {
            continue;
        };
        let answer = Arc::new(answer);
        let commit = CommitRequest {
            proposal_id: answer.proposal.fixed.id.to_string(),
            commit_token: token.text,
            tool: None,
            arguments: request.arguments,
        };
        let mut tries = tokio::task::JoinSet::new();
        for attempt in 0..=dice.below(3) {
            let mut commit = commit.clone();
            if attempt > 0 && dice.permille(150) {
                commit.arguments["amount"] = json!(amount + 1);
            }
            if attempt > 0 && dice.permille(100) {
                commit.commit_token.pop();
            }
            let (history, answer) = (history.clone(), answer.clone());
            let pause = Duration::from_millis(dice.below(300));
            tries.spawn(async move {
                sleep(pause).await;
                history.commit(&answer, commit).await;
            });
        }
        if dice.permille(120) {
            sleep(Duration::from_millis(dice.below(200))).await;
            history.withdraw(answer.proposal.fixed.id).await;
        }
        while tries.join_next().await.is_some() {}
        if dice.permille(400) {
            // Somebody keeps a copy of the token and tries it again much later.
            sleep(Duration::from_millis(dice.below(3_000))).await;
            history.commit(&answer, commit).await;
        }
    }
}

/// The duties of one node, until it stops.
async fn duties(world: Arc<World>, node: Arc<Node>) {
    while node.alive() {
        sleep(Duration::from_millis(600 + world.dice.below(600))).await;
        let _ = node.broker.pay.reconcile(16).await;
        let _ = node.broker.pay.lapse(16).await;
        let _ = node.broker.refresh().await;
    }
}

fn start(world: &Arc<World>, name: &'static str) -> Arc<Node> {
    let node = Arc::new(Node::start(world, name));
    tokio::spawn(duties(world.clone(), node.clone()));
    node
}

/// Stops nodes now and then, restarts them, and moves the clock.
async fn storm(history: Arc<History>) {
    const JUMPS: [i64; 6] = [
        60_000,
        -60_000,
        3_600_000,
        -3_600_000,
        86_400_000,
        -86_400_000,
    ];
    let world = &history.world;
    loop {
        sleep(Duration::from_millis(250)).await;
        if world.bugs.books.stale_budget {
            world.books.lock().unwrap().remember_pots();
        }
        if world.dice.permille(25) {
            let jump = JUMPS[usize::try_from(world.dice.below(6)).unwrap()];
            world.jump(jump);
        }
        for node in history.nodes.lock().unwrap().iter_mut() {
            if node.alive() && world.dice.permille(25) {
                node.crash(world);
            } else if !node.alive() && world.dice.permille(300) {
                *node = start(world, node.name);
            }
        }
    }
}

async fn planted_clock(world: Arc<World>) {
    loop {
        sleep(Duration::from_secs(3)).await;
        let books = world.books.lock().unwrap();
        let doubtful: Vec<_> = books
            .proposals
            .values()
            .filter(|p| p.state == State::InDoubt)
            .cloned()
            .collect();
        drop(books);
        for proposal in doubtful {
            let error = ProviderError {
                code: "timeout".into(),
                description: String::new(),
            };
            let (change, _) = Change::refuse(&proposal, error, world.now(), "planted").unwrap();
            let _ = world.write("the planted clock", change.rows());
        }
    }
}

/// One history, and what was told of it. `Err` says which invariant broke.
fn run(seed: u64, bugs: Bugs, telling: bool) -> (Result<(), String>, Arc<World>) {
    simulate(
        || World::new(seed, bugs, telling),
        |world| async move {
            let shape = Arc::new(Shape::of(&world));
            let history = open(&world);
            let weather = tokio::spawn(storm(history.clone()));
            if bugs.clock_ends_doubt {
                tokio::spawn(planted_clock(world.clone()));
            }
            let mut agents = tokio::task::JoinSet::new();
            for number in 0..shape.agents {
                agents.spawn(one_agent(history.clone(), number, shape.clone()));
            }
            while let Some(ended) = agents.join_next().await {
                ended.map_err(|error| format!("an agent met a panic: {error}"))?;
            }
            weather.abort();
            heal(&history).await;
            fresh_cycle_on_every_node(&history).await
        },
    )
}

/// Runs a world on a runtime of its own, whose time passes only when everybody waits.
fn simulate<F>(
    world: impl FnOnce() -> Arc<World>,
    story: impl FnOnce(Arc<World>) -> F,
) -> (Result<(), String>, Arc<World>)
where
    F: Future<Output = Result<(), String>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = world();
        let ended = story(world.clone()).await;
        let broken = world.seen().broken().cloned();
        (ended.and(broken.map_or(Ok(()), Err)), world)
    })
}

fn open(world: &Arc<World>) -> Arc<History> {
    give_policy(world);
    Arc::new(History {
        world: world.clone(),
        nodes: Mutex::new([start(world, "north"), start(world, "south")]),
    })
}

fn give_policy(world: &World) {
    let key = DocKey::new("policy", &OrgId::default(), "sim-agent");
    let body = json!({"daily_limit": LIMIT, "rate_limit": {"max": 0, "window_secs": 60},
        "duplicates": {"then": "off"}});
    world.books.lock().unwrap().write_doc(&DocWrite {
        key,
        expect: None,
        body: Some(body),
    });
}

/// Nothing fails any more: whatever is under way ends, within its time, and then the books must
/// agree with the bank.
async fn heal(history: &History) {
    let world = &history.world;
    world.note(|| "everything heals".into());
    world.faults.store(false, Ordering::Relaxed);
    *world.fail_at.lock().unwrap() = None;
    history.raise();
    // What a dead node or a caller without patience left behind may still be on its way.
    sleep(LATE).await;
    let mut waited = LATE;
    while waited < CALM && world.books.lock().unwrap().is_busy() {
        sleep(Duration::from_millis(500)).await;
        waited += Duration::from_millis(500);
    }
    let books = world.books.lock().unwrap();
    world.seen().at_rest(books.proposals.values(), &books.pots);
}

/// I9: a fresh propose and commit succeeds on every node. On a day that no jump of the clock can
/// have reached before, so that there is budget.
async fn fresh_cycle_on_every_node(history: &History) -> Result<(), String> {
    history.world.jump(1_000 * 86_400_000);
    for which in 0..2 {
        let node = history.nodes.lock().unwrap()[which].clone();
        let arguments = json!({"amount": 1, "to": "acct_fresh"});
        let request = ProposeRequest {
            tool: "transfer_funds".into(),
            arguments: arguments.clone(),
            ..ProposeRequest::default()
        };
        let proposed = node.broker.pay.propose(&agent(), request).await;
        let answer = proposed.map_err(|error| format!("I9: {}: {error}", node.name))?;
        let token = answer.token.clone();
        let token = token.ok_or_else(|| format!("I9: {}: no token", node.name))?;
        let id = answer.proposal.fixed.id;
        let commit = CommitRequest {
            proposal_id: id.to_string(),
            commit_token: token.text,
            tool: None,
            arguments,
        };
        let now = history.world.now();
        history.world.seen().begins(id, true, token.expires_at, now);
        match node.broker.pay.commit(&agent(), commit).await {
            Ok(Committed::Settled(proposal)) if proposal.state == State::Executed => {}
            other => return Err(format!("I9: {}: {other:?}", node.name)),
        }
    }
    Ok(())
}

/// Runs a seed, and on failure runs it again to tell its history.
fn assert_holds(seed: u64) {
    let (ended, _) = run(seed, Bugs::default(), false);
    if let Err(broken) = ended {
        let (_, world) = run(seed, Bugs::default(), true);
        panic!("seed {seed}: {broken}\n{}", world.told());
    }
}

fn setting(name: &str) -> Option<u64> {
    #[allow(clippy::disallowed_methods, reason = "how a seed is replayed")]
    let text = std::env::var(name).ok()?;
    text.parse().ok()
}

/// Calls `work` for each number, on every core; one world per thread at a time.
fn on_every_core(from: u64, count: u64, work: impl Fn(u64) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(from);
    let end = from.saturating_add(count);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    work(seed);
                }
            });
        }
    });
}

#[test]
fn money_leaves_at_most_once_in_every_history() {
    if let Some(seed) = setting("HUNDI_SIM_SEED") {
        let (ended, world) = run(seed, Bugs::default(), true);
        eprintln!("{}", world.told());
        return ended.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    let seeds = setting("HUNDI_SIM_SEEDS").unwrap_or(SEEDS);
    let from = setting("HUNDI_SIM_FROM").unwrap_or(0);
    #[allow(
        clippy::disallowed_methods,
        reason = "a speed is told, nothing is decided"
    )]
    let began = std::time::Instant::now();
    on_every_core(from, seeds, assert_holds);
    let took = began.elapsed();
    eprintln!("{seeds} histories from seed {from} in {took:.1?}");
}

/// Calls of one cycle and its recovery that can fail: admit, claim, send, enquire, settle, and more
/// than recovery ever needed.
const CALLS: u64 = 14;

/// Fail the k-th store or provider call, for every k: once as not done, once as done with the
/// answer lost, once as a crash before and once as a crash after it. Then the books are checked.
#[test]
fn every_call_fails_once_in_every_way() {
    for call in 0..CALLS {
        for fail in [
            Fail::NotDone,
            Fail::AnswerLost,
            Fail::AnswerLostForLong,
            Fail::CrashBefore,
            Fail::CrashAfter,
        ] {
            if let Err(broken) = one_cycle(call, fail) {
                panic!("call {call} fails as {fail:?}: {broken}");
            }
        }
    }
}

/// One propose and commit with one failure and nothing else wrong; the caller tries twice.
fn one_cycle(call: u64, fail: Fail) -> Result<(), String> {
    let world = || {
        let world = World::new(call, Bugs::default(), false);
        world.faults.store(false, Ordering::Relaxed);
        *world.fail_at.lock().unwrap() = Some((call, fail));
        world
    };
    let story = |world: Arc<World>| async move {
        let history = open(&world);
        let arguments = json!({"amount": 7, "to": "acct_k"});
        let request = ProposeRequest {
            tool: "transfer_funds".into(),
            arguments: arguments.clone(),
            idempotency_key: Some("k".into()),
            ..ProposeRequest::default()
        };
        if let Some(answer) = history.propose(&request).await
            && let Some(token) = &answer.token
        {
            let commit = CommitRequest {
                proposal_id: answer.proposal.fixed.id.to_string(),
                commit_token: token.text.clone(),
                tool: None,
                arguments,
            };
            history.commit(&answer, commit.clone()).await;
            history.commit(&answer, commit).await;
        }
        history.raise();
        // Recovery's own calls are among those that fail.
        sleep(CALM).await;
        heal(&history).await;
        fresh_cycle_on_every_node(&history).await
    };
    simulate(world, story).0
}

/// The test of the test: a planted mistake is found. Tells after how many histories.
fn is_found(bugs: Bugs) {
    let found = (0..ENOUGH).find_map(|seed| Some((seed, run(seed, bugs, false).0.err()?)));
    let Some((seed, broken)) = found else {
        panic!("{ENOUGH} histories with {bugs:?} and nothing was noticed");
    };
    eprintln!("noticed after {} histories: {broken}", seed + 1);
}

#[test]
fn a_claim_after_the_sending_is_found() {
    is_found(Bugs {
        claim_after_send: true,
        ..Bugs::default()
    });
}

#[test]
fn a_lost_reply_taken_for_a_refusal_is_found() {
    is_found(Bugs {
        lost_is_refused: true,
        ..Bugs::default()
    });
}

#[test]
fn a_doubt_ended_by_a_clock_is_found() {
    is_found(Bugs {
        clock_ends_doubt: true,
        ..Bugs::default()
    });
}

#[test]
fn missing_uniqueness_is_found() {
    let books = Planted {
        no_uniqueness: true,
        ..Planted::default()
    };
    is_found(Bugs {
        books,
        ..Bugs::default()
    });
}

#[test]
fn a_budget_read_and_written_apart_is_found() {
    let books = Planted {
        stale_budget: true,
        ..Planted::default()
    };
    is_found(Bugs {
        books,
        ..Bugs::default()
    });
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..20 {
        let told = || run(seed, Bugs::default(), true).1.told();
        assert_eq!(told(), told(), "seed {seed}");
    }
}
