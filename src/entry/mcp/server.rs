//! The MCP server proper: names the caller, finds the tool, runs the call, shapes the answer.
//!
//! A call runs in a task of its own, to its end. Whoever made it may cancel, disconnect or time
//! out: that ends the waiting for an answer, never the effect, and nothing is done twice.
//!
//! A refusal is an answer (`isError: false`). A request that could not be answered at all is a
//! tool error with `code`, `detail` and `recovery`. Only a tool that does not exist, or parameters
//! that are none, are errors of the protocol.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use axum::http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestMethod,
    CompleteRequestParams, CompleteResult, ContentBlock, CustomRequest, CustomResult,
    DiscoverResult, ErrorCode, ErrorData, Extensions, Implementation, InitializeRequestParams,
    InitializeResult, ListPromptsRequestMethod, ListPromptsResult,
    ListResourceTemplatesRequestMethod, ListResourceTemplatesResult, ListResourcesRequestMethod,
    ListResourcesResult, ListToolsResult, MetaObject, PaginatedRequestParams, ServerCapabilities,
    ServerConfig, SubscriptionFilter,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, SubscriptionContext};
use rmcp::{Peer, ServerHandler};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::finder::{self, Finder};
use super::lists::Changes;
use super::schemas::CURSOR;
use super::surface::{Route, Surface};
use crate::broker::core::places::Kind;
use crate::broker::tools::invoke::Invoked;
use crate::broker::{Broker, Trouble};
use crate::domain::ids::OrgId;
use crate::domain::principal::Principal;
use crate::domain::reason::Recovery;
use crate::domain::tool::Risk;
use crate::entry::operations::{self, Call, Effect};
use crate::entry::shapes;

/// Told to agents when they connect.
const INSTRUCTIONS: &str = "Every tool that moves money or changes something comes as a pair. \
    First call `<tool>_propose`: it has no side effect and answers `allowed`, `held` or `blocked`. \
    If allowed, call `<tool>_commit` with the proposal's id, its commit token and exactly the same \
    arguments; the token is good once and for a short time. If held, a person has to agree: call \
    `await_proposal`, then commit with the token it returns. Never repeat a commit whose answer \
    was lost: read `get_proposal` instead. Every refusal names a `recovery`: `fix_args`, \
    `propose_again`, `renew_token` (the proposal stands: `get_proposal` has a fresh token), \
    `get_approval`, `wait`, `read_outcome`, `reduce_scope` or `stop`.";

/// Put into a request by whoever let it in.
#[derive(Clone)]
pub struct Admitted {
    /// Who asks.
    pub who: Arc<Principal>,
    /// The message as the strict reader read it.
    pub document: Arc<Value>,
}

/// What all connections of one door share.
pub struct Shared {
    broker: Broker,
    /// For each organisation that was asked about; those without tools of their own share one.
    surfaces: ArcSwap<HashMap<OrgId, Arc<Surface>>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Shared {
    /// A door to this broker. Once `closing` is cancelled, nobody waits for people any longer.
    pub fn new(broker: Broker, closing: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            closing,
            broker,
            surfaces: ArcSwap::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Held while an answer is on its way to its reader, so that [`Shared::drained`] waits for it.
    pub fn answering(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Resolves once every call under way has ended, and every answer is out.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(super) fn surface(&self, org: &OrgId) -> Arc<Surface> {
        let tools = self.broker.tools.catalogue().tools(org);
        let known = self.surfaces.load();
        let bank = self.broker.settings().bank.holders.owns(org);
        let shows = |surface: &&Arc<Surface>| surface.shows(&tools, bank);
        if let Some(surface) = known.get(org).filter(shows) {
            return surface.clone();
        }
        // Two calls may build it at once; both build the same.
        let surface = known.values().find(shows).cloned().unwrap_or_else(|| {
            let ttl = self.broker.settings().token_ttl_secs;
            Arc::new(Surface::of(tools.clone(), bank, ttl))
        });
        self.surfaces.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(org.clone(), surface.clone());
            known
        });
        surface
    }

    /// The broker behind this door.
    pub(super) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// What a tool's name leads to now, for this caller.
    pub fn route(&self, who: &Principal, name: &str) -> Option<Route> {
        let finder = Finder::named(name, who).map(Route::Find);
        finder.or_else(|| self.tool(who, name))
    }

    /// The same, but for the tools that stand for a list.
    fn tool(&self, who: &Principal, name: &str) -> Option<Route> {
        let surface = self.surface(&who.org);
        let route = surface.route(name)?;
        Surface::is_behind(route, who).then(|| route.clone())
    }

    /// One of the tools that stand for a list.
    async fn find(
        &self,
        finder: Finder,
        who: Principal,
        arguments: Option<Value>,
        gone: CancellationToken,
        conversation: Option<String>,
    ) -> Result<CallToolResult, ErrorData> {
        if finder != Finder::Call {
            let told = self.looked_up(finder, &who, arguments).await;
            return Ok(told.unwrap_or_else(|trouble| troubled(&trouble)));
        }
        let asked: finder::Named = match finder::read(arguments) {
            Ok(asked) => asked,
            Err(trouble) => return Ok(troubled(&trouble)),
        };
        let (route, arguments) = match self.tool(&who, &asked.name) {
            Some(route) => (route, asked.arguments),
            // By its own name, and so with nothing but its own arguments.
            None => match self.proposed(&who, &asked.name) {
                Some(route) => (route, Some(json!({"arguments": asked.arguments}))),
                None => {
                    let unknown = finder::unknown(&asked.name);
                    let tools = &self.broker.tools;
                    return Ok(troubled(&tools.traced(&who, &asked.name, unknown)));
                }
            },
        };
        Box::pin(self.call(route, who, arguments, gone, conversation)).await
    }

    /// The first step of the high-risk tool of this very name.
    fn proposed(&self, who: &Principal, name: &str) -> Option<Route> {
        let high = self.broker.tools.risk_of(who, name) == Some(Risk::High);
        let tool = self.broker.tools.catalogue().get(&who.org, name);
        tool.filter(|_| high).map(Route::Propose)
    }

    async fn looked_up(
        &self,
        finder: Finder,
        who: &Principal,
        arguments: Option<Value>,
    ) -> Result<CallToolResult, Trouble> {
        let all = self.all(who).await?;
        let told = match finder {
            Finder::Search => finder::search(&all, &finder::read(arguments)?)?,
            Finder::Describe | Finder::Call => {
                let asked: finder::Named = finder::read(arguments)?;
                let found = all.iter().find(|tool| tool.name == asked.name.as_str());
                finder::describe(found.ok_or_else(|| finder::unknown(&asked.name))?)
            }
        };
        Ok(CallToolResult::structured(told))
    }

    /// Runs one call to its end, whoever stops waiting for it.
    pub async fn call(
        &self,
        route: Route,
        who: Principal,
        arguments: Option<Value>,
        gone: CancellationToken,
        conversation: Option<String>,
    ) -> Result<CallToolResult, ErrorData> {
        if let Route::Find(finder) = route {
            return self.find(finder, who, arguments, gone, conversation).await;
        }
        if !Surface::permits(&route, &who) {
            let refused = Trouble::Forbidden { roles: who.roles };
            let refused = match &route {
                Route::Propose(tool) | Route::Through(tool) => {
                    self.broker.tools.traced(&who, tool.name.as_str(), refused)
                }
                Route::Commit(_) | Route::Operation(_) | Route::Find(_) => refused,
            };
            return Ok(troubled(&refused));
        }
        // Counted apart, so that whoever waits for people can still commit; and for each caller.
        let kind = match &route {
            Route::Operation(operation) if operation.effect == Effect::Waits => Some(Kind::Wait),
            Route::Operation(_) | Route::Propose(_) | Route::Through(_) | Route::Find(_) => {
                Some(Kind::Call)
            }
            // The broker counts it.
            Route::Commit(_) => None,
        };
        let place = kind.map(|kind| self.broker.places().enter(&who, kind));
        let place = match place.transpose() {
            Ok(place) => place,
            Err(trouble) => return Ok(troubled(&trouble)),
        };
        let call = Call {
            broker: self.broker.clone(),
            who,
            conversation,
            names: None,
            gone,
            closing: self.closing.clone(),
        };
        let task = self.tasks.spawn(async move {
            let _place = place;
            run(route, call, arguments).await
        });
        match task.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(trouble)) => Ok(troubled(&trouble)),
            Err(error) => {
                tracing::error!(%error, "a tool call ended abnormally");
                let text = "the call ended abnormally; if it was a commit, read the proposal";
                Err(ErrorData::internal_error(text, None))
            }
        }
    }
}

/// One connection, or one stateless request.
pub struct Door {
    shared: Arc<Shared>,
    /// Ends the watching for changes when the connection is gone.
    watching: OnceLock<DropGuard>,
}

impl Door {
    /// A new connection. Each of its requests has to carry an [`Admitted`].
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            watching: OnceLock::new(),
        }
    }
}

async fn run(
    route: Route,
    call: Call,
    arguments: Option<Value>,
) -> Result<CallToolResult, Trouble> {
    let input = arguments.unwrap_or_else(|| json!({}));
    let (steps, unfit) = (operations::steps(), Trouble::InvalidArguments);
    // What a provider answered to a commit is somebody else's text, too.
    let untrusted = matches!(route, Route::Commit(_));
    let answer = match route {
        Route::Propose(tool) => {
            let (tools, who) = (call.broker.tools.clone(), call.who.clone());
            let name = tool.name.as_str();
            let answer = steps.propose.answer(call, name, input, unfit).await;
            answer.map_err(|trouble| tools.traced(&who, name, trouble))
        }
        Route::Commit(tool) => {
            steps
                .commit
                .answer(call, tool.name.as_str(), input, unfit)
                .await
        }
        Route::Operation(operation) => operation.answer(call, input, unfit).await,
        Route::Find(_) => return Err(Trouble::NotFound("tool")),
        Route::Through(tool) => {
            let (tools, within) = (&call.broker.tools, call.conversation.as_deref());
            let called = tools.call(&call.who, tool.name.as_str(), &input, within);
            return Ok(passed_on(called.await?));
        }
    };
    let mut body = answer?.body.into_value();
    if let Some(fields) = body.as_object_mut()
        && fields.get(CURSOR).is_some_and(Value::is_null)
    {
        fields.remove(CURSOR);
    }
    let mut result = CallToolResult::structured(body);
    if untrusted {
        let meta = json!({"untrusted": true});
        result.meta = meta.as_object().cloned().map(MetaObject);
    }
    Ok(result)
}

/// An upstream's answer: its content blocks as they came, so that an image stays an image, beside
/// a structured answer that fits the schema its tool is listed with.
fn passed_on(invoked: Invoked) -> CallToolResult {
    let meta = json!({
        // Somebody else's text: what it says is no word of ours.
        "untrusted": true,
        "masked": invoked.masked,
        "trace_id": invoked.trace,
        "tool_version": invoked.version,
        "duration_ms": u64::try_from(invoked.duration.as_millis()).unwrap_or(u64::MAX),
    });
    let structured = if invoked.is_error {
        json!({
            "code": "upstream_refused",
            "detail": "the tool answered with an error, attached as `content`",
            "recovery": Recovery::FixArgs.code(),
            "content": invoked.content,
        })
    } else if invoked.content.is_object() {
        invoked.content
    } else {
        // Structured answers are objects; what is none becomes a field of one.
        json!({"content": invoked.content})
    };
    // A block of a kind that is not known here is kept as what it says.
    let block = |block: &Value| {
        let known = ContentBlock::deserialize(block);
        known.unwrap_or_else(|_| ContentBlock::text(block.to_string()))
    };
    let blocks = match invoked.blocks.as_array().map(Vec::as_slice) {
        None | Some([]) => vec![ContentBlock::text(structured.to_string())],
        Some(blocks) => blocks.iter().map(block).collect(),
    };
    let mut result = match invoked.is_error {
        true => CallToolResult::error(blocks),
        false => CallToolResult::success(blocks),
    };
    result.structured_content = Some(structured);
    result.meta = meta.as_object().cloned().map(MetaObject);
    result
}

fn troubled(trouble: &Trouble) -> CallToolResult {
    let mut body = json!({
        "code": trouble.code(),
        "detail": trouble.to_string(),
        "recovery": trouble.recovery().code(),
    });
    if let Trouble::Overloaded { retry_after_secs } | Trouble::RateLimited { retry_after_secs } =
        trouble.cause()
    {
        body["retry_after_secs"] = json!(retry_after_secs);
    }
    // What a problem names over REST, it names here.
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), shapes::places(trouble)) {
        body.extend(more);
    }
    let trace = body.get("trace_id").cloned();
    let mut result = CallToolResult::structured_error(body);
    let meta = trace.map(|trace| json!({"trace_id": trace}));
    result.meta = meta.and_then(|meta| meta.as_object().cloned().map(MetaObject));
    result
}

/// Who asks and what exactly they wrote. A request without is a mistake of ours, and refused.
fn admitted(context: &mut RequestContext<RoleServer>) -> Result<Admitted, ErrorData> {
    let_in(&mut context.extensions)
        .ok_or_else(|| ErrorData::internal_error("the request was not let in", None))
}

/// What the client calls the conversation that a call belongs to.
pub(super) fn conversation(document: &Value) -> Option<String> {
    let name = document.pointer("/params/_meta/hundi~1conversation")?;
    name.as_str().map(str::to_owned)
}

/// What whoever let a message in has put into it, taken out.
fn let_in(extensions: &mut Extensions) -> Option<Admitted> {
    match extensions.get_mut::<Parts>() {
        Some(parts) => parts.extensions.remove::<Admitted>(),
        None => extensions.remove::<Admitted>(),
    }
}

/// What the caller's server tells those who connect, before what every server tells.
fn instructions(who: &Principal) -> Option<String> {
    let server = &who.server.as_ref()?.server;
    let words = server.instructions.as_ref()?;
    Some(format!("{words}\n\n{INSTRUCTIONS}"))
}

/// Why a request of the protocol could not be answered.
pub(super) fn refused(trouble: &Trouble) -> ErrorData {
    let data = json!({"code": trouble.code(), "recovery": trouble.recovery().code()});
    ErrorData::internal_error(trouble.to_string(), Some(data))
}

/// The tool's arguments as the strict reader read them, so that what is hashed is what was sent
/// and not what a second reader made of it.
fn arguments(document: Arc<Value>) -> Option<Value> {
    let mut document = Arc::unwrap_or_clone(document);
    document
        .get_mut("params")
        .and_then(|params| params.get_mut("arguments"))
        .map(Value::take)
}

impl ServerHandler for Door {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        let ours = Implementation::new("hundi", env!("CARGO_PKG_VERSION"))
            .with_title("hundi")
            .with_description("Two-phase propose/commit broker: an order to pay, honoured once.");
        ServerConfig::new(capabilities)
            .with_server_info(ours)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        mut context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let who = admitted(&mut context)?.who;
        let cursor = request.and_then(|page| page.cursor);
        self.shared.page(&who, cursor.as_deref()).await
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Admitted { who, document } = admitted(&mut context)?;
        let Some(route) = self.shared.route(&who, &request.name) else {
            let short: String = request.name.chars().take(80).collect();
            let text = format!("Unknown tool: {short}");
            return Err(ErrorData::invalid_params(text, None));
        };
        let who = Arc::unwrap_or_clone(who);
        let conversation = conversation(&document);
        let arguments = arguments(document);
        let called = self
            .shared
            .call(route, who, arguments, context.ct, conversation);
        let result = called.await?;
        Ok(result.into())
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut told = self.negotiate_initialize(&request)?;
        if let Some(words) = instructions(&admitted(&mut context)?.who) {
            told.instructions = Some(words);
        }
        Ok(told)
    }

    async fn discover(
        &self,
        mut context: RequestContext<RoleServer>,
    ) -> Result<DiscoverResult, ErrorData> {
        let versions = self.supported_protocol_versions().into_owned();
        let mut told = DiscoverResult::from_server_info(versions, self.get_info());
        if let Some(words) = instructions(&admitted(&mut context)?.who) {
            told.instructions = Some(words);
        }
        Ok(told)
    }

    async fn on_initialized(&self, mut context: NotificationContext<RoleServer>) {
        let Some(Admitted { who, .. }) = let_in(&mut context.extensions) else {
            return;
        };
        let gone = CancellationToken::new();
        if self.watching.set(gone.clone().drop_guard()).is_ok() {
            tokio::spawn(tell_changes(self.shared.clone(), who, context.peer, gone));
        }
    }

    fn accepted_subscription_filter(
        &self,
        _requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut extensions = context.request_context().extensions.clone();
        let who = let_in(&mut extensions).map(|admitted| admitted.who);
        let wanted = context.accepted().tools_list_changed == Some(true);
        if let Some(who) = who.filter(|_| wanted) {
            let mut changes = Changes::of(self.shared.clone(), who).await;
            loop {
                tokio::select! {
                    () = context.cancelled() => return Ok(()),
                    more = changes.next() => {
                        if !more || context.sink().notify_tool_list_changed().await.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
        }
        context.cancelled().await;
        Ok(())
    }

    // The library answers these with empty lists. Nothing of the kind is declared, so they do not
    // exist.

    async fn complete(
        &self,
        _request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(ErrorData::method_not_found::<CompleteRequestMethod>())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListResourcesRequestMethod>())
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Err(ErrorData::method_not_found::<
            ListResourceTemplatesRequestMethod,
        >())
    }

    /// Where the library sends what it could not read as the method it names.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let known = ["server/discover", "tools/list", "tools/call"];
        if known.contains(&request.method.as_str()) {
            let text = format!("the parameters of {} are not what it takes", request.method);
            return Err(ErrorData::invalid_params(text, None));
        }
        Err(ErrorData::new(
            ErrorCode::METHOD_NOT_FOUND,
            request.method,
            None,
        ))
    }
}

async fn tell_changes(
    shared: Arc<Shared>,
    who: Arc<Principal>,
    peer: Peer<RoleServer>,
    gone: CancellationToken,
) {
    let mut changes = Changes::of(shared, who).await;
    loop {
        tokio::select! {
            () = gone.cancelled() => return,
            more = changes.next() => {
                if !more || peer.notify_tool_list_changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_an_upstream_is_passed_on_in_order() {
        let text = json!({"type": "text", "text": "see"});
        let image = json!({"type": "image", "data": "AAAA", "mimeType": "image/png"});
        let widget = json!({"type": "widget", "foo": 1});
        let passed = passed_on(Invoked {
            content: json!({"id": "x1"}),
            blocks: json!([text, image, widget]),
            is_error: false,
            masked: Vec::new(),
            trace: "0191d8a0-0000-7000-8000-000000000000".parse().unwrap(),
            version: None,
            duration: std::time::Duration::ZERO,
        });
        let passed = serde_json::to_value(passed).unwrap();
        assert_eq!(passed["structuredContent"], json!({"id": "x1"}));
        let blocks = &passed["content"];
        assert_eq!((&blocks[0]["text"], &blocks[1]), (&json!("see"), &image));
        let kept: Value = serde_json::from_str(blocks[2]["text"].as_str().unwrap()).unwrap();
        assert_eq!(kept, widget);
    }
}
