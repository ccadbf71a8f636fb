//! The command line: what can be typed, what it prints, and how it ends.
//!
//! Data goes to stdout and everything else to stderr, so that a pipe gets data alone. Each
//! command that prints data takes `--json` and then prints exactly one JSON document on one line.
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
//!
//! Commands that act on a broker ask through a [`door::Door`]: a running server with the rights of a
//! key, or the store where none runs. Nothing here opens a store or reads a setting. That is for
//! `run`, which ties this to the rest.

pub mod access;
pub mod apply;
pub mod asks;
pub mod audit;
pub mod bench;
pub mod config;
pub mod doctor;
pub mod documents;
pub mod door;
pub mod freeze;
pub mod hash;
pub mod invoke;
pub mod key;
pub mod keyring;
pub mod lines;
pub mod paper;
pub mod payee;
pub mod people;
pub mod policy;
pub mod prices;
pub mod print;
pub mod proposal;
pub mod queue;
pub mod reads;
pub mod retention;
pub mod scan;
pub mod score;
pub mod server;
mod service;
pub mod source;
pub mod token;
pub mod tool;
pub mod webhook;

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::broker::Trouble;

pub use service::{
    DemoArgs, McpArgs, MigrateArgs, SandboxArgs, ServeArgs, SidecarCommand, WorkerArgs,
};

/// Pay exactly what was proposed, exactly once.
///
/// hundi stands between agents and tools that move money. An agent proposes a call and commits
/// it with a token that is valid once, for these arguments, for a minute. What is refused, held or
/// done is recorded, and every outcome is settled by evidence.
///
/// Start with `hundi demo` to see it work, or `hundi serve` to use it. Nothing needs configuring:
/// without a Razorpay key a sandbox bank answers, and no money moves.
#[derive(Parser, Debug)]
#[command(name = "hundi", version, verbatim_doc_comment)]
#[command(after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage.")]
pub struct Cli {
    /// Settings that every command takes.
    #[command(flatten)]
    pub settings: SettingFlags,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Settings as flags; they win over the environment and the configuration file.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings (also as HUNDI_* variables and in hundi.toml)")]
pub struct SettingFlags {
    /// Configuration file [default: hundi.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for the store and the keys [default: ./hundi-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// sqlite://PATH or postgres://USER@HOST/NAME [default: hundi.db in the data folder]
    #[arg(long, global = true, value_name = "URL", hide_short_help = true)]
    pub database_url: Option<String>,
    /// redis://HOST:PORT, where several nodes share windows and caches
    #[arg(long, global = true, value_name = "URL", hide_short_help = true)]
    pub redis_url: Option<String>,
    /// Where the server answers [default: 127.0.0.1:8787]
    #[arg(long, global = true, value_name = "ADDRESS", hide_short_help = true)]
    pub listen: Option<String>,
    /// Where the sandbox bank answers [default: 127.0.0.1:8788]
    #[arg(long, global = true, value_name = "ADDRESS", hide_short_help = true)]
    pub sandbox_listen: Option<String>,
    /// text or json [default: text]
    #[arg(long, global = true, value_name = "FORMAT", hide_short_help = true)]
    pub log_format: Option<String>,
    /// Any other setting by its key; `hundi config` lists them
    #[arg(long, global = true, value_name = "KEY=VALUE", hide_short_help = true)]
    pub set: Vec<String>,
}

impl SettingFlags {
    /// Each setting that was given: its key, its value, and how it was spelt.
    pub fn given(&self) -> Result<Vec<(String, String, String)>, Failure> {
        let named = [
            ("data_dir", "--data-dir", &self.data_dir),
            ("database_url", "--database-url", &self.database_url),
            ("redis_url", "--redis-url", &self.redis_url),
            ("listen", "--listen", &self.listen),
            ("sandbox_listen", "--sandbox-listen", &self.sandbox_listen),
            ("log_format", "--log-format", &self.log_format),
        ];
        let named = named.into_iter().filter_map(|(key, flag, value)| {
            Some((key.to_owned(), value.clone()?, flag.to_owned()))
        });
        let mut given: Vec<_> = named.collect();
        for text in &self.set {
            // Read here rather than by clap, which would repeat the text: it may be a secret.
            let pair = text
                .split_once('=')
                .filter(|(key, _)| !key.trim().is_empty());
            let (key, value) = pair.ok_or_else(|| {
                let text = "--set takes KEY=VALUE, for example --set token_ttl_secs=30";
                Failure::Usage(text.to_owned())
            })?;
            let key = key.trim();
            given.push((key.to_owned(), value.to_owned(), format!("--set {key}")));
        }
        Ok(given)
    }
}

/// What can be done.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve MCP, REST, webhooks and metrics over HTTP
    ///
    /// Answers on 127.0.0.1:8787: MCP at /mcp, REST under /v1, metrics at /metrics. The first start
    /// makes the data folder and its keys, and prints one admin key and one agent key, once. Without
    /// a Razorpay key the sandbox bank runs inside, and no money moves. Ctrl-C finishes what is
    /// under way, then stops.
    #[command(verbatim_doc_comment)]
    Serve(ServeArgs),
    /// Serve MCP on stdio, for a client that starts its servers itself
    ///
    /// The same broker as `hundi serve`, on the same store; both may run at once. Stdout carries the
    /// protocol alone, logs go to stderr. Without a key it acts as the first agent.
    #[command(verbatim_doc_comment)]
    Mcp(McpArgs),
    /// Answer requests to models of the queue, beside a server or on a machine of its own
    ///
    /// Shares the server's store; on SQLite, its file. Any number may run at once: a request is in one
    /// worker's hands at a time, and what a lost worker had in hand is taken over. Ctrl-C finishes what
    /// is in hand, then stops.
    #[command(verbatim_doc_comment)]
    Worker(WorkerArgs),
    /// Play the whole story on real parts, in a folder that is thrown away
    ///
    /// Starts a broker, a sidecar and a sandbox bank, and plays through an MCP client: what is
    /// allowed and paid once, what is refused, what a person has to decide. Exit code 0 only if
    /// every step went as it should.
    #[command(verbatim_doc_comment)]
    Demo(DemoArgs),
    /// Run the sandbox bank alone: RazorpayX's REST API, and no money
    ///
    /// Point a broker at it with HUNDI_RAZORPAY_API_BASE. Its ledger is kept in the data folder; what
    /// it can be made to do wrong is in the README, under "The sandbox bank".
    #[command(verbatim_doc_comment)]
    Sandbox(SandboxArgs),
    /// The child process that alone holds a provider's credentials
    #[command(subcommand)]
    Sidecar(SidecarCommand),
    /// Bring the store's schema up to date, and tell where it stands
    Migrate(service::MigrateArgs),
    /// Drop what is older than the settings `retention.*` keep it: refused proposals, seen webhooks
    ///
    /// A running server does so by itself. The audit log is never shortened.
    #[command(verbatim_doc_comment)]
    Retention(retention::Args),
    /// Canonical form and SHA-256 of JSON documents, one a line
    ///
    /// Reads one document a line from stdin and answers each with one line:
    /// {"canonical":"...","sha256":"..."} or {"error":{"code":"...","detail":"..."}}.
    /// A refused line does not end the run.
    #[command(verbatim_doc_comment)]
    Hash(hash::Args),
    /// How far an agent's own answers disagree, one case a line
    ///
    /// Reads one case a line from stdin, either
    /// {"prompt":"...","samples":["...","..."],"baseline_hash":"...","weights":{...}} or
    /// {"signals":{...},"weights":{...}}, everything optional, and answers each with one line:
    /// the signals, their composite score, the decision and the prompt's hash. The decision is
    /// allow or block; without any signal the score is null, and the decision block, unless
    /// integrity.on_missing is allow. A bad line is answered with its error and does not end
    /// the run.
    #[command(verbatim_doc_comment)]
    Score(score::Args),
    /// Find secrets in files: keys, tokens, passwords, cards, IBAN, PAN, Aadhaar
    ///
    /// Tells the kind and the place of each, never the secret. With --json, one line for each find:
    /// {"file","line","type","start","end"}; start and end are bytes of the file, from 0, and line is
    /// the line that the find starts in, from 1. Exit code 1 if there is any, 0 if there is none, 2 if
    /// a file could not be read.
    #[command(verbatim_doc_comment)]
    Scan(scan::Args),
    /// Look into commit tokens
    #[command(subcommand)]
    Token(token::Command),
    /// API keys of agents and people
    #[command(subcommand)]
    Key(key::Command),
    /// The keys that sign commit tokens
    #[command(subcommand)]
    Keyring(keyring::Command),
    /// What was proposed, and deciding on what is held
    #[command(subcommand)]
    Proposal(proposal::Command),
    /// What agents may do, and trying policies out on paper
    #[command(subcommand)]
    Policy(policy::Command),
    /// The payees that are known, and the accounts they are paid at
    #[command(subcommand)]
    Payee(payee::Command),
    /// What models cost, and importing a table of prices
    #[command(subcommand)]
    Prices(prices::Command),
    /// Texts that people keep so that they can be found: contracts, mandates, manuals
    #[command(subcommand)]
    Document(paper::Command),
    /// Find passages of documents
    Search(paper::Args),
    /// How many requests to models wait; and pausing, draining, going on
    Queue(queue::Args),
    /// Stop everything, one agent, tool, vendor or server: the brake. Without a scope, show what is frozen
    ///
    /// Stops proposals, commits and low-risk calls at once and on every node. Takes the key of an
    /// operator or an approver.
    #[command(verbatim_doc_comment)]
    Freeze(freeze::Freeze),
    /// Lift a freeze; others that cover the same thing stay. Takes an operator's key
    Unfreeze(freeze::Unfreeze),
    /// Where registered tools reach: databases, APIs, programs, other MCP servers
    #[command(subcommand)]
    Source(source::Command),
    /// Virtual MCP servers: which tools a client sees, and its keys
    #[command(subcommand)]
    Server(server::Command),
    /// Who may call what, what is masked, and trying that out
    #[command(subcommand)]
    Access(access::Command),
    /// People and their roles
    #[command(subcommand)]
    Person(people::Person),
    /// Organisations, each unknown to the others
    #[command(subcommand)]
    Org(people::Org),
    /// What each role may do
    Role(people::Roles),
    /// Call a tool; one that does more than read is proposed, not done
    Invoke(invoke::Args),
    /// The steps of one call, and what decided
    Trace(invoke::Trace),
    /// Make sources, tools, servers, rules, policies and payees what the files of a folder say
    ///
    /// DIR/{sources,tools,servers,access,policies,payees,providers}/NAME.{json,toml,yaml}, each file
    /// the body that makes the document over REST; secrets as {"env": "NAME"} or {"file": "PATH"}.
    /// Tells the difference first. Whole or not at all; what no file names stays.
    #[command(verbatim_doc_comment)]
    Apply(apply::Apply),
    /// Write the same files of what there is, without secrets
    Export(apply::Export),
    /// Try the bank's webhooks out on a running server
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// What happened; the whole log as a file; and whether a log is what was sealed
    Audit(audit::Args),
    /// What can be proposed, and accepting what upstreams offer
    #[command(subcommand)]
    Tool(tool::Command),
    /// Measure how many propose-and-commit cycles a running server reaches
    ///
    /// Start a server with `hundi serve`, then give its address and an agent's key. Every caller
    /// keeps one connection and waits for each answer. Exit code 1 if any cycle failed.
    #[command(verbatim_doc_comment)]
    Bench(bench::Args),
    /// Examine the configuration and everything hundi needs, and say what to do
    ///
    /// Looks at settings, the data folder and its permissions, keys and their age, the store, Redis,
    /// the sidecar, the bank, the clock, the canonical form and the upstreams. It changes nothing at
    /// any provider. Exit code 1 if anything is broken; a warning alone is 0.
    #[command(verbatim_doc_comment)]
    Doctor(doctor::Args),
    /// Print the effective configuration, secrets hidden
    ///
    /// Shows every setting with its value and where the value came from: the default, hundi.toml, a
    /// HUNDI_* variable or a flag. Secrets are never shown. What is off for want of a setting is
    /// listed at the end.
    #[command(verbatim_doc_comment)]
    Config(config::Args),
    /// Print a completion script for your shell
    ///
    /// For bash: hundi completions bash > ~/.local/share/bash-completion/completions/hundi
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    ///
    /// One page for each command: hundi man ~/.local/share/man/man1, then `man hundi-serve`.
    #[command(verbatim_doc_comment)]
    Man {
        /// The folder; made if it is missing
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// `--json`, the same everywhere.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Json {
    /// Print one JSON document instead of text for people
    #[arg(long)]
    pub json: bool,
}

/// `--json` of the commands that answer each line of stdin with a line of JSON anyway.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct JsonLines {
    /// Changes nothing: the answers are lines of JSON either way
    #[arg(long)]
    pub json: bool,
}

/// The API key of a command that always speaks to a server.
#[derive(Args, Clone, Default)]
pub struct KeyFlag {
    /// The API key of whoever asks
    #[arg(
        long = "key",
        value_name = "hk_...",
        env = "HUNDI_API_KEY",
        hide_env_values = true
    )]
    pub key: Option<String>,
}

impl std::fmt::Debug for KeyFlag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.key.as_ref().map(|_| "(hidden)");
        f.debug_struct("KeyFlag").field("key", &key).finish()
    }
}

/// As whom a command acts, and where.
#[derive(Args, Clone, Default)]
pub struct Actor {
    /// The server to ask [default: the one that runs on the data folder, else the store itself]
    #[arg(long, env = "HUNDI_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Act as the holder of this API key, within its role; without it, and without --url, as
    /// `cli:local`, who owns the data folder and is an admin
    #[arg(
        long = "key",
        value_name = "hk_...",
        env = "HUNDI_API_KEY",
        hide_env_values = true
    )]
    pub key: Option<String>,
    /// Work on the store itself; refused while a server runs on the data folder
    #[arg(long)]
    pub offline: bool,
    /// The owner of the data folder may act as any agent of it, as `hundi mcp` does.
    #[arg(skip)]
    pub agent: Option<String>,
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.key.as_ref().map(|_| "(hidden)");
        f.debug_struct("Actor")
            .field("url", &self.url)
            .field("key", &key)
            .finish_non_exhaustive()
    }
}

/// How a command ended that did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The command itself makes no sense: exit code 2.
    Usage(String),
    /// Refused or failed; the text says what to do: exit code 1.
    Failed(String),
    /// The answer is on stdout already, and it is a no: exit code 1.
    Told,
    /// Nobody reads our output any more (`hundi hash | head`): not a failure.
    Unread,
}

impl Failure {
    /// A refusal with its reason.
    pub fn of(reason: impl std::fmt::Display) -> Self {
        Failure::Failed(reason.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Failure::Unread
        } else {
            Failure::Failed(format!("reading or writing failed: {error}"))
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Failure::Failed(format!("{trouble} ({})", trouble.code()))
    }
}

/// Writes the completion script of a shell.
pub fn completions(shell: clap_complete::Shell, out: &mut dyn std::io::Write) {
    clap_complete::generate(shell, &mut Cli::command(), "hundi", out);
}

/// Writes the manual pages, one for each command.
pub fn man(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    Ok(clap_mangen::generate_to(Cli::command(), folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_setting_keeps_how_it_was_spelt() {
        let cli = Cli::parse_from([
            "hundi",
            "config",
            "--listen",
            "127.0.0.1:1",
            "--set",
            "log=debug,sqlx=warn",
        ]);
        let given = cli.settings.given().unwrap();
        assert_eq!(
            given[0],
            ("listen".into(), "127.0.0.1:1".into(), "--listen".into())
        );
        assert_eq!(
            given[1],
            ("log".into(), "debug,sqlx=warn".into(), "--set log".into())
        );
    }

    #[test]
    fn an_api_key_is_hidden_in_debug() {
        let actor = Actor {
            key: Some("hk_1_canary".into()),
            ..Actor::default()
        };
        assert!(!format!("{actor:?}").contains("canary"));
    }
}
