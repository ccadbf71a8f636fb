//! JSON Pointers (RFC 6901) into arguments, and whether a schema has the place they name.

use serde_json::Value;

/// The steps of a pointer, unescaped; `None` if it is none. The empty pointer has no steps and is
/// the whole document.
pub fn steps(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let steps = pointer.strip_prefix('/')?.split('/');
    steps.map(unescaped).collect()
}

fn unescaped(step: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = step;
    while let Some((plain, after)) = rest.split_once('~') {
        out.push_str(plain);
        out.push(match after.chars().next()? {
            '0' => '~',
            '1' => '/',
            _ => return None,
        });
        rest = after.get(1..)?;
    }
    out.push_str(rest);
    Some(out)
}

/// Whether arguments that keep to `schema` can have a value at `pointer`, or why not. Where the
/// schema says nothing about the inside of a value, anything may be there.
pub fn in_schema(schema: &Value, pointer: &str) -> Result<(), String> {
    let Some(steps) = steps(pointer) else {
        return Err(format!(
            "`{pointer}` is no JSON Pointer: write it as `/name` or `/name/inner`"
        ));
    };
    let mut here = schema;
    for (depth, step) in steps.iter().enumerate() {
        let named = here.get("properties").and_then(Value::as_object);
        here = match named {
            Some(named) => match named.get(step) {
                Some(inner) => inner,
                None => return Err(format!("`{step}` is no property of `input_schema`")),
            },
            // At the root every argument is listed.
            None if depth == 0 => {
                return Err(format!("`{step}` is no property of `input_schema`"));
            }
            None => match here.get("items") {
                Some(items) if step.bytes().all(|digit| digit.is_ascii_digit()) => items,
                _ => return Ok(()),
            },
        };
    }
    Ok(())
}

/// The argument at the root that a pointer goes through; `None` for the whole document.
pub fn root(pointer: &str) -> Option<String> {
    steps(pointer)?.into_iter().next()
}

/// The required properties at the root of a schema.
pub fn required(schema: &Value) -> impl Iterator<Item = &str> {
    let names = schema.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    #[rustfmt::skip]
    fn a_pointer_names_a_place_that_the_schema_has() {
        let schema = json!({"properties": {
            "id": {"type": "string"},
            "free": {"type": "object"},
            "a/b": {},
            "to": {"properties": {"city": {}}},
            "lines": {"type": "array", "items": {"properties": {"sku": {}}}},
        }});
        for (pointer, good) in [
            ("",              true),
            ("/id",           true),
            ("/free/any/way", true),
            ("/a~1b",         true),
            ("/to/city",      true),
            ("/lines/0/sku",  true),
            ("/lines/0/no",   false),
            ("/to/country",   false),
            ("/nobody",       false),
            ("id",            false),
            ("/a~2b",         false),
            ("/",             false),
        ] {
            assert_eq!(in_schema(&schema, pointer).is_ok(), good, "{pointer}");
        }
        assert_eq!(root("/a~1b/c"), Some("a/b".to_owned()));
        assert_eq!(root(""), None);
    }
}
