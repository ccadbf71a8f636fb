//! The decision, as a table and as what nobody may ever see.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::access::RuleId;
use crate::domain::principal::Role;

/// A Friday noon.
const NOON: &str = "2026-11-20T12:00:00Z";

fn rule(id: &str, document: Value) -> Rule {
    let mut whole = json!({"name": id});
    let fields = document.as_object().unwrap().clone();
    whole.as_object_mut().unwrap().extend(fields);
    Rule {
        id: id.parse::<RuleId>().unwrap(),
        version: 3,
        says: RuleDef::read(&whole).unwrap(),
    }
}

fn agent() -> AgentId {
    "a-1".parse().unwrap()
}

/// An agent with a key without a server asks for a low-risk SQL tool.
fn asked(agent: &AgentId) -> Asked<'_> {
    Asked {
        who: Caller {
            roles: Role::Agent.into(),
            agent: Some(agent),
            person: Some("Ann"),
            person_id: None,
            server: None,
        },
        tool: "billing_read",
        source: Some("crm"),
        kind: Kind::Sql,
        risk: Risk::Low,
        at: Timestamp::parse(NOON).unwrap(),
    }
}

fn ids<'r>(decision: &Decision<'r>) -> Vec<&'r str> {
    decision.versions().map(|(id, _)| id).collect()
}

#[test]
#[rustfmt::skip]
fn a_rule_matches_whom_what_and_when_it_says() {
    //   what an allow rule says, and whether it addresses the tool, and matches the caller
    let cases: &[(Value, bool, bool)] = &[
        (json!({}),                                                 true,  true),
        (json!({"who": {"roles": ["agent"]}}),                      true,  true),
        (json!({"who": {"roles": ["auditor", "admin"]}}),           true,  false),
        (json!({"who": {"agents": ["a-1"]}}),                       true,  true),
        (json!({"who": {"agents": ["a-2"]}}),                       true,  false),
        (json!({"who": {"people": ["Ann"]}}),                       true,  true),
        (json!({"who": {"people": ["ann"]}}),                       true,  false),
        (json!({"who": {"agents": ["a-2"], "people": ["Ann"]}}),    true,  true),
        (json!({"who": {"agents": ["a-1"], "people": ["Bob"]}}),    true,  true),
        (json!({"who": {"agents": ["a-2"], "people": ["Bob"]}}),    true,  false),
        (json!({"who": {"agents": ["a-1"], "roles": ["admin"]}}),   true,  false),
        (json!({"who": {"servers": ["support"]}}),                  true,  false),
        (json!({"what": {"tools": ["billing_*"]}}),                 true,  true),
        (json!({"what": {"tools": ["crm_*", "billing_read"]}}),     true,  true),
        (json!({"what": {"tools": ["billing"]}}),                   false, false),
        (json!({"what": {"sources": ["crm"]}}),                     true,  true),
        (json!({"what": {"sources": ["erp"]}}),                     false, false),
        (json!({"what": {"kinds": ["rest", "sql"]}}),               true,  true),
        (json!({"what": {"kinds": ["rest"]}}),                      false, false),
        (json!({"what": {"risk": "low"}}),                          true,  true),
        (json!({"what": {"risk": "high"}}),                         false, false),
        (json!({"what": {"tools": ["billing_*"], "risk": "high"}}), false, false),
        (json!({"when": {"weekdays": ["fri"]}}),                    true,  true),
        (json!({"when": {"weekdays": ["sat"]}}),                    true,  false),
        (json!({"when": {"hours": "09:00-12:00"}}),                 true,  false),
        (json!({"when": {"hours": "09:00-17:00", "zone": "Asia/Tokyo"}}), true, false),
        (json!({"when": {"from": NOON}}),                           true,  true),
        (json!({"when": {"until": NOON}}),                          true,  false),
    ];
    let agent = agent();
    for (says, addressed, matched) in cases {
        let mut says = says.clone();
        says["effect"] = json!("allow");
        let allow = [rule("r", says.clone())];
        let why = decide(&allow, &asked(&agent), ByDefault::Server).why;
        let expected = match (addressed, matched) {
            (false, _) => Why::AllowedByDefault,
            (true, true) => Why::Allowed,
            (true, false) => Why::NotAmongAllowed,
        };
        assert_eq!(why, expected, "allow {says}");
        says["effect"] = json!("deny");
        let deny = [rule("r", says.clone())];
        let why = decide(&deny, &asked(&agent), ByDefault::Server).why;
        let expected = if *matched { Why::Denied } else { Why::AllowedByDefault };
        assert_eq!(why, expected, "deny {says}");
    }
}

#[test]
fn a_tool_without_a_source_is_of_none() {
    let agent = agent();
    let asked = Asked {
        source: None,
        ..asked(&agent)
    };
    let rules = [rule(
        "r",
        json!({"effect": "deny", "what": {"sources": ["crm"]}}),
    )];
    let why = decide(&rules, &asked, ByDefault::Server).why;
    assert_eq!(why, Why::AllowedByDefault);
}

#[test]
fn every_rule_that_decided_is_told_by_id_and_version() {
    let rules = [
        rule("d2", json!({"effect": "deny"})),
        rule("a1", json!({"effect": "allow"})),
        rule(
            "d1",
            json!({"effect": "deny", "what": {"tools": ["billing_*"]}}),
        ),
        rule("a2", json!({"effect": "allow", "who": {"agents": ["a-2"]}})),
        rule("d3", json!({"effect": "deny", "who": {"agents": ["a-2"]}})),
    ];
    let agent = agent();
    let denied = decide(&rules, &asked(&agent), ByDefault::Server);
    assert_eq!((denied.why, ids(&denied)), (Why::Denied, vec!["d2", "d1"]));
    assert!(denied.versions().all(|(_, version)| version == 3));
    let allowed = decide(&rules[1..2], &asked(&agent), ByDefault::Deny);
    assert_eq!((allowed.why, ids(&allowed)), (Why::Allowed, vec!["a1"]));
    let missed = decide(&rules[3..4], &asked(&agent), ByDefault::Server);
    assert_eq!(
        (missed.why, ids(&missed)),
        (Why::NotAmongAllowed, vec!["a2"])
    );
    assert!(!missed.allowed() && !denied.allowed() && allowed.allowed());
}

#[test]
#[rustfmt::skip]
fn the_default_lets_a_server_offer_what_it_offers() {
    let support = |offers_tool| Some(Server { name: "support", offers_tool });
    for (default, server, why) in [
        (ByDefault::Server, None,           Why::AllowedByDefault),
        (ByDefault::Server, support(true),  Why::AllowedByDefault),
        (ByDefault::Server, support(false), Why::DeniedByDefault),
        (ByDefault::Deny,   None,           Why::DeniedByDefault),
        (ByDefault::Deny,   support(true),  Why::DeniedByDefault),
    ] {
        let agent = agent();
        let mut asked = asked(&agent);
        asked.who.server = server;
        assert_eq!(decide(&[], &asked, default).why, why, "{default:?} {server:?}");
        let of_server = [rule("r", json!({"effect": "deny", "who": {"servers": ["support"]}}))];
        let denied = decide(&of_server, &asked, default).why == Why::Denied;
        assert_eq!(denied, server.is_some(), "{server:?}");
    }
}

#[test]
fn the_masks_of_all_that_allow_and_of_the_tool_unite() {
    let mask = |path: &str, how: &str| json!({"path": path, "do": how});
    let masks = |masks: &[Value]| json!({"effect": "allow", "masks": masks});
    let rules = [
        rule("a", masks(&[mask("$.a", "last4"), mask("$.b", "remove")])),
        rule("b", masks(&[mask("$.a", "null"), mask("$.b", "hash")])),
        rule(
            "c",
            json!({
                "effect": "allow", "who": {"agents": ["a-2"]}, "masks": [mask("$.c", "remove")],
            }),
        ),
    ];
    let of_tool: Vec<Mask> =
        serde_json::from_value(json!([mask("$.a", "redact"), mask("$.d", "redact")])).unwrap();
    let agent = agent();
    let told = |rules: &[Rule]| {
        let decision = decide(rules, &asked(&agent), ByDefault::Server);
        json!(decision.masks(&of_tool))
    };
    assert_eq!(
        told(&rules),
        json!([
            mask("$.a", "null"),
            mask("$.b", "remove"),
            mask("$.d", "redact")
        ])
    );
    assert_eq!(
        told(&rules[2..]),
        json!([mask("$.a", "redact"), mask("$.d", "redact")]),
        "a rule that does not match hides nothing"
    );
}

fn any_rule() -> impl Strategy<Value = Value> {
    let some = |list: &'static [&'static str]| {
        prop::option::of(prop::collection::btree_set(
            prop::sample::select(list),
            1..3,
        ))
    };
    (
        prop::sample::select(vec!["allow", "deny"]),
        some(&["agent", "admin"]),
        some(&["a-1", "a-2"]),
        some(&["billing_*", "billing_read", "crm_*", "*"]),
        some(&["sql", "rest"]),
        prop::option::of(prop::sample::select(vec!["low", "high"])),
        prop::option::of(prop::sample::select(vec!["09:00-17:00", "22:00-06:00"])),
        any::<bool>(),
    )
        .prop_map(
            |(effect, roles, agents, tools, kinds, risk, hours, enabled)| {
                json!({
                    "effect": effect, "enabled": enabled,
                    "who": {"roles": roles, "agents": agents},
                    "what": {"tools": tools, "kinds": kinds, "risk": risk},
                    "when": {"hours": hours},
                })
            },
        )
}

fn any_rules() -> impl Strategy<Value = Vec<Rule>> {
    let numbered = |documents: Vec<Value>| {
        let rules = documents.into_iter().enumerate();
        let rules = rules.map(|(index, document)| rule(&format!("r{index:02}"), document));
        rules.collect()
    };
    prop::collection::vec(any_rule(), 0..8).prop_map(numbered)
}

fn any_default() -> impl Strategy<Value = ByDefault> {
    prop::sample::select(vec![ByDefault::Server, ByDefault::Deny])
}

proptest! {
    #[test]
    fn one_more_deny_never_allows_and_none_less_denies(
        rules in any_rules(), more in any_rule(), default in any_default(),
    ) {
        let agent = agent();
        let asked = asked(&agent);
        let mut more = more;
        more["effect"] = json!("deny");
        let before = decide(&rules, &asked, default);
        let mut stricter = rules.clone();
        stricter.push(rule("zz", more));
        let after = decide(&stricter, &asked, default);
        prop_assert!(before.allowed() || !after.allowed());
        prop_assert!(after.why == Why::Denied || after.why == before.why);
    }

    #[test]
    fn what_is_not_enabled_never_matters(rules in any_rules(), default in any_default()) {
        let agent = agent();
        let on: Vec<Rule> = rules.iter().filter(|rule| rule.says.enabled).cloned().collect();
        let with = decide(&rules, &asked(&agent), default);
        let without = decide(&on, &asked(&agent), default);
        prop_assert_eq!(with, without);
    }

    #[test]
    fn the_order_never_matters(
        (rules, shuffled) in any_rules().prop_flat_map(|rules| {
            (Just(rules.clone()), Just(rules).prop_shuffle())
        }),
        default in any_default(),
    ) {
        let agent = agent();
        let asked = asked(&agent);
        let sorted = |rules| {
            let mut decision = decide(rules, &asked, default);
            decision.by.sort_by(|one, other| one.id.cmp(&other.id));
            decision
        };
        prop_assert_eq!(sorted(&rules), sorted(&shuffled));
    }

    /// Against the three sentences of the contract, said once more.
    #[test]
    fn the_three_sentences_hold(rules in any_rules(), default in any_default()) {
        let agent = agent();
        let asked = asked(&agent);
        let alone = |rule: &Rule| decide(std::slice::from_ref(rule), &asked, default).why;
        let each: Vec<Why> = rules.iter().map(alone).collect();
        let any = |why| each.contains(&why);
        let allowed = if any(Why::Denied) {
            false
        } else if any(Why::Allowed) || any(Why::NotAmongAllowed) {
            any(Why::Allowed)
        } else {
            default == ByDefault::Server
        };
        prop_assert_eq!(decide(&rules, &asked, default).allowed(), allowed);
    }
}
