//! `password = "..."`, `api_key: ...`, `--token ...`: secrets that are given away by what they are
//! called. The name has to end in a word for a secret, and the value has to look like one: made by
//! chance, or a password that is no word.

use super::chance;
use super::structured::Hit;
use super::text::{self, ALNUM, BARE, BASE64, DOTTED, HEX, OPAQUE, WORD};

/// Words for secrets, in the spellings that code uses.
pub const WORDS: &[&str] = &[
    "password",
    "Password",
    "PASSWORD",
    "passwd",
    "Passwd",
    "PASSWD",
    "passphrase",
    "Passphrase",
    "PASSPHRASE",
    "pwd",
    "Pwd",
    "PWD",
    "secret",
    "Secret",
    "SECRET",
    "token",
    "Token",
    "TOKEN",
    "apikey",
    "apiKey",
    "ApiKey",
    "APIKEY",
    "APIKey",
    "api_key",
    "API_KEY",
    "api-key",
    "Api-Key",
    "API-Key",
    "api key",
    "API key",
    "access_key",
    "accessKey",
    "AccessKey",
    "ACCESS_KEY",
    "access-key",
    "private_key",
    "privateKey",
    "PrivateKey",
    "PRIVATE_KEY",
    "encryption_key",
    "ENCRYPTION_KEY",
    "signing_key",
    "SIGNING_KEY",
    "auth_key",
    "AUTH_KEY",
    "authKey",
    "account_key",
    "accountKey",
    "credential",
    "CREDENTIAL",
    "PASS=",
    "_pass",
    "_PASS",
];
/// What may follow the word in a name and still name the secret itself.
const SUFFIXES: &[&str] = &[
    "",
    "s",
    "key",
    "value",
    "word",
    "accesskey",
    "keyvalue",
    "text",
    "string",
    "hex",
    "base64",
];
/// Longest name and longest value.
const MAX_NAME: usize = 64;
const MAX_VALUE: usize = 512;

/// What is assigned to a name that a word for secrets, at `start` to `end`, is in.
pub fn at(text: &[u8], start: usize, end: usize) -> Option<Hit> {
    let end = if text.get(end - 1) == Some(&b'=') {
        end - 1
    } else {
        end
    };
    let rest = WORD.run(text, end, MAX_NAME);
    if !is_suffix(text::slice(text, end, end + rest)) {
        return None;
    }
    let begin = start - DOTTED.run_back(text, start, MAX_NAME);
    let name = text::slice(text, begin, end + rest);
    let (from, quote) = value_after(text, end + rest, name)?;
    let to = from + value_len(text, from, quote);
    let (from, to) = trimmed(text, from, to, quote);
    let rule = judged(name, text::slice(text, from, to), quote.is_some())?;
    Some((rule, from, to))
}

/// What a value of this name is, if it is a secret. For values that stand alone, as in JSON.
pub fn named(name: &str, value: &str) -> Option<&'static str> {
    let name = name.as_bytes();
    let word = WORDS.iter().filter_map(|word| {
        let at = name
            .windows(word.len())
            .rposition(|part| part == word.as_bytes())?;
        Some(at + word.len())
    });
    let end = word.max()?;
    is_suffix(name.get(end..).unwrap_or_default()).then_some(())?;
    judged(name, value.as_bytes(), true)
}

fn is_suffix(rest: &[u8]) -> bool {
    let rest = rest
        .iter()
        .filter(|byte| ALNUM.has(**byte) && !byte.is_ascii_digit());
    let rest: Vec<u8> = rest.map(u8::to_ascii_lowercase).collect();
    SUFFIXES.iter().any(|suffix| rest == suffix.as_bytes())
}

/// Where the value starts, and the quote it stands in. `None` where nothing is assigned.
fn value_after(text: &[u8], end: usize, name: &[u8]) -> Option<(usize, Option<u8>)> {
    let quoted_name = skip(text, end, b"\\\"'`]");
    let at = skip_spaces(text, quoted_name);
    let flag = name.starts_with(b"-");
    let (at, comma) = match text.get(at..)? {
        [b'=', b'=' | b'>', ..] | [b':', b'=' | b':', ..] => (at + 2, false),
        [b'=' | b':', ..] => (at + 1, false),
        [b'>', ..] => return Some((at + 1, None)),
        [b',', ..] if quoted_name > end => (at + 1, true),
        [b'i', b's', b' ', ..] if at > end => (at + 3, false),
        _ if flag && at > end => (at, false),
        _ => return None,
    };
    let at = skip_spaces(text, at);
    let at = typed(text, at).unwrap_or(at);
    let opened = skip(text, at, b"\\");
    let raw = opened
        + usize::from(matches!(
            text.get(opened..),
            Some([b'b' | b'r' | b'f', b'"', ..])
        ));
    let quote = text.get(raw).copied().filter(|byte| b"\"'`".contains(byte));
    match quote {
        Some(quote) => Some((raw + 1, Some(quote))),
        None if comma => None,
        None => Some((at, None)),
    }
}

/// Behind the type of `NAME: &str = "..."`.
fn typed(text: &[u8], at: usize) -> Option<usize> {
    let opens = |byte: &u8| ALNUM.has(*byte) || *byte == b'&';
    let inside = |byte: &&u8| ALNUM.has(**byte) || b"&'<>:_ []?".contains(byte);
    let rest = text.get(at..)?;
    let len = rest.iter().take(32).take_while(inside).count();
    let assigned = rest
        .get(len..)
        .is_some_and(|rest| rest.starts_with(b"= \""));
    (rest.first().is_some_and(opens) && text::before(text, at + len, 1) == b" " && assigned)
        .then_some(at + len + 2)
}

fn skip(text: &[u8], at: usize, what: &[u8]) -> usize {
    let rest = text.get(at..).unwrap_or_default().iter();
    at + rest.take(3).take_while(|byte| what.contains(byte)).count()
}

fn skip_spaces(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default().iter();
    at + rest
        .take(16)
        .take_while(|byte| b" \t".contains(byte))
        .count()
}

fn value_len(text: &[u8], from: usize, quote: Option<u8>) -> usize {
    match quote {
        Some(quote) => {
            let rest = text.get(from..).unwrap_or_default().iter();
            let open = |byte: &&u8| **byte != quote && !b"\n\r\\".contains(byte);
            rest.take(MAX_VALUE).take_while(open).count()
        }
        None => bare_len(text::slice(
            text,
            from,
            from + BARE.run(text, from, MAX_VALUE),
        )),
    }
}

/// Without the next assignment: in `a=1&b=2` and `a=b=2` the value of `a` ends before `b`, or with it.
fn bare_len(value: &[u8]) -> usize {
    let padding = value.iter().rev().take_while(|byte| **byte == b'=').count();
    let unpadded = value.get(..value.len() - padding).unwrap_or_default();
    let Some(next) = unpadded.iter().position(|byte| *byte == b'=') else {
        return value.len();
    };
    let before = unpadded.get(..next).unwrap_or_default();
    before
        .iter()
        .rposition(|byte| *byte == b'&')
        .unwrap_or(next)
}

/// Without the point or comma that ends the sentence.
fn trimmed(text: &[u8], from: usize, to: usize, quote: Option<u8>) -> (usize, usize) {
    let value = text::slice(text, from, to);
    let points = value
        .iter()
        .rev()
        .take_while(|byte| b".!?:&|".contains(byte));
    match quote {
        Some(_) => (from, to),
        None => (from, to - points.count()),
    }
}

fn judged(name: &[u8], value: &[u8], quoted: bool) -> Option<&'static str> {
    let says = |word: &str| text::mentions(name, word);
    if !(8..=MAX_VALUE).contains(&value.len()) || value.iter().any(u8::is_ascii_whitespace) {
        return None;
    }
    // The dearest questions come last: whoever writes the text may have made many of these.
    let by_chance = OPAQUE.all(value) && chance::is_by_chance(value);
    let pass = says("pass") || says("pwd");
    let typed = (pass || (quoted && says("secret"))) && chance::is_password(value);
    if !by_chance && !typed {
        return None;
    }
    if by_chance && value.len() == 40 && BASE64.all(value) && !HEX.all(value) && says_aws(name) {
        return Some("aws_secret_key");
    }
    if chance::is_placeholder(value) || chance::is_uuid(value) || is_code(value, quoted) {
        return None;
    }
    let known = [
        ("razorpay", "razorpay_key_secret"),
        ("rzp", "razorpay_key_secret"),
        ("twilio", "twilio_secret"),
    ];
    let known = known.iter().find(|(word, _)| by_chance && says(word));
    let rule = if pass { "password" } else { "generic_secret" };
    Some(known.map_or(rule, |(_, rule)| rule))
}

fn says_aws(name: &[u8]) -> bool {
    let words = ["aws", "secretaccess", "secret_access"];
    words.iter().any(|word| text::mentions(name, word))
}

/// A call, a path, a name of something: no value.
fn is_code(value: &[u8], quoted: bool) -> bool {
    let pair = |pair: &[u8]| value.windows(pair.len()).any(|part| part == pair);
    let odd = value.iter().any(|byte| b"(){}[]<>".contains(byte));
    let path = value.first().is_some_and(|first| b"/.&".contains(first));
    let dotted = !quoted && value.iter().filter(|byte| **byte == b'.').count() > 2;
    odd || path || dotted || pair(b"::") || pair(b"->") || pair(b"&&") || pair(b"||")
}
