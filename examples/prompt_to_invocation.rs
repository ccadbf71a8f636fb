//! From words to a payment: a model reads what a person wants and asks for a tool; the call it asks
//! for is proposed, and committed only if it is allowed. The model pays nobody, and nobody pays on its
//! word: between the two stands the broker.
//!
//! Start `hundi serve --bootstrap keys.json`, then
//! `cargo run --example prompt_to_invocation -- keys.json "transfer 500 to \"acct_123\""`.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::error::Error;

use serde_json::{Value, json};

const USAGE: &str = "prompt_to_invocation KEYS.json \"transfer 500 to \\\"acct_123\\\"\"";

struct Broker {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Broker {
    async fn post(&self, path: &str, body: &Value) -> Result<Value, Box<dyn Error>> {
        let sent = self.http.post(format!("{}{path}", self.url));
        let answer = sent.bearer_auth(&self.key).json(body).send().await?;
        let (status, told) = (answer.status(), answer.json::<Value>().await?);
        if status.is_success() || status.as_u16() == 409 {
            return Ok(told);
        }
        Err(format!("{path}: {status} {told}").into())
    }

    /// The call that the model asks for, if it asks for one.
    async fn planned(&self, prompt: &str) -> Result<Option<(String, Value)>, Box<dyn Error>> {
        let parameters = json!({
            "type": "object", "required": ["amount", "to"],
            "properties": {
                "amount": {"type": "integer", "description": "in minor units"},
                "to": {"type": "string", "description": "the account that is paid"},
            },
        });
        let function = json!({
            "name": "transfer_funds", "description": "Pays somebody.", "parameters": parameters,
        });
        let asked = json!({
            "model": "auto",
            "messages": [{"role": "user", "content": prompt}],
            "tools": [{"type": "function", "function": function}],
        });
        let answer = self.post("/v1/chat/completions", &asked).await?;
        let message = &answer["choices"][0]["message"];
        let Some(call) = message["tool_calls"][0]["function"].as_object() else {
            println!("the model only said: {}", message["content"]);
            return Ok(None);
        };
        let name = call["name"].as_str().unwrap_or_default().to_owned();
        let arguments = call["arguments"].as_str().unwrap_or_default();
        Ok(Some((name, serde_json::from_str(arguments)?)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let (keys, prompt) = (given.next().ok_or(USAGE)?, given.next().ok_or(USAGE)?);
    let keys: Value = serde_json::from_str(&std::fs::read_to_string(keys)?)?;
    let text = |name: &str| keys[name].as_str().unwrap_or_default().to_owned();
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let broker = Broker {
        http: reqwest::Client::builder().build()?,
        url: text("url"),
        key: text("agent_key"),
    };
    let Some((tool, arguments)) = broker.planned(&prompt).await? else {
        return Ok(());
    };
    println!("the model asks for {tool} {arguments}");
    let proposal = json!({"tool": tool, "arguments": arguments, "prompt": prompt});
    let proposed = broker.post("/v1/proposals", &proposal).await?;
    println!("proposed: {} ({})", proposed["status"], proposed["reason"]);
    let (Some(id), Some(token)) = (
        proposed["proposal_id"].as_str(),
        proposed["commit_token"].as_str(),
    ) else {
        return Ok(());
    };
    let commit = json!({"commit_token": token, "arguments": arguments});
    let committed = broker
        .post(&format!("/v1/proposals/{id}/commit"), &commit)
        .await?;
    println!("committed: {} {}", committed["status"], committed["result"]);
    Ok(())
}
