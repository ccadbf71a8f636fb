//! Upstream MCP servers: child processes and streamable HTTP, each with one shared conversation.
//!
//! A call is sent once; a second time only where the answer proves that nothing was done because
//! the session is gone. [`Reply::NotSent`] is said only where it is proven that nothing of the
//! request left; whatever may have left and brought no answer is [`Reply::Lost`]. Unknown ids, log
//! lines and half messages are ignored; what is an answer and cannot be read, or is longer than is
//! taken, is told at once. The upstream named [`NOOP`] is answered in process and has no effect.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use rmcp::model::JsonObject;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::group::Watchdog;
use super::supervisor::Supervisor;
use super::{Heard, Late, Offered, UpstreamHealth, Wire};
use crate::domain::call::{Call, Reply};
use crate::domain::echo::Echo;
use crate::domain::tools::reach::Reach;

/// The upstream that is answered in process: the load test's.
pub const NOOP: &str = "noop";
/// Calls under way to one upstream. More wait for their deadline.
pub(super) const MAX_IN_FLIGHT: usize = 256;
/// Changes that a slow listener may be behind before it has to look at every upstream.
const CHANGES: usize = 64;
/// Longest answer that is taken of an upstream that says nothing else, in bytes: 8 MiB.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Longest that a start may take, handshake included, where nothing else is said.
pub const START: Duration = Duration::from_secs(30);
/// How long shutting down waits for children to leave.
const FAREWELL: Duration = Duration::from_secs(3);

/// One upstream as it is started and reached.
#[derive(Clone)]
pub struct UpstreamSpec {
    /// Its configured name, unique.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// How it shakes hands.
    pub protocol: Protocol,
    /// How long to wait between starts.
    pub pauses: Pauses,
    /// Longest answer that is taken, in bytes, on every transport.
    pub max_answer_bytes: usize,
    /// Longest that a start may take, handshake included.
    pub start_timeout: Duration,
    /// Ends its processes should this one be killed.
    pub watchdog: Option<Watchdog>,
}

impl UpstreamSpec {
    /// What it must not repeat: the secrets among what it was given.
    pub(super) fn echo(&self) -> Echo {
        let (Transport::Stdio { env: given, .. } | Transport::Http { headers: given, .. }) =
            &self.transport;
        Echo::of_named(
            given
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        )
    }

    /// A child process with exactly these environment variables.
    pub fn stdio(
        name: &str,
        command: &str,
        args: impl IntoIterator<Item = impl Into<String>>,
        env: Vec<(String, String)>,
    ) -> Self {
        let transport = Transport::Stdio {
            command: command.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            env,
            cwd: None,
        };
        Self::over(name, transport)
    }

    /// The same, running in this folder instead of ours.
    pub fn in_folder(mut self, folder: Option<PathBuf>) -> Self {
        if let Transport::Stdio { cwd, .. } = &mut self.transport {
            *cwd = folder;
        }
        self
    }

    /// A server reached over streamable HTTP.
    pub fn http(name: &str, url: &str, headers: Vec<(String, String)>) -> Self {
        let transport = Transport::Http {
            url: url.to_owned(),
            headers,
            reach: None,
        };
        Self::over(name, transport)
    }

    /// The same, connecting only to addresses that `reach` permits.
    pub fn within(mut self, permitted: Reach) -> Self {
        if let Transport::Http { reach, .. } = &mut self.transport {
            *reach = Some(permitted);
        }
        self
    }

    fn over(name: &str, transport: Transport) -> Self {
        Self {
            name: name.to_owned(),
            transport,
            protocol: Protocol::Auto,
            pauses: Pauses::default(),
            max_answer_bytes: MAX_ANSWER_BYTES,
            start_timeout: START,
            watchdog: None,
        }
    }

    /// The same, with somebody to end its processes should this one be killed.
    pub fn watched_by(mut self, watchdog: &Watchdog) -> Self {
        self.watchdog = Some(watchdog.clone());
        self
    }
}

/// How an upstream is reached.
#[derive(Clone)]
pub enum Transport {
    /// A child process, over its standard streams.
    Stdio {
        /// The program, looked up in the child's own `PATH`.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its whole environment.
        env: Vec<(String, String)>,
        /// Its working directory; ours if `None`.
        cwd: Option<PathBuf>,
    },
    /// Streamable HTTP.
    Http {
        /// The endpoint.
        url: String,
        /// Headers of every request, such as `authorization`.
        headers: Vec<(String, String)>,
        /// Which addresses may be connected to; any where nobody says so.
        reach: Option<Reach>,
    },
}

impl fmt::Debug for Transport {
    /// Names what is set, never to what: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |pairs: &[(String, String)]| -> Vec<String> {
            pairs.iter().map(|(name, _)| name.clone()).collect()
        };
        match self {
            Transport::Stdio { command, env, .. } => f
                .debug_struct("Stdio")
                .field("command", command)
                .field("env", &names(env))
                .finish_non_exhaustive(),
            Transport::Http { url, headers, .. } => f
                .debug_struct("Http")
                .field("url", &url.split('?').next())
                .field("headers", &names(headers))
                .finish(),
        }
    }
}

impl fmt::Debug for UpstreamSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamSpec")
            .field("name", &self.name)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// How an upstream shakes hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// `initialize`, and `server/discover` at the next start if that is refused.
    #[default]
    Auto,
    /// `initialize`: revisions up to 2025-11-25.
    Initialize,
    /// `server/discover`: revision 2026-07-28.
    Discover,
}

impl Protocol {
    pub(super) fn other(self) -> Self {
        match self {
            Protocol::Auto | Protocol::Initialize => Protocol::Discover,
            Protocol::Discover => Protocol::Initialize,
        }
    }
}

/// How long to wait between two starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pauses {
    /// At least so long, whatever happened.
    pub least: Duration,
    /// At most so long, however often it failed.
    pub most: Duration,
}

impl Default for Pauses {
    /// A second, and ten: doubts are settled within a minute of the provider being back.
    fn default() -> Self {
        Self {
            least: Duration::from_secs(1),
            most: Duration::from_secs(10),
        }
    }
}

impl Pauses {
    /// The pause after so many failures in a row: twice as long each time.
    pub(super) fn after(self, failures: u32) -> Duration {
        let doubled = self
            .least
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.clamp(self.least, self.most.max(self.least))
    }
}

/// Every configured upstream.
pub struct Upstreams {
    upstreams: BTreeMap<String, Supervisor>,
    changes: broadcast::Sender<String>,
    over: CancellationToken,
    children: TaskTracker,
}

impl Upstreams {
    /// Starts nothing yet: an upstream is started when it is first needed.
    pub fn new(specs: Vec<UpstreamSpec>) -> Self {
        let (changes, _) = broadcast::channel(CHANGES);
        let over = CancellationToken::new();
        let children = TaskTracker::new();
        let supervised = specs.into_iter().map(|spec| {
            let name = spec.name.clone();
            let supervisor = Supervisor::new(spec, changes.clone(), over.clone(), children.clone());
            (name, supervisor)
        });
        Self {
            upstreams: supervised.collect(),
            changes: changes.clone(),
            over,
            children,
        }
    }

    /// Ends every conversation and waits for the children to leave; those that do not are killed.
    pub async fn shut_down(&self) {
        self.over.cancel();
        self.children.close();
        let _ = timeout(FAREWELL, self.children.wait()).await;
    }
}

impl Upstreams {
    async fn carry(&self, call: &Call, deadline: Duration, late: Option<Late>) -> Heard {
        let until = Instant::now() + deadline;
        let Ok(Value::Object(arguments)) = serde_json::from_str(&call.arguments) else {
            return Reply::NotSent("the arguments are no JSON object".to_owned()).into();
        };
        if call.upstream == NOOP {
            return noop(arguments).into();
        }
        match self.upstreams.get(&call.upstream) {
            Some(upstream) => upstream.call(&call.tool, arguments, until, late).await,
            None => Reply::NotSent(format!("no upstream is named {}", call.upstream)).into(),
        }
    }
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

#[async_trait]
impl Wire for Upstreams {
    async fn send(&self, call: &Call, deadline: Duration) -> Reply {
        self.relay(call, deadline).await.reply
    }

    async fn relay(&self, call: &Call, deadline: Duration) -> Heard {
        self.carry(call, deadline, None).await
    }

    async fn send_and_mind(&self, call: &Call, deadline: Duration, late: Late) -> Heard {
        self.carry(call, deadline, Some(late)).await
    }

    async fn offered(&self, upstream: &str, deadline: Duration) -> Result<Vec<Offered>, String> {
        let until = Instant::now() + deadline;
        match self.upstreams.get(upstream) {
            Some(upstream) => upstream.list(until).await,
            None => Err(format!("no upstream is named {upstream}")),
        }
    }

    fn changes(&self) -> broadcast::Receiver<String> {
        self.changes.subscribe()
    }

    fn health(&self) -> Vec<UpstreamHealth> {
        self.upstreams.values().map(Supervisor::health).collect()
    }
}

fn noop(arguments: JsonObject) -> Reply {
    Reply::Result {
        content: json!({"status": "done", "arguments": arguments}),
        is_error: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_stay_within_their_bounds() {
        let seconds: Vec<u64> = [0, 1, 2, 3, 4, 5, 1_000_000]
            .map(|failures| Pauses::default().after(failures).as_secs())
            .into();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_spec_does_not_show_its_secrets() {
        let env = vec![("TOKEN".to_owned(), "sekrit".to_owned())];
        let headers = vec![("authorization".to_owned(), "sekrit".to_owned())];
        for spec in [
            UpstreamSpec::stdio("a", "server", ["stdio"], env),
            UpstreamSpec::http("b", "http://localhost/mcp?key=sekrit", headers),
        ] {
            let shown = format!("{spec:?}");
            assert!(!shown.contains("sekrit"), "{shown}");
        }
    }

    #[tokio::test]
    async fn noop_is_answered_here_and_strangers_are_not_sent() {
        let wire = Upstreams::new(Vec::new());
        let second = Duration::from_secs(1);
        let call = |upstream, arguments: &str| Call {
            upstream: String::from(upstream),
            tool: "noop".into(),
            arguments: arguments.into(),
        };
        let done = Reply::Result {
            content: json!({"status": "done", "arguments": {"amount": 1}}),
            is_error: false,
        };
        assert_eq!(
            wire.send(&call(NOOP, r#"{"amount":1}"#), second).await,
            done
        );
        for call in [call("nobody", "{}"), call(NOOP, "[]"), call(NOOP, "")] {
            let reply = wire.send(&call, second).await;
            assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
        }
        assert!(wire.offered("nobody", second).await.is_err());
    }
}
