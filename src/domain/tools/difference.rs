//! What two versions of a document differ in, place by place.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

/// Most places that are told.
const MOST: usize = 200;

/// One place at which they differ.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Difference {
    /// JSON Pointer to it.
    pub pointer: String,
    /// What stood there; nothing where it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What stands there; nothing where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The places at which `after` differs from `before`. Objects are looked into; lists are told whole.
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    look(String::new(), Some(before), Some(after), &mut found);
    found
}

fn look(at: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    if before == after || found.len() >= MOST {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, after) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            look(at, old.get(name), new.get(name), found);
        }
        return;
    }
    found.push(Difference {
        pointer: at,
        before: before.cloned(),
        after: after.cloned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_place_is_told_once_and_what_is_the_same_is_not() {
        let before = json!({"a": 1, "b": {"c": [1], "d~/": 2}, "gone": true, "same": {"x": 1}});
        let after = json!({"a": 2, "b": {"c": [1, 2], "d~/": 3}, "new": null, "same": {"x": 1}});
        let told = differences(&before, &after);
        let places: Vec<&str> = told.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(places, ["/a", "/b/c", "/b/d~0~1", "/gone", "/new"]);
        assert_eq!(
            (&told[3].before, &told[3].after),
            (&Some(json!(true)), &None)
        );
        assert_eq!(
            (&told[4].before, &told[4].after),
            (&None, &Some(json!(null)))
        );
        assert_eq!(differences(&before, &before), []);
    }
}
