//! Callers as they are: impatient, repeating themselves, going to whichever node, presenting the
//! same token at both, and remembering every word they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::ground::{Ground, Heard};

/// One proposal as its caller lived it.
#[derive(Clone, Debug, Default)]
pub struct Tale {
    pub id: String,
    pub arguments: Value,
    /// Some answer said `committed`.
    pub committed: bool,
    /// Some answer said `failed`.
    pub failed: bool,
    /// The last refusal that was not about an earlier use of the token.
    pub refused: Option<String>,
}

/// Callers at once, each going to either node.
const CALLERS: u64 = 6;

/// Several callers, until they are told to stop.
pub struct Crowd {
    pub heard: Heard,
    caller: Caller,
    running: JoinSet<()>,
}

impl Crowd {
    pub fn gather(ground: &Ground, seed: u64) -> Self {
        let heard = Heard::default();
        let caller = Caller {
            http: ground.http.clone(),
            urls: [ground.url(0), ground.url(1)],
            key: ground.keys.agent.clone(),
            heard: heard.clone(),
            stop: Arc::default(),
            requests: Arc::default(),
        };
        let mut running = JoinSet::new();
        for number in 0..CALLERS {
            running.spawn(caller.clone().run(seed.wrapping_add(number)));
        }
        Self {
            heard,
            caller,
            running,
        }
    }

    /// Nobody begins anything new.
    pub fn stop(&self) {
        self.caller.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until all have stopped: what they lived, and how often they asked.
    pub async fn leave(mut self) -> (Vec<Tale>, u64) {
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
        let tales = self.heard.lock().unwrap().clone();
        (tales, self.caller.requests.load(Ordering::Relaxed))
    }
}

/// Where a caller goes, and how it knows when to stop.
#[derive(Clone)]
struct Caller {
    http: reqwest::Client,
    urls: [String; 2],
    key: String,
    heard: Heard,
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
}

impl Caller {
    /// Until told to stop.
    async fn run(self, seed: u64) {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut number = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            if let Some(tale) = self.one(&mut dice, seed, number).await {
                self.heard.lock().unwrap().push(tale);
            }
        }
    }

    async fn one(&self, dice: &mut StdRng, seed: u64, number: u64) -> Option<Tale> {
        let amount = dice.random_range(1..=500);
        let arguments = json!({"amount": amount, "to": "acct_123"});
        let body = json!({
            "tool": "transfer_funds", "arguments": arguments,
            "idempotency_key": format!("chaos-{seed}-{number}"),
        });
        // A lost answer is asked for again under the same key.
        let mut proposed = None;
        for _ in 0..5 {
            let node = dice.random_range(0..2);
            let answer = self.post(node, "/v1/proposals", &body).await;
            if let Some(answer) = answer.filter(|answer| answer["commit_token"].is_string()) {
                proposed = Some(answer);
                break;
            }
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(dice.random_range(20..200))).await;
        }
        let proposed = proposed?;
        let mut tale = Tale {
            id: proposed["proposal_id"].as_str()?.to_owned(),
            arguments: arguments.clone(),
            ..Tale::default()
        };
        let body = json!({"commit_token": proposed["commit_token"], "arguments": arguments});
        let path = format!("/v1/proposals/{}/commit", tale.id);
        match dice.random_range(0..10) {
            // Never committed: its reservation has to come back by itself.
            0 => {}
            // At both nodes at once.
            1..=3 => {
                let (one, two) =
                    tokio::join!(self.post(0, &path, &body), self.post(1, &path, &body));
                for answer in [one, two].into_iter().flatten() {
                    tale.listen(&answer);
                }
            }
            // At one, and again wherever, until somebody says something final.
            _ => {
                for _ in 0..3 {
                    let node = dice.random_range(0..2);
                    if let Some(answer) = self.post(node, &path, &body).await {
                        tale.listen(&answer);
                        if answer["code"].is_null() {
                            break;
                        }
                    }
                    if self.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(dice.random_range(10..100))).await;
                }
            }
        }
        Some(tale)
    }

    async fn post(&self, node: usize, path: &str, body: &Value) -> Option<Value> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}{path}", self.urls[node]);
        let sent = self.http.post(url).bearer_auth(&self.key).json(body).send();
        sent.await.ok()?.json().await.ok()
    }
}

impl Tale {
    fn listen(&mut self, answer: &Value) {
        let original = &answer["original"]["status"];
        match answer["status"].as_str() {
            Some("committed") => self.committed = true,
            Some("failed") => self.failed = true,
            Some("blocked") if answer["reason"] == "nonce_replay" => {
                self.committed |= original == "committed";
                self.failed |= original == "failed";
            }
            Some("blocked") => {
                self.refused = answer["reason"].as_str().map(str::to_owned);
            }
            _ => {}
        }
    }
}
