//! A question in words that both databases understand, with the values it names as `$1`, `$2`...
//!
//! It is put together here and sent by the store it is asked of; so what is asked stands in the code
//! once ([`read`](super::read)), and only the few words that differ are a store's own.

use uuid::Uuid;

use crate::domain::ids::ProposalId;
use crate::domain::time::Timestamp;

/// One value that a question names.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Id(Uuid),
    /// Spelt as the store keeps instants.
    Time(Timestamp),
    /// An instant that may be none.
    MaybeTime(Option<Timestamp>),
}

/// The words and the values.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Question {
    pub text: String,
    pub values: Vec<Value>,
}

impl Question {
    /// A question that names no value yet.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            values: Vec::new(),
        }
    }

    /// More words.
    pub fn words(mut self, words: &str) -> Self {
        self.text.push_str(words);
        self
    }

    /// More words, which end with this value.
    pub fn with(mut self, words: &str, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self.text.push_str(words);
        self.text.push_str(&format!("${}", self.values.len()));
        self
    }

    /// The same, if there is a value.
    pub fn if_some(self, words: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(words, value),
            None => self,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Number(number.into())
    }
}

impl From<ProposalId> for Value {
    fn from(id: ProposalId) -> Self {
        Value::Id(id.uuid())
    }
}

impl From<uuid::Uuid> for Value {
    fn from(id: uuid::Uuid) -> Self {
        Value::Id(id)
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(at: Option<Timestamp>) -> Self {
        Value::MaybeTime(at)
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Value::Time(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_in_the_order_they_are_named() {
        let asked = Question::new("SELECT 1 WHERE a = ")
            .words("b")
            .with(" AND c = ", "x")
            .if_some(" AND d = ", None::<i64>)
            .if_some(" AND e < ", Some(7_u32))
            .words(" LIMIT 1");
        assert_eq!(
            asked.text,
            "SELECT 1 WHERE a = b AND c = $1 AND e < $2 LIMIT 1"
        );
        assert_eq!(asked.values, [Value::from("x"), Value::Number(7)]);
    }
}
