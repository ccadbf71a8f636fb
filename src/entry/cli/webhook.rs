//! `hundi webhook simulate`: signs and posts sample events of every kind to a running server, and
//! prints for each what the server answered and, with a key that may read, what it decided.
//!
//! What would make the run worthless ends it at once, with words: a key that may not read the
//! audit, a secret that is not the server's, a server that takes events in and does not work.

mod samples;

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use self::samples::{Look, Sample};
use super::{Failure, Json, print};
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::secret::Secret;

/// Longest that the server gets to work one event off.
const PATIENCE: Duration = Duration::from_secs(6);
/// Pause between two looks at the audit log.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Longest that one request may take; the bank itself waits five seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What to do with webhooks.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Post sample events of every kind, signed with the configured secret
    Simulate(Simulate),
}

/// What the sample events look like, and where they go.
#[derive(clap::Args, Debug)]
pub struct Simulate {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8787")]
    url: String,
    /// A key that may read the audit, to show what was decided
    #[arg(long, env = "HUNDI_API_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Amount of the sample payouts, in paise
    #[arg(long, default_value_t = 10_000)]
    amount: i64,
    /// The vendor's URL in their notes
    #[arg(long)]
    vendor_url: Option<String>,
    /// The vendor's name in their notes
    #[arg(long)]
    vendor_name: Option<String>,
    /// Only events of this name, payout.pending say
    #[arg(long)]
    only: Option<String>,
    /// How to print.
    #[command(flatten)]
    json: Json,
}

/// Posts and prints. `tag` makes the sample ids of this run unique: 10 letters or digits.
pub async fn run(
    command: &Command,
    secret: &Secret,
    tag: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Command::Simulate(asked) = command;
    let server = Server::new(asked)?;
    let look = Look {
        amount: asked.amount,
        vendor_url: asked.vendor_url.as_deref(),
        vendor_name: asked.vendor_name.as_deref(),
    };
    let mut samples = samples::all(tag, &look);
    if let Some(only) = &asked.only {
        samples.retain(|sample| sample.event == only);
    }
    server.may_read().await?;
    let mut told = Vec::new();
    for sample in &samples {
        let (http, answer) = server.post(sample, secret).await?;
        as_it_should(sample, http, &answer)?;
        let skipped = Decision::Skipped.name().to_owned();
        let decided = match answer.as_str() {
            "accepted" => server.decided(sample).await?,
            "duplicate" => Some((skipped, "IDEMPOTENT_SKIP".to_owned())),
            "kept" => Some((skipped, "PARSE_ERROR".to_owned())),
            _ if http == 401 => Some((
                Decision::Rejected.name().to_owned(),
                "INVALID_SIGNATURE".to_owned(),
            )),
            _ => None,
        };
        let (decision, reason) = decided.unzip();
        told.push(json!({
            "case": sample.case, "event": sample.event, "event_id": sample.event_id,
            "payout_id": sample.payout, "http": http, "answer": answer,
            "decision": decision, "reason": reason,
        }));
    }
    if asked.json.json {
        print::json(out, &json!({"events": told}))?;
    } else {
        let columns = [
            "case",
            "event",
            "payout_id",
            "http",
            "answer",
            "decision",
            "reason",
        ];
        let rows = told
            .iter()
            .map(|row| columns.map(|c| text(&row[c])).to_vec());
        print::table(
            out,
            &columns,
            rows.collect(),
            "no sample event has that name",
        )?;
        if asked.key.is_none() {
            writeln!(
                out,
                "give --key with an auditor's or admin's key to see decisions"
            )?;
        }
    }
    Ok(out.flush()?)
}

/// Whether the server took in what it should, and nothing else.
fn as_it_should(sample: &Sample, http: u16, answer: &str) -> Result<(), Failure> {
    let words = match (sample.genuine, http) {
        (true, 200..=299) | (false, 401) => return Ok(()),
        (true, 401) => {
            "it does not know the signature: HUNDI_RAZORPAY_WEBHOOK_SECRET here is none of the \
             server's secrets (the server of a sandbox keeps its own in its data folder)"
                .to_owned()
        }
        (true, _) => format!("it answered {http} {answer}"),
        (false, _) => format!("it answered {http} {answer} to a forgery, which has to be refused"),
    };
    Err(Failure::of(format!(
        "the server did not take the sample event {:?} as it should: {words}",
        sample.case
    )))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The server that the events are posted to.
struct Server<'a> {
    client: reqwest::Client,
    url: &'a str,
    key: Option<&'a str>,
}

impl<'a> Server<'a> {
    fn new(asked: &'a Simulate) -> Result<Self, Failure> {
        // Installing it twice is no error: whoever came first chose the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .map_err(Failure::of)?;
        Ok(Self {
            client,
            url: asked.url.trim_end_matches('/'),
            key: asked.key.as_deref(),
        })
    }

    /// Posts one event: the status and the server's word for it.
    async fn post(&self, sample: &Sample, secret: &Secret) -> Result<(u16, String), Failure> {
        let signature = match sample.genuine {
            true => secret.sign(&[sample.body.as_bytes()]),
            false => "0".repeat(64),
        };
        let answer = self
            .client
            .post(format!("{}/webhooks/razorpay", self.url))
            .header("x-razorpay-event-id", &sample.event_id)
            .header("x-razorpay-signature", signature)
            .header("content-type", "application/json")
            .body(sample.body.clone())
            .send()
            .await
            .map_err(|error| Failure::of(error.without_url()))?;
        let status = answer.status().as_u16();
        let body = answer.text().await.unwrap_or_default();
        let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        let word = body["status"].as_str().or(body["code"].as_str());
        Ok((status, word.unwrap_or_default().to_owned()))
    }

    /// What the server decided about an event that it took in: decision and reason, as soon as it
    /// is on record.
    async fn decided(&self, sample: &Sample) -> Result<Option<(String, String)>, Failure> {
        let Some(key) = self.key else { return Ok(None) };
        let until = Instant::now() + PATIENCE;
        let filter = match &sample.payout {
            Some(payout) => format!("payout={payout}&limit=100"),
            None => "limit=100".to_owned(),
        };
        loop {
            let body = self.get(key, &format!("/v1/audit?{filter}")).await?;
            let records = body["records"].as_array().cloned().unwrap_or_default();
            let found = decision(&records, &sample.event_id);
            if found.is_some() {
                return Ok(found);
            }
            if Instant::now() >= until {
                return Err(Failure::of(format!(
                    "the server took the sample event {:?} in and has decided nothing about it \
                     within {} s; look at its log and at /readyz",
                    sample.case,
                    PATIENCE.as_secs()
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the key, if there is one, sees what is decided. Other keys see no record of others,
    /// so that one would wait for each in vain.
    async fn may_read(&self) -> Result<(), Failure> {
        let Some(key) = self.key else { return Ok(()) };
        self.get(key, "/v1/audit/head").await.map(drop)
    }

    async fn get(&self, key: &str, path: &str) -> Result<Value, Failure> {
        let answer = self
            .client
            .get(format!("{}{path}", self.url))
            .bearer_auth(key)
            .send()
            .await
            .map_err(|error| Failure::of(error.without_url()))?;
        let status = answer.status();
        let body = answer.text().await.unwrap_or_default();
        let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(body);
        }
        let detail = body["detail"].as_str().unwrap_or("no reason given");
        Err(Failure::of(format!(
            "the audit cannot be read with this key: {status}: {detail}; give --key or \
             HUNDI_API_KEY with an auditor's, operator's or admin's key, or none"
        )))
    }
}

/// The decision among the records, newest first, that came after the event's own record.
fn decision(records: &[Value], event_id: &str) -> Option<(String, String)> {
    const DECIDING: [RecordKind; 6] = [
        RecordKind::ExternalPayout,
        RecordKind::Arrived,
        RecordKind::EvidenceRefused,
        RecordKind::Executed,
        RecordKind::Reversed,
        RecordKind::Contradicted,
    ];
    let is = |record: &Value, kind: RecordKind| record["kind"] == kind.name();
    let ours = |record: &Value| record["detail"]["event_id"] == event_id;
    let own = records
        .iter()
        .position(|record| is(record, RecordKind::Webhook) && ours(record))?;
    let after = records.get(..own)?.iter().rev();
    let mut after = after.filter(|record| {
        let skipped = [RecordKind::WebhookSkipped, RecordKind::WebhookFailed]
            .iter()
            .any(|kind| is(record, *kind));
        let told = DECIDING.iter().any(|kind| is(record, *kind));
        skipped && ours(record) || told
    });
    let record = after.next()?;
    let part = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    Some(match part("decision") {
        none if none.is_empty() => ("SETTLED".to_owned(), part("kind")),
        decision => (decision, part("reason")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_is_among_the_samples() {
        let look = Look {
            amount: 5,
            vendor_url: None,
            vendor_name: None,
        };
        let samples = samples::all("0123456789", &look);
        for event in [
            "payout.pending",
            "payout.queued",
            "payout.initiated",
            "payout.processed",
            "payout.updated",
            "payout.reversed",
            "payout.failed",
            "payout.rejected",
            "payout.downtime.started",
            "payout.downtime.resolved",
        ] {
            assert!(
                samples.iter().any(|sample| sample.event == event),
                "{event}"
            );
        }
        assert_eq!(samples.iter().filter(|sample| !sample.genuine).count(), 1);
        assert_eq!(samples[0].event_id, samples[1].event_id);
        assert!(
            samples
                .iter()
                .any(|sample| sample.body.contains("\"notes\":[]"))
        );
    }

    #[test]
    fn a_decision_is_the_first_word_after_the_event_itself() {
        let record = |kind: &str, event_id: &str, decision: &str| json!({"kind": kind, "decision": decision, "reason": kind, "detail": {"event_id": event_id}});
        let newest_first = [
            record("webhook_skipped", "e2", "SKIPPED"),
            record("executed", "", ""),
            record("webhook", "e2", ""),
            record("external_payout", "", "HELD"),
            record("webhook", "e1", ""),
        ];
        let told = |event_id: &str| decision(&newest_first, event_id).map(|told| told.0);
        assert_eq!(told("e1").as_deref(), Some("HELD"));
        assert_eq!(told("e2").as_deref(), Some("SETTLED"));
        assert_eq!(told("e3"), None);
        assert_eq!(
            decision(&newest_first[2..], "e2"),
            None,
            "not worked off yet"
        );
    }
}
