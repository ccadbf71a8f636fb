//! One conversation with an upstream, from its handshake to its end.
//!
//! Calls share it: answers find their request by id, late and foreign ones find nobody. Every
//! wait has a deadline, because the protocol library has none. A conversation that has ended
//! stays ended; the supervisor begins another.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig,
    ClientRequest, Implementation, JsonObject, ListToolsRequest, PaginatedRequestParams,
    PingRequest, ProtocolVersion, RequestId, ServerJsonRpcMessage, ServerResult,
    SubscriptionFilter,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, NotificationContext, Peer, PeerRequestOptions,
    ServiceError, serve_client_with_lifecycle_and_ct,
};
use rmcp::transport::IntoTransport;
use rmcp::{ClientHandler, RoleClient};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::direct::Direct;
use super::mcp::Protocol;
use super::ticket::Ticket;
use super::{Heard, Offered};
use crate::domain::call::Reply;

/// Most pages of a list of tools: more is a loop, not a list.
const MAX_PAGES: usize = 100;
/// Most tools of one upstream.
const MAX_TOOLS: usize = 1000;
/// How long an upstream may take to show that it is alive.
const PULSE: Duration = Duration::from_secs(2);

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
    direct: Option<Direct>,
    protocol: Protocol,
    over: CancellationToken,
    heard: Arc<AtomicU64>,
    answered: AtomicBool,
    feeling: AtomicBool,
}

impl Session {
    /// Shakes hands over `transport` and keeps the conversation going until `over` is cancelled,
    /// which also happens when it ends by itself. `heard` counts what the upstream says.
    pub(super) async fn open<T, E, A>(
        listener: Listener,
        transport: T,
        protocol: Protocol,
        over: CancellationToken,
        heard: Arc<AtomicU64>,
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
        let opening = serve_client_with_lifecycle_and_ct(listener, transport, mode, over.clone());
        let service = match timeout_at(until, opening).await {
            Ok(Ok(service)) => service,
            Ok(Err(error)) => {
                over.cancel();
                return Err(not_opened(error));
            }
            Err(_) => {
                over.cancel();
                let why = "it did not answer the handshake in time";
                return Err(NotOpened::Failed(why.to_owned()));
            }
        };
        let session = Self {
            peer: service.peer().clone(),
            direct: None,
            protocol,
            over: over.clone(),
            heard,
            answered: AtomicBool::new(false),
            feeling: AtomicBool::new(false),
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
    pub(super) fn with_direct(self, direct: Direct) -> Self {
        let direct = match self.protocol {
            Protocol::Initialize | Protocol::Auto => Some(direct),
            Protocol::Discover => None,
        };
        Self { direct, ..self }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// True once it has answered a call or a list: it works.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.over.cancel();
    }

    /// Calls a tool once.
    pub(super) async fn call(&self, tool: &str, arguments: JsonObject, until: Instant) -> Heard {
        let ticket = Ticket::default();
        let heard = self.heard.load(Ordering::Relaxed);
        let why = match self.ask_tool(tool, arguments, &ticket, until).await {
            Ok(ServerResult::CallToolResult(result)) => return whole(result),
            Ok(_) => "it answered with something that is no tool result".to_owned(),
            Err(Unanswered::Refused { code, message }) => {
                return Reply::RpcError { code, message }.into();
            }
            Err(Unanswered::Late) => {
                if self.heard.load(Ordering::Relaxed) == heard {
                    self.feel_pulse().await;
                }
                "no answer within the deadline".to_owned()
            }
            Err(Unanswered::Broken(why)) => why,
        };
        let reply = if ticket.withdraw() {
            Reply::NotSent(why)
        } else {
            Reply::Lost(why)
        };
        reply.into()
    }

    /// Every tool it offers now, over all pages.
    pub(super) async fn list(&self, until: Instant) -> Result<Vec<Offered>, String> {
        let mut tools: Vec<Offered> = Vec::new();
        let mut cursor = None;
        for _ in 0..MAX_PAGES {
            let params = PaginatedRequestParams::default().with_cursor(cursor.take());
            let request = ListToolsRequest::with_param(params);
            let page = match self
                .ask(ClientRequest::ListToolsRequest(request), until)
                .await
            {
                Ok(ServerResult::ListToolsResult(page)) => page,
                Ok(_) => return Err("it answered with something that is no list".to_owned()),
                Err(Unanswered::Refused { code, message }) => {
                    return Err(format!("it refused: {message} ({code})"));
                }
                Err(Unanswered::Late) => return Err("no answer within the deadline".to_owned()),
                Err(Unanswered::Broken(why)) => return Err(why),
            };
            for tool in page.tools {
                let tool = offered(tool);
                // Two definitions under one name: nobody could say which one was accepted.
                if tools.iter().any(|other| other.name == tool.name) {
                    return Err(format!("it offers {} twice", tool.name));
                }
                tools.push(tool);
            }
            if tools.len() > MAX_TOOLS {
                return Err(format!("it offers more than {MAX_TOOLS} tools"));
            }
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(tools),
            }
        }
        Err(format!("its list has more than {MAX_PAGES} pages"))
    }

    /// By the short way where there is one.
    async fn ask_tool(
        &self,
        tool: &str,
        arguments: JsonObject,
        ticket: &Ticket,
        until: Instant,
    ) -> Result<ServerResult, Unanswered> {
        let params = CallToolRequestParams::new(tool.to_owned());
        let mut request = CallToolRequest::new(params.with_arguments(arguments));
        request.extensions.insert(ticket.clone());
        if let Some(direct) = &self.direct
            && let Some(id) = direct.id()
        {
            match timeout_at(until, direct.post(&id, request)).await {
                Ok(Ok(answer)) => return self.noted(answer),
                Ok(Err(handed)) => {
                    // Nothing of this one is sent.
                    request = CallToolRequest::new(CallToolRequestParams::new(tool.to_owned()));
                    request.extensions.insert(handed);
                }
                Err(_) => return Err(Unanswered::Late),
            }
        }
        self.ask(ClientRequest::CallToolRequest(request), until)
            .await
    }

    async fn ask(
        &self,
        request: ClientRequest,
        until: Instant,
    ) -> Result<ServerResult, Unanswered> {
        let options = PeerRequestOptions::no_options();
        let sending = self.peer.send_cancellable_request(request, options);
        let sent = timeout_at(until, sending).await;
        let mut handle = sent.map_err(|_| Unanswered::Late)?.map_err(broken)?;
        match timeout_at(until, &mut handle.rx).await {
            Ok(Ok(answer)) => self.noted(answer.map_err(broken)),
            Ok(Err(_)) => Err(Unanswered::Broken("the conversation ended".to_owned())),
            Err(_) => {
                // Frees the id, so that a late answer finds nobody; nobody waits for this.
                tokio::spawn(handle.cancel(Some("deadline".to_owned())));
                Err(Unanswered::Late)
            }
        }
    }

    /// `answer`, after noting whether it is one.
    fn noted(&self, answer: Result<ServerResult, Unanswered>) -> Result<ServerResult, Unanswered> {
        if matches!(answer, Ok(_) | Err(Unanswered::Refused { .. })) {
            self.answered.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// After a silence as long as a whole deadline: ends the conversation unless the upstream
    /// still answers something.
    async fn feel_pulse(&self) {
        if self.feeling.swap(true, Ordering::AcqRel) {
            return;
        }
        let request = match self.protocol {
            Protocol::Initialize | Protocol::Auto => {
                ClientRequest::PingRequest(PingRequest::default())
            }
            // The newer protocol has no ping.
            Protocol::Discover => ClientRequest::ListToolsRequest(ListToolsRequest::default()),
        };
        let (heard, peer, over) = (self.heard.clone(), self.peer.clone(), self.over.clone());
        let before = heard.load(Ordering::Relaxed);
        let pulse = timeout(PULSE, peer.send_request(request)).await;
        let silent = matches!(pulse, Err(_) | Ok(Err(ServiceError::TransportSend(_))));
        if silent && heard.load(Ordering::Relaxed) == before {
            over.cancel();
        }
        self.feeling.store(false, Ordering::Release);
    }
}

/// Why a request has no result.
pub(super) enum Unanswered {
    /// The upstream answered with a JSON-RPC error.
    Refused { code: i64, message: String },
    /// The deadline passed.
    Late,
    /// The conversation broke, or the request never entered it.
    Broken(String),
}

fn broken(error: ServiceError) -> Unanswered {
    if let ServiceError::McpError(error) = error {
        return Unanswered::Refused {
            code: error.code.0.into(),
            message: error.message.into_owned(),
        };
    }
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

/// The answer to a tool call, if `text` is nothing else. Nearly every message is one, and the
/// library tries all other kinds first, each on a copy; what is not read here is left to it.
pub(super) fn tool_answer(text: &[u8]) -> Option<(RequestId, ServerJsonRpcMessage)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answer<'a> {
        #[serde(borrow)]
        jsonrpc: Cow<'a, str>,
        id: RequestId,
        result: CallToolResult,
    }
    let Answer {
        jsonrpc,
        id,
        result,
    } = serde_json::from_slice(text).ok()?;
    // No other result has any of these.
    let tells = !result.content.is_empty()
        || result.structured_content.is_some()
        || result.is_error.is_some();
    (jsonrpc == "2.0" && tells).then(|| {
        let result = ServerResult::CallToolResult(result);
        (id.clone(), ServerJsonRpcMessage::response(result, id))
    })
}

fn whole(result: CallToolResult) -> Heard {
    let blocks = serde_json::to_value(&result.content).unwrap_or(Value::Null);
    let reply = reply_of(result);
    Heard { reply, blocks }
}

/// The structured content, or the first text parsed as JSON, or that text.
fn reply_of(result: CallToolResult) -> Reply {
    let is_error = result.is_error.unwrap_or(false);
    let mut texts = result.content.iter().filter_map(|block| block.as_text());
    let content = match (result.structured_content, texts.next()) {
        (Some(structured), _) => structured,
        (None, Some(first)) => {
            let parsed = serde_json::from_str(&first.text);
            parsed.unwrap_or_else(|_| Value::String(first.text.clone()))
        }
        (None, None) if result.content.is_empty() => Value::Null,
        (None, None) => serde_json::to_value(&result.content).unwrap_or(Value::Null),
    };
    Reply::Result { content, is_error }
}

fn offered(tool: rmcp::model::Tool) -> Offered {
    let object = |schema: &JsonObject| Value::Object(schema.clone());
    Offered {
        name: tool.name.into_owned(),
        description: tool.description.unwrap_or_default().into_owned(),
        input_schema: object(&tool.input_schema),
        output_schema: tool.output_schema.as_deref().map(object),
        annotations: serde_json::to_value(&tool.annotations).unwrap_or(Value::Null),
    }
}

/// What the upstream may tell us unasked: that its list of tools changed. It gets no roots, no
/// samples and no answers from people.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) upstream: Arc<str>,
    pub(super) changes: broadcast::Sender<String>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tool_answer_is_read_as_the_library_reads_it() {
        let results = [
            json!({"content": [{"type": "text", "text": "a\"b"}], "isError": true}),
            json!({"content": [], "structuredContent": {"x": [1, null]}, "isError": false}),
            json!({"structuredContent": null, "_meta": {"a": 1}}),
            json!({"resultType": "complete", "content": [
                {"type": "image", "data": "AA==", "mimeType": "image/png"},
                {"type": "resource_link", "uri": "a:b", "name": "n"},
            ]}),
        ];
        for result in results {
            for id in [json!(7), json!("seven")] {
                let text = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
                let (known, read) = tool_answer(text.as_bytes()).unwrap();
                let library: ServerJsonRpcMessage = serde_json::from_str(&text).unwrap();
                assert_eq!(format!("{read:?}"), format!("{library:?}"), "{text}");
                assert_eq!(serde_json::to_value(known).unwrap(), id);
            }
        }
    }

    #[test]
    fn what_is_no_tool_answer_is_left_to_the_library() {
        let others = [
            json!({"jsonrpc": "2.0", "id": 1, "result": {}}),
            json!({"jsonrpc": "2.0", "id": 1, "result": {"_meta": {"a": 1}}}),
            json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [], "_meta": {}}}),
            json!({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "input_required", "content": []}}),
            json!({"jsonrpc": "2.0", "id": 1, "result": {"isError": "yes"}}),
            json!({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "m"}}),
            json!({"jsonrpc": "2.0", "id": null, "result": {"isError": false}}),
            json!({"jsonrpc": "1.0", "id": 1, "result": {"isError": false}}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "m", "result": {"isError": false}}),
            json!([]),
        ];
        for other in others {
            assert!(
                tool_answer(other.to_string().as_bytes()).is_none(),
                "{other}"
            );
        }
        assert!(tool_answer(b"log line").is_none());
    }
}
