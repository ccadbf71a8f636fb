//! Requests to models that wait their turn: made, listed, read, taken back, forgotten; and how the
//! queue stands. The doors that official packages speak to are `entry/http/models`.

mod told;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::told::{ModelRequest, RequestResult};
use super::retrieve::{Retrieve, retrieved};
use super::{Call, Effect, Nothing, Operation, Reply, Rest};
use crate::broker::Trouble;
use crate::broker::requests::{Asked, ListRequests, QueueView, RequestView};
use crate::domain::ids::{AgentId, RequestId};
use crate::domain::principal::Right;
use crate::domain::requests::price::Nanos;
use crate::domain::requests::provider::is_name;
use crate::domain::requests::request::{AskBeside, Door, OnCut, State, Wishes};
use crate::entry::http::asked;
use crate::entry::words;

const ASKERS: &[Right] = &[Right::Propose, Right::Operate];
/// Priority where none is given.
const USUAL_PRIORITY: u8 = 50;
/// What kind of work it is, where nobody says.
const USUAL_TASK: &str = "chat";
/// Longest name of a kind of work.
const MAX_TASK: usize = 64;
/// Longest that a caller's own name for a request may be, and whom he asks for.
const MAX_NAME: usize = 256;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("create_request", create)
            .says(
                "Ask a model",
                "Ask a model, and read the answer later: the request waits its turn, and outlives whoever works on it.",
            )
            .needs(ASKERS)
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/requests")
                    .asking_models()
                    .answers(202, "it was taken on")
                    .problems(&[402, 404, 429, 502, 504]),
            ),
        Operation::new("list_requests", list)
            .says("List requests", "Requests to models, newest first: the caller's own, or everybody's for auditors and admins.")
            .needs(&[Right::ReadOwn])
            .rest(Rest::get("/v1/requests").answers(200, "the requests")),
        Operation::new("get_request", read)
            .says("Read a request", "Where a request to a model stands, what was tried, and what it cost.")
            .needs(&[Right::ReadOwn])
            .rest(Rest::get("/v1/requests/{id}").spelt(SPELT).answers(200, "the request")),
        Operation::new("get_request_result", result)
            .says("Read the answer", "The answer to a request; 409 `not_ready` until it has ended.")
            .needs(&[Right::ReadOwn])
            .rest(
                Rest::get("/v1/requests/{id}/result")
                    .spelt(SPELT)
                    .answers(200, "the answer")
                    .problems(&[409, 410]),
            ),
        Operation::new("cancel_request", cancel)
            .says("Cancel a request", "Take a request back: its provider is told to stop, and what was used is paid.")
            .needs(ASKERS)
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/requests/{id}/cancel")
                    .spelt(SPELT)
                    .answers(200, "the request"),
            ),
        Operation::new("delete_request", erase)
            .says("Forget a request", "Forget what was said in a request that has ended. What it cost stays in the ledger.")
            .needs(ASKERS)
            .does(Effect::Acts)
            .rest(
                Rest::delete("/v1/requests/{id}")
                    .spelt(SPELT)
                    .answers(200, "the request"),
            ),
        Operation::new("get_queue", queue)
            .says("Read the queue", "How many requests wait, by priority, and how old the oldest is.")
            .needs(&[Right::ReadAll])
            .rest(Rest::get("/v1/queue").answers(200, "the queue")),
        Operation::new("pause_queue", pause)
            .says("Pause the queue", "Let no request be begun any more, or let it go on: what is in hand is answered either way. The queue is everybody's, so this is for admins of the default organisation.")
            .needs(&[Right::Administer])
            .does(Effect::Sets)
            .rest(Rest::post("/v1/queue").answers(200, "the queue")),
    ]
}

const SPELT: &[(&str, &str)] = &[("id", "request_id")];

/// A request as somebody writes it: `prompt`, or `messages` in OpenAI's form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRequest {
    /// What is asked, in words.
    prompt: Option<String>,
    /// What was said so far, each `{role, content}` as in OpenAI's chat completions.
    messages: Option<Vec<Map<String, Value>>>,
    /// What kind of work it is: `chat`, `code`, `transform`, `workflow` or a name of your own.
    task_type: Option<String>,
    /// How urgent it is.
    #[schemars(range(max = 100))]
    priority: Option<u8>,
    /// A model's name, or `auto`.
    model: Option<String>,
    /// The provider to ask first, if it answers.
    provider_hint: Option<String>,
    /// What runs here is asked first.
    prefer_local: Option<bool>,
    /// Most tokens of the answer.
    #[schemars(range(min = 1))]
    max_tokens: Option<u64>,
    /// How freely it is to answer.
    temperature: Option<f64>,
    /// The shape of the answer, as in OpenAI's chat completions.
    response_format: Option<Map<String, Value>>,
    /// Tools that it may ask for, as in OpenAI's chat completions.
    tools: Option<Vec<Map<String, Value>>>,
    /// Passages of documents that it is asked with.
    retrieve: Option<Retrieve>,
    /// What this request may cost at most.
    budget: Option<Budget>,
    /// What becomes of it if its worker is lost in the middle of the answer.
    #[schemars(schema_with = "words::on_cut")]
    #[serde(default)]
    on_cut: Option<String>,
    /// Secrets that were replaced are put back in the result.
    restore: Option<bool>,
    /// A second model to be asked beside the first. Its answer is never shown, only how far the two
    /// agree.
    shadow: Option<ShadowAsked>,
    /// Whom it is asked for; kept as a hash alone.
    user: Option<String>,
    /// Your own name for it: asked again under it, it is the same request.
    idempotency_key: Option<String>,
    /// What you want to find again with it.
    metadata: Option<Map<String, Value>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Budget {
    /// Exact decimal dollars, as text.
    #[schemars(
        regex(pattern = r"^[0-9]{1,18}(\.[0-9]{1,9})?$"),
        title = "exact decimal text such as \"0.05\""
    )]
    max_usd: String,
}

/// A model, a provider, or both.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct ShadowAsked {
    /// The provider to ask.
    provider: Option<String>,
    /// The model to ask; the same as the first, or any, if it is left out.
    model: Option<String>,
}

impl TryFrom<ShadowAsked> for AskBeside {
    type Error = Trouble;

    fn try_from(asked: ShadowAsked) -> Result<Self, Trouble> {
        if asked.provider.is_none() && asked.model.is_none() {
            return Err(invalid("`shadow` names a `provider` or a `model`"));
        }
        Ok(Self {
            provider: asked.provider,
            model: asked.model,
        })
    }
}

/// That a request was taken on.
#[derive(Serialize, JsonSchema)]
struct Accepted {
    request_id: String,
    status: String,
    /// Most that it is expected to cost, in exact decimal dollars.
    estimated_cost_usd: String,
    estimated_cost_nanos: u64,
    /// How many of the organisation wait in front of it; null once it is in hand.
    position: Option<u64>,
    /// It was there already, under the same idempotency key.
    replayed: bool,
}

impl From<RequestView> for Accepted {
    fn from(view: RequestView) -> Self {
        let estimate = view.request.estimate_nanos;
        Self {
            request_id: view.request.id.to_string(),
            status: view.request.state.name().to_owned(),
            estimated_cost_usd: Nanos(estimate).to_string(),
            estimated_cost_nanos: estimate,
            position: view.position,
            replayed: view.replayed,
        }
    }
}

async fn create(call: Call, new: NewRequest) -> Result<Reply<Accepted>, Trouble> {
    match (&new.prompt, &new.messages) {
        (Some(prompt), None) if prompt.trim().is_empty() => {
            return Err(invalid("`prompt` is empty: nothing is asked"));
        }
        (Some(_), None) | (None, Some(_)) => {}
        (Some(_), Some(_)) => return Err(invalid("either `prompt` or `messages`, not both")),
        (None, None) => return Err(invalid("`prompt` or `messages` is missing")),
    }
    let task = new.task_type.unwrap_or_else(|| USUAL_TASK.to_owned());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if task.is_empty() || task.len() > MAX_TASK || !task.bytes().all(plain) {
        return Err(invalid(
            "`task_type` is 1 to 64 letters, digits, `_`, `-` or `.`",
        ));
    }
    for (name, text) in [
        ("idempotency_key", &new.idempotency_key),
        ("user", &new.user),
    ] {
        let fits = |text: &String| !text.is_empty() && text.len() <= MAX_NAME;
        if !text.as_ref().is_none_or(fits) {
            return Err(invalid(format!("`{name}` is 1 to {MAX_NAME} bytes long")));
        }
    }
    if !new.provider_hint.as_deref().is_none_or(is_name) {
        return Err(invalid("`provider_hint` is the name of a provider"));
    }
    let budget_nanos = match &new.budget {
        Some(budget) => {
            let nanos: Result<Nanos, _> = budget.max_usd.parse();
            let nanos = nanos.map_err(|why| invalid(format!("`budget.max_usd` {why}")))?;
            Some(nanos.0)
        }
        None => None,
    };
    let model = new.model.unwrap_or_else(|| "auto".to_owned());
    // As it was written, so that a find is told by its place there.
    let mut said = json!({
        "prompt": new.prompt, "messages": new.messages, "model": model, "max_tokens": new.max_tokens,
        "temperature": new.temperature, "response_format": new.response_format,
        "tools": new.tools, "metadata": new.metadata,
    });
    let screened = call.broker.requests.screen(&call.who, &mut said).await?;
    let Value::Object(mut said) = said else {
        return Err(invalid("the body must be a JSON object"));
    };
    // Only then is it a message.
    if let Some(Value::String(prompt)) = said.remove("prompt") {
        let message = json!([{"role": "user", "content": prompt}]);
        said.insert("messages".to_owned(), message);
    }
    let metadata = said.remove("metadata").filter(|value| !value.is_null());
    let mut ask = asked(said)?;
    let given = match new.retrieve {
        Some(retrieve) => retrieved(&call, retrieve, &mut ask).await?,
        None => Vec::new(),
    };
    let request = Asked {
        other: None,
        given,
        wishes: Wishes {
            model: Some(ask.model.clone()),
            hint: new.provider_hint,
            prefer_local: new.prefer_local.unwrap_or(false),
            budget_nanos,
            on_cut: match new.on_cut.as_deref() {
                Some("restart") => OnCut::Restart,
                Some(_) | None => OnCut::Fail,
            },
            restore: new.restore.unwrap_or(false),
            shadow: new.shadow.map(AskBeside::try_from).transpose()?,
        },
        ask,
        door: Door::Requests,
        task,
        priority: new.priority.unwrap_or(USUAL_PRIORITY),
        user: new.user,
        metadata,
        idempotency_key: new.idempotency_key,
        screened,
        id: call.names,
        weight: None,
        shadow_of: None,
    };
    let view = call.broker.requests.enqueue(&call.who, request).await?;
    Ok(Reply {
        status: 202,
        ..Reply::ok(view.into())
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RequestFilters {
    /// Only in this state.
    #[schemars(schema_with = "words::request_state")]
    #[serde(default)]
    status: Option<String>,
    /// Only of this agent.
    agent: Option<String>,
    /// At most so many.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct RequestList {
    requests: Vec<ModelRequest>,
    next_cursor: Option<String>,
}

async fn list(call: Call, asked: RequestFilters) -> Result<RequestList, Trouble> {
    let cursor = asked.cursor.map(|text| text.parse::<RequestId>());
    let cursor = cursor.transpose();
    let cursor = cursor.map_err(|_| invalid("`cursor` is the `next_cursor` of a page"))?;
    let owner = asked.agent.map(|text| text.parse::<AgentId>());
    let owner = owner.transpose();
    let owner = owner.map_err(|_| invalid("`agent` is no agent's id"))?;
    let asked = ListRequests {
        state: asked.status.as_deref().and_then(State::parse),
        owner,
        cursor,
        limit: asked.limit,
    };
    let page = call.broker.requests.requests(&call.who, &asked).await?;
    let shown = page.requests.into_iter().map(|request| {
        ModelRequest::from(RequestView {
            request,
            position: None,
            replayed: false,
        })
    });
    Ok(RequestList {
        requests: shown.collect(),
        next_cursor: page.next_cursor.map(|id| id.to_string()),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedRequest {
    /// The request's id.
    request_id: String,
}

impl NamedRequest {
    /// What is no id names nothing.
    fn id(&self) -> Result<RequestId, Trouble> {
        let id = self.request_id.parse();
        id.map_err(|_| Trouble::NotFound("request"))
    }
}

async fn read(call: Call, named: NamedRequest) -> Result<ModelRequest, Trouble> {
    let requests = &call.broker.requests;
    Ok(requests.request(&call.who, named.id()?).await?.into())
}

async fn result(call: Call, named: NamedRequest) -> Result<RequestResult, Trouble> {
    let requests = &call.broker.requests;
    Ok(requests.result(&call.who, named.id()?).await?.into())
}

async fn cancel(call: Call, named: NamedRequest) -> Result<ModelRequest, Trouble> {
    let requests = &call.broker.requests;
    Ok(requests.cancel(&call.who, named.id()?).await?.into())
}

async fn erase(call: Call, named: NamedRequest) -> Result<ModelRequest, Trouble> {
    let requests = &call.broker.requests;
    Ok(requests.erase(&call.who, named.id()?).await?.into())
}

/// How the queue of requests stands.
#[derive(Serialize, JsonSchema)]
struct Queue {
    /// Requests that wait.
    depth: u64,
    /// Requests in hand.
    running: u64,
    /// How long the oldest waits, in seconds; null if none does.
    oldest_seconds: Option<u64>,
    paused: bool,
    priorities: Vec<QueuePriority>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct QueuePriority {
    priority: u8,
    depth: u64,
    oldest_at: String,
}

fn shown(call: &Call, view: &QueueView) -> Queue {
    let now = call.broker.ports().ambient.now();
    let oldest = view.depths.iter().map(|depth| depth.oldest).min();
    let age = oldest.map(|at| now.secs().saturating_sub(at.secs()));
    Queue {
        depth: view.depths.iter().map(|depth| depth.pending).sum(),
        running: view.running,
        oldest_seconds: age.map(|secs| u64::try_from(secs).unwrap_or(0)),
        paused: view.paused,
        priorities: view
            .depths
            .iter()
            .map(|depth| QueuePriority {
                priority: depth.priority,
                depth: depth.pending,
                oldest_at: depth.oldest.to_string(),
            })
            .collect(),
    }
}

async fn queue(call: Call, _: Nothing) -> Result<Queue, Trouble> {
    let view = call.broker.requests.queue(&call.who).await?;
    Ok(shown(&call, &view))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pause {
    /// Whether nothing is begun any more.
    paused: bool,
}

async fn pause(call: Call, asked: Pause) -> Result<Queue, Trouble> {
    let view = call.broker.requests.pause(&call.who, asked.paused).await?;
    Ok(shown(&call, &view))
}

fn invalid(text: impl Into<String>) -> Trouble {
    Trouble::InvalidRequest(text.into())
}
