//! `hundi invoke` and `hundi trace`: calling a tool as an agent would, and what became of a call.

use std::io::Write;

use serde_json::Map;

use super::asks::{Around, Asks};
use super::documents::{self, How};
use super::door::Door;
use super::{Actor, Failure, print};

/// What to call, and as whom.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The tool's name
    pub tool: String,
    /// Its arguments
    #[arg(long = "args", value_name = "JSON", default_value = "{}")]
    pub arguments: String,
    /// As this agent; only for whoever owns the data folder
    #[arg(long = "as", value_name = "AGENT", conflicts_with = "key")]
    pub agent: Option<String>,
    /// As whom, where, and how to print.
    #[command(flatten)]
    pub how: How,
}

impl Asks for Args {
    fn actor(&self) -> Actor {
        Actor {
            agent: self.agent.clone(),
            ..self.how.actor.clone()
        }
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(self, door, around.out).await
    }
}

/// Calls it. A tool that does more than read is proposed, and nothing is committed.
async fn run(args: &Args, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let arguments = documents::parse(&args.arguments)?;
    let input = Map::from_iter([("arguments".to_owned(), arguments)]);
    let name = Some(args.tool.as_str());
    let told = documents::ask(door, "post", "/v1/tools/{}/invoke", name, input).await?;
    if args.how.json.json {
        print::json(out, &told)?;
        return Ok(out.flush()?);
    }
    match told.get("data") {
        Some(data) => {
            let shown = serde_json::to_string_pretty(data).map_err(Failure::of)?;
            for line in shown.lines() {
                writeln!(out, "{}", print::plain(line))?;
            }
            let masked = print::word(&told, "/masked");
            if !masked.is_empty() {
                writeln!(out, "\nmasked: {}", print::plain(&masked))?;
            }
            let trace = print::word(&told, "/trace_id");
            if !trace.is_empty() {
                writeln!(out, "trace: {}", print::plain(&trace))?;
            }
            Ok(out.flush()?)
        }
        None => documents::tell(&told, args.how.json, out),
    }
}

/// Which call.
#[derive(clap::Args, Debug)]
pub struct Trace {
    /// The trace's id, as an answer or a problem gave it
    pub id: String,
    /// As whom, where, and how to print.
    #[command(flatten)]
    pub how: How,
}

impl Asks for Trace {
    fn actor(&self) -> Actor {
        self.how.actor.clone()
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        trace(self, door, around.out).await
    }
}

/// Tells the steps of a call.
async fn trace(args: &Trace, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let id = Some(args.id.as_str());
    let mut told = documents::ask(door, "get", "/v1/traces/{}", id, Map::new()).await?;
    if args.how.json.json {
        print::json(out, &told)?;
        return Ok(out.flush()?);
    }
    let steps = told["steps"].as_array().into_iter().flatten();
    let rows = steps.map(|step| {
        let micros = step["duration_us"].as_u64().unwrap_or_default();
        let ms = format!("{}.{:03}", micros / 1_000, micros % 1_000);
        vec![print::word(step, "/step"), ms]
    });
    let rows: Vec<_> = rows.collect();
    if let Some(fields) = told.as_object_mut() {
        fields.remove("steps");
    }
    documents::tell(&told, args.how.json, out)?;
    writeln!(out)?;
    print::table(out, &["step", "ms"], rows, "no steps are kept")?;
    Ok(out.flush()?)
}
