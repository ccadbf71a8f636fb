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
use super::super::change::Record;
use super::super::ids::OrgId;
use super::super::merkle::NodeHash;
use super::super::visible::plain_json;
use super::log::Leaf;
use super::{PublicKey, SignedHead, record_json};

/// Names this format and its version.
pub const FORMAT: &str = "hundi-audit-1";

/// The columns of a CSV, which are the fields of a record.
const COLUMNS: [&str; 14] = [
    "seq",
    "at",
    "org",
    "kind",
    "decision",
    "reason",
    "actor",
    "agent_id",
    "proposal_id",
    "tool_name",
    "payout_id",
    "amount",
    "currency",
    "detail",
];

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

/// The first line of a CSV, with its end.
pub fn csv_header() -> String {
    COLUMNS.join(",") + "\r\n"
}

/// One record as a line of RFC 4180, with its end. CSV is for reading; it does not verify.
pub fn csv_line(seq: i64, record: &Record) -> String {
    let record = record_json(seq, record);
    let cells = COLUMNS.iter().map(|column| match record.get(*column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => cell(text),
        Some(other) => cell(&Canonical::of(other).to_string()),
    });
    cells.collect::<Vec<_>>().join(",") + "\r\n"
}

/// A spreadsheet takes a cell that begins so for a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

fn cell(text: &str) -> String {
    let text = plain_json(text);
    let guard = if text.starts_with(FORMULA) { "'" } else { "" };
    if guard.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
        return text;
    }
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::super::super::time::Timestamp;
    use super::*;
    use crate::domain::audit::names::RecordKind;

    #[test]
    fn a_cell_is_neither_a_formula_nor_two_cells() {
        let cases = [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=cmd()", "\"'=cmd()\""),
            ("@x", "\"'@x\""),
            ("a\nb", "\"a\nb\""),
            ("\u{1b}[2J\u{9b}\u{202e}", "\\u001b[2J\\u009b\\u202e"),
        ];
        for (text, expected) in cases {
            assert_eq!(cell(text), expected);
        }
    }

    #[test]
    fn a_csv_line_has_every_column() {
        let mut record = Record::new(
            Timestamp::from_secs(0),
            &OrgId::default(),
            RecordKind::Proposed,
            "=x",
        );
        record.amount = Some(5);
        record.detail = json!({"a": 1});
        let line = csv_line(7, &record);
        let expected =
            "7,1970-01-01T00:00:00Z,default,proposed,,,\"'=x\",,,,,5,,\"{\"\"a\"\":1}\"\r\n";
        assert_eq!(line, expected);
        assert_eq!(csv_header().split(',').count(), COLUMNS.len());
    }
}
