//! What each mask makes of each value, and what nobody may ever see.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn key() -> HashKey {
    HashKey::of(
        b"a secret of the tests, long enough",
        &"acme".parse().unwrap(),
    )
}

fn masks(written: &[(&str, &str)]) -> Vec<Mask> {
    let mask = |(path, how): &(&str, &str)| json!({"path": path, "do": how});
    serde_json::from_value(written.iter().map(mask).collect()).unwrap()
}

fn masked(data: &Value, written: &[(&str, &str)]) -> (Value, Masked) {
    let masks = masks(written);
    let mut data = data.clone();
    let masked = apply(&mut data, &united(masks.iter()), &key());
    (data, masked)
}

fn hash(value: Value) -> Value {
    masked(&value, &[("$", "hash")]).0
}

#[test]
#[rustfmt::skip]
fn each_do_makes_one_thing_of_each_kind_of_value() {
    let cases: &[(&str, Value, Value)] = &[
        ("last4",  json!("4111111111111234"), json!("****1234")),
        ("last4",  json!("12345678"),         json!("****5678")),
        ("last4",  json!("1234567"),          json!("****")),
        ("last4",  json!(""),                 json!("****")),
        ("last4",  json!("سلام دنیا"),        json!("****دنیا")),
        ("last4",  json!(4111111111111234_i64), json!("****1234")),
        ("last4",  json!(1234567),            json!("****")),
        ("last4",  json!(-12345678),          json!("****5678")),
        ("last4",  json!(123456.789),         json!("****")),
        ("last4",  json!(true),               json!("****")),
        ("last4",  json!(null),               json!(null)),
        ("last4",  json!(["12345678"]),       json!("****")),
        ("last4",  json!({"a": "12345678"}),  json!("****")),
        ("hash",   json!(null),               json!(null)),
        ("redact", json!("x"),                json!("(hidden)")),
        ("redact", json!(7),                  json!("(hidden)")),
        ("redact", json!(false),              json!("(hidden)")),
        ("redact", json!(null),               json!("(hidden)")),
        ("redact", json!([1, 2]),             json!("(hidden)")),
        ("redact", json!({"a": 1}),           json!("(hidden)")),
        ("null",   json!("x"),                json!(null)),
        ("null",   json!({"a": 1}),           json!(null)),
        ("remove", json!("x"),                json!(null)),
    ];
    for (how, value, shown) in cases {
        let (data, told) = masked(value, &[("$", how)]);
        assert_eq!(data, *shown, "{how} {value}");
        assert_eq!((told.places.as_slice(), told.values), (["$".to_owned()].as_slice(), 1));
    }
}

#[test]
fn a_hash_is_the_same_for_the_same_value_and_organisation_only() {
    let text = hash(json!("ann@example.com"));
    let shown = text.as_str().unwrap().strip_prefix("h:").unwrap();
    assert!(shown.len() == 32 && shown.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(hash(json!("ann@example.com")), text);
    assert_eq!(hash(json!(1)), hash(json!(1.0)));
    assert_eq!(hash(json!({"a": 1, "b": 2})), hash(json!({"b": 2, "a": 1})));
    let different = [
        json!("1"),
        json!(1),
        json!(true),
        json!([1]),
        json!({"a": 1}),
        json!(""),
    ];
    let hashes: std::collections::BTreeSet<String> = different
        .iter()
        .map(|value| hash(value.clone()).to_string())
        .collect();
    assert_eq!(hashes.len(), different.len());
    let other = HashKey::of(
        b"a secret of the tests, long enough",
        &"other".parse().unwrap(),
    );
    let mut theirs = json!("ann@example.com");
    apply(&mut theirs, &united(masks(&[("$", "hash")]).iter()), &other);
    assert_ne!(theirs, text);
}

#[test]
#[rustfmt::skip]
fn masks_reach_every_level_and_tell_where() {
    let rows = json!({"rows": [
        {"id": 1, "email": "ann@example.com", "home": {"city": "Shiraz", "lines": ["a", "b"]}},
        {"id": 2, "email": null, "home": {"city": "Yazd", "lines": []}},
    ], "row_count": 2});
    //   masks, then the data that is shown, the places, the values, the masks that named nothing
    type Case<'a> = (&'a [(&'a str, &'a str)], Value, &'a [&'a str], usize, usize);
    let cases: &[Case<'_>] = &[
        (&[("$.rows[*].email", "remove"), ("$.rows[*].home.lines[0]", "remove")],
         json!({"rows": [{"id": 1, "home": {"city": "Shiraz", "lines": ["b"]}},
                         {"id": 2, "home": {"city": "Yazd", "lines": []}}], "row_count": 2}),
         &["$.rows[*].email", "$.rows[*].home.lines[*]"], 3, 0),
        (&[("$..city", "redact"), ("$.nothing", "remove"), ("$.rows[5]", "remove")],
         json!({"rows": [{"id": 1, "email": "ann@example.com", "home": {"city": "(hidden)", "lines": ["a", "b"]}},
                         {"id": 2, "email": null, "home": {"city": "(hidden)", "lines": []}}], "row_count": 2}),
         &["$.rows[*].home.city"], 2, 2),
        (&[("$.rows[?@.id == 1]", "remove")],
         json!({"rows": [{"id": 2, "email": null, "home": {"city": "Yazd", "lines": []}}], "row_count": 2}),
         &["$.rows[*]"], 1, 0),
        (&[("$.rows[*].home", "null"), ("$..lines", "remove"), ("$.rows[0].id", "remove")],
         json!({"rows": [{"email": "ann@example.com", "home": null}, {"id": 2, "email": null, "home": null}],
                "row_count": 2}),
         &["$.rows[*].home", "$.rows[*].id"], 3, 0),
        (&[("$.rows[0,0,1].home", "remove"), ("$.rows[*].email", "last4"), ("$.rows[0].email", "null")],
         json!({"rows": [{"id": 1, "email": null}, {"id": 2, "email": null}], "row_count": 2}),
         &["$.rows[*].email", "$.rows[*].home"], 4, 0),
        (&[("$", "remove")], json!(null), &["$"], 1, 0),
        (&[("$.*", "remove")], json!({}), &["$.*"], 2, 0),
        (&[("$['rows', 'row_count']", "remove")], json!({}), &["$.row_count", "$.rows"], 2, 0),
        (&[], rows.clone(), &[], 0, 0),
    ];
    for (written, shown, places, values, unmatched) in cases {
        let (data, told) = masked(&rows, written);
        assert_eq!(data, *shown, "{written:?}");
        assert_eq!(told.places, *places, "{written:?}");
        assert_eq!((told.values, told.unmatched), (*values, *unmatched), "{written:?}");
    }
}

#[test]
fn a_filter_sees_the_data_as_it_came() {
    let people = json!([{"name": "Ann", "vip": true}, {"name": "Bob", "vip": false}]);
    let (data, _) = masked(
        &people,
        &[("$[*].vip", "remove"), ("$[?@.vip == true].name", "redact")],
    );
    assert_eq!(data, json!([{"name": "(hidden)"}, {"name": "Bob"}]));
}

#[test]
fn names_that_are_hidden_are_not_told() {
    let long = "k".repeat(65);
    let by_mail = json!({"users": {"ann@example.com": {"phone": 1}, "it's\n": {"phone": 2}}});
    let places = |data: &Value, path: &str, how: &str| masked(data, &[(path, how)]).1.places;
    assert_eq!(places(&by_mail, "$.users.*", "remove"), ["$.users.*"]);
    assert_eq!(
        places(&by_mail, "$.users['ann@example.com']", "remove"),
        ["$.users['ann@example.com']"]
    );
    assert_eq!(
        places(&by_mail, "$.users.*.phone", "remove"),
        [
            "$.users['ann@example.com'].phone",
            "$.users['it\\'s\\n'].phone"
        ]
    );
    assert_eq!(places(&json!({long: {"a": 1}}), "$.*.a", "null"), ["$.*.a"]);
    let many: serde_json::Map<_, _> = (0..500).map(|n| (format!("n{n}"), json!(n))).collect();
    let told = masked(&Value::Object(many), &[("$.*", "null")]).1;
    assert_eq!((told.places.len(), told.values), (MAX_PLACES, 500));
}

#[test]
fn text_is_masked_as_the_json_it_is_or_not_shown() {
    let hide = masks(&[("$.email", "redact")]);
    let hide = united(hide.iter());
    let of = |text: &str| of_text(text, &hide, &key()).0;
    assert_eq!(
        of(r#"{"email": "ann@example.com", "id": 1}"#),
        r#"{"email":"(hidden)","id":1}"#
    );
    assert_eq!(
        of(r#"{"email": "ann", "email": "bob"}"#),
        r#"{"email":"(hidden)"}"#
    );
    for opaque in [
        "email: ann@example.com",
        "\"ann@example.com\"",
        "{\"email\": \"ann\"} and more",
        "7",
        "",
    ] {
        let (shown, told) = of_text(opaque, &hide, &key());
        assert_eq!(
            (shown.as_str(), told.places),
            (HIDDEN_TEXT, vec!["$".to_owned()])
        );
        assert_eq!(
            of_text(opaque, &[], &key()),
            (opaque.to_owned(), Masked::default())
        );
        assert_eq!(
            (of_source(opaque, &hide), of_source(opaque, &[])),
            (HIDDEN_TEXT, opaque)
        );
    }
}

/// A canary that a path leads to, and one that none does.
fn any_data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!("secret-canary")),
        "\\PC{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let name = prop::sample::select(vec!["a", "b", "c", "d'\\"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "$",
        "$.a",
        "$..a",
        "$.*",
        "$[*]",
        "$..*",
        "$[0]",
        "$[-1]",
        "$[::-1]",
        "$.a.b",
        "$..b.c",
        "$.a[*].b",
        "$..[0]",
        "$[?@.a]",
        "$..[?@ == 'secret-canary']",
        "$['a', 'b']",
        "$..['d\\'\\\\']",
        "$[?length(@) > 1]",
    ])
}

fn any_masks() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let how = prop::sample::select(MaskDo::ALL.map(MaskDo::code).to_vec());
    prop::collection::vec((any_path(), how), 0..6)
}

fn leaves(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(leaves).collect(),
        Value::Object(members) => members.values().flat_map(leaves).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![value],
    }
}

/// Where a value is, and whether a mask names it or something around it: by the library's own
/// normalised paths, which the walk does not use.
fn covered(data: &Value, written: &[(&str, &str)]) -> Vec<String> {
    let of = |(path, _): &(&str, &str)| {
        let path = serde_json_path::JsonPath::parse(path).unwrap();
        let located = path.query_located(data);
        located
            .locations()
            .map(|at| at.to_json_pointer())
            .collect::<Vec<_>>()
    };
    written.iter().flat_map(of).collect()
}

fn canaries(value: &Value, at: String, covered: &[String]) -> usize {
    let inside = covered.iter().any(|hidden| {
        at.strip_prefix(hidden.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    match value {
        _ if inside => 0,
        Value::Array(items) => {
            let each = items.iter().enumerate();
            each.map(|(index, item)| canaries(item, format!("{at}/{index}"), covered))
                .sum()
        }
        Value::Object(members) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            let each = members.iter();
            each.map(|(name, item)| canaries(item, format!("{at}/{}", escaped(name)), covered))
                .sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            usize::from(*value == json!("secret-canary"))
        }
    }
}

proptest! {
    /// Everything that a mask names is hidden at every level, nothing else is, and nothing panics.
    #[test]
    fn exactly_what_masks_name_is_hidden(data in any_data(), written in any_masks()) {
        let (shown, told) = masked(&data, &written);
        let left = leaves(&shown).into_iter().filter(|leaf| **leaf == json!("secret-canary"));
        let expected = canaries(&data, String::new(), &covered(&data, &written));
        prop_assert_eq!(left.count(), expected, "{} {:?} {}", data, written, shown);
        prop_assert_eq!(told.values == 0, shown == data && covered(&data, &written).is_empty());
        prop_assert_eq!(told.places.is_empty(), told.values == 0);
    }

    /// The order in which masks are listed and how often changes nothing.
    #[test]
    fn masks_unite_in_any_order(data in any_data(), written in any_masks()) {
        let mut other = written.clone();
        other.reverse();
        other.extend(written.iter().copied());
        prop_assert_eq!(masked(&data, &written), masked(&data, &other));
    }

    /// One more mask never shows more.
    #[test]
    fn one_more_mask_never_shows_more(data in any_data(), written in any_masks(), more in any_masks()) {
        let both: Vec<_> = written.iter().chain(&more).copied().collect();
        let count = |value: &Value| {
            leaves(value).into_iter().filter(|leaf| **leaf == json!("secret-canary")).count()
        };
        prop_assert!(count(&masked(&data, &both).0) <= count(&masked(&data, &written).0));
    }
}
