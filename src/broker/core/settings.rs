//! How the broker behaves where neither policy nor tool says otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::load::Bounds;
use super::models::ModelSettings;
use crate::connector::jwt::Expected;
use crate::domain::account::Holders;
use crate::domain::facts::{BLOCK_AT, OnMissing};
use crate::domain::ids::AgentId;
use crate::domain::notice::NoticeKind;
use crate::domain::reason::Reason;
use crate::domain::retention::Retention;
use crate::domain::secret::Secret;
use crate::domain::upstream::UpstreamRules;
use crate::ephemeral::Bucket;
use crate::governance::access::rules::ByDefault;
use crate::governance::integrity::Weights;

/// How the broker behaves where neither policy nor tool says otherwise.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Life of a token, seconds.
    pub token_ttl_secs: i64,
    /// Life of an allowed proposal, seconds.
    pub allowed_ttl_secs: i64,
    /// Life of a held proposal, seconds.
    pub held_ttl_secs: i64,
    /// Longest that one provider call may take.
    pub call_deadline: Duration,
    /// Who honours our tokens: one name per store.
    pub audience: String,
    /// The zone in which a budget's day begins.
    pub zone: jiff::tz::TimeZone,
    /// What a missing integrity score means.
    pub on_missing: OnMissing,
    /// Hold what an agent proposes without the prompt behind it.
    pub require_prompt: bool,
    /// Block at or above this composite score.
    pub block_at: f64,
    /// How much each signal of the score counts.
    pub weights: Weights,
    /// How people are told and asked.
    pub people: People,
    /// What is known of the bank beyond our own calls.
    pub bank: BankSettings,
    /// The buckets of tools that an operator gave one, by the tool's name in the catalogue.
    pub tool_buckets: BTreeMap<String, Bucket>,
    /// Tools whose arguments and payees stay out of the audit log, by name in the catalogue.
    pub unrecorded: BTreeSet<String>,
    /// The upstream MCP servers whose tools are in the catalogue, and the operator's word about
    /// them.
    pub upstreams: BTreeMap<String, UpstreamRules>,
    /// Of upstreams that may take longer than `call_deadline`, or less long.
    pub call_deadlines: BTreeMap<String, Duration>,
    /// Tools of which every proposal waits for a person, by name in the catalogue.
    pub always_held: BTreeSet<String>,
    /// Every name of a tool that the configuration has a rule for.
    pub tool_rules: BTreeSet<String>,
    /// How often each upstream is asked what it offers, if nothing else asks for it.
    pub relist_every: Duration,
    /// How many commits are carried at once.
    pub bounds: Bounds,
    /// What a bearer token has to say; `None` takes none.
    pub jwt: Option<Expected>,
    /// Names of this process's master keys, the newest first; empty where it has none.
    pub masters: Vec<String>,
    /// What happens to a call of which no access rule says anything.
    pub access_default: ByDefault,
    /// How long what may be dropped is kept.
    pub retention: Retention,
    /// Requests to models.
    pub models: ModelSettings,
}

/// A program that is told by HTTP.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where. The operator's own word, so it may be anywhere.
    pub url: Secret,
    /// Of what; empty is everything.
    pub events: Vec<NoticeKind>,
    /// What messages are signed with.
    pub secret: Secret,
}

/// How people are told and asked.
#[derive(Clone, Debug)]
pub struct People {
    /// Slack, if it is on.
    pub slack: Option<Slack>,
    /// ntfy, if it is on: told when Slack is off or failing.
    pub ntfy: Option<Ntfy>,
    /// Programs that are told of it all, beside people.
    pub webhooks: Vec<Webhook>,
    /// Which refusals of governance people want to hear of.
    pub alert_on: Vec<Reason>,
}

impl Default for People {
    fn default() -> Self {
        Self {
            slack: None,
            ntfy: None,
            webhooks: Vec::new(),
            alert_on: vec![
                Reason::RiskHigh,
                Reason::DomainBlocked,
                Reason::LimitExceeded,
                Reason::NoPolicy,
            ],
        }
    }
}

/// A Slack app and the channel it asks in.
#[derive(Clone, Debug)]
pub struct Slack {
    /// Where Slack answers, without a trailing slash: `https://slack.com`.
    pub api_base: String,
    /// `xoxb-...`.
    pub bot_token: Secret,
    /// `C...`.
    pub channel: String,
    /// Proves that a button press came from Slack; without it there are no buttons.
    pub signing_secret: Option<Secret>,
    /// Teams whose users may decide (`T...`); empty is the bot's own.
    pub teams: Vec<String>,
}

/// A topic of an ntfy server.
#[derive(Clone, Debug)]
pub struct Ntfy {
    /// Where ntfy answers: `https://ntfy.sh`.
    pub url: String,
    /// The topic.
    pub topic: String,
    /// Access token of a protected topic.
    pub token: Option<Secret>,
}

/// What is known of the bank beyond our own calls.
#[derive(Clone, Debug)]
pub struct BankSettings {
    /// Secrets its webhooks may be signed with; empty switches webhooks off.
    pub webhook_secrets: Vec<Secret>,
    /// The agent whose policy governs payouts that others made at the bank. What such a payout
    /// says about its agent is its maker's word, so it never picks the policy.
    pub external_agent: AgentId,
    /// Whose account it is, and who else may pay from it.
    pub holders: Holders,
    /// How often to ask the bank for such payouts, in seconds (5 to 300); `None` does not ask.
    pub poll_interval_secs: Option<u32>,
}

impl Default for BankSettings {
    fn default() -> Self {
        Self {
            webhook_secrets: Vec::new(),
            external_agent: AgentId::external(),
            holders: Holders::default(),
            poll_interval_secs: None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token_ttl_secs: 60,
            allowed_ttl_secs: 15 * 60,
            held_ttl_secs: 24 * 60 * 60,
            call_deadline: Duration::from_secs(15),
            audience: String::new(),
            zone: jiff::tz::TimeZone::UTC,
            on_missing: OnMissing::Hold,
            require_prompt: false,
            block_at: BLOCK_AT,
            weights: Weights::default(),
            people: People::default(),
            bank: BankSettings::default(),
            tool_buckets: BTreeMap::new(),
            unrecorded: BTreeSet::new(),
            upstreams: BTreeMap::new(),
            call_deadlines: BTreeMap::new(),
            always_held: BTreeSet::new(),
            tool_rules: BTreeSet::new(),
            relist_every: Duration::from_secs(60),
            bounds: Bounds::default(),
            jwt: None,
            masters: Vec::new(),
            access_default: ByDefault::default(),
            retention: Retention::default(),
            models: ModelSettings::default(),
        }
    }
}
