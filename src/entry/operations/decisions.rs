//! What people, and proposers, say about a proposal: agree, refuse, take back, settle.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pay::{NamedProposal, id, of_proposal};
use super::{Call, Effect, Operation, Rest, invalid};
use crate::broker::pay::statement::Seen as Shown;
use crate::broker::{Trouble, Word};
use crate::domain::principal::Right;
use crate::domain::statement::Verdict;
use crate::domain::time::Timestamp;
use crate::domain::webauthn::Assertion;
use crate::entry::shapes::ProposalInFull;
use crate::entry::words;

/// Longest words of a person.
const MAX_WORDS: usize = 4096;

pub(super) fn operations() -> Vec<Operation> {
    const DECIDED: &str = "the proposal as it then stands";
    vec![
        Operation::new("get_statement", statement)
            .says(
                "Read a statement",
                "What the caller would agree to: one canonical JSON document (RFC 8785) of \
                 everything about the decision. Give `asked_at` and `digest` with the decision, and \
                 it counts for exactly this.",
            )
            .needs(&[Right::ReadAll])
            .rest(
                Rest::get("/v1/proposals/{id}/statement")
                    .spelt(&[("id", "proposal_id")])
                    .answers(200, "the statement"),
            ),
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AskedStatement {
    /// A UUID, as the propose answered it.
    proposal_id: String,
    /// `approve` if absent.
    decision: Option<Decision>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Decision {
    Approve,
    Reject,
}

impl From<Decision> for Verdict {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Approve => Verdict::Approve,
            Decision::Reject => Verdict::Reject,
        }
    }
}

/// What the caller would agree to.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Statement")]
struct StatementBody {
    /// The document.
    #[schemars(schema_with = "words::object")]
    statement: Value,
    /// Its exact bytes.
    text: String,
    /// SHA-256 of the bytes.
    #[schemars(schema_with = "words::hash")]
    digest: String,
    /// What a passkey signs, base64url: SHA-256 of `hundi/approval/v1`, a zero byte and the bytes.
    challenge: String,
    /// When it was asked for; part of the document.
    #[schemars(schema_with = "words::time")]
    asked_at: String,
}

async fn statement(call: Call, asked: AskedStatement) -> Result<StatementBody, Trouble> {
    let verdict = asked.decision.unwrap_or(Decision::Approve).into();
    let id = id(&asked.proposal_id);
    let (statement, at) = call.broker.pay.statement(&call.who, id, verdict).await?;
    let text = statement.text();
    Ok(StatementBody {
        statement: serde_json::from_str(text).unwrap_or_default(),
        text: text.to_owned(),
        digest: statement.digest(),
        challenge: URL_SAFE_NO_PAD.encode(statement.challenge()),
        asked_at: at.to_string(),
    })
}

/// The statement that the caller saw. The decision counts only if it is still what stands.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct SeenStatement {
    /// As the statement was answered with.
    #[serde(default)]
    #[schemars(schema_with = "words::maybe_time")]
    asked_at: Option<String>,
    /// As the statement was answered with.
    #[schemars(
        regex(pattern = "^[0-9a-f]{64}$"),
        title = "a SHA-256 in lower-case hex"
    )]
    digest: String,
}

impl SeenStatement {
    fn read(self) -> Result<Shown, Trouble> {
        let at = self.asked_at.as_deref().and_then(Timestamp::parse);
        let asked_at = at.ok_or_else(|| invalid("`seen.asked_at` is the statement's own"))?;
        Ok(Shown {
            asked_at,
            digest: self.digest,
        })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ApproveRequest {
    /// A UUID, as the propose answered it.
    proposal_id: String,
    /// What was seen.
    seen: Option<SeenStatement>,
    /// A passkey's signature over the statement that was seen.
    assertion: Option<GivenAssertion>,
}

/// What `navigator.credentials.get` answered, base64url.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct GivenAssertion {
    credential_id: String,
    client_data: String,
    authenticator_data: String,
    signature: String,
}

impl From<GivenAssertion> for Assertion {
    fn from(given: GivenAssertion) -> Self {
        Self {
            credential_id: given.credential_id,
            client_data: given.client_data,
            authenticator_data: given.authenticator_data,
            signature: given.signature,
        }
    }
}

/// A signature is over something that was seen.
fn signed(
    seen: &Option<Shown>,
    assertion: Option<GivenAssertion>,
) -> Result<Option<(Shown, Assertion)>, Trouble> {
    match (seen, assertion) {
        (Some(seen), Some(given)) => Ok(Some((seen.clone(), given.into()))),
        (None, Some(_)) => Err(invalid(
            "`assertion` signs a statement, so `seen` belongs with it",
        )),
        (_, None) => Ok(None),
    }
}

async fn approve(call: Call, asked: ApproveRequest) -> Result<ProposalInFull, Trouble> {
    let id = id(&asked.proposal_id);
    let seen = asked.seen.map(SeenStatement::read).transpose()?;
    let pay = &call.broker.pay;
    pay.still_stands(&call.who, id, Verdict::Approve, seen.as_ref())
        .await?;
    let approved = match signed(&seen, asked.assertion)? {
        Some((seen, given)) => pay.approve_signed(&call.who, id, &seen, &given).await?,
        None => pay.approve(&call.who, id).await?,
    };
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
    /// What was seen: the statement of the rejection.
    seen: Option<SeenStatement>,
    /// A passkey's signature over the statement that was seen.
    assertion: Option<GivenAssertion>,
}

async fn reject(call: Call, asked: RejectRequest) -> Result<ProposalInFull, Trouble> {
    let (id, reason) = (id(&asked.proposal_id), asked.reason.unwrap_or_default());
    let seen = asked.seen.map(SeenStatement::read).transpose()?;
    let pay = &call.broker.pay;
    pay.still_stands(&call.who, id, Verdict::Reject, seen.as_ref())
        .await?;
    let rejected = match signed(&seen, asked.assertion)? {
        Some((seen, given)) => {
            pay.reject_signed(&call.who, id, &reason, &seen, &given)
                .await?
        }
        None => pay.reject(&call.who, id, &reason).await?,
    };
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
