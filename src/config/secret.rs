//! What makes a secret too weak to start with, for every secret alike, and the settings besides
//! plain secrets that must not be seen: our own keys, and addresses that hold a password.
//!
//! All of them are wiped from memory when dropped and hidden wherever they are shown.

mod guess;

use std::fmt;

use zeroize::Zeroizing;

pub use crate::domain::secret::Secret;

/// What is shown in place of a secret, everywhere.
pub const HIDDEN: &str = "(hidden)";

/// Fewest characters of a secret that a provider issued to us. Theirs are longer; this only
/// catches a slip of the hand.
pub const MIN_ISSUED: usize = 8;
/// Fewest characters of a webhook secret. Whoever guesses it can forge the bank's word, and one
/// signed message lets them guess offline.
pub const MIN_WEBHOOK: usize = 12;
/// Fewest bytes of a key of ours.
pub const MIN_KEY_BYTES: usize = crate::domain::token::MIN_KEY_BYTES;
/// Fewest different bytes in a key: a random one of 32 bytes has about 30.
const MIN_DISTINCT_BYTES: usize = 8;

/// A key of ours: at least 32 bytes that an operator gave as hex.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBytes(Zeroizing<Vec<u8>>);

impl KeyBytes {
    /// Reads hex (either case) of [`MIN_KEY_BYTES`] or more.
    pub fn from_hex(text: &str) -> Result<Self, Weak> {
        if text.is_empty() {
            return Err(Weak::Empty);
        }
        let bytes = unhex(text).ok_or(Weak::NotHex)?;
        if bytes.len() < MIN_KEY_BYTES {
            return Err(Weak::ShortKey(bytes.len()));
        }
        if distinct(&bytes) < MIN_DISTINCT_BYTES || guess::is_pattern(&bytes) {
            return Err(Weak::Guessable);
        }
        // Words, spelt in hex to look like a key.
        let words = str::from_utf8(&bytes).ok();
        let words = words.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        if words.is_some_and(guess::is_guessable) {
            return Err(Weak::Guessable);
        }
        Ok(Self(bytes))
    }

    /// The bytes themselves, for the one place that keys a MAC or a cipher.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The address of a database or of Redis, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnUrl(Secret);

impl ConnUrl {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Secret::new(text))
    }

    /// The whole text, password included.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Display for ConnUrl {
    /// Everything but the password and the query, where drivers accept a password as well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.expose();
        let Ok(mut url) = url::Url::parse(text) else {
            return f.write_str(HIDDEN);
        };
        if url.host().is_none() {
            let path = text.split(['?', '#']).next().unwrap_or_default();
            return f.write_str(path);
        }
        let had_password = url.password().is_some() && url.set_password(Some("hidden")).is_ok();
        let had_query = url.query().is_some();
        url.set_query(None);
        url.set_fragment(None);
        let shown = if had_password {
            url.as_str().replacen(":hidden@", &format!(":{HIDDEN}@"), 1)
        } else {
            url.to_string()
        };
        f.write_str(&shown)?;
        if had_query {
            f.write_str("?...")
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for ConnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a secret is refused. Says what to do, never the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Weak {
    /// Nothing there.
    #[error("is empty: give the real secret, or leave the setting out altogether")]
    Empty,
    /// Too few characters.
    #[error("is too short: it has {len} of the {min} characters it needs at least")]
    Short {
        /// How many it has.
        len: usize,
        /// How many it needs.
        min: usize,
    },
    /// Not random.
    #[error("is a default or guessable secret: put a real one in its place")]
    Guessable,
    /// A line break or another control character.
    #[error("starts or ends with a space, or holds a line break: copy it again")]
    Untidy,
    /// Not hex digits in pairs.
    #[error("is not hex: `openssl rand -hex 32` makes a good one")]
    NotHex,
    /// Too few bytes.
    #[error(
        "is too short: it has {0} of the {MIN_KEY_BYTES} bytes it needs at least (`openssl rand -hex 32` makes a good one)"
    )]
    ShortKey(usize),
}

/// Whether a text can serve as a secret of at least `min` characters.
pub fn check(text: &str, min: usize) -> Result<(), Weak> {
    let len = text.chars().count();
    if text.trim().is_empty() {
        return Err(Weak::Empty);
    }
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err(Weak::Untidy);
    }
    if guess::is_placeholder(text) {
        return Err(Weak::Guessable);
    }
    if len < min {
        return Err(Weak::Short { len, min });
    }
    if guess::is_guessable(text) {
        return Err(Weak::Guessable);
    }
    Ok(())
}

fn distinct(bytes: &[u8]) -> usize {
    let mut seen = [false; 256];
    for byte in bytes {
        seen[usize::from(*byte)] = true;
    }
    seen.into_iter().filter(|seen| *seen).count()
}

/// Reads hex of any length, either case.
pub fn unhex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|v| u8::try_from(v).ok())
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks_exact(2) {
        bytes.push((value(pair[0])? << 4) | value(pair[1])?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn weak_secrets_are_told_apart() {
        let cases: &[(&str, usize, Result<(), Weak>)] = &[
            ("",                         8, Err(Weak::Empty)),
            ("   ",                      8, Err(Weak::Empty)),
            ("a1b2c3d",                  8, Err(Weak::Short { len: 7, min: 8 })),
            ("a1b2c3d4",                 8, Ok(())),
            ("a1b2c3d4e5f",             12, Err(Weak::Short { len: 11, min: 12 })),
            ("a1b2c3d4e5f6",            12, Ok(())),
            ("changeme-changeme-changeme", 12, Err(Weak::Guessable)),
            ("a1b2c3d4\n",               8, Err(Weak::Untidy)),
            (" a1b2c3d4",                8, Err(Weak::Untidy)),
            ("whsec_of_the_test_suite", 12, Ok(())),
        ];
        for (text, min, expected) in cases {
            assert_eq!(check(text, *min), *expected, "{text:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_key_is_hex_of_32_random_bytes_or_more() {
        let good: String = (0..32).map(|i| format!("{:02x}", i * 7)).collect();
        assert_eq!(KeyBytes::from_hex(&good).unwrap().expose().len(), 32);
        assert!(KeyBytes::from_hex(&good.to_uppercase()).is_ok());
        let cases = [
            (String::new(),          Weak::Empty),
            (good[..62].to_owned(),  Weak::ShortKey(31)),
            (good[..63].to_owned(),  Weak::NotHex),
            (good.replace('7', "g"), Weak::NotHex),
            ("ab".repeat(32),        Weak::Guessable),
            ("deadbeef".repeat(8),   Weak::Guessable),
            ("0123456789abcdef".repeat(4), Weak::Guessable),
            ((0..32).map(|i| format!("{i:02x}")).collect(), Weak::Guessable),
            ((0..32).map(|i| format!("{:02x}", 255 - i)).collect(), Weak::Guessable),
            ("changeme-changeme-changeme-change".bytes().map(|b| format!("{b:02x}")).collect(), Weak::Guessable),
        ];
        for (text, expected) in cases {
            assert_eq!(KeyBytes::from_hex(&text), Err(expected), "{text}");
        }
    }

    #[test]
    fn nothing_shows_a_password() {
        let secret = Secret::new("canary-4711");
        let url = ConnUrl::new("postgres://me:canary-4711@db/hundi?password=canary-4711");
        let shown = format!("{secret:?} {url} {url:?}");
        assert!(!shown.contains("4711"), "{shown}");
        assert_eq!(url.to_string(), "postgres://me:(hidden)@db/hundi?...");
        let file = ConnUrl::new("sqlite://./hundi-data/hundi.db?mode=rwc");
        assert!(!file.to_string().contains("mode"), "{file}");
    }
}
