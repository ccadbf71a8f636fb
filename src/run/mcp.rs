//! `hundi mcp`: the same broker as an MCP server on standard input and output, for clients that
//! start their servers themselves. Logs go to stderr alone.

use crate::app::App;
use crate::config::Config;
use crate::entry::cli::{Failure, McpArgs};
use crate::entry::mcp::stdio;
use crate::entry::worker;
use tokio::sync::watch;

use super::{block_on, start_logs, this_program, told, traced};

/// Serves until standard input ends.
pub fn run(args: &McpArgs, config: &Config) -> Result<(), Failure> {
    start_logs(config);
    let program = this_program()?;
    block_on(traced(config, async {
        let app = App::build(config, &program)
            .await
            .map_err(|error| told(&error))?;
        // Standard output is the protocol's and logs are kept, so no key is made that nobody
        // could be shown: `hundi serve` does that on its own first start.
        app.first_look().await?;
        app.welcome_agent().await?;
        let who = match &args.holder.key {
            Some(key) => app.broker.access.authenticate(key).await?,
            None => app.broker.access.first_agent().await?,
        };
        let (stop_duties, stop) = watch::channel(false);
        let duties = tokio::spawn(worker::run(app.broker.clone(), worker::duties(), stop));
        let served = stdio(app.broker.clone(), who).await;
        // A client that closed the pipe does not stop what it committed.
        let enough = app.broker.settings().call_deadline * 2;
        let _ = tokio::time::timeout(enough, app.broker.drained()).await;
        // Fails only if the duties have ended already.
        let _ = stop_duties.send(true);
        if let Err(error) = duties.await {
            tracing::error!(%error, "the duties ended abnormally");
        }
        app.shut_down().await;
        served.map_err(|error| told(&error))
    }))
}
