//! Arguments of the commands that run until they are told to stop. What they run is put together
//! elsewhere.

use std::path::PathBuf;

use super::Actor;

/// Serve MCP, REST, webhooks and metrics over HTTP
///
/// Answers on 127.0.0.1:8787: MCP at /mcp, REST under /v1, metrics at /metrics. The first start
/// makes the data folder and its keys, and prints one admin key and one agent key, once. Without
/// a Razorpay key the sandbox bank runs inside, and no money moves. Ctrl-C finishes what is
/// under way, then stops.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct ServeArgs {
    /// Also write the first keys and the addresses to this file, for its owner alone
    #[arg(long, value_name = "FILE")]
    pub bootstrap: Option<PathBuf>,
}

/// Serve MCP on stdio, for a client that starts its servers itself
///
/// The same broker as `hundi serve`, on the same store; both may run at once. Stdout carries the
/// protocol alone, logs go to stderr. Without a key it acts as the first agent.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct McpArgs {
    /// As whom.
    #[command(flatten)]
    pub actor: Actor,
}

/// Play the whole story on real parts, in a folder that is thrown away
///
/// Starts a broker, a sidecar and a sandbox bank, and plays through an MCP client: what is
/// allowed and paid once, what is refused, what a person has to decide. Exit code 0 only if
/// every step went as it should.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct DemoArgs {}

/// Run the sandbox bank alone: RazorpayX's REST API, and no money
///
/// Point a broker at it with HUNDI_RAZORPAY_API_BASE. Its ledger is kept in the data folder; what
/// it can be made to do wrong is described under /sandbox.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct SandboxArgs {
    /// Where to send webhooks, signed with the first HUNDI_RAZORPAY_WEBHOOK_SECRET
    #[arg(long, value_name = "URL")]
    pub webhook_url: Option<String>,
    /// Milliseconds that a payout is under way [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub step_ms: Option<u64>,
}

/// The child process that alone holds a provider's credentials
#[derive(clap::Subcommand, Clone, Copy, Debug)]
pub enum SidecarCommand {
    /// MCP on stdio in front of RazorpayX
    ///
    /// The broker starts it when it needs it. It reads HUNDI_RAZORPAY_KEY_ID, ..._KEY_SECRET,
    /// ..._ACCOUNT_NUMBER and ..._API_BASE, and nothing else.
    #[command(verbatim_doc_comment)]
    Razorpay,
}
