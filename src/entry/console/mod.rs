//! The console: pages for people who decide, made from the table of operations.
//!
//! A page asks the same operations as REST with the rights of whoever is signed in, and each form is
//! one operation under its REST names ([`form`]), so nothing can be done here that REST cannot. Pages
//! are rendered whole on the server and work without script; the little script there is fetches them
//! again when something changed. A page is one file here and one template; `frame` is what all of
//! them share, `door` what every request of a signed-in person passes.
//!
//! Who may sign in, and what a session is, is `broker/access/sessions`.

mod access;
mod act;
mod agents;
mod approvals;
mod ask;
mod assets;
mod audit;
mod chart;
mod door;
mod form;
mod frame;
mod guard;
mod home;
mod keys;
mod knocks;
mod live;
mod me;
mod once;
mod passkeys;
mod people;
mod proposals;
mod providers;
mod requests;
mod rows;
mod servers;
mod settings;
mod show;
mod sign_in;
mod sources;
mod today;
mod tool_new;
mod tools;
mod trial;
mod usage;
mod words;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;

pub use guard::PublicUrl;
pub use settings::Setting;

use crate::broker::{Broker, Trouble};

/// What every page stands on.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

/// The parts of a [`Console`].
pub struct Inner {
    broker: Broker,
    public: PublicUrl,
    settings: Arc<[Setting]>,
    closing: CancellationToken,
    knocks: knocks::Knocks,
    once: once::Once,
    /// Who asks for challenges, which anybody may.
    asking: knocks::Knocks,
}

/// What the console is told of the server it is in.
pub struct Options {
    /// The origin that browsers see.
    pub public: PublicUrl,
    /// What is in force, without secrets.
    pub settings: Vec<Setting>,
    /// Cancelled when the server goes down, so that event streams end.
    pub closing: CancellationToken,
}

impl Deref for Console {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The console's routes, to be merged with those of the other doors.
pub fn routes(broker: Broker, options: Options) -> Router {
    let console = Console(Arc::new(Inner {
        broker,
        public: options.public,
        settings: options.settings.into(),
        closing: options.closing,
        knocks: knocks::Knocks::new(knocks::WRONG),
        once: once::Once::default(),
        asking: knocks::Knocks::new(knocks::ASKED),
    }));
    Router::new()
        .merge(pages())
        .route("/console/sign-in", get(sign_in::show).post(sign_in::enter))
        .route("/console/sign-in/challenge", post(passkeys::begin_sign_in))
        .route("/console/sign-in/passkey", post(passkeys::sign_in))
        .route("/console/passkeys", post(passkeys::add))
        .route("/console/passkeys/challenge", post(passkeys::begin_adding))
        .route("/console/passkeys/remove", post(passkeys::remove))
        .route("/console/sign-out", post(sign_in::leave))
        .route(
            "/console/sign-out-everywhere",
            post(sign_in::leave_everywhere),
        )
        .route("/console/language", get(sign_in::language))
        .route("/console/live", get(live::stream))
        .route("/console/audit/export", get(audit::export))
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
        .route("/console/agents", page("agents", agents::list))
        .route("/console/agents/{agent}", page("agents", agents::one))
        .route("/console/tools", page("tools", tools::list))
        .route("/console/tools/new", page("tools", tool_new::new))
        .route("/console/tools/{name}", page("tools", tools::one))
        .route("/console/tools/{name}/test", page("tools", tools::one))
        .route("/console/tools/{name}/edit", page("tools", tools::edit))
        .route("/console/servers", page("servers", servers::list))
        .route("/console/servers/new", page("servers", servers::new))
        .route("/console/servers/{name}", page("servers", servers::one))
        .route("/console/requests", page("requests", requests::list))
        .route("/console/requests/{id}", page("requests", requests::one))
        .route("/console/providers", page("providers", providers::list))
        .route("/console/usage", page("usage", usage::show))
        .route("/console/sources", page("sources", sources::list))
        .route("/console/access", page("access", access::list))
        .route("/console/audit", page("audit", audit::list))
        .route("/console/keys", page("keys", keys::list))
        .route("/console/people", page("people", people::list))
        .route("/console/me", page("me", me::show))
        .route("/console/settings", page("settings", settings::show))
        .route("/console/{*rest}", page("missing", missing))
}

/// What is no page says so as one.
async fn missing(_: Arc<ask::Ask>) -> Result<frame::Shown, Trouble> {
    Err(Trouble::NotFound("page"))
}
