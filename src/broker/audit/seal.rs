//! Sealing: records become leaves of their organisation's log, and its head is signed.
//!
//! A duty of its own, after the fact: a commit never waits for it. One cursor document says how far
//! the records are sealed, and every round moves it in the same write as heads and tiles; so any
//! node may seal, and of two that try at once one is refused and reads again. As long as one does,
//! the others look on, because reading and hashing every record is not worth doing twice.
//!
//! Nothing stored is signed unseen. A round begins by checking that the stored head is ours and
//! that frontier and tail lead to it; otherwise it stops and says so, because signing on top of a
//! changed log would hide the change. The key therefore cannot simply be replaced. And a log that
//! is shorter than this process has seen it is not begun anew, even if every trace of it is gone.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::{Audit, corrupt};
use crate::broker::core::Trouble;
use crate::domain::audit::AuditKey;
use crate::domain::audit::log::{Log, TILE_LEVELS, Tile, subtree};
use crate::domain::audit::record_line;
use crate::domain::audit::stored::{StoredLog, StoredTile, TileId};
use crate::domain::change::{Change, DocWrite};
use crate::domain::document::{Document, Single, Unreadable};
use crate::domain::ids::OrgId;
use crate::domain::merkle::NodeHash;
use crate::domain::time::Timestamp;
use crate::store::{ApplyError, RecordFilter, StoreError, StoredRecord};

/// Records per round: a millisecond or two of work. More at once holds a core for so long that the
/// commits beside it are felt to be slow.
const BATCH: u32 = 256;
/// Rounds per turn of the duty, so that a backlog never starves the others.
const ROUNDS: u32 = 128;
/// A number that is missing may still be on its way (a slower write on another node), for so long
/// at most. After that it is taken for one that was never used.
const GAP_WAIT_MS: i64 = 5_000;

/// How far everything is sealed, over all organisations.
#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    after_seq: i64,
    /// Sizes of all logs, so that a deleted head is not taken for a new log.
    sizes: BTreeMap<OrgId, u64>,
}

impl Document for Cursor {
    const KIND: &'static str = "seal";
    const CACHED: bool = false;
    type Id = str;
}

impl Single for Cursor {
    const ID: &'static str = "cursor";
}

impl Audit {
    /// Seals what is new. Returns how many records; 0 if there are none, if another node was
    /// quicker, or if no audit key was given.
    pub async fn seal(&self) -> Result<usize, Trouble> {
        let Some(key) = self.ports().audit_key.clone() else {
            return Ok(0);
        };
        let mut total = 0;
        for _ in 0..ROUNDS {
            let sealed = self.seal_once(&key).await?;
            total += sealed;
            if sealed < BATCH as usize {
                break;
            }
        }
        Ok(total)
    }

    /// How many records are not sealed yet, whichever node seals; a number that was never used
    /// counts until the next record is sealed. 0 without an audit key, because nothing ever is.
    pub async fn unsealed(&self) -> Result<u64, Trouble> {
        if self.ports().audit_key.is_none() {
            return Ok(0);
        }
        let newest = RecordFilter {
            limit: 1,
            ..RecordFilter::default()
        };
        let newest = self.ports().store.records(&newest).await?;
        let newest = newest.first().map_or(0, |record| record.seq);
        let sealed = self.cursor().await?.1.after_seq;
        Ok(newest.saturating_sub(sealed).try_into().unwrap_or(0))
    }

    /// One turn of the duty: as [`seal`](Self::seal), but left to another node if that has sealed
    /// since this one last looked. A node that stops sealing is followed by the turn after next.
    pub async fn seal_in_turn(&self) -> Result<usize, Trouble> {
        let seen = &self.cursor_seen;
        let (found, _) = self.cursor().await?;
        if seen.swap(found, Ordering::Relaxed) != found {
            return Ok(0);
        }
        let sealed = self.seal().await?;
        if sealed > 0 {
            // Our own moves of it are not another node's.
            seen.store(self.cursor().await?.0, Ordering::Relaxed);
        }
        Ok(sealed)
    }

    async fn seal_once(&self, key: &AuditKey) -> Result<usize, Trouble> {
        // Looked up before the cursor is read: it only grows, whoever seals.
        let witnessed = self.witnessed(&BTreeMap::new());
        let (version, cursor) = self.cursor().await?;
        let size = |org: &OrgId| cursor.sizes.get(org).copied().unwrap_or(0);
        if witnessed.iter().any(|(org, seen)| size(org) < *seen) {
            let why = "the audit log is shorter than it was: somebody has taken its end away";
            return Err(corrupt(why).into());
        }
        self.witnessed(&cursor.sizes);
        let filter = RecordFilter {
            after_seq: Some(cursor.after_seq),
            limit: BATCH,
            ..RecordFilter::default()
        };
        let records = self.ports().store.records(&filter).await?;
        let now = self.ports().ambient.now();
        let records = settled_prefix(records, cursor.after_seq, now);
        let Some(last) = records.last().map(|record| record.seq) else {
            return Ok(0);
        };
        let sealed = records.len();
        let docs = match self
            .sealing(key, (version, &cursor), records, last, now)
            .await
        {
            Ok(docs) => docs,
            // What does not fit together may have been read while another node sealed: then nothing
            // is wrong, and nobody is told.
            Err(_) if self.cursor().await?.0 != version => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        match self.ports().store.apply(change_of(docs)).await {
            Ok(_) => Ok(sealed),
            // Another node sealed the same records. What is unknown, the next round reads.
            Err(ApplyError::Conflict(_) | ApplyError::Store(StoreError::Unknown(_))) => Ok(0),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// The size of each log as this process has seen it last, and now sees it.
    fn witnessed(&self, now: &BTreeMap<OrgId, u64>) -> BTreeMap<OrgId, u64> {
        let seen = self.log_sizes.lock();
        let mut seen = seen.unwrap_or_else(PoisonError::into_inner);
        for (org, size) in now {
            let known = seen.entry(org.clone()).or_default();
            *known = (*known).max(*size);
        }
        seen.clone()
    }

    /// Everything that sealing these records writes.
    async fn sealing(
        &self,
        key: &AuditKey,
        (moved, cursor): (u64, &Cursor),
        records: Vec<StoredRecord>,
        last: i64,
        now: Timestamp,
    ) -> Result<Vec<DocWrite>, StoreError> {
        let mut by_org: BTreeMap<OrgId, Vec<StoredRecord>> = BTreeMap::new();
        for record in records {
            let org = record.record.org.clone();
            by_org.entry(org).or_default().push(record);
        }
        let mut sizes = cursor.sizes.clone();
        let mut docs = Vec::new();
        for (org, records) in by_org {
            let size = sizes.get(&org).copied().unwrap_or(0);
            let (mut log, version) = self.checked_log(key, &org, size).await?;
            let mut upper = Upper::default();
            for StoredRecord { seq, record } in records {
                if let Some(tile) = log.append(seq, &record_line(seq, &record)) {
                    let head = key.sign(log.head(now));
                    let id = TileId {
                        level: 0,
                        number: tile.index,
                    };
                    let sealed = StoredTile::of_leaves(tile.leaves.clone(), head);
                    docs.push(sealed.write(&org, &id, Some(0)));
                    self.raise(&org, &tile, &mut upper).await?;
                }
            }
            docs.extend(upper.writes(&org));
            let end = StoredLog::of(&log, key.sign(log.head(now)));
            docs.push(end.write_only(&org, Some(version)));
            sizes.insert(org, log.size());
        }
        let cursor = Cursor {
            after_seq: last,
            sizes,
        };
        docs.push(cursor.write_only(&OrgId::default(), Some(moved)));
        Ok(docs)
    }

    /// Puts a full tile's root into the tile above, and so on while those fill up.
    async fn raise(&self, org: &OrgId, tile: &Tile, upper: &mut Upper) -> Result<(), StoreError> {
        let (mut index, mut root, mut level) = (tile.index, tile.root(), 1);
        loop {
            let number = index >> TILE_LEVELS;
            let have = index % (1 << TILE_LEVELS);
            if let Entry::Vacant(slot) = upper.tiles.entry((level, number)) {
                let hashes = match have {
                    0 => Vec::new(),
                    _ => self.tile(org, level, number).await?.hashes,
                };
                slot.insert(hashes);
            }
            let hashes = upper.tiles.entry((level, number)).or_default();
            if u64::try_from(hashes.len()) != Ok(have) {
                return Err(corrupt("a tile of the audit log has another length"));
            }
            hashes.push(root);
            if have + 1 < 1 << TILE_LEVELS {
                return Ok(());
            }
            root = subtree(hashes.iter().copied());
            (index, level) = (number, level + 1);
        }
    }

    /// The log as it was last sealed, if it is what we signed.
    async fn checked_log(
        &self,
        key: &AuditKey,
        org: &OrgId,
        size: u64,
    ) -> Result<(Log, u64), StoreError> {
        let stored = self.find::<StoredLog>(org, StoredLog::ID).await?;
        let Some(stored) = stored.transpose().map_err(unreadable)? else {
            return match size {
                0 => Ok((Log::default(), 0)),
                _ => Err(corrupt("the head of the audit log is gone")),
            };
        };
        let log = stored.value;
        if log.head.key_id != key.public().id() {
            let why = format!(
                "the audit log was signed with the key {}, and the key given now is {}",
                log.head.key_id,
                key.public().id()
            );
            return Err(corrupt(&why));
        }
        if !log.head.verifies(key.public()) || log.head.head.tree_size != size {
            return Err(corrupt(
                "the head of the audit log is not the one that we signed",
            ));
        }
        let log = log.checked();
        let log = log.ok_or_else(|| corrupt("the end of the audit log was changed"))?;
        Ok((log, stored.version))
    }

    pub(super) async fn tile(
        &self,
        org: &OrgId,
        level: u32,
        number: u64,
    ) -> Result<StoredTile, StoreError> {
        let id = TileId { level, number };
        let tile = self.find::<StoredTile>(org, &id).await?;
        let tile = tile.transpose().map_err(unreadable)?;
        let tile = tile.ok_or_else(|| corrupt("a tile of the audit log is gone"))?;
        Ok(tile.value)
    }

    /// The version of the cursor, and what it says.
    async fn cursor(&self) -> Result<(u64, Cursor), Trouble> {
        let stored = self
            .document::<Cursor>(&OrgId::default(), Cursor::ID)
            .await?;
        Ok(stored.map_or_else(Default::default, |stored| (stored.version, stored.value)))
    }
}

fn unreadable(unreadable: Unreadable) -> StoreError {
    corrupt(&unreadable.to_string())
}

/// Tiles above the leaves that this round adds to.
#[derive(Default)]
struct Upper {
    tiles: BTreeMap<(u32, u64), Vec<NodeHash>>,
}

impl Upper {
    fn writes(self, org: &OrgId) -> impl Iterator<Item = DocWrite> {
        let org = org.clone();
        self.tiles
            .into_iter()
            .map(move |((level, number), hashes)| {
                // Unconditional: the cursor in the same write says whether this round stands.
                StoredTile::plain(hashes).write(&org, &TileId { level, number }, None)
            })
    }
}

/// The records up to the first number that is missing and may still come.
fn settled_prefix(
    mut records: Vec<StoredRecord>,
    after_seq: i64,
    now: Timestamp,
) -> Vec<StoredRecord> {
    let mut previous = after_seq;
    let waiting = records.iter().position(|record| {
        let gap = record.seq != previous + 1;
        previous = record.seq;
        gap && record.record.at.plus_millis(GAP_WAIT_MS) > now
    });
    records.truncate(waiting.unwrap_or(records.len()));
    records
}

fn change_of(docs: Vec<DocWrite>) -> Change {
    Change::documents(docs, Vec::new(), Vec::new(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::names::RecordKind;
    use crate::domain::change::Record;

    #[test]
    #[rustfmt::skip]
    fn a_missing_number_is_waited_for_and_then_skipped() {
        let now = Timestamp::from_secs(100);
        let record = |seq, age_ms: i64| StoredRecord {
            seq,
            record: Record::new(now.plus_millis(-age_ms), &OrgId::default(), RecordKind::Proposed, "x"),
        };
        type Case<'a> = (&'a [(i64, i64)], &'a [i64]);
        let cases: &[Case<'_>] = &[
            (&[(5, 0), (6, 0)],              &[5, 6]),
            (&[(6, 0)],                      &[]),
            (&[(6, 4_999)],                  &[]),
            (&[(6, 5_000)],                  &[6]),
            (&[(5, 0), (7, 10), (8, 10)],    &[5]),
            (&[(5, 0), (7, 9_000), (8, 10)], &[5, 7, 8]),
        ];
        for (given, expected) in cases {
            let given = given.iter().map(|(seq, age)| record(*seq, *age)).collect();
            let kept: Vec<i64> = settled_prefix(given, 4, now).iter().map(|r| r.seq).collect();
            assert_eq!(kept, *expected);
        }
    }
}
