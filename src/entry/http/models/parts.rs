//! Small strict readers of what callers write: each takes a field out of an object, and what is wrong
//! is told by where it is.

use serde_json::{Map, Number, Value};

use super::super::Problem;

/// An object that is read field by field. What is left at the end is unknown.
pub struct Fields {
    map: Map<String, Value>,
    at: String,
}

impl Fields {
    /// The whole body.
    pub fn body(map: Map<String, Value>) -> Self {
        Self {
            map,
            at: String::new(),
        }
    }

    /// An object at a place.
    pub fn at(value: Value, at: &str) -> Result<Self, Problem> {
        match value {
            Value::Object(map) => Ok(Self {
                map,
                at: at.to_owned(),
            }),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(Problem::invalid(format!("`{at}` has to be an object"))),
        }
    }

    /// The name of a field, with where it is.
    pub fn name(&self, field: &str) -> String {
        match self.at.is_empty() {
            true => field.to_owned(),
            false => format!("{}.{field}", self.at),
        }
    }

    /// A field; one that is null is not there.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&mut self, field: &str) -> Result<Option<String>, Problem> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "a text")),
        }
    }

    /// A text that has to be there.
    pub fn needed(&mut self, field: &str) -> Result<String, Problem> {
        let text = self.text(field)?;
        text.ok_or_else(|| Problem::invalid(format!("`{}` is missing", self.name(field))))
    }

    /// A whole number above nothing.
    pub fn count(&mut self, field: &str) -> Result<Option<u64>, Problem> {
        match self.take(field) {
            None => Ok(None),
            Some(value) => {
                let number = value.as_u64().filter(|number| *number > 0);
                let wrong = || self.wrong(field, "a whole number of at least 1");
                number.map(Some).ok_or_else(wrong)
            }
        }
    }

    /// A number.
    pub fn number(&mut self, field: &str) -> Result<Option<Number>, Problem> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(_) => Err(self.wrong(field, "a number")),
        }
    }

    /// True or false.
    pub fn switch(&mut self, field: &str) -> Result<Option<bool>, Problem> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(on)),
            Some(_) => Err(self.wrong(field, "true or false")),
        }
    }

    /// A list; one that is left out is empty.
    pub fn list(&mut self, field: &str) -> Result<Vec<Value>, Problem> {
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(self.wrong(field, "a list")),
        }
    }

    /// An object.
    pub fn object(&mut self, field: &str) -> Result<Option<Fields>, Problem> {
        match self.take(field) {
            None => Ok(None),
            Some(value) => Fields::at(value, &self.name(field)).map(Some),
        }
    }

    /// That a field is not what it has to be.
    pub fn wrong(&self, field: &str, wanted: &str) -> Problem {
        Problem::invalid(format!("`{}` has to be {wanted}", self.name(field)))
    }

    /// What is left and says something.
    pub fn rest(self) -> Map<String, Value> {
        let left = self.map.into_iter();
        left.filter(|(_, value)| !is_silent(value)).collect()
    }

    /// That nothing is left which says something.
    pub fn done(self) -> Result<(), Problem> {
        let at = self.at.clone();
        match self.rest().keys().next() {
            None => Ok(()),
            Some(field) => Err(Problem::invalid(format!(
                "`{at}.{}` is not known here",
                field.escape_debug()
            ))),
        }
    }
}

/// What packages write where nobody said anything.
fn is_silent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => false,
    }
}

/// Texts as one text or a list of them.
pub fn texts(fields: &mut Fields, field: &str) -> Result<Vec<String>, Problem> {
    match fields.take(field) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => Err(fields.wrong(field, "a text or a list of texts")),
            })
            .collect(),
        Some(_) => Err(fields.wrong(field, "a text or a list of texts")),
    }
}

/// A picture written as a data URL: its media type and base64.
pub fn data_url(url: &str) -> Option<(String, String)> {
    let (media_type, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    Some((media_type.to_owned(), data.to_owned()))
}
