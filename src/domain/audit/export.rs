//! The file that leaves: one JSON object a line, enough to verify it without the store.
//!
//! - a *key*: `{format, key_id, org, public_key}`, first;
//! - a *head*: `{at, key_id, root_hash, signature, tree_size}`. It announces that the records up
//!   to `tree_size` have this root. With `leaves` and `seqs` (the hashes and numbers of the
//!   records that follow, up to `tree_size`) a changed record can be named and not just noticed;
//! - a *record*: see [`record_line`](super::record_line), in the order of the log.
//!
//! The newest head comes right after the key, so that a file cut off anywhere is noticed.

use serde_json::{Value, json};

use super::super::canonical::Canonical;
use super::super::ids::OrgId;
use super::super::merkle::NodeHash;
use super::log::Leaf;
use super::{PublicKey, SignedHead};

/// Names this format and its version.
pub const FORMAT: &str = "hundi-audit-1";

/// The line that names a key.
pub fn key_line(org: &OrgId, key: &PublicKey) -> String {
    let line = json!({
        "format": FORMAT,
        "key_id": key.id(),
        "org": org,
        "public_key": key.to_string(),
    });
    Canonical::of(&line).to_string()
}

/// The line of a head that is to be reached.
pub fn head_line(head: &SignedHead) -> String {
    Canonical::of(&head_json(head)).to_string()
}

/// The line of a head together with the leaves that lead up to it.
pub fn tile_line(head: &SignedHead, leaves: &[Leaf]) -> String {
    let mut line = head_json(head);
    line["leaves"] = json!(NodeHash::join(leaves.iter().map(|leaf| leaf.hash)));
    line["seqs"] = leaves.iter().map(|leaf| leaf.seq).collect();
    Canonical::of(&line).to_string()
}

/// A head as REST and files show it.
pub fn head_json(head: &SignedHead) -> Value {
    json!({
        "at": head.head.at.to_string(),
        "key_id": head.key_id,
        "root_hash": head.head.root_hash,
        "signature": head.signature,
        "tree_size": head.head.tree_size,
    })
}
