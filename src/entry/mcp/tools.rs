//! The door's own tools, as a table: what each one is called, who may call it, what it takes and
//! answers, and the function that does it. A new tool is a new row.
//!
//! The pairs `T_propose` and `T_commit` and the tools that pass through are not in here; they come
//! from the catalogue.

use std::time::Duration;

use futures_util::future::BoxFuture;
use rmcp::model::ToolAnnotations;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::schemas;
use crate::broker::{Broker, MAX_AWAIT, Trouble};
use crate::domain::principal::{Principal, Right};
use crate::entry::fields::{self, DEFAULT_PAGE, Fields};
use crate::entry::shapes;

/// One call of one of these tools.
pub struct Call {
    /// What does the work.
    pub broker: Broker,
    /// Who calls.
    pub who: Principal,
    /// Cancelled when the caller no longer waits for the answer. Only waiting may end because of
    /// it, never an effect.
    pub gone: CancellationToken,
    /// Cancelled when the server goes down: whoever waits for people is answered now.
    pub closing: CancellationToken,
}

/// What a tool's function looks like.
pub type Run = for<'a> fn(&'a Call, Fields) -> BoxFuture<'a, Result<Value, Trouble>>;

/// One tool.
pub struct Row {
    /// Its name, unique among all tools.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it does, for agents.
    pub description: &'static str,
    /// Shown to, and callable by, whoever has one of these.
    pub rights: &'static [Right],
    /// What it does to the world.
    pub effect: Effect,
    /// JSON Schema of what it takes.
    pub input: fn() -> Value,
    /// JSON Schema of what it answers.
    pub output: fn() -> Value,
    /// Does it.
    pub run: Run,
}

/// What a tool does to the world, as its annotations tell clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// None.
    Reads,
    /// None, but it may take its time.
    Waits,
    /// Changes something of ours, and doing it twice is doing it once.
    Sets,
    /// Changes something, perhaps for good.
    Acts,
}

impl Effect {
    /// As MCP annotations.
    pub fn annotations(self, title: &str) -> ToolAnnotations {
        ToolAnnotations::with_title(title)
            .read_only(matches!(self, Effect::Reads | Effect::Waits))
            .destructive(self == Effect::Acts)
            .idempotent(self != Effect::Acts)
            .open_world(false)
    }
}

/// Whether `who` may call a tool with these rights.
pub fn permits(rights: &[Right], who: &Principal) -> bool {
    rights.iter().any(|right| who.may(*right))
}

/// Every tool of the door's own, in the order lists show them.
pub const ROWS: &[Row] = &[
    Row {
        name: "get_proposal",
        title: "Read a proposal",
        description: "Reads one proposal: where it stands, why, and what became of it. To its \
                      proposer, an allowed or approved proposal comes with a fresh commit token, \
                      which retires the one before.",
        rights: &[Right::ReadOwn],
        effect: Effect::Reads,
        input: || schemas::proposal_input(json!({})),
        output: schemas::proposal_output,
        run: get_proposal,
    },
    Row {
        name: "await_proposal",
        title: "Wait for a proposal",
        description: "As get_proposal, but waits until the proposal is neither held, committing \
                      nor in doubt, or until the time is over. Call it again to wait longer.",
        rights: &[Right::ReadOwn],
        effect: Effect::Waits,
        input: || {
            schemas::proposal_input(json!({
                "timeout_secs": {
                    "type": "integer", "minimum": 0, "maximum": MAX_AWAIT.as_secs(),
                    "description": "How long to wait at most.",
                },
            }))
        },
        output: schemas::proposal_output,
        run: await_proposal,
    },
    Row {
        name: "list_proposals",
        title: "List proposals",
        description: "Lists proposals, newest first, without tokens. An agent sees its own.",
        rights: &[Right::ReadOwn],
        effect: Effect::Reads,
        input: schemas::list_input,
        output: schemas::list_output,
        run: list_proposals,
    },
    Row {
        name: "cancel_proposal",
        title: "Withdraw a proposal",
        description: "Withdraws a held or allowed proposal, so that it can never be committed. \
                      What was committed already is not undone.",
        rights: &[Right::Propose, Right::Operate],
        effect: Effect::Sets,
        input: || schemas::proposal_input(json!({})),
        output: schemas::proposal_output,
        run: cancel_proposal,
    },
];

fn get_proposal(call: &Call, mut fields: Fields) -> BoxFuture<'_, Result<Value, Trouble>> {
    Box::pin(async move {
        let id = fields.proposal_id()?;
        fields.end()?;
        let found = call.broker.pay.proposal(&call.who, id).await?;
        Ok(shapes::proposal(&found))
    })
}

fn await_proposal(call: &Call, mut fields: Fields) -> BoxFuture<'_, Result<Value, Trouble>> {
    Box::pin(async move {
        let longest = u32::try_from(MAX_AWAIT.as_secs()).unwrap_or(u32::MAX);
        let id = fields.proposal_id()?;
        let secs = fields.integer("timeout_secs", 0..=longest)?;
        fields.end()?;
        let timeout = Duration::from_secs(secs.unwrap_or(longest).into());
        let waiting = call.broker.pay.await_proposal(&call.who, id, timeout);
        let found = tokio::select! {
            found = waiting => found?,
            () = call.closing.cancelled() => call.broker.pay.proposal(&call.who, id).await?,
            // Nobody listens any more, so no fresh token may be put out: it would retire the one
            // that the caller still has.
            () = call.gone.cancelled() => {
                return Err(Trouble::InvalidRequest("the call was cancelled".into()));
            }
        };
        Ok(shapes::proposal(&found))
    })
}

fn list_proposals(call: &Call, fields: Fields) -> BoxFuture<'_, Result<Value, Trouble>> {
    Box::pin(async move {
        let mut request = fields::list(fields)?;
        request.limit = Some(request.limit.unwrap_or(DEFAULT_PAGE));
        let page = call.broker.pay.proposals(&call.who, &request).await?;
        let mut body = json!({
            "proposals": page.rows.iter().map(shapes::proposal).collect::<Vec<_>>(),
        });
        if let Some(last) = page.rows.last().filter(|_| page.more) {
            body["next_cursor"] = json!(last.proposal.fixed.id);
        }
        Ok(body)
    })
}

fn cancel_proposal(call: &Call, mut fields: Fields) -> BoxFuture<'_, Result<Value, Trouble>> {
    Box::pin(async move {
        let id = fields.proposal_id()?;
        fields.end()?;
        let cancelled = call.broker.pay.cancel(&call.who, id).await?;
        Ok(shapes::proposal(&cancelled))
    })
}
