//! `[programs.NAME]` of the configuration file: the only programs that tools can run. Nobody can add
//! one from outside, whatever rights they have.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::layers::Environment;
use super::secret::Secret;
use super::upstream::Section;
use crate::domain::tools::valid_name;

/// Longest that a run may take where nothing is said.
const TIMEOUT_MS: u32 = 10_000;
/// Longest that a run may be let take.
const TIMEOUTS: RangeInclusive<u32> = 1..=600_000;
/// Longest output where nothing is said, in bytes.
const OUTPUT: u32 = 1024 * 1024;
/// Least and most that an output may be limited to.
const OUTPUTS: RangeInclusive<u32> = 1..=64 * 1024 * 1024;

/// One program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its file, and its arguments.
    pub command: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, Secret>,
    /// Longest that a run may take.
    pub timeout: Duration,
    /// Longest output, in bytes.
    pub max_output: usize,
}

pub(super) fn programs(
    table: &toml::Table,
    environment: &Environment,
    problems: &mut Vec<String>,
) -> BTreeMap<String, Program> {
    let mut programs = BTreeMap::new();
    for (name, value) in table {
        let mut section = Section::open(format!("programs.{name}"), value, problems);
        section.known(&[
            "command",
            "args",
            "env",
            "pass_env",
            "timeout_ms",
            "max_output",
        ]);
        if let Err(why) = valid_name(name) {
            let path = &section.path;
            section.problems.push(format!("`[{path}]`: its name {why}"));
        }
        let timeout = section.number("timeout_ms", TIMEOUTS).unwrap_or(TIMEOUT_MS);
        let output = section.number("max_output", OUTPUTS).unwrap_or(OUTPUT);
        let program = Program {
            command: command(&mut section),
            env: section.env(environment),
            timeout: Duration::from_millis(timeout.into()),
            max_output: usize::try_from(output).unwrap_or(usize::MAX),
        };
        programs.insert(name.clone(), program);
    }
    programs
}

/// A list, or a text: the file alone, or a file and plain arguments.
fn command(section: &mut Section<'_>) -> Vec<String> {
    let mut command = match section.table.get("command").map(toml::Value::as_str) {
        Some(Some(text)) if Path::new(text).is_file() => vec![text.to_owned()],
        Some(Some(text)) => text.split_whitespace().map(str::to_owned).collect(),
        Some(None) | None => section.texts("command"),
    };
    if command.first().is_none_or(String::is_empty) {
        section.wrong("command", "a program and its arguments, as a list of texts");
    }
    command.extend(section.texts("args"));
    command
}
