//! `hundi tool`: the catalogue as an operator sees it, and accepting what an upstream offers. A
//! definition is accepted as a whole; the digest names it, so that what is accepted can be exactly
//! what was read.

use std::io::Write;

use serde_json::{Value, json};

use super::asks::{Around, Asks};
use super::documents::{self, Kind};
use super::door::Door;
use super::{Actor, Failure, Json, print};
use crate::domain::tool::{MoneyRule, PayeeRule};

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
    /// and its upstream wrote them. With --upstream and --all-shown, everything of that upstream
    /// that waits is shown and accepted exactly as shown; what changes in between stays waiting.
    #[command(verbatim_doc_comment)]
    Accept {
        /// The tool's name
        #[arg(required_unless_present = "upstream")]
        name: Option<String>,
        /// Accept only if the definition still has this digest
        #[arg(long, value_name = "HEX", requires = "name")]
        digest: Option<String>,
        /// Every tool of this upstream that waits
        #[arg(
            long,
            value_name = "NAME",
            conflicts_with = "name",
            requires = "all_shown"
        )]
        upstream: Option<String>,
        /// Say that what is shown is read
        #[arg(long, requires = "upstream")]
        all_shown: bool,
        /// As whom, and where.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
    /// Make, change and delete registered tools.
    #[command(flatten)]
    Registered(documents::Change),
    /// Register a disabled tool for each operation of an OpenAPI description
    Import {
        /// The description: a file with JSON or YAML
        #[arg(long, value_name = "FILE")]
        openapi: std::path::PathBuf,
        /// The REST source that the tools reach
        #[arg(long)]
        source: String,
        /// What their names begin with
        #[arg(long)]
        prefix: Option<String>,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: documents::How,
    },
    /// Show every version of a registered tool, the newest first
    Versions {
        /// The tool's name
        name: String,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: documents::How,
    },
    /// Let a registered tool be called
    Enable {
        /// The tool's name
        name: String,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: documents::How,
    },
    /// Let nobody call a registered tool
    Disable {
        /// The tool's name
        name: String,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: documents::How,
    },
    /// Try a registered tool out, enabled or not
    Test {
        /// The tool's name
        name: String,
        /// Its arguments
        #[arg(long = "args", value_name = "JSON", default_value = "{}")]
        arguments: String,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: documents::How,
    },
}

impl Asks for Command {
    fn actor(&self) -> Actor {
        match self {
            Command::List { actor, .. }
            | Command::Show { actor, .. }
            | Command::Accept { actor, .. } => actor,
            Command::Registered(command) => command.actor(),
            Command::Import { how, .. }
            | Command::Versions { how, .. }
            | Command::Enable { how, .. }
            | Command::Disable { how, .. }
            | Command::Test { how, .. } => &how.actor,
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
    let told = async |name, asked| door.ask(name, asked).await;
    match command {
        Command::List { waiting, json, .. } => list(*waiting, *json, door, out).await?,
        Command::Show { name, json, .. } => show(&found(name, door).await?, *json, out)?,
        Command::Accept {
            name: Some(name),
            digest,
            json,
            ..
        } => {
            let mut asked = json!({"name": name});
            if let Some(digest) = digest {
                asked["digest"] = json!(digest);
            }
            accepted(&told("accept_tool", asked).await?, *json, out)?;
        }
        Command::Accept { upstream, json, .. } => {
            accept_all(upstream.as_deref().unwrap_or_default(), *json, door, out).await?;
        }
        Command::Registered(command) => {
            return documents::change(Kind::Tool, command, door, out).await;
        }
        Command::Import {
            openapi,
            source,
            prefix,
            how,
        } => {
            let mut asked = json!({"openapi": documents::read(openapi)?, "source": source});
            if let Some(prefix) = prefix {
                asked["prefix"] = json!(prefix);
            }
            documents::tell(&told("import_tools", asked).await?, how.json, out)?;
        }
        Command::Versions { name, how } => {
            let versions = told("list_tool_versions", json!({"tool": name})).await?;
            documents::tell(&versions, how.json, out)?;
        }
        Command::Enable { name, how } => {
            let tool = told("enable_tool", json!({"tool": name})).await?;
            documents::tell(&tool, how.json, out)?;
        }
        Command::Disable { name, how } => {
            let tool = told("disable_tool", json!({"tool": name})).await?;
            documents::tell(&tool, how.json, out)?;
        }
        Command::Test {
            name,
            arguments,
            how,
        } => {
            let asked = json!({"tool": name, "arguments": documents::parse(arguments)?});
            documents::tell(&told("test_tool", asked).await?, how.json, out)?;
        }
    }
    Ok(out.flush()?)
}

async fn list(waiting: bool, json: Json, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let mut told = door.ask("list_tools", json!({})).await?;
    if waiting && let Some(tools) = told["tools"].as_array_mut() {
        tools.retain(waits);
    }
    if json.json {
        return Ok(print::json(out, &told)?);
    }
    let tools = told["tools"].as_array().into_iter().flatten();
    let rows = tools.map(|tool| {
        let word = |place| print::word(tool, place);
        let held = tool["always_held"].as_bool().unwrap_or(false);
        vec![
            word("/name"),
            from(tool),
            risk(tool),
            standing(&word("/standing")).to_owned(),
            if held { "always held" } else { "" }.to_owned(),
            word("/problem"),
        ]
    });
    let empty = match waiting {
        true => "no tool waits for you",
        false => "there are no tools",
    };
    let heading = ["tool", "from", "risk", "standing", "hold", "problem"];
    print::table(out, &heading, rows.collect(), empty)?;
    let complaints = told["complaints"].as_object().into_iter().flatten();
    for (upstream, what) in complaints {
        writeln!(
            out,
            "{}: {}",
            print::plain(upstream),
            print::plain(&print::word(what, ""))
        )?;
    }
    Ok(())
}

async fn found(name: &str, door: &Door) -> Result<Value, Failure> {
    let told = door.ask("list_tools", json!({})).await?;
    let mut tools = told["tools"].as_array().cloned().unwrap_or_default();
    let place = tools.iter().position(|tool| tool["name"] == name);
    let missing = || Failure::of("there is no such tool; `hundi tool list` shows them all");
    let mut tool = tools.swap_remove(place.ok_or_else(missing)?);
    // Only registered tools have a document.
    if let Ok(document) = door.ask("get_tool", json!({"tool": name})).await
        && document["changed_by"].is_string()
    {
        tool["document"] = document;
    }
    Ok(tool)
}

/// Shows what waits of an upstream, and accepts each as it was shown.
async fn accept_all(
    upstream: &str,
    json: Json,
    door: &Door,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let told = door.ask("list_tools", json!({})).await?;
    let tools = told["tools"].as_array().into_iter().flatten();
    let shown: Vec<&Value> = tools
        .filter(|tool| tool["upstream"] == upstream && waits(tool))
        .collect();
    if shown.is_empty() {
        let upstream = print::plain(upstream);
        return Err(Failure::of(format!("no tool of {upstream} waits for you")));
    }
    let mut done = Vec::new();
    for tool in shown {
        if !json.json {
            show(tool, json, out)?;
            writeln!(out)?;
        }
        let asked = json!({"name": tool["name"], "digest": tool["digest"]});
        done.push(match door.ask("accept_tool", asked).await {
            Ok(told) => told,
            // The others are read, too.
            Err(Failure::Failed(why)) => json!({"name": tool["name"], "refused": why}),
            Err(other) => return Err(other),
        });
    }
    let refused = done.iter().any(|told| told["refused"].is_string());
    if json.json {
        print::json(out, &json!({"accepted": done}))?;
    } else {
        for told in &done {
            let name = print::plain(&print::word(told, "/name"));
            match told["refused"].as_str() {
                None => writeln!(out, "{name} is accepted as shown")?,
                Some(why) => writeln!(out, "{name} is NOT accepted: {why}")?,
            }
        }
    }
    out.flush()?;
    if refused { Err(Failure::Told) } else { Ok(()) }
}

fn accepted(tool: &Value, json: Json, out: &mut dyn Write) -> Result<(), Failure> {
    if json.json {
        return Ok(print::json(out, tool)?);
    }
    let [name, digest] = ["/name", "/digest"].map(|place| print::word(tool, place));
    writeln!(
        out,
        "{} is accepted as it is now ({digest})",
        print::plain(&name)
    )?;
    Ok(print::pairs(out, &words(tool))?)
}

fn waits(tool: &Value) -> bool {
    matches!(tool["standing"].as_str(), Some("new" | "changed"))
}

fn from(tool: &Value) -> String {
    let [upstream, theirs, name] =
        ["/upstream", "/upstream_name", "/name"].map(|place| print::word(tool, place));
    match (upstream.is_empty(), theirs == name) {
        (true, _) => "built in".to_owned(),
        (false, true) => upstream,
        (false, false) => format!("{upstream}, where it is called {theirs}"),
    }
}

fn risk(tool: &Value) -> String {
    let raised = tool["raised"].as_bool().unwrap_or(false);
    let hint = if raised {
        " (raised by its own hints)"
    } else {
        ""
    };
    format!("{}{hint}", print::word(tool, "/risk"))
}

/// What the operator's rules make of the tool, and whose word each is.
fn words(tool: &Value) -> Vec<(&'static str, String)> {
    let by = |place| match print::word(tool, place).as_str() {
        "built_in" => "built in".to_owned(),
        "hints" => "raised by its own hints".to_owned(),
        "nobody" => "nobody said".to_owned(),
        "developer" => "said by whoever registered it".to_owned(),
        _ => match (tool["upstream"].as_str(), tool["upstream_name"].as_str()) {
            (Some(upstream), Some(name)) => format!("said in [upstream.{upstream}.tools.{name}]"),
            _ => "said by the operator".to_owned(),
        },
    };
    let money = serde_json::from_value::<MoneyRule>(tool["money"].clone()).ok();
    let moves = match money.is_some_and(|money| money.moves_money()) {
        true => print::word(tool, "/money"),
        false => "nothing".to_owned(),
    };
    let payee = serde_json::from_value::<PayeeRule>(tool["payee"].clone()).ok();
    let pays = match payee.unwrap_or_default() == PayeeRule::default() {
        true => "not read".to_owned(),
        false => print::word(tool, "/payee"),
    };
    vec![
        (
            "risk",
            format!("{} ({})", print::word(tool, "/risk"), by("/origin/risk")),
        ),
        ("moves", format!("{moves} ({})", by("/origin/money"))),
        ("pays", format!("{pays} ({})", by("/origin/payee"))),
    ]
}

fn standing(code: &str) -> &str {
    match code {
        "new" => "new: waits for you",
        "changed" => "changed: waits for you",
        "gone" => "no longer offered",
        "upstream_unavailable" => "accepted; its server does not answer",
        "unusable" => "accepted; unusable as it is now",
        other => other,
    }
}

fn show(tool: &Value, json: Json, out: &mut dyn Write) -> Result<(), Failure> {
    if json.json {
        return Ok(print::json(out, tool)?);
    }
    let word = |place| print::word(tool, place);
    let mut pairs = vec![
        ("tool", word("/name")),
        ("standing", standing(&word("/standing")).to_owned()),
        ("digest", word("/digest")),
    ];
    pairs.extend(words(tool));
    if tool["upstream"].is_string() {
        pairs.push(("upstream", from(tool)));
    }
    if tool["accepted_at"].is_string() {
        let [at, by] = ["/accepted_at", "/accepted_by"].map(word);
        pairs.push(("accepted", format!("{at} by {by}")));
    }
    let rest = [
        ("problem", "/problem"),
        ("differs in", "/differs"),
        ("document", "/document"),
    ];
    let rest = rest.map(|(name, place)| (name, word(place)));
    pairs.extend(rest.into_iter().filter(|(_, text)| !text.is_empty()));
    print::pairs(out, &pairs)?;
    let differs = !word("/differs").is_empty();
    for (title, definition) in [("Accepted:", "accepted"), ("Offered now:", "offered")] {
        if tool[definition].is_object() && (definition == "offered" || differs) {
            writeln!(out, "\n{title}")?;
            print::pairs(out, &parts(&tool[definition]))?;
        }
    }
    Ok(())
}

fn parts(definition: &Value) -> Vec<(&'static str, String)> {
    let parts = [
        ("  description", "/description"),
        ("  arguments", "/input_schema"),
        ("  result", "/output_schema"),
        ("  hints", "/annotations"),
    ];
    let parts = parts.map(|(name, place)| (name, print::word(definition, place)));
    parts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .collect()
}
