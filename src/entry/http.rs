//! The REST door: requests in, JSON out, and nothing decided here.
//!
//! Every request is authenticated, its body read strictly, and handed to the broker; what comes
//! back is spelled by `entry/shapes`, or is a problem document (RFC 9457). Each file of this
//! folder offers its routes and, beside them, what `/openapi.json` says about them ([`Op`]); a
//! test holds the two together.
//!
//! Other doors that speak HTTP (MCP, webhooks) are merged into [`routes`] by the composition root
//! and then pass the same [`harden`]: headers, time, numbers, panics.

mod answer;
mod audit;
mod body;
mod caller;
mod events;
mod governance;
mod harden;
mod health;
mod keys;
mod openapi;
mod payees;
mod proposals;
mod query;
mod schemas;
mod seats;
mod serve;
mod slack;
mod tools;
mod visit;
mod visitors;
mod webhook;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

pub use answer::{Problem, created, ok};
pub use body::{OptionalBody, StrictBody};
pub use caller::{Caller, Named};
pub use harden::harden;
pub use openapi::{Op, Param, document};
pub use query::Query;
pub use serve::{Limits, serve};
pub use visit::Visit;

use crate::broker::Broker;
use crate::entry::origin::Names;

/// How the door behaves.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The broker is reached through TLS only, so browsers may be told to insist on it.
    pub behind_tls: bool,
    /// The names that every door answers to, and the pages that may call.
    pub names: Names,
    /// `/metrics` answers without a key. For an address that only this machine reaches; on any
    /// other, a key that may read everything is asked for.
    pub open_metrics: bool,
    /// Cancelled when the server goes down, so that event streams end.
    pub closing: CancellationToken,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            behind_tls: false,
            names: Names::default(),
            open_metrics: false,
            closing: CancellationToken::new(),
        }
    }
}

/// What every handler of this door sees.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
}

/// The parts of a [`Door`].
pub struct Inner {
    /// The use cases.
    pub broker: Broker,
    /// How the door behaves.
    pub options: HttpOptions,
    readiness: health::Readiness,
}

impl Deref for Door {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

/// The whole REST door, hardened. Whoever has more routes merges them into [`routes`] instead and
/// hardens the sum.
pub fn router(broker: Broker, options: HttpOptions) -> Router {
    harden(routes(broker, options.clone()), &options)
}

/// The REST door's routes alone.
pub fn routes(broker: Broker, options: HttpOptions) -> Router {
    let door = Door {
        inner: Arc::new(Inner {
            broker,
            options,
            readiness: health::Readiness::default(),
        }),
    };
    Router::new()
        .merge(proposals::routes())
        .merge(events::routes())
        .merge(tools::routes())
        .merge(keys::routes())
        .merge(governance::routes())
        .merge(payees::routes())
        .merge(audit::routes())
        .merge(slack::routes())
        .merge(webhook::routes())
        .merge(health::routes())
        .merge(openapi::routes())
        .with_state(door)
}

/// What `/openapi.json` says about the routes, in the order of the page.
pub fn operations() -> impl Iterator<Item = &'static Op> {
    [
        proposals::OPS,
        events::OPS,
        tools::OPS,
        keys::OPS,
        governance::OPS,
        payees::OPS,
        audit::OPS,
        slack::OPS,
        webhook::OPS,
        health::OPS,
        openapi::OPS,
    ]
    .into_iter()
    .flatten()
}
