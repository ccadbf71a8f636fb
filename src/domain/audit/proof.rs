//! Checks one document by itself: a signed head, or the proof that one record is in the log.
//!
//! Neither the store nor a server is asked. A head holds if its signature does. A record holds if
//! its canonical bytes hash to a leaf that the path leads from to the root of such a head. The key is
//! the one that the caller pinned, else the one that the document names.

use serde_json::{Map, Value};

use super::super::canonical::Canonical;
use super::super::merkle::{NodeHash, verify_consistency, verify_inclusion};
use super::super::strict;
use super::verify::{Bad, Damage, Report};
use super::{PublicKey, SignedHead};

/// Checks a document that is one head or one proof; `None` if it is neither, so that it may be an
/// export.
pub fn verify(text: &[u8], pins: &[PublicKey]) -> Option<Report> {
    let value = strict::parse(text).ok()?;
    let map = value.as_object()?;
    let is_proof = map.contains_key("leaf_index");
    let is_head = map.contains_key("root_hash") && map.contains_key("signature");
    if !(is_proof || is_head && !map.contains_key("leaves")) {
        return None;
    }
    let mut report = Report {
        records: 0,
        heads: 0,
        approvals: 0,
        strangers: 0,
        unsigned: 0,
        head: None,
        key: None,
        pinned: !pins.is_empty(),
        first_bad: None,
    };
    let checked = if is_proof {
        proof(map, pins, &mut report)
    } else {
        head(&value, map, pins, &mut report)
    };
    let seq = map.get("seq").and_then(Value::as_i64);
    report.first_bad = checked.err().map(|(damage, detail)| Bad {
        damage,
        seq,
        line: 1,
        detail: detail.to_owned(),
    });
    Some(report)
}

type Checked = Result<(), (Damage, &'static str)>;

const MALFORMED: (Damage, &str) = (
    Damage::UnknownLine,
    "the document lacks a part of a proof, or spells it differently",
);

fn proof(map: &Map<String, Value>, pins: &[PublicKey], report: &mut Report) -> Checked {
    let field = |name: &str| map.get(name).filter(|value| !value.is_null());
    let signed = field("head").ok_or((
        Damage::NoHead,
        "the proof carries no signed head, so nothing in it can be verified",
    ))?;
    head(signed, map, pins, report)?;
    let Some(SignedHead { head, .. }) = &report.head else {
        return Err(MALFORMED);
    };
    let index = field("leaf_index")
        .and_then(Value::as_u64)
        .ok_or(MALFORMED)?;
    let path = field("proof").cloned().ok_or(MALFORMED)?;
    let path: Vec<NodeHash> = serde_json::from_value(path).map_err(|_| MALFORMED)?;
    let record = record(field("record").ok_or((
        Damage::Deleted,
        "the proof carries no record: the store has lost it",
    ))?)?;
    let leaf = NodeHash::leaf(Canonical::of(&record).as_str().as_bytes());
    if !verify_inclusion(leaf, index, head.tree_size, &path, &head.root_hash) {
        return Err((
            Damage::Edited,
            "the record is not what was sealed: its hash does not lead to the signed root",
        ));
    }
    // What the document says beside that must not say something else.
    let said = [
        ("seq", record.get("seq").cloned()),
        ("leaf_hash", serde_json::to_value(leaf).ok()),
        ("tree_size", serde_json::to_value(head.tree_size).ok()),
        ("root_hash", serde_json::to_value(head.root_hash).ok()),
    ];
    if said
        .iter()
        .any(|(name, held)| field(name).is_some_and(|said| Some(said) != held.as_ref()))
    {
        return Err((
            Damage::Altered,
            "the document names another record, leaf or root than the one that holds",
        ));
    }
    if let Some(consistency) = field("consistency") {
        consistent(consistency, head.tree_size, &head.root_hash)?;
    }
    report.records = 1;
    Ok(())
}

/// The record's bytes as a text, or the record itself.
fn record(value: &Value) -> Result<Value, (Damage, &'static str)> {
    match value {
        Value::String(text) => strict::parse(text.as_bytes()).map_err(|_| MALFORMED),
        Value::Object(_) => Ok(value.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(MALFORMED),
    }
}

/// A head and its signature; the key may stand beside it or in the document around it.
fn head(
    value: &Value,
    around: &Map<String, Value>,
    pins: &[PublicKey],
    report: &mut Report,
) -> Checked {
    let head: SignedHead = serde_json::from_value(value.clone()).map_err(|_| MALFORMED)?;
    let named = around.get("public_key").or_else(|| value.get("public_key"));
    let named = named.and_then(Value::as_str).and_then(PublicKey::parse);
    let mut keys = pins
        .iter()
        .chain(named.as_ref().filter(|_| pins.is_empty()));
    let key = keys.find(|key| key.id() == head.key_id).ok_or((
        Damage::BadSignature,
        "the key that signed this head is not the pinned one, nor named here; pin it with --key",
    ))?;
    if !head.verifies(key) {
        return Err((
            Damage::BadSignature,
            "the signature of this head does not hold",
        ));
    }
    report.key = Some(*key);
    report.heads = 1;
    if let Some(consistency) = value.get("consistency") {
        consistent(consistency, head.head.tree_size, &head.head.root_hash)?;
    }
    report.head = Some(head);
    Ok(())
}

fn consistent(value: &Value, size: u64, root: &NodeHash) -> Checked {
    let tree = |name: &str| {
        let tree = value.get(name)?;
        let size = tree.get("tree_size")?.as_u64()?;
        let root: NodeHash = tree.get("root_hash")?.as_str()?.parse().ok()?;
        Some((size, root))
    };
    let (from, to) = (tree("from").ok_or(MALFORMED)?, tree("to").ok_or(MALFORMED)?);
    let path = value.get("proof").cloned().ok_or(MALFORMED)?;
    let path: Vec<NodeHash> = serde_json::from_value(path).map_err(|_| MALFORMED)?;
    let holds = to == (size, *root) && verify_consistency((from.0, &from.1), (to.0, &to.1), &path);
    holds.then_some(()).ok_or((
        Damage::Altered,
        "the older log is not the beginning of the one that is signed here",
    ))
}
