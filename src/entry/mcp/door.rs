//! One connection, or one stateless request, as the MCP library serves it: each of its methods, for
//! whoever was let in.

use std::sync::{Arc, OnceLock};

use axum::http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestMethod,
    CompleteRequestParams, CompleteResult, CustomRequest, CustomResult, DiscoverResult, ErrorCode,
    ErrorData, Extensions, GetTaskParams, GetTaskResult, Implementation, InitializeRequestParams,
    InitializeResult, ListPromptsRequestMethod, ListPromptsResult,
    ListResourceTemplatesRequestMethod, ListResourceTemplatesResult, ListResourcesRequestMethod,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    SubscriptionFilter, UpdateTaskParams,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, SubscriptionContext};
use rmcp::{Peer, ServerHandler};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::lists::Changes;
use super::server::{Admitted, Asked, Shared, conversation};
use super::waits::Asking;
use crate::domain::principal::Principal;

/// Told to agents when they connect.
const INSTRUCTIONS: &str = "Every tool that moves money or changes something comes as a pair. \
    First call `<tool>_propose`: it has no side effect and answers `allowed`, `held` or `blocked`. \
    If allowed, call `<tool>_commit` with the proposal's id, its commit token and exactly the same \
    arguments; the token is good once and for a short time. If held, a person has to agree: call \
    `await_proposal`, then commit with the token it returns. Never repeat a commit whose answer \
    was lost: read `get_proposal` instead. Every refusal names a `recovery`: `fix_args`, \
    `propose_again`, `renew_token` (the proposal stands: `get_proposal` has a fresh token), \
    `get_approval`, `wait`, `read_outcome`, `reduce_scope` or `stop`.";

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

/// Who asks and what exactly they wrote. A request without is a mistake of ours, and refused.
fn admitted(context: &mut RequestContext<RoleServer>) -> Result<Admitted, ErrorData> {
    let_in(&mut context.extensions)
        .ok_or_else(|| ErrorData::internal_error("the request was not let in", None))
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
            .enable_tasks()
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
        let asking = Asking::of(&document);
        let asked = Asked {
            route,
            who,
            arguments: arguments(document),
            gone: context.ct,
            conversation,
        };
        self.shared.respond(asked, &asking).await
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let admitted = admitted(&mut context)?;
        let task = self.shared.task(&admitted, &request.task_id).await?;
        Ok(GetTaskResult::new(task))
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let admitted = admitted(&mut context)?;
        self.shared.answer_task(&admitted, &request.task_id).await
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let admitted = admitted(&mut context)?;
        self.shared.cancel_task(&admitted, &request.task_id).await
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut told = self.negotiate_initialize(&request)?;
        // Tasks as they are served here came with the revision that has no `initialize`.
        told.capabilities.extensions = None;
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
        let known = [
            "server/discover",
            "tools/list",
            "tools/call",
            "tasks/get",
            "tasks/update",
            "tasks/cancel",
        ];
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
