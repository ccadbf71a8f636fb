//! How heads and tiles are kept as documents. Everything read back is checked for its shape here;
//! whether it is what was signed is for the caller.

use serde_json::{Value, json};

use crate::domain::audit::SignedHead;
use crate::domain::audit::export::head_json;
use crate::domain::audit::log::{Leaf, Log, TILE, subtree};
use crate::domain::change::DocKey;
use crate::domain::ids::OrgId;
use crate::domain::merkle::{Frontier, NodeHash, root_of};
use crate::store::StoreError;

/// What a stored part of the log is that does not read back.
pub(super) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}

/// The growing end of a log, and the head over it. One document per organisation.
pub(super) struct StoredLog {
    pub(super) head: SignedHead,
    peaks: Vec<NodeHash>,
    pub(super) tail: Vec<Leaf>,
}

impl StoredLog {
    pub(super) fn key(org: &OrgId) -> DocKey {
        DocKey::new("head", org, "log")
    }

    pub(super) fn of(log: &Log, head: &SignedHead) -> Value {
        let mut body = head_json(head);
        body["peaks"] = json!(NodeHash::join(log.frontier().peaks().iter().copied()));
        put_leaves(&mut body, log.tail());
        body
    }

    pub(super) fn read(body: &Value) -> Result<Self, StoreError> {
        let peaks = body.get("peaks").and_then(Value::as_str);
        let peaks = peaks.and_then(NodeHash::parse_many);
        match (read_head(body), peaks, leaves(body)) {
            (Some(head), Some(peaks), Some(tail)) => Ok(Self { head, peaks, tail }),
            _ => Err(corrupt("the head of the audit log does not read back")),
        }
    }

    /// The log, if frontier and tail lead to the head.
    pub(super) fn checked(self) -> Result<Log, StoreError> {
        let changed = || corrupt("the end of the audit log was changed");
        let within = self.tail.len().count_ones() as usize;
        let split = self.peaks.len().checked_sub(within).ok_or_else(changed)?;
        let mut tail = Frontier::default();
        for leaf in &self.tail {
            tail.push(leaf.hash);
        }
        // The tail is what the smallest peaks stand for, so that none can be slipped in.
        let leads = root_of(&self.peaks) == self.head.head.root_hash
            && self.peaks[split..] == *tail.peaks();
        let frontier = Frontier::from_parts(self.head.head.tree_size, self.peaks);
        let log = frontier.and_then(|frontier| Log::from_parts(frontier, self.tail));
        log.filter(|_| leads).ok_or_else(changed)
    }

    /// How many tiles are full.
    pub(super) fn full_tiles(&self) -> u64 {
        self.head.head.tree_size / TILE as u64
    }
}

/// One tile: hashes in a row; of leaves also their records' numbers and the head at its end.
pub(super) struct StoredTile {
    pub(super) hashes: Vec<NodeHash>,
    pub(super) leaves: Vec<Leaf>,
    pub(super) head: Option<SignedHead>,
}

impl StoredTile {
    pub(super) fn leaves(leaves: &[Leaf], head: &SignedHead) -> Value {
        let mut body = head_json(head);
        put_leaves(&mut body, leaves);
        body
    }

    pub(super) fn plain(hashes: Vec<NodeHash>) -> Value {
        json!({"hashes": NodeHash::join(hashes)})
    }

    pub(super) fn read(body: &Value) -> Result<Self, StoreError> {
        if let Some(hashes) = body.get("hashes").and_then(Value::as_str) {
            let hashes = NodeHash::parse_many(hashes);
            return hashes
                .map(|hashes| Self {
                    hashes,
                    leaves: Vec::new(),
                    head: None,
                })
                .ok_or_else(|| corrupt("a tile of the audit log does not read back"));
        }
        match (read_head(body), leaves(body)) {
            (Some(head), Some(leaves)) => Ok(Self {
                hashes: leaves.iter().map(|leaf| leaf.hash).collect(),
                leaves,
                head: Some(head),
            }),
            _ => Err(corrupt("a tile of the audit log does not read back")),
        }
    }

    /// The root over some of its hashes.
    pub(super) fn part(&self, offset: usize, count: usize) -> Option<NodeHash> {
        let part = self.hashes.get(offset..offset.checked_add(count)?)?;
        Some(subtree(part.iter().copied()))
    }
}

/// Level 0 holds leaves.
pub(super) fn tile_key(org: &OrgId, level: u32, number: u64) -> DocKey {
    DocKey::new("tile", org, format!("{level}/{number:012}"))
}

fn put_leaves(body: &mut Value, leaves: &[Leaf]) {
    body["leaves"] = json!(NodeHash::join(leaves.iter().map(|leaf| leaf.hash)));
    body["seqs"] = leaves.iter().map(|leaf| leaf.seq).collect();
}

fn leaves(body: &Value) -> Option<Vec<Leaf>> {
    let hashes = NodeHash::parse_many(body.get("leaves")?.as_str()?)?;
    let seqs = body.get("seqs")?.as_array()?;
    if hashes.len() != seqs.len() {
        return None;
    }
    let pairs = hashes.into_iter().zip(seqs);
    pairs
        .map(|(hash, seq)| {
            Some(Leaf {
                seq: seq.as_i64()?,
                hash,
            })
        })
        .collect()
}

fn read_head(body: &Value) -> Option<SignedHead> {
    serde_json::from_value(body.clone()).ok()
}
