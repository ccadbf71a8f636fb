//! Prices as people write them, in files and over the API alike: for one model, for all that a provider
//! has, or by model. What is wrong is told by where it is, and never by its value.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::price::{NotMoney, Prices, Rate};

/// What a price can have.
const FIELDS: [&str; 6] = [
    "input",
    "cached_input",
    "cache_write",
    "output",
    "reasoning",
    "request",
];
/// Longest name that is repeated, in characters.
const MAX_NAME: usize = 60;

/// What is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misread {
    /// The place, with dots; empty for all of it.
    pub at: String,
    /// What belongs there.
    pub words: String,
}

impl Misread {
    fn new(at: &str, words: impl Into<String>) -> Self {
        Self {
            at: at.to_owned(),
            words: words.into(),
        }
    }

    /// The same, of what stands at `name`.
    #[must_use]
    pub fn within(self, name: &str) -> Self {
        let name: String = name.chars().take(MAX_NAME).collect();
        let name = name.escape_debug().to_string();
        let at = match self.at.is_empty() {
            true => name,
            false => format!("{name}.{}", self.at),
        };
        Self { at, ..self }
    }
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.at, self.words)
    }
}

/// One price.
pub fn one(told: &Map<String, Value>) -> Result<Prices, Misread> {
    if let Some(name) = told.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        let words = format!("is no part of a price: it has {}", FIELDS.join(", "));
        return Err(Misread::new("", words).within(name));
    }
    Ok(Prices {
        input: needed(told, "input")?,
        cached_input: rate(told, "cached_input")?,
        cache_write: rate(told, "cache_write")?,
        output: needed(told, "output")?,
        reasoning: rate(told, "reasoning")?,
        request: rate(told, "request")?,
    })
}

/// Prices by model, or one for all of them, which is that of the model `*`.
pub fn by_model(told: &Map<String, Value>) -> Result<BTreeMap<String, Prices>, Misread> {
    let models = told.iter().map(|(model, value)| (model, value.as_object()));
    if models.clone().any(|(_, prices)| prices.is_none()) {
        return Ok(BTreeMap::from([("*".to_owned(), one(told)?)]));
    }
    let read = models.filter_map(|(model, prices)| Some((model, prices?)));
    read.map(|(model, prices)| {
        let prices = one(prices).map_err(|wrong| wrong.within(model))?;
        Ok((model.clone(), prices))
    })
    .collect()
}

fn needed(told: &Map<String, Value>, name: &str) -> Result<Rate, Misread> {
    let rate = rate(told, name)?;
    rate.ok_or_else(|| Misread::new(name, "is missing: dollars for a million tokens, as text"))
}

fn rate(told: &Map<String, Value>, name: &str) -> Result<Option<Rate>, Misread> {
    let wrong = |why: NotMoney| Misread::new(name, why.to_string());
    match told.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(wrong),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(wrong(NotMoney::Malformed))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    #[rustfmt::skip]
    fn prices_are_for_all_or_by_model_and_told_by_their_place() {
        for (told, read) in [
            (json!({}),                                              Ok(vec![])),
            (json!({"input": "1", "output": "2"}),                   Ok(vec!["*"])),
            (json!({"a": {"input": "1", "output": "2"}, "*": {"input": "1", "output": "2", "request": "0.01"}}), Ok(vec!["*", "a"])),
            (json!({"input": {"input": "1", "output": "2"}}),        Ok(vec!["input"])),
            (json!({"input": "1"}),                                  Err("`output` is missing")),
            (json!({"input": 1, "output": "2"}),                     Err("`input` has to be decimal dollars as text")),
            (json!({"*": {"input": "1", "output": 0.5}}),            Err("`*.output` has to be decimal dollars as text")),
            (json!({"a.b": {"input": "-1", "output": "1"}}),         Err("`a.b.input` has to be decimal")),
            (json!({"a": {"input": "1", "output": "1", "in": "2"}}), Err("`a.in` is no part of a price")),
            (json!({"a": "1"}),                                      Err("`a` is no part of a price")),
        ] {
            let map = told.as_object().unwrap();
            match (by_model(map), read) {
                (Ok(prices), Ok(models)) => assert_eq!(prices.keys().collect::<Vec<_>>(), models),
                (Err(wrong), Err(words)) => assert!(wrong.to_string().starts_with(words), "{wrong}"),
                (read, _) => panic!("{told}: {read:?}"),
            }
        }
    }
}
