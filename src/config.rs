//! Typed settings: `hundi.toml`, the environment and flags, in rising precedence, read once at the
//! start. This is the only place that looks at the environment.
//!
//! It stops the start rather than guess: an unknown key, a value of the wrong kind, an empty,
//! short or default secret, or a key that Postgres needs and nobody gave. All mistakes are told at
//! once, each with the name of the setting and of its variable, and never with the value. What
//! lacks only a secret is switched off, and says so ([`Config::off`]).

pub mod layers;
mod models;
pub mod programs;
mod read;
pub mod secret;
pub mod settings;
mod show;
pub mod upstream;
mod webhooks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use crate::broker::core::Webhook;
use crate::broker::core::models::ModelSettings;
use crate::connector::jwt::Expected;
use crate::domain::account::Holders;
use crate::domain::facts::OnMissing;
use crate::domain::ids::AgentId;
use crate::domain::reason::Reason;
use crate::domain::retention::Retention;
use crate::governance::access::rules::ByDefault;
use crate::governance::integrity::Weights;
use layers::{Environment, Flag, Layers};
use secret::{ConnUrl, KeyBytes, Secret};

pub use programs::Program;
pub use show::{Row, Shown};
pub use upstream::{Handshake, Limits, ToolOverride, Transport, Upstream};

/// The store's file in the data folder, unless `database_url` names another.
const DATABASE_FILE: &str = "hundi.db";

/// Everything hundi was told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder for the store and the keys.
    pub data_dir: PathBuf,
    /// `sqlite://...` or `postgres://...`.
    pub database_url: ConnUrl,
    /// Redis, where several nodes share windows and caches.
    pub redis_url: Option<ConnUrl>,
    /// Where the server answers.
    pub listen: SocketAddr,
    /// Where the sandbox bank answers; port 0 picks a free one.
    pub sandbox_listen: SocketAddr,
    /// Host names clients may use besides the local ones.
    pub public_hosts: Vec<String>,
    /// Where browsers find the console; this machine under the port it listens on if unset.
    pub public_url: Option<String>,
    /// Folders in which SQLite files of sources may lie.
    pub sqlite_dirs: Vec<PathBuf>,
    /// Whose sources may reach what this configuration names: folders, networks, programs.
    pub source_orgs: Vec<String>,
    /// The private networks that sources may reach.
    pub private_allowed: Vec<IpNet>,
    /// The programs that tools may run, by name.
    pub programs: BTreeMap<String, Program>,
    /// Web origins that may call `/mcp` besides the local ones.
    pub allowed_origins: Vec<String>,
    /// A proxy in front speaks TLS, so answers carry HSTS.
    pub tls_in_front: bool,
    /// Life of a token, seconds.
    pub token_ttl_secs: i64,
    /// Life of an allowed proposal, seconds.
    pub allowed_ttl_secs: i64,
    /// Life of a held proposal, seconds.
    pub held_ttl_secs: i64,
    /// How long a server that starts waits for a Postgres that is away.
    pub store_wait: Duration,
    /// Longest that one provider call may take.
    pub call_deadline: Duration,
    /// The zone in which a budget's day begins.
    pub budget_timezone: TimeZone,
    /// Waiting writes share a flush. Off only to measure what that is worth.
    pub grouped_writes: bool,
    /// Sign commit tokens: the first seals, all verify. Empty means that they are made and kept in
    /// the data folder (see [`keyring`](crate::keyring)).
    pub token_keys: Vec<KeyBytes>,
    /// Signs the heads of the audit log; `None` is made and kept in the data folder.
    pub audit_key: Option<KeyBytes>,
    /// Guard what the store keeps secret, the newest first; empty as above.
    pub master_keys: Vec<KeyBytes>,
    /// The bank.
    pub razorpay: Razorpay,
    /// Ask the bank regularly for payouts made elsewhere.
    pub auto_poll: bool,
    /// How often to ask.
    pub poll_interval: Duration,
    /// How long what may be dropped is kept.
    pub retention: Retention,
    /// Bearer tokens of an identity provider; `None` takes none.
    pub jwt: Option<Jwt>,
    /// Reputation of vendor URLs.
    pub safe_browsing: SafeBrowsing,
    /// Where GLEIF answers, without a trailing slash.
    pub gleif_api_base: String,
    /// People through Slack; `None` is off.
    pub slack: Option<Slack>,
    /// People through ntfy; `None` is off.
    pub ntfy: Option<Ntfy>,
    /// Programs that are told by HTTP.
    pub webhooks: Vec<Webhook>,
    /// Reasons of refusals that people are told of.
    pub alert_on: Vec<Reason>,
    /// What a missing integrity score means.
    pub on_missing: OnMissing,
    /// What happens to a call of which no access rule says anything.
    pub access_default: ByDefault,
    /// Hold what an agent proposes without the prompt behind it.
    pub require_prompt: bool,
    /// The model that answers for the broker itself, so that an agent's prompt is scored.
    pub integrity_model: Option<String>,
    /// Block at or above this composite score.
    pub block_at: f64,
    /// How much each signal of the score counts.
    pub weights: Weights,
    /// What to log, as a tracing filter.
    pub log: String,
    /// How logs look.
    pub log_format: LogFormat,
    /// OpenTelemetry collector, without a trailing slash; `None` is off.
    pub otlp_endpoint: Option<String>,
    /// What the operator says about single tools, by name.
    pub tools: BTreeMap<String, ToolOverride>,
    /// The variables of our environment that every child process gets.
    pub inherited: Vec<(String, String)>,
    /// How often each upstream is asked what tools it offers.
    pub relist_every: Duration,
    /// Upstream MCP servers, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Requests to models.
    pub models: ModelSettings,
    /// What deserves a look and does not stop the start.
    pub warnings: Vec<String>,
    /// The configuration file that was read, if there is one.
    pub file: Option<PathBuf>,
    rows: Vec<Row>,
}

/// The bank and how it speaks to us.
#[derive(Clone, Debug)]
pub struct Razorpay {
    /// API key; `None` is sandbox mode.
    pub key: Option<RazorpayKey>,
    /// Secrets of its webhooks, the newest first; none means webhooks are refused.
    pub webhook_secrets: Vec<Secret>,
    /// The account payouts leave from; there whenever the key is.
    pub account_number: Option<String>,
    /// Where it answers, without a trailing slash.
    pub api_base: String,
    /// The agent whose policy governs payouts that others made at the bank.
    pub external_agent: AgentId,
    /// Whose account it is, and who else may pay from it.
    pub holders: Holders,
}

/// What authenticates us at the bank.
#[derive(Clone, Debug)]
pub struct RazorpayKey {
    /// Public half.
    pub id: String,
    /// Secret half.
    pub secret: Secret,
}

/// Reputation of vendor URLs.
#[derive(Clone, Debug)]
pub struct SafeBrowsing {
    /// API key; `None` is off.
    pub key: Option<Secret>,
    /// Where it answers, without a trailing slash.
    pub api_base: String,
}

/// People through Slack.
#[derive(Clone, Debug)]
pub struct Slack {
    /// Bot token.
    pub bot_token: Secret,
    /// The channel to ask in.
    pub channel_id: String,
    /// Proves a button press; `None` means buttons are off and messages only inform.
    pub signing_secret: Option<Secret>,
    /// Teams whose users may decide; empty is the bot's own, which Slack is asked for.
    pub team_ids: Vec<String>,
    /// Where it answers, without a trailing slash.
    pub api_base: String,
}

/// People through ntfy.
#[derive(Clone, Debug)]
pub struct Ntfy {
    /// Server, without a trailing slash.
    pub url: String,
    /// Topic.
    pub topic: String,
    /// Access token of a protected topic.
    pub token: Option<Secret>,
}

/// How logs look on stderr.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Why the start stops: every mistake at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this configuration cannot be used:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  - {line}"))
    }
}

impl std::error::Error for ConfigError {}

/// An identity provider whose bearer tokens are taken in place of keys.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// What a token has to say.
    pub expected: Expected,
    /// Where its keys are; found by discovery where that is not said.
    pub jwks_url: Option<String>,
}

/// The process environment, read once.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub fn environment() -> Environment {
    let named =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    named.collect()
}

impl Config {
    /// Reads and checks everything. `file` is what `--config` names, if it was given.
    pub fn load(
        file: Option<&Path>,
        environment: &Environment,
        flags: &[Flag],
    ) -> Result<Self, ConfigError> {
        let layers = Layers::read(file, environment, flags);
        let (config, problems) = read::config(&layers, environment);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(problems))
        }
    }

    /// No Razorpay key: payouts go to the built-in sandbox bank, and no money moves.
    pub fn sandbox_mode(&self) -> bool {
        self.razorpay.key.is_none()
    }

    /// Whether the store is Postgres, which several nodes share.
    pub fn on_postgres(&self) -> bool {
        self.database_url.expose().starts_with("postgres")
    }

    /// The file of the SQLite store; `None` on Postgres.
    pub fn sqlite_path(&self) -> Option<PathBuf> {
        if !self
            .rows
            .iter()
            .any(|row| row.key == "database_url" && row.layer != "default")
        {
            // Taken as it is: a folder's name may hold what means something else in a URL.
            return Some(self.data_dir.join(DATABASE_FILE));
        }
        let path = self.database_url.expose().strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        Some(path.split('?').next().unwrap_or(path).into())
    }

    /// Every setting as it is in force, secrets masked, with where it came from.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What is off for want of a setting, one sentence each.
    pub fn off(&self) -> Vec<String> {
        let mut off = Vec::new();
        let mut say = |is_off: bool, text: &str| {
            if is_off {
                off.push(text.to_owned());
            }
        };
        say(
            self.sandbox_mode(),
            "sandbox mode: HUNDI_RAZORPAY_KEY_ID is not set, so payouts go to the built-in sandbox bank and no money moves",
        );
        say(
            !self.sandbox_mode() && self.razorpay.webhook_secrets.is_empty(),
            "the bank's webhooks are off: HUNDI_RAZORPAY_WEBHOOK_SECRET is not set",
        );
        say(
            self.safe_browsing.key.is_none(),
            "reputation checks are off: HUNDI_SAFE_BROWSING_KEY is not set",
        );
        say(
            self.slack.is_none(),
            "Slack is off: HUNDI_SLACK_BOT_TOKEN is not set",
        );
        say(
            self.slack
                .as_ref()
                .is_some_and(|slack| slack.signing_secret.is_none()),
            "Slack's buttons are off: HUNDI_SLACK_SIGNING_SECRET is not set",
        );
        say(
            self.ntfy.is_none(),
            "ntfy is off: HUNDI_NTFY_TOPIC is not set",
        );
        off
    }
}

#[cfg(test)]
mod tests;
