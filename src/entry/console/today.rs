//! Today so far, for the home page: how governance decided, and what was paid, hour by hour; and what
//! needs somebody besides holds. Sums of everything of the day, never of one page.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ask::Ask;
use super::chart::{self, Bar};
use super::show;
use crate::broker::Trouble;
use crate::domain::audit::names::{Decision, RecordKind};

/// Records of one read, and most reads: a busier day is said to be so, and not counted short.
const PAGE: usize = 500;
const READS: usize = 20;

/// The day in numbers.
pub(super) struct Today {
    /// Words for a decision, and how often.
    pub decided: Vec<(&'static str, String)>,
    /// What was paid, by currency.
    pub paid: Vec<String>,
    pub chart: String,
    /// There was more than is counted here.
    pub more: bool,
}

/// Reads the day.
pub(super) async fn read(ask: &Ask) -> Result<Today, Trouble> {
    let zone = ask.broker().settings().zone.clone();
    let now = ask.broker().ports().ambient.now();
    let now = jiff::Timestamp::from_millisecond(now.millis()).unwrap_or_default();
    let start = now.to_zoned(zone.clone()).start_of_day();
    let since = start.map_or_else(|_| now.to_string(), |start| start.timestamp().to_string());
    let mut sums = Sums::default();
    let mut after = 0;
    for _ in 0..READS {
        let asked = json!({"since": since, "after": after, "limit": PAGE});
        let answer = ask.ask("list_audit", asked).await?;
        for record in answer["records"].as_array().into_iter().flatten() {
            sums.add(record, &zone);
        }
        match answer["next_after"].as_i64() {
            Some(next) => after = next,
            None => return Ok(sums.told(ask, false)),
        }
    }
    Ok(sums.told(ask, true))
}

#[derive(Default)]
struct Sums {
    decided: BTreeMap<&'static str, u64>,
    paid: BTreeMap<String, i64>,
    hours: [u64; 24],
}

impl Sums {
    fn add(&mut self, record: &Value, zone: &jiff::tz::TimeZone) {
        let kind = record["kind"].as_str().unwrap_or_default();
        if kind == RecordKind::Proposed.name() {
            let named = record["decision"].as_str().unwrap_or_default();
            let known = Decision::ALL.iter().find(|one| one.name() == named);
            if let Some(decision) = known {
                *self.decided.entry(words(*decision)).or_default() += 1;
            }
            let at = record["at"].as_str().unwrap_or_default();
            if let Ok(at) = at.parse::<jiff::Timestamp>() {
                let hour = usize::try_from(at.to_zoned(zone.clone()).hour()).unwrap_or(0);
                self.hours[hour.min(23)] += 1;
            }
        }
        let paid = (record["amount"].as_i64(), record["currency"].as_str());
        if let (true, (Some(minor), Some(code))) = (kind == RecordKind::Executed.name(), paid) {
            let sum = self.paid.entry(code.to_owned()).or_default();
            *sum = sum.saturating_add(minor);
        }
    }

    fn told(self, ask: &Ask, more: bool) -> Today {
        let number = |count: u64| show::digits(&count.to_string(), ask.lang);
        let hours = self.hours.iter().enumerate().map(|(hour, count)| Bar {
            label: show::digits(&hour.to_string(), ask.lang),
            value: *count,
            words: number(*count),
        });
        let hours: Vec<Bar> = hours.collect();
        let decided = self.decided.into_iter();
        let paid = self.paid.iter();
        Today {
            decided: decided
                .map(|(words, count)| (words, number(count)))
                .collect(),
            paid: paid
                .map(|(code, sum)| show::money(*sum, code, ask.lang))
                .collect(),
            chart: chart::bars(ask.lang.t("Proposals by hour, today"), &hours),
            more,
        }
    }
}

fn words(decision: Decision) -> &'static str {
    match decision {
        Decision::Approved => "went through",
        Decision::Held => "were held",
        Decision::Rejected => "were refused",
        Decision::Skipped => "needed nothing",
    }
}

/// Something that needs somebody.
pub(super) struct Need {
    pub what: &'static str,
    pub which: String,
    pub href: &'static str,
}

/// What needs somebody besides holds and doubts.
pub(super) async fn needs(ask: &Ask) -> Result<Vec<Need>, Trouble> {
    let mut needs = Vec::new();
    let tools = ask.ask("list_tools", json!({})).await?;
    for tool in tools["tools"].as_array().into_iter().flatten() {
        if matches!(tool["standing"].as_str(), Some("new" | "changed")) {
            needs.push(Need {
                what: "This tool waits to be accepted",
                which: show::plain(&tool["name"]),
                href: "/console/tools",
            });
        }
    }
    if ask.may("health_check") {
        let health = ask.ask("health_check", json!({})).await?;
        for check in health["checks"].as_array().into_iter().flatten() {
            if check["ok"] == false {
                let channel = check["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("channel "));
                needs.push(Need {
                    what: match channel {
                        true => "Failed deliveries",
                        false => "This does not answer",
                    },
                    which: show::plain(&check["name"]),
                    href: "/console/settings",
                });
            }
        }
    }
    Ok(needs)
}
