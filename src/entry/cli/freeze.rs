//! `hundi freeze` and `hundi unfreeze`: the brake.

use std::io::Write;

use serde_json::json;

use super::asks::{Around, Asks};
use super::door::Door;
use super::{Actor, Failure, Json, print};
use crate::domain::facts::FreezeScope;

/// What to freeze or lift, and where.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// all, agent, tool, vendor or server; without it, what is frozen is only shown
    #[arg(value_parser = scope)]
    pub scope: Option<FreezeScope>,
    /// Which agent, tool, vendor (account, domain or name) or server; nothing for all
    pub id: Option<String>,
    /// Why: others will ask
    #[arg(long)]
    pub reason: Option<String>,
    /// As whom, and where.
    #[command(flatten)]
    pub actor: Actor,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

fn scope(name: &str) -> Result<FreezeScope, String> {
    FreezeScope::parse(name).ok_or_else(|| "one of all, agent, tool, vendor, server".to_owned())
}

/// Freezes.
#[derive(clap::Args, Debug)]
pub struct Freeze {
    #[command(flatten)]
    what: Args,
}

/// Lifts a freeze.
#[derive(clap::Args, Debug)]
pub struct Unfreeze {
    #[command(flatten)]
    what: Args,
}

impl Asks for Freeze {
    fn actor(&self) -> Actor {
        self.what.actor.clone()
    }

    fn check(&self) -> Result<(), Failure> {
        if self.what.scope.is_some() && self.what.reason.is_none() {
            let text = "--reason is missing: others will ask why this stands still";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok(())
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(&self.what, "freeze", door, around.out).await
    }
}

impl Asks for Unfreeze {
    fn actor(&self) -> Actor {
        self.what.actor.clone()
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(&self.what, "unfreeze", door, around.out).await
    }
}

/// Freezes, or lifts a freeze, and prints what is frozen then.
async fn run(args: &Args, name: &str, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let told = match args.scope {
        None => door.ask("list_freezes", json!({})).await?,
        Some(scope) => {
            let asked = json!({
                "scope": scope.name(),
                "id": args.id,
                "reason": args.reason.as_deref().unwrap_or_default(),
            });
            door.ask(name, asked).await?
        }
    };
    if args.json.json {
        print::json(out, &told)?;
    } else {
        let rows = print::rows(&told, "frozen", &["/scope", "/id", "/reason", "/by", "/at"]);
        let heading = ["scope", "id", "reason", "by", "since"];
        print::table(out, &heading, rows, "nothing is frozen")?;
    }
    Ok(out.flush()?)
}
