//! What became of an attempt, and of a commit (contract section 7).

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::broker::Committed;
use crate::domain::above::{self, Above};
use crate::domain::call::{ProviderError, Receipt};
use crate::domain::ids::{CommitId, ProposalId};
use crate::domain::proposal::{Proposal, Settled, State};
use crate::domain::reason::Recovery;
use crate::entry::words;

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
    /// Only where the answer should say how much was settled and does not: what was proposed is
    /// booked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    settled_unreadable: Option<bool>,
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
            settled_unreadable: above::unreadable(proposal).then_some(true),
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
            settled_unreadable: None,
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
            reason: Some(error.condition().unwrap_or("provider_refused")),
            provider: Some(Provider {
                code: error.code.clone(),
                description: error.description.clone(),
            }),
            recovery: Some(error.recovery().code()),
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
