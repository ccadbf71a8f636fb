//! What the sandbox's model says: the same to the same question, always.
//!
//! It repeats what it was asked, in one sentence. Offered tools, it asks for the one whose name the
//! question has a word of (or the one it is told to use), with arguments made from the tool's schema
//! and the numbers and quoted texts of the question.

use serde_json::{Map, Value, json};

use super::spelling::Wire;

/// Characters of the question that are repeated.
const MAX_REPEATED: usize = 400;
/// Bytes of text that count as one token.
const BYTES_PER_TOKEN: usize = 4;

/// A question, as far as the model reads it.
#[derive(Debug)]
pub(super) struct Question {
    pub model: String,
    pub stream: bool,
    last: String,
    bytes: usize,
    most: Option<usize>,
    tools: Vec<(String, Value)>,
    choice: Choice,
    answered: bool,
    json: bool,
}

#[derive(Debug, PartialEq)]
enum Choice {
    Free,
    Never,
    Must,
    Named(String),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its words, in pieces.
    pub words: Vec<String>,
    /// The tool it asks for: name and arguments.
    pub call: Option<(String, Value)>,
    /// It would have been longer.
    pub cut: bool,
    /// Tokens read.
    pub read: usize,
    /// Tokens written.
    pub written: usize,
}

impl Question {
    pub fn read(wire: Wire, body: &Value) -> Option<Self> {
        let model = body["model"].as_str()?.to_owned();
        let messages = body["messages"].as_array()?;
        let said: Vec<(&str, String)> = messages
            .iter()
            .map(|message| {
                let role = message["role"].as_str().unwrap_or_default();
                (role, plain(&message["content"]))
            })
            .collect();
        let asked = said
            .iter()
            .rev()
            .find(|(role, text)| *role == "user" && !text.is_empty());
        let last = asked.map(|(_, text)| text.clone()).unwrap_or_default();
        let bytes: usize = said.iter().map(|(_, text)| text.len()).sum();
        let bytes = bytes + plain(&body["system"]).len();
        let ends_with_result = messages.last().is_some_and(|message| {
            message["role"] == "tool"
                || message["content"]
                    .as_array()
                    .is_some_and(|parts| parts.iter().any(|part| part["type"] == "tool_result"))
        });
        let most = [
            &body["max_completion_tokens"],
            &body["max_tokens"],
            &body["options"]["num_predict"],
        ];
        let most = most.into_iter().find_map(Value::as_u64);
        let stream = match wire {
            Wire::Ollama => body["stream"] != false,
            Wire::OpenAi | Wire::Anthropic => body["stream"] == true,
        };
        Some(Self {
            model,
            stream,
            last,
            bytes,
            most: most.and_then(|most| usize::try_from(most).ok()),
            tools: tools(body),
            choice: choice(&body["tool_choice"]),
            answered: ends_with_result,
            json: body["response_format"]["type"]
                .as_str()
                .is_some_and(|kind| kind.starts_with("json"))
                || body["format"] == "json",
        })
    }

    fn called(&self) -> Option<(String, Value)> {
        let lower = self.last.to_lowercase();
        let mentioned = |name: &str| {
            let mut parts = name.split(['_', '-', '.']).filter(|part| part.len() > 2);
            parts.any(|part| lower.contains(&part.to_lowercase()))
        };
        let wanted = match &self.choice {
            Choice::Never => None,
            Choice::Named(name) => self.tools.iter().find(|(known, _)| known == name),
            Choice::Must => self
                .tools
                .iter()
                .find(|(name, _)| mentioned(name))
                .or(self.tools.first()),
            Choice::Free if self.answered => None,
            Choice::Free => self.tools.iter().find(|(name, _)| mentioned(name)),
        };
        wanted.map(|(name, schema)| (name.clone(), arguments(schema, &self.last)))
    }
}

impl Answer {
    pub fn to(question: &Question) -> Self {
        let read = question.bytes.div_ceil(BYTES_PER_TOKEN).max(1);
        if let Some((name, arguments)) = question.called() {
            let written = arguments.to_string().len().div_ceil(BYTES_PER_TOKEN).max(1);
            return Self {
                words: Vec::new(),
                call: Some((name, arguments)),
                cut: false,
                read,
                written,
            };
        }
        let repeated: String = question.last.chars().take(MAX_REPEATED).collect();
        let sentence = match question.json {
            true => json!({"answer": repeated}).to_string(),
            false => format!("You asked: {repeated}"),
        };
        let all: Vec<String> = sentence.split_inclusive(' ').map(str::to_owned).collect();
        let most = question.most.unwrap_or(usize::MAX).max(1);
        let cut = all.len() > most;
        let words: Vec<String> = all.into_iter().take(most).collect();
        Self {
            written: words.len(),
            words,
            call: None,
            cut,
            read,
        }
    }

    pub fn text(&self) -> String {
        self.words.concat()
    }
}

/// The words of a content, whichever way it is written.
fn plain(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn tools(body: &Value) -> Vec<(String, Value)> {
    let tools = body["tools"].as_array().into_iter().flatten();
    tools
        .filter_map(|tool| {
            let function = tool.get("function").unwrap_or(tool);
            let name = function["name"].as_str()?.to_owned();
            let schemas = ["parameters", "input_schema"];
            let schema = schemas.iter().find_map(|key| function.get(*key));
            Some((name, schema.cloned().unwrap_or_default()))
        })
        .collect()
}

fn choice(choice: &Value) -> Choice {
    let named = choice["function"]["name"]
        .as_str()
        .or_else(|| choice["name"].as_str());
    let kind = choice.as_str().or_else(|| choice["type"].as_str());
    match (named, kind) {
        (Some(name), _) => Choice::Named(name.to_owned()),
        (None, Some("none")) => Choice::Never,
        (None, Some("required" | "any")) => Choice::Must,
        (None, _) => Choice::Free,
    }
}

/// Arguments that fit a schema: numbers and quoted texts of the question, in their order.
fn arguments(schema: &Value, asked: &str) -> Value {
    let mut numbers = asked
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse::<i64>().ok());
    let mut quoted = asked.split(['"', '\'', '`']).skip(1).step_by(2);
    let mut made = Map::new();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, kind) in properties {
        if !required.is_empty() && !required.contains(&name.as_str()) {
            continue;
        }
        let value = match (&kind["enum"][0], kind["type"].as_str()) {
            (first, _) if !first.is_null() => first.clone(),
            (_, Some("integer" | "number")) => json!(numbers.next().unwrap_or(1)),
            (_, Some("boolean")) => json!(true),
            (_, Some("array")) => json!([]),
            (_, Some("object")) => arguments(kind, asked),
            _ => json!(quoted.next().unwrap_or("sandbox")),
        };
        made.insert(name.clone(), value);
    }
    Value::Object(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: Value) -> Answer {
        Answer::to(&Question::read(Wire::OpenAi, &body).unwrap())
    }

    #[test]
    fn the_same_question_has_the_same_answer() {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "hello there"}]});
        let (a, b) = (ask(body.clone()), ask(body));
        assert_eq!(a.text(), "You asked: hello there");
        assert_eq!((a.text(), a.written), (b.text(), b.written));
    }

    #[test]
    fn an_answer_ends_where_it_may_not_go_on() {
        let body = json!({
            "model": "m", "max_tokens": 2,
            "messages": [{"role": "user", "content": "hello there"}],
        });
        let answer = ask(body);
        assert_eq!((answer.text().as_str(), answer.cut), ("You asked: ", true));
    }

    #[test]
    fn a_tool_is_asked_for_by_a_word_of_its_name() {
        let tool = json!({"type": "function", "function": {
            "name": "transfer_funds",
            "parameters": {
                "type": "object",
                "properties": {"amount": {"type": "integer"}, "to": {"type": "string"}},
                "required": ["amount", "to"],
            },
        }});
        let body = |words: &str, choice: &str| {
            json!({
                "model": "m", "tools": [tool], "tool_choice": choice,
                "messages": [{"role": "user", "content": words}],
            })
        };
        let (name, arguments) = ask(body("transfer 500 to \"acct_1\"", "auto"))
            .call
            .unwrap();
        assert_eq!(name, "transfer_funds");
        assert_eq!(arguments, json!({"amount": 500, "to": "acct_1"}));
        assert!(ask(body("what is the weather", "auto")).call.is_none());
        assert!(ask(body("what is the weather", "required")).call.is_some());
        assert!(ask(body("transfer 500", "none")).call.is_none());
    }
}
