//! The child process that alone holds the provider's credentials, as an MCP server on stdio.
//!
//! The broker tells it what to send and never sees a credential; it sends exactly that, once, and
//! reports exactly what HTTP said. It decides nothing, repeats nothing and remembers nothing, so
//! it may be killed at any moment: what that left unknown, the broker asks about.
//!
//! Any MCP client can use it, but without the broker in front there is no second step.

mod bank;
mod server;
mod settings;
mod tools;

use rmcp::ServiceExt;
use rmcp::transport::io::stdio_pipes;
use tokio::io::{AsyncRead, AsyncWrite};

pub use settings::{ACCOUNT_NUMBER, API_BASE, KEY_ID, KEY_SECRET, Settings, SettingsError};

/// Why the sidecar could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made: {0}")]
    Client(#[source] reqwest::Error),
    /// A tool's schema is not usable: a mistake of ours.
    #[error("the schema of {0} cannot be used")]
    Schema(&'static str),
    /// The MCP client went away before it had introduced itself, or spoke something else.
    #[error("no MCP client introduced itself: {0}")]
    Handshake(String),
    /// The task that serves the connection ended abnormally.
    #[error("the connection to the MCP client broke: {0}")]
    Connection(#[source] tokio::task::JoinError),
}

/// Serves MCP on this process's standard input and output until input ends. Nothing else may
/// write to standard output; logs belong on standard error.
pub async fn run(settings: Settings) -> Result<(), SidecarError> {
    let (input, output) = stdio_pipes();
    serve(settings, input, output).await
}

/// The same over any pair of streams.
pub async fn serve<R, W>(settings: Settings, input: R, output: W) -> Result<(), SidecarError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = server::Sidecar::new(settings)?;
    let running = server
        .serve((input, output))
        .await
        .map_err(|error| SidecarError::Handshake(error.to_string()))?;
    running.waiting().await.map_err(SidecarError::Connection)?;
    Ok(())
}
