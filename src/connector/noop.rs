//! The tool that does nothing: the same path as money, without a bank at its end.
//!
//! Carried out in process, so there is nobody to ask afterwards; and because it has no effect, it
//! may be sent again at any time.

use serde_json::Value;

use super::{Connector, Malformed};
use crate::domain::call::{Call, Order, Outcome, Receipt, RecoveryContract, Reply, Sighting};

/// The upstream's name: the wire answers it in process.
pub const UPSTREAM: &str = "noop";

/// Long enough that no stopped broker finds it over: repeating nothing is nothing.
const REPLAY_SECS: i64 = 366 * 24 * 60 * 60;

/// Translates orders of `noop`.
#[derive(Clone, Copy, Debug)]
pub struct Noop;

impl Connector for Noop {
    fn call(&self, order: &Order) -> Result<Call, Malformed> {
        Ok(Call {
            upstream: UPSTREAM.to_owned(),
            tool: "noop".to_owned(),
            arguments: order.args.to_string(),
        })
    }

    fn enquiry(&self, _: &Order) -> Option<Call> {
        None
    }

    fn outcome(&self, order: &Order, reply: &Reply) -> Outcome {
        match reply {
            Reply::Result {
                content,
                is_error: false,
            } => Outcome::Executed(receipt(order, content)),
            Reply::Result { .. } => Outcome::Unknown("noop reported an error".to_owned()),
            Reply::RpcError { code, message } => Outcome::Unknown(format!("{code}: {message}")),
            Reply::NotSent(why) => Outcome::NotSent(why.clone()),
            Reply::TurnedAway { .. } | Reply::TooLarge { .. } | Reply::Lost(_) => {
                Outcome::Unknown(reply.why())
            }
        }
    }

    fn sighting(&self, _: &Order, _: &Reply) -> Sighting {
        Sighting::Unclear("nobody can be asked about a noop".to_owned())
    }

    fn recovery(&self) -> RecoveryContract {
        RecoveryContract {
            lookup: false,
            replay_secs: Some(REPLAY_SECS),
        }
    }
}

fn receipt(order: &Order, content: &Value) -> Receipt {
    Receipt {
        provider_id: None,
        provider_state: None,
        reversed: false,
        settled_unreadable: false,
        settled_minor: order
            .effective
            .moves_money()
            .then(|| order.effective.minor()),
        result: content.clone(),
        blocks: Value::Null,
    }
}
