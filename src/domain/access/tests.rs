//! Documents of rules: what is taken, what is refused and where.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::principal::Role;

fn whole() -> Value {
    json!({
        "name": "Support reads billing",
        "effect": "allow",
        "who": {"roles": ["agent"], "agents": ["a-1"], "servers": ["support"], "people": ["Ann Lee"]},
        "what": {"tools": ["billing_*", "crm_get"], "sources": ["crm"], "kinds": ["sql", "rest"], "risk": "low"},
        "when": {
            "from": "2026-11-20T00:00:00Z", "until": "2027-01-01T00:00:00Z",
            "weekdays": ["mon", "fri"], "hours": "22:00-06:00", "zone": "Asia/Tehran",
        },
        "masks": [{"path": "$.rows[*].email", "do": "redact"}],
        "enabled": true,
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut document = whole();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    match parent {
        Value::Object(map) => drop(map.insert(name.to_owned(), value)),
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            panic!("{pointer} is inside of nothing")
        }
    }
    document
}

#[test]
fn a_rule_reads_back_as_it_was_written() {
    let rule = RuleDef::read(&whole()).unwrap();
    assert_eq!(json!(rule), whole());
    assert!(rule.who.roles.has(Role::Agent) && !rule.who.roles.has(Role::Admin));
    assert!(rule.what.tools[0].fits("billing_refund") && !rule.what.tools[1].fits("crm_get_all"));
}

#[test]
fn what_is_left_out_limits_nothing() {
    let least = json!({"name": "x", "effect": "deny"});
    let rule = RuleDef::read(&least).unwrap();
    assert!(rule.enabled && rule.masks.is_empty());
    assert_eq!(
        json!(rule),
        json!({"name": "x", "effect": "deny", "enabled": true})
    );
    let nulls = json!({
        "name": "x", "effect": "deny", "who": null, "what": null, "when": null, "masks": null,
        "enabled": null,
    });
    assert_eq!(RuleDef::read(&nulls).unwrap(), rule);
    let empty = json!({"name": "x", "effect": "deny", "who": {}, "what": {}, "when": {}});
    assert_eq!(RuleDef::read(&empty).unwrap(), rule);
}

#[test]
fn hours_without_a_zone_are_utc_and_say_so() {
    let rule = json!({"name": "x", "effect": "allow", "when": {"hours": "09:00-17:00"}});
    let told = json!(RuleDef::read(&rule).unwrap());
    assert_eq!(told["when"]["zone"], "UTC");
    assert_eq!(told["when"]["weekdays"].as_array().unwrap().len(), 7);
    let again = RuleDef::read(&told).unwrap();
    assert_eq!(json!(again), told);
}

#[test]
#[rustfmt::skip]
fn every_mistake_names_its_place() {
    let long = "x".repeat(101);
    let many: Vec<String> = (0..201).map(|index| format!("t{index}")).collect();
    let masks: Vec<Value> = (0..101).map(|_| json!({"path": "$", "do": "null"})).collect();
    let cases: &[(&str, Value, &str, &str)] = &[
        // where it is put      what is put there          where it is complained of   a word of it
        ("/naem",               json!(1),                  "/naem",             "unknown field"),
        ("/name",               json!(""),                 "/name",             "characters"),
        ("/name",               json!(" x"),               "/name",             "spaces"),
        ("/name",               json!("a\nb"),             "/name",             "line breaks"),
        ("/name",               json!(long),               "/name",             "100"),
        ("/name",               json!(7),                  "/name",             "must be a string"),
        ("/effect",             json!("permit"),           "/effect",           "must be "),
        ("/effect",             json!("Allow"),            "/effect",           "must be "),
        ("/enabled",            json!("yes"),              "/enabled",          "boolean"),
        ("/who",                json!([["agent"]]),        "/who",              "object"),
        ("/who",                json!("ann"),              "/who",              "object"),
        ("/who/role",           json!("agent"),            "/who/role",         "unknown field"),
        ("/who/roles",          json!("agent"),            "/who/roles",        "sequence"),
        ("/who/roles",          json!([]),                 "/who/roles",        "empty"),
        ("/who/roles",          json!(["agent", "boss"]),  "/who/roles/1",      "admin"),
        ("/who/roles",          json!(["agent", "agent"]), "/who/roles/1",      "twice"),
        ("/who/agents",         json!(["a", "b c"]),       "/who/agents/1",     "agent"),
        ("/who/agents",         json!(["a*"]),             "/who/agents/0",     "agent"),
        ("/who/agents/0",       json!(1),                  "/who/agents/0",     "string"),
        ("/who/servers",        json!(["a/b"]),            "/who/servers/0",    "56"),
        ("/who/people",         json!(["\u{7}"]),          "/who/people/0",     "characters"),
        ("/what",               json!([]),                 "/what",             "object"),
        ("/what/tools",         json!(["*_refund"]),       "/what/tools/0",     "billing_*"),
        ("/what/tools",         json!(["a", ""]),          "/what/tools/1",     "billing_*"),
        ("/what/tools",         json!(many),               "/what/tools",       "200"),
        ("/what/sources",       json!(["crm*"]),           "/what/sources/0",   "56"),
        ("/what/kinds",         json!(["sql", "soap"]),    "/what/kinds/1",     "must be "),
        ("/what/kinds",         json!([]),                 "/what/kinds",       "empty"),
        ("/what/risk",          json!("medium"),           "/what/risk",        "must be "),
        ("/when",               json!([1]),                "/when",             "object"),
        ("/when/from",          json!("tomorrow"),         "/when/from",        "RFC 3339"),
        ("/when/from",          json!("2026-11-20"),       "/when/from",        "RFC 3339"),
        ("/when/from",          json!(1.5),                "/when/from",        "RFC 3339"),
        ("/when/from",          json!(1_800_000_000_000_i64), "/when/from",     "RFC 3339"),
        ("/when/until",         json!("2026-11-20T00:00:00Z"), "/when/until",   "later"),
        ("/when/weekdays",      json!(["mon", "friday"]),  "/when/weekdays/1",  "mon"),
        ("/when/weekdays",      json!([]),                 "/when/weekdays",    "empty"),
        ("/when/hours",         json!("9-17"),             "/when/hours",       "09:00-17:00"),
        ("/when/zone",          json!("Tehran"),           "/when/zone",        "IANA"),
        ("/when/timezone",      json!("UTC"),              "/when/timezone",    "unknown field"),
        ("/masks",              json!(masks),              "/masks",            "100"),
        ("/masks/0",            json!(["$.a", "null"]),    "/masks/0",          "object"),
        ("/masks/0",            json!({"path": "$"}),      "/masks/0/do",       "missing"),
        ("/masks/0/do",         json!("hide"),             "/masks/0/do",       "must be "),
        ("/masks/0/path",       json!("rows.email"),       "/masks/0/path",     "RFC 9535"),
        ("/masks/0/path",       json!("$..a..b"),          "/masks/0/path",     "twice"),
        ("/masks/0/as",         json!("x"),                "/masks/0/as",       "unknown field"),
        ("/effect",             json!("deny"),             "/masks",            "denies"),
    ];
    for (at, value, pointer, word) in cases {
        let refused = RuleDef::read(&with(at, value.clone())).unwrap_err();
        assert_eq!(refused.pointer, *pointer, "{at} {value}: {refused}");
        assert!(refused.detail.contains(word), "{at} {value}: {refused}");
        assert!(refused.detail.chars().count() <= 300, "{at}: {refused}");
        assert_eq!(refused.code, "invalid_rule");
    }
}

#[test]
fn what_is_no_object_or_lacks_a_field_is_refused() {
    for no_object in [json!([]), json!("x"), json!(null), json!(["x", "deny"])] {
        let refused = RuleDef::read(&no_object).unwrap_err();
        assert_eq!(refused.pointer, "", "{no_object}");
    }
    for field in ["name", "effect"] {
        let mut document = whole();
        document.as_object_mut().unwrap().remove(field);
        let refused = RuleDef::read(&document).unwrap_err();
        assert_eq!(refused.pointer, format!("/{field}"));
    }
}

#[test]
fn a_pattern_ends_in_a_star_or_is_the_name() {
    for (pattern, tool, fits) in [
        ("billing_*", "billing_", true),
        ("billing_*", "billing", false),
        ("*", "anything", true),
        ("crm.get/a-1", "crm.get/a-1", true),
        ("crm", "CRM", false),
    ] {
        let pattern = ToolPattern::parse(pattern).unwrap();
        assert_eq!(pattern.fits(tool), fits, "{pattern} {tool}");
    }
    for bad in ["", "**", "a*b", "*a", "a b", "é*", &"x".repeat(121)] {
        assert_eq!(ToolPattern::parse(bad), None, "{bad}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z*$.]{0,6}".prop_map(Value::from),
        Just(json!("allow")),
        Just(json!("mon")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let key = prop_oneof![
            Just("name"),
            Just("effect"),
            Just("who"),
            Just("what"),
            Just("when"),
            Just("masks"),
            Just("enabled"),
            Just("roles"),
            Just("tools"),
            Just("hours"),
            Just("path"),
            Just("do"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever stands anywhere in a rule, it is read and says the same again, or it is refused at
    /// a place that is there or missing from a place that is there.
    #[test]
    fn a_rule_is_taken_whole_or_refused_at_a_place(
        at in prop::sample::select(vec![
            "/name", "/effect", "/who", "/what", "/when", "/masks", "/enabled", "/who/roles",
            "/what/tools", "/when/hours", "/masks/0", "/masks/0/path",
        ]),
        value in any_json(),
    ) {
        let document = with(at, value);
        match RuleDef::read(&document) {
            Ok(rule) => {
                let told = json!(rule);
                prop_assert_eq!(RuleDef::read(&told).unwrap(), rule);
            }
            Err(refused) => {
                let parent = refused.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                prop_assert!(document.pointer(parent).is_some(), "{}", refused);
            }
        }
    }
}
