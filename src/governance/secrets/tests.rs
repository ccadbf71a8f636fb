//! What is found and what is not, one line each. Keys are put together here, so that none stands in
//! the source.

use proptest::prelude::*;

use super::*;

/// A text of so many characters that looks like chance, of an alphabet.
fn chance(alphabet: &str, len: usize) -> String {
    let alphabet = alphabet.as_bytes();
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(state >> 16).unwrap()
    };
    (0..len)
        .map(|_| char::from(alphabet[next() % alphabet.len()]))
        .collect()
}

fn alnum(len: usize) -> String {
    chance(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
        len,
    )
}

fn hex(len: usize) -> String {
    chance("0123456789abcdef", len)
}

/// Texts in the tables have a dot inside their secrets, so that no scanner stumbles over this file.
fn joined(text: &str) -> String {
    text.replace('·', "")
}

fn names(text: &str) -> Vec<&'static str> {
    find(text.as_bytes()).iter().map(|find| find.rule).collect()
}

fn spots(text: &str) -> Vec<&str> {
    let finds = find(text.as_bytes());
    finds
        .iter()
        .map(|find| &text[find.start..find.end])
        .collect()
}

#[test]
fn every_row_has_a_name_and_can_be_reached() {
    assert!(rules().len() > 150);
    for format in FORMATS {
        assert!(rules().contains(&format.rule));
        assert!(format.prefix.len() > 1, "{}", format.rule);
        let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(format.rule.bytes().all(name), "{}", format.rule);
    }
}

#[test]
fn a_key_is_found_whatever_stands_around_it_and_not_inside_a_word() {
    let key = format!("hk_{}_{}", hex(16), hex(64));
    for (before, after) in [
        ("", ""),
        (" ", " "),
        ("\"", "\""),
        ("key=", "&x=1"),
        (r"a\n", r"\n"),
        ("(", ")."),
        ("é", "é"),
        ("%3D", "%26"),
        (r"\u003d", ""),
        ("-", "-"),
        ("\u{0}", "\u{0}"),
    ] {
        let text = format!("{before}{key}{after}");
        assert_eq!(spots(&text), [key.as_str()], "{text:?}");
    }
    for (before, after) in [("a", ""), ("_", ""), ("", "a"), ("", "_"), ("", "0")] {
        assert_eq!(names(&format!("{before}{key}{after}")), Vec::<&str>::new());
    }
}

#[test]
fn a_wrong_checksum_is_no_key() {
    let random = alnum(30);
    let sum = checksum::base62(checksum::crc32(random.as_bytes()));
    let sum = String::from_utf8(sum.to_vec()).unwrap();
    assert_eq!(names(&format!("ghp_{random}{sum}")), ["github_token"]);
    assert_eq!(names(&format!("npm_{random}{sum}")), ["npm_token"]);
    let turned: String = sum.chars().rev().collect();
    assert_eq!(names(&format!("ghp_{random}{turned}")), Vec::<&str>::new());
}

#[test]
fn a_hash_an_id_and_a_picture_are_no_secrets() {
    for text in [
        hex(40),
        hex(64),
        format!("sha1: {}", hex(40)),
        format!("token_hash = \"{}\"", hex(64)),
        "550e8400-e29b-41d4-a716-446655440000".to_owned(),
        "token = \"550e8400-e29b-41d4-a716-446655440000\"".to_owned(),
        format!("data:image/png;base64,iVBORw0KGgo{}", alnum(4_000)),
    ] {
        assert_eq!(names(&text), Vec::<&str>::new(), "{text}");
    }
}

#[test]
#[rustfmt::skip]
fn values_are_judged_by_name_and_looks() {
    let value = alnum(32);
    for (text, rules) in [
        (format!("api_key = \"{value}\""),               &["generic_secret"][..]),
        (format!("api_key: {value}"),                    &["generic_secret"]),
        (format!("{{\"apiKey\":\"{value}\"}}"),          &["generic_secret"]),
        (format!("{{\\\"token\\\": \\\"{value}\\\"}}"),  &["generic_secret"]),
        (format!("--token {value}"),                     &["generic_secret"]),
        (format!("--password={value}"),                  &["password"]),
        (format!("<password>{value}</password>"),        &["password"]),
        (format!("the secret is {value}."),              &["generic_secret"]),
        (format!("const KEY_SECRET: &str = \"{value}\";"), &["generic_secret"]),
        (format!("headers.set('x-api-key', '{value}')"), &["generic_secret"]),
        ("password = 'Tr0ub·4dor&3'".into(),              &["password"]),
        ("DB_PASS=Tr0ub·4dor&3".into(),                   &["password"]),
        (format!("?token={value}&page=2"),               &["generic_secret"]),
        ("password = 'Password123'".into(),              &[]),
        ("password = 'hunter'".into(),                   &[]),
        (format!("token_id = \"{value}\""),              &[]),
        (format!("secret_name = \"{value}\""),           &[]),
        (format!("api_key = \"your-{value}\""),          &[]),
        (format!("api_key = read({value})"),             &[]),
        (format!("a token, {value}"),                    &[]),
        (format!("tokenizer = \"{value}\""),             &[]),
    ] {
        assert_eq!(names(&joined(&text)), rules, "{text}");
    }
}

#[test]
#[rustfmt::skip]
fn numbers_vouch_for_themselves() {
    for (text, rules) in [
        ("411·1 1111 1111 1111",                   &["card_number"][..]),
        ("card 411·1111111111111, exp 12/27",      &["card_number"]),
        ("411·1 1111 1111 1111 12/27 123",         &["card_number"]),
        ("3782-82·2463-10005",                     &["card_number"]),
        ("pay with 555·5555555554444.",            &["card_number"]),
        ("1,411·1111111111111,x",                  &["card_number"]),
        ("411·1 1111 1111 1112",                   &[]),
        ("41 111·1 1111 1111 11",                  &[]),
        ("0.411·1111111111111",                    &[]),
        ("411·1111111111111.25",                   &[]),
        ("x411·1111111111111",                     &[]),
        ("order_id: 411·1111111111111",            &[]),
        ("000·0000000000000",                      &[]),
        ("DE89 370·4 0044 0532 0130 00",           &["iban"]),
        ("iban=GB8·2WEST123·45698765432",           &["iban"]),
        ("DE89 370·4 0044 0532 0130 01",           &[]),
        ("XX893·70400440532013000",                &[]),
        ("999·9 4105 7058",                        &["aadhaar"]),
        ("Aadhaar 999·941057058",                  &["aadhaar"]),
        ("UTR 999·941057058",                      &[]),
        ("+999·941057058",                         &[]),
        ("999·9 4105 7059",                        &[]),
        ("ABC·PE1234F",                            &["pan"]),
        ("ABC·XE1234F",                            &[]),
        ("ABC·PE1234FG",                           &[]),
        ("ABC·PE0000F",                            &[]),
        ("448·5585228861014, 223·5858054780981, 381·16887248277", &[]),
    ] {
        assert_eq!(names(&joined(text)), rules, "{text}");
    }
}

#[test]
#[rustfmt::skip]
fn urls_are_read() {
    for (text, found) in [
        ("postgres://app:s3c·r-t99@db/x",      &["s3cr-t99"][..]),
        ("redis://:s3c·r-t99@cache",           &["s3cr-t99"]),
        ("https://a:s3c·r-t99@h/p?q=1:2@3",    &["s3cr-t99"]),
        ("postgresql+asyncpg://a:p@ss·w0rd9@h", &["p@ssw0rd9"]),
        ("postgres://app:password@db/x",      &[]),
        ("postgres://app:${PW}@db/x",         &[]),
        ("postgres://app:%s@db/x",            &[]),
        ("postgres://app:app@db/x",           &[]),
        ("https://h/a:b@c",                   &[]),
        ("://a:s3c·r-t99@h",                   &[]),
    ] {
        assert_eq!(spots(&joined(text)), found, "{text}");
    }
}

#[test]
fn a_private_key_has_a_body() {
    let body = alnum(64);
    let (open, close) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
    for text in [
        format!("{open}\n{body}\n{close}"),
        format!(r"{open}\n{body}\n{close}"),
        format!("{open}\n{body}"),
    ] {
        assert_eq!(spots(&text), [text.as_str()]);
        assert_eq!(names(&text), ["private_key"]);
        let account = format!("{{\"type\":\"service_account\",\"private_key\":\"{text}\"}}");
        assert_eq!(names(&account), ["gcp_service_account"]);
    }
    for text in [
        format!("between {open} and {close} there is nothing"),
        format!("{} \n{body}", open.replace("PRIVATE", "PUBLIC")),
        format!("it starts with {open} and then a lot of words that say what it is about"),
    ] {
        assert_eq!(names(&text), Vec::<&str>::new(), "{text}");
    }
}

#[test]
fn a_secret_is_found_beside_its_key_id() {
    let text = format!("AKIA{},{}", "IOSFODNN7EXAMPLQ", alnum(39) + "/");
    assert_eq!(names(&text), ["aws_access_key_id", "aws_secret_key"]);
    let text = format!("curl -u rzp_live_{}:{}", alnum(14), alnum(24));
    assert_eq!(names(&text), ["razorpay_key_id", "razorpay_key_secret"]);
}

#[test]
fn finds_that_touch_are_one_and_have_the_better_name() {
    let key = format!("hk_{}_{}", hex(16), hex(64));
    assert_eq!(names(&format!("password = \"{key}\"")), ["hundi_api_key"]);
    assert_eq!(
        names(&format!("Authorization: Bearer {key}")),
        ["hundi_api_key"]
    );
    assert_eq!(names(&format!("https://x:{key}@h")), ["hundi_api_key"]);
}

#[test]
fn what_opens_everything_and_closes_nothing_has_no_secret() {
    for part in [
        "eyJ.",
        "://a:",
        "password=",
        "sk-",
        "-----BEGIN PRIVATE KEY-----",
        "AKIA",
        "v1.",
        ":AA",
        "1 ",
    ] {
        let text = part.repeat((64 << 10) / part.len());
        assert_eq!(names(&text), Vec::<&str>::new(), "{part}");
    }
}

proptest! {
    /// Whatever the bytes: no panic, in order, apart, inside, and between characters of a text.
    #[test]
    fn finds_are_in_order_and_inside(text in "(?s)([a-zA-Z0-9 =:/@.\"'é\\\\-]|sk_live_|eyJ|://|password=|4111 1111){0,60}") {
        let mut at = 0;
        for find in find(text.as_bytes()) {
            prop_assert!(at <= find.start && find.start < find.end && find.end <= text.len());
            prop_assert!(text.get(find.start..find.end).is_some());
            at = find.end;
        }
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        find(&bytes);
    }
}
