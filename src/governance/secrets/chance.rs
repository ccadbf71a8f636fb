//! Is it made by chance, or by a person with a meaning? What is made by chance has many kinds of
//! characters in no order; names, paths, dates and placeholders do not.

use super::text::{ALNUM, Class, DIGIT, HEX, LOWER, UPPER, mentions};

/// Most of the same character in a row in what is made by chance.
const MOST_ALIKE: usize = 7;
/// Fewest different characters of a key of any length.
const FEWEST_DIFFERENT: usize = 5;
/// Fewest characters of a value that can be told from a word.
const SHORTEST: usize = 16;
/// Fewest characters of hex; a shorter one is an id or a colour.
const SHORTEST_HEX: usize = 20;
/// Longest password that anybody types.
const LONGEST_PASSWORD: usize = 128;
/// See [`is_spread`]. Hex has sixteen characters, and a short piece of it cannot have all of them.
const DIFFERS: usize = 7;

/// Texts that stand where a secret belongs, in documentation and templates.
const PLACEHOLDERS: &[&str] = &[
    "example",
    "changeme",
    "change-me",
    "change_me",
    "placeholder",
    "your-",
    "your_",
    "sample",
    "dummy",
    "fake",
    "redacted",
    "insert",
    "replace",
    "xxxx",
    "****",
    "....",
    "todo",
    "undefined",
    "not-a-",
    "not_a_",
    "notasecret",
    "notreal",
    "lorem",
    "foobar",
];
/// Words that passwords of examples are put together from.
const WORDS: &[&str] = &[
    "a",
    "admin",
    "anoncvs",
    "anonymous",
    "api",
    "app",
    "bar",
    "changeit",
    "changeme",
    "database",
    "db",
    "default",
    "demo",
    "dev",
    "example",
    "foo",
    "guest",
    "here",
    "key",
    "local",
    "me",
    "my",
    "mysql",
    "none",
    "null",
    "of",
    "pass",
    "passwd",
    "password",
    "pg",
    "postgres",
    "prod",
    "pw",
    "pwd",
    "redis",
    "replace",
    "root",
    "sample",
    "secret",
    "some",
    "super",
    "test",
    "the",
    "this",
    "token",
    "user",
    "username",
    "value",
    "x",
    "xxx",
    "your",
];

/// Nothing but a filling: one character over and over, or hardly any others.
pub fn is_filling(body: &[u8]) -> bool {
    let mut seen = [false; 256];
    let mut different = 0;
    let (mut alike, mut most) = (0, 0);
    let mut last = None;
    for byte in body {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            different += usize::from(!*seen);
            *seen = true;
        }
        alike = if last == Some(*byte) { alike + 1 } else { 1 };
        most = most.max(alike);
        last = Some(*byte);
    }
    different < FEWEST_DIFFERENT || most > MOST_ALIKE
}

/// Something to be filled in, a reference to where the secret is, or a word of an example.
pub fn is_placeholder(value: &[u8]) -> bool {
    let opens = value.first().is_none_or(|first| b"$<{%[".contains(first));
    let names = PLACEHOLDERS.iter().any(|word| mentions(value, word));
    opens || names || value.windows(3).any(|three| three == b"://") || is_words(value)
}

/// Whether it is put together from [`WORDS`], and digits at most.
pub fn is_words(value: &[u8]) -> bool {
    let letters = value
        .iter()
        .filter(|byte| !DIGIT.has(**byte) && ALNUM.has(**byte));
    let letters: Vec<u8> = letters.map(u8::to_ascii_lowercase).collect();
    // For each place, whether it can be reached by whole words.
    let mut reached = vec![false; letters.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for at in 0..letters.len() {
        if !reached.get(at).copied().unwrap_or_default() {
            continue;
        }
        let rest = letters.get(at..).unwrap_or_default();
        for word in WORDS
            .iter()
            .filter(|word| rest.starts_with(word.as_bytes()))
        {
            if let Some(end) = reached.get_mut(at + word.len()) {
                *end = true;
            }
        }
    }
    reached.last().copied().unwrap_or_default()
}

/// `8-4-4-4-12` digits of hex.
pub fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A long value that no person thought of: a key, a token, a hash.
pub fn is_by_chance(value: &[u8]) -> bool {
    if value.len() < SHORTEST || is_filling(value) || is_uuid(value) || !is_spread(value) {
        return false;
    }
    // Names are joined from short parts, and keys have a long one.
    let longest = value.split(|byte| !ALNUM.has(*byte) && !b"+/".contains(byte));
    let Some(longest) = longest.max_by_key(|part| part.len()) else {
        return false;
    };
    if longest.len() < SHORTEST / 2 {
        return false;
    }
    let kinds = Kinds::of(longest);
    let hex = HEX.all(value) && value.len() >= SHORTEST_HEX && kinds.digits > 1 && kinds.lower > 1;
    let turns = kinds.turns * 4 >= longest.len();
    let mixed = kinds.digit_runs >= 3 && turns && kinds.digits * 4 <= longest.len() * 3;
    let cases = kinds.upper >= 3 && kinds.lower >= 3;
    // Without a digit it could be a name in camel case, of which the case changes less often.
    let digits = kinds.digits > 0 || longest.len() >= 2 * SHORTEST;
    let restless = longest.len() > SHORTEST && kinds.turns * 9 >= longest.len() * 4;
    let cased = cases && (digits || restless) && kinds.turns * 5 >= longest.len() * 2;
    hex || mixed || cased
}

/// Behind a prefix that only keys have: of more than one kind of characters, and no placeholder. Words
/// in lower case with dashes between them are what a person writes there.
pub fn is_mixed(value: &[u8]) -> bool {
    let kinds = Kinds::of(value);
    let letters = kinds.lower + kinds.upper;
    let mixed = (kinds.digits > 0 && letters > 0) || (kinds.lower > 2 && kinds.upper > 2);
    mixed && !is_filling(value) && is_spread(value) && !is_placeholder(value)
}

/// A password that a person made and that is no word: of three kinds of characters at least, a digit
/// among them.
pub fn is_password(value: &[u8]) -> bool {
    if !(8..=LONGEST_PASSWORD).contains(&value.len()) {
        return false;
    }
    let kinds = Kinds::of(value);
    let symbols = value.iter().any(|byte| b"!@#$%^&*?+~|".contains(byte));
    let odd = value.iter().any(|byte| b"()[]{}<>\\/\"'`;".contains(byte));
    let mixed = kinds.lower > 0 && kinds.digits > 0 && (kinds.upper > 0 || symbols);
    mixed && !odd && !is_filling(value) && !is_words(value)
}

/// How many of each kind, and how often the kind changes.
struct Kinds {
    lower: usize,
    upper: usize,
    digits: usize,
    digit_runs: usize,
    turns: usize,
}

impl Kinds {
    fn of(value: &[u8]) -> Self {
        let count = |class: Class| value.iter().filter(|byte| class.has(**byte)).count();
        let kind = |byte: &u8| {
            [DIGIT, UPPER, LOWER]
                .iter()
                .position(|class| class.has(*byte))
        };
        let pairs = || value.windows(2).filter_map(|pair| pair.split_first());
        let turned = pairs().filter(|(a, b)| b.first().map(kind) != Some(kind(a)));
        let into_digits = pairs()
            .filter(|(a, b)| !DIGIT.has(**a) && b.first().is_some_and(|byte| DIGIT.has(*byte)));
        let starts = value.first().is_some_and(|byte| DIGIT.has(*byte));
        Self {
            lower: count(LOWER),
            upper: count(UPPER),
            digits: count(DIGIT),
            digit_runs: into_digits.count() + usize::from(starts),
            turns: turned.count(),
        }
    }
}

/// Whether two characters of it, taken at random, are rarely the same: less than one time in
/// [`DIFFERS`]. English has fewer different ones, in a text this short.
fn is_spread(value: &[u8]) -> bool {
    let mut counts = [0_usize; 256];
    for byte in value {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let same: usize = counts.into_iter().map(|count| count * count).sum();
    same * DIFFERS <= value.len() * value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_by_chance_is_told_from_what_has_a_meaning() {
        for value in [
            "8f14e45fceea167a5a36dedd4bea2543",
            "EnLs21M47BllR3X8PSFtjtbd",
            "k3v9q2m8x1z7w4p6",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYzzzz",
            "QmFzZTY0IGlzIG5vdCBhIHNlY3JldCBhbG9u",
        ] {
            assert!(is_by_chance(value.as_bytes()), "{value}");
        }
        for value in [
            "",
            "short1A2b3",
            "my_long_identifier_of_a_thing",
            "getResponseHeaderValueOrDefault",
            "2026-11-20T10:00:00.000Z",
            "550e8400-e29b-41d4-a716-446655440000",
            "arn:aws:iam::123456789012:role/deploy",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "00000000000000000000000000000000",
            "aes-256-gcm-then-hmac-sha-512",
            "123456789012345678901234",
        ] {
            assert!(!is_by_chance(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_password_is_told_from_a_word_of_an_example() {
        for value in ["Tr0ub4dor&3", "s3cr3t!pass9", "kX9vQ2mZ"] {
            assert!(is_password(value.as_bytes()), "{value}");
        }
        for value in [
            "hunter",
            "Password123",
            "MySecretKey1",
            "aaaaaaaa1A",
            "fn(Value1)",
            "A1b",
        ] {
            assert!(!is_password(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn examples_are_placeholders() {
        for value in [
            "${TOKEN}",
            "<token>",
            "your-api-key-0123",
            "changeme",
            "mysecretpassword1",
        ] {
            assert!(is_placeholder(value.as_bytes()), "{value}");
        }
        assert!(!is_placeholder(b"EnLs21M47BllR3X8PSFtjtbd"));
    }
}
