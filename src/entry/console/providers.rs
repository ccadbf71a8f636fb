//! `/console/providers`: where requests to models may go, how each is doing, and what it cost today.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::show;
use crate::broker::Trouble;

/// Models of one provider that are named before the rest is only counted.
const NAMED: usize = 6;

#[derive(Template)]
#[template(path = "providers.html", config = ".config/askama.toml")]
struct List {
    frame: Frame,
    providers: Vec<Line>,
    said: Option<Said>,
    may_write: bool,
}

struct Line {
    name: String,
    kind: String,
    url: String,
    source: String,
    health: String,
    /// When it may be asked again, in seconds, where it rests.
    rests: Option<String>,
    has_key: bool,
    models: Vec<String>,
    more_models: String,
    breakers: Vec<Breaker>,
    /// What is left of each limit: words, left, whole.
    limits: Vec<(&'static str, String, String)>,
    cost: String,
}

struct Breaker {
    model: String,
    state: String,
    p50: String,
    p95: String,
    failed: String,
}

/// What a provider answered.
struct Said {
    ok: bool,
    took: String,
    detail: String,
}

/// The page.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let answer = ask.ask("list_providers", json!({})).await?;
    let providers = answer["providers"].as_array().into_iter().flatten();
    Shown::of(&List {
        providers: providers.map(|one| line(one, &ask)).collect(),
        said: ask.made.as_ref().map(|answer| Said {
            ok: answer["ok"] == true,
            took: show::plain(&answer["latency_ms"]),
            detail: show::plain(&answer["detail"]),
        }),
        may_write: ask.may("create_provider"),
        frame: ask.frame(ask.lang.t("Providers")),
    })
}

fn line(told: &Value, ask: &Ask) -> Line {
    let models = told["models"].as_array().into_iter().flatten();
    let mut models: Vec<String> = models.map(show::plain).collect();
    let more = models.len().saturating_sub(NAMED);
    models.truncate(NAMED);
    let breakers = told["breakers"].as_array().into_iter().flatten();
    let rests = told["rests_ms"].as_u64().map(|rests| rests.div_ceil(1_000));
    Line {
        name: show::plain(&told["name"]),
        kind: show::plain(&told["kind"]),
        url: show::plain(&told["base_url"]),
        source: show::plain(&told["source"]),
        health: show::plain(&told["health"]),
        rests: rests.map(|secs| show::digits(&secs.to_string(), ask.lang)),
        has_key: told["key_set"] == true,
        more_models: match more {
            0 => String::new(),
            more => show::digits(&format!("+{more}"), ask.lang),
        },
        models,
        breakers: breakers.map(|one| breaker(one, ask)).collect(),
        limits: limits(&told["limits"], ask),
        cost: show::dollars(&told["cost_today_usd"], ask.lang),
    }
}

fn breaker(told: &Value, ask: &Ask) -> Breaker {
    let failed = told["error_rate"].as_f64().map_or(0, thousandths);
    Breaker {
        model: show::plain(&told["model"]),
        state: show::plain(&told["state"]),
        p50: show::count(&told["latency_p50_ms"], ask.lang),
        p95: show::count(&told["latency_p95_ms"], ask.lang),
        failed: show::digits(&format!("{}.{}%", failed / 10, failed % 10), ask.lang),
    }
}

#[allow(
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share between 0 and 1, not money"
)]
fn thousandths(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * 1_000.0).round() as u64
}

fn limits(told: &Value, ask: &Ask) -> Vec<(&'static str, String, String)> {
    const LIMITS: [(&str, &str, &str); 3] = [
        ("at once", "max_concurrent", "concurrent_left"),
        ("requests a minute", "rpm", "rpm_left"),
        ("tokens a minute", "tpm", "tpm_left"),
    ];
    let set = LIMITS
        .iter()
        .filter(|(_, whole, _)| told[*whole].is_number());
    let told = set.map(|(words, whole, left)| {
        let count = |name: &str| show::count(&told[name], ask.lang);
        (*words, count(left), count(whole))
    });
    told.collect()
}
