//! How results are shaped: an upstream's answer, a trouble, a refusal of the protocol.

use rmcp::model::{CallToolResult, ContentBlock, ErrorData, MetaObject};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::broker::Trouble;
use crate::broker::tools::invoke::Invoked;
use crate::domain::reason::Recovery;
use crate::entry::shapes;

/// An upstream's answer: its content blocks as they came, so that an image stays an image, beside
/// a structured answer that fits the schema its tool is listed with.
pub fn passed_on(invoked: Invoked) -> CallToolResult {
    let meta = json!({
        // Somebody else's text: what it says is no word of ours.
        "untrusted": true,
        "masked": invoked.masked,
        "trace_id": invoked.trace,
        "tool_version": invoked.version,
        "duration_ms": u64::try_from(invoked.duration.as_millis()).unwrap_or(u64::MAX),
    });
    let structured = if invoked.is_error {
        json!({
            "code": "upstream_refused",
            "detail": "the tool answered with an error, attached as `content`",
            "recovery": Recovery::FixArgs.code(),
            "content": invoked.content,
        })
    } else if invoked.content.is_object() {
        invoked.content
    } else {
        // Structured answers are objects; what is none becomes a field of one.
        json!({"content": invoked.content})
    };
    // A block of a kind that is not known here is kept as what it says.
    let block = |block: &Value| {
        let known = ContentBlock::deserialize(block);
        known.unwrap_or_else(|_| ContentBlock::text(block.to_string()))
    };
    let blocks = match invoked.blocks.as_array().map(Vec::as_slice) {
        None | Some([]) => vec![ContentBlock::text(structured.to_string())],
        Some(blocks) => blocks.iter().map(block).collect(),
    };
    let mut result = match invoked.is_error {
        true => CallToolResult::error(blocks),
        false => CallToolResult::success(blocks),
    };
    result.structured_content = Some(structured);
    result.meta = meta.as_object().cloned().map(MetaObject);
    result
}

/// A request that could not be answered at all, as a tool's error.
pub fn troubled(trouble: &Trouble) -> CallToolResult {
    let mut body = json!({
        "code": trouble.code(),
        "detail": trouble.to_string(),
        "recovery": trouble.recovery().code(),
    });
    if let Trouble::Overloaded { retry_after_secs } | Trouble::RateLimited { retry_after_secs } =
        trouble.cause()
    {
        body["retry_after_secs"] = json!(retry_after_secs);
    }
    // What a problem names over REST, it names here.
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), shapes::places(trouble)) {
        body.extend(more);
    }
    let trace = body.get("trace_id").cloned();
    let mut result = CallToolResult::structured_error(body);
    let meta = trace.map(|trace| json!({"trace_id": trace}));
    result.meta = meta.and_then(|meta| meta.as_object().cloned().map(MetaObject));
    result
}

/// Why a request of the protocol could not be answered.
pub fn refused(trouble: &Trouble) -> ErrorData {
    ErrorData::internal_error(trouble.to_string(), Some(advice(trouble)))
}

/// The same where it is the parameters that cannot be meant.
pub fn misdirected(trouble: &Trouble) -> ErrorData {
    ErrorData::invalid_params(trouble.to_string(), Some(advice(trouble)))
}

fn advice(trouble: &Trouble) -> Value {
    json!({"code": trouble.code(), "recovery": trouble.recovery().code()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_an_upstream_is_passed_on_in_order() {
        let text = json!({"type": "text", "text": "see"});
        let image = json!({"type": "image", "data": "AAAA", "mimeType": "image/png"});
        let widget = json!({"type": "widget", "foo": 1});
        let passed = passed_on(Invoked {
            content: json!({"id": "x1"}),
            blocks: json!([text, image, widget]),
            is_error: false,
            masked: Vec::new(),
            trace: "0191d8a0-0000-7000-8000-000000000000".parse().unwrap(),
            version: None,
            duration: std::time::Duration::ZERO,
        });
        let passed = serde_json::to_value(passed).unwrap();
        assert_eq!(passed["structuredContent"], json!({"id": "x1"}));
        let blocks = &passed["content"];
        assert_eq!((&blocks[0]["text"], &blocks[1]), (&json!("see"), &image));
        let kept: Value = serde_json::from_str(blocks[2]["text"].as_str().unwrap()).unwrap();
        assert_eq!(kept, widget);
    }
}
