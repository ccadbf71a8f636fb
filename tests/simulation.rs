//! Deterministic simulation of the real broker: one thread, a seeded clock, seeded randomness, two
//! nodes over one store and one bank, all of which fail.
//!
//! Each seed is one history: agents propose and commit on both nodes while the store errs and
//! loses answers, the bank errs, hangs and loses answers, nodes crash at every step and the wall
//! clock jumps. Then everything heals, and an independent look at the bank and the books checks
//! the invariants of `promises.md`. A failing seed prints its history; replay it alone with
//! `HUNDI_SIM_SEED=n cargo test --test it simulation::`, or run many with `HUNDI_SIM_SEEDS=1000000`.

mod books;
mod world;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use books::Planted;
use hundi::broker::{Broker, CommitRequest, Committed, ProposeRequest, Proposed, Trouble};
use hundi::domain::call::ProviderError;
use hundi::domain::change::{Change, DocKey, DocWrite};
use hundi::domain::ids::{OrgId, ProposalId};
use hundi::domain::principal::{Principal, Role};
use hundi::domain::proposal::State;
use serde_json::json;
use tokio::time::{sleep, timeout};
use world::{Bugs, Fail, Node, World};

/// Minor units per day: few enough that agents run into it.
const LIMIT: i64 = 600;
/// Agents at work in one history.
const AGENTS: u64 = 8;
/// How long things fail, and how long recovery may take afterwards (invariant I6: 60 s).
const STORM: Duration = Duration::from_secs(20);
const CALM: Duration = Duration::from_secs(60);

/// What a caller was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Committed,
    Failed,
    Refused,
}

struct History {
    world: Arc<World>,
    nodes: Mutex<[Arc<Node>; 2]>,
    told: Mutex<Vec<(ProposalId, Told)>>,
}

fn agent() -> Principal {
    Principal {
        id: "key:sim".into(),
        name: "sim".into(),
        org: OrgId::default(),
        role: Role::Agent,
        agent: Some("sim-agent".parse().unwrap()),
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
            let asked = broker.propose(&who, request.clone());
            match timeout(Duration::from_secs(5), asked).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(Trouble::StoreUnavailable | Trouble::Changed)) | Err(_) => {}
                Ok(Err(other)) => panic!("propose answered {other:?}"),
            }
        }
        None
    }

    async fn commit(&self, request: CommitRequest) {
        let id = request.proposal_id.parse().unwrap();
        let broker = self.broker();
        let who = agent();
        let asked = broker.commit(&who, request);
        let told = match timeout(Duration::from_secs(8), asked).await {
            Ok(Ok(Committed::Settled(proposal))) if proposal.state == State::Failed => Told::Failed,
            Ok(Ok(Committed::Settled(_))) => Told::Committed,
            Ok(Ok(Committed::Refused { .. })) => Told::Refused,
            Ok(Ok(Committed::InDoubt(_)) | Err(_)) | Err(_) => return,
        };
        self.world.note(format!("caller hears {told:?} for {id}"));
        self.told.lock().unwrap().push((id, told));
    }
}

async fn one_agent(history: Arc<History>, number: u64) {
    let dice = &history.world.dice;
    for round in 0..3 {
        sleep(Duration::from_millis(dice.below(4_000))).await;
        let amount = 1 + i64::try_from(dice.below(120)).unwrap();
        let request = ProposeRequest {
            tool: "transfer_funds".into(),
            arguments: json!({"amount": amount, "to": format!("acct_{number}")}),
            idempotency_key: Some(format!("{number}-{round}")),
            ..ProposeRequest::default()
        };
        let Some(answer) = history.propose(&request).await else {
            continue;
        };
        let Some(token) = answer.token else { continue };
        let commit = CommitRequest {
            proposal_id: answer.proposal.fixed.id.to_string(),
            commit_token: token.text,
            tool: None,
            arguments: request.arguments,
        };
        let mut tries = tokio::task::JoinSet::new();
        for attempt in 0..=dice.below(3) {
            let mut commit = commit.clone();
            if attempt > 0 && dice.permille(200) {
                commit.arguments["amount"] = json!(amount + 1);
            }
            if attempt > 0 && dice.permille(200) {
                commit.commit_token.pop();
            }
            let history = history.clone();
            let pause = Duration::from_millis(dice.below(300));
            tries.spawn(async move {
                sleep(pause).await;
                history.commit(commit).await;
            });
        }
        while tries.join_next().await.is_some() {}
        // Somebody keeps a copy of the token and tries it again much later.
        sleep(Duration::from_millis(dice.below(3_000))).await;
        history.commit(commit).await;
    }
}

/// The duties of one node, until it stops.
async fn duties(world: Arc<World>, node: Arc<Node>) {
    while node.alive() {
        sleep(Duration::from_millis(400 + world.dice.below(200))).await;
        let _ = node.broker.reconcile(16).await;
        let _ = node.broker.lapse(16).await;
        let _ = node.broker.refresh().await;
    }
}

fn start(world: &Arc<World>, name: &'static str) -> Arc<Node> {
    let node = Arc::new(Node::start(world, name));
    tokio::spawn(duties(world.clone(), node.clone()));
    node
}

/// Restarts what stopped, and now and then stops something or moves the clock.
async fn storm(history: &History) {
    const JUMPS: [i64; 6] = [
        60_000,
        -60_000,
        3_600_000,
        -3_600_000,
        86_400_000,
        -86_400_000,
    ];
    let world = &history.world;
    for _ in 0..STORM.as_secs() * 2 {
        sleep(Duration::from_millis(500)).await;
        world.books.lock().unwrap().remember_pots();
        if world.dice.permille(15) {
            let jump = JUMPS[usize::try_from(world.dice.below(6)).unwrap()];
            world.jump(jump);
        }
        for which in 0..2 {
            let node = history.nodes.lock().unwrap()[which].clone();
            if node.alive() && world.dice.permille(20) {
                node.crash(world);
            } else if !node.alive() && world.dice.permille(400) {
                history.nodes.lock().unwrap()[which] = start(world, node.name);
            }
        }
    }
}

async fn planted_clock(world: Arc<World>) {
    loop {
        sleep(Duration::from_secs(3)).await;
        let mut books = world.books.lock().unwrap();
        let doubtful: Vec<_> = books
            .proposals
            .values()
            .filter(|p| p.state == State::InDoubt)
            .cloned()
            .collect();
        for proposal in doubtful {
            let error = ProviderError {
                code: "timeout".into(),
                description: String::new(),
            };
            let (change, _) = Change::refuse(&proposal, error, world.now(), "planted").unwrap();
            let _ = books.apply(change.rows());
        }
    }
}

/// One history. `Err` tells which invariant broke.
fn run(seed: u64, bugs: Bugs) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new(seed, bugs);
        give_policy(&world);
        if bugs.clock_ends_doubt {
            tokio::spawn(planted_clock(world.clone()));
        }
        let nodes = Mutex::new([start(&world, "north"), start(&world, "south")]);
        let history = Arc::new(History {
            world: world.clone(),
            nodes,
            told: Mutex::default(),
        });
        let mut agents = tokio::task::JoinSet::new();
        for number in 0..AGENTS {
            agents.spawn(one_agent(history.clone(), number));
        }
        storm(&history).await;
        world.note("everything heals".into());
        world.faults.store(false, Ordering::Relaxed);
        for which in 0..2 {
            let node = history.nodes.lock().unwrap()[which].clone();
            if !node.alive() {
                history.nodes.lock().unwrap()[which] = start(&world, node.name);
            }
        }
        while let Some(ended) = agents.join_next().await {
            ended.map_err(|error| format!("an agent met a panic: {error}"))?;
        }
        sleep(CALM).await;
        check(&history)?;
        fresh_cycle_on_every_node(&history).await
    })
}

fn give_policy(world: &World) {
    let key = DocKey::new("policy", &OrgId::default(), "sim-agent");
    let body = json!({"daily_limit": LIMIT, "rate_limit": {"max": 0, "window_secs": 60}});
    world.books.lock().unwrap().write_doc(&DocWrite {
        key,
        expect: None,
        body: Some(body),
    });
}

/// The independent look: the bank's list and the books, nothing of the broker's own opinion.
fn check(history: &History) -> Result<(), String> {
    let bank = history.world.bank.lock().unwrap().clone();
    let books = history.world.books.lock().unwrap();
    let mut seen = std::collections::HashSet::new();
    for paid in &bank {
        let reference = &paid.reference;
        if paid.key != *reference {
            return Err(format!(
                "I1: {reference} has the idempotency key {}",
                paid.key
            ));
        }
        if !seen.insert(reference.clone()) {
            return Err(format!("I1: {reference} was paid twice"));
        }
        let proposal = books.proposals.get(&reference.parse().unwrap());
        let proposal = proposal.ok_or_else(|| format!("I2: nobody proposed {reference}"))?;
        let args = proposal.fixed.args.value();
        if args != json!({"amount": paid.amount, "to": paid.to}) {
            return Err(format!(
                "I3: {reference} was paid as {paid:?}, proposed as {args}"
            ));
        }
        if proposal.state != State::Executed {
            let state = proposal.state.name();
            return Err(format!(
                "I5/I6: {reference} is at the bank, and here it is {state}"
            ));
        }
    }
    for proposal in books.proposals.values() {
        let id = proposal.fixed.id.to_string();
        if matches!(proposal.state, State::Committing | State::InDoubt) {
            return Err(format!("I6: {id} is still {}", proposal.state.name()));
        }
        if proposal.state == State::Executed && !seen.contains(&id) {
            return Err(format!("I4: {id} is executed here and not at the bank"));
        }
    }
    for (id, told) in history.told.lock().unwrap().iter() {
        let paid = seen.contains(&id.to_string());
        if *told == Told::Committed && !paid {
            return Err(format!(
                "I4: the caller heard committed for {id}, and nothing was paid"
            ));
        }
        if *told == Told::Failed && paid {
            return Err(format!(
                "I5: the caller heard failed for {id}, and it was paid"
            ));
        }
    }
    let posted: i64 = books.pots.values().map(|pot| pot.posted).sum();
    let left: i64 = bank.iter().map(|paid| paid.amount).sum();
    if posted != left {
        return Err(format!("I7: {posted} posted, and {left} left the bank"));
    }
    match books
        .pots
        .values()
        .find(|pot| pot.pending + pot.posted > LIMIT || pot.pending < 0)
    {
        Some(pot) => Err(format!("I7: a pot holds {pot:?} with a limit of {LIMIT}")),
        None => world_violations(&history.world),
    }
}

fn world_violations(world: &World) -> Result<(), String> {
    world
        .violations
        .lock()
        .unwrap()
        .first()
        .map_or(Ok(()), |first| Err(first.clone()))
}

/// I9: a fresh propose and commit succeeds on every node. On a new day, so that there is budget.
async fn fresh_cycle_on_every_node(history: &History) -> Result<(), String> {
    history.world.jump(3 * 86_400_000);
    for which in 0..2 {
        let node = history.nodes.lock().unwrap()[which].clone();
        let arguments = json!({"amount": 1, "to": "acct_fresh"});
        let request = ProposeRequest {
            tool: "transfer_funds".into(),
            arguments: arguments.clone(),
            ..ProposeRequest::default()
        };
        let proposed = node.broker.propose(&agent(), request).await;
        let answer = proposed.map_err(|error| format!("I9: {}: {error}", node.name))?;
        let token = answer
            .token
            .ok_or_else(|| format!("I9: {}: no token", node.name))?;
        let commit = CommitRequest {
            proposal_id: answer.proposal.fixed.id.to_string(),
            commit_token: token.text,
            tool: None,
            arguments,
        };
        match node.broker.commit(&agent(), commit).await {
            Ok(Committed::Settled(proposal)) if proposal.state == State::Executed => {}
            other => return Err(format!("I9: {}: {other:?}", node.name)),
        }
    }
    Ok(())
}

/// Runs a seed, and on failure runs it again to print its history.
fn assert_holds(seed: u64, bugs: Bugs) {
    if let Err(broken) = run(seed, bugs) {
        panic!("seed {seed}: {broken}\n{}", told_again(seed, bugs));
    }
}

fn told_again(seed: u64, bugs: Bugs) -> String {
    LAST_HISTORY.with(|last| last.borrow_mut().clear());
    let _ = run(seed, bugs);
    LAST_HISTORY.with(|last| last.borrow().join("\n"))
}

thread_local! {
    /// The history of the last world that ended on this thread.
    pub static LAST_HISTORY: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn setting(name: &str) -> Option<u64> {
    #[allow(clippy::disallowed_methods, reason = "how a seed is replayed")]
    let text = std::env::var(name).ok()?;
    text.parse().ok()
}

#[test]
fn money_leaves_at_most_once_in_every_history() {
    if let Some(seed) = setting("HUNDI_SIM_SEED") {
        return assert_holds(seed, Bugs::default());
    }
    let seeds = setting("HUNDI_SIM_SEEDS").unwrap_or(200);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                (thread..seeds).step_by(threads as usize).for_each(|seed| {
                    assert_holds(seed, Bugs::default());
                });
            });
        }
    });
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new(call, Bugs::default());
        world.faults.store(false, Ordering::Relaxed);
        *world.fail_at.lock().unwrap() = Some((call, fail));
        give_policy(&world);
        let nodes = Mutex::new([start(&world, "north"), start(&world, "south")]);
        let history = Arc::new(History {
            world: world.clone(),
            nodes,
            told: Mutex::default(),
        });
        let arguments = json!({"amount": 7, "to": "acct_k"});
        let request = ProposeRequest {
            tool: "transfer_funds".into(),
            arguments: arguments.clone(),
            idempotency_key: Some("k".into()),
            ..ProposeRequest::default()
        };
        if let Some(answer) = history.propose(&request).await
            && let Some(token) = answer.token
        {
            let commit = CommitRequest {
                proposal_id: answer.proposal.fixed.id.to_string(),
                commit_token: token.text,
                tool: None,
                arguments,
            };
            history.commit(commit.clone()).await;
            history.commit(commit).await;
        }
        for which in 0..2 {
            let node = history.nodes.lock().unwrap()[which].clone();
            if !node.alive() {
                history.nodes.lock().unwrap()[which] = start(&world, node.name);
            }
        }
        sleep(CALM).await;
        // A call that this cycle never made must not fail in what comes after it.
        *world.fail_at.lock().unwrap() = None;
        check(&history)?;
        fresh_cycle_on_every_node(&history).await
    })
}

/// The test of the test: each planted mistake is found within a few hundred histories.
fn is_found(bugs: Bugs) {
    let found = (0..600).find_map(|seed| run(seed, bugs).err());
    assert!(
        found.is_some(),
        "600 histories with {bugs:?} and nothing was noticed"
    );
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
    assert_eq!(
        told_again(7, Bugs::default()),
        told_again(7, Bugs::default())
    );
}
