//! Reads the three layers (file, environment, flags) against the table of settings, and keeps for
//! each setting the value of the highest layer that names it, with where it came from.
//!
//! Nothing is interpreted here beyond text or list. Messages name the key and the place and never
//! repeat a value: it could be a secret in the wrong line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::settings::{Kind, SETTINGS, Setting};
use crate::domain::nearest::nearest;

/// The file read when none is named and it exists.
pub const DEFAULT_FILE: &str = "hundi.toml";
/// Longest configuration or secret file, in bytes; more is surely the wrong file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What the process was started with, as variables.
pub type Environment = BTreeMap<String, OsString>;

/// One setting given as a flag.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The setting's key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// How the user spelt the flag: `--listen`.
    pub flag: String,
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// A file named in the configuration file.
    FileIn(PathBuf, PathBuf),
    /// A variable.
    Env(String),
    /// A file named in a variable.
    EnvFile(String, PathBuf),
    /// A flag.
    Flag(String),
}

/// Variables that no setting has: of the command line, where it asks a server.
const OF_CLIENTS: [&str; 3] = ["HUNDI_CONFIG", "HUNDI_API_KEY", "HUNDI_URL"];

impl Source {
    /// `default`, `file`, `env` or `flag`.
    pub fn layer(&self) -> &'static str {
        match self {
            Source::Default => "default",
            Source::File(_) | Source::FileIn(..) => "file",
            Source::Env(_) | Source::EnvFile(..) => "env",
            Source::Flag(_) => "flag",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::FileIn(path, secret) => {
                write!(f, "file {} ({})", path.display(), secret.display())
            }
            Source::Env(variable) => write!(f, "env {variable}"),
            Source::EnvFile(variable, secret) => {
                write!(f, "env {variable} ({})", secret.display())
            }
            Source::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One setting as it was found.
#[derive(Clone)]
pub struct Found {
    /// Its texts; exactly one for what is not a list.
    pub values: Vec<Zeroizing<String>>,
    /// Where they came from.
    pub source: Source,
}

/// Everything that was found, before anybody interprets it.
#[derive(Default)]
pub struct Layers {
    /// By key, the highest layer only.
    pub found: BTreeMap<&'static str, Found>,
    /// `[tools.*]` of the file.
    pub tools: toml::Table,
    /// `[upstream.*]` of the file.
    pub upstream: toml::Table,
    /// `[programs.*]` of the file.
    pub programs: toml::Table,
    /// `[providers.*]` of the file.
    pub providers: toml::Table,
    /// `[routes.*]` of the file.
    pub routes: toml::Table,
    /// `[[webhooks]]` of the file.
    pub webhooks: Vec<toml::Value>,
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// The configuration file itself holds a secret.
    pub secret_in_file: bool,
    /// What stops the start.
    pub problems: Vec<String>,
    /// What does not.
    pub warnings: Vec<String>,
}

impl Layers {
    /// Reads all three, lowest first, so that a higher one replaces what a lower one said.
    pub fn read(file: Option<&Path>, environment: &Environment, flags: &[Flag]) -> Self {
        let mut layers = Layers::default();
        layers.defaults();
        layers.file(file, environment);
        layers.environment(environment);
        layers.flags(flags);
        layers
    }

    fn defaults(&mut self) {
        for setting in SETTINGS {
            if let Some(default) = setting.default {
                self.put(setting, split(setting, default), Source::Default);
            }
        }
    }

    fn put(&mut self, setting: &'static Setting, values: Vec<Zeroizing<String>>, source: Source) {
        self.found.insert(setting.key, Found { values, source });
    }

    fn file(&mut self, named: Option<&Path>, environment: &Environment) {
        let by_variable = environment
            .get("HUNDI_CONFIG")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let named = named.map(Path::to_owned).or(by_variable);
        let path = match named {
            Some(path) => path,
            None if Path::new(DEFAULT_FILE).exists() => PathBuf::from(DEFAULT_FILE),
            None => return,
        };
        let text = match read_small(&path) {
            Ok(text) => text,
            Err(error) => {
                let shown = path.display();
                self.problems.push(format!(
                    "the configuration file {shown} cannot be read: {error}"
                ));
                return;
            }
        };
        match toml::from_str::<toml::Table>(&text) {
            Ok(table) => self.table(&path, table),
            // The error's own display quotes the line, and the line may hold a secret.
            Err(error) => {
                let at = error
                    .span()
                    .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
                self.problems.push(format!(
                    "{}, line {at}: this is not TOML ({})",
                    path.display(),
                    error.message()
                ));
            }
        }
        self.file = Some(path);
    }

    fn table(&mut self, path: &Path, table: toml::Table) {
        for (name, value) in table {
            match value {
                toml::Value::Table(table) if name == "tools" => self.tools = table,
                toml::Value::Table(table) if name == "programs" => self.programs = table,
                toml::Value::Table(table) if name == "routes" => self.routes = table,
                toml::Value::Table(table) if name == "upstream" || name == "providers" => {
                    self.named(path, &name, table);
                }
                toml::Value::Table(table) => {
                    for (inner, value) in table {
                        self.entry(path, &format!("{name}.{inner}"), value);
                    }
                }
                toml::Value::Array(tables) if name == "webhooks" => {
                    self.secret_in_file |= tables.iter().any(|one| one.get("secret").is_some());
                    self.webhooks = tables;
                }
                value @ (toml::Value::String(_)
                | toml::Value::Integer(_)
                | toml::Value::Float(_)
                | toml::Value::Boolean(_)
                | toml::Value::Datetime(_)
                | toml::Value::Array(_)) => self.entry(path, &name, value),
            }
        }
    }

    /// One table for each server or provider, and what holds for all of them.
    fn named(&mut self, path: &Path, of: &str, table: toml::Table) {
        for (name, value) in table {
            let key = format!("{of}.{name}");
            if !value.is_table() && Setting::find(&key).is_some() {
                self.entry(path, &key, value);
                continue;
            }
            if of == "providers" {
                let has_key = value.get("key").is_some();
                self.secret_in_file |= has_key;
                self.providers.insert(name, value);
            } else {
                self.upstream.insert(name, value);
            }
        }
    }

    fn entry(&mut self, path: &Path, key: &str, value: toml::Value) {
        if let Some(setting) = Setting::find(key) {
            self.secret_in_file |= setting.kind.is_secret();
            let source = Source::File(path.to_owned());
            // The same secret twice is a riddle; which one is meant must not depend on our order.
            if self.is_from_file(setting.key) {
                self.given_twice(setting, &path.display().to_string());
            }
            match texts(setting, value) {
                Some(values) => self.put(setting, values, source),
                None => self.problems.push(format!(
                    "`{key}` in {}: {}",
                    path.display(),
                    setting.kind.wanted()
                )),
            }
            return;
        }
        if let Some(setting) = secret_of(key, "_file") {
            let toml::Value::String(named) = value else {
                let shown = path.display();
                self.problems
                    .push(format!("`{key}` in {shown}: a path belongs here"));
                return;
            };
            if self.is_from_file(setting.key) {
                self.given_twice(setting, &path.display().to_string());
            }
            let named = PathBuf::from(named);
            let source = Source::FileIn(path.to_owned(), named.clone());
            self.secret_file(
                setting,
                &format!("`{key}` in {}", path.display()),
                &named,
                source,
            );
            return;
        }
        if let toml::Value::Table(table) = value
            && SETTINGS.iter().any(|setting| is_within(setting.key, key))
        {
            for (inner, value) in table {
                self.entry(path, &format!("{key}.{inner}"), value);
            }
            return;
        }
        let hint = nearest(key, SETTINGS.iter().map(|setting| setting.key));
        let hint = hint.map_or_else(
            || "`hundi config` lists them all".to_owned(),
            |near| match (near.contains('.'), key.contains('.')) {
                (false, true) => {
                    format!("did you mean `{near}`? It belongs above the first [table]")
                }
                _ => format!("did you mean `{near}`?"),
            },
        );
        self.problems.push(format!(
            "{} has a setting `{key}` that does not exist: {hint}",
            path.display()
        ));
    }

    fn is_from_file(&self, key: &str) -> bool {
        self.found
            .get(key)
            .is_some_and(|found| found.source.layer() == "file")
    }

    fn given_twice(&mut self, setting: &Setting, place: &str) {
        self.problems.push(format!(
            "`{}` ({}) is given twice in {place}, as itself and as a file: keep one",
            setting.key,
            setting.variable()
        ));
    }

    fn environment(&mut self, environment: &Environment) {
        for setting in SETTINGS {
            let variable = setting.variable();
            let by_file = format!("{variable}_FILE");
            let named = environment
                .get(&by_file)
                .filter(|path| setting.kind.is_secret() && !path.is_empty());
            if let Some(value) = environment.get(&variable) {
                if named.is_some() {
                    self.given_twice(setting, "the environment");
                }
                self.variable(setting, variable, value);
            } else if let Some(named) = named {
                let named = PathBuf::from(named);
                let source = Source::EnvFile(by_file.clone(), named.clone());
                self.secret_file(setting, &by_file, &named, source);
            }
        }
        self.unknown_variables(environment);
    }

    fn variable(&mut self, setting: &'static Setting, variable: String, value: &OsString) {
        let Some(text) = value.to_str() else {
            self.problems.push(format!("{variable} is not UTF-8 text"));
            return;
        };
        // `HUNDI_REDIS_URL=` is how compose files spell "unset"; an empty secret is a mistake.
        if text.is_empty() && !setting.kind.is_secret() {
            return;
        }
        self.put(setting, split(setting, text), Source::Env(variable));
    }

    /// A variable that nearly names a setting is a slip; any other may belong to a platform that
    /// names its own after the service (`HUNDI_PORT`).
    fn unknown_variables(&mut self, environment: &Environment) {
        let known: Vec<String> = SETTINGS
            .iter()
            .flat_map(|setting| {
                let variable = setting.variable();
                let by_file = setting.kind.is_secret().then(|| format!("{variable}_FILE"));
                [Some(variable), by_file].into_iter().flatten()
            })
            .collect();
        for name in environment.keys() {
            let ours = name.starts_with("HUNDI_") && !OF_CLIENTS.contains(&name.as_str());
            if !ours || known.contains(name) {
                continue;
            }
            // Without the prefix that all share, which would make everything look alike.
            let bare = |name: &'_ str| name["HUNDI_".len()..].to_owned();
            let bare_known: Vec<String> = known.iter().map(|name| bare(name)).collect();
            if let Some(near) = nearest(&bare(name), bare_known.iter().map(String::as_str)) {
                self.warnings.push(format!(
                    "the variable {name} is not one of hundi's and changes nothing: did you mean HUNDI_{near}?"
                ));
            }
        }
    }

    fn flags(&mut self, flags: &[Flag]) {
        for Flag { key, value, flag } in flags {
            match Setting::find(key) {
                // Every process of the machine can read the arguments of every other.
                Some(setting) if setting.kind.is_secret() => self.problems.push(format!(
                    "`{key}` is a secret and would show in the list of processes: give it as {} or {}_FILE",
                    setting.variable(),
                    setting.variable()
                )),
                Some(setting) => {
                    if has_password(setting.kind, value) {
                        self.warnings.push(format!(
                            "the password in {flag} shows in the list of processes: give it as {}",
                            setting.variable()
                        ));
                    }
                    self.put(setting, split(setting, value), Source::Flag(flag.clone()));
                }
                None => {
                    let hint = nearest(key, SETTINGS.iter().map(|setting| setting.key));
                    let hint = hint.map_or_else(
                        || "`hundi config` lists them all".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    );
                    self.problems
                        .push(format!("{flag}: there is no setting `{key}`: {hint}"));
                }
            }
        }
    }

    fn secret_file(
        &mut self,
        setting: &'static Setting,
        named_by: &str,
        path: &Path,
        source: Source,
    ) {
        match read_small(path) {
            Ok(text) => {
                if is_open_to_all(path) {
                    self.warnings.push(format!(
                        "{} holds a secret and anybody here can read it: `chmod 600 {}`",
                        path.display(),
                        path.display()
                    ));
                }
                // One line end is the editor's; anything more is a mistake that is reported.
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                self.put(setting, split(setting, text), source);
            }
            Err(error) => self.problems.push(format!(
                "{named_by} names {}, which cannot be read: {error}",
                path.display()
            )),
        }
    }
}

/// Whether everybody on this machine can read a file. A group may be meant: so volumes of secrets
/// are mounted.
fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o007 != 0)
}

fn has_password(kind: Kind, text: &str) -> bool {
    matches!(kind, Kind::Database | Kind::Redis)
        && url::Url::parse(text).is_ok_and(|url| url.password().is_some())
}

/// Whether a setting's key lies in this table: `integrity.weights.prompt_drift` in
/// `integrity.weights`.
fn is_within(key: &str, table: &str) -> bool {
    let rest = key.strip_prefix(table);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

fn secret_of(key: &str, suffix: &str) -> Option<&'static Setting> {
    Setting::find(key.strip_suffix(suffix)?).filter(|setting| setting.kind.is_secret())
}

fn read_small(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(std::io::Error::other("it is longer than a mebibyte"));
    }
    Ok(text)
}

/// One text, or for lists the parts between commas. No text at all is an empty list, but an empty
/// secret stays, to be refused by name.
fn split(setting: &Setting, text: &str) -> Vec<Zeroizing<String>> {
    if !setting.kind.is_list() {
        return vec![Zeroizing::new(text.to_owned())];
    }
    if text.trim().is_empty() && !setting.kind.is_secret() {
        return Vec::new();
    }
    text.split(',')
        .map(|part| Zeroizing::new(part.trim().to_owned()))
        .collect()
}

/// What a TOML value says, if it is of the right kind at all.
fn texts(setting: &Setting, value: toml::Value) -> Option<Vec<Zeroizing<String>>> {
    let one = |text: String| Some(vec![Zeroizing::new(text)]);
    match (setting.kind, value) {
        (Kind::Number(..) | Kind::Share | Kind::Text, toml::Value::Integer(n)) => {
            one(n.to_string())
        }
        (Kind::Share, toml::Value::Float(x)) => one(x.to_string()),
        (Kind::Switch, toml::Value::Boolean(on)) => one(on.to_string()),
        (Kind::Number(..) | Kind::Share | Kind::Switch, _) => None,
        (_, toml::Value::String(text)) => Some(split(setting, &text)),
        (kind, toml::Value::Array(items)) if kind.is_list() => {
            let texts = items.iter().map(toml::Value::as_str);
            texts
                .map(|text| Some(Zeroizing::new(text?.to_owned())))
                .collect()
        }
        _ => None,
    }
}
