//! `hundi payee`: the payees that are known, and the accounts they are paid at.

use std::io::Write;

use serde_json::{Value, json};

use super::asks::{Around, Asks};
use super::door::Door;
use super::{Actor, Failure, Json, print};

/// What to do with payees.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Show every registered payee
    List {
        /// As whom.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
    /// Register a payee with its accounts; the one of the same name is replaced
    ///
    /// For a registered account, name and site are what is written here, whatever an agent says:
    /// block lists, freezes, reputation and history go by it. A policy with
    /// {"payees":"registered"} lets its agent pay nobody else.
    #[command(
        verbatim_doc_comment,
        after_help = "Example:\n  hundi payee add --name 'Acme Ltd' --vendor-url https://acme.example --account fa_00000000000001"
    )]
    Add {
        /// What the payee is called
        #[arg(long)]
        name: String,
        /// Its site
        #[arg(long, value_name = "URL")]
        vendor_url: Option<String>,
        /// Its legal entity identifier
        #[arg(long)]
        lei: Option<String>,
        /// An account it is paid at; give one or several
        #[arg(long = "account", value_name = "ID", required = true)]
        accounts: Vec<String>,
        /// A word of your own about it; give none or several
        #[arg(long = "label", value_name = "TEXT")]
        labels: Vec<String>,
        /// As whom.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
    /// Take a payee out of the registry
    Remove {
        /// Its id, its name, or one of its accounts
        payee: String,
        /// As whom.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
}

impl Asks for Command {
    fn actor(&self) -> Actor {
        match self {
            Command::List { actor, .. }
            | Command::Add { actor, .. }
            | Command::Remove { actor, .. } => actor,
        }
        .clone()
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(self, door, around.out).await
    }
}

/// Runs the command.
async fn run(command: &Command, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::List { json, .. } => {
            let payees = door.ask("list_payees", json!({})).await?;
            list(out, *json, &payees)?;
        }
        Command::Add {
            name,
            vendor_url,
            lei,
            accounts,
            labels,
            json,
            ..
        } => {
            let mut new = json!({"name": name, "fund_accounts": accounts, "labels": labels});
            for (field, value) in [("vendor_url", vendor_url), ("lei", lei)] {
                if let Some(value) = value {
                    new[field] = json!(value);
                }
            }
            show(out, *json, &door.ask("register_payee", new).await?)?;
        }
        Command::Remove { payee, json, .. } => {
            let told = door.ask("remove_payee", json!({"payee": payee})).await?;
            if json.json {
                print::json(out, &told)?;
            } else {
                let [name, id] = ["/name", "/id"].map(|place| print::word(&told, place));
                writeln!(
                    out,
                    "{} ({id}) is not registered any more",
                    print::plain(&name)
                )?;
            }
        }
    }
    Ok(out.flush()?)
}

fn show(out: &mut dyn Write, json: Json, payee: &Value) -> std::io::Result<()> {
    if json.json {
        return print::json(out, payee);
    }
    let told = [
        ("id", "/id"),
        ("name", "/name"),
        ("site", "/vendor_url"),
        ("lei", "/lei"),
        ("accounts", "/fund_accounts"),
        ("labels", "/labels"),
    ];
    print::pairs(
        out,
        &told.map(|(name, place)| (name, print::word(payee, place))),
    )
}

fn list(out: &mut dyn Write, json: Json, payees: &Value) -> std::io::Result<()> {
    if json.json {
        return print::json(out, payees);
    }
    let places = ["/id", "/name", "/vendor_url", "/fund_accounts", "/labels"];
    let heading = ["id", "name", "site", "accounts", "labels"];
    let rows = print::rows(payees, "payees", &places);
    print::table(
        out,
        &heading,
        rows,
        "nobody is registered; `hundi payee add` does it",
    )
}
