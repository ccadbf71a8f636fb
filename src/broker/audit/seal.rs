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

use serde_json::json;

use super::Audit;
use super::stored::{StoredLog, StoredTile, corrupt, tile_key};
use crate::broker::core::Trouble;
use crate::domain::audit::AuditKey;
use crate::domain::audit::log::{Log, TILE_LEVELS, Tile, subtree};
use crate::domain::audit::record_line;
use crate::domain::change::{Change, DocKey, DocWrite};
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
struct Cursor {
    version: u64,
    after_seq: i64,
    /// Sizes of all logs, so that a deleted head is not taken for a new log.
    sizes: BTreeMap<OrgId, u64>,
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
        let sealed = self.cursor().await?.after_seq;
        Ok(newest.saturating_sub(sealed).try_into().unwrap_or(0))
    }

    /// One turn of the duty: as [`seal`](Self::seal), but left to another node if that has sealed
    /// since this one last looked. A node that stops sealing is followed by the turn after next.
    pub async fn seal_in_turn(&self) -> Result<usize, Trouble> {
        let seen = &self.cursor_seen;
        let found = self.cursor().await?.version;
        if seen.swap(found, Ordering::Relaxed) != found {
            return Ok(0);
        }
        let sealed = self.seal().await?;
        if sealed > 0 {
            // Our own moves of it are not another node's.
            seen.store(self.cursor().await?.version, Ordering::Relaxed);
        }
        Ok(sealed)
    }

    async fn seal_once(&self, key: &AuditKey) -> Result<usize, Trouble> {
        // Looked up before the cursor is read: it only grows, whoever seals.
        let witnessed = self.witnessed(&BTreeMap::new());
        let cursor = self.cursor().await?;
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
        let docs = match self.sealing(key, &cursor, records, last, now).await {
            Ok(docs) => docs,
            // What does not fit together may have been read while another node sealed.
            Err(_) if self.cursor().await?.version != cursor.version => return Ok(0),
            Err(error) => return Err(error),
        };
        match self.ports().store.apply(documents(docs)).await {
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
        cursor: &Cursor,
        records: Vec<StoredRecord>,
        last: i64,
        now: Timestamp,
    ) -> Result<Vec<DocWrite>, Trouble> {
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
                    let body = StoredTile::leaves(&tile.leaves, &head);
                    docs.push(written(tile_key(&org, 0, tile.index), Some(0), body));
                    self.raise(&org, &tile, &mut upper).await?;
                }
            }
            docs.extend(upper.writes(&org));
            let body = StoredLog::of(&log, &key.sign(log.head(now)));
            docs.push(written(StoredLog::key(&org), Some(version), body));
            sizes.insert(org, log.size());
        }
        let body = json!({"after_seq": last, "sizes": sizes});
        docs.push(written(cursor_key(), Some(cursor.version), body));
        Ok(docs)
    }

    /// Puts a full tile's root into the tile above, and so on while those fill up.
    async fn raise(&self, org: &OrgId, tile: &Tile, upper: &mut Upper) -> Result<(), Trouble> {
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
                return Err(corrupt("a tile of the audit log has another length").into());
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
    ) -> Result<(Log, u64), Trouble> {
        let stored = self.ports().store.doc(&StoredLog::key(org)).await?;
        let Some(stored) = stored else {
            return match size {
                0 => Ok((Log::default(), 0)),
                _ => Err(corrupt("the head of the audit log is gone").into()),
            };
        };
        let log = StoredLog::read(&stored.body)?;
        if log.head.key_id != key.public().id() {
            let why = format!(
                "the audit log was signed with the key {}, and the key given now is {}",
                log.head.key_id,
                key.public().id()
            );
            return Err(corrupt(&why).into());
        }
        if !log.head.verifies(key.public()) || log.head.head.tree_size != size {
            return Err(corrupt("the head of the audit log is not the one that we signed").into());
        }
        let log = log.checked()?;
        Ok((log, stored.version))
    }

    pub(super) async fn tile(
        &self,
        org: &OrgId,
        level: u32,
        number: u64,
    ) -> Result<StoredTile, Trouble> {
        let doc = self
            .ports()
            .store
            .doc(&tile_key(org, level, number))
            .await?;
        let doc = doc.ok_or_else(|| corrupt("a tile of the audit log is gone"))?;
        Ok(StoredTile::read(&doc.body)?)
    }

    async fn cursor(&self) -> Result<Cursor, Trouble> {
        let Some(doc) = self.ports().store.doc(&cursor_key()).await? else {
            return Ok(Cursor {
                version: 0,
                after_seq: 0,
                sizes: BTreeMap::new(),
            });
        };
        let after_seq = doc.body.get("after_seq").and_then(|seq| seq.as_i64());
        let sizes = doc.body.get("sizes").cloned().unwrap_or_default();
        let sizes = serde_json::from_value(sizes);
        match (after_seq, sizes) {
            (Some(after_seq), Ok(sizes)) => Ok(Cursor {
                version: doc.version,
                after_seq,
                sizes,
            }),
            _ => Err(corrupt("the cursor of the audit log does not read back").into()),
        }
    }
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
                written(
                    tile_key(&org, level, number),
                    None,
                    StoredTile::plain(hashes),
                )
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

fn cursor_key() -> DocKey {
    DocKey::new("seal", &OrgId::default(), "cursor")
}

fn written(key: DocKey, expect: Option<u64>, body: serde_json::Value) -> DocWrite {
    DocWrite {
        key,
        expect,
        body: Some(body),
    }
}

fn documents(docs: Vec<DocWrite>) -> Change {
    Change::documents(docs, Vec::new(), Vec::new(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::change::Record;

    #[test]
    #[rustfmt::skip]
    fn a_missing_number_is_waited_for_and_then_skipped() {
        let now = Timestamp::from_secs(100);
        let record = |seq, age_ms: i64| StoredRecord {
            seq,
            record: Record::new(now.plus_millis(-age_ms), &OrgId::default(), "proposed", "x"),
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
