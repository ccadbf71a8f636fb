//! Documents that people write, read into their types: every mistake has its place, and no message
//! repeats a value, which may be a secret in the wrong field.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

/// Longest message, in characters: names of unknown fields are somebody's text.
const MAX_DETAIL: usize = 300;

/// What is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// JSON Pointer to the field.
    pub pointer: String,
    /// What belongs there.
    pub detail: String,
}

/// Reads an object that stands at `pointer` of a document. A list is refused, though its items would
/// fit the fields one by one.
pub fn read<T: DeserializeOwned>(written: &Value, pointer: &str) -> Result<T, Mistake> {
    if !written.is_object() {
        return Err(Mistake {
            pointer: pointer.to_owned(),
            detail: "must be an object".to_owned(),
        });
    }
    serde_path_to_error::deserialize(written).map_err(|error| {
        let place = format!("{pointer}{}", steps(error.path()));
        let said = error.into_inner().to_string();
        // A field that is not there has no path of its own.
        let missing = said.strip_prefix("missing field `");
        match missing.and_then(|rest| rest.split_once('`')) {
            Some((field, _)) => Mistake {
                pointer: format!("{place}/{field}"),
                detail: "is missing".to_owned(),
            },
            None => Mistake {
                pointer: place,
                detail: without_value(&said),
            },
        }
    })
}

/// What a library says of a value, without the value.
fn without_value(said: &str) -> String {
    let of_value = ["invalid type: ", "invalid value: ", "unknown variant "];
    let expected = said.rsplit_once(", expected ").map(|(_, what)| what);
    let detail = match (
        of_value.iter().any(|start| said.starts_with(start)),
        expected,
    ) {
        (true, Some(expected)) => format!("must be {expected}"),
        (true, None) => "is not what belongs here".to_owned(),
        (false, _) => said.to_owned(),
    };
    detail.chars().take(MAX_DETAIL).collect()
}

fn steps(path: &serde_path_to_error::Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                text.push('/');
                text.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            // A variant is no field of the document.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Small,
        Large,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        port: u16,
        #[serde(default)]
        kind: Option<Kind>,
        #[serde(default)]
        inner: Option<Vec<Thing>>,
    }

    #[test]
    #[rustfmt::skip]
    fn a_mistake_has_its_place_and_no_value_is_repeated() {
        let canary = "hunter2, expected never";
        for (written, pointer) in [
            (json!([1]),                                        "/x"),
            (json!(canary),                                     "/x"),
            (json!({}),                                         "/x/port"),
            (json!({"port": canary}),                           "/x/port"),
            (json!({"port": 70_000}),                           "/x/port"),
            (json!({"port": 1, "kind": canary}),                "/x/kind"),
            (json!({"port": 1, "prot": 2}),                     "/x/prot"),
            (json!({"port": 1, "inner": [{"port": canary}]}),   "/x/inner/0/port"),
            (json!({"port": 1, "inner": [{}]}),                 "/x/inner/0/port"),
        ] {
            let told = read::<Thing>(&written, "/x").unwrap_err();
            assert_eq!(told.pointer, pointer, "{written}");
            assert!(!told.detail.contains("hunter2") && !told.detail.contains("70000"), "{told:?}");
        }
        let small = json!({"port": 1, "kind": "small"});
        assert_eq!(read::<Thing>(&small, "").unwrap().kind, Some(Kind::Small));
        assert!(read::<Thing>(&json!({"port": 1, "kind": "large"}), "").is_ok());
    }
}
