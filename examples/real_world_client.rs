//! Ten business flows through hundi, as an agent that knows only MCP: what can be undone straight,
//! what cannot in two steps, and one wire transfer that is blocked, because the agent's own two
//! answers contradict each other.
//!
//! `cargo run --example real_world_client` starts hundi with `real_world.toml` in a folder of its
//! own and plays against that; with `--url URL --key KEY` it plays against a broker that runs
//! already with that upstream. Prints a table; exits with 0 only if every flow went as it should.

#![allow(clippy::print_stdout, reason = "its table is what it is for")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rmcp::model::CallToolRequestParams;
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Longest that the broker may take to start.
const START: Duration = Duration::from_secs(60);

/// One flow: what to do, and how it should end.
struct Flow {
    tool: &'static str,
    arguments: Value,
    ask: &'static str,
    /// What two runs of the agent answered; none for what passes straight through.
    answers: Option<[&'static str; 2]>,
    ends: &'static str,
}

fn flows() -> Vec<Flow> {
    let two_steps = |tool, arguments, ask, answers| Flow {
        tool,
        arguments,
        ask,
        answers: Some(answers),
        ends: "committed",
    };
    let straight = |tool, arguments| Flow {
        tool,
        arguments,
        ask: "",
        answers: None,
        ends: "done",
    };
    vec![
        Flow {
            ends: "blocked: low_integrity",
            ..two_steps(
                "initiate_wire_transfer",
                json!({"amount": 25_000_000, "currency": "INR", "beneficiary_name": "Acme Components",
                       "beneficiary_account": "IN60HDFC0000123456789"}),
                "Pay Acme Components.",
                [
                    "The wire of 250000.00 to Acme Components is authorised and complete.",
                    "rejected: insufficient authorization scope",
                ],
            )
        },
        two_steps(
            "issue_invoice_refund",
            json!({"invoice_id": "inv_000042", "amount": 129_900, "currency": "INR"}),
            "Refund invoice inv_000042, 1299.00 INR.",
            [
                "Invoice inv_000042 is paid twice; refund 1299.00 INR.",
                "Invoice inv_000042 was paid twice; refund 1299.00 INR.",
            ],
        ),
        two_steps(
            "freeze_payment_card",
            json!({"card_id": "card_4711", "reason": "reported stolen"}),
            "Freeze card_4711, it was reported stolen.",
            [
                "Freezing card_4711, reported stolen.",
                "Freezing card_4711 as reported stolen.",
            ],
        ),
        straight("unfreeze_payment_card", json!({"card_id": "card_4712"})),
        straight(
            "create_expedited_shipment",
            json!({"order_id": "order_1001", "address": "12 MG Road, Bengaluru"}),
        ),
        straight("cancel_shipment", json!({"shipment_id": "ship_000002"})),
        straight(
            "schedule_clinic_visit",
            json!({"patient_id": "pat_0007", "day": "2026-12-01"}),
        ),
        straight(
            "change_subscription_plan",
            json!({"customer_id": "cust_0815", "plan": "plus"}),
        ),
        two_steps(
            "reset_enterprise_password",
            json!({"employee_id": "emp_0042"}),
            "emp_0042 lost a laptop: reset the password.",
            [
                "Resetting the password of emp_0042.",
                "Resetting the password of emp_0042 now.",
            ],
        ),
        two_steps(
            "publish_feature_flag",
            json!({"flag": "new-checkout", "percent": 5}),
            "Publish new-checkout to 5 percent.",
            [
                "Publishing new-checkout to 5 percent.",
                "Publishing new-checkout for 5 percent.",
            ],
        ),
    ]
}

/// An agent at hundi's MCP door.
struct Agent(RunningService<RoleClient, ()>);

impl Agent {
    async fn connect(url: &str, key: &str) -> Result<Self> {
        // Fails only if a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = StreamableHttpClientTransportConfig::with_uri(url)
            .auth_header(key)
            .reinit_on_expired_session(false);
        let transport = StreamableHttpClientTransport::with_client(reqwest::Client::new(), config);
        let client = ().serve(transport).await.context("hundi's MCP door did not open")?;
        Ok(Self(client))
    }

    async fn call(&self, tool: String, arguments: Value) -> Result<Value> {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let params = CallToolRequestParams::new(tool.clone()).with_arguments(arguments);
        let result = self
            .0
            .call_tool(params)
            .await
            .with_context(|| tool.clone())?;
        let content = result.structured_content.unwrap_or_default();
        if result.is_error == Some(true) {
            bail!("{tool}: {content}");
        }
        Ok(content)
    }

    /// Plays one flow and says how it ended, and what it was about.
    async fn play(&self, flow: &Flow) -> Result<(String, String)> {
        let Some(answers) = flow.answers else {
            let done = self
                .call(flow.tool.to_owned(), flow.arguments.clone())
                .await?;
            return Ok((word(&done, "status"), word(&done, "id")));
        };
        let request = json!({"arguments": flow.arguments, "prompt": flow.ask, "samples": answers});
        let proposed = self.call(format!("{}_propose", flow.tool), request).await?;
        let status = word(&proposed, "status");
        let score = format!(
            "score {:.2}",
            proposed["composite_score"].as_f64().unwrap_or(-1.0)
        );
        if status != "allowed" {
            return Ok((format!("{status}: {}", word(&proposed, "reason")), score));
        }
        let request = json!({
            "proposal_id": proposed["proposal_id"],
            "commit_token": proposed["commit_token"],
            "arguments": flow.arguments,
        });
        let committed = self.call(format!("{}_commit", flow.tool), request).await?;
        let about = format!("{} ({score})", word(&committed["result"], "id"));
        Ok((word(&committed, "status"), about))
    }
}

fn word(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or("?").to_owned()
}

/// A broker of our own, which leaves with us.
struct Started {
    _hundi: Child,
    _folder: tempfile::TempDir,
    mcp_url: String,
    agent_key: String,
}

impl Started {
    async fn hundi() -> Result<Self> {
        let examples = std::env::current_exe()?;
        let examples = examples.parent().context("no folder")?.to_owned();
        let hundi = examples.join("../hundi");
        if !(hundi.exists() && examples.join("real_world_server").exists()) {
            build(&examples).await?;
        }
        let folder = tempfile::tempdir()?;
        let bootstrap = folder.path().join("bootstrap.json");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(examples).chain(std::env::split_paths(&path));
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/real_world.toml");
        let mut child = Command::new(hundi)
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--sandbox-listen", "127.0.0.1:0"])
            .arg("--config")
            .arg(config)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .arg("--bootstrap")
            .arg(&bootstrap)
            .env("PATH", std::env::join_paths(path)?)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("hundi has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if line.starts_with("listening on") {
                    return Ok(());
                }
            }
            bail!("hundi ended before it was ready")
        };
        tokio::time::timeout(START, ready)
            .await
            .context("hundi took too long")??;
        let told: Value = serde_json::from_slice(&tokio::fs::read(&bootstrap).await?)?;
        Ok(Self {
            mcp_url: word(&told, "mcp_url"),
            agent_key: word(&told, "agent_key"),
            _hundi: child,
            _folder: folder,
        })
    }
}

/// Builds the broker and the upstream next to this program, which `cargo run` alone does not.
async fn build(examples: &Path) -> Result<()> {
    let mut build = Command::new("cargo");
    build.args(["build", "--bin", "hundi", "--example", "real_world_server"]);
    if examples.ends_with("release/examples") {
        build.arg("--release");
    }
    if !build.status().await?.success() {
        bail!("the broker could not be built; run `cargo build --bins --examples` first");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut started = None;
    let (url, key) = match arguments[..] {
        ["--url", url, "--key", key] => (url.to_owned(), key.to_owned()),
        [] => {
            let own = started.insert(Started::hundi().await?);
            (own.mcp_url.clone(), own.agent_key.clone())
        }
        _ => bail!("either nothing or `--url URL --key KEY` is understood"),
    };
    let agent = Agent::connect(&url, &key).await?;
    let mut wrong = 0;
    println!(
        "{:<3}{:<28}{:<10}{:<26}{:<28}",
        "", "tool", "steps", "ended", ""
    );
    for (number, flow) in flows().iter().enumerate() {
        let steps = if flow.answers.is_some() { "two" } else { "one" };
        let (ended, about) = match agent.play(flow).await {
            Ok(told) => told,
            Err(error) => ("error".to_owned(), format!("{error:#}")),
        };
        let mark = if ended == flow.ends {
            ""
        } else {
            "  <- expected "
        };
        let expected = if ended == flow.ends { "" } else { flow.ends };
        wrong += usize::from(ended != flow.ends);
        println!(
            "{:<3}{:<28}{steps:<10}{ended:<26}{about:<28}{mark}{expected}",
            number + 1,
            flow.tool
        );
    }
    agent.0.cancel().await?;
    if wrong > 0 {
        bail!("{wrong} of the flows did not go as they should");
    }
    println!("all ten went as they should");
    Ok(())
}
