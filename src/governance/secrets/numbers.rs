//! Numbers that vouch for themselves: payment cards, IBAN, Aadhaar, and the Indian PAN, which has a
//! structure only.
//!
//! Twelve and sixteen digits in a row are also order numbers, references of banks and times. So
//! besides the check digit there is the range of issuers, the way people group the digits, and the
//! word that stands before: what is called a reference is one.

use super::checksum;
use super::structured::Hit;
use super::text::{self, ALNUM, DIGIT, UPPER_NUM};

/// Bytes that are looked at in one step.
const BLOCK: usize = 32;
/// Most digits of a card.
const MAX_CARD: usize = 19;
/// How far back a word says what a number is.
const SAID: usize = 24;
/// What a number is called that is no card and no person's.
const OTHERWISE: &[&str] = &[
    "utr",
    "rrn",
    "ref",
    "txn",
    "transaction",
    "order",
    "invoice",
    "phone",
    "mobile",
    "tel",
    "whatsapp",
    "account",
    "acct",
    "a/c",
    "arn:",
    "trace",
    "tracking",
    "awb",
    "isbn",
    "gtin",
    "ean",
    "imei",
    "timestamp",
    "time",
    "seed",
    "nonce",
    "version",
    "serial",
    "count",
    "size",
    "amount",
    "bytes",
    "offset",
    "batch",
    "ticket",
];
/// What a number is called that is one.
const INDEED: &[&str] = &[
    "card",
    "aadhaar",
    "aadhar",
    "uidai",
    "pan",
    "visa",
    "mastercard",
    "amex",
];

/// Every number of these kinds.
pub fn each(text: &[u8], found: &mut Vec<Hit>) {
    let (mut at, mut last) = (0, 0);
    while at < text.len() {
        let block = text::slice(text, at, (at + BLOCK).min(text.len()));
        // Most blocks have no digit, and are over in a few instructions.
        if !block
            .iter()
            .fold(false, |any, byte| any | byte.is_ascii_digit())
        {
            at += block.len();
            continue;
        }
        let end = at + block.len();
        while at < end {
            if !text.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
                continue;
            }
            let run = DIGIT.run(text, at, text.len());
            let hit = (run > 1).then(|| at_digits(text, at, run, last)).flatten();
            at += run.max(1);
            if let Some(hit) = hit {
                (at, last) = (at.max(hit.2), hit.2);
                found.push(hit);
            }
        }
    }
}

/// What starts with the `run` digits at `at`, or is around them. What stands behind the `last` find
/// starts anew.
fn at_digits(text: &[u8], at: usize, run: usize, last: usize) -> Option<Hit> {
    match (run, before_digits(text, at)) {
        (_, Before::Letters(2)) => iban(text, at - 2),
        (4, Before::Letters(5)) => pan(text, at - 5),
        (3.., Before::Other) => grouped(text, at),
        (3.., Before::Digits) if last > 0 && at == last + 1 => grouped(text, at),
        _ => None,
    }
}

enum Before {
    /// So many upper-case letters, and before them the start of a word.
    Letters(usize),
    /// No digits of the same number.
    Other,
    /// More digits, and what joins them to these.
    Digits,
    /// A part of something longer.
    Inside,
}

fn before_digits(text: &[u8], at: usize) -> Before {
    let letters = text::UPPER.run_back(text, at, 6);
    if letters > 0 {
        return match text::starts_word(text, at - letters) {
            true => Before::Letters(letters),
            false => Before::Inside,
        };
    }
    let long = DIGIT.run(text, at, 12) == 12;
    let joined = match text::before(text, at, 4) {
        // One group of several, if it is no short number of its own.
        [a, b, c, b' '] => DIGIT.all(&[*a, *b, *c]),
        [.., digit, b',' | b':' | b'/'] => digit.is_ascii_digit() && !long,
        [.., digit, b'.' | b'-'] => digit.is_ascii_digit(),
        [.., b'+' | b'#'] => true,
        _ => false,
    };
    match (text::starts_word(text, at), joined) {
        (true, false) => Before::Other,
        (true, true) => Before::Digits,
        (false, _) => Before::Inside,
    }
}

/// Digits in groups that one kind of separator joins: the longest row of groups that is a number of
/// these kinds, since a month or a code may follow in the same manner.
fn grouped(text: &[u8], at: usize) -> Option<Hit> {
    let mut digits = Vec::with_capacity(MAX_CARD);
    let mut groups = Vec::with_capacity(6);
    let mut end = at;
    let mut separator = None;
    let mut best = None;
    loop {
        let run = DIGIT.run(text, end, MAX_CARD + 1);
        digits.extend(
            text::slice(text, end, end + run)
                .iter()
                .map(|byte| byte - b'0'),
        );
        groups.push(run);
        end += run;
        if digits.len() > MAX_CARD {
            break;
        }
        best = kind(&digits, &groups)
            .filter(|_| stops(text, end))
            .map(|rule| (rule, end))
            .or(best);
        let next = text.get(end).copied().filter(|byte| b" -".contains(byte));
        let more = text.get(end + 1).is_some_and(u8::is_ascii_digit);
        if next.is_none() || !more || *separator.get_or_insert(next) != next {
            break;
        }
        end += 1;
    }
    let (rule, end) = best?;
    let secret = !is_called_otherwise(text, at) && !is_in_a_table(text, at, end);
    secret.then_some((rule, at, end))
}

/// How far a number's neighbour in a table can be: a line end and an indent.
const NEIGHBOUR: usize = 40;

/// Whether a long number stands beside it, with nothing said between them, that is no such number:
/// a table of constants has many, and one in some dozens passes by chance.
fn is_in_a_table(text: &[u8], start: usize, end: usize) -> bool {
    let between = |byte: &&u8| !ALNUM.has(**byte);
    let after = text::slice(text, end, (end + NEIGHBOUR).min(text.len()));
    let next = end + after.iter().take_while(between).count();
    let before = text::before(text, start, NEIGHBOUR).iter().rev();
    let last = start - before.take_while(between).count();
    let first = last - DIGIT.run_back(text, last, MAX_CARD + 1);
    let long = |from: usize, to: usize| {
        let digits = text::slice(text, from, to).iter().map(|byte| byte - b'0');
        let digits: Vec<u8> = digits.collect();
        digits.len() >= 12 && kind(&digits, &[digits.len()]).is_none()
    };
    long(next, next + DIGIT.run(text, next, MAX_CARD + 1)) || long(first, last)
}

fn kind(digits: &[u8], groups: &[usize]) -> Option<&'static str> {
    if is_card(digits, groups) {
        Some("card_number")
    } else if is_aadhaar(digits, groups) {
        Some("aadhaar")
    } else {
        None
    }
}

/// Whether a number that ends here is whole: no decimals, no letters follow.
fn stops(text: &[u8], end: usize) -> bool {
    let decimals =
        text.get(end) == Some(&b'.') && text.get(end + 1).is_some_and(u8::is_ascii_digit);
    !decimals && text::ends_word(text, end)
}

fn is_called_otherwise(text: &[u8], at: usize) -> bool {
    let said = text::before(text, at, SAID);
    // What stands in another line says nothing about this one.
    let line = said.iter().rposition(|byte| *byte == b'\n');
    let said = line.and_then(|line| said.get(line + 1..)).unwrap_or(said);
    OTHERWISE.iter().any(|word| text::mentions(said, word))
        && !INDEED.iter().any(|word| text::mentions(said, word))
}

fn is_card(digits: &[u8], groups: &[usize]) -> bool {
    let grouped = matches!(
        groups,
        [_] | [4, 4, 4, 4] | [4, 4, 4, 4, 3] | [4, 6, 5] | [4, 6, 4] | [4, 4, 4, 1]
    );
    let different = digits.iter().any(|digit| Some(digit) != digits.get(1));
    grouped && different && is_issued(digits) && checksum::luhn(digits)
}

/// Whether there is an issuer of such numbers, by ISO 7812 ranges and lengths.
fn is_issued(digits: &[u8]) -> bool {
    let first = |places: usize| {
        let places = digits.iter().take(places);
        places.fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    let (two, three, four) = (first(2), first(3), first(4));
    match digits.len() {
        13 => two / 10 == 4,
        14 => matches!(two, 36 | 38 | 39) || (300..=305).contains(&three),
        15 => matches!(two, 34 | 37),
        16 => {
            let visa = two / 10 == 4;
            let mastercard = (51..=55).contains(&two) || (2221..=2720).contains(&four);
            let discover = four == 6011 || (644..=659).contains(&three);
            let rupay = matches!(three, 508 | 353 | 356) || matches!(two, 60 | 81 | 82);
            let jcb = (3528..=3589).contains(&four);
            let maestro = matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763);
            let mir = (2200..=2204).contains(&four);
            visa || mastercard || discover || rupay || jcb || maestro || mir || two == 62
        }
        17 | 18 => two == 62,
        19 => two == 62 || two / 10 == 4,
        _ => false,
    }
}

fn is_aadhaar(digits: &[u8], groups: &[usize]) -> bool {
    let grouped = matches!(groups, [12] | [4, 4, 4]);
    let first = digits.first().is_some_and(|digit| *digit >= 2);
    let mut seen = digits.to_vec();
    seen.sort_unstable();
    seen.dedup();
    grouped && first && seen.len() >= 4 && checksum::verhoeff(digits)
}

/// Five letters, four digits, a letter; the fourth letter says whose it is.
fn pan(text: &[u8], start: usize) -> Option<Hit> {
    let end = start + 10;
    let letters = text::slice(text, start, start + 5);
    let holder = letters
        .get(3)
        .is_some_and(|letter| b"ABCFGHJLPTEK".contains(letter));
    let last = text.get(start + 9).is_some_and(u8::is_ascii_uppercase);
    let digits = text::slice(text, start + 5, start + 9);
    let given = digits != b"0000";
    (holder && last && given && text::ends_word(text, end)).then_some(("pan", start, end))
}

/// How long an account number is in each country that has them, with country and check digits.
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// In one piece, or in groups of four.
fn iban(text: &[u8], start: usize) -> Option<Hit> {
    let country = text::slice(text, start, start + 2);
    let known = IBAN_LENGTHS
        .iter()
        .find(|(code, _)| code.as_slice() == country);
    let (_, len) = known?;
    let mut iban = Vec::with_capacity(*len);
    let mut at = start;
    while iban.len() < *len {
        match text.get(at)? {
            byte if UPPER_NUM.has(*byte) => iban.push(*byte),
            b' ' if iban.len().is_multiple_of(4) && text.get(at - 1) != Some(&b' ') => {}
            _ => return None,
        }
        at += 1;
    }
    (text::ends_word(text, at) && checksum::mod97(&iban)).then_some(("iban", start, at))
}
