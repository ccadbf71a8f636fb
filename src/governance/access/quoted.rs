//! Hidden values in sentences. A check that found something quotes what it saw; what the masks hide of
//! the arguments must not come back in its words.
//!
//! A quote is found in whatever way it is spelt: in part (the host of a URL, the domain of an
//! address), in other letters, or with the separators of an amount. Rather a sentence too many is
//! withheld than one too few shown.

use std::collections::BTreeSet;

use serde_json::Value;

/// Shortest run of letters and digits that is looked for anywhere; shorter ones only as whole words.
const ANYWHERE: usize = 4;

/// The values that are hidden of a document.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Quoted {
    parts: BTreeSet<String>,
}

impl Quoted {
    /// What `said` has and `shown` has not.
    pub fn between(said: &Value, shown: &Value) -> Self {
        let mut quoted = Self::default();
        quoted.differing(said, Some(shown));
        quoted
    }

    /// Whether these words may repeat one of them.
    pub fn is_in(&self, words: &str) -> bool {
        let words = plain(words);
        let runs: BTreeSet<&str> = runs(&words).collect();
        self.parts.iter().any(|part| {
            let somewhere = part.chars().count() >= ANYWHERE && words.contains(part.as_str());
            somewhere || runs.contains(part.as_str())
        })
    }

    fn differing(&mut self, said: &Value, shown: Option<&Value>) {
        match (said, shown) {
            (said, Some(shown)) if said == shown => {}
            (Value::Object(said), Some(Value::Object(shown))) => {
                for (name, value) in said {
                    self.differing(value, shown.get(name));
                }
            }
            (Value::Array(said), Some(Value::Array(shown))) if said.len() == shown.len() => {
                for (said, shown) in said.iter().zip(shown) {
                    self.differing(said, Some(shown));
                }
            }
            (said, _) => self.hide(said),
        }
    }

    fn hide(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => fields.values().for_each(|value| self.hide(value)),
            Value::Array(items) => items.iter().for_each(|value| self.hide(value)),
            Value::String(text) => self.add(text),
            Value::Number(number) => self.add(&number.to_string()),
            // Two words that are in every other sentence.
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn add(&mut self, text: &str) {
        let text = plain(text);
        self.parts.extend(runs(&text).map(str::to_owned));
    }
}

/// In small letters, with amounts as their digits alone: `6,00.00` is `60000`.
fn plain(text: &str) -> String {
    let letters: Vec<char> = text.to_lowercase().chars().collect();
    let is_digit = |at: Option<usize>| {
        let letter = at.and_then(|at| letters.get(at));
        letter.is_some_and(char::is_ascii_digit)
    };
    let within = |at: usize| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
    let kept = letters.iter().enumerate();
    let kept =
        kept.filter(|(at, letter)| !(matches!(letter, ',' | '.' | '\'' | '_') && within(*at)));
    kept.map(|(_, letter)| *letter).collect()
}

fn runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|run| !run.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    #[rustfmt::skip]
    fn a_quote_is_found_however_it_is_spelt() {
        let said = json!({
            "to": "fa_Secret01", "amount": 60_000, "note": {"url": "https://evil.example/pay"},
            "list": ["ann@acme.test", "kept"], "n": 7, "yes": true, "plain": "hello",
        });
        let mut shown = said.clone();
        (shown["to"], shown["amount"], shown["n"]) = (json!("[hidden]"), json!(null), json!("[hidden]"));
        shown.as_object_mut().unwrap().remove("note");
        (shown["list"][0], shown["yes"]) = (json!("h:12"), json!("[hidden]"));
        let quoted = Quoted::between(&said, &shown);
        for (words, found) in [
            ("fa_secret01 was never paid",              true),
            ("the account SECRET01 is new",             true),
            ("INR 600.00 is over 500.00",               true),
            ("60,000 is over 50,000",                   true),
            ("evil.example is on the block list",       true),
            ("ann was seen at acme.test",               true),
            ("7 payouts within an hour",                true),
            ("70 payouts within an hour",               false),
            ("the policy is true and says hello, kept", false),
            ("50,000 is over 40,000",                   false),
        ] {
            assert_eq!(quoted.is_in(words), found, "{words}");
        }
        assert!(!Quoted::between(&said, &said).is_in("fa_secret01"));
    }
}
