//! `hundi source`: where registered tools reach, and asking whether they are there.

use std::io::Write;

use serde_json::Map;

use super::asks::{Around, Asks};
use super::documents::{self, Common, Kind, Named};
use super::door::Door;
use super::{Actor, Failure};

/// What to do with sources.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// What is done with every document.
    #[command(flatten)]
    Common(Common),
    /// Ask a source whether it is there and lets us in
    Ping(Named),
    /// Make the table in which a database keeps which proposals were carried out
    Prepare(Named),
    /// Seal a source's secrets under a new data key
    Rotate(Named),
}

impl Asks for Command {
    fn actor(&self) -> Actor {
        match self {
            Command::Common(common) => common.actor(),
            Command::Ping(named) | Command::Prepare(named) | Command::Rotate(named) => {
                &named.how.actor
            }
        }
        .clone()
    }

    fn looks(&self) -> bool {
        false
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(self, door, around.out).await
    }
}

/// Runs the command.
async fn run(command: &Command, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let (verb, named) = match command {
        Command::Common(common) => return documents::run(Kind::Source, common, door, out).await,
        Command::Ping(named) => ("ping", named),
        Command::Prepare(named) => ("prepare", named),
        Command::Rotate(named) => ("rotate", named),
    };
    let path = format!("{}/{verb}", documents::one(Kind::Source));
    let told = documents::ask(door, "post", &path, Some(&named.name), Map::new()).await?;
    documents::tell(&told, named.how.json, out)?;
    // Asked whether it is there, and it is not.
    match told["ok"].as_bool() {
        Some(false) => Err(Failure::Told),
        Some(true) | None => Ok(()),
    }
}
