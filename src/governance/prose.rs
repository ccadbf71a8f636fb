//! The words of a prompt, without the punctuation around them.

use super::integrity::ascii_digit;

/// One word.
#[derive(Debug)]
pub struct Word {
    /// As written, digits of other scripts as ASCII.
    pub text: String,
    /// In lower case.
    pub lower: String,
    /// A sentence or clause ends after it.
    pub ends: bool,
}

/// Every word of a prompt, in order.
pub fn words(prompt: &str) -> Vec<Word> {
    let quoting = |c: char| c.is_whitespace() || "\"'`(){}[]<>;|".contains(c);
    let mut words = Vec::new();
    for chunk in prompt.split(quoting) {
        // A URL is one word, so that no number in it is looked at.
        let parts: Vec<&str> = if chunk.contains("://") {
            vec![chunk]
        } else {
            chunk.split([':', '=']).collect()
        };
        for part in parts {
            let text = part.trim_matches(|c: char| ",.!?*_".contains(c));
            if text.is_empty() {
                continue;
            }
            let text: String = text.chars().map(|c| ascii_digit(c).unwrap_or(c)).collect();
            words.push(Word {
                lower: text.to_lowercase(),
                text,
                ends: part.ends_with(['.', ',', '!', '?']),
            });
        }
    }
    words
}
