//! BM25, over figures that are handed in: of what the asker may see, and of nothing else. So nothing
//! that is hidden from him moves a score.
#![allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "a rank, which decides nothing"
)]

use std::collections::HashMap;

/// How soon a word that occurs again stops to count, and how much long passages are held back: the
/// values that the field uses.
const SATURATION: f64 = 1.2;
const LENGTH: f64 = 0.75;

/// What is known of everything that the asker may see.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Passages.
    pub passages: u64,
    /// Their words, together.
    pub words: u64,
    /// In how many passages a word is.
    pub holding: HashMap<String, u64>,
}

impl Figures {
    /// How well a passage of these words answers a question of those.
    pub fn score(&self, question: &[String], words: &[String]) -> f64 {
        let average = self.words as f64 / (self.passages.max(1) as f64);
        let long = words.len() as f64 / average.max(1.0);
        let held_back = SATURATION * (1.0 - LENGTH + LENGTH * long);
        let each = question.iter().map(|asked| {
            let times = words.iter().filter(|word| *word == asked).count() as f64;
            self.rarity(asked) * times * (SATURATION + 1.0) / (times + held_back)
        });
        let score: f64 = each.sum();
        (score * 10_000.0).round() / 10_000.0
    }

    fn rarity(&self, word: &str) -> f64 {
        let holding = self.holding.get(word).copied().unwrap_or(0) as f64;
        let others = (self.passages as f64 - holding).max(0.0);
        ((others + 0.5) / (holding + 0.5) + 1.0).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::search::words;

    #[test]
    fn what_is_rarer_counts_for_more_and_what_is_absent_for_nothing() {
        let figures = Figures {
            passages: 10,
            words: 60,
            holding: HashMap::from([("pay".into(), 9), ("acme".into(), 1)]),
        };
        let of = |asked: &str, text: &str| figures.score(&words(asked), &words(text));
        assert!(of("acme", "pay acme now") > of("pay", "pay acme now"));
        assert!(of("acme", "acme") > of("acme", "acme and many words more than that"));
        assert!(of("zebra", "pay acme now").abs() < f64::EPSILON);
    }
}
