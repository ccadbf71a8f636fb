//! `hundi apply` and `hundi export`: a folder of files as configuration that can live in git.
//!
//! `DIR/{sources,tools,servers,access,policies,payees,providers}/NAME.{json,toml,yaml}`, each file
//! the body that makes the document over REST. What a file says is compared with what there is,
//! told, and then written in an order in which nothing is missing: sources before the tools that
//! reach them, tools before the servers that show them. What already is as its file says is not
//! touched, so applying twice changes nothing. What no file names stays as it is: nothing is
//! deleted.
//!
//! Whole or not at all: the server reads all of it first, each document held against the others, and
//! what it would refuse is told before anything is written. Should one be refused all the same (it
//! changed meanwhile, a secret does not fit), those written before it are put back as they were, in
//! the opposite order. Only a crash of this program in the middle leaves a part, and applying again
//! completes it. A secret cannot be compared with what is kept; it is written where
//! none is set, and again with `--secrets`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::asks::{Around, Asks};
use super::documents::{self, How};
use super::door::Door;
use super::{Actor, Failure, print, reads};
use crate::domain::requests::price::Rate;

/// What to apply.
#[derive(clap::Args, Debug)]
pub struct Apply {
    /// The folder
    #[arg(short = 'f', long = "folder", value_name = "DIR")]
    pub folder: PathBuf,
    /// Only tell what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Write the secrets of the files again, whether or not some are set
    #[arg(long)]
    pub secrets: bool,
    /// Read secrets out of files outside of the folder as well, where its files name some
    #[arg(long)]
    pub allow_file: bool,
    /// As whom, where, and how to print.
    #[command(flatten)]
    pub how: How,
}

/// Where to write what there is.
#[derive(clap::Args, Debug)]
pub struct Export {
    /// The folder; made if it is missing
    #[arg(long = "out", value_name = "DIR")]
    pub folder: PathBuf,
    /// As whom, where, and how to print.
    #[command(flatten)]
    pub how: How,
}

/// One folder of files: where its documents stand on REST, and what names one of them.
struct Shelf {
    folder: &'static str,
    /// Path of the list.
    list: &'static str,
    /// What the list is called in its answer.
    items: &'static str,
    /// The field that names one for people.
    name: &'static str,
    /// The field that names one in a path.
    id: &'static str,
    /// Path of one; none where the list's POST replaces the one of the same name.
    one: Option<&'static str>,
    /// Whether each has to be read by itself, because the list tells less or something else.
    read: bool,
}

/// In the order in which they are applied.
const SHELVES: [Shelf; 7] = [
    shelf("sources", "/v1/sources", "sources", "name", "name"),
    Shelf {
        read: true,
        ..shelf("tools", "/v1/tools", "tools", "name", "name")
    },
    shelf("servers", "/v1/servers", "servers", "name", "name"),
    shelf("access", "/v1/access", "rules", "name", "id"),
    Shelf {
        one: Some("/v1/agents/{}/policy"),
        ..shelf(
            "policies",
            "/v1/policies",
            "policies",
            "agent_id",
            "agent_id",
        )
    },
    Shelf {
        one: None,
        ..shelf("payees", "/v1/payees", "payees", "name", "id")
    },
    shelf("providers", "/v1/providers", "providers", "name", "name"),
];

const fn shelf(
    folder: &'static str,
    list: &'static str,
    items: &'static str,
    name: &'static str,
    id: &'static str,
) -> Shelf {
    Shelf {
        folder,
        list,
        items,
        name,
        id,
        one: Some(""),
        read: false,
    }
}

/// What the server adds to a document of its own: not part of what a file says.
const ADDED: [&str; 12] = [
    "version",
    "changed_by",
    "changed_at",
    "created_by",
    "created_at",
    "id",
    "agent_id",
    "warnings",
    "keys",
    "health",
    "recovery",
    "recovery_contract",
];

impl Shelf {
    fn one(&self) -> String {
        match self.one {
            Some("") => format!("{}/{{}}", self.list),
            Some(path) => path.to_owned(),
            None => format!("{}/{{}}", self.list),
        }
    }

    /// What there is now, by name.
    async fn now(&self, door: &Door) -> Result<BTreeMap<String, Value>, Failure> {
        let told = documents::ask(door, "get", self.list, None, Map::new()).await?;
        let items = told[self.items].as_array().cloned().unwrap_or_default();
        let mut now = BTreeMap::new();
        for item in items {
            // Those of the configuration are the configuration's.
            if self.is_providers() && item["source"] != "api" {
                continue;
            }
            let name = print::word(&item, &format!("/{}", self.name));
            // The list has more than what people registered.
            if self.read && matches!(item["kind"].as_str(), Some("builtin" | "upstream")) {
                continue;
            }
            let item = match self.read {
                true => match self.get(&name, door).await {
                    Ok(item) => item,
                    Err(_) => continue,
                },
                false => item,
            };
            now.insert(name, item);
        }
        Ok(now)
    }

    fn is_providers(&self) -> bool {
        self.folder == "providers"
    }

    async fn get(&self, name: &str, door: &Door) -> Result<Value, Failure> {
        documents::ask(door, "get", &self.one(), Some(name), Map::new()).await
    }
}

/// One change that is to be made.
struct Step {
    shelf: &'static Shelf,
    name: String,
    document: Map<String, Value>,
    before: Option<Value>,
    /// What whoever writes it should know.
    warnings: Vec<String>,
    /// What is read for its secrets.
    reads: Vec<String>,
}

impl Step {
    fn id(&self) -> String {
        let before = self.before.as_ref();
        let id = before.map(|before| print::word(before, &format!("/{}", self.shelf.id)));
        id.filter(|id| !id.is_empty())
            .unwrap_or_else(|| self.name.clone())
    }

    fn told(&self) -> Value {
        let differs: Vec<&String> = match &self.before {
            Some(before) => {
                let differs = |(field, value): &(&String, &Value)| !same(value, &before[*field]);
                let differing = self.document.iter().filter(differs);
                differing.map(|(field, _)| field).collect()
            }
            None => Vec::new(),
        };
        json!({
            "kind": self.shelf.folder,
            "name": self.name,
            "change": if self.before.is_some() { "replace" } else { "make" },
            "fields": differs,
            "warnings": self.warnings,
            "reads": self.reads,
        })
    }

    async fn carry_out(&self, door: &Door) -> Result<(), Failure> {
        let shelf = self.shelf;
        let is_policy = shelf.folder == "policies";
        let (method, path, name) = match (&self.before, shelf.one) {
            (_, None) => ("post", shelf.list.to_owned(), None),
            (None, Some(_)) if !is_policy => ("post", shelf.list.to_owned(), None),
            (_, Some(_)) => ("put", shelf.one(), Some(self.id())),
        };
        let input = self.document.clone();
        documents::ask(door, method, &path, name.as_deref(), input).await?;
        Ok(())
    }

    async fn undo(&self, door: &Door) -> Result<(), Failure> {
        let shelf = self.shelf;
        match &self.before {
            None => {
                // What names it in a path may have been made of its name.
                let made = shelf.now(door).await?.remove(&self.name);
                let made = Step {
                    shelf,
                    name: self.name.clone(),
                    document: Map::new(),
                    before: made,
                    warnings: Vec::new(),
                    reads: Vec::new(),
                };
                let id = made.id();
                documents::ask(door, "delete", &shelf.one(), Some(&id), Map::new()).await?;
            }
            Some(before) => {
                let step = Step {
                    shelf,
                    name: self.name.clone(),
                    document: own(before, shelf),
                    before: Some(before.clone()),
                    warnings: Vec::new(),
                    reads: Vec::new(),
                };
                step.carry_out(door).await?;
            }
        }
        Ok(())
    }
}

/// What of an answer a file would say.
fn own(told: &Value, shelf: &Shelf) -> Map<String, Value> {
    if shelf.is_providers() {
        return told["document"].as_object().cloned().unwrap_or_default();
    }
    let mut own = told.as_object().cloned().unwrap_or_default();
    for field in ADDED {
        own.remove(field);
    }
    // Which are set, and never one of them.
    own.remove("secrets");
    if shelf.folder == "policies" {
        own.remove(shelf.name);
    }
    own
}

impl Asks for Apply {
    fn actor(&self) -> Actor {
        self.how.actor.clone()
    }

    fn looks(&self) -> bool {
        false
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        apply(self, door, around.out).await
    }
}

impl Asks for Export {
    fn actor(&self) -> Actor {
        self.how.actor.clone()
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        export(self, door, around.out).await
    }
}

/// Applies a folder.
async fn apply(args: &Apply, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let steps = steps(args, door).await?;
    let told: Vec<Value> = steps.iter().map(Step::told).collect();
    if !args.how.json.json {
        for step in &told {
            let [kind, name, change, fields] = ["/kind", "/name", "/change", "/fields"]
                .map(|place| print::plain(&print::word(step, place)));
            let fields = match fields.is_empty() {
                true => fields,
                false => format!(" ({fields})"),
            };
            writeln!(out, "{change} {kind}/{name}{fields}")?;
            let reads = step["reads"].as_array().into_iter().flatten();
            for read in reads.filter_map(Value::as_str) {
                writeln!(out, "  {read}")?;
            }
            for warning in print::take_warnings(&mut step.clone()) {
                writeln!(out, "  {warning}")?;
            }
        }
        out.flush()?;
    }
    if !args.dry_run {
        carry_out(&steps, door).await?;
    }
    if args.how.json.json {
        print::json(out, &json!({"applied": !args.dry_run, "changes": told}))?;
    } else {
        match (told.len(), args.dry_run) {
            (0, _) => writeln!(out, "everything is as the files say")?,
            (count, true) => writeln!(out, "{count} would change; nothing was done")?,
            (count, false) => writeln!(out, "{count} changed")?,
        }
    }
    Ok(out.flush()?)
}

async fn carry_out(steps: &[Step], door: &Door) -> Result<(), Failure> {
    for (done, step) in steps.iter().enumerate() {
        let Err(failure) = step.carry_out(door).await else {
            continue;
        };
        let mut left = Vec::new();
        for earlier in steps[..done].iter().rev() {
            if earlier.undo(door).await.is_err() {
                left.push(format!("{}/{}", earlier.shelf.folder, earlier.name));
            }
        }
        let what = format!("{}/{}", step.shelf.folder, print::plain(&step.name));
        let left = match left.is_empty() {
            true => "nothing was changed".to_owned(),
            false => format!("these could not be put back: {}", left.join(", ")),
        };
        return Err(match failure {
            Failure::Failed(why) => Failure::Failed(format!("{what}: {why}\n{left}")),
            Failure::Usage(_) | Failure::Told | Failure::Unread => failure,
        });
    }
    Ok(())
}

/// Everything that is not as its file says, in the order in which it is written. All of it is read
/// by the server first, each held against the others: what it would refuse is told here, together,
/// and nothing is written.
async fn steps(args: &Apply, door: &Door) -> Result<Vec<Step>, Failure> {
    let mut files = files(&args.folder)?;
    let kept = checked(&files, door).await?;
    let mut steps = Vec::new();
    for shelf in &SHELVES {
        let wanted = files.remove(shelf.folder).unwrap_or_default();
        if wanted.is_empty() {
            continue;
        }
        let mut now = shelf.now(door).await?;
        for (name, mut document) in wanted {
            let before = now.remove(&name);
            let named = (shelf.folder, name.as_str());
            let whole = kept
                .iter()
                .find(|kept| (kept.folder, kept.name.as_str()) == named);
            if let Some(before) = &before {
                if !args.secrets && all_set(&document, before) {
                    document.remove("secrets");
                }
                if shelf.is_providers() {
                    settle(&mut document, before, args.secrets);
                }
                let there = own(before, shelf);
                let is_same = match whole {
                    Some(whole) => same(&whole.document, &Value::Object(there)),
                    None => names_the_same(&document, &there),
                };
                let secret = ["secrets", "key"]
                    .iter()
                    .any(|one| document.contains_key(*one));
                if !secret && is_same {
                    continue;
                }
            }
            let readings = reads::of(&document);
            reads::check(&readings, &args.folder, args.allow_file)?;
            documents::look_up(&mut document)?;
            steps.push(Step {
                reads: readings.iter().map(reads::Reading::words).collect(),
                shelf,
                name,
                document,
                before,
                warnings: whole.map_or_else(Vec::new, |whole| whole.warnings.clone()),
            });
        }
    }
    Ok(steps)
}

/// A provider's file as it is told: its key only where it has to be written, and one price for all
/// models under the name of all.
fn settle(document: &mut Map<String, Value>, before: &Value, secrets: bool) {
    let moved = document
        .get("base_url")
        .is_some_and(|url| *url != before["base_url"]);
    if !secrets && !moved && before["key_set"] == true {
        document.remove("key");
    }
    let prices = document.get_mut("prices").and_then(Value::as_object_mut);
    if let Some(prices) = prices.filter(|prices| prices.values().any(Value::is_string)) {
        let all = Value::Object(std::mem::take(prices));
        prices.insert("*".to_owned(), all);
    }
    let prices = document.get_mut("prices").and_then(Value::as_object_mut);
    let models = prices.into_iter().flatten().map(|(_, prices)| prices);
    for price in models
        .filter_map(Value::as_object_mut)
        .flatten()
        .map(|(_, price)| price)
    {
        // `2.50` says what `2.5` says.
        let rate = price.as_str().and_then(|text| text.parse::<Rate>().ok());
        if let Some(rate) = rate {
            *price = json!(rate.to_string());
        }
    }
}

/// Whether every secret that the file has is set already.
fn all_set(document: &Map<String, Value>, before: &Value) -> bool {
    let set = before["secrets"].as_object();
    let given = document.get("secrets").and_then(Value::as_object);
    given.is_none_or(|given| {
        let mut names = given.keys();
        names.all(|name| set.is_some_and(|set| set.contains_key(name)))
    })
}

/// The kinds that the server reads before anything is written.
const CHECKED: [&str; 5] = ["sources", "tools", "servers", "access", "policies"];

/// A document as the server would keep it.
struct Kept {
    folder: &'static str,
    name: String,
    document: Value,
    warnings: Vec<String>,
}

/// Each document as it would be kept: what a file leaves out is what the server says it is then.
async fn checked(files: &Files, door: &Door) -> Result<Vec<Kept>, Failure> {
    let mut asked = Map::new();
    let mut named = Vec::new();
    for folder in CHECKED {
        let documents = files.get(folder).into_iter().flatten();
        let mut all = Vec::new();
        for (name, document) in documents {
            let mut document = document.clone();
            // Held against nothing, so they need not travel for this.
            document.remove("secrets");
            if folder == "policies" {
                document.insert("agent_id".to_owned(), json!(name));
            }
            all.push(Value::Object(document));
            named.push((folder, all.len() - 1, name.clone()));
        }
        asked.insert(folder.to_owned(), Value::Array(all));
    }
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let told = documents::ask(door, "post", "/v1/documents/check", None, asked).await?;
    let (mut kept, mut wrong) = (Vec::new(), Vec::new());
    for (folder, at, name) in named {
        let answer = &told[folder][at];
        match answer.get("document") {
            Some(document) => {
                let warnings = answer["warnings"].as_array().into_iter().flatten();
                kept.push(Kept {
                    folder,
                    name,
                    document: document.clone(),
                    warnings: warnings
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect(),
                });
            }
            None => {
                let word = |place: &str| print::plain(&print::word(answer, place));
                let (detail, code) = (word("/problem/detail"), word("/problem/code"));
                let name = print::plain(&name);
                wrong.push(format!("{folder}/{name}: {detail} ({code})"));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(kept),
        false => Err(Failure::Failed(format!(
            "{}\nnothing was changed",
            wrong.join("\n")
        ))),
    }
}

/// Whether two documents say the same; null says as much as nothing.
fn same(said: &Value, there: &Value) -> bool {
    match (said, there) {
        (Value::Object(said), Value::Object(there)) => {
            let in_both = |field: &String| {
                let of = |map: &Map<String, Value>| map.get(field).cloned().unwrap_or_default();
                same(&of(said), &of(there))
            };
            said.keys().chain(there.keys()).all(in_both)
        }
        (Value::Array(said), Value::Array(there)) => {
            said.len() == there.len() && said.iter().zip(there).all(|(a, b)| same(a, b))
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (said, there) => said == there,
    }
}

/// Whether a document has everything that its file names: for those that the server tells in other
/// words than it takes them.
fn names_the_same(file: &Map<String, Value>, there: &Map<String, Value>) -> bool {
    let there = |field: &str| there.get(field).unwrap_or(&Value::Null);
    file.iter().all(|(field, said)| same(said, there(field)))
}

type Files = BTreeMap<String, BTreeMap<String, Map<String, Value>>>;

/// The documents of a folder, by shelf and name. What is no shelf, no file or no document is told,
/// not passed over: a misspelt folder would be a rule that nobody applies.
fn files(folder: &Path) -> Result<Files, Failure> {
    let mut files = Files::new();
    for shelf in entries(folder)? {
        let name = file_name(&shelf);
        if name.starts_with('.') || (shelf.is_file() && !documents_file(&shelf)) {
            continue;
        }
        if !SHELVES.iter().any(|known| known.folder == name) {
            let known: Vec<&str> = SHELVES.iter().map(|known| known.folder).collect();
            return Err(Failure::of(format!(
                "{}: the folders are {}",
                print::plain(&shelf.display().to_string()),
                known.join(", ")
            )));
        }
        for path in entries(&shelf)? {
            if file_name(&path).starts_with('.') {
                continue;
            }
            let (name, document) = one_file(&name, &path)?;
            let shelf = files.entry(file_name(&shelf)).or_default();
            if shelf.insert(name.clone(), document).is_some() {
                let text = format!("{}: {name} is there twice", path.display());
                return Err(Failure::of(print::plain(&text)));
            }
        }
    }
    Ok(files)
}

fn one_file(shelf: &str, path: &Path) -> Result<(String, Map<String, Value>), Failure> {
    let wrong = |why: &str| {
        let text = format!("{}: {why}", path.display());
        Failure::of(print::plain(&text))
    };
    if !documents_file(path) {
        return Err(wrong("it ends in none of .json, .toml, .yaml"));
    }
    let stem = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let stem = stem.unwrap_or_default();
    let Value::Object(mut document) = documents::read(path)? else {
        return Err(wrong("it is no document: an object is expected"));
    };
    // An editor's word for where the schema is.
    document.remove("$schema");
    match shelf {
        "policies" => Ok((stem, document)),
        _ => {
            let named = document.get("name").and_then(Value::as_str);
            let name = match named {
                Some(name) if name == stem || matches!(shelf, "payees" | "access") => {
                    name.to_owned()
                }
                Some(_) => return Err(wrong("`name` is another than that of the file")),
                None => stem,
            };
            document.insert("name".to_owned(), json!(name));
            Ok((name, document))
        }
    }
}

fn documents_file(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("json" | "toml" | "yaml" | "yml"))
}

fn file_name(path: &Path) -> String {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_default()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| {
        let text = format!("{}: {error}", folder.display());
        Failure::of(print::plain(&text))
    };
    let found = fs::read_dir(folder).map_err(failed)?;
    let paths: Result<Vec<PathBuf>, _> =
        found.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// Writes what there is, without secrets, as files that can be applied.
async fn export(args: &Export, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let mut written = Vec::new();
    for shelf in &SHELVES {
        // One that this caller may not read, or this hundi does not have.
        let now = match shelf.now(door).await {
            Ok(now) => now,
            Err(Failure::Failed(why)) => {
                writeln!(
                    std::io::stderr(),
                    "hundi: {} are left out: {why}",
                    shelf.folder
                )?;
                continue;
            }
            Err(other) => return Err(other),
        };
        for (name, document) in now {
            let folder = args.folder.join(shelf.folder);
            fs::create_dir_all(&folder)?;
            let path = folder.join(format!("{}.json", safe(&name)));
            let document = Value::Object(own(&document, shelf));
            let text = serde_json::to_string_pretty(&document).map_err(Failure::of)?;
            fs::write(&path, text + "\n")?;
            written.push(path.display().to_string());
        }
    }
    if args.how.json.json {
        print::json(out, &json!({"files": written}))?;
    } else {
        writeln!(out, "{} files in {}", written.len(), args.folder.display())?;
    }
    Ok(out.flush()?)
}

/// A name as a file's.
fn safe(name: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | ' ');
    let name: String = name
        .chars()
        .map(|letter| if plain(letter) { letter } else { '_' })
        .collect();
    name.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_compared_by_what_they_say() {
        let said = json!({"name": "a", "masks": [], "limits": {"rows": 1.0}, "title": null});
        let there = json!({"name": "a", "masks": [], "limits": {"rows": 1}, "enabled": null});
        assert!(same(&said, &there));
        for (field, other) in [
            ("name", json!("b")),
            ("enabled", json!(true)),
            ("masks", json!([{"path": "$.a", "do": "null"}])),
            ("title", json!("x")),
        ] {
            let mut there = there.clone();
            there[field] = other;
            assert!(!same(&said, &there), "{field}");
        }
        let file = said.as_object().unwrap();
        assert!(names_the_same(
            file,
            json!({"name": "a", "masks": [], "limits": {"rows": 1}, "more": 1})
                .as_object()
                .unwrap()
        ));
        assert!(!names_the_same(
            file,
            json!({"name": "a"}).as_object().unwrap()
        ));
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        assert_eq!(safe("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(safe("Acme Ltd"), "Acme Ltd");
    }
}
