//! What proposals, their outcomes and problems look like: one spelling for every door.
//!
//! Types, so that the schemas that clients are told are those of what is sent. A field that says
//! nothing is left out, but for the few whose absence would be read as something else: those are
//! null.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::broker::{Committed, Proposed, Trouble};
use crate::domain::above::Above;
use crate::domain::call::{ProviderError, Receipt};
use crate::domain::ids::{AgentId, ArgsHash, CommitId, ProposalId, ToolName};
use crate::domain::money::Effective;
use crate::domain::proposal::{self, Execution, Proposal, Settled, State};
use crate::domain::reason::{Finding, Recovery};
use crate::domain::time::Timestamp;
use crate::domain::tool::Payee;
use crate::entry::words;

/// Answer to a propose (contract section 6).
pub fn proposed(answer: &Proposed) -> Value {
    json!(ProposedAnswer::from(answer))
}

/// Answer to a commit (contract section 7).
pub fn committed(answer: &Committed) -> Value {
    json!(CommitAnswer::from(answer))
}

/// What became of an attempt, in the shape a commit answers with.
pub fn outcome(proposal: &Proposal) -> Value {
    json!(Outcome::from(proposal))
}

/// One proposal in full, as `get_proposal` and lists show it.
pub fn proposal(answer: &Proposed) -> Value {
    json!(ProposalInFull::from(answer))
}

/// What governance made of a propose.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Proposed")]
pub struct ProposedAnswer {
    #[schemars(schema_with = "words::state")]
    status: &'static str,
    /// Absent where a refusal was only counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    proposal_id: Option<ProposalId>,
    #[schemars(with = "String")]
    tool_name: ToolName,
    #[schemars(schema_with = "words::hash")]
    tool_args_hash: ArgsHash,
    #[schemars(range(min = 0, max = 1))]
    composite_score: Option<f64>,
    signals: Signals,
    #[schemars(with = "Vec<FindingFields>")]
    findings: Vec<Finding>,
    #[serde(flatten)]
    token: Option<Token>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// `create_draft`: what was refused is kept for a person to take up.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<Draft>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<Approval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "words::recovery")]
    recovery: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_secs: Option<u32>,
}

/// A token that commits, once.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Token {
    commit_token: String,
    token_id: String,
    #[schemars(schema_with = "words::time")]
    expires_at: String,
}

/// What would have been done.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Draft {
    #[schemars(with = "String")]
    tool: ToolName,
    #[schemars(schema_with = "words::object")]
    arguments: Value,
}

/// Who has to agree, and who has.
#[derive(Serialize, JsonSchema)]
struct Approval {
    needed: u32,
    given: usize,
    by: Vec<String>,
    #[schemars(schema_with = "words::time")]
    expires_at: String,
}

/// Each from 0 (agrees) to 1 (disagrees), or null where nothing could be compared.
#[derive(Serialize, JsonSchema)]
struct Signals {
    #[schemars(range(min = 0, max = 1))]
    output_instability: Option<f64>,
    #[schemars(range(min = 0, max = 1))]
    numeric_variance: Option<f64>,
    #[schemars(range(min = 0, max = 1))]
    prompt_drift: Option<f64>,
}

#[expect(dead_code, reason = "a shape; the value is `domain::reason::Finding`")]
#[derive(JsonSchema)]
#[schemars(rename = "Finding")]
struct FindingFields {
    #[schemars(schema_with = "words::reason")]
    reason: String,
    #[schemars(schema_with = "words::severity")]
    severity: String,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    threats: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    earlier_proposal_id: Option<String>,
}

impl From<&Proposed> for ProposedAnswer {
    fn from(answer: &Proposed) -> Self {
        let fixed = &answer.proposal.fixed;
        let state = answer.proposal.state;
        let (blocked, held) = (state == State::Blocked, state == State::Held);
        Self {
            status: state.name(),
            proposal_id: answer.stored.then_some(fixed.id),
            tool_name: fixed.tool.clone(),
            tool_args_hash: fixed.args_hash,
            composite_score: fixed.score.composite,
            signals: Signals::from(&fixed.score.signals),
            findings: fixed.findings.clone(),
            token: Token::of(answer),
            reason: (blocked || held).then(|| fixed.reason.code()),
            action: blocked.then_some("create_draft"),
            draft: blocked.then(|| Draft {
                tool: fixed.tool.clone(),
                arguments: fixed.args.value(),
            }),
            approval: held.then(|| Approval::from(&answer.proposal)),
            recovery: match state {
                State::Blocked => Some(fixed.reason.recovery().code()),
                State::Held => Some(Recovery::GetApproval.code()),
                State::Allowed
                | State::Committing
                | State::InDoubt
                | State::Executed
                | State::Failed
                | State::Rejected
                | State::Cancelled
                | State::Expired
                | State::Reversed => None,
            },
            replayed: answer.replayed.then_some(true),
            retry_after_secs: answer.retry_after_secs,
        }
    }
}

impl Token {
    fn of(answer: &Proposed) -> Option<Self> {
        answer.token.as_ref().map(|token| Self {
            commit_token: token.text.clone(),
            token_id: token.token_id.to_string(),
            expires_at: Timestamp::from_secs(token.expires_at).to_string(),
        })
    }
}

impl From<&Proposal> for Approval {
    fn from(proposal: &Proposal) -> Self {
        let approvals = &proposal.moving.approvals;
        Self {
            needed: proposal.fixed.approvals_needed,
            given: approvals.len(),
            by: approvals.iter().map(|given| given.by.clone()).collect(),
            expires_at: proposal.fixed.lapses_at.to_string(),
        }
    }
}

impl From<&proposal::Signals> for Signals {
    fn from(signals: &proposal::Signals) -> Self {
        Self {
            output_instability: signals.output_instability,
            numeric_variance: signals.numeric_variance,
            prompt_drift: signals.prompt_drift,
        }
    }
}

/// What became of a commit.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum CommitAnswer {
    /// It was sent, or is about to be.
    Outcome(Box<Outcome>),
    /// Nothing was done.
    Refused(Box<CommitRefused>),
}

/// Why nothing was done.
#[derive(Serialize, JsonSchema)]
pub struct CommitRefused {
    #[schemars(schema_with = "words::blocked")]
    status: &'static str,
    #[schemars(schema_with = "words::refusal")]
    reason: &'static str,
    detail: String,
    #[schemars(schema_with = "words::recovery")]
    recovery: &'static str,
    /// What became of the commit that used this token first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Outcome")]
    original: Option<Outcome>,
}

/// What became of an attempt.
#[derive(Serialize, JsonSchema)]
pub struct Outcome {
    #[schemars(schema_with = "words::outcome")]
    status: &'static str,
    #[schemars(with = "Option<String>")]
    commit_id: Option<CommitId>,
    #[schemars(with = "String")]
    proposal_id: ProposalId,
    replayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "words::effect")]
    outcome: Option<&'static str>,
    /// What the provider answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "words::anything")]
    result: Option<Value>,
    /// Every content block of the answer, where they say more than `result`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<Value>")]
    content: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "words::failure")]
    reason: Option<&'static str>,
    /// False where it is proven that nothing has left so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    sent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "words::settler")]
    settled_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Provider")]
    provider: Option<Provider>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "words::recovery")]
    recovery: Option<&'static str>,
    /// Only where the provider settled more than was reserved: minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SettledAbove")]
    settled_above_reserved: Option<SettledAbove>,
}

/// The provider's own words.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Provider {
    code: String,
    description: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct SettledAbove {
    reserved: i64,
    settled: i64,
    currency: Option<String>,
}

impl From<&Committed> for CommitAnswer {
    fn from(answer: &Committed) -> Self {
        match answer {
            Committed::Settled(proposal) | Committed::InDoubt(proposal) => {
                CommitAnswer::Outcome(Box::new(Outcome::from(proposal.as_ref())))
            }
            Committed::Refused {
                refusal,
                recovery,
                original,
                detail,
            } => CommitAnswer::Refused(Box::new(CommitRefused {
                status: "blocked",
                reason: refusal.code(),
                detail: detail.as_deref().unwrap_or(refusal.text()).to_owned(),
                recovery: recovery.code(),
                original: original.as_deref().map(Outcome::from),
            })),
        }
    }
}

impl From<&Proposal> for Outcome {
    fn from(proposal: &Proposal) -> Self {
        let told = match proposal.outcome() {
            Some(Settled::Executed(receipt)) => Self::executed(proposal, receipt),
            Some(Settled::Refused(error)) => Self::refused(proposal, error),
            Some(Settled::Undone { cause, words }) => Self {
                reason: Some(cause.code()),
                detail: Some(words.clone()),
                recovery: Some(Recovery::ProposeAgain.code()),
                ..Self::of(proposal, "failed")
            },
            None if proposal.state == State::Cancelled => Self {
                sent: Some(false),
                recovery: Some(Recovery::ProposeAgain.code()),
                ..Self::of(proposal, "cancelled")
            },
            None => Self::in_doubt(proposal),
        };
        let above = Above::in_outcome(proposal).map(|above| SettledAbove {
            reserved: above.reserved,
            settled: above.settled,
            currency: above.currency.map(|currency| currency.to_string()),
        });
        Self {
            settled_above_reserved: above,
            ..told
        }
    }
}

impl Outcome {
    fn of(proposal: &Proposal, status: &'static str) -> Self {
        let execution = proposal.execution.as_ref();
        Self {
            status,
            commit_id: execution.map(|execution| execution.commit_id),
            proposal_id: proposal.fixed.id,
            replayed: false,
            outcome: None,
            result: None,
            content: None,
            reason: None,
            sent: None,
            settled_by: None,
            detail: None,
            provider: None,
            recovery: None,
            settled_above_reserved: None,
        }
    }

    fn executed(proposal: &Proposal, receipt: &Receipt) -> Self {
        let reversed = proposal.state == State::Reversed;
        Self {
            outcome: Some(if reversed { "reversed" } else { "executed" }),
            result: Some(receipt.result.clone()),
            content: Some(receipt.blocks.clone()).filter(|blocks| !blocks.is_null()),
            ..Self::of(proposal, "committed")
        }
    }

    fn refused(proposal: &Proposal, error: &ProviderError) -> Self {
        Self {
            reason: Some("provider_refused"),
            provider: Some(Provider {
                code: error.code.clone(),
                description: error.description.clone(),
            }),
            recovery: Some(Recovery::FixArgs.code()),
            ..Self::of(proposal, "failed")
        }
    }

    /// An attempt whose outcome is not known: whether anything left, and who will find out.
    fn in_doubt(proposal: &Proposal) -> Self {
        let fixed = &proposal.fixed;
        let attempt = proposal.execution.as_ref();
        let unsent = attempt.is_some_and(|attempt| attempt.unsent);
        let person = attempt.is_some_and(|attempt| attempt.needs_person);
        let (recovery, detail) = if unsent {
            let detail = format!(
                "the provider could not be reached and nothing was sent; the broker goes on trying \
                 under the same key until {}, and cancelling the proposal ends it at once",
                fixed.lapses_at
            );
            (Recovery::Wait, detail)
        } else if person {
            let detail = format!(
                "nobody can be asked whether it arrived, and nothing may be repeated; an operator \
                 looks at the provider and settles it: `hundi proposal settle {}`",
                fixed.id
            );
            (Recovery::GetApproval, detail)
        } else {
            let detail =
                "it may have arrived; the broker asks the provider and settles it by itself";
            (Recovery::Wait, detail.to_owned())
        };
        Self {
            sent: Some(!unsent),
            settled_by: Some(if person { "person" } else { "broker" }),
            detail: Some(detail),
            recovery: Some(recovery.code()),
            ..Self::of(proposal, "in_doubt")
        }
    }
}

/// One proposal.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Proposal")]
pub struct ProposalInFull {
    #[schemars(with = "String")]
    proposal_id: ProposalId,
    #[schemars(schema_with = "words::state")]
    status: &'static str,
    #[schemars(schema_with = "words::state")]
    state: &'static str,
    version: u64,
    #[schemars(with = "String")]
    agent_id: AgentId,
    #[schemars(with = "String")]
    tool_name: ToolName,
    #[schemars(schema_with = "words::object")]
    arguments: Value,
    #[schemars(schema_with = "words::hash")]
    tool_args_hash: ArgsHash,
    effective_amount: Option<Amount>,
    #[schemars(schema_with = "words::object")]
    payee: Payee,
    reason: &'static str,
    #[schemars(with = "Vec<FindingFields>")]
    findings: Vec<Finding>,
    #[schemars(range(min = 0, max = 1))]
    composite_score: Option<f64>,
    signals: Signals,
    policy_version: Option<u64>,
    #[schemars(schema_with = "words::time")]
    created_at: String,
    #[schemars(schema_with = "words::time")]
    lapses_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Approval")]
    approval: Option<Approval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Ending")]
    ending: Option<Ending>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Attempt")]
    commit: Option<Attempt>,
    #[serde(flatten)]
    token: Option<Token>,
}

/// What can move at most; `minor` is null where that is everything there is.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Amount {
    minor: Option<i64>,
    currency: String,
    text: String,
}

/// Who ended it, when and why.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Ending {
    by: String,
    #[schemars(schema_with = "words::time")]
    at: String,
    reason: String,
}

/// The one attempt to carry it out.
#[derive(Serialize, JsonSchema)]
struct Attempt {
    #[serde(flatten)]
    outcome: Outcome,
    idempotency_key: String,
    #[schemars(schema_with = "words::time")]
    claimed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    doubt: Option<String>,
    /// Evidence that contradicts the outcome, kept for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contradictions: Vec<Value>,
}

impl From<&Proposed> for ProposalInFull {
    fn from(answer: &Proposed) -> Self {
        let proposal = &answer.proposal;
        let (fixed, state) = (&proposal.fixed, proposal.state.name());
        let ending = proposal.moving.ending.as_ref();
        Self {
            proposal_id: fixed.id,
            status: state,
            state,
            version: proposal.version,
            agent_id: fixed.agent.clone(),
            tool_name: fixed.tool.clone(),
            arguments: fixed.args.value(),
            tool_args_hash: fixed.args_hash,
            effective_amount: Amount::of(&fixed.effective),
            payee: fixed.payee.clone(),
            reason: fixed.reason.code(),
            findings: fixed.findings.clone(),
            composite_score: fixed.score.composite,
            signals: Signals::from(&fixed.score.signals),
            policy_version: fixed.policy_version,
            created_at: fixed.created_at.to_string(),
            lapses_at: fixed.lapses_at.to_string(),
            approval: (fixed.approvals_needed > 0).then(|| Approval::from(proposal)),
            ending: ending.map(|ending| Ending {
                by: ending.by.clone(),
                at: ending.at.to_string(),
                reason: ending.reason.clone(),
            }),
            commit: proposal
                .execution
                .as_ref()
                .map(|attempt| Attempt::of(proposal, attempt)),
            token: Token::of(answer),
        }
    }
}

impl Attempt {
    fn of(proposal: &Proposal, execution: &Execution) -> Self {
        Self {
            outcome: Outcome::from(proposal),
            idempotency_key: execution.idempotency_key.clone(),
            claimed_at: execution.claimed_at.to_string(),
            doubt: execution.doubt.clone(),
            contradictions: execution.contradictions.clone(),
        }
    }
}

impl Amount {
    fn of(effective: &Effective) -> Option<Self> {
        match effective {
            Effective::Nothing => None,
            Effective::Amount(money) => Some(Self {
                minor: Some(money.minor),
                currency: money.currency.to_string(),
                text: money.to_string(),
            }),
            Effective::Unbounded(currency) => Some(Self {
                minor: None,
                currency: currency.to_string(),
                text: "everything there is".to_owned(),
            }),
        }
    }
}

/// A problem document (RFC 9457); `type` is stable per code.
pub fn problem(trouble: &Trouble) -> Value {
    let detail = trouble.to_string();
    problem_document(
        trouble.code(),
        trouble.status(),
        &detail,
        trouble.recovery(),
    )
}

/// A problem document from its parts, for what a door itself refuses.
pub fn problem_document(code: &str, status: u16, detail: &str, recovery: Recovery) -> Value {
    json!({
        "type": format!("urn:hundi:problem:{code}"),
        "title": code.replace('_', " "),
        "status": status,
        "detail": detail,
        "code": code,
        "recovery": recovery.code(),
    })
}
