//! Google Safe Browsing, lookup version 4: is a vendor's URL listed as a threat?
//!
//! Answers are kept for five minutes, so that a vendor who is paid all day is asked about rarely;
//! failures are not kept. Requests for the same URL at the same time share one question. When the
//! service fails five times in a row it is left alone for half a minute, and until then every
//! question is [`Fact::Missing`], which holds the payout: silence is not safety.

use std::time::Duration;

use async_trait::async_trait;
use moka::future::Cache;
use serde_json::{Value, json};
use url::Url;

use super::breaker::{Breaker, Standing};
use super::fetch::{self, Answer};
use super::{ReputationSource, UpstreamHealth};
use crate::domain::facts::{Fact, Reputation};
use crate::domain::secret::Secret;
use crate::telemetry;

/// Every list that there is of the kind that matters to a payment.
const THREATS: [&str; 4] = [
    "MALWARE",
    "SOCIAL_ENGINEERING",
    "UNWANTED_SOFTWARE",
    "POTENTIALLY_HARMFUL_APPLICATION",
];
/// How long an answer holds, and how many are kept.
const KEEP: Duration = Duration::from_secs(300);
const MAX_KEPT: u64 = 10_000;
/// Longest URL that is asked about.
const MAX_URL: usize = 2_048;

/// Asks Safe Browsing.
pub struct SafeBrowsing {
    client: reqwest::Client,
    api_base: String,
    key: Secret,
    breaker: Breaker,
    kept: Cache<String, Reputation>,
}

impl SafeBrowsing {
    /// A client of the service at `api_base` (without a trailing slash).
    pub fn new(api_base: &str, key: Secret) -> Result<Self, reqwest::Error> {
        Ok(Self {
            client: fetch::client()?,
            api_base: api_base.trim_end_matches('/').to_owned(),
            key,
            breaker: Breaker::new("safe-browsing"),
            kept: Cache::builder()
                .max_capacity(MAX_KEPT)
                .time_to_live(KEEP)
                .build(),
        })
    }

    async fn look_up(&self, url: &str) -> Result<Reputation, String> {
        let pass = self.breaker.pass().ok_or("it is left alone for a while")?;
        let pass = pass.asking();
        let body = json!({
            "client": {"clientId": "hundi", "clientVersion": env!("CARGO_PKG_VERSION")},
            "threatInfo": {
                "threatTypes": THREATS,
                "platformTypes": ["ANY_PLATFORM"],
                "threatEntryTypes": ["URL"],
                "threatEntries": [{"url": url}],
            },
        });
        let address = format!("{}/v4/threatMatches:find", self.api_base);
        let request = self.client.post(address);
        let request = request.query(&[("key", self.key.expose())]).json(&body);
        let answer = match fetch::ask(request).await {
            Ok(Answer::Found(answer)) => answer,
            Err(why) => {
                pass.failed();
                return Err(why);
            }
            Ok(Answer::NotFound) => {
                pass.succeeded();
                return Err("it answered with status 404".to_owned());
            }
            Ok(Answer::Refused(status)) => {
                pass.succeeded();
                return Err(format!("it answered with status {status}"));
            }
        };
        let Some(reputation) = read(&answer) else {
            pass.failed();
            return Err("its answer is not one of Safe Browsing".to_owned());
        };
        pass.succeeded();
        Ok(reputation)
    }
}

#[async_trait]
impl ReputationSource for SafeBrowsing {
    async fn reputation(&self, url: &str) -> Fact<Reputation> {
        let Some(url) = askable(url) else {
            return Fact::Missing;
        };
        let asked = self.kept.entry(url.clone());
        match asked.or_try_insert_with(self.look_up(&url)).await {
            Ok(entry) => {
                let fresh = entry.is_fresh();
                let reputation = entry.into_value();
                telemetry::reputation_check(match reputation {
                    _ if !fresh => telemetry::ReputationCheck::Cached,
                    Reputation::Unsafe(_) => telemetry::ReputationCheck::Unsafe,
                    Reputation::Safe | Reputation::NotAsked => telemetry::ReputationCheck::Safe,
                });
                Fact::Known(reputation)
            }
            Err(error) => {
                telemetry::reputation_check(telemetry::ReputationCheck::Unavailable);
                tracing::warn!(%error, "Safe Browsing could not be asked");
                Fact::Missing
            }
        }
    }

    fn health(&self) -> UpstreamHealth {
        health(&self.breaker)
    }
}

/// How a service behind a breaker is doing.
pub(super) fn health(breaker: &Breaker) -> UpstreamHealth {
    let (ok, detail) = match breaker.standing() {
        Standing::Closed => (true, "closed"),
        Standing::HalfOpen => (false, "half open: the next request will tell"),
        Standing::Open => (
            false,
            "open: it failed five times in a row and is left alone",
        ),
    };
    UpstreamHealth {
        name: breaker.name().to_owned(),
        ok,
        detail: detail.to_owned(),
    }
}

/// A vendor's URL as the service takes it; a bare host is meant as a web address.
fn askable(text: &str) -> Option<String> {
    let text = text.trim();
    let web = |text: &str| {
        let url = Url::parse(text).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.has_host()).then(|| url.to_string())
    };
    let url = web(text).or_else(|| web(&format!("http://{text}")))?;
    (url.len() <= MAX_URL).then_some(url)
}

/// `{}` is safe; matches name their lists; anything else says nothing.
fn read(answer: &Value) -> Option<Reputation> {
    let map = answer.as_object()?;
    let matches = match map.get("matches") {
        None if map.is_empty() => return Some(Reputation::Safe),
        None => return None,
        Some(matches) => matches.as_array()?,
    };
    let mut threats: Vec<String> = matches.iter().map(threat).collect();
    threats.sort();
    threats.dedup();
    if threats.is_empty() {
        return Some(Reputation::Safe);
    }
    Some(Reputation::Unsafe(threats))
}

/// The list of a match. It is shown to people and programs, so only a plain word is believed.
fn threat(matched: &Value) -> String {
    let plain = |word: &&str| {
        let letters = word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        letters && (1..=64).contains(&word.len())
    };
    let word = matched
        .get("threatType")
        .and_then(Value::as_str)
        .filter(plain);
    word.unwrap_or("THREAT_TYPE_UNSPECIFIED").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn only_a_clear_answer_is_one() {
        let hit = |kind: &str| json!({"threatType": kind, "threat": {"url": "x"}});
        let listed = |kinds: &[&str]| Some(Reputation::Unsafe(kinds.iter().map(ToString::to_string).collect()));
        let cases = [
            (json!({}),                                       Some(Reputation::Safe)),
            (json!({"matches": []}),                          Some(Reputation::Safe)),
            (json!({"matches": [hit("MALWARE"), hit("MALWARE")]}), listed(&["MALWARE"])),
            (json!({"matches": [hit("SOCIAL_ENGINEERING"), hit("MALWARE")]}), listed(&["MALWARE", "SOCIAL_ENGINEERING"])),
            (json!({"matches": [{}]}),                        listed(&["THREAT_TYPE_UNSPECIFIED"])),
            (json!({"matches": [hit("<b>bad</b>")]}),         listed(&["THREAT_TYPE_UNSPECIFIED"])),
            (json!({"matches": "none"}),                      None),
            (json!({"error": {"code": 400}}),                 None),
            (json!([]),                                       None),
            (json!("safe"),                                   None),
        ];
        for (answer, expected) in cases {
            assert_eq!(read(&answer), expected, "{answer}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_asked_about_is_a_web_address() {
        let cases = [
            ("https://acme.example/x", Some("https://acme.example/x")),
            (" acme.example ",         Some("http://acme.example/")),
            ("acme.example:8443",      Some("http://acme.example:8443/")),
            ("https://раураl.com",     Some("https://xn--l-7sba6dbr.com/")),
            ("not a url",              None),
            ("",                       None),
        ];
        for (text, expected) in cases {
            assert_eq!(askable(text).as_deref(), expected, "{text}");
        }
        assert_eq!(askable(&format!("https://acme.example/{}", "x".repeat(MAX_URL))), None);
    }
}
