//! Workers that die: no request is lost, none is answered twice, and what was used is paid.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::queue::{ended, get, queued};
use super::town::{Town, until};
use crate::support::nodes::Cluster;
use crate::support::server::{HUNDI, TOKEN_KEY};

/// A `hundi worker` on the folder of a town, killed when dropped.
struct Worker(Child);

impl Worker {
    fn start(town: &Town) -> Self {
        let dir: &Path = town.server.dir.path();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("worker.log"))
            .unwrap();
        let child = Command::new(HUNDI)
            .args(["worker", "--workers", "4"])
            .current_dir(dir)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HUNDI_TOKEN_KEY", TOKEN_KEY)
            .env("HUNDI_REQUESTS_LEASE_SECS", "3")
            .env(
                "HUNDI_SANDBOX_LISTEN",
                town.server.bank.url.trim_start_matches("http://"),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const NO_WORKERS: [(&str, &str); 2] = [
    ("HUNDI_REQUESTS_WORKERS", "0"),
    ("HUNDI_REQUESTS_LEASE_SECS", "3"),
];

async fn some_are_running(town: &Town, least: usize) {
    until(async || {
        let page = get(town, "/v1/requests?status=running&limit=100").await;
        let running = page["requests"].as_array()?.len();
        (running >= least).then_some(())
    })
    .await;
}

#[tokio::test]
async fn workers_killed_again_and_again_lose_nothing_and_answer_nothing_twice() {
    let town = Town::with(&NO_WORKERS).await;
    // Slow to begin, so that each kill finds requests that wait for their first piece.
    let slow = json!({"kind": "slow", "operation": "model", "probability": 0.7, "delay_ms": 700});
    town.arm(slow).await;
    let mut ids = BTreeSet::new();
    for number in 0..24 {
        let body = json!({"prompt": format!("number {number}"), "on_cut": "restart"});
        ids.insert(queued(&town, body).await);
    }
    for _ in 0..4 {
        let worker = Worker::start(&town);
        some_are_running(&town, 1).await;
        drop(worker);
    }
    let worker = Worker::start(&town);
    for id in &ids {
        let request = until_ended(&town, id).await;
        assert_eq!(request["status"], "completed", "{request}");
        let result = get(&town, &format!("/v1/requests/{id}/result")).await;
        let text = result["text"].as_str().unwrap();
        assert!(text.starts_with("You asked: number "), "{text}");
        let told = town
            .server
            .get(&town.server.agent_key, &format!("/v1/requests/{id}"))
            .await;
        let good = told["attempts"].as_array().unwrap().iter();
        let good = good.filter(|attempt| attempt["error"].is_null());
        assert_eq!(good.count(), 1, "{told}");
    }
    drop(worker);
    let ends = town.records("request_ended").await;
    let named: BTreeSet<&str> = ends
        .iter()
        .map(|end| end["detail"]["request_id"].as_str().unwrap())
        .collect();
    assert_eq!(
        (ends.len(), named.len()),
        (ids.len(), ids.len()),
        "each ends once"
    );
    // Whatever reached the model is in the ledger.
    let calls = town.calls().await.len();
    let mut attempts = 0;
    for id in &ids {
        let request = get(&town, &format!("/v1/requests/{id}")).await;
        attempts += request["attempts"].as_array().unwrap().len();
    }
    assert!(attempts >= calls, "{attempts} attempts for {calls} calls");
}

async fn until_ended(town: &Town, id: &str) -> Value {
    let path = format!("/v1/requests/{id}");
    let waited = async {
        let mut turns = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            turns.tick().await;
            let seen = get(town, &path).await;
            if !["pending", "running"].contains(&seen["status"].as_str().unwrap()) {
                return seen;
            }
        }
    };
    let longest = std::time::Duration::from_secs(90);
    tokio::time::timeout(longest, waited)
        .await
        .expect("it never ended")
}

#[tokio::test]
async fn a_half_told_answer_fails_or_begins_anew_as_its_caller_said() {
    let town = Town::with(&NO_WORKERS).await;
    let drip = json!({"kind": "drip", "delay_ms": 400, "count": 2});
    town.arm(drip).await;
    let words = "word ".repeat(100);
    let fails = queued(&town, json!({"prompt": words})).await;
    let restarts = queued(&town, json!({"prompt": words, "on_cut": "restart"})).await;
    let worker = Worker::start(&town);
    for id in [&fails, &restarts] {
        until(async || {
            let seen = get(&town, &format!("/v1/requests/{id}")).await;
            (seen["last_event"].as_u64()? > 3).then_some(())
        })
        .await;
    }
    drop(worker);
    let failed = ended(&town, &fails).await;
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("failed"), &json!("cut"))
    );
    assert_eq!(failed["attempts"][0]["estimated"], true);
    assert_ne!(failed["cost_nanos"], 0);
    let worker = Worker::start(&town);
    let request = until_ended(&town, &restarts).await;
    assert_eq!(request["status"], "completed", "{request}");
    let result = get(&town, &format!("/v1/requests/{restarts}/result")).await;
    assert_eq!(
        result["text"].as_str().unwrap(),
        format!("You asked: {}", words.chars().take(400).collect::<String>())
    );
    drop(worker);
}

#[tokio::test]
async fn a_caller_whose_server_was_killed_has_paid_for_what_was_used() {
    let town = Town::with(&[("HUNDI_REQUESTS_LEASE_SECS", "3")]).await;
    let mut town = town;
    town.arm(json!({"kind": "drip", "delay_ms": 300})).await;
    let body = json!({"model": "sandbox", "stream": true, "messages":
        [{"role": "user", "content": "word ".repeat(200)}]});
    let answer = town
        .post("/v1/chat/completions", &body)
        .send()
        .await
        .unwrap();
    let id = answer.headers()["x-hundi-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    until(async || {
        let seen = get(&town, &format!("/v1/requests/{id}")).await;
        (seen["last_event"].as_u64()? > 1).then_some(())
    })
    .await;
    town.server.process().kill();
    town.server = town.server.again(&[("HUNDI_REQUESTS_LEASE_SECS", "3")]);
    let request = ended(&town, &id).await;
    assert_eq!(
        (&request["status"], &request["error"]["code"]),
        (&json!("failed"), &json!("worker_lost"))
    );
    assert_eq!(request["attempts"][0]["estimated"], true);
    assert_ne!(request["cost_nanos"], 0);
}

#[tokio::test]
async fn what_a_killed_node_had_in_hand_another_answers() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let town = Town {
        server: cluster.node("a", &NO_WORKERS),
    };
    let slow = json!({"kind": "slow", "operation": "model", "count": 6, "delay_ms": 5_000});
    town.arm(slow).await;
    let lease = ("HUNDI_REQUESTS_LEASE_SECS", "3");
    let mut ids = Vec::new();
    for number in 0..6 {
        ids.push(queued(&town, json!({"prompt": format!("number {number}")})).await);
    }
    let mut second = cluster.node("b", &[lease]);
    some_are_running(&town, 2).await;
    second.process().kill();
    let third = cluster.node("c", &[lease]);
    for id in &ids {
        let request = until_ended(&town, id).await;
        assert_eq!(request["status"], "completed", "{request}");
    }
    let ends = town.records("request_ended").await;
    assert_eq!(ends.len(), ids.len(), "each ends once");
    let usage = town
        .server
        .get(&town.server.admin_key, "/v1/usage?by=agent")
        .await;
    let mut bill = 0;
    for id in &ids {
        bill += get(&town, &format!("/v1/requests/{id}")).await["cost_nanos"]
            .as_u64()
            .unwrap();
    }
    assert_eq!(
        usage["total"]["cost_nanos"], bill,
        "the sum of rows is the bill"
    );
    drop(third);
}
