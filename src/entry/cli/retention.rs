//! `hundi retention`: drops what is older than it is kept for, or tells what that would be.

use std::io::Write;

use serde_json::{Value, json};

use super::{Failure, Json, print};
use crate::broker::Broker;
use crate::broker::pay::retention::Dropped;
use crate::domain::retention::Old;

/// How to go about it.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only tell how much it would be
    #[arg(long)]
    pub dry_run: bool,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

/// Runs the command, to the end: as often as there is something left.
pub async fn run(args: &Args, broker: &Broker, out: &mut dyn Write) -> Result<(), Failure> {
    let found = match args.dry_run {
        true => broker.pay.what_is_old().await?,
        false => {
            let mut sum = broker.pay.drop_old().await?;
            loop {
                let more = broker.pay.drop_old().await?;
                if more.iter().all(|dropped| dropped.rows == 0) {
                    break sum;
                }
                for (sum, more) in sum.iter_mut().zip(more) {
                    sum.rows += more.rows;
                }
            }
        }
    };
    if args.json.json {
        let all: Vec<Value> = found
            .iter()
            .map(|one| json!({"what": name(one.old), "days": one.days, "rows": one.rows}))
            .collect();
        let named = if args.dry_run {
            "would_drop"
        } else {
            "dropped"
        };
        print::json(out, &json!({named: all}))?;
    } else {
        let kept = |one: &Dropped| match one.days {
            Some(days) => format!("{days} days"),
            None => "for ever".to_owned(),
        };
        let rows = found
            .iter()
            .map(|one| vec![name(one.old).to_owned(), kept(one), one.rows.to_string()]);
        let last = if args.dry_run {
            "would drop"
        } else {
            "dropped"
        };
        print::table(out, &["what", "kept", last], rows.collect(), "nothing")?;
    }
    Ok(out.flush()?)
}

fn name(old: Old) -> &'static str {
    match old {
        Old::RefusedProposals => "refused proposals",
        Old::SeenWebhooks => "seen webhooks",
    }
}
