//! `hundi serve`: every door, the duties, and a shutdown that finishes what was claimed.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use crate::ambient::Ambient;
use crate::app::App;
use crate::broker::access::first::FirstKeys;
use crate::config::Config;
use crate::domain::ids::hex;
use crate::entry::cli::{Failure, ServeArgs};
use crate::entry::console::{self, PublicUrl};
use crate::entry::http::{self, HttpOptions};
use crate::entry::mcp::{McpHttp, McpHttpOptions};
use crate::entry::origin::Names;
use crate::entry::worker;
use crate::keyring::files::replace;
use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use zeroize::Zeroizing;

use super::{block_on, start_logs, this_program, told, traced};

/// Serves until it is told to stop.
pub fn run(args: &ServeArgs, config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    start_logs(config);
    let program = this_program()?;
    block_on(traced(config, async {
        // Bound before anything is made, so that a port in use leaves no trace.
        let listener = TcpListener::bind(config.listen).await.map_err(|error| {
            let hint = "set HUNDI_LISTEN to a free address";
            Failure::of(format!(
                "cannot listen on {}: {error}; {hint}",
                config.listen
            ))
        })?;
        // Read before keys are made that it may be the only place for.
        let kept = args.bootstrap.as_deref().map(kept).transpose()?.flatten();
        let app = App::build(config, &program)
            .await
            .map_err(|error| told(&error))?;
        // Before keys are made that are shown once: it may stop the start.
        app.first_look().await?;
        let first = app.welcome().await?;
        let server = Server::start(app, config, listener)?;
        let link = server.console_link(first.as_ref()).await?;
        if let Some(path) = &args.bootstrap {
            write_private(
                path,
                &server.bootstrap(first.as_ref(), link.as_deref(), kept),
            )?;
        }
        let owner = server.app.broker.access.owners_key();
        let running = super::door::say_running(config, &server.url(), &owner)?;
        if let Err(error) = server.app.hear_from_bank(server.address).await {
            tracing::warn!(%error, "the sandbox bank will not tell of its payouts by webhook");
        }
        server.greet(config, first.as_ref(), link.as_deref(), out)?;
        told_to_stop().await;
        tracing::info!("stopping: no new work; finishing what was claimed");
        server.stop().await;
        drop(running);
        Ok(())
    }))
}

/// A running server.
pub struct Server {
    /// Where it answers.
    pub address: SocketAddr,
    /// What it serves.
    pub app: App,
    public: PublicUrl,
    mcp: McpHttp,
    closing: CancellationToken,
    stop_duties: watch::Sender<bool>,
    doors: JoinHandle<()>,
    duties: JoinHandle<()>,
    stop_work: CancellationToken,
    working: JoinHandle<()>,
}

impl Server {
    /// Opens the doors and starts the duties.
    pub fn start(app: App, config: &Config, listener: TcpListener) -> Result<Self, Failure> {
        let address = listener.local_addr()?;
        let closing = CancellationToken::new();
        let public = match &config.public_url {
            Some(url) => PublicUrl::read(url).ok_or_else(|| {
                Failure::of("public_url (HUNDI_PUBLIC_URL) is no http or https address")
            })?,
            None => PublicUrl::local(address.port()),
        };
        let hosts = config.public_hosts.iter().cloned();
        let hosts = hosts.chain([public.host().to_owned()]);
        let names = Names::new(hosts, config.allowed_origins.clone());
        let options = McpHttpOptions {
            names: names.clone(),
            shutdown: closing.clone(),
        };
        let mcp = McpHttp::new(app.broker.clone(), options);
        let options = HttpOptions {
            behind_tls: config.tls_in_front,
            names,
            open_metrics: address.ip().is_loopback(),
            closing: closing.clone(),
        };
        let rest = http::routes(app.broker.clone(), options.clone());
        app.broker.set_public_origin(public.origin());
        let seen = console::Options {
            public: public.clone(),
            settings: config.rows().iter().map(setting).collect(),
            closing: closing.clone(),
        };
        let console = console::routes(app.broker.clone(), seen);
        let nameless = mcp.router.clone();
        let routes: Router = rest
            .nest("/mcp", mcp.router.clone())
            // A door of no name is a door, too: whose key it is not learns nothing there.
            .route(
                "/mcp/",
                any(move |request: Request| nameless.oneshot(request)),
            )
            .merge(console);
        let router = http::harden(routes, &options);
        let limits = limits();
        let doors = tokio::spawn(http::serve(listener, router, limits, closing.clone()));
        let (stop_duties, stop) = watch::channel(false);
        tokio::spawn(worker::begin(app.broker.clone()));
        let duties = tokio::spawn(worker::run(app.broker.clone(), worker::duties(), stop));
        let stop_work = CancellationToken::new();
        let working = {
            let (requests, stop) = (app.broker.requests.clone(), stop_work.clone());
            let workers = config.models.workers;
            tokio::spawn(async move {
                if workers > 0 {
                    requests.work(workers, stop).await;
                }
            })
        };
        Ok(Self {
            address,
            app,
            public,
            mcp,
            closing,
            stop_duties,
            doors,
            duties,
            stop_work,
            working,
        })
    }

    /// The server's own address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The link that signs the first admin in, once; made with the first keys.
    async fn console_link(&self, first: Option<&FirstKeys>) -> Result<Option<String>, Failure> {
        let Some(first) = first else {
            return Ok(None);
        };
        let access = &self.app.broker.access;
        let admin = access.authenticate(&first.admin_key).await?;
        let (text, _) = access.link_for(&admin, first.admin.as_str()).await?;
        Ok(Some(format!("{}/console/sign-in?link={text}", self.public)))
    }

    /// What `--bootstrap` writes: the keys that were made at this start, else the ones that the
    /// file has kept since an earlier one; and the addresses, which may be others each time.
    fn bootstrap(
        &self,
        first: Option<&FirstKeys>,
        link: Option<&str>,
        kept: Option<Map<String, Value>>,
    ) -> Value {
        let kept = |name: &str| kept.as_ref().and_then(|kept| kept.get(name).cloned());
        json!({
            "admin_key": first.map(|first| json!(first.admin_key)).or(kept("admin_key")),
            "agent_key": first.map(|first| json!(first.agent_key)).or(kept("agent_key")),
            "agent_id": first.map(|first| json!(first.agent_id)).or(kept("agent_id")),
            "console_link": link.map(Value::from).or(kept("console_link")),
            "console_url": format!("{}/console", self.public),
            "url": self.url(),
            "mcp_url": format!("{}/mcp", self.url()),
            "sandbox_url": self.app.sandbox_url,
        })
    }

    fn greet(
        &self,
        config: &Config,
        first: Option<&FirstKeys>,
        link: Option<&str>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let url = self.url();
        writeln!(out, "hundi {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "  MCP   {url}/mcp")?;
        writeln!(
            out,
            "  REST  {url}/v1      (description: {url}/openapi.json)"
        )?;
        writeln!(out, "  web   {}/console", self.public)?;
        if let Some(sandbox) = &self.app.sandbox_url {
            writeln!(out, "  bank  {sandbox}   sandbox: no money moves")?;
        }
        for line in config.off().iter().chain(&config.warnings) {
            writeln!(out, "  note  {line}")?;
        }
        if let Some(first) = first {
            writeln!(
                out,
                "\nThese keys are shown once and stored hashed. Keep them now."
            )?;
            writeln!(out, "  admin key  {}", first.admin_key)?;
            writeln!(
                out,
                "  agent key  {}   (agent {})",
                first.agent_key, first.agent_id
            )?;
            if let Some(link) = link {
                writeln!(out, "\nSign in to the console, once and within 15 minutes:")?;
                writeln!(out, "  {link}")?;
            }
            writeln!(out, "\nConnect an MCP client:")?;
            writeln!(
                out,
                "  {{\"mcpServers\": {{\"hundi\": {{\"type\": \"http\", \"url\": \"{url}/mcp\", \
                 \"headers\": {{\"Authorization\": \"Bearer {}\"}}}}}}}}",
                first.agent_key
            )?;
            writeln!(
                out,
                "Then ask it to call transfer_funds_propose, and to commit.\n"
            )?;
        }
        writeln!(out, "listening on {url}")?;
        Ok(out.flush()?)
    }

    /// Takes no new work, finishes what was claimed, then ends the duties and the children.
    pub async fn stop(self) {
        self.closing.cancel();
        self.stop_work.cancel();
        if let Err(error) = self.doors.await {
            tracing::error!(%error, "the doors ended abnormally");
        }
        self.mcp.drained().await;
        // Those whose callers have gone; a call and a second look take no longer than this.
        let broker = &self.app.broker;
        let enough = broker.settings().call_deadline * 2;
        if tokio::time::timeout(enough, broker.drained())
            .await
            .is_err()
        {
            tracing::warn!("commits were still under way at the end; recovery settles them");
        }
        // What is left of requests in hand is taken over once its lease has run out.
        if tokio::time::timeout(enough, self.working).await.is_err() {
            tracing::warn!(
                "requests to models were still in hand at the end; others take them over"
            );
        }
        if let Err(error) = broker.audit.sum_refusals(true).await {
            tracing::warn!(%error, "the last sums of refusals were not written");
        }
        // Fails only if the duties have ended already.
        let _ = self.stop_duties.send(true);
        if let Err(error) = self.duties.await {
            tracing::error!(%error, "the duties ended abnormally");
        }
        self.app.shut_down().await;
    }
}

/// A setting as the console shows it; secrets are masked already.
fn setting(row: &crate::config::Row) -> console::Setting {
    let value = match &row.value {
        crate::config::Shown::Unset(()) => "—".to_owned(),
        crate::config::Shown::One(text) => text.clone(),
        crate::config::Shown::Many(all) => all.join(", "),
    };
    console::Setting {
        key: row.key.clone(),
        value,
        source: row.source.clone(),
        help: row.help,
    }
}

/// What an earlier start wrote into the bootstrap file; `None` if there is no file. Anybody else's
/// file is not written over.
fn kept(path: &Path) -> Result<Option<Map<String, Value>>, Failure> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let text = format!("cannot read {}: {error}", path.display());
            return Err(Failure::Failed(text));
        }
    };
    let known = serde_json::from_slice::<Map<String, Value>>(&text).ok();
    let ours = known.filter(|map| map.contains_key("mcp_url"));
    if ours.is_none() && !text.is_empty() {
        return Err(Failure::of(format!(
            "{} is not a file that --bootstrap wrote, and is left as it is; name another one",
            path.display()
        )));
    }
    Ok(ours)
}

/// File descriptors that callers can never take: the store's, the children's pipes, and what is
/// sent. Without them a full house could not finish what it claimed.
const KEPT_DESCRIPTORS: usize = 256;
/// Connections taken however few descriptors there are.
const FEWEST_CONNECTIONS: usize = 16;

/// The bounds of the doors, within what the system lets this process open.
fn limits() -> http::Limits {
    let usual = http::Limits::default();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let connections = match open_files(&limits) {
        Some(most) => most
            .saturating_sub(KEPT_DESCRIPTORS)
            .clamp(FEWEST_CONNECTIONS, usual.connections),
        None => usual.connections,
    };
    if connections < usual.connections {
        tracing::info!(
            connections,
            "fewer connections than usual: the limit on open files (`ulimit -n`) is low"
        );
    }
    http::Limits {
        connections,
        ..usual
    }
}

/// The soft limit on open files, as Linux tells it; `None` where there is none or no such file.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, value: &Value) -> Result<(), Failure> {
    let text = Zeroizing::new(format!("{value}\n"));
    let draft = hex(&Ambient::real().bytes::<8>());
    let written = replace(path, text.as_bytes(), &draft);
    written.map_err(|error| Failure::of(format!("cannot write the bootstrap file: {error}")))
}

/// Resolves on SIGINT or SIGTERM.
pub async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => {
            if interrupted.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_open_files_is_read_as_linux_tells_it() {
        let told = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max processes             31000                31000                processes \n\
                 Max open files            {soft}                 524288               files     \n"
            )
        };
        assert_eq!(open_files(&told("1024")), Some(1024));
        assert_eq!(open_files(&told("unlimited")), None);
        assert_eq!(open_files(""), None);
    }
}
