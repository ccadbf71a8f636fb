//! As much of CBOR (RFC 8949) as authenticators speak: definite lengths, no tags, no floats.
//! Anything else is not readable, and so does not hold.

/// Deepest nesting that is read.
const DEEP: usize = 8;
/// Most entries of one list or map.
const MOST: u64 = 256;

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Cbor<'a> {
    Number(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    List(Vec<Cbor<'a>>),
    Map(Vec<(Cbor<'a>, Cbor<'a>)>),
    /// True, false, null.
    Simple(u8),
}

impl<'a> Cbor<'a> {
    /// One value that is all there is.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (value, rest) = value(bytes, DEEP)?;
        rest.is_empty().then_some(value)
    }

    /// How many bytes the first value takes.
    pub fn length(bytes: &[u8]) -> Option<usize> {
        let (_, rest) = value(bytes, DEEP)?;
        bytes.len().checked_sub(rest.len())
    }

    /// The bytes, if it is those.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Cbor::Bytes(bytes) => Some(bytes),
            Cbor::Number(_) | Cbor::Text(_) | Cbor::List(_) | Cbor::Map(_) | Cbor::Simple(_) => {
                None
            }
        }
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<i64> {
        match self {
            Cbor::Number(number) => Some(*number),
            Cbor::Bytes(_) | Cbor::Text(_) | Cbor::List(_) | Cbor::Map(_) | Cbor::Simple(_) => None,
        }
    }

    /// The entry of a map under this text.
    pub fn text_key(&self, name: &str) -> Option<&Self> {
        self.entry(&Cbor::Text(name))
    }

    /// The entry of a map under this number.
    pub fn number_key(&self, number: i64) -> Option<&Self> {
        self.entry(&Cbor::Number(number))
    }

    /// The entry under this key, if there is exactly one: of two, nobody knows which is meant.
    fn entry(&self, key: &Cbor<'_>) -> Option<&Self> {
        let entries = match self {
            Cbor::Map(entries) => entries,
            Cbor::Number(_) | Cbor::Bytes(_) | Cbor::Text(_) | Cbor::List(_) | Cbor::Simple(_) => {
                return None;
            }
        };
        let mut found = entries.iter().filter(|(name, _)| name == key);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}

fn value(bytes: &[u8], deep: usize) -> Option<(Cbor<'_>, &[u8])> {
    let deep = deep.checked_sub(1)?;
    let (first, rest) = bytes.split_first()?;
    let (kind, short) = (first >> 5, first & 0x1f);
    if kind == 7 {
        return matches!(short, 20..=22).then_some((Cbor::Simple(short), rest));
    }
    let (count, mut rest) = count(short, rest)?;
    Some(match kind {
        0 => (Cbor::Number(i64::try_from(count).ok()?), rest),
        1 => (Cbor::Number(-1 - i64::try_from(count).ok()?), rest),
        2 | 3 => {
            let (text, rest) = rest.split_at_checked(usize::try_from(count).ok()?)?;
            match kind {
                2 => (Cbor::Bytes(text), rest),
                _ => (Cbor::Text(std::str::from_utf8(text).ok()?), rest),
            }
        }
        4 if count <= MOST => {
            let mut items = Vec::new();
            for _ in 0..count {
                let (item, after) = value(rest, deep)?;
                items.push(item);
                rest = after;
            }
            (Cbor::List(items), rest)
        }
        5 if count <= MOST => {
            let mut entries = Vec::new();
            for _ in 0..count {
                let (name, after) = value(rest, deep)?;
                let (entry, after) = value(after, deep)?;
                entries.push((name, entry));
                rest = after;
            }
            (Cbor::Map(entries), rest)
        }
        _ => return None,
    })
}

fn count(short: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    let width = match short {
        0..=23 => return Some((short.into(), rest)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(width)?;
    let number = digits
        .iter()
        .fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_authenticators_speak_is_read_and_nothing_else() {
        let map = [0xa2, 0x01, 0x02, 0x61, b'a', 0x43, 1, 2, 3];
        let read = Cbor::read(&map).unwrap();
        assert_eq!(read.number_key(1).and_then(Cbor::number), Some(2));
        assert_eq!(
            read.text_key("a").and_then(Cbor::bytes),
            Some(&[1, 2, 3][..])
        );
        assert_eq!(Cbor::read(&[0x38, 0xff]).unwrap().number(), Some(-256));
        assert_eq!(Cbor::length(&[0x82, 0x01, 0x20, 0xff]), Some(3));
        let bad: [&[u8]; 9] = [
            &[],
            &[0x43, 1, 2],
            &[0x5f, 0xff],
            &[0xc0, 0x01],
            &[0xf9, 0, 0],
            &[0x61, 0xff],
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x01, 0x01],
            &[0x81; 40],
        ];
        for bytes in bad {
            assert_eq!(Cbor::read(bytes), None, "{bytes:?}");
        }
        let twice = [0xa2, 0x01, 0x02, 0x01, 0x03];
        assert_eq!(Cbor::read(&twice).unwrap().number_key(1), None);
    }
}
