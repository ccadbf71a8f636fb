//! Makes new inputs out of old ones, from a seed: the same seed, corpus and dictionary give the
//! same input for ever.

/// Longest input made; longer ones test a length check over and over.
const MAX_BYTES: usize = 8 * 1024;
/// Most changes to one input.
const MAX_CHANGES: u64 = 6;
/// Bytes that mean something to most readers.
const LOUD: &[u8] = b"\0\t\n \"\\{}[]:,.-+eE019auz%=&\x7f\x80\xbf\xc0\xc3\xed\xef\xf0\xff";

/// SplitMix64: small, and the same everywhere.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to `n - 1`; 0 if there is nothing to choose from.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n.max(1) as u64)).unwrap()
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

/// One of the inputs, changed a few times.
pub fn mutated(dice: &mut Dice, inputs: &[Vec<u8>], dictionary: &[&str]) -> Vec<u8> {
    let mut bytes = dice.pick(inputs).cloned().unwrap_or_default();
    for _ in 0..=dice.next() % MAX_CHANGES {
        change(dice, &mut bytes, inputs, dictionary);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(dice: &mut Dice, bytes: &mut Vec<u8>, inputs: &[Vec<u8>], dictionary: &[&str]) {
    let at = dice.below(bytes.len() + 1);
    let some = 1 + dice.below(8);
    let end = (at + some).min(bytes.len());
    match dice.below(10) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        1 => {
            if let (Some(byte), Some(loud)) = (bytes.get_mut(at), dice.pick(LOUD)) {
                *byte = *loud;
            }
        }
        2 => bytes.insert(at, dice.pick(LOUD).copied().unwrap_or(0)),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let word = dice.pick(dictionary).copied().unwrap_or_default();
            bytes.splice(at..at, word.bytes());
        }
        5 => {
            let word = dice.pick(dictionary).copied().unwrap_or_default();
            let (from, to) = word_around(bytes, at);
            bytes.splice(from..to, word.bytes());
        }
        6 => {
            // A part twice: keys, digits, brackets.
            let part = bytes[at..end].to_vec();
            for _ in 0..=dice.below(40) {
                bytes.splice(at..at, part.iter().copied());
            }
        }
        7 => bytes.truncate(at),
        8 => {
            let other = dice.pick(inputs).cloned().unwrap_or_default();
            let from = dice.below(other.len() + 1);
            let to = (from + 1 + dice.below(64)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        _ => {
            let other = dice.pick(inputs).cloned().unwrap_or_default();
            let from = dice.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
    bytes.truncate(MAX_BYTES);
}

/// The run of word characters around a place: a number, a key, a name.
fn word_around(bytes: &[u8], at: usize) -> (usize, usize) {
    let inside = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let before = bytes[..at].iter().rev().take_while(inside).count();
    let after = bytes[at..].iter().take_while(inside).count();
    (at - before, at + after)
}
