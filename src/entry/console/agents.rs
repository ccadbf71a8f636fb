//! `/console/agents`: who there is and what each has left today; and one agent: its policy as a form
//! with its history, its budget, what its payments look like, and its brake.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::ask::Ask;
use super::chart::{self, Bar};
use super::frame::{Frame, Shown};
use super::rows::{Row, rows};
use super::show;
use super::trial::{Trial, trial};
use crate::broker::Trouble;
use crate::broker::tools::check::Beside;

/// Most agents whose budget is drawn on one page.
const DRAWN: usize = 200;
const PAST: u32 = 10;

#[derive(Template)]
#[template(path = "agents.html", config = ".config/askama.toml")]
struct List {
    frame: Frame,
    agents: Vec<Line>,
}

struct Line {
    id: String,
    policy: Option<String>,
    budget: Option<Budget>,
}

/// A day's budget, drawn.
struct Budget {
    svg: String,
    spent: String,
    aside: String,
    left: String,
    limit: String,
    day: String,
}

/// The list.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let answer = ask.ask("list_agents", json!({})).await?;
    let told = answer["agents"].as_array().into_iter().flatten();
    let mut agents = Vec::new();
    for one in told {
        let id = one["agent_id"].as_str().unwrap_or_default().to_owned();
        let budget = match agents.len() < DRAWN && one["policy_version"].is_number() {
            true => Some(budget(&ask, &id).await?),
            false => None,
        };
        agents.push(Line {
            policy: one["policy_version"]
                .as_u64()
                .map(|version| version.to_string()),
            budget,
            id,
        });
    }
    Shown::of(&List {
        agents,
        frame: ask.frame(ask.lang.t("Agents")),
    })
}

async fn budget(ask: &Ask, agent: &str) -> Result<Budget, Trouble> {
    let told = ask
        .ask("get_agent_budget", json!({"agent_id": agent}))
        .await?;
    let code = told["currency"].as_str().unwrap_or("INR");
    let minor = |name: &str| told[name].as_i64();
    let unsigned = |name: &str| u64::try_from(minor(name).unwrap_or(0)).unwrap_or(0);
    let text = |name: &str| match minor(name) {
        Some(minor) => show::money(minor, code, ask.lang),
        None => ask.lang.t("no limit").to_owned(),
    };
    let (spent, aside, limit) = (text("posted"), text("reserved"), text("daily_limit"));
    let title = format!("{} {spent} / {limit}", ask.lang.t("Spent"));
    Ok(Budget {
        svg: chart::filling(
            &title,
            unsigned("posted"),
            unsigned("reserved"),
            unsigned("daily_limit"),
        ),
        left: text("remaining"),
        day: told["day"].as_str().unwrap_or_default().to_owned(),
        spent,
        aside,
        limit,
    })
}

#[derive(Template)]
#[template(path = "agent.html", config = ".config/askama.toml")]
struct One {
    frame: Frame,
    id: String,
    budget: Option<Budget>,
    policy: Option<Policy>,
    may_write: bool,
    may_freeze: bool,
    frozen: bool,
    versions: Vec<Version>,
    profile: Profile,
    past: Vec<Row>,
    trial: Option<Trial>,
    days: String,
    keys: Vec<Key>,
    /// What the policy names and nobody is.
    warnings: Vec<String>,
}

/// A key that comes in as this agent.
struct Key {
    id: String,
    name: String,
    made: String,
}

/// A policy as the form shows it, each field under its name.
struct Policy {
    version: String,
    daily_limit: String,
    per_txn_limit: String,
    require_approval_above: String,
    approvals_needed: String,
    currency: String,
    allowed_tools: String,
    allowed_domains: String,
    blocked_domains: String,
    rate_max: String,
    rate_secs: String,
    repeat_secs: String,
    repeat_then: String,
    payees: String,
    verified: &'static str,
    at_once: &'static str,
    valid_from: String,
    valid_until: String,
    sums: String,
    llm_daily: String,
    llm_request: String,
    approval: String,
    taint: String,
}

/// One version, and what it changed.
struct Version {
    version: String,
    by: String,
    at: String,
    changes: Vec<(String, String)>,
}

/// What an agent's payments look like.
struct Profile {
    count: String,
    facts: Vec<(&'static str, String)>,
    hours: String,
}

/// One agent.
pub(super) async fn one(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let id = ask.named("agent").to_owned();
    let named = json!({"agent": id});
    let policy = match ask.ask("get_policy", named.clone()).await {
        Ok(policy) => Some(policy),
        Err(Trouble::NotFound(_)) => None,
        Err(trouble) => return Err(trouble),
    };
    let budget = match policy {
        Some(_) => Some(budget(&ask, &id).await?),
        None => None,
    };
    let past = ask
        .ask("list_proposals", json!({"agent": id, "limit": PAST}))
        .await?;
    let frozen = match ask.may("list_freezes") {
        true => ask.ask("list_freezes", json!({})).await?,
        false => Value::Null,
    };
    let frozen = frozen["frozen"].as_array().into_iter().flatten();
    let mut frozen = frozen.filter(|one| one["scope"] == "agent" && one["id"] == id.as_str());
    let warnings = match &policy {
        Some(policy) => {
            let alone = Beside::default();
            let here = ask.broker().tools.here(&ask.seat.who, &alone).await?;
            here.unknown_to_policy(Some(&id), policy)
        }
        None => Vec::new(),
    };
    Shown::of(&One {
        warnings: warnings.iter().map(|one| show::seen(one)).collect(),
        budget,
        may_write: ask.may("set_policy"),
        may_freeze: ask.may("freeze"),
        frozen: frozen.next().is_some(),
        versions: versions(&ask, named).await?,
        profile: profile(&ask, &id).await?,
        past: rows(&past, ask.lang),
        trial: ask.made.as_ref().map(|told| trial(told, &ask)),
        days: by_day(&ask, &id).await?,
        keys: keys(&ask, &id).await?,
        policy: policy.as_ref().map(fields),
        frame: ask.frame(show::seen(&id)),
        id,
    })
}

fn yes(value: &Value) -> &'static str {
    match value == &Value::Bool(true) {
        true => "true",
        false => "false",
    }
}

fn fields(told: &Value) -> Policy {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    let lines = |name: &str| {
        let all = told[name].as_array().into_iter().flatten();
        all.map(text).collect::<Vec<_>>().join("\n")
    };
    // No list and an empty one say different things: any tool that pays, or none.
    let no_tools = told["allowed_tools"].as_array().is_some_and(Vec::is_empty);
    let document = |name: &str| match told[name].is_null() {
        true => String::new(),
        false => show::pretty(&told[name]),
    };
    let sums = &told["approval_above"];
    Policy {
        version: text(&told["version"]),
        daily_limit: text(&told["daily_limit"]),
        per_txn_limit: text(&told["per_txn_limit"]),
        require_approval_above: text(&told["require_approval_above"]),
        approvals_needed: text(&told["approvals_needed"]),
        currency: text(&told["currency"]),
        allowed_tools: match no_tools {
            true => "[]".to_owned(),
            false => lines("allowed_tools"),
        },
        allowed_domains: lines("allowed_domains"),
        blocked_domains: lines("blocked_domains"),
        rate_max: text(&told["rate_limit"]["max"]),
        rate_secs: text(&told["rate_limit"]["window_secs"]),
        repeat_secs: text(&told["duplicates"]["window_secs"]),
        repeat_then: text(&told["duplicates"]["then"]),
        payees: text(&told["payees"]),
        verified: yes(&told["require_verified_entity"]),
        at_once: yes(&told["execute_on_approval"]),
        valid_from: text(&told["valid_from"]),
        valid_until: text(&told["valid_until"]),
        sums: match sums.as_array().is_some_and(Vec::is_empty) {
            true => String::new(),
            false => text(sums),
        },
        llm_daily: text(&told["llm"]["daily_usd"]),
        llm_request: text(&told["llm"]["per_request_usd"]),
        approval: document("approval"),
        taint: document("taint"),
    }
}

async fn versions(ask: &Ask, named: Value) -> Result<Vec<Version>, Trouble> {
    let told = match ask.ask("policy_versions", named).await {
        Ok(told) => told,
        Err(Trouble::NotFound(_)) => return Ok(Vec::new()),
        Err(trouble) => return Err(trouble),
    };
    let Some(all) = told["versions"].as_array() else {
        return Ok(Vec::new());
    };
    // Newest first, so the one before is the next of the list.
    let before = all.iter().skip(1).map(Some).chain([None]);
    let versions = all.iter().zip(before).map(|(one, before)| {
        let said = |value: &Value| {
            value
                .get("policy")
                .cloned()
                .unwrap_or_else(|| value.clone())
        };
        let before = before.map_or(Value::Null, said);
        Version {
            version: show::plain(&one["version"]),
            by: show::plain(one.get("by").unwrap_or(&one["changed_by"])),
            at: one["at"].as_str().unwrap_or_default().to_owned(),
            changes: changes(&before, &said(one)),
        }
    });
    Ok(versions.collect())
}

/// The fields in which two documents differ: before and after.
pub(super) fn changes(before: &Value, after: &Value) -> Vec<(String, String)> {
    const NO_CHANGE: [&str; 7] = [
        "version",
        "by",
        "at",
        "agent_id",
        "changed_by",
        "changed_at",
        "warnings",
    ];
    let fields = after.as_object().into_iter().flatten();
    let differ = fields.filter(|(name, value)| {
        !NO_CHANGE.contains(&name.as_str()) && before.get(name.as_str()) != Some(value)
    });
    let told = differ.map(|(name, value)| {
        let was = before.get(name.as_str()).unwrap_or(&Value::Null);
        (
            show::seen(name),
            format!("{} → {}", show::plain(was), show::plain(value)),
        )
    });
    told.collect()
}

/// What was spent on each of the last days, drawn; nothing where nothing was.
async fn by_day(ask: &Ask, agent: &str) -> Result<String, Trouble> {
    let told = ask
        .ask("list_agent_budgets", json!({"agent_id": agent}))
        .await?;
    let code = told["currency"].as_str().unwrap_or("INR");
    let days = told["days"].as_array().into_iter().flatten();
    let bars = days.map(|one| {
        let (day, spent) = (
            one["day"].as_str().unwrap_or_default(),
            one["posted"].as_i64(),
        );
        let spent = spent.unwrap_or(0);
        let words = show::money(spent, code, ask.lang);
        Bar {
            label: show::day(day, ask.lang),
            value: u64::try_from(spent).unwrap_or(0),
            words: format!("{}: {words}", show::date(day, ask.lang)),
        }
    });
    let bars: Vec<Bar> = bars.collect();
    Ok(match bars.iter().all(|bar| bar.value == 0) {
        true => String::new(),
        false => chart::bars(ask.lang.t("Spent by day"), &bars),
    })
}

/// The keys that come in as this agent, for whoever may see keys.
async fn keys(ask: &Ask, agent: &str) -> Result<Vec<Key>, Trouble> {
    if !ask.may("list_keys") {
        return Ok(Vec::new());
    }
    let told = ask.ask("list_keys", json!({})).await?;
    let keys = told["keys"].as_array().into_iter().flatten();
    let theirs = keys.filter(|key| key["agent_id"] == agent && key["revoked_at"].is_null());
    let theirs = theirs.map(|key| Key {
        id: show::plain(&key["id"]),
        name: show::plain(&key["name"]),
        made: key["created_at"].as_str().unwrap_or_default().to_owned(),
    });
    Ok(theirs.collect())
}

async fn profile(ask: &Ask, agent: &str) -> Result<Profile, Trouble> {
    let told = ask
        .ask("get_agent_risk_profile", json!({"agent_id": agent}))
        .await?;
    let amounts = &told["amount_stats"];
    let money = |name: &str| {
        let value = amounts[name].as_i64();
        // A mean is a whole number of minor units, spelt as a float.
        let value = value.or_else(|| amounts[name].to_string().split('.').next()?.parse().ok());
        value.map_or("—".to_owned(), |minor| {
            show::money(minor, "INR", ask.lang)
        })
    };
    let spread = &told["time_stats"]["hour_distribution"];
    let hours = (0..24).map(|hour: u8| {
        let value = spread[hour.to_string()].as_u64().unwrap_or(0);
        Bar {
            label: show::digits(&hour.to_string(), ask.lang),
            value,
            words: show::digits(&value.to_string(), ask.lang),
        }
    });
    let hours: Vec<Bar> = hours.collect();
    Ok(Profile {
        count: told["total_transactions"].as_u64().unwrap_or(0).to_string(),
        facts: match amounts.is_object() {
            false => Vec::new(),
            true => vec![
                ("Median", money("median_paise")),
                ("Mean", money("mean_paise")),
                ("Smallest", money("min_paise")),
                ("Largest", money("max_paise")),
                (
                    "Payees",
                    show::digits(&show::plain(&told["distinct_payees"]), ask.lang),
                ),
            ],
        },
        hours: chart::bars(ask.lang.t("Payments by hour of the day"), &hours),
    })
}
