//! Progressive disclosure: a server that lists three tools instead of all it has. One searches, one
//! describes, one calls; what they lead to is what the whole list would, under the same checks.

use rmcp::model::{Tool as Listed, ToolAnnotations};
use serde::Deserialize;
use serde_json::{Value, json};

use super::schemas;
use crate::broker::Trouble;
use crate::domain::access::Disclosure;
use crate::domain::principal::Principal;

/// Tools told at once where the caller does not say how many.
const USUAL: usize = 10;
/// Most tools told at once.
const MOST: usize = 50;
/// Longest search, in characters.
const MAX_QUERY: usize = 400;

/// One of the three.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finder {
    /// Finds tools by words.
    Search,
    /// Tells one tool in full.
    Describe,
    /// Calls one.
    Call,
}

impl Finder {
    const ALL: [Finder; 3] = [Finder::Search, Finder::Describe, Finder::Call];

    fn name(self) -> &'static str {
        match self {
            Finder::Search => "search_tools",
            Finder::Describe => "describe_tool",
            Finder::Call => "call_tool",
        }
    }

    /// The one of this name, where this caller is shown them.
    pub fn named(name: &str, who: &Principal) -> Option<Self> {
        let shown = is_shown(who);
        Self::ALL.into_iter().find(|it| shown && it.name() == name)
    }

    /// As it is listed.
    fn listed(self) -> Listed {
        let name = json!({"type": "string", "description": "The tool's name."});
        let object = |properties: Value, required: Value| {
            json!({
                "type": "object", "properties": properties, "required": required,
                "additionalProperties": false,
            })
        };
        let (title, words, schema) = match self {
            Finder::Search => (
                "Search tools",
                "Find the tools of this server by words of their names and descriptions. An empty \
                 query tells the first ones.",
                object(
                    json!({
                        "query": {"type": "string", "maxLength": MAX_QUERY},
                        "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
                    }),
                    json!(["query"]),
                ),
            ),
            Finder::Describe => (
                "Describe a tool",
                "Everything about one tool of this server: what it does, takes and gives.",
                object(json!({"name": name}), json!(["name"])),
            ),
            Finder::Call => (
                "Call a tool",
                "Call a tool of this server by its name, with the arguments that its input schema \
                 describes. It answers as if it were called directly.",
                object(
                    json!({"name": name, "arguments": {"type": "object"}}),
                    json!(["name"]),
                ),
            ),
        };
        let calls = self == Finder::Call;
        let annotations = ToolAnnotations::with_title(title)
            .read_only(!calls)
            .destructive(calls)
            .idempotent(!calls)
            .open_world(calls);
        Listed::new(self.name(), words, schemas::carried(schema))
            .with_title(title)
            .with_annotations(annotations)
    }
}

/// Whether this caller's server shows the three instead of its list.
pub fn is_shown(who: &Principal) -> bool {
    let server = who.server.as_ref().map(|entrance| &entrance.server);
    server.is_some_and(|server| server.disclosure == Disclosure::Search)
}

/// The three, as a list.
pub fn list() -> Vec<Listed> {
    Finder::ALL.map(Finder::listed).to_vec()
}

/// What is searched for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    query: String,
    limit: Option<usize>,
}

/// Which tool is meant, and with what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its arguments, for a call.
    pub arguments: Option<Value>,
}

/// Arguments of one of the three.
pub fn read<T: serde::de::DeserializeOwned>(arguments: Option<Value>) -> Result<T, Trouble> {
    let arguments = arguments.unwrap_or_else(|| json!({}));
    crate::domain::written::read(&arguments, "").map_err(|mistake| {
        Trouble::InvalidArguments(format!("{}: {}", mistake.pointer, mistake.detail))
    })
}

/// That there is no tool of this name here.
pub fn unknown(name: &str) -> Trouble {
    let plain = name.chars().filter(|c| !c.is_control());
    Trouble::UnknownTool(plain.take(80).collect())
}

/// The tools that fit best, the best first.
pub fn search(all: &[Listed], asked: &Search) -> Result<Value, Trouble> {
    let limit = asked.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) || asked.query.chars().count() > MAX_QUERY {
        let text = format!("`query` has at most {MAX_QUERY} characters, `limit` is 1 to {MOST}");
        return Err(Trouble::InvalidArguments(text));
    }
    let words = words(&asked.query);
    let mut found: Vec<(usize, &Listed)> = all
        .iter()
        .map(|tool| (score(tool, &words), tool))
        .filter(|(score, _)| words.is_empty() || *score > 0)
        .collect();
    // Stable: of equal ones, the first of the list comes first.
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let total = found.len();
    let tools: Vec<Value> = found
        .into_iter()
        .take(limit)
        .map(|(_, tool)| {
            json!({"name": tool.name, "title": tool.title, "description": tool.description})
        })
        .collect();
    Ok(json!({"tools": tools, "found": total}))
}

fn words(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| !c.is_alphanumeric());
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(str::to_lowercase).collect()
}

/// A word in the name counts more than one in the description.
fn score(tool: &Listed, sought: &[String]) -> usize {
    let name = tool.name.to_lowercase();
    let about = words(tool.description.as_deref().unwrap_or_default());
    let of = |word: &String| {
        let in_name = usize::from(name.contains(word.as_str())) * 4;
        let in_words = usize::from(about.iter().any(|it| it.starts_with(word.as_str())));
        in_name + in_words
    };
    sought.iter().map(of).sum()
}

/// Everything about one tool.
pub fn describe(tool: &Listed) -> Value {
    json!({
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "input_schema": &*tool.input_schema,
        "output_schema": tool.output_schema.as_deref(),
        "annotations": tool.annotations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &'static str, words: &'static str) -> Listed {
        Listed::new(name, words, schemas::carried(json!({"type": "object"})))
    }

    #[test]
    fn a_word_of_the_name_comes_before_one_of_the_description() {
        let all = [
            tool("ping", "Says whether the refund desk is there."),
            tool("create_refund", "Gives money back."),
            tool("weather", "Tells the weather."),
        ];
        let asked = |query: &str, limit| Search {
            query: query.to_owned(),
            limit,
        };
        let found = search(&all, &asked("Refund", None)).unwrap();
        assert_eq!(found["found"], 2);
        assert_eq!(found["tools"][0]["name"], "create_refund");
        let first = search(&all, &asked("", Some(1))).unwrap();
        assert_eq!(
            (&first["found"], &first["tools"][0]["name"]),
            (&json!(3), &json!("ping"))
        );
        assert!(search(&all, &asked("x", Some(0))).is_err());
    }
}
