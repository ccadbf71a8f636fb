//! The storm: faults in an order that a seed decides, over callers and `hundi bench` at both
//! nodes; then healing, and the books.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hundi::ambient::Ambient;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::{JoinSet, block_in_place};

use super::callers::Crowd;
use super::ground::{Ground, NODES, WORKS_WITHIN};
use super::ledger::{self, Figures};
use crate::support::proxy::{Commit, Line};
use crate::support::server::HUNDI;

/// Length of the sweep in CI.
const SHORT: Duration = Duration::from_secs(20);
/// Callers of each `hundi bench`.
const BENCH_CALLERS: &str = "3";

/// What breaks.
#[derive(Clone, Copy, Debug)]
enum Fault {
    PostgresCrashes,
    PostgresRestarts,
    PostgresLosesASession,
    PostgresFreezes,
    LineSilent(usize),
    LineDown(usize),
    LineCut(usize),
    CommitAnswersLost(usize),
    CommitAnswersWithheld(usize),
    CommitsNeverArrive(usize),
    RedisStops,
    RedisFreezes,
    RedisFlushed,
    NodeKilled(usize),
    NodeStops(usize),
    SidecarsKilled(usize),
    Bank(&'static str, &'static str),
}

impl Fault {
    fn pick(dice: &mut StdRng) -> Self {
        let node = dice.random_range(0..NODES.len());
        match dice.random_range(0..23) {
            0 | 1 => Fault::PostgresCrashes,
            2 => Fault::PostgresRestarts,
            3 => Fault::PostgresLosesASession,
            4 => Fault::PostgresFreezes,
            5 => Fault::LineSilent(node),
            6 => Fault::LineDown(node),
            7 => Fault::LineCut(node),
            8 | 9 => Fault::CommitAnswersLost(node),
            10 => Fault::CommitAnswersWithheld(node),
            11 => Fault::CommitsNeverArrive(node),
            12 => Fault::RedisStops,
            13 => Fault::RedisFreezes,
            14 => Fault::RedisFlushed,
            15..=17 => Fault::NodeKilled(node),
            18 => Fault::NodeStops(node),
            19 => Fault::SidecarsKilled(node),
            _ => {
                let kinds = [
                    "5xx",
                    "reset",
                    "hang",
                    "garbage",
                    "empty",
                    "wrong_id",
                    "duplicate",
                ];
                let when = ["before", "after"];
                Fault::Bank(
                    kinds[dice.random_range(0..kinds.len())],
                    when[dice.random_range(0..2)],
                )
            }
        }
    }

    async fn strike(self, ground: &mut Ground) {
        match self {
            Fault::PostgresCrashes => ground.postgres.crash(),
            Fault::PostgresRestarts => ground.postgres.stop(),
            Fault::PostgresLosesASession => ground.postgres.kill_a_session(),
            Fault::PostgresFreezes => ground.postgres.freeze(),
            Fault::LineSilent(node) => ground.lines[node].line(Line::Silent),
            Fault::LineDown(node) => ground.lines[node].line(Line::Down),
            Fault::LineCut(node) => ground.lines[node].cut(),
            Fault::CommitAnswersLost(node) => ground.lines[node].spoil(Commit::AnswerLost, 5),
            Fault::CommitAnswersWithheld(node) => {
                ground.lines[node].spoil(Commit::AnswerWithheld, 1);
            }
            Fault::CommitsNeverArrive(node) => ground.lines[node].spoil(Commit::NeverArrives, 5),
            Fault::RedisStops => ground.redis.iter_mut().for_each(|redis| redis.down()),
            Fault::RedisFreezes => ground.redis.iter().for_each(|redis| redis.freeze()),
            Fault::RedisFlushed => ground.redis.iter().for_each(|redis| redis.flush()),
            Fault::NodeKilled(node) => ground.kill(node),
            Fault::NodeStops(node) => ground.terminate(node),
            Fault::SidecarsKilled(node) => {
                if let Some(server) = &ground.nodes[node] {
                    let parent = server.pid().to_string();
                    let _ = Command::new("pkill").args(["-9", "-P", &parent]).status();
                }
            }
            Fault::Bank(kind, when) => {
                let fault = json!({
                    "kind": kind, "when": when, "operation": "any", "count": 20,
                    "probability": 0.4, "delay_ms": 5_000,
                });
                ground.cluster.bank.arm(fault).await;
            }
        }
    }

    async fn mend(self, ground: &mut Ground) {
        match self {
            Fault::PostgresCrashes | Fault::PostgresRestarts => ground.postgres.up_again(),
            Fault::PostgresFreezes => ground.postgres.thaw(),
            Fault::LineSilent(node) | Fault::LineDown(node) => ground.lines[node].line(Line::Up),
            Fault::RedisStops => ground.redis.iter_mut().for_each(|redis| redis.up_again()),
            Fault::RedisFreezes => ground.redis.iter().for_each(|redis| redis.thaw()),
            Fault::NodeKilled(node) | Fault::NodeStops(node) => {
                ground.start(node);
            }
            Fault::Bank(..) => {
                let url = format!("{}/sandbox/faults", ground.cluster.bank.url);
                let _ = ground.http.delete(url).send().await;
            }
            Fault::PostgresLosesASession
            | Fault::LineCut(_)
            | Fault::CommitAnswersLost(_)
            | Fault::CommitAnswersWithheld(_)
            | Fault::CommitsNeverArrive(_)
            | Fault::RedisFlushed
            | Fault::SidecarsKilled(_) => {}
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} is not a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_nodes_survive_everything_and_the_books_agree() {
    let length = number("HUNDI_CHAOS_SECS").map_or(SHORT, Duration::from_secs);
    let seed =
        number("HUNDI_CHAOS_SEED").unwrap_or_else(|| u64::from_le_bytes(Ambient::real().bytes()));
    println!("chaos for {} s; HUNDI_CHAOS_SEED={seed}", length.as_secs());
    // Short lives, so that what nobody commits gives its reservation back before the books.
    let env = [
        ("HUNDI_ALLOWED_TTL_SECS", "60"),
        ("HUNDI_TOKEN_TTL_SECS", "45"),
        // Whoever starts nodes here also brings the database back, and so cannot wait for it.
        ("HUNDI_STORE_WAIT_SECS", "0"),
    ];
    let Some(mut ground) = Ground::lay_with(Path::new(HUNDI), &env).await else {
        return;
    };
    let agent = agent(&ground).await;
    limit_rates(&ground, &agent).await;
    let crowd = Crowd::gather(&ground, seed);
    let benches: Vec<Bench> = (0..2)
        .map(|node| Bench::start(&ground, node, length))
        .collect();

    let faults = rage(&mut ground, length, seed).await;

    let healed = Instant::now();
    block_in_place(|| tokio::runtime::Handle::current().block_on(ground.heal()));
    crowd.stop();
    let works = ground.works_again().await;
    let (tales, requests) = crowd.leave().await;
    let mut acknowledged = Vec::new();
    let mut cycles = 0;
    for bench in benches {
        let (ids, told) = bench.end();
        cycles += told["cycles"].as_u64().unwrap_or(0);
        acknowledged.extend(ids);
    }
    let figures = ledger::settle(&ground, &agent, &tales, &acknowledged, healed).await;
    println!(
        "{faults} faults; {requests} requests of callers, {cycles} cycles of bench; healed nodes \
         worked after {} ms",
        works.as_millis(),
    );
    println!("{figures}");
    assert!(
        works < WORKS_WITHIN,
        "HUNDI_CHAOS_SEED={seed}: healed nodes worked after {works:?}"
    );
    assert!(
        figures.acknowledged > 20,
        "too little got through to tell: {figures}"
    );
    assert!(figures.is_clean(), "HUNDI_CHAOS_SEED={seed}: {figures}");
}

/// Breaks and mends, one thing or two at a time, until the time is over. Gives back how often.
async fn rage(ground: &mut Ground, length: Duration, seed: u64) -> u32 {
    let mut dice = StdRng::seed_from_u64(seed);
    // Every node pays first, so that there is something to break.
    block_in_place(|| tokio::runtime::Handle::current().block_on(ground.works_again()));
    let began = Instant::now();
    let mut faults = 0;
    while began.elapsed() < length {
        let first = Fault::pick(&mut dice);
        let second = dice.random_bool(0.3).then(|| Fault::pick(&mut dice));
        let hold = Duration::from_millis(dice.random_range(100..4_000));
        let calm = Duration::from_millis(dice.random_range(200..3_000));
        let struck: Vec<Fault> = std::iter::once(first).chain(second).collect();
        eprintln!(
            "{:7.1} s  {struck:?} for {} ms",
            began.elapsed().as_secs_f64(),
            hold.as_millis()
        );
        for fault in &struck {
            block_in_place(|| tokio::runtime::Handle::current().block_on(fault.strike(ground)));
            faults += 1;
        }
        tokio::time::sleep(hold).await;
        for fault in struck.iter().rev() {
            block_in_place(|| tokio::runtime::Handle::current().block_on(fault.mend(ground)));
        }
        tokio::time::sleep(calm).await;
        for node in 0..NODES.len() {
            // One that could not start while something else was broken.
            block_in_place(|| ground.start(node));
        }
    }
    faults
}

pub async fn agent(ground: &Ground) -> String {
    let body = json!({"tool": "noop", "arguments": {}});
    let key = ground.keys.agent.clone();
    ground.post(0, &key, "/v1/proposals", &body).await.unwrap();
    let agents = ground.get(0, "/v1/agents").await.unwrap();
    let listed = agents["agents"].as_array().unwrap().iter();
    let mut ids = listed.filter_map(|agent| agent["agent_id"].as_str());
    ids.find(|id| *id != "external").unwrap().to_owned()
}

/// A window wide enough for the load, so that every proposal goes through Redis.
pub async fn limit_rates(ground: &Ground, agent: &str) {
    let path = format!("/v1/agents/{agent}/policy");
    let policy = json!({
        "daily_limit": 10_000_000_000_000_i64, "per_txn_limit": 100_000_000_000_i64,
        "require_approval_above": null, "duplicates": {"then": "off"},
        "allowed_tools": ["*"], "rate_limit": {"max": 10_000, "window_secs": 10},
    });
    let url = format!("{}{path}", ground.url(0));
    let put = ground
        .http
        .put(url)
        .bearer_auth(&ground.keys.admin)
        .json(&policy);
    let answer = put.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{status}: {text}");
}

/// `hundi bench` as a process of its own, at one node.
struct Bench {
    child: Child,
    acks: PathBuf,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn start(ground: &Ground, node: usize, length: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let acks = dir.path().join("acknowledged");
        let child = Command::new(env!("CARGO_BIN_EXE_hundi"))
            .args(["bench", "--json", "--tool", "transfer_funds"])
            .args(["--url", &ground.url(node), "--concurrency", BENCH_CALLERS])
            .args(["--seconds", &length.as_secs().to_string(), "--acks"])
            .arg(&acks)
            .env_clear()
            .env("HUNDI_API_KEY", &ground.keys.agent)
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self {
            child: child.unwrap(),
            acks,
            _dir: dir,
        }
    }

    /// The proposals whose commit was acknowledged, and what it printed.
    fn end(self) -> (Vec<String>, Value) {
        let output = self.child.wait_with_output().unwrap();
        let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let acks = std::fs::read_to_string(&self.acks).unwrap_or_default();
        (acks.lines().map(str::to_owned).collect(), told)
    }
}

/// One token at both nodes behind a barrier, again and again (`HUNDI_CHAOS_ROUNDS`).
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_token_at_two_nodes_behind_a_barrier() {
    let rounds = number("HUNDI_CHAOS_ROUNDS").unwrap_or(60);
    let Some(ground) = Ground::lay().await else {
        return;
    };
    let agent = agent(&ground).await;
    let mut tales = Vec::new();
    for round in 0..rounds {
        let arguments = json!({"amount": 100, "to": "acct_123"});
        let body = json!({"tool": "transfer_funds", "arguments": arguments});
        let home = usize::from(round % 2 == 1);
        let proposed = ground
            .post(home, &ground.keys.agent, "/v1/proposals", &body)
            .await;
        let proposed = proposed.unwrap();
        let id = proposed["proposal_id"].as_str().unwrap().to_owned();
        let path = format!("/v1/proposals/{id}/commit");
        let body = json!({"commit_token": proposed["commit_token"], "arguments": arguments});
        let barrier = Arc::new(tokio::sync::Barrier::new(4));
        let mut racing = JoinSet::new();
        for caller in 0..4 {
            let (http, url) = (
                ground.http.clone(),
                format!("{}{path}", ground.url(caller % 2)),
            );
            let (key, body) = (ground.keys.agent.clone(), body.clone());
            let barrier = barrier.clone();
            racing.spawn(async move {
                barrier.wait().await;
                let sent = http.post(url).bearer_auth(key).json(&body).send();
                sent.await.unwrap().json::<Value>().await.unwrap()
            });
        }
        let mut answers = Vec::new();
        while let Some(answer) = racing.join_next().await {
            answers.push(answer.unwrap());
        }
        let committed = answers
            .iter()
            .filter(|a| a["status"] == "committed")
            .count();
        assert_eq!(committed, 1, "round {round}: {answers:?}");
        let replays = answers
            .iter()
            .filter(|a| a["reason"] == "nonce_replay")
            .count();
        assert_eq!(replays, 3, "round {round}: {answers:?}");
        tales.push(super::callers::Tale {
            id,
            arguments,
            committed: true,
            ..Default::default()
        });
    }
    let figures: Figures = ledger::settle(&ground, &agent, &tales, &[], Instant::now()).await;
    assert!(figures.is_clean(), "{figures}");
}
