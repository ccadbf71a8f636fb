//! An upstream's list of tools, read page by page. What is odd hides itself and nothing else.
//!
//! Each definition is read by itself, after a look at how many parts it has: reading takes many
//! times the memory of the text, and nobody asked for it. A list that goes in circles, by an empty
//! or a repeated cursor, ends there; one that is too long is cut.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Offered;

/// Most tools of one upstream; what comes after them is left out.
const MAX_TOOLS: usize = 1_000;
/// Most parts of all definitions of one upstream together. Those of a thousand usual tools are half
/// of it.
const MAX_PARTS: usize = 100_000;
/// Longest name that is kept of a definition that cannot be read, in characters.
const MAX_NAME_CHARS: usize = 128;
/// Longest reason, in characters: it quotes the definition.
const MAX_REASON_CHARS: usize = 200;

/// What was read so far.
#[derive(Default)]
pub(super) struct Offers {
    tools: Vec<Offered>,
    parts: usize,
    left_out: usize,
    cursors: BTreeSet<String>,
}

impl Offers {
    /// Reads one definition, as it was written.
    pub(super) fn read(&mut self, definition: &str) {
        if self.tools.len() >= MAX_TOOLS {
            self.left_out += 1;
            return;
        }
        let parts = parts(definition);
        let read = if self.parts + parts > MAX_PARTS {
            let why = format!("its upstream's definitions have more than {MAX_PARTS} parts");
            Err(why)
        } else {
            self.parts += parts;
            let read = serde_json::from_str(definition).map(offered);
            read.map_err(|error| error.to_string())
        };
        match read {
            Ok(tool) => self.tools.push(tool),
            Err(why) => match name_of(definition) {
                Some(name) => self.tools.push(stub(name, &why)),
                None => self.left_out += 1,
            },
        }
    }

    /// The cursor of the next page, unless the list ends or goes in circles.
    pub(super) fn next(&mut self, cursor: Option<String>) -> Option<String> {
        let cursor = cursor.filter(|cursor| !cursor.is_empty())?;
        let is_new = self.tools.len() < MAX_TOOLS && self.cursors.insert(cursor.clone());
        is_new.then_some(cursor)
    }

    /// Every tool that was read. `upstream` is told of in the log if any was left out.
    pub(super) fn end(self, upstream: &str) -> Vec<Offered> {
        if self.left_out > 0 {
            let left_out = self.left_out;
            tracing::warn!(%upstream, left_out, "tools without a name, or too many of them, are left out");
        }
        self.tools
    }
}

/// About how many values a text of JSON holds, without reading it.
fn parts(text: &str) -> usize {
    text.bytes()
        .filter(|byte| matches!(byte, b'{' | b'[' | b','))
        .count()
}

/// The name in a definition that cannot be read otherwise. Skips over everything else.
fn name_of(definition: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    let named: Named = serde_json::from_str(definition).ok()?;
    let name: String = named.name.chars().take(MAX_NAME_CHARS).collect();
    (!name.is_empty()).then_some(name)
}

fn stub(name: String, why: &str) -> Offered {
    let why: String = why.chars().take(MAX_REASON_CHARS).collect();
    Offered {
        name,
        description: String::new(),
        input_schema: Value::Null,
        output_schema: None,
        annotations: Value::Null,
        odd: Some(format!("its definition cannot be read: {why}")),
    }
}

fn offered(tool: rmcp::model::Tool) -> Offered {
    let object = |schema: &rmcp::model::JsonObject| Value::Object(schema.clone());
    Offered {
        name: tool.name.into_owned(),
        description: tool.description.unwrap_or_default().into_owned(),
        input_schema: object(&tool.input_schema),
        output_schema: tool.output_schema.as_deref().map(object),
        annotations: serde_json::to_value(&tool.annotations).unwrap_or(Value::Null),
        odd: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(definitions: &[&str]) -> Vec<Offered> {
        let mut offers = Offers::default();
        definitions.iter().for_each(|text| offers.read(text));
        offers.end("u")
    }

    #[test]
    fn each_definition_is_read_by_itself() {
        let good = json!({"name": "good", "inputSchema": {"type": "object"}}).to_string();
        let deep = format!(
            r#"{{"name":"deep","inputSchema":{}1{}}}"#,
            "[".repeat(5_000),
            "]".repeat(5_000)
        );
        let wide = format!(
            r#"{{"name":"wide","inputSchema":{{"a":[{}1]}}}}"#,
            "[],".repeat(200_000)
        );
        let texts = [
            r#"{"name":"none"}"#,
            r#"{"name":"text","inputSchema":"x"}"#,
            &deep,
            &wide,
            "null",
            "7",
            r#"{"name":5,"inputSchema":{}}"#,
            r#"{"name":"","inputSchema":5}"#,
            &good,
        ];
        let tools = read(&texts);
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["none", "text", "deep", "wide", "good"]);
        for tool in &tools {
            assert_eq!(tool.odd.is_none(), tool.name == "good", "{tool:?}");
        }
    }

    #[test]
    fn a_list_ends_where_it_repeats_itself_and_is_cut_where_it_is_too_long() {
        let mut offers = Offers::default();
        let mut next = |cursor: &str| offers.next(Some(cursor.to_owned()));
        assert_eq!(next("a").as_deref(), Some("a"));
        assert_eq!(next("b").as_deref(), Some("b"));
        assert_eq!((next("a"), next("")), (None, None));
        let many = vec![r#"{"name":"x","inputSchema":{}}"#; MAX_TOOLS + 1];
        assert_eq!(read(&many).len(), MAX_TOOLS);
    }
}
