//! The secret scanner against a corpus: keys of every provider that are made here from their parts
//! (none is committed as a whole), and texts that only look like keys, this repository among them.

use std::path::{Path, PathBuf};

use hundi::governance::secrets::{Find, find, rules};

const KEYS: &str = include_str!("fixtures/secrets/keys.txt");
const INNOCENT: &str = include_str!("fixtures/secrets/innocent.txt");
/// Keys made of each line of the corpus.
const EACH: u32 = 3;
/// Where a key can stand. The whole of a line of the corpus that says more than a key is left as it
/// is.
const AROUND: &[(&str, &str)] = &[
    ("", ""),
    ("please call it with ", ", and tell me what comes back"),
    ("{\"headers\": [\"", "\"]}"),
    ("FIRST=1\\nSECOND=", "\\nTHIRD=3"),
    ("(see ", ")"),
];

/// Chance that is the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % u64::try_from(bound).unwrap()).unwrap()
    }

    fn text(&mut self, alphabet: &str, len: usize) -> String {
        let alphabet = alphabet.as_bytes();
        (0..len)
            .map(|_| char::from(alphabet[self.below(alphabet.len())]))
            .collect()
    }
}

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const DIGITS: &str = "0123456789";

fn alphabet(class: &str) -> String {
    let alnum = format!("{DIGITS}{UPPER}{LOWER}");
    match class {
        "upper" => UPPER.to_owned(),
        "lower" => LOWER.to_owned(),
        "alpha" => format!("{UPPER}{LOWER}"),
        "digit" => DIGITS.to_owned(),
        "hex" => "0123456789abcdef".to_owned(),
        "HEX" => "0123456789ABCDEF".to_owned(),
        "base32" => format!("{UPPER}234567"),
        "base36" => format!("{DIGITS}{UPPER}"),
        "lower36" => format!("{DIGITS}{LOWER}"),
        "alnum" => alnum,
        "word" => format!("{alnum}-_"),
        "base64" => format!("{alnum}+/"),
        _ => panic!("no such class: {class}"),
    }
}

/// A line of the corpus with everything by chance filled in.
fn made(template: &str, chance: &mut Chance) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        text.push_str(&rest[..open]);
        let Some(close) = rest[open..].find('}') else {
            break;
        };
        let (name, after) = (&rest[open + 1..open + close], &rest[open + close + 1..]);
        match part(name, &text, chance) {
            Some(part) => text.push_str(&part),
            None => text.push_str(&rest[open..=open + close]),
        }
        rest = after;
    }
    text + rest
}

fn part(name: &str, before: &str, chance: &mut Chance) -> Option<String> {
    if let Some((class, len)) = name.split_once(':') {
        if class == "iban" {
            return Some(iban(before, len, chance));
        }
        // Filled by chance only if it is one of our classes; `{"at": 1}` is text.
        let len = len.parse().ok()?;
        let mut text = chance.text(&alphabet(class), len);
        // No number of an account starts with zero, and no key ends in a dash on purpose.
        if class == "digit" && text.starts_with('0') {
            text.replace_range(..1, "7");
        }
        if class == "word" && text.starts_with('-') {
            text.replace_range(..1, "k");
        }
        if class == "word" && text.ends_with('-') {
            text.replace_range(text.len() - 1.., "k");
        }
        return Some(text);
    }
    Some(match name {
        "crc32" => base62(crc32(last_word(before))),
        // Never the right one: the right one has six digits of which the first is small.
        "wrongcrc" => "z".to_owned(),
        "uuid" => uuid(chance),
        "year" => format!("{}", 1960 + chance.below(60)),
        "luhn" => check_digit(before, luhn),
        "aadhaar" => aadhaar(chance, " "),
        "aadhaar12" => aadhaar(chance, ""),
        "discord" => discord(chance),
        "jwt" => jwt(chance),
        "basic" => base64(format!("shop:{}", made("{alnum:14}", chance)).as_bytes()),
        "pem" => pem(chance),
        _ => return None,
    })
}

fn last_word(text: &str) -> &str {
    text.rsplit('_').next().unwrap()
}

fn crc32(text: &str) -> u32 {
    let table = |byte: u32| {
        (0..8).fold(byte, |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    };
    let step = |crc: u32, byte: u8| table((crc ^ u32::from(byte)) & 0xff) ^ (crc >> 8);
    !text.bytes().fold(u32::MAX, step)
}

fn base62(mut number: u32) -> String {
    let digits = format!("{DIGITS}{UPPER}{LOWER}");
    let mut text = Vec::new();
    for _ in 0..6 {
        text.push(digits.as_bytes()[usize::try_from(number % 62).unwrap()]);
        number /= 62;
    }
    text.reverse();
    String::from_utf8(text).unwrap()
}

fn uuid(chance: &mut Chance) -> String {
    made("{hex:8}-{hex:4}-4{hex:3}-a{hex:3}-{hex:12}", chance)
}

/// The digit with which `valid` agrees.
fn check_digit(before: &str, valid: fn(&str) -> bool) -> String {
    let tried = (0..10).map(|digit| format!("{digit}"));
    let mut good = tried.filter(|digit| valid(&format!("{before}{digit}")));
    good.next().unwrap()
}

fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            let doubled = digit * 2;
            if place % 2 == 0 {
                digit
            } else {
                doubled / 10 + doubled % 10
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Verhoeff's table of the dihedral group, and his permutation.
const DIHEDRAL: [[usize; 10]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
    [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
    [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
    [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
    [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
    [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
    [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
    [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
];
const PERMUTED: [usize; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];

fn verhoeff(digits: &str) -> bool {
    let places = digits.bytes().rev().enumerate();
    let sum = places.fold(0, |sum, (place, digit)| {
        let digit = (0..place % 8).fold(usize::from(digit - b'0'), |digit, _| PERMUTED[digit]);
        DIHEDRAL[sum][digit]
    });
    sum == 0
}

fn aadhaar(chance: &mut Chance, separator: &str) -> String {
    let digits = format!("{}{}", 2 + chance.below(8), chance.text(DIGITS, 10));
    let digits = format!("{digits}{}", check_digit(&digits, verhoeff));
    [&digits[..4], &digits[4..8], &digits[8..]].join(separator)
}

/// Check digits and an account; the country stands before.
fn iban(before: &str, shape: &str, chance: &mut Chance) -> String {
    let letters: String = shape.chars().filter(char::is_ascii_alphabetic).collect();
    let digits: usize = shape
        .trim_start_matches(char::is_alphabetic)
        .parse()
        .unwrap();
    let account = format!("{letters}{}", chance.text(DIGITS, digits));
    let value = |letter: char| letter.to_digit(36).unwrap().to_string();
    let number: String = format!("{account}{before}00").chars().map(value).collect();
    let rest = number
        .bytes()
        .fold(0, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97);
    format!("{:02}{account}", 98 - rest)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The rest of a number of seventeen digits that starts with 10, in base64.
fn discord(chance: &mut Chance) -> String {
    let number = format!("10{}", chance.text(DIGITS, 16));
    base64(number.as_bytes())[3..]
        .trim_end_matches('=')
        .to_owned()
}

fn jwt(chance: &mut Chance) -> String {
    let url = |text: &str| {
        base64(text.as_bytes())
            .trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_")
    };
    let header = url(r#"{"alg":"HS256","typ":"JWT"}"#);
    let payload = url(&format!(r#"{{"sub":"{}","exp":1795168800}}"#, uuid(chance)));
    format!("{header}.{payload}.{}", made("{word:43}", chance))
}

fn pem(chance: &mut Chance) -> String {
    let line = |chance: &mut Chance| chance.text(&alphabet("base64"), 64);
    let body: Vec<String> = (0..4).map(|_| line(chance)).collect();
    let label = "PRIVATE KEY";
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----",
        body.join("\n")
    )
}

fn templates(corpus: &str) -> impl Iterator<Item = &str> {
    corpus.lines().filter(|line| !line.starts_with('#'))
}

#[test]
fn at_least_ninety_nine_of_a_hundred_keys_are_found_whole_and_named() {
    let mut chance = Chance(0x5eed_5eed_1234_5678);
    let (mut keys, mut missed) = (0, Vec::new());
    for template in templates(KEYS) {
        let (rule, template) = template.split_once(' ').unwrap();
        let template = template.trim();
        for _ in 0..EACH {
            let key = made(template, &mut chance);
            let whole = key.contains(' ') || key.contains('=') || key.contains('\n');
            for (before, after) in &AROUND[..if whole { 1 } else { AROUND.len() }] {
                keys += 1;
                let text = format!("{before}{key}{after}");
                let finds = find(text.as_bytes());
                let right = finds.iter().any(|find| {
                    let covers = find.start <= before.len() && find.end >= before.len() + key.len();
                    find.rule == rule && (whole || key.contains("://") || covers)
                });
                if !right {
                    missed.push((template, text, finds));
                }
            }
        }
    }
    assert!(keys > 1_000);
    assert!(
        missed.len() * 100 <= keys,
        "{} of {keys}: {missed:#?}",
        missed.len()
    );
}

#[test]
fn every_rule_of_the_corpus_is_one_that_is_told() {
    let rules = rules();
    for template in templates(KEYS) {
        let (rule, _) = template.split_once(' ').unwrap();
        assert!(rules.contains(&rule), "{rule}");
    }
    assert!(rules.len() >= 60);
}

#[test]
fn what_only_looks_like_a_key_is_none() {
    let mut chance = Chance(0x0ddc_0ffe_e123_4567);
    let (mut lines, mut alarms) = (0, Vec::new());
    while lines < 20_000 {
        for template in templates(INNOCENT) {
            let line = made(template, &mut chance);
            lines += 1;
            alarms.extend(
                find(line.as_bytes())
                    .into_iter()
                    .map(|find| (find.rule, line.clone())),
            );
        }
    }
    assert!(
        alarms.len() * 10_000 <= lines,
        "{} in {lines}: {alarms:#?}",
        alarms.len()
    );
}

/// Texts of this repository.
fn files() -> Vec<PathBuf> {
    fn walk(path: &Path, found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                walk(&entry.unwrap().path(), found);
            }
        } else {
            found.push(path.to_owned());
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for name in ["src", "tests", "sql", "examples", "README.md", "Cargo.lock"] {
        let path = root.join(name);
        if path.exists() {
            walk(&path, &mut found);
        }
    }
    // Genuine commit tokens, with a key of the tests: found, and rightly so.
    found.retain(|path| !path.to_string_lossy().contains("/fuzz/"));
    found
}

#[test]
fn this_repository_has_hardly_a_false_alarm() {
    let (mut lines, mut alarms) = (0, Vec::new());
    for path in files() {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        lines += text.lines().count();
        // Canaries are planted to look like secrets, and are found: no false alarm.
        let real = |find: &Find| !text[find.start..find.end].contains("canary");
        let line = |find: &Find| text[..find.start].lines().count();
        let found = find(text.as_bytes()).into_iter().filter(real);
        alarms
            .extend(found.map(|find| format!("{}:{} {}", path.display(), line(&find), find.rule)));
    }
    assert!(
        alarms.len() * 10_000 <= lines.max(10_000),
        "{} in {lines}: {alarms:#?}",
        alarms.len()
    );
}
