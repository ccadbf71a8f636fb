//! `hundi access`: rules about who may call what, and trying them out.

use std::io::Write;

use serde_json::{Map, json};

use super::asks::{Around, Asks};
use super::documents::{self, Common, How, Kind};
use super::door::Door;
use super::{Actor, Failure};

/// What to do with access rules.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// What is done with every document.
    #[command(flatten)]
    Common(Common),
    /// Ask what the rules say of a caller, a tool and a result; nothing is called
    #[command(
        after_help = "Example:\n  hundi access check --who '{\"agent\":\"agent-1\"}' --tool read_invoices --sample '{\"rows\":[]}'"
    )]
    Check {
        /// {"agent":..}, {"person":..}, {"server":..} or {"roles":[..]}
        #[arg(long, value_name = "JSON")]
        who: String,
        /// The tool's name
        #[arg(long)]
        tool: String,
        /// A result as the tool would bring it back, to see what is masked of it
        #[arg(long, value_name = "JSON")]
        sample: Option<String>,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: How,
    },
}

impl Asks for Command {
    fn actor(&self) -> Actor {
        match self {
            Command::Common(common) => common.actor(),
            Command::Check { how, .. } => &how.actor,
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
    match command {
        Command::Common(common) => documents::run(Kind::Access, common, door, out).await,
        Command::Check {
            who,
            tool,
            sample,
            how,
        } => {
            let mut input = Map::from_iter([
                ("who".to_owned(), documents::parse(who)?),
                ("tool".to_owned(), json!(tool)),
            ]);
            if let Some(sample) = sample {
                input.insert("sample".to_owned(), documents::parse(sample)?);
            }
            let told = documents::ask(door, "post", "/v1/access/check", None, input).await?;
            documents::tell(&told, how.json, out)
        }
    }
}
