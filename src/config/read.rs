//! Turns the texts of the layers into typed settings, and collects what is wrong with them.
//!
//! After a mistake it goes on with a stand-in, so that all mistakes are told at once; a
//! configuration with a stand-in in it is never handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::layers::{Environment, Found, Layers};
use super::secret::{self, ConnUrl, KeyBytes, Secret, Weak};
use super::settings::{self, Kind, Setting};
use super::{
    Config, DATABASE_FILE, Jwt, LogFormat, Ntfy, Razorpay, RazorpayKey, SafeBrowsing, Slack,
    models, programs, show, upstream, webhooks,
};
use crate::broker::core::models::{ModelSettings, OnUnknownPrice};
use crate::connector::jwt::Expected;
use crate::domain::account::{Holders, Payers};
use crate::domain::facts::OnMissing;
use crate::domain::ids::{AgentId, OrgId};
use crate::domain::reason::Reason;
use crate::domain::retention::Retention;
use crate::governance::access::rules::ByDefault;
use crate::governance::integrity::Weights;

/// Everything the layers say, and every mistake in it.
pub(super) fn config(layers: &Layers, environment: &Environment) -> (Config, Vec<String>) {
    let mut reader = Reader {
        found: &layers.found,
        problems: layers.problems.clone(),
        warnings: layers.warnings.clone(),
    };
    let config = reader.config(layers, environment);
    (config, reader.problems)
}

struct Reader<'a> {
    found: &'a BTreeMap<&'static str, Found>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn config(&mut self, layers: &Layers, environment: &Environment) -> Config {
        let data_dir = PathBuf::from(self.text("data_dir").unwrap_or_default());
        let database_url = self.database(&data_dir);
        let mut config = Config {
            database_url,
            redis_url: self.redis(),
            listen: self.address("listen"),
            sandbox_listen: self.address("sandbox_listen"),
            public_hosts: self.list("public_hosts"),
            public_url: self.http_url("public_url"),
            sqlite_dirs: self
                .list("sources.sqlite_dirs")
                .into_iter()
                .map(PathBuf::from)
                .collect(),
            source_orgs: self.list("sources.orgs"),
            private_allowed: self.networks("sources.private_allowed"),
            programs: programs::programs(&layers.programs, environment, &mut self.problems),
            allowed_origins: self.list("allowed_origins"),
            tls_in_front: self.switch("tls_in_front"),
            token_ttl_secs: self.number("token_ttl_secs"),
            allowed_ttl_secs: self.number("allowed_ttl_secs"),
            held_ttl_secs: self.number("held_ttl_secs"),
            store_wait: self.secs("store_wait_secs"),
            call_deadline: self.secs("call_deadline_secs"),
            budget_timezone: self.zone("budget_timezone"),
            grouped_writes: self.switch("grouped_writes"),
            token_keys: self.keys("token_key"),
            audit_key: self.key("audit_key"),
            master_keys: self.keys("master_key"),
            razorpay: self.razorpay(),
            auto_poll: self.switch("auto_poll"),
            poll_interval: self.secs("poll_interval_secs"),
            retention: Retention {
                refused_days: self.days("retention.refused_days", 1),
                webhooks_days: self.days("retention.webhooks_days", 7),
            },
            safe_browsing: SafeBrowsing {
                key: self.secret("safe_browsing.key"),
                api_base: self.http_url("safe_browsing.api_base").unwrap_or_default(),
            },
            gleif_api_base: self.http_url("gleif.api_base").unwrap_or_default(),
            jwt: self.jwt(),
            slack: self.slack(),
            ntfy: self.ntfy(),
            webhooks: webhooks::webhooks(&layers.webhooks, environment, &mut self.problems),
            alert_on: self.alert_on(),
            on_missing: self.on_missing(),
            access_default: self.access_default(),
            require_prompt: self.switch("integrity.require_prompt"),
            integrity_model: self.text("integrity.model"),
            block_at: self.share("integrity.block_at"),
            weights: self.weights(),
            log: self.text("log").unwrap_or_default(),
            log_format: match self.text("log_format").as_deref() {
                Some("json") => LogFormat::Json,
                _ => LogFormat::Text,
            },
            otlp_endpoint: self.http_url("otlp_endpoint"),
            tools: upstream::tools(&layers.tools, &mut self.problems),
            inherited: upstream::inherited(environment),
            relist_every: self.secs("upstream.relist_secs"),
            upstreams: upstream::upstreams(&layers.upstream, environment, &mut self.problems),
            models: self.models(layers, environment),
            warnings: Vec::new(),
            file: layers.file.clone(),
            rows: Vec::new(),
            data_dir,
        };
        self.one_of("log_format");
        self.together(&config);
        self.look_around(&config, layers);
        config.warnings = std::mem::take(&mut self.warnings);
        config.rows = show::rows(layers, &config);
        config
    }

    /// What only shows when settings are seen together.
    fn together(&mut self, config: &Config) {
        if config.on_postgres() {
            for (key, given) in [
                ("token_key", !config.token_keys.is_empty()),
                ("audit_key", config.audit_key.is_some()),
                ("master_key", !config.master_keys.is_empty()),
            ] {
                // A key that was given but refused has been told already.
                if !given && !self.found.contains_key(key) {
                    let variable = settings::variable(key);
                    self.problems.push(format!(
                        "{variable} is missing: on Postgres the nodes share their keys, so none is generated; give the same hex of 32 random bytes or more to each node ({variable} or {variable}_FILE; `openssl rand -hex 32` makes one)"
                    ));
                }
            }
        }
        if config.token_ttl_secs > config.allowed_ttl_secs {
            self.problems.push(format!(
                "token_ttl_secs ({}) is longer than allowed_ttl_secs ({}): a token cannot outlive its proposal",
                config.token_ttl_secs, config.allowed_ttl_secs
            ));
        }
        if let Some(key) = &config.razorpay.key {
            if config.razorpay.account_number.is_none() {
                self.missing("razorpay.account_number", "razorpay.key_id is set");
            }
            // Test keys move no money, and a sandbox in the next container speaks no TLS.
            let test = key.id.starts_with("rzp_test_");
            if is_clear_to_others(&config.razorpay.api_base) && !test {
                let place = self.place("razorpay.api_base");
                self.problems.push(format!(
                    "{place} is http://, and a live key would travel in clear text: use https://"
                ));
            }
        }
    }

    fn look_around(&mut self, config: &Config, layers: &Layers) {
        if layers.secret_in_file
            && let Some(file) = &layers.file
            && is_open_to_others(file)
        {
            self.warnings.push(format!(
                "{} holds secrets and others can read it: `chmod 600 {}`",
                file.display(),
                file.display()
            ));
        }
        if !config.listen.ip().is_loopback() && config.public_hosts.is_empty() {
            self.warnings.push(format!(
                "listening on {} for other machines, and public_hosts is empty: requests under any name but localhost and plain addresses are refused",
                config.listen
            ));
        }
    }

    fn models(&mut self, layers: &Layers, environment: &Environment) -> ModelSettings {
        let exceptions = self.list("secrets.exceptions");
        let exceptions = exceptions.iter().filter_map(|text| match text.parse() {
            Ok(exception) => Some(exception),
            Err(why) => {
                let place = self.place("secrets.exceptions");
                self.problems.push(format!("{place}: each {why}"));
                None
            }
        });
        let exceptions = exceptions.collect();
        self.one_of("secrets.mode");
        self.one_of("prices.on_unknown");
        let mode = self.text("secrets.mode").and_then(|text| text.parse().ok());
        let number = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        ModelSettings {
            providers: models::providers(&layers.providers, environment, &mut self.problems),
            private_orgs: self.list("sources.orgs"),
            sandbox: None,
            routes: models::routes(&layers.routes, &mut self.problems),
            on_unknown_price: match self.text("prices.on_unknown").as_deref() {
                Some("free") => OnUnknownPrice::Free,
                Some("ceiling") => OnUnknownPrice::Ceiling,
                _ => OnUnknownPrice::Refuse,
            },
            secrets: mode.unwrap_or_default(),
            exceptions,
            agents_write: self.switch("documents.agents_write"),
            embedding_model: self.text("documents.embedding_model"),
            rerank_model: self.text("documents.rerank_model"),
            lease: self.secs("requests.lease_secs"),
            ageing: self.secs("requests.ageing_secs"),
            share_percent: percent(self.share("requests.share")),
            workers: number(self.number("requests.workers")),
            poll: Duration::from_millis(self.number("requests.poll_ms").unsigned_abs()),
            max_queue: self.number("requests.max_queue").unsigned_abs(),
            keep_days: u32::try_from(self.number("requests.keep_days")).unwrap_or(u32::MAX),
            first_byte: self.secs("requests.first_byte_secs"),
            stall: self.secs("requests.stall_secs"),
            max_body_bytes: number(self.number("requests.max_body_bytes")),
            breaker_failures: u32::try_from(self.number("providers.breaker_failures"))
                .unwrap_or(u32::MAX),
            breaker_open: self.secs("providers.breaker_open_secs"),
        }
    }

    fn razorpay(&mut self) -> Razorpay {
        let id = self.text("razorpay.key_id");
        let secret = self.secret("razorpay.key_secret");
        let key = match (id, secret) {
            (Some(id), Some(secret)) => Some(RazorpayKey { id, secret }),
            (Some(_), None) => {
                self.missing("razorpay.key_secret", "razorpay.key_id is set");
                None
            }
            (None, Some(_)) => {
                self.missing("razorpay.key_id", "razorpay.key_secret is set");
                None
            }
            (None, None) => None,
        };
        let holders = self.holders(key.is_none());
        Razorpay {
            key,
            webhook_secrets: self.secrets("razorpay.webhook_secret"),
            account_number: self.text("razorpay.account_number"),
            api_base: self.http_url("razorpay.api_base").unwrap_or_default(),
            external_agent: self.external_agent(),
            holders,
        }
    }

    fn jwt(&mut self) -> Option<Jwt> {
        const REST: [&str; 7] = [
            "audience",
            "jwks_url",
            "discovery",
            "org_claim",
            "roles_claim",
            "agent_claim",
            "person_claim",
        ];
        // The issuer is compared letter by letter, a slash at its end included.
        let issuer = self.text("auth.jwt.issuer");
        let Some(issuer) = issuer else {
            let key = |name: &&str| format!("auth.jwt.{name}");
            let lonely = REST.iter().map(key).find(|key| self.one(key).is_some());
            if let Some(lonely) = lonely {
                self.missing("auth.jwt.issuer", &format!("{lonely} is set"));
            }
            return None;
        };
        self.http_url("auth.jwt.issuer");
        let audience = self.text("auth.jwt.audience");
        if audience.is_none() {
            self.missing("auth.jwt.audience", "auth.jwt.issuer is set");
        }
        let jwks_url = self.http_url("auth.jwt.jwks_url");
        let discovers = self.one("auth.jwt.discovery").map(str::to_owned);
        if discovers.is_some() && self.switch("auth.jwt.discovery") == jwks_url.is_some() {
            self.problems.push(
                "`auth.jwt`: the keys are either at `jwks_url` or found by `discovery`: set one"
                    .to_owned(),
            );
        }
        for (key, url) in [
            ("auth.jwt.issuer", Some(&issuer)),
            ("auth.jwt.jwks_url", jwks_url.as_ref()),
        ] {
            let asked = key == "auth.jwt.jwks_url" || jwks_url.is_none();
            if asked && url.is_some_and(|url| is_clear_to_others(url)) {
                let place = self.place(key);
                self.problems.push(format!(
                    "{place} is http://, and whoever is on the way could have any token taken: use https://"
                ));
            }
        }
        Some(Jwt {
            expected: Expected {
                issuer,
                audience: audience?,
                org_claim: self.text("auth.jwt.org_claim"),
                roles_claim: self.text("auth.jwt.roles_claim"),
                agent_claim: self.text("auth.jwt.agent_claim"),
                person_claim: self.text("auth.jwt.person_claim"),
            },
            jwks_url,
        })
    }

    fn slack(&mut self) -> Option<Slack> {
        let bot_token = self.secret("slack.bot_token");
        let channel_id = self.text("slack.channel_id");
        let signing_secret = self.secret("slack.signing_secret");
        let team_ids = self.list("slack.team_ids");
        let api_base = self.http_url("slack.api_base").unwrap_or_default();
        let bot_token = bot_token?;
        if channel_id.is_none() {
            self.missing("slack.channel_id", "slack.bot_token is set");
        }
        Some(Slack {
            bot_token,
            channel_id: channel_id?,
            signing_secret,
            team_ids,
            api_base,
        })
    }

    fn ntfy(&mut self) -> Option<Ntfy> {
        let url = self.http_url("ntfy.url").unwrap_or_default();
        let token = self.secret("ntfy.token");
        let topic = self.text("ntfy.topic")?;
        Some(Ntfy { url, topic, token })
    }

    /// Whose account it is. In a sandbox everybody plays.
    fn holders(&mut self, sandbox: bool) -> Holders {
        let owner = self.text("razorpay.org").unwrap_or_default();
        let owner = self.organisation("razorpay.org", &owner);
        let named = self.list("razorpay.orgs");
        let named: BTreeSet<OrgId> = named
            .iter()
            .filter_map(|name| self.organisation("razorpay.orgs", name))
            .collect();
        Holders {
            owner: owner.unwrap_or_default(),
            payers: match sandbox {
                true => Payers::Everybody,
                false => Payers::Only(named),
            },
        }
    }

    fn organisation(&mut self, key: &str, name: &str) -> Option<OrgId> {
        let read = name.parse().ok();
        if read.is_none() {
            let place = self.place(key);
            self.problems.push(format!(
                "{place} is no name of an organisation: 1 to 64 of `[A-Za-z0-9._-]` belong here"
            ));
        }
        read
    }

    fn external_agent(&mut self) -> AgentId {
        let key = "razorpay.external_agent";
        let name: Option<AgentId> = self.text(key).and_then(|text| text.parse().ok());
        let Some(name) = name else {
            let place = self.place(key);
            self.problems.push(format!(
                "{place} is no name of an agent: 1 to 128 letters, digits and any of ._:@- belong here"
            ));
            return AgentId::external();
        };
        if OUR_AGENTS
            .iter()
            .any(|ours| name.as_str().eq_ignore_ascii_case(ours))
        {
            let place = self.place(key);
            self.problems.push(format!(
                "{place} names an agent that somebody acts as: payouts that others make are decided in this name, so it has to be nobody's"
            ));
        }
        name
    }

    fn alert_on(&mut self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for code in self.list("alert_on") {
            match Reason::ALL.iter().find(|reason| reason.code() == code) {
                Some(reason) => reasons.push(*reason),
                None => {
                    let place = self.place("alert_on");
                    let known: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
                    self.problems.push(format!(
                        "{place} names a reason that does not exist; the reasons are {}",
                        known.join(", ")
                    ));
                }
            }
        }
        reasons
    }

    fn access_default(&mut self) -> ByDefault {
        match self.one_of("access.default").as_deref() {
            Some("deny") => ByDefault::Deny,
            _ => ByDefault::Server,
        }
    }

    fn on_missing(&mut self) -> OnMissing {
        match self.one_of("integrity.on_missing").as_deref() {
            Some("allow") => OnMissing::Allow,
            Some("block") => OnMissing::Block,
            _ => OnMissing::Hold,
        }
    }

    fn weights(&mut self) -> Weights {
        let before = self.problems.len();
        let weights = Weights {
            output_instability: self.share("integrity.weights.output_instability"),
            numeric_variance: self.share("integrity.weights.numeric_variance"),
            prompt_drift: self.share("integrity.weights.prompt_drift"),
        };
        if self.problems.len() == before && !weights.are_usable() {
            self.problems.push(
                "`integrity.weights` (HUNDI_INTEGRITY_WEIGHTS_...): all three are 0, and nothing would ever be scored; give one of them some weight"
                    .to_owned(),
            );
        }
        weights
    }

    fn database(&mut self, data_dir: &Path) -> ConnUrl {
        let Some(text) = self.text("database_url") else {
            let path = data_dir.join(DATABASE_FILE);
            return ConnUrl::new(format!("sqlite://{}", path.display()));
        };
        let postgres = text.starts_with("postgres://") || text.starts_with("postgresql://");
        let sqlite = text
            .strip_prefix("sqlite:")
            .map(|path| path.trim_start_matches('/'));
        match sqlite {
            Some(path) if path.starts_with(":memory:") => self.problems.push(
                "`database_url` (HUNDI_DATABASE_URL): a store in memory forgets which tokens were used; name a file"
                    .to_owned(),
            ),
            Some(path) if !path.is_empty() => {}
            _ if postgres && url::Url::parse(&text).is_ok() => {}
            _ => self.wrong("database_url"),
        }
        ConnUrl::new(text)
    }

    fn redis(&mut self) -> Option<ConnUrl> {
        const SCHEMES: [&str; 8] = [
            "redis",
            "rediss",
            "redis+unix",
            "unix",
            "redis-cluster",
            "rediss-cluster",
            "redis-sentinel",
            "rediss-sentinel",
        ];
        let text = self.text("redis_url")?;
        let scheme = text.split("://").next().unwrap_or_default();
        if !SCHEMES.contains(&scheme) || !text.contains("://") {
            self.wrong("redis_url");
        }
        Some(ConnUrl::new(text))
    }

    fn one(&self, key: &str) -> Option<&str> {
        let found = self.found.get(key)?;
        found.values.first().map(|text| text.as_str())
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.one(key)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    }

    fn list(&mut self, key: &str) -> Vec<String> {
        let Some(found) = self.found.get(key) else {
            return Vec::new();
        };
        let texts = found.values.iter().map(|text| text.trim().to_owned());
        texts.filter(|text| !text.is_empty()).collect()
    }

    /// Networks, or single addresses.
    fn networks(&mut self, key: &str) -> Vec<IpNet> {
        let texts = self.list(key);
        let read = |text: &String| {
            let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
            text.parse::<IpNet>().ok().or_else(single)
        };
        let networks: Option<Vec<IpNet>> = texts.iter().map(read).collect();
        networks.unwrap_or_else(|| {
            let place = self.place(key);
            self.problems.push(format!(
                "{place} cannot be read: networks like 10.0.0.0/8, separated by commas, belong here"
            ));
            Vec::new()
        })
    }

    fn number(&mut self, key: &str) -> i64 {
        let range = match Setting::find(key).map(|setting| setting.kind) {
            Some(Kind::Number(low, high)) => low..=high,
            _ => i64::MIN..=i64::MAX,
        };
        let number = self.one(key).and_then(|text| text.trim().parse().ok());
        number.filter(|n| range.contains(n)).unwrap_or_else(|| {
            self.wrong(key);
            *range.start()
        })
    }

    /// Days to keep something, at least so many; `None` is for ever.
    fn days(&mut self, key: &str, least: u32) -> Option<u32> {
        let days = u32::try_from(self.number(key)).unwrap_or(0);
        (days > 0).then_some(days.max(least))
    }

    fn secs(&mut self, key: &str) -> Duration {
        Duration::from_secs(u64::try_from(self.number(key)).unwrap_or(1))
    }

    fn share(&mut self, key: &str) -> f64 {
        let share = self
            .one(key)
            .and_then(|text| text.trim().parse::<f64>().ok());
        share
            .filter(|x| (0.0..=1.0).contains(x))
            .unwrap_or_else(|| {
                self.wrong(key);
                0.0
            })
    }

    fn switch(&mut self, key: &str) -> bool {
        match self
            .one(key)
            .map(|text| text.trim().to_ascii_lowercase())
            .as_deref()
        {
            Some("true" | "1" | "yes" | "on") => true,
            Some("false" | "0" | "no" | "off") => false,
            _ => {
                self.wrong(key);
                false
            }
        }
    }

    fn address(&mut self, key: &str) -> SocketAddr {
        let text = self.one(key).unwrap_or_default().trim();
        // The one name that needs no resolver.
        let text = text.replacen("localhost:", "127.0.0.1:", 1);
        text.parse().unwrap_or_else(|_| {
            self.wrong(key);
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn http_url(&mut self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        if !is_plain_http(&text) {
            self.wrong(key);
        }
        Some(text.trim_end_matches('/').to_owned())
    }

    fn zone(&mut self, key: &str) -> TimeZone {
        let text = self.text(key).unwrap_or_default();
        TimeZone::get(&text).unwrap_or_else(|_| {
            self.wrong(key);
            TimeZone::UTC
        })
    }

    fn one_of(&mut self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        if let Some(Kind::OneOf(words)) = Setting::find(key).map(|setting| setting.kind)
            && !words.contains(&text.as_str())
        {
            self.wrong(key);
        }
        Some(text)
    }

    fn secret(&mut self, key: &str) -> Option<Secret> {
        self.secrets(key).into_iter().next()
    }

    fn secrets(&mut self, key: &str) -> Vec<Secret> {
        let (Some(found), Some(setting)) = (self.found.get(key), Setting::find(key)) else {
            return Vec::new();
        };
        let (Kind::Secret(min) | Kind::Secrets(min)) = setting.kind else {
            return Vec::new();
        };
        for text in &found.values {
            if let Err(weak) = secret::check(text, min) {
                self.weak(key, &weak);
            }
        }
        found
            .values
            .iter()
            .map(|text| Secret::new(text.as_str()))
            .collect()
    }

    fn key(&mut self, key: &str) -> Option<KeyBytes> {
        self.keys(key).into_iter().next()
    }

    fn keys(&mut self, key: &str) -> Vec<KeyBytes> {
        let mut keys = Vec::new();
        for text in self.found.get(key).map_or(&[][..], |found| &found.values) {
            match KeyBytes::from_hex(text) {
                Ok(bytes) => keys.push(bytes),
                Err(weak) => self.weak(key, &weak),
            }
        }
        keys
    }

    fn weak(&mut self, key: &str, weak: &Weak) {
        let place = self.place(key);
        self.problems.push(format!("{place} {weak}"));
    }

    fn wrong(&mut self, key: &str) {
        let place = self.place(key);
        let wanted = Setting::find(key).map_or_else(String::new, |setting| setting.kind.wanted());
        self.problems
            .push(format!("{place} cannot be read: {wanted}"));
    }

    fn missing(&mut self, key: &str, because: &str) {
        self.problems.push(format!(
            "{} (`{key}`) is missing, and {because}: give all of them or none",
            settings::variable(key)
        ));
    }

    fn place(&self, key: &str) -> String {
        let variable = settings::variable(key);
        match self.found.get(key) {
            Some(found) if found.source.layer() != "default" => {
                format!("{variable} (`{key}`, from {})", found.source)
            }
            _ => format!("{variable} (`{key}`)"),
        }
    }
}

/// Agents that there are without anybody's making: the one of the first start, and the broker itself.
const OUR_AGENTS: [&str; 2] = [crate::broker::access::first::FIRST_AGENT, "hundi"];

pub(super) fn is_plain_http(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

/// Whether what is sent there can be read on the way.
fn is_clear_to_others(base: &str) -> bool {
    let Ok(url) = url::Url::parse(base) else {
        return false;
    };
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => true,
    };
    url.scheme() == "http" && !local
}

/// Whether others than the owner can read a file.
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
}

/// A share of one in hundredths.
#[allow(clippy::float_arithmetic, reason = "a share, not money")]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and 100"
)]
fn percent(share: f64) -> u8 {
    (share * 100.0).round() as u8
}
