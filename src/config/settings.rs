//! Every setting in one table: its key in `hundi.toml`, what belongs there, its default, and what
//! it is for. Files, environment, flags, `hundi config` and the messages about mistakes all read
//! this table, so a setting cannot exist in one of them only.
//!
//! The variable of a setting is `HUNDI_` and the key in capitals, dots as underscores:
//! `razorpay.key_secret` is `HUNDI_RAZORPAY_KEY_SECRET`. A secret can also be read from a file:
//! `HUNDI_RAZORPAY_KEY_SECRET_FILE`, or `razorpay.key_secret_file`.

use super::secret::{MIN_ISSUED, MIN_WEBHOOK};

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its dotted key.
    pub key: &'static str,
    /// What belongs there.
    pub kind: Kind,
    /// What it is where nobody said otherwise; `None` is unset.
    pub default: Option<&'static str>,
    /// What it is for, for people.
    pub help: &'static str,
}

/// What belongs into a setting.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path of the file system.
    Path,
    /// A whole number in this range, both ends included.
    Number(i64, i64),
    /// A number from 0 to 1.
    Share,
    /// `true` or `false`.
    Switch,
    /// `127.0.0.1:8787`.
    Address,
    /// `https://host/path`, without user name or query.
    HttpUrl,
    /// `sqlite://PATH` or `postgres://...`.
    Database,
    /// `redis://...` and its relatives.
    Redis,
    /// A name of the time zone database.
    Zone,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Texts; separated by commas where only one text can be given.
    List,
    /// A secret of at least so many characters.
    Secret(usize),
    /// Secrets, as a list.
    Secrets(usize),
    /// A key of ours: hex of 32 bytes or more.
    Key,
    /// Keys of ours, as a list.
    Keys,
}

impl Kind {
    /// True for what may never be shown, and may be given as a file.
    pub fn is_secret(self) -> bool {
        matches!(
            self,
            Kind::Secret(_) | Kind::Secrets(_) | Kind::Key | Kind::Keys
        )
    }

    /// True where several values can be given.
    pub fn is_list(self) -> bool {
        matches!(self, Kind::List | Kind::Secrets(_) | Kind::Keys)
    }

    /// What belongs there, as the end of a sentence.
    pub fn wanted(self) -> String {
        match self {
            Kind::Text => "a text belongs here".to_owned(),
            Kind::Path => "a path belongs here".to_owned(),
            Kind::Number(low, high) => format!("a whole number from {low} to {high} belongs here"),
            Kind::Share => "a number from 0 to 1 belongs here".to_owned(),
            Kind::Switch => "true or false belongs here".to_owned(),
            Kind::Address => "an address like 127.0.0.1:8787 belongs here".to_owned(),
            Kind::HttpUrl => {
                "an http:// or https:// URL without user name or query belongs here".to_owned()
            }
            Kind::Database => "sqlite://PATH or postgres://USER@HOST/NAME belongs here".to_owned(),
            Kind::Redis => "redis://HOST:PORT or rediss://HOST:PORT belongs here".to_owned(),
            Kind::Zone => "a time zone like Asia/Kolkata belongs here".to_owned(),
            Kind::OneOf(words) => format!("one of {} belongs here", words.join(", ")),
            Kind::List => "a list of texts belongs here".to_owned(),
            Kind::Secret(_) | Kind::Key => "a secret text belongs here".to_owned(),
            Kind::Secrets(_) | Kind::Keys => "a list of secret texts belongs here".to_owned(),
        }
    }
}

impl Setting {
    /// Its environment variable.
    pub fn variable(&self) -> String {
        variable(self.key)
    }

    /// The setting with this key.
    pub fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

/// The environment variable of a key.
pub fn variable(key: &str) -> String {
    format!("HUNDI_{}", key.to_uppercase().replace('.', "_"))
}

const fn setting(
    key: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting {
        key,
        kind,
        default,
        help,
    }
}

const BUILT_IN_RAZORPAY: &str = "https://api.razorpay.com";

/// Every setting, in the order `hundi config` prints them.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    setting("data_dir",      Kind::Path,     Some("./hundi-data"), "folder for the store and the keys; only its owner may read it"),
    setting("database_url",  Kind::Database, None, "sqlite://PATH or postgres://...; hundi.db in the data folder if unset"),
    setting("store_wait_secs", Kind::Number(0, 3_600), Some("30"), "how long a server that starts waits for a Postgres that is away"),
    setting("redis_url",     Kind::Redis,    None, "shared rate windows and caches of several nodes; in process if unset"),
    setting("listen",        Kind::Address,  Some("127.0.0.1:8787"), "where the server answers"),
    setting("sandbox_listen", Kind::Address, Some("127.0.0.1:8788"), "where the sandbox bank answers; port 0 picks a free one"),
    setting("public_hosts",  Kind::List,     Some(""), "host names clients may use besides localhost and plain addresses"),
    setting("public_url",    Kind::HttpUrl,  None, "where browsers find the console, as https://pay.example.com; http://localhost:PORT if unset"),
    setting("allowed_origins", Kind::List,   Some(""), "web origins (pages in a browser) that may call besides the local ones"),
    setting("tls_in_front",  Kind::Switch,   Some("false"), "a proxy in front speaks TLS: answers carry HSTS"),

    setting("token_ttl_secs",   Kind::Number(1, 3_600),      Some("60"), "life of a commit token"),
    setting("allowed_ttl_secs", Kind::Number(1, 86_400),     Some("900"), "life of an allowed proposal that nobody commits"),
    setting("held_ttl_secs",    Kind::Number(1, 2_592_000),  Some("86400"), "life of a held proposal that nobody decides"),
    // No longer, or a lease could not outlast a call (`store::LEASE_HORIZON_MS`).
    setting("call_deadline_secs", Kind::Number(1, 30),       Some("15"), "longest that one call to a provider may take"),
    setting("budget_timezone",  Kind::Zone,  Some("Asia/Kolkata"), "the zone in which a budget's day begins"),
    setting("grouped_writes",   Kind::Switch, Some("true"), "share one flush to disk among waiting writes; off only to measure"),

    setting("token_key",  Kind::Keys, None, "signs commit tokens, further ones only verify; made and kept in the data folder if unset (needed on Postgres)"),
    setting("audit_key",  Kind::Key, None, "signs the heads of the audit log; as above"),
    setting("master_key", Kind::Keys, None, "guards what the store keeps secret, and seals what nodes share over Redis, further ones only open; as above"),

    setting("razorpay.key_id",         Kind::Text, None, "Razorpay API key id; without it the sandbox bank is used and no money moves"),
    setting("razorpay.key_secret",     Kind::Secret(MIN_ISSUED), None, "Razorpay API key secret"),
    setting("razorpay.webhook_secret", Kind::Secrets(MIN_WEBHOOK), None, "secrets of the bank's webhooks; old ones stay valid while listed"),
    setting("razorpay.account_number", Kind::Text, None, "the account payouts leave from"),
    setting("razorpay.api_base",       Kind::HttpUrl, Some(BUILT_IN_RAZORPAY), "where the bank answers"),
    setting("razorpay.external_agent", Kind::Text, Some("external"), "the agent whose policy governs payouts that others made at the bank"),
    setting("razorpay.org",            Kind::Text, Some("default"), "the organisation whose account it is: it alone decides on payouts that others made there, and pays from it"),
    setting("razorpay.orgs",           Kind::List, Some(""), "further organisations that may pay from it; in sandbox mode every one may"),
    setting("auto_poll",          Kind::Switch,         Some("false"), "ask the bank regularly for payouts made elsewhere"),
    setting("poll_interval_secs", Kind::Number(5, 300), Some("30"), "how often to ask"),

    setting("retention.refused_days",  Kind::Number(0, 36_500), Some("90"), "how long refused proposals are kept, at least 1; 0 is for ever. Audit records are never dropped"),
    setting("retention.webhooks_days", Kind::Number(0, 36_500), Some("90"), "how long it is remembered which webhooks were seen, at least 7; 0 is for ever"),

    setting("safe_browsing.key",      Kind::Secret(MIN_ISSUED), None, "Google Safe Browsing key: checks vendor URLs"),
    setting("safe_browsing.api_base", Kind::HttpUrl, Some("https://safebrowsing.googleapis.com"), "where Safe Browsing answers"),
    setting("auth.jwt.issuer",      Kind::HttpUrl, None, "the identity provider whose bearer tokens are taken in place of keys"),
    setting("auth.jwt.audience",    Kind::Text, None, "whom its tokens have to be for: the name it knows this server by"),
    setting("auth.jwt.jwks_url",    Kind::HttpUrl, None, "where its keys are; found by its discovery document if unset"),
    setting("auth.jwt.discovery",   Kind::Switch, None, "find its keys by its discovery document; true unless jwks_url is set"),
    setting("auth.jwt.org_claim",   Kind::Text, None, "the claim that names the organisation; the default one if unset"),
    setting("auth.jwt.roles_claim", Kind::Text, None, "the claim that lists the roles (dots lead into objects); the bearer is an agent if unset"),
    setting("auth.jwt.person_claim", Kind::Text, None, "the claim that names one of our people by address or id (sub, say); email if unset. Whoever it names decides as that person, everybody else as nobody"),
    setting("auth.jwt.agent_claim", Kind::Text, None, "the claim that names the agent; the subject if unset"),
    setting("gleif.api_base",         Kind::HttpUrl, Some("https://api.gleif.org"), "where GLEIF answers: verifies legal entities"),

    setting("slack.bot_token",      Kind::Secret(MIN_ISSUED), None, "Slack bot token: asks people about held proposals"),
    setting("slack.channel_id",     Kind::Text, None, "the channel to ask in"),
    setting("slack.signing_secret", Kind::Secret(MIN_ISSUED), None, "proves that a button press came from Slack"),
    setting("slack.team_ids",       Kind::List, Some(""), "teams whose users may decide; left out, the bot's own team, which Slack is asked for"),
    setting("slack.api_base",       Kind::HttpUrl, Some("https://slack.com"), "where Slack answers"),
    setting("ntfy.url",   Kind::HttpUrl, Some("https://ntfy.sh"), "where ntfy answers: told when Slack is off or failing"),
    setting("ntfy.topic", Kind::Text, None, "the topic to tell"),
    setting("ntfy.token", Kind::Secret(MIN_ISSUED), None, "access token of a protected topic"),

    setting("alert_on", Kind::List, Some("RISK_HIGH,DOMAIN_BLOCKED,LIMIT_EXCEEDED,NO_POLICY"), "reasons of refusals that people are told of"),

    setting("sources.sqlite_dirs", Kind::List, Some(""), "folders in which SQLite files of sources may lie; none without it"),
    setting("sources.private_allowed", Kind::List, Some(""), "private networks that sources may reach that ask for it (`allow_private`), like 10.1.0.0/16; none without it, link-local ones never"),
    setting("sources.orgs", Kind::List, Some("default"), "organisations whose sources may reach what this configuration names: SQLite folders, private networks, programs; `*` for all"),
    setting("access.default", Kind::OneOf(&["server", "deny"]), Some("server"), "a call of which no access rule says anything: `server` lets a server's key use its tools and a key without a server all, `deny` nobody"),
    setting("upstream.relist_secs", Kind::Number(1, 86_400), Some("60"), "how often each upstream is asked what tools it offers"),

    setting("requests.lease_secs",   Kind::Number(3, 3_600),       Some("30"),    "how long whoever answers a request holds it without a word"),
    setting("requests.ageing_secs",  Kind::Number(1, 86_400),      Some("60"),    "waiting so long is worth ten points of priority"),
    setting("requests.share",        Kind::Share,                  Some("0.5"),   "what one organisation may have in hand at most while others wait"),
    setting("requests.workers",      Kind::Number(0, 1_024),       Some("4"),     "requests of the queue answered at once by this process; 0 answers none"),
    setting("requests.poll_ms",      Kind::Number(50, 3_600_000),  Some("500"),   "how often the queue is looked at when nothing wakes a worker"),
    setting("requests.max_queue",    Kind::Number(1, 10_000_000),  Some("10000"), "requests that may wait"),
    setting("requests.keep_days",    Kind::Number(1, 36_500),      Some("30"),    "how long what was said in requests is kept"),
    setting("requests.first_byte_secs", Kind::Number(1, 600),      Some("60"),    "longest until a model's answer begins"),
    setting("requests.stall_secs",   Kind::Number(1, 600),         Some("30"),    "longest between two pieces of it"),
    setting("requests.max_body_bytes", Kind::Number(1_024, 67_108_864), Some("16777216"), "longest body of a request to a model"),
    setting("providers.breaker_failures",  Kind::Number(1, 1_000), Some("5"),     "failures in a row after which a model at a provider is left alone"),
    setting("providers.breaker_open_secs", Kind::Number(1, 3_600), Some("30"),    "for how long"),
    setting("prices.on_unknown", Kind::OneOf(&["refuse", "free", "ceiling"]), Some("refuse"), "what a model without a known price costs: nothing, as much as the dearest, or it is not asked"),
    setting("documents.embedding_model", Kind::Text,               None,          "model whose vectors documents are found by as well as by words"),
    setting("documents.rerank_model", Kind::Text,                  None,          "model that puts the passages in order that were found"),
    setting("documents.agents_write", Kind::Switch,                Some("false"), "agents may write documents, and delete their own"),
    setting("secrets.mode",      Kind::OneOf(&["block", "redact", "observe"]), Some("block"), "what is done about secrets in what is sent to models"),
    setting("secrets.exceptions", Kind::List, Some(""), "what is none: `TYPE /json/pointer`, `*` for any part, `**` for any rest"),

    setting("integrity.on_missing", Kind::OneOf(&["hold", "allow", "block"]), Some("hold"), "what to do when nothing could be scored"),
    setting("integrity.require_prompt", Kind::Switch, Some("false"), "hold a high-risk proposal that comes without the prompt behind it"),
    setting("integrity.model",    Kind::Text, None, "the model (or auto) that the broker itself asks about a proposal, twice, to score it; without it the sandbox's in sandbox mode, and nobody"),
    setting("integrity.block_at", Kind::Share, Some("0.45"), "block at or above this composite score"),
    setting("integrity.weights.output_instability", Kind::Share, Some("0.5"), "how much it counts that the samples' words differ; the weights of the signals there are always add up to 1"),
    setting("integrity.weights.numeric_variance",   Kind::Share, Some("0.3"), "how much it counts that the samples' numbers differ"),
    setting("integrity.weights.prompt_drift",       Kind::Share, Some("0.2"), "how much it counts that the prompt is not the usual one"),

    setting("log",           Kind::Text, Some("info,rmcp=warn"), "what to log: error, warn, info, debug, or a tracing filter"),
    setting("log_format",    Kind::OneOf(&["text", "json"]), Some("text"), "how logs look on stderr"),
    setting("otlp_endpoint", Kind::HttpUrl, None, "OpenTelemetry collector that gets traces"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::nearest::nearest;

    #[test]
    #[rustfmt::skip]
    fn a_slip_of_the_hand_finds_its_key() {
        let cases = [
            ("razorpay.key_scret", Some("razorpay.key_secret")),
            ("razorpy.key_id",     Some("razorpay.key_id")),
            ("token_ttl",          Some("token_ttl_secs")),
            ("token_ttl_sec",      Some("token_ttl_secs")),
            ("razorpay.listen",    Some("listen")),
            ("webhook_secret",     Some("razorpay.webhook_secret")),
            ("colour",             None),
        ];
        for (typed, expected) in cases {
            assert_eq!(nearest(typed, SETTINGS.iter().map(|s| s.key)), expected, "{typed}");
        }
    }

    #[test]
    fn keys_and_variables_are_unique() {
        let mut names: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
