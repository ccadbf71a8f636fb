//! What finds mean: `secrets.mode` and its exceptions, applied to a document.
//!
//! An exception is by rule and by place, never by value, and what it lets through is told, so that
//! it can be recorded.

use std::str::FromStr;

use serde_json::Value;

use super::redact::Vault;
use super::rules;
use super::walk::{self, Placed};

/// What is done about secrets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Nothing that has one leaves.
    #[default]
    Block,
    /// They are replaced, and the rest leaves.
    Redact,
    /// They are counted, and leave.
    Observe,
}

impl Mode {
    /// Its one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Block => "block",
            Mode::Redact => "redact",
            Mode::Observe => "observe",
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Mode::Block, Mode::Redact, Mode::Observe]
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| "has to be `block`, `redact` or `observe`".to_owned())
    }
}

/// What may leave although it looks like a secret: `RULE POINTER`, where the rule may be `*`, a `*`
/// in the pointer is any one part of it, and `**` at its end is any rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exception {
    rule: String,
    pointer: Vec<String>,
}

impl Exception {
    fn covers(&self, placed: &Placed) -> bool {
        let parts: Vec<&str> = placed.pointer.split('/').skip(1).collect();
        let (open, wanted) = match self.pointer.split_last() {
            Some((last, wanted)) if last == "**" => (true, wanted),
            _ => (false, self.pointer.as_slice()),
        };
        let long = if open {
            parts.len() >= wanted.len()
        } else {
            parts.len() == wanted.len()
        };
        let mut pairs = wanted.iter().zip(parts);
        let same = pairs.all(|(wanted, part)| wanted == "*" || wanted == part);
        long && same && (self.rule == "*" || self.rule == placed.find.rule)
    }
}

impl FromStr for Exception {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rule, pointer) = text.split_once(' ').unwrap_or((text, "/**"));
        if rule != "*" && !rules().contains(&rule) {
            return Err(
                "starts with the type of a secret, as `hundi scan` names it, or with `*`"
                    .to_owned(),
            );
        }
        let pointer = pointer.trim();
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err("ends with a JSON pointer, such as `/messages/*/content`".to_owned());
        }
        Ok(Self {
            rule: rule.to_owned(),
            pointer: pointer.split('/').skip(1).map(str::to_owned).collect(),
        })
    }
}

/// What was found, and what is to be done.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Whether the document must not leave.
    pub refused: bool,
    /// What counts as a secret.
    pub found: Vec<Placed>,
    /// What was let through by an exception.
    pub excepted: Vec<Placed>,
    /// What was replaced, if anything was.
    pub vault: Vault,
}

/// Looks at a document, and replaces what is to be replaced.
pub fn judge(value: &mut Value, mode: Mode, exceptions: &[Exception]) -> Verdict {
    let spares = |placed: &Placed| exceptions.iter().any(|exception| exception.covers(placed));
    let (excepted, found): (Vec<_>, Vec<_>) = walk::find_in(value).into_iter().partition(spares);
    let mut verdict = Verdict {
        refused: mode == Mode::Block && !found.is_empty(),
        found,
        excepted,
        vault: Vault::new(),
    };
    if mode == Mode::Redact && !verdict.found.is_empty() {
        verdict.vault.redact(value, &spares);
    }
    verdict
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
