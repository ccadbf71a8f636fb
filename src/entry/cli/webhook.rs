//! `hundi webhook simulate`: signs and posts one sample event of every kind to a running server,
//! and prints what it answered and, with a key that may read, what it decided.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Failure, Json, print};
use crate::domain::secret::Secret;

/// How long the server gets to work an event off before the audit is read.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// Every kind of event that the bank documents, with the payout state it tells.
const EVENTS: [(&str, &str); 8] = [
    ("payout.pending", "pending"),
    ("payout.queued", "queued"),
    ("payout.initiated", "processing"),
    ("payout.processed", "processed"),
    ("payout.updated", "processed"),
    ("payout.reversed", "reversed"),
    ("payout.failed", "failed"),
    ("payout.rejected", "rejected"),
];

/// What to do with webhooks.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Post sample events of every kind, signed with the configured secret
    Simulate {
        /// The server
        #[arg(long, default_value = "http://127.0.0.1:8787")]
        url: String,
        /// A key that may read the audit, to show what was decided
        #[arg(long, env = "HUNDI_API_KEY", hide_env_values = true)]
        key: Option<String>,
        /// Amount of the sample payouts, in paise
        #[arg(long, default_value_t = 10_000)]
        amount: i64,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
}

/// Posts and prints. `tag` makes the sample ids of this run unique: 10 letters or digits.
pub async fn run(
    command: &Command,
    secret: &Secret,
    tag: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Command::Simulate {
        url,
        key,
        amount,
        json,
    } = command;
    let url = url.trim_end_matches('/');
    // Installing it twice is no error: whoever came first chose the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .build()
        .map_err(Failure::of)?;
    let mut rows = Vec::new();
    for (n, (event, state)) in EVENTS.iter().enumerate() {
        let id = format!("pout_{tag}{n:04}");
        let body = sample(event, state, &id, *amount).to_string();
        let answer = client
            .post(format!("{url}/webhooks/razorpay"))
            .header("x-razorpay-event-id", format!("sim-{tag}-{n}"))
            .header("x-razorpay-signature", secret.sign(&[body.as_bytes()]))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .map_err(|error| Failure::of(error.without_url()))?;
        rows.push((*event, id, answer.status().as_u16()));
    }
    tokio::time::sleep(PATIENCE).await;
    let mut told = Vec::new();
    for (event, id, status) in rows {
        let decided = match key {
            Some(key) => decided(&client, url, key, &id).await?,
            None => String::new(),
        };
        told.push(json!({"event": event, "payout_id": id, "http": status, "decided": decided}));
    }
    if json.json {
        print::json(out, &json!({"events": told}))?;
    } else {
        let text = |row: &Value, name: &str| {
            let value = &row[name];
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let columns = ["event", "payout_id", "http", "decided"];
        let rows = told
            .iter()
            .map(|row| columns.map(|c| text(row, c)).to_vec());
        print::table(out, &columns, rows.collect(), "nothing was posted")?;
    }
    Ok(out.flush()?)
}

/// The server's decisions about this payout, oldest first.
async fn decided(
    client: &reqwest::Client,
    url: &str,
    key: &str,
    id: &str,
) -> Result<String, Failure> {
    let answer = client
        .get(format!("{url}/v1/audit?payout={id}&limit=20"))
        .bearer_auth(key)
        .send()
        .await
        .map_err(|error| Failure::of(error.without_url()))?;
    let body = answer
        .text()
        .await
        .map_err(|error| Failure::of(error.without_url()))?;
    let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let records = body["records"].as_array().cloned().unwrap_or_default();
    let word = |record: &Value| {
        let part = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", part("kind"), part("decision"), part("reason"))
    };
    let words: Vec<String> = records.iter().rev().map(word).collect();
    Ok(words.join("; "))
}

fn sample(event: &str, state: &str, id: &str, amount: i64) -> Value {
    json!({
        "entity": "event", "account_id": "acc_simulated", "event": event, "contains": ["payout"],
        "payload": {"payout": {"entity": {
            "id": id, "entity": "payout", "fund_account_id": "fa_00000000000001",
            "amount": amount, "currency": "INR", "notes": [], "fees": 0, "tax": 0,
            "status": state, "purpose": "payout", "utr": null, "mode": "IMPS",
            "reference_id": null, "created_at": 1_700_000_000,
        }}},
        "created_at": 1_700_000_000,
    })
}
