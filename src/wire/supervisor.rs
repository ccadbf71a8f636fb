//! Keeps one upstream alive: starts it when it is needed, ends what hangs, waits before it tries
//! again.
//!
//! Starts are at least a second apart whatever happens, and further apart while they keep
//! failing. A call that finds no conversation waits for the next start only as long as its own
//! deadline allows, and is then proven not to have been sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::JsonObject;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::mcp::{MAX_IN_FLIGHT, Protocol, Transport, UpstreamSpec};
use super::session::{Listener, NotOpened, Session};
use super::{Heard, Offered, UpstreamHealth, child, streamable};
use crate::domain::call::Reply;

/// Longest that a start may take, handshake included.
const START: Duration = Duration::from_secs(10);

/// One upstream and its current conversation, if any. Cheap to clone.
#[derive(Clone)]
pub(super) struct Supervisor {
    inner: Arc<Inner>,
}

struct Inner {
    spec: UpstreamSpec,
    listener: Listener,
    state: Mutex<State>,
    /// Held while starting, so that two calls do not start two children.
    starting: tokio::sync::Mutex<()>,
    permits: Semaphore,
    over: CancellationToken,
    children: TaskTracker,
}

struct State {
    session: Option<Arc<Session>>,
    protocol: Protocol,
    last_start: Option<Instant>,
    /// Conversations in a row that ended before they answered anything.
    failures: u32,
    ok: bool,
    detail: String,
}

impl Supervisor {
    pub(super) fn new(
        spec: UpstreamSpec,
        changes: broadcast::Sender<String>,
        over: CancellationToken,
        children: TaskTracker,
    ) -> Self {
        let listener = Listener {
            upstream: spec.name.as_str().into(),
            changes,
        };
        let state = State {
            session: None,
            protocol: spec.protocol,
            last_start: None,
            failures: 0,
            ok: true,
            detail: "not started".to_owned(),
        };
        let inner = Inner {
            spec,
            listener,
            state: Mutex::new(state),
            starting: tokio::sync::Mutex::new(()),
            permits: Semaphore::new(MAX_IN_FLIGHT),
            over,
            children,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Sends one call once.
    pub(super) async fn call(&self, tool: &str, arguments: JsonObject, until: Instant) -> Heard {
        let Ok(Ok(_permit)) = timeout_at(until, self.inner.permits.acquire()).await else {
            return Reply::NotSent("too many calls to it are under way".to_owned()).into();
        };
        let session = match self.session(until).await {
            Ok(session) => session,
            Err(why) => return Reply::NotSent(why).into(),
        };
        let heard = session.call(tool, arguments, until).await;
        match &heard.reply {
            Reply::Result { .. } | Reply::RpcError { .. } => {}
            Reply::NotSent(_)
            | Reply::TurnedAway { .. }
            | Reply::TooLarge { .. }
            | Reply::Lost(_) => {
                self.lock().detail = heard.reply.why();
                self.lock().ok = false;
                self.after_a_break(&session);
            }
        }
        heard
    }

    /// The tools it offers now.
    pub(super) async fn list(&self, until: Instant) -> Result<Vec<Offered>, String> {
        let session = self.session(until).await?;
        let listed = session.list(until).await;
        if listed.is_err() {
            self.after_a_break(&session);
        }
        listed
    }

    pub(super) fn health(&self) -> UpstreamHealth {
        let state = self.lock();
        UpstreamHealth {
            name: self.inner.spec.name.clone(),
            ok: state.ok,
            detail: state.detail.clone(),
        }
    }

    /// A session over HTTP does not notice by itself that its server is gone or has forgotten
    /// it; beginning anew costs one handshake and repeats nothing.
    fn after_a_break(&self, session: &Session) {
        match self.inner.spec.transport {
            Transport::Http { .. } => session.end(),
            Transport::Stdio { .. } => {}
        }
    }

    async fn session(&self, until: Instant) -> Result<Arc<Session>, String> {
        if let Some(session) = self.current() {
            return Ok(session);
        }
        let Ok(_starting) = timeout_at(until, self.inner.starting.lock()).await else {
            return Err(format!("it is not up: {}", self.lock().detail));
        };
        loop {
            if let Some(session) = self.current() {
                return Ok(session);
            }
            let at = self.next_start();
            if at >= until {
                return Err(format!("it is not up: {}", self.lock().detail));
            }
            tokio::select! {
                () = sleep_until(at) => {}
                () = self.inner.over.cancelled() => return Err("it was shut down".to_owned()),
            }
            match self.start(until).await {
                Ok(session) => return Ok(session),
                Err(why) => self.note(false, why),
            }
        }
    }

    fn current(&self) -> Option<Arc<Session>> {
        let mut state = self.lock();
        let session = state.session.as_ref()?;
        if !session.is_over() {
            return Some(session.clone());
        }
        state.failures = if session.has_answered() {
            0
        } else {
            state.failures.saturating_add(1)
        };
        state.session = None;
        None
    }

    fn next_start(&self) -> Instant {
        let state = self.lock();
        let pause = self.inner.spec.pauses.after(state.failures);
        match state.last_start {
            None => Instant::now(),
            Some(last) => last + pause,
        }
    }

    async fn start(&self, until: Instant) -> Result<Arc<Session>, String> {
        let inner = &self.inner;
        let protocol = {
            let mut state = self.lock();
            state.last_start = Some(Instant::now());
            state.detail = "starting".to_owned();
            state.protocol
        };
        let until = until.min(Instant::now() + START);
        let over = inner.over.child_token();
        let opened = match inner.spec.transport {
            Transport::Stdio { .. } => {
                let supervisor = self.clone();
                let ended = move |why: String| supervisor.note(false, why);
                let start = child::Start {
                    spec: &inner.spec,
                    listener: inner.listener.clone(),
                    protocol,
                    over,
                    children: &inner.children,
                };
                let opened = start.run(until, ended).await;
                opened.map(|(session, pid)| (session, format!("running, pid {pid}")))
            }
            Transport::Http { .. } => {
                streamable::start(&inner.spec, inner.listener.clone(), protocol, over, until)
                    .await
                    .map(|session| (session, "connected".to_owned()))
            }
        };
        match opened {
            Ok((session, detail)) => {
                let mut state = self.lock();
                state.session = Some(session.clone());
                drop(state);
                self.note(true, detail);
                // It may offer other tools than the one before it.
                inner.listener.changed();
                Ok(session)
            }
            Err(NotOpened::Failed(why)) => {
                let mut state = self.lock();
                state.failures = state.failures.saturating_add(1);
                Err(why)
            }
            Err(NotOpened::OtherProtocol(why)) => {
                let mut state = self.lock();
                state.failures = state.failures.saturating_add(1);
                if inner.spec.protocol == Protocol::Auto {
                    state.protocol = state.protocol.other();
                }
                Err(why)
            }
        }
    }

    fn note(&self, ok: bool, detail: String) {
        let upstream = &self.inner.spec.name;
        if ok {
            tracing::info!(%upstream, %detail, "upstream is up");
        } else if self.inner.over.is_cancelled() {
            tracing::debug!(%upstream, %detail, "upstream was told to end");
        } else {
            tracing::warn!(%upstream, %detail, "upstream is down");
        }
        let mut state = self.lock();
        // A child that ended after its successor began has nothing more to say.
        let replaced = state.session.as_ref().is_some_and(|now| !now.is_over());
        if ok || !replaced {
            state.ok = ok;
            state.detail = detail;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.inner.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}
