//! The composition root: configuration in, a working broker out. Everything but `entry` meets here
//! and nowhere else.

mod folder;
mod mark;
mod outside;

pub use folder::SERVER_FILE;
pub use mark::{Adopt, Mismatch, standing};
pub use outside::kept_sandbox_secret;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ambient::Ambient;
use crate::broker::access::first::{FirstKeys, first_agent_id};
use crate::broker::core::load::Bounds;
use crate::broker::requests::Requests;
use crate::broker::{Broker, ModelPorts, Ports, Sampler, Settings, Trouble};
use crate::config::secret::KeyBytes;
use crate::config::{Config, Handshake, Transport, Upstream};
use crate::connector::{razorpay, registry};
use crate::domain::ids::{AgentId, OrgId, ToolName, hex};
use crate::domain::mark::Held;
use crate::domain::principal::{Principal, Role};
use crate::domain::requests::provider::{Provider, USUAL_WEIGHT};
use crate::domain::secret::Secret;
use crate::domain::tool::Tool;
use crate::domain::upstream::UpstreamRules;
use crate::ephemeral::local::Local;
use crate::ephemeral::redis::Redis;
use crate::ephemeral::{Bucket, Ephemeral};
use crate::keyring::masters;
use crate::sandbox::{self, SandboxOptions};
use crate::sidecar;
use crate::store::spool::Folder;
use crate::store::{self, Address};
use crate::wire::IssuerDocument;
use crate::wire::ReputationSource;
use crate::wire::gleif::Gleif;
use crate::wire::group::Watchdog;
use crate::wire::guarded::Guarded;
use crate::wire::jwks::Jwks;
use crate::wire::mcp::{Protocol, UpstreamSpec, Upstreams};
use crate::wire::model::Providers;
use crate::wire::post::Poster;
use crate::wire::program::ProgramSpec;
use crate::wire::reputation::SafeBrowsing;
use crate::wire::sources::{Allowed, Either, Registry};

/// The upstream that our own sidecar is.
const BANK: &str = "razorpay";
/// The account that the sandbox bank pays from.
const SANDBOX_ACCOUNT: &str = sandbox::ACCOUNT_NUMBER;
/// How long a start waits for upstreams to list their tools; those that are slower come later.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// How long to wait for a sandbox bank that another process runs.
const SANDBOX_PROBE: Duration = Duration::from_secs(2);

/// A working broker and what keeps it going.
pub struct App {
    /// The use cases.
    pub broker: Broker,
    /// Whose money a commit moves, for people.
    pub bank_told: String,
    /// The names of this process's keys, all of them the store's.
    pub key_names: Held,
    /// The sandbox bank's address, in sandbox mode.
    pub sandbox_url: Option<String>,
    upstreams: Arc<Upstreams>,
    closing: CancellationToken,
    bank: Option<JoinHandle<()>>,
    sandbox_secret: Option<Secret>,
}

impl App {
    /// Builds everything the configuration asks for. `program` is this very program, which is
    /// started again as the sidecar.
    pub async fn build(config: &Config, program: &Path) -> Result<Self> {
        Self::with_bank(config, program, true, Adopt::No).await
    }

    /// The same for one command on the store, beside a server or without one: no bank is started.
    pub async fn beside(config: &Config, program: &Path) -> Result<Self> {
        Self::with_bank(config, program, false, Adopt::No).await
    }

    /// The same for the one command by which a person says that store and configuration belong
    /// together.
    pub async fn adopting(config: &Config, program: &Path) -> Result<Self> {
        Self::with_bank(config, program, false, Adopt::Yes).await
    }

    async fn with_bank(
        config: &Config,
        program: &Path,
        start_bank: bool,
        adopt: Adopt,
    ) -> Result<Self> {
        // Fails only if a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ambient = Ambient::real();
        folder::look_over(config, start_bank)?;
        folder::refuse_own_as_source(config)?;
        // Whoever runs one command sees for himself that the store is away.
        let patience = match start_bank {
            true => config.store_wait,
            false => Duration::ZERO,
        };
        let opened = open_store(config, &ambient, patience).await?;
        let (store, audience) = (opened.store, opened.instance);
        let models = ModelPorts {
            store: opened.requests,
            search: opened.search,
            wire: Arc::new(Providers::new(&config.private_allowed).map_err(anyhow::Error::msg)?),
        };
        // Before anything is read of the store, let alone done with it.
        let keys = mark::settle(config, &ambient, &*store, adopt).await?;
        folder::refuse_sandbox(config)?;
        let key_names = keys.held()?;
        // A command beside a server counts no requests, and nobody waits for its word.
        let ephemeral = match config.redis_url.as_ref().filter(|_| start_bank) {
            Some(url) => shared(url.expose(), &audience, &ambient, &keys.masters)?,
            None => Arc::new(Local::new()),
        };
        let closing = CancellationToken::new();
        let (sandbox_url, bank) = if config.sandbox_mode() && !start_bank {
            (Some(format!("http://{}", config.sandbox_listen)), None)
        } else if config.sandbox_mode() {
            let (url, bank) = open_sandbox(config, &ambient, &closing).await?;
            (Some(url), bank)
        } else {
            (None, None)
        };
        let upstreams = Arc::new(Upstreams::new(specs(
            config,
            program,
            sandbox_url.as_deref(),
        )));
        let sandbox_secret = outside::sandbox_secret(config, &ambient)?;
        let spool = Arc::new(Folder::new(&config.data_dir, ambient.clone()));
        if start_bank {
            // Only whoever serves starts here; a command beside a server must leave its file alone.
            spool.adopt().context("the spool of refusals")?;
        }
        let sources = Arc::new(Registry::new(Allowed {
            sqlite_dirs: config.sqlite_dirs.clone(),
            private: config.private_allowed.clone(),
            databases: true,
            programs: programs(config),
            watchdog: Some(Watchdog::new(program)),
            orgs: config.source_orgs.clone(),
        }));
        let asking = config.integrity_model.as_ref().map(|model| {
            Arc::new(AskingModel {
                requests: OnceLock::new(),
                model: model.clone(),
            })
        });
        let sampler = match &asking {
            Some(asking) => Some(asking.clone() as Arc<dyn Sampler>),
            None => config
                .sandbox_mode()
                .then(|| Arc::new(SandboxModel) as Arc<dyn Sampler>),
        };
        let ports = Ports {
            ambient,
            store,
            ephemeral,
            wire: Arc::new(Either {
                sources: sources.clone(),
                others: Arc::new(Guarded::new(
                    upstreams.clone(),
                    BANK,
                    "bank",
                    razorpay::in_trouble,
                )),
            }),
            sources: Some(sources),
            masters: masters(&keys.masters),
            keys: Arc::new(keys.ring),
            sampler,
            reputation: reputation(config)?,
            entities: Some(Arc::new(
                Gleif::new(&config.gleif_api_base).context("GLEIF")?,
            )),
            issuer: issuer(config)?,
            outbound: Some(Arc::new(Poster::new().context("the HTTP client")?)),
            audit_key: Some(keys.audit),
            models: Some(models),
            spool: Some(spool),
        };
        let mut settings = settings(config, audience, sandbox_secret.clone());
        settings.masters = key_names.masters.clone();
        settings.models.sandbox = sandbox_url.as_deref().map(sandbox_models);
        let broker = Broker::new(ports, settings, tools(config));
        if let Some(asking) = asking {
            // It is set once, here.
            let _ = asking.requests.set(broker.requests.clone());
        }
        // A source that is away keeps nobody from starting.
        if let Err(trouble) = broker.tools.look_at_registry().await {
            tracing::warn!(%trouble, "registered tools are not read yet");
        }
        if start_bank {
            // A command must still be able to revoke such a key.
            broker.access.bank_agent_is_free().await?;
            broker.access.bank_is_somebodys().await?;
            broker.masters_are_here().await?;
        }
        Ok(Self {
            broker,
            bank_told: mark::bank(config).to_string(),
            key_names,
            sandbox_url,
            upstreams,
            closing,
            bank,
            sandbox_secret,
        })
    }

    /// Has the sandbox bank, if this process runs it, tell this server of its payouts by webhook.
    /// `address` is where the server listens.
    pub async fn hear_from_bank(&self, address: SocketAddr) -> Result<()> {
        let (Some(url), Some(secret), Some(_)) =
            (&self.sandbox_url, &self.sandbox_secret, &self.bank)
        else {
            return Ok(());
        };
        let host = match address.ip() {
            ip if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
            _ => address,
        };
        let target = json!({
            "url": format!("http://{host}/webhooks/razorpay"), "secret": secret.expose(),
        });
        let client = reqwest::Client::builder()
            .timeout(SANDBOX_PROBE)
            .no_proxy()
            .build()?;
        let aimed = client
            .post(format!("{url}/sandbox/webhook"))
            .header("content-type", "application/json")
            .body(target.to_string())
            .send()
            .await?;
        aimed.error_for_status()?;
        Ok(())
    }

    /// Makes the first keys, once per store, for a door that can show them; and what
    /// [`App::welcome_agent`] does.
    pub async fn welcome(&self) -> Result<Option<FirstKeys>, Trouble> {
        self.welcome_agent().await?;
        self.broker.access.bootstrap_keys().await
    }

    /// In sandbox mode gives the first agent a policy, once per store, so that a newcomer's first
    /// proposal is allowed.
    pub async fn welcome_agent(&self) -> Result<(), Trouble> {
        if self.broker.access.begin().await? && self.sandbox_url.is_some() {
            let ours = Principal {
                id: "hundi".to_owned(),
                name: "hundi".to_owned(),
                org: OrgId::default(),
                roles: Role::Admin.into(),
                agent: None,
                person: None,
                server: None,
            };
            self.broker
                .pay
                .seed_sandbox_policy(&ours, &first_agent_id()?)
                .await?;
            // Payouts made at the sandbox bank itself are governed under this agent's policy.
            let owner = Principal {
                org: self.broker.settings().bank.holders.owner.clone(),
                ..ours
            };
            self.broker
                .pay
                .seed_sandbox_policy(&owner, &AgentId::external())
                .await?;
        }
        Ok(())
    }

    /// Lists the tools of the upstreams for the first time, so that whoever connects next sees
    /// them. Waits for slow ones only so long; the duties go on with it. Fails if the configuration
    /// has a rule for a tool that nobody knows: a limit that was meant to be there is not.
    pub async fn first_look(&self) -> Result<(), Trouble> {
        let looked = tokio::time::timeout(FIRST_LOOK, self.broker.tools.tend_tools()).await;
        looked.unwrap_or(Ok(()))?;
        let unknown = self.broker.tools.unknown_tool_rules().await?;
        if unknown.is_empty() {
            return Ok(());
        }
        Err(Trouble::InvalidRequest(unknown.join("\n")))
    }

    /// Ends children and the sandbox bank. Call it when no commit is under way any more.
    pub async fn shut_down(self) {
        self.upstreams.shut_down().await;
        self.closing.cancel();
        if let Some(bank) = self.bank {
            // It ends by itself once told; a panic of the bank is not ours to pass on.
            let _ = bank.await;
        }
    }
}

/// The sandbox's built-in model, as the broker's own.
struct SandboxModel;

#[async_trait]
impl Sampler for SandboxModel {
    async fn samples(
        &self,
        tool: &ToolName,
        args: &Value,
        prompt: Option<&str>,
    ) -> Result<Vec<String>, String> {
        Ok(sandbox::model::samples(tool.as_str(), args, prompt).to_vec())
    }
}

/// The sandbox's built-in model, as a provider that is asked over HTTP like any other.
fn sandbox_models(url: &str) -> Provider {
    Provider {
        name: "sandbox".to_owned(),
        base_url: format!("{url}{}/v1", sandbox::models::PATH),
        models: sandbox::models::NAMES.map(str::to_owned).to_vec(),
        weight: USUAL_WEIGHT,
        allow_private: true,
        ..Provider::default()
    }
}

/// A model that the operator names, as the broker's own: asked like any other, through the broker.
struct AskingModel {
    requests: OnceLock<Requests>,
    model: String,
}

#[async_trait]
impl Sampler for AskingModel {
    async fn samples(
        &self,
        tool: &ToolName,
        args: &Value,
        prompt: Option<&str>,
    ) -> Result<Vec<String>, String> {
        let requests = self.requests.get().ok_or("not started yet")?;
        let samples = requests.samples(&self.model, tool, args, prompt).await;
        samples.map_err(|trouble| {
            tracing::warn!(
                code = trouble.code(),
                "the broker's own model gave no answer"
            );
            trouble.to_string()
        })
    }
}

fn call_deadlines(config: &Config) -> BTreeMap<String, Duration> {
    let named = config.upstreams.iter().filter_map(|(name, upstream)| {
        let secs = upstream.limits.call_deadline_secs?;
        Some((name.clone(), Duration::from_secs(secs.into())))
    });
    named.collect()
}

/// Who tells the keys of the issuer of bearer tokens.
fn issuer(config: &Config) -> Result<Option<Arc<dyn IssuerDocument>>> {
    let Some(jwt) = &config.jwt else {
        return Ok(None);
    };
    let issuer = Jwks::new(&jwt.expected.issuer, jwt.jwks_url.as_deref());
    let issuer = issuer.map_err(anyhow::Error::msg).context("auth.jwt")?;
    Ok(Some(Arc::new(issuer)))
}

fn settings(config: &Config, audience: String, sandbox_secret: Option<Secret>) -> Settings {
    Settings {
        token_ttl_secs: config.token_ttl_secs,
        allowed_ttl_secs: config.allowed_ttl_secs,
        held_ttl_secs: config.held_ttl_secs,
        call_deadline: config.call_deadline,
        audience,
        zone: config.budget_timezone.clone(),
        on_missing: config.on_missing,
        require_prompt: config.require_prompt,
        block_at: config.block_at,
        weights: config.weights,
        bounds: Bounds::default(),
        masters: Vec::new(),
        access_default: config.access_default,
        retention: config.retention,
        models: config.models.clone(),
        upstreams: config
            .upstreams
            .iter()
            .map(|(name, upstream)| {
                let rules = UpstreamRules {
                    place: upstream.place(),
                    ..upstream.rules.clone()
                };
                (name.clone(), rules)
            })
            .collect(),
        call_deadlines: call_deadlines(config),
        tool_buckets: tool_buckets(config),
        always_held: config
            .tools
            .iter()
            .filter(|(_, told)| told.hold == Some(true))
            .map(|(name, _)| name.clone())
            .collect(),
        tool_rules: config.tools.keys().cloned().collect(),
        relist_every: config.relist_every,
        jwt: config.jwt.as_ref().map(|jwt| jwt.expected.clone()),
        unrecorded: config
            .tools
            .iter()
            .filter(|(_, told)| told.record_arguments == Some(false))
            .map(|(name, _)| name.clone())
            .collect(),
        people: outside::people(config),
        bank: outside::bank(config, sandbox_secret),
    }
}

/// The pace of single tools, as the operator set it.
fn tool_buckets(config: &Config) -> BTreeMap<String, Bucket> {
    let paced = config.tools.iter().filter_map(|(name, told)| {
        let per_minute = told.rate_per_minute?;
        let capacity = told.burst.unwrap_or(per_minute);
        let bucket = Bucket {
            capacity,
            per_minute,
        };
        Some((name.clone(), bucket))
    });
    paced.collect()
}

/// Safe Browsing, if there is a key for it.
fn reputation(config: &Config) -> Result<Option<Arc<dyn ReputationSource>>> {
    let Some(key) = &config.safe_browsing.key else {
        return Ok(None);
    };
    let source = SafeBrowsing::new(&config.safe_browsing.api_base, key.clone());
    Ok(Some(Arc::new(source.context("Safe Browsing")?)))
}

/// Built-in tools with the operator's word about them.
fn tools(config: &Config) -> Vec<Tool> {
    let mut tools = registry::tools(config.sandbox_mode());
    for tool in &mut tools {
        if let Some(told) = config.tools.get(tool.name.as_str()) {
            tool.hold = told.hold.unwrap_or(tool.hold);
        }
    }
    tools
}

/// Where the store is.
pub fn store_address(config: &Config) -> Address {
    match config.sqlite_path() {
        Some(path) => Address::File(path),
        None => Address::Server(Secret::new(config.database_url.expose())),
    }
}

async fn open_store(
    config: &Config,
    ambient: &Ambient,
    patience: Duration,
) -> Result<store::Opened, store::OpenError> {
    let grouped = config.grouped_writes;
    let how = store::Opening { grouped, patience };
    store::open(&store_address(config), how, ambient).await
}

/// Windows and caches that all nodes of this store share. Redis itself need not be there yet.
fn shared(
    url: &str,
    store: &str,
    ambient: &Ambient,
    masters: &[KeyBytes],
) -> Result<Arc<dyn Ephemeral>> {
    let node = hex(&ambient.bytes::<8>());
    let newest = masters.first().context("there is no master key")?;
    let redis = Redis::start(url, store, &node, newest.expose());
    Ok(Arc::new(redis.context("HUNDI_REDIS_URL")?))
}

/// Starts the sandbox bank, or finds the one that another process of this data folder runs.
async fn open_sandbox(
    config: &Config,
    ambient: &Ambient,
    closing: &CancellationToken,
) -> Result<(String, Option<JoinHandle<()>>)> {
    let listener = match TcpListener::bind(config.sandbox_listen).await {
        Ok(listener) => listener,
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let url = format!("http://{}", config.sandbox_listen);
            if is_sandbox(&url).await {
                return Ok((url, None));
            }
            bail!(
                "{} is in use by something that is not a hundi sandbox; set \
                 HUNDI_SANDBOX_LISTEN to a free address (port 0 picks one)",
                config.sandbox_listen
            );
        }
        Err(error) => {
            return Err(error).context(format!("cannot listen on {}", config.sandbox_listen));
        }
    };
    let address: SocketAddr = listener.local_addr()?;
    let mut options = SandboxOptions::new(&config.data_dir);
    options.ambient = ambient.clone();
    options.public_hosts.clone_from(&config.public_hosts);
    let stop = closing.clone();
    let bank = tokio::spawn(async move {
        if let Err(error) = sandbox::serve(listener, options, stop.cancelled_owned()).await {
            tracing::error!(%error, "the sandbox bank stopped");
        }
    });
    Ok((format!("http://{address}"), Some(bank)))
}

async fn is_sandbox(url: &str) -> bool {
    let client = reqwest::Client::builder()
        .timeout(SANDBOX_PROBE)
        .no_proxy()
        .build();
    let Ok(client) = client else { return false };
    let Ok(answer) = client.get(format!("{url}/sandbox/health")).send().await else {
        return false;
    };
    let told: Value = answer.json().await.unwrap_or_default();
    told["service"] == "hundi-sandbox"
}

/// Our sidecar, which alone gets the bank's credentials, and the configured upstreams.
pub fn specs(config: &Config, program: &Path, sandbox_url: Option<&str>) -> Vec<UpstreamSpec> {
    let razorpay = &config.razorpay;
    let (id, secret, account, base) = match (sandbox_url, &razorpay.key) {
        (None, Some(key)) => (
            key.id.clone(),
            key.secret.expose().to_owned(),
            razorpay.account_number.clone().unwrap_or_default(),
            razorpay.api_base.clone(),
        ),
        (url, _) => (
            "rzp_test_sandbox".to_owned(),
            "sandbox".to_owned(),
            razorpay
                .account_number
                .clone()
                .unwrap_or_else(|| SANDBOX_ACCOUNT.to_owned()),
            url.unwrap_or(&razorpay.api_base).to_owned(),
        ),
    };
    let env = [
        (sidecar::KEY_ID, id),
        (sidecar::KEY_SECRET, secret),
        (sidecar::ACCOUNT_NUMBER, account),
        (sidecar::API_BASE, base),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value));
    let env = config.inherited.iter().cloned().chain(env).collect();
    let program = program.to_string_lossy();
    let sidecar = UpstreamSpec::stdio(BANK, &program, ["sidecar", "razorpay"], env);
    let configured = config.upstreams.iter();
    let configured = configured.map(|(name, upstream)| spec(config, name, upstream));
    let all = std::iter::once(sidecar).chain(configured);
    let watchdog = Watchdog::new(Path::new(program.as_ref()));
    all.map(|spec| spec.watched_by(&watchdog)).collect()
}

/// The programs of the configuration file, as the wire starts them.
fn programs(config: &Config) -> BTreeMap<String, ProgramSpec> {
    let named = config.programs.iter().map(|(name, program)| {
        let spec = ProgramSpec {
            command: program.command.clone(),
            env: program.env.clone(),
            timeout: program.timeout,
            max_output: program.max_output,
            max_concurrent: None,
        };
        (name.clone(), spec)
    });
    named.collect()
}

fn spec(config: &Config, name: &str, upstream: &Upstream) -> UpstreamSpec {
    let mut spec = match &upstream.transport {
        Transport::Child(child) => {
            // What is given by name wins over what is inherited.
            let given = child.env.iter();
            let given = given.map(|(name, value)| (name.clone(), value.expose().to_owned()));
            let env = config.inherited.iter().cloned().chain(given).collect();
            UpstreamSpec::stdio(name, &child.command, child.args.iter().cloned(), env)
                .in_folder(child.cwd.clone())
        }
        Transport::Http(http) => {
            let token = http.token.as_ref();
            let bearer = token.map(|token| format!("Bearer {}", token.expose()));
            let bearer = bearer.map(|bearer| ("authorization".to_owned(), bearer));
            let given = http.headers.iter();
            let given = given.map(|(name, value)| (name.clone(), value.expose().to_owned()));
            UpstreamSpec::http(name, &http.url, given.chain(bearer).collect())
        }
    };
    spec.protocol = match upstream.handshake {
        Handshake::Auto => Protocol::Auto,
        Handshake::Initialize => Protocol::Initialize,
        Handshake::Discover => Protocol::Discover,
    };
    let limits = &upstream.limits;
    if let Some(secs) = limits.start_timeout_secs {
        spec.start_timeout = Duration::from_secs(secs.into());
    }
    if let Some(bytes) = limits.max_answer_bytes {
        spec.max_answer_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    spec
}
