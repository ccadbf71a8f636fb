//! `hundi tool`: the catalogue as an operator sees it, and accepting what an upstream offers. A
//! definition is accepted as a whole; the digest names it, so that what is accepted can be exactly
//! what was read.

use std::io::Write;

use serde_json::{Value, json};

use super::{Actor, Failure, Json, print};
use crate::broker::Broker;
use crate::broker::tools::catalogue::ToolInfo;
use crate::domain::principal::{Principal, Right};
use crate::domain::tool::{PayeeRule, Risk, Standing};
use crate::domain::upstream::Definition;

/// What to do with tools.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Show every tool: built in, or offered by an upstream
    List {
        /// Only those that wait for an operator
        #[arg(long)]
        waiting: bool,
        /// As whom.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
    /// Show what a tool was accepted as, what it offers now, and where the two differ
    Show {
        /// The tool's name
        name: String,
        /// As whom.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
    /// Accept a tool's definition as it is offered now
    ///
    /// Read it first with `hundi tool show NAME`: its description and schema are read by agents,
    /// and its upstream wrote them.
    #[command(verbatim_doc_comment)]
    Accept {
        /// The tool's name
        name: String,
        /// Accept only if the definition still has this digest
        #[arg(long, value_name = "HEX")]
        digest: Option<String>,
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
            | Command::Show { actor, .. }
            | Command::Accept { actor, .. } => actor,
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
    if !who.may(Right::ReadSetup) {
        return Err(Failure::of(format!(
            "{} may not look into the catalogue",
            who.roles.told()
        )));
    }
    match command {
        Command::List { waiting, json, .. } => {
            broker.tools.tend_tools().await?;
            let infos = broker.tools.catalogue().shared_infos();
            let wanted = |info: &&ToolInfo| !waiting || waits(info);
            let infos: Vec<&ToolInfo> = infos.values().filter(wanted).collect();
            if json.json {
                let all = infos.iter().map(|info| spell(info)).collect();
                print::json(out, &Value::Array(all))?;
            } else {
                list(&infos, *waiting, out)?;
                for (upstream, what) in broker.tools.catalogue().complaints().iter() {
                    writeln!(out, "{upstream}: {}", print::plain(&what.join("; ")))?;
                }
            }
        }
        Command::Show { name, json, .. } => {
            broker.tools.tend_tools().await?;
            let infos = broker.tools.catalogue().shared_infos();
            let info = infos.get(name).ok_or_else(|| {
                Failure::of("there is no such tool; `hundi tool list` shows them all")
            })?;
            show(info, *json, out)?;
        }
        Command::Accept {
            name, digest, json, ..
        } => {
            let accepted = match digest {
                Some(digest) => broker.tools.accept_tool_if(who, name, digest).await?,
                None => broker.tools.accept_tool(who, name).await?,
            };
            if json.json {
                print::json(out, &spell(&accepted))?;
            } else {
                writeln!(
                    out,
                    "{} is accepted as it is now ({})",
                    accepted.name, accepted.digest
                )?;
                print::pairs(out, &words(&accepted))?;
            }
        }
    }
    Ok(out.flush()?)
}

fn waits(info: &ToolInfo) -> bool {
    info.standing == Standing::New || info.standing == Standing::Changed
}

fn risk(info: &ToolInfo) -> &'static str {
    match info.risk {
        Risk::Low => "low",
        Risk::High if info.raised => "high (raised by its own hints)",
        Risk::High => "high",
    }
}

/// What the operator's rules make of the tool, and whose word each is.
fn words(info: &ToolInfo) -> Vec<(&'static str, String)> {
    let by = |source: &str| match source {
        "built_in" => "built in".to_owned(),
        "hints" => "raised by its own hints".to_owned(),
        "nobody" => "nobody said".to_owned(),
        _ => match &info.upstream {
            Some((upstream, tool)) => format!("said in [upstream.{upstream}.tools.{tool}]"),
            None => "said by the operator".to_owned(),
        },
    };
    let (money, payee) = (&info.money, &info.payee);
    let moves = match money.moves_money() {
        true => json!(money).to_string(),
        false => "nothing".to_owned(),
    };
    let pays = match *payee == PayeeRule::default() {
        true => "not read".to_owned(),
        false => json!(payee).to_string(),
    };
    let risk = match info.risk {
        Risk::Low => "low",
        Risk::High => "high",
    };
    vec![
        ("risk", format!("{risk} ({})", by(info.source.risk))),
        ("moves", format!("{moves} ({})", by(info.source.money))),
        ("pays", format!("{pays} ({})", by(info.source.payee))),
    ]
}

fn standing(info: &ToolInfo) -> &'static str {
    match info.standing {
        Standing::Accepted => "accepted",
        Standing::New => "new: waits for you",
        Standing::Changed => "changed: waits for you",
        Standing::Gone => "no longer offered",
        Standing::Away => "accepted; its server does not answer",
        Standing::Disabled => "disabled",
        Standing::Unusable => "accepted; unusable as it is now",
    }
}

fn list(infos: &[&ToolInfo], waiting: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let rows = infos.iter().map(|info| {
        let from = match &info.upstream {
            None => "built in".to_owned(),
            Some((upstream, name)) if *name == info.name.as_str() => upstream.clone(),
            Some((upstream, name)) => format!("{upstream}, where it is called {name}"),
        };
        vec![
            info.name.to_string(),
            from,
            risk(info).to_owned(),
            standing(info).to_owned(),
            if info.hold { "always held" } else { "" }.to_owned(),
            info.problem.clone().unwrap_or_default(),
        ]
    });
    let empty = if waiting {
        "no tool waits for you"
    } else {
        "there are no tools"
    };
    let heading = ["tool", "from", "risk", "standing", "hold", "problem"];
    print::table(out, &heading, rows.collect(), empty)
}

fn show(info: &ToolInfo, json: Json, out: &mut dyn Write) -> std::io::Result<()> {
    if json.json {
        return print::json(out, &spell(info));
    }
    let mut pairs = vec![
        ("tool", info.name.to_string()),
        ("standing", standing(info).to_owned()),
        ("digest", info.digest.clone()),
    ];
    pairs.extend(words(info));
    if let Some((upstream, name)) = &info.upstream {
        pairs.push(("upstream", format!("{upstream}, where it is called {name}")));
    }
    if let Some((by, at)) = &info.accepted_by {
        pairs.push(("accepted", format!("{at} by {by}")));
    }
    if let Some(problem) = &info.problem {
        pairs.push(("problem", problem.clone()));
    }
    if !info.differs.is_empty() {
        pairs.push(("differs in", info.differs.join(", ")));
    }
    print::pairs(out, &pairs)?;
    let changed = info.accepted.as_ref().filter(|_| !info.differs.is_empty());
    for (title, definition) in [
        ("Accepted:", changed),
        ("Offered now:", info.offered.as_ref()),
    ] {
        if let Some(definition) = definition {
            writeln!(out, "\n{title}")?;
            print::pairs(out, &parts(definition))?;
        }
    }
    Ok(())
}

fn parts(definition: &Definition) -> Vec<(&'static str, String)> {
    let mut parts = vec![
        ("  description", definition.description.clone()),
        ("  arguments", definition.input_schema.to_string()),
    ];
    if let Some(schema) = &definition.output_schema {
        parts.push(("  result", schema.to_string()));
    }
    if !definition.annotations.is_null() {
        parts.push(("  hints", definition.annotations.to_string()));
    }
    parts
}

fn spell(info: &ToolInfo) -> Value {
    let (by, at) = info.accepted_by.clone().unzip();
    json!({
        "name": info.name,
        "description": info.description,
        "risk": info.risk,
        "raised": info.raised,
        "money": info.money,
        "payee": info.payee,
        "source": info.source,
        "always_held": info.hold,
        "standing": info.standing,
        "upstream": info.upstream.as_ref().map(|(upstream, _)| upstream),
        "upstream_name": info.upstream.as_ref().map(|(_, name)| name),
        "offered": info.offered,
        "accepted": info.accepted,
        "differs": info.differs,
        "digest": info.digest,
        "accepted_by": by,
        "accepted_at": at.map(|at| at.to_string()),
        "problem": info.problem,
    })
}
