//! Replaces secrets by `[secret:TYPE:n]`, and puts them back into a result where that is asked for.
//!
//! The same secret has the same number, so that a model can still tell that two are one. A number
//! that the text itself claims in that manner is never given, or whoever wrote the text could have
//! somebody else's secret put where he likes. What was replaced is held in memory, and wiped; whoever wants it
//! put back later keeps it under a seal.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::walk::{self, Part, Placed};
use super::{Find, find};
use crate::domain::secret::Secret;

const OPENS: &str = "[secret:";
/// Longest placeholder: the longest rule and any number.
const MAX_PLACEHOLDER: usize = 64;

/// What was replaced by what.
#[derive(Default)]
pub struct Vault {
    held: Vec<(String, Secret)>,
    claimed: BTreeSet<String>,
    last: u64,
}

impl Vault {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is to be kept of it, under a seal, for whoever puts secrets back later: what was replaced,
    /// by what.
    pub fn kept(&self) -> Vec<(String, String)> {
        let held = self.held.iter();
        held.map(|(name, secret)| (name.clone(), secret.expose().to_owned()))
            .collect()
    }

    /// One that puts back what was [`kept`](Vault::kept).
    pub fn of(kept: Vec<(String, String)>) -> Self {
        let held = kept.into_iter();
        Self {
            held: held
                .map(|(name, secret)| (name, Secret::new(&secret)))
                .collect(),
            ..Self::default()
        }
    }

    /// How many different secrets it holds.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing was replaced.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Replaces every secret of a text.
    pub fn redact_text(&mut self, text: &str) -> String {
        self.claim(text);
        self.replaced(text, &find(text.as_bytes()))
    }

    /// Replaces every secret of a document that `spares` does not except.
    pub fn redact(&mut self, value: &mut Value, spares: &dyn Fn(&Placed) -> bool) {
        claim_all(value, self);
        walk::change(value, &mut |pointer, part: Part, text, finds| {
            let kept = |find: &&Find| {
                !spares(&Placed {
                    pointer: pointer.to_owned(),
                    part,
                    find: **find,
                })
            };
            let finds: Vec<Find> = finds.iter().filter(kept).copied().collect();
            (!finds.is_empty()).then(|| self.replaced(text, &finds))
        });
    }

    /// Puts back what was replaced. Whatever else looks like a placeholder stays.
    pub fn restore_text(&self, text: &str) -> String {
        let mut restored = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(OPENS) {
            let (before, from) = rest.split_at(at);
            restored.push_str(before);
            let placeholder = placeholder(from).unwrap_or(OPENS);
            let held = self.held.iter().find(|(name, _)| name == placeholder);
            restored.push_str(held.map_or(placeholder, |(_, secret)| secret.expose()));
            rest = from.get(placeholder.len()..).unwrap_or_default();
        }
        restored.push_str(rest);
        restored
    }

    /// Puts back into every text of a document, names of fields too. A text that is JSON itself (the
    /// arguments of a tool call) has to be read first, or a quote in a secret would end its string.
    pub fn restore(&self, value: &mut Value) {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => *text = self.restore_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.restore(item)),
            Value::Object(map) => {
                map.values_mut().for_each(|value| self.restore(value));
                let named: Vec<_> = map
                    .keys()
                    .filter(|name| name.contains(OPENS))
                    .cloned()
                    .collect();
                for name in named {
                    if let Some(value) = map.remove(&name) {
                        map.insert(self.restore_text(&name), value);
                    }
                }
            }
        }
    }

    fn replaced(&mut self, text: &str, finds: &[Find]) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut at = 0;
        for find in finds {
            replaced.push_str(text.get(at..find.start).unwrap_or_default());
            let secret = text.get(find.start..find.end).unwrap_or_default();
            replaced.push_str(&self.placeholder_of(find.rule, secret));
            at = find.end;
        }
        replaced.push_str(text.get(at..).unwrap_or_default());
        replaced
    }

    fn placeholder_of(&mut self, rule: &str, secret: &str) -> String {
        let held = self.held.iter().find(|(_, held)| held.expose() == secret);
        if let Some((placeholder, _)) = held {
            return placeholder.clone();
        }
        loop {
            self.last += 1;
            let placeholder = format!("{OPENS}{rule}:{}]", self.last);
            if !self.claimed.contains(&placeholder) {
                self.held.push((placeholder.clone(), Secret::new(secret)));
                return placeholder;
            }
        }
    }

    /// Notes the placeholders that a text has of its own.
    fn claim(&mut self, text: &str) {
        for (at, _) in text.match_indices(OPENS) {
            let claimed = text.get(at..).and_then(placeholder);
            self.claimed.extend(claimed.map(str::to_owned));
        }
    }
}

/// The placeholder that a text starts with.
fn placeholder(text: &str) -> Option<&str> {
    let name = text.bytes().take(MAX_PLACEHOLDER).skip(OPENS.len());
    let len = name.take_while(|byte| !b"[]".contains(byte)).count();
    let placeholder = text.get(..=OPENS.len() + len)?;
    placeholder.ends_with(']').then_some(placeholder)
}

fn claim_all(value: &Value, vault: &mut Vault) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => vault.claim(text),
        Value::Array(items) => items.iter().for_each(|item| claim_all(item, vault)),
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            vault.claim(name);
            claim_all(value, vault);
        }),
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.held.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Vault").field("held", &names).finish()
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
