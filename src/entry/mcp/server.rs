//! The MCP server proper: names the caller, finds the tool, runs the call, shapes the answer.
//!
//! A call runs in a task of its own, to its end. Whoever made it may cancel, disconnect or time
//! out: that ends the waiting for an answer, never the effect, and nothing is done twice.
//!
//! A refusal is an answer (`isError: false`). A request that could not be answered at all is a
//! tool error with `code`, `detail` and `recovery`. Only a tool that does not exist, or parameters
//! that are none, are errors of the protocol.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use axum::http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestMethod,
    CompleteRequestParams, CompleteResult, ContentBlock, CustomRequest, CustomResult, ErrorCode,
    ErrorData, Extensions, Implementation, ListPromptsRequestMethod, ListPromptsResult,
    ListResourceTemplatesRequestMethod, ListResourceTemplatesResult, ListResourcesRequestMethod,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    SubscriptionFilter, Tool,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, SubscriptionContext};
use rmcp::{Peer, ServerHandler};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::schemas::CURSOR;
use super::surface::{Route, Surface};
use crate::broker::core::places::Kind;
use crate::broker::tools::invoke::Invoked;
use crate::broker::{Broker, Trouble};
use crate::domain::ids::OrgId;
use crate::domain::principal::Principal;
use crate::domain::reason::Recovery;
use crate::entry::operations::{self, Call, Effect};

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

    fn surface(&self, org: &OrgId) -> Arc<Surface> {
        let tools = self.broker.tools.catalogue().tools(org);
        let known = self.surfaces.load();
        let shows = |surface: &&Arc<Surface>| surface.shows(&tools);
        if let Some(surface) = known.get(org).filter(shows) {
            return surface.clone();
        }
        // Two calls may build it at once; both build the same.
        let surface = known.values().find(shows).cloned().unwrap_or_else(|| {
            let ttl = self.broker.settings().token_ttl_secs;
            Arc::new(Surface::of(tools.clone(), ttl))
        });
        self.surfaces.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(org.clone(), surface.clone());
            known
        });
        surface
    }

    /// The tools that this caller may call now, in a stable order.
    async fn list(&self, who: &Principal) -> Result<Vec<Tool>, Trouble> {
        let usable = self.broker.tools.usable_by(who).await?;
        let surface = self.surface(&who.org);
        let list = surface.list(who.roles);
        if usable.is_all() {
            return Ok(list.to_vec());
        }
        let may = |listed: &&Tool| {
            let route = surface.route(listed.name.as_ref());
            route.is_some_and(|route| route.tool().is_none_or(|tool| usable.has(tool)))
        };
        Ok(list.iter().filter(may).cloned().collect())
    }

    /// What a tool's name leads to now.
    pub fn route(&self, org: &OrgId, name: &str) -> Option<Route> {
        self.surface(org).route(name).cloned()
    }

    /// Runs one call to its end, whoever stops waiting for it.
    pub async fn call(
        &self,
        route: Route,
        who: Principal,
        arguments: Option<Value>,
        gone: CancellationToken,
    ) -> Result<CallToolResult, ErrorData> {
        if !Surface::permits(&route, &who) {
            return Ok(troubled(&Trouble::Forbidden { roles: who.roles }));
        }
        // Counted apart, so that whoever waits for people can still commit; and for each caller.
        let kind = match &route {
            Route::Operation(operation) if operation.effect == Effect::Waits => Some(Kind::Wait),
            Route::Operation(_) | Route::Propose(_) | Route::Through(_) => Some(Kind::Call),
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
    let answer = match route {
        Route::Propose(tool) => {
            steps
                .propose
                .answer(call, tool.name.as_str(), input, unfit)
                .await
        }
        Route::Commit(tool) => {
            steps
                .commit
                .answer(call, tool.name.as_str(), input, unfit)
                .await
        }
        Route::Operation(operation) => operation.answer(call, input, unfit).await,
        Route::Through(tool) => {
            let invoked = call
                .broker
                .tools
                .invoke(&call.who, tool.name.as_str(), &input);
            return Ok(passed_on(invoked.await?));
        }
    };
    let mut body = answer?.body.into_value();
    if let Some(fields) = body.as_object_mut()
        && fields.get(CURSOR).is_some_and(Value::is_null)
    {
        fields.remove(CURSOR);
    }
    Ok(CallToolResult::structured(body))
}

/// An upstream's answer: its content blocks as they came, so that an image stays an image, beside
/// a structured answer that fits the schema its tool is listed with.
fn passed_on(invoked: Invoked) -> CallToolResult {
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
    result
}

fn troubled(trouble: &Trouble) -> CallToolResult {
    let mut body = json!({
        "code": trouble.code(),
        "detail": trouble.to_string(),
        "recovery": trouble.recovery().code(),
    });
    if let Trouble::Overloaded { retry_after_secs } | Trouble::RateLimited { retry_after_secs } =
        trouble
    {
        body["retry_after_secs"] = json!(retry_after_secs);
    }
    CallToolResult::structured_error(body)
}

/// Who asks and what exactly they wrote. A request without is a mistake of ours, and refused.
fn admitted(context: &mut RequestContext<RoleServer>) -> Result<Admitted, ErrorData> {
    let from_http = context.extensions.get_mut::<Parts>();
    let admitted = match from_http {
        Some(parts) => parts.extensions.remove::<Admitted>(),
        None => context.extensions.remove::<Admitted>(),
    };
    admitted.ok_or_else(|| ErrorData::internal_error("the request was not let in", None))
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
        if request.is_some_and(|page| page.cursor.is_some()) {
            return Err(ErrorData::invalid_params("there is one page only", None));
        }
        let list = self.shared.list(&who).await.map_err(|trouble| {
            let data = json!({"code": trouble.code(), "recovery": trouble.recovery().code()});
            ErrorData::internal_error(trouble.to_string(), Some(data))
        })?;
        Ok(ListToolsResult::with_all_items(list))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Admitted { who, document } = admitted(&mut context)?;
        let Some(route) = self.shared.route(&who.org, &request.name) else {
            let short: String = request.name.chars().take(80).collect();
            let text = format!("Unknown tool: {short}");
            return Err(ErrorData::invalid_params(text, None));
        };
        let who = Arc::unwrap_or_clone(who);
        let arguments = arguments(document);
        let result = self.shared.call(route, who, arguments, context.ct).await?;
        Ok(result.into())
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let gone = CancellationToken::new();
        if self.watching.set(gone.clone().drop_guard()).is_ok() {
            let changes = self.changes(&context.extensions);
            tokio::spawn(tell_changes(changes, context.peer, gone));
        }
    }

    fn accepted_subscription_filter(
        &self,
        _requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes(&context.request_context().extensions);
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                changed = changes.next() => {
                    let told = changed && context.accepted().tools_list_changed == Some(true);
                    if !told {
                        context.cancelled().await;
                        return Ok(());
                    }
                    if context.sink().notify_tool_list_changed().await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
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

impl Door {
    /// Changes of the tools of whoever sent this.
    fn changes(&self, extensions: &Extensions) -> Changes {
        let from_http = extensions.get::<Parts>();
        let admitted = match from_http {
            Some(parts) => parts.extensions.get::<Admitted>(),
            None => extensions.get::<Admitted>(),
        };
        let org = admitted.map(|admitted| admitted.who.org.clone());
        let (broker, org) = (self.shared.broker.clone(), org.unwrap_or_default());
        Changes {
            changed: broker.tools.catalogue().watch(),
            seen: broker.tools.catalogue().tools(&org),
            broker,
            org,
        }
    }
}

/// Changes of one organisation's tools: those of another one are not heard.
struct Changes {
    changed: tokio::sync::watch::Receiver<u64>,
    seen: Arc<BTreeMap<String, Arc<crate::domain::tool::Tool>>>,
    broker: Broker,
    org: OrgId,
}

impl Changes {
    /// Waits for the next one; false once there are no more.
    async fn next(&mut self) -> bool {
        while self.changed.changed().await.is_ok() {
            let now = self.broker.tools.catalogue().tools(&self.org);
            if !Arc::ptr_eq(&now, &self.seen) {
                self.seen = now;
                return true;
            }
        }
        false
    }
}

async fn tell_changes(mut changes: Changes, peer: Peer<RoleServer>, gone: CancellationToken) {
    loop {
        tokio::select! {
            () = gone.cancelled() => return,
            changed = changes.next() => {
                if !changed || peer.notify_tool_list_changed().await.is_err() {
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
