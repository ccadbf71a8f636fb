//! Why a request could not be answered at all: the code, the status and the advice of each reason.

use crate::domain::access::RuleVersion;
use crate::domain::ids::{ProposalId, TraceId};
use crate::domain::payee::PayeeId;
use crate::domain::principal::Principal;
use crate::domain::proposal::State;
use crate::domain::reason::Recovery;
use crate::domain::requests::failure::Why;
use crate::domain::roles::Roles;
use crate::domain::tools::Invalid;
use crate::governance::access::rules;
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
    /// A change that watches a tool less.
    #[error(
        "an operator's word is needed {0}: a key with the role operator or admin, too, may save it"
    )]
    WordNeeded(&'static str),
    /// Access rules do not let the caller use the tool.
    #[error("{text}{}", .rule.as_ref().map(|rule| format!(" (`{rule}`)")).unwrap_or_default(), text = .why.text())]
    AccessDenied {
        /// Why; its words name no rule.
        why: rules::Why,
        /// The rule, for those who may read rules.
        rule: Option<String>,
        /// Every rule that decided, for the trace of the call; no answer tells these.
        by: Vec<RuleVersion>,
    },
    /// The proposer is the approver.
    #[error("a proposal cannot be approved by its own proposer")]
    SelfApproval,
    /// Several people have to agree, and this key is nobody's.
    #[error(
        "several people have to agree to this, and this key names none; make it with `person` (`POST /v1/people`, `POST /v1/keys`)"
    )]
    PersonNeeded,
    /// The policy wants a decision signed, and this one is not.
    #[error(
        "the policy lets a decision on this count only where it is signed with a passkey, in the console: /console/approvals"
    )]
    PasskeyRequired,
    /// The policy names who may agree, and this is somebody else.
    #[error("the policy lets others agree to this: {0}")]
    NotAmongApprovers(String),
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
    /// A client came back with a state that it was not given for this, or not for now.
    #[error(
        "this requestState is not the one that was given last for this very call: it was changed, used, is too old, or is another's; read the proposal with `get_proposal`, or propose again with the same idempotency_key"
    )]
    BadRequestState,
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
    SourceFailed(String, Recovery),
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
    /// There is something of this name, and it is asked for in another way: in words.
    #[error("{0}")]
    NotCalledSo(String),
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
    /// A call of a tool came to nothing, and is named in traces.
    #[error("{cause}")]
    Traced {
        /// Names the call.
        trace: TraceId,
        /// Why.
        cause: Box<Trouble>,
    },
    /// Something is not configured.
    #[error("{0}")]
    Off(String),
    /// A request to a model would cost more than its agent may spend.
    #[error("{0}")]
    BudgetExceeded(String),
    /// Something that must not leave is in it: what and where, never the value.
    #[error(
        "a secret was found, and nothing was sent: {}; take it out, or have an operator except the place",
        found_words(.0)
    )]
    SecretFound(Vec<FoundSecret>),
    /// No provider has a model of this name.
    #[error("no provider here has a model named {0:?}; `GET /v1/models` lists what there is")]
    UnknownModel(String),
    /// A model, or what is asked of it, has no price, and is not asked without one.
    #[error(
        "the price of {0} is not known, so nothing was asked: leave out what has no price, or have an operator set it in `prices`, import a table, or set prices.on_unknown"
    )]
    PriceUnknown(String),
    /// No provider gave an answer.
    #[error("{}", .0.words)]
    Provider(Box<NoAnswer>),
    /// A request is not where it would have to be for this.
    #[error("the request is {0}: there is no result yet")]
    NotReady(&'static str),
    /// A request has ended, and stays as it is.
    #[error("the request is {0}, and that is final")]
    RequestEnded(&'static str),
    /// A request has not ended yet.
    #[error("the request is {0}: cancel it first")]
    RequestLive(&'static str),
    /// What was said in a request is gone.
    #[error(
        "what was said in this request is erased; `GET /v1/requests/{{id}}` still tells what it cost"
    )]
    Erased,
    /// The queue takes no more.
    #[error("{0} requests wait already; come back when some are answered")]
    QueueFull(u64),
}

/// A secret that was found: what it is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSecret {
    /// Its type, as `hundi scan` names it.
    pub rule: &'static str,
    /// JSON pointer of the text it is in.
    pub pointer: String,
}

/// Why no provider answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoAnswer {
    /// What went wrong last.
    pub why: Why,
    /// In words for whoever asked.
    pub words: String,
    /// When to ask again, in seconds.
    pub retry_after_secs: Option<u32>,
}

/// Finds that are named in words; the rest is in the document.
const NAMED_FINDS: usize = 5;

fn found_words(found: &[FoundSecret]) -> String {
    let shown = found.iter().take(NAMED_FINDS);
    let shown: Vec<String> = shown
        .map(|found| match found.pointer.is_empty() {
            true => found.rule.to_owned(),
            false => format!("{} in {}", found.rule, found.pointer),
        })
        .collect();
    shown.join(", ")
}

impl NoAnswer {
    fn code(&self) -> &'static str {
        match self.why {
            Why::Refused => "provider_refused",
            Why::RateLimited | Why::Cooling => "provider_rate_limited",
            Why::Timeout => "provider_timeout",
            Why::Open => "provider_unavailable",
            Why::Credentials => "provider_credentials",
            Why::Unreachable
            | Why::ServerError
            | Why::Empty
            | Why::Malformed
            | Why::Cut
            | Why::Cancelled => "provider_failed",
        }
    }

    fn status(&self) -> u16 {
        match self.why {
            Why::Refused => 400,
            Why::RateLimited | Why::Cooling => 429,
            Why::Timeout => 504,
            Why::Open => 503,
            Why::Credentials
            | Why::Unreachable
            | Why::ServerError
            | Why::Empty
            | Why::Malformed
            | Why::Cut
            | Why::Cancelled => 502,
        }
    }

    fn recovery(&self) -> Recovery {
        match self.why {
            Why::Refused => Recovery::FixArgs,
            Why::Credentials => Recovery::Stop,
            Why::RateLimited
            | Why::Cooling
            | Why::Timeout
            | Why::Open
            | Why::Unreachable
            | Why::ServerError
            | Why::Empty
            | Why::Malformed
            | Why::Cut
            | Why::Cancelled => Recovery::Wait,
        }
    }
}

impl Trouble {
    /// Never changes once released.
    pub fn code(&self) -> &'static str {
        match self {
            Trouble::InvalidArguments(_) => "invalid_arguments",
            Trouble::InvalidRequest(_) => "invalid_request",
            Trouble::NameReserved(_) => "name_reserved",
            Trouble::UnknownTool(_) | Trouble::NotCalledSo(_) => "unknown_tool",
            Trouble::ToolQuarantined(_) => "tool_quarantined",
            Trouble::ToolUnusable(_) => "tool_unusable",
            Trouble::UpstreamUnavailable(_) => "upstream_unavailable",
            Trouble::Unauthenticated => "unauthenticated",
            Trouble::Forbidden { .. } | Trouble::WordNeeded(_) => "forbidden",
            Trouble::AccessDenied { .. } => "access_denied",
            Trouble::SelfApproval => "self_approval",
            Trouble::PersonNeeded => "person_needed",
            Trouble::PasskeyRequired => "passkey_required",
            Trouble::NotAmongApprovers(_) => "not_among_approvers",
            Trouble::ApprovedAlready(_) => "approved_already",
            Trouble::NotFound(_) => "not_found",
            Trouble::AccountTaken { .. } => "account_taken",
            Trouble::IdempotencyKeyReused(_) => "idempotency_key_reused",
            Trouble::BadRequestState => "bad_request_state",
            Trouble::WrongState(_) => "wrong_state",
            Trouble::Changed => "changed_meanwhile",
            Trouble::StoreUnavailable => "store_unavailable",
            Trouble::Overloaded { .. } => "overloaded",
            Trouble::RateLimited { .. } => "rate_limited",
            Trouble::Frozen(_) => "frozen",
            Trouble::Upstream(_) | Trouble::SourceFailed(..) | Trouble::UpstreamRefused { .. } => {
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
            Trouble::Traced { cause, .. } => cause.code(),
            Trouble::Off(_) => "not_configured",
            Trouble::BudgetExceeded(_) => "budget_exceeded",
            Trouble::SecretFound(_) => "secret_found",
            Trouble::UnknownModel(_) => "model_not_found",
            Trouble::PriceUnknown(_) => "price_unknown",
            Trouble::Provider(no) => no.code(),
            Trouble::NotReady(_) => "not_ready",
            Trouble::RequestEnded(_) => "request_ended",
            Trouble::RequestLive(_) => "request_live",
            Trouble::Erased => "erased",
            Trouble::QueueFull(_) => "queue_full",
        }
    }

    /// The HTTP status that says it best.
    pub fn status(&self) -> u16 {
        match self {
            Trouble::InvalidArguments(_)
            | Trouble::InvalidRequest(_)
            | Trouble::Invalid(_)
            | Trouble::SecretFound(_)
            | Trouble::PriceUnknown(_)
            | Trouble::BadRequestState
            | Trouble::NameReserved(_) => 400,
            Trouble::BudgetExceeded(_) => 402,
            Trouble::Provider(no) => no.status(),
            Trouble::Unauthenticated => 401,
            Trouble::Forbidden { .. }
            | Trouble::WordNeeded(_)
            | Trouble::AccessDenied { .. }
            | Trouble::SelfApproval
            | Trouble::PersonNeeded
            | Trouble::PasskeyRequired
            | Trouble::NotAmongApprovers(_)
            | Trouble::ToolDisabled(_) => 403,
            Trouble::UnknownTool(_)
            | Trouble::NotCalledSo(_)
            | Trouble::NotFound(_)
            | Trouble::UnknownModel(_) => 404,
            Trouble::ToolQuarantined(_)
            | Trouble::ToolUnusable(_)
            | Trouble::ApprovedAlready(_)
            | Trouble::AccountTaken { .. }
            | Trouble::IdempotencyKeyReused(_)
            | Trouble::WrongState(_)
            | Trouble::Frozen(_)
            | Trouble::NameTaken(..)
            | Trouble::InUse(..)
            | Trouble::NotReady(_)
            | Trouble::RequestEnded(_)
            | Trouble::RequestLive(_)
            | Trouble::Changed => 409,
            Trouble::Erased => 410,
            Trouble::RateLimited { .. } => 429,
            Trouble::Upstream(_)
            | Trouble::SourceFailed(..)
            | Trouble::UpstreamRefused { .. }
            | Trouble::ResultTooLarge { .. }
            | Trouble::OutputInvalid(..) => 502,
            Trouble::Traced { cause, .. } => cause.status(),
            Trouble::Timeout(_) => 504,
            Trouble::StoreUnavailable
            | Trouble::UpstreamUnavailable(_)
            | Trouble::SourceUnavailable(_)
            | Trouble::Overloaded { .. }
            | Trouble::QueueFull(_)
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
            | Trouble::NotCalledSo(_)
            | Trouble::AccountTaken { .. }
            | Trouble::Invalid(_)
            | Trouble::NameTaken(..)
            | Trouble::SecretFound(_)
            | Trouble::UnknownModel(_)
            | Trouble::IdempotencyKeyReused(_) => Recovery::FixArgs,
            Trouble::Provider(no) => no.recovery(),
            Trouble::StoreUnavailable
            | Trouble::UpstreamUnavailable(_)
            | Trouble::SourceUnavailable(_)
            | Trouble::Timeout(_)
            | Trouble::Overloaded { .. }
            | Trouble::RateLimited { .. }
            | Trouble::Upstream(_)
            | Trouble::NotReady(_)
            | Trouble::QueueFull(_)
            | Trouble::Changed => Recovery::Wait,
            Trouble::Traced { cause, .. } => cause.recovery(),
            Trouble::UpstreamRefused { recovery, .. } | Trouble::SourceFailed(_, recovery) => {
                *recovery
            }
            Trouble::ResultTooLarge { .. } | Trouble::BudgetExceeded(_) => Recovery::ReduceScope,
            Trouble::WrongState(_)
            | Trouble::BadRequestState
            | Trouble::RequestEnded(_)
            | Trouble::RequestLive(_) => Recovery::ReadOutcome,
            Trouble::ApprovedAlready(_)
            | Trouble::SelfApproval
            | Trouble::PersonNeeded
            | Trouble::PasskeyRequired
            | Trouble::NotAmongApprovers(_) => Recovery::GetApproval,
            Trouble::ToolQuarantined(_)
            | Trouble::ToolUnusable(_)
            | Trouble::Frozen(_)
            | Trouble::InUse(..)
            | Trouble::ToolDisabled(_)
            | Trouble::OutputInvalid(..)
            | Trouble::Unauthenticated
            | Trouble::Forbidden { .. }
            | Trouble::WordNeeded(_)
            | Trouble::AccessDenied { .. }
            | Trouble::NotFound(_)
            | Trouble::PriceUnknown(_)
            | Trouble::Erased
            | Trouble::Off(_) => Recovery::Stop,
        }
    }
}

impl Trouble {
    /// The trouble itself, whatever it is told with.
    pub fn cause(&self) -> &Trouble {
        if let Trouble::Traced { cause, .. } = self {
            return cause.cause();
        }
        self
    }

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
