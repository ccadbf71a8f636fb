//! The Merkle tree of RFC 9162, section 2.1: one short hash stands for millions of records in
//! their order, and a short proof shows that one of them is in it or that an older tree is a
//! beginning of a newer one.
//!
//! A [`Frontier`] is all that appending needs: at most 64 hashes. Which nodes a proof consists of
//! is told as [`Span`]s; where their hashes come from is for the keeper of the tree.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ids::{MalformedId, hex, unhex};

/// The hash of one leaf or node. Shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeHash([u8; 32]);

impl NodeHash {
    /// The root of a tree without leaves.
    pub fn empty() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// The hash of a leaf. The prefix keeps a leaf from passing for a node.
    pub fn leaf(bytes: &[u8]) -> Self {
        let hash = Sha256::new_with_prefix([0x00]).chain_update(bytes);
        Self(hash.finalize().into())
    }

    /// The hash of the node above two others.
    pub fn node(left: &Self, right: &Self) -> Self {
        let hash = Sha256::new_with_prefix([0x01]);
        let hash = hash.chain_update(left.0).chain_update(right.0);
        Self(hash.finalize().into())
    }

    /// Reads hashes that were written one after the other, without separators.
    pub fn parse_many(text: &str) -> Option<Vec<Self>> {
        let digits = text.as_bytes();
        if !digits.len().is_multiple_of(64) {
            return None;
        }
        let each = digits.chunks_exact(64);
        each.map(|chunk| std::str::from_utf8(chunk).ok()?.parse().ok())
            .collect()
    }

    /// Writes hashes one after the other, without separators.
    pub fn join(hashes: impl IntoIterator<Item = Self>) -> String {
        hashes.into_iter().map(|hash| hex(&hash.0)).collect()
    }
}

impl fmt::Display for NodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for NodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for NodeHash {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        unhex::<32>(text).map(Self).ok_or(MalformedId)
    }
}

impl TryFrom<String> for NodeHash {
    type Error = MalformedId;

    fn try_from(text: String) -> Result<Self, MalformedId> {
        text.parse()
    }
}

impl From<NodeHash> for String {
    fn from(hash: NodeHash) -> String {
        hash.to_string()
    }
}

/// The right edge of a tree: the roots of its complete subtrees, largest first, one for each bit
/// of its size. Enough to append and to tell the root.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<NodeHash>,
}

impl Frontier {
    /// From what a store kept; `None` if the parts do not belong together.
    pub fn from_parts(size: u64, peaks: Vec<NodeHash>) -> Option<Self> {
        let expected = usize::try_from(size.count_ones()).ok()?;
        (peaks.len() == expected).then_some(Self { size, peaks })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, largest first.
    pub fn peaks(&self) -> &[NodeHash] {
        &self.peaks
    }

    /// Appends one leaf.
    pub fn push(&mut self, leaf: NodeHash) {
        let mut hash = leaf;
        // Each trailing one of the size is a complete subtree that the new leaf completes further.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = NodeHash::node(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The tree's root.
    pub fn root(&self) -> NodeHash {
        root_of(&self.peaks)
    }
}

/// The root over complete subtrees that stand side by side, largest first.
pub fn root_of(peaks: &[NodeHash]) -> NodeHash {
    let mut from_right = peaks.iter().rev().copied();
    let Some(last) = from_right.next() else {
        return NodeHash::empty();
    };
    from_right.fold(last, |right, left| NodeHash::node(&left, &right))
}

/// The leaves `start .. start + len` as they occur in a proof: one subtree of the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its first leaf.
    pub start: u64,
    /// How many leaves it has; at least 1.
    pub len: u64,
}

/// One complete subtree: `index`-th from the left of those with `2^level` leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    /// 0 is a leaf.
    pub level: u32,
    /// Counted from 0.
    pub index: u64,
}

impl Span {
    /// The complete subtrees it consists of, largest first; [`root_of`] joins them.
    pub fn nodes(self) -> Vec<Node> {
        let mut nodes = Vec::new();
        let (mut start, mut rest) = (self.start, self.len);
        while rest > 0 {
            let level = rest.ilog2();
            nodes.push(Node {
                level,
                index: start >> level,
            });
            start += 1 << level;
            rest -= 1 << level;
        }
        nodes
    }
}

/// The subtrees whose roots prove that leaf `index` is in a tree of `size` leaves, in the order
/// of the proof; `None` if it is not in it.
pub fn inclusion(index: u64, size: u64) -> Option<Vec<Span>> {
    if index >= size {
        return None;
    }
    let mut path = Vec::new();
    let mut span = Span {
        start: 0,
        len: size,
    };
    while span.len > 1 {
        let (left, right) = split(span);
        if index < right.start {
            path.push(right);
            span = left;
        } else {
            path.push(left);
            span = right;
        }
    }
    path.reverse();
    Some(path)
}

/// The subtrees whose roots prove that the first `older` leaves of a tree of `newer` are the same
/// as they were, in the order of the proof; `None` if the older tree is empty or the larger one.
pub fn consistency(older: u64, newer: u64) -> Option<Vec<Span>> {
    if older == 0 || older > newer {
        return None;
    }
    let mut path = Vec::new();
    let mut span = Span {
        start: 0,
        len: newer,
    };
    while span.start + span.len != older {
        let (left, right) = split(span);
        if older <= right.start {
            path.push(right);
            span = left;
        } else {
            path.push(left);
            span = right;
        }
    }
    // The older tree itself need not be sent when it is a subtree: the verifier has its root.
    if span.start > 0 {
        path.push(span);
    }
    path.reverse();
    Some(path)
}

/// At the largest power of two below its length, which must be at least 2.
fn split(span: Span) -> (Span, Span) {
    let left = 1 << (span.len - 1).ilog2();
    let right = Span {
        start: span.start + left,
        len: span.len - left,
    };
    (Span { len: left, ..span }, right)
}

/// Whether `path` proves that `leaf` is number `index` of the tree with this size and root.
pub fn verify_inclusion(
    leaf: NodeHash,
    index: u64,
    size: u64,
    path: &[NodeHash],
    root: &NodeHash,
) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = NodeHash::node(sibling, &hash);
            // Levels where the right edge has no sibling are not in the proof.
            let skipped = at.trailing_zeros().min(63);
            at >>= skipped;
            last >>= skipped;
        } else {
            hash = NodeHash::node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `path` proves that the older tree is a beginning of the newer one.
pub fn verify_consistency(
    (older, older_root): (u64, &NodeHash),
    (newer, newer_root): (u64, &NodeHash),
    path: &[NodeHash],
) -> bool {
    if older == newer {
        return path.is_empty() && older_root == newer_root;
    }
    if older == 0 || older > newer {
        return false;
    }
    let mut path = path.iter();
    let first = if older.is_power_of_two() {
        Some(older_root)
    } else {
        path.next()
    };
    let Some(first) = first else { return false };
    let shift = (older - 1).trailing_ones();
    let (mut at, mut last) = ((older - 1) >> shift, (newer - 1) >> shift);
    let (mut old, mut new) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old = NodeHash::node(sibling, &old);
            new = NodeHash::node(sibling, &new);
            let skipped = at.trailing_zeros().min(63);
            at >>= skipped;
            last >>= skipped;
        } else {
            new = NodeHash::node(&new, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old == *older_root && new == *newer_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 9162 section 2.1.1, as it is written.
    fn naive_root(leaves: &[NodeHash]) -> NodeHash {
        match leaves {
            [] => NodeHash::empty(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(below(leaves.len()));
                NodeHash::node(&naive_root(left), &naive_root(right))
            }
        }
    }

    /// Section 2.1.3.1.
    fn naive_path(m: usize, leaves: &[NodeHash]) -> Vec<NodeHash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = below(leaves.len());
        let (left, right) = leaves.split_at(k);
        let (mut path, other) = if m < k {
            (naive_path(m, left), naive_root(right))
        } else {
            (naive_path(m - k, right), naive_root(left))
        };
        path.push(other);
        path
    }

    /// Section 2.1.4.1.
    fn naive_proof(m: usize, leaves: &[NodeHash], whole: bool) -> Vec<NodeHash> {
        if m == leaves.len() {
            return if whole {
                vec![]
            } else {
                vec![naive_root(leaves)]
            };
        }
        let k = below(leaves.len());
        let (left, right) = leaves.split_at(k);
        let (mut proof, other) = if m <= k {
            (naive_proof(m, left, whole), naive_root(right))
        } else {
            (naive_proof(m - k, right, false), naive_root(left))
        };
        proof.push(other);
        proof
    }

    fn below(n: usize) -> usize {
        1 << (n - 1).ilog2()
    }

    fn leaves(count: usize) -> Vec<NodeHash> {
        let texts = (0..count).map(|n| n.to_string());
        texts.map(|text| NodeHash::leaf(text.as_bytes())).collect()
    }

    fn span_root(span: Span, leaves: &[NodeHash]) -> NodeHash {
        let peak = |node: Node| {
            let len = 1 << node.level;
            let start = usize::try_from(node.index).unwrap() * len;
            naive_root(&leaves[start..start + len])
        };
        root_of(&span.nodes().into_iter().map(peak).collect::<Vec<_>>())
    }

    fn frontier(leaves: &[NodeHash]) -> Frontier {
        let mut frontier = Frontier::default();
        for leaf in leaves {
            frontier.push(*leaf);
        }
        frontier
    }

    #[test]
    fn the_hashes_that_others_publish() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(NodeHash::empty().to_string(), empty);
        // RFC 9162 test material of certificate transparency logs: an empty leaf.
        let leaf = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(NodeHash::leaf(b"").to_string(), leaf);
    }

    proptest! {
        #[test]
        fn the_frontier_has_the_root_of_the_whole(count in 0_usize..400) {
            let leaves = leaves(count);
            let frontier = frontier(&leaves);
            prop_assert_eq!(frontier.root(), naive_root(&leaves));
            let (size, peaks) = (frontier.size(), frontier.peaks().to_vec());
            prop_assert_eq!(Frontier::from_parts(size, peaks.clone()), Some(frontier));
            prop_assert_eq!(Frontier::from_parts(size + 1, peaks).is_some(),
                size.count_ones() == (size + 1).count_ones());
        }

        #[test]
        fn inclusion_is_proved_and_nothing_else_is(count in 1_usize..300, pick in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()) {
            let leaves = leaves(count);
            let (index, size) = (pick.index(count), u64::try_from(count).unwrap());
            let at = u64::try_from(index).unwrap();
            let spans = inclusion(at, size).unwrap();
            let mut path: Vec<_> = spans.iter().map(|span| span_root(*span, &leaves)).collect();
            prop_assert_eq!(&path, &naive_path(index, &leaves));
            let root = naive_root(&leaves);
            prop_assert!(verify_inclusion(leaves[index], at, size, &path, &root));
            prop_assert!(!verify_inclusion(NodeHash::leaf(b"x"), at, size, &path, &root));
            prop_assert!(!verify_inclusion(leaves[index], size, size, &path, &root));
            if count > 1 {
                prop_assert!(!verify_inclusion(leaves[index], (at + 1) % size, size, &path, &root));
                let bad = flip.index(path.len());
                path[bad] = NodeHash::leaf(b"x");
                prop_assert!(!verify_inclusion(leaves[index], at, size, &path, &root));
                path.pop();
                prop_assert!(!verify_inclusion(leaves[index], at, size, &path, &root));
            }
        }

        #[test]
        fn an_older_tree_is_proved_a_beginning_of_the_newer(newer in 1_usize..300, pick in any::<prop::sample::Index>()) {
            let leaves = leaves(newer);
            let older = pick.index(newer) + 1;
            let (m, n) = (u64::try_from(older).unwrap(), u64::try_from(newer).unwrap());
            let spans = consistency(m, n).unwrap();
            let mut path: Vec<_> = spans.iter().map(|span| span_root(*span, &leaves)).collect();
            prop_assert_eq!(&path, &naive_proof(older, &leaves, true));
            let (old, new) = (naive_root(&leaves[..older]), naive_root(&leaves));
            prop_assert!(verify_consistency((m, &old), (n, &new), &path));
            let other = NodeHash::leaf(b"x");
            prop_assert!(!verify_consistency((m, &other), (n, &new), &path));
            prop_assert!(!verify_consistency((m, &old), (n, &other), &path));
            path.push(other);
            prop_assert!(!verify_consistency((m, &old), (n, &new), &path));
        }
    }

    #[test]
    fn there_is_no_proof_about_what_is_not_there() {
        assert_eq!(inclusion(3, 3), None);
        assert_eq!(consistency(0, 3), None);
        assert_eq!(consistency(4, 3), None);
        let root = NodeHash::empty();
        assert!(!verify_inclusion(root, 0, 0, &[], &root));
        assert!(!verify_consistency((0, &root), (1, &root), &[]));
        assert!(!verify_consistency((3, &root), (4, &root), &[]));
    }

    #[test]
    fn hashes_in_a_row_read_back() {
        let hashes = leaves(3);
        let text = NodeHash::join(hashes.iter().copied());
        assert_eq!(NodeHash::parse_many(&text), Some(hashes));
        assert_eq!(NodeHash::parse_many(&text[1..]), None);
        assert_eq!(NodeHash::parse_many("é"), None);
    }
}
