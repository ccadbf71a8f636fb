//! What every command prints with: one JSON document on one line, or tables for people.
//!
//! Text of others (names, reasons, descriptions) can hold control characters, and a terminal obeys
//! them; [`plain`] spells them out instead, and JSON has them as escapes.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

pub use crate::domain::visible::plain;
use crate::domain::visible::plain_json;

/// One JSON document and a line end.
pub fn json(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{}", plain_json(&value.to_string()))
}

/// Rows under a heading; `empty` is said where there are none.
pub fn table(
    out: &mut dyn Write,
    heading: &[&str],
    rows: Vec<Vec<String>>,
    empty: &str,
) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "{empty}");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading.iter().map(|text| text.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|text| plain(text)));
    }
    for line in table.to_string().lines() {
        writeln!(out, "{}", line.trim())?;
    }
    Ok(())
}

/// Names and values, one pair a line, values aligned.
pub fn pairs(out: &mut dyn Write, pairs: &[(&str, String)]) -> io::Result<()> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs
        .iter()
        .try_for_each(|(name, value)| writeln!(out, "{name:<width$}  {}", plain(value)))
}

/// What an answer's `warnings` say, a line each, taken out of it: nobody overlooks what stands alone.
pub fn take_warnings(told: &mut Value) -> Vec<String> {
    let taken = told.as_object_mut().and_then(|map| map.remove("warnings"));
    let list = taken.as_ref().and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts
        .map(|text| format!("Warning: {}", plain(text)))
        .collect()
}

/// What a JSON answer says at a place, as text: nothing for null and for what is not there, a list
/// with commas.
pub fn word(told: &Value, pointer: &str) -> String {
    fn text(value: &Value) -> String {
        match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
        }
    }
    told.pointer(pointer).map(text).unwrap_or_default()
}

/// The rows of a list in an answer, each of them the words at these places.
pub fn rows(told: &Value, list: &str, places: &[&str]) -> Vec<Vec<String>> {
    let items = told[list].as_array().into_iter().flatten();
    let row = |item| places.iter().map(|place| word(item, place)).collect();
    items.map(row).collect()
}

/// At most `max` characters of a text, with a sign that there is more.
pub fn short(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_elses_text_steers_the_terminal() {
        let mut out = Vec::new();
        let rows = vec![vec!["x\u{7}".to_owned(), "y".to_owned()]];
        table(&mut out, &["a", "b"], rows, "none").unwrap();
        assert!(!out.contains(&7));
    }

    #[test]
    fn a_long_text_says_that_there_is_more() {
        assert_eq!(short("abc", 3), "abc");
        assert_eq!(short("abcd", 3), "ab…");
    }
}
