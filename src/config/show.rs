//! The effective configuration as rows for people and programs: secrets masked, and for each value
//! the place it came from.

use serde::Serialize;

use super::layers::Layers;
use super::secret::{ConnUrl, HIDDEN};
use super::settings::{Kind, SETTINGS, Setting};
use super::upstream::Transport;
use super::{Config, layers::Source};

/// One setting as it is in force.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its dotted key.
    pub key: String,
    /// What it is set to, masked where secret.
    pub value: Shown,
    /// `default`, `file`, `env` or `flag`.
    pub layer: &'static str,
    /// The exact place: `env HUNDI_LISTEN`.
    pub source: String,
    /// Its variable; `None` for what only a file can hold.
    pub variable: Option<String>,
    /// What it is for.
    pub help: &'static str,
}

/// A value that may be seen.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Shown {
    /// Not set.
    Unset(()),
    /// One value.
    One(String),
    /// Several.
    Many(Vec<String>),
}

pub(super) fn rows(layers: &Layers, config: &Config) -> Vec<Row> {
    let mut rows: Vec<Row> = SETTINGS
        .iter()
        .map(|setting| row(setting, layers, config))
        .collect();
    let source = layers
        .file
        .as_ref()
        .map_or(Source::Default, |path| Source::File(path.clone()));
    let mut more = |key: String, value: Shown, help| {
        rows.push(Row {
            key,
            value,
            layer: source.layer(),
            source: source.to_string(),
            variable: None,
            help,
        });
    };
    for (name, tool) in &config.tools {
        let hold = tool
            .hold
            .map_or(Shown::Unset(()), |hold| Shown::One(hold.to_string()));
        more(
            format!("tools.{name}.hold"),
            hold,
            "every proposal waits for a person",
        );
        let count =
            |count: Option<u32>| count.map_or(Shown::Unset(()), |n| Shown::One(n.to_string()));
        more(
            format!("tools.{name}.rate_per_minute"),
            count(tool.rate_per_minute),
            "calls a minute, by all callers together",
        );
        more(
            format!("tools.{name}.burst"),
            count(tool.burst),
            "calls at once after a pause",
        );
        let recorded = tool.record_arguments;
        more(
            format!("tools.{name}.record_arguments"),
            recorded.map_or(Shown::Unset(()), |told| Shown::One(told.to_string())),
            "arguments and payee are in the audit log",
        );
    }
    for (name, program) in &config.programs {
        let file = program.command.iter().take(1).cloned();
        // Arguments can hold secrets, and nobody can tell which.
        let others = program.command.iter().skip(1).map(|_| "...".to_owned());
        let words: Vec<String> = file.chain(others).collect();
        let value = Shown::One(words.join(" "));
        more(
            format!("programs.{name}"),
            value,
            "a program that tools run",
        );
    }
    for (name, upstream) in &config.upstreams {
        let value = match &upstream.transport {
            Transport::Child(child) => {
                let mut words = vec![child.command.clone()];
                // Arguments can hold secrets, and nobody can tell which.
                words.extend(child.args.iter().map(|_| "...".to_owned()));
                Shown::One(words.join(" "))
            }
            // So can what follows a question mark.
            Transport::Http(http) => Shown::One(match http.url.split_once('?') {
                Some((base, _)) => format!("{base}?..."),
                None => http.url.clone(),
            }),
        };
        more(format!("upstream.{name}"), value, "an upstream MCP server");
    }
    for (hook, number) in config.webhooks.iter().zip(1..) {
        // What follows the host can be a secret.
        let url = url::Url::parse(hook.url.expose());
        let origin = url.map_or_else(
            |_| HIDDEN.to_owned(),
            |url| url.origin().ascii_serialization(),
        );
        let value = Shown::One(format!("{origin}/..."));
        more(
            format!("webhooks.{number}"),
            value,
            "a program that is told",
        );
    }
    for configured in &config.models.providers {
        let provider = &configured.provider;
        let value = Shown::One(provider.base_url.clone());
        more(
            format!("providers.{}", provider.name),
            value,
            "a provider of models",
        );
    }
    rows
}

fn row(setting: &Setting, layers: &Layers, config: &Config) -> Row {
    let found = layers.found.get(setting.key);
    let value = match found {
        Some(found) => {
            let mut texts = found.values.iter().map(|text| masked(setting.kind, text));
            if setting.kind.is_list() {
                Shown::Many(texts.collect())
            } else {
                let text = texts.next().filter(|text| !text.is_empty());
                text.map_or(Shown::Unset(()), Shown::One)
            }
        }
        None if setting.key == "database_url" => Shown::One(config.database_url.to_string()),
        None => Shown::Unset(()),
    };
    let source = found.map_or(Source::Default, |found| found.source.clone());
    Row {
        key: setting.key.to_owned(),
        value,
        layer: source.layer(),
        source: source.to_string(),
        variable: Some(setting.variable()),
        help: setting.help,
    }
}

fn masked(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Secret(_) | Kind::Secrets(_) | Kind::Key | Kind::Keys => HIDDEN.to_owned(),
        Kind::Database | Kind::Redis => ConnUrl::new(text).to_string(),
        Kind::Text
        | Kind::Path
        | Kind::Number(..)
        | Kind::Share
        | Kind::Switch
        | Kind::Address
        | Kind::HttpUrl
        | Kind::Zone
        | Kind::OneOf(_)
        | Kind::List => text.to_owned(),
    }
}
