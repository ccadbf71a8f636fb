//! Reads an upstream's answer however it is spelt: numbers by their value, ids as texts or numbers,
//! and a readback's answer only for the one record that is about the order.
//!
//! A record counts as ours if it repeats our reference or an argument of the order, where the rule
//! names one, and contradicts none of them. What fits without saying whose it is proves nothing.

use serde_json::{Number, Value};

use crate::domain::call::Order;
use crate::domain::tool::at_path;
use crate::domain::upstream::{Readback, ResultId, Term, ToolRule};

/// Beyond this a double is no longer one integer: 2^53.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Whether two values say the same: a number is its value, so `500.0` is `500`.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || whole(one).is_some_and(|n| whole(other) == Some(n))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let told = |(name, value): (&String, &Value)| {
                other.get(name).is_some_and(|other| same(value, other))
            };
            one.len() == other.len() && one.iter().all(told)
        }
        (one, other) => one == other,
    }
}

/// The integer that a number is, written with a fraction of zero or without one.
pub(super) fn whole(number: &Number) -> Option<i128> {
    if let Some(n) = number.as_i64() {
        return Some(n.into());
    }
    if let Some(n) = number.as_u64() {
        return Some(n.into());
    }
    let double = number.as_f64()?;
    let is_whole = double.abs() <= MAX_WHOLE && double.fract() == 0.0;
    is_whole.then_some(double as i128)
}

/// The id that the rule expects: one text or whole number that matches.
pub(super) fn id_of(rule: &ResultId, content: &Value) -> Result<String, String> {
    let values = at_path(content, &rule.path).unwrap_or_default();
    let id = match values.as_slice() {
        [Value::String(id)] => Some(id.clone()),
        [Value::Number(number)] => whole(number).map(|n| n.to_string()),
        _ => None,
    };
    id.filter(|id| rule.pattern.matches(id))
        .ok_or_else(|| format!("the answer lacks the id expected at `{}`", rule.path))
}

/// What a readback's answer shows.
pub(super) enum Shown<'a> {
    /// This record is about the order.
    Ours(&'a Value),
    /// The answer has records, and none of them is what was looked for.
    Nothing,
    /// It cannot be told.
    Unclear(String),
}

/// Looks for the one record that is about the order.
pub(super) fn look<'a>(
    rule: &ToolRule,
    readback: &Readback,
    order: &Order,
    content: &'a Value,
) -> Shown<'a> {
    let test = &readback.found_if;
    let (args, reference) = (order.args.value(), order.reference());
    let expected = match &test.equals {
        None => None,
        Some(term) => match term.value(&args, &reference) {
            Some(expected) => Some(expected),
            None => return Shown::Unclear("the order does not say what to look for".to_owned()),
        },
    };
    let fits = |value: &Value| {
        let equal = expected
            .as_ref()
            .is_none_or(|expected| same(value, expected));
        let text = |value: &Value| match (value.as_number(), value.as_str()) {
            (Some(number), _) => number.to_string(),
            (None, text) => text.unwrap_or_default().to_owned(),
        };
        let pattern = test.pattern.as_ref();
        equal && pattern.is_none_or(|pattern| pattern.matches(&text(value)))
    };
    let nothing_there = || Shown::Unclear(format!("the answer has nothing at `{}`", test.path));
    let Some((records, path)) = records(content, &test.path) else {
        return nothing_there();
    };
    let (mut looked, mut ours, mut others) = (records.is_empty(), Vec::new(), 0);
    for record in records {
        let values = match path {
            "" => vec![record],
            path => at_path(record, path).unwrap_or_default(),
        };
        looked |= !values.is_empty();
        if !values.iter().any(|value| fits(value)) {
            continue;
        }
        match is_ours(rule, readback, record, &args, &reference) {
            true => ours.push(record),
            false => others += 1,
        }
    }
    match ours.as_slice() {
        [record] => Shown::Ours(record),
        [] if others > 0 => {
            Shown::Unclear("the answer does not show that it is about this order".to_owned())
        }
        [] if looked => Shown::Nothing,
        [] => nothing_there(),
        many => Shown::Unclear(format!("{} records fit the order", many.len())),
    }
}

/// The records that a path looks at, and the path within each: the items of its first list, or the
/// whole answer. `None` if the answer does not have that shape.
fn records<'a, 'p>(content: &'a Value, path: &'p str) -> Option<(Vec<&'a Value>, &'p str)> {
    let Some((list, rest)) = path.split_once("[]") else {
        return Some((vec![content], path));
    };
    let items = match list {
        "" => content,
        list => match at_path(content, list).ok()?.as_slice() {
            [items] => items,
            _ => return None,
        },
    };
    let items = items.as_array()?.iter().collect();
    Some((items, rest.trim_start_matches('.')))
}

/// Whether a record that fits repeats something of the order and contradicts nothing of it.
fn is_ours(
    rule: &ToolRule,
    readback: &Readback,
    record: &Value,
    args: &Value,
    reference: &str,
) -> bool {
    let of_the_order = |term: &Term| matches!(term, Term::Argument(_) | Term::Reference);
    let mut bound = readback.found_if.equals.as_ref().is_some_and(of_the_order);
    for (path, term) in &rule.echoes {
        let Some(expected) = term.value(args, reference) else {
            continue;
        };
        let told = at_path(record, path).unwrap_or_default();
        if told.iter().any(|value| !same(value, &expected)) {
            return false;
        }
        bound |= of_the_order(term) && !told.is_empty();
    }
    for (name, term) in &readback.arguments {
        let (Some(told), Some(asked)) = (record.get(name), term.value(args, reference)) else {
            continue;
        };
        let equal = same(told, &asked);
        if *term == Term::Reference && !equal {
            return false;
        }
        bound |= of_the_order(term) && equal;
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    #[rustfmt::skip]
    fn numbers_are_compared_by_value_and_texts_are_not_numbers() {
        let cases = [
            ("500",       "500.0",                true),
            ("500",       "5e2",                  true),
            ("-0.0",      "0",                    true),
            ("500",       "500.5",                false),
            ("500",       "\"500\"",              false),
            ("18446744073709551615", "18446744073709551614", false),
            ("18446744073709551615", "18446744073709551616.0", false),
            ("[1, {\"a\": 2}]", "[1.0, {\"a\": 2.0}]", true),
            ("[1, {\"a\": 2}]", "[1, {\"b\": 2}]",     false),
            ("[1]",       "[1, 1]",               false),
            ("null",      "0",                    false),
        ];
        for (one, other, expected) in cases {
            let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(same(&read(one), &read(other)), expected, "{one} {other}");
            assert_eq!(same(&read(other), &read(one)), expected, "{other} {one}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn an_id_may_be_a_text_or_a_whole_number() {
        let rule: ResultId = serde_json::from_value(json!({"path": "id", "pattern": "[0-9]+"})).unwrap();
        let cases = [
            (json!({"id": "7"}),            Some("7")),
            (json!({"id": 16_521_632}),     Some("16521632")),
            (json!({"id": 7.0}),            Some("7")),
            (json!({"id": 7.5}),            None),
            (json!({"id": -7}),             None),
            (json!({"id": true}),           None),
            (json!({"id": ["7"]}),          None),
            (json!({}),                     None),
        ];
        for (content, expected) in cases {
            assert_eq!(id_of(&rule, &content).ok().as_deref(), expected, "{content}");
        }
    }
}
