//! `hundi config`: the effective configuration, with where each value came from. It gets rows in
//! which secrets are masked already; there is nothing here that could show one.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::{Failure, Json, print};

/// Flags of `hundi config`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Also say what each setting is for
    #[arg(long)]
    pub explain: bool,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

/// One setting as it is in force.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its key in `hundi.toml`.
    pub key: String,
    /// Its value, masked; null where it is not set.
    pub value: Value,
    /// `default`, `file`, `env` or `flag`.
    pub layer: String,
    /// The exact place.
    pub source: String,
    /// Its variable, if it has one.
    pub variable: Option<String>,
    /// What it is for.
    pub help: String,
}

/// What is shown besides the settings.
#[derive(Clone, Debug, Default)]
pub struct Remarks {
    /// Names of the keys at hand, which hold no secret: nodes can be compared by them.
    pub keys: Vec<(&'static str, String)>,
    /// What is off, one sentence each.
    pub off: Vec<String>,
    /// What deserves a look.
    pub warnings: Vec<String>,
}

/// Prints it.
pub fn run(
    args: &Args,
    rows: &[Row],
    remarks: &Remarks,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if args.json.json {
        print::json(out, &as_json(rows, remarks))?;
        return Ok(out.flush()?);
    }
    let mut heading = vec!["setting", "value", "from"];
    if args.explain {
        heading.extend(["variable", "what it is for"]);
    }
    let lines = rows.iter().map(|row| {
        let mut line = vec![row.key.clone(), shown(&row.value), row.source.clone()];
        if args.explain {
            line.extend([row.variable.clone().unwrap_or_default(), row.help.clone()]);
        }
        line
    });
    print::table(out, &heading, lines.collect(), "there are no settings")?;
    if !remarks.keys.is_empty() {
        writeln!(out, "\nKeys, by name:")?;
    }
    for (kind, name) in &remarks.keys {
        writeln!(out, "  {kind:<10}  {}", print::plain(name))?;
    }
    for (title, lines) in [("Off:", &remarks.off), ("Worth a look:", &remarks.warnings)] {
        if !lines.is_empty() {
            writeln!(out, "\n{title}")?;
        }
        for line in lines {
            writeln!(out, "  {}", print::plain(line))?;
        }
    }
    Ok(out.flush()?)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn as_json(rows: &[Row], remarks: &Remarks) -> Value {
    let settings = rows.iter().map(|row| {
        let told = json!({
            "value": row.value,
            "from": row.layer,
            "source": row.source,
            "variable": row.variable,
        });
        (row.key.clone(), told)
    });
    json!({
        "settings": settings.collect::<Map<String, Value>>(),
        "keys": remarks.keys.iter().map(|(kind, name)| ((*kind).to_owned(), json!(name)))
            .collect::<Map<String, Value>>(),
        "off": remarks.off,
        "warnings": remarks.warnings,
    })
}
