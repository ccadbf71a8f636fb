//! `/console/usage`: what models cost, by day, model and agent: sums of everything in the time that is
//! asked for, never of one page.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::ask::Ask;
use super::chart::{self, Bar};
use super::frame::{Frame, Shown};
use super::show;
use crate::broker::Trouble;

/// Days where nobody says since when.
const DAYS: i64 = 30;
/// Most days that are drawn one by one.
const DRAWN: usize = 62;
/// Rows of one table; the rest is in the sums above.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "usage.html", config = ".config/askama.toml")]
struct Page {
    frame: Frame,
    since: String,
    until: String,
    total: Row,
    cost: String,
    tokens: String,
    parts: Vec<Part>,
}

/// Sums by one thing.
struct Part {
    by: &'static str,
    title: &'static str,
    head: &'static str,
    rows: Vec<Row>,
}

/// What is drawn by day.
#[derive(Clone, Copy)]
enum What {
    Cost,
    Tokens,
}

struct Row {
    key: String,
    label: String,
    requests: String,
    attempts: String,
    failed: String,
    read: String,
    cached: String,
    written: String,
    cost: String,
    /// Drawn against the dearest of the table.
    svg: String,
}

/// The page.
pub(super) async fn show(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let mut asked = ask.filters(&["since", "until"]);
    if asked["since"].is_null() {
        asked["since"] = long_ago(&ask).into();
    }
    let mut parts = Vec::new();
    let mut days = Value::Null;
    for (by, title, head) in [
        ("day", "By day", "Day"),
        ("model", "By model", "Model"),
        ("agent", "By agent", "Agent"),
    ] {
        asked["by"] = by.into();
        let told = ask.ask("get_usage", asked.clone()).await?;
        parts.push(Part {
            by,
            title,
            head,
            rows: rows(&told, by, &ask),
        });
        if by == "day" {
            days = told;
        }
    }
    let since = asked["since"].as_str().unwrap_or_default().to_owned();
    let now = ask.broker().ports().ambient.now().to_string();
    let end = ask.query("until").map_or(now, str::to_owned);
    Shown::of(&Page {
        total: row(&days["total"], 1, &ask),
        cost: drawn(&days, (&since, &end), What::Cost, &ask),
        tokens: drawn(&days, (&since, &end), What::Tokens, &ask),
        since,
        until: ask.query("until").unwrap_or_default().to_owned(),
        parts,
        frame: ask.frame(ask.lang.t("Usage")),
    })
}

/// The beginning of the day so many days ago.
fn long_ago(ask: &Ask) -> String {
    let now = ask.broker().ports().ambient.now();
    let day_ms = 24 * 60 * 60 * 1_000;
    let since = (now.millis() / day_ms - DAYS + 1) * day_ms;
    jiff::Timestamp::from_millisecond(since)
        .unwrap_or_default()
        .to_string()
}

fn rows(told: &Value, by: &str, ask: &Ask) -> Vec<Row> {
    let mut all: Vec<&Value> = told["usage"].as_array().into_iter().flatten().collect();
    let nanos = |one: &Value| one["cost_nanos"].as_u64().unwrap_or(0);
    match by {
        "day" => all.sort_by(|one, other| other["key"].as_str().cmp(&one["key"].as_str())),
        _ => all.sort_by_key(|one| std::cmp::Reverse((nanos(one), tokens(one)))),
    }
    let most = all.iter().map(|one| nanos(one)).max().unwrap_or(0);
    let rows = all.iter().take(ROWS).map(|one| Row {
        label: match by {
            "day" => show::date(one["key"].as_str().unwrap_or_default(), ask.lang),
            _ => show::plain(&one["key"]),
        },
        ..row(one, most, ask)
    });
    rows.collect()
}

fn row(told: &Value, most: u64, ask: &Ask) -> Row {
    let count = |name: &str| show::count(&told[name], ask.lang);
    let cost = show::dollars(&told["cost_usd"], ask.lang);
    Row {
        key: show::plain(&told["key"]),
        label: String::new(),
        requests: count("requests"),
        attempts: count("attempts"),
        failed: count("failed"),
        read: count("tokens_read"),
        cached: count("tokens_cached"),
        written: count("tokens_written"),
        svg: chart::filling(&cost, told["cost_nanos"].as_u64().unwrap_or(0), 0, most),
        cost,
    }
}

fn tokens(told: &Value) -> u64 {
    let count = |name: &str| told[name].as_u64().unwrap_or(0);
    count("tokens_read").saturating_add(count("tokens_written"))
}

/// A bar for each day of the time that is asked for, where it is short enough to draw.
fn drawn(told: &Value, (since, until): (&str, &str), what: What, ask: &Ask) -> String {
    let told = told["usage"].as_array().into_iter().flatten();
    let told: BTreeMap<&str, &Value> = told
        .filter_map(|day| Some((day["key"].as_str()?, day)))
        .collect();
    let mut days = days(since, until);
    if days.len() > DRAWN {
        days = told.keys().map(|day| (*day).to_owned()).collect();
    }
    let bars = days.iter().map(|key| {
        let day = told.get(key.as_str()).map_or(&Value::Null, |day| *day);
        let (value, words) = match what {
            What::Tokens => (tokens(day), show::count(&json!(tokens(day)), ask.lang)),
            What::Cost => (
                day["cost_nanos"].as_u64().unwrap_or(0),
                show::dollars(&day["cost_usd"], ask.lang),
            ),
        };
        Bar {
            label: show::day(key, ask.lang),
            words: format!("{}: {words}", show::date(key, ask.lang)),
            value,
        }
    });
    let bars: Vec<Bar> = bars.collect();
    let title = match what {
        What::Cost => "Cost by day",
        What::Tokens => "Tokens by day",
    };
    chart::bars(ask.lang.t(title), &bars)
}

/// Every day from one instant to another; none where they are no instants.
fn days(since: &str, until: &str) -> Vec<String> {
    let day = |text: &str| {
        let at: jiff::Timestamp = text.parse().ok()?;
        Some(at.to_zoned(jiff::tz::TimeZone::UTC).date())
    };
    let (Some(since), Some(until)) = (day(since), day(until)) else {
        return Vec::new();
    };
    let days = since.series(jiff::Span::new().days(1));
    days.take_while(|day| *day <= until)
        .take(DRAWN + 1)
        .map(|day| day.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_all_there_even_those_without_use() {
        let some = days("2026-11-29T10:00:00Z", "2026-12-01T01:00:00Z");
        assert_eq!(some, ["2026-11-29", "2026-11-30", "2026-12-01"]);
        assert!(days("never", "2026-12-01T01:00:00Z").is_empty());
        assert_eq!(
            days("1970-01-01T00:00:00Z", "2026-12-01T01:00:00Z").len(),
            DRAWN + 1
        );
    }
}
