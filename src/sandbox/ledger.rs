//! The bank's ledger: a file of JSON lines that only grows.
//!
//! Every line is in the operating system's hands before the request is answered, so what was
//! answered survives a killed process (not a power cut: it is a sandbox). A last line that was cut
//! off was never answered, and is cut off for good when the file is opened again.
//!
//! Bodies are kept here alone. In memory the bank has an index of where each line begins.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::payout::State;
use crate::domain::time::Timestamp;

/// The file within the data folder.
const FILE: &str = "sandbox-ledger.jsonl";

/// What every line that is a row of the public ledger begins with.
const ROW_PREFIX: &str = "{\"row\":";

/// One line of the file. `B` is as much of a body as the reader wants to know.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry<B = Value> {
    /// The bank begins empty; ids are made with this salt from here on.
    Opened { at: i64, salt: String },
    /// A request was accepted. A new payout begins in `processing` unless the next line differs.
    Row(Row<B>),
    /// Somebody at the bank made a payout.
    Made {
        id: String,
        at: i64,
        status: State,
        body: B,
    },
    /// A payout moved on.
    State {
        id: String,
        at: i64,
        to: State,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remarks: Option<String>,
    },
    /// An account's balance was set, in minor units.
    Balance {
        at: i64,
        account_number: String,
        minor: i64,
    },
    /// The bank forgot every idempotency key.
    KeysForgotten { at: i64 },
}

impl Entry {
    /// The line, with its end.
    pub(super) fn line(&self) -> io::Result<String> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        Ok(line)
    }
}

impl Entry {
    /// As the index takes it in.
    pub(super) fn brief(self) -> Entry<Brief> {
        match self {
            Entry::Opened { at, salt } => Entry::Opened { at, salt },
            Entry::Row(row) => Entry::Row(Row {
                body: Brief::of(&row.body),
                seq: row.seq,
                at: row.at,
                kind: row.kind,
                id: row.id,
                idempotency_key: row.idempotency_key,
                reference_id: row.reference_id,
                replayed: row.replayed,
            }),
            Entry::Made {
                id,
                at,
                status,
                body,
            } => Entry::Made {
                body: Brief::of(&body),
                id,
                at,
                status,
            },
            Entry::State {
                id,
                at,
                to,
                remarks,
            } => Entry::State {
                id,
                at,
                to,
                remarks,
            },
            Entry::Balance {
                at,
                account_number,
                minor,
            } => Entry::Balance {
                at,
                account_number,
                minor,
            },
            Entry::KeysForgotten { at } => Entry::KeysForgotten { at },
        }
    }
}

/// A row of the public ledger: one accepted request.
#[derive(Serialize, Deserialize)]
pub(super) struct Row<B = Value> {
    pub(super) seq: u64,
    /// RFC 3339.
    pub(super) at: String,
    pub(super) kind: Kind,
    /// The payout or transfer, also of a replay.
    pub(super) id: String,
    pub(super) idempotency_key: String,
    pub(super) reference_id: Option<String>,
    pub(super) body: B,
    /// Answered from memory: nothing new was made.
    pub(super) replayed: bool,
}

/// As much of a body as the index needs. Reading no more is what makes a long ledger open fast.
#[derive(Deserialize)]
pub(super) struct Brief {
    #[serde(default)]
    pub(super) account_number: String,
    pub(super) amount: i64,
    #[serde(default)]
    pub(super) reference_id: Option<String>,
}

impl Brief {
    /// The same of a whole body.
    pub(super) fn of(body: &Value) -> Self {
        let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
        Self {
            account_number: text("account_number").unwrap_or_default(),
            amount: body.get("amount").and_then(Value::as_i64).unwrap_or(0),
            reference_id: text("reference_id"),
        }
    }
}

/// What a row made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Payout,
    Transfer,
}

impl Kind {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Kind::Payout => "pout_",
            Kind::Transfer => "trf_",
        }
    }
}

/// The open file. Locked, so that two banks never write one ledger.
pub(super) struct Ledger {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Ledger {
    /// Opens or makes the ledger and hands every entry to `each`, with where its line is.
    pub(super) fn open(
        folder: &Path,
        mut each: impl FnMut(Entry<Brief>, Place),
    ) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(FILE);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        file.try_lock().map_err(|_| {
            io::Error::other("another sandbox bank is using this folder; stop it first")
        })?;
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut line = Vec::new();
        let mut at = 0;
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 || line.last() != Some(&b'\n') {
                break;
            }
            let place = Place::new(at, read);
            // A line that does not read was torn by a full disk; its request was never answered.
            if let Ok(entry) = serde_json::from_slice(&line) {
                each(entry, place);
            }
            at += read as u64;
        }
        drop(reader);
        file.set_len(at)?;
        Ok(Self {
            file,
            path,
            len: at,
        })
    }

    /// Where the next line will begin.
    pub(super) fn end(&self) -> u64 {
        self.len
    }

    /// Writes whole lines, or nothing.
    pub(super) fn append(&mut self, lines: &str) -> io::Result<()> {
        if let Err(error) = self.file.write_all(lines.as_bytes()) {
            // Half a line would swallow the next one.
            let _ = self.file.set_len(self.len);
            return Err(error);
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// The entry of a line.
    pub(super) fn read(&self, place: Place) -> io::Result<Entry> {
        let mut bytes = vec![0; place.len as usize];
        self.file.read_exact_at(&mut bytes, place.at)?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// A reader of the public rows from `start` up to what is written now.
    pub(super) fn rows(&self, start: u64) -> io::Result<Rows> {
        // Opened anew, because a duplicate of the handle would share its position.
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(start))?;
        let rest = self.len.saturating_sub(start);
        Ok(Rows {
            reader: BufReader::with_capacity(1 << 18, file.take(rest)),
        })
    }
}

/// Where a line is in the file.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) at: u64,
    len: u32,
}

impl Place {
    pub(super) fn new(at: u64, len: usize) -> Self {
        // Lines come from bodies of at most a mebibyte.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Self { at, len }
    }
}

/// The public rows, one JSON text each.
pub(super) struct Rows {
    reader: BufReader<io::Take<File>>,
}

impl Iterator for Rows {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        loop {
            line.clear();
            match self.reader.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
            let row = line.trim_end().strip_prefix(ROW_PREFIX);
            if let Some(row) = row.and_then(|row| row.strip_suffix('}')) {
                return Some(Ok(row.to_owned()));
            }
        }
    }
}

/// An instant as rows show it.
pub(super) fn shown(at: Timestamp) -> String {
    at.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(seq: u64) -> Entry {
        Entry::Row(Row {
            seq,
            at: shown(Timestamp::from_secs(1)),
            kind: Kind::Transfer,
            id: "trf_00000000000001".to_owned(),
            idempotency_key: "key1".to_owned(),
            reference_id: None,
            body: json!({"amount": 1}),
            replayed: false,
        })
    }

    fn sequence(folder: &Path) -> Vec<u64> {
        let mut seen = Vec::new();
        let opened = Ledger::open(folder, |entry, _| {
            if let Entry::Row(row) = entry {
                seen.push(row.seq);
            }
        });
        opened.unwrap();
        seen
    }

    #[test]
    fn rows_have_the_published_shape_and_nothing_else_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path(), |_, _| {}).unwrap();
        ledger.append(&row(1).line().unwrap()).unwrap();
        let forgotten = Entry::KeysForgotten { at: 1 };
        ledger.append(&forgotten.line().unwrap()).unwrap();
        let rows: Vec<Value> = ledger
            .rows(0)
            .unwrap()
            .map(|row| serde_json::from_str(&row.unwrap()).unwrap())
            .collect();
        let expected = json!({
            "seq": 1, "at": "1970-01-01T00:00:01Z", "kind": "transfer",
            "id": "trf_00000000000001", "idempotency_key": "key1", "reference_id": null,
            "body": {"amount": 1}, "replayed": false,
        });
        assert_eq!(rows, [expected]);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_the_rest_survives() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path(), |_, _| {}).unwrap();
        ledger.append(&row(1).line().unwrap()).unwrap();
        ledger.append("{\"row\":{\"seq\":2,\"at\"").unwrap();
        drop(ledger);
        assert_eq!(sequence(folder.path()), [1]);

        let mut ledger = Ledger::open(folder.path(), |_, _| {}).unwrap();
        ledger.append(&row(3).line().unwrap()).unwrap();
        drop(ledger);
        assert_eq!(sequence(folder.path()), [1, 3]);
    }

    #[test]
    fn two_banks_cannot_write_one_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Ledger::open(folder.path(), |_, _| {}).unwrap();
        assert!(Ledger::open(folder.path(), |_, _| {}).is_err());
    }
}
