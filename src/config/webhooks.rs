//! `[[webhooks]]` of the configuration file: programs that are told what people are told. The
//! addresses are the operator's own word, so they may be anywhere.

use super::layers::Environment;
use super::secret::{self, Secret};
use super::upstream::Section;
use crate::broker::core::Webhook;
use crate::notify::webhook::{EVENTS, key_of, kind_of};

/// Most of them.
const MOST: usize = 32;

pub(super) fn webhooks(
    tables: &[toml::Value],
    environment: &Environment,
    problems: &mut Vec<String>,
) -> Vec<Webhook> {
    if tables.len() > MOST {
        problems.push(format!("there are more than {MOST} `[[webhooks]]`"));
    }
    let each = tables.iter().zip(1..);
    each.filter_map(|(value, number)| {
        let mut section = Section::open(format!("webhooks.{number}"), value, problems);
        section.known(&["url", "events", "secret", "secret_file", "secret_env"]);
        let (url, secret) = (url(&mut section), signed_with(&mut section, environment));
        Some(Webhook {
            events: events(&mut section),
            url: url?,
            secret: secret?,
        })
    })
    .collect()
}

/// It may hold a secret of its own in its path or query.
fn url(section: &mut Section<'_>) -> Option<Secret> {
    let text = section.text("url");
    let plain = text.filter(|text| {
        let base = text.split_once('?').map_or(text.as_str(), |(base, _)| base);
        super::read::is_plain_http(base)
    });
    if plain.is_none() {
        section.wrong("url", "an http:// or https:// URL without user name");
    }
    plain.map(Secret::new)
}

fn events(section: &mut Section<'_>) -> Vec<crate::domain::notice::NoticeKind> {
    let names = section.texts("events");
    let kinds: Option<Vec<_>> = names.iter().map(|name| kind_of(name)).collect();
    kinds.unwrap_or_else(|| {
        let known = EVENTS.map(|(name, _)| name).join(", ");
        section.wrong("events", &format!("a list of some of {known}"));
        Vec::new()
    })
}

fn signed_with(section: &mut Section<'_>, environment: &Environment) -> Option<Secret> {
    let found = match (
        section.text("secret_env"),
        section.secret("secret", "secret_file"),
    ) {
        (None, secret) => secret,
        (Some(_), Some(_)) => {
            section.wrong("secret_env", "nothing beside another secret");
            return None;
        }
        (Some(name), None) => {
            let value = environment.get(&name).and_then(|value| value.to_str());
            if value.is_none() {
                section.wrong("secret_env", "the name of a variable that is set");
            }
            let value = value?;
            if let Err(weak) = secret::check(value, secret::MIN_ISSUED) {
                let path = &section.path;
                section.problems.push(format!("`{path}.secret_env` {weak}"));
            }
            Some(Secret::new(value))
        }
    };
    let secret = found.filter(|secret| key_of(secret).is_some());
    if secret.is_none() {
        section.wrong(
            "secret",
            "`whsec_` and base64 (of 24 bytes or more, best), or a text of 16 characters or more,",
        );
    }
    secret
}
