//! Rows as JSON, within bounds.

use serde_json::{Map, Value};

use super::{Rows, Shown, Trouble};
use crate::domain::tools::statement::state_of;

/// Collects rows until there are enough.
pub(super) struct Collector {
    rows: Vec<Value>,
    bytes: usize,
    max_rows: usize,
    max_bytes: usize,
    truncated: bool,
}

impl Collector {
    pub(super) fn new(max_rows: usize, max_bytes: usize) -> Self {
        Self {
            rows: Vec::new(),
            bytes: 0,
            max_rows,
            max_bytes,
            truncated: false,
        }
    }

    /// Takes a row; false if it was one too many.
    pub(super) fn take(&mut self, row: Value) -> Result<bool, Trouble> {
        if self.rows.len() >= self.max_rows {
            self.truncated = true;
            return Ok(false);
        }
        self.bytes += size(&row) + 1;
        if self.bytes > self.max_bytes {
            return Err(Trouble::TooLarge(self.max_bytes));
        }
        self.rows.push(row);
        Ok(true)
    }

    pub(super) fn done(self) -> Rows {
        Rows {
            rows: self.rows,
            truncated: self.truncated,
        }
    }
}

/// A preview's rows. One that was cut off shows something else than what is approved.
pub(super) fn shown(rows: Rows) -> Result<Shown, Trouble> {
    if rows.truncated {
        let most = super::MAX_PREVIEW_ROWS;
        return Err(Trouble::Refused(format!(
            "the preview has more than {most} rows, which nobody could approve: ask for less"
        )));
    }
    let state = state_of(&rows.rows);
    Ok(Shown {
        rows: rows.rows,
        state,
    })
}

/// The length of a value as JSON, to within its escapes.
fn size(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| size(item) + 1).sum::<usize>() + 2,
        Value::Object(map) => {
            let members = map.iter().map(|(key, item)| key.len() + size(item) + 4);
            members.sum::<usize>() + 2
        }
    }
}

/// Names of columns, each once: `a`, `a_2`.
pub(super) fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for name in names {
        let again = (2..).map(|number| format!("{name}_{number}"));
        let mut spellings = std::iter::once(name.clone()).chain(again);
        let free = spellings.find(|spelling| !taken.contains(spelling));
        taken.push(free.unwrap_or(name));
    }
    taken
}

/// One row.
pub(super) fn object(names: &[String], values: impl Iterator<Item = Value>) -> Value {
    let members: Map<String, Value> = names.iter().cloned().zip(values).collect();
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_bounded_in_number_and_bytes() {
        let mut collector = Collector::new(2, 40);
        assert_eq!(collector.take(json!({"a": 1})), Ok(true));
        assert_eq!(collector.take(json!({"a": 1})), Ok(true));
        assert_eq!(collector.take(json!({"a": 1})), Ok(false));
        assert!(collector.done().truncated);
        let mut collector = Collector::new(2, 30);
        let long = json!({"a": "x".repeat(30)});
        assert_eq!(collector.take(long), Err(Trouble::TooLarge(30)));
    }

    #[test]
    fn columns_of_one_name_are_told_apart() {
        let names = ["a", "a", "a_2", "b", "a"].map(str::to_owned).into_iter();
        assert_eq!(distinct(names), ["a", "a_2", "a_2_2", "b", "a_3"]);
    }
}
