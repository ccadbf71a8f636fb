//! What access costs a call: one decision among a thousand rules, and the masks of a result.
#![allow(missing_docs, reason = "a benchmark's name says what it measures")]

use hundi::domain::access::{Kind, Mask, Rule, RuleDef};
use hundi::domain::ids::OrgId;
use hundi::domain::principal::Role;
use hundi::domain::time::Timestamp;
use hundi::domain::tool::Risk;
use hundi::governance::access::masks::{HashKey, apply, united};
use hundi::governance::access::rules::{Asked, ByDefault, Caller, decide};
use serde_json::{Value, json};

fn main() {
    divan::main();
}

fn rules(says: impl Fn(usize) -> Value) -> Vec<Rule> {
    let rule = |index: usize| {
        let id = format!("r{index}").parse().ok()?;
        let says = RuleDef::read(&says(index)).ok()?;
        Some(Rule {
            id,
            version: 1,
            says,
        })
    };
    let rules: Vec<Rule> = (0..1_000).filter_map(rule).collect();
    assert_eq!(rules.len(), 1_000);
    rules
}

fn decided(bencher: divan::Bencher<'_, '_>, rules: &[Rule]) {
    let Ok(agent) = "agent-42".parse() else {
        return;
    };
    let asked = Asked {
        who: Caller {
            roles: Role::Agent.into(),
            agent: Some(&agent),
            person: None,
            person_id: None,
            server: None,
        },
        tool: "billing_read_42",
        source: Some("crm"),
        kind: Kind::Sql,
        risk: Risk::Low,
        at: Timestamp::from_secs(1_795_168_800),
    };
    bencher.bench(|| decide(rules, divan::black_box(&asked), ByDefault::Server));
}

/// As they will be: most are about other tools.
#[divan::bench]
fn among_a_thousand_rules_about_many_tools(bencher: divan::Bencher<'_, '_>) {
    let rules = rules(|index| {
        json!({
            "name": "x", "effect": "allow",
            "who": {"agents": [format!("agent-{index}")], "roles": ["agent"]},
            "what": {"tools": [format!("billing_read_{index}"), format!("crm_{index}_*")], "kinds": ["sql"]},
            "when": {"hours": "00:00-24:00", "zone": "Asia/Tehran"},
        })
    });
    decided(bencher, &rules);
}

/// As bad as it gets: every one is about this tool and this agent, in one of ten zones, and matches.
#[divan::bench]
fn among_a_thousand_rules_that_all_match(bencher: divan::Bencher<'_, '_>) {
    const ZONES: [&str; 10] = [
        "Asia/Tehran",
        "Asia/Kolkata",
        "Asia/Tokyo",
        "Europe/Berlin",
        "Europe/London",
        "America/New_York",
        "America/Chicago",
        "America/Denver",
        "Australia/Sydney",
        "UTC",
    ];
    let rules = rules(|index| {
        json!({
            "name": "x", "effect": "allow",
            "who": {"agents": ["agent-1", "agent-2", "agent-42"], "roles": ["agent"]},
            "what": {"tools": ["crm_*", "erp_*", "billing_*"], "sources": ["erp", "crm"], "kinds": ["sql"]},
            "when": {"hours": "00:00-24:00", "zone": ZONES[index % 10]},
        })
    });
    decided(bencher, &rules);
}

fn masked(bencher: divan::Bencher<'_, '_>, rows: usize, written: &Value) {
    let masks: Vec<Mask> = serde_json::from_value(written.clone()).unwrap_or_default();
    let masks = united(masks.iter());
    let org = OrgId::default();
    let key = HashKey::of(&[7; 32], &org);
    let row = |id: usize| {
        json!({"id": id, "name": "Ann Lee", "email": "ann@example.com", "phone": "+98 912 000 0000",
               "card": "4111111111111234", "home": {"city": "Shiraz", "zip": "71"}, "total": 12.5})
    };
    let data = json!({"rows": (0..rows).map(row).collect::<Vec<_>>(), "row_count": rows});
    bencher
        .with_inputs(|| data.clone())
        .bench_refs(|data| apply(data, &masks, &key));
}

const HIDE: [(&str, &str); 3] = [
    ("$.rows[*].email", "redact"),
    ("$.rows[*].card", "last4"),
    ("$..zip", "remove"),
];

fn hide() -> Value {
    HIDE.iter()
        .map(|(path, how)| json!({"path": path, "do": how}))
        .collect()
}

#[divan::bench(args = [1, 100, 1_000])]
fn three_masks_over_rows(bencher: divan::Bencher<'_, '_>, rows: usize) {
    masked(bencher, rows, &hide());
}

#[divan::bench(args = [1, 100, 1_000])]
fn a_hash_over_rows(bencher: divan::Bencher<'_, '_>, rows: usize) {
    masked(
        bencher,
        rows,
        &json!([{"path": "$.rows[*].email", "do": "hash"}]),
    );
}
