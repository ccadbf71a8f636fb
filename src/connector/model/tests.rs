//! Questions out and pieces in, in every format, and a table of what providers really send.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::requests::ask::{Content, Message, Role, Shape, ToolChoice, ToolSpec};

const FORMATS: [Format; 4] = [
    Format::OpenAi,
    Format::Responses,
    Format::Anthropic,
    Format::Ollama,
];

fn ask() -> Ask {
    Ask {
        model: "m".into(),
        messages: vec![
            Message::text(Role::System, "Be short."),
            Message::text(Role::User, "Weather?"),
            Message {
                role: Role::Assistant,
                content: vec![Content::ToolCall {
                    id: "c1".into(),
                    name: "weather".into(),
                    arguments: r#"{"city":"Pune"}"#.into(),
                }],
                ..Message::default()
            },
            Message {
                role: Role::Tool,
                content: vec![Content::ToolResult {
                    id: "c1".into(),
                    text: "31".into(),
                    is_error: false,
                }],
                ..Message::default()
            },
        ],
        tools: vec![ToolSpec {
            name: "weather".into(),
            description: "Tells it.".into(),
            schema: json!({"type": "object"}),
            strict: None,
        }],
        choice: Some(ToolChoice::Auto),
        max_tokens: Some(9),
        stream: true,
        ..Ask::default()
    }
}

fn body(format: Format, ask: &Ask) -> Value {
    format
        .request("https://h", ask, Manner::default())
        .unwrap()
        .body
}

#[test]
fn a_question_is_asked_in_the_words_of_its_format() {
    let function =
        json!({"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}});
    assert_eq!(
        body(Format::OpenAi, &ask()),
        json!({
            "model": "m", "max_tokens": 9, "stream": true, "stream_options": {"include_usage": true},
            "tool_choice": "auto", "tools": [{"type": "function", "function": function}],
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
                    "function": {"name": "weather", "arguments": "{\"city\":\"Pune\"}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "31"},
            ],
        })
    );
    assert_eq!(
        body(Format::Responses, &ask()),
        json!({
            "model": "m", "max_output_tokens": 9, "stream": true, "store": false, "tool_choice": "auto",
            "instructions": "Be short.",
            "tools": [{"type": "function", "name": "weather", "description": "Tells it.",
                "parameters": {"type": "object"}, "strict": false}],
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{\"city\":\"Pune\"}"},
                {"type": "function_call_output", "call_id": "c1", "output": "31"},
            ],
        })
    );
    assert_eq!(
        body(Format::Anthropic, &ask()),
        json!({
            "model": "m", "max_tokens": 9, "stream": true, "system": "Be short.",
            "tool_choice": {"type": "auto"},
            "tools": [{"name": "weather", "description": "Tells it.", "input_schema": {"type": "object"}}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Pune"}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "31", "is_error": false}]},
            ],
        })
    );
    assert_eq!(
        body(Format::Ollama, &ask()),
        json!({
            "model": "m", "stream": true, "options": {"num_predict": 9},
            "tools": [{"type": "function", "function": function}],
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"function": {"name": "weather", "arguments": {"city": "Pune"}}}]},
                {"role": "tool", "content": "31"},
            ],
        })
    );
}

#[test]
#[rustfmt::skip]
fn addresses_are_taken_as_people_give_them() {
    for (format, base, url) in [
        (Format::OpenAi,    "https://h/v1",        "https://h/v1/chat/completions"),
        (Format::OpenAi,    "https://h/v1/",       "https://h/v1/chat/completions"),
        (Format::OpenAi,    "http://h:8000",       "http://h:8000/v1/chat/completions"),
        (Format::OpenAi,    "https://h/v1/openai", "https://h/v1/openai/chat/completions"),
        (Format::Responses, "https://h/v1",        "https://h/v1/responses"),
        (Format::Anthropic, "https://h",           "https://h/v1/messages"),
        (Format::Anthropic, "https://h/v1/",       "https://h/v1/messages"),
        (Format::Anthropic, "https://h/anthropic", "https://h/anthropic/v1/messages"),
        (Format::Ollama,    "http://h:11434/",     "http://h:11434/api/chat"),
        (Format::Ollama,    "http://h:11434/api",  "http://h:11434/api/chat"),
    ] {
        let outgoing = format.request(base, &ask(), Manner::default()).unwrap();
        assert_eq!(outgoing.url, url, "{base}");
    }
    let bare = Manner { bare: true, completion_tokens: true };
    let outgoing = Format::OpenAi.request("https://h", &ask(), bare).unwrap();
    assert_eq!(outgoing.url, "https://h/chat/completions");
    assert_eq!(outgoing.body["max_completion_tokens"], 9);
    assert!(!format!("{outgoing:?}").contains("Weather"));
}

#[test]
fn what_a_format_has_no_words_for_is_refused_by_name() {
    let refused = |format: Format, change: fn(&mut Ask)| {
        let mut ask = ask();
        change(&mut ask);
        format
            .request("https://h", &ask, Manner::default())
            .err()
            .map(|wrong| wrong.0)
    };
    let extra: fn(&mut Ask) = |ask| {
        ask.written_in = Some(Format::OpenAi);
        ask.extra.insert("seed".into(), 7.into());
    };
    assert_eq!(refused(Format::OpenAi, extra), None);
    for format in [Format::Responses, Format::Anthropic, Format::Ollama] {
        assert!(
            refused(format, extra).unwrap().contains("`seed`"),
            "{format:?}"
        );
    }
    for format in FORMATS {
        assert!(
            refused(format, |ask| ask.messages.clear())
                .unwrap()
                .contains("`messages`")
        );
    }
    let several: fn(&mut Ask) = |ask| {
        ask.written_in = Some(Format::OpenAi);
        ask.extra.insert("n".into(), 2.into());
    };
    assert!(refused(Format::OpenAi, several).unwrap().contains("`n`"));
    let shaped: fn(&mut Ask) = |ask| ask.shape = Some(Shape::Json);
    assert!(
        refused(Format::Anthropic, shaped)
            .unwrap()
            .contains("`response_format`")
    );
    assert_eq!(refused(Format::Ollama, shaped), None);
    let stops: fn(&mut Ask) = |ask| ask.stop.push("x".into());
    assert!(
        refused(Format::Responses, stops)
            .unwrap()
            .contains("`stop`")
    );
    let named: fn(&mut Ask) = |ask| ask.choice = Some(ToolChoice::Any);
    assert!(
        refused(Format::Ollama, named)
            .unwrap()
            .contains("`tool_choice`")
    );
    let broken: fn(&mut Ask) = |ask| {
        ask.messages.push(Message {
            role: Role::Assistant,
            content: vec![Content::ToolCall {
                id: "c".into(),
                name: "t".into(),
                arguments: "{oops".into(),
            }],
            ..Message::default()
        });
    };
    assert!(
        refused(Format::Anthropic, broken)
            .unwrap()
            .contains("no JSON object")
    );
    assert_eq!(refused(Format::OpenAi, broken), None);
}

/// What was heard, in short: `T` text, `R` refusal, `H` thought, `C` call, `A` arguments, `#` counts,
/// `.` the end with its reason; then the failure.
fn told(pieces: &[Piece], ended: Result<(), Failure>) -> String {
    let mut told: Vec<String> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Started { .. }
            | Piece::Signature(_)
            | Piece::Sequence(_)
            | Piece::Part
            | Piece::Beside { .. }
            | Piece::Block { .. }
            | Piece::More(_) => None,
            Piece::Text(text) => Some(format!("T:{text}")),
            Piece::Refusal(text) => Some(format!("R:{text}")),
            Piece::Thought(text) => Some(format!("H:{text}")),
            Piece::ToolCall { index, id, name } => Some(format!("C{index}:{id}:{name}")),
            Piece::Arguments { index, part } => Some(format!("A{index}:{part}")),
            Piece::Counted(tokens) => Some(format!(
                "#{}/{}/{}/{}/{}",
                tokens.input,
                tokens.cached_input,
                tokens.cache_write,
                tokens.output,
                tokens.reasoning
            )),
            Piece::Stopped(stop) => Some(format!(".{}", stop.name())),
        })
        .collect();
    if let Err(failure) = ended {
        told.push(format!("!{}", failure.why.name()));
    }
    told.join(" ")
}

fn streamed(format: Format, parts: &[&[u8]]) -> String {
    let mut reader = Reader::new(format);
    let mut pieces = Vec::new();
    for part in parts {
        if let Err(failure) = reader.push(part, &mut pieces) {
            return told(&pieces, Err(failure));
        }
    }
    let ended = reader.end(&mut pieces);
    told(&pieces, ended)
}

/// Events as they are written in the tables below: one JSON a line.
fn events(format: Format, lines: &str) -> String {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    match format {
        Format::Ollama => lines.map(|line| format!("{line}\n")).collect(),
        Format::OpenAi | Format::Responses | Format::Anthropic => {
            lines.map(|line| format!("data: {line}\n\n")).collect()
        }
    }
}

#[rustfmt::skip]
const STREAMS: &[(Format, &str, &str)] = &[
    // Chat completions.
    (Format::OpenAi, r#"
        {"id":"a","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}
        {"id":"a","choices":[{"index":0,"delta":{"content":"Hel"}}]}
        {"id":"a","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}],"obfuscation":"x"}
        {"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
        {"id":"a","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}
        [DONE]
        {"this":"is not read"}"#, "T:Hel T:lo .done #6/4/0/3/2"),
    (Format::OpenAi, r#"
        {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":""}}]}}]}
        {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}}]}
        {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}},{"index":1,"id":"c2","function":{"name":"g","arguments":"{}"}}]}}]}
        {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}
        [DONE]"#, r#"C0:c1:f A0:{"a" A0::1} C1:c2:g A1:{} .tool_calls"#),
    (Format::OpenAi, r#"
        {"choices":[{"delta":{"reasoning_content":"hm"}}]}
        {"choices":[{"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}
        [DONE]"#, "H:hm T:a"),
    (Format::OpenAi, r#"
        {"choices":[{"delta":{"refusal":"no"},"finish_reason":"stop"}]}
        [DONE]"#, "R:no .done"),
    // Cut: before the last event, whatever came.
    (Format::OpenAi, r#"{"choices":[{"delta":{"content":"a"}}]}"#, "T:a !cut"),
    (Format::OpenAi, r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#, "T:a .done !cut"),
    (Format::OpenAi, "", "!empty"),
    (Format::OpenAi, "[DONE]", "!empty"),
    (Format::OpenAi, r#"
        {"choices":[{"delta":{"content":""},"finish_reason":"stop"}]}
        [DONE]"#, ".done !empty"),
    // Everything went into thought: no answer, and the reason is told.
    (Format::OpenAi, r#"
        {"choices":[{"delta":{"reasoning":"hm"},"finish_reason":"length"}]}
        [DONE]"#, "H:hm .max_tokens"),
    // Errors in the middle.
    (Format::OpenAi, r#"
        {"choices":[{"delta":{"content":"a"}}]}
        {"error":{"message":"slow down","code":429}}"#, "T:a !rate_limited"),
    (Format::OpenAi, r#"{"error":{"type":"server_error"}}"#, "!server_error"),
    (Format::OpenAi, r#"{"choices":[{"delta":{"content":"a"#, "!malformed"),
    (Format::OpenAi, "[]", "!malformed"),
    (Format::OpenAi, "7", "!malformed"),
    // Usage that lies: parts larger than the whole, negative, of no number.
    (Format::OpenAi, r#"
        {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":99,"cache_write_tokens":9},"completion_tokens_details":{"reasoning_tokens":7}}}
        [DONE]"#, "T:a #0/3/0/0/1"),
    (Format::OpenAi, r#"
        {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":-3,"completion_tokens":"1"}}
        [DONE]"#, "T:a"),
    (Format::OpenAi, r#"
        {"choices":[{"delta":{"content":[{"type":"text","text":"a"}]}}]}
        [DONE]"#, "T:a"),

    // Responses.
    (Format::Responses, r#"
        {"type":"response.created","sequence_number":0,"response":{"id":"r","model":"m","error":null}}
        {"type":"response.reasoning_summary_text.delta","delta":"hm"}
        {"type":"response.output_text.delta","output_index":0,"delta":"Hi"}
        {"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","call_id":"c","name":"f","arguments":""}}
        {"type":"response.function_call_arguments.delta","output_index":1,"delta":"{}"}
        {"type":"response.steer.unknown"}
        {"type":"response.completed","response":{"status":"completed","error":null,"output":[{"type":"function_call"}],"usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":2,"cache_write_tokens":3},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":1}}}}"#,
        "H:hm T:Hi C1:c:f A1:{} #4/2/3/4/1 .tool_calls"),
    (Format::Responses, r#"
        {"type":"response.output_text.delta","delta":"a"}
        {"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}}"#, "T:a .max_tokens"),
    (Format::Responses, r#"
        {"type":"response.output_text.delta","delta":"a"}
        [DONE]"#, "T:a !cut"),
    (Format::Responses, r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"x"}}}"#, "!rate_limited"),
    (Format::Responses, r#"{"type":"response.failed","response":{"status":"failed"}}"#, "!server_error"),
    (Format::Responses, r#"{"type":"error","code":"server_error","message":"x","param":null}"#, "!server_error"),
    (Format::Responses, r#"{"type":"response.completed","response":{"status":"completed"}}"#, ".done !empty"),
    (Format::Responses, r#"{"delta":"a"}"#, "!malformed"),

    // Messages.
    (Format::Anthropic, r#"
        {"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":10,"cache_read_input_tokens":5,"cache_creation_input_tokens":3,"output_tokens":1}}}
        {"type":"ping"}
        {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}
        {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}
        {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}
        {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}
        {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hi"}}
        {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}
        {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}
        {"type":"content_block_delta","index":2,"delta":{"type":"some_future_delta","x":1}}
        {"type":"content_block_stop","index":2}
        {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":7}}
        {"type":"message_stop"}"#,
        "#10/5/3/1/0 H:hm T:Hi C2:t:f A2:{} #10/5/3/7/0 .tool_calls"),
    (Format::Anthropic, r#"
        {"type":"message_start","message":{}}
        {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, "!server_error"),
    (Format::Anthropic, r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#, "!rate_limited"),
    (Format::Anthropic, r#"
        {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}
        {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#, "T:a #0/0/0/7/0 .done !cut"),
    (Format::Anthropic, r#"
        {"type":"message_delta","delta":{"stop_reason":"refusal"}}
        {"type":"message_stop"}"#, ".refused"),
    (Format::Anthropic, r#"{"type":"message_stop"}"#, "!empty"),

    // Ollama.
    (Format::Ollama, r#"
        {"model":"m","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}
        {"model":"m","message":{"role":"assistant","content":"Hi","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"done":false}
        {"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":9,"prompt_eval_cached_count":4,"eval_count":3}"#,
        r#"H:hm T:Hi C0:call_0:f A0:{"a":1} #5/4/0/3/0 .tool_calls"#),
    (Format::Ollama, r#"
        {"message":{"content":"a"},"done":false}
        {"error":"model runner has unexpectedly stopped"}"#, "T:a !server_error"),
    (Format::Ollama, r#"{"error":"model 'x' not found"}"#, "!refused"),
    (Format::Ollama, r#"{"message":{"content":"a"},"done":false}"#, "T:a !cut"),
    (Format::Ollama, r#"{"message":{"content":"a"},"done":true,"done_reason":"length"}"#, "T:a .max_tokens"),
    (Format::Ollama, r#"{"done":true}"#, ".done !empty"),
    (Format::Ollama, "{}", "!malformed"),
    (Format::Ollama, "<html>", "!malformed"),
];

#[test]
fn streams_are_heard_to_their_last_event_and_no_further() {
    for (format, lines, expected) in STREAMS {
        let text = events(*format, lines);
        assert_eq!(
            streamed(*format, &[text.as_bytes()]),
            *expected,
            "{format:?} {lines}"
        );
    }
}

#[test]
fn it_does_not_matter_where_a_stream_is_cut_into_packets() {
    for (format, lines, expected) in STREAMS {
        let text = events(*format, lines);
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(streamed(*format, &single), *expected, "{format:?} {lines}");
        let windows = text.replace('\n', "\r\n");
        assert_eq!(
            streamed(*format, &[windows.as_bytes()]),
            *expected,
            "{format:?} {lines}"
        );
    }
}

#[test]
#[rustfmt::skip]
fn an_answer_in_one_piece_says_the_same() {
    let cases: &[(Format, Value, &str)] = &[
        (Format::OpenAi, json!({"id": "a", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}), "T:Hi #1/0/0/2/0 .done"),
        (Format::OpenAi, json!({"choices": [{"message": {"content": null, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "tool_calls"}]}), "C0:c:f A0:{} .tool_calls"),
        (Format::OpenAi, json!({"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}), ".done !empty"),
        (Format::OpenAi, json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}), "#3/0/0/9/0 !malformed"),
        (Format::Anthropic, json!({"type": "message", "usage": {"input_tokens": 3, "output_tokens": 9}}), "#3/0/0/9/0 !malformed"),
        (Format::OpenAi, json!({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}), ".filtered"),
        (Format::OpenAi, json!({"choices": []}), "!malformed"),
        (Format::OpenAi, json!({}), "!malformed"),
        (Format::OpenAi, json!({"error": {"code": 429, "message": "x"}}), "!rate_limited"),
        (Format::Responses, json!({"status": "completed", "error": null, "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}], "usage": {"input_tokens": 1, "output_tokens": 2}}), "T:Hi #1/0/0/2/0 .done"),
        (Format::Responses, json!({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []}), ".filtered"),
        (Format::Responses, json!({"output": []}), ".done !empty"),
        (Format::Anthropic, json!({"content": [{"type": "text", "text": "Hi"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}], "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 2}}), r#"T:Hi C1:t:f A1:{"a":1} #1/0/0/2/0 .tool_calls"#),
        (Format::Anthropic, json!({"content": [], "stop_reason": "end_turn"}), ".done !empty"),
        (Format::Ollama, json!({"message": {"content": "Hi"}, "done": true, "eval_count": 2}), "T:Hi #0/0/0/2/0 .done"),
    ];
    for (format, value, expected) in cases {
        let mut pieces = Vec::new();
        let answer = format.answer(value.to_string().as_bytes(), &mut pieces);
        let heard = told(&pieces, answer);
        assert_eq!(heard, *expected, "{format:?} {value}");
        // Where pieces were asked for, and it came whole all the same.
        if *format != Format::Ollama {
            let pretty = serde_json::to_string_pretty(value).unwrap();
            assert_eq!(streamed(*format, &[pretty.as_bytes()]), *expected, "{format:?} {value}");
        }
    }
    for format in FORMATS {
        assert_eq!(format.answer(b"<html>", &mut Vec::new()).unwrap_err().why, Why::Malformed);
        assert_eq!(format.answer(b"\xff", &mut Vec::new()).unwrap_err().why, Why::Malformed);
        assert_eq!(streamed(format, &[b"data: \xff\n\n"]), "!malformed");
    }
}

#[test]
fn an_answer_without_an_end_is_given_up() {
    const MOST: usize = 1 << 16;
    let mut reader = Reader::bounded(Format::OpenAi, MOST);
    let line = events(Format::OpenAi, r#"{"choices":[{"delta":{"content":"x"}}]}"#).repeat(100);
    let mut pieces = Vec::new();
    let mut taken = 0;
    let failure = loop {
        pieces.clear();
        taken += line.len();
        if let Err(failure) = reader.push(line.as_bytes(), &mut pieces) {
            break failure;
        }
        assert!(taken <= MOST);
    };
    assert_eq!(failure.why, Why::Malformed);
}

#[test]
fn deep_json_is_malformed_and_no_crash() {
    let deep = format!("data: {}\n\n", "[".repeat(100_000));
    assert_eq!(streamed(Format::OpenAi, &[deep.as_bytes()]), "!malformed");
}

proptest! {
    /// Whatever bytes come, it ends in pieces or in a failure that has a name.
    #[test]
    fn any_bytes_are_heard(
        format in 0_usize..4,
        parts in prop::collection::vec(prop_oneof![
            any::<Vec<u8>>(),
            "(data: |\\{\"choices\":|\\[|\\{|\\}|\\]|null|\"delta\"|:|,|\"error\"|1|\n\n|\\[DONE\\]|\"type\"|\"message_stop\"|\"done\":true){0,20}".prop_map(String::into_bytes),
        ], 0..6),
    ) {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        streamed(FORMATS[format], &parts);
    }
}
