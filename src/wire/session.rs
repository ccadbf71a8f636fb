//! One conversation with an upstream, from its handshake to its end.
//!
//! Calls share it: answers find their request by id, foreign ones find nobody. Every wait has a
//! deadline, because the protocol library has none. A call that somebody minds goes on waiting for
//! a late answer for [`LINGER`], also in a conversation that is retired: it takes no new calls, and
//! ends with the last one who minds. A conversation that has ended stays ended; the supervisor
//! begins another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest,
    Implementation, JsonObject, ListToolsRequest, PaginatedRequestParams, PingRequest,
    ProtocolVersion, SubscriptionFilter,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, NotificationContext, Peer, PeerRequestOptions,
    RequestHandle, ServiceError, serve_client_with_lifecycle_and_ct,
};
use rmcp::transport::IntoTransport;
use rmcp::{ClientHandler, RoleClient};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::answer::{self, Said};
use super::calls::Calls;
use super::direct::{Direct, Posted};
use super::mcp::Protocol;
use super::offers::Offers;
use super::ticket::Ticket;
use super::{Heard, Late, Offered};
use crate::domain::call::Reply;
use crate::domain::echo::Echo;

/// Most pages of a list of tools: more is a loop, not a list.
const MAX_PAGES: usize = 100;
/// How long an upstream may take to show that it is alive.
const PULSE: Duration = Duration::from_secs(2);
/// How long after its deadline the answer to a call is still waited for, where somebody minds.
const LINGER: Duration = Duration::from_secs(600);

/// Why a conversation did not begin.
pub(super) enum NotOpened {
    /// The upstream answered, but does not speak this protocol.
    OtherProtocol(String),
    /// Anything else.
    Failed(String),
}

/// A live conversation. Ends by itself, by [`Session::end`], or with its token.
pub(super) struct Session {
    peer: Peer<RoleClient>,
    direct: Option<Arc<Direct>>,
    upstream: Arc<str>,
    echo: Arc<Echo>,
    calls: Calls,
    protocol: Protocol,
    over: CancellationToken,
    heard: Arc<AtomicU64>,
    answered: AtomicBool,
    retired: AtomicBool,
}

/// What came of a call.
pub(super) struct Called {
    pub(super) heard: Heard,
    /// Nothing was done, because the server has forgotten the session.
    pub(super) gone: bool,
}

impl Session {
    /// Shakes hands over `transport` and keeps the conversation going until `over` is cancelled,
    /// which also happens when it ends by itself. `heard` counts what the upstream says, and the
    /// transport shows it to `calls`.
    pub(super) async fn open<T, E, A>(
        listener: Listener,
        transport: T,
        protocol: Protocol,
        over: CancellationToken,
        heard: Arc<AtomicU64>,
        calls: Calls,
        until: Instant,
    ) -> Result<Self, NotOpened>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let changes = listener.clone();
        let mode = match protocol {
            Protocol::Initialize | Protocol::Auto => ClientLifecycleMode::Initialize,
            Protocol::Discover => ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            },
        };
        // Whoever stops waiting for the handshake ends the conversation.
        let unfinished = over.clone().drop_guard();
        let opening = serve_client_with_lifecycle_and_ct(listener, transport, mode, over.clone());
        let service = match timeout_at(until, opening).await {
            Ok(Ok(service)) => service,
            Ok(Err(error)) => return Err(not_opened(error)),
            Err(_) => {
                let why = "it did not answer the handshake in time";
                return Err(NotOpened::Failed(why.to_owned()));
            }
        };
        let session = Self {
            peer: service.peer().clone(),
            direct: None,
            upstream: changes.upstream.clone(),
            echo: changes.echo.clone(),
            calls,
            protocol,
            over: unfinished.disarm(),
            heard,
            answered: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        };
        tokio::spawn(async move {
            // Ends with the transport, and cancels `over` when it is dropped here.
            let _ = service.waiting().await;
        });
        if protocol == Protocol::Discover {
            tokio::spawn(subscribe(session.peer.clone(), changes, over));
        }
        Ok(session)
    }

    /// The same, with a short way for its calls. The newer protocol has none: what each of its
    /// posts carries depends on the call.
    pub(super) fn with_direct(mut self, direct: Direct) -> Self {
        self.direct = match self.protocol {
            Protocol::Initialize | Protocol::Auto => Some(Arc::new(direct)),
            Protocol::Discover => None,
        };
        self
    }

    /// It has ended, or takes no new calls.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled() || self.retired.load(Ordering::Relaxed)
    }

    /// True once it has answered a call or a list: it works.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Takes no new calls. It ends once nobody minds an answer of it any more.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Calls a tool once. An answer that comes after `until` goes to whoever minds.
    pub(super) async fn call(
        self: &Arc<Self>,
        tool: &str,
        arguments: JsonObject,
        until: Instant,
        late: &mut Option<Late>,
    ) -> Called {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let (ticket, mut told) = Ticket::new();
        let waiting = Waiting::of(&self.calls, &ticket);
        let before = self.heard.load(Ordering::Relaxed);
        let mut asking = Box::pin(self.clone().ask_tool(params, ticket.clone()));
        match self.first_word(&mut told, &mut asking, until).await {
            Ok(said) => return called(said),
            Err(Unanswered::Broken(why)) => return unanswered(&ticket, why).into(),
            Err(Unanswered::Late) => {}
        }
        let reply = unanswered(&ticket, "no answer within the deadline".to_owned());
        if let (Reply::Lost(_), Some(late)) = (&reply, late.take()) {
            let session = self.clone();
            tokio::spawn(async move {
                let _waiting = waiting;
                let until = Instant::now() + LINGER;
                if let Ok(said) = session.first_word(&mut told, &mut asking, until).await {
                    // Whoever minded may have found out otherwise.
                    let mut heard = called(said).heard;
                    heard.without(&session.echo);
                    let _ = late.send(heard);
                }
            });
        }
        if self.heard.load(Ordering::Relaxed) == before {
            self.feel_pulse().await;
        }
        reply.into()
    }

    /// What the call is told first, or why it is told nothing.
    async fn first_word(
        &self,
        told: &mut mpsc::UnboundedReceiver<Said>,
        asking: &mut (impl Future<Output = Unanswered> + Unpin),
        until: Instant,
    ) -> Result<Said, Unanswered> {
        let said = tokio::select! {
            biased;
            said = told.recv() => said.ok_or(Unanswered::Broken(ENDED.to_owned())),
            why = asking => told.try_recv().map_err(|_| why),
            () = sleep_until(until) => Err(Unanswered::Late),
        };
        if let Ok(Said::Result(_) | Said::Error { .. } | Said::TurnedAway { .. }) = said {
            self.answered.store(true, Ordering::Relaxed);
        }
        said
    }

    /// Every tool it offers now, over all pages. A definition that cannot be read hides that tool
    /// alone, and a list without end is cut.
    pub(super) async fn list(self: &Arc<Self>, until: Instant) -> Result<Vec<Offered>, String> {
        let (mut offers, mut cursor) = (Offers::default(), None);
        for _ in 0..MAX_PAGES {
            let page = self.page(cursor.take(), until).await?;
            for definition in page.tools {
                offers.read(definition.get());
            }
            cursor = offers.next(page.next_cursor);
            if cursor.is_none() {
                break;
            }
        }
        Ok(offers.end(&self.upstream))
    }

    async fn page(
        self: &Arc<Self>,
        cursor: Option<String>,
        until: Instant,
    ) -> Result<Page, String> {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let mut request = ListToolsRequest::with_param(params);
        let (ticket, mut told) = Ticket::for_list();
        let _waiting = Waiting::of(&self.calls, &ticket);
        request.extensions.insert(ticket.clone());
        let request = ClientRequest::ListToolsRequest(request);
        let mut asking = Box::pin(self.clone().ask(request, ticket));
        match self.first_word(&mut told, &mut asking, until).await {
            Ok(Said::Result(page)) => serde_json::from_str(page.get())
                .map_err(|_| "it answered with something that is no list".to_owned()),
            Ok(Said::Error { code, message }) => Err(format!("it refused: {message} ({code})")),
            Ok(other) => Err(called(other).heard.reply.why()),
            Err(Unanswered::Late) => Err("no answer within the deadline".to_owned()),
            Err(Unanswered::Broken(why)) => Err(why),
        }
    }

    /// By the short way where there is one. Ends with why nothing more will be told.
    async fn ask_tool(
        self: Arc<Self>,
        params: CallToolRequestParams,
        ticket: Ticket,
    ) -> Unanswered {
        let tool = params.name.clone();
        let mut request = CallToolRequest::new(params);
        request.extensions.insert(ticket.clone());
        if let Some(direct) = &self.direct
            && let Some(id) = direct.id()
        {
            match direct.post(&id, request, &ticket).await {
                Posted::Told => return Unanswered::Broken(ENDED.to_owned()),
                Posted::Broken(why) => return Unanswered::Broken(why),
                Posted::Handed(handed) => {
                    // Nothing of this one is sent.
                    request = CallToolRequest::new(CallToolRequestParams::new(tool));
                    request.extensions.insert(handed);
                }
            }
        }
        self.ask(ClientRequest::CallToolRequest(request), ticket)
            .await
    }

    /// By the library. Ends with why nothing more will be told.
    async fn ask(self: Arc<Self>, request: ClientRequest, ticket: Ticket) -> Unanswered {
        let options = PeerRequestOptions::no_options();
        let handle = match self.peer.send_cancellable_request(request, options).await {
            Ok(handle) => handle,
            Err(error) => return broken(error),
        };
        let mut asked = Asked {
            handle: Some(handle),
            ticket,
        };
        let answer = match &mut asked.handle {
            Some(handle) => (&mut handle.rx).await,
            None => return Unanswered::Broken(ENDED.to_owned()),
        };
        asked.handle = None;
        match answer {
            Ok(Ok(_)) => Unanswered::Broken("its answer is none to the call".to_owned()),
            Ok(Err(error)) => broken(error),
            Err(_) => Unanswered::Broken(ENDED.to_owned()),
        }
    }

    /// After a silence as long as a whole deadline: retires the conversation unless the upstream
    /// still answers something.
    async fn feel_pulse(&self) {
        if self.is_over() {
            return;
        }
        let request = match self.protocol {
            Protocol::Initialize | Protocol::Auto => {
                ClientRequest::PingRequest(PingRequest::default())
            }
            // The newer protocol has no ping.
            Protocol::Discover => ClientRequest::ListToolsRequest(ListToolsRequest::default()),
        };
        let before = self.heard.load(Ordering::Relaxed);
        let pulse = timeout(PULSE, self.peer.send_request(request)).await;
        let silent = matches!(pulse, Err(_) | Ok(Err(ServiceError::TransportSend(_))));
        if silent && self.heard.load(Ordering::Relaxed) == before {
            self.retire();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// Nothing more comes of a request.
const ENDED: &str = "the conversation ended";

/// A call that may be answered; dropped, it may no longer.
struct Waiting {
    calls: Calls,
    ticket: Ticket,
}

impl Waiting {
    fn of(calls: &Calls, ticket: &Ticket) -> Self {
        let (calls, ticket) = (calls.clone(), ticket.clone());
        Self { calls, ticket }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.calls.forget(&self.ticket);
    }
}

/// A request that the library keeps account of. Dropped without an answer it is cancelled, which
/// frees its id; nobody waits for that.
struct Asked {
    handle: Option<RequestHandle<RoleClient>>,
    ticket: Ticket,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        let (Some(mut handle), Ok(runtime)) = (self.handle.take(), runtime) else {
            return;
        };
        if self.ticket.is_told() {
            // The library is about to deliver a stand-in, and warns where nobody takes it.
            runtime.spawn(async move {
                let _ = timeout(PULSE, &mut handle.rx).await;
            });
        } else {
            runtime.spawn(handle.cancel(Some("deadline".to_owned())));
        }
    }
}

/// One page of a list of tools.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    tools: Vec<Box<RawValue>>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// Why a request was told nothing.
enum Unanswered {
    /// The deadline passed.
    Late,
    /// The conversation broke, or the request never entered it.
    Broken(String),
}

fn unanswered(ticket: &Ticket, why: String) -> Reply {
    match ticket.withdraw() {
        true => Reply::NotSent(why),
        false => Reply::Lost(why),
    }
}

/// What a call was told, as a reply.
fn called(said: Said) -> Called {
    let reply = match said {
        Said::Result(result) => match answer::tool_result(&result) {
            Ok(heard) => return Called { heard, gone: false },
            Err(why) => Reply::Lost(why),
        },
        Said::Error { code, message } => Reply::RpcError { code, message },
        Said::TurnedAway {
            status,
            words,
            gone,
        } => {
            let heard = Reply::TurnedAway { status, words }.into();
            return Called { heard, gone };
        }
        Said::TooLarge { limit } => Reply::TooLarge { limit },
        Said::Unreadable(why) => Reply::Lost(why),
    };
    reply.into()
}

impl From<Reply> for Called {
    fn from(reply: Reply) -> Self {
        Self {
            heard: reply.into(),
            gone: false,
        }
    }
}

/// Whatever the library says of a request, the upstream did not: its own errors are told apart
/// before they get here.
fn broken(error: ServiceError) -> Unanswered {
    if let ServiceError::TransportSend(error) = error {
        return Unanswered::Broken(error.error.to_string());
    }
    Unanswered::Broken(error.to_string())
}

fn not_opened(error: ClientInitializeError) -> NotOpened {
    use ClientInitializeError as Error;
    if let Error::JsonRpcError(error) = error {
        return NotOpened::OtherProtocol(format!("it refused the handshake: {}", error.message));
    }
    if matches!(error, Error::NoCompatibleProtocolVersion { .. }) {
        let why = "it speaks no version of the protocol that we do";
        return NotOpened::OtherProtocol(why.to_owned());
    }
    if matches!(error, Error::ConnectionClosed(_) | Error::Cancelled) {
        return NotOpened::Failed("it ended during the handshake".to_owned());
    }
    if let Error::TransportError { error, .. } = error {
        return NotOpened::Failed(error.error.to_string());
    }
    // What else it said is its own text, and long.
    NotOpened::Failed("its answer to the handshake makes no sense".to_owned())
}

/// What the upstream may tell us unasked: that its list of tools changed. It gets no roots, no
/// samples and no answers from people.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) upstream: Arc<str>,
    pub(super) changes: broadcast::Sender<String>,
    /// The secrets it was given, which it may not repeat.
    pub(super) echo: Arc<Echo>,
}

impl Listener {
    /// Tells whoever listens; nobody need.
    pub(super) fn changed(&self) {
        let _ = self.changes.send(self.upstream.to_string());
    }
}

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new("hundi", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), us)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed();
    }
}

/// In the newer protocol changes are told only to those who listen for them.
async fn subscribe(peer: Peer<RoleClient>, listener: Listener, over: CancellationToken) {
    let tells = peer.peer_info().is_some_and(|info| {
        let tools = info.capabilities.tools.as_ref();
        tools.is_some_and(|tools| tools.list_changed == Some(true))
    });
    if !tells {
        return;
    }
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    let listening = async {
        let mut subscription = peer.listen(filter).await?;
        while subscription.next().await?.is_some() {
            listener.changed();
        }
        Ok::<(), ServiceError>(())
    };
    tokio::select! {
        () = over.cancelled() => {}
        ended = listening => {
            // Whatever changed while nobody listened.
            listener.changed();
            tracing::debug!(upstream = %listener.upstream, ?ended, "its subscription ended");
        }
    }
}
