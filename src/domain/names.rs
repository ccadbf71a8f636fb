//! The public names of upstreams' tools: who has which, for ever.
//!
//! Names decide where money goes: policies, freezes, settings and agents speak of them. So a name
//! once given stays with its tool, which is an upstream and that upstream's own name for it, also
//! while the upstream is away and after it left the configuration. A second server's tool of the
//! same name gets another one: `<upstream>_<name>`.
//!
//! Clients take names of at most 64 letters, digits, `_` and `-`, and for each tool three may be
//! seen: its own, and those of its two steps. What does not fit is shortened and ends in a hash of
//! the whole, so that the same tool is called the same everywhere. No two names are alike, capitals
//! apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::document::{Document, Single};
use super::ids::ToolName;
use super::tool::Tool;

/// Endings of the names of the two steps.
pub const STEPS: [&str; 2] = ["_propose", "_commit"];
/// Longest name that every client takes.
pub const MAX_OFFERED: usize = 64;
/// Longest name of a tool, so that those of its steps fit.
pub const MAX_NAME: usize = MAX_OFFERED - STEPS[0].len();
/// Digits of the hash that ends a name which did not fit.
const HASH_DIGITS: usize = 8;
/// Most names of one upstream: one that calls its tools otherwise each time must not fill the store.
const MAX_PER_UPSTREAM: usize = 2_000;

/// A tool, whatever it is called here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// The upstream's configured name.
    pub upstream: String,
    /// Its own name for the tool.
    pub tool: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.upstream, self.tool)
    }
}

/// A tool that needs a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// Whose name it would be.
    pub of: Identity,
    /// What it would like to be called: the operator's prefix and its own name.
    pub wanted: String,
}

/// Every name that was ever given. Kept as one document, so that its version arbitrates between
/// nodes that give names at the same moment.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Names {
    given: BTreeMap<String, Identity>,
}

impl Document for Names {
    const KIND: &'static str = "tool_names";
    const CACHED: bool = true;
    type Id = str;
}

impl Single for Names {
    const ID: &'static str = "all";
}

impl Names {
    /// The name that this tool has, if it has one.
    pub fn of(&self, wish: &Wish) -> Option<ToolName> {
        let mut candidates = candidates(wish).into_iter();
        let own = candidates.find(|name| self.given.get(name) == Some(&wish.of));
        own.and_then(|name| name.parse().ok())
    }

    /// Whose name it is.
    pub fn owner(&self, name: &str) -> Option<&Identity> {
        self.given.get(name)
    }

    /// Every name that was given.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.given.keys().map(String::as_str)
    }

    /// Gives a name to each that has none, in this order; `taken` are the broker's own. Returns
    /// whether any was given.
    pub fn give<'a>(
        &mut self,
        wishes: impl IntoIterator<Item = &'a Wish>,
        taken: impl IntoIterator<Item = &'a str>,
    ) -> bool {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for owner in self.given.values() {
            *counts.entry(owner.upstream.clone()).or_default() += 1;
        }
        let mut seen: BTreeSet<String> = taken.into_iter().flat_map(shapes).collect();
        seen.extend(self.given.keys().flat_map(|name| shapes(name)));
        let mut any = false;
        for wish in wishes {
            let count = counts.entry(wish.of.upstream.clone()).or_default();
            if self.of(wish).is_some() || *count >= MAX_PER_UPSTREAM {
                continue;
            }
            let mut candidates = candidates(wish).into_iter();
            let free = |name: &String| shapes(name).iter().all(|shape| !seen.contains(shape));
            if let Some(name) = candidates.find(free) {
                seen.extend(shapes(&name));
                self.given.insert(name, wish.of.clone());
                *count += 1;
                any = true;
            }
        }
        any
    }
}

/// What a tool may be called, the best first.
fn candidates(wish: &Wish) -> [String; 3] {
    let longer = format!("{}_{}", wish.of.upstream, wish.wanted);
    // Cannot be wished for by another tool: it ends in a hash of whose it is.
    let last = hashed(&wish.wanted, &json!([wish.of, wish.wanted]));
    [fitted(&wish.wanted), fitted(&longer), last]
}

/// A name that every client takes: the text itself where it is one.
pub fn fitted(text: &str) -> String {
    let fits = !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(is_plain);
    if fits {
        return text.to_owned();
    }
    hashed(text, &json!(text))
}

fn hashed(text: &str, whole: &serde_json::Value) -> String {
    let kept = text.chars().take(MAX_NAME - HASH_DIGITS - 1);
    let plain = |c: char| match u8::try_from(c) {
        Ok(byte) if is_plain(byte) => c,
        Ok(_) | Err(_) => '_',
    };
    let kept: String = kept.map(plain).collect();
    let digest = Tool::digest_of(whole);
    format!("{kept}_{}", &digest[..HASH_DIGITS])
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// What clients may see of a tool of this name, capitals aside.
fn shapes(name: &str) -> [String; 3] {
    let name = name.to_ascii_lowercase();
    let [propose, commit] = STEPS.map(|step| format!("{name}{step}"));
    [name, propose, commit]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(upstream: &str, tool: &str) -> Wish {
        Wish {
            of: Identity {
                upstream: upstream.into(),
                tool: tool.into(),
            },
            wanted: tool.into(),
        }
    }

    fn name(names: &Names, wish: &Wish) -> String {
        names.of(wish).expect("a name").to_string()
    }

    #[test]
    fn a_name_stays_with_whoever_had_it_first() {
        let mut names = Names::default();
        let (a, b) = (wish("a", "send"), wish("b", "send"));
        assert!(names.give([&b], []));
        assert!(names.give([&a, &b], []));
        assert!(!names.give([&a, &b], []), "all have one");
        assert_eq!(
            (name(&names, &b), name(&names, &a)),
            ("send".into(), "a_send".into())
        );
        let kept: Names = serde_json::from_value(json!(names)).unwrap();
        assert_eq!(kept, names);
        assert_eq!(kept.owner("send"), Some(&b.of));
    }

    #[test]
    fn no_two_names_are_alike_whatever_servers_call_their_tools() {
        let long = "x".repeat(200);
        let longer = format!("{long}y");
        let tools = [
            "pay",
            "PAY",
            "pay_commit",
            "pay_propose",
            "a_pay",
            "b_pay",
            "get_proposal",
            "noop",
            "",
            "a.b",
            "a/b",
            "a b",
            "ü",
            "🦀",
            &long,
            &longer,
            "a_b",
            "\u{1b}[31m",
        ];
        let ours = ["get_proposal", "noop"];
        let mut names = Names::default();
        let wishes: Vec<Wish> = ["a", "b"]
            .iter()
            .flat_map(|upstream| tools.map(|tool| wish(upstream, tool)))
            .collect();
        names.give(&wishes, ours);
        let mut seen: BTreeSet<String> = ours.iter().flat_map(|name| shapes(name)).collect();
        for wish in &wishes {
            for shape in shapes(&name(&names, wish)) {
                assert!(
                    shape.len() <= MAX_OFFERED && shape.bytes().all(is_plain),
                    "{shape:?}"
                );
                assert!(
                    seen.insert(shape.clone()),
                    "{shape} of {wish:?} is there twice"
                );
            }
        }
    }

    #[test]
    fn an_upstream_that_renames_its_tools_without_end_fills_its_own_share_only() {
        let mut names = Names::default();
        let wishes: Vec<Wish> = (0..MAX_PER_UPSTREAM + 5)
            .map(|n| wish("a", &format!("t{n}")))
            .collect();
        names.give(&wishes, []);
        assert_eq!(names.all().count(), MAX_PER_UPSTREAM);
        assert!(names.give([&wish("b", "t")], []));
    }
}
