//! What a caller asks a provider of his own format reaches it as he wrote it, and what it answers comes
//! back as it was written; what cannot be said in another format is refused.

use serde_json::{Value, json};

use super::mirror::{Mirrored, annotations, blocks, logprobs};
use super::queue::{ended, queued};
use super::town::{Answer, answer, said};

#[tokio::test]
async fn what_is_asked_arrives_as_it_was_written() {
    let mirrored = Mirrored::new().await;
    mirrored.register("one", "openai", &["m"]).await;
    mirrored.register("two", "anthropic", &["c"]).await;
    let town = &mirrored.town;
    let function = json!({"name": "look", "description": "Looks.", "strict": true,
        "parameters": {"type": "object", "properties": {}, "additionalProperties": false}});
    let body = json!({
        "model": "m", "user": "u",
        "messages": [
            {"role": "user", "name": "ana", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": null, "function_call": {"name": "look", "arguments": "{}"}},
            {"role": "function", "name": "look", "content": "a cat"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "x", "name": "sh"},
        ],
        "tools": [{"type": "function", "function": function}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d",
            "strict": false, "schema": {"type": "object"}}},
        "logprobs": true,
    });
    assert_eq!(town.chat(body.clone()).await.status, 200);
    let told = mirrored.last();
    for field in ["messages", "tools", "response_format", "logprobs"] {
        assert_eq!(told[field], body[field], "{field}");
    }
    // A tool that is none of a function goes on with all its fellows, and so does what chooses it.
    let custom = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}, {"type": "custom", "custom": {"name": "sh"}}]);
    let choice = json!({"type": "custom", "custom": {"name": "sh"}});
    let body =
        json!({"model": "m", "messages": said("hi"), "tools": custom, "tool_choice": choice});
    assert_eq!(town.chat(body).await.status, 200);
    let told = mirrored.last();
    assert_eq!((&told["tools"], &told["tool_choice"]), (&custom, &choice));
    // Whether a schema is strict is said as it was, and not said where it was not.
    for strict in [json!(true), json!(false), Value::Null] {
        let mut schema = json!({"name": "n", "schema": {"type": "object"}});
        let mut function = json!({"name": "f", "parameters": {"type": "object"}});
        if !strict.is_null() {
            schema["strict"] = strict.clone();
            function["strict"] = strict.clone();
        }
        let body = json!({"model": "m", "messages": said("hi"), "tools": [{"type": "function", "function": function}],
            "response_format": {"type": "json_schema", "json_schema": schema}});
        assert_eq!(town.chat(body.clone()).await.status, 200);
        let told = mirrored.last();
        assert_eq!(told["response_format"], body["response_format"]);
        assert_eq!(told["tools"], body["tools"]);
    }
    // In another format it is refused by name, and nothing is asked.
    let before = mirrored.count();
    let named =
        json!({"model": "c", "messages": [{"role": "user", "name": "ana", "content": "hi"}]});
    let told = town.chat(named).await;
    assert_eq!(told.status, 400, "{}", told.text);
    assert!(told.text.contains("messages[0].name"), "{}", told.text);
    assert_eq!(mirrored.count(), before);
    // That a tool failed has no word in this format, and is said in front.
    let failed = json!({"type": "tool_result", "tool_use_id": "t", "content": "no such order", "is_error": true});
    let call = json!({"type": "tool_use", "id": "t", "name": "look", "input": {}});
    let body = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": [call]}, {"role": "user", "content": [failed]},
    ]});
    assert_eq!(town.messages(body).await.status, 200);
    let messages = mirrored.last()["messages"].clone();
    assert_eq!(messages[2]["content"], "Error: no such order", "{messages}");
}

/// The blocks of a streamed message, put together as official packages do.
fn assembled(told: &Answer) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    let mut inputs: Vec<String> = Vec::new();
    for event in told.events() {
        let index = usize::try_from(event["index"].as_u64().unwrap_or(0)).unwrap();
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(index, blocks.len());
                blocks.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let (delta, block) = (&event["delta"], &mut blocks[index]);
                for field in ["text", "thinking", "signature"] {
                    if let Some(more) = delta[field].as_str() {
                        let so_far = block[field].as_str().unwrap_or_default();
                        block[field] = json!(format!("{so_far}{more}"));
                    }
                }
                if delta["type"] == "citations_delta" {
                    block["citations"] = json!([delta["citation"]]);
                }
                inputs[index].push_str(delta["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" if !inputs[index].is_empty() => {
                blocks[index]["input"] = serde_json::from_str(&inputs[index]).unwrap();
            }
            _ => {}
        }
    }
    blocks
}

#[tokio::test]
async fn what_is_answered_comes_back_as_it_was_written() {
    let mirrored = Mirrored::new().await;
    mirrored.register("one", "openai", &["m"]).await;
    mirrored.register("two", "anthropic", &["c"]).await;
    let town = &mirrored.town;
    let body = |stream: bool| json!({"model": "m", "messages": said("hi"), "logprobs": true, "stream": stream});
    let whole = town.chat(body(false)).await.json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["logprobs"], logprobs(), "{whole}");
    assert_eq!(choice["message"]["annotations"], annotations(), "{whole}");
    assert_eq!(whole["system_fingerprint"], "fp_1", "{whole}");
    let chunks = town.chat(body(true)).await.events();
    let of = |find: fn(&Value) -> &Value| {
        let mut all = chunks.iter().map(find).filter(|value| !value.is_null());
        all.next().cloned().unwrap_or_default()
    };
    assert_eq!(of(|chunk| &chunk["choices"][0]["logprobs"]), logprobs());
    assert_eq!(
        of(|chunk| &chunk["choices"][0]["delta"]["annotations"]),
        annotations()
    );
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["system_fingerprint"] == "fp_1"),
        "{chunks:?}"
    );

    let body = |stream: bool| json!({"model": "c", "max_tokens": 9, "messages": said("hi"), "stream": stream});
    let whole = town.messages(body(false)).await.json();
    assert_eq!(whole["content"], blocks(), "{whole}");
    assert_eq!(
        (&whole["stop_reason"], &whole["stop_sequence"]),
        (&json!("stop_sequence"), &json!("END"))
    );
    let told = town.messages(body(true)).await;
    assert_eq!(json!(assembled(&told)), blocks(), "{}", told.text);
    let events = told.events();
    let last = events
        .iter()
        .find(|event| event["type"] == "message_delta")
        .unwrap();
    assert_eq!(last["delta"]["stop_sequence"], "END");
    // A caller of the other format gets the words.
    let chat = town
        .chat(json!({"model": "c", "messages": said("hi")}))
        .await
        .json();
    assert_eq!(
        chat["choices"][0]["message"]["content"], "let me lookdone",
        "{chat}"
    );
}

#[tokio::test]
async fn what_a_provider_reports_of_a_useless_answer_is_paid() {
    let mirrored = Mirrored::new().await;
    mirrored
        .register("one", "openai", &["silent", "choiceless"])
        .await;
    let town = &mirrored.town;
    // 3 tokens read at 1, and 2000 written at 2 dollars a million.
    let paid = 3_000 + 2_000 * 2_000;
    for model in ["silent", "choiceless"] {
        let told = town
            .chat(json!({"model": model, "messages": said("hi")}))
            .await;
        assert_eq!(told.status, 502, "{}", told.text);
        let (_, requests) = mirrored
            .admin("GET", "/v1/requests?limit=1", Value::Null)
            .await;
        let attempt = &requests["requests"][0]["attempts"][0];
        assert_eq!(
            (&attempt["cost_nanos"], &attempt["estimated"]),
            (&json!(paid), &json!(false)),
            "{model}: {attempt}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_a_provider_cuts_begins_anew_where_its_owner_allows_it() {
    let mirrored = Mirrored::new().await;
    mirrored.register("one", "openai", &["cut"]).await;
    mirrored.register("two", "openai", &["cut"]).await;
    let town = &mirrored.town;
    let body = |on_cut: &str| json!({"prompt": "hi", "model": "cut", "on_cut": on_cut, "provider_hint": "one"});
    let id = queued(town, body("fail")).await;
    let request = ended(town, &id).await;
    assert_eq!(
        (
            &request["status"],
            request["attempts"].as_array().unwrap().len()
        ),
        (&json!("failed"), 1),
        "{request}"
    );
    let id = queued(town, body("restart")).await;
    let request = ended(town, &id).await;
    assert_eq!(request["status"], "completed", "{request}");
    let url = format!("{}/v1/requests/{id}/events", town.server.url);
    let told = answer(
        town.server
            .http
            .get(url)
            .bearer_auth(&town.server.agent_key),
    )
    .await;
    let told = super::queue::events(&told);
    let names: Vec<&str> = told.iter().map(|(_, name, _)| name.as_str()).collect();
    let restarted = names
        .iter()
        .position(|name| *name == "restarted")
        .unwrap_or_else(|| panic!("{names:?}"));
    assert_eq!(names[restarted + 1], "fallback", "{names:?}");
    let url = format!("{}/v1/requests/{id}/result", town.server.url);
    let result = answer(
        town.server
            .http
            .get(url)
            .bearer_auth(&town.server.agent_key),
    )
    .await;
    assert_eq!(result.json()["text"], "whole", "{}", result.text);
}

#[tokio::test]
async fn a_request_may_be_long_and_keeps_its_conversation() {
    let mirrored = Mirrored::new().await;
    mirrored.register("one", "openai", &["m"]).await;
    let town = &mirrored.town;
    let long = "word ".repeat(400_000);
    let told = answer(town.post("/v1/requests", &json!({"prompt": long, "model": "m"}))).await;
    assert_eq!(told.status, 202, "{}", told.text);
    // What was found is named where it was written.
    let key = format!("sk_{}_{}", "live", "4eC39HqLyjWDarjtT1zdp7dc");
    let told = answer(town.post("/v1/requests", &json!({"prompt": format!("use {key}")}))).await;
    assert_eq!(told.status, 400, "{}", told.text);
    assert!(
        told.text.contains("/prompt") && !told.text.contains("/messages"),
        "{}",
        told.text
    );
    let ask = |name: String| {
        let body = json!({"model": "m", "input": "hi"});
        town.post("/v1/responses", &body)
            .header("hundi-conversation", name)
    };
    let told = answer(ask("case-7".to_owned())).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let id = told.header("x-hundi-request-id");
    let result = town
        .server
        .get(&town.server.agent_key, &format!("/v1/requests/{id}/result"))
        .await;
    assert_eq!(result["metadata"]["conversation"], "case-7", "{result}");
    assert_eq!(answer(ask("x".repeat(400))).await.status, 400);
    for (body, words) in [
        (
            json!({"name": "k", "base_url": "https://example.com/v1", "key": ""}),
            "`key`",
        ),
        (
            json!({"name": "k", "base_url": "https://example.com/v1", "key": "x\ny"}),
            "`key`",
        ),
        (
            json!({"name": "k", "base_url": "https://example.com/v1", "models": [""]}),
            "`models`",
        ),
        (
            json!({"name": "k", "base_url": "https://example.com/v1", "models": ["a", "a"]}),
            "`models`",
        ),
    ] {
        let (status, told) = mirrored.admin("POST", "/v1/providers", body).await;
        assert_eq!(status, 400, "{told}");
        assert!(told.to_string().contains(words), "{told}");
    }
}
