//! `/console/tools`: what agents may use, what waits to be accepted, and one tool: its definition,
//! its versions, its form, and a place to try it.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::agents::changes;
use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::show;
use crate::broker::Trouble;

#[derive(Template)]
#[template(path = "tools.html", config = ".config/askama.toml")]
struct List {
    frame: Frame,
    tools: Vec<Line>,
    may_make: bool,
    may_accept: bool,
}

struct Line {
    name: String,
    about: String,
    risk: String,
    standing: String,
    place: String,
    problem: Option<String>,
    /// Waits for an operator's word.
    waits: bool,
    digest: String,
    differs: Vec<(String, String)>,
}

/// The list.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let mut tools: Vec<Line> = catalogue(&ask).await?.iter().map(line).collect();
    tools.sort_by_key(|tool| !tool.waits);
    Shown::of(&List {
        tools,
        may_make: ask.may("create_tool"),
        may_accept: ask.may("accept_tool"),
        frame: ask.frame(ask.lang.t("Tools")),
    })
}

async fn catalogue(ask: &Ask) -> Result<Vec<Value>, Trouble> {
    let answer = ask.ask("list_tools", json!({})).await?;
    Ok(answer["tools"].as_array().cloned().unwrap_or_default())
}

fn line(tool: &Value) -> Line {
    let text = |name: &str| tool[name].as_str().map(show::seen).unwrap_or_default();
    let standing = text("standing");
    let upstream = tool["upstream"].as_str().map(show::seen);
    Line {
        waits: matches!(standing.as_str(), "new" | "changed"),
        differs: match tool["accepted"].is_object() {
            true => changes(&tool["accepted"], &tool["offered"]),
            false => Vec::new(),
        },
        name: text("name"),
        about: text("description"),
        risk: text("risk"),
        place: upstream.unwrap_or_else(|| "hundi".to_owned()),
        problem: tool["problem"].as_str().map(show::seen),
        digest: text("digest"),
        standing,
    }
}

#[derive(Template)]
#[template(path = "tool.html", config = ".config/askama.toml")]
struct One {
    frame: Frame,
    tool: Line,
    facts: Vec<(String, String)>,
    schema: String,
    /// The registered document, if it was registered here.
    document: Option<String>,
    version: String,
    enabled: bool,
    versions: Vec<Version>,
    may_write: bool,
    may_accept: bool,
    may_invoke: bool,
    answer: Option<Answer>,
    sample: String,
}

struct Version {
    version: String,
    by: String,
    at: String,
    changes: Vec<(String, String)>,
}

/// What a trial brought back.
struct Answer {
    ok: bool,
    data: String,
    masked: Vec<String>,
    trace: String,
    took: String,
}

/// One tool.
pub(super) async fn one(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let name = ask.named("name").to_owned();
    let all = catalogue(&ask).await?;
    let told = all.iter().find(|tool| tool["name"] == name.as_str());
    let document = match ask.may("get_tool") {
        true => found(ask.ask("get_tool", json!({"tool": name})).await)?
            .filter(|tool| tool["changed_by"].is_string()),
        false => None,
    };
    let told = told
        .or(document.as_ref())
        .ok_or(Trouble::NotFound("tool"))?;
    let low = told["risk"] == "low";
    let mut source = told["origin"].clone();
    if let Value::Object(map) = &mut source {
        map.retain(|_, value| !value.is_null());
    }
    Shown::of(&One {
        facts: show::leaves(&json!({
            "risk": told["risk"], "money": told["money"], "payee": told["payee"],
            "source": source, "accepted_by": told["accepted_by"],
        })),
        schema: show::pretty(&told["input_schema"]),
        version: document
            .as_ref()
            .map_or(String::new(), |tool| show::plain(&tool["version"])),
        enabled: document
            .as_ref()
            .is_some_and(|tool| tool["enabled"] != false),
        document: document.as_ref().map(written),
        versions: match document.is_some() {
            true => versions(&ask, &name).await?,
            false => Vec::new(),
        },
        may_write: ask.may("replace_tool") && document.is_some(),
        may_accept: ask.may("accept_tool"),
        may_invoke: low && ask.may("invoke_tool"),
        answer: ask.made.as_ref().map(brought),
        sample: sample(&told["input_schema"]),
        tool: line(told),
        frame: ask.frame(show::seen(&name)),
    })
}

fn found(answer: Result<Value, Trouble>) -> Result<Option<Value>, Trouble> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Trouble::NotFound(_) | Trouble::UnknownTool(_) | Trouble::NotCalledSo(_)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

async fn versions(ask: &Ask, name: &str) -> Result<Vec<Version>, Trouble> {
    let told = ask.ask("list_tool_versions", json!({"tool": name})).await?;
    let all = told["versions"].as_array().cloned().unwrap_or_default();
    let before = all.iter().skip(1).map(Some).chain([None]);
    let versions = all.iter().zip(before).map(|(one, before)| Version {
        version: show::plain(&one["version"]),
        by: show::plain(&one["changed_by"]),
        at: one["changed_at"].as_str().unwrap_or_default().to_owned(),
        changes: before
            .map(|before| changes(before, one))
            .unwrap_or_default(),
    });
    Ok(versions.collect())
}

/// The parts of a document that its author wrote.
fn written(tool: &Value) -> String {
    let mut tool = tool.clone();
    if let Some(fields) = tool.as_object_mut() {
        for told in ["version", "changed_by", "changed_at"] {
            fields.remove(told);
        }
    }
    show::pretty(&tool)
}

fn brought(answer: &Value) -> Answer {
    let masked = answer["masked"].as_array().into_iter().flatten();
    Answer {
        ok: answer["ok"] == true,
        data: show::pretty(&answer["data"]),
        masked: masked.map(show::plain).collect(),
        trace: show::plain(&answer["trace_id"]),
        took: show::plain(&answer["duration_ms"]),
    }
}

/// Arguments to begin with: the names that the schema knows.
fn sample(schema: &Value) -> String {
    let fields = schema["properties"].as_object().into_iter().flatten();
    let fields = fields.map(|(name, field)| {
        let empty = match field["type"].as_str() {
            Some("integer" | "number") => json!(0),
            Some("boolean") => json!(false),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!(""),
        };
        (name.clone(), empty)
    });
    show::pretty(&Value::Object(fields.collect()))
}

#[derive(Template)]
#[template(path = "tool_edit.html", config = ".config/askama.toml")]
struct Edit {
    frame: Frame,
    name: String,
    version: String,
    enabled: String,
    /// Name, words for people, and text of each part.
    parts: Vec<(&'static str, &'static str, String)>,
}

/// The form for one that is there: each part of its document under its REST name.
pub(super) async fn edit(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    ask.needs("replace_tool")?;
    const PARTS: [(&str, &str); 14] = [
        ("title", "Its name for people"),
        (
            "description",
            "What it does, for agents and for people who decide",
        ),
        ("kind", "Kind"),
        ("source", "Source"),
        ("risk", "Risk"),
        ("input_schema", "What it takes: a JSON Schema"),
        ("output_schema", "What it answers: a JSON Schema"),
        ("exec", "How it is carried out: JSON"),
        ("money", "What it moves: JSON, where an argument is money"),
        ("payee", "Whom it pays: JSON, where an argument is a payee"),
        ("masks", "What is hidden of its results: JSON"),
        ("rate_limit", "How often: JSON"),
        ("timeout_ms", "Longest that one call may take, in ms"),
        ("annotations", "What clients are told of it: JSON"),
    ];
    let name = ask.named("name").to_owned();
    let told = ask.ask("get_tool", json!({"tool": name})).await?;
    let parts = PARTS.iter().map(|(part, words)| {
        let text = match &told[*part] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                show::pretty(&told[*part])
            }
        };
        (*part, *words, text)
    });
    Shown::of(&Edit {
        parts: parts.collect(),
        version: show::plain(&told["version"]),
        enabled: told["enabled"].to_string(),
        frame: ask.frame(format!("{} {}", ask.lang.t("Edit"), show::seen(&name))),
        name,
    })
}
