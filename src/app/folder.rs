//! The data folder: made for its owner alone, and looked over at every start.
//!
//! A file of keys that others can read stops the start, because nobody knows who has read it. What
//! else of ours is open, and the folder itself, is closed by whoever serves, who says so; a command
//! beside a server leaves that to it. Files that are not ours are left alone, and an open folder
//! that holds some is refused: closing it could take it from somebody.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::config::Config;
use crate::keyring::RING_FILE;
use crate::keyring::files::{is_open, make_folder, refuse_open};
use crate::keyring::kept::{AUDIT_KEY_FILE, MASTER_KEY_FILE, SANDBOX_SECRET_FILE};

/// Where a running server says that it runs, for commands beside it.
pub const SERVER_FILE: &str = "server.json";
/// What holds keys.
const KEYS: [&str; 3] = [RING_FILE, AUDIT_KEY_FILE, MASTER_KEY_FILE];
/// What else is ours: names begin so. The first is the store, with the files that SQLite keeps
/// beside it.
const OURS: [&str; 7] = [
    "hundi.db",
    SERVER_FILE,
    ".server",
    SANDBOX_SECRET_FILE,
    "sandbox-ledger",
    "token-keys",
    ".token-keys",
];
/// The bit that folders like `/tmp` have.
const SHARED: u32 = 0o1000;
/// Folders of ours.
const FOLDERS: [&str; 1] = ["spool"];

/// Makes the folder where it is missing, and refuses or (for whoever serves) mends what others can
/// look into.
pub(super) fn look_over(config: &Config, mend: bool) -> Result<()> {
    let folder = &config.data_dir;
    make_folder(folder)?;
    if mend {
        close_folder(folder).with_context(|| {
            let shown = folder.display();
            format!(
                "others can look into the data folder {shown}: `chmod 700` it, or name a folder of \
                 its own with HUNDI_DATA_DIR"
            )
        })?;
    }
    for name in KEYS {
        let path = folder.join(name);
        if path.exists() {
            refuse_open(&path)?;
        }
    }
    if mend {
        for path in ours(config) {
            let shown = path.display().to_string();
            let advice = || format!("others can read {shown}: `chmod 600` it");
            close(&path).with_context(advice)?;
        }
    }
    Ok(())
}

/// Refuses folders of sources that hold our own: whoever may register tools could write the ledger.
pub(super) fn refuse_own_as_source(config: &Config) -> Result<()> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let store = config.sqlite_path();
    let store = store.as_deref().and_then(Path::parent);
    for own in [Some(config.data_dir.as_path()), store]
        .into_iter()
        .flatten()
    {
        let own = real(own);
        for folder in config.sqlite_dirs.iter().map(|folder| real(folder)) {
            if own.starts_with(&folder) || folder.starts_with(&own) {
                bail!(
                    "sources.sqlite_dirs names {}, and our own {} would be in its reach: keep files \
                     of sources in a folder of their own",
                    folder.display(),
                    own.display()
                );
            }
        }
    }
    Ok(())
}

/// Refuses the folder of a sandbox to a start that is none: its refusals would be told as real
/// ones, and its secret would sign the bank's word.
pub(super) fn refuse_sandbox(config: &Config) -> Result<()> {
    let left = config.data_dir.join(SANDBOX_SECRET_FILE);
    if config.sandbox_mode() || !left.exists() {
        return Ok(());
    }
    bail!(
        "{} was left by the sandbox, and nothing of the sandbox is used with a bank: name an \
         empty data folder with HUNDI_DATA_DIR",
        left.display()
    )
}

/// Closes the folder, unless somebody else uses it as well: then that is not ours to decide.
fn close_folder(folder: &Path) -> Result<()> {
    let meta = fs::metadata(folder)?;
    if !is_open(&meta) {
        return Ok(());
    }
    if meta.permissions().mode() & SHARED != 0 {
        bail!("it is a folder that everybody uses");
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let ours = OURS.iter().chain(&KEYS).chain(&FOLDERS);
        if !ours
            .into_iter()
            .any(|prefix| name.trim_start_matches('.').starts_with(prefix))
        {
            bail!("it holds {name}, which is not ours");
        }
    }
    close(folder).context("it cannot be closed")
}

/// Files of ours, whatever their mode.
fn ours(config: &Config) -> Vec<PathBuf> {
    let mut found = matching(&config.data_dir, &OURS);
    for name in FOLDERS {
        let folder = config.data_dir.join(name);
        if folder.is_dir() {
            found.extend(matching(&folder, &[""]));
            found.push(folder);
        }
    }
    if let Some(path) = config.sqlite_path()
        && let (Some(folder), Some(name)) = (path.parent(), path.file_name())
    {
        found.extend(matching(folder, &[&name.to_string_lossy()]));
    }
    found
}

fn matching(folder: &Path, prefixes: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Not what a link points at: that may be anybody's.
        entry.file_type().is_ok_and(|kind| kind.is_file())
            && prefixes.iter().any(|prefix| name.starts_with(prefix))
    });
    ours.map(|entry| entry.path()).collect()
}

/// Takes away what others may do, and says so.
fn close(path: &Path) -> std::io::Result<()> {
    let meta = fs::metadata(path)?;
    if !is_open(&meta) {
        return Ok(());
    }
    let mode = meta.permissions().mode() & 0o7700;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    tracing::warn!(
        path = %path.display(),
        "{} was open to others; from now on it is for its owner alone",
        path.display()
    );
    Ok(())
}
