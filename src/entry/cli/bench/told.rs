//! What came of a run, for people and as JSON.
#![allow(
    clippy::float_arithmetic,
    reason = "speeds are estimates for people to read; none of them is an amount"
)]

use std::io::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::cpu::Busy;
use super::histogram::Histogram;
use super::load::Outcome;
use super::{Args, BESIDES, Door, FLUSHES, Half};
use crate::entry::cli::print;

pub(super) fn per_second(outcome: &Outcome) -> f64 {
    let seconds = outcome.took.as_secs_f64();
    if seconds > 0.0 {
        count(outcome.cycles) / seconds
    } else {
        0.0
    }
}

/// Exact up to 2^53, which no run reaches.
pub(super) fn count(n: u64) -> f64 {
    u32::try_from(n).map_or(f64::from(u32::MAX), f64::from)
}

/// `floor` and `naive` are cycles a second of the bare store, if they were asked for.
pub(super) fn spell(
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
        _ if args.door.asks() => json!({"ask": phase(&outcome.call)}),
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
        let per_call = cpu_ms(outcome, busy);
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

/// Milliseconds of CPU that the machine spent on each cycle.
fn cpu_ms(outcome: &Outcome, busy: Busy) -> f64 {
    busy.machine * outcome.took.as_secs_f64() * 1_000.0 / count(outcome.cycles.max(1))
}

fn names(args: &Args) -> (&str, &str) {
    match &args.call {
        _ if args.door.asks() => (args.door.name(), &args.model),
        Some(call) if args.door == Door::Invoke => (args.door.name(), call),
        Some(call) => (Door::Mcp.name(), call),
        None => (args.door.name(), args.tool.name()),
    }
}

fn ratio(outcome: &Outcome, floor: f64) -> Option<f64> {
    (floor > 0.0).then(|| rounded(per_second(outcome) / floor))
}

/// Three decimals: more would be noise.
pub(super) fn rounded(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

fn millis(histogram: &Histogram, percent: u64) -> f64 {
    in_millis(histogram.percentile(percent))
}

fn in_millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1000.0)
}

pub(super) fn half_for_people(half: &Half, out: &mut dyn Write) -> std::io::Result<()> {
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

pub(super) fn people(
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
        let what = match args.door.asks() {
            true => "a bare relay to the provider makes",
            false => "the floor is",
        };
        writeln!(out, "{what} {floor:.0} a second; the ratio is {ratio:.2}")?;
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
        _ if args.door.asks() => vec![row("ask", &outcome.call)],
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
            "\n{:.2} cores of this machine were busy, {:.2} of them with this client: {:.2} ms of CPU \
             for each cycle",
            busy.machine,
            busy.client,
            cpu_ms(outcome, busy)
        ),
    }
}
