//! Is a policy one that can be put into force, alone or as a change to the one before?
//!
//! A policy as a whole has to say what its three limits are, `null` where there is none on
//! purpose: what is merely forgotten must not read as "without limit". A change says only what is
//! different, and the rest stays.
//!
//! A policy is read and corrected once, when an operator writes it, so that every decision can
//! trust it: domains are put into the one spelling that hosts are compared in, and what could not
//! mean anything (a negative limit, a wildcard to allow) is refused with words that help.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::domains;
use crate::domain::ids::ToolName;
use crate::domain::nearest::nearest;
use crate::domain::policy::{Policy, Repeat, Taint};
use crate::domain::strict::MAX_SAFE_INTEGER;

/// Most entries of one list. A decision looks at all of them.
const MAX_ENTRIES: usize = 1_000;
/// Most people that can be asked to agree; more could never be found.
const MAX_APPROVALS: u32 = 10;
/// Most requests in a rate window, and the longest window: each one is remembered.
const MAX_RATE: u32 = 10_000;
const MAX_WINDOW_SECS: u32 = 24 * 60 * 60;
/// Longest time over which payments are compared or added up: every decision reads them.
const MAX_LOOK_BACK_SECS: u32 = 31 * 24 * 60 * 60;
/// Longest name of a tool or a source.
const MAX_TAINTING: usize = 120;
/// Most sums of one policy, for the same reason.
const MAX_SUMS: usize = 8;
/// The limits that a policy as a whole has to name.
const LIMITS: [&str; 3] = ["daily_limit", "per_txn_limit", "require_approval_above"];

/// Reads a policy as a whole, as an operator wrote it, or says what is missing or wrong.
pub fn whole(body: &Value) -> Result<Policy, String> {
    let map = object(body)?;
    let missing = LIMITS.into_iter().filter(|limit| !map.contains_key(*limit));
    let missing: Vec<String> = missing.map(|limit| format!("`{limit}`")).collect();
    if !missing.is_empty() {
        return Err(format!(
            "a whole policy names {}: minor units, or null for no limit on purpose",
            missing.join(", ")
        ));
    }
    read(body)
}

/// The policy with what `changes` names changed; `null` puts a field back to what it is when left
/// out. Where there is no policy yet, the changes are the whole of it.
pub fn changed(policy: Option<&Policy>, changes: &Value) -> Result<Policy, String> {
    let map = object(changes)?;
    if map.is_empty() {
        return Err("nothing to change is named; it takes any field of a policy".to_owned());
    }
    let Some(policy) = policy else {
        return whole(changes)
            .map_err(|wrong| format!("there is no policy to change yet: {wrong}"));
    };
    // Read alone first, so that what is wrong is told by the name that the caller wrote.
    read(changes)?;
    let mut after = serde_json::to_value(policy).map_err(|error| error.to_string())?;
    for (key, value) in map {
        match (after.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            (_, value) => after[key] = value.clone(),
        }
    }
    read(&after)
}

/// Reads what there is of a policy, or says what is wrong with it.
pub fn read(body: &Value) -> Result<Policy, String> {
    let map = object(body)?;
    if let Some(unknown) = map.keys().find(|key| !fields().contains_key(*key)) {
        return Err(misread(unknown));
    }
    // Null means "not given", for a list as well as for a limit.
    let given = map.iter().filter(|(_, value)| !value.is_null());
    let given: Map<String, Value> = given
        .map(|(key, value)| (key.clone(), plain(value)))
        .collect();
    for (key, value) in &given {
        let alone = Map::from_iter([(key.clone(), value.clone())]);
        let readable = serde_json::from_value::<Policy>(Value::Object(alone)).is_ok();
        // Serde would take a list for an object, field by field.
        let listed = match key.as_str() {
            "rate_limit" | "duplicates" | "llm" | "taint" => !value.is_object(),
            "approval_above" => value
                .as_array()
                .is_some_and(|sums| !sums.iter().all(Value::is_object)),
            _ => false,
        };
        if !readable || listed {
            return Err(misread(key));
        }
    }
    let policy = serde_json::from_value(Value::Object(given));
    checked(policy.map_err(|error| error.to_string())?)
}

/// Serde would take a list for a struct, field by field; nobody writes a policy like that.
fn object(body: &Value) -> Result<&Map<String, Value>, String> {
    body.as_object()
        .ok_or_else(|| "a policy is an object".to_owned())
}

/// Every field of a policy, as it is stored.
fn fields() -> Map<String, Value> {
    match serde_json::to_value(Policy::default()) {
        Ok(Value::Object(fields)) => fields,
        // It is a struct of plain values; were it not, no policy could be stored either.
        Ok(_) | Err(_) => Map::new(),
    }
}

/// The value with `5e5` and `500000.0` spelt as the whole numbers they are, as everywhere else.
fn plain(value: &Value) -> Value {
    if let Value::Object(map) = value {
        let inner = map.iter();
        return inner
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect();
    }
    if let Value::Array(items) = value {
        return items.iter().map(plain).collect();
    }
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER as f64 => {
            Value::from(number as i64)
        }
        Some(_) | None => value.clone(),
    }
}

/// What a field should have been.
fn misread(field: &str) -> String {
    let known = fields();
    if !known.contains_key(field) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let meant = nearest(field, names.iter().copied());
        let meant = meant.map_or_else(String::new, |name| format!(", did you mean `{name}`?"));
        return format!(
            "`{field}` is no field of a policy{meant} It has {}",
            names.join(", ")
        );
    }
    let expected = match field {
        "daily_limit" | "per_txn_limit" | "require_approval_above" => {
            "has to be a whole number of minor units, or null for no limit"
        }
        "approvals_needed" => "has to be a whole number of people",
        "allowed_domains" | "blocked_domains" | "allowed_tools" => "has to be a list of texts",
        "rate_limit" => "has to be an object of `max` and `window_secs`, both whole numbers",
        "require_verified_entity" | "execute_on_approval" => "has to be true or false",
        "valid_from" | "valid_until" => "has to be an instant: RFC 3339 text or epoch seconds",
        "payees" => "has to be `any` or `registered`",
        "currency" => "has to be three upper-case letters, such as INR",
        "duplicates" => {
            "has to be an object of `window_secs`, a whole number, and `then`: hold, report or off"
        }
        "taint" => {
            "has to be an object of `sources` or `tools`, lists of names, `then`: hold or block, \
             `for_secs`, a whole number, and perhaps `by`: agent or conversation"
        }
        "approval_above" => {
            "has to be a list of {amount, window_secs, per}: whole numbers, and agent or payee"
        }
        "approval" => {
            "has to be an object of `needed`, `roles`, `people`, `distinct_from`: proposer or \
             each_other, `passkey`: required, preferred or no, and `expires_secs`"
        }
        "llm" => {
            "has to be an object of `daily_usd` and `per_request_usd`: exact decimal dollars as text, or null for no limit"
        }
        _ => "cannot be read",
    };
    format!("`{field}` {expected}")
}

/// The policy with its lists in their one spelling, or what is wrong with it.
pub fn checked(mut policy: Policy) -> Result<Policy, String> {
    let limits = [
        ("daily_limit", policy.daily_limit),
        ("per_txn_limit", policy.per_txn_limit),
        ("require_approval_above", policy.require_approval_above),
    ];
    for (name, limit) in limits {
        if limit.is_some_and(|limit| !(0..=MAX_SAFE_INTEGER).contains(&limit)) {
            return Err(format!(
                "`{name}` is 0 to 2^53-1 minor units, or null for no limit"
            ));
        }
    }
    if policy
        .currency
        .is_some_and(|code| code.decimals().is_none())
    {
        return Err("`currency` has to be a code of ISO 4217, such as INR".to_owned());
    }
    if policy.approvals_needed > MAX_APPROVALS {
        return Err(format!("`approvals_needed` is at most {MAX_APPROVALS}"));
    }
    let rate = policy.rate_limit;
    if rate.max > MAX_RATE {
        return Err(format!(
            "`rate_limit.max` is at most {MAX_RATE}, or 0 for off"
        ));
    }
    if rate.max > 0 && !(1..=MAX_WINDOW_SECS).contains(&rate.window_secs) {
        return Err(format!(
            "`rate_limit.window_secs` is 1 to {MAX_WINDOW_SECS}"
        ));
    }
    let look_back = 1..=MAX_LOOK_BACK_SECS;
    if policy.duplicates.then != Repeat::Off && !look_back.contains(&policy.duplicates.window_secs)
    {
        return Err(format!(
            "`duplicates.window_secs` is 1 to {MAX_LOOK_BACK_SECS}; `then: off` looks at none"
        ));
    }
    if policy.approval_above.len() > MAX_SUMS {
        return Err(format!("`approval_above` has at most {MAX_SUMS} sums"));
    }
    for (index, sum) in policy.approval_above.iter().enumerate() {
        if !(0..=MAX_SAFE_INTEGER).contains(&sum.amount) {
            return Err(format!(
                "`approval_above[{index}].amount` is 0 to 2^53-1 minor units"
            ));
        }
        if !look_back.contains(&sum.window_secs) {
            return Err(format!(
                "`approval_above[{index}].window_secs` is 1 to {MAX_LOOK_BACK_SECS}"
            ));
        }
    }
    if let Some(rule) = &policy.approval {
        rule.checked(MAX_APPROVALS)?;
    }
    if let Some(taint) = &policy.taint {
        tainting(taint)?;
    }
    if let (Some(from), Some(until)) = (policy.valid_from, policy.valid_until)
        && from >= until
    {
        return Err("`valid_from` has to be before `valid_until`".to_owned());
    }
    policy.blocked_domains = each(&policy.blocked_domains, "blocked_domains", blocked)?;
    policy.allowed_domains = each(&policy.allowed_domains, "allowed_domains", allowed)?;
    if let Some(tools) = &policy.allowed_tools {
        policy.allowed_tools = Some(each(tools, "allowed_tools", tool)?);
    }
    Ok(policy)
}

/// Whether what taints an agent is named, and for how long.
fn tainting(taint: &Taint) -> Result<(), String> {
    let listed = taint.sources.len() + taint.tools.len();
    if listed == 0 || listed > MAX_ENTRIES {
        return Err(format!(
            "`taint` names 1 to {MAX_ENTRIES} `sources` or `tools` whose text taints"
        ));
    }
    let mut names = taint.sources.iter().chain(&taint.tools);
    if names.any(|name| name.is_empty() || name.len() > MAX_TAINTING) {
        return Err(format!(
            "`taint` names things by 1 to {MAX_TAINTING} bytes each"
        ));
    }
    match (1..=MAX_LOOK_BACK_SECS).contains(&taint.for_secs) {
        true => Ok(()),
        false => Err(format!("`taint.for_secs` is 1 to {MAX_LOOK_BACK_SECS}")),
    }
}

/// Every entry in its one spelling, each once, in the order they were given.
fn each(
    entries: &[String],
    name: &str,
    spell: fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    if entries.len() > MAX_ENTRIES {
        return Err(format!("`{name}` has at most {MAX_ENTRIES} entries"));
    }
    let mut spelt = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let Some(entry) = spell(entry.trim()) else {
            return Err(format!("`{name}[{index}]` {}", expected(name)));
        };
        if !spelt.contains(&entry) {
            spelt.push(entry);
        }
    }
    Ok(spelt)
}

fn expected(name: &str) -> &'static str {
    match name {
        "blocked_domains" => "has to be a domain such as `evil.com`, or `*` for every domain",
        "allowed_domains" => {
            "has to be one host such as `good.com`: an entry allows that host alone, and an empty \
             list allows every host"
        }
        _ => "has to be the name of a tool, one with `*` at its end, or `*` for every tool",
    }
}

fn blocked(entry: &str) -> Option<String> {
    if entry == "*" {
        return Some(entry.to_owned());
    }
    domains::plain(domains::upper(entry))
        .filter(|host| !host.contains('*'))
        .map(Cow::into_owned)
}

fn allowed(entry: &str) -> Option<String> {
    domains::plain(entry)
        .filter(|host| !host.contains('*'))
        .map(Cow::into_owned)
}

fn tool(entry: &str) -> Option<String> {
    let name = entry.strip_suffix('*').unwrap_or(entry);
    let named = entry == "*" || name.parse::<ToolName>().is_ok();
    named.then(|| entry.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_come_into_one_spelling() {
        let policy = read(&json!({
            "blocked_domains": ["EVIL.com", "evil.com.", "*.Bad.example", ".bad.example", "https://www.worse.example/x", "*"],
            "allowed_domains": [" Good.com:443 ", "bücher.example"],
            "allowed_tools": ["noop", "*", "noop", "acme.*"],
        }))
        .unwrap();
        assert_eq!(
            policy.blocked_domains,
            ["evil.com", "bad.example", "worse.example", "*"]
        );
        assert_eq!(
            policy.allowed_domains,
            ["good.com", "xn--bcher-kva.example"]
        );
        let tools = ["noop", "*", "acme.*"].map(str::to_owned);
        assert_eq!(policy.allowed_tools, Some(tools.to_vec()));
    }

    #[test]
    #[rustfmt::skip]
    fn what_means_nothing_is_refused_by_name() {
        let cases = [
            (json!({"daily_limit": -1}),                            "daily_limit"),
            (json!({"per_txn_limit": -1}),                          "per_txn_limit"),
            (json!({"require_approval_above": -1}),                 "require_approval_above"),
            (json!({"daily_limit": 9_007_199_254_740_992_i64}),     "daily_limit"),
            (json!({"approvals_needed": 11}),                       "approvals_needed"),
            (json!({"approval": {"needed": 11}}),                   "approval.needed"),
            (json!({"approval": {"expires_secs": 0}}),              "approval.expires_secs"),
            (json!({"rate_limit": {"max": 10_001, "window_secs": 60}}), "rate_limit.max"),
            (json!({"rate_limit": {"max": 1, "window_secs": 0}}),   "window_secs"),
            (json!({"rate_limit": {"max": 1, "window_secs": 86_401}}), "window_secs"),
            (json!({"valid_from": 2, "valid_until": 2}),            "valid_until"),
            (json!({"allowed_domains": ["*"]}),                     "allowed_domains[0]"),
            (json!({"allowed_domains": ["good.com", "*.good.com"]}), "allowed_domains[1]"),
            (json!({"allowed_domains": [""]}),                      "allowed_domains[0]"),
            (json!({"blocked_domains": ["not a host"]}),            "blocked_domains[0]"),
            (json!({"blocked_domains": ["e*il.com"]}),              "blocked_domains[0]"),
            (json!({"allowed_tools": ["a b"]}),                     "allowed_tools[0]"),
            (json!({"allowed_tools": ["*_funds"]}),                 "allowed_tools[0]"),
            (json!({"allowed_tools": ["a**"]}),                     "allowed_tools[0]"),
            (json!({"dayly_limit": 1}),                             "did you mean `daily_limit`?"),
            (json!({"dayly_limit": null}),                          "dayly_limit"),
            (json!({"duplicates": {"window_secs": 0}}),             "duplicates.window_secs"),
            (json!({"duplicates": {"window_secs": 2_678_401}}),     "duplicates.window_secs"),
            (json!({"duplicates": {"then": "allow"}}),              "`duplicates` has to be"),
            (json!({"taint": {"then": "hold", "for_secs": 60}}),    "`taint` names 1 to"),
            (json!({"taint": {"tools": ["x"], "then": "hold", "for_secs": 0}}), "taint.for_secs"),
            (json!({"taint": {"tools": ["x"], "then": "report", "for_secs": 9}}), "`taint` has to be"),
            (json!({"duplicates": [900, "off"]}),                   "`duplicates` has to be"),
            (json!({"approval_above": [{"amount": 1, "window_secs": 1}]}), "`approval_above` has to be"),
            (json!({"approval_above": [[1, 1, "agent"]]}),          "`approval_above` has to be"),
            (json!({"approval_above": [{"amount": -1, "window_secs": 1, "per": "agent"}]}), "approval_above[0].amount"),
            (json!({"approval_above": [{"amount": 1, "window_secs": 0, "per": "agent"}]}), "approval_above[0].window_secs"),
            (json!({"daily_limit": "5"}),                           "`daily_limit` has to be a whole number"),
            (json!({"per_txn_limit": 1.5}),                         "`per_txn_limit` has to be a whole number"),
            (json!({"approval": {"passkey": "maybe"}}),             "`approval` has to be an object"),
            (json!({"approvals_needed": -1}),                       "`approvals_needed` has to be a whole number"),
            (json!({"allowed_domains": "good.com"}),                "`allowed_domains` has to be a list"),
            (json!({"require_verified_entity": 1}),                 "`require_verified_entity` has to be true or false"),
            (json!({"valid_from": "yesterday"}),                    "`valid_from` has to be an instant"),
            (json!({"currency": "inr"}),                            "`currency` has to be three"),
            (json!({"currency": "QQQ"}),                            "`currency` has to be a code of ISO 4217"),
            (json!({"payees": "known"}),                            "`payees` has to be `any` or `registered`"),
            (json!({"rate_limit": {"max": "1"}}),                   "`rate_limit` has to be an object"),
            (json!({"rate_limit": {"most": 1}}),                    "`rate_limit` has to be an object"),
            (json!([]),                                             "object"),
            (json!({"rate_limit": [1, 60]}),                        "rate_limit"),
        ];
        for (body, named) in cases {
            let error = read(&body).unwrap_err();
            assert!(error.contains(named), "{body}: {error}");
        }
    }

    #[test]
    fn a_whole_number_may_be_spelt_with_a_point() {
        let policy = read(&json!({"daily_limit": 5e5, "rate_limit": {"max": 3.0}})).unwrap();
        assert_eq!(
            (policy.daily_limit, policy.rate_limit.max),
            (Some(500_000), 3)
        );
    }

    #[test]
    fn a_whole_policy_names_its_limits() {
        let all = json!({"daily_limit": 1, "per_txn_limit": null, "require_approval_above": null});
        assert_eq!(whole(&all).unwrap().daily_limit, Some(1));
        for limit in LIMITS {
            let mut without = all.clone();
            without.as_object_mut().unwrap().remove(limit);
            let told = whole(&without).unwrap_err();
            assert!(told.contains(limit), "{told}");
            let others = LIMITS.iter().filter(|other| **other != limit);
            assert!(others.clone().all(|other| !told.contains(other)), "{told}");
        }
        let told = whole(&json!({})).unwrap_err();
        assert!(LIMITS.iter().all(|limit| told.contains(limit)), "{told}");
    }

    #[test]
    #[rustfmt::skip]
    fn a_change_changes_what_it_names() {
        let before = read(&json!({
            "daily_limit": 500, "per_txn_limit": 100, "allowed_tools": ["noop"],
            "rate_limit": {"max": 3, "window_secs": 30}, "valid_until": 2_000,
        })).unwrap();
        type Expected = fn(&mut Policy);
        let cases: &[(Value, Expected)] = &[
            (json!({"per_txn_limit": 50}),             |p| p.per_txn_limit = Some(50)),
            (json!({"per_txn_limit": null}),           |p| p.per_txn_limit = None),
            (json!({"allowed_tools": []}),             |p| p.allowed_tools = Some(Vec::new())),
            (json!({"allowed_tools": null}),           |p| p.allowed_tools = None),
            (json!({"rate_limit": {"max": 9}}),        |p| p.rate_limit.max = 9),
            (json!({"duplicates": {"then": "off"}}),   |p| p.duplicates.then = Repeat::Off),
            (json!({"valid_from": 1_000}),             |p| p.valid_from = Some(crate::domain::time::Timestamp::from_secs(1_000))),
        ];
        for (changes, expected) in cases {
            let mut after = before.clone();
            expected(&mut after);
            assert_eq!(changed(Some(&before), changes).unwrap(), after, "{changes}");
        }
        for (changes, named) in [
            (json!({}),                      "nothing to change"),
            (json!({"dayly_limit": 1}),      "dayly_limit"),
            (json!({"dayly_limit": null}),   "dayly_limit"),
            (json!({"daily_limit": "1"}),    "daily_limit"),
            // Each is good alone, and together they are not.
            (json!({"valid_from": 3_000}),   "valid_until"),
        ] {
            let told = changed(Some(&before), &changes).unwrap_err();
            assert!(told.contains(named), "{changes}: {told}");
        }
        let first = changed(None, &json!({"daily_limit": 1})).unwrap_err();
        assert!(first.contains("no policy") && first.contains("per_txn_limit"), "{first}");
    }

    #[test]
    fn the_edges_are_allowed() {
        let body = json!({
            "daily_limit": 0, "per_txn_limit": 9_007_199_254_740_991_i64, "approvals_needed": 10,
            "rate_limit": {"max": 0, "window_secs": 0}, "valid_from": 1, "valid_until": 2,
        });
        assert!(read(&body).is_ok());
        assert!(read(&json!({})).is_ok());
        let nulls = json!({"allowed_domains": null, "daily_limit": null, "rate_limit": null});
        assert_eq!(read(&nulls), Ok(Policy::default()));
    }
}
