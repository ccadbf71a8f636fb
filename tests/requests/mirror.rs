//! A provider that remembers what it was asked, and answers as the model's name says: in both formats
//! that official packages speak.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::town::{Town, answer};

/// Registered providers may be on this machine.
pub const PRIVATE: (&str, &str) = ("HUNDI_SOURCES_PRIVATE_ALLOWED", "127.0.0.0/8");

type Asked = Arc<Mutex<Vec<Value>>>;

/// A town whose models are the mirror's.
pub struct Mirrored {
    pub town: Town,
    pub url: String,
    asked: Asked,
}

impl Mirrored {
    pub async fn new() -> Self {
        let asked = Asked::default();
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/messages", post(messages))
            .with_state(asked.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let town = Town::with(&[PRIVATE]).await;
        Self { town, url, asked }
    }

    /// Registers the mirror as a provider of this kind with these models.
    pub async fn register(&self, name: &str, kind: &str, models: &[&str]) {
        let base = match kind {
            "openai" => format!("{}/v1", self.url),
            _ => self.url.clone(),
        };
        let body = json!({
            "name": name, "kind": kind, "base_url": base, "key": "k", "models": models,
            "allow_private": true, "prices": {"input": "1", "output": "2"},
        });
        let made = self.admin("POST", "/v1/providers", body).await;
        assert_eq!(made.0, 201, "{}", made.1);
    }

    pub async fn admin(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.town.server.url);
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let sent = self.town.server.http.request(method, url);
        let sent = sent.bearer_auth(&self.town.server.admin_key);
        let told = match body {
            Value::Null => answer(sent).await,
            body => answer(sent.json(&body)).await,
        };
        (told.status, told.json())
    }

    /// What the provider was asked last.
    pub fn last(&self) -> Value {
        self.asked.lock().unwrap().last().cloned().unwrap()
    }

    /// How often it was asked.
    pub fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn remember(asked: &Asked, body: &Bytes) -> Value {
    let body: Value = serde_json::from_slice(body).unwrap();
    asked.lock().unwrap().push(body.clone());
    body
}

fn stream(events: Vec<(&str, Value)>) -> Response {
    let told = events.into_iter().map(|(name, data)| match name {
        "" => format!("data: {data}\n\n"),
        name => format!("event: {name}\ndata: {data}\n\n"),
    });
    let kind = [("content-type", "text/event-stream")];
    (kind, told.collect::<String>()).into_response()
}

/// What its answers have besides words, where they are asked for.
pub fn logprobs() -> Value {
    json!({"content": [{"token": "hi", "logprob": -0.1, "bytes": null, "top_logprobs": []}], "refusal": null})
}

pub fn annotations() -> Value {
    json!([{"type": "url_citation", "url_citation": {"url": "http://x", "title": "t", "start_index": 0, "end_index": 1}}])
}

async fn chat(State(asked): State<Asked>, body: Bytes) -> Response {
    let body = remember(&asked, &body);
    let model = body["model"].as_str().unwrap();
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2000, "total_tokens": 2003});
    let whole = |message: Value, logprobs: Value| {
        json!({
            "id": "1", "object": "chat.completion", "model": model, "system_fingerprint": "fp_1",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": logprobs}],
            "usage": usage,
        })
    };
    match model {
        "silent" => whole(json!({"role": "assistant", "content": ""}), Value::Null)
            .to_string()
            .into_response(),
        "choiceless" => json!({"choices": [], "usage": usage})
            .to_string()
            .into_response(),
        "refuses" => {
            let words =
                json!({"error": {"message": "no such thing", "type": "invalid_request_error"}});
            (axum::http::StatusCode::BAD_REQUEST, words.to_string()).into_response()
        }
        // Twice it ends in the middle, and then it does not.
        "cut" => {
            let chunk = |text: &str| {
                let choice = json!({"index": 0, "delta": {"content": text}});
                json!({"id": "1", "object": "chat.completion.chunk", "model": model, "choices": [choice]})
            };
            let before = asked.lock().unwrap().len();
            match before {
                1 | 2 => stream(vec![("", chunk("hal"))]),
                _ => {
                    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage});
                    let text = format!(
                        "data: {}\n\ndata: {end}\n\ndata: [DONE]\n\n",
                        chunk("whole")
                    );
                    ([("content-type", "text/event-stream")], text).into_response()
                }
            }
        }
        _ if body["stream"] == true => {
            let chunk = |delta: Value, logprobs: Value, finish: Value| {
                json!({"id": "1", "object": "chat.completion.chunk", "model": model,
                    "system_fingerprint": "fp_1",
                    "choices": [{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]})
            };
            let end = json!({"choices": [], "usage": usage});
            let told = [
                chunk(
                    json!({"role": "assistant", "content": "hi"}),
                    logprobs(),
                    Value::Null,
                ),
                chunk(
                    json!({"annotations": annotations()}),
                    Value::Null,
                    Value::Null,
                ),
                chunk(json!({}), Value::Null, json!("stop")),
                end,
            ];
            let told = told.map(|chunk| format!("data: {chunk}\n\n")).concat();
            let kind = [("content-type", "text/event-stream")];
            (kind, told + "data: [DONE]\n\n").into_response()
        }
        _ => {
            let message =
                json!({"role": "assistant", "content": "hi", "annotations": annotations()});
            whole(message, logprobs()).to_string().into_response()
        }
    }
}

/// Blocks for which there is no word of ours, before and behind words.
pub fn blocks() -> Value {
    json!([
        {"type": "thinking", "thinking": "hmm", "signature": "s1"},
        {"type": "redacted_thinking", "data": "zzz"},
        {"type": "text", "text": "let me look"},
        {"type": "server_tool_use", "id": "st1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "st1", "content": []},
        {"type": "text", "text": "done", "citations": [{"type": "char_location", "cited_text": "x"}]},
    ])
}

async fn messages(State(asked): State<Asked>, body: Bytes) -> Response {
    let body = remember(&asked, &body);
    let usage = json!({"input_tokens": 3, "output_tokens": 2});
    let message = json!({
        "id": "m1", "type": "message", "role": "assistant", "model": body["model"], "content": blocks(),
        "stop_reason": "stop_sequence", "stop_sequence": "END", "usage": usage,
    });
    if body["stream"] != true {
        return message.to_string().into_response();
    }
    let mut start = message.clone();
    start["content"] = json!([]);
    (start["stop_reason"], start["stop_sequence"]) = (Value::Null, Value::Null);
    let mut events = vec![(
        "message_start",
        json!({"type": "message_start", "message": start}),
    )];
    let mut told = |kind: &'static str, index: usize, name: &str, value: Value| {
        let mut event = json!({"type": kind, "index": index});
        event[name] = value;
        events.push((kind, event));
    };
    for (index, block) in blocks().as_array().unwrap().iter().enumerate() {
        let mut begun = block.clone();
        let mut deltas = Vec::new();
        for (field, kind) in [
            ("thinking", "thinking_delta"),
            ("text", "text_delta"),
            ("signature", "signature_delta"),
        ] {
            if let Some(words) = block[field].as_str() {
                begun[field] = json!("");
                deltas.push(json!({"type": kind, field: words}));
            }
        }
        if let Some(cited) = block["citations"].as_array() {
            begun.as_object_mut().unwrap().remove("citations");
            deltas.push(json!({"type": "citations_delta", "citation": cited[0]}));
        }
        if block["type"] == "server_tool_use" {
            begun["input"] = json!({});
            deltas.push(
                json!({"type": "input_json_delta", "partial_json": block["input"].to_string()}),
            );
        }
        told("content_block_start", index, "content_block", begun);
        for delta in deltas {
            told("content_block_delta", index, "delta", delta);
        }
        told("content_block_stop", index, "_", Value::Null);
    }
    let delta = json!({"stop_reason": "stop_sequence", "stop_sequence": "END"});
    events.push((
        "message_delta",
        json!({"type": "message_delta", "delta": delta, "usage": usage}),
    ));
    events.push(("message_stop", json!({"type": "message_stop"})));
    stream(events)
}
