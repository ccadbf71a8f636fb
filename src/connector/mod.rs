//! How a provider spells it: an order becomes a call, a reply becomes an outcome.
//!
//! Pure translators. They never send, never wait and never guess: only a clear yes or a clear no
//! ends doubt. Each declares what may be done about a doubt (its recovery contract).

pub mod bank;
pub mod jwt;
pub mod mcp;
pub mod model;
pub mod noop;
pub mod openapi;
pub mod program;
pub mod razorpay;
mod reading;
pub mod registered;
pub mod registry;
pub mod rest;
pub mod sql;

use crate::domain::call::{Call, Order, Outcome, RecoveryContract, Reply, Sighting};

/// The order cannot be put into the provider's words; refused at propose, before anything else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// One provider's language.
pub trait Connector: Send + Sync {
    /// The call that carries the order out. Also the dry run at propose.
    fn call(&self, order: &Order) -> Result<Call, Malformed>;

    /// A read-only call that asks whether the order was carried out; `None` if nobody can be
    /// asked.
    fn enquiry(&self, order: &Order) -> Option<Call>;

    /// What the reply to the call proves, about this sending. After an earlier sending whose
    /// outcome is unknown, a refusal (a key revoked meanwhile) has to be confirmed by an enquiry.
    fn outcome(&self, order: &Order, reply: &Reply) -> Outcome;

    /// What the reply to the enquiry proves.
    fn sighting(&self, order: &Order, reply: &Reply) -> Sighting;

    /// What may be done about an unknown outcome.
    fn recovery(&self) -> RecoveryContract;
}
