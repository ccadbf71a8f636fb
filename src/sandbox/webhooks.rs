//! Webhooks as Razorpay sends them: signed over the raw body, at least once, in no promised order.
//!
//! Delivery is tried again with doubling pauses until it is answered with a 2xx or its time is
//! over. What waits is bounded and kept in memory only: after a restart, or when far too much
//! waits, news is lost, as it may be with any webhook; polling is the remedy.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::{Semaphore, mpsc};

use super::bank::News;
use super::faults::{Faults, Kind, Operation};
use super::refusal::Refusal;
use crate::ambient::Ambient;
use crate::domain::ids::hex;
use crate::domain::time::Timestamp;

/// News waiting to be delivered.
const MAX_WAITING: usize = 20_000;
/// Deliveries that are being sent or wait for their next attempt.
const MAX_OPEN: usize = 2_000;
/// Attempts under way at once.
const MAX_AT_ONCE: usize = 16;
/// Razorpay waits so long for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so many attempts (about 5 minutes) a delivery is given up; the real bank takes a day.
const MAX_ATTEMPTS: u32 = 16;
const ACCOUNT_ID: &str = "acc_00000000000000";

/// Where webhooks go.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The address, plain HTTP: the sandbox talks to its own machine or network.
    pub url: String,
    /// What bodies are signed with. Must not be empty.
    pub secret: String,
    /// Only these events; `None` is all of them.
    #[serde(default)]
    pub events: Option<Vec<String>>,
}

/// Hides the secret.
impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Webhook({})", self.url)
    }
}

/// The sender.
#[derive(Clone)]
pub(super) struct Webhooks {
    target: Arc<RwLock<Option<Arc<Webhook>>>>,
    queue: mpsc::Sender<Delivery>,
}

struct Delivery {
    target: Arc<Webhook>,
    event_id: String,
    body: String,
}

impl Webhooks {
    /// Starts the sender, which goes nowhere yet. It stops when the last handle is gone.
    pub(super) fn start(faults: Arc<Faults>, ambient: Ambient) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_certs_only([])
            .timeout(TIMEOUT)
            .build()?;
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(deliver_all(waiting, client, faults, ambient));
        Ok(Self {
            target: Arc::default(),
            queue,
        })
    }

    /// Sends to somewhere else, or nowhere, from now on.
    pub(super) fn aim(&self, target: Option<Webhook>) -> Result<(), Refusal> {
        if let Some(target) = &target {
            if !target.url.starts_with("http://") {
                return Err(Refusal::field("url", "It must begin with http://"));
            }
            if target.secret.is_empty() {
                return Err(Refusal::field("secret", "It must not be empty."));
            }
        }
        let mut current = self.target.write().unwrap_or_else(PoisonError::into_inner);
        *current = target.map(Arc::new);
        Ok(())
    }

    /// Whether anybody listens.
    pub(super) fn are_wanted(&self) -> bool {
        self.target().is_some()
    }

    /// Queues the news.
    pub(super) fn tell(&self, news: Vec<News>, ambient: &Ambient) {
        let Some(target) = self.target() else {
            return;
        };
        for news in news {
            let chosen = target.events.as_ref();
            if chosen.is_some_and(|events| !events.iter().any(|event| event == news.event)) {
                continue;
            }
            let delivery = Delivery {
                target: target.clone(),
                event_id: format!("evt_{}", hex(&ambient.bytes::<7>())),
                body: envelope(news.event, &news.entity, news.at).to_string(),
            };
            if self.queue.try_send(delivery).is_err() {
                tracing::warn!(event = news.event, "too many webhooks wait; one is dropped");
            }
        }
    }

    fn target(&self) -> Option<Arc<Webhook>> {
        let current = self.target.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

fn envelope(event: &str, entity: &Value, at: Timestamp) -> Value {
    json!({
        "entity": "event",
        "account_id": ACCOUNT_ID,
        "event": event,
        "contains": ["payout"],
        "payload": {"payout": {"entity": entity}},
        "created_at": at.secs(),
    })
}

async fn deliver_all(
    mut waiting: mpsc::Receiver<Delivery>,
    client: reqwest::Client,
    faults: Arc<Faults>,
    ambient: Ambient,
) {
    let open = Arc::new(Semaphore::new(MAX_OPEN));
    let sending = Arc::new(Semaphore::new(MAX_AT_ONCE));
    while let Some(delivery) = waiting.recv().await {
        let fault = faults.strike(Operation::Webhook, &ambient);
        let twice = fault
            .as_ref()
            .is_some_and(|fault| fault.kind == Kind::Duplicate);
        let late = fault.filter(|fault| fault.kind == Kind::Slow);
        let delivery = Arc::new(delivery);
        for _ in 0..(if twice { 2 } else { 1 }) {
            let Ok(slot) = open.clone().acquire_owned().await else {
                return;
            };
            let (client, delivery, sending) = (client.clone(), delivery.clone(), sending.clone());
            let delay = late.as_ref().map(|fault| fault.delay());
            tokio::spawn(async move {
                if let Some(delay) = delay {
                    tokio::time::sleep(delay).await;
                }
                deliver(&client, &delivery, &sending).await;
                drop(slot);
            });
        }
    }
}

async fn deliver(client: &reqwest::Client, delivery: &Delivery, sending: &Semaphore) {
    let Some(signature) = sign(&delivery.target.secret, &delivery.body) else {
        return;
    };
    let mut pause = FIRST_PAUSE;
    for _ in 0..MAX_ATTEMPTS {
        let turn = sending.acquire().await;
        let sent = client
            .post(&delivery.target.url)
            .header("Content-Type", "application/json")
            .header("X-Razorpay-Signature", &signature)
            .header("x-razorpay-event-id", &delivery.event_id)
            .body(delivery.body.clone())
            .send()
            .await;
        drop(turn);
        if sent.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    tracing::warn!(event_id = delivery.event_id, "a webhook was never accepted");
}

/// Hex HMAC-SHA256 of the body. `None` cannot happen: HMAC takes keys of any length.
fn sign(secret: &str, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(body.as_bytes());
    Some(hex(&mac.finalize().into_bytes()))
}
