//! Bytes, classes of bytes, and what stands beside a place in a text.
//!
//! Everything works on bytes: a secret is ASCII, and whatever else a text is made of only has to be
//! passed over. No function here can fail or look outside the text.

/// A set of classes of ASCII characters, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class(u16);

const DIGIT_BIT: u16 = 1;
const LOW_HEX_BIT: u16 = 1 << 1;
const LOW_BIT: u16 = 1 << 2;
const UP_HEX_BIT: u16 = 1 << 3;
const UP_BIT: u16 = 1 << 4;
const UNDERSCORE_BIT: u16 = 1 << 5;
const DASH_BIT: u16 = 1 << 6;
const BASE64_BIT: u16 = 1 << 7;
const EQUALS_BIT: u16 = 1 << 8;
const DOT_BIT: u16 = 1 << 9;
const TILDE_BIT: u16 = 1 << 10;
const PERCENT_BIT: u16 = 1 << 11;
const PUNCTUATION_BIT: u16 = 1 << 12;
const COLON_BIT: u16 = 1 << 13;

/// `0-9`
pub const DIGIT: Class = Class(DIGIT_BIT);
/// `A-Z`
pub const UPPER: Class = Class(UP_HEX_BIT | UP_BIT);
/// `a-z`
pub const LOWER: Class = Class(LOW_HEX_BIT | LOW_BIT);
/// `0-9a-f`
pub const HEX: Class = Class(DIGIT_BIT | LOW_HEX_BIT);
/// `0-9A-Fa-f`
pub const ANY_HEX: Class = HEX.or(Class(UP_HEX_BIT));
/// `0-9A-Z`
pub const UPPER_NUM: Class = UPPER.or(DIGIT);
/// `0-9a-z`
pub const LOWER_NUM: Class = LOWER.or(DIGIT);
/// `0-9A-Za-z`
pub const ALNUM: Class = UPPER.or(LOWER).or(DIGIT);
/// `0-9A-Za-z_`
pub const IDENT: Class = ALNUM.or(Class(UNDERSCORE_BIT));
/// `0-9A-Za-z_-`, the alphabet of base64url
pub const WORD: Class = IDENT.or(Class(DASH_BIT));
/// `0-9A-Za-z+/`
pub const BASE64: Class = ALNUM.or(Class(BASE64_BIT));
/// Base64 of either alphabet, with its padding
pub const PADDED: Class = WORD.or(Class(BASE64_BIT | EQUALS_BIT));
/// Base64url with dots
pub const DOTTED: Class = WORD.or(Class(DOT_BIT));
/// What opaque tokens are made of: base64 of either alphabet, dots, tildes, percents, colons
pub const OPAQUE: Class = PADDED.or(Class(DOT_BIT | TILDE_BIT | PERCENT_BIT));
/// Base64url with dots and tildes
pub const TILDED: Class = DOTTED.or(Class(TILDE_BIT));
/// Base64 as it stands in a URL
pub const ESCAPED: Class = BASE64.or(Class(PERCENT_BIT | EQUALS_BIT));
/// What a password without quotes can be made of
pub const BARE: Class = OPAQUE.or(Class(PUNCTUATION_BIT | COLON_BIT));

const CLASSES: [u16; 256] = classes();

const fn classes() -> [u16; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT_BIT,
            b'a'..=b'f' => LOW_HEX_BIT,
            b'g'..=b'z' => LOW_BIT,
            b'A'..=b'F' => UP_HEX_BIT,
            b'G'..=b'Z' => UP_BIT,
            b'_' => UNDERSCORE_BIT,
            b'-' => DASH_BIT,
            b'+' | b'/' => BASE64_BIT,
            b'=' => EQUALS_BIT,
            b'.' => DOT_BIT,
            b'~' => TILDE_BIT,
            b'%' => PERCENT_BIT,
            b'!' | b'@' | b'#' | b'$' | b'^' | b'&' | b'*' | b'?' | b'|' => PUNCTUATION_BIT,
            b':' => COLON_BIT,
            _ => 0,
        };
        byte += 1;
    }
    classes
}

impl Class {
    const fn or(self, other: Class) -> Class {
        Class(self.0 | other.0)
    }

    /// Whether the byte belongs to it.
    pub fn has(self, byte: u8) -> bool {
        CLASSES[usize::from(byte)] & self.0 != 0
    }

    /// How many bytes from `at` on belong to it, counted up to `most`.
    pub fn run(self, text: &[u8], at: usize, most: usize) -> usize {
        let rest = text.get(at..).unwrap_or_default();
        rest.iter().take(most).take_while(|b| self.has(**b)).count()
    }

    /// How many bytes before `at` belong to it, counted up to `most`.
    pub fn run_back(self, text: &[u8], at: usize, most: usize) -> usize {
        let before = text.get(..at).unwrap_or_default();
        let before = before.iter().rev();
        before.take(most).take_while(|b| self.has(**b)).count()
    }

    /// Whether every byte belongs to it.
    pub fn all(self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.has(*byte))
    }
}

/// The bytes of a range, or nothing where it is not inside the text.
pub fn slice(text: &[u8], start: usize, end: usize) -> &[u8] {
    text.get(start..end).unwrap_or_default()
}

/// Whether `what` stands at `at`.
pub fn stands(text: &[u8], at: usize, what: &str) -> bool {
    text.get(at..)
        .is_some_and(|rest| rest.starts_with(what.as_bytes()))
}

/// The last `most` bytes before `at`.
pub fn before(text: &[u8], at: usize, most: usize) -> &[u8] {
    slice(text, at.saturating_sub(most), at)
}

/// Whether a word can start at `at`: what stands before is no part of it. The letter of an escape
/// (`\n`, `%3D`, `\u003d`) is not, although it is a letter.
pub fn starts_word(text: &[u8], at: usize) -> bool {
    let Some(last) = before(text, at, 1).first() else {
        return true;
    };
    if !IDENT.has(*last) {
        return true;
    }
    match before(text, at, 6) {
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        [.., b'%', a, b] => ANY_HEX.has(*a) && ANY_HEX.has(*b),
        [b'\\', b'u', hex @ ..] => hex.len() == 4 && ANY_HEX.all(hex),
        _ => false,
    }
}

/// Whether a word that ends at `at` is not carried on.
pub fn ends_word(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|byte| !IDENT.has(*byte))
}

/// Whether `word`, which is lower case, occurs, in whatever case.
pub fn mentions(text: &[u8], word: &str) -> bool {
    let len = word.len().max(1);
    text.windows(len)
        .any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_starts_after_an_escape_and_not_inside_a_word() {
        for (text, starts) in [
            ("", true),
            (" ", true),
            ("=", true),
            ("-", true),
            (r"a\n", true),
            ("%3D", true),
            (r"\u003d", true),
            ("an", false),
            ("_", false),
            ("7", false),
            ("3D", false),
        ] {
            assert_eq!(starts_word(text.as_bytes(), text.len()), starts, "{text:?}");
        }
    }

    #[test]
    fn runs_stop_at_the_ends_of_the_text_and_at_the_most() {
        assert_eq!(HEX.run(b"abcx", 0, 9), 3);
        assert_eq!(HEX.run(b"abcx", 0, 2), 2);
        assert_eq!(HEX.run(b"abc", 7, 9), 0);
        assert_eq!(HEX.run_back(b"xabc", 4, 9), 3);
        assert_eq!(HEX.run_back(b"xabc", 9, 9), 0);
    }
}
