//! A mask: which values of a result are hidden, and how.
//!
//! Paths are RFC 9535, read by a library. Which of them are taken is narrower, because a mask is
//! evaluated on every result and results are somebody else's: what takes more than a walk over the
//! result (`..` twice, a query of the whole document in a filter, a regular expression for each
//! value, lists of selectors one inside the other, filters nested without end) is refused when it
//! is written, and the refusal says what to write instead.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json_path::JsonPath;

/// Longest path, in bytes.
const MAX_PATH: usize = 256;
/// Most filters in a path. The library's time to read nested ones doubles with each.
const MAX_FILTERS: usize = 3;
/// Most commas in the one list of selectors.
const MAX_COMMAS: usize = 20;

/// What is hidden of a result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Which values, from `data` of a result or the document of a preview or draft.
    pub path: MaskPath,
    /// How they are hidden.
    #[serde(rename = "do")]
    pub how: MaskDo,
}

/// How a value is hidden. The later one hides more, and wins where two masks meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskDo {
    /// Its last four characters stay.
    Last4,
    /// A keyed hash stands for it: the same for the same value, and nothing of the value.
    Hash,
    /// `(hidden)` stands for it, whatever it was.
    Redact,
    /// `null` stands for it, as if nobody had filled it in.
    Null,
    /// It is not there.
    Remove,
}

impl MaskDo {
    /// All of them, the one that hides least first.
    pub const ALL: [MaskDo; 5] = [
        MaskDo::Last4,
        MaskDo::Hash,
        MaskDo::Redact,
        MaskDo::Null,
        MaskDo::Remove,
    ];

    /// The word in documents.
    pub fn code(self) -> &'static str {
        match self {
            MaskDo::Last4 => "last4",
            MaskDo::Hash => "hash",
            MaskDo::Redact => "redact",
            MaskDo::Null => "null",
            MaskDo::Remove => "remove",
        }
    }
}

/// A path that can be evaluated on every result, compiled.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MaskPath(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    path: JsonPath,
}

impl MaskPath {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        if text.len() > MAX_PATH {
            return Err(BadPath(format!("must be at most {MAX_PATH} bytes long")));
        }
        cheap(text)?;
        let path = JsonPath::parse(text).map_err(|error| {
            BadPath(format!(
                "is no RFC 9535 path such as `$.rows[*].email`: {error}"
            ))
        })?;
        Ok(Self(Arc::new(Compiled {
            text: text.into(),
            path,
        })))
    }

    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The values of `data` that it leads to.
    pub fn values<'d>(&self, data: &'d Value) -> Vec<&'d Value> {
        self.0.path.query(data).all()
    }
}

impl PartialEq for MaskPath {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for MaskPath {}

impl fmt::Debug for MaskPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for MaskPath {
    type Error = BadPath;

    fn try_from(text: String) -> Result<Self, BadPath> {
        Self::parse(&text)
    }
}

impl From<MaskPath> for String {
    fn from(path: MaskPath) -> String {
        path.as_str().to_owned()
    }
}

/// Why a path is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadPath(String);

/// Refuses what costs more than a walk over the result.
fn cheap(text: &str) -> Result<(), BadPath> {
    let plain = without_quoted(text);
    let bare: String = plain.chars().filter(|c| !c.is_whitespace()).collect();
    let too_dear = |what: &str| {
        let advice = "is evaluated on every result, so it may not";
        Err(BadPath(format!("{advice} {what}")))
    };
    if bare.matches("..").count() > 1 {
        return too_dear("have `..` twice: write one mask for each place");
    }
    if bare.matches('$').count() > 1 {
        return too_dear("ask for the whole document in a filter: use `@`");
    }
    if bare.matches('?').count() > MAX_FILTERS {
        return too_dear(&format!("have more than {MAX_FILTERS} filters"));
    }
    if bare.contains("match(") || bare.contains("search(") {
        return too_dear("have regular expressions: name the place instead");
    }
    match lists(&bare) {
        (0 | 1, commas) if commas <= MAX_COMMAS => Ok(()),
        (0 | 1, _) => too_dear(&format!("list more than {MAX_COMMAS} selectors")),
        _ => too_dear("have two lists of selectors: write one mask for each place"),
    }
}

/// The path with its quoted texts left empty.
fn without_quoted(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            // Whatever is escaped, it is inside.
            Some(_) if c == '\\' => drop(chars.next()),
            Some(open) if c == open => {
                quote = None;
                plain.push(c);
            }
            Some(_) => {}
            None => {
                quote = Some(c).filter(|c| *c == '\'' || *c == '"');
                plain.push(c);
            }
        }
    }
    plain
}

/// How many brackets list several selectors, and the commas of all.
fn lists(plain: &str) -> (usize, usize) {
    let (mut open, mut lists, mut commas) = (Vec::new(), 0, 0);
    for c in plain.chars() {
        match c {
            '[' | '(' => open.push((c, false)),
            ']' | ')' => drop(open.pop()),
            ',' => {
                commas += 1;
                if let Some((bracket, listed)) = open.last_mut()
                    && *bracket == '['
                    && !std::mem::replace(listed, true)
                {
                    lists += 1;
                }
            }
            _ => {}
        }
    }
    (lists, commas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    #[rustfmt::skip]
    fn only_paths_that_cost_a_walk_are_taken() {
        let long = format!("$.{}", "a".repeat(MAX_PATH));
        let listed = format!("$[{}]", ["*"; 40].join(","));
        let cases: &[(&str, Option<&str>)] = &[
            ("$",                                   None),
            ("$.rows[*].email",                     None),
            ("$..email",                            None),
            ("$['a, b', 'c..d', \"$\", '?']",       None),
            ("$['it\\'s .. $ ? match(']..x",        None),
            ("$.rows[?@.country == 'IR'].phone",    None),
            ("$.rows[?length(@.name) > 3 && @.ok].name", None),
            ("$.rows[?count(@['a','b']) > 1, 3]",   Some("two lists")),
            ("$.rows[1:5, 7]",                      None),
            ("rows.email",                          Some("RFC 9535")),
            ("$.rows[",                             Some("RFC 9535")),
            ("$.rows[01]",                          Some("RFC 9535")),
            ("",                                    Some("RFC 9535")),
            (&long,                                 Some("bytes")),
            ("$..a..b",                             Some("twice")),
            ("$..a[?@..b]",                         Some("twice")),
            ("$.a .. b .. c",                       Some("twice")),
            ("$.a[?@.b == $.c]",                    Some("whole document")),
            ("$[?@[?@[?@[?@.a]]]]",                 Some("filters")),
            ("$[?search(@.a, 'x')]",                Some("regular")),
            ("$[?match (@.a, 'x')]",                Some("regular")),
            ("$[*,*][*,*]",                         Some("two lists")),
            (&listed,                               Some("selectors")),
        ];
        for (path, refused) in cases {
            let told = MaskPath::parse(path).map_err(|error| error.to_string());
            match (told, refused) {
                (Ok(read), None) => assert_eq!(read.as_str(), *path),
                (Err(told), Some(word)) => assert!(told.contains(word), "{path}: {told}"),
                (told, _) => panic!("{path}: {told:?}"),
            }
        }
    }

    #[test]
    fn a_mask_has_one_spelling() {
        for how in MaskDo::ALL {
            let written = json!({"path": "$.a", "do": how.code()});
            let mask: Mask = serde_json::from_value(written.clone()).unwrap();
            assert_eq!((mask.how, json!(mask)), (how, written));
        }
        assert!(MaskDo::ALL.is_sorted());
    }
}
