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

mod answers;
mod asks;
mod client;
mod cpu;
mod histogram;
mod load;
mod progress;
mod told;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Failure, Json, KeyFlag, print};
use load::Outcome;
use told::{count, half_for_people, people, rounded, spell};

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
    /// The model to ask, with --door chat or requests
    #[arg(long, default_value = "sandbox", value_name = "NAME")]
    pub model: String,
    /// The provider that a bare relay passes questions on to, with --floor and one of those doors
    #[arg(
        long,
        default_value = "http://127.0.0.1:8788/sandbox/models/v1",
        value_name = "URL"
    )]
    pub provider: String,
    /// Also measure what bare grouped transactions of the same rows reach, and print the ratio; with
    /// --door chat or requests, what a bare relay to the provider reaches
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
    /// POST /v1/chat/completions, answered whole
    Chat,
    /// POST /v1/requests, followed to its end
    Requests,
}

impl Door {
    fn name(self) -> &'static str {
        match self {
            Door::Rest => "rest",
            Door::Mcp => "mcp",
            Door::Invoke => "invoke",
            Door::Chat => "chat",
            Door::Requests => "requests",
        }
    }

    /// Whether models are asked there, and nothing is proposed.
    fn asks(self) -> bool {
        match self {
            Door::Chat | Door::Requests => true,
            Door::Rest | Door::Mcp | Door::Invoke => false,
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
    /// Starts a bare relay to the provider at this address, and says where it is.
    pub relay: &'a dyn Fn(&str) -> Result<String, String>,
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
    if args.door.asks() && (args.call.is_some() || args.half_load || args.naive) {
        let text =
            "--door chat and requests ask a model: --call, --half-load and --naive are for tools";
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
    if args.door.asks() {
        return models(args, &target, half, disk, out);
    }
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

/// Asks models, and a bare relay before and after, since the speed of a machine drifts.
fn models(
    args: &Args,
    target: &client::Target,
    half: Duration,
    disk: &Disk<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let relay = match args.floor {
        true => Some((disk.relay)(&args.provider).map_err(Failure::Failed)?),
        false => None,
    };
    let relayed = || -> Result<Option<asks::Relayed>, Failure> {
        let Some(url) = &relay else { return Ok(None) };
        let relay = client::Target::new(url, "none").map_err(Failure::Failed)?;
        let asking = asks::through(&relay, &args.model, args.concurrency, half);
        runtime.block_on(asking).map(Some).map_err(Failure::Failed)
    };
    let before = relayed()?;
    let outcome = runtime.block_on(load::run(args, target, None));
    let outcome = outcome.map_err(Failure::Failed)?;
    let after = relayed()?;
    let relayed = before.zip(after).map(|(one, other)| one.between(other));
    let floor = [relayed.map(|relayed| relayed.per_second), None];
    let relay_cpu = relayed.and_then(|relayed| relayed.cpu_ms);
    if args.json.json {
        let mut told = spell(args, &outcome, floor, None);
        if let Some(cpu) = relay_cpu {
            told["cpu"]["relay_ms_per_cycle"] = json!(rounded(cpu));
        }
        print::json(out, &told)?;
    } else {
        people(args, &outcome, floor, out)?;
        if let Some(cpu) = relay_cpu {
            writeln!(out, "a bare relay took {cpu:.2} ms of CPU for each")?;
        }
    }
    out.flush()?;
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
