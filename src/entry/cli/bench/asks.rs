//! Asking a model, by the doors of models: one question a cycle, answered whole, or queued and followed
//! to its end. And the same question through a bare relay, which is what these doors are compared with.
#![allow(
    clippy::float_arithmetic,
    reason = "speeds are estimates for people to read; none of them is an amount"
)]

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Client, Target};
use super::cpu::Cpu;
use super::{Door, count};

/// What is asked, and of which model.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The model, by the name that the provider has for it.
    pub model: &'a str,
    /// Who asks, and which question of his it is: no two are the same.
    pub number: (u16, u64),
}

impl Question<'_> {
    fn words(self) -> String {
        let (caller, number) = self.number;
        format!("bench {caller} {number}: name one colour of the sky")
    }

    fn chat(self) -> Value {
        json!({"model": self.model, "messages": [{"role": "user", "content": self.words()}]})
    }
}

/// Asks once, and waits for the answer.
pub async fn ask(
    client: &mut Client<'_>,
    door: Door,
    question: Question<'_>,
) -> Result<(), String> {
    match door {
        Door::Requests => queued(client, question).await,
        Door::Chat | Door::Rest | Door::Mcp | Door::Invoke => {
            whole(client, "/v1/chat/completions", question).await
        }
    }
}

async fn whole(client: &mut Client<'_>, path: &str, question: Question<'_>) -> Result<(), String> {
    let body = question.chat().to_string();
    let (status, body) = client.post(path, "", body.as_bytes()).await?;
    match serde_json::from_slice::<Completion>(body) {
        Ok(answer) if status == 200 && !answer.choices.is_empty() => Ok(()),
        Ok(_) | Err(_) => Err(complaint(status, body)),
    }
}

async fn queued(client: &mut Client<'_>, question: Question<'_>) -> Result<(), String> {
    let body = json!({"model": question.model, "prompt": question.words()}).to_string();
    let (status, body) = client.post("/v1/requests", "", body.as_bytes()).await?;
    let id = match serde_json::from_slice::<Queued>(body) {
        Ok(queued) if status == 202 => queued.request_id,
        Ok(_) | Err(_) => return Err(complaint(status, body)),
    };
    let (status, events) = client.get(&format!("/v1/requests/{id}/events")).await?;
    let is_answered = events
        .split(|byte| *byte == b'\n')
        .any(|line| line == b"event: completed");
    match is_answered {
        true => Ok(()),
        false => Err(format!("HTTP {status}, and it ended without an answer")),
    }
}

/// What a refusal says: its code alone, since its words may be others each time.
fn complaint(status: u16, body: &[u8]) -> String {
    let told: Option<Value> = serde_json::from_slice(body).ok();
    let code = told.as_ref().and_then(|told| {
        let code = told.get("code").or_else(|| told.get("error")?.get("code"));
        code?.as_str()
    });
    format!("HTTP {status}, {}", code.unwrap_or("no answer of a model"))
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Queued {
    request_id: String,
}

/// What a bare relay reached.
#[derive(Clone, Copy, Debug)]
pub struct Relayed {
    /// Answers a second.
    pub per_second: f64,
    /// Milliseconds of CPU that the machine spent on each, if it tells.
    pub cpu_ms: Option<f64>,
}

impl Relayed {
    /// The mean of two.
    pub fn between(self, other: Self) -> Self {
        let mean = |one: f64, other: f64| (one + other) / 2.0;
        Self {
            per_second: mean(self.per_second, other.per_second),
            cpu_ms: self
                .cpu_ms
                .zip(other.cpu_ms)
                .map(|(one, two)| mean(one, two)),
        }
    }
}

/// Asks through a relay, from so many callers for so long.
pub async fn through(
    relay: &Target,
    model: &str,
    callers: u16,
    time: Duration,
) -> Result<Relayed, String> {
    let (spent, start) = (Cpu::now(), Instant::now());
    let answered = Cell::new(0_u64);
    let asking = (0..callers).map(|caller| {
        let answered = &answered;
        async move {
            let mut client = Client::new(relay);
            let mut asked = 0;
            while start.elapsed() < time {
                let number = (caller, asked);
                whole(&mut client, "/chat/completions", Question { model, number }).await?;
                answered.set(answered.get() + 1);
                asked += 1;
            }
            Ok::<_, String>(())
        }
    });
    let ended: Result<Vec<()>, String> = join_all(asking).await.into_iter().collect();
    ended.map_err(|why| format!("the bare relay: {why}"))?;
    let took = start.elapsed();
    let busy = Cpu::now().zip(spent);
    let busy = busy.and_then(|(now, then)| now.since(then, took));
    let answers = count(answered.get().max(1));
    Ok(Relayed {
        per_second: answers / took.as_secs_f64(),
        cpu_ms: busy.map(|busy| busy.machine * took.as_secs_f64() * 1_000.0 / answers),
    })
}
