//! Keeps one upstream alive: starts it when it is needed, ends what hangs, waits before it tries
//! again.
//!
//! Starts are at least a second apart whatever happens, and further apart while they keep
//! failing. A call that finds no conversation waits for the next start only as long as its own
//! deadline allows, and is then proven not to have been sent. A start goes on when nobody waits for
//! it any more: an upstream that is slower than its callers is there for the next one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::JsonObject;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::mcp::{MAX_IN_FLIGHT, Protocol, Transport, UpstreamSpec};
use super::posting::TURNED_AWAY;
use super::session::{Listener, NotOpened, Session};
use super::words::without_addresses;
use super::{Heard, Late, Offered, UpstreamHealth, child, streamable};
use crate::domain::call::Reply;

/// One upstream and its current conversation, if any. Cheap to clone.
#[derive(Clone)]
pub(super) struct Supervisor {
    inner: Arc<Inner>,
}

struct Inner {
    spec: UpstreamSpec,
    listener: Listener,
    state: Mutex<State>,
    permits: Semaphore,
    over: CancellationToken,
    children: TaskTracker,
}

struct State {
    session: Option<Arc<Session>>,
    /// Closed when the start under way has ended, so that two calls do not start two children.
    starting: Option<watch::Receiver<()>>,
    protocol: Protocol,
    last_start: Option<Instant>,
    /// Conversations in a row that ended before they answered anything.
    failures: u32,
    ok: bool,
    detail: String,
}

impl State {
    fn is_starting(&self) -> bool {
        let start = self.starting.as_ref();
        start.is_some_and(|start| start.has_changed().is_ok())
    }
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
            echo: Arc::new(spec.echo()),
        };
        let state = State {
            session: None,
            starting: None,
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
            permits: Semaphore::new(MAX_IN_FLIGHT),
            over,
            children,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Sends one call once, or once more in a new conversation where the first answer proves that
    /// nothing was done because its session is gone.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: JsonObject,
        until: Instant,
        late: Option<Late>,
    ) -> Heard {
        let mut heard = self.called(tool, arguments, until, late).await;
        heard.without(&self.inner.listener.echo);
        heard
    }

    async fn called(
        &self,
        tool: &str,
        arguments: JsonObject,
        until: Instant,
        mut late: Option<Late>,
    ) -> Heard {
        let Ok(Ok(_permit)) = timeout_at(until, self.inner.permits.acquire()).await else {
            return Reply::NotSent("too many calls to it are under way".to_owned()).into();
        };
        let mut gone: Option<Heard> = None;
        loop {
            let session = match self.session(until).await {
                Ok(session) => session,
                Err(why) => {
                    let first = gone.unwrap_or_else(|| Reply::NotSent(why).into());
                    return proven(first);
                }
            };
            let arguments = arguments.clone();
            let called = session.call(tool, arguments, until, &mut late).await;
            self.learn(&session, &called.heard.reply);
            if !called.gone || gone.is_some() {
                return proven(called.heard);
            }
            self.retire(&session);
            gone = Some(called.heard);
        }
    }

    /// What a reply tells of the upstream's health.
    fn learn(&self, session: &Arc<Session>, reply: &Reply) {
        let ok = match reply {
            Reply::Result { .. } | Reply::RpcError { .. } | Reply::TooLarge { .. } => true,
            Reply::TurnedAway { .. } | Reply::NotSent(_) | Reply::Lost(_) => false,
        };
        let mut state = self.lock();
        if !ok {
            state.detail = self.inner.listener.echo.hide(&reply.why()).into_owned();
        } else if !state.ok {
            state.detail = "it answers again".to_owned();
        }
        state.ok = ok;
        drop(state);
        match reply {
            Reply::NotSent(_) | Reply::Lost(_) => self.after_a_break(session),
            Reply::Result { .. }
            | Reply::RpcError { .. }
            | Reply::TurnedAway { .. }
            | Reply::TooLarge { .. } => {}
        }
    }

    /// The tools it offers now.
    pub(super) async fn list(&self, until: Instant) -> Result<Vec<Offered>, String> {
        let session = self.session(until).await?;
        let listed = session.list(until).await;
        if listed.is_ok() {
            self.note_well();
        } else {
            self.after_a_break(&session);
        }
        let echo = &self.inner.listener.echo;
        match listed {
            Ok(mut tools) => {
                tools.iter_mut().for_each(|tool| tool.without(echo));
                Ok(tools)
            }
            Err(why) => Err(echo.hide(&why).into_owned()),
        }
    }

    /// It answers, whatever it did before.
    fn note_well(&self) {
        let mut state = self.lock();
        if !state.ok {
            state.ok = true;
            state.detail = "it answers again".to_owned();
        }
    }

    pub(super) fn health(&self) -> UpstreamHealth {
        let state = self.lock();
        UpstreamHealth {
            name: self.inner.spec.name.clone(),
            ok: state.ok,
            detail: without_addresses(&state.detail),
        }
    }

    /// A session over HTTP does not notice by itself that its server is gone or has forgotten
    /// it; beginning anew costs one handshake and repeats nothing.
    fn after_a_break(&self, session: &Arc<Session>) {
        match self.inner.spec.transport {
            Transport::Http { .. } => self.retire(session),
            // One that fell silent has retired by itself, and ends once nobody holds it.
            Transport::Stdio { .. } => drop(self.current()),
        }
    }

    /// Calls from now on get a new conversation. Those that wait for an answer keep this one.
    fn retire(&self, session: &Session) {
        session.retire();
        drop(self.current());
    }

    async fn session(&self, until: Instant) -> Result<Arc<Session>, String> {
        loop {
            if let Some(session) = self.current() {
                return Ok(session);
            }
            let Some(at) = self.next_start() else {
                self.begun(until).await?;
                continue;
            };
            if at >= until {
                return Err(format!("it is not up: {}", self.lock().detail));
            }
            tokio::select! {
                () = sleep_until(at) => self.begin(),
                () = self.inner.over.cancelled() => return Err("it was shut down".to_owned()),
            }
        }
    }

    /// Waits for the start that is under way, however it ends.
    async fn begun(&self, until: Instant) -> Result<(), String> {
        let start = self.lock().starting.clone();
        let Some(mut start) = start else {
            return Ok(());
        };
        // It is closed, never written to.
        match timeout_at(until, start.changed()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                self.lock().ok = false;
                Err("it did not start in time".to_owned())
            }
        }
    }

    /// Starts it, in a task of its own, unless somebody else just has.
    fn begin(&self) {
        let mut state = self.lock();
        let is_up = state.session.as_ref().is_some_and(|now| !now.is_over());
        if is_up || state.is_starting() {
            return;
        }
        let (ends, end) = watch::channel(());
        state.starting = Some(end);
        state.last_start = Some(Instant::now());
        state.detail = "starting".to_owned();
        drop(state);
        let supervisor = self.clone();
        tokio::spawn(async move {
            let _ends = ends;
            if let Err(why) = supervisor.start().await {
                supervisor.note(false, why);
            }
        });
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

    /// When it may be started; `None` while it is being started.
    fn next_start(&self) -> Option<Instant> {
        let state = self.lock();
        if state.is_starting() {
            return None;
        }
        let pause = self.inner.spec.pauses.after(state.failures);
        Some(match state.last_start {
            None => Instant::now(),
            Some(last) => last + pause,
        })
    }

    async fn start(&self) -> Result<(), String> {
        let inner = &self.inner;
        let protocol = self.lock().protocol;
        let until = Instant::now() + inner.spec.start_timeout;
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
                state.session = Some(session);
                drop(state);
                self.note(true, detail);
                // It may offer other tools than the one before it.
                inner.listener.changed();
                Ok(())
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
        let detail = self.inner.listener.echo.hide(&detail).into_owned();
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

/// A status that only says that a session is gone proves nothing about a call in a new one.
fn proven(mut heard: Heard) -> Heard {
    if let Reply::NotSent(words) | Reply::TurnedAway { words, .. } | Reply::Lost(words) =
        &mut heard.reply
    {
        *words = without_addresses(words);
    }
    match &heard.reply {
        Reply::TurnedAway { status, .. } if !TURNED_AWAY.contains(status) => {
            Reply::Lost(format!("it answered with {}", heard.reply.why())).into()
        }
        Reply::TurnedAway { .. }
        | Reply::Result { .. }
        | Reply::RpcError { .. }
        | Reply::NotSent(_)
        | Reply::TooLarge { .. }
        | Reply::Lost(_) => heard,
    }
}
