//! Paths of requests, whose holes are filled without leaving their segment; and paths into answers.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json_path::JsonPath;

use super::slots::{Filled, encoded};
use crate::connector::Malformed;
use crate::domain::tools::{Invalid, Slot, pointer};

/// Longest value in a path.
const MAX_VALUE: usize = 1_024;

/// A path with holes.
#[derive(Clone, Debug)]
pub(super) struct Path(Vec<Segment>);

/// What stands between two slashes.
#[derive(Clone, Debug)]
struct Segment(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    /// Encoded already.
    Plain(String),
    Hole(String, Slot),
}

impl Path {
    /// Reads `/orders/{id}`; pointers of errors begin at the document that has the path.
    pub(super) fn of(
        text: &str,
        params: &BTreeMap<String, Slot>,
        schema: Option<&Value>,
    ) -> Result<Self, Invalid> {
        let wrong = |why: &str| Invalid::tool("/path", why);
        let Some(rest) = text.strip_prefix('/') else {
            return Err(wrong("must begin with a slash, below the source's address"));
        };
        let mut taken: Vec<&str> = Vec::new();
        let mut segments = Vec::new();
        for segment in rest.split('/') {
            let pieces = pieces(segment, params, &mut taken).map_err(|why| wrong(&why))?;
            segments.push(Segment(pieces));
        }
        if let Some(name) = params.keys().find(|name| !taken.contains(&name.as_str())) {
            let at = format!("/path_params/{}", name.replace('/', "~1"));
            return Err(Invalid::tool(
                at,
                format!("`{{{name}}}` is not in the path"),
            ));
        }
        if let Some(schema) = schema {
            for (name, slot) in params {
                always_there(slot, schema)
                    .map_err(|why| Invalid::tool(format!("/path_params/{name}"), why))?;
            }
        }
        Ok(Self(segments))
    }

    /// The path, encoded.
    pub(super) fn filled(&self, filled: Filled<'_>) -> Result<String, Malformed> {
        let mut out = String::new();
        for Segment(pieces) in &self.0 {
            out.push('/');
            let start = out.len();
            for piece in pieces {
                match piece {
                    Piece::Plain(text) => out.push_str(text),
                    Piece::Hole(name, slot) => out.push_str(&hole(name, slot, filled)?),
                }
            }
            if matches!(out.get(start..), Some("." | "..")) {
                return Err(Malformed("a path must not lead upward".to_owned()));
            }
        }
        Ok(out)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        let pieces = self.0.iter().flat_map(|Segment(pieces)| pieces);
        pieces.filter_map(|piece| match piece {
            Piece::Plain(_) => None,
            Piece::Hole(_, slot) => Some(slot),
        })
    }

    /// Whether the proposal's id is in it.
    pub(super) fn names_proposal(&self) -> bool {
        self.slots().any(|slot| *slot == Slot::Proposal)
    }
}

/// The pieces of one segment.
fn pieces<'a>(
    segment: &'a str,
    params: &BTreeMap<String, Slot>,
    taken: &mut Vec<&'a str>,
) -> Result<Vec<Piece>, String> {
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
    if matches!(decoded.as_ref(), "." | "..") {
        return Err("must not have `.` or `..` as a segment".to_owned());
    }
    let mut out = Vec::new();
    let mut rest = segment;
    while let Some((plain, after)) = rest.split_once('{') {
        out.push(Piece::Plain(plain_text(plain)?));
        let Some((name, then)) = after.split_once('}') else {
            return Err("has a `{` that is not closed".to_owned());
        };
        let Some(slot) = params.get(name) else {
            return Err(format!("has `{{{name}}}`, which is not in `path_params`"));
        };
        taken.push(name);
        out.push(Piece::Hole(name.to_owned(), slot.clone()));
        rest = then;
    }
    out.push(Piece::Plain(plain_text(rest)?));
    Ok(out)
}

/// Text of the path's author: only what can stand in a segment as it is.
fn plain_text(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&byte);
    let mut escapes = text.split('%').skip(1);
    let escaped = |escape: &str| {
        let digits = escape.get(..2).unwrap_or_default();
        let known = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        // A slash that is encoded is a slash to many servers.
        known && !digits.eq_ignore_ascii_case("2f") && !digits.eq_ignore_ascii_case("5c")
    };
    match text.bytes().all(plain) && escapes.all(escaped) {
        true => Ok(text.to_owned()),
        false => Err(
            "has a character that cannot stand there: a query goes into `query`, and \
                      other characters are written as %XX"
                .to_owned(),
        ),
    }
}

/// A path with a hole that stays empty would be another path.
fn always_there(slot: &Slot, schema: &Value) -> Result<(), String> {
    let Slot::Arg(at) = slot else {
        return Ok(());
    };
    pointer::in_schema(schema, at)?;
    let root = pointer::root(at).unwrap_or_default();
    match pointer::required(schema).any(|name| name == root) {
        true => Ok(()),
        false => Err(format!(
            "`{root}` must be required: it is a part of the path"
        )),
    }
}

/// A value in its place. Some servers and proxies decode a path before they split it, so a value in
/// which a part leads upward is refused rather than encoded.
fn hole(name: &str, slot: &Slot, filled: Filled<'_>) -> Result<String, Malformed> {
    let place = format!("the path's `{name}`");
    let value = filled.single(slot, &place)?.unwrap_or_default();
    if value.is_empty() || value.len() > MAX_VALUE || value.contains(char::is_control) {
        let takes = format!("takes 1 to {MAX_VALUE} bytes without control characters");
        return Err(Malformed(format!("{place} {takes}")));
    }
    let mut parts = value.split(['/', '\\']);
    match parts.any(|part| matches!(part.trim(), "." | "..")) {
        true => Err(Malformed(format!("{place} must not lead upward"))),
        false => Ok(encoded(&value)),
    }
}

/// Whether a path names one place of a document, as opposed to any number of them.
pub(super) fn names_one_place(path: &str) -> bool {
    let mut quote = None;
    let mut before = ' ';
    for character in path.chars() {
        match quote {
            Some(open) if character == open && before != '\\' => quote = None,
            Some(_) => {}
            None if matches!(character, '\'' | '"') => quote = Some(character),
            None if matches!(character, '*' | '?' | ',' | ':') => return false,
            None if character == '.' && before == '.' => return false,
            None => {}
        }
        before = character;
    }
    true
}

/// What a path finds: the value, where it names one place, else a list.
pub(super) fn picked(path: &JsonPath, single: bool, document: &Value) -> Value {
    let found = path.query(document);
    match single {
        true => found.first().cloned().unwrap_or(Value::Null),
        false => found.into_iter().cloned().collect(),
    }
}
