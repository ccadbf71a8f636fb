//! `hundi queue`: how many requests to models wait, and letting them wait longer.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::asks::{Around, Asks};
use super::documents::How;
use super::door::Door;
use super::{Actor, Failure, print};

/// Pause between two looks at a queue that drains.
const LOOK: Duration = Duration::from_millis(500);

/// What to do with the queue.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to do; shows it if left out
    #[arg(value_enum)]
    pub step: Option<Step>,
    /// As whom, where, and how to print.
    #[command(flatten)]
    pub how: How,
}

/// What can be done with it.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Begin no more requests; those in hand are answered
    Pause,
    /// Begin requests again
    Resume,
    /// Begin no more requests, and wait until none is in hand
    Drain,
}

impl Asks for Args {
    fn actor(&self) -> Actor {
        self.how.actor.clone()
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(self, door, around.out).await
    }
}

/// Does it, and prints how the queue stands then.
async fn run(args: &Args, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let paused = |paused: bool| json!({"paused": paused});
    let mut told = match args.step {
        None => door.ask("get_queue", json!({})).await?,
        Some(Step::Resume) => door.ask("pause_queue", paused(false)).await?,
        Some(Step::Pause | Step::Drain) => door.ask("pause_queue", paused(true)).await?,
    };
    while args.step == Some(Step::Drain) && told["running"] != 0 {
        tokio::time::sleep(LOOK).await;
        told = door.ask("get_queue", json!({})).await?;
    }
    if args.how.json.json {
        print::json(out, &told)?;
        return Ok(out.flush()?);
    }
    let number = |value: &Value| value.as_u64().map_or("-".to_owned(), |n| n.to_string());
    print::pairs(
        out,
        &[
            ("waiting", number(&told["depth"])),
            ("in hand", number(&told["running"])),
            ("oldest, seconds", number(&told["oldest_seconds"])),
            ("paused", told["paused"].to_string()),
        ],
    )?;
    let rows = told["priorities"].as_array().into_iter().flatten();
    let rows = rows.map(|row| {
        let oldest = row["oldest_at"].as_str().unwrap_or("").to_owned();
        vec![number(&row["priority"]), number(&row["depth"]), oldest]
    });
    let heading = ["priority", "waiting", "oldest since"];
    print::table(out, &heading, rows.collect(), "nothing waits")?;
    Ok(out.flush()?)
}
