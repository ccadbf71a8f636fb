//! Which arguments of a schema nobody has spoken of, and which are there in every call.
//!
//! An argument is named by its path (`a.b`, `a[].b`), and one that two paths lead to is two. What no
//! path can name (a name that a pattern allows, an item of a tuple) is found all the same, and only
//! leaving it out on purpose speaks of it.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::applied;
use crate::domain::schema::bounds;

/// Most places that are looked at: references to references make many of few.
const MAX_PLACES: usize = 10_000;

/// Whether an argument of this name and schema is of the kind that is asked about.
pub type Looks = fn(&str, &Value) -> bool;

/// The first argument that looks like what is asked about and is neither at a path of `named` nor at
/// or below one of `besides`, as its path where it has one.
pub fn unspoken(
    schema: &Value,
    named: &[String],
    besides: &[String],
    looks: Looks,
) -> Option<String> {
    let mut walk = Walk {
        doc: schema,
        named,
        besides,
        looks,
        seen: HashSet::new(),
        within: Vec::new(),
        left: MAX_PLACES,
    };
    let found = walk.value(schema, "", false);
    found.or_else(|| walk.elsewhere(schema))
}

struct Walk<'a> {
    doc: &'a Value,
    named: &'a [String],
    besides: &'a [String],
    looks: Looks,
    /// The schemas of all arguments that a path leads to.
    seen: HashSet<*const Value>,
    /// The schemas that the present one is inside of.
    within: Vec<*const Value>,
    left: usize,
}

impl<'a> Walk<'a> {
    fn value(&mut self, node: &'a Value, path: &str, spared: bool) -> Option<String> {
        let here = std::ptr::from_ref(node);
        if self.within.contains(&here) {
            // A schema of trees: no path names what stands at every depth of it.
            let inner = super::first(node, &mut |name, what| (self.looks)(name, what));
            return inner
                .filter(|_| !spared)
                .map(|name| format!("{path}.{name}"));
        }
        let Some(left) = self.left.checked_sub(1) else {
            return Some(path.to_owned());
        };
        self.left = left;
        self.within.push(here);
        let found = self.inside(node, path, spared);
        self.within.pop();
        found
    }

    fn inside(&mut self, node: &'a Value, path: &str, spared: bool) -> Option<String> {
        let all = applied(self.doc, &[node]);
        for map in all.into_iter().filter_map(Value::as_object) {
            let named = map.get("properties").and_then(Value::as_object);
            for (name, what) in named.into_iter().flatten() {
                let step = match name.contains(['.', '[', ']']) {
                    // A path would lead elsewhere.
                    true => format!("{name:?}"),
                    false => name.clone(),
                };
                let at = match path {
                    "" => step,
                    path => format!("{path}.{step}"),
                };
                let found = self.argument(name, what, &at, spared);
                if found.is_some() {
                    return found;
                }
            }
            if let Some(items) = map.get("items") {
                let found = self.argument("items", items, &format!("{path}[]"), spared);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    fn argument(&mut self, name: &str, what: &'a Value, at: &str, spared: bool) -> Option<String> {
        self.seen.insert(std::ptr::from_ref(what));
        let below = |path: &String| {
            let rest = at.strip_prefix(path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let spared = spared || self.besides.iter().any(below);
        let is_named = self.named.iter().any(|path| path == at);
        if !spared && !is_named && (self.looks)(name, what) {
            return Some(at.to_owned());
        }
        self.value(what, at, spared)
    }

    /// What no path leads to.
    fn elsewhere(&self, schema: &Value) -> Option<String> {
        super::first(schema, &mut |name, what| {
            let known = self.seen.contains(&std::ptr::from_ref(what));
            let spared = self.besides.iter().any(|path| path == name);
            !known && !spared && (self.looks)(name, what)
        })
    }
}

/// Whether all arguments that keep to `schema` have something at `path`, in each item of its lists.
pub fn required(schema: &Value, path: &str) -> bool {
    let steps: Vec<&str> = path.split('.').collect();
    always_at(schema, schema, &steps)
}

fn always_at(doc: &Value, node: &Value, steps: &[&str]) -> bool {
    let [step, rest @ ..] = steps else {
        return true;
    };
    let (key, list) = match step.strip_suffix("[]") {
        Some(key) => (key, true),
        None => (*step, false),
    };
    let named = |map: &Map<String, Value>| {
        let names = map.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|name| name == key))
    };
    let items = |map: &Map<String, Value>| {
        let items = map
            .get("items")
            .filter(|_| !map.contains_key("prefixItems"));
        items.is_some_and(|items| always_at(doc, items, rest))
    };
    let inside = |map: &Map<String, Value>| {
        let property = map.get("properties").and_then(|named| named.get(key));
        property.is_some_and(|property| match list {
            true => !rest.is_empty() && always(doc, property, &items),
            false => always_at(doc, property, rest),
        })
    };
    always(doc, node, &named) && (rest.is_empty() && !list || always(doc, node, &inside))
}

/// Whether `holds` is true of one of the schemas that every value at `node` keeps to.
fn always(doc: &Value, node: &Value, holds: &dyn Fn(&Map<String, Value>) -> bool) -> bool {
    let Some(map) = node.as_object() else {
        return false;
    };
    let one = |node: &Value| always(doc, node, holds);
    let list = |word: &str| map.get(word).and_then(Value::as_array);
    let every = |word: &str| list(word).is_some_and(|all| !all.is_empty() && all.iter().all(one));
    let target = map.get("$ref").and_then(Value::as_str);
    let target = target.and_then(|name| bounds::resolve(doc, name).ok());
    holds(map)
        || target.is_some_and(one)
        || list("allOf").is_some_and(|all| all.iter().any(one))
        || every("anyOf")
        || every("oneOf")
        || ["then", "else"]
            .iter()
            .all(|word| map.contains_key("if") && map.get(*word).is_some_and(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rules::is_money;
    use serde_json::json;

    #[test]
    #[rustfmt::skip]
    fn each_argument_that_looks_like_money_is_spoken_of_by_its_own_path() {
        let side = json!({"properties": {"amount": {"type": "integer"}}});
        let both = json!({
            "properties": {"to": {"$ref": "#/$defs/side"}, "from": {"$ref": "#/$defs/side"}},
            "$defs": {"side": side},
        });
        let flat = json!({"properties": {"amount": {}, "fee": {}, "to": {"type": "string"}}});
        let lines = json!({"properties": {"lines": {"items": side}}});
        let tree = json!({"properties": {"amount": {}, "more": {"items": {"$ref": "#"}}}});
        let tuple = json!({"properties": {"amount": {}, "pair": {"prefixItems": [side]}}});
        let dotted = json!({"properties": {"a.amount": {}, "a": {"properties": {"amount": {}}}}});
        let branches = json!({"properties": {"amount": {}}, "oneOf": [{"properties": {"tip": {}}}]});
        for (schema, named, besides, left) in [
            (&flat,     &["amount", "fee"][..],          &[][..],        None),
            (&flat,     &["amount"],                     &[],            Some("fee")),
            (&flat,     &["amount"],                     &["fee"],       None),
            (&both,     &["to.amount"],                  &[],            Some("from.amount")),
            (&both,     &["to.amount", "from.amount"],   &[],            None),
            (&both,     &["to.amount"],                  &["from"],      None),
            (&lines,    &["lines[].amount"],             &[],            None),
            (&lines,    &["amount"],                     &[],            Some("lines[].amount")),
            (&tree,     &["amount"],                     &[],            Some("more[].amount")),
            (&tree,     &["amount"],                     &["more"],      None),
            (&tuple,    &["amount"],                     &[],            Some("amount")),
            (&dotted,   &["a.amount"],                   &[],            Some("\"a.amount\"")),
            (&branches, &["amount"],                     &[],            Some("tip")),
        ] {
            let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
            let found = unspoken(schema, &texts(named), &texts(besides), is_money);
            assert_eq!(found.as_deref(), left, "{schema} {named:?} {besides:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_required_is_required_on_every_branch() {
        let with = |more: Value| {
            let mut schema = json!({"properties": {
                "a": {"type": "integer"},
                "b": {"properties": {"c": {}}, "required": ["c"]},
                "l": {"items": {"required": ["m"]}},
            }});
            schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            schema
        };
        let has = json!({"required": ["a"]});
        for (more, path, always) in [
            (json!({}),                                            "a",     false),
            (has.clone(),                                          "a",     true),
            (json!({"required": ["b"]}),                           "b.c",   true),
            (json!({"required": ["a"]}),                           "b.c",   false),
            (json!({"required": ["l"]}),                           "l[].m", true),
            (json!({"required": ["l"]}),                           "l[].n", false),
            (json!({"allOf": [{}, has]}),                          "a",     true),
            (json!({"anyOf": [{}, has]}),                          "a",     false),
            (json!({"oneOf": [has, has]}),                         "a",     true),
            (json!({"if": {}, "then": has}),                       "a",     false),
            (json!({"if": {}, "then": has, "else": has}),          "a",     true),
            (json!({"not": has}),                                  "a",     false),
            (json!({"$ref": "#/$defs/x", "$defs": {"x": has}}),    "a",     true),
            (json!({"dependentSchemas": {"b": has}}),              "a",     false),
        ] {
            assert_eq!(required(&with(more.clone()), path), always, "{more} {path}");
        }
    }
}
