//! `/console/requests`: what models were asked, how each request fares, and a form to ask. The words
//! of an answer appear as they come; what was asked is kept sealed and never shown.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::proposals::next_page;
use super::show;
use crate::broker::Trouble;
use crate::domain::requests::event::Told;
use crate::domain::requests::request::State;

const PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "requests.html", config = ".config/askama.toml")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    states: [&'static str; State::ALL.len()],
    status: String,
    agent: String,
    next: Option<String>,
    queue: Option<Queue>,
    models: Vec<String>,
    may_ask: bool,
    may_pause: bool,
}

struct Row {
    id: String,
    status: String,
    agent: String,
    task: String,
    model: String,
    /// Who answered, or is asked now.
    provider: String,
    tries: String,
    cost: String,
    created: String,
}

/// How the queue stands.
struct Queue {
    depth: String,
    running: String,
    oldest: String,
    paused: bool,
}

/// The list.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let mut input = ask.filters(&["status", "agent", "cursor"]);
    input["limit"] = PAGE.into();
    let answer = ask.ask("list_requests", input).await?;
    let given = |name: &str| ask.query(name).unwrap_or_default().to_owned();
    let rows = answer["requests"].as_array().into_iter().flatten();
    Shown::of(&List {
        rows: rows.map(|one| row(one, &ask)).collect(),
        states: State::ALL.map(State::name),
        status: given("status"),
        agent: given("agent"),
        next: next_page(&ask, &["status", "agent"], "cursor", &answer["next_cursor"]),
        queue: queue(&ask).await?,
        models: models(&ask).await?,
        may_ask: ask.may("create_request"),
        may_pause: ask.may("pause_queue"),
        frame: ask.frame(ask.lang.t("Requests")),
    })
}

fn row(told: &Value, ask: &Ask) -> Row {
    let tries = told["attempts"].as_array().map_or(0, Vec::len);
    let last = told["attempts"].as_array().and_then(|all| all.last());
    Row {
        id: show::plain(&told["request_id"]),
        status: show::plain(&told["status"]),
        agent: show::plain(&told["agent_id"]),
        task: show::plain(&told["task_type"]),
        model: show::plain(&told["model"]),
        provider: last.map_or("—".to_owned(), |last| show::plain(&last["provider"])),
        tries: show::digits(&tries.to_string(), ask.lang),
        cost: show::dollars(&told["cost_usd"], ask.lang),
        created: told["created_at"].as_str().unwrap_or_default().to_owned(),
    }
}

async fn queue(ask: &Ask) -> Result<Option<Queue>, Trouble> {
    if !ask.may("get_queue") {
        return Ok(None);
    }
    let told = ask.ask("get_queue", json!({})).await?;
    Ok(Some(Queue {
        depth: show::count(&told["depth"], ask.lang),
        running: show::count(&told["running"], ask.lang),
        oldest: show::count(&told["oldest_seconds"], ask.lang),
        paused: told["paused"] == true,
    }))
}

/// Every model that some provider is known to have.
async fn models(ask: &Ask) -> Result<Vec<String>, Trouble> {
    if !ask.may("list_providers") {
        return Ok(Vec::new());
    }
    let told = ask.ask("list_providers", json!({})).await?;
    let providers = told["providers"].as_array().into_iter().flatten();
    let models = providers.flat_map(|one| one["models"].as_array().into_iter().flatten());
    let mut models: Vec<String> = models.map(show::plain).collect();
    models.sort();
    models.dedup();
    Ok(models)
}

#[derive(Template)]
#[template(path = "request.html", config = ".config/askama.toml")]
struct One {
    frame: Frame,
    id: String,
    status: String,
    cost: String,
    is_estimated: bool,
    position: Option<String>,
    facts: Vec<(&'static str, String)>,
    created: String,
    ended: Option<String>,
    text: String,
    /// Name and arguments of each tool that the model asks for.
    calls: Vec<(String, String)>,
    trouble: Option<(String, String)>,
    attempts: Vec<Attempt>,
    order: Vec<Choice>,
    lost: Vec<Choice>,
    is_over: bool,
    is_erased: bool,
    may_cancel: bool,
    may_erase: bool,
}

/// One provider that was asked.
struct Attempt {
    number: String,
    provider: String,
    model: String,
    began: String,
    first: String,
    read: String,
    written: String,
    cost: String,
    error: Option<String>,
}

struct Choice {
    provider: String,
    model: String,
    because: String,
}

/// One request.
pub(super) async fn one(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let id = ask.named("id").to_owned();
    let told = ask.ask("get_request", json!({"request_id": id})).await?;
    let answer = so_far(&ask, &id).await?;
    let status = show::plain(&told["status"]);
    let is_over = State::parse(&status).is_none_or(State::is_final);
    let attempts = told["attempts"].as_array().into_iter().flatten();
    let attempts = attempts.enumerate();
    let error = &told["error"];
    Shown::of(&One {
        cost: show::dollars(&told["cost_usd"], ask.lang),
        is_estimated: told["estimated"] == true,
        position: told["position"].as_u64().map(|ahead| ahead.to_string()),
        facts: facts(&told, &ask),
        created: told["created_at"].as_str().unwrap_or_default().to_owned(),
        ended: told["ended_at"].as_str().map(str::to_owned),
        text: show::seen_lines(&answer.text),
        calls: answer
            .tool_calls
            .iter()
            .map(|(_, name, arguments)| (show::seen(name), show::seen(arguments)))
            .collect(),
        trouble: error.is_object().then(|| {
            let text = |name: &str| show::plain(&error[name]);
            (text("code"), text("message"))
        }),
        attempts: attempts.map(|(at, one)| attempt(at, one, &ask)).collect(),
        order: choices(&told["routing"]["order"]),
        lost: choices(&told["routing"]["lost"]),
        is_erased: told["erased"] == true,
        may_cancel: !is_over && ask.may("cancel_request"),
        may_erase: is_over && told["erased"] != true && ask.may("delete_request"),
        frame: ask.frame(ask.lang.t("Request")),
        is_over,
        status,
        id,
    })
}

/// What was answered until now: the events that REST tells one by one.
async fn so_far(ask: &Ask, id: &str) -> Result<Told, Trouble> {
    let id = id.parse().map_err(|_| Trouble::NotFound("request"))?;
    let requests = &ask.broker().requests;
    let (events, _) = requests.events(&ask.seat.who, id, 0).await?;
    Ok(Told::of(events.iter().map(|(_, event)| event)))
}

fn facts(told: &Value, ask: &Ask) -> Vec<(&'static str, String)> {
    vec![
        ("Agent", show::plain(&told["agent_id"])),
        ("Model", show::plain(&told["model"])),
        ("Kind of work", show::plain(&told["task_type"])),
        ("Priority", show::count(&told["priority"], ask.lang)),
        ("Door", show::plain(&told["door"])),
        (
            "Expected at most",
            show::dollars(&told["estimated_cost_usd"], ask.lang),
        ),
    ]
}

fn attempt(at: usize, told: &Value, ask: &Ask) -> Attempt {
    let tokens = &told["tokens"];
    Attempt {
        number: (at + 1).to_string(),
        provider: show::plain(&told["provider"]),
        model: show::plain(&told["model"]),
        began: told["started_at"].as_str().unwrap_or_default().to_owned(),
        first: show::count(&told["first_token_ms"], ask.lang),
        read: show::count(&tokens["input"], ask.lang),
        written: show::count(&tokens["output"], ask.lang),
        cost: show::dollars(&told["cost_usd"], ask.lang),
        error: told["error"].as_str().map(show::seen),
    }
}

fn choices(told: &Value) -> Vec<Choice> {
    let all = told.as_array().into_iter().flatten();
    all.map(|one| Choice {
        provider: show::plain(&one["provider"]),
        model: show::plain(&one["model"]),
        because: show::plain(&one["because"]),
    })
    .collect()
}
