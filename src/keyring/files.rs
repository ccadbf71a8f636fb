//! Files for their owner alone: written whole, synced, never through a draft that others could have
//! put there before.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::KeyringError;

pub(super) fn failed(path: &Path, error: io::Error) -> KeyringError {
    KeyringError::Io {
        path: path.to_owned(),
        error,
    }
}

/// Makes the data folder for its owner alone; leaves an existing one as it is.
pub fn make_folder(folder: &Path) -> Result<(), KeyringError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| failed(folder, error))
}

/// Refuses a file that others than its owner may read or write.
pub fn refuse_open(path: &Path) -> Result<(), KeyringError> {
    let meta = fs::metadata(path).map_err(|error| failed(path, error))?;
    match is_open(&meta) {
        true => Err(KeyringError::Open(path.to_owned())),
        false => Ok(()),
    }
}

/// Whether others than the owner may do anything with it.
pub fn is_open(meta: &fs::Metadata) -> bool {
    meta.mode() & 0o077 != 0
}

/// Puts a file in place whole, over an older one. `suffix` has to be one that nobody foresees.
pub fn replace(path: &Path, text: &[u8], suffix: &str) -> Result<(), KeyringError> {
    let (folder, draft) = draft(path, text, suffix)?;
    fs::rename(&draft, path).map_err(|error| failed(path, error))?;
    sync(&folder)
}

/// Puts a file in place whole, unless another process was first; then its file stays.
pub(super) fn create(path: &Path, text: &[u8], suffix: &str) -> Result<(), KeyringError> {
    let (folder, draft) = draft(path, text, suffix)?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft).map_err(|error| failed(&draft, error))?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(path, error)),
        Ok(()) | Err(_) => sync(&folder),
    }
}

fn draft(path: &Path, text: &[u8], suffix: &str) -> Result<(PathBuf, PathBuf), KeyringError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).to_owned();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = folder.join(format!(".{name}.{suffix}"));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(text)?;
        file.sync_all()
    };
    write().map_err(|error| failed(&draft, error))?;
    Ok((folder, draft))
}

/// A rename is durable once its folder is.
fn sync(folder: &Path) -> Result<(), KeyringError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed(folder, error))
}
