//! How the log is kept: its growing end as one document per organisation, and everything before it
//! as tiles. What is read back is checked for its shape here; whether it is what was signed is for
//! the caller.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::SignedHead;
use super::export::head_json;
use super::log::{Leaf, Log, TILE, subtree};
use crate::domain::document::{Document, Single};
use crate::domain::merkle::{Frontier, NodeHash, root_of};

/// The growing end of a log, and the head over it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
pub struct StoredLog {
    /// What was signed last.
    pub head: SignedHead,
    peaks: Vec<NodeHash>,
    /// The leaves after the last full tile.
    pub tail: Vec<Leaf>,
}

impl Document for StoredLog {
    const KIND: &'static str = "head";
    const CACHED: bool = false;
    type Id = str;
}

impl Single for StoredLog {
    const ID: &'static str = "log";
}

impl StoredLog {
    /// The end of this log, with the head that was signed over it.
    pub fn of(log: &Log, head: SignedHead) -> Self {
        Self {
            head,
            peaks: log.frontier().peaks().to_vec(),
            tail: log.tail().to_vec(),
        }
    }

    /// The log, if frontier and tail lead to the head.
    pub fn checked(self) -> Option<Log> {
        let within = self.tail.len().count_ones() as usize;
        let split = self.peaks.len().checked_sub(within)?;
        let mut tail = Frontier::default();
        for leaf in &self.tail {
            tail.push(leaf.hash);
        }
        // The tail is what the smallest peaks stand for, so that none can be slipped in.
        let leads = root_of(&self.peaks) == self.head.head.root_hash
            && self.peaks.get(split..) == Some(tail.peaks());
        let frontier = Frontier::from_parts(self.head.head.tree_size, self.peaks);
        let log = frontier.and_then(|frontier| Log::from_parts(frontier, self.tail));
        log.filter(|_| leads)
    }

    /// How many tiles are full.
    pub fn full_tiles(&self) -> u64 {
        self.head.head.tree_size / TILE as u64
    }
}

impl From<StoredLog> for Value {
    fn from(log: StoredLog) -> Self {
        let mut body = head_json(&log.head);
        body["peaks"] = json!(NodeHash::join(log.peaks));
        put_leaves(&mut body, &log.tail);
        body
    }
}

impl TryFrom<Value> for StoredLog {
    type Error = &'static str;

    fn try_from(body: Value) -> Result<Self, Self::Error> {
        let peaks = body.get("peaks").and_then(Value::as_str);
        let peaks = peaks.and_then(NodeHash::parse_many);
        Ok(Self {
            head: read_head(&body).ok_or("the head is none")?,
            peaks: peaks.ok_or("`peaks` are no hashes")?,
            tail: leaves(&body).ok_or("`leaves` and `seqs` do not go together")?,
        })
    }
}

/// One tile: hashes in a row; of leaves also their records' numbers and the head at its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
pub struct StoredTile {
    /// What it is a row of.
    pub hashes: Vec<NodeHash>,
    /// The records behind them, on the lowest level.
    pub leaves: Vec<Leaf>,
    /// What was signed at its end, on the lowest level.
    pub head: Option<SignedHead>,
}

impl Document for StoredTile {
    const KIND: &'static str = "tile";
    const CACHED: bool = false;
    type Id = TileId;
}

/// Names a tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TileId {
    /// 0 holds leaves.
    pub level: u32,
    /// From 0.
    pub number: u64,
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:012}", self.level, self.number)
    }
}

impl StoredTile {
    /// A full tile of leaves, with the head that was signed at its end.
    pub fn of_leaves(leaves: Vec<Leaf>, head: SignedHead) -> Self {
        Self {
            hashes: leaves.iter().map(|leaf| leaf.hash).collect(),
            leaves,
            head: Some(head),
        }
    }

    /// A tile of a higher level.
    pub fn plain(hashes: Vec<NodeHash>) -> Self {
        Self {
            hashes,
            leaves: Vec::new(),
            head: None,
        }
    }

    /// The root over some of its hashes.
    pub fn part(&self, offset: usize, count: usize) -> Option<NodeHash> {
        let part = self.hashes.get(offset..offset.checked_add(count)?)?;
        Some(subtree(part.iter().copied()))
    }
}

impl From<StoredTile> for Value {
    fn from(tile: StoredTile) -> Self {
        match &tile.head {
            Some(head) => {
                let mut body = head_json(head);
                put_leaves(&mut body, &tile.leaves);
                body
            }
            None => json!({"hashes": NodeHash::join(tile.hashes)}),
        }
    }
}

impl TryFrom<Value> for StoredTile {
    type Error = &'static str;

    fn try_from(body: Value) -> Result<Self, Self::Error> {
        if let Some(hashes) = body.get("hashes").and_then(Value::as_str) {
            let hashes = NodeHash::parse_many(hashes);
            return hashes.map(Self::plain).ok_or("`hashes` are none");
        }
        let head = read_head(&body).ok_or("the head is none")?;
        let leaves = leaves(&body).ok_or("`leaves` and `seqs` do not go together")?;
        Ok(Self::of_leaves(leaves, head))
    }
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
    SignedHead::deserialize(body).ok()
}
