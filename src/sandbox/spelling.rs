//! How the sandbox's model spells its answers, in each format of real providers. Written apart from
//! the connector that reads them, so that the two do not share a mistake.

use axum::response::Response;
use serde_json::{Value, json};

use super::http::{code, json_text};
use super::saying::{Answer, Question};

/// A format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wire {
    OpenAi,
    Anthropic,
    Ollama,
}

/// The one id and moment of every answer: nothing here depends on when it is asked.
const ID: &str = "chatcmpl-sandbox";
const CREATED: u64 = 1_767_225_600;
const CALL: &str = "call_sandbox_1";

impl Wire {
    pub fn name(self) -> &'static str {
        match self {
            Wire::OpenAi => "openai",
            Wire::Anthropic => "anthropic",
            Wire::Ollama => "ollama",
        }
    }

    pub fn media(self) -> &'static str {
        match self {
            Wire::OpenAi | Wire::Anthropic => "text/event-stream",
            Wire::Ollama => "application/x-ndjson",
        }
    }

    pub fn error(self, status: u16, kind: &str, words: &str) -> Response {
        let body = match self {
            Wire::OpenAi => json!({"error": {"message": words, "type": kind, "code": kind}}),
            Wire::Anthropic => {
                json!({"type": "error", "error": {"type": kind, "message": words}})
            }
            Wire::Ollama => json!({ "error": words }),
        };
        json_text(code(status), body.to_string())
    }

    /// One event with this data.
    pub fn frame(self, data: &str) -> String {
        match self {
            Wire::OpenAi | Wire::Anthropic => format!("data: {data}\n\n"),
            Wire::Ollama => format!("{data}\n"),
        }
    }

    fn named(self, event: &Value) -> String {
        let kind = event["type"].as_str().unwrap_or_default();
        format!("event: {kind}\n{}", self.frame(&event.to_string()))
    }

    pub fn error_frame(self) -> String {
        let error = json!({
            "type": "error",
            "error": {"type": "overloaded_error", "message": "overloaded", "code": "server_error"},
        });
        match self {
            Wire::Anthropic => self.named(&error),
            Wire::OpenAi | Wire::Ollama => self.frame(&error.to_string()),
        }
    }

    /// An answer in one piece.
    pub fn whole(self, question: &Question, answer: &Answer) -> Value {
        match self {
            Wire::OpenAi => {
                let mut message = json!({"role": "assistant", "content": answer.text()});
                if let Some((name, arguments)) = &answer.call {
                    message["content"] = Value::Null;
                    message["tool_calls"] = json!([{
                        "id": CALL, "type": "function",
                        "function": {"name": name, "arguments": arguments.to_string()},
                    }]);
                }
                json!({
                    "id": ID, "object": "chat.completion", "created": CREATED,
                    "model": question.model,
                    "choices": [{"index": 0, "message": message, "finish_reason": finish(answer)}],
                    "usage": openai_usage(answer),
                })
            }
            Wire::Anthropic => {
                let content = match &answer.call {
                    Some((name, input)) => {
                        json!([{"type": "tool_use", "id": CALL, "name": name, "input": input}])
                    }
                    None => json!([{"type": "text", "text": answer.text()}]),
                };
                json!({
                    "id": "msg_sandbox", "type": "message", "role": "assistant",
                    "model": question.model, "content": content,
                    "stop_reason": stop_reason(answer), "stop_sequence": null,
                    "usage": {"input_tokens": answer.read, "output_tokens": answer.written},
                })
            }
            Wire::Ollama => ollama_line(question, answer, &answer.text(), true),
        }
    }

    /// An answer in pieces, the last event included.
    pub fn frames(self, question: &Question, answer: &Answer) -> Vec<String> {
        match self {
            Wire::OpenAi => openai_frames(question, answer),
            Wire::Anthropic => anthropic_frames(question, answer),
            Wire::Ollama => {
                let words = answer.words.iter();
                let mut lines: Vec<Value> = words
                    .map(|word| ollama_line(question, answer, word, false))
                    .collect();
                lines.push(ollama_line(question, answer, "", true));
                lines
                    .iter()
                    .map(|line| self.frame(&line.to_string()))
                    .collect()
            }
        }
    }
}

fn openai_usage(answer: &Answer) -> Value {
    json!({
        "prompt_tokens": answer.read, "completion_tokens": answer.written,
        "total_tokens": answer.read + answer.written,
    })
}

fn finish(answer: &Answer) -> &'static str {
    match (&answer.call, answer.cut) {
        (Some(_), _) => "tool_calls",
        (None, true) => "length",
        (None, false) => "stop",
    }
}

fn stop_reason(answer: &Answer) -> &'static str {
    match (&answer.call, answer.cut) {
        (Some(_), _) => "tool_use",
        (None, true) => "max_tokens",
        (None, false) => "end_turn",
    }
}

fn openai_frames(question: &Question, answer: &Answer) -> Vec<String> {
    let wire = Wire::OpenAi;
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": ID, "object": "chat.completion.chunk", "created": CREATED,
            "model": question.model, "choices": choices, "usage": usage,
        });
        wire.frame(&chunk.to_string())
    };
    let delta = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        chunk(json!([choice]), Value::Null)
    };
    let mut frames = vec![delta(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    let words = answer.words.iter();
    frames.extend(words.map(|word| delta(json!({ "content": word }), Value::Null)));
    if let Some((name, arguments)) = &answer.call {
        let begun = json!({"tool_calls": [{
            "index": 0, "id": CALL, "type": "function",
            "function": {"name": name, "arguments": ""},
        }]});
        frames.push(delta(begun, Value::Null));
        for part in halves(&arguments.to_string()) {
            let more = json!({"tool_calls": [{"index": 0, "function": {"arguments": part}}]});
            frames.push(delta(more, Value::Null));
        }
    }
    frames.push(delta(json!({}), json!(finish(answer))));
    frames.push(chunk(json!([]), openai_usage(answer)));
    frames.push(wire.frame("[DONE]"));
    frames
}

fn halves(text: &str) -> [&str; 2] {
    let middle = (0..=text.len() / 2)
        .rev()
        .find(|at| text.is_char_boundary(*at));
    let (a, b) = text.split_at(middle.unwrap_or(0));
    [a, b]
}

fn anthropic_frames(question: &Question, answer: &Answer) -> Vec<String> {
    let mut events = vec![json!({"type": "message_start", "message": {
        "id": "msg_sandbox", "type": "message", "role": "assistant", "model": question.model,
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": answer.read, "output_tokens": 1},
    }})];
    let block = match &answer.call {
        Some((name, _)) => json!({"type": "tool_use", "id": CALL, "name": name, "input": {}}),
        None => json!({"type": "text", "text": ""}),
    };
    events.push(json!({"type": "content_block_start", "index": 0, "content_block": block}));
    events.push(json!({"type": "ping"}));
    let delta = |delta: Value| json!({"type": "content_block_delta", "index": 0, "delta": delta});
    for word in &answer.words {
        events.push(delta(json!({"type": "text_delta", "text": word})));
    }
    if let Some((_, arguments)) = &answer.call {
        for part in halves(&arguments.to_string()) {
            events.push(delta(
                json!({"type": "input_json_delta", "partial_json": part}),
            ));
        }
    }
    events.push(json!({"type": "content_block_stop", "index": 0}));
    events.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(answer), "stop_sequence": null},
        "usage": {"output_tokens": answer.written},
    }));
    events.push(json!({"type": "message_stop"}));
    events
        .iter()
        .map(|event| Wire::Anthropic.named(event))
        .collect()
}

fn ollama_line(question: &Question, answer: &Answer, word: &str, done: bool) -> Value {
    let mut message = json!({"role": "assistant", "content": word});
    if let (Some((name, arguments)), true) = (&answer.call, done) {
        let function = json!({"name": name, "arguments": arguments});
        message["tool_calls"] = json!([{ "function": function }]);
    }
    let mut line = json!({
        "model": question.model, "created_at": "2026-01-01T00:00:00Z",
        "message": message, "done": done,
    });
    if done {
        line["done_reason"] = json!(if answer.cut { "length" } else { "stop" });
        line["prompt_eval_count"] = json!(answer.read);
        line["eval_count"] = json!(answer.written);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_has_its_last_event() {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        for (wire, last) in [
            (Wire::OpenAi, "[DONE]"),
            (Wire::Anthropic, "message_stop"),
            (Wire::Ollama, "\"done\":true"),
        ] {
            let question = Question::read(wire, &body).unwrap();
            let frames = wire.frames(&question, &Answer::to(&question));
            assert!(frames.last().unwrap().contains(last), "{wire:?}");
        }
    }
}
