//! Modes and exceptions, as a table.

use serde_json::json;

use super::super::walk::Part;
use super::*;

// In parts, so that no scanner stumbles over this file.
const CARD: &str = concat!("4111 1111", " 1111 1111");
const PAN: &str = concat!("ABCPE", "1234F");

fn exceptions(texts: &[&str]) -> Vec<Exception> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn modes_refuse_replace_or_only_tell() {
    for (mode, refused, changed) in [
        (Mode::Block, true, false),
        (Mode::Redact, false, true),
        (Mode::Observe, false, false),
    ] {
        let mut value = json!({"messages": [{"content": CARD}]});
        let verdict = judge(&mut value, mode, &[]);
        assert_eq!(verdict.refused, refused, "{mode:?}");
        assert_eq!(verdict.found.len(), 1);
        assert_eq!(verdict.found[0].pointer, "/messages/0/content");
        assert_eq!(value["messages"][0]["content"] != CARD, changed, "{mode:?}");
        assert_eq!(mode.name().parse(), Ok(mode));
    }
}

#[test]
#[rustfmt::skip]
fn exceptions_are_by_rule_and_place() {
    for (exception, excepted) in [
        ("card_number /messages/*/content", true),
        ("card_number /messages/0/content", true),
        ("* /messages/**",                  true),
        ("card_number",                     true),
        ("* /**",                           true),
        ("card_number /messages/1/content", false),
        ("card_number /messages/*",         false),
        ("iban /messages/*/content",        false),
        ("card_number /messages/*/content/x", false),
    ] {
        let mut value = json!({"messages": [{"content": CARD}]});
        let verdict = judge(&mut value, Mode::Redact, &exceptions(&[exception]));
        assert_eq!(verdict.found.is_empty(), excepted, "{exception}");
        assert_eq!(verdict.excepted.len(), usize::from(excepted), "{exception}");
        assert_eq!(value["messages"][0]["content"] == CARD, excepted, "{exception}");
    }
    for wrong in ["no_such_rule /a", "card_number a"] {
        assert!(wrong.parse::<Exception>().is_err(), "{wrong}");
    }
}

#[test]
fn a_secret_that_names_a_field_is_in_no_pointer() {
    let mut value = json!({PAN: {"card": CARD}});
    let verdict = judge(&mut value, Mode::Block, &[]);
    let places: Vec<_> = verdict
        .found
        .iter()
        .map(|placed| (placed.pointer.as_str(), placed.part))
        .collect();
    assert_eq!(
        places,
        [("", Part::Name), ("/[secret:pan]/card", Part::Value)]
    );
}
