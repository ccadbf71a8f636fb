//! What files of a folder have read for their secrets: told before anything is written, because
//! whoever writes to the folder is not always who applies it, and a secret goes where the document
//! says.
//!
//! A variable of hundi's own is never read, and a file outside of the folder only where whoever
//! applies says so.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Failure, print};

/// How hundi's own variables begin.
const OURS: &str = "HUNDI_";

/// One secret that is read from somewhere.
pub struct Reading {
    secret: String,
    place: Place,
    /// Where the document sends it.
    to: String,
}

enum Place {
    Variable(String),
    File(String),
}

impl Reading {
    /// For people.
    pub fn words(&self) -> String {
        let place = match &self.place {
            Place::Variable(name) => format!("the variable {name}"),
            Place::File(path) => format!("the file {path}"),
        };
        let to = match self.to.is_empty() {
            true => String::new(),
            false => format!(", for {}", self.to),
        };
        print::plain(&format!("reads {place} as `{}`{to}", self.secret))
    }

    /// Why it is not read.
    fn refused(&self, folder: &Path, anywhere: bool) -> Option<String> {
        match &self.place {
            Place::Variable(name) if name.starts_with(OURS) => Some(format!(
                "the secret `{}`: {name} is hundi's own, and goes to nobody",
                self.secret
            )),
            Place::Variable(_) => None,
            Place::File(path) if anywhere || is_under(Path::new(path), folder) => None,
            Place::File(path) => Some(format!(
                "the secret `{}`: {path} is outside of the folder; with --allow-file it is read, and sent to {}",
                self.secret,
                if self.to.is_empty() {
                    "where the document says"
                } else {
                    &self.to
                }
            )),
        }
    }
}

/// What a document has read for its secrets.
pub fn of(document: &Map<String, Value>) -> Vec<Reading> {
    let secrets = document.get("secrets").and_then(Value::as_object);
    let secrets = secrets.into_iter().flatten();
    let secrets = secrets.map(|(name, value)| (name.clone(), value));
    let key = document.get("key").map(|key| ("key".to_owned(), key));
    let to = destination(document);
    let readings = secrets.chain(key).filter_map(|(secret, value)| {
        let place = value.as_object().filter(|place| place.len() == 1)?;
        let text = |field: &str| Some(place.get(field)?.as_str()?.to_owned());
        let place = match (text("env"), text("file")) {
            (Some(name), _) => Place::Variable(name),
            (None, Some(path)) => Place::File(path),
            (None, None) => return None,
        };
        let to = to.clone();
        Some(Reading { secret, place, to })
    });
    readings.collect()
}

/// Refuses what is not read for anybody.
pub fn check(readings: &[Reading], folder: &Path, anywhere: bool) -> Result<(), Failure> {
    let mut refused = readings
        .iter()
        .filter_map(|one| one.refused(folder, anywhere));
    match refused.next() {
        Some(why) => Err(Failure::Failed(print::plain(&why))),
        None => Ok(()),
    }
}

/// Where a document leads, as far as it says so in one place.
fn destination(document: &Map<String, Value>) -> String {
    let config = document.get("config");
    let places = ["base_url", "url", "host"].into_iter();
    let mut named = places.filter_map(|place| {
        let inside = config.and_then(|config| config.get(place));
        inside.or_else(|| document.get(place))?.as_str()
    });
    named.next().unwrap_or_default().to_owned()
}

fn is_under(path: &Path, folder: &Path) -> bool {
    // What cannot be found is under nothing; reading it would fail as well.
    match (path.canonicalize(), folder.canonicalize()) {
        (Ok(path), Ok(folder)) => path.starts_with(folder),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_leaves_is_told_and_what_must_not_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("token.txt");
        std::fs::write(&inside, "x").unwrap();
        let document = |secret: Value| {
            let document = json!({
                "config": {"base_url": "https://evil.example"}, "secrets": {"token": secret},
            });
            document.as_object().unwrap().clone()
        };
        let cases = [
            (json!("plain"), true, 0),
            (json!({"env": "ORDERS_TOKEN"}), true, 1),
            (json!({"env": "HUNDI_MASTER_KEY"}), false, 1),
            (json!({"file": inside}), true, 1),
            (json!({"file": "/etc/hostname"}), false, 1),
            (json!({"file": folder.path().join("../x")}), false, 1),
        ];
        for (secret, passes, count) in cases {
            let readings = of(&document(secret.clone()));
            assert_eq!(readings.len(), count, "{secret}");
            let checked = check(&readings, folder.path(), false);
            assert_eq!(checked.is_ok(), passes, "{secret}");
            let told = readings
                .first()
                .is_none_or(|one| one.words().contains("evil.example"));
            assert!(told, "{secret}");
        }
        let outside = of(&document(json!({"file": "/etc/hostname"})));
        assert!(check(&outside, folder.path(), true).is_ok());
    }
}
