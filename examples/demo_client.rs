//! An agent's side of one payment, against a running server: propose, commit, and a try to be paid
//! twice.
//!
//! ```sh
//! hundi serve                                    # prints an agent key on its first start
//! HUNDI_API_KEY=hk_... cargo run --example demo_client -- http://127.0.0.1:8787/mcp
//! ```
//!
//! Exit code 0 only if the payment went through once and the second try was refused.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, ClientConfig};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};

type Agent = RunningService<RoleClient, ClientConfig>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo_client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "it is what an example is for")]
async fn run() -> Result<()> {
    let agent = connect().await?;
    let arguments = json!({"amount": 100, "to": "acct_123"});

    let proposed = call(
        &agent,
        "transfer_funds_propose",
        json!({"arguments": arguments}),
    )
    .await?;
    println!(
        "propose  {} (score {})",
        proposed["status"], proposed["composite_score"]
    );
    if proposed["status"] != "allowed" {
        bail!("not allowed: {proposed}");
    }

    let commit = json!({
        "proposal_id": proposed["proposal_id"],
        "commit_token": proposed["commit_token"],
        "arguments": arguments,
    });
    let committed = call(&agent, "transfer_funds_commit", commit.clone()).await?;
    println!(
        "commit   {} {}",
        committed["status"], committed["result"]["id"]
    );
    if committed["status"] != "committed" {
        bail!("not committed: {committed}");
    }

    let again = call(&agent, "transfer_funds_commit", commit).await?;
    println!("replay   {} ({})", again["status"], again["reason"]);
    if again["reason"] != "nonce_replay" {
        bail!("a second commit with one token was not refused: {again}");
    }
    println!(
        "         the outcome it had already: {}",
        again["original"]["result"]["id"]
    );
    Ok(())
}

#[allow(
    clippy::disallowed_methods,
    reason = "an example reads its own environment"
)]
async fn connect() -> Result<Agent> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "http://127.0.0.1:8787/mcp".to_owned());
    let key = std::env::var("HUNDI_API_KEY").context("set HUNDI_API_KEY to an agent's key")?;
    let config = StreamableHttpClientTransportConfig::with_uri(url.clone())
        .auth_header(key)
        // A commit is never sent a second time behind our back.
        .reinit_on_expired_session(false);
    let transport = StreamableHttpClientTransport::from_config(config);
    ClientConfig::default()
        .serve(transport)
        .await
        .with_context(|| format!("no MCP server at {url}"))
}

/// One call; the structured answer.
async fn call(agent: &Agent, tool: &str, arguments: Value) -> Result<Value> {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
    let answer = agent
        .call_tool(params)
        .await
        .with_context(|| format!("calling {tool}"))?;
    answer
        .structured_content
        .with_context(|| format!("{tool} answered no structure"))
}
