//! `hundi prices`: what models cost, and importing a table of prices.
//!
//! Reads the common public formats: LiteLLM's (`input_cost_per_token` for each model), genai-prices'
//! (providers with models and `input_mtok`), and our own (`{as_of, prices: {service: {model: {input,
//! output}}}}`). Numbers are taken as they are written, digit by digit: no float takes part.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::asks::{Around, Asks};
use super::documents::How;
use super::door::Door;
use super::{Actor, Failure, print};
use crate::domain::requests::price::Rate;
use crate::domain::time::is_day;

/// Decimals that a price can have.
const DECIMALS: i64 = 12;
/// Longest file that is read, in bytes.
const MOST: u64 = 64 << 20;

/// What to do with prices.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Every price that is known, in dollars for a million tokens
    List {
        /// Only models whose name has this in it
        #[arg(long)]
        model: Option<String>,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: How,
    },
    /// Take the imported table away: the prices that were shipped count again
    Reset {
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: How,
    },
    /// Put a table of prices in the place of the one that was imported before
    Import {
        /// The file: LiteLLM's or genai-prices' JSON, or our own
        file: PathBuf,
        /// The day that it tells of [default: what the file says, or today]
        #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
        as_of: Option<String>,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: How,
    },
}

impl Asks for Command {
    fn actor(&self) -> Actor {
        match self {
            Command::List { how, .. } | Command::Import { how, .. } | Command::Reset { how } => {
                &how.actor
            }
        }
        .clone()
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        let now = around.now.to_string();
        let today = now.get(..10).unwrap_or_default();
        run(self, today, door, around.out).await
    }
}

/// Does it.
async fn run(
    command: &Command,
    today: &str,
    door: &Door,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match command {
        Command::List { model, how } => list(model.as_deref(), how, door, out).await,
        Command::Reset { how } => {
            let told = door.ask("reset_prices", json!({})).await?;
            if how.json.json {
                print::json(out, &told)?;
            } else {
                let day = told["shipped_as_of"].as_str().unwrap_or("?");
                writeln!(out, "the prices that were shipped count again, as of {day}")?;
            }
            Ok(out.flush()?)
        }
        Command::Import { file, as_of, how } => {
            let size = std::fs::metadata(file).map(|meta| meta.len());
            if size.is_ok_and(|size| size > MOST) {
                return Err(Failure::of("the file is longer than 64 MiB"));
            }
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::of(format!("{}: {error}", file.display())))?;
            let mut table = read(&text).map_err(Failure::of)?;
            if table.prices.values().all(BTreeMap::is_empty) {
                return Err(Failure::of(format!(
                    "the file has no price that can be taken, and {} entries were skipped: a price is \
                     a number of dollars at or above 0 for input and for output (`hundi prices reset` \
                     goes back to the shipped prices)",
                    table.skipped
                )));
            }
            if let Some(as_of) = as_of {
                table.as_of = Some(as_of.clone());
            }
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let input = json!({
                "as_of": table.as_of.as_deref().unwrap_or(today),
                "source": name,
                "prices": table.prices,
            });
            let told = door.ask("import_prices", input).await?;
            if how.json.json {
                let mut told = told;
                told["skipped"] = json!(table.skipped);
                told["tiered"] = json!(table.tiered);
                print::json(out, &told)?;
            } else {
                let (count, skipped) = (&told["imported"], table.skipped);
                writeln!(out, "{count} prices imported, {skipped} entries skipped")?;
                if table.tiered > 0 {
                    let tiered = table.tiered;
                    writeln!(
                        out,
                        "{tiered} of them rise with length: their dearest tier counts"
                    )?;
                }
            }
            Ok(out.flush()?)
        }
    }
}

async fn list(
    model: Option<&str>,
    how: &How,
    door: &Door,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut told = door.ask("list_prices", json!({})).await?;
    if let (Some(model), Some(prices)) = (model, told["prices"].as_array_mut()) {
        prices.retain(|price| {
            let name = price["model"].as_str();
            name.is_some_and(|name| name.contains(model))
        });
    }
    if how.json.json {
        print::json(out, &told)?;
        return Ok(out.flush()?);
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let rows = told["prices"].as_array().into_iter().flatten();
    let rows = rows.map(|price| {
        [
            "service",
            "model",
            "input",
            "cached_input",
            "output",
            "source",
        ]
        .map(|name| text(&price[name]))
        .to_vec()
    });
    let heading = ["service", "model", "input", "cached", "output", "from"];
    print::table(out, &heading, rows.collect(), "no such model")?;
    Ok(out.flush()?)
}

/// A table that was read.
#[derive(Debug, Default)]
struct Table {
    as_of: Option<String>,
    prices: BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>,
    skipped: usize,
    /// Of those with several tiers, the dearest was taken.
    tiered: usize,
}

impl Table {
    fn add(&mut self, service: &str, model: &str, rates: BTreeMap<String, String>) {
        if rates.contains_key("input") && rates.contains_key("output") {
            let models = self.prices.entry(service.to_owned()).or_default();
            models.insert(model.to_owned(), rates);
        } else {
            self.skipped += 1;
        }
    }
}

fn day(text: &str) -> Result<String, String> {
    match is_day(text) {
        true => Ok(text.to_owned()),
        false => Err("this is no day, such as 2026-12-01".to_owned()),
    }
}

type Raw<'a> = BTreeMap<String, &'a RawValue>;

fn read(text: &str) -> Result<Table, String> {
    if let Ok(providers) = serde_json::from_str::<Vec<GenaiProvider<'_>>>(text) {
        return Ok(genai(providers));
    }
    let unknown = || "this is none of the formats that are read".to_owned();
    let top: Raw<'_> = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    if let Some(prices) = top.get("prices") {
        let prices = serde_json::from_str(prices.get()).map_err(|_| unknown())?;
        let as_of = top.get("as_of").map(|raw| bare(raw));
        return Ok(Table {
            as_of,
            prices,
            ..Table::default()
        });
    }
    if let Some(providers) = top.get("providers") {
        let providers = serde_json::from_str(providers.get()).map_err(|_| unknown())?;
        return Ok(genai(providers));
    }
    litellm(&top).ok_or_else(unknown)
}

/// What LiteLLM calls the parts of a price.
const RATES_OF_LITELLM: [(&str, &str); 5] = [
    ("input", "input_cost_per_token"),
    ("output", "output_cost_per_token"),
    ("cached_input", "cache_read_input_token_cost"),
    ("cache_write", "cache_creation_input_token_cost"),
    ("reasoning", "output_cost_per_reasoning_token"),
];

/// `{model: {litellm_provider, input_cost_per_token, ...}}`, dollars for one token.
fn litellm(top: &Raw<'_>) -> Option<Table> {
    let mut table = Table::default();
    for (name, raw) in top {
        let Ok(entry) = serde_json::from_str::<Raw<'_>>(raw.get()) else {
            return None;
        };
        if name == "sample_spec" {
            continue;
        }
        let service = entry.get("litellm_provider").map(|raw| bare(raw));
        let service = service.unwrap_or_else(|| "*".to_owned());
        let rates = RATES_OF_LITELLM.iter().filter_map(|(ours, theirs)| {
            let above = format!("{theirs}_above_");
            let tiers = entry.iter().filter(|(name, _)| name.starts_with(&above));
            let tiers = tiers.map(|(_, raw)| raw.get());
            // For one token; ours are for a million.
            let rate = dearest(entry.get(*theirs)?.get(), tiers, 6)?;
            Some(((*ours).to_owned(), rate))
        });
        let rates = rates.collect();
        let model = name.strip_prefix(&format!("{service}/")).unwrap_or(name);
        table.tiered += usize::from(entry.keys().any(|name| name.contains("_above_")));
        table.add(&service, model, rates);
    }
    let known = table.skipped > 0 && top.values().any(|raw| is_litellm(raw));
    (known || !table.prices.is_empty()).then_some(table)
}

fn is_litellm(raw: &RawValue) -> bool {
    let entry = serde_json::from_str::<Raw<'_>>(raw.get()).unwrap_or_default();
    let named = entry.contains_key("litellm_provider");
    named
        || RATES_OF_LITELLM
            .iter()
            .any(|(_, theirs)| entry.contains_key(*theirs))
}

#[derive(Deserialize)]
struct GenaiProvider<'a> {
    id: String,
    #[serde(borrow)]
    models: Vec<GenaiModel<'a>>,
}

#[derive(Deserialize)]
struct GenaiModel<'a> {
    id: String,
    #[serde(borrow, default)]
    prices: Option<&'a RawValue>,
}

/// The dearest of a price and its tiers: what is reserved has to be enough for a long question, too.
fn dearest<'a>(base: &'a str, tiers: impl Iterator<Item = &'a str>, by: i64) -> Option<String> {
    let base = shifted(base, by)?;
    let tiers = tiers.filter_map(|tier| shifted(tier, by));
    let all = std::iter::once(base).chain(tiers);
    all.max_by_key(|rate| rate.parse::<Rate>().ok())
}

/// Providers with models, dollars for a million tokens. Of several prices the last counts, and of one
/// that rises with length the dearest.
fn genai(providers: Vec<GenaiProvider<'_>>) -> Table {
    const RATES: [(&str, &str); 4] = [
        ("input", "input_mtok"),
        ("output", "output_mtok"),
        ("cached_input", "cache_read_mtok"),
        ("cache_write", "cache_write_mtok"),
    ];
    let mut table = Table::default();
    for provider in providers {
        for model in provider.models {
            let Some(raw) = model.prices else {
                table.skipped += 1;
                continue;
            };
            let Some(prices) = of_genai(raw) else {
                table.skipped += 1;
                continue;
            };
            let rates = RATES.iter().filter_map(|(ours, theirs)| {
                let rate = prices.get(*theirs)?;
                let plain = shifted(rate.get(), 0);
                let rate = plain.or_else(|| of_tiers(rate));
                Some(((*ours).to_owned(), rate?))
            });
            table.tiered += usize::from(raw.get().contains("\"price\""));
            table.add(&provider.id, &model.id, rates.collect());
        }
    }
    table
}

#[derive(Deserialize)]
struct Tiered<'a> {
    #[serde(borrow)]
    base: &'a RawValue,
    #[serde(borrow, default)]
    tiers: Vec<Raw<'a>>,
}

fn of_tiers(raw: &RawValue) -> Option<String> {
    let tiered: Tiered<'_> = serde_json::from_str(raw.get()).ok()?;
    let tiers = tiered.tiers.iter().filter_map(|tier| tier.get("price"));
    dearest(tiered.base.get(), tiers.map(|price| price.get()), 0)
}

fn of_genai(raw: &RawValue) -> Option<Raw<'_>> {
    if let Ok(prices) = serde_json::from_str::<Raw<'_>>(raw.get()) {
        return Some(prices);
    }
    let several: Vec<Raw<'_>> = serde_json::from_str(raw.get()).ok()?;
    let last = several.last()?.get("prices")?;
    serde_json::from_str(last.get()).ok()
}

fn bare(raw: &RawValue) -> String {
    serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
}

/// A number of JSON times ten to the power of `by`, as plain decimal text. `None` if it is no number
/// above or at nothing, or finer than prices are.
fn shifted(number: &str, by: i64) -> Option<String> {
    let number = number.trim().trim_matches('"');
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals = i64::try_from(fraction.len()).ok()? - exponent - by;
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    if decimals <= 0 {
        let zeros = usize::try_from(-decimals)
            .ok()
            .filter(|zeros| *zeros < 20)?;
        return Some(format!("{digits}{}", "0".repeat(zeros)));
    }
    let decimals = usize::try_from(decimals).ok().filter(|count| *count < 60)?;
    let padded = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = padded.split_at(padded.len() - decimals);
    let fraction = fraction.trim_end_matches('0');
    let fine = i64::try_from(fraction.len()).ok()? > DECIMALS;
    match (fine, fraction) {
        (true, _) => None,
        (false, "") => Some(whole.to_owned()),
        (false, fraction) => Some(format!("{whole}.{fraction}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn numbers_are_taken_digit_by_digit() {
        for (number, by, text) in [
            ("1.5e-07",   6, Some("0.15")),
            ("3e-06",     6, Some("3")),
            ("0.00000015", 6, Some("0.15")),
            ("7.5e-8",    6, Some("0.075")),
            ("0",         6, Some("0")),
            ("0.0",       6, Some("0")),
            ("2.50",      0, Some("2.5")),
            ("\"0.0375\"", 0, Some("0.0375")),
            ("15",        0, Some("15")),
            ("1e2",       0, Some("100")),
            ("-1",        0, None),
            ("null",      0, None),
            ("{}",        0, None),
            ("1e-40",     0, None),
        ] {
            assert_eq!(shifted(number, by).as_deref(), text, "{number}");
        }
    }

    #[test]
    fn each_public_format_is_read() {
        let litellm = r#"{"sample_spec": {"x": 1},
            "gpt-4o-mini": {"litellm_provider": "openai", "input_cost_per_token": 1.5e-07,
                            "output_cost_per_token": 6e-07},
            "groq/llama": {"litellm_provider": "groq", "input_cost_per_token": 5e-08,
                           "output_cost_per_token": 8e-08},
            "dall-e": {"litellm_provider": "openai"}}"#;
        let table = read(litellm).unwrap();
        assert_eq!(table.prices["openai"]["gpt-4o-mini"]["input"], "0.15");
        assert_eq!(table.prices["groq"]["llama"]["output"], "0.08");
        assert_eq!(table.skipped, 1);
        let genai = r#"[{"id": "openai", "models": [
            {"id": "a", "prices": {"input_mtok": 2.5, "output_mtok": {"base": 10, "tiers": []}}},
            {"id": "b", "prices": [{"prices": {"input_mtok": 9, "output_mtok": 9}},
                                   {"constraint": {}, "prices": {"input_mtok": 1, "output_mtok": 2}}]}]}]"#;
        let table = read(genai).unwrap();
        assert_eq!(table.tiered, 0);
        let rising = r#"[{"id": "g", "models": [{"id": "a", "prices": {"output_mtok": 1,
            "input_mtok": {"base": 1.25, "tiers": [{"start": 200000, "price": 2.5}]}}}]}]"#;
        assert_eq!(read(rising).unwrap().prices["g"]["a"]["input"], "2.5");
        let rising = r#"{"m": {"litellm_provider": "g", "input_cost_per_token": 1.25e-06,
            "input_cost_per_token_above_200k_tokens": 2.5e-06, "output_cost_per_token": 1e-06}}"#;
        let rising = read(rising).unwrap();
        assert_eq!(
            (rising.prices["g"]["m"]["input"].as_str(), rising.tiered),
            ("2.5", 1)
        );
        assert_eq!(table.prices["openai"]["a"]["output"], "10");
        assert_eq!(table.prices["openai"]["b"]["input"], "1");
        let own =
            r#"{"as_of": "2026-11-20", "prices": {"*": {"m": {"input": "1", "output": "2"}}}}"#;
        let table = read(own).unwrap();
        assert_eq!(table.as_of.as_deref(), Some("2026-11-20"));
        assert!(read("[]").unwrap().prices.is_empty());
        let negative = r#"{"m": {"input_cost_per_token": -1, "output_cost_per_token": 1}}"#;
        let table = read(negative).unwrap();
        assert_eq!((table.prices.len(), table.skipped), (0, 1));
        assert!(read("{\"a\": 1}").is_err());
        assert!(read("nonsense").is_err());
    }
}
