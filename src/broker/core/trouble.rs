//! Why a request could not be answered at all: the code, the status and the advice of each reason.

use crate::domain::ids::ProposalId;
use crate::domain::payee::PayeeId;
use crate::domain::principal::Principal;
use crate::domain::proposal::State;
use crate::domain::reason::Recovery;
use crate::domain::roles::Roles;
use crate::domain::tools::Invalid;
use crate::store::{ApplyError, StoreError};

/// Why a request could not be answered at all. The text is for people, [`Trouble::code`] for
/// programs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Trouble {
    /// The arguments break the tool's schema or an id's pattern.
    #[error("the arguments are not what the tool takes: {0}")]
    InvalidArguments(String),
    /// Another part of the request is not what it should be.
    #[error("{0}")]
    InvalidRequest(String),
    /// No such tool, or not for proposing.
    #[error("there is no tool named {0:?}; list the tools to see what there is")]
    UnknownTool(String),
    /// The name belongs to the broker.
    #[error("{0:?} is the agent of payouts that others make at the bank; choose another name")]
    NameReserved(String),
    /// The tool's definition is new or changed and waits for an operator.
    #[error("the tool {0} waits for an operator to accept its definition (`hundi tool accept`)")]
    ToolQuarantined(String),
    /// The operator's rules or the tool's own schema do not let it be used.
    #[error(
        "the tool {0} cannot be used until an operator mends the rules for it (`hundi tool show {0}` says what is wrong)"
    )]
    ToolUnusable(String),
    /// The tool's server does not say at present what it offers.
    #[error("the server of the tool {0} does not answer; nothing was done")]
    UpstreamUnavailable(String),
    /// No valid key.
    #[error("a valid API key is needed: `Authorization: Bearer hk_...`")]
    Unauthenticated,
    /// The roles may not do this.
    #[error("{} may not do this; it takes a key of another role", roles.told())]
    Forbidden {
        /// The caller's roles.
        roles: Roles,
    },
    /// Access rules do not let the caller use the tool.
    #[error("{why}{}", .rule.as_ref().map(|rule| format!(" (`{rule}`)")).unwrap_or_default())]
    AccessDenied {
        /// In words that name no rule.
        why: &'static str,
        /// The rule, for those who may read rules.
        rule: Option<String>,
    },
    /// The proposer is the approver.
    #[error("a proposal cannot be approved by its own proposer")]
    SelfApproval,
    /// Several people have to agree, and this key is nobody's.
    #[error(
        "several people have to agree to this, and this key names none; make it with `person` (`POST /v1/people`, `POST /v1/keys`)"
    )]
    PersonNeeded,
    /// The same person again.
    #[error("{0} has approved this proposal already; another person has to agree")]
    ApprovedAlready(String),
    /// Never existed, or belongs to somebody else: the same answer.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// An account belongs to one payee.
    #[error(
        "the account {account} belongs to {name} ({holder}); remove it there first, or name it so"
    )]
    AccountTaken {
        /// The account.
        account: String,
        /// Whose it is.
        name: String,
        /// Their id.
        holder: PayeeId,
    },
    /// The same idempotency key with other arguments.
    #[error("the idempotency key already names another request, {0}")]
    IdempotencyKeyReused(ProposalId),
    /// Not possible where the proposal stands.
    #[error("the proposal is {}, so this cannot be done", .0.name())]
    WrongState(State),
    /// Somebody else changed it at the same moment.
    #[error("somebody else changed it at the same moment; read it again")]
    Changed,
    /// The store failed; nothing was done.
    #[error("the store is not answering; nothing was done")]
    StoreUnavailable,
    /// Too much at once.
    #[error("too many requests are under way")]
    Overloaded {
        /// Seconds to wait.
        retry_after_secs: u32,
    },
    /// A tool that passes through was called too often.
    #[error("this tool is called too often; come back in {retry_after_secs} s")]
    RateLimited {
        /// Seconds until there is room, at least 1.
        retry_after_secs: u32,
    },
    /// An operator's freeze covers a call that passes through.
    #[error("an operator has frozen this: {0}")]
    Frozen(String),
    /// An upstream failed on a pass-through call.
    #[error("the upstream did not answer properly: {0}")]
    Upstream(String),
    /// A source failed on a call that only reads.
    #[error("the tool's source did not answer properly: {0}")]
    SourceFailed(String),
    /// An upstream refused a pass-through call before it did anything.
    #[error("the upstream refused the call: {why}")]
    UpstreamRefused {
        /// Its words.
        why: String,
        /// What the caller can do about them.
        recovery: Recovery,
    },
    /// The answer to a pass-through call is longer than is taken.
    #[error("the answer is longer than the {limit} bytes that are taken; ask for less")]
    ResultTooLarge {
        /// The most that is taken, in bytes.
        limit: usize,
    },
    /// A document that somebody wrote is wrong at a place that can be named.
    #[error("{0}")]
    Invalid(Box<Invalid>),
    /// A name is another's already.
    #[error("there is a {0} named {1:?} already")]
    NameTaken(&'static str, String),
    /// Others need it.
    #[error("this {0} is used by {names}; change or delete these first", names = .1.join(", "))]
    InUse(&'static str, Vec<String>),
    /// It is switched off.
    #[error("the tool {0} is disabled")]
    ToolDisabled(String),
    /// A source cannot be reached.
    #[error("the source of the tool {0} does not answer; nothing was done")]
    SourceUnavailable(String),
    /// A call that only reads took too long.
    #[error("the tool {0} took too long; nothing was changed")]
    Timeout(String),
    /// A result breaks the tool's own output schema.
    #[error("the result of the tool {0} is not what its output schema says: {1}")]
    OutputInvalid(String, String),
    /// Something is not configured.
    #[error("{0}")]
    Off(String),
}

impl Trouble {
    /// Never changes once released.
    pub fn code(&self) -> &'static str {
        match self {
            Trouble::InvalidArguments(_) => "invalid_arguments",
            Trouble::InvalidRequest(_) => "invalid_request",
            Trouble::NameReserved(_) => "name_reserved",
            Trouble::UnknownTool(_) => "unknown_tool",
            Trouble::ToolQuarantined(_) => "tool_quarantined",
            Trouble::ToolUnusable(_) => "tool_unusable",
            Trouble::UpstreamUnavailable(_) => "upstream_unavailable",
            Trouble::Unauthenticated => "unauthenticated",
            Trouble::Forbidden { .. } => "forbidden",
            Trouble::AccessDenied { .. } => "access_denied",
            Trouble::SelfApproval => "self_approval",
            Trouble::PersonNeeded => "person_needed",
            Trouble::ApprovedAlready(_) => "approved_already",
            Trouble::NotFound(_) => "not_found",
            Trouble::AccountTaken { .. } => "account_taken",
            Trouble::IdempotencyKeyReused(_) => "idempotency_key_reused",
            Trouble::WrongState(_) => "wrong_state",
            Trouble::Changed => "changed_meanwhile",
            Trouble::StoreUnavailable => "store_unavailable",
            Trouble::Overloaded { .. } => "overloaded",
            Trouble::RateLimited { .. } => "rate_limited",
            Trouble::Frozen(_) => "frozen",
            Trouble::Upstream(_) | Trouble::SourceFailed(_) | Trouble::UpstreamRefused { .. } => {
                "upstream_failed"
            }
            Trouble::ResultTooLarge { .. } => "result_too_large",
            Trouble::Invalid(invalid) => invalid.code,
            Trouble::NameTaken(..) => "name_taken",
            Trouble::InUse(..) => "in_use",
            Trouble::ToolDisabled(_) => "tool_disabled",
            Trouble::SourceUnavailable(_) => "source_unavailable",
            Trouble::Timeout(_) => "timeout",
            Trouble::OutputInvalid(..) => "output_invalid",
            Trouble::Off(_) => "not_configured",
        }
    }

    /// The HTTP status that says it best.
    pub fn status(&self) -> u16 {
        match self {
            Trouble::InvalidArguments(_)
            | Trouble::InvalidRequest(_)
            | Trouble::Invalid(_)
            | Trouble::NameReserved(_) => 400,
            Trouble::Unauthenticated => 401,
            Trouble::Forbidden { .. }
            | Trouble::AccessDenied { .. }
            | Trouble::SelfApproval
            | Trouble::PersonNeeded
            | Trouble::ToolDisabled(_) => 403,
            Trouble::UnknownTool(_) | Trouble::NotFound(_) => 404,
            Trouble::ToolQuarantined(_)
            | Trouble::ToolUnusable(_)
            | Trouble::ApprovedAlready(_)
            | Trouble::AccountTaken { .. }
            | Trouble::IdempotencyKeyReused(_)
            | Trouble::WrongState(_)
            | Trouble::Frozen(_)
            | Trouble::NameTaken(..)
            | Trouble::InUse(..)
            | Trouble::Changed => 409,
            Trouble::RateLimited { .. } => 429,
            Trouble::Upstream(_)
            | Trouble::SourceFailed(_)
            | Trouble::UpstreamRefused { .. }
            | Trouble::ResultTooLarge { .. }
            | Trouble::OutputInvalid(..) => 502,
            Trouble::Timeout(_) => 504,
            Trouble::StoreUnavailable
            | Trouble::UpstreamUnavailable(_)
            | Trouble::SourceUnavailable(_)
            | Trouble::Overloaded { .. }
            | Trouble::Off(_) => 503,
        }
    }

    /// What the caller can do.
    pub fn recovery(&self) -> Recovery {
        match self {
            Trouble::InvalidArguments(_)
            | Trouble::InvalidRequest(_)
            | Trouble::NameReserved(_)
            | Trouble::UnknownTool(_)
            | Trouble::AccountTaken { .. }
            | Trouble::Invalid(_)
            | Trouble::NameTaken(..)
            | Trouble::IdempotencyKeyReused(_) => Recovery::FixArgs,
            Trouble::StoreUnavailable
            | Trouble::UpstreamUnavailable(_)
            | Trouble::SourceUnavailable(_)
            | Trouble::Timeout(_)
            | Trouble::Overloaded { .. }
            | Trouble::RateLimited { .. }
            | Trouble::Upstream(_)
            | Trouble::SourceFailed(_)
            | Trouble::Changed => Recovery::Wait,
            Trouble::UpstreamRefused { recovery, .. } => *recovery,
            Trouble::ResultTooLarge { .. } => Recovery::ReduceScope,
            Trouble::WrongState(_) => Recovery::ReadOutcome,
            Trouble::ApprovedAlready(_) | Trouble::SelfApproval | Trouble::PersonNeeded => {
                Recovery::GetApproval
            }
            Trouble::ToolQuarantined(_)
            | Trouble::ToolUnusable(_)
            | Trouble::Frozen(_)
            | Trouble::InUse(..)
            | Trouble::ToolDisabled(_)
            | Trouble::OutputInvalid(..)
            | Trouble::Unauthenticated
            | Trouble::Forbidden { .. }
            | Trouble::AccessDenied { .. }
            | Trouble::NotFound(_)
            | Trouble::Off(_) => Recovery::Stop,
        }
    }
}

impl Trouble {
    pub(in crate::broker) fn invalid(invalid: Invalid) -> Self {
        Trouble::Invalid(Box::new(invalid))
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Trouble::StoreUnavailable
    }
}

/// That the caller's role may not do this.
pub(in crate::broker) fn forbidden(who: &Principal) -> Trouble {
    Trouble::Forbidden { roles: who.roles }
}

/// What a change that was not applied means to whoever asked for it.
pub(in crate::broker) fn failed(error: ApplyError) -> Trouble {
    match error {
        ApplyError::Conflict(_) => Trouble::Changed,
        ApplyError::Store(error) => error.into(),
    }
}
