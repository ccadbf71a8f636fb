//! `hundi freeze` and `hundi unfreeze`: the brake, pulled on a running server with a key.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Failure, Json, print};
use crate::domain::facts::FreezeScope;
use crate::entry::operations::{self, Request};

/// Longest that the server may take to say that it stands still.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What to freeze or lift, and where.
#[derive(clap::Args)]
pub struct Args {
    /// all, agent, tool, vendor or server
    #[arg(value_parser = scope)]
    pub scope: FreezeScope,
    /// Which agent, tool, vendor (account, domain or name) or server; nothing for all
    pub id: Option<String>,
    /// Why: others will ask
    #[arg(long)]
    pub reason: Option<String>,
    /// The server
    #[arg(long, env = "HUNDI_URL", default_value = "http://127.0.0.1:8787")]
    pub url: String,
    /// The key to act with
    #[arg(
        long = "key",
        value_name = "hk_...",
        env = "HUNDI_API_KEY",
        hide_env_values = true
    )]
    pub key: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Args")
            .field("scope", &self.scope)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn scope(name: &str) -> Result<FreezeScope, String> {
    FreezeScope::parse(name).ok_or_else(|| "one of all, agent, tool, vendor, server".to_owned())
}

/// Freezes, or lifts a freeze, and prints what is frozen then.
pub async fn run(args: &Args, freezes: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(key) = &args.key else {
        let text = "set HUNDI_API_KEY, or give --key: an operator's key (an approver may freeze)";
        return Err(Failure::Usage(text.to_owned()));
    };
    if freezes && args.reason.is_none() {
        let text = "--reason is missing: others will ask why this stands still";
        return Err(Failure::Usage(text.to_owned()));
    }
    let name = if freezes { "freeze" } else { "unfreeze" };
    let input = [
        ("scope", json!(args.scope.name())),
        ("id", json!(args.id)),
        ("reason", json!(args.reason.as_deref().unwrap_or_default())),
    ];
    let input = input.map(|(field, value)| (field.to_owned(), value));
    let request = operations::named(name).and_then(|it| it.request(input.into_iter().collect()));
    let request = request.ok_or_else(|| Failure::of(format!("`{name}` is not on REST")))?;
    let told = ask(&args.url, key, request).await?;
    if args.json.json {
        print::json(out, &told)?;
    } else {
        let text = |freeze: &Value, name: &str| freeze[name].as_str().unwrap_or("").to_owned();
        let frozen = told["frozen"].as_array().into_iter().flatten();
        let rows = frozen.map(|freeze| {
            ["scope", "id", "reason", "by", "at"]
                .map(|name| text(freeze, name))
                .to_vec()
        });
        let heading = ["scope", "id", "reason", "by", "since"];
        print::table(out, &heading, rows.collect(), "nothing is frozen")?;
    }
    Ok(out.flush()?)
}

async fn ask(url: &str, key: &str, request: Request) -> Result<Value, Failure> {
    // Installing it twice is no error: whoever came first chose the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()
        .map_err(Failure::of)?;
    let address = format!("{}{}", url.trim_end_matches('/'), request.target);
    let asked = client
        .post(address)
        .bearer_auth(key)
        .json(&request.body)
        .send();
    let answer = asked.await.map_err(|error| {
        let hint = "is `hundi serve` running there? Name it with --url";
        Failure::of(format!("{}: {hint}", error.without_url()))
    })?;
    let well = answer.status().is_success();
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let told: Value = serde_json::from_str(&text).unwrap_or_default();
    if well && told["frozen"].is_array() {
        return Ok(told);
    }
    let detail = told["detail"].as_str().unwrap_or("no word of hundi");
    let code = told["code"].as_str().unwrap_or("unknown");
    Err(Failure::of(format!(
        "{} ({code}, status {status})",
        print::plain(detail)
    )))
}
