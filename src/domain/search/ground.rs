//! How much of an answer stands in the passages that its model was given: the share of the answer's
//! own words that are in one of them. A hint for people; nothing is decided by it.
#![allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "a share, which decides nothing"
)]

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::words;

/// Shorter words say nothing about where an answer is from; numbers always do.
const SHORTEST: usize = 4;

/// A passage that a question was asked with.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Given {
    /// Its document.
    pub document: String,
    /// Where in it.
    pub place: u64,
    /// Its text.
    pub text: String,
}

impl Given {
    /// What names it.
    pub fn id(&self) -> String {
        format!("{}#{}", self.document, self.place)
    }
}

/// What an answer stands on.
#[derive(Clone, PartialEq, Debug)]
pub struct Grounding {
    /// From 0, nothing, to 1, everything.
    pub score: f64,
    /// The same for each passage by itself.
    pub passages: Vec<(String, f64)>,
}

/// What an answer stands on of what was given.
pub fn grounding(answer: &str, given: &[Given]) -> Grounding {
    let said = telling(answer);
    let texts: Vec<BTreeSet<String>> = given.iter().map(|one| telling(&one.text)).collect();
    let all: BTreeSet<String> = texts.iter().flatten().cloned().collect();
    let named = given.iter().map(Given::id);
    Grounding {
        score: share(&said, &all),
        passages: named
            .zip(texts.iter().map(|text| share(&said, text)))
            .collect(),
    }
}

fn telling(text: &str) -> BTreeSet<String> {
    let tells = |word: &String| {
        word.chars().count() >= SHORTEST || word.chars().all(|letter| letter.is_ascii_digit())
    };
    words(text).into_iter().filter(tells).collect()
}

fn share(said: &BTreeSet<String>, of: &BTreeSet<String>) -> f64 {
    let stands = said.intersection(of).count() as f64;
    (stands / said.len().max(1) as f64 * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stands_on_what_it_repeats() {
        let given = [Given {
            document: "contract".to_owned(),
            place: 0,
            text: "Rent is 5000 rupees, payable monthly".to_owned(),
        }];
        let whole = grounding("rent: 5000 rupees", &given);
        assert!((whole.score - 1.0).abs() < 0.001, "{whole:?}");
        assert_eq!(whole.passages[0].0, "contract#0");
        assert!(grounding("elephants fly", &given).score < 0.001);
        assert!(grounding("", &given).score < 0.001);
    }
}
