//! The REST door: requests in, JSON out, and nothing decided here.
//!
//! What can be asked for is `entry/operations`: routes, and what `/openapi.json` says of them, are
//! made from that table. What is no operation (streams of events, signed callbacks, the pages of
//! machines that watch) has its routes in a file of this folder and, beside them, what the document
//! says ([`Op`]); a test holds the two together. Whatever goes wrong is a problem document
//! (RFC 9457).
//!
//! Other doors that speak HTTP (MCP, webhooks) are merged into [`routes`] by the composition root
//! and then pass the same [`harden`]: headers, time, numbers, panics.

mod answer;
mod caller;
mod events;
mod harden;
mod health;
mod models;
mod openapi;
mod projection;
mod schemas;
mod seats;
mod serve;
mod slack;
mod table;
mod visit;
mod visitors;
mod webhook;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio_util::sync::CancellationToken;

pub use answer::{Problem, ok};
pub use caller::Caller;
pub use harden::{OwnHeaders, harden};
pub use models::asked;
pub use openapi::{Op, Param, document};
pub use serve::{Limits, Peer, serve};
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
        .merge(events::routes())
        .merge(table::routes())
        .merge(models::routes())
        .merge(slack::routes())
        .merge(webhook::routes())
        .merge(health::routes())
        .merge(openapi::routes())
        .with_state(door.clone())
        .layer(from_fn_with_state(door, models::naming::name))
}

/// What `/openapi.json` says about the routes, in the order of the page.
pub fn operations() -> impl Iterator<Item = &'static Op> {
    [
        events::OPS,
        models::OPS,
        slack::OPS,
        webhook::OPS,
        health::OPS,
        openapi::OPS,
    ]
    .into_iter()
    .flatten()
}
