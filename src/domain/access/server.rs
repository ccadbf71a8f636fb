//! A virtual MCP server: a name under which some tools of an organisation are offered, and nothing
//! else is.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::rule::ToolPattern;
use crate::domain::tools::{Invalid, valid_name};
use crate::domain::written;

/// Most entries of the list of tools.
const MAX_TOOLS: usize = 2_000;
/// Longest title, in characters.
const MAX_TITLE: usize = 100;
/// Longest description and longest instructions, in characters.
const MAX_WORDS: usize = 8_000;

/// What a server is, as its document says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Its name, which stands in its address.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Told to agents when they connect.
    pub instructions: Option<String>,
    /// The tools that it offers, by name or by how names begin.
    pub tools: Vec<ToolPattern>,
    /// How its tools are shown.
    pub disclosure: Disclosure,
    /// Whether it lets anybody in.
    pub enabled: bool,
}

/// How the tools of a server are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disclosure {
    /// All of them are listed.
    #[default]
    All,
    /// Three tools are: one that searches, one that describes, one that calls.
    Search,
}

/// The server through which somebody came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entrance {
    /// The server.
    pub server: Arc<Server>,
    /// A key of the server's own was shown; else one that opens more than this server.
    pub own_key: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    title: Option<String>,
    description: Option<String>,
    instructions: Option<String>,
    tools: Vec<String>,
    disclosure: Option<Disclosure>,
    enabled: Option<bool>,
}

impl Server {
    /// Reads a server's document, or says which field is wrong.
    pub fn read(document: &Value) -> Result<Self, Invalid> {
        let wrong = |pointer: &str, detail: String| Err(Invalid::server(pointer, detail));
        if !document.is_object() {
            return wrong("", "must be an object".to_owned());
        }
        let parts: Document = written::read(document, "")
            .map_err(|mistake| Invalid::server(mistake.pointer, mistake.detail))?;
        if let Err(why) = valid_name(&parts.name) {
            return wrong("/name", why);
        }
        for (field, text, most) in [
            ("/title", &parts.title, MAX_TITLE),
            ("/description", &parts.description, MAX_WORDS),
            ("/instructions", &parts.instructions, MAX_WORDS),
        ] {
            let length = text.as_ref().map_or(0, |text| text.chars().count());
            if length > most {
                return wrong(field, format!("must be at most {most} characters"));
            }
        }
        if parts.tools.len() > MAX_TOOLS {
            return wrong("/tools", format!("must have at most {MAX_TOOLS} entries"));
        }
        let mut tools: Vec<ToolPattern> = Vec::with_capacity(parts.tools.len());
        for (index, text) in parts.tools.iter().enumerate() {
            let at = format!("/tools/{index}");
            let Some(pattern) = ToolPattern::parse(text) else {
                let advice = "must be a tool's name, or its beginning and `*`";
                return wrong(&at, advice.to_owned());
            };
            if tools.contains(&pattern) {
                return wrong(&at, "is listed twice".to_owned());
            }
            tools.push(pattern);
        }
        Ok(Self {
            name: parts.name,
            title: parts.title,
            description: parts.description,
            instructions: parts.instructions,
            tools,
            disclosure: parts.disclosure.unwrap_or_default(),
            enabled: parts.enabled.unwrap_or(true),
        })
    }

    /// Whether it offers a tool of the catalogue, named without `_propose` or `_commit`.
    pub fn offers(&self, tool: &str) -> bool {
        self.tools.iter().any(|pattern| pattern.fits(tool))
    }

    /// Whether it names this very thing: how names begin says nothing of what is no tool of the
    /// catalogue.
    pub fn names(&self, thing: &str) -> bool {
        let named = self.tools.iter().filter(|pattern| !pattern.is_open());
        named.into_iter().any(|pattern| pattern.fits(thing))
    }
}

/// The document that it was read from, with what it left to defaults.
impl Serialize for Server {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        for (field, text) in [
            ("title", &self.title),
            ("description", &self.description),
            ("instructions", &self.instructions),
        ] {
            if let Some(text) = text {
                map.serialize_entry(field, text)?;
            }
        }
        let tools: Vec<String> = self.tools.iter().map(ToString::to_string).collect();
        map.serialize_entry("tools", &tools)?;
        map.serialize_entry("disclosure", &self.disclosure)?;
        map.serialize_entry("enabled", &self.enabled)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_server_offers_what_its_list_names_and_nothing_else() {
        let document = json!({"name": "desk", "tools": ["look", "billing_*"]});
        let server = Server::read(&document).unwrap();
        for (tool, offered, named) in [
            ("look", true, true),
            ("look_up", false, false),
            ("billing_refund", true, false),
            ("refund", false, false),
        ] {
            let told = (server.offers(tool), server.names(tool));
            assert_eq!(told, (offered, named), "{tool}");
        }
        let whole = json!(server);
        assert_eq!(Server::read(&whole).unwrap(), server);
        assert_eq!(whole["disclosure"], "all");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        for (document, pointer) in [
            (json!([]), ""),
            (json!({"name": "desk"}), "/tools"),
            (json!({"name": "a b", "tools": []}), "/name"),
            (json!({"name": "a", "tools": ["x", "*x"]}), "/tools/1"),
            (json!({"name": "a", "tools": ["x", "x"]}), "/tools/1"),
            (
                json!({"name": "a", "tools": [], "disclosure": "some"}),
                "/disclosure",
            ),
            (
                json!({"name": "a", "tools": [], "title": "x".repeat(101)}),
                "/title",
            ),
        ] {
            let invalid = Server::read(&document).unwrap_err();
            assert_eq!(invalid.pointer, pointer, "{document} {invalid}");
            assert_eq!(invalid.code, "invalid_server");
        }
    }
}
