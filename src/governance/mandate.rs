//! Is a policy one that can be put into force?
//!
//! A policy is read and corrected once, when an operator writes it, so that every decision can
//! trust it: domains are put into the one spelling that hosts are compared in, and what could not
//! mean anything (a negative limit, a wildcard to allow) is refused with words that help.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::domains;
use crate::domain::ids::ToolName;
use crate::domain::policy::Policy;
use crate::domain::strict::MAX_SAFE_INTEGER;

/// Most entries of one list. A decision looks at all of them.
const MAX_ENTRIES: usize = 1_000;
/// Most people that can be asked to agree; more could never be found.
const MAX_APPROVALS: u32 = 10;
/// Most requests in a rate window, and the longest window: each one is remembered.
const MAX_RATE: u32 = 10_000;
const MAX_WINDOW_SECS: u32 = 24 * 60 * 60;

/// Reads a policy that an operator wrote, or says what is wrong with it.
pub fn read(body: &Value) -> Result<Policy, String> {
    // Serde would take a list for a struct, field by field; nobody writes a policy like that.
    let map = body.as_object().ok_or("a policy is an object")?;
    // Null means "not given", for a list as well as for a limit.
    let given = map.iter().filter(|(_, value)| !value.is_null());
    let given: Map<String, Value> = given
        .map(|(key, value)| (key.clone(), whole(value)))
        .collect();
    for (key, value) in &given {
        let alone = Map::from_iter([(key.clone(), value.clone())]);
        let readable = serde_json::from_value::<Policy>(Value::Object(alone)).is_ok();
        // Serde would take a list for the rate limit, too.
        if !readable || (key == "rate_limit" && !value.is_object()) {
            return Err(misread(key));
        }
    }
    let policy = serde_json::from_value(Value::Object(given));
    checked(policy.map_err(|error| error.to_string())?)
}

/// The value with `5e5` and `500000.0` spelt as the whole numbers they are, as everywhere else.
fn whole(value: &Value) -> Value {
    if let Value::Object(map) = value {
        let inner = map.iter();
        return inner
            .map(|(key, value)| (key.clone(), whole(value)))
            .collect();
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
        _ => {
            "is no field of a policy; it has daily_limit, per_txn_limit, require_approval_above, \
             approvals_needed, allowed_domains, blocked_domains, allowed_tools, rate_limit, \
             require_verified_entity, payees, valid_from, valid_until, currency and \
             execute_on_approval"
        }
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
    if let (Some(from), Some(until)) = (policy.valid_from, policy.valid_until)
        && from >= until
    {
        return Err("`valid_from` has to be before `valid_until`".to_owned());
    }
    policy.blocked_domains = each(&policy.blocked_domains, "blocked_domains", blocked)?;
    policy.allowed_domains = each(&policy.allowed_domains, "allowed_domains", allowed)?;
    policy.allowed_tools = each(&policy.allowed_tools, "allowed_tools", tool)?;
    Ok(policy)
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
        _ => "has to be the name of a tool, or `*` for every tool",
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
    let named = entry == "*" || entry.parse::<ToolName>().is_ok();
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
            "allowed_tools": ["noop", "*", "noop"],
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
        assert_eq!(policy.allowed_tools, ["noop", "*"]);
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
            (json!({"dayly_limit": 1}),                             "dayly_limit"),
            (json!({"daily_limit": "5"}),                           "`daily_limit` has to be a whole number"),
            (json!({"per_txn_limit": 1.5}),                         "`per_txn_limit` has to be a whole number"),
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
