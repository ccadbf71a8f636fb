//! The house rules as tests: who may import whom, which folders are pure, that every file says what
//! it is, and that the README's tables are those of the code.
//!
//! Whole files are read, with their line breaks folded: a line-by-line reader goes blind once
//! rustfmt wraps a `use` group.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hundi::domain::audit::names::RecordKind;
use hundi::domain::document::NEVER_CACHED;
use hundi::domain::reason::{Reason, Refusal};
use regex::Regex;

/// Folder or root module, and what of ours it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("ambient", &["domain"]),
    ("telemetry", &["domain"]),
    ("governance", &["domain"]),
    ("connector", &["domain"]),
    ("notify", &["domain"]),
    ("pages", &[]),
    ("store", &["domain", "ambient", "telemetry"]),
    ("ephemeral", &["domain", "ambient", "telemetry"]),
    ("wire", &["domain", "ambient", "telemetry"]),
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
            "ambient",
            "telemetry",
        ],
    ),
    ("entry", &["domain", "broker", "ambient", "telemetry"]),
    (
        "sidecar",
        &["domain", "connector", "wire", "ambient", "telemetry"],
    ),
    ("sandbox", &["domain", "ambient", "telemetry"]),
];
/// Subjects of the broker: each may call those before it, through their handles, and no other.
const SUBJECTS: &[&str] = &[
    "core", "audit", "access", "tools", "pay", "bank", "requests", "search",
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

/// What these files import and may not.
fn upward_or_sideways(sources: &[(PathBuf, String)]) -> Vec<String> {
    let rooms: BTreeSet<&str> = MAY_IMPORT.iter().map(|(room, _)| *room).collect();
    let mut wrong = Vec::new();
    for (path, text) in sources {
        let Some((room, allowed)) = MAY_IMPORT.iter().find(|(room, _)| *room == folder(path))
        else {
            continue;
        };
        for import in imports(&code(text)) {
            let ours = rooms.contains(import.as_str()) || ["app", "program"].contains(&&*import);
            if ours && import != *room && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    wrong
}

/// What subjects of the broker name that stands below them. Calls need no import, but a handle
/// does, and nobody is called without one: no subject's methods are on another's type.
fn subjects_out_of_order(sources: &[(PathBuf, String)]) -> Vec<String> {
    let named = Regex::new(r"crate::broker::(?:([a-z_]+)|\{([^;]*)\};)").unwrap();
    let first = Regex::new(r"(?:^|,)\s*([a-z_]+)").unwrap();
    let climbs = Regex::new(r"super::super::|crate::broker::[A-Z*]|crate::\{[^;]*broker").unwrap();
    let own = Regex::new(r"impl ([A-Z]\w+) \{").unwrap();
    let mut wrong = Vec::new();
    for (path, text) in sources {
        let Ok(inside) = path.strip_prefix("broker") else {
            continue;
        };
        let subject = folder(inside);
        let Some(place) = SUBJECTS.iter().position(|of| *of == subject) else {
            continue;
        };
        let code = code(text);
        let lists = named.captures_iter(&code).flat_map(|found| {
            let one = found.get(1).map(|name| name.as_str().to_owned());
            let group = found.get(2).map_or("", |group| group.as_str()).to_owned();
            let many = first.captures_iter(&group).map(|name| name[1].to_owned());
            one.into_iter().chain(many.collect::<Vec<_>>())
        });
        for name in lists.collect::<Vec<_>>() {
            if SUBJECTS
                .iter()
                .position(|of| *of == name)
                .is_none_or(|of| of > place)
            {
                wrong.push(format!("{} names {name}", path.display()));
            }
        }
        if climbs.is_match(&code) {
            wrong.push(format!(
                "{} names a subject by another path",
                path.display()
            ));
        }
        for found in own.captures_iter(&code) {
            let of = found[1].to_lowercase();
            if SUBJECTS.contains(&of.as_str()) && of != subject {
                wrong.push(format!("{} adds methods to {of}", path.display()));
            }
        }
    }
    wrong
}

#[test]
fn nobody_imports_upward_or_sideways() {
    let wrong = upward_or_sideways(&sources());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn subjects_call_only_those_before_them() {
    let sources = sources();
    let folders: BTreeSet<_> = sources
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("broker").ok())
        .map(folder)
        .filter(|name| *name != "mod")
        .collect();
    let known: BTreeSet<_> = SUBJECTS.iter().copied().collect();
    assert_eq!(folders, known, "a subject without its place in the order");
    let wrong = subjects_out_of_order(&sources);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_planted_import_and_a_planted_circle_are_found() {
    let planted = |path: &str, text: &str| vec![(PathBuf::from(path), text.to_owned())];
    for (path, text) in [
        ("domain/x.rs", "use crate::store::Store;"),
        ("telemetry.rs", "use crate::broker::Broker;"),
        (
            "entry/x.rs",
            "use crate::{\n    app::App,\n    domain::ids::OrgId,\n};",
        ),
    ] {
        assert_eq!(upward_or_sideways(&planted(path, text)).len(), 1, "{path}");
    }
    // `pay` calls `tools`; each of these would close the circle.
    for text in [
        "use crate::broker::pay::Pay;\nimpl Tools { fn go(&self, pay: &Pay) { pay.propose() } }",
        "use crate::broker::{\n    core::Trouble,\n    pay::Pay,\n};",
        "use crate::broker::Broker;",
        "fn go(broker: &super::super::Broker) {}",
        "impl Pay { fn go(&self) {} }",
    ] {
        let found = subjects_out_of_order(&planted("broker/tools/x.rs", text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
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

/// What a document type says of itself: kind, whether it is cached, and its id where there is one.
fn documents(sources: &[(PathBuf, String)]) -> Vec<(String, bool, Option<String>)> {
    let shape = r#"impl Document for ([\w<>]+) \{ const KIND: &'static str = "(\w+)"; const CACHED: bool = (true|false);"#;
    let shape = Regex::new(shape).unwrap();
    let single = r"impl Single for (\w+) \{ const ID: &'static str = ([^;]+);";
    let single = Regex::new(single).unwrap();
    let mut found = Vec::new();
    for (_, text) in sources {
        let code = code(text);
        let ids: Vec<_> = single.captures_iter(&code).collect();
        for document in shape.captures_iter(&code) {
            let id = ids.iter().find(|id| id[1] == document[1]);
            let id = id.map(|id| id[2].to_owned());
            found.push((document[2].to_owned(), &document[3] == "true", id));
        }
    }
    found
}

#[test]
fn stores_know_which_documents_nobody_caches() {
    let sources = sources();
    let declared = sources
        .iter()
        .map(|(_, text)| code(text).matches("impl Document for").count());
    let found = documents(&sources);
    assert_eq!(
        found.len(),
        declared.sum::<usize>(),
        "a type in another shape: {found:?}"
    );
    let never = found.iter().filter(|(_, cached, _)| !cached);
    let never: BTreeSet<&str> = never.map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(never, NEVER_CACHED.iter().copied().collect::<BTreeSet<_>>());
}

#[test]
fn no_two_documents_share_a_name() {
    let mut seen = BTreeSet::new();
    for (kind, _, id) in documents(&sources()) {
        // Several that are one of a kind may share it, as long as they differ in their id.
        let alone = (kind.clone(), None);
        assert!(!seen.contains(&alone), "{kind} is two documents");
        assert!(
            seen.insert((kind.clone(), id.clone())),
            "{kind}/{id:?} is two documents"
        );
    }
}

#[test]
fn documents_are_named_by_their_types_alone() {
    let by_hand =
        Regex::new(r"\bDoc(Key::new\(|Key \{ (kind|org|id)|Write \{ (key|expect|body))").unwrap();
    let spelt = ["domain/document.rs", "domain/change.rs"];
    let spelt =
        |path: &Path| folder(path) == "store" || spelt.iter().any(|one| path.ends_with(one));
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| !spelt(path) && by_hand.is_match(&code(text)))
        .map(|(path, _)| path)
        .collect();
    assert!(
        wrong.is_empty(),
        "a document type names and writes its own: {wrong:#?}"
    );
}

#[test]
fn the_broker_knows_no_bank_by_name() {
    let named = |(_, text): &(PathBuf, String)| text.to_lowercase().contains("razorpay");
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|source| folder(&source.0) == "broker" && named(source))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn decisions_are_spelt_in_one_file() {
    let spelt =
        Regex::new(r#""(APPROVED|REJECTED|HELD|SKIPPED)"|\.(kind|decision)(\.name\(\))? [=!]= ""#)
            .unwrap();
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| {
            !path.ends_with("domain/audit/names.rs") && spelt.is_match(&code(text))
        })
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn kinds_in_statements_are_kinds_that_exist() {
    let sources = sources();
    let kinds: BTreeSet<String> = documents(&sources)
        .into_iter()
        .map(|(kind, ..)| kind)
        .collect();
    let records: BTreeSet<&str> = RecordKind::NAMES.iter().copied().collect();
    let named = Regex::new(r"(docs WHERE )?\bkind = '(\w+)'").unwrap();
    let mut count = 0;
    for (path, text) in &sources {
        for found in named.captures_iter(&code(text)) {
            let kind = &found[2];
            let exists = match found.get(1) {
                Some(_) => kinds.contains(kind),
                None => records.contains(kind),
            };
            assert!(exists, "{kind} of {}", path.display());
            count += 1;
        }
    }
    assert!(count > 2, "the statements have another shape");
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
fn the_page_of_codes_lists_every_code() {
    let readme = include_str!("../src/pages/codes.md");
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
        "rows missing from src/pages/codes.md:\n{}",
        missing.join("\n")
    );
}
