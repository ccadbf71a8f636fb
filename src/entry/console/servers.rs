//! `/console/servers`: virtual MCP servers, each a door with some tools behind it: which tools, whose
//! keys, and what a client has to be told. A key's text is shown once, right after it was made.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::show;
use crate::broker::Trouble;

/// What stands in a configuration while no key was just made.
const SOME_KEY: &str = "hs_YOUR_KEY";

#[derive(Template)]
#[template(path = "servers.html", config = ".config/askama.toml")]
struct List {
    frame: Frame,
    servers: Vec<Line>,
    may_make: bool,
}

struct Line {
    name: String,
    about: String,
    tools: String,
    keys: String,
    enabled: bool,
    by: String,
    at: String,
}

/// The list.
pub(super) async fn list(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let answer = ask.ask("list_servers", json!({})).await?;
    let servers = answer["servers"].as_array().into_iter().flatten();
    let count = |list: &Value| list.as_array().map_or(0, Vec::len).to_string();
    let servers = servers.map(|one| Line {
        name: text(one, "name"),
        about: Some(text(one, "title"))
            .filter(|title| !title.is_empty())
            .unwrap_or_else(|| text(one, "description")),
        tools: count(&one["tools"]),
        keys: count(&one["keys"]),
        enabled: one["enabled"] != false,
        by: text(one, "changed_by"),
        at: one["changed_at"].as_str().unwrap_or_default().to_owned(),
    });
    Shown::of(&List {
        servers: servers.collect(),
        may_make: ask.may("create_server"),
        frame: ask.frame(ask.lang.t("Servers")),
    })
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().map(show::seen).unwrap_or_default()
}

/// A tool that can be picked.
struct Pick {
    name: String,
    about: String,
    picked: bool,
}

#[derive(Template)]
#[template(path = "server_new.html", config = ".config/askama.toml")]
struct New {
    frame: Frame,
    picks: Vec<Pick>,
    patterns: String,
}

/// The form for a new one.
pub(super) async fn new(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    ask.needs("create_server")?;
    let (picks, patterns) = picks(&ask, "create_server", &Value::Null).await?;
    Shown::of(&New {
        picks,
        patterns,
        frame: ask.frame(ask.lang.t("New server")),
    })
}

/// Every tool there is, and of what is picked that which names no tool: how names begin. What was
/// typed into a form that was not done goes before what is in force.
async fn picks(ask: &Ask, op: &str, listed: &Value) -> Result<(Vec<Pick>, String), Trouble> {
    let typed = ask.draft.as_ref().filter(|draft| draft.op == op);
    let chosen: BTreeSet<String> = match typed {
        Some(draft) => {
            let words = draft.form.all("tools");
            let words = words.flat_map(|text| text.split([',', '\n']));
            words.map(|word| word.trim().to_owned()).collect()
        }
        None => {
            let words = listed.as_array().into_iter().flatten();
            words
                .filter_map(|word| word.as_str().map(str::to_owned))
                .collect()
        }
    };
    let catalogue = ask.ask("list_tools", json!({})).await?;
    let tools = catalogue["tools"].as_array().into_iter().flatten();
    let named = tools.filter_map(|tool| Some((tool["name"].as_str()?, tool)));
    let picks: Vec<Pick> = named
        .map(|(name, tool)| Pick {
            name: name.to_owned(),
            about: text(tool, "description"),
            picked: chosen.contains(name),
        })
        .collect();
    let is_tool = |word: &&String| picks.iter().any(|pick| pick.name == **word);
    let patterns = chosen
        .iter()
        .filter(|word| !word.is_empty() && !is_tool(word));
    let patterns = patterns.map(String::as_str).collect::<Vec<_>>().join("\n");
    Ok((picks, patterns))
}

#[derive(Template)]
#[template(path = "server.html", config = ".config/askama.toml")]
struct One {
    frame: Frame,
    name: String,
    title: String,
    description: String,
    instructions: String,
    disclosure: String,
    enabled: bool,
    version: String,
    picks: Vec<Pick>,
    patterns: String,
    keys: Vec<Key>,
    may_write: bool,
    made: Option<String>,
    /// Name, where it belongs, text.
    clients: Vec<Client>,
}

struct Key {
    id: String,
    name: String,
    agent: String,
    made: String,
    by: String,
    expires: Option<String>,
}

/// What a client has to be told.
struct Client {
    id: &'static str,
    name: &'static str,
    place: &'static str,
    text: String,
}

/// One server.
pub(super) async fn one(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    let name = ask.named("name").to_owned();
    let told = ask.ask("get_server", json!({"server": name})).await?;
    let (picks, patterns) = picks(&ask, "replace_server", &told["tools"]).await?;
    let made = ask.made.as_ref();
    let made = made.and_then(|made| made["key"].as_str().map(str::to_owned));
    let plain = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
    let keys = told["keys"].as_array().into_iter().flatten();
    let origin = ask.seat.console.public.origin();
    Shown::of(&One {
        clients: clients(origin, &name, made.as_deref().unwrap_or(SOME_KEY)),
        title: plain("title"),
        description: plain("description"),
        instructions: plain("instructions"),
        disclosure: plain("disclosure"),
        enabled: told["enabled"] != false,
        version: show::plain(&told["version"]),
        keys: keys.map(key).collect(),
        may_write: ask.may("replace_server"),
        frame: ask.frame(show::seen(&name)),
        picks,
        patterns,
        made,
        name,
    })
}

fn key(told: &Value) -> Key {
    Key {
        id: text(told, "id"),
        name: text(told, "name"),
        agent: text(told, "agent"),
        made: told["created_at"].as_str().unwrap_or_default().to_owned(),
        by: text(told, "created_by"),
        expires: told["expires_at"].as_str().map(str::to_owned),
    }
}

/// What the usual clients have to be told. Neither a server's name nor a key holds anything that a
/// shell or JSON would read otherwise.
fn clients(origin: &str, name: &str, key: &str) -> Vec<Client> {
    let url = format!("{origin}/mcp/{name}");
    let bearer = format!("Bearer {key}");
    let with = |outer: &str, entry: Value| show::pretty(&json!({outer: {name: entry}}));
    let typed = json!({"type": "http", "url": url, "headers": {"Authorization": bearer}});
    let plain = json!({"url": url, "headers": {"Authorization": bearer}});
    vec![
        Client {
            id: "claude-code",
            name: "Claude Code",
            place: "in a terminal",
            text: format!(
                "claude mcp add --transport http {name} {url} --header \"Authorization: {bearer}\""
            ),
        },
        Client {
            id: "cursor",
            name: "Cursor",
            place: "~/.cursor/mcp.json",
            text: with("mcpServers", plain),
        },
        Client {
            id: "vs-code",
            name: "VS Code",
            place: ".vscode/mcp.json",
            text: with("servers", typed.clone()),
        },
        Client {
            id: "others",
            name: "Most others",
            place: ".mcp.json",
            text: with("mcpServers", typed),
        },
        Client {
            id: "codex",
            name: "Codex",
            place: "~/.codex/config.toml",
            text: format!(
                "[mcp_servers.{name}]\nurl = \"{url}\"\nhttp_headers = {{ Authorization = \"{bearer}\" }}"
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_the_address_of_this_server_and_the_key() {
        for client in clients("https://pay.example", "billing", "hs_1_2") {
            assert!(client.text.contains("https://pay.example/mcp/billing"));
            assert!(client.text.contains("Bearer hs_1_2"), "{}", client.text);
        }
    }
}
