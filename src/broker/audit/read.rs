//! Reading the sealed log: its head, proofs about single records and older heads, and the export.
//!
//! Proofs are made from tiles: a handful of small documents, whatever the log's size. Each is
//! verified before it is given out, so that a changed tile is an error here and not a riddle
//! there. The export takes the records from the store as they are now, and the leaves as they were
//! sealed: the comparison is the verifier's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{Audit, corrupt};
use crate::broker::core::Trouble;
use crate::broker::core::pages::{Filling, MAX_PAGE, Next, Page, record_bytes, visible_agent};
use crate::domain::audit::export::{head_line, key_line, tile_line};
use crate::domain::audit::log::{Leaf, TILE, place};
use crate::domain::audit::stored::{StoredLog, StoredTile, TileId};
use crate::domain::audit::{PublicKey, SignedHead, record_line};
use crate::domain::document::Single;
use crate::domain::ids::OrgId;
use crate::domain::merkle::{
    self, Node, NodeHash, Span, root_of, verify_consistency, verify_inclusion,
};
use crate::domain::principal::{Principal, Right};
use crate::store::{RecordFilter, StoreError, StoredRecord};

/// Records per read of an export.
const PAGE: u32 = 1_024;

/// Proof that a record is in the log.
#[derive(Clone, PartialEq, Debug)]
pub struct Inclusion {
    /// The record, as the store has it now.
    pub record: Option<StoredRecord>,
    /// Its hash as it was sealed.
    pub leaf: Leaf,
    /// Its place in the log, from 0.
    pub index: u64,
    /// From the leaf up.
    pub path: Vec<NodeHash>,
    /// The head it leads to.
    pub head: SignedHead,
}

/// Proof that an older log is the beginning of the present one.
#[derive(Clone, PartialEq, Debug)]
pub struct Consistency {
    /// Size of the older log.
    pub from: u64,
    /// Its root.
    pub from_root: NodeHash,
    /// The proof.
    pub path: Vec<NodeHash>,
    /// The present head.
    pub head: SignedHead,
}

impl Audit {
    /// Audit records of the caller's organisation, as many as a page holds; an agent sees those of its own proposals.
    pub async fn records(
        &self,
        who: &Principal,
        filter: RecordFilter,
    ) -> Result<Page<StoredRecord>, Trouble> {
        let Some(agent) = visible_agent(who, filter.agent.as_ref()) else {
            return Ok(Page::empty());
        };
        let turn = self.places().long_read(who).await?;
        let mut filling = Filling::new(filter.limit.clamp(1, MAX_PAGE));
        let mut filter = RecordFilter {
            org: Some(who.org.clone()),
            agent,
            limit: filling.ask(),
            ..filter
        };
        loop {
            let rows = self.ports().store.records(&filter).await?;
            let next;
            (filling, next) = filling.take(filter.limit, rows, record_bytes);
            match next {
                Next::Done(mut page) => {
                    page.turn = Some(turn);
                    return Ok(page);
                }
                Next::Ask(rows) => filter.limit = rows,
            }
            let last = filling.last().map(|stored| stored.seq);
            match filter.after_seq {
                Some(_) => filter.after_seq = last,
                None => filter.before_seq = last,
            }
        }
    }

    /// The newest signed head of the caller's organisation; `None` before the first.
    pub async fn audit_head(&self, who: &Principal) -> Result<Option<SignedHead>, Trouble> {
        may_audit(who)?;
        let log = self.stored_log(&who.org).await?;
        Ok(log.map(|log| log.head))
    }

    /// The key that signs heads, if sealing is on.
    pub fn audit_public_key(&self) -> Option<PublicKey> {
        self.ports().audit_key.as_ref().map(|key| *key.public())
    }

    /// Proves that the record with this number is in the log.
    pub async fn audit_inclusion(&self, who: &Principal, seq: i64) -> Result<Inclusion, Trouble> {
        may_audit(who)?;
        let log = self.stored_log(&who.org).await?;
        let log = log.ok_or(Trouble::NotFound("sealed record"))?;
        let (index, leaf) = self.place_of(&who.org, &log, seq).await?;
        let size = log.head.head.tree_size;
        let spans = merkle::inclusion(index, size).unwrap_or_default();
        let path = self.roots(&who.org, &log, &spans).await?;
        if !verify_inclusion(leaf.hash, index, size, &path, &log.head.head.root_hash) {
            return Err(corrupt("the tiles of the audit log do not lead to its head").into());
        }
        let filter = RecordFilter {
            org: Some(who.org.clone()),
            after_seq: Some(seq.saturating_sub(1)),
            limit: 1,
            ..RecordFilter::default()
        };
        let found = self.ports().store.records(&filter).await?;
        Ok(Inclusion {
            record: found.into_iter().next().filter(|record| record.seq == seq),
            leaf,
            index,
            path,
            head: log.head,
        })
    }

    /// Proves that the log of `from` records is the beginning of the present one.
    pub async fn audit_consistency(
        &self,
        who: &Principal,
        from: u64,
    ) -> Result<Consistency, Trouble> {
        may_audit(who)?;
        let log = self.stored_log(&who.org).await?;
        let log = log.ok_or(Trouble::NotFound("signed head"))?;
        let size = log.head.head.tree_size;
        let spans = merkle::consistency(from, size).ok_or_else(|| {
            let why = format!("`from` is a size of the log, 1 to {size}");
            Trouble::InvalidRequest(why)
        })?;
        let path = self.roots(&who.org, &log, &spans).await?;
        let whole = [Span {
            start: 0,
            len: from,
        }];
        let from_root = self.roots(&who.org, &log, &whole).await?;
        let from_root = from_root.first().copied().unwrap_or_else(NodeHash::empty);
        let newer = (size, &log.head.head.root_hash);
        if !verify_consistency((from, &from_root), newer, &path) {
            return Err(corrupt("the tiles of the audit log do not lead to its head").into());
        }
        Ok(Consistency {
            from,
            from_root,
            path,
            head: log.head,
        })
    }

    /// The whole sealed log of the caller's organisation as a file that verifies offline.
    pub async fn audit_export(&self, who: &Principal) -> Result<Export, Trouble> {
        may_audit(who)?;
        let log = self.stored_log(&who.org).await?;
        Ok(Export {
            audit: self.clone(),
            org: who.org.clone(),
            log,
            stage: Stage::Start,
            after_seq: 0,
        })
    }

    async fn stored_log(&self, org: &OrgId) -> Result<Option<StoredLog>, Trouble> {
        let stored = self.document::<StoredLog>(org, StoredLog::ID).await?;
        Ok(stored.map(|stored| stored.value))
    }

    /// Where the record with this number stands, by halving: numbers rise along the log.
    async fn place_of(
        &self,
        org: &OrgId,
        log: &StoredLog,
        seq: i64,
    ) -> Result<(u64, Leaf), Trouble> {
        let full = log.full_tiles();
        let within = |leaves: &[Leaf], start: u64| {
            let at = leaves.iter().position(|leaf| leaf.seq == seq)?;
            Some((start + u64::try_from(at).ok()?, leaves[at]))
        };
        if let Some(found) = within(&log.tail, full * TILE as u64) {
            return Ok(found);
        }
        let (mut low, mut high) = (0, full);
        while low < high {
            let middle = low + (high - low) / 2;
            let tile = self.tile(org, 0, middle).await?;
            let last = tile.leaves.last().map_or(i64::MIN, |leaf| leaf.seq);
            if let Some(found) = within(&tile.leaves, middle * TILE as u64) {
                return Ok(found);
            }
            if last < seq {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Err(Trouble::NotFound("sealed record"))
    }

    /// The roots of subtrees, from the tiles.
    async fn roots(
        &self,
        org: &OrgId,
        log: &StoredLog,
        spans: &[Span],
    ) -> Result<Vec<NodeHash>, Trouble> {
        let mut tiles = BTreeMap::new();
        let mut roots = Vec::with_capacity(spans.len());
        for span in spans {
            let mut peaks = Vec::new();
            for node in span.nodes() {
                peaks.push(self.node(org, log, node, &mut tiles).await?);
            }
            roots.push(root_of(&peaks));
        }
        Ok(roots)
    }

    async fn node(
        &self,
        org: &OrgId,
        log: &StoredLog,
        node: Node,
        tiles: &mut BTreeMap<(u32, u64), StoredTile>,
    ) -> Result<NodeHash, Trouble> {
        let place = place(node);
        let key = (place.level, place.tile);
        if let Entry::Vacant(slot) = tiles.entry(key) {
            let tile = if place.level == 0 && place.tile == log.full_tiles() {
                StoredTile::plain(log.tail.iter().map(|leaf| leaf.hash).collect())
            } else {
                self.tile(org, place.level, place.tile).await?
            };
            slot.insert(tile);
        }
        let hash = tiles
            .get(&key)
            .and_then(|tile| tile.part(place.offset, place.count));
        Ok(hash.ok_or_else(|| corrupt("a tile of the audit log is too short"))?)
    }
}

/// An export under way. Lines come in chunks, each line with its end.
pub struct Export {
    audit: Audit,
    org: OrgId,
    log: Option<StoredLog>,
    stage: Stage,
    after_seq: i64,
}

enum Stage {
    Start,
    /// The leaves of this tile come next.
    Tile(u64),
    /// The records up to this number come next; then tile `next`.
    Records {
        until: i64,
        next: u64,
    },
    Done,
}

impl Export {
    /// The next lines, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<String>, Trouble> {
        match self.stage {
            Stage::Start => Ok(Some(self.start())),
            Stage::Tile(number) => self.tile(number).await.map(Some),
            Stage::Records { until, next } => self.records(until, next).await.map(Some),
            Stage::Done => Ok(None),
        }
    }

    fn start(&mut self) -> String {
        let key = self.audit.audit_public_key();
        let mut text = key.map_or_else(String::new, |key| key_line(&self.org, &key) + "\n");
        match &self.log {
            Some(log) => {
                text.push_str(&head_line(&log.head));
                text.push('\n');
                self.stage = Stage::Tile(0);
            }
            None => self.stage = Stage::Done,
        }
        text
    }

    async fn tile(&mut self, number: u64) -> Result<String, Trouble> {
        let Some(log) = &self.log else {
            self.stage = Stage::Done;
            return Ok(String::new());
        };
        let full = log.full_tiles();
        if number >= full {
            let until = log.tail.last().map(|leaf| leaf.seq);
            let line = until.map(|_| tile_line(&log.head, &log.tail) + "\n");
            self.stage = match until {
                Some(until) => Stage::Records {
                    until,
                    next: full + 1,
                },
                None => Stage::Done,
            };
            return Ok(line.unwrap_or_default());
        }
        let id = TileId { level: 0, number };
        // A damaged tile names nothing any more; the next head still covers its records.
        let tile = match self.audit.find::<StoredTile>(&self.org, &id).await {
            Ok(found) => found.and_then(Result::ok).map(|stored| stored.value),
            Err(StoreError::Corrupt(_)) => None,
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                return Err(error.into());
            }
        };
        match tile {
            Some(StoredTile {
                head: Some(head),
                leaves,
                ..
            }) if !leaves.is_empty() => {
                let until = leaves.last().map_or(self.after_seq, |leaf| leaf.seq);
                self.stage = Stage::Records {
                    until,
                    next: number + 1,
                };
                Ok(tile_line(&head, &leaves) + "\n")
            }
            Some(_) | None => {
                self.stage = Stage::Tile(number + 1);
                Ok(String::new())
            }
        }
    }

    async fn records(&mut self, until: i64, next: u64) -> Result<String, Trouble> {
        let filter = RecordFilter {
            org: Some(self.org.clone()),
            after_seq: Some(self.after_seq),
            limit: PAGE,
            ..RecordFilter::default()
        };
        let found = self.audit.ports().store.records(&filter).await?;
        let full_page = found.len() == PAGE as usize;
        let within: Vec<_> = found.iter().filter(|record| record.seq <= until).collect();
        let mut text = String::new();
        for StoredRecord { seq, record } in &within {
            text.push_str(&record_line(*seq, record));
            text.push('\n');
        }
        if within.len() == found.len() && full_page {
            self.after_seq = found.last().map_or(until, |record| record.seq);
            return Ok(text);
        }
        self.after_seq = until;
        let past_tail = self.log.as_ref().is_none_or(|log| next > log.full_tiles());
        self.stage = if past_tail {
            Stage::Done
        } else {
            Stage::Tile(next)
        };
        Ok(text)
    }
}

fn may_audit(who: &Principal) -> Result<(), Trouble> {
    if who.may(Right::ReadAll) {
        Ok(())
    } else {
        Err(Trouble::Forbidden { roles: who.roles })
    }
}
