//! `hundi score`: how far an agent's own answers disagree, in bulk. The formulas are governance's
//! and are handed in; this file only reads the lines and spells the answers.

use std::io::{BufRead, Write};

use serde_json::{Map, Value, json};

use super::lines::{self, BadLine};
use super::{Failure, JsonLines};
use crate::domain::proposal::{Score, Signals};
use crate::domain::strict;

/// Flags of `hundi score`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  echo '{\"samples\":[\"Paid 100.\",\"Paid 900.\"]}' | hundi score"
)]
pub struct Args {
    /// How to print.
    #[command(flatten)]
    pub json: JsonLines,
}

/// One case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Case {
    /// What the agent was asked.
    pub prompt: Option<String>,
    /// Its answers.
    pub samples: Vec<String>,
    /// Hash of the usual prompt.
    pub baseline_hash: Option<String>,
    /// Signals to weigh, instead of prompt and samples.
    pub signals: Option<Signals>,
    /// Weights of output instability, numeric variance and prompt drift, where they differ from
    /// the usual ones.
    pub weights: Option<[Option<f64>; 3]>,
}

/// The answer to one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Signals and composite.
    pub score: Score,
    /// `allow` or `block`. Where nothing could be scored it is `allow` only if
    /// `integrity.on_missing` says so.
    pub decision: &'static str,
    /// Hash of the prompt.
    pub prompt_hash: Option<String>,
}

/// Runs the command; `score` decides one case, or says what is wrong with it.
pub fn run(
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    score: impl Fn(&Case) -> Result<Scored, String>,
) -> Result<(), Failure> {
    let answer = |line: &[u8], told: &mut Vec<u8>| {
        let scored = score(&Case::read(line)?).map_err(BadLine::request)?;
        serde_json::to_writer(told, &spell(&scored))
            .map_err(|error| BadLine::request(error.to_string()))
    };
    Ok(lines::each(input, out, answer)?)
}

fn spell(scored: &Scored) -> Value {
    let Signals {
        output_instability,
        numeric_variance,
        prompt_drift,
    } = scored.score.signals;
    json!({
        "signals": {
            "output_instability": output_instability,
            "numeric_variance": numeric_variance,
            "prompt_drift": prompt_drift,
        },
        "composite_score": scored.score.composite,
        "decision": scored.decision,
        "prompt_hash": scored.prompt_hash,
    })
}

const SIGNALS: [&str; 3] = ["output_instability", "numeric_variance", "prompt_drift"];
const FIELDS: [&str; 5] = ["prompt", "samples", "baseline_hash", "signals", "weights"];

impl Case {
    fn read(line: &[u8]) -> Result<Self, BadLine> {
        let value = strict::parse(line)?;
        let map = object(&value, "the line", &FIELDS)?;
        let case = Self {
            prompt: text(map, "prompt")?,
            samples: texts(map, "samples")?,
            baseline_hash: text(map, "baseline_hash")?,
            signals: match given(map, "signals") {
                Some(value) => {
                    let [output_instability, numeric_variance, prompt_drift] =
                        numbers(value, "signals")?;
                    Some(Signals {
                        output_instability,
                        numeric_variance,
                        prompt_drift,
                    })
                }
                None => None,
            },
            weights: match given(map, "weights") {
                Some(value) => Some(numbers(value, "weights")?),
                None => None,
            },
        };
        let both =
            case.prompt.is_some() || !case.samples.is_empty() || case.baseline_hash.is_some();
        if case.signals.is_some() && both {
            return Err(BadLine::request(
                "`signals` are weighed as they are: give them, or a prompt and samples",
            ));
        }
        Ok(case)
    }
}

fn object<'a>(
    value: &'a Value,
    what: &str,
    fields: &[&str],
) -> Result<&'a Map<String, Value>, BadLine> {
    let map = value.as_object();
    let map = map.ok_or_else(|| BadLine::request(format!("{what} has to be an object")))?;
    match map.keys().find(|key| !fields.contains(&key.as_str())) {
        Some(_) => Err(BadLine::request(format!(
            "{what} takes {} and nothing else",
            fields.join(", ")
        ))),
        None => Ok(map),
    }
}

/// A field that is there and not null.
fn given<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).filter(|value| !value.is_null())
}

fn text(map: &Map<String, Value>, name: &str) -> Result<Option<String>, BadLine> {
    match given(map, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(BadLine::request(format!("`{name}` has to be a text"))),
    }
}

fn texts(map: &Map<String, Value>, name: &str) -> Result<Vec<String>, BadLine> {
    let Some(value) = given(map, name) else {
        return Ok(Vec::new());
    };
    let items = value.as_array().map(|items| {
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<String>>>()
    });
    let wrong = || BadLine::request(format!("`{name}` has to be a list of texts"));
    items.flatten().ok_or_else(wrong)
}

fn numbers(value: &Value, what: &str) -> Result<[Option<f64>; 3], BadLine> {
    let map = object(value, &format!("`{what}`"), &SIGNALS)?;
    let mut numbers = [None; 3];
    for (number, name) in numbers.iter_mut().zip(SIGNALS) {
        if let Some(value) = given(map, name) {
            let wrong = || BadLine::request(format!("`{what}.{name}` has to be a number or null"));
            *number = Some(value.as_f64().ok_or_else(wrong)?);
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> Result<Case, &'static str> {
        Case::read(line.as_bytes()).map_err(|bad| bad.code)
    }

    #[test]
    fn a_case_is_read_strictly() {
        let full = r#"{"prompt":"p","samples":["a","b","c"],"baseline_hash":null,"weights":{"prompt_drift":1}}"#;
        let case = code(full).unwrap();
        assert_eq!(case.samples.len(), 3);
        assert_eq!(case.weights, Some([None, None, Some(1.0)]));
        assert_eq!(code("{}"), Ok(Case::default()));
        let bad = [
            "[]",
            "1",
            r#"{"samples":"a"}"#,
            r#"{"samples":[1]}"#,
            r#"{"prompt":1}"#,
            r#"{"sample":["a","b"]}"#,
            r#"{"signals":{"drift":1}}"#,
            r#"{"signals":{"prompt_drift":"1"}}"#,
            r#"{"signals":{},"prompt":"p"}"#,
            r#"{"weights":[1,2,3]}"#,
        ];
        for line in bad {
            assert_eq!(code(line), Err("invalid_request"), "{line}");
        }
        assert_eq!(code(r#"{"prompt":"a","prompt":"b"}"#), Err("duplicate_key"));
    }
}
