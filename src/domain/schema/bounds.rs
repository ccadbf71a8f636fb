//! How large a schema may be that somebody else wrote. Checked before anything else looks at it.
//!
//! A schema of three hundred bytes can ask for more memory than there is, or for more steps than
//! anybody waits for: branches in branches, references to references, patterns that repeat. What
//! goes beyond these bounds is refused as a whole. The check itself visits each part once, keeps
//! its place on the heap, and goes no deeper than the bounds allow.

use std::collections::HashMap;

use regex::RegexBuilder;
use serde_json::{Map, Value};

use super::shortened;

/// Longest schema: names, texts and a little for each part. The largest of well-known servers
/// are a tenth of it.
const MAX_BYTES: usize = 256 * 1024;
/// Most parts: objects, lists and single values.
const MAX_NODES: usize = 10_000;
/// Deepest nesting as it is written.
const MAX_DEPTH: usize = 64;
/// Most references.
const MAX_REFS: usize = 512;
/// Longest way down with references followed. Whoever compiles a schema goes this way with its
/// stack.
const MAX_WAY: usize = 128;
/// Most schemas applied to one value one inside the other. Checking arguments goes this way at each
/// level of them.
const MAX_IN_PLACE: usize = 16;
/// Most schemas applied to one value altogether, each as often as it is reached.
const MAX_APPLIED: usize = 4_096;
/// Memory for all compiled patterns of one schema.
const MAX_PATTERNS_BYTES: usize = 4 * 1024 * 1024;
/// Memory for one compiled pattern.
pub(super) const MAX_PATTERN_BYTES: usize = 1024 * 1024;
/// What the smallest pattern is taken to need, so that many small ones are bounded as well.
const LEAST_PATTERN_BYTES: usize = 16 * 1024;

/// Keywords that apply another schema to the same value, with one schema or a list of them.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "if", "then", "else", "not"];
/// The same, with a map of them.
const IN_PLACE_BY_NAME: &str = "dependentSchemas";

/// Refuses a schema that is too large to be looked at, or that leads in circles.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let parts = measured(schema)?;
    patterns(&parts)?;
    let mut graph = Graph {
        doc: schema,
        applied: HashMap::new(),
        ways: HashMap::new(),
    };
    for part in parts.iter().filter(|part| part.is_object()) {
        graph.applied(part, 0)?;
    }
    graph.way(schema, 0)?;
    for part in parts.iter().filter(|part| part.is_object()) {
        graph.way(part, 0)?;
    }
    Ok(())
}

/// Every part of the document, after counting them all.
fn measured(schema: &Value) -> Result<Vec<&Value>, String> {
    let mut parts = Vec::new();
    let (mut bytes, mut refs) = (0_usize, 0_usize);
    let mut open = vec![(schema, 0_usize)];
    while let Some((value, depth)) = open.pop() {
        parts.push(value);
        bytes = bytes.saturating_add(8);
        if parts.len() > MAX_NODES {
            return Err(format!("it has more than {MAX_NODES} parts"));
        }
        if depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
        }
        match value {
            Value::String(text) => bytes = bytes.saturating_add(text.len()),
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(map) => {
                refs += usize::from(map.get("$ref").is_some_and(Value::is_string));
                bytes = map
                    .keys()
                    .fold(bytes, |sum, key| sum.saturating_add(key.len()));
                open.extend(map.values().map(|inner| (inner, depth + 1)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        if bytes > MAX_BYTES {
            return Err(format!("it is larger than {MAX_BYTES} bytes"));
        }
    }
    if refs > MAX_REFS {
        return Err(format!("it has more than {MAX_REFS} references"));
    }
    Ok(parts)
}

/// Holds the compiled patterns together to what one schema may use.
fn patterns(parts: &[&Value]) -> Result<(), String> {
    let mut left = MAX_PATTERNS_BYTES;
    for part in parts {
        let Some(map) = part.as_object() else {
            continue;
        };
        let plain = map.get("pattern").and_then(Value::as_str);
        let keys = map.get("patternProperties").and_then(Value::as_object);
        let keys = keys.into_iter().flat_map(Map::keys).map(String::as_str);
        for pattern in plain.into_iter().chain(keys) {
            left = left.checked_sub(needed(pattern)).ok_or_else(|| {
                format!("its patterns need more than {MAX_PATTERNS_BYTES} bytes together")
            })?;
        }
    }
    Ok(())
}

/// About how much memory a pattern needs, within a factor of four: what it compiles in. One that
/// does not, or is written in another dialect, is charged the most that one may use.
fn needed(pattern: &str) -> usize {
    let mut room = LEAST_PATTERN_BYTES;
    while room < MAX_PATTERN_BYTES {
        match RegexBuilder::new(pattern).size_limit(room).build() {
            Ok(_) => return room,
            Err(regex::Error::CompiledTooBig(_)) => room *= 4,
            Err(_) => return MAX_PATTERN_BYTES,
        }
    }
    MAX_PATTERN_BYTES
}

/// What is known of a part that was visited; `None` while it is being visited.
type Visited<T> = HashMap<*const Value, Option<T>>;

struct Graph<'a> {
    doc: &'a Value,
    applied: Visited<Applied>,
    ways: Visited<usize>,
}

/// The schemas that apply to one value because one does.
#[derive(Clone, Copy)]
struct Applied {
    /// One inside the other.
    deep: usize,
    /// Altogether.
    many: usize,
}

impl<'a> Graph<'a> {
    fn applied(&mut self, node: &'a Value, depth: usize) -> Result<Applied, String> {
        let Some(map) = node.as_object() else {
            return Ok(Applied { deep: 0, many: 1 });
        };
        if depth > MAX_IN_PLACE {
            return Err(too_deep());
        }
        match self.applied.get(&std::ptr::from_ref(node)) {
            Some(Some(known)) if depth + known.deep > MAX_IN_PLACE => return Err(too_deep()),
            Some(Some(known)) => return Ok(*known),
            Some(None) => {
                let name = map.get("$ref").and_then(Value::as_str).unwrap_or("in it");
                let why = format!("the reference {name} leads back to itself");
                return Err(shortened(why));
            }
            None => {}
        }
        self.applied.insert(node, None);
        let mut all = Applied { deep: 0, many: 1 };
        for inner in self.in_place(map)? {
            let inner = self.applied(inner, depth + 1)?;
            all.deep = all.deep.max(inner.deep + 1);
            all.many = all.many.saturating_add(inner.many);
        }
        if all.many > MAX_APPLIED {
            let why = format!("more than {MAX_APPLIED} schemas apply to one value");
            return Err(why);
        }
        self.applied.insert(node, Some(all));
        Ok(all)
    }

    fn in_place(&self, map: &'a Map<String, Value>) -> Result<Vec<&'a Value>, String> {
        let mut found = Vec::new();
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            found.push(resolve(self.doc, reference)?);
        }
        found.extend(branches(map));
        Ok(found)
    }

    /// The longest way down from here, references followed, until it meets itself.
    fn way(&mut self, node: &'a Value, depth: usize) -> Result<usize, String> {
        if depth > MAX_WAY {
            return Err(too_long());
        }
        match self.ways.get(&std::ptr::from_ref(node)) {
            Some(Some(known)) if depth + known > MAX_WAY => return Err(too_long()),
            Some(Some(known)) => return Ok(*known),
            // A schema of trees: it goes on only where the arguments do.
            Some(None) => return Ok(0),
            None => {}
        }
        self.ways.insert(node, None);
        let mut longest = 0;
        match node {
            Value::Object(map) => {
                if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                    let target = resolve(self.doc, reference)?;
                    longest = self.way(target, depth + 1)? + 1;
                }
                for inner in map.values() {
                    longest = longest.max(self.way(inner, depth + 1)? + 1);
                }
            }
            Value::Array(items) => {
                for inner in items {
                    longest = longest.max(self.way(inner, depth + 1)? + 1);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        self.ways.insert(node, Some(longest));
        Ok(longest)
    }
}

fn too_deep() -> String {
    format!("more than {MAX_IN_PLACE} schemas apply to one value, one inside the other")
}

fn too_long() -> String {
    format!("its references lead more than {MAX_WAY} levels down")
}

/// The schemas that apply to the same value as `map` itself, but for `$ref`.
pub(crate) fn branches(map: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let listed = IN_PLACE.iter().filter_map(|key| map.get(*key));
    let listed = listed.flat_map(|value| match value {
        Value::Array(branches) => branches.iter().collect(),
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            vec![value]
        }
    });
    let named = map.get(IN_PLACE_BY_NAME).and_then(Value::as_object);
    listed.chain(named.into_iter().flat_map(Map::values))
}

/// The target of `#` or `#/...`; anything else would be another document.
pub(crate) fn resolve<'a>(doc: &'a Value, reference: &str) -> Result<&'a Value, String> {
    let pointer = reference.strip_prefix('#');
    let pointer = pointer.filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
    let target = pointer.and_then(|pointer| doc.pointer(pointer));
    target.ok_or_else(|| shortened(format!("the reference {reference} leads nowhere")))
}
