//! How an operation is asked for over HTTP: its method, its path, and which part of a request each
//! field of the input travels in.
//!
//! A field that the path names is in the path. Of the rest, a method that takes a body has it
//! there, and the others in the query. A request is put together into one input
//! ([`Rest::gather`]) and an input taken apart into a request ([`Operation::request`]) by the
//! same rule, so a client needs no second list of routes.

use serde_json::{Map, Value};

use super::{Operation, Shape};
use crate::domain::strict::MAX_BYTES;
use schemars::JsonSchema;

/// A method and a path, and what is answered.
#[derive(Clone)]
pub struct Rest {
    /// Lower-case HTTP method.
    pub method: &'static str,
    /// Path with `{names}`.
    pub path: &'static str,
    /// What it may answer, in the order of the document.
    pub replies: Vec<Answers>,
    /// Statuses of its problems, besides those that follow from its shape.
    pub problems: &'static [u16],
    /// Longest body, in bytes.
    pub most: usize,
    /// It takes questions to models, which may be as long as these take.
    pub asks_models: bool,
    /// Names of the path that are spelt otherwise in the input.
    spelt: &'static [(&'static str, &'static str)],
}

/// One kind of answer.
#[derive(Clone)]
pub struct Answers {
    /// HTTP status.
    pub status: u16,
    /// When it is given.
    pub words: &'static str,
    /// JSON of another shape than the operation's output.
    pub shape: Option<Shape>,
    /// Not JSON, but this.
    pub media: Option<&'static str>,
}

/// A request that asks for an operation.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// Lower-case HTTP method.
    pub method: &'static str,
    /// Path and query, encoded.
    pub target: String,
    /// JSON, for the methods that take it.
    pub body: Option<Value>,
}

impl Rest {
    const fn new(method: &'static str, path: &'static str) -> Self {
        Self {
            method,
            path,
            replies: Vec::new(),
            problems: &[],
            most: MAX_BYTES,
            asks_models: false,
            spelt: &[],
        }
    }

    pub(super) fn get(path: &'static str) -> Self {
        Self::new("get", path)
    }

    pub(super) fn post(path: &'static str) -> Self {
        Self::new("post", path)
    }

    pub(super) fn put(path: &'static str) -> Self {
        Self::new("put", path)
    }

    pub(super) fn patch(path: &'static str) -> Self {
        Self::new("patch", path)
    }

    pub(super) fn delete(path: &'static str) -> Self {
        Self::new("delete", path)
    }

    /// May answer this, with the operation's output.
    pub(super) fn answers(self, status: u16, words: &'static str) -> Self {
        self.replies(status, words, None, None)
    }

    /// May answer this, with another shape.
    pub(super) fn answers_with<T: JsonSchema>(self, status: u16, words: &'static str) -> Self {
        let shape: Shape = |generator| generator.subschema_for::<T>();
        self.replies(status, words, Some(shape), None)
    }

    /// May answer with text of this media type.
    pub(super) fn streams(self, words: &'static str, media: &'static str) -> Self {
        self.replies(200, words, None, Some(media))
    }

    fn replies(
        mut self,
        status: u16,
        words: &'static str,
        shape: Option<Shape>,
        media: Option<&'static str>,
    ) -> Self {
        self.replies.push(Answers {
            status,
            words,
            shape,
            media,
        });
        self
    }

    /// Takes bodies that are longer than usual.
    pub(super) fn up_to(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Takes what a model is asked, whose length has a setting of its own.
    pub(super) fn asking_models(self) -> Self {
        Self {
            asks_models: true,
            ..self
        }
    }

    /// May come with these problems as well.
    pub(super) fn problems(self, problems: &'static [u16]) -> Self {
        Self { problems, ..self }
    }

    /// What the path calls `.0` is the input's `.1`.
    pub(super) fn spelt(self, spelt: &'static [(&'static str, &'static str)]) -> Self {
        Self { spelt, ..self }
    }

    /// Whether the rest of the input is in the body. Otherwise it is in the query.
    pub fn takes_body(&self) -> bool {
        matches!(self.method, "post" | "put" | "patch")
    }

    /// The names in the path, in order: as the path spells them, and as the input does.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let names = self.path.split('{').skip(1);
        names.filter_map(|part| {
            let name = part.split('}').next()?;
            let spelt = self.spelt.iter().find(|(path, _)| *path == name);
            Some((name, spelt.map_or(name, |(_, field)| *field)))
        })
    }

    /// Whether a field of the input is in the path.
    pub fn in_path(&self, field: &str) -> bool {
        self.names().any(|(_, named)| named == field)
    }

    /// The input that a request makes: the texts of its path and query, and its body.
    /// The error names what is given twice, or where it does not belong.
    pub fn gather<'a>(
        &self,
        path: impl IntoIterator<Item = (&'a str, &'a str)>,
        query: impl IntoIterator<Item = (String, String)>,
        body: Option<Map<String, Value>>,
    ) -> Result<Map<String, Value>, String> {
        let mut input = body.unwrap_or_default();
        for (name, value) in query {
            let shown = name.escape_debug().to_string();
            if self.takes_body() {
                return Err(format!("`{shown}` belongs in the body, not in the query"));
            }
            if input.insert(name, Value::String(value)).is_some() {
                return Err(format!("the parameter `{shown}` is given twice"));
            }
        }
        for (name, value) in path {
            let spelt = self.names().find(|(named, _)| *named == name);
            let field = spelt.map_or(name, |(_, field)| field);
            let given = input.insert(field.to_owned(), Value::String(value.to_owned()));
            if given.is_some() {
                return Err(format!("`{field}` is named by the path already"));
            }
        }
        Ok(input)
    }
}

impl Operation {
    /// The request that asks for this with this input, if it is on REST: what a client sends.
    pub fn request(&self, input: Map<String, Value>) -> Option<Request> {
        let rest = self.rest.as_ref()?;
        let mut left = input;
        let mut target = rest.path.to_owned();
        for (name, field) in rest.names() {
            let value = left.remove(field).map(|value| text(&value))?;
            target = target.replace(&format!("{{{name}}}"), &encoded(&value));
        }
        let body = rest.takes_body().then(|| Value::Object(left.clone()));
        // A body may say that something is nothing; a query has no word for it.
        left.retain(|_, value| !value.is_null());
        if body.is_none() && !left.is_empty() {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            let pairs = left.iter().map(|(name, value)| (name, text(value)));
            query.extend_pairs(pairs);
            target = format!("{target}?{}", query.finish());
        }
        Some(Request {
            method: rest.method,
            target,
            body,
        })
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// One segment of a path: whatever is not plain is encoded, `/` and `.` of a whole name included.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
    let dots = text.bytes().all(|byte| byte == b'.');
    let one = |byte: u8| match byte {
        byte if plain(&byte) || (byte == b'.' && !dots) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::operations::named;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn a_request_is_put_together_and_taken_apart_by_one_rule() {
        let removed = named("remove_payee").unwrap();
        let request = removed.request(map(json!({"payee": "a/b ü"}))).unwrap();
        let expected = ("delete", "/v1/payees/a%2Fb%20%C3%BC", None);
        let told = (request.method, request.target.as_str(), request.body);
        assert_eq!(told, expected);
        let rest = removed.rest.as_ref().unwrap();
        let input = rest.gather([("payee", "a/b ü")], [], None).unwrap();
        assert_eq!(Value::Object(input), json!({"payee": "a/b ü"}));
        assert_eq!(removed.request(Map::new()), None, "a path has to be whole");
    }

    #[test]
    fn a_name_given_in_two_places_is_refused() {
        let rest = Rest::post("/v1/a/{x}");
        let body = || Some(map(json!({"x": 1, "y": 2})));
        assert!(rest.gather([("x", "1")], [], body()).is_err());
        let query = || [("y".to_owned(), "2".to_owned())];
        assert!(rest.gather([("z", "1")], query(), body()).is_err());
        let rest = Rest::get("/v1/a/{x}");
        let twice = [query(), query()].concat();
        assert!(rest.gather([("x", "1")], twice, None).is_err());
        assert!(rest.gather([("x", "1")], query(), None).is_ok());
    }
}
