//! Refusals on disk, for while the store cannot take them: one JSON object a line, one file per
//! process, in `<data folder>/spool/`.
//!
//! Bounded: a full spool drops what comes and counts it. A batch is a file that nobody writes any
//! more; it keeps its name until it is in the store, so that importing it twice is noticed there.
//! Lines that do not read back are skipped: half a line is what a crash leaves.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Spool, Spooled};
use crate::ambient::Ambient;
use crate::domain::change::Record;
use crate::domain::ids::hex;

/// Most bytes of one file; some ten thousand refusals.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Most bytes of all files that wait for import.
const MAX_TOTAL: u64 = 64 * 1024 * 1024;
/// Ends the name of a batch that nobody writes any more.
const CLOSED: &str = ".closed.jsonl";
/// Ends the name of the file that a process writes.
const OPEN: &str = ".open.jsonl";
/// Records of one batch that are read; more cannot be in a file of that size.
const MAX_RECORDS: usize = 100_000;

/// A folder of refusals.
pub struct Folder {
    path: PathBuf,
    ambient: Ambient,
    open: Mutex<Option<Current>>,
}

/// The file that is written.
struct Current {
    file: File,
    path: PathBuf,
    bytes: u64,
    dropped: u64,
}

impl Folder {
    /// The spool of a data folder. Nothing is made on disk before it is needed.
    pub fn new(data_dir: &Path, ambient: Ambient) -> Self {
        Self {
            path: data_dir.join("spool"),
            ambient,
            open: Mutex::new(None),
        }
    }

    fn begin(&self) -> io::Result<Current> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)?;
        let mut total = 0_u64;
        for path in files(&self.path, CLOSED)? {
            total = total.saturating_add(fs::metadata(&path)?.len());
        }
        if total > MAX_TOTAL {
            return Err(io::Error::other("the spool is full"));
        }
        let name = format!("{}{OPEN}", hex(&self.ambient.bytes::<12>()));
        let path = self.path.join(name);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Current {
            file,
            path,
            bytes: 0,
            dropped: 0,
        })
    }

    /// Ends the file that is written, so that it becomes a batch.
    fn close(&self) -> io::Result<()> {
        let current = self.lock().take();
        match current {
            Some(current) => {
                current.file.sync_all()?;
                close_file(&current.path)
            }
            None => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Current>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files that a process before us left open. Only safe at the start, so it is called once.
    pub fn adopt(&self) -> io::Result<()> {
        for path in files(&self.path, OPEN)? {
            close_file(&path)?;
        }
        Ok(())
    }
}

impl Spool for Folder {
    fn keep(&self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let mut open = self.lock();
        if open.is_none() {
            *open = Some(self.begin()?);
        }
        let Some(current) = open.as_mut() else {
            return Ok(());
        };
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if current.bytes.saturating_add(bytes) > MAX_BYTES {
            current.dropped += 1;
            let dropped = current.dropped;
            return Err(io::Error::other(format!(
                "the spool is full; {dropped} refusals were dropped"
            )));
        }
        current.file.write_all(&line)?;
        current.bytes += bytes;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        let none = files(&self.path, CLOSED).is_ok_and(|closed| closed.is_empty());
        none && self.lock().is_none()
    }

    fn waiting(&self) -> io::Result<Vec<Spooled>> {
        self.close()?;
        let mut batches = Vec::new();
        for path in files(&self.path, CLOSED)? {
            let name = path.file_name().unwrap_or_default();
            let reader = BufReader::new(File::open(&path)?);
            let lines = reader.lines().take(MAX_RECORDS).map_while(Result::ok);
            batches.push(Spooled {
                name: name.to_string_lossy().into_owned(),
                records: lines
                    .filter_map(|line| serde_json::from_str(&line).ok())
                    .collect(),
            });
        }
        Ok(batches)
    }

    fn done(&self, name: &str) -> io::Result<()> {
        // The name is one of ours, and must not lead elsewhere all the same.
        if name.contains('/') || !name.ends_with(CLOSED) {
            return Err(io::Error::other("not a batch of the spool"));
        }
        fs::remove_file(self.path.join(name))
    }
}

fn close_file(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let closed = name.replace(OPEN, CLOSED);
    fs::rename(path, path.with_file_name(closed))
}

fn files(folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(ending) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::names::RecordKind;
    use crate::domain::ids::OrgId;
    use crate::domain::time::Timestamp;
    use serde_json::json;

    fn record(n: i64) -> Record {
        let at = Timestamp::from_secs(n);
        Record::new(at, &OrgId::default(), RecordKind::CommitRefused, "key:1").with(json!({"n": n}))
    }

    #[test]
    fn what_was_kept_waits_until_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Folder::new(dir.path(), Ambient::real());
        assert_eq!(spool.waiting().unwrap(), []);
        assert!(spool.is_empty());
        for n in 0..3 {
            spool.keep(&record(n)).unwrap();
        }
        let batch = spool.waiting().unwrap().remove(0);
        assert_eq!(batch.records, [record(0), record(1), record(2)]);
        assert!(!spool.is_empty());
        spool.keep(&record(3)).unwrap();
        assert_eq!(spool.waiting().unwrap().len(), 2);
        spool.done(&batch.name).unwrap();
        assert_eq!(spool.waiting().unwrap()[0].records, [record(3)]);
    }

    #[test]
    fn what_a_dead_process_left_is_adopted_and_half_a_line_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let dead = Folder::new(dir.path(), Ambient::real());
        dead.keep(&record(1)).unwrap();
        let path = files(&dead.path, OPEN).unwrap().remove(0);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"at\":17").unwrap();
        let next = Folder::new(dir.path(), Ambient::real());
        assert_eq!(next.waiting().unwrap(), []);
        next.adopt().unwrap();
        assert_eq!(next.waiting().unwrap()[0].records, [record(1)]);
    }

    #[test]
    fn a_full_spool_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Folder::new(dir.path(), Ambient::real());
        let large = record(1).with(json!("x".repeat(3 * 1024 * 1024)));
        spool.keep(&large).unwrap();
        spool.keep(&large).unwrap();
        assert!(spool.keep(&large).is_err());
        spool.keep(&record(1)).unwrap();
    }
}
