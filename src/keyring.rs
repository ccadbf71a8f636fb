//! Keys on disk: the ring that signs commit tokens, and the single keys of the data folder ([`kept`]).
//!
//! The ring lives in `token-keys.json` (mode 0600), which every process of the data folder shares.
//! A process looks at the file's stamp before each use, so that a key retired elsewhere is refused
//! by the very next request. Writers take a lock, write a new file whole and rename it, so a
//! reader sees the old ring or the new one. Where the file cannot be read, the ring is empty:
//! without keys the broker refuses.
//!
//! Keys given from outside (`HUNDI_TOKEN_KEY`, needed on Postgres) make a fixed ring that is
//! rotated where it came from.

pub mod files;
pub mod kept;
mod masters;
mod stored;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ambient::Ambient;
use crate::broker::Keys;
use crate::config::Config;
use crate::config::secret::KeyBytes;
use crate::domain::ids::hex;
use crate::domain::time::Timestamp;
use crate::domain::token::{ACCEPTED_SKEW_SECS, BadKey, KeyEntry, KeyRing, KeyState, TokenKey};
pub use files::make_folder;
use files::{failed, refuse_open, replace};
pub use masters::masters;
use stored::{HexSecret, Stored, StoredKey, StoredState, VERSION};

/// The ring's file in the data folder.
pub const RING_FILE: &str = "token-keys.json";
/// Held while the ring is changed. Its own file, because the ring's is replaced.
const LOCK_FILE: &str = "token-keys.lock";
/// Longest ring file that is read, in bytes; some thousand keys.
const MAX_RING_BYTES: u64 = 1024 * 1024;

/// Why the keys cannot be read or changed. Says what to do, never a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file system said no.
    #[error("{}: {error}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// Others may read a file of keys.
    #[error("{} can be read by others, so its keys cannot be trusted: `chmod 600` it, and if somebody may have read it, replace its keys (token keys: `hundi keyring rotate`)", .0.display())]
    Open(PathBuf),
    /// Not what was written.
    #[error("{} is not a file of keys: {why}; restore it from a backup, or move it away for a new one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No ring at all.
    #[error("there are no token keys in {}: name the broker's data folder with --data-dir; its first start makes them", .0.display())]
    None(PathBuf),
    /// No such key.
    #[error("there is no key {0} in the ring; `hundi keyring list` shows them")]
    Unknown(String),
    /// The ring is not ours to change.
    #[error(
        "the token keys are given from outside (HUNDI_TOKEN_KEY), so they are rotated and retired there: put the new key first and the old ones after it, separated by commas, and restart"
    )]
    Outside,
    /// A key that cannot be used.
    #[error(transparent)]
    Bad(#[from] BadKey),
}

/// The token keys of this process.
pub enum Keyring {
    /// Kept in the data folder.
    File(FileKeys),
    /// Given from outside.
    Given(Arc<KeyRing>),
}

impl Keyring {
    /// The ring that the configuration asks for; makes the data folder and a first key where there
    /// is none.
    pub fn open(config: &Config, ambient: &Ambient) -> Result<Self, KeyringError> {
        if config.token_keys.is_empty() {
            FileKeys::open(&config.data_dir, ambient.clone()).map(Keyring::File)
        } else {
            given(&config.token_keys).map(|ring| Keyring::Given(Arc::new(ring)))
        }
    }

    /// As [`Keyring::open`], and makes nothing: for those who only look after a ring.
    pub fn existing(config: &Config, ambient: &Ambient) -> Result<Self, KeyringError> {
        if config.token_keys.is_empty() && !config.data_dir.join(RING_FILE).exists() {
            return Err(KeyringError::None(config.data_dir.clone()));
        }
        Self::open(config, ambient)
    }

    /// Every key, oldest first, spent ones included.
    pub fn list(&self) -> Result<Vec<KeyEntry>, KeyringError> {
        match self {
            Keyring::File(keys) => keys.list(),
            Keyring::Given(ring) => Ok(ring
                .keys()
                .iter()
                .map(|key| KeyEntry {
                    kid: key.kid().to_owned(),
                    state: key.state(),
                    created_at: None,
                    sealing: ring
                        .sealing()
                        .is_some_and(|sealing| sealing.kid() == key.kid()),
                })
                .collect()),
        }
    }

    /// Puts a new key in front; the ones before verify until their last token has expired.
    pub fn rotate(&self, token_ttl_secs: i64) -> Result<KeyEntry, KeyringError> {
        match self {
            Keyring::File(keys) => keys.rotate(token_ttl_secs),
            Keyring::Given(_) => Err(KeyringError::Outside),
        }
    }

    /// Ends a key at once and destroys it. A new one takes its place if it was the sealing one.
    pub fn retire(&self, kid: &str) -> Result<Vec<KeyEntry>, KeyringError> {
        match self {
            Keyring::File(keys) => keys.retire(kid),
            Keyring::Given(_) => Err(KeyringError::Outside),
        }
    }
}

impl Keys for Keyring {
    fn ring(&self) -> Arc<KeyRing> {
        match self {
            Keyring::File(keys) => keys.ring(),
            Keyring::Given(ring) => Arc::clone(ring),
        }
    }
}

/// A ring of keys from outside: the first seals, all verify. A key's name follows from the key, so
/// that all nodes call it the same.
fn given(keys: &[KeyBytes]) -> Result<KeyRing, KeyringError> {
    let keys = keys.iter().rev().map(|key| {
        let kid = format!("e{}", name_of(b"hundi/kid/v1\0", key));
        let secret = Zeroizing::new(key.expose().to_vec());
        Ok(TokenKey::new(
            &kid,
            secret,
            KeyState::Active,
            Timestamp::default(),
        )?)
    });
    keys.collect::<Result<Vec<_>, KeyringError>>()
        .map(KeyRing::new)
}

/// The name of a master key: it follows from the key, so that all nodes call it the same.
pub fn master_name(key: &KeyBytes) -> String {
    format!("m{}", name_of(b"hundi/kid/master/v1\0", key))
}

fn name_of(label: &[u8], key: &KeyBytes) -> String {
    let hash = Sha256::new_with_prefix(label).chain_update(key.expose());
    hex(&hash.finalize()[..KID_BYTES])
}

/// Bytes of a key's name; it only has to differ from the other names of a ring.
const KID_BYTES: usize = 6;

/// The ring in the data folder.
pub struct FileKeys {
    folder: PathBuf,
    ambient: Ambient,
    cached: ArcSwap<Cached>,
}

struct Cached {
    stamp: Option<Stamp>,
    ring: Arc<KeyRing>,
}

/// What changes whenever a file is replaced: device, inode, length, and both times in nanoseconds.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

fn stamp(meta: &fs::Metadata) -> Stamp {
    (
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    )
}

impl FileKeys {
    /// Opens the ring of a data folder, and makes both where they are missing.
    pub fn open(folder: &Path, ambient: Ambient) -> Result<Self, KeyringError> {
        make_folder(folder)?;
        let keys = Self {
            folder: folder.to_owned(),
            ambient,
            cached: ArcSwap::from_pointee(Cached {
                stamp: None,
                ring: Arc::new(KeyRing::default()),
            }),
        };
        if !keys.path().exists() {
            let _lock = keys.lock()?;
            // Another process may have been first.
            if !keys.path().exists() {
                let first = keys.fresh();
                keys.write(&Stored {
                    version: VERSION,
                    keys: vec![first],
                })?;
            }
        }
        refuse_open(&keys.path())?;
        let (stamp, stored) = keys.read()?;
        let ring = Arc::new(stored.ring(&keys.path())?);
        keys.cached.store(Arc::new(Cached {
            stamp: Some(stamp),
            ring,
        }));
        Ok(keys)
    }

    /// Every key, oldest first, spent ones included.
    pub fn list(&self) -> Result<Vec<KeyEntry>, KeyringError> {
        Ok(self.read()?.1.entries())
    }

    /// See [`Keyring::rotate`].
    pub fn rotate(&self, token_ttl_secs: i64) -> Result<KeyEntry, KeyringError> {
        let _lock = self.lock()?;
        let (_, mut stored) = self.read()?;
        let now = self.ambient.now().secs();
        let until = now + token_ttl_secs + ACCEPTED_SKEW_SECS;
        for key in &mut stored.keys {
            match key.state {
                StoredState::Active => key.state = StoredState::Rotated { until },
                // What verifies nothing any more need not be kept where it can leak.
                StoredState::Rotated { until } if until <= now => key.secret = None,
                StoredState::Rotated { .. } | StoredState::Retired => {}
            }
        }
        let fresh = self.fresh();
        let kid = fresh.kid.clone();
        stored.keys.push(fresh);
        self.write(&stored)?;
        let entry = stored.entries().into_iter().find(|entry| entry.kid == kid);
        entry.ok_or(KeyringError::Unknown(kid))
    }

    /// See [`Keyring::retire`].
    pub fn retire(&self, kid: &str) -> Result<Vec<KeyEntry>, KeyringError> {
        let _lock = self.lock()?;
        let (_, mut stored) = self.read()?;
        let key = stored.keys.iter_mut().find(|key| key.kid == kid);
        let key = key.ok_or_else(|| KeyringError::Unknown(kid.to_owned()))?;
        key.state = StoredState::Retired;
        key.secret = None;
        if !stored
            .keys
            .iter()
            .any(|key| matches!(key.state, StoredState::Active))
        {
            stored.keys.push(self.fresh());
        }
        self.write(&stored)?;
        Ok(stored.entries())
    }

    fn path(&self) -> PathBuf {
        self.folder.join(RING_FILE)
    }

    /// Locked until the file is dropped, also if the process is killed.
    fn lock(&self) -> Result<File, KeyringError> {
        let path = self.folder.join(LOCK_FILE);
        let open = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path);
        let file = open.map_err(|error| failed(&path, error))?;
        file.lock().map_err(|error| failed(&path, error))?;
        Ok(file)
    }

    fn fresh(&self) -> StoredKey {
        let secret = Zeroizing::new(self.ambient.bytes::<32>());
        StoredKey {
            kid: format!("k{}", hex(&self.ambient.bytes::<KID_BYTES>())),
            state: StoredState::Active,
            created_at: self.ambient.now(),
            secret: Some(HexSecret(Zeroizing::new(hex(secret.as_slice())))),
        }
    }

    /// The stamp is taken from the opened file, so that it belongs to what was read.
    fn read(&self) -> Result<(Stamp, Stored), KeyringError> {
        let path = self.path();
        let failed = |error| failed(&path, error);
        let file = File::open(&path).map_err(failed)?;
        let stamp = stamp(&file.metadata().map_err(failed)?);
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_RING_BYTES)
            .read_to_string(&mut text)
            .map_err(failed)?;
        let stored: Stored =
            serde_json::from_str(&text).map_err(|error| KeyringError::Damaged {
                path: path.clone(),
                // The position only: serde quotes what it did not expect.
                why: format!("line {}, column {}", error.line(), error.column()),
            })?;
        if stored.version != VERSION {
            let why = format!(
                "version {}, and this program knows {VERSION}",
                stored.version
            );
            return Err(KeyringError::Damaged { path, why });
        }
        Ok((stamp, stored))
    }

    fn write(&self, stored: &Stored) -> Result<(), KeyringError> {
        // Room for all, so that no half-written copy is left behind by a growing buffer.
        let mut text = Zeroizing::new(Vec::with_capacity(512 * (1 + stored.keys.len())));
        let path = self.path();
        serde_json::to_writer_pretty(&mut *text, stored)
            .map_err(|error| failed(&path, error.into()))?;
        text.push(b'\n');
        replace(&path, &text, &hex(&self.ambient.bytes::<8>()))
    }

    fn reread(&self, stamp: Option<Stamp>) -> Arc<KeyRing> {
        let read = self
            .read()
            .and_then(|(stamp, stored)| Ok((stamp, stored.ring(&self.path())?)));
        let (stamp, ring) = match read {
            Ok((stamp, ring)) => (Some(stamp), Arc::new(ring)),
            Err(error) => {
                tracing::error!(%error, "the token keys cannot be read; every token is refused");
                (stamp, Arc::new(KeyRing::default()))
            }
        };
        self.cached.store(Arc::new(Cached {
            stamp,
            ring: Arc::clone(&ring),
        }));
        ring
    }
}

impl Keys for FileKeys {
    fn ring(&self) -> Arc<KeyRing> {
        let now = fs::metadata(self.path()).ok().map(|meta| stamp(&meta));
        let cached = self.cached.load();
        if cached.stamp == now {
            return Arc::clone(&cached.ring);
        }
        self.reread(now)
    }
}

#[cfg(test)]
mod tests;
