//! Checks an export line by line, without the store, and names the first record that is not what
//! was sealed.
//!
//! A head that lists its leaves is checked against its signature first; then each record that
//! follows is compared with the next leaf. The usual record costs two hashes and is not even
//! parsed. Only at the first mismatch is a line read more closely, to say what happened to it:
//! edited, deleted, inserted, moved, or cut off. After that the rest of the file is only searched
//! for a record that was moved.
//!
//! Records that no list of leaves covers are hashed and checked by the next head alone; then a
//! change is noticed, but only the range can be named.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead};

use serde_json::Value;

use super::super::canonical::Canonical;
use super::super::merkle::{Frontier, NodeHash};
use super::super::signed::{self, Proof};
use super::super::strict;
use super::export::FORMAT;
use super::log::Leaf;
use super::{PublicKey, SignedHead};

/// Longest line read, its end included; ours stay far below. More is not one of our files.
const MAX_LINE: usize = strict::MAX_BYTES + 2;

/// Every field of a line that names a key.
const KEY_FIELDS: [&str; 4] = ["format", "key_id", "org", "public_key"];
/// Every field of a head, with the leaves that it may list.
const HEAD_FIELDS: [&str; 7] = [
    "at",
    "key_id",
    "leaves",
    "root_hash",
    "seqs",
    "signature",
    "tree_size",
];

/// What was done to a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// A record says something else than what was sealed.
    Edited,
    /// A record is missing.
    Deleted,
    /// A record was never sealed.
    Inserted,
    /// A record stands elsewhere.
    Moved,
    /// The end is missing.
    Truncated,
    /// Some record of a range was changed, or the head that covers it.
    Altered,
    /// A head was not signed by a known key.
    BadSignature,
    /// The line is neither a record nor a head nor a key.
    UnknownLine,
    /// Nothing in the file is signed.
    NoHead,
    /// A decision that says it was signed with a passkey was not, or says something else.
    BadApproval,
}

impl Damage {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Damage::Edited => "edited",
            Damage::Deleted => "deleted",
            Damage::Inserted => "inserted",
            Damage::Moved => "reordered",
            Damage::Truncated => "truncated",
            Damage::Altered => "altered",
            Damage::BadSignature => "bad_signature",
            Damage::UnknownLine => "unknown_line",
            Damage::NoHead => "no_head",
            Damage::BadApproval => "bad_approval",
        }
    }
}

/// The first thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bad {
    /// What was done.
    pub damage: Damage,
    /// The record concerned, by its sequence number, where it can be named.
    pub seq: Option<i64>,
    /// The line it was noticed at, from 1.
    pub line: u64,
    /// One sentence for people.
    pub detail: String,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Records read.
    pub records: u64,
    /// Heads whose signature and root were checked.
    pub heads: u64,
    /// Decisions signed with a passkey, each checked.
    pub approvals: u64,
    /// Of those, how many were signed with a passkey of which this part of the log does not tell
    /// whose it is.
    pub strangers: u64,
    /// Decisions that no passkey signed.
    pub unsigned: u64,
    /// The newest head that holds.
    pub head: Option<SignedHead>,
    /// The key that signed it.
    pub key: Option<PublicKey>,
    /// True if the caller, and not the file, named the key.
    pub pinned: bool,
    /// The first thing that is wrong; `None` if everything is what was sealed.
    pub first_bad: Option<Bad>,
}

impl Report {
    /// Whether everything is what was sealed.
    pub fn ok(&self) -> bool {
        self.first_bad.is_none()
    }
}

/// Checks everything a reader gives. An error is the reader's own.
pub fn verify(mut reader: impl BufRead, pins: &[PublicKey]) -> io::Result<Report> {
    let mut verifier = Verifier::new(pins);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let read = io::Read::take(&mut reader, limit).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(verifier.finish());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() == MAX_LINE {
            let error = "a line is longer than any line of an audit export";
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        verifier.line(&line);
    }
}

/// Checks one line after the other.
pub struct Verifier {
    pins: Vec<PublicKey>,
    keys: BTreeMap<String, PublicKey>,
    line: u64,
    records: u64,
    heads: u64,
    best: Option<SignedHead>,
    /// The tree over what heads have announced and over records that none announced.
    tree: Frontier,
    /// Announced, and not read yet.
    expected: VecDeque<Leaf>,
    /// Heads that are still to be reached, by size.
    goals: BTreeMap<u64, Vec<(SignedHead, u64)>>,
    /// The first record that no head covers yet.
    loose: Option<Loose>,
    /// A record that was not expected; the next line tells what it is.
    stranger: Option<(Option<i64>, u64)>,
    /// A record that was expected and did not come; it may come later.
    missing: Option<Leaf>,
    /// The file spells records in its own way; then each is brought into canonical form first.
    respelled: bool,
    approvals: u64,
    strangers: u64,
    unsigned: u64,
    /// The log is read from its very first record.
    whole: bool,
    /// Passkeys, and what was signed.
    known: signed::Known,
    bad: Option<Bad>,
}

#[derive(Clone, Copy)]
struct Loose {
    seq: Option<i64>,
    line: u64,
}

enum Line {
    Key(Value),
    Head(SignedHead, Vec<Leaf>),
    Record { seq: Option<i64>, hash: NodeHash },
}

impl Verifier {
    /// A check that trusts these keys only, or, if there are none, those the file names.
    pub fn new(pins: &[PublicKey]) -> Self {
        Self {
            pins: pins.to_vec(),
            keys: pins.iter().map(|key| (key.id(), *key)).collect(),
            line: 0,
            records: 0,
            heads: 0,
            best: None,
            tree: Frontier::default(),
            expected: VecDeque::new(),
            goals: BTreeMap::new(),
            loose: None,
            stranger: None,
            missing: None,
            respelled: false,
            approvals: 0,
            strangers: 0,
            unsigned: 0,
            whole: false,
            known: signed::Known::default(),
            bad: None,
        }
    }

    /// The next line, without its end.
    pub fn line(&mut self, text: &[u8]) {
        self.line += 1;
        if self.bad.is_some() {
            self.search(text);
            return;
        }
        if let Some(leaf) = self.expected.front() {
            let as_sealed = !self.respelled && NodeHash::leaf(text) == leaf.hash;
            if as_sealed && self.stranger.is_none() {
                self.whole |= self.records == 0 && leaf.seq == 1;
                self.expected.pop_front();
                self.records += 1;
                self.approval(text);
                return;
            }
        }
        match read(text) {
            None => {
                let seq = self.expected.front().map(|leaf| leaf.seq);
                let detail = "this line is neither a record nor a signed head";
                self.fail(Damage::UnknownLine, seq, self.line, detail.to_owned());
            }
            Some(Line::Key(value)) => self.key(&value),
            Some(Line::Head(head, leaves)) => self.head(head, leaves),
            Some(Line::Record { seq, hash }) => {
                self.whole |= self.records == 0 && seq == Some(1);
                self.record(seq, hash);
                self.approval(text);
            }
        }
    }

    /// Checks a record's signature, where it may have one: most do not, and are not even parsed.
    fn approval(&mut self, text: &[u8]) {
        let readable = std::str::from_utf8(text);
        if readable.is_ok_and(|text| !signed::matters(text)) {
            return;
        }
        let Ok(record) = strict::parse(text) else {
            let why = "this record cannot be read, and may tell of a decision".to_owned();
            self.fail(Damage::BadApproval, None, self.line, why);
            return;
        };
        match self.known.check(&record, self.whole) {
            Ok(Proof::Signed) => self.approvals += 1,
            Ok(Proof::Unknown) => {
                self.approvals += 1;
                self.strangers += 1;
            }
            Ok(Proof::Unsigned) => self.unsigned += 1,
            Ok(Proof::None) => {}
            Err(why) => {
                let seq = record["seq"].as_i64();
                self.fail(Damage::BadApproval, seq, self.line, why);
            }
        }
    }

    /// The end of the file.
    pub fn finish(mut self) -> Report {
        self.end();
        if let (Some(bad), Some(leaf)) = (&mut self.bad, self.missing)
            && bad.damage == Damage::Deleted
        {
            bad.detail = format!("record {} is missing", leaf.seq);
        }
        let key = self
            .best
            .as_ref()
            .and_then(|head| self.keys.get(&head.key_id));
        Report {
            records: self.records,
            heads: self.heads,
            approvals: self.approvals,
            strangers: self.strangers,
            unsigned: self.unsigned,
            key: key.copied(),
            head: self.best,
            pinned: !self.pins.is_empty(),
            first_bad: self.bad,
        }
    }

    fn end(&mut self) {
        if self.bad.is_some() {
            return;
        }
        if let Some((seq, line)) = self.stranger.take() {
            self.tell_stranger(seq, line, None);
        } else if let Some(leaf) = self.expected.front().copied() {
            let detail = format!("the file ends before record {}, which was sealed", leaf.seq);
            self.fail(Damage::Truncated, Some(leaf.seq), self.line, detail);
        } else if let Some((size, _)) = self.goals.first_key_value() {
            let (size, have) = (*size, self.tree.size());
            let detail = format!("{size} records were sealed, and the file has only {have}");
            self.fail(Damage::Truncated, None, self.line, detail);
        } else if self.best.is_none() {
            let detail = "the file holds no signed head, so nothing in it can be verified";
            self.fail(Damage::NoHead, None, self.line, detail.to_owned());
        } else if let Some(loose) = self.loose {
            let detail = "no signed head covers this record".to_owned();
            self.fail(Damage::Inserted, loose.seq, loose.line, detail);
        }
    }

    fn key(&mut self, value: &Value) {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let key = PublicKey::parse(text("public_key"));
        let key = key.filter(|key| key.id() == text("key_id") && text("format") == FORMAT);
        match key {
            // With pinned keys the file's own word on keys does not count.
            Some(key) if self.pins.is_empty() => {
                self.keys.insert(key.id(), key);
            }
            Some(_) => {}
            None => {
                let detail = "this line names a key that cannot be used, or another format";
                self.fail(Damage::UnknownLine, None, self.line, detail.to_owned());
            }
        }
    }

    fn head(&mut self, head: SignedHead, leaves: Vec<Leaf>) {
        if let Some((seq, line)) = self.stranger.take() {
            self.tell_stranger(seq, line, None);
            return;
        }
        if let Some(leaf) = self.expected.front().copied() {
            self.missed(leaf);
            return;
        }
        let known = self.keys.get(&head.key_id);
        if !known.is_some_and(|key| head.verifies(key)) {
            let detail = match (known, self.pins.is_empty()) {
                (Some(_), _) => "the signature of this head does not hold".to_owned(),
                (None, true) => format!("no line before names the key {}", head.key_id),
                (None, false) => format!("signed by {}, which is not the pinned key", head.key_id),
            };
            self.fail(Damage::BadSignature, None, self.line, detail);
            return;
        }
        let (size, have) = (head.head.tree_size, self.tree.size());
        let announced = u64::try_from(leaves.len()).unwrap_or(u64::MAX);
        if size < have || (announced > 0 && size.saturating_sub(announced) < have) {
            self.not_covered(size);
            return;
        }
        if announced > 0 && size - announced > have {
            let detail = format!(
                "the records from number {} to {} of the log are missing",
                have + 1,
                size - announced
            );
            self.fail(Damage::Deleted, None, self.line, detail);
            return;
        }
        if size == have {
            self.reached(&head, self.line);
            return;
        }
        // Two signed heads of one size would be two histories, so both are checked.
        let goals = self.goals.entry(size).or_default();
        goals.push((head, self.line));
        for leaf in leaves {
            self.tree.push(leaf.hash);
            self.expected.push_back(leaf);
            self.meet_goal();
        }
    }

    /// A head speaks of fewer records than there are: some were put in before it.
    fn not_covered(&mut self, size: u64) {
        match self.loose {
            Some(loose) => {
                let detail = "this record was never sealed".to_owned();
                self.fail(Damage::Inserted, loose.seq, loose.line, detail);
            }
            None => {
                let detail = format!("a head over {size} records stands after more than that");
                self.fail(Damage::Altered, None, self.line, detail);
            }
        }
    }

    fn meet_goal(&mut self) {
        if self.goals.first_key_value().map(|(size, _)| *size) != Some(self.tree.size()) {
            return;
        }
        for (head, line) in self.goals.remove(&self.tree.size()).unwrap_or_default() {
            self.reached(&head, line);
        }
    }

    fn reached(&mut self, head: &SignedHead, line: u64) {
        if self.bad.is_some() {
            return;
        }
        if self.tree.root() == head.head.root_hash {
            self.heads += 1;
            self.best = Some(head.clone());
            self.loose = None;
            return;
        }
        let first = self.expected.front().map(|leaf| leaf.seq);
        let first = first.or(self.loose.and_then(|loose| loose.seq));
        let after = self.best.as_ref().map_or(0, |head| head.head.tree_size);
        let size = head.head.tree_size;
        let detail = format!(
            "between records number {} and {size} of the log something was changed",
            after + 1
        );
        self.fail(Damage::Altered, first, line, detail);
    }

    fn record(&mut self, seq: Option<i64>, hash: NodeHash) {
        if let Some((stranger, line)) = self.stranger.take() {
            self.tell_stranger(stranger, line, Some(hash));
            return;
        }
        let Some(leaf) = self.expected.front().copied() else {
            self.records += 1;
            self.loose.get_or_insert(Loose {
                seq,
                line: self.line,
            });
            self.tree.push(hash);
            self.meet_goal();
            return;
        };
        if hash == leaf.hash {
            // The same record in another spelling; from here on, all are brought into ours.
            self.respelled = true;
            self.expected.pop_front();
            self.records += 1;
        } else if self.expected.iter().any(|later| later.hash == hash) {
            self.missed(leaf);
        } else if seq == Some(leaf.seq) {
            let detail = format!(
                "record {} says something else than what was sealed",
                leaf.seq
            );
            self.fail(Damage::Edited, seq, self.line, detail);
        } else {
            self.stranger = Some((seq, self.line));
        }
    }

    /// The line after a stranger tells whether it was put in, or stands for the expected record.
    fn tell_stranger(&mut self, seq: Option<i64>, line: u64, next: Option<NodeHash>) {
        let mut expected = self.expected.iter();
        let (first, second) = (expected.next(), expected.next());
        let replaced = match next {
            Some(next) => second.is_some_and(|leaf| leaf.hash == next),
            None => self.expected.len() == 1,
        };
        match first {
            Some(leaf) if replaced => {
                let leaf = *leaf;
                let detail = format!(
                    "record {} says something else than what was sealed",
                    leaf.seq
                );
                self.fail(Damage::Edited, Some(leaf.seq), line, detail);
                // It may have changed places with one that is not announced yet.
                self.missing = Some(leaf);
            }
            _ => {
                let detail = "this record was never sealed".to_owned();
                self.fail(Damage::Inserted, seq, line, detail);
            }
        }
    }

    /// An expected record did not come. Whether it was deleted or moved, the rest tells.
    fn missed(&mut self, leaf: Leaf) {
        let detail = format!("record {} is missing here", leaf.seq);
        self.fail(Damage::Deleted, Some(leaf.seq), self.line, detail);
        self.missing = Some(leaf);
    }

    fn search(&mut self, text: &[u8]) {
        let Some(leaf) = self.missing else { return };
        let found = NodeHash::leaf(text) == leaf.hash
            || matches!(read(text), Some(Line::Record { hash, .. }) if hash == leaf.hash);
        if let (true, Some(bad)) = (found, &mut self.bad) {
            bad.damage = Damage::Moved;
            bad.detail = format!("record {} was moved to line {}", leaf.seq, self.line);
            self.missing = None;
        }
    }

    fn fail(&mut self, damage: Damage, seq: Option<i64>, line: u64, detail: String) {
        if self.bad.is_none() {
            self.bad = Some(Bad {
                damage,
                seq,
                line,
                detail,
            });
        }
    }
}

/// What a line is; `None` if it is nothing we write.
fn read(text: &[u8]) -> Option<Line> {
    let value = strict::parse(text).ok()?;
    let map = value.as_object()?;
    let only = |known: &[&str]| map.keys().all(|name| known.contains(&name.as_str()));
    if map.contains_key("public_key") {
        return only(&KEY_FIELDS).then_some(Line::Key(value));
    }
    if map.contains_key("root_hash") {
        // What stands beside the signed fields is signed by nobody.
        if !only(&HEAD_FIELDS) {
            return None;
        }
        let leaves = leaves(&value)?;
        let head = SignedHead {
            head: serde_json::from_value(value.clone()).ok()?,
            key_id: map.get("key_id")?.as_str()?.to_owned(),
            signature: map.get("signature")?.as_str()?.to_owned(),
        };
        return Some(Line::Head(head, leaves));
    }
    if map.contains_key("kind") && map.contains_key("seq") {
        let hash = NodeHash::leaf(Canonical::of(&value).as_str().as_bytes());
        let seq = map.get("seq").and_then(Value::as_i64);
        return Some(Line::Record { seq, hash });
    }
    None
}

fn leaves(value: &Value) -> Option<Vec<Leaf>> {
    let (hashes, seqs) = match (value.get("leaves"), value.get("seqs")) {
        (None, None) => return Some(Vec::new()),
        (hashes, seqs) => (hashes?.as_str()?, seqs?.as_array()?),
    };
    let hashes = NodeHash::parse_many(hashes)?;
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

#[cfg(test)]
mod tests {
    use super::super::super::change::Record;
    use super::super::super::ids::OrgId;
    use super::super::super::time::Timestamp;
    use super::super::export::{head_line, key_line, tile_line};
    use super::super::log::{Log, TILE};
    use super::super::{AuditKey, record_line};
    use super::*;
    use crate::domain::audit::names::RecordKind;
    use proptest::prelude::*;
    use serde_json::json;

    /// Signing is slow without optimisation, so the properties share one export.
    static GOOD: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    const AT: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn key() -> AuditKey {
        AuditKey::from_bytes(&[7; 32]).unwrap()
    }

    /// An export of `count` records whose numbers are ten apart.
    fn export(count: usize) -> Vec<String> {
        let org = OrgId::default();
        let mut log = Log::default();
        let (mut body, mut records) = (Vec::new(), Vec::new());
        for n in 0..count {
            let seq = 10 * i64::try_from(n).unwrap() + 10;
            let mut record = Record::new(AT.plus_secs(seq), &org, RecordKind::Proposed, "key:1");
            record.amount = Some(seq * 100);
            record.detail = json!({"note": format!("record \"{n}\" <é>")});
            let line = record_line(seq, &record);
            let full = log.append(seq, &line);
            records.push(line);
            if let Some(tile) = full {
                body.push(tile_line(&key().sign(log.head(AT)), &tile.leaves));
                body.append(&mut records);
            }
        }
        let newest = key().sign(log.head(AT));
        let mut lines = vec![key_line(&org, key().public()), head_line(&newest)];
        lines.append(&mut body);
        if !log.tail().is_empty() {
            lines.push(tile_line(&newest, log.tail()));
        }
        lines.append(&mut records);
        lines
    }

    fn check(lines: &[String], pins: &[PublicKey]) -> Report {
        let mut text = lines.join("\n");
        text.push('\n');
        verify(text.as_bytes(), pins).unwrap()
    }

    fn is_record(line: &str) -> bool {
        line.contains("\"seq\":")
    }

    /// The lines that hold records, by position in the file.
    fn records(lines: &[String]) -> Vec<usize> {
        (0..lines.len())
            .filter(|at| is_record(&lines[*at]))
            .collect()
    }

    fn seq_of(line: &str) -> i64 {
        let value: Value = serde_json::from_str(line).unwrap();
        value["seq"].as_i64().unwrap()
    }

    #[test]
    fn what_was_sealed_verifies() {
        for count in [0, 1, 2, TILE - 1, TILE, TILE + 1, 3 * TILE + 17] {
            let report = check(&export(count), &[]);
            assert_eq!(report.first_bad, None, "{count}");
            assert_eq!(report.records, u64::try_from(count).unwrap());
            assert_eq!(report.head.unwrap().head.tree_size, report.records);
            assert!(!report.pinned);
        }
    }

    #[test]
    fn another_spelling_of_the_same_records_verifies() {
        let respelled = export(300).into_iter().map(|line| {
            let value: Value = serde_json::from_str(&line).unwrap();
            serde_json::to_string_pretty(&value)
                .unwrap()
                .replace('\n', " ")
        });
        let lines: Vec<String> = respelled.collect();
        assert_eq!(check(&lines, &[]).first_bad, None);
    }

    #[test]
    fn a_pinned_key_is_the_only_one_that_counts() {
        let other = AuditKey::from_bytes(&[9; 32]).unwrap();
        let report = check(&export(5), &[*key().public()]);
        assert!(report.ok() && report.pinned);
        let report = check(&export(5), &[*other.public()]);
        assert_eq!(report.first_bad.unwrap().damage, Damage::BadSignature);
    }

    #[test]
    #[rustfmt::skip]
    fn each_attack_is_told_and_the_record_named() {
        type Attack = fn(&mut Vec<String>, &[usize]);
        // Tiles of 256, so record index 255 ends one and 256 begins the next.
        let attacks: &[(&str, Attack, Damage, Option<i64>)] = &[
            ("edit the first",    |l, r| edit(l, r[0]),                            Damage::Edited,    Some(10)),
            ("edit in a tile",    |l, r| edit(l, r[100]),                          Damage::Edited,    Some(1010)),
            ("edit the last",     |l, r| edit(l, r[599]),                          Damage::Edited,    Some(6000)),
            ("edit its number",   |l, r| l[r[7]] = l[r[7]].replace("\"seq\":80", "\"seq\":81"), Damage::Edited, Some(80)),
            ("edit two in a row", |l, r| { edit(l, r[5]); edit(l, r[6]); },        Damage::Edited,    Some(60)),
            ("no JSON",           |l, r| l[r[5]] = "{".into(),                     Damage::UnknownLine, Some(60)),
            ("delete the first",  |l, r| drop(l.remove(r[0])),                     Damage::Deleted,   Some(10)),
            ("delete in a tile",  |l, r| drop(l.remove(r[100])),                   Damage::Deleted,   Some(1010)),
            ("delete a tile end", |l, r| drop(l.remove(r[255])),                   Damage::Deleted,   Some(2560)),
            ("delete two",        |l, r| drop(l.drain(r[3]..r[5])),                Damage::Deleted,   Some(40)),
            ("insert a copy",     |l, r| l.insert(r[9], l[r[2]].clone()),          Damage::Inserted,  Some(30)),
            ("insert a forgery",  |l, r| forge(l, r[9]),                           Damage::Inserted,  Some(55)),
            ("insert at a seam",  |l, r| forge(l, r[255] + 1),                     Damage::Inserted,  Some(55)),
            ("append a forgery",  |l, r| forge(l, r[599] + 1),                     Damage::Inserted,  Some(55)),
            ("swap neighbours",   |l, r| l.swap(r[20], r[21]),                     Damage::Moved,     Some(210)),
            ("swap over tiles",   |l, r| l.swap(r[20], r[300]),                    Damage::Moved,     Some(210)),
            ("move to the end",   |l, r| { let x = l.remove(r[20]); l.push(x); },  Damage::Moved,     Some(210)),
            ("truncate one",      |l, _| drop(l.pop()),                            Damage::Truncated, Some(6000)),
            ("truncate a tile",   |l, r| l.truncate(r[512] - 1),                   Damage::Truncated, None),
            ("cut in a tile",     |l, r| l.truncate(r[300]),                       Damage::Truncated, Some(3010)),
            ("lose a whole tile", |l, r| drop(l.drain(r[256] - 1..=r[511])),       Damage::Deleted,   None),
            ("no heads",          |l, _| l.retain(|x| !x.contains("root_hash")),   Damage::NoHead,    None),
            ("unknown line",      |l, _| l.insert(2, "{\"note\":1}".into()),       Damage::UnknownLine, None),
            ("unsigned beside",   |l, _| l[1] = l[1].replacen('{', "{\"note\":1,", 1),  Damage::UnknownLine, None),
            ("empty line",        |l, _| l.insert(2, String::new()),               Damage::UnknownLine, None),
            ("no key",            |l, _| drop(l.remove(0)),                        Damage::BadSignature, None),
            ("forged head",       |l, _| l[1] = l[1].replace("\"tree_size\":600", "\"tree_size\":599"), Damage::BadSignature, None),
        ];
        for (name, attack, damage, seq) in attacks {
            let mut lines = export(600);
            let records = records(&lines);
            attack(&mut lines, &records);
            let bad = check(&lines, &[]).first_bad.unwrap_or_else(|| panic!("{name}: not noticed"));
            assert_eq!((bad.damage, bad.seq), (*damage, *seq), "{name}: {bad:?}");
        }
    }

    fn edit(lines: &mut [String], at: usize) {
        lines[at] = lines[at].replace("\"kind\":\"proposed\"", "\"kind\":\"approved\"");
    }

    fn forge(lines: &mut Vec<String>, at: usize) {
        let record = Record::new(AT, &OrgId::default(), RecordKind::Approved, "key:evil");
        lines.insert(at, record_line(55, &record));
    }

    #[test]
    fn a_decision_that_cannot_be_read_is_none() {
        let mut verifier = Verifier::new(&[]);
        verifier.line(br#"{"kind":"approved","seq":1,"detail":{"signed":{}},"x":1,"x":2}"#);
        let bad = verifier.finish().first_bad.unwrap();
        assert!(
            matches!(bad.damage, Damage::BadApproval | Damage::UnknownLine),
            "{bad:?}"
        );
    }

    #[test]
    fn a_change_hidden_in_the_list_of_leaves_is_still_noticed() {
        let mut lines = export(300);
        let at = records(&lines)[4];
        let before = NodeHash::leaf(lines[at].as_bytes()).to_string();
        edit(&mut lines, at);
        let after = NodeHash::leaf(lines[at].as_bytes()).to_string();
        lines[2] = lines[2].replace(&before, &after);
        let bad = check(&lines, &[]).first_bad.unwrap();
        assert_eq!(bad.damage, Damage::Altered, "{bad:?}");
    }

    #[test]
    fn records_under_plain_heads_are_checked_as_a_range() {
        let plain = |count| -> Vec<String> {
            let lines = export(count).into_iter();
            lines.filter(|line| !line.contains("\"leaves\"")).collect()
        };
        assert!(check(&plain(300), &[]).ok());
        let mut lines = plain(300);
        edit(&mut lines, 7);
        let bad = check(&lines, &[]).first_bad.unwrap();
        assert_eq!((bad.damage, bad.seq), (Damage::Altered, Some(10)));
        let mut lines = plain(300);
        lines.pop();
        assert_eq!(
            check(&lines, &[]).first_bad.unwrap().damage,
            Damage::Truncated
        );
    }

    proptest! {
        // Each case checks three signatures, which is slow without optimisation.
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever is done to the lines, unless it leaves the records as they were, is noticed.
        #[test]
        fn no_change_passes(at in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), what in 0..4) {
            let good = GOOD.get_or_init(|| export(270));
            let mut lines = good.clone();
            let (at, to) = (at.index(lines.len()), to.index(lines.len()));
            match what {
                0 => { lines.remove(at); }
                1 => lines.swap(at, to),
                2 => { let copy = lines[at].clone(); lines.insert(to, copy); }
                _ => lines.truncate(at),
            }
            let kept: Vec<_> = lines.iter().filter(|line| is_record(line)).collect();
            let same = kept == good.iter().filter(|line| is_record(line)).collect::<Vec<_>>();
            let report = check(&lines, &[]);
            prop_assert!(same || !report.ok(), "{what} {at} {to}");
        }

        /// One flipped bit anywhere in a record is noticed, and the record is named.
        #[test]
        fn one_flipped_bit_is_noticed(pick in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let lines = GOOD.get_or_init(|| export(270));
            let at = records(lines)[pick.index(270)];
            let mut text: Vec<Vec<u8>> = lines.iter().map(|line| line.clone().into_bytes()).collect();
            let byte = byte.index(text[at].len());
            text[at][byte] ^= 1 << bit;
            prop_assume!(text[at][byte] != b'\n' && text[at][byte] != b'\r');
            let report = verify(text.join(&b'\n').as_slice(), &[]).unwrap();
            prop_assert_eq!(report.first_bad.map(|bad| bad.seq), Some(Some(seq_of(&lines[at]))));
        }
    }
}
