//! Documents that people keep so that they can be found: what one is, who may find it, and how its
//! text is cut into passages and words.
//!
//! Passages of a document, put together, are its text again, byte for byte. What is counted for a
//! rank is counted by [`rank`], over what the asker may see.

pub mod ground;
pub mod near;
pub mod rank;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::document::Document;
use super::ids::{AgentId, OrgId, hex};
use super::principal::{Principal, Role};
use super::time::Timestamp;

/// Longest passage, in bytes; a character more if it would be cut.
const PASSAGE: usize = 800;
/// Longest word that is told from others, in characters.
const MAX_WORD: usize = 48;
/// Who everybody in the organisation is.
pub const EVERYBODY: &str = "org";

/// A document, without its text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Paper {
    /// What it is called.
    pub title: String,
    /// What it is sorted under.
    pub labels: Vec<String>,
    /// Who may find it: `org`, names of roles, ids of agents. Admins and its author always may.
    pub visible_to: Vec<String>,
    /// How many passages it has.
    pub passages: u64,
    /// How long its text is, in bytes.
    pub bytes: u64,
    /// Who wrote it.
    pub by: String,
    /// The agent that did, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// When.
    pub at: Timestamp,
    /// What its author calls it, where the name was another's whom he may not see; nobody else is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

impl Document for Paper {
    const KIND: &'static str = "paper";
    const CACHED: bool = false;
    type Id = str;
}

impl Paper {
    /// Everybody who may find it, spelt as [`readers`] spells who asks.
    pub fn readers(&self) -> Vec<String> {
        let named = self.visible_to.iter().map(|name| match Role::parse(name) {
            Some(role) => of_role(role),
            None if name == EVERYBODY => EVERYBODY.to_owned(),
            None => format!("agent:{name}"),
        });
        let always = [of_role(Role::Admin), format!("by:{}", self.by)];
        let mut readers: Vec<String> = named.chain(always).collect();
        readers.sort_unstable();
        readers.dedup();
        readers
    }
}

impl Paper {
    /// What it is called before this caller: `name`, or what only its author calls it.
    pub fn shown(&self, who: &Principal, name: &str) -> String {
        let own = self.alias.as_ref().filter(|_| self.by == author(who));
        own.map_or_else(|| name.to_owned(), Clone::clone)
    }
}

fn of_role(role: Role) -> String {
    format!("role:{}", role.name())
}

/// Whose a document is that somebody writes: an agent's, under whatever key it comes.
pub fn author(who: &Principal) -> String {
    let agent = who.agent.as_ref().map(ToString::to_string);
    agent.unwrap_or_else(|| who.id.clone())
}

/// As whom a principal may find something.
pub fn readers(who: &Principal) -> Vec<String> {
    let mut readers = vec![EVERYBODY.to_owned(), format!("by:{}", author(who))];
    readers.extend(who.roles.iter().map(of_role));
    readers.extend(who.agent.iter().map(|agent| format!("agent:{agent}")));
    readers
}

/// One row that is written of a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Whose.
    pub org: OrgId,
    /// Of which document.
    pub document: String,
    /// What it says.
    pub says: Says,
}

/// What a row says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Says {
    /// All there was of the document is gone.
    Gone,
    /// A passage of it.
    Passage {
        /// Which, from 0.
        place: u64,
        /// Its text.
        text: String,
    },
    /// Who may find it.
    Reader(String),
    /// What it is sorted under.
    Label(String),
}

/// The words of a text, as they are told apart.
pub fn words(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| word.to_lowercase().chars().take(MAX_WORD).collect())
        .collect()
}

/// Different words of a question, in order, at most so many.
pub fn question(text: &str, most: usize) -> Vec<String> {
    let mut asked: Vec<String> = Vec::new();
    for word in words(text) {
        if asked.len() < most && !asked.contains(&word) {
            asked.push(word);
        }
    }
    asked
}

/// A word as an index keeps it: one organisation's words are no other's, so that neither what is
/// found nor how long that takes depends on what others keep.
pub fn indexed(org: &OrgId, word: &str) -> String {
    let digest = hex(&Sha256::digest(org.as_str().as_bytes()));
    format!("{word}x{}", digest.get(..10).unwrap_or_default())
}

/// A text in passages: they end with a paragraph, else with a line, a sentence or a word.
pub fn passages(text: &str) -> Vec<&str> {
    let mut passages = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (passage, more) = rest.split_at(end(rest));
        passages.push(passage);
        rest = more;
    }
    passages
}

fn end(text: &str) -> usize {
    if text.len() <= PASSAGE {
        return text.len();
    }
    let most = (PASSAGE..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len());
    let head = text.get(..most).unwrap_or(text);
    for mark in ["\n\n", "\n", ". ", " "] {
        // Not so short that nothing of it could be understood.
        if let Some(at) = head.rfind(mark).filter(|at| *at >= PASSAGE / 4) {
            return at + mark.len();
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_put_together_are_the_text() {
        let line = "The supplier is paid within thirty days of the invoice. ";
        for text in [
            String::new(),
            "short".to_owned(),
            line.repeat(100),
            format!("{}\n\n{}", line.repeat(8), line.repeat(20)),
            "é".repeat(5_000),
        ] {
            let cut = passages(&text);
            assert_eq!(cut.concat(), text);
            assert!(cut.iter().all(|one| one.len() <= PASSAGE + 4));
        }
        assert!(passages(&line.repeat(100))[0].ends_with(". "));
    }

    #[test]
    fn words_are_told_apart_in_any_case_and_script() {
        assert_eq!(
            words("Pay ACME-Ltd, ₹5000!"),
            ["pay", "acme", "ltd", "5000"]
        );
        assert_eq!(words("قرارداد اجاره"), ["قرارداد", "اجاره"]);
        assert_eq!(question("a b A c", 2), ["a", "b"]);
        let (one, two): (OrgId, OrgId) = ("one".parse().unwrap(), "two".parse().unwrap());
        assert_ne!(indexed(&one, "pay"), indexed(&two, "pay"));
    }
}
