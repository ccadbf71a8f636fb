//! RazorpayX and the sandbox bank, as our sidecar speaks to them.
//!
//! A payout exists when the bank shows an id for *our* reference, amount and fund account; a reply
//! that lacks one of these proves nothing, whatever its status says. It does not exist when the
//! bank says so in its own error format. Between the two lies doubt.
//!
//! Creating is idempotent at the bank: key and reference are the proposal id. Approving, rejecting
//! and cancelling are not, but the payout's state guards them, so they are settled by looking at
//! the state: a refusal "not in pending state" may well mean that our own earlier call worked.
//!
//! The account that pays is not named here: the sidecar owns it, like the credentials.

pub mod bank;
mod entity;
pub mod event;
mod heard;
mod shown;

use serde_json::{Map, Value, json};

use super::{Connector, Malformed};
use crate::domain::call::{
    Call, MOVED_ON, Order, Outcome, ProviderError, Receipt, RecoveryContract, Reply, Sighting,
};
pub use entity::{evidence, is_fund_account_id, is_payout_id};
pub use heard::in_trouble;
use heard::{Heard, Refusal};

/// The upstream's name: our sidecar.
pub const UPSTREAM: &str = "razorpay";

/// How long the bank is trusted to know a key: it keeps keys longer, and a payout that nobody
/// could send for a week deserves a person.
pub const REPLAY_SECS: i64 = 7 * 24 * 60 * 60;

/// One kind of order to the bank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Razorpay {
    /// Makes a payout.
    Create,
    /// Lets a `pending` payout go.
    Approve,
    /// Turns a `pending` payout down.
    Reject,
    /// Withdraws a `queued` or `scheduled` payout.
    Cancel,
    /// Moves money inside the sandbox.
    Transfer,
}

impl Razorpay {
    /// Every kind, in the order of the catalogue.
    pub const ALL: [Self; 5] = [
        Self::Create,
        Self::Approve,
        Self::Reject,
        Self::Cancel,
        Self::Transfer,
    ];

    /// The tool of the catalogue that orders it.
    pub fn tool(self) -> &'static str {
        match self {
            Self::Create => "create_payout",
            Self::Approve => "approve_payout",
            Self::Reject => "reject_payout",
            Self::Cancel => "cancel_payout",
            Self::Transfer => "transfer_funds",
        }
    }

    /// What a payout or transfer that the bank shows, in a webhook or a list, proves about an
    /// order. The order's own reference, amount and account decide, not the sender of the news.
    pub fn seen(self, order: &Order, entity: &Value) -> Sighting {
        let args = order.args.value();
        match self {
            Self::Create => created(entity::payout(entity, order, &args)),
            Self::Transfer => created(entity::transfer(entity, order, &args)),
            Self::Approve | Self::Reject | Self::Cancel => {
                match entity::same_payout(entity, &args) {
                    Ok((receipt, state)) => self.by_state(receipt, state),
                    Err(why) => Sighting::Unclear(why),
                }
            }
        }
    }

    /// What the state of a payout says about a call that was meant to change it.
    fn by_state(self, mut receipt: Receipt, state: State) -> Sighting {
        use State::*;
        match (self, state) {
            (Self::Create | Self::Transfer, _) => Sighting::Found(receipt),
            (Self::Approve | Self::Reject, Pending) => Sighting::Absent,
            (Self::Approve, Queued | Scheduled | Processing | Processed) => {
                Sighting::Found(receipt)
            }
            // Only an approved payout can get here: it was let go, and then did not arrive.
            (Self::Approve, Cancelled | Reversed | Failed) => {
                receipt.reversed = true;
                Sighting::Found(receipt)
            }
            // The rejection and the cancellation are the effect, so nothing is reversed.
            (Self::Reject, Rejected) | (Self::Cancel, Cancelled) => {
                receipt.reversed = false;
                // No money left by it, however much the payout was about.
                receipt.settled_minor = None;
                Sighting::Found(receipt)
            }
            (Self::Cancel, Queued | Scheduled) => Sighting::Absent,
            // A payout never returns to an earlier state, so from here the call can neither have
            // worked nor work any more. `pending` comes before every state that can be cancelled.
            (Self::Approve, Rejected)
            | (Self::Reject, Queued | Scheduled | Processing | Processed)
            | (Self::Reject, Cancelled | Reversed | Failed)
            | (Self::Cancel, Pending | Processing | Processed | Rejected | Reversed | Failed) => {
                Sighting::Refused(ProviderError {
                    code: MOVED_ON.to_owned(),
                    description: format!(
                        "the payout is {}, so {} did not and cannot take effect",
                        state.name(),
                        self.tool()
                    ),
                })
            }
        }
    }

    /// Whether the bank's no to this call is a clear one.
    fn refused(self, refusal: Refusal) -> Outcome {
        let clear = match self {
            // "Different request body sent for the same Idempotency Header" says that a payout
            // with our key does exist.
            Self::Create | Self::Transfer => !refusal.is_about_key(),
            // Anything about the payout's state may be the echo of our own earlier call.
            Self::Approve | Self::Reject | Self::Cancel => refusal.is_about_request(),
        };
        if clear {
            Outcome::Refused(refusal.error)
        } else {
            Outcome::Unknown(refusal.to_string())
        }
    }
}

impl Connector for Razorpay {
    fn call(&self, order: &Order) -> Result<Call, Malformed> {
        let args = order.args.value();
        let Value::Object(mut fields) = args else {
            return Err(Malformed("the arguments are not an object".to_owned()));
        };
        let tool = match self {
            Self::Create => {
                require(&fields, "fund_account_id", is_fund_account_id)?;
                name(&mut fields, order);
                "create_payout"
            }
            Self::Transfer => {
                require(&fields, "to", |to| !to.is_empty())?;
                name(&mut fields, order);
                "create_transfer"
            }
            Self::Approve | Self::Reject | Self::Cancel => {
                require(&fields, "payout_id", is_payout_id)?;
                self.tool()
            }
        };
        Ok(Call::new(UPSTREAM, tool, &Value::Object(fields)))
    }

    fn enquiry(&self, order: &Order) -> Option<Call> {
        let by_reference = json!({"reference_id": order.reference()});
        let call = match self {
            Self::Create => Call::new(UPSTREAM, "find_payouts", &by_reference),
            Self::Transfer => Call::new(UPSTREAM, "find_transfers", &by_reference),
            Self::Approve | Self::Reject | Self::Cancel => {
                let args = order.args.value();
                let id = args
                    .get("payout_id")?
                    .as_str()
                    .filter(|id| is_payout_id(id))?;
                Call::new(UPSTREAM, "fetch_payout", &json!({"payout_id": id}))
            }
        };
        Some(call)
    }

    fn outcome(&self, order: &Order, reply: &Reply) -> Outcome {
        match heard::hear(reply) {
            Heard::Answer(body) => match self.seen(order, body) {
                Sighting::Found(receipt) => Outcome::Executed(receipt),
                Sighting::Absent => {
                    Outcome::Unknown("the bank said yes, but the payout has not moved".to_owned())
                }
                // The payout is where this call can neither have taken it nor take it any more.
                Sighting::Refused(error) => Outcome::Refused(error),
                Sighting::Unclear(why) => Outcome::Unknown(why),
            },
            Heard::No(refusal) => self.refused(refusal),
            // Checked by the sidecar against what never changes in a payout, before sending.
            Heard::Precondition(error) => Outcome::Refused(error),
            Heard::NotSent(why) => Outcome::NotSent(why),
            Heard::Unclear(why) => Outcome::Unknown(why),
        }
    }

    fn sighting(&self, order: &Order, reply: &Reply) -> Sighting {
        match (self, heard::hear(reply)) {
            (Self::Create | Self::Transfer, Heard::Answer(body)) => listed(*self, order, body),
            (Self::Approve | Self::Reject | Self::Cancel, Heard::Answer(body)) => {
                self.seen(order, body)
            }
            (Self::Approve | Self::Reject | Self::Cancel, Heard::No(refusal))
                if refusal.is_about_id() =>
            {
                Sighting::Refused(refusal.error)
            }
            (_, Heard::No(refusal)) => Sighting::Unclear(refusal.to_string()),
            (_, Heard::Precondition(error)) => Sighting::Unclear(error.description),
            (_, Heard::NotSent(why) | Heard::Unclear(why)) => Sighting::Unclear(why),
        }
    }

    fn recovery(&self) -> RecoveryContract {
        RecoveryContract {
            lookup: true,
            replay_secs: Some(REPLAY_SECS),
        }
    }
}

/// A payout's state at the bank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Waits for an approval at the bank.
    Pending,
    /// Waits for balance.
    Queued,
    /// Waits for its date.
    Scheduled,
    /// Under way.
    Processing,
    /// Arrived.
    Processed,
    /// Came back.
    Reversed,
    /// Withdrawn before it went.
    Cancelled,
    /// Turned down at the bank.
    Rejected,
    /// Did not go.
    Failed,
}

impl State {
    /// Every state the bank documents.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Queued,
        Self::Scheduled,
        Self::Processing,
        Self::Processed,
        Self::Reversed,
        Self::Cancelled,
        Self::Rejected,
        Self::Failed,
    ];

    /// The bank's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Scheduled => "scheduled",
            Self::Processing => "processing",
            Self::Processed => "processed",
            Self::Reversed => "reversed",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }

    /// Reads the bank's word; `None` for one it does not document.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == word)
    }

    /// True if no money left, or it came back.
    pub fn is_undone(self) -> bool {
        match self {
            Self::Reversed | Self::Cancelled | Self::Rejected | Self::Failed => true,
            Self::Pending | Self::Queued | Self::Scheduled | Self::Processing | Self::Processed => {
                false
            }
        }
    }
}

/// The entities of a list that the bank showed, or why there is no such list. Nothing is said about
/// each of them.
pub fn items(reply: &Reply) -> Result<Vec<Value>, String> {
    let body = match heard::hear(reply) {
        Heard::Answer(body) => body,
        Heard::No(refusal) => return Err(refusal.to_string()),
        Heard::Precondition(error) => return Err(error.description),
        Heard::NotSent(why) | Heard::Unclear(why) => return Err(why),
    };
    let is_list = body.get("entity").and_then(Value::as_str) == Some("collection");
    let items = body.get("items").and_then(Value::as_array);
    let items = items.filter(|_| is_list);
    items
        .cloned()
        .ok_or_else(|| "the answer is not a list".to_owned())
}

fn created(read: Result<Receipt, String>) -> Sighting {
    read.map_or_else(Sighting::Unclear, Sighting::Found)
}

/// Entries of one look-up by reference; the sidecar asks for no more.
pub const FOUND_LIMIT: usize = 100;

/// What a list, asked for by our reference, proves. An answer that shows other references did not
/// understand the question, so it cannot prove absence. Nor can a full page, behind which ours may
/// stand. Entries that borrow our reference, for another amount or account, are not ours: whoever
/// makes them at the bank must not be able to keep a doubt open.
fn listed(kind: Razorpay, order: &Order, body: &Value) -> Sighting {
    let is_list = body.get("entity").and_then(Value::as_str) == Some("collection");
    let Some(items) = body
        .get("items")
        .and_then(Value::as_array)
        .filter(|_| is_list)
    else {
        return Sighting::Unclear("the bank did not answer with a list".to_owned());
    };
    let mut found: Option<Receipt> = None;
    for item in items {
        match kind.seen(order, item) {
            Sighting::Found(receipt) => match &found {
                // The same payout shown twice is one payout.
                Some(known) if known.provider_id != receipt.provider_id => {
                    let detail = "two payouts at the bank carry our reference; a person must look";
                    return Sighting::Unclear(detail.to_owned());
                }
                Some(_) | None => found = Some(receipt),
            },
            Sighting::Absent | Sighting::Refused(_) | Sighting::Unclear(_) => {}
        }
    }
    match found {
        Some(receipt) => Sighting::Found(receipt),
        None if items.len() >= FOUND_LIMIT => {
            let detail = "more entries carry our reference than are looked at; a person must look";
            Sighting::Unclear(detail.to_owned())
        }
        None if items.iter().all(|item| entity::borrows(item, order)) => Sighting::Absent,
        None => Sighting::Unclear("the bank listed what we did not ask for".to_owned()),
    }
}

/// Adds the names under which the bank keeps the effect. The caller cannot choose them: the tool's
/// schema has no such fields.
fn name(fields: &mut Map<String, Value>, order: &Order) {
    fields.insert("idempotency_key".to_owned(), order.idempotency_key().into());
    fields.insert("reference_id".to_owned(), order.reference().into());
}

fn require(
    fields: &Map<String, Value>,
    field: &str,
    valid: impl Fn(&str) -> bool,
) -> Result<(), Malformed> {
    let text = fields.get(field).and_then(Value::as_str);
    match text {
        Some(text) if valid(text) => Ok(()),
        Some(_) | None => Err(Malformed(format!("`{field}` is missing or malformed"))),
    }
}
