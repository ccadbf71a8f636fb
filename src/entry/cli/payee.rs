//! `hundi payee`: the payees that are known, and the accounts they are paid at.

use std::io::Write;

use serde_json::json;

use super::{Actor, Failure, Json, print};
use crate::broker::Broker;
use crate::broker::pay::payees::NewPayee;
use crate::domain::payee::RegisteredPayee;
use crate::domain::principal::Principal;

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
        after_help = "Example:\n  hundi payee add --name 'Acme Ltd' --url https://acme.example --account fa_00000000000001"
    )]
    Add {
        /// What the payee is called
        #[arg(long)]
        name: String,
        /// Its site
        #[arg(long, value_name = "URL")]
        url: Option<String>,
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

impl Command {
    /// As whom to act.
    pub fn actor(&self) -> &Actor {
        match self {
            Command::List { actor, .. }
            | Command::Add { actor, .. }
            | Command::Remove { actor, .. } => actor,
        }
    }
}

/// Runs the command.
pub async fn run(
    command: &Command,
    broker: &Broker,
    who: &Principal,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match command {
        Command::List { json, .. } => list(out, *json, &broker.pay.payees(who).await?)?,
        Command::Add {
            name,
            url,
            lei,
            accounts,
            labels,
            json,
            ..
        } => {
            let new = NewPayee {
                name: name.clone(),
                vendor_url: url.clone(),
                lei: lei.clone(),
                fund_accounts: accounts.clone(),
                labels: labels.clone(),
            };
            let (payee, _) = broker.pay.register_payee(who, new).await?;
            show(out, *json, &payee)?;
        }
        Command::Remove { payee, json, .. } => {
            let payee = broker.pay.remove_payee(who, payee).await?;
            if json.json {
                print::json(out, &json!(payee))?;
            } else {
                let name = print::plain(&payee.name);
                writeln!(out, "{name} ({}) is not registered any more", payee.id)?;
            }
        }
    }
    Ok(out.flush()?)
}

fn show(out: &mut dyn Write, json: Json, payee: &RegisteredPayee) -> std::io::Result<()> {
    if json.json {
        return print::json(out, &json!(payee));
    }
    let pairs = [
        ("id", payee.id.to_string()),
        ("name", payee.name.clone()),
        ("site", payee.vendor_url.clone().unwrap_or_default()),
        ("lei", payee.lei.clone().unwrap_or_default()),
        ("accounts", payee.fund_accounts.join(", ")),
        ("labels", payee.labels.join(", ")),
    ];
    print::pairs(out, &pairs)
}

fn list(out: &mut dyn Write, json: Json, payees: &[RegisteredPayee]) -> std::io::Result<()> {
    if json.json {
        return print::json(out, &json!({"payees": payees}));
    }
    let row = |payee: &RegisteredPayee| {
        vec![
            payee.id.to_string(),
            payee.name.clone(),
            payee.vendor_url.clone().unwrap_or_default(),
            payee.fund_accounts.join(", "),
            payee.labels.join(", "),
        ]
    };
    let heading = ["id", "name", "site", "accounts", "labels"];
    let rows = payees.iter().map(row).collect();
    print::table(
        out,
        &heading,
        rows,
        "nobody is registered; `hundi payee add` does it",
    )
}
