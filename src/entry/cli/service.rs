//! Arguments of the commands that run until they are told to stop. What they run is put together
//! elsewhere.

use std::path::PathBuf;

use super::{Json, KeyFlag};

/// Flags of `hundi serve`.
#[derive(clap::Args, Debug)]
pub struct ServeArgs {
    /// Also write the first keys and the addresses to this file, for its owner alone
    #[arg(long, value_name = "FILE")]
    pub bootstrap: Option<PathBuf>,
}

/// Flags of `hundi worker`.
#[derive(clap::Args, Debug)]
pub struct WorkerArgs {
    /// Requests answered at once [default: requests.workers]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
}

/// Flags of `hundi mcp`.
#[derive(clap::Args, Debug)]
#[command(mut_arg("key", |key| key.help(
    "Act as the holder of this API key, within its role; without it, as the first agent"
)))]
pub struct McpArgs {
    /// As whom.
    #[command(flatten)]
    pub holder: KeyFlag,
}

/// Flags of `hundi migrate`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct MigrateArgs {
    /// Also say that the store is this configuration's: for one that was filled before stores were
    /// marked, or whose token or master key is lost
    #[arg(long)]
    pub adopt: bool,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

/// Flags of `hundi demo`.
#[derive(clap::Args, Debug)]
pub struct DemoArgs {
    /// How to print: as JSON, only what each step came to.
    #[command(flatten)]
    pub json: Json,
}

/// Flags of `hundi sandbox`.
#[derive(clap::Args, Debug)]
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
    /// Ends the children of a broker that was killed
    ///
    /// The broker starts it beside its first child and names on its standard input the process
    /// groups to end once that input is closed.
    #[command(verbatim_doc_comment, hide = true)]
    Watch,
}
