//! The house rules as tests: who may import whom, which folders are pure, that every file says what
//! it is, and that the README's tables are those of the code.
//!
//! Whole files are read, with their line breaks folded: a line-by-line reader goes blind once
//! rustfmt wraps a `use` group.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hundi::domain::reason::{Reason, Refusal};
use regex::Regex;

/// Folder, and the folders of ours that it may import. Root modules (`ambient`, `telemetry`) are
/// free for everybody but the pure folders.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("governance", &["domain"]),
    ("connector", &["domain"]),
    ("notify", &["domain"]),
    ("store", &["domain"]),
    ("ephemeral", &["domain"]),
    ("wire", &["domain"]),
    (
        "broker",
        &[
            "domain",
            "governance",
            "connector",
            "notify",
            "store",
            "ephemeral",
            "wire",
        ],
    ),
    ("entry", &["domain", "broker"]),
    ("sidecar", &["domain", "connector", "wire"]),
    ("sandbox", &["domain"]),
];
const PURE: &[&str] = &["domain", "governance", "connector", "notify"];
/// What has no place in a pure folder.
const IMPURE: &[&str] = &[
    "async fn",
    ".await",
    "tokio::",
    "std::env",
    "SystemTime",
    "Instant::now",
    "rand::",
    "std::fs",
    "TcpStream",
    "reqwest",
    "sqlx",
    "crate::ambient",
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&root).unwrap().to_owned(), text)
    };
    found.into_iter().map(read).collect()
}

fn folder(path: &Path) -> &str {
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs")
}

/// Code alone: no comments, no tests at the end of a file, on one line.
fn code(text: &str) -> String {
    let comment = Regex::new(r"(?m)//.*$").unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    let text = comment.replace_all(text, "");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The folders of ours that a file names through `crate::`, groups included.
fn imports(code: &str) -> BTreeSet<String> {
    let group = Regex::new(r"crate::\{([^;]*)\};").unwrap();
    let single = Regex::new(r"crate::([a-z_]+)").unwrap();
    let first = Regex::new(r"(?:^|,|\{)\s*([a-z_]+)(?:::|,|\s|$)").unwrap();
    let mut found: BTreeSet<String> = single
        .captures_iter(code)
        .map(|found| found[1].to_owned())
        .collect();
    for group in group.captures_iter(code) {
        found.extend(
            first
                .captures_iter(&group[1])
                .map(|found| found[1].to_owned()),
        );
    }
    found
}

#[test]
fn nobody_imports_upward_or_sideways() {
    let rooms: BTreeSet<&str> = MAY_IMPORT.iter().map(|(room, _)| *room).collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some((room, allowed)) = MAY_IMPORT.iter().find(|(room, _)| *room == folder(&path))
        else {
            continue;
        };
        for import in imports(&code(&text)) {
            let ours = rooms.contains(import.as_str()) || import == "app";
            if ours && import != *room && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_folders_touch_nothing() {
    let mut wrong = Vec::new();
    for (path, text) in sources()
        .iter()
        .filter(|(path, _)| PURE.contains(&folder(path)))
    {
        let code = code(text);
        wrong.extend(
            IMPURE
                .iter()
                .filter(|word| code.contains(**word))
                .map(|word| format!("{} has `{word}`", path.display())),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn the_wrapped_group_is_seen() {
    let text = "use crate::{\n    domain::ids,\n    store::{\n        Store,\n    },\n};";
    let found: Vec<_> = imports(&code(text)).into_iter().collect();
    assert_eq!(found, ["domain", "store"]);
}

#[test]
fn the_readme_lists_every_code() {
    let readme = include_str!("../README.md");
    let rows = Reason::ALL
        .iter()
        .map(|reason| (reason.code(), reason.text(), reason.recovery()))
        .chain(
            Refusal::ALL
                .iter()
                .map(|refusal| (refusal.code(), refusal.text(), refusal.recovery())),
        );
    let missing: Vec<_> = rows
        .map(|(code, text, next)| format!("| `{code}` | {text} | `{}` |", next.code()))
        .filter(|row| !readme.contains(row.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "rows missing from README.md:\n{}",
        missing.join("\n")
    );
}
