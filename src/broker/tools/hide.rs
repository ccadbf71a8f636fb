//! Hides of an answer what the masks name: in its data, and in every block of content that repeats
//! it. Text that is no data, and so cannot be masked, is not shown where masks are in force.

use serde_json::{Value, json};

use crate::domain::access::Mask;
use crate::governance::access::masks::{self, HIDDEN_TEXT, HashKey, Masked};

/// An answer as it may be shown.
#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    pub(super) content: Value,
    pub(super) blocks: Value,
    pub(super) masked: Masked,
}

/// An answer, masked.
pub(super) fn answer(
    content: Value,
    blocks: Value,
    is_error: bool,
    masks: &[&Mask],
    key: &HashKey,
) -> Shown {
    if masks.is_empty() {
        let masked = Masked::default();
        return Shown {
            content,
            blocks,
            masked,
        };
    }
    if is_error {
        return Shown {
            content: HIDDEN_TEXT.into(),
            blocks: Value::Null,
            masked: whole(),
        };
    }
    let (content, mut masked) = data(content, masks, key);
    let blocks = match blocks {
        Value::Array(blocks) => blocks
            .into_iter()
            .map(|of| block(&of, masks, key, &mut masked))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Value::Null
        }
    };
    masked.places.sort();
    masked.places.dedup();
    Shown {
        content,
        blocks,
        masked,
    }
}

fn data(mut content: Value, masks: &[&Mask], key: &HashKey) -> (Value, Masked) {
    if let Value::String(text) = &content {
        let (text, masked) = masks::of_text(text, masks, key);
        return (text.into(), masked);
    }
    let masked = masks::apply(&mut content, masks, key);
    (content, masked)
}

/// Of a text what can be shown of it; anything else (an image, a file) is not looked into, and so
/// not shown.
fn block(block: &Value, masks: &[&Mask], key: &HashKey, masked: &mut Masked) -> Value {
    let is_text = block.get("type").and_then(Value::as_str) == Some("text");
    let text = block.get("text").and_then(Value::as_str);
    let (text, more) = match text.filter(|_| is_text) {
        Some(text) => masks::of_text(text, masks, key),
        None => (HIDDEN_TEXT.to_owned(), whole()),
    };
    masked.places.extend(more.places);
    json!({"type": "text", "text": text})
}

fn whole() -> Masked {
    Masked {
        places: vec!["$".to_owned()],
        values: 1,
        unmatched: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::{MaskDo, MaskPath};
    use crate::domain::ids::OrgId;

    fn shown(content: Value, blocks: Value, is_error: bool) -> Shown {
        let mask = Mask {
            path: MaskPath::parse("$.email").unwrap(),
            how: MaskDo::Redact,
        };
        let key = HashKey::of(b"secret", &OrgId::default());
        answer(content, blocks, is_error, &[&mask], &key)
    }

    #[test]
    fn no_block_tells_what_the_data_hides() {
        let data = json!({"id": 1, "email": "a@acme.example"});
        let text = |text: &str| json!({"type": "text", "text": text});
        let blocks = json!([
            text(&data.to_string()),
            text("the mail is a@acme.example"),
            {"type": "image", "data": "a@acme.example", "mimeType": "image/png"},
            {"type": "resource", "resource": {"uri": "x:y", "text": "a@acme.example"}},
        ]);
        let shown = shown(data, blocks, false);
        assert_eq!(shown.content, json!({"id": 1, "email": "(hidden)"}));
        let told = shown.blocks.to_string();
        assert!(
            !told.contains("acme") && told.contains("(hidden)"),
            "{told}"
        );
        assert_eq!(shown.blocks.as_array().unwrap().len(), 4);
        assert_eq!(shown.masked.places, ["$", "$.email"]);
        assert_eq!(shown.masked.values, 1);
    }

    #[test]
    fn words_of_a_source_are_not_data() {
        for (content, is_error) in [
            (json!("a@acme.example"), false),
            (json!({"email": 1}), true),
        ] {
            let shown = shown(content, Value::Null, is_error);
            assert_eq!(shown.content, HIDDEN_TEXT);
            assert_eq!(shown.masked.places, ["$"]);
        }
    }
}
