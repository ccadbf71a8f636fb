//! The query of a URL, read as strictly as a body: a parameter nobody reads, or one given twice,
//! is refused instead of ignored, because an ignored filter answers with too much.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::Problem;

/// The parameters of a request.
pub struct Query(Result<BTreeMap<String, String>, Problem>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(parse(parts.uri.query().unwrap_or(""))))
    }
}

impl Query {
    /// The parameters; `names` is all that the endpoint takes.
    pub fn params(self, names: &[&str]) -> Result<Params, Problem> {
        let map = self.0?;
        match map.keys().find(|key| !names.contains(&key.as_str())) {
            None => Ok(Params(map)),
            Some(unknown) => {
                let shown: String = unknown.chars().take(40).collect();
                Err(Problem::invalid(format!(
                    "unknown parameter `{}`; this takes {}",
                    shown.escape_debug(),
                    names.join(", ")
                )))
            }
        }
    }
}

/// Parameters, each by its name. An empty one counts as absent.
#[derive(Debug)]
pub struct Params(BTreeMap<String, String>);

impl Params {
    /// A parameter as it stands.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter through a reader; `shape` says what it should have been.
    pub fn read<T>(
        &self,
        name: &str,
        shape: &str,
        reader: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match reader(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::invalid(format!("`{name}` must be {shape}"))),
        }
    }

    /// A number from 1 to `most`.
    pub fn limit(&self, most: u32) -> Result<Option<u32>, Problem> {
        let shape = format!("a whole number from 1 to {most}");
        self.read("limit", &shape, |text| {
            let number = text.parse().ok()?;
            (1..=most).contains(&number).then_some(number)
        })
    }
}

fn parse(query: &str) -> Result<BTreeMap<String, String>, Problem> {
    let mut map = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if value.is_empty() {
            continue;
        }
        let twice = format!("the parameter `{}` is given twice", name.escape_debug());
        if map.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(Problem::invalid(twice));
        }
    }
    Ok(map)
}
