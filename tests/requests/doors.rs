//! The doors of models: what official packages send, and what they get back.

use serde_json::{Value, json};

use super::town::{Town, answer, said};

#[tokio::test]
async fn a_chat_is_answered_whole_with_its_figures() {
    let town = Town::new().await;
    let body = json!({"model": "auto", "messages": said("hello there")});
    let told = town.chat(body).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let chat = told.json();
    assert_eq!(chat["object"], "chat.completion");
    let choice = &chat["choices"][0];
    assert_eq!(choice["message"]["content"], "You asked: hello there");
    assert_eq!(choice["finish_reason"], "stop");
    let usage = &chat["usage"];
    assert_eq!(usage["completion_tokens"], 4);
    let id = told.header("x-hundi-request-id");
    assert_eq!(chat["id"], format!("chatcmpl-{id}"));
    // 3 tokens read at 0.15 and 4 written at 0.6 dollars a million.
    let nanos = usage["prompt_tokens"].as_u64().unwrap() * 150 + 4 * 600;
    let cost: f64 = told.header("x-hundi-cost-usd").parse().unwrap();
    assert_eq!((cost * 1e9).round() as u64, nanos);
    let ended = &town.records("request_ended").await[0];
    assert_eq!(ended["detail"]["request_id"], id);
    assert_eq!(ended["detail"]["state"], "completed");
    assert_eq!(ended["detail"]["cost_usd"], told.header("x-hundi-cost-usd"));
    assert!(
        !town
            .server
            .get(&town.server.admin_key, "/v1/audit")
            .await
            .to_string()
            .contains("hello there")
    );
}

#[tokio::test]
async fn a_chat_comes_in_pieces_and_ends_with_its_figures() {
    let town = Town::new().await;
    let body = json!({
        "model": "sandbox", "stream": true, "stream_options": {"include_usage": true},
        "messages": said("hello there"),
    });
    let told = town.chat(body).await;
    assert_eq!(told.status, 200);
    assert!(told.header("content-type").starts_with("text/event-stream"));
    assert!(told.text.trim_end().ends_with("data: [DONE]"));
    let chunks = told.events();
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "You asked: hello there");
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 4);
    assert_eq!(
        last["hundi"]["request_id"],
        told.header("x-hundi-request-id")
    );
    assert!(
        last["hundi"]["cost_usd"]
            .as_str()
            .unwrap()
            .starts_with("0.0")
    );
    let finish = &chunks[chunks.len() - 2]["choices"][0]["finish_reason"];
    assert_eq!(finish, "stop");
}

#[tokio::test]
async fn messages_are_answered_whole_and_in_pieces_under_either_key_header() {
    let town = Town::new().await;
    let url = format!("{}/v1/messages", town.server.url);
    let body = |stream: bool| {
        json!({
            "model": "sandbox", "max_tokens": 64, "stream": stream, "system": "be kind",
            "messages": said("good morning"),
        })
    };
    let ask = |stream: bool| {
        let sent = town.server.http.post(&url).json(&body(stream));
        answer(
            sent.header("x-api-key", &town.server.agent_key)
                .header("anthropic-version", "2023-06-01"),
        )
    };
    let whole = ask(false).await;
    assert_eq!(whole.status, 200, "{}", whole.text);
    let message = whole.json();
    assert_eq!(message["type"], "message");
    assert_eq!(message["content"][0]["text"], "You asked: good morning");
    assert_eq!(message["stop_reason"], "end_turn");
    assert!(message["usage"]["input_tokens"].as_u64().unwrap() > 0);
    assert!(!whole.header("x-hundi-cost-usd").is_empty());
    let streamed = ask(true).await;
    let events = streamed.events();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds[..2], ["message_start", "content_block_start"]);
    assert_eq!(
        kinds[kinds.len() - 3..],
        ["content_block_stop", "message_delta", "message_stop"]
    );
    let text: String = events
        .iter()
        .filter_map(|event| event["delta"]["text"].as_str())
        .collect();
    assert_eq!(text, "You asked: good morning");
}

#[tokio::test]
async fn a_response_is_answered_whole_and_in_pieces() {
    let town = Town::new().await;
    let body = |stream: bool| json!({"model": "auto", "stream": stream, "input": "hello there"});
    let whole = answer(town.post("/v1/responses", &body(false))).await;
    assert_eq!(whole.status, 200, "{}", whole.text);
    let response = whole.json();
    assert_eq!(response["status"], "completed");
    assert_eq!(
        response["output"][0]["content"][0]["text"],
        "You asked: hello there"
    );
    assert_eq!(response["usage"]["output_tokens"], 4);
    let streamed = answer(town.post("/v1/responses", &body(true))).await;
    let events = streamed.events();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    assert_eq!(events[0]["type"], "response.created");
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    let said = &last["response"]["output"][0]["content"][0]["text"];
    assert_eq!(said, "You asked: hello there");
    let text: String = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(text, "You asked: hello there");
}

#[tokio::test]
async fn tools_pass_through_in_both_formats() {
    let town = Town::new().await;
    let schema = json!({
        "type": "object", "required": ["amount", "to"],
        "properties": {"amount": {"type": "integer"}, "to": {"type": "string"}},
    });
    let words = "transfer 500 to \"acct_1\"";
    let function = json!({"name": "transfer_funds", "parameters": schema});
    let body = json!({
        "model": "auto", "messages": said(words),
        "tools": [{"type": "function", "function": function}],
    });
    let chat = town.chat(body.clone()).await.json();
    let call = &chat["choices"][0]["message"]["tool_calls"][0]["function"];
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"amount": 500, "to": "acct_1"}));
    assert_eq!(chat["choices"][0]["finish_reason"], "tool_calls");
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let streamed = town.chat(streamed).await;
    let arguments: String = streamed
        .events()
        .iter()
        .filter_map(|chunk| {
            let call = &chunk["choices"][0]["delta"]["tool_calls"][0];
            call["function"]["arguments"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(
        serde_json::from_str::<Value>(&arguments).unwrap()["amount"],
        500
    );
    let body = json!({
        "model": "auto", "max_tokens": 100, "messages": said(words),
        "tools": [{"name": "transfer_funds", "input_schema": schema}],
    });
    let message = town.messages(body).await.json();
    assert_eq!(message["content"][0]["input"]["amount"], 500);
    assert_eq!(message["stop_reason"], "tool_use");
}

#[tokio::test]
async fn the_list_of_models_has_the_form_of_whoever_asks() {
    let town = Town::new().await;
    let url = format!("{}/v1/models", town.server.url);
    let get = || {
        town.server
            .http
            .get(&url)
            .bearer_auth(&town.server.agent_key)
    };
    let openai = answer(get()).await.json();
    assert_eq!(openai["object"], "list");
    let named = |list: &Value, name: &str| {
        let models = list["data"].as_array().unwrap();
        models.iter().any(|model| model["id"] == name)
    };
    assert!(named(&openai, "auto") && named(&openai, "sandbox"));
    let anthropic = answer(get().header("anthropic-version", "2023-06-01"))
        .await
        .json();
    assert_eq!(anthropic["has_more"], false);
    assert_eq!(anthropic["data"][0]["type"], "model");
}

#[tokio::test]
#[rustfmt::skip]
async fn a_refusal_has_the_callers_own_form_and_names_the_request() {
    let town = Town::new().await;
    let ask = |path: &str, key: &str, body: Value| {
        let url = format!("{}{path}", town.server.url);
        let mut sent = town.server.http.post(url).json(&body);
        if !key.is_empty() {
            sent = sent.bearer_auth(key);
        }
        answer(sent)
    };
    let agent = town.server.agent_key.clone();
    let good = json!({"model": "auto", "max_tokens": 5, "messages": said("hi")});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (key, body, status, code) in [
        ("",        good.clone(),                                 401, "unauthenticated"),
        ("hk_x_y",  good.clone(),                                 401, "unauthenticated"),
        (&*agent,   with("model", json!("no-such-model")),        404, "model_not_found"),
        (&*agent,   with("messages", json!([])),                  400, "invalid_request"),
        (&*agent,   with("messages", json!("hi")),                400, "invalid_request"),
        (&*agent,   json!([1]),                                   400, "invalid_request"),
    ] {
        let openai = ask("/v1/chat/completions", key, body.clone()).await;
        let told = openai.json();
        assert_eq!((openai.status, &told["error"]["code"]), (status, &json!(code)), "{body}: {told}");
        assert!(told["error"]["type"].is_string() && told["error"]["message"].is_string());
        assert_eq!(openai.header("x-hundi-request-id").len(), 36);
        assert_eq!(openai.header("x-should-retry"), "false");
        let anthropic = ask("/v1/messages", key, body.clone()).await;
        let told = anthropic.json();
        assert_eq!((anthropic.status, &told["type"]), (status, &json!("error")), "{body}: {told}");
        assert_eq!(told["error"]["code"], code);
        assert_eq!(anthropic.header("x-hundi-request-id").len(), 36);
    }
    let approver = json!({"role": "approver", "name": "p"});
    let (_, made) = town.server.post(&town.server.admin_key, "/v1/keys", &approver).await.unwrap();
    let refused = ask("/v1/chat/completions", made["key"].as_str().unwrap(), good.clone()).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (403, &json!("forbidden")));
    let twice = town.server.http.post(format!("{}/v1/chat/completions", town.server.url));
    let twice = twice.bearer_auth(&agent).header("content-type", "application/json");
    let twice = answer(twice.body(r#"{"model":"auto","model":"auto","messages":[]}"#)).await;
    assert_eq!((twice.status, &twice.json()["error"]["code"]), (400, &json!("invalid_json")));
}

#[tokio::test]
async fn a_field_without_a_word_goes_on_to_a_provider_of_the_same_format_alone() {
    let town = Town::new().await;
    let body = json!({"model": "auto", "seed": 7, "messages": said("hi")});
    assert_eq!(town.chat(body).await.status, 200);
    assert_eq!(town.calls().await[0]["body"]["seed"], 7);
    let body = json!({"model": "auto", "max_tokens": 5, "top_k": 3, "messages": said("hi")});
    let refused = town.messages(body).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text.contains("`top_k`"), "{}", refused.text);
}

#[tokio::test]
async fn what_is_frozen_asks_nobody() {
    let town = Town::new().await;
    let freeze = json!({"scope": "all", "reason": "drill"});
    let admin = &town.server.admin_key;
    let (status, _) = town
        .server
        .post(admin, "/v1/freeze", &freeze)
        .await
        .unwrap();
    assert_eq!(status, 200);
    let refused = town
        .chat(json!({"model": "auto", "messages": said("hi")}))
        .await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (409, &json!("frozen"))
    );
    assert!(town.calls().await.is_empty());
    assert_eq!(town.records("request_refused").await[0]["reason"], "frozen");
}

#[tokio::test]
async fn texts_become_vectors_in_their_order_and_are_paid() {
    let town = Town::new().await;
    let body = json!({"model": "sandbox", "input": ["one two", "one two", "three"]});
    let told = answer(town.post("/v1/embeddings", &body)).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let data = told.json()["data"].clone();
    assert_eq!(data[0]["embedding"], data[1]["embedding"]);
    assert_ne!(data[0]["embedding"], data[2]["embedding"]);
    assert_ne!(told.header("x-hundi-cost-usd"), "0");
    let mut encoded = body;
    encoded["encoding_format"] = json!("base64");
    let encoded = answer(town.post("/v1/embeddings", &encoded)).await.json();
    assert!(encoded["data"][2]["embedding"].is_string());
    for bad in [json!([]), json!([""]), json!(7), json!([1, 2])] {
        let body = json!({"model": "sandbox", "input": bad});
        let refused = answer(town.post("/v1/embeddings", &body)).await;
        assert_eq!(refused.status, 400, "{bad}");
    }
}
