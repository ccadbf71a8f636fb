//! The command line as a person or a script meets it: the real binary, in a folder of its own,
//! with an environment that holds nothing but what a test says.

mod bulk;
mod configured;
mod on_store;
mod over_http;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::CommandFactory;
use hundi::entry::cli::Cli;
use serde_json::Value;

/// What must never be seen anywhere.
const CANARY: &str = "canary-4711-do-not-show";

/// A folder in which commands run.
struct Place {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// How a command ended.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error} in {:?}, {}", self.out, self.err))
    }

    fn lines(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn done(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self
    }
}

impl Place {
    fn new() -> Self {
        // Ports that the system chooses, so that tests and servers do not meet.
        let variables = [
            ("HUNDI_LISTEN", "127.0.0.1:0"),
            ("HUNDI_SANDBOX_LISTEN", "127.0.0.1:0"),
        ];
        Self {
            folder: tempfile::tempdir().unwrap(),
            variables: variables
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .to_vec(),
        }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hundi"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear();
        for kept in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command.envs(self.variables.iter().cloned());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.fed(arguments, b"")
    }

    fn fed(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut child = self.command(arguments).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeding = std::thread::spawn(move || {
            // A command that does not want all of its input is no failure of the test.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A server that is ready, with the keys of its first start.
    fn serve(&self) -> Serving {
        let bootstrap = self.path("bootstrap.json");
        let mut command = self.command(&["serve", "--bootstrap", "bootstrap.json"]);
        command.stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.any(|line| line.unwrap().starts_with("listening on "));
        assert!(ready, "the server ended before it was ready");
        let first = std::fs::read_to_string(&bootstrap).unwrap();
        Serving {
            child,
            first: serde_json::from_str(&first).unwrap(),
        }
    }
}

/// A running server; ended when dropped.
struct Serving {
    child: Child,
    first: Value,
}

impl Serving {
    fn url(&self) -> &str {
        self.first["url"].as_str().unwrap()
    }

    fn agent_key(&self) -> &str {
        self.first["agent_key"].as_str().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every command there is, as the words that lead to it.
fn every_command() -> Vec<Vec<String>> {
    fn under(command: &clap::Command, path: &[String], all: &mut Vec<Vec<String>>) {
        all.push(path.to_vec());
        for inner in command.get_subcommands() {
            let mut longer = path.to_vec();
            longer.push(inner.get_name().to_owned());
            under(inner, &longer, all);
        }
    }
    let mut all = Vec::new();
    under(&Cli::command(), &[], &mut all);
    all
}

#[test]
fn every_command_explains_itself() {
    let place = Place::new();
    for path in every_command() {
        let mut words: Vec<&str> = path.iter().map(String::as_str).collect();
        words.push("--help");
        let help = place.run(&words).done();
        assert!(help.out.contains("Usage: hundi"), "{words:?}: {}", help.out);
        let first = help.out.lines().next().unwrap_or_default();
        assert!(
            first.len() > 12 && !first.contains("Usage"),
            "{words:?}: {first}"
        );
        assert!(help.err.is_empty());
    }
}

#[test]
fn every_flag_explains_itself() {
    fn under(command: &clap::Command) {
        for argument in command.get_arguments() {
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let (command, name) = (command.get_name(), argument.get_id());
            assert!(!help.is_empty(), "{command} {name} has no help");
        }
        command.get_subcommands().for_each(under);
    }
    under(&Cli::command());
}

#[test]
fn every_command_that_prints_data_takes_json() {
    // They serve until they are told to stop, or write what a shell or `man` reads.
    let others = [
        "serve",
        "worker",
        "mcp",
        "sandbox",
        "sidecar",
        "completions",
        "man",
    ];
    fn under(command: &clap::Command, path: &str) {
        for inner in command.get_subcommands() {
            under(inner, &format!("{path} {}", inner.get_name()));
        }
        if command.get_subcommands().next().is_none() {
            let json = command.get_arguments().any(|arg| arg.get_id() == "json");
            assert!(json, "hundi{path} takes no --json");
        }
    }
    for command in Cli::command().get_subcommands() {
        if !others.contains(&command.get_name()) {
            under(command, &format!(" {}", command.get_name()));
        }
    }
    let place = Place::new();
    let told = place.run(&["migrate", "--json"]).done().json();
    assert_eq!(told["status"], "up_to_date");
    for bulk in [
        &["hash", "--json"][..],
        &["score", "--json"],
        &["policy", "simulate", "--json"],
    ] {
        assert_eq!(place.fed(bulk, b"{}\n").done().lines().len(), 1, "{bulk:?}");
    }
}

#[test]
fn a_command_tells_in_its_help_what_it_does_and_as_whom() {
    let place = Place::new();
    for (command, told) in [
        ("serve", "prints one admin key and one agent key, once"),
        ("mcp", "without it, as the first agent"),
        ("demo", "Exit code 0 only if"),
        ("sandbox", "HUNDI_RAZORPAY_API_BASE"),
        ("hash", "A refused line does not end the run"),
        ("score", "its error and does not end"),
        ("scan", "never the secret"),
        ("bench", "The agent's API key"),
        ("doctor", "a warning alone is 0"),
        ("config", "Secrets are never shown"),
    ] {
        let help = place.run(&[command, "--help"]).done().out;
        assert!(help.contains(told), "{command}: {help}");
    }
}

#[test]
#[rustfmt::skip]
fn the_exit_code_tells_done_from_refused_from_wrong_usage() {
    let place = Place::new();
    let cases: &[(&[&str], i32)] = &[
        (&["--version"],                          0),
        (&["config"],                             0),
        (&["completions", "bash"],                0),
        (&["hash"],                               0),
        (&["hash", "--file", "not-there"],        1),
        (&["scan"],                               0),
        (&["scan", "not-there"],                  2),
        (&["keyring", "list"],                    1),
        (&["config", "--config", "not-there"],    1),
        (&["config", "--listen", "here"],         1),
        (&[],                                     2),
        (&["hahs"],                               2),
        (&["hash", "--flie", "x"],                2),
        (&["completions", "tcsh"],                2),
        (&["config", "--set", "nonsense"],        2),
        (&["key", "create", "--name", "x"],       2),
        (&["key", "create", "--name", "x", "--role", "king"], 2),
        (&["proposal", "show", "not-an-id"],      2),
        (&["proposal", "list", "--state", "odd"], 2),
        (&["audit", "--decision", "maybe"],       2),
        (&["audit", "export", "--json", "--format", "csv"], 2),
        (&["audit", "verify", "--key", "nonsense"], 2),
        (&["token", "inspect"],                   2),
        (&["bench"],                              2),
        (&["bench", "--seconds", "1", "--cycles", "1"], 2),
        (&["bench", "--half-load", "--cycles", "1"], 2),
        (&["bench", "--key", "hk_1_x", "--url", "https://127.0.0.1:1"], 2),
    ];
    for (arguments, code) in cases {
        let ended = place.run(arguments);
        assert_eq!(ended.code, *code, "{arguments:?}: {}{}", ended.out, ended.err);
        if *code != 0 {
            assert!(ended.out.is_empty(), "{arguments:?} says on stdout: {}", ended.out);
            assert!(ended.err.len() > 20, "{arguments:?} does not explain: {:?}", ended.err);
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    let mut child = place.command(&["hash"]).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    for _ in 0..10_000 {
        if stdin.write_all(b"{\"a\":1}\n").is_err() {
            break;
        }
    }
    drop(stdin);
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success());
    assert!(
        ended.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
