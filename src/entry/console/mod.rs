//! The console: pages for people who decide, made from the table of operations.
//!
//! A page asks the same operations as REST with the rights of whoever is signed in, and each form is
//! one operation under its REST names ([`form`]), so nothing can be done here that REST cannot. Pages
//! are rendered whole on the server and work without script; the little script there is fetches them
//! again when something changed. A page is one file here and one template; `frame` is what all of
//! them share, `door` what every request of a signed-in person passes.
//!
//! Who may sign in, and what a session is, is `broker/access/sessions`.

mod act;
mod approvals;
mod ask;
mod assets;
mod door;
mod form;
mod frame;
mod guard;
mod home;
mod knocks;
mod live;
mod proposals;
mod rows;
mod show;
mod sign_in;
mod words;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;

pub use guard::PublicUrl;

use crate::broker::Broker;

/// What every page stands on.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

/// The parts of a [`Console`].
pub struct Inner {
    broker: Broker,
    public: PublicUrl,
    closing: CancellationToken,
    knocks: knocks::Knocks,
}

impl Deref for Console {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The console's routes, to be merged with those of the other doors. `public` is the origin that
/// browsers see.
pub fn routes(broker: Broker, public: PublicUrl, closing: CancellationToken) -> Router {
    let console = Console(Arc::new(Inner {
        broker,
        public,
        closing,
        knocks: knocks::Knocks::default(),
    }));
    Router::new()
        .merge(pages())
        .route("/console/sign-in", get(sign_in::show).post(sign_in::enter))
        .route("/console/sign-out", post(sign_in::leave))
        .route(
            "/console/sign-out-everywhere",
            post(sign_in::leave_everywhere),
        )
        .route("/console/language", get(sign_in::language))
        .route("/console/live", get(live::stream))
        .route("/console/assets/{file}", get(assets::serve))
        .layer(axum::middleware::from_fn_with_state(
            console.clone(),
            guard::pass,
        ))
        .with_state(console)
}

/// The pages that a signed-in person sees, each with the forms on it.
fn pages() -> Router<Console> {
    use door::page;
    Router::new()
        .route("/console", page("home", home::show))
        .route("/console/approvals", page("approvals", approvals::list))
        .route("/console/approvals/{id}", page("approvals", approvals::one))
        .route("/console/proposals", page("proposals", proposals::list))
        .route("/console/proposals/{id}", page("proposals", proposals::one))
}
