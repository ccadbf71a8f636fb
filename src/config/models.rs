//! `[providers.NAME]` and `[routes.TASK]` of the configuration file: who answers requests to models,
//! and which models a task goes to.
//!
//! Naming a known service and giving its key is enough; the key may also be in the variable that the
//! service's own documentation names. Read by hand, as in [`upstream`](super::upstream): what is
//! wrong is told by name, never by value.

use std::collections::BTreeMap;

use super::layers::Environment;
use super::secret::Secret;
use super::upstream::Section;
use crate::broker::core::models::Configured;
use crate::connector::model::providers;
use crate::domain::requests::ask::Format;
use crate::domain::requests::price::Prices;
use crate::domain::requests::price_list;
use crate::domain::requests::provider::{Provider, USUAL_WEIGHT, are_models, is_key, is_name};
use crate::governance::routing::Route;

const KEYS: [&str; 13] = [
    "kind",
    "base_url",
    "key",
    "key_file",
    "models",
    "local",
    "weight",
    "max_concurrent",
    "rpm",
    "tpm",
    "timeout_ms",
    "allow_private",
    "prices",
];
/// Most of anything that is counted in a minute or at once.
const MAX_COUNT: u32 = 1_000_000_000;
/// Longest that an answer may take to begin: ten minutes.
const MAX_TIMEOUT_MS: u32 = 600_000;

pub(super) fn providers(
    table: &toml::Table,
    environment: &Environment,
    problems: &mut Vec<String>,
) -> Vec<Configured> {
    let mut all = Vec::new();
    for (name, value) in table {
        let mut section = Section::open(format!("providers.{name}"), value, problems);
        section.known(&KEYS);
        if let Some(configured) = provider(name, &mut section, environment) {
            all.push(configured);
        }
    }
    all
}

fn provider(
    name: &str,
    section: &mut Section<'_>,
    environment: &Environment,
) -> Option<Configured> {
    if !is_name(name) {
        section.wrong("", "a name of 1 to 64 letters, digits, `.`, `_` or `-`");
        return None;
    }
    let known = providers::known(name);
    let format = match section.text("kind") {
        None => known.map_or(Format::OpenAi, |known| known.format),
        Some(kind) => Format::parse(&kind).unwrap_or_else(|| {
            section.wrong("kind", "openai, openai_responses, anthropic or ollama");
            Format::OpenAi
        }),
    };
    let base_url = section.text("base_url");
    let base_url = base_url.or_else(|| known.map(|known| known.base_url.to_owned()));
    let Some(base_url) = base_url else {
        let kinds = "an address (this is none of the known services)";
        section.wrong("base_url", kinds);
        return None;
    };
    if !super::read::is_plain_http(&base_url) {
        section.wrong(
            "base_url",
            "an http:// or https:// URL without user name or query",
        );
    }
    let manner = known.map(|known| known.manner).unwrap_or_default();
    let local = section.switch("local");
    let provider = Provider {
        name: name.to_owned(),
        format,
        models: section.texts("models"),
        local: local.unwrap_or_else(|| known.is_some_and(providers::Known::is_local)),
        weight: section.number("weight", 0..=10_000).unwrap_or(USUAL_WEIGHT),
        max_concurrent: section.number("max_concurrent", 1..=MAX_COUNT),
        rpm: section.number("rpm", 1..=MAX_COUNT),
        tpm: section.number("tpm", 1..=MAX_COUNT).map(u64::from),
        timeout_ms: section
            .number("timeout_ms", 1..=MAX_TIMEOUT_MS)
            .map(u64::from),
        // Whoever writes this file may reach what this machine reaches.
        allow_private: section.switch("allow_private").unwrap_or(true),
        prices: prices(section),
        completion_tokens: manner.completion_tokens,
        bare: manner.bare,
        base_url,
    };
    let variable = known.map(|known| known.key_variable).unwrap_or_default();
    let inherited = environment
        .get(variable)
        .and_then(|value| value.to_str())
        .filter(|text| !text.is_empty());
    if !are_models(&provider.models) {
        section.wrong("models", "names of 1 to 256 bytes, none of them twice");
    }
    let key = section
        .secret("key", "key_file")
        .or_else(|| inherited.map(Secret::new));
    if !key.as_ref().is_none_or(|key| is_key(key.expose())) {
        section.wrong("key", "1 to 4096 visible letters of ASCII");
    }
    if key.is_none() && !variable.is_empty() {
        section.wrong("key", &format!("the key of {name} (or {variable} is set)"));
    }
    Some(Configured { provider, key })
}

/// Prices by model, or one price for all of them.
fn prices(section: &mut Section<'_>) -> BTreeMap<String, Prices> {
    let Some(value) = section.table.get("prices").cloned() else {
        return BTreeMap::new();
    };
    let told = serde_json::to_value(value).ok();
    let Some(told) = told.as_ref().and_then(serde_json::Value::as_object) else {
        let wanted =
            "prices as decimal text ({input = \"0.15\", output = \"0.6\"}), by model or for all";
        section.wrong("prices", wanted);
        return BTreeMap::new();
    };
    price_list::by_model(told).unwrap_or_else(|wrong| {
        let wrong = wrong.within("prices");
        // What belongs there, in the words of every setting.
        section.wrong(&wrong.at, wrong.words.trim_start_matches("has to be "));
        BTreeMap::new()
    })
}

/// A list of models, or models with their shares.
pub(super) fn routes(table: &toml::Table, problems: &mut Vec<String>) -> BTreeMap<String, Route> {
    let mut routes = BTreeMap::new();
    for (task, value) in table {
        match route(value) {
            Some(route) => {
                routes.insert(task.clone(), route);
            }
            None => problems.push(format!(
                "`[routes.{task}]`: `models = [..]` or `weights = {{model = share}}` belongs here"
            )),
        }
    }
    routes
}

fn route(value: &toml::Value) -> Option<Route> {
    let texts = |items: &Vec<toml::Value>| {
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<String>>>()
    };
    if let Some(items) = value.as_array() {
        return texts(items).map(Route::Models);
    }
    let table = value.as_table()?;
    match (table.get("models"), table.get("weights"), table.len()) {
        (Some(models), None, 1) => texts(models.as_array()?).map(Route::Models),
        (None, Some(weights), 1) => {
            let shares = weights.as_table()?.iter().map(|(model, share)| {
                let share = u32::try_from(share.as_integer()?).ok()?;
                Some((model.clone(), share))
            });
            shares.collect::<Option<_>>().map(Route::Weights)
        }
        _ => None,
    }
}
