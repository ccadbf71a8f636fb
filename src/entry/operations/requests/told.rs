//! Requests to models and their answers as they are told: where one stands, what was tried and what it
//! cost, and what came of it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::broker::requests::{Answered, RequestView};
use crate::domain::requests::piece::Tokens;
use crate::domain::requests::price::Nanos;
use crate::domain::requests::request::{Attempt, Request, Shadow};
use crate::domain::time::Timestamp;
use crate::entry::operations::retrieve::GroundingTold;

/// A request to a model. What was said is not in it.
#[derive(Serialize, JsonSchema)]
pub(super) struct ModelRequest {
    request_id: String,
    status: String,
    task_type: String,
    priority: u8,
    /// Where it came in.
    door: String,
    /// Whose it is.
    agent_id: String,
    /// The model that was asked for.
    model: Option<String>,
    created_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    /// How many of the organisation wait in front of it, where it waits and was asked for by itself.
    position: Option<u64>,
    attempts: Vec<AttemptView>,
    /// How providers were chosen.
    routing: Routing,
    estimated_cost_usd: String,
    /// What it cost so far, in exact decimal dollars.
    cost_usd: String,
    cost_nanos: u64,
    /// Something was counted here, because no provider told.
    estimated: bool,
    error: Option<RequestError>,
    /// Keyed hash of whom it was asked for.
    user_hash: Option<String>,
    /// The number of its last event.
    last_event: u64,
    /// What was said is gone.
    erased: bool,
    /// How far a second model agrees that was asked beside the first; null if none was, or not yet.
    shadow: Option<ShadowTold>,
}

/// A second model, and how far it agrees. What it said is not shown.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct ShadowTold {
    provider: Option<String>,
    model: Option<String>,
    /// 1 minus the share of words that both answers have, from 0 to 1.
    disagreement: Option<f64>,
    /// How far the numbers of the two differ, from 0 to 1; null if there are none to compare.
    numeric_variance: Option<f64>,
    cost_usd: String,
    cost_nanos: u64,
    /// Why there is nothing to compare.
    error: Option<String>,
}

impl From<Shadow> for ShadowTold {
    fn from(shadow: Shadow) -> Self {
        Self {
            provider: shadow.provider,
            model: shadow.model,
            disagreement: shadow.disagreement,
            numeric_variance: shadow.numbers,
            cost_usd: Nanos(shadow.nanos).to_string(),
            cost_nanos: shadow.nanos,
            error: shadow.why,
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct RequestError {
    code: String,
    message: String,
}

/// One provider that was asked.
#[derive(Serialize, JsonSchema)]
struct AttemptView {
    provider: String,
    model: String,
    started_at: String,
    ended_at: String,
    /// Until the first piece of an answer, in milliseconds.
    first_token_ms: Option<u64>,
    tokens: TokenCounts,
    cost_usd: String,
    cost_nanos: u64,
    estimated: bool,
    error: Option<String>,
}

/// Tokens, each counted once.
#[derive(Serialize, JsonSchema)]
struct TokenCounts {
    input: u64,
    cached_input: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
}

impl From<Tokens> for TokenCounts {
    fn from(tokens: Tokens) -> Self {
        Self {
            input: tokens.input,
            cached_input: tokens.cached_input,
            cache_write: tokens.cache_write,
            output: tokens.output,
            reasoning: tokens.reasoning,
        }
    }
}

/// Who was to be asked, in order, and why the others were not.
#[derive(Serialize, JsonSchema)]
struct Routing {
    order: Vec<Choice>,
    lost: Vec<Choice>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Choice {
    provider: String,
    model: String,
    /// What put it there.
    because: String,
}

impl From<&Attempt> for AttemptView {
    fn from(attempt: &Attempt) -> Self {
        Self {
            provider: attempt.provider.clone(),
            model: attempt.model.clone(),
            started_at: attempt.started_at.to_string(),
            ended_at: attempt.ended_at.to_string(),
            first_token_ms: attempt.first_ms,
            tokens: attempt.tokens.into(),
            cost_usd: Nanos(attempt.nanos).to_string(),
            cost_nanos: attempt.nanos,
            estimated: attempt.estimated,
            error: attempt.why.clone(),
        }
    }
}

fn routing(request: &Request) -> Routing {
    let order = request.routed.order.iter();
    let lost = request.routed.lost.iter();
    Routing {
        order: order
            .map(|(provider, model, because)| Choice {
                provider: provider.clone(),
                model: model.clone(),
                because: because.clone(),
            })
            .collect(),
        lost: lost
            .map(|loser| Choice {
                provider: loser.provider.clone(),
                model: loser.model.clone(),
                because: loser.why.clone(),
            })
            .collect(),
    }
}

impl From<RequestView> for ModelRequest {
    fn from(view: RequestView) -> Self {
        let request = view.request;
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let cost = request.cost();
        Self {
            request_id: request.id.to_string(),
            status: request.state.name().to_owned(),
            routing: routing(&request),
            estimated: request.is_estimated(),
            attempts: request.attempts.iter().map(AttemptView::from).collect(),
            task_type: request.task,
            priority: request.priority,
            door: request.door.name().to_owned(),
            agent_id: request.owner.to_string(),
            model: request.wishes.model,
            created_at: request.created_at.to_string(),
            started_at: time(request.started_at),
            ended_at: time(request.ended_at),
            position: view.position,
            estimated_cost_usd: Nanos(request.estimate_nanos).to_string(),
            cost_usd: Nanos(cost).to_string(),
            cost_nanos: cost,
            error: request.error.map(|error| RequestError {
                code: error.code,
                message: error.words,
            }),
            user_hash: request.user_hash,
            last_event: request.last_event,
            erased: request.erased,
            shadow: request.shadow.map(ShadowTold::from),
        }
    }
}

/// An answer.
#[derive(Serialize, JsonSchema)]
pub(super) struct RequestResult {
    request_id: String,
    status: String,
    /// What the model said.
    text: String,
    /// The tools that it asked for. They are not carried out here.
    tool_calls: Vec<AskedTool>,
    finish_reason: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    usage: TokenCounts,
    cost_usd: String,
    cost_nanos: u64,
    estimated: bool,
    error: Option<RequestError>,
    metadata: Option<Map<String, Value>>,
    /// How much of the answer stands in the passages that it was asked with; null if it was asked
    /// without any.
    grounding: Option<GroundingTold>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct AskedTool {
    id: String,
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

impl From<Answered> for RequestResult {
    fn from(answered: Answered) -> Self {
        let request = answered.request;
        let last = request.attempts.last();
        let calls = answered.told.tool_calls.into_iter();
        let cost = request.cost();
        Self {
            request_id: request.id.to_string(),
            status: request.state.name().to_owned(),
            text: answered.told.text,
            tool_calls: calls
                .map(|(id, name, arguments)| AskedTool {
                    id,
                    name,
                    arguments,
                })
                .collect(),
            finish_reason: answered.told.finish.map(|stop| stop.name().to_owned()),
            provider: last.map(|attempt| attempt.provider.clone()),
            model: last.map(|attempt| attempt.model.clone()),
            usage: request.tokens().into(),
            cost_usd: Nanos(cost).to_string(),
            cost_nanos: cost,
            estimated: request.is_estimated(),
            error: request.error.map(|error| RequestError {
                code: error.code,
                message: error.words,
            }),
            grounding: answered.grounding.map(GroundingTold::from),
            metadata: answered.metadata.and_then(|value| match value {
                Value::Object(map) => Some(map),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => None,
            }),
        }
    }
}
