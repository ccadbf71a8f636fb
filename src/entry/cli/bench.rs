//! `hundi bench`: a closed-loop load test against a running server. Each caller proposes, commits
//! what it proposed, and begins again; a cycle counts when both were done.
//!
//! The client shares the machine with the server it measures, so it is one thread, speaks plain
//! HTTP/1.1 over kept connections, and reads no more of an answer than it needs.
//!
//! The floor (what bare grouped transactions of the same rows reach on the same kind of store) is
//! measured by whoever is handed in, half of it before the load and half after, because the speed
//! of a disk drifts. So is the time that a flush of the same disk takes.
#![allow(
    clippy::float_arithmetic,
    reason = "speeds are estimates for people to read; none of them is an amount"
)]

mod client;
mod cpu;
mod histogram;
mod load;
mod progress;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Failure, Json, KeyFlag, print};
use histogram::Histogram;
use load::Outcome;

/// Flags of `hundi bench`.
#[derive(clap::Args, Debug)]
#[command(
    mut_arg("key", |key| key.help("The agent's API key, to propose and commit with")),
    after_help = "Example:\n  HUNDI_API_KEY=hk_... hundi bench --concurrency 64 --seconds 10 --floor"
)]
pub struct Args {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8787")]
    pub url: String,
    /// The agent.
    #[command(flatten)]
    pub holder: KeyFlag,
    /// Run for so long
    #[arg(long, value_name = "N", conflicts_with = "cycles", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
    /// Run so many cycles instead
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub cycles: Option<u64>,
    /// Callers at the same time
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub concurrency: u16,
    /// Which door to come in by
    #[arg(long, value_enum, default_value_t = Door::Rest)]
    pub door: Door,
    /// Which tool to call; noop has no effect, transfer_funds moves the sandbox bank's money
    #[arg(long, value_enum, default_value_t = Tool::Noop)]
    pub tool: Tool,
    /// Let noop name an amount, in minor units, so that governance counts it as money: policy,
    /// budget, history
    #[arg(long, value_name = "MINOR", conflicts_with = "call", value_parser = clap::value_parser!(i64).range(1..))]
    pub amount: Option<i64>,
    /// Call this low-risk tool instead, one call a cycle: over MCP, with --url of the upstream
    /// itself, and then of hundi, what passing through costs; with --door invoke over REST
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tool", "floor"])]
    pub call: Option<String>,
    /// What to call it with, a JSON object
    #[arg(long, value_name = "JSON", requires = "call", value_parser = object)]
    pub arguments: Option<Value>,
    /// Also measure what bare grouped transactions of the same rows reach, and print the ratio
    #[arg(long)]
    pub floor: bool,
    /// Then run again at half the speed just reached, and compare the p99 of commit with what it
    /// may be: five flushes of the data folder's disk, measured in between, and 10 ms
    #[arg(long, conflicts_with_all = ["call", "cycles"])]
    pub half_load: bool,
    /// Also measure a naive broker: the same rows, but each step a transaction of its own, on
    /// Postgres with a connection for each caller
    #[arg(long, conflicts_with = "call")]
    pub naive: bool,
    /// Write the id of every proposal whose commit was acknowledged, one a line, as it happens
    #[arg(long, value_name = "FILE")]
    pub acks: Option<PathBuf>,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

fn object(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match value.is_object() {
        true => Ok(value),
        false => {
            Err("arguments are a JSON object, such as {\"card_id\": \"card_0001\"}".to_owned())
        }
    }
}

/// The door the load comes in by.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// POST /v1/proposals and .../commit
    Rest,
    /// tools/call over streamable HTTP
    Mcp,
    /// POST /v1/tools/NAME/invoke of the low-risk tool that --call names
    Invoke,
}

impl Door {
    fn name(self) -> &'static str {
        match self {
            Door::Rest => "rest",
            Door::Mcp => "mcp",
            Door::Invoke => "invoke",
        }
    }
}

/// The tool that is called.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[value(rename_all = "snake_case")]
pub enum Tool {
    /// Done in process, no effect
    Noop,
    /// Through the sidecar to the sandbox bank
    TransferFunds,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Noop => "noop",
            Tool::TransferFunds => "transfer_funds",
        }
    }
}

/// What the floor is to write: the same rows, from as many callers, for about so long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bare {
    /// Callers in parallel.
    pub callers: usize,
    /// How long to measure.
    pub time: Duration,
    /// Whether a cycle moves money, and so reserves and posts.
    pub money: bool,
    /// Each step a transaction of its own, nothing grouped.
    pub naive: bool,
}

/// Measures the disk that the store is on.
pub struct Disk<'a> {
    /// The floor, in cycles a second.
    pub floor: &'a dyn Fn(Bare) -> Result<f64, String>,
    /// How long one flush takes, half of the time at most.
    pub flush: &'a dyn Fn() -> Result<Duration, String>,
}

/// How long to run when nobody said.
const DEFAULT_SECONDS: u64 = 10;
/// Longest of each of the two halves of the floor's measurement.
const MAX_FLOOR_HALF: Duration = Duration::from_secs(5);

/// Flushes that a commit at half load may take at its p99, and what it may take besides.
const FLUSHES: u32 = 5;
const BESIDES: Duration = Duration::from_millis(10);

/// What came of the run at half load.
struct Half {
    outcome: Outcome,
    flush: Duration,
}

impl Half {
    fn limit(&self) -> Duration {
        self.flush * FLUSHES + BESIDES
    }

    fn p99(&self) -> Duration {
        self.outcome.commit.percentile(99)
    }

    fn holds(&self) -> bool {
        self.outcome.cycles > 0 && self.p99() <= self.limit()
    }
}

/// Runs the load and prints what came of it.
pub fn run(args: &Args, disk: &Disk<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(key) = &args.holder.key else {
        let text = "bench proposes as an agent: give its key as HUNDI_API_KEY or --key hk_...; `hundi key create --role agent --name bench` makes one";
        return Err(Failure::Usage(text.to_owned()));
    };
    if args.door == Door::Invoke && args.call.is_none() {
        let text = "--door invoke calls a low-risk tool: name it with --call, and what to call it with with --arguments";
        return Err(Failure::Usage(text.to_owned()));
    }
    let target = client::Target::new(&args.url, key).map_err(Failure::Usage)?;
    let half = args.seconds.unwrap_or(DEFAULT_SECONDS).div_ceil(2);
    let half = Duration::from_secs(half).min(MAX_FLOOR_HALF);
    let bare = Bare {
        callers: usize::from(args.concurrency),
        time: half,
        money: args.tool == Tool::TransferFunds || args.amount.is_some(),
        naive: false,
    };
    let naive = Bare {
        naive: true,
        ..bare
    };
    let measured = || -> Result<[Option<f64>; 2], Failure> {
        let of = |asked: bool, bare| asked.then(|| (disk.floor)(bare)).transpose();
        let floor = of(args.floor, bare).map_err(Failure::Failed)?;
        Ok([floor, of(args.naive, naive).map_err(Failure::Failed)?])
    };
    let before = measured()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let load = |every| runtime.block_on(load::run(args, &target, every));
    let outcome = load(None).map_err(Failure::Failed)?;
    let half = match twice_the_pause(&outcome).filter(|_| args.half_load) {
        None => None,
        Some(every) => {
            let flush = (disk.flush)().map_err(Failure::Failed)?;
            let outcome = load(Some(every)).map_err(Failure::Failed)?;
            Some(Half { outcome, flush })
        }
    };
    let after = measured()?;
    let bare = [0, 1].map(|which: usize| {
        let both = before[which].zip(after[which]);
        both.map(|(before, after)| (before + after) / 2.0)
    });
    if args.json.json {
        print::json(out, &spell(args, &outcome, bare, half.as_ref()))?;
    } else {
        people(args, &outcome, bare, out)?;
        if let Some(half) = &half {
            half_for_people(half, out)?;
        }
    }
    out.flush()?;
    half.map_or(Ok(()), |half| verdict(&half.outcome))?;
    verdict(&outcome)
}

/// From one cycle to the next at half the speed of this run.
fn twice_the_pause(outcome: &Outcome) -> Option<Duration> {
    let cycles = u32::try_from(outcome.cycles).ok()?;
    outcome.took.checked_div(cycles)?.checked_mul(2)
}

fn verdict(outcome: &Outcome) -> Result<(), Failure> {
    if outcome.errors.is_empty() {
        return Ok(());
    }
    let failed: u64 = outcome.errors.values().sum();
    let mut text = format!("{failed} cycles failed:");
    for (error, count) in &outcome.errors {
        text.push_str(&format!("\n  {count} x {}", print::plain(error)));
    }
    Err(Failure::Failed(text))
}

fn per_second(outcome: &Outcome) -> f64 {
    let seconds = outcome.took.as_secs_f64();
    if seconds > 0.0 {
        count(outcome.cycles) / seconds
    } else {
        0.0
    }
}

/// Exact up to 2^53, which no run reaches.
fn count(n: u64) -> f64 {
    u32::try_from(n).map_or(f64::from(u32::MAX), f64::from)
}

/// `floor` and `naive` are cycles a second of the bare store, if they were asked for.
fn spell(
    args: &Args,
    outcome: &Outcome,
    [floor, naive]: [Option<f64>; 2],
    half: Option<&Half>,
) -> Value {
    let phase = |histogram: &Histogram| {
        json!({
            "p50_ms": millis(histogram, 50),
            "p95_ms": millis(histogram, 95),
            "p99_ms": millis(histogram, 99),
        })
    };
    let mut told = Map::new();
    let mut say = |name: &str, value: Value| told.insert(name.to_owned(), value);
    say("cycles", json!(outcome.cycles));
    say("seconds", json!(rounded(outcome.took.as_secs_f64())));
    say("cycles_per_s", json!(rounded(per_second(outcome))));
    if let Some(floor) = floor {
        say("floor_per_s", json!(rounded(floor)));
        say("ratio", json!(ratio(outcome, floor)));
    }
    if let Some(naive) = naive {
        say("naive_per_s", json!(rounded(naive)));
        say("times_naive", json!(ratio(outcome, naive)));
    }
    let phases = match &args.call {
        Some(_) => json!({"call": phase(&outcome.call)}),
        None => json!({"propose": phase(&outcome.propose), "commit": phase(&outcome.commit)}),
    };
    say("phases", phases);
    if let Some(half) = half {
        let told = json!({
            "cycles_per_s": rounded(per_second(&half.outcome)),
            "phases": {"propose": phase(&half.outcome.propose), "commit": phase(&half.outcome.commit)},
            "flush_ms": in_millis(half.flush),
            "limit_ms": in_millis(half.limit()),
            "holds": half.holds(),
        });
        say("half_load", told);
    }
    if let Some(busy) = outcome.busy {
        let per_call =
            busy.machine * outcome.took.as_secs_f64() * 1_000.0 / count(outcome.cycles.max(1));
        let told = json!({
            "machine_cores": rounded(busy.machine),
            "client_cores": rounded(busy.client),
            "machine_ms_per_cycle": rounded(per_call),
        });
        say("cpu", told);
    }
    say("failed", json!(outcome.errors.values().sum::<u64>()));
    say("errors", json!(outcome.errors));
    say("concurrency", json!(args.concurrency));
    let (door, tool) = names(args);
    say("door", json!(door));
    say("tool", json!(tool));
    Value::Object(told)
}

fn names(args: &Args) -> (&str, &str) {
    match &args.call {
        Some(call) if args.door == Door::Invoke => (args.door.name(), call),
        Some(call) => (Door::Mcp.name(), call),
        None => (args.door.name(), args.tool.name()),
    }
}

fn ratio(outcome: &Outcome, floor: f64) -> Option<f64> {
    (floor > 0.0).then(|| rounded(per_second(outcome) / floor))
}

/// Three decimals: more would be noise.
fn rounded(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

fn millis(histogram: &Histogram, percent: u64) -> f64 {
    in_millis(histogram.percentile(percent))
}

fn in_millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1000.0)
}

fn half_for_people(half: &Half, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "\nat half of that, {:.0} cycles a second: p99 of commit {:.2} ms; {FLUSHES} flushes of \
         {:.2} ms and {} ms are {:.2} ms: {}",
        per_second(&half.outcome),
        in_millis(half.p99()),
        in_millis(half.flush),
        BESIDES.as_millis(),
        in_millis(half.limit()),
        if half.holds() { "within" } else { "above" },
    )
}

fn people(
    args: &Args,
    outcome: &Outcome,
    [floor, naive]: [Option<f64>; 2],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let (door, tool) = names(args);
    writeln!(
        out,
        "{} cycles in {:.1} s: {:.0} a second, {} callers, {} by {}",
        outcome.cycles,
        outcome.took.as_secs_f64(),
        per_second(outcome),
        args.concurrency,
        tool,
        door,
    )?;
    if let Some(floor) = floor {
        let ratio = ratio(outcome, floor).unwrap_or_default();
        writeln!(
            out,
            "the floor is {floor:.0} a second; the ratio is {ratio:.2}"
        )?;
    }
    if let Some(naive) = naive {
        let times = ratio(outcome, naive).unwrap_or_default();
        writeln!(
            out,
            "one transaction for each step makes {naive:.0} a second; this is {times:.1} times that"
        )?;
    }
    writeln!(out)?;
    let row = |name: &str, histogram: &Histogram| {
        let cell = |percent| format!("{:.2} ms", millis(histogram, percent));
        vec![name.to_owned(), cell(50), cell(95), cell(99)]
    };
    let rows = match &args.call {
        Some(_) => vec![row("call", &outcome.call)],
        None => vec![
            row("propose", &outcome.propose),
            row("commit", &outcome.commit),
        ],
    };
    print::table(out, &["phase", "p50", "p95", "p99"], rows, "")?;
    match outcome.busy {
        None => Ok(()),
        Some(busy) => writeln!(
            out,
            "\n{:.2} cores of this machine were busy, {:.2} of them with this client",
            busy.machine, busy.client
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_load_is_half_the_speed_and_its_limit_counts_flushes() {
        let mut outcome = Outcome {
            cycles: 1_000,
            took: Duration::from_secs(1),
            ..Outcome::default()
        };
        assert_eq!(twice_the_pause(&outcome), Some(Duration::from_millis(2)));
        assert_eq!(twice_the_pause(&Outcome::default()), None);
        outcome.commit.record(Duration::from_millis(14));
        let half = |outcome, flush| Half {
            outcome,
            flush: Duration::from_micros(flush),
        };
        let holds = half(outcome, 1_000);
        assert_eq!(holds.limit(), Duration::from_millis(15));
        assert!(holds.holds());
        assert!(!half(holds.outcome, 500).holds());
        assert!(!half(Outcome::default(), 500).holds(), "nothing was done");
    }
}
