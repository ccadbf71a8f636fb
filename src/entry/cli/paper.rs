//! `hundi document` and `hundi search`: texts that people keep, and finding passages of them.

use std::io::Write;

use serde_json::json;

use super::asks::{Around, Asks};
use super::documents::{self, Change, Common, How, Kind, Named};
use super::door::Door;
use super::{Actor, Failure, print};

/// What to do with documents.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// List those that you may find
    List(How),
    /// Show one with its text
    Show(Named),
    /// Write one from a file: {"id"?, "title", "text", "labels"?, "visible_to"?}
    Create {
        /// JSON, TOML or YAML by its ending; `-` is JSON on stdin
        #[arg(long, value_name = "FILE")]
        file: std::path::PathBuf,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: How,
    },
    /// Delete one document
    Delete(Named),
}

impl Asks for Command {
    fn actor(&self) -> Actor {
        match self {
            Command::List(how) | Command::Create { how, .. } => &how.actor,
            Command::Show(named) | Command::Delete(named) => &named.how.actor,
        }
        .clone()
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(self, door, around.out).await
    }
}

/// Lists, shows, writes or deletes.
async fn run(command: &Command, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let common = match command {
        Command::List(how) => Common::List(how.clone()),
        Command::Show(named) => Common::Show(named.clone()),
        Command::Create { file, how } => Common::Change(Change::Create {
            file: file.clone(),
            how: how.clone(),
        }),
        Command::Delete(named) => Common::Change(Change::Delete(named.clone())),
    };
    documents::run(Kind::Document, &common, door, out).await
}

/// What to look for.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// In words
    #[arg(required = true)]
    pub words: Vec<String>,
    /// So many passages
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub k: u32,
    /// Only under all of these labels, with commas between them
    #[arg(long)]
    pub labels: Option<String>,
    /// As whom, where, and how to print.
    #[command(flatten)]
    pub how: How,
}

impl Asks for Args {
    fn actor(&self) -> Actor {
        self.how.actor.clone()
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        search(self, door, around.out).await
    }
}

/// Prints the passages that answer best.
async fn search(args: &Args, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let mut input = json!({"q": args.words.join(" "), "k": args.k});
    if let Some(labels) = &args.labels {
        input["labels"] = json!(labels);
    }
    let told = door.ask("search_documents", input).await?;
    if args.how.json.json {
        print::json(out, &told)?;
        return Ok(out.flush()?);
    }
    let passages = told["passages"].as_array().map_or(&[][..], Vec::as_slice);
    for one in passages {
        let word = |place: &str| print::plain(&print::word(one, place));
        let (id, title, score) = (word("/id"), word("/title"), word("/score"));
        writeln!(out, "{id}  {title}  ({score})")?;
        for line in one["text"].as_str().unwrap_or_default().lines() {
            writeln!(out, "    {}", print::plain(line))?;
        }
    }
    if passages.is_empty() {
        writeln!(out, "nothing was found")?;
    }
    Ok(out.flush()?)
}
