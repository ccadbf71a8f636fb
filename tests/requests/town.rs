//! A server and its model, and small ways to ask both.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::server::Server;

/// Longest that anything is waited for.
pub const WITHIN: Duration = Duration::from_secs(20);

/// An answer with its headers.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The data of each event of a stream.
    pub fn events(&self) -> Vec<Value> {
        let data = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

pub async fn answer(sent: reqwest::RequestBuilder) -> Answer {
    let answer = sent.send().await.unwrap();
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    }
}

pub struct Town {
    pub server: Server,
}

impl Town {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(env: &[(&str, &str)]) -> Self {
        let server = Server::start_with(env).await;
        Self { server }
    }

    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.server.url);
        self.server
            .http
            .post(url)
            .bearer_auth(&self.server.agent_key)
            .json(body)
    }

    pub async fn chat(&self, body: Value) -> Answer {
        answer(self.post("/v1/chat/completions", &body)).await
    }

    pub async fn messages(&self, body: Value) -> Answer {
        answer(self.post("/v1/messages", &body)).await
    }

    pub async fn arm(&self, faults: Value) {
        self.server.bank.arm(faults).await;
    }

    /// What reached the model.
    pub async fn calls(&self) -> Vec<Value> {
        let url = format!("{}/sandbox/models/calls", self.server.bank.url);
        let told = self.server.bank.http.get(url).send().await.unwrap();
        let told: Value = told.json().await.unwrap();
        told["calls"].as_array().unwrap().clone()
    }

    /// Records of this kind, the newest first.
    pub async fn records(&self, kind: &str) -> Vec<Value> {
        let page = self
            .server
            .get(&self.server.admin_key, "/v1/audit?limit=500")
            .await;
        let records = page["records"].as_array().unwrap().iter();
        records
            .filter(|record| record["kind"] == kind)
            .cloned()
            .collect()
    }

    pub async fn policy(&self, change: Value) {
        let agents = self.server.get(&self.server.admin_key, "/v1/agents").await;
        let agent = agents["agents"]
            .as_array()
            .unwrap()
            .iter()
            .find_map(|agent| agent["agent_id"].as_str().filter(|id| *id != "external"))
            .unwrap_or("agent")
            .to_owned();
        let url = format!("{}/v1/agents/{agent}/policy", self.server.url);
        let sent = self.server.http.patch(url);
        let sent = sent.bearer_auth(&self.server.admin_key).json(&change);
        let told = answer(sent).await;
        assert_eq!(told.status, 200, "{}", told.text);
    }
}

/// Asks again until `look` finds something.
pub async fn until<T, F: Future<Output = Option<T>>>(look: impl Fn() -> F) -> T {
    let asked = async {
        let mut turns = tokio::time::interval(Duration::from_millis(50));
        loop {
            turns.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(WITHIN, asked)
        .await
        .expect("it never happened")
}

pub fn said(words: &str) -> Value {
    json!([{"role": "user", "content": words}])
}
