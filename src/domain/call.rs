//! What leaves and what comes back: the order to a provider, its reply, and what the reply proves.
//!
//! Only a clear yes or a clear no ends doubt. Everything else is [`Outcome::Unknown`], however
//! much it looks like an error.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::Canonical;
use super::ids::{ProposalId, ToolName};
use super::money::Effective;
use super::reason::Recovery;

/// A proposal as a connector sees it: what to do, under which names.
#[derive(Clone, PartialEq, Debug)]
pub struct Order {
    /// The proposal, from which the provider's key and reference are derived.
    pub proposal: ProposalId,
    /// The tool of the catalogue.
    pub tool: ToolName,
    /// The stored canonical arguments.
    pub args: Canonical,
    /// What it can move at most.
    pub effective: Effective,
}

impl Order {
    /// The provider's idempotency key: the proposal id, so that one proposal has one key for
    /// ever. 36 characters, the most that Razorpay accepts.
    pub fn idempotency_key(&self) -> String {
        self.proposal.to_string()
    }

    /// The reference that the provider stores with the effect and can be searched by.
    pub fn reference(&self) -> String {
        self.proposal.to_string()
    }
}

/// One call to one tool of one upstream: exactly what the intent stores and the wire sends.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// The configured upstream: `razorpay`, `noop`, or the name of an MCP server.
    pub upstream: String,
    /// The upstream's own tool name.
    pub tool: String,
    /// Canonical JSON of the arguments.
    pub arguments: String,
}

impl Call {
    /// A call with these arguments in canonical form.
    pub fn new(upstream: &str, tool: &str, arguments: &Value) -> Self {
        Self {
            upstream: upstream.to_owned(),
            tool: tool.to_owned(),
            arguments: Canonical::of(arguments).to_string(),
        }
    }
}

/// What the wire heard.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// A tool result, whatever it says.
    Result {
        /// The structured content, or the only text parsed as JSON or as a string, or the only
        /// object among several texts, or all content blocks.
        content: Value,
        /// The upstream called it an error.
        is_error: bool,
    },
    /// A JSON-RPC error instead of a result.
    RpcError {
        /// The JSON-RPC code.
        code: i64,
        /// The upstream's words.
        message: String,
    },
    /// An HTTP status that proves that nothing was done: the request was turned away before it
    /// was taken up.
    TurnedAway {
        /// 400, 401, 403, 404, 405, 413 or 415.
        status: u16,
        /// The upstream's words, cut to length.
        words: String,
    },
    /// Proven: not a byte of the request left this process.
    NotSent(String),
    /// It was answered, at more length than is taken: what was done is not known.
    TooLarge {
        /// The most that is taken, in bytes.
        limit: usize,
    },
    /// It may have arrived: no reply, a reply that does not parse, a dead process.
    Lost(String),
}

impl Reply {
    /// Why there is no result, for people; empty where there is one.
    pub fn why(&self) -> String {
        match self {
            Reply::Result { .. } => String::new(),
            Reply::RpcError { code, message } => format!("error {code}: {message}"),
            Reply::TurnedAway { status, words } => format!("HTTP {status}: {words}"),
            Reply::TooLarge { limit } => {
                format!("result_too_large: its answer is longer than {limit} bytes")
            }
            Reply::NotSent(why) | Reply::Lost(why) => why.clone(),
        }
    }
}

/// What a reply to the call itself proves.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The effect exists at the provider, under our reference.
    Executed(Receipt),
    /// The provider said a clear no: the effect does not exist and will not.
    Refused(ProviderError),
    /// Proven: this sending did not reach the provider. It says nothing about an earlier sending of
    /// the same order, so it ends doubt only where there was none before.
    NotSent(String),
    /// None of these.
    Unknown(String),
}

impl Outcome {
    /// The same, with content blocks that say more than the answer's result.
    pub fn with_blocks(self, blocks: Value) -> Self {
        match self {
            Outcome::Executed(receipt) => Outcome::Executed(Receipt { blocks, ..receipt }),
            other @ (Outcome::Refused(_) | Outcome::NotSent(_) | Outcome::Unknown(_)) => other,
        }
    }
}

/// What a reply to an enquiry proves.
#[derive(Clone, PartialEq, Debug)]
pub enum Sighting {
    /// The effect exists.
    Found(Receipt),
    /// The provider looked and there is nothing under our reference, at this moment.
    Absent,
    /// The effect does not exist and cannot come any more: the payout to approve was rejected.
    Refused(ProviderError),
    /// The enquiry itself brought no clear answer.
    Unclear(String),
}

/// Proof of an effect.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The provider's id of the effect, if it gives one (`pout_...`).
    pub provider_id: Option<String>,
    /// The provider's own state (`processing`, `processed`, `reversed`...).
    pub provider_state: Option<String>,
    /// True when the provider says that the money came back or never left after all.
    pub reversed: bool,
    /// What the provider settled, in minor units; `None` where it does not say.
    pub settled_minor: Option<i64>,
    /// It should say so by its rule, and what it says is no amount. What was proposed is booked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub settled_unreadable: bool,
    /// The provider's answer, as the caller gets it.
    pub result: Value,
    /// Every content block of that answer, in order, where they say more than `result`; else null.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub blocks: Value,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A provider's clear no.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProviderError {
    /// The provider's code, or ours where it gave none.
    pub code: String,
    /// Its words.
    pub description: String,
}

/// How the code of what a server turned away begins; its HTTP status follows.
pub const HTTP_CODE: &str = "http_";
/// The code where the state that a proposal was shown for is another by now.
pub const PRECONDITION: &str = "precondition_failed";
/// The code where more or fewer rows would have been touched than was said.
pub const UNEXPECTED_ROWS: &str = "unexpected_rows";
/// The code where what an order would decide has been decided meanwhile.
pub const MOVED_ON: &str = "payout_state";

impl ProviderError {
    /// The code where it is one of ours: nobody's refusal, but a condition that was set.
    pub fn condition(&self) -> Option<&'static str> {
        match self.code.as_str() {
            PRECONDITION => Some(PRECONDITION),
            UNEXPECTED_ROWS => Some(UNEXPECTED_ROWS),
            _ => None,
        }
    }

    /// What the caller can do about it. Most of what a provider refuses is in the arguments; a
    /// server that turns hundi itself away is the operator's to mend, and what is over is over.
    pub fn recovery(&self) -> Recovery {
        match self.code.as_str() {
            MOVED_ON => return Recovery::Stop,
            PRECONDITION => return Recovery::ProposeAgain,
            _ => {}
        }
        let status = self.code.strip_prefix(HTTP_CODE);
        status.map_or(Recovery::FixArgs, |status| {
            status.parse().map_or(Recovery::FixArgs, turned_away)
        })
    }
}

/// What the caller can do where a server answered a call with this HTTP status, and did nothing.
pub fn turned_away(status: u16) -> Recovery {
    match status {
        401 | 403 | 404 | 405 | 415 => Recovery::Stop,
        413 => Recovery::ReduceScope,
        _ => Recovery::FixArgs,
    }
}

/// What the provider told us unasked, by webhook or poll, about one effect.
#[derive(Clone, PartialEq, Debug)]
pub struct Evidence {
    /// Our reference, if the effect carries one.
    pub reference: Option<String>,
    /// The effect.
    pub receipt: Receipt,
}

/// What may be done about an unknown outcome, declared by each connector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecoveryContract {
    /// The provider can be asked by our reference. Asking comes before sending again.
    pub lookup: bool,
    /// Same key and same bytes may be sent again for so long after the claim, in seconds.
    pub replay_secs: Option<i64>,
}

impl RecoveryContract {
    /// Nothing can be asked or repeated: a person decides.
    pub const NONE: Self = Self {
        lookup: false,
        replay_secs: None,
    };
}
