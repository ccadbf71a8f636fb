//! The sealed log: its signed head, and proofs that a record is in it and that it only grew.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Operation, Rest};
use crate::broker::Trouble;
use crate::broker::audit;
use crate::domain::audit::{self as sealed, record_line};
use crate::domain::principal::Right;
use crate::entry::words;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("audit_head", head)
            .says(
                "Read the signed head",
                "The newest signed head of the sealed log, and the key that verifies it.",
            )
            .needs(&[Right::ReadAll])
            .rest(
                Rest::get("/v1/audit/head")
                    .answers(200, "the head")
                    .problems(&[404]),
            ),
        Operation::new("audit_proof", proof)
            .says(
                "Prove a record",
                "Proof (RFC 9162) that a record is in the sealed log; `hundi audit verify` checks \
                 it offline.",
            )
            .needs(&[Right::ReadAll])
            .rest(Rest::get("/v1/audit/proof/{seq}").answers(200, "the proof")),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OlderHead {
    /// An older `tree_size`: adds the proof that it is the beginning of this one.
    #[schemars(range(min = 1))]
    from: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct SignedHead {
    #[schemars(schema_with = "words::time")]
    at: String,
    key_id: String,
    #[schemars(schema_with = "words::hash")]
    root_hash: String,
    #[schemars(regex(pattern = "^[0-9a-f]{128}$"))]
    signature: String,
    tree_size: u64,
}

impl From<&sealed::SignedHead> for SignedHead {
    fn from(head: &sealed::SignedHead) -> Self {
        Self {
            at: head.head.at.to_string(),
            key_id: head.key_id.clone(),
            root_hash: head.head.root_hash.to_string(),
            signature: head.signature.clone(),
            tree_size: head.head.tree_size,
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct AuditHead {
    #[serde(flatten)]
    head: SignedHead,
    public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consistency: Option<Consistency>,
}

/// Proof that an older log is the beginning of the present one.
#[derive(Serialize, JsonSchema)]
struct Consistency {
    from: Tree,
    to: Tree,
    #[schemars(schema_with = "words::hashes")]
    proof: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Tree {
    tree_size: u64,
    #[schemars(schema_with = "words::hash")]
    root_hash: String,
}

impl From<&audit::Consistency> for Consistency {
    fn from(proof: &audit::Consistency) -> Self {
        Self {
            from: Tree {
                tree_size: proof.from,
                root_hash: proof.from_root.to_string(),
            },
            to: Tree {
                tree_size: proof.head.head.tree_size,
                root_hash: proof.head.head.root_hash.to_string(),
            },
            proof: proof.path.iter().map(|node| node.to_string()).collect(),
        }
    }
}

async fn older(call: &Call, from: Option<u64>) -> Result<Option<audit::Consistency>, Trouble> {
    match from {
        Some(from) => call
            .broker
            .audit
            .audit_consistency(&call.who, from)
            .await
            .map(Some),
        None => Ok(None),
    }
}

async fn head(call: Call, asked: OlderHead) -> Result<AuditHead, Trouble> {
    let head = call.broker.audit.audit_head(&call.who).await?;
    let head = head.ok_or(Trouble::NotFound("signed head yet"))?;
    let proof = older(&call, asked.from).await?;
    Ok(AuditHead {
        // The head that the proof leads to, which may be newer.
        head: SignedHead::from(proof.as_ref().map_or(&head, |proof| &proof.head)),
        public_key: call
            .broker
            .audit
            .audit_public_key()
            .map(|key| key.to_string()),
        consistency: proof.as_ref().map(Consistency::from),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProofRequest {
    /// The record's `seq`.
    seq: i64,
    /// An older `tree_size`: adds a consistency proof.
    #[schemars(range(min = 1))]
    from: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct AuditProof {
    seq: i64,
    leaf_index: u64,
    #[schemars(schema_with = "words::hash")]
    leaf_hash: String,
    tree_size: u64,
    #[schemars(schema_with = "words::hash")]
    root_hash: String,
    #[schemars(schema_with = "words::hashes")]
    proof: Vec<String>,
    head: SignedHead,
    key_id: String,
    public_key: Option<String>,
    /// The bytes that were hashed.
    record: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consistency: Option<Consistency>,
}

async fn proof(call: Call, asked: ProofRequest) -> Result<AuditProof, Trouble> {
    let proof = call
        .broker
        .audit
        .audit_inclusion(&call.who, asked.seq)
        .await?;
    let older = older(&call, asked.from).await?;
    let record = proof.record.as_ref();
    Ok(AuditProof {
        seq: asked.seq,
        leaf_index: proof.index,
        leaf_hash: proof.leaf.hash.to_string(),
        tree_size: proof.head.head.tree_size,
        root_hash: proof.head.head.root_hash.to_string(),
        proof: proof.path.iter().map(|node| node.to_string()).collect(),
        key_id: proof.head.key_id.clone(),
        head: SignedHead::from(&proof.head),
        public_key: call
            .broker
            .audit
            .audit_public_key()
            .map(|key| key.to_string()),
        record: record.map(|stored| record_line(stored.seq, &stored.record)),
        consistency: older.as_ref().map(Consistency::from),
    })
}
