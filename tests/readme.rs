//! What the README and its pages say is true: tables are those of the code, every link leads
//! somewhere, every command exists, and every snippet runs as pasted.
//!
//! `HUNDI_WRITE_PAGES=1 cargo test --test it readme` writes the tables anew.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use hundi::config::settings::SETTINGS;
use hundi::entry::cli::Cli;
use hundi::entry::operations;
use regex::Regex;
use serde_json::Value;

use crate::support::server::HUNDI;

const README: &str = include_str!("../README.md");

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README's fenced blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let fence = Regex::new(&format!(r"(?ms)^```{language}\n(.*?)^```")).unwrap();
    let found = fence.captures_iter(README);
    found.map(|block| block[1].to_owned()).collect()
}

/// Holds a page's text to what the code says, or writes it.
fn page(name: &str, expected: &str) {
    let path = top().join(format!("src/pages/{name}.md"));
    if std::env::var_os("HUNDI_WRITE_PAGES").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
    assert!(
        found == expected,
        "src/pages/{name}.md is not what the code says, first at {differs:?}: \
         `HUNDI_WRITE_PAGES=1 cargo test --test it readme` writes it"
    );
}

#[test]
fn the_page_of_settings_is_the_codes() {
    let mut text =
        "# Settings\n\nFrom `hundi.toml`, then `HUNDI_*` variables, then flags, in rising \
        precedence; `hundi config` prints what is in force and from where. A secret can also be \
        given as its variable with `_FILE`. Tables of upstreams, programs and tools have keys of \
        their own: see [tools](tools.md).\n\n| key | variable | default | what it is |\n\
        | --- | --- | --- | --- |\n"
            .to_owned();
    for setting in SETTINGS {
        let default = setting.default.filter(|default| !default.is_empty());
        let default = default.map_or("-".to_owned(), |default| format!("`{default}`"));
        let help = setting.help.replace('|', "\\|");
        let (key, variable) = (setting.key, setting.variable());
        text += &format!("| `{key}` | `{variable}` | {default} | {help} |\n");
    }
    page("settings", &text);
}

#[test]
fn the_page_of_policies_is_the_codes() {
    let mut text = "# Policies\n\nWhat an agent may do: `PUT /v1/agents/{agent}/policy` replaces a \
        policy whole, `PATCH` and `hundi policy set` change what they name. Amounts are minor units \
        of one currency, and every limit compares with `>`.\n\n| field | what it says |\n| --- | --- |\n"
        .to_owned();
    let schema = operations::named("set_policy").unwrap().input();
    let fields = schema["properties"].as_object().unwrap();
    for (name, field) in fields {
        if matches!(name.as_str(), "agent" | "agent_id" | "warnings") {
            continue;
        }
        let words = field["description"].as_str().unwrap_or_default();
        assert!(
            !words.is_empty(),
            "the field `{name}` of a policy is not described"
        );
        text += &format!("| `{name}` | {} |\n", words.replace('|', "\\|"));
    }
    page("policies", &text);
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)#]+)\)").unwrap();
    let mut pages = vec![(top().join("README.md"), README.to_owned())];
    for entry in std::fs::read_dir(top().join("src/pages")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        pages.push((path, text));
    }
    for (path, text) in &pages {
        for found in link.captures_iter(text) {
            let target = &found[1];
            let beside = path.parent().unwrap().join(target);
            assert!(
                target.contains("://") || beside.exists(),
                "{path:?} -> {target}"
            );
        }
    }
    let file = Regex::new(r"`((?:src|tests|examples|sql)/[A-Za-z0-9_./-]+)`").unwrap();
    for (path, text) in &pages {
        for found in file.captures_iter(text) {
            assert!(
                top().join(&found[1]).exists(),
                "{path:?} names {}",
                &found[1]
            );
        }
    }
}

#[test]
fn every_command_that_is_named_exists() {
    let named = Regex::new(r"`hundi ([a-z][a-z |-]*)").unwrap();
    let mut texts = vec![README.to_owned()];
    for entry in std::fs::read_dir(top().join("src/pages")).unwrap() {
        texts.push(std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let all = Cli::command();
    for found in texts.iter().flat_map(|text| named.captures_iter(text)) {
        let mut words = found[1].split_whitespace();
        let first = words.next().unwrap();
        let command = all.find_subcommand(first);
        let command = command.unwrap_or_else(|| panic!("there is no `hundi {first}`"));
        if let Some(next) = words.next().filter(|_| command.has_subcommands()) {
            for next in next.split('|').filter(|next| !next.starts_with('-')) {
                let inner = command.find_subcommand(next);
                assert!(inner.is_some(), "there is no `hundi {first} {next}`");
            }
        }
    }
}

#[test]
fn the_clients_configurations_lead_to_doors() {
    let documents = blocks("json");
    assert!(!documents.is_empty());
    for document in documents {
        let document: Value = serde_json::from_str(&document).unwrap();
        let server = &document["mcpServers"]["hundi"];
        let url = server["url"]
            .as_str()
            .is_some_and(|url| url.ends_with(":8787/mcp"));
        assert!(url || server["command"] == "hundi", "{server}");
    }
}

/// A folder with the README's files, where `hundi` is on the path and answers on ports of its own.
struct Newcomer {
    folder: tempfile::TempDir,
    ports: [u16; 2],
}

impl Newcomer {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(top().join("examples"), folder.path().join("examples")).unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let held = [free(), free()];
        let ports = held
            .each_ref()
            .map(|held| held.local_addr().unwrap().port());
        Self { folder, ports }
    }

    /// Runs it as pasted, but for the ports; gives back what it printed.
    fn pastes(&self, script: &str) -> String {
        let [broker, bank] = self.ports;
        let script = script
            .replace("cargo run --release -- ", "hundi ")
            .replace("8787", &broker.to_string())
            .replace("8788", &bank.to_string());
        let script = format!("trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{script}");
        let bin = Path::new(HUNDI).parent().unwrap();
        let others = std::env::var_os("PATH").unwrap_or_default();
        let path = format!("{}:{}", bin.display(), others.display());
        let output = Command::new("bash")
            .args(["-eu", "-c", &script])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", path)
            .env("HUNDI_LISTEN", format!("127.0.0.1:{broker}"))
            .env("HUNDI_SANDBOX_LISTEN", format!("127.0.0.1:{bank}"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{told}\n{errors}");
        told
    }
}

#[test]
fn the_snippets_run_as_pasted() {
    let snippets = blocks("sh");
    let all = snippets.join("\n");
    let told = Newcomer::new().pastes(&all);
    for expected in [
        "Everything went as it should",
        "\"status\":\"committed\"",
        "there are no such proposals",
        "lunch",
        "nothing is frozen",
    ] {
        assert!(told.contains(expected), "no {expected:?} in {told}");
    }
    // What the README shows of the demo is what it prints, however wide its columns are.
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let printed: Vec<String> = told.lines().map(words).collect();
    for line in blocks("text").join("").lines() {
        assert!(
            printed.contains(&words(line)),
            "the demo prints no {line:?}"
        );
    }
}

#[test]
fn the_servers_in_toml_are_put_in_front_of() {
    let toml = blocks("toml").remove(0);
    let newcomer = Newcomer::new();
    std::fs::write(newcomer.folder.path().join("hundi.toml"), toml).unwrap();
    let told = newcomer.pastes(
        "hundi tool list --waiting\nhundi tool accept --upstream crm --all-shown\n\
         hundi tool list --json",
    );
    let tools: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    let tool = |name: &str| {
        let mut tools = tools["tools"].as_array().unwrap().iter();
        tools.find(|tool| tool["name"] == name).unwrap().clone()
    };
    assert_eq!(tool("find_customer")["risk"], "low");
    assert_eq!(tool("refund")["risk"], "high");
    assert_eq!(tool("refund")["standing"], "accepted");
    assert_eq!(tool("refund")["money"]["amounts"][0], "amount");
}

#[test]
fn the_first_policy_is_taken_as_pasted() {
    let policy = Regex::new(r"`(hundi policy set [^`]+)`").unwrap();
    let command = &policy.captures(README).unwrap()[1];
    let told = Newcomer::new().pastes(&format!("hundi migrate\n{command}"));
    assert!(told.contains("daily_limit"), "{told}");
}
