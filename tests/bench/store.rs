//! How many cycles the bare store takes, by concurrency, grouped and not, empty and full.
//!
//! `cargo bench --bench store -- [cycles]`

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a bench prints figures and may fail loudly"
)]

use hundi::ambient::Ambient;
use hundi::run::bench::floor::{self, Floor, Load};
use hundi::store::{self, Address, Opening};

fn per_second(floor: Floor) -> f64 {
    floor.cycles as f64 / floor.took.as_secs_f64()
}

/// User plus system time of this process so far, in ms.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split(' ').collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|f| f.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(12) + ticks(13)) * 10.0
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test --all-targets` runs this too, without the word: then it only shows that it works.
    let measuring = std::env::args().any(|arg| arg == "--bench");
    let asked = std::env::args().find_map(|arg| arg.parse().ok());
    let cycles = if measuring {
        asked.unwrap_or(4_000)
    } else {
        64
    };
    let folder = tempfile::tempdir_in(".").unwrap();
    let ambient = Ambient::real();
    // A second number asks for one concurrency alone, for a profiler.
    let only: Option<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).nth(1);
    for money in [false, true] {
        for (concurrency, limit) in [(1, 256), (64, 1), (64, 256), (256, 256)] {
            if only.is_some_and(|only| only != concurrency || limit == 1) {
                continue;
            }
            let name = format!("{money}-{concurrency}-{limit}.db");
            let path = folder.path().join(name);
            let how = Opening {
                grouped: limit > 1,
                ..Opening::default()
            };
            let opened = store::open(&Address::File(path), how, &ambient).await;
            let store = [opened.unwrap().store];
            let few = if concurrency == 1 || limit == 1 {
                cycles / 8
            } else {
                cycles
            };
            let load = Load {
                callers: concurrency,
                money,
                naive: limit == 1,
            };
            floor::round(&store, load, few / 8, &ambient).await.unwrap();
            let before = cpu_ms();
            let floor = floor::round(&store, load, few, &ambient).await.unwrap();
            println!(
                "money {money:5}  callers {concurrency:3}  batch <= {limit:3}: {:7.0} cycles/s  {:5.1} us CPU/cycle (making them included)",
                per_second(floor),
                (cpu_ms() - before) * 1000.0 / floor.cycles as f64,
            );
        }
    }
}
