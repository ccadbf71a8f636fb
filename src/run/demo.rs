//! `hundi demo`: the whole story on real parts. A broker with its doors, a sidecar process and a
//! sandbox bank are started in a folder that is thrown away; an MCP client plays an agent over
//! HTTP, and people decide over REST. At the end the bank's own ledger has to agree.

mod rows;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::app::App;
use crate::broker::access::first::FirstKeys;
use crate::config::layers::Flag;
use crate::config::{Config, environment};
use crate::entry::cli::{Failure, Json, print};
use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, ClientConfig};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::serve::Server;
use super::{block_on, this_program, told};

/// Seconds that a token lives here: long enough to commit, short enough to watch one expire.
const TOKEN_TTL_SECS: &str = "3";
/// Above this (minor units) a person is asked.
const APPROVAL_ABOVE: i64 = 50_000;
/// Most per transaction, minor units.
const TXN_LIMIT: i64 = 200_000;

/// Plays the story; `Err` unless every step went as it should.
pub fn run(json: Json, out: &mut dyn Write) -> Result<(), Failure> {
    let folder = TempFolder::new("")?;
    let sources = TempFolder::new("-sources")?;
    let config = config(&folder, &sources)?;
    let program = this_program()?;
    let played = block_on(async {
        let listener = TcpListener::bind(config.listen).await?;
        let app = App::build(&config, &program)
            .await
            .map_err(|error| told(&error))?;
        let first = app.welcome().await?;
        let first = first.ok_or_else(|| Failure::of("the demo's store was not empty"))?;
        let server = Server::start(app, &config, listener)?;
        let played = play(&server, &first, &sources, json, out).await;
        server.stop().await;
        played
    });
    drop((folder, sources));
    played
}

/// A folder of our own, gone when dropped.
struct TempFolder(std::path::PathBuf);

impl TempFolder {
    fn new(what: &str) -> Result<Self, Failure> {
        let name = format!("hundi-demo-{}{what}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Ours alone from the start: a data folder that others can look into is not used.
        let mut folder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
        folder.create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "the demo's folder stays behind");
        }
    }
}

/// Defaults only: the demo plays the same story whatever is configured around it.
fn config(folder: &TempFolder, sources: &TempFolder) -> Result<Config, Failure> {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).to_string();
    let flag = |key: &str, value: &str| Flag {
        key: key.to_owned(),
        value: value.to_owned(),
        flag: "hundi demo".to_owned(),
    };
    let flags = [
        flag("data_dir", &folder.0.to_string_lossy()),
        flag("listen", &anywhere),
        flag("sandbox_listen", &anywhere),
        flag("token_ttl_secs", TOKEN_TTL_SECS),
        flag("sources.sqlite_dirs", &sources.0.to_string_lossy()),
    ];
    let ours = |name: &String| name.starts_with("HUNDI_");
    let environment = environment()
        .into_iter()
        .filter(|(name, _)| !ours(name))
        .collect();
    let nothing = folder.0.join("hundi.toml");
    std::fs::write(&nothing, "")?;
    Config::load(Some(&nothing), &environment, &flags).map_err(Failure::of)
}

/// One line of the closing table.
struct Row {
    step: &'static str,
    expected: &'static str,
    seen: String,
}

struct Story<'a> {
    out: &'a mut dyn Write,
    json: Json,
    agent: RunningService<RoleClient, ClientConfig>,
    http: reqwest::Client,
    url: String,
    admin_key: String,
    rows: Vec<Row>,
}

async fn play(
    server: &Server,
    first: &FirstKeys,
    sources: &TempFolder,
    json: Json,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let url = server.url();
    let agent = connect(&url, &first.agent_key).await?;
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(Failure::of)?;
    let admin_key = first.admin_key.clone();
    let mut story = Story {
        out,
        json,
        agent,
        http,
        url,
        admin_key,
        rows: Vec::new(),
    };
    let parts = "a sidecar process, and a sandbox bank";
    story.say(&format!("hundi demo: a broker on {}, {parts}\n", story.url))?;
    story.mandate(first).await?;
    story.allowed_committed_replayed().await?;
    story.changed_arguments().await?;
    story.expired().await?;
    story.blocked_by_score().await?;
    story.over_limit().await?;
    story.held_and_approved().await?;
    story.a_row_as_it_was_shown(sources).await?;
    story.the_bank_agrees(server).await?;
    story.close()
}

async fn connect(
    url: &str,
    key: &str,
) -> Result<RunningService<RoleClient, ClientConfig>, Failure> {
    let config = StreamableHttpClientTransportConfig::with_uri(format!("{url}/mcp"))
        .auth_header(key)
        .reinit_on_expired_session(false);
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(Failure::of)?;
    let transport = StreamableHttpClientTransport::with_client(client, config);
    ClientConfig::default()
        .serve(transport)
        .await
        .map_err(Failure::of)
}

impl Story<'_> {
    /// The story goes to stdout, or beside it where that is for one JSON document.
    fn say(&mut self, text: &str) -> Result<(), Failure> {
        if self.json.json {
            return Ok(writeln!(std::io::stderr(), "{text}")?);
        }
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    fn row(&mut self, step: &'static str, expected: &'static str, seen: &str) {
        self.rows.push(Row {
            step,
            expected,
            seen: seen.to_owned(),
        });
    }

    /// One MCP call; the structured answer.
    async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let answer = self.agent.call_tool(params).await.map_err(Failure::of)?;
        answer
            .structured_content
            .ok_or_else(|| Failure::of(format!("{tool} answered no structure")))
    }

    async fn rest(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Value,
    ) -> Result<Value, Failure> {
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.admin_key).json(&body);
        let answer = request.send().await.map_err(Failure::of)?;
        let status = answer.status();
        let body: Value = answer.json().await.map_err(Failure::of)?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(Failure::of(format!("{path}: {body}")))
        }
    }

    async fn mandate(&mut self, first: &FirstKeys) -> Result<(), Failure> {
        let policy = json!({
            "daily_limit": 1_000_000, "per_txn_limit": TXN_LIMIT,
            "require_approval_above": APPROVAL_ABOVE, "rate_limit": {"max": 0, "window_secs": 60},
            // The story pays the same account the same amount more than once.
            "duplicates": {"then": "off"},
            "allowed_tools": ["transfer_funds", "lower_invoice"],
        });
        let path = format!("/v1/agents/{}/policy", first.agent_id);
        self.rest(reqwest::Method::PUT, &path, policy).await?;
        self.say(&format!(
            "An operator gives {} a mandate: {TXN_LIMIT} a transaction, a person above \
             {APPROVAL_ABOVE}.\n",
            first.agent_id
        ))
    }

    async fn propose(&mut self, amount: i64, to: &str) -> Result<Value, Failure> {
        let arguments = json!({"amount": amount, "to": to});
        self.call("transfer_funds_propose", json!({"arguments": arguments}))
            .await
    }

    async fn commit(&mut self, proposed: &Value, amount: i64, to: &str) -> Result<Value, Failure> {
        let arguments = json!({
            "proposal_id": proposed["proposal_id"], "commit_token": proposed["commit_token"],
            "arguments": {"amount": amount, "to": to},
        });
        self.call("transfer_funds_commit", arguments).await
    }

    async fn allowed_committed_replayed(&mut self) -> Result<(), Failure> {
        self.say("1. The agent proposes 100 to acct_123. Nothing is paid yet.")?;
        let proposed = self.propose(100, "acct_123").await?;
        self.say(&format!(
            "   {}, score {}",
            word(&proposed, "status"),
            score(&proposed)
        ))?;
        self.row("propose 100", "allowed", word(&proposed, "status"));
        self.say("2. It commits with the token. The sidecar pays, once.")?;
        let committed = self.commit(&proposed, 100, "acct_123").await?;
        self.say(&format!(
            "   {}, {}",
            word(&committed, "status"),
            word(&committed["result"], "id")
        ))?;
        self.row("commit", "committed", word(&committed, "status"));
        self.say("3. It presents the same token again.")?;
        let replayed = self.commit(&proposed, 100, "acct_123").await?;
        let original = word(&replayed["original"]["result"], "id").to_owned();
        self.say(&format!(
            "   {}; the outcome it has already: {original}",
            word(&replayed, "reason")
        ))?;
        self.row("commit again", "nonce_replay", word(&replayed, "reason"));
        Ok(())
    }

    async fn changed_arguments(&mut self) -> Result<(), Failure> {
        self.say("4. A token for 100 is presented for 100000.")?;
        let proposed = self.propose(100, "acct_123").await?;
        let refused = self.commit(&proposed, 100_000, "acct_123").await?;
        self.say(&format!("   {}", word(&refused, "reason")))?;
        self.row(
            "changed arguments",
            "args_hash_mismatch",
            word(&refused, "reason"),
        );
        Ok(())
    }

    async fn expired(&mut self) -> Result<(), Failure> {
        self.say(&format!(
            "5. A token is kept until its {TOKEN_TTL_SECS} seconds are over."
        ))?;
        let proposed = self.propose(100, "acct_123").await?;
        // A token is presented until it is too late: there is nothing to be notified by.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let refused = self.commit(&proposed, 100, "acct_123").await?;
        self.say(&format!("   {}", word(&refused, "reason")))?;
        self.row("late commit", "expired", word(&refused, "reason"));
        Ok(())
    }

    async fn blocked_by_score(&mut self) -> Result<(), Failure> {
        self.say("6. The agent's own two answers contradict each other.")?;
        let samples = [
            "Pay 900 to acct_123, all checks passed.",
            "Rejected: 12 is due, not to them.",
        ];
        let arguments = json!({"arguments": {"amount": 900, "to": "acct_123"}, "samples": samples});
        let blocked = self.call("transfer_funds_propose", arguments).await?;
        self.say(&format!(
            "   {} ({}), score {}; a draft instead: {}",
            word(&blocked, "status"),
            word(&blocked, "reason"),
            score(&blocked),
            blocked["draft"]
        ))?;
        self.row(
            "contradicting answers",
            "low_integrity",
            word(&blocked, "reason"),
        );
        Ok(())
    }

    async fn over_limit(&mut self) -> Result<(), Failure> {
        self.say("7. It asks for more than its mandate.")?;
        let blocked = self.propose(TXN_LIMIT + 1, "acct_123").await?;
        self.say(&format!(
            "   {} ({})",
            word(&blocked, "status"),
            word(&blocked, "reason")
        ))?;
        self.row(
            "over the limit",
            "TXN_LIMIT_EXCEEDED",
            word(&blocked, "reason"),
        );
        Ok(())
    }

    async fn held_and_approved(&mut self) -> Result<(), Failure> {
        self.say("8. An amount that a person has to see.")?;
        let held = self.propose(APPROVAL_ABOVE + 1, "acct_456").await?;
        self.say(&format!(
            "   {} ({})",
            word(&held, "status"),
            word(&held, "reason")
        ))?;
        self.row("above the threshold", "held", word(&held, "status"));
        let id = word(&held, "proposal_id").to_owned();
        let path = format!("/v1/proposals/{id}/approve");
        self.rest(reqwest::Method::POST, &path, json!({})).await?;
        self.say("   a person approves; the agent, waiting, gets its token")?;
        let waited = json!({"proposal_id": id, "timeout_secs": 10});
        let allowed = self.call("await_proposal", waited).await?;
        self.row("approved", "allowed", word(&allowed, "status"));
        let committed = self
            .commit(&allowed, APPROVAL_ABOVE + 1, "acct_456")
            .await?;
        self.say(&format!(
            "   {}, {}",
            word(&committed, "status"),
            word(&committed["result"], "id")
        ))?;
        self.row(
            "commit after approval",
            "committed",
            word(&committed, "status"),
        );
        Ok(())
    }

    async fn the_bank_agrees(&mut self, server: &Server) -> Result<(), Failure> {
        let bank = server.app.sandbox_url.clone().unwrap_or_default();
        let ledger = self.http.get(format!("{bank}/sandbox/ledger")).send().await;
        let ledger: Value = ledger
            .map_err(Failure::of)?
            .json()
            .await
            .map_err(Failure::of)?;
        let amounts: Vec<i64> = ledger
            .as_array()
            .map(|rows| {
                rows.iter()
                    .filter_map(|row| row["body"]["amount"].as_i64())
                    .collect()
            })
            .unwrap_or_default();
        let agrees = amounts == [100, APPROVAL_ABOVE + 1];
        self.say(&format!("\nThe bank's own ledger: {amounts:?}"))?;
        self.row(
            "the bank's ledger",
            "two payments",
            if agrees { "two payments" } else { "differs" },
        );
        Ok(())
    }

    fn close(self) -> Result<(), Failure> {
        if self.json.json {
            return self.close_in_json();
        }
        let cells = self.rows.iter().map(|row| {
            let mark = if row.expected == row.seen {
                "ok"
            } else {
                "WRONG"
            };
            let cells = [row.step, row.expected, row.seen.as_str(), mark];
            cells.map(str::to_owned).to_vec()
        });
        writeln!(self.out)?;
        print::table(
            self.out,
            &["step", "expected", "seen", ""],
            cells.collect(),
            "",
        )?;
        let wrong = self
            .rows
            .iter()
            .filter(|row| row.expected != row.seen)
            .count();
        if wrong > 0 {
            return Err(Failure::of(format!(
                "{wrong} steps did not go as they should"
            )));
        }
        writeln!(
            self.out,
            "\nEverything went as it should. Next: `hundi serve`."
        )?;
        Ok(self.out.flush()?)
    }
}

impl Story<'_> {
    fn close_in_json(self) -> Result<(), Failure> {
        let steps = self.rows.iter().map(|row| {
            let ok = row.expected == row.seen;
            json!({"step": row.step, "expected": row.expected, "seen": row.seen, "ok": ok})
        });
        let steps: Vec<Value> = steps.collect();
        let ok = steps.iter().all(|step| step["ok"] == true);
        print::json(self.out, &json!({"ok": ok, "steps": steps}))?;
        self.out.flush()?;
        if ok { Ok(()) } else { Err(Failure::Told) }
    }
}

/// The composite score as people read it.
fn score(proposed: &Value) -> String {
    let score = proposed["composite_score"].as_f64();
    score.map_or_else(|| "none".to_owned(), |score| format!("{score:.4}"))
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("nothing")
}
