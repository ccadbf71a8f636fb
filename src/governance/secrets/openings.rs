//! Looks for everything at once that could open a secret: some hundred short texts.
//!
//! A filter by three bytes comes first, whose answer for one place does not wait for the one before,
//! as that of an automaton does; measured, it is twice as fast as Aho-Corasick over the same texts,
//! whose table is beyond the nearest cache. What passes is compared with the few openings that start
//! in this way.

use super::text::Class;

/// Places that are filtered in one step.
const STEP: usize = 8;
/// Bytes that the filter looks at.
const HEAD: usize = 3;
/// Bits of the filter, as a power of two.
const FILTER_BITS: u32 = 15;
const FILTER_WORDS: usize = 1 << (FILTER_BITS - 6);

/// What is looked for; each is called by its number.
#[derive(Debug)]
pub struct Openings {
    filter: Box<[u64; FILTER_WORDS]>,
    /// For each bit of the filter, where its openings start in the list; and one more, where they end.
    starts: Vec<u16>,
    /// The openings, by their bit.
    list: Vec<(usize, &'static str)>,
}

impl Openings {
    /// Of these texts, in this order. One that is shorter than the filter needs is given with the
    /// class of what follows it.
    pub fn new(texts: impl Iterator<Item = (&'static str, Option<Class>)>) -> Self {
        let mut all: Vec<(usize, usize, &'static str)> = Vec::new();
        for (number, (text, next)) in texts.enumerate() {
            all.extend(bits(text.as_bytes(), next).map(|bit| (bit, number, text)));
        }
        all.sort_unstable();
        all.dedup();
        let mut filter = Box::new([0; FILTER_WORDS]);
        for (bit, ..) in &all {
            if let Some(word) = filter.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        let before = |bit: usize| all.partition_point(|(other, ..)| *other < bit);
        let starts =
            (0..=1 << FILTER_BITS).map(|bit| u16::try_from(before(bit)).unwrap_or(u16::MAX));
        Self {
            filter,
            starts: starts.collect(),
            list: all
                .iter()
                .map(|(_, number, text)| (*number, *text))
                .collect(),
        }
    }

    /// Calls with the number of each opening that stands somewhere, and where, in order of place.
    pub fn each(&self, text: &[u8], mut open: impl FnMut(usize, usize, usize)) {
        let mut at = 0;
        while let Some(bytes) = text
            .get(at..)
            .and_then(<[u8]>::first_chunk::<{ STEP + HEAD - 1 }>)
        {
            let mut passed = 0_u8;
            for (bit, head) in bytes.array_windows::<HEAD>().enumerate() {
                passed |= u8::from(self.passes(*head)) << bit;
            }
            while passed != 0 {
                let place = at + usize::try_from(passed.trailing_zeros()).unwrap_or_default();
                self.at(text, place, &mut open);
                passed &= passed - 1;
            }
            at += STEP;
        }
        (at..text.len()).for_each(|place| self.at(text, place, &mut open));
    }

    fn passes(&self, head: [u8; HEAD]) -> bool {
        let bit = bit(head);
        let word = self.filter.get(bit / 64 % FILTER_WORDS);
        word.is_some_and(|word| word >> (bit % 64) & 1 != 0)
    }

    fn at(&self, text: &[u8], at: usize, open: &mut impl FnMut(usize, usize, usize)) {
        let rest = text.get(at..).unwrap_or_default();
        let Some(head) = rest.first_chunk::<HEAD>() else {
            return;
        };
        let bit = bit(*head);
        let start = |bit: usize| usize::from(self.starts.get(bit).copied().unwrap_or_default());
        let same = self
            .list
            .get(start(bit)..start(bit + 1))
            .unwrap_or_default();
        for (number, what) in same {
            if rest.starts_with(what.as_bytes()) {
                open(*number, at, at + what.len());
            }
        }
    }
}

/// The bits of all beginnings of an opening.
fn bits(text: &[u8], next: Option<Class>) -> impl Iterator<Item = usize> {
    let (a, b, c) = (
        text.first().copied(),
        text.get(1).copied(),
        text.get(2).copied(),
    );
    let follows = move |byte: &u8| match c {
        Some(c) => c == *byte,
        None => next.is_none_or(|next| next.has(*byte)),
    };
    let heads = (0..=u8::MAX).filter(follows);
    heads.filter_map(move |c| Some(bit([a?, b?, c])))
}

/// The bit of the filter for three bytes.
fn bit([a, b, c]: [u8; HEAD]) -> usize {
    let mixed = u32::from_le_bytes([a, b, c, 0]).wrapping_mul(0x9e37_79b1);
    usize::try_from(mixed >> (32 - FILTER_BITS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::text::DIGIT;
    use super::*;

    fn found(text: &str) -> Vec<(usize, usize)> {
        let texts = [
            ("abc", None),
            ("abcd", None),
            ("bcd", None),
            ("1/", Some(DIGIT)),
        ];
        let mut found = Vec::new();
        Openings::new(texts.into_iter()).each(text.as_bytes(), |number, start, end| {
            assert_eq!(&text[start..end], texts[number].0);
            found.push((number, start));
        });
        found
    }

    #[test]
    fn every_opening_is_seen_wherever_it_stands() {
        for before in 0..20 {
            for after in 0..20 {
                let text = format!("{}abcd{}", "x".repeat(before), "y".repeat(after));
                let expected = [(0, before), (1, before), (2, before + 1)];
                assert_eq!(found(&text), expected, "{text}");
            }
        }
        assert_eq!(found("1/1/x1/2"), [(3, 0), (3, 5)]);
        assert_eq!(found("ab"), []);
        assert_eq!(found(""), []);
    }
}
