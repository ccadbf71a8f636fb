//! Proposals: propose, commit, read, wait for, list.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::documents::PassageTold;
use super::{Call, Effect, Operation, Reply, Rest, Step, Steps, invalid};
use crate::broker::{
    self, CommitRequest, Committed, ListRequest, MAX_AWAIT, ProposeRequest, Proposed, Trouble,
};
use crate::domain::ids::ProposalId;
use crate::domain::principal::Right;
use crate::domain::proposal::State;
use crate::domain::reason::Reason;
use crate::entry::shapes::{CommitAnswer, CommitRefused, Outcome, ProposalInFull, ProposedAnswer};
use crate::entry::words;

/// Longest prompt, in bytes. It is hashed and tokenised for the score, and stored.
const MAX_PROMPT_BYTES: usize = 64 * 1024;
/// Most samples that one request may carry: every pair of them is compared.
const MAX_SAMPLES: usize = 8;
/// Longest sample, in bytes.
const MAX_SAMPLE_BYTES: usize = 32 * 1024;
/// Longest idempotency key: it is part of a unique index.
const MAX_KEY: usize = 255;
/// Rows of a page, at most and when the caller does not say.
const MAX_PAGE: u32 = 500;
const PAGE: u32 = 50;
const LONGEST_WAIT: u64 = MAX_AWAIT.as_secs();

pub(super) fn operations() -> Vec<Operation> {
    vec![
        proposing(),
        committing(),
        Operation::new("get_proposal", read)
            .says(
                "Read a proposal",
                "Reads one proposal: where it stands, why, and what became of it. To its proposer, \
                 an allowed or approved proposal comes with a fresh commit token, which retires \
                 the one before.",
            )
            .needs(&[Right::ReadOwn])
            .rest(
                Rest::get("/v1/proposals/{id}")
                    .spelt(SPELT)
                    .answers(200, "the proposal"),
            )
            .mcp(),
        Operation::new("await_proposal", wait)
            .says(
                "Wait for a proposal",
                "As get_proposal, but waits until the proposal is neither held, committing nor in \
                 doubt, or until the time is over. Call it again to wait longer.",
            )
            .needs(&[Right::ReadOwn])
            .does(Effect::Waits)
            .mcp(),
        Operation::new("list_proposals", list)
            .says(
                "List proposals",
                "Lists proposals, newest first, without tokens. An agent sees its own. A page ends \
                 after `limit` rows or about 1 MiB; `next_cursor` goes on.",
            )
            .needs(&[Right::ReadOwn])
            .rest(Rest::get("/v1/proposals").answers(200, "a page"))
            .mcp(),
    ]
}

fn proposing() -> Operation {
    Operation::new("propose", propose)
        .says(
            "Propose a call",
            "Propose a call. Nothing happens at any provider.",
        )
        .needs(&[Right::Propose])
        .does(Effect::Acts)
        .rest(
            Rest::post("/v1/proposals")
                .answers(200, "allowed, blocked or held")
                .answers(429, "blocked as RATE_LIMITED"),
        )
}

fn committing() -> Operation {
    Operation::new("commit", commit)
        .says(
            "Commit a proposal",
            "Commit an allowed proposal, once, with the very arguments that were proposed.",
        )
        .needs(&[Right::Commit])
        .does(Effect::Acts)
        .moves_money()
        .rest(
            of_proposal("/v1/proposals/{id}/commit")
                .answers_with::<Outcome>(200, "committed, or failed at the provider")
                .answers_with::<Outcome>(202, "sent, and in doubt; the broker finds out by itself")
                .answers_with::<CommitRefused>(409, "refused; nothing was done"),
        )
}

const SPELT: &[(&str, &str)] = &[("id", "proposal_id")];

pub(super) fn of_proposal(path: &'static str) -> Rest {
    Rest::post(path).spelt(SPELT)
}

/// `T_propose` and `T_commit`: the same two operations, with the tool given by their name.
pub(super) fn steps() -> Steps {
    Steps {
        propose: Step::of(proposing(), "tool"),
        commit: Step::of(committing(), "tool"),
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ProposeRequest")]
struct Propose {
    tool: String,
    /// As the tool's input schema says.
    arguments: Map<String, Value>,
    /// What you were asked to do, in the words you were asked in. Numbers and ids in `arguments`
    /// are compared with it.
    #[schemars(length(max = MAX_PROMPT_BYTES))]
    prompt: Option<String>,
    /// Two or more independent answers of yours to the prompt. They are compared with each other.
    #[schemars(length(max = MAX_SAMPLES), inner(length(max = MAX_SAMPLE_BYTES)))]
    samples: Option<Vec<String>>,
    /// Your name for this request. The same key with the same arguments gives the same proposal
    /// again.
    #[schemars(
        length(min = 1, max = MAX_KEY),
        regex(pattern = "^[!-~]+$"),
        title = "1 to 255 letters, digits and signs of ASCII, without blanks"
    )]
    idempotency_key: Option<String>,
}

impl Propose {
    /// The schema counts characters; what is hashed, compared and stored is bytes.
    fn within_bytes(&self) -> Result<(), Trouble> {
        let prompt = self
            .prompt
            .iter()
            .map(|text| ("prompt", text, MAX_PROMPT_BYTES));
        let samples = self.samples.iter().flatten();
        let samples = samples.map(|text| ("samples", text, MAX_SAMPLE_BYTES));
        let long = prompt
            .chain(samples)
            .find(|(_, text, max)| text.len() > *max);
        match long {
            Some((name, _, max)) => Err(invalid(format!("`{name}` is longer than {max} bytes"))),
            None => Ok(()),
        }
    }
}

async fn propose(call: Call, asked: Propose) -> Result<Reply<ProposedAnswer>, Trouble> {
    asked.within_bytes()?;
    let request = ProposeRequest {
        tool: asked.tool,
        arguments: Value::Object(asked.arguments),
        prompt: asked.prompt,
        samples: asked.samples.unwrap_or_default(),
        idempotency_key: asked.idempotency_key,
        conversation: call.conversation.clone(),
        ..ProposeRequest::default()
    };
    let proposed = call.broker.pay.propose(&call.who, request).await?;
    let body = ProposedAnswer::from(&proposed);
    if !rate_limited(&proposed) {
        return Ok(Reply::ok(body));
    }
    Ok(Reply {
        body,
        status: 429,
        retry_after: Some(proposed.retry_after_secs.unwrap_or(1)),
    })
}

/// A proposal of which nothing is said but the call: what invoking a high-risk tool is.
pub(super) async fn propose_plainly(
    call: Call,
    tool: String,
    arguments: Map<String, Value>,
) -> Result<Reply<ProposedAnswer>, Trouble> {
    let asked = Propose {
        tool,
        arguments,
        prompt: None,
        samples: None,
        idempotency_key: None,
    };
    propose(call, asked).await
}

fn rate_limited(proposed: &broker::Proposed) -> bool {
    let proposal = &proposed.proposal;
    proposal.state == State::Blocked && proposal.fixed.reason == Reason::RateLimited
}

/// Arguments that the tool's schema would refuse are let through: they cannot be the proposed
/// ones, and the broker says so after it has looked at the token. What cannot be a token is
/// refused as one as well, so its length is nobody's business here.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CommitRequest")]
struct Commit {
    /// A UUID, as the propose answered it.
    proposal_id: String,
    /// The token that the proposal was answered with.
    commit_token: String,
    /// Exactly those that were proposed.
    arguments: Map<String, Value>,
    #[schemars(skip)]
    tool: Option<String>,
}

async fn commit(call: Call, asked: Commit) -> Result<Reply<CommitAnswer>, Trouble> {
    let request = CommitRequest {
        proposal_id: asked.proposal_id,
        commit_token: asked.commit_token,
        tool: asked.tool,
        arguments: Value::Object(asked.arguments),
    };
    let committed = call.broker.pay.commit(&call.who, request).await?;
    let status = match committed {
        Committed::Settled(_) => 200,
        Committed::InDoubt(_) => 202,
        Committed::Refused { .. } => 409,
    };
    Ok(Reply {
        body: CommitAnswer::from(&committed),
        status,
        retry_after: None,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedProposal {
    /// A UUID, as the propose answered it.
    pub(super) proposal_id: String,
}

/// What is no id becomes the one that names nothing, so that the broker answers it exactly as one
/// that never existed.
pub(super) fn id(text: &str) -> ProposalId {
    text.parse().unwrap_or(ProposalId::from_uuid(Uuid::nil()))
}

async fn read(call: Call, named: NamedProposal) -> Result<ProposalInFull, Trouble> {
    let found = call
        .broker
        .pay
        .proposal(&call.who, id(&named.proposal_id))
        .await?;
    let related = related(&call, &found).await;
    Ok(ProposalInFull::from(&found).beside(related))
}

/// What whoever decides may want to read first. None of it is needed to decide, so where it cannot be
/// found it is left out.
async fn related(call: &Call, found: &Proposed) -> Option<Vec<PassageTold>> {
    if found.proposal.state != State::Held || !call.who.may(Right::Decide) {
        return None;
    }
    let found = call.broker.search.related(&call.who, &found.proposal).await;
    match found {
        Ok(found) => Some(found.into_iter().map(PassageTold::from).collect()),
        Err(trouble) => {
            tracing::warn!(%trouble, "no passages for who decides");
            None
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AwaitRequest {
    /// A UUID, as the propose answered it.
    proposal_id: String,
    /// How long to wait at most.
    #[schemars(range(max = LONGEST_WAIT))]
    timeout_secs: Option<u32>,
}

async fn wait(call: Call, asked: AwaitRequest) -> Result<ProposalInFull, Trouble> {
    let id = id(&asked.proposal_id);
    let timeout = asked.timeout_secs.map_or(LONGEST_WAIT, u64::from);
    let timeout = Duration::from_secs(timeout);
    let found = tokio::select! {
        found = call.broker.pay.await_proposal(&call.who, id, timeout) => found?,
        () = call.closing.cancelled() => call.broker.pay.proposal(&call.who, id).await?,
        // Nobody listens any more, so no fresh token may be put out: it would retire the one
        // that the caller still has.
        () = call.gone.cancelled() => return Err(invalid("the call was cancelled")),
    };
    Ok(ProposalInFull::from(&found))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListFilter {
    /// Only in this state.
    #[serde(default)]
    #[schemars(schema_with = "words::maybe_state")]
    state: Option<State>,
    /// Only of this agent.
    #[schemars(regex(pattern = words::AGENT), title = "an agent's id")]
    agent: Option<String>,
    /// Only of this tool.
    #[schemars(length(max = 256))]
    tool: Option<String>,
    /// The `next_cursor` of the page before.
    #[schemars(regex(pattern = words::UUID), title = "the `next_cursor` of a page before")]
    cursor: Option<String>,
    /// 50 if absent.
    #[schemars(range(min = 1, max = MAX_PAGE))]
    limit: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
struct ProposalPage {
    proposals: Vec<ProposalInFull>,
    /// Give it as `cursor` to read on; null or absent on the last page.
    next_cursor: Option<String>,
}

async fn list(call: Call, asked: ListFilter) -> Result<ProposalPage, Trouble> {
    let agent = asked.agent.map(|agent| agent.parse()).transpose();
    let cursor = asked.cursor.map(|cursor| cursor.parse()).transpose();
    let request = ListRequest {
        state: asked.state,
        agent: agent.map_err(|_| invalid("`agent` must be an agent's id"))?,
        tool: asked.tool,
        cursor: cursor.map_err(|_| invalid("`cursor` must be the `next_cursor` of a page"))?,
        limit: Some(asked.limit.unwrap_or(PAGE)),
    };
    let page = call.broker.pay.proposals(&call.who, &request).await?;
    let last = page.rows.last().filter(|_| page.more);
    Ok(ProposalPage {
        next_cursor: last.map(|last| last.proposal.id().to_string()),
        proposals: page
            .rows
            .iter()
            .map(|row| ProposalInFull::from(row).listed())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    #[rustfmt::skip]
    fn what_does_not_fit_a_propose_is_refused_by_name() {
        let long = |len: usize| "x".repeat(len);
        let many = |count: usize| vec!["s"; count];
        let cases = [
            (json!({}),                                                          Some("`arguments`")),
            (json!({"arguments": []}),                                           Some("`arguments`")),
            (json!({"arguments": null}),                                         Some("`arguments`")),
            (json!({"arguments": "{}"}),                                         Some("`arguments`")),
            (json!({"arguments": {}, "amount": 5}),                              Some("`amount`")),
            (json!({"arguments": {}, "tool": "t"}),                              Some("`tool`")),
            (json!({"arguments": {"a": null}, "prompt": null, "samples": null}), None),
            (json!({"arguments": {}, "prompt": 5}),                              Some("`prompt`")),
            (json!({"arguments": {}, "prompt": long(MAX_PROMPT_BYTES)}),         None),
            (json!({"arguments": {}, "prompt": long(MAX_PROMPT_BYTES + 1)}),     Some("`prompt`")),
            (json!({"arguments": {}, "samples": "s"}),                           Some("`samples`")),
            (json!({"arguments": {}, "samples": ["s", 5]}),                      Some("`samples[1]`")),
            (json!({"arguments": {}, "samples": many(MAX_SAMPLES)}),             None),
            (json!({"arguments": {}, "samples": many(MAX_SAMPLES + 1)}),         Some("`samples`")),
            (json!({"arguments": {}, "samples": [long(MAX_SAMPLE_BYTES)]}),      None),
            (json!({"arguments": {}, "samples": [long(MAX_SAMPLE_BYTES + 1)]}),  Some("`samples[0]`")),
            (json!({"arguments": {}, "idempotency_key": ""}),                    Some("`idempotency_key`")),
            (json!({"arguments": {}, "idempotency_key": "a b"}),                 Some("`idempotency_key`")),
            (json!({"arguments": {}, "idempotency_key": long(MAX_KEY)}),         None),
            (json!({"arguments": {}, "idempotency_key": long(MAX_KEY + 1)}),     Some("`idempotency_key`")),
        ];
        let step = steps().propose;
        for (input, named) in cases {
            let refused = step.check(&input).err();
            let shown = input.to_string();
            assert_eq!(refused.is_some(), named.is_some(), "{shown:.80}");
            if let (Some(told), Some(named)) = (refused, named) {
                assert!(told.contains(named), "{shown:.80}: {told}");
            }
        }
    }

    #[test]
    fn long_texts_are_counted_in_bytes() {
        let asked = |prompt: String| Propose {
            tool: "t".to_owned(),
            arguments: Map::new(),
            prompt: Some(prompt),
            samples: None,
            idempotency_key: None,
        };
        assert_eq!(
            asked("é".repeat(MAX_PROMPT_BYTES / 2)).within_bytes(),
            Ok(())
        );
        assert!(
            asked("é".repeat(MAX_PROMPT_BYTES / 2 + 1))
                .within_bytes()
                .is_err()
        );
    }

    #[test]
    #[rustfmt::skip]
    fn a_list_request_is_checked_before_it_asks() {
        let id = "0190a0a0-0000-7000-8000-000000000000";
        let cases = [
            (json!({}),                                          true),
            (json!({"state": "in_doubt", "tool": "t"}),          true),
            (json!({"state": "InDoubt"}),                        false),
            (json!({"agent": "agent-1"}),                        true),
            (json!({"agent": "a b"}),                            false),
            (json!({"cursor": id}),                              true),
            (json!({"cursor": "1"}),                             false),
            (json!({"limit": 1}),                                true),
            (json!({"limit": MAX_PAGE}),                         true),
            (json!({"limit": 0}),                                false),
            (json!({"limit": MAX_PAGE + 1}),                     false),
            (json!({"limit": -1}),                               false),
            (json!({"limit": 1.5}),                              false),
            (json!({"limit": "1"}),                              false),
        ];
        let operation = super::super::named("list_proposals").unwrap();
        for (input, accepted) in cases {
            assert_eq!(operation.check(&input).is_ok(), accepted, "{input}");
        }
    }
}
