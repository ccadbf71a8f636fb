//! The single keys of the data folder: the audit key, the master key, and what the sandbox bank signs
//! with. A file holds one key as hex, or several, one a line, the newest first.
//!
//! Made (32 random bytes, mode 0600) only where the caller says so: a key that was lost must be
//! missed, not replaced in silence. A file that others can read is refused.

use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use super::KeyringError;
use super::files::{create, failed, make_folder, refuse_open};
use crate::ambient::Ambient;
use crate::config::secret::KeyBytes;
use crate::domain::ids::hex;

/// The key that signs the heads of the audit log.
pub const AUDIT_KEY_FILE: &str = "audit-key";
/// The keys that guard what the store keeps secret.
pub const MASTER_KEY_FILE: &str = "master-key";
/// What the sandbox bank signs its webhooks with.
pub const SANDBOX_SECRET_FILE: &str = "sandbox-webhook-secret";

/// The keys of a file, the newest first; `None` if there is no such file. Never empty.
pub fn read(path: &Path) -> Result<Option<Vec<KeyBytes>>, KeyringError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, error)),
    };
    refuse_open(path)?;
    let damaged = |why: String| KeyringError::Damaged {
        path: path.to_owned(),
        why,
    };
    let keys = text.split_whitespace().map(KeyBytes::from_hex);
    let keys = keys.collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|weak| damaged(format!("the key {weak}")))?;
    match keys.is_empty() {
        true => Err(damaged("it is empty".to_owned())),
        false => Ok(Some(keys)),
    }
}

/// The same, and makes a first key where there is no file. Of several who are first at once, all
/// get the same key.
pub fn read_or_make(path: &Path, ambient: &Ambient) -> Result<Vec<KeyBytes>, KeyringError> {
    if let Some(keys) = read(path)? {
        return Ok(keys);
    }
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let fresh = Zeroizing::new(ambient.bytes::<32>());
    let text = Zeroizing::new(hex(fresh.as_slice()));
    create(path, text.as_bytes(), &hex(&ambient.bytes::<8>()))?;
    let gone = || failed(path, std::io::ErrorKind::NotFound.into());
    read(path)?.ok_or_else(gone)
}
