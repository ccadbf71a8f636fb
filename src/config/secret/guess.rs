//! What somebody who never saw a secret would try first: words of examples and of lists of common
//! passwords, alone, repeated or put together; what repeats itself; what runs up or down; what is
//! made of a few characters. Letters and digits count, whatever stands between them.
//!
//! A secret that passes is not proven good; one that fails is surely bad.

/// Words that stand in examples, forerunners and lists of common passwords. A secret that is put
/// together from these and a few digits is as bad as one of them.
const WORDS: &[&str] = &[
    "0123456789abcdef",
    "a",
    "access",
    "account",
    "actual",
    "admin",
    "an",
    "api",
    "asdfgh",
    "asdfghjkl",
    "at",
    "be",
    "before",
    "bot",
    "by",
    "change",
    "changeit",
    "changeme",
    "changethis",
    "client",
    "commit",
    "correct",
    "default",
    "demo",
    "dev",
    "development",
    "do",
    "dragon",
    "dummy",
    "empty",
    "enter",
    "example",
    "fake",
    "fill",
    "fixme",
    "foobar",
    "for",
    "from",
    "generate",
    "generated",
    "has",
    "here",
    "hundi",
    "hunter2",
    "iloveyou",
    "in",
    "insert",
    "is",
    "it",
    "key",
    "letmein",
    "live",
    "local",
    "long",
    "me",
    "missing",
    "monkey",
    "must",
    "my",
    "need",
    "needed",
    "none",
    "not",
    "now",
    "ntfy",
    "null",
    "of",
    "on",
    "or",
    "own",
    "pass",
    "passw0rd",
    "password",
    "paste",
    "placeholder",
    "please",
    "production",
    "put",
    "qazwsx",
    "qwerty",
    "qwertyuiop",
    "random",
    "razorpay",
    "real",
    "redacted",
    "replace",
    "replaceme",
    "root",
    "rzp",
    "sample",
    "sandbox",
    "secret",
    "set",
    "signing",
    "slack",
    "some",
    "something",
    "string",
    "strong",
    "sunshine",
    "super",
    "tbd",
    "temp",
    "temporary",
    "test",
    "testing",
    "the",
    "this",
    "to",
    "todo",
    "token",
    "top",
    "undefined",
    "unset",
    "use",
    "value",
    "very",
    "webhook",
    "welcome",
    "whsec",
    "with",
    "xoxb",
    "your",
    "zxcvb",
    "zxcvbn",
    "zxcvbnm",
];
/// Digits that are put behind a word to please a rule.
const MAX_DIGITS: usize = 4;
/// Fewest of the same character that stand for something to be filled in.
const MIN_FILLER: usize = 4;
/// Fewest different characters of what is not a pattern.
const MIN_DISTINCT: usize = 5;

/// A word of an example, or a place that was left to be filled in.
pub(super) fn is_placeholder(text: &str) -> bool {
    let bracketed = (text.starts_with('<') && text.ends_with('>'))
        || (text.starts_with('{') && text.ends_with('}'))
        || text.starts_with("${");
    bracketed || is_words(&plain(text))
}

/// A placeholder or a pattern.
pub(super) fn is_guessable(text: &str) -> bool {
    let plain = plain(text);
    let mut seen = plain.clone();
    seen.sort_unstable();
    seen.dedup();
    is_placeholder(text) || seen.len() < MIN_DISTINCT || is_pattern(&plain)
}

/// Whether it repeats itself at least twice, or every byte is one more, or one less, than the byte
/// before.
pub(super) fn is_pattern(bytes: &[u8]) -> bool {
    let repeats =
        (1..=bytes.len() / 2).any(|period| bytes.iter().zip(&bytes[period..]).all(|(a, b)| a == b));
    let runs = |step: u8| {
        bytes
            .windows(2)
            .all(|pair| pair[1] == pair[0].wrapping_add(step))
    };
    repeats || runs(1) || runs(u8::MAX)
}

/// Letters and digits alone, in lower case.
fn plain(text: &str) -> Vec<u8> {
    let bytes = text.bytes().filter(u8::is_ascii_alphanumeric);
    bytes.map(|byte| byte.to_ascii_lowercase()).collect()
}

/// Whether it is put together from [`WORDS`], runs of a few digits and runs of one letter (`xxxx`), at
/// least one of them a word;
/// or is nothing but digits that run up or down.
fn is_words(plain: &[u8]) -> bool {
    // For each place, whether it can be reached, and whether a word was used on the way.
    let mut reached = vec![[false; 2]; plain.len() + 1];
    reached[0][0] = true;
    for at in 0..plain.len() {
        let [bare, worded] = reached[at];
        if !bare && !worded {
            continue;
        }
        let rest = &plain[at..];
        for word in WORDS {
            if rest.starts_with(word.as_bytes()) {
                reached[at + word.len()][1] = true;
            }
        }
        let filler = rest.iter().take_while(|byte| **byte == rest[0]).count();
        if filler >= MIN_FILLER {
            reached[at + filler][0] |= bare;
            reached[at + filler][1] |= worded;
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
        let digits = digits.count();
        // A run is taken whole, so that long numbers are not cut into short ones.
        let starts = at == 0 || !plain[at - 1].is_ascii_digit();
        if starts && (digits <= MAX_DIGITS || is_count(&rest[..digits])) {
            reached[at + digits][0] |= bare && digits > 0;
            reached[at + digits][1] |= worded && digits > 0;
        }
    }
    reached[plain.len()][1] || (plain.iter().all(u8::is_ascii_digit) && is_count(plain))
}

/// `1234567890`: digits that count up or down, beyond nine from zero on.
fn is_count(digits: &[u8]) -> bool {
    let next = |a: u8, b: u8| b == a + 1 || (a == b'9' && b == b'0');
    let up = digits.windows(2).all(|pair| next(pair[0], pair[1]));
    up || digits.windows(2).all(|pair| next(pair[1], pair[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_would_try_is_refused() {
        for text in [
            "changeme-changeme-changeme",
            "Change_Me",
            "change.me.now.please",
            "changeme123",
            "secret",
            "SecretSecret",
            "super-secret-key",
            "my_secret_token_2024",
            "your-webhook-secret",
            "YOUR_WEBHOOK_SECRET_HERE",
            "dev-commit-secret",
            "xoxb-your-token-here",
            "rzp_test_your_key",
            "password123",
            "passw0rd!",
            "replace-me",
            "put-the-real-secret-here",
            "test-test-test",
            "<paste the secret here>",
            "${WEBHOOK_SECRET}",
            "CHANGE_ME_BEFORE_PRODUCTION",
            "example-secret-do-not-use",
            "whsec_xxxxxxxxxxxxxxxxxxxxxxxx",
            "rzp_live_XXXXXXXXXXXXXX",
            "{{ webhook_secret }}",
            "aaaaaaaaaaaa",
            "abababababab",
            "abcabcabcabc",
            "a1b2a1b2a1b2a1b2",
            "zzzzzzzzzzzzzzzy",
            "1212-3434-1122",
            "abcdefghijkl",
            "ponmlkjihgfe",
            "123456789012",
            "9876543210",
            "0123456789abcdef",
            "qwertyuiop",
            "qwerty123456",
        ] {
            assert!(is_guessable(text), "{text:?}");
        }
    }

    #[test]
    fn what_somebody_made_at_random_or_with_thought_passes() {
        for text in [
            "a1b2c3d4",
            "a1b2c3d4e5f6",
            "whsec_of_the_test_suite",
            "good-enough-secret",
            "canary-4711-do-not-show",
            "from-the-file",
            "xoxb-2048-915530-Qm3t9Zk",
            "EnLs21M47BllR3X8PSFtjtbd",
            "8f14e45fceea167a5a36dedd4bea2543",
            "correct horse battery staple",
            "74629105",
        ] {
            assert!(!is_guessable(text), "{text:?}");
        }
    }
}
