//! What people, and proposers, say about a proposal: agree, refuse, take back, settle.

use schemars::JsonSchema;
use serde::Deserialize;

use super::pay::{NamedProposal, id, of_proposal};
use super::{Call, Effect, Operation};
use crate::broker::{Trouble, Word};
use crate::domain::principal::Right;
use crate::entry::shapes::ProposalInFull;

/// Longest words of a person.
const MAX_WORDS: usize = 4096;

pub(super) fn operations() -> Vec<Operation> {
    const DECIDED: &str = "the proposal as it then stands";
    vec![
        Operation::new("approve_proposal", approve)
            .says(
                "Approve a proposal",
                "One more person agrees with what is held.",
            )
            .needs(&[Right::Decide])
            .does(Effect::Acts)
            .moves_money()
            .rest(of_proposal("/v1/proposals/{id}/approve").answers(200, DECIDED)),
        Operation::new("reject_proposal", reject)
            .says("Reject a proposal", "A person says no to what is held.")
            .needs(&[Right::Decide])
            .does(Effect::Acts)
            .rest(of_proposal("/v1/proposals/{id}/reject").answers(200, DECIDED)),
        Operation::new("cancel_proposal", cancel)
            .says(
                "Withdraw a proposal",
                "Withdraws a held or allowed proposal, so that it can never be committed. What was \
                 committed already is not undone. For its proposer, and operators.",
            )
            .needs(&[Right::Propose, Right::Operate])
            .does(Effect::Sets)
            .rest(of_proposal("/v1/proposals/{id}/cancel").answers(200, DECIDED))
            .mcp(),
        Operation::new("settle_proposal", settle)
            .says(
                "Settle a doubt",
                "An operator's word on an attempt in doubt that no machine can settle.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Acts)
            .rest(of_proposal("/v1/proposals/{id}/settle").answers(200, DECIDED)),
    ]
}

async fn approve(call: Call, named: NamedProposal) -> Result<ProposalInFull, Trouble> {
    let approved = call
        .broker
        .pay
        .approve(&call.who, id(&named.proposal_id))
        .await?;
    Ok(ProposalInFull::from(&approved))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RejectRequest {
    /// A UUID, as the propose answered it.
    proposal_id: String,
    /// Why, in your words.
    #[schemars(length(max = MAX_WORDS))]
    reason: Option<String>,
}

async fn reject(call: Call, asked: RejectRequest) -> Result<ProposalInFull, Trouble> {
    let (id, reason) = (id(&asked.proposal_id), asked.reason.unwrap_or_default());
    let rejected = call.broker.pay.reject(&call.who, id, &reason).await?;
    Ok(ProposalInFull::from(&rejected))
}

async fn cancel(call: Call, named: NamedProposal) -> Result<ProposalInFull, Trouble> {
    let cancelled = call
        .broker
        .pay
        .cancel(&call.who, id(&named.proposal_id))
        .await?;
    Ok(ProposalInFull::from(&cancelled))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SettleRequest {
    /// A UUID, as the propose answered it.
    proposal_id: String,
    /// What you saw at the provider.
    outcome: Seen,
    /// How you know.
    #[schemars(length(max = MAX_WORDS))]
    reason: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Seen {
    Executed,
    Failed,
}

async fn settle(call: Call, asked: SettleRequest) -> Result<ProposalInFull, Trouble> {
    let word = match asked.outcome {
        Seen::Executed => Word::Executed,
        Seen::Failed => Word::Failed,
    };
    let id = id(&asked.proposal_id);
    let settled = call
        .broker
        .pay
        .settle(&call.who, id, word, &asked.reason)
        .await?;
    Ok(ProposalInFull::from(&settled))
}
