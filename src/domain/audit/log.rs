//! Appending: records become leaves, leaves fill tiles, and the log knows its head.
//!
//! A tile is 256 leaves in a row. A full one never changes again; it keeps the hash of each
//! record, so that a record changed in the store can be named, and proofs need few reads. The
//! roots of 256 tiles are a tile of the next level, and so on.

use super::super::merkle::{Frontier, Node, NodeHash, root_of};
use super::super::time::Timestamp;
use super::Head;

/// Hashes in a full tile, as a power of two.
pub const TILE_LEVELS: u32 = 8;
/// Hashes in a full tile.
pub const TILE: usize = 1 << TILE_LEVELS;

/// One sealed record: its number and its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The record's sequence number.
    pub seq: i64,
    /// The hash of its spelling.
    pub hash: NodeHash,
}

/// A full tile of leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tile {
    /// Counted from 0.
    pub index: u64,
    /// All its leaves.
    pub leaves: Vec<Leaf>,
}

impl Tile {
    /// The root of its subtree.
    pub fn root(&self) -> NodeHash {
        subtree(self.leaves.iter().map(|leaf| leaf.hash))
    }
}

/// The growing end of one organisation's log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Log {
    frontier: Frontier,
    tail: Vec<Leaf>,
}

impl Log {
    /// From what a store kept; `None` if the parts do not belong together.
    pub fn from_parts(frontier: Frontier, tail: Vec<Leaf>) -> Option<Self> {
        let rest = frontier.size() % TILE as u64;
        let fits = u64::try_from(tail.len()) == Ok(rest);
        fits.then_some(Self { frontier, tail })
    }

    /// The tree's right edge.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The leaves after the last full tile.
    pub fn tail(&self) -> &[Leaf] {
        &self.tail
    }

    /// How many records are in it.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// What there is to sign.
    pub fn head(&self, at: Timestamp) -> Head {
        Head {
            tree_size: self.size(),
            root_hash: self.frontier.root(),
            at,
        }
    }

    /// Appends one record, and hands over the tile that it filled, if it did.
    pub fn append(&mut self, seq: i64, line: &str) -> Option<Tile> {
        let leaf = Leaf {
            seq,
            hash: NodeHash::leaf(line.as_bytes()),
        };
        self.frontier.push(leaf.hash);
        self.tail.push(leaf);
        (self.tail.len() == TILE).then(|| Tile {
            index: (self.size() >> TILE_LEVELS) - 1,
            leaves: std::mem::take(&mut self.tail),
        })
    }
}

/// Where a node's subtree stands in the tiles: so many hashes of one tile, from `offset` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Level of the tile; 0 holds leaves.
    pub level: u32,
    /// Which tile of that level.
    pub tile: u64,
    /// The first of its hashes that belong to the node.
    pub offset: usize,
    /// How many belong to it; a power of two.
    pub count: usize,
}

/// Where to find what a complete subtree is made of.
pub fn place(node: Node) -> Place {
    let within = node.level % TILE_LEVELS;
    let first = node.index << within;
    let tile = TILE as u64;
    Place {
        level: node.level / TILE_LEVELS,
        tile: first / tile,
        // Below 256, so it fits.
        offset: usize::try_from(first % tile).unwrap_or(0),
        count: 1 << within,
    }
}

/// The root over a row of hashes.
pub fn subtree(hashes: impl IntoIterator<Item = NodeHash>) -> NodeHash {
    let mut frontier = Frontier::default();
    for hash in hashes {
        frontier.push(hash);
    }
    root_of(frontier.peaks())
}

#[cfg(test)]
mod tests {
    use super::super::super::merkle::{Span, inclusion, verify_inclusion};
    use super::*;
    use std::collections::BTreeMap;

    /// Every level's tiles, partial ones included, as a store would keep them.
    fn tiles(leaves: &[NodeHash]) -> BTreeMap<(u32, u64), Vec<NodeHash>> {
        let mut tiles = BTreeMap::new();
        let mut row = leaves.to_vec();
        for level in 0..4 {
            for (index, chunk) in row.chunks(TILE).enumerate() {
                tiles.insert((level, u64::try_from(index).unwrap()), chunk.to_vec());
            }
            row = row
                .chunks_exact(TILE)
                .map(|chunk| subtree(chunk.iter().copied()))
                .collect();
        }
        tiles
    }

    #[test]
    fn tiles_hold_every_node_of_every_proof() {
        let count: u64 = 70_000;
        let lines: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let leaves: Vec<_> = lines.iter().map(|l| NodeHash::leaf(l.as_bytes())).collect();
        let tiles = tiles(&leaves);
        let root_of_span = |span: Span| {
            let node = |node| {
                let place = place(node);
                let tile = &tiles[&(place.level, place.tile)];
                let part = &tile[place.offset..place.offset + place.count];
                subtree(part.iter().copied())
            };
            root_of(&span.nodes().into_iter().map(node).collect::<Vec<_>>())
        };
        let root = subtree(leaves.iter().copied());
        for index in [0, 1, 255, 256, 65_535, 65_536, 69_999] {
            let path: Vec<_> = inclusion(index, count)
                .unwrap()
                .into_iter()
                .map(root_of_span)
                .collect();
            let leaf = leaves[usize::try_from(index).unwrap()];
            assert!(
                verify_inclusion(leaf, index, count, &path, &root),
                "{index}"
            );
        }
    }

    #[test]
    fn a_log_hands_over_each_full_tile_once() {
        let mut log = Log::default();
        let mut full = Vec::new();
        for seq in 0..600 {
            full.extend(log.append(seq * 2, &seq.to_string()));
        }
        assert_eq!(full.iter().map(|t| t.index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(full[1].leaves[0].seq, 512);
        assert_eq!((log.size(), log.tail().len()), (600, 88));
        assert_eq!(
            log.frontier().peaks()[0],
            subtree([full[0].root(), full[1].root()])
        );
        let (frontier, tail) = (log.frontier().clone(), log.tail().to_vec());
        assert_eq!(Log::from_parts(frontier.clone(), tail), Some(log));
        assert_eq!(Log::from_parts(frontier, Vec::new()), None);
    }
}
