//! Secrets that have more structure than a prefix and a length: they are read as what they are
//! before they are called secrets. A JSON web token has a header that names an algorithm, a private
//! key has a body, a URL has a password in it, Basic credentials have a colon.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::chance;
use super::text::{self, ALNUM, BASE64, Class, DIGIT, ESCAPED, HEX, OPAQUE};
use super::text::{PADDED, TILDED, UPPER_NUM, WORD};

/// What is found: its rule, and where it starts and ends.
pub type Hit = (&'static str, usize, usize);
/// Looks at the text around an anchor that stands at `at`.
pub type Look = fn(text: &[u8], at: usize) -> Option<Hit>;

/// The anchors, and who looks at what stands there.
pub const ANCHORS: &[(&str, Look)] = &[
    ("eyJ", jwt),
    ("v1.", commit_token),
    ("-----BEGIN ", pem),
    ("Private-Lines:", putty),
    ("://", url_password),
    ("sig=", azure_sas),
    ("Q~", azure_client_secret),
    ("AZDO", azure_devops_token),
    ("JQQJ99", azure_resource_key),
    (":AA", telegram_token),
    ("-us", mailchimp_key),
    (".atlasv1.", terraform_token),
    ("webhook.office.com/webhookb2/", teams_webhook),
    ("Basic ", basic),
    ("basic ", basic),
    ("Bearer ", bearer),
    ("bearer ", bearer),
];

/// How a number from 10 to 99 and more starts in base64: an account of Discord, and with it a token.
#[rustfmt::skip]
pub const DISCORD: &[&str] = &[
    "MTA", "MTE", "MTI", "MTM", "MTQ", "MTU", "MTY", "MTc", "MTg", "MTk", "MjA", "MjE", "MjI", "MjM", "MjQ",
    "MjU", "MjY", "Mjc", "Mjg", "Mjk", "MzA", "MzE", "MzI", "MzM", "MzQ", "MzU", "MzY", "Mzc", "Mzg", "Mzk",
    "NDA", "NDE", "NDI", "NDM", "NDQ", "NDU", "NDY", "NDc", "NDg", "NDk", "NTA", "NTE", "NTI", "NTM", "NTQ",
    "NTU", "NTY", "NTc", "NTg", "NTk", "NjA", "NjE", "NjI", "NjM", "NjQ", "NjU", "NjY", "Njc", "Njg", "Njk",
    "NzA", "NzE", "NzI", "NzM", "NzQ", "NzU", "NzY", "Nzc", "Nzg", "Nzk", "ODA", "ODE", "ODI", "ODM", "ODQ",
    "ODU", "ODY", "ODc", "ODg", "ODk", "OTA", "OTE", "OTI", "OTM", "OTQ", "OTU", "OTY", "OTc", "OTg", "OTk",
];

/// Longest part of a token that is looked at.
const MAX_PART: usize = 16 * 1024;
/// Longest private key.
const MAX_PEM: usize = 32 * 1024;
/// Fewest characters of a private key; an Ed25519 key has 64.
const MIN_PEM: usize = 40;
/// Longest user and password of a URL.
const MAX_USERINFO: usize = 512;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// Parts of base64url from `at` on, joined by dots: where each ends.
fn parts<const N: usize>(text: &[u8], at: usize) -> Option<[usize; N]> {
    let mut ends = [at; N];
    let mut start = at;
    for (index, end) in ends.iter_mut().enumerate() {
        if index > 0 {
            if text.get(start) != Some(&b'.') {
                return None;
            }
            start += 1;
        }
        start += WORD.run(text, start, MAX_PART);
        *end = start;
    }
    Some(ends)
}

fn jwt(text: &[u8], at: usize) -> Option<Hit> {
    if !text::starts_word(text, at) {
        return None;
    }
    let [header, payload, signature] = parts(text, at)?;
    // An encrypted one (JWE) has five parts, and may have an empty second.
    let end = parts::<5>(text, at).map_or(signature, |[.., end]| end);
    let signed = signature - payload > 20 || end > signature;
    let header = URL_SAFE.decode(text::slice(text, at, header)).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    let named = header.get("alg").is_some_and(Value::is_string);
    (named && signed).then_some(("jwt", at, end))
}

/// Ours: `v1.<key>.<payload>.<mac>`, its payload an object, its mac 32 bytes.
fn commit_token(text: &[u8], at: usize) -> Option<Hit> {
    let [_, key, payload, mac] = parts(text, at)?;
    let is_object = text::stands(text, key + 1, "eyJ");
    let fits = mac - payload == 44 && payload - key > 100;
    (text::starts_word(text, at) && is_object && fits).then_some(("hundi_commit_token", at, mac))
}

/// A private key with its body; a mere mention of one has none.
fn pem(text: &[u8], at: usize) -> Option<Hit> {
    let label = at + "-----BEGIN ".len();
    let kind = UPPER_NUM.run(text, label, 1);
    let line = text::slice(text, label, (label + 48).min(text.len()));
    let dashes = line.windows(5).position(|five| five == b"-----")?;
    let name = line.get(..dashes)?;
    let private = name.windows(11).any(|part| part == b"PRIVATE KEY");
    let plain = name
        .iter()
        .all(|byte| UPPER_NUM.has(*byte) || *byte == b' ');
    if kind == 0 || !private || !plain {
        return None;
    }
    let body = label + dashes + 5;
    let (end, key) = pem_body(text, body);
    let account = text::before(text, at, 1_024);
    let account = account.windows(15).any(|part| part == b"service_account");
    let rule = if account {
        "gcp_service_account"
    } else {
        "private_key"
    };
    (key >= MIN_PEM).then_some((rule, at, end))
}

/// Where the key ends that starts at `at`, and how many characters of base64 it has. Its line ends
/// may be escaped, and headers (`Proc-Type: 4,ENCRYPTED`) may come first. A key that is cut off ends
/// where it stops to look like one.
fn pem_body(text: &[u8], at: usize) -> (usize, usize) {
    let rest = text::slice(text, at, (at + MAX_PEM).min(text.len()));
    let dashes = rest.windows(5).position(|five| five == b"-----");
    let body = rest.get(..dashes.unwrap_or(rest.len())).unwrap_or_default();
    let tail = rest.get(body.len()..).unwrap_or_default();
    if tail.starts_with(b"-----END ") {
        let label = tail.get(9..).unwrap_or_default();
        let close = label.windows(5).take(48).position(|five| five == b"-----");
        let code = body.iter().any(|byte| b"{}()<>".contains(byte));
        let key = body.iter().filter(|byte| BASE64.has(**byte)).count();
        let end = at + body.len() + 9 + close.map_or(0, |close| close + 5);
        return (end, if code { 0 } else { key });
    }
    let inside = |byte: &&u8| PADDED.has(**byte) || byte.is_ascii_whitespace() || **byte == b'\\';
    let len = body.iter().take_while(inside).count();
    let spaces = body.iter().take(len).filter(|byte| **byte == b' ').count();
    (at + len, if spaces > 4 { 0 } else { len })
}

fn putty(text: &[u8], at: usize) -> Option<Hit> {
    let count = at + "Private-Lines: ".len();
    let digits = DIGIT.run(text, count, 4);
    let rest = text::slice(text, count + digits, text.len().min(count + MAX_PEM));
    let body = |byte: &&u8| BASE64.has(**byte) || byte.is_ascii_whitespace() || **byte == b'=';
    let len = rest.iter().take_while(body).count();
    (digits > 0 && len >= MIN_PEM).then_some(("private_key", count + digits, count + digits + len))
}

const DATABASES: &[&str] = &[
    "amqp",
    "bolt",
    "cassandra",
    "clickhouse",
    "cockroachdb",
    "couchdb",
    "db2",
    "kafka",
    "ldap",
    "ldaps",
    "amqps",
    "mariadb",
    "mongodb",
    "mongodb+srv",
    "mssql",
    "mysql",
    "mysql2",
    "nats",
    "neo4j",
    "neo4j+s",
    "oracle",
    "postgres",
    "postgresql",
    "redis",
    "rediss",
    "snowflake",
    "sqlserver",
    "trino",
];

fn url_password(text: &[u8], at: usize) -> Option<Hit> {
    let start = at + 3;
    let rest = text::slice(text, start, text.len().min(start + MAX_USERINFO));
    let inside = |byte: &&u8| !byte.is_ascii_whitespace() && !b"/?#\"'<>`\\,;".contains(byte);
    let authority = rest.iter().take_while(inside).count();
    let authority = rest.get(..authority)?;
    let end = authority.iter().rposition(|byte| *byte == b'@')?;
    let user = authority.iter().position(|byte| *byte == b':')?;
    let password = authority.get(user + 1..end)?;
    let host = authority.get(end + 1..)?;
    let scheme = at - scheme_before(text, at);
    let name = text::slice(text, scheme, at);
    if name.is_empty() || host.is_empty() || !is_url_password(authority.get(..user)?, password) {
        return None;
    }
    let database = DATABASES
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    // Drivers of a language: `postgresql+asyncpg://`.
    let driver = name.split(|byte| *byte == b'+').next().unwrap_or_default();
    let driver = DATABASES
        .iter()
        .any(|known| driver.eq_ignore_ascii_case(known.as_bytes()));
    let rule = if database || driver {
        "database_password"
    } else {
        "url_password"
    };
    Some((rule, start + user + 1, start + end))
}

fn scheme_before(text: &[u8], at: usize) -> usize {
    let before = text::before(text, at, 24).iter().rev();
    before
        .take_while(|byte| ALNUM.has(**byte) || **byte == b'+')
        .count()
}

fn is_url_password(user: &[u8], password: &[u8]) -> bool {
    let odd = password.iter().any(|byte| b"{}()[]<>|".contains(byte));
    let mention = password.first().is_none_or(|first| b"$%*".contains(first));
    let dots = password.windows(3).any(|three| three == b"...");
    let same = password == user || chance::is_words(password);
    let filled = password.iter().all(|byte| Some(byte) == password.first());
    password.len() >= 5 && !odd && !mention && !dots && !same && !filled
}

fn azure_sas(text: &[u8], at: usize) -> Option<Hit> {
    let start = at + "sig=".len();
    let end = start + ESCAPED.run(text, start, 128);
    let near = text::slice(text, at.saturating_sub(300), (end + 300).min(text.len()));
    let signed = ["se=", "sv=", "sr="]
        .iter()
        .filter(|part| text::mentions(near, part))
        .count();
    let signature = text::slice(text, start, end);
    (end - start >= 43 && signed >= 2 && chance::is_by_chance(signature)).then_some((
        "azure_sas",
        start,
        end,
    ))
}

/// Three characters, a digit, `Q~`, and 31 to 34 more.
fn azure_client_secret(text: &[u8], at: usize) -> Option<Hit> {
    let start = at.checked_sub(4)?;
    let head = text::slice(text, start, at);
    let shaped = TILDED.all(head) && head.last().is_some_and(u8::is_ascii_digit);
    let tail = TILDED.run(text, at + 2, 36);
    let end = at + 2 + tail;
    (shaped && (31..=34).contains(&tail) && text::starts_word(text, start)).then_some((
        "azure_client_secret",
        start,
        end,
    ))
}

/// 84 characters, of which these are the 77th to the 80th.
fn azure_devops_token(text: &[u8], at: usize) -> Option<Hit> {
    let start = at.checked_sub(76)?;
    let key = text::slice(text, start, start + 84);
    (key.len() == 84 && ALNUM.all(key) && alone(text, start, start + 84)).then_some((
        "azure_devops_token",
        start,
        start + 84,
    ))
}

/// 84 characters, of which these are the 53rd on.
fn azure_resource_key(text: &[u8], at: usize) -> Option<Hit> {
    let start = at.checked_sub(52)?;
    let key = text::slice(text, start, start + 84);
    (key.len() == 84 && ALNUM.all(key) && alone(text, start, start + 84)).then_some((
        "azure_resource_key",
        start,
        start + 84,
    ))
}

fn alone(text: &[u8], start: usize, end: usize) -> bool {
    text::starts_word(text, start) && text::ends_word(text, end)
}

/// A bot's number, a colon, and 35 characters, of which the first two are `AA`.
fn telegram_token(text: &[u8], at: usize) -> Option<Hit> {
    let start = at - DIGIT.run_back(text, at, 12);
    let end = at + 1 + WORD.run(text, at + 1, 40);
    // In a URL the number follows the word `bot`.
    let bot = text::before(text, start, 3) == b"bot";
    let shaped = (8..=10).contains(&(at - start)) && end - at == 36;
    let secret = !chance::is_filling(text::slice(text, at + 3, end));
    (shaped && secret && (bot || text::starts_word(text, start))).then_some((
        "telegram_bot_token",
        start,
        end,
    ))
}

/// 32 digits of hex, and the number of a data centre.
fn mailchimp_key(text: &[u8], at: usize) -> Option<Hit> {
    let start = at - HEX.run_back(text, at, 33);
    let end = at + 3 + DIGIT.run(text, at + 3, 3);
    (at - start == 32 && end > at + 3 && alone(text, start, end)).then_some((
        "mailchimp_key",
        start,
        end,
    ))
}

fn terraform_token(text: &[u8], at: usize) -> Option<Hit> {
    let start = at - ALNUM.run_back(text, at, 15);
    let secret = at + ".atlasv1.".len();
    let end = secret + WORD.run(text, secret, 80);
    (at - start == 14 && end - secret >= 60 && text::starts_word(text, start)).then_some((
        "terraform_token",
        start,
        end,
    ))
}

fn teams_webhook(text: &[u8], at: usize) -> Option<Hit> {
    let inside = |byte: &&u8| WORD.has(**byte) || b"@/".contains(byte);
    let start = at + "webhook.office.com/webhookb2/".len();
    let rest = text.get(start..)?.iter();
    let len = rest.take(300).take_while(inside).count();
    (len >= 100).then_some(("teams_webhook", at, start + len))
}

/// The number of a bot's account in base64, a time, and a signature.
pub fn discord_token(text: &[u8], at: usize) -> Option<Hit> {
    if !text::starts_word(text, at) {
        return None;
    }
    let account = at + WORD.run(text, at, 29);
    if !(23..=28).contains(&(account - at)) || text.get(account) != Some(&b'.') {
        return None;
    }
    let [_, time, signature] = parts(text, at)?;
    let shaped = (6..=7).contains(&(time - account - 1));
    let signed = (27..=40).contains(&(signature - time - 1));
    let number = URL_SAFE.decode(text::slice(text, at, account)).ok()?;
    (shaped && signed && DIGIT.all(&number)).then_some(("discord_bot_token", at, signature))
}

/// Base64 of a user, a colon and a password.
fn basic(text: &[u8], at: usize) -> Option<Hit> {
    let start = at + "Basic ".len();
    let end = start + PADDED.run(text, start, 512);
    let decoded = STANDARD.decode(text::slice(text, start, end)).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let readable = decoded.iter().all(|byte| (b' '..=b'~').contains(byte));
    let password = decoded.get(colon + 1..).unwrap_or_default();
    let user = decoded.get(..colon).unwrap_or_default();
    let secret = password.len() >= 6 && !chance::is_words(password)
        || password.is_empty() && user.len() > 16;
    (end - start >= 12 && readable && secret && text::starts_word(text, at)).then_some((
        "basic_credentials",
        start,
        end,
    ))
}

fn bearer(text: &[u8], at: usize) -> Option<Hit> {
    let start = at + "Bearer ".len();
    let end = start + OPAQUE.run(text, start, 4_096);
    let value = text::slice(text, start, end);
    let value = value.strip_suffix(b".").unwrap_or(value);
    (chance::is_by_chance(value) && !chance::is_placeholder(value) && text::starts_word(text, at))
        .then_some(("bearer_token", start, start + value.len()))
}

/// A secret that nothing but its neighbour gives away.
#[derive(Debug)]
pub struct Companion {
    /// The rule of the neighbour.
    pub of: &'static str,
    /// The rule of the secret.
    pub rule: &'static str,
    class: Class,
    len: usize,
}

/// How far from its neighbour such a secret stands.
const NEAR: usize = 160;

/// The secrets that stand beside what only names them.
pub const COMPANIONS: &[Companion] = &[
    Companion {
        of: "aws_access_key_id",
        rule: "aws_secret_key",
        class: BASE64,
        len: 40,
    },
    Companion {
        of: "razorpay_key_id",
        rule: "razorpay_key_secret",
        class: ALNUM,
        len: 24,
    },
    Companion {
        of: "twilio_api_key",
        rule: "twilio_secret",
        class: ALNUM,
        len: 32,
    },
    Companion {
        of: "tencent_secret_id",
        rule: "tencent_secret_key",
        class: ALNUM,
        len: 32,
    },
    Companion {
        of: "alibaba_access_key",
        rule: "alibaba_secret_key",
        class: ALNUM,
        len: 30,
    },
];

impl Companion {
    /// The first one behind a neighbour that ends at `at`.
    pub fn after(&self, text: &[u8], at: usize) -> Option<Hit> {
        let end = (at + NEAR).min(text.len());
        let mut start = at;
        while start < end {
            let run = self.class.run(text, start, self.len + 1);
            let value = text::slice(text, start, start + run);
            let cased = value.iter().any(u8::is_ascii_uppercase)
                && value.iter().any(u8::is_ascii_lowercase);
            if run == self.len && cased && chance::is_by_chance(value) {
                return Some((self.rule, start, start + run));
            }
            start += self.class.run(text, start, usize::MAX).max(1);
        }
        None
    }
}
