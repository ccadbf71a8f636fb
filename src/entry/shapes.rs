//! What proposals, their outcomes and problems look like: one spelling for every door.
//!
//! Types, so that the schemas that clients are told are those of what is sent. A field that says
//! nothing is left out, but for the few whose absence would be read as something else: those are
//! null.

mod outcome;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

pub use outcome::{CommitAnswer, CommitRefused, Outcome};

use super::operations::documents::PassageTold;
use crate::broker::{Committed, Proposed, Trouble};
use crate::domain::ids::{AgentId, ArgsHash, ProposalId, ToolName};
use crate::domain::money::Effective;
use crate::domain::proposal::{self, Execution, Proposal, State};
use crate::domain::reason::{Finding, Recovery};
use crate::domain::time::Timestamp;
use crate::domain::tool::Payee;
use crate::domain::tools::effect::Effect;
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
    /// What it is shown for: `{summary, before, after?, rows?, state}`, masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "words::object")]
    effect: Option<Value>,
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
            effect: fixed.effect.as_ref().map(Effect::told),
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

impl ProposedAnswer {
    /// The state that it is in.
    pub fn status(&self) -> &'static str {
        self.status
    }

    /// What was stored of it.
    pub fn proposal(&self) -> Option<ProposalId> {
        self.proposal_id
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
            needed: proposal.approvals_needed(),
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
    /// What it was shown for: `{summary, before, after?, rows?, state}`, masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "words::object")]
    effect: Option<Value>,
    /// Passages of documents about its payee and purpose; for those who decide on it, while it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<PassageTold>")]
    related: Option<Vec<PassageTold>>,
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
            effect: fixed.effect.as_ref().map(Effect::told),
            related: None,
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

impl ProposalInFull {
    /// The same with what documents say about it.
    pub fn beside(self, related: Option<Vec<PassageTold>>) -> Self {
        Self { related, ..self }
    }

    /// The same for a list of them, without the long parts.
    pub fn listed(mut self) -> Self {
        if let Some(effect) = self.effect.as_mut().and_then(Value::as_object_mut) {
            effect.remove("before");
            effect.remove("after");
        }
        self
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
    let mut document = problem_document(
        trouble.code(),
        trouble.status(),
        &detail,
        trouble.recovery(),
    );
    if let (Some(document), Value::Object(more)) = (document.as_object_mut(), places(trouble)) {
        document.extend(more);
    }
    document
}

/// What a problem names besides its words: the place of a mistake, or who stands in the way.
pub fn places(trouble: &Trouble) -> Value {
    match trouble {
        Trouble::SecretFound(found) => {
            let found = found.iter();
            let found = found.map(|one| json!({"type": one.rule, "pointer": one.pointer}));
            json!({"found": found.collect::<Value>()})
        }
        Trouble::NotReady(status) => json!({ "request_status": status }),
        Trouble::Invalid(invalid) => match &invalid.position {
            Some(position) => json!({"pointer": invalid.pointer, "position": position}),
            None => json!({"pointer": invalid.pointer}),
        },
        Trouble::Traced { trace, cause } => {
            let mut more = places(cause);
            match more.as_object_mut() {
                Some(fields) => {
                    fields.insert("trace_id".to_owned(), json!(trace));
                    more
                }
                None => json!({"trace_id": trace}),
            }
        }
        Trouble::InUse(_, tools) => json!({"tools": tools}),
        Trouble::AccessDenied {
            rule: Some(rule), ..
        } => json!({"rule": rule}),
        Trouble::InvalidArguments(_)
        | Trouble::InvalidRequest(_)
        | Trouble::NameReserved(_)
        | Trouble::UnknownTool(_)
        | Trouble::NotCalledSo(_)
        | Trouble::ToolQuarantined(_)
        | Trouble::ToolUnusable(_)
        | Trouble::ToolDisabled(_)
        | Trouble::NameTaken(..)
        | Trouble::Unauthenticated
        | Trouble::Forbidden { .. }
        | Trouble::WordNeeded(_)
        | Trouble::AccessDenied { rule: None, .. }
        | Trouble::SelfApproval
        | Trouble::PersonNeeded
        | Trouble::PasskeyRequired
        | Trouble::NotAmongApprovers(_)
        | Trouble::ApprovedAlready(_)
        | Trouble::NotFound(_)
        | Trouble::AccountTaken { .. }
        | Trouble::IdempotencyKeyReused(_)
        | Trouble::WrongState(_)
        | Trouble::BadRequestState
        | Trouble::Changed
        | Trouble::Overloaded { .. }
        | Trouble::RateLimited { .. }
        | Trouble::ResultTooLarge { .. }
        | Trouble::BudgetExceeded(_)
        | Trouble::UnknownModel(_)
        | Trouble::PriceUnknown(_)
        | Trouble::Erased
        | Trouble::RequestEnded(_)
        | Trouble::RequestLive(_)
        | Trouble::QueueFull(_)
        | Trouble::Frozen(_) => Value::Null,
        // Who failed, so that people look in the right place.
        Trouble::StoreUnavailable | Trouble::Off(_) => json!({"origin": "broker"}),
        Trouble::SourceUnavailable(_)
        | Trouble::SourceFailed(..)
        | Trouble::Timeout(_)
        | Trouble::OutputInvalid(..) => json!({"origin": "source"}),
        Trouble::Upstream(_)
        | Trouble::UpstreamRefused { .. }
        | Trouble::Provider(_)
        | Trouble::UpstreamUnavailable(_) => {
            json!({"origin": "upstream"})
        }
    }
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
