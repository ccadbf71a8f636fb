//! The program: where `app` (what there is) meets `entry` (what is asked).

pub mod bench;
pub mod demo;
mod dispatch;
pub mod doctor;
pub mod door;
pub mod keyring;
pub mod mcp;
mod on_paper;
pub mod on_store;
pub mod sandbox;
pub mod serve;
pub mod sidecar;
pub mod watch;
pub mod worker;

pub use dispatch::program;

use std::future::Future;
use std::path::PathBuf;

use crate::app;
use crate::config::{Config, LogFormat};
use crate::domain::mark::Held;
use crate::entry::cli::Failure;
use crate::telemetry::{self, TraceSender};

/// Runs a command on a multi-threaded runtime.
pub fn block_on<F>(work: F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.map_err(Failure::of)?.block_on(work)
}

/// The names of the keys at hand, and in which way they or the bank are not those of the store.
pub fn keys_at_hand(config: &Config) -> Result<(Option<Held>, Option<String>), Failure> {
    let mut seen = (None, None);
    block_on(async {
        // Fails only if a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        seen = app::standing(config).await;
        Ok(())
    })?;
    Ok(seen)
}

/// Sends logs to stderr as the configuration says.
pub fn start_logs(config: &Config) {
    let format = match config.log_format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    telemetry::start(format, &config.log);
}

/// Runs a server with traces going to the configured collector, if there is one, until the last
/// of them is sent.
pub async fn traced<F>(config: &Config, work: F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let endpoint = config.otlp_endpoint.as_deref();
    let traces = endpoint
        .map(TraceSender::start)
        .transpose()
        .map_err(Failure::of)?;
    let ended = work.await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    ended
}

/// This very program, which is started again as the sidecar.
pub fn this_program() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::of(format!("this program cannot find itself: {error}")))
}

/// An error with its causes, for people.
pub fn told(error: &anyhow::Error) -> Failure {
    Failure::of(format!("{error:#}"))
}
